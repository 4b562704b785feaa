//! What is measured: two hosts joined by the wire, and two joined by a veth pair.

use std::{
    collections::BTreeMap,
    fs::File,
    io,
    net::{Ipv4Addr, SocketAddr, UdpSocket},
    os::fd::AsRawFd,
    sync::Arc,
    time::Duration,
};

use futures_util::TryStreamExt;
use linger::{
    hosts::{Host, HostPlan, Interface, Sampler, configure},
    journal::Journal,
    runs::{EventLog, RecordLimits, Recorder},
    wire::{Joining, PacketLink, Port, Rules},
};
use linger_shared::{
    event::HostName,
    link::{Conditions, LinkInfo},
};
use rtnetlink::{LinkUnspec, LinkVeth};
use tokio_util::sync::CancellationToken;

const CLIENT: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 1);
const SERVER: Ipv4Addr = Ipv4Addr::new(198, 51, 100, 1);

/// The addresses of the veth pair: a documentation network of its own (RFC 5737).
const VETH: [Ipv4Addr; 2] = [Ipv4Addr::new(203, 0, 113, 1), Ipv4Addr::new(203, 0, 113, 2)];

/// Who looks at what the wire carries.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Watched {
    /// Nobody.
    Not,
    /// The recorder: everything is stamped, dissected, numbered and serialised.
    Recorded,
    /// The recorder, and the sampler that asks both kernels about their sockets: a run in full.
    Sampled,
}

/// Two hosts, and whatever joins them.
pub(crate) struct Ground {
    link: Option<PacketLink>,
    recorder: Option<Recorder>,
    _sampler: Option<Sampler>,
    /// What was recorded, and the clock of it.
    pub(crate) log: Arc<EventLog>,
    client: Host,
    server: Host,
    addresses: [Ipv4Addr; 2],
}

fn host(name: HostName, address: Ipv4Addr) -> (Host, linger::hosts::Tun) {
    Host::create(&HostPlan {
        name,
        address,
        mtu: 1_500,
        sysctls: BTreeMap::new(),
    })
    .expect("hosts can be made here: see `linger doctor`")
}

impl Ground {
    /// Two hosts joined by the wire with a delay in either direction. Recorded within a runtime.
    pub(crate) fn wire(delay: Duration, watched: Watched) -> Self {
        let recorded = watched != Watched::Not;
        let journal = Arc::new(Journal::new());
        let log = Arc::new(EventLog::in_memory());
        let rules = Rules::new(Arc::clone(&journal));
        if !recorded {
            journal.close();
        }
        let recorder = recorded.then(|| {
            Recorder::start(
                Arc::clone(&journal),
                Arc::clone(&log),
                RecordLimits::NONE,
                CancellationToken::new(),
            )
        });
        let (client, client_tun) = host(HostName::Client, CLIENT);
        let (server, server_tun) = host(HostName::Server, SERVER);
        let port = |host: &Host, tun| Port {
            host: host.name(),
            address: host.address(),
            tun,
        };
        let direction = |from, to| LinkInfo {
            from,
            to,
            conditions: Conditions::delay(
                u64::try_from(delay.as_micros()).expect("a delay of less than an age"),
            ),
        };
        let sampler = (watched == Watched::Sampled).then(|| {
            let diags = [&client, &server].map(|host| {
                let diag = host.diag().expect("a host tells of its sockets");
                (host.name(), diag)
            });
            Sampler::start(Arc::clone(&journal), diags.into()).expect("a sampler starts")
        });
        let link = PacketLink::join(Joining {
            ports: vec![port(&client, client_tun), port(&server, server_tun)],
            links: vec![
                direction(HostName::Client, HostName::Server),
                direction(HostName::Server, HostName::Client),
            ],
            seed: 0,
            journal,
            rules,
            trigger: sampler.as_ref().map(Sampler::trigger),
        })
        .expect("the wire starts");
        Self {
            link: Some(link),
            recorder,
            _sampler: sampler,
            log,
            client,
            server,
            addresses: [CLIENT, SERVER],
        }
    }

    /// Two hosts joined by a veth pair: what the kernel does alone.
    pub(crate) fn veth() -> Self {
        let (client, _) = host(HostName::Client, CLIENT);
        let (server, _) = host(HostName::Server, SERVER);
        let namespace = server
            .run_blocking(|| File::open("/proc/thread-self/ns/net"))
            .expect("the host runs it")
            .expect("a thread's namespace can be opened");
        client
            .run_blocking(move || plug("veth0", "veth1", &namespace))
            .expect("the host runs it")
            .expect("a veth pair can be made");
        for (host, name, address) in [(&client, "veth0", VETH[0]), (&server, "veth1", VETH[1])] {
            host.run_blocking(move || {
                configure(&Interface {
                    name: name.to_owned(),
                    address,
                    prefix: 24,
                    mtu: 1_500,
                    default_route: false,
                })
            })
            .expect("the host runs it")
            .expect("the pair can be configured");
        }
        Self {
            link: None,
            recorder: None,
            _sampler: None,
            log: Arc::new(EventLog::in_memory()),
            client,
            server,
            addresses: VETH,
        }
    }

    /// A UDP socket on each host, connected to each other.
    pub(crate) fn sockets(&self) -> (UdpSocket, UdpSocket) {
        let bound = |host: &Host, address: Ipv4Addr| {
            let socket = host
                .run_blocking(move || UdpSocket::bind((address, 0)))
                .expect("the host runs it")
                .expect("a socket can be bound");
            let own = socket.local_addr().expect("a bound socket has an address");
            socket
                .set_read_timeout(Some(Duration::from_secs(5)))
                .expect("a timeout can be set");
            (socket, own)
        };
        let (client, client_address): (UdpSocket, SocketAddr) =
            bound(&self.client, self.addresses[0]);
        let (server, server_address) = bound(&self.server, self.addresses[1]);
        client.connect(server_address).expect("UDP connects");
        server.connect(client_address).expect("UDP connects");
        (client, server)
    }

    /// Ends the recording; every event is in the log when this returns.
    pub(crate) async fn recorded(mut self) -> Arc<EventLog> {
        if let Some(link) = &self.link {
            link.ender().settled().await;
        }
        if let Some(recorder) = self.recorder.take() {
            recorder.finish(false).await;
        }
        Arc::clone(&self.log)
    }
}

/// Makes a veth pair in the calling thread's namespace and gives the far end to another.
fn plug(near: &str, far: &str, namespace: &File) -> io::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_io()
        .build()?;
    runtime.block_on(async {
        let (connection, handle, _) = rtnetlink::new_connection()?;
        let pump = tokio::spawn(connection);
        let plugged = async {
            let pair = LinkVeth::new(near, far).build();
            handle.link().add(pair).execute().await?;
            let found = handle
                .link()
                .get()
                .match_name(far.to_owned())
                .execute()
                .try_next()
                .await?;
            let index = found.map_or(0, |link| link.header.index);
            let moved = LinkUnspec::new_with_index(index)
                .setns_by_fd(namespace.as_raw_fd())
                .build();
            handle.link().set(moved).execute().await
        }
        .await;
        pump.abort();
        plugged.map_err(io::Error::other)
    })
}
