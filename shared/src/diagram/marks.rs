//! The shapes that arrows end in, as SVG path data. All lengths are in pixels.

use std::fmt::Write as _;

use super::scene::{Head, Point};

/// A length for an SVG attribute: a hundredth of a pixel is finer than any screen.
pub fn px(length: f64) -> String {
    let mut text = format!("{length:.2}");
    while text.contains('.') && text.ends_with(['0', '.']) {
        text.pop();
    }
    if text == "-0" { "0".to_owned() } else { text }
}

/// The direction of an arrow, one pixel long; to the right where it has no length.
fn direction(from: Point, to: Point) -> (f64, f64) {
    let (dx, dy) = (to.x - from.x, to.y - from.y);
    let length = dx.hypot(dy);
    if length < 1e-6 {
        (1.0, 0.0)
    } else {
        (dx / length, dy / length)
    }
}

/// The path of an arrow's head. Its tip, or the middle of a cross, is exactly at `to`.
pub fn head(kind: Head, from: Point, to: Point) -> String {
    let (ux, uy) = direction(from, to);
    // So far back along the line, and so far to its side.
    let at = |back: f64, side: f64| Point {
        x: to.x - ux * back - uy * side,
        y: to.y - uy * back + ux * side,
    };
    match kind {
        Head::Filled | Head::Hollow => polygon(&[at(0.0, 0.0), at(9.0, 3.6), at(9.0, -3.6)]),
        Head::Diamond => polygon(&[at(0.0, 0.0), at(6.0, 4.2), at(12.0, 0.0), at(6.0, -4.2)]),
        Head::DoubleBar => {
            lines(&[at(1.0, 6.0), at(1.0, -6.0)]) + &lines(&[at(5.0, 6.0), at(5.0, -6.0)])
        }
        Head::Cross => {
            lines(&[at(4.5, 4.5), at(-4.5, -4.5)]) + &lines(&[at(4.5, -4.5), at(-4.5, 4.5)])
        }
        Head::Zigzag => lines(&[
            at(20.0, 0.0),
            at(17.0, 5.0),
            at(12.0, -5.0),
            at(7.0, 5.0),
            at(2.5, -4.0),
            at(0.0, 0.0),
        ]),
    }
}

/// A lifeline from `top` to `bottom` that is torn at some places, given by top and height from
/// above to below.
pub fn lifeline(x: f64, top: f64, bottom: f64, tears: &[(f64, f64)]) -> String {
    let mut path = String::new();
    let mut y = top;
    for &(tear_top, height) in tears {
        if tear_top + height <= y || tear_top >= bottom {
            continue;
        }
        let begin = tear_top.max(y);
        if begin > y {
            path += &lines(&[Point { x, y }, Point { x, y: begin }]);
        }
        let end = tear_top + height;
        let step = (end - begin) / 6.0;
        let zigzag: Vec<Point> = (0..=6)
            .map(|corner| Point {
                x: x + match corner {
                    0 | 6 => 0.0,
                    odd if odd % 2 == 1 => 5.0,
                    _ => -5.0,
                },
                y: begin + step * f64::from(corner),
            })
            .collect();
        path += &lines(&zigzag);
        y = end;
    }
    if bottom > y {
        path += &lines(&[Point { x, y }, Point { x, y: bottom }]);
    }
    path
}

fn lines(points: &[Point]) -> String {
    let mut path = String::new();
    for (position, point) in points.iter().enumerate() {
        let command = if position == 0 { 'M' } else { 'L' };
        // Writing to a String cannot fail.
        let _ = write!(path, "{command}{} {}", px(point.x), px(point.y));
    }
    path
}

fn polygon(points: &[Point]) -> String {
    lines(points) + "Z"
}

#[cfg(test)]
mod tests {
    use super::*;

    const FROM: Point = Point { x: 0.0, y: 0.0 };
    const TO: Point = Point { x: 100.0, y: 0.0 };

    #[test]
    fn lengths_are_short_and_never_minus_zero() {
        assert_eq!(px(12.0), "12");
        assert_eq!(px(12.345), "12.35");
        assert_eq!(px(0.5), "0.5");
        assert_eq!(px(-0.001), "0");
        assert_eq!(px(100.0), "100");
    }

    #[test]
    fn a_head_points_where_the_packet_arrived() {
        for kind in [Head::Filled, Head::Hollow, Head::Diamond] {
            assert!(head(kind, FROM, TO).starts_with("M100 0L"), "{kind:?}");
        }
        assert!(head(Head::Zigzag, FROM, TO).ends_with("L100 0"));
    }

    #[test]
    fn a_cross_has_its_middle_at_the_drop() {
        assert_eq!(
            head(Head::Cross, FROM, TO),
            "M95.5 4.5L104.5 -4.5M95.5 -4.5L104.5 4.5"
        );
    }

    #[test]
    fn heads_turn_with_their_line() {
        let left = head(Head::Filled, TO, FROM);
        assert_eq!(left, "M0 0L9 -3.6L9 3.6Z");
    }

    #[test]
    fn an_arrow_without_length_has_a_head() {
        assert!(!head(Head::Hollow, FROM, FROM).contains("NaN"));
    }

    #[test]
    fn a_lifeline_is_whole_but_for_its_tears() {
        assert_eq!(lifeline(5.0, 0.0, 90.0, &[]), "M5 0L5 90");
        let torn = lifeline(5.0, 0.0, 90.0, &[(30.0, 30.0)]);
        assert!(torn.starts_with("M5 0L5 30M5 30L10 35"));
        assert!(torn.ends_with("L5 60M5 60L5 90"));
        assert_eq!(lifeline(5.0, 0.0, 90.0, &[(95.0, 30.0)]), "M5 0L5 90");
    }
}
