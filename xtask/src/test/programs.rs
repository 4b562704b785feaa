//! Finds the programs that stages need (a Chromium and its driver, Wireshark's tshark, curl,
//! Node.js), or fetches them.

use std::{
    path::{Path, PathBuf},
    process::Command,
    sync::OnceLock,
};

/// A program that a stage needs, and where it may be found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Wanted {
    /// The variable that names it, where what uses it heeds one; elsewhere it is the one on PATH.
    variable: Option<&'static str>,
    /// Its names on PATH, the preferred one first.
    names: &'static [&'static str],
    /// Where else it is usually installed.
    places: &'static [&'static str],
    /// Debian's package.
    package: &'static str,
}

/// The browser.
pub(crate) const CHROMIUM: Wanted = Wanted {
    variable: Some("CHROME"),
    names: &[
        "chromium",
        "chromium-browser",
        "google-chrome",
        "google-chrome-stable",
        "chrome",
    ],
    places: &[
        "/Applications/Chromium.app/Contents/MacOS/Chromium",
        "/Applications/Google Chrome.app/Contents/MacOS/Google Chrome",
    ],
    package: "chromium",
};

/// What wasm-bindgen's test runner drives the browser by.
pub(crate) const DRIVER: Wanted = Wanted {
    variable: Some("CHROMEDRIVER"),
    names: &["chromedriver"],
    places: &["/usr/lib/chromium/chromedriver"],
    package: "chromium-driver",
};

/// What reads captures; its package brings `editcap`, too.
pub(crate) const TSHARK: Wanted = Wanted {
    variable: Some("TSHARK"),
    names: &["tshark"],
    places: &[],
    package: "tshark",
};

/// What tests run on hosts that fetches pages.
pub(crate) const CURL: Wanted = Wanted {
    variable: None,
    names: &["curl"],
    places: &[],
    package: "curl",
};

/// What tests run on hosts that speaks by itself.
pub(crate) const NODE: Wanted = Wanted {
    variable: None,
    names: &["node"],
    places: &[],
    package: "nodejs",
};

/// Finds the program: the one that its variable names, else the one on PATH, else, for root on
/// Debian, the one of Debian's package.
///
/// # Errors
/// Says where it was looked for.
pub(crate) fn find(wanted: Wanted) -> Result<PathBuf, String> {
    let Wanted {
        variable,
        names,
        package,
        ..
    } = wanted;
    let named = variable.and_then(|name| Some((name, std::env::var_os(name)?)));
    if let Some((name, path)) = named.filter(|(_, path)| !path.is_empty()) {
        let path = PathBuf::from(path);
        return if path.is_file() {
            Ok(path)
        } else {
            Err(format!(
                "{name} names {}, which is not there",
                path.display()
            ))
        };
    }
    if let Some(path) = installed(wanted) {
        return Ok(path);
    }
    let nowhere = match variable {
        Some(variable) => format!("no {} on PATH, and {variable} is not set", names[0]),
        None => format!("no {} on PATH", names[0]),
    };
    if !(is_root() && Path::new("/etc/debian_version").exists()) {
        return Err(format!(
            "{nowhere} (root on Debian would get the package {package})"
        ));
    }
    println!("{nowhere}; installing Debian's package {package}");
    install(package).map_err(|error| format!("{nowhere}, and {error}"))?;
    installed(wanted).ok_or(format!("{nowhere}, not even after installing {package}"))
}

/// Installs one of Debian's packages, and nothing that it merely recommends.
fn install(package: &str) -> Result<(), String> {
    /// The lists of packages are fetched once.
    static UPDATED: OnceLock<Result<(), String>> = OnceLock::new();
    UPDATED
        .get_or_init(|| apt_get(&["update", "--quiet", "--quiet"]))
        .clone()?;
    apt_get(&[
        "install",
        "--quiet",
        "--quiet",
        "--yes",
        "--no-install-recommends",
        package,
    ])
}

fn apt_get(arguments: &[&str]) -> Result<(), String> {
    let ran = Command::new("apt-get")
        .args(arguments)
        .env("DEBIAN_FRONTEND", "noninteractive")
        .status();
    if ran.as_ref().is_ok_and(|status| status.success()) {
        return Ok(());
    }
    let line = arguments.join(" ");
    Err(format!("`apt-get {line}` did not help ({ran:?})"))
}

fn installed(wanted: Wanted) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let folders: Vec<PathBuf> = std::env::split_paths(&path).collect();
    wanted
        .names
        .iter()
        .flat_map(|name| folders.iter().map(move |folder| folder.join(name)))
        .chain(wanted.places.iter().map(PathBuf::from))
        .find(|path| path.is_file())
}

fn is_root() -> bool {
    Command::new("id")
        .arg("-u")
        .output()
        .is_ok_and(|output| output.stdout.trim_ascii() == b"0")
}
