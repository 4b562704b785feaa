//! `tcp-syn-blackhole`: how long can connect() hang?

use std::{collections::BTreeMap, io, time::Duration};

use linger_shared::{
    event::{HostName, Mode},
    experiment::{Descriptor, Finding, Param, Params},
    rule::{Act, Flag, Match, Refusal, RuleSpec},
    theory::{
        handshake, refusal,
        syn::{self, Ladder},
    },
    units::human,
};

use super::{Experiment, Script, claim, paragraphs, preset, reference};
use crate::{
    endpoints::{Connection, Dial, errno_name},
    hosts,
    lab::{Lab, LabError, Plan},
};

const PORT: u16 = 7654;

/// Another port than the one that is called.
const OTHER_PORT: u16 = 7655;

/// Where on the way a rule's refusal sets out: half-way.
const PLACE: f64 = 0.5;

/// The sysctl that Linux has since 6.5.
const LINEAR: &str = "tcp_syn_linear_timeouts";

pub(super) struct TcpSynBlackhole;

impl Experiment for TcpSynBlackhole {
    fn id(&self) -> &'static str {
        "tcp-syn-blackhole"
    }

    fn descriptor(&self) -> Descriptor {
        Descriptor {
            id: self.id().to_owned(),
            title: "A SYN into a black hole".to_owned(),
            question: "How long can connect() hang?".to_owned(),
            family: "TCP".to_owned(),
            modes: vec![Mode::Packets],
            explanation: paragraphs(&[
                "connect() sends a SYN and waits for the answer. Where a firewall drops the SYN \
                 without a word, or no host has the address, there is no answer, and the kernel \
                 sends the SYN again: after 1 s at first (RFC 6298), then at intervals that double. \
                 When the last one has had its time, connect() fails with ETIMEDOUT.",
                "Linux sends it again tcp_syn_retries times, 6 by default: after 1, 3, 7, 15, 31 and \
                 63 s, and gives up after 127 s. That is what older texts say, and what kernels before \
                 6.5 do. Since then tcp_syn_linear_timeouts retransmissions, 4 by default, come \
                 first, a second apart, and do not count: ten retransmissions, and ETIMEDOUT after \
                 131 s. The defaults here are 2 and 2: ETIMEDOUT after 9 s stands for 131 s.",
                "There is a second limit, which tcp_syn_retries sets as well: the time that its \
                 doublings alone would take, 127 s for 6 (retransmits_timed_out in \
                 net/ipv4/tcp_timer.c). It is looked at when the timer fires. With many linear \
                 retransmissions and few doubled ones it ends the attempt before their number does.",
                "The kernel's timers are late by up to an eighth of their length, and never early: \
                 long timers share coarse slots of a timer wheel (kernel/time/timer.c). What is \
                 predicted counts the mean of that lateness in.",
                "Whoever refuses instead of being silent is heard at once: an RST, from a host where \
                 nobody listens or from a firewall in its name, and any ICMP destination unreachable \
                 end the attempt as soon as they arrive. Which errno the application gets depends on \
                 the kind.",
            ]),
            look_for: paragraphs(&[
                "the SYNs that leave and are dropped half-way, and the times between them",
                "the kernel's socket in SYN_SENT, with its retransmission timer",
                "ETIMEDOUT one time-out after the last SYN, and not with it",
                "with a refusal: one SYN, one answer, and an errno after half a round trip",
            ]),
            misconception: "\"connect() fails when the server cannot be reached.\" It fails when \
                            somebody says so. Where nobody does, it hangs for two minutes, and the \
                            program with it, unless it brings a time-out of its own."
                .to_owned(),
            params: vec![
                Param::choice(
                    "wall",
                    &[
                        "silence",
                        "rst",
                        "port-unreachable",
                        "host-unreachable",
                        "net-unreachable",
                        "admin-prohibited",
                        "nobody-listens",
                        "other-port",
                    ],
                    "what the SYN meets: a rule that drops it, one that refuses it with an RST or an \
                     ICMP error, a server where nobody listens, or a rule that drops the SYNs to \
                     another port",
                ),
                Param::integer(
                    "syn_retries",
                    "retransmissions",
                    2,
                    1,
                    12,
                    "tcp_syn_retries of the client: retransmissions whose time-out doubles",
                ),
                Param::integer(
                    "linear",
                    "retransmissions",
                    2,
                    0,
                    20,
                    "tcp_syn_linear_timeouts of the client: retransmissions a second apart that come \
                     before those; kernels before 6.5 have none",
                ),
                Param::duration(
                    "patience",
                    0,
                    0,
                    3_600_000_000,
                    "after which time the application gives up by itself; 0 leaves it to the kernel",
                ),
                Param::duration("delay", 20_000, 0, 400_000, "one-way delay of the link"),
            ],
            presets: vec![
                preset(
                    "Linux's defaults",
                    "6 and 4: ETIMEDOUT after 131 s",
                    &[("syn_retries", "6"), ("linear", "4")],
                ),
                preset(
                    "Linux's defaults before 6.5",
                    "6 and 0: ETIMEDOUT after 127 s, as textbooks have it",
                    &[("syn_retries", "6"), ("linear", "0")],
                ),
                preset(
                    "textbook, scaled",
                    "2 and 0: after 1 and 3 s, ETIMEDOUT after 7 s",
                    &[("syn_retries", "2"), ("linear", "0")],
                ),
                preset(
                    "the time is over first",
                    "1 and 4: after two retransmissions 3 s are over, and the other three are never sent",
                    &[("syn_retries", "1"), ("linear", "4")],
                ),
                preset(
                    "an application's own time-out",
                    "it gives up after 2.5 s, between two SYNs; its kernel then stops, too",
                    &[("patience", "2500ms")],
                ),
                preset(
                    "nobody listens",
                    "the server's kernel answers with RST: ECONNREFUSED",
                    &[("wall", "nobody-listens")],
                ),
                preset(
                    "a firewall that rejects",
                    "ICMP port unreachable, the default of iptables' REJECT: ECONNREFUSED",
                    &[("wall", "port-unreachable")],
                ),
                preset(
                    "another port is blocked",
                    "the rule does not concern this connection",
                    &[("wall", "other-port")],
                ),
            ],
            claims: vec![
                claim(
                    "connect() to an address that swallows everything fails after 127 s on Linux.",
                    Finding::Depends,
                    "With tcp_syn_retries 6 and no linear retransmissions it is 127 s. Kernels since \
                     6.5 send the SYN four times more by default, and it is 131 s.",
                    &[("syn_retries", "6"), ("linear", "0")],
                ),
                claim(
                    "tcp_syn_retries says how often a SYN is sent again.",
                    Finding::Depends,
                    "Those of tcp_syn_linear_timeouts come on top: with 2 and 2 it is sent again four \
                     times. But the time that the doublings would take is a limit, too: with 1 and \
                     4 the SYN is sent again twice.",
                    &[],
                ),
                claim(
                    "A refused connection fails at once.",
                    Finding::Confirmed,
                    "One SYN and one answer: an RST or any ICMP destination unreachable ends \
                     connect() when it arrives.",
                    &[("wall", "rst")],
                ),
                claim(
                    "ECONNREFUSED means that the host is there and nobody listens.",
                    Finding::Depends,
                    "A firewall's RST in the host's name, or its ICMP port unreachable, gives the \
                     same errno.",
                    &[("wall", "port-unreachable")],
                ),
            ],
            references: vec![
                reference(
                    "RFC 6298: computing TCP's retransmission timer",
                    "https://www.rfc-editor.org/rfc/rfc6298",
                ),
                reference(
                    "RFC 1122, section 4.2.3.5: TCP connection failures",
                    "https://www.rfc-editor.org/rfc/rfc1122#section-4.2.3.5",
                ),
                reference(
                    "RFC 5461: TCP's reaction to soft errors",
                    "https://www.rfc-editor.org/rfc/rfc5461",
                ),
                reference(
                    "Linux, ip-sysctl: tcp_syn_retries, tcp_syn_linear_timeouts",
                    "https://docs.kernel.org/networking/ip-sysctl.html",
                ),
            ],
        }
    }

    fn plan(&self, params: &Params) -> Plan {
        let delay = params.duration_us("delay");
        let mut sysctls = BTreeMap::from([(
            "tcp_syn_retries".to_owned(),
            params.integer("syn_retries").to_string(),
        )]);
        if hosts::has_sysctl(LINEAR) {
            sysctls.insert(LINEAR.to_owned(), params.integer("linear").to_string());
        }
        let ladder = Ladder {
            retries: params.integer("syn_retries"),
            linear: params.integer("linear"),
            rto_max_us: syn::RTO_MAX_US,
        };
        let lasts = match patience_us(params) {
            Some(patience) => patience.min(ladder.gives_up_us()),
            None => ladder.gives_up_us(),
        };
        Plan {
            host_sysctls: BTreeMap::from([(HostName::Client, sysctls)]),
            ..Plan::symmetric(delay, lasts + 20 * delay)
        }
    }

    fn run<'a>(&'a self, lab: &'a mut Lab, params: &'a Params) -> Script<'a> {
        Box::pin(script(lab, params))
    }
}

