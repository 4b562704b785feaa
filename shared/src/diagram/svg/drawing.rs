//! A scene as SVG elements, in the order in which they cover each other.

use std::fmt::{self, Write};

use super::escape::escape;
use crate::{
    diagram::{
        marks::{head, lifeline, px},
        scene::{Arrow, Band, ChapterMark, Head, Note, NoteSource, Rule, Scene, Tear, Weight},
    },
    event::TcpState,
};

/// Where lines across begin, in pixels from the left edge.
const ACROSS: f64 = 56.0;
/// Where texts at the right edge end, in pixels from it.
const EDGE: f64 = 8.0;
/// Where a chapter's title begins, in pixels right of the first lifeline.
const TITLE: f64 = 12.0;

/// The diagram alone, without a document around it; its classes are those of the document's sheet.
pub fn drawing(scene: &Scene) -> String {
    let mut out = String::new();
    // Writing to a String cannot fail.
    let _ = draw(scene, &mut out);
    out
}

fn draw(scene: &Scene, out: &mut String) -> fmt::Result {
    out.push_str("<g class=\"halo\">\n");
    for tear in &scene.tears {
        torn(tear, scene, out)?;
    }
    axis(scene, out)?;
    lifelines(scene, out)?;
    for band in &scene.bands {
        state(band, out)?;
    }
    for rule in &scene.rules {
        moment(rule, scene.width, out)?;
    }
    for arrow in &scene.arrows {
        packet(arrow, out)?;
    }
    titles(scene, out)?;
    for note in &scene.notes {
        remark(note, out)?;
    }
    out.push_str("</g>\n");
    Ok(())
}

fn axis(scene: &Scene, out: &mut String) -> fmt::Result {
    let (left, right) = (px(ACROSS), px(scene.width));
    out.push_str("<g class=\"ticks\">");
    for tick in &scene.ticks {
        let y = px(tick.y);
        write!(
            out,
            "<line x1=\"{left}\" x2=\"{right}\" y1=\"{y}\" y2=\"{y}\"/>\
             <text x=\"{}\" y=\"{}\">{}</text>",
            px(ACROSS - 6.0),
            px(tick.y + 4.0),
            escape(&tick.text)
        )?;
    }
    out.push_str("</g>\n<g class=\"chapters\">");
    for ChapterMark { y, .. } in &scene.chapters {
        let y = px(*y);
        write!(
            out,
            "<line x1=\"{left}\" x2=\"{right}\" y1=\"{y}\" y2=\"{y}\"/>"
        )?;
    }
    out.push_str("</g>\n");
    Ok(())
}

/// Titles stand above the arrows, so that they can be read where arrows are dense.
fn titles(scene: &Scene, out: &mut String) -> fmt::Result {
    let x = px(scene.lanes.first().map_or(0.0, |lane| lane.x) + TITLE);
    out.push_str("<g class=\"titles\">");
    for chapter in &scene.chapters {
        write!(
            out,
            "<text x=\"{x}\" y=\"{}\">{}</text>",
            px(chapter.y - 5.0),
            escape(&chapter.title)
        )?;
    }
    out.push_str("</g>\n");
    Ok(())
}

fn lifelines(scene: &Scene, out: &mut String) -> fmt::Result {
    let tears: Vec<(f64, f64)> = scene.tears.iter().map(|t| (t.y, t.height)).collect();
    let bottom = scene.content_height.min(scene.height);
    out.push_str("<g class=\"lifelines\">");
    for lane in &scene.lanes {
        write!(
            out,
            "<path d=\"{}\"/>",
            lifeline(lane.x, 0.0, bottom, &tears)
        )?;
    }
    out.push_str("</g>\n");
    Ok(())
}

fn torn(tear: &Tear, scene: &Scene, out: &mut String) -> fmt::Result {
    let middle = match (scene.lanes.first(), scene.lanes.last()) {
        (Some(first), Some(last)) => f64::midpoint(first.x, last.x),
        _ => scene.width / 2.0,
    };
    writeln!(
        out,
        "<g class=\"tear\"><rect y=\"{}\" width=\"{}\" height=\"{}\"/>\
         <text x=\"{}\" y=\"{}\">{} of silence</text></g>",
        px(tear.y),
        px(scene.width),
        px(tear.height),
        px(middle),
        px(tear.y + tear.height / 2.0 + 4.0),
        escape(&tear.text)
    )
}

