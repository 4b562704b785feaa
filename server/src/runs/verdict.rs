//! The outcome of a run, worked out from its events: the same way for every experiment.
//!
//! For each connection the first of these decides: a FIN (the first one's sender ended it; where the
//! other side's FIN does not acknowledge it, they crossed, and both did), an application that saw
//! ETIMEDOUT (its own kernel gave up), an RST, and otherwise nothing ended it. A run of several connections is told by what most of
//! them have; the summary counts each kind.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    net::SocketAddr,
};

use linger_shared::event::{
    ChunkContent, Event, Fact, HostName, Measurement, Observer, Packet, TcpState, Verdict,
};

/// Sees every event of a run and testifies at its end.
#[derive(Default)]
pub(super) struct Witness {
    connections: BTreeMap<u32, Connection>,
    /// Ends of streams that are on their way through a relay.
    ends_in_flight: HashMap<u64, (u32, HostName)>,
    measurements: Vec<Measurement>,
    expected: Vec<(String, Option<u64>)>,
    outcomes: BTreeMap<HostName, String>,
    /// Whose kernel gave up, and the address of the socket.
    timed_out: Vec<(HostName, Option<SocketAddr>)>,
    final_states: BTreeMap<(HostName, String), TcpState>,
    requests: u64,
    responses: u64,
    packets: u64,
    bytes: u64,
    dropped: u64,
    retransmissions: u64,
    probes: u64,
    stopped: Option<String>,
}

/// What is known of a connection's end.
#[derive(Default)]
struct Connection {
    /// Hosts that sent a FIN, in order.
    fins: Vec<HostName>,
    /// The relative sequence number behind each host's FIN.
    fin_ends: BTreeMap<HostName, u32>,
    /// Over a relay: hosts that had received the other's end of stream.
    heard_end: BTreeSet<HostName>,
    /// Hosts that sent their FIN without having heard the other's.
    closed_unasked: BTreeSet<HostName>,
    reset_by: Option<HostName>,
    /// The addresses of its sockets; none over a relay, whose connections have two pairs.
    sockets: Option<[SocketAddr; 2]>,
}

impl Witness {
    pub(super) fn observe(&mut self, event: &Event) {
        match &event.fact {
            Fact::PacketDeparted(packet) => self.departed(packet),
            Fact::PacketArrived { .. } => {}
            Fact::ChunkArrived { id } => {
                if let Some((connection, to)) = self.ends_in_flight.remove(id) {
                    let connection = self.connections.entry(connection).or_default();
                    connection.heard_end.insert(to);
                }
            }
            Fact::PacketDropped { .. } | Fact::ChunkDropped { .. } => self.dropped += 1,
            Fact::ChunkDeparted(chunk) => {
                let connection = self.connections.entry(chunk.connection).or_default();
                match chunk.content {
                    ChunkContent::End => {
                        let asked = connection.heard_end.contains(&chunk.from);
                        connection.fin_from(chunk.from, asked);
                        self.ends_in_flight
                            .insert(chunk.id, (chunk.connection, chunk.to));
                    }
                    ChunkContent::Reset => connection.reset_from(chunk.from),
                    ChunkContent::Open | ChunkContent::Data => {}
                }
                self.packets += 1;
                self.bytes += chunk.bytes.len() as u64 / 2;
            }
            Fact::Socket(socket) => {
                if let Observer::Kernel(host) = event.seen_by
                    && socket.state != TcpState::Listen
                {
                    let key = (host, format!("{}-{}", socket.local, socket.remote));
                    self.final_states.insert(key, socket.state);
                }
            }
            Fact::SocketGone { local, remote, .. } => {
                if let Observer::Kernel(host) = event.seen_by {
                    self.final_states
                        .remove(&(host, format!("{local}-{remote}")));
                }
            }
            Fact::Call(call) => {
                if let Observer::App(host) = event.seen_by {
                    self.called(host, call);
                }
            }
            Fact::Http(exchange) => {
                // What a proxy passes on is no request of its own.
                if event.seen_by == Observer::App(HostName::Client) {
                    self.requests += 1;
                    self.responses += u64::from(exchange.status.is_some());
                }
                if let Observer::App(host) = event.seen_by {
                    let text = match (&exchange.error, exchange.status) {
                        (Some(error), _) => format!("{}: {error}", exchange.line),
                        (None, Some(status))
                            if event.seen_by != Observer::App(HostName::Client) =>
                        {
                            format!("{}: {status}", exchange.line)
                        }
                        (None, Some(status)) => format!(
                            "{} of {} responses, the last {status}",
                            self.responses, self.requests
                        ),
                        (None, None) => format!("{}: no response", exchange.line),
                    };
                    self.outcomes.insert(host, text);
                }
            }
            Fact::Expectation {
                name, predicted_us, ..
            } => self.expected.push((name.clone(), *predicted_us)),
            Fact::Measurement(measurement) => self.measurements.push(measurement.clone()),
            Fact::Stopped { reason } => self.stopped = Some(reason.clone()),
            Fact::Rule { .. }
            | Fact::Output { .. }
            | Fact::Process { .. }
            | Fact::Power { .. }
            | Fact::Tls(_)
            | Fact::Secret { .. }
            | Fact::Flow { .. }
            | Fact::Chapter { .. }
            | Fact::Remark { .. }
            | Fact::Failure { .. }
            | Fact::Verdict(_) => {}
        }
    }