/// The application's own patience, in microseconds.
fn patience_us(params: &Params) -> Option<u64> {
    Some(params.duration_us("patience")).filter(|&patience| patience > 0)
}

/// The ladder of the client's live sysctls.
fn ladder_of(lab: &Lab, params: &Params) -> Ladder {
    let live = |name| lab.sysctl(HostName::Client, name);
    Ladder {
        retries: live("tcp_syn_retries").unwrap_or_else(|| params.integer("syn_retries")),
        linear: live(LINEAR).unwrap_or(0),
        rto_max_us: live("tcp_rto_max_ms").map_or(syn::RTO_MAX_US, |ms| ms * 1_000),
    }
}

fn refusal_of(wall: &str) -> Option<Refusal> {
    Refusal::NAMES
        .iter()
        .find(|(_, name)| *name == wall)
        .map(|(refusal, _)| *refusal)
}

/// The rule that the SYN meets, if there is one.
fn rule_of(wall: &str) -> Option<RuleSpec> {
    let syn = |port| Match {
        from: Some(HostName::Client),
        with: vec![Flag::Syn],
        port: Some(port),
        ..Match::default()
    };
    let rule = match wall {
        "nobody-listens" => return None,
        "silence" => RuleSpec::new(syn(PORT), Act::Drop {}),
        "other-port" => RuleSpec::new(syn(OTHER_PORT), Act::Drop {}),
        refused => {
            let with = refusal_of(refused)?;
            RuleSpec::new(syn(PORT), Act::Reject { with })
        }
    };
    Some(RuleSpec {
        name: "firewall".to_owned(),
        ..rule
    })
}

