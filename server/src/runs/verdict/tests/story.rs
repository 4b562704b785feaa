//! A run as a test tells it: an event each millisecond.

use std::net::SocketAddr;

use linger_shared::event::{
    Call, Event, Fact, HostName, HttpExchange, Observer, Origin, Packet, ProcessState, Role,
    TcpInfo, TcpState, Verdict,
};

use super::super::Witness;

#[derive(Clone, Default)]
pub(super) struct Story {
    pub(super) events: Vec<Event>,
    next_id: u64,
    leg: usize,
    number: u32,
    /// Whether a FIN of either host has arrived, by connection and host.
    heard: Vec<(u32, HostName)>,
    flights: Vec<(u64, u32, HostName, bool)>,
    proxied: bool,
}

/// Who ended it, and how.
pub(super) fn kind(verdict: &Verdict) -> (&str, &str) {
    (&verdict.ended_by, &verdict.how)
}

impl Story {
    pub(super) const CLIENT: &str = "192.0.2.1:40000";
    pub(super) const SERVER: &str = "198.51.100.1:7654";
    const FRONT: &str = "203.0.113.1:8000";
    const BACK: &str = "203.0.113.1:50000";

    pub(super) fn new() -> Self {
        Self::default()
    }

    /// A connection that is open.
    pub(super) fn open() -> Self {
        let mut story = Self::new();
        story.shake_hands(HostName::Client, HostName::Server);
        story
    }

    /// Two connections, joined by a proxy.
    pub(super) fn through_proxy() -> Self {
        let mut story = Self {
            proxied: true,
            ..Self::default()
        };
        story.leg(0).shake_hands(HostName::Client, HostName::Proxy);
        story.leg(1).shake_hands(HostName::Proxy, HostName::Server);
        story.event(
            Observer::App(HostName::Proxy),
            Fact::Call(Call {
                call: "connect".to_owned(),
                result: "ok".to_owned(),
                local: Self::BACK.parse().ok(),
                remote: Self::SERVER.parse().ok(),
                on_behalf_of: Self::CLIENT.parse().ok(),
                ..Call::default()
            }),
        );
        story.leg(0);
        story
    }

    /// Goes on with the client's (0) or the server's (1) connection to the proxy.
    pub(super) fn leg(&mut self, leg: usize) -> &mut Self {
        self.leg = leg;
        self.number = leg as u32;
        self
    }

    /// Goes on with another connection.
    pub(super) fn connection(&mut self, number: u32) {
        self.number = number;
    }

    fn shake_hands(&mut self, one: HostName, other: HostName) {
        for (from, flags) in [(one, "SYN"), (other, "SYN,ACK"), (one, "ACK")] {
            let id = self.sends(from, flags);
            self.arrives(id);
        }
    }

    pub(super) fn event(&mut self, seen_by: Observer, fact: Fact) {
        let seq = self.events.len() as u64;
        self.events.push(Event {
            seq,
            at_us: seq * 1_000,
            seen_by,
            fact,
        });
    }

    fn addresses(&self) -> (SocketAddr, SocketAddr) {
        let (opener, acceptor) = match (self.proxied, self.leg) {
            (false, _) => (Self::CLIENT, Self::SERVER),
            (true, 0) => (Self::CLIENT, Self::FRONT),
            (true, _) => (Self::BACK, Self::SERVER),
        };
        let mut opener: SocketAddr = opener.parse().unwrap();
        if !self.proxied {
            opener.set_port(opener.port() + self.number as u16);
        }
        (opener, acceptor.parse().unwrap())
    }

    fn opens(&self, host: HostName) -> bool {
        host == HostName::Client || (host == HostName::Proxy && self.leg == 1)
    }

    fn other(&self, host: HostName) -> HostName {
        match (self.proxied, self.leg, host) {
            (false, _, HostName::Client) | (true, 1, HostName::Proxy) => HostName::Server,
            (false, ..) | (true, 0, HostName::Proxy) => HostName::Client,
            (true, ..) => HostName::Proxy,
        }
    }

    pub(super) fn sends(&mut self, from: HostName, flags: &str) -> u64 {
        self.segment(from, flags, Role::Ordinary, None)
    }

    pub(super) fn probes(&mut self, from: HostName, nth: u32) -> u64 {
        self.segment(from, "ACK", Role::KeepAliveProbe { nth }, None)
    }

    /// A refusal has the sequence number 0 (RFC 9293, section 3.10.7.1).
    pub(super) fn refuses(&mut self, from: HostName) {
        let id = self.sends(from, "RST,ACK");
        for event in &mut self.events {
            if let Fact::PacketDeparted(packet) = &mut event.fact
                && packet.id == id
                && let Some(tcp) = &mut packet.tcp
            {
                tcp.seq_raw = 0;
            }
        }
    }

