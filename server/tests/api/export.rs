//! Runs as files: the same bytes as the command line writes, and what an export may take up.

use std::{
    collections::BTreeMap,
    env, fs,
    path::{Path, PathBuf},
    process::{self, Command, Output},
    sync::Arc,
    time::{Duration, UNIX_EPOCH},
};

use hyper::{StatusCode, header};
use linger::{
    api::Limits,
    export::Format,
    runs::{
        Config,
        store::{Batch, End, Kept, NewRun, SqliteStore, Store},
    },
};
use linger_shared::{
    event::{Event, Fact, Header, HostInfo, HostName, Mode, Observer, Packet},
    protocol::RunState,
};
use serde_json::json;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpSocket, TcpStream},
    time::{Instant, sleep, timeout},
};

use crate::{
    numbers,
    support::{PATIENCE, Server},
};

/// A folder of recordings that goes with the test.
struct Recordings(PathBuf);

impl Recordings {
    fn new(name: &str) -> Self {
        let folder = env::temp_dir().join(format!("linger-export-{name}-{}", process::id()));
        fs::create_dir_all(&folder).unwrap();
        Self(folder)
    }

    async fn server(&self) -> Server {
        let config = Config {
            data: Some(self.0.clone()),
            ..Config::default()
        };
        Server::with(config, linger::api::Pace::default()).await
    }

    /// Runs requests over the relay until all of it is on the disk, which the store promises within
    /// 100 ms of the end.
    async fn of_requests(&self, server: &Server, requests: u32) -> String {
        let id = server.run_requests(requests, "1ms").await;
        assert_eq!(server.state_at_the_end(&id).await, "finished");
        let store = SqliteStore::open_existing(&self.0).unwrap().unwrap();
        let began = Instant::now();
        while !store
            .entry(&id)
            .unwrap()
            .is_some_and(|entry| entry.state.is_over())
        {
            assert!(began.elapsed() < PATIENCE, "the end is not recorded");
            sleep(Duration::from_millis(5)).await;
        }
        id
    }

    /// `linger runs export ID --FORMAT -`, away from any terminal.
    fn exported(&self, id: &str, format: Format) -> Output {
        Command::new(env!("CARGO_BIN_EXE_linger"))
            .arg("runs")
            .arg("--data")
            .arg(&self.0)
            .args(["export", id, &format!("--{}", format.name()), "-"])
            .env_remove("COLUMNS")
            .output()
            .unwrap()
    }
}

