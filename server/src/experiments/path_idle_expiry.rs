//! `path-idle-expiry`: will the firewall or NAT forget me?

use std::time::Duration;

use linger_shared::{
    event::{Fact, FlowState, HostName, Mode},
    experiment::{Descriptor, Finding, Param, Params, Preset, Reference},
    middlebox::{self, Expiry, Kind, Middlebox},
    theory::{
        expiry::{Forgetting, Probing, forgetting},
        handshake, keepalive, wheel,
    },
    units::{format_duration, human},
};

use super::{Experiment, Script, claim, paragraphs, preset, reference};
use crate::{
    endpoints::{Connection, KeepAlive, ReadOutcome, SocketOption},
    hosts,
    lab::{Follower, Lab, LabError, Plan},
};

/// How much later than predicted something may come before the script stops waiting, besides an
/// eighth of its timer.
const SLACK_US: u64 = 3_000_000;

/// An idle time below the limit with an interval above it, and a silence that shows the outcome.
const LONG_INTERVAL: [(&str, &str); 5] = [
    ("keepalive", "client"),
    ("idle", "1s"),
    ("interval", "4s"),
    ("count", "1"),
    ("silence", "5s"),
];

pub(super) struct PathIdleExpiry;

impl Experiment for PathIdleExpiry {
    fn id(&self) -> &'static str {
        "path-idle-expiry"
    }

    fn descriptor(&self) -> Descriptor {
        let mut presets = vec![
            preset(
                "kept alive in time",
                "the client probes after 2 s, the box would forget after 3 s",
                &[("keepalive", "client")],
            ),
            preset(
                "kept alive too late",
                "the first probe after 4 s finds that the box has forgotten after 3 s",
                &[("keepalive", "client"), ("idle", "4s")],
            ),
            preset(
                "idle shorter, interval longer",
                "the first probe after 1 s is in time; the next, 4 s later, is not",
                &LONG_INTERVAL,
            ),
            preset(
                "Linux's defaults and 350 s, in real time",
                "the first probe after two hours finds a load balancer that has forgotten long ago",
                &[
                    ("keepalive", "client"),
                    ("idle", "2h"),
                    ("interval", "75s"),
                    ("count", "9"),
                    ("limit", "350s"),
                    ("expiry", "rst-on-next-packet"),
                    ("silence", "3h"),
                ],
            ),
            preset(
                "Linux's defaults and RFC 5382's least, in real time",
                "the first probe after two hours, or two minutes later where the kernel's timer is \
                 late, against 2 h 4 min: in time",
                &[
                    ("kind", "nat"),
                    ("keepalive", "client"),
                    ("idle", "2h"),
                    ("interval", "75s"),
                    ("count", "9"),
                    ("limit", "124min"),
                    ("silence", "3h"),
                ],
            ),
        ];
        presets.extend(middlebox::PRESETS.iter().flat_map(of_product));
        let mut references = vec![
            reference(
                "RFC 5382, section 5: how long a NAT must remember a connection",
                "https://www.rfc-editor.org/rfc/rfc5382#section-5",
            ),
            reference(
                "RFC 9293, section 3.8.4: TCP keep-alives",
                "https://www.rfc-editor.org/rfc/rfc9293#section-3.8.4",
            ),
        ];
        references.extend(sources());
        Descriptor {
            id: self.id().to_owned(),
            title: "Forgotten on the way".to_owned(),
            question: "Will the firewall or NAT forget me?".to_owned(),
            family: "Path".to_owned(),
            modes: vec![Mode::Packets],
            explanation: paragraphs(&[
                "A stateful firewall, a NAT or a load balancer keeps an entry for each connection \
                 that passes it, and gives it up when no packet has come for some time: it cannot \
                 know whether the two hosts are still there. They are, and so are their sockets; \
                 but what they send from then on belongs to no connection that the box knows.",
                "What happens then is a matter of style. Many boxes drop such packets without a \
                 word, and the sender repeats them until its kernel gives up, minutes later. Some \
                 answer the next packet with an RST: whoever speaks is told, and whoever listens is \
                 not. Some tell both ends at the limit, with RST or FIN.",
                "A keep-alive probe is a packet like any other and restarts the box's clock, if it \
                 comes in time. Two times must be shorter than the limit: idle, which is the wait \
                 for the first probe, and interval, which is the least time between answered probes. \
                 One that comes too late finds out, at least: with ETIMEDOUT after idle + interval x \
                 count, or with ECONNRESET at once where the box answers.",
                "Documented limits begin at 4 minutes (Azure), 350 s (AWS) and 10 minutes (Google \
                 Cloud), all far below Linux's default of two hours before the first probe; RFC 5382 \
                 asks a NAT for 2 h 4 min, just above it. The default here, 3 s, stands for \
                 Azure's 4 minutes: 1 s for 80 s. Each preset says its own scale, and has its real \
                 times beside it.",
            ]),
            look_for: paragraphs(&[
                "the box's note that it has forgotten the connection, and both sockets that are \
                 still ESTABLISHED",
                "which of the two applications is told, with what, and which is not",
                "with keep-alive in time: probes and answers that pass, and a message that is \
                 answered after a silence longer than the limit",
            ]),
            misconception: "\"Nobody closed the connection, so it is open.\" It is open in two \
                            kernels. It also has to be known to everything between them."
                .to_owned(),
            params: vec![
                Param::choice("kind", &["firewall", "nat"], "what stands on the way"),
                Param::duration(
                    "limit",
                    3_000_000,
                    500_000,
                    middlebox::MAX_LIMIT_US,
                    "how long it remembers a connection without a packet",
                ),
                Param::choice(
                    "expiry",
                    &Expiry::ALL.map(Expiry::as_str),
                    "what it does when it forgets: nothing ever, an RST to whoever speaks next, or a \
                     FIN or RST to both at once",
                ),
                Param::choice(
                    "keepalive",
                    &["neither", "client", "server"],
                    "whose socket has SO_KEEPALIVE",
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
                    "time between probes (TCP_KEEPINTVL), rounded up to whole seconds",
                ),
                Param::integer(
                    "count",
                    "probes",
                    2,
                    1,
                    127,
                    "probes that may stay unanswered in a row (TCP_KEEPCNT)",
                ),
                Param::duration(
                    "silence",
                    4_000_000,
                    100_000,
                    middlebox::MAX_LIMIT_US,
                    "how long neither application says anything",
                ),
                Param::choice("speaker", &["client", "server"], "who speaks then"),
                Param::duration(
                    "watch",
                    3_000_000,
                    1_000_000,
                    3_600_000_000,
                    "how long to wait for an answer that does not come",
                ),
                Param::duration("delay", 20_000, 0, 400_000, "one-way delay of the link"),
            ],
            presets,
            claims: vec![
                claim(
                    "A connection stays usable until one of its ends closes it.",
                    Finding::Refuted,
                    "The box on the way forgets it at its limit; both sockets are still ESTABLISHED, \
                     and what is said then does not arrive.",
                    &[],
                ),
                claim(
                    "A firewall may break a quiet connection without the reader's noticing.",
                    Finding::Confirmed,
                    "The server's message is dropped at the box; the client waits on, and no error \
                     comes to it.",
                    &[("speaker", "server")],
                ),
                claim(
                    "Load balancers end idle connections early unless something is sent \
                     periodically.",
                    Finding::Confirmed,
                    "With a probe every 2 s the box with a limit of 3 s remembers, and after a \
                     longer silence the message is answered; TCP keep-alive is enough, as the box \
                     counts packets and not bytes.",
                    &[("keepalive", "client")],
                ),
                claim(
                    "TCP keep-alive protects against idle limits on the way.",
                    Finding::Depends,
                    "Only where it comes before the limit. Later it finds out that the connection \
                     is gone, which is another service.",
                    &[("keepalive", "client"), ("idle", "4s")],
                ),
                claim(
                    "TCP_KEEPIDLE must be below the limit; then the connection is kept.",
                    Finding::Refuted,
                    "The interval must be, too: after an answered probe the next one does not come \
                     before the interval is over.",
                    &LONG_INTERVAL,
                ),
                claim(
                    "An application is told when a middlebox drops its connection.",
                    Finding::Depends,
                    "Where the box sends RST or FIN to both, at the limit; where it answers the next \
                     packet, whoever sends that; where it is silent, nobody.",
                    &[("expiry", "rst-on-next-packet")],
                ),
            ],
            references,
        }
    }

    fn plan(&self, params: &Params) -> Plan {
        let delay = params.duration_us("delay");
        let told = keepalive_of(params).map_or(0, |(_, keepalive)| {
            let intervals = u64::from(keepalive.count) + 1;
            keepalive::detection_us(keepalive.idle_us, keepalive.interval_us, intervals)
        });
        let quiet = params
            .duration_us("silence")
            .max(params.duration_us("limit"))
            .max(told + told / 8);
        let lasts = quiet + params.duration_us("watch") + SLACK_US + 20 * delay;
        Plan {
            middlebox: Some(the_box(params)),
            ..Plan::symmetric(delay, lasts)
        }
    }

    fn run<'a>(&'a self, lab: &'a mut Lab, params: &'a Params) -> Script<'a> {
        Box::pin(script(lab, params))
    }
}

