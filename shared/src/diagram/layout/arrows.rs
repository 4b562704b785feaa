//! Packets and chunks: from departure to arrival, drop, or where they are now.

use crate::diagram::{
    flight::{End, Flight},
    scene::{Arrow, Head, Point, Weight},
    words,
};

use super::frame::Frame;

/// At most this many arrows are in the scene of a window.
pub const MAX_ARROWS: usize = 160;
/// Of those, at most this many that are in flight.
const MAX_IN_FLIGHT: usize = 40;
/// A packet that is overdue waits this far along its way: nobody knows where it is.
const OVERDUE: f64 = 0.94;
/// How much of its way a packet has done whose delay is not known.
const STUB: f64 = 0.1;

/// The arrows that touch the window, by departure, without labels; and how many were left out.
pub(super) fn arrows(frame: &Frame) -> (Vec<Arrow>, usize) {
    let most = frame.bounds.arrows.max(MAX_IN_FLIGHT);
    let mut flying: Vec<&Flight> = frame
        .model
        .flying_in(departures_from(frame), frame.last_us)
        .take(MAX_IN_FLIGHT)
        .collect();
    flying.reverse();
    let (ended, hidden) = frame
        .model
        .ended_in(frame.first_us, frame.last_us, most - flying.len());
    let mut flights: Vec<&Flight> = ended.into_iter().chain(flying).collect();
    flights.sort_by_key(|flight| (flight.departed_us, flight.seq));
    let arrows = flights
        .into_iter()
        .map(|flight| arrow(frame, flight))
        .filter(|arrow| {
            let (a, b) = (arrow.from.y, arrow.to.y);
            frame.shows(a.min(b), a.max(b))
        })
        .collect();
    (arrows, hidden)
}

/// A packet in flight is drawn for one delay after its departure, so those that left a delay
/// before the window may reach into it.
fn departures_from(frame: &Frame) -> u64 {
    let delay = frame.model.longest_last_delay_us();
    frame.first_us.saturating_sub(delay)
}

fn arrow(frame: &Frame, flight: &Flight) -> Arrow {
    let from = frame.point(flight.from, flight.departed_us);
    let receiver = frame.lane_x(flight.to);
    let part = |share: f64| from.x + (receiver - from.x) * share;
    let (to, head, drop) = match &flight.end {
        End::Arrived { at_us, .. } => (frame.point(flight.to, *at_us), head(flight), None),
        End::Dropped {
            at_us,
            reason,
            place,
            ..
        } => {
            let to = Point {
                x: part(*place),
                y: frame.y(*at_us),
            };
            (to, Head::Cross, Some(reason.to_string()))
        }
        End::InFlight => (in_flight(frame, flight, part), Head::Hollow, None),
    };
    Arrow {
        id: flight.id,
        from,
        to,
        from_us: flight.departed_us,
        to_us: flight.end.at_us(),
        weight: if flight.payload() > 0 {
            Weight::Thick
        } else {
            Weight::Thin
        },
        dashed: flight.is_retransmission(),
        head,
        layer: flight.layer(),
        label: None,
        drop,
        description: words::description(flight),
    }
}

/// Where a packet is now, by the time that the one before it took.
fn in_flight(frame: &Frame, flight: &Flight, part: impl Fn(f64) -> f64) -> Point {
    let departed = flight.departed_us;
    let now = frame.now_us.unwrap_or(u64::MAX).max(departed);
    let Some(delay) = frame.model.delay_us(flight.from, flight.to) else {
        // It grows downwards with the clock, a little.
        let y = frame.y(departed);
        let y_now = frame.y(now.min(frame.scale.end_us()));
        return Point {
            x: part(STUB),
            y: y_now.clamp(y, y + 6.0),
        };
    };
    let travelled = (now - departed) as f64 / delay.max(1) as f64;
    let share = travelled.min(OVERDUE);
    Point {
        x: part(share),
        y: frame.y(departed.saturating_add((delay as f64 * share) as u64)),
    }
}

fn head(flight: &Flight) -> Head {
    if flight.is_reset() {
        Head::Zigzag
    } else if flight.is_end() {
        Head::DoubleBar
    } else if flight.is_probe() {
        Head::Diamond
    } else {
        Head::Filled
    }
}
