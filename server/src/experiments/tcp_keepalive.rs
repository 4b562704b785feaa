//! `tcp-keepalive`: who probes whom, and when?

use std::time::Duration;

use linger_shared::{
    event::{Event, Fact, HostName, Mode, TcpState},
    experiment::{Descriptor, Finding, Param, Params},
    theory::keepalive,
    units::human,
};

use super::{Experiment, Script, claim, paragraphs, preset, reference};
use crate::{
    endpoints::{Connection, KeepAlive, SocketOption},
    lab::{Follower, Lab, LabError, Plan, prober},
};

/// How many probes may stay unanswered here (TCP_KEEPCNT): Linux's default. None does, so it plays
/// no part.
const COUNT: u32 = 9;

/// How much later than predicted a probe may come before the script stops waiting, besides an eighth
/// of its timer.
const SLACK: Duration = Duration::from_secs(5);

/// What is too much for the kernel's ticks and the laboratory's looking, in microseconds.
const A_WHILE_US: u64 = 100_000;

pub(super) struct TcpKeepalive;

impl Experiment for TcpKeepalive {
    fn id(&self) -> &'static str {
        "tcp-keepalive"
    }

    fn descriptor(&self) -> Descriptor {
        Descriptor {
            id: self.id().to_owned(),
            title: "Keep-alive".to_owned(),
            question: "Who probes whom, and when?".to_owned(),
            family: "TCP".to_owned(),
            modes: vec![Mode::Packets],
            explanation: paragraphs(&[
                "Keep-alive belongs to a socket, not to a connection. Each side decides for itself \
                 whether it probes, and neither tells the other: there is no option in any segment, \
                 and nothing is negotiated. With both sides on, both probe.",
                "A probe is an ACK without data whose sequence number is one below the next: a byte \
                 that the peer has acknowledged long ago. A living kernel must answer an \
                 unacceptable segment with an ACK (RFC 9293, section 3.10.7.4); its application is \
                 not asked and sees nothing. The answer restarts the prober's idle time. The probe \
                 itself does not restart the peer's: Linux drops it before it looks at its \
                 acknowledgment number (tcp_validate_incoming), so a side that is probed every \
                 second still asks for itself when its own idle time is over.",
                "What restarts a side's idle time is data from the peer, or an ACK that is taken \
                 (lrcvtime and rcv_tstamp in the kernel): a message restarts both sides', the \
                 receiver's when it arrives and the sender's when it is acknowledged. The kernel's \
                 timer is not touched meanwhile. It runs out as it was set, the kernel finds that \
                 there was something to hear, and sets it again for what is missing \
                 (keepalive_time_elapsed): so a countdown is the least time to the next probe, not \
                 the time.",
                "After an answered probe the next comes when idle is over again, but never before \
                 interval is: with idle at 10 s and interval left at its default of 75 s, answered \
                 probes come every 75 s. The defaults here, 2 s and 1 s, stand for Linux's 2 h and \
                 for a server that asks twice as often; 1 s stands for an hour.",
            ]),
            look_for: paragraphs(&[
                "probes with seq one below the next, each answered by the other kernel at once",
                "two rhythms that take no notice of each other where both sides have keep-alive on",
                "the message: both sides begin to count anew, at different moments",
                "the kernel's countdown after the message, which is shorter than the time to the \
                 next probe",
            ]),
            misconception: "\"The server sends keep-alives, so my client need not.\" The server's \
                            probes tell the server whether the client lives. A client that only \
                            answers them learns nothing when they stop."
                .to_owned(),
            params: vec![
                Param::choice(
                    "who",
                    &["both", "client", "server", "neither"],
                    "whose socket has SO_KEEPALIVE",
                ),
                Param::duration(
                    "client_idle",
                    2_000_000,
                    1_000_000,
                    7_200_000_000,
                    "silence before the client's first probe (TCP_KEEPIDLE), rounded up to whole seconds",
                ),
                Param::duration(
                    "server_idle",
                    1_000_000,
                    1_000_000,
                    7_200_000_000,
                    "silence before the server's first probe (TCP_KEEPIDLE), rounded up to whole seconds",
                ),
                Param::duration(
                    "interval",
                    1_000_000,
                    1_000_000,
                    600_000_000,
                    "the least time between two probes of either side (TCP_KEEPINTVL), rounded up to \
                     whole seconds",
                ),
                Param::integer(
                    "probes",
                    "probes",
                    2,
                    1,
                    20,
                    "how many probes of either side are measured in the silence",
                ),
                Param::choice(
                    "message",
                    &["client", "server", "nobody"],
                    "who says something after the silence, half-way to the next probe",
                ),
                Param::duration(
                    "watch",
                    5_000_000,
                    1_000_000,
                    14_400_000_000,
                    "how long to look on where neither side probes",
                ),
                Param::duration("delay", 20_000, 0, 400_000, "one-way delay of the link"),
            ],
            presets: vec![
                preset(
                    "only the client asks",
                    "the server answers, and learns nothing",
                    &[("who", "client")],
                ),
                preset(
                    "only the server asks",
                    "the client answers, and does not probe: nobody has told it to",
                    &[("who", "server")],
                ),
                preset(
                    "nobody asks",
                    "no packet at all for 5 s, or for as long as one looks",
                    &[("who", "neither")],
                ),
                preset(
                    "interval longer than idle",
                    "idle 1 s and interval 2 s: the first probe after 1 s, the others every 2 s",
                    &[
                        ("who", "client"),
                        ("client_idle", "1s"),
                        ("interval", "2s"),
                        ("probes", "3"),
                    ],
                ),
                preset(
                    "Go on both sides",
                    "15 s and 15 s, the defaults of Go's net package; lasts about a minute",
                    &[
                        ("client_idle", "15s"),
                        ("server_idle", "15s"),
                        ("interval", "15s"),
                    ],
                ),
                preset(
                    "Linux's defaults on both sides",
                    "2 h and 75 s; lasts about six hours",
                    &[
                        ("client_idle", "2h"),
                        ("server_idle", "2h"),
                        ("interval", "75s"),
                    ],
                ),
            ],
            claims: vec![
                claim(
                    "A client does not send keep-alives when its server does.",
                    Finding::Refuted,
                    "Both probe, each by its own timer; the server's probes reach the client every \
                     second and its own still comes after 2 s.",
                    &[],
                ),
                claim(
                    "A keep-alive probe that arrives proves that the peer lives, and restarts the \
                     receiver's idle time.",
                    Finding::Refuted,
                    "Linux drops it as a segment that is out of its window, after answering it, \
                     before it notes that it has heard anything. What restarts the time is data, or \
                     an ACK that is taken.",
                    &[],
                ),
                claim(
                    "TCP_KEEPIDLE says how often an idle connection is probed.",
                    Finding::Depends,
                    "Only where TCP_KEEPINTVL is not longer: the next probe does not come before \
                     interval is over. With 75 s, the default, a shorter idle time shortens only \
                     the wait for the first probe.",
                    &[
                        ("who", "client"),
                        ("client_idle", "1s"),
                        ("interval", "2s"),
                        ("probes", "3"),
                    ],
                ),
                claim(
                    "After an idle time the operating system sends an empty probe.",
                    Finding::Confirmed,
                    "An ACK without data; on the side whose socket asked for it, and there alone.",
                    &[("who", "client")],
                ),
            ],
            references: vec![
                reference(
                    "RFC 9293, section 3.8.4: TCP keep-alives",
                    "https://www.rfc-editor.org/rfc/rfc9293#section-3.8.4",
                ),
                reference(
                    "RFC 9293, section 3.10.7.4: an unacceptable segment is answered with an ACK",
                    "https://www.rfc-editor.org/rfc/rfc9293#section-3.10.7.4",
                ),
                reference(
                    "RFC 1122, section 4.2.3.6: TCP keep-alives",
                    "https://www.rfc-editor.org/rfc/rfc1122#section-4.2.3.6",
                ),
                reference(
                    "tcp(7): TCP_KEEPIDLE, TCP_KEEPINTVL, TCP_KEEPCNT",
                    "https://man7.org/linux/man-pages/man7/tcp.7.html",
                ),
            ],
        }
    }

    fn plan(&self, params: &Params) -> Plan {
        let delay = params.duration_us("delay");
        let sides = [HostName::Client, HostName::Server].map(|host| keepalive_of(params, host));
        let longest = sides
            .iter()
            .flatten()
            .map(|side| {
                keepalive::period_us(side.idle_us, side.interval_us, 2 * delay)
                    .saturating_mul(params.integer("probes") + 2)
            })
            .max()
            .unwrap_or(0);
        let lasts = match longest {
            0 => params.duration_us("watch"),
            _ => longest + longest / 8,
        };
        Plan::symmetric(delay, lasts + 20 * delay + 1_000_000)
    }

    fn run<'a>(&'a self, lab: &'a mut Lab, params: &'a Params) -> Script<'a> {
        Box::pin(script(lab, params))
    }
}

