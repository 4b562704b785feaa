//! First lines of HTTP/1.x messages (RFC 9112, sections 3 and 4).
//!
//! Enough to say what a segment or a relayed chunk begins with, by itself.

/// The longest text that [`first_line`] gives, in characters.
pub const MAX_LINE: usize = 80;

/// How far the end of a line is looked for, in bytes.
const SEARCHED: usize = 8_192;

/// Methods by which a request line is recognised before its end is there (RFC 9110, section 9.3,
/// and PATCH of RFC 5789).
pub(super) const METHODS: [&[u8]; 9] = [
    b"GET", b"HEAD", b"POST", b"PUT", b"DELETE", b"CONNECT", b"OPTIONS", b"TRACE", b"PATCH",
];

/// The request line or status line that the bytes begin with, if they begin with one.
///
/// At most [`MAX_LINE`] characters, the last being `…` where something was left out; bytes other
/// than printable ASCII are written as `\x1b`, so the text is safe in a terminal and a page. A line
/// whose end is not there is accepted where it cannot be mistaken: a status line, or a request with
/// one of the well-known methods.
pub fn first_line(payload: &[u8]) -> Option<String> {
    // Empty lines before a request line are to be ignored (RFC 9112, section 2.2).
    let mut rest = payload;
    while let Some(after) = rest.strip_prefix(b"\r\n") {
        rest = after;
    }
    let window = &rest[..rest.len().min(SEARCHED)];
    let (line, complete) = match window.iter().position(|&byte| byte == b'\n') {
        Some(end) => (&window[..end], true),
        None => (window, false),
    };
    let line = line.strip_suffix(b"\r").unwrap_or(line);
    let recognised = is_status_line(line)
        || if complete {
            is_request_line(line)
        } else {
            is_request_line(line) || begins_request_line(line)
        };
    recognised.then(|| printable(line, !complete && !ends_with_version(line)))
}

/// `HTTP/1.x SP 3DIGIT`, and then nothing or SP and a reason (RFC 9112, section 4).
pub(super) fn is_status_line(line: &[u8]) -> bool {
    line.first_chunk::<12>().is_some_and(|start| {
        is_version(&start[..8])
            && start[8] == b' '
            && start[9..].iter().all(u8::is_ascii_digit)
            && line.get(12).is_none_or(|&byte| byte == b' ')
    })
}

/// `method SP request-target SP HTTP/1.x` (RFC 9112, section 3).
pub(super) fn is_request_line(line: &[u8]) -> bool {
    let mut parts = line.split(|&byte| byte == b' ');
    let (method, target, version) = (parts.next(), parts.next(), parts.next());
    parts.next().is_none()
        && method.is_some_and(is_token)
        && target.is_some_and(|target| !target.is_empty())
        && version.is_some_and(is_version)
}

/// A well-known method and the beginning of a target.
fn begins_request_line(line: &[u8]) -> bool {
    let mut parts = line.splitn(3, |&byte| byte == b' ');
    let (method, target, rest) = (parts.next(), parts.next(), parts.next());
    method.is_some_and(|method| METHODS.contains(&method))
        && target.is_some_and(|target| {
            target.starts_with(b"/") || target.starts_with(b"http") || target == b"*"
        })
        && rest.is_none_or(|rest| b"HTTP/1.".starts_with(rest))
}

fn ends_with_version(line: &[u8]) -> bool {
    line.last_chunk::<8>().is_some_and(|end| is_version(end))
}

fn is_version(text: &[u8]) -> bool {
    text.strip_prefix(b"HTTP/1.")
        .is_some_and(|minor| minor.len() == 1 && minor[0].is_ascii_digit())
}

/// A token of RFC 9110, section 5.6.2, of a length that a method may have.
pub(super) fn is_token(text: &[u8]) -> bool {
    (1..=32).contains(&text.len())
        && text
            .iter()
            .all(|&byte| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte))
}

