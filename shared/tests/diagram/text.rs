//! The diagram in a terminal.

use linger_shared::{
    diagram::text::TextDiagram,
    event::{Fact, Observer, Role, TcpState},
};

use crate::{
    events::{Client, Dice, Run, Server},
    golden,
    samples::{busy, dead_peer, http_sequential, relayed},
};

fn lines(run: &Run, columns: usize) -> Vec<String> {
    let mut diagram = TextDiagram::new(&run.header, columns);
    let mut lines = Vec::new();
    for event in &run.events {
        lines.extend(diagram.push(event));
    }
    lines.extend(diagram.finish());
    lines
}

fn text(run: &Run, columns: usize) -> String {
    lines(run, columns).join("\n") + "\n"
}

#[test]
fn dead_peer_reads_as_it_did() {
    golden::check("dead-peer.txt", &text(&dead_peer(), 80));
}

#[test]
fn dead_peer_reads_as_it_did_in_a_wide_terminal() {
    golden::check("dead-peer-wide.txt", &text(&dead_peer(), 110));
}

#[test]
fn http_over_one_connection_reads_as_it_did() {
    golden::check("http-persistent.txt", &text(&http_sequential(true), 80));
}

#[test]
fn http_over_a_connection_each_reads_as_it_did() {
    golden::check("http-one-each.txt", &text(&http_sequential(false), 80));
}

#[test]
fn a_relayed_run_reads_as_it_did() {
    golden::check("relayed.txt", &text(&relayed(), 80));
}

#[test]
fn every_line_is_ascii_and_fits() {
    for columns in [0, 60, 80, 100, 120, 4_000] {
        for run in [dead_peer(), http_sequential(false), busy(800)] {
            for line in lines(&run, columns) {
                assert!(line.is_ascii(), "{line}");
                assert!(line.len() <= columns.clamp(60, 120), "{columns}: {line}");
                assert!(!line.contains(|c: char| c.is_ascii_control()), "{line:?}");
            }
        }
    }
}

#[test]
fn a_packet_has_a_row_for_its_departure_and_one_for_its_arrival() {
    let run = busy(400);
    let lines = lines(&run, 80);
    let heads = lines
        .iter()
        .filter(|l| l.contains(">|") || l.contains("|<"))
        .count();
    let model = run.model();
    assert_eq!(heads as u64, model.counts().arrived);
    let crosses = lines
        .iter()
        .filter(|l| l.contains("x cut") || l.contains("cut x"))
        .count();
    assert_eq!(crosses as u64, model.counts().dropped);
}

#[test]
fn rows_are_in_the_order_of_time_although_events_are_not_quite() {
    let mut run = Run::new("sandbox", 20_000);
    run.segment(1_000, Client, "SYN");
    run.state(21_500, Server, TcpState::SynRecv);
    run.state(1_200, Client, TcpState::SynSent);
    run.events.swap(1, 2);
    let times: Vec<f64> = lines(&run, 80)
        .iter()
        .filter_map(|line| line.get(..11)?.trim().strip_suffix(" ms")?.parse().ok())
        .collect();
    assert_eq!(times, [1.0, 1.2, 21.0, 21.5]);
}

#[test]
fn lines_are_the_same_however_the_run_is_cut_into_batches() {
    let run = dead_peer();
    let whole = text(&run, 80);
    let mut diagram = TextDiagram::new(&run.header, 80);
    let mut parts = Vec::new();
    for event in &run.events {
        parts.extend(diagram.push(event));
        // The clock may be far ahead of the last event only where the next one is far ahead too.
        parts.extend(diagram.advance(event.at_us));
    }
    parts.extend(diagram.finish());
    assert_eq!(parts.join("\n") + "\n", whole);
}

#[test]
fn the_clock_lets_rows_out_that_no_event_follows() {
    let mut run = Run::new("sandbox", 20_000);
    run.segment(1_000, Client, "SYN");
    let mut diagram = TextDiagram::new(&run.header, 80);
    let mut early = Vec::new();
    for event in &run.events {
        early.extend(diagram.push(event));
    }
    assert!(!early.iter().any(|line| line.contains(">|")));
    let later = diagram.advance(1_000_000);
    assert!(later.iter().any(|line| line.contains(">|")));
}

