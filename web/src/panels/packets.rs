//! The packet table: the diagram's packets as text, a page at a time, for reading without the
//! picture.

use linger_shared::{
    diagram::{End, Flight, Model, brief, label},
    units::human,
};
use yew::prelude::*;

use crate::state::{
    app::{Action, App},
    record::Shared,
    view::ViewAction,
};

/// Rows of one page.
const PAGE: usize = 80;

/// What the table is made from.
#[derive(Properties, PartialEq)]
pub(crate) struct Props {
    /// The run's record.
    pub(crate) record: Shared,
    /// The selected packet.
    pub(crate) selected: Option<u64>,
    /// Where what the user does goes.
    pub(crate) dispatch: UseReducerDispatcher<App>,
}

/// The table. See the module.
#[component]
pub(crate) fn Packets(props: &Props) -> Html {
    let open = use_state_eq(|| false);
    let record = props.record.borrow();
    let model = record.model();
    let selected = props.selected.and_then(|id| model.position_of(id));
    // The page of the selection, until the user turns pages.
    let turned = use_state_eq(|| None::<usize>);
    {
        let turned = turned.clone();
        use_effect_with(props.selected, move |_| turned.set(None));
    }
    let count = model.packet_count();
    let last = count.saturating_sub(1) / PAGE;
    let page = turned
        .or(selected.map(|position| position / PAGE))
        .unwrap_or(0)
        .min(last);
    let ontoggle = {
        let open = open.clone();
        move |event: Event| {
            let details: web_sys::Element = event.target_unchecked_into();
            open.set(details.has_attribute("open"));
        }
    };
    let turn = |to: usize| {
        let turned = turned.clone();
        move |_: MouseEvent| turned.set(Some(to))
    };
    html! {
        <details class="packets" {ontoggle}>
            <summary>{ format!("All packets as a table ({count})") }</summary>
            if *open {
                { table(props, model, page) }
                if last > 0 {
                    <p class="buttons">
                        <button type="button" disabled={page == 0}
                            onclick={turn(page.saturating_sub(1))}>{ "Earlier" }</button>
                        <span>{ format!("page {} of {}", page + 1, last + 1) }</span>
                        <button type="button" disabled={page == last}
                            onclick={turn(page + 1)}>{ "Later" }</button>
                    </p>
                }
            }
        </details>
    }
}

fn table(props: &Props, model: &Model, page: usize) -> Html {
    let rows = model.packets().enumerate().skip(page * PAGE).take(PAGE);
    html! {
        <div class="scroll" tabindex="0" role="region" aria-label="All packets">
            <table>
                <thead>
                    <tr>
                        <th scope="col">{ "No." }</th>
                        <th scope="col">{ "Left" }</th>
                        <th scope="col">{ "From" }</th>
                        <th scope="col">{ "To" }</th>
                        <th scope="col">{ "What" }</th>
                        <th scope="col">{ "Bytes" }</th>
                        <th scope="col">{ "Fate" }</th>
                    </tr>
                </thead>
                <tbody>{ for rows.map(|(position, flight)| row(props, position, flight)) }</tbody>
            </table>
        </div>
    }
}

fn row(props: &Props, position: usize, flight: &Flight) -> Html {
    let id = flight.id;
    let selected = props.selected == Some(id);
    let onclick = {
        let dispatch = props.dispatch.clone();
        move |_| {
            dispatch.dispatch(Action::View {
                action: ViewAction::Select { id: Some(id) },
                page_ms: 0.0,
            });
        }
    };
    html! {
        <tr key={id} class={classes!(selected.then_some("selected"))} data-id={id.to_string()}>
            <td>{ position + 1 }</td>
            <td>{ human(flight.departed_us) }</td>
            <td>{ flight.from.as_str() }</td>
            <td>{ flight.to.as_str() }</td>
            <td>
                <button type="button" class="inline" {onclick} aria-pressed={selected.to_string()}>
                    { label(flight) }
                </button>
            </td>
            <td>{ flight.length }</td>
            <td>{ fate(flight) }</td>
        </tr>
    }
}

fn fate(flight: &Flight) -> String {
    match &flight.end {
        End::InFlight => "on its way".to_owned(),
        End::Arrived { at_us, .. } => {
            format!(
                "arrived after {}",
                brief(at_us.saturating_sub(flight.departed_us))
            )
        }
        End::Dropped { reason, .. } => format!("dropped: {reason}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::state::samples;

    #[test]
    fn each_packet_has_a_fate() {
        let mut model = Model::new(&samples::header());
        for event in samples::dead_peer() {
            model.push(&event);
        }
        let fates: Vec<String> = model.packets().map(fate).collect();
        assert_eq!(fates[0], "arrived after 20.0 ms");
        assert_eq!(fates[6], "dropped: path cut");
    }
}
