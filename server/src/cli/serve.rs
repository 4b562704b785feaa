//! `linger serve`: the playground, on this machine or for a class.
//!
//! What the user says becomes addresses, names, a join code and limits here; keeping to them is the
//! [API](crate::api)'s business.

use std::{
    io::{self, Write},
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    process::ExitCode,
};

use clap::Args;
use linger_shared::event::Mode;
use tokio::net::{TcpListener, TcpSocket, lookup_host};

use super::{
    CliError,
    recordings::{Keep, Recording},
    signals::{Signals, exit_at_the_next},
};
use crate::{
    api::{self, Guard, JoinCode, JoinCodeError, Limits, Pace, Rate, Settings},
    runs::{Config, Manager},
};

/// Where the playground is unless it is told otherwise.
const DEFAULT: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 8080);

/// Open the playground: experiments in a browser, drawn while they happen.
///
/// By default only this machine can reach it. With --allow-remote it can be opened to a network;
/// every visitor then needs the join code, which is part of the addresses that are printed. Whoever
/// has joined can watch, export, start, disturb and stop runs, and nothing else.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  linger serve                              on this machine only, http://127.0.0.1:8080/
  linger serve --data recordings            record runs in this folder
  linger serve --keep-days 7 --keep-size 500MiB
  linger serve --listen 127.0.0.1:0         any free port
  linger serve --listen 0.0.0.0:8080 --allow-remote
                                            for a class: prints the addresses with a join code
  linger serve --listen 0.0.0.0:8080 --allow-remote --host lab.example --join-code SPRING-2027
                                            also under that name, with a code of your own

Ctrl-C ends every run and then the server; a second one ends it at once.")]
pub(super) struct Arguments {
    /// Address and port to listen on. By default 127.0.0.1:8080, or another free port where that
    /// one is taken. Any address that is not loopback needs --allow-remote.
    #[arg(long, value_name = "ADDR")]
    listen: Option<String>,
    #[command(flatten)]
    recording: Recording,
    #[command(flatten)]
    keep: Keep,
    /// Let others than this machine reach the playground, where --listen opens it to a network.
    /// Every visitor needs the join code.
    #[arg(long, help_heading = "Open to a network")]
    allow_remote: bool,
    /// The join code, 8 to 64 letters and digits; by default a random one is made at each start.
    #[arg(
        long,
        value_name = "CODE",
        requires = "allow_remote",
        help_heading = "Open to a network"
    )]
    join_code: Option<String>,
    /// A name or address under which others reach the server, besides its own addresses and the
    /// machine's host name. May be given more than once.
    #[arg(
        long,
        value_name = "NAME",
        requires = "allow_remote",
        help_heading = "Open to a network"
    )]
    host: Vec<String>,
    /// Connections that may be open at once [default: 4096].
    #[arg(long, value_name = "N", value_parser = at_least_one, help_heading = "Limits")]
    max_connections: Option<usize>,
    /// Connections that one address may have open; raise it where a class comes through one
    /// address [default: 256]. This machine itself is not held to what is limited by address.
    #[arg(long, value_name = "N", value_parser = at_least_one, help_heading = "Limits")]
    max_connections_per_address: Option<usize>,
    /// Event streams that one address may have open; each page that shows a run has one
    /// [default: 64].
    #[arg(long, value_name = "N", value_parser = at_least_one, help_heading = "Limits")]
    max_streams_per_address: Option<usize>,
    /// Requests a second that are taken from one address; eight times as many may come at once
    /// [default: 50].
    #[arg(long, value_name = "N", value_parser = at_least_one, help_heading = "Limits")]
    max_requests_per_second: Option<usize>,
}

fn at_least_one(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(0) | Err(_) => Err("a whole number from 1 is needed".to_owned()),
        Ok(number) if number > 1_000_000 => Err("at most 1000000 can be set".to_owned()),
        Ok(number) => Ok(number),
    }
}

impl From<JoinCodeError> for CliError {
    fn from(error: JoinCodeError) -> Self {
        Self::Usage(format!("--join-code: {error}"))
    }
}

