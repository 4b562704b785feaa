//! The run's event stream, kept up: it reconnects with growing pauses, resumes at the next event
//! that it lacks, and takes a silent server for dead after `SILENCE_LIMIT_MS`.
//!
//! Each attempt first asks for the run itself, which tells a run that is gone from a server that
//! is away. What arrives is handed on in order, without gap or repetition.

use std::{cell::RefCell, rc::Rc};

use gloo_events::EventListener;
use gloo_timers::callback::Timeout;
use linger_shared::protocol::{PROTOCOL_VERSION, SILENCE_LIMIT_MS, STREAM_PATH, StreamMessage};
use wasm_bindgen::JsCast;
use wasm_bindgen_futures::spawn_local;
use web_sys::{MessageEvent, WebSocket};
use yew::Callback;

use super::{api, page};
use crate::state::{
    route::encode,
    stream::{Batch, Report, judge, pause_ms},
};

/// A stream that is kept up until the run is over or this is dropped.
pub struct Stream {
    inner: Rc<RefCell<Inner>>,
    _online: Option<EventListener>,
}

struct Inner {
    run: String,
    /// The number of the next event that is lacking.
    next: u64,
    failures: u32,
    /// Counts attempts, so that what an older one still reports is passed over.
    attempt: u64,
    over: bool,
    socket: Option<Socket>,
    /// The pause before the next attempt, or the limit of the present silence.
    timer: Option<Timeout>,
    on_report: Callback<Report>,
}

/// A socket with its listeners; closed when dropped.
struct Socket {
    socket: WebSocket,
    _listeners: [EventListener; 3],
}

impl Drop for Socket {
    fn drop(&mut self) {
        // Closing what is closed already is no error that matters.
        let _ = self.socket.close();
    }
}

impl Stream {
    /// Opens the stream of a run from its first event.
    pub fn open(run: &str, on_report: Callback<Report>) -> Self {
        let inner = Rc::new(RefCell::new(Inner {
            run: run.to_owned(),
            next: 0,
            failures: 0,
            attempt: 0,
            over: false,
            socket: None,
            timer: None,
            on_report,
        }));
        attempt(&inner);
        let weak = Rc::downgrade(&inner);
        let online = web_sys::window().map(|window| {
            EventListener::new(&window, "online", move |_| {
                // The pause was meant for a server that is away; the network is back now.
                if let Some(inner) = weak.upgrade()
                    && inner.borrow().socket.is_none()
                {
                    attempt(&inner);
                }
            })
        });
        Self {
            inner,
            _online: online,
        }
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        self.inner.borrow_mut().close();
    }
}

impl Inner {
    fn close(&mut self) {
        self.over = true;
        self.attempt += 1;
        self.socket = None;
        self.timer = None;
    }
}

fn report(inner: &Rc<RefCell<Inner>>, report: Report) {
    let on_report = inner.borrow().on_report.clone();
    on_report.emit(report);
}

/// Asks for the run, then opens a socket.
fn attempt(inner: &Rc<RefCell<Inner>>) {
    let (run, number) = {
        let mut this = inner.borrow_mut();
        if this.over {
            return;
        }
        this.attempt += 1;
        this.socket = None;
        this.timer = None;
        (this.run.clone(), this.attempt)
    };
    let inner = inner.clone();
    watch_silence(&inner, number);
    spawn_local(async move {
        let answer = api::run(&run).await;
        if inner.borrow().attempt != number {
            return;
        }
        match answer {
            Ok(info) => {
                let info = Box::new(info);
                let page_ms = page::now_ms();
                report(&inner, Report::Run { info, page_ms });
                connect(&inner, number);
            }
            Err(trouble) if matches!(trouble.status, Some(400..=499)) => {
                inner.borrow_mut().close();
                report(&inner, Report::Refused(trouble));
            }
            Err(_) => down(&inner, number),
        }
    });
}

