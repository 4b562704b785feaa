//! `tcp-half-open`: the peer crashed and came back: what do I see?

use std::{sync::Arc, time::Duration};

use linger_shared::{
    event::{HostName, Mode},
    experiment::{Descriptor, Finding, Param, Params},
    theory::{handshake, keepalive},
    units::human,
};

use super::{Experiment, Script, claim, paragraphs, preset, reference};
use crate::{
    endpoints::{Connection, KeepAlive, ReadOutcome, WriteEnd, errno_name},
    hosts::Process,
    lab::{Lab, LabError, Plan},
};

/// How long something that must come may take beyond what theory says: a busy machine's scheduling,
/// and the start of a program.
const SLACK: Duration = Duration::from_secs(5);

/// Where the peer listens.
const PORT: u16 = 7654;

pub(super) struct TcpHalfOpen;

impl Experiment for TcpHalfOpen {
    fn id(&self) -> &'static str {
        "tcp-half-open"
    }

    fn descriptor(&self) -> Descriptor {
        Descriptor {
            id: self.id().to_owned(),
            title: "A peer that crashed".to_owned(),
            question: "The peer crashed and came back: what do I see?".to_owned(),
            family: "TCP".to_owned(),
            modes: vec![Mode::Packets],
            explanation: paragraphs(&[
                "A crash is not one thing. Where a process dies, its kernel lives and closes its \
                 sockets: the survivor gets a FIN, or an RST if the dead process had left received \
                 data unread. Where the host loses its power, nobody is left to say anything. Where \
                 it comes back, its new kernel knows nothing of the old connection: one end is \
                 open, the other does not exist. RFC 9293 calls that half-open.",
                "The survivor of a reboot learns of it only when it sends something. Its first \
                 write() succeeds, since write() only hands bytes to the own kernel. The segment meets a \
                 kernel without such a connection, which answers with RST. The survivor's \
                 kernel keeps the error for the next call, whichever that is: it gets ECONNRESET, \
                 once. Every write() after it gets EPIPE, and a read() gets the end of the stream.",
                "After a FIN it is different: the survivor is in CLOSE_WAIT, and what it writes meets a \
                 socket that no application holds. Its kernel answers with RST, too, but in \
                 CLOSE_WAIT Linux turns that into EPIPE at once (tcp_reset in net/ipv4/tcp_input.c). \
                 A keep-alive probe is as good as a write: the rebooted host answers it with RST. \
                 The default of `down` makes a fifth of a second stand for the minute that a host \
                 takes to boot.",
            ]),
            look_for: paragraphs(&[
                "the write() that succeeds although nobody is there",
                "the RST one round trip later, and the two errors that follow it",
                "FIN or RST when a process is killed, and nothing at all when the power goes",
                "with nothing sent after a reboot: a survivor that stays ESTABLISHED",
            ]),
            misconception: "\"write() returned no error, so the peer has it.\" It says that the own \
                            kernel has it. And a crashed peer that is back does not tell: it has to \
                            be asked."
                .to_owned(),
            params: vec![
                Param::choice(
                    "fate",
                    &["reboot", "killed", "power-loss"],
                    "what happens to the peer: its host reboots, its process gets SIGKILL, or its \
                     host loses power for good",
                ),
                Param::choice(
                    "asks",
                    &["write", "probe", "nothing"],
                    "how the survivor finds out: it writes, its socket has keep-alive, or it only \
                     waits in read()",
                ),
                Param::boolean(
                    "unread",
                    false,
                    "whether the killed process had received data that it had not read; means \
                     nothing for other fates",
                ),
                Param::duration(
                    "down",
                    200_000,
                    0,
                    600_000_000,
                    "how long a rebooting host is without power",
                ),
                Param::duration(
                    "idle",
                    1_000_000,
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
                    4_000_000,
                    500_000,
                    14_400_000_000,
                    "how long to look on where nothing is going to happen",
                ),
                Param::duration("delay", 20_000, 0, 400_000, "one-way delay of the link"),
            ],
            presets: vec![
                preset(
                    "a process is killed",
                    "its kernel says FIN for it",
                    &[("fate", "killed")],
                ),
                preset(
                    "killed with data unread",
                    "its kernel says RST: something was lost",
                    &[("fate", "killed"), ("unread", "on")],
                ),
                preset(
                    "a probe after the reboot",
                    "keep-alive finds out for a survivor that never writes",
                    &[("asks", "probe")],
                ),
                preset(
                    "a reboot that nobody asks about",
                    "ESTABLISHED on one side, nothing on the other",
                    &[("asks", "nothing")],
                ),
                preset(
                    "power gone for good",
                    "the write succeeds, and then: silence",
                    &[("fate", "power-loss")],
                ),
                preset(
                    "a real boot and Linux's keep-alive",
                    "a minute's reboot is found out two hours after the last word",
                    &[
                        ("asks", "probe"),
                        ("down", "1min"),
                        ("idle", "2h"),
                        ("interval", "75s"),
                        ("count", "9"),
                    ],
                ),
            ],
            claims: vec![
                claim(
                    "The first write() to a dead peer fails.",
                    Finding::Refuted,
                    "It succeeds. The RST that answers it makes the next call fail with ECONNRESET, \
                     and the writes after that with EPIPE.",
                    &[],
                ),
                claim(
                    "A crashed program sends a FIN.",
                    Finding::Depends,
                    "Its kernel does so in its stead, unless received data was left unread: then \
                     it sends RST.",
                    &[("fate", "killed"), ("unread", "on")],
                ),
                claim(
                    "Writing to a closed connection gives ECONNRESET first and then EPIPE.",
                    Finding::Depends,
                    "After a reboot it does. Where a FIN had come before, the socket is in \
                     CLOSE_WAIT, and the RST gives EPIPE at once.",
                    &[("fate", "killed")],
                ),
                claim(
                    "Only an application's own heartbeat finds a half-open connection.",
                    Finding::Refuted,
                    "The first keep-alive probe that reaches the rebooted host is answered with \
                     RST, and the waiting read() fails with ECONNRESET.",
                    &[("asks", "probe")],
                ),
                claim(
                    "When a peer reboots, its connections break.",
                    Finding::Depends,
                    "Only for those who send. A survivor that waits in read() stays ESTABLISHED \
                     for as long as one looks.",
                    &[("asks", "nothing")],
                ),
            ],
            references: vec![
                reference(
                    "RFC 9293, section 3.5.1: half-open connections and other anomalies",
                    "https://www.rfc-editor.org/rfc/rfc9293#section-3.5.1",
                ),
                reference(
                    "RFC 9293, section 3.8.4: TCP keep-alives",
                    "https://www.rfc-editor.org/rfc/rfc9293#section-3.8.4",
                ),
                reference(
                    "RFC 2525, section 2.17: failure to RST on close with data pending",
                    "https://www.rfc-editor.org/rfc/rfc2525#section-2.17",
                ),
                reference(
                    "write(2): EPIPE",
                    "https://man7.org/linux/man-pages/man2/write.2.html",
                ),
            ],
        }
    }

    fn plan(&self, params: &Params) -> Plan {
        let delay = params.duration_us("delay");
        let patience = keepalive_of(params).map_or(params.duration_us("watch"), detection_us);
        let lasts = params.duration_us("down") + patience + patience / 4 + 3_000_000;
        Plan::symmetric(delay, lasts + 40 * delay)
    }

    fn run<'a>(&'a self, lab: &'a mut Lab, params: &'a Params) -> Script<'a> {
        Box::pin(script(lab, params))
    }
}

