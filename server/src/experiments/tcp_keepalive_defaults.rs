//! `tcp-keepalive-defaults`: what did I really switch on?

use std::{collections::BTreeMap, time::Duration};

use linger_shared::{
    event::{Fact, HostName, Mode},
    experiment::{Descriptor, Finding, Param, Params},
    theory::keepalive,
    units::human,
};

use super::{Experiment, Script, claim, paragraphs, preset, reference};
use crate::{
    endpoints::{Connection, Dial, KeepAlive, SocketOption},
    lab::{Lab, LabError, Plan, prober},
};

/// How much later than predicted a probe may come before the script stops waiting, besides an eighth
/// of its timer.
const SLACK: Duration = Duration::from_secs(5);

pub(super) struct TcpKeepaliveDefaults;

impl Experiment for TcpKeepaliveDefaults {
    fn id(&self) -> &'static str {
        "tcp-keepalive-defaults"
    }

    fn descriptor(&self) -> Descriptor {
        Descriptor {
            id: self.id().to_owned(),
            title: "Keep-alive's defaults".to_owned(),
            question: "What did I really switch on?".to_owned(),
            family: "TCP".to_owned(),
            modes: vec![Mode::Packets],
            explanation: paragraphs(&[
                "SO_KEEPALIVE is a switch, and off unless somebody turns it on (RFC 1122, section \
                 4.2.3.6, demands that). The times are something else: TCP_KEEPIDLE, TCP_KEEPINTVL \
                 and TCP_KEEPCNT on the socket, or, where the socket has none of its own, the host's \
                 sysctls tcp_keepalive_time, tcp_keepalive_intvl and tcp_keepalive_probes. So the \
                 switch alone means 7200 s, 75 s and 9 probes: the first question after two hours. \
                 The times alone mean nothing at all; the kernel keeps them, and no timer runs.",
                "Both may be set before connect(), after it, or on a listening socket: what accept() \
                 returns has inherited them. The kernel loses none of them. Where a setting seems to \
                 be lost, a library has lost it before it had a socket to set it on.",
                "When the timer starts differs a little. Set before connect() or inherited, it starts \
                 when the connection is there. On an open connection SO_KEEPALIVE starts it at that \
                 moment, however long the connection has been idle. TCP_KEEPIDLE, set while the \
                 switch is on, sets it anew and counts from the last thing heard \
                 (tcp_sock_set_keepidle_locked). So the usual order, the switch and then the times, \
                 probes at idle after the last packet; the other order, at idle after the call. \
                 TCP_KEEPINTVL and TCP_KEEPCNT move no timer.",
                "The run asks the kernel what it counts down to (sock_diag, as `ss -o` does) and \
                 works out when that countdown began. Nothing is scaled: 7200 s are 7200 s, and only \
                 a first probe that is due within `watch` is waited for.",
            ]),
            look_for: paragraphs(&[
                "the setsockopt() calls, and what they leave out",
                "the kernel's countdown, or that there is none",
                "the moment from which it counts: the handshake, the call, or the last packet",
                "the first probe at the time that the countdown and the last packet allow",
            ]),
            misconception:
                "\"I have switched keep-alive on, so dead connections go away.\" With the \
                            switch alone the first probe leaves after two hours; most of what idle \
                            connections meet on their way forgets them long before."
                    .to_owned(),
            params: vec![
                Param::choice(
                    "set",
                    &[
                        "switch",
                        "switch-then-times",
                        "times-then-switch",
                        "times",
                        "nothing",
                    ],
                    "what the socket is told: SO_KEEPALIVE, the three times, both in either order, or \
                     nothing",
                ),
                Param::choice(
                    "when",
                    &["before-connect", "after-connect", "on-listener"],
                    "when: on the client's socket before connect() or after it, or on the server's \
                     listening socket",
                ),
                Param::duration(
                    "idle",
                    2_000_000,
                    1_000_000,
                    7_200_000_000,
                    "TCP_KEEPIDLE, where times are set, rounded up to whole seconds",
                ),
                Param::duration(
                    "interval",
                    1_000_000,
                    1_000_000,
                    600_000_000,
                    "TCP_KEEPINTVL, where times are set, rounded up to whole seconds",
                ),
                Param::integer(
                    "count",
                    "probes",
                    3,
                    1,
                    127,
                    "TCP_KEEPCNT, where times are set",
                ),
                Param::duration(
                    "keepalive_time",
                    7_200_000_000,
                    1_000_000,
                    32_400_000_000,
                    "the hosts' tcp_keepalive_time, rounded up to whole seconds",
                ),
                Param::duration(
                    "later",
                    500_000,
                    0,
                    3_600_000_000,
                    "silence between the greeting and the calls, where they come after connect()",
                ),
                Param::duration(
                    "watch",
                    4_000_000,
                    1_000_000,
                    14_400_000_000,
                    "how long a first probe is waited for; one that is due later is not",
                ),
                Param::duration("delay", 20_000, 0, 400_000, "one-way delay of the link"),
            ],
            presets: vec![
                preset(
                    "times and no switch",
                    "the times are set, and nothing runs",
                    &[("set", "times")],
                ),
                preset(
                    "before connect()",
                    "the switch and its times, set on a socket that has no connection yet",
                    &[("set", "switch-then-times")],
                ),
                preset(
                    "on an open connection",
                    "the switch and then the times: counted from the last packet",
                    &[("set", "switch-then-times"), ("when", "after-connect")],
                ),
                preset(
                    "on an open connection, times first",
                    "the times and then the switch: counted from the call",
                    &[("set", "times-then-switch"), ("when", "after-connect")],
                ),
                preset(
                    "inherited",
                    "set on the listener; the accepted socket probes",
                    &[("set", "switch-then-times"), ("when", "on-listener")],
                ),
                preset(
                    "a host for cloud load balancers",
                    "the switch alone, on hosts whose tcp_keepalive_time is 300 s: below the 350 s \
                     of some load balancers",
                    &[("keepalive_time", "300s")],
                ),
                preset(
                    "the first probe of the default",
                    "waits for it: lasts two hours",
                    &[("watch", "3h")],
                ),
            ],
            claims: vec![
                claim(
                    "On Linux an idle connection is probed after two hours by default.",
                    Finding::Depends,
                    "Where the socket has SO_KEEPALIVE and no time of its own the countdown begins \
                     at 7200 s, or at what tcp_keepalive_time says; without SO_KEEPALIVE there is none.",
                    &[],
                ),
                claim(
                    "TCP probes idle connections by itself.",
                    Finding::Refuted,
                    "A socket that was told nothing has no timer, and no packet leaves.",
                    &[("set", "nothing")],
                ),
                claim(
                    "Setting TCP_KEEPIDLE switches keep-alive on.",
                    Finding::Refuted,
                    "The time is kept, but without SO_KEEPALIVE no timer runs.",
                    &[("set", "times")],
                ),
                claim(
                    "An application can switch keep-alive on; the times are the system's alone.",
                    Finding::Refuted,
                    "Linux has a socket option for each of the three, and other systems have too.",
                    &[("set", "switch-then-times")],
                ),
                claim(
                    "What is set before connecting is lost, and a default of 30 s is used.",
                    Finding::Refuted,
                    "The kernel keeps it through connect(): the countdown begins at the value set. \
                     It was said of an old Node.js, which had no socket yet to set it on; Linux's \
                     own default is 7200 s.",
                    &[("set", "switch-then-times"), ("when", "before-connect")],
                ),
                claim(
                    "Every accepted socket has to be told by itself.",
                    Finding::Refuted,
                    "It inherits the switch and the times of its listener, and its timer runs when \
                     accept() returns.",
                    &[("set", "switch-then-times"), ("when", "on-listener")],
                ),
            ],
            references: vec![
                reference(
                    "RFC 1122, section 4.2.3.6: TCP keep-alives",
                    "https://www.rfc-editor.org/rfc/rfc1122#section-4.2.3.6",
                ),
                reference(
                    "Linux: ip-sysctl, tcp_keepalive_time",
                    "https://docs.kernel.org/networking/ip-sysctl.html",
                ),
                reference(
                    "tcp(7): TCP_KEEPIDLE, TCP_KEEPINTVL, TCP_KEEPCNT",
                    "https://man7.org/linux/man-pages/man7/tcp.7.html",
                ),
                reference(
                    "socket(7): SO_KEEPALIVE",
                    "https://man7.org/linux/man-pages/man7/socket.7.html",
                ),
            ],
        }
    }

    fn plan(&self, params: &Params) -> Plan {
        let delay = params.duration_us("delay");
        let lasts = params.duration_us("later") + 2 * params.duration_us("watch");
        let seconds = params.duration_us("keepalive_time").div_ceil(SECOND_US);
        Plan {
            sysctls: BTreeMap::from([("tcp_keepalive_time".to_owned(), seconds.to_string())]),
            ..Plan::symmetric(delay, lasts + 20 * delay + SECOND_US)
        }
    }

    fn run<'a>(&'a self, lab: &'a mut Lab, params: &'a Params) -> Script<'a> {
        Box::pin(script(lab, params))
    }
}

