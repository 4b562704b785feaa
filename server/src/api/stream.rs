//! The events of a run as a WebSocket: batches in order, resumable by sequence number.
//!
//! The stream reads the log by position, so a slow viewer falls behind and catches up, and never
//! holds up the run or another viewer. What is on its way to one viewer is bounded by a batch and
//! the socket's buffer.
//!
//! The connection keeps itself alive: it pings, and a viewer that does not answer in time, or does
//! not take a batch in time, is dropped (RFC 6455, section 5.5.2). A viewer in turn hears
//! [`StreamMessage::Alive`] while nothing happens, because a page cannot see pings. It has nothing
//! to say itself but pongs: one that sends messages or floods is closed (section 7.4.1).

use std::{sync::Arc, time::Duration};

use axum::{
    extract::ws::{CloseFrame, Message, WebSocket, WebSocketUpgrade, close_code},
    response::Response,
};
use futures_util::{
    FutureExt, Sink, SinkExt, StreamExt,
    stream::{SplitSink, SplitStream},
};
use linger_shared::protocol::{PROTOCOL_VERSION, RunState, StreamMessage};
use tokio::{
    sync::Notify,
    time::{Instant, sleep_until, timeout},
};

use super::{
    Pace, Shared,
    bucket::{Buckets, Rate},
    places::Place,
};
use crate::runs::{EventLog, Progress, store::StoreError};

/// The most events in one message.
const BATCH_EVENTS: usize = 256;

/// The most bytes of events in one message, unless a single event is larger.
const BATCH_BYTES: usize = 256 * 1024;

/// The largest message that is accepted from a viewer, in bytes. It has nothing to say but pongs.
const VIEWER_MESSAGE: usize = 4 * 1024;

/// How often a viewer may send pings and pongs. A browser answers one ping at a time.
const CONTROL_FRAMES: Rate = Rate {
    burst: 20,
    per_second: 2.0,
};

/// Accepts the viewer and serves it on a task of its own.
pub(super) fn answer(
    upgrade: WebSocketUpgrade,
    shared: Shared,
    log: Arc<EventLog>,
    from: u64,
    place: Place,
) -> Response {
    upgrade
        .max_message_size(VIEWER_MESSAGE)
        .max_frame_size(VIEWER_MESSAGE)
        .on_upgrade(move |socket| async move {
            let pace = shared.pace;
            let script = Script::new(log, from);
            serve(socket, script, pace).await;
            drop(place);
            // Dropped last: the server's end waits for it.
            drop(shared.open);
        })
}

/// Sends until the run is over, or until the viewer leaves or is dead.
async fn serve(socket: WebSocket, mut script: Script, pace: Pace) {
    let (mut to_viewer, mut from_viewer) = socket.split();
    let pongs = Notify::new();
    let farewell = tokio::select! {
        left = listen(&mut from_viewer, &pongs) => match left {
            Left::Gone => true,
            Left::Unwelcome(frame) => {
                let frame = Message::Close(Some(frame));
                send(&mut to_viewer, frame, pace.pong).await.is_ok()
            }
        },
        outcome = speak(&mut to_viewer, &mut script, pace, &pongs) => outcome.is_ok(),
    };
    if farewell {
        // The closing handshake is completed as the viewer's side of it is read.
        let _ = timeout(pace.pong, async {
            while let Some(Ok(_)) = from_viewer.next().await {}
        })
        .await;
    }
}

/// How a viewer stopped being one.
enum Left {
    /// It closed.
    Gone,
    /// It said what a viewer does not say, and is to be told so.
    Unwelcome(CloseFrame),
}

