//! `tcp-half-open`.

use linger_shared::event::{
    Fact,
    HostName::{Client, Server},
    Observer, ProcessState, Role, TcpState as S,
};

use crate::observed::{Observed, assert_near, assert_sound, observe};

/// How late a step may be that waits for packets and applications alone: two cores are shared with
/// the other tests.
const LATE_US: u64 = 50_000;

/// How late a probe of some seconds may be: see `assert_near`.
const PROBE_LATE_US: u64 = 250_000;

/// What the client's calls came to after the chapter of that name began, in order.
fn calls_since(run: &Observed, chapter: &str) -> Vec<String> {
    let begins = run
        .events
        .iter()
        .position(|event| matches!(&event.fact, Fact::Chapter { title } if title == chapter))
        .unwrap_or_else(|| panic!("no chapter {chapter}"));
    run.events[begins..]
        .iter()
        .filter(|event| event.seen_by == Observer::App(Client))
        .filter_map(|event| match &event.fact {
            Fact::Call(call) => Some(format!("{}: {}", call.call, call.result)),
            _ => None,
        })
        .collect()
}

#[tokio::test]
async fn the_first_write_after_a_reboot_succeeds_then_econnreset_then_epipe() {
    let run = observe("tcp-half-open", &[]).await;
    assert_sound(&run);
    let packets = run.packets();
    assert_eq!(
        packets[packets.len() - 2..],
        ["client 14 bytes", "server RST"]
    );
    assert_eq!(
        calls_since(&run, "Write to the rebooted host"),
        [
            "write: ok",
            "write: ECONNRESET",
            "write: EPIPE",
            "read: end of stream"
        ]
    );
    assert_near(run.measured("reset"), 40_000, LATE_US);
    assert_eq!(run.states(Client).last(), Some(&S::Closed));
    let verdict = run.verdict();
    assert_eq!(
        (verdict.ended_by.as_str(), verdict.how.as_str()),
        ("server", "power")
    );
    assert_eq!(verdict.sides[0].how, "received RST");
}

#[tokio::test]
async fn a_probe_finds_a_reboot_that_it_comes_after() {
    for (down, probes, expected_us) in [("0s", 1, 1_020_000), ("1500ms", 2, 2_020_000)] {
        let run = observe(
            "tcp-half-open",
            &[("asks", "probe"), ("down", down), ("delay", "10ms")],
        )
        .await;
        assert_sound(&run);
        assert_near(run.measured("reset"), expected_us, PROBE_LATE_US);
        let nth: Vec<u32> = run
            .departures()
            .filter_map(|(_, packet)| match packet.tcp.as_ref()?.role {
                Role::KeepAliveProbe { nth } => Some(nth),
                _ => None,
            })
            .collect();
        assert_eq!(nth, (1..=probes).collect::<Vec<_>>(), "down for {down}");
        assert_eq!(run.drops().len(), probes as usize - 1, "down for {down}");
        assert_eq!(run.packets().last().map(String::as_str), Some("server RST"));
        assert_eq!(run.verdict().outcomes["client"], "ECONNRESET");
    }
}

#[tokio::test]
async fn a_host_that_comes_back_after_the_last_probe_is_not_waited_for() {
    let run = observe(
        "tcp-half-open",
        &[
            ("asks", "probe"),
            ("down", "1500ms"),
            ("idle", "1s"),
            ("interval", "1s"),
            ("count", "1"),
        ],
    )
    .await;
    assert_sound(&run);
    assert_near(run.measured("timed_out"), 2_000_000, PROBE_LATE_US);
    assert_eq!(run.verdict().outcomes["client"], "ETIMEDOUT");
}

#[tokio::test]
async fn nobody_who_only_waits_learns_of_a_reboot() {
    let run = observe("tcp-half-open", &[("asks", "nothing"), ("watch", "2s")]).await;
    assert_sound(&run);
    assert_eq!(run.states(Client).last(), Some(&S::Established));
    assert!(!run.packets().iter().any(|packet| packet.contains("RST")));
    let verdict = run.verdict();
    assert!(verdict.measurements.is_empty());
    assert_eq!(verdict.sides[0].how, "nothing");
    assert_eq!(verdict.outcomes["client"], "still waiting in read()");
}

#[tokio::test]
async fn a_host_without_power_answers_neither_a_write_nor_a_probe() {
    let run = observe("tcp-half-open", &[("fate", "power-loss"), ("watch", "1s")]).await;
    assert_sound(&run);
    assert_eq!(
        calls_since(&run, "The server's host loses its power"),
        ["write: ok", "read: "]
    );
    assert!(run.verdict().counts["retransmissions"] >= 1);
    assert_eq!(run.states(Client).last(), Some(&S::Established));

    let run = observe(
        "tcp-half-open",
        &[("fate", "power-loss"), ("asks", "probe"), ("count", "1")],
    )
    .await;
    assert_sound(&run);
    assert_near(run.measured("timed_out"), 2_000_000, PROBE_LATE_US);
}

fn was_killed(run: &Observed) -> bool {
    run.events.iter().any(|event| {
        matches!(&event.fact, Fact::Process { state: ProcessState::Killed { signal, .. }, .. }
            if signal == "SIGKILL")
    })
}

#[tokio::test]
async fn the_kernel_of_a_killed_process_says_fin_and_later_rst() {
    let run = observe("tcp-half-open", &[("fate", "killed")]).await;
    assert_sound(&run);
    assert!(was_killed(&run));
    let packets = run.packets();
    let fin = packets
        .iter()
        .position(|packet| packet == "server FIN, ACK");
    let fin = fin.unwrap_or_else(|| panic!("no FIN: {packets:?}"));
    assert!(packets[fin..].contains(&"client 14 bytes".to_owned()));
    assert_eq!(packets.last().map(String::as_str), Some("server RST"));
    // CLOSE_WAIT makes EPIPE of an RST: there is no ECONNRESET.
    assert!(run.states(Client).contains(&S::CloseWait));
    assert_eq!(
        calls_since(&run, "Write to the dead program"),
        [
            "write: ok",
            "write: EPIPE",
            "write: EPIPE",
            "read: end of stream"
        ]
    );
    assert_near(run.measured("end_of_stream"), 20_000, LATE_US);
    assert_near(run.measured("reset"), 40_000, LATE_US);
    let verdict = run.verdict();
    assert!(
        verdict.summary.contains("was killed by SIGKILL"),
        "{}",
        verdict.summary
    );
}

#[tokio::test]
async fn the_kernel_of_a_killed_process_says_rst_where_data_was_unread() {
    let run = observe(
        "tcp-half-open",
        &[("fate", "killed"), ("unread", "on"), ("delay", "5ms")],
    )
    .await;
    assert_sound(&run);
    assert!(was_killed(&run));
    let packets = run.packets();
    assert!(!packets.iter().any(|packet| packet.contains("FIN")));
    assert!(
        packets
            .iter()
            .any(|packet| packet.starts_with("server RST"))
    );
    assert_eq!(calls_since(&run, "Kill the program")[0], "read: ECONNRESET");
    assert!(!run.states(Server).contains(&S::FinWait1));
    assert_near(run.measured("reset"), 5_000, LATE_US);
}
