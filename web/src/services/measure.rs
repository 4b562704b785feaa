//! How wide text is in the diagram's own font, as the browser's canvas tells it.
//!
//! Answers are kept, because a layout asks for the same few texts in every frame. Without a
//! browser, in native tests, widths are estimated by character.

use std::{cell::RefCell, collections::HashMap};

use linger_shared::diagram::Measure;
use wasm_bindgen::JsCast;
use web_sys::{CanvasRenderingContext2d, Element, HtmlCanvasElement};

/// The share of a font's size that an average character is wide, for the estimate.
const AVERAGE: f64 = 0.56;

/// Line height as a multiple of the font's size.
const LEADING: f64 = 1.35;

/// Forget what is known when it has grown to this many texts.
const MOST: usize = 4_096;

/// Measures text in one font.
pub struct FontMeasure {
    size_px: f64,
    context: Option<CanvasRenderingContext2d>,
    known: RefCell<HashMap<String, f64>>,
}

impl FontMeasure {
    /// An estimate for a font of this size, for where there is no browser.
    pub fn estimate(size_px: f64) -> Self {
        Self {
            size_px,
            context: None,
            known: RefCell::default(),
        }
    }

    /// The font in which an element's text is drawn; an estimate of it where the browser will not
    /// tell.
    pub fn of(element: &Element) -> Self {
        Self::read(element).unwrap_or_else(|| Self::estimate(12.0))
    }

    fn read(element: &Element) -> Option<Self> {
        let window = web_sys::window()?;
        let style = window.get_computed_style(element).ok()??;
        let property = |name: &str| style.get_property_value(name).ok();
        let size = property("font-size")?;
        let canvas: HtmlCanvasElement = window
            .document()?
            .create_element("canvas")
            .ok()?
            .dyn_into()
            .ok()?;
        let context: CanvasRenderingContext2d = canvas.get_context("2d").ok()??.dyn_into().ok()?;
        context.set_font(&format!(
            "{} {size} {}",
            property("font-weight")?,
            property("font-family")?
        ));
        Some(Self {
            size_px: size.trim_end_matches("px").parse().ok()?,
            context: Some(context),
            known: RefCell::default(),
        })
    }
}

impl Measure for FontMeasure {
    fn text_width(&self, text: &str) -> f64 {
        if let Some(width) = self.known.borrow().get(text) {
            return *width;
        }
        let width = self
            .context
            .as_ref()
            .and_then(|context| Some(context.measure_text(text).ok()?.width()))
            .unwrap_or_else(|| text.chars().count() as f64 * self.size_px * AVERAGE);
        let mut known = self.known.borrow_mut();
        if known.len() >= MOST {
            known.clear();
        }
        known.insert(text.to_owned(), width);
        width
    }

    fn line_height(&self) -> f64 {
        (self.size_px * LEADING).round()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_a_browser_longer_text_is_wider() {
        let measure = FontMeasure::estimate(12.0);
        assert!(measure.text_width("SYN, ACK") > measure.text_width("SYN"));
        assert_eq!(measure.text_width(""), 0.0);
        assert_eq!(measure.line_height(), 16.0);
    }

    #[test]
    fn what_is_known_does_not_grow_without_end() {
        let measure = FontMeasure::estimate(12.0);
        for number in 0..MOST * 2 {
            measure.text_width(&number.to_string());
        }
        assert!(measure.known.borrow().len() <= MOST);
    }
}
