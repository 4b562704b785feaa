//! When something happened and when nothing did: the union of all activity of a run, and the gaps
//! between, sorted so that any sum over them takes a few binary searches.
//!
//! Gaps are kept by octaves of their length. A scale cuts all gaps from some power of two on, so
//! the time cut out before any moment is a sum over at most 64 prefix sums, whatever the number of
//! gaps. How long a gap must be to be cut is the [time scale](super::time)'s business.

/// Gaps shorter than two to this power, in microseconds, are never cut and so not kept.
const SHORTEST_OCTAVE: u32 = 4;

/// A span in which nothing happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Gap {
    /// When the last thing before it ended, in microseconds.
    pub(super) start: u64,
    /// When the next thing began.
    pub(super) end: u64,
}

impl Gap {
    pub(super) fn length(self) -> u64 {
        self.end.saturating_sub(self.start)
    }
}

/// Disjoint gaps sorted by time, with the sums of their lengths.
#[derive(Debug, Clone, Default)]
pub(super) struct Gaps {
    gaps: Vec<Gap>,
    /// `sums[k]` is the length of `gaps[..=k]` together.
    sums: Vec<u64>,
}

impl Gaps {
    pub(super) fn insert(&mut self, gap: Gap) {
        let at = self.gaps.partition_point(|other| other.start < gap.start);
        self.gaps.insert(at, gap);
        self.refresh(at);
    }

    fn remove(&mut self, gap: Gap) {
        if let Ok(at) = self
            .gaps
            .binary_search_by_key(&gap.start, |other| other.start)
        {
            self.gaps.remove(at);
            self.refresh(at);
        }
    }

    fn refresh(&mut self, at: usize) {
        self.sums.truncate(at);
        let mut sum = at.checked_sub(1).map_or(0, |before| self.sums[before]);
        for gap in &self.gaps[at..] {
            sum += gap.length();
            self.sums.push(sum);
        }
    }

    /// How many gaps end at or before `time`, and their length together.
    pub(super) fn ended_by(&self, time: u64) -> (usize, u64) {
        let count = self.gaps.partition_point(|gap| gap.end <= time);
        (
            count,
            count.checked_sub(1).map_or(0, |last| self.sums[last]),
        )
    }

    /// The gap at a position.
    pub(super) fn get(&self, at: usize) -> Option<Gap> {
        self.gaps.get(at).copied()
    }

    pub(super) fn contains(&self, gap: Gap) -> bool {
        self.gaps
            .binary_search_by_key(&gap.start, |other| other.start)
            .is_ok()
    }

    /// Gaps that touch `first..=last`.
    pub(super) fn touching(&self, first: u64, last: u64) -> &[Gap] {
        let lower = self.gaps.partition_point(|gap| gap.end < first);
        let upper = self.gaps.partition_point(|gap| gap.start <= last);
        &self.gaps[lower..upper.max(lower)]
    }
}

/// What a run's activity leaves over.
#[derive(Debug, Clone)]
pub(super) struct Idle {
    /// Disjoint spans `(first, last)` of activity, sorted; a moment is a span of length 0.
    busy: Vec<(u64, u64)>,
    /// `octaves[k]` holds the gaps of length `2^k..2^(k+1)`.
    octaves: Vec<Gaps>,
}

impl Default for Idle {
    /// The start of the run is its first activity.
    fn default() -> Self {
        Self {
            busy: vec![(0, 0)],
            octaves: vec![Gaps::default(); 64],
        }
    }
}

impl Idle {
    /// Notes that something was going on from `a` to `b`.
    pub(super) fn mark(&mut self, a: u64, b: u64) {
        let (mut first, mut last) = (a.min(b), a.max(b));
        let lower = self.busy.partition_point(|span| span.1 < first);
        let upper = self.busy.partition_point(|span| span.0 <= last).max(lower);
        if lower < upper {
            let covered = self.busy[lower];
            if upper - lower == 1 && covered.0 <= first && covered.1 >= last {
                return;
            }
            first = first.min(covered.0);
            last = last.max(self.busy[upper - 1].1);
        }
        // Gap k lies between span k and span k + 1; those that touch the new span go.
        for k in lower.saturating_sub(1)..upper {
            if let Some(gap) = self.gap_after(k)
                && let Some(octave) = self.octave_of(gap)
            {
                octave.remove(gap);
            }
        }
        self.busy.splice(lower..upper, [(first, last)]);
        for k in [lower.checked_sub(1), Some(lower)].into_iter().flatten() {
            if let Some(gap) = self.gap_after(k)
                && let Some(octave) = self.octave_of(gap)
            {
                octave.insert(gap);
            }
        }
    }

