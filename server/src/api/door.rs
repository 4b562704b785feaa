//! The door: accepts connections, holds them to their limits, and closes in good order.
//!
//! A connection beyond a limit is told so (503, or 429 where it is its address's own) and closed.
//! One that is slow to ask, rests too long or takes nothing is closed. When the server ends, those
//! that rest are closed at once, those at work after their answer, and the rest when time is up.

use std::{convert::Infallible, io, net::SocketAddr, pin::pin, sync::Arc, time::Duration};

use axum::{Router, body::Body};
use hyper::{Request, body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use socket2::{SockRef, TcpKeepalive};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::Semaphore,
    time::{sleep, timeout},
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tower_service::Service;

use super::{
    limits::{Ends, HEAD_LIMIT, Limits, Visitors},
    places::{Full, Place},
    problem::ApiError,
    stall::Watched,
};

/// What the kernel may hold for one viewer, in bytes: a ping stands behind it, so that on a slow
/// link more would make a viewer look dead that is only far behind.
const SEND_BUFFER: usize = 256 * 1024;

/// How many that are turned away are told why at once; more are closed without a word.
const TURNED_AWAY: usize = 64;

/// How long it may take to tell someone that there is no place.
const REFUSAL: Duration = Duration::from_secs(2);

/// Lets connections in until it is closed.
pub(super) struct Door {
    app: Router,
    limits: Limits,
    visitors: Arc<Visitors>,
    http: http1::Builder,
    open: TaskTracker,
    closing: CancellationToken,
    cut: CancellationToken,
    refusing: Arc<Semaphore>,
}

impl Door {
    /// A door to an application.
    pub(super) fn new(app: Router, limits: Limits, visitors: Arc<Visitors>) -> Self {
        let mut http = http1::Builder::new();
        http.timer(TokioTimer::new())
            .header_read_timeout(limits.head_time)
            .max_header_size(HEAD_LIMIT)
            .max_buf_size(HEAD_LIMIT);
        Self {
            app,
            limits,
            visitors,
            http,
            open: TaskTracker::new(),
            closing: CancellationToken::new(),
            cut: CancellationToken::new(),
            refusing: Arc::new(Semaphore::new(TURNED_AWAY)),
        }
    }

    /// Accepts until this future is dropped.
    pub(super) async fn accept(&self, listener: &TcpListener) -> Infallible {
        let mut complained = false;
        loop {
            match listener.accept().await {
                Ok((stream, peer)) => {
                    complained = false;
                    self.greet(stream, peer);
                }
                Err(error) if is_the_clients(&error) => {}
                // Descriptors or memory are used up: those that are open give some back.
                Err(error) => {
                    if !complained {
                        eprintln!("linger: cannot accept connections for now: {error}");
                    }
                    complained = true;
                    sleep(Duration::from_millis(200)).await;
                }
            }
        }
    }

    /// Closes what rests, waits for what is at work for as long as `patience`, then cuts it.
    pub(super) async fn close(self, patience: Duration) {
        self.closing.cancel();
        self.open.close();
        if timeout(patience, self.open.wait()).await.is_err() {
            self.cut.cancel();
            self.open.wait().await;
        }
    }

    fn greet(&self, stream: TcpStream, peer: SocketAddr) {
        let Ok(own) = stream.local_addr() else {
            // It has gone already.
            return;
        };
        prepare(&stream);
        match self.visitors.connect(peer.ip()) {
            Ok(place) => self.serve(stream, place, Ends { peer, own }),
            Err(full) => self.turn_away(stream, full),
        }
    }

    fn serve(&self, stream: TcpStream, place: Place, ends: Ends) {
        let io = TokioIo::new(Watched::new(stream, place, self.limits.stall_time));
        let app = self.app.clone();
        let service = service_fn(move |request: Request<Incoming>| {
            let mut request = request.map(Body::new);
            request.extensions_mut().insert(ends);
            // A router is always ready.
            app.clone().call(request)
        });
        let connection = self.http.serve_connection(io, service).with_upgrades();
        let (closing, cut) = (self.closing.clone(), self.cut.clone());
        self.open.spawn(async move {
            let mut connection = pin!(connection);
            // How a connection ends is the client's business: it may vanish at any moment.
            tokio::select! {
                _ = connection.as_mut() => return,
                () = closing.cancelled() => connection.as_mut().graceful_shutdown(),
            }
            tokio::select! {
                _ = connection => {}
                () = cut.cancelled() => {}
            }
        });
    }

    fn turn_away(&self, stream: TcpStream, full: Full) {
        if let Ok(permit) = Arc::clone(&self.refusing).try_acquire_owned() {
            let answer = refusal(full, &self.limits);
            self.open.spawn(async move {
                // Whether it still listens is its own business.
                let _ = timeout(REFUSAL, tell(stream, &answer)).await;
                drop(permit);
            });
        }
    }
}

/// Sends the answer, and reads what the client has said, since closing on unread bytes would reset
/// the connection and take the answer along.
async fn tell(mut stream: TcpStream, answer: &str) -> io::Result<()> {
    stream.write_all(answer.as_bytes()).await?;
    stream.shutdown().await?;
    let mut unread = [0; 4096];
    for _ in 0..16 {
        if stream.read(&mut unread).await? == 0 {
            break;
        }
    }
    Ok(())
}

/// The whole answer to a connection that finds no place.
fn refusal(full: Full, limits: &Limits) -> String {
    let error = match full {
        Full::Everywhere => ApiError::TooManyConnections {
            limit: limits.connections,
        },
        Full::Here => ApiError::TooManyConnectionsHere {
            limit: limits.connections_per_address,
        },
    };
    let problem = error.problem();
    let body = serde_json::to_string(&problem).unwrap_or_default();
    let reason = match full {
        Full::Everywhere => "Service Unavailable",
        Full::Here => "Too Many Requests",
    };
    format!(
        "HTTP/1.1 {} {reason}\r\ncontent-type: application/problem+json\r\nretry-after: {}\r\n\
         content-length: {}\r\nconnection: close\r\n\r\n{body}",
        problem.status,
        error.retry_after().unwrap_or(1),
        body.len()
    )
}

/// Errors of `accept` that are one client's and say nothing about the listener.
fn is_the_clients(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionAborted
            | io::ErrorKind::ConnectionReset
            | io::ErrorKind::ConnectionRefused
    )
}

/// Without these a viewer is late by a delayed ACK, or forgotten without a word. Neither is worth
/// refusing a connection over.
fn prepare(stream: &TcpStream) {
    let _ = stream.set_nodelay(true);
    let keepalive = TcpKeepalive::new()
        .with_time(Duration::from_secs(60))
        .with_interval(Duration::from_secs(15));
    let socket = SockRef::from(stream);
    let _ = socket.set_tcp_keepalive(&keepalive);
    let _ = socket.set_send_buffer_size(SEND_BUFFER);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_is_a_whole_answer() {
        for (full, status) in [(Full::Everywhere, "503"), (Full::Here, "429")] {
            let answer = refusal(full, &Limits::default());
            let (head, body) = answer.split_once("\r\n\r\n").unwrap();
            assert!(head.starts_with(&format!("HTTP/1.1 {status} ")), "{head}");
            assert!(head.contains("\r\nretry-after: "), "{head}");
            assert!(head.contains(&format!("content-length: {}", body.len())));
            let problem: serde_json::Value = serde_json::from_str(body).unwrap();
            assert_eq!(problem["status"].to_string(), status);
        }
    }
}
