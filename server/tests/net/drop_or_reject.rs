//! `path-drop-or-reject`.

use linger_shared::event::{HostName, TcpState};

use crate::observed::{Observed, assert_near, assert_sound, observe};

/// How late a step of the applications may be: two cores are shared with the other tests.
const LATE_US: u64 = 50_000;

/// Asserts that something of seconds was predicted and measured at the same time.
fn assert_agree(run: &Observed, name: &str) -> u64 {
    let (predicted, measured) = run.measured(name);
    let (predicted, measured) = (predicted.expect("predicted"), measured.expect("measured"));
    assert!(
        predicted.abs_diff(measured) <= LATE_US.max(predicted / 20),
        "{name}: predicted {predicted} us, measured {measured} us"
    );
    measured
}

/// Packets with data that the client sent after the greeting, retransmissions included.
fn tries(run: &Observed) -> Vec<u64> {
    run.departures()
        .filter(|(_, packet)| packet.from == HostName::Client)
        .filter(|(_, packet)| packet.tcp.as_ref().is_some_and(|tcp| tcp.payload == 14))
        .map(|(event, _)| event.at_us)
        .collect()
}

/// The longest pause between two of them.
fn longest_pause(tries: &[u64]) -> u64 {
    let pauses = tries.windows(2).map(|pair| pair[1] - pair[0]);
    pauses.max().expect("it was sent again")
}

/// What the applications' calls on the client failed with, in order.
fn errnos(run: &Observed) -> Vec<String> {
    run.events
        .iter()
        .filter_map(|event| match &event.fact {
            linger_shared::event::Fact::Call(call) => call.errno.clone(),
            _ => None,
        })
        .collect()
}

#[tokio::test]
async fn icmp_fails_a_new_connection_at_once_and_an_old_one_when_its_patience_is_over() {
    for (rule, errno) in [
        ("port-unreachable", "ECONNREFUSED"),
        ("admin-prohibited", "EHOSTUNREACH"),
    ] {
        let run = observe("path-drop-or-reject", &[("rule", rule), ("retries", "2")]).await;
        assert_sound(&run);
        assert_near(run.measured("new_error"), 20_000, LATE_US);
        let old = assert_agree(&run, "old_error");
        assert!(old > 1_400_000, "tcp_retries2 2 stands for 1.4 s: {old} us");
        assert_eq!(errnos(&run), [errno, errno], "{rule}");
        // The second connection is ended by what it was told, the first by its own kernel.
        let endings = &run.verdict().endings;
        assert_eq!(endings[0].how, "timeout", "{rule}");
        assert_eq!(endings[1].how, "icmp", "{rule}");
        let tries = tries(&run);
        assert!(longest_pause(&tries) > 400_000, "it backs off: {tries:?}");
        assert_eq!(
            run.states(HostName::Server).last(),
            Some(&TcpState::Established),
            "nobody told the server"
        );
    }
}

#[tokio::test]
async fn host_unreachable_takes_the_back_off_back() {
    for (rule, errno) in [
        ("host-unreachable", "EHOSTUNREACH"),
        ("net-unreachable", "ENETUNREACH"),
    ] {
        let run = observe(
            "path-drop-or-reject",
            &[("rule", rule), ("retries", "2"), ("connection", "old")],
        )
        .await;
        assert_sound(&run);
        assert_agree(&run, "old_error");
        assert_eq!(errnos(&run), [errno], "{rule}");
        let tries = tries(&run);
        assert!(longest_pause(&tries) < 400_000, "{rule}: {tries:?}");
    }
}

#[tokio::test]
async fn silence_makes_both_wait_and_tells_etimedout() {
    let run = observe(
        "path-drop-or-reject",
        &[("rule", "silence"), ("retries", "2")],
    )
    .await;
    assert_sound(&run);
    let new = assert_agree(&run, "new_error");
    assert!(new >= 2_990_000, "1 s and 2 s: {new} us");
    assert_agree(&run, "old_error");
    assert_eq!(errnos(&run), ["ETIMEDOUT", "ETIMEDOUT"]);
    assert_eq!(run.verdict().how, "timeout");
}

#[tokio::test]
async fn a_reset_ends_both_at_once() {
    for (rule, server) in [
        ("rst", TcpState::Established),
        ("rst-both", TcpState::Closed),
    ] {
        let run = observe("path-drop-or-reject", &[("rule", rule)]).await;
        assert_sound(&run);
        assert_near(run.measured("new_error"), 20_000, LATE_US);
        assert_near(run.measured("old_error"), 20_000, LATE_US);
        let errnos = errnos(&run);
        assert!(errnos.contains(&"ECONNREFUSED".to_owned()), "{errnos:?}");
        assert!(errnos.contains(&"ECONNRESET".to_owned()), "{errnos:?}");
        assert_eq!(run.verdict().how, "rst");
        assert_eq!(run.states(HostName::Server).last(), Some(&server), "{rule}");
        assert_eq!(tries(&run).len(), 1, "nothing is sent again");
    }
}

#[tokio::test]
async fn an_old_connection_recovers_from_what_killed_a_new_one() {
    let run = observe(
        "path-drop-or-reject",
        &[("lifted_after", "700ms"), ("retries", "15")],
    )
    .await;
    assert_sound(&run);
    assert_near(run.measured("new_error"), 20_000, LATE_US);
    assert_agree(&run, "old_answer");
    assert_eq!(errnos(&run), ["ECONNREFUSED"], "the new one's");
    assert_eq!(run.verdict().endings[0].how, "silence", "it is open");
}

#[tokio::test]
async fn both_recover_from_silence() {
    let run = observe(
        "path-drop-or-reject",
        &[("rule", "silence"), ("lifted_after", "700ms")],
    )
    .await;
    assert_sound(&run);
    assert_agree(&run, "old_answer");
    assert_agree(&run, "new_connect");
    assert!(errnos(&run).is_empty());
}

#[tokio::test]
async fn a_rule_about_another_port_is_met_by_nobody() {
    let run = observe("path-drop-or-reject", &[("rule", "other-port")]).await;
    assert_sound(&run);
    assert_near(run.measured("old_answer"), 40_000, LATE_US);
    assert_near(run.measured("new_connect"), 40_000, LATE_US);
    assert!(run.drops().is_empty());
    assert!(errnos(&run).is_empty());
}
