use std::time::Duration;

use linger_shared::dissect::icmp::Icmp;

use super::*;
use crate::wire::craft::{Draft, Unreachable, testing::assert_valid, unreachable};

const CLIENT: SocketAddrV4 = SocketAddrV4::new(Ipv4Addr::new(192, 0, 2, 1), 40_000);
const SERVER: SocketAddrV4 = SocketAddrV4::new(Ipv4Addr::new(198, 51, 100, 1), 7654);
const MAPPED: SocketAddrV4 = SocketAddrV4::new(NAT_ADDRESS, 40_000);

const IDLE: Duration = Duration::from_secs(10);
const TRANSITORY: Duration = Duration::from_secs(3);

/// A box, a clock, and what both hosts have said.
struct Bench {
    middlebox: Middlebox,
    now: Instant,
    notices: Vec<Notice>,
}

impl Bench {
    fn new(kind: Kind, expiry: Expiry) -> Self {
        let plan = plan::Middlebox {
            transitory_us: 3_000_000,
            place: 0.25,
            ..plan::Middlebox::new(kind, 10_000_000).expiring(expiry)
        };
        plan.check().unwrap();
        Self {
            middlebox: Middlebox::new(
                plan,
                (HostName::Client, *CLIENT.ip()),
                (HostName::Server, *SERVER.ip()),
            ),
            now: Instant::now(),
            notices: Vec::new(),
        }
    }

    fn judge(&mut self, from: HostName, bytes: &[u8]) -> Judgement {
        let mut judgement = Judgement::deliver();
        let packet = Passing {
            id: 0,
            from,
            bytes,
            departed: self.now,
        };
        let notices = self.middlebox.judge(&packet, &mut judgement);
        self.notices.extend(notices);
        judgement
    }

    /// A segment between the two, as its sender makes it.
    fn segment(
        &mut self,
        from: HostName,
        letters: &str,
        seq: u32,
        ack: u32,
        payload: &[u8],
    ) -> Judgement {
        let packet = self.packet(from, letters, seq, ack, payload);
        self.judge(from, &packet)
    }

    fn packet(
        &self,
        from: HostName,
        letters: &str,
        seq: u32,
        ack: u32,
        payload: &[u8],
    ) -> Box<[u8]> {
        let flag = |letter| match letter {
            'S' => Flags::SYN,
            'F' => Flags::FIN,
            'R' => Flags::RST,
            'P' => Flags::PSH,
            'A' => Flags::ACK,
            _ => panic!("no flag has the letter {letter}"),
        };
        let known = match self.middlebox.ports {
            Some(_) => MAPPED,
            None => CLIENT,
        };
        let (from, to) = match from {
            HostName::Server => (SERVER, known),
            _ => (CLIENT, SERVER),
        };
        let flags = letters
            .chars()
            .map(flag)
            .fold(Flags::default(), Flags::with);
        Draft {
            from,
            to,
            seq,
            ack: flags.has(Flags::ACK).then_some(ack),
            flags,
            window: 500,
            timestamps: Some((seq, ack)),
            payload,
        }
        .packet()
        .expect("it fits")
    }

    /// Opens a connection: the client's next byte is 101, the server's 501.
    fn open(&mut self) {
        for (from, letters, seq, ack) in [
            (HostName::Client, "S", 100, 0),
            (HostName::Server, "SA", 500, 101),
            (HostName::Client, "A", 101, 501),
        ] {
            let judgement = self.segment(from, letters, seq, ack, b"");
            assert_eq!(judgement.fate, Fate::Deliver, "{letters}");
        }
    }

    fn keeps_quiet(&mut self, span: Duration) {
        self.now += span;
    }

    fn due(&mut self) -> Vec<Answer> {
        let (answers, notices) = self.middlebox.due(self.now);
        self.notices.extend(notices);
        answers
    }

    /// What the box said since last asked: the states, and when, on a clock from `start`.
    fn said(&mut self, start: Instant) -> Vec<(FlowState, Duration)> {
        self.notices
            .drain(..)
            .map(|notice| match notice.fact {
                Fact::Flow { state, .. } => (state, notice.at - start),
                other => panic!("a box tells of flows: {other:?}"),
            })
            .collect()
    }
}

fn dropped(judgement: &Judgement) -> Option<(&str, f64)> {
    match &judgement.fate {
        Fate::Drop { reason, place, .. } => Some((reason, *place)),
        Fate::Deliver => None,
    }
}

