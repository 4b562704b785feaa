//! One direction of a link: what its conditions do to each packet. Pure: time comes in from
//! outside, and chance from the run's seed.
//!
//! A packet waits for its turn where there is a rate, then travels for the delay and its share of
//! the jitter. On its way it may be lost or doubled, or held back so that a later one overtakes it.
//! The choices follow from the run's seed, the direction, and how many packets went before.

use std::time::{Duration, Instant};

use linger_shared::{event::HostName, link::Conditions};
use rand_chacha::{
    ChaCha8Rng,
    rand_core::{RngCore, SeedableRng},
};

use super::flights::Ticket;

/// Where a packet is lost, and where the narrow part of a link with a small MTU is: half-way.
pub(super) const MIDDLE: f64 = 0.5;

/// How long a packet is held back at most for a later one to overtake it. Well below the 200 ms
/// that a Linux TCP waits at least before it sends again (`TCP_RTO_MIN`, include/net/tcp.h), so
/// that a packet nobody follows is late, but not taken for lost.
const LONGEST_HOLD: Duration = Duration::from_millis(50);

/// How many packets are held back at the same time at most: some packet has to go ahead.
const MOST_HELD: usize = 8;

/// What becomes of a packet that enters a direction.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Passage {
    /// The queue is full: it goes no further.
    Full,
    /// It travels.
    Travels(Travel),
}

/// A packet's way.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Travel {
    /// When the link has taken its last bit.
    pub(super) sent: Instant,
    /// When it arrives.
    pub(super) due: Instant,
    /// Whether it is lost on its way.
    pub(super) lost: bool,
    /// Whether it arrives twice.
    pub(super) doubled: bool,
    /// Whether it is held back, so that `due` is the latest time at which it arrives.
    pub(super) held: bool,
}

impl Travel {
    /// When the packet is at a place: 0 at the sender, 1 at the receiver.
    pub(super) fn at(&self, place: f64) -> Instant {
        let way = self.due.saturating_duration_since(self.sent);
        self.sent + way.mul_f64(place.clamp(0.0, 1.0))
    }
}

/// One direction of a link.
pub(super) struct Direction {
    pub(super) from: HostName,
    pub(super) to: HostName,
    conditions: Conditions,
    dice: ChaCha8Rng,
    /// When the link has sent everything that it took.
    idle_from: Option<Instant>,
    /// When the last packet arrives that keeps its place in the order.
    last_due: Option<Instant>,
    /// Packets that wait to be overtaken.
    pub(super) held: Vec<Ticket>,
    /// Packets under way.
    pub(super) aboard: usize,
}

impl Direction {
    /// A direction on which nothing has moved yet.
    pub(super) fn new(from: HostName, to: HostName, conditions: Conditions, seed: u64) -> Self {
        let mut dice = ChaCha8Rng::seed_from_u64(seed);
        dice.set_stream((from as u64) << 8 | to as u64);
        Self {
            from,
            to,
            conditions,
            dice,
            idle_from: None,
            last_due: None,
            held: Vec::new(),
            aboard: 0,
        }
    }

    /// What the direction is like.
    pub(super) fn conditions(&self) -> &Conditions {
        &self.conditions
    }

    /// How long a packet is on its way where nothing disturbs it.
    pub(super) fn delay(&self) -> Duration {
        Duration::from_micros(self.conditions.delay_us)
    }

    /// Makes the direction another from now on. What is under way stays as it is; what waits for
    /// its turn leaves at the new rate, as far as later packets are concerned; and nothing that
    /// enters now overtakes what entered before.
    pub(super) fn change(&mut self, conditions: Conditions, now: Instant) {
        if let Some(idle_from) = self.idle_from {
            let backlog = self.backlog(now);
            self.idle_from = match conditions.rate_bps {
                Some(rate) => Some(now + serialisation(backlog, rate)),
                None => Some(idle_from.min(now)),
            };
        }
        self.conditions = conditions;
    }

    /// Bytes that the link has taken and not yet sent.
    fn backlog(&self, now: Instant) -> u64 {
        let (Some(rate), Some(idle_from)) = (self.conditions.rate_bps, self.idle_from) else {
            return 0;
        };
        let left = idle_from.saturating_duration_since(now);
        let bytes = left.as_nanos() * u128::from(rate) / 8_000_000_000;
        u64::try_from(bytes).unwrap_or(u64::MAX)
    }

