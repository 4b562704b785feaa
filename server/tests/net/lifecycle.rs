//! `tcp-lifecycle`.

use linger_shared::event::{
    HostName::{Client, Server},
    TcpState as S,
};

use crate::observed::{assert_near, assert_sound, observe};

/// How late a step of the applications may be: two cores are shared with the other tests.
const LATE_US: u64 = 50_000;

#[tokio::test]
async fn opening_takes_three_segments_and_a_round_trip() {
    let run = observe("tcp-lifecycle", &[]).await;
    assert_sound(&run);
    assert_eq!(
        run.packets()[..4],
        [
            "client SYN",
            "server SYN, ACK",
            "client ACK",
            "client 5 bytes"
        ]
    );
    assert_near(run.measured("connect"), 40_000, LATE_US);
}

#[tokio::test]
async fn the_first_closer_alone_ends_in_time_wait() {
    for (first, second, name) in [(Client, Server, "client"), (Server, Client, "server")] {
        let run = observe("tcp-lifecycle", &[("first_closer", name)]).await;
        assert_sound(&run);
        let verdict = run.verdict();
        assert_eq!(
            (verdict.ended_by.as_str(), verdict.how.as_str()),
            (name, "fin")
        );
        assert_eq!(run.states(first).last(), Some(&S::TimeWait), "{name}");
        assert_eq!(run.states(second).last(), Some(&S::Closed), "{name}");
        assert!(!run.states(second).contains(&S::TimeWait), "{name}");
        assert!(run.states(second).contains(&S::LastAck), "{name}");
        assert_eq!(verdict.counts[&format!("time_wait:{name}")], 1);
        assert_near(run.measured("close"), 60_000, LATE_US);
    }
}

#[tokio::test]
async fn fins_that_cross_leave_both_in_time_wait() {
    let run = observe(
        "tcp-lifecycle",
        &[("first_closer", "both"), ("delay", "30ms")],
    )
    .await;
    assert_sound(&run);
    assert_eq!(run.verdict().ended_by, "both");
    for host in [Client, Server] {
        let states = run.states(host);
        assert!(states.contains(&S::Closing), "{host}: {states:?}");
        assert_eq!(states.last(), Some(&S::TimeWait), "{host}");
    }
    assert_near(run.measured("close"), 60_000, LATE_US);
}

#[tokio::test]
async fn a_peer_that_never_closes_stays_in_close_wait_and_the_orphan_goes() {
    let run = observe(
        "tcp-lifecycle",
        &[
            ("peer_closes", "off"),
            ("fin_timeout", "1s"),
            ("delay", "10ms"),
        ],
    )
    .await;
    assert_sound(&run);
    assert_eq!(run.states(Server).last(), Some(&S::CloseWait));
    let client = run.states(Client);
    assert_eq!(client.last(), Some(&S::Closed), "{client:?}");
    assert!(client.contains(&S::FinWait2));
    assert!(
        !client.contains(&S::TimeWait),
        "no FIN came that could be waited out"
    );
    assert_near(run.measured("orphan_gone"), 1_000_000, 125_000 + LATE_US);
}

#[tokio::test]
async fn without_a_delay_the_first_closer_is_still_the_one_in_time_wait() {
    let run = observe(
        "tcp-lifecycle",
        &[("first_closer", "server"), ("delay", "0s")],
    )
    .await;
    assert_sound(&run);
    assert_eq!(run.verdict().counts.get("time_wait:server"), Some(&1));
    assert_eq!(run.verdict().counts.get("time_wait:client"), None);
}
