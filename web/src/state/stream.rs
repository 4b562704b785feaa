//! The event stream as seen from the page: which numbers are expected, how long to wait before
//! trying again, and what the top bar says of it.

use linger_shared::{
    event::Event,
    protocol::{RunInfo, StreamMessage},
};

use super::load::Trouble;

/// The first pause before a reconnect, in milliseconds.
const FIRST_PAUSE_MS: f64 = 250.0;

/// The longest pause before a reconnect, in milliseconds.
const LONGEST_PAUSE_MS: f64 = 5_000.0;

/// After so many attempts without an answer the page calls itself offline; it goes on trying.
pub const OFFLINE_AFTER: u32 = 4;

/// How the page stands to the run's events.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Link {
    /// The first connection is being made.
    Connecting,
    /// Events arrive as they happen.
    Live,
    /// The run waits for its turn; the stream is open.
    Queued,
    /// The run is over and all of it is here.
    Replay,
    /// The connection was lost a moment ago.
    Reconnecting,
    /// The server has not answered for a while.
    Offline,
    /// The server speaks another version of the protocol.
    Outdated,
    /// The server does not have this run.
    Lost,
}

impl Link {
    /// The word that the top bar shows.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Connecting => "CONNECTING",
            Self::Live => "LIVE",
            Self::Queued => "QUEUED",
            Self::Replay => "REPLAY",
            Self::Reconnecting => "RECONNECTING",
            Self::Offline => "OFFLINE",
            Self::Outdated => "OUTDATED",
            Self::Lost => "NOT FOUND",
        }
    }

    /// What the word means, for a tooltip and for the announcement.
    pub const fn meaning(self) -> &'static str {
        match self {
            Self::Connecting => "Connecting to the run's event stream",
            Self::Live => "Events arrive as they happen",
            Self::Queued => "The run waits for its turn",
            Self::Replay => "The run is over; this is its record",
            Self::Reconnecting => "The connection was lost; reconnecting without a gap",
            Self::Offline => {
                "The server does not answer; the page keeps what it has and goes on trying"
            }
            Self::Outdated => "The server was updated; reload the page",
            Self::Lost => "The server does not have this run",
        }
    }
}

/// What the stream reports.
#[derive(Debug, Clone, PartialEq)]
pub enum Report {
    /// The run as it stands, at the beginning of an attempt.
    Run {
        /// The run.
        info: Box<RunInfo>,
        /// When the answer came, on the page's clock, in milliseconds.
        page_ms: f64,
    },
    /// A message; doubled events are already left out.
    Message {
        /// The message.
        message: Box<StreamMessage>,
        /// When it came, on the page's clock, in milliseconds.
        page_ms: f64,
    },
    /// The connection is down and will be tried again.
    Down {
        /// Attempts in a row that failed.
        failures: u32,
        /// Whether the browser has a network at all.
        online: bool,
    },
    /// The server has no such run, or will not give it; the stream has ended.
    Refused(Trouble),
    /// The server speaks another version of the protocol; the stream has ended.
    Outdated,
}

/// How long to wait before attempt number `failures` (from 1), in milliseconds: doubling from a
/// quarter of a second to five seconds, of which `random` (0 to 1) takes away up to a half, so
/// that a class full of pages does not come back in one moment.
pub fn pause_ms(failures: u32, random: f64) -> u32 {
    let doubled = FIRST_PAUSE_MS * 2_f64.powi(failures.saturating_sub(1).min(16) as i32);
    let pause = doubled.min(LONGEST_PAUSE_MS);
    (pause * (1.0 - 0.5 * random.clamp(0.0, 1.0)))
        .round()
        .max(FIRST_PAUSE_MS) as u32
}

/// What to do with a batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Batch {
    /// Take all of it but the first so many, which are already here.
    Take {
        /// How many to leave out.
        skip: usize,
    },
    /// Events are missing before it: ask again from the next expected number.
    Gap {
        /// The number that should have come.
        expected: u64,
    },
}

/// Compares a batch, numbered without gaps within itself, with the next expected number.
pub fn judge(expected: u64, events: &[Event]) -> Batch {
    match events.first() {
        Some(first) if first.seq > expected => Batch::Gap { expected },
        Some(first) => Batch::Take {
            skip: usize::try_from(expected - first.seq)
                .unwrap_or(usize::MAX)
                .min(events.len()),
        },
        None => Batch::Take { skip: 0 },
    }
}

#[cfg(test)]
mod tests {
    use linger_shared::event::{Fact, Observer};

    use super::*;

    fn batch(from: u64, count: u64) -> Vec<Event> {
        (from..from + count)
            .map(|seq| Event {
                seq,
                at_us: seq,
                seen_by: Observer::Wire,
                fact: Fact::PacketArrived { id: seq },
            })
            .collect()
    }

    #[test]
    fn the_next_batch_is_taken_whole() {
        assert_eq!(judge(5, &batch(5, 3)), Batch::Take { skip: 0 });
        assert_eq!(judge(5, &[]), Batch::Take { skip: 0 });
    }

    #[test]
    fn doubled_events_are_left_out() {
        assert_eq!(judge(5, &batch(3, 4)), Batch::Take { skip: 2 });
        assert_eq!(judge(9, &batch(3, 4)), Batch::Take { skip: 4 });
    }

    #[test]
    fn a_gap_asks_for_the_missing_number() {
        assert_eq!(judge(5, &batch(7, 2)), Batch::Gap { expected: 5 });
    }

    #[test]
    fn pauses_double_up_to_five_seconds() {
        let pauses: Vec<u32> = (1..=7).map(|failures| pause_ms(failures, 0.0)).collect();
        assert_eq!(pauses, [250, 500, 1_000, 2_000, 4_000, 5_000, 5_000]);
        assert_eq!(pause_ms(u32::MAX, 0.0), 5_000);
    }

    #[test]
    fn chance_shortens_a_pause_but_never_below_the_first() {
        assert_eq!(pause_ms(6, 1.0), 2_500);
        assert_eq!(pause_ms(1, 1.0), 250);
    }
}
