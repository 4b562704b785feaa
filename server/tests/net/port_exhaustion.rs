//! `tcp-port-exhaustion`.

use linger_shared::event::{
    Fact,
    HostName::{self, Client, Server},
    Observer, TcpState as S,
};

use crate::observed::{Observed, assert_near, assert_sound, observe};

/// How late a port may be seen free: the client tries every 10 ms, each time with a new socket, and
/// two cores are shared with the other tests.
const LATE_US: u64 = 100_000;

/// How far the kernel's countdown may have come when it is read: one sample of a busy machine.
const SAMPLED_LATE_US: u64 = 1_000_000;

/// The client's calls of connect(), as they ended.
fn connects(run: &Observed) -> Vec<&str> {
    run.events
        .iter()
        .filter(|event| event.seen_by == Observer::App(Client))
        .filter_map(|event| match &event.fact {
            Fact::Call(call) if call.call == "connect" => Some(call.result.as_str()),
            _ => None,
        })
        .collect()
}

/// The client's port of each SYN, in order.
fn ports(run: &Observed) -> Vec<u16> {
    run.departures()
        .filter(|(_, packet)| packet.from == Client && packet.summary == "SYN")
        .filter_map(|(_, packet)| Some(packet.tcp.as_ref()?.src.port()))
        .collect()
}

fn time_waits(run: &Observed, host: HostName) -> u64 {
    let counts = &run.verdict().counts;
    counts
        .get(&format!("time_wait:{host}"))
        .copied()
        .unwrap_or_default()
}

fn assert_countdown_of_a_minute(run: &Observed) {
    let (predicted, measured) = run.measured("countdown");
    assert_eq!(predicted, Some(60_000_000));
    let measured = measured.expect("the kernel tells its timer");
    assert!(
        (60_000_000 - SAMPLED_LATE_US..=60_010_000).contains(&measured),
        "{measured}"
    );
}

#[tokio::test]
async fn a_full_range_refuses_at_once_and_gives_its_first_port_back_after_the_reuse_delay() {
    for (count, reuse_delay, expected_us) in [("2", "1s", 1_000_000), ("4", "2s", 2_000_000)] {
        let run = observe(
            "tcp-port-exhaustion",
            &[("ports", count), ("reuse_delay", reuse_delay)],
        )
        .await;
        assert_sound(&run);
        let room: usize = count.parse().unwrap();
        let connects = connects(&run);
        assert_eq!(connects[..room], vec!["ok"; room]);
        assert_eq!(connects[room], "EADDRNOTAVAIL");
        assert!(
            connects[room + 1].starts_with("ok, after EADDRNOTAVAIL"),
            "{connects:?}"
        );
        assert_eq!(connects.len(), room + 2);

        // Nothing leaves for the connection that was refused, and a port of the range is had again:
        // the first, unless the machine is so busy that two come back between two attempts.
        let ports = ports(&run);
        assert_eq!(ports.len(), room + 1, "{ports:?}");
        let mut range = ports[..room].to_vec();
        range.sort_unstable();
        assert_eq!(range, (40_000..40_000 + room as u16).collect::<Vec<_>>());
        assert!(range.contains(&ports[room]), "{ports:?}");

        assert_near(run.measured("port_free"), expected_us, LATE_US);
        assert_near(run.measured("refusal"), 0, LATE_US);
        assert_countdown_of_a_minute(&run);
        assert_eq!(run.states(Server).last(), Some(&S::Closed));
    }
}

#[tokio::test]
async fn without_reuse_or_without_timestamps_no_port_comes_back() {
    for off in [
        ("tw_reuse", "off"),
        ("tw_reuse", "loopback"),
        ("timestamps", "off"),
    ] {
        let run = observe(
            "tcp-port-exhaustion",
            &[
                off,
                ("reuse_delay", "100ms"),
                ("fin_timeout", "1s"),
                ("ports", "2"),
                ("watch", "1s"),
            ],
        )
        .await;
        assert_sound(&run);
        assert_eq!(run.measured("port_free"), (Some(60_000_000), None));
        assert_countdown_of_a_minute(&run);
        assert_eq!(ports(&run).len(), 2, "{off:?}");
        assert_eq!(time_waits(&run, Client), 2, "{off:?}");
    }
}

/// Every attempt but the last uses the range up; one more than it has ports is opened all the same.
async fn is_never_refused(params: &[(&str, &str)]) -> Observed {
    let run = observe("tcp-port-exhaustion", params).await;
    assert_sound(&run);
    assert_eq!(connects(&run), ["ok"; 4], "{params:?}");
    let mut ports = ports(&run);
    ports.sort_unstable();
    ports.dedup();
    assert!(ports.len() <= 3, "{ports:?}");
    assert!(run.verdict().measurements.is_empty());
    run
}

#[tokio::test]
async fn a_server_that_closes_first_has_the_time_waits_and_nothing_runs_out() {
    let run = is_never_refused(&[("closing", "server"), ("ports", "3")]).await;
    assert_eq!(time_waits(&run, Client), 0);
    // The kernel may choose one port again and again: then there is one.
    assert!(time_waits(&run, Server) >= 1);
    assert_eq!(run.verdict().ended_by, "server");
}

#[tokio::test]
async fn an_rst_leaves_no_time_wait_and_nothing_runs_out() {
    let run = is_never_refused(&[("closing", "client-resets"), ("ports", "3")]).await;
    assert_eq!(time_waits(&run, Client) + time_waits(&run, Server), 0);
    assert!(!run.packets().iter().any(|packet| packet.contains("FIN")));
}

#[tokio::test]
async fn a_second_destination_may_have_the_same_ports_again() {
    let run = observe(
        "tcp-port-exhaustion",
        &[("destinations", "2"), ("ports", "2"), ("reuse_delay", "2s")],
    )
    .await;
    assert_sound(&run);
    let connects = connects(&run);
    assert_eq!(connects[..4], ["ok"; 4]);
    assert_eq!(connects[4], "EADDRNOTAVAIL");
    let mut used = ports(&run)[..4].to_vec();
    used.sort_unstable();
    assert_eq!(used, [40_000, 40_000, 40_001, 40_001]);
    assert_near(run.measured("port_free"), 2_000_000, LATE_US);
}

#[tokio::test]
async fn who_fills_a_range_more_slowly_than_its_ports_come_back_is_never_refused() {
    let run = observe(
        "tcp-port-exhaustion",
        &[("ports", "4"), ("reuse_delay", "100ms"), ("delay", "40ms")],
    )
    .await;
    assert_sound(&run);
    assert_eq!(connects(&run), ["ok"; 5]);
    assert!(
        run.verdict()
            .measurements
            .iter()
            .all(|measurement| measurement.name == "countdown")
    );
}
