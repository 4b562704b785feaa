//! `linger exec`: curl, a Node.js program and whatever else, on the hosts of a run.
//!
//! Needs curl and node on PATH; `cargo xtask test net` sees to that.

use std::{
    fs,
    io::{BufRead, BufReader},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use linger_shared::event::{Event, Fact, HostName, OutputStream, ProcessState, Verdict};

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
        .args(["exec", "--format", "jsonl"])
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

#[test]
fn curl_fetches_a_page_from_a_server_by_its_name() {
    let run = exec(&[
        "--server",
        "exec python3 -m http.server 80 --directory /usr/share",
        "--client",
        "curl -sS -o /dev/null -w '%{http_code}' http://server/",
        "--set",
        "rtt=20ms",
    ]);
    assert_eq!(run.status, Some(0), "{}", run.stderr);
    assert!(run.output(OutputStream::Stdout).contains(&"200"));
    assert_eq!(run.opened(), [(HostName::Client, HostName::Server)]);
    assert_eq!(run.verdict().ended_by, "server", "HTTP/1.0 closes");
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
    assert_eq!(ended, ["curl", "python3"]);
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
        .args(["exec", "--format", "jsonl", "--client", &client])
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
fn ctrl_c_ends_everything() {
    let marker = "86402.1";
    let mut child = sleeping(marker);
    signal(&child, "INT");
    let status = child.wait().expect("it ends");
    assert_eq!(status.code(), Some(130));
    assert!(!somebody_has(marker));
}

#[test]
fn no_program_outlives_a_linger_that_is_killed() {
    let marker = "86403.1";
    let mut child = sleeping(marker);
    signal(&child, "KILL");
    child.wait().expect("it ends");
    until("its programs are gone", || !somebody_has(marker));
}
