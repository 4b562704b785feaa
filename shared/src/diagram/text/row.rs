//! One row of the text diagram: a line of cells with lifelines, and what is drawn over them.

use crate::{
    diagram::{flight::Flight, model::LONGEST_US},
    event::{Header, HostName},
};

/// Columns of the time at the left.
const TIME: usize = 11;
/// The client's column.
const CLIENT: usize = 15;
/// Columns right of the server's.
const RIGHT: usize = 13;
/// Dashes before a label.
const LEAD: usize = 4;

/// Where the lifelines stand.
#[derive(Debug, Clone)]
pub(super) struct Lanes {
    columns: usize,
    lanes: Vec<(HostName, usize)>,
}

/// The columns of a packet's line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Route {
    from: usize,
    to: usize,
    /// Where the departure's row ends and the arrival's begins.
    pub(super) turn: usize,
    stroke: Stroke,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stroke {
    Thin,
    Thick,
    /// A retransmission.
    Dashed,
}

impl Route {
    pub(super) fn rightwards(&self) -> bool {
        self.to > self.from
    }
}

impl Lanes {
    pub(super) fn new(header: &Header, columns: usize) -> Self {
        let server = columns - RIGHT;
        let mut lanes = vec![(HostName::Client, CLIENT)];
        if header.hosts.iter().any(|host| host.name == HostName::Proxy) {
            lanes.push((HostName::Proxy, usize::midpoint(CLIENT, server)));
        }
        lanes.push((HostName::Server, server));
        Self { columns, lanes }
    }

    pub(super) fn columns(&self) -> usize {
        self.columns
    }

    /// Columns for text between the outer lifelines.
    pub(super) fn room(&self) -> usize {
        self.columns - RIGHT - CLIENT - 5
    }

    fn column(&self, host: HostName) -> Option<usize> {
        let lane = self.lanes.iter().find(|(name, _)| *name == host);
        lane.map(|(_, column)| *column)
    }

    /// The hosts' names and addresses over their lifelines.
    pub(super) fn heading(&self, header: &Header) -> String {
        let mut line = String::new();
        for (host, column) in &self.lanes {
            let info = header.hosts.iter().find(|info| info.name == *host);
            let address = info.map(|info| ascii(&info.address)).unwrap_or_default();
            let title = format!("{host} {address}").trim_end().to_owned();
            let start = column
                .saturating_sub(title.len() / 2)
                .min(self.columns.saturating_sub(title.len()))
                .max(if line.is_empty() { 0 } else { line.len() + 1 });
            line.push_str(&" ".repeat(start.saturating_sub(line.len())));
            line.push_str(&title);
        }
        line
    }

    /// The columns of a packet's line, with a turn that no other packet on its way uses, where one
    /// is left; `None` where it does not go from one lifeline to another.
    pub(super) fn route<'a>(
        &self,
        flight: &Flight,
        label: &str,
        others: impl Iterator<Item = &'a Route>,
    ) -> Option<Route> {
        let (from, to) = (self.column(flight.from)?, self.column(flight.to)?);
        let span = from.abs_diff(to);
        if span == 0 {
            return None;
        }
        let taken: Vec<usize> = others.map(|route| route.turn).collect();
        let at = |distance: usize| {
            if to > from {
                from + distance
            } else {
                from - distance
            }
        };
        // A label needs its lead, a space on either side and some line after it.
        let least = (LEAD + label.len() + 5).min(span - 4);
        let middle = (span / 2).max(least);
        let offsets = (0..8).flat_map(|k| [middle + 3 * k, middle.saturating_sub(3 * k)]);
        let distance = offsets
            .filter(|distance| (least..=span - 4).contains(distance))
            .find(|distance| !taken.iter().any(|turn| turn.abs_diff(at(*distance)) < 2))
            .unwrap_or(middle);
        let stroke = if flight.is_retransmission() {
            Stroke::Dashed
        } else if flight.payload() > 0 {
            Stroke::Thick
        } else {
            Stroke::Thin
        };
        Some(Route {
            from,
            to,
            turn: at(distance),
            stroke,
        })
    }
}

/// Cells of one line.
#[derive(Debug, Clone)]
pub(super) struct Row {
    cells: Vec<char>,
    lanes: Vec<(HostName, usize)>,
}

