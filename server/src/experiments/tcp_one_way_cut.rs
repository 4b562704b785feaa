//! `tcp-one-way-cut`: why do the two ends report different errors at different times?

use std::{collections::BTreeMap, time::Duration};

use linger_shared::{
    event::{HostName, Mode},
    experiment::{Descriptor, Finding, Param, Params},
    theory::{
        retransmission::{Ladder, Sender},
        wheel::Spread,
    },
    units::human,
};
use tokio::time::timeout;

use super::{Experiment, Script, claim, keepalive_of, paragraphs, preset, probed, reference};
use crate::{
    endpoints::{Connection, ReadOutcome, errno_name},
    hosts,
    lab::{Lab, LabError, Plan},
    wire::Cut,
};

/// How many messages of the server arrive before the first cut.
const MESSAGES: usize = 3;
/// What the server goes on sending.
const MESSAGE: &[u8] = b"tick";
/// What the client asks where its data is to be in flight, too.
const REQUEST: &[u8] = b"still there?";

pub(super) struct TcpOneWayCut;

impl Experiment for TcpOneWayCut {
    fn id(&self) -> &'static str {
        "tcp-one-way-cut"
    }

    fn descriptor(&self) -> Descriptor {
        Descriptor {
            id: self.id().to_owned(),
            title: "Cut one way, then the other".to_owned(),
            question: "Why do the two ends report different errors at different times?".to_owned(),
            family: "TCP".to_owned(),
            modes: vec![Mode::Packets],
            explanation: paragraphs(&[
                "This replays a widely read test of Node.js sockets. A server sends a message every \
                 half second; the client only listens and has keep-alive set to 2 s. A firewall then \
                 drops what the server sends, and 45 s later what the client sends, too. The client \
                 reported ETIMEDOUT after some 12 minutes, the server ECONNRESET after some 13, and \
                 the test left open why.",
                "Each end has a timer of its own. The server has data in flight, so its \
                 retransmission timer runs: the data leaves again at intervals that double up to \
                 120 s, and only after `tcp_retries2` (15 minutes and more) would it give up. The \
                 client has nothing in flight, so its keep-alive runs: 2 s is the idle time alone; \
                 the interval and the number of probes were left as the system has them, 75 s and 9. \
                 That makes 677 s.",
                "Keep-alive's last word is an RST, but the path drops it: the server hears nothing of \
                 the end. When the path is healed, it is the server's next retransmission that meets \
                 a kernel which knows no such connection and answers with an RST: ECONNRESET, at a \
                 moment that depends on the ladder and on the healing, not on when the path was cut. \
                 Here 1 s of the client's wait stands for some 2 min 15 s; a preset has the full \
                 length.",
            ]),
            look_for: paragraphs(&[
                "the client's probes arrive while only one way is cut, and their answers are dropped",
                "the server's retransmissions, dropped long before and long after the second cut",
                "ETIMEDOUT at the client while the server still believes in the connection",
                "after healing: silence, until the next retransmission is due; then the RST",
                "healed early, nobody ever sees an error",
            ]),
            misconception:
                "\"Both ends learn of a broken connection, and at about the same time.\" \
                            Each learns what its own timers tell it, and an RST only if it arrives."
                    .to_owned(),
            params: vec![
                Param::choice(
                    "in_flight",
                    &["server", "both"],
                    "whose data is unacknowledged after the first cut: the server's alone, as in the \
                     test, or the client's, too, which silences its keep-alive",
                ),
                Param::choice(
                    "heal",
                    &["late", "never", "early"],
                    "whether the path is healed after the client has given up, never, or before that",
                ),
                Param::duration(
                    "idle",
                    2_000_000,
                    1_000_000,
                    7_200_000_000,
                    "the client's silence before its first probe (TCP_KEEPIDLE), rounded up to whole \
                     seconds",
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
                    "second_cut",
                    2_500_000,
                    100_000,
                    600_000_000,
                    "how long after the first cut the way to the server is cut, too",
                ),
                Param::duration(
                    "heal_after",
                    1_000_000,
                    100_000,
                    600_000_000,
                    "how long after the client's error, or after the second cut where it is healed \
                     early, the path is healed",
                ),
                Param::integer(
                    "client_retries",
                    "retransmissions",
                    4,
                    1,
                    15,
                    "tcp_retries2 of the client, which counts where its data is in flight; 4 stand for \
                     Linux's 15",
                ),
                Param::integer(
                    "server_retries",
                    "retransmissions",
                    15,
                    1,
                    15,
                    "tcp_retries2 of the server: until then it waits for a healed path",
                ),
                Param::duration(
                    "every",
                    500_000,
                    100_000,
                    10_000_000,
                    "how often the server sends before the cut",
                ),
                Param::duration("delay", 10_000, 0, 200_000, "one-way delay of the link"),
            ],
            presets: vec![
                preset(
                    "the client has data in flight, too",
                    "its retransmission timer decides, and keep-alive stays silent",
                    &[("in_flight", "both")],
                ),
                preset(
                    "never healed",
                    "the server's own retransmissions end: ETIMEDOUT at both ends",
                    &[("heal", "never"), ("server_retries", "5")],
                ),
                preset(
                    "only one way cut",
                    "the client's RST comes through when it gives up: the server learns at once",
                    &[("second_cut", "8s")],
                ),
                preset(
                    "healed early",
                    "nobody sees an error; a message was late",
                    &[("heal", "early"), ("heal_after", "1500ms")],
                ),
                preset(
                    "the test at full length",
                    "45 s between the cuts, keep-alive's 75 s and 9 probes, healed after 43 s: 13 min",
                    FULL_LENGTH,
                ),
                preset(
                    "the same with a request in flight",
                    "both ends' retransmission timers give up: 16 min",
                    FULL_LENGTH_BOTH,
                ),
            ],
            claims: vec![
                claim(
                    "Keep-alive set to 2 s detects a broken path within seconds.",
                    Finding::Refuted,
                    "2 s is only how long the client waits before its first probe. How often it asks \
                     and how long it waits stay as the system has them: with 75 s and 9 probes \
                     ETIMEDOUT came after 11 min 24 s, and the server's ECONNRESET after 13 min 31 s.",
                    FULL_LENGTH,
                ),
                claim(
                    "The 12 minutes in the test were the client's retransmission time-out.",
                    Finding::Refuted,
                    "By its log the client had nothing in flight: the way to the server was open for \
                     45 s more, and the server read nothing. And 15 retries last 924.6 s at the least, \
                     longer than its 737 s: with a request of the client's in flight ETIMEDOUT came \
                     after 16 min, and at the server, too. Keep-alive accounts for 677 s; what the last \
                     minute was, the log does not tell.",
                    FULL_LENGTH_BOTH,
                ),
                claim(
                    "The server's error came later because its second direction was cut later.",
                    Finding::Refuted,
                    "The time of the second cut changes nothing. ECONNRESET comes from the first \
                     retransmission after the path is open again.",
                    &[("second_cut", "1s")],
                ),
                claim(
                    "The server gets ECONNRESET when the client gives up.",
                    Finding::Depends,
                    "It does where its way to the server is open when keep-alive gives up: then the \
                     RST arrives. On a path that is cut both ways the server hears nothing, and where \
                     it never heals its own retransmissions end in ETIMEDOUT.",
                    &[("second_cut", "8s")],
                ),
            ],
            references: vec![
                reference(
                    "RFC 9293, section 3.10.7.1: a segment for a connection that does not exist",
                    "https://www.rfc-editor.org/rfc/rfc9293#section-3.10.7.1",
                ),
                reference(
                    "RFC 1122, section 4.2.3.6: TCP keep-alives",
                    "https://www.rfc-editor.org/rfc/rfc1122#section-4.2.3.6",
                ),
                reference(
                    "Node.js, socket.setKeepAlive()",
                    "https://nodejs.org/api/net.html#socketsetkeepaliveenable-initialdelay",
                ),
                reference(
                    "Linux, ip-sysctl: tcp_retries2, tcp_keepalive_intvl",
                    "https://docs.kernel.org/networking/ip-sysctl.html",
                ),
            ],
        }
    }

    fn plan(&self, params: &Params) -> Plan {
        let delay = params.duration_us("delay");
        let retries = |name| {
            let value = params.integer(name).to_string();
            BTreeMap::from([("tcp_retries2".to_owned(), value)])
        };
        let ladder = |name| {
            let retries = u32::try_from(params.integer(name)).unwrap_or(15);
            Sender::planned(2 * delay, retries, hosts::tick_us()).ladder()
        };
        let client_us = match params.choice("in_flight") {
            "both" => ladder("client_retries").gives_up.latest_us,
            _ => probed(keepalive_of(params), hosts::tick_us()).latest_us,
        };
        let sending = u64::try_from(MESSAGES).unwrap_or(0) * params.duration_us("every");
        let cuts = params.duration_us("second_cut") + params.duration_us("heal_after");
        let server_us = match params.choice("heal") {
            "never" => ladder("server_retries").gives_up.latest_us,
            // The next retransmission after the healing is at most as far away as the time before.
            _ => (client_us + cuts) * 2,
        };
        Plan {
            sysctls: BTreeMap::from([("tcp_early_retrans".to_owned(), "3".to_owned())]),
            host_sysctls: BTreeMap::from([
                (HostName::Client, retries("client_retries")),
                (HostName::Server, retries("server_retries")),
            ]),
            ..Plan::symmetric(delay, sending + cuts + client_us + server_us + 20 * delay)
        }
    }

    fn run<'a>(&'a self, lab: &'a mut Lab, params: &'a Params) -> Script<'a> {
        Box::pin(script(lab, params))
    }
}

