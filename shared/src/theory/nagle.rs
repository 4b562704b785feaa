//! What small writes cost where Nagle's algorithm meets a delayed acknowledgment: RFC 9293, section
//! 3.7.4 (Nagle) and RFC 1122, section 4.2.3.2 (delayed ACK); Linux `tcp_nagle_check` and
//! `tcp_send_delayed_ack` in net/ipv4/tcp_output.c.

/// How long Linux delays an acknowledgment at least, in microseconds (`TCP_DELACK_MIN`, a 25th of a
/// second, in include/net/tcp.h). RFC 1122 allows up to half a second.
pub const DELAYED_ACK_US: u64 = 40_000;

/// An exchange whose request is written in two small pieces, the second of which Nagle's algorithm
/// holds back until the first is acknowledged, in microseconds: first piece there, after `ack_us`
/// its acknowledgment back, second piece there, response back.
pub const fn held_exchange_us(there_us: u64, back_us: u64, ack_us: u64) -> u64 {
    there_us + ack_us + back_us + there_us + back_us
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::theory::handshake::exchange_us;

    #[test]
    fn holding_back_costs_a_round_trip_and_the_acknowledgments_delay() {
        let held = held_exchange_us(2_000, 3_000, DELAYED_ACK_US);
        assert_eq!(held - exchange_us(2_000, 3_000, 0), 45_000);
    }
}
