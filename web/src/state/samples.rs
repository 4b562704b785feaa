//! A small catalogue and two small runs for the page's own tests.

use std::{collections::BTreeMap, net::SocketAddr};

use linger_shared::{
    event::{
        Call, Event, Fact, Header, HostInfo, HostName, Measurement, Mode, Observer, Packet, Role,
        SocketSnapshot, TcpInfo, TcpState, Timer, TimerKind, Verdict,
    },
    experiment::{Descriptor, Param, Preset, Reference, Value},
    protocol::{CatalogueEntry, RunInfo, RunState},
};

pub(crate) fn descriptor(id: &str) -> Descriptor {
    Descriptor {
        id: id.to_owned(),
        title: "A peer that died silently".to_owned(),
        question: "How long until a silently dead peer is noticed?".to_owned(),
        family: "TCP".to_owned(),
        modes: vec![Mode::Packets],
        explanation: vec!["Nothing tells a host that its peer is gone.".to_owned()],
        look_for: vec!["Probes that no one answers.".to_owned()],
        misconception: "A connection that is open works.".to_owned(),
        params: vec![
            Param::duration(
                "idle",
                2_000_000,
                1_000_000,
                7_200_000_000,
                "Time before a probe.",
            ),
            Param::integer("count", "probes", 3, 1, 127, "Probes before giving up."),
            Param::boolean("keepalive", true, "Whether the client probes."),
        ],
        presets: vec![Preset {
            name: "No keep-alive".to_owned(),
            description: "Nobody ever notices".to_owned(),
            values: BTreeMap::from([("keepalive".to_owned(), Value::Boolean(false))]),
        }],
        claims: Vec::new(),
        references: vec![Reference {
            title: "RFC 9293, section 3.8.4".to_owned(),
            url: "https://www.rfc-editor.org/rfc/rfc9293#section-3.8.4".to_owned(),
        }],
    }
}

/// Two experiments, the first of which cannot run here.
pub(crate) fn catalogue() -> Vec<CatalogueEntry> {
    vec![
        CatalogueEntry {
            descriptor: descriptor("tcp-lifecycle"),
            runs_as: None,
            unavailable: Some("needs network namespaces".to_owned()),
        },
        CatalogueEntry {
            descriptor: descriptor("tcp-dead-peer"),
            runs_as: Some(Mode::Packets),
            unavailable: None,
        },
    ]
}

pub(crate) fn header() -> Header {
    let host = |name, address: &str| HostInfo {
        name,
        address: address.to_owned(),
        sysctls: BTreeMap::new(),
    };
    Header {
        protocol_version: 1,
        run: "r1".to_owned(),
        experiment: "tcp-dead-peer".to_owned(),
        title: "A peer that died silently".to_owned(),
        params: BTreeMap::from([
            ("idle".to_owned(), Value::Text("2s".to_owned())),
            ("count".to_owned(), Value::Integer(3)),
            ("keepalive".to_owned(), Value::Boolean(true)),
        ]),
        seed: 1,
        mode: Mode::Packets,
        started_unix_ms: 0,
        kernel: "6.18.0".to_owned(),
        hosts: vec![
            host(HostName::Client, "192.0.2.1"),
            host(HostName::Server, "198.51.100.1"),
        ],
        links: Vec::new(),
        versions: BTreeMap::new(),
    }
}

/// The run `r1`; without a header while it is queued.
pub(crate) fn info(state: RunState) -> RunInfo {
    RunInfo {
        id: "r1".to_owned(),
        experiment: "tcp-dead-peer".to_owned(),
        state,
        queue_position: usize::from(state == RunState::Queued) * 2,
        events: 0,
        bytes: 0,
        now_us: 0,
        started_unix_ms: 0,
        recorded: false,
        header: (state != RunState::Queued).then(header),
    }
}

const CLIENT: HostName = HostName::Client;
const SERVER: HostName = HostName::Server;

fn address(host: HostName) -> SocketAddr {
    match host {
        HostName::Server => SocketAddr::from(([198, 51, 100, 1], 7654)),
        _ => SocketAddr::from(([192, 0, 2, 1], 40_000)),
    }
}

#[derive(Default)]
struct Script {
    events: Vec<Event>,
}

impl Script {
    fn tell(&mut self, at_us: u64, seen_by: Observer, fact: Fact) {
        self.events.push(Event {
            seq: self.events.len() as u64,
            at_us,
            seen_by,
            fact,
        });
    }

    fn send(&mut self, id: u64, at_us: u64, from: HostName, flags: &str, payload: u32, role: Role) {
        let to = if from == CLIENT { SERVER } else { CLIENT };
        let tcp = TcpInfo {
            connection: 0,
            src: address(from),
            dst: address(to),
            flags: flags.to_owned(),
            seq: 1,
            seq_raw: 1_000_001,
            ack: 1,
            ack_raw: 2_000_001,
            window: 64_256,
            options: vec!["timestamps".to_owned()],
            payload,
            role,
        };
        self.tell(
            at_us,
            Observer::Wire,
            Fact::PacketDeparted(Packet {
                id,
                from,
                to,
                length: 52 + payload,
                tcp: Some(tcp),
                summary: flags.to_owned(),
                bytes: "4500003c000040004006".to_owned(),
                messages: Vec::new(),
                rewritten: None,
                origin: None,
            }),
        );
    }

