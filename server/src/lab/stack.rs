//! What a run stands on: hosts with their wire, or loopback with its relay; behind one face.

#[cfg(linger_packets)]
use std::collections::BTreeMap;
use std::{
    io,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    sync::Arc,
};

use linger_shared::event::{HostInfo, HostName, Mode};
#[cfg(linger_packets)]
use linger_shared::link::MTU;
use socket2::{Domain, Protocol, Socket, Type};
use tokio::{
    net::{TcpListener, TcpSocket},
    sync::watch,
};

use super::{LabError, Leftovers, Plan};
use crate::{
    hosts::Tables,
    journal::Journal,
    wire::{Relay, Rules},
};
#[cfg(linger_packets)]
use crate::{
    hosts::{Host, HostPlan, Sampler, Trigger},
    wire::{Joining, LinkEnder, PacketLink, Port},
};

/// Hosts and wire of a run.
pub(super) enum Ground {
    /// Network namespaces, joined by packets.
    #[cfg(linger_packets)]
    Packets(PacketGround),
    /// Loopback sockets, joined by a relay.
    Relay(Relay, Vec<HostName>),
}

/// The fields are dropped in this order: the wire before the sockets, the hosts last.
#[cfg(linger_packets)]
pub(super) struct PacketGround {
    link: Option<PacketLink>,
    sampler: Sampler,
    /// In the order of their lanes.
    hosts: Vec<Arc<Host>>,
    congestion: &'static str,
}

/// What a host was recorded with, and the congestion control that its sockets are given. The
/// sysctl cannot be: outside the first namespace the kernel refuses a restricted algorithm as the
/// default (`tcp_set_default_congestion_control`, net/ipv4/tcp_cong.c).
#[cfg(linger_packets)]
fn pinned(host: &Host, congestion: &str) -> BTreeMap<String, String> {
    let mut sysctls = host.sysctls().clone();
    sysctls.insert("TCP_CONGESTION".to_owned(), congestion.to_owned());
    sysctls
}

/// Addresses of the documentation ranges (RFC 5737).
#[cfg(linger_packets)]
fn address(host: HostName) -> Ipv4Addr {
    match host {
        HostName::Client => Ipv4Addr::new(192, 0, 2, 1),
        HostName::Proxy => Ipv4Addr::new(203, 0, 113, 1),
        HostName::Server => Ipv4Addr::new(198, 51, 100, 1),
    }
}

impl Ground {
    pub(super) async fn prepare(
        mode: Mode,
        plan: &Plan,
        seed: u64,
        journal: Arc<Journal>,
        rules: Arc<Rules>,
    ) -> Result<Self, LabError> {
        #[cfg(linger_packets)]
        if mode == Mode::Packets {
            let plan = plan.clone();
            let made = tokio::task::spawn_blocking(move || {
                PacketGround::prepare(&plan, seed, journal, rules)
            })
            .await
            .map_err(|error| LabError::Unmet(error.to_string()))?;
            return made.map(Self::Packets);
        }
        if mode == Mode::Packets {
            return Err(LabError::Unmet("this build has no packet wire".to_owned()));
        }
        // The relay chooses nothing at random.
        let _ = seed;
        Ok(Self::Relay(Relay::new(journal, rules), plan.hosts()))
    }

    pub(super) fn hosts(&self) -> Vec<HostInfo> {
        match self {
            #[cfg(linger_packets)]
            Self::Packets(ground) => ground
                .hosts
                .iter()
                .map(|host| HostInfo {
                    name: host.name(),
                    address: host.address().to_string(),
                    sysctls: pinned(host, ground.congestion),
                })
                .collect(),
            Self::Relay(_, hosts) => hosts
                .iter()
                .map(|&name| HostInfo {
                    name,
                    address: Ipv4Addr::LOCALHOST.to_string(),
                    sysctls: Default::default(),
                })
                .collect(),
        }
    }

    pub(super) fn relay(&self) -> Option<&Relay> {
        match self {
            #[cfg(linger_packets)]
            Self::Packets(_) => None,
            Self::Relay(relay, _) => Some(relay),
        }
    }

