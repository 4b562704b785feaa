//! `path-drop-or-reject`: drop or reject?

use std::{collections::BTreeMap, io, time::Duration};

use linger_shared::{
    event::{HostName, Mode},
    experiment::{Descriptor, Finding, Param, Params},
    rule::{Act, Match, Refusal, RuleSpec},
    theory::{
        handshake, refusal,
        retransmission::{RTO_MAX_US, RTO_MIN_US, Sender},
        syn,
        wheel::Spread,
    },
    units::human,
};

use super::{Experiment, Script, claim, paragraphs, preset, reference};
use crate::{
    endpoints::{Connection, Dial, ReadOutcome, errno_name},
    hosts,
    lab::{Lab, LabError, Listener, Plan},
};

const PORT: u16 = 7654;

/// Another port than the one that is used.
const OTHER_PORT: u16 = 7655;

/// Where on the way a rule's refusal sets out: half-way.
const PLACE: f64 = 0.5;

/// What the old connection says.
const WORDS: &[u8] = b"anybody there?";

pub(super) struct PathDropOrReject;

impl Experiment for PathDropOrReject {
    fn id(&self) -> &'static str {
        "path-drop-or-reject"
    }

    fn descriptor(&self) -> Descriptor {
        Descriptor {
            id: self.id().to_owned(),
            title: "Drop or reject".to_owned(),
            question: "Drop or reject?".to_owned(),
            family: "Path".to_owned(),
            modes: vec![Mode::Packets],
            explanation: paragraphs(&[
                "A firewall that does not want a packet can say so or not. It can drop it: then the \
                 sender learns nothing and tries again until its own patience is over. It can answer \
                 with a TCP reset in the receiver's name, or with one of several kinds of ICMP \
                 destination unreachable. The same rule is met here by two connections at once: one \
                 that is open already and one that is to be opened.",
                "A new connection takes every refusal at its word. connect() fails as soon as the \
                 refusal arrives: with ECONNREFUSED for an RST or ICMP port unreachable, with \
                 EHOSTUNREACH or ENETUNREACH for the others. Only silence makes it wait, here for \
                 some 3 s (tcp_syn_retries 1), by Linux's defaults for more than two minutes.",
                "An open connection believes nothing but an RST, which ends it at once. RFC 1122 and \
                 RFC 5461 call ICMP errors soft: a router's hiccup, or a forged packet, is not to \
                 kill connections that may recover. Linux remembers the error, goes on \
                 retransmitting, and when it gives up tells the errno that it remembered instead of \
                 ETIMEDOUT. (RFC 1122 wanted port unreachable to be a hard error; Linux does not \
                 follow it there.)",
                "ICMP host and network unreachable change one thing more: they take the doubling of \
                 the retransmission time-out back (RFC 6069), so that the data is sent again at a \
                 steady pace, and a path that heals is found sooner. Giving up takes tcp_retries2 15 \
                 or about 940 s by default; 3 here makes some 4 s.",
            ]),
            look_for: paragraphs(&[
                "how long the new connection's connect() takes, and its errno",
                "the old connection's retransmissions, which ICMP does not stop",
                "the errno at its end: the refusal's own, not ETIMEDOUT",
                "with host unreachable: retransmissions at a steady pace instead of doubling gaps",
                "with a rule that is lifted in time: the old connection goes on as if nothing had \
                 been, except after an RST",
            ]),
            misconception: "\"A firewall that rejects spares everybody the waiting.\" It spares new \
                            connections the waiting. Those that are open wait as long as behind one \
                            that drops, unless it rejects with RST, and then they cannot recover."
                .to_owned(),
            params: vec![
                Param::choice(
                    "rule",
                    &[
                        "port-unreachable",
                        "silence",
                        "rst",
                        "rst-both",
                        "host-unreachable",
                        "net-unreachable",
                        "admin-prohibited",
                        "other-port",
                    ],
                    "what becomes of the client's packets: refused with an ICMP error, dropped \
                     without a word, refused with a reset to the client or to both ends; or the rule \
                     is about another port",
                ),
                Param::choice(
                    "connection",
                    &["both", "old", "new"],
                    "which connections meet the rule: one that is open already, a new one, or both",
                ),
                Param::duration(
                    "lifted_after",
                    0,
                    0,
                    3_600_000_000,
                    "when the rule is lifted again; 0 leaves it in place",
                ),
                Param::integer(
                    "retries",
                    "retries",
                    3,
                    1,
                    15,
                    "tcp_retries2 of the client: how long the old connection retransmits; 3 stand \
                     for Linux's 15",
                ),
                Param::integer(
                    "syn_retries",
                    "retransmissions",
                    1,
                    1,
                    6,
                    "tcp_syn_retries of the client, without linear ones; 1 stands for Linux's 6",
                ),
                Param::duration("delay", 20_000, 1_000, 400_000, "one-way delay of the link"),
            ],
            presets: vec![
                preset("drop", "silence: both wait", &[("rule", "silence")]),
                preset(
                    "reject with RST",
                    "both fail at once, and the server's end of the old one knows nothing",
                    &[("rule", "rst")],
                ),
                preset(
                    "reset to both ends",
                    "as some middleboxes do",
                    &[("rule", "rst-both")],
                ),
                preset(
                    "no route to host",
                    "retransmissions that do not back off (RFC 6069)",
                    &[("rule", "host-unreachable")],
                ),
                preset(
                    "rejected for a moment",
                    "ICMP, and then the rule is lifted: the old connection recovers, the new one has \
                     failed",
                    &[("lifted_after", "700ms")],
                ),
                preset(
                    "dropped for a moment",
                    "silence, and then the rule is lifted: both recover",
                    &[("rule", "silence"), ("lifted_after", "700ms")],
                ),
                preset(
                    "Linux's patience",
                    "tcp_retries2 15 and tcp_syn_retries 6: a quarter of an hour and two minutes",
                    &[("rule", "silence"), ("retries", "15"), ("syn_retries", "6")],
                ),
                preset(
                    "another port is blocked",
                    "the rule does not concern these connections",
                    &[("rule", "other-port")],
                ),
            ],
            claims: vec![
                claim(
                    "A firewall that rejects fails connections at once.",
                    Finding::Depends,
                    "New ones, yes. One that is open goes on retransmitting after any ICMP error \
                     until its kernel gives up; only an RST ends it at once.",
                    &[],
                ),
                claim(
                    "An established connection that gives up fails with ETIMEDOUT.",
                    Finding::Depends,
                    "After silence it does. After ICMP errors the last of them names the errno: \
                     ECONNREFUSED for port unreachable, on a connection that was open.",
                    &[],
                ),
                claim(
                    "ICMP port unreachable aborts an established connection (RFC 1122).",
                    Finding::Refuted,
                    "Linux takes it for a soft error like the others: once the rule is lifted, the \
                     connection goes on.",
                    &[("connection", "old"), ("lifted_after", "700ms")],
                ),
                claim(
                    "The retransmission time-out doubles each time.",
                    Finding::Depends,
                    "Not while ICMP host or network unreachable comes back: each takes a doubling \
                     back.",
                    &[("rule", "host-unreachable"), ("connection", "old")],
                ),
            ],
            references: vec![
                reference(
                    "RFC 5461: TCP's reaction to soft errors",
                    "https://www.rfc-editor.org/rfc/rfc5461",
                ),
                reference(
                    "RFC 1122, section 4.2.3.9: ICMP messages",
                    "https://www.rfc-editor.org/rfc/rfc1122#section-4.2.3.9",
                ),
                reference(
                    "RFC 6069: making TCP more robust to long connectivity disruptions",
                    "https://www.rfc-editor.org/rfc/rfc6069",
                ),
                reference(
                    "Linux, ip-sysctl: tcp_retries2, tcp_syn_retries",
                    "https://docs.kernel.org/networking/ip-sysctl.html",
                ),
            ],
        }
    }

    fn plan(&self, params: &Params) -> Plan {
        let delay = params.duration_us("delay");
        let mut sysctls = BTreeMap::from([
            (
                "tcp_retries2".to_owned(),
                params.integer("retries").to_string(),
            ),
            (
                "tcp_syn_retries".to_owned(),
                params.integer("syn_retries").to_string(),
            ),
        ]);
        if hosts::has_sysctl("tcp_syn_linear_timeouts") {
            sysctls.insert("tcp_syn_linear_timeouts".to_owned(), "0".to_owned());
        }
        // What the time-out will be is not known yet; it is not twice this.
        let old = Sender {
            rto_us: RTO_MIN_US + 6 * delay,
            srtt_us: 2 * delay,
            rto_min_us: RTO_MIN_US,
            rto_max_us: RTO_MAX_US,
            tick_us: hosts::tick_us(),
            retries: u32::try_from(params.integer("retries")).unwrap_or(15),
            user_timeout_us: 0,
            loss_probe: true,
        }
        .ladder()
        .gives_up
        .latest_us
            * 2;
        let new = ladder_of(params).gives_up(hosts::tick_us()).latest_us;
        Plan {
            host_sysctls: BTreeMap::from([(HostName::Client, sysctls)]),
            ..Plan::symmetric(delay, old.max(new) + 20 * delay)
        }
    }

    fn run<'a>(&'a self, lab: &'a mut Lab, params: &'a Params) -> Script<'a> {
        Box::pin(script(lab, params))
    }
}

