//! The run that the page shows: how it stands, how the page is connected to it, what came of it.

use linger_shared::{
    event::Mode,
    protocol::{RunInfo, RunState, StreamMessage},
};

use super::{
    announce,
    load::Trouble,
    record::Shared,
    replay::{Replay, ReplayAction},
    stream::{Link, OFFLINE_AFTER, Report},
};

/// The run's clock as last told, so that it can be carried on between messages.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Clock {
    run_us: u64,
    page_ms: f64,
    running: bool,
}

impl Clock {
    /// The run's time at a moment of the page's clock, in microseconds.
    pub fn at(&self, page_ms: f64) -> u64 {
        if self.running {
            self.run_us + ((page_ms - self.page_ms).max(0.0) * 1e3) as u64
        } else {
            self.run_us
        }
    }

    /// Takes what a message told. A clock that runs never steps back: a message that was held up
    /// on its way tells an earlier time than the one already shown.
    fn tell(&mut self, run_us: u64, page_ms: f64, running: bool) {
        let shown = if self.running { self.at(page_ms) } else { 0 };
        self.run_us = if running { run_us.max(shown) } else { run_us };
        self.page_ms = page_ms;
        self.running = running;
    }
}

/// A run.
#[derive(Debug, Clone, PartialEq)]
pub struct Run {
    /// Its id.
    pub id: String,
    /// How it stands, as last told; absent before the first answer.
    pub info: Option<RunInfo>,
    /// How the page is connected to it.
    pub link: Link,
    /// What came of it; absent until its hosts are up.
    pub record: Option<Shared>,
    /// Why the server does not give it.
    pub trouble: Option<Trouble>,
    /// What is worth telling a screen reader.
    pub news: Option<String>,
    /// How it is played again, once it is over and somebody wants to see that.
    pub replay: Option<Replay>,
    clock: Clock,
}

impl Run {
    /// A run of which only the id is known.
    pub fn new(id: &str) -> Self {
        Self {
            id: id.to_owned(),
            info: None,
            link: Link::Connecting,
            record: None,
            trouble: None,
            news: None,
            replay: None,
            clock: Clock::default(),
        }
    }

    /// A run as the server has just started it.
    pub fn started(info: RunInfo, page_ms: f64) -> Self {
        let mut run = Self::new(&info.id);
        run.take_info(info, page_ms);
        run
    }

    /// Where it stands; absent before the first answer.
    pub fn state(&self) -> Option<RunState> {
        self.info.as_ref().map(|info| info.state)
    }

    /// Whether it goes on.
    pub fn is_live(&self) -> bool {
        self.state().is_some_and(|state| !state.is_over())
    }

    /// Whether what is shown of it grows: it goes on, or is played again.
    pub fn moves(&self) -> bool {
        self.is_live() || self.replay.is_some()
    }

    /// Whether it can be played again: it is over, and all of it is here.
    pub fn can_replay(&self) -> bool {
        self.link == Link::Replay && self.record.is_some()
    }

    /// What of it is shown: all that came, or what was there at the replay's moment.
    pub fn shown(&self) -> Option<&Shared> {
        match &self.replay {
            Some(replay) => Some(replay.shown()),
            None => self.record.as_ref(),
        }
    }

    /// Plays it again, as the user wants it.
    pub fn play(&mut self, action: ReplayAction, page_ms: f64) {
        let Some(whole) = self.record.as_ref().filter(|_| self.can_replay()) else {
            return;
        };
        let fresh = |at_us| Replay::at(whole, at_us, page_ms);
        match action {
            ReplayAction::Toggle => self.replay.get_or_insert_with(|| fresh(0)).toggle(page_ms),
            ReplayAction::Seek { to_us } => self
                .replay
                .get_or_insert_with(|| fresh(to_us))
                .seek(whole, to_us, page_ms),
            ReplayAction::Speed(speed) => self
                .replay
                .get_or_insert_with(|| fresh(0))
                .set_speed(speed, page_ms),
            ReplayAction::Tick => {
                if let Some(replay) = &mut self.replay {
                    replay.advance(whole, page_ms);
                }
            }
            ReplayAction::Leave => self.replay = None,
        }
        // At its end a replay has become the whole run.
        if self
            .replay
            .as_ref()
            .is_some_and(|replay| replay.is_over(page_ms))
        {
            self.replay = None;
        }
    }

    /// Whether it is made of packets, and not of a relay's chunks.
    pub fn has_packets(&self) -> bool {
        self.info
            .as_ref()
            .and_then(|info| info.header.as_ref())
            .is_some_and(|header| header.mode == Mode::Packets)
    }

    /// Whether a viewer can act on its wire and its hosts.
    pub fn can_act(&self) -> bool {
        self.state() == Some(RunState::Running) && self.has_packets()
    }

    /// The present on the run's clock while it is running or played again, in microseconds; `None`
    /// otherwise.
    pub fn now_us(&self, page_ms: f64) -> Option<u64> {
        if let Some(replay) = &self.replay {
            return Some(replay.at_us(page_ms));
        }
        (self.state() == Some(RunState::Running)).then(|| self.clock.at(page_ms))
    }

    /// The latest moment that is known of it, in microseconds.
    pub fn latest_us(&self, page_ms: f64) -> u64 {
        let recorded = self
            .shown()
            .map_or(0, |record| record.borrow().model().last_us());
        self.now_us(page_ms).unwrap_or(0).max(recorded)
    }