#[test]
fn a_connection_is_opened_used_and_closed() {
    let mut bench = Bench::new(Kind::Firewall, Expiry::Silence);
    let start = bench.now;
    bench.open();
    for (from, letters, seq, ack) in [
        (HostName::Client, "PA", 101, 501),
        (HostName::Server, "A", 501, 102),
        (HostName::Client, "FA", 102, 501),
        (HostName::Server, "FA", 501, 103),
        (HostName::Client, "A", 103, 502),
    ] {
        let payload: &[u8] = if letters == "PA" { b"x" } else { b"" };
        let judgement = bench.segment(from, letters, seq, ack, payload);
        assert_eq!(judgement, Judgement::deliver(), "{letters}");
    }
    let zero = Duration::ZERO;
    assert_eq!(
        bench.said(start),
        [(FlowState::Opened, zero), (FlowState::Closed, zero)]
    );
    // What is sent again still passes, for the transitory limit, and nobody hears of the end.
    assert!(dropped(&bench.segment(HostName::Server, "FA", 501, 103, b"")).is_none());
    bench.keeps_quiet(TRANSITORY);
    assert_eq!(bench.due(), []);
    assert!(dropped(&bench.segment(HostName::Server, "FA", 501, 103, b"")).is_some());
    assert_eq!(bench.said(start), []);
    assert_eq!(bench.middlebox.deadline(), None);
}

#[test]
fn what_comes_from_outside_without_an_entry_is_dropped() {
    for expiry in Expiry::ALL {
        let mut bench = Bench::new(Kind::Firewall, expiry);
        let judgement = bench.segment(HostName::Server, "S", 1, 0, b"");
        assert_eq!(dropped(&judgement), Some(("no entry", 0.75)), "{expiry:?}");
        assert_eq!(judgement.answers, []);
    }
}

#[test]
fn an_idle_connection_is_forgotten_at_its_limit_and_not_before() {
    let mut bench = Bench::new(Kind::Firewall, Expiry::Silence);
    let start = bench.now;
    bench.open();
    bench.keeps_quiet(IDLE - Duration::from_micros(1));
    assert_eq!(bench.due(), []);
    assert_eq!(bench.middlebox.deadline(), Some(start + IDLE));
    bench.keeps_quiet(Duration::from_micros(1));
    assert_eq!(bench.due(), []);
    assert_eq!(
        bench.said(start),
        [
            (FlowState::Opened, Duration::ZERO),
            (FlowState::Expired, IDLE)
        ]
    );
    for from in [HostName::Client, HostName::Server] {
        let judgement = bench.segment(from, "PA", 101, 501, b"x");
        assert_eq!(dropped(&judgement).unwrap().0, "no entry");
        assert_eq!(judgement.answers, []);
    }
}

#[test]
fn a_packet_of_either_end_prolongs_what_is_established() {
    for from in [HostName::Client, HostName::Server] {
        let mut bench = Bench::new(Kind::Firewall, Expiry::Silence);
        let start = bench.now;
        bench.open();
        for _ in 0..5 {
            bench.keeps_quiet(IDLE / 2);
            assert_eq!(bench.due(), []);
            // A keep-alive probe, or its answer.
            let judgement = bench.segment(from, "A", 100, 501, b"");
            assert!(dropped(&judgement).is_none());
        }
        bench.said(start);
        bench.keeps_quiet(IDLE);
        bench.due();
        assert_eq!(
            bench.said(start),
            [(FlowState::Expired, IDLE / 2 * 5 + IDLE)]
        );
    }
}

#[test]
fn a_packet_right_at_the_limit_comes_too_late_even_if_nobody_asked_before() {
    let mut bench = Bench::new(Kind::Firewall, Expiry::RstToBoth);
    let start = bench.now;
    bench.open();
    bench.keeps_quiet(IDLE);
    let judgement = bench.segment(HostName::Client, "PA", 101, 501, b"x");
    assert_eq!(dropped(&judgement), Some(("no entry", 0.25)));
    assert_eq!(bench.said(start)[1], (FlowState::Expired, IDLE));
    // What the limit makes the box send is due at once.
    assert_eq!(bench.middlebox.deadline(), Some(bench.now));
    assert_eq!(bench.due().len(), 2);
    assert_eq!(bench.middlebox.deadline(), None);
}