/// The new connection's ladder.
fn ladder_of(params: &Params) -> syn::Ladder {
    syn::Ladder {
        retries: params.integer("syn_retries"),
        linear: 0,
        rto_max_us: syn::RTO_MAX_US,
    }
}

/// What the rule does, as the connections meet it.
#[derive(Clone, Copy, PartialEq)]
enum Wall {
    /// It is about another port.
    None,
    Silence,
    Refusal(Refusal),
}

impl Wall {
    fn of(name: &str) -> Self {
        let refusal = Refusal::NAMES.iter().find(|(_, refusal)| *refusal == name);
        match (name, refusal) {
            (_, Some((refusal, _))) => Self::Refusal(*refusal),
            ("silence", None) => Self::Silence,
            _ => Self::None,
        }
    }

    fn rule(self) -> RuleSpec {
        let port = if self == Self::None { OTHER_PORT } else { PORT };
        let matches = Match {
            from: Some(HostName::Client),
            port: Some(port),
            ..Match::default()
        };
        let act = match self {
            Self::None | Self::Silence => Act::Drop {},
            Self::Refusal(with) => Act::Reject { with },
        };
        RuleSpec {
            name: "firewall".to_owned(),
            ..RuleSpec::new(matches, act)
        }
    }
}

/// What theory says of one connection: when it is over, and how.
struct Prediction {
    /// The measurement's name.
    name: &'static str,
    us: u64,
    because: String,
    /// The errno, where it fails.
    errno: Option<&'static str>,
}

