//! A rule with memory: a stateful firewall or a NAT on a run's first link.
//!
//! It knows every connection that was opened from inside, and forgets one that has been without a
//! packet for its limit (RFC 5382, section 5). What comes from outside and belongs to none is
//! dropped. Everything here is a function of packets and of the time that it is told.

mod connection;
mod dress;
mod limits;
mod ports;

use std::{
    borrow::Cow,
    cmp::Reverse,
    collections::{BinaryHeap, HashMap},
    net::{Ipv4Addr, SocketAddr, SocketAddrV4},
    time::Instant,
};

use linger_shared::{
    dissect::{
        ipv4::{self, Ipv4},
        tcp::Flags,
    },
    event::{Fact, FlowState, HostName},
    middlebox::{self as plan, Expiry, Kind, NAT_ADDRESS},
};

use self::{
    connection::{Connection, Phase, Side},
    ports::Ports,
};
use super::{
    craft::{Ends, Readdress, Segment, ends, readdress, reset_sender},
    rules::{Answer, Fate, Judgement, Passing, Rewritten},
};

/// A middlebox at work.
pub(super) struct Middlebox {
    plan: plan::Middlebox,
    /// The host whose connections pass, and its address.
    inside: (HostName, Ipv4Addr),
    /// The host at the other end of the link, and its address.
    outside: (HostName, Ipv4Addr),
    ports: Option<Ports>,
    flows: HashMap<Key, Flow>,
    /// When to look at a flow: one mark for each, at its limit or, where packets came meanwhile,
    /// before it.
    marks: BinaryHeap<Reverse<(Instant, Key)>>,
    /// What is to be sent, since when, because a packet showed that a limit had been reached before
    /// anybody asked for what is due.
    pending: Vec<Answer>,
    pending_since: Option<Instant>,
}

/// What tells one flow from another: its ends as the inside knows them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
struct Key {
    protocol: u8,
    inside: SocketAddrV4,
    outside: SocketAddrV4,
}

/// What is known of a flow.
struct Flow {
    /// What the outside takes the inside for.
    mapped: SocketAddrV4,
    /// When it is forgotten, unless a packet comes before.
    until: Instant,
    /// When its mark is.
    marked: Instant,
    /// For TCP.
    connection: Option<Connection>,
}

/// What a middlebox has to say.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Notice {
    /// When that was true.
    pub(super) at: Instant,
    /// What.
    pub(super) fact: Fact,
}

/// Why a packet does not pass.
struct Refused {
    reason: &'static str,
    /// What its sender gets.
    answer: Option<Box<[u8]>>,
}

impl Refused {
    fn silently(reason: &'static str) -> Self {
        Self {
            reason,
            answer: None,
        }
    }
}

impl Middlebox {
    /// A box between two hosts that knows of nothing yet. The plan was checked.
    pub(super) fn new(
        plan: plan::Middlebox,
        inside: (HostName, Ipv4Addr),
        outside: (HostName, Ipv4Addr),
    ) -> Self {
        let ports = (plan.kind == Kind::Nat).then(|| Ports::of(NAT_ADDRESS));
        Self {
            plan,
            inside,
            outside,
            ports,
            flows: HashMap::new(),
            marks: BinaryHeap::new(),
            pending: Vec::new(),
            pending_since: None,
        }
    }

    /// Whether a packet goes on, and as what; what does not concern the box's link is left alone.
    /// Gives what there is to say.
    pub(super) fn judge(&mut self, packet: &Passing<'_>, judgement: &mut Judgement) -> Vec<Notice> {
        let Ok(ip) = Ipv4::parse(packet.bytes) else {
            return Vec::new();
        };
        let Some(from) = self.side(packet.from, ip.dst) else {
            return Vec::new();
        };
        // A limit is reached when it is reached, however busy the wire is.
        let mut notices = self.expire_until(packet.departed);
        let mut notice = None;
        match self.pass(from, &ip, packet, &mut notice) {
            Ok(rewritten) => judgement.rewritten = rewritten,
            Err(refused) => {
                judgement.fate = Fate::Drop {
                    rule: Cow::Borrowed(self.plan.kind.as_str()),
                    reason: refused.reason.into(),
                    place: self.place(from),
                };
                if let Some(bytes) = refused.answer {
                    judgement.answers.push(self.answer(from, bytes));
                }
            }
        }
        notices.extend(notice);
        notices
    }

