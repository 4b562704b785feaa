//! The stages: what each runs, and what it needs from the machine.
//!
//! All of them compile with the same profile and the same choice of packages, so that little is
//! compiled twice; only the browser stage's server carries the front-end inside.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, ExitCode},
};

use anyhow::{Context, Result};
use serde_json::{Value, json};

use super::{
    programs::{self, CHROMIUM, CURL, DRIVER, NODE, TSHARK, Wanted},
    report::{Ended, Missing, Report, compile},
    summary,
};
use crate::{
    cargo,
    progress::{Steps, is_terminal},
    settings::{self, DIST_VARIABLE, SERVER_PACKAGE, WASM_TARGET, WEB_PACKAGE},
    toolchain, web,
};

/// The packages that only a stage with a browser needs.
const BROWSER_PACKAGES: [&str; 2] = [BROWSER_TESTS, RUNNER];
const BROWSER_TESTS: &str = "browser-tests";
const RUNNER: &str = "wasm-test-runner";

/// Where tests in network namespaces are: every file there whose name begins with [`NET`].
const SERVER_TESTS: &str = "server/tests";
const NET: &str = "net";
/// The files among them whose tests need programs of others.
const WITH_PROGRAMS: [(&str, &[Wanted]); 2] =
    [("exec", &[CURL, NODE]), ("export", &[TSHARK, NODE])];

/// A part of everything that must pass.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stage {
    /// Format and clippy.
    Lint,
    /// What needs nothing but the compiler.
    Unit,
    /// Real namespaces.
    Net,
    /// WebAssembly in a browser.
    Web,
    /// The page against the server.
    Browser,
}

impl Stage {
    /// All of them, in their order.
    pub(crate) const ALL: [Self; 5] = [Self::Lint, Self::Unit, Self::Net, Self::Web, Self::Browser];

    /// Its name on the command line.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Lint => "lint",
            Self::Unit => "unit",
            Self::Net => "net",
            Self::Web => "web",
            Self::Browser => "browser",
        }
    }

    /// What it is for.
    pub(crate) const fn what(self) -> &'static str {
        match self {
            Self::Lint => "format and lints",
            Self::Unit => "tests that need nothing but the compiler",
            Self::Net => "tests in real network namespaces",
            Self::Web => "the front-end's tests as WebAssembly in a browser",
            Self::Browser => "the page in a real Chromium against the real server",
        }
    }

    /// Runs it.
    ///
    /// # Errors
    /// When something breaks that is no test.
    pub(crate) fn run(self, report: &mut Report) -> Result<Ended> {
        match self {
            Self::Lint => Ok(lint(report)),
            Self::Unit => unit(report),
            Self::Net => net(report),
            Self::Web => wasm(report),
            Self::Browser => browser(report),
        }
    }
}

fn lint(report: &mut Report) -> Ended {
    report.check(cargo_with(&["fmt", "--all", "--check"]));
    // The fuzz targets are a workspace of their own. Clippy would have libFuzzer compiled for them
    // first, which is a minute of C++; each is one call into `dissect::fuzzing`, which is linted and
    // has its corpus replayed with the tests of its package.
    report.check(cargo_with(&[
        "fmt",
        "--check",
        "--manifest-path",
        "fuzz/Cargo.toml",
    ]));
    for choice in [
        &["--workspace"][..],
        &["--package", SERVER_PACKAGE, "--no-default-features"],
    ] {
        let mut command = cargo_with(&["clippy", "--all-targets"]);
        command.args(choice).args(quiet());
        command.args(["--", "-D", "warnings"]);
        report.check(command);
    }
    Ended::Ran
}

fn unit(report: &mut Report) -> Result<Ended> {
    let mut tests = vec!["--lib".to_owned(), "--bins".to_owned()];
    for name in test_targets(&["shared/tests", SERVER_TESTS, "xtask/tests"], |name| {
        !name.starts_with(NET)
    })? {
        tests.extend(["--test".to_owned(), name]);
    }
    let mut command = on_workspace("test");
    command.args(&tests);
    report.tests(command)?;
    let mut command = on_workspace("test");
    command.arg("--doc");
    report.tests(command)?;

    // Without the packet wire, as on a system that is not Linux.
    let mut command = cargo_with(&["test", "--no-fail-fast", "--package", SERVER_PACKAGE]);
    command.args(["--no-default-features", "--lib", "--bins"]);
    for name in test_targets(&[SERVER_TESTS], |name| !name.starts_with(NET))? {
        command.args(["--test", &name]);
    }
    report.tests(command)?;
    Ok(Ended::Ran)
}

