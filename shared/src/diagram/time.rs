//! The vertical axis: a strictly monotone map between the run's clock and pixels, linear apart
//! from idle time that is cut out.
//!
//! A gap in a run's activity that would be higher than [`IDLE_PX`] keeps [`MARGIN_PX`] at true
//! scale on either side, so that nothing is ever cut next to a packet, a drop, a RST or a rule; the
//! rest becomes a tear of [`TEAR_PX`]. Time is counted in whole microseconds throughout, so what is
//! cut plus what is drawn is the whole, exactly. Any answer costs a few binary searches.

use std::collections::BTreeSet;

use super::{
    idle::{Gap, Gaps, Idle},
    model::{LONGEST_US, Model},
};

/// An idle gap is cut when it would take more than this, in pixels, rounded up to a power of two
/// in microseconds.
pub const IDLE_PX: f64 = 80.0;
/// What stays at true scale before and after a cut, in pixels.
pub const MARGIN_PX: f64 = 20.0;
/// Height of a tear in pixels.
pub const TEAR_PX: f64 = 28.0;
/// Height of the picture above time 0, in pixels.
pub const TOP_PX: f64 = 24.0;
/// Height of the picture below its last moment, in pixels.
pub const BOTTOM_PX: f64 = 48.0;
/// How high a one-way delay should be, in pixels, for arrows to be seen as slanted.
pub const DELAY_PX: f64 = 55.0;

/// The smallest and the largest scale, in pixels per millisecond.
const SCALES: (f64, f64) = (1e-5, 5_000.0);
/// The scale of a run whose delays are not known yet: 20 ms take [`DELAY_PX`].
const USUAL_PX_PER_MS: f64 = DELAY_PX / 20.0;

/// A scale at which a run's one-way delay is about [`DELAY_PX`] high.
///
/// Bounded, because at a delay of 0.02 ms everything else would be far apart, and at 20 s nothing
/// would be.
pub fn default_px_per_ms(model: &Model) -> f64 {
    model.typical_delay_us().map_or(USUAL_PX_PER_MS, |delay| {
        (DELAY_PX * 1e3 / delay.max(1) as f64).clamp(0.005, 400.0)
    })
}

/// The largest scale at which the whole run is at most `height` pixels high; the smallest there is
/// where none is.
pub fn fit_px_per_ms(
    model: &Model,
    height: f64,
    opened: &BTreeSet<u64>,
    now_us: Option<u64>,
) -> f64 {
    let (mut low, mut high) = (SCALES.0.ln(), 400.0_f64.ln());
    // Whether a gap is cut depends on the scale in steps, so the height is only nearly monotone:
    // bisection finds some scale at the edge, and the check keeps what fits.
    let mut best = SCALES.0;
    for _ in 0..40 {
        let middle = f64::midpoint(low, high);
        let scale = middle.exp();
        if TimeScale::new(model, scale, opened, now_us).height() <= height {
            best = best.max(scale);
            low = middle;
        } else {
            high = middle;
        }
    }
    best
}

/// Idle time as it is cut.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cut {
    /// Names the gap for as long as the run lasts: when its idle time began, in microseconds.
    pub key: u64,
    /// The first moment that is cut out, in microseconds.
    pub from_us: u64,
    /// The first moment that is drawn again.
    pub to_us: u64,
}

/// The map. Pixels are content pixels: from the top of the whole run's picture.
#[derive(Debug, Clone)]
pub struct TimeScale<'a> {
    idle: &'a Idle,
    /// Gaps of this octave and above are cut.
    octave: u32,
    px_per_us: f64,
    margin_us: u64,
    end_us: u64,
    /// Gaps that would be cut by their length but are not: opened ones, and the one that the
    /// present falls into.
    kept: Gaps,
    /// What is cut beyond the model's gaps: the idle tail of a live run.
    added: Gaps,
}

impl<'a> TimeScale<'a> {
    /// The scale of a run at `px_per_ms`, with the gaps named in `opened` left whole, up to
    /// `now_us` where the run is live.
    ///
    /// What is not a positive finite number gives the usual scale.
    pub fn new(
        model: &'a Model,
        px_per_ms: f64,
        opened: &BTreeSet<u64>,
        now_us: Option<u64>,
    ) -> Self {
        let px_per_ms = if px_per_ms.is_finite() && px_per_ms > 0.0 {
            px_per_ms.clamp(SCALES.0, SCALES.1)
        } else {
            USUAL_PX_PER_MS
        };
        let px_per_us = px_per_ms / 1e3;
        let now = now_us.map(|now| now.min(LONGEST_US));
        let mut scale = Self {
            idle: model.idle(),
            octave: (IDLE_PX / px_per_us).log2().ceil() as u32,
            px_per_us,
            margin_us: (MARGIN_PX / px_per_us).ceil() as u64,
            end_us: model.extent_us().max(now.unwrap_or(0)),
            kept: Gaps::default(),
            added: Gaps::default(),
        };
        for gap in opened.iter().filter_map(|key| scale.idle.gap_at(*key)) {
            if scale.is_long(gap) {
                scale.kept.insert(gap);
            }
        }
        if let Some(now) = now {
            scale.tear_the_present(model, now, opened);
        }
        scale
    }

