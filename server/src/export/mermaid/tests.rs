//! Diagrams against the grammar that Mermaid's parser has for what is written here: stricter than
//! the parser itself, so that what passes is taken by every version of it.

use std::collections::BTreeMap;

use linger_shared::event::{Fact, HostInfo, Mode, Observer, Packet, TcpInfo, Verdict};

use super::*;

fn header(title: &str) -> Header {
    let host = |name, address: &str| HostInfo {
        name,
        address: address.to_owned(),
        sysctls: BTreeMap::new(),
    };
    Header {
        protocol_version: 1,
        run: "r".to_owned(),
        experiment: "tcp-lifecycle".to_owned(),
        title: title.to_owned(),
        params: BTreeMap::new(),
        seed: 7,
        mode: Mode::Packets,
        started_unix_ms: 0,
        kernel: "6.1".to_owned(),
        hosts: vec![
            host(HostName::Client, "192.0.2.1"),
            host(HostName::Server, "198.51.100.1"),
        ],
        links: Vec::new(),
        versions: BTreeMap::new(),
    }
}

/// The diagram of these facts, each with its time.
fn drawn(title: &str, facts: impl IntoIterator<Item = (u64, Fact)>) -> String {
    let mut exporter = Mermaid::new(&header(title));
    let mut out = Vec::new();
    for (seq, (at_us, fact)) in (0..).zip(facts) {
        let event = Event {
            seq,
            at_us,
            seen_by: Observer::Wire,
            fact,
        };
        exporter.event(&event, "", &mut out).unwrap();
    }
    exporter.finish(&mut out).unwrap();
    String::from_utf8(out).unwrap()
}

fn departed(id: u64, summary: &str) -> Fact {
    let json = serde_json::json!({
        "kind": "packet_departed", "seq": 0, "at_us": 0, "seen_by": "wire", "id": id,
        "from": "client", "to": "server", "length": 60, "tcp": null, "summary": summary,
        "bytes": ""
    });
    serde_json::from_value::<Event>(json).unwrap().fact
}

fn sent_again(id: u64) -> Fact {
    let Fact::PacketDeparted(packet) = departed(id, "5 bytes") else {
        unreachable!("a departure was asked for");
    };
    let end = |port| std::net::SocketAddr::from(([192, 0, 2, 1], port));
    Fact::PacketDeparted(Packet {
        tcp: Some(TcpInfo {
            connection: 0,
            src: end(1),
            dst: end(2),
            flags: "PSH,ACK".to_owned(),
            seq: 1,
            seq_raw: 1,
            ack: 1,
            ack_raw: 1,
            window: 1,
            options: Vec::new(),
            payload: 5,
            role: Role::Retransmission { nth: 1 },
        }),
        ..packet
    })
}

fn dropped(id: u64) -> Fact {
    Fact::PacketDropped {
        id,
        rule: "cut".to_owned(),
        reason: "cut; #1".to_owned(),
        place: 0.5,
    }
}

/// Asserts that every line is a statement of the grammar, and its text free of what ends one.
fn assert_valid(diagram: &str) {
    let mut lines = diagram.lines();
    assert_eq!(lines.next(), Some("sequenceDiagram"));
    for line in lines {
        let statement = line.strip_prefix("    ").expect("it is indented");
        let text = if let Some(text) = statement.strip_prefix("accTitle: ") {
            text
        } else if let Some(rest) = statement.strip_prefix("participant ") {
            let (name, shown) = rest.split_once(" as ").expect("it has a name");
            assert!(["client", "server"].contains(&name), "{line}");
            let (name, address) = shown.split_once("<br/>").expect("two lines");
            assert!(["client", "server"].contains(&name), "{line}");
            address
        } else if let Some(rest) = statement.strip_prefix("Note ") {
            let (place, text) = rest.split_once(": ").expect("a note has a text");
            let places = ["over client,server", "left of client", "right of server"];
            assert!(places.contains(&place), "{line}");
            text
        } else {
            let (arrow, text) = statement.split_once(": ").expect("a message has a text");
            let arrows = ["->>", "-->>", "-x", "--x", "-)", "--)"];
            let known = arrows.iter().any(|kind| {
                arrow == format!("client{kind}server") || arrow == format!("server{kind}client")
            });
            assert!(known, "{line}");
            text
        };
        assert!(!text.trim().is_empty(), "{line}");
        // An entity is the only place of either mark.
        let mut rest = text;
        while let Some((before, after)) = rest.split_once('#') {
            assert!(!before.contains(';'), "{line}");
            let (digits, after) = after.split_once(';').expect("an entity ends");
            assert!(digits.bytes().all(|b| b.is_ascii_digit()), "{line}");
            rest = after;
        }
        for forbidden in [';', '<', '>', '%', '"', '{', '}'] {
            assert!(!rest.contains(forbidden), "{line}");
        }
    }
}

#[test]
fn packets_are_arrows_and_drops_are_crosses() {
    let diagram = drawn(
        "A title",
        [
            (200, departed(0, "SYN")),
            (10_200, Fact::PacketArrived { id: 0 }),
            (20_000, departed(1, "ACK")),
            (30_000, dropped(1)),
            (1_030_000, sent_again(2)),
        ],
    );
    assert_valid(&diagram);
    for line in [
        "    client->>server: SYN, 200 us\n",
        "    client-xserver: ACK, 20.0 ms (dropped: cut#59; #35;1)\n",
        "    Note over client,server: 1.01 s later\n",
        "    client--)server: retransmission 1: 5 B, 1.03 s (still on its way)\n",
    ] {
        assert!(diagram.contains(line), "{line} is not in\n{diagram}");
    }
}

#[test]
fn hostile_text_ends_no_statement() {
    let evil = "end\nclient->>server: x; %% #comment <script> \"' {a} \u{0} wrap: 漢";
    let chapter = Fact::Chapter {
        title: evil.to_owned(),
    };
    let nothing = Fact::Chapter {
        title: "  \n".to_owned(),
    };
    let diagram = drawn(evil, [(0, chapter), (1, nothing), (2, departed(0, evil))]);
    assert_valid(&diagram);
    assert!(diagram.contains("漢"));
}

#[test]
fn a_long_run_is_cut_and_says_how_much_is_missing() {
    let packets = (0..5_000).map(|id| (id, departed(id, "SYN")));
    let verdict = Fact::Verdict(Verdict {
        summary: "Nobody closed.".to_owned(),
        ..Verdict::default()
    });
    let diagram = drawn("Long", packets.chain([(6_000, verdict)]));
    assert_valid(&diagram);
    assert!(diagram.len() < 50_000, "{}", diagram.len());
    let arrows = diagram.matches("client-)server").count();
    let missing = format!("{} of 5000 packets and notes are left out", 5_000 - arrows);
    assert!(diagram.contains(&missing), "{missing}");
    assert!(diagram.ends_with("Note over client,server: Nobody closed.\n"));
}

#[test]
fn an_empty_run_is_a_diagram_all_the_same() {
    assert_valid(&drawn("Nothing", []));
}