/// Keep-alive as a side's socket is given it; `None` where it has none.
fn keepalive_of(params: &Params, host: HostName) -> Option<KeepAlive> {
    let who = params.choice("who");
    let whole = |name| params.duration_us(name).div_ceil(1_000_000) * 1_000_000;
    let idle = match host {
        HostName::Server => "server_idle",
        HostName::Client | HostName::Proxy => "client_idle",
    };
    (who == "both" || who == host.as_str()).then(|| KeepAlive {
        idle_us: whole(idle),
        interval_us: whole("interval"),
        count: COUNT,
    })
}

/// A side that probes, and when it is to do so next.
struct Prober {
    host: HostName,
    keepalive: KeepAlive,
    /// How many of its probes are announced and measured in the silence.
    wanted: u64,
    /// How many of its probes have left.
    probes: u64,
    /// When its next probe is due, on the run's clock.
    due_us: u64,
    /// What was announced of it: the name, since when, and after which time.
    announced: Option<(String, u64, u64)>,
    /// When its last probe left, while no answer has come.
    unanswered_since: Option<u64>,
}

impl Prober {
    fn new(host: HostName, keepalive: KeepAlive, wanted: u64) -> Self {
        Self {
            host,
            keepalive,
            wanted,
            probes: 0,
            due_us: 0,
            announced: None,
            unanswered_since: None,
        }
    }

