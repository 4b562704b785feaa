//! Hosts joined by a wire, without an experiment: sockets here, and the record of every packet.

use std::{
    collections::BTreeMap,
    net::{Ipv4Addr, UdpSocket},
    sync::Arc,
    time::Duration,
};

use linger::{
    hosts::{Host, HostPlan},
    journal::Journal,
    runs::{EventLog, RecordLimits, Recorder},
    wire::{Joining, PacketLink, Port, Rules},
};
use linger_shared::{
    event::{Event, Fact, HostName, Packet},
    link::{Conditions, LinkInfo},
};
use tokio::runtime::Runtime;
use tokio_util::sync::CancellationToken;

/// How long a socket waits for what should come.
const PATIENCE: Duration = Duration::from_secs(5);

/// A host's address.
pub(crate) fn address(host: HostName) -> Ipv4Addr {
    match host {
        HostName::Client => Ipv4Addr::new(192, 0, 2, 1),
        HostName::Proxy => Ipv4Addr::new(203, 0, 113, 1),
        HostName::Server => Ipv4Addr::new(198, 51, 100, 1),
    }
}

/// A host with its device.
pub(crate) fn host(name: HostName, sysctls: &[(&str, &str)]) -> (Host, Port) {
    let (host, tun) = Host::create(&HostPlan {
        name,
        address: address(name),
        mtu: 1_500,
        sysctls: sysctls
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect(),
    })
    .expect("hosts can be made here: see `linger doctor`");
    let port = Port {
        host: name,
        address: address(name),
        tun,
    };
    (host, port)
}

/// Hosts and the wire between them. Fields are dropped in this order.
pub(crate) struct Joined {
    pub(crate) link: PacketLink,
    pub(crate) rules: Arc<Rules>,
    recorder: Recorder,
    log: Arc<EventLog>,
    pub(crate) hosts: BTreeMap<HostName, Host>,
    runtime: Runtime,
}

impl Joined {
    /// A client and a server with these conditions one way, and a bare wire back.
    pub(crate) fn one_way(conditions: Conditions, seed: u64) -> Self {
        let (client, server) = (HostName::Client, HostName::Server);
        let links = [
            (client, server, conditions),
            (server, client, Conditions::default()),
        ];
        Self::new(&[client, server], &links, seed, &[])
    }

    /// Hosts of these names, with sysctls, and these directions between them.
    pub(crate) fn new(
        names: &[HostName],
        links: &[(HostName, HostName, Conditions)],
        seed: u64,
        sysctls: &[(&str, &str)],
    ) -> Self {
        let runtime = Runtime::new().expect("a runtime starts");
        let inside = runtime.enter();
        let journal = Arc::new(Journal::new());
        let log = Arc::new(EventLog::in_memory());
        let rules = Rules::new(Arc::clone(&journal));
        rules.joins(names.iter().map(|name| (*name, address(*name))).collect());
        let recorder = Recorder::start(
            Arc::clone(&journal),
            Arc::clone(&log),
            RecordLimits::NONE,
            CancellationToken::new(),
        );
        let (mut hosts, mut ports) = (BTreeMap::new(), Vec::new());
        for &name in names {
            let (host, port) = host(name, sysctls);
            hosts.insert(name, host);
            ports.push(port);
        }
        let link = PacketLink::join(Joining {
            ports,
            links: links
                .iter()
                .map(|(from, to, conditions)| LinkInfo {
                    from: *from,
                    to: *to,
                    conditions: conditions.clone(),
                })
                .collect(),
            seed,
            journal,
            rules: Arc::clone(&rules),
            trigger: None,
        })
        .expect("the wire starts");
        drop(inside);
        Self {
            link,
            rules,
            recorder,
            log,
            hosts,
            runtime,
        }
    }

