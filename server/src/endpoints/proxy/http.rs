//! An HTTP/1.1 reverse proxy, as nginx, HAProxy and cloud load balancers are: limits of its own
//! towards its clients, a pool of connections to its backend, and answers of its own where the
//! backend gives none.
//!
//! | what happened at the backend | answer |
//! |---|---|
//! | every connection that there may be is at work | 503 |
//! | it refused, reset, or closed before its response; its response made no sense | 502 |
//! | it did not accept in time, or said nothing for too long | 504 |
//!
//! A response that has begun cannot be answered otherwise any more: it is broken off.

use std::{convert::Infallible, io, net::SocketAddr, sync::Arc, time::Duration};

use bytes::Bytes;
use http::{HeaderValue, Method, Request, Response, StatusCode, Version};
use http_body_util::{BodyExt, Empty, Full};
use hyper::{
    body::{Body, Incoming},
    service::service_fn,
    upgrade::{OnUpgrade, Upgraded},
};
use hyper_util::rt::TokioIo;
use linger_shared::event::{Fact, HttpExchange, Observer};

use super::{
    super::{
        SocketOption,
        http1::{Serving, Told, Turns, Watched, root_cause, serve_connection},
        leg::Leg,
        tcp::{accept_recorded, whole},
    },
    Closing, headers,
    pool::{Lease, Outgoing, Pool, Settings, Unavailable},
    tunnel::{Limits, tunnel},
};
use crate::{
    endpoints::errno_name,
    journal::Ticket,
    lab::{Crew, Listener, Stack},
};

/// When a request is sent a second time.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Retry {
    /// Never: what a dead connection took is answered with 502.
    #[default]
    Never,
    /// Once, on a new connection, where a reused one died before its response and the request is
    /// idempotent and without a body (RFC 9110, section 9.2.2; RFC 9112, section 9.3.1).
    IdempotentOnReused,
}

/// A reverse proxy. See the module.
#[derive(Debug, Clone)]
pub struct ReverseProxy {
    /// Where its backend listens.
    pub backend: SocketAddr,
    /// After which time without a request it closes a client's connection.
    pub client_idle: Option<Duration>,
    /// How long the head of a request may take before the client's connection is closed.
    pub client_head: Option<Duration>,
    /// How long it waits for the backend to accept; the kernel's own patience decides where it is
    /// absent.
    pub connect_timeout: Option<Duration>,
    /// How long the backend may say nothing, before its response and within it.
    pub read_timeout: Option<Duration>,
    /// How long a connection to the backend waits for its next request.
    pub pool_idle: Option<Duration>,
    /// How many connections to the backend may wait.
    pub pool_size: usize,
    /// How many connections to the backend there may be; a request that would need one more is
    /// answered with 503.
    pub pool_most: Option<usize>,
    /// When a request is sent a second time.
    pub retry: Retry,
    /// After which silence in both directions an upgraded connection is closed.
    pub tunnel_idle: Option<Duration>,
    /// How it closes both ends then.
    pub tunnel_close: Closing,
    /// What its sockets towards clients are told.
    pub front: Vec<SocketOption>,
    /// What its sockets towards the backend are told, before `connect()`.
    pub back: Vec<SocketOption>,
}

impl ReverseProxy {
    /// A proxy with nginx's documented defaults where it has any: 75 s for idle clients
    /// (`keepalive_timeout`), 60 s for a request's head, for connecting and for reading
    /// (`client_header_timeout`, `proxy_connect_timeout`, `proxy_read_timeout`, which also bounds
    /// an upgraded connection's silence), 60 s for idle connections to the backend
    /// (`keepalive_timeout` of an upstream).
    pub fn to(backend: SocketAddr) -> Self {
        let minute = Some(Duration::from_secs(60));
        Self {
            backend,
            client_idle: Some(Duration::from_secs(75)),
            client_head: minute,
            connect_timeout: minute,
            read_timeout: minute,
            pool_idle: minute,
            pool_size: 32,
            pool_most: None,
            retry: Retry::Never,
            tunnel_idle: minute,
            tunnel_close: Closing::Fin,
            front: Vec::new(),
            back: Vec::new(),
        }
    }

