//! A whole run as one SVG document: to be kept, printed, put into a page or a paper.
//!
//! [`document`] stands alone: no script, no font, no style from elsewhere, and no variables or
//! functions of CSS that a program other than a browser may not know. Its colours are those of the
//! page's light theme, from the same file. Everything that comes from a run is escaped.
//!
//! A document is bounded whatever the run's length. A picture that would be higher than
//! [`Bounds::SHEET`] allows is drawn at a smaller scale, and one with more packets than that shows
//! the most important ones; the document says how many were left out. Where not even the smallest
//! scale is enough, it ends early and says when.
//!
//! [`drawing`] is the diagram alone, for whoever has a page around it.

mod drawing;
mod escape;
mod head;
mod legend;
mod measure;
mod style;

use std::{collections::BTreeSet, fmt::Write as _};

use super::{
    layout::{Bounds, Measure, View, layout_within},
    marks::px,
    model::Model,
    time::{TimeScale, default_px_per_ms, fit_px_per_ms},
    words,
};

pub use drawing::drawing;
pub use measure::SansMeasure;

use escape::escape;

/// Width of a document in pixels: its text is 12 px high, which is readable on A4.
pub const WIDTH: f64 = 1_000.0;

/// Free space at every edge of a document, in pixels.
const MARGIN: f64 = 24.0;

/// Height of the lanes' headings.
const LANES: f64 = 44.0;

/// The whole run as a document of its own.
pub fn document(model: &Model) -> String {
    let measure = SansMeasure::new(12.0);
    let bounds = Bounds::SHEET;
    let opened = BTreeSet::new();
    let mut px_per_ms = default_px_per_ms(model);
    if TimeScale::new(model, px_per_ms, &opened, None).height() > bounds.pixels {
        px_per_ms = fit_px_per_ms(model, bounds.pixels, &opened, None);
    }
    let scale = TimeScale::new(model, px_per_ms, &opened, None);
    let drawn = scale.height().min(bounds.pixels).ceil();
    let view = View {
        width: WIDTH - 2.0 * MARGIN,
        height: drawn,
        px_per_ms,
        ..View::default()
    };
    let scene = layout_within(model, &view, &measure, &bounds);

    let mut omissions = Vec::new();
    if scene.hidden > 0 {
        omissions.push(format!(
            "{} of {} packets are drawn; retransmissions, drops, resets and data come first.",
            model.packet_count().saturating_sub(scene.hidden),
            model.packet_count()
        ));
    }
    if scene.hidden_notes > 0 {
        omissions.push(format!(
            "{} notes are left out for want of room.",
            scene.hidden_notes
        ));
    }
    if scale.height() > drawn + 1.0 {
        omissions.push(format!(
            "The picture ends at {} of {}.",
            words::brief(scale.us_at(drawn)),
            words::brief(scale.end_us())
        ));
    }

    let mut body = String::new();
    let mut y = MARGIN;
    y += head::head(model, &omissions, &measure, y, &mut body);
    y += lanes(&scene, y, &mut body);
    let _ = writeln!(
        body,
        "<g transform=\"translate({} {})\">{}</g>",
        px(MARGIN),
        px(y),
        drawing(&scene)
    );
    y += drawn;
    y += legend::legend(&measure, y, &mut body);
    y += MARGIN;

    let title = format!("{}: {}", model.header().experiment, model.header().title);
    let (width, height) = (px(WIDTH), px(y.ceil()));
    format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{width}\" height=\"{height}\" \
         viewBox=\"0 0 {width} {height}\" role=\"graphics-document document\" \
         aria-labelledby=\"title desc\">\n\
         <title id=\"title\">{}</title>\n<desc id=\"desc\">{}</desc>\n\
         <style>{}</style>\n\
         <rect class=\"paper\" width=\"{width}\" height=\"{height}\"/>\n{body}</svg>\n",
        escape(&title),
        escape(&summary(model)),
        style::sheet(WIDTH, y.ceil()),
    )
}

/// The run in a few sentences, for those who do not see it.
fn summary(model: &Model) -> String {
    let counts = model.counts();
    let hosts: Vec<&str> = model
        .header()
        .hosts
        .iter()
        .map(|host| host.name.as_str())
        .collect();
    let mut text = format!(
        "Sequence diagram of {} between {}: {} packets, of which {} were dropped and {} sent \
         again, on {} connections, in {}.",
        model.header().experiment,
        hosts.join(", "),
        counts.packets,
        counts.dropped,
        counts.retransmissions,
        counts.connections,
        words::brief(model.last_us())
    );
    for chapter in model.chapters() {
        // Writing to a String cannot fail.
        let _ = write!(
            text,
            " At {}: {}.",
            words::brief(chapter.at_us),
            chapter.title
        );
    }
    if let Some(verdict) = model.verdict() {
        let _ = write!(text, " Verdict: {}", verdict.summary);
    }
    text
}

/// Whose lifelines these are; gives the height that they take.
fn lanes(scene: &super::scene::Scene, y: f64, out: &mut String) -> f64 {
    for lane in &scene.lanes {
        let x = px(lane.x + MARGIN);
        let _ = writeln!(
            out,
            "<text class=\"lane\" x=\"{x}\" y=\"{}\">{}</text>\
             <text class=\"address\" x=\"{x}\" y=\"{}\">{}</text>",
            px(y + 18.0),
            escape(&lane.title),
            px(y + 33.0),
            escape(&lane.address)
        );
    }
    let _ = writeln!(
        out,
        "<line class=\"edge\" x1=\"{0}\" x2=\"{1}\" y1=\"{2}\" y2=\"{2}\"/>",
        px(MARGIN),
        px(WIDTH - MARGIN),
        px(y + LANES)
    );
    LANES
}

/// Lines of at most `width` pixels, broken between words; at most `most`, the last one cut.
fn wrapped(text: &str, width: f64, most: usize, measure: &dyn Measure) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    for word in text.split_whitespace() {
        if let Some(line) = lines.last_mut() {
            let longer = format!("{line} {word}");
            if measure.text_width(&longer) <= width {
                *line = longer;
                continue;
            }
        }
        if lines.len() == most {
            if let Some(line) = lines.last_mut() {
                line.push_str(" \u{2026}");
            }
            break;
        }
        lines.push(shortened(word, width, measure));
    }
    lines
}

/// As much of a text as there is room for.
fn shortened(text: &str, width: f64, measure: &dyn Measure) -> String {
    if measure.text_width(text) <= width {
        return text.to_owned();
    }
    let mut short = String::new();
    for letter in text.chars() {
        short.push(letter);
        if measure.text_width(&short) + measure.text_width("\u{2026}") > width {
            short.pop();
            break;
        }
    }
    short.push('\u{2026}');
    short
}
