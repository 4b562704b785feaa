//! Descriptors of experiments: what is asked, which parameters it takes, and how they are checked.
//!
//! A [`Descriptor`] is data that the command line, the API and the page's form are made from;
//! [`Descriptor::resolve`] is the one place where values are checked against their bounds.

use std::{collections::BTreeMap, fmt};

use serde::{Deserialize, Deserializer, Serialize, de};
use thiserror::Error;

use crate::{
    event::Mode,
    units::{self, format_duration, parse_duration},
};

/// The value of a parameter. In JSON a boolean, a number, or a text (a duration as `5s`, a choice
/// by its name).
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(untagged)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub enum Value {
    /// On or off.
    Boolean(bool),
    /// A whole number.
    Integer(u64),
    /// A duration in the notation of [`units`], or the name of a choice.
    Text(String),
}

impl<'de> Deserialize<'de> for Value {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(ValueVisitor)
    }
}

struct ValueVisitor;

impl de::Visitor<'_> for ValueVisitor {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a boolean, a whole number or a text")
    }

    fn visit_bool<E: de::Error>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Boolean(value))
    }

    fn visit_u64<E: de::Error>(self, value: u64) -> Result<Value, E> {
        Ok(Value::Integer(value))
    }

    fn visit_str<E: de::Error>(self, value: &str) -> Result<Value, E> {
        Ok(Value::Text(value.to_owned()))
    }
}

/// [`Value`] under a name of its own: in a schema, utoipa takes `Value` for any JSON.
#[cfg(feature = "openapi")]
pub(crate) type ParamValue = Value;

impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Boolean(value) => write!(f, "{value}"),
            Self::Integer(value) => write!(f, "{value}"),
            Self::Text(value) => f.write_str(value),
        }
    }
}

/// The type of a parameter.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub enum ParamType {
    /// A span of time.
    Duration,
    /// A whole number.
    Integer,
    /// On or off.
    Boolean,
    /// One of a few names.
    Choice,
}

/// A parameter of an experiment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Param {
    /// Its name, as in `--set name=value`.
    pub name: String,
    /// Its type.
    #[serde(rename = "type")]
    pub kind: ParamType,
    /// What a number counts (`probes`), or the suffixes that a duration takes; null otherwise.
    pub unit: Option<String>,
    /// The smallest value that is accepted; null where order means nothing.
    #[cfg_attr(feature = "openapi", schema(value_type = Option<ParamValue>))]
    pub min: Option<Value>,
    /// The largest value that is accepted.
    #[cfg_attr(feature = "openapi", schema(value_type = Option<ParamValue>))]
    pub max: Option<Value>,
    /// The value that is used when none is given.
    #[cfg_attr(feature = "openapi", schema(value_type = ParamValue))]
    pub default: Value,
    /// The names of a choice; empty for other types.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub choices: Vec<String>,
    /// What it does, in a sentence.
    pub description: String,
}

impl Param {
    /// A duration between two bounds, all in microseconds.
    pub fn duration(name: &str, default: u64, min: u64, max: u64, description: &str) -> Self {
        let text = |micros| Value::Text(format_duration(micros));
        Self {
            name: name.to_owned(),
            kind: ParamType::Duration,
            unit: Some(units::SUFFIXES.map(|(suffix, _)| suffix).join(", ")),
            min: Some(text(min)),
            max: Some(text(max)),
            default: text(default),
            choices: Vec::new(),
            description: description.to_owned(),
        }
    }

    /// A whole number between two bounds.
    pub fn integer(
        name: &str,
        unit: &str,
        default: u64,
        min: u64,
        max: u64,
        description: &str,
    ) -> Self {
        Self {
            name: name.to_owned(),
            kind: ParamType::Integer,
            unit: Some(unit.to_owned()),
            min: Some(Value::Integer(min)),
            max: Some(Value::Integer(max)),
            default: Value::Integer(default),
            choices: Vec::new(),
            description: description.to_owned(),
        }
    }

    /// On or off.
    pub fn boolean(name: &str, default: bool, description: &str) -> Self {
        Self {
            name: name.to_owned(),
            kind: ParamType::Boolean,
            unit: None,
            min: None,
            max: None,
            default: Value::Boolean(default),
            choices: Vec::new(),
            description: description.to_owned(),
        }
    }

