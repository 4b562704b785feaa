//! Which arrow is meant by a place in the window. Worked out from the scene, so that arrows need
//! no invisible wide copies in the document.

use linger_shared::diagram::scene::{Arrow, Point};

/// How far from an arrow's line a pointer may be, in pixels.
pub const REACH: f64 = 9.0;

/// The arrow nearest to a place, if one is within [`REACH`].
pub fn nearest(arrows: &[Arrow], place: Point) -> Option<&Arrow> {
    arrows
        .iter()
        .map(|arrow| (distance(place, arrow.from, arrow.to), arrow))
        .filter(|(distance, _)| *distance <= REACH)
        .min_by(|a, b| a.0.total_cmp(&b.0))
        .map(|(_, arrow)| arrow)
}

/// Distance of a point from a line between two others.
fn distance(point: Point, from: Point, to: Point) -> f64 {
    let (dx, dy) = (to.x - from.x, to.y - from.y);
    let square = dx * dx + dy * dy;
    let share = if square < 1e-9 {
        0.0
    } else {
        (((point.x - from.x) * dx + (point.y - from.y) * dy) / square).clamp(0.0, 1.0)
    };
    (point.x - from.x - dx * share).hypot(point.y - from.y - dy * share)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::diagram::sample;

    #[test]
    fn the_nearest_arrow_is_meant() {
        let scene = sample::scene(600.0);
        let arrow = &scene.arrows[0];
        let middle = Point {
            x: f64::midpoint(arrow.from.x, arrow.to.x),
            y: f64::midpoint(arrow.from.y, arrow.to.y) + 2.0,
        };
        assert_eq!(nearest(&scene.arrows, middle).unwrap().id, arrow.id);
    }

    #[test]
    fn far_from_every_arrow_none_is_meant() {
        let scene = sample::scene(600.0);
        let far = Point { x: 0.0, y: -500.0 };
        assert!(nearest(&scene.arrows, far).is_none());
        assert!(nearest(&[], far).is_none());
    }

    #[test]
    fn beyond_its_ends_a_line_is_as_far_as_its_end() {
        let (a, b) = (Point { x: 0.0, y: 0.0 }, Point { x: 10.0, y: 0.0 });
        assert_eq!(distance(Point { x: 13.0, y: 4.0 }, a, b), 5.0);
        assert_eq!(distance(Point { x: 3.0, y: 4.0 }, a, a), 5.0);
    }
}
