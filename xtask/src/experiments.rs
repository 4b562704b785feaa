//! Runs every experiment and writes down what was predicted and what was measured.
//!
//! Which there are, and what they predict, is asked of the built `linger`, so that a new one needs
//! no line here.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, ExitCode},
    sync::Mutex,
};

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;

use crate::{cargo, progress::Steps, settings};

pub(crate) const HELP: &str = "\
Run the experiments with their defaults and write what was predicted and what was measured.

Usage: cargo xtask experiments [OPTIONS] [ID]...

Without an ID all of them are run, and docs/catalogue.md is written; with one, the table is printed
alone. Where a prediction is off by more than 5 % and more than 50 ms, or a run fails, that is said
and the exit status is 1.

Options:
  --runs N    Run each so often (default 3)
";

/// Where the table of all experiments is kept, below the root.
const CATALOGUE: &str = "docs/catalogue.md";

/// So many run beside each other: they mostly wait, and each has hosts of its own.
const AT_ONCE: usize = 4;

/// A measured span may differ from the predicted one by so much, in microseconds, or by so large a
/// part of it.
const TOLERATED_US: u64 = 50_000;
const TOLERATED_SHARE: f64 = 0.05;

/// What is to be run.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Options {
    ids: Vec<String>,
    runs: usize,
}

impl Options {
    /// # Errors
    /// Names what is not understood.
    pub(crate) fn parse(arguments: &[String]) -> Result<Self> {
        let mut options = Self {
            ids: Vec::new(),
            runs: 3,
        };
        let mut arguments = arguments.iter();
        while let Some(argument) = arguments.next() {
            if argument == "--runs" {
                let count = arguments.next().and_then(|count| count.parse().ok());
                options.runs = count
                    .filter(|count| (1..=100).contains(count))
                    .context("--runs needs a number from 1 to 100")?;
            } else if argument.starts_with('-') {
                bail!("`{argument}` is not known to `cargo xtask experiments`");
            } else {
                options.ids.push(argument.clone());
            }
        }
        Ok(options)
    }
}

/// An experiment of the catalogue.
struct Entry {
    id: String,
    question: String,
}

/// A span that an experiment predicts, over all of its runs.
#[derive(Debug, PartialEq)]
struct Row {
    name: String,
    /// Of each run, where it was predicted and measured.
    spans: Vec<(Option<u64>, Option<u64>)>,
}

/// Runs what is asked for.
///
/// # Errors
/// When `linger` cannot be built or started, an experiment is not there, or the table cannot be
/// written.
pub(crate) fn run(options: &Options) -> Result<ExitCode> {
    let mut steps = Steps::new(2);
    let step = steps.begin("Compile the laboratory");
    let mut command = cargo::command();
    command.args(["build", "--release", "--package", settings::SERVER_PACKAGE]);
    command.args(["--bin", settings::SERVER_PACKAGE]);
    let linger = cargo::build(command, &step)?
        .pop()
        .context("cargo named no program")?;
    step.done("compiled");
    let entries = entries(&linger, &options.ids)?;
    let step = steps.begin(&format!(
        "Run {} experiments, {} times each",
        entries.len(),
        options.runs
    ));
    let verdicts = verdicts(&linger, &entries, options.runs, &|said| step.note(said))?;
    step.done("all have run");
    let (table, excessive) = table(&entries, &verdicts);
    if options.ids.is_empty() {
        let path = settings::root().join(CATALOGUE);
        fs::write(&path, page(&table, options.runs)).context(CATALOGUE)?;
        println!("{CATALOGUE} is written");
    } else {
        print!("{table}");
    }
    for line in &excessive {
        eprintln!("{line}");
    }
    Ok(match excessive.is_empty() {
        true => ExitCode::SUCCESS,
        false => ExitCode::FAILURE,
    })
}

/// The experiments that are asked for; all where none is named.
fn entries(linger: &Path, ids: &[String]) -> Result<Vec<Entry>> {
    let output = Command::new(linger)
        .args(["experiments", "--json"])
        .output()
        .context("`linger experiments` cannot be started")?;
    let catalogue: Vec<Value> =
        serde_json::from_slice(&output.stdout).context("what `linger experiments` says")?;
    let text = |entry: &Value, field: &str| entry[field].as_str().unwrap_or_default().to_owned();
    let all: Vec<Entry> = catalogue
        .iter()
        .map(|entry| Entry {
            id: text(entry, "id"),
            question: text(entry, "question"),
        })
        .collect();
    if let Some(wanted) = ids
        .iter()
        .find(|id| all.iter().all(|entry| entry.id != **id))
    {
        bail!("`{wanted}` is no experiment; `linger experiments` lists them");
    }
    Ok(all
        .into_iter()
        .filter(|entry| ids.is_empty() || ids.contains(&entry.id))
        .collect())
}

