//! A callback for every frame that the browser paints, for as long as it is wanted.

use std::{cell::RefCell, rc::Rc};

use wasm_bindgen::{JsCast, closure::Closure};

/// Calls back once per frame until it is dropped.
pub struct Frames {
    running: Rc<RefCell<Running>>,
}

#[derive(Default)]
struct Running {
    tick: Option<Closure<dyn FnMut(f64)>>,
    request: Option<i32>,
}

impl Frames {
    /// Starts; `on_frame` is given the time of the frame in milliseconds, on the clock of
    /// `performance.now()`.
    pub fn start(on_frame: impl Fn(f64) + 'static) -> Self {
        let running = Rc::new(RefCell::new(Running::default()));
        let weak = Rc::downgrade(&running);
        let tick = Closure::new(move |now| {
            if let Some(running) = weak.upgrade() {
                request(&running);
                on_frame(now);
            }
        });
        running.borrow_mut().tick = Some(tick);
        request(&running);
        Self { running }
    }
}

impl Drop for Frames {
    fn drop(&mut self) {
        let mut running = self.running.borrow_mut();
        if let (Some(window), Some(request)) = (web_sys::window(), running.request.take()) {
            // A frame that has begun cannot be taken back; its weak reference finds nothing.
            let _ = window.cancel_animation_frame(request);
        }
    }
}

fn request(running: &Rc<RefCell<Running>>) {
    let mut running = running.borrow_mut();
    running.request = running.tick.as_ref().and_then(|tick| {
        web_sys::window()?
            .request_animation_frame(tick.as_ref().unchecked_ref())
            .ok()
    });
}
