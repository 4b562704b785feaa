//! `cargo xtask fuzz`: gives the dissectors inputs that libFuzzer makes up.
//!
//! The fuzz targets in `fuzz/` are laid out as cargo-fuzz wants them, and are built here without
//! it: LLVM's coverage is there in every stable compiler, behind flags that are stable too. What
//! cargo-fuzz adds is a sanitizer for addresses, which needs a nightly compiler and looks for
//! mistakes that code without `unsafe` cannot make.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, ExitCode},
    time::Instant,
};

use anyhow::{Context, Result, bail};

use crate::{cargo, settings};

pub(crate) const HELP: &str = "\
Give the dissectors inputs that libFuzzer makes up.

Usage: cargo xtask fuzz [TARGET]... [OPTIONS]

Without a target, or with `all`, every target has its turn, one after the other; each is a file in
fuzz/fuzz_targets. What is found goes into target/fuzz/corpus and is gone on from next time; an
input that breaks a promise is kept in target/fuzz/artifacts.

Options:
  --runs N     Inputs for each target, 10000000 unless told
  --build      Build the targets and run none

Examples:
  cargo xtask fuzz
  cargo xtask fuzz flow reassembly --runs 1000000
";

/// Inputs for each target, unless told otherwise.
const RUNS: u64 = 10_000_000;

/// The longest inputs that are made up, in bytes: long enough for several segments or records.
const MAX_LENGTH: &str = "1024";

/// What makes a program tell libFuzzer where it has been. A script that is built for the build
/// must not have it, so these flags go with a target of their own.
const FLAGS: &str = "--cfg fuzzing -Cpasses=sancov-module \
                     -Cllvm-args=-sanitizer-coverage-level=4 \
                     -Cllvm-args=-sanitizer-coverage-inline-8bit-counters \
                     -Cllvm-args=-sanitizer-coverage-pc-table \
                     -Cllvm-args=-sanitizer-coverage-trace-compares";

/// What was asked for on the command line.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Options {
    /// The targets; none means all.
    targets: Vec<String>,
    runs: u64,
    only_build: bool,
}

impl Options {
    /// Reads the arguments after `fuzz`.
    ///
    /// # Errors
    /// Names the argument that is not understood.
    pub(crate) fn parse(arguments: &[String]) -> Result<Self> {
        let mut options = Self {
            targets: Vec::new(),
            runs: RUNS,
            only_build: false,
        };
        let mut arguments = arguments.iter();
        while let Some(argument) = arguments.next() {
            match argument.as_str() {
                "all" => {}
                "--build" => options.only_build = true,
                "--runs" => {
                    let number = arguments.next().context("--runs needs a number")?;
                    options.runs = runs(number)?;
                }
                other => match other.strip_prefix("--runs=") {
                    Some(number) => options.runs = runs(number)?,
                    None if other.starts_with('-') => {
                        bail!("`{other}` is not known to fuzz; see `cargo xtask fuzz --help`")
                    }
                    None => options.targets.push(other.to_owned()),
                },
            }
        }
        Ok(options)
    }
}

fn runs(number: &str) -> Result<u64> {
    // 0 would mean no end to libFuzzer.
    match number.replace('_', "").parse() {
        Ok(runs) if runs > 0 => Ok(runs),
        _ => bail!("--runs wants a number of 1 or more, not `{number}`"),
    }
}

/// Builds the targets and runs what was asked for. Fails where an input broke a promise.
///
/// # Errors
/// When a target is not known, or cannot be built or started.
pub(crate) fn run(options: &Options) -> Result<ExitCode> {
    let root = settings::root();
    let known = targets(&root.join("fuzz/fuzz_targets"))?;
    for target in &options.targets {
        if !known.contains(target) {
            bail!(
                "`{target}` is no fuzz target; it is one of {}",
                known.join(", ")
            );
        }
    }
    let programs = build()?;
    if options.only_build {
        println!("Built into {}", programs.display());
        return Ok(ExitCode::SUCCESS);
    }
    let chosen = match options.targets.is_empty() {
        true => &known,
        false => &options.targets,
    };
    let mut broken = Vec::new();
    for target in chosen {
        println!("Fuzzing {target} with {} inputs", options.runs);
        let begun = Instant::now();
        let status = fuzzer(&root, &programs, target, options.runs)?
            .status()
            .with_context(|| format!("cannot start the fuzz target {target}"))?;
        let took = begun.elapsed().as_secs_f64();
        if status.success() {
            let rate = options.runs as f64 / took;
            println!(
                "{target}: {} inputs in {took:.0} s, {rate:.0} per second",
                options.runs
            );
        } else {
            println!("{target}: broken, {status}");
            broken.push(target.as_str());
        }
    }
    if broken.is_empty() {
        return Ok(ExitCode::SUCCESS);
    }
    println!(
        "Broken: {}; the inputs are in target/fuzz/artifacts",
        broken.join(", ")
    );
    Ok(ExitCode::FAILURE)
}