    fn expects(&mut self, lab: &Lab, name: String, since_us: u64, after_us: u64, because: String) {
        lab.expect_after(&name, since_us, after_us, because);
        self.due_us = since_us + after_us;
        self.announced = Some((name, since_us, after_us));
    }

    /// How long its next probe may take at most from now.
    fn patience(&self, now_us: u64) -> Duration {
        let longest = self.keepalive.idle_us.max(self.keepalive.interval_us);
        let left = self.due_us.saturating_sub(now_us);
        Duration::from_micros(left + longest / 8) + SLACK
    }

    /// Whether its last probe is answered and its next one still a while away.
    fn rests(&self, now_us: u64) -> bool {
        self.unanswered_since.is_none() && now_us + self.keepalive.idle_us / 4 < self.due_us
    }

    /// Its probe has left.
    fn probes(&mut self, lab: &Lab, at_us: u64) {
        self.probes += 1;
        self.unanswered_since = Some(at_us);
        if let Some((name, since_us, after_us)) = self.announced.take() {
            let span = at_us.saturating_sub(since_us);
            lab.measure(&name, Some(after_us), Some(span), at_us);
        }
    }

    /// The answer has come: the next probe is due.
    fn is_answered(&mut self, lab: &Lab, at_us: u64) {
        let Some(probe_us) = self.unanswered_since.take() else {
            return;
        };
        let KeepAlive {
            idle_us,
            interval_us,
            ..
        } = self.keepalive;
        let period = keepalive::period_us(idle_us, interval_us, at_us.saturating_sub(probe_us));
        self.due_us = probe_us + period;
        if self.probes >= self.wanted {
            return;
        }
        let name = format!("{}_probe_{}", self.host, self.probes + 1);
        let (since_us, after_us, because) = if period > interval_us {
            let because = format!("idle {} after the answer", human(idle_us));
            (at_us, idle_us, because)
        } else {
            let because = format!(
                "interval {} after the probe: idle {} is over before",
                human(interval_us),
                human(idle_us)
            );
            (probe_us, interval_us, because)
        };
        self.expects(lab, name, since_us, after_us, because);
    }
}

