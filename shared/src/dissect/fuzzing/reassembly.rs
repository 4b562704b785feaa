//! The reassembler beside one that is too simple to be wrong: an array of bytes.

use crate::dissect::stream::{Piece, Reassembler};

/// How far segments reach, in bytes.
const LENGTH: usize = 1_024;

/// A stream as an array in which each byte is there or not.
struct Naive {
    bytes: Vec<Option<u8>>,
    /// How many bytes were given out or given up.
    next: usize,
    acknowledged: usize,
    given: Vec<Option<u8>>,
}

impl Naive {
    fn push(&mut self, start: isize, bytes: &[u8]) {
        let mut new = false;
        for (place, byte) in (start..).zip(bytes) {
            let Ok(place) = usize::try_from(place) else {
                continue;
            };
            if place < self.next {
                continue;
            }
            new = true;
            // The first to come counts.
            self.bytes[place].get_or_insert(*byte);
        }
        if !new {
            return;
        }
        loop {
            while let Some(Some(byte)) = self.bytes.get(self.next) {
                self.given.push(Some(*byte));
                self.next += 1;
            }
            let rest = self.bytes.get(self.next..).unwrap_or_default();
            let Some(missing) = rest.iter().position(Option::is_some) else {
                return;
            };
            if self.next + missing > self.acknowledged {
                return;
            }
            self.given.extend(vec![None; missing]);
            self.next += missing;
        }
    }
}

/// Whatever segments and acknowledgments the bytes describe, both streams give the same out.
///
/// The first four bytes are the first sequence number. Each operation takes four more: where, how
/// long and what. Segments come from one text or, now and then, contradict it.
pub(super) fn same_as_naive(input: &[u8]) {
    let Some((first, rest)) = input.split_first_chunk::<4>() else {
        return;
    };
    let first = u32::from_be_bytes(*first);
    let mut stream = Reassembler::new(first);
    let mut naive = Naive {
        bytes: vec![None; LENGTH],
        next: 0,
        acknowledged: 0,
        given: Vec::new(),
    };
    let mut given = Vec::new();
    for operation in rest.chunks_exact(4).take(512) {
        let place = usize::from(u16::from_be_bytes([operation[0], operation[1]])) % LENGTH;
        let length = usize::from(operation[2]).min(LENGTH - place);
        let kind = operation[3];
        if kind == 0 {
            // Acknowledgments reach at most half the number space ahead.
            stream.acknowledge(first.wrapping_add(place as u32));
            naive.acknowledged = naive.acknowledged.max(place);
            continue;
        }
        // A few segments begin before the stream does.
        let before = if kind == 1 { 8 } else { 0 };
        let flip = if kind > 200 { kind } else { 0 };
        let bytes: Vec<u8> = (0..length).map(|n| (place + n) as u8 ^ flip).collect();
        let start = place as isize - before;
        naive.push(start, &bytes);
        stream.push(
            first.wrapping_add(start as u32),
            &bytes,
            |piece| match piece {
                Piece::Bytes { offset, bytes } => {
                    assert_eq!(offset, given.len() as u64);
                    assert!(!bytes.is_empty());
                    given.extend(bytes.iter().copied().map(Some));
                }
                Piece::Gap { offset, length } => {
                    assert_eq!(offset, given.len() as u64);
                    assert!(length > 0);
                    given.resize(given.len() + length as usize, None);
                }
            },
        );
        assert_eq!(given.len(), naive.given.len());
        assert_eq!(stream.next(), naive.next as u64);
    }
    assert_eq!(given, naive.given);
    if naive.bytes[naive.next.min(LENGTH)..]
        .iter()
        .all(Option::is_none)
    {
        assert_eq!(stream.held(), 0);
    }
}
