//! The terminal's diagram, as a file.

use std::io::{self, Write};

use linger_shared::{
    diagram::text::TextDiagram,
    event::{Event, Header},
};

use super::{ExportError, Exporter};

/// Columns of a diagram for which no terminal says how wide it is.
pub(super) const COLUMNS: usize = 100;

/// A run as lines of text.
pub(super) struct Text(TextDiagram);

impl Text {
    pub(super) fn new(header: &Header, columns: usize) -> Self {
        Self(TextDiagram::new(header, columns))
    }
}

impl Exporter for Text {
    fn event(&mut self, event: &Event, _: &str, out: &mut dyn Write) -> Result<(), ExportError> {
        Ok(lines(&self.0.push(event), out)?)
    }

    fn finish(&mut self, out: &mut dyn Write) -> Result<(), ExportError> {
        Ok(lines(&self.0.finish(), out)?)
    }
}

fn lines(lines: &[String], out: &mut dyn Write) -> io::Result<()> {
    lines.iter().try_for_each(|line| writeln!(out, "{line}"))
}