#[test]
fn an_opening_that_is_not_completed_is_forgotten_after_the_transitory_limit() {
    let mut bench = Bench::new(Kind::Firewall, Expiry::RstToBoth);
    let start = bench.now;
    bench.segment(HostName::Client, "S", 100, 0, b"");
    bench.keeps_quiet(TRANSITORY);
    // Nobody has acknowledged anything, so there is nobody who would take an RST.
    assert_eq!(bench.due(), []);
    assert_eq!(bench.said(start)[1], (FlowState::Expired, TRANSITORY));
}

#[test]
fn a_half_closed_connection_keeps_its_long_limit_and_a_closing_one_does_not() {
    let mut bench = Bench::new(Kind::Firewall, Expiry::Silence);
    let start = bench.now;
    bench.open();
    bench.segment(HostName::Client, "FA", 101, 501, b"");
    bench.segment(HostName::Server, "A", 501, 102, b"");
    bench.keeps_quiet(IDLE / 2);
    assert!(dropped(&bench.segment(HostName::Server, "PA", 501, 102, b"x")).is_none());
    bench.segment(HostName::Server, "FA", 502, 102, b"");
    bench.said(start);
    // The last ACK never comes.
    bench.keeps_quiet(TRANSITORY);
    assert_eq!(bench.middlebox.deadline(), Some(bench.now));
    bench.due();
    assert_eq!(
        bench.said(start),
        [(FlowState::Expired, IDLE / 2 + TRANSITORY)]
    );
}

#[test]
fn a_reset_closes_and_the_same_ends_may_connect_again() {
    let mut bench = Bench::new(Kind::Firewall, Expiry::Silence);
    let start = bench.now;
    bench.open();
    bench.segment(HostName::Server, "R", 501, 0, b"");
    bench.open();
    let states: Vec<FlowState> = bench
        .said(start)
        .into_iter()
        .map(|(state, _)| state)
        .collect();
    assert_eq!(
        states,
        [FlowState::Opened, FlowState::Closed, FlowState::Opened]
    );
    bench.keeps_quiet(IDLE / 2);
    assert_eq!(bench.due(), []);
    assert!(dropped(&bench.segment(HostName::Server, "PA", 501, 101, b"x")).is_none());
}

#[test]
fn the_next_packet_of_a_forgotten_connection_meets_an_rst() {
    let mut bench = Bench::new(Kind::Firewall, Expiry::RstOnNextPacket);
    bench.open();
    bench.keeps_quiet(IDLE);
    assert_eq!(bench.due(), []);
    let judgement = bench.segment(HostName::Client, "PA", 101, 501, b"x");
    assert_eq!(dropped(&judgement), Some(("no entry", 0.25)));
    let [answer] = &judgement.answers[..] else {
        panic!("{:?}", judgement.answers)
    };
    assert_eq!(
        (answer.from, answer.to),
        (HostName::Server, HostName::Client)
    );
    assert_eq!((answer.rule.as_ref(), answer.place), ("firewall", 0.75));
    assert_valid(&answer.bytes);
    let reset = Segment::parse(&answer.bytes).unwrap();
    assert_eq!((reset.src, reset.dst, reset.seq), (SERVER, CLIENT, 501));
    // The outside is told too, when it is its turn to speak.
    let judgement = bench.segment(HostName::Server, "PA", 501, 101, b"x");
    let reset = Segment::parse(&judgement.answers[0].bytes).unwrap();
    assert_eq!((reset.src, reset.dst, reset.seq), (CLIENT, SERVER, 101));
}

#[test]
fn both_ends_are_reset_where_they_expect_the_next_byte() {
    let mut bench = Bench::new(Kind::Firewall, Expiry::RstToBoth);
    bench.open();
    bench.segment(HostName::Client, "PA", 101, 501, b"hello");
    bench.segment(HostName::Server, "A", 501, 106, b"");
    bench.keeps_quiet(IDLE);
    let answers = bench.due();
    let told: Vec<_> = answers
        .iter()
        .map(|answer| {
            assert_valid(&answer.bytes);
            let reset = Segment::parse(&answer.bytes).unwrap();
            assert_eq!(reset.flags, Flags::RST);
            (answer.from, answer.to, answer.place, reset.seq)
        })
        .collect();
    assert_eq!(
        told,
        [
            (HostName::Server, HostName::Client, 0.75, 501),
            (HostName::Client, HostName::Server, 0.25, 106)
        ]
    );
}