    /// Takes a packet of `length` bytes that enters now.
    ///
    /// An idle link takes any packet; a busy one takes what fits beside the bytes that wait, those
    /// of the packet that is just being sent included.
    pub(super) fn admit(&mut self, length: usize, now: Instant) -> Passage {
        let length = length as u64;
        let mut sent = now;
        if let Some(rate) = self.conditions.rate_bps {
            let backlog = self.backlog(now);
            if backlog > 0 && backlog + length > self.conditions.queue_bytes {
                return Passage::Full;
            }
            sent = self.idle_from.map_or(now, |idle| idle.max(now)) + serialisation(length, rate);
            self.idle_from = Some(sent);
        }
        let way = self.way();
        let (lost, doubled, mut held) = self.chances();
        held = held && !lost && self.held.len() < MOST_HELD;
        let mut due = sent + way;
        if held {
            due = due.max(self.last_due.unwrap_or(due)) + LONGEST_HOLD;
        } else if !lost {
            due = due.max(self.last_due.unwrap_or(due));
            self.last_due = Some(due);
        }
        Passage::Travels(Travel {
            sent,
            due,
            lost,
            doubled: doubled && !lost,
            held,
        })
    }

    /// The delay with this packet's share of the jitter.
    fn way(&mut self) -> Duration {
        let Conditions {
            delay_us,
            jitter_us,
            ..
        } = self.conditions;
        if jitter_us == 0 {
            return self.delay();
        }
        // In nanoseconds, so that jitter of a few microseconds is not a few steps; 2^63 of them
        // are three centuries.
        let spread = u128::from(jitter_us) * 2_000;
        let share = (u128::from(self.dice.next_u64()) * (spread + 1)) >> 64;
        let longest = (u128::from(delay_us) + u128::from(jitter_us)) * 1_000;
        let nanos = longest.saturating_sub(share);
        Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX))
    }

    /// Whether a packet is lost, doubled, held back. All three are drawn wherever one of them may
    /// come true, so that one share's change does not disturb the choices of the others.
    fn chances(&mut self) -> (bool, bool, bool) {
        let Conditions {
            loss,
            duplicate,
            reorder,
            ..
        } = self.conditions;
        if loss <= 0.0 && duplicate <= 0.0 && reorder <= 0.0 {
            return (false, false, false);
        }
        (
            self.comes_true(loss),
            self.comes_true(duplicate),
            self.comes_true(reorder),
        )
    }

    fn comes_true(&mut self, share: f64) -> bool {
        let drawn = f64::from(self.dice.next_u32()) / (f64::from(u32::MAX) + 1.0);
        drawn < share
    }
}

