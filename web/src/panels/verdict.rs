//! The verdict: who ended the connection, how, what each application saw, and what was predicted
//! beside what was measured.

use linger_shared::{
    event::{Ending, HostName, Measurement, Side, Verdict},
    units::human,
};
use yew::prelude::*;

/// What stands where there is nothing to tell.
const NOTHING: &str = "\u{2013}";

/// Counts that the counts of the whole run, beside the diagram, tell already.
const TOLD: [&str; 5] = [
    "bytes",
    "connections",
    "dropped",
    "packets",
    "retransmissions",
];

/// What the verdict is made from.
#[derive(Properties, PartialEq)]
pub(crate) struct Props {
    /// The outcome of the run.
    pub(crate) verdict: Verdict,
    /// By whom or what the run was ended early.
    pub(crate) stopped: Option<AttrValue>,
}

/// The verdict. See the module.
#[component]
pub(crate) fn VerdictPanel(props: &Props) -> Html {
    let verdict = &props.verdict;
    html! {
        <section class="verdict" aria-label="Verdict">
            <h2>{ "Verdict" }</h2>
            <p class="summary">{ verdict.summary.clone() }</p>
            if let Some(reason) = props.stopped.as_ref()
                .filter(|reason| !verdict.summary.contains(reason.as_str())) {
                <p class="hint">{ format!("The run ended before its script: {reason}.") }</p>
            }
            { totals(verdict) }
            { sides(verdict) }
            { measurements(&verdict.measurements) }
            { endings(&verdict.endings) }
        </section>
    }
}

/// Who ended it and how, and what was counted besides.
fn totals(verdict: &Verdict) -> Html {
    let mut pairs = vec![
        ("ended by".to_owned(), by(&verdict.ended_by).to_owned()),
        ("how".to_owned(), how(&verdict.how).to_owned()),
    ];
    // Of a single connection its sides tell the same, and more.
    let single = !verdict.sides.is_empty() && verdict.endings.len() < 2;
    if !single {
        let outcomes = verdict.outcomes.iter();
        pairs.extend(outcomes.map(|(host, saw)| (format!("the {host} saw"), saw.clone())));
    }
    let counted = verdict.counts.iter().filter(|(name, number)| {
        **number > 0 && !TOLD.contains(&name.as_str()) && !(single && name.contains(':'))
    });
    pairs.extend(counted.map(|(name, number)| (count(name), number.to_string())));
    html! {
        <dl class="totals">
            { for pairs.into_iter().map(|(name, value)| html! {
                <div><dt>{ name }</dt><dd>{ value }</dd></div>
            }) }
        </dl>
    }
}

fn by(ended_by: &str) -> &str {
    match ended_by {
        "client" => "the client",
        "proxy" => "the proxy",
        "server" => "the server",
        "both" => "both sides at once",
        "middlebox" => "a middlebox between them",
        other => other,
    }
}

fn how(how: &str) -> &str {
    match how {
        "fin" => "an orderly close (FIN)",
        "rst" => "an abort (RST)",
        "timeout" => "a time-out",
        "icmp" => "an ICMP error",
        "power" => "a loss of power",
        "silence" => "not at all, it is still open",
        other => other,
    }
}

/// What a count counts: `time_wait:client` are sockets.
fn count(name: &str) -> String {
    match name.split_once(':') {
        Some((state, host)) => {
            format!("sockets in {} on the {host}", state.to_ascii_uppercase())
        }
        None if name == "keepalive_probes" => "keep-alive probes".to_owned(),
        None => name.replace('_', " "),
    }
}

/// What each side of the connection met and what its application saw, and when.
fn sides(verdict: &Verdict) -> Html {
    let sides = &verdict.sides;
    if sides.is_empty() {
        return Html::default();
    }
    // Only a proxy has two sides.
    let proxied = sides.iter().any(|side| side.host == HostName::Proxy);
    let several = verdict.endings.len() > if proxied { 2 } else { 1 };
    let rows = sides.iter().map(|side| {
        let towards = if proxied {
            format!(" \u{2192} {}", side.towards)
        } else {
            String::new()
        };
        vec![
            format!("{}{towards}", side.host),
            met(side),
            saw(side),
            socket(&side.state),
        ]
    });
    let caption = several.then_some("A connection that ended as most did");
    let columns = [
        "Side",
        "What happened there",
        "What its application saw",
        "Socket at the end",
    ];
    table("sides", caption, &columns, rows)
}

