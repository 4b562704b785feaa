//! `tcp-user-timeout`: can I bound it?

use std::collections::BTreeMap;

use linger_shared::{
    event::{HostName, Mode},
    experiment::{Descriptor, Finding, Param, Params},
    theory::{
        retransmission::{Sender, probed_us},
        wheel::Spread,
    },
    units::human,
};

use super::{Experiment, Script, claim, keepalive_of, paragraphs, preset, probed, reference};
use crate::{
    endpoints::{Connection, Dial, Silence, SocketOption},
    hosts,
    lab::{Lab, LabError, Plan},
};

pub(super) struct TcpUserTimeout;

impl Experiment for TcpUserTimeout {
    fn id(&self) -> &'static str {
        "tcp-user-timeout"
    }

    fn descriptor(&self) -> Descriptor {
        Descriptor {
            id: self.id().to_owned(),
            title: "A bound of one's own: TCP_USER_TIMEOUT".to_owned(),
            question: "Can I bound it?".to_owned(),
            family: "TCP".to_owned(),
            modes: vec![Mode::Packets],
            explanation: paragraphs(&[
                "TCP_USER_TIMEOUT says how long data may stay unacknowledged before the kernel gives \
                 the connection up (RFC 5482). It takes the place of what `tcp_retries2` stands for, \
                 whether it is shorter or longer. Linux counts it from the first retransmission that \
                 it counts, not from the write: a loss probe and one retransmission time-out come \
                 first, some 0.4 s on a short path (`retransmits_timed_out`). The last timer is \
                 shortened to meet the bound.",
                "Beside keep-alive it overrides the number of probes. At each expiry of the keep-alive \
                 timer the kernel looks whether a probe is unanswered and the user timeout has passed \
                 since it last heard of the peer, and does not count any more (`tcp_keepalive_timer`). \
                 So the bound is met at the next expiry: at idle + interval, or one of the intervals \
                 after it, and with a long user timeout later than the count would have had it.",
                "It sets no timer of its own. On a connection that is idle and has no keep-alive \
                 nothing ever expires, and nothing is bounded: something must be sent for its answer \
                 to be missed. The default here is 3 s, where services commonly choose 20 s to 60 s; \
                 without it Linux waits for a quarter of an hour.",
            ]),
            look_for: paragraphs(&[
                "the ladder of retransmissions cut short: the last interval is not a doubled one",
                "with keep-alive: more or fewer probes than TCP_KEEPCNT says",
                "idle without keep-alive: not a packet, and no end",
            ]),
            misconception:
                "\"TCP_USER_TIMEOUT finds out that a peer is dead.\" It asks nothing. It \
                            bounds how long an answer that is due may be missing, and who sends \
                            nothing has no answer due."
                    .to_owned(),
            params: vec![
                Param::duration(
                    "user_timeout",
                    3_000_000,
                    0,
                    3_600_000_000,
                    "TCP_USER_TIMEOUT of the client's socket, in whole milliseconds; 0 for none",
                ),
                Param::boolean(
                    "in_flight",
                    true,
                    "whether the client writes into the cut path",
                ),
                Param::boolean(
                    "keepalive",
                    false,
                    "whether the client's socket has SO_KEEPALIVE",
                ),
                Param::duration(
                    "idle",
                    2_000_000,
                    1_000_000,
                    7_200_000_000,
                    "silence before the first probe (TCP_KEEPIDLE), rounded up to whole seconds",
                ),
                Param::duration(
                    "interval",
                    1_000_000,
                    1_000_000,
                    600_000_000,
                    "how long each probe may stay unanswered (TCP_KEEPINTVL), rounded up to whole seconds",
                ),
                Param::integer(
                    "count",
                    "probes",
                    3,
                    1,
                    127,
                    "probes that may stay unanswered in a row (TCP_KEEPCNT), where no user timeout \
                     overrides it",
                ),
                Param::integer(
                    "retries",
                    "retransmissions",
                    15,
                    1,
                    15,
                    "tcp_retries2 of the client, where no user timeout overrides it",
                ),
                Param::duration(
                    "watch",
                    8_000_000,
                    1_000_000,
                    14_400_000_000,
                    "how long to look on where theory says that nobody will notice",
                ),
                Param::duration("delay", 5_000, 0, 400_000, "one-way delay of the link"),
            ],
            presets: vec![
                preset(
                    "idle, with keep-alive",
                    "it ends before the third probe's time is over",
                    &[
                        ("in_flight", "off"),
                        ("keepalive", "on"),
                        ("user_timeout", "3500ms"),
                    ],
                ),
                preset(
                    "idle, longer than keep-alive",
                    "seven probes where three were asked for",
                    &[
                        ("in_flight", "off"),
                        ("keepalive", "on"),
                        ("user_timeout", "9s"),
                    ],
                ),
                preset(
                    "idle, without keep-alive",
                    "nothing expires, so nothing is bounded",
                    &[("in_flight", "off")],
                ),
                preset(
                    "no user timeout",
                    "tcp_retries2 of 5 decides",
                    &[("user_timeout", "0"), ("retries", "5")],
                ),
                preset(
                    "30 s",
                    "a value that services use in production",
                    &[("user_timeout", "30s")],
                ),
            ],
            claims: vec![
                claim(
                    "With TCP_USER_TIMEOUT the application knows of lost data after that time.",
                    Finding::Depends,
                    "It knows a loss probe and a retransmission time-out later: the kernel counts from \
                     the first retransmission that it counts. With 3 s that is some 3.4 s, and on a \
                     path with a long round trip more.",
                    &[],
                ),
                claim(
                    "TCP_USER_TIMEOUT shortens what tcp_retries2 allows.",
                    Finding::Depends,
                    "It takes its place, and lengthens it as well: with 8 s and 3 retries, which stand \
                     for 3 s, the kernel goes on for 8 s.",
                    &[("user_timeout", "8s"), ("retries", "3")],
                ),
                claim(
                    "TCP_USER_TIMEOUT replaces keep-alive.",
                    Finding::Refuted,
                    "On an idle connection without keep-alive it never fires.",
                    &[("in_flight", "off")],
                ),
                claim(
                    "With keep-alive a user timeout ends the connection when it is over.",
                    Finding::Depends,
                    "The kernel looks only when its keep-alive timer expires. With 3.5 s, idle 2 s and \
                     interval 1 s that is at 4 s; and never before the first probe's interval is over.",
                    &[
                        ("in_flight", "off"),
                        ("keepalive", "on"),
                        ("user_timeout", "3500ms"),
                    ],
                ),
            ],
            references: vec![
                reference(
                    "RFC 5482: TCP user timeout option",
                    "https://www.rfc-editor.org/rfc/rfc5482",
                ),
                reference(
                    "RFC 9293, section 3.9.1: the timeout of OPEN and SEND",
                    "https://www.rfc-editor.org/rfc/rfc9293#section-3.9.1",
                ),
                reference(
                    "tcp(7): TCP_USER_TIMEOUT",
                    "https://man7.org/linux/man-pages/man7/tcp.7.html",
                ),
                reference(
                    "Cloudflare: when TCP sockets refuse to die",
                    "https://blog.cloudflare.com/when-tcp-sockets-refuse-to-die/",
                ),
            ],
        }
    }

    fn plan(&self, params: &Params) -> Plan {
        let delay = params.duration_us("delay");
        let watch_us = params.duration_us("watch");
        let longest = if params.boolean("in_flight") {
            let retries = u32::try_from(params.integer("retries")).unwrap_or(15);
            let sender = Sender {
                user_timeout_us: user_timeout_us(params),
                ..Sender::planned(2 * delay, retries, hosts::tick_us())
            };
            sender.ladder().gives_up.latest_us * 2
        } else {
            noticed(params, hosts::tick_us()).map_or(watch_us, |spread| spread.latest_us * 2)
        };
        Plan {
            sysctls: BTreeMap::from([
                (
                    "tcp_retries2".to_owned(),
                    params.integer("retries").to_string(),
                ),
                ("tcp_early_retrans".to_owned(), "3".to_owned()),
            ]),
            ..Plan::symmetric(delay, longest + 20 * delay + 5_000_000)
        }
    }

    fn run<'a>(&'a self, lab: &'a mut Lab, params: &'a Params) -> Script<'a> {
        Box::pin(script(lab, params))
    }
}

