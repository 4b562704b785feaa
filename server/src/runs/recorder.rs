//! From what observers report to numbered events.
//!
//! Observers (the wire's thread, the kernel's sampler, endpoints, the script) put raw reports into
//! a [`Journal`], which costs them a short lock. A recorder task takes them out every
//! [`INTERVAL`], sorts them by time, dissects packets, numbers the events and appends them to the
//! log, so nothing of that happens on the packet path.

use std::{
    net::SocketAddr,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use linger_shared::{
    dissect::flow::FlowTracker,
    event::{Call, Event, Fact, HostName, Observer, Packet, to_hex},
};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::{lock, log::EventLog, verdict::Witness};

/// How often reports are taken out: the most that an event waits before viewers can have it, and
/// the most that a kill can lose.
const INTERVAL: Duration = Duration::from_millis(10);

/// How long a report is held back, so that one whose observer was a little late can still be
/// sorted before it.
const HOLD_BACK_US: u64 = 5_000;

/// Where the observers of a run report, and the run's clock.
pub struct Journal {
    start: Instant,
    reports: Mutex<Vec<Report>>,
    closed: AtomicBool,
    next_packet: AtomicU64,
}

struct Report {
    at_us: u64,
    seen_by: Observer,
    what: What,
}

enum What {
    Fact(Fact),
    /// Raw, to be dissected off the packet path.
    Departed {
        id: u64,
        from: HostName,
        to: HostName,
        bytes: Box<[u8]>,
    },
}

impl Journal {
    /// A journal whose clock starts now.
    pub fn new() -> Self {
        Self {
            start: Instant::now(),
            reports: Mutex::new(Vec::new()),
            closed: AtomicBool::new(false),
            next_packet: AtomicU64::new(0),
        }
    }

    /// Microseconds since the run's start, on its one monotonic clock.
    pub fn now_us(&self) -> u64 {
        self.at_us(Instant::now())
    }

    /// An instant on the run's clock.
    pub fn at_us(&self, instant: Instant) -> u64 {
        u64::try_from(instant.saturating_duration_since(self.start).as_micros()).unwrap_or(u64::MAX)
    }

    /// A moment of the run's clock as an instant.
    pub fn instant(&self, at_us: u64) -> Instant {
        self.start + Duration::from_micros(at_us)
    }

    /// A packet's or chunk's id, unique within the run.
    pub fn packet_id(&self) -> u64 {
        self.next_packet.fetch_add(1, Ordering::Relaxed)
    }

    /// Reports a fact that is true now.
    pub fn record(&self, seen_by: Observer, fact: Fact) {
        self.record_at(self.now_us(), seen_by, fact);
    }

    /// Reports a fact that was true at `at_us`.
    pub fn record_at(&self, at_us: u64, seen_by: Observer, fact: Fact) {
        self.push(Report {
            at_us,
            seen_by,
            what: What::Fact(fact),
        });
    }

    /// Reports that a packet left a host.
    pub fn departed(&self, at_us: u64, id: u64, from: HostName, to: HostName, bytes: Box<[u8]>) {
        self.push(Report {
            at_us,
            seen_by: Observer::Wire,
            what: What::Departed {
                id,
                from,
                to,
                bytes,
            },
        });
    }

    /// Reports that an application's call came back.
    #[expect(clippy::too_many_arguments, reason = "one for each field of the event")]
    pub fn call(
        &self,
        host: HostName,
        call: &str,
        args: impl Into<String>,
        result: impl Into<String>,
        errno: Option<String>,
        began_us: u64,
        local: Option<SocketAddr>,
    ) {
        self.record(
            Observer::App(host),
            Fact::Call(Call {
                call: call.to_owned(),
                args: args.into(),
                result: result.into(),
                errno,
                began_us: Some(began_us),
                local,
            }),
        );
    }

    /// Ignores what is reported from now on.
    pub fn close(&self) {
        self.closed.store(true, Ordering::Release);
    }

    fn push(&self, report: Report) {
        if !self.closed.load(Ordering::Acquire) {
            lock(&self.reports).push(report);
        }
    }

    /// Takes out what was true before `until_us`, in the order of time.
    fn take(&self, until_us: u64) -> Vec<Report> {
        let mut reports = lock(&self.reports);
        if reports.is_empty() {
            return Vec::new();
        }
        let (mut ripe, unripe): (Vec<_>, Vec<_>) = std::mem::take(&mut *reports)
            .into_iter()
            .partition(|report| report.at_us < until_us);
        *reports = unripe;
        drop(reports);
        ripe.sort_by_key(|report| report.at_us);
        ripe
    }
}

impl Default for Journal {
    fn default() -> Self {
        Self::new()
    }
}

/// The task that turns a journal's reports into a log's events.
pub struct Recorder {
    stop: CancellationToken,
    task: JoinHandle<Desk>,
    journal: Arc<Journal>,
}

/// What the recorder keeps from event to event.
struct Desk {
    log: Arc<EventLog>,
    flows: FlowTracker,
    witness: Witness,
    next: u64,
}

impl Recorder {
    /// Starts recording, within a tokio runtime. `over_limit` is cancelled when `event_limit` events were recorded.
    pub fn start(
        journal: Arc<Journal>,
        log: Arc<EventLog>,
        event_limit: u64,
        over_limit: CancellationToken,
    ) -> Self {
        let stop = CancellationToken::new();
        let stopped = stop.clone();
        let source = Arc::clone(&journal);
        let task = tokio::spawn(async move {
            let mut desk = Desk {
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
                desk.enter(source.take(source.now_us().saturating_sub(HOLD_BACK_US)));
                if desk.next >= event_limit {
                    over_limit.cancel();
                }
            }
            desk
        });
        Self {
            stop,
            task,
            journal,
        }
    }

    /// Records what is left, and the verdict if there is to be one.
    pub async fn finish(self, verdict: bool) {
        self.stop.cancel();
        let Ok(mut desk) = self.task.await else {
            return;
        };
        desk.enter(self.journal.take(u64::MAX));
        if verdict {
            let event = Event {
                seq: desk.next,
                at_us: self.journal.now_us(),
                seen_by: Observer::Experiment,
                fact: Fact::Verdict(desk.witness.verdict()),
            };
            desk.log.append(&[event]);
        }
    }
}

impl Desk {
    fn enter(&mut self, reports: Vec<Report>) {
        let events: Vec<Event> = reports
            .into_iter()
            .map(|report| {
                let fact = match report.what {
                    What::Fact(fact) => fact,
                    What::Departed {
                        id,
                        from,
                        to,
                        bytes,
                    } => {
                        let observed = self.flows.observe(&bytes);
                        Fact::PacketDeparted(Packet {
                            id,
                            from,
                            to,
                            length: u32::try_from(bytes.len()).unwrap_or(u32::MAX),
                            tcp: observed.tcp,
                            summary: observed.summary,
                            bytes: to_hex(&bytes),
                        })
                    }
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
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn remark(text: &str) -> Fact {
        Fact::Remark {
            text: text.to_owned(),
        }
    }

    #[test]
    fn reports_come_out_in_the_order_of_time_and_late_ones_wait() {
        let journal = Journal::new();
        for at_us in [30, 10, 20, 90] {
            journal.record_at(at_us, Observer::Experiment, remark("x"));
        }
        let times = |reports: Vec<Report>| reports.iter().map(|r| r.at_us).collect::<Vec<_>>();
        assert_eq!(times(journal.take(50)), [10, 20, 30]);
        assert_eq!(times(journal.take(u64::MAX)), [90]);
    }

    #[test]
    fn a_closed_journal_takes_nothing_more() {
        let journal = Journal::new();
        journal.record(Observer::Experiment, remark("before"));
        journal.close();
        journal.record(Observer::Experiment, remark("after"));
        assert_eq!(journal.take(u64::MAX).len(), 1);
    }
}
