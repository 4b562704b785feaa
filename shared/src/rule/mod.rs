//! Rules of the wire, as scripts and users write them: which packets, and what is done to them.
//!
//! A [`RuleSpec`] has two forms that mean the same: JSON, for the API, and a line of text, for the
//! command line and buttons ([`text`]). [`RuleSpec::check`] is the one place where its values are
//! held against their bounds. Telling whether a packet matches is the wire's business.

pub mod text;
mod words;

use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::{dissect::tcp::Flags, event::HostName};

/// The longest name, in characters.
pub const MAX_NAME: usize = 64;
/// The largest number of packets that a rule counts.
pub const MAX_COUNT: u32 = 1_000_000;
/// The longest delay, in microseconds: ten minutes.
pub const MAX_DELAY_US: u64 = 600_000_000;
/// The longest text that is looked for, in bytes.
pub const MAX_CONTAINS: usize = 200;
/// The longest payload that is answered, in bytes: it fits into one segment with timestamps.
pub const MAX_ANSWER: usize = 1_400;

/// A rule: what it looks for, what it does, and how often.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct RuleSpec {
    /// What it is called in the record and when it is disarmed, at most 64 characters. The wire
    /// finds a name where it is empty.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub name: String,
    /// Which packets; every one where it is absent.
    #[serde(default)]
    pub matches: Match,
    /// What is done to them.
    pub act: Act,
    /// How many times it acts before it disarms itself, from 1; null to act until it is disarmed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub times: Option<u32>,
}

/// Which packets a rule looks for. What is absent is not looked at.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Match {
    /// The host that sends them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub from: Option<HostName>,
    /// The host that they go to.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub to: Option<HostName>,
    /// TCP flags that are set.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub with: Vec<Flag>,
    /// TCP flags that are not set.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub without: Vec<Flag>,
    /// TCP segments with a payload (true) or without one (false).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub payload: Option<bool>,
    /// The port of either end.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub port: Option<u16>,
    /// What the packet's summary or its payload contains, upper and lower case told apart, at most
    /// 200 bytes: `GET /3`, `HTTP/2 PING`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub contains: Option<String>,
    /// The rule acts from this match on, from 1.
    #[serde(skip_serializing_if = "is_first")]
    pub nth: u32,
}

#[expect(
    clippy::trivially_copy_pass_by_ref,
    reason = "serde passes a reference"
)]
fn is_first(nth: &u32) -> bool {
    *nth == 1
}

impl Default for Match {
    fn default() -> Self {
        Self {
            from: None,
            to: None,
            with: Vec::new(),
            without: Vec::new(),
            payload: None,
            port: None,
            contains: None,
            nth: 1,
        }
    }
}

/// A control bit of TCP.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub enum Flag {
    /// Synchronise sequence numbers.
    Syn,
    /// No more data from the sender.
    Fin,
    /// Reset the connection.
    Rst,
    /// Push.
    Psh,
    /// The acknowledgment number means something.
    Ack,
    /// The urgent pointer means something.
    Urg,
}

impl Flag {
    /// Every flag with its name in texts, in the order in which people say them.
    pub const NAMES: [(Self, &'static str); 6] = [
        (Self::Syn, "syn"),
        (Self::Fin, "fin"),
        (Self::Rst, "rst"),
        (Self::Psh, "psh"),
        (Self::Ack, "ack"),
        (Self::Urg, "urg"),
    ];

    /// Its name in texts and in JSON.
    pub fn as_str(self) -> &'static str {
        Self::NAMES
            .iter()
            .find(|(flag, _)| *flag == self)
            .map_or("", |(_, name)| name)
    }

    /// The bit in a header.
    pub const fn bit(self) -> Flags {
        match self {
            Self::Syn => Flags::SYN,
            Self::Fin => Flags::FIN,
            Self::Rst => Flags::RST,
            Self::Psh => Flags::PSH,
            Self::Ack => Flags::ACK,
            Self::Urg => Flags::URG,
        }
    }
}

