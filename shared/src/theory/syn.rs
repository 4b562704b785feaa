//! How long `connect()` waits for an answer that does not come: RFC 6298, sections 2 and 5; Linux
//! `tcp_write_timeout` and `tcp_retransmit_timer` in net/ipv4/tcp_timer.c.

use super::wheel::{self, Spread};

/// The first retransmission time-out of a new connection, in microseconds: a second (RFC 6298,
/// section 2.1; `TCP_TIMEOUT_INIT` in include/net/tcp.h).
pub const INITIAL_RTO_US: u64 = 1_000_000;

/// `tcp_rto_max_ms` where the kernel has no such sysctl, in microseconds: two minutes
/// (`TCP_RTO_MAX` in include/net/tcp.h).
pub const RTO_MAX_US: u64 = 120_000_000;

/// The SYN's retransmissions, as a kernel's sysctls arrange them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ladder {
    /// `tcp_syn_retries`: retransmissions whose time-out doubles from one to the next.
    pub retries: u64,
    /// `tcp_syn_linear_timeouts`: retransmissions before those, all of them a second apart. Linux
    /// has it since 6.5; 0 where it is missing.
    pub linear: u64,
    /// `tcp_rto_max_ms` in microseconds: what no time-out exceeds.
    pub rto_max_us: u64,
}

impl Ladder {
    /// How many times the SYN is sent again before the kernel gives up. Two limits are looked at
    /// each time the timer fires (`tcp_write_timeout`): the number, where linear ones do not count
    /// against `tcp_syn_retries`; and the time that `tcp_syn_retries` doublings would take without
    /// linear ones (`retransmits_timed_out`), which comes first where many linear ones meet few
    /// doubled ones.
    pub fn retransmissions(&self) -> u64 {
        let most = self.retries.saturating_add(self.linear);
        let time_us = Self { linear: 0, ..*self }.retransmission_us(self.retries + 1);
        (1..most)
            .find(|&sent| self.retransmission_us(sent + 1) >= time_us)
            .unwrap_or(most)
    }

    /// How long the kernel waits after the `nth` retransmission, in microseconds; after the SYN
    /// itself for 0. The time-out is doubled from the first retransmission on that is not among the
    /// linear ones (`tcp_retransmit_timer`).
    pub const fn wait_us(&self, nth: u64) -> u64 {
        let doublings = nth.saturating_sub(self.linear);
        let wait = match 1_u64.checked_shl(if doublings < 64 { doublings as u32 } else { 64 }) {
            Some(factor) => INITIAL_RTO_US.saturating_mul(factor),
            None => u64::MAX,
        };
        if wait < self.rto_max_us {
            wait
        } else {
            self.rto_max_us
        }
    }

    /// When the `nth` retransmission (from 1) is due, after the SYN, in microseconds, if the kernel
    /// has not given up before.
    pub fn retransmission_us(&self, nth: u64) -> u64 {
        (0..nth).map(|waited| self.wait_us(waited)).sum()
    }

    /// When the `nth` retransmission (from 1) leaves, after the SYN, as the timer wheel of a kernel
    /// with that tick has it.
    pub fn retransmission(&self, nth: u64, tick_us: u64) -> Spread {
        let waits: Vec<u64> = (0..nth).map(|waited| self.wait_us(waited)).collect();
        wheel::chain(&waits, tick_us)
    }

    /// When `connect()` fails with ETIMEDOUT, after the SYN, as the timer wheel has it.
    pub fn gives_up(&self, tick_us: u64) -> Spread {
        self.retransmission(self.retransmissions() + 1, tick_us)
    }

    /// When `connect()` fails with ETIMEDOUT by the time-outs alone, after the SYN, in microseconds: the last
    /// retransmission has its time-out to be answered, too.
    pub fn gives_up_us(&self) -> u64 {
        self.retransmission_us(self.retransmissions() + 1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ladder(retries: u64, linear: u64) -> Ladder {
        Ladder {
            retries,
            linear,
            rto_max_us: RTO_MAX_US,
        }
    }

    fn seconds(ladder: Ladder) -> Vec<u64> {
        (1..=ladder.retransmissions())
            .map(|nth| ladder.retransmission_us(nth) / 1_000_000)
            .collect()
    }

    #[test]
    fn time_outs_double_from_the_first_retransmission_on_without_linear_ones() {
        assert_eq!(seconds(ladder(6, 0)), [1, 3, 7, 15, 31, 63]);
        assert_eq!(ladder(6, 0).gives_up_us(), 127_000_000);
    }

    #[test]
    fn linear_ones_come_first_and_on_top() {
        // Linux's defaults: the last one after 67 s, the end after 131 s (ip-sysctl.rst).
        let linux = ladder(6, 4);
        assert_eq!(seconds(linux), [1, 2, 3, 4, 5, 7, 11, 19, 35, 67]);
        assert_eq!(linux.gives_up_us(), 131_000_000);
        assert_eq!(ladder(1, 0).gives_up_us(), 3_000_000);
    }

    #[test]
    fn few_doublings_after_many_linear_ones_end_by_time() {
        // 1 + 2 + 4 s are over when the sixth would be due.
        assert_eq!(seconds(ladder(2, 4)), [1, 2, 3, 4, 5]);
        assert_eq!(ladder(2, 4).gives_up_us(), 7_000_000);
        assert_eq!(ladder(1, 4).gives_up_us(), 3_000_000);
        // Here the number comes first.
        assert_eq!(seconds(ladder(2, 2)), [1, 2, 3, 5]);
        assert_eq!(ladder(2, 2).gives_up_us(), 9_000_000);
    }

    #[test]
    fn no_time_out_exceeds_the_largest() {
        let capped = Ladder {
            rto_max_us: 3_000_000,
            ..ladder(4, 0)
        };
        assert_eq!(seconds(capped), [1, 3, 6, 9]);
        assert_eq!(ladder(127, 0).wait_us(127), RTO_MAX_US);
    }
}
