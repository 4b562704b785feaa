//! What of the run is in the window: the scale, the place, the selection, and whether the window
//! follows the newest event.
//!
//! Lengths are in pixels, times in microseconds on the run's clock. A window that follows has no
//! place of its own: [`View::top`] works it out for each frame.

use std::{collections::BTreeSet, rc::Rc};

use linger_shared::diagram::{Model, TimeScale, default_px_per_ms, fit_px_per_ms};

/// One step of zooming by key or button.
pub const ZOOM_STEP: f64 = 1.4;

/// How far from the window's edges a selected packet is kept, in pixels.
const MARGIN_PX: f64 = 40.0;

/// Where a chapter comes to stand when one goes to it, in pixels below the window's top.
const CHAPTER_PX: f64 = 24.0;

/// The window.
#[derive(Debug, Clone, PartialEq)]
pub struct View {
    /// Width of the picture.
    pub width: f64,
    /// Height of the window.
    pub height: f64,
    /// The scale, where the user chose one.
    px_per_ms: Option<f64>,
    /// The content pixel at the window's top, unless the window follows.
    scroll: f64,
    /// Whether the window follows the newest event.
    follow: bool,
    /// The moment at which the picture is held still.
    paused_us: Option<u64>,
    /// Idle times that are shown whole, by the keys of their tears.
    opened: Rc<BTreeSet<u64>>,
    /// The packet that is selected, by its id.
    pub selected: Option<u64>,
    /// How many packets there were when the window stopped following.
    seen: usize,
}

/// What a user does to the window.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum ViewAction {
    /// The window has another size.
    Resized {
        /// Its width.
        width: f64,
        /// Its height.
        height: f64,
    },
    /// The user scrolled.
    Scrolled {
        /// The content pixel that is at the window's top now.
        to: f64,
    },
    /// Follow the newest event, and let a paused picture go on.
    GoLive,
    /// Hold the picture still, or let it go on.
    Pause,
    /// Change the scale.
    Zoom {
        /// By how much; more than 1 enlarges.
        factor: f64,
        /// The pixel below the window's top that stays where it is; the middle where it is absent.
        anchor: Option<f64>,
    },
    /// The whole run in the window.
    Fit,
    /// Show an idle time whole, by the key of its tear.
    Open {
        /// The tear's key.
        key: u64,
    },
    /// Cut out every idle time again.
    CloseAll,
    /// Select a packet, or none.
    Select {
        /// Its id.
        id: Option<u64>,
    },
    /// Select the packet so many places later, or earlier where it is negative.
    Step {
        /// How many places.
        by: isize,
    },
    /// Go to a later chapter, or to an earlier one.
    Chapter {
        /// Later.
        forward: bool,
    },
}

impl Default for View {
    fn default() -> Self {
        Self {
            width: 0.0,
            height: 0.0,
            px_per_ms: None,
            scroll: 0.0,
            follow: true,
            paused_us: None,
            opened: Rc::default(),
            selected: None,
            seen: 0,
        }
    }
}

impl View {
    /// The view of another run in the same window, from its beginning; `live` follows.
    pub fn of_another_run(&self, live: bool) -> Self {
        Self {
            width: self.width,
            height: self.height,
            follow: live,
            // What was over before it was opened has nothing that is new.
            seen: if live { 0 } else { usize::MAX },
            ..Self::default()
        }
    }

    /// The scale in pixels per millisecond.
    pub fn px_per_ms(&self, model: &Model) -> f64 {
        self.px_per_ms.unwrap_or_else(|| default_px_per_ms(model))
    }

    /// Idle times that are shown whole.
    pub fn opened(&self) -> &BTreeSet<u64> {
        &self.opened
    }

    /// Whether the window follows the newest event.
    pub fn follows(&self) -> bool {
        self.follow
    }

    /// Whether the picture is held still.
    pub fn is_paused(&self) -> bool {
        self.paused_us.is_some()
    }

    /// The present as it is drawn: the run's, or the moment of the pause; `None` where the run is
    /// over and the picture is not held.
    pub fn present(&self, now_us: Option<u64>) -> Option<u64> {
        self.paused_us.or(now_us)
    }

