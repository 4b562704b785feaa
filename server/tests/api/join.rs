//! A server that is open to a network: nothing without the join code, and no way to guess it.

use hyper::{StatusCode, header};
use linger::{
    api::{Guard, JoinCode, Settings},
    runs::Config,
};
use serde_json::json;

use crate::{
    JSON,
    support::{Reply, Server},
};

const CODE: &str = "CLASS-OF-27";

/// What a browser says that goes somewhere.
const BROWSER: (&str, &str) = ("accept", "text/html,application/xhtml+xml,*/*;q=0.8");
const FORM: (&str, &str) = ("content-type", "application/x-www-form-urlencoded");

async fn server() -> Server {
    let settings = Settings {
        guard: Guard::remote(["lab.example"]),
        join: Some(JoinCode::chosen(CODE).unwrap()),
        ..Settings::local(None)
    };
    Server::set(Config::default(), settings).await
}

/// The cookies that an answer sets, as a browser sends them back.
fn cookies(reply: &Reply) -> String {
    let set = reply.headers.get_all(header::SET_COOKIE);
    let pairs: Vec<&str> = set
        .iter()
        .map(|value| value.to_str().unwrap().split(';').next().unwrap())
        .collect();
    pairs.join("; ")
}

#[tokio::test]
async fn nothing_but_the_join_page_is_there_without_the_code() {
    let server = server().await;
    for path in [
        "/",
        "/r/7",
        "/index.html",
        "/api/runs",
        "/api/experiments",
        "/api/openapi.json",
        "/api/runs/x/events",
        "/api/runs/x/export/jsonl",
        "/problems",
        "/nothing",
    ] {
        let page = server.send("GET", path, &[BROWSER], "").await;
        assert_eq!(page.status, StatusCode::UNAUTHORIZED, "{path}");
        assert!(page.body.contains("<form method=\"post\""), "{path}");
        assert!(!page.body.contains(CODE), "{path}");
        let reply = server.get(path).await;
        assert_eq!(reply.status, StatusCode::UNAUTHORIZED, "{path}");
        assert_eq!(reply.json()["type"], "/problems/not-joined", "{path}");
        assert!(reply.headers.contains_key(header::WWW_AUTHENTICATE));
    }
    let body = json!({"experiment": "http-sequential", "mode": "relay"}).to_string();
    for (method, path) in [
        ("POST", "/api/runs"),
        ("DELETE", "/api/runs/x"),
        ("POST", "/api/runs/x/stop"),
        ("POST", "/api/runs/x/actions"),
    ] {
        let reply = server.send(method, path, &[JSON], &body).await;
        assert_eq!(reply.status, StatusCode::UNAUTHORIZED, "{method} {path}");
    }
    let status = server.watch_as("x", "user-agent", "test").await;
    assert_eq!(status, StatusCode::UNAUTHORIZED);
    for path in ["/join", "/plain.css", "/favicon.ico"] {
        let reply = server.get(path).await;
        assert_eq!(reply.status, StatusCode::OK, "{path}");
    }
}