/// The verdicts of all runs, by experiment.
fn verdicts(
    linger: &Path,
    entries: &[Entry],
    runs: usize,
    note: &(dyn Fn(&str) + Sync),
) -> Result<Vec<Vec<Value>>> {
    let queue: Mutex<Vec<usize>> = Mutex::new(
        (0..runs)
            .flat_map(|_| 0..entries.len())
            .rev()
            .collect::<Vec<_>>(),
    );
    let done: Mutex<Vec<Vec<Value>>> = Mutex::new(entries.iter().map(|_| Vec::new()).collect());
    let work = || -> Result<()> {
        loop {
            let next = queue.lock().ok().and_then(|mut queue| queue.pop());
            let Some(index) = next else { return Ok(()) };
            let verdict = verdict(linger, &entries[index].id)?;
            note(&format!("{} is done", entries[index].id));
            if let Ok(mut done) = done.lock() {
                done[index].push(verdict);
            }
        }
    };
    std::thread::scope(|scope| -> Result<()> {
        let workers: Vec<_> = (0..AT_ONCE).map(|_| scope.spawn(work)).collect();
        for worker in workers {
            worker
                .join()
                .map_err(|_| anyhow::anyhow!("a run's thread"))??;
        }
        Ok(())
    })?;
    done.into_inner()
        .map_err(|_| anyhow::anyhow!("a run's thread"))
}

/// Runs an experiment with its defaults; its verdict.
fn verdict(linger: &Path, id: &str) -> Result<Value> {
    let output = Command::new(linger)
        .args(["run", id, "--format", "jsonl", "--no-record"])
        .output()
        .with_context(|| format!("`linger run {id}` cannot be started"))?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(
        output.status.success(),
        "`linger run {id}` failed: {}",
        said.trim()
    );
    String::from_utf8_lossy(&output.stdout)
        .lines()
        .rev()
        .filter_map(|line| serde_json::from_str::<Value>(line).ok())
        .find(|event| event["kind"] == "verdict")
        .with_context(|| format!("`linger run {id}` gave no verdict"))
}

/// What each run measured, name by name, in the order in which they were first measured.
fn rows(verdicts: &[Value]) -> Vec<Row> {
    let mut rows: Vec<Row> = Vec::new();
    for verdict in verdicts {
        for measurement in verdict["measurements"].as_array().into_iter().flatten() {
            let name = measurement["name"].as_str().unwrap_or_default();
            let span = (
                measurement["predicted_us"].as_u64(),
                measurement["measured_us"].as_u64(),
            );
            match rows.iter_mut().find(|row| row.name == name) {
                Some(row) => row.spans.push(span),
                None => rows.push(Row {
                    name: name.to_owned(),
                    spans: vec![span],
                }),
            }
        }
    }
    rows
}

impl Row {
    /// The run whose measured span is in the middle.
    fn middle(&self) -> (Option<u64>, Option<u64>) {
        let mut spans = self.spans.clone();
        spans.sort_by_key(|(_, measured)| *measured);
        spans.get(spans.len() / 2).copied().unwrap_or_default()
    }

    /// The largest difference of the runs: in microseconds, and as a part of what was predicted.
    fn worst(&self) -> Option<(i64, f64)> {
        self.spans
            .iter()
            .filter_map(|(predicted, measured)| {
                let predicted = i64::try_from((*predicted)?).ok()?;
                let off = i64::try_from((*measured)?).ok()? - predicted;
                Some((off, off as f64 / predicted.max(1) as f64))
            })
            .max_by_key(|(off, _)| off.abs())
    }

    /// Whether a difference is larger than is promised.
    fn is_excessive(&self) -> bool {
        self.worst().is_some_and(|(off, share)| {
            off.unsigned_abs() > TOLERATED_US && share.abs() > TOLERATED_SHARE
        })
    }
}

