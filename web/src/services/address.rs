//! The page's address: read, pushed, replaced, and listened to.

use gloo_events::EventListener;
use wasm_bindgen::JsValue;
use yew::Callback;

use crate::state::route::Route;

/// Where the browser stands; `Home` outside a browser.
pub fn current() -> Route {
    let read = || {
        let location = web_sys::window()?.location();
        Some(Route::parse(
            &location.pathname().ok()?,
            &location.search().ok()?,
        ))
    };
    if cfg!(target_arch = "wasm32") {
        read().unwrap_or(Route::Home)
    } else {
        Route::Home
    }
}

/// Makes the browser's address that of a route: as a new step in its history, or instead of the
/// present one where only a value changed. Does nothing where it is the address already.
pub fn show(route: &Route) {
    let present = current();
    if present == *route {
        return;
    }
    let Some(history) = web_sys::window().and_then(|window| window.history().ok()) else {
        return;
    };
    let url = route.url();
    // A browser refuses when a page changes its address too often; the next change will repair it.
    let _ = if present.same_place(route) {
        history.replace_state_with_url(&JsValue::NULL, "", Some(&url))
    } else {
        history.push_state_with_url(&JsValue::NULL, "", Some(&url))
    };
}

/// Reports each time the user goes back or forth in the history; ends when dropped.
pub fn listen(on_change: Callback<Route>) -> Option<EventListener> {
    let window = web_sys::window()?;
    Some(EventListener::new(&window, "popstate", move |_| {
        on_change.emit(current());
    }))
}