/// The old connection's fate, from its write on.
fn predict_old(wall: Wall, sender: &Sender, lifted: u64, delay: u64) -> Prediction {
    let round_trip = 2 * delay;
    let ladder = match wall {
        Wall::None => {
            return Prediction {
                name: "old_answer",
                us: round_trip,
                because: "nothing is in the way: 1 round trip".to_owned(),
                errno: None,
            };
        }
        Wall::Refusal(refusal) if refusal::ends_established(refusal) => {
            return Prediction {
                name: "old_error",
                us: refusal::told_us(PLACE, delay, delay),
                because: "an RST ends an open connection when it arrives".to_owned(),
                errno: Some(refusal::established_errno(refusal)),
            };
        }
        Wall::Refusal(refusal) => refusal::refused_ladder(refusal, sender),
        Wall::Silence => sender.ladder(),
    };
    let times: Vec<u64> = ladder.retransmissions.iter().map(expected).collect();
    let steady = matches!(wall, Wall::Refusal(refusal) if refusal::reverts_backoff(refusal));
    // At a steady pace the next one is never far, however many went before.
    let soon = (steady && lifted > 0 && lifted < ladder.gives_up.expected_us)
        .then_some(lifted + sender.rto_us / 2);
    if let Some(us) = after_lifting(&times, lifted, ladder.gives_up).or(soon) {
        return Prediction {
            name: "old_answer",
            us: us + round_trip,
            because: "the first retransmission after the rule is lifted, and 1 round trip"
                .to_owned(),
            errno: None,
        };
    }
    let patience = human(sender.patience_us());
    let paced = if steady { "steady" } else { "doubling" };
    let (errno, told) = match wall {
        Wall::Refusal(refusal) => (
            refusal::established_errno(refusal),
            "; then the remembered errno",
        ),
        _ => ("ETIMEDOUT", ""),
    };
    Prediction {
        name: "old_error",
        us: ladder.gives_up.expected_us,
        because: format!(
            "{paced} retransmissions (RTO {}) until {patience} (tcp_retries2 {}) have passed since \
             the first counted one{told}",
            human(sender.rto_us),
            sender.retries
        ),
        errno: Some(errno),
    }
}

