//! What a run stands on: hosts with their wire, or loopback with its relay; behind one face.

use std::{
    ffi::OsString,
    io,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    path::PathBuf,
    sync::Arc,
};

use linger_shared::event::{HostInfo, HostName, Mode};
use socket2::{Domain, Protocol, Socket, Type};
use tokio::{
    net::{TcpListener, TcpSocket},
    sync::watch,
};

#[cfg(linger_packets)]
use super::packets::{Incarnation, PacketGround, no_power};
use super::{LabError, Leftovers, Plan, switches::Switches};
#[cfg(linger_packets)]
use crate::{hosts::Trigger, wire::LinkEnder};
use crate::{
    hosts::{Launch, Process, Tables},
    journal::Journal,
    wire::{Relay, Rules},
};

/// Hosts and wire of a run.
pub(super) enum Ground {
    /// Network namespaces, joined by packets.
    #[cfg(linger_packets)]
    Packets(Arc<PacketGround>),
    /// Loopback sockets, joined by a relay.
    Relay(Relay, Vec<HostName>),
}

impl Ground {
    pub(super) async fn prepare(
        mode: Mode,
        plan: &Plan,
        executable: Option<PathBuf>,
        seed: u64,
        journal: Arc<Journal>,
        rules: Arc<Rules>,
    ) -> Result<Self, LabError> {
        #[cfg(linger_packets)]
        if mode == Mode::Packets {
            let plan = plan.clone();
            let made = tokio::task::spawn_blocking(move || {
                PacketGround::prepare(&plan, executable, seed, journal, rules)
            })
            .await
            .map_err(|error| LabError::Unmet(error.to_string()))?;
            return made.map(|ground| Self::Packets(Arc::new(ground)));
        }
        if mode == Mode::Packets {
            return Err(LabError::Unmet("this build has no packet wire".to_owned()));
        }
        // The relay chooses nothing at random.
        let _ = (seed, executable);
        Ok(Self::Relay(Relay::new(journal, rules), plan.hosts()))
    }

