//! What the experiment is about: the question, the explanation, what to look for, the
//! misconception that it clears up, and where the claims come from.

use linger_shared::experiment::{Claim, Descriptor, Value};
use yew::prelude::*;

use crate::state::route::Route;

/// What the explanation is made from.
#[derive(Properties, PartialEq)]
pub(crate) struct Props {
    /// The experiment.
    pub(crate) descriptor: Descriptor,
}

/// Where the run that a claim speaks of can be started.
fn run_that_shows(id: &str, claim: &Claim) -> String {
    let values = claim.values.iter();
    Route::Experiment {
        id: id.to_owned(),
        values: values
            .map(|(name, value): (_, &Value)| (name.clone(), value.to_string()))
            .collect(),
    }
    .url()
}

/// A text in which backticks enclose names and what is typed.
fn marked(text: &str) -> Html {
    text.split('`')
        .enumerate()
        .map(|(nth, part)| match nth % 2 {
            1 => html! { <code>{ part.to_owned() }</code> },
            _ => html! { part.to_owned() },
        })
        .collect()
}

/// The explanation. See the module.
#[component]
pub(crate) fn Explanation(props: &Props) -> Html {
    let Descriptor {
        explanation,
        look_for,
        misconception,
        claims,
        references,
        ..
    } = &props.descriptor;
    html! {
        <article class="explanation">
            if !explanation.is_empty() {
                <h2>{ "What happens" }</h2>
                { for explanation.iter().map(|paragraph| html! { <p>{ marked(paragraph) }</p> }) }
            }
            if !look_for.is_empty() {
                <h2>{ "What to look for" }</h2>
                <ul>{ for look_for.iter().map(|hint| html! { <li>{ marked(hint) }</li> }) }</ul>
            }
            if !misconception.is_empty() {
                <h2>{ "Often believed" }</h2>
                <p class="misconception">{ marked(misconception) }</p>
            }
            if !claims.is_empty() {
                <h2>{ "Said elsewhere, and measured here" }</h2>
                <ul class="claims">
                    { for claims.iter().map(|claim| html! {
                        <li>
                            <q>{ marked(&claim.claim) }</q>
                            { " " }<strong>{ claim.finding.as_str() }</strong>
                            { ": " }{ marked(&claim.because) }{ " " }
                            <a href={run_that_shows(&props.descriptor.id, claim)}>{ "The run" }</a>
                        </li>
                    }) }
                </ul>
            }
            if !references.is_empty() {
                <h2>{ "References" }</h2>
                <ul class="references">
                    { for references.iter().map(|reference| html! {
                        <li>
                            <a href={reference.url.clone()} rel="noreferrer">
                                { reference.title.clone() }
                            </a>
                        </li>
                    }) }
                </ul>
            }
        </article>
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use linger_shared::experiment::Finding;

    use super::*;
    use crate::panels::tests::render;

    #[tokio::test]
    async fn a_claim_stands_with_its_finding_and_a_link_to_the_run_that_shows_it() {
        let descriptor = Descriptor {
            claims: vec![Claim {
                claim: "`read()` fails.".to_owned(),
                finding: Finding::Refuted,
                because: "It waits.".to_owned(),
                values: BTreeMap::from([("watch".to_owned(), Value::Text("1 h".to_owned()))]),
            }],
            ..crate::state::samples::descriptor("tcp-a")
        };
        let html = render(html! { <Explanation {descriptor} /> }).await;
        for part in [
            "<q><code>read()</code> fails.</q>",
            "<strong>refuted</strong>: It waits.",
            "href=\"/e/tcp-a?watch=1%20h\"",
        ] {
            assert!(html.contains(part), "{part} in {html}");
        }
    }
}
