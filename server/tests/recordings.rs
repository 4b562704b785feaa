//! `linger runs` and the retention, by the built binary: what a person and a script get to see. Runs
//! here go over the relay.

use std::{
    io::{BufRead, BufReader},
    path::PathBuf,
    process::{Command, Output, Stdio},
    sync::atomic::{AtomicU64, Ordering},
    time::{Duration, Instant},
};

use serde_json::Value;

/// Recordings of a test's own, removed at the end.
struct Recordings(PathBuf);

impl Recordings {
    fn new() -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let name = format!("linger-recordings-{}-{number}", std::process::id());
        Self(std::env::temp_dir().join(name))
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_linger"));
        command
            .args(arguments)
            .stdin(Stdio::null())
            .env("LINGER_DATA", &self.0);
        command
    }

    /// The exit status, and what is said on standard output and standard error.
    fn linger(&self, arguments: &[&str]) -> (i32, String, String) {
        told(self.command(arguments).output().unwrap())
    }

    /// Records a short run; gives its id.
    fn record(&self) -> String {
        let (status, _, said) = self.linger(&[
            "run",
            "http-sequential",
            "--mode",
            "relay",
            "--set",
            "delay=0s",
            "--set",
            "pause=0s",
            "--set",
            "requests=2",
        ]);
        assert_eq!(status, 0, "{said}");
        let id = said.split_once("recorded as ").unwrap().1;
        id.split_once(';').unwrap().0.to_owned()
    }

    fn listed(&self) -> Vec<Value> {
        let (status, json, _) = self.linger(&["runs", "list", "--json"]);
        assert_eq!(status, 0);
        serde_json::from_str(&json).unwrap()
    }
}

