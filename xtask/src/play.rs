//! From a fresh clone to a running playground.

use std::{
    path::Path,
    process::{Command, ExitCode, Stdio},
};

use anyhow::{Context, Result, bail};

use crate::{
    cargo,
    progress::Steps,
    settings::{DIST_VARIABLE, SERVER_PACKAGE},
    web,
};

/// The hidden task by which `play --open` starts its helper.
pub(crate) const HELPER: &str = "pass-on-and-open";

/// What was asked for on the command line.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Options {
    /// Whether to open a browser.
    pub(crate) open: bool,
    /// Where to listen.
    pub(crate) listen: Option<String>,
}

/// Builds everything and becomes the server.
///
/// # Errors
/// Says which step failed.
pub(crate) fn play(options: Options) -> Result<ExitCode> {
    let mut steps = Steps::new(web::STEPS + 2);
    let dist = web::build(&mut steps)?;

    let step = steps.begin("Build the server, with the front-end inside");
    let mut command = cargo::command();
    command.args([
        "build",
        "--release",
        "--package",
        SERVER_PACKAGE,
        "--bin",
        SERVER_PACKAGE,
    ]);
    command.env(DIST_VARIABLE, &dist);
    let binary = cargo::build(command, &step)?
        .pop()
        .context("cargo built no server")?;
    step.done(&format!("built {}", binary.display()));

    steps.begin("Start the server; Ctrl-C stops it");
    serve(&binary, options)
}

fn serve(binary: &Path, options: Options) -> Result<ExitCode> {
    let mut command = Command::new(binary);
    command.arg("serve");
    if let Some(address) = options.listen {
        command.args(["--listen", &address]);
    }
    if options.open {
        command.stdout(open_when_ready()?);
    }
    become_server(command)
}

/// Replaces this program by the server, so that signals and the exit status are the server's own.
#[cfg(unix)]
fn become_server(mut command: Command) -> Result<ExitCode> {
    use std::os::unix::process::CommandExt;
    Err(command.exec()).with_context(|| format!("`{}` cannot be started", cargo::typed(&command)))
}

/// Waits for the server, which gets the console's Ctrl-C itself.
#[cfg(not(unix))]
fn become_server(mut command: Command) -> Result<ExitCode> {
    let status = command
        .status()
        .with_context(|| format!("`{}` cannot be started", cargo::typed(&command)))?;
    Ok(if status.success() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

/// Starts a helper that outlives this program's change into the server, and gives what the server
/// is to write to: the helper passes it on, and opens the address that it reads there.
fn open_when_ready() -> Result<Stdio> {
    let program = std::env::current_exe().context("find this program")?;
    let mut helper = Command::new(program)
        .arg(HELPER)
        .stdin(Stdio::piped())
        .spawn()
        .context("start the helper that opens the browser")?;
    let input = helper.stdin.take().context("the helper's input")?;
    Ok(input.into())
}

/// The helper of `--open`: passes on what the server says, and opens the address in it.
///
/// # Errors
/// When the server's words cannot be read.
pub(crate) fn pass_on_and_open() -> Result<ExitCode> {
    let mut opened = false;
    for line in std::io::stdin().lines() {
        let line = line.context("read what the server says")?;
        println!("{line}");
        if let (false, Some(url)) = (opened, url_in(&line)) {
            opened = true;
            if let Err(error) = open_browser(url) {
                eprintln!("{error:#}");
            }
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// The address that a line of the server names.
fn url_in(line: &str) -> Option<&str> {
    let url = &line[line.find("http://")?..];
    url.split_whitespace().next()
}

fn open_browser(url: &str) -> Result<()> {
    let (program, arguments): (&str, &[&str]) = if cfg!(target_os = "macos") {
        ("open", &[])
    } else if cfg!(windows) {
        ("cmd", &["/C", "start", ""])
    } else {
        ("xdg-open", &[])
    };
    let opened = Command::new(program).args(arguments).arg(url).status();
    match opened {
        Ok(status) if status.success() => Ok(()),
        Ok(status) => bail!("`{program} {url}` failed ({status}); open that address yourself"),
        Err(error) => bail!("`{program}` cannot be started ({error}); open {url} yourself"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_address_is_read_from_what_the_server_says() {
        let said = "Linger is at http://127.0.0.1:8080/";
        assert_eq!(url_in(said), Some("http://127.0.0.1:8080/"));
        assert_eq!(url_in("at http://[::1]:9/ now"), Some("http://[::1]:9/"));
        assert_eq!(url_in("nothing yet"), None);
    }
}
