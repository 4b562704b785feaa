//! `cargo xtask test`: everything that must pass, in stages that can also be run alone.
//!
//! No stage passes by doing nothing: what this machine cannot run is counted as skipped, with the
//! reason and the remedy, and said again at the end; under `--require-all` it is a failure. The
//! very last line is `N passed, N failed, N skipped`.

mod programs;
mod report;
mod stages;
mod summary;

use std::process::ExitCode;

use anyhow::{Result, bail};

pub(crate) use self::stages::screenshots;
use self::{report::Report, stages::Stage};

pub(crate) const HELP: &str = "\
Run everything that must pass, or some stages of it.

Usage: cargo xtask test [STAGE]... [--require-all]

Stages:
  lint       Format, and clippy with warnings denied, with and without the packet wire
  unit       Unit, integration and documentation tests, with and without the packet wire
  net        Tests in real network namespaces
  web        Tests of the front-end as WebAssembly in a browser
  browser    Walks through the page in a real Chromium against the real server

Options:
  --require-all    Fail where a stage cannot run on this machine, instead of skipping it

Environment:
  CHROME          The Chromium to use instead of the one on PATH
  CHROMEDRIVER    The driver to use instead of the one on PATH
  TSHARK          The tshark to use instead of the one on PATH, with editcap beside it
The stage `net` also runs curl and node. Where one of them is not to be found, root on Debian gets
its package: chromium, chromium-driver, tshark, curl, nodejs.

Examples:
  cargo xtask test
  cargo xtask test unit net
";

/// What was asked for on the command line.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Options {
    stages: Vec<Stage>,
    require_all: bool,
}

impl Options {
    /// Reads the arguments after `test`; no stage means all of them.
    ///
    /// # Errors
    /// Names the argument that is not understood.
    pub(crate) fn parse(arguments: &[String]) -> Result<Self> {
        let mut options = Self {
            stages: Vec::new(),
            require_all: false,
        };
        for argument in arguments {
            if argument == "--require-all" {
                options.require_all = true;
            } else if let Some(stage) = Stage::ALL.iter().find(|stage| stage.name() == argument) {
                options.stages.push(*stage);
            } else {
                let known = Stage::ALL.map(Stage::name).join(", ");
                bail!("`{argument}` is no stage; it is one of {known}, or --require-all");
            }
        }
        if options.stages.is_empty() {
            options.stages.extend(Stage::ALL);
        }
        Ok(options)
    }
}

/// Runs the stages one after the other, each whatever became of those before it.
///
/// # Errors
/// None of its own; a stage's error is that stage's failure.
pub(crate) fn run(options: Options) -> Result<ExitCode> {
    let mut report = Report::new(options.require_all);
    for stage in options.stages {
        report.begin(stage.name(), stage.what());
        let result = stage.run(&mut report);
        report.end(result);
    }
    Ok(report.finish())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(arguments: &[&str]) -> Result<Options> {
        let arguments: Vec<String> = arguments.iter().map(|&text| text.to_owned()).collect();
        Options::parse(&arguments)
    }

    #[test]
    fn without_a_stage_all_are_run() {
        let options = parse(&["--require-all"]).unwrap();
        assert_eq!(options.stages, Stage::ALL);
        assert!(options.require_all);
    }

    #[test]
    fn stages_are_run_in_the_order_of_their_naming() {
        let options = parse(&["net", "unit"]).unwrap();
        assert_eq!(options.stages, [Stage::Net, Stage::Unit]);
        assert!(!options.require_all);
    }

    #[test]
    fn an_unknown_stage_is_named_beside_the_known_ones() {
        let error = parse(&["unti"]).unwrap_err().to_string();
        assert!(error.contains("`unti`") && error.contains("lint, unit, net, web, browser"));
    }
}