impl Row {
    /// Lifelines, and the turns of what is on its way.
    pub(super) fn new<'a>(lanes: &Lanes, routes: impl Iterator<Item = &'a Route>) -> Self {
        let mut row = Self {
            cells: vec![' '; lanes.columns],
            lanes: lanes.lanes.clone(),
        };
        for route in routes {
            row.cells[route.turn] = ':';
        }
        row.lifelines('|');
        row
    }

    /// Lifelines where time is cut out.
    pub(super) fn torn(lanes: &Lanes) -> Self {
        let mut row = Self::new(lanes, [].iter());
        row.lifelines('~');
        row
    }

    fn lifelines(&mut self, mark: char) {
        for (_, column) in &self.lanes {
            self.cells[*column] = mark;
        }
    }

    pub(super) fn time(&mut self, at_us: u64) {
        let text = clock(at_us);
        self.put(TIME.saturating_sub(text.len()), &text);
    }

    /// The same row without its time.
    pub(super) fn untimed(mut self) -> Self {
        self.cells[..CLIENT].fill(' ');
        self
    }

    fn put(&mut self, start: usize, text: &str) {
        for (cell, c) in self.cells.iter_mut().skip(start).zip(text.chars()) {
            *cell = c;
        }
    }

    fn is_lane(&self, column: usize) -> bool {
        self.lanes.iter().any(|(_, lane)| *lane == column)
    }

    /// A line strictly between two columns.
    fn stroke(&mut self, a: usize, b: usize, stroke: Stroke) {
        for column in a.min(b) + 1..a.max(b) {
            let mark = match stroke {
                Stroke::Thin => '-',
                Stroke::Thick => '=',
                Stroke::Dashed if column % 2 == 0 => '-',
                Stroke::Dashed => ' ',
            };
            self.cells[column] = if self.is_lane(column) { '+' } else { mark };
        }
    }

    /// The first half of a packet's line, with its label.
    pub(super) fn depart(&mut self, route: &Route, label: &str) {
        self.stroke(route.from, route.turn, route.stroke);
        self.cells[route.turn] = '.';
        let room = route.from.abs_diff(route.turn).saturating_sub(LEAD + 3);
        let label = shortened(label, room);
        let start = if route.rightwards() {
            route.from + 1 + LEAD
        } else {
            route.from - LEAD - label.len() - 2
        };
        self.put(start, &format!(" {label} "));
    }

    /// The second half, with its head.
    pub(super) fn arrive(&mut self, route: &Route) {
        self.stroke(route.turn, route.to, route.stroke);
        if route.rightwards() {
            self.cells[route.turn] = '`';
            self.cells[route.to - 1] = '>';
        } else {
            self.cells[route.turn] = '\'';
            self.cells[route.to + 1] = '<';
        }
    }

    /// The second half up to the place of a drop, where that is beyond the turn.
    pub(super) fn fail(&mut self, route: &Route, place: f64, reason: &str) {
        let span = route.from.abs_diff(route.to) as f64;
        let distance = (place * span) as usize;
        let turned = route.from.abs_diff(route.turn);
        // The cross needs a cell that is not the turn's, and the lifeline stays.
        let end = distance.clamp(turned + 3, route.from.abs_diff(route.to) - 1);
        let column = if route.rightwards() {
            route.from + end
        } else {
            route.from - end
        };
        self.stroke(route.turn, column, route.stroke);
        self.cells[route.turn] = if route.rightwards() { '`' } else { '\'' };
        self.cross(column, route.rightwards(), reason);
    }

    /// A cross with a reason beyond it, in the direction of travel, or before it for want of room.
    pub(super) fn cross(&mut self, column: usize, rightwards: bool, reason: &str) {
        self.cells[column] = 'x';
        let server = self.lanes.last().map_or(0, |(_, lane)| *lane);
        let beyond = if rightwards {
            server.saturating_sub(column + 2)
        } else {
            column.saturating_sub(CLIENT + 3)
        };
        let reason = shortened(reason, beyond);
        if rightwards {
            self.put(column + 2, &reason);
        } else {
            self.put(column - 1 - reason.len(), &reason);
        }
    }

    /// Text beside a lifeline, on its inner side, with a mark on the line.
    pub(super) fn note(&mut self, host: HostName, mark: char, text: &str) {
        let Some((_, column)) = self.lanes.iter().find(|(name, _)| *name == host).copied() else {
            return;
        };
        let room = self.cells.len() - RIGHT - CLIENT - 6;
        if host == HostName::Server {
            let text = shortened(text, room);
            self.put(column - 3 - text.len(), &format!(" {text} "));
        } else {
            let text = shortened(text, room.min(self.cells.len() - column - RIGHT - 3));
            self.put(column + 2, &format!(" {text} "));
        }
        self.cells[column] = mark;
    }

    /// Text in the middle between the outer lifelines.
    pub(super) fn middle(&mut self, text: &str) {
        let server = self.cells.len() - RIGHT;
        let text = shortened(text, server - CLIENT - 5);
        let start = usize::midpoint(CLIENT, server) - text.len() / 2;
        self.put(start - 1, &format!(" {text} "));
    }

    /// A rule across, dashed or solid, with its text.
    pub(super) fn rule(&mut self, text: &str, predicted: bool) {
        let server = self.cells.len() - RIGHT;
        for column in CLIENT - 2..=server + 2 {
            self.cells[column] = match (self.is_lane(column), predicted) {
                (true, _) => '+',
                (false, true) if column % 2 == 0 => ' ',
                (false, true) => '-',
                (false, false) => '_',
            };
        }
        self.middle(&ascii(text));
    }

    pub(super) fn into_line(self) -> String {
        let line: String = self.cells.into_iter().collect();
        line.trim_end().to_owned()
    }
}

