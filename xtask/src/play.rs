//! From a fresh clone to a running playground.

use std::{
    net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream},
    path::PathBuf,
    process::{Command, ExitCode, Stdio},
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail};

use crate::{
    cargo,
    progress::Steps,
    settings::{DIST_VARIABLE, SERVER_PACKAGE},
    web,
};

/// Where the playground is to be found unless told otherwise.
const ADDRESS: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 8080);

/// How long a browser waits for the server before it is given up.
const PATIENCE: Duration = Duration::from_secs(60);

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

fn serve(binary: &PathBuf, options: Options) -> Result<ExitCode> {
    let mut listen = options.listen;
    if options.open {
        // The browser has to know the address, so a port that is taken is noticed here already.
        let address = match &listen {
            Some(text) => text.parse().with_context(|| {
                format!("--listen {text}: expected an address such as {ADDRESS}")
            })?,
            None => free_address()?,
        };
        listen = Some(address.to_string());
        open_when_ready(address)?;
    }
    let mut command = Command::new(binary);
    command.arg("serve");
    if let Some(address) = listen {
        command.args(["--listen", &address]);
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

/// The usual address, or another port where that one is taken.
fn free_address() -> Result<SocketAddr> {
    if TcpListener::bind(ADDRESS).is_ok() {
        return Ok(ADDRESS);
    }
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).context("find a free port")?;
    let address = listener.local_addr().context("find a free port")?;
    eprintln!("{ADDRESS} is taken; using {address}");
    Ok(address)
}

/// Starts a helper that outlives this program's change into the server.
fn open_when_ready(address: SocketAddr) -> Result<()> {
    let program = std::env::current_exe().context("find this program")?;
    Command::new(program)
        .args(["open-when-ready", &address.to_string()])
        .stdin(Stdio::null())
        .spawn()
        .map(drop)
        .context("start the helper that opens the browser")
}

/// Waits until something listens at the address, then opens it in a browser.
///
/// # Errors
/// When nothing listens there in time, or no browser can be started.
pub(crate) fn open_browser(address: &str) -> Result<ExitCode> {
    let mut address: SocketAddr = address.parse().context("expected an address")?;
    if address.ip().is_unspecified() {
        address.set_ip(Ipv4Addr::LOCALHOST.into());
    }
    let deadline = Instant::now() + PATIENCE;
    while TcpStream::connect_timeout(&address, Duration::from_secs(1)).is_err() {
        if Instant::now() > deadline {
            bail!("nothing listens at {address}, so no browser was opened");
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    let url = format!("http://{address}/");
    let (program, arguments): (&str, &[&str]) = if cfg!(target_os = "macos") {
        ("open", &[])
    } else if cfg!(windows) {
        ("cmd", &["/C", "start", ""])
    } else {
        ("xdg-open", &[])
    };
    let opened = Command::new(program).args(arguments).arg(&url).status();
    match opened {
        Ok(status) if status.success() => Ok(ExitCode::SUCCESS),
        Ok(status) => bail!("`{program} {url}` failed ({status}); open that address yourself"),
        Err(error) => bail!("`{program}` cannot be started ({error}); open {url} yourself"),
    }
}
