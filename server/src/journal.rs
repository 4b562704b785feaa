//! Where the observers of a run report what they see, on the run's one clock.
//!
//! The wire's thread, the kernels' sampler, the endpoints and the script put raw reports in, which
//! costs them a short lock; sorting, dissecting and numbering are the recorder's work.

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError, Weak,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Instant,
};

use bytes::Bytes;
use linger_shared::event::{Call, Event, Fact, HostName, Observer, Origin};
use tokio::sync::mpsc;

/// Where the observers of a run report, and the run's clock.
pub struct Journal {
    start: Instant,
    reports: Mutex<Vec<Report>>,
    closed: AtomicBool,
    next_packet: AtomicU64,
    waiting: Mutex<Waiting>,
    /// The journal that this is a view of.
    whole: Option<Arc<Journal>>,
    /// Views of this journal.
    views: Mutex<Vec<Weak<Journal>>>,
    /// Those who read the events that become of the reports.
    followers: Mutex<Vec<mpsc::UnboundedSender<Event>>>,
}

/// What applications wait for, in the order in which they began to.
#[derive(Default)]
struct Waiting {
    next: u64,
    facts: BTreeMap<u64, (HostName, Fact)>,
}

/// Stands for something that an application waits for.
#[derive(Debug)]
#[must_use = "what is waited for is reported as unfinished until the ticket is given back"]
pub struct Ticket(u64);

/// What an observer reported.
pub(crate) struct Report {
    pub(crate) at_us: u64,
    pub(crate) seen_by: Observer,
    pub(crate) what: What,
}

/// What was seen, as far as the observer had the time to say it.
pub(crate) enum What {
    Fact(Fact),
    /// Raw, to be dissected off the packet path.
    Departed(Departure),
}

/// A packet that leaves a host, or that the wire makes.
pub struct Departure {
    /// Joins it to its arrival or drop; see [`Journal::packet_id`].
    pub id: u64,
    /// The host that sends it, or in whose name it is sent.
    pub from: HostName,
    /// The host that it goes to.
    pub to: HostName,
    /// The packet as it leaves.
    pub bytes: Bytes,
    /// The packet as it arrives, where a middlebox rewrites it.
    pub rewritten: Option<Bytes>,
    /// Whether the sender's side of a rewriting middlebox is the one that its connection's opener
    /// does not know, so that `rewritten` is the form to follow the connection by.
    pub follow_rewritten: bool,
    /// Where it comes from, if no host has sent it.
    pub origin: Option<Origin>,
}

impl Journal {
    /// A journal whose clock starts now.
    pub fn new() -> Self {
        Self {
            start: Instant::now(),
            reports: Mutex::new(Vec::new()),
            closed: AtomicBool::new(false),
            next_packet: AtomicU64::new(0),
            waiting: Mutex::default(),
            whole: None,
            views: Mutex::default(),
            followers: Mutex::default(),
        }
    }

    /// The same journal for observers who may have to fall silent together: what they report goes
    /// into `whole` until the view is muted.
    pub fn view(whole: &Arc<Self>) -> Arc<Self> {
        let view = Arc::new(Self {
            start: whole.start,
            whole: Some(Arc::clone(whole)),
            ..Self::new()
        });
        whole.views().push(Arc::downgrade(&view));
        view
    }

    /// Ignores what is reported through this view from now on, and forgets what its observers wait
    /// for: they are gone.
    pub fn mute(&self) {
        self.closed.store(true, Ordering::Release);
        drop(std::mem::take(&mut *self.waiting()));
    }

    /// Microseconds since the run's start, on its one monotonic clock.
    pub fn now_us(&self) -> u64 {
        self.at_us(Instant::now())
    }

    /// An instant on the run's clock.
    pub fn at_us(&self, instant: Instant) -> u64 {
        u64::try_from(instant.saturating_duration_since(self.start).as_micros()).unwrap_or(u64::MAX)
    }

