//! A picture as plain shapes: what a painter draws, and nothing about how.
//!
//! Lengths are in pixels (a terminal gives its cells), y grows downwards with the run's clock, and
//! the origin is the top left of the visible window: shapes outside it may have coordinates beyond
//! its edges. A painter chooses colours by [`Layer`] and draws in the order of the fields.

use serde::Serialize;

use crate::event::{HostName, TcpState};

/// A place in the window.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Point {
    /// From the left edge.
    pub x: f64,
    /// From the top edge.
    pub y: f64,
}

/// Which protocol a mark speaks of; a painter's colours hang on it, never on it alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Layer {
    /// Handshakes, ACKs, FIN, RST, plain data.
    Tcp,
    /// TLS records.
    Tls,
    /// HTTP messages and frames.
    Http,
    /// WebSocket frames.
    WebSocket,
}

impl Layer {
    /// The name that its badge and its style class use.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Tcp => "tcp",
            Self::Tls => "tls",
            Self::Http => "http",
            Self::WebSocket => "websocket",
        }
    }
}

/// Everything that is visible.
#[derive(Debug, Clone, PartialEq, Serialize, Default)]
pub struct Scene {
    /// Width of the window.
    pub width: f64,
    /// Height of the window.
    pub height: f64,
    /// Height of the whole run at this scale, for a scroll bar.
    pub content_height: f64,
    /// Lifelines, from left to right.
    pub lanes: Vec<Lane>,
    /// Ticks of the time axis.
    pub ticks: Vec<Tick>,
    /// Idle time that was cut out.
    pub tears: Vec<Tear>,
    /// Where the experiment's parts begin.
    pub chapters: Vec<ChapterMark>,
    /// TCP states along the lifelines.
    pub bands: Vec<Band>,
    /// Packets and chunks.
    pub arrows: Vec<Arrow>,
    /// What applications did and saw.
    pub notes: Vec<Note>,
    /// Predicted and measured moments.
    pub rules: Vec<Rule>,
    /// Arrows within the window that were left out because it is too dense to draw them all.
    pub hidden: usize,
    /// Notes that were left out for the same reason; at high density an estimate.
    pub hidden_notes: usize,
}

/// A host's lifeline.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Lane {
    /// Whose it is.
    pub host: HostName,
    /// Its heading, such as `client`.
    pub title: String,
    /// Its address, for the second line of the heading.
    pub address: String,
    /// Where the line stands.
    pub x: f64,
}

/// A tick of the time axis.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Tick {
    /// Where.
    pub y: f64,
    /// Its time, written out.
    pub text: String,
}

/// Idle time that was cut out of the picture.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Tear {
    /// Names it for as long as the run lasts: the time at which it begins, in microseconds.
    pub key: u64,
    /// Top of the torn place.
    pub y: f64,
    /// Its height in the picture.
    pub height: f64,
    /// How much time is cut out, in microseconds.
    pub cut_us: u64,
    /// How much, written out, such as `45.0 s`.
    pub text: String,
}

/// Where a part of the experiment begins.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ChapterMark {
    /// Where.
    pub y: f64,
    /// When, in microseconds.
    pub at_us: u64,
    /// Its title.
    pub title: String,
}

/// A TCP state along a lifeline.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Band {
    /// The host.
    pub host: HostName,
    /// Names the connection among those of the run: its client port as text, or `-`.
    pub connection: String,
    /// The state.
    pub state: TcpState,
    /// Left edge.
    pub x: f64,
    /// Width.
    pub width: f64,
    /// Top.
    pub y: f64,
    /// Height; at least a pixel.
    pub height: f64,
    /// The state's name, where there is room for it written along the band, downwards.
    pub label: Option<String>,
}

/// How an arrow's line is drawn.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Weight {
    /// Carries no data.
    Thin,
    /// Carries data.
    Thick,
}

/// What an arrow ends in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Head {
    /// Arrived.
    Filled,
    /// Still on its way.
    Hollow,
    /// FIN: a double bar.
    DoubleBar,
    /// RST: a zigzag.
    Zigzag,
    /// A keep-alive probe: a hollow diamond.
    Diamond,
    /// Dropped: a cross; [`Arrow::drop`] says where and why.
    Cross,
}

/// A packet, or a chunk of a relayed stream.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Arrow {
    /// The packet's id.
    pub id: u64,
    /// Where it left: exactly at its departure.
    pub from: Point,
    /// Where it ends: its arrival, its drop, or where it is now.
    pub to: Point,
    /// Departure on the run's clock, in microseconds.
    pub from_us: u64,
    /// Arrival or drop on the run's clock; absent while in flight.
    pub to_us: Option<u64>,
    /// Its line.
    pub weight: Weight,
    /// Whether the line is dashed: a retransmission.
    pub dashed: bool,
    /// Its end.
    pub head: Head,
    /// Its layer.
    pub layer: Layer,
    /// What it is, where there is room.
    pub label: Option<Label>,
    /// Why it was dropped. Room for it is kept free just beyond the cross, in the direction of
    /// travel: its base line is `to.y + 4`, and it begins (or, leftwards, ends) 10 px from `to.x`.
    pub drop: Option<String>,
    /// All of it in a sentence, for a tooltip and for screen readers.
    pub description: String,
}

/// Text along an arrow.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Label {
    /// The text.
    pub text: String,
    /// The middle of its base line.
    pub at: Point,
    /// Rotation in degrees, clockwise, so that it follows the line.
    pub angle: f64,
}

/// Who speaks in a note.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum NoteSource {
    /// An application: a call and what it gave, an HTTP exchange.
    Application,
    /// The wire: a rule begins or ends to act on this host's packets.
    Wire,
}

/// What an application did or saw, or what was done to the wire.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Note {
    /// The event's number.
    pub seq: u64,
    /// Whose.
    pub host: HostName,
    /// The anchor on the lifeline: the time at which it was true.
    pub at: Point,
    /// Where the text stands; lower than the anchor where another note was in the way.
    pub text_at: Point,
    /// Whether the text ends at `text_at` (left of its lane) instead of beginning there.
    pub right_aligned: bool,
    /// The text, shortened with an ellipsis where there is no room for all of it.
    pub text: String,
    /// The whole text.
    pub description: String,
    /// Who speaks.
    pub source: NoteSource,
    /// Whether it tells of a failure.
    pub error: bool,
}

/// A moment across all lanes.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Rule {
    /// What it is about, such as `detection`.
    pub name: String,
    /// Where.
    pub y: f64,
    /// Dashed and predicted, or solid and measured.
    pub predicted: bool,
    /// Such as `predicted 5.000 s`, or `measured 5.012 s (+12.0 ms)`; before the measurement, when
    /// only the moment is known, `predicted at 5.423 s`, on the run's clock.
    pub text: String,
    /// Base line of the text: above the rule or below it, so that the texts of a prediction and of
    /// its measurement do not meet. Name and text end 8 px from the window's right edge; labels and
    /// notes keep clear of them there.
    pub text_y: f64,
}