const SECOND_US: u64 = 1_000_000;

/// A duration for a socket option that takes whole seconds: rounded up, as the parameters say.
fn whole(params: &Params, name: &str) -> u64 {
    params.duration_us(name).div_ceil(SECOND_US) * SECOND_US
}

/// The calls that are made, in their order.
fn options(params: &Params) -> Vec<SocketOption> {
    let times = KeepAlive {
        idle_us: whole(params, "idle"),
        interval_us: whole(params, "interval"),
        count: u32::try_from(params.integer("count")).unwrap_or(u32::MAX),
    };
    let switch = [SocketOption::KeepAliveAlone];
    let times = [
        SocketOption::KeepIdle(times.idle_us),
        SocketOption::KeepInterval(times.interval_us),
        SocketOption::KeepCount(times.count),
    ];
    match params.choice("set") {
        "switch" => switch.into(),
        "switch-then-times" => switch.into_iter().chain(times).collect(),
        "times-then-switch" => times.into_iter().chain(switch).collect(),
        "times" => times.into(),
        _ => Vec::new(),
    }
}

/// A countdown as theory has it.
struct Countdown {
    since_us: u64,
    idle_us: u64,
    because: String,
}

async fn script(lab: &mut Lab, params: &Params) -> Result<(), LabError> {
    let options = options(params);
    let when = params.choice("when");
    let host = match when {
        "on-listener" => HostName::Server,
        _ => HostName::Client,
    };

    lab.chapter("Connect and exchange a greeting");
    let listener = lab.server().listen(7654).await?;
    if when == "on-listener" {
        for option in &options {
            listener.set(option)?;
        }
    }
    let dial = Dial {
        options: match when {
            "before-connect" => options.clone(),
            _ => Vec::new(),
        },
        ..Dial::default()
    };
    let (mut client, mut server, _) =
        Connection::pair_with(&lab.client(), &listener, &dial).await?;
    // The SYN's answer at the client, and that answer's ACK at the server, begin the connection.
    let mut set_us = lab.last_arrival_us(host);
    client.write(b"hello").await?;
    let greeting = server.read_exactly(5).await?;
    server.write(&greeting).await?;
    client.read_exactly(greeting.len()).await?;
    lab.connections_until(HostName::Server, SLACK, |sockets| {
        sockets.iter().all(|socket| socket.send_queue == 0)
    })
    .await;
    let heard_us = lab.last_arrival_us(host);

    if when == "after-connect" {
        lab.chapter("Set the options on the open connection");
        tokio::time::sleep(Duration::from_micros(params.duration_us("later"))).await;
        for option in &options {
            if *option == SocketOption::KeepAliveAlone {
                set_us = lab.now_us();
            }
            client.set(option)?;
        }
    }

    lab.chapter("Ask the kernel for its countdown");
    let predicted = countdown(lab, host, params, set_us, heard_us);
    if let Some(Countdown {
        since_us,
        idle_us,
        because,
    }) = &predicted
    {
        lab.expect_after("countdown", *since_us, *idle_us, because.clone());
    }
    let timer = lab.timer_due(host).await;
    let now_us = lab.now_us();
    let (since_us, idle_us) = predicted.as_ref().map_or((now_us, None), |countdown| {
        (countdown.since_us, Some(countdown.idle_us))
    });
    let measured = timer.map(|(_, due_us)| due_us.saturating_sub(since_us));
    lab.measure("countdown", idle_us, measured, now_us);
    lab.remark(&match timer {
        Some((_, due_us)) => format!(
            "The {host}'s kernel: keep-alive timer, {} left.",
            human(due_us.saturating_sub(now_us))
        ),
        None => format!("The {host}'s kernel: no timer."),
    });
    first_probe(lab, params, host, predicted, heard_us).await
}

