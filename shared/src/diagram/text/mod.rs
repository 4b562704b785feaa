//! The diagram in a terminal: rows instead of pixels, printed while the run goes on.
//!
//! ```text
//!              client 192.0.2.1                           server 198.51.100.1
//!                     |                                            |
//!      0.24 ms        |---- SYN -----------------.                 |
//!      20.4 ms        |                          `---------------->|
//! ```
//!
//! Every instant has a row of its own, so a packet has two: its departure carries the first half of
//! its line and what it is, its arrival the second half; between them `:` marks that it is on its
//! way. Model, labels, notes and idle time are those of the page. Lines are only ever appended, and
//! they are ASCII whatever was on the wire.

mod closing;
mod row;

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use crate::event::{Event, Fact, Header};

use super::{
    flight::{End, Flight},
    model::{LONGEST_US, Model},
    sockets::StateChange,
    time::{IDLE_PX, default_px_per_ms},
    words,
};
use row::{Lanes, Route, Row, ascii, clock, wrapped};

/// Observers may report this much out of order, in microseconds; so long an event waits for others.
const REORDER_US: u64 = 5_000;
/// A pause shorter than this is not worth a row, in microseconds.
const LEAST_PAUSE_US: u64 = 50_000;
/// After so many rows the hosts are named again at the next chapter.
const HEADING_ROWS: usize = 24;
/// A drop this soon after its departure shares the departure's row, in microseconds.
const SAME_ROW_US: u64 = 100;

/// A run's diagram as lines of text, in the order in which they can be printed.
#[derive(Debug, Clone)]
pub struct TextDiagram {
    model: Model,
    lanes: Lanes,
    /// Events that wait for earlier ones to be reported, by time.
    waiting: VecDeque<Event>,
    /// The latest time of any event.
    latest_us: u64,
    /// Packets on their way, by id, with the columns of their lines.
    routes: BTreeMap<u64, Route>,
    /// Predicted moments that no row was drawn for: time, event, name.
    predicted: BTreeSet<(u64, u64, String)>,
    /// Names of the connections whose states were told.
    connections: BTreeSet<String>,
    begun: bool,
    /// Rows since the hosts were last named.
    rows: usize,
    /// Whether the last line was a blank row of lifelines.
    blank: bool,
    lines: Vec<String>,
}

impl TextDiagram {
    /// The diagram of a run that has no events yet, for a terminal of `columns` columns: at least
    /// 60 and at most 120 are used.
    pub fn new(header: &Header, columns: usize) -> Self {
        Self {
            model: Model::new(header),
            lanes: Lanes::new(header, columns.clamp(60, 120)),
            waiting: VecDeque::new(),
            latest_us: 0,
            routes: BTreeMap::new(),
            predicted: BTreeSet::new(),
            connections: BTreeSet::new(),
            begun: false,
            rows: 0,
            blank: false,
            lines: Vec::new(),
        }
    }

    /// Takes the next event; gives the lines that are finished by it.
    ///
    /// An event's own row comes a few milliseconds later, when no observer can report anything
    /// before it any more: with a later event, or with [`Self::advance`].
    #[must_use = "lines are given once"]
    pub fn push(&mut self, event: &Event) -> Vec<String> {
        self.latest_us = self.latest_us.max(event.at_us);
        let key = (event.at_us, event.seq);
        let at = self.waiting.partition_point(|e| (e.at_us, e.seq) <= key);
        self.waiting.insert(at, event.clone());
        self.release(self.latest_us.saturating_sub(REORDER_US));
        std::mem::take(&mut self.lines)
    }

    /// Lets a live run's clock go on to `now_us`; gives the lines that are finished by then. Without
    /// it rows wait for the next event.
    #[must_use = "lines are given once"]
    pub fn advance(&mut self, now_us: u64) -> Vec<String> {
        let until = now_us.saturating_sub(REORDER_US);
        self.release(until);
        self.predictions_before(until);
        std::mem::take(&mut self.lines)
    }

    /// Ends the diagram: what is still waiting, then the verdict.
    #[must_use = "lines are given once"]
    pub fn finish(&mut self) -> Vec<String> {
        self.release(u64::MAX);
        self.begin();
        self.unfinished();
        self.line(String::new());
        self.lines
            .extend(closing::closing(&self.model, self.lanes.columns()));
        std::mem::take(&mut self.lines)
    }

    fn release(&mut self, until: u64) {
        while self
            .waiting
            .front()
            .is_some_and(|event| event.at_us <= until)
        {
            if let Some(event) = self.waiting.pop_front() {
                self.begin();
                self.take(&event);
            }
        }
    }

    /// What this is, how to read it, and whose lifelines these are.
    fn begin(&mut self) {
        if std::mem::replace(&mut self.begun, true) {
            return;
        }
        let lines = closing::opening(self.model.header(), self.lanes.columns());
        self.lines.extend(lines);
        self.heading();
    }