/// The new connection's fate, from `connect()` on.
fn predict_new(wall: Wall, ladder: syn::Ladder, tick: u64, lifted: u64, delay: u64) -> Prediction {
    let round_trip = handshake::connect_us(delay, delay);
    match wall {
        Wall::None => Prediction {
            name: "new_connect",
            us: round_trip,
            because: "nothing is in the way: 1 round trip".to_owned(),
            errno: None,
        },
        Wall::Refusal(refusal) => Prediction {
            name: "new_error",
            us: refusal::told_us(PLACE, delay, delay),
            because: "connect() takes every refusal at its word".to_owned(),
            errno: Some(refusal::connect_errno(refusal)),
        },
        Wall::Silence => {
            let times: Vec<u64> = (1..=ladder.retransmissions())
                .map(|nth| ladder.retransmission(nth, tick).expected_us)
                .collect();
            let gives_up = ladder.gives_up(tick);
            match after_lifting(&times, lifted, gives_up) {
                Some(us) => Prediction {
                    name: "new_connect",
                    us: us + round_trip,
                    because: "the first SYN after the rule is lifted, and 1 round trip".to_owned(),
                    errno: None,
                },
                None => Prediction {
                    name: "new_error",
                    us: gives_up.expected_us,
                    because: format!(
                        "tcp_syn_retries {}: {} for the last SYN to be answered",
                        ladder.retries,
                        human(ladder.wait_us(ladder.retransmissions()))
                    ),
                    errno: Some("ETIMEDOUT"),
                },
            }
        }
    }
}

fn expected(spread: &Spread) -> u64 {
    spread.expected_us
}

/// The first retransmission that the rule does not meet any more; `None` where the rule stays or
/// the kernel gives up before.
fn after_lifting(times: &[u64], lifted: u64, gives_up: Spread) -> Option<u64> {
    if lifted == 0 || lifted >= gives_up.expected_us {
        return None;
    }
    times.iter().copied().find(|&at| at > lifted)
}

