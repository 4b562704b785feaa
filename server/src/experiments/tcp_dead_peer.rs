//! `tcp-dead-peer`: how long until a silently dead peer is noticed?

use std::time::Duration;

use linger_shared::{
    event::{HostName, Mode},
    experiment::{Descriptor, Finding, Param, Params},
    theory::{keepalive, wheel::Spread},
    units::human,
};

use super::{Experiment, Script, claim, paragraphs, preset, reference};
use crate::{
    endpoints::{Connection, KeepAlive, ReadOutcome},
    hosts,
    lab::{Lab, LabError, Plan},
};

/// How much later than predicted at the latest a detection may come before the script stops waiting:
/// machines are busy.
const PATIENCE_DIVISOR: u64 = 8;

pub(super) struct TcpDeadPeer;

impl Experiment for TcpDeadPeer {
    fn id(&self) -> &'static str {
        "tcp-dead-peer"
    }

    fn descriptor(&self) -> Descriptor {
        Descriptor {
            id: self.id().to_owned(),
            title: "A silently dead peer".to_owned(),
            question: "How long until a silently dead peer is noticed?".to_owned(),
            family: "TCP".to_owned(),
            modes: vec![Mode::Packets],
            explanation: paragraphs(&[
                "A TCP connection is an agreement between two kernels, not a circuit. When the path \
                 between them is cut without a word (a cable pulled, a firewall that forgets, a host \
                 that loses power), nothing tells either of them, and a read() simply waits.",
                "Keep-alive asks. After `idle` without a packet from the peer, the kernel sends a \
                 probe: a segment without data whose sequence number is one below the next, which \
                 a living peer must acknowledge. Each probe has `interval` to be answered. After \
                 `count` of them in a row without an answer the kernel sends an RST, in case the \
                 peer lives but its answers are lost, and the waiting read() fails with ETIMEDOUT. \
                 So a dead peer is noticed idle + interval x count after it was last heard.",
                "Linux's timers are never early and up to an eighth late: a long one waits in a \
                 coarse slot for its end (kernel/time/timer.c). An interval of 1 s, where the kernel \
                 ticks 250 times a second, lasts 1.024 s, and one of 17 s lasts 18.4 s. The \
                 prediction takes that in.",
                "Linux's defaults are 2 h, 75 s and 9 probes: 2 h 11 min 15 s. The defaults here make \
                 1 s of the run stand for about 26 min. Without keep-alive, a side that only reads \
                 never notices, for as long as one cares to look.",
            ]),
            look_for: paragraphs(&[
                "the probes that leave and are dropped half-way",
                "the RST after the last of them, and ETIMEDOUT at the same moment",
                "the kernel's own countdown in the sockets table",
                "with keep-alive off: nothing at all, and both sides still ESTABLISHED",
            ]),
            misconception: "\"A dead connection gives an error.\" Only to those who send or ask. \
                            Silence looks exactly like a peer that has nothing to say."
                .to_owned(),
            params: vec![
                Param::boolean(
                    "keepalive",
                    true,
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
                    "probes that may stay unanswered in a row (TCP_KEEPCNT)",
                ),
                Param::duration(
                    "watch",
                    8_000_000,
                    1_000_000,
                    14_400_000_000,
                    "how long to look on where keep-alive is off",
                ),
                Param::duration("delay", 20_000, 0, 400_000, "one-way delay of the link"),
            ],
            presets: vec![
                preset(
                    "no keep-alive",
                    "nobody asks, nobody notices",
                    &[("keepalive", "off")],
                ),
                preset(
                    "Go's defaults, a fifteenth",
                    "15 s, 15 s and 9 probes make 150 s; here 10 s",
                    &[("idle", "1s"), ("interval", "1s"), ("count", "9")],
                ),
                preset(
                    "Node.js with 2 s",
                    "`setKeepAlive(true, 2000)` sets 2 s, 1 s and 10 probes: noticed after 12 s",
                    &[("idle", "2s"), ("interval", "1s"), ("count", "10")],
                ),
                preset(
                    "Go's defaults",
                    "15 s, 15 s and 9 probes: noticed after 150 s",
                    &[("idle", "15s"), ("interval", "15s"), ("count", "9")],
                ),
                preset(
                    "Linux's defaults",
                    "2 h, 75 s, 9 probes: noticed after 2 h 11 min 15 s",
                    &[("idle", "2h"), ("interval", "75s"), ("count", "9")],
                ),
            ],
            claims: vec![
                claim(
                    "A connection whose peer is gone gives an error.",
                    Finding::Refuted,
                    "Both sockets stay ESTABLISHED and the reader waits for as long as one looks: \
                     silence is not an event.",
                    &[("keepalive", "off")],
                ),
                claim(
                    "Keep-alive notices a dead peer after idle + interval x count.",
                    Finding::Confirmed,
                    "The last probe has its interval to be answered too; then the kernel sends an \
                     RST and the waiting read() fails with ETIMEDOUT.",
                    &[],
                ),
                claim(
                    "With keep-alive at 2 s a broken link is noticed within 2 s.",
                    Finding::Refuted,
                    "2 s are the wait for the first probe. A socket of Node.js sets an interval of \
                     1 s and 10 probes besides, so it takes 12 s; one that sets nothing else has \
                     Linux's 75 s and 9 probes, and takes 11 min 17 s.",
                    &[("idle", "2s"), ("interval", "1s"), ("count", "10")],
                ),
                claim(
                    "By default Linux notices a dead peer after two hours.",
                    Finding::Depends,
                    "Only on a socket with SO_KEEPALIVE, and 9 probes of 75 s later: 2 h 11 min \
                     15 s. The defaults here show the same at 26 min to the second.",
                    &[],
                ),
                claim(
                    "Keep-alive can find out that a firewall has broken an idle connection.",
                    Finding::Confirmed,
                    "To the one who asks, a path that drops everything is as silent as a dead peer. \
                     With data in flight another timer decides.",
                    &[("idle", "1s"), ("interval", "1s"), ("count", "2")],
                ),
            ],
            references: vec![
                reference(
                    "RFC 9293, section 3.8.4: TCP keep-alives",
                    "https://www.rfc-editor.org/rfc/rfc9293#section-3.8.4",
                ),
                reference(
                    "RFC 1122, section 4.2.3.6: TCP keep-alives",
                    "https://www.rfc-editor.org/rfc/rfc1122#section-4.2.3.6",
                ),
                reference(
                    "tcp(7): TCP_KEEPIDLE, TCP_KEEPINTVL, TCP_KEEPCNT",
                    "https://man7.org/linux/man-pages/man7/tcp.7.html",
                ),
                reference(
                    "Node.js: socket.setKeepAlive()",
                    "https://nodejs.org/api/net.html#socketsetkeepaliveenable-initialdelay",
                ),
                reference(
                    "Go: net.KeepAliveConfig",
                    "https://pkg.go.dev/net#KeepAliveConfig",
                ),
            ],
        }
    }

    fn plan(&self, params: &Params) -> Plan {
        let delay = params.duration_us("delay");
        let predicted = keepalive_of(params).map(|keepalive| detection(keepalive, 0));
        let patience = patience_us(params, predicted);
        Plan::symmetric(delay, patience + 20 * delay)
    }

    fn run<'a>(&'a self, lab: &'a mut Lab, params: &'a Params) -> Script<'a> {
        Box::pin(script(lab, params))
    }
}

