//! `linger serve`: the playground.

use std::{
    io::{self, Write},
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    path::PathBuf,
    process::ExitCode,
};

use clap::Args;
use linger_shared::event::Mode;
use tokio::net::{TcpListener, lookup_host};

use super::{
    CliError,
    signals::{Signals, exit_at_the_next},
};
use crate::{
    api::{self, Guard, Pace},
    runs::{Config, Manager},
};

/// Where the playground is unless it is told otherwise.
const DEFAULT: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 8080);

/// Open the playground: experiments in a browser, drawn while they happen.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  linger serve                              on this machine only, http://127.0.0.1:8080/
  linger serve --data recordings            keep what is run
  linger serve --listen 127.0.0.1:0         any free port
  linger serve --listen 0.0.0.0:8080        for everyone on the network

Ctrl-C ends every run and then the server; a second one ends it at once.")]
pub(super) struct Arguments {
    /// Address and port to listen on. By default 127.0.0.1:8080, or another free port where that
    /// one is taken. Any address that is not loopback opens the playground to a network.
    #[arg(long, value_name = "ADDR")]
    listen: Option<String>,
    /// Folder in which runs are recorded, one JSON Lines file each; they are there again after a
    /// restart. Without it, runs are kept in memory.
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
}

pub(super) async fn serve(arguments: Arguments) -> Result<ExitCode, CliError> {
    let mut signals = Signals::new()?;
    let listener = listen(arguments.listen.as_deref()).await?;
    let address = listener.local_addr().map_err(|source| CliError::System {
        operation: "tell the listening address",
        source,
    })?;
    let manager = Manager::new(Config {
        data: arguments.data,
        ..Config::default()
    })?;
    let name = arguments
        .listen
        .as_deref()
        .and_then(|text| text.rsplit_once(':'))
        .map(|(host, _)| host);
    let guard = Guard::new(address, name);
    announce(address, &manager)?;

    let runs = manager.clone();
    let shutdown = async move {
        signals.next().await;
        exit_at_the_next(signals);
        eprintln!("linger: ending the runs; once more to end at once");
        runs.shutdown().await;
    };
    api::serve(listener, manager, guard, Pace::default(), shutdown)
        .await
        .map_err(|source| CliError::System {
            operation: "serve the playground",
            source,
        })?;
    Ok(ExitCode::SUCCESS)
}

/// Listens where the user said, or at the default, or at a free port beside it.
async fn listen(wanted: Option<&str>) -> Result<TcpListener, CliError> {
    if let Some(text) = wanted {
        let address = resolve(text).await?;
        return TcpListener::bind(address)
            .await
            .map_err(|source| CliError::Listen {
                address,
                advice: advice(&source, address),
                source,
            });
    }
    let failed = |source| CliError::Listen {
        address: DEFAULT,
        advice: "`linger serve --listen ADDR:PORT` takes another address.".to_owned(),
        source,
    };
    match TcpListener::bind(DEFAULT).await {
        Err(error) if error.kind() == io::ErrorKind::AddrInUse => {
            let free = SocketAddr::new(DEFAULT.ip(), 0);
            let listener = TcpListener::bind(free).await.map_err(failed)?;
            eprintln!(
                "linger: port {} is taken by another program; using a free one instead",
                DEFAULT.port()
            );
            Ok(listener)
        }
        result => result.map_err(failed),
    }
}

async fn resolve(text: &str) -> Result<SocketAddr, CliError> {
    let wrong = |why: &str| {
        CliError::Usage(format!(
            "--listen {text} is no address ({why}): write ADDRESS:PORT, such as 127.0.0.1:8080, \
             [::1]:8080 or 0.0.0.0:8080; port 0 takes any free one"
        ))
    };
    if let Ok(address) = text.parse() {
        return Ok(address);
    }
    if text
        .rsplit_once(':')
        .is_none_or(|(_, port)| port.parse::<u16>().is_err())
    {
        return Err(wrong("the port is missing"));
    }
    let mut found = lookup_host(text)
        .await
        .map_err(|error| wrong(&error.to_string()))?;
    found.next().ok_or_else(|| wrong("the name has no address"))
}

/// What to do about an address that cannot be listened on.
fn advice(error: &io::Error, address: SocketAddr) -> String {
    let any = SocketAddr::new(address.ip(), 0);
    match error.kind() {
        io::ErrorKind::AddrInUse => format!(
            "EADDRINUSE: another program listens there. Stop it, or choose another port \
             (--listen {any} takes any free one)."
        ),
        io::ErrorKind::AddrNotAvailable => {
            "EADDRNOTAVAIL: this machine has no such address. Choose one of its own, or 0.0.0.0 \
             for all of them."
                .to_owned()
        }
        io::ErrorKind::PermissionDenied => {
            "EACCES: ports below 1024 need rights. Choose a higher one.".to_owned()
        }
        _ => "Choose another address with --listen.".to_owned(),
    }
}

/// Says where the playground is: the one line of standard output, once connections are accepted.
fn announce(address: SocketAddr, manager: &Manager) -> Result<(), CliError> {
    if !address.ip().is_loopback() {
        eprintln!(
            "linger: listening on {address}: everyone who can reach this address can start and \
             stop runs here, and see them"
        );
    }
    if manager.doctor().mode == Mode::Relay {
        eprintln!(
            "linger: this machine cannot carry real packets, so experiments run over the relay or \
             not at all; `linger doctor` says what would change that"
        );
    }
    if !api::assets::is_there() {
        eprintln!("linger: built without its page; `cargo xtask play` builds one that has it");
    }
    let mut out = io::stdout().lock();
    writeln!(out, "Linger is at http://{}/", browsable(address))?;
    out.flush()?;
    Ok(())
}

/// The address at which a browser on this machine finds it: all addresses include loopback's.
fn browsable(address: SocketAddr) -> SocketAddr {
    let ip = match address.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => IpAddr::V4(Ipv4Addr::LOCALHOST),
        IpAddr::V6(ip) if ip.is_unspecified() => IpAddr::V6(Ipv6Addr::LOCALHOST),
        ip => ip,
    };
    SocketAddr::new(ip, address.port())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn addresses_are_read_and_others_explained() {
        for (text, address) in [
            ("127.0.0.1:80", "127.0.0.1:80"),
            ("[::1]:0", "[::1]:0"),
            ("0.0.0.0:8080", "0.0.0.0:8080"),
        ] {
            assert_eq!(resolve(text).await.unwrap(), address.parse().unwrap());
        }
        for text in ["", "8080", "127.0.0.1", "127.0.0.1:http", "127.0.0.1:99999"] {
            let error = resolve(text).await.unwrap_err();
            assert!(matches!(error, CliError::Usage(_)), "{text}");
            assert!(error.to_string().contains("ADDRESS:PORT"), "{error}");
        }
    }

    #[test]
    fn a_browser_is_sent_to_an_address_that_it_can_open() {
        for (listened, opened) in [
            ("0.0.0.0:80", "127.0.0.1:80"),
            ("[::]:80", "[::1]:80"),
            ("192.0.2.7:80", "192.0.2.7:80"),
        ] {
            assert_eq!(
                browsable(listened.parse().unwrap()),
                opened.parse().unwrap()
            );
        }
    }
}
