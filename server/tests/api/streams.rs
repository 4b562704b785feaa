//! The event stream: resuming, liveness, and viewers that misbehave.

use std::time::Duration;

use linger::{api::Pace, runs::Config};
use linger_shared::protocol::{RunState, StreamMessage};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::timeout,
};

use crate::{
    is_verdict, numbers,
    support::{PATIENCE, Server},
};

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
