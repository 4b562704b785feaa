use super::*;
use crate::dissect::testing::{CLIENT, Random, SERVER, Segment, ip};

/// The client's initial sequence number: near the end of the number space, so that every test
/// also crosses it.
const C: u32 = u32::MAX - 2;
/// The server's.
const S: u32 = 1_000_000;

/// The `n`th number of the client's sequence space, counted from its SYN.
fn c(n: u32) -> u32 {
    C.wrapping_add(n)
}

fn s(n: u32) -> u32 {
    S.wrapping_add(n)
}

fn see(tracker: &mut FlowTracker, segment: &Segment) -> TcpInfo {
    tracker.observe(&segment.packet()).tcp.unwrap()
}

fn role(tracker: &mut FlowTracker, segment: Segment) -> Role {
    see(tracker, &segment).role
}

/// A tracker that has seen the three segments of the handshake.
fn open() -> FlowTracker {
    let mut tracker = FlowTracker::new();
    for segment in [
        Segment::new(C, 0).flags("S"),
        Segment::new(S, c(1)).back().flags("SA"),
        Segment::new(c(1), s(1)),
    ] {
        assert_eq!(role(&mut tracker, segment), Role::Ordinary);
    }
    tracker
}

/// A tracker that has also seen the client send `hello` and the server acknowledge it.
fn greeted() -> FlowTracker {
    let mut tracker = open();
    let hello = Segment::new(c(1), s(1)).flags("PA").data(b"hello");
    assert_eq!(role(&mut tracker, hello), Role::Ordinary);
    let ack = Segment::new(s(1), c(6)).back();
    assert_eq!(role(&mut tracker, ack), Role::Ordinary);
    tracker
}

#[test]
fn numbers_are_relative_to_the_syn_of_their_direction() {
    let mut tracker = FlowTracker::new();
    let syn = see(&mut tracker, &Segment::new(C, 0).flags("S"));
    assert_eq!((syn.seq, syn.seq_raw, syn.ack, syn.ack_raw), (0, C, 0, 0));
    assert_eq!((syn.src, syn.dst), (CLIENT.into(), SERVER.into()));
    let answer = see(&mut tracker, &Segment::new(S, c(1)).back().flags("SA"));
    assert_eq!((answer.seq, answer.ack, answer.connection), (0, 1, 0));
    assert_eq!((answer.src, answer.dst), (SERVER.into(), CLIENT.into()));
    assert_eq!(answer.flags, "SYN,ACK");
    let ack = see(&mut tracker, &Segment::new(c(1), s(1)));
    assert_eq!((ack.seq, ack.ack, ack.payload), (1, 1, 0));
    // The number space ends within this segment.
    let data = see(&mut tracker, &Segment::new(c(1), s(1)).data(b"hello"));
    assert_eq!((data.seq, data.payload), (1, 5));
    let data = see(&mut tracker, &Segment::new(c(6), s(1)).data(b"again"));
    assert_eq!((data.seq, data.seq_raw), (6, 3));
}

#[test]
fn a_connection_without_its_syn_counts_its_first_byte_as_1() {
    let mut tracker = FlowTracker::new();
    let data = see(&mut tracker, &Segment::new(5_000, 700).data(b"hello"));
    assert_eq!((data.seq, data.ack), (1, 1));
    let answer = see(&mut tracker, &Segment::new(700, 5_005).back().data(b"hi"));
    assert_eq!((answer.seq, answer.ack), (1, 6));
    assert_eq!(answer.role, Role::Ordinary);
}

#[test]
fn connections_are_numbered_by_their_first_packet() {
    let mut tracker = FlowTracker::new();
    for (port, number) in [(40_001, 0), (40_002, 1), (40_001, 0), (40_003, 2)] {
        let segment = Segment::new(9, 0).flags("S").client_port(port);
        assert_eq!(see(&mut tracker, &segment).connection, number);
    }
    let answer = Segment::new(5, 10).flags("SA").back().client_port(40_002);
    assert_eq!(see(&mut tracker, &answer).connection, 1);
}

#[test]
fn another_syn_between_the_same_ports_opens_another_connection() {
    let mut tracker = greeted();
    let again = see(&mut tracker, &Segment::new(77, 0).flags("S"));
    assert_eq!(
        (again.connection, again.seq, again.role),
        (1, 0, Role::Ordinary)
    );
    let answer = see(&mut tracker, &Segment::new(88, 78).back().flags("SA"));
    assert_eq!((answer.connection, answer.seq, answer.ack), (1, 0, 1));
    assert_eq!(answer.role, Role::Ordinary);
}