/// The values of the test that this replays.
const FULL_LENGTH: &[(&str, &str)] = FULL_LENGTH_BOTH.split_at(6).0;

/// The same, with data of both ends in flight.
const FULL_LENGTH_BOTH: &[(&str, &str)] = &[
    ("interval", "75s"),
    ("count", "9"),
    ("second_cut", "45s"),
    ("heal_after", "43s"),
    ("client_retries", "15"),
    ("delay", "75ms"),
    ("in_flight", "both"),
];

/// Both ends, and what theory says of each.
struct Scene {
    client: Connection,
    server: Connection,
    /// Since when the server's data is in flight, on the run's clock in microseconds.
    sent_us: u64,
    server_ladder: Ladder,
    server_sender: Sender,
    /// Since when the client waits in vain, and when it gives up.
    client_since_us: u64,
    client_gives_up: Spread,
    /// When the client's RST arrives, after the server's data was first sent, where the way is open
    /// for it still.
    reset_us: Option<u64>,
    client_is_over: bool,
    server_is_over: bool,
}

async fn script(lab: &mut Lab, params: &Params) -> Result<(), LabError> {
    let delay = params.duration_us("delay");
    let keepalive = keepalive_of(params);
    let both = params.choice("in_flight") == "both";

    lab.chapter("The server sends, the client listens");
    let listener = lab.server().listen(7654).await?;
    let (mut client, mut server, _) =
        Connection::pair(&lab.client(), &listener, Some(keepalive)).await?;
    Connection::greet(&mut client, &mut server).await?;
    let mut rhythm = tokio::time::interval(Duration::from_micros(params.duration_us("every")));
    for _ in 0..MESSAGES {
        rhythm.tick().await;
        server.write(MESSAGE).await?;
        client.read_exactly(MESSAGE.len()).await?;
    }
    let server_sender = lab.sender_at_rest(HostName::Server).await?;
    let client_sender = lab.sender_at_rest(HostName::Client).await?;

    lab.chapter("Cut the way from the server to the client");
    let back = lab.cut(&[HostName::Server]);
    let last_heard = lab.last_arrival_us(HostName::Client);
    let server_ladder = server_sender.ladder();
    let sent_us = lab.now_us();
    server.write(MESSAGE).await?;
    let (client_since_us, client_gives_up, because) = if both {
        let ladder = client_sender.ladder();
        let because = format!(
            "its request stays unacknowledged, so keep-alive is silent; RTO {}, doubling; the first \
             expiry that is {} (tcp_retries2 {}) or more after the first counted retransmission",
            human(client_sender.rto_us),
            human(client_sender.patience_us()),
            client_sender.retries
        );
        (lab.now_us(), ladder.gives_up, because)
    } else {
        let because = format!(
            "nothing of the client's is in flight, so keep-alive asks: idle {} + {} x interval {}",
            human(keepalive.idle_us),
            keepalive.count,
            human(keepalive.interval_us)
        );
        (
            last_heard,
            probed(keepalive, client_sender.tick_us),
            because,
        )
    };
    // Keep-alive's last word is an RST; retransmissions end without one.
    let hears_it = !both && params.duration_us("second_cut") > client_gives_up.latest_us;
    let reset_us = hears_it.then(|| {
        let at_us = client_since_us + client_gives_up.expected_us + delay;
        at_us.saturating_sub(sent_us)
    });
    let mut scene = Scene {
        client,
        server,
        sent_us,
        server_ladder,
        server_sender,
        client_since_us,
        client_gives_up,
        reset_us,
        client_is_over: false,
        server_is_over: false,
    };
    scene.foresee(lab, params, because);
    if both {
        scene.client.write(REQUEST).await?;
        scene.server.read_exactly(REQUEST.len()).await?;
        lab.remark("The server has read the request; it is its acknowledgment that is dropped.");
    }

    let second_cut = Duration::from_micros(params.duration_us("second_cut"));
    scene.watch(lab, Some(second_cut), false).await?;
    if scene.client_is_over && scene.server_is_over {
        back.stay();
        lab.remark("Both ends had met their end before the other way was to be cut.");
        return Ok(());
    }
    lab.chapter("Cut the other way, too");
    let there = lab.cut(&[HostName::Client]);

    let heal_after = Duration::from_micros(params.duration_us("heal_after"));
    match params.choice("heal") {
        "early" => {
            scene.watch(lab, Some(heal_after), false).await?;
            scene.deliver(lab, [back, there], delay).await
        }
        "never" => {
            back.stay();
            there.stay();
            scene.watch(lab, None, true).await?;
            scene.watch(lab, None, false).await?;
            lab.remark("The path never healed: each end's own timer told it, and nobody an RST.");
            Ok(())
        }
        _ => {
            scene.watch(lab, None, true).await?;
            scene.watch(lab, Some(heal_after), false).await?;
            scene.reset(lab, [back, there], delay).await
        }
    }
}