fn net(report: &mut Report) -> Result<Ended> {
    let targets = test_targets(&[SERVER_TESTS], |name| name.starts_with(NET))?;
    if let Some(mut missing) = no_namespaces(&server(None)?)? {
        missing.tests = count(&settings::root().join(SERVER_TESTS), NET);
        return Ok(Ended::Skipped(missing));
    }
    let mut command = on_workspace("test");
    for name in targets {
        command.args(["--test", &name]);
    }
    let left_out = left_out(programs::find)?;
    if let Ok(tshark) = programs::find(TSHARK) {
        command.env("TSHARK", tshark);
    }
    command.arg("--").args(left_out.arguments);
    report.tests(command)?;
    Ok(left_out.missing.map_or(Ended::Ran, Ended::Skipped))
}

/// What has to be left out of the tests in network namespaces.
struct LeftOut {
    /// What tells the tests' own harness so.
    arguments: Vec<String>,
    /// Why, where something is.
    missing: Option<Missing>,
}

/// Looks for the programs of others, and leaves out the files whose programs are not to be had.
fn left_out(find: impl Fn(Wanted) -> Result<PathBuf, String>) -> Result<LeftOut> {
    let mut arguments = Vec::new();
    let mut reasons: Vec<String> = Vec::new();
    let mut tests = 0;
    for (file, wanted) in WITH_PROGRAMS {
        let found = wanted.iter().map(|wanted| find(*wanted));
        let absent: Vec<String> = found.filter_map(Result::err).collect();
        if !absent.is_empty() {
            arguments.extend(["--skip".to_owned(), format!("{file}::")]);
            tests += tests_of(file)?;
            reasons.extend(absent);
        }
    }
    reasons.sort();
    reasons.dedup();
    let missing = (!reasons.is_empty()).then(|| Missing {
        reason: reasons.join(", "),
        remedy: "install curl, Node.js and Wireshark's tshark, or name the last in TSHARK"
            .to_owned(),
        tests,
    });
    Ok(LeftOut { arguments, missing })
}

/// How many tests a file of those in network namespaces has.
fn tests_of(file: &str) -> Result<usize> {
    let source = settings::root()
        .join(SERVER_TESTS)
        .join(NET)
        .join(file)
        .with_extension("rs");
    let source =
        fs::read_to_string(&source).with_context(|| format!("read {}", source.display()))?;
    Ok(summary::tests_in(&source))
}

fn wasm(report: &mut Report) -> Result<Ended> {
    let folder = settings::root().join("web/tests");
    let (chromium, driver) = match (programs::find(CHROMIUM), programs::find(DRIVER)) {
        (Ok(chromium), Ok(driver)) => (chromium, driver),
        (Err(reason), _) | (_, Err(reason)) => return Ok(no_browser(reason, count(&folder, ""))),
    };
    toolchain::ensure_wasm_target(Steps::new(1).begin("Look for the WebAssembly target"))?;
    let mut command = cargo_with(&["build", "--package", RUNNER]);
    command.args(["--bin", RUNNER]);
    let runner = compile(command)?
        .pop()
        .context("cargo built no test runner")?;

    let options = json!({
        "goog:chromeOptions": {
            "binary": chromium,
            "args": ["headless", "no-sandbox", "disable-gpu", "disable-quic", "no-first-run",
                "disable-background-networking", "disable-component-update", "disable-sync"],
        }
    });
    let configuration = settings::target_dir().join("web/webdriver.json");
    if let Some(parent) = configuration.parent() {
        fs::create_dir_all(parent).with_context(|| format!("create {}", parent.display()))?;
    }
    fs::write(&configuration, options.to_string())
        .with_context(|| format!("write {}", configuration.display()))?;

    let mut command = cargo_with(&["test", "--no-fail-fast", "--package", WEB_PACKAGE]);
    command.args(["--target", WASM_TARGET, "--test", "*"]);
    command
        .env("CARGO_TARGET_WASM32_UNKNOWN_UNKNOWN_RUNNER", runner)
        .env("CHROMEDRIVER", driver)
        .env("WASM_BINDGEN_TEST_WEBDRIVER_JSON", configuration);
    report.tests(command)?;
    Ok(Ended::Ran)
}