async fn script(lab: &mut Lab, params: &Params) -> Result<(), LabError> {
    let wall = params.choice("wall");
    let delay = params.duration_us("delay");

    lab.chapter("Set up what the SYN will meet");
    let listener = match wall {
        "nobody-listens" => None,
        _ => Some(lab.server().listen(PORT).await?),
    };
    if let Some(rule) = rule_of(wall) {
        lab.arm(rule)?.stay();
    }

    lab.chapter("Connect");
    let began = lab.now_us();
    if wall == "silence" {
        return hang(lab, params, began).await;
    }
    let (name, predicted, because, errno) = match (wall, refusal_of(wall)) {
        (_, Some(refusal)) => {
            let errno = refusal::connect_errno(refusal);
            let because = format!("the refusal comes from half-way: {errno}");
            let told = refusal::told_us(PLACE, delay, delay);
            ("refused", told, because, Some(errno))
        }
        ("nobody-listens", None) => (
            "refused",
            handshake::connect_us(delay, delay),
            "SYN there and RST back: ECONNREFUSED".to_owned(),
            Some("ECONNREFUSED"),
        ),
        _ => (
            "connect",
            handshake::connect_us(delay, delay),
            format!("SYN there and SYN-ACK back: 2 x {}", human(delay)),
            None,
        ),
    };
    lab.expect_after(name, began, predicted, because);
    let connected = dial(lab, params).await?;
    let ended = lab.now_us();
    lab.measure(name, Some(predicted), Some(ended - began), ended);
    if let (Ok(_), Some(listener)) = (&connected, &listener) {
        // So that the server's application has its end of it, too.
        Connection::accept(listener).await?;
    }
    lab.remark(&told(&connected, errno));
    Ok(())
}

