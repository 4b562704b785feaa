//! One direction of a connection: segments in, messages out.

use std::collections::VecDeque;

use super::{
    Found, Piece, Reassembler, Shared,
    machine::{Front, MAX_PENDING, Machine, Step},
    recognise::{Recognise, beginning},
};
use crate::dissect::Protocol;

/// Messages that are remembered by their place, so that a segment that is sent again can be named.
const REMEMBERED: usize = 16;

/// One direction of a connection.
#[derive(Debug)]
pub(super) struct Direction {
    stream: Reassembler,
    machine: Machine,
    /// The beginning of a message whose end has not come.
    pending: Vec<u8>,
    /// How long `pending` must be before anything can be done with it.
    need: usize,
    /// Offset at which the stream ends, once a FIN told it.
    end: Option<u64>,
    finished: bool,
    /// Places and lines of the latest messages.
    recent: VecDeque<(u64, u64, String)>,
    /// What those take, in bytes.
    remembered: usize,
}

impl Direction {
    /// For a stream that begins with sequence number `first`. `from_syn` tells whether this is
    /// really its beginning.
    pub(super) fn new(first: u32, from_syn: bool) -> Self {
        Self {
            stream: Reassembler::new(first),
            machine: match from_syn {
                true => Machine::Recognise(Recognise),
                false => Machine::Searching(None),
            },
            pending: Vec::new(),
            need: 0,
            end: None,
            finished: false,
            recent: VecDeque::new(),
            remembered: 0,
        }
    }

    pub(super) const fn first(&self) -> u32 {
        self.stream.first()
    }

    pub(super) const fn offset(&self, seq: u32) -> i64 {
        self.stream.offset(seq)
    }

    pub(super) fn acknowledge(&mut self, seq: u32) {
        self.stream.acknowledge(seq);
    }

    pub(super) const fn protocol(&self) -> Option<Protocol> {
        self.machine.protocol()
    }

    /// What is kept, in bytes.
    pub(super) fn held(&self) -> usize {
        self.stream.held() + self.pending.capacity() + self.machine.held() + self.remembered
    }

    /// What waits for a gap to be filled, in bytes.
    #[cfg(test)]
    pub(super) const fn waiting(&self) -> usize {
        self.stream.held()
    }

    /// Lets go of everything that is kept. What follows begins with a gap.
    pub(super) fn forget(&mut self) {
        let protocol = self.machine.protocol();
        self.machine = Machine::Searching(protocol);
        self.pending = Vec::new();
        self.recent = VecDeque::new();
        self.remembered = 0;
        // A new stream of the same numbers, at the same place.
        let next = self.stream.next();
        self.stream = Reassembler::new(self.stream.first().wrapping_add(next as u32));
        self.end = None;
    }

    /// Takes a segment. `fin` tells that the stream ends behind it.
    pub(super) fn segment(
        &mut self,
        seq: u32,
        bytes: &[u8],
        fin: bool,
        shared: &mut Shared,
    ) -> Vec<Found> {
        let mut out = Vec::new();
        if fin {
            let end = self.stream.offset(seq).saturating_add(bytes.len() as i64);
            self.end = self.end.or(u64::try_from(end).ok());
        }
        // The stream lends itself to the closure's caller, so its pieces are collected first; in
        // order, there is one, and it is borrowed.
        let mut pieces = Vec::new();
        self.stream.push(seq, bytes, |piece| pieces.push(piece));
        for piece in pieces {
            match piece {
                Piece::Bytes { offset, bytes } => self.feed(offset, &bytes, shared, &mut out),
                Piece::Gap { offset, length } => self.gap(offset, length, &mut out),
            }
        }
        if self.end.is_some_and(|end| end <= self.stream.next()) && !self.finished {
            self.finished = true;
            let unfinished = self.machine.finish(self.pending.len(), self.stream.next());
            out.extend(unfinished);
        }
        for found in &out[out.len().saturating_sub(REMEMBERED)..] {
            if self.recent.len() == REMEMBERED
                && let Some(oldest) = self.recent.pop_front()
            {
                self.remembered -= size(&oldest);
            }
            let (start, end) = found.place();
            let latest = (start, end, found.line());
            self.remembered += size(&latest);
            self.recent.push_back(latest);
        }
        out
    }