    /// One of `choices`; the first is the default.
    pub fn choice(name: &str, choices: &[&str], description: &str) -> Self {
        Self {
            name: name.to_owned(),
            kind: ParamType::Choice,
            unit: None,
            min: None,
            max: None,
            default: Value::Text(choices.first().copied().unwrap_or_default().to_owned()),
            choices: choices.iter().map(|&c| c.to_owned()).collect(),
            description: description.to_owned(),
        }
    }

    /// Checks a value and brings it into its one written form.
    ///
    /// Text is understood for every type, so that what a command line or a form gives can be
    /// passed as it is.
    ///
    /// # Errors
    /// [`ParamError`] names the parameter, the bound and the value.
    pub fn check(&self, value: &Value) -> Result<Value, ParamError> {
        let malformed = |expected: String| ParamError::Malformed {
            name: self.name.clone(),
            value: value.to_string(),
            expected,
        };
        match self.kind {
            ParamType::Boolean => match value {
                Value::Boolean(_) => Ok(value.clone()),
                Value::Text(text) => match text.trim().to_ascii_lowercase().as_str() {
                    "true" | "on" | "yes" | "1" => Ok(Value::Boolean(true)),
                    "false" | "off" | "no" | "0" => Ok(Value::Boolean(false)),
                    _ => Err(malformed("true or false".to_owned())),
                },
                Value::Integer(_) => Err(malformed("true or false".to_owned())),
            },
            ParamType::Integer => {
                let number = match value {
                    Value::Integer(number) => *number,
                    Value::Text(text) => text
                        .trim()
                        .parse()
                        .map_err(|_| malformed("a whole number, 0 or more".to_owned()))?,
                    Value::Boolean(_) => return Err(malformed("a whole number".to_owned())),
                };
                let bound = |bound: &Option<Value>| match bound {
                    Some(Value::Integer(number)) => Some(*number),
                    _ => None,
                };
                self.in_bounds(number, bound(&self.min), bound(&self.max), value)?;
                Ok(Value::Integer(number))
            }
            ParamType::Duration => {
                let micros = match value {
                    Value::Text(text) => parse_duration(text).ok(),
                    Value::Integer(0) => Some(0),
                    Value::Integer(_) | Value::Boolean(_) => None,
                }
                .ok_or_else(|| {
                    malformed("a duration with its unit, such as 1500ms, 5s, 2min or 2h".to_owned())
                })?;
                let bound = |bound: &Option<Value>| match bound {
                    Some(Value::Text(text)) => parse_duration(text).ok(),
                    _ => None,
                };
                self.in_bounds(micros, bound(&self.min), bound(&self.max), value)?;
                Ok(Value::Text(format_duration(micros)))
            }
            ParamType::Choice => match value {
                Value::Text(text) if self.choices.contains(text) => Ok(value.clone()),
                _ => Err(malformed(format!("one of {}", self.choices.join(", ")))),
            },
        }
    }

    fn in_bounds(
        &self,
        number: u64,
        min: Option<u64>,
        max: Option<u64>,
        value: &Value,
    ) -> Result<(), ParamError> {
        let out = |side, bound: &Option<Value>| ParamError::OutOfBounds {
            name: self.name.clone(),
            value: value.to_string(),
            side,
            bound: bound.as_ref().map(Value::to_string).unwrap_or_default(),
        };
        if min.is_some_and(|min| number < min) {
            return Err(out("less than the minimum", &self.min));
        }
        if max.is_some_and(|max| number > max) {
            return Err(out("more than the maximum", &self.max));
        }
        Ok(())
    }
}

/// Named values for several parameters at once.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Preset {
    /// Its name, for a button.
    pub name: String,
    /// What it stands for.
    pub description: String,
    /// The values that differ from the defaults.
    #[cfg_attr(feature = "openapi", schema(value_type = BTreeMap<String, ParamValue>))]
    pub values: BTreeMap<String, Value>,
}

/// Where a claim can be looked up.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Reference {
    /// Such as `RFC 9293, section 3.8.4: TCP keep-alives`.
    pub title: String,
    /// Where it is found.
    pub url: String,
}

/// What measuring a claim has shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub enum Finding {
    /// It is so.
    Confirmed,
    /// It is not so.
    Refuted,
    /// It is so under conditions that the claim does not name.
    Depends,
}

impl Finding {
    /// Its name, as in JSON.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Confirmed => "confirmed",
            Self::Refuted => "refuted",
            Self::Depends => "depends",
        }
    }
}