    /// Which side a packet on the box's link comes from.
    fn side(&self, from: HostName, to: Ipv4Addr) -> Option<Side> {
        let outside_address = self.ports.as_ref().map(|_| NAT_ADDRESS);
        if from == self.inside.0 && to == self.outside.1 {
            Some(Side::Inside)
        } else if from == self.outside.0 && (to == self.inside.1 || Some(to) == outside_address) {
            Some(Side::Outside)
        } else {
            None
        }
    }

    /// Where on its way a packet from a side meets the box.
    fn place(&self, from: Side) -> f64 {
        match from {
            Side::Inside => self.plan.place,
            Side::Outside => 1.0 - self.plan.place,
        }
    }

    /// A packet of the box's own to a side, in the name of the other.
    fn answer(&self, to: Side, bytes: Box<[u8]>) -> Answer {
        let (from, to, place) = match to {
            Side::Inside => (self.outside.0, self.inside.0, self.place(Side::Outside)),
            Side::Outside => (self.inside.0, self.outside.0, self.place(Side::Inside)),
        };
        let mut answer = Answer {
            from,
            to,
            bytes,
            rewritten: None,
            rule: Cow::Borrowed(self.plan.kind.as_str()),
            place,
        };
        self.dress(&mut answer);
        answer
    }

    fn pass(
        &mut self,
        from: Side,
        ip: &Ipv4<'_>,
        packet: &Passing<'_>,
        notice: &mut Option<Notice>,
    ) -> Result<Option<Rewritten>, Refused> {
        let Some(ends) = ends(packet.bytes) else {
            return self.pass_without_ends(from, ip);
        };
        let key = self
            .key(from, &ends)
            .ok_or_else(|| self.unknown(from, packet))?;
        if ends.quoted {
            // An error tells of a flow and neither opens nor prolongs one (RFC 5508, section 7).
            let flow = self.flows.get(&key);
            let mapped = flow.ok_or(Refused::silently("no entry"))?.mapped;
            return Ok(self.rewritten(from, packet.bytes, key.inside, mapped));
        }
        let segment = Segment::parse(packet.bytes);
        self.make_room(&key, segment.as_ref(), from);
        if !self.flows.contains_key(&key) {
            let opens = match (&segment, key.protocol) {
                (Some(segment), _) => {
                    segment.flags.has(Flags::SYN) && !segment.flags.has(Flags::ACK)
                }
                (None, protocol) => protocol == ipv4::UDP,
            };
            if from == Side::Outside || !opens {
                return Err(self.unknown(from, packet));
            }
            *notice = Some(self.open(key, packet.departed)?);
        }
        let limits = self.limits();
        let Some(flow) = self.flows.get_mut(&key) else {
            return Err(Refused::silently("no entry"));
        };
        let mapped = flow.mapped;
        if let (Some(connection), Some(segment)) = (&mut flow.connection, &segment) {
            if connection.phase == Phase::Ended {
                return Err(Refused {
                    reason: "expired",
                    answer: connection.answer_after_end(segment),
                });
            }
            let before = connection.phase;
            connection.learn(from, segment);
            if connection.phase == Phase::Closed && before != Phase::Closed {
                *notice = Some(notice_of(
                    &self.plan,
                    &key,
                    mapped,
                    packet.departed,
                    FlowState::Closed,
                ));
            }
            if before == Phase::Closed {
                // What comes late passes, and prolongs nothing.
                return Ok(self.rewritten(from, packet.bytes, key.inside, mapped));
            }
        }
        flow.until = packet.departed + limits.of(flow);
        // A limit that shrinks needs an earlier mark; one that grows is found at the old one.
        if flow.until < flow.marked {
            flow.marked = flow.until;
            self.marks.push(Reverse((flow.until, key)));
        }
        Ok(self.rewritten(from, packet.bytes, key.inside, mapped))
    }

