//! The command line, by the built binary: exit statuses, messages, and what scripts rely on. What
//! needs namespaces is tested elsewhere; runs here go over the relay.

use std::{
    io::{BufRead, BufReader, Read, Write},
    net::{TcpListener, TcpStream},
    process::{Child, Command, Output, Stdio},
    time::Duration,
};

use serde_json::Value;

/// A bound on waiting, not on speed.
const PATIENCE: Duration = Duration::from_secs(20);

const RELAY: [&str; 8] = [
    "run",
    "http-sequential",
    "--mode",
    "relay",
    "--set",
    "delay=0s",
    "--set",
    "pause=0s",
];

fn linger(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_linger"));
    // Whoever runs the tests has recordings of their own.
    let nowhere = std::env::temp_dir().join(format!("linger-cli-{}", std::process::id()));
    command
        .args(arguments)
        .stdin(Stdio::null())
        .env("LINGER_DATA", nowhere);
    command
}

fn output(arguments: &[&str]) -> Output {
    linger(arguments).output().unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

fn with<'a>(arguments: &[&'a str], more: &[&'a str]) -> Vec<&'a str> {
    [arguments, more].concat()
}

#[test]
fn plain_linger_prints_help() {
    let output = output(&[]);
    assert_eq!(output.status.code(), Some(0));
    let help = text(&output.stdout);
    for word in ["serve", "experiments", "run", "doctor", "Examples:"] {
        assert!(help.contains(word), "{help}");
    }
}

#[test]
fn wrong_usage_exits_with_2_and_says_what_to_do() {
    for (arguments, expected) in [
        (&["run", "tcp-deadpeer"][..], "tcp-dead-peer"),
        (&["run", "quic"], "linger experiments"),
        (&["experiments", "tcp-lifecicle"], "tcp-lifecycle"),
        (
            &["run", "tcp-dead-peer", "--set", "count=500"],
            "count=500 is more than the maximum of 127",
        ),
        (
            &["run", "tcp-dead-peer", "--set", "idle=1ms"],
            "idle=1ms is less than the minimum of 1s",
        ),
        (&["run", "tcp-dead-peer", "--set", "idle=5"], "unit"),
        (&["run", "tcp-dead-peer", "--set", "idel=5s"], "idel"),
        (&["run", "tcp-dead-peer", "--set", "idle"], "NAME=VALUE"),
        (&["run", "tcp-dead-peer", "--time-limit", "5"], "unit"),
        (&["run", "tcp-dead-peer", "--format", "xml"], "jsonl"),
        (&["run"], "ID"),
        (&["walk"], "walk"),
        (&["serve", "--listen", "127.0.0.1"], "ADDRESS:PORT"),
        (&["serve", "--listen", "0.0.0.0:0"], "--allow-remote"),
        (&["serve", "--listen", "[::]:0"], "--allow-remote"),
        (&["serve", "--allow-remote"], "--listen"),
        (&["serve", "--join-code", "ABCD-EFGH"], "--allow-remote"),
        (
            &[
                "serve",
                "--listen",
                "0.0.0.0:0",
                "--allow-remote",
                "--join-code",
                "ABC",
            ],
            "8 to 64",
        ),
        (&["serve", "--max-connections", "0"], "from 1"),
    ] {
        let output = output(arguments);
        let message = text(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{arguments:?}: {message}");
        assert!(message.contains(expected), "{arguments:?}: {message}");
        assert_eq!(text(&output.stdout), "", "{arguments:?}");
    }
}

#[test]
fn experiments_are_listed_for_people_and_for_programs() {
    let listed = text(&output(&["experiments"]).stdout);
    assert!(listed.contains("tcp-dead-peer"), "{listed}");
    let json: Value = serde_json::from_slice(&output(&["experiments", "--json"]).stdout).unwrap();
    for entry in json.as_array().unwrap() {
        for key in [
            "id",
            "title",
            "question",
            "family",
            "modes",
            "params",
            "references",
        ] {
            assert!(entry.get(key).is_some(), "{key} of {entry}");
        }
        let id = entry["id"].as_str().unwrap();
        let one = output(&["experiments", id]);
        assert!(one.status.success());
        let told = text(&one.stdout);
        for param in entry["params"].as_array().unwrap() {
            let name = param["name"].as_str().unwrap();
            assert!(told.contains(&format!("  {name}=")), "{name} in {told}");
        }
    }
    let one: Value =
        serde_json::from_slice(&output(&["experiments", "http-sequential", "--json"]).stdout)
            .unwrap();
    assert_eq!(one["id"], "http-sequential");
}

#[test]
fn the_doctor_reports_to_people_and_to_programs() {
    let told = output(&["doctor"]);
    assert!(told.status.success());
    let json: Value = serde_json::from_slice(&output(&["doctor", "--json"]).stdout).unwrap();
    for check in json["checks"].as_array().unwrap() {
        let name = check["name"].as_str().unwrap();
        assert!(text(&told.stdout).contains(name), "{name}");
        assert!(check["ok"].is_boolean());
    }
}

#[test]
fn json_lines_have_the_header_first_and_the_verdict_last() {
    let output = output(&with(
        &RELAY,
        &["--format", "jsonl", "--seed", "7", "--set", "requests=3"],
    ));
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    let lines: Vec<Value> = text(&output.stdout)
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert_eq!(lines[0]["kind"], "header");
    assert_eq!(lines[0]["seed"], 7);
    assert_eq!(lines[0]["params"]["requests"], 3);
    for (index, line) in lines[1..].iter().enumerate() {
        assert_eq!(line["seq"], index as u64);
        assert!(
            line["at_us"].is_u64() && line["seen_by"].is_string(),
            "{line}"
        );
    }
    let verdict = lines.last().unwrap();
    assert_eq!(verdict["kind"], "verdict");
    assert_eq!(verdict["counts"]["connections"], 1);
    for key in ["ended_by", "how", "outcomes", "measurements"] {
        assert!(verdict.get(key).is_some(), "{key} of {verdict}");
    }
}

#[test]
fn the_last_of_several_values_counts_and_so_does_persistence() {
    let more = [
        "--format",
        "jsonl",
        "--set",
        "requests=9",
        "--set",
        "requests=4",
        "--set",
        "persistent=false",
    ];
    let output = output(&with(&RELAY, &more));
    let stdout = text(&output.stdout);
    let verdict: Value = serde_json::from_str(stdout.lines().last().unwrap()).unwrap();
    assert_eq!(verdict["counts"]["connections"], 4, "{verdict}");
}

#[test]
fn the_diagram_is_drawn_within_the_columns_and_ends_with_the_verdict() {
    let output = linger(&with(&RELAY, &["--set", "requests=2"]))
        .env("COLUMNS", "90")
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    let drawn = text(&output.stdout);
    for word in [
        "client",
        "server",
        "GET /1 HTTP/1.1",
        "GET /2 HTTP/1.1",
        "HTTP/1.1 200 OK",
    ] {
        assert!(drawn.contains(word), "{word} in\n{drawn}");
    }
    for line in drawn.lines() {
        assert!(line.chars().count() <= 90, "{line}");
    }
}

#[test]
fn a_reader_that_goes_away_ends_the_run_quietly() {
    let arguments = with(
        &RELAY,
        &[
            "--format",
            "jsonl",
            "--set",
            "requests=50",
            "--set",
            "pause=100ms",
        ],
    );
    let mut child = linger(&arguments)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut first = String::new();
    BufReader::new(child.stdout.take().unwrap())
        .read_line(&mut first)
        .unwrap();
    assert!(first.contains("header"), "{first}");
    // The pipe is closed here, long before the run would be over.
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(0));
    assert_eq!(text(&output.stderr), "");
}

#[test]
fn a_time_limit_ends_the_run_with_its_verdict() {
    let more = [
        "--format",
        "jsonl",
        "--set",
        "pause=10s",
        "--time-limit",
        "300ms",
    ];
    let output = output(&with(&RELAY, &more));
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    let stdout = text(&output.stdout);
    assert!(stdout.contains("\"kind\":\"stopped\""), "{stdout}");
    let last: Value = serde_json::from_str(stdout.lines().last().unwrap()).unwrap();
    assert_eq!(last["kind"], "verdict");
}

/// A started `linger serve`, killed when dropped.
struct Serving {
    child: Child,
    line: String,
}

impl Serving {
    fn start(arguments: &[&str]) -> Self {
        let mut child = linger(&with(&["serve"], arguments))
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.as_mut().unwrap())
            .read_line(&mut line)
            .unwrap();
        Self { child, line }
    }

    fn errors(&mut self) -> String {
        let mut errors = String::new();
        self.child
            .stderr
            .take()
            .unwrap()
            .read_to_string(&mut errors)
            .unwrap();
        errors
    }
}