/// A product's limit, scaled and as it is.
fn of_product(product: &middlebox::Preset) -> [Preset; 2] {
    let of = |name: String, described: String, limit_us: u64| {
        let limit = format_duration(limit_us);
        let silence = format_duration(limit_us + limit_us / 4);
        let pairs = [
            ("kind", product.kind.as_str()),
            ("limit", limit.as_str()),
            ("expiry", product.expiry.as_str()),
            ("silence", silence.as_str()),
        ];
        preset(&name, &described, &pairs)
    };
    [
        of(
            product.product.to_owned(),
            format!(
                "a limit of {}, here {}: {}. {}",
                format_duration(product.idle_us),
                format_duration(product.scaled_idle_us()),
                product.scale_in_words(),
                product.note
            ),
            product.scaled_idle_us(),
        ),
        of(
            format!("{}, in real time", product.product),
            format!(
                "a limit of {}. {}",
                format_duration(product.idle_us),
                product.note
            ),
            product.idle_us,
        ),
    ]
}

/// Where the limits are documented, each once.
fn sources() -> Vec<Reference> {
    let mut sources: Vec<Reference> = Vec::new();
    for (title, url) in middlebox::PRESETS
        .iter()
        .flat_map(|product| product.sources)
    {
        // The standard is listed by itself.
        if !url.contains("rfc-editor") && !sources.iter().any(|known| known.url == *url) {
            sources.push(reference(title, url));
        }
    }
    sources
}

