//! What one visitor and all of them together may take: the answer beyond each bound, and that what
//! was taken comes back. Each address of 127.0.0.0/8 is a visitor of its own here.

use std::{net::IpAddr, time::Duration};

use hyper::{StatusCode, header};
use linger::{
    api::{Limits, Rate, Settings},
    runs::Config,
};
use serde_json::json;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::{Instant, sleep, timeout},
};

use crate::{
    JSON,
    support::{PATIENCE, Reply, Server},
};

fn visitor(last: u8) -> IpAddr {
    IpAddr::from([127, 0, 0, last])
}

/// As an open server has them, for visitors of this machine, too.
fn limits() -> Limits {
    Limits {
        spare_loopback: false,
        ..Limits::default()
    }
}

fn wait_of(reply: &Reply) -> u64 {
    let wait = reply.headers[header::RETRY_AFTER].to_str().unwrap();
    wait.parse().unwrap()
}

/// Reads until the server closes.
async fn rest(stream: &mut TcpStream) -> String {
    let mut heard = Vec::new();
    // What came before a reset is what matters.
    let _ = timeout(PATIENCE, stream.read_to_end(&mut heard))
        .await
        .expect("the server keeps the connection open");
    String::from_utf8_lossy(&heard).into_owned()
}

#[tokio::test]
async fn an_address_that_asks_too_often_waits_and_others_do_not() {
    let limits = Limits {
        requests: Rate {
            burst: 5,
            per_second: 0.1,
        },
        ..limits()
    };
    let server = Server::limited(limits).await;
    let ask = async |last| {
        server
            .send_from(visitor(last), "GET", "/api/experiments", &[], "")
            .await
    };
    for _ in 0..5 {
        assert_eq!(ask(5).await.status, StatusCode::OK);
    }
    let refused = ask(5).await;
    assert_eq!(refused.status, StatusCode::TOO_MANY_REQUESTS);
    assert_eq!(refused.json()["type"], "/problems/too-many-requests");
    assert!((1..=10).contains(&wait_of(&refused)), "{refused:?}");
    assert_eq!(ask(6).await.status, StatusCode::OK);
}

#[tokio::test]
async fn a_run_is_acted_on_at_a_bounded_rate() {
    let limits = Limits {
        actions: Rate {
            burst: 3,
            per_second: 0.01,
        },
        ..Limits::default()
    };
    let server = Server::limited(limits).await;
    let id = server.run_requests(200, "1s").await;
    server.watch(&id, 0).await.events(3).await;
    let actions = format!("/api/runs/{id}/actions");
    let heal = json!({"action": "heal"}).to_string();
    for _ in 0..3 {
        let reply = server.send("POST", &actions, &[JSON], &heal).await;
        assert_eq!(reply.status, StatusCode::NO_CONTENT, "{}", reply.body);
    }
    let refused = server.send("POST", &actions, &[JSON], &heal).await;
    assert_eq!(refused.status, StatusCode::TOO_MANY_REQUESTS);
    assert_eq!(refused.json()["type"], "/problems/too-many-actions");
    assert!(wait_of(&refused) > 0);
    let stop = format!("/api/runs/{id}/stop");
    assert_eq!(
        server.send("POST", &stop, &[], "").await.status,
        StatusCode::OK
    );
}

#[tokio::test]
async fn an_address_has_so_many_streams_and_gets_them_back() {
    let limits = Limits {
        streams_per_address: 2,
        ..limits()
    };
    let server = Server::limited(limits).await;
    let id = server.run_requests(200, "1s").await;
    let first = server.watch(&id, 0).await;
    let second = server.watch(&id, 0).await;
    let status = server.watch_as(&id, "user-agent", "test").await;
    assert_eq!(status, StatusCode::TOO_MANY_REQUESTS);
    let path = format!("/api/runs/{id}/events?follow=true");
    let refused = server.get(&path).await;
    assert_eq!(refused.status, StatusCode::TOO_MANY_REQUESTS);
    assert_eq!(refused.json()["type"], "/problems/too-many-streams");
    let now = format!("/api/runs/{id}/events");
    assert_eq!(
        server.get(&now).await.status,
        StatusCode::OK,
        "no stream is needed for what is there"
    );
    first.close().await;
    drop(second);
    let deadline = Instant::now() + PATIENCE;
    while server.watch_as(&id, "user-agent", "test").await != StatusCode::SWITCHING_PROTOCOLS {
        assert!(Instant::now() < deadline, "the place never comes back");
        sleep(Duration::from_millis(20)).await;
    }
    let stop = format!("/api/runs/{id}/stop");
    server.send("POST", &stop, &[], "").await;
}

