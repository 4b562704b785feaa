//! The hub: one thread that carries every packet of every run.
//!
//! It waits on all TUN devices, a timer and a mailbox at once. A packet is stamped when it was
//! read and again just before it is written to the other host, both on the run's clock; between
//! the two it waits until it is due. The timer is a `timerfd`, which fires with the precision of
//! the kernel's high-resolution timers, not of an async runtime's wheel. The thread is there while
//! a link is.
//!
//! [`PacketLink`] is a run's face of it. What conditions do to a packet is [`direction`]'s, what
//! becomes of it altogether [`link`]'s, when it happens [`flights`]'s and [`exchange`]'s.

mod direction;
mod exchange;
mod flights;
mod handle;
mod ipv4;
mod link;
mod pace;
mod surge;

use std::{
    collections::HashMap,
    io,
    net::Ipv4Addr,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use linger_shared::{
    event::HostName,
    link::{Conditions, LinkInfo},
};
use thiserror::Error;
use tokio::sync::oneshot;

use self::{
    handle::{Hub, Letter},
    link::Link,
};
use super::rules::Rules;
use crate::{
    hosts::{Trigger, Tun},
    journal::Journal,
};

/// The hub could not be started, no longer answers, or was asked for what is not there.
#[derive(Debug, Error)]
#[error("the wire cannot {operation}: {source}")]
pub struct LinkError {
    operation: &'static str,
    source: io::Error,
}

fn fail(operation: &'static str) -> impl FnOnce(nix::Error) -> LinkError {
    move |errno| LinkError {
        operation,
        source: errno.into(),
    }
}

/// A host's place on a link.
pub struct Port {
    /// Whose.
    pub host: HostName,
    /// What is addressed here goes to this host.
    pub address: Ipv4Addr,
    /// The far end of the host's device.
    pub tun: Tun,
}

/// What a wire joins, and what it is like.
pub struct Joining {
    /// The hosts.
    pub ports: Vec<Port>,
    /// Every direction in which packets may go; what goes elsewhere has no route.
    pub links: Vec<LinkInfo>,
    /// What every random choice is derived from.
    pub seed: u64,
    /// The run's record and clock.
    pub journal: Arc<Journal>,
    /// What decides packets' fates.
    pub rules: Arc<Rules>,
    /// What is told that packets moved.
    pub trigger: Option<Arc<Trigger>>,
}

/// The packet wire of one run. Its devices are closed when it is dropped.
///
/// Its methods wait for the hub's thread to answer, which takes microseconds.
pub struct PacketLink {
    hub: Arc<Hub>,
    id: u32,
    last_arrivals: Arc<HashMap<HostName, AtomicU64>>,
}

impl PacketLink {
    /// Joins hosts. Their packets flow from now on.
    ///
    /// # Errors
    /// [`LinkError`] where the hub cannot be started.
    pub fn join(joining: Joining) -> Result<Self, LinkError> {
        let hub = Hub::shared()?;
        let last_arrivals: Arc<HashMap<_, _>> = Arc::new(
            joining
                .ports
                .iter()
                .map(|port| (port.host, AtomicU64::new(0)))
                .collect(),
        );
        let rules = Arc::clone(&joining.rules);
        let link = Box::new(Link::new(joining, Arc::clone(&last_arrivals)));
        let id = hub
            .ask(|answer| Letter::Join(link, answer))
            .map_err(|source| LinkError {
                operation: "take a link on",
                source,
            })?;
        rules.wake_with(hub.waker(id));
        // A deadline that came just before had nobody to wake.
        hub.post(Letter::Look(id));
        Ok(Self {
            hub,
            id,
            last_arrivals,
        })
    }

    /// What ends the link's record while somebody else holds the link.
    pub fn ender(&self) -> LinkEnder {
        LinkEnder {
            hub: Arc::clone(&self.hub),
            id: self.id,
        }
    }

    /// When a packet last arrived at a host, on the run's clock; 0 where none has.
    pub fn last_arrival_us(&self, host: HostName) -> u64 {
        self.last_arrivals
            .get(&host)
            .map_or(0, |at_us| at_us.load(Ordering::Acquire))
    }

    /// Takes a host off the link, as if its power had gone: what reaches its place from now on is
    /// dropped by the rule `power`, and what it sends goes nowhere. What it has sent before is on
    /// its way and stays so. `None` where it is off already or never was on the link.
    ///
    /// As long as the port is kept, its device is there, and packets that the host sends wait in
    /// it: plugged in again as it is, the host goes on as if its cable had been out. Dropping the
    /// port takes the device away, which can keep the caller waiting for some milliseconds.
    pub fn unplug(&self, host: HostName) -> Option<Port> {
        self.hub
            .ask(|answer| Letter::Unplug(self.id, host, answer))
            .unwrap_or_default()
    }

    /// Puts a host in its place on the link, a new one or the one that was there. The device that
    /// is in the place already, if any, is closed.
    ///
    /// # Errors
    /// [`LinkError`] where the link was not made for a host of that name.
    pub fn plug(&self, port: Port) -> Result<(), LinkError> {
        self.hub
            .ask(|answer| Letter::Plug(self.id, port, answer))
            // What was in the place is dropped here, and not by the hub, whom it would keep.
            .map(drop)
            .map_err(|source| LinkError {
                operation: "plug a host in",
                source,
            })
    }

    /// Makes one direction another from now on. What is under way stays as it is, and what leaves
    /// from now on does not overtake it.
    ///
    /// # Errors
    /// [`LinkError`] where packets have no route in that direction.
    pub fn set_conditions(
        &self,
        from: HostName,
        to: HostName,
        conditions: Conditions,
    ) -> Result<(), LinkError> {
        self.hub
            .ask(|answer| Letter::Change {
                link: self.id,
                from,
                to,
                conditions: Box::new(conditions),
                answer,
            })
            .map_err(|source| LinkError {
                operation: "change a direction",
                source,
            })
    }
}

impl Drop for PacketLink {
    fn drop(&mut self) {
        self.hub.part(self.id);
    }
}

/// Ends a link's record in good order.
pub struct LinkEnder {
    hub: Arc<Hub>,
    id: u32,
}

impl LinkEnder {
    /// Returns when every packet that is on its way now has arrived or was dropped.
    pub async fn settled(&self) {
        let (landed, settled) = oneshot::channel();
        self.hub.post(Letter::Settle(self.id, landed));
        // Where the thread has ended, nothing is on its way.
        let _ = settled.await;
    }

    /// Drops what is still on its way, each packet with an event that says so. What hosts send
    /// afterwards goes nowhere and is not recorded.
    pub async fn end(&self) {
        let (told, ended) = oneshot::channel();
        self.hub.post(Letter::End(self.id, told));
        let _ = ended.await;
    }
}
