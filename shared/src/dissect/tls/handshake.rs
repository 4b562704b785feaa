//! Handshake messages in the clear (RFC 8446, section 4; RFC 5246, section 7.4).

use super::{
    extension::{Extension, Place},
    hello::{ClientHello, ServerHello},
    names,
};
use crate::dissect::{Field, Stopped, field::Fields, reader::Reader, text::list};

/// Certificates of one chain that are measured.
const MOST_CERTIFICATES: usize = 32;

/// A handshake message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Handshake {
    /// Its type.
    pub kind: u8,
    /// Length of its body as the header tells it, in bytes, below 2^24.
    pub length: usize,
    /// What it says, as far as it is there.
    pub body: Body,
    /// Where and why the dissection ended early.
    pub stopped: Option<Stopped>,
}

/// The body of a handshake message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Body {
    /// ClientHello.
    Client(ClientHello),
    /// ServerHello or HelloRetryRequest.
    Server(ServerHello),
    /// Certificate of TLS 1.2: the certificates' sizes in bytes, the server's own first.
    Certificates(Vec<usize>),
    /// NewSessionTicket.
    Ticket {
        /// How long it may be used, in seconds.
        lifetime: u32,
        /// Its size in bytes.
        size: usize,
        /// Extensions, which only TLS 1.3 has.
        extensions: Vec<Extension>,
    },
    /// KeyUpdate; whether the peer is asked to update its keys too.
    KeyUpdate(bool),
    /// Another message, of which only type and length are read.
    Other,
}

impl Handshake {
    /// Length of the header, in bytes.
    pub const HEADER: usize = 4;

    /// Reads a message that begins with its header. `version` is the one that was negotiated,
    /// where that is known: a NewSessionTicket of TLS 1.3 has another form than one before.
    ///
    /// # Errors
    /// [`Stopped`] where the header is not all there.
    pub fn parse(bytes: &[u8], version: Option<u16>) -> Result<Self, Stopped> {
        let mut reader = Reader::new(bytes);
        let kind = reader.u8()?;
        let length = reader.u24()? as usize;
        let there = length.min(reader.left());
        let mut message = Self {
            kind,
            length,
            body: Body::Other,
            stopped: None,
        };
        let mut body = reader.part(there)?;
        let read = message.read(&mut body, version);
        let missing = (there < length).then(|| super::short(bytes, Self::HEADER + length));
        message.stopped = missing.or(read.err());
        Ok(message)
    }

    fn read(&mut self, reader: &mut Reader<'_>, version: Option<u16>) -> Result<(), Stopped> {
        match self.kind {
            1 => {
                let mut hello = ClientHello::default();
                let read = hello.read(reader);
                self.body = Body::Client(hello);
                read
            }
            2 => {
                let mut hello = ServerHello::default();
                let read = hello.read(reader);
                self.body = Body::Server(hello);
                read
            }
            4 => self.read_ticket(reader, version),
            11 if version != Some(0x0304) => {
                let mut sizes = Vec::new();
                let mut read = || {
                    let mut all = reader.part24()?;
                    while !all.is_empty() && sizes.len() < MOST_CERTIFICATES {
                        sizes.push(all.part24()?.left());
                    }
                    Ok(())
                };
                let read = read();
                self.body = Body::Certificates(sizes);
                read
            }
            24 => {
                self.body = Body::KeyUpdate(reader.u8()? == 1);
                Ok(())
            }
            _ => Ok(()),
        }
    }

    /// RFC 8446, section 4.6.1, and RFC 5077, section 3.3.
    fn read_ticket(
        &mut self,
        reader: &mut Reader<'_>,
        version: Option<u16>,
    ) -> Result<(), Stopped> {
        let lifetime = reader.u32()?;
        let is_13 = version == Some(0x0304);
        if is_13 {
            reader.u32()?;
            reader.part8()?;
        }
        let size = reader.part16()?.left();
        let (extensions, stopped) = match is_13 {
            true => Extension::list(reader, Place::NewSessionTicket),
            false => (Vec::new(), None),
        };
        self.body = Body::Ticket {
            lifetime,
            size,
            extensions,
        };
        stopped.map_or(Ok(()), Err)
    }

    /// What it is called.
    pub fn name(&self) -> String {
        match &self.body {
            Body::Server(hello) if hello.is_retry => "HelloRetryRequest".to_owned(),
            _ => match names::handshake(self.kind) {
                Some(name) => name.to_owned(),
                None => format!("handshake message {}", self.kind),
            },
        }
    }

    /// One line on what it is.
    pub fn summary(&self) -> String {
        let mut text = self.name();
        match &self.body {
            Body::Client(hello) => {
                if hello.offers_resumption() {
                    text.push_str(" (resumption)");
                }
                if hello.has_early_data() {
                    text.push_str(" (early data)");
                }
            }
            Body::Server(hello) if hello.resumes() => text.push_str(" (resumed)"),
            Body::KeyUpdate(true) => text.push_str(" (requested)"),
            _ => {}
        }
        text
    }

    /// What it says; ranges count from its first byte.
    pub fn fields(&self) -> Vec<Field> {
        let mut fields = Fields::new();
        fields.at("Handshake type", self.name(), 0, 1);
        fields.at("Length", format!("{} bytes", self.length), 1, 3);
        match &self.body {
            Body::Client(hello) => hello.fields(Self::HEADER, &mut fields),
            Body::Server(hello) => hello.fields(Self::HEADER, &mut fields),
            Body::Certificates(sizes) => {
                let total: usize = sizes.iter().sum();
                let each = list(sizes.iter().map(usize::to_string));
                let text = format!("{} of {each} bytes, {total} in all", sizes.len());
                fields.at("Certificates", text, Self::HEADER, self.length);
            }
            Body::Ticket {
                lifetime,
                size,
                extensions,
            } => {
                fields.at("Lifetime", format!("{lifetime} s"), Self::HEADER, 4);
                fields.at("Ticket", format!("{size} bytes"), Self::HEADER, self.length);
                fields.extend(extensions.iter().map(Extension::field));
            }
            Body::KeyUpdate(requested) => {
                let text = match requested {
                    true => "update requested",
                    false => "update not requested",
                };
                fields.at("Answer", text, Self::HEADER, 1);
            }
            Body::Other => {}
        }
        if let Some(stopped) = self.stopped {
            fields.at("Not all read", stopped, stopped.at, 0);
        }
        fields.into_vec()
    }
}
