//! `tcp-lifecycle`: what does it cost to open and to close?

use std::{collections::BTreeMap, time::Duration};

use linger_shared::{
    event::{HostName, Mode, SocketSnapshot, TcpState},
    experiment::{Descriptor, Param, Params},
    theory::{closing, handshake},
    units::human,
};

use super::{Experiment, Script, paragraphs, preset, reference};
use crate::{
    endpoints::{Connection, ReadOutcome, errno_name},
    lab::{Lab, LabError, Plan},
};

/// How long a state that must come may take beyond what theory says: a busy machine's scheduling.
const SLACK: Duration = Duration::from_secs(5);

pub(super) struct TcpLifecycle;

impl Experiment for TcpLifecycle {
    fn id(&self) -> &'static str {
        "tcp-lifecycle"
    }

    fn descriptor(&self) -> Descriptor {
        Descriptor {
            id: self.id().to_owned(),
            title: "Life of a TCP connection".to_owned(),
            question: "What does it cost to open and to close?".to_owned(),
            family: "TCP".to_owned(),
            modes: vec![Mode::Packets],
            explanation: paragraphs(&[
                "Opening a connection takes three segments: SYN, SYN-ACK and ACK. The client may \
                 send data after one round trip, together with the third. Every connection that is \
                 opened for one request pays this round trip before the request can leave.",
                "Each direction is closed on its own, with a FIN that the other side acknowledges. \
                 Who closes first goes through FIN_WAIT1 and FIN_WAIT2 and ends in TIME_WAIT, where \
                 its kernel remembers the pair of addresses and ports for a minute, so that a \
                 segment that is still on its way cannot be taken for part of a later connection. \
                 The other side passes CLOSE_WAIT and LAST_ACK and is done. Where it answers at once, as here, \
                 its FIN carries the acknowledgment of the first, so FIN_WAIT2 is skipped and \
                 CLOSE_WAIT is too short to be seen. Where both close before \
                 they hear of the other's FIN, both pass CLOSING and both end in TIME_WAIT.",
                "If the other side's application never closes, its socket stays in CLOSE_WAIT for as \
                 long as the process lives: no timer ends it. The first closer's socket, which no \
                 application holds any more, waits in FIN_WAIT2 and is taken away after \
                 tcp_fin_timeout; Linux's default of 60 s is scaled down here.",
            ]),
            look_for: paragraphs(&[
                "one round trip before the first byte of data",
                "the two FINs and which side ends in TIME_WAIT",
                "with a peer that never closes: CLOSE_WAIT that stays, FIN_WAIT2 that goes",
                "with both closing first: FINs that cross, CLOSING on both sides",
            ]),
            misconception: "\"TIME_WAIT is the server's problem.\" It is the problem of whoever \
                            closes first, and it is not a leak but a safeguard. The leak is \
                            CLOSE_WAIT: an application that forgot to close."
                .to_owned(),
            params: vec![
                Param::choice(
                    "first_closer",
                    &["client", "server", "both"],
                    "who calls close() first",
                ),
                Param::boolean(
                    "peer_closes",
                    true,
                    "whether the other side closes too, once it has read the end of stream; means \
                     nothing where both close first",
                ),
                Param::duration("delay", 20_000, 0, 2_000_000, "one-way delay of the link"),
                Param::integer("payload", "bytes", 5, 1, 65_536, "what each side sends"),
                Param::duration(
                    "fin_timeout",
                    3_000_000,
                    1_000_000,
                    60_000_000,
                    "how long an orphan waits in FIN_WAIT2 (tcp_fin_timeout of both hosts, rounded up to \
                     whole seconds); 3 s stand for Linux's 60 s",
                ),
            ],
            presets: vec![
                preset(
                    "server closes first",
                    "as an HTTP server does that does not keep connections",
                    &[("first_closer", "server")],
                ),
                preset(
                    "simultaneous close",
                    "the FINs cross on the wire",
                    &[("first_closer", "both")],
                ),
                preset(
                    "a peer that never closes",
                    "CLOSE_WAIT for ever, an orphan in FIN_WAIT2",
                    &[("peer_closes", "off")],
                ),
                preset(
                    "Linux's own tcp_fin_timeout",
                    "the orphan waits for a minute",
                    &[("peer_closes", "off"), ("fin_timeout", "1min")],
                ),
            ],
            claims: Vec::new(),
            references: vec![
                reference(
                    "RFC 9293, section 3.5: establishing a connection",
                    "https://www.rfc-editor.org/rfc/rfc9293#section-3.5",
                ),
                reference(
                    "RFC 9293, section 3.6: closing a connection",
                    "https://www.rfc-editor.org/rfc/rfc9293#section-3.6",
                ),
                reference(
                    "Linux, ip-sysctl: tcp_fin_timeout",
                    "https://docs.kernel.org/networking/ip-sysctl.html",
                ),
                reference(
                    "RFC 1337: TIME-WAIT assassination hazards in TCP",
                    "https://www.rfc-editor.org/rfc/rfc1337",
                ),
            ],
        }
    }

    fn plan(&self, params: &Params) -> Plan {
        let delay = params.duration_us("delay");
        let fin_timeout = params.duration_us("fin_timeout");
        let seconds = fin_timeout.div_ceil(1_000_000);
        Plan {
            sysctls: BTreeMap::from([("tcp_fin_timeout".to_owned(), seconds.to_string())]),
            // Opening, talking and closing take a dozen one-way delays at the most, and an orphan
            // its time-out or 3.5 times an RTO of at least a second or a few round trips.
            ..Plan::symmetric(delay, 40 * delay + 2 * fin_timeout)
        }
    }

    fn run<'a>(&'a self, lab: &'a mut Lab, params: &'a Params) -> Script<'a> {
        Box::pin(script(lab, params))
    }
}

