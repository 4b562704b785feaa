//! Runs like those of the experiments, with times like those that were measured.

use std::collections::BTreeMap;

use linger_shared::event::{
    ChunkContent, Fact, Measurement, Mode, Observer, Role, Side, TcpState, Verdict,
};

use crate::events::{Client, Run, Server};

fn handshake(run: &mut Run, at_us: u64) -> u64 {
    run.state(at_us + 200, Client, TcpState::SynSent);
    let syn = run.segment(at_us, Client, "SYN");
    run.state(syn + 100, Server, TcpState::SynRecv);
    let answer = run.segment(syn + 90, Server, "SYN,ACK");
    let ack = run.segment(answer + 70, Client, "ACK");
    run.state(answer + 150, Client, TcpState::Established);
    run.call(answer + 210, Client, "connect", "198.51.100.1:7654", "ok");
    run.state(ack + 80, Server, TcpState::Established);
    run.call(ack + 160, Server, "accept", "", "192.0.2.1:40000");
    answer + 210
}

/// `tcp-dead-peer` with idle 2 s, interval 1 s and 3 probes over 20 ms each way.
pub(crate) fn dead_peer() -> Run {
    let mut run = Run::new("tcp-dead-peer", 20_100);
    run.chapter(0, "Connect and exchange a greeting");
    let connected = handshake(&mut run, 240);
    run.call(connected + 100, Client, "write", "5 bytes", "5 bytes");
    let hello = run.data(connected + 180, Client, 5, "5 bytes");
    run.call(hello + 120, Server, "read", "", "5 bytes");
    let ack = run.segment(hello + 60, Server, "ACK");
    run.call(hello + 300, Server, "write", "5 bytes", "5 bytes");
    let echo = run.data(hello + 380, Server, 5, "5 bytes");
    let last = run.segment(echo + 70, Client, "ACK");
    run.call(echo + 190, Client, "read", "", "5 bytes");
    assert!(ack < last);

    let cut = last + 900;
    run.chapter(cut, "Cut the path without a word");
    run.cut(cut, true);
    run.expect(
        cut + 40,
        "detection",
        echo + 5_000_000,
        "2 s idle + 3 x 1 s interval = 5 s",
    );
    run.call(cut + 120, Client, "read", "", "");
    let mut probe = echo + 2_003_000;
    for nth in 1..=3 {
        let role = Role::KeepAliveProbe { nth };
        let id = run.depart(probe, Client, "ACK", 0, role, "keep-alive probe");
        run.drop_packet(probe + 10_000, id, 0.5);
        probe += 1_004_000;
    }
    let id = run.depart(probe, Client, "RST,ACK", 0, Role::Ordinary, "RST, ACK");
    run.drop_packet(probe + 10_000, id, 0.5);
    run.call(probe + 210, Client, "read", "", "ETIMEDOUT");
    run.gone(probe + 600, Client, TcpState::Established);
    let span = probe + 210 - echo;
    run.measure(probe + 210, "detection", Some(5_000_000), Some(span));
    let measurements = vec![Measurement {
        name: "detection".to_owned(),
        predicted_us: Some(5_000_000),
        measured_us: Some(span),
    }];
    let verdict = Verdict {
        ended_by: "client".to_owned(),
        how: "timeout".to_owned(),
        outcomes: BTreeMap::from([
            ("client".to_owned(), "ETIMEDOUT".to_owned()),
            ("server".to_owned(), "nothing".to_owned()),
        ]),
        measurements,
        counts: BTreeMap::from([
            ("connections".to_owned(), 1),
            ("packets".to_owned(), 11),
            ("dropped".to_owned(), 4),
            ("bytes".to_owned(), 590),
        ]),
        summary: "The client's kernel gave up after 3 unanswered probes; the server never \
                  learned of it and still holds an open connection."
            .to_owned(),
        sides: vec![
            Side {
                host: Client,
                towards: Server,
                saw: "ETIMEDOUT".to_owned(),
                how: "gave up".to_owned(),
                at_us: Some(probe),
                saw_at_us: Some(probe + 210),
                state: "gone".to_owned(),
            },
            Side {
                host: Server,
                towards: Client,
                saw: String::new(),
                how: "nothing".to_owned(),
                at_us: None,
                saw_at_us: None,
                state: "ESTABLISHED".to_owned(),
            },
        ],
        endings: Vec::new(),
    };
    run.push(
        probe + 302_000,
        Observer::Experiment,
        Fact::Verdict(verdict),
    );
    run.in_order()
}

