//! The page: the one state, the services that feed it, and where each panel stands.

use std::{cell::Cell, rc::Rc};

use gloo_timers::callback::Interval;
use linger_shared::protocol::RunRequest;
use wasm_bindgen_futures::spawn_local;
use yew::prelude::*;

use crate::{
    diagram::canvas::Canvas,
    panels::{
        Order,
        actions::Actions,
        announcer::Announcer,
        catalogue::Catalogue,
        explanation::Explanation,
        help::Help,
        packet::SelectedPacket,
        packets::Packets,
        parameters::Parameters,
        player::Player,
        predictions::Predictions,
        recent::{self, Recent},
        sockets::Sockets,
        stage::{self, RunNotice},
        top_bar::TopBar,
        verdict::VerdictPanel,
    },
    services::{address, api, page, storage, stream::Stream},
    state::{
        app::{self, Action, Tab, Theme},
        replay::{Replay, ReplayAction},
        route::Route,
        run::Run,
    },
};

/// Names under which the browser keeps the user's choices.
const THEME: &str = "linger-theme";
const SHORTCUTS: &str = "linger-shortcuts";

/// How often a replay takes over the events whose time has come, in milliseconds. What is in flight
/// moves in every frame all the same.
const REPLAY_TICK_MS: u32 = 40;

type Dispatch = UseReducerDispatcher<app::App>;

/// The page. See the module.
#[component]
pub fn App() -> Html {
    let state = use_reducer(|| {
        app::App::new(
            address::current(),
            Theme::from_name(storage::read(THEME).as_deref()),
            storage::read(SHORTCUTS).as_deref() != Some("off"),
        )
    });
    let dispatch = state.dispatcher();
    use_server(&dispatch);
    use_address(&state, &dispatch);
    use_stream(&state, &dispatch);
    use_keys(&state, &dispatch);
    use_replay(&state, &dispatch);
    use_choices(&state);
    let order = {
        let (state, dispatch) = (state.clone(), dispatch.clone());
        Callback::from(move |order| carry_out(order, &state, &dispatch))
    };
    let tab = match state.tab {
        Tab::Diagram => "diagram",
        Tab::About => "about",
        Tab::Details => "details",
    };
    html! {
        <div class="page" data-tab={tab}>
            { top_bar(&state, &dispatch, &order) }
            { tabs(state.tab, &dispatch) }
            <main>
                { about(&state, &dispatch, &order) }
                { centre(&state, &dispatch, &order) }
                { details(&state) }
            </main>
            <Help open={state.help} shortcuts={state.shortcuts} dispatch={dispatch.clone()} />
            <Announcer news={news(&state)} />
        </div>
    }
}

fn news(state: &app::App) -> Option<AttrValue> {
    state.run.as_ref()?.news.clone().map(AttrValue::from)
}

fn title(state: &app::App) -> AttrValue {
    state
        .entry()
        .map(|entry| AttrValue::from(entry.descriptor.title.clone()))
        .unwrap_or(AttrValue::Static("Long-lived connections"))
}

fn top_bar(state: &app::App, dispatch: &Dispatch, order: &Callback<Order>) -> Html {
    html! {
        <TopBar
            title={title(state)}
            run={state.run.clone()}
            can_start={state.can_start()}
            starting={state.starting}
            theme={state.theme}
            dispatch={dispatch.clone()}
            order={order.clone()}
        />
    }
}

/// The regions of a narrow screen.
fn tabs(current: Tab, dispatch: &Dispatch) -> Html {
    let tab = |tab: Tab, text: &'static str| {
        let dispatch = dispatch.clone();
        html! {
            <button type="button" aria-pressed={(tab == current).to_string()}
                onclick={move |_| dispatch.dispatch(Action::Tab(tab))}>{ text }</button>
        }
    };
    html! {
        <nav class="tabs" aria-label="Regions">
            { tab(Tab::Diagram, "Diagram") }
            { tab(Tab::About, "Experiment") }
            { tab(Tab::Details, "Details") }
        </nav>
    }
}

fn about(state: &app::App, dispatch: &Dispatch, order: &Callback<Order>) -> Html {
    html! {
        <section class="about" aria-label="Experiment">
            <Catalogue
                catalogue={state.catalogue.clone()}
                search={state.search.clone()}
                experiment={state.experiment_id().map(|id| AttrValue::from(id.to_owned()))}
                dispatch={dispatch.clone()}
                order={order.clone()}
            />
            if let Some(entry) = state.entry() {
                <div class="experiment">
                    <p class="question">{ entry.descriptor.question.clone() }</p>
                    <Parameters
                        descriptor={entry.descriptor.clone()}
                        form={state.form.clone()}
                        can_start={state.can_start()}
                        dispatch={dispatch.clone()}
                        order={order.clone()}
                    />
                    <Explanation descriptor={entry.descriptor.clone()} />
                </div>
            }
            <Recent
                recent={state.recent.clone()}
                catalogue={state.catalogue.ready().cloned()}
                run={state.run.as_ref().map(|run| AttrValue::from(run.id.clone()))}
                dispatch={dispatch.clone()}
                order={order.clone()}
            />
        </section>
    }
}

