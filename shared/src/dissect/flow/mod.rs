//! Segments in the light of those before them: which connection, relative numbers, scaled windows,
//! retransmissions, keep-alive probes, and the messages that their payloads complete.
//!
//! A [`FlowTracker`] sees the packets of one run in the order in which they left their hosts. It
//! is told nothing else, so where it matters whether an earlier packet arrived (did the answer to a
//! probe get through?) it goes by what the sender shows to have heard: the timestamp that it echoes
//! (RFC 7323, section 3). Without timestamps it takes a departed answer for an arrived one.
//!
//! A message is reported with the packet that completed it, once: a retransmission brings nothing
//! new. Sequence numbers are compared modulo 2^32 (RFC 9293, section 3.4).

mod side;

use std::{collections::HashMap, net::SocketAddr};

use self::side::{Segment, Side};
use super::{
    Message,
    ip::Ip,
    ipv4,
    stream::{Conversation, Found, Part, compose},
    summary,
    tcp::{Flags, Tcp, TcpOption},
};
use crate::event::{Role, TcpInfo};

/// Connections that are remembered at once. When there are more, the eighth of them that was
/// silent the longest is forgotten; a segment of a forgotten connection begins a new one.
const MAX_CONNECTIONS: usize = 32_768;

/// What the unfinished messages of all connections may come to, in bytes. When they come to more,
/// the streams that were silent the longest are let go, until half of it is left.
const MAX_HELD: usize = 64 << 20;

/// Messages of one packet that are told one by one; those behind them are told together. A packet
/// of 1,500 bytes cannot carry as many.
const MOST_MESSAGES: usize = 1_024;

/// What the tracker makes of one packet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Observed {
    /// What the TCP header and its connection's history say; absent where the bytes are no TCP.
    pub tcp: Option<TcpInfo>,
    /// One line on what the bytes are, such as `SYN` or `GET /1 HTTP/1.1`.
    pub summary: String,
    /// The messages of applications that this packet completed, in order. Of more than 1,024 the
    /// last stands for all that are left.
    pub messages: Vec<Message>,
}

/// Follows the connections of one run. Pure, and bounded in memory.
#[derive(Debug, Default)]
pub struct FlowTracker {
    connections: HashMap<Pair, Connection>,
    /// The number of the next connection.
    next_number: u32,
    /// Segments seen so far: the clock by which the longest silent connection is found.
    clock: u64,
    /// What the connections' streams keep, in bytes.
    held: usize,
}

impl FlowTracker {
    /// A tracker that has seen nothing yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes the next packet, from either host, in the order of departure.
    pub fn observe(&mut self, bytes: &[u8]) -> Observed {
        match Packet::read(bytes) {
            Ok(packet) => self.follow(&packet),
            Err(summary) => no_tcp(summary),
        }
    }

    /// What a packet is that the tracker has observed before, such as a duplicate that the wire
    /// made. Nothing is learnt from it, and it completes no message.
    pub fn describe(&self, bytes: &[u8]) -> Observed {
        let packet = match Packet::read(bytes) {
            Ok(packet) => packet,
            Err(summary) => return no_tcp(summary),
        };
        let Some(connection) = self.connections.get(&packet.pair()) else {
            let mut unknown = Self {
                next_number: self.next_number,
                ..Self::default()
            };
            return Observed {
                messages: Vec::new(),
                ..unknown.follow(&packet)
            };
        };
        let side = &connection.sides[packet.side()];
        let role = side.remembered(&packet.segment());
        let info = connection.info(&packet, role.unwrap_or(Role::Ordinary));
        Observed {
            summary: connection.summary(&packet, &info, None),
            tcp: Some(info),
            messages: Vec::new(),
        }
    }