impl Drop for Serving {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn serve_says_where_it_is_once_it_answers() {
    let serving = Serving::start(&["--listen", "127.0.0.1:0"]);
    let address = serving
        .line
        .strip_prefix("Linger is at http://")
        .and_then(|rest| rest.strip_suffix("/\n"))
        .unwrap_or_else(|| panic!("{:?}", serving.line));
    assert!(std::net::TcpStream::connect(address).is_ok());
}

#[test]
fn a_taken_port_that_was_asked_for_is_an_error_with_advice() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let output = output(&["serve", "--listen", &address]);
    assert_eq!(output.status.code(), Some(1));
    let message = text(&output.stderr);
    for word in [address.as_str(), "EADDRINUSE", "--listen"] {
        assert!(message.contains(word), "{message}");
    }
    assert_eq!(text(&output.stdout), "");
}

#[test]
fn the_default_port_gives_way_when_it_is_taken() {
    // Whether this test or another program holds it, it is taken.
    let _held = TcpListener::bind("127.0.0.1:8080");
    let mut serving = Serving::start(&[]);
    let address = serving
        .line
        .trim_start_matches("Linger is at http://")
        .trim_end()
        .trim_end_matches('/');
    let port: u16 = address.strip_prefix("127.0.0.1:").unwrap().parse().unwrap();
    assert_ne!(port, 8080);
    serving.child.kill().unwrap();
    assert!(serving.errors().contains("8080 is taken"));
}

