//! `tcp-unacked-data`.

use linger_shared::event::{Fact, HostName, Observer, Role, TcpState};

use crate::observed::{Observed, assert_predicted, assert_sound, observe};

/// When each retransmission of the client left, after the data itself; with the data's own time.
fn retransmissions(run: &Observed) -> (u64, Vec<u64>) {
    let times = |wanted: fn(Role) -> bool| {
        run.departures()
            .filter(move |(_, packet)| {
                let tcp = packet.tcp.as_ref();
                packet.from == HostName::Client && tcp.is_some_and(|tcp| wanted(tcp.role))
            })
            .map(|(event, _)| event.at_us)
    };
    let again: Vec<u64> = times(|role| matches!(role, Role::Retransmission { .. })).collect();
    let first = *again.first().expect("something was sent again");
    let data = times(|role| role == Role::Ordinary)
        .filter(|at| *at < first)
        .last()
        .expect("the data left before it left again");
    (data, again.iter().map(|at| at - data).collect())
}

fn probes(run: &Observed) -> u64 {
    run.verdict().counts["keepalive_probes"]
}

#[tokio::test]
async fn data_in_flight_silences_keepalive_and_the_retransmission_timer_gives_up() {
    let run = observe("tcp-unacked-data", &[("retries", "4")]).await;
    assert_sound(&run);
    let verdict = run.verdict();
    assert_eq!(
        (verdict.ended_by.as_str(), verdict.how.as_str()),
        ("client", "timeout")
    );
    assert_eq!(verdict.outcomes["client"], "ETIMEDOUT");
    assert_eq!(verdict.outcomes["server"], "still waiting in read()");
    assert_predicted(&run, "detection");
    let (predicted, _) = run.measured("detection");
    // Keep-alive had promised 4 s.
    assert!(predicted > Some(6_200_000), "{predicted:?}");
    assert_eq!(probes(&run), 0);

    let (_, again) = retransmissions(&run);
    // The probe, and four that count: with a time-out just over 200 ms it comes out even.
    assert_eq!(again.len(), 5, "{again:?}");
    // From the third interval on each is twice the one before, and late by an eighth at the most.
    let intervals: Vec<u64> = again.windows(2).map(|pair| pair[1] - pair[0]).collect();
    for (nth, pair) in intervals.windows(2).enumerate() {
        let ratio = pair[1] as f64 / pair[0] as f64;
        assert!((1.7..2.3).contains(&ratio), "{nth}: {intervals:?}");
    }
    // Everything after the cut was dropped, and no RST was among it.
    assert_eq!(run.drops().len(), 1 + again.len());
    assert!(!run.packets().iter().any(|packet| packet.contains("RST")));
    assert_eq!(
        run.states(HostName::Server).last(),
        Some(&TcpState::Established)
    );
}

#[tokio::test]
async fn the_doubling_ends_at_the_largest_time_out() {
    let run = observe(
        "tcp-unacked-data",
        &[
            ("retries", "7"),
            ("rto_max", "1s"),
            ("delay", "20ms"),
            ("keepalive", "off"),
        ],
    )
    .await;
    assert_sound(&run);
    if run.header.hosts[0].sysctls.contains_key("tcp_rto_max_ms") {
        let (_, again) = retransmissions(&run);
        let longest = again.windows(2).map(|pair| pair[1] - pair[0]).max();
        assert!(
            longest.is_some_and(|longest| (900_000..1_200_000).contains(&longest)),
            "{again:?}"
        );
    }
    assert_predicted(&run, "detection");
    assert_eq!(run.verdict().outcomes["client"], "ETIMEDOUT");
}

#[tokio::test]
async fn the_first_retransmission_is_a_loss_probe_that_does_not_count() {
    let run = observe("tcp-unacked-data", &[("retries", "3")]).await;
    let (data, again) = retransmissions(&run);
    let [probe, first, ..] = again[..] else {
        panic!("too few retransmissions: {again:?}")
    };
    let counted = run
        .events
        .iter()
        .filter(|event| event.seen_by == Observer::Kernel(HostName::Client))
        .find(|event| matches!(&event.fact, Fact::Socket(socket) if socket.retries > 0))
        .map(|event| event.at_us);
    assert!(counted >= Some(data + first), "{counted:?} {again:?}");
    // One time-out apart, not two: the probe doubles nothing.
    assert!((first - probe).abs_diff(probe) < 60_000, "{again:?}");
    assert_predicted(&run, "detection");
}

#[tokio::test]
async fn with_nothing_in_flight_keepalive_does_what_it_promises() {
    let run = observe("tcp-unacked-data", &[("in_flight", "off")]).await;
    assert_sound(&run);
    assert_predicted(&run, "detection");
    let (predicted, _) = run.measured("detection");
    assert!(
        predicted.is_some_and(|us| (4_000_000..4_500_000).contains(&us)),
        "{predicted:?}"
    );
    assert_eq!(probes(&run), 3);
    assert_eq!(run.verdict().counts["retransmissions"], 0);
    assert_eq!(run.verdict().outcomes["client"], "ETIMEDOUT");
}

#[tokio::test]
async fn with_neither_data_nor_keepalive_nobody_notices() {
    let run = observe(
        "tcp-unacked-data",
        &[("in_flight", "off"), ("keepalive", "off"), ("watch", "3s")],
    )
    .await;
    assert_eq!(run.measured("detection"), (None, None));
    assert_eq!(run.verdict().how, "silence");
}