/// The names of the targets, in order.
fn targets(folder: &Path) -> Result<Vec<String>> {
    let entries =
        fs::read_dir(folder).with_context(|| format!("cannot read {}", folder.display()))?;
    let mut names = Vec::new();
    for entry in entries {
        let path = entry?.path();
        if let Some(name) = path.file_stem().and_then(|name| name.to_str()) {
            names.push(name.to_owned());
        }
    }
    names.sort();
    Ok(names)
}

/// Builds all targets, and gives the folder that they are in.
fn build() -> Result<PathBuf> {
    let host = host()?;
    let folder = settings::target_dir().join("fuzz");
    let mut command = cargo::command();
    command
        .args(["build", "--release", "--manifest-path", "fuzz/Cargo.toml"])
        .args(["--target", &host, "--target-dir"])
        .arg(&folder)
        .env("RUSTFLAGS", FLAGS);
    let status = command
        .status()
        .with_context(|| format!("cannot start `{}`", cargo::typed(&command)))?;
    if !status.success() {
        bail!(
            "`{}` failed; libFuzzer needs a C++ compiler (g++ on Debian)",
            cargo::typed(&command)
        );
    }
    Ok(folder.join(host).join("release"))
}

/// The name that the compiler has for this machine.
fn host() -> Result<String> {
    let rustc = std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    let output = Command::new(&rustc)
        .arg("-vV")
        .output()
        .with_context(|| format!("cannot start {}", rustc.to_string_lossy()))?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let host = text.lines().find_map(|line| line.strip_prefix("host: "));
    Ok(host.context("rustc -vV names no host")?.to_owned())
}

/// The command that gives a target its inputs. libFuzzer writes what is new into the first folder
/// and only reads the second, the corpus that is kept.
fn fuzzer(root: &Path, programs: &Path, target: &str, runs: u64) -> Result<Command> {
    let corpus = settings::target_dir().join("fuzz/corpus").join(target);
    let artifacts = settings::target_dir().join("fuzz/artifacts").join(target);
    for folder in [&corpus, &artifacts] {
        fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
    }
    let mut command = Command::new(programs.join(target));
    command
        .arg(format!("-runs={runs}"))
        .arg(format!("-max_len={MAX_LENGTH}"))
        .arg(format!("-artifact_prefix={}/", artifacts.display()))
        .args(["-print_final_stats=1", "-verbosity=0", "-timeout=10"])
        .arg(corpus)
        .arg(root.join("fuzz/corpus").join(target));
    Ok(command)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options(arguments: &[&str]) -> Result<Options> {
        let arguments: Vec<String> = arguments.iter().map(|&text| text.to_owned()).collect();
        Options::parse(&arguments)
    }

    #[test]
    fn all_targets_have_ten_million_inputs_unless_told() {
        let all = Options {
            targets: Vec::new(),
            runs: 10_000_000,
            only_build: false,
        };
        assert_eq!(options(&[]).unwrap(), all);
        assert_eq!(options(&["all"]).unwrap(), all);
        let some = Options {
            targets: vec!["flow".to_owned()],
            runs: 5_000,
            only_build: false,
        };
        assert_eq!(options(&["flow", "--runs", "5_000"]).unwrap(), some);
        assert_eq!(options(&["--runs=5000", "flow"]).unwrap(), some);
    }

    #[test]
    fn what_is_not_understood_is_named() {
        for arguments in [
            &["--rnus", "5"][..],
            &["--runs", "many"],
            &["--runs=0"],
            &["--runs"],
        ] {
            let error = options(arguments).unwrap_err().to_string();
            assert!(error.contains("--r"), "{error}");
        }
    }

    #[test]
    fn the_targets_are_those_that_the_manifest_builds() {
        let root = settings::root();
        let manifest = fs::read_to_string(root.join("fuzz/Cargo.toml")).unwrap();
        for target in targets(&root.join("fuzz/fuzz_targets")).unwrap() {
            let path = format!("path = \"fuzz_targets/{target}.rs\"");
            assert!(manifest.contains(&path), "{target}");
        }
    }
}
