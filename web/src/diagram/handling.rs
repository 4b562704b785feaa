//! What the user's hands do to the diagram, and what the browser does to it: scrolling, zooming by
//! wheel, sizes, frames. It knows of the picture no more than its [`Geometry`].

use std::{
    cell::{Cell, RefCell},
    rc::Rc,
};

use gloo_events::{EventListener, EventListenerOptions};
use wasm_bindgen::{JsCast, closure::Closure};
use web_sys::{Element, ResizeObserver, WheelEvent};
use yew::prelude::*;

use crate::{
    services::{frames::Frames, measure::FontMeasure},
    state::view::ViewAction,
};

/// How far one notch of a wheel with Control held zooms, per pixel of its own scrolling.
const WHEEL_ZOOM: f64 = 0.002;

/// What listeners outside of Yew need to know of the last frame.
#[derive(Default)]
pub(super) struct Geometry {
    /// The scroll position that was set last.
    pub(super) set: Cell<f64>,
    /// The content pixel that was at the window's top in the last frame.
    pub(super) top: Cell<f64>,
    /// Content pixels for one pixel of scrolling.
    pub(super) step: Cell<f64>,
    /// Whether the window follows the newest event of a run that goes on.
    pub(super) follows: Cell<bool>,
    /// Whether the user holds the scroll bar or a key down.
    held: Cell<bool>,
}

/// Sets the scroll position, where the user has not brought it there already.
pub(super) fn place(scroller: &NodeRef, geometry: &Geometry, wanted: f64) {
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
pub(super) fn use_painting_while(moving: bool) {
    let redraw = use_force_update();
    use_effect_with(moving, move |moving| {
        let frames = moving.then(|| Frames::start(move |_| redraw.force_update()));
        move || drop(frames)
    });
}

/// Measures text in the font of the picture, as soon as there is a picture.
#[hook]
pub(super) fn use_font(svg: &NodeRef, measure: &Rc<RefCell<FontMeasure>>) {
    let (svg, measure) = (svg.clone(), measure.clone());
    use_effect_with((), move |()| {
        if let Some(svg) = svg.cast::<Element>() {
            *measure.borrow_mut() = FontMeasure::of(&svg);
        }
    });
}

/// Reports sizes, scrolling and zooming by wheel.
#[hook]
pub(super) fn use_handling(
    scroller: &NodeRef,
    geometry: &Rc<Geometry>,
    look: &Callback<ViewAction>,
) {
    let (scroller, geometry, look) = (scroller.clone(), geometry.clone(), look.clone());
    use_effect_with((), move |()| {
        let handles = scroller.cast::<Element>().map(|element| {
            let listeners = [
                on_scroll(&element, &geometry, &look),
                on_wheel(&element, &geometry, &look),
                on_touch(&element, &geometry, &look),
            ];
            let holding = on_holding(&element, &geometry);
            (listeners, holding, watch_size(&element, look))
        });
        move || {
            if let Some((_, _, Some((observer, _closure)))) = &handles {
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
        if geometry.follows.get() && !geometry.held.get() {
            // The browser moves the window, too, when the picture becomes lower; only a user's hand
            // takes it away from the newest event.
            geometry.set.set(top);
            return;
        }
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

/// Whether the user holds anything that scrolls: the pointer on the scroll bar, or a key.
fn on_holding(element: &Element, geometry: &Rc<Geometry>) -> [EventListener; 5] {
    [
        ("pointerdown", true),
        ("pointerup", false),
        ("pointercancel", false),
        ("keydown", true),
        ("keyup", false),
    ]
    .map(|(event, held)| {
        let geometry = geometry.clone();
        EventListener::new(element, event, move |_| geometry.held.set(held))
    })
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
