//! Builds runs by hand, in the words of the experiments.

use std::{collections::BTreeMap, net::SocketAddr};

use linger_shared::{
    diagram::{Measure, Model},
    event::{
        Call, Chunk, ChunkContent, Event, Fact, Header, HostInfo, HostName, HttpExchange,
        Measurement, Mode, Observer, Packet, Role, SocketSnapshot, TcpInfo, TcpState,
    },
    protocol::PROTOCOL_VERSION,
};

pub(crate) use HostName::{Client, Server};

/// Every character as wide as the next.
pub(crate) struct Monospace;

impl Measure for Monospace {
    fn text_width(&self, text: &str) -> f64 {
        6.2 * text.chars().count() as f64
    }

    fn line_height(&self) -> f64 {
        15.0
    }
}

/// A seeded source of pseudo-random numbers.
pub(crate) struct Dice(u64);

impl Dice {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1)
    }

    /// A number below `bound`.
    pub(crate) fn roll(&mut self, bound: u64) -> u64 {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % bound.max(1)
    }
}

/// A run that is being written down.
pub(crate) struct Run {
    pub(crate) header: Header,
    pub(crate) events: Vec<Event>,
    next_id: u64,
    /// One-way delay in microseconds.
    pub(crate) delay_us: u64,
    /// The client's port.
    pub(crate) port: u16,
    pub(crate) connection: u32,
}

pub(crate) fn address(host: HostName, port: u16) -> SocketAddr {
    let ip = match host {
        HostName::Client => [192, 0, 2, 1],
        HostName::Proxy => [203, 0, 113, 1],
        HostName::Server => [198, 51, 100, 1],
    };
    SocketAddr::from((ip, port))
}

impl Run {
    pub(crate) fn new(experiment: &str, delay_us: u64) -> Self {
        let host = |name| HostInfo {
            name,
            address: address(name, 0).ip().to_string(),
            sysctls: BTreeMap::new(),
        };
        Self {
            header: Header {
                protocol_version: PROTOCOL_VERSION,
                run: "r1".to_owned(),
                experiment: experiment.to_owned(),
                title: "How long until a silently dead peer is noticed?".to_owned(),
                params: BTreeMap::new(),
                seed: 1,
                mode: Mode::Packets,
                started_unix_ms: 0,
                kernel: "6.18.44".to_owned(),
                hosts: vec![host(Client), host(Server)],
                links: Vec::new(),
                versions: BTreeMap::new(),
            },
            events: Vec::new(),
            next_id: 0,
            delay_us,
            port: 40_000,
            connection: 0,
        }
    }

    pub(crate) fn with_proxy(mut self) -> Self {
        self.header.hosts.insert(
            1,
            HostInfo {
                name: HostName::Proxy,
                address: address(HostName::Proxy, 0).ip().to_string(),
                sysctls: BTreeMap::new(),
            },
        );
        self
    }

    pub(crate) fn model(&self) -> Model {
        let mut model = Model::new(&self.header);
        for event in &self.events {
            model.push(event);
        }
        model
    }

    /// Numbers the events anew in the order of their times, as a run collects them.
    pub(crate) fn in_order(mut self) -> Self {
        self.events.sort_by_key(|event| event.at_us);
        for (seq, event) in (0..).zip(&mut self.events) {
            event.seq = seq;
        }
        self
    }

    pub(crate) fn push(&mut self, at_us: u64, seen_by: Observer, fact: Fact) {
        let seq = self.events.len() as u64;
        self.events.push(Event {
            seq,
            at_us,
            seen_by,
            fact,
        });
    }

    /// A segment leaves; its id.
    pub(crate) fn depart(
        &mut self,
        at_us: u64,
        from: HostName,
        flags: &str,
        payload: u32,
        role: Role,
        summary: &str,
    ) -> u64 {
        let id = self.next_id;
        self.next_id += 1;
        let to = if from == Client { Server } else { Client };
        let port = |host| if host == Client { self.port } else { 7654 };
        let packet = Packet {
            id,
            from,
            to,
            length: 52 + payload,
            tcp: Some(TcpInfo {
                connection: self.connection,
                src: address(from, port(from)),
                dst: address(to, port(to)),
                flags: flags.to_owned(),
                seq: 1,
                seq_raw: 1_000,
                ack: 1,
                ack_raw: 1_000,
                window: 64_240,
                options: Vec::new(),
                payload,
                role,
            }),
            summary: summary.to_owned(),
            bytes: String::new(),
            messages: Vec::new(),
            rewritten: None,
            origin: None,
        };
        self.push(at_us, Observer::Wire, Fact::PacketDeparted(packet));
        id
    }

    pub(crate) fn arrive(&mut self, at_us: u64, id: u64) {
        self.push(at_us, Observer::Wire, Fact::PacketArrived { id });
    }

    pub(crate) fn drop_packet(&mut self, at_us: u64, id: u64, place: f64) {
        let fact = Fact::PacketDropped {
            id,
            rule: "cut".to_owned(),
            reason: "cut".to_owned(),
            place,
        };
        self.push(at_us, Observer::Wire, fact);
    }

