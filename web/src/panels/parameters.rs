//! The parameter form: a field for each parameter with its unit, bounds and default, checked while
//! one types; presets; and the way back to the defaults.

use linger_shared::experiment::{Descriptor, Param, ParamType};
use web_sys::{HtmlInputElement, HtmlSelectElement};
use yew::prelude::*;

use super::Order;
use crate::state::{
    app::{Action, App},
    form::{Form, bounds},
};

/// What the form is made from.
#[derive(Properties, PartialEq)]
pub(crate) struct Props {
    /// The experiment.
    pub(crate) descriptor: Descriptor,
    /// What is written in the fields.
    pub(crate) form: Form,
    /// Whether Enter starts a run.
    pub(crate) can_start: bool,
    /// Where what the user does goes.
    pub(crate) dispatch: UseReducerDispatcher<App>,
    /// What only the server can do.
    pub(crate) order: Callback<Order>,
}

/// The form. See the module.
#[component]
pub(crate) fn Parameters(props: &Props) -> Html {
    let onsubmit = {
        let (order, can_start) = (props.order.clone(), props.can_start);
        move |event: SubmitEvent| {
            event.prevent_default();
            if can_start {
                order.emit(Order::Start);
            }
        }
    };
    let reset = {
        let dispatch = props.dispatch.clone();
        move |_| dispatch.dispatch(Action::Reset)
    };
    html! {
        <form class="parameters" {onsubmit} aria-label="Parameters" novalidate={true}>
            <h2>{ "Parameters" }</h2>
            { presets(props) }
            { for props.descriptor.params.iter().map(|param| field(props, param)) }
            <p class="buttons">
                <button type="submit" class="run" disabled={!props.can_start}>{ "Run" }</button>
                <button type="button" class="quiet" disabled={props.form.is_default()}
                    onclick={reset}>{ "Reset to defaults" }</button>
            </p>
        </form>
    }
}

fn presets(props: &Props) -> Html {
    if props.descriptor.presets.is_empty() {
        return Html::default();
    }
    let presets = props.descriptor.presets.iter().enumerate();
    html! {
        <div class="presets" role="group" aria-label="Presets">
            { for presets.map(|(place, preset)| {
                let dispatch = props.dispatch.clone();
                let chosen = props.form.matches(&props.descriptor, preset);
                html! {
                    <button type="button" class="preset" title={preset.description.clone()}
                        aria-pressed={chosen.to_string()}
                        onclick={move |_| dispatch.dispatch(Action::Preset(place))}>
                        { preset.name.clone() }
                    </button>
                }
            }) }
        </div>
    }
}

fn field(props: &Props, param: &Param) -> Html {
    let id = format!("param-{}", param.name);
    let error = props.form.error(param);
    let described = format!("{id}-help {id}-error");
    let write = {
        let (dispatch, name) = (props.dispatch.clone(), param.name.clone());
        move |text: String| {
            dispatch.dispatch(Action::Field {
                name: name.clone(),
                text,
            });
        }
    };
    let text = props.form.text(param);
    let input = match param.kind {
        ParamType::Boolean => {
            let onchange = move |event: Event| {
                let field: HtmlInputElement = event.target_unchecked_into();
                write(field.checked().to_string());
            };
            html! {
                <input id={id.clone()} type="checkbox" checked={text == "true"} {onchange}
                    aria-describedby={described} />
            }
        }
        ParamType::Choice => {
            let onchange = move |event: Event| {
                let field: HtmlSelectElement = event.target_unchecked_into();
                write(field.value());
            };
            html! {
                <select id={id.clone()} {onchange} aria-describedby={described}>
                    { for param.choices.iter().map(|choice| html! {
                        <option key={choice.clone()} value={choice.clone()}
                            selected={*choice == text}>{ choice.clone() }</option>
                    }) }
                </select>
            }
        }
        ParamType::Duration | ParamType::Integer => {
            let number = param.kind == ParamType::Integer;
            let oninput = move |event: InputEvent| {
                let field: HtmlInputElement = event.target_unchecked_into();
                write(field.value());
            };
            html! {
                <input id={id.clone()} type="text" value={text} {oninput}
                    inputmode={number.then_some("numeric")} autocomplete="off" spellcheck="false"
                    aria-invalid={error.is_some().then_some("true")}
                    aria-describedby={described} />
            }
        }
    };
    let unit = match param.kind {
        ParamType::Integer => param.unit.clone(),
        _ => None,
    };
    html! {
        <div class={classes!("field", error.as_ref().map(|_| "invalid"))} key={param.name.clone()}>
            <label for={id.clone()}>{ param.name.replace('_', " ") }</label>
            <span class="input">
                { input }
                if let Some(unit) = unit {
                    <span class="unit">{ unit }</span>
                }
            </span>
            <p class="help" id={format!("{id}-help")}>
                <span class="what">{ param.description.clone() }</span>
                <span class="bounds">{ limits(param) }</span>
            </p>
            <p class="error" id={format!("{id}-error")}>{ error.unwrap_or_default() }</p>
        </div>
    }
}

/// Bounds and default in words.
fn limits(param: &Param) -> String {
    let default = match param.kind {
        ParamType::Boolean => match param.default.to_string().as_str() {
            "true" => "on".to_owned(),
            _ => "off".to_owned(),
        },
        _ => param.default.to_string(),
    };
    let bounds = bounds(param);
    if bounds.is_empty() {
        format!("Default {default}")
    } else {
        format!("{bounds}, default {default}")
    }
}
