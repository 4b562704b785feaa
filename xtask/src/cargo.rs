//! Runs cargo, and says how far it is.
//!
//! Where stderr is a terminal, cargo shows its own progress. Elsewhere its hundreds of lines are
//! kept back, a line every now and then counts them, and they are shown when the command fails.

use std::{
    ffi::OsString,
    io::{BufRead, BufReader},
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail};

use crate::{
    progress::{Step, is_terminal},
    settings,
};

/// How often a compilation without a terminal says that it goes on.
const HEARTBEAT: Duration = Duration::from_secs(15);

/// The cargo that started this program, or the one on PATH, at work in the repository's root.
pub(crate) fn command() -> Command {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| OsString::from("cargo"));
    let mut command = Command::new(cargo);
    command.current_dir(settings::root());
    // The variables that cargo sets for a program that it runs would make build scripts run again.
    for (name, _) in std::env::vars_os() {
        let name = name.to_string_lossy().into_owned();
        if name.starts_with("CARGO_PKG_") || name.starts_with("CARGO_MANIFEST_") {
            command.env_remove(name);
        }
    }
    command
}

/// The command as it could be typed.
pub(crate) fn typed(command: &Command) -> String {
    let program = Path::new(command.get_program());
    let mut text = program
        .file_stem()
        .unwrap_or(program.as_os_str())
        .to_string_lossy()
        .into_owned();
    for argument in command.get_args() {
        text.push(' ');
        text.push_str(&argument.to_string_lossy());
    }
    text
}

/// Compiles, and gives back the executables and WebAssembly modules that came of it.
///
/// # Errors
/// When cargo cannot be started or fails; what it said is then on stderr.
pub(crate) fn build(mut command: Command, step: &Step) -> Result<Vec<PathBuf>> {
    let terminal = is_terminal();
    command
        .arg("--message-format=json-render-diagnostics")
        .stdout(Stdio::piped())
        .stderr(if terminal {
            Stdio::inherit()
        } else {
            Stdio::piped()
        });
    let line = typed(&command);
    let mut child = command
        .spawn()
        .with_context(|| format!("`{line}` cannot be started"))?;

    let artifacts = child.stdout.take().map(|stdout| {
        std::thread::spawn(move || {
            BufReader::new(stdout)
                .lines()
                .map_while(Result::ok)
                .flat_map(|line| executables(&line))
                .collect::<Vec<_>>()
        })
    });
    let mut said = Vec::new();
    if let Some(stderr) = child.stderr.take() {
        let mut last = Instant::now();
        let mut compiled = 0;
        for text in BufReader::new(stderr).lines().map_while(Result::ok) {
            compiled += usize::from(text.trim_start().starts_with("Compiling "));
            if last.elapsed() >= HEARTBEAT {
                last = Instant::now();
                step.note(&format!("{compiled} crates so far"));
            }
            said.push(text);
        }
    }
    let status = child.wait().with_context(|| format!("`{line}`"))?;
    let artifacts = artifacts
        .map(|thread| thread.join().unwrap_or_default())
        .unwrap_or_default();
    if !status.success() {
        for text in said.iter().filter(|text| !is_progress(text)) {
            eprintln!("{text}");
        }
        bail!("`{line}` failed ({status})");
    }
    Ok(artifacts)
}

/// Whether a line of cargo's only says that it goes on.
fn is_progress(line: &str) -> bool {
    let word = line.split_whitespace().next().unwrap_or_default();
    [
        "Compiling",
        "Checking",
        "Downloading",
        "Downloaded",
        "Blocking",
    ]
    .contains(&word)
}

/// What one message of cargo names as executable (`cargo build`, `cargo test --no-run`) or as a
/// WebAssembly module.
fn executables(message: &str) -> Vec<PathBuf> {
    let Ok(message) = serde_json::from_str::<serde_json::Value>(message) else {
        return Vec::new();
    };
    if message["reason"] != "compiler-artifact" {
        return Vec::new();
    }
    if let Some(path) = message["executable"].as_str() {
        return vec![PathBuf::from(path)];
    }
    message["filenames"]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(|name| name.as_str())
        .filter(|name| name.ends_with(".wasm"))
        .map(PathBuf::from)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn executables_are_read_from_cargos_messages() {
        assert_eq!(
            executables(
                r#"{"reason":"compiler-artifact","executable":"/t/debug/linger","filenames":["/t/debug/linger"]}"#
            ),
            [PathBuf::from("/t/debug/linger")]
        );
        assert_eq!(
            executables(
                r#"{"reason":"compiler-artifact","executable":null,"filenames":["/t/web/a.wasm"]}"#
            ),
            [PathBuf::from("/t/web/a.wasm")]
        );
        for other in [
            r#"{"reason":"compiler-artifact","executable":null,"filenames":["/t/liba.rlib"]}"#,
            r#"{"reason":"build-finished","success":true}"#,
            "no json",
        ] {
            assert!(executables(other).is_empty(), "{other}");
        }
    }

    #[test]
    fn a_command_is_shown_as_it_could_be_typed() {
        let mut command = Command::new("/somewhere/bin/cargo");
        command.args(["build", "-p", "linger"]);
        assert_eq!(typed(&command), "cargo build -p linger");
    }
}