#[tokio::test]
async fn an_address_has_so_many_connections_and_is_told() {
    let limits = Limits {
        connections_per_address: 3,
        ..limits()
    };
    let server = Server::limited(limits).await;
    let mut held = Vec::new();
    for _ in 0..3 {
        held.push(server.connect_from(visitor(5)).await);
    }
    let mut fourth = server.connect_from(visitor(5)).await;
    let answer = rest(&mut fourth).await;
    assert!(answer.starts_with("HTTP/1.1 429 "), "{answer}");
    assert!(
        answer.contains("/problems/too-many-connections-here"),
        "{answer}"
    );
    let other = server.send_from(visitor(6), "GET", "/problems", &[], "");
    assert_eq!(other.await.status, StatusCode::OK);
    drop(held);
    let deadline = Instant::now() + PATIENCE;
    loop {
        let mut stream = server.connect_from(visitor(5)).await;
        let request = format!(
            "GET /problems HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n\r\n",
            server.address
        );
        stream.write_all(request.as_bytes()).await.unwrap();
        if rest(&mut stream).await.starts_with("HTTP/1.1 200 ") {
            break;
        }
        assert!(Instant::now() < deadline, "the places never come back");
    }
}

#[tokio::test]
async fn there_are_so_many_connections_in_all_and_no_more() {
    let limits = Limits {
        connections: 4,
        ..Limits::default()
    };
    let server = Server::limited(limits).await;
    let mut held = Vec::new();
    for last in 5..9 {
        held.push(server.connect_from(visitor(last)).await);
    }
    let answer = rest(&mut server.connect_from(visitor(9)).await).await;
    assert!(answer.starts_with("HTTP/1.1 503 "), "{answer}");
    assert!(answer.contains("\r\nretry-after: "), "{answer}");
    assert!(
        answer.contains("/problems/too-many-connections\""),
        "{answer}"
    );
}

#[tokio::test]
async fn a_client_that_is_slow_to_ask_is_closed_and_holds_nobody_up() {
    let limits = Limits {
        head_time: Duration::from_millis(500),
        ..limits()
    };
    let server = Server::limited(limits).await;
    let address = server.address;
    let slow: Vec<_> = (0..20)
        .map(|_| {
            tokio::spawn(async move {
                let mut stream = TcpStream::connect(address).await.unwrap();
                let (mut read, mut write) = stream.split();
                let began = Instant::now();
                let drip = async {
                    let head = format!("GET / HTTP/1.1\r\nHost: {address}\r\nX: ");
                    write.write_all(head.as_bytes()).await.unwrap();
                    while write.write_all(b"x").await.is_ok() {
                        sleep(Duration::from_millis(50)).await;
                    }
                };
                let mut heard = Vec::new();
                tokio::select! {
                    () = drip => {}
                    _ = read.read_to_end(&mut heard) => {}
                }
                began.elapsed()
            })
        })
        .collect();
    sleep(Duration::from_millis(100)).await;
    let began = Instant::now();
    assert_eq!(server.get("/problems").await.status, StatusCode::OK);
    let honest = began.elapsed();
    assert!(honest < Duration::from_secs(5), "{honest:?}");
    for client in slow {
        let lasted = timeout(PATIENCE, client).await.unwrap().unwrap();
        assert!(lasted >= Duration::from_millis(400), "{lasted:?}");
        assert!(lasted < Duration::from_secs(15), "{lasted:?}");
    }
}

