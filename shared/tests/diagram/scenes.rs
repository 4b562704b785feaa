//! What the marks of a scene promise.

use linger_shared::{
    diagram::{
        MARGIN_PX, TimeScale, View, default_px_per_ms, layout,
        scene::{Arrow, Head, Layer, Note, Scene, Weight},
    },
    event::{Fact, HostName, Observer, Role, TcpState},
};

use crate::{
    events::{Client, Monospace, Run, Server},
    samples::{busy, dead_peer, http_sequential, relayed},
};

fn view(run: &Run, now_us: Option<u64>) -> View {
    View {
        width: 820.0,
        height: 1_000.0,
        px_per_ms: default_px_per_ms(&run.model()),
        now_us,
        ..View::default()
    }
}

fn scene(run: &Run) -> Scene {
    layout(&run.model(), &view(run, None), &Monospace)
}

fn label(arrow: &Arrow) -> &str {
    arrow.label.as_ref().map_or("", |label| &label.text)
}

#[test]
fn arrow_ends_are_exactly_at_their_times() {
    for run in [dead_peer(), http_sequential(false), relayed(), busy(2_000)] {
        let model = run.model();
        for scroll in [0.0, 333.3, 2_000.0] {
            let view = View {
                scroll,
                ..view(&run, None)
            };
            let scale = TimeScale::new(&model, view.px_per_ms, &view.opened, None);
            let scene = layout(&model, &view, &Monospace);
            for arrow in &scene.arrows {
                let packet = model.packet(arrow.id).expect("an arrow is a packet");
                let end = packet.end.at_us().expect("it ended");
                assert_eq!(
                    (arrow.from_us, arrow.to_us),
                    (packet.departed_us, Some(end))
                );
                assert!((arrow.from.y - (scale.y(packet.departed_us) - scroll)).abs() < 1e-9);
                assert!((arrow.to.y - (scale.y(end) - scroll)).abs() < 1e-9);
            }
        }
    }
}

#[test]
fn arrows_run_from_lane_to_lane_and_drops_end_on_the_way() {
    let scene = scene(&dead_peer());
    let x = |host| {
        scene
            .lanes
            .iter()
            .find(|l| l.host == host)
            .expect("a lane")
            .x
    };
    let (client, server) = (x(Client), x(Server));
    assert!(client < server);
    for arrow in &scene.arrows {
        if arrow.head == Head::Cross {
            assert_eq!(arrow.drop.as_deref(), Some("cut"));
            assert!((arrow.to.x - f64::midpoint(client, server)).abs() < 1e-9);
        } else {
            assert!([client, server].contains(&arrow.to.x));
            assert!([client, server].contains(&arrow.from.x));
        }
    }
    assert_eq!(
        scene
            .arrows
            .iter()
            .filter(|a| a.head == Head::Cross)
            .count(),
        4
    );
}

/// Corners of the box of a label, by the promise of `Label`: rotated about the middle of its base
/// line, a line high.
fn corners(arrow: &Arrow) -> Option<[(f64, f64); 4]> {
    let label = arrow.label.as_ref()?;
    let half = 6.2 * label.text.chars().count() as f64 / 2.0;
    let (sin, cos) = label.angle.to_radians().sin_cos();
    Some(
        [(-half, 3.0), (half, 3.0), (half, -9.0), (-half, -9.0)].map(|(a, b)| {
            (
                label.at.x + a * cos - b * sin,
                label.at.y + a * sin + b * cos,
            )
        }),
    )
}

/// Whether some edge of one of two convex shapes has the other shape wholly on its far side.
fn apart(a: &[(f64, f64); 4], b: &[(f64, f64); 4]) -> bool {
    let separates = |p: &[(f64, f64); 4], q: &[(f64, f64); 4]| {
        (0..4).any(|k| {
            let (from, to) = (p[k], p[(k + 1) % 4]);
            let side = |r: &(f64, f64)| {
                (to.0 - from.0) * (r.1 - from.1) - (to.1 - from.1) * (r.0 - from.0)
            };
            let own = side(&p[(k + 2) % 4]).signum();
            q.iter().all(|r| side(r) * own <= 1e-9)
        })
    };
    separates(a, b) || separates(b, a)
}

