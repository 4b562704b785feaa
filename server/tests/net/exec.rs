//! `linger exec`: curl, a Node.js program and whatever else, on the hosts of a run.
//!
//! Needs `curl` and `node` on PATH; `cargo xtask test net` sees to that.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    io::{BufRead, BufReader},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use linger_shared::event::{Event, Fact, HostName, OutputStream, Packet, ProcessState, Verdict};

/// How long the machine may take to do what it must: a bound on waiting, not on speed.
const PATIENCE: Duration = Duration::from_secs(20);

/// Sends back what it gets, on port 7654.
const ECHO: &str = concat!(
    env!("CARGO_BIN_EXE_linger"),
    " endpoint tcp-echo --port 7654"
);

/// A relay from its own port 7654 to the server's, as a program would write it.
const RELAY: &str = r#"node -e '
const net = require("net");
net.createServer((near) => {
  const far = net.connect(7654, "server");
  near.pipe(far).pipe(near);
}).listen(7654);'"#;

/// Says hello to a host, waits for the echo, and ends with status 3.
fn hello(host: &str) -> String {
    format!(
        r#"node -e '
const socket = require("net").connect(7654, "{host}", () => socket.write("hello"));
socket.on("data", (data) => {{ console.log("heard " + data); socket.end(); }});
socket.on("close", () => process.exit(3));'"#
    )
}

struct Exec {
    status: Option<i32>,
    events: Vec<Event>,
    stderr: String,
}

fn exec(arguments: &[&str]) -> Exec {
    let output = Command::new(env!("CARGO_BIN_EXE_linger"))
        .args(["exec", "--no-record", "--format", "jsonl"])
        .args(arguments)
        .stdin(Stdio::null())
        .output()
        .expect("linger starts");
    Exec {
        status: output.status.code(),
        // The first line is the header.
        events: String::from_utf8_lossy(&output.stdout)
            .lines()
            .skip(1)
            .map(|line| serde_json::from_str(line).expect("an event"))
            .collect(),
        stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
    }
}

impl Exec {
    fn verdict(&self) -> &Verdict {
        match self.events.last().map(|event| &event.fact) {
            Some(Fact::Verdict(verdict)) => verdict,
            other => panic!("the last event is no verdict: {other:?}\n{}", self.stderr),
        }
    }

    fn output(&self, wanted: OutputStream) -> Vec<&str> {
        self.events
            .iter()
            .filter_map(|event| match &event.fact {
                Fact::Output { stream, text } if *stream == wanted => Some(text.as_str()),
                _ => None,
            })
            .collect()
    }

    fn packets<T>(&self, of: impl Fn(&Packet) -> T) -> Vec<T> {
        self.events
            .iter()
            .filter_map(|event| match &event.fact {
                Fact::PacketDeparted(packet) => Some(of(packet)),
                _ => None,
            })
            .collect()
    }

    /// The pairs of hosts between which connections were opened.
    fn opened(&self) -> Vec<(HostName, HostName)> {
        self.events
            .iter()
            .filter_map(|event| match &event.fact {
                Fact::PacketDeparted(packet) if packet.summary == "SYN" => {
                    Some((packet.from, packet.to))
                }
                _ => None,
            })
            .collect()
    }
}

/// Answers every request after so many milliseconds, on port 80, as the last of its connection.
fn web(after: u32) -> String {
    format!(
        r#"exec node -e '
require("http").createServer((request, response) => setTimeout(() => {{
  response.setHeader("Connection", "close");
  response.end("hello from " + request.headers.host);
}}, {after})).listen(80);'"#
    )
}

#[test]
fn curl_fetches_a_page_from_a_server_by_its_name() {
    let run = exec(&["--server", &web(0), "--client", "curl -sS http://server/"]);
    assert_eq!(run.status, Some(0), "{}", run.stderr);
    let printed = run.output(OutputStream::Stdout);
    assert!(printed.contains(&"hello from server"), "{printed:?}");
    assert_eq!(run.opened(), [(HostName::Client, HostName::Server)]);
    assert_eq!(run.verdict().how, "fin");
    let summaries = run.packets(|packet| packet.summary.clone());
    for words in ["GET / HTTP/1.1", "HTTP/1.1 200 OK"] {
        assert!(
            summaries.iter().any(|summary| summary.contains(words)),
            "{words} in {summaries:?}"
        );
    }
    let ended: Vec<&str> = run
        .events
        .iter()
        .filter_map(|event| match &event.fact {
            Fact::Process { program, state, .. }
                if !matches!(state, ProcessState::Started { .. }) =>
            {
                Some(program.as_str())
            }
            _ => None,
        })
        .collect();
    assert_eq!(ended, ["curl", "node"]);
}

