//! Whatever the run's length, a scene is bounded by its window.

use linger_shared::diagram::{
    MAX_ARROWS, Model, TimeScale, View, default_px_per_ms, layout, scene::Head,
};

use crate::{
    events::{Monospace, Run},
    samples::busy,
};

fn views(model: &Model) -> Vec<View> {
    let mut views = Vec::new();
    for factor in [1e-4, 0.02, 0.3, 1.0, 20.0] {
        let px_per_ms = default_px_per_ms(model) * factor;
        let scale = TimeScale::new(model, px_per_ms, &Default::default(), None);
        for part in [0.0, 0.37, 0.99] {
            views.push(View {
                width: 820.0,
                height: 1_000.0,
                scroll: scale.height() * part,
                px_per_ms,
                ..View::default()
            });
        }
    }
    views
}

#[test]
fn a_hundred_thousand_packets_make_no_more_shapes_than_a_window_holds() {
    let run = busy(100_000);
    let model = run.model();
    assert_eq!(model.packet_count(), 100_000);
    let mut hid = false;
    for view in views(&model) {
        let scene = layout(&model, &view, &Monospace);
        assert!(scene.arrows.len() <= MAX_ARROWS);
        assert!(
            scene.notes.len() <= 2 * (1_080 / 15 + 1),
            "{}",
            scene.notes.len()
        );
        assert!(scene.tears.len() <= 1_080 / 28 + 1);
        assert!(scene.ticks.len() <= 120, "{}", scene.ticks.len());
        assert!(scene.bands.len() + scene.rules.len() + scene.chapters.len() <= 500);
        hid |= scene.hidden > 0;
        let widest = scene.arrows.iter().flat_map(|a| [a.from.y, a.to.y]);
        assert!(widest.into_iter().all(f64::is_finite));
    }
    assert!(hid, "some view is too dense to show every arrow");
}

#[test]
fn a_dense_window_keeps_what_matters() {
    let model = busy(20_000).model();
    let view = View {
        width: 820.0,
        height: 1_000.0,
        scroll: 10_000.0,
        px_per_ms: 0.5,
        ..View::default()
    };
    let scene = layout(&model, &view, &Monospace);
    assert!(scene.hidden > 0);
    let scale = TimeScale::new(&model, view.px_per_ms, &view.opened, None);
    let (first, last) = (
        scale.us_at(view.scroll),
        scale.us_at(view.scroll + view.height),
    );
    let drops = model
        .packets()
        .filter(|p| p.departed_us >= first && p.departed_us <= last)
        .filter(|p| matches!(p.end, linger_shared::diagram::End::Dropped { .. }))
        .count();
    let drawn = scene
        .arrows
        .iter()
        .filter(|a| a.head == Head::Cross)
        .count();
    assert!(
        drops > 3 && drawn >= drops,
        "{drawn} of {drops} drops are drawn"
    );
}

#[test]
fn hidden_arrows_are_counted_exactly() {
    let model = busy(3_000).model();
    for view in views(&model) {
        let scene = layout(&model, &view, &Monospace);
        let visible = |a: f64, b: f64| b >= -40.0 && a <= view.height + 40.0;
        let scale = TimeScale::new(&model, view.px_per_ms, &view.opened, None);
        let touching = model
            .packets()
            .filter(|p| {
                let end = p.end.at_us().unwrap_or(p.departed_us);
                visible(
                    scale.y(p.departed_us) - view.scroll,
                    scale.y(end) - view.scroll,
                )
            })
            .count();
        let told = scene.arrows.len() + scene.hidden;
        // The window's edges are rounded to whole microseconds.
        assert!(
            told.abs_diff(touching) <= 2,
            "{told} told, {touching} touch"
        );
    }
}

#[test]
fn an_empty_run_is_an_empty_picture_with_its_lanes() {
    let model = Run::new("sandbox", 1).model();
    let view = View {
        width: 820.0,
        height: 600.0,
        px_per_ms: 2.75,
        ..View::default()
    };
    let scene = layout(&model, &view, &Monospace);
    assert_eq!(scene.lanes.len(), 2);
    assert!(scene.arrows.is_empty() && scene.notes.is_empty() && scene.tears.is_empty());
    assert!(scene.content_height > 0.0);
}
