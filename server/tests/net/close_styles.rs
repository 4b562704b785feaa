//! `tcp-close-styles`.

use linger_shared::event::{
    Fact,
    HostName::{self, Client, Server},
    Observer, TcpState as S,
};

use crate::observed::{Observed, assert_near, assert_sound, observe};

/// How late a step may be that waits for packets and applications alone: two cores are shared with
/// the other tests.
const LATE_US: u64 = 50_000;

/// What may leave at once: the initial window of 10 segments (RFC 6928) of 1,448 bytes.
const FLIGHT: u64 = 14_480;

/// What a host's reads came to in all, and the last of them.
fn heard(run: &Observed, host: HostName) -> (u64, String) {
    let reads: Vec<&str> = run
        .events
        .iter()
        .filter(|event| event.seen_by == Observer::App(host))
        .filter_map(|event| match &event.fact {
            Fact::Call(call) if call.call == "read" => Some(call.result.as_str()),
            _ => None,
        })
        .collect();
    let bytes = reads
        .iter()
        .filter_map(|result| result.split_once(" byte")?.0.parse::<u64>().ok())
        .sum();
    let last = reads.last().map(|result| (*result).to_owned());
    (bytes, last.unwrap_or_default())
}

fn sent(run: &Observed, host: HostName, flag: &str) -> bool {
    run.departures().any(|(_, packet)| {
        packet.from == host
            && packet
                .tcp
                .as_ref()
                .is_some_and(|tcp| tcp.flags.split(',').any(|name| name == flag))
    })
}

/// What a host's write() calls came to, in order.
fn writes(run: &Observed, host: HostName) -> Vec<&str> {
    run.events
        .iter()
        .filter(|event| event.seen_by == Observer::App(host))
        .filter_map(|event| match &event.fact {
            Fact::Call(call) if call.call == "write" => Some(call.result.as_str()),
            _ => None,
        })
        .collect()
}

#[tokio::test]
async fn close_delivers_everything_and_leaves_the_closer_in_time_wait() {
    for reader in ["late", "waiting"] {
        let run = observe("tcp-close-styles", &[("reader", reader)]).await;
        assert_sound(&run);
        // The greeting's five bytes come on top.
        let all = (20_005, "end of stream".to_owned());
        assert_eq!(heard(&run, Server), all, "{reader}");
        assert!(!sent(&run, Client, "RST"), "{reader}");
        assert_near(run.measured("fin"), 60_000, LATE_US);
        assert_eq!(run.states(Client).last(), Some(&S::TimeWait), "{reader}");
        assert_eq!(run.states(Server).last(), Some(&S::Closed), "{reader}");
        assert_eq!(run.verdict().ended_by, "client");
        assert_eq!(run.verdict().how, "fin");
    }
}

#[tokio::test]
async fn what_fits_into_one_flight_has_its_fin_after_one_way() {
    let run = observe(
        "tcp-close-styles",
        &[("payload", "14480"), ("delay", "10ms")],
    )
    .await;
    assert_sound(&run);
    assert_near(run.measured("fin"), 10_000, LATE_US);
    assert_eq!(heard(&run, Server).0, 14_485);
}

#[tokio::test]
async fn an_rst_loses_what_has_not_left_and_keeps_what_has_arrived() {
    for (style, reader, delay, one_way_us) in [
        ("linger-zero", "late", "20ms", 20_000),
        ("linger-zero", "waiting", "5ms", 5_000),
        ("unread", "late", "5ms", 5_000),
    ] {
        let run = observe(
            "tcp-close-styles",
            &[("style", style), ("reader", reader), ("delay", delay)],
        )
        .await;
        assert_sound(&run);
        // Read after the RST's arrival where the reader is late: Linux has kept it.
        let part = (FLIGHT + 5, "ECONNRESET".to_owned());
        assert_eq!(heard(&run, Server), part, "{style} {reader}");
        assert_eq!(writes(&run, Client), ["ok", "ok"], "{style} {reader}");
        assert!(!sent(&run, Client, "FIN"), "{style} {reader}");
        assert_near(run.measured("rst"), one_way_us, LATE_US);
        for host in [Client, Server] {
            let states = run.states(host);
            assert!(!states.contains(&S::TimeWait), "{style} {states:?}");
            assert_eq!(states.last(), Some(&S::Closed), "{style} {host}");
        }
        assert_eq!(run.verdict().how, "rst");
    }
}

#[tokio::test]
async fn an_rst_loses_nothing_of_what_could_leave_at_once() {
    let run = observe(
        "tcp-close-styles",
        &[("style", "linger-zero"), ("payload", "1000")],
    )
    .await;
    assert_sound(&run);
    assert_eq!(heard(&run, Server), (1_005, "ECONNRESET".to_owned()));
}

#[tokio::test]
async fn after_shutdown_an_answer_is_read_and_after_close_it_meets_an_rst() {
    let run = observe(
        "tcp-close-styles",
        &[("style", "shutdown"), ("answers", "on")],
    )
    .await;
    assert_sound(&run);
    assert_eq!(heard(&run, Client), (5 + 6, "end of stream".to_owned()));
    assert_near(run.measured("answer"), 20_000, LATE_US);
    assert!(!sent(&run, Client, "RST"));
    assert!(run.states(Client).contains(&S::FinWait2));
    assert_eq!(run.states(Client).last(), Some(&S::TimeWait));

    let run = observe("tcp-close-styles", &[("answers", "on"), ("delay", "10ms")]).await;
    assert_sound(&run);
    assert_near(run.measured("answer_refused"), 20_000, LATE_US);
    assert!(sent(&run, Client, "RST"));
    assert_eq!(writes(&run, Server), ["ok", "ok", "EPIPE"]);
    // The RST takes the orphan with it, before it comes to TIME_WAIT.
    assert_eq!(run.states(Client).last(), Some(&S::Closed));
    assert!(!run.states(Client).contains(&S::TimeWait));
}