#[test]
fn what_is_set_of_the_links_holds_for_every_packet() {
    let run = exec(&[
        "--server",
        &web(0),
        "--client",
        "curl -sS http://server/",
        "--set",
        "rtt=60ms",
        "--set",
        "down.delay=50ms",
    ]);
    assert_eq!(run.status, Some(0), "{}", run.stderr);
    let mut flying = BTreeMap::new();
    let mut counted = [0; 2];
    for event in &run.events {
        match &event.fact {
            Fact::PacketDeparted(packet) => {
                flying.insert(packet.id, (packet.from, event.at_us));
            }
            Fact::PacketArrived { id } => {
                let (from, departed) = flying[id];
                let (least, k) = match from {
                    HostName::Client => (30_000, 0),
                    _ => (50_000, 1),
                };
                let took = event.at_us - departed;
                // Never early; how late is the machine's business, and measured elsewhere.
                assert!((least..least + 25_000).contains(&took), "{from}: {took} us");
                counted[k] += 1;
            }
            _ => {}
        }
    }
    assert!(counted[0] >= 4 && counted[1] >= 3, "{counted:?}");
}

#[test]
fn a_cut_that_nothing_heals_lasts_to_the_end_and_the_client_tells_its_own_status() {
    let run = exec(&[
        "--server",
        &web(1_500),
        "--client",
        "curl -sS -m 3 http://server/",
        "--cut-after",
        "700ms",
    ]);
    assert_eq!(run.status, Some(28), "curl is out of time: {}", run.stderr);
    let ends = run.events.iter().any(
        |event| matches!(&event.fact, Fact::Rule { rule, active: false, .. } if rule == "cut"),
    );
    assert!(!ends, "the path was healed");
    let dropped: BTreeSet<u64> = run
        .events
        .iter()
        .filter_map(|event| match &event.fact {
            Fact::PacketDropped { id, rule, .. } if rule == "cut" => Some(*id),
            _ => None,
        })
        .collect();
    // The response, and the client's FIN.
    let lost = |host| {
        run.packets(|packet| (packet.from, packet.id))
            .iter()
            .any(|(from, id)| *from == host && dropped.contains(id))
    };
    assert!(lost(HostName::Server) && lost(HostName::Client));
    let verdict = run.verdict();
    assert!(
        verdict.summary.contains("never arrived"),
        "{}",
        verdict.summary
    );
    let refused = exec(&["--client", "curl -sS http://server/"]);
    assert_eq!(refused.status, Some(7), "curl cannot connect");
    assert_eq!(refused.verdict().how, "rst");
}

#[test]
fn a_node_program_speaks_through_a_relay_on_the_proxy_over_two_connections() {
    let client = hello("proxy");
    let run = exec(&["--server", ECHO, "--proxy", RELAY, "--client", &client]);
    assert_eq!(run.status, Some(3), "the client's own: {}", run.stderr);
    assert!(run.output(OutputStream::Stdout).contains(&"heard hello"));
    assert_eq!(
        run.opened(),
        [
            (HostName::Client, HostName::Proxy),
            (HostName::Proxy, HostName::Server)
        ]
    );
    assert_eq!(run.verdict().counts["connections"], 2);
}

#[test]
fn a_middlebox_forgets_a_connection_that_programs_leave_idle() {
    let client = r#"node -e '
const socket = require("net").connect(7654, "server", () => socket.write("early"));
socket.once("data", () => setTimeout(() => socket.write("late"), 1500));
socket.on("error", (error) => { console.error(error.code); process.exit(4); });'"#;
    let run = exec(&[
        "--server",
        ECHO,
        "--client",
        client,
        "--middlebox",
        "firewall,idle=500ms,expiry=rst-on-next-packet",
        "--duration",
        "10s",
    ]);
    assert_eq!(run.status, Some(4), "{}", run.stderr);
    assert!(run.output(OutputStream::Stderr).contains(&"ECONNRESET"));
    let forgotten = run
        .events
        .iter()
        .any(|event| matches!(&event.fact, Fact::PacketDropped { rule, .. } if rule == "firewall"));
    assert!(forgotten, "the box drops what it has forgotten");
}

#[test]
fn a_path_is_cut_and_healed_while_programs_speak() {
    let client = r#"node -e '
const socket = require("net").connect(7654, "server");
let heard = 0;
socket.on("data", (data) => { heard += data.length; if (heard >= 20) socket.end(); });
let said = 0;
const timer = setInterval(() => {
  socket.write("x");
  if (++said == 20) clearInterval(timer);
}, 100);'"#;
    let run = exec(&[
        "--server",
        ECHO,
        "--client",
        client,
        "--cut-after",
        "1s",
        "--heal-after",
        "1800ms",
    ]);
    assert_eq!(run.status, Some(0), "{}", run.stderr);
    let cuts: Vec<bool> = run
        .events
        .iter()
        .filter_map(|event| match &event.fact {
            Fact::Rule { rule, active, .. } if rule == "cut" => Some(*active),
            _ => None,
        })
        .collect();
    assert_eq!(cuts, [true, true, false, false], "both directions");
    let counts = &run.verdict().counts;
    assert!(
        counts["dropped"] > 0 && counts["retransmissions"] > 0,
        "{counts:?}"
    );
}

