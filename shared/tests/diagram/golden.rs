//! Scenes and text of whole runs against checked-in files.

use std::{env, fs, path::PathBuf};

use linger_shared::diagram::{View, default_px_per_ms, fit_px_per_ms, layout, scene::Scene, svg};

use crate::{
    events::{Monospace, Run},
    samples::{dead_peer, http_sequential, relayed},
};

/// Compares a text with its golden file, or writes the file where `LINGER_BLESS` is set.
pub(crate) fn check(name: &str, text: &str) {
    let path: PathBuf = [env!("CARGO_MANIFEST_DIR"), "tests/diagram/golden", name]
        .iter()
        .collect();
    if env::var_os("LINGER_BLESS").is_some() {
        fs::write(&path, text).expect("the golden file can be written");
        return;
    }
    let golden = fs::read_to_string(&path)
        .unwrap_or_else(|error| panic!("{}: {error}; LINGER_BLESS=1 writes it", path.display()));
    assert!(
        golden == text,
        "{name} differs from what it was:\n{text}\nLINGER_BLESS=1 accepts this"
    );
}

fn scene(run: &Run, width: f64, height: f64) -> Scene {
    let model = run.model();
    let view = View {
        width,
        height,
        px_per_ms: default_px_per_ms(&model),
        ..View::default()
    };
    layout(&model, &view, &Monospace)
}

/// Rounds coordinates, so that a golden file does not hang on the last bit of a sine.
fn rounded(value: serde_json::Value) -> serde_json::Value {
    use serde_json::Value;
    match value {
        Value::Number(number) if number.is_f64() => {
            let hundredths = (number.as_f64().unwrap_or(0.0) * 100.0).round() + 0.0;
            Value::from(hundredths / 100.0)
        }
        Value::Array(values) => values.into_iter().map(rounded).collect(),
        Value::Object(fields) => fields.into_iter().map(|(k, v)| (k, rounded(v))).collect(),
        other => other,
    }
}

fn check_scene(name: &str, scene: &Scene) {
    if let Some(folder) = env::var_os("LINGER_SCENES") {
        let path = PathBuf::from(folder).join(format!("{name}.svg"));
        let text = format!(
            "<svg xmlns='http://www.w3.org/2000/svg' width='{}' height='{}'>{}</svg>",
            scene.width,
            scene.height,
            svg::drawing(scene)
        );
        fs::write(path, text).expect("the SVG file can be written");
    }
    let value = rounded(serde_json::to_value(scene).expect("a scene is JSON"));
    let text = serde_json::to_string_pretty(&value).expect("a value is JSON");
    check(&format!("{name}.json"), &(text + "\n"));
}

#[test]
fn dead_peer_looks_as_it_did() {
    check_scene("dead-peer", &scene(&dead_peer(), 820.0, 1_150.0));
}

#[test]
fn dead_peer_looks_as_it_did_on_a_sheet() {
    check("dead-peer.svg", &svg::document(&dead_peer().model()));
}

#[test]
fn dead_peer_fits_a_small_window() {
    let run = dead_peer();
    let model = run.model();
    let mut view = View {
        width: 340.0,
        height: 600.0,
        ..View::default()
    };
    view.px_per_ms = fit_px_per_ms(&model, view.height, &view.opened, view.now_us);
    check_scene("dead-peer-narrow", &layout(&model, &view, &Monospace));
}

#[test]
fn dead_peer_is_drawn_while_it_runs() {
    let run = dead_peer();
    let mut live = Run::new("tcp-dead-peer", 20_100);
    // Up to 5 ms after the second probe left.
    let second_probe = run
        .events
        .iter()
        .rev()
        .filter(|event| matches!(event.fact, linger_shared::event::Fact::PacketDropped { .. }));
    let until = second_probe
        .map(|event| event.at_us)
        .nth(2)
        .expect("four were dropped")
        - 5_000;
    live.events = run
        .events
        .into_iter()
        .filter(|e| e.at_us <= until)
        .collect();
    let model = live.model();
    let view = View {
        width: 820.0,
        height: 900.0,
        px_per_ms: default_px_per_ms(&model),
        now_us: Some(until),
        ..View::default()
    };
    check_scene("dead-peer-live", &layout(&model, &view, &Monospace));
}

#[test]
fn http_over_one_connection_looks_as_it_did() {
    check_scene(
        "http-persistent",
        &scene(&http_sequential(true), 820.0, 1_000.0),
    );
}

#[test]
fn http_over_a_connection_each_looks_as_it_did() {
    check_scene(
        "http-one-each",
        &scene(&http_sequential(false), 820.0, 1_800.0),
    );
}

#[test]
fn a_relayed_run_looks_as_it_did() {
    check_scene("relayed", &scene(&relayed(), 820.0, 500.0));
}
