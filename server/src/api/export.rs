//! A run as a file that other programs read: `GET /api/runs/{id}/export/{format}`.
//!
//! What [`crate::export`] writes as the events come is sent as it is written: a batch is read from
//! the log and exported on a thread that may wait for a disk, and the next one when the client has
//! taken it. So a client that takes its time holds one batch, a place among the streams and no
//! thread; one that takes nothing is given up like any other (see [`stall`](super::stall)). Pictures
//! need the whole run first, and are made before they are answered.
//!
//! At most [`AT_WORK`] batches or pictures are in the making at once, whoever asked for them.

use std::{mem, sync::Arc};

use axum::{
    body::{Body, Bytes},
    extract::State,
    http::header,
    response::{IntoResponse, Response},
};
use futures_util::stream;
use linger_shared::protocol::Problem;
use thiserror::Error;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::{
    Shared, extract::RunAndFormat, limits::Ends, places::Place, problem::ApiError, runs::reading,
};
use crate::{
    export::{self, ExportError, Exporter, Format},
    runs::{ActError, EventLog, store::StoreError},
};

/// How many threads may be busy with exports.
const AT_WORK: usize = 4;

/// Bounds of what is read from the log at once: events, and their bytes.
const BATCH: (usize, usize) = (1_024, 256 * 1024);

/// Bounds the work that exports are.
#[derive(Debug, Clone)]
pub(super) struct Desk(Arc<Semaphore>);

impl Default for Desk {
    fn default() -> Self {
        Self(Arc::new(Semaphore::new(AT_WORK)))
    }
}

impl Desk {
    /// A turn, when it comes.
    async fn turn(&self) -> Option<OwnedSemaphorePermit> {
        // It is never closed, so that there always is one.
        Arc::clone(&self.0).acquire_owned().await.ok()
    }
}

/// A run in a format that other programs read, as a file; the same as `linger runs export` writes.
///
/// Of a run that is still going on it is what there is at the time of the request. An export that
/// breaks off half-way ends the connection before the end of its body.
#[utoipa::path(
    get,
    path = "/api/runs/{id}/export/{format}",
    tag = "runs",
    params(
        ("id" = String, Path, description = "The run's id"),
        ("format" = String, Path, description = "pcapng, jsonl, svg, text or mermaid"),
    ),
    responses(
        (
            status = OK,
            description = "The file; Content-Disposition names it",
            headers(("Content-Disposition" = String, description = "attachment, with the run's id and the format's extension as the name")),
            content(
                (Vec<u8> = "application/x-pcapng"),
                (String = "application/jsonl"),
                (String = "image/svg+xml"),
                (String = "text/plain"),
                (String = "text/vnd.mermaid"),
            ),
        ),
        (status = NOT_FOUND, description = "No such run, or no such format; the detail names those that there are", body = Problem, content_type = "application/problem+json"),
        (status = CONFLICT, description = "The run went over the relay and has no packets for a capture, or it has not begun", body = Problem, content_type = "application/problem+json"),
        (status = TOO_MANY_REQUESTS, description = "Too many streams are open", body = Problem, content_type = "application/problem+json"),
    )
)]
pub(super) async fn export(
    State(shared): State<Shared>,
    RunAndFormat(id, format): RunAndFormat,
    ends: Ends,
) -> Result<Response, ApiError> {
    let Some(format) = Format::named(&format) else {
        return Err(ApiError::UnknownFormat { format });
    };
    let place = shared.visitors.watch(ends.peer.ip())?;
    let manager = shared.manager;
    let log = reading(move || match manager.log(&id)? {
        Some(log) => Ok(log),
        None => Err(ApiError::from(ActError::UnknownRun(id))),
    })
    .await?;
    let name = file_name(log.id(), format);
    let export = Export::begin(format, log, place)?;
    let head = [
        (header::CONTENT_TYPE, format.media_type().to_owned()),
        (
            header::CONTENT_DISPOSITION,
            format!("attachment; filename=\"{name}\""),
        ),
    ];
    let body = if format.is_written_at_the_end() {
        Body::from(export.whole(&shared.desk).await?)
    } else {
        export.streamed(shared.desk)
    };
    Ok((head, body).into_response())
}