#[tokio::test]
async fn a_link_with_the_code_lets_a_browser_in_and_leaves_no_trace_of_it() {
    let server = server().await;
    let joined = server
        .send("GET", "/r/7?event=3&join=class-of-27", &[BROWSER], "")
        .await;
    assert_eq!(joined.status, StatusCode::SEE_OTHER);
    assert_eq!(joined.headers[header::LOCATION], "/r/7?event=3");
    assert_eq!(joined.headers[header::CACHE_CONTROL], "no-store");
    let referrer = &joined.headers[header::REFERRER_POLICY];
    assert!(referrer == "no-referrer" || referrer == "same-origin");
    let pass = joined.headers[header::SET_COOKIE].to_str().unwrap();
    assert!(pass.contains("HttpOnly; SameSite=Strict"), "{pass}");
    let cookies = cookies(&joined);
    assert!(!cookies.to_lowercase().contains("class"), "{cookies}");

    let cookie = ("cookie", cookies.as_str());
    let page = server.send("GET", "/", &[BROWSER, cookie], "").await;
    assert_eq!(page.status, StatusCode::OK);
    assert!(!page.headers.contains_key(header::SET_COOKIE));
    let body = json!({
        "experiment": "http-sequential", "mode": "relay",
        "params": {"requests": 1, "pause": "0s", "delay": "0s"}
    });
    let started = server
        .send("POST", "/api/runs", &[JSON, cookie], &body.to_string())
        .await;
    assert_eq!(started.status, StatusCode::CREATED, "{}", started.body);
    let id = started.json()["id"].as_str().unwrap().to_owned();
    let status = server.watch_as(&id, "cookie", &cookies).await;
    assert_eq!(status, StatusCode::SWITCHING_PROTOCOLS);
    let path = format!("/api/runs/{id}/events?follow=true");
    let recorded = server.send("GET", &path, &[cookie], "").await;
    assert_eq!(recorded.status, StatusCode::OK);
    for secret in [CODE, "class-of-27", "linger-pass"] {
        assert!(!recorded.body.contains(secret));
    }
}

#[tokio::test]
async fn the_form_takes_the_code_and_says_when_it_is_wrong() {
    let server = server().await;
    let own = format!("http://{}", server.address);
    let headers = [BROWSER, FORM, ("origin", own.as_str())];
    let wrong = server
        .send("POST", "/join", &headers, "code=ABCD-EFGH&to=%2Fr%2F7")
        .await;
    assert_eq!(wrong.status, StatusCode::UNAUTHORIZED);
    assert!(wrong.body.contains("role=\"alert\""), "{}", wrong.body);
    assert!(wrong.body.contains("value=\"/r/7\""), "{}", wrong.body);
    assert!(!wrong.headers.contains_key(header::SET_COOKIE));
    for (to, goes) in [
        ("%2Fr%2F7%3Fevent%3D3", "/r/7?event=3"),
        ("%2F%2Fevil.example", "/"),
        ("https%3A%2F%2Fevil.example", "/"),
        ("", "/"),
    ] {
        let body = format!("to={to}&code=+class+of+27");
        let right = server.send("POST", "/join", &headers, &body).await;
        assert_eq!(right.status, StatusCode::SEE_OTHER, "{}", right.body);
        assert_eq!(right.headers[header::LOCATION], goes);
        assert!(right.headers.contains_key(header::SET_COOKIE));
    }
    let foreign = [BROWSER, FORM, ("origin", "https://evil.example")];
    let reply = server
        .send("POST", "/join", &foreign, "code=class-of-27")
        .await;
    assert_eq!(reply.status, StatusCode::FORBIDDEN);
    let large = format!("code={}", "A".repeat(100_000));
    let reply = server.send("POST", "/join", &headers, &large).await;
    assert_eq!(reply.status, StatusCode::PAYLOAD_TOO_LARGE);
}

#[tokio::test]
async fn a_program_sends_the_code_with_each_request() {
    let server = server().await;
    let bearer = format!("Bearer {CODE}");
    let headers = [("authorization", bearer.as_str())];
    let reply = server.send("GET", "/api/runs", &headers, "").await;
    assert_eq!(reply.status, StatusCode::OK);
    let wrong = [("authorization", "Bearer CLASS-OF-28")];
    let reply = server.send("GET", "/api/runs", &wrong, "").await;
    assert_eq!(reply.status, StatusCode::UNAUTHORIZED);
}

