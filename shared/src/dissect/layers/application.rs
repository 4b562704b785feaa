//! What a payload carries, as layers.

use super::{Layer, note};
use crate::dissect::{
    Protocol,
    field::Fields,
    http1::Head,
    http2::{FRAME_HEADER, Frame, FrameHeader, PREFACE, kind},
    text::utf8,
    tls::{Alert, Content, Handshake, RECORD_HEADER, Record, names},
    websocket::Header,
};

/// Messages of one payload that are read.
const MOST_MESSAGES: usize = 64;

/// Characters of a payload that are shown.
const PREVIEW: usize = 80;

/// Adds the layers of a segment's payload.
pub(super) fn payload(bytes: &[u8], at: usize, protocol: Option<Protocol>, tree: &mut Vec<Layer>) {
    let could_be = |candidate| protocol.is_none_or(|known| known == candidate);
    let mut read = 0;
    for _ in 0..MOST_MESSAGES {
        let Some(rest) = bytes.get(read..).filter(|rest| !rest.is_empty()) else {
            break;
        };
        let at = at + read;
        let layer = if could_be(Protocol::Tls) && (protocol.is_some() || rest.len() > 5) {
            record(rest, at)
        } else {
            None
        };
        let layer = layer
            .or_else(|| could_be(Protocol::Http1).then(|| head(rest, at)).flatten())
            .or_else(|| {
                could_be(Protocol::Http2)
                    .then(|| frame(rest, at, protocol))
                    .flatten()
            })
            .or_else(|| {
                (protocol == Some(Protocol::WebSocket))
                    .then(|| ws(rest, at))
                    .flatten()
            });
        let Some(layer) = layer else {
            break;
        };
        read += layer.range.len();
        tree.push(layer);
    }
    data(bytes.get(read..).unwrap_or_default(), at + read, tree);
}

/// Adds bytes of which nothing more is known.
pub(super) fn data(bytes: &[u8], at: usize, tree: &mut Vec<Layer>) {
    if bytes.is_empty() {
        return;
    }
    let mut fields = Fields::new();
    fields.at("Length", format!("{} bytes", bytes.len()), 0, bytes.len());
    let summary = match std::str::from_utf8(bytes) {
        Ok(_) => utf8(bytes, PREVIEW),
        Err(_) => format!("{} B", bytes.len()),
    };
    tree.push(Layer::new(
        "Data",
        summary,
        at..at + bytes.len(),
        fields.into_vec(),
    ));
}

fn record(bytes: &[u8], at: usize) -> Option<Layer> {
    let record = Record::parse(bytes).ok()?;
    let mut fields = Fields::new();
    fields.at("Content type", record.content.as_str(), 0, 1);
    fields.at("Version", names::version(record.version), 1, 2);
    fields.at("Length", format!("{} bytes", record.length), 3, 2);
    let mut inner = Vec::new();
    let mut summary = record.content.as_str().to_owned();
    match record.content {
        Content::Alert if record.length == Alert::LENGTH => {
            if let Ok(alert) = Alert::parse(record.fragment) {
                fields.at("Level", alert.level(), RECORD_HEADER, 1);
                fields.at("Description", alert.name(), RECORD_HEADER + 1, 1);
                summary = format!("alert {}", alert.name());
            }
        }
        Content::Alert | Content::ApplicationData => {
            summary = format!("encrypted {summary} {} B", record.length);
        }
        Content::Handshake => {
            inner = handshake(record.fragment, at + RECORD_HEADER);
            match inner.first() {
                Some(first) => summary.clone_from(&first.summary),
                None => summary = format!("encrypted handshake {} B", record.length),
            }
        }
        Content::ChangeCipherSpec | Content::Heartbeat => {}
    }
    note(&mut fields, record.stopped);
    let end = RECORD_HEADER + record.fragment.len();
    Some(Layer::new("TLS record", summary, at..at + end, fields.into_vec()).with(inner))
}

/// The messages of a handshake record, as far as they are in the clear and begin with it.
fn handshake(fragment: &[u8], at: usize) -> Vec<Layer> {
    let mut layers = Vec::new();
    let mut read = 0;
    while let Some(rest) = fragment.get(read..).filter(|rest| !rest.is_empty())
        && layers.len() < MOST_MESSAGES
    {
        let Ok(message) = Handshake::parse(rest, None) else {
            break;
        };
        // Encrypted bytes look like a message of no known type, or of a length that does not fit;
        // of those in the clear, only a hello or a chain of certificates outgrows its record.
        let known = names::handshake(message.kind).is_some();
        let whole = Handshake::HEADER + message.length <= rest.len();
        if !known || !(whole || matches!(message.kind, 1 | 2 | 11)) {
            break;
        }
        let end = read + (Handshake::HEADER + message.length).min(rest.len());
        let range = at + read..at + end;
        let (summary, fields) = (message.summary(), message.fields());
        layers.push(Layer::new("TLS handshake", summary, range, fields));
        read = end;
    }
    layers
}

fn head(bytes: &[u8], at: usize) -> Option<Layer> {
    let head = Head::parse(bytes).ok()?;
    let range = at..at + head.length;
    Some(Layer::new(
        "HTTP/1.1",
        head.summary(),
        range,
        head.details(),
    ))
}

fn frame(bytes: &[u8], at: usize, protocol: Option<Protocol>) -> Option<Layer> {
    if bytes.starts_with(PREFACE) {
        let range = at..at + PREFACE.len();
        return Some(Layer::new("HTTP/2", "preface", range, Vec::new()));
    }
    let header = FrameHeader::parse(bytes).ok()?;
    let is_settings = header.kind == kind::SETTINGS && header.stream == 0 && header.length < 600;
    if protocol.is_none() && !is_settings {
        return None;
    }
    let whole = FRAME_HEADER + header.length as usize;
    let payload = bytes.get(FRAME_HEADER..whole);
    let (summary, fields) = match payload {
        Some(payload) => {
            let frame = Frame::parse(header, payload);
            let mut all = Fields::new();
            all.extend(frame.fields());
            if let Some(block) = frame.block() {
                let text = format!("{} bytes, compressed", block.len());
                all.at("Header block", text, whole - block.len(), block.len());
            }
            (frame.summary(), all)
        }
        None => {
            let text = format!("{} {} B, cut off", header.name(), header.length);
            (text, header.fields())
        }
    };
    let range = at..at + whole.min(bytes.len());
    Some(Layer::new("HTTP/2", summary, range, fields.into_vec()))
}

fn ws(bytes: &[u8], at: usize) -> Option<Layer> {
    let header = Header::parse(bytes).ok()?;
    let payload = bytes.get(header.length..).unwrap_or_default();
    let length = usize::try_from(header.payload).unwrap_or(usize::MAX);
    let start = header.unmasked(&payload[..payload.len().min(length).min(400)]);
    let end = header.length.saturating_add(length).min(bytes.len());
    Some(Layer::new(
        "WebSocket",
        header.summary(&start),
        at..at + end,
        header.fields(&start),
    ))
}
