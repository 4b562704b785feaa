//! What only a browser has: its fonts, its SVG, its storage. Everything else of the page is tested
//! natively, in the modules themselves. Compiles to nothing natively.
#![cfg(target_arch = "wasm32")]

use std::collections::BTreeMap;

use linger_shared::{
    diagram::{
        Measure, Model, View, layout,
        scene::{Point, Scene},
    },
    event::{Event, Fact, Header, HostInfo, HostName, Mode, Observer, Packet},
};
use linger_web::{
    diagram::paint::{self, Marked},
    services::{measure::FontMeasure, page, storage},
};
use wasm_bindgen::JsCast;
use wasm_bindgen_test::{wasm_bindgen_test, wasm_bindgen_test_configure};
use web_sys::Element;
use yew::prelude::*;

wasm_bindgen_test_configure!(run_in_browser);

const WIDTH: f64 = 700.0;
const HEIGHT: f64 = 400.0;

fn document() -> web_sys::Document {
    web_sys::window().unwrap().document().unwrap()
}

/// An element at the window's top left corner, in which a test has the room to itself.
fn place(style: &str) -> Element {
    let place = document().create_element("div").unwrap();
    place
        .set_attribute("style", &format!("position:fixed;left:0;top:0;{style}"))
        .unwrap();
    document().body().unwrap().append_child(&place).unwrap();
    place
}

fn header() -> Header {
    let host = |name, address: &str| HostInfo {
        name,
        address: address.to_owned(),
        sysctls: BTreeMap::new(),
    };
    Header {
        protocol_version: linger_shared::protocol::PROTOCOL_VERSION,
        run: "r".to_owned(),
        experiment: "x".to_owned(),
        title: "A sample".to_owned(),
        params: BTreeMap::new(),
        seed: 0,
        mode: Mode::Packets,
        started_unix_ms: 0,
        kernel: String::new(),
        hosts: vec![
            host(HostName::Client, "192.0.2.1"),
            host(HostName::Server, "198.51.100.1"),
        ],
        links: Vec::new(),
        versions: BTreeMap::new(),
    }
}

/// Twelve packets to and fro, 20 ms each, of which every fourth is dropped half-way.
fn model() -> Model {
    let mut events = Vec::new();
    let mut tell = |at_us, fact| {
        events.push(Event {
            seq: events.len() as u64,
            at_us,
            seen_by: Observer::Wire,
            fact,
        });
    };
    for id in 0..12_u64 {
        let (from, to) = match id % 2 {
            0 => (HostName::Client, HostName::Server),
            _ => (HostName::Server, HostName::Client),
        };
        let at_us = 1_000 + id * 21_137;
        tell(
            at_us,
            Fact::PacketDeparted(Packet {
                id,
                from,
                to,
                length: 52,
                tcp: None,
                summary: format!("packet {id}"),
                bytes: String::new(),
                messages: Vec::new(),
                rewritten: None,
                origin: None,
            }),
        );
        if id % 4 == 3 {
            tell(
                at_us + 10_000,
                Fact::PacketDropped {
                    id,
                    rule: "cut".to_owned(),
                    reason: "cut".to_owned(),
                    place: 0.5,
                },
            );
        } else {
            tell(at_us + 20_071, Fact::PacketArrived { id });
        }
    }
    let mut model = Model::new(&header());
    for event in &events {
        model.push(event);
    }
    model
}

fn scene(scroll: f64) -> Scene {
    let view = View {
        width: WIDTH,
        height: HEIGHT,
        scroll,
        px_per_ms: 2.75,
        ..View::default()
    };
    layout(&model(), &view, &FontMeasure::estimate(12.0))
}

#[derive(Properties, PartialEq)]
struct Props {
    scroll: f64,
}

#[component]
fn Picture(props: &Props) -> Html {
    html! {
        <svg width={WIDTH.to_string()} height={HEIGHT.to_string()} style="display:block">
            { paint::scene(&scene(props.scroll), props.scroll, &Marked::default()) }
        </svg>
    }
}

