//! Where an arrow's text stands: along its line, where nothing else is.
//!
//! Greedy, the most important arrows first. A label never overlaps another label, a note between
//! the lanes, a tear's text or the reason of a drop; among the free places the one that the fewest
//! other arrows cross is taken. Without a free place it is left out: the description still has it.

use crate::{
    diagram::{
        flight::Importance,
        scene::{Arrow, ChapterMark, Label, Note, Point, Rule, Tear},
        words,
    },
    event::HostName,
};

use super::{boxes::TextBox, frame::Frame};

/// Distance of a label's middle from its line, beyond half its height, in pixels.
const CLEARANCE: f64 = 2.0;
/// Where along a line its label may stand, the preferred place first.
const PLACES: [f64; 7] = [0.5, 0.38, 0.62, 0.27, 0.73, 0.18, 0.82];

/// What else is in the picture.
pub(super) struct Marks<'a> {
    pub(super) notes: &'a [Note],
    pub(super) tears: &'a [Tear],
    pub(super) chapters: &'a [ChapterMark],
    pub(super) rules: &'a [Rule],
}

/// Gives labels to arrows.
pub(super) fn place(frame: &Frame, arrows: &mut [Arrow], marks: &Marks) {
    let mut taken = obstacles(frame, arrows, marks);
    let mut order: Vec<(Importance, usize)> = arrows
        .iter()
        .enumerate()
        .filter_map(|(k, arrow)| Some((frame.model.packet(arrow.id)?.importance(), k)))
        .collect();
    order.sort_unstable();
    let across = |y: f64| (Point { x: 0.0, y }, Point { x: frame.width, y });
    let chapters = marks.chapters.iter().map(|chapter| across(chapter.y));
    let rules = marks.rules.iter().map(|rule| across(rule.y));
    let lines: Vec<(Point, Point)> = arrows
        .iter()
        .map(|arrow| (arrow.from, arrow.to))
        .chain(chapters)
        .chain(rules)
        .collect();
    for (_, k) in order {
        let Some(flight) = frame.model.packet(arrows[k].id) else {
            continue;
        };
        let text = words::label(flight);
        let best = candidates(frame, &arrows[k], frame.lane_x(flight.to), &text)
            .filter(|(_, text_box)| !taken.iter().any(|other| other.overlaps(text_box)))
            .map(|(label, text_box)| (crossings(&text_box, k, &lines), label, text_box))
            // The first of equals is the preferred one.
            .min_by_key(|(crossed, _, _)| *crossed);
        if let Some((_, label, text_box)) = best {
            taken.push(text_box);
            arrows[k].label = Some(label);
        }
    }
}

fn crossings(text_box: &TextBox, own: usize, lines: &[(Point, Point)]) -> usize {
    let (top, bottom) = text_box.vertical();
    lines
        .iter()
        .enumerate()
        .filter(|(k, (a, b))| {
            *k != own
                && a.y.min(b.y) <= bottom
                && a.y.max(b.y) >= top
                && text_box.is_crossed_by(*a, *b)
        })
        .count()
}

/// Places for a label along its line, above and below it, the preferred one first.
fn candidates(
    frame: &Frame,
    arrow: &Arrow,
    receiver_x: f64,
    text: &str,
) -> impl Iterator<Item = (Label, TextBox)> {
    let width = frame.measure.text_width(text) + 4.0;
    let height = frame.measure.line_height();
    let (from, to) = (arrow.from, arrow.to);
    let (dx, dy) = (to.x - from.x, to.y - from.y);
    let slope = if dx.abs() < 1e-9 {
        0.0
    } else {
        (dy / dx).atan()
    };
    let angle = slope.to_degrees();
    // Up, seen from the rotated text.
    let up = (slope.sin(), -slope.cos());
    let (left, right) = (from.x.min(receiver_x), from.x.max(receiver_x));
    let text = text.to_owned();
    // A short line (a stub, an early drop) has its label beside its middle, as far as the lanes
    // allow; so the text may be longer than the line but not wider than the gap.
    PLACES
        .into_iter()
        .flat_map(|share| [(share, 1.0), (share, -1.0)])
        .map(move |(share, side)| {
            let offset = side * (height / 2.0 + CLEARANCE);
            let reach = width / 2.0 * slope.cos() + height / 2.0 * slope.sin().abs();
            let along = Point {
                x: from.x + dx * share,
                y: from.y + dy * share,
            };
            let x = along.x + up.0 * offset;
            let (lowest, highest) = (left + 3.0 + reach, right - 3.0 - reach);
            let shift = if lowest <= highest {
                x.clamp(lowest, highest) - x
            } else {
                f64::INFINITY
            };
            let centre = Point {
                x: x + shift,
                y: along.y + up.1 * offset + shift * slope.tan(),
            };
            (centre, shift)
        })
        .filter(|(_, shift)| shift.is_finite())
        .map(move |(centre, _)| {
            // The base line is about a third of the line height below the middle.
            let drop = height * 0.3;
            let at = Point {
                x: centre.x - up.0 * drop,
                y: centre.y - up.1 * drop,
            };
            let label = Label {
                text: text.clone(),
                at,
                angle,
            };
            (label, TextBox::new(centre, width, height, angle))
        })
}

/// What labels must keep clear of.
fn obstacles(frame: &Frame, arrows: &[Arrow], marks: &Marks) -> Vec<TextBox> {
    let line = frame.measure.line_height();
    let text_box = |text: &str, x: f64, leftwards: bool, base: f64| {
        let width = frame.measure.text_width(text) + 4.0;
        let middle = if leftwards {
            x - width / 2.0
        } else {
            x + width / 2.0
        };
        let centre = Point {
            x: middle,
            y: base - line * 0.3,
        };
        TextBox::new(centre, width, line, 0.0)
    };
    let drops = arrows.iter().filter_map(|arrow| {
        let reason = arrow.drop.as_ref()?;
        let leftwards = arrow.to.x < arrow.from.x;
        let x = arrow.to.x + if leftwards { -10.0 } else { 10.0 };
        Some(text_box(reason, x, leftwards, arrow.to.y + 4.0))
    });
    let notes = marks
        .notes
        .iter()
        .filter(|note| frame.notes_inside || note.host == HostName::Proxy)
        .map(|note| {
            let (x, y) = (note.text_at.x, note.text_at.y);
            text_box(&note.text, x, note.right_aligned, y)
        });
    let rules = marks.rules.iter().map(|rule| {
        let text = format!("{} {}", rule.name, rule.text);
        text_box(&text, frame.width - 8.0, true, rule.text_y)
    });
    let tears = marks.tears.iter().map(|tear| {
        let centre = Point {
            x: frame.width / 2.0,
            y: tear.y + tear.height / 2.0,
        };
        TextBox::new(centre, frame.width, tear.height, 0.0)
    });
    drops.chain(notes).chain(rules).chain(tears).collect()
}
