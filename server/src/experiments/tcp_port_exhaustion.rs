//! `tcp-port-exhaustion`: where did my ports go?

use std::{collections::BTreeMap, time::Duration};

use linger_shared::{
    event::{HostName, Mode, TcpState, TimerKind},
    experiment::{Descriptor, Finding, Param, Params},
    theory::time_wait::{self, Reuse},
    units::human,
};

use super::{Experiment, Script, claim, paragraphs, preset, reference};
use crate::{
    endpoints::{Connection, Persistent, ReadOutcome, errno_name},
    hosts,
    lab::{Lab, LabError, Listener, Plan},
};

/// How long a step that must come may take beyond what theory says: a busy machine's scheduling.
const SLACK: Duration = Duration::from_secs(5);

/// How often the client tries again once it has no port: what `port_free` is measured in.
const EVERY: Duration = Duration::from_millis(10);

/// The first of the client's ports.
const FIRST_PORT: u64 = 40_000;

/// The first port that the server listens on.
const DESTINATION: u16 = 7654;

/// The sysctl that says after how many milliseconds a port in TIME_WAIT may be had again; older
/// kernels have a fixed second, counted in whole seconds.
const REUSE_DELAY: &str = "tcp_tw_reuse_delay";

pub(super) struct TcpPortExhaustion;