async fn script(lab: &mut Lab, params: &Params) -> Result<(), LabError> {
    let delay = params.duration_us("delay");
    let payload = vec![b'x'; usize::try_from(params.integer("payload")).unwrap_or(1)];

    lab.chapter("Open");
    let listener = lab.server().listen(7654).await?;
    let began = lab.now_us();
    let predicted = handshake::connect_us(delay, delay);
    lab.expect_after(
        "connect",
        began,
        predicted,
        format!("SYN there and SYN-ACK back: 2 x {}", human(delay)),
    );
    let (mut client, mut server, connected_us) =
        Connection::pair(&lab.client(), &listener, None).await?;
    lab.measure(
        "connect",
        Some(predicted),
        Some(connected_us.saturating_sub(began)),
        connected_us,
    );

    lab.chapter("Say something in both directions");
    client.write(&payload).await?;
    server.read_exactly(payload.len()).await?;
    server.write(&payload).await?;
    client.read_exactly(payload.len()).await?;
    // The last data's ACK is on its way; closing now would let it share a packet with a FIN in one
    // run and not in the next.
    lab.connections_until(HostName::Server, SLACK, |sockets| {
        sockets.iter().all(|socket| socket.send_queue == 0)
    })
    .await;

    match params.choice("first_closer") {
        "both" => close_at_once(lab, client, server, delay).await,
        "server" => {
            let sides = (server, HostName::Server, client, HostName::Client);
            close_in_turn(lab, sides, params).await
        }
        _ => {
            let sides = (client, HostName::Client, server, HostName::Server);
            close_in_turn(lab, sides, params).await
        }
    }
}

