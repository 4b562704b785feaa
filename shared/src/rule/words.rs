//! A rule in plain words, as the record tells it.

use std::fmt;

use super::{Act, Flag, Match, Refusal, Reply, RuleSpec};
use crate::units::human;

/// A kind of packet that has a name: what it is called in texts and in plain words, and what is
/// looked for.
pub(super) struct Kind {
    pub(super) text: &'static str,
    noun: &'static str,
    with: &'static [Flag],
    without: &'static [Flag],
    payload: Option<bool>,
}

/// The kinds that have names, those with the most demands first.
pub(super) const KINDS: [Kind; 8] = [
    Kind {
        text: "ack",
        noun: "bare ACK",
        with: &[Flag::Ack],
        without: &[Flag::Syn, Flag::Fin, Flag::Rst],
        payload: Some(false),
    },
    Kind {
        text: "syn-ack",
        noun: "SYN, ACK",
        with: &[Flag::Syn, Flag::Ack],
        without: &[],
        payload: None,
    },
    Kind {
        text: "syn",
        noun: "SYN",
        with: &[Flag::Syn],
        without: &[Flag::Ack],
        payload: None,
    },
    Kind {
        text: "fin",
        noun: "FIN",
        with: &[Flag::Fin],
        without: &[],
        payload: None,
    },
    Kind {
        text: "rst",
        noun: "RST",
        with: &[Flag::Rst],
        without: &[],
        payload: None,
    },
    Kind {
        text: "data",
        noun: "packet with data",
        with: &[],
        without: &[],
        payload: Some(true),
    },
    Kind {
        text: "empty",
        noun: "segment without data",
        with: &[],
        without: &[],
        payload: Some(false),
    },
    Kind {
        text: "packet",
        noun: "packet",
        with: &[],
        without: &[],
        payload: None,
    },
];

impl Kind {
    /// The kind that demands exactly what a match does, or else the one that demands its payload
    /// alone; then the flags are still to be told.
    pub(super) fn of(matches: &Match) -> (&'static Self, bool) {
        let whole = KINDS.iter().find(|kind| {
            kind.with == matches.with
                && kind.without == matches.without
                && kind.payload == matches.payload
        });
        let by_payload = || {
            KINDS
                .iter()
                .find(|kind| {
                    kind.with.is_empty()
                        && kind.without.is_empty()
                        && kind.payload == matches.payload
                })
                .unwrap_or(&KINDS[KINDS.len() - 1])
        };
        match whole {
            Some(kind) => (kind, true),
            None => (by_payload(), false),
        }
    }

    /// Adds what it demands to a match.
    pub(super) fn demand(&self, matches: &mut Match) {
        matches.with.extend(self.with);
        matches.without.extend(self.without);
        if self.payload.is_some() {
            matches.payload = self.payload;
        }
    }
}

impl fmt::Display for RuleSpec {
    /// Plain words, such as `drops the next packet with data from server`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match &self.act {
            Act::Drop {} => "drops",
            Act::Reject { .. } => "rejects",
            Act::Answer { .. } => "answers",
            Act::Delay { .. } => "delays",
        })?;
        let matches = &self.matches;
        let (noun, plural) = noun(matches);
        let nth = matches.nth;
        match (nth, self.times) {
            (1, None) => write!(f, " every {noun}"),
            (1, Some(1)) => write!(f, " the next {noun}"),
            (1, Some(times)) => write!(f, " the next {times} {plural}"),
            (_, Some(1)) => write!(f, " the {} {noun}", ordinal(nth)),
            (_, None) => write!(f, " every {noun} from the {} on", ordinal(nth)),
            (_, Some(times)) => write!(f, " {times} {plural} from the {} on", ordinal(nth)),
        }?;
        if let Some(from) = matches.from {
            write!(f, " sent by {from}")?;
        }
        if let Some(to) = matches.to {
            write!(f, " to {to}")?;
        }
        if let Some(port) = matches.port {
            write!(f, " on port {port}")?;
        }
        if let Some(text) = &matches.contains {
            write!(f, " containing `{}`", text.escape_debug())?;
        }
        match &self.act {
            Act::Drop {} => Ok(()),
            Act::Reject { with } => write!(f, " with {}", refusal(*with)),
            Act::Answer { with: Reply::Rst } => f.write_str(" with an RST in the receiver's name"),
            Act::Answer {
                with: Reply::Text(text),
            } => write!(f, " with {} bytes in the receiver's name", text.len()),
            Act::Delay { by_us } => write!(f, " by {}", human(*by_us)),
        }
    }
}

