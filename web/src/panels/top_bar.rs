//! The bar at the top: what is shown, Run and Stop, how the page is connected, and the settings.

use yew::prelude::*;

use super::Order;
use crate::state::{
    app::{Action, App, Theme},
    route::{Route, encode},
    run::Run,
    stream::Link,
};

/// The formats that a run is exported in: the name in the address, and the words of the menu.
const EXPORTS: [(&str, &str); 5] = [
    ("pcapng", "Capture for Wireshark (pcapng)"),
    ("svg", "Picture (SVG)"),
    ("mermaid", "Mermaid diagram"),
    ("text", "Text diagram"),
    ("jsonl", "Events (JSON Lines)"),
];

/// What the bar is made from.
#[derive(Properties, PartialEq)]
pub(crate) struct Props {
    /// The experiment's title, or what the page is about.
    pub(crate) title: AttrValue,
    /// The run that is shown.
    pub(crate) run: Option<Run>,
    /// Whether Run can be pressed.
    pub(crate) can_start: bool,
    /// Whether a run was asked for.
    pub(crate) starting: bool,
    /// Light or dark.
    pub(crate) theme: Theme,
    /// Where what the user does goes.
    pub(crate) dispatch: UseReducerDispatcher<App>,
    /// What only the server can do.
    pub(crate) order: Callback<Order>,
}

/// The bar. See the module.
#[component]
pub(crate) fn TopBar(props: &Props) -> Html {
    let act = |action: Action| {
        let dispatch = props.dispatch.clone();
        move |_: MouseEvent| dispatch.dispatch(action.clone())
    };
    let home = {
        let dispatch = props.dispatch.clone();
        move |event: MouseEvent| {
            if !event.ctrl_key() && !event.meta_key() && !event.shift_key() {
                event.prevent_default();
                dispatch.dispatch(Action::Navigate(Route::Home));
            }
        }
    };
    let theme = match props.theme {
        Theme::System => "auto",
        Theme::Light => "light",
        Theme::Dark => "dark",
    };
    html! {
        <header class="top">
            <a class="brand" href="/" onclick={home}>{ "Linger" }</a>
            <h1>{ props.title.clone() }</h1>
            { run_button(props) }
            if let Some(run) = &props.run {
                <span class={classes!("link", link_class(run.link))} title={run.link.meaning()}>
                    { run.link.word() }
                </span>
                <span class="run-id" title="The run's id">{ run.id.clone() }</span>
                if let Some(state) = run.state() {
                    <span class="run-state">{ state.as_str() }</span>
                }
            }
            <span class="gap" />
            { exports(props.run.as_ref()) }
            <button type="button" class="quiet" aria-label={format!("Theme: {theme}")}
                title="Light, dark, or as the system has it"
                onclick={act(Action::Theme(props.theme.next()))}>
                <span class="word">{ "Theme: " }</span>{ theme }
            </button>
            <button type="button" class="quiet keys" onclick={act(Action::Help(true))}
                title="The list of keys (?)">{ "Keys" }</button>
        </header>
    }
}

fn run_button(props: &Props) -> Html {
    let order = |order: Order| {
        let emit = props.order.clone();
        move |_: MouseEvent| emit.emit(order.clone())
    };
    if props.run.as_ref().is_some_and(Run::is_live) {
        html! {
            <button type="button" class="stop" onclick={order(Order::Stop)}>{ "Stop" }</button>
        }
    } else {
        html! {
            <button type="button" class="run" disabled={!props.can_start}
                onclick={order(Order::Start)}>
                { if props.starting { "Starting \u{2026}" } else { "Run" } }
            </button>
        }
    }
}

/// What a recorded run can be taken away as; the server makes it.
fn exports(run: Option<&Run>) -> Html {
    let Some(run) = run.filter(|run| run.can_replay()) else {
        return Html::default();
    };
    let link = |(format, text): &(&'static str, &'static str)| {
        let address = format!("/api/runs/{}/export/{format}", encode(&run.id));
        html! { <li><a href={address} download="">{ *text }</a></li> }
    };
    // A relay has no packets for a capture.
    let first = usize::from(!run.has_packets());
    html! {
        <>
            <button type="button" class="quiet export" popovertarget="exports"
                title="Take the run away as a file">{ "Export" }</button>
            <ul id="exports" class="menu" popover="auto">
                { for EXPORTS[first..].iter().map(link) }
            </ul>
        </>
    }
}

fn link_class(link: Link) -> &'static str {
    match link {
        Link::Live => "live",
        Link::Replay => "replay",
        Link::Queued | Link::Connecting => "waiting",
        Link::Reconnecting => "warning",
        Link::Offline | Link::Outdated | Link::Lost => "trouble",
    }
}