impl Experiment for TcpPortExhaustion {
    fn id(&self) -> &'static str {
        "tcp-port-exhaustion"
    }

    fn descriptor(&self) -> Descriptor {
        Descriptor {
            id: self.id().to_owned(),
            title: "No port left".to_owned(),
            question: "Where did my ports go?".to_owned(),
            family: "TCP".to_owned(),
            modes: vec![Mode::Packets],
            explanation: paragraphs(&[
                "A connection is told from all others by four things: both addresses and both ports. \
                 A client that connects to one port of one server has only its own port left to \
                 vary, and takes it from ip_local_port_range: 28,232 ports unless someone changed \
                 that; the 4 here stand for them. Whoever closes first keeps the four in TIME_WAIT, \
                 on Linux for 60 s, a constant that no sysctl changes. So a client that opens a connection for \
                 each request and closes it first can do that 28,232 / 60 s = 470 times a second, \
                 and no more. Beyond it, connect() fails with EADDRNOTAVAIL at once: no packet \
                 leaves, and the server knows nothing of it.",
                "tcp_tw_reuse = 1 lets connect() take a port in TIME_WAIT again once it has been \
                 there for tcp_tw_reuse_delay (1 s), as RFC 6191 allows: both ends must have used \
                 timestamps, by which a late segment of the old connection is told from one of the new. \
                 Linux's default, 2, allows that towards loopback only (tcp_twsk_unique in \
                 net/ipv4/tcp_ipv4.c). It serves the side that connects, never the one that accepts.",
                "Nothing runs out where the server closes first, for then it is the server that is \
                 in TIME_WAIT, and it accepts a new SYN there; nor towards a second destination, \
                 whose connections may have the same ports. An RST leaves no TIME_WAIT either, at a \
                 price (see `tcp-close-styles`). The cure that has none is to keep connections and use them \
                 again.",
            ]),
            look_for: paragraphs(&[
                "a port of the client's for each connection, and each of them in TIME_WAIT after it",
                "the connect() that fails without a packet",
                "how often the client tries until a port is free, and which one it gets",
                "with the server closing first: TIME_WAIT on the other side, and no failure",
            ]),
            misconception: "\"tcp_fin_timeout shortens TIME_WAIT.\" It is the limit of FIN_WAIT2. \
                            TIME_WAIT lasts 60 s on Linux, whatever any sysctl says; one can only \
                            allow its port to be used again before."
                .to_owned(),
            params: vec![
                Param::integer(
                    "ports",
                    "ports",
                    4,
                    1,
                    100,
                    "ports of the client's ip_local_port_range; Linux has 28,232",
                ),
                Param::integer(
                    "destinations",
                    "ports of the server",
                    1,
                    1,
                    4,
                    "how many of the server's ports the client connects to in turn",
                ),
                Param::choice(
                    "closing",
                    &["client", "server", "client-resets"],
                    "who closes each connection first, or whether the client ends it with RST",
                ),
                Param::choice(
                    "tw_reuse",
                    &["all", "off", "loopback"],
                    "the client's tcp_tw_reuse: 1, 0, or 2, which is Linux's default",
                ),
                Param::boolean(
                    "timestamps",
                    true,
                    "whether the hosts use timestamps (tcp_timestamps), without which no port in \
                     TIME_WAIT is used again",
                ),
                Param::duration(
                    "reuse_delay",
                    1_000_000,
                    100_000,
                    30_000_000,
                    "how long a port must have been in TIME_WAIT (tcp_tw_reuse_delay); a kernel \
                     without that sysctl has one second",
                ),
                Param::duration(
                    "fin_timeout",
                    60_000_000,
                    1_000_000,
                    60_000_000,
                    "tcp_fin_timeout of both hosts, which changes nothing here; rounded up to \
                     whole seconds",
                ),
                Param::duration(
                    "watch",
                    5_000_000,
                    1_000_000,
                    90_000_000,
                    "how long the client goes on trying where no port may be used again",
                ),
                Param::duration("delay", 5_000, 0, 200_000, "one-way delay of the link"),
            ],
            presets: vec![
                preset(
                    "Linux's default",
                    "tcp_tw_reuse = 2 does nothing for a server that is not on loopback",
                    &[("tw_reuse", "loopback")],
                ),
                preset(
                    "the full minute",
                    "no reuse: a port comes back after 60 s, or some seconds later: the kernel's timer \
                     wheel is coarse for long timers, and never early",
                    &[("tw_reuse", "off"), ("watch", "80s")],
                ),
                preset(
                    "server closes first",
                    "its TIME_WAITs, not the client's",
                    &[("closing", "server")],
                ),
                preset(
                    "two destinations",
                    "each port twice",
                    &[("destinations", "2")],
                ),
                preset(
                    "RST instead of FIN",
                    "SO_LINGER 0: no TIME_WAIT anywhere",
                    &[("closing", "client-resets")],
                ),
                preset(
                    "reuse without timestamps",
                    "nothing tells old segments from new ones, so there is none",
                    &[("timestamps", "off")],
                ),
            ],
            claims: vec![
                claim(
                    "tcp_fin_timeout shortens TIME_WAIT.",
                    Finding::Refuted,
                    "With 5 s, the kernel's countdown of TIME_WAIT begins at 60 s all the same, and \
                     no port is free for as long as one looks.",
                    &[("fin_timeout", "5s"), ("tw_reuse", "off")],
                ),
                claim(
                    "tcp_tw_reuse gives ports back at once.",
                    Finding::Refuted,
                    "The port must have been in TIME_WAIT for tcp_tw_reuse_delay, 1 s unless \
                     changed.",
                    &[],
                ),
                claim(
                    "The client that makes a request is the one that has to wait in TIME_WAIT.",
                    Finding::Depends,
                    "It is whoever closes first. Where that is the server, the client's ports are \
                     free at once, and the server accepts them again in TIME_WAIT.",
                    &[("closing", "server")],
                ),
                claim(
                    "A client can have no more connections than it has ports.",
                    Finding::Depends,
                    "To one destination. To another one the same ports serve again.",
                    &[("destinations", "2")],
                ),
                claim(
                    "With tcp_tw_reuse on, ports in TIME_WAIT are used again.",
                    Finding::Depends,
                    "With timestamps alone. Linux's default of 2 is on for loopback only.",
                    &[("timestamps", "off")],
                ),
            ],
            references: vec![
                reference(
                    "RFC 9293, section 3.6.1: half-closed connections, and lingering in TIME-WAIT",
                    "https://www.rfc-editor.org/rfc/rfc9293#section-3.6.1",
                ),
                reference(
                    "RFC 6191: reducing the TIME-WAIT state using TCP timestamps",
                    "https://www.rfc-editor.org/rfc/rfc6191",
                ),
                reference(
                    "Linux, ip-sysctl: ip_local_port_range, tcp_tw_reuse, tcp_tw_reuse_delay",
                    "https://docs.kernel.org/networking/ip-sysctl.html",
                ),
                reference(
                    "Coping with the TCP TIME-WAIT state on busy Linux servers",
                    "https://vincent.bernat.ch/en/blog/2014-tcp-time-wait-state-linux",
                ),
            ],
        }
    }

    fn plan(&self, params: &Params) -> Plan {
        let delay = params.duration_us("delay");
        let last_port = FIRST_PORT + params.integer("ports") - 1;
        let tw_reuse = match params.choice("tw_reuse") {
            "all" => "1",
            "loopback" => "2",
            _ => "0",
        };
        let mut client = BTreeMap::from([
            (
                "ip_local_port_range".to_owned(),
                format!("{FIRST_PORT} {last_port}"),
            ),
            ("tcp_tw_reuse".to_owned(), tw_reuse.to_owned()),
        ]);
        if hosts::has_sysctl(REUSE_DELAY) {
            let milliseconds = params.duration_us("reuse_delay").div_ceil(1_000);
            client.insert(REUSE_DELAY.to_owned(), milliseconds.to_string());
        }
        let timestamps = u8::from(params.boolean("timestamps"));
        let fin_timeout = params.duration_us("fin_timeout").div_ceil(1_000_000);
        let attempts = params.integer("ports") * params.integer("destinations") + 1;
        let patience = params.duration_us("watch").max(held_us(params) * 2);
        Plan {
            sysctls: BTreeMap::from([
                ("tcp_timestamps".to_owned(), timestamps.to_string()),
                ("tcp_fin_timeout".to_owned(), fin_timeout.to_string()),
            ]),
            host_sysctls: BTreeMap::from([(HostName::Client, client)]),
            ..Plan::symmetric(delay, attempts * (6 * delay + 20_000) + patience)
        }
    }

    fn run<'a>(&'a self, lab: &'a mut Lab, params: &'a Params) -> Script<'a> {
        Box::pin(script(lab, params))
    }
}