    /// A segment that arrives one delay later; when.
    pub(crate) fn segment(&mut self, at_us: u64, from: HostName, flags: &str) -> u64 {
        let summary = flags.replace(',', ", ");
        let id = self.depart(at_us, from, flags, 0, Role::Ordinary, &summary);
        let arrival = at_us + self.delay_us + id % 3 * 60;
        self.arrive(arrival, id);
        arrival
    }

    /// A segment with data that arrives one delay later; when.
    pub(crate) fn data(&mut self, at_us: u64, from: HostName, payload: u32, summary: &str) -> u64 {
        let id = self.depart(at_us, from, "PSH,ACK", payload, Role::Ordinary, summary);
        let arrival = at_us + self.delay_us + id % 3 * 60;
        self.arrive(arrival, id);
        arrival
    }

    pub(crate) fn state(&mut self, at_us: u64, host: HostName, state: TcpState) {
        let (local, remote) = match host {
            Client => (address(Client, self.port), address(Server, 7654)),
            _ => (address(Server, 7654), address(Client, self.port)),
        };
        let snapshot = SocketSnapshot {
            local,
            remote,
            state,
            timer: None,
            retries: 0,
            recv_queue: 0,
            send_queue: 0,
            orphan: false,
            cwnd: Some(10),
            ssthresh: None,
            rtt_us: None,
            rto_us: None,
            backoff: None,
            min_rtt_us: None,
            bytes_acked: None,
            bytes_received: None,
            retransmitted: None,
        };
        self.push(
            at_us,
            Observer::Kernel(host),
            Fact::Socket(Box::new(snapshot)),
        );
    }

    pub(crate) fn gone(&mut self, at_us: u64, host: HostName, last_state: TcpState) {
        let (local, remote) = match host {
            Client => (address(Client, self.port), address(Server, 7654)),
            _ => (address(Server, 7654), address(Client, self.port)),
        };
        let fact = Fact::SocketGone {
            local,
            remote,
            last_state,
        };
        self.push(at_us, Observer::Kernel(host), fact);
    }

    /// A call that came back (or, with an empty result, has not).
    pub(crate) fn call(
        &mut self,
        at_us: u64,
        host: HostName,
        call: &str,
        args: &str,
        result: &str,
    ) {
        let errno = result.starts_with('E').then(|| result.to_owned());
        let fact = Fact::Call(Call {
            call: call.to_owned(),
            args: args.to_owned(),
            result: result.to_owned(),
            errno,
            ..Call::default()
        });
        self.push(at_us, Observer::App(host), fact);
    }

    pub(crate) fn http(&mut self, at_us: u64, request: u32, reused: bool) {
        let fact = Fact::Http(HttpExchange {
            request,
            line: format!("GET /{request}"),
            status: Some(200),
            error: None,
            began_us: at_us,
            body: 12,
            local: Some(address(Client, self.port)),
            reused,
        });
        self.push(at_us, Observer::App(Client), fact);
    }

    pub(crate) fn chapter(&mut self, at_us: u64, title: &str) {
        let title = title.to_owned();
        self.push(at_us, Observer::Experiment, Fact::Chapter { title });
    }

    pub(crate) fn cut(&mut self, at_us: u64, active: bool) {
        for from in [Client, Server] {
            let fact = Fact::Rule {
                rule: "cut".to_owned(),
                from,
                active,
                by: "script".to_owned(),
                detail: String::new(),
            };
            self.push(at_us, Observer::Wire, fact);
        }
    }

    pub(crate) fn expect(&mut self, at_us: u64, name: &str, predicted_at_us: u64, because: &str) {
        let fact = Fact::Expectation {
            name: name.to_owned(),
            predicted_at_us,
            predicted_us: None,
            because: because.to_owned(),
        };
        self.push(at_us, Observer::Experiment, fact);
    }

    pub(crate) fn measure(
        &mut self,
        at_us: u64,
        name: &str,
        predicted_us: Option<u64>,
        measured_us: Option<u64>,
    ) {
        let fact = Fact::Measurement(Measurement {
            name: name.to_owned(),
            predicted_us,
            measured_us,
        });
        self.push(at_us, Observer::Experiment, fact);
    }

    pub(crate) fn chunk(
        &mut self,
        at_us: u64,
        from: HostName,
        content: ChunkContent,
        bytes: &str,
        summary: &str,
    ) -> u64 {
        let id = self.next_id;
        self.next_id += 1;
        let fact = Fact::ChunkDeparted(Chunk {
            id,
            connection: self.connection,
            from,
            to: if from == Client { Server } else { Client },
            content,
            summary: summary.to_owned(),
            bytes: bytes.to_owned(),
            opener: None,
        });
        self.push(at_us, Observer::Wire, fact);
        let arrival = at_us + self.delay_us;
        self.push(arrival, Observer::Wire, Fact::ChunkArrived { id });
        arrival
    }
}
