//! The one door through which faults enter: a rule sees a packet and decides its fate.
//!
//! A packet passes the cuts first, then the armed rules in the order in which they were armed, then
//! the middlebox. Whoever drops it ends its way; delays add up; answers go out beside each other.
//! Scripts and users arm rules, each their own: what a script has armed, no user takes back.
//!
//! Rules decide, and say when they are armed and disarmed. Carrying out what they decide is the
//! hub's business.

mod armed;
mod guards;
mod judgement;

use std::{
    net::Ipv4Addr,
    sync::{
        Arc, Mutex, MutexGuard, OnceLock, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Instant,
};

use linger_shared::{
    dissect::ipv4::Ipv4,
    event::{Fact, HostName, Observer},
    middlebox as plan,
    rule::{Act, RuleError, RuleSpec},
};
use thiserror::Error;
use tokio::sync::watch;

use self::armed::{ArmedRule, PLACE, Sight};
pub use self::guards::{Armed, Cut};
pub use self::judgement::{Answer, Fate, Judgement, Passing, Rewritten};
use super::middlebox::{Middlebox, Notice};
use crate::journal::Journal;

/// How many rules users may have armed at once: each one costs every packet a look.
const MOST_ARMED: usize = 32;

/// Why a rule was not armed or disarmed, or nothing was healed.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum ArmError {
    /// A value is out of its bounds.
    #[error(transparent)]
    Bounds(#[from] RuleError),
    /// A value of a middlebox is.
    #[error(transparent)]
    Middlebox(#[from] plan::PlanError),
    /// The run has no packets.
    #[error(
        "this run goes over a relay, which carries byte streams, and a rule looks at packets: only \
         cut and heal work here"
    )]
    Relay,
    /// The rule speaks of a host that the run does not have.
    #[error("this run has no {0}")]
    NoSuchHost(HostName),
    /// The name is taken.
    #[error("a rule named `{0}` is armed already")]
    Taken(String),
    /// Too many are armed.
    #[error("{MOST_ARMED} rules are armed already, and no more may be: disarm one first")]
    TooMany,
    /// No rule has that name.
    #[error("no rule named `{0}` is armed")]
    Unknown(String),
    /// It is not the user's to take back.
    #[error("{0} was armed by the experiment's script, which alone takes it back")]
    NotYours(String),
}

/// The armed rules of a wire.
pub struct Rules {
    journal: Arc<Journal>,
    state: Mutex<State>,
    /// Whether anything is armed: what the packet path looks at first.
    any: AtomicBool,
    disturbed: AtomicBool,
    changed: watch::Sender<()>,
    hosts: OnceLock<Vec<(HostName, Ipv4Addr)>>,
    /// What makes the hub ask for the deadline anew, once there is one.
    waker: OnceLock<Box<dyn Fn() + Send + Sync>>,
}

#[derive(Default)]
struct State {
    cuts: Vec<ArmedCut>,
    rules: Vec<ArmedRule>,
    middlebox: Option<Middlebox>,
    next_id: u64,
    next_name: u32,
}

struct ArmedCut {
    id: u64,
    from: HostName,
    by: &'static str,
}

impl State {
    fn id(&mut self) -> u64 {
        self.next_id += 1;
        self.next_id
    }

    fn is_cut(&self, from: HostName) -> bool {
        self.cuts.iter().any(|cut| cut.from == from)
    }
}

impl Rules {
    /// A wire that delivers everything.
    pub fn new(journal: Arc<Journal>) -> Arc<Self> {
        Arc::new(Self {
            journal,
            state: Mutex::default(),
            any: AtomicBool::new(false),
            disturbed: AtomicBool::new(false),
            changed: watch::Sender::new(()),
            hosts: OnceLock::new(),
            waker: OnceLock::new(),
        })
    }

    /// Tells which hosts the wire joins by packets. Before that, only cuts work.
    pub fn joins(&self, hosts: Vec<(HostName, Ipv4Addr)>) {
        // A wire joins its hosts once.
        let _ = self.hosts.set(hosts);
    }

