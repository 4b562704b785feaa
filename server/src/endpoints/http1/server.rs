//! The serving side of HTTP/1.1, with limits of its own: an axum application, or whatever else
//! answers requests.
//!
//! hyper's own limit for the head of a request cannot tell an idle connection from a slow request,
//! so turns are kept count of here:
//!
//! ```text
//!          first byte            head is complete
//!   Idle -------------> Head --------------------> Serving
//!    ^                                                |
//!    +------------------------------------------------+
//!                  the response's body has ended
//! ```

use std::{
    convert::Infallible,
    pin::pin,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use axum::Router;
use bytes::Bytes;
use hyper::{
    Request,
    body::{Body, Incoming},
    server::conn::http1,
    service::{HttpService, service_fn},
};
use hyper_util::rt::TokioIo;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    sync::Notify,
};
use tower_service::Service;

use super::{
    super::{
        leg::Leg,
        tcp::{accept_recorded, whole},
    },
    Told,
};
use crate::lab::{Crew, Listener};

/// How a server treats its connections.
#[derive(Debug, Clone, Copy, Default)]
pub struct Serving {
    /// After which time without a request a connection is closed (RFC 9112, section 9.5); never
    /// where it is absent.
    pub idle: Option<Duration>,
    /// How long the head of a request may take from its first byte on, before the connection is
    /// closed.
    pub head: Option<Duration>,
    /// Whether accepting, ends of streams and closing are recorded as the application's.
    pub told: bool,
}

/// Serves an axum application on a listener until the run is over; connections are closed by their
/// clients.
pub async fn serve_http(listener: Listener, app: Router, crew: Crew) {
    serve_http_with(listener, app, Serving::default(), crew).await;
}

/// Serves an axum application on a listener until the run is over, as `serving` says.
pub async fn serve_http_with(listener: Listener, app: Router, serving: Serving, crew: Crew) {
    loop {
        let accepted = if serving.told {
            accept_recorded(&listener).await
        } else {
            listener.socket.accept().await.map(|(stream, _)| stream)
        };
        let Ok(stream) = accepted else {
            // The peer gave up before it was accepted, or descriptors are short.
            tokio::time::sleep(Duration::from_millis(10)).await;
            continue;
        };
        let turns = Arc::new(Turns::new());
        let (app, busy) = (app.clone(), Arc::clone(&turns));
        let service = service_fn(move |request: Request<Incoming>| {
            busy.serving();
            let (mut app, busy) = (app.clone(), Arc::clone(&busy));
            async move {
                let response = app.call(request).await?;
                Ok::<_, Infallible>(
                    response.map(|body| Told::new(body, None, move |_, _| busy.idle())),
                )
            }
        });
        if serving.told {
            let leg = Leg::new(&listener.stack, stream, None);
            let account = leg.account();
            crew.spawn(async move {
                let closed = serve_connection(leg, service, serving, &turns, |reason| {
                    account.because(reason);
                });
                closed.await;
            });
        } else {
            crew.spawn(async move {
                serve_connection(stream, service, serving, &turns, |_| {}).await;
            });
        }
    }
}

/// Serves one connection to its end: its client's, its idle limit's, or a protocol's that it is
/// handed over to. `closing` is told the reason before a limit closes it.
pub(in super::super) async fn serve_connection<I, S, B>(
    io: I,
    service: S,
    serving: Serving,
    turns: &Arc<Turns>,
    closing: impl FnOnce(&str),
) where
    I: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    S: HttpService<Incoming, ResBody = B>,
    B: Body<Data = Bytes> + 'static,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    let watched = TokioIo::new(Watched {
        io,
        turns: Arc::clone(turns),
    });
    let mut connection = pin!(
        http1::Builder::new()
            .serve_connection(watched, service)
            .with_upgrades()
    );
    loop {
        let due = turns.due(serving);
        let expired = async {
            match due {
                Some((at, _)) => tokio::time::sleep_until(at.into()).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            // A connection that fails is seen on the wire and by the client.
            _ = &mut connection => return,
            () = turns.changed.notified() => {}
            () = expired => {
                // Meanwhile a byte may have come.
                if let Some((at, reason)) = turns.due(serving)
                    && at <= Instant::now()
                {
                    closing(&reason);
                    return;
                }
            }
        }
    }
}

