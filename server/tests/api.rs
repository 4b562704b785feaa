//! The API over real sockets: everything that needs no namespaces.

mod support;

use std::time::Duration;

use hyper::{StatusCode, header};
use linger::{api::Pace, runs::Config};
use linger_shared::{
    event::{Event, Fact},
    protocol::{RunState, StreamMessage},
};
use serde_json::{Value, json};
use support::{PATIENCE, Server, Viewer};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::timeout,
};

const JSON: (&str, &str) = ("content-type", "application/json");

fn numbers(events: &[Event]) -> Vec<u64> {
    events.iter().map(|event| event.seq).collect()
}

fn is_verdict(event: &Event) -> bool {
    matches!(event.fact, Fact::Verdict(_))
}

#[tokio::test]
async fn every_error_is_a_problem_document() {
    let server = Server::start().await;
    let finished = server.run_requests(1, "0s").await;
    assert_eq!(server.state_at_the_end(&finished).await, "finished");
    let actions = format!("/api/runs/{finished}/actions");
    let events = format!("/api/runs/{finished}/events");
    let from_x = format!("{events}?from=x");
    let unknown_query = format!("{events}?form=1");
    let run = |params: Value| json!({"experiment": "tcp-dead-peer", "params": params}).to_string();
    let large = format!("{{\"experiment\": \"{}\"}}", "x".repeat(100_000));
    let cases: Vec<(&str, &str, String, u16, &str, &str)> = vec![
        ("GET", "/api", String::new(), 404, "not-found", "/api"),
        (
            "GET",
            "/api/nothing",
            String::new(),
            404,
            "not-found",
            "/api/nothing",
        ),
        (
            "POST",
            "/api/nothing/at/all",
            String::new(),
            404,
            "not-found",
            "nothing",
        ),
        (
            "PUT",
            "/api/runs",
            String::new(),
            405,
            "method-not-allowed",
            "PUT",
        ),
        (
            "DELETE",
            "/api/experiments",
            String::new(),
            405,
            "method-not-allowed",
            "DELETE",
        ),
        (
            "GET",
            "/api/runs/none",
            String::new(),
            404,
            "unknown-run",
            "none",
        ),
        (
            "DELETE",
            "/api/runs/none",
            String::new(),
            404,
            "unknown-run",
            "none",
        ),
        (
            "GET",
            "/api/runs/none/events",
            String::new(),
            404,
            "unknown-run",
            "none",
        ),
        (
            "GET",
            "/api/runs/%ff",
            String::new(),
            400,
            "malformed-url",
            "id",
        ),
        ("GET", &from_x, String::new(), 400, "malformed-url", "from"),
        (
            "GET",
            &unknown_query,
            String::new(),
            400,
            "malformed-url",
            "form",
        ),
        (
            "POST",
            "/api/runs",
            "{".to_owned(),
            400,
            "malformed-json",
            "JSON",
        ),
        (
            "POST",
            "/api/runs",
            String::new(),
            400,
            "malformed-json",
            "JSON",
        ),
        (
            "POST",
            "/api/runs",
            "{}".to_owned(),
            422,
            "invalid-request",
            "experiment",
        ),
        ("POST", "/api/runs", large, 413, "body-too-large", "65536"),
        (
            "POST",
            "/api/runs",
            json!({"experiment": "tcp-dead-peer", "parameters": {}}).to_string(),
            422,
            "invalid-request",
            "parameters",
        ),
        (
            "POST",
            "/api/runs",
            json!({"experiment": "tcp-deadpeer"}).to_string(),
            404,
            "unknown-experiment",
            "tcp-dead-peer",
        ),
        (
            "POST",
            "/api/runs",
            run(json!({"count": 500})),
            422,
            "invalid-parameter",
            "127",
        ),
        (
            "POST",
            "/api/runs",
            run(json!({"count": -1})),
            422,
            "invalid-parameter",
            "count=-1",
        ),
        (
            "POST",
            "/api/runs",
            run(json!({"idle": 5})),
            422,
            "invalid-parameter",
            "idle=5",
        ),
        (
            "POST",
            "/api/runs",
            run(json!({"idel": "5s"})),
            422,
            "invalid-parameter",
            "idel",
        ),
        (
            "POST",
            "/api/runs",
            json!({"experiment": "tcp-dead-peer", "mode": "relay"}).to_string(),
            409,
            "unavailable-here",
            "relay",
        ),
        (
            "POST",
            &actions,
            json!({"action": "cut"}).to_string(),
            409,
            "not-running",
            "finished",
        ),
        (
            "POST",
            &actions,
            json!({"action": "kick"}).to_string(),
            422,
            "invalid-request",
            "kick",
        ),
        (
            "POST",
            "/api/runs/none/actions",
            json!({"action": "heal"}).to_string(),
            404,
            "unknown-run",
            "none",
        ),
    ];
    for (method, path, body, status, kind, detail) in cases {
        let reply = server.send(method, path, &[JSON], &body).await;
        let shown: String = body.chars().take(80).collect();
        let case = format!("{method} {path} {shown}: {} {}", reply.status, reply.body);
        assert_eq!(reply.status.as_u16(), status, "{case}");
        assert_eq!(
            reply.headers[header::CONTENT_TYPE],
            "application/problem+json",
            "{case}"
        );
        let problem = reply.json();
        assert_eq!(problem["type"], format!("/problems/{kind}"), "{case}");
        assert_eq!(problem["status"], status, "{case}");
        assert!(!problem["title"].as_str().unwrap().is_empty(), "{case}");
        assert!(
            problem["detail"].as_str().unwrap().contains(detail),
            "{case}"
        );
        if status == 405 {
            assert!(reply.headers.contains_key(header::ALLOW), "{case}");
        }
    }
}

