//! The list of keys, and the switch that turns single-key shortcuts off.

use web_sys::{HtmlDialogElement, HtmlInputElement};
use yew::prelude::*;

use crate::state::{
    app::{Action, App},
    keys::KEYS,
};

/// What the list is made from.
#[derive(Properties, PartialEq)]
pub(crate) struct Props {
    /// Whether it is open.
    pub(crate) open: bool,
    /// Whether single keys do something.
    pub(crate) shortcuts: bool,
    /// Where what the user does goes.
    pub(crate) dispatch: UseReducerDispatcher<App>,
}

/// The list, as a dialog. See the module.
#[component]
pub(crate) fn Help(props: &Props) -> Html {
    let dialog = use_node_ref();
    {
        let dialog = dialog.clone();
        use_effect_with(props.open, move |open| {
            if let Some(dialog) = dialog.cast::<HtmlDialogElement>() {
                if *open && !dialog.open() {
                    // It is in the document and closed, so it can be shown.
                    let _ = dialog.show_modal();
                } else if !open && dialog.open() {
                    dialog.close();
                }
            }
        });
    }
    let close = {
        let dispatch = props.dispatch.clone();
        move || dispatch.dispatch(Action::Help(false))
    };
    let onclose = {
        let close = close.clone();
        move |_: Event| close()
    };
    let onchange = {
        let dispatch = props.dispatch.clone();
        move |event: Event| {
            let field: HtmlInputElement = event.target_unchecked_into();
            dispatch.dispatch(Action::Shortcuts(field.checked()));
        }
    };
    html! {
        <dialog ref={dialog} class="keylist" {onclose} aria-labelledby="help-title">
            <h2 id="help-title">{ "Keys" }</h2>
            <dl>
                { for KEYS.iter().map(|(key, _, meaning)| html! {
                    <div><dt><kbd>{ *key }</kbd></dt><dd>{ *meaning }</dd></div>
                }) }
                <div>
                    <dt><kbd>{ "Ctrl" }</kbd>{ " + wheel" }</dt>
                    <dd>{ "zoom around the pointer" }</dd>
                </div>
            </dl>
            <label class="switch">
                <input type="checkbox" checked={props.shortcuts} {onchange} />
                { " Single-key shortcuts" }
            </label>
            <p class="buttons">
                <button type="button" onclick={move |_: MouseEvent| close()}>{ "Close" }</button>
            </p>
        </dialog>
    }
}
