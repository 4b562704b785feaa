//! `tcp-keepalive`.

use linger_shared::event::{Fact, HostName, Observer, Packet, Role, TimerKind};

use crate::observed::{Observed, assert_near, assert_sound, observe};

/// How late a probe may be: timers of up to 2 s are late by up to 32 ms where the kernel ticks 250
/// times a second (kernel/time/timer.c); the rest is for a machine that is busy.
const LATE_US: u64 = 150_000;

/// The probes of a host: when they left, their packets.
fn probes(run: &Observed, host: HostName) -> Vec<(u64, &Packet)> {
    run.departures()
        .filter(|(_, packet)| {
            let role = packet.tcp.as_ref().map(|tcp| tcp.role);
            packet.from == host && matches!(role, Some(Role::KeepAliveProbe { .. }))
        })
        .map(|(event, packet)| (event.at_us, packet))
        .collect()
}

/// Asserts that every probe is one byte behind, and answered once by the other kernel at once.
fn assert_answered(run: &Observed, host: HostName) {
    let arrivals = run.arrivals();
    for (_, probe) in probes(run, host) {
        let tcp = probe.tcp.as_ref().expect("a probe is a segment");
        assert_eq!((tcp.payload, tcp.flags.as_str()), (0, "ACK"));
        assert_eq!(tcp.role, Role::KeepAliveProbe { nth: 1 });
        let arrived_us = arrivals[&probe.id];
        let (_, answer) = run
            .departures()
            .find(|(event, packet)| packet.from == probe.to && event.at_us >= arrived_us)
            .expect("it is answered");
        let answer = answer.tcp.as_ref().expect("an answer is a segment");
        assert_eq!(answer.role, Role::KeepAliveAck);
        assert_eq!(tcp.seq + 1, answer.ack, "one below the next");
    }
}

fn has_timer(run: &Observed, host: HostName) -> bool {
    run.events
        .iter()
        .filter(|event| event.seen_by == Observer::Kernel(host))
        .any(|event| match &event.fact {
            Fact::Socket(socket) => socket
                .timer
                .is_some_and(|timer| timer.timer == TimerKind::KeepAlive),
            _ => false,
        })
}

#[tokio::test]
async fn with_both_on_both_probe_and_neither_puts_the_other_off() {
    let run = observe("tcp-keepalive", &[]).await;
    assert_sound(&run);
    for (name, expected_us) in [
        ("client_probe_1", 2_000_000),
        ("client_probe_2", 2_000_000),
        ("server_probe_1", 1_000_000),
        ("server_probe_2", 1_000_000),
        // Received data restarts the server's idle time, and its acknowledgment the client's.
        ("client_after_message", 2_000_000),
        ("server_after_message", 1_000_000),
    ] {
        assert_near(run.measured(name), expected_us, LATE_US);
    }
    assert_answered(&run, HostName::Client);
    assert_answered(&run, HostName::Server);
    // The server's probe reached the client before the client's own idle time was over, and did not
    // restart it.
    let arrivals = run.arrivals();
    let (first_us, _) = probes(&run, HostName::Client)[0];
    let (_, theirs) = probes(&run, HostName::Server)[0];
    let reached_us = arrivals[&theirs.id];
    assert!(reached_us < first_us && first_us < reached_us + 2_000_000 - 500_000);
    assert_eq!(run.verdict().how, "silence");
    assert!(run.drops().is_empty());
}

#[tokio::test]
async fn the_timer_is_not_touched_by_a_message_and_the_probe_is_put_off() {
    let run = observe(
        "tcp-keepalive",
        &[
            ("who", "server"),
            ("server_idle", "2s"),
            // So the timer runs from the probe to the next, and not to half of that.
            ("interval", "2s"),
            ("probes", "1"),
            ("message", "server"),
            ("delay", "5ms"),
        ],
    )
    .await;
    assert_sound(&run);
    assert_near(run.measured("server_probe_1"), 2_000_000, LATE_US);
    assert_near(run.measured("server_after_message"), 2_000_000, LATE_US);
    assert_answered(&run, HostName::Server);
    let told = run.events.iter().any(|event| {
        matches!(&event.fact, Fact::Remark { text }
            if text.starts_with("The server's kernel counts down to"))
    });
    assert!(told, "the countdown ends before the probe leaves");
    // Whoever is probed does not probe for that.
    assert!(probes(&run, HostName::Client).is_empty());
    assert!(has_timer(&run, HostName::Server) && !has_timer(&run, HostName::Client));
}

#[tokio::test]
async fn where_interval_is_longer_it_parts_the_probes_and_idle_does_not() {
    let run = observe(
        "tcp-keepalive",
        &[
            ("who", "client"),
            ("client_idle", "1s"),
            ("interval", "2s"),
            ("message", "nobody"),
        ],
    )
    .await;
    assert_sound(&run);
    assert_near(run.measured("client_probe_1"), 1_000_000, LATE_US);
    assert_near(run.measured("client_probe_2"), 2_000_000, LATE_US);
    assert!(probes(&run, HostName::Server).is_empty());
}

#[tokio::test]
async fn without_keepalive_no_packet_moves() {
    let run = observe("tcp-keepalive", &[("who", "neither"), ("watch", "3s")]).await;
    assert_sound(&run);
    assert!(run.verdict().measurements.is_empty());
    let last_us = run
        .departures()
        .map(|(event, _)| event.at_us)
        .last()
        .expect("a greeting was exchanged");
    let ended_us = run.events.last().expect("events").at_us;
    assert!(ended_us - last_us >= 3_000_000, "three seconds of silence");
    assert!(!has_timer(&run, HostName::Client) && !has_timer(&run, HostName::Server));
}
