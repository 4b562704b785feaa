//! Who ended a connection, how, when, and what each end met: decided from what is known of it.
//!
//! Whatever ended it first decides. A FIN that its sender sent without having heard the other's,
//! while that one was still on its way, has crossed it: then both ended it. An RST with which a
//! kernel gives its peer up belongs to the giving up. What a rule sent in a host's name was not
//! sent by that host.

use std::collections::BTreeMap;

use linger_shared::event::{Ending, HostName, Side};

use super::connection::{Connection, End, Sent, Unanswered};

/// Why a FIN was not the whole end: the other side sent none, and nothing else either.
pub(super) const HALF_CLOSED: &str = "the other side never closed";
/// Why the other side knows nothing of a FIN.
pub(super) const NEVER_ARRIVED: &str = "its FIN never arrived";
/// Why both ended a connection.
pub(super) const CROSSED: &str = "the FINs crossed";
/// Why an RST answers a SYN.
pub(super) const REFUSED: &str = "nobody listens there";

/// What happened to hosts, as far as it ends connections.
#[derive(Debug, Clone, Default)]
pub(super) struct Troubles {
    /// When each host lost its power, in microseconds.
    pub(super) power: BTreeMap<HostName, Vec<u64>>,
    /// Programs of each host that ended.
    pub(super) ended: BTreeMap<HostName, Vec<Ended>>,
}

/// The end of a program, as it was reported.
#[derive(Debug, Clone)]
pub(super) struct Ended {
    /// When, in microseconds.
    pub(super) at_us: u64,
    /// Whether a signal ended it, and not the program itself.
    pub(super) killed: bool,
    /// How, in words.
    pub(super) how: String,
}

impl Troubles {
    /// When a host first lost its power after `since_us`.
    fn power_lost(&self, host: HostName, since_us: u64) -> Option<u64> {
        self.power
            .get(&host)
            .and_then(|times| times.iter().copied().filter(|at| *at >= since_us).min())
    }

    /// How a program of a host had ended at about `at_us`, when a FIN or an RST left.
    fn program_ended(&self, host: HostName, at_us: u64) -> Option<&str> {
        /// How long a kernel may take to close what a dead program had open, in microseconds.
        const CLOSING_US: u64 = 1_000_000;
        /// How much later than that the end of a killed program may be reported, in microseconds:
        /// a kernel closes what a process had open before it tells its parent.
        const REPORTING_US: u64 = 100_000;
        self.ended.get(&host).and_then(|ends| {
            ends.iter()
                .rev()
                .find(|ended| {
                    let reporting = if ended.killed { REPORTING_US } else { 0 };
                    ended.at_us <= at_us.saturating_add(reporting)
                        && at_us.saturating_sub(ended.at_us) <= CLOSING_US
                })
                .map(|ended| ended.how.as_str())
        })
    }
}

/// Something that ends a connection.
struct Cause {
    at_us: u64,
    by: String,
    how: &'static str,
    because: String,
}

/// How a connection ended.
pub(super) fn judge(connection: &Connection, troubles: &Troubles) -> Ending {
    let mut causes: Vec<Cause> = Vec::new();
    for (end, peer) in both(connection) {
        causes.extend(causes_of(connection, end, peer, troubles));
    }
    // Of two at the same time the opener's counts: the sort is stable.
    causes.sort_by_key(|cause| cause.at_us);
    let first = causes.into_iter().next();
    let sides = both(connection)
        .map(|(end, peer)| side(connection, end, peer, troubles))
        .into();
    let (by, how, at_us, because) = match first {
        None => (
            "nobody".to_owned(),
            "silence",
            None,
            dropped(connection).unwrap_or_default(),
        ),
        Some(cause) if cause.how == "fin" && crossed(connection) => (
            "both".to_owned(),
            "fin",
            Some(cause.at_us),
            CROSSED.to_owned(),
        ),
        Some(cause) => (cause.by, cause.how, Some(cause.at_us), cause.because),
    };
    Ending {
        connection: connection.number,
        ended_by: by,
        how: how.to_owned(),
        at_us,
        because,
        sides,
    }
}

fn both(connection: &Connection) -> [(&End, &End); 2] {
    let [opener, acceptor] = &connection.ends;
    [(opener, acceptor), (acceptor, opener)]
}

/// What an end did, or what happened to it, that ends the connection.
fn causes_of(
    connection: &Connection,
    end: &End,
    peer: &End,
    troubles: &Troubles,
) -> impl Iterator<Item = Cause> {
    let by = || end.host.to_string();
    let program = |at_us| {
        troubles
            .program_ended(end.host, at_us)
            .filter(|_| end.closed_us.is_none())
            .unwrap_or_default()
            .to_owned()
    };
    let fin = end.fin.as_ref().map(|fin| Cause {
        at_us: fin.at_us,
        by: by(),
        how: "fin",
        because: match program(fin.at_us) {
            told if !told.is_empty() => told,
            _ if fin.lost && fin.arrived_us.is_none() => NEVER_ARRIVED.to_owned(),
            _ if peer.fin.is_none() && peer.rst.is_none() && peer.forged.is_none() => {
                HALF_CLOSED.to_owned()
            }
            _ => String::new(),
        },
    });
    let gave_up = gave_up(end, peer).map(|(at_us, errno, unanswered)| Cause {
        at_us,
        by: by(),
        how: "timeout",
        because: match unanswered.words() {
            Some(words) => words,
            // The errno alone says less than what was seen.
            None => errno.unwrap_or_default(),
        },
    });
    let rst = end
        .rst
        .as_ref()
        .filter(|_| gave_up.is_none())
        .map(|rst| Cause {
            at_us: rst.at_us,
            by: by(),
            how: "rst",
            because: match rst.answers {
                true => REFUSED.to_owned(),
                false => program(rst.at_us),
            },
        });
    let forged = end.forged.as_ref().map(|forged| Cause {
        at_us: forged.at_us,
        by: "middlebox".to_owned(),
        how: forged.how,
        because: forged.rule.clone(),
    });
    let unreachable = end.unreachable.as_ref().map(|told| Cause {
        at_us: told.at_us,
        by: match &told.rule {
            Some(_) => "middlebox".to_owned(),
            None => by(),
        },
        how: "icmp",
        because: told.rule.clone().unwrap_or_else(|| told.errno.clone()),
    });
    let power = troubles
        .power_lost(end.host, connection.opened_us)
        .map(|at_us| Cause {
            at_us,
            by: by(),
            how: "power",
            because: String::new(),
        });
    [fin, gave_up, rst, forged, unreachable, power]
        .into_iter()
        .flatten()
}

