//! A body that says how it ended: to whoever keeps a connection busy while it is carried.

use std::{
    io,
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use bytes::{Buf, Bytes};
use hyper::body::{Body, Frame, SizeHint};
use tokio::time::{Instant, Sleep};

use super::{super::tcp::whole, root_cause};

/// What is told at the end: how many bytes were carried, and what went wrong if something did.
type Ending = Box<dyn FnOnce(u64, Option<String>) + Send>;

/// A body, watched.
pub(in super::super) struct Told<B: Body> {
    inner: B,
    bytes: u64,
    ending: Option<Ending>,
    /// How long a piece may take, and the clock for that.
    patience: Option<(Duration, Pin<Box<Sleep>>)>,
}

impl<B: Body<Data = Bytes> + Unpin> Told<B> {
    /// Watches a body; `ending` is called once, when it has ended, failed or was dropped.
    pub(in super::super) fn new(
        inner: B,
        patience: Option<Duration>,
        ending: impl FnOnce(u64, Option<String>) + Send + 'static,
    ) -> Self {
        Self {
            inner,
            bytes: 0,
            ending: Some(Box::new(ending)),
            patience: patience.map(|span| (span, Box::pin(tokio::time::sleep(span)))),
        }
    }
}

impl<B: Body> Told<B> {
    fn tell(&mut self, error: Option<String>) {
        if let Some(ending) = self.ending.take() {
            ending(self.bytes, error);
        }
    }
}

impl<B> Body for Told<B>
where
    B: Body<Data = Bytes> + Unpin,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        let this = &mut *self;
        match Pin::new(&mut this.inner).poll_frame(cx) {
            Poll::Ready(Some(Ok(frame))) => {
                if let Some(data) = frame.data_ref() {
                    this.bytes += data.remaining() as u64;
                }
                if let Some((span, clock)) = &mut this.patience {
                    clock.as_mut().reset(Instant::now() + *span);
                }
                // Who knows the length does not ask once more.
                if this.inner.is_end_stream() {
                    this.tell(None);
                }
                Poll::Ready(Some(Ok(frame)))
            }
            Poll::Ready(Some(Err(error))) => {
                let error = error.into();
                this.tell(Some(root_cause(&*error)));
                Poll::Ready(Some(Err(io::Error::other(error))))
            }
            Poll::Ready(None) => {
                this.tell(None);
                Poll::Ready(None)
            }
            Poll::Pending => {
                let late = this
                    .patience
                    .as_mut()
                    .and_then(|(span, clock)| clock.as_mut().poll(cx).is_ready().then_some(*span));
                match late {
                    None => Poll::Pending,
                    Some(span) => {
                        let words = format!("nothing more for {}", whole(span));
                        this.tell(Some(words.clone()));
                        Poll::Ready(Some(Err(io::Error::other(words))))
                    }
                }
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}

impl<B: Body> Drop for Told<B> {
    fn drop(&mut self) {
        // Nobody needs to read what is empty.
        let error = (!self.inner.is_end_stream()).then(|| "given up by its reader".to_owned());
        self.tell(error);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use http_body_util::{BodyExt, Full};

    use super::*;

    type Heard = Arc<Mutex<Vec<(u64, Option<String>)>>>;

    fn watched(text: &'static str) -> (Told<Full<Bytes>>, Heard) {
        let heard = Heard::default();
        let ears = Arc::clone(&heard);
        let body = Told::new(Full::from(text), None, move |bytes, error| {
            ears.lock().unwrap().push((bytes, error));
        });
        (body, heard)
    }

    #[tokio::test]
    async fn a_body_that_is_read_to_its_end_says_how_long_it_was_once() {
        let (body, heard) = watched("hello");
        body.collect().await.unwrap();
        assert_eq!(*heard.lock().unwrap(), [(5, None)]);
    }

    #[tokio::test]
    async fn a_body_that_nobody_reads_says_so() {
        let (body, heard) = watched("hello");
        drop(body);
        assert_eq!(heard.lock().unwrap().len(), 1);
        assert!(heard.lock().unwrap()[0].1.is_some());
    }

    #[tokio::test]
    async fn an_empty_body_that_nobody_reads_has_ended() {
        let heard = Heard::default();
        let ears = Arc::clone(&heard);
        let body = Told::new(Full::<Bytes>::default(), None, move |bytes, error| {
            ears.lock().unwrap().push((bytes, error));
        });
        drop(body);
        assert_eq!(*heard.lock().unwrap(), [(0, None)]);
    }

    /// A body that never comes.
    struct Stalled;

    impl Body for Stalled {
        type Data = Bytes;
        type Error = std::io::Error;

        fn poll_frame(
            self: Pin<&mut Self>,
            _: &mut Context<'_>,
        ) -> Poll<Option<Result<Frame<Bytes>, std::io::Error>>> {
            Poll::Pending
        }
    }

    #[tokio::test]
    async fn a_body_that_stalls_fails_when_its_patience_is_over() {
        let body = Told::new(Stalled, Some(Duration::ZERO), |_, error| {
            assert!(error.is_some_and(|error| error.starts_with("nothing more for")));
        });
        assert!(body.collect().await.is_err());
    }
}