#[test]
fn idle_time_is_one_row_however_long() {
    let mut run = Run::new("sandbox", 20_000);
    let last = run.segment(1_000, Client, "SYN");
    run.segment(last + 45_000_000, Server, "SYN,ACK");
    let idle: Vec<String> = lines(&run, 80)
        .into_iter()
        .filter(|l| l.contains("idle"))
        .collect();
    assert_eq!(idle.len(), 1);
    assert!(idle[0].contains("45.0 s idle"), "{idle:?}");
}

#[test]
fn a_prediction_stands_where_it_should_have_come_true() {
    let mut run = Run::new("sandbox", 20_000);
    run.segment(1_000, Client, "SYN");
    run.expect(30_000, "detection", 5_000_000, "2 s + 3 x 1 s");
    run.call(9_000_000, Client, "read", "", "ETIMEDOUT");
    let lines = lines(&run, 80);
    let at = |needle: &str| {
        let found = lines.iter().position(|line| line.contains(needle));
        found.unwrap_or_else(|| panic!("{needle} in {lines:#?}"))
    };
    assert!(at("predicted at 5.000 s") < at("ETIMEDOUT"));
    assert!(lines[at("predicted at 5.000 s")].contains("5.0000 s"));
}

#[test]
fn a_call_that_never_came_back_is_told_at_the_end() {
    let mut run = Run::new("sandbox", 20_000);
    run.call(1_000, Client, "read", "", "");
    let text = text(&run, 80);
    assert!(text.contains("read() ... has not come back"), "{text}");
}

#[test]
fn a_failure_of_the_laboratory_is_not_worded_as_a_result() {
    let mut run = Run::new("sandbox", 20_000);
    let message = "cannot open /dev/net/tun: EACCES".to_owned();
    run.push(1_000, Observer::Experiment, Fact::Failure { message });
    let text = text(&run, 80);
    assert!(text.contains("nothing may be concluded"), "{text}");
    assert!(text.contains("cannot open /dev/net/tun: EACCES"), "{text}");
    assert!(!text.contains("Verdict"), "{text}");
}

#[test]
fn what_is_on_the_wire_cannot_command_the_terminal() {
    let mut run = Run::new("sandbox", 20_000);
    run.data(0, Client, 9, "GET /\u{1b}]0;x\u{7} HTTP/1.1");
    run.call(9_000, Server, "read\u{1b}[2J", "\n", "\u{1F4A5}");
    let text = text(&run, 80);
    assert!(text.contains("GET /?]0;x? HTTP/1.1"), "{text}");
    assert!(!text.contains('\u{1b}'));
}

#[test]
fn nonsense_is_still_text() {
    for seed in 0..40 {
        let mut dice = Dice::new(seed);
        let mut run = Run::new("sandbox", 20_000);
        for _ in 0..200 {
            let at = [0, u64::MAX, dice.roll(9_000_000)][dice.roll(3) as usize];
            let host = if dice.roll(2) == 0 { Client } else { Server };
            match dice.roll(7) {
                0 => drop(run.depart(at, host, "ACK", 9, Role::Ordinary, &"x".repeat(300))),
                1 => run.arrive(at, dice.roll(40)),
                2 => run.drop_packet(at, dice.roll(40), [f64::NAN, 2.0][dice.roll(2) as usize]),
                3 => run.expect(at, &"n".repeat(200), u64::MAX - at / 3, &"b".repeat(200)),
                4 => run.measure(at, "n", Some(u64::MAX), Some(at)),
                5 => run.call(at, host, "read", &"a".repeat(300), "E"),
                _ => run.gone(at, host, TcpState::Closed),
            }
        }
        assert!(lines(&run, 70).iter().all(|line| line.len() <= 70));
    }
}
