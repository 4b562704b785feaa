//! An append-only index of a run's events, sorted for windowed access. No layout.
//!
//! It takes events in the order of their numbers and copes with whatever order their times are in.
//! A damaged stream (ends without departures, ids twice, absurd times) gives a poorer picture, never
//! a panic: times are clamped to [`LONGEST_US`], an end waits for its departure, and the first of
//! two departures with one id counts.

use std::collections::{BTreeSet, HashMap};

use crate::event::{Event, Fact, Header, HostName, Observer, Verdict};

use super::{
    flight::{End, Flight, Importance},
    idle::Idle,
    notes::{NoteFact, Notes},
    rules::{RuleFact, Rules},
    sockets::{SocketRow, Sockets, StateChange, StateSpan},
    spans::SpanIndex,
};

/// Times beyond this many microseconds (a hundred years) are taken for it.
pub const LONGEST_US: u64 = 3_155_760_000_000_000;

/// How many delays the typical one is taken from.
const DELAYS: usize = 31;

/// How long a packet whose delay is not known counts as being in flight, in microseconds.
const PATIENCE_US: u64 = 10_000_000;

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
    connections: BTreeSet<u32>,
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
            connections: BTreeSet::new(),
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
            Fact::Chapter { title } => {
                let at = self.chapters.partition_point(|c| c.at_us <= at_us);
                let title = title.clone();
                self.chapters.insert(at, Chapter { seq, at_us, title });
            }
            Fact::Expectation {
                name,
                predicted_at_us,
                because,
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
            Fact::Stopped { reason } => self.stopped = Some(reason.clone()),
            Fact::Failure { message } => self.failure = Some(message.clone()),
            Fact::Verdict(verdict) => self.verdict = Some(Box::new(verdict.clone())),
        }
        if moment {
            self.idle.mark(at_us, at_us);
        }
        change
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
            self.connections.insert(connection);
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

    /// What was known before the first event.
    pub fn header(&self) -> &Header {
        &self.header
    }

    /// What was counted so far.
    pub fn counts(&self) -> Counts {
        self.counts
    }

    /// The time of the latest event, in microseconds.
    pub fn last_us(&self) -> u64 {
        self.last_us
    }

    /// The latest moment that a picture has to show: an event or a prediction, in microseconds.
    pub fn extent_us(&self) -> u64 {
        self.last_us.max(self.rules.last_us())
    }

    /// How many packets (or chunks) left a host.
    pub fn packet_count(&self) -> usize {
        self.by_departure.len()
    }

    /// All packets (or chunks) in the order in which they left.
    pub fn packets(&self) -> impl DoubleEndedIterator<Item = &Flight> + ExactSizeIterator {
        self.by_departure
            .iter()
            .map(|&position| &self.flights[position as usize])
    }

    /// The packet at a position in the order in which they left.
    pub fn packet_at(&self, position: usize) -> Option<&Flight> {
        let flight = *self.by_departure.get(position)?;
        self.flights.get(flight as usize)
    }

    /// The position of the first packet that left at `at_us` or later; the count where none did.
    pub fn position_at(&self, at_us: u64) -> usize {
        self.by_departure
            .partition_point(|&p| self.flights[p as usize].departed_us < at_us)
    }

    /// The position of a packet in the order in which they left.
    pub fn position_of(&self, id: u64) -> Option<usize> {
        let &position = self.by_id.get(&id)?;
        let first = self.position_at(self.flights[position as usize].departed_us);
        self.by_departure[first..]
            .iter()
            .position(|&other| other == position)
            .map(|offset| first + offset)
    }

    /// The packet (or chunk) with this id.
    pub fn packet(&self, id: u64) -> Option<&Flight> {
        let &position = self.by_id.get(&id)?;
        self.flights.get(position as usize)
    }

    /// The parts of the experiment, sorted by time.
    pub fn chapters(&self) -> &[Chapter] {
        &self.chapters
    }

    /// What applications did and saw and what was done to the wire, sorted by time, without calls
    /// that have not come back.
    pub fn notes(&self) -> &[NoteFact] {
        self.notes.all()
    }

    /// Calls made between two moments that have not come back, the latest first.
    pub fn pending_calls(&self, first: u64, last: u64) -> impl Iterator<Item = &NoteFact> {
        self.notes.pending(first, last)
    }

    /// Predicted and measured moments, sorted by time.
    pub fn rules(&self) -> &[RuleFact] {
        self.rules.all()
    }

    /// Every socket that was known at `at_us`, as last told, in the order in which they appeared.
    pub fn sockets_at(&self, at_us: u64) -> Vec<SocketRow<'_>> {
        self.sockets.at(at_us)
    }

    /// Remarks for the reader, with their times in microseconds.
    pub fn remarks(&self) -> &[(u64, String)] {
        &self.remarks
    }

    /// By whom or what the run was ended before its script was done.
    pub fn stopped(&self) -> Option<&str> {
        self.stopped.as_deref()
    }

    /// What the laboratory failed at: then nothing may be concluded from the run.
    pub fn failure(&self) -> Option<&str> {
        self.failure.as_deref()
    }

    /// The outcome, once there is one.
    pub fn verdict(&self) -> Option<&Verdict> {
        self.verdict.as_deref()
    }

    /// The median of the run's first one-way delays, in microseconds.
    pub fn typical_delay_us(&self) -> Option<u64> {
        self.delays.get(self.delays.len() / 2).copied()
    }

    /// How long a packet from one host to another took last, in microseconds; where none went that
    /// way yet, the run's typical delay.
    pub fn delay_us(&self, from: HostName, to: HostName) -> Option<u64> {
        self.last_delay
            .get(&(from, to))
            .copied()
            .or_else(|| self.typical_delay_us())
    }

    /// The longest of the last delays, in microseconds; 0 where nothing arrived yet.
    pub(super) fn longest_last_delay_us(&self) -> u64 {
        self.last_delay.values().copied().max().unwrap_or(0)
    }

    /// Until when something is thought to be in flight at `now`: a packet overdue by several
    /// delays is lost, and waiting for it is idle time.
    pub(super) fn busy_until(&self, now: u64) -> u64 {
        self.in_flight
            .range(..=(now, u32::MAX))
            .rev()
            .take(64)
            .map(|(departed, position)| {
                let flight = &self.flights[*position as usize];
                let patience = self
                    .delay_us(flight.from, flight.to)
                    .map_or(PATIENCE_US, |delay| delay.saturating_mul(4));
                departed.saturating_add(patience).min(now)
            })
            .max()
            .unwrap_or(0)
    }

    pub(super) fn idle(&self) -> &Idle {
        &self.idle
    }

    /// At most `limit` ended flights that touch `first..=last`, the most important first, and how
    /// many were left out.
    pub(super) fn ended_in(&self, first: u64, last: u64, limit: usize) -> (Vec<&Flight>, usize) {
        let mut chosen = Vec::new();
        let mut touching = 0;
        for class in Importance::ALL {
            let index = &self.ended[class as usize];
            touching += index.count(first, last);
            let room = limit - chosen.len();
            chosen.extend(
                index
                    .select(first, last, room)
                    .into_iter()
                    .map(|position| &self.flights[position as usize]),
            );
        }
        let hidden = touching.saturating_sub(chosen.len());
        (chosen, hidden)
    }

    /// Flights in flight that left between two moments, the latest first.
    pub(super) fn flying_in(&self, first: u64, last: u64) -> impl Iterator<Item = &Flight> {
        self.in_flight
            .range((first, 0)..=(last.max(first), u32::MAX))
            .rev()
            .map(|(_, position)| &self.flights[*position as usize])
    }

    pub(super) fn states(
        &self,
        host: HostName,
        slot: usize,
        first: u64,
        last: u64,
    ) -> &[StateSpan] {
        self.sockets.states(host, slot, first, last)
    }

    /// How many connections have had bands side by side along a host's lifeline.
    pub fn band_slots(&self, host: HostName) -> usize {
        self.sockets.slots_used(host)
    }

    pub(super) fn connection_name(&self, span: &StateSpan) -> &str {
        self.sockets.connection(span.life)
    }
}
