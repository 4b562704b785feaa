//! What can be asked of a [`Model`].

use crate::event::{Header, HostName, Role, Verdict};

use super::{Chapter, Counts, Model};
use crate::diagram::{
    flight::{Carries, End, Flight, Importance, Segment},
    idle::Idle,
    notes::NoteFact,
    rules::RuleFact,
    sockets::{SocketRow, StateSpan},
};

/// How long a packet whose delay is not known counts as being in flight, in microseconds.
const PATIENCE_US: u64 = 10_000_000;

/// Related packets are looked for among so many before and after a packet on its connection.
const RELATED_REACH: usize = 2_000;

impl Model {
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

    /// What belongs to a packet: the one that acknowledged it (or answered it, where it is a
    /// keep-alive probe), and its other transmissions. Sorted by departure, without itself.
    pub fn related(&self, id: u64) -> Vec<u64> {
        let Some(flight) = self.packet(id) else {
            return Vec::new();
        };
        let Carries::Segment(segment) = &flight.carries else {
            return Vec::new();
        };
        let others = self.connections.get(&segment.connection);
        let others = others.map_or(&[][..], Vec::as_slice);
        let own = self.by_id.get(&id).copied().unwrap_or(0);
        let place = others.partition_point(|&position| position < own);
        let from = place.saturating_sub(RELATED_REACH);
        let mut related: Vec<&Flight> = Vec::new();
        let mut answered = false;
        for &position in others[from..].iter().take(2 * RELATED_REACH) {
            let other = &self.flights[position as usize];
            let Carries::Segment(theirs) = &other.carries else {
                continue;
            };
            if position == own {
                continue;
            }
            if other.from == flight.from {
                let same = theirs.seq == segment.seq && theirs.next_seq() == segment.next_seq();
                if same && segment.takes_sequence_space() {
                    related.push(other);
                }
            } else if !answered && answers(flight, segment, other, theirs) {
                answered = true;
                related.push(other);
            }
        }
        related.sort_by_key(|other| (other.departed_us, other.seq));
        related.into_iter().map(|other| other.id).collect()
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
    pub(in crate::diagram) fn longest_last_delay_us(&self) -> u64 {
        self.last_delay.values().copied().max().unwrap_or(0)
    }

    /// Until when something is thought to be in flight at `now`: a packet overdue by several
    /// delays is lost, and waiting for it is idle time.
    pub(in crate::diagram) fn busy_until(&self, now: u64) -> u64 {
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

    pub(in crate::diagram) fn idle(&self) -> &Idle {
        &self.idle
    }

    /// At most `limit` ended flights that touch `first..=last`, the most important first, and how
    /// many were left out.
    pub(in crate::diagram) fn ended_in(
        &self,
        first: u64,
        last: u64,
        limit: usize,
    ) -> (Vec<&Flight>, usize) {
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
    pub(in crate::diagram) fn flying_in(
        &self,
        first: u64,
        last: u64,
    ) -> impl Iterator<Item = &Flight> {
        self.in_flight
            .range((first, 0)..=(last.max(first), u32::MAX))
            .rev()
            .map(|(_, position)| &self.flights[*position as usize])
    }

    pub(in crate::diagram) fn states(
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

    pub(in crate::diagram) fn connection_name(&self, span: &StateSpan) -> &str {
        self.sockets.connection(span.life)
    }
}

/// Whether a segment is the first possible answer to one of the other direction.
fn answers(flight: &Flight, segment: &Segment, other: &Flight, theirs: &Segment) -> bool {
    let End::Arrived { at_us, .. } = flight.end else {
        return false;
    };
    if other.departed_us < at_us {
        return false;
    }
    if matches!(segment.role, Role::KeepAliveProbe { .. }) {
        return theirs.role == Role::KeepAliveAck;
    }
    // Sequence numbers wrap (RFC 9293, section 3.4), so the difference decides.
    let beyond = theirs.ack.wrapping_sub(segment.next_seq());
    segment.takes_sequence_space() && theirs.flags.ack && beyond < 1 << 31
}
