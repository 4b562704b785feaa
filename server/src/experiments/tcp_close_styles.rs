//! `tcp-close-styles`: how can one hang up?

use std::time::Duration;

use linger_shared::{
    event::{HostName, Mode, SocketSnapshot, TcpState},
    experiment::{Descriptor, Finding, Param, Params},
    link::MTU,
    theory::{closing, handshake},
    units::human,
};

use super::{Experiment, Script, claim, paragraphs, preset, reference};
use crate::{
    endpoints::{Connection, ReadOutcome, WriteEnd, errno_name},
    lab::{Lab, LabError, Plan},
};

/// How long a step that must come may take beyond what theory says: a busy machine's scheduling.
const SLACK: Duration = Duration::from_secs(5);

/// What the reader answers with.
const ANSWER: &[u8] = b"got it";

pub(super) struct TcpCloseStyles;

impl Experiment for TcpCloseStyles {
    fn id(&self) -> &'static str {
        "tcp-close-styles"
    }

    fn descriptor(&self) -> Descriptor {
        Descriptor {
            id: self.id().to_owned(),
            title: "Ways to hang up".to_owned(),
            question: "How can one hang up?".to_owned(),
            family: "TCP".to_owned(),
            modes: vec![Mode::Packets],
            explanation: paragraphs(&[
                "close() is a goodbye in good order: the kernel goes on sending what was written, \
                 in the background, and its FIN comes after the last byte. The reader gets \
                 everything and then the end of the stream; whoever hung up first ends in \
                 TIME_WAIT. shutdown(SHUT_WR) sends the same FIN but keeps the other direction open: \
                 \"I have said all, and I am listening.\" After close() nobody listens, so an answer that comes \
                 all the same is answered with RST.",
                "Two ways of close() send RST instead, at once, and throw away what has not left yet. \
                 One is asked for: SO_LINGER with 0 seconds. The other comes unasked: received data \
                 that the application has not read. The kernel then says that something was lost, \
                 as RFC 1122 asks in section 4.2.2.13 (tcp_close in net/ipv4/tcp.c). Neither \
                 leaves a TIME_WAIT. The write of 20,000 bytes here is more than the first flight \
                 of the congestion window, 10 segments of 1,448 bytes; so the rest dies with the RST, \
                 although write() and close() both succeeded.",
                "RFC 9293 lets an RST flush what the reader had received and not yet read (section \
                 3.10.7.4). Linux does not: the reader gets what had arrived, and only then \
                 ECONNRESET. Other systems differ, and a protocol should count on neither. Who must know \
                 that the last words were heard waits for an answer after shutdown().",
            ]),
            look_for: paragraphs(&[
                "FIN behind the last byte, or RST before the rest could leave",
                "how many bytes the reader gets, and what follows them",
                "who is in TIME_WAIT at the end, if anybody",
                "with an answer: the RST that it meets after close(), and that it is read after shutdown()",
            ]),
            misconception: "\"close() returned, so the peer has my data.\" close() waits for nothing, \
                            and where received data was left unread it throws away what has not left \
                            yet."
                .to_owned(),
            params: vec![
                Param::choice(
                    "style",
                    &["close", "shutdown", "linger-zero", "unread"],
                    "how the client hangs up: close(), shutdown(SHUT_WR), close() with SO_LINGER 0, \
                     or close() with received data left unread",
                ),
                Param::integer(
                    "payload",
                    "bytes",
                    20_000,
                    1,
                    30_000,
                    "what the client writes before it hangs up; its kernel takes that much at once",
                ),
                Param::choice(
                    "reader",
                    &["late", "waiting"],
                    "whether the server reads only once the client's FIN or RST is there, or waits \
                     in read() all along",
                ),
                Param::boolean(
                    "answers",
                    false,
                    "whether the server answers once it has read what there is",
                ),
                Param::duration("delay", 20_000, 0, 400_000, "one-way delay of the link"),
            ],
            presets: vec![
                preset(
                    "half-close, and an answer",
                    "shutdown(SHUT_WR) still listens",
                    &[("style", "shutdown"), ("answers", "on")],
                ),
                preset(
                    "an answer after close()",
                    "nobody listens any more: RST",
                    &[("answers", "on")],
                ),
                preset(
                    "SO_LINGER 0",
                    "no TIME_WAIT, and a part of the data is lost",
                    &[("style", "linger-zero")],
                ),
                preset(
                    "data left unread",
                    "the same by accident",
                    &[("style", "unread")],
                ),
                preset(
                    "SO_LINGER 0 across an ocean",
                    "80 ms one way: ten segments and no more",
                    &[("style", "linger-zero"), ("delay", "80ms")],
                ),
                preset(
                    "SO_LINGER 0 after few bytes",
                    "what fits into the first flight arrives all the same",
                    &[("style", "linger-zero"), ("payload", "1000")],
                ),
            ],
            claims: vec![
                claim(
                    "A graceful close delivers the final data.",
                    Finding::Depends,
                    "close() does, in the background. But with received data left unread the very \
                     same call sends RST, and what has not left is lost.",
                    &[("style", "unread")],
                ),
                claim(
                    "An RST destroys what the peer has received and not yet read.",
                    Finding::Refuted,
                    "Not on Linux: a reader that reads after the RST's arrival gets every byte \
                     that had arrived, and then ECONNRESET.",
                    &[("style", "linger-zero"), ("reader", "late")],
                ),
                claim(
                    "SO_LINGER with 0 is a harmless way around TIME_WAIT.",
                    Finding::Refuted,
                    "There is no TIME_WAIT, and 5,520 of the 20,000 written bytes are lost, without \
                     an error on the side that wrote them.",
                    &[("style", "linger-zero")],
                ),
                claim(
                    "close() and shutdown(SHUT_WR) do the same: they send FIN.",
                    Finding::Depends,
                    "The FIN is the same. After shutdown() the answer is read; after close() it is \
                     answered with RST.",
                    &[("answers", "on")],
                ),
            ],
            references: vec![
                reference(
                    "RFC 9293, section 3.6: closing a connection",
                    "https://www.rfc-editor.org/rfc/rfc9293#section-3.6",
                ),
                reference(
                    "RFC 9293, section 3.10.7.4: an RST in synchronized states",
                    "https://www.rfc-editor.org/rfc/rfc9293#section-3.10.7.4",
                ),
                reference(
                    "RFC 1122, section 4.2.2.13: closing a connection",
                    "https://www.rfc-editor.org/rfc/rfc1122#section-4.2.2.13",
                ),
                reference(
                    "RFC 2525, section 2.17: failure to RST on close with data pending",
                    "https://www.rfc-editor.org/rfc/rfc2525#section-2.17",
                ),
                reference(
                    "socket(7): SO_LINGER",
                    "https://man7.org/linux/man-pages/man7/socket.7.html",
                ),
            ],
        }
    }

    fn plan(&self, params: &Params) -> Plan {
        let delay = params.duration_us("delay");
        Plan::symmetric(delay, 40 * delay + 1_000_000)
    }

    fn run<'a>(&'a self, lab: &'a mut Lab, params: &'a Params) -> Script<'a> {
        Box::pin(script(lab, params))
    }
}

