//! The diagram as one sees and handles it: a scrolling place with a spacer as high as the whole
//! run, and in it an `<svg>` that stays put and is painted with what the window shows.
//!
//! While a run is going on it is painted once a frame, otherwise only when something changed.

use std::{cell::Cell, rc::Rc};

use gloo_events::{EventListener, EventListenerOptions};
use linger_shared::{
    diagram::{self, TimeScale, layout},
    event::HostName,
    protocol::RunState,
};
use wasm_bindgen::{JsCast, closure::Closure};
use web_sys::{Element, KeyboardEvent, MouseEvent, ResizeObserver, WheelEvent};
use yew::prelude::*;

use super::{
    hit::nearest,
    paint::{self, Marked},
    summary,
};
use crate::{
    services::{frames::Frames, measure::FontMeasure, page},
    state::{
        app::{Action, App},
        record::Shared,
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

/// How far one notch of a wheel with Control held zooms, per pixel of its own scrolling.
const WHEEL_ZOOM: f64 = 0.002;

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

/// What listeners outside of Yew need to know of the last frame.
#[derive(Default)]
struct Geometry {
    /// The scroll position that was set last.
    set: Cell<f64>,
    /// The content pixel that was at the window's top in the last frame.
    top: Cell<f64>,
    /// Content pixels for one pixel of scrolling.
    step: Cell<f64>,
    follows: Cell<bool>,
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
    use_painting_while(run.state() == Some(RunState::Running) && !view.is_paused());
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
    geometry.follows.set(view.follows());
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
        0 if !run.is_live() => return Html::default(),
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

/// Sets the scroll position, where the user has not brought it there already.
fn place(scroller: &NodeRef, geometry: &Geometry, wanted: f64) {
    let Some(scroller) = scroller.cast::<Element>() else {
        return;
    };
    if (geometry.set.get() - wanted).abs() >= 1.0 {
        scroller.set_scroll_top(wanted as i32);
        // The browser has the last word, so it is asked.
        geometry.set.set(f64::from(scroller.scroll_top()));
    }
}

/// Repaints in every frame while `moving`.
#[hook]
fn use_painting_while(moving: bool) {
    let redraw = use_force_update();
    use_effect_with(moving, move |moving| {
        let frames = moving.then(|| Frames::start(move |_| redraw.force_update()));
        move || drop(frames)
    });
}

/// Measures text in the font of the picture, as soon as there is a picture.
#[hook]
fn use_font(svg: &NodeRef, measure: &Rc<std::cell::RefCell<FontMeasure>>) {
    let (svg, measure) = (svg.clone(), measure.clone());
    use_effect_with((), move |()| {
        if let Some(svg) = svg.cast::<Element>() {
            *measure.borrow_mut() = FontMeasure::of(&svg);
        }
    });
}

/// Reports sizes, scrolling and zooming by wheel.
#[hook]
fn use_handling(scroller: &NodeRef, geometry: &Rc<Geometry>, look: &Callback<ViewAction>) {
    let (scroller, geometry, look) = (scroller.clone(), geometry.clone(), look.clone());
    use_effect_with((), move |()| {
        let handles = scroller.cast::<Element>().map(|element| {
            let listeners = [
                on_scroll(&element, &geometry, &look),
                on_wheel(&element, &geometry, &look),
                on_touch(&element, &geometry, &look),
            ];
            (listeners, watch_size(&element, look))
        });
        move || {
            if let Some((_, Some((observer, _closure)))) = &handles {
                observer.disconnect();
            }
            drop(handles);
        }
    });
}

fn on_scroll(
    element: &Element,
    geometry: &Rc<Geometry>,
    look: &Callback<ViewAction>,
) -> EventListener {
    let (scroller, geometry, look) = (element.clone(), geometry.clone(), look.clone());
    EventListener::new(element, "scroll", move |_| {
        let top = f64::from(scroller.scroll_top());
        let moved = top - geometry.set.get();
        if moved.abs() >= 1.0 {
            geometry.set.set(top);
            look.emit(ViewAction::Scrolled {
                to: geometry.top.get() + moved * geometry.step.get(),
            });
        }
    })
}

/// Lets a window that follows go as soon as the user pulls at it: otherwise each frame would put
/// it back before the browser's scrolling got anywhere.
fn let_go(geometry: &Geometry, look: &Callback<ViewAction>) {
    if geometry.follows.get() && geometry.top.get() > 0.0 {
        look.emit(ViewAction::Scrolled {
            to: geometry.top.get() - 4.0,
        });
    }
}

fn on_wheel(
    element: &Element,
    geometry: &Rc<Geometry>,
    look: &Callback<ViewAction>,
) -> EventListener {
    let (scroller, geometry, look) = (element.clone(), geometry.clone(), look.clone());
    let options = EventListenerOptions::enable_prevent_default();
    EventListener::new_with_options(element, "wheel", options, move |event| {
        let Some(event) = event.dyn_ref::<WheelEvent>() else {
            return;
        };
        if event.ctrl_key() {
            event.prevent_default();
            let top = scroller.get_bounding_client_rect().top();
            look.emit(ViewAction::Zoom {
                factor: (-event.delta_y() * WHEEL_ZOOM).exp(),
                anchor: Some(f64::from(event.client_y()) - top),
            });
        } else if event.delta_y() < 0.0 {
            let_go(&geometry, &look);
        }
    })
}

fn on_touch(
    element: &Element,
    geometry: &Rc<Geometry>,
    look: &Callback<ViewAction>,
) -> EventListener {
    let (geometry, look) = (geometry.clone(), look.clone());
    EventListener::new(element, "touchmove", move |_| let_go(&geometry, &look))
}

type Sizes = (ResizeObserver, Closure<dyn FnMut()>);

fn watch_size(element: &Element, look: Callback<ViewAction>) -> Option<Sizes> {
    let observed = element.clone();
    let closure = Closure::<dyn FnMut()>::new(move || {
        let (width, height) = (observed.client_width(), observed.client_height());
        // Out of sight (another tab on a narrow screen) is no size.
        if width > 0 && height > 0 {
            look.emit(ViewAction::Resized {
                width: f64::from(width),
                height: f64::from(height),
            });
        }
    });
    let observer = ResizeObserver::new(closure.as_ref().unchecked_ref()).ok()?;
    observer.observe(element);
    Some((observer, closure))
}
