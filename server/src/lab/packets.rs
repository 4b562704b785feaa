//! The ground of a run in packets mode: network namespaces, the wire between them, the programs on
//! them, and their power.
//!
//! A host that loses its power is silent from then on: its device is gone, so no FIN and no RST
//! leaves; its programs are killed and its sockets destroyed, as their kernel is gone. What a script
//! still holds there (a connection, a listener) fails with ECONNABORTED at once, so that nothing of
//! it hangs; but nobody on that host is there to see it, so none of it is recorded. When the power
//! comes back, the host has its old address and an empty stack; a script asks the lab for it anew.

use std::{
    collections::BTreeMap,
    net::Ipv4Addr,
    path::PathBuf,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
};

use linger_shared::{
    event::{Fact, HostInfo, HostName, Observer},
    link::MTU,
};
use tokio::sync::watch;

use super::{LabError, Plan};
use crate::{
    hosts::{Host, HostPlan, Launch, Process, Sampler, Tables, Trigger, Tun},
    journal::Journal,
    wire::{Joining, LinkEnder, PacketLink, Port, Rules},
};

/// Hosts and wire of a run.
pub(super) struct PacketGround {
    journal: Arc<Journal>,
    link: Mutex<Option<PacketLink>>,
    sampler: Sampler,
    programs: Mutex<Vec<Arc<Process>>>,
    /// In the order of their lanes.
    hosts: Mutex<Vec<Slot>>,
    pub(super) congestion: &'static str,
    pub(super) executable: Option<PathBuf>,
}

/// A host's place in a run.
struct Slot {
    plan: HostPlan,
    incarnation: Incarnation,
}

/// A host from one loss of power to the next.
#[derive(Clone)]
pub(super) struct Incarnation {
    pub(super) host: Arc<Host>,
    /// Where what runs on it reports.
    pub(super) journal: Arc<Journal>,
    on: Arc<AtomicBool>,
}

impl Incarnation {
    fn new(plan: &HostPlan, journal: &Arc<Journal>) -> Result<(Self, Tun), LabError> {
        let (host, tun) = Host::create(plan)?;
        let incarnation = Self {
            host: Arc::new(host),
            journal: Journal::view(journal),
            on: Arc::new(AtomicBool::new(true)),
        };
        Ok((incarnation, tun))
    }

    /// Whether it has power.
    pub(super) fn is_on(&self) -> bool {
        self.on.load(Ordering::Acquire)
    }
}

/// Addresses of the documentation ranges (RFC 5737).
fn address(host: HostName) -> Ipv4Addr {
    match host {
        HostName::Client => Ipv4Addr::new(192, 0, 2, 1),
        HostName::Proxy => Ipv4Addr::new(203, 0, 113, 1),
        HostName::Server => Ipv4Addr::new(198, 51, 100, 1),
    }
}

/// What a host was recorded with, and the congestion control that its sockets are given. The
/// sysctl cannot be: outside the first namespace the kernel refuses a restricted algorithm as the
/// default (`tcp_set_default_congestion_control`, net/ipv4/tcp_cong.c).
fn pinned(host: &Host, congestion: &str) -> BTreeMap<String, String> {
    let mut sysctls = host.sysctls().clone();
    sysctls.insert("TCP_CONGESTION".to_owned(), congestion.to_owned());
    sysctls
}

impl PacketGround {
    pub(super) fn prepare(
        plan: &Plan,
        executable: Option<PathBuf>,
        seed: u64,
        journal: Arc<Journal>,
        rules: Arc<Rules>,
    ) -> Result<Self, LabError> {
        let mut hosts = Vec::new();
        let mut ports = Vec::new();
        let mut diags = Vec::new();
        for name in plan.hosts() {
            let mut sysctls = plan.sysctls.clone();
            sysctls.extend(plan.host_sysctls.get(&name).cloned().unwrap_or_default());
            let plan = HostPlan {
                name,
                address: address(name),
                mtu: MTU,
                sysctls,
            };
            let (incarnation, tun) = Incarnation::new(&plan, &journal)?;
            diags.push((name, incarnation.host.diag()?));
            ports.push(Port {
                host: name,
                address: plan.address,
                tun,
            });
            hosts.push(Slot { plan, incarnation });
        }
        let sampler = Sampler::start(Arc::clone(&journal), diags)
            .map_err(|source| LabError::io("watch the hosts' sockets", source))?;
        let link = PacketLink::join(Joining {
            ports,
            links: plan.directions(),
            seed,
            journal: Arc::clone(&journal),
            rules,
            trigger: Some(sampler.trigger()),
        })?;
        Ok(Self {
            journal,
            link: Mutex::new(Some(link)),
            sampler,
            programs: Mutex::default(),
            hosts: Mutex::new(hosts),
            congestion: plan.congestion,
            executable,
        })
    }

    pub(super) fn hosts(&self) -> Vec<HostInfo> {
        self.slots()
            .iter()
            .map(|slot| HostInfo {
                name: slot.plan.name,
                address: slot.plan.address.to_string(),
                sysctls: pinned(&slot.incarnation.host, self.congestion),
            })
            .collect()
    }