#[tokio::test]
async fn a_link_from_another_site_asks_once_more_from_here() {
    let server = server().await;
    let joined = server
        .send("GET", "/?join=class-of-27", &[BROWSER], "")
        .await;
    let all = cookies(&joined);
    // A browser that comes from elsewhere holds the strict cookie back.
    let (pass, mark) = all.split_once("; ").unwrap();
    let headers = [BROWSER, ("cookie", mark)];
    let page = server.send("GET", "/r/7", &headers, "").await;
    assert_eq!(page.status, StatusCode::OK);
    let refresh = "http-equiv=\"refresh\" content=\"0; url=/r/7\"";
    assert!(page.body.contains(refresh), "{}", page.body);
    let unmarked = page.headers[header::SET_COOKIE].to_str().unwrap();
    assert!(unmarked.contains("Max-Age=0"), "{unmarked}");
    // With the pass the page comes, and with it a new mark.
    let headers = [BROWSER, ("cookie", pass)];
    let page = server.send("GET", "/r/7", &headers, "").await;
    assert_eq!(page.status, StatusCode::OK);
    assert!(cookies(&page).contains("linger-joined"), "{page:?}");
    // Without either, the form: nobody is sent in a circle.
    let page = server.send("GET", "/r/7", &[BROWSER], "").await;
    assert_eq!(page.status, StatusCode::UNAUTHORIZED);
}

#[tokio::test]
async fn codes_cannot_be_guessed_by_trying() {
    let server = server().await;
    let (guesser, pupil) = ("127.0.0.5".parse().unwrap(), "127.0.0.6".parse().unwrap());
    let mut refused = 0;
    for guess in 0..200 {
        let path = format!("/?join=GUESS{guess:05}");
        let reply = server
            .send_from(guesser, "GET", &path, &[BROWSER], "")
            .await;
        match reply.status {
            StatusCode::UNAUTHORIZED => assert_eq!(refused, 0, "guess {guess} was judged"),
            StatusCode::TOO_MANY_REQUESTS => {
                refused += 1;
                let wait = reply.headers[header::RETRY_AFTER].to_str().unwrap();
                assert!((1..=100).contains(&wait.parse::<u32>().unwrap()), "{wait}");
                assert!(reply.body.contains("Too many wrong codes"));
            }
            other => panic!("{other}"),
        }
    }
    assert!(refused >= 180, "{refused}");
    // Nor is the right code told from a wrong one, by whatever way it comes.
    let path = "/?join=class-of-27";
    let reply = server.send_from(guesser, "GET", path, &[BROWSER], "").await;
    assert_eq!(reply.status, StatusCode::TOO_MANY_REQUESTS);
    assert!(!reply.headers.contains_key(header::SET_COOKIE));
    let bearer = [("authorization", "Bearer CLASS-OF-27")];
    let reply = server
        .send_from(guesser, "GET", "/api/runs", &bearer, "")
        .await;
    assert_eq!(reply.status, StatusCode::TOO_MANY_REQUESTS);
    assert_eq!(reply.json()["type"], "/problems/too-many-attempts");
    // Another visitor is not held up.
    let reply = server.send_from(pupil, "GET", path, &[BROWSER], "").await;
    assert_eq!(reply.status, StatusCode::SEE_OTHER);
}

#[tokio::test]
async fn a_network_reaches_it_under_known_names_only() {
    let server = server().await;
    let bearer = ("authorization", "Bearer CLASS-OF-27");
    for (host, status) in [
        ("lab.example", StatusCode::OK),
        ("lab.example:8080", StatusCode::OK),
        ("localhost", StatusCode::OK),
        ("rebound.example", StatusCode::FORBIDDEN),
        ("198.51.100.7", StatusCode::FORBIDDEN),
    ] {
        let headers = [("host", host), bearer];
        let reply = server.send("GET", "/api/runs", &headers, "").await;
        assert_eq!(reply.status, status, "{host}");
    }
}

#[tokio::test]
async fn visitors_of_an_open_server_cannot_remove_recordings() {
    let server = server().await;
    let bearer = ("authorization", "Bearer CLASS-OF-27");
    let reply = server.send("DELETE", "/api/runs/any", &[bearer], "").await;
    assert_eq!(reply.status, StatusCode::FORBIDDEN);
    assert_eq!(reply.json()["type"], "/problems/owners-only");
}
