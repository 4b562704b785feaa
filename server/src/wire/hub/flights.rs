//! Everything that is on its way, ordered by when something is to be done about it.
//!
//! What is due at the same time comes out in the order in which it was booked. A flight can be
//! booked anew while it waits; the heap then holds an entry that no longer counts, which is
//! recognised by its order and passed over.

use std::{borrow::Cow, cmp::Reverse, collections::BinaryHeap, time::Instant};

use bytes::Bytes;
use tokio::sync::oneshot;

use crate::wire::rules::Answer;

/// Something that happens on a link at a certain time.
pub(super) struct Flight {
    /// Which link's.
    pub(super) link: u32,
    /// When it began: what a packet's place between two hosts is worked out from.
    pub(super) departed: Instant,
    /// When it is expected to be over, with all that follows from it on the wire.
    pub(super) over: Instant,
    /// What happens.
    pub(super) ending: Ending,
}

/// What happens when a flight is due.
pub(super) enum Ending {
    /// A packet reaches a host.
    Arrive {
        /// The packet's id.
        id: u64,
        /// Which direction of the link it takes.
        direction: usize,
        /// The packet as it arrives.
        bytes: Bytes,
    },
    /// A packet reaches the place at which it disappears.
    Vanish {
        /// The packet's id.
        id: u64,
        /// What drops it.
        rule: Cow<'static, str>,
        /// Why.
        reason: Cow<'static, str>,
        /// Where: 0 at the sender, 1 at the receiver.
        place: f64,
    },
    /// The wire sends a packet of its own.
    SetOut {
        /// What it sends.
        answer: Answer,
        /// The packet that is at this place now, if one is the cause.
        because_of: Option<u64>,
    },
    /// The rules have something to do of themselves.
    Alarm,
    /// No packet, but a mark behind the last one of a link.
    Tell(oneshot::Sender<()>),
}

/// Names a flight that was booked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Ticket {
    slot: usize,
    order: u64,
}

/// When a flight is due; the earliest comes first.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Entry {
    due: Instant,
    order: u64,
    slot: usize,
}

/// All flights of all links.
#[derive(Default)]
pub(super) struct Flights {
    heap: BinaryHeap<Reverse<Entry>>,
    /// The flights by slot, each with the order of the one entry that counts.
    slots: Vec<Option<(u64, Flight)>>,
    free: Vec<usize>,
    next: u64,
}

impl Flights {
    /// Books a flight, behind those that are due at the same time.
    pub(super) fn book(&mut self, due: Instant, flight: Flight) -> Ticket {
        let slot = self.free.pop().unwrap_or_else(|| {
            self.slots.push(None);
            self.slots.len() - 1
        });
        let order = self.enter(due, slot);
        self.slots[slot] = Some((order, flight));
        Ticket { slot, order }
    }

    /// Books a flight anew, if it still waits.
    pub(super) fn rebook(&mut self, ticket: Ticket, due: Instant) {
        let waits = self
            .slots
            .get(ticket.slot)
            .and_then(Option::as_ref)
            .is_some_and(|(order, _)| *order == ticket.order);
        if waits {
            let order = self.enter(due, ticket.slot);
            if let Some((counts, flight)) = &mut self.slots[ticket.slot] {
                *counts = order;
                flight.over = due;
            }
        }
    }

    fn enter(&mut self, due: Instant, slot: usize) -> u64 {
        let order = self.next;
        self.next += 1;
        self.heap.push(Reverse(Entry { due, order, slot }));
        order
    }

    /// When something is next to be looked at.
    pub(super) fn next_due(&self) -> Option<Instant> {
        self.heap.peek().map(|Reverse(entry)| entry.due)
    }

    /// Takes out the first flight that is due at `now`, with the time at which it was.
    pub(super) fn land(&mut self, now: Instant) -> Option<(Instant, Flight)> {
        while self.next_due().is_some_and(|due| due <= now) {
            let Reverse(entry) = self.heap.pop()?;
            if let Some(flight) = self.vacate(entry) {
                return Some((entry.due, flight));
            }
        }
        None
    }

