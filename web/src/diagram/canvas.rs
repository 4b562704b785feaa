//! The diagram as one sees and handles it: a scrolling place with a spacer as high as the whole
//! run, and in it an `<svg>` that stays put and is painted with what the window shows.
//!
//! While a run is going on it is painted once a frame, otherwise only when something changed.

use std::rc::Rc;

use linger_shared::{
    diagram::{self, TimeScale, layout},
    event::HostName,
    protocol::RunState,
};
use wasm_bindgen::JsCast;
use web_sys::{Element, KeyboardEvent, MouseEvent};
use yew::prelude::*;

use super::{
    handling::{Geometry, place, use_font, use_handling, use_painting_while},
    hit::nearest,
    paint::{self, Marked},
    summary,
};
use crate::{
    services::{measure::FontMeasure, page},
    state::{
        app::{Action, App},
        record::Shared,
        replay::Replay,
        run::Run,
        view::{View, ViewAction, ZOOM_STEP},
    },
};

/// Browsers do not scroll elements much higher than this; a run whose picture is higher scrolls
/// in larger steps.
const HIGHEST_PX: f64 = 8_000_000.0;

/// While the window follows, the scroll bar moves in steps of so many pixels: moving it in every
/// frame would cost a layout of the page in every frame.
const FOLLOWING_STEP_PX: f64 = 240.0;

/// What the diagram is made from.
#[derive(Properties, PartialEq)]
pub(crate) struct Props {
    /// The run.
    pub(crate) run: Run,
    /// Its record.
    pub(crate) record: Shared,
    /// The window.
    pub(crate) view: View,
    /// Where what the user does goes.
    pub(crate) dispatch: UseReducerDispatcher<App>,
}

/// The diagram. See the module.
#[component]
pub(crate) fn Canvas(props: &Props) -> Html {
    let (run, view) = (&props.run, &props.view);
    let scroller = use_node_ref();
    let svg = use_node_ref();
    let measure = use_mut_ref(|| FontMeasure::estimate(12.0));
    let arrows = use_mut_ref(Vec::new);
    let geometry: Rc<Geometry> = use_memo((), |()| Geometry::default());
    let hovered = use_state_eq(|| None::<u64>);
    let look = {
        let dispatch = props.dispatch.clone();
        use_callback((), move |action, ()| {
            let page_ms = page::now_ms();
            dispatch.dispatch(Action::View { action, page_ms });
        })
    };
    let playing = run.replay.as_ref().is_some_and(Replay::is_playing);
    use_painting_while(playing || (run.state() == Some(RunState::Running) && !view.is_paused()));
    use_font(&svg, &measure);
    use_handling(&scroller, &geometry, &look);

    let record = props.record.borrow();
    let model = record.model();
    let present = view.present(run.now_us(page::now_ms()));
    let px_per_ms = view.px_per_ms(model);
    let content = TimeScale::new(model, px_per_ms, view.opened(), present).height();
    let scroll = view.top(content);
    let scene = layout(
        model,
        &diagram::View {
            width: view.width,
            height: view.height,
            scroll,
            px_per_ms,
            opened: view.opened().clone(),
            now_us: present,
        },
        &*measure.borrow(),
    );
    let spacer = spacer(content, view);
    let reach = (spacer - view.height).max(1.0);
    let lowest = (content - view.height).max(1.0);
    geometry.step.set(lowest.max(reach) / reach);
    geometry.top.set(scroll);
    geometry.follows.set(view.follows() && run.moves());
    let wanted = if view.follows() {
        spacer - view.height
    } else {
        scroll / geometry.step.get()
    };
    let placed = scroller.clone();
    use_effect_with((wanted.round(), view.height), move |(wanted, _)| {
        place(&placed, &geometry, *wanted);
    });
    let shown = hovered.or(view.selected);
    let readout = shown
        .and_then(|id| model.packet(id))
        .map(diagram::description);
    arrows.borrow_mut().clone_from(&scene.arrows);

    let at_pointer = {
        let (svg, arrows) = (svg.clone(), arrows);
        move |event: &MouseEvent| {
            let bounds = svg.cast::<Element>()?.get_bounding_client_rect();
            let place = diagram::scene::Point {
                x: f64::from(event.client_x()) - bounds.left(),
                y: f64::from(event.client_y()) - bounds.top(),
            };
            nearest(&arrows.borrow(), place).map(|arrow| arrow.id)
        }
    };
    let onpointermove = {
        let (at_pointer, hovered) = (at_pointer.clone(), hovered.clone());
        move |event: PointerEvent| hovered.set(at_pointer(&event))
    };
    let onpointerleave = {
        let hovered = hovered.clone();
        move |_: PointerEvent| hovered.set(None)
    };
    let onclick = {
        let look = look.clone();
        move |event: MouseEvent| {
            look.emit(match tear_of(event.target()) {
                Some(key) => ViewAction::Open { key },
                None => ViewAction::Select {
                    id: at_pointer(&event),
                },
            });
        }
    };
    let onkeydown = {
        let look = look.clone();
        move |event: KeyboardEvent| {
            if let ("Enter" | " ", Some(key)) = (event.key().as_str(), tear_of(event.target())) {
                event.prevent_default();
                look.emit(ViewAction::Open { key });
                // The tear is gone now; the keyboard goes on in the picture.
                page::focus(".scroller");
            }
        }
    };
    let marked = Marked {
        selected: view.selected,
        hovered: *hovered,
        related: shown.map(|id| model.related(id)).unwrap_or_default(),
    };
    html! {
        <section class="diagram" aria-label="Sequence diagram">
            { lanes(&scene) }
            <div class="scroller" ref={scroller} tabindex="0" role="region"
                aria-label="The run, from top to bottom">
                <div class="spacer" style={format!("height:{spacer:.0}px")}>
                    <svg
                        ref={svg}
                        class={classes!("window", hovered.map(|_| "pointing"))}
                        role="graphics-document document"
                        aria-roledescription="sequence diagram"
                        aria-labelledby="diagram-title"
                        aria-describedby="diagram-summary"
                        width={format!("{:.0}", view.width)}
                        height={format!("{:.0}", view.height)}
                        data-scroll={format!("{scroll:.0}")}
                        data-px-per-ms={px_per_ms.to_string()}
                        data-opened={view.opened().iter().map(u64::to_string)
                            .collect::<Vec<_>>().join(" ")}
                        {onpointermove}
                        {onpointerleave}
                        {onclick}
                        {onkeydown}
                    >
                        <title id="diagram-title">{ summary::title(model) }</title>
                        <desc id="diagram-summary">{ summary::summary(model) }</desc>
                        { paint::scene(&scene, scroll, &marked) }
                    </svg>
                </div>
            </div>
            { below(run, view, model, &look) }
            <div class="foot">
                <p class="readout">{ readout.unwrap_or_else(|| thinned(&scene)) }</p>
                { tools(view, &look) }
            </div>
        </section>
    }
}