#[test]
fn nobody_outside_is_asked_for_a_name_and_nothing_leaves_for_it() {
    let run = exec(&["--client", "cat /etc/hosts; getent hosts www.example.org"]);
    assert_eq!(run.status, Some(2), "getent finds nothing: {}", run.stderr);
    let hosts = run.output(OutputStream::Stdout);
    for line in [
        "127.0.0.1 localhost",
        "192.0.2.1 client",
        "198.51.100.1 server",
    ] {
        assert!(hosts.contains(&line), "{hosts:?}");
    }
    assert_eq!(run.verdict().counts["packets"], 0);
    let ours = fs::read_to_string("/etc/hosts").unwrap_or_default();
    assert!(!ours.contains("198.51.100.1"), "only there");
}

#[test]
fn a_server_that_does_not_listen_is_told_and_the_client_is_started_all_the_same() {
    let run = exec(&[
        "--server",
        "sleep 86404.1",
        "--client",
        "echo on its own",
        "--grace",
        "200ms",
    ]);
    assert_eq!(run.status, Some(0), "{}", run.stderr);
    assert!(run.output(OutputStream::Stdout).contains(&"on its own"));
    let told = run.events.iter().any(
        |event| matches!(&event.fact, Fact::Remark { text } if text.contains("does not listen")),
    );
    assert!(told);
    assert!(!somebody_has("86404.1"));
}

#[test]
fn what_goes_wrong_is_said_in_words() {
    let run = exec(&["--client", "no-such-program"]);
    assert_eq!(run.status, Some(127));
    assert!(run.stderr.contains("was not found"), "{}", run.stderr);
    assert!(run.stderr.contains("no-such-program"), "{}", run.stderr);

    let run = exec(&["--client", "true", "--server", "echo no luck >&2; exit 5"]);
    assert_eq!(run.status, Some(1));
    for words in ["exit status 5 before it listened", "no luck"] {
        assert!(run.stderr.contains(words), "{}", run.stderr);
    }
    let run = exec(&["--client", "true", "--set", "los=0.1"]);
    assert_eq!(run.status, Some(2));
    assert!(
        run.stderr.contains("did you mean `loss`?"),
        "{}",
        run.stderr
    );
}

/// Whether a process of the machine has this among its arguments.
fn somebody_has(argument: &str) -> bool {
    let Ok(processes) = fs::read_dir("/proc") else {
        return false;
    };
    processes.flatten().any(|process| {
        fs::read(process.path().join("cmdline")).is_ok_and(|line| {
            line.split(|byte| *byte == 0)
                .any(|word| word == argument.as_bytes())
        })
    })
}

fn until(what: &str, mut condition: impl FnMut() -> bool) {
    let began = Instant::now();
    while !condition() {
        assert!(began.elapsed() < PATIENCE, "waited in vain until {what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

#[test]
fn a_program_that_is_out_of_time_is_ended_and_what_it_detached_goes_with_it() {
    let marker = "86401.1";
    let client = format!("setsid sleep {marker} & trap '' TERM; sleep {marker}; sleep {marker}");
    let began = Instant::now();
    let run = exec(&["--client", &client, "--duration", "300ms"]);
    // Its shell ignores SIGTERM, and so is killed.
    assert_eq!(run.status, Some(128 + 9), "{}", run.stderr);
    assert!(began.elapsed() < PATIENCE);
    assert!(!somebody_has(marker));
}

/// A `linger exec` whose programs sleep, with a marker among their arguments.
fn sleeping(marker: &str) -> Child {
    let client = format!("setsid sleep {marker} & sleep {marker}");
    let mut child = Command::new(env!("CARGO_BIN_EXE_linger"))
        .args(["exec", "--no-record", "--format", "jsonl", "--client"])
        .arg(&client)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .expect("linger starts");
    let stdout = child.stdout.take().expect("its output is piped");
    let mut lines = BufReader::new(stdout).lines();
    lines
        .find(|line| line.as_ref().is_ok_and(|line| line.contains("\"process\"")))
        .expect("it tells that the program was started")
        .expect("its output is text");
    // Whoever stops reading stops nothing.
    std::thread::spawn(move || lines.for_each(drop));
    until("the programs run", || somebody_has(marker));
    child
}

fn signal(child: &Child, name: &str) {
    let sent = Command::new("kill")
        .args(["-s", name, &child.id().to_string()])
        .status()
        .expect("kill(1) is there");
    assert!(sent.success());
}

#[test]
fn a_signal_ends_everything() {
    for (name, status, marker) in [("INT", 130, "86402.1"), ("TERM", 143, "86402.2")] {
        let mut child = sleeping(marker);
        signal(&child, name);
        let ended = child.wait().expect("it ends");
        assert_eq!(ended.code(), Some(status), "{name}");
        assert!(!somebody_has(marker), "{name}");
    }
}

#[test]
fn no_program_outlives_a_linger_that_is_killed() {
    let marker = "86403.1";
    let mut child = sleeping(marker);
    signal(&child, "KILL");
    child.wait().expect("it ends");
    until("its programs are gone", || !somebody_has(marker));
}
