//! One direction of a connection: what its segments are in the light of those before.

use std::collections::VecDeque;

use crate::{
    dissect::tcp::{Flags, Tcp},
    event::Role,
};

/// Retransmitted ranges that are remembered for each direction of a connection, the latest.
pub(super) const MAX_RANGES: usize = 64;

/// Segments that are remembered with their roles, the latest, so that a duplicate can be named.
const MAX_REMEMBERED: usize = 8;

/// A segment's numbers, as far as its connection's history needs them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Segment {
    pub(super) seq: u32,
    /// The acknowledgment number, with ACK.
    pub(super) ack: Option<u32>,
    pub(super) syn: bool,
    pub(super) fin: bool,
    pub(super) rst: bool,
    pub(super) payload: u32,
    pub(super) shift: Option<u8>,
    /// The sender's clock and the receiver's, echoed.
    timestamps: Option<(u32, u32)>,
}

impl Segment {
    pub(super) fn new(tcp: &Tcp<'_>, payload: u32) -> Self {
        Self {
            seq: tcp.seq,
            ack: tcp.flags.has(Flags::ACK).then_some(tcp.ack),
            syn: tcp.flags.has(Flags::SYN),
            fin: tcp.flags.has(Flags::FIN),
            rst: tcp.flags.has(Flags::RST),
            payload,
            shift: tcp.window_scale(),
            timestamps: tcp.timestamps(),
        }
    }

    /// Sequence numbers that it takes: its payload, SYN and FIN count (RFC 9293, section 3.4).
    pub(super) fn length(&self) -> u32 {
        self.payload + u32::from(self.syn) + u32::from(self.fin)
    }

    pub(super) fn end(&self) -> u32 {
        self.seq.wrapping_add(self.length())
    }
}

/// Whether `a` comes before `b` (RFC 9293, section 3.4).
pub(super) fn before(a: u32, b: u32) -> bool {
    (a.wrapping_sub(b) as i32) < 0
}

/// From where the numbers of a direction are known.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) enum Known {
    /// Not at all.
    #[default]
    Nothing,
    /// From an acknowledgment of the other side.
    FromAck,
    /// From a segment, but not from its SYN.
    FromSegment,
    /// From its SYN.
    FromSyn,
}

/// One direction of a connection: what one side has sent.
#[derive(Debug, Default)]
pub(super) struct Side {
    known: Known,
    /// The number that is shown as 0: that of the SYN, or the one before the first that was seen.
    pub(super) isn: u32,
    /// The number after the highest that was sent (`SND.NXT`).
    next: u32,
    /// The highest number that the other side acknowledged.
    acked: Option<u32>,
    /// The window scale that its SYN offered.
    pub(super) shift: Option<u8>,
    /// Whether the last new bytes that were sent were one byte of payload.
    last_was_one_byte: bool,
    /// What was sent again: first number, the one after the last, and how many times.
    pub(super) again: VecDeque<(u32, u32, u32)>,
    /// Keep-alive probes in a row without an answer.
    probes: u32,
    /// Probes whose answer has not left the other side yet.
    pub(super) unanswered: u32,
    /// The first segment that the other side sent after the last probe: its clock, if it told.
    answer: Option<Option<u32>>,
    /// The latest segments and what they were.
    latest: VecDeque<(Segment, Role)>,
}

impl Side {
    /// Whether the segment is the SYN of a new connection between the same ports.
    pub(super) fn is_reopened_by(&self, segment: &Segment) -> bool {
        let opens = segment.syn && segment.ack.is_none();
        match self.known {
            Known::Nothing | Known::FromAck => false,
            Known::FromSegment => opens,
            Known::FromSyn => opens && segment.seq != self.isn,
        }
    }

    /// Takes the numbers of a direction from its first segment, and those of its SYN from there.
    pub(super) fn learn(&mut self, segment: &Segment) {
        if segment.syn {
            if self.known != Known::FromSyn || self.isn != segment.seq {
                *self = Self {
                    known: Known::FromSyn,
                    isn: segment.seq,
                    next: segment.seq,
                    ..Self::default()
                };
            }
            self.shift = segment.shift;
            return;
        }
        match self.known {
            Known::Nothing => {
                self.isn = segment.seq.wrapping_sub(1);
                self.next = segment.seq;
                self.known = Known::FromSegment;
            }
            Known::FromAck => self.known = Known::FromSegment,
            Known::FromSegment | Known::FromSyn => {}
        }
    }

