//! Segments in the light of those before them: which connection, relative numbers, scaled windows,
//! retransmissions, keep-alive probes.
//!
//! A [`FlowTracker`] sees the packets of one run in the order in which they left their hosts. It
//! is told nothing else, so where it matters whether an earlier packet arrived (did the answer to a
//! probe get through?) it goes by what the sender shows to have heard: the timestamp that it echoes
//! (RFC 7323, section 3). Without timestamps it takes a departed answer for an arrived one.
//!
//! Sequence numbers are compared modulo 2^32 (RFC 9293, section 3.4).

use std::{
    collections::{HashMap, VecDeque},
    net::{SocketAddr, SocketAddrV4},
};

use super::{
    ipv4::{self, Ipv4},
    summary,
    tcp::{Flags, Tcp, TcpOption},
};
use crate::event::{Role, TcpInfo};

/// Connections that are remembered at once. When there are more, the eighth of them that was
/// silent the longest is forgotten; a segment of a forgotten connection begins a new one.
const MAX_CONNECTIONS: usize = 32_768;

/// Retransmitted ranges that are remembered for each direction of a connection, the latest.
const MAX_RANGES: usize = 64;

/// What the tracker makes of one packet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Observed {
    /// What the TCP header and its connection's history say; absent where the bytes are no TCP.
    pub tcp: Option<TcpInfo>,
    /// One line on what the bytes are, such as `SYN` or `GET /1 HTTP/1.1`.
    pub summary: String,
}

/// Follows the connections of one run. Pure, and bounded in memory.
#[derive(Debug, Default)]
pub struct FlowTracker {
    connections: HashMap<Pair, Connection>,
    /// The number of the next connection.
    next_number: u32,
    /// Segments seen so far: the clock by which the longest silent connection is found.
    clock: u64,
}

impl FlowTracker {
    /// A tracker that has seen nothing yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes the next packet, from either host, in the order of departure.
    pub fn observe(&mut self, bytes: &[u8]) -> Observed {
        let packet = match Ipv4::parse(bytes) {
            Ok(packet) => packet,
            Err(stopped) => return no_tcp(summary::not_ipv4(bytes, stopped)),
        };
        if packet.protocol != ipv4::TCP || packet.is_later_fragment() {
            return no_tcp(summary::not_tcp(&packet));
        }
        let tcp = match Tcp::parse(packet.payload) {
            Ok(tcp) => tcp,
            Err(stopped) => return no_tcp(summary::broken_tcp(stopped)),
        };
        let payload = packet.payload_length().saturating_sub(tcp.header_length);
        let info = self.follow(&packet, &tcp, payload);
        Observed {
            summary: summary::tcp(tcp.flags, payload, tcp.payload, info.role),
            tcp: Some(info),
        }
    }

    fn follow(&mut self, packet: &Ipv4<'_>, tcp: &Tcp<'_>, payload: usize) -> TcpInfo {
        let src = SocketAddrV4::new(packet.src, tcp.src_port);
        let dst = SocketAddrV4::new(packet.dst, tcp.dst_port);
        // At most 65,535, the length of an IPv4 packet.
        let payload = payload as u32;
        let segment = Segment::new(tcp, payload);
        self.clock += 1;
        let pair = Pair::new(src, dst);
        let side = usize::from(src > dst);
        let begins = self
            .connections
            .get(&pair)
            .is_none_or(|connection| connection.sides[side].is_reopened_by(&segment));
        if begins {
            self.make_room();
            let connection = Connection::new(self.next_number);
            self.next_number = self.next_number.saturating_add(1);
            self.connections.insert(pair, connection);
        }
        let connection = self
            .connections
            .entry(pair)
            .or_insert_with(|| Connection::new(0));
        connection.last_heard = self.clock;
        let (first, second) = connection.sides.split_at_mut(1);
        let (sender, receiver) = match side {
            0 => (&mut first[0], &mut second[0]),
            _ => (&mut second[0], &mut first[0]),
        };
        sender.learn(&segment);
        if let Some(ack) = segment.ack {
            receiver.learn_from_ack(ack);
        }
        let role = sender.role(receiver, &segment);
        sender.sent(&segment, role);
        receiver.heard(&segment, role);
        TcpInfo {
            connection: connection.number,
            src: SocketAddr::V4(src),
            dst: SocketAddr::V4(dst),
            flags: tcp.flags.to_string(),
            seq: segment.seq.wrapping_sub(connection.sides[side].isn),
            seq_raw: tcp.seq,
            ack: match segment.ack {
                Some(ack) => ack.wrapping_sub(connection.sides[1 - side].isn),
                None => 0,
            },
            ack_raw: tcp.ack,
            window: connection.window(side, tcp),
            options: words(tcp, connection.sides[1 - side].isn),
            payload,
            role,
        }
    }

    /// Forgets the connections that were silent the longest where there are too many.
    fn make_room(&mut self) {
        if self.connections.len() < MAX_CONNECTIONS {
            return;
        }
        let mut heard: Vec<u64> = self.connections.values().map(|c| c.last_heard).collect();
        let (_, limit, _) = heard.select_nth_unstable(MAX_CONNECTIONS / 8);
        let limit = *limit;
        self.connections.retain(|_, c| c.last_heard >= limit);
    }
}

fn no_tcp(summary: String) -> Observed {
    Observed { tcp: None, summary }
}

/// Both ends of a connection, whichever of them sends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct Pair(SocketAddrV4, SocketAddrV4);

