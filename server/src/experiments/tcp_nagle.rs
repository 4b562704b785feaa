//! `tcp-nagle`: why do my small writes take 40 ms?

use linger_shared::{
    event::Mode,
    experiment::{Descriptor, Finding, Param, Params},
    theory::{handshake, nagle},
    units::human,
};

use super::{Experiment, Script, claim, paragraphs, preset, reference};
use crate::{
    endpoints::{Connection, SocketOption},
    lab::{Lab, LabError, Plan},
};

/// The first part of a request, the rest of it, and the response, in bytes: each less than a
/// segment, and less than the 536 bytes that a receiver takes for a full one before it has seen
/// larger ones (`tcp_initialize_rcv_mss`, net/ipv4/tcp_input.c).
const HEAD: usize = 120;
const BODY: usize = 80;
const RESPONSE: usize = 50;

pub(super) struct TcpNagle;

impl Experiment for TcpNagle {
    fn id(&self) -> &'static str {
        "tcp-nagle"
    }

    fn descriptor(&self) -> Descriptor {
        Descriptor {
            id: self.id().to_owned(),
            title: "Nagle against delayed ACK".to_owned(),
            question: "Why do my small writes take 40 ms?".to_owned(),
            family: "TCP".to_owned(),
            modes: vec![Mode::Packets],
            explanation: paragraphs(&[
                "Nagle's algorithm saves the network from tiny packets: while a small segment is not \
                 yet acknowledged, the sender holds the next small one back and collects. A delayed \
                 acknowledgment saves packets too: the receiver waits a little, because an answer \
                 that carries the acknowledgment may be about to leave anyway. Each is sensible. \
                 Together they wait for each other.",
                "A client that writes a request in two pieces, headers and then body, and reads the \
                 response shows it: the first piece leaves at once, the second is held back until \
                 the first is acknowledged; the server cannot answer half a request, so nothing \
                 carries its acknowledgment, which leaves only when the delayed ACK timer fires: \
                 after 40 ms on Linux (TCP_DELACK_MIN). Each request then takes two round trips and \
                 40 ms instead of one round trip.",
                "The first request on a connection does not suffer that much: a Linux receiver \
                 acknowledges at once until it has answered for the first time and so takes the \
                 connection for an interactive one. A short test with one request thus shows \
                 nothing, and the service is slow.",
                "Two cures: write the request at once (one write(), writev(), a buffer that is \
                 flushed), or switch Nagle's algorithm off with TCP_NODELAY, as Go does for every \
                 connection and most HTTP libraries do. Nothing is scaled in this experiment.",
            ]),
            look_for: paragraphs(&[
                "two write() calls at the same moment, and the second packet a round trip and 40 ms \
                 after the first",
                "the bare ACK in between that the second packet waited for",
                "the first request: the second packet follows after a round trip, without the 40 ms",
                "with TCP_NODELAY: two packets at once; with one write(): one packet",
            ]),
            misconception:
                "\"The network is slow.\" The network is idle. Two kernels wait for each \
                            other, and a single system call less would spare it."
                    .to_owned(),
            params: vec![
                Param::choice(
                    "style",
                    &["two-writes", "nodelay", "one-write"],
                    "how the client sends a request: in two writes, in two writes with TCP_NODELAY, \
                     or in one write",
                ),
                Param::integer(
                    "requests",
                    "requests",
                    4,
                    2,
                    50,
                    "requests on the one connection, one after the other",
                ),
                Param::duration("delay", 5_000, 0, 80_000, "one-way delay of the link"),
            ],
            presets: vec![
                preset(
                    "TCP_NODELAY",
                    "both pieces leave at once",
                    &[("style", "nodelay")],
                ),
                preset(
                    "one write",
                    "one piece, and nothing to hold back",
                    &[("style", "one-write")],
                ),
                preset(
                    "within a data centre",
                    "0.2 ms each way: what takes 0.4 ms takes 41",
                    &[("delay", "200us"), ("requests", "10")],
                ),
                preset(
                    "across an ocean",
                    "40 ms each way: the second round trip costs more than the delayed ACK",
                    &[("delay", "40ms")],
                ),
            ],
            claims: vec![
                claim(
                    "Small writes take 40 ms on Linux.",
                    Finding::Depends,
                    "Only where two small writes are followed by a read, and from the second \
                     exchange on: the receiver acknowledges the first one's pieces at once.",
                    &[],
                ),
                claim(
                    "TCP_NODELAY cures it.",
                    Finding::Confirmed,
                    "The second piece leaves with the first: one round trip, in two packets.",
                    &[("style", "nodelay")],
                ),
                claim(
                    "Small requests need TCP_NODELAY.",
                    Finding::Refuted,
                    "A request that is written at once is never held back, however small: nothing is \
                     unacknowledged when it is written.",
                    &[("style", "one-write")],
                ),
            ],
            references: vec![
                reference(
                    "RFC 9293, section 3.7.4: Nagle algorithm",
                    "https://www.rfc-editor.org/rfc/rfc9293#section-3.7.4",
                ),
                reference(
                    "RFC 1122, section 4.2.3.2: when to send an ACK segment",
                    "https://www.rfc-editor.org/rfc/rfc1122#section-4.2.3.2",
                ),
                reference(
                    "RFC 896: congestion control in IP/TCP internetworks",
                    "https://www.rfc-editor.org/rfc/rfc896",
                ),
                reference(
                    "tcp(7): TCP_NODELAY, TCP_QUICKACK, TCP_CORK",
                    "https://man7.org/linux/man-pages/man7/tcp.7.html",
                ),
            ],
        }
    }

    fn plan(&self, params: &Params) -> Plan {
        let delay = params.duration_us("delay");
        let requests = params.integer("requests");
        let longest = nagle::held_exchange_us(delay, delay, nagle::DELAYED_ACK_US);
        Plan::symmetric(delay, 4 * delay + requests * longest)
    }

    fn run<'a>(&'a self, lab: &'a mut Lab, params: &'a Params) -> Script<'a> {
        Box::pin(script(lab, params))
    }
}

