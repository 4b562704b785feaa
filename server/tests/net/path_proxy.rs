//! `path-proxy`.

use linger_shared::{
    event::{Fact, HostName, Observer, Role},
    protocol::RunRequest,
};

use crate::observed::{Observed, assert_near, assert_sound, observe, observe_request, request};

/// How late an end of some seconds may be: a twentieth of 4 s, as is promised of detections, and a
/// little for a machine that is busy with other runs.
const LATE_US: u64 = 250_000;

/// Packets of one connection, from one host to another, whose summary or role the test looks for.
fn between(run: &Observed, from: HostName, to: HostName, what: impl Fn(&Role) -> bool) -> usize {
    run.departures()
        .filter(|(_, packet)| (packet.from, packet.to) == (from, to))
        .filter(|(_, packet)| packet.tcp.as_ref().is_some_and(|tcp| what(&tcp.role)))
        .count()
}

fn is_probe(role: &Role) -> bool {
    matches!(role, Role::KeepAliveProbe { .. })
}

/// The reasons that the proxy gave for closing.
fn reasons(run: &Observed) -> Vec<String> {
    run.events
        .iter()
        .filter(|event| event.seen_by == Observer::App(HostName::Proxy))
        .filter_map(|event| match &event.fact {
            Fact::Call(call) if call.call == "close" => Some(call.args.clone()),
            _ => None,
        })
        .collect()
}

#[tokio::test]
async fn the_proxys_kernel_answers_the_probes_and_the_backends_death_stays_unseen() {
    let run = observe(
        "path-proxy",
        &[("proxy_idle", "6500ms"), ("after", "1500ms")],
    )
    .await;
    assert_sound(&run);
    // Without a proxy the client would have given up after about 5 s.
    assert_near(run.measured("idle_close"), 6_500_000, LATE_US);
    assert_eq!(run.verdict().outcomes["client"], "close: ok");
    let verdict = run.verdict();
    assert_eq!(
        (verdict.ended_by.as_str(), verdict.how.as_str()),
        ("server", "power")
    );
    assert!(
        verdict.summary.contains("never noticed"),
        "{}",
        verdict.summary
    );
    let asked = between(&run, HostName::Client, HostName::Proxy, is_probe);
    assert!((5..=6).contains(&asked), "{asked}");
    assert_eq!(
        between(&run, HostName::Proxy, HostName::Server, is_probe),
        0,
        "none of them passes the proxy"
    );
    let dead_us = run
        .events
        .iter()
        .find(|event| matches!(event.fact, Fact::Power { .. }))
        .map(|event| event.at_us)
        .expect("the server lost its power");
    let answered = run
        .departures()
        .filter(|(event, packet)| {
            event.at_us > dead_us
                && (packet.from, packet.to) == (HostName::Proxy, HostName::Client)
                && packet
                    .tcp
                    .as_ref()
                    .is_some_and(|tcp| tcp.role == Role::KeepAliveAck)
        })
        .count();
    assert!(answered >= 3, "{answered} answers after the death");
    assert_eq!(reasons(&run), ["idle for 6.500 s", "idle for 6.500 s"]);
}

#[tokio::test]
async fn the_idle_limit_closes_a_healthy_connection_although_probes_flow() {
    let run = observe("path-proxy", &[("dies", "off"), ("proxy_idle", "3500ms")]).await;
    assert_sound(&run);
    assert_near(run.measured("idle_close"), 3_500_000, LATE_US);
    let asked = between(&run, HostName::Client, HostName::Proxy, is_probe);
    assert!((2..=3).contains(&asked), "{asked}");
    let fins: Vec<HostName> = run
        .departures()
        .filter(|(_, packet)| packet.summary.contains("FIN"))
        .map(|(_, packet)| packet.from)
        .collect();
    assert_eq!(fins[..2], [HostName::Proxy, HostName::Proxy]);
}

