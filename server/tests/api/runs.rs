//! Runs from their start to their end, and what can be read of them.

use hyper::{StatusCode, header};
use linger::{api::Pace, runs::Config};
use linger_shared::{
    event::{Event, Fact},
    protocol::{RunState, StreamMessage},
};
use serde_json::json;
use tokio::net::TcpStream;

use crate::{
    is_verdict, numbers,
    support::{Server, Viewer},
};

#[tokio::test]
async fn no_request_starts_a_program() {
    let server = Server::start().await;
    for body in [
        json!({"experiment": "exec"}),
        json!({"experiment": "exec", "params": {"client": "true"}}),
        json!({"experiment": "endpoint", "params": {"client": "true"}}),
    ] {
        let reply = server.post("/api/runs", &body).await;
        assert_eq!(reply.status, StatusCode::NOT_FOUND, "{}", reply.body);
    }
    let body = json!({"experiment": "tcp-dead-peer", "params": {"client": "true"}});
    let reply = server.post("/api/runs", &body).await;
    assert_eq!(
        reply.status,
        StatusCode::UNPROCESSABLE_ENTITY,
        "{}",
        reply.body
    );
    let catalogue = server.get("/api/experiments").await.json();
    let ids: Vec<&str> = catalogue
        .as_array()
        .unwrap()
        .iter()
        .filter_map(|entry| entry["id"].as_str())
        .collect();
    assert!(!ids.is_empty() && !ids.contains(&"exec"), "{ids:?}");
}

#[tokio::test]
async fn a_run_is_started_watched_and_read_again() {
    let server = Server::start().await;
    let request = json!({
        "experiment": "http-sequential",
        "mode": "relay",
        "seed": 7,
        "params": {"requests": 3, "pause": "10ms", "delay": "0s"}
    });
    let started = server.post("/api/runs", &request).await;
    assert_eq!(started.status, StatusCode::CREATED);
    let id = started.json()["id"].as_str().unwrap().to_owned();
    let path = format!("/api/runs/{id}");
    assert_eq!(started.headers[header::LOCATION], path.as_str());

    let mut viewer = server.watch(&id, 0).await;
    let Some(StreamMessage::Hello {
        run,
        protocol_version,
    }) = viewer.next().await
    else {
        panic!("the first message is no hello");
    };
    assert_eq!((run.id.as_str(), protocol_version), (id.as_str(), 1));
    let events = viewer.events(usize::MAX).await;
    assert_eq!(
        numbers(&events),
        (0..events.len() as u64).collect::<Vec<_>>()
    );
    assert!(is_verdict(events.last().unwrap()));
    let responses = events.iter().filter(
        |event| matches!(&event.fact, Fact::Http(exchange) if exchange.status == Some(200)),
    );
    assert_eq!(responses.count(), 3);

    let info = server.get(&path).await.json();
    assert_eq!(info["state"], "finished");
    assert_eq!(info["events"], events.len() as u64);
    assert_eq!(info["header"]["seed"], 7);
    assert_eq!(info["header"]["params"]["requests"], 3);
    assert!(info["now_us"].as_u64().unwrap() >= events.last().unwrap().at_us);
    let listed = server.get("/api/runs").await.json();
    assert_eq!(listed[0]["id"], id.as_str());

    let reply = server.get(&format!("{path}/events")).await;
    assert_eq!(
        reply.headers[header::CONTENT_TYPE],
        "application/jsonl; charset=utf-8"
    );
    let lines = reply.lines();
    assert_eq!(lines[0]["kind"], "header");
    assert_eq!(lines[0]["run"], id.as_str());
    let again: Vec<Event> = lines[1..]
        .iter()
        .map(|line| serde_json::from_value(line.clone()).unwrap())
        .collect();
    assert_eq!(again, events);
    for line in &lines {
        for key in ["seq", "at_us", "seen_by", "kind"] {
            assert!(line.get(key).is_some(), "{key} of {line}");
        }
    }
    let tail = server.get(&format!("{path}/events?from=5")).await.lines();
    assert_eq!(tail[0]["kind"], "header");
    assert_eq!(tail[1..], lines[6..]);
}

#[tokio::test]
async fn a_plain_get_can_follow_a_run_to_its_end() {
    let server = Server::start().await;
    let id = server.run_requests(5, "50ms").await;
    let now = server.get(&format!("/api/runs/{id}/events")).await.lines();
    let followed = server
        .get(&format!("/api/runs/{id}/events?follow=true"))
        .await
        .lines();
    assert!(
        now.len() < followed.len(),
        "{} {}",
        now.len(),
        followed.len()
    );
    assert_eq!(followed[0]["kind"], "header");
    assert_eq!(followed.last().unwrap()["kind"], "verdict");
    let events = server.get(&format!("/api/runs/{id}")).await.json()["events"].clone();
    assert_eq!(events, followed.len() as u64 - 1);
}

#[tokio::test]
async fn events_beyond_the_end_are_waited_for_until_the_run_is_over() {
    let server = Server::start().await;
    let id = server.run_requests(3, "20ms").await;
    let events = server.watch(&id, 1_000_000).await.events(usize::MAX).await;
    assert_eq!(events, []);
    let lines = server
        .get(&format!("/api/runs/{id}/events?from=1000000"))
        .await
        .lines();
    assert_eq!(lines.len(), 1, "the header alone");
}

