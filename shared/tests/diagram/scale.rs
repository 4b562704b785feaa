//! The time scale: strictly monotone, and what is cut plus what is drawn is the whole.

use std::collections::BTreeSet;

use linger_shared::diagram::{
    BOTTOM_PX, Cut, MARGIN_PX, Model, TEAR_PX, TOP_PX, TimeScale, default_px_per_ms, fit_px_per_ms,
};

use crate::{
    events::{Client, Dice, Run, Server},
    samples::{busy, dead_peer},
};

/// A run with bursts and pauses of every size.
fn bursts(seed: u64) -> Run {
    let mut dice = Dice::new(seed);
    let mut run = Run::new("sandbox", 1 + dice.roll(1 << dice_exponent(seed)));
    let mut at = dice.roll(1_000_000);
    for _ in 0..150 {
        let magnitude = 4 + dice_exponent(dice.roll(99));
        at += dice.roll(1 << magnitude);
        let from = if dice.roll(2) == 0 { Client } else { Server };
        match dice.roll(6) {
            0 => run.call(at, from, "read", "", "5 bytes"),
            1 => {
                let id = run.depart(at, from, "ACK", 0, linger_shared::event::Role::Ordinary, "");
                run.drop_packet(at + dice.roll(9_000), id, 0.5);
            }
            2 => run.expect(at, "detection", at + dice.roll(60_000_000), "because"),
            _ => {
                run.segment(at, from, "ACK");
            }
        }
    }
    run
}

fn dice_exponent(seed: u64) -> u32 {
    (seed % 23) as u32
}

fn scales(model: &Model, seed: u64) -> Vec<TimeScale<'_>> {
    let last = model.last_us();
    let mut views = Vec::new();
    for px_per_ms in [0.01, 0.5, default_px_per_ms(model), 300.0] {
        for now in [None, Some(last / 2), Some(last), Some(last + 5_000_000)] {
            let plain = TimeScale::new(model, px_per_ms, &BTreeSet::new(), now);
            let every_other: BTreeSet<u64> = plain
                .cuts(0, u64::MAX)
                .iter()
                .skip((seed % 2) as usize)
                .step_by(2)
                .map(|cut| cut.key)
                .collect();
            views.push(plain);
            views.push(TimeScale::new(model, px_per_ms, &every_other, now));
        }
    }
    views
}

#[test]
fn the_scale_is_strictly_monotone() {
    for seed in 0..12 {
        let model = bursts(seed).model();
        for scale in scales(&model, seed) {
            let mut moments: Vec<u64> = model
                .packets()
                .flat_map(|p| [Some(p.departed_us), p.end.at_us()])
                .flatten()
                .chain(scale.cuts(0, u64::MAX).iter().flat_map(|cut| {
                    let middle = u64::midpoint(cut.from_us, cut.to_us);
                    [
                        cut.key,
                        cut.from_us,
                        cut.from_us + 1,
                        middle,
                        cut.to_us - 1,
                        cut.to_us,
                    ]
                }))
                .collect();
            moments.sort_unstable();
            moments.dedup();
            for pair in moments.windows(2) {
                assert!(
                    scale.y(pair[1]) > scale.y(pair[0]),
                    "seed {seed}: {pair:?} at {} and {}",
                    scale.y(pair[0]),
                    scale.y(pair[1])
                );
            }
        }
    }
}

#[test]
fn what_is_cut_plus_what_is_drawn_is_the_whole() {
    for seed in 0..12 {
        let model = bursts(seed).model();
        for scale in scales(&model, seed) {
            let cuts = scale.cuts(0, u64::MAX);
            let cut: u64 = cuts.iter().map(|cut| cut.to_us - cut.from_us).sum();
            assert_eq!(scale.cut_us(), cut, "seed {seed}");
            let drawn = (scale.end_us() - cut) as f64 * scale.px_per_us();
            let height = TOP_PX + drawn + TEAR_PX * cuts.len() as f64 + BOTTOM_PX;
            assert!((scale.height() - height).abs() < 1e-6, "seed {seed}");
        }
    }
}

#[test]
fn between_cuts_the_scale_is_linear_and_a_cut_has_a_fixed_height() {
    for seed in 0..12 {
        let model = bursts(seed).model();
        for scale in scales(&model, seed) {
            let mut from = 0;
            for cut in scale.cuts(0, u64::MAX) {
                assert!(cut.from_us >= from, "cuts do not overlap");
                let piece = (cut.from_us - from) as f64 * scale.px_per_us();
                assert!((scale.y(cut.from_us) - scale.y(from) - piece).abs() < 1e-6);
                assert!((scale.y(cut.to_us) - scale.y(cut.from_us) - TEAR_PX).abs() < 1e-6);
                from = cut.to_us;
            }
        }
    }
}

