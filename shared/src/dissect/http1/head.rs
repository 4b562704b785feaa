//! A message's head: the first line and the header fields (RFC 9112, sections 2 to 5).

use std::ops::Range;

use super::first_line::{is_request_line, is_status_line};
use crate::dissect::{Field, Stopped, field::Fields, short, text::ascii};

/// Header fields of one head that are kept.
const MOST_FIELDS: usize = 100;

/// The longest value that is shown, in characters.
const MAX_VALUE: usize = 256;

/// The head of a request or a response.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Head<'a> {
    /// The first line.
    pub start: Start<'a>,
    /// The header fields in order, without those whose line has no colon.
    pub fields: Vec<HeaderField<'a>>,
    /// Length of the head in bytes, the empty line included.
    pub length: usize,
    /// The first line that is no header field.
    pub stopped: Option<Stopped>,
    /// Where the first line stands.
    line: Range<usize>,
}

/// A first line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Start<'a> {
    /// Of a request.
    Request {
        /// The method, such as `GET`.
        method: &'a [u8],
        /// What it is about, such as `/index.html`.
        target: &'a [u8],
        /// The version's second digit.
        minor: u8,
    },
    /// Of a response.
    Status {
        /// The version's second digit.
        minor: u8,
        /// The status code, 0 to 999.
        code: u16,
        /// What the server says to it.
        reason: &'a [u8],
    },
}

/// A header field, with any continuation lines.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HeaderField<'a> {
    /// Its name as it was sent.
    pub name: &'a [u8],
    /// Its value without the space around it.
    pub value: &'a [u8],
    /// The whole line, without its end.
    pub range: Range<usize>,
}

impl<'a> Head<'a> {
    /// Where the empty line that ends a head begins, searched from `from` on; the second number is
    /// where the head is over.
    pub fn end(bytes: &[u8], from: usize) -> Option<(usize, usize)> {
        let mut at = from;
        loop {
            let newline = at + bytes.get(at..)?.iter().position(|&byte| byte == b'\n')?;
            match bytes.get(newline + 1..)? {
                [b'\n', ..] => return Some((newline + 1, newline + 2)),
                [b'\r', b'\n', ..] => return Some((newline + 1, newline + 3)),
                _ => at = newline + 1,
            }
        }
    }

    /// Reads a head that is there as a whole.
    ///
    /// # Errors
    /// [`Stopped`] where the empty line at its end is not there, or the first line is that of no
    /// request and no response.
    pub fn parse(bytes: &'a [u8]) -> Result<Self, Stopped> {
        // Empty lines before a request line are to be ignored (RFC 9112, section 2.2).
        let mut begin = 0;
        while bytes
            .get(begin..)
            .is_some_and(|rest| rest.starts_with(b"\r\n"))
        {
            begin += 2;
        }
        let Some((empty, length)) = Self::end(bytes, begin) else {
            return Err(short(bytes, bytes.len() + 1));
        };
        let mut lines = Lines {
            bytes,
            at: begin,
            end: empty,
        };
        let line = lines.next().unwrap_or(begin..begin);
        let start = start(bytes.get(line.clone()).unwrap_or_default());
        let Some(start) = start else {
            return Err(Stopped::invalid(begin, "no first line of HTTP/1.x"));
        };
        let mut head = Self {
            start,
            fields: Vec::new(),
            length,
            stopped: None,
            line,
        };
        head.read_fields(bytes, lines);
        Ok(head)
    }

    fn read_fields(&mut self, bytes: &'a [u8], lines: Lines<'_>) {
        for range in lines {
            let line = bytes.get(range.clone()).unwrap_or_default();
            if line.starts_with(b" ") || line.starts_with(b"\t") {
                // A continuation (RFC 9112, section 5.2) belongs to the field before it.
                if let Some(last) = self.fields.last_mut() {
                    last.range.end = range.end;
                }
                continue;
            }
            let Some(colon) = line.iter().position(|&byte| byte == b':') else {
                let stopped = Stopped::invalid(range.start, "a header field without a colon");
                self.stopped = self.stopped.or(Some(stopped));
                continue;
            };
            if self.fields.len() == MOST_FIELDS {
                let stopped = Stopped::invalid(range.start, "more header fields than are kept");
                self.stopped = self.stopped.or(Some(stopped));
                break;
            }
            self.fields.push(HeaderField {
                name: &line[..colon],
                value: &[],
                range,
            });
        }
        // Once for each field: a field may have very many continuation lines, and where they are
        // blank, each of them would have all those before it trimmed again.
        for field in &mut self.fields {
            let whole = bytes.get(field.range.clone()).unwrap_or_default();
            field.value = value(whole, field.name.len());
        }
    }