impl Scene {
    /// Says what will happen as far as it follows from what is known at the first cut.
    fn foresee(&self, lab: &Lab, params: &Params, because: String) {
        let heal = params.choice("heal");
        let client_us = self.client_gives_up.expected_us;
        if heal != "early" {
            lab.expect_after("client_gives_up", self.client_since_us, client_us, because);
        }
        if let Some(reset_us) = self.reset_us {
            let because = "the way to the server is still open: the client's RST arrives";
            lab.expect_after("server_reset", self.sent_us, reset_us, because.to_owned());
        }
        let server_us = self.server_ladder.gives_up.expected_us;
        let before_healing = server_us < client_us + params.duration_us("heal_after");
        if heal == "never" || (heal == "late" && before_healing) {
            let because = format!(
                "RTO {}, doubling; the first expiry that is {} (tcp_retries2 {}) or more after the \
                 first counted retransmission",
                human(self.server_sender.rto_us),
                human(self.server_sender.patience_us()),
                self.server_sender.retries
            );
            lab.expect_after("server_gives_up", self.sent_us, server_us, because);
        }
    }

    /// Lets both ends wait, and measures what they meet, until the time is over; or, without a time,
    /// until the client has met its end, or the server where the client is over.
    async fn watch(
        &mut self,
        lab: &Lab,
        span: Option<Duration>,
        for_client: bool,
    ) -> Result<(), LabError> {
        // Beyond what theory says, in case it errs.
        let longest = self.client_gives_up.latest_us + self.server_ladder.gives_up.latest_us;
        let span = span.unwrap_or(Duration::from_micros(longest + 5_000_000));
        let waiting = async {
            loop {
                let done = match for_client {
                    true => self.client_is_over,
                    false => self.client_is_over && self.server_is_over,
                };
                if done {
                    return Ok(());
                }
                tokio::select! {
                    biased;
                    ending = self.client.read(), if !self.client_is_over => {
                        let fails = "the client";
                        failed(fails, ending)?;
                        self.client_is_over = true;
                        let predicted = Some(self.client_gives_up.expected_us);
                        measure(lab, "client_gives_up", self.client_since_us, predicted);
                    }
                    ending = self.server.read(), if !self.server_is_over => {
                        let errno = failed("the server", ending)?;
                        self.server_is_over = true;
                        if errno == "ETIMEDOUT" {
                            let predicted = Some(self.server_ladder.gives_up.expected_us);
                            measure(lab, "server_gives_up", self.sent_us, predicted);
                        } else {
                            measure(lab, "server_reset", self.sent_us, self.reset_us);
                        }
                    }
                }
            }
        };
        // That the time is over is what was wanted, or shows in what was not measured.
        timeout(span, waiting).await.unwrap_or(Ok(()))
    }

