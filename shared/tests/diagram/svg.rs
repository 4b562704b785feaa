//! A scene as plain SVG, for people who look at what the layout does.

use std::fmt::Write as _;

use linger_shared::diagram::scene::{Head, Scene, Weight};

pub(crate) fn svg(scene: &Scene) -> String {
    let mut out = format!(
        "<svg xmlns='http://www.w3.org/2000/svg' width='{0}' height='{1}' \
         font-family='monospace' font-size='10.3'><rect width='{0}' height='{1}' fill='white'/>",
        scene.width, scene.height
    );
    let mut put = |shape: String| out.push_str(&shape);
    let escape = |text: &str| text.replace('&', "&amp;").replace('<', "&lt;");
    for lane in &scene.lanes {
        put(format!(
            "<line x1='{0}' x2='{0}' y1='0' y2='{1}' stroke='#888'/>",
            lane.x, scene.height
        ));
    }
    for band in &scene.bands {
        put(format!(
            "<rect x='{}' y='{}' width='{}' height='{}' fill='#cde' stroke='#9ab'/>",
            band.x, band.y, band.width, band.height
        ));
        if let Some(label) = &band.label {
            let (x, y) = (band.x + band.width / 2.0 - 3.0, band.y + band.height / 2.0);
            put(format!(
                "<text transform='translate({x} {y}) rotate(90)' text-anchor='middle'>{label}</text>"
            ));
        }
    }
    for tick in &scene.ticks {
        put(format!(
            "<text x='2' y='{}'>{}</text>",
            tick.y + 4.0,
            tick.text
        ));
    }
    for tear in &scene.tears {
        put(format!(
            "<rect x='60' y='{}' width='{}' height='{}' fill='#f4f0e4'/><text x='{}' y='{}'>~ {} ~</text>",
            tear.y,
            scene.width - 60.0,
            tear.height,
            scene.width / 2.0 - 20.0,
            tear.y + tear.height / 2.0 + 4.0,
            tear.text
        ));
    }
    for chapter in &scene.chapters {
        put(format!(
            "<line x1='60' x2='{}' y1='{1}' y2='{1}' stroke='#ccc'/><text x='64' y='{2}' font-weight='bold'>{3}</text>",
            scene.width,
            chapter.y,
            chapter.y - 3.0,
            escape(&chapter.title)
        ));
    }
    for arrow in &scene.arrows {
        let width = if arrow.weight == Weight::Thick {
            2.5
        } else {
            1.2
        };
        let dash = if arrow.dashed { "6 4" } else { "" };
        let (f, t) = (arrow.from, arrow.to);
        put(format!(
            "<line x1='{}' y1='{}' x2='{}' y2='{}' stroke='#0072B2' stroke-width='{width}' stroke-dasharray='{dash}'/>",
            f.x, f.y, t.x, t.y
        ));
        let mark = match arrow.head {
            Head::Filled => "&#9679;",
            Head::Hollow => "&#9675;",
            Head::DoubleBar => "&#8214;",
            Head::Zigzag => "&#8623;",
            Head::Diamond => "&#9671;",
            Head::Cross => "&#10005;",
        };
        put(format!(
            "<text x='{}' y='{}' text-anchor='middle' fill='#C24E00'>{mark}</text>",
            t.x,
            t.y + 4.0
        ));
        if let Some(reason) = &arrow.drop {
            let (x, anchor) = if t.x < f.x {
                (t.x - 10.0, "end")
            } else {
                (t.x + 10.0, "start")
            };
            put(format!(
                "<text x='{x}' y='{}' text-anchor='{anchor}' fill='#C24E00'>{reason}</text>",
                t.y + 4.0
            ));
        }
        if let Some(label) = &arrow.label {
            put(format!(
                "<text transform='translate({} {}) rotate({})' text-anchor='middle'>{}</text>",
                label.at.x,
                label.at.y,
                label.angle,
                escape(&label.text)
            ));
        }
    }
    for note in &scene.notes {
        let anchor = if note.right_aligned { "end" } else { "start" };
        put(format!(
            "<text x='{}' y='{}' text-anchor='{anchor}' fill='{}'>{}</text>\
             <line x1='{}' y1='{}' x2='{}' y2='{}' stroke='#bbb' stroke-width='.6'/>",
            note.text_at.x,
            note.text_at.y,
            if note.error { "#C24E00" } else { "#333" },
            escape(&note.text),
            note.at.x,
            note.at.y,
            note.text_at.x,
            note.text_at.y - 4.0
        ));
    }
    for rule in &scene.rules {
        let dash = if rule.predicted { "8 5" } else { "" };
        put(format!(
            "<line x1='60' x2='{0}' y1='{1}' y2='{1}' stroke='#B06A00' stroke-dasharray='{dash}'/><text x='{2}' y='{3}' fill='#B06A00' text-anchor='end'>{4}</text>",
            scene.width,
            rule.y,
            scene.width - 8.0,
            rule.text_y,
            escape(&rule.text)
        ));
    }
    let _ = write!(out, "</svg>");
    out
}