    /// The values of the fields with that name, in order.
    pub fn values(&self, name: &str) -> impl Iterator<Item = &'a [u8]> {
        self.fields
            .iter()
            .filter(move |field| field.name.eq_ignore_ascii_case(name.as_bytes()))
            .map(|field| field.value)
    }

    /// Whether a list in the fields with that name has that item (RFC 9110, section 5.6.1).
    pub fn lists(&self, name: &str, item: &str) -> bool {
        self.values(name)
            .flat_map(|value| value.split(|&byte| byte == b','))
            .any(|each| each.trim_ascii().eq_ignore_ascii_case(item.as_bytes()))
    }

    /// The first line, as text.
    pub fn summary(&self) -> String {
        match self.start {
            Start::Request {
                method,
                target,
                minor,
            } => format!("{} {} HTTP/1.{minor}", ascii(method, 32), ascii(target, 60)),
            Start::Status {
                minor,
                code,
                reason,
            } => format!("HTTP/1.{minor} {code:03} {}", ascii(reason, 60))
                .trim_end()
                .to_owned(),
        }
    }

    /// What it says; ranges count from its first byte.
    pub fn details(&self) -> Vec<Field> {
        let mut fields = Fields::new();
        let name = match self.start {
            Start::Request { .. } => "Request",
            Start::Status { .. } => "Status",
        };
        fields.add(name, self.summary(), self.line.clone());
        for field in &self.fields {
            let name = ascii(field.name, 64);
            fields.add(name, ascii(field.value, MAX_VALUE), field.range.clone());
        }
        if let Some(stopped) = self.stopped {
            fields.at("Not all read", stopped, stopped.at, 0);
        }
        fields.into_vec()
    }
}

/// The lines of a head as ranges, without their ends.
struct Lines<'a> {
    bytes: &'a [u8],
    at: usize,
    end: usize,
}

impl Iterator for Lines<'_> {
    type Item = Range<usize>;

    fn next(&mut self) -> Option<Self::Item> {
        let rest = self.bytes.get(self.at..self.end)?;
        if rest.is_empty() {
            return None;
        }
        let length = rest
            .iter()
            .position(|&byte| byte == b'\n')
            .unwrap_or(rest.len());
        let line = rest.get(..length).unwrap_or_default();
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        let range = self.at..self.at + line.len();
        self.at += length + 1;
        Some(range)
    }
}

/// What stands behind the colon.
fn value(line: &[u8], colon: usize) -> &[u8] {
    line.get(colon + 1..).unwrap_or_default().trim_ascii()
}

fn start(line: &[u8]) -> Option<Start<'_>> {
    let digit = |byte: Option<&u8>| byte.map_or(0, |byte| byte.wrapping_sub(b'0'));
    if is_status_line(line) {
        let code = line.get(9..12)?;
        return Some(Start::Status {
            minor: digit(line.get(7)),
            code: code
                .iter()
                .fold(0, |code, &byte| code * 10 + u16::from(byte - b'0')),
            reason: line.get(13..).unwrap_or_default(),
        });
    }
    if !is_request_line(line) {
        return None;
    }
    let mut parts = line.split(|&byte| byte == b' ');
    Some(Start::Request {
        method: parts.next()?,
        target: parts.next()?,
        minor: digit(line.last()),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dissect::testing::mutations;

    #[test]
    fn a_request_is_read_line_by_line() {
        let bytes = b"\r\nPOST /a?b HTTP/1.1\r\nHost: example.org\r\nX:\t1 \r\n 2\r\n\r\nbody";
        let head = Head::parse(bytes).unwrap();
        assert_eq!(head.summary(), "POST /a?b HTTP/1.1");
        assert_eq!(&bytes[head.length..], b"body");
        assert_eq!(head.values("host").collect::<Vec<_>>(), [b"example.org"]);
        assert_eq!(head.values("x").collect::<Vec<_>>(), [b"1 \r\n 2"]);
        assert_eq!(head.stopped, None);
        let details = head.details();
        assert_eq!(details[1].name, "Host");
        assert_eq!(&bytes[details[1].range.clone()], b"Host: example.org");
    }

    #[test]
    fn a_response_tells_its_status() {
        let head = Head::parse(b"HTTP/1.0 404 Not Found\nA: b, C ,d\n\n").unwrap();
        assert!(matches!(
            head.start,
            Start::Status {
                minor: 0,
                code: 404,
                ..
            }
        ));
        assert_eq!(head.summary(), "HTTP/1.0 404 Not Found");
        assert!(head.lists("a", "c") && !head.lists("a", "e"));
        assert_eq!(
            Head::parse(b"HTTP/1.1 200\r\n\r\n").unwrap().summary(),
            "HTTP/1.1 200"
        );
    }

    #[test]
    fn a_line_without_a_colon_is_named_and_the_others_are_kept() {
        let head = Head::parse(b"GET / HTTP/1.1\r\nnonsense\r\nA: b\r\n\r\n").unwrap();
        assert_eq!(head.stopped.unwrap().at, 16);
        assert_eq!(head.fields.len(), 1);
    }

    #[test]
    fn what_has_no_end_or_no_first_line_is_refused() {
        assert!(Head::parse(b"GET / HTTP/1.1\r\nHost: a\r\n").is_err());
        assert_eq!(Head::parse(b"hello\r\n\r\n").unwrap_err().at, 0);
        assert!(Head::parse(b"\r\n\r\n\r\n").is_err());
    }

    #[test]
    fn whatever_the_bytes_ranges_are_within_them() {
        let model = b"GET / HTTP/1.1\r\nHost: a\r\nB: c\r\n\r\n";
        mutations(model, 20_000, |bytes| match Head::parse(bytes) {
            Err(stopped) => assert!(stopped.at <= bytes.len()),
            Ok(head) => {
                assert!(head.length <= bytes.len());
                for field in head.details() {
                    assert!(bytes.get(field.range).is_some());
                }
            }
        });
    }
}