/// Where both ends of an arrow's line are on the screen.
fn ends(arrow: &Element) -> (Point, Point) {
    let line: web_sys::SvgLineElement = arrow
        .query_selector("line")
        .unwrap()
        .unwrap()
        .dyn_into()
        .unwrap();
    let matrix = line.get_screen_ctm().unwrap();
    let (dx, dy) = (f64::from(matrix.e()), f64::from(matrix.f()));
    let number = |name: &str| line.get_attribute(name).unwrap().parse::<f64>().unwrap();
    let point = |x: &str, y: &str| Point {
        x: number(x) + dx,
        y: number(y) + dy,
    };
    (point("x1", "y1"), point("x2", "y2"))
}

async fn next_frame() {
    let promise = js_sys::Promise::new(&mut |resolve, _| {
        web_sys::window()
            .unwrap()
            .request_animation_frame(&resolve)
            .unwrap();
    });
    wasm_bindgen_futures::JsFuture::from(promise).await.unwrap();
}

async fn painted_arrows_are_where_the_scene_has_them(scroll: f64) {
    let place = place("");
    let handle =
        yew::Renderer::<Picture>::with_root_and_props(place.clone(), Props { scroll }).render();
    next_frame().await;
    let expected = scene(scroll).arrows;
    assert!(expected.len() >= 5, "{} arrows to compare", expected.len());
    for arrow in &expected {
        let painted = place
            .query_selector(&format!("g.arrow[data-id=\"{}\"]", arrow.id))
            .unwrap()
            .unwrap_or_else(|| panic!("packet {} is painted", arrow.id));
        let (from, to) = ends(&painted);
        for (painted, scene) in [(from, arrow.from), (to, arrow.to)] {
            let missed = (painted.x - scene.x).hypot(painted.y - scene.y);
            assert!(
                missed < 0.1,
                "packet {}: {painted:?} for {scene:?}",
                arrow.id
            );
        }
        assert_eq!(
            painted.get_attribute("data-to-us"),
            arrow.to_us.map(|at_us| at_us.to_string())
        );
    }
    handle.destroy();
    place.remove();
}

#[wasm_bindgen_test]
async fn a_line_on_the_screen_has_the_ends_that_the_scene_says() {
    painted_arrows_are_where_the_scene_has_them(0.0).await;
}

#[wasm_bindgen_test]
async fn a_scrolled_line_has_the_ends_that_the_scene_says() {
    painted_arrows_are_where_the_scene_has_them(97.0).await;
}

#[wasm_bindgen_test]
fn text_is_as_wide_as_the_measure_says() {
    let place = place("font:12px/1 system-ui,sans-serif;white-space:pre");
    let measure = FontMeasure::of(&place);
    for text in ["SYN, ACK", "read() -> ETIMEDOUT", "iiii", "WWWW", "5.003 s"] {
        place.set_text_content(Some(text));
        let shown = place.get_bounding_client_rect().width();
        let measured = measure.text_width(text);
        assert!(
            (shown - measured).abs() < 1.0,
            "{text}: {measured} for {shown}"
        );
    }
    place.remove();
}

#[wasm_bindgen_test]
fn the_measure_takes_the_size_of_the_font() {
    let small = place("font:12px sans-serif");
    let large = place("font:24px sans-serif");
    let width = |place: &Element| FontMeasure::of(place).text_width("ESTABLISHED");
    assert!((width(&large) / width(&small) - 2.0).abs() < 0.1);
    assert_eq!(FontMeasure::of(&large).line_height(), 32.0);
    small.remove();
    large.remove();
}

#[wasm_bindgen_test]
fn a_choice_is_stored_and_forgotten() {
    storage::write("linger-test", Some("dark"));
    assert_eq!(storage::read("linger-test").as_deref(), Some("dark"));
    storage::write("linger-test", None);
    assert_eq!(storage::read("linger-test"), None);
}

#[wasm_bindgen_test]
async fn the_clock_of_the_page_is_that_of_its_frames() {
    let before = page::now_ms();
    next_frame().await;
    assert!(page::now_ms() > before);
}