#[test]
fn labels_do_not_overlap() {
    let mut pairs = 0;
    for run in [
        dead_peer(),
        http_sequential(true),
        http_sequential(false),
        busy(3_000),
    ] {
        for factor in [0.1, 1.0, 8.0] {
            let mut view = view(&run, None);
            view.px_per_ms *= factor;
            let scene = layout(&run.model(), &view, &Monospace);
            let boxes: Vec<_> = scene.arrows.iter().filter_map(corners).collect();
            for (k, a) in boxes.iter().enumerate() {
                for b in &boxes[k + 1..] {
                    pairs += 1;
                    assert!(apart(a, b), "{a:?} {b:?}");
                }
            }
        }
    }
    assert!(pairs > 1_000, "only {pairs} pairs were compared");
}

#[test]
fn labels_follow_their_line_and_stay_between_the_lanes() {
    let scene = scene(&http_sequential(true));
    let mut labelled = 0;
    for arrow in &scene.arrows {
        let Some(label) = &arrow.label else { continue };
        labelled += 1;
        let slope = (arrow.to.y - arrow.from.y) / (arrow.to.x - arrow.from.x);
        assert!((label.angle - slope.atan().to_degrees()).abs() < 1e-9);
        for (x, _) in corners(arrow).expect("it has a label") {
            assert!(x > scene.lanes[0].x && x < scene.lanes[1].x);
        }
    }
    assert!(labelled >= 10);
}

#[test]
fn a_sparse_picture_labels_every_arrow() {
    let scene = scene(&dead_peer());
    let labels: Vec<&str> = scene.arrows.iter().map(label).collect();
    assert_eq!(
        labels,
        [
            "SYN", "SYN, ACK", "ACK", "5 B", "ACK", "5 B", "ACK", "probe 1", "probe 2", "probe 3",
            "RST"
        ]
    );
}

#[test]
fn in_a_crowd_data_is_labelled_before_bare_acks() {
    let mut run = Run::new("sandbox", 20_000);
    for k in 0..30 {
        run.segment(k * 400, Client, "ACK");
        run.data(k * 400 + 200, Client, 9, "9 bytes");
    }
    let mut view = view(&run, None);
    view.px_per_ms = 2.75;
    let scene = layout(&run.model(), &view, &Monospace);
    let count = |weight| {
        scene
            .arrows
            .iter()
            .filter(|a| a.weight == weight && a.label.is_some())
            .count()
    };
    assert!(count(Weight::Thick) > 0);
    assert!(count(Weight::Thick) > 2 * count(Weight::Thin));
}

#[test]
fn marks_tell_what_a_packet_is() {
    let scene = scene(&http_sequential(true));
    let find = |text: &str| {
        let found = scene.arrows.iter().find(|arrow| label(arrow) == text);
        found.unwrap_or_else(|| panic!("an arrow is labelled {text}"))
    };
    let request = find("GET /1 HTTP/1.1");
    assert_eq!(
        (request.layer, request.weight),
        (Layer::Http, Weight::Thick)
    );
    assert_eq!(find("SYN").layer, Layer::Tcp);
    assert_eq!(find("FIN, ACK").head, Head::DoubleBar);
    let relayed = layout(
        &relayed().model(),
        &view(&http_sequential(true), None),
        &Monospace,
    );
    let heads: Vec<Head> = relayed.arrows.iter().map(|arrow| arrow.head).collect();
    assert_eq!(
        heads,
        [
            Head::Filled,
            Head::Filled,
            Head::Filled,
            Head::DoubleBar,
            Head::Zigzag
        ]
    );
    let mut run = Run::new("sandbox", 20_000);
    let id = run.depart(
        0,
        Client,
        "PSH,ACK",
        5,
        Role::Retransmission { nth: 3 },
        "5 bytes",
    );
    run.arrive(20_000, id);
    let id = run.depart(
        90_000,
        Client,
        "ACK",
        0,
        Role::KeepAliveProbe { nth: 2 },
        "",
    );
    run.arrive(110_000, id);
    let marks = layout(&run.model(), &view(&run, None), &Monospace).arrows;
    assert_eq!(
        (label(&marks[0]), marks[0].dashed),
        ("retransmission 3: 5 B", true)
    );
    assert_eq!(
        (label(&marks[1]), marks[1].head),
        ("probe 2", Head::Diamond)
    );
}