    pub(super) fn tables(&self) -> Option<watch::Receiver<Tables>> {
        match self {
            #[cfg(linger_packets)]
            Self::Packets(ground) => Some(ground.sampler.tables()),
            Self::Relay(..) => None,
        }
    }

    /// Has the kernels asked soon, whether packets moved or not.
    pub(super) fn look(&self) {
        self.kernels().look();
    }

    /// What asks the hosts' kernels, apart from the hosts.
    pub(super) fn kernels(&self) -> Kernels {
        match self {
            #[cfg(linger_packets)]
            Self::Packets(ground) => Kernels {
                asked: Some((ground.sampler.trigger(), ground.sampler.tables())),
            },
            Self::Relay(..) => Kernels::default(),
        }
    }

    /// The way between the hosts, for whoever ends the record.
    pub(super) fn path(&self) -> Path {
        match self {
            #[cfg(linger_packets)]
            Self::Packets(ground) => Path::Packets(ground.link.as_ref().map(PacketLink::ender)),
            Self::Relay(relay, _) => Path::Relay(relay.clone()),
        }
    }

    pub(super) fn last_arrival_us(&self, host: HostName) -> u64 {
        match self {
            #[cfg(linger_packets)]
            Self::Packets(ground) => ground
                .link
                .as_ref()
                .map_or(0, |link| link.last_arrival_us(host)),
            Self::Relay(..) => {
                let _ = host;
                0
            }
        }
    }

    pub(super) fn stack(
        &self,
        name: HostName,
        journal: Arc<Journal>,
        leftovers: Arc<Leftovers>,
    ) -> Stack {
        Stack {
            name,
            journal,
            leftovers,
            place: match self {
                #[cfg(linger_packets)]
                Self::Packets(ground) => Place::Namespace {
                    host: Arc::clone(
                        ground
                            .hosts
                            .iter()
                            .find(|host| host.name() == name)
                            .expect("scripts use the hosts of their own plan"),
                    ),
                    congestion: ground.congestion,
                },
                Self::Relay(..) => Place::Loopback,
            },
        }
    }

    /// Takes the wire away from the hosts. Blocks until it is gone.
    pub(super) fn unplug(self) -> Self {
        match self {
            #[cfg(linger_packets)]
            Self::Packets(mut ground) => {
                ground.link = None;
                Self::Packets(ground)
            }
            Self::Relay(relay, hosts) => Self::Relay(relay, hosts),
        }
    }
}

#[cfg(linger_packets)]
impl PacketGround {
    fn prepare(
        plan: &Plan,
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
            let (host, tun) = Host::create(&HostPlan {
                name,
                address: address(name),
                mtu: MTU,
                sysctls,
            })?;
            diags.push((name, host.diag()?));
            ports.push(Port {
                host: name,
                address: host.address(),
                tun,
            });
            hosts.push(Arc::new(host));
        }
        let sampler = Sampler::start(Arc::clone(&journal), diags)
            .map_err(|source| LabError::io("start the sampler", source))?;
        let link = PacketLink::join(Joining {
            ports,
            links: plan.directions(),
            seed,
            journal,
            rules,
            trigger: Some(sampler.trigger()),
        })?;
        Ok(Self {
            link: Some(link),
            sampler,
            hosts,
            congestion: plan.congestion,
        })
    }
}

/// What asks the kernels of a run's hosts; nobody does over a relay.
#[derive(Default)]
pub(super) struct Kernels {
    #[cfg(linger_packets)]
    asked: Option<(Arc<Trigger>, watch::Receiver<Tables>)>,
}

impl Kernels {
    fn look(&self) {
        #[cfg(linger_packets)]
        if let Some((trigger, _)) = &self.asked {
            trigger.pull();
        }
    }

    /// Returns when all of them have been asked at `time_us` of the run's clock or later.
    pub(super) async fn asked_after(&mut self, time_us: u64) {
        self.look();
        #[cfg(linger_packets)]
        if let Some((_, tables)) = &mut self.asked {
            // Who asks has ended with the run's hosts: there is nobody left to be asked.
            let _ = tables.wait_for(|tables| tables.asked_us >= time_us).await;
        }
        #[cfg(not(linger_packets))]
        let _ = time_us;
    }
}

