//! What the kernels told of their sockets: a history for the table, and states for the bands.
//!
//! Sockets are observed by sampling, so a state shorter than the sampling interval may be missing;
//! nothing is made up for it.

use std::{
    collections::{HashMap, HashSet},
    net::SocketAddr,
};

use crate::event::{HostName, SocketSnapshot, TcpState};

/// How many connections have bands side by side along one lifeline.
pub const BAND_SLOTS: usize = 4;

/// One line of the sockets table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SocketRow<'a> {
    /// Whose kernel told it.
    pub host: HostName,
    /// Names the connection: its client's port, `-` for a listener.
    pub connection: &'a str,
    /// When it was told, in microseconds; timers have run on since.
    pub at_us: u64,
    /// What was told.
    pub snapshot: &'a SocketSnapshot,
}

/// A state that lasted, along a lifeline.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct StateSpan {
    pub(super) start: u64,
    /// `None` while it lasts.
    pub(super) end: Option<u64>,
    pub(super) state: TcpState,
    /// The index of the socket's life.
    pub(super) life: usize,
}

/// What is known of one socket over the run.
#[derive(Debug, Clone)]
struct Life {
    host: HostName,
    connection: String,
    /// Sorted by time; `None` once the socket was gone.
    history: Vec<(u64, Option<Box<SocketSnapshot>>)>,
    state: Option<TcpState>,
    place: Place,
}

/// Where a socket's bands stand.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    Unassigned,
    Slot(usize),
    /// A newer connection took the slot.
    Evicted,
}

/// A change of state as the text diagram tells it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct StateChange {
    pub(super) host: HostName,
    pub(super) connection: String,
    pub(super) from: Option<TcpState>,
    pub(super) to: TcpState,
}

#[derive(Debug, Clone, Default)]
pub(super) struct Sockets {
    lives: Vec<Life>,
    by_address: HashMap<(HostName, SocketAddr, SocketAddr), usize>,
    listeners: HashSet<(HostName, u16)>,
    /// Per host and slot: states that do not overlap, sorted.
    slots: [[Vec<StateSpan>; BAND_SLOTS]; 3],
}

const fn lane(host: HostName) -> usize {
    match host {
        HostName::Client => 0,
        HostName::Proxy => 1,
        HostName::Server => 2,
    }
}

impl Sockets {
    /// Takes a snapshot; says which state it changed, if it did.
    pub(super) fn snapshot(
        &mut self,
        host: HostName,
        at_us: u64,
        snapshot: &SocketSnapshot,
    ) -> Option<StateChange> {
        let life = self.life(host, snapshot.local, snapshot.remote, snapshot.state);
        remember(&mut self.lives[life].history, at_us, Some(snapshot.clone()));
        self.change(life, at_us, snapshot.state)
    }

    /// Takes the news that a socket is gone.
    pub(super) fn gone(
        &mut self,
        host: HostName,
        at_us: u64,
        local: SocketAddr,
        remote: SocketAddr,
    ) -> Option<StateChange> {
        let life = *self.by_address.get(&(host, local, remote))?;
        remember(&mut self.lives[life].history, at_us, None);
        let change = self.change(life, at_us, TcpState::Closed);
        self.lives[life].state = None;
        change
    }

    /// A host has lost its power. Its kernel's last word tells of connections alone, but nobody
    /// listens there either.
    pub(super) fn lose_listeners(&mut self, host: HostName, at_us: u64) {
        for life in &mut self.lives {
            let listens = |(_, told): &(u64, Option<Box<SocketSnapshot>>)| {
                told.as_ref()
                    .is_some_and(|told| told.state == TcpState::Listen)
            };
            if life.host == host && life.history.last().is_some_and(listens) {
                remember(&mut life.history, at_us, None);
            }
        }
    }

    fn life(
        &mut self,
        host: HostName,
        local: SocketAddr,
        remote: SocketAddr,
        state: TcpState,
    ) -> usize {
        if state == TcpState::Listen {
            self.listeners.insert((host, local.port()));
        }
        let accepted = host == HostName::Server || self.listeners.contains(&(host, local.port()));
        *self
            .by_address
            .entry((host, local, remote))
            .or_insert_with(|| {
                let connection = match (state, accepted) {
                    (TcpState::Listen, _) => "-".to_owned(),
                    (_, true) => remote.port().to_string(),
                    (_, false) => local.port().to_string(),
                };
                self.lives.push(Life {
                    host,
                    connection,
                    history: Vec::new(),
                    state: None,
                    place: Place::Unassigned,
                });
                self.lives.len() - 1
            })
    }