/// A duration for a socket option that takes whole seconds: rounded up, as the parameters say.
fn whole_seconds(micros: u64) -> u64 {
    micros.div_ceil(1_000_000) * 1_000_000
}

/// How long to wait for the client's read to come back, in microseconds.
fn patience_us(params: &Params, predicted: Option<Spread>) -> u64 {
    match predicted {
        Some(predicted) => predicted.latest_us + predicted.latest_us / PATIENCE_DIVISOR + 1_000_000,
        None => params.duration_us("watch"),
    }
}

/// When the client notices, after it last heard anything; its timer was set `heard_after_us` before
/// that.
fn detection(keepalive: KeepAlive, heard_after_us: u64) -> Spread {
    keepalive::detected(
        keepalive.idle_us,
        keepalive.interval_us,
        keepalive.count.into(),
        heard_after_us,
        hosts::tick_us(),
    )
}

fn keepalive_of(params: &Params) -> Option<KeepAlive> {
    params.boolean("keepalive").then_some(KeepAlive {
        idle_us: whole_seconds(params.duration_us("idle")),
        interval_us: whole_seconds(params.duration_us("interval")),
        count: u32::try_from(params.integer("count")).unwrap_or(u32::MAX),
    })
}

async fn script(lab: &mut Lab, params: &Params) -> Result<(), LabError> {
    let keepalive = keepalive_of(params);

    lab.chapter("Connect and exchange a greeting");
    let listener = lab.server().listen(7654).await?;
    let (mut client, mut server, connected) =
        Connection::pair(&lab.client(), &listener, keepalive).await?;
    client.write(b"hello").await?;
    let greeting = server.read_exactly(5).await?;
    server.write(&greeting).await?;
    client.read_exactly(greeting.len()).await?;
    // Unacknowledged data would bring the retransmission timer in instead of keep-alive.
    lab.connections_until(HostName::Server, Duration::from_secs(5), |sockets| {
        sockets.iter().all(|socket| socket.send_queue == 0)
    })
    .await;

    lab.chapter("Cut the path without a word");
    lab.cut(&[HostName::Client, HostName::Server]).stay();
    let last_heard = lab.last_arrival_us(HostName::Client);
    let heard_after = last_heard.saturating_sub(connected);
    let predicted = keepalive.map(|keepalive| detection(keepalive, heard_after));
    if let (Some(keepalive), Some(predicted)) = (keepalive, predicted) {
        lab.expect_after(
            "detection",
            last_heard,
            predicted.expected_us,
            format!(
                "idle {} + {} x interval {}, and the slots of the kernel's timers",
                human(keepalive.idle_us),
                keepalive.count,
                human(keepalive.interval_us)
            ),
        );
    }
    let patience_us = patience_us(params, predicted);
    let predicted = predicted.map(|predicted| predicted.expected_us);

    // The peer waits too, and hears nothing either way: its own keep-alive is off.
    let waiting = async {
        let client_ends = tokio::time::timeout(Duration::from_micros(patience_us), client.read());
        tokio::select! {
            biased;
            ending = client_ends => ending.ok(),
            never = server.read() => match never {
                ReadOutcome::Failed(_) | ReadOutcome::End | ReadOutcome::Data(_) => None,
            },
        }
    };
    let ending = waiting.await;
    let now = lab.now_us();
    match ending {
        Some(ReadOutcome::Failed(_)) => {
            let span = now.saturating_sub(last_heard);
            lab.measure("detection", predicted, Some(span), now);
        }
        Some(ReadOutcome::Data(_) | ReadOutcome::End) => {
            return Err(LabError::Unmet(
                "the client heard from a peer that was cut off".to_owned(),
            ));
        }
        None => {
            lab.measure("detection", predicted, None, now);
            lab.remark(&format!(
                "Looked for {}: the client's read() still waits, and its socket is ESTABLISHED.",
                human(now.saturating_sub(last_heard))
            ));
        }
    }
    Ok(())
}