/// What the kernel is to count down, from when, and why; `None` where it has no reason to.
fn countdown(
    lab: &Lab,
    host: HostName,
    params: &Params,
    set_us: u64,
    heard_us: u64,
) -> Option<Countdown> {
    let since = match params.choice("when") {
        "after-connect" => "the call",
        _ => "the connection was there",
    };
    let (since_us, since) = match (params.choice("set"), params.choice("when")) {
        ("times" | "nothing", _) => return None,
        ("switch-then-times", "after-connect") => (heard_us, "the last packet came"),
        _ => (set_us, since),
    };
    let (idle_us, what) = match params.choice("set") {
        "switch" => {
            let seconds = lab.sysctl(host, "tcp_keepalive_time")?;
            (seconds * SECOND_US, "tcp_keepalive_time")
        }
        _ => (whole(params, "idle"), "TCP_KEEPIDLE"),
    };
    Some(Countdown {
        since_us,
        idle_us,
        because: format!("{what} of {} since {since}", human(idle_us)),
    })
}

/// Waits for the first probe where it is due soon enough; or sees that there is none.
async fn first_probe(
    lab: &Lab,
    params: &Params,
    host: HostName,
    predicted: Option<Countdown>,
    heard_us: u64,
) -> Result<(), LabError> {
    let watch_us = params.duration_us("watch");
    let Some(Countdown {
        since_us, idle_us, ..
    }) = predicted
    else {
        lab.chapter("Look whether it probes");
        let mut record = lab.follow();
        let packet = record.departure(Duration::from_micros(watch_us), |_| true);
        if let Some((_, packet)) = packet.await {
            return Err(LabError::Unmet(format!(
                "{} sent {} although keep-alive is off",
                packet.from, packet.summary
            )));
        }
        lab.remark(&format!("Looked for {}: no packet left.", human(watch_us)));
        return Ok(());
    };
    let due_us = keepalive::first_probe_us(since_us + idle_us, heard_us, idle_us);
    let left_us = due_us.saturating_sub(lab.now_us());
    if left_us > watch_us {
        lab.remark(&format!(
            "The first probe is due in {}, which is more than this run watches for.",
            human(left_us)
        ));
        return Ok(());
    }
    lab.chapter("Wait for the first probe");
    let mut record = lab.follow();
    let (from_us, because) = if due_us == heard_us + idle_us {
        (heard_us, "since the last packet came")
    } else {
        (since_us, "since the call")
    };
    let because = format!("{} {because}", human(idle_us));
    lab.expect_after("first_probe", from_us, idle_us, because);
    let patience = Duration::from_micros(left_us + idle_us / 8) + SLACK;
    let probe = record
        .departure(patience, |packet| prober(packet) == Some(host))
        .await;
    let (left_us, _) =
        probe.ok_or_else(|| LabError::Unmet(format!("no probe of the {host} has come")))?;
    let measured = left_us.saturating_sub(from_us);
    lab.measure("first_probe", Some(idle_us), Some(measured), left_us);
    // The answer is part of the picture.
    let answered = record.find(SLACK, |event| {
        matches!(event.fact, Fact::PacketArrived { .. })
            .then_some(event.at_us)
            .filter(|_| lab.last_arrival_us(host) > left_us)
    });
    answered.await;
    Ok(())
}