#[test]
fn a_packet_in_flight_grows_by_the_delay_of_the_one_before() {
    let mut run = Run::new("sandbox", 20_000);
    let seen = run.segment(0, Client, "SYN");
    run.segment(seen, Server, "SYN,ACK");
    let departed = 60_000;
    run.depart(departed, Client, "PSH,ACK", 5, Role::Ordinary, "5 bytes");
    let mut last = 0.0;
    for waited in [1_000, 5_000, 10_000, 15_000, 25_000, 70_000] {
        let view = view(&run, Some(departed + waited));
        let scene = layout(&run.model(), &view, &Monospace);
        let arrow = scene.arrows.last().expect("it is drawn");
        assert_eq!((arrow.head, arrow.to_us), (Head::Hollow, None));
        let share = (arrow.to.x - arrow.from.x) / (scene.lanes[1].x - scene.lanes[0].x);
        let expected = (waited as f64 / 20_000.0).min(0.94);
        assert!((share - expected).abs() < 0.01, "{share} after {waited} us");
        assert!(share >= last);
        last = share;
    }
}

#[test]
fn the_first_packet_in_flight_is_a_short_stub() {
    let mut run = Run::new("sandbox", 20_000);
    run.depart(1_000, Client, "SYN", 0, Role::Ordinary, "SYN");
    let scene = layout(&run.model(), &view(&run, Some(9_000)), &Monospace);
    let arrow = &scene.arrows[0];
    assert_eq!(arrow.head, Head::Hollow);
    assert!(arrow.to.x > arrow.from.x);
    assert!(arrow.to.x < f64::midpoint(scene.lanes[0].x, scene.lanes[1].x));
}

fn outside(note: &Note, scene: &Scene) -> bool {
    match note.host {
        HostName::Client => note.right_aligned && note.text_at.x < scene.lanes[0].x,
        _ => !note.right_aligned && note.text_at.x > scene.lanes[1].x,
    }
}

#[test]
fn notes_stand_outside_their_lanes_in_order_and_apart() {
    let scene = scene(&http_sequential(false));
    for host in [Client, Server] {
        let notes: Vec<&Note> = scene.notes.iter().filter(|n| n.host == host).collect();
        assert!(notes.len() > 2);
        assert!(notes.iter().all(|note| outside(note, &scene)));
        assert!(notes.iter().all(|note| note.text_at.y >= note.at.y));
        for pair in notes.windows(2) {
            assert!(pair[1].text_at.y - pair[0].text_at.y >= 15.0 - 1e-9);
        }
    }
}

#[test]
fn notes_stay_where_they_are_while_the_window_scrolls() {
    let run = http_sequential(false);
    let model = run.model();
    let mut known: std::collections::BTreeMap<u64, f64> = Default::default();
    for scroll in (0..900).step_by(37) {
        let view = View {
            scroll: f64::from(scroll),
            ..view(&run, None)
        };
        for note in layout(&model, &view, &Monospace).notes {
            let content = note.text_at.y + view.scroll;
            let before = *known.entry(note.seq).or_insert(content);
            assert!((before - content).abs() < 1e-6, "{}", note.text);
        }
    }
    assert!(known.len() > 10);
}

