//! What the experiment is about: the question, the explanation, what to look for, the
//! misconception that it clears up, and where the claims come from.

use linger_shared::experiment::Descriptor;
use yew::prelude::*;

/// What the explanation is made from.
#[derive(Properties, PartialEq)]
pub(crate) struct Props {
    /// The experiment.
    pub(crate) descriptor: Descriptor,
}

/// The explanation. See the module.
#[component]
pub(crate) fn Explanation(props: &Props) -> Html {
    let Descriptor {
        explanation,
        look_for,
        misconception,
        references,
        ..
    } = &props.descriptor;
    html! {
        <article class="explanation">
            if !explanation.is_empty() {
                <h2>{ "What happens" }</h2>
                { for explanation.iter().map(|paragraph| html! { <p>{ paragraph.clone() }</p> }) }
            }
            if !look_for.is_empty() {
                <h2>{ "What to look for" }</h2>
                <ul>{ for look_for.iter().map(|hint| html! { <li>{ hint.clone() }</li> }) }</ul>
            }
            if !misconception.is_empty() {
                <h2>{ "Often believed" }</h2>
                <p class="misconception">{ misconception.clone() }</p>
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
