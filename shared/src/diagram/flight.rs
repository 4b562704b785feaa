//! One packet, or one chunk of a relayed stream, from departure to arrival or drop.
//!
//! It keeps what the picture needs and leaves the bytes and the options with the event that
//! [`Flight::seq`] names.

use crate::event::{Chunk, ChunkContent, HostName, Packet, Role, TcpInfo};

use super::{scene::Layer, words};

/// What crossed the wire, or is crossing it.
#[derive(Debug, Clone, PartialEq)]
pub struct Flight {
    /// The number of the event of its departure.
    pub seq: u64,
    /// The packet's id.
    pub id: u64,
    /// The host it left.
    pub from: HostName,
    /// The host it is for.
    pub to: HostName,
    /// When it left, on the run's clock, in microseconds.
    pub departed_us: u64,
    /// What became of it.
    pub end: End,
    /// Which connection of the run, from 0; absent where the bytes are no TCP.
    pub connection: Option<u32>,
    /// Size on the wire in bytes; of a chunk, its payload.
    pub length: u32,
    /// One line on what the bytes are.
    pub summary: Box<str>,
    /// What it carries.
    pub carries: Carries,
}

/// What became of a packet.
#[derive(Debug, Clone, PartialEq)]
pub enum End {
    /// Neither arrived nor dropped so far.
    InFlight,
    /// It reached the other host.
    Arrived {
        /// The number of the event.
        seq: u64,
        /// When, in microseconds.
        at_us: u64,
    },
    /// It was dropped.
    Dropped {
        /// The number of the event.
        seq: u64,
        /// When, in microseconds.
        at_us: u64,
        /// By which rule.
        rule: Box<str>,
        /// Why, in a word or two.
        reason: Box<str>,
        /// Where: 0 at the sender, 1 at the receiver.
        place: f64,
    },
}

impl End {
    /// When it ended, in microseconds.
    pub fn at_us(&self) -> Option<u64> {
        match self {
            Self::InFlight => None,
            Self::Arrived { at_us, .. } | Self::Dropped { at_us, .. } => Some(*at_us),
        }
    }
}

/// What a flight carries.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Carries {
    /// A TCP segment.
    Segment(Segment),
    /// A piece of a relayed stream and its size in bytes.
    Chunk(ChunkContent, u32),
    /// Something that is no TCP.
    Other,
}

/// The part of a TCP segment that the diagram speaks of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Segment {
    /// Which connection of the run, from 0.
    pub connection: u32,
    /// Its flags.
    pub flags: Flags,
    /// Relative sequence number.
    pub seq: u32,
    /// Relative acknowledgment number; 0 without ACK.
    pub ack: u32,
    /// The receive window in bytes.
    pub window: u32,
    /// Payload length in bytes.
    pub payload: u32,
    /// What the connection's history makes of it.
    pub role: Role,
}

impl Segment {
    /// Whether it carries anything that is acknowledged: data, a SYN or a FIN.
    pub fn takes_sequence_space(&self) -> bool {
        self.payload > 0 || self.flags.syn || self.flags.fin
    }

    /// The sequence number after this segment: SYN and FIN count as one byte each (RFC 9293,
    /// section 3.4).
    pub fn next_seq(&self) -> u32 {
        self.seq
            .wrapping_add(self.payload)
            .wrapping_add(u32::from(self.flags.syn))
            .wrapping_add(u32::from(self.flags.fin))
    }
}

/// The flags of a TCP header that change how an arrow is drawn (RFC 9293, section 3.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Flags {
    /// Opens.
    pub syn: bool,
    /// Acknowledges.
    pub ack: bool,
    /// Closes one direction.
    pub fin: bool,
    /// Aborts.
    pub rst: bool,
    /// Asks for delivery without waiting.
    pub psh: bool,
}

impl Flags {
    /// Reads names joined by commas, such as `SYN,ACK`; unknown names are passed over.
    pub fn parse(text: &str) -> Self {
        let mut flags = Self::default();
        for name in text.split(',') {
            match name.trim() {
                "SYN" => flags.syn = true,
                "ACK" => flags.ack = true,
                "FIN" => flags.fin = true,
                "RST" => flags.rst = true,
                "PSH" => flags.psh = true,
                _ => {}
            }
        }
        flags
    }

