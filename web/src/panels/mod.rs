//! Everything around the diagram. Each panel shows a part of the state and says what its user
//! wants: to the reducer, or, where the server is asked for something, as an [`Order`].

pub(crate) mod actions;
pub(crate) mod announcer;
pub(crate) mod catalogue;
pub(crate) mod explanation;
pub(crate) mod help;
pub(crate) mod packet;
pub(crate) mod packets;
pub(crate) mod parameters;
pub(crate) mod player;
pub(crate) mod predictions;
pub(crate) mod recent;
pub(crate) mod sockets;
pub(crate) mod stage;
pub(crate) mod top_bar;
pub(crate) mod verdict;

#[cfg(all(test, not(target_arch = "wasm32")))]
pub(crate) mod tests;

use linger_shared::protocol;
use yew::{Callback, MouseEvent, UseReducerDispatcher};

use crate::state::{
    app::{Action, App},
    load::Trouble,
    route::Route,
};

/// What only the server can do.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Order {
    /// Start a run with what the form says.
    Start,
    /// Stop the run that is shown.
    Stop,
    /// Do something to the run that is shown.
    Act(protocol::Action),
    /// Remove a run that is over, and its record.
    Delete(String),
    /// Ask for the catalogue again.
    AskCatalogue,
}

/// Follows a link within the page; a click that asks for a new window is the browser's.
pub(crate) fn go(dispatch: &UseReducerDispatcher<App>, route: Route) -> Callback<MouseEvent> {
    let dispatch = dispatch.clone();
    Callback::from(move |event: MouseEvent| {
        if !event.ctrl_key() && !event.meta_key() && !event.shift_key() {
            event.prevent_default();
            dispatch.dispatch(Action::Navigate(route.clone()));
        }
    })
}

/// A trouble as a short block of text.
pub(crate) fn trouble(trouble: &Trouble) -> yew::Html {
    yew::html! {
        <>
            <strong>{ trouble.title.clone() }</strong>
            <p>{ trouble.detail.clone() }</p>
        </>
    }
}