/// A duration for a socket option that takes whole seconds: rounded up, as the parameters say.
fn whole_seconds(micros: u64) -> u64 {
    micros.div_ceil(1_000_000) * 1_000_000
}

fn keepalive_of(params: &Params) -> Option<KeepAlive> {
    (params.choice("asks") == "probe").then_some(KeepAlive {
        idle_us: whole_seconds(params.duration_us("idle")),
        interval_us: whole_seconds(params.duration_us("interval")),
        count: u32::try_from(params.integer("count")).unwrap_or(u32::MAX),
    })
}

fn detection_us(keepalive: KeepAlive) -> u64 {
    let KeepAlive {
        idle_us,
        interval_us,
        count,
    } = keepalive;
    keepalive::detection_us(idle_us, interval_us, count.into())
}

async fn script(lab: &mut Lab, params: &Params) -> Result<(), LabError> {
    match params.choice("fate") {
        "killed" => killed(lab, params).await,
        "power-loss" => power_lost(lab, params).await,
        _ => rebooted(lab, params).await,
    }
}

/// The peer's process gets SIGKILL; its kernel lives.
async fn killed(lab: &mut Lab, params: &Params) -> Result<(), LabError> {
    let delay = params.duration_us("delay");
    let unread = params.boolean("unread");
    lab.chapter("Talk to a program on the server");
    let (mut client, process) = talk_to_program(lab, params).await?;

    lab.chapter("Kill the program");
    let killed_us = lab.now_us();
    let (name, why) = match unread {
        true => ("reset", "its kernel closes a socket with unread data: RST"),
        false => ("end_of_stream", "its kernel closes its socket: FIN"),
    };
    lab.expect_after(
        name,
        killed_us,
        delay,
        format!("{why}, one way of {}", human(delay)),
    );
    process.kill("script");
    let told = client.read().await;
    let told_us = lab.now_us();
    match (&told, unread) {
        (ReadOutcome::End, false) | (ReadOutcome::Failed(_), true) => {}
        _ => {
            return Err(LabError::Unmet(format!(
                "the survivor of a killed process read {}",
                words(&told)
            )));
        }
    }
    lab.measure(name, Some(delay), Some(told_us - killed_us), told_us);
    if unread {
        lab.remark("RST instead of FIN: the survivor is told that something it sent was lost.");
        return ask_the_dead(lab, &mut client).await;
    }
    if params.choice("asks") != "write" {
        lab.remark(
            "The survivor is in CLOSE_WAIT: it has read the end of the stream and may still write, \
             for as long as it does not try.",
        );
        return Ok(());
    }
    lab.chapter("Write to the dead program");
    write_and_be_reset(lab, &mut client, delay).await?;
    ask_the_dead(lab, &mut client).await
}