/// Reads until the viewer leaves or says what it should not; tells of every pong.
async fn listen(from_viewer: &mut SplitStream<WebSocket>, pongs: &Notify) -> Left {
    let control = Buckets::new(CONTROL_FRAMES);
    let unwelcome = |code, reason: &'static str| {
        Left::Unwelcome(CloseFrame {
            code,
            reason: reason.into(),
        })
    };
    loop {
        match from_viewer.next().await {
            None | Some(Ok(Message::Close(_))) => return Left::Gone,
            Some(Ok(Message::Text(_) | Message::Binary(_))) => {
                return unwelcome(close_code::POLICY, "a viewer only listens");
            }
            Some(Ok(frame @ (Message::Ping(_) | Message::Pong(_)))) => {
                if control.take((), Instant::now().into_std()).is_err() {
                    return unwelcome(close_code::POLICY, "too many pings or pongs");
                }
                if matches!(frame, Message::Pong(_)) {
                    pongs.notify_one();
                }
            }
            Some(Err(error)) => {
                // The library that reads frames is axum's own; its errors are told by their words.
                let cause = error.to_string();
                return if cause.contains("too long") {
                    unwelcome(close_code::SIZE, "a viewer has nothing long to say")
                } else if cause.contains("UTF-8") {
                    unwelcome(close_code::INVALID, "text is UTF-8")
                } else {
                    // Where the connection itself is broken, this is not sent.
                    unwelcome(close_code::PROTOCOL, "this is no WebSocket frame")
                };
            }
        }
    }
}

/// The viewer is gone: it did not answer, or did not take what was sent.
#[derive(Debug, PartialEq, Eq)]
struct Dead;

/// When the viewer was last pinged and when it has to have answered.
struct Pulse {
    pace: Pace,
    next_ping: Instant,
    pong_due: Option<Instant>,
}

impl Pulse {
    fn new(pace: Pace, now: Instant) -> Self {
        Self {
            pace,
            next_ping: now + pace.ping,
            pong_due: None,
        }
    }

    fn pinged(&mut self, now: Instant) {
        self.pong_due = Some(now + self.pace.pong);
    }

    fn answered(&mut self, now: Instant) {
        self.pong_due = None;
        self.next_ping = now + self.pace.ping;
    }

    /// The next moment at which there is something to do: ping, or give up.
    fn due(&self) -> Instant {
        self.pong_due.unwrap_or(self.next_ping)
    }
}

/// Sends what the script says, and pings; returns when the stream was closed after its end.
async fn speak(
    to_viewer: &mut SplitSink<WebSocket, Message>,
    script: &mut Script,
    pace: Pace,
    pongs: &Notify,
) -> Result<(), Dead> {
    let mut progress = script.log.subscribe();
    let mut pulse = Pulse::new(pace, Instant::now());
    let mut silent_since = Instant::now();
    // A viewer that takes nothing for this long would not have answered a ping either.
    let patience = pace.ping + pace.pong;
    loop {
        // Taken before the log is read: whatever comes later wakes this loop again.
        let now = *progress.borrow_and_update();
        let said = script.next(now).await.map_err(|error| unreadable(&error))?;
        if let Some(said) = said {
            send(to_viewer, Message::Text(said.text.into()), patience).await?;
            silent_since = Instant::now();
            if said.last {
                let frame = CloseFrame {
                    code: close_code::NORMAL,
                    reason: "the run is over".into(),
                };
                return send(to_viewer, Message::Close(Some(frame)), patience).await;
            }
            if pongs.notified().now_or_never().is_some() {
                pulse.answered(Instant::now());
            }
            if Instant::now() < pulse.due() {
                continue;
            }
        }
        tokio::select! {
            biased;
            () = pongs.notified() => pulse.answered(Instant::now()),
            () = sleep_until(pulse.due()) => {
                if pulse.pong_due.is_some() {
                    return Err(Dead);
                }
                send(to_viewer, Message::Ping(Default::default()), patience).await?;
                pulse.pinged(Instant::now());
            }
            () = sleep_until(silent_since + pace.alive) => {
                let text = script.alive(now);
                send(to_viewer, Message::Text(text.into()), patience).await?;
                silent_since = Instant::now();
            }
            changed = progress.changed() => changed.map_err(|_| Dead)?,
        }
    }
}

