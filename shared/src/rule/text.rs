//! A rule as a line of text, for the command line and for buttons.
//!
//! ```text
//! ACT [WHICH] KIND [with FLAG,..] [without FLAG,..] [from HOST] [to HOST] [port N]
//!     [containing TEXT] [times N] [as NAME]
//!
//! ACT    drop | reject REFUSAL | answer rst | answer "TEXT" | delay DURATION
//! WHICH  every (the default) | next [N] | 3rd (that one alone) | 3rd+ (that one and all after it)
//! KIND   packet | data | empty | syn | syn-ack | ack | fin | rst
//! ```
//!
//! `drop next data from server`, `reject rst syn from client`, `delay 200ms data from client
//! times 3`. A text with spaces stands in double quotes, in which `\"`, `\\`, `\r`, `\n` and `\t`
//! are understood. [`RuleSpec::to_text`] writes what reads back as the same rule.

use std::str::FromStr;

use thiserror::Error;

use super::{
    Act, Flag, Match, Refusal, Reply, RuleError, RuleSpec,
    words::{KINDS, Kind, ordinal},
};
use crate::{
    event::HostName,
    units::{DurationError, format_duration, parse_duration},
};

/// Why a text is no rule.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum TextError {
    /// It begins with no act.
    #[error("`{0}` is no act: begin with drop, reject, answer or delay")]
    Act(String),
    /// Nobody is told in that way.
    #[error("`{0}` is no way to reject: write {names}", names = names(&Refusal::NAMES))]
    Refusal(String),
    /// No packets are called that.
    #[error("`{0}` is no kind of packet: write {kinds}", kinds = kinds())]
    Kind(String),
    /// No such flag.
    #[error("`{0}` is no flag: write {names}", names = names(&Flag::NAMES))]
    Flag(String),
    /// No such host.
    #[error("`{0}` is no host: write client, proxy or server")]
    Host(String),
    /// A number that is none.
    #[error("`{value}` after `{word}` is no number that is possible there")]
    Number {
        /// What it is for.
        word: &'static str,
        /// What stands there.
        value: String,
    },
    /// A delay that is none.
    #[error(transparent)]
    Duration(#[from] DurationError),
    /// Something is missing at the end.
    #[error("something is missing at the end: {0}")]
    Missing(&'static str),
    /// A word that means nothing where it stands.
    #[error(
        "`{0}` is not understood here: write with, without, from, to, port, containing, times or as"
    )]
    Word(String),
    /// Something is said twice.
    #[error("`{0}` is said twice")]
    Twice(&'static str),
    /// A quote without its end, or an escape that means nothing.
    #[error(
        "the quoted text {0} has no end, or a backslash before something else than \" \\ r n t"
    )]
    Quote(String),
    /// It reads well, but a value is out of its bounds.
    #[error(transparent)]
    Bounds(#[from] RuleError),
}