impl Drop for Recordings {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn told(output: Output) -> (i32, String, String) {
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (
        output.status.code().unwrap(),
        text(output.stdout),
        text(output.stderr),
    )
}

#[test]
fn an_empty_list_is_no_failure_and_nothing_is_made_for_it() {
    let recordings = Recordings::new();
    let (status, list, _) = recordings.linger(&["runs", "list"]);
    assert_eq!(status, 0);
    assert!(list.starts_with("Nothing is recorded yet"), "{list}");
    assert!(recordings.listed().is_empty());
    for arguments in [
        &["runs", "show", "x"][..],
        &["runs", "export", "x", "--text"],
        &["runs", "delete", "--all", "--yes"],
    ] {
        let (status, _, said) = recordings.linger(arguments);
        assert_eq!(status, 1, "{arguments:?}");
        assert!(said.contains("nothing is recorded in"), "{said}");
    }
    assert!(!recordings.0.exists());
}

#[test]
fn a_recorded_run_is_listed_shown_and_exported() {
    let recordings = Recordings::new();
    let id = recordings.record();
    let (status, table, _) = recordings.linger(&["runs", "list"]);
    assert_eq!(status, 0);
    let lines: Vec<&str> = table.lines().collect();
    assert_eq!(lines.len(), 2, "{table}");
    assert!(lines[0].starts_with("ID "), "{table}");
    for word in [id.as_str(), "http-sequential", "finished", "UTC", "KiB"] {
        assert!(lines[1].contains(word), "{table}");
    }
    let listed = recordings.listed();
    assert_eq!(listed[0]["id"], id.as_str());
    assert_eq!(listed[0]["state"], "finished");

    let (status, drawn, _) = recordings.linger(&["runs", "show", &id]);
    assert_eq!(status, 0);
    assert!(drawn.contains("predicted"), "{drawn}");
    let (status, lines, _) = recordings.linger(&["runs", "export", &id, "--jsonl", "-"]);
    assert_eq!(status, 0);
    let lines: Vec<Value> = lines
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert_eq!(lines[0]["kind"], "header");
    for (number, line) in lines[1..].iter().enumerate() {
        assert_eq!(line["seq"], number);
    }
    assert_eq!(lines.last().unwrap()["kind"], "verdict");
    assert_eq!(listed[0]["events"], lines.len() - 1);
    // The folder may be named after the command, too.
    let folder = recordings.0.to_str().unwrap();
    let mut command = recordings.command(&["runs", "list", "--data", folder]);
    let (status, again, said) = told(command.env_remove("LINGER_DATA").output().unwrap());
    assert_eq!((status, again), (0, table), "{said}");
}

#[test]
fn a_run_that_is_not_there_is_an_error_that_names_the_nearest() {
    let recordings = Recordings::new();
    let id = recordings.record();
    let misspelt = format!("{id}x");
    let meant = format!("did you mean `{id}`?");
    for (given, expected) in [
        (misspelt.as_str(), meant.as_str()),
        ("http-seq", &meant),
        ("nothing-like-it", "`linger runs list` lists them"),
    ] {
        for command in ["show", "export", "delete"] {
            let (status, out, said) = recordings.linger(&["runs", command, given]);
            assert_eq!((status, out.as_str()), (2, ""), "{command}: {said}");
            assert!(said.contains(expected), "{command}: {said}");
        }
    }
    let (status, _, said) = recordings.linger(&["runs", "export", &id]);
    assert_eq!(status, 2);
    assert!(said.contains("--jsonl FILE"), "{said}");
}

#[test]
fn nothing_is_deleted_unasked_and_what_is_deleted_is_gone() {
    let recordings = Recordings::new();
    let [first, second, third] = [(); 3].map(|()| recordings.record());
    let (status, _, said) = recordings.linger(&["runs", "delete", &first]);
    assert_eq!(status, 2);
    assert!(said.contains("--yes"), "{said}");
    // One that is not there spares the others.
    let (status, _, _) = recordings.linger(&["runs", "delete", &first, "nobody", "--yes"]);
    assert_eq!(status, 2);
    assert_eq!(recordings.listed().len(), 3);
    let (status, out, _) = recordings.linger(&["runs", "delete", &first, "--yes"]);
    assert_eq!((status, out.as_str()), (0, "1 run deleted.\n"));
    let left = recordings.listed();
    assert_eq!(left.len(), 2);
    assert!(left.iter().all(|run| run["id"] != first.as_str()));
    assert_eq!(left[0]["id"], third.as_str(), "the newest first");
    assert_eq!(left[1]["id"], second.as_str());
    let (status, out, _) = recordings.linger(&["runs", "delete", "--all", "--yes"]);
    assert_eq!((status, out.as_str()), (0, "2 runs deleted.\n"));
    assert!(recordings.listed().is_empty());
}

#[test]
fn a_server_keeps_as_many_runs_as_it_is_told_to() {
    let recordings = Recordings::new();
    let ids = [(); 4].map(|()| recordings.record());
    let mut server = recordings
        .command(&["serve", "--listen", "127.0.0.1:0", "--keep-runs", "2"])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut line = String::new();
    BufReader::new(server.stdout.as_mut().unwrap())
        .read_line(&mut line)
        .unwrap();
    let began = Instant::now();
    let left = loop {
        let left = recordings.listed();
        if left.len() <= 2 || began.elapsed() > Duration::from_secs(30) {
            break left;
        }
        std::thread::sleep(Duration::from_millis(20));
    };
    server.kill().unwrap();
    server.wait().unwrap();
    let left: Vec<&str> = left.iter().filter_map(|run| run["id"].as_str()).collect();
    assert_eq!(left, [ids[3].as_str(), ids[2].as_str()], "the newest ones");
    for (flag, value) in [
        ("--keep-size", "5XB"),
        ("--keep-runs", "many"),
        ("--keep-days", "x"),
    ] {
        let (status, _, said) = recordings.linger(&["serve", flag, value]);
        assert_eq!(status, 2, "{said}");
        assert!(said.contains(flag) && said.contains(value), "{said}");
    }
}