/// Nothing more can be told: the viewer is cut off, and learns when it comes back.
fn unreadable(error: &StoreError) -> Dead {
    eprintln!("linger: a viewer cannot be told more: {error}");
    Dead
}

async fn send<S: Sink<Message> + Unpin>(
    to_viewer: &mut S,
    message: Message,
    patience: Duration,
) -> Result<(), Dead> {
    match timeout(patience, to_viewer.send(message)).await {
        Ok(Ok(())) => Ok(()),
        Ok(Err(_)) | Err(_) => Err(Dead),
    }
}

/// What is to be said to one viewer, in its order: no events missing, none twice.
struct Script {
    log: Arc<EventLog>,
    next: u64,
    greeted: bool,
    header_told: bool,
    /// State and place in the queue as they were last told.
    told: (RunState, usize),
}

/// One message.
struct Said {
    text: String,
    /// Whether it is the last of the stream.
    last: bool,
}

impl Script {
    fn new(log: Arc<EventLog>, from: u64) -> Self {
        let progress = log.progress();
        Self {
            log,
            told: (progress.state, progress.queue_position),
            next: from,
            greeted: false,
            header_told: false,
        }
    }

    /// The next message, if there is something new; `progress` was taken before.
    async fn next(&mut self, progress: Progress) -> Result<Option<Said>, StoreError> {
        let greets = !self.greeted || (!self.header_told && self.log.header().is_some());
        if greets {
            return Ok(Some(self.hello()));
        }
        let lines = self.log.fetch(self.next, BATCH_EVENTS, BATCH_BYTES).await?;
        if !lines.is_empty() {
            self.next += lines.len() as u64;
            return Ok(Some(Said {
                text: events_message(&lines, self.log.now_us()),
                last: false,
            }));
        }
        if progress.state.is_over() {
            let end = StreamMessage::End {
                state: progress.state,
            };
            return Ok(Some(Said {
                text: json(&end),
                last: true,
            }));
        }
        if self.told != (progress.state, progress.queue_position) {
            return Ok(Some(Said {
                text: self.alive(progress),
                last: false,
            }));
        }
        Ok(None)
    }

    fn hello(&mut self) -> Said {
        let run = self.log.info();
        self.greeted = true;
        self.header_told = run.header.is_some();
        self.told = (run.state, run.queue_position);
        let hello = StreamMessage::Hello {
            protocol_version: PROTOCOL_VERSION,
            run: Box::new(run),
        };
        Said {
            text: json(&hello),
            last: false,
        }
    }

    fn alive(&mut self, progress: Progress) -> String {
        self.told = (progress.state, progress.queue_position);
        json(&StreamMessage::Alive {
            state: progress.state,
            queue_position: progress.queue_position,
            now_us: self.log.now_us(),
        })
    }
}

fn json(message: &StreamMessage) -> String {
    // Every field is a plain value with text keys, so this cannot fail.
    serde_json::to_string(message).unwrap_or_default()
}