    /// The names joined by commas, `none` where none is set.
    pub fn names(self) -> String {
        let names: Vec<&str> = [
            (self.syn, "SYN"),
            (self.fin, "FIN"),
            (self.rst, "RST"),
            (self.psh, "PSH"),
            (self.ack, "ACK"),
        ]
        .into_iter()
        .filter_map(|(set, name)| set.then_some(name))
        .collect();
        if names.is_empty() {
            "none".to_owned()
        } else {
            names.join(",")
        }
    }
}

/// How much a reader would miss an arrow, for pictures too dense to show them all.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Importance {
    /// SYN, FIN, RST, a drop, a probe, a retransmission.
    Turning,
    /// Carries data.
    Data,
    /// Acknowledges and nothing else.
    Bare,
}

impl Importance {
    /// Every class, the most important first.
    pub(super) const ALL: [Self; 3] = [Self::Turning, Self::Data, Self::Bare];
}

impl Flight {
    pub(super) fn of_packet(seq: u64, at_us: u64, packet: &Packet) -> Self {
        Self {
            seq,
            id: packet.id,
            from: packet.from,
            to: packet.to,
            departed_us: at_us,
            end: End::InFlight,
            connection: packet.tcp.as_ref().map(|tcp| tcp.connection),
            length: packet.length,
            summary: packet.summary.as_str().into(),
            carries: packet
                .tcp
                .as_ref()
                .map_or(Carries::Other, |tcp| Carries::Segment(segment(tcp))),
        }
    }

    pub(super) fn of_chunk(seq: u64, at_us: u64, chunk: &Chunk) -> Self {
        let bytes = u32::try_from(chunk.bytes.len() / 2).unwrap_or(u32::MAX);
        Self {
            seq,
            id: chunk.id,
            from: chunk.from,
            to: chunk.to,
            departed_us: at_us,
            end: End::InFlight,
            connection: Some(chunk.connection),
            length: bytes,
            summary: chunk.summary.as_str().into(),
            carries: Carries::Chunk(chunk.content, bytes),
        }
    }

    /// Payload bytes.
    pub fn payload(&self) -> u32 {
        match &self.carries {
            Carries::Segment(segment) => segment.payload,
            Carries::Chunk(_, bytes) => *bytes,
            Carries::Other => 0,
        }
    }

    /// Whether it is a RST, or the relay's word for one.
    pub fn is_reset(&self) -> bool {
        match &self.carries {
            Carries::Segment(segment) => segment.flags.rst,
            Carries::Chunk(content, _) => *content == ChunkContent::Reset,
            Carries::Other => false,
        }
    }

    /// Whether it closes its direction.
    pub fn is_end(&self) -> bool {
        match &self.carries {
            Carries::Segment(segment) => segment.flags.fin,
            Carries::Chunk(content, _) => *content == ChunkContent::End,
            Carries::Other => false,
        }
    }

    /// Whether it is a keep-alive or zero-window probe.
    pub fn is_probe(&self) -> bool {
        matches!(&self.carries, Carries::Segment(s) if matches!(s.role, Role::KeepAliveProbe { .. }))
    }

    /// Whether its bytes, SYN or FIN were sent before.
    pub fn is_retransmission(&self) -> bool {
        matches!(&self.carries, Carries::Segment(s) if matches!(s.role, Role::Retransmission { .. }))
    }

    /// The protocol that it speaks: HTTP where its first line is one, else TCP.
    pub fn layer(&self) -> Layer {
        if self.payload() > 0 && words::is_http(&self.summary) {
            Layer::Http
        } else {
            Layer::Tcp
        }
    }

    pub(super) fn importance(&self) -> Importance {
        let opens = match &self.carries {
            Carries::Segment(segment) => segment.flags.syn,
            Carries::Chunk(content, _) => *content == ChunkContent::Open,
            Carries::Other => true,
        };
        let dropped = matches!(self.end, End::Dropped { .. });
        if opens
            || dropped
            || self.is_end()
            || self.is_reset()
            || self.is_probe()
            || self.is_retransmission()
        {
            Importance::Turning
        } else if self.payload() > 0 {
            Importance::Data
        } else {
            Importance::Bare
        }
    }
}

fn segment(tcp: &TcpInfo) -> Segment {
    Segment {
        connection: tcp.connection,
        flags: Flags::parse(&tcp.flags),
        seq: tcp.seq,
        ack: tcp.ack,
        window: tcp.window,
        payload: tcp.payload,
        role: tcp.role,
    }
}
