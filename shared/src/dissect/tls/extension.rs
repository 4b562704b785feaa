//! Extensions of hellos and of session tickets (RFC 8446, section 4.2).

use super::names;
use crate::dissect::{
    Field, Stopped,
    field::Fields,
    reader::Reader,
    text::{ascii, list},
};

/// Extensions of one message that are kept; browsers send about twenty.
const MOST_EXTENSIONS: usize = 128;

/// Items of one list that are kept.
const MOST_ITEMS: usize = 64;

/// The longest name that is kept, in characters.
const MAX_NAME: usize = 255;

/// In which message an extension stands: the same number has another form in each.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Place {
    ClientHello,
    ServerHello,
    HelloRetryRequest,
    NewSessionTicket,
}

/// An extension.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Extension {
    /// Its number.
    pub kind: u16,
    /// Where its type begins, counted from the beginning of what was dissected.
    pub at: usize,
    /// Length of its value, in bytes.
    pub length: usize,
    /// What it says.
    pub value: Value,
}

/// What an extension says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Value {
    /// The host that the client wants (RFC 6066, section 3).
    ServerName(String),
    /// Application protocols offered, or the one chosen (RFC 7301).
    Alpn(Vec<String>),
    /// Versions offered.
    Versions(Vec<u16>),
    /// The version chosen.
    Version(u16),
    /// Groups offered.
    Groups(Vec<u16>),
    /// Groups for which key shares are there; the one that is asked for in a HelloRetryRequest.
    KeyShares(Vec<u16>),
    /// Sessions that the client could resume.
    PreSharedKeys(usize),
    /// Which of them the server resumes.
    SelectedKey(u16),
    /// How a pre-shared key may be used: alone, with a key exchange, or both.
    KeyExchangeModes(Vec<u8>),
    /// Early data follows, is accepted, or, in a ticket, may be that many bytes.
    EarlyData(Option<u32>),
    /// A session ticket of TLS 1.2 of that many bytes (RFC 5077); 0 asks for one.
    SessionTicket(usize),
    /// A heartbeat may be sent to the sender (1), or not (2) (RFC 6520).
    Heartbeat(u8),
    /// The longest record that the sender wants, in bytes (RFC 8449).
    RecordSizeLimit(u16),
    /// Something that is not interpreted here.
    Other,
    /// Something whose form is not that of its number.
    Malformed,
}

impl Extension {
    /// Reads all extensions behind their common length.
    pub(super) fn list(reader: &mut Reader<'_>, place: Place) -> (Vec<Self>, Option<Stopped>) {
        let mut extensions = Vec::new();
        let mut read = || -> Result<(), Stopped> {
            let mut all = reader.part16()?;
            while !all.is_empty() {
                let at = all.at();
                if extensions.len() == MOST_EXTENSIONS {
                    return Err(Stopped::invalid(at, "more extensions than are kept"));
                }
                let kind = all.u16()?;
                let mut body = all.part16()?;
                let length = body.left();
                extensions.push(Self {
                    kind,
                    at,
                    length,
                    value: value(kind, place, &mut body).unwrap_or(Value::Malformed),
                });
            }
            Ok(())
        };
        let stopped = read().err();
        (extensions, stopped)
    }