/// [`StreamMessage::Events`], from events that are JSON already.
fn events_message(lines: &[Arc<str>], now_us: u64) -> String {
    let events = lines.join(",");
    format!(r#"{{"message":"events","events":[{events}],"now_us":{now_us}}}"#)
}

#[cfg(test)]
mod tests {
    use linger_shared::event::{Event, Fact, Observer};

    use super::*;

    fn event(seq: u64, text: &str) -> Event {
        Event {
            seq,
            at_us: seq * 10,
            seen_by: Observer::Experiment,
            fact: Fact::Remark {
                text: text.to_owned(),
            },
        }
    }

    fn log_of(count: u64) -> Arc<EventLog> {
        let log = EventLog::in_memory();
        log.append(&(0..count).map(|seq| event(seq, "x")).collect::<Vec<_>>());
        Arc::new(log)
    }

    fn script(log: &Arc<EventLog>, from: u64) -> Script {
        log.set_queue_position(2);
        Script::new(Arc::clone(log), from)
    }

    /// Everything that is to be said now.
    async fn all(script: &mut Script) -> Vec<StreamMessage> {
        let mut messages = Vec::new();
        while let Some(said) = script.next(script.log.progress()).await.unwrap() {
            messages.push(serde_json::from_str(&said.text).unwrap());
            if said.last {
                break;
            }
        }
        messages
    }

    fn numbers(messages: &[StreamMessage]) -> Vec<u64> {
        messages
            .iter()
            .flat_map(|message| match message {
                StreamMessage::Events { events, .. } => events.iter().map(|e| e.seq).collect(),
                _ => Vec::new(),
            })
            .collect()
    }

    #[tokio::test]
    async fn a_stream_greets_then_tells_every_event_from_where_it_was_asked() {
        let log = log_of(1_000);
        let mut script = script(&log, 300);
        let messages = all(&mut script).await;
        assert!(matches!(
            messages[0],
            StreamMessage::Hello {
                protocol_version: 1,
                ..
            }
        ));
        assert_eq!(numbers(&messages), (300..1_000).collect::<Vec<_>>());
        for message in &messages[1..] {
            let StreamMessage::Events { events, .. } = message else {
                panic!("{message:?}");
            };
            assert!(events.len() <= BATCH_EVENTS);
        }
        log.append(&[event(1_000, "later")]);
        assert_eq!(numbers(&all(&mut script).await), [1_000]);
        assert!(all(&mut script).await.is_empty());
    }

    #[tokio::test]
    async fn batches_are_bounded_in_bytes_but_a_large_event_is_sent() {
        let large = "y".repeat(BATCH_BYTES);
        let log = EventLog::in_memory();
        log.append(&[
            event(0, &large),
            event(1, &large),
            event(2, "x"),
            event(3, "x"),
        ]);
        let messages = all(&mut script(&Arc::new(log), 0)).await;
        let sizes: Vec<usize> = messages
            .iter()
            .filter_map(|message| match message {
                StreamMessage::Events { events, .. } => Some(events.len()),
                _ => None,
            })
            .collect();
        assert_eq!(sizes, [1, 1, 2]);
    }

    #[tokio::test]
    async fn a_viewer_may_wait_for_an_event_that_is_not_there_yet() {
        let log = log_of(3);
        let mut script = script(&log, 5);
        assert_eq!(all(&mut script).await.len(), 1);
        log.append(&(3..7).map(|seq| event(seq, "x")).collect::<Vec<_>>());
        assert_eq!(numbers(&all(&mut script).await), [5, 6]);
    }

    #[tokio::test]
    async fn the_end_comes_after_the_last_event() {
        let log = log_of(2);
        log.finish(RunState::Finished);
        let messages = all(&mut script(&log, 1)).await;
        assert_eq!(numbers(&messages), [1]);
        assert_eq!(
            messages.last(),
            Some(&StreamMessage::End {
                state: RunState::Finished
            })
        );
    }

    #[tokio::test]
    async fn a_change_of_the_queue_is_told_at_once() {
        let log = log_of(0);
        let mut script = script(&log, 0);
        assert_eq!(all(&mut script).await.len(), 1);
        let moved = Progress {
            queue_position: 1,
            ..log.progress()
        };
        let said = script.next(moved).await.unwrap().unwrap();
        assert!(said.text.contains(r#""queue_position":1"#), "{}", said.text);
        assert!(script.next(moved).await.unwrap().is_none());
    }

    #[test]
    fn a_ping_is_due_after_the_interval_and_its_answer_before_the_limit() {
        let pace = Pace::default();
        let start = Instant::now();
        let mut pulse = Pulse::new(pace, start);
        assert_eq!(pulse.due(), start + pace.ping);
        pulse.pinged(start + pace.ping);
        assert_eq!(pulse.due(), start + pace.ping + pace.pong);
        let answer = start + pace.ping + Duration::from_secs(1);
        pulse.answered(answer);
        assert_eq!((pulse.pong_due, pulse.due()), (None, answer + pace.ping));
    }
}
