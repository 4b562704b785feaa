//! Errors: each a problem document that names what was wrong.

use hyper::{StatusCode, header};
use serde_json::{Value, json};

use crate::{JSON, support::Server};

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
