//! A run as a Mermaid sequence diagram, which Markdown renderers draw.
//!
//! Mermaid has no time axis and no crossing lines: packets stand in the order in which they left,
//! each with the time at which it did; silence is a note. Mermaid accepts 50,000 characters by
//! default (`maxTextSize`), so what does not fit is left out from the end, and a note says how much;
//! the verdict is always there.

use std::{fmt::Write as _, io::Write};

use linger_shared::{
    diagram::{Carries, End, Flight, Model, brief, label},
    event::{Event, Header, HostName, Role},
};

use super::{ExportError, Exporter};

/// Characters of a diagram, with room below Mermaid's own limit.
const MOST_CHARACTERS: usize = 45_000;

/// Characters of one text.
const MOST_OF_A_TEXT: usize = 160;

/// Silence is told from this long on, in microseconds, or from ten times the run's delay.
const SILENCE_US: u64 = 100_000;

/// A run as Mermaid's text.
pub(super) struct Mermaid(Model);

impl Mermaid {
    pub(super) fn new(header: &Header) -> Self {
        Self(Model::new(header))
    }
}

impl Exporter for Mermaid {
    fn event(&mut self, event: &Event, _: &str, _: &mut dyn Write) -> Result<(), ExportError> {
        self.0.push(event);
        Ok(())
    }

    fn finish(&mut self, out: &mut dyn Write) -> Result<(), ExportError> {
        Ok(out.write_all(diagram(&self.0).as_bytes())?)
    }
}

/// Something to be told, when, and the number of its event.
struct Told {
    at_us: u64,
    seq: u64,
    line: String,
}

fn diagram(model: &Model) -> String {
    let header = model.header();
    let hosts: Vec<HostName> = header.hosts.iter().map(|host| host.name).collect();
    let mut text = format!(
        "sequenceDiagram\n    accTitle: {}\n",
        escape(&format!("{}: {}", header.experiment, header.title))
    );
    for host in &header.hosts {
        // Writing to a String cannot fail.
        let _ = writeln!(
            text,
            "    participant {} as {}<br/>{}",
            host.name,
            host.name,
            escape(&host.address)
        );
    }
    let across = match (hosts.first(), hosts.last()) {
        (Some(first), Some(last)) if first != last => format!("{first},{last}"),
        (Some(only), _) => only.to_string(),
        // Nothing can be drawn without hosts.
        (None, _) => return text,
    };
    let last = closing(model, &across);
    let mut room = MOST_CHARACTERS.saturating_sub(text.len() + last.len());
    let all = told(model, &hosts, &across);
    let mut omitted = 0;
    for line in &all {
        if omitted == 0 && line.line.len() < room {
            room -= line.line.len();
            text.push_str(&line.line);
        } else {
            omitted += 1;
        }
    }
    if omitted > 0 {
        let _ = writeln!(
            text,
            "    Note over {across}: {omitted} of {} packets and notes are left out here, because \
             Mermaid takes no more",
            all.len()
        );
    }
    text.push_str(&last);
    text
}

/// Packets, calls, chapters, predictions and measurements, with the silence between them.
fn told(model: &Model, hosts: &[HostName], across: &str) -> Vec<Told> {
    let mut all: Vec<Told> = Vec::new();
    for flight in model.packets() {
        if hosts.contains(&flight.from) && hosts.contains(&flight.to) {
            all.push(Told {
                at_us: flight.departed_us,
                seq: flight.seq,
                line: packet(flight),
            });
        }
    }
    for note in model.notes() {
        if hosts.contains(&note.host) {
            let side = if hosts.first() == Some(&note.host) {
                "left"
            } else {
                "right"
            };
            all.push(Told {
                at_us: note.at_us,
                seq: note.seq,
                line: format!("    Note {side} of {}: {}\n", note.host, escape(&note.text)),
            });
        }
    }
    for chapter in model.chapters() {
        all.push(Told {
            at_us: chapter.at_us,
            seq: chapter.seq,
            line: format!("    Note over {across}: {}\n", escape(&chapter.title)),
        });
    }
    for rule in model.rules() {
        let name = rule.name.replace('_', " ");
        let text = escape(&format!("{name}: {}", rule.text));
        all.push(Told {
            at_us: rule.at_us,
            seq: rule.seq,
            line: format!("    Note over {across}: {text}\n"),
        });
    }
    all.sort_by_key(|told| (told.at_us, told.seq));

    let delay = model.typical_delay_us().unwrap_or(0);
    let silence_us = SILENCE_US.max(delay.saturating_mul(10));
    let mut with_silence: Vec<Told> = Vec::with_capacity(all.len());
    for next in all {
        let before = with_silence.last().map_or(next.at_us, |told| told.at_us);
        let silent = next.at_us.saturating_sub(before);
        if silent >= silence_us {
            with_silence.push(Told {
                at_us: next.at_us,
                seq: next.seq,
                line: format!("    Note over {across}: {} later\n", escape(&brief(silent))),
            });
        }
        with_silence.push(next);
    }
    with_silence
}

/// A dropped packet ends in a cross, one that is still on its way in an open head; what was sent
/// before is dashed.
fn packet(flight: &Flight) -> String {
    let again = matches!(
        flight.carries,
        Carries::Segment(segment) if matches!(segment.role, Role::Retransmission { .. })
    );
    let line = if again { "--" } else { "-" };
    let (head, fate) = match &flight.end {
        End::Arrived { .. } => (">>", String::new()),
        End::Dropped { reason, .. } => ("x", format!(" (dropped: {reason})")),
        End::InFlight => (")", " (still on its way)".to_owned()),
    };
    let text = format!("{}, {}{fate}", label(flight), brief(flight.departed_us));
    format!(
        "    {}{line}{head}{}: {}\n",
        flight.from,
        flight.to,
        escape(&text)
    )
}

fn closing(model: &Model, across: &str) -> String {
    let mut notes = Vec::new();
    if let Some(message) = model.failure() {
        notes.push(format!(
            "The laboratory failed, nothing may be concluded: {message}"
        ));
    }
    if let Some(verdict) = model.verdict() {
        notes.push(verdict.summary.clone());
    }
    notes
        .iter()
        .map(|note| format!("    Note over {across}: {}\n", escape(note)))
        .collect()
}

/// Text as Mermaid takes it anywhere: letters, digits and a few marks stay, everything else becomes
/// an entity, and a line break a space. A semicolon or a number sign would end the statement.
fn escape(text: &str) -> String {
    let mut escaped = String::new();
    for (k, c) in text.trim().chars().enumerate() {
        if k == MOST_OF_A_TEXT {
            escaped.push_str("...");
            break;
        }
        match c {
            'a'..='z' | 'A'..='Z' | '0'..='9' => escaped.push(c),
            ' ' | ',' | '.' | '(' | ')' | '/' | '=' | '?' | '!' | '_' => escaped.push(c),
            // A colon and a hyphen mean something only before the text.
            ':' | '-' | '+' => escaped.push(c),
            c if c.is_whitespace() => escaped.push(' '),
            c if c.is_alphanumeric() => escaped.push(c),
            c if c.is_control() => escaped.push('\u{FFFD}'),
            c => {
                let _ = write!(escaped, "#{};", u32::from(c));
            }
        }
    }
    // A statement without a text is none.
    if escaped.trim().is_empty() {
        escaped.push_str("...");
    }
    escaped
}

#[cfg(test)]
mod tests;
