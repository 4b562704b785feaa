//! A connection as a middlebox knows it: in which phase it is, and what either end has said last.
//!
//! ```text
//!            SYN            SYN,ACK and its ACK        FIN each way      both acknowledged
//! (nothing) ----> Opening --------------------> Established ------> Closing ---------------> Closed
//!                    '------------------------------'------------------'---------- RST --------^
//! ```
//!
//! One FIN leaves a connection established: the other direction may go on for as long as it likes
//! (as in RFC 6146, section 3.5.2.2). A closed connection is kept for its transitory limit, so that
//! what was on its way, and what is sent again, still passes.

use std::net::SocketAddrV4;

use linger_shared::dissect::tcp::Flags;

use crate::wire::craft::{Draft, Segment};

/// Where a connection stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Phase {
    /// Its opening is not complete.
    Opening,
    /// Both ends may send.
    Established,
    /// Either end has said that it is done.
    Closing,
    /// It is over, but not yet forgotten.
    Closed,
    /// The box itself has closed it, and answers for either end.
    Ended,
}

/// Which end of a connection a segment comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Side {
    /// The end that opened it.
    Inside,
    /// The other.
    Outside,
}

/// What an end has said last.
#[derive(Debug, Clone, Copy, Default)]
struct End {
    /// What it has acknowledged: where it expects the next byte.
    expects: Option<u32>,
    /// Its window, unscaled.
    window: u16,
    /// Its newest clock (RFC 7323).
    clock: Option<u32>,
    /// Whether it has sent a SYN.
    syn: bool,
    /// The number after its FIN.
    fin: Option<u32>,
    /// Whether the other end has acknowledged that.
    fin_acknowledged: bool,
}

/// A TCP connection.
#[derive(Debug, Clone)]
pub(super) struct Connection {
    pub(super) phase: Phase,
    inside: End,
    outside: End,
}

impl Connection {
    /// A connection of which nothing was seen yet.
    pub(super) fn new() -> Self {
        Self {
            phase: Phase::Opening,
            inside: End::default(),
            outside: End::default(),
        }
    }

    /// Learns from a segment that passes.
    pub(super) fn learn(&mut self, from: Side, segment: &Segment<'_>) {
        if self.phase == Phase::Closed {
            return;
        }
        if segment.flags.has(Flags::RST) {
            self.phase = Phase::Closed;
            return;
        }
        let (sender, receiver) = match from {
            Side::Inside => (&mut self.inside, &mut self.outside),
            Side::Outside => (&mut self.outside, &mut self.inside),
        };
        sender.window = segment.window;
        if let Some((clock, _)) = segment.timestamps() {
            sender.clock = Some(clock);
        }
        if segment.flags.has(Flags::ACK) {
            // An old segment that comes late takes nothing back.
            if sender
                .expects
                .is_none_or(|known| reached(segment.ack, known))
            {
                sender.expects = Some(segment.ack);
            }
            if receiver.fin.is_some_and(|fin| reached(segment.ack, fin)) {
                receiver.fin_acknowledged = true;
            }
        }
        if segment.flags.has(Flags::SYN) {
            sender.syn = true;
        }
        if segment.flags.has(Flags::FIN) {
            sender.fin = Some(segment.end());
        }
        let opener_answers =
            from == Side::Inside && segment.flags.has(Flags::ACK) && !segment.flags.has(Flags::SYN);
        if self.phase == Phase::Opening && self.outside.syn && opener_answers {
            self.phase = Phase::Established;
        }
        if self.inside.fin.is_some() && self.outside.fin.is_some() {
            let over = self.inside.fin_acknowledged && self.outside.fin_acknowledged;
            self.phase = if over { Phase::Closed } else { Phase::Closing };
        }
    }

    /// What ends the connection for one of its ends, in the other's name, at the number that it
    /// expects. `None` where that end has acknowledged nothing yet.
    pub(super) fn ending(
        &self,
        to: Side,
        (inside, outside): (SocketAddrV4, SocketAddrV4),
        flag: Flags,
    ) -> Option<Box<[u8]>> {
        let (receiver, sender, from, address) = match to {
            Side::Inside => (&self.inside, &self.outside, outside, inside),
            Side::Outside => (&self.outside, &self.inside, inside, outside),
        };
        let politely = flag == Flags::FIN;
        Draft {
            from,
            to: address,
            seq: receiver.expects?,
            ack: sender.expects.filter(|_| politely),
            flags: flag,
            window: sender.window,
            timestamps: sender.clock.zip(receiver.clock).filter(|_| politely),
            payload: &[],
        }
        .packet()
    }

    /// What the box answers in the other end's name after it has closed the connection itself: a
    /// FIN is acknowledged, data meets an RST, and an ACK needs no answer.
    pub(super) fn answer_after_end(&self, segment: &Segment<'_>) -> Option<Box<[u8]>> {
        if segment.flags.has(Flags::RST) || segment.flags.has(Flags::SYN) {
            return None;
        }
        if !segment.payload.is_empty() {
            return crate::wire::craft::reset_sender(segment);
        }
        if !segment.flags.has(Flags::FIN) {
            return None;
        }
        Draft {
            from: segment.dst,
            to: segment.src,
            seq: segment.ack,
            ack: Some(segment.end()),
            flags: Flags::default(),
            window: segment.window,
            timestamps: segment.timestamps().map(|(clock, echo)| (echo, clock)),
            payload: &[],
        }
        .packet()
    }
}

/// Whether a sequence number is at or behind another (RFC 9293, section 3.4).
fn reached(number: u32, mark: u32) -> bool {
    number.wrapping_sub(mark) < 1 << 31
}
