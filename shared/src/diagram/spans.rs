//! Flights sorted by departure, with the largest end of every block of them, so that those which
//! touch a window are found without a walk over the run.

/// Children of one node of the tree of largest ends.
const FAN_OUT: usize = 32;

/// Spans of time, each with the number of the flight that it belongs to.
///
/// Insertion is cheap near the end, where a run's events belong.
#[derive(Debug, Clone, Default)]
pub(super) struct SpanIndex {
    /// Sorted by start.
    spans: Vec<Span>,
    /// `largest[0][k]` is the largest end among `spans[k * FAN_OUT..]`'s first [`FAN_OUT`]; each
    /// further level does the same to the one below.
    largest: Vec<Vec<u64>>,
    /// Every end, sorted: together with the starts it counts what touches a window.
    ends: Vec<u64>,
}

#[derive(Debug, Clone, Copy)]
struct Span {
    start: u64,
    end: u64,
    flight: u32,
}

impl SpanIndex {
    pub(super) fn insert(&mut self, a: u64, b: u64, flight: u32) {
        let (start, end) = (a.min(b), a.max(b));
        let at = self.spans.partition_point(|span| span.start <= start);
        self.spans.insert(at, Span { start, end, flight });
        let sorted = self.ends.partition_point(|other| *other <= end);
        self.ends.insert(sorted, end);
        self.refresh(at);
    }

    /// Recomputes the tree from the span at `at` on.
    fn refresh(&mut self, at: usize) {
        let mut from = at / FAN_OUT;
        let mut level = 0;
        loop {
            let below = if level == 0 {
                self.spans.len()
            } else {
                self.largest[level - 1].len()
            };
            let blocks = below.div_ceil(FAN_OUT);
            if self.largest.len() == level {
                self.largest.push(Vec::new());
                from = 0;
            }
            self.largest[level].truncate(from);
            for block in from..blocks {
                let range = block * FAN_OUT..((block + 1) * FAN_OUT).min(below);
                let largest = if level == 0 {
                    self.spans[range].iter().map(|span| span.end).max()
                } else {
                    self.largest[level - 1][range].iter().copied().max()
                };
                self.largest[level].push(largest.unwrap_or(0));
            }
            if blocks <= 1 {
                break;
            }
            from /= FAN_OUT;
            level += 1;
        }
    }

    /// How many spans touch `first..=last`.
    pub(super) fn count(&self, first: u64, last: u64) -> usize {
        let begun = self.spans.partition_point(|span| span.start <= last);
        let over = self.ends.partition_point(|end| *end < first);
        begun.saturating_sub(over)
    }

    /// At most `limit` flights that touch `first..=last`, in the order of their starts.
    ///
    /// Where there are more, those that began before the window may take a quarter of the places;
    /// the others are thinned evenly, by positions that do not depend on the window, so that
    /// scrolling does not make them flicker.
    pub(super) fn select(&self, first: u64, last: u64, limit: usize) -> Vec<u32> {
        let lower = self.spans.partition_point(|span| span.start < first);
        let upper = self.spans.partition_point(|span| span.start <= last);
        let within = upper.saturating_sub(lower);
        let room = if within + FAN_OUT > limit {
            limit.div_ceil(4)
        } else {
            limit - within
        };
        let mut chosen = Vec::new();
        self.crossing(first, lower, room, &mut chosen);
        chosen.reverse();
        let places = limit - chosen.len();
        if places > 0 && within > 0 {
            let mut step = within.div_ceil(places).next_power_of_two();
            // The first multiple may add one more than the division says.
            while upper.div_ceil(step) - lower.div_ceil(step) > places {
                step *= 2;
            }
            chosen.extend(
                (lower.next_multiple_of(step)..upper)
                    .step_by(step)
                    .map(|at| self.spans[at].flight),
            );
        }
        chosen
    }

    /// Those of the first `before` spans that reach `time`, the latest first, at most `room`.
    fn crossing(&self, time: u64, before: usize, room: usize, found: &mut Vec<u32>) {
        let Some(top) = self.largest.len().checked_sub(1) else {
            return;
        };
        for block in (0..self.largest[top].len()).rev() {
            self.descend(top, block, time, before, room, found);
        }
    }

    fn descend(
        &self,
        level: usize,
        block: usize,
        time: u64,
        before: usize,
        room: usize,
        found: &mut Vec<u32>,
    ) {
        let first_span = block * FAN_OUT.pow(level as u32 + 1);
        if found.len() >= room || first_span >= before || self.largest[level][block] < time {
            return;
        }
        let children = block * FAN_OUT..(block + 1) * FAN_OUT;
        if level == 0 {
            for at in (children.start..children.end.min(before)).rev() {
                if found.len() < room && self.spans[at].end >= time {
                    found.push(self.spans[at].flight);
                }
            }
        } else {
            for child in (children.start..children.end.min(self.largest[level - 1].len())).rev() {
                self.descend(level - 1, child, time, before, room, found);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Spans with starts out of order and a few long ones.
    fn sample(count: u32) -> (SpanIndex, Vec<(u64, u64)>) {
        let mut index = SpanIndex::default();
        let mut spans = Vec::new();
        let mut state = 1_u64;
        for flight in 0..count {
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1);
            let start = u64::from(flight) * 10 + (state >> 60);
            let length = if flight % 97 == 0 { 5_000 } else { 35 };
            index.insert(start, start + length, flight);
            spans.push((start, start + length));
        }
        (index, spans)
    }

    #[test]
    fn a_selection_with_room_is_exactly_what_touches_the_window() {
        let (index, spans) = sample(3_000);
        for first in (0..30_000).step_by(371) {
            let last = first + 200;
            let mut expected: Vec<u32> = (0..3_000)
                .filter(|&k| spans[k as usize].0 <= last && spans[k as usize].1 >= first)
                .collect();
            let mut found = index.select(first, last, 1_000);
            assert_eq!(index.count(first, last), expected.len());
            found.sort_unstable();
            expected.sort_unstable();
            assert_eq!(found, expected, "window from {first}");
        }
    }

    #[test]
    fn a_selection_never_exceeds_its_limit() {
        let (index, _) = sample(3_000);
        for limit in [0, 1, 5, 160] {
            assert!(index.select(0, 40_000, limit).len() <= limit);
            assert!(index.select(5_000, 5_010, limit).len() <= limit);
        }
        assert!(index.select(0, 40_000, 160).len() >= 40);
    }
}
