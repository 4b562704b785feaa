//! What the wire asks of its rules, and what they answer.

use std::{
    borrow::Cow,
    time::{Duration, Instant},
};

use linger_shared::event::HostName;

/// A packet that asks for its fate.
pub struct Passing<'a> {
    /// Its id in the record.
    pub id: u64,
    /// The host that it leaves.
    pub from: HostName,
    /// The packet, from its IP header on.
    pub bytes: &'a [u8],
    /// When it leaves.
    pub departed: Instant,
}

/// What the rules make of a packet.
#[derive(Debug, Clone, PartialEq)]
pub struct Judgement {
    /// Whether it goes on.
    pub fate: Fate,
    /// What it is turned into on its way; its destination is read from this form.
    pub rewritten: Option<Rewritten>,
    /// How much longer than its link says it is on its way.
    pub delay: Duration,
    /// What is sent because of it, as soon as it is at the place where they set out.
    pub answers: Vec<Answer>,
}

/// A packet as a middlebox passes it on.
#[derive(Debug, Clone, PartialEq)]
pub struct Rewritten {
    /// The packet with its checksums mended.
    pub bytes: Box<[u8]>,
    /// Whether this form, and not the one that was sent, is what the connection's opener knows.
    pub inside: bool,
}

/// A packet that the wire makes in a host's name.
#[derive(Debug, Clone, PartialEq)]
pub struct Answer {
    /// In whose name it is sent.
    pub from: HostName,
    /// Who gets it.
    pub to: HostName,
    /// The packet as it leaves, checksums included.
    pub bytes: Box<[u8]>,
    /// What a middlebox turns it into on its way, as [`Judgement::rewritten`].
    pub rewritten: Option<Rewritten>,
    /// The name of the rule that made it.
    pub rule: Cow<'static, str>,
    /// Where on the way from `from` to `to` it sets out: 0 at `from`, 1 at `to`.
    pub place: f64,
}

impl Judgement {
    /// The packet goes on as it is.
    pub fn deliver() -> Self {
        Self {
            fate: Fate::Deliver,
            rewritten: None,
            delay: Duration::ZERO,
            answers: Vec::new(),
        }
    }
}

/// What becomes of a packet.
#[derive(Debug, Clone, PartialEq)]
pub enum Fate {
    /// It goes on.
    Deliver,
    /// It disappears on its way, without a word to either side.
    Drop {
        /// The rule's name.
        rule: Cow<'static, str>,
        /// Why, in a word or two.
        reason: Cow<'static, str>,
        /// Where on its way: 0 at the sender, 1 at the receiver.
        place: f64,
    },
}