    /// Puts a middlebox between two hosts that the wire joins; the first is its inside.
    ///
    /// # Errors
    /// [`ArmError`] where the plan is out of its bounds, or there are no such hosts.
    pub fn install(
        &self,
        plan: &plan::Middlebox,
        inside: HostName,
        outside: HostName,
    ) -> Result<(), ArmError> {
        plan.check()?;
        let hosts = self.hosts.get().ok_or(ArmError::Relay)?;
        let find = |wanted: HostName| {
            let found = hosts.iter().find(|(host, _)| *host == wanted);
            found.copied().ok_or(ArmError::NoSuchHost(wanted))
        };
        let middlebox = Middlebox::new(plan.clone(), find(inside)?, find(outside)?);
        let mut state = self.state();
        state.middlebox = Some(middlebox);
        self.recount(&state);
        Ok(())
    }

    /// The hosts of the run.
    pub fn hosts(&self) -> Vec<HostName> {
        match self.hosts.get() {
            Some(hosts) => hosts.iter().map(|(name, _)| *name).collect(),
            None => vec![HostName::Client, HostName::Server],
        }
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
        if !self.any.load(Ordering::Acquire) {
            return judgement;
        }
        let mut state = self.state();
        if state.is_cut(packet.from) {
            judgement.fate = Fate::Drop {
                rule: "cut".into(),
                reason: "cut".into(),
                place: PLACE,
            };
            return judgement;
        }
        let mut spent = Vec::new();
        if !state.rules.is_empty() {
            let sight = Sight::of(packet, self.receiver(packet.bytes));
            for rule in &mut state.rules {
                rule.judge(&sight, &mut judgement);
                if judgement.fate != Fate::Deliver {
                    break;
                }
            }
            if state.rules.iter().any(ArmedRule::is_spent) {
                spent = state.rules.extract_if(.., |rule| rule.is_spent()).collect();
                self.recount(&state);
            }
        }
        let mut notices = Vec::new();
        if let Some(middlebox) = &mut state.middlebox {
            for answer in &mut judgement.answers {
                middlebox.dress(answer);
            }
            if judgement.fate == Fate::Deliver {
                notices = middlebox.judge(packet, &mut judgement);
            }
        }
        // What is cut off from its receiver does not reach it, whoever made it.
        judgement
            .answers
            .retain(|answer| !state.is_cut(answer.from));
        drop(state);
        for rule in &spent {
            self.tell_rule(rule, false);
        }
        self.tell_notices(notices);
        judgement
    }

    fn tell_notices(&self, notices: Vec<Notice>) {
        for Notice { at, fact } in notices {
            self.journal
                .record_at(self.journal.at_us(at), Observer::Wire, fact);
        }
    }

    /// Whom a packet goes to, where that is a host of the run.
    fn receiver(&self, bytes: &[u8]) -> Option<HostName> {
        let address = Ipv4::parse(bytes).ok()?.dst;
        let hosts = self.hosts.get()?;
        let found = hosts.iter().find(|(_, known)| *known == address)?;
        Some(found.0)
    }

    /// When a rule next has something to send or to say without being asked, if one has.
    pub fn deadline(&self) -> Option<Instant> {
        if !self.any.load(Ordering::Acquire) {
            return None;
        }
        self.state().middlebox.as_ref()?.deadline()
    }

    /// Gives a packet of the wire's own the form that its receiver knows behind a NAT.
    pub fn dress(&self, answer: &mut Answer) {
        if let Some(middlebox) = &self.state().middlebox {
            middlebox.dress(answer);
        }
    }

    /// What rules send of themselves, now that their time has come.
    pub fn due(&self, now: Instant) -> Vec<Answer> {
        let mut state = self.state();
        let Some(middlebox) = &mut state.middlebox else {
            return Vec::new();
        };
        let (mut answers, notices) = middlebox.due(now);
        answers.retain(|answer| !state.is_cut(answer.from));
        drop(state);
        self.tell_notices(notices);
        answers
    }