/// What theory says of the client's hanging up.
struct Foretold {
    /// Whether the kernel says RST instead of FIN.
    rst: bool,
    /// Until the FIN or RST is there, in microseconds.
    arrives_us: u64,
    /// Bytes that the reader gets.
    bytes: u64,
    because: String,
}

/// What the server's reads came to.
struct Heard {
    bytes: u64,
    ending: ReadOutcome,
}

async fn script(lab: &mut Lab, params: &Params) -> Result<(), LabError> {
    let style = params.choice("style");
    let payload = vec![b'x'; usize::try_from(params.integer("payload")).unwrap_or(1)];

    lab.chapter("Connect and exchange a greeting");
    let (mut client, mut server) = greet(lab, style == "unread").await?;
    let foretold = foretell(lab, params);

    lab.chapter(&format!("Write {} bytes and hang up", payload.len()));
    let since_us = lab.now_us();
    let name = if foretold.rst { "rst" } else { "fin" };
    lab.expect_after(
        name,
        since_us,
        foretold.arrives_us,
        foretold.because.clone(),
    );
    let hang_up = async {
        client.write(&payload).await?;
        match style {
            "shutdown" => {
                client.shutdown().await?;
                Ok(Some(client))
            }
            "linger-zero" => client.reset().map(|()| None),
            _ => {
                client.close();
                Ok(None)
            }
        }
    };
    let (client, heard) = if params.choice("reader") == "waiting" {
        tokio::try_join!(hang_up, async { Ok(listen(&mut server).await) })?
    } else {
        let client = hang_up.await?;
        until_told(lab, foretold.arrives_us).await?;
        measure_arrival(lab, name, since_us, &foretold);
        lab.chapter("Read what there is");
        (client, listen(&mut server).await)
    };
    if params.choice("reader") == "waiting" {
        measure_arrival(lab, name, since_us, &foretold);
    }
    lab.remark(&format!(
        "The reader got {} of {} bytes, and then {}; {} bytes were to be expected.",
        heard.bytes,
        payload.len(),
        words(&heard.ending),
        foretold.bytes
    ));

    if params.boolean("answers") {
        lab.chapter("Answer");
    }
    let client = match (client, params.boolean("answers")) {
        (Some(mut client), true) => {
            answer_is_read(lab, &mut server, &mut client, params).await?;
            Some(client)
        }
        (None, true) if foretold.rst => {
            answer_fails(&mut server).await?;
            None
        }
        (None, true) => {
            answer_meets_rst(lab, &mut server, params).await?;
            None
        }
        (client, false) => client,
    };
    part(lab, server, client).await
}