fn reuse(params: &Params) -> Reuse {
    Reuse {
        allowed: params.choice("tw_reuse") == "all",
        timestamps: params.boolean("timestamps"),
        delay_us: match hosts::has_sysctl(REUSE_DELAY) {
            true => params.duration_us("reuse_delay").div_ceil(1_000) * 1_000,
            false => 1_000_000,
        },
    }
}

fn held_us(params: &Params) -> u64 {
    time_wait::held_us(reuse(params))
}

/// What connect() found when the range was full.
struct Refused {
    tried_us: u64,
    refused_us: u64,
}

async fn script(lab: &mut Lab, params: &Params) -> Result<(), LabError> {
    let ports = params.integer("ports");
    let destinations = params.integer("destinations");
    let room = ports * destinations;
    let mut listeners = Vec::new();
    for port in (DESTINATION..).take(usize::try_from(destinations).unwrap_or(1)) {
        listeners.push(lab.server().listen(port).await?);
    }

    lab.chapter("Open and close one connection after another");
    let closing = params.choice("closing");
    let mut waits_since = None;
    for (nth, to) in (0..room).zip(listeners.iter().cycle()) {
        match Connection::open(&lab.client(), to.address(), None).await? {
            Ok(client) => open_and_close(lab, client, to, closing).await?,
            Err(error) => return Err(refused_early(nth, &error)),
        }
        if nth == 0 && closing == "client" {
            waits_since = Some(first_time_wait(lab).await?);
        }
    }

    let Some(waits_since) = waits_since else {
        return nothing_is_held(lab, params, &listeners).await;
    };
    let held = held_us(params);
    let Some(refused) = one_more(lab, room, waits_since, held, &listeners).await? else {
        lab.remark(&format!(
            "There was a port: the first had been in TIME_WAIT for {} when it was asked for, and \
             may be had again after {}.",
            human(lab.now_us().saturating_sub(waits_since)),
            human(held)
        ));
        return Ok(());
    };
    lab.remark(&format!(
        "{} connections fill the range for {}: at most {} a minute. Linux's 28,232 ports make {} a \
         second.",
        room,
        human(held),
        time_wait::sustained_per_minute(room, held),
        time_wait::sustained_per_minute(28_232, held) / 60
    ));
    until_free(lab, params, &listeners[0], &refused, waits_since).await
}