fn the_box(params: &Params) -> Middlebox {
    let kind = match params.choice("kind") {
        "nat" => Kind::Nat,
        _ => Kind::Firewall,
    };
    // A checked choice is one of the styles.
    let expiry = params.choice("expiry").parse().unwrap_or(Expiry::Silence);
    Middlebox::new(kind, params.duration_us("limit")).expiring(expiry)
}

/// Which side probes, and how.
fn keepalive_of(params: &Params) -> Option<(HostName, KeepAlive)> {
    let whole = |name| params.duration_us(name).div_ceil(1_000_000) * 1_000_000;
    let host = match params.choice("keepalive") {
        "client" => HostName::Client,
        "server" => HostName::Server,
        _ => return None,
    };
    let keepalive = KeepAlive {
        idle_us: whole("idle"),
        interval_us: whole("interval"),
        count: u32::try_from(params.integer("count")).unwrap_or(u32::MAX),
    };
    Some((host, keepalive))
}

/// What theory says of a run, on its clock.
struct Story {
    /// How the box comes to forget, if it does before anybody speaks.
    forgetting: Option<Forgetting>,
    /// Who is told before anybody speaks: since when, after which time, and why.
    told: Vec<(HostName, u64, u64, String)>,
}

/// How long an RST of the box's takes, from the departure of what it answers to its arrival there.
fn box_answer_us(plan: &Middlebox, from: HostName, delay_us: u64) -> u64 {
    let way = match from {
        HostName::Server => 1.0 - plan.place,
        HostName::Client | HostName::Proxy => plan.place,
    };
    (2.0 * way * delay_us as f64).round() as u64
}