fn met(side: &Side) -> String {
    match (side.how.as_str(), side.at_us) {
        ("nothing", _) => "nothing ended it".to_owned(),
        (how, None) => how.to_owned(),
        (how, Some(at_us)) => format!("{how} at {}", human(at_us)),
    }
}

fn saw(side: &Side) -> String {
    let saw = match side.saw.as_str() {
        "" => return "nothing".to_owned(),
        "closed it" => "closed it itself".to_owned(),
        other => match errno(other) {
            Some(words) => format!("{other}, {words},"),
            None => other.to_owned(),
        },
    };
    // What still goes on is told with its beginning.
    let since = saw.starts_with("still ") || saw.ends_with(" yet");
    match side.saw_at_us {
        Some(at_us) if since => format!("{saw} since {}", human(at_us)),
        Some(at_us) => format!("{saw} at {}", human(at_us)),
        None => saw.trim_end_matches(',').to_owned(),
    }
}

/// What an errno means, in the words of the C library.
fn errno(name: &str) -> Option<&'static str> {
    Some(match name {
        "ECONNREFUSED" => "connection refused",
        "ECONNRESET" => "connection reset by peer",
        "EHOSTUNREACH" => "no route to host",
        "ENETUNREACH" => "network is unreachable",
        "EPIPE" => "broken pipe",
        "ETIMEDOUT" => "connection timed out",
        _ => return None,
    })
}

fn socket(state: &str) -> String {
    match state {
        "" => NOTHING,
        "gone" => "closed and gone",
        other => other,
    }
    .to_owned()
}

/// How each of several connections ended.
fn endings(endings: &[Ending]) -> Html {
    if endings.len() < 2 {
        return Html::default();
    }
    let rows = endings.iter().map(|ending| {
        vec![
            (ending.connection + 1).to_string(),
            by(&ending.ended_by).to_owned(),
            how(&ending.how).to_owned(),
            span(ending.at_us, NOTHING),
            ending.because.clone(),
        ]
    });
    let columns = ["Connection", "Ended by", "How", "At", "Because"];
    html! {
        <details>
            <summary>{ format!("How each of {} connections ended", endings.len()) }</summary>
            { table("sides", None, &columns, rows) }
        </details>
    }
}

fn span(micros: Option<u64>, otherwise: &str) -> String {
    micros.map_or_else(|| otherwise.to_owned(), human)
}