/// When an end's kernel gave its peer up, with the errno where the application was told, and what
/// had stayed unanswered.
fn gave_up(end: &End, peer: &End) -> Option<(u64, Option<String>, Unanswered)> {
    if let Some(told) = &end.gave_up {
        // The kernel may have given up long before anybody asked it.
        let rst = end.rst.as_ref().filter(|rst| rst.at_us <= told.at_us);
        let (at_us, unanswered) = rst.map_or((told.at_us, told.unanswered), |rst| {
            (rst.at_us, rst.unanswered)
        });
        return Some((at_us, Some(told.errno.clone()), unanswered));
    }
    // An application that asks nothing is told nothing, but its kernel says RST after the last probe.
    let closed_before = |at_us| end.closed_us.is_some_and(|closed| closed <= at_us);
    if let Some(rst) = &end.rst
        && rst.unanswered.probes > 0
        && !closed_before(rst.at_us)
    {
        return Some((rst.at_us, None, rst.unanswered));
    }
    // Retransmissions end without a word: the socket is gone, and nobody closed it.
    let ended_otherwise = end.fin.is_some()
        || end.rst.is_some()
        || end.unreachable.is_some()
        || [&peer.fin, &peer.rst]
            .into_iter()
            .flatten()
            .any(|sent| sent.arrived_us.is_some())
        || peer.forged.is_some();
    end.gone_us
        .filter(|_| !ended_otherwise && end.unanswered.words().is_some())
        .map(|at_us| (at_us, None, end.unanswered))
}

/// Whether both sent a FIN before they could have heard the other's.
fn crossed(connection: &Connection) -> bool {
    let [Some(one), Some(other)] = [&connection.ends[0].fin, &connection.ends[1].fin] else {
        return false;
    };
    let (first, second) = if one.at_us <= other.at_us {
        (one, other)
    } else {
        (other, one)
    };
    let still_on_its_way = match first.arrived_us {
        Some(arrived_us) => second.at_us <= arrived_us,
        // One that was lost has not crossed anything.
        None => !first.lost,
    };
    !second.answers && still_on_its_way
}

/// What explains silence: what was dropped.
fn dropped(connection: &Connection) -> Option<String> {
    let mut by_rule: BTreeMap<&str, u64> = BTreeMap::new();
    for end in &connection.ends {
        for (rule, number) in &end.dropped {
            *by_rule.entry(rule).or_default() += number;
        }
    }
    let told: Vec<String> = by_rule
        .into_iter()
        .map(|(rule, number)| match number {
            1 => format!("1 packet dropped by `{rule}`"),
            _ => format!("{number} packets dropped by `{rule}`"),
        })
        .collect();
    (!told.is_empty()).then(|| told.join(", "))
}

/// What one end met first.
fn side(connection: &Connection, end: &End, peer: &End, troubles: &Troubles) -> Side {
    let mut met: Vec<(u64, String)> = Vec::new();
    let gave_up = gave_up(end, peer);
    if let Some(at_us) = troubles.power_lost(end.host, connection.opened_us) {
        met.push((at_us, "lost power".to_owned()));
    }
    if let Some((at_us, _, _)) = &gave_up {
        met.push((*at_us, "gave up".to_owned()));
    }
    if let Some(fin) = &end.fin {
        met.push((fin.at_us, "sent FIN".to_owned()));
    }
    if let Some(rst) = end.rst.as_ref().filter(|_| gave_up.is_none()) {
        met.push((rst.at_us, "sent RST".to_owned()));
    }
    let received = |sent: &Option<Sent>, what: &str| {
        let at_us = sent.as_ref()?.arrived_us?;
        Some((at_us, format!("received {what}")))
    };
    met.extend(received(&peer.fin, "FIN"));
    met.extend(received(&peer.rst, "RST"));
    if let Some(forged) = &peer.forged
        && let Some(at_us) = forged.arrived_us
    {
        let what = forged.how.to_ascii_uppercase();
        met.push((at_us, format!("received {what} from `{}`", forged.rule)));
    }
    if let Some(told) = &end.unreachable {
        met.push((told.at_us, "received ICMP".to_owned()));
    }
    met.sort();
    let (at_us, how) = match met.into_iter().next() {
        Some((at_us, how)) => (Some(at_us), how),
        None => (None, "nothing".to_owned()),
    };
    Side {
        host: end.host,
        towards: peer.host,
        saw: end
            .learnt
            .as_ref()
            .map_or_else(String::new, |learnt| learnt.text.clone()),
        how,
        at_us,
        saw_at_us: end.learnt.as_ref().map(|learnt| learnt.at_us),
        state: end.state.to_owned(),
    }
}