/// Whose turn it is on a connection.
pub(in super::super) struct Turns {
    turn: Mutex<Turn>,
    changed: Notify,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Turn {
    /// Nothing is asked, since then.
    Idle(Instant),
    /// A request has begun to come, at that time.
    Head(Instant),
    /// A request is being answered.
    Serving,
}

impl Turns {
    /// A new connection is idle.
    pub(in super::super) fn new() -> Self {
        Self {
            turn: Mutex::new(Turn::Idle(Instant::now())),
            changed: Notify::new(),
        }
    }

    /// A request's head is complete.
    pub(in super::super) fn serving(&self) {
        self.change(|_| Turn::Serving);
    }

    /// A response has ended.
    pub(in super::super) fn idle(&self) {
        self.change(|_| Turn::Idle(Instant::now()));
    }

    fn received(&self) {
        self.change(|turn| match turn {
            Turn::Idle(_) => Turn::Head(Instant::now()),
            other => other,
        });
    }

    fn sent(&self) {
        self.change(|turn| match turn {
            // The rest of a response.
            Turn::Idle(_) => Turn::Idle(Instant::now()),
            other => other,
        });
    }

    fn change(&self, next: impl FnOnce(Turn) -> Turn) {
        let mut turn = self.turn.lock().unwrap_or_else(PoisonError::into_inner);
        *turn = next(*turn);
        drop(turn);
        self.changed.notify_one();
    }

    /// When the connection has to be closed as things are, and why.
    fn due(&self, serving: Serving) -> Option<(Instant, String)> {
        let turn = *self.turn.lock().unwrap_or_else(PoisonError::into_inner);
        match turn {
            Turn::Idle(since) => serving
                .idle
                .map(|limit| (since + limit, format!("idle for {}", whole(limit)))),
            Turn::Head(since) => serving.head.map(|limit| {
                let reason = format!("no whole request within {}", whole(limit));
                (since + limit, reason)
            }),
            Turn::Serving => None,
        }
    }
}

/// A stream whose bytes tell whose turn it is.
pub(in super::super) struct Watched<I> {
    io: I,
    turns: Arc<Turns>,
}

impl<I> Watched<I> {
    /// The stream.
    pub(in super::super) fn into_inner(self) -> I {
        self.io
    }
}

mod watched {
    //! A [`Watched`] stream reads and writes as the one within.

    use std::{
        io,
        pin::Pin,
        task::{Context, Poll},
    };

    use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

    use super::Watched;

    impl<I: AsyncRead + Unpin> AsyncRead for Watched<I> {
        fn poll_read(
            mut self: Pin<&mut Self>,
            cx: &mut Context<'_>,
            buf: &mut ReadBuf<'_>,
        ) -> Poll<io::Result<()>> {
            let before = buf.filled().len();
            let polled = Pin::new(&mut self.io).poll_read(cx, buf);
            if polled.is_ready() && buf.filled().len() > before {
                self.turns.received();
            }
            polled
        }
    }

    impl<I: AsyncWrite + Unpin> AsyncWrite for Watched<I> {
        fn poll_write(
            mut self: Pin<&mut Self>,
            cx: &mut Context<'_>,
            buf: &[u8],
        ) -> Poll<io::Result<usize>> {
            let polled = Pin::new(&mut self.io).poll_write(cx, buf);
            if let Poll::Ready(Ok(_)) = polled {
                self.turns.sent();
            }
            polled
        }

        fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
            Pin::new(&mut self.io).poll_flush(cx)
        }

        fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
            Pin::new(&mut self.io).poll_shutdown(cx)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn limits() -> Serving {
        Serving {
            idle: Some(Duration::from_secs(5)),
            head: Some(Duration::from_secs(1)),
            told: false,
        }
    }

    fn reason(turns: &Turns) -> Option<String> {
        turns.due(limits()).map(|(_, reason)| reason)
    }

    #[test]
    fn a_connection_is_idle_until_a_byte_comes_and_after_each_response() {
        let turns = Turns::new();
        assert_eq!(reason(&turns).as_deref(), Some("idle for 5.000 s"));
        turns.received();
        assert_eq!(
            reason(&turns).as_deref(),
            Some("no whole request within 1.000 s")
        );
        turns.serving();
        assert_eq!(reason(&turns), None);
        // The rest of a request's body does not begin another.
        turns.received();
        assert_eq!(reason(&turns), None);
        turns.idle();
        assert_eq!(reason(&turns).as_deref(), Some("idle for 5.000 s"));
    }

    #[test]
    fn a_head_has_its_time_from_its_first_byte_on() {
        let turns = Turns::new();
        turns.received();
        let first = turns.due(limits());
        turns.received();
        assert_eq!(turns.due(limits()), first);
    }
}