/// What is done to a packet.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "do", rename_all = "snake_case", deny_unknown_fields)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub enum Act {
    /// It disappears without a word to either side.
    // With fields, if none: serde lets a unit have unknown ones.
    Drop {},
    /// It disappears, and its sender is told.
    Reject {
        /// How.
        with: Refusal,
    },
    /// It goes on, and its sender gets an answer that the receiver has not sent.
    Answer {
        /// What.
        with: Reply,
    },
    /// It goes on later.
    Delay {
        /// By how much, in microseconds, from 1 to ten minutes.
        by_us: u64,
    },
}

/// How a packet's sender is told that it was rejected.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub enum Refusal {
    /// A TCP reset in the receiver's name.
    Rst,
    /// A TCP reset to either side, each in the other's name.
    RstBoth,
    /// ICMP: no route to the network.
    NetUnreachable,
    /// ICMP: no way to the host.
    HostUnreachable,
    /// ICMP: nobody listens on the port.
    PortUnreachable,
    /// ICMP: communication administratively prohibited.
    AdminProhibited,
}

impl Refusal {
    /// Every refusal with its name in texts.
    pub const NAMES: [(Self, &'static str); 6] = [
        (Self::Rst, "rst"),
        (Self::RstBoth, "rst-both"),
        (Self::NetUnreachable, "net-unreachable"),
        (Self::HostUnreachable, "host-unreachable"),
        (Self::PortUnreachable, "port-unreachable"),
        (Self::AdminProhibited, "admin-prohibited"),
    ];

    /// Its name in texts.
    pub fn as_str(self) -> &'static str {
        Self::NAMES
            .iter()
            .find(|(refusal, _)| *refusal == self)
            .map_or("", |(_, name)| name)
    }
}

/// What a packet's sender gets in the receiver's name.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub enum Reply {
    /// A TCP reset.
    Rst,
    /// These bytes, next in the stream; at most 1400.
    Text(String),
}

/// A value of a rule that is out of its bounds.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("`{field}` is {value}; {bound}")]
pub struct RuleError {
    /// The field, as JSON names it.
    pub field: &'static str,
    /// What it must be.
    pub bound: String,
    /// What it is.
    pub value: String,
}

impl RuleSpec {
    /// A rule without a name that acts until it is disarmed.
    pub fn new(matches: Match, act: Act) -> Self {
        Self {
            name: String::new(),
            matches,
            act,
            times: None,
        }
    }

    /// Holds every value against its bounds.
    ///
    /// # Errors
    /// [`RuleError`] names the first field that is out of its bounds, the bound and the value.
    pub fn check(&self) -> Result<(), RuleError> {
        let matches = &self.matches;
        let name_length = self.name.chars().count();
        demand(
            name_length <= MAX_NAME && !self.name.chars().any(char::is_control),
            "name",
            || format!("at most {MAX_NAME} printable characters are allowed"),
            || {
                format!(
                    "`{}` with {name_length} characters",
                    self.name.escape_debug()
                )
            },
        )?;
        count("times", self.times.unwrap_or(1))?;
        count("nth", matches.nth)?;
        demand(
            matches.from.is_none() || matches.from != matches.to,
            "to",
            || "a packet goes to another host than the one that sends it".to_owned(),
            || {
                matches
                    .to
                    .map_or_else(String::new, |host| format!("`{host}`, as `from` is"))
            },
        )?;
        demand(
            matches.port != Some(0),
            "port",
            || "it must be from 1 to 65535".to_owned(),
            || "0".to_owned(),
        )?;
        if let Some(both) = matches
            .with
            .iter()
            .find(|flag| matches.without.contains(flag))
        {
            return Err(RuleError {
                field: "without",
                bound: "a flag cannot be looked for in `with` too".to_owned(),
                value: format!("`{}`", both.as_str()),
            });
        }
        if let Some(text) = &matches.contains {
            length("contains", text, MAX_CONTAINS)?;
        }
        match &self.act {
            Act::Answer {
                with: Reply::Text(text),
            } => length("act.with.text", text, MAX_ANSWER),
            Act::Delay { by_us } => demand(
                (1..=MAX_DELAY_US).contains(by_us),
                "act.by_us",
                || format!("it must be from 1 to {MAX_DELAY_US} (ten minutes)"),
                || by_us.to_string(),
            ),
            Act::Drop {} | Act::Reject { .. } | Act::Answer { with: Reply::Rst } => Ok(()),
        }
    }
}

