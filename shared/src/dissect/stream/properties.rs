//! What must hold for whatever segments carry a conversation: cut anywhere, lost, doubled,
//! overlapping, out of order, and sent again in other pieces.
//!
//! Each property tries 256 cases, or as many as PROPTEST_CASES says. What ten million of each find,
//! the release build tells in under an hour, one property after the other:
//!
//! ```text
//! PROPTEST_CASES=10000000 cargo test --release -p linger-shared --lib -- stream::properties --test-threads=1
//! ```

use std::sync::LazyLock;

use proptest::prelude::*;

use super::*;
use crate::dissect::testing::{
    Random, Talk, http1_talk, http2_talk, tls12_talk, tls13_talk, websocket_talk,
};

/// Sequence numbers of both sides' first bytes; the client's stream soon wraps around.
const FIRST: [u32; 2] = [u32::MAX - 100, 9];

/// A talk, and the messages that it carries when each part of it comes in one segment.
#[derive(Debug)]
struct Known {
    talk: Talk,
    messages: Vec<(usize, Found)>,
}

/// A talk of every protocol. Worked out once, as many cases ask for it.
static TALKS: LazyLock<Vec<Known>> = LazyLock::new(|| {
    let talks = [
        http1_talk(),
        http2_talk(),
        tls12_talk(),
        tls13_talk(),
        websocket_talk(),
    ];
    let known = |talk: Talk| Known {
        messages: messages(&talk, |length| vec![(0, length)]),
        talk,
    };
    talks.into_iter().map(known).collect()
});

fn talks() -> impl Strategy<Value = &'static Known> {
    (0..TALKS.len()).prop_map(|index| &TALKS[index])
}

/// A segment of one side: where it begins in its stream, and how long it is.
type Cut = (usize, usize);

/// Feeds a conversation, part after part of the talk; `cuts` says which segments of a part of that
/// length are sent, and in which order.
fn messages(talk: &Talk, mut cuts: impl FnMut(usize) -> Vec<Cut>) -> Vec<(usize, Found)> {
    let mut conversation = Conversation::default();
    let mut sent = [0; 2];
    let mut all = Vec::new();
    for side in [0, 1] {
        conversation.segment(side, part(side, 0, b"", true));
    }
    for (side, bytes) in talk {
        for (at, length) in cuts(bytes.len()) {
            let end = (at + length).min(bytes.len());
            let segment = part(*side, sent[*side] + at, &bytes[at..end], false);
            let found = conversation.segment(*side, segment);
            all.extend(found.into_iter().map(|found| (*side, found)));
        }
        sent[*side] += bytes.len();
    }
    assert_eq!(conversation.sides_waiting(), 0);
    all
}

fn part(side: usize, at: usize, bytes: &[u8], syn: bool) -> Part<'_> {
    Part {
        seq: FIRST[side].wrapping_add(at as u32),
        syn,
        fin: false,
        bytes,
        ack: None,
    }
}

/// Segments of at most `size` bytes that carry a part of that length, one after the other.
fn cuts(length: usize, size: usize) -> Vec<Cut> {
    (0..length).step_by(size).map(|at| (at, size)).collect()
}

/// Operations on a reassembler, as the fuzz target has them: acknowledgments, segments that begin
/// before their stream does, segments of one text, and segments that contradict it.
fn kinds() -> impl Strategy<Value = u8> {
    prop::sample::select(&[0, 0, 1, 2, 2, 2, 2, 2, 201, 202][..])
}

fn shuffle(cuts: &mut [Cut], random: &mut Random) {
    for n in (1..cuts.len()).rev() {
        cuts.swap(n, random.below(n + 1));
    }
}