#[tokio::test]
async fn a_body_has_to_be_declared_as_json() {
    let server = Server::start().await;
    let body = json!({"experiment": "http-sequential"}).to_string();
    for headers in [&[][..], &[("content-type", "text/plain")]] {
        let reply = server.send("POST", "/api/runs", headers, &body).await;
        assert_eq!(reply.status, StatusCode::UNSUPPORTED_MEDIA_TYPE);
        assert_eq!(reply.json()["type"], "/problems/unsupported-media-type");
    }
}

#[tokio::test]
async fn the_catalogue_has_every_experiment_with_what_a_form_needs() {
    let server = Server::start().await;
    let reply = server.get("/api/experiments").await;
    assert_eq!(reply.status, StatusCode::OK);
    assert_eq!(reply.headers[header::CACHE_CONTROL], "no-store");
    let entries = reply.json();
    let ids: Vec<&str> = entries
        .as_array()
        .unwrap()
        .iter()
        .map(|entry| entry["id"].as_str().unwrap())
        .collect();
    for id in ["tcp-lifecycle", "tcp-dead-peer", "http-sequential"] {
        assert!(ids.contains(&id), "{ids:?}");
    }
    for entry in entries.as_array().unwrap() {
        for key in [
            "title",
            "question",
            "family",
            "modes",
            "params",
            "references",
            "runs_as",
        ] {
            assert!(entry.get(key).is_some(), "{key} of {}", entry["id"]);
        }
        for param in entry["params"].as_array().unwrap() {
            for key in [
                "name",
                "type",
                "unit",
                "min",
                "max",
                "default",
                "description",
            ] {
                assert!(param.get(key).is_some(), "{key} of {param}");
            }
        }
    }
}

#[tokio::test]
async fn the_doctor_says_what_was_tried() {
    let server = Server::start().await;
    let report = server.get("/api/doctor").await.json();
    assert!(["packets", "relay"].contains(&report["mode"].as_str().unwrap()));
    assert!(!report["checks"].as_array().unwrap().is_empty());
}