    /// How many packets came since the window stopped following.
    pub fn unseen(&self, model: &Model) -> usize {
        if self.follow {
            0
        } else {
            model.packet_count().saturating_sub(self.seen)
        }
    }

    /// The content pixel at the window's top, for a picture of this height.
    pub fn top(&self, content_height: f64) -> f64 {
        let lowest = (content_height - self.height).max(0.0);
        if self.follow {
            // Whole pixels keep text sharp while the picture moves.
            lowest.ceil()
        } else {
            self.scroll.clamp(0.0, lowest.ceil()).round()
        }
    }

    /// Takes an action. `now_us` is the run's present while it is running.
    pub fn apply(&mut self, action: ViewAction, model: Option<&Model>, now_us: Option<u64>) {
        match action {
            ViewAction::Resized { width, height } => {
                (self.width, self.height) = (width, height);
            }
            ViewAction::Select { id: None } => self.selected = None,
            _ => {
                if let Some(model) = model {
                    self.apply_to(action, model, now_us);
                }
            }
        }
    }

    fn apply_to(&mut self, action: ViewAction, model: &Model, now_us: Option<u64>) {
        match action {
            ViewAction::Scrolled { to } => {
                let lowest = (self.scale(model, now_us).height() - self.height).max(0.0);
                // Back at the end of a run that goes on, the window follows again.
                if to >= lowest - 2.0 && now_us.is_some() && !self.is_paused() {
                    self.follow = true;
                } else {
                    self.let_go(model);
                    self.scroll = to;
                }
            }
            ViewAction::GoLive => {
                self.paused_us = None;
                self.follow = true;
            }
            ViewAction::Pause => {
                if self.paused_us.take().is_some() {
                    self.follow = self.follow || now_us.is_some();
                } else if let Some(now_us) = now_us {
                    self.hold(model, Some(now_us));
                    self.paused_us = Some(now_us);
                }
            }
            ViewAction::Zoom { factor, anchor } => {
                let anchor = anchor.unwrap_or(self.height / 2.0);
                let time = {
                    let scale = self.scale(model, now_us);
                    scale.us_at(self.top(scale.height()) + anchor)
                };
                self.px_per_ms = Some((self.px_per_ms(model) * factor).clamp(1e-4, 2_000.0));
                self.scroll = self.scale(model, now_us).y(time) - anchor;
            }
            ViewAction::Fit => {
                let present = self.present(now_us);
                self.px_per_ms = Some(fit_px_per_ms(model, self.height, &self.opened, present));
                self.scroll = 0.0;
            }
            ViewAction::Open { key } => {
                self.keeping(key, model, now_us, |opened| {
                    opened.insert(key);
                });
            }
            ViewAction::CloseAll => {
                let first = self.opened.first().copied().unwrap_or(0);
                self.keeping(first, model, now_us, BTreeSet::clear);
            }
            ViewAction::Select { id: Some(id) } => {
                self.selected = model.packet(id).map(|_| id);
            }
            ViewAction::Step { by } => self.step(by, model, now_us),
            ViewAction::Chapter { forward } => self.chapter(forward, model, now_us),
            ViewAction::Resized { .. } | ViewAction::Select { id: None } => {}
        }
    }

