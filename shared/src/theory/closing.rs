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

/// How many flights `segments` take that are given to a connection at once, whose congestion window
/// is `window` segments: slow start doubles it with each round trip (RFC 5681, section 3.1).
pub const fn flights(segments: u64, window: u64) -> u64 {
    let (mut left, mut window, mut flights) = (segments, window, 0);
    while left > 0 {
        left = left.saturating_sub(window);
        window = window.saturating_mul(2);
        flights += 1;
        // A window of nothing carries nothing, ever.
        if window == 0 {
            break;
        }
    }
    flights
}

/// Until the closer's FIN is there, which follows the last of `flights` flights, in microseconds.
pub const fn last_word_us(flights: u64, there_us: u64, back_us: u64) -> u64 {
    there_us + flights.saturating_sub(1) * (there_us + back_us)
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
    #[test]
    fn a_window_doubles_with_each_flight() {
        let taken = [0, 1, 10, 11, 30, 31].map(|segments| flights(segments, 10));
        assert_eq!(taken, [0, 1, 1, 2, 2, 3]);
        assert_eq!(flights(5, 0), 1);
    }

    #[test]
    fn a_fin_shares_the_way_of_the_last_flight() {
        assert_eq!(last_word_us(0, 20, 30), 20);
        assert_eq!(last_word_us(1, 20, 30), 20);
        assert_eq!(last_word_us(3, 20, 30), 120);
    }
}