    /// A packet's or chunk's id, unique within the run.
    pub fn packet_id(&self) -> u64 {
        match &self.whole {
            Some(whole) => whole.packet_id(),
            None => self.next_packet.fetch_add(1, Ordering::Relaxed),
        }
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
    pub fn departed(&self, at_us: u64, departure: Departure) {
        self.push(Report {
            at_us,
            seen_by: Observer::Wire,
            what: What::Departed(departure),
        });
    }

    /// Reports what an application's call came to.
    pub fn called(&self, host: HostName, call: Call) {
        self.record(Observer::App(host), Fact::Call(call));
    }

    /// Notes that an application waits for something: for a call that it has just made to come back,
    /// for a response. `unfinished` is what there is to report where that never happens.
    pub fn waits(&self, host: HostName, unfinished: Fact) -> Ticket {
        let mut waiting = self.waiting();
        let ticket = waiting.next;
        waiting.next += 1;
        waiting.facts.insert(ticket, (host, unfinished));
        Ticket(ticket)
    }

    /// Notes that the waiting is over.
    pub fn waits_no_more(&self, ticket: Ticket) {
        self.waiting().facts.remove(&ticket.0);
    }

    fn waiting(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Reports what is still waited for, and ignores what is reported from then on.
    pub fn close(&self) {
        for view in std::mem::take(&mut *self.views()) {
            if let Some(view) = view.upgrade() {
                view.close();
            }
        }
        let waiting = std::mem::take(&mut self.waiting().facts);
        for (host, unfinished) in waiting.into_values() {
            self.record(Observer::App(host), unfinished);
        }
        self.closed.store(true, Ordering::Release);
    }

    /// Every event that is recorded from now on, a few milliseconds after it was true. Whoever stops
    /// reading drops the receiver: what nobody takes out is kept.
    pub fn follow(&self) -> mpsc::UnboundedReceiver<Event> {
        let (sender, receiver) = mpsc::unbounded_channel();
        self.followers().push(sender);
        receiver
    }

    /// Tells the followers what was recorded.
    pub(crate) fn tell(&self, events: &[Event]) {
        self.followers().retain(|follower| {
            events
                .iter()
                .all(|event| follower.send(event.clone()).is_ok())
        });
    }

    fn followers(&self) -> MutexGuard<'_, Vec<mpsc::UnboundedSender<Event>>> {
        self.followers
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    fn views(&self) -> MutexGuard<'_, Vec<Weak<Self>>> {
        self.views.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn reports(&self) -> MutexGuard<'_, Vec<Report>> {
        self.reports.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn push(&self, report: Report) {
        if self.closed.load(Ordering::Acquire) {
            return;
        }
        match &self.whole {
            Some(whole) => whole.push(report),
            None => self.reports().push(report),
        }
    }

    /// Takes out every report so far, in the order in which they came, and leaves an empty list
    /// with the room of `spare` for those to come. The lock is held for a swap of two pointers, so
    /// the packet path does not wait.
    pub(crate) fn take(&self, mut spare: Vec<Report>) -> Vec<Report> {
        spare.clear();
        std::mem::replace(&mut *self.reports(), spare)
    }
}

impl Default for Journal {
    fn default() -> Self {
        Self::new()
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
    fn a_closed_journal_takes_nothing_more() {
        let journal = Journal::new();
        journal.record(Observer::Experiment, remark("before"));
        journal.close();
        journal.record(Observer::Experiment, remark("after"));
        assert_eq!(journal.take(Vec::new()).len(), 1);
    }

    #[test]
    fn what_is_still_waited_for_is_reported_at_the_close() {
        let journal = Journal::new();
        let came = journal.waits(HostName::Client, remark("came"));
        let _hangs = journal.waits(HostName::Client, remark("hangs"));
        journal.waits_no_more(came);
        journal.close();
        let reports = journal.take(Vec::new());
        assert_eq!(reports.len(), 1);
        assert!(matches!(&reports[0].what, What::Fact(Fact::Remark { text }) if text == "hangs"));
    }

    #[test]
    fn followers_are_told_what_is_recorded_from_then_on() {
        let journal = Journal::new();
        let event = |seq| Event {
            seq,
            at_us: 0,
            seen_by: Observer::Experiment,
            fact: remark("recorded"),
        };
        journal.tell(&[event(0)]);
        let mut follower = journal.follow();
        drop(journal.follow());
        journal.tell(&[event(1), event(2)]);
        assert_eq!(follower.try_recv().map(|event| event.seq), Ok(1));
        assert_eq!(follower.try_recv().map(|event| event.seq), Ok(2));
        assert!(follower.try_recv().is_err());
        assert_eq!(journal.followers().len(), 1);
    }

    #[test]
    fn a_view_reports_to_the_whole_until_it_is_muted() {
        let whole = Arc::new(Journal::new());
        let [silent, other] = [Journal::view(&whole), Journal::view(&whole)];
        silent.record(Observer::Experiment, remark("before"));
        silent.mute();
        silent.record(Observer::Experiment, remark("after"));
        other.record(Observer::Experiment, remark("the other's"));
        assert_eq!(whole.take(Vec::new()).len(), 2);
        whole.close();
        other.record(Observer::Experiment, remark("too late"));
        assert!(whole.take(Vec::new()).is_empty());
    }
}