#[test]
fn a_box_that_sends_fins_sees_the_closing_through() {
    let mut bench = Bench::new(Kind::Firewall, Expiry::FinToBoth);
    let start = bench.now;
    bench.open();
    bench.keeps_quiet(IDLE);
    let answers = bench.due();
    assert_eq!(answers.len(), 2);
    let fin = Segment::parse(&answers[0].bytes).unwrap();
    assert_eq!((fin.src, fin.dst), (SERVER, CLIENT));
    assert_eq!(fin.flags.to_string(), "FIN,ACK");
    assert_eq!((fin.seq, fin.ack, fin.window), (501, 101, 500));
    assert_eq!(fin.timestamps(), Some((500, 101)));
    let fin = Segment::parse(&answers[1].bytes).unwrap();
    assert_eq!(
        (fin.src, fin.dst, fin.seq, fin.ack),
        (CLIENT, SERVER, 101, 501)
    );

    // The ACK of the FIN needs no answer, the client's own FIN is acknowledged, data is refused.
    let judgement = bench.segment(HostName::Client, "A", 101, 502, b"");
    assert_eq!(dropped(&judgement).unwrap().0, "expired");
    assert_eq!(judgement.answers, []);
    let judgement = bench.segment(HostName::Client, "FA", 101, 502, b"");
    let ack = Segment::parse(&judgement.answers[0].bytes).unwrap();
    assert_eq!(
        (ack.src, ack.flags, ack.seq, ack.ack),
        (SERVER, Flags::ACK, 502, 102)
    );
    let judgement = bench.segment(HostName::Server, "PA", 501, 102, b"late");
    let reset = Segment::parse(&judgement.answers[0].bytes).unwrap();
    assert_eq!(
        (reset.src, reset.flags, reset.seq),
        (CLIENT, Flags::RST, 102)
    );

    let states: Vec<FlowState> = bench
        .said(start)
        .into_iter()
        .map(|(state, _)| state)
        .collect();
    assert_eq!(states, [FlowState::Opened, FlowState::Expired]);
    bench.keeps_quiet(TRANSITORY);
    assert_eq!(bench.due(), []);
    assert_eq!(bench.said(start), []);
    assert!(bench.middlebox.flows.is_empty() && bench.middlebox.marks.is_empty());
}

#[test]
fn a_nat_hides_the_inside_and_finds_it_again() {
    let mut bench = Bench::new(Kind::Nat, Expiry::Silence);
    let judgement = bench.segment(HostName::Client, "S", 100, 0, b"");
    let outside = judgement.rewritten.expect("it is rewritten");
    assert!(!outside.inside);
    assert_valid(&outside.bytes);
    let seen = Segment::parse(&outside.bytes).unwrap();
    assert_eq!((seen.src, seen.dst, seen.seq), (MAPPED, SERVER, 100));
    let judgement = bench.segment(HostName::Server, "SA", 500, 101, b"");
    let inside = judgement.rewritten.expect("it is rewritten");
    assert!(inside.inside);
    assert_valid(&inside.bytes);
    let seen = Segment::parse(&inside.bytes).unwrap();
    assert_eq!((seen.src, seen.dst, seen.seq), (SERVER, CLIENT, 500));
    let facts: Vec<&Fact> = bench.notices.iter().map(|notice| &notice.fact).collect();
    assert!(matches!(
        facts[..],
        [Fact::Flow { inside, outside, mapped: Some(mapped), .. }]
            if (*inside, *outside, *mapped)
                == (CLIENT.into(), SERVER.into(), SocketAddr::V4(MAPPED))
    ));
}

#[test]
fn a_nat_lets_nobody_reach_the_inside_by_its_own_address() {
    let mut bench = Bench::new(Kind::Nat, Expiry::RstOnNextPacket);
    bench.open();
    let mut to_inside = bench.packet(HostName::Server, "PA", 501, 101, b"x");
    to_inside = readdress(&to_inside, Readdress::Dst(CLIENT)).unwrap();
    let judgement = bench.judge(HostName::Server, &to_inside);
    assert_eq!(dropped(&judgement).unwrap().0, "no entry");
    assert_eq!(
        judgement.answers,
        [],
        "it knows nobody in whose name to answer"
    );
}

