//! Whether a stream begins with HTTP/1.x, decided as early as its bytes allow.

use super::first_line::{METHODS, is_request_line, is_status_line, is_token};

/// How much of a stream is looked at for the end of its first line, in bytes.
const SEARCHED: usize = 8_192;

/// What a stream's first bytes are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Recognised {
    /// A message of HTTP/1.x.
    Yes,
    /// Something else.
    No,
    /// More bytes are needed to tell.
    Undecided,
}

/// Decides from the first bytes of a stream. The answer depends on the bytes alone, not on how
/// they were cut into segments: once it is yes or no, more bytes do not change it.
pub fn recognise(stream: &[u8]) -> Recognised {
    let mut rest = stream;
    while let Some(after) = rest.strip_prefix(b"\r\n") {
        rest = after;
    }
    if rest.is_empty() || rest == b"\r" {
        return match stream.len() {
            0..=64 => Recognised::Undecided,
            _ => Recognised::No,
        };
    }
    let window = &rest[..rest.len().min(SEARCHED)];
    if b"HTTP/1.".starts_with(&window[..window.len().min(7)]) {
        return match window.len() {
            0..=11 => Recognised::Undecided,
            // Its first twelve bytes make a status line or do not.
            _ if is_status_line(&window[..12]) => Recognised::Yes,
            _ => Recognised::No,
        };
    }
    let Some(space) = window.iter().position(|&byte| byte == b' ') else {
        let could_be = window.len() <= 32 && is_token(window);
        return match could_be {
            true => Recognised::Undecided,
            false => Recognised::No,
        };
    };
    let (method, target) = (&window[..space], &window[space + 1..]);
    if !is_token(method) {
        return Recognised::No;
    }
    // With a method that everybody knows, the beginning of a target is enough.
    if METHODS.contains(&method) {
        for start in [&b"/"[..], b"http", b"* "] {
            if target.starts_with(start) {
                return Recognised::Yes;
            }
        }
    }
    match window.iter().position(|&byte| byte == b'\n') {
        Some(end) => {
            let line = &window[..end];
            match is_request_line(line.strip_suffix(b"\r").unwrap_or(line)) {
                true => Recognised::Yes,
                false => Recognised::No,
            }
        }
        None if window.len() == SEARCHED => Recognised::No,
        None => Recognised::Undecided,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_and_responses_are_recognised_early() {
        for stream in [
            "GET /",
            "OPTIONS * HTTP/1.1\r\n",
            "POST http://a/ HTTP/1.1\r\n",
            "BREW pot HTTP/1.1\r\n",
            "CONNECT a:443 HTTP/1.1\r\n",
            "\r\n\r\nGET /",
            "HTTP/1.1 200 OK",
            "HTTP/1.0 404",
        ] {
            assert_eq!(recognise(stream.as_bytes()), Recognised::Yes, "{stream:?}");
        }
        for stream in [
            "",
            "\r",
            "\r\n",
            "G",
            "GET ",
            "hello",
            "BREW pot HT",
            "HTTP/1.1 20",
        ] {
            assert_eq!(
                recognise(stream.as_bytes()),
                Recognised::Undecided,
                "{stream:?}"
            );
        }
        for stream in [
            "ping\n",
            "hello world\n",
            "\u{16}\u{3}\u{1}",
            "PRI * HTTP/2.0\r\n",
            "HTTP/1.1 abc",
            "a-method-of-more-than-32-characters",
        ] {
            assert_eq!(recognise(stream.as_bytes()), Recognised::No, "{stream:?}");
        }
    }

    #[test]
    fn a_decision_stands_whatever_follows() {
        for stream in [
            "GET /index HTTP/1.1\r\nHost: a\r\n\r\n",
            "HTTP/1.1 200 OK\r\n\r\n",
            "hello world, this is no HTTP\r\nat all",
            "BREW pot-1 HTTP/1.1\r\n\r\n",
            "GET me HTTP/1.1\r\n",
        ] {
            let last = recognise(stream.as_bytes());
            for end in 0..stream.len() {
                let early = recognise(&stream.as_bytes()[..end]);
                assert!(
                    early == Recognised::Undecided || early == last,
                    "{stream:?} {end}"
                );
            }
        }
    }
}
