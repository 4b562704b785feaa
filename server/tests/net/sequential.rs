//! `http-sequential`.

use linger_shared::event::{Fact, HostName, TcpState};

use crate::observed::{Observed, assert_near, assert_sound, observe};

fn syns(run: &Observed) -> usize {
    run.packets()
        .iter()
        .filter(|packet| *packet == "client SYN")
        .count()
}

#[tokio::test]
async fn a_kept_connection_carries_every_request() {
    let run = observe("http-sequential", &[("pause", "10ms")]).await;
    assert_sound(&run);
    let verdict = run.verdict();
    assert_eq!(verdict.counts["connections"], 1);
    assert_eq!(verdict.counts["responses"], 10);
    assert_eq!(syns(&run), 1);
    let reused: Vec<bool> = run
        .events
        .iter()
        .filter_map(|event| match &event.fact {
            Fact::Http(exchange) => Some(exchange.reused),
            _ => None,
        })
        .collect();
    assert_eq!(reused.iter().filter(|reused| **reused).count(), 9);
    assert!(!run.states(HostName::Server).contains(&TcpState::TimeWait));
}

#[tokio::test]
async fn without_persistence_each_request_pays_for_a_connection_and_leaves_a_time_wait() {
    let run = observe(
        "http-sequential",
        &[
            ("persistent", "false"),
            ("requests", "10"),
            ("pause", "10ms"),
        ],
    )
    .await;
    assert_sound(&run);
    let verdict = run.verdict();
    assert_eq!(verdict.counts["connections"], 10);
    assert_eq!(syns(&run), 10);
    assert_eq!(verdict.counts["time_wait:server"], 10);
    // The client knows too that the response was the last, and may close in the same moment; but it
    // never closes before it has the response, behind which the server's FIN follows at once.
    assert_eq!(verdict.how, "fin");
    assert_ne!(verdict.ended_by, "client");
    // 10 handshakes and 10 exchanges of 40 ms, 9 pauses of 10 ms; each step may be late.
    assert_near(run.measured("all_requests"), 890_000, 300_000);
}

#[tokio::test]
async fn requests_and_responses_are_named_from_their_bytes() {
    let run = observe(
        "http-sequential",
        &[("requests", "2"), ("pause", "0s"), ("delay", "5ms")],
    )
    .await;
    let packets = run.packets();
    for line in [
        "client GET /1 HTTP/1.1",
        "client GET /2 HTTP/1.1",
        "server HTTP/1.1 200 OK + body 11 B",
    ] {
        assert!(
            packets.iter().any(|packet| packet == line),
            "{line}: {packets:?}"
        );
    }
}
