//! Tells a surge of packets from a dialogue.
//!
//! A hub that goes before everything else is woken by every single packet of a surge, and takes the
//! core away from its sender each time. Where it takes its turn, packets come in dozens: nearly
//! twice the throughput was found to depend on that. Dialogues, where each packet waits for the one
//! before it, gain nothing from it. In a surge many packets in a row come from the same host; in a
//! dialogue, and where many runs talk beside each other, each comes from another than the last.

use std::time::{Duration, Instant};

/// How often it is decided anew.
const PERIOD: Duration = Duration::from_millis(1);

/// How many packets of a period make a surge.
const MANY: u32 = 50;

/// Watches which host each packet came from.
pub(super) struct Surge {
    since: Instant,
    packets: u32,
    /// How many of them came from another host than the one before.
    turns: u32,
    last: Option<(u32, usize)>,
    on: bool,
}

impl Surge {
    /// No surge yet.
    pub(super) fn new(now: Instant) -> Self {
        Self {
            since: now,
            packets: 0,
            turns: 0,
            last: None,
            on: false,
        }
    }

    /// A packet came from a host of a link.
    pub(super) fn packet(&mut self, link: u32, host: usize) {
        self.packets += 1;
        if self.last.replace((link, host)) != Some((link, host)) {
            self.turns += 1;
        }
    }

    /// Whether a surge has begun (true) or ended (false) since the last question.
    pub(super) fn turned(&mut self, now: Instant) -> Option<bool> {
        if now.saturating_duration_since(self.since) < PERIOD {
            return None;
        }
        let on = self.packets >= MANY && self.turns * 4 < self.packets * 3;
        self.since = now;
        self.packets = 0;
        self.turns = 0;
        (std::mem::replace(&mut self.on, on) != on).then_some(on)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Whether a period with packets from these hosts is a surge.
    fn is_surge(hosts: impl IntoIterator<Item = usize>) -> bool {
        let start = Instant::now();
        let mut surge = Surge::new(start);
        for host in hosts {
            surge.packet(0, host);
        }
        assert_eq!(surge.turned(start), None, "the period is not over");
        let begun = surge.turned(start + PERIOD) == Some(true);
        assert_eq!(surge.turned(start + PERIOD * 2), begun.then_some(false));
        begun
    }

    #[test]
    fn many_packets_from_one_host_are_a_surge() {
        assert!(is_surge([0; 100]));
        // A stream whose every second segment is acknowledged.
        assert!(is_surge((0..100).map(|nth| usize::from(nth % 3 == 0))));
    }

    #[test]
    fn questions_and_answers_are_none() {
        assert!(!is_surge((0..100).map(|nth| nth % 2)));
        assert!(!is_surge(0..100));
    }

    #[test]
    fn a_few_packets_are_none() {
        assert!(!is_surge([0; 10]));
    }
}