    fn departed(&mut self, packet: &Packet) {
        self.packets += 1;
        self.bytes += u64::from(packet.length);
        let Some(tcp) = &packet.tcp else {
            return;
        };
        use linger_shared::event::Role;
        match tcp.role {
            Role::Retransmission { .. } => self.retransmissions += 1,
            Role::KeepAliveProbe { .. } => self.probes += 1,
            Role::Ordinary | Role::KeepAliveAck => {}
        }
        let has = |flag: &str| tcp.flags.split(',').any(|name| name == flag);
        let connection = self.connections.entry(tcp.connection).or_default();
        connection.sockets = Some([tcp.src, tcp.dst]);
        if has("FIN") {
            let end = tcp.seq.wrapping_add(tcp.payload).wrapping_add(1);
            let asked = connection
                .fin_ends
                .get(&packet.to)
                // Serial number arithmetic: RFC 9293, section 3.4.
                .is_some_and(|theirs| tcp.ack.wrapping_sub(*theirs).cast_signed() >= 0);
            connection.fin_from(packet.from, asked);
            connection.fin_ends.entry(packet.from).or_insert(end);
        }
        if has("RST") {
            connection.reset_from(packet.from);
        }
    }

    fn called(&mut self, host: HostName, call: &linger_shared::event::Call) {
        if call.errno.as_deref() == Some("ETIMEDOUT") {
            self.timed_out.push((host, call.local));
        }
        let text = match &call.errno {
            Some(errno) => errno.clone(),
            None if call.result.is_empty() => format!("still waiting in {}()", call.call),
            None => format!("{}: {}", call.call, call.result),
        };
        // What an application does after an error (close) does not hide the error.
        let is_error = |text: &String| {
            text.len() > 2 && text.starts_with('E') && text.chars().all(|c| c.is_ascii_uppercase())
        };
        if call.errno.is_some() || !self.outcomes.get(&host).is_some_and(is_error) {
            self.outcomes.insert(host, text);
        }
    }

    pub(super) fn verdict(mut self) -> Verdict {
        for (name, predicted_us) in std::mem::take(&mut self.expected) {
            if !self.measurements.iter().any(|m| m.name == name) {
                self.measurements.push(Measurement {
                    name,
                    predicted_us,
                    measured_us: None,
                });
            }
        }
        let (ended_by, how) = self.ending();
        let summary = self.summary();
        let mut counts = BTreeMap::from([
            ("connections".to_owned(), self.connections.len() as u64),
            ("packets".to_owned(), self.packets),
            ("bytes".to_owned(), self.bytes),
            ("dropped".to_owned(), self.dropped),
            ("retransmissions".to_owned(), self.retransmissions),
            ("keepalive_probes".to_owned(), self.probes),
        ]);
        if self.requests > 0 {
            counts.insert("requests".to_owned(), self.requests);
            counts.insert("responses".to_owned(), self.responses);
        }
        for ((host, _), state) in &self.final_states {
            let name = format!("{}:{host}", state.as_str().to_ascii_lowercase());
            *counts.entry(name).or_default() += 1;
        }
        Verdict {
            ended_by,
            how,
            outcomes: self
                .outcomes
                .iter()
                .map(|(host, text)| (host.to_string(), text.clone()))
                .collect(),
            measurements: self.measurements,
            counts,
            summary,
            ..Verdict::default()
        }
    }