/// Something that is said of the matter, and what measuring it has shown.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Claim {
    /// What is said, in a sentence.
    pub claim: String,
    /// What a run shows of it.
    pub finding: Finding,
    /// What the run shows, in a sentence or two.
    pub because: String,
    /// The parameters of that run, as far as they differ from the defaults.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[cfg_attr(feature = "openapi", schema(value_type = BTreeMap<String, ParamValue>))]
    pub values: BTreeMap<String, Value>,
}

/// Everything about an experiment but the running of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Descriptor {
    /// Such as `tcp-dead-peer`.
    pub id: String,
    /// A few words.
    pub title: String,
    /// What it answers.
    pub question: String,
    /// `TCP`, `Path`, `HTTP`, `WebSocket`, `TLS` or `Free play`.
    pub family: String,
    /// How it can be carried; the first that the machine can do is used.
    pub modes: Vec<Mode>,
    /// Paragraphs that a student understands and an expert does not object to.
    pub explanation: Vec<String>,
    /// What to look for in the diagram.
    pub look_for: Vec<String>,
    /// The misconception that it clears up.
    pub misconception: String,
    /// Its parameters, in the order of the form.
    pub params: Vec<Param>,
    /// Named parameter sets.
    pub presets: Vec<Preset>,
    /// What is said of the matter elsewhere, and whether it is so.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub claims: Vec<Claim>,
    /// Where the claims come from.
    pub references: Vec<Reference>,
}

impl Descriptor {
    /// Fills in defaults and checks every given value.
    ///
    /// # Errors
    /// The first [`ParamError`], in the order of the given names.
    pub fn resolve(&self, given: &BTreeMap<String, Value>) -> Result<Params, ParamError> {
        for name in given.keys() {
            if !self.params.iter().any(|param| param.name == *name) {
                return Err(ParamError::Unknown {
                    name: name.clone(),
                    experiment: self.id.clone(),
                    known: self
                        .params
                        .iter()
                        .map(|param| param.name.as_str())
                        .collect::<Vec<_>>()
                        .join(", "),
                });
            }
        }
        let mut values = BTreeMap::new();
        for param in &self.params {
            let value = match given.get(&param.name) {
                Some(value) => param.check(value)?,
                None => param.default.clone(),
            };
            values.insert(param.name.clone(), value);
        }
        Ok(Params(values))
    }
}

/// What is wrong with a parameter.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum ParamError {
    /// The experiment has no parameter of that name.
    #[error("{experiment} has no parameter `{name}`; it has {known}")]
    Unknown {
        /// The name that was given.
        name: String,
        /// The experiment.
        experiment: String,
        /// The names that it has.
        known: String,
    },
    /// The value is of another type.
    #[error("{name}={value} is not accepted: expected {expected}")]
    Malformed {
        /// The parameter.
        name: String,
        /// The value as it was given.
        value: String,
        /// What would be accepted.
        expected: String,
    },
    /// The value is outside the bounds.
    #[error("{name}={value} is {side} of {bound}")]
    OutOfBounds {
        /// The parameter.
        name: String,
        /// The value as it was given.
        value: String,
        /// Which bound it passes.
        side: &'static str,
        /// That bound.
        bound: String,
    },
}

/// Checked parameters: every one of the experiment is present and within its bounds.
///
/// The getters give the zero value for a name that the descriptor does not have; a test of each
/// experiment's list keeps the names in step.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Params(BTreeMap<String, Value>);

impl Params {
    /// Values as a header is to record them, of a run that has no descriptor to check them by.
    pub fn recorded(values: BTreeMap<String, Value>) -> Self {
        Self(values)
    }

    /// All of them, as the header records them.
    pub fn values(&self) -> &BTreeMap<String, Value> {
        &self.0
    }

    /// A duration, in microseconds.
    pub fn duration_us(&self, name: &str) -> u64 {
        match self.0.get(name) {
            Some(Value::Text(text)) => parse_duration(text).unwrap_or_default(),
            _ => 0,
        }
    }

    /// A whole number.
    pub fn integer(&self, name: &str) -> u64 {
        match self.0.get(name) {
            Some(Value::Integer(number)) => *number,
            _ => 0,
        }
    }

    /// On or off.
    pub fn boolean(&self, name: &str) -> bool {
        matches!(self.0.get(name), Some(Value::Boolean(true)))
    }

    /// The name of a choice.
    pub fn choice(&self, name: &str) -> &str {
        match self.0.get(name) {
            Some(Value::Text(text)) => text,
            _ => "",
        }
    }
}