    /// Does something on a host.
    pub(crate) fn on<T: Send + 'static>(
        &self,
        host: HostName,
        job: impl FnOnce() -> T + Send + 'static,
    ) -> T {
        self.hosts[&host].run_blocking(job).expect("the host is up")
    }

    /// A UDP socket on a host, at port 9000.
    pub(crate) fn udp(&self, host: HostName) -> UdpSocket {
        let socket = self
            .on(host, move || UdpSocket::bind((address(host), 9_000)))
            .expect("a socket can be bound");
        socket
            .set_read_timeout(Some(PATIENCE))
            .expect("a socket can wait");
        socket
    }

    /// Sends numbered packets of `length` bytes from the client to the server.
    pub(crate) fn send_numbered(&self, count: u32, length: usize, pause: Duration) {
        let socket = self.udp(HostName::Client);
        for number in 0..count {
            let mut payload = number.to_be_bytes().to_vec();
            payload.resize(length, 0);
            socket
                .send_to(&payload, (address(HostName::Server), 9_000))
                .expect("a packet is sent");
            std::thread::sleep(pause);
        }
    }

    /// Waits until nothing is on its way.
    pub(crate) fn settle(&self) {
        self.runtime.block_on(self.link.ender().settled());
    }

    /// Waits until nothing is on its way, and ends the record; what the kernels send of themselves
    /// in the meantime is dropped.
    pub(crate) fn record(self) -> Record {
        self.settle();
        self.runtime.block_on(self.link.ender().end());
        self.runtime.block_on(self.recorder.finish(false));
        let events: Vec<Event> = self
            .log
            .read(0, usize::MAX, usize::MAX)
            .expect("events are in memory")
            .iter()
            .map(|line| serde_json::from_str(line).expect("a recorded event reads back"))
            .collect();
        Record::of(&events)
    }
}

/// A packet and what became of it.
#[derive(Debug, Clone)]
pub(crate) struct Way {
    pub(crate) packet: Packet,
    pub(crate) departed_us: u64,
    pub(crate) ended_us: u64,
    /// The rule and the place, where it was dropped.
    pub(crate) dropped: Option<(String, String, f64)>,
}

impl Way {
    pub(crate) fn took_us(&self) -> u64 {
        self.ended_us - self.departed_us
    }

    /// The rule that made it, where the wire did.
    pub(crate) fn made_by(&self) -> Option<&str> {
        self.packet
            .origin
            .as_ref()
            .map(|origin| origin.rule.as_str())
    }

    /// The rule that dropped it.
    pub(crate) fn dropped_by(&self) -> Option<&str> {
        self.dropped.as_ref().map(|(rule, _, _)| rule.as_str())
    }

    /// The number in a packet of [`Joined::send_numbered`].
    pub(crate) fn number(&self) -> u32 {
        let digits = &self.packet.bytes[2 * 28..2 * 32];
        u32::from_str_radix(digits, 16).expect("a number")
    }
}

/// Every packet of a record, in the order of departure.
pub(crate) struct Record(pub(crate) Vec<Way>);

impl Record {
    fn of(events: &[Event]) -> Self {
        let mut ways: Vec<Way> = Vec::new();
        let mut endings = BTreeMap::new();
        for event in events {
            match &event.fact {
                Fact::PacketDeparted(packet) => ways.push(Way {
                    packet: packet.clone(),
                    departed_us: event.at_us,
                    ended_us: 0,
                    dropped: None,
                }),
                Fact::PacketArrived { id } => {
                    assert!(endings.insert(*id, (event.at_us, None)).is_none());
                }
                Fact::PacketDropped {
                    id,
                    rule,
                    reason,
                    place,
                } => {
                    let dropped = Some((rule.clone(), reason.clone(), *place));
                    assert!(endings.insert(*id, (event.at_us, dropped)).is_none());
                }
                _ => {}
            }
        }
        for way in &mut ways {
            let (ended_us, dropped) = endings
                .remove(&way.packet.id)
                .unwrap_or_else(|| panic!("a packet without an ending: {way:?}"));
            (way.ended_us, way.dropped) = (ended_us, dropped);
        }
        assert!(endings.is_empty(), "endings of no packet: {endings:?}");
        Self(ways)
    }

    /// What the client sent.
    pub(crate) fn from_client(&self) -> Vec<&Way> {
        let own = |way: &&Way| way.packet.from == HostName::Client && way.packet.origin.is_none();
        self.0.iter().filter(own).collect()
    }

    /// What arrived at the server, in the order of arrival.
    pub(crate) fn at_server(&self) -> Vec<&Way> {
        let mut arrived: Vec<&Way> = self
            .0
            .iter()
            .filter(|way| way.packet.to == HostName::Server && way.dropped.is_none())
            .collect();
        arrived.sort_by_key(|way| way.ended_us);
        arrived
    }
}