    fn change(&mut self, life: usize, at_us: u64, to: TcpState) -> Option<StateChange> {
        if to == TcpState::Listen || self.lives[life].state == Some(to) {
            return None;
        }
        let from = self.lives[life].state.replace(to);
        self.end_band(life, at_us);
        if to == TcpState::Closed {
            self.lives[life].place = Place::Unassigned;
        } else {
            self.begin_band(life, at_us, to);
        }
        Some(StateChange {
            host: self.lives[life].host,
            connection: self.lives[life].connection.clone(),
            from,
            to,
        })
    }

    fn end_band(&mut self, life: usize, at_us: u64) {
        let Life { host, place, .. } = &self.lives[life];
        if let Place::Slot(slot) = place
            && let Some(last) = self.slots[lane(*host)][*slot].last_mut()
            && last.life == life
        {
            last.end.get_or_insert(at_us.max(last.start));
        }
    }

    /// Takes the connection's slot, or the first free one, or that of the oldest connection, whose
    /// bands end here for good: it stays in the table.
    fn begin_band(&mut self, life: usize, at_us: u64, state: TcpState) {
        let host = self.lives[life].host;
        let slots = &mut self.slots[lane(host)];
        let slot = match self.lives[life].place {
            Place::Slot(slot) => slot,
            Place::Unassigned => free_slot(slots),
            Place::Evicted => return,
        };
        let mut start = at_us;
        if let Some(last) = slots[slot].last_mut() {
            // Samples of one kernel come in order; a damaged stream must not break the sorting.
            start = start.max(*last.end.get_or_insert(at_us.max(last.start)));
            if last.life != life && self.lives[last.life].place == Place::Slot(slot) {
                self.lives[last.life].place = Place::Evicted;
            }
        }
        slots[slot].push(StateSpan {
            start,
            end: None,
            state,
            life,
        });
        self.lives[life].place = Place::Slot(slot);
    }

    /// The table as it stood at `at_us`, in the order in which sockets appeared.
    pub(super) fn at(&self, at_us: u64) -> Vec<SocketRow<'_>> {
        self.lives
            .iter()
            .filter_map(|life| {
                let known = life.history.partition_point(|(time, _)| *time <= at_us);
                let (told, snapshot) = &life.history[known.checked_sub(1)?];
                Some(SocketRow {
                    host: life.host,
                    connection: &life.connection,
                    at_us: *told,
                    snapshot: snapshot.as_deref()?,
                })
            })
            .collect()
    }

    /// The states in a slot that touch `first..=last`.
    pub(super) fn states(
        &self,
        host: HostName,
        slot: usize,
        first: u64,
        last: u64,
    ) -> &[StateSpan] {
        let spans = &self.slots[lane(host)][slot];
        let lower = spans.partition_point(|span| span.end.is_some_and(|end| end < first));
        let upper = spans.partition_point(|span| span.start <= last);
        &spans[lower..upper.max(lower)]
    }

    /// How many slots a host has used so far.
    pub(super) fn slots_used(&self, host: HostName) -> usize {
        self.slots[lane(host)]
            .iter()
            .rposition(|spans| !spans.is_empty())
            .map_or(0, |last| last + 1)
    }

    pub(super) fn connection(&self, life: usize) -> &str {
        &self.lives[life].connection
    }
}

/// The first slot whose last state is over, else the one whose connection came first.
fn free_slot(slots: &[Vec<StateSpan>; BAND_SLOTS]) -> usize {
    slots
        .iter()
        .position(|spans| spans.last().is_none_or(|last| last.end.is_some()))
        .or_else(|| (0..BAND_SLOTS).min_by_key(|slot| slots[*slot].last().map(|last| last.life)))
        .unwrap_or(0)
}

fn remember(
    history: &mut Vec<(u64, Option<Box<SocketSnapshot>>)>,
    at_us: u64,
    snapshot: Option<SocketSnapshot>,
) {
    let at = history.partition_point(|(time, _)| *time <= at_us);
    history.insert(at, (at_us, snapshot.map(Box::new)));
}