/// A table whose first column names its rows.
fn table(
    class: &'static str,
    caption: Option<&'static str>,
    columns: &[&'static str],
    rows: impl Iterator<Item = Vec<String>>,
) -> Html {
    html! {
        <table class={classes!("measurements", class)}>
            if let Some(caption) = caption {
                <caption>{ caption }</caption>
            }
            <thead>
                <tr>{ for columns.iter().map(|name| html! { <th scope="col">{ *name }</th> }) }</tr>
            </thead>
            <tbody>
                { for rows.map(|cells| html! {
                    <tr>
                        { for cells.into_iter().enumerate().map(|(column, text)| match column {
                            0 => html! { <th scope="row">{ text }</th> },
                            _ => html! { <td>{ text }</td> },
                        }) }
                    </tr>
                }) }
            </tbody>
        </table>
    }
}

fn measurements(measurements: &[Measurement]) -> Html {
    if measurements.is_empty() {
        return Html::default();
    }
    let rows = measurements.iter().map(|measurement| {
        vec![
            measurement.name.replace('_', " "),
            span(measurement.predicted_us, NOTHING),
            span(measurement.measured_us, "did not happen"),
            difference(measurement),
        ]
    });
    let columns = ["Span", "Predicted", "Measured", "Difference"];
    table("figures", None, &columns, rows)
}

/// By how much the measurement missed the prediction, and which share of it that is.
fn difference(measurement: &Measurement) -> String {
    let (Some(predicted), Some(measured)) = (measurement.predicted_us, measurement.measured_us)
    else {
        return NOTHING.to_owned();
    };
    let sign = if measured < predicted {
        "\u{2212}"
    } else {
        "+"
    };
    let missed = measured.abs_diff(predicted);
    if predicted == 0 {
        return format!("{sign}{}", human(missed));
    }
    let share = missed as f64 / predicted as f64 * 100.0;
    format!("{sign}{} ({share:.1} %)", human(missed))
}

#[cfg(all(test, not(target_arch = "wasm32")))]
mod tests {
    use super::*;
    use crate::{panels::tests::render, state::samples};
    use linger_shared::event::Fact;

    #[tokio::test]
    async fn the_verdict_shows_predicted_beside_measured() {
        let events = samples::dead_peer();
        let Some(Fact::Verdict(verdict)) = events.last().map(|event| event.fact.clone()) else {
            panic!("the sample ends with a verdict");
        };
        let text = render(html! { <VerdictPanel {verdict} stopped={None::<AttrValue>} /> }).await;
        for part in ["5.000 s", "+100 us (0.0 %)", "ETIMEDOUT", "a time-out"] {
            assert!(text.contains(part), "{part} in {text}");
        }
    }

    #[tokio::test]
    async fn both_sides_of_each_connection_of_a_proxy_are_told_apart() {
        let side = |host, towards, saw: &str| Side {
            host,
            towards,
            saw: saw.to_owned(),
            how: "received FIN".to_owned(),
            at_us: Some(1_500_000),
            saw_at_us: None,
            state: String::new(),
        };
        let verdict = Verdict {
            sides: vec![
                side(HostName::Client, HostName::Proxy, "end of stream"),
                side(HostName::Proxy, HostName::Client, ""),
            ],
            ..Verdict::default()
        };
        let text = render(html! { <VerdictPanel {verdict} stopped={None::<AttrValue>} /> }).await;
        for part in [
            "client",
            "\u{2192} proxy",
            "end of stream",
            "received FIN",
            "1.500 s",
        ] {
            assert!(text.contains(part), "{part} in {text}");
        }
    }

    #[test]
    fn each_side_is_told_in_words_with_its_times() {
        let told = |saw_: &str, how: &str, state: &str| {
            let side = Side {
                host: HostName::Client,
                towards: HostName::Server,
                saw: saw_.to_owned(),
                how: how.to_owned(),
                at_us: (how != "nothing").then_some(5_202_640),
                saw_at_us: (!saw_.is_empty()).then_some(140_000),
                state: state.to_owned(),
            };
            [met(&side), saw(&side), socket(&side.state)].join("; ")
        };
        assert_eq!(
            told("ETIMEDOUT", "gave up", "gone"),
            "gave up at 5.203 s; ETIMEDOUT, connection timed out, at 140 ms; closed and gone"
        );
        assert_eq!(
            told("still waiting in read()", "nothing", "ESTABLISHED"),
            "nothing ended it; still waiting in read() since 140 ms; ESTABLISHED"
        );
        assert_eq!(
            told("", "received FIN", ""),
            "received FIN at 5.203 s; nothing; \u{2013}"
        );
        assert_eq!(
            told("closed it", "sent FIN", "TIME_WAIT"),
            "sent FIN at 5.203 s; closed it itself at 140 ms; TIME_WAIT"
        );
    }

    #[tokio::test]
    async fn several_connections_have_an_ending_each() {
        let ending = |connection, because: &str| Ending {
            connection,
            ended_by: "both".to_owned(),
            how: "fin".to_owned(),
            at_us: Some(1_500_000),
            because: because.to_owned(),
            sides: Vec::new(),
        };
        let verdict = Verdict {
            endings: vec![ending(0, ""), ending(1, "the FINs crossed")],
            counts: [
                ("time_wait:client".to_owned(), 2),
                ("packets".to_owned(), 9),
            ]
            .into(),
            ..Verdict::default()
        };
        let text = render(html! { <VerdictPanel {verdict} stopped={None::<AttrValue>} /> }).await;
        for part in [
            "How each of 2 connections ended",
            "both sides at once",
            "an orderly close (FIN)",
            "the FINs crossed",
            "sockets in TIME_WAIT on the client",
        ] {
            assert!(text.contains(part), "{part} in {text}");
        }
        assert!(!text.contains("packets"), "told elsewhere");
    }

    #[test]
    fn what_did_not_happen_has_no_difference() {
        let measurement = Measurement {
            name: "detection".to_owned(),
            predicted_us: Some(5_000_000),
            measured_us: None,
        };
        assert_eq!(difference(&measurement), NOTHING);
    }

    #[test]
    fn an_early_measurement_has_a_minus() {
        let measurement = Measurement {
            name: "detection".to_owned(),
            predicted_us: Some(100),
            measured_us: Some(90),
        };
        assert_eq!(difference(&measurement), "\u{2212}10 us (10.0 %)");
    }
}
