//! The events of a run as a plain GET: JSON Lines.
//!
//! Lines are read from the log as fast as the reader takes them, by position, so that a slow one
//! holds nobody up.

use std::sync::Arc;

use axum::{
    body::{Body, Bytes},
    http::header,
    response::{IntoResponse, Response},
};
use futures_util::{Stream, stream};
use tokio::sync::watch;

use super::places::Place;
use crate::{
    export::jsonl::header_line,
    runs::{EventLog, Progress, store::StoreError},
};

/// Bounds of what is read from the log at once.
const BATCH: (usize, usize) = (1_024, 256 * 1024);

/// The header, and the events from number `from` on: those that are there now, or with `follow`
/// all until the run is over, which takes a place among the streams.
pub(super) fn answer(
    log: Arc<EventLog>,
    from: u64,
    follow: bool,
    place: Option<Place>,
) -> Response {
    let kind = [(header::CONTENT_TYPE, "application/jsonl; charset=utf-8")];
    (kind, Body::from_stream(chunks(log, from, follow, place))).into_response()
}

struct Reader {
    log: Arc<EventLog>,
    progress: watch::Receiver<Progress>,
    header_sent: bool,
    next: u64,
    /// The number after the last event that is wanted; `None` to go on until the run is over.
    end: Option<u64>,
    _place: Option<Place>,
}

fn chunks(
    log: Arc<EventLog>,
    from: u64,
    follow: bool,
    place: Option<Place>,
) -> impl Stream<Item = Result<Bytes, StoreError>> {
    let reader = Reader {
        progress: log.subscribe(),
        header_sent: false,
        next: from,
        end: (!follow).then(|| log.progress().next),
        log,
        _place: place,
    };
    stream::try_unfold(reader, |mut reader| async {
        let text = reader.next_chunk().await?;
        Ok(text.map(|text| (Bytes::from(text), reader)))
    })
}

impl Reader {
    /// The next lines; `None` after the last.
    async fn next_chunk(&mut self) -> Result<Option<String>, StoreError> {
        loop {
            // Taken before the log is read: whatever comes later wakes this reader again.
            let progress = *self.progress.borrow_and_update();
            let mut text = String::new();
            if !self.header_sent
                && let Some(header) = self.log.header()
            {
                self.header_sent = true;
                text.push_str(&header_line(&header));
                text.push('\n');
            }
            let wanted = match self.end {
                Some(end) => end.saturating_sub(self.next),
                None => u64::MAX,
            };
            let limit = usize::try_from(wanted).unwrap_or(usize::MAX).min(BATCH.0);
            if limit > 0 {
                for line in self.log.fetch(self.next, limit, BATCH.1).await? {
                    self.next += 1;
                    text.push_str(&line);
                    text.push('\n');
                }
            }
            if !text.is_empty() {
                return Ok(Some(text));
            }
            let done = self.end.is_some() || progress.state.is_over();
            if done || self.progress.changed().await.is_err() {
                return Ok(None);
            }
        }
    }
}
