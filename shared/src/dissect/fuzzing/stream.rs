//! Streams, told the same however they are cut.

use crate::dissect::stream::{Conversation, Found, Part};

/// Sequence numbers of both sides' first bytes; one stream soon wraps around.
const FIRST: [u32; 2] = [u32::MAX - 5, 70];

/// Feeds a conversation, and keeps what is found until something is not understood: from there on
/// it matters where segments begin.
struct Feed {
    conversation: Conversation,
    sent: [usize; 2],
    found: Vec<(usize, Found)>,
    lost: bool,
}

impl Feed {
    fn new() -> Self {
        let mut feed = Self {
            conversation: Conversation::default(),
            sent: [0; 2],
            found: Vec::new(),
            lost: false,
        };
        for side in [0, 1] {
            feed.segment(side, b"", true, false);
        }
        feed
    }

    fn segment(&mut self, side: usize, bytes: &[u8], syn: bool, fin: bool) {
        let part = Part {
            seq: FIRST[side].wrapping_add(self.sent[side] as u32),
            syn,
            fin,
            bytes,
            ack: None,
        };
        self.sent[side] += bytes.len();
        for found in self.conversation.segment(side, part) {
            let (start, end) = found.place();
            assert!(start <= end && end <= self.sent[side] as u64);
            self.lost |= found.line().contains("not understood");
            if !self.lost {
                self.found.push((side, found));
            }
        }
    }
}

/// The first two bytes say how to cut; then come parts, each behind two bytes that tell its side
/// (the first bit) and its length. Cut or whole, the parts carry the same messages.
pub(super) fn same_however_cut(input: &[u8]) {
    let [cut, seed, parts @ ..] = input else {
        return;
    };
    let (mut whole, mut pieces) = (Feed::new(), Feed::new());
    let mut size = usize::from(*seed);
    let mut rest = parts;
    while let [high, low, after @ ..] = rest {
        let side = usize::from(high >> 7);
        let length = usize::from(u16::from_be_bytes([high & 127, *low]));
        let (part, later) = after.split_at(length.min(after.len()));
        whole.segment(side, part, false, false);
        let mut left = part;
        while !left.is_empty() {
            size = (size * 5 + 1) % (usize::from(*cut) + 1);
            let (piece, after) = left.split_at((size + 1).min(left.len()));
            pieces.segment(side, piece, false, false);
            left = after;
        }
        assert_eq!(whole.lost, pieces.lost);
        if whole.lost {
            break;
        }
        rest = later;
    }
    assert_eq!(whole.found, pieces.found);
    if !whole.lost {
        for side in [0, 1] {
            whole.segment(side, b"", false, true);
            pieces.segment(side, b"", false, true);
        }
        assert_eq!(whole.found, pieces.found);
    }
    assert!(whole.conversation.held() <= Conversation::MAX_HELD);
}
