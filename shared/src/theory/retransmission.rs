//! When Linux retransmits what nobody acknowledges, and when it gives up: RFC 6298 (the time-out
//! and its doubling), RFC 8985, section 7 (tail loss probe), RFC 5482 (user timeout); Linux
//! net/ipv4/tcp_timer.c and `tcp_schedule_loss_probe`, net/ipv4/tcp_output.c.
//!
//! What the kernel does differs from the textbook in three ways, which are followed here:
//!
//! - The first retransmission is a tail loss probe. It neither doubles the time-out nor counts; the
//!   time-out runs anew from it.
//! - `tcp_retries2` is no number of retransmissions. The kernel works out how long so many of them
//!   would take had the time-out begun at its minimum, and gives up at the first expiry at which
//!   that time has passed since the first counted retransmission (`retransmits_timed_out`,
//!   `tcp_model_timeout`).
//! - A user timeout takes that time's place, so it counts from the first counted retransmission, not
//!   from the write; the last timer is shortened to meet it (`tcp_clamp_rto_to_user_timeout`).

use super::wheel::{self, Spread};

/// The longest retransmission time-out of a kernel without `tcp_rto_max_ms`: TCP_RTO_MAX, in
/// microseconds.
pub const RTO_MAX_US: u64 = 120_000_000;

/// The shortest one where nothing says otherwise: TCP_RTO_MIN, in microseconds.
pub const RTO_MIN_US: u64 = 200_000;

/// More retransmissions than any kernel makes: what bounds a prediction's work.
const ENOUGH: usize = 4_096;

/// A sender with nothing in flight, as its kernel tells of it, and what it is told to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sender {
    /// Its retransmission time-out (`tcpi_rto`), in microseconds.
    pub rto_us: u64,
    /// Its smoothed round trip time (`tcpi_rtt`), in microseconds.
    pub srtt_us: u64,
    /// `tcp_rto_min_us`.
    pub rto_min_us: u64,
    /// `tcp_rto_max_ms`, in microseconds.
    pub rto_max_us: u64,
    /// The kernel's tick, in microseconds.
    pub tick_us: u64,
    /// `tcp_retries2`.
    pub retries: u32,
    /// TCP_USER_TIMEOUT in microseconds; 0 where there is none.
    pub user_timeout_us: u64,
    /// Whether tail loss probes are sent: `tcp_early_retrans` is 3 or 4, and SACK is in use.
    pub loss_probe: bool,
}

/// What becomes of a segment that nobody acknowledges; times count from its departure.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ladder {
    /// When it is sent again, the tail loss probe first where there is one.
    pub retransmissions: Vec<Spread>,
    /// When the kernel gives up, and the application's call fails with ETIMEDOUT.
    pub gives_up: Spread,
}

impl Sender {
    /// A sender on an idle path of that round trip, before there is one: its time-out will not be
    /// longer. For plans, which say how long a run may take.
    pub fn planned(round_trip_us: u64, retries: u32, tick_us: u64) -> Self {
        Self {
            // The first sample alone makes it three round trips (RFC 6298, section 2.2).
            rto_us: RTO_MIN_US + 3 * round_trip_us,
            srtt_us: round_trip_us,
            rto_min_us: RTO_MIN_US,
            rto_max_us: RTO_MAX_US,
            tick_us,
            retries,
            user_timeout_us: 0,
            loss_probe: true,
        }
    }

    /// How long after the first counted retransmission the kernel goes on, in microseconds: the
    /// user timeout, or the time that `tcp_retries2` stands for (`tcp_model_timeout`).
    pub fn patience_us(&self) -> u64 {
        if self.user_timeout_us > 0 {
            return self.user_timeout_us;
        }
        // In ticks, as the kernel counts them.
        let base = wheel::ticks(self.rto_min_us, self.tick_us).max(1);
        let most = wheel::ticks(self.rto_max_us, self.tick_us).max(base);
        let doublings = (most / base).ilog2().min(self.retries);
        let doubled = ((2 << doublings) - 1) * base;
        (doubled + u64::from(self.retries - doublings) * most) * self.tick_us
    }

    /// What becomes of one segment that is sent now and never acknowledged.
    pub fn ladder(&self) -> Ladder {
        let (mut steps, last) = wheel::follow(self.tick_us, |place| self.walk(place));
        let gives_up = last.unwrap_or(Spread::NONE);
        // The last firing of every walk is the giving up.
        let retransmissions = steps.len().saturating_sub(1);
        steps.truncate(retransmissions);
        Ladder {
            retransmissions: steps,
            gives_up,
        }
    }

