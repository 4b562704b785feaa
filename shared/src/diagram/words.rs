//! The short texts of a diagram: spans of time, labels of packets, what an application's call gave.
//!
//! Promises ASCII unless a payload's own summary is not, so that a terminal can print every text.
//! Which text fits where is the layout's business.

use std::fmt::Write as _;

use crate::{
    event::{
        Call, ChunkContent, Fact, FlowState, HandshakeKind, HttpExchange, OutputStream,
        ProcessState, Role, TlsHandshake,
    },
    units,
};

use super::{
    flight::{Carries, End, Flight, Segment},
    scene::NoteSource,
};

/// A span of time in three significant places: `820 us`, `20.4 ms`, `1.98 s`, `45.0 s`.
pub fn brief(micros: u64) -> String {
    let seconds = micros as f64 / 1e6;
    match micros {
        0..1_000_000 => units::human(micros),
        1_000_000..9_995_000 => format!("{seconds:.2} s"),
        9_995_000..119_950_000 => format!("{seconds:.1} s"),
        _ => units::human(micros),
    }
}

/// By how much a measurement missed its prediction, with its sign: `+12.0 ms`, `-3 us`.
pub(super) fn difference(measured_us: u64, predicted_us: u64) -> String {
    let sign = if measured_us < predicted_us { '-' } else { '+' };
    format!("{sign}{}", brief(measured_us.abs_diff(predicted_us)))
}

/// What a packet is, as its arrow's label says it: `SYN, ACK`, `5 B`, `GET /1 HTTP/1.1`, `probe 2`.
///
/// Sequence numbers are left to [`description`].
pub fn label(flight: &Flight) -> String {
    match &flight.carries {
        Carries::Segment(segment) => segment_label(segment, &flight.summary),
        Carries::Chunk(content, bytes) => match content {
            ChunkContent::Open => "connect".to_owned(),
            ChunkContent::Data => data_label(*bytes, &flight.summary),
            ChunkContent::End => "end of stream".to_owned(),
            ChunkContent::Reset => "reset".to_owned(),
        },
        Carries::Other => flight.summary.to_string(),
    }
}

fn segment_label(segment: &Segment, summary: &str) -> String {
    let plain = || {
        let mut parts = Vec::new();
        if segment.payload > 0 {
            parts.push(data_label(segment.payload, summary));
        }
        if segment.flags.rst {
            parts.push("RST".to_owned());
        } else {
            if segment.flags.syn {
                parts.push("SYN".to_owned());
            }
            if segment.flags.fin {
                parts.push("FIN".to_owned());
            }
            if segment.flags.ack && segment.payload == 0 {
                parts.push("ACK".to_owned());
            }
        }
        if parts.is_empty() {
            summary.to_owned()
        } else {
            parts.join(", ")
        }
    };
    match segment.role {
        Role::KeepAliveProbe { nth } => format!("probe {nth}"),
        Role::Retransmission { nth } => format!("retransmission {nth}: {}", plain()),
        Role::Ordinary | Role::KeepAliveAck => plain(),
    }
}

/// A payload's own first line where its summary has one, else its size. Flags are told apart.
fn data_label(bytes: u32, summary: &str) -> String {
    let mut summary = summary;
    while let Some((name, rest)) = summary.split_once(", ")
        && flag_names(name)
    {
        summary = rest;
    }
    let counted = summary.is_empty()
        || summary
            .strip_suffix("bytes")
            .or_else(|| summary.strip_suffix("byte"))
            .is_some_and(|number| number.trim().parse::<u64>().is_ok());
    if counted || flag_names(summary) {
        format!("{bytes} B")
    } else {
        summary.to_owned()
    }
}

/// Whether a summary merely repeats the segment's flags.
fn flag_names(summary: &str) -> bool {
    summary
        .split(',')
        .all(|name| matches!(name.trim(), "SYN" | "ACK" | "FIN" | "RST" | "PSH" | "URG"))
}

/// Whether a summary is the first line of an HTTP/1.x message (RFC 9112, section 2.1).
pub(super) fn is_http(summary: &str) -> bool {
    summary.starts_with("HTTP/1.")
        || summary.split_once(' ').is_some_and(|(method, rest)| {
            !method.is_empty()
                && method.bytes().all(|b| b.is_ascii_uppercase() || b == b'-')
                && rest.contains(" HTTP/1.")
        })
}

/// All of a packet in a sentence, for a tooltip and for screen readers.
pub fn description(flight: &Flight) -> String {
    let mut text = format!(
        "{} from {} to {}, left at {}",
        label(flight),
        flight.from,
        flight.to,
        units::human(flight.departed_us)
    );
    // Writing to a String cannot fail, so the results are let go.
    let _ = match &flight.end {
        End::InFlight => write!(text, ", still on its way"),
        End::Arrived { at_us, .. } => write!(
            text,
            ", arrived at {} after {}",
            units::human(*at_us),
            brief(at_us.saturating_sub(flight.departed_us))
        ),
        End::Dropped {
            at_us,
            rule,
            reason,
            ..
        } => write!(
            text,
            ", dropped at {} by `{rule}`: {reason}",
            units::human(*at_us)
        ),
    };
    if let Carries::Segment(segment) = &flight.carries {
        let _ = write!(
            text,
            "; connection {}, flags {}, seq {}, ack {}, window {}, {} bytes of payload",
            segment.connection,
            segment.flags.names(),
            segment.seq,
            segment.ack,
            segment.window,
            segment.payload
        );
        let _ = match segment.role {
            Role::Ordinary => Ok(()),
            Role::Retransmission { nth } => write!(text, "; retransmission {nth}"),
            Role::KeepAliveProbe { nth } => write!(text, "; keep-alive probe {nth}"),
            Role::KeepAliveAck => write!(text, "; the answer to a keep-alive probe"),
        };
    }
    text
}