/// The line as text of at most [`MAX_LINE`] characters.
fn printable(line: &[u8], unfinished: bool) -> String {
    let mut pieces: Vec<String> = line
        .iter()
        .take(MAX_LINE + 1)
        .map(|&byte| match byte {
            b' '..=b'~' => (byte as char).to_string(),
            _ => format!("\\x{byte:02x}"),
        })
        .collect();
    let width = |pieces: &[String]| pieces.iter().map(String::len).sum::<usize>();
    if unfinished || width(&pieces) > MAX_LINE {
        while width(&pieces) > MAX_LINE - 1 {
            pieces.pop();
        }
        pieces.push("…".to_owned());
    }
    pieces.concat()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dissect::testing::mutations;

    fn line(payload: &str) -> Option<String> {
        first_line(payload.as_bytes())
    }

    #[test]
    fn request_and_status_lines_are_recognised() {
        for (payload, expected) in [
            ("GET /1 HTTP/1.1\r\nHost: a\r\n\r\n", "GET /1 HTTP/1.1"),
            ("GET / HTTP/1.0\n\n", "GET / HTTP/1.0"),
            ("\r\nPOST /a HTTP/1.1\r\n", "POST /a HTTP/1.1"),
            ("BREW pot-1 HTTP/1.1\r\n", "BREW pot-1 HTTP/1.1"),
            ("OPTIONS * HTTP/1.1\r\n", "OPTIONS * HTTP/1.1"),
            ("HTTP/1.1 200 OK\r\n", "HTTP/1.1 200 OK"),
            ("HTTP/1.1 200\r\n", "HTTP/1.1 200"),
            ("HTTP/1.1 404 Not Found\r\n", "HTTP/1.1 404 Not Found"),
        ] {
            assert_eq!(line(payload).as_deref(), Some(expected), "{payload:?}");
        }
    }

    #[test]
    fn what_is_no_first_line_is_left_alone() {
        for payload in [
            "",
            "hello",
            "hello\r\n",
            "GET",
            "GET \r\n",
            "GET /\r\n",
            "GET / HTTP/2.0\r\n",
            "GET /a b HTTP/1.1\r\n",
            "G\u{7f}T / HTTP/1.1\r\n",
            "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
            "HTTP/1.1 2000\r\n",
            "HTTP/1.1 OK\r\n",
            "HTTP/1.10 200 OK\r\n",
            "BREW /unfinished",
        ] {
            assert_eq!(line(payload), None, "{payload:?}");
        }
    }

    #[test]
    fn a_line_without_its_end_is_marked() {
        assert_eq!(line("GET /unfin").as_deref(), Some("GET /unfin…"));
        assert_eq!(line("GET / HTTP/").as_deref(), Some("GET / HTTP/…"));
        assert_eq!(line("GET / HTTP/1.1").as_deref(), Some("GET / HTTP/1.1"));
    }

    #[test]
    fn a_long_line_is_cut_to_80_characters() {
        let long = format!("GET /{} HTTP/1.1\r\n", "a".repeat(200));
        let text = line(&long).unwrap();
        assert_eq!(text.chars().count(), MAX_LINE);
        assert!(text.starts_with("GET /aaa") && text.ends_with("a…"));
        let fits = format!("GET /{} HTTP/1.1", "a".repeat(66));
        assert_eq!(line(&format!("{fits}\r\n")), Some(fits));
    }

    #[test]
    fn control_characters_are_escaped() {
        assert_eq!(
            first_line(b"GET /\x1b[2J\xff HTTP/1.1\r\n").as_deref(),
            Some("GET /\\x1b[2J\\xff HTTP/1.1")
        );
        assert_eq!(
            first_line(b"HTTP/1.1 200 a\x00\tb\r\n").as_deref(),
            Some("HTTP/1.1 200 a\\x00\\x09b")
        );
    }

    #[test]
    fn whatever_the_bytes_the_text_is_short_and_printable() {
        mutations(
            b"GET /index.html HTTP/1.1\r\nHost: a\r\n\r\n",
            20_000,
            |bytes| {
                if let Some(text) = first_line(bytes) {
                    assert!(text.chars().count() <= MAX_LINE, "{text}");
                    assert!(text.chars().all(|c| c == '…' || (' '..='~').contains(&c)));
                }
            },
        );
    }
}
