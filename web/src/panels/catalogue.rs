//! The catalogue: every experiment by family, searchable, with the reason where one cannot run
//! here.

use std::rc::Rc;

use linger_shared::protocol::CatalogueEntry;
use web_sys::HtmlInputElement;
use yew::prelude::*;

use super::{Order, go, trouble};
use crate::state::{
    app::{Action, App},
    load::Load,
    route::Route,
};

/// What the catalogue is made from.
#[derive(Properties, PartialEq)]
pub(crate) struct Props {
    /// The experiments.
    pub(crate) catalogue: Load<Rc<Vec<CatalogueEntry>>>,
    /// What is searched for.
    pub(crate) search: AttrValue,
    /// The experiment that is shown.
    pub(crate) experiment: Option<AttrValue>,
    /// Where what the user does goes.
    pub(crate) dispatch: UseReducerDispatcher<App>,
    /// What only the server can do.
    pub(crate) order: Callback<Order>,
}

/// The catalogue. See the module.
#[component]
pub(crate) fn Catalogue(props: &Props) -> Html {
    let oninput = {
        let dispatch = props.dispatch.clone();
        move |event: InputEvent| {
            let field: HtmlInputElement = event.target_unchecked_into();
            dispatch.dispatch(Action::Search(field.value()));
        }
    };
    html! {
        <nav class="catalogue" aria-label="Experiments">
            <input type="search" placeholder="Search experiments" value={props.search.clone()}
                aria-label="Search experiments" {oninput} />
            { match &props.catalogue {
                Load::Waiting => html! {
                    <p class="hint">{ "Asking the server for its experiments \u{2026}" }</p>
                },
                Load::Failed(why) => {
                    let order = props.order.clone();
                    html! {
                        <div class="notice trouble">
                            { trouble(why) }
                            <button type="button"
                                onclick={move |_| order.emit(Order::AskCatalogue)}>
                                { "Ask again" }
                            </button>
                        </div>
                    }
                }
                Load::Ready(entries) => families(props, entries),
            } }
        </nav>
    }
}

fn families(props: &Props, entries: &[CatalogueEntry]) -> Html {
    let wanted: Vec<&CatalogueEntry> = entries
        .iter()
        .filter(|entry| matches_search(entry, &props.search))
        .collect();
    if wanted.is_empty() {
        return html! {
            <p class="hint">{ format!("No experiment speaks of \u{201c}{}\u{201d}.", props.search) }</p>
        };
    }
    let mut names: Vec<&str> = Vec::new();
    for entry in &wanted {
        if !names.contains(&entry.descriptor.family.as_str()) {
            names.push(&entry.descriptor.family);
        }
    }
    let family = |name: &str| {
        let members = wanted
            .iter()
            .filter(|entry| entry.descriptor.family == name);
        html! {
            <section key={name.to_owned()}>
                <h2>{ name.to_owned() }</h2>
                <ul>{ for members.map(|entry| item(props, entry)) }</ul>
            </section>
        }
    };
    html! { <>{ for names.into_iter().map(family) }</> }
}

fn item(props: &Props, entry: &CatalogueEntry) -> Html {
    let descriptor = &entry.descriptor;
    let current = props.experiment.as_deref() == Some(&descriptor.id);
    let route = Route::Experiment {
        id: descriptor.id.clone(),
        values: Default::default(),
    };
    html! {
        <li key={descriptor.id.clone()}>
            <a href={route.url()} class={classes!(entry.runs_as.is_none().then_some("unavailable"))}
                aria-current={current.then_some("page")} onclick={go(&props.dispatch, route)}
                title={descriptor.question.clone()}>
                { descriptor.title.clone() }
                if let Some(reason) = &entry.unavailable {
                    <small>{ format!("Not on this machine: {reason}") }</small>
                }
            </a>
        </li>
    }
}

/// Whether every word that is searched for occurs in what an experiment says of itself.
fn matches_search(entry: &CatalogueEntry, search: &str) -> bool {
    let descriptor = &entry.descriptor;
    let text = [
        &descriptor.id,
        &descriptor.title,
        &descriptor.question,
        &descriptor.family,
        &descriptor.misconception,
    ]
    .map(|part| part.to_lowercase())
    .join(" ");
    search
        .to_lowercase()
        .split_whitespace()
        .all(|word| text.contains(word))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::state::samples;

    #[test]
    fn every_word_of_a_search_must_occur() {
        let entry = &samples::catalogue()[1];
        assert!(matches_search(entry, ""));
        assert!(matches_search(entry, "DEAD  peer"));
        assert!(matches_search(entry, "tcp noticed"));
        assert!(!matches_search(entry, "dead websocket"));
    }
}