#[test]
fn a_nat_gives_its_port_back_when_it_forgets() {
    let mut bench = Bench::new(Kind::Nat, Expiry::RstOnNextPacket);
    bench.open();
    bench.keeps_quiet(IDLE);
    bench.due();
    let mapped = |bench: &Bench| bench.middlebox.ports.as_ref().unwrap().mapped(6, CLIENT);
    assert_eq!(mapped(&bench), None);
    let judgement = bench.segment(HostName::Client, "PA", 101, 501, b"x");
    let reset = Segment::parse(&judgement.answers[0].bytes).unwrap();
    assert_eq!((reset.src, reset.dst, reset.seq), (SERVER, CLIENT, 501));
    assert!(judgement.answers[0].rewritten.is_none());
    bench.open();
    assert_eq!(mapped(&bench), Some(MAPPED));
}

#[test]
fn what_a_nat_sends_at_a_limit_bears_the_address_that_each_end_knows() {
    for expiry in [Expiry::FinToBoth, Expiry::RstToBoth] {
        let mut bench = Bench::new(Kind::Nat, expiry);
        bench.open();
        bench.keeps_quiet(IDLE);
        let answers = bench.due();
        let [to_inside, to_outside] = &answers[..] else {
            panic!("{answers:?}")
        };
        let seen = Segment::parse(&to_inside.bytes).unwrap();
        assert_eq!((seen.src, seen.dst), (SERVER, CLIENT));
        assert_eq!(to_inside.rewritten, None);
        let known = Segment::parse(&to_outside.bytes).unwrap();
        assert_eq!((known.src, known.dst), (CLIENT, SERVER));
        let arriving = to_outside.rewritten.as_ref().expect("it is rewritten");
        assert_valid(&arriving.bytes);
        let seen = Segment::parse(&arriving.bytes).unwrap();
        assert_eq!((seen.src, seen.dst, seen.seq), (MAPPED, SERVER, 101));
    }
}

#[test]
fn a_fin_of_the_outside_is_acknowledged_in_the_mapped_name() {
    let mut bench = Bench::new(Kind::Nat, Expiry::FinToBoth);
    bench.open();
    bench.keeps_quiet(IDLE);
    bench.due();
    let judgement = bench.segment(HostName::Server, "FA", 501, 102, b"");
    let answer = &judgement.answers[0];
    assert_eq!(Segment::parse(&answer.bytes).unwrap().src, CLIENT);
    let arriving = answer.rewritten.as_ref().expect("it is rewritten");
    assert_valid(&arriving.bytes);
    assert_eq!(Segment::parse(&arriving.bytes).unwrap().src, MAPPED);
}

#[test]
fn an_icmp_error_finds_its_way_through_a_nat_and_prolongs_nothing() {
    let mut bench = Bench::new(Kind::Nat, Expiry::Silence);
    let start = bench.now;
    let syn = bench.segment(HostName::Client, "S", 100, 0, b"");
    let seen_outside = syn.rewritten.unwrap().bytes;
    let error = unreachable(&seen_outside, *SERVER.ip(), Unreachable::Port).unwrap();
    bench.keeps_quiet(TRANSITORY / 2);
    let judgement = bench.judge(HostName::Server, &error);
    let inside = judgement.rewritten.expect("it is rewritten").bytes;
    assert_valid(&inside);
    let ip = Ipv4::parse(&inside).unwrap();
    assert_eq!(ip.dst, *CLIENT.ip());
    assert_eq!(
        Icmp::parse(ip.payload).unwrap().meaning(),
        Some("port unreachable")
    );
    let told = ends(&inside).unwrap();
    assert_eq!((told.src, told.dst), (CLIENT, SERVER));
    assert_eq!(bench.middlebox.deadline(), Some(start + TRANSITORY));
    // An error about nothing that the box knows does not pass.
    let stranger = readdress(
        &seen_outside,
        Readdress::Src(SocketAddrV4::new(NAT_ADDRESS, 9)),
    )
    .unwrap();
    let error = unreachable(&stranger, *SERVER.ip(), Unreachable::Port).unwrap();
    assert!(dropped(&bench.judge(HostName::Server, &error)).is_some());
}