impl Pair {
    fn new(a: SocketAddrV4, b: SocketAddrV4) -> Self {
        Self(a.min(b), a.max(b))
    }
}

#[derive(Debug)]
struct Connection {
    number: u32,
    last_heard: u64,
    /// What the lower address sends, and what the higher one sends.
    sides: [Side; 2],
}

impl Connection {
    fn new(number: u32) -> Self {
        Self {
            number,
            last_heard: 0,
            sides: [Side::default(), Side::default()],
        }
    }

    /// The window in bytes: scaled once both sides have offered a scale, never in a SYN
    /// (RFC 7323, sections 2.2 and 2.3).
    fn window(&self, side: usize, tcp: &Tcp<'_>) -> u32 {
        let unscaled = u32::from(tcp.window);
        match (self.sides[side].shift, self.sides[1 - side].shift) {
            (Some(shift), Some(_)) if !tcp.flags.has(Flags::SYN) => unscaled << shift,
            _ => unscaled,
        }
    }
}

/// A segment's numbers, as far as its connection's history needs them.
#[derive(Debug)]
struct Segment {
    seq: u32,
    /// The acknowledgment number, with ACK.
    ack: Option<u32>,
    syn: bool,
    fin: bool,
    rst: bool,
    payload: u32,
    shift: Option<u8>,
    /// The sender's clock and the receiver's, echoed.
    timestamps: Option<(u32, u32)>,
}

impl Segment {
    fn new(tcp: &Tcp<'_>, payload: u32) -> Self {
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
    fn length(&self) -> u32 {
        self.payload + u32::from(self.syn) + u32::from(self.fin)
    }

    fn end(&self) -> u32 {
        self.seq.wrapping_add(self.length())
    }
}

/// Whether `a` comes before `b` (RFC 9293, section 3.4).
fn before(a: u32, b: u32) -> bool {
    (a.wrapping_sub(b) as i32) < 0
}

/// From where the numbers of a direction are known.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum Known {
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
struct Side {
    known: Known,
    /// The number that is shown as 0: that of the SYN, or the one before the first that was seen.
    isn: u32,
    /// The number after the highest that was sent (`SND.NXT`).
    next: u32,
    /// The highest number that the other side acknowledged.
    acked: Option<u32>,
    /// The window scale that its SYN offered.
    shift: Option<u8>,
    /// Whether the last new bytes that were sent were one byte of payload.
    last_was_one_byte: bool,
    /// What was sent again: first number, the one after the last, and how many times.
    again: VecDeque<(u32, u32, u32)>,
    /// Keep-alive probes in a row without an answer.
    probes: u32,
    /// Probes whose answer has not left the other side yet.
    unanswered: u32,
    /// The first segment that the other side sent after the last probe: its clock, if it told.
    answer: Option<Option<u32>>,
}

impl Side {
    /// Whether the segment is the SYN of a new connection between the same ports.
    fn is_reopened_by(&self, segment: &Segment) -> bool {
        let opens = segment.syn && segment.ack.is_none();
        match self.known {
            Known::Nothing | Known::FromAck => false,
            Known::FromSegment => opens,
            Known::FromSyn => opens && segment.seq != self.isn,
        }
    }

    /// Takes the numbers of a direction from its first segment, and those of its SYN from there.
    fn learn(&mut self, segment: &Segment) {
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
    fn learn_from_ack(&mut self, ack: u32) {
        if self.known == Known::Nothing {
            self.known = Known::FromAck;
            self.isn = ack.wrapping_sub(1);
            self.next = ack;
        }
    }

    /// What a segment is that this side sends; counts it.
    fn role(&mut self, receiver: &Self, segment: &Segment) -> Role {
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
    fn is_probe(&self, segment: &Segment) -> bool {
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
    fn sent(&mut self, segment: &Segment, role: Role) {
        if segment.rst || matches!(role, Role::KeepAliveProbe { .. }) {
            return;
        }
        if before(self.next, segment.end()) {
            self.next = segment.end();
            self.last_was_one_byte = segment.payload == 1 && segment.length() == 1;
        }
    }

    /// Takes note of a segment that the other side sends.
    fn heard(&mut self, segment: &Segment, role: Role) {
        if let Some(ack) = segment.ack {
            let advances = self.acked.is_none_or(|acked| before(acked, ack));
            if advances && !before(self.next, ack) {
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

/// The options in words; numbers in SACK are relative to `peer_isn`.
fn words(tcp: &Tcp<'_>, peer_isn: u32) -> Vec<String> {
    let word = |option: &TcpOption| match option {
        TcpOption::MaximumSegmentSize(size) => format!("MSS {size}"),
        TcpOption::WindowScale(shift) => format!("WS {shift}"),
        TcpOption::SackPermitted => "SACK permitted".to_owned(),
        TcpOption::Sack(blocks) => blocks.iter().fold("SACK".to_owned(), |text, (from, to)| {
            let (from, to) = (from.wrapping_sub(peer_isn), to.wrapping_sub(peer_isn));
            format!("{text} {from}-{to}")
        }),
        TcpOption::Timestamps { value, echo } => format!("TS {value} echo {echo}"),
        TcpOption::Other { kind, length } => format!("option {kind} ({length} bytes)"),
    };
    tcp.options
        .iter()
        .map(word)
        .chain(tcp.stopped.map(|stopped| stopped.to_string()))
        .collect()
}

#[cfg(test)]
mod tests;
