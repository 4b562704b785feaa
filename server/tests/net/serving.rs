//! A running `linger serve`, what it answers, and what it holds.

use std::{
    collections::BTreeSet,
    fs,
    io::{BufRead, BufReader, Read, Write},
    net::TcpStream,
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    sync::atomic::{AtomicU64, Ordering},
    time::{Duration, Instant},
};

use serde_json::Value;

/// How long the machine may take to do what it must: a bound on waiting, not on speed.
const PATIENCE: Duration = Duration::from_secs(20);

/// A running `linger serve`, ended with the test.
pub(crate) struct Server {
    child: Child,
    pub(crate) address: String,
}

impl Server {
    /// Starts one on a free port; `arguments` say where and what it records, besides.
    pub(crate) fn start(arguments: &[&str]) -> Self {
        Self::start_with(&[], arguments)
    }

    /// As [`Server::start`], with these variables in its environment.
    pub(crate) fn start_with(variables: &[(&str, &str)], arguments: &[&str]) -> Self {
        let mut child = Command::new(env!("CARGO_BIN_EXE_linger"))
            .args(["serve", "--listen", "127.0.0.1:0"])
            .args(arguments)
            .envs(variables.iter().copied())
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

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// The status and the body that a request is answered with.
    pub(crate) fn exchange(&self, method: &str, path: &str, body: &str) -> (u16, String) {
        let mut stream = TcpStream::connect(&self.address).expect("the server accepts");
        // HTTP/1.0 knows no chunks: the body ends with the connection.
        write!(
            stream,
            "{method} {path} HTTP/1.0\r\nHost: {}\r\nContent-Type: application/json\r\n\
             Content-Length: {}\r\n\r\n{body}",
            self.address,
            body.len()
        )
        .expect("a request is sent");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).expect("an answer comes");
        let (head, body) = answer.split_once("\r\n\r\n").expect("an answer has a head");
        let status = head.split(' ').nth(1).and_then(|code| code.parse().ok());
        (status.expect("a status"), body.to_owned())
    }

    /// The JSON that a request is answered with; null where there is none.
    pub(crate) fn ask(&self, method: &str, path: &str, body: &str) -> Value {
        let (_, body) = self.exchange(method, path, body);
        match body.as_str() {
            "" => Value::Null,
            body => serde_json::from_str(body)
                .unwrap_or_else(|error| panic!("{method} {path}: {error}: {body}")),
        }
    }

    /// Starts a run; gives its id.
    pub(crate) fn run(&self, request: &Value) -> String {
        let run = self.ask("POST", "/api/runs", &request.to_string());
        run["id"]
            .as_str()
            .unwrap_or_else(|| panic!("{run}"))
            .to_owned()
    }

    pub(crate) fn holdings(&self) -> Holdings {
        Holdings::of(self.pid())
    }

    pub(crate) fn signal(&self, name: &str) {
        let sent = Command::new("kill")
            .args(["-s", name, &self.pid().to_string()])
            .status()
            .expect("kill(1) is there");
        assert!(sent.success());
    }

    /// Kills it; gives the moment just before.
    pub(crate) fn kill(mut self) -> Instant {
        let moment = Instant::now();
        self.child.kill().expect("a child can be killed");
        self.child.wait().expect("a child can be waited for");
        moment
    }

    pub(crate) fn ended(mut self) -> ExitStatus {
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
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Holdings {
    pub(crate) namespaces: BTreeSet<PathBuf>,
    pub(crate) tun_devices: usize,
    pub(crate) threads: Vec<String>,
}

impl Holdings {
    pub(crate) fn of(pid: u32) -> Self {
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

/// The paths in a folder; none where it is gone.
pub(crate) fn entries(folder: &str) -> Vec<PathBuf> {
    fs::read_dir(folder)
        .map(|entries| entries.flatten().map(|entry| entry.path()).collect())
        .unwrap_or_default()
}

/// Waits for something outside this process, which no event tells of.
pub(crate) fn until(what: &str, mut condition: impl FnMut() -> bool) {
    let began = Instant::now();
    while !condition() {
        assert!(began.elapsed() < PATIENCE, "waited in vain until {what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// A folder of a test's own, removed at the end.
pub(crate) struct Scratch(PathBuf);

impl Scratch {
    pub(crate) fn new(name: &str) -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let name = format!("linger-{name}-{}-{number}", std::process::id());
        Self(std::env::temp_dir().join(name))
    }

    pub(crate) fn path(&self) -> &Path {
        &self.0
    }

    /// The path as an argument.
    pub(crate) fn text(&self) -> &str {
        self.0.to_str().expect("the path is text")
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// The numbers of SplitMix64.
pub(crate) struct Random(pub(crate) u64);

impl Random {
    pub(crate) fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % bound
    }
}