/// Connects to a program of its own on the server, and says hello to it.
async fn talk_to_program(
    lab: &Lab,
    params: &Params,
) -> Result<(Connection, Arc<Process>), LabError> {
    let program = match params.boolean("unread") {
        true => "tcp-hold",
        false => "tcp-echo",
    };
    let port = PORT.to_string();
    let process = lab
        .server()
        .start_endpoint(&[program, "--port", &port])
        .await?;
    if !lab.until_listening(HostName::Server, SLACK).await {
        return Err(LabError::Unmet(format!("{program} does not listen")));
    }
    let to = (lab.server().address(), PORT).into();
    let mut client = Connection::open(&lab.client(), to, keepalive_of(params))
        .await?
        .map_err(|error| LabError::Application {
            host: HostName::Client,
            call: "connect()",
            errno: errno_name(&error),
        })?;
    client.write(b"hello").await?;
    let settled = if program == "tcp-hold" {
        lab.connections_until(HostName::Server, SLACK, |sockets| {
            sockets.iter().any(|socket| socket.recv_queue >= 5)
        })
        .await
    } else {
        client.read_exactly(5).await?;
        acknowledged(lab).await
    };
    settled.ok_or_else(|| LabError::Unmet("the greeting did not arrive".to_owned()))?;
    Ok((client, process))
}

/// Waits until nothing of the server's is on its way any more.
async fn acknowledged(lab: &Lab) -> Option<u64> {
    lab.connections_until(HostName::Server, SLACK, |sockets| {
        sockets.iter().all(|socket| socket.send_queue == 0)
    })
    .await
}

/// Connects to an application of the script's own and exchanges a greeting.
async fn greet(lab: &Lab, params: &Params) -> Result<(Connection, Connection), LabError> {
    lab.chapter("Connect and exchange a greeting");
    let listener = lab.server().listen(PORT).await?;
    let (mut client, mut server, _) =
        Connection::pair(&lab.client(), &listener, keepalive_of(params)).await?;
    client.write(b"hello").await?;
    let greeting = server.read_exactly(5).await?;
    server.write(&greeting).await?;
    client.read_exactly(greeting.len()).await?;
    acknowledged(lab).await;
    Ok((client, server))
}

/// The peer's host loses its power for good.
async fn power_lost(lab: &mut Lab, params: &Params) -> Result<(), LabError> {
    let (mut client, _server) = greet(lab, params).await?;
    lab.chapter("The server's host loses its power");
    let last_heard = lab.last_arrival_us(HostName::Client);
    lab.power_off(HostName::Server).await?;
    if let Some(keepalive) = keepalive_of(params) {
        let predicted = detection_us(keepalive);
        lab.expect_after(
            "timed_out",
            last_heard,
            predicted,
            format!(
                "idle {} + {} x interval {}, and nobody answers",
                human(keepalive.idle_us),
                keepalive.count,
                human(keepalive.interval_us)
            ),
        );
        return found_out(lab, &mut client, "timed_out", last_heard, predicted).await;
    }
    if params.choice("asks") == "write" {
        client.write(b"are you there?").await?;
        lab.remark(
            "The write() succeeded: the survivor's own kernel has the bytes, and sends them again \
             and again, tcp_retries2 times (15 unless changed: about a quarter of an hour).",
        );
    }
    look_on(lab, &mut client, params).await
}

