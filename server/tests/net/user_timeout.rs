//! `tcp-user-timeout`.

use linger_shared::event::{Fact, HostName, Role};

use crate::observed::{Observed, assert_predicted, assert_sound, observe};

fn retransmissions(run: &Observed) -> Vec<u64> {
    run.departures()
        .filter(|(_, packet)| {
            let role = packet.tcp.as_ref().map(|tcp| tcp.role);
            matches!(role, Some(Role::Retransmission { .. })) && packet.from == HostName::Client
        })
        .map(|(event, _)| event.at_us)
        .collect()
}

/// When the client's read failed, and with which errno.
fn failure(run: &Observed) -> (u64, String) {
    run.events
        .iter()
        .find_map(|event| match &event.fact {
            Fact::Call(call) if call.call == "read" => Some((event.at_us, call.errno.clone()?)),
            _ => None,
        })
        .expect("a read failed")
}

#[tokio::test]
async fn unacknowledged_data_is_given_up_when_the_user_timeout_is_over() {
    let run = observe("tcp-user-timeout", &[]).await;
    assert_sound(&run);
    assert_predicted(&run, "detection");
    let verdict = run.verdict();
    assert_eq!(verdict.outcomes["client"], "ETIMEDOUT");
    assert_eq!(
        (verdict.ended_by.as_str(), verdict.how.as_str()),
        ("client", "timeout")
    );
    let again = retransmissions(&run);
    let [_, counted, ..] = again[..] else {
        panic!("too few retransmissions: {again:?}")
    };
    let (failed_us, errno) = failure(&run);
    assert_eq!(errno, "ETIMEDOUT");
    // It counts from the first counted retransmission, the second packet that was sent again.
    let bounded = failed_us - counted;
    assert!(
        (2_990_000..3_400_000).contains(&bounded),
        "{bounded} us after it"
    );
}

#[tokio::test]
async fn it_takes_the_place_of_the_retries_and_can_be_longer_too() {
    let run = observe(
        "tcp-user-timeout",
        &[("user_timeout", "5s"), ("retries", "2"), ("delay", "20ms")],
    )
    .await;
    assert_sound(&run);
    assert_predicted(&run, "detection");
    // Two retries stand for 1.4 s.
    assert!(run.measured("detection").0 > Some(5_000_000));
}

#[tokio::test]
async fn without_it_the_retries_decide() {
    let run = observe(
        "tcp-user-timeout",
        &[("user_timeout", "0"), ("retries", "3")],
    )
    .await;
    assert_sound(&run);
    assert_predicted(&run, "detection");
    let (failed_us, _) = failure(&run);
    let again = retransmissions(&run);
    let (last, before) = (again[again.len() - 1], again[again.len() - 2]);
    let ratio = (failed_us - last) as f64 / (last - before) as f64;
    assert!(
        (1.7..2.3).contains(&ratio),
        "the last interval is a doubled one: {again:?}"
    );
}

#[tokio::test]
async fn with_keepalive_it_overrides_the_number_of_probes_either_way() {
    for (user_timeout, ends_us, probes) in [("3500ms", 4_000_000, 2), ("5500ms", 6_000_000, 4)] {
        let run = observe(
            "tcp-user-timeout",
            &[
                ("in_flight", "off"),
                ("keepalive", "on"),
                ("user_timeout", user_timeout),
            ],
        )
        .await;
        assert_sound(&run);
        assert_predicted(&run, "detection");
        let (predicted, _) = run.measured("detection");
        assert!(
            predicted.is_some_and(|us| us.abs_diff(ends_us) < 200_000),
            "{user_timeout}: {predicted:?}"
        );
        assert_eq!(run.verdict().counts["keepalive_probes"], probes);
        assert_eq!(run.verdict().outcomes["client"], "ETIMEDOUT");
    }
}

#[tokio::test]
async fn on_an_idle_connection_without_keepalive_it_never_fires() {
    let run = observe(
        "tcp-user-timeout",
        &[
            ("in_flight", "off"),
            ("user_timeout", "500ms"),
            ("watch", "4s"),
        ],
    )
    .await;
    assert_sound(&run);
    assert_eq!(run.measured("detection"), (None, None));
    assert_eq!(run.verdict().how, "silence");
    assert_eq!(run.verdict().outcomes["client"], "still waiting in read()");
    assert!(run.drops().is_empty(), "nothing was sent into the cut");
}