/// Opens a connection; both ends say hello, and the client reads it or leaves it unread.
async fn greet(lab: &Lab, unread: bool) -> Result<(Connection, Connection), LabError> {
    let listener = lab.server().listen(7654).await?;
    let (mut client, mut server, _) = Connection::pair(&lab.client(), &listener, None).await?;
    client.write(b"hello").await?;
    let greeting = server.read_exactly(5).await?;
    server.write(&greeting).await?;
    if unread {
        lab.connections_until(HostName::Client, SLACK, |sockets| {
            sockets.iter().any(|socket| socket.recv_queue >= 5)
        })
        .await
        .ok_or_else(|| missing("the greeting on the client"))?;
    } else {
        client.read_exactly(greeting.len()).await?;
    }
    // An ACK that is still on its way would come between.
    lab.connections_until(HostName::Server, SLACK, |sockets| {
        sockets.iter().all(|socket| socket.send_queue == 0)
    })
    .await
    .ok_or_else(|| missing("the greeting's acknowledgment"))?;
    Ok((client, server))
}

fn foretell(lab: &Lab, params: &Params) -> Foretold {
    let delay = params.duration_us("delay");
    let payload = params.integer("payload");
    // Headers of IP and TCP, and the timestamp that each segment carries where they are on.
    let timestamps = lab.sysctl(HostName::Client, "tcp_timestamps") != Some(0);
    let headers = if timestamps { 52 } else { 40 };
    let segment = u64::from(MTU) - headers;
    let window = lab
        .connections(HostName::Client)
        .iter()
        .find_map(|socket| socket.cwnd)
        .map_or(10, u64::from);
    let segments = payload.div_ceil(segment);
    let rst = matches!(params.choice("style"), "linger-zero" | "unread");
    if rst {
        let bytes = payload.min(window * segment);
        return Foretold {
            rst,
            arrives_us: delay,
            bytes,
            because: format!(
                "RST behind what may leave at once: {bytes} of {payload} bytes in a window of {window} \
                 segments; one way of {}",
                human(delay)
            ),
        };
    }
    let flights = closing::flights(segments, window);
    Foretold {
        rst,
        arrives_us: closing::last_word_us(flights, delay, delay),
        bytes: payload,
        because: format!(
            "FIN behind {segments} segments, flight {flights} of a window that begins with {window}; \
             one way of {}, and a round trip for each flight before",
            human(delay)
        ),
    }
}

/// Waits until the server's kernel has been told that the client has hung up.
async fn until_told(lab: &Lab, predicted: u64) -> Result<(), LabError> {
    let patience = Duration::from_micros(predicted) + SLACK;
    lab.connections_until(HostName::Server, patience, |sockets| {
        all_in(sockets, TcpState::CloseWait)
    })
    .await
    .map(drop)
    .ok_or_else(|| missing("FIN or RST on the server"))
}

