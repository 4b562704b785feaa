//! What closing costs: RFC 9293, section 3.6; Linux `tcp_rcv_state_process` and `tcp_fin_time`.

/// Until both sides are closed, where the second answers the first's FIN at once: FIN there, FIN
/// back, ACK there; in microseconds.
pub const fn both_us(there_us: u64, back_us: u64) -> u64 {
    there_us + back_us + there_us
}

/// Until both sides are closed, where the FINs cross: each FIN and then its ACK, in microseconds.
pub const fn crossed_us(there_us: u64, back_us: u64) -> u64 {
    there_us + back_us
}

/// How long an orphan stays in FIN_WAIT2, in microseconds: `tcp_fin_timeout`, but at least three
/// and a half retransmission time-outs (`tcp_fin_time` in include/net/tcp.h).
pub const fn orphan_us(fin_timeout_us: u64, rto_us: u64) -> u64 {
    let least = (rto_us << 2) - (rto_us >> 1);
    if fin_timeout_us < least {
        least
    } else {
        fin_timeout_us
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_orphan_outlives_a_short_time_out_on_a_slow_link() {
        assert_eq!(orphan_us(3_000_000, 240_000), 3_000_000);
        assert_eq!(orphan_us(1_000_000, 1_000_000), 3_500_000);
    }

    #[test]
    fn crossing_saves_a_one_way_delay() {
        assert_eq!(both_us(20, 30) - crossed_us(20, 30), 20);
    }
}