impl Drop for Recordings {
    fn drop(&mut self) {
        // What another process still holds open is the system's to clean up.
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn path(id: &str, format: &str) -> String {
    format!("/api/runs/{id}/export/{format}")
}

/// A run as it is recorded where there are packets: so many of 1,440 bytes from the client, 1 ms
/// apart, each with its arrival.
async fn record(folder: &Path, id: &str, packets: u64) {
    let host = |name, address: &str| HostInfo {
        name,
        address: address.to_owned(),
        sysctls: BTreeMap::new(),
    };
    let header = Header {
        protocol_version: 1,
        run: id.to_owned(),
        experiment: "test".to_owned(),
        title: "Packets".to_owned(),
        params: BTreeMap::new(),
        seed: 7,
        mode: Mode::Packets,
        // Old recordings are removed.
        started_unix_ms: u64::try_from(UNIX_EPOCH.elapsed().unwrap().as_millis()).unwrap(),
        kernel: "6.1".to_owned(),
        hosts: vec![
            host(HostName::Client, "192.0.2.1"),
            host(HostName::Server, "198.51.100.1"),
        ],
        links: Vec::new(),
        versions: BTreeMap::new(),
    };
    let store = SqliteStore::open(folder).unwrap();
    let id: Arc<str> = id.into();
    let mut kept = store.create(NewRun {
        id: Arc::clone(&id),
        header,
    });
    let facts = |number: u64| {
        let packet = Packet {
            id: number,
            from: HostName::Client,
            to: HostName::Server,
            length: 1_440,
            tcp: None,
            summary: "1400 bytes".to_owned(),
            messages: Vec::new(),
            bytes: format!("45{:02x}", number % 256).repeat(720),
            rewritten: None,
            origin: None,
        };
        let departed = Fact::PacketDeparted(packet);
        [departed, Fact::PacketArrived { id: number }]
    };
    let event = |(seq, fact)| Event {
        seq,
        at_us: seq * 500,
        seen_by: Observer::Wire,
        fact,
    };
    let events = (0..).zip((0..packets).flat_map(facts)).map(event);
    let lines: Vec<Arc<str>> = events
        .map(|event| serde_json::to_string(&event).unwrap().into())
        .collect();
    let last_us = packets * 1_000;
    for (first, lines) in (0..).step_by(500).zip(lines.chunks(500)) {
        let lines = lines.to_vec();
        store.append(
            &id,
            Batch {
                first,
                lines,
                last_us,
            },
        );
    }
    let state = RunState::Finished;
    store.finish(&id, End { state, last_us });
    let kept = kept.wait_for(Kept::is_settled).await.unwrap().clone();
    assert_eq!((kept.next, kept.broken), (packets * 2, None));
}

#[tokio::test]
async fn a_file_is_what_the_command_line_writes() {
    let recordings = Recordings::new("same");
    record(&recordings.0, "packets", 400).await;
    let server = recordings.server().await;
    let relayed = recordings.of_requests(&server, 3).await;
    for (id, format) in ["packets", relayed.as_str()]
        .into_iter()
        .flat_map(|id| Format::ALL.map(|format| (id, format)))
        .filter(|(id, format)| *id == "packets" || *format != Format::Pcapng)
    {
        let reply = server.get(&path(id, format.name())).await;
        let case = format!("{id} as {}", format.name());
        assert_eq!(reply.status, StatusCode::OK, "{case}: {}", reply.body);
        assert_eq!(reply.headers[header::CONTENT_TYPE], format.media_type());
        let name = format!("attachment; filename=\"{id}.{}\"", format.extension());
        assert_eq!(reply.headers[header::CONTENT_DISPOSITION], name, "{case}");
        assert_eq!(reply.headers[header::CACHE_CONTROL], "no-store", "{case}");
        let told = recordings.exported(id, format);
        assert!(told.status.success(), "{case}: {told:?}");
        assert!(reply.bytes == told.stdout, "{case} differs");
        assert!(reply.bytes.len() > 500, "{case} is empty");
    }
}

#[tokio::test]
async fn a_relay_has_no_packets_for_a_capture_and_both_ways_say_so_alike() {
    let recordings = Recordings::new("relay");
    let server = recordings.server().await;
    let id = recordings.of_requests(&server, 1).await;
    let reply = server.get(&path(&id, "pcapng")).await;
    assert_eq!(reply.status, StatusCode::CONFLICT);
    let problem = reply.json();
    assert_eq!(problem["type"], "/problems/no-packets");
    let detail = problem["detail"].as_str().unwrap();
    for word in [id.as_str(), "relay", "linger doctor", "jsonl"] {
        assert!(detail.contains(word), "{detail}");
    }
    assert!(!reply.headers.contains_key(header::CONTENT_DISPOSITION));
    let told = recordings.exported(&id, Format::Pcapng);
    assert_eq!(told.status.code(), Some(1));
    let stderr = String::from_utf8(told.stderr).unwrap();
    assert!(stderr.contains(detail), "{stderr}");
}

#[tokio::test]
async fn what_is_not_there_is_named_beside_what_is() {
    let server = Server::start().await;
    let id = server.run_requests(1, "0s").await;
    for (path, kind, details) in [
        (path("none", "jsonl"), "unknown-run", &["none"][..]),
        (
            path(&id, "gif"),
            "unknown-format",
            &["gif", "pcapng", "jsonl", "svg", "text", "mermaid"],
        ),
        (path(&id, "PCAPNG"), "unknown-format", &["pcapng"]),
        (path(&id, ""), "not-found", &["export"]),
        (path(&id, "svg/x"), "not-found", &["svg/x"]),
    ] {
        let reply = server.get(&path).await;
        assert_eq!(reply.status, StatusCode::NOT_FOUND, "{path}");
        let problem = reply.json();
        assert_eq!(problem["type"], format!("/problems/{kind}"), "{path}");
        for detail in details {
            let told = problem["detail"].as_str().unwrap();
            assert!(told.contains(detail), "{path}: {told}");
        }
    }
}

#[tokio::test]
async fn a_run_that_waits_for_its_turn_cannot_be_exported_yet() {
    let config = Config {
        concurrent: 1,
        ..Config::default()
    };
    let server = Server::with(config, linger::api::Pace::default()).await;
    let first = server.run_requests(200, "1s").await;
    let second = server.run_requests(1, "0s").await;
    for format in Format::ALL {
        let reply = server.get(&path(&second, format.name())).await;
        assert_eq!(reply.status, StatusCode::CONFLICT, "{}", format.name());
        assert_eq!(reply.json()["type"], "/problems/not-begun");
    }
    let stop = format!("/api/runs/{first}/stop");
    server.send("POST", &stop, &[], "").await;
}

#[tokio::test]
async fn a_run_that_goes_on_is_exported_as_far_as_it_is() {
    let server = Server::start().await;
    let id = server.run_requests(200, "1s").await;
    let seen = server.watch(&id, 0).await.events(8).await;
    let reply = server.get(&path(&id, "jsonl")).await;
    assert_eq!(reply.status, StatusCode::OK);
    let lines = reply.lines();
    assert_eq!(lines[0]["kind"], "header");
    let events: Vec<Event> = lines[1..]
        .iter()
        .map(|line| serde_json::from_value(line.clone()).unwrap())
        .collect();
    assert_eq!(events[..seen.len()], seen);
    assert_eq!(
        numbers(&events),
        (0..events.len() as u64).collect::<Vec<_>>()
    );
    assert!(!events.iter().any(crate::is_verdict));
    let picture = server.get(&path(&id, "svg")).await;
    let document = roxmltree::Document::parse(&picture.body).unwrap();
    assert_eq!(document.root_element().tag_name().name(), "svg");
    for (format, begins) in [
        ("mermaid", "sequenceDiagram\n"),
        ("text", "http-sequential"),
    ] {
        let text = server.get(&path(&id, format)).await;
        assert_eq!(text.status, StatusCode::OK, "{format}");
        assert!(text.body.contains(begins), "{format}: {}", text.body);
    }
    let info = server.get(&format!("/api/runs/{id}")).await.json();
    assert_eq!(info["state"], "running", "an export ends no run");
    let stop = format!("/api/runs/{id}/stop");
    server.send("POST", &stop, &[], "").await;
}

/// Asks for an export, reads the head of the answer, and takes no more.
async fn stalled(address: std::net::SocketAddr, path: &str) -> TcpStream {
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_recv_buffer_size(4 * 1024).unwrap();
    let mut stream = socket.connect(address).await.unwrap();
    let request = format!("GET {path} HTTP/1.1\r\nHost: {address}\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut head = [0; 15];
    let read = timeout(PATIENCE, stream.read_exact(&mut head));
    read.await.expect("no answer comes").unwrap();
    assert_eq!(&head, b"HTTP/1.1 200 OK");
    stream
}

/// More than what the sockets of a connection hold.
const MANY: u64 = 8_000;

#[tokio::test]
async fn a_client_that_takes_nothing_is_given_up_and_its_place_comes_back() {
    let recordings = Recordings::new("stalled");
    record(&recordings.0, "large", MANY).await;
    let limits = Limits {
        streams_per_address: 1,
        stall_time: Duration::from_millis(300),
        spare_loopback: false,
        ..Limits::default()
    };
    let config = Config {
        data: Some(recordings.0.clone()),
        ..Config::default()
    };
    let settings = linger::api::Settings {
        limits,
        ..linger::api::Settings::local(None)
    };
    let server = Server::set(config, settings).await;
    let mut stream = stalled(server.address, &path("large", "pcapng")).await;
    let refused = server.get(&path("large", "jsonl")).await;
    assert_eq!(refused.status, StatusCode::TOO_MANY_REQUESTS);
    assert_eq!(refused.json()["type"], "/problems/too-many-streams");
    let began = Instant::now();
    while server.get(&path("large", "mermaid")).await.status != StatusCode::OK {
        assert!(began.elapsed() < PATIENCE, "it keeps its place");
        sleep(Duration::from_millis(20)).await;
    }
    // What the sockets held is all that there is, and no end of a body.
    let mut heard = Vec::new();
    let read = timeout(PATIENCE, stream.read_to_end(&mut heard));
    let _ = read.await.expect("the connection is kept open");
    assert!(heard.len() < MANY as usize * 1_440, "{}", heard.len());
    assert!(!heard.ends_with(b"\r\n0\r\n\r\n"));
}

#[tokio::test]
async fn a_server_ends_although_a_client_takes_nothing_of_its_export() {
    let recordings = Recordings::new("ends");
    record(&recordings.0, "large", MANY).await;
    let mut server = recordings.server().await;
    let _stream = stalled(server.address, &path("large", "pcapng")).await;
    server.ask_to_end();
    server.ended().await;
}

#[tokio::test]
async fn a_run_that_is_deleted_while_it_is_sent_ends_the_connection_without_an_end() {
    let recordings = Recordings::new("deleted");
    record(&recordings.0, "large", MANY).await;
    let server = recordings.server().await;
    let mut stream = stalled(server.address, &path("large", "jsonl")).await;
    let deleted = server.send("DELETE", "/api/runs/large", &[], "").await;
    assert_eq!(deleted.status, StatusCode::NO_CONTENT, "{}", deleted.body);
    let mut heard = Vec::new();
    let read = timeout(PATIENCE, stream.read_to_end(&mut heard));
    let _ = read.await.expect("the connection is kept open");
    assert!(!heard.ends_with(b"\r\n0\r\n\r\n"), "{}", heard.len());
    let gone = server.get(&path("large", "jsonl")).await;
    assert_eq!(gone.json()["type"], "/problems/unknown-run");
}

/// What a process takes up, by its own process alone.
#[cfg(target_os = "linux")]
mod memory {
    use std::{
        io::{BufRead, BufReader},
        net::SocketAddr,
        process::{Child, Stdio},
    };

    use super::*;

    /// How many clients stall.
    const CLIENTS: usize = 48;

    /// A started `linger serve`, killed when dropped.
    struct Serving(Child);

    impl Drop for Serving {
        fn drop(&mut self) {
            let _ = self.0.kill();
            let _ = self.0.wait();
        }
    }

    impl Serving {
        /// A figure of `/proc/PID/status` (proc(5)): kilobytes for memory.
        fn figure(&self, name: &str) -> usize {
            let status = fs::read_to_string(format!("/proc/{}/status", self.0.id())).unwrap();
            let line = status.lines().find(|line| line.starts_with(name)).unwrap();
            line.split_whitespace().nth(1).unwrap().parse().unwrap()
        }
    }

    #[tokio::test]
    async fn clients_that_take_nothing_hold_neither_threads_nor_the_run_in_memory() {
        let recordings = Recordings::new("memory");
        record(&recordings.0, "large", MANY).await;
        let mut child = Command::new(env!("CARGO_BIN_EXE_linger"))
            .args(["serve", "--listen", "127.0.0.1:0", "--data"])
            .arg(&recordings.0)
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        let mut stdout = BufReader::new(child.stdout.take().unwrap());
        stdout.read_line(&mut line).unwrap();
        let serving = Serving(child);
        let address = line.trim_start_matches("Linger is at http://").trim_end();
        let address: SocketAddr = address.trim_end_matches('/').parse().unwrap();

        let whole = async || {
            let mut stream = TcpStream::connect(address).await.unwrap();
            let request = format!(
                "GET {} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n",
                path("large", "pcapng")
            );
            stream.write_all(request.as_bytes()).await.unwrap();
            let mut heard = Vec::new();
            let read = timeout(PATIENCE, stream.read_to_end(&mut heard));
            read.await.expect("the export has no end").unwrap();
            assert!(heard.ends_with(b"\r\n0\r\n\r\n"));
            assert!(heard.len() > 2 * MANY as usize * 1_440);
        };
        // What one export takes up, with what the process takes up for good.
        whole().await;
        let (memory, threads) = (serving.figure("VmHWM:"), serving.figure("Threads:"));
        let mut streams = Vec::new();
        for client in 0..CLIENTS {
            let format = ["pcapng", "jsonl", "text"][client % 3];
            streams.push(stalled(address, &path("large", format)).await);
        }
        // Nobody waits for those who stall.
        whole().await;
        let more = serving.figure("VmHWM:").saturating_sub(memory);
        // A tenth of what the run would take up in the memory of all of them.
        let bound = CLIENTS * MANY as usize * 1_440 / 1_024 / 10;
        assert!(more < bound, "{more} KiB more, bound {bound} KiB");
        let more = serving.figure("Threads:").saturating_sub(threads);
        assert!(more < CLIENTS / 2, "{more} threads more");
        drop(streams);
    }
}

#[tokio::test]
async fn an_export_is_a_get_and_nothing_else() {
    let server = Server::start().await;
    let id = server.run_requests(1, "0s").await;
    for method in ["POST", "PUT", "DELETE"] {
        let reply = server
            .send(method, &path(&id, "jsonl"), &[], &json!({}).to_string())
            .await;
        assert_eq!(reply.status, StatusCode::METHOD_NOT_ALLOWED, "{method}");
    }
}