fn connect(inner: &Rc<RefCell<Inner>>, number: u64) {
    let Some(url) = url(&inner.borrow()) else {
        return down(inner, number);
    };
    let Ok(socket) = WebSocket::new(&url) else {
        return down(inner, number);
    };
    let on_message = {
        let inner = Rc::downgrade(inner);
        EventListener::new(&socket, "message", move |event| {
            let text = event
                .dyn_ref::<MessageEvent>()
                .and_then(|event| event.data().as_string());
            if let (Some(inner), Some(text)) = (inner.upgrade(), text) {
                receive(&inner, number, &text);
            }
        })
    };
    let on_end = |name: &'static str| {
        let inner = Rc::downgrade(inner);
        EventListener::new(&socket, name, move |_| {
            if let Some(inner) = inner.upgrade() {
                down(&inner, number);
            }
        })
    };
    let listeners = [on_message, on_end("close"), on_end("error")];
    inner.borrow_mut().socket = Some(Socket {
        socket,
        _listeners: listeners,
    });
    watch_silence(inner, number);
}

fn url(inner: &Inner) -> Option<String> {
    let location = web_sys::window()?.location();
    let scheme = if location.protocol().ok()? == "https:" {
        "wss"
    } else {
        "ws"
    };
    Some(format!(
        "{scheme}://{}{STREAM_PATH}/{}?from={}",
        location.host().ok()?,
        encode(&inner.run),
        inner.next
    ))
}

fn receive(inner: &Rc<RefCell<Inner>>, number: u64, text: &str) {
    if inner.borrow().attempt != number {
        return;
    }
    let Ok(mut message) = serde_json::from_str::<StreamMessage>(text) else {
        // A message that cannot be read comes from a server with other words than this page.
        inner.borrow_mut().close();
        return report(inner, Report::Outdated);
    };
    watch_silence(inner, number);
    match &mut message {
        StreamMessage::Hello {
            protocol_version, ..
        } => {
            if *protocol_version != PROTOCOL_VERSION {
                inner.borrow_mut().close();
                return report(inner, Report::Outdated);
            }
            inner.borrow_mut().failures = 0;
        }
        StreamMessage::Events { events, .. } => {
            let expected = inner.borrow().next;
            match judge(expected, events) {
                Batch::Take { skip } => {
                    events.drain(..skip);
                    inner.borrow_mut().next = expected + events.len() as u64;
                }
                // The next attempt asks from the number that is lacking.
                Batch::Gap { .. } => return down(inner, number),
            }
        }
        StreamMessage::Alive { .. } => {}
        StreamMessage::End { .. } => inner.borrow_mut().close(),
    }
    report(
        inner,
        Report::Message {
            message: Box::new(message),
            page_ms: page::now_ms(),
        },
    );
}

/// Gives the present attempt up when nothing is heard for too long.
fn watch_silence(inner: &Rc<RefCell<Inner>>, number: u64) {
    let weak = Rc::downgrade(inner);
    let timer = Timeout::new(SILENCE_LIMIT_MS, move || {
        if let Some(inner) = weak.upgrade() {
            down(&inner, number);
        }
    });
    inner.borrow_mut().timer = Some(timer);
}

/// Ends an attempt and plans the next one.
fn down(inner: &Rc<RefCell<Inner>>, number: u64) {
    let failures = {
        let mut this = inner.borrow_mut();
        if this.over || this.attempt != number {
            return;
        }
        this.attempt += 1;
        this.socket = None;
        this.failures += 1;
        let weak = Rc::downgrade(inner);
        this.timer = Some(Timeout::new(
            pause_ms(this.failures, js_sys::Math::random()),
            move || {
                if let Some(inner) = weak.upgrade() {
                    attempt(&inner);
                }
            },
        ));
        this.failures
    };
    report(
        inner,
        Report::Down {
            failures,
            online: page::is_online(),
        },
    );
}
