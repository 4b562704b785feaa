//! The verdict: who ended the connection, how, what each application saw, and what was predicted
//! beside what was measured.

use linger_shared::{
    event::{HostName, Measurement, Side, Verdict},
    units::human,
};
use yew::prelude::*;

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
            <div class="outcome">
                <h2>{ "Verdict" }</h2>
                <p class="summary">{ verdict.summary.clone() }</p>
                if let Some(reason) = props.stopped.as_ref()
                    .filter(|reason| !verdict.summary.contains(reason.as_str())) {
                    <p class="hint">{ format!("The run ended before its script: {reason}.") }</p>
                }
                <dl class="totals">
                    <div><dt>{ "ended by" }</dt><dd>{ verdict.ended_by.clone() }</dd></div>
                    <div><dt>{ "how" }</dt><dd>{ how(&verdict.how) }</dd></div>
                    // Of a single connection its sides tell the same, and more.
                    if verdict.sides.is_empty() || verdict.endings.len() > 1 {
                        { for verdict.outcomes.iter().map(|(host, saw)| html! {
                            <div><dt>{ format!("the {host} saw") }</dt><dd>{ saw.clone() }</dd></div>
                        }) }
                    }
                </dl>
                { sides(&verdict.sides) }
            </div>
            <div class="figures">
                { measurements(&verdict.measurements) }
                <dl class="totals">
                    { for verdict.counts.iter().filter(|(_, number)| **number > 0).map(|(name, number)| html! {
                        <div><dt>{ name.replace(':', ", ").replace('_', " ") }</dt>
                            <dd>{ *number }</dd></div>
                    }) }
                </dl>
            </div>
        </section>
    }
}

fn how(how: &str) -> String {
    match how {
        "fin" => "FIN, an orderly close".to_owned(),
        "rst" => "RST, an abort".to_owned(),
        "timeout" => "a time-out".to_owned(),
        "icmp" => "an ICMP message".to_owned(),
        "power" => "a loss of power".to_owned(),
        "silence" => "not at all: silence".to_owned(),
        other => other.to_owned(),
    }
}

/// What each side saw, what ended the connection there first, and when.
fn sides(sides: &[Side]) -> Html {
    if sides.is_empty() {
        return Html::default();
    }
    // Only a proxy has two sides.
    let proxied = sides.iter().any(|side| side.host == HostName::Proxy);
    html! {
        <table class="measurements sides">
            <caption class="sr-only">{ "What each side of the connection met" }</caption>
            <thead>
                <tr>
                    <th scope="col">{ "Side" }</th>
                    <th scope="col">{ "Saw" }</th>
                    <th scope="col">{ "Met first" }</th>
                    <th scope="col">{ "At" }</th>
                </tr>
            </thead>
            <tbody>
                { for sides.iter().map(|side| html! {
                    <tr>
                        <th scope="row">
                            { side.host.as_str() }
                            if proxied { { format!(" \u{2192} {}", side.towards) } }
                        </th>
                        <td>{ if side.saw.is_empty() { "\u{2013}".to_owned() } else { side.saw.clone() } }</td>
                        <td>{ side.how.clone() }</td>
                        <td>{ side.at_us.map_or_else(|| "\u{2013}".to_owned(), human) }</td>
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
    let span =
        |span: Option<u64>, otherwise: &str| span.map_or_else(|| otherwise.to_owned(), human);
    html! {
        <table class="measurements">
            <caption class="sr-only">{ "Predicted beside measured" }</caption>
            <thead>
                <tr>
                    <th scope="col">{ "What" }</th>
                    <th scope="col">{ "Predicted" }</th>
                    <th scope="col">{ "Measured" }</th>
                    <th scope="col">{ "Difference" }</th>
                </tr>
            </thead>
            <tbody>
                { for measurements.iter().map(|measurement| html! {
                    <tr>
                        <th scope="row">{ measurement.name.replace('_', " ") }</th>
                        <td>{ span(measurement.predicted_us, "\u{2013}") }</td>
                        <td>{ span(measurement.measured_us, "did not happen") }</td>
                        <td>{ difference(measurement) }</td>
                    </tr>
                }) }
            </tbody>
        </table>
    }
}

/// By how much the measurement missed the prediction, and which share of it that is.
fn difference(measurement: &Measurement) -> String {
    let (Some(predicted), Some(measured)) = (measurement.predicted_us, measurement.measured_us)
    else {
        return "\u{2013}".to_owned();
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
    fn what_did_not_happen_has_no_difference() {
        let measurement = Measurement {
            name: "detection".to_owned(),
            predicted_us: Some(5_000_000),
            measured_us: None,
        };
        assert_eq!(difference(&measurement), "\u{2013}");
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