proptest! {
    #![proptest_config(ProptestConfig {
        // What fails belongs into the corpus of the fuzz target, under a name.
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn splitting_a_stream_anywhere_gives_the_same_messages(
        known in talks(),
        sizes in prop::collection::vec(1_usize..200, 1..20),
    ) {
        let mut sizes = sizes.into_iter().cycle();
        let cut = messages(&known.talk, |length| {
            let mut cuts = Vec::new();
            let mut at = 0;
            while at < length {
                let size = sizes.next().unwrap_or(1);
                cuts.push((at, size));
                at += size;
            }
            cuts
        });
        prop_assert_eq!(&cut, &known.messages);
    }

    #[test]
    fn shuffled_doubled_and_overlapping_segments_give_the_same_messages(
        known in talks(),
        size in 1_usize..150,
        overlap in 0_usize..20,
        seed in any::<u64>(),
    ) {
        let mut random = Random(seed);
        let cut = messages(&known.talk, |length| {
            let mut cuts: Vec<Cut> = (0..length)
                .step_by(size)
                .map(|at| (at.saturating_sub(overlap), size + overlap + at.min(overlap)))
                .collect();
            // Some come twice; then all change places.
            for n in 0..cuts.len() {
                if random.below(3) == 0 {
                    cuts.push(cuts[n]);
                }
            }
            shuffle(&mut cuts, &mut random);
            cuts
        });
        prop_assert_eq!(&cut, &known.messages);
    }

    #[test]
    fn lost_segments_that_are_sent_again_in_other_pieces_give_the_same_messages(
        known in talks(),
        sizes in prop::array::uniform3(1_usize..150),
        loss in 1_usize..10,
        in_order in any::<bool>(),
        seed in any::<u64>(),
    ) {
        let mut random = Random(seed);
        let cut = messages(&known.talk, |length| {
            let mut sent = Vec::new();
            for (round, size) in sizes.into_iter().enumerate() {
                let mut segments = cuts(length, size);
                // From wherever the sender goes back to; the last round goes back to the beginning
                // and loses nothing.
                if round < 2 {
                    let back = random.below(segments.len() + 1);
                    segments.drain(..back);
                    segments.retain(|_| random.below(10) >= loss);
                }
                if !in_order {
                    shuffle(&mut segments, &mut random);
                }
                sent.extend(segments);
            }
            sent
        });
        prop_assert_eq!(&cut, &known.messages);
    }

    #[test]
    fn a_lost_segment_costs_only_the_messages_that_it_touches(
        before in 1_usize..8,
        after in 2_usize..8,
        lengths in prop::collection::vec(0_usize..60, 16),
    ) {
        // A response in each segment, so that there is always a beginning to go on from.
        let responses: Vec<Vec<u8>> = lengths
            .iter()
            .map(|length| {
                let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n\r\n");
                [head.as_bytes(), &vec![b'x'; *length]].concat()
            })
            .collect();
        let mut conversation = Conversation::default();
        conversation.segment(1, part(1, 0, b"", true));
        let mut found = Vec::new();
        let mut at = 0;
        for (n, response) in responses.iter().take(before + 1 + after).enumerate() {
            if n != before {
                found.extend(conversation.segment(1, part(1, at, response, false)));
            }
            at += response.len();
            if n == before + 1 {
                // The receiver has it nevertheless, so it is not waited for.
                let ack = Some(FIRST[1].wrapping_add(at as u32));
                conversation.segment(0, Part { ack, ..part(0, 0, b"", false) });
            }
        }
        let heads = found.iter().filter(|found| found.line() == "HTTP/1.1 200 OK").count();
        prop_assert_eq!(heads, before + after);
        let missing = format!("{} B missing", responses[before].len());
        let gaps: Vec<_> = found.iter().filter(|found| found.text.contains("missing")).collect();
        prop_assert_eq!(gaps.len(), 1);
        prop_assert_eq!(&gaps[0].text, &missing);
    }

    #[test]
    fn whatever_segments_come_the_reassembler_gives_what_a_naive_one_gives(
        first in any::<u32>(),
        // Where everything lies at multiples of eight, segments and acknowledgments often meet.
        unit in prop::sample::select(&[1_u16, 8][..]),
        operations in prop::collection::vec((0_u16..128, 0_u8..32, kinds()), 1..60),
    ) {
        let mut input = first.to_be_bytes().to_vec();
        for (place, length, kind) in operations {
            input.extend_from_slice(&(place * unit).to_be_bytes());
            input.extend_from_slice(&[length * unit as u8, kind]);
        }
        crate::dissect::fuzzing::run("reassembly", &input);
    }

    #[test]
    fn whatever_bytes_come_cut_or_whole_they_carry_the_same_messages(
        known in talks(),
        cut in any::<u8>(),
        damage in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..4),
    ) {
        let mut input = vec![cut, 1];
        for (side, bytes) in &known.talk {
            let header = bytes.len() as u16 | (*side as u16) << 15;
            input.extend_from_slice(&header.to_be_bytes());
            input.extend_from_slice(bytes);
        }
        for (index, byte) in damage {
            let at = index.index(input.len());
            input[at] = byte;
        }
        crate::dissect::fuzzing::run("stream", &input);
    }
}