/// Whether the box answers a packet of a side that it knows no connection for: a NAT that has lost
/// the mapping knows nobody in whose name to answer the outside.
fn answers(plan: &Middlebox, to: HostName) -> bool {
    plan.expiry == Expiry::RstOnNextPacket
        && (plan.kind == Kind::Firewall || to == HostName::Client)
}

fn story(
    params: &Params,
    plan: &Middlebox,
    last_us: u64,
    heard: impl Fn(HostName) -> u64,
) -> Story {
    let delay_us = params.duration_us("delay");
    let prober = keepalive_of(params);
    let probing = prober.map(|(host, keepalive)| Probing {
        heard_us: heard(host),
        idle_us: keepalive.idle_us,
        interval_us: keepalive.interval_us,
        delay_us,
    });
    let speaks_us = last_us + params.duration_us("silence");
    let forgetting = forgetting(last_us, plan.idle_us, probing)
        .filter(|how| how.last_passed_us + plan.idle_us < speaks_us);
    let Some(how) = forgetting else {
        return Story {
            forgetting,
            told: Vec::new(),
        };
    };
    let told = match (plan.expiry, prober.zip(how.lost_probe_us)) {
        (Expiry::FinToBoth | Expiry::RstToBoth, _) => [HostName::Client, HostName::Server]
            .map(|host| {
                let after_us = plan.idle_us + box_answer_us(plan, host, delay_us) / 2;
                let because = format!(
                    "limit {} since the last packet, and the way from the box",
                    human(plan.idle_us)
                );
                (host, how.last_passed_us, after_us, because)
            })
            .into(),
        (_, Some(((host, keepalive), lost_us))) => {
            let since_us = heard(host);
            let waits_us = lost_us.saturating_sub(since_us);
            let (after_us, because) = if answers(plan, host) {
                let answer = box_answer_us(plan, host, delay_us);
                let because = format!("a probe after {}, which the box answers", human(waits_us));
                (waits_us + answer, because)
            } else {
                let (interval_us, count) = (keepalive.interval_us, keepalive.count);
                let because = format!(
                    "the first lost probe after {}, and {count} x interval {}",
                    human(waits_us),
                    human(interval_us)
                );
                let lost = wheel::chain(&vec![interval_us; count as usize], hosts::tick_us());
                (waits_us + lost.expected_us, because)
            };
            vec![(host, since_us, after_us, because)]
        }
        (_, None) => Vec::new(),
    };
    Story { forgetting, told }
}

async fn script(lab: &mut Lab, params: &Params) -> Result<(), LabError> {
    let plan = the_box(params);
    let mut record = lab.follow();

    lab.chapter("Connect and exchange a greeting");
    let listener = lab.server().listen(7654).await?;
    let keepalive = keepalive_of(params);
    let of = |host| keepalive.filter(|(prober, _)| *prober == host);
    let (mut client, mut server, _) = Connection::pair(
        &lab.client(),
        &listener,
        of(HostName::Client).map(|(_, keepalive)| keepalive),
    )
    .await?;
    if let Some((_, keepalive)) = of(HostName::Server) {
        server.set(&SocketOption::KeepAlive(keepalive))?;
    }
    client.write(b"hello").await?;
    let greeting = server.read_exactly(5).await?;
    server.write(&greeting).await?;
    client.read_exactly(greeting.len()).await?;
    // Unacknowledged data would be sent again, and the box would see packets.
    lab.connections_until(HostName::Server, Duration::from_secs(5), |sockets| {
        sockets.iter().all(|socket| socket.send_queue == 0)
    })
    .await;

    lab.chapter("Say nothing");
    let delay_us = params.duration_us("delay");
    let arrived_us = lab
        .last_arrival_us(HostName::Client)
        .max(lab.last_arrival_us(HostName::Server));
    // A box takes note of a packet as of its departure.
    let last_us = arrived_us.saturating_sub(delay_us);
    let story = story(params, &plan, last_us, |host| lab.last_arrival_us(host));
    announce(lab, &story, &plan, params);
    let until_us = last_us + params.duration_us("silence");
    let (waited, ()) = tokio::join!(
        wait(lab, &story, until_us, &mut client, &mut server),
        measure_forgetting(lab, &mut record, &story, &plan)
    );
    waited?;
    if !story.told.is_empty() {
        if plan.expiry == Expiry::FinToBoth {
            lab.chapter("Both close what the box has ended");
            client.close();
            server.close();
            lab.until_closed(Duration::from_secs(5)).await;
        }
        return Ok(());
    }
    let client = (HostName::Client, client);
    let server = (HostName::Server, server);
    let (speaker, listener) = match params.choice("speaker") {
        "server" => (server, client),
        _ => (client, server),
    };
    let forgotten = story.forgetting.is_some();
    speak(lab, params, &plan, forgotten, speaker, listener).await
}

