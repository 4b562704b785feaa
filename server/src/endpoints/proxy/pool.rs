//! A proxy's connections to its backend: kept for the next request, up to a number and for a time.
//!
//! hyper-util's pool looks for idle connections only once in each idle time, sends requests again
//! by itself and does not say which connection failed. Here these are what is studied, so hyper's
//! connections are held directly: an idle one is closed when its time has come, the one that was
//! used last is taken first (as hyper-util and nginx do), and every lease knows its connection.

use std::{
    io,
    net::SocketAddr,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::combinators::UnsyncBoxBody;
use hyper::{
    body::Incoming,
    client::conn::http1::{self, SendRequest},
};
use hyper_util::rt::TokioIo;
use linger_shared::event::Call;
use socket2::SockRef;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use super::super::{
    SocketOption, connect_recorded,
    leg::{Account, Leg},
    options::set_recorded,
    tcp::whole,
};
use crate::lab::{Crew, Stack};

/// What is sent to a backend.
pub(super) type Outgoing = UnsyncBoxBody<Bytes, io::Error>;

/// What a pool is like.
#[derive(Debug, Clone)]
pub(super) struct Settings {
    pub(super) backend: SocketAddr,
    pub(super) options: Vec<SocketOption>,
    pub(super) connect_timeout: Option<Duration>,
    /// How long a connection may wait for its next request.
    pub(super) idle: Option<Duration>,
    /// How many may wait.
    pub(super) size: usize,
    /// How many there may be, at work and waiting.
    pub(super) most: Option<usize>,
}

/// Why there is no connection to be had.
pub(super) enum Unavailable {
    /// As many as may be are at work.
    Full,
    /// The backend could not be reached.
    Connect(io::Error),
}

/// The connections. A clone is another handle to the same ones.
#[derive(Clone)]
pub(super) struct Pool(Arc<Shared>);

struct Shared {
    settings: Settings,
    stack: Stack,
    crew: Crew,
    idle: Mutex<Vec<Waiting>>,
    /// Connections that are open.
    open: AtomicUsize,
    /// A connection has begun to wait.
    changed: Notify,
}

struct Waiting {
    lease: Lease,
    since: Instant,
}

/// A connection in use. Dropping it closes the connection.
pub(super) struct Lease {
    sender: SendRequest<Outgoing>,
    account: Arc<Account>,
    /// Requests that it has carried.
    uses: u32,
    gone: CancellationToken,
}

impl Drop for Lease {
    fn drop(&mut self) {
        self.gone.cancel();
    }
}

impl Lease {
    /// Sends a request; gives the head of the response.
    pub(super) async fn send(
        &mut self,
        request: Request<Outgoing>,
    ) -> hyper::Result<Response<Incoming>> {
        self.uses += 1;
        self.sender.send_request(request).await
    }

    /// Whether it has carried a request before this one.
    pub(super) fn is_reused(&self) -> bool {
        self.uses > 1
    }

    /// The proxy's address on it.
    pub(super) fn local(&self) -> Option<SocketAddr> {
        self.account.local()
    }

    /// Says why it will be closed.
    pub(super) fn because(&self, reason: &str) {
        self.account.because(reason);
    }
}

impl Pool {
    /// An empty pool.
    pub(super) fn new(settings: Settings, stack: Stack, crew: Crew) -> Self {
        let pool = Self(Arc::new(Shared {
            settings,
            stack,
            crew: crew.clone(),
            idle: Mutex::default(),
            open: AtomicUsize::new(0),
            changed: Notify::new(),
        }));
        if let Some(limit) = pool.0.settings.idle {
            let keeper = pool.clone();
            crew.spawn(async move { keeper.close_the_idle(limit).await });
        }
        pool
    }

    /// A connection: one that waits, or a new one.
    pub(super) async fn take(&self, client: Option<SocketAddr>) -> Result<Lease, Unavailable> {
        let waiting = self.waiting(|idle| {
            while let Some(last) = idle.pop() {
                if last.lease.sender.is_ready() {
                    return Some(last.lease);
                }
            }
            None
        });
        match waiting {
            Some(lease) => Ok(lease),
            None => self.connect(client).await,
        }
    }

    /// Takes a connection back whose response has ended, as soon as it is ready for another
    /// request; one that is closed after its response never is.
    pub(super) fn give_back(&self, mut lease: Lease) {
        let pool = self.clone();
        self.0.crew.spawn(async move {
            if lease.sender.ready().await.is_err() {
                return;
            }
            let since = Instant::now();
            pool.waiting(|idle| {
                if idle.len() < pool.0.settings.size {
                    idle.push(Waiting { lease, since });
                } else {
                    lease.because("the pool is full");
                }
            });
            pool.0.changed.notify_one();
        });
    }

    async fn connect(&self, client: Option<SocketAddr>) -> Result<Lease, Unavailable> {
        let Shared {
            settings,
            stack,
            crew,
            ..
        } = &*self.0;
        let place = self.place().ok_or(Unavailable::Full)?;
        let socket = stack
            .socket()
            .await
            .map_err(|error| Unavailable::Connect(io::Error::other(error)))?;
        for option in &settings.options {
            // What the kernel refuses is recorded; the connection is used as it is.
            let about = Call {
                on_behalf_of: client,
                ..Call::default()
            };
            let _ = set_recorded(stack, &SockRef::from(&socket), option, about);
        }
        let (to, patience) = (settings.backend, settings.connect_timeout);
        let stream = connect_recorded(stack, socket, to, patience, client)
            .await
            .map_err(Unavailable::Connect)?;
        // Later requests on it may be another client's, so it is nobody's.
        let leg = Leg::new(stack, stream, None);
        let account = leg.account();
        let (sender, connection) = http1::handshake(TokioIo::new(leg))
            .await
            .map_err(|error| Unavailable::Connect(io::Error::other(error)))?;
        let gone = CancellationToken::new();
        let given_up = gone.clone();
        crew.spawn(async move {
            tokio::select! {
                // How it ended is recorded at the socket.
                _ = connection.with_upgrades() => {}
                () = given_up.cancelled() => {}
            }
            drop(place);
        });
        Ok(Lease {
            sender,
            account,
            uses: 0,
            gone,
        })
    }

    /// Room for one more connection, as long as it is held.
    fn place(&self) -> Option<Place> {
        let most = self.0.settings.most.unwrap_or(usize::MAX);
        let open = &self.0.open;
        open.fetch_update(Ordering::AcqRel, Ordering::Acquire, |open| {
            (open < most).then_some(open + 1)
        })
        .ok()
        .map(|_| Place(self.clone()))
    }

    /// Closes what has waited for too long, when it has.
    async fn close_the_idle(&self, limit: Duration) {
        loop {
            let next = self.waiting(|idle| idle.first().map(|oldest| oldest.since + limit));
            let expired = async {
                match next {
                    Some(at) => tokio::time::sleep_until(at.into()).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                () = expired => {}
                () = self.0.changed.notified() => continue,
            }
            let now = Instant::now();
            self.waiting(|idle| {
                idle.retain(|waiting| {
                    let stays = waiting.since + limit > now;
                    if !stays {
                        waiting.lease.because(&format!("idle for {}", whole(limit)));
                    }
                    stays
                });
            });
        }
    }

    fn waiting<T>(&self, act: impl FnOnce(&mut Vec<Waiting>) -> T) -> T {
        act(&mut self.0.idle.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// A connection's place among those that there may be.
struct Place(Pool);

impl Drop for Place {
    fn drop(&mut self) {
        self.0.0.open.fetch_sub(1, Ordering::AcqRel);
    }
}