/// The peer's host loses its power and gets it back: the same address, an empty stack.
async fn rebooted(lab: &mut Lab, params: &Params) -> Result<(), LabError> {
    let delay = params.duration_us("delay");
    let (mut client, _server) = greet(lab, params).await?;
    lab.chapter("The server's host reboots");
    let last_heard = lab.last_arrival_us(HostName::Client);
    lab.power_off(HostName::Server).await?;
    tokio::time::sleep(Duration::from_micros(params.duration_us("down"))).await;
    lab.power_on(HostName::Server).await?;
    let back_us = lab.now_us();

    if let Some(keepalive) = keepalive_of(params) {
        lab.chapter("Keep-alive asks");
        let round = handshake::exchange_us(delay, delay, 0);
        let answered = keepalive::first_answered_us(
            keepalive.idle_us,
            keepalive.interval_us,
            keepalive.count.into(),
            back_us.saturating_sub(last_heard).saturating_sub(delay),
        );
        let (name, predicted, because) = match answered {
            Some(probe_us) => (
                "reset",
                probe_us + round,
                format!(
                    "a probe leaves after {}, and the new kernel answers with RST",
                    human(probe_us)
                ),
            ),
            None => (
                "timed_out",
                detection_us(keepalive),
                "every probe leaves before the host is back".to_owned(),
            ),
        };
        lab.expect_after(name, last_heard, predicted, because);
        return found_out(lab, &mut client, name, last_heard, predicted).await;
    }
    if params.choice("asks") == "write" {
        lab.chapter("Write to the rebooted host");
        write_and_be_reset(lab, &mut client, delay).await?;
        return ask_the_dead(lab, &mut client).await;
    }
    look_on(lab, &mut client, params).await
}

/// Waits in read() until keep-alive has found out.
async fn found_out(
    lab: &Lab,
    client: &mut Connection,
    name: &str,
    since_us: u64,
    predicted: u64,
) -> Result<(), LabError> {
    let patience = Duration::from_micros(predicted + predicted / 4) + SLACK;
    match client.read_within(patience).await {
        Some(ReadOutcome::Failed(_)) => {
            let now = lab.now_us();
            lab.measure(name, Some(predicted), Some(now - since_us), now);
            Ok(())
        }
        Some(other) => Err(LabError::Unmet(format!(
            "the survivor of a crashed host read {}",
            words(&other)
        ))),
        None => Err(LabError::Unmet("keep-alive has found nothing".to_owned())),
    }
}

/// Writes once, which succeeds, and waits for the RST that answers it.
async fn write_and_be_reset(
    lab: &Lab,
    client: &mut Connection,
    delay: u64,
) -> Result<(), LabError> {
    let predicted = handshake::exchange_us(delay, delay, 0);
    let written_us = lab.now_us();
    lab.expect_after(
        "reset",
        written_us,
        predicted,
        format!("the segment there and the RST back: 2 x {}", human(delay)),
    );
    client.write(b"are you there?").await?;
    let patience = Duration::from_micros(4 * delay) + SLACK;
    lab.connections_until(HostName::Client, patience, |sockets| sockets.is_empty())
        .await
        .ok_or_else(|| LabError::Unmet("no RST ended the survivor's socket".to_owned()))?;
    // The RST's arrival is what took the socket away.
    let reset_us = lab.last_arrival_us(HostName::Client);
    let span = reset_us.saturating_sub(written_us);
    lab.measure("reset", Some(predicted), Some(span), reset_us);
    Ok(())
}

/// Asks a socket that an RST has ended twice more by write(), and once by read().
async fn ask_the_dead(lab: &Lab, client: &mut Connection) -> Result<(), LabError> {
    lab.chapter("Ask the survivor's socket again");
    let mut told = Vec::new();
    for again in [b"again", b"still"] {
        told.push(match client.write_within(again, SLACK).await.end {
            WriteEnd::Failed(error) => errno_name(&error),
            WriteEnd::All | WriteEnd::Blocked => {
                return Err(LabError::Unmet(
                    "a socket that an RST has ended took another write".to_owned(),
                ));
            }
        });
    }
    let read = words(&client.read().await);
    lab.remark(&format!(
        "After the RST: {} for the first write(), {} for the next, and {read} for a read().",
        told[0], told[1]
    ));
    Ok(())
}

/// Nothing is going to happen: waits in read() for as long as the parameters say.
async fn look_on(lab: &Lab, client: &mut Connection, params: &Params) -> Result<(), LabError> {
    let watch = params.duration_us("watch");
    match tokio::time::timeout(Duration::from_micros(watch), client.read()).await {
        Err(_) => {
            lab.remark(&format!(
                "Looked for {}: the survivor's read() still waits, and its socket is ESTABLISHED.",
                human(watch)
            ));
            Ok(())
        }
        Ok(outcome) => Err(LabError::Unmet(format!(
            "the survivor read {} where nobody could have sent anything",
            words(&outcome)
        ))),
    }
}

fn words(outcome: &ReadOutcome) -> String {
    match outcome {
        ReadOutcome::Data(bytes) => format!("{} bytes", bytes.len()),
        ReadOutcome::End => "end of stream".to_owned(),
        ReadOutcome::Failed(error) => errno_name(error),
    }
}