    /// Returns once nothing that leaves `from` is cut: a stream cannot lose a piece and go on, so
    /// a relay waits.
    pub async fn passable(&self, from: HostName) {
        let mut changed = self.changed.subscribe();
        while self.state().is_cut(from) {
            if changed.changed().await.is_err() {
                return;
            }
        }
    }

    /// Drops every packet that the given hosts send, silently, until the cut is healed or dropped.
    pub fn cut(self: &Arc<Self>, from: &[HostName]) -> Cut {
        let ids = from
            .iter()
            .map(|&host| self.arm_cut(host, "script"))
            .collect();
        Cut::new(Arc::clone(self), ids)
    }

    /// A cut on a user's behalf: it lasts until [`Rules::heal_users`].
    ///
    /// # Errors
    /// [`ArmError::NoSuchHost`]; nothing is cut then.
    pub fn cut_for_user(&self, from: &[HostName]) -> Result<(), ArmError> {
        let hosts = self.hosts();
        if let Some(stranger) = from.iter().find(|host| !hosts.contains(host)) {
            return Err(ArmError::NoSuchHost(*stranger));
        }
        self.disturbed.store(true, Ordering::Release);
        for &host in from {
            let cut_already = |cut: &ArmedCut| cut.by == "user" && cut.from == host;
            if !self.state().cuts.iter().any(cut_already) {
                self.arm_cut(host, "user");
            }
        }
        Ok(())
    }

    /// Arms a rule until the returned guard is dropped.
    ///
    /// # Errors
    /// [`ArmError`] says why it cannot be armed.
    pub fn arm(self: &Arc<Self>, spec: RuleSpec) -> Result<Armed, ArmError> {
        let (id, name) = self.arm_rule(spec, "script")?;
        Ok(Armed::new(Arc::clone(self), id, name))
    }

    /// Arms a rule on a user's behalf, and gives the name that it has.
    ///
    /// # Errors
    /// [`ArmError`] says why it cannot be armed.
    pub fn arm_for_user(&self, spec: RuleSpec) -> Result<String, ArmError> {
        let (_, name) = self.arm_rule(spec, "user")?;
        self.disturbed.store(true, Ordering::Release);
        Ok(name)
    }

    /// Disarms a rule that a user armed.
    ///
    /// # Errors
    /// [`ArmError`] where there is no such rule, or a script has armed it.
    pub fn disarm_for_user(&self, name: &str) -> Result<(), ArmError> {
        let state = self.state();
        let rule = state
            .rules
            .iter()
            .find(|rule| rule.spec.name == name)
            .ok_or_else(|| ArmError::Unknown(name.to_owned()))?;
        if rule.by != "user" {
            return Err(ArmError::NotYours(format!("the rule `{name}`")));
        }
        let id = rule.id;
        drop(state);
        self.disarm(|_| false, |rule| rule.id == id);
        Ok(())
    }

    /// Whether a user has done anything to the wire, now or before: what applications saw may be
    /// due to that.
    pub fn disturbed(&self) -> bool {
        self.disturbed.load(Ordering::Acquire)
    }