    fn arrive(&mut self, id: u64, at_us: u64) {
        self.tell(at_us, Observer::Wire, Fact::PacketArrived { id });
    }

    fn socket(&mut self, at_us: u64, host: HostName, state: TcpState) {
        let peer = if host == CLIENT { SERVER } else { CLIENT };
        let snapshot = SocketSnapshot {
            local: address(host),
            remote: address(peer),
            state,
            timer: (host == CLIENT).then_some(Timer {
                timer: TimerKind::KeepAlive,
                left_us: 2_000_000,
            }),
            retries: 0,
            recv_queue: 0,
            send_queue: 0,
            orphan: false,
            cwnd: Some(10),
            ssthresh: None,
            rtt_us: Some(40_100),
            rto_us: Some(241_000),
            backoff: None,
            min_rtt_us: None,
            bytes_acked: None,
            bytes_received: None,
            retransmitted: None,
        };
        self.tell(
            at_us,
            Observer::Kernel(host),
            Fact::Socket(Box::new(snapshot)),
        );
    }

    fn handshake(&mut self) {
        self.tell(
            0,
            Observer::Experiment,
            Fact::Chapter {
                title: "Connect".to_owned(),
            },
        );
        self.send(1, 1_000, CLIENT, "SYN", 0, Role::Ordinary);
        self.arrive(1, 21_000);
        self.send(2, 21_100, SERVER, "SYN,ACK", 0, Role::Ordinary);
        self.arrive(2, 41_200);
        self.send(3, 41_300, CLIENT, "ACK", 0, Role::Ordinary);
        self.socket(41_400, CLIENT, TcpState::Established);
        self.arrive(3, 61_400);
        self.socket(61_500, SERVER, TcpState::Established);
    }
}

/// A handshake with 20 ms of delay.
pub(crate) fn handshake() -> Vec<Event> {
    let mut script = Script::default();
    script.handshake();
    script.events
}

/// A handshake, a cut, three lost probes, a RST and a verdict.
pub(crate) fn dead_peer() -> Vec<Event> {
    let mut script = Script::default();
    script.handshake();
    script.tell(
        80_000,
        Observer::Experiment,
        Fact::Chapter {
            title: "Cut the path".to_owned(),
        },
    );
    for from in [CLIENT, SERVER] {
        script.tell(
            80_000,
            Observer::Wire,
            Fact::Rule {
                rule: "cut".to_owned(),
                from,
                active: true,
                by: "script".to_owned(),
                detail: String::new(),
            },
        );
    }
    script.tell(
        80_100,
        Observer::Experiment,
        Fact::Expectation {
            name: "detection".to_owned(),
            predicted_at_us: 5_041_300,
            predicted_us: Some(5_000_000),
            because: "2s + 3 x 1s".to_owned(),
        },
    );
    for nth in 1..=3 {
        let id = 3 + u64::from(nth);
        let at_us = 1_041_300 + u64::from(nth) * 1_000_000;
        script.send(id, at_us, CLIENT, "ACK", 0, Role::KeepAliveProbe { nth });
        script.tell(
            at_us + 10_000,
            Observer::Wire,
            Fact::PacketDropped {
                id,
                rule: "cut".to_owned(),
                reason: "path cut".to_owned(),
                place: 0.5,
            },
        );
    }
    script.send(7, 5_041_400, CLIENT, "RST,ACK", 0, Role::Ordinary);
    script.tell(
        5_041_500,
        Observer::App(CLIENT),
        Fact::Call(Call {
            call: "read".to_owned(),
            result: "ETIMEDOUT".to_owned(),
            errno: Some("ETIMEDOUT".to_owned()),
            began_us: Some(62_000),
            local: Some(address(CLIENT)),
            ..Call::default()
        }),
    );
    script.tell(
        5_051_400,
        Observer::Wire,
        Fact::PacketDropped {
            id: 7,
            rule: "cut".to_owned(),
            reason: "path cut".to_owned(),
            place: 0.5,
        },
    );
    let measurement = Measurement {
        name: "detection".to_owned(),
        predicted_us: Some(5_000_000),
        measured_us: Some(5_000_100),
    };
    script.tell(
        5_051_500,
        Observer::Experiment,
        Fact::Measurement(measurement.clone()),
    );
    script.tell(
        5_051_600,
        Observer::Experiment,
        Fact::Verdict(Verdict {
            ended_by: "client".to_owned(),
            how: "timeout".to_owned(),
            outcomes: BTreeMap::from([
                ("client".to_owned(), "ETIMEDOUT".to_owned()),
                ("server".to_owned(), "nothing".to_owned()),
            ]),
            measurements: vec![measurement],
            counts: BTreeMap::from([("connections".to_owned(), 1), ("packets".to_owned(), 7)]),
            summary: "The client's kernel gave the peer up after 5.000 s.".to_owned(),
            ..Verdict::default()
        }),
    );
    script.events
}
