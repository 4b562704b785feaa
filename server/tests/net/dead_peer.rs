//! `tcp-dead-peer`.

use linger_shared::{
    event::{Fact, HostName, Observer, Role},
    protocol::{Action, RunState},
};

use crate::observed::{Observed, assert_predicted, assert_sound, observe, observe_while};

/// Asserts that a detection is predicted at its textbook time, or late by a timer's slot, which is
/// at most an eighth (kernel/time/timer.c).
fn assert_within_an_eighth(run: &Observed, textbook_us: u64) {
    let (predicted, _) = run.measured("detection");
    let predicted = predicted.expect("it is predicted");
    assert!((textbook_us..=textbook_us + textbook_us / 8).contains(&predicted));
}

#[tokio::test]
async fn probes_go_unanswered_then_rst_and_etimedout() {
    let run = observe(
        "tcp-dead-peer",
        &[("idle", "2s"), ("interval", "1s"), ("count", "3")],
    )
    .await;
    assert_sound(&run);
    let verdict = run.verdict();
    assert_eq!(
        (verdict.ended_by.as_str(), verdict.how.as_str()),
        ("client", "timeout")
    );
    assert_eq!(verdict.outcomes["client"], "ETIMEDOUT");
    assert_predicted(&run, "detection");
    assert_within_an_eighth(&run, 5_000_000);

    let probes: Vec<u32> = run
        .departures()
        .filter_map(|(_, packet)| match packet.tcp.as_ref()?.role {
            Role::KeepAliveProbe { nth } => Some(nth),
            _ => None,
        })
        .collect();
    assert_eq!(probes, [1, 2, 3]);
    let (_, last) = run.departures().last().expect("packets departed");
    assert_eq!(
        (last.from, last.summary.as_str()),
        (HostName::Client, "RST, ACK")
    );
    // The three probes and the RST; nothing else was sent into the cut.
    assert_eq!(run.drops().len(), 4);
}

#[tokio::test]
async fn the_time_of_detection_follows_the_parameters() {
    let run = observe(
        "tcp-dead-peer",
        &[
            ("idle", "1s"),
            ("interval", "1s"),
            ("count", "1"),
            ("delay", "5ms"),
        ],
    )
    .await;
    assert_sound(&run);
    assert_predicted(&run, "detection");
    assert_within_an_eighth(&run, 2_000_000);
    assert_eq!(run.verdict().counts["keepalive_probes"], 1);
}

#[tokio::test]
async fn without_keepalive_nobody_notices_anything() {
    let run = observe("tcp-dead-peer", &[("keepalive", "off"), ("watch", "3s")]).await;
    assert_sound(&run);
    let verdict = run.verdict();
    assert_eq!(
        (verdict.ended_by.as_str(), verdict.how.as_str()),
        ("nobody", "silence")
    );
    assert_eq!(verdict.outcomes["client"], "still waiting in read()");
    assert_eq!(run.measured("detection"), (None, None));
    let cut = run
        .events
        .iter()
        .position(|event| matches!(event.fact, Fact::Rule { active: true, .. }))
        .expect("the path was cut");
    let after = run.events[cut..]
        .iter()
        .filter(|event| matches!(event.fact, Fact::PacketDeparted(_)))
        .count();
    assert_eq!(after, 0, "no packet leaves after the cut");
}

#[tokio::test]
async fn a_user_heals_what_a_user_cut_and_the_cut_of_the_script_stays() {
    let mut acted = false;
    let run = observe_while(
        "tcp-dead-peer",
        &[("idle", "1s"), ("interval", "1s"), ("count", "1")],
        |manager, id, event| {
            if !acted && matches!(event.fact, Fact::Rule { active: true, .. }) {
                acted = true;
                manager
                    .act(id, Action::Cut { from: None })
                    .expect("a live run can be cut");
                manager
                    .act(id, Action::Heal)
                    .expect("a live run can be healed");
            }
        },
    )
    .await;
    assert_sound(&run);
    let rules: Vec<(bool, &str)> = run
        .events
        .iter()
        .filter_map(|event| match &event.fact {
            Fact::Rule { active, by, .. } => Some((*active, by.as_str())),
            _ => None,
        })
        .collect();
    let by_user = |wanted| {
        rules
            .iter()
            .filter(|(active, by)| *by == "user" && *active == wanted)
            .count()
    };
    assert_eq!((by_user(true), by_user(false)), (2, 2));
    assert_eq!(run.verdict().outcomes["client"], "ETIMEDOUT");
}

#[tokio::test]
async fn a_stopped_run_says_so_and_still_gives_a_verdict() {
    let run = observe_while("tcp-dead-peer", &[("idle", "1h")], |manager, id, event| {
        if matches!(event.fact, Fact::Expectation { .. }) {
            manager
                .stop(id, "it was stopped by a test")
                .expect("a live run can be stopped");
        }
    })
    .await;
    assert_eq!(run.state, RunState::Cancelled);
    let kinds: Vec<&Fact> = run.events.iter().map(|event| &event.fact).collect();
    assert!(
        kinds
            .iter()
            .any(|fact| matches!(fact, Fact::Stopped { reason } if reason.contains("test")))
    );
    assert!(matches!(kinds.last(), Some(Fact::Verdict(_))));
}

#[tokio::test]
async fn the_kernels_countdown_is_seen_beside_the_prediction() {
    let run = observe(
        "tcp-dead-peer",
        &[("idle", "1s"), ("interval", "1s"), ("count", "2")],
    )
    .await;
    let retries: Vec<u8> = run
        .events
        .iter()
        .filter(|event| event.seen_by == Observer::Kernel(HostName::Client))
        .filter_map(|event| match &event.fact {
            Fact::Socket(socket) => {
                let timer = socket.timer?;
                (timer.timer == linger_shared::event::TimerKind::KeepAlive)
                    .then_some(socket.retries)
            }
            _ => None,
        })
        .collect();
    assert!(retries.contains(&0) && retries.contains(&2), "{retries:?}");
}
