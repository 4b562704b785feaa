//! Rotated boxes and whether they overlap.

use crate::diagram::scene::Point;

/// A box around a text.
#[derive(Debug, Clone, Copy)]
pub(super) struct TextBox {
    centre: Point,
    /// Half its width along its own direction, half its height across.
    half: (f64, f64),
    /// Unit vector of its direction.
    along: (f64, f64),
}

impl TextBox {
    /// A box with its middle at `centre`, rotated by `angle` degrees clockwise.
    pub(super) fn new(centre: Point, width: f64, height: f64, angle: f64) -> Self {
        let (sin, cos) = angle.to_radians().sin_cos();
        Self {
            centre,
            half: (width / 2.0, height / 2.0),
            along: (cos, sin),
        }
    }

    /// How far it reaches along a direction, from its centre.
    fn reach(&self, axis: (f64, f64)) -> f64 {
        let along = (self.along.0 * axis.0 + self.along.1 * axis.1).abs();
        let across = (self.along.0 * axis.1 - self.along.1 * axis.0).abs();
        self.half.0 * along + self.half.1 * across
    }

    /// Whether two boxes share a place: no axis of either separates them.
    pub(super) fn overlaps(&self, other: &Self) -> bool {
        let apart = (
            other.centre.x - self.centre.x,
            other.centre.y - self.centre.y,
        );
        // Most boxes are far from each other, whichever way they are turned.
        let near = self.half.0 + self.half.1 + other.half.0 + other.half.1;
        if apart.0.abs() > near || apart.1.abs() > near {
            return false;
        }
        let separated = |axis: (f64, f64)| {
            let distance = (apart.0 * axis.0 + apart.1 * axis.1).abs();
            distance >= self.reach(axis) + other.reach(axis)
        };
        let turned = |axis: (f64, f64)| (-axis.1, axis.0);
        ![
            self.along,
            turned(self.along),
            other.along,
            turned(other.along),
        ]
        .into_iter()
        .any(separated)
    }

    /// Whether a line from `a` to `b` crosses the box.
    pub(super) fn is_crossed_by(&self, a: Point, b: Point) -> bool {
        // In the box's own directions the line is clipped to the box, one axis after the other.
        let local = |p: Point| {
            let (dx, dy) = (p.x - self.centre.x, p.y - self.centre.y);
            (
                dx * self.along.0 + dy * self.along.1,
                dy * self.along.0 - dx * self.along.1,
            )
        };
        let (a, b) = (local(a), local(b));
        let (mut enters, mut leaves) = (0.0_f64, 1.0_f64);
        for (start, end, half) in [(a.0, b.0, self.half.0), (a.1, b.1, self.half.1)] {
            let delta = end - start;
            if delta.abs() < 1e-9 {
                if start.abs() > half {
                    return false;
                }
            } else {
                let (p, q) = ((-half - start) / delta, (half - start) / delta);
                enters = enters.max(p.min(q));
                leaves = leaves.min(p.max(q));
            }
        }
        enters <= leaves
    }

    /// Top and bottom of the upright box around it.
    pub(super) fn vertical(&self) -> (f64, f64) {
        let reach = self.reach((0.0, 1.0));
        (self.centre.y - reach, self.centre.y + reach)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn at(x: f64, y: f64) -> Point {
        Point { x, y }
    }

    #[test]
    fn boxes_overlap_where_they_share_a_place() {
        let flat = TextBox::new(at(0.0, 0.0), 40.0, 10.0, 0.0);
        assert!(flat.overlaps(&TextBox::new(at(39.0, 0.0), 40.0, 10.0, 0.0)));
        assert!(!flat.overlaps(&TextBox::new(at(41.0, 0.0), 40.0, 10.0, 0.0)));
        // Their upright boxes overlap; they themselves do not.
        let steep = TextBox::new(at(26.0, 14.0), 40.0, 4.0, -45.0);
        assert!(!flat.overlaps(&steep));
        assert!(flat.overlaps(&TextBox::new(at(12.0, 8.0), 40.0, 4.0, 45.0)));
    }

    #[test]
    fn a_line_crosses_a_box_only_where_it_meets_it() {
        let turned = TextBox::new(at(0.0, 0.0), 40.0, 4.0, 45.0);
        assert!(turned.is_crossed_by(at(-20.0, 20.0), at(20.0, -20.0)));
        assert!(!turned.is_crossed_by(at(0.0, 20.0), at(40.0, 60.0)));
        assert!(!turned.is_crossed_by(at(-50.0, -50.0), at(-40.0, -40.0)));
    }
}
