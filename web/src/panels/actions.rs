//! What can be done to the wire of a run while it goes on.

use std::collections::BTreeSet;

use linger_shared::{event::HostName, protocol::Action};
use yew::prelude::*;

use super::Order;
use crate::state::record::Cut;

/// What the buttons are made from.
#[derive(Properties, PartialEq)]
pub(crate) struct Props {
    /// Cuts that are in force.
    pub(crate) cuts: BTreeSet<Cut>,
    /// What only the server can do.
    pub(crate) order: Callback<Order>,
}

/// The buttons. See the module.
#[component]
pub(crate) fn Actions(props: &Props) -> Html {
    let cut = |host: HostName| props.cuts.iter().any(|cut| cut.from == host);
    let by_hand = props.cuts.iter().any(|cut| cut.by_hand);
    let (client, server) = (cut(HostName::Client), cut(HostName::Server));
    let button = |text: &'static str, title: &'static str, disabled: bool, action: Action| {
        let order = props.order.clone();
        html! {
            <button type="button" {title} {disabled}
                onclick={move |_| order.emit(Order::Act(action.clone()))}>{ text }</button>
        }
    };
    let from = |host| Action::Cut { from: Some(host) };
    html! {
        <div class="actions" role="group" aria-label="Do something to the wire">
            <span class="label">{ "The wire" }</span>
            { button("Cut", "Drop every packet, both ways, without a word",
                client && server, Action::Cut { from: None }) }
            { button("Cut client \u{2192} server", "Drop only what the client sends",
                client, from(HostName::Client)) }
            { button("Cut server \u{2192} client", "Drop only what the server sends",
                server, from(HostName::Server)) }
            { button("Heal", "Undo every cut that was made by hand",
                !by_hand, Action::Heal) }
        </div>
    }
}
