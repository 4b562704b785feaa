//! Runs in formats that other programs read.
//!
//! A format takes a run's header and events as they are recorded and adds nothing to them; where
//! they are sent is the API's and the command line's business. [`write()`] turns a recorded run into
//! one format; [`begin`] does the same event by event, for a run that is still going on.
//!
//! pcapng, JSON Lines and text are written as the events come, in memory that is bounded by what is
//! on its way at once. A picture needs the whole run first, so SVG and Mermaid are written at the
//! end; both are bounded, and say so where they leave something out.

pub mod jsonl;
mod mermaid;
mod pcapng;
mod svg;
mod text;

use std::io::{self, Write};

use linger_shared::event::{Event, Header};
use thiserror::Error;

/// A format that a run can be exported in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Format {
    /// A capture that Wireshark opens, with the secrets that decrypt its TLS.
    Pcapng,
    /// The diagram on one sheet.
    Svg,
    /// A sequence diagram that Markdown renderers draw.
    Mermaid,
    /// The header, then one event a line.
    Jsonl,
    /// The terminal's diagram.
    Text,
}

impl Format {
    /// All of them, the most faithful first.
    pub const ALL: [Self; 5] = [
        Self::Pcapng,
        Self::Jsonl,
        Self::Svg,
        Self::Text,
        Self::Mermaid,
    ];

    /// The name in options and addresses, such as `pcapng`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Pcapng => "pcapng",
            Self::Svg => "svg",
            Self::Mermaid => "mermaid",
            Self::Jsonl => "jsonl",
            Self::Text => "text",
        }
    }

    /// The format with this name.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|format| format.name() == name)
    }

    /// What a file's name ends in, without the dot.
    pub const fn extension(self) -> &'static str {
        match self {
            Self::Pcapng => "pcapng",
            Self::Svg => "svg",
            Self::Mermaid => "mmd",
            Self::Jsonl => "jsonl",
            Self::Text => "txt",
        }
    }

    /// Whether nothing of it can be written before the whole run is known.
    pub const fn is_written_at_the_end(self) -> bool {
        matches!(self, Self::Svg | Self::Mermaid)
    }

    /// The media type, as `Content-Type` says it.
    pub const fn media_type(self) -> &'static str {
        match self {
            // Registered by nobody so far; this is what servers of captures send.
            Self::Pcapng => "application/x-pcapng",
            Self::Jsonl => "application/jsonl; charset=utf-8",
            Self::Svg => "image/svg+xml",
            Self::Mermaid => "text/vnd.mermaid; charset=utf-8",
            Self::Text => "text/plain; charset=utf-8",
        }
    }
}

/// Why a run could not be exported.
#[derive(Debug, Error)]
pub enum ExportError {
    /// The run has no packets to put into a capture.
    #[error(
        "the run `{run}` went over the loopback relay, which carries byte streams: there are no \
         packets for a capture. Run it where `linger doctor` finds network namespaces, or export \
         it as svg, mermaid, text or jsonl"
    )]
    NoPackets {
        /// The run's id.
        run: String,
    },
    /// An event does not read back.
    #[error("event {number} of the record is damaged: {source}")]
    Damaged {
        /// Its place in what was given, from 0.
        number: u64,
        /// What is wrong with it.
        source: serde_json::Error,
    },
    /// What the export was written to takes no more.
    #[error(transparent)]
    Output(#[from] io::Error),
}

/// Turns a run into a format, event by event.
pub trait Exporter: Send {
    /// Takes the next event, and the same event as the log keeps it.
    ///
    /// # Errors
    /// [`ExportError::Output`].
    fn event(&mut self, event: &Event, text: &str, out: &mut dyn Write) -> Result<(), ExportError>;

    /// Writes what is left; nothing comes after it.
    ///
    /// # Errors
    /// [`ExportError::Output`].
    fn finish(&mut self, out: &mut dyn Write) -> Result<(), ExportError>;
}

/// Begins an export: writes what stands before the events.
///
/// # Errors
/// [`ExportError::NoPackets`] where the format needs packets and the run has none;
/// [`ExportError::Output`].
pub fn begin(
    format: Format,
    header: &Header,
    out: &mut dyn Write,
) -> Result<Box<dyn Exporter>, ExportError> {
    begin_with(format, header, text::COLUMNS, out)
}

/// As [`begin`], with the columns that a text may have.
///
/// # Errors
/// Those of [`begin`].
pub fn begin_with(
    format: Format,
    header: &Header,
    columns: usize,
    out: &mut dyn Write,
) -> Result<Box<dyn Exporter>, ExportError> {
    Ok(match format {
        Format::Pcapng => Box::new(pcapng::Pcapng::begin(header, out)?),
        Format::Jsonl => Box::new(jsonl::Jsonl::begin(header, out)?),
        Format::Svg => Box::new(svg::Svg::new(header)),
        Format::Mermaid => Box::new(mermaid::Mermaid::new(header)),
        Format::Text => Box::new(text::Text::new(header, columns)),
    })
}

/// Writes a recorded run: its header, then its events as the log keeps them.
///
/// # Errors
/// [`ExportError`]; what was written until then is no complete file.
pub fn write(
    format: Format,
    header: &Header,
    events: impl IntoIterator<Item = impl AsRef<str>>,
    out: &mut dyn Write,
) -> Result<(), ExportError> {
    let mut exporter = begin(format, header, out)?;
    for (number, text) in (0..).zip(events) {
        let text = text.as_ref();
        let event =
            serde_json::from_str(text).map_err(|source| ExportError::Damaged { number, source })?;
        exporter.event(&event, text, out)?;
    }
    exporter.finish(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn formats_are_found_by_their_names() {
        for format in Format::ALL {
            assert_eq!(Format::named(format.name()), Some(format));
        }
        assert_eq!(Format::named("gif"), None);
    }
}