    /// The server's next retransmission: when it leaves, after its data was first sent.
    async fn next_step(&self, lab: &Lab) -> Option<Spread> {
        let asked = Duration::from_secs(1);
        lab.connections_until(HostName::Server, asked, |_| true)
            .await;
        let sockets = lab.connections(HostName::Server);
        let retries = usize::from(sockets.first()?.retries);
        // The kernel counts its retransmissions, and the loss probe not among them.
        let sent = retries + usize::from(self.server_sender.loss_probe);
        self.server_ladder.retransmissions.get(sent).copied()
    }

    /// Heals the path before anybody has given up: the message arrives, late.
    async fn deliver(&mut self, lab: &Lab, cuts: [Cut; 2], delay: u64) -> Result<(), LabError> {
        let next = self.next_step(lab).await;
        lab.chapter("Heal the path");
        drop(cuts);
        let predicted = next.map(|spread| spread.plus(delay).expected_us);
        if let Some(predicted) = predicted {
            lab.expect_after(
                "delivered",
                self.sent_us,
                predicted,
                "the server's next retransmission, and its way".to_owned(),
            );
        }
        self.client.read_exactly(MESSAGE.len()).await?;
        measure(lab, "delivered", self.sent_us, predicted);
        lab.sender_at_rest(HostName::Server).await?;
        lab.sender_at_rest(HostName::Client).await?;
        lab.remark("Everything is acknowledged, and neither application has seen an error.");
        Ok(())
    }

