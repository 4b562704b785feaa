//! What the wire tells of connections: their packets, or a relay's chunks, as they leave, arrive and
//! are dropped.

use linger_shared::event::{Chunk, ChunkContent, HostName, Packet, TcpInfo};

use super::{
    Witness,
    connection::{Forged, Sent},
};

/// The rule that makes true copies of packets: a copy says nothing that its original has not.
const DUPLICATE: &str = "duplicate";

/// A packet or chunk of a connection on its way.
pub(super) struct Flight {
    connection: u32,
    from: HostName,
    to: HostName,
    carries: Carries,
}

/// What a packet means for its connection's end.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Carries {
    Fin,
    Rst,
    /// A FIN or RST that a rule made.
    Forged,
    Nothing,
}

impl Witness {
    pub(super) fn departed(&mut self, packet: &Packet, at_us: u64) {
        let made_by = packet.origin.as_ref().map(|origin| origin.rule.as_str());
        let Some(tcp) = &packet.tcp else {
            if let Some(rule) = made_by.filter(|_| packet.summary.starts_with("ICMP")) {
                self.icmp.insert(packet.to, (at_us, rule.to_owned()));
            }
            return;
        };
        if made_by == Some(DUPLICATE) {
            return;
        }
        let flags = Flags::of(tcp);
        self.open(packet, tcp, &flags, at_us);
        let carries = match made_by {
            Some(rule) => self.forged(packet, rule, tcp, &flags, at_us),
            None => self.sent(packet, tcp, &flags, at_us),
        };
        let flight = Flight {
            connection: tcp.connection,
            from: packet.from,
            to: packet.to,
            carries,
        };
        self.flights.insert(packet.id, flight);
    }

    /// Enters a connection with its first packet.
    fn open(&mut self, packet: &Packet, tcp: &TcpInfo, flags: &Flags, at_us: u64) {
        let number = tcp.connection;
        if self.register.knows(number) {
            return;
        }
        // A record may begin in the middle of a connection, even with an answer to its SYN.
        let (opener, acceptor, address, to) = if flags.syn && flags.ack {
            (packet.to, packet.from, tcp.dst, tcp.src)
        } else {
            (packet.from, packet.to, tcp.src, tcp.dst)
        };
        self.register.enter(number, at_us, [opener, acceptor]);
        for host in [opener, acceptor] {
            self.register.opener(host, address, number);
        }
        self.register.connecting(opener, to, number);
    }

    /// A kernel sent a segment.
    fn sent(&mut self, packet: &Packet, tcp: &TcpInfo, flags: &Flags, at_us: u64) -> Carries {
        let Some(connection) = self.register.get_mut(tcp.connection) else {
            return Carries::Nothing;
        };
        let Some(index) = connection.end_of(packet.from) else {
            return Carries::Nothing;
        };
        let peer_fin = connection.ends[1 - index].fin.as_ref();
        // Serial number arithmetic: RFC 9293, section 3.4.
        let heard_fin =
            peer_fin.is_some_and(|fin| tcp.ack.wrapping_sub(fin.behind).cast_signed() >= 0);
        // Nothing but a SYN and its answer has passed: the acceptor never sent a SYN of its own.
        let answers_syn = index == 1 && tcp.seq_raw == 0 && flags.ack;
        let end = &mut connection.ends[index];
        let first = Sent {
            at_us,
            arrived_us: None,
            lost: false,
            answers: if flags.rst { answers_syn } else { heard_fin },
            behind: tcp.seq.wrapping_add(tcp.payload).wrapping_add(1),
            unanswered: end.unanswered,
        };
        if flags.rst {
            end.rst.get_or_insert(first);
            return Carries::Rst;
        }
        if flags.fin {
            end.fin.get_or_insert(first);
            return Carries::Fin;
        }
        end.sends(flags.syn && !flags.ack, tcp.role);
        Carries::Nothing
    }