    /// The ticks at which the timer fires, for a segment that is sent at tick `now`.
    fn walk(&self, mut now: u64) -> Vec<u64> {
        let tick = self.tick_us;
        let most = wheel::ticks(self.rto_max_us, tick);
        let patience_us = self.patience_us();
        let mut rto = wheel::ticks(self.rto_us, tick);
        let mut fired = Vec::new();
        if self.loss_probe {
            // One segment alone may be acknowledged late; the probe waits that out, but no longer
            // than the time-out (`tcp_schedule_loss_probe`).
            let probe = wheel::ticks(2 * self.srtt_us + self.rto_min_us, tick);
            now = wheel::fires_at(now, probe.min(rto));
            fired.push(now);
        }
        now = wheel::fires_at(now, rto);
        fired.push(now);
        let first = now;
        while fired.len() < ENOUGH {
            rto = (rto * 2).min(most);
            let mut wait = rto;
            if self.user_timeout_us > 0 {
                let left_us = patience_us.saturating_sub((now - first) * tick);
                wait = wait.min(wheel::ticks(left_us, tick)).max(1);
            }
            now = wheel::fires_at(now, wait);
            fired.push(now);
            if (now - first) * tick >= patience_us {
                break;
            }
        }
        fired
    }
}

/// When an idle connection with keep-alive and a user timeout is given up, after it last heard of
/// its peer: at the first expiry of the keep-alive timer at which a probe is unanswered and the user
/// timeout has passed, however many probes that makes (`tcp_keepalive_timer`).
pub fn probed_us(idle_us: u64, interval_us: u64, user_timeout_us: u64, tick_us: u64) -> Spread {
    let (_, last) = wheel::follow(tick_us, |place| {
        let mut now = wheel::fires_at(place, wheel::ticks(idle_us, tick_us));
        for _ in 0..ENOUGH {
            now = wheel::fires_at(now, wheel::ticks(interval_us, tick_us));
            if (now - place) * tick_us >= user_timeout_us {
                break;
            }
        }
        vec![now]
    });
    last.unwrap_or(Spread::NONE)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SENDER: Sender = Sender {
        rto_us: 212_000,
        srtt_us: 10_200,
        rto_min_us: RTO_MIN_US,
        rto_max_us: RTO_MAX_US,
        tick_us: 4_000,
        retries: 5,
        user_timeout_us: 0,
        loss_probe: true,
    };

    #[test]
    fn the_kernel_works_out_how_long_the_retries_would_take() {
        let patience = |retries| Sender { retries, ..SENDER }.patience_us();
        assert_eq!(patience(5), 12_600_000);
        // The figure of Linux's documentation of tcp_retries2.
        assert_eq!(patience(15), 924_600_000);
        let capped = Sender {
            retries: 15,
            rto_max_us: 1_000_000,
            ..SENDER
        };
        assert_eq!(capped.patience_us(), 14_400_000);
    }

    #[test]
    fn a_probe_and_five_doublings_and_then_it_gives_up() {
        let ladder = SENDER.ladder();
        // The probe, the first counted one, and the doublings before the patience is over.
        assert_eq!(ladder.retransmissions.len(), 6);
        let sum = 212_000 * 2 + 212_000 * 62;
        assert!(ladder.gives_up.earliest_us >= sum, "{ladder:?}");
        assert!(ladder.gives_up.latest_us <= sum + sum / 20, "{ladder:?}");
    }

    #[test]
    fn without_the_probe_it_gives_up_a_time_out_earlier() {
        let plain = Sender {
            loss_probe: false,
            ..SENDER
        };
        let (with, without) = (SENDER.ladder(), plain.ladder());
        assert_eq!(
            with.retransmissions.len(),
            without.retransmissions.len() + 1
        );
        let saved = with.gives_up.expected_us - without.gives_up.expected_us;
        assert!(saved.abs_diff(212_000) < 30_000, "{saved}");
    }

    #[test]
    fn a_longer_time_out_needs_fewer_retransmissions_for_the_same_patience() {
        let slow = Sender {
            rto_us: 800_000,
            srtt_us: 600_000,
            ..SENDER
        };
        assert!(slow.ladder().retransmissions.len() < SENDER.ladder().retransmissions.len());
    }

    #[test]
    fn a_user_timeout_counts_from_the_first_counted_retransmission() {
        let bounded = Sender {
            user_timeout_us: 3_000_000,
            retries: 15,
            ..SENDER
        };
        let gives_up = bounded.ladder().gives_up;
        let sum = 2 * 212_000 + 3_000_000;
        assert!(gives_up.earliest_us >= sum, "{gives_up:?}");
        assert!(gives_up.latest_us < sum + 300_000, "{gives_up:?}");
        let long = Sender {
            user_timeout_us: 20_000_000,
            retries: 3,
            ..SENDER
        };
        assert!(
            long.ladder().gives_up.earliest_us >= 20_000_000,
            "it takes the place of tcp_retries2, it does not shorten it"
        );
    }

    #[test]
    fn with_keepalive_the_user_timeout_waits_for_the_next_probe() {
        let seconds = |count: u64| count * 1_000_000;
        let near = |spread: Spread, us: u64| {
            assert!(
                spread.earliest_us >= us && spread.latest_us < us + 400_000,
                "{spread:?}"
            );
        };
        // Between two probes.
        near(
            probed_us(seconds(2), seconds(1), 3_500_000, 4_000),
            seconds(4),
        );
        // Shorter than the first probe's answer may take.
        near(
            probed_us(seconds(2), seconds(1), 500_000, 4_000),
            seconds(3),
        );
        // More than three probes.
        near(
            probed_us(seconds(2), seconds(1), seconds(10), 4_000),
            seconds(10),
        );
    }
}