    /// How most of the connections ended; of equally many, what the first of them had.
    fn ending(&self) -> (String, String) {
        self.endings()
            .into_iter()
            .rev()
            .max_by_key(|(_, number)| *number)
            .map_or_else(
                || ("nobody".to_owned(), "silence".to_owned()),
                |((by, how), _)| (by, how.to_owned()),
            )
    }

    /// Each way in which connections ended, with how many did, in the order of the first.
    fn endings(&self) -> Vec<((String, &'static str), usize)> {
        let mut endings: Vec<((String, &'static str), usize)> = Vec::new();
        for connection in self.connections.values() {
            let ending = connection.ending(&self.timed_out);
            match endings.iter_mut().find(|(known, _)| *known == ending) {
                Some((_, number)) => *number += 1,
                None => endings.push((ending, 1)),
            }
        }
        endings
    }

    fn summary(&self) -> String {
        let one = self.connections.len() == 1;
        // Only where it is true of all: a run is about one question.
        let half_closed = self
            .connections
            .values()
            .all(|connection| connection.fins.len() == 1 && connection.reset_by.is_none());
        let endings: Vec<String> = self
            .endings()
            .into_iter()
            .map(|((by, how), number)| {
                let which = match number {
                    1 if one => "the connection".to_owned(),
                    1 => "one connection".to_owned(),
                    _ => format!("{number} connections"),
                };
                match (by.as_str(), how) {
                    (_, "silence") if number == 1 => {
                        format!("Nobody ended {which}: it is still open.")
                    }
                    (_, "silence") => format!("Nobody ended {which}: they are still open."),
                    ("both", _) => format!("Client and server ended {which} at once, with FIN."),
                    (by, "timeout") => format!("The {by}'s kernel gave up {which}: ETIMEDOUT."),
                    (by, "fin") if half_closed => format!(
                        "The {by} closed its side of {which} with FIN; the other side never did."
                    ),
                    (by, how) => {
                        format!("The {by} ended {which} with {}.", how.to_ascii_uppercase())
                    }
                }
            })
            .collect();
        let told = if endings.is_empty() {
            "No connection was made.".to_owned()
        } else {
            endings.join(" ")
        };
        match &self.stopped {
            Some(reason) => format!("The run was ended early: {reason}. {told}"),
            None => told,
        }
    }
}

impl Connection {
    /// A host closed; `asked` where it had heard that the other did.
    fn fin_from(&mut self, host: HostName, asked: bool) {
        if !self.fins.contains(&host) {
            self.fins.push(host);
            if !asked {
                self.closed_unasked.insert(host);
            }
        }
    }

    fn reset_from(&mut self, host: HostName) {
        self.reset_by.get_or_insert(host);
    }

    fn ending(&self, timed_out: &[(HostName, Option<SocketAddr>)]) -> (String, &'static str) {
        if self.closed_unasked.len() > 1 {
            return ("both".to_owned(), "fin");
        }
        if let Some(host) = self.fins.first() {
            return (host.to_string(), "fin");
        }
        let gave_up = timed_out
            .iter()
            .find(|(_, local)| match (local, &self.sockets) {
                (Some(local), Some(sockets)) => sockets.contains(local),
                // A connection that never came about has told nobody its address.
                _ => true,
            });
        if let Some((host, _)) = gave_up {
            return (host.to_string(), "timeout");
        }
        if let Some(host) = self.reset_by {
            return (host.to_string(), "rst");
        }
        ("nobody".to_owned(), "silence")
    }
}

#[cfg(test)]
mod tests {
    use linger_shared::event::{Call, Role, TcpInfo};

    use super::*;

    struct Story {
        witness: Witness,
        next: u64,
    }

    impl Story {
        fn new() -> Self {
            Self {
                witness: Witness::default(),
                next: 0,
            }
        }

        fn event(&mut self, seen_by: Observer, fact: Fact) {
            self.witness.observe(&Event {
                seq: self.next,
                at_us: self.next,
                seen_by,
                fact,
            });
            self.next += 1;
        }

        fn sends(&mut self, id: u64, from: HostName, flags: &str, ack: u32) {
            let to = match from {
                HostName::Client => HostName::Server,
                _ => HostName::Client,
            };
            let address = "192.0.2.1:1000".parse().unwrap();
            let tcp = TcpInfo {
                connection: 0,
                src: address,
                dst: address,
                flags: flags.to_owned(),
                seq: 1,
                seq_raw: 0,
                ack,
                ack_raw: 0,
                window: 0,
                options: Vec::new(),
                payload: 0,
                role: Role::Ordinary,
            };
            self.event(
                Observer::Wire,
                Fact::PacketDeparted(Packet {
                    id,
                    from,
                    to,
                    length: 40,
                    tcp: Some(tcp),
                    summary: String::new(),
                    bytes: String::new(),
                    messages: Vec::new(),
                    rewritten: None,
                    origin: None,
                }),
            );
        }

        fn call(&mut self, host: HostName, call: &str, result: &str, errno: Option<&str>) {
            self.event(
                Observer::App(host),
                Fact::Call(Call {
                    call: call.to_owned(),
                    args: String::new(),
                    result: result.to_owned(),
                    errno: errno.map(str::to_owned),
                    ..Call::default()
                }),
            );
        }

        fn ending(self) -> (String, String) {
            let verdict = self.witness.verdict();
            (verdict.ended_by, verdict.how)
        }
    }

    fn pair(by: &str, how: &str) -> (String, String) {
        (by.to_owned(), how.to_owned())
    }

    #[test]
    fn the_first_fin_names_who_ended_it() {
        let mut story = Story::new();
        story.sends(0, HostName::Server, "FIN,ACK", 1);
        story.sends(1, HostName::Client, "FIN,ACK", 2);
        assert_eq!(story.ending(), pair("server", "fin"));
    }

    #[test]
    fn a_fin_that_is_never_answered_closes_one_side_only() {
        let mut story = Story::new();
        story.sends(0, HostName::Client, "FIN,ACK", 1);
        let verdict = story.witness.verdict();
        assert_eq!(verdict.ended_by, "client");
        assert_eq!(
            verdict.summary,
            "The client closed its side of the connection with FIN; the other side never did."
        );
    }

    #[test]
    fn fins_that_cross_on_the_wire_count_for_both() {
        let mut story = Story::new();
        story.sends(0, HostName::Server, "FIN,ACK", 1);
        story.sends(1, HostName::Client, "FIN,ACK", 1);
        assert_eq!(story.ending(), pair("both", "fin"));
    }

    #[test]
    fn a_time_out_outranks_the_rst_that_comes_with_it() {
        let mut story = Story::new();
        story.sends(0, HostName::Client, "RST,ACK", 1);
        story.call(HostName::Client, "read", "ETIMEDOUT", Some("ETIMEDOUT"));
        story.call(HostName::Client, "close", "ok", None);
        let verdict = story.witness.verdict();
        assert_eq!(
            (verdict.ended_by.as_str(), verdict.how.as_str()),
            ("client", "timeout")
        );
        assert_eq!(verdict.outcomes["client"], "ETIMEDOUT");
    }

    #[test]
    fn an_rst_alone_is_an_rst() {
        let mut story = Story::new();
        story.sends(0, HostName::Server, "RST", 0);
        assert_eq!(story.ending(), pair("server", "rst"));
    }

    #[test]
    fn a_connection_that_nobody_ended_is_silent() {
        let mut story = Story::new();
        story.sends(0, HostName::Client, "SYN", 0);
        story.call(HostName::Client, "read", "", None);
        let verdict = story.witness.verdict();
        assert_eq!(verdict.how, "silence");
        assert_eq!(
            verdict.summary,
            "Nobody ended the connection: it is still open."
        );
        assert_eq!(verdict.outcomes["client"], "still waiting in read()");
    }
}
