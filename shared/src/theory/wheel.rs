//! How late Linux's timers are: the timer wheel of kernel/time/timer.c.
//!
//! A timer is put into a slot, and the slots of longer timers are coarser: each level of the wheel
//! has slots eight times as long as the level below it, and holds timers up to 63 of them. A timer
//! fires at the end of its slot, never early and up to a slot late: an eighth of its length at the
//! most. Where in its slot a timer is set cannot be known from outside, so what is predicted here is
//! a [`Spread`] over all places. What leaves the wheel in a chain is not independent: a timer that
//! was set when another fired begins at the end of that one's slot.

/// Each level's slots are 2^3 times as long as those of the level below (LVL_CLK_SHIFT).
const LEVEL_SHIFT: u32 = 3;
/// A level takes over from 63 of its slots' eighths on (LVL_START).
const LEVEL_FROM: u64 = 63;
/// The wheel has no more levels than this (LVL_DEPTH where a tick is longer than 10 ms; elsewhere
/// one more, which only timers of days meet).
const LEVELS: u32 = 8;
/// Places of the wheel that a prediction looks at; no chain of timers that is predicted here has a
/// coarser level than 4,096 ticks but for the spans of hours, whose places these sample evenly.
const PLACES: u64 = 4_096;
/// Spreads the places over the coarser levels: odd, so that none is met twice.
const STRIDE: u64 = 12_289;

/// A span of time that depends on where in the wheel it began, in microseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Spread {
    /// The shortest that it can be.
    pub earliest_us: u64,
    /// Its mean over all places.
    pub expected_us: u64,
    /// The longest that it can be.
    pub latest_us: u64,
}

impl Spread {
    /// No time at all.
    pub const NONE: Self = Self {
        earliest_us: 0,
        expected_us: 0,
        latest_us: 0,
    };

    /// The same span with something added that does not depend on the wheel, such as a round trip.
    pub const fn plus(self, us: u64) -> Self {
        Self {
            earliest_us: self.earliest_us + us,
            expected_us: self.expected_us + us,
            latest_us: self.latest_us + us,
        }
    }

    /// The spread of spans that are given in ticks, one for each place; `None` where there are none.
    ///
    /// The first timer of a chain is set at any time within a tick, on average half-way: the span is
    /// shorter than its ticks by that.
    fn of(spans: impl Iterator<Item = u64>, tick_us: u64) -> Option<Self> {
        let (mut least, mut most, mut sum, mut number) = (u64::MAX, 0, 0, 0);
        for ticks in spans {
            least = least.min(ticks);
            most = most.max(ticks);
            sum += ticks;
            number += 1;
        }
        if number == 0 {
            return None;
        }
        Some(Self {
            earliest_us: (least * tick_us).saturating_sub(tick_us),
            expected_us: (sum * tick_us / number).saturating_sub(tick_us / 2),
            latest_us: most * tick_us,
        })
    }
}

/// A time in ticks, rounded up, as `usecs_to_jiffies` and `msecs_to_jiffies` do.
pub const fn ticks(us: u64, tick_us: u64) -> u64 {
    us.div_ceil(tick_us)
}

/// When a timer fires that is set at tick `now` for `wait` ticks later (`calc_wheel_index`,
/// `calc_index`).
pub const fn fires_at(now: u64, wait: u64) -> u64 {
    let mut level = 0;
    while level + 1 < LEVELS && wait >= LEVEL_FROM << (LEVEL_SHIFT * level) {
        level += 1;
    }
    let shift = LEVEL_SHIFT * level;
    (((now + wait) >> shift) + 1) << shift
}

/// Places of the wheel, in ticks.
fn places() -> impl Iterator<Item = u64> {
    (0..PLACES).map(|place| place * STRIDE)
}

/// Follows a chain of timers from every place of the wheel. `walk` is given the tick at which the
/// first is set, and gives the ticks at which it and its followers fire; the spreads are those of
/// the times from the beginning to the first firing, the second, and so on, as far as every walk
/// goes, and of the time to the last firing of each.
pub fn follow(tick_us: u64, walk: impl Fn(u64) -> Vec<u64>) -> (Vec<Spread>, Option<Spread>) {
    let walks: Vec<Vec<u64>> = places()
        .map(|place| walk(place).into_iter().map(|at| at - place).collect())
        .collect();
    let least = walks.iter().map(Vec::len).min().unwrap_or(0);
    let steps = (0..least)
        .filter_map(|step| Spread::of(walks.iter().map(|walk| walk[step]), tick_us))
        .collect();
    let last = Spread::of(
        walks.iter().filter_map(|walk| walk.last().copied()),
        tick_us,
    );
    (steps, last)
}

/// How long timers take one after the other, each set when the one before has fired, for these
/// times in microseconds.
pub fn chain(waits_us: &[u64], tick_us: u64) -> Spread {
    let walk = |place: u64| {
        let mut now = place;
        for wait in waits_us {
            now = fires_at(now, ticks(*wait, tick_us));
        }
        vec![now]
    };
    let (_, last) = follow(tick_us, walk);
    last.unwrap_or(Spread::NONE)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_timer_is_never_early_and_at_most_an_eighth_late() {
        for wait in [1, 62, 63, 250, 503, 504, 4_000, 30_000, 1_800_000] {
            for place in places().take(700) {
                let took = fires_at(place, wait) - place;
                assert!(took > wait, "{wait} ticks fired after {took}");
                assert!(took <= wait + wait.div_ceil(8) + 1, "{wait}: {took}");
            }
        }
    }

    #[test]
    fn levels_take_over_where_the_kernel_says() {
        // LVL_START(1) = 63 ticks, slots of 8; LVL_START(2) = 504, slots of 64.
        assert_eq!(fires_at(0, 62), 63);
        assert_eq!(fires_at(0, 63), 64);
        assert_eq!(fires_at(1, 63), 72);
        assert_eq!(fires_at(0, 503), 504);
        assert_eq!(fires_at(0, 504), 512);
        assert_eq!(fires_at(8, 504), 576);
    }

    #[test]
    fn what_follows_a_slot_begins_at_its_end() {
        // 75 s are 18,750 ticks of 4 ms, in slots of 512: 194 ticks late each but for the first,
        // which is half a slot late on average.
        let probes = chain(&[75_000_000; 9], 4_000);
        let expected = 9 * 75_000_000 + 8 * 194 * 4_000 + 256 * 4_000;
        assert!(
            probes.expected_us.abs_diff(expected) < 5_000,
            "{probes:?}, not {expected}"
        );
        assert!(probes.earliest_us < probes.expected_us && probes.expected_us < probes.latest_us);
    }

    #[test]
    fn short_timers_are_half_a_tick_late_on_average() {
        let short = chain(&[200_000], 4_000);
        assert_eq!(short.expected_us, 202_000);
        assert_eq!((short.earliest_us, short.latest_us), (200_000, 204_000));
    }
}
