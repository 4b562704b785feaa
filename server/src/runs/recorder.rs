//! From what observers reported to numbered events.
//!
//! A recorder task takes the reports out of the run's [`Journal`] every [`INTERVAL`], sorted by
//! time, dissects packets, numbers the events and appends them to the log, so nothing of that
//! happens on the packet path.

use std::{sync::Arc, time::Duration};

use linger_shared::{
    dissect::flow::FlowTracker,
    event::{Event, Fact, Observer, Packet, to_hex},
};
use tokio::task::JoinHandle;
use tokio_util::sync::{CancellationToken, DropGuard};

use super::{log::EventLog, verdict::Witness};
use crate::journal::{Departure, Journal, Report, What};

/// How often reports are taken out: the most that an event waits before viewers can have it, and
/// the most that a kill can lose.
const INTERVAL: Duration = Duration::from_millis(10);

/// How long a report is held back, so that one whose observer was a little late can still be
/// sorted before it.
const HOLD_BACK_US: u64 = 5_000;

/// Room for so many reports is kept for the next ones.
const SPARE: usize = 1_024;

/// How much a run may record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RecordLimits {
    /// How many events.
    pub events: u64,
    /// How many bytes of JSON.
    pub bytes: u64,
}

impl RecordLimits {
    /// As much as there is.
    pub const NONE: Self = Self {
        events: u64::MAX,
        bytes: u64::MAX,
    };
}

/// The task that turns a journal's reports into a log's events.
pub struct Recorder {
    stop: DropGuard,
    task: JoinHandle<Desk>,
    journal: Arc<Journal>,
}

/// What the recorder keeps from event to event.
struct Desk {
    /// Reports that are held back.
    unripe: Vec<Report>,
    /// An empty list, for the reports to come.
    spare: Vec<Report>,
    log: Arc<EventLog>,
    flows: FlowTracker,
    witness: Witness,
    next: u64,
}

impl Recorder {
    /// Starts recording, within a tokio runtime. `over_limit` is cancelled when as many events or
    /// bytes of them were recorded as may be, or the store does not keep up.
    pub fn start(
        journal: Arc<Journal>,
        log: Arc<EventLog>,
        most: RecordLimits,
        over_limit: CancellationToken,
    ) -> Self {
        let stop = CancellationToken::new();
        let stopped = stop.clone();
        let source = Arc::clone(&journal);
        let task = tokio::spawn(async move {
            let mut desk = Desk {
                unripe: Vec::new(),
                spare: Vec::new(),
                log,
                flows: FlowTracker::new(),
                witness: Witness::default(),
                next: 0,
            };
            let mut ticks = tokio::time::interval(INTERVAL);
            ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
            loop {
                tokio::select! {
                    () = stopped.cancelled() => break,
                    _ = ticks.tick() => {}
                }
                let until_us = source.now_us().saturating_sub(HOLD_BACK_US);
                desk.take_from(&source);
                source.tell(&desk.enter(until_us));
                if desk.next >= most.events || desk.log.excess(most.bytes).is_some() {
                    over_limit.cancel();
                }
            }
            desk
        });
        Self {
            stop: stop.drop_guard(),
            task,
            journal,
        }
    }

    /// Records what is left, and the verdict if there is to be one. Gives false where the recorder
    /// had come to grief, so that its log cannot be trusted.
    pub async fn finish(self, verdict: bool) -> bool {
        drop(self.stop);
        let Ok(mut desk) = self.task.await else {
            return false;
        };
        desk.take_from(&self.journal);
        desk.enter(u64::MAX);
        if verdict {
            let event = Event {
                seq: desk.next,
                at_us: self.journal.now_us(),
                seen_by: Observer::Experiment,
                fact: Fact::Verdict(desk.witness.verdict()),
            };
            desk.log.append(&[event]);
        }
        true
    }
}

impl Desk {
    /// Takes what observers have reported so far.
    fn take_from(&mut self, journal: &Journal) {
        let mut reports = journal.take(std::mem::take(&mut self.spare));
        self.unripe.append(&mut reports);
        // Observers need not make room again; but what a surge has needed is given back.
        reports.shrink_to(SPARE);
        self.spare = reports;
    }

    /// Makes events of what was true before `until_us`, in the order of time, and gives them.
    fn enter(&mut self, until_us: u64) -> Vec<Event> {
        let events: Vec<Event> = ripe(&mut self.unripe, until_us)
            .into_iter()
            .map(|report| {
                let fact = match report.what {
                    What::Fact(fact) => fact,
                    What::Departed(departure) => Fact::PacketDeparted(self.packet(departure)),
                };
                let event = Event {
                    seq: self.next,
                    at_us: report.at_us,
                    seen_by: report.seen_by,
                    fact,
                };
                self.next += 1;
                self.witness.observe(&event);
                event
            })
            .collect();
        self.log.append(&events);
        events
    }
}

impl Desk {
    fn packet(&mut self, departure: Departure) -> Packet {
        let known = match &departure.rewritten {
            Some(rewritten) if departure.follow_rewritten => rewritten,
            _ => &departure.bytes,
        };
        // The wire's own copies say nothing about what their sender did.
        let copy = departure.origin.as_ref();
        let observed = match copy.is_some_and(|origin| origin.rule == "duplicate") {
            true => self.flows.describe(known),
            false => self.flows.observe(known),
        };
        Packet {
            id: departure.id,
            from: departure.from,
            to: departure.to,
            length: u32::try_from(departure.bytes.len()).unwrap_or(u32::MAX),
            tcp: observed.tcp,
            summary: observed.summary,
            messages: observed.messages,
            bytes: to_hex(&departure.bytes),
            rewritten: departure.rewritten.map(|bytes| to_hex(&bytes)),
            origin: departure.origin,
        }
    }
}

/// Takes out the reports of what was true before `until_us`, in the order of time.
fn ripe(reports: &mut Vec<Report>, until_us: u64) -> Vec<Report> {
    reports.sort_by_key(|report| report.at_us);
    let count = reports.partition_point(|report| report.at_us < until_us);
    let unripe = reports.split_off(count);
    std::mem::replace(reports, unripe)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reports_come_out_in_the_order_of_time_and_late_ones_wait() {
        let mut reports = [30, 10, 20, 90]
            .map(|at_us| Report {
                at_us,
                seen_by: Observer::Experiment,
                what: What::Fact(Fact::Remark {
                    text: String::new(),
                }),
            })
            .into();
        let times = |reports: Vec<Report>| reports.iter().map(|r| r.at_us).collect::<Vec<_>>();
        assert_eq!(times(ripe(&mut reports, 50)), [10, 20, 30]);
        assert_eq!(times(ripe(&mut reports, u64::MAX)), [90]);
    }
}