/// How long a link of `rate` bits per second takes for so many bytes. A rate of nothing is a link
/// that takes for ever; an hour for each packet comes close.
fn serialisation(bytes: u64, rate: u64) -> Duration {
    const LONGEST: Duration = Duration::from_secs(3_600);
    let nanos = (u128::from(bytes) * 8_000_000_000).checked_div(u128::from(rate));
    nanos
        .and_then(|nanos| u64::try_from(nanos).ok())
        .map_or(LONGEST, Duration::from_nanos)
        .min(LONGEST)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn direction(conditions: Conditions) -> Direction {
        Direction::new(HostName::Client, HostName::Server, conditions, 42)
    }

    fn travel(direction: &mut Direction, length: usize, now: Instant) -> Travel {
        match direction.admit(length, now) {
            Passage::Travels(travel) => travel,
            Passage::Full => panic!("the queue is full"),
        }
    }

    fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    #[test]
    fn a_link_without_conditions_carries_a_packet_in_no_time() {
        let now = Instant::now();
        let travel = travel(&mut direction(Conditions::default()), 1_500, now);
        assert_eq!((travel.sent, travel.due), (now, now));
        assert!(!travel.lost && !travel.doubled && !travel.held);
    }

    #[test]
    fn jitter_spreads_evenly_around_the_delay_and_keeps_the_order() {
        let mut jittery = direction(Conditions {
            delay_us: 20_000,
            jitter_us: 5_000,
            ..Conditions::default()
        });
        let start = Instant::now();
        // Further apart than the jitter: each delay is seen for itself.
        let mut micros: Vec<u128> = (0..10_000)
            .map(|nth| {
                let now = start + ms(100 * nth);
                (travel(&mut jittery, 100, now).due - now).as_micros()
            })
            .collect();
        micros.sort_unstable();
        assert!(micros[0] >= 15_000 && micros[9_999] <= 25_000);
        let quarters = [micros[2_500], micros[5_000], micros[7_500]];
        for (found, expected) in quarters.into_iter().zip([17_500_u128, 20_000, 22_500]) {
            assert!(found.abs_diff(expected) < 200, "{quarters:?}");
        }
        // And close together: nobody overtakes.
        let late = start + ms(10_000_000);
        let dues: Vec<_> = (0..1_000)
            .map(|nth| travel(&mut jittery, 100, late + Duration::from_micros(nth * 10)).due)
            .collect();
        assert!(dues.is_sorted());
    }

    #[test]
    fn jitter_beyond_the_delay_never_takes_less_than_no_time() {
        let mut jittery = direction(Conditions {
            delay_us: 1_000,
            jitter_us: 10_000,
            ..Conditions::default()
        });
        let start = Instant::now();
        for nth in 0..1_000 {
            let now = start + ms(100 * nth);
            let due = travel(&mut jittery, 100, now).due;
            assert!(due >= now && due <= now + ms(11));
        }
    }

    #[test]
    fn a_rate_sends_one_packet_behind_the_other_and_drops_what_the_queue_cannot_hold() {
        // 1,000 bytes take 1 ms.
        let mut slow = direction(Conditions {
            delay_us: 5_000,
            rate_bps: Some(8_000_000),
            queue_bytes: 3_000,
            ..Conditions::default()
        });
        let now = Instant::now();
        let dues: Vec<_> = (0..3)
            .map(|_| travel(&mut slow, 1_000, now).due - now)
            .collect();
        assert_eq!(dues, [ms(6), ms(7), ms(8)]);
        assert_eq!(slow.admit(1, now), Passage::Full);
        // Half of the first packet has been sent.
        let later = now + Duration::from_micros(500);
        assert_eq!(slow.admit(501, later), Passage::Full);
        assert_eq!(
            travel(&mut slow, 500, later).sent,
            now + Duration::from_micros(3_500)
        );
        // An idle link takes a packet that is larger than its queue.
        let idle = now + ms(100);
        assert_eq!(travel(&mut slow, 8_000, idle).sent, idle + ms(8));
    }

    #[test]
    fn a_new_rate_holds_for_what_waits() {
        let mut slow = direction(Conditions {
            rate_bps: Some(8_000_000),
            ..Conditions::default()
        });
        let now = Instant::now();
        for _ in 0..10 {
            travel(&mut slow, 1_000, now);
        }
        let faster = Conditions {
            rate_bps: Some(80_000_000),
            ..Conditions::default()
        };
        slow.change(faster, now);
        let sent = travel(&mut slow, 1_000, now).sent;
        assert_eq!(sent, now + Duration::from_micros(1_100));
    }

    #[test]
    fn a_shorter_delay_lets_nobody_overtake() {
        let mut path = direction(Conditions::delay(100_000));
        let now = Instant::now();
        let before = travel(&mut path, 100, now).due;
        path.change(Conditions::delay(1_000), now);
        assert_eq!(travel(&mut path, 100, now).due, before);
        let later = now + ms(100);
        assert_eq!(travel(&mut path, 100, later).due, later + ms(1));
    }

    #[test]
    fn shares_come_true_as_often_as_they_say() {
        let mut rough = direction(Conditions {
            loss: 0.1,
            duplicate: 0.05,
            reorder: 0.2,
            ..Conditions::default()
        });
        let start = Instant::now();
        let (mut lost, mut doubled, mut held) = (0, 0, 0);
        for nth in 0..100_000 {
            let travel = travel(&mut rough, 100, start + ms(nth));
            lost += u32::from(travel.lost);
            doubled += u32::from(travel.doubled);
            held += u32::from(travel.held);
        }
        // What is lost is neither doubled nor held back. Five standard deviations.
        assert!((9_500..10_500).contains(&lost), "{lost}");
        assert!((4_160..4_840).contains(&doubled), "{doubled}");
        assert!((17_400..18_600).contains(&held), "{held}");
    }

    #[test]
    fn the_seed_and_the_direction_decide_every_choice() {
        let rough = Conditions {
            loss: 0.5,
            jitter_us: 1_000,
            ..Conditions::default()
        };
        let now = Instant::now();
        let choices = |from, to, seed| {
            let mut direction = Direction::new(from, to, rough.clone(), seed);
            (0..64)
                .map(|nth| travel(&mut direction, 100, now + ms(nth)).lost)
                .collect::<Vec<_>>()
        };
        let (client, server) = (HostName::Client, HostName::Server);
        assert_eq!(choices(client, server, 1), choices(client, server, 1));
        assert_ne!(choices(client, server, 1), choices(client, server, 2));
        assert_ne!(choices(client, server, 1), choices(server, client, 1));
    }

    #[test]
    fn what_is_held_back_is_released_in_bounded_time_and_never_all_at_once() {
        let mut disorder = direction(Conditions {
            reorder: 1.0,
            ..Conditions::delay(10_000)
        });
        let now = Instant::now();
        let held = travel(&mut disorder, 100, now);
        assert!(held.held);
        assert_eq!(held.due, now + ms(10) + LONGEST_HOLD);
        let mut flights = super::super::flights::Flights::default();
        for _ in 0..MOST_HELD {
            let flight = super::super::flights::Flight {
                link: 0,
                departed: now,
                over: now,
                ending: super::super::flights::Ending::Alarm,
            };
            disorder.held.push(flights.book(now, flight));
        }
        assert!(!travel(&mut disorder, 100, now).held);
    }
}