    /// The flow that a packet belongs to, if its ends can be those of one.
    fn key(&self, from: Side, ends: &Ends) -> Option<Key> {
        // What an error quotes was sent the other way.
        let sent_by_inside = (from == Side::Inside) != ends.quoted;
        let (inside, outside) = match sent_by_inside {
            true => (ends.src, ends.dst),
            false => (ends.dst, ends.src),
        };
        let inside = match &self.ports {
            // The outside knows the inside by its mapped address alone.
            Some(ports) if from == Side::Outside => ports.owner(ends.protocol, inside)?,
            _ => inside,
        };
        Some(Key {
            protocol: ends.protocol,
            inside,
            outside,
        })
    }

    /// What happens to a packet of no flow.
    fn unknown(&self, from: Side, packet: &Passing<'_>) -> Refused {
        let tells = self.plan.expiry == Expiry::RstOnNextPacket
            // A NAT that knows no mapping knows nobody in whose name to answer.
            && (from == Side::Inside || self.ports.is_none());
        let segment =
            Segment::parse(packet.bytes).filter(|segment| tells && !segment.flags.has(Flags::SYN));
        Refused {
            reason: "no entry",
            answer: segment.as_ref().and_then(reset_sender),
        }
    }

    /// What happens to packets that have no ports: ICMP queries, fragments, other protocols.
    fn pass_without_ends(&self, from: Side, ip: &Ipv4<'_>) -> Result<Option<Rewritten>, Refused> {
        if self.ports.is_some() {
            return Err(Refused::silently("not translated"));
        }
        // From outside, only the answer to an echo.
        let asked =
            from == Side::Inside || (ip.protocol == ipv4::ICMP && ip.payload.first() == Some(&0));
        match asked {
            true => Ok(None),
            false => Err(Refused::silently("no entry")),
        }
    }

    /// The packet with the other address, where the box is a NAT.
    fn rewritten(
        &self,
        from: Side,
        bytes: &[u8],
        inside: SocketAddrV4,
        mapped: SocketAddrV4,
    ) -> Option<Rewritten> {
        self.ports.as_ref()?;
        let change = match from {
            Side::Inside => Readdress::Src(mapped),
            Side::Outside => Readdress::Dst(inside),
        };
        Some(Rewritten {
            bytes: readdress(bytes, change)?,
            inside: from == Side::Outside,
        })
    }

    /// Makes room for a new connection between the ends of one that is over.
    fn make_room(&mut self, key: &Key, segment: Option<&Segment<'_>>, from: Side) {
        let Some(flow) = self.flows.get(key) else {
            return;
        };
        let over = flow
            .connection
            .as_ref()
            .is_some_and(|connection| matches!(connection.phase, Phase::Closed | Phase::Ended));
        let again = from == Side::Inside
            && segment.is_some_and(|segment| {
                segment.flags.has(Flags::SYN) && !segment.flags.has(Flags::ACK)
            });
        if over && again {
            self.forget(key);
        }
    }

    fn open(&mut self, key: Key, now: Instant) -> Result<Notice, Refused> {
        let mapped = match &mut self.ports {
            Some(ports) => ports
                .take(key.protocol, key.inside)
                .ok_or(Refused::silently("no port left"))?,
            None => key.inside,
        };
        let mut flow = Flow {
            mapped,
            until: now,
            marked: now,
            connection: (key.protocol == ipv4::TCP).then(Connection::new),
        };
        flow.until = now + self.limits().of(&flow);
        flow.marked = flow.until;
        self.marks.push(Reverse((flow.until, key)));
        self.flows.insert(key, flow);
        Ok(notice_of(&self.plan, &key, mapped, now, FlowState::Opened))
    }

    fn forget(&mut self, key: &Key) {
        if self.flows.remove(key).is_some()
            && let Some(ports) = &mut self.ports
        {
            ports.give_back(key.protocol, key.inside);
        }
    }
}

fn notice_of(
    plan: &plan::Middlebox,
    key: &Key,
    mapped: SocketAddrV4,
    at: Instant,
    state: FlowState,
) -> Notice {
    Notice {
        at,
        fact: Fact::Flow {
            middlebox: plan.kind.as_str().to_owned(),
            state,
            inside: SocketAddr::V4(key.inside),
            outside: SocketAddr::V4(key.outside),
            mapped: (plan.kind == Kind::Nat).then_some(SocketAddr::V4(mapped)),
        },
    }
}

#[cfg(test)]
mod tests;