#[test]
fn a_call_is_noted_when_it_came_back_or_while_it_has_not() {
    let texts = |run: &Run| -> Vec<String> {
        layout(&run.model(), &view(run, None), &Monospace)
            .notes
            .into_iter()
            .map(|note| note.text)
            .collect()
    };
    let mut run = Run::new("sandbox", 20_000);
    run.call(1_000, Client, "read", "", "");
    assert_eq!(texts(&run), ["read() ..."]);
    run.call(50_000, Client, "read", "", "ETIMEDOUT");
    assert_eq!(texts(&run), ["read() -> ETIMEDOUT"]);
    let scene = layout(&run.model(), &view(&run, None), &Monospace);
    assert!(scene.notes[0].error);
}

#[test]
fn a_prediction_is_dashed_and_its_measurement_tells_the_difference() {
    let scene = scene(&dead_peer());
    let [predicted, measured] = &scene.rules[..] else {
        panic!("{:?}", scene.rules);
    };
    assert!(predicted.predicted && !measured.predicted);
    assert_eq!(predicted.text, "predicted 5.000 s");
    assert_eq!(measured.text, "measured 5.015 s (+15.2 ms)");
    assert!(predicted.y < measured.y);
    assert!(
        measured.text_y - predicted.text_y >= 15.0,
        "the texts do not meet"
    );
}

#[test]
fn what_did_not_happen_is_said() {
    let mut run = Run::new("sandbox", 20_000);
    run.segment(0, Client, "SYN");
    run.expect(30_000, "detection", 60_000, "");
    let text = |run: &Run| {
        layout(&run.model(), &view(run, None), &Monospace).rules[0]
            .text
            .clone()
    };
    assert_eq!(text(&run), "predicted at 60.0 ms");
    run.measure(90_000, "detection", Some(30_000), None);
    assert_eq!(text(&run), "predicted 30.0 ms, did not happen");
}

#[test]
fn bands_name_the_states_and_stand_outside_the_lanes() {
    let scene = scene(&http_sequential(true));
    let of = |host| -> Vec<TcpState> {
        let bands = scene.bands.iter().filter(|band| band.host == host);
        bands.map(|band| band.state).collect()
    };
    assert_eq!(
        of(Client),
        [
            TcpState::SynSent,
            TcpState::Established,
            TcpState::FinWait1,
            TcpState::TimeWait
        ]
    );
    assert_eq!(
        of(Server),
        [TcpState::SynRecv, TcpState::Established, TcpState::LastAck]
    );
    for band in &scene.bands {
        assert_eq!(band.connection, "40002");
        match band.host {
            Client => assert!(band.x + band.width <= scene.lanes[0].x),
            _ => assert!(band.x >= scene.lanes[1].x),
        }
    }
    assert!(
        scene
            .bands
            .iter()
            .any(|b| b.label.as_deref() == Some("ESTABLISHED"))
    );
}

#[test]
fn more_connections_than_slots_show_the_latest() {
    let mut run = Run::new("sandbox", 20_000);
    for k in 0..7 {
        run.port = 40_000 + k;
        run.state(u64::from(k) * 10_000, Client, TcpState::Established);
    }
    run.chapter(100_000, "later");
    let scene = scene(&run);
    let last: Vec<&str> = scene
        .bands
        .iter()
        .filter(|band| band.y + band.height > 250.0)
        .map(|band| band.connection.as_str())
        .collect();
    let mut sorted = last.clone();
    sorted.sort_unstable();
    assert_eq!(sorted, ["40003", "40004", "40005", "40006"]);
}

#[test]
fn every_piece_between_two_tears_has_a_tick() {
    let scene = scene(&dead_peer());
    let mut edges = vec![0.0];
    edges.extend(
        scene
            .tears
            .iter()
            .flat_map(|tear| [tear.y, tear.y + tear.height]),
    );
    for piece in edges[1..]
        .chunks(2)
        .zip(edges.chunks(2))
        .map(|(next, this)| (this.last().copied().unwrap_or(0.0), next[0]))
    {
        let within = scene.ticks.iter().any(|t| t.y >= piece.0 && t.y <= piece.1);
        assert!(within || piece.1 - piece.0 < MARGIN_PX, "{piece:?}");
    }
    for tick in &scene.ticks {
        let torn = |t: &linger_shared::diagram::scene::Tear| {
            tick.y > t.y + 1e-6 && tick.y < t.y + t.height - 1e-6
        };
        assert!(!scene.tears.iter().any(torn), "{tick:?} is in a tear");
    }
}

