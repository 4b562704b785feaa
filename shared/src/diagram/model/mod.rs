//! An append-only index of a run's events, sorted for windowed access. No layout.
//!
//! It takes events in the order of their numbers and copes with whatever order their times are in.
//! A damaged stream (ends without departures, ids twice, absurd times) gives a poorer picture, never
//! a panic: times are clamped to [`LONGEST_US`], an end waits for its departure, and the first of
//! two departures with one id counts.

mod queries;

use std::collections::{BTreeSet, HashMap};

use crate::event::{Event, Fact, Header, HostName, Observer, Verdict};

use super::{
    flight::{End, Flight},
    idle::Idle,
    notes::Notes,
    rules::Rules,
    sockets::{Sockets, StateChange},
    spans::SpanIndex,
    words,
};

/// Times beyond this many microseconds (a hundred years) are taken for it.
pub const LONGEST_US: u64 = 3_155_760_000_000_000;

/// How many delays the typical one is taken from.
const DELAYS: usize = 31;

/// Where a part of the experiment begins.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Chapter {
    /// The number of its event.
    pub seq: u64,
    /// When, in microseconds.
    pub at_us: u64,
    /// Its title.
    pub title: String,
}

/// What was counted so far.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Counts {
    /// Events taken.
    pub events: u64,
    /// Packets (or chunks) that left a host.
    pub packets: u64,
    /// Of those, the ones that arrived.
    pub arrived: u64,
    /// Of those, the ones that were dropped.
    pub dropped: u64,
    /// Of those, retransmissions.
    pub retransmissions: u64,
    /// Bytes on the wire, headers included; in relay mode payload.
    pub bytes: u64,
    /// Connections.
    pub connections: u64,
}

/// The index. See the module.
#[derive(Debug, Clone)]
pub struct Model {
    header: Header,
    counts: Counts,
    last_us: u64,
    flights: Vec<Flight>,
    by_id: HashMap<u64, u32>,
    /// Ends whose departures have not come yet.
    early_ends: HashMap<u64, End>,
    /// Positions in `flights`, sorted by departure.
    by_departure: Vec<u32>,
    /// Flights that ended, by importance.
    ended: [SpanIndex; 3],
    in_flight: BTreeSet<(u64, u32)>,
    /// Positions in `flights` of each connection's segments, as they were reported.
    connections: HashMap<u32, Vec<u32>>,
    /// The first delays of the run, sorted, in microseconds.
    delays: Vec<u64>,
    /// The last delay from a host to another.
    last_delay: HashMap<(HostName, HostName), u64>,
    chapters: Vec<Chapter>,
    notes: Notes,
    rules: Rules,
    sockets: Sockets,
    idle: Idle,
    remarks: Vec<(u64, String)>,
    stopped: Option<String>,
    failure: Option<String>,
    verdict: Option<Box<Verdict>>,
}

impl Model {
    /// The model of a run that has no events yet.
    pub fn new(header: &Header) -> Self {
        Self {
            header: header.clone(),
            counts: Counts::default(),
            last_us: 0,
            flights: Vec::new(),
            by_id: HashMap::new(),
            early_ends: HashMap::new(),
            by_departure: Vec::new(),
            ended: Default::default(),
            in_flight: BTreeSet::new(),
            connections: HashMap::new(),
            delays: Vec::new(),
            last_delay: HashMap::new(),
            chapters: Vec::new(),
            notes: Notes::default(),
            rules: Rules::default(),
            sockets: Sockets::default(),
            idle: Idle::default(),
            remarks: Vec::new(),
            stopped: None,
            failure: None,
            verdict: None,
        }
    }

    /// Takes the next event.
    pub fn push(&mut self, event: &Event) {
        let _ = self.take(event);
    }

