//! `path-idle-expiry`.

use linger_shared::event::{Fact, FlowState, HostName, TcpState};

use crate::observed::{Observed, assert_near, assert_predicted, assert_sound, observe};

/// How late the wire and the applications may be on a busy machine.
const BUSY_US: u64 = 100_000;

/// Asserts that the client's kernel gives up as predicted: at the textbook's time, or late by the
/// slots of its timers, an eighth at most (kernel/time/timer.c).
fn assert_told(run: &Observed, textbook_us: u64) {
    assert_predicted(run, "client_told");
    let (predicted, _) = run.measured("client_told");
    let predicted = predicted.expect("it is predicted");
    assert!((textbook_us..=textbook_us + textbook_us / 8).contains(&predicted));
}

async fn of(params: &[(&str, &str)]) -> Observed {
    let run = observe("path-idle-expiry", params).await;
    assert_sound(&run);
    run
}

/// How often the box has forgotten a connection.
fn expired(run: &Observed) -> usize {
    let expired = run.events.iter().filter(|event| {
        matches!(
            event.fact,
            Fact::Flow {
                state: FlowState::Expired,
                ..
            }
        )
    });
    expired.count()
}

fn outcome(run: &Observed, host: &str) -> String {
    run.verdict()
        .outcomes
        .get(host)
        .cloned()
        .unwrap_or_default()
}

#[tokio::test]
async fn a_silent_box_forgets_at_its_limit_and_neither_end_is_told() {
    let run = of(&[("limit", "2s"), ("silence", "2500ms"), ("watch", "1s")]).await;
    assert_near(run.measured("forgotten"), 2_000_000, BUSY_US);
    assert_eq!(run.measured("client_told"), (None, None));
    // The message and what its sender repeats are all dropped at the box.
    assert!(run.drops().len() >= 2);
    let established = Some(&TcpState::Established);
    assert_eq!(run.states(HostName::Client).last(), established);
    assert_eq!(run.states(HostName::Server).last(), established);
    assert_eq!(run.verdict().how, "silence");
}

#[tokio::test]
async fn a_silence_below_the_limit_does_no_harm() {
    let run = of(&[("limit", "3s"), ("silence", "1500ms"), ("delay", "5ms")]).await;
    assert_near(run.measured("answer"), 10_000, BUSY_US);
    assert_eq!(expired(&run), 0);
    assert!(run.drops().is_empty());
}

#[tokio::test]
async fn probes_in_time_keep_the_connection_through_a_longer_silence() {
    let run = of(&[
        ("keepalive", "server"),
        ("idle", "1s"),
        ("limit", "2s"),
        ("silence", "3500ms"),
        ("speaker", "server"),
    ])
    .await;
    assert_near(run.measured("answer"), 40_000, BUSY_US);
    assert_eq!(expired(&run), 0);
    assert!(run.verdict().counts["keepalive_probes"] >= 3);
}

#[tokio::test]
async fn probes_that_come_too_late_find_out() {
    let run = of(&[
        ("keepalive", "client"),
        ("idle", "2s"),
        ("limit", "1s"),
        ("silence", "3s"),
        ("count", "1"),
    ])
    .await;
    assert_near(run.measured("forgotten"), 1_000_000, BUSY_US);
    assert_told(&run, 3_000_000);
    assert_eq!(outcome(&run, "client"), "ETIMEDOUT");
    assert_eq!(outcome(&run, "server"), "still waiting in read()");
}

#[tokio::test]
async fn an_interval_above_the_limit_loses_the_second_probe() {
    let run = of(&[
        ("keepalive", "client"),
        ("idle", "1s"),
        ("interval", "2s"),
        ("count", "1"),
        ("limit", "1500ms"),
        ("silence", "4s"),
    ])
    .await;
    // The first probe is answered, 1 s after the greeting; the second leaves 2 s later.
    assert_near(run.measured("forgotten"), 1_500_000, BUSY_US);
    assert_told(&run, 5_000_000);
    assert_eq!(run.verdict().counts["keepalive_probes"], 2);
    assert_eq!(outcome(&run, "client"), "ETIMEDOUT");
}

#[tokio::test]
async fn a_box_that_answers_tells_whoever_speaks_and_a_nat_only_its_inside() {
    let said = |kind, speaker| async move {
        of(&[
            ("kind", kind),
            ("expiry", "rst-on-next-packet"),
            ("speaker", speaker),
            ("limit", "1s"),
            ("silence", "1500ms"),
            ("watch", "1s"),
        ])
        .await
    };
    let (firewall, inside, outside) = tokio::join!(
        said("firewall", "server"),
        said("nat", "client"),
        said("nat", "server")
    );
    assert_near(firewall.measured("server_told"), 20_000, BUSY_US);
    assert_eq!(outcome(&firewall, "server"), "ECONNRESET");
    assert_eq!(outcome(&firewall, "client"), "still waiting in read()");
    assert_near(inside.measured("client_told"), 20_000, BUSY_US);
    assert_eq!(outcome(&inside, "client"), "ECONNRESET");
    assert_eq!(outside.measured("server_told"), (None, None));
}

#[tokio::test]
async fn a_box_that_tells_both_does_so_at_its_limit() {
    let with = |expiry| async move {
        of(&[
            ("expiry", expiry),
            ("limit", "1s"),
            ("silence", "2s"),
            ("delay", "40ms"),
        ])
        .await
    };
    let (reset, finished) = tokio::join!(with("rst-to-both"), with("fin-to-both"));
    for run in [&reset, &finished] {
        assert_near(run.measured("client_told"), 1_020_000, BUSY_US);
        assert_near(run.measured("server_told"), 1_020_000, BUSY_US);
        assert_eq!(run.verdict().ended_by, "middlebox");
    }
    assert_eq!(outcome(&reset, "client"), "ECONNRESET");
    assert_eq!(outcome(&reset, "server"), "ECONNRESET");
    assert_eq!(finished.verdict().how, "fin");
}