    /// Takes what the stream reports.
    pub fn take(&mut self, report: Report) {
        match report {
            Report::Run { info, page_ms } => self.take_info(*info, page_ms),
            Report::Message { message, page_ms } => self.take_message(*message, page_ms),
            Report::Down { failures, online } => {
                self.link = if online && failures < OFFLINE_AFTER {
                    Link::Reconnecting
                } else {
                    Link::Offline
                };
                self.news = Some(self.link.meaning().to_owned());
            }
            Report::Refused(trouble) => {
                self.link = Link::Lost;
                self.news = Some(trouble.detail.clone());
                self.trouble = Some(trouble);
            }
            Report::Outdated => {
                self.link = Link::Outdated;
                self.news = Some(self.link.meaning().to_owned());
            }
        }
    }

    fn take_message(&mut self, message: StreamMessage, page_ms: f64) {
        match message {
            StreamMessage::Hello { run, .. } => {
                self.take_info(*run, page_ms);
                self.link = match self.state() {
                    Some(RunState::Queued) => Link::Queued,
                    _ => Link::Live,
                };
            }
            StreamMessage::Events { events, now_us } => {
                self.news = announce::news(&events).or(self.news.take());
                if let Some(record) = &mut self.record {
                    record.push(events);
                }
                self.tell(self.state(), now_us, page_ms);
            }
            StreamMessage::Alive {
                state,
                queue_position,
                now_us,
            } => {
                if let Some(info) = &mut self.info {
                    info.state = state;
                    info.queue_position = queue_position;
                }
                self.link = match state {
                    RunState::Queued => Link::Queued,
                    _ => Link::Live,
                };
                self.tell(Some(state), now_us, page_ms);
            }
            StreamMessage::End { state } => {
                let end_us = self.latest_us(page_ms);
                if let Some(info) = &mut self.info {
                    info.state = state;
                    info.now_us = end_us;
                }
                self.link = Link::Replay;
                self.clock.tell(end_us, page_ms, false);
            }
        }
    }

    fn take_info(&mut self, info: RunInfo, page_ms: f64) {
        if self.record.is_none() {
            self.record = info.header.as_ref().map(Shared::new);
        }
        self.tell(Some(info.state), info.now_us, page_ms);
        self.info = Some(info);
    }

    fn tell(&mut self, state: Option<RunState>, now_us: u64, page_ms: f64) {
        let running = state == Some(RunState::Running);
        self.clock.tell(now_us, page_ms, running);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::state::samples;

    fn hello(state: RunState) -> Report {
        Report::Message {
            message: Box::new(StreamMessage::Hello {
                protocol_version: 1,
                run: Box::new(samples::info(state)),
            }),
            page_ms: 1_000.0,
        }
    }

    fn events(now_us: u64) -> Report {
        Report::Message {
            message: Box::new(StreamMessage::Events {
                events: samples::handshake(),
                now_us,
            }),
            page_ms: 1_000.0,
        }
    }

    #[test]
    fn a_run_goes_from_queued_over_live_to_replay() {
        let mut run = Run::new("r1");
        assert_eq!(run.link, Link::Connecting);
        run.take(hello(RunState::Queued));
        assert_eq!(run.link, Link::Queued);
        assert!(run.record.is_none());
        run.take(hello(RunState::Running));
        assert_eq!(run.link, Link::Live);
        run.take(events(50_000));
        assert!(run.can_act());
        run.take(Report::Message {
            message: Box::new(StreamMessage::End {
                state: RunState::Finished,
            }),
            page_ms: 2_000.0,
        });
        assert_eq!(run.link, Link::Replay);
        assert!(!run.is_live() && !run.can_act());
        assert_eq!(run.now_us(9_000.0), None);
    }

    #[test]
    fn the_clock_is_carried_on_between_messages_and_never_steps_back() {
        let mut run = Run::new("r1");
        run.take(hello(RunState::Running));
        run.take(events(1_000_000));
        assert_eq!(run.now_us(1_250.0), Some(1_250_000));
        run.take(Report::Message {
            message: Box::new(StreamMessage::Alive {
                state: RunState::Running,
                queue_position: 0,
                now_us: 1_200_000,
            }),
            page_ms: 1_300.0,
        });
        assert_eq!(run.now_us(1_300.0), Some(1_300_000));
    }

    #[test]
    fn a_reconnect_keeps_what_is_here() {
        let mut run = Run::new("r1");
        run.take(hello(RunState::Running));
        run.take(events(50_000));
        let known = run.record.as_ref().unwrap().borrow().len();
        run.take(Report::Down {
            failures: 1,
            online: true,
        });
        assert_eq!(run.link, Link::Reconnecting);
        run.take(hello(RunState::Running));
        assert_eq!(run.link, Link::Live);
        assert_eq!(run.record.as_ref().unwrap().borrow().len(), known);
    }

    #[test]
    fn many_failures_or_no_network_mean_offline() {
        let mut run = Run::new("r1");
        for (failures, online, link) in [
            (OFFLINE_AFTER - 1, true, Link::Reconnecting),
            (OFFLINE_AFTER, true, Link::Offline),
            (1, false, Link::Offline),
        ] {
            run.take(Report::Down { failures, online });
            assert_eq!(run.link, link);
        }
    }

    #[test]
    fn a_run_that_the_server_does_not_have_is_said_to_be_lost() {
        let mut run = Run::new("r1");
        run.take(Report::Refused(Trouble::refused("Asking", 404, "")));
        assert_eq!(run.link, Link::Lost);
        assert_eq!(run.trouble.unwrap().status, Some(404));
    }
}