    /// The line on the first remembered message that ends within these bytes of the stream.
    pub(super) fn remembered(&self, seq: u32, length: usize) -> Option<&str> {
        let begin = self.stream.offset(seq);
        let end = begin.saturating_add(length as i64);
        let line = self.recent.iter().find(|(_, over, _)| {
            let over = *over as i64;
            begin < over && over <= end
        });
        line.map(|(_, _, line)| line.as_str())
    }

    fn feed(&mut self, offset: u64, bytes: &[u8], shared: &mut Shared, out: &mut Vec<Found>) {
        if let Machine::Searching(protocol) = self.machine
            && let Some(machine) = beginning(protocol, bytes)
        {
            self.machine = machine;
        }
        if self.pending.is_empty() {
            let took = self.run(offset, bytes, shared, out);
            self.pending
                .extend_from_slice(bytes.get(took..).unwrap_or_default());
            return;
        }
        self.pending.extend_from_slice(bytes);
        if self.pending.len() < self.need {
            return;
        }
        let pending = std::mem::take(&mut self.pending);
        let begin = offset + bytes.len() as u64 - pending.len() as u64;
        let took = self.run(begin, &pending, shared, out);
        self.pending = pending;
        self.pending.drain(..took.min(self.pending.len()));
        if self.pending.is_empty() {
            // Most connections are silent most of the time.
            self.pending = Vec::new();
        }
    }

    /// Lets the machine take what it can, and gives how much that was.
    fn run(&mut self, at: u64, bytes: &[u8], shared: &mut Shared, out: &mut Vec<Found>) -> usize {
        let mut took = 0;
        // A machine may hand over to another without taking anything, but not for ever.
        let mut handed_over = 0;
        while let Some(front) = bytes.get(took..)
            && !front.is_empty()
        {
            let front = Front {
                bytes: front,
                at: at + took as u64,
            };
            match self.machine.step(&front, shared, out) {
                Step::Took(count) if count > 0 => {
                    took += count.min(front.bytes.len());
                    handed_over = 0;
                }
                Step::Need(count) if count > front.bytes.len() && count <= MAX_PENDING => {
                    self.need = count;
                    break;
                }
                Step::Become(machine) if handed_over < 4 => {
                    self.machine = machine;
                    handed_over += 1;
                }
                Step::Lost(why) => {
                    self.lose(why, front.at, out);
                    return bytes.len();
                }
                Step::Took(_) | Step::Need(_) | Step::Become(_) => {
                    self.lose("a message too long to be kept", front.at, out);
                    return bytes.len();
                }
            }
        }
        took
    }

    fn lose(&mut self, why: &'static str, at: u64, out: &mut Vec<Found>) {
        let protocol = self.machine.protocol();
        self.machine = match protocol {
            Some(protocol) => {
                out.push(Found::new(
                    protocol,
                    format!("not understood: {why}"),
                    at,
                    at,
                ));
                Machine::Searching(Some(protocol))
            }
            None => Machine::Unknown,
        };
    }

    fn gap(&mut self, offset: u64, length: u64, out: &mut Vec<Found>) {
        let kept = self.pending.is_empty() && self.machine.pass_over(length);
        self.pending = Vec::new();
        let protocol = self.machine.protocol();
        if let Some(protocol) = protocol {
            let text = format!("{length} B missing");
            out.push(Found::new(protocol, text, offset, offset + length));
        }
        if !kept {
            self.machine = Machine::Searching(protocol);
        }
    }
}

/// What a remembered message takes, in bytes.
const fn size(message: &(u64, u64, String)) -> usize {
    size_of::<(u64, u64, String)>() + message.2.capacity()
}
