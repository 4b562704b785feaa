//! Thousands of connections at once, and bytes at random: the server as a process of its own, so
//! that its memory and descriptors can be counted, and what it says read.

use std::{
    fs,
    io::{BufRead, BufReader, Read, Write},
    net::{SocketAddr, TcpStream},
    path::PathBuf,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

/// A bound on waiting, not on speed.
const PATIENCE: Duration = Duration::from_secs(30);

/// A running `linger serve`, ended with the test, and its recordings with it.
struct Process {
    child: Child,
    address: SocketAddr,
    data: PathBuf,
}

impl Process {
    /// Starts one whose recordings are in a folder of that name.
    fn start(name: &str) -> Self {
        let data = std::env::temp_dir().join(format!("linger-{name}-{}", std::process::id()));
        let mut child = Command::new(env!("CARGO_BIN_EXE_linger"))
            .args(["serve", "--listen", "127.0.0.1:0", "--data"])
            .arg(&data)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.as_mut().unwrap())
            .read_line(&mut line)
            .unwrap();
        let address = line.split_once("http://").unwrap().1;
        let address = address.trim_end().trim_end_matches('/').parse().unwrap();
        Self {
            child,
            address,
            data,
        }
    }

    /// How many descriptors it has open.
    fn descriptors(&self) -> usize {
        let folder = format!("/proc/{}/fd", self.child.id());
        fs::read_dir(folder).unwrap().count()
    }

    /// Its resident memory, in KiB.
    fn resident(&self) -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap();
        let line = status.lines().find(|line| line.starts_with("VmRSS:"));
        let figure = line.unwrap().split_whitespace().nth(1).unwrap();
        figure.parse().unwrap()
    }

    /// Asks as an honest client does; gives the time that it took.
    fn ask(&self) -> Duration {
        let began = Instant::now();
        let mut stream = TcpStream::connect(self.address).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let request = format!(
            "GET /api/experiments HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n\r\n",
            self.address
        );
        stream.write_all(request.as_bytes()).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
        began.elapsed()
    }

    /// Ends it in good order; gives what it said on standard error.
    fn end(mut self) -> String {
        let pid = self.child.id().to_string();
        assert!(Command::new("kill").arg(pid).status().unwrap().success());
        let mut said = String::new();
        let stderr = self.child.stderr.as_mut().unwrap();
        stderr.read_to_string(&mut said).unwrap();
        assert!(self.child.wait().unwrap().success(), "{said}");
        said
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = fs::remove_dir_all(&self.data);
    }
}

fn until(what: &str, mut condition: impl FnMut() -> bool) {
    let began = Instant::now();
    while !condition() {
        assert!(began.elapsed() < PATIENCE, "waited in vain until {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// The numbers of SplitMix64: the same bytes in every run of a test.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, bound: usize) -> usize {
        usize::try_from(self.next() % bound as u64).unwrap()
    }
}

/// What the recordings' four readers open when they are first needed: each the database, its log
/// and what SQLite keeps beside them.
const READERS: usize = 4 * 3;

/// How many crowds come one after another.
const ROUNDS: usize = 12;

#[test]
fn three_thousand_connections_hold_nobody_up_and_leave_nothing() {
    // Each connection has a descriptor in this process, too.
    let most = rlimit::increase_nofile_limit(u64::MAX).unwrap();
    assert!(
        most >= 3_500,
        "this test needs 3,500 descriptors, and may have {most}"
    );
    let server = Process::start("crowd");
    server.ask();
    let descriptors = server.descriptors();
    let mut after = Vec::new();
    for _ in 0..ROUNDS {
        let mut crowd = Vec::new();
        for number in 0..3_000 {
            let mut stream = TcpStream::connect(server.address).unwrap();
            // Some say nothing, some begin to ask, some ask and do not read.
            match number % 3 {
                0 => {}
                1 => stream.write_all(b"GET / HTTP/1.1\r\nHost: ").unwrap(),
                _ => {
                    let request =
                        format!("GET /api/runs HTTP/1.1\r\nHost: {}\r\n\r\n", server.address);
                    stream.write_all(request.as_bytes()).unwrap();
                }
            }
            crowd.push(stream);
        }
        until("all are accepted", || {
            server.descriptors() >= descriptors + 2_900
        });
        let took = server.ask();
        // A fraction of this on an idle machine; a server that is held up would take 20 s.
        assert!(took < Duration::from_secs(5), "{took:?}");
        drop(crowd);
        until("all descriptors are back", || {
            server.descriptors() <= descriptors + READERS
        });
        after.push(server.resident());
    }
    // The allocator keeps what the first crowds needed, and the others find it there: a server that
    // forgot 3,000 connections each time would grow by a sixth in these rounds.
    let (settled, last) = (after[ROUNDS - 5], after[ROUNDS - 1]);
    assert!(last <= settled + settled / 12, "{after:?} KiB");
    let said = server.end();
    assert!(!said.contains("panicked"), "{said}");
}

#[test]
fn random_bytes_never_end_the_server() {
    let server = Process::start("bytes");
    let valid = format!(
        "POST /api/runs?x=%20 HTTP/1.1\r\nHost: {0}\r\nOrigin: http://{0}\r\n\
         Content-Type: application/json\r\nCookie: a=b\r\nContent-Length: 30\r\n\r\n\
         {{\"experiment\":\"tcp-lifecycles\"}}GET /api/runs/a/events HTTP/1.1\r\nHost: {0}\r\n\
         Upgrade: websocket\r\nConnection: upgrade\r\n\r\n",
        server.address
    )
    .into_bytes();
    let mut random = Random(20_261_121);
    let mut open = Vec::new();
    for round in 0..3_000 {
        let bytes: Vec<u8> = if round % 3 == 0 {
            let length = random.below(600);
            (0..length)
                .map(|_| random.next().to_le_bytes()[0])
                .collect()
        } else {
            // A request with a few bytes changed, taken out or cut off.
            let mut bytes = valid.clone();
            for _ in 0..=random.below(6) {
                if bytes.len() < 2 {
                    break;
                }
                let place = random.below(bytes.len());
                match random.below(3) {
                    0 => bytes[place] = random.next().to_le_bytes()[0],
                    1 => drop(bytes.remove(place)),
                    _ => bytes.truncate(place.max(1)),
                }
            }
            bytes
        };
        let mut stream = TcpStream::connect(server.address).unwrap();
        // The server may have closed already.
        let _ = stream.write_all(&bytes);
        open.push(stream);
        if open.len() == 50 {
            open.clear();
        }
        if round % 500 == 0 {
            server.ask();
        }
    }
    drop(open);
    server.ask();
    let said = server.end();
    assert!(!said.contains("panicked"), "{said}");
}