fn centre(state: &app::App, dispatch: &Dispatch, order: &Callback<Order>) -> Html {
    let dismiss = {
        let dispatch = dispatch.clone();
        Callback::from(move |_| dispatch.dispatch(Action::Dismiss))
    };
    html! {
        <section class="centre" aria-label="Run">
            if let Some(why) = &state.trouble {
                { stage::refusal(why, dismiss) }
            }
            { match &state.run {
                Some(run) => of_run(run, state, dispatch, order),
                None => without_run(state),
            } }
        </section>
    }
}

fn without_run(state: &app::App) -> Html {
    match (&state.route, state.entry()) {
        (Route::Unknown { path }, _) => stage::nowhere(path),
        (_, Some(entry)) => {
            stage::invitation(&entry.descriptor.question, entry.unavailable.as_deref())
        }
        (Route::Experiment { id, .. }, None) if state.catalogue.ready().is_some() => {
            stage::nowhere(&format!("/e/{id}"))
        }
        _ => html! {
            <div class="empty">
                <p class="large" role="status">
                    { "Asking the server for its experiments \u{2026}" }
                </p>
            </div>
        },
    }
}

fn of_run(run: &Run, state: &app::App, dispatch: &Dispatch, order: &Callback<Order>) -> Html {
    let notice = html! {
        <RunNotice run={run.clone()} order={order.clone()} can_start={state.can_start()} />
    };
    let Some(record) = run.shown() else {
        return html! { <>{ notice }{ stage::waiting(run) }</> };
    };
    let (verdict, stopped, hosts, in_force) = {
        let record = record.borrow();
        let model = record.model();
        (
            model.verdict().cloned(),
            model
                .stopped()
                .map(|reason| AttrValue::from(reason.to_owned())),
            model
                .header()
                .hosts
                .iter()
                .map(|host| host.name)
                .collect::<Vec<_>>(),
            record.in_force().clone(),
        )
    };
    html! {
        <>
            { notice }
            if run.can_act() {
                <Actions {hosts} {in_force} order={order.clone()} />
            }
            <Canvas
                key={run.id.clone()}
                run={run.clone()}
                record={record.clone()}
                view={state.view.clone()}
                dispatch={dispatch.clone()}
            />
            if run.can_replay() {
                <Player run={run.clone()} dispatch={dispatch.clone()} />
            }
            <div class="dock">
                if let Some(verdict) = verdict {
                    <VerdictPanel {verdict} {stopped} />
                }
                <Packets record={record.clone()} selected={state.view.selected}
                    dispatch={dispatch.clone()} />
            </div>
        </>
    }
}

fn details(state: &app::App) -> Html {
    let run = state.run.as_ref();
    html! {
        <section class="details" aria-label="Details" tabindex="0">
            if let Some((run, record)) = run.and_then(|run| Some((run, run.shown()?))) {
                <SelectedPacket record={record.clone()} selected={state.view.selected} />
                <Sockets run={run.clone()} record={record.clone()} />
                <Predictions record={record.clone()} />
            } else {
                <section class="panel">
                    <h2>{ "Details" }</h2>
                    <p class="hint">
                        { "While a run goes on, the selected packet and both hosts' sockets \
                           are shown here." }
                    </p>
                </section>
            }
            { machine(state) }
        </section>
    }
}

/// What runs the experiments, in small print.
fn machine(state: &app::App) -> Html {
    let Some(doctor) = &state.doctor else {
        return Html::default();
    };
    let missing = doctor.checks.iter().filter(|check| !check.ok);
    html! {
        <section class="panel machine">
            <h2>{ "This laboratory" }</h2>
            <p>{ format!("Linger {} on {}, mode: {}", doctor.version, doctor.system,
                doctor.mode.as_str()) }</p>
            <ul>
                { for missing.map(|check| html! {
                    <li>
                        <strong>{ check.name.clone() }</strong>
                        { format!(": {}. {}", check.found, check.remedy) }
                    </li>
                }) }
            </ul>
        </section>
    }
}

/// Does what only the server can do.
fn carry_out(order: Order, state: &app::App, dispatch: &Dispatch) {
    let dispatch = dispatch.clone();
    let run = state.run.as_ref().map(|run| run.id.clone());
    match order {
        Order::Start => {
            let Some(entry) = state.entry().filter(|_| state.can_start()) else {
                return;
            };
            let request = RunRequest {
                experiment: entry.descriptor.id.clone(),
                params: state.form.values(&entry.descriptor),
                seed: None,
                mode: None,
            };
            dispatch.dispatch(Action::Starting);
            spawn_local(async move {
                let answer = api::start(&request).await.map(Box::new);
                let page_ms = page::now_ms();
                dispatch.dispatch(Action::Started { answer, page_ms });
            });
        }
        Order::Stop => {
            if let Some(id) = run {
                dispatch.dispatch(Action::Dismiss);
                report_refusal(dispatch, async move { api::stop(&id).await });
            }
        }
        Order::Act(action) => {
            if let Some(id) = run {
                // What an earlier attempt met says nothing of this one.
                dispatch.dispatch(Action::Dismiss);
                report_refusal(dispatch, async move { api::act(&id, action).await });
            }
        }
        Order::Delete(id) => {
            dispatch.dispatch(Action::Dismiss);
            spawn_local(async move {
                let answer = match api::delete(&id).await {
                    // Somebody else was first; it is gone all the same.
                    Err(trouble) if trouble.status != Some(404) => Action::Refused(trouble),
                    _ => Action::Deleted(id),
                };
                dispatch.dispatch(answer);
                page::focus(recent::HEADING);
            });
        }
        Order::AskCatalogue => {
            dispatch.dispatch(Action::AskCatalogue);
            ask_catalogue(dispatch);
        }
    }
}