/// The other end accepts; then both close, as the parameter says.
async fn open_and_close(
    lab: &Lab,
    mut client: Connection,
    to: &Listener,
    closing: &str,
) -> Result<(), LabError> {
    let mut server = Connection::accept(to).await?;
    match closing {
        "server" => {
            server.close();
            ended(client.read().await, HostName::Client)?;
            client.close();
            // Until the server has acknowledged it, the client's port is in LAST_ACK.
            lab.connections_until(HostName::Client, SLACK, |sockets| sockets.is_empty())
                .await
                .ok_or_else(|| missing("the client's socket to go"))?;
        }
        "client-resets" => {
            client.reset()?;
            if let ReadOutcome::Data(_) | ReadOutcome::End = server.read().await {
                return Err(missing("the client's RST"));
            }
        }
        _ => {
            client.close();
            ended(server.read().await, HostName::Server)?;
            server.close();
        }
    }
    Ok(())
}

/// Waits until the server has heard the last of all connections.
async fn last_acks(lab: &Lab) -> Result<(), LabError> {
    lab.connections_until(HostName::Server, SLACK, |sockets| sockets.is_empty())
        .await
        .map(drop)
        .ok_or_else(|| missing("the server's sockets to go"))
}

/// When the first connection's TIME_WAIT began: with the server's FIN. Tells what the kernel's
/// countdown says of its length, too.
async fn first_time_wait(lab: &Lab) -> Result<u64, LabError> {
    let waits = |state| state == TcpState::TimeWait;
    lab.connections_until(HostName::Client, SLACK, |sockets| {
        sockets.iter().any(|socket| waits(socket.state))
    })
    .await
    .ok_or_else(|| missing("TIME_WAIT"))?;
    let since_us = lab.last_arrival_us(HostName::Client);
    let countdown = lab
        .connections(HostName::Client)
        .iter()
        .filter(|socket| waits(socket.state))
        .find_map(|socket| socket.timer)
        .filter(|timer| timer.timer == TimerKind::TimeWait)
        .map(|timer| timer.left_us);
    let now = lab.now_us();
    lab.measure("countdown", Some(time_wait::LENGTH_US), countdown, now);
    Ok(since_us)
}

/// One connection more than there are ports: gives how it was refused, or `None` where it was not.
async fn one_more(
    lab: &Lab,
    room: u64,
    waits_since: u64,
    held: u64,
    listeners: &[Listener],
) -> Result<Option<Refused>, LabError> {
    let to = &listeners[0];
    lab.chapter(&format!("Open connection {}", room + 1));
    let tried_us = lab.now_us();
    // Who fills a range more slowly than its ports come back is never refused.
    let full = tried_us.saturating_sub(waits_since) < held;
    if full {
        lab.expect_after(
            "refusal",
            tried_us,
            0,
            format!("all of {room} combinations of ports are taken: EADDRNOTAVAIL at once"),
        );
    }
    match Connection::open(&lab.client(), to.address(), None).await? {
        Ok(client) => {
            open_and_close(lab, client, to, "client").await?;
            last_acks(lab).await?;
            Ok(None)
        }
        Err(error) if error.kind() == std::io::ErrorKind::AddrNotAvailable => {
            let refused_us = lab.now_us();
            let span = refused_us.saturating_sub(tried_us);
            lab.measure("refusal", full.then_some(0), Some(span), refused_us);
            Ok(Some(Refused {
                tried_us,
                refused_us,
            }))
        }
        Err(error) => Err(refused_early(room, &error)),
    }
}