    /// Takes the numbers of a direction that was not seen yet from what the other side
    /// acknowledges.
    pub(super) fn learn_from_ack(&mut self, ack: u32) {
        if self.known == Known::Nothing {
            self.known = Known::FromAck;
            self.isn = ack.wrapping_sub(1);
            self.next = ack;
        }
    }

    /// Whether everything before that number was sent.
    pub(super) fn has_sent(&self, number: u32) -> bool {
        !before(self.next, number)
    }

    /// What a segment is that this side sends; counts it.
    pub(super) fn role(&mut self, receiver: &Self, segment: &Segment) -> Role {
        if segment.rst {
            return Role::Ordinary;
        }
        if self.is_probe(segment) {
            return Role::KeepAliveProbe {
                nth: self.count_probe(segment),
            };
        }
        if segment.length() > 0 {
            if before(segment.seq, self.next) {
                return Role::Retransmission {
                    nth: self.count_again(segment.seq, segment.end()),
                };
            }
            return Role::Ordinary;
        }
        let answers = receiver.unanswered > 0
            && segment.ack == Some(receiver.next)
            && segment.ack == receiver.acked;
        if answers {
            return Role::KeepAliveAck;
        }
        Role::Ordinary
    }

    /// Whether the segment's number is one below the next and it brings nothing new
    /// (RFC 9293, section 3.8.4; a zero-window probe of Linux looks the same).
    ///
    /// A probe may carry one byte that the peer has acknowledged. So does a retransmission of a
    /// write of one byte whose acknowledgment was lost; where the last segment was such a write,
    /// that is the more likely of the two.
    pub(super) fn is_probe(&self, segment: &Segment) -> bool {
        if segment.syn || segment.fin || segment.seq.wrapping_add(1) != self.next {
            return false;
        }
        match segment.payload {
            0 => true,
            1 => self.acked == Some(self.next) && !self.last_was_one_byte,
            _ => false,
        }
    }

    fn count_probe(&mut self, segment: &Segment) -> u32 {
        if let Some(answer) = self.answer.take() {
            let reached = match (answer, segment.timestamps) {
                (Some(sent), Some((_, echoed))) => !before(echoed, sent),
                _ => true,
            };
            if reached {
                self.probes = 0;
            }
        }
        self.probes = self.probes.saturating_add(1);
        self.unanswered = self.unanswered.saturating_add(1);
        self.probes
    }

    /// How many times these numbers have been sent again, this time included.
    fn count_again(&mut self, start: u32, end: u32) -> u32 {
        let nth = self
            .again
            .iter()
            .filter(|(from, to, _)| before(*from, end) && before(start, *to))
            .map(|(_, _, times)| *times)
            .max()
            .unwrap_or_default()
            .saturating_add(1);
        self.again
            .retain(|(from, to, _)| before(*from, start) || before(end, *to));
        if self.again.len() == MAX_RANGES {
            self.again.pop_front();
        }
        self.again.push_back((start, end, nth));
        nth
    }

    /// Takes note of a segment that this side sends.
    pub(super) fn sent(&mut self, segment: &Segment, role: Role) {
        if self.latest.len() == MAX_REMEMBERED {
            self.latest.pop_front();
        }
        self.latest.push_back((segment.clone(), role));
        if segment.rst || matches!(role, Role::KeepAliveProbe { .. }) {
            return;
        }
        if before(self.next, segment.end()) {
            self.next = segment.end();
            self.last_was_one_byte = segment.payload == 1 && segment.length() == 1;
        }
    }

    /// What one of the latest segments was when it was sent.
    pub(super) fn remembered(&self, segment: &Segment) -> Option<Role> {
        let mut latest = self.latest.iter().rev();
        let (_, role) = latest.find(|(sent, _)| sent == segment)?;
        Some(*role)
    }

    /// Takes note of a segment that the other side sends.
    pub(super) fn heard(&mut self, segment: &Segment, role: Role) {
        if let Some(ack) = segment.ack {
            let advances = self.acked.is_none_or(|acked| before(acked, ack));
            if advances && self.has_sent(ack) {
                self.acked = Some(ack);
            }
        }
        // A probe of the other side is no answer: it does not even restart this side's timer.
        if matches!(role, Role::KeepAliveProbe { .. }) {
            return;
        }
        self.unanswered = match role {
            Role::KeepAliveAck => self.unanswered.saturating_sub(1),
            _ => 0,
        };
        if self.probes > 0 && self.answer.is_none() {
            self.answer = Some(segment.timestamps.map(|(value, _)| value));
        }
    }
}
