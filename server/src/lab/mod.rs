//! The laboratory that an experiment is given: two hosts, a wire, a clock, and a way to say what
//! is expected and what was measured.
//!
//! A lab promises that nothing of it is left when it is closed or dropped: sockets, tasks, threads,
//! devices and namespaces. What its own taking down does to connections is not recorded.

mod crew;
mod error;
mod follow;
#[cfg(linger_packets)]
mod packets;
mod stack;
mod switches;
mod timers;

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    path::PathBuf,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use linger_shared::{
    event::{
        Fact, Header, HostName, Measurement, Mode, Observer, SocketSnapshot, TcpState, TimerKind,
    },
    experiment::{Descriptor, Params},
    link::{Conditions, LinkInfo},
    middlebox::Middlebox,
    protocol::{Action, PROTOCOL_VERSION},
    rule::RuleSpec,
};
use tokio::{net::TcpStream, sync::watch};

pub use self::{
    crew::Crew,
    error::LabError,
    follow::{Follower, prober},
    stack::{Listener, Stack},
};
use crate::{
    hosts::{self, Tables},
    journal::Journal,
    wire::{Armed, Cut, Rules, Way},
};

/// What a run is to be.
pub struct Setup {
    /// The run's id.
    pub run: String,
    /// The experiment.
    pub descriptor: Descriptor,
    /// Its checked parameters.
    pub params: Params,
    /// What every random choice is derived from.
    pub seed: u64,
    /// Packets or relay.
    pub mode: Mode,
    /// What its hosts and its link are to be like.
    pub plan: Plan,
    /// Linger's own program, for endpoints that are programs; the running one where it is absent.
    pub executable: Option<PathBuf>,
}

/// What an experiment asks of its hosts and its link.
#[derive(Debug, Clone)]
pub struct Plan {
    /// How long the script takes by its parameters, in microseconds. A run that takes much longer
    /// waits for something that will not come, and is ended.
    pub lasts_us: u64,
    /// What joins the hosts; the hosts are those that are named here.
    pub links: Vec<LinkPlan>,
    /// What stands on the first link, with `near` as its inside; only packets meet it.
    pub middlebox: Option<Middlebox>,
    /// The congestion control of every socket (TCP_CONGESTION): defaults differ between machines.
    pub congestion: &'static str,
    /// Sysctls below `net/ipv4/` that its question depends on, pinned on every host.
    pub sysctls: BTreeMap<String, String>,
    /// Sysctls of single hosts, which go before `sysctls`.
    pub host_sysctls: BTreeMap<HostName, BTreeMap<String, String>>,
}

/// What joins two hosts.
#[derive(Debug, Clone, PartialEq)]
pub struct LinkPlan {
    /// The one that is nearer to the client.
    pub near: HostName,
    /// The one that is nearer to the server.
    pub far: HostName,
    /// From `near` to `far`.
    pub there: Conditions,
    /// From `far` to `near`.
    pub back: Conditions,
}

impl LinkPlan {
    /// A link with the same conditions in either direction.
    pub fn symmetric(near: HostName, far: HostName, conditions: Conditions) -> Self {
        Self {
            near,
            far,
            there: conditions.clone(),
            back: conditions,
        }
    }
}

impl Way {
    /// The way from one host to another along links: their delays, one after the other. All of the
    /// links count where these are not neighbours.
    fn along(links: &[LinkPlan], from: HostName, to: HostName) -> Self {
        let direct =
            |link: &&LinkPlan| [(link.near, link.far), (link.far, link.near)].contains(&(from, to));
        let passed: Vec<&LinkPlan> = match links.iter().find(direct) {
            Some(link) => vec![link],
            None => links.iter().collect(),
        };
        let delay = |towards_server: bool| {
            let us = passed
                .iter()
                .map(|link| match towards_server {
                    true => link.there.delay_us,
                    false => link.back.delay_us,
                })
                .sum();
            Duration::from_micros(us)
        };
        let outwards = from < to;
        Self {
            from,
            to,
            there: delay(outwards),
            back: delay(!outwards),
        }
    }
}

