//! `tcp-slow-start-idle`.

use linger_shared::{
    event::{Fact, HostName, Packet},
    protocol::RunState,
};

use crate::observed::{Observed, assert_near, assert_sound, observe};

/// How late a transfer of a few dozen packets may be: two cores are shared with the other tests.
const LATE_US: u64 = 80_000;

/// The window that each transfer began with, and the one that was predicted, in segments.
fn windows(run: &Observed) -> Vec<(u64, u64)> {
    let number = |text: &str| text.parse().expect("a number of segments");
    run.events
        .iter()
        .filter_map(|event| match &event.fact {
            Fact::Remark { text } => text
                .strip_prefix("It began with a window of ")?
                .strip_suffix('.')?
                .split_once(" segments; predicted was "),
            _ => None,
        })
        .map(|(seen, predicted)| (number(seen), number(predicted)))
        .collect()
}

/// How many segments the server sent in each flight: those between two pauses of half a round trip.
fn flights(run: &Observed, round_trip_us: u64) -> Vec<u64> {
    let mut flights: Vec<u64> = Vec::new();
    let mut last: Option<u64> = None;
    let payload = |packet: &Packet| packet.tcp.as_ref().map_or(0, |tcp| tcp.payload);
    for (event, packet) in run.departures() {
        if packet.from != HostName::Server || payload(packet) == 0 {
            continue;
        }
        match flights.last_mut() {
            Some(flight) if last.is_some_and(|at| event.at_us - at < round_trip_us / 2) => {
                *flight += 1;
            }
            _ => flights.push(1),
        }
        last = Some(event.at_us);
    }
    flights
}

/// Asserts that each transfer began with the window that was predicted.
fn assert_predicted(run: &Observed) -> [u64; 3] {
    let windows = windows(run);
    for (seen, predicted) in &windows {
        assert_eq!(seen, predicted, "{windows:?}");
    }
    windows
        .iter()
        .map(|(seen, _)| *seen)
        .collect::<Vec<_>>()
        .try_into()
        .expect("three transfers")
}

#[tokio::test]
async fn a_window_that_a_transfer_opened_is_gone_after_idling() {
    let run = observe("tcp-slow-start-idle", &[]).await;
    assert_sound(&run);
    let [new, busy, idle] = assert_predicted(&run);
    assert_eq!((new, idle), (10, 10));
    assert!(busy >= 63, "the whole of the first transfer: {busy}");
    assert_eq!(flights(&run, 100_000), [10, 20, 33, 63, 10, 20, 33]);
    assert_near(run.measured("transfer_new"), 300_000, LATE_US);
    assert_near(run.measured("transfer_busy"), 100_000, LATE_US);
    assert_near(run.measured("transfer_idle"), 300_000, LATE_US);
}

#[tokio::test]
async fn a_short_pause_costs_a_half_of_the_window_for_each_time_out() {
    let run = observe(
        "tcp-slow-start-idle",
        &[("idle", "700ms"), ("congestion", "reno")],
    )
    .await;
    assert_sound(&run);
    let [_, busy, idle] = assert_predicted(&run);
    assert!(idle > 10 && idle < busy, "{busy} and then {idle}");
    assert_near(run.measured("transfer_idle"), 200_000, LATE_US);
}

#[tokio::test]
async fn nothing_is_forgotten_before_a_time_out_or_where_the_sysctl_is_off() {
    for params in [
        [("idle", "100ms"), ("after_idle", "on")],
        [("idle", "2s"), ("after_idle", "off")],
    ] {
        let run = observe("tcp-slow-start-idle", &params).await;
        assert_sound(&run);
        let [_, busy, idle] = assert_predicted(&run);
        assert!(idle >= busy, "{busy} and then {idle}");
        assert_near(run.measured("transfer_idle"), 100_000, LATE_US);
    }
}

#[tokio::test]
async fn bbr_keeps_its_window_or_the_run_says_that_there_is_no_bbr() {
    let offered = std::fs::read_to_string("/proc/sys/net/ipv4/tcp_available_congestion_control")
        .expect("the kernel lists what it offers");
    let run = observe(
        "tcp-slow-start-idle",
        &[("congestion", "bbr"), ("idle", "2s")],
    )
    .await;
    if offered.split_whitespace().any(|name| name == "bbr") {
        assert_sound(&run);
        let [_, busy, idle] = assert_predicted(&run);
        assert!(idle >= busy, "{busy} and then {idle}");
        assert_eq!(run.state, RunState::Finished);
    } else {
        assert_eq!(run.state, RunState::Failed);
        let says = |fact: &Fact| format!("{fact:?}").contains("does not offer bbr");
        assert!(run.events.iter().any(|event| says(&event.fact)));
    }
}
