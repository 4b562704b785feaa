//! Runs that have more to say than memory is meant for: their bounds, and who watches them.

use std::{collections::BTreeMap, path::PathBuf, sync::Arc, time::Duration};

use linger::{
    api::Pace,
    experiments::{Experiment, Script},
    lab::{Lab, Plan},
    runs::Config,
};
use linger_shared::{
    event::{Event, Fact, Mode},
    experiment::{Descriptor, Params},
};
use socket2::SockRef;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpSocket, TcpStream},
    time::timeout,
};

use crate::{
    is_verdict, numbers,
    support::{PATIENCE, Server},
};

/// What the log may hold of a run in memory: its window, and what is on its way to the disk, half of
/// what a run is ended for.
const IN_MEMORY: usize = 16 << 20;

/// A script that makes so many remarks of 2 KB, four a millisecond.
struct Torrent(u64);

impl Experiment for Torrent {
    fn id(&self) -> &'static str {
        "torrent"
    }

    fn descriptor(&self) -> Descriptor {
        Descriptor {
            id: self.id().to_owned(),
            title: "A torrent".to_owned(),
            question: "How much is too much?".to_owned(),
            family: "Tests".to_owned(),
            modes: vec![Mode::Relay],
            explanation: Vec::new(),
            look_for: Vec::new(),
            misconception: String::new(),
            params: Vec::new(),
            presets: Vec::new(),
            claims: Vec::new(),
            references: Vec::new(),
        }
    }

    fn plan(&self, _: &Params) -> Plan {
        Plan::symmetric(0, 60_000_000)
    }

    fn run<'a>(&'a self, lab: &'a mut Lab, _: &'a Params) -> Script<'a> {
        Box::pin(async move {
            // Half of it repeats itself, as events do.
            for number in 0..self.0 {
                let text = format!("{number:0>1000}{}", "-".repeat(1_000));
                lab.remark(&text);
                if number % 4 == 3 {
                    tokio::time::sleep(Duration::from_millis(1)).await;
                }
            }
            Ok(())
        })
    }
}

/// Starts a torrent; gives the run's id.
fn pour(server: &Server, remarks: u64) -> String {
    let torrent = Torrent(remarks);
    let params = torrent.descriptor().resolve(&BTreeMap::new()).unwrap();
    let run = server
        .manager
        .start_own(Arc::new(torrent), params, None, None);
    run.unwrap().id
}

/// A folder for recordings, removed at the end.
struct Scratch(PathBuf);

impl Scratch {
    fn new(name: &str) -> Self {
        let name = format!("linger-{name}-{}", std::process::id());
        Self(std::env::temp_dir().join(name))
    }

    fn config(&self) -> Config {
        Config {
            data: Some(self.0.clone()),
            ..Config::default()
        }
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn reason(events: &[Event]) -> &str {
    let reasons = events.iter().filter_map(|event| match &event.fact {
        Fact::Stopped { reason } => Some(reason.as_str()),
        _ => None,
    });
    let reasons: Vec<&str> = reasons.collect();
    assert_eq!(reasons.len(), 1, "a run is stopped once");
    reasons[0]
}

#[tokio::test]
async fn a_run_that_reaches_a_bound_of_its_record_is_ended_and_says_why() {
    let many = Config {
        event_limit: 300,
        ..Config::default()
    };
    let large = Config {
        byte_limit: 1 << 20,
        ..Config::default()
    };
    for (config, said) in [
        (many, "it reached the limit of 300 events"),
        (large, "it reached the limit of 1048576 bytes of events"),
    ] {
        let server = Server::with(config, Pace::default()).await;
        let id = pour(&server, 1_000_000);
        let events = server.watch(&id, 0).await.events(usize::MAX).await;
        assert_eq!(reason(&events), said);
        assert!(is_verdict(events.last().unwrap()));
        assert_eq!(
            numbers(&events),
            (0..events.len() as u64).collect::<Vec<_>>()
        );
        // It is found out at the recorder's next turn; what comes meanwhile is recorded, too.
        assert!((300..30_000).contains(&events.len()), "{}", events.len());
        assert_eq!(server.state_at_the_end(&id).await, "cancelled");
    }
}

#[tokio::test]
async fn a_viewer_that_was_away_reads_on_from_the_disk_without_a_gap() {
    let scratch = Scratch::new("away");
    let server = Server::with(scratch.config(), Pace::default()).await;
    let id = pour(&server, 12_000);
    let mut first = server.watch(&id, 0).await;
    let mut seen = first.events(100).await;
    first.close().await;
    // Away, while more goes by than memory keeps.
    let log = server.manager.log(&id).unwrap().unwrap();
    let mut progress = log.subscribe();
    let gone = progress.wait_for(|progress| progress.next > 10_000);
    timeout(PATIENCE, gone).await.unwrap().unwrap();
    assert!(log.held() < IN_MEMORY, "{} bytes", log.held());
    assert!(log.bytes() > 20_000_000, "{} bytes", log.bytes());
    let mut again = server.watch(&id, seen.len() as u64).await;
    seen.extend(again.events(usize::MAX).await);
    assert!(seen.len() > 12_000);
    assert_eq!(numbers(&seen), (0..seen.len() as u64).collect::<Vec<_>>());
    assert!(is_verdict(seen.last().unwrap()));
    // And what is read after the end is the same.
    let recorded = server.watch(&id, 0).await.events(usize::MAX).await;
    assert!(recorded == seen, "the record differs from what was seen");
}

/// Opens a stream by hand, and reads nothing of it.
async fn stall(server: &Server, id: &str) -> TcpStream {
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

#[tokio::test]
async fn viewers_that_stall_before_a_torrent_are_dropped_while_it_goes_on_in_bounded_memory() {
    let quick = Pace {
        alive: Duration::from_millis(50),
        ping: Duration::from_millis(100),
        pong: Duration::from_millis(500),
    };
    let scratch = Scratch::new("stalled");
    let server = Server::with(scratch.config(), quick).await;
    let id = pour(&server, 12_000);
    let mut stalled = Vec::new();
    for _ in 0..10 {
        stalled.push(stall(&server, &id).await);
    }
    let log = server.manager.log(&id).unwrap().unwrap();
    let mut progress = log.subscribe();
    let mut most = 0;
    while !progress.borrow_and_update().state.is_over() {
        most = most.max(log.held());
        timeout(PATIENCE, progress.changed())
            .await
            .unwrap()
            .unwrap();
    }
    assert!(most < IN_MEMORY, "{most} bytes");
    assert!(log.bytes() > 24_000_000, "{} bytes", log.bytes());
    assert_eq!(server.state_at_the_end(&id).await, "finished");
    for mut stream in stalled {
        // What its kernel had been given comes quickly through a larger window.
        SockRef::from(&stream)
            .set_recv_buffer_size(1 << 20)
            .unwrap();
        let mut heard = Vec::new();
        // The connection's end is what matters, be it in order or by a reset.
        let closed = timeout(PATIENCE, stream.read_to_end(&mut heard));
        let _ = closed.await.expect("a stalled viewer is still served");
        assert!(heard.starts_with(b"HTTP/1.1 101"));
        let end = br#"{"message":"end""#;
        let told = heard.windows(end.len()).any(|bytes| bytes == end);
        assert!(!told, "it was given all {} bytes", heard.len());
    }
    let seen = server.watch(&id, 0).await.events(usize::MAX).await;
    assert_eq!(numbers(&seen), (0..seen.len() as u64).collect::<Vec<_>>());
}