    fn heading(&mut self) {
        self.line(String::new());
        let heading = self.lanes.heading(self.model.header());
        self.line(heading);
        self.rows = 0;
        self.blank_row();
    }

    fn take(&mut self, event: &Event) {
        let at_us = event.at_us.min(LONGEST_US);
        self.predictions_before(at_us);
        let idle = self.idle_until(at_us);
        let change = self.model.take(event);
        let rows = self.rows_of(event, at_us, change);
        if let Fact::Chapter { title } = &event.fact {
            self.pause(idle);
            self.chapter(title);
        } else if !rows.is_empty() {
            self.pause(idle);
            for row in rows {
                self.row(row);
            }
        }
    }

    /// How long nothing has happened at `at_us`, where that is worth a row.
    fn idle_until(&self, at_us: u64) -> Option<u64> {
        let gap = self.model.idle().gap_around(at_us)?;
        let start = gap.start.max(self.model.busy_until(at_us));
        let usual = IDLE_PX * 1e3 / default_px_per_ms(&self.model);
        let pause = at_us.saturating_sub(start);
        (pause >= LEAST_PAUSE_US.max(usual as u64)).then_some(pause)
    }

    /// A row for idle time. Nothing is on its way then, whatever the next row begins.
    fn pause(&mut self, idle: Option<u64>) {
        if let Some(idle) = idle {
            let quiet = Row::new(&self.lanes, [].iter()).into_line();
            if !self.blank {
                self.line(quiet.clone());
            }
            let mut row = Row::torn(&self.lanes);
            row.middle(&format!("~ ~   {} idle   ~ ~", words::brief(idle)));
            self.row(row);
            self.line(quiet);
            self.blank = true;
        }
    }

    fn chapter(&mut self, title: &str) {
        if self.rows > HEADING_ROWS {
            self.heading();
        }
        let title = format!("== {} ", ascii(title));
        let line = format!("{title:=<width$}", width = self.lanes.columns());
        if self.rows > 0 {
            self.blank_row();
        }
        self.line(line);
        self.blank = false;
        self.blank_row();
    }

    /// Rows for predicted moments before `until`.
    fn predictions_before(&mut self, until: u64) {
        while let Some((at_us, _, _)) = self.predicted.first()
            && *at_us < until
        {
            let Some((at_us, seq, name)) = self.predicted.pop_first() else {
                return;
            };
            let rule = self.model.rules().iter().find(|rule| rule.seq == seq);
            let text = rule.map_or_else(String::new, |rule| rule.text.clone());
            let idle = self.idle_before_prediction(at_us);
            self.pause(idle);
            let mut row = self.timed(at_us);
            row.rule(&format!("{name}: {text}"), true);
            self.row(row);
        }
    }

    /// The model knows the prediction as activity, so the pause before it is asked for just before.
    fn idle_before_prediction(&self, at_us: u64) -> Option<u64> {
        self.idle_until(at_us.checked_sub(1)?)
    }

    fn rows_of(&mut self, event: &Event, at_us: u64, change: Option<StateChange>) -> Vec<Row> {
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
            Fact::Call(_) | Fact::Http(_) => self.note(event.seq, at_us),
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
            let near = next.at_us.saturating_sub(event.at_us) <= 1_000;
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

    /// What has neither arrived nor come back when the run ends.
    fn unfinished(&mut self) {
        let last = self.model.last_us();
        let mut pending: Vec<_> = self
            .model
            .pending_calls(0, u64::MAX)
            .take(8)
            .cloned()
            .collect();
        pending.reverse();
        for note in pending {
            let mut row = Row::new(&self.lanes, self.routes.values());
            row.note(
                note.host,
                'o',
                &ascii(&format!("{} has not come back", note.text)),
            );
            self.row(row);
        }
        for (id, route) in std::mem::take(&mut self.routes).into_iter().take(8) {
            if self.model.packet(id).is_some() {
                let mut row = self.timed(last);
                row.cross(route.turn, route.rightwards(), "still on its way");
                self.row(row.untimed());
            }
        }
    }

    fn timed(&self, at_us: u64) -> Row {
        let mut row = Row::new(&self.lanes, self.routes.values());
        row.time(at_us);
        row
    }

    fn row(&mut self, row: Row) {
        self.rows += 1;
        self.blank = false;
        self.lines.push(row.into_line());
    }

    fn blank_row(&mut self) {
        if !std::mem::replace(&mut self.blank, true) {
            let row = Row::new(&self.lanes, self.routes.values());
            self.lines.push(row.into_line());
        }
    }

    fn line(&mut self, line: String) {
        self.lines.push(line);
    }
}