    /// A rule made a segment in a host's name.
    fn forged(
        &mut self,
        packet: &Packet,
        rule: &str,
        tcp: &TcpInfo,
        flags: &Flags,
        at_us: u64,
    ) -> Carries {
        let how = match flags {
            Flags { rst: true, .. } => "rst",
            Flags { fin: true, .. } => "fin",
            _ => return Carries::Nothing,
        };
        let Some(end) = self.register.end_of(tcp.connection, packet.from) else {
            return Carries::Nothing;
        };
        end.forged.get_or_insert(Forged {
            rule: rule.to_owned(),
            how,
            at_us,
            arrived_us: None,
        });
        Carries::Forged
    }

    pub(super) fn chunk_departed(&mut self, chunk: &Chunk, at_us: u64) {
        let number = chunk.connection;
        let connection = self.register.enter(number, at_us, [chunk.from, chunk.to]);
        let index = connection.end_of(chunk.from).unwrap_or_default();
        let heard_end = connection.ends[1 - index]
            .fin
            .as_ref()
            .is_some_and(|end| end.arrived_us.is_some());
        let first = Sent {
            at_us,
            arrived_us: None,
            lost: false,
            answers: heard_end,
            behind: 0,
            unanswered: Default::default(),
        };
        let end = &mut connection.ends[index];
        let carries = match chunk.content {
            ChunkContent::End => {
                end.fin.get_or_insert(first);
                Carries::Fin
            }
            ChunkContent::Reset => {
                end.rst.get_or_insert(Sent {
                    answers: false,
                    ..first
                });
                Carries::Rst
            }
            ChunkContent::Open | ChunkContent::Data => Carries::Nothing,
        };
        if let Some(opener) = chunk.opener {
            self.register.opener(chunk.from, opener, number);
            self.recall(chunk.from, opener);
        }
        let flight = Flight {
            connection: number,
            from: chunk.from,
            to: chunk.to,
            carries,
        };
        self.flights.insert(chunk.id, flight);
    }

    pub(super) fn arrived(&mut self, id: u64, at_us: u64) {
        let Some(flight) = self.flights.remove(&id) else {
            return;
        };
        if let Some(receiver) = self.register.end_of(flight.connection, flight.to) {
            receiver.unanswered = Default::default();
        }
        let Some(sender) = self.register.end_of(flight.connection, flight.from) else {
            return;
        };
        let arrived_us = match flight.carries {
            Carries::Fin => sender.fin.as_mut().map(|sent| &mut sent.arrived_us),
            Carries::Rst => sender.rst.as_mut().map(|sent| &mut sent.arrived_us),
            Carries::Forged => sender.forged.as_mut().map(|sent| &mut sent.arrived_us),
            Carries::Nothing => None,
        };
        if let Some(arrived_us) = arrived_us {
            arrived_us.get_or_insert(at_us);
        }
    }

    pub(super) fn dropped(&mut self, id: u64, rule: &str) {
        let Some(flight) = self.flights.remove(&id) else {
            return;
        };
        let Some(sender) = self.register.end_of(flight.connection, flight.from) else {
            return;
        };
        *sender.dropped.entry(rule.to_owned()).or_default() += 1;
        let sent = match flight.carries {
            Carries::Fin => sender.fin.as_mut(),
            Carries::Rst => sender.rst.as_mut(),
            Carries::Forged | Carries::Nothing => None,
        };
        if let Some(sent) = sent {
            sent.lost = true;
        }
    }
}

/// The flags that matter for a connection's ends.
struct Flags {
    syn: bool,
    ack: bool,
    fin: bool,
    rst: bool,
}

impl Flags {
    fn of(tcp: &TcpInfo) -> Self {
        let has = |flag: &str| tcp.flags.split(',').any(|name| name == flag);
        Self {
            syn: has("SYN"),
            ack: has("ACK"),
            fin: has("FIN"),
            rst: has("RST"),
        }
    }
}