/// As the socket gets it: in whole milliseconds.
fn user_timeout_us(params: &Params) -> u64 {
    params.duration_us("user_timeout").div_ceil(1_000) * 1_000
}

/// When the idle connection is given up; `None` where nobody asks.
fn noticed(params: &Params, tick_us: u64) -> Option<Spread> {
    params.boolean("keepalive").then(|| {
        let keepalive = keepalive_of(params);
        match user_timeout_us(params) {
            0 => probed(keepalive, tick_us),
            limit_us => probed_us(keepalive.idle_us, keepalive.interval_us, limit_us, tick_us),
        }
    })
}

async fn script(lab: &mut Lab, params: &Params) -> Result<(), LabError> {
    let limit_us = user_timeout_us(params);
    let mut options = Vec::new();
    if params.boolean("keepalive") {
        options.push(SocketOption::KeepAlive(keepalive_of(params)));
    }
    if limit_us > 0 {
        options.push(SocketOption::UserTimeout(limit_us));
    }

    lab.chapter("Connect and exchange a greeting");
    let listener = lab.server().listen(7654).await?;
    let dial = Dial {
        options,
        ..Dial::default()
    };
    let (mut client, mut server) =
        Connection::dialled_pair(&lab.client(), &listener, &dial).await?;
    Connection::greet(&mut client, &mut server).await?;
    lab.sender_at_rest(HostName::Server).await?;
    let sender = Sender {
        user_timeout_us: limit_us,
        ..lab.sender_at_rest(HostName::Client).await?
    };

    lab.chapter("Cut the path without a word");
    lab.cut(&[HostName::Client, HostName::Server]).stay();
    let silence = if params.boolean("in_flight") {
        lab.chapter("Write into the cut path");
        let wrote_us = lab.now_us();
        let gives_up = sender.ladder().gives_up;
        let bound = match limit_us {
            0 => format!(
                "the first expiry {} (tcp_retries2)",
                human(sender.patience_us())
            ),
            _ => format!("{} (TCP_USER_TIMEOUT)", human(limit_us)),
        };
        lab.expect_after(
            "detection",
            wrote_us,
            gives_up.expected_us,
            format!(
                "{}an RTO of {}, then {bound} after the first counted retransmission",
                if sender.loss_probe {
                    "a loss probe, "
                } else {
                    ""
                },
                human(sender.rto_us),
            ),
        );
        client.write(b"anybody there?").await?;
        Silence {
            since_us: wrote_us,
            noticed: Some(gives_up),
            watch_us: 0,
        }
    } else {
        let last_heard = lab.last_arrival_us(HostName::Client);
        let noticed = noticed(params, sender.tick_us);
        if let Some(noticed) = noticed {
            let keepalive = keepalive_of(params);
            let asks = format!(
                "idle {}, then every {}",
                human(keepalive.idle_us),
                human(keepalive.interval_us)
            );
            let because = match limit_us {
                0 => format!("{asks}, {} probes", keepalive.count),
                _ => format!(
                    "{asks}: the first expiry {} (TCP_USER_TIMEOUT) or more after the last packet, \
                     however many probes that makes",
                    human(limit_us)
                ),
            };
            lab.expect_after("detection", last_heard, noticed.expected_us, because);
        }
        Silence {
            since_us: last_heard,
            noticed,
            watch_us: params.duration_us("watch"),
        }
    };
    let noticed = Connection::notices(lab, "detection", &mut client, &mut server, silence).await?;
    if noticed.is_none() && silence.noticed.is_none() {
        lab.remark(&format!(
            "Nothing is in flight and nobody asks, so no timer runs: looked for {}, and both sides \
             still wait.",
            human(lab.now_us().saturating_sub(silence.since_us))
        ));
    }
    Ok(())
}
