//! Notes beside their lifelines, stacked downwards where they collide.

use crate::{
    diagram::{
        model::Model,
        notes::NoteFact,
        scene::{Note, Point},
    },
    event::HostName,
};

use super::frame::Frame;

/// A note stands at most this many lines below its anchor; beyond, it is left out.
const MOST_LINES: f64 = 8.0;
/// At most this many calls that have not come back are considered.
const MOST_PENDING: usize = 40;

/// The notes of the window, and how many were left out.
///
/// No note stands on the line of a chapter or a rule, or on a chapter's title above its line.
pub(super) fn notes(frame: &Frame) -> (Vec<Note>, usize) {
    let line = frame.measure.line_height().max(1.0);
    let reach = MOST_LINES * line;
    // A stack may have begun above the window. Going back further than it can reach makes the
    // result the same wherever the window is, unless notes are denser than they can be drawn.
    let first = frame.us_above(3.0 * reach);
    let barred = [false, true].map(|right| barred(frame, first, line, right));
    let most = frame.bounds.notes;
    let (facts, mut hidden) = facts(frame.model, first, frame.last_us, most);
    let mut notes = Vec::new();
    let mut free = [f64::NEG_INFINITY; 3];
    for fact in facts {
        let column = match fact.host {
            HostName::Client => 0,
            HostName::Proxy => 1,
            HostName::Server => 2,
        };
        let at = frame.point(fact.host, fact.at_us);
        // The text's middle is beside its anchor.
        let mut y = (at.y + line * 0.3).max(free[column]);
        for (top, bottom) in &barred[usize::from(fact.host == HostName::Server)] {
            if y > *top && y < *bottom {
                y = *bottom;
            }
        }
        if y > at.y + reach {
            hidden += usize::from(frame.shows(at.y, at.y));
            continue;
        }
        free[column] = y + line;
        if !frame.shows(at.y.min(y - line), at.y.max(y)) {
            continue;
        }
        let (x, right_aligned, room) = frame.note_column(fact.host);
        notes.push(Note {
            seq: fact.seq,
            host: fact.host,
            at,
            text_at: Point { x, y },
            right_aligned,
            text: shortened(frame, &fact.text, room),
            description: fact.text.clone(),
            source: fact.source,
            error: fact.error,
        });
    }
    (notes, hidden)
}

/// Places that a base line must not be in, from the top: between the two, exclusively. The texts of
/// rules stand at the right.
fn barred(frame: &Frame, first: u64, line: f64, right: bool) -> Vec<(f64, f64)> {
    let most = frame.bounds.notes;
    let (chapters, rules) = (frame.model.chapters(), frame.model.rules());
    let chapters = &chapters[chapters.partition_point(|c| c.at_us < first)..];
    let rules = &rules[rules.partition_point(|r| r.at_us < first)..];
    let beside_rule = if right {
        (line, line * 1.8)
    } else {
        (line * 0.3, line * 0.85)
    };
    let mut barred: Vec<(f64, f64)> = chapters
        .iter()
        .map(|chapter| (chapter.at_us, (line, line * 0.85)))
        .take(most)
        .chain(
            rules
                .iter()
                .map(|rule| (rule.at_us, beside_rule))
                .take(most),
        )
        .filter(|(at_us, _)| *at_us <= frame.last_us)
        .map(|(at_us, (above, below))| (frame.y(at_us) - above, frame.y(at_us) + below))
        .collect();
    barred.sort_by(|a, b| a.0.total_cmp(&b.0));
    barred
}

/// Notes between two moments with the calls that have not come back, sorted by time; thinned where
/// there are too many, failures last.
fn facts(model: &Model, first: u64, last: u64, most: usize) -> (Vec<&NoteFact>, usize) {
    let all = model.notes();
    let lower = all.partition_point(|note| note.at_us < first);
    let upper = all.partition_point(|note| note.at_us <= last).max(lower);
    let step = (upper - lower).div_ceil(most).next_power_of_two();
    let mut facts: Vec<&NoteFact> = (lower.next_multiple_of(step)..upper)
        .step_by(step)
        .map(|at| &all[at])
        .collect();
    let hidden = upper - lower - facts.len();
    facts.extend(model.pending_calls(first, last).take(MOST_PENDING));
    facts.sort_by_key(|note| (note.at_us, note.seq));
    (facts, hidden)
}

/// As much of a text as there is room for.
fn shortened(frame: &Frame, text: &str, room: f64) -> String {
    if frame.measure.text_width(text) <= room {
        return text.to_owned();
    }
    let ends: Vec<usize> = text.char_indices().map(|(at, _)| at).collect();
    let fits = |count: &usize| {
        let short = format!("{}\u{2026}", &text[..*count]);
        frame.measure.text_width(&short) <= room
    };
    // Widths grow with every character, so the last that fits is found by halving.
    let count = ends.partition_point(fits);
    let end = ends.get(count.saturating_sub(1)).copied().unwrap_or(0);
    format!("{}\u{2026}", &text[..end])
}
