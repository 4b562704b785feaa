//! What the stages did: said while they run, counted, and said again at the end.

use std::{
    io::{BufRead, BufReader, Write},
    process::{Command, ExitCode, Stdio},
    time::Instant,
};

use anyhow::{Context, Error, Result};

use super::summary::{self, Tally};
use crate::{
    cargo,
    progress::{Steps, seconds},
};

/// Why a stage cannot run here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Missing {
    /// What was looked for and not found.
    pub(crate) reason: String,
    /// What would provide it.
    pub(crate) remedy: String,
    /// How many tests did not run.
    pub(crate) tests: usize,
}

/// How a stage ended that did not break off.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Ended {
    /// All of it was run; the tally tells the rest.
    Ran,
    /// This machine cannot run it.
    Skipped(Missing),
}

/// Collects what the stages do.
#[derive(Debug)]
pub(crate) struct Report {
    require_all: bool,
    lines: Vec<String>,
    total: Tally,
    stage: &'static str,
    tally: Tally,
    began: Instant,
}

impl Report {
    /// Nothing was run yet.
    pub(crate) fn new(require_all: bool) -> Self {
        Self {
            require_all,
            lines: Vec::new(),
            total: Tally::default(),
            stage: "",
            tally: Tally::default(),
            began: Instant::now(),
        }
    }

    /// Announces a stage.
    pub(crate) fn begin(&mut self, stage: &'static str, what: &str) {
        self.stage = stage;
        self.tally = Tally::default();
        self.began = Instant::now();
        println!("\n== {stage}: {what}");
    }

    /// Runs a command that only succeeds or fails; that counts as one test.
    pub(crate) fn check(&mut self, mut command: Command) {
        let line = cargo::typed(&command);
        println!("$ {line}");
        let outcome = match command.status() {
            Ok(status) if status.success() => "ok".to_owned(),
            Ok(status) => format!("failed ({status})"),
            Err(error) => format!("cannot be started: {error}"),
        };
        println!("`{line}`: {outcome}");
        let passed = usize::from(outcome == "ok");
        self.tally.passed += passed;
        self.tally.failed += 1 - passed;
    }

    /// Runs a program whose output is Rust's own test harness's, shows it, and counts its tests.
    ///
    /// # Errors
    /// When it cannot be started. A failure that no test owns up to, such as one that does not
    /// compile, counts as one failed test.
    pub(crate) fn tests(&mut self, mut command: Command) -> Result<()> {
        let line = cargo::typed(&command);
        println!("$ {line}");
        // Compiled beforehand, so that hundreds of lines about crates do not bury the tests. Cargo
        // cannot do so with documentation tests.
        if !command.get_args().any(|argument| argument == "--doc") {
            // What follows `--` is for the tests.
            let mut compilation = again(&command);
            compilation.arg("--no-run");
            if let Err(error) = compile(compilation) {
                println!("{error:#}");
                self.tally.failed += 1;
                return Ok(());
            }
        }
        let mut child = command
            .stdout(Stdio::piped())
            .spawn()
            .with_context(|| format!("`{line}` cannot be started"))?;
        let mut tally = Tally::default();
        if let Some(stdout) = child.stdout.take() {
            for text in BufReader::new(stdout).split(b'\n') {
                let text = text.with_context(|| format!("read the output of `{line}`"))?;
                let text = String::from_utf8_lossy(&text);
                println!("{text}");
                tally += summary::of_line(&text).unwrap_or_default();
            }
        }
        let status = child.wait().with_context(|| format!("`{line}`"))?;
        if !status.success() && tally.failed == 0 {
            println!("`{line}` failed ({status})");
            tally.failed = 1;
        }
        println!("`{line}`: {}", said(tally));
        self.tally += tally;
        Ok(())
    }

