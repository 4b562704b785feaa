//! `tcp-keepalive-defaults`.

use linger_shared::event::{Fact, HostName, Observer, TimerKind};

use crate::observed::{Observed, assert_near, assert_sound, observe};

/// How late a probe may be: timers of 2 s are late by up to 32 ms where the kernel ticks 250 times a
/// second (kernel/time/timer.c); the rest is for a machine that is busy.
const LATE_US: u64 = 150_000;

/// What a countdown may seem to begin at beside what it does: ticks, and the laboratory's looking.
const LOOK_US: u64 = 100_000;

fn has_timer(run: &Observed, host: HostName) -> bool {
    run.events
        .iter()
        .filter(|event| event.seen_by == Observer::Kernel(host))
        .filter_map(|event| match &event.fact {
            Fact::Socket(socket) => socket.timer,
            _ => None,
        })
        .any(|timer| timer.timer == TimerKind::KeepAlive)
}

/// The socket options of a host's calls, in their order.
fn told(run: &Observed) -> Vec<&str> {
    run.events
        .iter()
        .filter_map(|event| match &event.fact {
            Fact::Call(call) if call.call == "setsockopt" => call.args.split(',').next(),
            _ => None,
        })
        .collect()
}

#[tokio::test]
async fn the_switch_alone_counts_down_two_hours() {
    let run = observe("tcp-keepalive-defaults", &[]).await;
    assert_sound(&run);
    assert_eq!(told(&run), ["SO_KEEPALIVE"]);
    assert_eq!(
        run.header.hosts[0].sysctls["tcp_keepalive_time"], "7200",
        "the default of the question"
    );
    assert_near(run.measured("countdown"), 7_200_000_000, LOOK_US);
    assert_eq!(run.verdict().counts["keepalive_probes"], 0);
}

#[tokio::test]
async fn the_switch_alone_follows_the_hosts_sysctl() {
    let run = observe("tcp-keepalive-defaults", &[("keepalive_time", "2s")]).await;
    assert_sound(&run);
    assert_near(run.measured("countdown"), 2_000_000, LOOK_US);
    assert_near(run.measured("first_probe"), 2_000_000, LATE_US);
}

#[tokio::test]
async fn what_is_set_before_connect_is_kept() {
    let run = observe("tcp-keepalive-defaults", &[("set", "switch-then-times")]).await;
    assert_sound(&run);
    assert_near(run.measured("countdown"), 2_000_000, LOOK_US);
    assert_near(run.measured("first_probe"), 2_000_000, LATE_US);
    assert!(!has_timer(&run, HostName::Server));
}

#[tokio::test]
async fn what_accept_gives_has_inherited_from_its_listener() {
    let run = observe(
        "tcp-keepalive-defaults",
        &[
            ("set", "times-then-switch"),
            ("when", "on-listener"),
            ("idle", "1s"),
            ("delay", "5ms"),
        ],
    )
    .await;
    assert_sound(&run);
    assert_near(run.measured("countdown"), 1_000_000, LOOK_US);
    assert_near(run.measured("first_probe"), 1_000_000, LATE_US);
    assert!(has_timer(&run, HostName::Server) && !has_timer(&run, HostName::Client));
}

#[tokio::test]
async fn on_an_open_connection_the_order_decides_from_when_the_idle_time_counts() {
    let own = |set| {
        let params = [
            ("set", set),
            ("when", "after-connect"),
            ("idle", "2s"),
            ("later", "1s"),
        ];
        async move { observe("tcp-keepalive-defaults", &params).await }
    };
    let (switch_first, times_first) =
        tokio::join!(own("switch-then-times"), own("times-then-switch"));
    // When the probe left, and when the last packet of the greeting had come to the client.
    let silence = |run: &Observed| {
        assert_sound(run);
        assert_near(run.measured("countdown"), 2_000_000, LOOK_US);
        assert_near(run.measured("first_probe"), 2_000_000, LATE_US);
        let arrivals = run.arrivals();
        let probe_us = run
            .departures()
            .find(|(_, packet)| packet.summary == "keep-alive probe")
            .map(|(event, _)| event.at_us)
            .expect("a probe leaves");
        let heard_us = run
            .departures()
            .filter(|(_, packet)| packet.to == HostName::Client)
            .map(|(_, packet)| arrivals[&packet.id])
            .filter(|at_us| *at_us < probe_us)
            .max()
            .expect("the client has heard something");
        probe_us - heard_us
    };
    let from_the_packet = silence(&switch_first);
    let from_the_call = silence(&times_first);
    assert!(from_the_packet < 2_000_000 + LATE_US, "{from_the_packet}");
    assert!(from_the_call >= 3_000_000 - 10_000, "{from_the_call}");
}

#[tokio::test]
async fn times_without_the_switch_do_nothing() {
    let run = observe(
        "tcp-keepalive-defaults",
        &[("set", "times"), ("idle", "1s"), ("watch", "3s")],
    )
    .await;
    assert_sound(&run);
    assert_eq!(told(&run), ["TCP_KEEPIDLE", "TCP_KEEPINTVL", "TCP_KEEPCNT"]);
    assert_eq!(run.measured("countdown"), (None, None));
    assert_eq!(run.verdict().counts["keepalive_probes"], 0);
    assert!(!has_timer(&run, HostName::Client));
}