pub(super) async fn serve(arguments: Arguments) -> Result<ExitCode, CliError> {
    let mut signals = Signals::new()?;
    let (listener, name) = listen(&arguments).await?;
    let address = listener.local_addr().map_err(|source| CliError::System {
        operation: "tell the listening address",
        source,
    })?;
    let remote = !is_loopback(address.ip());
    let join = join_code(&arguments, remote)?;
    let guard = if remote {
        Guard::remote(names(&arguments, name).iter().map(String::as_str))
    } else {
        Guard::local(name)
    };
    let settings = Settings {
        guard,
        join: join.clone(),
        pace: Pace::default(),
        limits: Limits {
            // Behind a proxy on this machine every visitor comes from here.
            spare_loopback: join.is_none(),
            ..limits(&arguments)
        },
    };
    let manager = Manager::new(Config {
        retention: Some(arguments.keep.retention()),
        data: arguments.recording.clone().folder(),
        ..Config::default()
    })?;
    announce(address, &manager, &arguments, join.as_ref())?;

    let runs = manager.clone();
    let shutdown = async move {
        signals.next().await;
        exit_at_the_next(signals);
        eprintln!("linger: ending the runs; once more to end at once");
        runs.shutdown().await;
    };
    api::serve(listener, manager, settings, shutdown).await;
    Ok(ExitCode::SUCCESS)
}

/// Everyone who reaches a network's server needs the code; on loopback there is none.
fn join_code(arguments: &Arguments, remote: bool) -> Result<Option<JoinCode>, CliError> {
    match (&arguments.join_code, remote || arguments.allow_remote) {
        (Some(code), _) => Ok(Some(JoinCode::chosen(code)?)),
        (None, true) => Ok(Some(JoinCode::random()?)),
        (None, false) => Ok(None),
    }
}

/// The names under which others reach a server, besides the addresses that they reach.
fn names(arguments: &Arguments, listened: Option<&str>) -> Vec<String> {
    let mut names = arguments.host.clone();
    names.extend(listened.map(str::to_owned));
    if let Ok(own) = gethostname::gethostname().into_string()
        && !own.is_empty()
    {
        // What multicast DNS calls it (RFC 6762, section 3).
        if !own.contains('.') {
            names.push(format!("{own}.local"));
        }
        names.push(own);
    }
    names
}

/// The limits as the user wants them, and as far as the system's descriptors go.
fn limits(arguments: &Arguments) -> Limits {
    let mut limits = Limits::default();
    // Each connection holds a descriptor. Where the limit cannot be raised, what there is has to do.
    let descriptors = rlimit::increase_nofile_limit(u64::from(u32::MAX)).unwrap_or(1_024);
    let wanted = arguments.max_connections.unwrap_or(limits.connections);
    // The other half is for runs.
    let possible = usize::try_from(descriptors / 2).unwrap_or(usize::MAX);
    limits.connections = wanted.min(possible.max(16));
    if limits.connections < wanted && arguments.max_connections.is_some() {
        eprintln!(
            "linger: the system allows {descriptors} open files, so there can be {} connections \
             at once; `ulimit -n` raises that",
            limits.connections
        );
    }
    if let Some(most) = arguments.max_connections_per_address {
        limits.connections_per_address = most;
    }
    if let Some(most) = arguments.max_streams_per_address {
        limits.streams_per_address = most;
    }
    if let Some(rate) = arguments.max_requests_per_second {
        let rate = u32::try_from(rate).unwrap_or(u32::MAX);
        limits.requests = Rate {
            burst: rate.saturating_mul(8),
            per_second: f64::from(rate),
        };
    }
    limits
}

fn is_loopback(ip: IpAddr) -> bool {
    ip.to_canonical().is_loopback()
}

/// Listens where the user said, or at the default, or at a free port beside it; also gives the host
/// as it was written.
async fn listen(arguments: &Arguments) -> Result<(TcpListener, Option<&str>), CliError> {
    if let Some(text) = arguments.listen.as_deref() {
        let address = resolve(text).await?;
        if !is_loopback(address.ip()) && !arguments.allow_remote {
            return Err(CliError::Usage(format!(
                "--listen {text} would open the playground to a network: add --allow-remote if \
                 that is meant. Whoever can reach {address} and has the join code that is printed \
                 then can start, watch and stop runs here"
            )));
        }
        let name = text.rsplit_once(':').map(|(host, _)| host);
        let listener = open(address).map_err(|source| CliError::Listen {
            address,
            advice: advice(&source, address),
            source,
        })?;
        return Ok((listener, name));
    }
    if arguments.allow_remote {
        return Err(CliError::Usage(format!(
            "--allow-remote needs to know where to listen: add --listen 0.0.0.0:{} for every \
             network of this machine, or one of its addresses",
            DEFAULT.port()
        )));
    }
    let failed = |source| CliError::Listen {
        address: DEFAULT,
        advice: "`linger serve --listen ADDR:PORT` takes another address.".to_owned(),
        source,
    };
    match open(DEFAULT) {
        Err(error) if error.kind() == io::ErrorKind::AddrInUse => {
            let free = SocketAddr::new(DEFAULT.ip(), 0);
            let listener = open(free).map_err(failed)?;
            eprintln!(
                "linger: port {} is taken by another program; using a free one instead",
                DEFAULT.port()
            );
            Ok((listener, None))
        }
        result => Ok((result.map_err(failed)?, None)),
    }
}