    /// Counts what a stage did and says so.
    pub(crate) fn end(&mut self, result: Result<Ended, Error>) {
        let name = self.stage;
        match result {
            Err(error) => {
                println!("{name} broke off: {error:#}");
                self.tally.failed += 1;
                self.lines.push(format!("{name}: broke off: {error:#}"));
            }
            Ok(Ended::Skipped(missing)) => {
                let Missing {
                    reason,
                    remedy,
                    tests,
                } = missing;
                self.tally.skipped += tests;
                self.lines
                    .push(format!("{name}: skipped {tests} tests: {reason}; {remedy}"));
            }
            Ok(Ended::Ran) if self.tally == Tally::default() => {
                self.tally.failed += 1;
                self.lines
                    .push(format!("{name}: failed: there is no test in it"));
            }
            Ok(Ended::Ran) => self.lines.push(format!("{name}: {}", said(self.tally))),
        }
        self.total += self.tally;
        if let Some(line) = self.lines.last() {
            println!("== {line} ({})", seconds(self.began.elapsed()));
        }
    }

    /// Says everything again in short, and tells the exit status.
    pub(crate) fn finish(self) -> ExitCode {
        println!();
        for line in &self.lines {
            println!("{line}");
        }
        let incomplete = self.require_all && self.total.skipped > 0;
        if incomplete {
            println!("failed: --require-all was given, and not everything could be run");
        }
        println!("{}", said(self.total));
        let _ = std::io::stdout().flush();
        if self.total.failed > 0 || incomplete {
            ExitCode::FAILURE
        } else {
            ExitCode::SUCCESS
        }
    }
}

/// Compiles, with the progress of a task of one step.
pub(crate) fn compile(command: Command) -> Result<Vec<std::path::PathBuf>> {
    let line = cargo::typed(&command);
    let step = Steps::new(1).begin(&line);
    let built = cargo::build(command, &step)?;
    step.done("done");
    Ok(built)
}

/// The same command once more, without what follows `--`.
fn again(command: &Command) -> Command {
    let mut copy = Command::new(command.get_program());
    copy.args(command.get_args().take_while(|argument| *argument != "--"));
    if let Some(folder) = command.get_current_dir() {
        copy.current_dir(folder);
    }
    for (name, value) in command.get_envs() {
        match value {
            Some(value) => copy.env(name, value),
            None => copy.env_remove(name),
        };
    }
    copy
}

fn said(tally: Tally) -> String {
    let Tally {
        passed,
        failed,
        skipped,
    } = tally;
    format!("{passed} passed, {failed} failed, {skipped} skipped")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report(require_all: bool, passed: usize, result: Result<Ended>) -> (Tally, ExitCode) {
        let mut report = Report::new(require_all);
        report.begin("unit", "a test");
        report.tally.passed = passed;
        report.end(result);
        (report.total, report.finish())
    }

    fn skipped() -> Ended {
        Ended::Skipped(Missing {
            reason: "no namespaces".to_owned(),
            remedy: "run it as root".to_owned(),
            tests: 4,
        })
    }

    #[test]
    fn what_is_for_the_tests_is_not_for_their_compilation() {
        let mut command = Command::new("cargo");
        command.args(["test", "--test", "net", "--", "--skip", "exec"]);
        let copy = again(&command);
        assert_eq!(
            copy.get_args().collect::<Vec<_>>(),
            ["test", "--test", "net"]
        );
    }

    #[test]
    fn a_skipped_stage_fails_only_where_all_is_required() {
        let (tally, code) = report(false, 0, Ok(skipped()));
        assert_eq!((tally.skipped, tally.failed), (4, 0));
        assert_eq!(code, ExitCode::SUCCESS);
        let (_, code) = report(true, 0, Ok(skipped()));
        assert_eq!(code, ExitCode::FAILURE);
    }

    #[test]
    fn a_stage_without_tests_fails() {
        let (tally, code) = report(false, 0, Ok(Ended::Ran));
        assert_eq!(tally.failed, 1);
        assert_eq!(code, ExitCode::FAILURE);
    }

    #[test]
    fn a_stage_that_breaks_off_fails() {
        let (tally, code) = report(false, 3, Err(anyhow::anyhow!("out of disk")));
        assert_eq!((tally.passed, tally.failed), (3, 1));
        assert_eq!(code, ExitCode::FAILURE);
    }

    #[test]
    fn the_closing_line_has_its_exact_form() {
        let tally = Tally {
            passed: 12,
            failed: 0,
            skipped: 3,
        };
        assert_eq!(said(tally), "12 passed, 0 failed, 3 skipped");
    }
}