/// The candidate nearest to a misspelt name, if one is near enough to be meant
/// (optimal string alignment distance of at most a third of its length, or a shared prefix).
pub fn nearest<'a>(name: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    candidates
        .into_iter()
        .map(|candidate| {
            let distance = edit_distance(name, candidate);
            let related = candidate.contains(name) || name.contains(candidate);
            (if related { distance.min(1) } else { distance }, candidate)
        })
        .filter(|(distance, candidate)| {
            !name.is_empty() && *distance <= candidate.len().div_ceil(3)
        })
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}

/// Insertions, deletions, substitutions and swaps of neighbours that turn `a` into `b`.
fn edit_distance(a: &str, b: &str) -> usize {
    let a: Vec<char> = a.chars().collect();
    let b: Vec<char> = b.chars().collect();
    let mut rows: Vec<Vec<usize>> = vec![(0..=b.len()).collect()];
    for i in 1..=a.len() {
        let mut row = vec![i];
        for j in 1..=b.len() {
            let substitution = rows[i - 1][j - 1] + usize::from(a[i - 1] != b[j - 1]);
            let mut best = substitution.min(rows[i - 1][j] + 1).min(row[j - 1] + 1);
            if i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] {
                best = best.min(rows[i - 2][j - 2] + 1);
            }
            row.push(best);
        }
        rows.push(row);
    }
    rows[a.len()][b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn descriptor() -> Descriptor {
        Descriptor {
            id: "tcp-dead-peer".to_owned(),
            title: String::new(),
            question: String::new(),
            family: "TCP".to_owned(),
            modes: vec![Mode::Packets],
            explanation: Vec::new(),
            look_for: Vec::new(),
            misconception: String::new(),
            params: vec![
                Param::duration("idle", 2_000_000, 1_000_000, 7_200_000_000, ""),
                Param::integer("count", "probes", 3, 1, 127, ""),
                Param::boolean("keepalive", true, ""),
                Param::choice("closer", &["client", "server"], ""),
            ],
            presets: Vec::new(),
            claims: Vec::new(),
            references: Vec::new(),
        }
    }

    fn given(name: &str, value: &str) -> BTreeMap<String, Value> {
        BTreeMap::from([(name.to_owned(), Value::Text(value.to_owned()))])
    }

    #[test]
    fn defaults_fill_what_is_not_given() {
        let params = descriptor().resolve(&given("idle", "3s")).unwrap();
        assert_eq!(params.duration_us("idle"), 3_000_000);
        assert_eq!(params.integer("count"), 3);
        assert!(params.boolean("keepalive"));
        assert_eq!(params.choice("closer"), "client");
    }

    #[test]
    fn text_is_understood_for_every_type() {
        for (name, text, value) in [
            ("count", "9", Value::Integer(9)),
            ("keepalive", "off", Value::Boolean(false)),
            ("closer", "server", Value::Text("server".to_owned())),
            ("idle", "60s", Value::Text("1min".to_owned())),
        ] {
            let params = descriptor().resolve(&given(name, text)).unwrap();
            assert_eq!(params.values()[name], value);
        }
    }

    #[test]
    fn an_error_names_parameter_bound_and_value() {
        let message = |name, value| {
            descriptor()
                .resolve(&given(name, value))
                .unwrap_err()
                .to_string()
        };
        assert_eq!(
            message("count", "500"),
            "count=500 is more than the maximum of 127"
        );
        assert_eq!(
            message("idle", "10ms"),
            "idle=10ms is less than the minimum of 1s"
        );
        assert!(message("idle", "5").contains("unit"));
        assert!(message("keepalive", "maybe").contains("true or false"));
        assert!(message("closer", "nobody").contains("client, server"));
        assert!(message("idel", "5s").contains("it has idle, count"));
    }

    #[test]
    fn a_misspelt_name_finds_its_neighbour() {
        let ids = ["tcp-lifecycle", "tcp-dead-peer", "http-sequential"];
        assert_eq!(nearest("tcp-deadpeer", ids), Some("tcp-dead-peer"));
        assert_eq!(nearest("dead-peer", ids), Some("tcp-dead-peer"));
        assert_eq!(nearest("http-sequentail", ids), Some("http-sequential"));
        assert_eq!(nearest("quic", ids), None);
        assert_eq!(nearest("", ids), None);
    }
}
