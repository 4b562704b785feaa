//! Segments of one direction, put in order.
//!
//! Segments may be lost, doubled, cut differently when they are sent again, and come in any order;
//! sequence numbers begin anywhere and wrap around. Where two segments bring the same byte, the
//! one that came first counts. Bytes that come early wait; when too many wait, or when the
//! receiver has acknowledged bytes that never came by, the bytes that are missing are given up
//! and said to be missing.

use std::{borrow::Cow, collections::BTreeMap};

/// What waiting bytes may come to, in bytes.
const MAX_WAITING: usize = 262_144;

/// What one waiting piece counts for beyond its bytes, so that many small ones are bounded too.
const OVERHEAD: usize = 64;

/// The next part of a stream.
#[derive(Debug, PartialEq, Eq)]
pub enum Piece<'a> {
    /// Bytes, which follow those before them without a gap.
    Bytes {
        /// How many bytes of the stream come before.
        offset: u64,
        /// The bytes, at least one. A piece is never of two segments.
        bytes: Cow<'a, [u8]>,
    },
    /// Bytes that are missing.
    Gap {
        /// How many bytes of the stream come before.
        offset: u64,
        /// How many are missing, at least one.
        length: u64,
    },
}

/// Puts the segments of one direction in order. See the module.
#[derive(Debug)]
pub struct Reassembler {
    /// The sequence number of the stream's first byte.
    first: u32,
    /// Offset of the first byte that has not been given out.
    next: u64,
    /// Bytes that came early, by their offset. They do not overlap, and none begins at `next`.
    waiting: BTreeMap<u64, Vec<u8>>,
    /// What they come to.
    held: usize,
    /// Offset up to which the receiver has acknowledged.
    acknowledged: u64,
}

impl Reassembler {
    /// For a stream whose first byte has the sequence number `first`.
    pub const fn new(first: u32) -> Self {
        Self {
            first,
            next: 0,
            waiting: BTreeMap::new(),
            held: 0,
            acknowledged: 0,
        }
    }

    /// The sequence number of the stream's first byte.
    pub const fn first(&self) -> u32 {
        self.first
    }

    /// How many bytes were given out, or given up.
    pub const fn next(&self) -> u64 {
        self.next
    }

    /// What is kept, in bytes.
    pub const fn held(&self) -> usize {
        self.held
    }

    /// The offset that a sequence number means: the one nearest to the stream's present place.
    /// Below 0 where it lies before the stream's beginning.
    pub const fn offset(&self, seq: u32) -> i64 {
        // A stream is followed for less than 2^63 bytes.
        let distance = seq.wrapping_sub(self.first).wrapping_sub(self.next as u32) as i32;
        self.next as i64 + distance as i64
    }

    /// Takes note that the receiver has everything before `seq`. What of it never came by will
    /// not come any more; it is given up when the next segment comes. The number is one that was
    /// sent: taken at its word, a wild one would have every later gap given up at once.
    pub fn acknowledge(&mut self, seq: u32) {
        if let Ok(offset) = u64::try_from(self.offset(seq)) {
            self.acknowledged = self.acknowledged.max(offset);
        }
    }

    /// Takes a segment's payload, and gives out what has its turn by it.
    pub fn push<'a>(&mut self, seq: u32, bytes: &'a [u8], mut give: impl FnMut(Piece<'a>)) {
        let offset = self.offset(seq);
        // What comes before the stream's present place was given out already.
        let old = usize::try_from(self.next as i64 - offset).unwrap_or_default();
        let bytes = bytes.get(old..).unwrap_or_default();
        let start = offset.max(self.next as i64) as u64;
        if bytes.is_empty() {
            return;
        }
        if self.waiting.is_empty() && start == self.next {
            self.next += bytes.len() as u64;
            give(Piece::Bytes {
                offset: start,
                bytes: Cow::Borrowed(bytes),
            });
            return;
        }
        self.keep(start, bytes);
        self.drain(&mut give);
        while let Some((&begin, _)) = self.waiting.first_key_value()
            && (begin <= self.acknowledged || self.held > MAX_WAITING)
        {
            give(Piece::Gap {
                offset: self.next,
                length: begin - self.next,
            });
            self.next = begin;
            self.drain(&mut give);
        }
    }

    /// Keeps those of the bytes that do not wait yet.
    fn keep(&mut self, mut start: u64, bytes: &[u8]) {
        let begin = start;
        let end = begin + bytes.len() as u64;
        while start < end {
            let before = self.waiting.range(..=start).next_back();
            let covered = before.map_or(0, |(at, piece)| at + piece.len() as u64);
            if covered > start {
                start = covered;
                continue;
            }
            let after = self.waiting.range(start + 1..).next();
            let until = after.map_or(end, |(at, _)| end.min(*at));
            let part = (start - begin) as usize..(until - begin) as usize;
            let part = bytes.get(part).unwrap_or_default().to_vec();
            self.held += part.len() + OVERHEAD;
            self.waiting.insert(start, part);
            start = until;
        }
    }

