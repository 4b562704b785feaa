//! What stands in a capture, read back by its own blocks. That Wireshark reads it, too, is tried
//! where there are namespaces (`server/tests/net/export.rs`).

use std::collections::BTreeMap;

use linger_shared::event::{Call, HostInfo, Observer};

use super::*;

fn header(mode: Mode) -> Header {
    let host = |name, address: &str| HostInfo {
        name,
        address: address.to_owned(),
        sysctls: BTreeMap::from([("tcp_retries2".to_owned(), "15".to_owned())]),
    };
    Header {
        protocol_version: 1,
        run: "r-1".to_owned(),
        experiment: "tcp-lifecycle".to_owned(),
        title: "T".to_owned(),
        params: BTreeMap::new(),
        seed: 7,
        mode,
        started_unix_ms: 1_700_000_000_123,
        kernel: "6.1".to_owned(),
        hosts: vec![
            host(HostName::Client, "192.0.2.1"),
            host(HostName::Server, "198.51.100.1"),
        ],
        links: Vec::new(),
        versions: BTreeMap::from([("linger".to_owned(), "0.1.0".to_owned())]),
    }
}

fn packet(id: u64, bytes: &str) -> Packet {
    Packet {
        id,
        from: HostName::Client,
        to: HostName::Server,
        length: bytes.len() as u32 / 2,
        tcp: None,
        summary: "SYN".to_owned(),
        bytes: bytes.to_owned(),
        messages: Vec::new(),
        rewritten: None,
        origin: None,
    }
}

/// A block's kind, its body without options, its options.
type Read = (u32, Vec<u8>, Vec<(u16, Vec<u8>)>);

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(bytes[at..at + 4].try_into().unwrap())
}

fn read(mut file: &[u8]) -> Vec<Read> {
    let mut blocks = Vec::new();
    while !file.is_empty() {
        let (kind, length) = (u32_at(file, 0), u32_at(file, 4) as usize);
        assert_eq!(u32_at(file, length - 4) as usize, length, "both lengths");
        let body = &file[8..length - 4];
        let fixed = match kind {
            SECTION => 16,
            INTERFACE => 8,
            PACKET => 20 + (u32_at(body, 12) as usize).next_multiple_of(4),
            SECRETS => body.len(),
            other => panic!("block {other}"),
        };
        let (body, mut rest) = body.split_at(fixed);
        let mut options = Vec::new();
        while rest.len() > 4 {
            let code = u16::from_le_bytes([rest[0], rest[1]]);
            let size = usize::from(u16::from_le_bytes([rest[2], rest[3]]));
            options.push((code, rest[4..4 + size].to_vec()));
            rest = &rest[4 + size.next_multiple_of(4)..];
        }
        blocks.push((kind, body.to_vec(), options));
        file = &file[length..];
    }
    blocks
}

fn export(facts: Vec<(u64, Observer, Fact)>) -> Vec<Read> {
    let mut out = Vec::new();
    let mut capture = Pcapng::begin(&header(Mode::Packets), &mut out).unwrap();
    for (seq, (at_us, seen_by, fact)) in (0..).zip(facts) {
        let event = Event {
            seq,
            at_us,
            seen_by,
            fact,
        };
        capture.event(&event, "", &mut out).unwrap();
    }
    capture.finish(&mut out).unwrap();
    read(&out)
}

/// Interface, nanoseconds, bytes, direction, id, comments.
type Seen = (u32, u64, Vec<u8>, u32, u64, Vec<String>);

fn packets(blocks: &[Read]) -> Vec<Seen> {
    let one = |(kind, body, options): &Read| {
        assert_eq!(*kind, PACKET);
        let length = u32_at(body, 12) as usize;
        assert_eq!(u32_at(body, 16) as usize, length, "nothing is cut off");
        let option = |code: u16| &options.iter().find(|o| o.0 == code).unwrap().1;
        let comments = options.iter().filter(|o| o.0 == COMMENT);
        (
            u32_at(body, 0),
            u64::from(u32_at(body, 4)) << 32 | u64::from(u32_at(body, 8)),
            body[20..20 + length].to_vec(),
            u32_at(option(2), 0),
            u64::from_le_bytes(option(5)[..].try_into().unwrap()),
            comments
                .map(|o| String::from_utf8(o.1.clone()).unwrap())
                .collect(),
        )
    };
    let wanted = |block: &&Read| block.0 == PACKET;
    blocks.iter().filter(wanted).map(one).collect()
}

const AT_0_NS: u64 = 1_700_000_000_123_000_000;

#[test]
fn a_packet_stands_on_both_interfaces_as_it_left_and_as_it_arrived() {
    let mut sent = packet(4, "4500aa");
    sent.rewritten = Some("4500bb".to_owned());
    let blocks = export(vec![
        (250, Observer::Wire, Fact::PacketDeparted(sent)),
        (10_250, Observer::Wire, Fact::PacketArrived { id: 4 }),
    ]);
    let left = (
        0,
        AT_0_NS + 250_000,
        vec![0x45, 0, 0xAA],
        OUTBOUND,
        4,
        vec![],
    );
    let arrived = (
        1,
        AT_0_NS + 10_250_000,
        vec![0x45, 0, 0xBB],
        INBOUND,
        4,
        vec![],
    );
    assert_eq!(packets(&blocks), [left, arrived]);
}

#[test]
fn interfaces_are_named_after_hosts_and_count_nanoseconds() {
    let blocks = export(Vec::new());
    let interfaces: Vec<_> = blocks.iter().filter(|b| b.0 == INTERFACE).collect();
    assert_eq!(interfaces.len(), 2);
    let option = |code: u16| &interfaces[1].2.iter().find(|o| o.0 == code).unwrap().1;
    assert_eq!(option(2), b"server");
    assert_eq!(option(9), &[9]);
    assert_eq!(option(4)[..4], [198, 51, 100, 1]);
}

