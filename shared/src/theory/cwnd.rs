//! How much a sender may send before it hears of it: slow start (RFC 5681, section 3.1), and what
//! idling does to it (RFC 5681, section 4.1; RFC 2861; Linux `tcp_slow_start_after_idle_check` and
//! `tcp_cwnd_restart`, net/ipv4/tcp_output.c).

/// The initial window, in segments (RFC 6928; `TCP_INIT_CWND` in include/net/tcp.h).
pub const INITIAL: u64 = 10;

/// The payload of a full segment, in bytes: the MTU without the headers of IPv4 and TCP, and
/// without the timestamps option where it is in use (RFC 7323).
pub const fn payload(mtu: u64, timestamps: bool) -> u64 {
    mtu - 20 - 20 - if timestamps { 12 } else { 0 }
}

/// How many round trips a transfer of so many segments takes, from the request to its last byte,
/// for a sender that starts with a window of `cwnd`: each round's acknowledgments double the window
/// up to `ssthresh` (absent while it is infinite) and add a segment from there on.
pub fn rounds(segments: u64, cwnd: u64, ssthresh: Option<u64>) -> u64 {
    let (mut left, mut window, mut rounds) = (segments, cwnd.max(1), 1);
    while left > window {
        left -= window;
        rounds += 1;
        window = match ssthresh {
            Some(threshold) if window >= threshold => window + 1,
            Some(threshold) => (2 * window).min(threshold.max(window + 1)),
            None => 2 * window,
        };
    }
    rounds
}

/// The window of a sender that has sent nothing for `idle_us`: halved for each retransmission
/// time-out of the idle time but the last, and never below the initial window. RFC 5681 would have
/// it fall to that at once.
pub fn after_idle(cwnd: u64, idle_us: u64, rto_us: u64) -> u64 {
    let rto_us = rto_us.max(1);
    if idle_us <= rto_us {
        return cwnd;
    }
    let least = INITIAL.min(cwnd);
    let mut window = cwnd;
    let mut left = idle_us.saturating_sub(rto_us);
    while left > 0 && window > least {
        window /= 2;
        left = left.saturating_sub(rto_us);
    }
    window.max(least)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slow_start_doubles_until_the_threshold() {
        assert_eq!(rounds(10, 10, None), 1);
        assert_eq!(rounds(11, 10, None), 2);
        // 10 + 20 + 40 + 80 = 150.
        assert_eq!(rounds(150, 10, None), 4);
        assert_eq!(rounds(151, 10, None), 5);
        // 10 + 20 + 30 + 31 + 32.
        assert_eq!(rounds(92, 10, Some(30)), 5);
        assert_eq!(rounds(0, 10, None), 1);
    }

    #[test]
    fn idling_halves_the_window_for_each_time_out() {
        let after = |idle_ms: u64| after_idle(160, idle_ms * 1_000, 300_000);
        assert_eq!(after(300), 160, "not longer than the time-out");
        assert_eq!(after(400), 80);
        assert_eq!(after(700), 40);
        assert_eq!(after(1_000), 20);
        assert_eq!(after(60_000), 10);
        assert_eq!(after_idle(6, 60_000_000, 300_000), 6, "never raised");
    }

    #[test]
    fn a_full_segment_of_ethernet_carries_1448_bytes() {
        assert_eq!(payload(1_500, true), 1_448);
        assert_eq!(payload(1_500, false), 1_460);
    }
}
