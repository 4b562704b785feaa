//! An armed rule: which packets it takes, and what it makes of them.

use std::{borrow::Cow, time::Duration};

use linger_shared::{
    dissect::{flow::FlowTracker, tcp::Flags},
    event::HostName,
    rule::{Act, Flag, Match, Refusal, Reply, RuleSpec},
};

use super::{Answer, Fate, Judgement, Passing};
use crate::wire::craft::{
    Segment, Unreachable, ends, reply, reset_receiver, reset_sender, unreachable,
};

/// Where on the way rules act: half-way, so that a drop is seen apart from both hosts.
pub(super) const PLACE: f64 = 0.5;

/// How far into a payload a text is looked for, in bytes.
const SEARCHED: usize = 4_096;

/// A packet as rules look at it: parsed once, however many rules there are.
pub(super) struct Sight<'a> {
    pub(super) from: HostName,
    pub(super) to: Option<HostName>,
    bytes: &'a [u8],
    segment: Option<Segment<'a>>,
}

impl<'a> Sight<'a> {
    /// Looks at a packet that goes to a host, where it is known to which.
    pub(super) fn of(packet: &Passing<'a>, to: Option<HostName>) -> Self {
        Self {
            from: packet.from,
            to,
            bytes: packet.bytes,
            segment: Segment::parse(packet.bytes),
        }
    }
}

/// A rule that is armed.
pub(super) struct ArmedRule {
    pub(super) id: u64,
    pub(super) by: &'static str,
    /// With a name.
    pub(super) spec: RuleSpec,
    with: Flags,
    without: Vec<Flags>,
    matched: u32,
    acted: u32,
}

impl ArmedRule {
    /// A rule that has seen nothing yet. The spec was checked.
    pub(super) fn new(id: u64, by: &'static str, spec: RuleSpec) -> Self {
        let all = |flags: &[Flag]| {
            flags
                .iter()
                .fold(Flags::default(), |all, flag| all.with(flag.bit()))
        };
        Self {
            id,
            by,
            with: all(&spec.matches.with),
            without: spec.matches.without.iter().map(|flag| flag.bit()).collect(),
            spec,
            matched: 0,
            acted: 0,
        }
    }

    /// Whether it has acted as often as it was to.
    pub(super) fn is_spent(&self) -> bool {
        self.spec.times.is_some_and(|times| self.acted >= times)
    }

    /// Counts a packet if it is one of those looked for, and acts on it if it is its turn. Gives
    /// whether it acted.
    pub(super) fn judge(&mut self, sight: &Sight<'_>, judgement: &mut Judgement) -> bool {
        if self.is_spent() || !self.looks_for(sight) {
            return false;
        }
        self.matched = self.matched.saturating_add(1);
        if self.matched < self.spec.matches.nth {
            return false;
        }
        self.acted = self.acted.saturating_add(1);
        self.act(sight, judgement);
        true
    }

    fn looks_for(&self, sight: &Sight<'_>) -> bool {
        let Match {
            from,
            to,
            with,
            without,
            payload,
            port,
            contains,
            nth: _,
        } = &self.spec.matches;
        if from.is_some_and(|from| from != sight.from) || (to.is_some() && *to != sight.to) {
            return false;
        }
        if !(with.is_empty() && without.is_empty() && payload.is_none()) {
            let Some(segment) = &sight.segment else {
                return false;
            };
            let flags = segment.flags.has(self.with)
                && !self.without.iter().any(|flag| segment.flags.has(*flag));
            if !flags || payload.is_some_and(|wanted| wanted == segment.payload.is_empty()) {
                return false;
            }
        }
        port.is_none_or(|port| has_port(sight, port))
            && contains.as_ref().is_none_or(|text| contained(sight, text))
    }

    fn act(&self, sight: &Sight<'_>, judgement: &mut Judgement) {
        match &self.spec.act {
            Act::Drop {} => judgement.fate = self.gone("dropped"),
            Act::Reject { with } => {
                judgement.fate = self.gone(match with {
                    Refusal::Rst | Refusal::RstBoth => "rejected: RST",
                    Refusal::NetUnreachable => "rejected: no route",
                    Refusal::HostUnreachable => "rejected: no host",
                    Refusal::PortUnreachable => "rejected: no port",
                    Refusal::AdminProhibited => "rejected: prohibited",
                });
                self.refuse(*with, sight, judgement);
            }
            Act::Answer { with } => {
                let bytes = sight.segment.as_ref().and_then(|segment| match with {
                    Reply::Rst => reset_sender(segment),
                    Reply::Text(text) => reply(segment, text.as_bytes()),
                });
                self.answer_sender(bytes, sight, judgement);
            }
            Act::Delay { by_us } => judgement.delay += Duration::from_micros(*by_us),
        }
    }