#[test]
fn simultaneous_open_is_one_connection() {
    let mut tracker = FlowTracker::new();
    let one = see(&mut tracker, &Segment::new(C, 0).flags("S"));
    let other = see(&mut tracker, &Segment::new(S, 0).back().flags("S"));
    assert_eq!((one.connection, other.connection), (0, 0));
    assert_eq!(other.seq, 0);
}

#[test]
fn windows_are_scaled_after_the_handshake_if_both_offered_it() {
    let mut tracker = FlowTracker::new();
    let scaled = |shift| [3, 3, shift];
    let syn = Segment::new(C, 0)
        .flags("S")
        .option(&scaled(7))
        .window(64_240);
    assert_eq!(see(&mut tracker, &syn).window, 64_240);
    let answer = Segment::new(S, c(1))
        .flags("SA")
        .back()
        .option(&scaled(2))
        .window(65_160);
    assert_eq!(see(&mut tracker, &answer).window, 65_160);
    assert_eq!(
        see(&mut tracker, &Segment::new(c(1), s(1)).window(502)).window,
        64_256
    );
    assert_eq!(
        see(&mut tracker, &Segment::new(s(1), c(1)).back().window(10)).window,
        40
    );
}

#[test]
fn windows_are_not_scaled_if_one_side_did_not_offer_it() {
    let mut tracker = FlowTracker::new();
    see(
        &mut tracker,
        &Segment::new(C, 0).flags("S").option(&[3, 3, 7]),
    );
    see(&mut tracker, &Segment::new(S, c(1)).flags("SA").back());
    assert_eq!(
        see(&mut tracker, &Segment::new(c(1), s(1)).window(502)).window,
        502
    );
}

#[test]
fn options_are_told_in_words_with_relative_ranges() {
    let mut tracker = FlowTracker::new();
    let syn = Segment::new(C, 0)
        .flags("S")
        .option(&[2, 4, 5, 180, 4, 2])
        .timestamps(9, 0)
        .option(&[3, 3, 7]);
    assert_eq!(
        see(&mut tracker, &syn).options,
        ["MSS 1460", "SACK permitted", "TS 9 echo 0", "WS 7"]
    );
    let mut sack = vec![5, 18];
    for number in [c(10), c(20), c(30), c(40)] {
        sack.extend_from_slice(&number.to_be_bytes());
    }
    let ack = Segment::new(s(1), c(1))
        .back()
        .option(&sack)
        .option(&[254, 4, 1, 2]);
    assert_eq!(
        see(&mut tracker, &ack).options,
        ["SACK 10-20 30-40", "experiment 254 (2 bytes)"]
    );
    let damaged = Segment::new(s(1), c(1)).back().option(&[8, 3, 0, 0]);
    assert_eq!(
        see(&mut tracker, &damaged).options,
        ["stopped at byte 20: option 8 with a length of 3"]
    );
}

#[test]
fn a_syn_sent_again_is_counted() {
    let mut tracker = FlowTracker::new();
    let syn = Segment::new(C, 0).flags("S");
    assert_eq!(role(&mut tracker, syn.clone()), Role::Ordinary);
    for nth in 1..=3 {
        assert_eq!(
            role(&mut tracker, syn.clone()),
            Role::Retransmission { nth }
        );
    }
}

#[test]
fn each_range_of_bytes_has_its_own_count() {
    let mut tracker = open();
    let first = Segment::new(c(1), s(1)).data(b"hello");
    let second = Segment::new(c(6), s(1)).data(b"world!");
    assert_eq!(role(&mut tracker, first.clone()), Role::Ordinary);
    assert_eq!(role(&mut tracker, second.clone()), Role::Ordinary);
    assert_eq!(
        role(&mut tracker, first.clone()),
        Role::Retransmission { nth: 1 }
    );
    assert_eq!(
        role(&mut tracker, first.clone()),
        Role::Retransmission { nth: 2 }
    );
    assert_eq!(role(&mut tracker, second), Role::Retransmission { nth: 1 });
    // Both in one segment: as often as the one that was sent most often.
    let both = Segment::new(c(1), s(1)).data(b"helloworld!");
    assert_eq!(role(&mut tracker, both), Role::Retransmission { nth: 3 });
    assert_eq!(role(&mut tracker, first), Role::Retransmission { nth: 4 });
}

#[test]
fn a_fin_sent_again_is_a_retransmission_and_its_ack_is_none() {
    let mut tracker = greeted();
    let fin = Segment::new(c(6), s(1)).flags("FA");
    assert_eq!(role(&mut tracker, fin.clone()), Role::Ordinary);
    assert_eq!(role(&mut tracker, fin), Role::Retransmission { nth: 1 });
    let ack = Segment::new(s(1), c(7)).back();
    assert_eq!(role(&mut tracker, ack.clone()), Role::Ordinary);
    assert_eq!(role(&mut tracker, ack), Role::Ordinary);
}