/// What a file of the run is called: what may mean something in a header or to a file system does
/// not come into it.
fn file_name(run: &str, format: Format) -> String {
    let plain = |c: char| match c {
        'a'..='z' | 'A'..='Z' | '0'..='9' | '-' | '_' => c,
        _ => '_',
    };
    let run: String = run.chars().map(plain).collect();
    format!("{run}.{}", format.extension())
}

/// Why an export broke off.
#[derive(Debug, Error)]
enum Broken {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Export(#[from] ExportError),
}

impl From<Broken> for ApiError {
    fn from(broken: Broken) -> Self {
        match broken {
            Broken::Store(error) => error.into(),
            Broken::Export(error) => error.into(),
        }
    }
}

/// An export on its way.
struct Export {
    log: Arc<EventLog>,
    exporter: Box<dyn Exporter>,
    /// The number of the next event.
    next: u64,
    /// The number after the last event that is wanted.
    end: u64,
    /// What is written and not taken yet.
    written: Vec<u8>,
    _place: Place,
}

/// What a turn of work has come to.
enum Step {
    /// There is more.
    More(Box<Export>),
    /// It is complete, with this as its last bytes.
    Done(Vec<u8>),
}

impl Export {
    fn begin(format: Format, log: Arc<EventLog>, place: Place) -> Result<Box<Self>, ApiError> {
        let Some(header) = log.header() else {
            return Err(ApiError::NotBegun(log.id().to_string()));
        };
        let mut written = Vec::new();
        Ok(Box::new(Self {
            exporter: export::begin(format, &header, &mut written)?,
            next: 0,
            end: log.progress().next,
            log,
            written,
            _place: place,
        }))
    }

    /// Exports a batch. Waits for the disk.
    fn step(mut self: Box<Self>) -> Result<Step, Broken> {
        let left = usize::try_from(self.end - self.next).unwrap_or(usize::MAX);
        let lines = match left.min(BATCH.0) {
            0 => Vec::new(),
            events => self.log.read(self.next, events, BATCH.1)?,
        };
        for line in &lines {
            let event = serde_json::from_str(line).map_err(|source| ExportError::Damaged {
                number: self.next,
                source,
            })?;
            self.exporter.event(&event, line, &mut self.written)?;
            self.next += 1;
        }
        if lines.is_empty() || self.next == self.end {
            self.exporter.finish(&mut self.written)?;
            return Ok(Step::Done(self.written));
        }
        Ok(Step::More(self))
    }

    /// All of it. One turn for the whole: what a picture takes up while it is made, only
    /// [`AT_WORK`] of them take up at once.
    async fn whole(self: Box<Self>, desk: &Desk) -> Result<Vec<u8>, Broken> {
        let mut turn = desk.turn().await;
        let mut export = self;
        loop {
            let (step, kept) = work(export, turn).await?;
            match step {
                Step::Done(written) => return Ok(written),
                Step::More(more) => (export, turn) = (more, kept),
            }
        }
    }

    /// A body that makes its next part when the last one was taken, each in a turn of its own.
    fn streamed(self: Box<Self>, desk: Desk) -> Body {
        Body::from_stream(stream::try_unfold(Some(self), move |export| {
            let desk = desk.clone();
            async move {
                let Some(mut export) = export else {
                    return Ok(None);
                };
                loop {
                    let turn = desk.turn().await;
                    let done = work(export, turn).await;
                    // The client learns no more than that its body has no end.
                    let step = done.inspect_err(|error| {
                        eprintln!("linger: an export was broken off: {error}");
                    });
                    match step?.0 {
                        Step::Done(written) => return Ok(Some((Bytes::from(written), None))),
                        Step::More(mut more) if !more.written.is_empty() => {
                            let written = Bytes::from(mem::take(&mut more.written));
                            return Ok::<_, Broken>(Some((written, Some(more))));
                        }
                        Step::More(more) => export = more,
                    }
                }
            }
        }))
    }
}

/// Exports a batch on a thread of its own. The turn goes with the work, which a client that leaves
/// does not stop before its end.
async fn work<T: Send + 'static>(export: Box<Export>, turn: T) -> Result<(Step, T), Broken> {
    reading(move || Ok((export.step()?, turn))).await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_files_name_is_plain_whatever_the_run_is_called() {
        let name = |run| file_name(run, Format::Mermaid);
        assert_eq!(name("tcp-dead-peer-mh3k2x1a"), "tcp-dead-peer-mh3k2x1a.mmd");
        assert_eq!(name("../a\"b\r\nc: d"), "___a_b__c__d.mmd");
    }
}