/// How long the last packets, and then the kernels' last answer, may take beyond what they must.
const LAST_LOOK: Duration = Duration::from_secs(5);

impl Plan {
    /// A link with the same delay in either direction, and cubic: what Linux has by default where
    /// nobody chose otherwise.
    pub fn symmetric(delay_us: u64, lasts_us: u64) -> Self {
        Self {
            lasts_us,
            links: vec![LinkPlan::symmetric(
                HostName::Client,
                HostName::Server,
                Conditions::delay(delay_us),
            )],
            middlebox: None,
            congestion: "cubic",
            sysctls: BTreeMap::new(),
            host_sysctls: BTreeMap::new(),
        }
    }

    /// A link from the client to the proxy and one from there to the server, each with the same
    /// delay in either direction.
    pub fn through_proxy(near_us: u64, far_us: u64, lasts_us: u64) -> Self {
        let link =
            |near, far, delay_us| LinkPlan::symmetric(near, far, Conditions::delay(delay_us));
        Self {
            links: vec![
                link(HostName::Client, HostName::Proxy, near_us),
                link(HostName::Proxy, HostName::Server, far_us),
            ],
            ..Self::symmetric(0, lasts_us)
        }
    }

    /// The hosts, in the order of their lanes.
    pub fn hosts(&self) -> Vec<HostName> {
        [HostName::Client, HostName::Proxy, HostName::Server]
            .into_iter()
            .filter(|host| {
                self.links
                    .iter()
                    .any(|link| [link.near, link.far].contains(host))
            })
            .collect()
    }

    /// Each direction of each link, as the wire and the header have it.
    fn directions(&self) -> Vec<LinkInfo> {
        let direction = |from, to, conditions: &Conditions| LinkInfo {
            from,
            to,
            conditions: conditions.clone(),
        };
        self.links
            .iter()
            .flat_map(|link| {
                [
                    direction(link.near, link.far, &link.there),
                    direction(link.far, link.near, &link.back),
                ]
            })
            .collect()
    }
}

/// A run's hosts, wire and record.
pub struct Lab {
    journal: Arc<Journal>,
    rules: Arc<Rules>,
    mode: Mode,
    struck: Arc<AtomicBool>,
    /// Servers and drivers that the experiment set to work.
    crew: Crew,
    /// Connections that nobody closed: they stay open until nothing is recorded any more.
    leftovers: Arc<Leftovers>,
    /// What joins the hosts.
    links: Vec<LinkPlan>,
    stack: stack::Ground,
}

/// Where connections go that an application dropped without closing them.
#[derive(Default)]
pub struct Leftovers(Mutex<Vec<TcpStream>>);

impl Leftovers {
    /// Keeps a connection open until the run is over.
    pub fn keep(&self, stream: TcpStream) {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(stream);
    }
}

/// What a viewer may do to a live run.
#[derive(Clone)]
pub struct Controls {
    rules: Arc<Rules>,
    switches: switches::Switches,
    /// Whether a viewer has taken a host or a program away.
    struck: Arc<AtomicBool>,
}

impl Controls {
    /// Whether a viewer has disturbed the path, now or before.
    pub fn disturbed(&self) -> bool {
        self.rules.disturbed()
    }

    /// Whether a viewer has taken a host's power or killed a program, now or before: then whatever
    /// a script meets may be due to that.
    pub fn struck(&self) -> bool {
        self.struck.load(Ordering::Acquire)
    }

    /// Carries out an action. Switching a host off or on blocks for some milliseconds.
    ///
    /// # Errors
    /// Why the run cannot do it, in words.
    pub fn act(&self, action: Action) -> Result<(), String> {
        let rules = &self.rules;
        match action {
            Action::Cut { from: None } => rules.cut_for_user(&rules.hosts()),
            Action::Cut { from: Some(host) } => rules.cut_for_user(&[host]),
            Action::Heal => rules.heal_users(),
            Action::Arm { rule } => rules.arm_for_user(rule).map(drop),
            Action::Disarm { rule } => rules.disarm_for_user(&rule),
            Action::PowerOff { host } => {
                return self.strike(|| self.switches.off(host, BY_A_USER));
            }
            Action::PowerOn { host } => {
                let on = self.switches.on(host, BY_A_USER);
                return on.map_err(|error| error.to_string());
            }
            Action::Kill { host } => {
                return self.strike(|| self.switches.kill(host, BY_A_USER));
            }
        }
        .map_err(|error| error.to_string())
    }
}

