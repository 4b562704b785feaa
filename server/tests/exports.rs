//! `linger runs export`, by the built binary: files that are complete or not there, and messages
//! that say what to do. Runs here go over the relay; captures are tested where there are packets.

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::{self, Command, Output, Stdio},
};

use serde_json::Value;

/// A folder that goes with the test.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Self {
        let path = env::temp_dir().join(format!("linger-exports-{name}-{}", process::id()));
        fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    fn file(&self, name: &str) -> String {
        self.0.join(name).to_str().unwrap().to_owned()
    }

    fn read(&self, name: &str) -> String {
        fs::read_to_string(self.0.join(name)).unwrap()
    }

    fn names(&self) -> Vec<String> {
        let entries = fs::read_dir(&self.0).unwrap();
        let mut names: Vec<String> = entries
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn linger(data: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_linger"));
    command
        .args(arguments)
        .stdin(Stdio::null())
        .env("LINGER_DATA", data)
        .env_remove("COLUMNS");
    command
}

fn output(data: &Path, arguments: &[&str]) -> Output {
    linger(data, arguments).output().unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

/// Records a run; gives its id, and its events as they were printed.
fn record(data: &Path) -> (String, String) {
    let run = output(
        data,
        &[
            "run",
            "http-sequential",
            "--mode",
            "relay",
            "--set",
            "delay=0s",
            "--set",
            "requests=3",
            "--format",
            "jsonl",
        ],
    );
    assert!(run.status.success(), "{}", text(&run.stderr));
    let printed = text(&run.stdout);
    let header: Value = serde_json::from_str(printed.lines().next().unwrap()).unwrap();
    (header["run"].as_str().unwrap().to_owned(), printed)
}

#[test]
fn a_recorded_run_is_exported_in_several_formats_at_once() {
    let (data, files) = (Folder::new("data"), Folder::new("files"));
    let (id, printed) = record(&data.0);
    fs::write(files.0.join("run.svg"), "an older one").unwrap();
    let exported = output(
        &data.0,
        &[
            "runs",
            "export",
            &id,
            "--jsonl",
            &files.file("run.jsonl"),
            "--svg",
            &files.file("run.svg"),
            "--mermaid",
            &files.file("run.mmd"),
            "--text",
        ],
    );
    assert!(exported.status.success(), "{}", text(&exported.stderr));
    assert_eq!(text(&exported.stderr), "");
    assert_eq!(files.names(), ["run.jsonl", "run.mmd", "run.svg"]);
    assert!(files.read("run.jsonl") == printed, "as the run printed it");
    let picture = files.read("run.svg");
    let picture = roxmltree::Document::parse(&picture).unwrap();
    assert_eq!(picture.root_element().tag_name().name(), "svg");
    assert!(files.read("run.mmd").starts_with("sequenceDiagram\n"));
    let drawn = text(&exported.stdout);
    for words in ["GET /3 HTTP/1.1", "== Verdict =="] {
        assert!(drawn.contains(words), "{words} in\n{drawn}");
    }
    assert!(drawn.lines().all(|line| line.chars().count() <= 100));
    let shown = output(&data.0, &["runs", "show", &id]);
    assert!(text(&shown.stdout) == drawn, "show draws the same");
}

#[test]
fn a_relay_has_no_packets_and_the_other_exports_are_written_all_the_same() {
    let (data, files) = (Folder::new("relay-data"), Folder::new("relay"));
    let (id, _) = record(&data.0);
    let (capture, lines) = (files.file("run.pcapng"), files.file("run.jsonl"));
    fs::write(&capture, "an older one").unwrap();
    let arguments = [
        "runs", "export", &id, "--pcapng", &capture, "--jsonl", &lines,
    ];
    let exported = output(&data.0, &arguments);
    assert_eq!(exported.status.code(), Some(1));
    let message = text(&exported.stderr);
    for words in [capture.as_str(), "pcapng", "relay", "linger doctor"] {
        assert!(message.contains(words), "{message}");
    }
    assert_eq!(files.names(), ["run.jsonl", "run.pcapng"]);
    assert_eq!(files.read("run.pcapng"), "an older one");
    assert!(files.read("run.jsonl").ends_with("}\n"));
}

#[test]
fn wrong_usage_writes_nothing_and_says_what_to_do() {
    let (data, files) = (Folder::new("usage-data"), Folder::new("usage"));
    let (id, _) = record(&data.0);
    let good = files.file("run.jsonl");
    let typo = format!("{id}x");
    let nowhere = files.file("no-such-folder/run.svg");
    for (arguments, status, expected) in [
        (vec![id.as_str()], 2, "--help"),
        (vec!["nothing", "--jsonl", &good], 2, "linger runs list"),
        (vec![&typo, "--jsonl", &good], 2, &*id),
        (vec!["http-sequential", "--jsonl", &good], 2, &*id),
        (vec![&id, "--jsonl", &good, "--text", &good], 2, "both"),
        (vec![&id, "--jsonl", "-", "--text"], 2, "standard output"),
        (vec![&id, "--jsonl", &good, "--svg", &nowhere], 1, "ENOENT"),
        (vec![&id, "--jsonl", "/"], 1, "EISDIR"),
        (vec![&id, "--gif", &good], 2, "--gif"),
    ] {
        let exported = output(&data.0, &[&["runs", "export"], &arguments[..]].concat());
        let message = text(&exported.stderr);
        assert_eq!(
            exported.status.code(),
            Some(status),
            "{arguments:?}: {message}"
        );
        assert!(message.contains(expected), "{arguments:?}: {message}");
        assert_eq!(text(&exported.stdout), "", "{arguments:?}");
        assert!(
            files.names().is_empty(),
            "{arguments:?}: {:?}",
            files.names()
        );
    }
    let empty = Folder::new("usage-empty");
    let exported = output(&empty.0, &["runs", "export", &id, "--jsonl", &good]);
    assert_ne!(exported.status.code(), Some(0));
    assert!(files.names().is_empty());
}

#[cfg(unix)]
#[test]
fn a_reader_that_goes_away_is_no_failure_and_a_full_disk_is_one() {
    let data = Folder::new("pipe-data");
    let (id, _) = record(&data.0);
    let mut child = linger(&data.0, &["runs", "export", &id, "--jsonl", "-"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    drop(child.stdout.take());
    let ended = child.wait_with_output().unwrap();
    assert_eq!(text(&ended.stderr), "");
    assert_eq!(ended.status.code(), Some(0));

    // Linux has a device that is always full (full(4)).
    if Path::new("/dev/full").exists() {
        let full = output(&data.0, &["runs", "export", &id, "--svg", "/dev/full"]);
        assert_eq!(full.status.code(), Some(1));
        let message = text(&full.stderr);
        assert!(
            message.contains("`/dev/full`") && message.contains("ENOSPC"),
            "{message}"
        );
    }
}