fn report_refusal(
    dispatch: Dispatch,
    request: impl Future<Output = Result<(), crate::state::load::Trouble>> + 'static,
) {
    spawn_local(async move {
        if let Err(trouble) = request.await {
            dispatch.dispatch(Action::Refused(trouble));
        }
    });
}

fn ask_catalogue(dispatch: Dispatch) {
    spawn_local(async move {
        dispatch.dispatch(Action::Catalogue(api::experiments().await));
    });
}

/// Asks once for what the server has.
#[hook]
fn use_server(dispatch: &Dispatch) {
    let dispatch = dispatch.clone();
    use_effect_with((), move |()| {
        ask_catalogue(dispatch.clone());
        spawn_local(async move {
            // The machine's report is small print; without it nothing is missing.
            if let Ok(doctor) = api::doctor().await {
                dispatch.dispatch(Action::Doctor(doctor));
            }
        });
    });
}

/// Keeps the browser's address and title in step with the state, and follows its history. When a
/// run begins or ends, the list of recent runs is asked for again.
#[hook]
fn use_address(state: &UseReducerHandle<app::App>, dispatch: &Dispatch) {
    use_effect_with(state.route.clone(), address::show);
    use_effect_with(title(state), |title| {
        page::set_title(&format!("{title} \u{2013} Linger"));
    });
    let listening = dispatch.clone();
    use_effect_with((), move |()| {
        let listener = address::listen(Callback::from(move |route| {
            listening.dispatch(Action::Navigate(route));
        }));
        move || drop(listener)
    });
    let dispatch = dispatch.clone();
    let stands = state.run.as_ref().map(|run| (run.id.clone(), run.state()));
    use_effect_with(stands, move |_| {
        spawn_local(async move {
            // Only a convenience; the catalogue says when the server is away.
            if let Ok(runs) = api::runs().await {
                dispatch.dispatch(Action::Recent(runs));
            }
        });
    });
}

/// Keeps the event stream of the run that is shown.
#[hook]
fn use_stream(state: &UseReducerHandle<app::App>, dispatch: &Dispatch) {
    let dispatch = dispatch.clone();
    let id = state.run.as_ref().map(|run| run.id.clone());
    use_effect_with(id, move |id| {
        let stream = id.clone().map(|run| {
            let id = run.clone();
            let on_report = Callback::from(move |report| {
                let run = run.clone();
                dispatch.dispatch(Action::Stream { run, report });
            });
            Stream::open(&id, on_report)
        });
        move || drop(stream)
    });
}

/// Lets a replay go on while it is played.
#[hook]
fn use_replay(state: &UseReducerHandle<app::App>, dispatch: &Dispatch) {
    let dispatch = dispatch.clone();
    let replay = state.run.as_ref().and_then(|run| run.replay.as_ref());
    let playing = replay.is_some_and(Replay::is_playing);
    use_effect_with(playing, move |playing| {
        let ticks = playing.then(|| {
            Interval::new(REPLAY_TICK_MS, move || {
                let (action, page_ms) = (ReplayAction::Tick, page::now_ms());
                dispatch.dispatch(Action::Replay { action, page_ms });
            })
        });
        move || drop(ticks)
    });
}

#[hook]
fn use_keys(state: &UseReducerHandle<app::App>, dispatch: &Dispatch) {
    let enabled = use_memo((), |()| Cell::new(true));
    enabled.set(state.shortcuts);
    let dispatch = dispatch.clone();
    use_effect_with((), move |()| {
        let listener = page::listen_to_keys(
            {
                let enabled: Rc<Cell<bool>> = enabled;
                move || enabled.get()
            },
            Callback::from(move |command| {
                let page_ms = page::now_ms();
                dispatch.dispatch(Action::Command { command, page_ms });
            }),
        );
        move || drop(listener)
    });
}

/// Applies the user's choices and keeps them for the next visit.
#[hook]
fn use_choices(state: &UseReducerHandle<app::App>) {
    use_effect_with(state.theme, |theme| {
        page::set_theme(theme.name());
        storage::write(THEME, theme.name());
    });
    use_effect_with(state.shortcuts, |on| {
        storage::write(SHORTCUTS, (!on).then_some("off"));
    });
}