#[test]
fn a_proxy_stands_between() {
    let run = Run::new("sandbox", 20_000).with_proxy();
    let scene = scene(&run);
    let hosts: Vec<HostName> = scene.lanes.iter().map(|lane| lane.host).collect();
    assert_eq!(hosts, [Client, HostName::Proxy, Server]);
    assert!(scene.lanes.windows(2).all(|pair| pair[0].x < pair[1].x));
}

#[test]
fn the_sockets_table_is_as_of_any_moment() {
    let run = http_sequential(true);
    let model = run.model();
    assert!(model.sockets_at(0).is_empty());
    let during = model.sockets_at(20_000);
    let states: Vec<TcpState> = during.iter().map(|row| row.snapshot.state).collect();
    assert_eq!(states, [TcpState::Established; 2]);
    let after = model.sockets_at(u64::MAX);
    assert_eq!(after.len(), 1, "the server's socket is gone");
    assert_eq!(after[0].snapshot.state, TcpState::TimeWait);
}

#[test]
fn nobody_listens_on_a_host_without_power() {
    let mut run = Run::new("sandbox", 20_000);
    for host in [Client, Server] {
        run.state(1_000, host, TcpState::Listen);
    }
    let by = "user".to_owned();
    let (host, on) = (Server, false);
    run.push(5_000, Observer::Wire, Fact::Power { host, on, by });
    let model = run.model();
    let listening = |at_us| {
        let rows = model.sockets_at(at_us);
        rows.iter().map(|row| row.host).collect::<Vec<_>>()
    };
    assert_eq!(listening(4_999), [Client, Server]);
    assert_eq!(listening(5_000), [Client]);
}

#[test]
fn a_packet_is_related_to_its_ack_and_its_other_transmissions() {
    let mut run = Run::new("sandbox", 20_000);
    let hello = run.depart(0, Client, "PSH,ACK", 5, Role::Ordinary, "5 bytes");
    run.drop_packet(10_000, hello, 0.5);
    let bare = run.depart(100_000, Server, "ACK", 0, Role::Ordinary, "ACK");
    run.arrive(120_000, bare);
    let again = Role::Retransmission { nth: 1 };
    let again = run.depart(220_000, Client, "PSH,ACK", 5, again, "5 bytes");
    run.arrive(240_000, again);
    let ack = run.depart(240_100, Server, "ACK", 0, Role::Ordinary, "ACK");
    run.arrive(260_100, ack);
    // The builder writes `ack` 1; this one acknowledges the five bytes from 1 on.
    for event in &mut run.events {
        if let linger_shared::event::Fact::PacketDeparted(packet) = &mut event.fact
            && packet.id == ack
            && let Some(tcp) = &mut packet.tcp
        {
            tcp.ack = 6;
        }
    }
    let model = run.model();
    assert_eq!(
        model.related(hello),
        [again],
        "what was lost was not acknowledged"
    );
    assert_eq!(model.related(again), [hello, ack]);
    assert!(model.related(bare).is_empty());
    assert!(model.related(99).is_empty());
}

#[test]
fn chapters_too_close_for_their_titles_share_a_mark() {
    let mut run = Run::new("sandbox", 20_000);
    run.chapter(1_000, "Start the server");
    run.chapter(1_400, "Ask for ten pages");
    run.chapter(90_000, "Close");
    let scene = scene(&run);
    let titles: Vec<&str> = scene.chapters.iter().map(|c| c.title.as_str()).collect();
    assert_eq!(titles, ["Start the server / Ask for ten pages", "Close"]);
}
