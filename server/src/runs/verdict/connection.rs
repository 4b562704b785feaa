//! What is known of one connection: what each end sent that ends connections, what came of it, and
//! what each application learnt.
//!
//! Nothing is decided here; that is [`super::judge`]'s business.

use std::collections::BTreeMap;

use linger_shared::event::{HostName, Role};

/// A connection as the wire, the kernels and the applications saw it.
#[derive(Debug, Clone)]
pub(super) struct Connection {
    /// Which one of the run.
    pub(super) number: u32,
    /// When its first packet left, in microseconds.
    pub(super) opened_us: u64,
    /// Both ends, the opener's first.
    pub(super) ends: [End; 2],
    /// A proxy's connection to its backend: the connection of the client that it serves.
    pub(super) serves: Option<u32>,
}

/// One end of a connection.
#[derive(Debug, Clone)]
pub(super) struct End {
    pub(super) host: HostName,
    /// The first FIN that its own kernel sent.
    pub(super) fin: Option<Sent>,
    /// The first RST that its own kernel sent.
    pub(super) rst: Option<Sent>,
    /// The first FIN or RST that a rule sent in its name.
    pub(super) forged: Option<Forged>,
    /// What it has sent without an answer since it last heard of its peer.
    pub(super) unanswered: Unanswered,
    /// The application was told that the kernel had given up.
    pub(super) gave_up: Option<GaveUp>,
    /// An ICMP message that it received or was told of by the errno: the rule that made it.
    pub(super) unreachable: Option<Unreachable>,
    pub(super) learnt: Option<Learnt>,
    /// When the application closed it, in microseconds.
    pub(super) closed_us: Option<u64>,
    /// What the kernel last said of its socket; `gone` once it no longer knows it.
    pub(super) state: &'static str,
    /// When it was no longer known, in microseconds.
    pub(super) gone_us: Option<u64>,
    /// Packets of its own that were dropped, by rule.
    pub(super) dropped: BTreeMap<String, u64>,
}

/// A FIN or an RST on its way.
#[derive(Debug, Clone)]
pub(super) struct Sent {
    pub(super) at_us: u64,
    /// When it, or a retransmission of it, first arrived.
    pub(super) arrived_us: Option<u64>,
    /// Whether one of it was dropped.
    pub(super) lost: bool,
    /// A FIN: whether its sender had heard the other's. An RST: whether it answers a SYN.
    pub(super) answers: bool,
    /// The relative sequence number behind it.
    pub(super) behind: u32,
    /// What its sender was waiting for.
    pub(super) unanswered: Unanswered,
}

/// What a rule sent in a host's name.
#[derive(Debug, Clone)]
pub(super) struct Forged {
    pub(super) rule: String,
    /// `fin` or `rst`.
    pub(super) how: &'static str,
    pub(super) at_us: u64,
    pub(super) arrived_us: Option<u64>,
}

/// The kernel's end of patience, as an application was told.
#[derive(Debug, Clone)]
pub(super) struct GaveUp {
    pub(super) errno: String,
    pub(super) at_us: u64,
    pub(super) unanswered: Unanswered,
}

/// ICMP that ended a connection.
#[derive(Debug, Clone)]
pub(super) struct Unreachable {
    pub(super) errno: String,
    pub(super) at_us: u64,
    /// The rule that made it, where it was one.
    pub(super) rule: Option<String>,
}

/// What was sent and not answered.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Unanswered {
    pub(super) syns: u32,
    pub(super) probes: u32,
    pub(super) retransmissions: u32,
}

impl Unanswered {
    /// In words, such as `3 probes without an answer`; `None` where nothing is.
    pub(super) fn words(self) -> Option<String> {
        let (number, what) = match self {
            Self { syns: 1.., .. } => (self.syns, "SYN"),
            Self { probes: 1.., .. } => (self.probes, "probe"),
            Self {
                retransmissions: 1..,
                ..
            } => (self.retransmissions, "retransmission"),
            _ => return None,
        };
        let plural = if number == 1 { "" } else { "s" };
        Some(format!("{number} {what}{plural} without an answer"))
    }
}

/// What an application learnt of a connection. Of two things the weightier one counts, of two alike
/// the first.
#[derive(Debug, Clone)]
pub(super) struct Learnt {
    pub(super) weight: Weight,
    pub(super) text: String,
    pub(super) at_us: u64,
}

/// How much something says about a connection's end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Weight {
    /// A response: the last one counts.
    Response,
    /// It closed the connection itself.
    Closed,
    /// It still waits.
    Waits,
    /// The peer closed its sending side.
    EndOfStream,
    /// A call or an exchange failed.
    Error,
}

impl Connection {
    pub(super) fn new(number: u32, opened_us: u64, hosts: [HostName; 2]) -> Self {
        Self {
            number,
            opened_us,
            ends: hosts.map(End::new),
            serves: None,
        }
    }

    /// Which of its ends is on a host.
    pub(super) fn end_of(&self, host: HostName) -> Option<usize> {
        self.ends.iter().position(|end| end.host == host)
    }
}

impl End {
    fn new(host: HostName) -> Self {
        Self {
            host,
            fin: None,
            rst: None,
            forged: None,
            unanswered: Unanswered::default(),
            gave_up: None,
            unreachable: None,
            learnt: None,
            closed_us: None,
            state: "",
            gone_us: None,
            dropped: BTreeMap::new(),
        }
    }

    /// It sent something that expects an answer.
    pub(super) fn sends(&mut self, syn: bool, role: Role) {
        let unanswered = &mut self.unanswered;
        match role {
            _ if syn => unanswered.syns = unanswered.syns.saturating_add(1),
            Role::KeepAliveProbe { .. } => unanswered.probes = unanswered.probes.saturating_add(1),
            Role::Retransmission { .. } => {
                unanswered.retransmissions = unanswered.retransmissions.saturating_add(1);
            }
            Role::Ordinary | Role::KeepAliveAck => {}
        }
    }

    /// Its application learnt something.
    pub(super) fn learns(&mut self, weight: Weight, text: impl Into<String>, at_us: u64) {
        let outweighed = match &self.learnt {
            None => true,
            Some(known) => {
                weight > known.weight || (weight == Weight::Response && known.weight == weight)
            }
        };
        if outweighed {
            self.learnt = Some(Learnt {
                weight,
                text: text.into(),
                at_us,
            });
        }
    }
}