/// The table, and what is to be complained of.
fn table(entries: &[Entry], verdicts: &[Vec<Value>]) -> (String, Vec<String>) {
    let mut text = String::from(
        "| id | question | span | predicted | measured | difference at most | verdict |\n\
         |---|---|---|---|---|---|---|\n",
    );
    let mut excessive = Vec::new();
    for (entry, verdicts) in entries.iter().zip(verdicts) {
        let last = verdicts.last();
        let summary = last.and_then(|verdict| verdict["summary"].as_str());
        let mut about = [
            format!("`{}`", entry.id),
            entry.question.clone(),
            summary.unwrap_or_default().to_owned(),
        ];
        let mut rows = rows(verdicts);
        if rows.is_empty() {
            rows.push(Row {
                name: String::new(),
                spans: Vec::new(),
            });
        }
        for row in &rows {
            let (predicted, measured) = row.middle();
            let worst = row.worst().map_or_else(String::new, |(off, share)| {
                format!("{:+.1} ms ({:+.1} %)", off as f64 / 1e3, share * 100.0)
            });
            if row.is_excessive() {
                excessive.push(format!("{}: {} is off by {worst}", entry.id, row.name));
            }
            let cells = [
                std::mem::take(&mut about[0]),
                std::mem::take(&mut about[1]),
                row.name.replace('_', " "),
                seconds(predicted),
                seconds(measured),
                worst,
                std::mem::take(&mut about[2]),
            ]
            .map(|cell| cell.replace('|', "\\|").replace('\n', " "));
            text.push_str(&format!("| {} |\n", cells.join(" | ")));
        }
    }
    (text, excessive)
}

/// A span in seconds.
fn seconds(us: Option<u64>) -> String {
    us.map_or_else(
        || "none".to_owned(),
        |us| format!("{:.3} s", us as f64 / 1e6),
    )
}

/// The page that the table is on.
fn page(table: &str, runs: usize) -> String {
    format!(
        "# The measured catalogue\n\n\
         Every experiment with its default parameters: what theory says from the parameters and the\n\
         kernel's settings, and what {runs} runs measured. Of each span the run in the middle is\n\
         shown, and the largest difference of all. `none` under *predicted* means that no theory\n\
         says so beforehand, and under *measured* that it did not happen, as it should not.\n\n\
         Written by `cargo xtask experiments` on Linux {}; do not edit.\n\n{table}",
        kernel()
    )
}

fn kernel() -> String {
    let version = fs::read_to_string(PathBuf::from("/proc/sys/kernel/osrelease"));
    let version = version.unwrap_or_default();
    // What a distribution adds says nothing about the protocol.
    version
        .trim()
        .split('-')
        .next()
        .unwrap_or_default()
        .to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn verdict(spans: &[(&str, Option<u64>, Option<u64>)]) -> Value {
        let measurements: Vec<Value> = spans
            .iter()
            .map(|(name, predicted, measured)| {
                serde_json::json!({
                    "name": name, "predicted_us": predicted, "measured_us": measured,
                })
            })
            .collect();
        serde_json::json!({"kind": "verdict", "summary": "Gone.", "measurements": measurements})
    }

    #[test]
    fn a_table_has_a_row_for_each_span_and_the_worst_difference_of_all_runs() {
        let entries = [Entry {
            id: "tcp-a".to_owned(),
            question: "a | b?".to_owned(),
        }];
        let runs = vec![vec![
            verdict(&[
                ("detection", Some(5_000_000), Some(5_020_000)),
                ("b", None, None),
            ]),
            verdict(&[
                ("detection", Some(5_000_000), Some(5_400_000)),
                ("b", None, None),
            ]),
            verdict(&[
                ("detection", Some(5_000_000), Some(5_010_000)),
                ("b", None, None),
            ]),
        ]];
        let (table, excessive) = table(&entries, &runs);
        let lines: Vec<&str> = table.lines().skip(2).collect();
        assert_eq!(
            lines,
            [
                "| `tcp-a` | a \\| b? | detection | 5.000 s | 5.020 s | +400.0 ms (+8.0 %) | Gone. |",
                "|  |  | b | none | none |  |  |",
            ]
        );
        assert_eq!(excessive, ["tcp-a: detection is off by +400.0 ms (+8.0 %)"]);
    }

    #[test]
    fn a_small_difference_may_be_a_large_part() {
        let row = |predicted, measured| Row {
            name: "connect".to_owned(),
            spans: vec![(Some(predicted), Some(measured))],
        };
        assert!(!row(100, 40_000).is_excessive());
        assert!(!row(10_000_000, 10_400_000).is_excessive());
        assert!(row(1_000_000, 900_000).is_excessive());
    }

    #[test]
    fn options_are_read() {
        let parse = |arguments: &[&str]| {
            let arguments: Vec<String> = arguments.iter().map(|&a| a.to_owned()).collect();
            Options::parse(&arguments)
        };
        assert_eq!(
            parse(&["--runs", "5", "tcp-a"]).unwrap(),
            Options {
                ids: vec!["tcp-a".to_owned()],
                runs: 5
            }
        );
        assert!(parse(&["--runs", "0"]).is_err());
        assert!(parse(&["--fast"]).is_err());
    }
}