#[test]
fn answers_of_other_rules_are_dressed_for_whom_they_go_to() {
    let mut bench = Bench::new(Kind::Nat, Expiry::Silence);
    bench.open();
    let dress = |bench: &Bench, from, to, bytes: Box<[u8]>| {
        let mut answer = Answer {
            from,
            to,
            bytes,
            rewritten: None,
            rule: "reject".into(),
            place: 0.5,
        };
        bench.middlebox.dress(&mut answer);
        answer
    };
    // To the outside, made from a packet of the outside.
    let data = bench.packet(HostName::Server, "PA", 501, 101, b"x");
    let reset = reset_sender(&Segment::parse(&data).unwrap()).unwrap();
    let answer = dress(&bench, HostName::Client, HostName::Server, reset.clone());
    assert_eq!(Segment::parse(&answer.bytes).unwrap().src, CLIENT);
    assert_eq!(answer.rewritten.unwrap().bytes, reset);
    // To the inside, in place of a packet of the outside.
    let answer = dress(&bench, HostName::Server, HostName::Client, data.clone());
    assert_eq!(answer.bytes, data);
    let arriving = answer.rewritten.unwrap();
    assert!(arriving.inside);
    assert_eq!(Segment::parse(&arriving.bytes).unwrap().dst, CLIENT);
    // An ICMP error to the outside about a packet of the outside.
    let error = unreachable(&data, NAT_ADDRESS, Unreachable::Host).unwrap();
    let answer = dress(&bench, HostName::Client, HostName::Server, error.clone());
    assert_eq!(Ipv4::parse(&answer.bytes).unwrap().src, *CLIENT.ip());
    assert_eq!(answer.rewritten.unwrap().bytes, error);
}

#[test]
fn udp_has_entries_too_and_other_packets_pass_only_a_firewall() {
    let datagram = |from: SocketAddrV4, to: SocketAddrV4| {
        let mut bytes = vec![0x45, 0, 0, 29, 0, 0, 0x40, 0, 64, 17, 0, 0];
        bytes.extend_from_slice(&from.ip().octets());
        bytes.extend_from_slice(&to.ip().octets());
        bytes.extend_from_slice(&from.port().to_be_bytes());
        bytes.extend_from_slice(&to.port().to_be_bytes());
        bytes.extend_from_slice(&[0, 9, 0, 0, b'x']);
        bytes
    };
    let mut bench = Bench::new(Kind::Firewall, Expiry::RstToBoth);
    let back = datagram(SERVER, CLIENT);
    assert!(dropped(&bench.judge(HostName::Server, &back)).is_some());
    assert!(dropped(&bench.judge(HostName::Client, &datagram(CLIENT, SERVER))).is_none());
    assert!(dropped(&bench.judge(HostName::Server, &back)).is_none());
    bench.keeps_quiet(IDLE);
    assert_eq!(bench.due(), []);
    assert!(dropped(&bench.judge(HostName::Server, &back)).is_some());

    let echo = |kind: u8, from: SocketAddrV4, to: SocketAddrV4| {
        let mut bytes = datagram(from, to);
        bytes[9] = 1;
        bytes[20] = kind;
        bytes
    };
    let mut firewall = Bench::new(Kind::Firewall, Expiry::Silence);
    assert!(dropped(&firewall.judge(HostName::Client, &echo(8, CLIENT, SERVER))).is_none());
    assert!(dropped(&firewall.judge(HostName::Server, &echo(0, SERVER, CLIENT))).is_none());
    assert!(dropped(&firewall.judge(HostName::Server, &echo(8, SERVER, CLIENT))).is_some());
    let mut nat = Bench::new(Kind::Nat, Expiry::Silence);
    let judgement = nat.judge(HostName::Client, &echo(8, CLIENT, SERVER));
    assert_eq!(dropped(&judgement).unwrap().0, "not translated");
}

#[test]
fn what_does_not_pass_the_boxs_link_is_left_alone() {
    let mut bench = Bench::new(Kind::Nat, Expiry::Silence);
    let elsewhere = SocketAddrV4::new(Ipv4Addr::new(203, 0, 113, 1), 80);
    let packet = bench.packet(HostName::Client, "S", 1, 0, b"");
    let packet = readdress(&packet, Readdress::Dst(elsewhere)).unwrap();
    assert_eq!(bench.judge(HostName::Client, &packet), Judgement::deliver());
    assert_eq!(bench.judge(HostName::Proxy, &packet), Judgement::deliver());
    assert_eq!(
        bench.judge(HostName::Client, &[0x60; 40]),
        Judgement::deliver()
    );
}
