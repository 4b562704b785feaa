//! Everything that came of one run: its events, and the model of them that is drawn.
//!
//! A record only grows. It is shared between the states of the page instead of being copied with
//! each of them; a revision number tells the states apart.

use std::{
    cell::{Ref, RefCell},
    rc::Rc,
};

use linger_shared::{
    diagram::Model,
    event::{Event, Header},
};

use super::force::InForce;

/// The events of a run and their model.
#[derive(Debug)]
pub struct Record {
    model: Model,
    /// Shared with the replays that show a part of them.
    events: Vec<Rc<Event>>,
    in_force: InForce,
}

impl Record {
    /// A record without events.
    pub fn new(header: &Header) -> Self {
        Self {
            model: Model::new(header),
            events: Vec::new(),
            in_force: InForce::default(),
        }
    }

    /// Takes the events that are new: those with the next expected numbers. Others are passed
    /// over, so that pushing a batch twice is the same as pushing it once.
    pub fn push(&mut self, events: impl IntoIterator<Item = Rc<Event>>) {
        for event in events {
            if event.seq == self.events.len() as u64 {
                self.in_force.take(&event);
                self.model.push(&event);
                self.events.push(event);
            }
        }
    }

    /// What is drawn.
    pub fn model(&self) -> &Model {
        &self.model
    }

    /// The event with this number.
    pub fn event(&self, seq: u64) -> Option<&Event> {
        self.events
            .get(usize::try_from(seq).ok()?)
            .map(AsRef::as_ref)
    }

    /// The events from a number on.
    pub fn events_from(&self, seq: usize) -> &[Rc<Event>] {
        self.events.get(seq..).unwrap_or_default()
    }

    /// How many events there are.
    pub fn len(&self) -> usize {
        self.events.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.events.is_empty()
    }

    /// What is in force after the last event.
    pub fn in_force(&self) -> &InForce {
        &self.in_force
    }
}

/// A record as one state of the page knows it.
#[derive(Debug, Clone)]
pub struct Shared {
    record: Rc<RefCell<Record>>,
    revision: u64,
}

impl Shared {
    /// A new record.
    pub fn new(header: &Header) -> Self {
        Self {
            record: Rc::new(RefCell::new(Record::new(header))),
            revision: 0,
        }
    }

    /// Takes a batch and becomes the next revision.
    pub fn push(&mut self, events: Vec<Event>) {
        self.push_known(events.into_iter().map(Rc::new));
    }

    /// Takes events that another record has.
    pub fn push_known(&mut self, events: impl IntoIterator<Item = Rc<Event>>) {
        self.record.borrow_mut().push(events);
        self.revision += 1;
    }

    /// The record, for as long as one frame or one reduction takes.
    pub fn borrow(&self) -> Ref<'_, Record> {
        self.record.borrow()
    }

    /// Grows with every batch.
    pub fn revision(&self) -> u64 {
        self.revision
    }
}

impl PartialEq for Shared {
    fn eq(&self, other: &Self) -> bool {
        Rc::ptr_eq(&self.record, &other.record) && self.revision == other.revision
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::state::samples;

    #[test]
    fn a_batch_that_comes_twice_counts_once() {
        let mut shared = Shared::new(&samples::header());
        let events = samples::handshake();
        shared.push(events.clone());
        let counts = shared.borrow().model().counts();
        shared.push(events.clone());
        assert_eq!(shared.borrow().len(), events.len());
        assert_eq!(shared.borrow().model().counts(), counts);
    }

    #[test]
    fn events_after_a_gap_are_passed_over() {
        let mut shared = Shared::new(&samples::header());
        shared.push(samples::handshake().split_off(2));
        assert!(shared.borrow().is_empty());
    }

    #[test]
    fn revisions_tell_states_of_one_record_apart() {
        let mut shared = Shared::new(&samples::header());
        let before = shared.clone();
        assert_eq!(before, shared);
        shared.push(samples::handshake());
        assert_ne!(before, shared);
    }
}
