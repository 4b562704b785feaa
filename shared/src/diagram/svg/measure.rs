//! How wide text is in the document's font, without a browser to ask.

use crate::diagram::layout::Measure;

/// Estimates widths for the sans-serif fonts that a document may be shown in.
///
/// The classes are those of Helvetica's metrics, widened so that text still fits where the font that
/// is there is a wider one, such as DejaVu Sans.
#[derive(Debug, Clone, Copy)]
pub struct SansMeasure {
    size_px: f64,
}

/// By how much the widest usual font is wider than Helvetica.
const WIDER: f64 = 1.12;

/// By how much bold text is wider than the other, in the widest usual font.
const BOLDER: f64 = 1.13;

impl SansMeasure {
    /// For text of this size.
    pub fn new(size_px: f64) -> Self {
        Self { size_px }
    }

    /// For bold text of this size.
    pub fn bold(size_px: f64) -> Self {
        Self::new(size_px * BOLDER)
    }
}

impl Measure for SansMeasure {
    fn text_width(&self, text: &str) -> f64 {
        let ems: f64 = text.chars().map(ems).sum();
        ems * self.size_px * WIDER
    }

    fn line_height(&self) -> f64 {
        (self.size_px * 1.35).round()
    }
}

/// Width of a character in ems.
fn ems(c: char) -> f64 {
    match c {
        'i' | 'j' | 'l' | '\'' | '|' => 0.24,
        ' ' | ',' | '.' | ':' | ';' | '!' | '/' | '\\' | 'I' | 'f' | 't' | '[' | ']' => 0.29,
        '(' | ')' | '{' | '}' | '-' | 'r' | '`' | '"' => 0.35,
        'c' | 'k' | 's' | 'v' | 'x' | 'y' | 'z' | 'J' | '*' => 0.51,
        'a'..='z' if !matches!(c, 'm' | 'w') => 0.56,
        '0'..='9' | '?' | '$' | '#' | '_' => 0.57,
        '+' | '<' | '=' | '>' | '~' | '^' => 0.59,
        'm' | 'M' | '%' | '\u{2026}' => 0.88,
        'W' | '@' => 1.0,
        'w' | 'A'..='Z' => 0.71,
        '&' => 0.67,
        // East Asian characters and pictures are as wide as they are high.
        '\u{1100}'.. => 1.0,
        _ => 0.6,
    }
}