/// One side closes, the other answers with its own close or does not.
async fn close_in_turn(
    lab: &mut Lab,
    (first, first_host, mut second, second_host): (Connection, HostName, Connection, HostName),
    params: &Params,
) -> Result<(), LabError> {
    let delay = params.duration_us("delay");
    lab.chapter(&format!("The {first_host} closes first"));
    let rto_us = rto(lab, first_host);
    let closed_at = lab.now_us();
    first.close();
    match second.read().await {
        ReadOutcome::End => {}
        ReadOutcome::Data(bytes) => {
            return Err(LabError::Unmet(format!(
                "{second_host} read {} bytes where the stream should have ended",
                bytes.len()
            )));
        }
        ReadOutcome::Failed(error) => {
            return Err(LabError::Application {
                host: second_host,
                call: "read()",
                errno: errno_name(&error),
            });
        }
    }

    if params.boolean("peer_closes") {
        let predicted = closing::both_us(delay, delay);
        lab.expect_after(
            "close",
            closed_at,
            predicted,
            format!("FIN there, FIN back, ACK there: 3 x {}", human(delay)),
        );
        second.close();
        let ended = lab
            .connections_until(second_host, SLACK, |sockets| sockets.is_empty())
            .await
            .ok_or_else(|| missing("the second closer's socket to go", second_host))?;
        // The last ACK's arrival is what took the socket away.
        let ended = ended.min(lab.last_arrival_us(second_host));
        lab.measure(
            "close",
            Some(predicted),
            Some(ended.saturating_sub(closed_at)),
            ended,
        );
        lab.connections_until(first_host, SLACK, |sockets| {
            !sockets.is_empty() && all_in(sockets, TcpState::TimeWait)
        })
        .await
        .ok_or_else(|| missing("TIME_WAIT", first_host))?;
        lab.remark(&format!(
            "The {first_host} stays in TIME_WAIT for 60 s (TCP_TIMEWAIT_LEN); the {second_host}'s \
             socket is gone."
        ));
        return Ok(());
    }

    lab.chapter(&format!("The {second_host} never closes"));
    lab.connections_until(first_host, SLACK, |sockets| {
        !sockets.is_empty() && all_in(sockets, TcpState::FinWait2)
    })
    .await
    .ok_or_else(|| missing("FIN_WAIT2", first_host))?;
    // The limit counts from the FIN's acknowledgment.
    let waits_since = lab.last_arrival_us(first_host);
    let fin_timeout = params.duration_us("fin_timeout").div_ceil(1_000_000) * 1_000_000;
    let predicted = closing::orphan_us(fin_timeout, rto_us);
    lab.expect_after(
        "orphan_gone",
        waits_since,
        predicted,
        if predicted > fin_timeout {
            format!(
                "3.5 x RTO of {}, which is more than tcp_fin_timeout of {}",
                human(rto_us),
                human(fin_timeout)
            )
        } else {
            format!("tcp_fin_timeout of {}", human(fin_timeout))
        },
    );
    let patience = Duration::from_micros(predicted + predicted / 4) + SLACK;
    let gone = lab
        .connections_until(first_host, patience, |sockets| sockets.is_empty())
        .await
        .ok_or_else(|| missing("the orphan's end", first_host))?;
    lab.measure(
        "orphan_gone",
        Some(predicted),
        Some(gone.saturating_sub(waits_since)),
        gone,
    );
    lab.remark(&format!(
        "The {second_host} is still in CLOSE_WAIT, and no timer of its kernel will change that."
    ));
    Ok(())
}

/// Both sides close before either hears of it.
async fn close_at_once(
    lab: &mut Lab,
    client: Connection,
    server: Connection,
    delay: u64,
) -> Result<(), LabError> {
    lab.chapter("Both close at once");
    let closed_at = lab.now_us();
    let predicted = closing::crossed_us(delay, delay);
    lab.expect_after(
        "close",
        closed_at,
        predicted,
        format!("FINs cross, ACKs cross: 2 x {}", human(delay)),
    );
    client.close();
    server.close();
    for host in [HostName::Client, HostName::Server] {
        lab.connections_until(host, SLACK, |sockets| {
            // Without a delay the FINs may not cross; then the second closer is simply done.
            all_in(sockets, TcpState::TimeWait)
        })
        .await
        .ok_or_else(|| missing("TIME_WAIT", host))?;
    }
    let ended = lab
        .last_arrival_us(HostName::Client)
        .max(lab.last_arrival_us(HostName::Server));
    lab.measure(
        "close",
        Some(predicted),
        Some(ended.saturating_sub(closed_at)),
        ended,
    );
    Ok(())
}

/// The retransmission time-out of the host's connection, which bounds the orphan's wait from below.
fn rto(lab: &Lab, host: HostName) -> u64 {
    lab.connections(host)
        .iter()
        .find_map(|socket| socket.rto_us)
        .map_or(0, u64::from)
}

fn all_in(sockets: &[SocketSnapshot], state: TcpState) -> bool {
    sockets.iter().all(|socket| socket.state == state)
}

fn missing(what: &str, host: HostName) -> LabError {
    LabError::Unmet(format!("waited in vain for {what} on the {host}"))
}