    fn gone(&self, reason: &'static str) -> Fate {
        Fate::Drop {
            rule: Cow::Owned(self.spec.name.clone()),
            reason: reason.into(),
            place: PLACE,
        }
    }

    /// Tells the sender, and the receiver where both are to be told, as far as this packet can be
    /// answered at all.
    fn refuse(&self, with: Refusal, sight: &Sight<'_>, judgement: &mut Judgement) {
        let why = match with {
            Refusal::Rst | Refusal::RstBoth => {
                let reset = sight.segment.as_ref().and_then(reset_sender);
                self.answer_sender(reset, sight, judgement);
                if with == Refusal::RstBoth {
                    let reset = sight.segment.as_ref().and_then(reset_receiver);
                    self.answer_receiver(reset, sight, judgement);
                }
                return;
            }
            Refusal::NetUnreachable => Unreachable::Network,
            Refusal::HostUnreachable => Unreachable::Host,
            Refusal::PortUnreachable => Unreachable::Port,
            Refusal::AdminProhibited => Unreachable::Prohibited,
        };
        // In the name of whom the packet was for: the wire has no address of its own.
        let bytes = linger_shared::dissect::ipv4::Ipv4::parse(sight.bytes)
            .ok()
            .and_then(|ip| unreachable(sight.bytes, ip.dst, why));
        self.answer_sender(bytes, sight, judgement);
    }

    fn answer_sender(
        &self,
        bytes: Option<Box<[u8]>>,
        sight: &Sight<'_>,
        judgement: &mut Judgement,
    ) {
        if let Some(to) = sight.to {
            self.send(bytes, to, sight.from, judgement);
        }
    }

    fn answer_receiver(
        &self,
        bytes: Option<Box<[u8]>>,
        sight: &Sight<'_>,
        judgement: &mut Judgement,
    ) {
        if let Some(to) = sight.to {
            self.send(bytes, sight.from, to, judgement);
        }
    }

    fn send(
        &self,
        bytes: Option<Box<[u8]>>,
        from: HostName,
        to: HostName,
        judgement: &mut Judgement,
    ) {
        if let Some(bytes) = bytes {
            judgement.answers.push(Answer {
                from,
                to,
                bytes,
                rewritten: None,
                rule: Cow::Owned(self.spec.name.clone()),
                place: PLACE,
            });
        }
    }
}

fn has_port(sight: &Sight<'_>, port: u16) -> bool {
    match &sight.segment {
        Some(segment) => segment.src.port() == port || segment.dst.port() == port,
        None => ends(sight.bytes)
            .is_some_and(|ends| !ends.quoted && [ends.src.port(), ends.dst.port()].contains(&port)),
    }
}

/// Whether a packet's payload contains a text, or the line that it would be labelled with.
fn contained(sight: &Sight<'_>, text: &str) -> bool {
    let wanted = text.as_bytes();
    let payload = sight
        .segment
        .as_ref()
        .map_or(&[][..], |segment| segment.payload);
    let searched = &payload[..payload.len().min(SEARCHED)];
    searched
        .windows(wanted.len().max(1))
        .any(|part| part == wanted)
        // A tracker that has seen nothing says what the packet is by itself.
        || FlowTracker::new().observe(sight.bytes).summary.contains(text)
}

#[cfg(test)]
mod tests {
    use std::{
        net::{Ipv4Addr, SocketAddrV4},
        time::Instant,
    };

    use linger_shared::dissect::{icmp::Icmp, ipv4::Ipv4};

    use super::*;
    use crate::wire::craft::{Draft, testing::assert_valid};

    const CLIENT: SocketAddrV4 = SocketAddrV4::new(Ipv4Addr::new(192, 0, 2, 1), 40_000);
    const SERVER: SocketAddrV4 = SocketAddrV4::new(Ipv4Addr::new(198, 51, 100, 1), 7654);

