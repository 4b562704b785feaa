//! What theory says, with its formula, beside what was measured; and the experiment's remarks.

use linger_shared::diagram::Model;
use yew::prelude::*;

use crate::state::record::Shared;

/// What the panel is made from.
#[derive(Properties, PartialEq)]
pub(crate) struct Props {
    /// The run's record.
    pub(crate) record: Shared,
}

/// The panel; empty where nothing was predicted or remarked. See the module.
#[component]
pub(crate) fn Predictions(props: &Props) -> Html {
    let record = props.record.borrow();
    let model = record.model();
    if model.rules().is_empty() && model.remarks().is_empty() {
        return Html::default();
    }
    html! {
        <section class="panel predictions">
            <h2>{ "Theory" }</h2>
            { rules(model) }
            { for model.remarks().iter().map(|(_, text)| html! {
                <p class="hint">{ text.clone() }</p>
            }) }
        </section>
    }
}

/// One entry for each name, in the order of time.
fn rules(model: &Model) -> Html {
    html! {
        <dl>
            { for model.rules().iter().map(|rule| html! {
                <div key={rule.seq} class={if rule.predicted { "predicted" } else { "measured" }}>
                    <dt>{ rule.name.replace('_', " ") }</dt>
                    <dd>
                        { rule.text.clone() }
                        if !rule.because.is_empty() {
                            <span class="because">{ rule.because.clone() }</span>
                        }
                    </dd>
                </div>
            }) }
        </dl>
    }
}

#[cfg(all(test, not(target_arch = "wasm32")))]
mod tests {
    use super::*;
    use crate::{panels::tests::render, state::samples};

    #[tokio::test]
    async fn a_prediction_shows_its_formula_and_what_became_of_it() {
        let mut record = Shared::new(&samples::header());
        record.push(samples::dead_peer());
        let text = render(html! { <Predictions {record} /> }).await;
        assert!(text.contains("2s + 3 x 1s"), "{text}");
        assert!(text.contains("measured 5.000 s (+100 us)"), "{text}");
    }

    #[tokio::test]
    async fn a_run_without_predictions_has_no_panel() {
        let record = Shared::new(&samples::header());
        assert_eq!(render(html! { <Predictions {record} /> }).await, "");
    }
}