impl Controls {
    fn strike(&self, blow: impl FnOnce() -> Result<(), LabError>) -> Result<(), String> {
        // Before the blow: what a script sees of it is due to it.
        let before = self.struck.swap(true, Ordering::AcqRel);
        blow().map_err(|error| {
            self.struck.fetch_and(before, Ordering::AcqRel);
            error.to_string()
        })
    }
}

/// Who does what a viewer's action asks for, as events say it.
const BY_A_USER: &str = "user";

/// Who does what a script asks for.
const BY_THE_SCRIPT: &str = "script";

impl Lab {
    /// Brings the hosts up and joins them.
    ///
    /// # Errors
    /// [`LabError`] says what was tried and what happened; nothing is left behind.
    pub async fn open(setup: &Setup, header: Header) -> Result<(Self, Header), LabError> {
        let journal = Arc::new(Journal::new());
        let rules = Rules::new(Arc::clone(&journal));
        let leftovers = Arc::new(Leftovers::default());
        let ground = stack::Ground::prepare(
            setup.mode,
            &setup.plan,
            setup.executable.clone(),
            setup.seed,
            Arc::clone(&journal),
            Arc::clone(&rules),
        )
        .await?;
        if setup.mode == Mode::Packets {
            let hosts = ground.hosts();
            let hosts = hosts
                .iter()
                .filter_map(|host| Some((host.name, host.address.parse().ok()?)));
            rules.joins(hosts.collect());
            if let (Some(middlebox), Some(link)) = (&setup.plan.middlebox, setup.plan.links.first())
            {
                rules
                    .install(middlebox, link.near, link.far)
                    .map_err(|error| LabError::Unmet(error.to_string()))?;
                journal.record(
                    Observer::Wire,
                    Fact::Remark {
                        text: middlebox.to_string(),
                    },
                );
            }
        }
        let header = Header {
            hosts: ground.hosts(),
            links: match setup.mode {
                Mode::Packets => setup.plan.directions(),
                Mode::Relay => Vec::new(),
            },
            ..header
        };
        let lab = Self {
            journal,
            rules,
            mode: setup.mode,
            struck: Arc::default(),
            crew: Crew::default(),
            leftovers,
            links: setup.plan.links.clone(),
            stack: ground,
        };
        Ok((lab, header))
    }

    /// The run's record and clock.
    pub fn journal(&self) -> Arc<Journal> {
        Arc::clone(&self.journal)
    }

    /// What a viewer may do to this run.
    pub fn controls(&self) -> Controls {
        Controls {
            rules: Arc::clone(&self.rules),
            switches: self.stack.switches(),
            struck: Arc::clone(&self.struck),
        }
    }

    /// Packets or relay.
    pub fn mode(&self) -> Mode {
        self.mode
    }

    /// The host that opens connections.
    pub fn client(&self) -> Stack {
        self.host(HostName::Client)
    }

    /// The host that accepts connections.
    pub fn server(&self) -> Stack {
        self.host(HostName::Server)
    }

    /// The host between the two, in a plan that has one.
    pub fn proxy(&self) -> Stack {
        self.host(HostName::Proxy)
    }

    /// A host of the run's plan.
    pub fn host(&self, name: HostName) -> Stack {
        self.stack
            .stack(name, Arc::clone(&self.journal), Arc::clone(&self.leftovers))
    }

