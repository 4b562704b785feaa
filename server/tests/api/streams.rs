//! The event stream: resuming, liveness, and viewers that misbehave.

use std::time::Duration;

use linger::{
    api::{Limits, Pace, Settings},
    runs::Config,
};
use linger_shared::protocol::{RunState, StreamMessage};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpSocket, TcpStream},
    time::{Instant, sleep, timeout},
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
    server.send("POST", &format!("{run}/stop"), &[], "").await;
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
        .send("POST", &format!("/api/runs/{id}/stop"), &[], "")
        .await;
}

/// Opens a stream by hand, with a small buffer.
async fn open_by_hand(server: &Server, id: &str) -> TcpStream {
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_recv_buffer_size(4 * 1024).unwrap();
    let mut stream = socket.connect(server.address).await.unwrap();
    let handshake = format!(
        "GET /api/runs/{id}/events HTTP/1.1\r\nHost: {}\r\nConnection: Upgrade\r\n\
         Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
         Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n",
        server.address
    );
    stream.write_all(handshake.as_bytes()).await.unwrap();
    stream
}

/// A frame as a client sends it (RFC 6455, section 5.2): masked, here with zeros.
fn frame(opcode: u8, payload: &[u8]) -> Vec<u8> {
    let mut bytes = vec![0x80 | opcode];
    match payload.len() {
        length @ 0..=125 => bytes.push(0x80 | u8::try_from(length).unwrap()),
        length => {
            bytes.push(0x80 | 126);
            bytes.extend(u16::try_from(length).unwrap().to_be_bytes());
        }
    }
    bytes.extend([0; 4]);
    bytes.extend(payload);
    bytes
}

#[tokio::test]
async fn a_viewer_that_talks_is_told_why_it_is_closed() {
    let server = Server::start().await;
    let id = server.run_requests(200, "1s").await;
    let mut unmasked = frame(1, b"hello");
    unmasked[1] &= 0x7f;
    for (what, bytes, code) in [
        ("text", frame(1, b"hello"), 1008_u16),
        ("bytes", frame(2, b"hello"), 1008),
        ("a long message", frame(1, &[b'x'; 5_000]), 1009),
        ("text that is not UTF-8", frame(1, b"\xff\xfe"), 1007),
        ("an unmasked frame", unmasked, 1002),
        ("a reserved opcode", frame(3, b""), 1002),
        ("a flood of pings", frame(9, b"x").repeat(500), 1008),
        ("a flood of pongs", frame(10, b"x").repeat(500), 1008),
    ] {
        let mut stream = open_by_hand(&server, &id).await;
        // The server may close before it has taken all of a flood.
        let _ = stream.write_all(&bytes).await;
        let mut heard = Vec::new();
        let closed = timeout(PATIENCE, stream.read_to_end(&mut heard));
        // What came before a reset is what matters.
        let _ = closed.await.unwrap_or_else(|_| panic!("{what}: goes on"));
        assert!(heard.starts_with(b"HTTP/1.1 101"), "{what}");
        let [high, low] = code.to_be_bytes();
        let told = heard
            .windows(3)
            .any(|bytes| bytes[1..] == [high, low] && bytes[0] <= 125);
        assert!(told, "{what}: {:?}", String::from_utf8_lossy(&heard));
    }
    let run = format!("/api/runs/{id}");
    assert_eq!(server.get(&run).await.json()["state"], "running");
    server.send("POST", &format!("{run}/stop"), &[], "").await;
}

#[tokio::test]
async fn viewers_that_stall_delay_neither_the_run_nor_its_record() {
    /// As many streams as an address may have: those that stall, and a few to look on.
    const STREAMS: usize = 24;
    let settings = Settings {
        pace: QUICK,
        limits: Limits {
            streams_per_address: STREAMS,
            spare_loopback: false,
            ..Limits::default()
        },
        ..Settings::local(None)
    };
    let server = Server::set(Config::default(), settings).await;
    let alone = server.run_requests(200, "5ms").await;
    assert_eq!(server.state_at_the_end(&alone).await, "finished");
    let id = server.run_requests(200, "5ms").await;
    let mut stalled = Vec::new();
    for _ in 4..STREAMS {
        stalled.push(open_by_hand(&server, &id).await);
    }
    assert_eq!(server.state_at_the_end(&id).await, "finished");
    let lasted = async |id: &str| {
        let info = server.get(&format!("/api/runs/{id}")).await.json();
        info["now_us"].as_u64().unwrap()
    };
    let (usual, watched) = (lasted(&alone).await, lasted(&id).await);
    // Each of the 200 pauses is a timer on a machine that may be busy; a run that waited for a
    // viewer would wait for seconds.
    assert!(
        watched < usual * 2 + 500_000,
        "{watched} us instead of {usual}"
    );
    // A viewer that was away gets all of it.
    let seen = server.watch(&id, 0).await.events(usize::MAX).await;
    assert_eq!(numbers(&seen), (0..seen.len() as u64).collect::<Vec<_>>());
    assert!(is_verdict(seen.last().unwrap()));
    // Those that stall are dropped: as many others have their places again.
    let began = Instant::now();
    let mut others = Vec::new();
    while others.len() < STREAMS {
        let mut stream = open_by_hand(&server, &id).await;
        let mut answer = [0; 12];
        stream.read_exact(&mut answer).await.unwrap();
        if answer == *b"HTTP/1.1 101" {
            others.push(stream);
        } else {
            assert_eq!(&answer, b"HTTP/1.1 429");
            assert!(
                began.elapsed() < PATIENCE,
                "a stalled viewer keeps its place"
            );
            sleep(Duration::from_millis(50)).await;
        }
    }
    drop(stalled);
}