/// The FIN's or RST's arrival is the last one that the server has had.
fn measure_arrival(lab: &Lab, name: &str, since_us: u64, foretold: &Foretold) {
    let arrived_us = lab.last_arrival_us(HostName::Server);
    let span = arrived_us.saturating_sub(since_us);
    lab.measure(name, Some(foretold.arrives_us), Some(span), arrived_us);
}

/// Reads until there is no more.
async fn listen(server: &mut Connection) -> Heard {
    let mut bytes = 0;
    loop {
        match server.read().await {
            ReadOutcome::Data(more) => bytes += more.len() as u64,
            ending => return Heard { bytes, ending },
        }
    }
}

/// The client has only half closed: it reads the answer.
async fn answer_is_read(
    lab: &Lab,
    server: &mut Connection,
    client: &mut Connection,
    params: &Params,
) -> Result<(), LabError> {
    let delay = params.duration_us("delay");
    let since_us = lab.now_us();
    let because = format!("one way of {}, to a client that listens", human(delay));
    lab.expect_after("answer", since_us, delay, because);
    server.write(ANSWER).await?;
    client.read_exactly(ANSWER.len()).await?;
    let now = lab.now_us();
    lab.measure("answer", Some(delay), Some(now - since_us), now);
    Ok(())
}

/// The client has closed: its kernel answers the answer with RST.
async fn answer_meets_rst(
    lab: &Lab,
    server: &mut Connection,
    params: &Params,
) -> Result<(), LabError> {
    let delay = params.duration_us("delay");
    let predicted = handshake::exchange_us(delay, delay, 0);
    let since_us = lab.now_us();
    lab.expect_after(
        "answer_refused",
        since_us,
        predicted,
        format!("the answer there and an RST back: 2 x {}", human(delay)),
    );
    server.write(ANSWER).await?;
    let patience = Duration::from_micros(predicted) + SLACK;
    lab.connections_until(HostName::Server, patience, |sockets| sockets.is_empty())
        .await
        .ok_or_else(|| missing("an RST on the server"))?;
    let reset_us = lab.last_arrival_us(HostName::Server);
    let span = reset_us.saturating_sub(since_us);
    lab.measure("answer_refused", Some(predicted), Some(span), reset_us);
    answer_fails(server).await
}

/// An RST has ended the connection: nothing can be written any more.
async fn answer_fails(server: &mut Connection) -> Result<(), LabError> {
    match server.write_within(ANSWER, SLACK).await.end {
        WriteEnd::Failed(_) => Ok(()),
        WriteEnd::All | WriteEnd::Blocked => Err(missing("an error of the answer's write()")),
    }
}

/// The server closes, and the client if it has not; says who is left in TIME_WAIT.
async fn part(lab: &Lab, server: Connection, client: Option<Connection>) -> Result<(), LabError> {
    lab.chapter("The server closes");
    server.close();
    if let Some(mut client) = client {
        match client.read().await {
            ReadOutcome::End => client.close(),
            _ => return Err(missing("the end of the server's stream")),
        }
    }
    lab.connections_until(HostName::Server, SLACK, |sockets| sockets.is_empty())
        .await
        .ok_or_else(|| missing("the server's socket to go"))?;
    lab.connections_until(HostName::Client, SLACK, |sockets| {
        all_in(sockets, TcpState::TimeWait)
    })
    .await
    .ok_or_else(|| missing("the client's socket to go or to be in TIME_WAIT"))?;
    lab.remark(match lab.connections(HostName::Client).is_empty() {
        true => "Nobody is in TIME_WAIT: an RST leaves none.",
        false => "The client is in TIME_WAIT for 60 s: it has hung up first, and in good order.",
    });
    Ok(())
}

fn all_in(sockets: &[SocketSnapshot], state: TcpState) -> bool {
    sockets.iter().all(|socket| socket.state == state)
}

fn words(outcome: &ReadOutcome) -> String {
    match outcome {
        ReadOutcome::Data(bytes) => format!("{} bytes", bytes.len()),
        ReadOutcome::End => "the end of the stream".to_owned(),
        ReadOutcome::Failed(error) => errno_name(error),
    }
}

fn missing(what: &str) -> LabError {
    LabError::Unmet(format!("waited in vain for {what}"))
}
