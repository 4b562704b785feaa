//! What a refusal means to the TCP that it reaches: RFC 1122, section 4.2.3.9; RFC 5461; Linux
//! `tcp_v4_err` and `tcp_reset`, and `icmp_err_convert` in net/ipv4/icmp.c.

use super::{
    retransmission::{Ladder, Sender},
    wheel::{self, Spread},
};
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

/// Whether a refusal takes the sender's back-off back: the time-out is doubled only while nothing is
/// heard, and these two say that the path is broken rather than congested (RFC 6069;
/// `tcp_ld_RTO_revert`).
pub const fn reverts_backoff(refusal: Refusal) -> bool {
    matches!(refusal, Refusal::NetUnreachable | Refusal::HostUnreachable)
}

/// How many retransmissions at a steady pace are told one by one: beyond some minutes of them only
/// the giving up is.
const TOLD: usize = 512;

/// What becomes of a segment of an established connection whose every transmission is refused with
/// ICMP; times count from its departure.
pub fn refused_ladder(refusal: Refusal, sender: &Sender) -> Ladder {
    if !reverts_backoff(refusal) {
        return sender.ladder();
    }
    let tick = sender.tick_us;
    let patience_us = sender.patience_us();
    let rto = wheel::ticks(sender.rto_us, tick);
    let (mut steps, last) = wheel::follow(tick, |place| {
        let mut fired = Vec::new();
        let mut now = place;
        if sender.loss_probe {
            let probe = wheel::ticks(2 * sender.srtt_us + sender.rto_min_us, tick);
            now = wheel::fires_at(now, probe.min(rto));
            fired.push(now);
        }
        now = wheel::fires_at(now, rto);
        fired.push(now);
        let first = now;
        while (now - first) * tick < patience_us {
            now = wheel::fires_at(now, rto.max(1));
            fired.truncate(TOLD);
            fired.push(now);
        }
        fired
    });
    // The last firing of every walk is the giving up.
    steps.pop();
    Ladder {
        retransmissions: steps,
        gives_up: last.unwrap_or(Spread::NONE),
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
    fn a_missing_host_is_asked_for_again_and_again_at_the_same_pace() {
        let sender = Sender {
            rto_us: 240_000,
            srtt_us: 40_000,
            rto_min_us: 200_000,
            rto_max_us: 120_000_000,
            tick_us: 4_000,
            retries: 3,
            user_timeout_us: 0,
            loss_probe: true,
        };
        let doubled = refused_ladder(Refusal::PortUnreachable, &sender);
        assert_eq!(doubled, sender.ladder());
        let steady = refused_ladder(Refusal::HostUnreachable, &sender);
        assert!(steady.retransmissions.len() > 2 * doubled.retransmissions.len());
        // The same patience of 3 s, counted from the second, but found over sooner.
        assert!(steady.gives_up.earliest_us >= 2 * 240_000 + 3_000_000);
        assert!(steady.gives_up.latest_us < doubled.gives_up.earliest_us);
    }

    #[test]
    fn a_refusal_from_half_way_takes_half_a_round_trip() {
        assert_eq!(told_us(0.5, 20_000, 30_000), 25_000);
    }
}
