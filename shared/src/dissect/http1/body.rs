//! How long a message's body is (RFC 9112, sections 6 and 7.1).

use super::head::{Head, Start};

/// How a body ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Framing {
    /// After so many bytes; 0 where there is no body.
    Length(u64),
    /// With a chunk of no bytes.
    Chunked,
    /// With the connection.
    UntilClose,
    /// Not at all: what follows the head is another protocol's.
    Switched,
    /// Nobody can tell: lengths that contradict each other, or a transfer coding that is unknown.
    Unknown,
}

impl Framing {
    /// Of a message. `request` is the method of the request that a response answers, where it was
    /// seen.
    pub fn of(head: &Head<'_>, request: Option<&[u8]>) -> Self {
        if let Start::Status { code, .. } = head.start {
            if code == 101 {
                return Self::Switched;
            }
            if matches!(code, 100..=199 | 204 | 304) || request == Some(b"HEAD") {
                return Self::Length(0);
            }
            if request == Some(b"CONNECT") && (200..300).contains(&code) {
                return Self::Switched;
            }
        }
        let is_request = matches!(head.start, Start::Request { .. });
        let mut codings = head.values("transfer-encoding").peekable();
        if codings.peek().is_some() {
            let last = codings
                .flat_map(|value| value.split(|&byte| byte == b','))
                .map(<[u8]>::trim_ascii)
                .last();
            return match last {
                Some(last) if last.eq_ignore_ascii_case(b"chunked") => Self::Chunked,
                _ if is_request => Self::Unknown,
                _ => Self::UntilClose,
            };
        }
        let mut lengths = head
            .values("content-length")
            .flat_map(|value| value.split(|&byte| byte == b','))
            .map(|value| decimal(value.trim_ascii()));
        match lengths.next() {
            None if is_request => Self::Length(0),
            None => Self::UntilClose,
            Some(Some(length)) if lengths.all(|other| other == Some(length)) => {
                Self::Length(length)
            }
            Some(_) => Self::Unknown,
        }
    }
}

fn decimal(digits: &[u8]) -> Option<u64> {
    if digits.is_empty() || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    std::str::from_utf8(digits).ok()?.parse().ok()
}

/// The size in a chunk's first line, extensions left aside; `None` where it is no number of at
/// most 16 hexadecimal digits.
pub fn chunk_size(line: &[u8]) -> Option<u64> {
    let size = line.split(|&byte| byte == b';').next()?.trim_ascii();
    if size.is_empty() || size.len() > 16 || !size.iter().all(u8::is_ascii_hexdigit) {
        return None;
    }
    u64::from_str_radix(std::str::from_utf8(size).ok()?, 16).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn framing(head: &str, request: Option<&str>) -> Framing {
        let head = head.replace('\n', "\r\n");
        Framing::of(
            &Head::parse(head.as_bytes()).unwrap(),
            request.map(str::as_bytes),
        )
    }

    #[test]
    fn a_request_without_a_length_has_no_body() {
        assert_eq!(framing("GET / HTTP/1.1\n\n", None), Framing::Length(0));
        assert_eq!(
            framing("POST / HTTP/1.1\nContent-Length: 12\n\n", None),
            Framing::Length(12)
        );
        assert_eq!(
            framing(
                "POST / HTTP/1.1\nTransfer-Encoding: gzip, Chunked\n\n",
                None
            ),
            Framing::Chunked
        );
        assert_eq!(
            framing("POST / HTTP/1.1\nTransfer-Encoding: gzip\n\n", None),
            Framing::Unknown
        );
    }

    #[test]
    fn a_response_depends_on_its_status_and_request() {
        for (head, request, expected) in [
            ("HTTP/1.1 200 OK\n\n", None, Framing::UntilClose),
            (
                "HTTP/1.1 200 OK\nContent-Length: 5\n\n",
                None,
                Framing::Length(5),
            ),
            (
                "HTTP/1.1 200 OK\nContent-Length: 5\n\n",
                Some("HEAD"),
                Framing::Length(0),
            ),
            (
                "HTTP/1.1 304 Not Modified\nContent-Length: 5\n\n",
                None,
                Framing::Length(0),
            ),
            ("HTTP/1.1 204 No Content\n\n", None, Framing::Length(0)),
            (
                "HTTP/1.1 101 Switching Protocols\n\n",
                None,
                Framing::Switched,
            ),
            ("HTTP/1.1 200 OK\n\n", Some("CONNECT"), Framing::Switched),
            (
                "HTTP/1.1 502 Bad Gateway\nContent-Length: 1\n\n",
                Some("CONNECT"),
                Framing::Length(1),
            ),
            (
                "HTTP/1.1 200 OK\nContent-Length: 5\nContent-Length: 6\n\n",
                None,
                Framing::Unknown,
            ),
            (
                "HTTP/1.1 200 OK\nContent-Length: 5, 5\n\n",
                None,
                Framing::Length(5),
            ),
            (
                "HTTP/1.1 200 OK\nContent-Length: -5\n\n",
                None,
                Framing::Unknown,
            ),
        ] {
            assert_eq!(framing(head, request), expected, "{head}");
        }
    }

    #[test]
    fn chunk_sizes_are_hexadecimal_and_may_have_extensions() {
        assert_eq!(chunk_size(b"1a"), Some(26));
        assert_eq!(chunk_size(b"F;name=value"), Some(15));
        assert_eq!(chunk_size(b"ffffffffffffffff"), Some(u64::MAX));
        for line in [&b""[..], b"g", b"-1", b"00000000000000001", b"1 a"] {
            assert_eq!(chunk_size(line), None);
        }
    }
}