fn state(band: &Band, out: &mut String) -> fmt::Result {
    let class = match band.state {
        TcpState::Established => "established",
        TcpState::TimeWait => "time-wait",
        TcpState::CloseWait => "close-wait",
        _ => "passing",
    };
    write!(
        out,
        "<g class=\"band {class}\"><title>{} :{} {}</title>\
         <rect x=\"{}\" y=\"{}\" width=\"{}\" height=\"{}\" rx=\"2\"/>",
        band.host,
        escape(&band.connection),
        band.state.as_str(),
        px(band.x),
        px(band.y),
        px(band.width),
        px(band.height)
    )?;
    if let Some(label) = &band.label {
        write!(
            out,
            "<text transform=\"translate({} {}) rotate(90)\">{}</text>",
            px(band.x + band.width / 2.0 - 3.0),
            px(band.y + band.height / 2.0),
            escape(label)
        )?;
    }
    out.push_str("</g>\n");
    Ok(())
}

fn moment(rule: &Rule, width: f64, out: &mut String) -> fmt::Result {
    let kind = if rule.predicted {
        "predicted"
    } else {
        "measured"
    };
    let y = px(rule.y);
    writeln!(
        out,
        "<g class=\"rule {kind}\"><line x1=\"{}\" x2=\"{}\" y1=\"{y}\" y2=\"{y}\"/>\
         <text x=\"{}\" y=\"{}\"><tspan class=\"name\">{}</tspan> {}</text></g>",
        px(ACROSS),
        px(width),
        px(width - EDGE),
        px(rule.text_y),
        escape(&rule.name),
        escape(&rule.text)
    )
}

fn packet(arrow: &Arrow, out: &mut String) -> fmt::Result {
    let mut class = format!("arrow {}", arrow.layer.as_str());
    for (applies, name) in [
        (arrow.weight == Weight::Thick, " thick"),
        (arrow.dashed, " dashed"),
        (arrow.head == Head::Cross, " lost"),
    ] {
        if applies {
            class.push_str(name);
        }
    }
    let end = match arrow.head {
        Head::Filled => "head filled",
        Head::Hollow | Head::Diamond => "head hollow",
        Head::DoubleBar | Head::Zigzag | Head::Cross => "head",
    };
    write!(
        out,
        "<g class=\"{class}\"><title>{}</title>\
         <line x1=\"{}\" y1=\"{}\" x2=\"{}\" y2=\"{}\"/><path class=\"{end}\" d=\"{}\"/>",
        escape(&arrow.description),
        px(arrow.from.x),
        px(arrow.from.y),
        px(arrow.to.x),
        px(arrow.to.y),
        head(arrow.head, arrow.from, arrow.to)
    )?;
    if let Some(label) = &arrow.label {
        write!(
            out,
            "<text class=\"label\" transform=\"translate({} {}) rotate({})\">{}</text>",
            px(label.at.x),
            px(label.at.y),
            px(label.angle),
            escape(&label.text)
        )?;
    }
    if let Some(reason) = &arrow.drop {
        let (x, anchor) = if arrow.to.x < arrow.from.x {
            (arrow.to.x - 10.0, "end")
        } else {
            (arrow.to.x + 10.0, "start")
        };
        write!(
            out,
            "<text class=\"reason\" x=\"{}\" y=\"{}\" text-anchor=\"{anchor}\">{}</text>",
            px(x),
            px(arrow.to.y + 4.0),
            escape(reason)
        )?;
    }
    out.push_str("</g>\n");
    Ok(())
}

fn remark(note: &Note, out: &mut String) -> fmt::Result {
    let mut class = "note".to_owned();
    if note.error {
        class.push_str(" error");
    }
    if note.source == NoteSource::Wire {
        class.push_str(" wire");
    }
    write!(out, "<g class=\"{class}\">")?;
    if note.text != note.description {
        write!(out, "<title>{}</title>", escape(&note.description))?;
    }
    // A leader goes to a text that had to give way.
    let middle = note.text_at.y - 4.0;
    if (middle - note.at.y).abs() > 3.0 {
        write!(
            out,
            "<path d=\"M{} {}L{} {}\"/>",
            px(note.at.x),
            px(note.at.y),
            px(note.text_at.x),
            px(middle)
        )?;
    }
    let anchor = if note.right_aligned { "end" } else { "start" };
    writeln!(
        out,
        "<circle cx=\"{}\" cy=\"{}\" r=\"2.75\"/>\
         <text x=\"{}\" y=\"{}\" text-anchor=\"{anchor}\">{}</text></g>",
        px(note.at.x),
        px(note.at.y),
        px(note.text_at.x),
        px(note.text_at.y),
        escape(&note.text)
    )
}