/// The way between the hosts of a run, apart from the hosts.
pub(super) enum Path {
    #[cfg(linger_packets)]
    Packets(Option<LinkEnder>),
    Relay(Relay),
}

impl Path {
    /// Returns when nothing that is on its way now still is.
    pub(super) async fn settled(&self) {
        match self {
            #[cfg(linger_packets)]
            Self::Packets(ender) => {
                if let Some(ender) = ender {
                    ender.settled().await;
                }
            }
            Self::Relay(relay) => relay.settled().await,
        }
    }

    /// Drops what is still on its way, and says so; nothing is carried afterwards.
    pub(super) async fn end(&self) {
        match self {
            #[cfg(linger_packets)]
            Self::Packets(ender) => {
                if let Some(ender) = ender {
                    ender.end().await;
                }
            }
            Self::Relay(relay) => relay.end(),
        }
    }
}

/// A host as endpoints see it: sockets are opened here.
#[derive(Clone)]
pub struct Stack {
    name: HostName,
    journal: Arc<Journal>,
    leftovers: Arc<Leftovers>,
    place: Place,
}

#[derive(Clone)]
enum Place {
    #[cfg(linger_packets)]
    Namespace {
        host: Arc<Host>,
        congestion: &'static str,
    },
    Loopback,
}

/// A listening socket on a host.
pub struct Listener {
    /// The socket.
    pub socket: TcpListener,
    /// The host.
    pub stack: Stack,
    address: SocketAddr,
}

impl Listener {
    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }
}

impl Stack {
    /// The host's name.
    pub fn name(&self) -> HostName {
        self.name
    }

    /// The host's address.
    pub fn address(&self) -> IpAddr {
        match &self.place {
            #[cfg(linger_packets)]
            Place::Namespace { host, .. } => host.address().into(),
            Place::Loopback => Ipv4Addr::LOCALHOST.into(),
        }
    }

    /// The run's record and clock.
    pub fn journal(&self) -> &Arc<Journal> {
        &self.journal
    }

    /// Where connections go that nobody closed.
    pub fn leftovers(&self) -> Arc<Leftovers> {
        Arc::clone(&self.leftovers)
    }

    /// Opens a TCP socket on the host.
    ///
    /// # Errors
    /// [`LabError`] where the host is gone or has no descriptor left.
    pub async fn socket(&self) -> Result<TcpSocket, LabError> {
        let open = || -> io::Result<Socket> {
            let socket = Socket::new(Domain::IPV4, Type::STREAM, Some(Protocol::TCP))?;
            socket.set_nonblocking(true)?;
            Ok(socket)
        };
        let socket = match &self.place {
            #[cfg(linger_packets)]
            Place::Namespace { host, congestion } => {
                let congestion = *congestion;
                host.run(move || {
                    let socket = open()?;
                    socket.set_tcp_congestion(congestion.as_bytes())?;
                    Ok(socket)
                })
                .await?
            }
            Place::Loopback => open(),
        }
        .map_err(|source| LabError::io(format!("open a socket on {}", self.name), source))?;
        Ok(TcpSocket::from_std_stream(socket.into()))
    }

    /// Listens on a port of the host; over a relay, on any free port of loopback.
    ///
    /// # Errors
    /// [`LabError`] names the address.
    pub async fn listen(&self, port: u16) -> Result<Listener, LabError> {
        let ip = match &self.place {
            #[cfg(linger_packets)]
            Place::Namespace { host, .. } => host.address(),
            Place::Loopback => Ipv4Addr::LOCALHOST,
        };
        let port = if matches!(self.place, Place::Loopback) {
            0
        } else {
            port
        };
        let address = SocketAddr::from((ip, port));
        let socket = self.socket().await?;
        let listen = || {
            socket.bind(address)?;
            let listener = socket.listen(128)?;
            let address = listener.local_addr()?;
            Ok((listener, address))
        };
        let (socket, address) =
            listen().map_err(|source| LabError::io(format!("listen on {address}"), source))?;
        Ok(Listener {
            socket,
            stack: self.clone(),
            address,
        })
    }
}