    /// Its name and what it says, for those that say something worth reading.
    pub(super) fn field(&self) -> Field {
        let (name, value) = match &self.value {
            Value::ServerName(name) => ("Server name", name.clone()),
            Value::Alpn(names) => ("Application protocols", list(names)),
            Value::Versions(all) => ("Supported versions", numbers(all, names::version)),
            Value::Version(version) => ("Selected version", names::version(*version)),
            Value::Groups(all) => ("Supported groups", numbers(all, names::group)),
            Value::KeyShares(all) => ("Key shares", numbers(all, names::group)),
            Value::PreSharedKeys(count) => ("Pre-shared keys", count.to_string()),
            Value::SelectedKey(index) => ("Selected pre-shared key", index.to_string()),
            Value::KeyExchangeModes(modes) => (
                "Pre-shared key modes",
                list(modes.iter().map(|mode| match mode {
                    0 => "alone".to_owned(),
                    1 => "with (EC)DHE".to_owned(),
                    other => format!("mode {other}"),
                })),
            ),
            Value::EarlyData(None) => ("Early data", "yes".to_owned()),
            Value::EarlyData(Some(most)) => ("Early data", format!("at most {most} bytes")),
            Value::SessionTicket(0) => ("Session ticket", "none yet".to_owned()),
            Value::SessionTicket(length) => ("Session ticket", format!("{length} bytes")),
            Value::Heartbeat(1) => ("Heartbeat", "allowed".to_owned()),
            Value::Heartbeat(_) => ("Heartbeat", "not allowed".to_owned()),
            Value::RecordSizeLimit(limit) => ("Record size limit", format!("{limit} bytes")),
            Value::Other | Value::Malformed => {
                let malformed = match self.value {
                    Value::Malformed => ", malformed",
                    _ => "",
                };
                let name = names::extension(self.kind);
                (
                    "Extension",
                    format!("{name} ({} bytes{malformed})", self.length),
                )
            }
        };
        let mut fields = Fields::new();
        fields.at(name, value, self.at, 4 + self.length);
        // Exactly one was added.
        fields.into_vec().swap_remove(0)
    }
}

fn numbers(all: &[u16], name: fn(u16) -> String) -> String {
    list(all.iter().map(|number| name(*number)))
}

/// Reads one extension's value.
fn value(kind: u16, place: Place, body: &mut Reader<'_>) -> Result<Value, Stopped> {
    use Place::{ClientHello, HelloRetryRequest, NewSessionTicket, ServerHello};
    Ok(match (kind, place) {
        (0, ClientHello) => {
            let mut names = body.part16()?;
            match names.u8()? {
                0 => Value::ServerName(ascii(names.part16()?.rest(), MAX_NAME)),
                _ => Value::Other,
            }
        }
        (10, ClientHello) => Value::Groups(u16s(&mut body.part16()?)?),
        (15, _) => Value::Heartbeat(body.u8()?),
        (16, ClientHello | ServerHello) => {
            let mut all = body.part16()?;
            let mut names = Vec::new();
            while !all.is_empty() && names.len() < MOST_ITEMS {
                names.push(ascii(all.part8()?.rest(), MAX_NAME));
            }
            Value::Alpn(names)
        }
        (28, _) => Value::RecordSizeLimit(body.u16()?),
        (35, _) => Value::SessionTicket(body.left()),
        (41, ClientHello) => {
            let mut identities = body.part16()?;
            let mut count = 0;
            while !identities.is_empty() {
                identities.part16()?;
                identities.u32()?;
                count += 1;
            }
            Value::PreSharedKeys(count)
        }
        (41, ServerHello) => Value::SelectedKey(body.u16()?),
        (42, NewSessionTicket) => Value::EarlyData(Some(body.u32()?)),
        (42, _) => Value::EarlyData(None),
        (43, ClientHello) => Value::Versions(u16s(&mut body.part8()?)?),
        (43, ServerHello | HelloRetryRequest) => Value::Version(body.u16()?),
        (45, ClientHello) => {
            let mut modes = body.part8()?.rest().to_vec();
            modes.truncate(MOST_ITEMS);
            Value::KeyExchangeModes(modes)
        }
        (51, ClientHello) => {
            let mut shares = body.part16()?;
            let mut groups = Vec::new();
            while !shares.is_empty() && groups.len() < MOST_ITEMS {
                groups.push(shares.u16()?);
                shares.part16()?;
            }
            Value::KeyShares(groups)
        }
        (51, ServerHello | HelloRetryRequest) => Value::KeyShares(vec![body.u16()?]),
        _ => Value::Other,
    })
}

fn u16s(reader: &mut Reader<'_>) -> Result<Vec<u16>, Stopped> {
    let mut all = Vec::new();
    while !reader.is_empty() && all.len() < MOST_ITEMS {
        all.push(reader.u16()?);
    }
    Ok(all)
}