#[test]
fn pure_acks_and_resets_are_never_retransmissions() {
    let mut tracker = greeted();
    for _ in 0..3 {
        assert_eq!(
            role(&mut tracker, Segment::new(s(1), c(6)).back()),
            Role::Ordinary
        );
        assert_eq!(role(&mut tracker, Segment::new(c(1), s(1))), Role::Ordinary);
        assert_eq!(
            role(&mut tracker, Segment::new(c(3), s(1)).flags("RA")),
            Role::Ordinary
        );
    }
}

#[test]
fn probes_without_an_answer_are_counted() {
    let mut tracker = greeted();
    let probe = Segment::new(c(5), s(1));
    for nth in 1..=4 {
        let observed = tracker.observe(&probe.packet());
        assert_eq!(observed.tcp.unwrap().role, Role::KeepAliveProbe { nth });
        assert_eq!(observed.summary, "keep-alive probe");
    }
    let reset = tracker.observe(&Segment::new(c(6), s(1)).flags("RA").packet());
    assert_eq!(reset.summary, "RST, ACK");
    assert_eq!(reset.tcp.unwrap().role, Role::Ordinary);
}

#[test]
fn an_answered_probe_begins_the_count_anew() {
    let mut tracker = greeted();
    let probe = Segment::new(c(5), s(1));
    let answer = Segment::new(s(1), c(6)).back();
    for _ in 0..3 {
        assert_eq!(
            role(&mut tracker, probe.clone()),
            Role::KeepAliveProbe { nth: 1 }
        );
        let observed = tracker.observe(&answer.packet());
        assert_eq!(observed.tcp.unwrap().role, Role::KeepAliveAck);
        assert_eq!(observed.summary, "keep-alive ACK");
    }
    // One probe has one answer: a further ACK is an ordinary one.
    assert_eq!(role(&mut tracker, answer), Role::Ordinary);
}

#[test]
fn an_answer_that_was_not_heard_does_not_begin_the_count_anew() {
    let mut tracker = greeted();
    let probe = |value, echo| Segment::new(c(5), s(1)).timestamps(value, echo);
    let answer = |value| Segment::new(s(1), c(6)).back().timestamps(value, 0);
    assert_eq!(
        role(&mut tracker, probe(100, 50)),
        Role::KeepAliveProbe { nth: 1 }
    );
    assert_eq!(role(&mut tracker, answer(60)), Role::KeepAliveAck);
    // The client still echoes 50: the answer was lost on its way.
    assert_eq!(
        role(&mut tracker, probe(200, 50)),
        Role::KeepAliveProbe { nth: 2 }
    );
    assert_eq!(role(&mut tracker, answer(160)), Role::KeepAliveAck);
    assert_eq!(
        role(&mut tracker, probe(300, 160)),
        Role::KeepAliveProbe { nth: 1 }
    );
}

#[test]
fn a_received_probe_is_no_answer_to_ones_own() {
    let mut tracker = greeted();
    let ours = Segment::new(c(5), s(1));
    let theirs = Segment::new(S, c(6)).back();
    assert_eq!(
        role(&mut tracker, ours.clone()),
        Role::KeepAliveProbe { nth: 1 }
    );
    assert_eq!(
        role(&mut tracker, theirs.clone()),
        Role::KeepAliveProbe { nth: 1 }
    );
    assert_eq!(role(&mut tracker, ours), Role::KeepAliveProbe { nth: 2 });
    assert_eq!(role(&mut tracker, theirs), Role::KeepAliveProbe { nth: 2 });
}

#[test]
fn a_probe_right_after_the_handshake_is_recognised() {
    let mut tracker = open();
    assert_eq!(
        role(&mut tracker, Segment::new(C, s(1))),
        Role::KeepAliveProbe { nth: 1 }
    );
    assert_eq!(
        role(&mut tracker, Segment::new(S, c(1)).back()),
        Role::KeepAliveProbe { nth: 1 }
    );
}

#[test]
fn a_probe_may_carry_one_acknowledged_byte() {
    let mut tracker = greeted();
    let probe = Segment::new(c(5), s(1)).data(b"\0");
    assert_eq!(role(&mut tracker, probe), Role::KeepAliveProbe { nth: 1 });
}

#[test]
fn one_unacknowledged_byte_sent_again_is_no_probe() {
    let mut tracker = open();
    let byte = Segment::new(c(1), s(1)).data(b"x");
    assert_eq!(role(&mut tracker, byte.clone()), Role::Ordinary);
    assert_eq!(
        role(&mut tracker, byte.clone()),
        Role::Retransmission { nth: 1 }
    );
    // Nor if its acknowledgment left the server and was lost.
    assert_eq!(
        role(&mut tracker, Segment::new(s(1), c(2)).back()),
        Role::Ordinary
    );
    assert_eq!(role(&mut tracker, byte), Role::Retransmission { nth: 2 });
}