/// The key of the tear that an event is about.
fn tear_of(target: Option<web_sys::EventTarget>) -> Option<u64> {
    target?
        .dyn_into::<Element>()
        .ok()?
        .closest(".tear")
        .ok()??
        .get_attribute("data-key")?
        .parse()
        .ok()
}

/// What is left out of the picture for want of room, in words.
fn thinned(scene: &diagram::scene::Scene) -> String {
    match (scene.hidden, scene.hidden_notes) {
        (0, 0) => String::new(),
        (arrows, 0) => format!("Too dense to draw all: {arrows} packets are left out. Zoom in."),
        (0, notes) => format!("Too dense to write all: {notes} notes are left out. Zoom in."),
        (arrows, notes) => format!(
            "Too dense to draw all: {arrows} packets and {notes} notes are left out. Zoom in."
        ),
    }
}

fn lanes(scene: &diagram::scene::Scene) -> Html {
    html! {
        <div class="lanes">
            { for scene.lanes.iter().map(|lane| {
                let side = match lane.host {
                    HostName::Client => "client",
                    HostName::Proxy => "proxy",
                    HostName::Server => "server",
                };
                html! {
                    <div key={side} class={classes!("lane", side)}
                        style={format!("left:{:.0}px", lane.x)}>
                        <strong>{ lane.title.clone() }</strong>
                        <span class="address">{ lane.address.clone() }</span>
                    </div>
                }
            }) }
        </div>
    }
}

fn tools(view: &View, look: &Callback<ViewAction>) -> Html {
    let button = |label: &'static str, text: &'static str, action: ViewAction| {
        let look = look.clone();
        html! {
            <button type="button" aria-label={label} title={label}
                onclick={move |_| look.emit(action)}>{ text }</button>
        }
    };
    let zoom = |factor| ViewAction::Zoom {
        factor,
        anchor: None,
    };
    html! {
        <div class="tools" role="group" aria-label="Zoom">
            { button("Zoom in (+)", "+", zoom(ZOOM_STEP)) }
            { button("Zoom out (-)", "\u{2212}", zoom(1.0 / ZOOM_STEP)) }
            { button("Fit the whole run into the window (F)", "Fit", ViewAction::Fit) }
            if !view.opened().is_empty() {
                { button("Cut out all idle time again", "Fold idle", ViewAction::CloseAll) }
            }
        </div>
    }
}

/// What is to be known of the part below the window: how much is new, or that the view is held.
fn below(run: &Run, view: &View, model: &diagram::Model, look: &Callback<ViewAction>) -> Html {
    let text = match view.unseen(model) {
        _ if view.follows() => return Html::default(),
        0 if !run.moves() => return Html::default(),
        0 if view.is_paused() => "View paused. Go live".to_owned(),
        0 => "Follow the newest".to_owned(),
        new if view.is_paused() => format!("View paused, {new} new below"),
        new => format!("{new} new below"),
    };
    let look = look.clone();
    html! {
        <button type="button" class="below" title="Go live (G)"
            onclick={move |_| look.emit(ViewAction::GoLive)}>{ text }</button>
    }
}

/// Height of what scrolls, for a picture of this height.
fn spacer(content: f64, view: &View) -> f64 {
    let height = if view.follows() {
        (content / FOLLOWING_STEP_PX).ceil() * FOLLOWING_STEP_PX
    } else {
        content
    };
    if content <= view.height {
        view.height
    } else {
        height.min(HIGHEST_PX)
    }
}