fn names<T>(named: &[(T, &'static str)]) -> String {
    let names: Vec<&str> = named.iter().map(|(_, name)| *name).collect();
    names.join(", ")
}

fn kinds() -> String {
    KINDS.map(|kind| kind.text).join(", ")
}

/// A word, or a text in quotes.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Token {
    text: String,
    quoted: bool,
}

impl Token {
    /// Whether it is this word.
    fn is(&self, word: &str) -> bool {
        !self.quoted && self.text == word
    }
}

fn tokens(line: &str) -> Result<Vec<Token>, TextError> {
    let mut tokens = Vec::new();
    let mut rest = line.trim_start();
    while !rest.is_empty() {
        let (token, after) = match rest.strip_prefix('"') {
            Some(inside) => quoted(inside).ok_or_else(|| TextError::Quote(rest.to_owned()))?,
            None => {
                let end = rest.find(char::is_whitespace).unwrap_or(rest.len());
                let text = rest[..end].to_owned();
                (
                    Token {
                        text,
                        quoted: false,
                    },
                    &rest[end..],
                )
            }
        };
        tokens.push(token);
        rest = after.trim_start();
    }
    Ok(tokens)
}

/// A quoted text up to its end, and what comes after it.
fn quoted(inside: &str) -> Option<(Token, &str)> {
    let mut text = String::new();
    let mut characters = inside.chars();
    loop {
        match characters.next()? {
            '"' => return Some((Token { text, quoted: true }, characters.as_str())),
            '\\' => text.push(match characters.next()? {
                'r' => '\r',
                'n' => '\n',
                't' => '\t',
                same @ ('"' | '\\') => same,
                _ => return None,
            }),
            other => text.push(other),
        }
    }
}

fn quote(text: &str) -> String {
    let mut quoted = String::from('"');
    for character in text.chars() {
        match character {
            '"' => quoted.push_str("\\\""),
            '\\' => quoted.push_str("\\\\"),
            '\r' => quoted.push_str("\\r"),
            '\n' => quoted.push_str("\\n"),
            '\t' => quoted.push_str("\\t"),
            other => quoted.push(other),
        }
    }
    quoted.push('"');
    quoted
}

impl FromStr for RuleSpec {
    type Err = TextError;

    fn from_str(line: &str) -> Result<Self, TextError> {
        let mut words = tokens(line)?.into_iter().peekable();
        let act = read_act(&mut words)?;
        let mut rule = Self::new(Match::default(), act);
        read_which(&mut rule, &mut words)?;
        let kind = words
            .next()
            .ok_or(TextError::Missing("which kind of packet, such as data"))?;
        KINDS
            .iter()
            .find(|known| kind.is(known.text))
            .ok_or(TextError::Kind(kind.text))?
            .demand(&mut rule.matches);
        let mut said: Vec<&'static str> = Vec::new();
        while let Some(word) = words.next() {
            let clause = CLAUSES
                .iter()
                .find(|clause| word.is(clause.word))
                .ok_or(TextError::Word(word.text))?;
            if said.contains(&clause.word) {
                return Err(TextError::Twice(clause.word));
            }
            said.push(clause.word);
            let value = words.next().ok_or(TextError::Missing(clause.wants))?;
            (clause.read)(&mut rule, value.text)?;
        }
        rule.check()?;
        Ok(rule)
    }
}

fn read_act(words: &mut impl Iterator<Item = Token>) -> Result<Act, TextError> {
    let act = words.next().ok_or(TextError::Missing(
        "what to do: drop, reject, answer or delay",
    ))?;
    let mut next = |what| words.next().ok_or(TextError::Missing(what));
    Ok(match act.text.as_str() {
        _ if act.quoted => return Err(TextError::Act(act.text)),
        "drop" => Act::Drop {},
        "reject" => {
            let word = next("how to reject, such as rst")?;
            let found = Refusal::NAMES.iter().find(|(_, name)| word.is(name));
            let (with, _) = found.ok_or(TextError::Refusal(word.text))?;
            Act::Reject { with: *with }
        }
        "answer" => {
            let word = next("what to answer: rst, or a text in quotes")?;
            let with = match word.is("rst") {
                true => Reply::Rst,
                false => Reply::Text(word.text),
            };
            Act::Answer { with }
        }
        "delay" => Act::Delay {
            by_us: parse_duration(&next("by how much, such as 200ms")?.text)?,
        },
        _ => return Err(TextError::Act(act.text)),
    })
}

fn read_which(
    rule: &mut RuleSpec,
    words: &mut std::iter::Peekable<impl Iterator<Item = Token>>,
) -> Result<(), TextError> {
    if words.next_if(|word| word.is("every")).is_some() {
        return Ok(());
    }
    if words.next_if(|word| word.is("next")).is_some() {
        let times = words.next_if(|word| word.text.starts_with(|c: char| c.is_ascii_digit()));
        rule.times = Some(match times {
            Some(times) => number("next", times.text)?,
            None => 1,
        });
        return Ok(());
    }
    let Some(word) =
        words.next_if(|word| !word.quoted && word.text.starts_with(|c: char| c.is_ascii_digit()))
    else {
        return Ok(());
    };
    let (which, and_after) = match word.text.strip_suffix('+') {
        Some(which) => (which, true),
        None => (word.text.as_str(), false),
    };
    let digits = which.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let nth: u32 = number("the act", digits.to_owned())?;
    if ordinal(nth) != which {
        return Err(TextError::Kind(word.text));
    }
    rule.matches.nth = nth;
    rule.times = (!and_after).then_some(1);
    Ok(())
}

fn number<T: FromStr>(word: &'static str, value: String) -> Result<T, TextError> {
    value.parse().map_err(|_| TextError::Number { word, value })
}

/// What may follow the kind of packet: a word and its value.
struct Clause {
    word: &'static str,
    wants: &'static str,
    read: fn(&mut RuleSpec, String) -> Result<(), TextError>,
}

const CLAUSES: [Clause; 8] = [
    Clause {
        word: "with",
        wants: "flags after `with`",
        read: |rule, value| flags(&mut rule.matches.with, &value),
    },
    Clause {
        word: "without",
        wants: "flags after `without`",
        read: |rule, value| flags(&mut rule.matches.without, &value),
    },
    Clause {
        word: "from",
        wants: "a host after `from`",
        read: |rule, value| {
            rule.matches.from = Some(host(value)?);
            Ok(())
        },
    },
    Clause {
        word: "to",
        wants: "a host after `to`",
        read: |rule, value| {
            rule.matches.to = Some(host(value)?);
            Ok(())
        },
    },
    Clause {
        word: "port",
        wants: "a number after `port`",
        read: |rule, value| {
            rule.matches.port = Some(number("port", value)?);
            Ok(())
        },
    },
    Clause {
        word: "containing",
        wants: "a text after `containing`",
        read: |rule, value| {
            rule.matches.contains = Some(value);
            Ok(())
        },
    },
    Clause {
        word: "times",
        wants: "a number after `times`",
        read: |rule, value| {
            rule.times = Some(number("times", value)?);
            Ok(())
        },
    },
    Clause {
        word: "as",
        wants: "a name after `as`",
        read: |rule, value| {
            rule.name = value;
            Ok(())
        },
    },
];

fn host(name: String) -> Result<HostName, TextError> {
    [HostName::Client, HostName::Proxy, HostName::Server]
        .into_iter()
        .find(|host| host.as_str() == name)
        .ok_or(TextError::Host(name))
}

fn flags(into: &mut Vec<Flag>, value: &str) -> Result<(), TextError> {
    for word in value.split(',') {
        let found = Flag::NAMES.iter().find(|(_, name)| *name == word);
        let (flag, _) = found.ok_or_else(|| TextError::Flag(word.to_owned()))?;
        if !into.contains(flag) {
            into.push(*flag);
        }
    }
    Ok(())
}

impl RuleSpec {
    /// The rule as a line of text that reads back as the same rule.
    pub fn to_text(&self) -> String {
        let mut words: Vec<String> = Vec::new();
        match &self.act {
            Act::Drop {} => words.push("drop".to_owned()),
            Act::Reject { with } => words.push(format!("reject {}", with.as_str())),
            Act::Answer { with: Reply::Rst } => words.push("answer rst".to_owned()),
            Act::Answer {
                with: Reply::Text(text),
            } => words.push(format!("answer {}", quote(text))),
            Act::Delay { by_us } => words.push(format!("delay {}", format_duration(*by_us))),
        }
        let matches = &self.matches;
        let mut times = None;
        match (matches.nth, self.times) {
            (1, None) => {}
            (1, Some(1)) => words.push("next".to_owned()),
            (1, Some(count)) => words.push(format!("next {count}")),
            (nth, Some(1)) => words.push(ordinal(nth)),
            (nth, count) => {
                words.push(format!("{}+", ordinal(nth)));
                times = count;
            }
        }
        let (kind, whole) = Kind::of(matches);
        words.push(kind.text.to_owned());
        if !whole {
            for (word, which) in [("with", &matches.with), ("without", &matches.without)] {
                if !which.is_empty() {
                    let names: Vec<&str> = which.iter().map(|flag| flag.as_str()).collect();
                    words.push(format!("{word} {}", names.join(",")));
                }
            }
        }
        words.extend(matches.from.map(|host| format!("from {host}")));
        words.extend(matches.to.map(|host| format!("to {host}")));
        words.extend(matches.port.map(|port| format!("port {port}")));
        let contains = matches.contains.as_deref();
        words.extend(contains.map(|text| format!("containing {}", quote(text))));
        words.extend(times.map(|count| format!("times {count}")));
        if !self.name.is_empty() {
            words.push(format!("as {}", quote(&self.name)));
        }
        words.join(" ")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> RuleSpec {
        text.parse()
            .unwrap_or_else(|error| panic!("{text}: {error}"))
    }

    #[test]
    fn the_usual_rules_are_short() {
        let rule = read("drop next data from server");
        assert_eq!((rule.act, rule.times), (Act::Drop {}, Some(1)));
        assert_eq!(rule.matches.from, Some(HostName::Server));
        assert_eq!(rule.matches.payload, Some(true));

        let rule = read("reject rst syn from client");
        assert_eq!(rule.act, Act::Reject { with: Refusal::Rst });
        assert_eq!(rule.matches.with, [Flag::Syn]);
        assert_eq!(rule.matches.without, [Flag::Ack]);
        assert_eq!(rule.times, None);

        let rule = read("delay 200ms data from client times 3");
        assert_eq!(rule.act, Act::Delay { by_us: 200_000 });
        assert_eq!(rule.times, Some(3));

        let rule = read("drop 3rd data containing \"GET /3\" port 80 as third");
        assert_eq!((rule.matches.nth, rule.times), (3, Some(1)));
        assert_eq!(rule.matches.contains.as_deref(), Some("GET /3"));
        assert_eq!((rule.matches.port, rule.name.as_str()), (Some(80), "third"));
    }

    #[test]
    fn what_is_written_reads_back_as_the_same_rule() {
        let acts = [
            Act::Drop {},
            Act::Reject {
                with: Refusal::AdminProhibited,
            },
            Act::Answer { with: Reply::Rst },
            Act::Answer {
                with: Reply::Text("a \"b\\\"\r\n\t c ü".to_owned()),
            },
            Act::Answer {
                with: Reply::Text("x".to_owned()),
            },
            Act::Delay { by_us: 1_500 },
        ];
        let flags = [
            Flag::Syn,
            Flag::Fin,
            Flag::Rst,
            Flag::Psh,
            Flag::Ack,
            Flag::Urg,
        ];
        let mut rounds = 0_u32;
        for (index, act) in acts.iter().enumerate() {
            for bits in 0..64_usize {
                for nth in [1, 2, 13] {
                    for times in [None, Some(1), Some(7)] {
                        rounds += 1;
                        let chosen = |mask: usize| {
                            let picked = flags.iter().enumerate();
                            let picked = picked.filter(move |(at, _)| mask >> at & 1 == 1);
                            picked.map(|(_, flag)| *flag).collect::<Vec<_>>()
                        };
                        let rule = RuleSpec {
                            name: ["", "a name", "\""][rounds as usize % 3].to_owned(),
                            matches: Match {
                                from: [None, Some(HostName::Client)][rounds as usize % 2],
                                to: [None, Some(HostName::Server)][bits % 2],
                                with: chosen(bits),
                                without: chosen(!bits & (rounds as usize * 37)),
                                payload: [None, Some(true), Some(false)][bits % 3],
                                port: [None, Some(443)][index % 2],
                                contains: [None, Some("times 3 \"".to_owned())][bits / 2 % 2]
                                    .clone(),
                                nth,
                            },
                            act: act.clone(),
                            times,
                        };
                        rule.check().unwrap();
                        assert_eq!(read(&rule.to_text()), rule, "{}", rule.to_text());
                    }
                }
            }
        }
    }

    #[test]
    fn errors_name_the_word_and_what_may_stand_there() {
        let error = |text: &str| text.parse::<RuleSpec>().unwrap_err().to_string();
        assert_eq!(
            error("burn next data"),
            "`burn` is no act: begin with drop, reject, answer or delay"
        );
        assert_eq!(
            error("reject softly syn"),
            "`softly` is no way to reject: write rst, rst-both, net-unreachable, host-unreachable, \
             port-unreachable, admin-prohibited"
        );
        assert_eq!(
            error("drop next dat"),
            "`dat` is no kind of packet: write ack, syn-ack, syn, fin, rst, data, empty, packet"
        );
        assert_eq!(
            error("drop data of server"),
            "`of` is not understood here: write with, without, from, to, port, containing, times or \
             as"
        );
        assert_eq!(
            error("drop data from nobody"),
            "`nobody` is no host: write client, proxy or server"
        );
        assert_eq!(
            error("drop data times many"),
            "`many` after `times` is no number that is possible there"
        );
        assert_eq!(
            error("drop data port 70000"),
            "`70000` after `port` is no number that is possible there"
        );
        assert_eq!(
            error("drop data from client from server"),
            "`from` is said twice"
        );
        assert!(error("drop data with sin").starts_with("`sin` is no flag: write syn, fin"));
        assert!(
            error("drop data containing \"GET").starts_with("the quoted text \"GET has no end")
        );
        assert!(error("drop data containing \"\\x\"").starts_with("the quoted text"));
        assert!(error("delay soon data").starts_with("`soon` is not a duration"));
        assert_eq!(
            error("delay 20min data"),
            "`act.by_us` is 1200000000; it must be from 1 to 600000000 (ten minutes)"
        );
        assert_eq!(
            error("drop next 0 data"),
            "`times` is 0; it must be from 1 to 1000000"
        );
        assert_eq!(
            error("drop 2th data"),
            "`2th` is no kind of packet: write ack, syn-ack, syn, fin, rst, data, empty, packet"
        );
        for (text, missing) in [
            ("", "what to do"),
            ("reject", "how to reject"),
            ("answer", "what to answer"),
            ("delay", "by how much"),
            ("drop", "which kind of packet"),
            ("drop data from", "a host after `from`"),
        ] {
            let error = error(text);
            assert!(
                error.starts_with(&format!("something is missing at the end: {missing}")),
                "{text}: {error}"
            );
        }
    }

    #[test]
    fn a_word_in_quotes_is_a_text_and_no_keyword() {
        let rule = read("answer \"rst\" next data containing from");
        assert_eq!(
            rule.act,
            Act::Answer {
                with: Reply::Text("rst".to_owned())
            }
        );
        assert_eq!(rule.matches.contains.as_deref(), Some("from"));
        assert!("\"drop\" data".parse::<RuleSpec>().is_err());
    }
}
