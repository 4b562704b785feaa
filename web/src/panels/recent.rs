//! The runs that the server has, the newest first: those of this start, and those that earlier ones
//! recorded. One that is over can be deleted, after a second question.

use std::rc::Rc;

use linger_shared::protocol::{CatalogueEntry, RunInfo};
use yew::prelude::*;

use super::{Order, go};
use crate::{
    services::page,
    state::{app::App, route::Route},
};

/// How many runs are listed before one asks for all.
const FEW: usize = 8;

/// The list's heading, which has the focus after a run has gone.
pub(crate) const HEADING: &str = ".recent h2";

/// What the list is made from.
#[derive(Properties, PartialEq)]
pub(crate) struct Props {
    /// The runs, the newest first.
    pub(crate) recent: Rc<Vec<RunInfo>>,
    /// The experiments, once they are known.
    pub(crate) catalogue: Option<Rc<Vec<CatalogueEntry>>>,
    /// The run that is shown.
    pub(crate) run: Option<AttrValue>,
    /// Where what the user does goes.
    pub(crate) dispatch: UseReducerDispatcher<App>,
    /// What only the server can do.
    pub(crate) order: Callback<Order>,
}

/// The list; nothing where there is no run.
#[component]
pub(crate) fn Recent(props: &Props) -> Html {
    let all = use_state(|| false);
    // The run about which it was asked whether it may go.
    let doomed = use_state(|| None::<String>);
    if props.recent.is_empty() {
        return Html::default();
    }
    let number = props.recent.len();
    let listed = if *all { number } else { FEW };
    html! {
        <nav class="catalogue recent" aria-label="Recent runs">
            <section>
                <h2 tabindex="-1">{ "Recent runs" }</h2>
                <ul>
                    { for props.recent.iter().take(listed).map(|run| entry(props, run, &doomed)) }
                </ul>
                if number > listed {
                    <button type="button" class="inline" onclick={move |_| all.set(true)}>
                        { format!("Show all {number}") }
                    </button>
                }
            </section>
        </nav>
    }
}

fn entry(props: &Props, run: &RunInfo, doomed: &UseStateHandle<Option<String>>) -> Html {
    let current = props.run.as_deref() == Some(&run.id);
    let route = Route::Run { id: run.id.clone() };
    let title = props
        .catalogue
        .iter()
        .flat_map(|entries| entries.iter())
        .find(|entry| entry.descriptor.id == run.experiment)
        .map_or(&run.experiment, |entry| &entry.descriptor.title);
    let asked = doomed.as_ref() == Some(&run.id);
    let ask = {
        let (doomed, id) = (doomed.clone(), run.id.clone());
        move |_| doomed.set((!asked).then(|| id.clone()))
    };
    html! {
        <li key={run.id.clone()}>
            <a href={route.url()} aria-current={current.then_some("page")}
                onclick={go(&props.dispatch, route)}>
                { title.clone() }
                <small>{ about(run, &page::local_time(run.started_unix_ms)) }</small>
            </a>
            if run.state.is_over() {
                <button type="button" class="close" title="Delete this run"
                    aria-label={format!("Delete run {}", run.id)}
                    aria-expanded={asked.to_string()} onclick={ask}>{ "\u{d7}" }</button>
            }
            if asked {
                { question(props, run, doomed) }
            }
        </li>
    }
}

fn question(props: &Props, run: &RunInfo, doomed: &UseStateHandle<Option<String>>) -> Html {
    let delete = {
        let (order, id) = (props.order.clone(), run.id.clone());
        move |_| order.emit(Order::Delete(id.clone()))
    };
    let keep = {
        let doomed = doomed.clone();
        move |_| doomed.set(None)
    };
    html! {
        <div class="deletion">
            <p>{ "Delete this run and its record for good?" }</p>
            <div class="buttons">
                <button type="button" class="stop" onclick={delete}>{ "Delete" }</button>
                <button type="button" onclick={keep}>{ "Keep" }</button>
            </div>
        </div>
    }
}

/// What tells a run from others of its experiment: when, how it stands, and its id.
fn about(run: &RunInfo, when: &str) -> String {
    // A run that waits for its turn has not started.
    let when = if run.started_unix_ms == 0 { "" } else { when };
    [when, run.state.as_str(), &run.id]
        .into_iter()
        .filter(|part| !part.is_empty())
        .collect::<Vec<_>>()
        .join(" \u{00b7} ")
}

#[cfg(test)]
mod tests {
    use linger_shared::protocol::RunState;

    use super::*;
    use crate::state::samples;

    #[test]
    fn a_run_is_told_by_its_time_its_state_and_its_id() {
        let mut run = samples::info(RunState::Finished);
        assert_eq!(about(&run, "01:00"), "finished \u{b7} r1");
        run.started_unix_ms = 1;
        assert_eq!(about(&run, "01:00"), "01:00 \u{b7} finished \u{b7} r1");
    }
}
