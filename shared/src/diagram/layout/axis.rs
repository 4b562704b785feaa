//! What belongs to the vertical axis: ticks, tears, chapters and rules.

use crate::diagram::{
    scene::{ChapterMark, Rule, Tear, Tick},
    words,
};

use super::frame::Frame;

/// Least distance between two ticks, in pixels.
const TICK_PX: f64 = 64.0;
/// A chapter's mark takes no further titles once it has this many characters.
const LONGEST_TITLE: usize = 60;

/// Ticks at 1, 2 or 5 times a power of ten, between the tears; each piece between two tears has
/// one, at a rounder time where it can, so that the clock can be read after every tear.
pub(super) fn ticks(frame: &Frame) -> Vec<Tick> {
    let step = nice_step(TICK_PX / frame.scale.px_per_us());
    let mut ticks = Vec::new();
    let mut from = frame.first_us;
    for cut in frame.scale.cuts(frame.first_us, frame.last_us) {
        if cut.from_us > from {
            piece(frame, from, cut.from_us, step, &mut ticks);
        }
        from = from.max(cut.to_us);
    }
    if from <= frame.last_us {
        let end = frame.last_us.min(frame.scale.end_us());
        piece(frame, from, end, step, &mut ticks);
    }
    ticks
}

fn piece(frame: &Frame, from: u64, to: u64, step: u64, ticks: &mut Vec<Tick>) {
    let mut finer = step;
    let first = |step: u64| from.div_ceil(step).saturating_mul(step);
    while first(finer) > to {
        // A piece cut by the window's edge may end before its tick; that is no reason for another.
        if finer == 1 || frame.scale.px_per_us() * ((to - from) as f64) < 12.0 {
            return;
        }
        finer = nice_step(finer as f64 * 0.3).min(finer - 1).max(1);
    }
    let mut at = first(finer);
    while at <= to {
        let y = frame.y(at);
        if frame.shows(y, y) {
            ticks.push(Tick {
                y,
                text: tick_text(at, finer),
            });
        }
        at += finer;
        if finer != step {
            break;
        }
    }
}

/// The smallest of 1, 2, 5 times a power of ten that is at least `micros`.
fn nice_step(micros: f64) -> u64 {
    let mut power = 1_u64;
    loop {
        for factor in [1, 2, 5] {
            let step = power * factor;
            if step as f64 >= micros || step >= 1_000_000_000_000_000 {
                return step;
            }
        }
        power *= 10;
    }
}

/// A time with as many places as tell it from its neighbours: `20 ms`, `1.98 s`, `90 s`.
fn tick_text(time_us: u64, step: u64) -> String {
    let (unit, name) = if time_us < 1_000_000 {
        (1_000, "ms")
    } else {
        (1_000_000, "s")
    };
    let mut places = 0;
    let mut size = unit;
    while size > 1 && !(time_us.is_multiple_of(size) && step.is_multiple_of(size)) {
        size /= 10;
        places += 1;
    }
    format!("{:.places$} {name}", time_us as f64 / unit as f64)
}

pub(super) fn tears(frame: &Frame) -> Vec<Tear> {
    frame
        .scale
        .cuts(frame.first_us, frame.last_us)
        .into_iter()
        .map(|cut| {
            let y = frame.y(cut.from_us);
            let cut_us = cut.to_us - cut.from_us;
            // The one that the present falls into is still being waited through.
            let so_far = frame
                .now_us
                .filter(|now| *now < cut.to_us && *now > cut.from_us);
            Tear {
                key: cut.key,
                y,
                height: frame.y(cut.to_us) - y,
                cut_us,
                text: so_far.map_or_else(
                    || words::brief(cut_us),
                    |now| {
                        let waited = words::brief(now - cut.from_us);
                        format!("{waited} of {}", words::brief(cut_us))
                    },
                ),
            }
        })
        .collect()
}

/// Chapters too close for their titles share a mark, at the first one's place.
pub(super) fn chapters(frame: &Frame) -> Vec<ChapterMark> {
    let all = frame.model.chapters();
    let first = all.partition_point(|chapter| chapter.at_us < frame.first_us);
    let last = all.partition_point(|chapter| chapter.at_us <= frame.last_us);
    let within = &all[first..last.max(first)];
    let mut marks: Vec<ChapterMark> = Vec::new();
    for chapter in within
        .iter()
        .step_by(within.len().div_ceil(frame.bounds.marks).max(1))
    {
        let y = frame.y(chapter.at_us);
        match marks.last_mut() {
            Some(mark) if y - mark.y < frame.measure.line_height() => {
                if mark.title.chars().count() < LONGEST_TITLE {
                    mark.title = format!("{} / {}", mark.title, chapter.title);
                }
            }
            _ => marks.push(ChapterMark {
                y,
                at_us: chapter.at_us,
                title: chapter.title.clone(),
            }),
        }
    }
    marks
}

pub(super) fn rules(frame: &Frame) -> Vec<Rule> {
    let all = frame.model.rules();
    let first = all.partition_point(|rule| rule.at_us < frame.first_us);
    let last = all.partition_point(|rule| rule.at_us <= frame.last_us);
    let within = &all[first..last.max(first)];
    let line = frame.measure.line_height();
    let mut rules: Vec<Rule> = within
        .iter()
        .step_by(within.len().div_ceil(frame.bounds.marks).max(1))
        .map(|rule| {
            let y = frame.y(rule.at_us);
            Rule {
                name: rule.name.replace('_', " "),
                y,
                predicted: rule.predicted,
                text: rule.text.clone(),
                text_y: y - 5.0,
            }
        })
        .collect();
    // Of two rules too close for their texts, the lower one's stands below it.
    for k in 1..rules.len() {
        if rules[k].text_y - rules[k - 1].text_y < line {
            rules[k].text_y = (rules[k].y + line - 2.0).max(rules[k - 1].text_y + line);
        }
    }
    rules
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_are_one_two_or_five_times_a_power_of_ten() {
        for (micros, step) in [(0.3, 1), (1.5, 2), (3.0, 5), (7.0, 10), (12_000.0, 20_000)] {
            assert_eq!(nice_step(micros), step);
        }
    }

    #[test]
    fn ticks_have_as_many_places_as_tell_them_apart() {
        for (time, step, text) in [
            (20_000, 10_000, "20 ms"),
            (250, 50, "0.25 ms"),
            (1_980_000, 20_000, "1.98 s"),
            (90_000_000, 5_000_000, "90 s"),
            (2_000_000, 100_000, "2.0 s"),
        ] {
            assert_eq!(tick_text(time, step), text);
        }
    }
}