async fn script(lab: &mut Lab, params: &Params) -> Result<(), LabError> {
    lab.chapter("Connect and exchange a greeting");
    let listener = lab.server().listen(7654).await?;
    let [client_side, server_side] =
        [HostName::Client, HostName::Server].map(|host| keepalive_of(params, host));
    let (mut client, mut server, _) =
        Connection::pair(&lab.client(), &listener, client_side).await?;
    if let Some(keepalive) = server_side {
        server.set(&SocketOption::KeepAlive(keepalive))?;
    }
    client.write(b"hello").await?;
    let greeting = server.read_exactly(5).await?;
    server.write(&greeting).await?;
    client.read_exactly(greeting.len()).await?;
    quiet(lab).await?;

    let wanted = params.integer("probes");
    let sides = [
        (HostName::Client, client_side),
        (HostName::Server, server_side),
    ];
    let mut probers: Vec<Prober> = sides
        .into_iter()
        .filter_map(|(host, keepalive)| Some(Prober::new(host, keepalive?, wanted)))
        .collect();
    let mut record = lab.follow();
    lab.chapter("Say nothing");
    for host in [HostName::Client, HostName::Server] {
        let timer = lab.timer_due(host).await;
        lab.remark(&match timer {
            Some((_, due_us)) => format!(
                "The {host}'s kernel: keep-alive timer, {} left.",
                human(due_us.saturating_sub(lab.now_us()))
            ),
            None => format!("The {host}'s kernel: no timer."),
        });
    }
    if probers.is_empty() {
        return watch_silence(lab, &mut record, params.duration_us("watch")).await;
    }
    for side in &mut probers {
        let since_us = lab.last_arrival_us(side.host);
        let idle_us = side.keepalive.idle_us;
        let because = format!("idle {} since it last heard anything", human(idle_us));
        side.expects(
            lab,
            format!("{}_probe_1", side.host),
            since_us,
            idle_us,
            because,
        );
    }
    until(lab, &mut record, &mut probers, |probers| {
        let now_us = lab.now_us();
        // What is said next is said between two probes, and not beside one.
        probers
            .iter()
            .all(|side| side.probes >= wanted && side.rests(now_us))
    })
    .await?;
    tell_of_the_other(lab, &probers);

    let (speaker, from) = match params.choice("message") {
        "client" => (&mut client, HostName::Client),
        "server" => (&mut server, HostName::Server),
        _ => return Ok(()),
    };
    half_way(lab, &probers).await;
    lab.chapter(&format!("The {from} says something"));
    speaker.write(b"still here").await?;
    let listener = match from {
        HostName::Client => &mut server,
        HostName::Proxy | HostName::Server => &mut client,
    };
    listener.read_exactly(10).await?;
    quiet(lab).await?;
    after_message(lab, &mut record, &mut probers, from).await?;
    let before: Vec<u64> = probers.iter().map(|side| side.probes).collect();
    until(lab, &mut record, &mut probers, |probers| {
        let mut sides = probers.iter().zip(&before);
        sides.all(|(side, before)| side.probes > *before && side.unanswered_since.is_none())
    })
    .await
}

/// Waits until neither kernel waits for an acknowledgment: that would bring the retransmission timer
/// in instead of keep-alive.
async fn quiet(lab: &Lab) -> Result<(), LabError> {
    for host in [HostName::Client, HostName::Server] {
        lab.connections_until(host, SLACK, |sockets| {
            let open = |state| state == TcpState::Established;
            sockets
                .iter()
                .all(|socket| socket.send_queue == 0 && open(socket.state))
        })
        .await
        .ok_or_else(|| LabError::Unmet(format!("{host}: data stays unacknowledged")))?;
    }
    Ok(())
}

/// Nobody probes: looks on, and says what there was to see.
async fn watch_silence(lab: &Lab, record: &mut Follower, watch_us: u64) -> Result<(), LabError> {
    let began_us = lab.now_us();
    let packet = record.departure(Duration::from_micros(watch_us), |_| true);
    if let Some((_, packet)) = packet.await {
        return Err(LabError::Unmet(format!(
            "{} sent {} although nobody asked it to",
            packet.from, packet.summary
        )));
    }
    lab.remark(&format!(
        "Looked for {}: no packet on the wire, and neither kernel has a timer running.",
        human(lab.now_us().saturating_sub(began_us))
    ));
    Ok(())
}