/// Says what is expected of the silence.
fn announce(lab: &Lab, story: &Story, plan: &Middlebox, params: &Params) {
    match &story.forgetting {
        Some(how) => lab.expect_after(
            "forgotten",
            how.last_passed_us,
            plan.idle_us,
            format!("limit {} since the last packet", human(plan.idle_us)),
        ),
        None if keepalive_of(params).is_some() => lab.remark(&format!(
            "Nothing is to happen: each probe comes before the limit of {} is reached.",
            human(plan.idle_us)
        )),
        None => lab.remark(&format!(
            "Nothing is to happen: the silence is shorter than the limit of {}.",
            human(plan.idle_us)
        )),
    }
    for (host, since_us, after_us, because) in &story.told {
        lab.expect_after(
            &format!("{host}_told"),
            *since_us,
            *after_us,
            because.clone(),
        );
    }
}

/// How a read ended, and when.
type Ending = Option<(u64, ReadOutcome)>;

async fn ending(lab: &Lab, connection: &mut Connection, patience: Duration) -> Ending {
    let outcome = connection.read_within(patience).await?;
    Some((lab.now_us(), outcome))
}

/// Both applications wait for data; those who are to be told are waited for, and if nobody is, the
/// silence lasts until `until_us`.
async fn wait(
    lab: &Lab,
    story: &Story,
    until_us: u64,
    client: &mut Connection,
    server: &mut Connection,
) -> Result<(), LabError> {
    let patience_us = story
        .told
        .iter()
        .map(|(_, since_us, after_us, _)| since_us + after_us + after_us / 8 + SLACK_US)
        .max()
        .unwrap_or(until_us);
    let patience = Duration::from_micros(patience_us.saturating_sub(lab.now_us()));
    let is_told = |host| story.told.iter().any(|(told, ..)| *told == host);
    // Whoever is not told goes on waiting, and is not waited for.
    let (client_ends, server_ends) = match (is_told(HostName::Client), is_told(HostName::Server)) {
        (true, false) => tokio::select! {
            biased;
            ends = ending(lab, client, patience) => (ends, None),
            outcome = server.read() => (None, Some((lab.now_us(), outcome))),
        },
        (false, true) => tokio::select! {
            biased;
            ends = ending(lab, server, patience) => (None, ends),
            outcome = client.read() => (Some((lab.now_us(), outcome)), None),
        },
        _ => tokio::join!(ending(lab, client, patience), ending(lab, server, patience)),
    };
    let endings = [
        (HostName::Client, client_ends),
        (HostName::Server, server_ends),
    ];
    for (host, ends) in endings {
        if let Some((_, ReadOutcome::Data(bytes))) = &ends {
            let read = bytes.len();
            return Err(LabError::Unmet(format!(
                "{host} read {read} bytes in the silence"
            )));
        }
        let name = format!("{host}_told");
        let at_us = ends.as_ref().map(|(at_us, _)| *at_us);
        let told = story.told.iter().find(|(told, ..)| *told == host);
        match (told, at_us) {
            (Some((_, since_us, after_us, _)), _) => {
                let span = at_us.map(|at_us| at_us.saturating_sub(*since_us));
                lab.measure(&name, Some(*after_us), span, at_us.unwrap_or(lab.now_us()));
            }
            (None, Some(_)) => {
                let unexpected = format!("{host} was told, which theory did not expect");
                return Err(LabError::Unmet(unexpected));
            }
            (None, None) => {}
        }
    }
    Ok(())
}