#[test]
fn a_drop_is_told_at_the_departure_however_late_it_is() {
    let dropped = |at_us, id| {
        let fact = Fact::PacketDropped {
            id,
            rule: "cut".to_owned(),
            reason: "path cut".to_owned(),
            place: 0.5,
        };
        (at_us, Observer::Wire, fact)
    };
    let blocks = export(vec![
        (0, Observer::Wire, Fact::PacketDeparted(packet(0, "45"))),
        (10, Observer::Wire, Fact::PacketDeparted(packet(1, "46"))),
        (11, Observer::Wire, Fact::PacketArrived { id: 1 }),
        dropped(400_000, 0),
    ]);
    let packets = packets(&blocks);
    assert_eq!(packets.len(), 3);
    assert_eq!(packets[0].4, 0);
    assert!(packets[0].5[0].contains("path cut (rule `cut`), 50 % of the way, 400000 us"));
}

#[test]
fn what_the_wire_made_is_seen_by_its_receiver_alone() {
    let mut made = packet(9, "45");
    made.origin = Some(Origin {
        rule: "reject".to_owned(),
        because_of: Some(3),
        place: 0.5,
    });
    let blocks = export(vec![
        (5, Observer::Wire, Fact::PacketDeparted(made)),
        (9, Observer::Wire, Fact::PacketArrived { id: 9 }),
    ]);
    let packets = packets(&blocks);
    assert_eq!(packets.len(), 1);
    assert_eq!((packets[0].0, packets[0].3), (1, INBOUND));
    assert!(packets[0].5[0].contains("`reject` because of packet 3"));
}

#[test]
fn secrets_stand_before_the_packets_that_need_them() {
    let line = "CLIENT_RANDOM 00 11";
    let secret = |at_us, host| {
        let line = line.to_owned();
        (at_us, Observer::App(host), Fact::Secret { line })
    };
    let blocks = export(vec![
        (0, Observer::Wire, Fact::PacketDeparted(packet(0, "45"))),
        (90, Observer::Wire, Fact::PacketArrived { id: 0 }),
        secret(95, HostName::Server),
        secret(97, HostName::Client),
        (99, Observer::Wire, Fact::PacketDeparted(packet(1, "46"))),
        (120, Observer::Wire, Fact::PacketArrived { id: 1 }),
    ]);
    let secrets = blocks.iter().position(|b| b.0 == SECRETS).unwrap();
    let needs = blocks.iter().position(|b| b.0 == PACKET && b.1[20] == 0x46);
    assert!(secrets < needs.unwrap());
    let body = &blocks[secrets].1;
    assert_eq!(u32_at(body, 0).to_be_bytes(), *b"TLSK");
    assert_eq!(u32_at(body, 4) as usize, line.len() + 1);
    assert!(body[8..].starts_with(b"CLIENT_RANDOM 00 11\n"));
    let blocks = blocks.iter().filter(|b| b.0 == SECRETS);
    assert_eq!(blocks.count(), 1, "both sides tell the same");
}

#[test]
fn calls_stand_at_the_nearest_packet_and_the_verdict_at_the_last() {
    let call = Fact::Call(Call {
        call: "write".to_owned(),
        args: "5 bytes".to_owned(),
        result: "ok".to_owned(),
        errno: None,
        began_us: None,
        local: None,
        ..Call::default()
    });
    let stopped = Fact::Stopped {
        reason: "time limit".to_owned(),
    };
    let blocks = export(vec![
        (100, Observer::Wire, Fact::PacketDeparted(packet(0, "45"))),
        (120, Observer::App(HostName::Client), call),
        (900, Observer::Wire, Fact::PacketArrived { id: 0 }),
        (9_000_000, Observer::Experiment, stopped),
    ]);
    let packets = packets(&blocks);
    assert_eq!(packets[0].5, ["client: write(5 bytes) -> ok [at 120 us]"]);
    assert!(packets[1].5[0].starts_with("the run was ended: time limit"));
}

#[test]
fn no_more_is_held_than_may_be() {
    let mut out = Vec::new();
    let mut capture = Pcapng::begin(&header(Mode::Packets), &mut out).unwrap();
    let more = 100;
    for id in 0..(MOST_HELD + more) as u64 {
        let event = Event {
            seq: id,
            at_us: id,
            seen_by: Observer::Wire,
            fact: Fact::PacketDeparted(packet(id, "45")),
        };
        capture.event(&event, "", &mut out).unwrap();
    }
    assert_eq!(capture.held.len(), MOST_HELD);
    assert_eq!(packets(&read(&out)).len(), more);
}

#[test]
fn a_damaged_record_gives_a_capture_all_the_same() {
    let mut odd = packet(1, "zz");
    odd.to = HostName::Proxy;
    let blocks = export(vec![
        (9, Observer::Wire, Fact::PacketArrived { id: 77 }),
        (u64::MAX, Observer::Wire, Fact::PacketDeparted(odd)),
        (3, Observer::Wire, Fact::PacketArrived { id: 1 }),
    ]);
    assert_eq!(packets(&blocks).len(), 1);
}

#[test]
fn a_relayed_run_has_no_packets_and_says_so() {
    let Err(error) = Pcapng::begin(&header(Mode::Relay), &mut Vec::new()) else {
        panic!("there are no packets");
    };
    assert!(
        error.to_string().contains("there are no packets"),
        "{error}"
    );
}