/// What `connect()` gave, beside what it was to give.
fn told(connected: &io::Result<Connection>, errno: Option<&str>) -> String {
    match (connected, errno) {
        (Ok(_), None) => "The rule is about another port: connect() succeeds.".to_owned(),
        (Ok(_), Some(errno)) => format!("connect() succeeds where {errno} was predicted."),
        (Err(error), Some(errno)) if errno_name(error) == errno => {
            format!("connect() fails with {errno}, as predicted, after a single SYN.")
        }
        (Err(error), _) => format!("connect() fails with {}.", errno_name(error)),
    }
}

async fn dial(lab: &Lab, params: &Params) -> Result<io::Result<Connection>, LabError> {
    let dial = Dial {
        patience: patience_us(params).map(Duration::from_micros),
        ..Dial::default()
    };
    let to = (lab.server().address(), PORT).into();
    Connection::dial(&lab.client(), to, &dial).await
}

/// Connects into silence: the ladder, and its end.
async fn hang(lab: &Lab, params: &Params, began: u64) -> Result<(), LabError> {
    let ladder = ladder_of(lab, params);
    let gives_up = ladder.gives_up(lab.tick_us()).expected_us;
    let patience = patience_us(params).filter(|&patience| patience < gives_up);
    let end = patience.unwrap_or(gives_up);
    // Retransmissions that leave before somebody gives up.
    let rungs: Vec<u64> = (1..=ladder.retransmissions())
        .map(|nth| ladder.retransmission(nth, lab.tick_us()).expected_us)
        .take_while(|&at| at < end)
        .collect();
    for ((nth, &at), waited) in (1..).zip(&rungs).zip(0..) {
        let wait = human(ladder.wait_us(waited));
        lab.expect_after(
            &format!("retransmission_{nth}"),
            began,
            at,
            format!("{wait} after the SYN before it, and the lateness of the timer wheel"),
        );
    }
    let name = match patience {
        Some(_) => "application_gives_up",
        None => "detection",
    };
    let because = match patience {
        Some(patience) => format!("the application's own {}", human(patience)),
        None => format!(
            "tcp_syn_retries {} and tcp_syn_linear_timeouts {}: {} retransmissions, and {} for an \
             answer to the last; {} in all, and the lateness of the timer wheel",
            ladder.retries,
            ladder.linear,
            ladder.retransmissions(),
            human(ladder.wait_us(ladder.retransmissions())),
            human(ladder.gives_up_us())
        ),
    };
    lab.expect_after(name, began, end, because);

    let connecting = dial(lab, params);
    let following = follow(lab, began, &rungs);
    tokio::pin!(connecting, following);
    // Whichever way connect() comes back, nothing is left to be followed then.
    let connected = tokio::select! {
        biased;
        connected = &mut connecting => connected?,
        () = &mut following => connecting.await?,
    };
    let ended = lab.now_us();
    lab.measure(name, Some(end), Some(ended - began), ended);
    match connected {
        Ok(_) => Err(LabError::Unmet(
            "connect() succeeded where every SYN was dropped".to_owned(),
        )),
        Err(_) => Ok(()),
    }
}

/// Measures each retransmission when it leaves.
async fn follow(lab: &Lab, began: u64, rungs: &[u64]) {
    for (nth, &predicted) in (1..=u8::MAX).zip(rungs) {
        let seen = lab
            .connections_until(HostName::Client, Duration::MAX, |sockets| {
                sockets.iter().any(|socket| socket.retries >= nth)
            })
            .await;
        let Some(seen) = seen else { return };
        lab.measure(
            &format!("retransmission_{nth}"),
            Some(predicted),
            Some(seen - began),
            seen,
        );
    }
    // The rest is connect()'s.
    std::future::pending::<()>().await;
}