    fn packet(flags: Flags, ack: Option<u32>, payload: &[u8]) -> Box<[u8]> {
        Draft {
            from: CLIENT,
            to: SERVER,
            seq: 1_000,
            ack,
            flags,
            window: 502,
            timestamps: None,
            payload,
        }
        .packet()
        .expect("it fits")
    }

    fn syn() -> Box<[u8]> {
        packet(Flags::SYN, None, b"")
    }

    fn data(payload: &[u8]) -> Box<[u8]> {
        packet(Flags::PSH, Some(700), payload)
    }

    fn armed(text: &str) -> ArmedRule {
        let spec: RuleSpec = text.parse().unwrap_or_else(|error| panic!("{error}"));
        ArmedRule::new(0, "script", spec)
    }

    /// What a rule makes of a packet from the client to the server.
    fn judge(rule: &mut ArmedRule, bytes: &[u8]) -> Option<Judgement> {
        let passing = Passing {
            id: 0,
            from: HostName::Client,
            bytes,
            departed: Instant::now(),
        };
        let mut judgement = Judgement::deliver();
        rule.judge(&Sight::of(&passing, Some(HostName::Server)), &mut judgement)
            .then_some(judgement)
    }

    fn acts(text: &str, bytes: &[u8]) -> bool {
        judge(&mut armed(text), bytes).is_some()
    }

    #[test]
    fn every_demand_of_a_match_is_looked_at() {
        let (syn, data, ack) = (
            syn(),
            data(b"hello"),
            packet(Flags::default(), Some(1), b""),
        );
        for (text, expected) in [
            ("drop packet", [true, true, true]),
            ("drop syn", [true, false, false]),
            ("drop syn-ack", [false, false, false]),
            ("drop data", [false, true, false]),
            ("drop empty", [true, false, true]),
            ("drop ack", [false, false, true]),
            ("drop packet with psh,ack", [false, true, false]),
            ("drop packet without psh,syn", [false, false, true]),
            ("drop packet from client", [true, true, true]),
            ("drop packet from server", [false, false, false]),
            ("drop packet to server", [true, true, true]),
            ("drop packet to client", [false, false, false]),
            ("drop packet port 7654", [true, true, true]),
            ("drop packet port 40000", [true, true, true]),
            ("drop packet port 80", [false, false, false]),
            ("drop packet containing ell", [false, true, false]),
            ("drop packet containing hello!", [false, false, false]),
            ("drop packet containing SYN", [true, false, false]),
        ] {
            let found = [&syn, &data, &ack].map(|packet| acts(text, packet));
            assert_eq!(found, expected, "{text}");
        }
    }

    #[test]
    fn what_is_no_segment_matches_only_what_asks_for_none() {
        let icmp = unreachable(&syn(), *SERVER.ip(), Unreachable::Host).unwrap();
        assert!(acts("drop packet", &icmp));
        assert!(acts("drop packet containing \"host unreachable\"", &icmp));
        for text in [
            "drop data",
            "drop empty",
            "drop packet without syn",
            "drop packet port 7654",
        ] {
            assert!(!acts(text, &icmp), "{text}");
        }
        assert!(acts("drop packet", &[0x60; 48]));
    }

    #[test]
    fn content_is_found_by_what_the_packet_would_be_labelled_with() {
        let request = data(b"GET /3 HTTP/1.1\r\nHost: x\r\n\r\n");
        assert!(acts("drop next data containing \"GET /3\"", &request));
        assert!(!acts("drop next data containing \"GET /4\"", &request));
        assert!(acts("drop next data containing Host:", &request));
    }

    #[test]
    fn only_the_matches_that_are_its_turn_are_acted_on() {
        let turns = |text: &str| {
            let mut rule = armed(text);
            let acted: Vec<bool> = (0..5)
                .map(|_| judge(&mut rule, &data(b"x")).is_some())
                .collect();
            (acted, rule.is_spent())
        };
        let (yes, no) = (true, false);
        assert_eq!(turns("drop data"), (vec![yes; 5], false));
        assert_eq!(turns("drop next data"), (vec![yes, no, no, no, no], true));
        assert_eq!(
            turns("drop next 2 data"),
            (vec![yes, yes, no, no, no], true)
        );
        assert_eq!(turns("drop 3rd data"), (vec![no, no, yes, no, no], true));
        assert_eq!(
            turns("drop 3rd+ data"),
            (vec![no, no, yes, yes, yes], false)
        );
        assert_eq!(
            turns("drop 2nd+ data times 2"),
            (vec![no, yes, yes, no, no], true)
        );
        // What does not match is not counted.
        let mut rule = armed("drop 2nd data");
        assert!(judge(&mut rule, &data(b"x")).is_none());
        assert!(judge(&mut rule, &syn()).is_none());
        assert!(judge(&mut rule, &data(b"x")).is_some());
    }