/// What a call gave: `read() -> ETIMEDOUT`; `read() ...` while it has not come back.
pub(super) fn call(call: &Call) -> String {
    let head = format!("{}({})", call.call, call.args);
    match (&call.errno, call.result.as_str()) {
        (None, "") => format!("{head} ..."),
        (None, result) => format!("{head} -> {result}"),
        (Some(errno), "") => format!("{head} -> {errno}"),
        (Some(errno), result) if result.contains(errno.as_str()) => format!("{head} -> {result}"),
        (Some(errno), result) => format!("{head} -> {errno}: {result}"),
    }
}

/// What an application did or saw, or what happened beside the packets, in one line; `None` for
/// facts that are told in another way.
pub fn note(fact: &Fact) -> Option<String> {
    match fact {
        Fact::Call(made) => Some(call(made)),
        Fact::Http(http) => Some(exchange(http)),
        other => happening(other).map(|happening| happening.text),
    }
}

/// What happened beside the packets, as the host's lane tells it: a program, the power, a
/// middlebox. `None` for facts that are told in another way.
pub(super) fn happening(fact: &Fact) -> Option<Happening> {
    let happening = |source, text: String, error| {
        Some(Happening {
            source,
            text,
            error,
        })
    };
    match fact {
        Fact::Tls(tls) => happening(NoteSource::Application, handshake(tls), tls.error.is_some()),
        Fact::Output { stream, text } => {
            let error = *stream == OutputStream::Stderr;
            happening(NoteSource::Application, text.clone(), error)
        }
        Fact::Process { program, state, .. } => match state {
            ProcessState::Started { command } => {
                happening(NoteSource::Application, format!("starts {command}"), false)
            }
            ProcessState::Exited { code } => happening(
                NoteSource::Application,
                format!("{program} exits with {code}"),
                *code != 0,
            ),
            ProcessState::Killed { signal, .. } => happening(
                NoteSource::Application,
                format!("{program} is killed by {signal}"),
                true,
            ),
        },
        Fact::Power { host, on, .. } => {
            let what = if *on { "comes up again" } else { "loses power" };
            happening(NoteSource::Wire, format!("{host} {what}"), !on)
        }
        Fact::Flow {
            middlebox,
            state,
            inside,
            mapped,
            ..
        } => {
            let what = match state {
                FlowState::Opened => "remembers",
                FlowState::Expired => "forgets",
                FlowState::Closed => "closes",
            };
            let mapped = mapped.map_or_else(String::new, |mapped| format!(" as {mapped}"));
            happening(
                NoteSource::Wire,
                format!("{middlebox} {what} {inside}{mapped}"),
                *state == FlowState::Expired,
            )
        }
        _ => None,
    }
}

/// How a TLS handshake went: `TLS 1.3 full handshake, http/1.1`.
fn handshake(tls: &TlsHandshake) -> String {
    let version = tls.version.as_deref().unwrap_or("TLS");
    if let Some(error) = &tls.error {
        return format!("{version} handshake -> {error}");
    }
    let kind = match tls.handshake {
        Some(HandshakeKind::Full) => "full handshake",
        Some(HandshakeKind::FullWithRetry) => "full handshake after a retry",
        Some(HandshakeKind::Resumed) => "resumed",
        None => "handshake",
    };
    match &tls.alpn {
        Some(alpn) => format!("{version} {kind}, {alpn}"),
        None => format!("{version} {kind}"),
    }
}

/// Something that happened beside the packets.
pub(super) struct Happening {
    /// Who speaks.
    pub(super) source: NoteSource,
    /// What happened.
    pub(super) text: String,
    /// Whether it is bad news for somebody.
    pub(super) error: bool,
}

/// What became of an HTTP exchange: `GET /1 -> 200 (new connection)`.
pub(super) fn exchange(exchange: &HttpExchange) -> String {
    let outcome = match (exchange.status, &exchange.error) {
        (Some(status), None) => status.to_string(),
        (Some(status), Some(error)) => format!("{status}, then {error}"),
        (None, Some(error)) => error.clone(),
        (None, None) => "no response".to_owned(),
    };
    let connection = if exchange.reused {
        "reused"
    } else {
        "new connection"
    };
    format!("{} -> {outcome} ({connection})", exchange.line)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_have_three_significant_places() {
        for (micros, text) in [
            (820, "820 us"),
            (20_432, "20.4 ms"),
            (1_980_000, "1.98 s"),
            (45_012_000, "45.0 s"),
            (750_000_000, "12 min 30 s"),
        ] {
            assert_eq!(brief(micros), text);
        }
        assert_eq!(difference(5_012_000, 5_000_000), "+12.0 ms");
        assert_eq!(difference(4_999_997, 5_000_000), "-3 us");
    }

    #[test]
    fn a_summary_is_told_from_a_mere_size() {
        assert_eq!(data_label(5, "5 bytes"), "5 B");
        assert_eq!(data_label(1, "1 byte"), "1 B");
        assert_eq!(data_label(5, "PSH, ACK"), "5 B");
        assert_eq!(data_label(78, "GET /1 HTTP/1.1"), "GET /1 HTTP/1.1");
        assert_eq!(data_label(5, "FIN, 5 bytes"), "5 B");
        assert_eq!(data_label(9, "FIN, a, and b"), "a, and b");
    }

    #[test]
    fn http_is_recognised_by_its_first_line() {
        assert!(is_http("GET /1 HTTP/1.1"));
        assert!(is_http("HTTP/1.1 200 OK"));
        for text in ["SYN", "5 bytes", "", "get /1 HTTP/1.1", "GET /1"] {
            assert!(!is_http(text), "{text}");
        }
    }
}
