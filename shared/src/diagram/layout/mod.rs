//! What a window shows of a run, as plain shapes.
//!
//! A pure function of model, view and measure. Its cost and its output are bounded by the window:
//! everything is found by binary search, and what is too dense to be read is thinned (see
//! [`Scene::hidden`](super::scene::Scene)). The order of the fields of a view and the names of its
//! shapes are in [`scene`](super::scene).

mod arrows;
mod axis;
mod bands;
mod boxes;
mod frame;
mod labels;
mod notes;

use std::collections::BTreeSet;

use super::{model::Model, scene::Scene, time::TimeScale};
use frame::Frame;

pub use arrows::MAX_ARROWS;

/// What part of a run is looked at, and how.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct View {
    /// Width of the window in pixels.
    pub width: f64,
    /// Height of the window in pixels.
    pub height: f64,
    /// The content pixel at the window's top, see [`TimeScale`].
    pub scroll: f64,
    /// Pixels per millisecond where nothing is cut.
    pub px_per_ms: f64,
    /// Keys of the tears that are drawn at full scale.
    pub opened: BTreeSet<u64>,
    /// The run's clock while it is live, in microseconds; `None` once it is over.
    pub now_us: Option<u64>,
}

/// How wide text is; the painter knows, the layout does not.
pub trait Measure {
    /// Width of a text in pixels.
    fn text_width(&self, text: &str) -> f64;
    /// From one base line to the next, in pixels.
    fn line_height(&self) -> f64;
}

/// How much one scene may hold.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Bounds {
    /// The largest width and height that are laid out, in pixels.
    pub pixels: f64,
    /// Packets; the most important are kept.
    pub arrows: usize,
    /// Notes that are considered.
    pub notes: usize,
    /// Chapters, and rules.
    pub marks: usize,
    /// States in each slot beside a lifeline.
    pub bands: usize,
}

impl Bounds {
    /// For a window that somebody scrolls: a frame's worth of work.
    pub const WINDOW: Self = Self {
        pixels: 20_000.0,
        arrows: MAX_ARROWS,
        notes: 400,
        marks: 80,
        bands: 120,
    };
    /// For a whole run on one sheet.
    pub const SHEET: Self = Self {
        pixels: 24_000.0,
        arrows: 2_000,
        notes: 3_000,
        marks: 400,
        bands: 1_000,
    };
}

/// The scene of what a view shows.
pub fn layout(model: &Model, view: &View, measure: &dyn Measure) -> Scene {
    layout_within(model, view, measure, &Bounds::WINDOW)
}

/// As [`layout`], with bounds of one's own.
pub fn layout_within(model: &Model, view: &View, measure: &dyn Measure, bounds: &Bounds) -> Scene {
    let scale = TimeScale::new(model, view.px_per_ms, &view.opened, view.now_us);
    let frame = Frame::new(model, view, measure, &scale, bounds);
    let ticks = axis::ticks(&frame);
    let tears = axis::tears(&frame);
    let chapters = axis::chapters(&frame);
    let rules = axis::rules(&frame);
    let bands = bands::bands(&frame);
    let (notes, hidden_notes) = notes::notes(&frame);
    let (mut arrows, hidden) = arrows::arrows(&frame);
    let marks = labels::Marks {
        notes: &notes,
        tears: &tears,
        chapters: &chapters,
        rules: &rules,
    };
    labels::place(&frame, &mut arrows, &marks);
    Scene {
        width: frame.width,
        height: frame.height,
        content_height: scale.height(),
        lanes: frame.lanes(),
        ticks,
        tears,
        chapters,
        bands,
        arrows,
        notes,
        rules,
        hidden,
        hidden_notes,
    }
}