    /// The gap that the present falls into begins only when no packet is thought to be in flight,
    /// and where it is the run's tail it is not among the model's gaps.
    fn tear_the_present(&mut self, model: &Model, now: u64, opened: &BTreeSet<u64>) {
        let Some(gap) = self.idle.gap_around(now) else {
            return;
        };
        let known = self.idle.gap_at(gap.start) == Some(gap);
        let busy_until = model.busy_until(now).clamp(gap.start, now);
        if known && busy_until == gap.start {
            return;
        }
        if known && self.is_long(gap) && !self.kept.contains(gap) {
            self.kept.insert(gap);
        }
        let rest = Gap {
            start: busy_until,
            end: gap.end,
        };
        if self.is_long(rest) && !opened.contains(&gap.start) && !opened.contains(&rest.start) {
            self.added.insert(rest);
        }
    }

    fn is_long(&self, gap: Gap) -> bool {
        gap.length()
            .checked_ilog2()
            .is_some_and(|octave| octave >= self.octave)
    }

    fn cut(&self, gap: Gap) -> Cut {
        Cut {
            key: gap.start,
            from_us: gap.start + self.margin_us,
            to_us: gap.end - self.margin_us,
        }
    }

    /// How much is cut before `time` by tears that ended, how many those are, and the one that
    /// `time` falls into.
    fn before(&self, time: u64) -> (u64, usize, Option<Cut>) {
        // A tear is over one margin before its gap is.
        let reach = time.saturating_add(self.margin_us);
        let part = |gaps: &Gaps| {
            let (count, length) = gaps.ended_by(reach);
            let inside = gaps
                .get(count)
                .map(|gap| (gap, self.cut(gap)))
                .filter(|(_, cut)| cut.from_us < time);
            (length - 2 * self.margin_us * count as u64, count, inside)
        };
        let (mut cut_us, mut tears, mut inside) = (0, 0, None);
        for gaps in self.idle.at_least_octave(self.octave) {
            let (length, count, found) = part(gaps);
            cut_us += length;
            tears += count;
            inside = inside.or(found);
        }
        let (length, count, _) = part(&self.kept);
        cut_us -= length;
        tears -= count;
        inside = inside.filter(|(gap, _)| !self.kept.contains(*gap));
        let (length, count, found) = part(&self.added);
        cut_us += length;
        tears += count;
        (cut_us, tears, found.or(inside).map(|(_, cut)| cut))
    }

    /// The pixel of a moment.
    pub fn y(&self, time_us: u64) -> f64 {
        let time = time_us.min(LONGEST_US);
        let (cut_us, tears, inside) = self.before(time);
        let (drawn_until, torn) = inside.map_or((time, 0.0), |cut| {
            let share = (time - cut.from_us) as f64 / (cut.to_us - cut.from_us) as f64;
            (cut.from_us, share * TEAR_PX)
        });
        TOP_PX + (drawn_until - cut_us) as f64 * self.px_per_us + tears as f64 * TEAR_PX + torn
    }

    /// The latest whole microsecond that is at or above a pixel; 0 above the run, its end below.
    pub fn us_at(&self, y: f64) -> u64 {
        let (mut low, mut high) = (0, self.end_us);
        if y.is_nan() || self.y(low) >= y {
            return low;
        }
        if self.y(high) <= y {
            return high;
        }
        while high - low > 1 {
            let middle = u64::midpoint(low, high);
            if self.y(middle) <= y {
                low = middle;
            } else {
                high = middle;
            }
        }
        low
    }

    /// The run's last moment on this scale: an event, a prediction, or the present.
    pub fn end_us(&self) -> u64 {
        self.end_us
    }

    /// Height of the whole picture in pixels.
    pub fn height(&self) -> f64 {
        self.y(self.end_us) + BOTTOM_PX
    }

    /// How much time is cut out of the whole run, in microseconds.
    pub fn cut_us(&self) -> u64 {
        let (cut_us, _, inside) = self.before(self.end_us);
        cut_us + inside.map_or(0, |cut| self.end_us - cut.from_us)
    }

    /// Pixels of one microsecond where nothing is cut.
    pub fn px_per_us(&self) -> f64 {
        self.px_per_us
    }

    /// The cuts that touch `first..=last`, in order. There is at most one per tear's height.
    pub fn cuts(&self, first: u64, last: u64) -> Vec<Cut> {
        let mut cuts: Vec<Cut> = self
            .idle
            .at_least_octave(self.octave)
            .iter()
            .flat_map(|gaps| gaps.touching(first, last))
            .filter(|gap| !self.kept.contains(**gap))
            .chain(self.added.touching(first, last))
            .map(|gap| self.cut(*gap))
            .filter(|cut| cut.from_us <= last && cut.to_us >= first)
            .collect();
        cuts.sort_by_key(|cut| cut.from_us);
        cuts
    }
}
