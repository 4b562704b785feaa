//! What stands before and after the rows: what was run and how to read it; the verdict.

use std::collections::BTreeMap;

use crate::{
    diagram::{model::Model, words},
    event::{Header, HostName, Measurement, Mode, Side, Verdict},
    units,
};

use super::row::{ascii, shortened, wrapped};

/// Columns of the names in the verdict's block.
const NAMES: usize = 14;

/// What was run, and how to read what follows.
pub(super) fn opening(header: &Header, columns: usize) -> Vec<String> {
    let carried = match header.mode {
        Mode::Packets => format!(
            "Packets between network namespaces on Linux {}",
            header.kernel
        ),
        Mode::Relay => "Byte streams through a loopback relay: no packets, no flags".to_owned(),
    };
    let params: Vec<String> = header
        .params
        .iter()
        .map(|(name, value)| format!("{name}={value}"))
        .collect();
    let mut lines = wrapped(
        &ascii(&format!("{}: {}", header.experiment, header.title)),
        columns,
    );
    lines.extend(wrapped(&ascii(&carried), columns));
    if !params.is_empty() {
        lines.extend(wrapped(&ascii(&params.join("  ")), columns));
    }
    lines.push(String::new());
    for legend in [
        "Time runs down; a packet has a row where it leaves and one where it arrives.",
        "=== data, --- no data, - - sent again, x dropped, o call, ! error, [STATE]",
    ] {
        lines.extend(wrapped(legend, columns));
    }
    lines
}

/// The outcome, as a block.
pub(super) fn closing(model: &Model, columns: usize) -> Vec<String> {
    let mut lines = Vec::new();
    if let Some(message) = model.failure() {
        let text = "The laboratory failed; nothing may be concluded from this run.";
        lines.extend(wrapped(text, columns));
        lines.extend(indented(message, columns));
    }
    if let Some(reason) = model.stopped() {
        lines.push(format!(
            "Ended before its script was done: {}.",
            ascii(reason)
        ));
    }
    match model.verdict() {
        Some(verdict) => lines.extend(block(verdict, columns)),
        None if lines.is_empty() => lines.push("The run has no verdict.".to_owned()),
        None => {}
    }
    lines
}

fn block(verdict: &Verdict, columns: usize) -> Vec<String> {
    let mut lines = vec![format!("{:=<columns$}", "== Verdict ")];
    lines.extend(indented(&verdict.summary, columns));
    lines.push(String::new());
    let row = |name: &str, value: &str| {
        let row = ascii(format!("  {name:<NAMES$}{value}").trim_end());
        shortened(&row, columns)
    };
    let how = match verdict.how.as_str() {
        "" => verdict.ended_by.clone(),
        how => format!("{} ({how})", verdict.ended_by),
    };
    lines.push(row("ended by", &how));
    // Of a single connection its sides tell the same, and more.
    if verdict.sides.is_empty() || verdict.endings.len() > 1 {
        for (host, outcome) in &verdict.outcomes {
            lines.push(row(&format!("{host} saw"), outcome));
        }
    }
    if !verdict.sides.is_empty() {
        lines.push(String::new());
        lines.extend(sides(&verdict.sides, columns));
    }
    if !verdict.measurements.is_empty() {
        lines.push(String::new());
        lines.extend(table(&verdict.measurements, columns));
    }
    if !verdict.counts.is_empty() {
        lines.push(String::new());
        lines.extend(indented(&counts(&verdict.counts), columns));
    }
    lines.push("=".repeat(columns));
    lines
}

/// What each side saw, what ended the connection there first, and when.
fn sides(sides: &[Side], columns: usize) -> Vec<String> {
    /// Columns of the times.
    const TIMES: usize = 13;
    // Only a proxy has two sides.
    let proxied = sides.iter().any(|side| side.host == HostName::Proxy);
    let names = if proxied { NAMES + 2 } else { NAMES };
    let half = (columns - 2 - names - TIMES) / 2;
    let line = |cells: [&str; 4]| {
        let [side, saw, met, at] = cells.map(ascii);
        let (saw, met) = (shortened(&saw, half - 1), shortened(&met, half - 1));
        let line = format!("  {side:<names$}{saw:<half$}{met:<half$}{at:>TIMES$}");
        line.trim_end().to_owned()
    };
    let mut lines = vec![line(["", "saw", "met first", "at"])];
    for side in sides {
        let name = match proxied {
            true => format!("{} > {}", side.host, side.towards),
            false => side.host.to_string(),
        };
        let at = side.at_us.map_or_else(|| "-".to_owned(), units::human);
        let saw = match side.saw.as_str() {
            "" => "-",
            saw => saw,
        };
        lines.push(line([&name, saw, &side.how, &at]));
    }
    lines
}

/// Predicted beside measured.
fn table(measurements: &[Measurement], columns: usize) -> Vec<String> {
    let names = measurements
        .iter()
        .map(|m| m.name.chars().count() + 2)
        .fold(NAMES, usize::max)
        .min(columns - 41);
    let line = |name: &str, cells: [String; 3]| {
        let [predicted, measured, difference] = cells;
        let name = shortened(name, names);
        ascii(&format!(
            "  {name:<names$}{predicted:>13}{measured:>13}{difference:>13}"
        ))
    };
    let heading = ["predicted", "measured", "difference"].map(str::to_owned);
    let mut lines = vec![line("", heading)];
    for measurement in measurements {
        let told = |span: Option<u64>| span.map_or_else(|| "-".to_owned(), units::human);
        let difference = match (measurement.measured_us, measurement.predicted_us) {
            (Some(measured), Some(predicted)) => words::difference(measured, predicted),
            _ => "-".to_owned(),
        };
        let cells = [
            told(measurement.predicted_us),
            told(measurement.measured_us),
            difference,
        ];
        lines.push(line(&measurement.name, cells));
    }
    lines
}

/// `connections 1, packets 11`: the best known first, the others by name.
fn counts(counts: &BTreeMap<String, u64>) -> String {
    const FIRST: [&str; 4] = ["connections", "packets", "bytes", "dropped"];
    let known = FIRST.iter().filter_map(|name| counts.get_key_value(*name));
    let others = counts
        .iter()
        .filter(|(name, _)| !FIRST.contains(&name.as_str()));
    let told: Vec<String> = known
        .chain(others)
        .map(|(name, count)| format!("{name} {count}"))
        .collect();
    told.join(", ")
}

fn indented(text: &str, columns: usize) -> Vec<String> {
    wrapped(&ascii(text), columns - 4)
        .into_iter()
        .map(|line| format!("  {line}"))
        .collect()
}