    /// Takes the next event; says which socket state it changed, if it did.
    pub(super) fn take(&mut self, event: &Event) -> Option<StateChange> {
        let (seq, at_us) = (event.seq, event.at_us.min(LONGEST_US));
        self.counts.events += 1;
        self.last_us = self.last_us.max(at_us);
        let mut moment = true;
        let mut change = None;
        match &event.fact {
            Fact::PacketDeparted(packet) => self.depart(Flight::of_packet(seq, at_us, packet)),
            Fact::ChunkDeparted(chunk) => self.depart(Flight::of_chunk(seq, at_us, chunk)),
            Fact::PacketArrived { id } | Fact::ChunkArrived { id } => {
                self.end(*id, End::Arrived { seq, at_us });
            }
            Fact::PacketDropped {
                id,
                rule,
                reason,
                place,
            }
            | Fact::ChunkDropped {
                id,
                rule,
                reason,
                place,
            } => self.end(
                *id,
                End::Dropped {
                    seq,
                    at_us,
                    rule: rule.as_str().into(),
                    reason: reason.as_str().into(),
                    // A place that is no number says nothing; half-way claims the least.
                    place: if place.is_nan() {
                        0.5
                    } else {
                        place.clamp(0.0, 1.0)
                    },
                },
            ),
            Fact::Socket(snapshot) => {
                if let Observer::Kernel(host) = event.seen_by {
                    change = self.sockets.snapshot(host, at_us, snapshot);
                }
                // A timer that runs or a window that grows is no reason to keep idle time.
                moment = change.is_some();
            }
            Fact::SocketGone { local, remote, .. } => {
                if let Observer::Kernel(host) = event.seen_by {
                    change = self.sockets.gone(host, at_us, *local, *remote);
                }
                moment = change.is_some();
            }
            Fact::Call(call) => self.notes.call(seq, at_us, event.seen_by, call),
            Fact::Http(http) => self.notes.exchange(seq, at_us, event.seen_by, http),
            Fact::Rule {
                rule, from, active, ..
            } => self.notes.wire(seq, at_us, rule, *from, *active),
            fact @ (Fact::Tls(_)
            | Fact::Output { .. }
            | Fact::Process { .. }
            | Fact::Power { .. }
            | Fact::Flow { .. }) => {
                if let Fact::Power {
                    host, on: false, ..
                } = fact
                {
                    self.sockets.lose_listeners(*host, at_us);
                }
                let host = match (fact, event.seen_by) {
                    (Fact::Power { host, .. }, _) => *host,
                    (_, Observer::App(host) | Observer::Kernel(host)) => host,
                    // A middlebox stands nearest to those whom it serves.
                    (_, Observer::Wire | Observer::Experiment) => HostName::Client,
                };
                if let Some(what) = words::happening(fact) {
                    self.notes.happening(seq, at_us, host, what);
                }
            }
            // Keys are for exports.
            Fact::Secret { .. } => moment = false,
            Fact::Chapter { title } => self.begin(seq, at_us, title.clone()),
            Fact::Expectation {
                name,
                predicted_at_us,
                because,
                ..
            } => {
                let predicted = (*predicted_at_us).min(LONGEST_US);
                self.rules.expect(seq, predicted, name, because);
                self.idle.mark(predicted, predicted);
                moment = false;
            }
            Fact::Measurement(measurement) => {
                self.rules.measure(seq, at_us, measurement);
                moment = measurement.measured_us.is_some();
            }
            Fact::Remark { text } => self.remarks.push((at_us, text.clone())),
            Fact::Stopped { reason } => {
                // What was still to come does not come any more.
                self.rules.forget_predictions_after(at_us);
                self.begin(seq, at_us, format!("The run ends here: {reason}"));
                self.stopped = Some(reason.clone());
            }
            Fact::Failure { message } => self.failure = Some(message.clone()),
            Fact::Verdict(verdict) => self.verdict = Some(Box::new(verdict.clone())),
        }
        if moment {
            self.idle.mark(at_us, at_us);
        }
        change
    }

    fn begin(&mut self, seq: u64, at_us: u64, title: String) {
        let at = self.chapters.partition_point(|c| c.at_us <= at_us);
        self.chapters.insert(at, Chapter { seq, at_us, title });
    }

    fn depart(&mut self, flight: Flight) {
        let Ok(position) = u32::try_from(self.flights.len()) else {
            return;
        };
        if self.by_id.contains_key(&flight.id) {
            return;
        }
        self.counts.packets += 1;
        self.counts.bytes += u64::from(flight.length);
        self.counts.retransmissions += u64::from(flight.is_retransmission());
        if let Some(connection) = flight.connection {
            self.connections
                .entry(connection)
                .or_default()
                .push(position);
            self.counts.connections = self.connections.len() as u64;
        }
        let (id, departed) = (flight.id, flight.departed_us);
        self.by_id.insert(id, position);
        self.flights.push(flight);
        let at = self
            .by_departure
            .partition_point(|&p| self.flights[p as usize].departed_us <= departed);
        self.by_departure.insert(at, position);
        self.in_flight.insert((departed, position));
        if let Some(end) = self.early_ends.remove(&id) {
            self.end(id, end);
        }
    }

    fn end(&mut self, id: u64, end: End) {
        let Some(&position) = self.by_id.get(&id) else {
            self.early_ends.entry(id).or_insert(end);
            return;
        };
        let flight = &mut self.flights[position as usize];
        let departed = flight.departed_us;
        let (Some(at_us), End::InFlight) = (end.at_us(), &flight.end) else {
            return;
        };
        if matches!(end, End::Arrived { .. }) {
            self.counts.arrived += 1;
            let delay = at_us.saturating_sub(departed);
            self.last_delay.insert((flight.from, flight.to), delay);
            if self.delays.len() < DELAYS {
                let at = self.delays.partition_point(|other| *other <= delay);
                self.delays.insert(at, delay);
            }
        } else {
            self.counts.dropped += 1;
        }
        flight.end = end;
        self.ended[flight.importance() as usize].insert(departed, at_us, position);
        self.in_flight.remove(&(departed, position));
        self.idle.mark(departed, at_us);
    }
}
