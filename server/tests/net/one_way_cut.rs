//! `tcp-one-way-cut`.

use linger_shared::event::{Fact, HostName, Role};

use crate::observed::{Observed, assert_predicted, assert_sound, observe};

/// The packets that bear a flag, or are sent again, as `(host, when, whether they arrived)`.
fn sent(run: &Observed, wanted: impl Fn(&str, Role) -> bool) -> Vec<(HostName, u64, bool)> {
    let arrivals = run.arrivals();
    run.departures()
        .filter(|(_, packet)| {
            let role = packet.tcp.as_ref().map(|tcp| tcp.role);
            role.is_some_and(|role| wanted(&packet.summary, role))
        })
        .map(|(event, packet)| (packet.from, event.at_us, arrivals.contains_key(&packet.id)))
        .collect()
}

fn resets(run: &Observed) -> Vec<(HostName, u64, bool)> {
    sent(run, |summary, _| summary.contains("RST"))
}

fn probes(run: &Observed) -> Vec<(HostName, u64, bool)> {
    sent(run, |_, role| matches!(role, Role::KeepAliveProbe { .. }))
}

fn again(run: &Observed) -> Vec<(HostName, u64, bool)> {
    sent(run, |_, role| matches!(role, Role::Retransmission { .. }))
}

/// When each cut begins and ends.
fn cuts(run: &Observed, begins: bool) -> Vec<u64> {
    run.events
        .iter()
        .filter(|event| matches!(event.fact, Fact::Rule { active, .. } if active == begins))
        .map(|event| event.at_us)
        .collect()
}

fn was_measured(run: &Observed, name: &str) -> bool {
    let measurements = &run.verdict().measurements;
    measurements.iter().any(|told| told.name == name)
}

#[tokio::test]
async fn the_client_times_out_and_the_server_is_reset_only_after_healing() {
    let run = observe(
        "tcp-one-way-cut",
        &[
            ("idle", "1s"),
            ("interval", "1s"),
            ("count", "1"),
            ("second_cut", "1500ms"),
            ("heal_after", "300ms"),
            ("every", "100ms"),
        ],
    )
    .await;
    assert_sound(&run);
    assert_predicted(&run, "client_gives_up");
    assert_predicted(&run, "server_reset");
    let verdict = run.verdict();
    assert_eq!(verdict.outcomes["client"], "ETIMEDOUT");
    assert_eq!(verdict.outcomes["server"], "ECONNRESET");

    let healed = *cuts(&run, false).first().expect("the path was healed");
    // The only probe came through before the second cut; its answer did not.
    let probes = probes(&run);
    assert!(
        matches!(probes[..], [(HostName::Client, _, true)]),
        "{probes:?}"
    );
    // Keep-alive's RST was dropped; the one that arrived answers a retransmission.
    let resets = resets(&run);
    let [
        (HostName::Client, first, false),
        (HostName::Client, last, true),
    ] = resets[..]
    else {
        panic!("{resets:?}")
    };
    assert!(first < healed && healed < last);
    let again = again(&run);
    assert!(again.iter().all(|(from, ..)| *from == HostName::Server));
    for (_, at_us, arrived) in &again {
        assert_eq!(*arrived, *at_us > healed, "{again:?}, healed at {healed}");
    }
    assert_eq!(
        again.iter().filter(|(.., arrived)| *arrived).count(),
        1,
        "one that meets no socket is enough"
    );
}

#[tokio::test]
async fn with_data_of_its_own_in_flight_the_clients_keepalive_is_silent() {
    let run = observe(
        "tcp-one-way-cut",
        &[
            ("in_flight", "both"),
            ("idle", "1s"),
            ("interval", "1s"),
            ("count", "1"),
            ("client_retries", "3"),
            ("second_cut", "500ms"),
            ("heal_after", "200ms"),
            ("every", "100ms"),
        ],
    )
    .await;
    assert_sound(&run);
    assert!(probes(&run).is_empty());
    assert_predicted(&run, "client_gives_up");
    assert_predicted(&run, "server_reset");
    let (predicted, _) = run.measured("client_gives_up");
    assert!(predicted > Some(3_000_000), "keep-alive promised 2 s");
    assert_eq!(run.verdict().outcomes["client"], "ETIMEDOUT");
    assert_eq!(run.verdict().outcomes["server"], "ECONNRESET");
    // Giving up retransmissions sends no RST: the only one answers the server's data.
    assert_eq!(resets(&run).len(), 1);
}

#[tokio::test]
async fn on_a_path_that_never_heals_both_ends_time_out_by_their_own_timers() {
    let run = observe(
        "tcp-one-way-cut",
        &[
            ("heal", "never"),
            ("idle", "1s"),
            ("interval", "1s"),
            ("count", "1"),
            ("server_retries", "3"),
            ("second_cut", "500ms"),
            ("every", "100ms"),
        ],
    )
    .await;
    assert_sound(&run);
    assert_predicted(&run, "client_gives_up");
    assert_predicted(&run, "server_gives_up");
    assert_eq!(run.verdict().outcomes["client"], "ETIMEDOUT");
    assert_eq!(run.verdict().outcomes["server"], "ETIMEDOUT");
    assert!(!was_measured(&run, "server_reset"));
    assert!(cuts(&run, false).is_empty());
}

#[tokio::test]
async fn healed_early_nobody_sees_an_error() {
    let run = observe(
        "tcp-one-way-cut",
        &[
            ("heal", "early"),
            ("second_cut", "300ms"),
            ("heal_after", "300ms"),
            ("every", "100ms"),
            ("delay", "30ms"),
        ],
    )
    .await;
    assert_sound(&run);
    assert_predicted(&run, "delivered");
    assert!(resets(&run).is_empty());
    assert!(!was_measured(&run, "client_gives_up"));
    let failed = run
        .events
        .iter()
        .any(|event| matches!(&event.fact, Fact::Call(call) if call.errno.is_some()));
    assert!(!failed, "no call failed");
}

#[tokio::test]
async fn while_the_way_to_the_server_is_open_keepalives_rst_tells_it() {
    let run = observe(
        "tcp-one-way-cut",
        &[
            ("idle", "1s"),
            ("interval", "1s"),
            ("count", "1"),
            ("second_cut", "10s"),
            ("every", "100ms"),
        ],
    )
    .await;
    assert_sound(&run);
    assert_predicted(&run, "client_gives_up");
    assert_predicted(&run, "server_reset");
    assert!(matches!(resets(&run)[..], [(HostName::Client, _, true)]));
    assert_eq!(cuts(&run, true).len(), 1, "the second cut was not needed");
}