    /// A way to reach a listener for the connections of the host that is next to it on the
    /// client's side: see [`Lab::reach_from`].
    ///
    /// # Errors
    /// [`LabError`] where the relay's front cannot be opened.
    pub async fn reach(&self, listener: &Listener) -> Result<SocketAddr, LabError> {
        let to = listener.stack.name();
        let from = self
            .links
            .iter()
            .find(|link| link.far == to)
            .map_or(HostName::Client, |link| link.near);
        self.reach_from(from, listener).await
    }

    /// A way for the connections of the host `from` to reach a listener: the listener's own address,
    /// or that of a relay in front of it, which delays as the links between the two do.
    ///
    /// # Errors
    /// [`LabError`] where the relay's front cannot be opened.
    pub async fn reach_from(
        &self,
        from: HostName,
        listener: &Listener,
    ) -> Result<SocketAddr, LabError> {
        match self.stack.relay() {
            None => Ok(listener.address()),
            Some(relay) => {
                let way = Way::along(&self.links, from, listener.stack.name());
                let (address, work) = relay
                    .front(way, listener.address())
                    .await
                    .map_err(|source| LabError::io("open the relay's front", source))?;
                self.crew.spawn(work);
                Ok(address)
            }
        }
    }

    /// Sets something to work beside the script until the run is over.
    pub fn spawn(&self, work: impl Future<Output = ()> + Send + 'static) {
        self.crew.spawn(work);
    }

    /// Those who work beside the script, for libraries that bring tasks of their own.
    pub fn crew(&self) -> Crew {
        self.crew.clone()
    }

    /// Drops every packet from these hosts, silently, until the returned guard is dropped.
    pub fn cut(&self, from: &[HostName]) -> Cut {
        self.rules.cut(from)
    }

    /// Arms a rule of the wire until the returned guard is dropped.
    ///
    /// # Errors
    /// [`LabError::Unmet`] where the rule cannot be armed: over a relay, or out of bounds.
    pub fn arm(&self, rule: RuleSpec) -> Result<Armed, LabError> {
        let told = rule.to_text();
        self.rules
            .arm(rule)
            .map_err(|error| LabError::Unmet(format!("cannot arm `{told}`: {error}")))
    }

    /// Takes a host's power away: it is silent from then on. No FIN and no RST leaves it, its
    /// programs are gone, and so are its sockets. What the script holds there fails with
    /// ECONNABORTED at once; nobody there sees that, and it is not recorded.
    ///
    /// # Errors
    /// [`LabError`] where the host has no power, or the run no hosts of its own.
    pub async fn power_off(&self, host: HostName) -> Result<(), LabError> {
        self.switch(move |switches| switches.off(host, BY_THE_SCRIPT))
            .await
    }

    /// Gives a host its power back: it has its old address, and an empty stack. [`Lab::client`] and
    /// the like give the host as it is now; a [`Stack`] from before is of no use any more.
    ///
    /// # Errors
    /// [`LabError`] where the host has power, or cannot be made.
    pub async fn power_on(&self, host: HostName) -> Result<(), LabError> {
        self.switch(move |switches| switches.on(host, BY_THE_SCRIPT))
            .await
    }

    async fn switch(
        &self,
        turn: impl FnOnce(&switches::Switches) -> Result<(), LabError> + Send + 'static,
    ) -> Result<(), LabError> {
        let switches = self.stack.switches();
        tokio::task::spawn_blocking(move || turn(&switches))
            .await
            .map_err(|error| LabError::Unmet(error.to_string()))?
    }

    /// Begins a part of the experiment.
    pub fn chapter(&self, title: &str) {
        self.say(Fact::Chapter {
            title: title.to_owned(),
        });
    }

    /// Something that a reader should know.
    pub fn remark(&self, text: &str) {
        self.say(Fact::Remark {
            text: text.to_owned(),
        });
    }

    /// What theory says will happen, before it does.
    pub fn expect(&self, name: &str, predicted_at_us: u64, because: String) {
        self.say(Fact::Expectation {
            name: name.to_owned(),
            predicted_at_us,
            predicted_us: None,
            because,
        });
    }

