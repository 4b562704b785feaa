//! The window: where the lanes stand, and which times are visible.

use crate::{
    diagram::{
        model::Model,
        scene::{Lane, Point},
        sockets::BAND_SLOTS,
        time::TimeScale,
    },
    event::HostName,
};

use super::{Bounds, Measure, View};

/// Room for the ticks' texts at the left edge, in pixels.
const TICKS: f64 = 54.0;
/// Width of one band and its distance to the next.
pub(super) const BAND: f64 = 13.0;
/// Distance of the first band from its lifeline.
pub(super) const BAND_GAP: f64 = 5.0;
/// Shapes this far outside the window are still made, so that thick strokes do not pop.
const OVERLAP: f64 = 40.0;
/// With less room than this for a note outside the lifelines, notes go between them.
const LEAST_NOTE: f64 = 96.0;

pub(super) struct Frame<'a> {
    pub(super) model: &'a Model,
    pub(super) measure: &'a dyn Measure,
    pub(super) scale: &'a TimeScale<'a>,
    pub(super) bounds: Bounds,
    pub(super) width: f64,
    pub(super) height: f64,
    scroll: f64,
    /// The first and the last visible moment, with some overlap.
    pub(super) first_us: u64,
    pub(super) last_us: u64,
    /// The present, where the run is live.
    pub(super) now_us: Option<u64>,
    client_x: f64,
    server_x: f64,
    /// Whether notes stand between the lifelines, for want of room outside.
    pub(super) notes_inside: bool,
}

impl<'a> Frame<'a> {
    pub(super) fn new(
        model: &'a Model,
        view: &View,
        measure: &'a dyn Measure,
        scale: &'a TimeScale<'a>,
        bounds: &Bounds,
    ) -> Self {
        let sane = |length: f64| {
            if length.is_finite() {
                // Sizes come from outside.
                length.clamp(0.0, bounds.pixels)
            } else {
                0.0
            }
        };
        let (width, height) = (sane(view.width), sane(view.height));
        let scroll = if view.scroll.is_finite() {
            view.scroll
        } else {
            0.0
        };
        let bands = |host| bands_width(model.band_slots(host));
        let (mut left, mut right) = (
            (width * 0.37).clamp(TICKS, 400.0),
            (width * 0.27).clamp(24.0, 320.0),
        );
        let room = left - TICKS - bands(HostName::Client) - 16.0;
        let notes_inside = room < LEAST_NOTE;
        if notes_inside {
            left = TICKS + bands(HostName::Client);
            right = bands(HostName::Server) + 12.0;
        }
        Self {
            model,
            measure,
            scale,
            bounds: *bounds,
            width,
            height,
            scroll,
            first_us: scale.us_at(scroll - OVERLAP),
            last_us: scale.us_at(scroll + height + OVERLAP).saturating_add(1),
            now_us: view.now_us,
            client_x: left.min(width),
            server_x: (width - right).max(left.min(width)),
            notes_inside,
        }
    }

    /// The lanes: client and server always, the proxy where the run has one.
    pub(super) fn lanes(&self) -> Vec<Lane> {
        [HostName::Client, HostName::Proxy, HostName::Server]
            .into_iter()
            .filter_map(|host| {
                let info = self.model.header().hosts.iter().find(|h| h.name == host);
                if info.is_none() && host == HostName::Proxy {
                    return None;
                }
                Some(Lane {
                    host,
                    title: host.to_string(),
                    address: info.map(|info| info.address.clone()).unwrap_or_default(),
                    x: self.lane_x(host),
                })
            })
            .collect()
    }

    pub(super) fn lane_x(&self, host: HostName) -> f64 {
        match host {
            HostName::Client => self.client_x,
            HostName::Proxy => f64::midpoint(self.client_x, self.server_x),
            HostName::Server => self.server_x,
        }
    }

    /// The window's pixel of a moment.
    pub(super) fn y(&self, time_us: u64) -> f64 {
        self.scale.y(time_us) - self.scroll
    }

    pub(super) fn point(&self, host: HostName, time_us: u64) -> Point {
        Point {
            x: self.lane_x(host),
            y: self.y(time_us),
        }
    }

    /// The earliest moment that is at most `px` above the window.
    pub(super) fn us_above(&self, px: f64) -> u64 {
        self.scale.us_at(self.scroll - px)
    }

    /// Whether something from `top` to `bottom` touches the window or its overlap.
    pub(super) fn shows(&self, top: f64, bottom: f64) -> bool {
        bottom >= -OVERLAP && top <= self.height + OVERLAP
    }

    /// On which side of its lifeline a host's bands are: -1 left, 1 right.
    pub(super) fn outside(host: HostName) -> f64 {
        if host == HostName::Server { 1.0 } else { -1.0 }
    }

    /// Where the notes of a host begin or end: `(x, towards the left, width)`.
    pub(super) fn note_column(&self, host: HostName) -> (f64, bool, f64) {
        let x = self.lane_x(host);
        let beyond = bands_width(self.model.band_slots(host)) + 8.0;
        match (host, self.notes_inside) {
            (HostName::Client, false) => (x - beyond, true, x - beyond - TICKS),
            (HostName::Server, false) => (x + beyond, false, self.width - x - beyond - 4.0),
            (HostName::Client | HostName::Proxy, _) => {
                (x + 10.0, false, (self.server_x - self.client_x) * 0.44)
            }
            (HostName::Server, true) => (x - 10.0, true, (x - self.client_x) * 0.44),
        }
    }
}

fn bands_width(slots: usize) -> f64 {
    if slots == 0 {
        0.0
    } else {
        BAND_GAP + BAND * slots.min(BAND_SLOTS) as f64
    }
}
