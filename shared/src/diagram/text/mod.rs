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
mod facts;
mod row;

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use crate::event::{Event, Fact, Header};

use super::{
    model::{LONGEST_US, Model},
    time::{IDLE_PX, default_px_per_ms},
    words,
};
use row::{Lanes, Route, Row, ascii};

/// Observers may report this much out of order, in microseconds; so long an event waits for others.
const REORDER_US: u64 = 5_000;
/// A pause shorter than this is not worth a row, in microseconds.
const LEAST_PAUSE_US: u64 = 50_000;
/// After so many rows the hosts are named again at the next chapter.
const HEADING_ROWS: usize = 24;

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