#[test]
fn nothing_is_cut_near_anything_that_happened() {
    for seed in 0..12 {
        let run = bursts(seed);
        let model = run.model();
        for px_per_ms in [0.01, 0.5, 300.0] {
            let scale = TimeScale::new(&model, px_per_ms, &BTreeSet::new(), None);
            let cuts = scale.cuts(0, u64::MAX);
            let spans = model
                .packets()
                .map(|p| (p.departed_us, p.end.at_us().unwrap_or(p.departed_us)))
                .chain(model.notes().iter().map(|n| (n.at_us, n.at_us)))
                .chain(model.rules().iter().map(|r| (r.at_us, r.at_us)));
            for (first, last) in spans {
                for Cut { from_us, to_us, .. } in &cuts {
                    let near = |a: u64, b: u64| b.saturating_sub(a) as f64 * scale.px_per_us();
                    let clear = if *to_us <= first {
                        near(*to_us, first) >= MARGIN_PX - 1e-6
                    } else {
                        *from_us >= last && near(last, *from_us) >= MARGIN_PX - 1e-6
                    };
                    assert!(
                        clear,
                        "seed {seed}: {first}..{last} beside {from_us}..{to_us}"
                    );
                }
            }
        }
    }
}

#[test]
fn pixels_lead_back_to_their_times() {
    for seed in 0..12 {
        let model = bursts(seed).model();
        for scale in scales(&model, seed) {
            for packet in model.packets() {
                // A live run's scale may end before the last of these packets.
                let time = packet.departed_us.min(scale.end_us());
                assert_eq!(scale.us_at(scale.y(time)), time, "seed {seed}");
            }
            assert_eq!(scale.us_at(f64::NEG_INFINITY), 0);
            assert_eq!(scale.us_at(f64::INFINITY), scale.end_us());
        }
    }
}

#[test]
fn an_opened_tear_is_drawn_in_full() {
    let run = dead_peer();
    let model = run.model();
    let scale = TimeScale::new(&model, 2.75, &BTreeSet::new(), None);
    let cuts = scale.cuts(0, u64::MAX);
    let longest = cuts
        .iter()
        .max_by_key(|c| c.to_us - c.from_us)
        .expect("idle time is cut");
    let opened = TimeScale::new(&model, 2.75, &BTreeSet::from([longest.key]), None);
    assert_eq!(opened.cuts(0, u64::MAX).len(), cuts.len() - 1);
    assert_eq!(
        opened.cut_us() + (longest.to_us - longest.from_us),
        scale.cut_us()
    );
}

#[test]
fn a_live_run_does_not_run_away_while_nothing_happens() {
    let mut run = Run::new("sandbox", 20_000);
    let last = run.segment(1_000, Client, "SYN");
    let model = run.model();
    let height = |waited_us: u64| {
        TimeScale::new(&model, 2.75, &BTreeSet::new(), Some(last + waited_us)).height()
    };
    assert!(height(10_000) > height(0), "a short wait is drawn");
    assert!((height(1_000_000) - height(60_000_000)).abs() < 1e-6);
    let scale = TimeScale::new(&model, 2.75, &BTreeSet::new(), Some(last + 1_000_000));
    assert_eq!(scale.cuts(0, u64::MAX).len(), 1);
}

#[test]
fn a_prediction_is_within_the_picture_before_it_comes_true() {
    let mut run = Run::new("sandbox", 20_000);
    let last = run.segment(1_000, Client, "SYN");
    run.expect(last + 10, "detection", last + 5_000_000, "2 s + 3 x 1 s");
    let model = run.model();
    let heights: Vec<f64> = [10, 1_000_000, 4_000_000]
        .into_iter()
        .map(|waited| {
            let now = Some(last + waited);
            let scale = TimeScale::new(&model, 2.75, &BTreeSet::new(), now);
            assert!(scale.y(last + 5_000_000) < scale.height());
            scale.height()
        })
        .collect();
    assert!(
        heights
            .windows(2)
            .all(|pair| (pair[0] - pair[1]).abs() < 1e-6)
    );
}

#[test]
fn idle_time_is_not_torn_while_a_packet_is_in_flight() {
    let mut run = Run::new("sandbox", 2_000_000);
    let last = run.segment(1_000, Client, "SYN");
    run.depart(
        last + 100,
        Server,
        "SYN,ACK",
        0,
        linger_shared::event::Role::Ordinary,
        "SYN, ACK",
    );
    let model = run.model();
    let now = last + 1_500_000;
    let scale = TimeScale::new(&model, 1.0, &BTreeSet::new(), Some(now));
    let torn = scale.cuts(last + 50, u64::MAX);
    assert!(torn.is_empty(), "{torn:?}");
}

#[test]
fn the_default_scale_shows_the_slant_at_any_sane_delay() {
    for (delay_us, low, high) in [
        (20, 4.0, 60.0),
        (500, 50.0, 60.0),
        (20_000, 50.0, 60.0),
        (2_000_000, 50.0, 60.0),
    ] {
        let mut run = Run::new("sandbox", delay_us);
        run.segment(0, Client, "SYN");
        let model = run.model();
        let height = default_px_per_ms(&model) * delay_us as f64 / 1e3;
        assert!((low..=high).contains(&height), "{delay_us} us: {height} px");
    }
    let unknown = Run::new("sandbox", 1).model();
    assert!((1.0..10.0).contains(&default_px_per_ms(&unknown)));
}

#[test]
fn a_run_that_is_fitted_fits() {
    for run in [dead_peer(), busy(2_000)] {
        let model = run.model();
        let opened = BTreeSet::new();
        let scale = fit_px_per_ms(&model, 700.0, &opened, None);
        assert!(TimeScale::new(&model, scale, &opened, None).height() <= 700.0);
        let larger = TimeScale::new(&model, scale * 3.0, &opened, None).height();
        assert!(larger > 700.0, "{scale} px/ms is needlessly small");
    }
}
