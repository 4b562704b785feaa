//! From one fact to its rows.

use crate::{
    diagram::{
        flight::{End, Flight},
        model::LONGEST_US,
        sockets::StateChange,
        words,
    },
    event::{Event, Fact},
};

use super::{
    TextDiagram,
    row::{Row, ascii, clock, wrapped},
};

/// A drop this soon after its departure shares the departure's row, in microseconds.
const SAME_ROW_US: u64 = 100;
/// A rule for both directions is armed by two events this close together, in microseconds.
const TWIN_US: u64 = 1_000;

impl TextDiagram {
    /// The rows of an event that the model has taken; none where it is told in another way.
    pub(super) fn rows_of(
        &mut self,
        event: &Event,
        at_us: u64,
        change: Option<StateChange>,
    ) -> Vec<Row> {
        if let Some(change) = change {
            return vec![self.state(at_us, change)];
        }
        match &event.fact {
            Fact::PacketDeparted(packet) => self.departed(at_us, packet.id),
            Fact::ChunkDeparted(chunk) => self.departed(at_us, chunk.id),
            Fact::PacketArrived { id } | Fact::ChunkArrived { id } => self.arrived(at_us, *id),
            Fact::PacketDropped { id, .. } | Fact::ChunkDropped { id, .. } => {
                self.dropped(at_us, *id)
            }
            Fact::Call(_)
            | Fact::Http(_)
            | Fact::Tls(_)
            | Fact::Output { .. }
            | Fact::Process { .. }
            | Fact::Power { .. }
            | Fact::Flow { .. } => self.note(event.seq, at_us),
            Fact::Secret { .. } => Vec::new(),
            Fact::Rule {
                rule, from, active, ..
            } => {
                let both = self.take_twin(event);
                let whose = if both {
                    "both directions".to_owned()
                } else {
                    format!("packets from {from}")
                };
                let what = if *active { "begins" } else { "ends" };
                let mut row = self.timed(at_us);
                row.middle(&ascii(&format!("x  {rule} {what}, {whose}  x")));
                vec![row]
            }
            Fact::Expectation {
                name,
                predicted_at_us,
                because,
                ..
            } => {
                let predicted = (*predicted_at_us).min(LONGEST_US);
                self.predicted.insert((predicted, event.seq, name.clone()));
                let text = format!("predicted: {name} at {}", clock(predicted));
                let mut rows = self.text(at_us, &text);
                if !because.is_empty() {
                    rows.extend(self.text(at_us, because).into_iter().map(Row::untimed));
                }
                rows
            }
            Fact::Measurement(_) => {
                let rules = self.model.rules();
                let rule = rules.iter().find(|r| r.seq == event.seq && !r.predicted);
                let Some(text) = rule.map(|rule| format!("{}: {}", rule.name, rule.text)) else {
                    return Vec::new();
                };
                let mut row = self.timed(at_us);
                row.rule(&text, false);
                vec![row]
            }
            Fact::Remark { text } => self.text(at_us, text),
            Fact::Stopped { reason } => self.text(at_us, &format!("stopped: {reason}")),
            Fact::Failure { .. } => self.text(at_us, "the laboratory failed"),
            Fact::Chapter { .. } | Fact::Verdict(_) | Fact::Socket(_) | Fact::SocketGone { .. } => {
                Vec::new()
            }
        }
    }

    /// A rule for both directions is armed by two events at one moment: one row tells both.
    fn take_twin(&mut self, event: &Event) -> bool {
        let twin = self.waiting.front().is_some_and(|next| {
            let near = next.at_us.saturating_sub(event.at_us) <= TWIN_US;
            match (&event.fact, &next.fact) {
                (
                    Fact::Rule {
                        rule, from, active, ..
                    },
                    Fact::Rule {
                        rule: r,
                        from: f,
                        active: a,
                        ..
                    },
                ) => near && rule == r && from != f && active == a,
                _ => false,
            }
        });
        if twin && let Some(next) = self.waiting.pop_front() {
            let _ = self.model.take(&next);
        }
        twin
    }