#[test]
fn an_ack_of_new_data_is_no_keep_alive_ack() {
    let mut tracker = greeted();
    assert_eq!(
        role(&mut tracker, Segment::new(c(5), s(1))),
        Role::KeepAliveProbe { nth: 1 }
    );
    let data = Segment::new(c(6), s(1)).data(b"more");
    assert_eq!(role(&mut tracker, data), Role::Ordinary);
    assert_eq!(
        role(&mut tracker, Segment::new(s(1), c(10)).back()),
        Role::Ordinary
    );
}

#[test]
fn packets_that_are_no_tcp_are_summarised_only() {
    let mut tracker = FlowTracker::new();
    for (bytes, summary) in [
        (ip(1, &[8, 0]), "ICMP echo request"),
        (ip(47, &[]), "protocol 47"),
        (vec![0x60; 48], "protocol 96"),
        (
            ip(6, &[0; 4]),
            "TCP (stopped at byte 4: 20 bytes are needed, 4 are there)",
        ),
    ] {
        let observed = tracker.observe(&bytes);
        assert_eq!(observed.tcp, None);
        assert_eq!(observed.summary, summary);
    }
}

#[test]
fn a_connection_with_itself_is_followed() {
    let mut bytes = Segment::new(5, 0).flags("S").packet();
    let (addresses, ports) = (12, 20);
    bytes.copy_within(addresses..addresses + 4, addresses + 4);
    bytes.copy_within(ports..ports + 2, ports + 2);
    let info = FlowTracker::new().observe(&bytes).tcp.unwrap();
    assert_eq!(info.src, info.dst);
    assert_eq!((info.seq, info.role), (0, Role::Ordinary));
}

#[test]
fn the_longest_silent_connections_are_forgotten_first() {
    let mut tracker = FlowTracker::new();
    let syn = |n: u32| {
        let mut bytes = Segment::new(9, 0).flags("S").client_port(n as u16).packet();
        // More connections than there are ports: the client has several addresses.
        bytes[15] = (n >> 16) as u8;
        bytes
    };
    for n in 0..100_000 {
        tracker.observe(&syn(n));
        // The first connection stays busy.
        let kept = tracker.observe(&syn(0)).tcp.unwrap();
        assert_eq!(kept.connection, 0);
    }
    assert!(tracker.connections.len() <= MAX_CONNECTIONS);
    assert_eq!(tracker.observe(&syn(1)).tcp.unwrap().connection, 100_000);
}

#[test]
fn retransmitted_ranges_are_bounded() {
    let mut tracker = open();
    let blocks = 10 * side::MAX_RANGES as u32;
    for round in 0..2 {
        for n in 0..blocks {
            let segment = Segment::new(c(1 + n * 5), s(1)).data(b"hello");
            let expected = match round {
                0 => Role::Ordinary,
                _ => Role::Retransmission { nth: 1 },
            };
            assert_eq!(role(&mut tracker, segment), expected);
        }
    }
    for connection in tracker.connections.values() {
        assert!(
            connection
                .sides
                .iter()
                .all(|side| side.again.len() <= side::MAX_RANGES)
        );
    }
}

#[test]
fn whatever_the_packets_tracking_them_never_panics() {
    let mut random = Random(1);
    let mut tracker = FlowTracker::new();
    for _ in 0..50_000 {
        let letters: String = "SFRPA".chars().filter(|_| random.below(3) == 0).collect();
        let mut segment = Segment::new(
            C.wrapping_add(random.below(12) as u32),
            S.wrapping_add(random.below(12) as u32),
        )
        .flags(&letters)
        .client_port(random.below(3) as u16)
        .data(&b"0123456789"[..random.below(10)]);
        if random.below(2) == 0 {
            segment = segment.back();
        }
        if random.below(3) == 0 {
            segment = segment.timestamps(random.next() as u32, random.next() as u32);
        }
        let mut bytes = segment.packet();
        if random.below(4) == 0 {
            let at = random.below(bytes.len());
            bytes[at] = random.next() as u8;
        }
        if random.below(8) == 0 {
            bytes.truncate(random.below(bytes.len()));
        }
        let observed = tracker.observe(&bytes);
        assert!(!observed.summary.is_empty());
        if let Some(tcp) = observed.tcp {
            assert!(tcp.payload <= 65_535);
            match tcp.role {
                Role::Retransmission { nth } | Role::KeepAliveProbe { nth } => assert!(nth > 0),
                Role::Ordinary | Role::KeepAliveAck => {}
            }
        }
    }
}