fn browser(report: &mut Report) -> Result<Ended> {
    let tests = count(&settings::root().join("xtask/browser-tests/tests"), "");
    let chromium = match programs::find(CHROMIUM) {
        Ok(chromium) => chromium,
        Err(reason) => return Ok(no_browser(reason, tests)),
    };
    let dist = web::build(&mut Steps::new(web::STEPS))?;
    let server = server(Some(&dist))?;
    if let Some(mut missing) = no_namespaces(&server)? {
        missing.tests = tests;
        return Ok(Ended::Skipped(missing));
    }
    let mut command = cargo_with(&["test", "--no-fail-fast", "--package", BROWSER_TESTS]);
    with_browser(&mut command, &chromium, &server);
    report.tests(command)?;
    Ok(Ended::Ran)
}

/// Renews the pictures of the page in `docs/screenshots`.
///
/// # Errors
/// Says what is missing or which step failed.
pub(crate) fn screenshots() -> Result<ExitCode> {
    let chromium = programs::find(CHROMIUM).map_err(anyhow::Error::msg)?;
    let dist = web::build(&mut Steps::new(web::STEPS))?;
    let server = server(Some(&dist))?;
    let mut command = cargo_with(&[
        "run",
        "--package",
        BROWSER_TESTS,
        "--bin",
        "screenshots",
        "--",
    ]);
    command.arg(settings::root().join("docs/screenshots"));
    with_browser(&mut command, &chromium, &server);
    let status = command
        .status()
        .context("the program that takes the pictures")?;
    Ok(if status.success() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

/// What the browser tests read; `browser-tests` documents the names.
fn with_browser(command: &mut Command, chromium: &Path, server: &Path) {
    command.env("LINGER_TEST_CHROMIUM", chromium);
    command.env("LINGER_TEST_SERVER", server);
}

/// Builds the server as the tests use it. One that carries the front-end is put beside that, out
/// of the way of a `cargo build` without it.
fn server(dist: Option<&Path>) -> Result<PathBuf> {
    let mut command = on_workspace("build");
    command.args(["--bin", SERVER_PACKAGE]);
    if let Some(dist) = dist {
        command.env(DIST_VARIABLE, dist);
    }
    let built = compile(command)?.pop().context("cargo built no server")?;
    let Some(folder) = dist.and_then(Path::parent) else {
        return Ok(built);
    };
    let name = built.file_name().context("the server has no name")?;
    let copy = folder.join(name);
    // A new file, not new content: the old one may be a program that still runs.
    let _ = fs::remove_file(&copy);
    fs::copy(&built, &copy).with_context(|| format!("copy the server to {}", copy.display()))?;
    Ok(copy)
}

/// Asks the server's own doctor whether this machine has what packets need.
fn no_namespaces(server: &Path) -> Result<Option<Missing>> {
    let output = Command::new(server)
        .args(["doctor", "--json"])
        .output()
        .with_context(|| format!("`{} doctor --json` cannot be started", server.display()))?;
    let doctor: Value = serde_json::from_slice(&output.stdout).with_context(|| {
        format!(
            "`linger doctor --json` answered no JSON ({})",
            output.status
        )
    })?;
    Ok(missing_of(&doctor))
}

/// What the doctor's report says is missing, where packets cannot be had.
fn missing_of(doctor: &Value) -> Option<Missing> {
    if doctor["mode"] == "packets" {
        return None;
    }
    let failed: Vec<&Value> = doctor["checks"]
        .as_array()
        .into_iter()
        .flatten()
        .filter(|check| check["ok"] == false)
        .collect();
    let each = |text: &dyn Fn(&Value) -> String| {
        failed
            .iter()
            .map(|check| text(check))
            .collect::<Vec<_>>()
            .join(", ")
    };
    let said = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    Some(Missing {
        reason: format!(
            "this machine has no network namespaces for it ({})",
            each(&|check| format!("{}: {}", said(&check["name"]), said(&check["found"])))
        ),
        remedy: each(&|check| said(&check["remedy"])),
        tests: 0,
    })
}

fn no_browser(reason: String, tests: usize) -> Ended {
    Ended::Skipped(Missing {
        reason,
        remedy: "install Chromium and its driver, or name them in CHROME and CHROMEDRIVER"
            .to_owned(),
        tests,
    })
}

/// Keeps hundreds of lines about crates out of a log; a terminal has cargo's progress bar.
fn quiet() -> Option<&'static str> {
    (!is_terminal()).then_some("--quiet")
}

fn cargo_with(arguments: &[&str]) -> Command {
    let mut command = cargo::command();
    // What was left over from building a server with the front-end would build another one.
    command.args(arguments).env_remove(DIST_VARIABLE);
    command
}

/// A cargo command on every package that needs no browser.
fn on_workspace(task: &str) -> Command {
    let mut command = cargo_with(&[task, "--workspace"]);
    for package in BROWSER_PACKAGES {
        command.args(["--exclude", package]);
    }
    if task == "test" {
        command.arg("--no-fail-fast");
    }
    command
}

/// The names of integration tests in some folders: cargo's own rule is a file, or a folder with a
/// `main.rs`.
fn test_targets(folders: &[&str], wanted: impl Fn(&str) -> bool) -> Result<Vec<String>> {
    let mut names = Vec::new();
    for folder in folders {
        let folder = settings::root().join(folder);
        let Ok(entries) = fs::read_dir(&folder) else {
            continue;
        };
        for entry in entries {
            let path = entry
                .with_context(|| format!("list {}", folder.display()))?
                .path();
            let is_target =
                path.extension() == Some("rs".as_ref()) || path.join("main.rs").is_file();
            if let (true, Some(name)) = (is_target, path.file_stem().and_then(|name| name.to_str()))
                && wanted(name)
            {
                names.push(name.to_owned());
            }
        }
    }
    names.sort();
    Ok(names)
}

/// How many tests the sources in a folder have, in files whose path below it begins with `prefix`.
fn count(folder: &Path, prefix: &str) -> usize {
    let Ok(entries) = fs::read_dir(folder) else {
        return 0;
    };
    entries
        .flatten()
        .filter(|entry| entry.file_name().to_string_lossy().starts_with(prefix))
        .map(|entry| {
            let path = entry.path();
            if path.is_dir() {
                count(&path, "")
            } else {
                fs::read_to_string(&path).map_or(0, |source| summary::tests_in(&source))
            }
        })
        .sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_doctor_says_what_is_missing() {
        assert_eq!(missing_of(&json!({"mode": "packets", "checks": []})), None);
        let missing = missing_of(&json!({
            "mode": "relay",
            "checks": [
                {"name": "network namespaces", "ok": true, "found": "yes", "remedy": ""},
                {"name": "/dev/net/tun", "ok": false, "found": "ENOENT", "remedy": "modprobe tun"},
            ],
        }))
        .unwrap();
        assert!(
            missing.reason.contains("/dev/net/tun: ENOENT"),
            "{}",
            missing.reason
        );
        assert_eq!(missing.remedy, "modprobe tun");
    }

    #[test]
    fn tests_whose_programs_are_missing_are_counted_and_the_reason_is_told_once() {
        let all_but = |absent: &'static [Wanted]| {
            move |wanted| match absent.contains(&wanted) {
                true => Err("not on PATH".to_owned()),
                false => Ok(PathBuf::from("there")),
            }
        };
        let all = left_out(all_but(&[])).unwrap();
        assert!(all.arguments.is_empty() && all.missing.is_none());

        let without = left_out(all_but(&[CURL, NODE])).unwrap();
        let skipped = ["--skip", "exec::", "--skip", "export::"];
        assert_eq!(without.arguments, skipped);
        let missing = without.missing.unwrap();
        assert_eq!(missing.reason, "not on PATH");
        let both = tests_of("exec").unwrap() + tests_of("export").unwrap();
        assert_eq!(missing.tests, both);

        let without = left_out(all_but(&[TSHARK])).unwrap();
        assert_eq!(without.arguments, ["--skip", "export::"]);
    }

    #[test]
    fn the_tests_of_this_repository_are_found() {
        let net = test_targets(&[SERVER_TESTS], |name| name.starts_with(NET)).unwrap();
        assert!(!net.is_empty(), "no {NET}*.rs in {SERVER_TESTS}");
        assert!(count(&settings::root().join(SERVER_TESTS), NET) > 0);
        for (file, wanted) in WITH_PROGRAMS {
            assert!(tests_of(file).unwrap() > 0 && !wanted.is_empty(), "{file}");
        }
        assert!(count(&settings::root().join("web/tests"), "") > 0);
        assert!(count(&settings::root().join("xtask/browser-tests/tests"), "") > 0);
    }
}
