//! Both directions of one connection.

use super::{Found, Shared, direction::Direction};
use crate::dissect::Protocol;

/// A segment, as far as a stream needs it.
#[derive(Debug, Clone, Copy)]
pub(in crate::dissect) struct Part<'a> {
    /// The sequence number of its first byte of payload, which is one after that of a SYN.
    pub(in crate::dissect) seq: u32,
    /// Whether it has a SYN, so that its payload begins the stream.
    pub(in crate::dissect) syn: bool,
    /// Whether the stream ends behind it.
    pub(in crate::dissect) fin: bool,
    /// Its payload.
    pub(in crate::dissect) bytes: &'a [u8],
    /// The acknowledgment number, where there is one; of what the other side has sent.
    pub(in crate::dissect) ack: Option<u32>,
}

/// Both directions of one connection.
#[derive(Debug, Default)]
pub(in crate::dissect) struct Conversation {
    sides: [Option<Box<Direction>>; 2],
    shared: Shared,
}

impl Conversation {
    /// The most that is kept for one connection, in bytes: for each direction what waits for a
    /// gap to be filled; the beginning of a message, 64 KiB of it and a segment, doubled as vectors
    /// grow; a table and a block of header fields; and the lines of the latest messages.
    #[cfg(any(test, feature = "fuzzing"))]
    pub(in crate::dissect) const MAX_HELD: usize =
        2 * (262_144 + 4 * 66_000 + (4 * 65_536 + 2 * 131_072) + 16_384);

    /// Takes a segment that side 0 or 1 sends, and gives the messages that it completes.
    pub(in crate::dissect) fn segment(&mut self, side: usize, part: Part<'_>) -> Vec<Found> {
        let other = self.sides.get_mut(1 - side.min(1)).and_then(Option::as_mut);
        if let (Some(other), Some(ack)) = (other, part.ack) {
            other.acknowledge(ack);
        }
        let Some(place) = self.sides.get_mut(side) else {
            return Vec::new();
        };
        if part.syn {
            // The SYN tells where the stream begins, whatever was thought of it before.
            let known = place.as_ref().is_some_and(|side| side.first() == part.seq);
            if !known {
                *place = Some(Box::new(Direction::new(part.seq, true)));
            }
        }
        if part.bytes.is_empty() && !part.fin {
            return Vec::new();
        }
        let direction = place.get_or_insert_with(|| Box::new(Direction::new(part.seq, false)));
        direction.segment(part.seq, part.bytes, part.fin, &mut self.shared)
    }

    /// The offset in a side's stream that a sequence number means; 0 where it is not followed.
    pub(in crate::dissect) fn offset(&self, side: usize, seq: u32) -> u64 {
        let direction = self.direction(side);
        let offset = direction.map_or(0, |direction| direction.offset(seq));
        u64::try_from(offset).unwrap_or_default()
    }

    /// The line on a message that ended in these bytes when they were sent first.
    pub(in crate::dissect) fn remembered(
        &self,
        side: usize,
        seq: u32,
        length: usize,
    ) -> Option<&str> {
        self.direction(side)?.remembered(seq, length)
    }

    /// The protocol that a side speaks, where it is known.
    pub(in crate::dissect) fn protocol(&self, side: usize) -> Option<Protocol> {
        self.direction(side)?.protocol()
    }

    /// What is kept for the connection, in bytes.
    pub(in crate::dissect) fn held(&self) -> usize {
        let sides: usize = self.sides.iter().flatten().map(|side| side.held()).sum();
        sides + self.shared.http1.held()
    }

    /// Lets go of what is kept.
    pub(in crate::dissect) fn forget(&mut self) {
        for side in self.sides.iter_mut().flatten() {
            side.forget();
        }
        self.shared = Shared::default();
    }

    /// What waits for a gap to be filled, in bytes.
    #[cfg(test)]
    pub(super) fn sides_waiting(&self) -> usize {
        self.sides.iter().flatten().map(|side| side.waiting()).sum()
    }

    fn direction(&self, side: usize) -> Option<&Direction> {
        self.sides.get(side)?.as_deref()
    }
}