    fn follow(&mut self, packet: &Packet<'_>) -> Observed {
        let segment = packet.segment();
        self.clock += 1;
        let pair = packet.pair();
        let side = packet.side();
        let known = self.connections.get(&pair);
        let begins = known.is_none_or(|known| known.sides[side].is_reopened_by(&segment));
        if begins {
            self.make_room();
            let connection = Connection::new(self.next_number);
            self.next_number = self.next_number.saturating_add(1);
            if let Some(old) = self.connections.insert(pair, connection) {
                self.held -= old.conversation.held();
            }
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
        // What was never sent is not acknowledged, whatever a segment says (RFC 9293, section
        // 3.10.7.4).
        let ack = segment.ack.filter(|ack| receiver.has_sent(*ack));
        let role = sender.role(receiver, &segment);
        sender.sent(&segment, role);
        receiver.heard(&segment, role);

        let info = connection.info(packet, role);
        let before = connection.conversation.held();
        let begin = connection.conversation.offset(side, packet.first_byte());
        let found = match role {
            // The byte that a probe may carry is none of the stream's.
            Role::KeepAliveProbe { .. } => Vec::new(),
            _ => {
                let part = Part {
                    ack,
                    ..packet.part()
                };
                connection.conversation.segment(side, part)
            }
        };
        let begin = match begin {
            // The segment may have been its stream's first.
            0 => connection.conversation.offset(side, packet.first_byte()),
            begin => begin,
        };
        let summary = connection.summary(packet, &info, compose(&found));
        self.held = self.held - before + connection.conversation.held();
        if self.held > MAX_HELD {
            self.let_go();
        }
        let length = packet.tcp.payload.len() as u32;
        Observed {
            tcp: Some(info),
            summary,
            messages: messages(found, begin, length),
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
        self.held = self
            .connections
            .values()
            .map(|c| c.conversation.held())
            .sum();
    }

    /// Lets go of what the streams keep that were silent the longest.
    fn let_go(&mut self) {
        let mut all: Vec<&mut Connection> = self.connections.values_mut().collect();
        all.sort_unstable_by_key(|connection| connection.last_heard);
        for connection in all {
            if self.held <= MAX_HELD / 2 {
                break;
            }
            self.held -= connection.conversation.held();
            connection.conversation.forget();
            self.held += connection.conversation.held();
        }
    }

    /// What the connections' streams keep, in bytes.
    #[cfg(any(test, feature = "fuzzing"))]
    pub(super) const fn held(&self) -> usize {
        self.held
    }
}

/// The messages of a packet whose payload is that part of its stream.
fn messages(mut found: Vec<Found>, begin: u64, length: u32) -> Vec<Message> {
    let rest = found.get(MOST_MESSAGES..).and_then(Found::all_of);
    found.truncate(MOST_MESSAGES);
    found.extend(rest);
    found
        .into_iter()
        .map(|found| found.message(begin, length))
        .collect()
}

fn no_tcp(summary: String) -> Observed {
    Observed {
        tcp: None,
        summary,
        messages: Vec::new(),
    }
}

/// A packet that has a TCP header.
struct Packet<'a> {
    src: SocketAddr,
    dst: SocketAddr,
    tcp: Tcp<'a>,
    /// Length of the payload as the headers tell it, in bytes.
    payload: u32,
}

impl<'a> Packet<'a> {
    /// Reads the headers; gives a line on what the bytes are where they are no TCP.
    fn read(bytes: &'a [u8]) -> Result<Self, String> {
        let ip = Ip::parse(bytes).map_err(|stopped| summary::not_ip(bytes, stopped))?;
        if ip.protocol() != ipv4::TCP || ip.fragment_offset() > 0 {
            return Err(summary::not_tcp(&ip));
        }
        let tcp = Tcp::parse(ip.payload()).map_err(summary::broken_tcp)?;
        let payload = ip.payload_length().saturating_sub(tcp.header_length);
        Ok(Self {
            src: SocketAddr::new(ip.src(), tcp.src_port),
            dst: SocketAddr::new(ip.dst(), tcp.dst_port),
            // At most 65,535, the length of an IP packet's payload.
            payload: payload as u32,
            tcp,
        })
    }

