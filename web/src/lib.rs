//! Linger's page: it draws the events of a run while they happen.
//!
//! [`state`] says what the page knows and how that changes, in pure reducers; [`services`] are all
//! of its calls to the browser; [`diagram`] paints a scene as SVG; the panels around it are in
//! `panels`. What a picture contains is worked out by `linger_shared::diagram`. Everything but the
//! services also works natively, for the tests.

pub mod app;
pub mod diagram;
mod panels;
pub mod services;
pub mod state;

/// Puts the page into the element `#app`, which until then says what is being loaded.
pub fn start() {
    let place = web_sys::window()
        .and_then(|window| window.document())
        .and_then(|document| document.get_element_by_id("app"));
    if let Some(place) = place {
        place.set_inner_html("");
        yew::Renderer::<app::App>::with_root(place).render();
    }
}