/// How long the `nth` exchange (from 1) takes, in microseconds, and why.
fn predict(style: &str, nth: u64, delay: u64) -> (u64, String) {
    match (style, nth) {
        ("two-writes", 1) => (
            nagle::held_exchange_us(delay, delay, 0),
            "the second piece waits for an ACK, which comes at once: 2 round trips".to_owned(),
        ),
        ("two-writes", _) => (
            nagle::held_exchange_us(delay, delay, nagle::DELAYED_ACK_US),
            format!(
                "the second piece waits for an ACK, which is delayed by {}: 2 round trips and that",
                human(nagle::DELAYED_ACK_US)
            ),
        ),
        _ => (
            handshake::exchange_us(delay, delay, 0),
            "nothing is held back: 1 round trip".to_owned(),
        ),
    }
}

async fn script(lab: &mut Lab, params: &Params) -> Result<(), LabError> {
    let style = params.choice("style");
    let delay = params.duration_us("delay");
    let requests = params.integer("requests");

    lab.chapter("Connect");
    let listener = lab.server().listen(7654).await?;
    let (mut client, server, _) = Connection::pair(&lab.client(), &listener, None).await?;
    if style == "nodelay" {
        client.set(&SocketOption::NoDelay(true))?;
    }
    let serving = serve(server, requests);
    let asking = async {
        for nth in 1..=requests {
            lab.chapter(&format!("Request {nth}"));
            let name = format!("exchange_{nth}");
            let (predicted, because) = predict(style, nth, delay);
            let began = lab.now_us();
            lab.expect_after(&name, began, predicted, because);
            ask(&mut client, style).await?;
            client.read_exactly(RESPONSE).await?;
            let ended = lab.now_us();
            lab.measure(&name, Some(predicted), Some(ended - began), ended);
        }
        Ok(())
    };
    tokio::try_join!(serving, asking)?;
    Ok(())
}

/// Writes one request.
async fn ask(client: &mut Connection, style: &str) -> Result<(), LabError> {
    let request = [b'h'; HEAD + BODY];
    if style == "one-write" {
        return client.write(&request).await;
    }
    client.write(&request[..HEAD]).await?;
    client.write(&request[HEAD..]).await
}

/// Answers each request once it is there.
async fn serve(mut server: Connection, requests: u64) -> Result<(), LabError> {
    for _ in 0..requests {
        server.read_exactly(HEAD + BODY).await?;
        server.write(&[b'r'; RESPONSE]).await?;
    }
    Ok(())
}