    pub(super) fn hosts(&self) -> Vec<HostInfo> {
        match self {
            #[cfg(linger_packets)]
            Self::Packets(ground) => ground.hosts(),
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
            Self::Packets(ground) => Some(ground.tables()),
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
                asked: Some((ground.trigger(), ground.tables())),
            },
            Self::Relay(..) => Kernels::default(),
        }
    }

    /// The way between the hosts, for whoever ends the record.
    pub(super) fn path(&self) -> Path {
        match self {
            #[cfg(linger_packets)]
            Self::Packets(ground) => Path::Packets(ground.ender()),
            Self::Relay(relay, _) => Path::Relay(relay.clone()),
        }
    }

    pub(super) fn last_arrival_us(&self, host: HostName) -> u64 {
        match self {
            #[cfg(linger_packets)]
            Self::Packets(ground) => ground.last_arrival_us(host),
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
        match self {
            #[cfg(linger_packets)]
            Self::Packets(ground) => {
                let host = ground
                    .host(name)
                    .expect("scripts use the hosts of their own plan");
                Stack {
                    name,
                    journal: Arc::clone(&host.journal),
                    leftovers,
                    place: Place::Namespace {
                        host,
                        ground: Arc::clone(ground),
                    },
                }
            }
            Self::Relay(..) => Stack {
                name,
                journal,
                leftovers,
                place: Place::Loopback,
            },
        }
    }

    /// What there is to switch off, where the run has hosts of its own.
    pub(super) fn switches(&self) -> Switches {
        match self {
            #[cfg(linger_packets)]
            Self::Packets(ground) => Switches {
                ground: Arc::downgrade(ground),
            },
            Self::Relay(..) => Switches::default(),
        }
    }

    /// Takes the wire away from the hosts, and what runs on them. Blocks until it is gone.
    pub(super) fn unplug(self) -> Self {
        #[cfg(linger_packets)]
        if let Self::Packets(ground) = &self {
            ground.unplug();
        }
        self
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
        host: Incarnation,
        ground: Arc<PacketGround>,
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
            Place::Namespace { host, .. } => host.host.address().into(),
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

    /// Opens a TCP socket on the host, with the congestion control of the run's plan.
    ///
    /// # Errors
    /// [`LabError`] where the host is gone, has no power or has no descriptor left.
    pub async fn socket(&self) -> Result<TcpSocket, LabError> {
        self.socket_with(None).await
    }

    /// Opens a TCP socket on the host, with a congestion control of its own (TCP_CONGESTION,
    /// tcp(7)), such as `reno`; over a relay, where the host's kernel is the machine's, too.
    ///
    /// # Errors
    /// [`LabError`] as for [`Stack::socket`], or where the kernel has no such algorithm.
    pub async fn socket_with(&self, congestion: Option<&str>) -> Result<TcpSocket, LabError> {
        let open = |congestion: Option<String>| -> io::Result<Socket> {
            let socket = Socket::new(Domain::IPV4, Type::STREAM, Some(Protocol::TCP))?;
            socket.set_nonblocking(true)?;
            #[cfg(target_os = "linux")]
            if let Some(congestion) = congestion {
                socket
                    .set_tcp_congestion(congestion.as_bytes())
                    .map_err(|error| {
                        let what = format!("congestion control {congestion}: {error}");
                        io::Error::new(error.kind(), what)
                    })?;
            }
            #[cfg(not(target_os = "linux"))]
            let _ = congestion;
            Ok(socket)
        };
        let wanted = congestion.map(str::to_owned);
        let socket = match &self.place {
            #[cfg(linger_packets)]
            Place::Namespace { host, ground } => {
                if !host.is_on() {
                    return Err(no_power(self.name));
                }
                let congestion = wanted.unwrap_or_else(|| ground.congestion.to_owned());
                host.host.run(move || open(Some(congestion))).await?
            }
            Place::Loopback => open(wanted),
        }
        .map_err(|source| LabError::io(format!("open a socket on {}", self.name), source))?;
        Ok(TcpSocket::from_std_stream(socket.into()))
    }

    /// Starts a program on the host. It is killed, with all that it has started, when the run ends
    /// or the host loses its power; dropping the handle leaves it alone. What it writes and what
    /// becomes of it are events.
    ///
    /// # Errors
    /// [`LabError`] names the program, what was tried and what happened; and there are none over a
    /// relay, where nothing would keep its packets on the run's own hosts.
    pub async fn start(&self, launch: Launch) -> Result<Arc<Process>, LabError> {
        match &self.place {
            #[cfg(linger_packets)]
            Place::Namespace { host, ground } => {
                let (host, ground) = (host.clone(), Arc::clone(ground));
                tokio::task::spawn_blocking(move || ground.start(&host, launch))
                    .await
                    .map_err(|error| LabError::Unmet(error.to_string()))?
            }
            Place::Loopback => Err(LabError::Unmet(format!(
                "cannot start `{}`: programs need hosts of their own, and this run has none",
                launch.name
            ))),
        }
    }

    /// Starts one of the endpoints that Linger brings along as a program of its own, which can be
    /// killed: `linger endpoint ARGUMENTS`.
    ///
    /// # Errors
    /// As for [`Stack::start`].
    pub async fn start_endpoint(&self, arguments: &[&str]) -> Result<Arc<Process>, LabError> {
        let executable = match &self.place {
            #[cfg(linger_packets)]
            Place::Namespace { ground, .. } => ground.executable.clone(),
            Place::Loopback => None,
        };
        let executable = executable
            .map_or_else(std::env::current_exe, Ok)
            .map_err(|source| LabError::io("find Linger's own program", source))?;
        let name = arguments.first().copied().unwrap_or("endpoint");
        self.start(Launch {
            name: name.to_owned(),
            shown: arguments.join(" "),
            program: executable.into(),
            arguments: [OsString::from("endpoint")]
                .into_iter()
                .chain(arguments.iter().map(OsString::from))
                .collect(),
            environment: Vec::new(),
            names: Vec::new(),
            reads_stdin: false,
        })
        .await
    }

    /// Listens on a port of the host; over a relay, on any free port of loopback.
    ///
    /// # Errors
    /// [`LabError`] names the address.
    pub async fn listen(&self, port: u16) -> Result<Listener, LabError> {
        let ip = match &self.place {
            #[cfg(linger_packets)]
            Place::Namespace { host, .. } => host.host.address(),
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