/// Finds the box's own word in the record.
async fn measure_forgetting(lab: &Lab, record: &mut Follower, story: &Story, plan: &Middlebox) {
    let Some(how) = &story.forgetting else {
        return;
    };
    let due_us = how.last_passed_us + plan.idle_us;
    let patience = due_us.saturating_sub(lab.now_us()) + SLACK_US;
    let expired = record.find(Duration::from_micros(patience), |event| match event.fact {
        Fact::Flow {
            state: FlowState::Expired,
            ..
        } => Some(event.at_us),
        _ => None,
    });
    let at_us = expired.await;
    let span = at_us.map(|at_us| at_us.saturating_sub(how.last_passed_us));
    let at_us = at_us.unwrap_or(lab.now_us());
    lab.measure("forgotten", Some(plan.idle_us), span, at_us);
}

/// One application says something; the other answers what comes to it.
async fn speak(
    lab: &Lab,
    params: &Params,
    plan: &Middlebox,
    forgotten: bool,
    (host, mut speaker): (HostName, Connection),
    (other, mut listener): (HostName, Connection),
) -> Result<(), LabError> {
    lab.chapter(&format!("The {host} says something"));
    let delay_us = params.duration_us("delay");
    let watch = Duration::from_micros(params.duration_us("watch"));
    let said_us = lab.now_us();
    let message = b"still there?";
    speaker.write(message).await?;
    if !forgotten {
        let predicted = handshake::exchange_us(delay_us, delay_us, 0);
        let because = format!("there and back: 2 x {}", human(delay_us));
        lab.expect_after("answer", said_us, predicted, because);
        let heard = listener.read_within(watch).await;
        let answer = match heard {
            Some(ReadOutcome::Data(bytes)) => {
                listener.write(&bytes).await?;
                ending(lab, &mut speaker, watch).await
            }
            _ => None,
        };
        let at_us = answer
            .filter(|(_, outcome)| matches!(outcome, ReadOutcome::Data(_)))
            .map(|(at_us, _)| at_us);
        let span = at_us.map(|at_us| at_us.saturating_sub(said_us));
        lab.measure(
            "answer",
            Some(predicted),
            span,
            at_us.unwrap_or(lab.now_us()),
        );
        return Ok(());
    }
    let name = format!("{host}_told");
    let predicted = answers(plan, host).then(|| box_answer_us(plan, host, delay_us));
    if let Some(predicted) = predicted {
        let because = "to the box, which answers with an RST, and back".to_owned();
        lab.expect_after(&name, said_us, predicted, because);
    }
    let ends = tokio::select! {
        biased;
        ends = ending(lab, &mut speaker, watch) => ends,
        heard = listener.read() => {
            let heard = format!("the {other} heard what the box should have dropped: {heard:?}");
            return Err(LabError::Unmet(heard));
        }
    };
    let at_us = ends.map(|(at_us, _)| at_us);
    let span = at_us.map(|at_us| at_us.saturating_sub(said_us));
    lab.measure(&name, predicted, span, at_us.unwrap_or(lab.now_us()));
    lab.remark(&match at_us {
        Some(_) => format!(
            "The {other} is not told: its read() still waits, and its socket is ESTABLISHED."
        ),
        None => format!(
            "Looked for {}: the write() has succeeded, the {host}'s kernel repeats it, and neither \
             application is told. Retransmissions decide from here on, not keep-alive.",
            human(params.duration_us("watch"))
        ),
    });
    Ok(())
}