    /// Takes back everything that users did to the wire.
    ///
    /// # Errors
    /// [`ArmError::NotYours`] where only what the script did is there to be taken back.
    pub fn heal_users(&self) -> Result<(), ArmError> {
        let state = self.state();
        let yours = state.cuts.iter().any(|cut| cut.by == "user")
            || state.rules.iter().any(|rule| rule.by == "user");
        let cuts = state
            .cuts
            .iter()
            .map(|cut| format!("the cut of what the {} sends", cut.from));
        let rules = state
            .rules
            .iter()
            .map(|rule| format!("the rule `{}`", rule.spec.name));
        let theirs: Vec<String> = cuts.chain(rules).collect();
        drop(state);
        if yours || theirs.is_empty() {
            self.disarm(|cut| cut.by == "user", |rule| rule.by == "user");
            return Ok(());
        }
        Err(ArmError::NotYours(theirs.join(" and ")))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes whether anything is armed. The state is locked by the caller, so that nobody's change
    /// is lost.
    fn recount(&self, state: &State) {
        let any = !state.cuts.is_empty() || !state.rules.is_empty() || state.middlebox.is_some();
        self.any.store(any, Ordering::Release);
    }

    fn arm_cut(&self, from: HostName, by: &'static str) -> u64 {
        let mut state = self.state();
        let id = state.id();
        state.cuts.push(ArmedCut { id, from, by });
        self.recount(&state);
        drop(state);
        self.tell("cut", from, by, true, "");
        id
    }

    fn arm_rule(&self, mut spec: RuleSpec, by: &'static str) -> Result<(u64, String), ArmError> {
        let hosts = self.hosts.get().ok_or(ArmError::Relay)?;
        spec.check()?;
        for host in [spec.matches.from, spec.matches.to].into_iter().flatten() {
            if !hosts.iter().any(|(known, _)| *known == host) {
                return Err(ArmError::NoSuchHost(host));
            }
        }
        let mut state = self.state();
        let users = state.rules.iter().filter(|rule| rule.by == "user").count();
        if by == "user" && users >= MOST_ARMED {
            return Err(ArmError::TooMany);
        }
        if spec.name.is_empty() {
            spec.name = state.find_name(&spec.act);
        } else if spec.name == "cut" || state.has_named(&spec.name) {
            return Err(ArmError::Taken(spec.name));
        }
        let (id, name) = (state.id(), spec.name.clone());
        // Told while the state is locked: it may act, and say that it has, at any moment from now.
        let rule = ArmedRule::new(id, by, spec);
        self.tell_rule(&rule, true);
        state.rules.push(rule);
        self.recount(&state);
        Ok((id, name))
    }

    fn disarm(&self, cuts: impl Fn(&ArmedCut) -> bool, rules: impl Fn(&ArmedRule) -> bool) {
        let mut state = self.state();
        let healed: Vec<_> = state.cuts.extract_if(.., |cut| cuts(cut)).collect();
        let disarmed: Vec<_> = state.rules.extract_if(.., |rule| rules(rule)).collect();
        self.recount(&state);
        drop(state);
        for cut in healed {
            self.tell("cut", cut.from, cut.by, false, "");
        }
        for rule in disarmed {
            self.tell_rule(&rule, false);
        }
    }

    /// One event for each host whose packets a rule concerns.
    fn tell_rule(&self, rule: &ArmedRule, active: bool) {
        let detail = rule.spec.to_string();
        let matches = &rule.spec.matches;
        for host in self.hosts() {
            if matches.from.is_none_or(|from| from == host) && matches.to != Some(host) {
                self.tell(&rule.spec.name, host, rule.by, active, &detail);
            }
        }
    }

    fn tell(&self, rule: &str, from: HostName, by: &str, active: bool, detail: &str) {
        self.changed.send_replace(());
        self.wake();
        self.journal.record(
            Observer::Wire,
            Fact::Rule {
                rule: rule.to_owned(),
                from,
                active,
                by: by.to_owned(),
                detail: detail.to_owned(),
            },
        );
    }
}

impl State {
    fn has_named(&self, name: &str) -> bool {
        self.rules.iter().any(|rule| rule.spec.name == name)
    }

    /// A name that says what a rule does, and that no other has or had.
    fn find_name(&mut self, act: &Act) -> String {
        let kind = match act {
            Act::Drop {} => "drop",
            Act::Reject { .. } => "reject",
            Act::Answer { .. } => "answer",
            Act::Delay { .. } => "delay",
        };
        loop {
            self.next_name += 1;
            let name = format!("{kind}-{}", self.next_name);
            if !self.has_named(&name) {
                return name;
            }
        }
    }
}

#[cfg(test)]
mod tests;