/// How many connections may wait to be accepted, as far as the system allows it. Where this is full,
/// clients try again after whole seconds, honest ones as well.
const BACKLOG: u32 = 4_096;

fn open(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = match address {
        SocketAddr::V4(_) => TcpSocket::new_v4(),
        SocketAddr::V6(_) => TcpSocket::new_v6(),
    }?;
    // A restart finds its port again; on Windows the option would let others take it as well.
    #[cfg(not(windows))]
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(BACKLOG)
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

/// Says where the playground is, on standard output, once connections are accepted: the address for
/// this machine first, then those for others.
fn announce(
    address: SocketAddr,
    manager: &Manager,
    arguments: &Arguments,
    join: Option<&JoinCode>,
) -> Result<(), CliError> {
    if manager.doctor().mode == Mode::Relay {
        eprintln!(
            "linger: this machine cannot carry real packets, so experiments run over the relay or \
             not at all; `linger doctor` says what would change that"
        );
    }
    if !api::assets::is_there() {
        eprintln!("linger: built without its page; `cargo xtask play` builds one that has it");
    }
    let query = join.map_or_else(String::new, |code| format!("?join={}", code.shown()));
    let mut out = io::stdout().lock();
    writeln!(out, "Linger is at http://{}/{query}", browsable(address))?;
    if let Some(code) = join {
        let others = others(address, &arguments.host);
        if others.is_empty() && !is_loopback(address.ip()) {
            eprintln!("linger: this machine has no address yet that others could reach");
        }
        for other in others {
            writeln!(out, "Others reach it at http://{other}/{query}")?;
        }
        writeln!(out, "The join code is {}", code.shown())?;
    }
    out.flush()?;
    Ok(())
}

/// Where others find it: under the names it was given, and at the addresses that it listens on.
fn others(listened: SocketAddr, hosts: &[String]) -> Vec<String> {
    let port = listened.port();
    let named = hosts.iter().map(|host| match host.parse::<IpAddr>() {
        Ok(ip) => SocketAddr::new(ip, port).to_string(),
        Err(_) => format!("{host}:{port}"),
    });
    let found = if listened.ip().is_unspecified() {
        let interfaces = if_addrs::get_if_addrs().unwrap_or_default();
        interfaces
            .iter()
            .map(if_addrs::Interface::ip)
            .filter(|ip| ip.is_ipv4() || listened.is_ipv6())
            .filter(|ip| can_be_shared(*ip))
            .collect()
    } else if is_loopback(listened.ip()) {
        Vec::new()
    } else {
        vec![listened.ip()]
    };
    named
        .chain(
            found
                .into_iter()
                .map(|ip| SocketAddr::new(ip, port).to_string()),
        )
        .collect()
}

/// Whether an address means the same to others: loopback does not, and a link-local one needs the
/// name of an interface.
fn can_be_shared(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(ip) => !ip.is_loopback() && !ip.is_link_local() && !ip.is_unspecified(),
        IpAddr::V6(ip) => !ip.is_loopback() && !ip.is_unicast_link_local() && !ip.is_unspecified(),
    }
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
    fn others_are_sent_to_what_they_can_reach() {
        let others = |listened: &str, hosts: &[&str]| {
            let hosts: Vec<String> = hosts.iter().map(|host| (*host).to_owned()).collect();
            super::others(listened.parse().unwrap(), &hosts)
        };
        assert_eq!(others("192.0.2.7:80", &[]), ["192.0.2.7:80"]);
        assert_eq!(
            others("[2001:db8::7]:80", &["lab.example", "2001:db8::8"]),
            ["lab.example:80", "[2001:db8::8]:80", "[2001:db8::7]:80"]
        );
        assert_eq!(others("127.0.0.1:80", &[]), Vec::<String>::new());
        for ip in ["127.0.0.1", "169.254.3.4", "::1", "fe80::1", "0.0.0.0"] {
            assert!(!can_be_shared(ip.parse().unwrap()), "{ip}");
        }
        for address in others("0.0.0.0:80", &[]) {
            assert!(
                address.ends_with(":80") && !address.starts_with("127."),
                "{address}"
            );
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
