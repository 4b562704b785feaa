//! From events to a picture. No DOM, no colours.
//!
//! [`Model`] indexes a run's events; [`TimeScale`] maps its clock to pixels and cuts idle time out;
//! [`layout`](fn@layout) turns what a [`View`] shows into a [`scene`] of plain shapes. The terminal's
//! diagram uses the same model, labels, notes and gaps with rows instead of pixels.

mod flight;
mod idle;
mod layout;
pub mod marks;
mod model;
mod notes;
mod rules;
pub mod scene;
mod sockets;
mod spans;
pub mod svg;
pub mod text;
mod time;
mod words;

pub use flight::{Carries, End, Flags, Flight, Segment};
pub use layout::{Bounds, MAX_ARROWS, Measure, View, layout, layout_within};
pub use model::{Chapter, Counts, LONGEST_US, Model};
pub use notes::NoteFact;
pub use rules::RuleFact;
pub use sockets::{BAND_SLOTS, SocketRow};
pub use time::{
    BOTTOM_PX, Cut, DELAY_PX, IDLE_PX, MARGIN_PX, TEAR_PX, TOP_PX, TimeScale, default_px_per_ms,
    fit_px_per_ms,
};
pub use words::{brief, description, label, note};