    #[test]
    fn a_drop_is_silent_and_bears_the_rules_name() {
        let judgement = judge(&mut armed("drop next data as lost"), &data(b"x")).unwrap();
        assert_eq!(
            judgement.fate,
            Fate::Drop {
                rule: "lost".into(),
                reason: "dropped".into(),
                place: PLACE
            }
        );
        assert_eq!(judgement.answers, []);
    }

    #[test]
    fn a_rejection_drops_and_tells_the_sender_in_the_receivers_name() {
        let judgement = judge(&mut armed("reject rst syn as no"), &syn()).unwrap();
        assert_ne!(judgement.fate, Fate::Deliver);
        let [answer] = &judgement.answers[..] else {
            panic!("{:?}", judgement.answers)
        };
        assert_eq!(
            (answer.from, answer.to),
            (HostName::Server, HostName::Client)
        );
        assert_eq!((answer.rule.as_ref(), answer.place), ("no", PLACE));
        assert_valid(&answer.bytes);
        let reset = Segment::parse(&answer.bytes).unwrap();
        assert_eq!((reset.seq, reset.ack), (0, 1_001));

        for (refusal, code) in [
            ("net-unreachable", 0),
            ("host-unreachable", 1),
            ("port-unreachable", 3),
            ("admin-prohibited", 13),
        ] {
            let judgement = judge(&mut armed(&format!("reject {refusal} syn")), &syn()).unwrap();
            let answer = &judgement.answers[0];
            let ip = Ipv4::parse(&answer.bytes).unwrap();
            assert_eq!((ip.src, ip.dst), (*SERVER.ip(), *CLIENT.ip()));
            assert_eq!(Icmp::parse(ip.payload).unwrap().code, code, "{refusal}");
        }
    }

    #[test]
    fn both_sides_are_reset_each_in_the_others_name() {
        let judgement = judge(&mut armed("reject rst-both data"), &data(b"hello")).unwrap();
        let whom: Vec<_> = judgement
            .answers
            .iter()
            .map(|answer| {
                (
                    answer.from,
                    answer.to,
                    Segment::parse(&answer.bytes).unwrap().seq,
                )
            })
            .collect();
        assert_eq!(
            whom,
            [
                (HostName::Server, HostName::Client, 700),
                (HostName::Client, HostName::Server, 1_000)
            ]
        );
    }

    #[test]
    fn an_answered_packet_goes_on() {
        let judgement = judge(&mut armed("answer \"no\" data"), &data(b"hello")).unwrap();
        assert_eq!(judgement.fate, Fate::Deliver);
        let forged = Segment::parse(&judgement.answers[0].bytes).unwrap();
        assert_eq!(
            (forged.seq, forged.ack, forged.payload),
            (700, 1_005, &b"no"[..])
        );
        let judgement = judge(&mut armed("answer rst data"), &data(b"hello")).unwrap();
        assert_eq!(judgement.fate, Fate::Deliver);
        assert_eq!(
            Segment::parse(&judgement.answers[0].bytes).unwrap().flags,
            Flags::RST
        );
    }

    #[test]
    fn delays_add_up() {
        let mut judgement = Judgement::deliver();
        let bytes = data(b"x");
        let passing = Passing {
            id: 0,
            from: HostName::Client,
            bytes: &bytes,
            departed: Instant::now(),
        };
        let sight = Sight::of(&passing, None);
        assert!(armed("delay 200ms data").judge(&sight, &mut judgement));
        assert!(armed("delay 50ms packet").judge(&sight, &mut judgement));
        assert_eq!(judgement.delay, Duration::from_millis(250));
        assert_eq!(judgement.fate, Fate::Deliver);
    }

    #[test]
    fn a_reset_that_is_rejected_is_dropped_without_an_answer() {
        let judgement = judge(
            &mut armed("reject rst packet"),
            &packet(Flags::RST, None, b""),
        )
        .unwrap();
        assert_ne!(judgement.fate, Fate::Deliver);
        assert_eq!(judgement.answers, []);
    }
}