fn demand(
    fulfilled: bool,
    field: &'static str,
    bound: impl FnOnce() -> String,
    value: impl FnOnce() -> String,
) -> Result<(), RuleError> {
    if fulfilled {
        return Ok(());
    }
    Err(RuleError {
        field,
        bound: bound(),
        value: value(),
    })
}

fn count(field: &'static str, value: u32) -> Result<(), RuleError> {
    demand(
        (1..=MAX_COUNT).contains(&value),
        field,
        || format!("it must be from 1 to {MAX_COUNT}"),
        || value.to_string(),
    )
}

fn length(field: &'static str, text: &str, most: usize) -> Result<(), RuleError> {
    demand(
        (1..=most).contains(&text.len()),
        field,
        || format!("it must have from 1 to {most} bytes"),
        || format!("a text of {} bytes", text.len()),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rule() -> RuleSpec {
        RuleSpec::new(Match::default(), Act::Drop {})
    }

    #[test]
    fn json_needs_no_more_than_what_differs() {
        let short: RuleSpec = serde_json::from_str(r#"{"act": {"do": "drop"}}"#).unwrap();
        assert_eq!(short, rule());
        assert_eq!(
            serde_json::to_value(&short).unwrap(),
            serde_json::json!({"matches": {}, "act": {"do": "drop"}})
        );
        let full = serde_json::json!({
            "name": "third",
            "matches": {"from": "client", "to": "server", "with": ["psh"], "without": ["syn"],
                "payload": true, "port": 80, "contains": "GET /3", "nth": 3},
            "act": {"do": "answer", "with": {"text": "no"}},
            "times": 2
        });
        let read: RuleSpec = serde_json::from_value(full.clone()).unwrap();
        assert_eq!(serde_json::to_value(&read).unwrap(), full);
        read.check().unwrap();
    }

    #[test]
    fn unknown_fields_are_refused_everywhere() {
        for json in [
            r#"{"act": {"do": "drop"}, "often": 3}"#,
            r#"{"act": {"do": "drop", "by_us": 3}}"#,
            r#"{"act": {"do": "drop"}, "matches": {"form": "client"}}"#,
            r#"{"act": {"do": "burn"}}"#,
            r#"{}"#,
        ] {
            assert!(serde_json::from_str::<RuleSpec>(json).is_err(), "{json}");
        }
    }

    #[test]
    fn every_bound_is_held_and_named() {
        let refused = |change: fn(&mut RuleSpec)| {
            let mut rule = rule();
            change(&mut rule);
            rule.check().unwrap_err().to_string()
        };
        assert_eq!(
            refused(|rule| rule.times = Some(0)),
            "`times` is 0; it must be from 1 to 1000000"
        );
        assert_eq!(
            refused(|rule| rule.matches.nth = 2_000_000),
            "`nth` is 2000000; it must be from 1 to 1000000"
        );
        assert_eq!(
            refused(|rule| rule.act = Act::Delay { by_us: 600_000_001 }),
            "`act.by_us` is 600000001; it must be from 1 to 600000000 (ten minutes)"
        );
        assert_eq!(
            refused(|rule| rule.matches.contains = Some(String::new())),
            "`contains` is a text of 0 bytes; it must have from 1 to 200 bytes"
        );
        let long = |rule: &mut RuleSpec| {
            rule.act = Act::Answer {
                with: Reply::Text("x".repeat(1_401)),
            };
        };
        assert!(refused(long).starts_with("`act.with.text` is a text of 1401 bytes;"));
        assert!(refused(|rule| rule.name = "x".repeat(65)).starts_with("`name` is"));
        assert!(refused(|rule| rule.name = "a\nb".to_owned()).contains(r"`a\nb`"));
        assert!(refused(|rule| rule.matches.port = Some(0)).starts_with("`port` is 0"));
        let both = |rule: &mut RuleSpec| {
            rule.matches.with = vec![Flag::Ack];
            rule.matches.without = vec![Flag::Syn, Flag::Ack];
        };
        assert!(refused(both).starts_with("`without` is `ack`"));
        let itself = |rule: &mut RuleSpec| {
            rule.matches.from = Some(HostName::Client);
            rule.matches.to = Some(HostName::Client);
        };
        assert_eq!(
            refused(itself),
            "`to` is `client`, as `from` is; a packet goes to another host than the one that sends it"
        );
    }
}
