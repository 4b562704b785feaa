//! What the machine of a protocol does with a stream, step by step.

use super::{
    Found, Shared, http1::Http1, http2::Http2, recognise::Recognise, tls::Tls, websocket::WebSocket,
};
use crate::dissect::Protocol;

/// Bytes that a machine may ask to be kept for it at once.
pub(super) const MAX_PENDING: usize = 65_536 + 64;

/// What became of the bytes at the front of a stream.
pub(super) enum Step {
    /// So many were taken, at least one.
    Took(usize),
    /// Nothing can be done before there are so many, more than there are.
    Need(usize),
    /// Another machine goes on with them.
    Become(Machine),
    /// They are not what they should be: what follows cannot be told any more.
    Lost(&'static str),
}

/// Where a machine's step stands.
pub(super) struct Front<'a> {
    /// The bytes at the front of the stream, at least one.
    pub(super) bytes: &'a [u8],
    /// Offset of the first of them.
    pub(super) at: u64,
}

/// The machine that has its turn.
#[derive(Debug)]
pub(super) enum Machine {
    /// Looks at the first bytes of a stream.
    Recognise(Recognise),
    Tls(Box<Tls>),
    Http1(Box<Http1>),
    Http2(Box<Http2>),
    WebSocket(Box<WebSocket>),
    /// No protocol that is known here; everything is passed over.
    Unknown,
    /// The protocol is known or not, the place within it is not: looks for a beginning at the
    /// front of each segment.
    Searching(Option<Protocol>),
}

impl Machine {
    /// The protocol, where it is known.
    pub(super) const fn protocol(&self) -> Option<Protocol> {
        match self {
            Self::Tls(_) => Some(Protocol::Tls),
            Self::Http1(_) => Some(Protocol::Http1),
            Self::Http2(_) => Some(Protocol::Http2),
            Self::WebSocket(_) => Some(Protocol::WebSocket),
            Self::Searching(protocol) => *protocol,
            Self::Recognise(_) | Self::Unknown => None,
        }
    }

    pub(super) fn step(
        &mut self,
        front: &Front<'_>,
        shared: &mut Shared,
        out: &mut Vec<Found>,
    ) -> Step {
        match self {
            Self::Recognise(machine) => machine.step(front),
            Self::Tls(machine) => machine.step(front, &mut shared.tls, out),
            Self::Http1(machine) => machine.step(front, &mut shared.http1, out),
            Self::Http2(machine) => machine.step(front, out),
            Self::WebSocket(machine) => machine.step(front, out),
            Self::Unknown | Self::Searching(_) => Step::Took(front.bytes.len()),
        }
    }

    /// Passes over bytes that are missing; gives false where they may have been more than the
    /// rest of a body, so that the place is lost.
    pub(super) fn pass_over(&mut self, length: u64) -> bool {
        match self {
            Self::Tls(machine) => machine.pass_over(length),
            Self::Http1(machine) => machine.pass_over(length),
            Self::Http2(machine) => machine.pass_over(length),
            Self::WebSocket(machine) => machine.pass_over(length),
            Self::Unknown => true,
            Self::Recognise(_) | Self::Searching(_) => false,
        }
    }

    /// What is unfinished when a stream ends at `at`; `pending` is the beginning of a message that
    /// was kept.
    pub(super) fn finish(&mut self, pending: usize, at: u64) -> Option<Found> {
        let unfinished = match self {
            Self::Tls(machine) => machine.finish(at),
            Self::Http1(machine) => machine.finish(at),
            Self::Http2(machine) => machine.finish(at),
            Self::WebSocket(machine) => machine.finish(at),
            _ => return None,
        };
        let protocol = self.protocol()?;
        unfinished.or_else(|| {
            let text = format!("message cut off after {pending} B");
            (pending > 0).then(|| Found::new(protocol, text, at - pending as u64, at))
        })
    }

    /// What is kept beyond the machine itself, in bytes.
    pub(super) fn held(&self) -> usize {
        match self {
            Self::Tls(machine) => machine.held(),
            Self::Http2(machine) => machine.held(),
            Self::WebSocket(machine) => machine.held(),
            _ => 0,
        }
    }
}