    fn gap_after(&self, span: usize) -> Option<Gap> {
        let start = self.busy.get(span)?.1;
        let end = self.busy.get(span + 1)?.0;
        Some(Gap { start, end })
    }

    fn octave_of(&mut self, gap: Gap) -> Option<&mut Gaps> {
        let octave = gap.length().checked_ilog2()?;
        (octave >= SHORTEST_OCTAVE).then(|| &mut self.octaves[octave as usize])
    }

    /// The gaps whose length is at least two to the power `octave`, by octaves.
    pub(super) fn at_least_octave(&self, octave: u32) -> &[Gaps] {
        &self.octaves[(octave.max(SHORTEST_OCTAVE) as usize).min(64)..]
    }

    /// The gap that begins exactly at `start`.
    pub(super) fn gap_at(&self, start: u64) -> Option<Gap> {
        let span = self.busy.binary_search_by_key(&start, |span| span.1).ok()?;
        self.gap_after(span)
    }

    /// The gap that `time` falls into; after all activity, one that ends at `time`. `None` while
    /// something is going on.
    pub(super) fn gap_around(&self, time: u64) -> Option<Gap> {
        let before = self
            .busy
            .partition_point(|span| span.0 <= time)
            .checked_sub(1)?;
        let start = self.busy[before].1;
        if start >= time {
            return None;
        }
        let end = self.busy.get(before + 1).map_or(time, |span| span.0);
        Some(Gap { start, end })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all_gaps(idle: &Idle) -> Vec<Gap> {
        let mut gaps: Vec<Gap> = idle
            .at_least_octave(0)
            .iter()
            .flat_map(|gaps| gaps.touching(0, u64::MAX).iter().copied())
            .collect();
        gaps.sort_by_key(|gap| gap.start);
        gaps
    }

    #[test]
    fn gaps_are_what_activity_leaves_over_in_whatever_order_it_comes() {
        let spans = [
            (1_000, 1_200),
            (5_000, 5_000),
            (1_100, 2_000),
            (9_000, 9_500),
        ];
        for turn in 0..spans.len() {
            let mut idle = Idle::default();
            for k in 0..spans.len() {
                let (a, b) = spans[(k + turn) % spans.len()];
                idle.mark(a, b);
            }
            let gaps: Vec<_> = all_gaps(&idle).iter().map(|g| (g.start, g.end)).collect();
            assert_eq!(gaps, [(0, 1_000), (2_000, 5_000), (5_000, 9_000)]);
        }
    }

    #[test]
    fn activity_and_gaps_together_are_the_whole_of_any_run() {
        let mut state = 7_u64;
        let mut idle = Idle::default();
        let mut last = 0;
        for _ in 0..2_000 {
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1);
            let start = (state >> 33) % 4_000_000;
            let length = (state >> 20) % 3_000;
            idle.mark(start, start + length);
            last = last.max(start + length);
        }
        let busy: u64 = idle.busy.iter().map(|span| span.1 - span.0).sum();
        let gaps: u64 = idle.busy.windows(2).map(|w| w[1].0 - w[0].1).sum();
        assert_eq!(busy + gaps, last);
        let kept: u64 = all_gaps(&idle).iter().map(|gap| gap.length()).sum();
        let dropped: u64 = idle
            .busy
            .windows(2)
            .map(|w| w[1].0 - w[0].1)
            .filter(|length| *length < 1 << SHORTEST_OCTAVE)
            .sum();
        assert_eq!(kept + dropped, gaps);
    }
}