    fn pair(&self) -> Pair {
        Pair(self.src.min(self.dst), self.src.max(self.dst))
    }

    fn side(&self) -> usize {
        usize::from(self.src > self.dst)
    }

    fn segment(&self) -> Segment {
        Segment::new(&self.tcp, self.payload)
    }

    /// The sequence number of the payload's first byte: a SYN takes one.
    const fn first_byte(&self) -> u32 {
        match self.tcp.flags.has(Flags::SYN) {
            true => self.tcp.seq.wrapping_add(1),
            false => self.tcp.seq,
        }
    }

    /// What streams need of it, but for what it acknowledges.
    fn part(&self) -> Part<'a> {
        let flags = self.tcp.flags;
        let whole = self.tcp.payload.len() == self.payload as usize;
        Part {
            seq: self.first_byte(),
            syn: flags.has(Flags::SYN),
            fin: flags.has(Flags::FIN) && whole,
            // What a reset carries is a word on its reason, if anything (RFC 9293, section 3.5.3).
            bytes: match flags.has(Flags::RST) {
                true => &[],
                false => self.tcp.payload,
            },
            ack: None,
        }
    }
}

/// Both ends of a connection, whichever of them sends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct Pair(SocketAddr, SocketAddr);

#[derive(Debug)]
struct Connection {
    number: u32,
    last_heard: u64,
    /// What the lower address sends, and what the higher one sends.
    sides: [Side; 2],
    /// The bytes that they send.
    conversation: Conversation,
}

impl Connection {
    fn new(number: u32) -> Self {
        Self {
            number,
            last_heard: 0,
            sides: [Side::default(), Side::default()],
            conversation: Conversation::default(),
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

    fn info(&self, packet: &Packet<'_>, role: Role) -> TcpInfo {
        let tcp = &packet.tcp;
        let side = packet.side();
        let peer_isn = self.sides[1 - side].isn;
        TcpInfo {
            connection: self.number,
            src: packet.src,
            dst: packet.dst,
            flags: tcp.flags.to_string(),
            seq: tcp.seq.wrapping_sub(self.sides[side].isn),
            seq_raw: tcp.seq,
            ack: match tcp.flags.has(Flags::ACK) {
                true => tcp.ack.wrapping_sub(peer_isn),
                false => 0,
            },
            ack_raw: tcp.ack,
            window: self.window(side, tcp),
            options: words(tcp, peer_isn),
            payload: packet.payload,
            role,
        }
    }

    /// One line on a segment. `found` is the one on the messages that it completed.
    fn summary(&self, packet: &Packet<'_>, info: &TcpInfo, found: Option<String>) -> String {
        let tcp = &packet.tcp;
        let (side, length) = (packet.side(), packet.payload as usize);
        let content = found.or_else(|| {
            let line = self
                .conversation
                .remembered(side, packet.first_byte(), length)?;
            Some(line.to_owned())
        });
        let content = content.or_else(|| match self.conversation.protocol(side) {
            // Of a known protocol these are bytes in the middle of a message.
            Some(protocol) if protocol != super::Protocol::Http1 => None,
            _ => super::http1::first_line(tcp.payload),
        });
        summary::tcp(tcp.flags, length, content, info.role)
    }
}

/// The options in words; numbers in SACK are relative to `peer_isn`.
fn words(tcp: &Tcp<'_>, peer_isn: u32) -> Vec<String> {
    let word = |option: &TcpOption| match option {
        TcpOption::Sack(blocks) => blocks.iter().fold("SACK".to_owned(), |text, (from, to)| {
            let (from, to) = (from.wrapping_sub(peer_isn), to.wrapping_sub(peer_isn));
            format!("{text} {from}-{to}")
        }),
        other => other.to_string(),
    };
    tcp.options
        .iter()
        .map(word)
        .chain(tcp.stopped.map(|stopped| stopped.to_string()))
        .collect()
}

#[cfg(test)]
mod message_tests;
#[cfg(test)]
mod tests;