    /// Serves a listener until the run is over.
    pub async fn serve(self, listener: Listener, crew: Crew) {
        let settings = Settings {
            backend: self.backend,
            options: self.back.clone(),
            connect_timeout: self.connect_timeout,
            idle: self.pool_idle,
            size: self.pool_size,
            most: self.pool_most,
        };
        let stack = listener.stack.clone();
        let proxy = Arc::new(Running {
            pool: Pool::new(settings, stack.clone(), crew.clone()),
            plan: self,
            stack,
            crew: crew.clone(),
            requests: Default::default(),
        });
        loop {
            let Ok(stream) = accept_recorded(&listener).await else {
                // The client gave up before it was accepted, or descriptors are short.
                tokio::time::sleep(Duration::from_millis(10)).await;
                continue;
            };
            let front = Leg::new(&listener.stack, stream, None);
            let proxy = Arc::clone(&proxy);
            crew.spawn(async move { proxy.serve(front).await });
        }
    }
}

/// A reverse proxy at work.
struct Running {
    plan: ReverseProxy,
    pool: Pool,
    stack: Stack,
    crew: Crew,
    requests: std::sync::atomic::AtomicU32,
}

type Answer = Response<Told<Outgoing>>;

/// Why there is no response of the backend's.
struct NoResponse {
    status: StatusCode,
    reason: String,
    /// The connection to the backend, where there was one, and whether it was reused.
    local: Option<SocketAddr>,
    reused: bool,
}

impl Running {
    async fn serve(self: Arc<Self>, front: Leg) {
        for option in &self.plan.front {
            // What the kernel refuses is recorded; the connection is served as it is.
            let _ = front.set(option);
        }
        let account = front.account();
        let turns = Arc::new(Turns::new());
        let serving = Serving {
            idle: self.plan.client_idle,
            head: self.plan.client_head,
            told: true,
        };
        let (busy, client) = (Arc::clone(&turns), account.remote());
        let service = service_fn(move |request| {
            busy.serving();
            let (proxy, busy) = (Arc::clone(&self), Arc::clone(&busy));
            async move { Ok::<_, Infallible>(proxy.answer(request, client, busy).await) }
        });
        serve_connection(front, service, serving, &turns, |reason| {
            account.because(reason);
        })
        .await;
    }

    async fn answer(
        &self,
        mut request: Request<Incoming>,
        client: Option<SocketAddr>,
        busy: Arc<Turns>,
    ) -> Answer {
        let mut exchange = Exchange::begin(self, &request);
        let protocol = headers::upgrade(request.headers());
        let upgraded = protocol.is_some().then(|| hyper::upgrade::on(&mut request));
        headers::forward(request.headers_mut());
        if let Some(protocol) = protocol.clone() {
            headers::keep_upgrade(request.headers_mut(), protocol);
        }
        match self.ask(request, client).await {
            Ok((lease, response)) => {
                exchange.of(lease.local(), lease.is_reused());
                exchange.told.status = Some(response.status().as_u16());
                match upgraded {
                    Some(upgraded) if response.status() == StatusCode::SWITCHING_PROTOCOLS => {
                        self.switch(response, upgraded, lease, exchange, busy)
                    }
                    _ => self.pass_on(response, lease, exchange, busy),
                }
            }
            Err(none) => {
                exchange.of(none.local, none.reused);
                exchange.told.status = Some(none.status.as_u16());
                let mut response = Response::new(none.reason.clone());
                *response.status_mut() = none.status;
                response.map(|text| {
                    let body = Full::from(text)
                        .map_err(|never| match never {})
                        .boxed_unsync();
                    Told::new(body, None, move |bytes, _| {
                        exchange.end(bytes, Some(none.reason));
                        busy.idle();
                    })
                })
            }
        }
    }

