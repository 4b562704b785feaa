//! A message that was found in a stream, and a line on several of them.

use std::borrow::Cow;

use crate::dissect::{Detail, Field, Message, Protocol};

/// Messages that a packet's line names; the rest is counted.
const NAMED: usize = 3;

/// A message that was found in a stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::dissect) struct Found {
    pub(super) protocol: Protocol,
    /// What stands before its text, such as `TLS 1.3`.
    pub(super) label: Cow<'static, str>,
    /// Whether the text names the protocol itself, as the first lines of HTTP/1 do.
    pub(super) bare: bool,
    /// What it is.
    pub(super) text: String,
    pub(super) details: Vec<Detail>,
    /// Where it begins in its stream.
    pub(super) start: u64,
    /// Where it is over.
    pub(super) end: u64,
}

impl Found {
    pub(super) fn new(protocol: Protocol, text: impl Into<String>, start: u64, end: u64) -> Self {
        let label = match protocol {
            Protocol::Tls => "TLS",
            Protocol::Http1 => "HTTP/1.1",
            Protocol::Http2 => "HTTP/2",
            Protocol::WebSocket => "WS",
        };
        Self {
            protocol,
            label: label.into(),
            bare: false,
            text: text.into(),
            details: Vec::new(),
            start,
            end,
        }
    }

    pub(super) fn fields(mut self, fields: Vec<Field>) -> Self {
        self.details = fields.into_iter().map(Detail::from).collect();
        self
    }

    pub(super) fn detail(mut self, name: &'static str, value: impl ToString) -> Self {
        self.details.push(Detail {
            name: name.into(),
            value: value.to_string(),
        });
        self
    }

    /// What stands for messages that are too many to be told one by one, of which there is at
    /// least one.
    pub(in crate::dissect) fn all_of(rest: &[Self]) -> Option<Self> {
        let (first, last) = (rest.first()?, rest.last()?);
        let text = format!("{} more messages", rest.len());
        Some(Self::new(first.protocol, text, first.start, last.end))
    }

    /// Where it begins and is over in its stream.
    pub(in crate::dissect) const fn place(&self) -> (u64, u64) {
        (self.start, self.end)
    }

    /// The line on it alone.
    pub(in crate::dissect) fn line(&self) -> String {
        if self.bare {
            return self.text.clone();
        }
        format!("{} {}", self.label, self.text)
    }

    /// As an event tells it: `begin` and `length` are those of the packet's payload in the stream.
    pub(in crate::dissect) fn message(self, begin: u64, length: u32) -> Message {
        let within = |offset: u64| {
            let bytes = offset.saturating_sub(begin).min(length.into());
            u32::try_from(bytes).unwrap_or(length)
        };
        Message {
            protocol: self.protocol,
            summary: self.line(),
            offset: self.start,
            length: self.end - self.start,
            from: within(self.start),
            to: within(self.end),
            details: self.details,
        }
    }
}

/// One line on the messages that a packet completed; `None` where there are none.
pub(in crate::dissect) fn compose(found: &[Found]) -> Option<String> {
    let mut text = String::new();
    let mut label = "";
    for (index, each) in found.iter().take(NAMED).enumerate() {
        if index > 0 {
            text.push_str(" + ");
        }
        if each.label != label && !each.bare {
            text.push_str(&each.label);
            text.push(' ');
        }
        label = &each.label;
        text.push_str(&each.text);
    }
    if found.len() > NAMED {
        text.push_str(&format!(" + {} more", found.len() - NAMED));
    }
    (!found.is_empty()).then_some(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(protocol: Protocol, text: &str) -> Found {
        Found::new(protocol, text, 10, 20)
    }

    #[test]
    fn a_line_names_a_protocol_once_and_counts_what_is_too_much() {
        let head = Found {
            bare: true,
            ..found(Protocol::Http1, "GET / HTTP/1.1")
        };
        let body = found(Protocol::Http1, "body 5 B");
        assert_eq!(compose(&[]), None);
        assert_eq!(
            compose(&[head.clone(), body.clone()]).unwrap(),
            "GET / HTTP/1.1 + body 5 B"
        );
        assert_eq!(
            compose(&[body, head]).unwrap(),
            "HTTP/1.1 body 5 B + GET / HTTP/1.1"
        );
        let ping = found(Protocol::WebSocket, "ping");
        assert_eq!(compose(std::slice::from_ref(&ping)).unwrap(), "WS ping");
        let many = vec![ping; 5];
        assert_eq!(compose(&many).unwrap(), "WS ping + ping + ping + 2 more");
    }

    #[test]
    fn a_message_tells_which_part_of_the_packet_it_ends_in() {
        let place = |begin, length| {
            let message = found(Protocol::Tls, "x").message(begin, length);
            (message.from, message.to)
        };
        assert_eq!(place(10, 100), (0, 10));
        assert_eq!(place(5, 100), (5, 15));
        assert_eq!(place(15, 100), (0, 5));
        assert_eq!(place(0, 10), (10, 10));
    }
}
