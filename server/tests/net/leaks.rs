//! What a run leaves behind when it is over, however it ended: nothing.

use std::{
    collections::BTreeSet,
    fs,
    io::{BufRead, BufReader, Read, Write},
    net::TcpStream,
    path::PathBuf,
    process::{Child, Command, ExitStatus, Stdio},
    time::{Duration, Instant},
};

/// How long the machine may take to do what it must: a bound on waiting, not on speed.
const PATIENCE: Duration = Duration::from_secs(20);

/// A running `linger serve`, ended with the test.
struct Server {
    child: Child,
    address: String,
}

impl Server {
    fn start() -> Self {
        let mut child = Command::new(env!("CARGO_BIN_EXE_linger"))
            .args(["serve", "--listen", "127.0.0.1:0", "--no-record"])
            .stdout(Stdio::piped())
            .spawn()
            .expect("linger starts");
        let stdout = child.stdout.take().expect("its output is piped");
        let address = BufReader::new(stdout)
            .lines()
            .map_while(Result::ok)
            .find_map(|line| {
                Some(
                    line.split_once("http://")?
                        .1
                        .trim_end_matches('/')
                        .to_owned(),
                )
            })
            .expect("it prints its address");
        Self { child, address }
    }

    fn ask(&self, method: &str, path: &str, body: &str) -> serde_json::Value {
        let mut stream = TcpStream::connect(&self.address).expect("the server accepts");
        write!(
            stream,
            "{method} {path} HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n\
             Content-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
            self.address,
            body.len()
        )
        .expect("a request is sent");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).expect("an answer comes");
        let body = answer.split_once("\r\n\r\n").map_or("", |(_, body)| body);
        // A body may come in chunks; the JSON is what stands between its first and last brace.
        match (body.find('{'), body.rfind('}')) {
            (Some(start), Some(end)) => serde_json::from_str(&body[start..=end])
                .unwrap_or_else(|error| panic!("{method} {path}: {error}: {answer}")),
            _ => serde_json::Value::Null,
        }
    }

    /// Starts a run that lasts until it is ended, and waits until its hosts are up.
    fn start_long_run(&self) -> String {
        let run = self.ask(
            "POST",
            "/api/runs",
            r#"{"experiment":"tcp-dead-peer","params":{"keepalive":false,"watch":"1h"}}"#,
        );
        let id = run["id"].as_str().expect("the run has an id").to_owned();
        until("the run's hosts are up and joined", || {
            let holdings = self.holdings();
            let threads = ["wire", "sampler"];
            holdings.namespaces.len() == 3
                && threads
                    .map(str::to_owned)
                    .iter()
                    .all(|name| holdings.threads.contains(name))
        });
        id
    }

    fn holdings(&self) -> Holdings {
        Holdings::of(self.child.id())
    }

    fn signal(&self, name: &str) {
        let sent = Command::new("kill")
            .args(["-s", name, &self.child.id().to_string()])
            .status()
            .expect("kill(1) is there");
        assert!(sent.success());
    }

    fn ended(mut self) -> ExitStatus {
        let mut status = None;
        until("the server ends", || {
            status = self.child.try_wait().expect("a child can be waited for");
            status.is_some()
        });
        status.expect("it ended")
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// What a process holds that belongs to runs.
#[derive(Debug, PartialEq, Eq)]
struct Holdings {
    namespaces: BTreeSet<PathBuf>,
    tun_devices: usize,
    threads: Vec<String>,
}

impl Holdings {
    fn of(pid: u32) -> Self {
        let tasks = entries(&format!("/proc/{pid}/task"));
        let mut threads: Vec<String> = tasks
            .iter()
            .filter_map(|task| fs::read_to_string(task.join("comm")).ok())
            .map(|name| name.trim().to_owned())
            .filter(|name| name.starts_with("host-") || name == "wire" || name == "sampler")
            .collect();
        threads.sort();
        Self {
            namespaces: tasks
                .iter()
                .filter_map(|task| fs::read_link(task.join("ns/net")).ok())
                .collect(),
            tun_devices: entries(&format!("/proc/{pid}/fd"))
                .iter()
                .filter_map(|fd| fs::read_link(fd).ok())
                .filter(|target| target.ends_with("net/tun"))
                .count(),
            threads,
        }
    }
}

fn entries(folder: &str) -> Vec<PathBuf> {
    fs::read_dir(folder)
        .map(|entries| entries.flatten().map(|entry| entry.path()).collect())
        .unwrap_or_default()
}

/// Whether any process of the machine is in one of these namespaces or holds it open.
fn anybody_in(namespaces: &BTreeSet<PathBuf>) -> bool {
    entries("/proc")
        .iter()
        .filter(|process| process.join("task").is_dir())
        .flat_map(|process| {
            let process = process.display();
            let mut links = entries(&format!("{process}/fd"));
            links.extend(
                entries(&format!("{process}/task"))
                    .iter()
                    .map(|task| task.join("ns/net")),
            );
            links
        })
        .filter_map(|link| fs::read_link(link).ok())
        .any(|target| namespaces.contains(&target))
}

/// Waits for something outside this process, which no event tells of.
fn until(what: &str, mut condition: impl FnMut() -> bool) {
    let began = Instant::now();
    while !condition() {
        assert!(began.elapsed() < PATIENCE, "waited in vain until {what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

fn idle(server: &Server) -> Holdings {
    let holdings = server.holdings();
    assert_eq!(holdings.namespaces.len(), 1, "only its own");
    assert_eq!((holdings.tun_devices, holdings.threads.len()), (0, 0));
    holdings
}

#[test]
fn a_run_holds_two_namespaces_and_devices_and_a_stopped_one_holds_none() {
    let server = Server::start();
    let before = idle(&server);
    let run = server.start_long_run();
    let during = server.holdings();
    assert_eq!(during.tun_devices, 2);
    assert_eq!(
        during.threads,
        ["host-client", "host-server", "sampler", "wire"]
    );
    server.ask("POST", &format!("/api/runs/{run}/stop"), "");
    until("the run's hosts are gone", || server.holdings() == before);
}

#[test]
fn a_finished_run_leaves_nothing() {
    let server = Server::start();
    let before = idle(&server);
    let run = server.ask("POST", "/api/runs", r#"{"experiment":"tcp-lifecycle"}"#);
    let path = format!("/api/runs/{}", run["id"].as_str().expect("an id"));
    until("the run is finished", || {
        server.ask("GET", &path, "")["state"] == "finished"
    });
    assert_eq!(server.holdings(), before);
}

#[test]
fn sigterm_ends_a_server_in_the_middle_of_a_run_and_nothing_is_left() {
    let server = Server::start();
    server.start_long_run();
    let mut namespaces = server.holdings().namespaces;
    namespaces.remove(&fs::read_link("/proc/self/ns/net").expect("our own namespace"));
    assert_eq!(namespaces.len(), 2);
    assert!(anybody_in(&namespaces), "the search finds what is there");
    server.signal("TERM");
    let status = server.ended();
    assert!(status.success(), "{status}");
    assert!(!anybody_in(&namespaces));
}

#[test]
fn sigkill_leaves_nothing_either() {
    let server = Server::start();
    server.start_long_run();
    let mut namespaces = server.holdings().namespaces;
    namespaces.remove(&fs::read_link("/proc/self/ns/net").expect("our own namespace"));
    server.signal("KILL");
    server.ended();
    until("nobody is in the namespaces", || !anybody_in(&namespaces));
}