    fn departed(&mut self, at_us: u64, id: u64) -> Vec<Row> {
        let Some(flight) = self.model.packet(id).cloned() else {
            return Vec::new();
        };
        if flight.departed_us != at_us || self.routes.contains_key(&id) {
            // The same id once more: the first departure counts.
            return Vec::new();
        }
        let label = ascii(&words::label(&flight));
        let Some(route) = self.lanes.route(&flight, &label, self.routes.values()) else {
            return self.text(at_us, &format!("{}: {label}", flight.from));
        };
        let mut row = self.timed(at_us);
        if let Some(reason) = self.take_immediate_drop(&flight) {
            row.depart(&route, &label);
            row.cross(route.turn, route.rightwards(), &reason);
            return vec![row];
        }
        row.depart(&route, &label);
        if matches!(flight.end, End::InFlight) {
            self.routes.insert(id, route);
        }
        vec![row]
    }

    /// A packet that is dropped as it leaves has one row.
    fn take_immediate_drop(&mut self, flight: &Flight) -> Option<String> {
        let next = self.waiting.front()?;
        let soon = next.at_us.saturating_sub(flight.departed_us) <= SAME_ROW_US;
        let reason = match &next.fact {
            Fact::PacketDropped { id, reason, .. } | Fact::ChunkDropped { id, reason, .. }
                if *id == flight.id && soon =>
            {
                ascii(reason)
            }
            _ => return None,
        };
        let next = self.waiting.pop_front()?;
        let _ = self.model.take(&next);
        Some(reason)
    }

    fn arrived(&mut self, at_us: u64, id: u64) -> Vec<Row> {
        // An arrival without a departure has no line; the count tells of it.
        let Some(route) = self.routes.remove(&id) else {
            return Vec::new();
        };
        let mut row = self.timed(at_us);
        row.arrive(&route);
        vec![row]
    }

    fn dropped(&mut self, at_us: u64, id: u64) -> Vec<Row> {
        let Some(route) = self.routes.remove(&id) else {
            return Vec::new();
        };
        let Some(End::Dropped { reason, place, .. }) = self.model.packet(id).map(|f| &f.end) else {
            return Vec::new();
        };
        let (reason, place) = (ascii(reason), *place);
        let mut row = self.timed(at_us);
        row.fail(&route, place, &reason);
        vec![row]
    }

    fn note(&mut self, seq: u64, at_us: u64) -> Vec<Row> {
        let notes = self.model.notes();
        // Notes are sorted by time, and this one was just inserted.
        let first = notes.partition_point(|note| note.at_us < at_us);
        let Some(note) = notes[first..].iter().find(|note| note.seq == seq).cloned() else {
            return Vec::new();
        };
        let mut row = self.timed(at_us);
        row.note(
            note.host,
            if note.error { '!' } else { 'o' },
            &ascii(&note.text),
        );
        vec![row]
    }

    fn state(&mut self, at_us: u64, change: StateChange) -> Row {
        self.connections.insert(change.connection.clone());
        let state = change.to.as_str();
        let text = match (change.from, self.connections.len() > 1) {
            // With more than one connection each state says whose it is.
            (_, true) => format!("[{state} :{}]", change.connection),
            (_, false) => format!("[{state}]"),
        };
        let mut row = self.timed(at_us);
        row.note(change.host, '|', &text);
        row
    }

    /// Text between the lanes, over as many rows as it takes.
    fn text(&self, at_us: u64, text: &str) -> Vec<Row> {
        let mut rows = Vec::new();
        for (k, line) in wrapped(&ascii(text), self.lanes.room()).iter().enumerate() {
            let row = self.timed(at_us);
            let mut row = if k == 0 { row } else { row.untimed() };
            row.middle(line);
            rows.push(row);
        }
        rows
    }

    pub(super) fn timed(&self, at_us: u64) -> Row {
        let mut row = Row::new(&self.lanes, self.routes.values());
        row.time(at_us);
        row
    }
}