/// `http-sequential`: a few requests over one connection, or over one each.
pub(crate) fn http_sequential(persistent: bool) -> Run {
    let mut run = Run::new("http-sequential", 5_050);
    run.header.title = "One connection or ten?".to_owned();
    run.chapter(0, "Ask for three pages, one after the other");
    let mut at = 300;
    for request in 1..=3 {
        if request == 1 || !persistent {
            run.connection = request - 1;
            run.port = 40_000 + 2 * request as u16;
            at = handshake(&mut run, at);
        }
        let asked = run.data(at + 150, Client, 78, &format!("GET /{request} HTTP/1.1"));
        run.segment(asked + 60, Server, "ACK");
        let answered = run.data(asked + 700, Server, 131, "HTTP/1.1 200 OK");
        run.segment(answered + 50, Client, "ACK");
        run.http(answered + 240, request, persistent && request > 1);
        at = answered + 600;
        if !persistent || request == 3 {
            run.call(at, Client, "close", "", "ok");
            let fin = run.segment(at + 90, Client, "FIN,ACK");
            run.state(at + 200, Client, TcpState::FinWait1);
            run.state(fin + 100, Server, TcpState::LastAck);
            let answer = run.segment(fin + 150, Server, "FIN,ACK");
            let last = run.segment(answer + 60, Client, "ACK");
            run.state(answer + 130, Client, TcpState::TimeWait);
            run.gone(last + 200, Server, TcpState::LastAck);
            at = last + 500;
        }
    }
    run.in_order()
}

/// A run over the loopback relay.
pub(crate) fn relayed() -> Run {
    let mut run = Run::new("http-sequential", 10_000);
    run.header.mode = Mode::Relay;
    let opened = run.chunk(500, Client, ChunkContent::Open, "", "connect");
    let asked = run.chunk(
        opened + 400,
        Client,
        ChunkContent::Data,
        &"47".repeat(78),
        "GET /1 HTTP/1.1",
    );
    let answered = run.chunk(
        asked + 900,
        Server,
        ChunkContent::Data,
        &"48".repeat(131),
        "HTTP/1.1 200 OK",
    );
    run.http(answered + 200, 1, false);
    let ended = run.chunk(
        answered + 800,
        Client,
        ChunkContent::End,
        "",
        "end of stream",
    );
    run.chunk(ended + 300, Server, ChunkContent::Reset, "", "reset");
    run.in_order()
}

/// A long run of nothing but traffic, with losses, both ways at once.
pub(crate) fn busy(packets: u64) -> Run {
    let mut run = Run::new("sandbox", 20_000);
    let mut dice = crate::events::Dice::new(packets);
    let mut at = 0;
    for k in 0..packets {
        at += 200 + dice.roll(9_000);
        if k % 1_000 == 999 {
            at += 3_000_000;
        }
        let from = if k % 2 == 0 { Client } else { Server };
        let (flags, payload, role) = match dice.roll(10) {
            0..=5 => ("ACK", 0, Role::Ordinary),
            6..=8 => ("PSH,ACK", 1_000, Role::Ordinary),
            _ => ("PSH,ACK", 1_000, Role::Retransmission { nth: 1 }),
        };
        let id = run.depart(at, from, flags, payload, role, "");
        if dice.roll(50) == 0 {
            run.drop_packet(at + 5_000, id, 0.25);
        } else {
            run.arrive(at + 20_000 + dice.roll(900), id);
        }
        if k % 40 == 0 {
            run.call(at + 10, from, "write", "1000 bytes", "1000 bytes");
        }
    }
    run.in_order()
}