    fn scale<'a>(&self, model: &'a Model, now_us: Option<u64>) -> TimeScale<'a> {
        let present = self.present(now_us);
        TimeScale::new(model, self.px_per_ms(model), &self.opened, present)
    }

    /// Stops following, if it did.
    fn let_go(&mut self, model: &Model) {
        if self.follow {
            self.follow = false;
            self.seen = model.packet_count();
        }
    }

    /// Stops following and stays where the window is.
    fn hold(&mut self, model: &Model, now_us: Option<u64>) {
        self.scroll = self.top(self.scale(model, now_us).height());
        self.let_go(model);
    }

    /// Changes which idle times are shown whole, while the moment `time` stays where it is.
    fn keeping(
        &mut self,
        time: u64,
        model: &Model,
        now_us: Option<u64>,
        change: impl FnOnce(&mut BTreeSet<u64>),
    ) {
        self.hold(model, now_us);
        let place = self.scale(model, now_us).y(time) - self.scroll;
        change(Rc::make_mut(&mut self.opened));
        self.scroll = self.scale(model, now_us).y(time) - place;
    }

    fn step(&mut self, by: isize, model: &Model, now_us: Option<u64>) {
        let Some(last) = model.packet_count().checked_sub(1) else {
            return;
        };
        let scale = self.scale(model, now_us);
        let top = self.top(scale.height());
        let position = match self.selected.and_then(|id| model.position_of(id)) {
            Some(position) => position.saturating_add_signed(by).min(last),
            None => model.position_at(scale.us_at(top)).min(last),
        };
        let Some(flight) = model.packet_at(position) else {
            return;
        };
        self.selected = Some(flight.id);
        let from = scale.y(flight.departed_us);
        let to = flight.end.at_us().map_or(from, |at_us| scale.y(at_us));
        let (from, to) = (from.min(to), from.max(to));
        if from < top + MARGIN_PX || to > top + self.height - MARGIN_PX {
            self.let_go(model);
            self.scroll = ((from + to) - self.height) / 2.0;
        }
    }

    fn chapter(&mut self, forward: bool, model: &Model, now_us: Option<u64>) {
        let scale = self.scale(model, now_us);
        let here = self.top(scale.height()) + CHAPTER_PX;
        let mut places = model
            .chapters()
            .iter()
            .map(|chapter| scale.y(chapter.at_us));
        let found = if forward {
            places.find(|y| *y > here + 1.0)
        } else {
            places.rfind(|y| *y < here - 1.0)
        };
        if let Some(y) = found {
            self.let_go(model);
            self.scroll = y - CHAPTER_PX;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::state::samples;

    fn model() -> Model {
        let mut model = Model::new(&samples::header());
        for event in samples::dead_peer() {
            model.push(&event);
        }
        model
    }

    fn view() -> View {
        let mut view = View::default();
        view.apply(
            ViewAction::Resized {
                width: 800.0,
                height: 300.0,
            },
            None,
            None,
        );
        view
    }

    fn height(view: &View, model: &Model) -> f64 {
        view.scale(model, None).height()
    }

    #[test]
    fn a_window_that_follows_shows_the_end() {
        let (model, view) = (model(), view());
        let height = height(&view, &model);
        assert!(height > 300.0, "the sample is higher than the window");
        assert_eq!(view.top(height), (height - 300.0).ceil());
        assert_eq!(view.top(100.0), 0.0);
    }

    #[test]
    fn scrolling_up_stops_following_and_counts_what_comes() {
        let mut model = Model::new(&samples::header());
        let mut view = view();
        let events = samples::dead_peer();
        let (first, rest) = events.split_at(events.len() / 2);
        first.iter().for_each(|event| model.push(event));
        view.height = 100.0;
        view.apply(ViewAction::Scrolled { to: 10.0 }, Some(&model), Some(1));
        assert!(!view.follows());
        assert_eq!(view.unseen(&model), 0);
        let before = model.packet_count();
        rest.iter().for_each(|event| model.push(event));
        assert_eq!(view.unseen(&model), model.packet_count() - before);
        view.apply(ViewAction::GoLive, Some(&model), Some(1));
        assert_eq!(view.unseen(&model), 0);
    }

    #[test]
    fn scrolling_to_the_end_of_a_live_run_follows_again() {
        let (model, mut view) = (model(), view());
        view.apply(ViewAction::Scrolled { to: 0.0 }, Some(&model), Some(1));
        let end = height(&view, &model) - 300.0;
        view.apply(ViewAction::Scrolled { to: end }, Some(&model), Some(1));
        assert!(view.follows());
        view.apply(ViewAction::Scrolled { to: 0.0 }, Some(&model), None);
        view.apply(ViewAction::Scrolled { to: end }, Some(&model), None);
        assert!(!view.follows(), "a run that is over has nothing to follow");
    }

    #[test]
    fn zooming_keeps_the_moment_under_the_pointer() {
        let (model, mut view) = (model(), view());
        view.apply(ViewAction::Scrolled { to: 60.0 }, Some(&model), None);
        let time = |view: &View| view.scale(&model, None).us_at(view.scroll + 100.0);
        let before = time(&view);
        view.apply(
            ViewAction::Zoom {
                factor: 2.0,
                anchor: Some(100.0),
            },
            Some(&model),
            None,
        );
        assert!(time(&view).abs_diff(before) <= 1);
        assert_eq!(view.px_per_ms(&model), 2.0 * default_px_per_ms(&model));
    }

    #[test]
    fn fitting_shows_the_whole_run() {
        let (model, mut view) = (model(), view());
        view.apply(ViewAction::Fit, Some(&model), None);
        assert!(height(&view, &model) <= 300.0);
    }

    #[test]
    fn an_opened_tear_stays_where_it_was() {
        let (model, mut view) = (model(), view());
        view.apply(ViewAction::Scrolled { to: 50.0 }, Some(&model), None);
        let cut = view.scale(&model, None).cuts(0, u64::MAX)[0];
        let place = |view: &View| view.scale(&model, None).y(cut.key) - view.scroll;
        let (before, small) = (place(&view), height(&view, &model));
        view.apply(ViewAction::Open { key: cut.key }, Some(&model), None);
        assert_eq!(place(&view), before);
        assert!(height(&view, &model) > small);
        view.apply(ViewAction::CloseAll, Some(&model), None);
        assert_eq!(height(&view, &model), small);
    }

    #[test]
    fn stepping_selects_each_packet_and_keeps_it_in_the_window() {
        let (model, mut view) = (model(), view());
        view.apply(ViewAction::Scrolled { to: 0.0 }, Some(&model), None);
        for position in 0..model.packet_count() {
            view.apply(ViewAction::Step { by: 1 }, Some(&model), None);
            let flight = model.packet_at(position).unwrap();
            assert_eq!(view.selected, Some(flight.id));
            let top = view.top(height(&view, &model));
            let y = view.scale(&model, None).y(flight.departed_us);
            assert!((top..top + 300.0).contains(&y), "packet {position} at {y}");
        }
        view.apply(ViewAction::Step { by: 1 }, Some(&model), None);
        let last = model.packet_at(model.packet_count() - 1).unwrap();
        assert_eq!(view.selected, Some(last.id));
        view.apply(ViewAction::Select { id: None }, Some(&model), None);
        assert_eq!(view.selected, None);
    }

    #[test]
    fn chapters_are_walked_forth_and_back() {
        let (model, mut view) = (model(), view());
        view.apply(ViewAction::Scrolled { to: 0.0 }, Some(&model), None);
        let y = |view: &View, chapter: usize| {
            view.scale(&model, None).y(model.chapters()[chapter].at_us) - CHAPTER_PX
        };
        view.apply(ViewAction::Chapter { forward: true }, Some(&model), None);
        assert_eq!(view.scroll, y(&view, 1));
        view.apply(ViewAction::Chapter { forward: false }, Some(&model), None);
        assert_eq!(view.scroll, y(&view, 0));
    }

    #[test]
    fn a_run_that_was_over_has_nothing_new() {
        let (model, view) = (model(), view().of_another_run(false));
        assert_eq!(view.unseen(&model), 0);
        assert_eq!(view.top(height(&view, &model)), 0.0);
    }

    #[test]
    fn a_pause_holds_the_present_still() {
        let (model, mut view) = (model(), view());
        view.apply(ViewAction::Pause, Some(&model), Some(2_000_000));
        assert_eq!(view.present(Some(9_000_000)), Some(2_000_000));
        assert!(!view.follows());
        view.apply(ViewAction::Pause, Some(&model), Some(9_000_000));
        assert_eq!(view.present(Some(9_000_000)), Some(9_000_000));
        assert!(view.follows());
    }

    #[test]
    fn a_run_that_is_over_cannot_be_paused() {
        let (model, mut view) = (model(), view());
        view.apply(ViewAction::Pause, Some(&model), None);
        assert!(!view.is_paused());
    }
}