async fn script(lab: &mut Lab, params: &Params) -> Result<(), LabError> {
    let wall = Wall::of(params.choice("rule"));
    let delay = params.duration_us("delay");
    let lifted = params.duration_us("lifted_after");
    let connection = params.choice("connection");

    lab.chapter("Open the server, and what is to be the old connection");
    let listener = lab.server().listen(PORT).await?;
    let old = if connection == "new" {
        None
    } else {
        let (mut client, mut server, _) = Connection::pair(&lab.client(), &listener, None).await?;
        Connection::greet(&mut client, &mut server).await?;
        lab.sender_at_rest(HostName::Server).await?;
        let sender = lab.sender_at_rest(HostName::Client).await?;
        let prediction = predict_old(wall, &sender, lifted, delay);
        Some((client, server, prediction))
    };

    lab.chapter("Put the rule in place");
    let rule = lab.arm(wall.rule())?;
    let began = lab.now_us();
    let mut rule = Some(rule);
    let lifting = async {
        if lifted > 0 {
            tokio::time::sleep(Duration::from_micros(lifted)).await;
            drop(rule.take());
        }
        std::future::pending::<()>().await;
    };
    if let Some((_, _, prediction)) = &old {
        foretell(lab, began, prediction);
    }
    let new = (connection != "old")
        .then(|| predict_new(wall, ladder_of(params), lab.tick_us(), lifted, delay));
    if let Some(prediction) = &new {
        foretell(lab, began, prediction);
    }
    let lab = &*lab;
    let both = async {
        tokio::try_join!(
            async {
                match old {
                    Some((client, server, prediction)) => {
                        talk(lab, wall, client, server, prediction, began).await
                    }
                    None => Ok(()),
                }
            },
            async {
                match new {
                    Some(prediction) => call(lab, &listener, prediction, began).await,
                    None => Ok(()),
                }
            }
        )
    };
    let done = tokio::select! {
        done = both => done.map(drop),
        () = lifting => Ok(()),
    };
    if let Some(rule) = rule {
        rule.stay();
    }
    done
}

fn foretell(lab: &Lab, began: u64, prediction: &Prediction) {
    let because = match prediction.errno {
        Some(errno) => format!("{}: {errno}", prediction.because),
        None => prediction.because.clone(),
    };
    lab.expect_after(prediction.name, began, prediction.us, because);
}

/// The old connection says something and waits for it to be repeated.
async fn talk(
    lab: &Lab,
    wall: Wall,
    mut client: Connection,
    mut server: Connection,
    prediction: Prediction,
    began: u64,
) -> Result<(), LabError> {
    let asking = async {
        client.write(WORDS).await?;
        let outcome = client.read().await;
        report(lab, "old", &prediction, began, ended(&outcome));
        Ok::<_, LabError>(client)
    };
    let repeating = async {
        while let ReadOutcome::Data(bytes) = server.read().await {
            server.write(&bytes).await?;
        }
        Ok::<_, LabError>(())
    };
    if wall == Wall::Refusal(Refusal::RstBoth) {
        // The server is told, too.
        return tokio::try_join!(asking, repeating).map(drop);
    }
    tokio::pin!(asking, repeating);
    tokio::select! {
        asked = &mut asking => asked.map(drop),
        repeated = &mut repeating => {
            repeated?;
            asking.await.map(drop)
        }
    }
}

fn ended(outcome: &ReadOutcome) -> Option<&io::Error> {
    match outcome {
        ReadOutcome::Failed(error) => Some(error),
        ReadOutcome::Data(_) | ReadOutcome::End => None,
    }
}

/// The new connection is opened, or not.
async fn call(
    lab: &Lab,
    listener: &Listener,
    prediction: Prediction,
    began: u64,
) -> Result<(), LabError> {
    let connected = Connection::dial(&lab.client(), listener.address(), &Dial::default()).await?;
    report(lab, "new", &prediction, began, connected.as_ref().err());
    if connected.is_ok() {
        Connection::accept(listener).await?;
    }
    Ok(())
}

/// Measures what came of a connection, and says whether it is what theory said.
fn report(lab: &Lab, which: &str, prediction: &Prediction, began: u64, error: Option<&io::Error>) {
    let now = lab.now_us();
    lab.measure(prediction.name, Some(prediction.us), Some(now - began), now);
    let seen = error.map(errno_name);
    let words = |errno: Option<&str>| match errno {
        Some(errno) => format!("fails with {errno}"),
        None => "succeeds".to_owned(),
    };
    let told = words(seen.as_deref());
    if seen.as_deref() == prediction.errno {
        lab.remark(&format!("The {which} connection {told}, as predicted."));
    } else {
        let predicted = words(prediction.errno);
        lab.remark(&format!(
            "The {which} connection {told}; predicted was that it {predicted}."
        ));
    }
}