/// As much of a text as there is room for.
pub(super) fn shortened(text: &str, room: usize) -> String {
    if text.len() <= room {
        text.to_owned()
    } else {
        let short: String = text.chars().take(room.saturating_sub(2)).collect();
        format!("{short}..").chars().take(room).collect()
    }
}

/// A text with everything that a terminal might act on, or cannot show, replaced.
pub(super) fn ascii(text: &str) -> String {
    text.chars()
        .map(|c| match c {
            '\u{2026}' => '.',
            '\u{2013}' | '\u{2014}' | '\u{2212}' => '-',
            '\u{d7}' => 'x',
            ' '..='~' => c,
            _ if c.is_whitespace() => ' ',
            _ => '?',
        })
        .collect()
}

/// A moment, always to a tenth of a millisecond or better, so that rows can be subtracted.
pub(super) fn clock(at_us: u64) -> String {
    let at_us = at_us.min(LONGEST_US);
    match at_us {
        0..10_000 => format!("{:.2} ms", at_us as f64 / 1e3),
        10_000..1_000_000 => format!("{:.1} ms", at_us as f64 / 1e3),
        _ => format!("{:.4} s", at_us as f64 / 1e6),
    }
}

/// Breaks a text between words into lines of at most `width` columns; longer words are cut.
pub(super) fn wrapped(text: &str, width: usize) -> Vec<String> {
    let mut lines = vec![String::new()];
    for word in text.split_whitespace() {
        let line = lines.last().map_or(0, String::len);
        if line > 0 && line + 1 + word.len() > width {
            lines.push(String::new());
        }
        if let Some(line) = lines.last_mut() {
            if !line.is_empty() {
                line.push(' ');
            }
            line.push_str(&shortened(word, width));
        }
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_can_be_subtracted_to_a_tenth_of_a_millisecond() {
        for (at, text) in [
            (240, "0.24 ms"),
            (20_432, "20.4 ms"),
            (204_320, "204.3 ms"),
            (5_003_210, "5.0032 s"),
        ] {
            assert_eq!(clock(at), text);
        }
    }

    #[test]
    fn nothing_on_the_wire_reaches_the_terminal_as_a_command() {
        assert_eq!(ascii("a\u{1b}[2Jb\nc\u{e9}"), "a?[2Jb c?");
    }

    #[test]
    fn texts_are_broken_between_words() {
        assert_eq!(wrapped("one two three", 8), ["one two", "three"]);
        assert_eq!(wrapped("", 8), [""]);
        assert_eq!(wrapped("abcdefghijkl", 8), ["abcdef.."]);
    }
}