    /// Gives out what waits at the stream's present place.
    fn drain<'a>(&mut self, give: &mut impl FnMut(Piece<'a>)) {
        while let Some(piece) = self.waiting.remove(&self.next) {
            self.held -= piece.len() + OVERHEAD;
            let offset = self.next;
            self.next += piece.len() as u64;
            give(Piece::Bytes {
                offset,
                bytes: Cow::Owned(piece),
            });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What comes out, `_` for each missing byte.
    #[derive(Default)]
    struct Out(String);

    impl Out {
        fn push(&mut self, stream: &mut Reassembler, seq: u32, bytes: &[u8]) {
            stream.push(seq, bytes, |piece| match piece {
                Piece::Bytes { offset, bytes } => {
                    assert_eq!(offset, self.0.len() as u64);
                    self.0.push_str(std::str::from_utf8(&bytes).unwrap());
                }
                Piece::Gap { offset, length } => {
                    assert_eq!(offset, self.0.len() as u64);
                    self.0.push_str(&"_".repeat(length as usize));
                }
            });
        }
    }

    /// Near the end of the number space, so that every test also crosses it.
    const FIRST: u32 = u32::MAX - 3;

    fn run(segments: &[(u32, &str)]) -> (String, Reassembler) {
        let mut stream = Reassembler::new(FIRST);
        let mut out = Out::default();
        for (at, text) in segments {
            out.push(&mut stream, FIRST.wrapping_add(*at), text.as_bytes());
        }
        (out.0, stream)
    }

    #[test]
    fn segments_in_order_come_out_as_they_are() {
        assert_eq!(run(&[(0, "abc"), (3, "def"), (6, "g")]).0, "abcdefg");
    }

    #[test]
    fn early_segments_wait_and_late_ones_release_them() {
        let (out, stream) = run(&[(6, "gh"), (3, "def")]);
        assert_eq!((out.as_str(), stream.held()), ("", 5 + 2 * OVERHEAD));
        let (out, stream) = run(&[(6, "gh"), (3, "def"), (0, "abc")]);
        assert_eq!((out.as_str(), stream.held()), ("abcdefgh", 0));
    }

    #[test]
    fn of_doubled_and_overlapping_bytes_the_first_count() {
        assert_eq!(run(&[(0, "abc"), (0, "xyz"), (1, "xyde")]).0, "abcde");
        assert_eq!(
            run(&[(3, "d"), (5, "f"), (2, "CDEFG"), (0, "ab")]).0,
            "abCdEfG"
        );
        assert_eq!(run(&[(4, "ef"), (0, "abcdEFgh")]).0, "abcdefgh");
    }

    #[test]
    fn what_lies_before_the_beginning_is_left_out() {
        let (out, _) = run(&[(u32::MAX - 1, "yzab"), (2, "c"), (u32::MAX, "z")]);
        assert_eq!(out, "abc");
    }

    #[test]
    fn acknowledged_bytes_that_never_came_are_given_up() {
        let mut stream = Reassembler::new(FIRST);
        let mut out = Out::default();
        out.push(&mut stream, FIRST, b"ab");
        out.push(&mut stream, FIRST.wrapping_add(4), b"ef");
        stream.acknowledge(FIRST.wrapping_add(6));
        assert_eq!(out.0, "ab");
        out.push(&mut stream, FIRST.wrapping_add(6), b"g");
        assert_eq!(out.0, "ab__efg");
    }

    #[test]
    fn an_acknowledged_byte_that_comes_late_is_still_taken() {
        let mut stream = Reassembler::new(FIRST);
        let mut out = Out::default();
        out.push(&mut stream, FIRST.wrapping_add(2), b"cd");
        stream.acknowledge(FIRST.wrapping_add(4));
        out.push(&mut stream, FIRST, b"ab");
        assert_eq!(out.0, "abcd");
    }

    #[test]
    fn too_many_waiting_bytes_give_the_gap_before_them_up() {
        let mut stream = Reassembler::new(FIRST);
        let segment = vec![b'x'; 1_000];
        let mut gaps = Vec::new();
        for n in 0..600 {
            let seq = FIRST.wrapping_add(1 + n * 1_001);
            stream.push(seq, &segment, |piece| {
                if let Piece::Gap { offset, length } = piece {
                    gaps.push((offset, length));
                }
            });
            assert!(stream.held() <= MAX_WAITING + 1_000 + OVERHEAD);
        }
        assert_eq!(gaps[..2], [(0, 1), (1_001, 1)]);
        assert!(gaps.len() > 300);
    }

    #[test]
    fn a_stream_longer_than_the_number_space_is_followed() {
        let mut stream = Reassembler::new(7);
        let segment = vec![0; 1 << 20];
        let mut seq = 7_u32;
        for n in 0..5_000_u64 {
            let mut given = 0;
            stream.push(seq, &segment, |piece| match piece {
                Piece::Bytes { offset, bytes } => {
                    assert_eq!(offset, n << 20);
                    given += bytes.len();
                }
                Piece::Gap { .. } => panic!("nothing is missing"),
            });
            assert_eq!(given, segment.len());
            seq = seq.wrapping_add(1 << 20);
        }
    }
}