    /// The backend's response, with the connection that it comes over.
    async fn ask(
        &self,
        request: Request<Incoming>,
        client: Option<SocketAddr>,
    ) -> Result<(Lease, Response<Incoming>), NoResponse> {
        let (mut parts, body) = request.into_parts();
        parts.version = Version::HTTP_11;
        // A request without a body can be made again.
        let again = (body.is_end_stream()
            && self.plan.retry == Retry::IdempotentOnReused
            && is_idempotent(&parts.method))
        .then(|| parts.clone());
        let first = Request::from_parts(parts, body.map_err(io::Error::other).boxed_unsync());
        let failed = match self.ask_once(first, client).await {
            Err(failed) if failed.reused && failed.status == StatusCode::BAD_GATEWAY => failed,
            answered => return answered,
        };
        match again {
            None => Err(failed),
            Some(parts) => {
                let empty = Empty::<Bytes>::new()
                    .map_err(|never| match never {})
                    .boxed_unsync();
                self.ask_once(Request::from_parts(parts, empty), client)
                    .await
            }
        }
    }

    async fn ask_once(
        &self,
        request: Request<Outgoing>,
        client: Option<SocketAddr>,
    ) -> Result<(Lease, Response<Incoming>), NoResponse> {
        let mut lease = self.pool.take(client).await.map_err(no_connection)?;
        let sent = lease.send(request);
        let answered = match self.plan.read_timeout {
            None => sent.await,
            Some(patience) => match tokio::time::timeout(patience, sent).await {
                Ok(answered) => answered,
                Err(_) => {
                    let reason = format!("no response within {}", whole(patience));
                    lease.because(&reason);
                    return Err(NoResponse {
                        status: StatusCode::GATEWAY_TIMEOUT,
                        reason,
                        local: lease.local(),
                        reused: lease.is_reused(),
                    });
                }
            },
        };
        match answered {
            Ok(response) => Ok((lease, response)),
            Err(error) => Err(NoResponse {
                status: StatusCode::BAD_GATEWAY,
                reason: broken_off(&error),
                local: lease.local(),
                reused: lease.is_reused(),
            }),
        }
    }

    /// The backend's response becomes the proxy's.
    fn pass_on(
        &self,
        mut response: Response<Incoming>,
        lease: Lease,
        exchange: Exchange,
        busy: Arc<Turns>,
    ) -> Answer {
        headers::forward(response.headers_mut());
        *response.version_mut() = Version::HTTP_11;
        let (pool, patience) = (self.pool.clone(), self.plan.read_timeout);
        response.map(|body| {
            let body = body.map_err(io::Error::other).boxed_unsync();
            Told::new(body, patience, move |bytes, error| {
                match &error {
                    None => pool.give_back(lease),
                    Some(error) => lease.because(error),
                }
                exchange.end(bytes, error);
                busy.idle();
            })
        })
    }

    /// Both ends have agreed to speak another protocol: from here on bytes are carried.
    fn switch(
        &self,
        mut response: Response<Incoming>,
        front: OnUpgrade,
        lease: Lease,
        exchange: Exchange,
        busy: Arc<Turns>,
    ) -> Answer {
        let protocol = headers::upgrade(response.headers());
        let back = hyper::upgrade::on(&mut response);
        headers::forward(response.headers_mut());
        let protocol = protocol.unwrap_or_else(|| HeaderValue::from_static("unknown"));
        headers::keep_upgrade(response.headers_mut(), protocol);
        let limits = Limits {
            idle: self.plan.tunnel_idle,
            idle_close: self.plan.tunnel_close,
            error_close: Closing::Fin,
        };
        self.crew.spawn(async move {
            let joined = tokio::try_join!(front, back);
            // The connection is the tunnel's now.
            let Ok((front, back)) = joined else {
                return;
            };
            let (Some(front), Some(back)) = (front_leg(front), back_leg(back)) else {
                return;
            };
            drop(lease);
            tunnel(front.0, back.0, limits, (&front.1, &back.1)).await;
        });
        exchange.end(0, None);
        response.map(|_| {
            let empty = Empty::new().map_err(|never| match never {}).boxed_unsync();
            // Whose turn it is, is not for HTTP to say any more.
            Told::new(empty, None, move |_, _| drop(busy))
        })
    }
}

