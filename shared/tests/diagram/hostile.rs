//! Streams that no run writes: they give a poorer picture, never a panic or an endless one.

use linger_shared::{
    diagram::{MAX_ARROWS, Model, TimeScale, View, layout},
    event::{Fact, Observer, Role, TcpState},
};

use crate::events::{Client, Dice, Monospace, Run, Server};

/// Facts in any order, with ids twice or missing, at any time.
fn nonsense(seed: u64) -> Run {
    let mut dice = Dice::new(seed);
    let mut run = Run::new("sandbox", 20_000);
    for _ in 0..400 {
        let at = match dice.roll(12) {
            0 => u64::MAX - dice.roll(3),
            1 => 0,
            2 => dice.roll(u64::MAX >> 1),
            _ => dice.roll(3_000_000),
        };
        let host = if dice.roll(2) == 0 { Client } else { Server };
        let id = dice.roll(80);
        match dice.roll(13) {
            0..=2 => {
                run.depart(
                    at,
                    host,
                    "PSH,ACK",
                    dice.roll(3) as u32,
                    Role::Ordinary,
                    "x",
                );
                if dice.roll(4) == 0 {
                    // The same departure once more.
                    let twin = run.events.last().expect("one was pushed").fact.clone();
                    run.push(at / 2, Observer::Wire, twin);
                }
            }
            3..=5 => run.arrive(at, id),
            6 => {
                let place = [f64::NAN, f64::INFINITY, -3.0, 0.5, 1e300][dice.roll(5) as usize];
                run.drop_packet(at, id, place);
            }
            7 => run.expect(at, "detection", u64::MAX - at / 2, ""),
            8 => run.measure(at, "detection", Some(u64::MAX), Some(at)),
            9 => run.call(
                at,
                host,
                "read",
                "",
                ["", "ok", "ETIMEDOUT"][dice.roll(3) as usize],
            ),
            10 => run.state(
                at,
                host,
                [TcpState::Established, TcpState::Closed, TcpState::Listen][dice.roll(3) as usize],
            ),
            11 => run.gone(at, host, TcpState::Established),
            _ => run.chapter(at, "\u{1F4A5}"),
        }
    }
    run
}

fn views(model: &Model) -> Vec<View> {
    let mut views = Vec::new();
    for px_per_ms in [
        f64::NAN,
        -1.0,
        0.0,
        1e-300,
        0.01,
        2.75,
        1e300,
        f64::INFINITY,
    ] {
        for scroll in [f64::NAN, f64::NEG_INFINITY, -1e300, 0.0, 500.0, 1e300] {
            views.push(View {
                width: 820.0,
                height: 900.0,
                scroll,
                px_per_ms,
                opened: [0, 1, u64::MAX].into(),
                now_us: [None, Some(0), Some(u64::MAX), Some(model.last_us())][views.len() % 4],
            });
        }
    }
    views.push(View {
        width: f64::NAN,
        height: f64::INFINITY,
        ..View::default()
    });
    views
}

#[test]
fn nonsense_never_panics_and_stays_bounded() {
    for seed in 0..60 {
        let model = nonsense(seed).model();
        for view in views(&model) {
            let scene = layout(&model, &view, &Monospace);
            assert!(scene.arrows.len() <= MAX_ARROWS);
            assert!(scene.content_height.is_finite());
            for arrow in &scene.arrows {
                let ends = [arrow.from.x, arrow.from.y, arrow.to.x, arrow.to.y];
                assert!(
                    ends.into_iter().all(f64::is_finite),
                    "seed {seed}: {arrow:?}"
                );
            }
        }
    }
}

#[test]
fn the_scale_of_nonsense_is_still_monotone_and_whole() {
    for seed in 0..60 {
        let model = nonsense(seed).model();
        let scale = TimeScale::new(&model, 2.75, &Default::default(), None);
        let cut: u64 = scale
            .cuts(0, u64::MAX)
            .iter()
            .map(|c| c.to_us - c.from_us)
            .sum();
        assert_eq!(cut, scale.cut_us());
        let mut times: Vec<u64> = model.packets().map(|p| p.departed_us).collect();
        times.sort_unstable();
        times.dedup();
        assert!(
            times
                .windows(2)
                .all(|pair| scale.y(pair[1]) > scale.y(pair[0]))
        );
    }
}

#[test]
fn an_arrival_that_comes_before_its_departure_is_joined_with_it() {
    let mut run = Run::new("sandbox", 20_000);
    run.arrive(21_000, 0);
    run.depart(1_000, Client, "SYN", 0, Role::Ordinary, "SYN");
    let model = run.model();
    let packet = model.packet(0).expect("it is known");
    assert_eq!(packet.end.at_us(), Some(21_000));
    assert_eq!(model.counts().arrived, 1);
}

#[test]
fn the_first_of_two_departures_with_one_id_counts() {
    let mut run = Run::new("sandbox", 20_000);
    run.depart(1_000, Client, "SYN", 0, Role::Ordinary, "SYN");
    let twin = run.events[0].fact.clone();
    assert!(matches!(twin, Fact::PacketDeparted(_)));
    run.push(9_000, Observer::Wire, twin);
    let model = run.model();
    assert_eq!(model.packet_count(), 1);
    assert_eq!(model.packet(0).expect("it is known").departed_us, 1_000);
}
