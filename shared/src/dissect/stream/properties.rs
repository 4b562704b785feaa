use proptest::prelude::*;

use super::*;
use crate::dissect::testing::{
    Talk, http1_talk, http2_talk, tls12_talk, tls13_talk, websocket_talk,
};

/// Sequence numbers of both sides' first bytes; the client's stream soon wraps around.
const FIRST: [u32; 2] = [u32::MAX - 100, 9];

fn talks() -> impl Strategy<Value = Talk> {
    prop::sample::select(vec![
        http1_talk(),
        http2_talk(),
        tls12_talk(),
        tls13_talk(),
        websocket_talk(),
    ])
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

fn whole(talk: &Talk) -> Vec<(usize, Found)> {
    messages(talk, |length| vec![(0, length)])
}

proptest! {
    #![proptest_config(ProptestConfig {
        // What fails belongs into the corpus of the fuzz target, under a name.
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn splitting_a_stream_anywhere_gives_the_same_messages(
        talk in talks(),
        sizes in prop::collection::vec(1_usize..200, 1..20),
    ) {
        let mut sizes = sizes.into_iter().cycle();
        let cut = messages(&talk, |length| {
            let mut cuts = Vec::new();
            let mut at = 0;
            while at < length {
                let size = sizes.next().unwrap_or(1);
                cuts.push((at, size));
                at += size;
            }
            cuts
        });
        prop_assert_eq!(cut, whole(&talk));
    }

    #[test]
    fn shuffled_doubled_and_overlapping_segments_give_the_same_messages(
        talk in talks(),
        size in 1_usize..150,
        overlap in 0_usize..20,
        seed in any::<u64>(),
    ) {
        let mut random = crate::dissect::testing::Random(seed);
        let cut = messages(&talk, |length| {
            let mut cuts: Vec<Cut> = (0..length)
                .step_by(size)
                .map(|at| (at.saturating_sub(overlap), size + overlap + at.min(overlap)))
                .collect();
            // Some come twice, some are lost at first; then all change places.
            for n in 0..cuts.len() {
                if random.below(3) == 0 {
                    cuts.push(cuts[n]);
                }
            }
            for n in (1..cuts.len()).rev() {
                cuts.swap(n, random.below(n + 1));
            }
            cuts
        });
        prop_assert_eq!(cut, whole(&talk));
    }

    #[test]
    fn a_lost_segment_costs_only_the_messages_that_it_touches(
        size in 20_usize..200,
        lost in 1_usize..40,
    ) {
        // Responses whose heads fit into segments of their own, so that there is always a
        // beginning to go on from.
        let response = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n";
        let mut conversation = Conversation::default();
        conversation.segment(1, part(1, 0, b"", true));
        let mut found = Vec::new();
        let step = response.len();
        let total = 40 + size;
        for n in (0..total).filter(|n| *n != lost) {
            if n == lost + 1 {
                let ack = FIRST[1].wrapping_add(((lost + 2) * step) as u32);
                let ack = Part { ack: Some(ack), ..part(0, 0, b"", false) };
                conversation.segment(0, ack);
            }
            found.extend(conversation.segment(1, part(1, n * step, response, false)));
        }
        let heads = found.iter().filter(|found| found.line() == "HTTP/1.1 200 OK").count();
        prop_assert_eq!(heads, total - 1);
        let missing = found.iter().filter(|found| found.line().ends_with("missing")).count();
        prop_assert_eq!(missing, 1);
    }

    #[test]
    fn whatever_segments_come_the_reassembler_gives_what_a_naive_one_gives(
        input in prop::collection::vec(any::<u8>(), 4..400),
    ) {
        crate::dissect::fuzzing::run("reassembly", &input);
    }

    #[test]
    fn whatever_bytes_come_cut_or_whole_they_carry_the_same_messages(
        talk in talks(),
        cut in any::<u8>(),
        damage in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..4),
    ) {
        let mut input = vec![cut, 1];
        for (side, bytes) in &talk {
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
