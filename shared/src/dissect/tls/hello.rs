//! ClientHello and ServerHello (RFC 8446, sections 4.1.2 to 4.1.4).

use super::{
    extension::{Extension, Place, Value},
    names,
};
use crate::dissect::{Stopped, field::Fields, reader::Reader, text::list};

/// Cipher suites that are kept.
const MOST_CIPHERS: usize = 128;

/// The random value by which a ServerHello is really a HelloRetryRequest (RFC 8446, section
/// 4.1.3): the SHA-256 of "HelloRetryRequest".
const RETRY: [u8; 32] = [
    0xcf, 0x21, 0xad, 0x74, 0xe5, 0x9a, 0x61, 0x11, 0xbe, 0x1d, 0x8c, 0x02, 0x1e, 0x65, 0xb8, 0x91,
    0xc2, 0xa2, 0x11, 0x16, 0x7a, 0xbb, 0x8c, 0x5e, 0x07, 0x9e, 0x09, 0xe2, 0xc8, 0xa8, 0x33, 0x9c,
];

/// The client's first message.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ClientHello {
    /// The version that clients before TLS 1.3 offered; 0x0303 since.
    pub legacy_version: u16,
    /// Length of the session id, in bytes, 0 to 32; `None` where it is not there any more.
    pub session_id: Option<usize>,
    /// Cipher suites in the order of preference.
    pub ciphers: Vec<u16>,
    /// Extensions in order.
    pub extensions: Vec<Extension>,
}

impl ClientHello {
    /// Reads what is there; `self` holds it even where an error ends the reading.
    pub(super) fn read(&mut self, reader: &mut Reader<'_>) -> Result<(), Stopped> {
        self.legacy_version = reader.u16()?;
        reader.take(32)?;
        self.session_id = Some(reader.part8()?.left());
        let mut ciphers = reader.part16()?;
        while !ciphers.is_empty() && self.ciphers.len() < MOST_CIPHERS {
            self.ciphers.push(ciphers.u16()?);
        }
        reader.part8()?;
        // Before TLS 1.2 a hello might end here.
        if !reader.is_empty() {
            let (extensions, stopped) = Extension::list(reader, Place::ClientHello);
            self.extensions = extensions;
            return stopped.map_or(Ok(()), Err);
        }
        Ok(())
    }

    /// The highest version that it offers.
    pub fn version(&self) -> u16 {
        let offered = self.extensions.iter().find_map(|e| match &e.value {
            Value::Versions(all) => all.iter().filter(|v| !names::is_grease(**v)).max().copied(),
            _ => None,
        });
        offered.unwrap_or(self.legacy_version)
    }

    /// The host that the client wants.
    pub fn server_name(&self) -> Option<&str> {
        self.extensions.iter().find_map(|e| match &e.value {
            Value::ServerName(name) => Some(name.as_str()),
            _ => None,
        })
    }

    /// Whether it offers to resume a session: a pre-shared key, or a ticket of TLS 1.2.
    pub fn offers_resumption(&self) -> bool {
        self.extensions.iter().any(|e| {
            matches!(
                e.value,
                Value::PreSharedKeys(1..) | Value::SessionTicket(1..)
            )
        })
    }

    /// Whether early data follows.
    pub fn has_early_data(&self) -> bool {
        self.extensions
            .iter()
            .any(|e| matches!(e.value, Value::EarlyData(_)))
    }

    /// `at` is where its body begins.
    pub(super) fn fields(&self, at: usize, fields: &mut Fields) {
        fields.at("Version", names::version(self.version()), at, 2);
        let Some(session_id) = self.session_id else {
            return;
        };
        fields.at("Session id", session(session_id), at + 34, 1 + session_id);
        let ciphers = list(self.ciphers.iter().map(|cipher| names::cipher(*cipher)));
        let length = 2 + 2 * self.ciphers.len();
        fields.at("Cipher suites", ciphers, at + 35 + session_id, length);
        fields.extend(self.extensions.iter().map(Extension::field));
    }
}

/// The server's first message, or its request for another ClientHello.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ServerHello {
    /// The version that servers before TLS 1.3 chose; 0x0303 since.
    pub legacy_version: u16,
    /// Whether it asks for another ClientHello.
    pub is_retry: bool,
    /// Length of the session id, in bytes, 0 to 32; `None` where it is not there any more.
    pub session_id: Option<usize>,
    /// The cipher suite.
    pub cipher: u16,
    /// Extensions in order.
    pub extensions: Vec<Extension>,
}

impl ServerHello {
    /// Reads what is there; `self` holds it even where an error ends the reading.
    pub(super) fn read(&mut self, reader: &mut Reader<'_>) -> Result<(), Stopped> {
        self.legacy_version = reader.u16()?;
        self.is_retry = reader.take(32)? == RETRY;
        self.session_id = Some(reader.part8()?.left());
        self.cipher = reader.u16()?;
        reader.u8()?;
        if !reader.is_empty() {
            let place = match self.is_retry {
                true => Place::HelloRetryRequest,
                false => Place::ServerHello,
            };
            let (extensions, stopped) = Extension::list(reader, place);
            self.extensions = extensions;
            return stopped.map_or(Ok(()), Err);
        }
        Ok(())
    }

    /// The version that it chooses.
    pub fn version(&self) -> u16 {
        let chosen = self.extensions.iter().find_map(|e| match e.value {
            Value::Version(version) => Some(version),
            _ => None,
        });
        chosen.unwrap_or(self.legacy_version)
    }

    /// Whether it resumes a session with a pre-shared key. What it does in TLS 1.2 shows only in
    /// the messages that follow.
    pub fn resumes(&self) -> bool {
        self.extensions
            .iter()
            .any(|e| matches!(e.value, Value::SelectedKey(_)))
    }

    /// `at` is where its body begins.
    pub(super) fn fields(&self, at: usize, fields: &mut Fields) {
        fields.at("Version", names::version(self.version()), at, 2);
        let Some(session_id) = self.session_id else {
            return;
        };
        fields.at("Session id", session(session_id), at + 34, 1 + session_id);
        let cipher = names::cipher(self.cipher);
        fields.at("Cipher suite", cipher, at + 35 + session_id, 2);
        fields.extend(self.extensions.iter().map(Extension::field));
    }
}

fn session(length: usize) -> String {
    match length {
        0 => "none".to_owned(),
        length => format!("{length} bytes"),
    }
}