/// A connection that was upgraded, with what was already read from it.
fn front_leg(upgraded: Upgraded) -> Option<(Leg, Bytes)> {
    let parts = upgraded.downcast::<TokioIo<Watched<Leg>>>().ok()?;
    Some((parts.io.into_inner().into_inner(), parts.read_buf))
}

fn back_leg(upgraded: Upgraded) -> Option<(Leg, Bytes)> {
    let parts = upgraded.downcast::<TokioIo<Leg>>().ok()?;
    Some((parts.io.into_inner(), parts.read_buf))
}

fn no_connection(unavailable: Unavailable) -> NoResponse {
    let (status, reason) = match unavailable {
        Unavailable::Full => (
            StatusCode::SERVICE_UNAVAILABLE,
            "every connection to the backend is at work".to_owned(),
        ),
        Unavailable::Connect(error) => (
            match error.kind() {
                io::ErrorKind::TimedOut => StatusCode::GATEWAY_TIMEOUT,
                _ => StatusCode::BAD_GATEWAY,
            },
            format!("connect: {}", errno_name(&error)),
        ),
    };
    NoResponse {
        status,
        reason,
        local: None,
        reused: false,
    }
}

/// How the backend's connection ended before its response.
fn broken_off(error: &hyper::Error) -> String {
    if error.is_incomplete_message() || error.is_canceled() || error.is_closed() {
        "the backend closed before its response".to_owned()
    } else {
        root_cause(error)
    }
}

/// RFC 9110, section 9.2.2.
fn is_idempotent(method: &Method) -> bool {
    method.is_idempotent()
}

/// An exchange on its way to the record, whatever becomes of it.
struct Exchange {
    stack: Stack,
    told: HttpExchange,
    waits: Option<Ticket>,
}

impl Exchange {
    fn begin(proxy: &Running, request: &Request<Incoming>) -> Self {
        use std::sync::atomic::Ordering;
        let journal = proxy.stack.journal();
        let target = request
            .uri()
            .path_and_query()
            .map_or("/", http::uri::PathAndQuery::as_str);
        let told = HttpExchange {
            request: proxy.requests.fetch_add(1, Ordering::Relaxed) + 1,
            line: format!("{} {target}", request.method()),
            status: None,
            error: None,
            began_us: journal.now_us(),
            body: 0,
            local: None,
            reused: false,
        };
        Self {
            waits: Some(journal.waits(proxy.stack.name(), Fact::Http(told.clone()))),
            stack: proxy.stack.clone(),
            told,
        }
    }

    fn of(&mut self, local: Option<SocketAddr>, reused: bool) {
        self.told.local = local;
        self.told.reused = reused;
    }

    fn end(mut self, bytes: u64, error: Option<String>) {
        self.record(bytes, error);
    }

    fn record(&mut self, bytes: u64, error: Option<String>) {
        if let Some(ticket) = self.waits.take() {
            let journal = self.stack.journal();
            journal.waits_no_more(ticket);
            self.told.body = bytes;
            self.told.error = error;
            let host = Observer::App(self.stack.name());
            journal.record(host, Fact::Http(self.told.clone()));
        }
    }
}

impl Drop for Exchange {
    fn drop(&mut self) {
        self.record(0, Some("given up by the client".to_owned()));
    }
}