fn refusal(refusal: Refusal) -> &'static str {
    match refusal {
        Refusal::Rst => "an RST",
        Refusal::RstBoth => "an RST to either side",
        Refusal::NetUnreachable => "ICMP network unreachable",
        Refusal::HostUnreachable => "ICMP host unreachable",
        Refusal::PortUnreachable => "ICMP port unreachable",
        Refusal::AdminProhibited => "ICMP administratively prohibited",
    }
}

/// What packets are called, one and many of them.
fn noun(matches: &Match) -> (String, String) {
    let (kind, whole) = Kind::of(matches);
    let many = |noun: &str| match noun.split_once(' ') {
        Some((head @ ("packet" | "segment"), rest)) => format!("{head}s {rest}"),
        _ => format!("{noun}s"),
    };
    let (mut one, mut plural) = (kind.noun.to_owned(), many(kind.noun));
    if !whole {
        let mut flags = String::new();
        for (word, which) in [("with", &matches.with), ("without", &matches.without)] {
            let names: Vec<String> = which
                .iter()
                .map(|flag| flag.as_str().to_uppercase())
                .collect();
            if !names.is_empty() {
                flags.push_str(&format!(" {word} {} set", names.join(", ")));
            }
        }
        one.push_str(&flags);
        plural.push_str(&flags);
    }
    (one, plural)
}

/// `1st`, `2nd`, `3rd`, `4th`, `11th`, ...
pub(super) fn ordinal(number: u32) -> String {
    let ending = match (number % 10, number % 100) {
        (_, 11..=13) => "th",
        (1, _) => "st",
        (2, _) => "nd",
        (3, _) => "rd",
        _ => "th",
    };
    format!("{number}{ending}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rules_are_told_in_plain_words() {
        for (text, words) in [
            (
                "drop next data from server",
                "drops the next packet with data sent by server",
            ),
            (
                "reject rst syn from client",
                "rejects every SYN sent by client with an RST",
            ),
            (
                "delay 200ms data from client times 3",
                "delays the next 3 packets with data sent by client by 200 ms",
            ),
            (
                "drop 3rd data containing \"GET /3\"",
                "drops the 3rd packet with data containing `GET /3`",
            ),
            (
                "drop 2nd+ ack to server port 80",
                "drops every bare ACK from the 2nd on to server on port 80",
            ),
            (
                "reject host-unreachable 11th+ packet times 2",
                "rejects 2 packets from the 11th on with ICMP host unreachable",
            ),
            (
                "answer \"hi\\r\\n\" next data with psh without fin",
                "answers the next packet with data with PSH set without FIN set with 4 bytes in the \
                 receiver's name",
            ),
        ] {
            let rule: RuleSpec = text
                .parse()
                .unwrap_or_else(|error| panic!("{text}: {error}"));
            assert_eq!(rule.to_string(), words, "{text}");
        }
    }

    #[test]
    fn numbers_have_their_endings() {
        let told: Vec<String> = [1, 2, 3, 4, 11, 12, 13, 21, 102, 111].map(ordinal).into();
        assert_eq!(
            told,
            [
                "1st", "2nd", "3rd", "4th", "11th", "12th", "13th", "21st", "102nd", "111th"
            ]
        );
    }
}