#[tokio::test]
async fn a_stopped_run_keeps_its_events_and_gets_its_verdict() {
    let server = Server::start().await;
    let id = server.run_requests(200, "1s").await;
    let mut viewer = server.watch(&id, 0).await;
    let mut events = viewer.events(5).await;
    let reply = server
        .send("POST", &format!("/api/runs/{id}/stop"), &[], "")
        .await;
    assert_eq!(reply.status, StatusCode::OK);
    assert_eq!(reply.json()["id"], id.as_str());
    events.extend(viewer.events(usize::MAX).await);
    assert!(is_verdict(events.last().unwrap()));
    let stopped = events.iter().any(
        |event| matches!(&event.fact, Fact::Stopped { reason } if reason == "stopped by the user"),
    );
    assert!(stopped);
    assert_eq!(server.state_at_the_end(&id).await, "cancelled");
    // Stopping it once more changes nothing.
    let reply = server
        .send("POST", &format!("/api/runs/{id}/stop"), &[], "")
        .await;
    assert_eq!(reply.json()["state"], "cancelled");
}

#[tokio::test]
async fn a_viewer_can_cut_the_path_of_a_live_run_and_heal_it() {
    let server = Server::start().await;
    let id = server.run_requests(200, "200ms").await;
    let mut viewer = server.watch(&id, 0).await;
    viewer.events(5).await;
    let actions = format!("/api/runs/{id}/actions");
    for action in [
        json!({"action": "cut", "from": "client"}),
        json!({"action": "heal"}),
    ] {
        let reply = server.post(&actions, &action).await;
        assert_eq!(reply.status, StatusCode::NO_CONTENT, "{}", reply.body);
    }
    let mut told = Vec::new();
    while told.len() < 2 {
        for event in viewer.events(1).await {
            if let Fact::Rule { active, by, .. } = event.fact {
                assert_eq!(by, "user");
                told.push(active);
            }
        }
    }
    assert_eq!(told, [true, false]);
    server
        .send("POST", &format!("/api/runs/{id}/stop"), &[], "")
        .await;
}

#[tokio::test]
async fn runs_wait_for_their_turn_and_too_many_are_refused() {
    let config = Config {
        concurrent: 1,
        queued: 2,
        ..Config::default()
    };
    let server = Server::with(config, Pace::default()).await;
    let working = server.run_requests(200, "1s").await;
    let first = server.run_requests(1, "0s").await;
    let second = server.run_requests(1, "0s").await;
    let place = async |id: &str| {
        let info = server.get(&format!("/api/runs/{id}")).await.json();
        (info["state"].clone(), info["queue_position"].clone())
    };
    assert_eq!(place(&second).await, (json!("queued"), json!(1)));
    let refused = server
        .post(
            "/api/runs",
            &json!({"experiment": "http-sequential", "mode": "relay"}),
        )
        .await;
    assert_eq!(refused.status, StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(refused.json()["type"], "/problems/queue-full");
    assert!(refused.headers.contains_key(header::RETRY_AFTER));

    let mut viewer = server.watch(&second, 0).await;
    let Some(StreamMessage::Hello { run, .. }) = viewer.next().await else {
        panic!("the first message is no hello");
    };
    assert_eq!(
        (run.state, run.queue_position, run.header),
        (RunState::Queued, 1, None)
    );
    server
        .send("POST", &format!("/api/runs/{first}/stop"), &[], "")
        .await;
    assert_eq!(place(&first).await.0, json!("cancelled"));
    let Some(StreamMessage::Alive {
        state,
        queue_position,
        ..
    }) = viewer.next().await
    else {
        panic!("the place in the queue is not told");
    };
    assert_eq!((state, queue_position), (RunState::Queued, 0));
    server
        .send("POST", &format!("/api/runs/{working}/stop"), &[], "")
        .await;
    let mut greeted_again = false;
    let end = loop {
        match viewer.next().await {
            Some(StreamMessage::Hello { run, .. }) => greeted_again = run.header.is_some(),
            Some(StreamMessage::End { state }) => break state,
            Some(_) => {}
            None => panic!("the stream closed before its end"),
        }
    };
    assert!(greeted_again, "the header is told when it is there");
    assert_eq!(end, RunState::Finished);
}

#[tokio::test]
async fn a_shutdown_ends_runs_and_streams_in_good_order() {
    let mut server = Server::start().await;
    let id = server.run_requests(200, "1s").await;
    let mut viewer = server.watch(&id, 0).await;
    let events = viewer.events(3).await;
    server.ask_to_end();
    let (rest, state) = to_the_end(&mut viewer).await;
    assert_eq!(state, RunState::Cancelled);
    let events: Vec<Event> = events.into_iter().chain(rest).collect();
    assert!(is_verdict(events.last().unwrap()));
    assert_eq!(
        numbers(&events),
        (0..events.len() as u64).collect::<Vec<_>>()
    );
    drop(viewer);
    let address = server.address;
    server.ended().await;
    assert!(TcpStream::connect(address).await.is_err());
}

/// Everything until the stream is closed, which has to be with code 1000.
async fn to_the_end(viewer: &mut Viewer) -> (Vec<Event>, RunState) {
    let mut events = Vec::new();
    let mut ended = None;
    while let Some(message) = viewer.next().await {
        match message {
            StreamMessage::Events { events: batch, .. } => events.extend(batch),
            StreamMessage::End { state } => ended = Some(state),
            StreamMessage::Hello { .. } | StreamMessage::Alive { .. } => {}
        }
    }
    (events, ended.expect("the end is told before the close"))
}