    pub(super) fn segment(
        &mut self,
        from: HostName,
        flags: &str,
        role: Role,
        made_by: Option<&str>,
    ) -> u64 {
        let id = self.next_id;
        self.next_id += 1;
        let (opener, acceptor) = self.addresses();
        let (src, dst) = match self.opens(from) {
            true => (opener, acceptor),
            false => (acceptor, opener),
        };
        let heard_fin = self.heard.contains(&(self.number, from));
        let tcp = TcpInfo {
            connection: self.number,
            src,
            dst,
            flags: flags.to_owned(),
            seq: 10,
            seq_raw: 1_000,
            ack: if heard_fin { 11 } else { 10 },
            ack_raw: 0,
            window: 0,
            options: Vec::new(),
            payload: 0,
            role,
        };
        let to = self.other(from);
        let fin = flags.contains("FIN");
        self.flights.push((id, self.number, to, fin));
        self.event(
            Observer::Wire,
            Fact::PacketDeparted(Packet {
                id,
                from,
                to,
                length: 40,
                tcp: Some(tcp),
                summary: String::new(),
                messages: Vec::new(),
                bytes: String::new(),
                rewritten: None,
                origin: made_by.map(|rule| Origin {
                    rule: rule.to_owned(),
                    because_of: None,
                    place: 0.5,
                }),
            }),
        );
        id
    }

    pub(super) fn icmp(&mut self, to: HostName, rule: &str) {
        let id = self.next_id;
        self.next_id += 1;
        self.event(
            Observer::Wire,
            Fact::PacketDeparted(Packet {
                id,
                from: self.other(to),
                to,
                length: 56,
                tcp: None,
                summary: "ICMP host unreachable".to_owned(),
                messages: Vec::new(),
                bytes: String::new(),
                rewritten: None,
                origin: Some(Origin {
                    rule: rule.to_owned(),
                    because_of: Some(0),
                    place: 0.5,
                }),
            }),
        );
    }

    pub(super) fn arrives(&mut self, id: u64) {
        if let Some((_, number, to, true)) = self.flights.iter().find(|flight| flight.0 == id) {
            self.heard.push((*number, *to));
        }
        self.event(Observer::Wire, Fact::PacketArrived { id });
    }

    pub(super) fn is_dropped(&mut self, id: u64, rule: &str) {
        self.event(
            Observer::Wire,
            Fact::PacketDropped {
                id,
                rule: rule.to_owned(),
                reason: "a test".to_owned(),
                place: 0.5,
            },
        );
    }

    pub(super) fn calls(&mut self, host: HostName, call: &str, result: &str) {
        self.call_with(host, call, result, false, None);
    }

    pub(super) fn reads(&mut self, host: HostName, result: &str) {
        self.calls(host, "read", result);
    }

    pub(super) fn fails(&mut self, host: HostName, call: &str, errno: &str) {
        self.call_with(host, call, errno, true, None);
    }

    /// A call on the present connection, whose peer the host may know by another address.
    pub(super) fn call_with(
        &mut self,
        host: HostName,
        call: &str,
        result: &str,
        failed: bool,
        peer: Option<SocketAddr>,
    ) {
        let (opener, acceptor) = self.addresses();
        let (local, remote) = match self.opens(host) {
            true => (opener, acceptor),
            false => (acceptor, opener),
        };
        self.event(
            Observer::App(host),
            Fact::Call(Call {
                call: call.to_owned(),
                result: result.to_owned(),
                errno: failed.then(|| result.to_owned()),
                local: Some(local),
                remote: Some(peer.unwrap_or(remote)),
                ..Call::default()
            }),
        );
    }

    pub(super) fn fails_to_connect(&mut self, host: HostName, errno: &str) {
        let (_, to) = self.addresses();
        self.event(
            Observer::App(host),
            Fact::Call(Call {
                call: "connect".to_owned(),
                result: errno.to_owned(),
                errno: Some(errno.to_owned()),
                remote: Some(to),
                ..Call::default()
            }),
        );
    }

    pub(super) fn gone(&mut self, host: HostName, last_state: TcpState) {
        let (local, remote) = self.addresses();
        self.event(
            Observer::Kernel(host),
            Fact::SocketGone {
                local,
                remote,
                last_state,
            },
        );
    }

    pub(super) fn power(&mut self, host: HostName) {
        self.event(
            Observer::Experiment,
            Fact::Power {
                host,
                on: false,
                by: "script".to_owned(),
            },
        );
    }

    pub(super) fn process(&mut self, host: HostName, state: ProcessState) {
        self.event(
            Observer::App(host),
            Fact::Process {
                program: "node".to_owned(),
                pid: 7,
                state,
            },
        );
    }

    pub(super) fn asks(&mut self, status: Option<u16>) {
        let (local, _) = self.addresses();
        self.event(
            Observer::App(HostName::Client),
            Fact::Http(HttpExchange {
                request: 1,
                line: "GET /".to_owned(),
                status,
                error: None,
                began_us: 0,
                body: 0,
                local: status.map(|_| local),
                reused: false,
            }),
        );
    }

    pub(super) fn verdict(self) -> Verdict {
        testify(&self.events)
    }
}

/// The verdict on these events.
pub(super) fn testify(events: &[Event]) -> Verdict {
    let mut witness = Witness::default();
    for event in events {
        witness.observe(event);
    }
    witness.verdict()
}