/// Tries until a port is free.
async fn until_free(
    lab: &Lab,
    params: &Params,
    to: &Listener,
    refused: &Refused,
    waits_since: u64,
) -> Result<(), LabError> {
    lab.chapter("Try again until a port is free");
    let reuse = reuse(params);
    let held = time_wait::held_us(reuse);
    let because = match (reuse.allowed, reuse.timestamps) {
        (true, true) => format!(
            "tcp_tw_reuse, and {} in TIME_WAIT (tcp_tw_reuse_delay)",
            human(held)
        ),
        (true, false) => "TIME_WAIT's whole length: no reuse without timestamps".to_owned(),
        (false, _) => "TIME_WAIT's whole length: no reuse towards this host".to_owned(),
    };
    lab.expect_after("port_free", waits_since, held, because);
    let patience = if held < time_wait::LENGTH_US {
        Duration::from_micros(held * 2) + SLACK
    } else {
        Duration::from_micros(params.duration_us("watch"))
    };
    let how = Persistent {
        every: EVERY,
        patience,
    };
    let persisted = Connection::open_when_free(&lab.client(), to.address(), how).await?;
    match persisted.connection {
        Some(connection) => {
            let tried_us = persisted.tried_us;
            let span = tried_us.saturating_sub(waits_since);
            lab.measure("port_free", Some(held), Some(span), tried_us);
            let port = connection.local().map_or(0, |local| local.port());
            lab.remark(&format!(
                "Port {port} is free again, {} after the first refusal.",
                human(tried_us.saturating_sub(refused.refused_us))
            ));
            open_and_close(lab, connection, to, "client").await?;
            last_acks(lab).await?;
        }
        None => {
            let now = lab.now_us();
            lab.measure("port_free", Some(held), None, now);
            lab.remark(&format!(
                "Tried for {}: all ports are still in TIME_WAIT.",
                human(now.saturating_sub(refused.tried_us))
            ));
        }
    }
    Ok(())
}

/// The client has no TIME_WAIT: one connection more than there are ports is as good as any.
async fn nothing_is_held(
    lab: &Lab,
    params: &Params,
    listeners: &[Listener],
) -> Result<(), LabError> {
    let room = params.integer("ports") * params.integer("destinations");
    lab.chapter(&format!("Open connection {}", room + 1));
    let to = &listeners[0];
    let client = Connection::open(&lab.client(), to.address(), None)
        .await?
        .map_err(|error| refused_early(room, &error))?;
    open_and_close(lab, client, to, params.choice("closing")).await?;
    lab.remark(match params.choice("closing") {
        "server" => {
            "It was opened like the others: the server closed first, so the TIME_WAITs are the \
             server's, and the client's ports are free."
        }
        _ => {
            "It was opened like the others: an RST leaves no TIME_WAIT, and the client's ports are \
             free."
        }
    });
    Ok(())
}

fn ended(outcome: ReadOutcome, host: HostName) -> Result<(), LabError> {
    match outcome {
        ReadOutcome::End => Ok(()),
        ReadOutcome::Data(_) => Err(missing("the end of an empty stream")),
        ReadOutcome::Failed(error) => Err(LabError::Application {
            host,
            call: "read()",
            errno: errno_name(&error),
        }),
    }
}

fn refused_early(nth: u64, error: &std::io::Error) -> LabError {
    LabError::Unmet(format!(
        "connection {} could not be opened although there are ports: {}",
        nth + 1,
        errno_name(error)
    ))
}

fn missing(what: &str) -> LabError {
    LabError::Unmet(format!("waited in vain for {what}"))
}
