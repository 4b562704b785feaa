//! A small scene that was never measured: the key to the diagram's marks, shown before there is a
//! run. Its arrows have the look of a run's, and the page says that it is a key.

use linger_shared::{
    diagram::scene::{
        Arrow, Band, Head, Label, Lane, Layer, Note, NoteSource, Point, Rule, Scene, Tear, Weight,
    },
    event::{HostName, TcpState},
};

/// Height of the scene in pixels.
pub(crate) const HEIGHT: f64 = 372.0;

/// The scene, for this width in pixels.
pub(crate) fn scene(width: f64) -> Scene {
    let (left, right) = (width * 0.30, width * 0.72);
    let lane = |host: HostName, x| Lane {
        host,
        title: host.to_string(),
        address: String::new(),
        x,
    };
    let arrow = |id, from: (f64, f64), to: (f64, f64), head, text: &str| {
        let (from, to) = (point(from), point(to));
        let angle = ((to.y - from.y) / (to.x - from.x)).atan();
        Arrow {
            id,
            from,
            to,
            from_us: id * 1_000,
            to_us: (head != Head::Hollow).then_some(id * 1_000 + 500),
            weight: Weight::Thin,
            dashed: false,
            head,
            layer: Layer::Tcp,
            label: Some(Label {
                text: text.to_owned(),
                at: Point {
                    x: f64::midpoint(from.x, to.x) + 6.0 * angle.sin(),
                    y: f64::midpoint(from.y, to.y) - 6.0 * angle.cos(),
                },
                angle: angle.to_degrees(),
            }),
            drop: None,
            description: text.to_owned(),
        }
    };
    let mut arrows = vec![
        arrow(
            1,
            (left, 26.0),
            (right, 48.0),
            Head::Filled,
            "bare ACK: thin",
        ),
        Arrow {
            weight: Weight::Thick,
            layer: Layer::Http,
            ..arrow(2, (left, 58.0), (right, 80.0), Head::Filled, "data: thick")
        },
        arrow(
            3,
            (left, 168.0),
            (right, 190.0),
            Head::Diamond,
            "keep-alive probe",
        ),
        Arrow {
            drop: Some("lost".to_owned()),
            ..arrow(
                4,
                (left, 200.0),
                (left + (right - left) * 0.5, 211.0),
                Head::Cross,
                "",
            )
        },
        Arrow {
            dashed: true,
            weight: Weight::Thick,
            ..arrow(
                5,
                (left, 232.0),
                (right, 254.0),
                Head::Filled,
                "retransmission: dashed",
            )
        },
        arrow(6, (right, 262.0), (left, 284.0), Head::DoubleBar, "FIN"),
        arrow(7, (left, 292.0), (right, 314.0), Head::Zigzag, "RST"),
        arrow(
            8,
            (left, 338.0),
            (left + (right - left) * 0.6, 351.0),
            Head::Hollow,
            "on its way",
        ),
    ];
    arrows[3].label = None;
    Scene {
        width,
        height: HEIGHT,
        content_height: HEIGHT,
        lanes: vec![lane(HostName::Client, left), lane(HostName::Server, right)],
        ticks: Vec::new(),
        tears: vec![Tear {
            key: 0,
            y: 104.0,
            height: 28.0,
            cut_us: 1_980_000,
            text: "1.98 s".to_owned(),
        }],
        chapters: Vec::new(),
        bands: vec![
            band(
                HostName::Client,
                left - 17.0,
                TcpState::Established,
                26.0,
                258.0,
            ),
            band(
                HostName::Server,
                right + 6.0,
                TcpState::Established,
                48.0,
                214.0,
            ),
        ],
        arrows,
        notes: vec![Note {
            seq: 0,
            host: HostName::Client,
            at: point((left, 322.0)),
            text_at: point((left - 24.0, 326.0)),
            right_aligned: true,
            text: "read() -> ETIMEDOUT".to_owned(),
            description: "read() -> ETIMEDOUT".to_owned(),
            source: NoteSource::Application,
            error: true,
        }],
        rules: vec![
            rule("predicted", true, 150.0),
            rule("measured", false, 156.0),
        ],
        hidden: 0,
        hidden_notes: 0,
    }
}

fn point((x, y): (f64, f64)) -> Point {
    Point { x, y }
}

fn band(host: HostName, x: f64, state: TcpState, y: f64, bottom: f64) -> Band {
    Band {
        host,
        connection: "40000".to_owned(),
        state,
        x,
        width: 11.0,
        y,
        height: bottom - y,
        label: Some(state.as_str().to_owned()),
    }
}

fn rule(text: &str, predicted: bool, y: f64) -> Rule {
    Rule {
        name: String::new(),
        y,
        predicted,
        text: text.to_owned(),
        text_y: if predicted { y - 5.0 } else { y + 14.0 },
    }
}
