//! The asking side of HTTP/1.1: a hyper client with hyper-util's pool, each exchange recorded.

use std::{
    collections::HashSet,
    io,
    net::SocketAddr,
    pin::Pin,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU32, Ordering},
    },
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use http::{HeaderValue, Method, Request, Uri, header};
use http_body_util::{BodyExt, Full};
use hyper_util::{
    client::legacy::{
        Client,
        connect::{HttpInfo, capture_connection},
    },
    rt::{TokioIo, TokioTimer},
};
use linger_shared::event::{Fact, HttpExchange, Observer};
use tokio::net::TcpStream;
use tower_service::Service;

use super::{
    super::{connect_recorded, tcp::whole},
    root_cause,
};
use crate::{
    journal::Journal,
    lab::{Crew, Stack},
};

/// Whether a client keeps its connections.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Reuse {
    /// As HTTP/1.1 does by default (RFC 9112, section 9.3).
    #[default]
    Persistent,
    /// Each request says `Connection: close`.
    Close,
}

/// How a client asks.
#[derive(Debug, Clone)]
pub struct HttpOptions {
    /// Whether it keeps its connections.
    pub reuse: Reuse,
    /// What it says in `Host`; the server's address where it is absent.
    pub host: Option<String>,
    /// After which time it gives `connect()` up.
    pub connect_timeout: Option<Duration>,
    /// After which time it gives a request up, its response's body included.
    pub timeout: Option<Duration>,
    /// How long a connection stays in the pool unused; hyper-util looks once in each such time, so
    /// it may be twice as long.
    pub pool_idle: Option<Duration>,
    /// How many unused connections the pool keeps.
    pub pool_size: usize,
    /// Whether hyper-util sends a request again that a reused connection did not take any more.
    pub retry: bool,
}

impl Default for HttpOptions {
    /// hyper-util's own defaults.
    fn default() -> Self {
        Self {
            reuse: Reuse::Persistent,
            host: None,
            connect_timeout: None,
            timeout: None,
            pool_idle: Some(Duration::from_secs(90)),
            pool_size: usize::MAX,
            retry: true,
        }
    }
}

/// A hyper client with a pool of connections. It may be asked from several tasks at once.
pub struct HttpClient {
    client: Client<Connector, Full<Bytes>>,
    stack: Stack,
    server: SocketAddr,
    options: HttpOptions,
    requests: AtomicU32,
    seen: Mutex<HashSet<SocketAddr>>,
}

impl HttpClient {
    /// A client on a host that asks the server at `server`.
    pub fn new(stack: Stack, server: SocketAddr, reuse: Reuse, crew: Crew) -> Self {
        let options = HttpOptions {
            reuse,
            ..HttpOptions::default()
        };
        Self::with(stack, server, options, crew)
    }

    /// A client on a host that asks the server, or a proxy, at `server`, as `options` say.
    pub fn with(stack: Stack, server: SocketAddr, options: HttpOptions, crew: Crew) -> Self {
        let client = Client::builder(crew)
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(options.pool_idle)
            .pool_max_idle_per_host(options.pool_size)
            .retry_canceled_requests(options.retry)
            .build(Connector(stack.clone(), options.connect_timeout));
        Self {
            client,
            stack,
            server,
            options,
            requests: AtomicU32::new(0),
            seen: Mutex::default(),
        }
    }

    /// Sends `GET target` and reads the response to its end.
    ///
    /// Returns the exchange, which is recorded too, whatever came of it.
    pub async fn get(&self, target: &str) -> HttpExchange {
        self.send(Method::GET, target, Bytes::new()).await
    }

    /// Sends a request and reads the response to its end.
    ///
    /// Returns the exchange, which is recorded too, whatever came of it. One that is given up (its
    /// future dropped), or still waits when the run ends, is recorded as one without a response.
    pub async fn send(&self, method: Method, target: &str, body: Bytes) -> HttpExchange {
        let journal: Arc<Journal> = Arc::clone(self.stack.journal());
        let mut exchange = HttpExchange {
            request: self.requests.fetch_add(1, Ordering::Relaxed) + 1,
            line: format!("{method} {target}"),
            status: None,
            error: None,
            began_us: journal.now_us(),
            body: 0,
            local: None,
            reused: false,
        };
        let host = self.stack.name();
        let ticket = journal.waits(host, Fact::Http(exchange.clone()));
        let asked = self.exchange(method, target, body, &mut exchange);
        let asked = match self.options.timeout {
            None => asked.await,
            Some(patience) => tokio::time::timeout(patience, asked)
                .await
                .unwrap_or_else(|_| Err(format!("gave up after {}", whole(patience)))),
        };
        journal.waits_no_more(ticket);
        exchange.error = asked.err();
        journal.record(Observer::App(host), Fact::Http(exchange.clone()));
        exchange
    }

    async fn exchange(
        &self,
        method: Method,
        target: &str,
        body: Bytes,
        exchange: &mut HttpExchange,
    ) -> Result<(), String> {
        let uri: Uri = format!("http://{}{target}", self.server)
            .parse()
            .map_err(|error| format!("{target}: {error}"))?;
        let mut request = Request::builder()
            .method(method)
            .uri(uri)
            .body(Full::new(body))
            .map_err(|error| error.to_string())?;
        if self.options.reuse == Reuse::Close {
            let close = HeaderValue::from_static("close");
            request.headers_mut().insert(header::CONNECTION, close);
        }
        if let Some(host) = &self.options.host {
            let host = HeaderValue::from_str(host).map_err(|error| format!("{host}: {error}"))?;
            request.headers_mut().insert(header::HOST, host);
        }
        let connection = capture_connection(&mut request);
        let answered = self.client.request(request).await;
        // Known even where no response came: a connection that had died is worth naming.
        let local = connection.connection_metadata().as_ref().and_then(|used| {
            let mut extras = http::Extensions::new();
            used.get_extras(&mut extras);
            extras.get::<HttpInfo>().map(HttpInfo::local_addr)
        });
        if let Some(local) = local {
            let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
            exchange.local = Some(local);
            exchange.reused = !seen.insert(local);
        }
        let response = answered.map_err(|error| root_cause(&error))?;
        exchange.status = Some(response.status().as_u16());
        let body = response
            .into_body()
            .collect()
            .await
            .map_err(|error| root_cause(&error))?;
        exchange.body = body.to_bytes().len() as u64;
        Ok(())
    }
}

/// Opens connections on a host for hyper-util's pool.
#[derive(Clone)]
struct Connector(Stack, Option<Duration>);

impl Service<Uri> for Connector {
    /// hyper-util tells the response of a `TcpStream`'s addresses.
    type Response = TokioIo<TcpStream>;
    type Error = io::Error;
    type Future = Pin<Box<dyn Future<Output = io::Result<Self::Response>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, uri: Uri) -> Self::Future {
        let Self(stack, patience) = self.clone();
        Box::pin(async move {
            let address: SocketAddr = uri
                .authority()
                .and_then(|authority| authority.as_str().parse().ok())
                .ok_or_else(|| io::Error::other(format!("{uri} names no address")))?;
            let socket = stack.socket().await.map_err(io::Error::other)?;
            connect_recorded(&stack, socket, address, patience, None)
                .await
                .map(TokioIo::new)
        })
    }
}
