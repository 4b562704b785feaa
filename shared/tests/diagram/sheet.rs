//! Whole runs as SVG documents: well-formed whatever is in them, complete, and bounded.

use std::time::Instant;

use linger_shared::{
    diagram::{Bounds, svg},
    event::{Call, Fact, Observer, Verdict},
};
use roxmltree::{Document, Node};

use crate::{
    events::{Client, Run},
    samples::{busy, dead_peer, http_sequential, relayed},
};

fn with_class<'a>(document: &'a Document<'_>, class: &str) -> Vec<Node<'a, 'a>> {
    document
        .descendants()
        .filter(|node| {
            let classes = node.attribute("class").unwrap_or_default();
            classes.split(' ').any(|name| name == class)
        })
        .collect()
}

fn number(node: Node<'_, '_>, name: &str) -> f64 {
    let text = node.attribute(name).expect("the attribute is there");
    text.parse().expect("it is a number")
}

/// Arrows of the diagram, without those of the legend.
fn arrows<'a>(document: &'a Document<'_>) -> Vec<Node<'a, 'a>> {
    let mut arrows = with_class(document, "arrow");
    arrows.retain(|arrow| {
        !arrow
            .ancestors()
            .any(|node| node.attribute("class") == Some("legend"))
    });
    arrows
}

#[test]
fn a_sheet_has_every_packet_of_the_run_and_says_what_it_is() {
    for run in [
        dead_peer(),
        http_sequential(true),
        http_sequential(false),
        relayed(),
    ] {
        let model = run.model();
        let text = svg::document(&model);
        let document = Document::parse(&text).expect("it is well-formed");
        let root = document.root_element();
        assert_eq!(arrows(&document).len(), model.packet_count());
        let (width, height) = (number(root, "width"), number(root, "height"));
        assert_eq!(
            root.attribute("viewBox"),
            Some(format!("0 0 {width} {height}").as_str())
        );
        let named = root.attribute("aria-labelledby").expect("it has a name");
        for id in named.split(' ') {
            let text = document
                .descendants()
                .find(|node| node.attribute("id") == Some(id))
                .and_then(|node| node.text());
            assert!(text.is_some_and(|text| text.len() > 10), "{id}");
        }
        // Every line stays on the paper.
        for line in document.descendants().filter(|n| n.has_tag_name("line")) {
            for name in ["y1", "y2"] {
                assert!((0.0..=height).contains(&number(line, name)));
            }
        }
    }
}

#[test]
fn a_sheet_needs_nothing_from_elsewhere() {
    let text = svg::document(&dead_peer().model());
    let document = Document::parse(&text).expect("it is well-formed");
    for node in document.descendants() {
        assert!(
            !["script", "image", "use", "foreignObject", "a"].contains(&node.tag_name().name())
        );
        for attribute in node.attributes() {
            assert!(!attribute.name().starts_with("on"), "{}", attribute.name());
            assert!(!attribute.value().contains("://"), "{}", attribute.value());
        }
    }
}

#[test]
fn hostile_text_stays_text() {
    let evil = "</text></svg><script>alert(1)</script>&amp;\u{0}\u{1b}[2J]]>\"'";
    let mut run = Run::new(evil, 10_000);
    run.header.title = evil.to_owned();
    run.header.run = evil.to_owned();
    run.header.kernel = evil.to_owned();
    run.header.hosts[0].address = evil.to_owned();
    run.chapter(0, evil);
    run.data(100, Client, 10, evil);
    run.push(
        200,
        Observer::App(Client),
        Fact::Call(Call {
            call: evil.to_owned(),
            args: evil.to_owned(),
            result: evil.to_owned(),
            errno: Some(evil.to_owned()),
            began_us: None,
            local: None,
            remote: None,
            on_behalf_of: None,
        }),
    );
    run.push(
        300,
        Observer::Experiment,
        Fact::Verdict(Verdict {
            ended_by: evil.to_owned(),
            how: evil.to_owned(),
            outcomes: [(evil.to_owned(), evil.to_owned())].into(),
            measurements: Vec::new(),
            counts: Default::default(),
            summary: evil.repeat(100),
            sides: Vec::new(),
            endings: Vec::new(),
        }),
    );
    let text = svg::document(&run.model());
    let document = Document::parse(&text).expect("it is well-formed");
    assert!(
        !document
            .descendants()
            .any(|node| node.has_tag_name("script"))
    );
    assert!(!text.contains('\u{0}') && !text.contains('\u{1b}'));
}

#[test]
fn a_long_run_is_thinned_to_a_sheet_that_says_so() {
    let began = Instant::now();
    let model = busy(50_000).model();
    let text = svg::document(&model);
    let document = Document::parse(&text).expect("it is well-formed");
    let arrows = arrows(&document).len();
    assert!(arrows > 500 && arrows <= Bounds::SHEET.arrows, "{arrows}");
    let height = number(document.root_element(), "height");
    assert!(height <= Bounds::SHEET.pixels + 600.0, "{height}");
    assert!(text.contains("of 50000 packets are drawn"));
    assert!(text.len() < 3_000_000, "{} bytes", text.len());
    // A bound against quadratic work, not a measure of speed: this takes a second without
    // optimisation.
    assert!(began.elapsed().as_secs() < 60, "{:?}", began.elapsed());
}

#[test]
fn a_run_of_which_nothing_is_known_is_a_sheet_all_the_same() {
    let text = svg::document(&Run::new("nothing", 0).model());
    Document::parse(&text).expect("it is well-formed");
    assert!(text.contains("no verdict yet"));
}
