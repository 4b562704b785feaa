//! What is counted of a run, what applications saw last, and what was measured.

use std::collections::BTreeMap;

use linger_shared::event::{
    Call, Event, Fact, HostName, HttpExchange, Measurement, Observer, Packet, Role, TcpState,
};

/// Counts, outcomes and measurements.
#[derive(Default)]
pub(super) struct Tally {
    measurements: Vec<Measurement>,
    /// What was foreseen: by name, the span.
    expected: Vec<(String, Option<u64>)>,
    outcomes: BTreeMap<HostName, String>,
    states: BTreeMap<(HostName, String), TcpState>,
    requests: u64,
    responses: u64,
    proxied: u64,
    packets: u64,
    bytes: u64,
    dropped: u64,
    retransmissions: u64,
    probes: u64,
}

impl Tally {
    pub(super) fn observe(&mut self, event: &Event) {
        match (&event.fact, event.seen_by) {
            (Fact::PacketDeparted(packet), _) => self.departed(packet),
            (Fact::ChunkDeparted(chunk), _) => {
                self.packets += 1;
                self.bytes += chunk.bytes.len() as u64 / 2;
            }
            (Fact::PacketDropped { .. } | Fact::ChunkDropped { .. }, _) => self.dropped += 1,
            (Fact::Socket(socket), Observer::Kernel(host)) if socket.state != TcpState::Listen => {
                let key = (host, format!("{}-{}", socket.local, socket.remote));
                self.states.insert(key, socket.state);
            }
            (Fact::SocketGone { local, remote, .. }, Observer::Kernel(host)) => {
                self.states.remove(&(host, format!("{local}-{remote}")));
            }
            (Fact::Call(call), Observer::App(host)) => self.called(host, call),
            (Fact::Http(exchange), Observer::App(host)) => self.exchanged(host, exchange),
            (Fact::Tls(handshake), Observer::App(host)) => {
                if let Some(error) = &handshake.error {
                    self.outcomes.insert(host, format!("TLS: {error}"));
                }
            }
            (
                Fact::Expectation {
                    name, predicted_us, ..
                },
                _,
            ) => self.expected.push((name.clone(), *predicted_us)),
            (Fact::Measurement(measurement), _) => self.measurements.push(measurement.clone()),
            _ => {}
        }
    }

    fn departed(&mut self, packet: &Packet) {
        self.packets += 1;
        self.bytes += u64::from(packet.length);
        match packet.tcp.as_ref().map(|tcp| tcp.role) {
            Some(Role::Retransmission { .. }) => self.retransmissions += 1,
            Some(Role::KeepAliveProbe { .. }) => self.probes += 1,
            Some(Role::Ordinary | Role::KeepAliveAck) | None => {}
        }
    }

    fn called(&mut self, host: HostName, call: &Call) {
        // What a socket was told is not what it told.
        if call.call == "setsockopt" && call.errno.is_none() {
            return;
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

    fn exchanged(&mut self, host: HostName, exchange: &HttpExchange) {
        // What a proxy passes on is no request of its own.
        let asks = host == HostName::Client;
        if asks {
            self.requests += 1;
            self.responses += u64::from(exchange.status.is_some());
        } else {
            self.proxied += 1;
        }
        let text = match (&exchange.error, exchange.status) {
            (Some(error), _) => format!("{}: {error}", exchange.line),
            (None, Some(status)) if asks => format!(
                "{} of {} responses, the last {status}",
                self.responses, self.requests
            ),
            (None, Some(status)) => format!("{}: {status}", exchange.line),
            (None, None) => format!("{}: no response", exchange.line),
        };
        self.outcomes.insert(host, text);
    }

    /// Requests that have had no response.
    pub(super) fn unanswered(&self) -> (u64, u64) {
        (self.requests - self.responses, self.requests)
    }

    /// Host to what its application saw last.
    pub(super) fn outcomes(&self) -> BTreeMap<String, String> {
        self.outcomes
            .iter()
            .map(|(host, text)| (host.to_string(), text.clone()))
            .collect()
    }

    /// What was measured, and what was foreseen and not measured.
    pub(super) fn measurements(&self) -> Vec<Measurement> {
        let mut measurements = self.measurements.clone();
        for (name, predicted_us) in &self.expected {
            if !measurements.iter().any(|m| m.name == *name) {
                measurements.push(Measurement {
                    name: name.clone(),
                    predicted_us: *predicted_us,
                    measured_us: None,
                });
            }
        }
        measurements
    }

    pub(super) fn counts(&self, connections: usize) -> BTreeMap<String, u64> {
        let mut counts = BTreeMap::from([
            ("connections".to_owned(), connections as u64),
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
        if self.proxied > 0 {
            counts.insert("proxied".to_owned(), self.proxied);
        }
        for ((host, _), state) in &self.states {
            let name = format!("{}:{host}", state.as_str().to_ascii_lowercase());
            *counts.entry(name).or_default() += 1;
        }
        counts
    }
}
