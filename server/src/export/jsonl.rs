//! JSON Lines: the header, then one event a line, each with `seq`, `at_us`, `seen_by` and `kind`.
//!
//! Events are written as the log keeps them. The header becomes a line of the same shape: its
//! `kind` is `header`, and its `seq` is null because it is no event.

use std::io::Write;

use linger_shared::event::{Event, Header, Observer};
use serde::Serialize;

use super::{ExportError, Exporter};

#[derive(Serialize)]
struct HeaderLine<'a> {
    kind: &'static str,
    seq: Option<u64>,
    at_us: u64,
    seen_by: Observer,
    #[serde(flatten)]
    header: &'a Header,
}

/// The header as the first line, without its line break.
pub fn header_line(header: &Header) -> String {
    let line = HeaderLine {
        kind: "header",
        seq: None,
        at_us: 0,
        seen_by: Observer::Experiment,
        header,
    };
    // Every field is a plain value with text keys, so this cannot fail.
    serde_json::to_string(&line).unwrap_or_default()
}

/// A run as JSON Lines.
pub(super) struct Jsonl;

impl Jsonl {
    pub(super) fn begin(header: &Header, out: &mut dyn Write) -> Result<Self, ExportError> {
        writeln!(out, "{}", header_line(header))?;
        Ok(Self)
    }
}

impl Exporter for Jsonl {
    fn event(&mut self, _: &Event, text: &str, out: &mut dyn Write) -> Result<(), ExportError> {
        Ok(writeln!(out, "{text}")?)
    }

    fn finish(&mut self, _: &mut dyn Write) -> Result<(), ExportError> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use linger_shared::event::Mode;

    use super::*;

    #[test]
    fn the_header_has_the_keys_of_every_line_and_reads_back() {
        let header = Header {
            protocol_version: 1,
            run: "r".to_owned(),
            experiment: "tcp-lifecycle".to_owned(),
            title: "T".to_owned(),
            params: BTreeMap::new(),
            seed: 7,
            mode: Mode::Relay,
            started_unix_ms: 0,
            kernel: "6.1".to_owned(),
            hosts: Vec::new(),
            links: Vec::new(),
            versions: BTreeMap::new(),
        };
        let line = header_line(&header);
        assert!(!line.contains('\n'));
        let json: serde_json::Value = serde_json::from_str(&line).unwrap();
        assert_eq!(json["kind"], "header");
        assert_eq!(json["seq"], serde_json::Value::Null);
        assert!(json.as_object().unwrap().contains_key("seq"));
        assert_eq!(json["at_us"], 0);
        assert_eq!(json["seen_by"], "experiment");
        assert_eq!(serde_json::from_str::<Header>(&line).unwrap(), header);
    }
}