/// Ends of processes by signals, which only Unix has.
#[cfg(unix)]
mod signals {
    use super::*;

    fn send(child: &Child, signal: &str) {
        let sent = Command::new("kill")
            .args([signal, &child.id().to_string()])
            .status()
            .unwrap();
        assert!(sent.success());
    }

    #[test]
    fn a_terminated_server_ends_in_good_order() {
        for signal in ["-TERM", "-INT"] {
            let mut serving = Serving::start(&["--listen", "127.0.0.1:0"]);
            send(&serving.child, signal);
            assert_eq!(serving.child.wait().unwrap().code(), Some(0), "{signal}");
        }
    }

    #[test]
    fn an_interrupted_run_still_tells_its_verdict() {
        for (signal, status) in [("-INT", 130), ("-TERM", 143)] {
            let more = ["--format", "jsonl", "--set", "pause=10s"];
            let mut child = linger(&with(&RELAY, &more))
                .stdout(Stdio::piped())
                .spawn()
                .unwrap();
            let mut reader = BufReader::new(child.stdout.take().unwrap());
            let mut line = String::new();
            reader.read_line(&mut line).unwrap();
            send(&child, signal);
            let lines: Vec<Value> = reader
                .lines()
                .map(|line| serde_json::from_str(&line.unwrap()).unwrap())
                .collect();
            assert_eq!(child.wait().unwrap().code(), Some(status), "{signal}");
            assert_eq!(lines.last().unwrap()["kind"], "verdict", "{signal}");
            let stopped = lines.iter().any(|line| line["kind"] == "stopped");
            assert!(stopped, "{signal}");
        }
    }
}

/// Asks a server for its runs; the status of the answer.
fn status_with(address: &str, code: &str) -> u16 {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let request = format!(
        "GET /api/runs HTTP/1.1\r\nHost: {address}\r\nAuthorization: Bearer {code}\r\n\
         Connection: close\r\n\r\n"
    );
    stream.write_all(request.as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer[9..12].parse().unwrap()
}

#[test]
fn an_open_server_prints_a_code_of_its_own_and_says_it_nowhere_else() {
    let serve = ["serve", "--listen", "127.0.0.1:0", "--allow-remote"];
    let mut codes = Vec::new();
    for _ in 0..2 {
        let mut command = linger(&serve);
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut server = command.spawn().unwrap();
        let mut said = BufReader::new(server.stdout.take().unwrap());
        let mut line = String::new();
        said.read_line(&mut line).unwrap();
        let (before, code) = line.trim().split_once("/?join=").expect("a link to share");
        let address = before.split_once("http://").unwrap().1;
        for (given, status) in [("", 401), ("WRONG-CODE-9", 401), (code, 200)] {
            assert_eq!(status_with(address, given), status, "{given}");
        }
        let pid = server.id().to_string();
        assert!(Command::new("kill").arg(pid).status().unwrap().success());
        let mut log = String::new();
        let stderr = server.stderr.as_mut().unwrap();
        stderr.read_to_string(&mut log).unwrap();
        assert!(server.wait().unwrap().success(), "{log}");
        let bare = code.replace('-', "");
        for secret in [code, &bare, "WRONG-CODE-9"] {
            assert!(!log.contains(secret), "{log}");
        }
        codes.push(code.to_owned());
    }
    assert_ne!(codes[0], codes[1]);
}
