//! When a middlebox forgets a connection that nobody speaks on: RFC 5382, section 5, and the timing of
//! keep-alive probes (`tcp_keepalive_timer` in net/ipv4/tcp_timer.c).

use super::keepalive;

/// A side that probes. All times in microseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Probing {
    /// When it last heard anything, on the run's clock.
    pub heard_us: u64,
    /// Its TCP_KEEPIDLE.
    pub idle_us: u64,
    /// Its TCP_KEEPINTVL.
    pub interval_us: u64,
    /// The link's one-way delay.
    pub delay_us: u64,
}

/// How a middlebox comes to forget a connection; both times are on the run's clock, in microseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Forgetting {
    /// When the last packet left that the box lets pass: it forgets its limit after that.
    pub last_passed_us: u64,
    /// When the first probe leaves that it does not let pass; absent where nobody probes.
    pub lost_probe_us: Option<u64>,
}

/// How a box with a limit forgets a connection on which the last packet left at `last_us`; `None`
/// where probes keep it, for as long as they are answered.
///
/// Between a probe's answer and the next probe the box sees nothing for idle and one delay, or for
/// the interval less one delay where that is longer: the limit must be longer than that, too.
pub fn forgetting(last_us: u64, limit_us: u64, probing: Option<Probing>) -> Option<Forgetting> {
    let Some(Probing {
        heard_us,
        idle_us,
        interval_us,
        delay_us,
    }) = probing
    else {
        return Some(Forgetting {
            last_passed_us: last_us,
            lost_probe_us: None,
        });
    };
    let first_us = heard_us.saturating_add(idle_us);
    if first_us >= last_us.saturating_add(limit_us) {
        return Some(Forgetting {
            last_passed_us: last_us,
            lost_probe_us: Some(first_us),
        });
    }
    let answer_us = first_us.saturating_add(delay_us);
    let period_us = keepalive::period_us(idle_us, interval_us, delay_us.saturating_mul(2));
    let second_us = first_us.saturating_add(period_us);
    (second_us >= answer_us.saturating_add(limit_us)).then_some(Forgetting {
        last_passed_us: answer_us,
        lost_probe_us: Some(second_us),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: u64 = 1_000_000;

    fn probing(idle: u64, interval: u64) -> Option<Probing> {
        Some(Probing {
            heard_us: 20_000,
            idle_us: idle * SECOND,
            interval_us: interval * SECOND,
            delay_us: 20_000,
        })
    }

    #[test]
    fn without_probes_the_last_packet_decides() {
        let forgetting = forgetting(5, 3 * SECOND, None).unwrap();
        assert_eq!(
            (forgetting.last_passed_us, forgetting.lost_probe_us),
            (5, None)
        );
    }

    #[test]
    fn probes_keep_a_connection_where_idle_and_interval_are_shorter_than_the_limit() {
        assert_eq!(forgetting(0, 3 * SECOND, probing(2, 1)), None);
        assert_eq!(forgetting(0, 3 * SECOND, probing(1, 2)), None);
    }

    #[test]
    fn a_long_idle_time_loses_the_first_probe_and_a_long_interval_the_second() {
        let late = forgetting(0, 3 * SECOND, probing(4, 1)).unwrap();
        assert_eq!(late.last_passed_us, 0);
        assert_eq!(late.lost_probe_us, Some(4 * SECOND + 20_000));
        let rare = forgetting(0, 3 * SECOND, probing(1, 5)).unwrap();
        assert_eq!(rare.last_passed_us, SECOND + 40_000);
        assert_eq!(rare.lost_probe_us, Some(6 * SECOND + 20_000));
    }

    #[test]
    fn the_answers_way_counts_too() {
        // The box last saw the answer leave; idle counts from its arrival, one delay later.
        assert_eq!(forgetting(0, 2_020_001, probing(2, 1)), None);
        assert!(forgetting(0, 2_020_000, probing(2, 1)).is_some());
    }
}