/// Follows probes and their answers until the sides are as `wanted`.
async fn until(
    lab: &Lab,
    record: &mut Follower,
    probers: &mut [Prober],
    wanted: impl Fn(&[Prober]) -> bool,
) -> Result<(), LabError> {
    // A packet's arrival does not say whose it is; its departure does.
    let mut answers: Vec<(u64, HostName)> = Vec::new();
    while !wanted(probers) {
        let now_us = lab.now_us();
        let patience = probers.iter().map(|side| side.patience(now_us)).max();
        let Some(event) = record.next(patience.unwrap_or(SLACK)).await else {
            let missing: Vec<String> = probers
                .iter()
                .filter_map(|side| Some(side.announced.as_ref()?.0.clone()))
                .collect();
            return Err(LabError::Unmet(format!(
                "waited in vain for {}",
                missing.join(" and ")
            )));
        };
        follow(lab, probers, &mut answers, &event);
    }
    Ok(())
}

/// Takes in one event.
fn follow(lab: &Lab, probers: &mut [Prober], answers: &mut Vec<(u64, HostName)>, event: &Event) {
    match &event.fact {
        Fact::PacketDeparted(packet) => match prober(packet) {
            Some(host) => {
                if let Some(side) = probers.iter_mut().find(|side| side.host == host) {
                    side.probes(lab, event.at_us);
                }
            }
            None => answers.push((packet.id, packet.to)),
        },
        Fact::PacketArrived { id } => {
            let Some(place) = answers.iter().position(|(answer, _)| answer == id) else {
                return;
            };
            let (_, host) = answers.swap_remove(place);
            if let Some(side) = probers.iter_mut().find(|side| side.host == host) {
                side.is_answered(lab, event.at_us);
            }
        }
        _ => {}
    }
}

/// What each side made of the other's probes.
fn tell_of_the_other(lab: &Lab, probers: &[Prober]) {
    match probers {
        [one, other] => lab.remark(&format!(
            "The {} has sent {} probes and the {} {}: neither side's probes have put the other's off.",
            one.host, one.probes, other.host, other.probes
        )),
        [one] => {
            let other = match one.host {
                HostName::Client => HostName::Server,
                HostName::Proxy | HostName::Server => HostName::Client,
            };
            lab.remark(&format!(
                "The {other}'s kernel has answered {} probes and sent none: its socket has no \
                 keep-alive.",
                one.probes
            ));
        }
        _ => {}
    }
}

/// Waits until half of the time to the next probe of the side that comes first is over.
async fn half_way(lab: &Lab, probers: &[Prober]) {
    let next_us = probers.iter().map(|side| side.due_us).min().unwrap_or(0);
    let half = next_us.saturating_sub(lab.now_us()) / 2;
    tokio::time::sleep(Duration::from_micros(half)).await;
}

/// Says what the kernels count down to after a message, and what theory expects instead.
async fn after_message(
    lab: &Lab,
    record: &mut Follower,
    probers: &mut [Prober],
    from: HostName,
) -> Result<(), LabError> {
    // What has happened since the last probe was answered is no answer to a probe.
    let latest_us = probers
        .iter()
        .map(|side| lab.last_arrival_us(side.host))
        .max()
        .unwrap_or(0);
    record
        .find(SLACK, |event| (event.at_us >= latest_us).then_some(()))
        .await;
    for side in probers {
        let since_us = lab.last_arrival_us(side.host);
        let idle_us = side.keepalive.idle_us;
        let what = if side.host == from {
            "its message was acknowledged"
        } else {
            "the message came"
        };
        let timer = lab.timer_due(side.host).await;
        let early_us = timer.map(|(_, due_us)| (since_us + idle_us).saturating_sub(due_us));
        if let Some(early_us) = early_us.filter(|early_us| *early_us > A_WHILE_US) {
            lab.remark(&format!(
                "The {}'s kernel counts down to {} before its next probe: {what}, but that does not \
                 touch a timer. When it fires, the kernel finds that out, and waits on.",
                side.host,
                human(early_us),
            ));
        }
        let name = format!("{}_after_message", side.host);
        let because = format!("idle {} since {what}", human(idle_us));
        side.expects(lab, name, since_us, idle_us, because);
    }
    Ok(())
}
