//! `path-timeout-chain`.

use linger_shared::{
    event::{Fact, HostName, HttpExchange, Mode, Observer},
    protocol::RunRequest,
};

use crate::observed::{Observed, assert_near, assert_sound, observe, observe_request, request};

/// How late the news of a closed connection may be on a machine that is busy with other runs.
const LATE_US: u64 = 120_000;

/// Links so long that the idle times of a sweep lie 300 ms apart, and a busy machine does not mix
/// them up: one of the five lies in the middle of a window that is 300 ms wide.
const FAR: &[(&str, &str)] = &[
    ("far", "150ms"),
    ("near", "5ms"),
    ("steps", "1"),
    ("tries", "1"),
];

fn with<'a>(params: &[(&'a str, &'a str)]) -> Vec<(&'a str, &'a str)> {
    FAR.iter().chain(params).copied().collect()
}

/// What the client's requests came to, in the order of chapters: the remarks' titles, and of each
/// exchange that was begun in them its failure.
fn chapters(run: &Observed) -> Vec<(String, Vec<&HttpExchange>)> {
    let mut chapters: Vec<(String, Vec<&HttpExchange>)> = Vec::new();
    for event in &run.events {
        match (&event.fact, event.seen_by) {
            (Fact::Chapter { title }, _) => chapters.push((title.clone(), Vec::new())),
            (Fact::Http(exchange), Observer::App(HostName::Client)) => {
                let (_, exchanges) = chapters.last_mut().expect("requests come in chapters");
                exchanges.push(exchange);
            }
            _ => {}
        }
    }
    chapters
}

fn failures(exchanges: &[&HttpExchange]) -> usize {
    exchanges
        .iter()
        .filter(|exchange| exchange.status != Some(200))
        .count()
}

/// The counts of failures by chapter: the crossing, the sweep, the sweep in the safe order.
fn failed(run: &Observed) -> Vec<(String, usize)> {
    chapters(run)
        .into_iter()
        .skip(1)
        .map(|(title, exchanges)| (title, failures(&exchanges)))
        .collect()
}

fn counts(run: &Observed) -> Vec<usize> {
    failed(run).into_iter().map(|(_, count)| count).collect()
}

/// Within a third of the way between two idle times of a sweep.
fn assert_edge(run: &Observed, name: &str, expected_us: u64) {
    let (predicted, measured) = run.measured(name);
    assert_eq!(predicted, Some(expected_us), "{name}");
    let measured = measured.unwrap_or_else(|| panic!("{name}: {:?}", failed(run)));
    assert!(
        measured.abs_diff(expected_us) <= 100_000,
        "{name}: predicted {expected_us}, measured {measured}"
    );
}

#[tokio::test]
async fn a_request_crosses_the_backends_fin_and_is_answered_with_502() {
    let run = observe("path-timeout-chain", &with(&[])).await;
    assert_sound(&run);
    assert_near(run.measured("failure"), 1_000_000, LATE_US);
    assert_edge(&run, "window_opens", 690_000);
    assert_edge(&run, "window_closes", 990_000);
    // Of five idle times one lies within the window.
    assert_eq!(counts(&run), [1, 1, 0], "{:?}", failed(&run));
    let crossing = &chapters(&run)[1].1;
    assert_eq!(crossing[1].status, Some(502));

    // The FIN and the request are on the wire at the same time, and the request meets an RST.
    let arrivals = run.arrivals();
    let wire = |from: HostName, to: HostName, what: &str| {
        run.departures()
            .find(|(_, packet)| {
                (packet.from, packet.to) == (from, to) && packet.summary.contains(what)
            })
            .map(|(event, packet)| (event.at_us, arrivals[&packet.id]))
            .unwrap_or_else(|| panic!("no {what} from {from}"))
    };
    let fin = wire(HostName::Server, HostName::Proxy, "FIN");
    let asked = wire(HostName::Proxy, HostName::Server, "GET /2");
    let reset = wire(HostName::Server, HostName::Proxy, "RST");
    assert!(asked.0 < fin.1 && fin.0 < asked.1, "{fin:?} {asked:?}");
    assert!(reset.0 >= asked.1, "{reset:?} {asked:?}");
}

#[tokio::test]
async fn between_client_and_proxy_the_client_meets_the_fin_itself() {
    let run = observe(
        "path-timeout-chain",
        &[
            ("proxy_keep", "800ms"),
            ("backend_keep", "15s"),
            ("near", "150ms"),
            ("far", "5ms"),
            ("steps", "1"),
            ("tries", "1"),
        ],
    )
    .await;
    assert_sound(&run);
    assert_near(run.measured("failure"), 800_000, LATE_US);
    assert_edge(&run, "window_opens", 500_000);
    assert_edge(&run, "window_closes", 800_000);
    assert_eq!(counts(&run), [1, 1, 0], "{:?}", failed(&run));
    let crossing = &chapters(&run)[1].1;
    assert_eq!(crossing[1].status, None);
    assert!(crossing[1].error.is_some() && crossing[1].reused);
}

#[tokio::test]
async fn in_the_safe_order_no_request_fails() {
    let safe = [
        ("proxy_pool", "1s"),
        ("backend_keep", "12s"),
        ("tries", "2"),
    ];
    let run = observe("path-timeout-chain", &with(&safe)).await;
    assert_sound(&run);
    let chapters = chapters(&run);
    assert_eq!(chapters.len(), 2, "there is nothing to cross");
    assert!(chapters[1].1.len() >= 10);
    assert_eq!(counts(&run), [0]);
    assert!(run.verdict().measurements.is_empty());
}

#[tokio::test]
async fn equal_limits_fail_as_unequal_ones_do() {
    let equal = [("proxy_pool", "700ms"), ("backend_keep", "700ms")];
    let run = observe("path-timeout-chain", &with(&equal)).await;
    assert_sound(&run);
    assert_eq!(counts(&run), [1, 1, 0], "{:?}", failed(&run));
}

#[tokio::test]
async fn a_proxy_that_asks_again_hides_it_where_a_request_may_be_sent_twice() {
    let again = [("retry", "on")];
    let run = observe("path-timeout-chain", &with(&again)).await;
    assert_sound(&run);
    assert_eq!(counts(&run), [0, 0, 0], "{:?}", failed(&run));
    // The limit, a handshake, and the exchange.
    assert_near(run.measured("second_answer"), 1_600_000, LATE_US);
    let post = [("retry", "on"), ("method", "POST")];
    let run = observe("path-timeout-chain", &with(&post)).await;
    assert_sound(&run);
    assert_eq!(counts(&run), [1, 1, 0], "{:?}", failed(&run));
}

#[tokio::test]
async fn over_the_relay_the_window_is_the_same() {
    let run = observe_request(&RunRequest {
        mode: Some(Mode::Relay),
        ..request("path-timeout-chain", &with(&[]))
    })
    .await;
    assert_sound(&run);
    assert_near(run.measured("failure"), 1_000_000, LATE_US);
    assert_edge(&run, "window_opens", 690_000);
    assert_edge(&run, "window_closes", 990_000);
    assert_eq!(counts(&run), [1, 1, 0], "{:?}", failed(&run));
}
