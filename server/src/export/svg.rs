//! The diagram on one sheet (`linger_shared::diagram::svg`), once the run is known.

use std::io::Write;

use linger_shared::{
    diagram::{Model, svg},
    event::{Event, Header},
};

use super::{ExportError, Exporter};

/// A run as an SVG document.
pub(super) struct Svg(Model);

impl Svg {
    pub(super) fn new(header: &Header) -> Self {
        Self(Model::new(header))
    }
}

impl Exporter for Svg {
    fn event(&mut self, event: &Event, _: &str, _: &mut dyn Write) -> Result<(), ExportError> {
        self.0.push(event);
        Ok(())
    }

    fn finish(&mut self, out: &mut dyn Write) -> Result<(), ExportError> {
        Ok(out.write_all(svg::document(&self.0).as_bytes())?)
    }
}