    /// Heals the path when the client's socket is gone: the next retransmission meets nobody.
    async fn reset(&mut self, lab: &Lab, cuts: [Cut; 2], delay: u64) -> Result<(), LabError> {
        if self.server_is_over {
            drop(cuts);
            lab.remark("Both ends had met their end before the path was healed.");
            return Ok(());
        }
        let next = self.next_step(lab).await;
        lab.chapter("Heal the path");
        drop(cuts);
        let spread = next.unwrap_or(self.server_ladder.gives_up).plus(2 * delay);
        lab.expect_after(
            "server_reset",
            self.sent_us,
            spread.expected_us,
            format!(
                "the server's next retransmission, {} to {} after the data was first sent, and the \
                 RST's way back",
                human(spread.earliest_us - 2 * delay),
                human(spread.latest_us - 2 * delay)
            ),
        );
        let now = lab.now_us().saturating_sub(self.sent_us);
        let patience = spread.latest_us.saturating_sub(now) + spread.latest_us / 8 + 2_000_000;
        match timeout(Duration::from_micros(patience), self.server.read()).await {
            Ok(ending) => {
                failed("the server", ending)?;
                measure(lab, "server_reset", self.sent_us, Some(spread.expected_us));
                lab.remark(
                    "The client's kernel knows no such connection any more: it answers the \
                     retransmission with an RST.",
                );
            }
            Err(_) => lab.measure("server_reset", Some(spread.expected_us), None, lab.now_us()),
        }
        Ok(())
    }
}

/// The errno of a read that was to fail.
fn failed(who: &str, ending: ReadOutcome) -> Result<String, LabError> {
    match ending {
        ReadOutcome::Failed(error) => Ok(errno_name(&error)),
        other => Err(LabError::Unmet(format!(
            "{who} was to hear nothing, and had {other:?}"
        ))),
    }
}

fn measure(lab: &Lab, name: &str, since_us: u64, predicted_us: Option<u64>) {
    let now = lab.now_us();
    let span = now.saturating_sub(since_us);
    lab.measure(name, predicted_us, Some(span), now);
}