/// Every `$ref` within a document.
fn references(document: &Value, found: &mut Vec<String>) {
    match document {
        Value::Object(object) => {
            if let Some(Value::String(reference)) = object.get("$ref") {
                found.push(reference.clone());
            }
            object.values().for_each(|value| references(value, found));
        }
        Value::Array(values) => values.iter().for_each(|value| references(value, found)),
        _ => {}
    }
}

#[tokio::test]
async fn the_openapi_document_describes_the_routes_that_there_are() {
    let server = Server::start().await;
    let document = server.get("/api/openapi.json").await.json();
    let paths = document["paths"].as_object().unwrap();
    let mut operations: Vec<String> = paths
        .iter()
        .flat_map(|(path, item)| {
            let methods = item.as_object().unwrap().keys();
            methods.map(move |method| format!("{method} {path}"))
        })
        .collect();
    operations.sort();
    assert_eq!(
        operations,
        [
            "delete /api/runs/{id}",
            "get /api/doctor",
            "get /api/experiments",
            "get /api/runs",
            "get /api/runs/{id}",
            "get /api/runs/{id}/events",
            "post /api/runs",
            "post /api/runs/{id}/actions",
        ]
    );
    // Every operation is answered by its handler: with a run that is not there, by 404 for the run.
    for operation in &operations {
        let (method, path) = operation.split_once(' ').unwrap();
        let body = match path.ends_with("actions") {
            true => json!({"action": "heal"}).to_string(),
            false => "{}".to_owned(),
        };
        let path = path.replace("{id}", "none");
        let reply = server
            .send(&method.to_uppercase(), &path, &[JSON], &body)
            .await;
        let kind = reply.json()["type"].as_str().map(str::to_owned);
        assert_ne!(kind.as_deref(), Some("/problems/not-found"), "{operation}");
        assert_ne!(reply.status, StatusCode::METHOD_NOT_ALLOWED, "{operation}");
    }
    let mut found = Vec::new();
    references(&document, &mut found);
    assert!(found.len() > 20, "{found:?}");
    for reference in found {
        let pointer = reference.strip_prefix('#').unwrap();
        assert!(
            document.pointer(pointer).is_some(),
            "{reference} leads nowhere"
        );
    }
    let value = document
        .pointer("/components/schemas/RunRequest/properties/params/additionalProperties/$ref");
    assert_eq!(value, Some(&json!("#/components/schemas/Value")));
    for schema in [
        "Event",
        "Fact",
        "Header",
        "RunInfo",
        "Problem",
        "StreamMessage",
    ] {
        assert!(
            document["components"]["schemas"].get(schema).is_some(),
            "{schema}"
        );
    }
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
async fn a_viewer_resumes_without_a_gap_and_without_repetition() {
    let server = Server::start().await;
    let id = server.run_requests(10, "30ms").await;
    let mut seen = Vec::new();
    // Comes and goes while the run is on, each time without a word of farewell.
    for _ in 0..4 {
        let mut viewer = server.watch(&id, seen.len() as u64).await;
        seen.extend(viewer.events(3).await);
    }
    let mut viewer = server.watch(&id, seen.len() as u64).await;
    seen.extend(viewer.events(usize::MAX).await);
    assert_eq!(numbers(&seen), (0..seen.len() as u64).collect::<Vec<_>>());
    assert!(is_verdict(seen.last().unwrap()));
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
        .send("DELETE", &format!("/api/runs/{id}"), &[], "")
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
        .send("DELETE", &format!("/api/runs/{id}"), &[], "")
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
        .send("DELETE", &format!("/api/runs/{id}"), &[], "")
        .await;
}

#[tokio::test]
async fn other_sites_can_neither_change_nor_watch_anything() {
    let server = Server::start().await;
    let id = server.run_requests(200, "1s").await;
    let run = format!("/api/runs/{id}");
    let evil = ("origin", "https://evil.example");
    let body = json!({"experiment": "http-sequential"}).to_string();
    for (method, path) in [("POST", "/api/runs"), ("DELETE", &run)] {
        let reply = server.send(method, path, &[JSON, evil], &body).await;
        assert_eq!(reply.status, StatusCode::FORBIDDEN, "{method}");
        assert_eq!(reply.json()["type"], "/problems/foreign-origin");
    }
    assert_eq!(server.get(&run).await.json()["state"], "running");
    let status = server.watch_as(&id, "origin", "https://evil.example").await;
    assert_eq!(status, StatusCode::FORBIDDEN);
    let rebound = [("host", "rebound.example")];
    for path in ["/api/runs", "/"] {
        let reply = server.send("GET", path, &rebound, "").await;
        assert_eq!(reply.status, StatusCode::FORBIDDEN, "{path}");
        assert_eq!(reply.json()["type"], "/problems/foreign-host");
    }
    let own = format!("http://{}", server.address);
    let status = server.watch_as(&id, "origin", &own).await;
    assert_eq!(status, StatusCode::SWITCHING_PROTOCOLS);
    let reply = server.send("DELETE", &run, &[("origin", &own)], "").await;
    assert_eq!(reply.status, StatusCode::OK);
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
        .send("DELETE", &format!("/api/runs/{first}"), &[], "")
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
        .send("DELETE", &format!("/api/runs/{working}"), &[], "")
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

/// A stream that pings every 100 ms and wants its answer within a second.
const QUICK: Pace = Pace {
    alive: Duration::from_millis(50),
    ping: Duration::from_millis(100),
    pong: Duration::from_secs(1),
};

#[tokio::test]
async fn a_dead_viewer_is_dropped_and_holds_nobody_up() {
    let server = Server::with(Config::default(), QUICK).await;
    let id = server.run_requests(200, "100ms").await;
    let mut living = server.watch(&id, 0).await;
    let living = tokio::spawn(async move { living.events(usize::MAX).await });
    // Opens a stream by hand, and never answers a ping.
    let mut dead = TcpStream::connect(server.address).await.unwrap();
    let handshake = format!(
        "GET /api/runs/{id}/events HTTP/1.1\r\nHost: {}\r\nConnection: Upgrade\r\n\
         Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
         Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n",
        server.address
    );
    dead.write_all(handshake.as_bytes()).await.unwrap();
    let mut heard = Vec::new();
    let dropped = async { dead.read_to_end(&mut heard).await };
    // The connection's end is all that matters here, be it in order or by a reset.
    let _ = timeout(PATIENCE, dropped)
        .await
        .expect("the dead viewer is still served");
    assert!(heard.starts_with(b"HTTP/1.1 101"), "{heard:?}");
    // It was dropped for its silence, not because the run was over; the one that answers stays.
    let run = format!("/api/runs/{id}");
    assert_eq!(server.get(&run).await.json()["state"], "running");
    assert!(!living.is_finished());
    server.send("DELETE", &run, &[], "").await;
    let events = living.await.unwrap();
    assert!(is_verdict(events.last().unwrap()));
}

#[tokio::test]
async fn a_quiet_stream_says_that_it_lives() {
    let server = Server::with(Config::default(), QUICK).await;
    let id = server.run_requests(200, "10s").await;
    let mut viewer = server.watch(&id, 0).await;
    // Whatever a viewer says is passed over.
    viewer.say("hello").await;
    let mut clocks = Vec::new();
    while clocks.len() < 10 {
        if let Some(StreamMessage::Alive { now_us, state, .. }) = viewer.next().await {
            assert_eq!(state, RunState::Running);
            clocks.push(now_us);
        }
    }
    assert!(clocks.is_sorted_by(|a, b| a < b), "{clocks:?}");
    viewer.close().await;
    server
        .send("DELETE", &format!("/api/runs/{id}"), &[], "")
        .await;
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
