//! The page as a whole: its clock, its theme, its title, its keyboard, and whether it is online.

use gloo_events::{EventListener, EventListenerOptions};
use js_sys::Date;
use wasm_bindgen::{JsCast, JsValue};
use web_sys::{Element, HtmlElement, KeyboardEvent};
use yew::Callback;

use crate::state::keys::{self, Command, Focus, Stroke};

/// Milliseconds since the page was opened, on the clock of animation frames; 0 outside a browser.
pub fn now_ms() -> f64 {
    if cfg!(target_arch = "wasm32") {
        web_sys::window()
            .and_then(|window| window.performance())
            .map_or(0.0, |performance| performance.now())
    } else {
        0.0
    }
}

/// Forces light or dark; `None` follows the system.
pub fn set_theme(theme: Option<&str>) {
    let root = web_sys::window()
        .and_then(|window| window.document())
        .and_then(|document| document.document_element());
    if let Some(root) = root {
        // Neither call fails for a valid attribute name.
        let _ = match theme {
            Some(theme) => root.set_attribute("data-theme", theme),
            None => root.remove_attribute("data-theme"),
        };
    }
}

/// The title of the window or tab.
pub fn set_title(title: &str) {
    if let Some(document) = web_sys::window().and_then(|window| window.document()) {
        document.set_title(title);
    }
}

/// A moment as the user's clock shows it: the time, and the day where that is not today. Empty
/// outside a browser.
pub fn local_time(unix_ms: u64) -> String {
    if !cfg!(target_arch = "wasm32") {
        return String::new();
    }
    let then = Date::new(&JsValue::from_f64(unix_ms as f64));
    let today = Date::new_0().to_date_string() == then.to_date_string();
    let time = format!("{:02}:{:02}", then.get_hours(), then.get_minutes());
    if today {
        return time;
    }
    // The form that ISO 8601 gives a day, which nobody takes for another one.
    let (year, month, day) = (then.get_full_year(), then.get_month() + 1, then.get_date());
    format!("{year}-{month:02}-{day:02} {time}")
}

/// Whether the browser believes that it has a network.
pub fn is_online() -> bool {
    web_sys::window().is_none_or(|window| window.navigator().on_line())
}

/// Reports every command given by keyboard; ends when dropped. `enabled` is asked at each stroke.
pub fn listen_to_keys(
    enabled: impl Fn() -> bool + 'static,
    on_command: Callback<Command>,
) -> Option<EventListener> {
    let window = web_sys::window()?;
    let options = EventListenerOptions::enable_prevent_default();
    Some(EventListener::new_with_options(
        &window,
        "keydown",
        options,
        move |event| {
            let Some(event) = event.dyn_ref::<KeyboardEvent>() else {
                return;
            };
            if event.default_prevented() || (event.key() == "Escape" && a_menu_is_open()) {
                return;
            }
            let stroke = Stroke {
                key: &event.key(),
                modified: event.ctrl_key() || event.meta_key() || event.alt_key(),
                focus: focus_of(event.target().and_then(|target| target.dyn_into().ok())),
            };
            if let Some(command) = keys::command(stroke, enabled()) {
                if command != Command::Escape {
                    event.prevent_default();
                }
                on_command.emit(command);
            }
        },
    ))
}

/// Whether there is a menu that the browser itself closes with Escape.
fn a_menu_is_open() -> bool {
    web_sys::window()
        .and_then(|window| window.document())
        .and_then(|document| document.query_selector(":popover-open").ok().flatten())
        .is_some()
}

fn focus_of(element: Option<Element>) -> Focus {
    let Some(element) = element else {
        return Focus::Elsewhere;
    };
    let is = |selector: &str| element.closest(selector).ok().flatten().is_some();
    let editable = element
        .dyn_ref::<HtmlElement>()
        .is_some_and(HtmlElement::is_content_editable);
    if editable || is("textarea, select, input:not([type=checkbox]):not([type=radio])") {
        Focus::Typing
    } else if is("button, a, summary, input, [role=button], [role=tab]") {
        Focus::Control
    } else {
        Focus::Elsewhere
    }
}

/// Puts the keyboard's attention on the first element that a selector finds.
pub fn focus(selector: &str) {
    let element = web_sys::window()
        .and_then(|window| window.document())
        .and_then(|document| document.query_selector(selector).ok().flatten())
        .and_then(|element| element.dyn_into::<HtmlElement>().ok());
    if let Some(element) = element {
        // An element that cannot take the focus leaves it where it was.
        let _ = element.focus();
    }
}
