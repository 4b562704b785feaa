//! A recorded run played again: that part of its record which was there at a moment that moves.
//!
//! The part is a record of its own, fed with the whole one's events as their time comes, so that
//! everything on the page shows what a viewer of the live run saw at that moment.

use super::record::Shared;

/// How many seconds of the run go by in one of the page's, as the choice offers them.
pub const SPEEDS: [f64; 8] = [0.01, 0.1, 0.5, 1.0, 2.0, 10.0, 100.0, 1_000.0];

/// A replay.
#[derive(Debug, Clone, PartialEq)]
pub struct Replay {
    /// What of the run is there.
    shown: Shared,
    /// Where it stood at `since_ms` of the page's clock, in microseconds on the run's.
    from_us: u64,
    since_ms: f64,
    speed: f64,
    playing: bool,
    end_us: u64,
}

/// What a user does to a replay.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum ReplayAction {
    /// Play, from the beginning where nothing is played yet; or hold.
    Toggle,
    /// Go to a moment of the run, in microseconds.
    Seek {
        /// The moment.
        to_us: u64,
    },
    /// Play at another speed.
    Speed(f64),
    /// Time has gone by.
    Tick,
    /// Show the whole run again.
    Leave,
}

impl Replay {
    /// A replay that stands at a moment and does not move yet.
    pub fn at(whole: &Shared, at_us: u64, page_ms: f64) -> Self {
        let record = whole.borrow();
        let mut replay = Self {
            shown: Shared::new(record.model().header()),
            from_us: 0,
            since_ms: page_ms,
            speed: 1.0,
            playing: false,
            end_us: record.model().last_us(),
        };
        drop(record);
        replay.seek(whole, at_us, page_ms);
        replay
    }

    /// What of the run is there at the replay's moment.
    pub fn shown(&self) -> &Shared {
        &self.shown
    }

    /// Whether it moves.
    pub fn is_playing(&self) -> bool {
        self.playing
    }

    /// Seconds of the run in one of the page's.
    pub fn speed(&self) -> f64 {
        self.speed
    }

    /// Its moment on the run's clock, in microseconds.
    pub fn at_us(&self, page_ms: f64) -> u64 {
        let gone_us = if self.playing {
            ((page_ms - self.since_ms).max(0.0) * 1e3 * self.speed) as u64
        } else {
            0
        };
        self.from_us.saturating_add(gone_us).min(self.end_us)
    }

    /// Whether it has come to the run's end.
    pub fn is_over(&self, page_ms: f64) -> bool {
        self.at_us(page_ms) >= self.end_us
    }

    /// Plays, or holds.
    pub fn toggle(&mut self, page_ms: f64) {
        self.anchor(page_ms);
        self.playing = !self.playing;
    }

    /// Goes on at another speed.
    pub fn set_speed(&mut self, speed: f64, page_ms: f64) {
        self.anchor(page_ms);
        self.speed = speed;
    }

    /// Goes to a moment of the run.
    pub fn seek(&mut self, whole: &Shared, to_us: u64, page_ms: f64) {
        if to_us < self.at_us(page_ms) {
            let header = whole.borrow().model().header().clone();
            self.shown = Shared::new(&header);
        }
        self.from_us = to_us.min(self.end_us);
        self.since_ms = page_ms;
        self.advance(whole, page_ms);
    }

    /// Takes over the events whose time has come.
    pub fn advance(&mut self, whole: &Shared, page_ms: f64) {
        let now_us = self.at_us(page_ms);
        let whole = whole.borrow();
        let known = self.shown.borrow().len();
        let due: Vec<_> = whole
            .events_from(known)
            .iter()
            .take_while(|event| event.at_us <= now_us)
            .cloned()
            .collect();
        if !due.is_empty() {
            self.shown.push_known(due);
        }
    }

    fn anchor(&mut self, page_ms: f64) {
        self.from_us = self.at_us(page_ms);
        self.since_ms = page_ms;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::state::samples;

    fn whole() -> Shared {
        let mut whole = Shared::new(&samples::header());
        whole.push(samples::dead_peer());
        whole
    }

    #[test]
    fn a_replay_shows_what_was_there_at_its_moment() {
        let whole = whole();
        let mut replay = Replay::at(&whole, 0, 0.0);
        let all = whole.borrow().len();
        let end_us = whole.borrow().model().last_us();
        let mut before = replay.shown().borrow().len();
        assert!(before < all);
        replay.toggle(0.0);
        for ms in [10.0, 50.0, 1_000.0] {
            replay.advance(&whole, ms);
            let known = replay.shown().borrow().len();
            assert!(known >= before);
            let late = |seq: usize| whole.borrow().event(seq as u64).unwrap().at_us;
            assert!(known == all || late(known) > replay.at_us(ms));
            before = known;
        }
        let after = end_us as f64 / 1e3 + 1.0;
        replay.advance(&whole, after);
        assert!(replay.is_over(after));
        assert_eq!(replay.shown().borrow().len(), all);
    }

    #[test]
    fn going_back_takes_away_what_was_not_there_yet() {
        let whole = whole();
        let end_us = whole.borrow().model().last_us();
        let mut replay = Replay::at(&whole, end_us, 0.0);
        assert_eq!(replay.shown().borrow().len(), whole.borrow().len());
        replay.seek(&whole, 1_000, 5.0);
        assert_eq!(replay.at_us(9_999.0), 1_000, "it does not move by itself");
        assert!(replay.shown().borrow().len() < whole.borrow().len());
    }

    #[test]
    fn another_speed_changes_the_pace_and_not_the_place() {
        let mut replay = Replay::at(&whole(), 0, 0.0);
        replay.toggle(0.0);
        assert_eq!(replay.at_us(10.0), 10_000);
        replay.set_speed(0.1, 10.0);
        assert_eq!(replay.at_us(10.0), 10_000);
        assert_eq!(replay.at_us(20.0), 11_000);
        replay.toggle(20.0);
        assert_eq!(replay.at_us(99.0), 11_000);
    }
}
