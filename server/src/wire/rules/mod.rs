//! The one door through which faults enter: a rule sees a packet and decides its fate.

use std::{
    borrow::Cow,
    sync::{
        Arc, Mutex, OnceLock, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use linger_shared::event::{Fact, HostName, Observer};
use tokio::sync::watch;

use crate::journal::Journal;

/// A packet that asks for its fate.
pub struct Passing<'a> {
    /// Its id in the record.
    pub id: u64,
    /// The host that it leaves.
    pub from: HostName,
    /// The packet, from its IP header on.
    pub bytes: &'a [u8],
    /// When it leaves.
    pub departed: Instant,
}

/// What the rules make of a packet.
#[derive(Debug, Clone, PartialEq)]
pub struct Judgement {
    /// Whether it goes on.
    pub fate: Fate,
    /// What it is turned into on its way; its destination is read from this form.
    pub rewritten: Option<Rewritten>,
    /// How much longer than its link says it is on its way.
    pub delay: Duration,
    /// What is sent because of it, as soon as it is at the place where they set out.
    pub answers: Vec<Answer>,
}

/// A packet as a middlebox passes it on.
#[derive(Debug, Clone, PartialEq)]
pub struct Rewritten {
    /// The packet with its checksums mended.
    pub bytes: Box<[u8]>,
    /// Whether this form, and not the one that was sent, is what the connection's opener knows.
    pub inside: bool,
}

/// A packet that the wire makes in a host's name.
#[derive(Debug, Clone, PartialEq)]
pub struct Answer {
    /// In whose name it is sent.
    pub from: HostName,
    /// Who gets it.
    pub to: HostName,
    /// The packet as it leaves, checksums included.
    pub bytes: Box<[u8]>,
    /// What a middlebox turns it into on its way, as [`Judgement::rewritten`].
    pub rewritten: Option<Rewritten>,
    /// The name of the rule that made it.
    pub rule: Cow<'static, str>,
    /// Where on the way from `from` to `to` it sets out: 0 at `from`, 1 at `to`.
    pub place: f64,
}

impl Judgement {
    /// The packet goes on as it is.
    pub fn deliver() -> Self {
        Self {
            fate: Fate::Deliver,
            rewritten: None,
            delay: Duration::ZERO,
            answers: Vec::new(),
        }
    }
}

/// What becomes of a packet.
#[derive(Debug, Clone, PartialEq)]
pub enum Fate {
    /// It goes on.
    Deliver,
    /// It disappears on its way, without a word to either side.
    Drop {
        /// The rule's name.
        rule: Cow<'static, str>,
        /// Why, in a word or two.
        reason: Cow<'static, str>,
        /// Where on its way: 0 at the sender, 1 at the receiver.
        place: f64,
    },
}

/// Where on the way a cut is: half-way, so that a drop is seen apart from both hosts.
const CUT_PLACE: f64 = 0.5;

/// The armed rules of a wire.
pub struct Rules {
    journal: Arc<Journal>,
    cuts: Mutex<Vec<ArmedCut>>,
    /// Whether any rule is armed: what the packet path looks at first.
    any: AtomicBool,
    disturbed: AtomicBool,
    changed: watch::Sender<()>,
    /// What makes the hub ask for the deadline anew, once there is one.
    waker: OnceLock<Box<dyn Fn() + Send + Sync>>,
}

struct ArmedCut {
    id: u64,
    from: HostName,
    by: &'static str,
}

impl Rules {
    /// A wire that delivers everything.
    pub fn new(journal: Arc<Journal>) -> Arc<Self> {
        Arc::new(Self {
            journal,
            cuts: Mutex::new(Vec::new()),
            any: AtomicBool::new(false),
            disturbed: AtomicBool::new(false),
            changed: watch::Sender::new(()),
            waker: OnceLock::new(),
        })
    }

    /// What to call when [`Rules::deadline`] may have become an earlier one otherwise than within
    /// [`Rules::judge`] and [`Rules::due`]. A second waker is ignored: rules serve one wire.
    pub fn wake_with(&self, waker: impl Fn() + Send + Sync + 'static) {
        let _ = self.waker.set(Box::new(waker));
    }

    fn wake(&self) {
        if let Some(waker) = self.waker.get() {
            waker();
        }
    }

    /// What becomes of a packet that leaves a host now.
    pub fn judge(&self, packet: &Passing<'_>) -> Judgement {
        let mut judgement = Judgement::deliver();
        if self.any.load(Ordering::Acquire) && self.is_cut(packet.from) {
            judgement.fate = Fate::Drop {
                rule: "cut".into(),
                reason: "cut".into(),
                place: CUT_PLACE,
            };
        }
        judgement
    }

    /// When a rule next has something to send or to say without being asked, if one has.
    pub fn deadline(&self) -> Option<Instant> {
        None
    }

    /// What rules send of themselves, now that their time has come.
    pub fn due(&self, now: Instant) -> Vec<Answer> {
        let _ = now;
        Vec::new()
    }

    /// Returns once nothing that leaves `from` is cut: a stream cannot lose a piece and go on, so
    /// a relay waits.
    pub async fn passable(&self, from: HostName) {
        let mut changed = self.changed.subscribe();
        while self.is_cut(from) {
            if changed.changed().await.is_err() {
                return;
            }
        }
    }

    /// Drops every packet that the given hosts send, silently, until the cut is healed or dropped.
    pub fn cut(self: &Arc<Self>, from: &[HostName]) -> Cut {
        let ids = from.iter().map(|&host| self.arm(host, "script")).collect();
        Cut {
            rules: Arc::clone(self),
            ids,
        }
    }

    /// A cut on a user's behalf: it lasts until [`Rules::heal_users`].
    pub fn cut_for_user(&self, from: &[HostName]) {
        self.disturbed.store(true, Ordering::Release);
        for &host in from {
            let cut_already = |cut: &ArmedCut| cut.by == "user" && cut.from == host;
            if !self.cuts().iter().any(cut_already) {
                self.arm(host, "user");
            }
        }
    }

    /// Whether a user has cut anything, now or before: what applications saw may be due to that.
    pub fn disturbed(&self) -> bool {
        self.disturbed.load(Ordering::Acquire)
    }

    /// Takes back every cut that a user made.
    pub fn heal_users(&self) {
        self.disarm(|cut| cut.by == "user");
    }

    fn is_cut(&self, from: HostName) -> bool {
        self.cuts().iter().any(|cut| cut.from == from)
    }

    fn cuts(&self) -> std::sync::MutexGuard<'_, Vec<ArmedCut>> {
        self.cuts.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn arm(&self, from: HostName, by: &'static str) -> u64 {
        let mut cuts = self.cuts();
        let id = cuts.iter().map(|cut| cut.id + 1).max().unwrap_or(0);
        cuts.push(ArmedCut { id, from, by });
        self.any.store(true, Ordering::Release);
        drop(cuts);
        self.tell(from, by, true);
        id
    }

    fn disarm(&self, which: impl Fn(&ArmedCut) -> bool) {
        let mut cuts = self.cuts();
        let (gone, left): (Vec<_>, Vec<_>) = std::mem::take(&mut *cuts)
            .into_iter()
            .partition(|cut| which(cut));
        self.any.store(!left.is_empty(), Ordering::Release);
        *cuts = left;
        drop(cuts);
        for cut in gone {
            self.tell(cut.from, cut.by, false);
        }
    }

    fn tell(&self, from: HostName, by: &str, active: bool) {
        self.changed.send_replace(());
        self.wake();
        self.journal.record(
            Observer::Wire,
            Fact::Rule {
                rule: "cut".to_owned(),
                from,
                active,
                by: by.to_owned(),
                detail: String::new(),
            },
        );
    }
}

/// A cut that a script made. Dropping it heals the path.
#[must_use = "a cut that is dropped is healed"]
pub struct Cut {
    rules: Arc<Rules>,
    ids: Vec<u64>,
}

impl Cut {
    /// Leaves the path cut for the rest of the run.
    pub fn stay(mut self) {
        self.ids.clear();
    }
}

impl Drop for Cut {
    fn drop(&mut self) {
        self.rules.disarm(|cut| self.ids.contains(&cut.id));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rules() -> Arc<Rules> {
        Rules::new(Arc::new(Journal::new()))
    }

    fn drops(rules: &Rules, from: HostName) -> bool {
        let judgement = rules.judge(&Passing {
            id: 0,
            from,
            bytes: &[],
            departed: Instant::now(),
        });
        judgement.fate != Fate::Deliver
    }

    #[test]
    fn a_cut_acts_on_one_direction_until_it_is_dropped() {
        let rules = rules();
        let cut = rules.cut(&[HostName::Server]);
        assert!(drops(&rules, HostName::Server));
        assert!(!drops(&rules, HostName::Client));
        drop(cut);
        assert!(!drops(&rules, HostName::Server));
    }

    #[test]
    fn a_user_heals_what_users_cut_and_nothing_else() {
        let rules = rules();
        let cut = rules.cut(&[HostName::Server]);
        rules.cut_for_user(&[HostName::Client, HostName::Server]);
        rules.cut_for_user(&[HostName::Client]);
        rules.heal_users();
        assert!(!drops(&rules, HostName::Client));
        assert!(drops(&rules, HostName::Server));
        assert!(rules.disturbed());
        drop(cut);
        assert!(!drops(&rules, HostName::Server));
    }

    #[test]
    fn a_cut_that_stays_is_not_healed() {
        let rules = rules();
        rules.cut(&[HostName::Server]).stay();
        rules.heal_users();
        assert!(drops(&rules, HostName::Server));
    }

    #[tokio::test]
    async fn a_stream_waits_until_its_direction_is_healed() {
        let rules = rules();
        rules.passable(HostName::Client).await;
        rules.cut_for_user(&[HostName::Client]);
        let waiting = Arc::clone(&rules);
        let task = tokio::spawn(async move { waiting.passable(HostName::Client).await });
        tokio::task::yield_now().await;
        assert!(!task.is_finished());
        rules.heal_users();
        task.await.unwrap();
    }
}