#[tokio::test]
async fn a_heartbeat_keeps_the_proxy_from_closing_and_finds_the_dead_backend() {
    let run = observe(
        "path-proxy",
        &[
            ("asks", "heartbeat"),
            ("every", "500ms"),
            ("patience", "1s"),
            ("proxy_idle", "1500ms"),
            ("after", "3200ms"),
            ("near", "20ms"),
            ("far", "5ms"),
        ],
    )
    .await;
    assert_sound(&run);
    // Heartbeats leave at every half second; that of 3.5 s is the first without an answer.
    assert_near(run.measured("heartbeat_unanswered"), 4_500_000, LATE_US);
    assert_near(
        run.measured("since_the_last_answered_heartbeat"),
        1_500_000,
        LATE_US,
    );
    assert!(reasons(&run).iter().all(|reason| !reason.contains("idle")));
}

#[tokio::test]
async fn a_heartbeat_that_is_rarer_than_the_idle_limit_is_of_no_use() {
    let run = observe(
        "path-proxy",
        &[
            ("asks", "heartbeat"),
            ("every", "3s"),
            ("proxy_idle", "1500ms"),
            ("dies", "off"),
        ],
    )
    .await;
    assert_sound(&run);
    assert_near(run.measured("idle_close"), 1_500_000, LATE_US);
}

#[tokio::test]
async fn a_heartbeat_and_a_living_backend_end_nothing() {
    let run = observe(
        "path-proxy",
        &[
            ("asks", "both"),
            ("every", "400ms"),
            ("proxy_idle", "1s"),
            ("dies", "off"),
            ("watch", "3s"),
        ],
    )
    .await;
    assert_sound(&run);
    let verdict = run.verdict();
    assert_eq!(
        (verdict.ended_by.as_str(), verdict.how.as_str()),
        ("nobody", "silence")
    );
    assert!(verdict.measurements.is_empty());
}

#[tokio::test]
async fn without_a_proxy_the_same_probes_find_out() {
    let run = observe("path-proxy", &[("proxy", "off"), ("count", "2")]).await;
    assert_sound(&run);
    assert_near(run.measured("detection"), 3_000_000, LATE_US);
    assert_eq!(run.verdict().outcomes["client"], "ETIMEDOUT");
}

#[tokio::test]
async fn a_proxy_that_asks_its_backend_tells_its_client() {
    let run = observe(
        "path-proxy",
        &[
            ("proxy_asks", "on"),
            ("proxy_idle", "20s"),
            ("count", "1"),
            ("after", "1500ms"),
        ],
    )
    .await;
    assert_sound(&run);
    let (predicted, _) = run.measured("told_by_the_proxy");
    // The proxy hears the answer to its first probe after 1.02 s.
    assert_near(run.measured("told_by_the_proxy"), 3_020_000, LATE_US);
    assert_eq!(predicted, Some(3_020_000));
    assert_eq!(run.verdict().outcomes["proxy"], "ETIMEDOUT");
}

fn relayed(params: &[(&str, &str)]) -> RunRequest {
    RunRequest {
        mode: Some(linger_shared::event::Mode::Relay),
        ..request("path-proxy", params)
    }
}

#[tokio::test]
async fn over_the_relay_the_idle_limit_and_the_heartbeat_are_the_same() {
    let idle = observe_request(&relayed(&[("dies", "off"), ("proxy_idle", "1500ms")])).await;
    assert_sound(&idle);
    assert_near(idle.measured("idle_close"), 1_500_000, LATE_US);
    let stalled = observe_request(&relayed(&[
        ("asks", "heartbeat"),
        ("every", "500ms"),
        ("patience", "500ms"),
        ("proxy_idle", "1s"),
        ("after", "1700ms"),
    ]))
    .await;
    assert_sound(&stalled);
    assert_near(stalled.measured("heartbeat_unanswered"), 2_500_000, LATE_US);
}