    /// What theory says will happen `predicted_us` after `since_us`, before it does. The verdict
    /// names the span even where nothing is measured for it.
    pub fn expect_after(&self, name: &str, since_us: u64, predicted_us: u64, because: String) {
        self.say(Fact::Expectation {
            name: name.to_owned(),
            predicted_at_us: since_us.saturating_add(predicted_us),
            predicted_us: Some(predicted_us),
            because,
        });
    }

    /// What was measured: a span, and when the measured thing was true.
    pub fn measure(
        &self,
        name: &str,
        predicted_us: Option<u64>,
        measured_us: Option<u64>,
        at_us: u64,
    ) {
        self.journal.record_at(
            at_us,
            Observer::Experiment,
            Fact::Measurement(Measurement {
                name: name.to_owned(),
                predicted_us,
                measured_us,
            }),
        );
    }

    fn say(&self, fact: Fact) {
        self.journal.record(Observer::Experiment, fact);
    }

    /// The run's clock, in microseconds.
    pub fn now_us(&self) -> u64 {
        self.journal.now_us()
    }

    /// A sysctl of a host as the run found it, of those below `net/ipv4/` that a run records and
    /// that are one number; `None` where the kernel has none of that name, or over a relay.
    pub fn sysctl(&self, host: HostName, name: &str) -> Option<u64> {
        let hosts = self.stack.hosts();
        let host = hosts.iter().find(|info| info.name == host)?;
        host.sysctls.get(name)?.parse().ok()
    }

    /// When a packet last arrived at a host, on the run's clock; 0 where none has, or over a relay.
    pub fn last_arrival_us(&self, host: HostName) -> u64 {
        self.stack.last_arrival_us(host)
    }

    /// Waits until a host's connections, as its kernel tells them from now on, are as `wanted`;
    /// gives the time at which they were first seen so, or `None` if that did not happen within
    /// `patience` or the kernels of this run cannot be asked. Listeners are left out.
    pub async fn connections_until(
        &self,
        host: HostName,
        patience: Duration,
        wanted: impl Fn(&[SocketSnapshot]) -> bool,
    ) -> Option<u64> {
        let mut tables: watch::Receiver<Tables> = self.stack.tables()?;
        let asked_us = self.now_us();
        self.stack.look();
        let fulfilled =
            |tables: &Tables| tables.asked_us >= asked_us && wanted(&connections(tables, host));
        match tokio::time::timeout(patience, tables.wait_for(fulfilled)).await {
            Ok(Ok(_)) => Some(self.now_us()),
            Ok(Err(_)) | Err(_) => None,
        }
    }

    /// Waits until something listens on a host; false where nothing does within `patience`, or the
    /// kernels of this run cannot be asked.
    pub async fn until_listening(&self, host: HostName, patience: Duration) -> bool {
        let Some(mut tables) = self.stack.tables() else {
            return false;
        };
        let listens = |tables: &Tables| {
            let mut sockets = tables.sockets.get(&host).into_iter().flatten();
            sockets.any(|socket| socket.state == TcpState::Listen)
        };
        let listening = tables.wait_for(listens);
        matches!(tokio::time::timeout(patience, listening).await, Ok(Ok(_)))
    }

    /// A host's connections as its kernel last told them; none where kernels cannot be asked.
    pub fn connections(&self, host: HostName) -> Vec<SocketSnapshot> {
        self.stack
            .tables()
            .map(|tables| connections(&tables.borrow(), host))
            .unwrap_or_default()
    }

    /// Reads the record from now on: see [`Follower`].
    pub fn follow(&self) -> Follower {
        Follower::new(self.journal.follow())
    }

    /// Which timer of a host's one connection is pending, and when it is due on the run's clock, as
    /// the kernel tells it from now on. `None` where it has no connection, or none with a timer, or
    /// the kernels of this run cannot be asked.
    pub async fn timer_due(&self, host: HostName) -> Option<(TimerKind, u64)> {
        let mut tables: watch::Receiver<Tables> = self.stack.tables()?;
        let asked_us = self.now_us();
        self.stack.look();
        let asked = tables.wait_for(|tables| tables.asked_us >= asked_us);
        // Where nobody asks any more, there is no answer.
        let tables = tokio::time::timeout(LAST_LOOK, asked).await.ok()?.ok()?;
        let sockets = connections(&tables, host);
        let timer = sockets.iter().find_map(|socket| socket.timer)?;
        Some((timer.timer, tables.asked_us.saturating_add(timer.left_us)))
    }

