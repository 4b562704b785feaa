//! What stands above the diagram: what was run, and what came of it.

use std::fmt::Write as _;

use super::{MARGIN, SansMeasure, WIDTH, escape::escape, shortened, wrapped};
use crate::{
    diagram::{layout::Measure, marks::px, model::Model, words},
    event::{Measurement, Mode, Verdict},
    units::human,
};

/// Room for text, in pixels.
const ROOM: f64 = WIDTH - 2.0 * MARGIN;

/// At most this many lines of parameters, and of the outcome.
const MOST_LINES: usize = 6;

/// At most this many measurements.
const MOST_MEASUREMENTS: usize = 12;

/// Writes lines of text one below the other.
struct Lines<'a> {
    out: &'a mut String,
    y: f64,
}

impl Lines<'_> {
    fn line(&mut self, class: &str, x: f64, height: f64, text: &str) {
        self.y += height;
        // Writing to a String cannot fail.
        let _ = writeln!(
            self.out,
            "<text class=\"{class}\" x=\"{}\" y=\"{}\">{}</text>",
            px(x),
            px(self.y),
            escape(text)
        );
    }
}

/// Writes the head from `top` on; gives its height.
pub(super) fn head(
    model: &Model,
    omissions: &[String],
    measure: &SansMeasure,
    top: f64,
    out: &mut String,
) -> f64 {
    let header = model.header();
    let mut lines = Lines { out, y: top };
    let title = shortened(&header.title, ROOM, &SansMeasure::bold(21.0));
    lines.line("heading", MARGIN, 20.0, &title);
    let carried = match header.mode {
        Mode::Packets => format!("packets on Linux {}", header.kernel),
        Mode::Relay => "byte streams through a loopback relay".to_owned(),
    };
    let what = format!(
        "{}, {}, {} UTC, run {}",
        header.experiment,
        carried,
        date(header.started_unix_ms),
        header.run
    );
    lines.y += 3.0;
    for line in wrapped(&what, ROOM, 2, measure) {
        lines.line("small", MARGIN, measure.line_height(), &line);
    }
    let params: Vec<String> = header
        .params
        .iter()
        .map(|(name, value)| format!("{name}={value}"))
        .collect();
    for line in wrapped(&params.join("   "), ROOM, MOST_LINES, measure) {
        lines.line("small", MARGIN, measure.line_height(), &line);
    }
    lines.y += 12.0;
    outcome(model, measure, &mut lines);
    for line in omissions {
        lines.line("small", MARGIN, measure.line_height(), line);
    }
    lines.y + 8.0 - top
}

/// The verdict, or why there is none, beside a bar.
fn outcome(model: &Model, measure: &SansMeasure, lines: &mut Lines<'_>) {
    let begin = lines.y;
    let x = MARGIN + 14.0;
    let large = SansMeasure::bold(14.0);
    let failed = model.failure().is_some();
    let mut bold = Vec::new();
    if let Some(message) = model.failure() {
        bold.push(format!(
            "The laboratory failed; nothing may be concluded from this run: {message}"
        ));
    }
    if let Some(reason) = model.stopped() {
        bold.push(format!("Ended before its script was done: {reason}"));
    }
    if let Some(verdict) = model.verdict() {
        bold.push(verdict.summary.clone());
    } else if bold.is_empty() {
        bold.push("The run has no verdict yet.".to_owned());
    }
    for text in bold {
        for line in wrapped(&text, ROOM - 14.0, MOST_LINES, &large) {
            lines.line("outcome", x, 19.0, &line);
        }
    }
    if let Some(verdict) = model.verdict() {
        for line in wrapped(&sides(verdict), ROOM - 14.0, 3, measure) {
            lines.line("small", x, 18.0, &line);
        }
        for measured in verdict.measurements.iter().take(MOST_MEASUREMENTS) {
            let line = shortened(&measurement(measured), ROOM - 14.0, measure);
            lines.line("", x, 18.0, &line);
        }
    }
    let class = if failed { "verdict failed" } else { "verdict" };
    let _ = writeln!(
        lines.out,
        "<g class=\"{class}\"><rect class=\"bar\" x=\"{}\" y=\"{}\" width=\"4\" height=\"{}\" \
         rx=\"2\"/></g>",
        px(MARGIN),
        px(begin + 5.0),
        px(lines.y - begin)
    );
    lines.y += 10.0;
}

fn sides(verdict: &Verdict) -> String {
    let mut parts = vec![match verdict.how.as_str() {
        "" => format!("Ended by {}", verdict.ended_by),
        how => format!("Ended by {} ({how})", verdict.ended_by),
    }];
    for (host, outcome) in &verdict.outcomes {
        parts.push(format!("{host} saw {outcome}"));
    }
    parts.join("; ")
}

fn measurement(measurement: &Measurement) -> String {
    let told = |span: Option<u64>| span.map_or_else(|| "nothing".to_owned(), human);
    let mut line = format!(
        "{}: predicted {}, measured {}",
        measurement.name.replace('_', " "),
        told(measurement.predicted_us),
        told(measurement.measured_us)
    );
    if let (Some(measured), Some(predicted)) = (measurement.measured_us, measurement.predicted_us) {
        let _ = write!(line, " ({})", words::difference(measured, predicted));
    }
    line
}

/// `2026-11-21 12:19:52`, in UTC, of milliseconds since 1970.
fn date(unix_ms: u64) -> String {
    let seconds = unix_ms / 1_000;
    let (days, second) = (seconds / 86_400, seconds % 86_400);
    // Years that begin in March have their leap day at the end; an era of 400 of them has 146,097
    // days, and the first one began on 0000-03-01, 719,468 days before 1970.
    let days = days + 719_468;
    let (era, day) = (days / 146_097, days % 146_097);
    let year = (day - day / 1_460 + day / 36_524 - day / 146_096) / 365;
    let day = day - (365 * year + year / 4 - year / 100);
    let month = (5 * day + 2) / 153;
    let day_of_month = day - (153 * month + 2) / 5 + 1;
    let (month, later) = if month < 10 {
        (month + 3, 0)
    } else {
        (month - 9, 1)
    };
    format!(
        "{:04}-{month:02}-{day_of_month:02} {:02}:{:02}:{:02}",
        year + era * 400 + later,
        second / 3_600,
        second / 60 % 60,
        second % 60
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_are_those_of_the_calendar() {
        for (unix_ms, text) in [
            (0, "1970-01-01 00:00:00"),
            (951_782_399_000, "2000-02-28 23:59:59"),
            (951_782_400_000, "2000-02-29 00:00:00"),
            (1_700_000_000_123, "2023-11-14 22:13:20"),
            (1_795_263_592_686, "2026-11-21 12:19:52"),
        ] {
            assert_eq!(date(unix_ms), text);
        }
    }
}
