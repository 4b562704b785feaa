//! A connection that ends when its client takes nothing for too long.
//!
//! What is on its way to a client is bounded, so a client that stops reading holds memory and a
//! place, but no more of either, until this ends it.

use std::{
    io::{self, IoSlice},
    pin::Pin,
    task::{Context, Poll, ready},
    time::Duration,
};

use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    time::{Instant, Sleep, sleep},
};

use super::places::Place;

/// A stream that holds its place, and that fails to write after a stall.
pub(super) struct Watched<S> {
    stream: S,
    patience: Duration,
    /// Runs while a write waits.
    stalled: Option<Pin<Box<Sleep>>>,
    waiting: bool,
    _place: Place,
}

impl<S> Watched<S> {
    /// Watches a stream.
    pub(super) const fn new(stream: S, place: Place, patience: Duration) -> Self {
        Self {
            stream,
            patience,
            stalled: None,
            waiting: false,
            _place: place,
        }
    }

    fn judge<T>(
        &mut self,
        cx: &mut Context<'_>,
        result: Poll<io::Result<T>>,
    ) -> Poll<io::Result<T>> {
        if result.is_ready() {
            self.waiting = false;
            return result;
        }
        let patience = self.patience;
        let timer = self
            .stalled
            .get_or_insert_with(|| Box::pin(sleep(patience)));
        if !self.waiting {
            self.waiting = true;
            timer.as_mut().reset(Instant::now() + patience);
        }
        ready!(timer.as_mut().poll(cx));
        let message = format!("the client took nothing for {} s", patience.as_secs_f32());
        Poll::Ready(Err(io::Error::new(io::ErrorKind::TimedOut, message)))
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Watched<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buffer)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Watched<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let result = Pin::new(&mut self.stream).poll_write(cx, bytes);
        self.judge(cx, result)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let result = Pin::new(&mut self.stream).poll_write_vectored(cx, slices);
        self.judge(cx, result)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let result = Pin::new(&mut self.stream).poll_flush(cx);
        self.judge(cx, result)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex};

    use super::{super::places::Places, *};

    fn place() -> Place {
        Places::new(1, 1)
            .enter("127.0.0.1".parse().unwrap(), false)
            .unwrap()
    }

    #[tokio::test]
    async fn a_client_that_takes_nothing_is_given_up_after_its_time() {
        let (near, _far) = duplex(4);
        let patience = Duration::from_millis(50);
        let mut watched = Watched::new(near, place(), patience);
        let start = Instant::now();
        let error = watched.write_all(b"more than four").await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
        assert!(start.elapsed() >= patience, "{:?}", start.elapsed());
    }

    #[tokio::test]
    async fn a_stall_is_counted_from_the_last_byte_that_was_taken() {
        let (near, mut far) = duplex(4);
        let patience = Duration::from_secs(10);
        let mut watched = Watched::new(near, place(), patience);
        let context = &mut Context::from_waker(std::task::Waker::noop());
        let mut write = |watched: &mut Watched<_>| Pin::new(watched).poll_write(context, b"more");
        assert!(write(&mut watched).is_ready());
        assert!(write(&mut watched).is_pending());
        assert!(watched.waiting);
        far.read_exact(&mut [0; 4]).await.unwrap();
        assert!(write(&mut watched).is_ready());
        assert!(!watched.waiting);
        let before = Instant::now();
        assert!(write(&mut watched).is_pending());
        let deadline = watched.stalled.as_ref().unwrap().deadline();
        assert!(deadline >= before + patience);
    }
}