    /// What ends the record of this run, while the script may still hold the lab.
    pub fn closing(&self) -> Closing {
        Closing {
            journal: Arc::clone(&self.journal),
            path: self.stack.path(),
            kernels: self.stack.kernels(),
        }
    }

    /// Waits until no connection is open any more, TIME_WAIT aside; gives up after `patience`.
    pub async fn until_closed(&self, patience: Duration) {
        match self.stack.relay() {
            Some(relay) => {
                // A stream that stays open is not the relay's fault; the record says so.
                let _ = tokio::time::timeout(patience, relay.idle()).await;
            }
            None => {
                for host in [HostName::Client, HostName::Proxy, HostName::Server] {
                    self.connections_until(host, patience, |sockets| {
                        sockets
                            .iter()
                            .all(|socket| socket.state == TcpState::TimeWait)
                    })
                    .await;
                }
            }
        }
    }

    /// Takes everything down, and returns when it is gone.
    pub async fn close(self) {
        // The wire goes first: what the closing of sockets sends has nowhere to go.
        let ground = self.stack;
        let ground = tokio::task::spawn_blocking(move || ground.unplug()).await;
        self.crew.dismissed().await;
        drop(self.leftovers);
        // Joining threads and waiting for the kernel blocks.
        let _ = tokio::task::spawn_blocking(move || drop(ground)).await;
    }
}

/// Ends a run's record: what is on its way arrives, the kernels are asked once more, and then
/// nothing is recorded any more.
pub struct Closing {
    journal: Arc<Journal>,
    path: stack::Path,
    kernels: stack::Kernels,
}

impl Closing {
    /// Closes the record. Every packet in it has an ending afterwards.
    pub async fn close(mut self) {
        // Whoever goes on sending does not hold up the end.
        let _ = tokio::time::timeout(LAST_LOOK, self.path.settled()).await;
        let asked = self.kernels.asked_after(self.journal.now_us());
        let _ = tokio::time::timeout(LAST_LOOK, asked).await;
        self.path.end().await;
        self.journal.close();
    }
}

fn connections(tables: &Tables, host: HostName) -> Vec<SocketSnapshot> {
    tables
        .sockets
        .get(&host)
        .into_iter()
        .flatten()
        .filter(|socket| socket.state != TcpState::Listen)
        .cloned()
        .collect()
}

impl Setup {
    /// The run's header, as far as it is known before there are hosts.
    pub fn header(&self) -> Header {
        Header {
            protocol_version: PROTOCOL_VERSION,
            run: self.run.clone(),
            experiment: self.descriptor.id.clone(),
            title: self.descriptor.title.clone(),
            params: self.params.values().clone(),
            seed: self.seed,
            mode: self.mode,
            started_unix_ms: SystemTime::now()
                .duration_since(UNIX_EPOCH)
                .map_or(0, |since| u64::try_from(since.as_millis()).unwrap_or(0)),
            kernel: hosts::kernel_release(),
            hosts: Vec::new(),
            links: Vec::new(),
            versions: versions(),
        }
    }
}

/// Versions of what takes part in runs, by name.
fn versions() -> BTreeMap<String, String> {
    [
        ("linger", env!("CARGO_PKG_VERSION")),
        ("axum", env!("LINGER_AXUM_VERSION")),
        ("hyper", env!("LINGER_HYPER_VERSION")),
        ("hyper-util", env!("LINGER_HYPER_UTIL_VERSION")),
        ("tokio", env!("LINGER_TOKIO_VERSION")),
    ]
    .map(|(name, version)| (name.to_owned(), version.to_owned()))
    .into()
}