#[tokio::test]
async fn a_connection_that_rests_too_long_is_closed() {
    let limits = Limits {
        head_time: Duration::from_millis(300),
        ..limits()
    };
    let server = Server::limited(limits).await;
    let mut stream = TcpStream::connect(server.address).await.unwrap();
    let request = format!("GET /problems HTTP/1.1\r\nHost: {}\r\n\r\n", server.address);
    stream.write_all(request.as_bytes()).await.unwrap();
    let answer = rest(&mut stream).await;
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
}

#[tokio::test]
async fn a_body_that_does_not_come_is_not_waited_for() {
    let limits = Limits {
        body_time: Duration::from_millis(300),
        ..limits()
    };
    let server = Server::limited(limits).await;
    let mut stream = TcpStream::connect(server.address).await.unwrap();
    let request = format!(
        "POST /api/runs HTTP/1.1\r\nHost: {}\r\nContent-Type: application/json\r\n\
         Content-Length: 100\r\n\r\n{{\"experiment\"",
        server.address
    );
    stream.write_all(request.as_bytes()).await.unwrap();
    let answer = rest(&mut stream).await;
    assert!(answer.starts_with("HTTP/1.1 408 "), "{answer}");
    assert!(answer.contains("/problems/slow-body"), "{answer}");
}

#[tokio::test]
async fn a_client_that_takes_nothing_is_closed() {
    let limits = Limits {
        stall_time: Duration::from_millis(300),
        ..limits()
    };
    let server = Server::limited(limits).await;
    // Asks again and again, and reads no answer: the buffers of both kernels fill.
    let mut stream = server.connect_from(visitor(5)).await;
    let request = format!(
        "GET /api/experiments HTTP/1.1\r\nHost: {}\r\n\r\n",
        server.address
    );
    let asked = async {
        loop {
            if let Err(error) = stream.write_all(request.as_bytes()).await {
                return error;
            }
        }
    };
    let error = timeout(PATIENCE, asked).await.expect("it is still served");
    let kind = error.kind();
    assert!(
        matches!(
            kind,
            std::io::ErrorKind::ConnectionReset | std::io::ErrorKind::BrokenPipe
        ),
        "{error}"
    );
}

#[tokio::test]
async fn an_address_has_so_many_runs_and_starts_and_others_have_theirs() {
    let settings = || Settings {
        limits: limits(),
        ..Settings::local(None)
    };
    let body = |pause: &str| {
        json!({
            "experiment": "http-sequential", "mode": "relay",
            "params": {"requests": 50, "pause": pause, "delay": "0s"},
        })
        .to_string()
    };
    let config = Config {
        per_address: 2,
        ..Config::default()
    };
    let server = Server::set(config, settings()).await;
    let start = async |last| {
        server
            .send_from(visitor(last), "POST", "/api/runs", &[JSON], &body("1s"))
            .await
    };
    let first = start(2).await;
    assert_eq!(first.status, StatusCode::CREATED, "{}", first.body);
    assert_eq!(start(2).await.status, StatusCode::CREATED);
    let refused = start(2).await;
    assert_eq!(refused.status, StatusCode::TOO_MANY_REQUESTS);
    assert_eq!(refused.json()["type"], "/problems/too-many-runs");
    assert_eq!(start(3).await.status, StatusCode::CREATED);
    // One that is over makes room.
    let id = first.json()["id"].as_str().unwrap().to_owned();
    let stop = format!("/api/runs/{id}/stop");
    server.send("POST", &stop, &[JSON], "").await;
    assert_eq!(server.state_at_the_end(&id).await, "cancelled");
    assert_eq!(start(2).await.status, StatusCode::CREATED);

    let config = Config {
        starts_per_minute: 1,
        ..Config::default()
    };
    let server = Server::set(config, settings()).await;
    let start = async |last| {
        server
            .send_from(visitor(last), "POST", "/api/runs", &[JSON], &body("0s"))
            .await
    };
    assert_eq!(start(2).await.status, StatusCode::CREATED);
    let refused = start(2).await;
    assert_eq!(refused.status, StatusCode::TOO_MANY_REQUESTS);
    assert_eq!(refused.json()["type"], "/problems/too-many-starts");
    assert!(
        (1..=60).contains(&wait_of(&refused)),
        "{}",
        wait_of(&refused)
    );
    assert_eq!(start(3).await.status, StatusCode::CREATED);
}
