//! The wire itself: delays, limits, and runs beside each other.

use linger::runs::{Config, Manager, Visitor};
use linger_shared::{event::Fact, protocol::RunState};

use crate::observed::{assert_sound, observe, observe_while, request};

#[tokio::test]
async fn every_packet_waits_out_its_delay_and_never_less() {
    let run = observe("http-sequential", &[("delay", "15ms"), ("pause", "5ms")]).await;
    assert_sound(&run);
    let arrivals = run.arrivals();
    let mut late: Vec<u64> = run
        .departures()
        .map(|(event, packet)| {
            (arrivals[&packet.id] - event.at_us)
                .checked_sub(15_000)
                .expect("no packet is faster than its link")
        })
        .collect();
    late.sort_unstable();
    // The median alone: on a busy machine any one packet's wire thread may have to wait for a core.
    assert!(late[late.len() / 2] < 2_000, "{late:?}");
}

#[tokio::test]
async fn runs_beside_each_other_do_not_meet() {
    let manager = Manager::new(Config::default()).expect("a manager");
    let params = [("requests", "5"), ("pause", "10ms")];
    let ids: Vec<String> = (0..6)
        .map(|_| {
            let run = manager.start(&request("http-sequential", &params), Visitor::LOCAL);
            run.expect("the run starts").id
        })
        .collect();
    for id in &ids {
        let log = manager
            .log(id)
            .expect("recordings are read")
            .expect("a started run has a log");
        let mut changes = log.subscribe();
        changes
            .wait_for(|progress| progress.state.is_over())
            .await
            .expect("the run ends");
        let lines = log
            .read(0, usize::MAX, usize::MAX)
            .expect("events are read");
        let last: linger_shared::event::Event =
            serde_json::from_str(lines.last().expect("events")).expect("an event");
        match last.fact {
            Fact::Verdict(verdict) => assert_eq!(verdict.counts["connections"], 1, "{id}"),
            other => panic!("{id} ended with {other:?}"),
        }
    }
}

#[tokio::test]
async fn a_run_that_waits_for_its_turn_has_a_place_and_starts_when_there_is_room() {
    let config = Config {
        concurrent: 1,
        queued: 2,
        ..Config::default()
    };
    let manager = Manager::new(config).expect("a manager");
    let quick = request("http-sequential", &[("requests", "1"), ("pause", "0s")]);
    let first = manager
        .start(&quick, Visitor::LOCAL)
        .expect("the first starts");
    let second = manager
        .start(&quick, Visitor::LOCAL)
        .expect("the second is queued");
    let third = manager
        .start(&quick, Visitor::LOCAL)
        .expect("the third is queued");
    assert_eq!((second.state, second.queue_position), (RunState::Queued, 0));
    assert_eq!((third.state, third.queue_position), (RunState::Queued, 1));
    assert!(
        manager.start(&quick, Visitor::LOCAL).is_err(),
        "the queue is full"
    );
    let cancelled = manager
        .stop(&second.id, "not wanted")
        .expect("a queued run can be stopped");
    assert_eq!(cancelled.state, RunState::Cancelled);
    for id in [&first.id, &third.id] {
        let mut changes = manager
            .log(id)
            .expect("recordings are read")
            .expect("a log")
            .subscribe();
        let ended = changes
            .wait_for(|progress| progress.state.is_over())
            .await
            .expect("the run ends");
        assert_eq!(ended.state, RunState::Finished);
    }
}

#[tokio::test]
async fn a_run_over_its_time_limit_is_ended_and_says_why() {
    let config = Config {
        time_limit: std::time::Duration::from_millis(500),
        ..Config::default()
    };
    let manager = Manager::new(config).expect("a manager");
    let run = manager
        .start(&request("tcp-dead-peer", &[("idle", "2h")]), Visitor::LOCAL)
        .expect("the run starts");
    let log = manager
        .log(&run.id)
        .expect("recordings are read")
        .expect("a log");
    let mut changes = log.subscribe();
    let ended = *changes
        .wait_for(|progress| progress.state.is_over())
        .await
        .expect("the run ends");
    assert_eq!(ended.state, RunState::Cancelled);
    let lines = log
        .read(0, usize::MAX, usize::MAX)
        .expect("events are read");
    assert!(
        lines
            .iter()
            .any(|line| line.contains("time limit of 500ms"))
    );
}

#[tokio::test]
async fn a_run_that_is_stopped_at_any_moment_leaves_no_packet_without_an_ending() {
    for stop_after_us in [0, 15_000, 45_000, 90_000, 200_000] {
        let mut stopped = false;
        let params = [("pause", "50ms"), ("persistent", "off")];
        let run = observe_while("http-sequential", &params, |manager, id, event| {
            if !stopped && event.at_us >= stop_after_us {
                stopped = true;
                manager
                    .stop(id, "a test")
                    .expect("a live run can be stopped");
            }
        })
        .await;
        assert_eq!(run.state, RunState::Cancelled);
        assert_sound(&run);
        // What the taking down of the client's pool would send is no part of the record.
        let resets = run.packets().iter().any(|packet| packet.contains("RST"));
        assert!(
            !resets,
            "stopped after {stop_after_us} us: {:?}",
            run.packets()
        );
    }
}