    /// Takes out the flight of an entry, if the entry still counts.
    fn vacate(&mut self, entry: Entry) -> Option<Flight> {
        let slot = &mut self.slots[entry.slot];
        if slot.as_ref().is_none_or(|(order, _)| *order != entry.order) {
            return None;
        }
        self.free.push(entry.slot);
        slot.take().map(|(_, flight)| flight)
    }

    /// When the last thing that moves on a link is over; `None` where nothing moves.
    pub(super) fn last_over(&self, link: u32) -> Option<Instant> {
        self.slots
            .iter()
            .flatten()
            .filter(|(_, flight)| flight.link == link && !matches!(flight.ending, Ending::Alarm))
            .map(|(_, flight)| flight.over)
            .max()
    }

    /// Takes out every flight of a link, in the order in which they are due.
    pub(super) fn clear(&mut self, link: u32) -> Vec<(Instant, Flight)> {
        let mut entries = std::mem::take(&mut self.heap).into_vec();
        entries.sort_unstable_by_key(|Reverse(entry)| *entry);
        let mut gone = Vec::new();
        for Reverse(entry) in entries {
            let of_link = self.slots[entry.slot]
                .as_ref()
                .is_some_and(|(_, flight)| flight.link == link);
            if !of_link {
                self.heap.push(Reverse(entry));
            } else if let Some(flight) = self.vacate(entry) {
                gone.push((entry.due, flight));
            }
        }
        gone
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn flight(link: u32, id: u64, over: Instant) -> Flight {
        Flight {
            link,
            departed: over,
            over,
            ending: Ending::Vanish {
                id,
                rule: "".into(),
                reason: "".into(),
                place: 0.0,
            },
        }
    }

    fn id(flight: &Flight) -> u64 {
        match flight.ending {
            Ending::Vanish { id, .. } => id,
            _ => panic!("another flight than was booked"),
        }
    }

    fn landed(flights: &mut Flights, now: Instant) -> Vec<u64> {
        std::iter::from_fn(|| flights.land(now).map(|(_, flight)| id(&flight))).collect()
    }

    #[test]
    fn flights_land_when_due_and_in_the_order_of_booking_at_one_time() {
        let now = Instant::now();
        let mut flights = Flights::default();
        for (ms, id) in [(5, 0), (1, 1), (1, 2)] {
            let due = now + Duration::from_millis(ms);
            flights.book(due, flight(0, id, due));
        }
        assert!(landed(&mut flights, now).is_empty());
        assert_eq!(landed(&mut flights, now + Duration::from_millis(1)), [1, 2]);
        assert_eq!(landed(&mut flights, now + Duration::from_millis(9)), [0]);
    }

    #[test]
    fn a_flight_that_is_booked_anew_lands_once_and_behind_what_was_booked_before() {
        let now = Instant::now();
        let later = now + Duration::from_millis(50);
        let mut flights = Flights::default();
        let held = flights.book(later, flight(0, 1, later));
        flights.book(now, flight(0, 2, now));
        flights.rebook(held, now);
        assert_eq!(landed(&mut flights, now), [2, 1]);
        // The slot serves somebody else by now: an old ticket means nothing.
        flights.book(later, flight(0, 3, later));
        flights.rebook(held, now);
        assert!(landed(&mut flights, now).is_empty());
        assert_eq!(landed(&mut flights, later), [3]);
    }

    #[test]
    fn a_link_that_goes_takes_its_own_flights_and_leaves_the_others() {
        let now = Instant::now();
        let mut flights = Flights::default();
        for (link, id) in [(7, 1), (8, 2), (7, 3)] {
            flights.book(now, flight(link, id, now));
        }
        assert_eq!(flights.last_over(7), Some(now));
        let gone: Vec<u64> = flights.clear(7).iter().map(|(_, f)| id(f)).collect();
        assert_eq!(gone, [1, 3]);
        assert_eq!(flights.last_over(7), None);
        assert_eq!(landed(&mut flights, now), [2]);
    }
}
