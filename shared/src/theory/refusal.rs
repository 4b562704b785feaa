//! What a refusal means to the TCP that it reaches: RFC 1122, section 4.2.3.9; RFC 5461; Linux
//! `tcp_v4_err` and `tcp_reset`, and `icmp_err_convert` in net/ipv4/icmp.c.

use crate::rule::Refusal;

/// The errno that a refusal stands for while the connection is being opened, where Linux takes
/// each of them for the end (`tcp_v4_err`, SYN_SENT).
pub const fn connect_errno(refusal: Refusal) -> &'static str {
    match refusal {
        Refusal::Rst | Refusal::RstBoth => "ECONNREFUSED",
        Refusal::PortUnreachable => "ECONNREFUSED",
        Refusal::NetUnreachable => "ENETUNREACH",
        Refusal::HostUnreachable => "EHOSTUNREACH",
        // A filter's word is told like a missing host's.
        Refusal::AdminProhibited => "EHOSTUNREACH",
    }
}

/// Whether a refusal ends an established connection. ICMP does not: it is remembered as a soft
/// error, and told only once TCP has given up by itself (`sk_err_soft`).
pub const fn ends_established(refusal: Refusal) -> bool {
    matches!(refusal, Refusal::Rst | Refusal::RstBoth)
}

/// The errno with which an established connection ends at last: at once for a reset, and in the
/// place of ETIMEDOUT for ICMP, when the retransmissions are used up (`tcp_write_err`).
pub const fn established_errno(refusal: Refusal) -> &'static str {
    match refusal {
        Refusal::Rst | Refusal::RstBoth => "ECONNRESET",
        Refusal::NetUnreachable
        | Refusal::HostUnreachable
        | Refusal::PortUnreachable
        | Refusal::AdminProhibited => connect_errno(refusal),
    }
}

/// Until a sender hears that its packet was refused, in microseconds: the way to where the refusal
/// sets out, and the same share of the way back.
pub fn told_us(place: f64, there_us: u64, back_us: u64) -> u64 {
    ((there_us + back_us) as f64 * place).round() as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_reset_ends_what_is_established() {
        for (refusal, _) in Refusal::NAMES {
            assert_eq!(
                ends_established(refusal),
                established_errno(refusal) == "ECONNRESET"
            );
        }
    }

    #[test]
    fn a_refusal_from_half_way_takes_half_a_round_trip() {
        assert_eq!(told_us(0.5, 20_000, 30_000), 25_000);
    }
}
