//! The outcome of a run, worked out from its events: the same way for every experiment.
//!
//! A [`Witness`] sees every event and testifies at the end. What each connection went through is
//! taken from the [`wire`] and the [`apps`], kept in [`connection`], found by number or addresses in
//! [`register`], decided in [`judge`], put together in [`whole`] and told in [`summary`]; [`tally`]
//! counts. Nothing here does I/O, and whatever the events say in
//! whatever order, there is a verdict, and always the same one.
//!
//! A run of several connections is told by what most of them have. Two connections that a TCP proxy
//! joins count as one, which ended with the first of them.

mod apps;
mod connection;
mod judge;
mod register;
mod summary;
mod tally;
#[cfg(test)]
mod tests;
mod whole;
mod wire;

use std::{
    collections::{BTreeMap, HashMap, VecDeque},
    net::SocketAddr,
};

use linger_shared::event::{
    Call, Ending, Event, Fact, HostName, Observer, ProcessState, TcpState, Verdict,
};

use self::{
    connection::Weight,
    judge::{Ended, Troubles, judge},
    register::Register,
    tally::Tally,
    whole::{sides, usual},
    wire::Flight,
};

/// How many connections a verdict names one by one.
const NAMED: usize = 100;

/// Sees every event of a run and testifies at its end.
#[derive(Default)]
pub(super) struct Witness {
    register: Register,
    /// What is on its way, by id.
    flights: HashMap<u64, Flight>,
    troubles: Troubles,
    tally: Tally,
    /// ICMP messages that rules made, by who gets them: when, and the rule.
    icmp: BTreeMap<HostName, (u64, String)>,
    /// Calls on connections that are not known yet, the latest ones: who called what, when.
    early: VecDeque<(HostName, Call, u64)>,
    /// Connections on behalf of one that is not known yet: their number, and host and address by
    /// which the other will be.
    serving: Vec<(u32, HostName, SocketAddr)>,
    stopped: Option<String>,
}

impl Witness {
    pub(super) fn observe(&mut self, event: &Event) {
        self.tally.observe(event);
        let at_us = event.at_us;
        match (&event.fact, event.seen_by) {
            (Fact::PacketDeparted(packet), _) => self.departed(packet, at_us),
            (Fact::ChunkDeparted(chunk), _) => self.chunk_departed(chunk, at_us),
            (Fact::PacketArrived { id } | Fact::ChunkArrived { id }, _) => {
                self.arrived(*id, at_us);
            }
            (Fact::PacketDropped { id, rule, .. } | Fact::ChunkDropped { id, rule, .. }, _) => {
                self.dropped(*id, rule);
            }
            (Fact::Socket(socket), Observer::Kernel(host)) if socket.state != TcpState::Listen => {
                let end = self
                    .register
                    .end(host, Some(socket.local), Some(socket.remote));
                if let Some(end) = end {
                    end.state = socket.state.as_str();
                }
            }
            (Fact::SocketGone { local, remote, .. }, Observer::Kernel(host)) => {
                if let Some(end) = self.register.end(host, Some(*local), Some(*remote)) {
                    end.state = "gone";
                    end.gone_us = Some(at_us);
                }
            }
            (Fact::Call(call), Observer::App(host)) => self.called(host, call, at_us),
            (Fact::Http(exchange), Observer::App(host)) => self.exchanged(host, exchange, at_us),
            (Fact::Tls(handshake), Observer::App(host)) => {
                let end = self.register.end(host, handshake.local, handshake.peer);
                if let (Some(end), Some(error)) = (end, &handshake.error) {
                    end.learns(Weight::Error, format!("TLS: {error}"), at_us);
                }
            }
            (
                Fact::Flow {
                    inside,
                    mapped: Some(mapped),
                    ..
                },
                _,
            ) => self.register.map(*inside, *mapped),
            (
                Fact::Process { program, state, .. },
                Observer::App(host) | Observer::Kernel(host),
            ) => {
                let how = match state {
                    ProcessState::Started { .. } => return,
                    ProcessState::Exited { .. } => format!("its process `{program}` had ended"),
                    ProcessState::Killed { signal, .. } => {
                        format!("its process `{program}` was killed by {signal}")
                    }
                };
                let killed = matches!(state, ProcessState::Killed { .. });
                let ended = self.troubles.ended.entry(host).or_default();
                ended.push(Ended { at_us, killed, how });
            }
            (
                Fact::Power {
                    host, on: false, ..
                },
                _,
            ) => {
                self.troubles.power.entry(*host).or_default().push(at_us);
            }
            (Fact::Stopped { reason }, _) => self.stopped = Some(reason.clone()),
            _ => {}
        }
    }

    pub(super) fn verdict(self) -> Verdict {
        let endings: Vec<Ending> = self
            .register
            .all()
            .map(|connection| judge(connection, &self.troubles))
            .collect();
        let pairs: BTreeMap<u32, u32> = self
            .register
            .all()
            .filter_map(|connection| Some((connection.number, connection.serves?)))
            .collect();
        let (ended_by, how) = usual(&endings, &pairs);
        Verdict {
            ended_by,
            how,
            outcomes: self.tally.outcomes(),
            measurements: self.tally.measurements(),
            counts: self.tally.counts(self.register.len()),
            summary: self.summary(&endings, &pairs),
            sides: sides(&endings),
            endings: endings.into_iter().take(NAMED).collect(),
        }
    }

    fn summary(&self, endings: &[Ending], pairs: &BTreeMap<u32, u32>) -> String {
        let mut told = summary::sentences(endings, pairs);
        if let Some(reason) = &self.stopped {
            told = format!("The run was ended early: {reason}. {told}");
        }
        match self.tally.unanswered() {
            (0, _) => told,
            (1, 1) => format!("{told} The request got no response."),
            (hung, all) => format!("{told} {hung} of {all} requests got no response."),
        }
    }
}
