//! What the marks mean, below the diagram.

use std::fmt::Write as _;

use super::{MARGIN, SansMeasure, WIDTH, escape::escape};
use crate::diagram::{
    layout::Measure,
    marks::{head, px},
    scene::{Head, Point},
};

/// A mark and what it means.
struct Entry {
    class: &'static str,
    head: Head,
    meaning: &'static str,
}

const fn entry(class: &'static str, head: Head, meaning: &'static str) -> Entry {
    Entry {
        class,
        head,
        meaning,
    }
}

const ENTRIES: [Entry; 10] = [
    entry("arrow tcp", Head::Filled, "no data (TCP)"),
    entry("arrow tcp thick", Head::Filled, "data (TCP)"),
    entry("arrow tls thick", Head::Filled, "TLS"),
    entry("arrow http thick", Head::Filled, "HTTP"),
    entry("arrow websocket thick", Head::Filled, "WebSocket"),
    entry("arrow tcp thick dashed", Head::Filled, "sent again"),
    entry("arrow tcp lost", Head::Cross, "dropped, and where"),
    entry("arrow tcp", Head::Diamond, "keep-alive probe"),
    entry("arrow tcp", Head::DoubleBar, "FIN"),
    entry("arrow tcp", Head::Zigzag, "RST"),
];

/// Columns of marks.
const COLUMNS: usize = 5;

/// Length of a sample, in pixels.
const SAMPLE: f64 = 44.0;

/// Writes the legend from `top` on; gives its height.
pub(super) fn legend(measure: &SansMeasure, top: f64, out: &mut String) -> f64 {
    let column = (WIDTH - 2.0 * MARGIN) / COLUMNS as f64;
    // Writing to a String cannot fail.
    let _ = writeln!(
        out,
        "<g class=\"legend\">\n<line class=\"edge\" x1=\"{0}\" x2=\"{1}\" y1=\"{2}\" y2=\"{2}\"/>",
        px(MARGIN),
        px(WIDTH - MARGIN),
        px(top)
    );
    for (k, entry) in ENTRIES.iter().enumerate() {
        let x = MARGIN + column * (k % COLUMNS) as f64;
        let y = top + 24.0 + 24.0 * (k / COLUMNS) as f64;
        let (from, to) = (Point { x, y }, Point { x: x + SAMPLE, y });
        let kind = match entry.head {
            Head::Filled => "head filled",
            Head::Diamond => "head hollow",
            _ => "head",
        };
        let level = px(y);
        let _ = writeln!(
            out,
            "<g class=\"{}\"><line x1=\"{}\" y1=\"{level}\" x2=\"{}\" y2=\"{level}\"/>\
             <path class=\"{kind}\" d=\"{}\"/></g><text x=\"{}\" y=\"{}\">{}</text>",
            entry.class,
            px(from.x),
            px(to.x),
            head(entry.head, from, to),
            px(to.x + 10.0),
            px(y + 4.0),
            escape(entry.meaning)
        );
    }
    let notes = [
        "Time runs down, to scale; silence is cut out where the lifelines are torn. Each arrow runs \
         from a measured departure to a measured arrival.",
        "Bands beside the lifelines are TCP states, as the kernels tell them. Dots mark what \
         applications did and saw. Dashed rules are predicted, solid ones measured.",
    ];
    let mut y = top + 24.0 + 24.0 * (ENTRIES.len() / COLUMNS) as f64 + 4.0;
    for note in notes {
        let _ = writeln!(
            out,
            "<text class=\"small\" x=\"{}\" y=\"{}\">{}</text>",
            px(MARGIN),
            px(y),
            escape(note)
        );
        y += measure.line_height();
    }
    out.push_str("</g>\n");
    y - top
}