    /// The host of that name as it is now; `None` where the plan has none.
    pub(super) fn host(&self, name: HostName) -> Option<Incarnation> {
        self.slots()
            .iter()
            .find(|slot| slot.plan.name == name)
            .map(|slot| slot.incarnation.clone())
    }

    pub(super) fn trigger(&self) -> Arc<Trigger> {
        self.sampler.trigger()
    }

    pub(super) fn tables(&self) -> watch::Receiver<Tables> {
        self.sampler.tables()
    }

    pub(super) fn ender(&self) -> Option<LinkEnder> {
        self.link().as_ref().map(PacketLink::ender)
    }

    pub(super) fn last_arrival_us(&self, host: HostName) -> u64 {
        self.link()
            .as_ref()
            .map_or(0, |link| link.last_arrival_us(host))
    }

    /// Takes the wire away, and then kills what runs on the hosts: that sends nothing any more.
    /// Blocks until both are gone.
    pub(super) fn unplug(&self) {
        drop(self.link().take());
        let programs = std::mem::take(&mut *self.programs());
        for program in &programs {
            program.kill("script");
        }
        // Whoever holds the last handle waits for its end.
        drop(programs);
    }

    /// Starts a program on a host as it is now. Blocks for some milliseconds.
    pub(super) fn start(&self, on: &Incarnation, launch: Launch) -> Result<Arc<Process>, LabError> {
        let names = self
            .slots()
            .iter()
            .map(|slot| (slot.plan.name.to_string(), slot.plan.address))
            .collect();
        let launch = Launch { names, ..launch };
        // Held meanwhile: a program that is being started is not missed when all are killed.
        let mut programs = self.programs();
        if !on.is_on() || self.link().is_none() {
            return Err(no_power(on.host.name()));
        }
        let process = Process::start(&on.host, Arc::clone(&on.journal), launch)?;
        let process = Arc::new(process);
        programs.retain(|program| program.has_ended().is_none());
        programs.push(Arc::clone(&process));
        Ok(process)
    }

    /// Kills every program that runs on a host; gives how many that were.
    pub(super) fn kill(&self, host: HostName, by: &'static str) -> usize {
        self.programs()
            .iter()
            .filter(|program| program.host() == host && program.has_ended().is_none())
            .map(|program| program.kill(by))
            .count()
    }

    /// Takes a host's power away; false where it has none. Blocks for some milliseconds.
    pub(super) fn power_off(&self, name: HostName, by: &'static str) -> Result<bool, LabError> {
        let slots = self.slots();
        let slot = slots
            .iter()
            .find(|slot| slot.plan.name == name)
            .ok_or_else(|| no_host(name))?;
        let Incarnation { host, journal, on } = &slot.incarnation;
        let Some(port) = self.link().as_ref().and_then(|link| link.unplug(name)) else {
            return Ok(false);
        };
        on.store(false, Ordering::Release);
        self.report(name, false, by);
        journal.mute();
        self.kill(name, by);
        self.sampler.lose(name);
        drop(port);
        let destroyed = host.diag()?.destroy_all();
        drop(slots);
        destroyed.map_err(|source| {
            LabError::io(format!("empty {name}"), std::io::Error::other(source))
        })?;
        Ok(true)
    }

    /// Gives a host its power back; false where it has it. Blocks for some milliseconds.
    pub(super) fn power_on(&self, name: HostName, by: &'static str) -> Result<bool, LabError> {
        let mut slots = self.slots();
        let slot = slots
            .iter_mut()
            .find(|slot| slot.plan.name == name)
            .ok_or_else(|| no_host(name))?;
        if slot.incarnation.is_on() {
            return Ok(false);
        }
        let (incarnation, tun) = Incarnation::new(&slot.plan, &self.journal)?;
        self.sampler.add(name, incarnation.host.diag()?);
        self.report(name, true, by);
        if let Some(link) = self.link().as_ref() {
            link.plug(Port {
                host: name,
                address: slot.plan.address,
                tun,
            })?;
        }
        let before = std::mem::replace(&mut slot.incarnation, incarnation);
        drop(slots);
        // Whoever holds the last handle to the old namespace waits for its end.
        drop(before);
        Ok(true)
    }

    fn report(&self, host: HostName, on: bool, by: &str) {
        let by = by.to_owned();
        self.journal
            .record(Observer::Wire, Fact::Power { host, on, by });
    }

    fn slots(&self) -> MutexGuard<'_, Vec<Slot>> {
        self.hosts.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn link(&self) -> MutexGuard<'_, Option<PacketLink>> {
        self.link.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn programs(&self) -> MutexGuard<'_, Vec<Arc<Process>>> {
        self.programs.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for PacketGround {
    fn drop(&mut self) {
        // The wire before the sockets; the programs before their hosts.
        self.unplug();
    }
}

/// What an application gets that asks a host without power.
pub(super) fn no_power(host: HostName) -> LabError {
    LabError::Application {
        host,
        call: "first call",
        errno: "the host has no power".to_owned(),
    }
}

fn no_host(host: HostName) -> LabError {
    LabError::Unmet(format!("this run has no {host}"))
}
