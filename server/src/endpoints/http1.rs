//! HTTP/1.1: an axum server on one host, a hyper client with hyper-util's pool on the other.

use std::{
    collections::HashSet,
    io,
    net::SocketAddr,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use axum::Router;
use bytes::Bytes;
use http::{HeaderValue, Request, Uri, header::CONNECTION};
use http_body_util::{BodyExt, Empty};
use hyper::server::conn::http1;
use hyper_util::{
    client::legacy::{Client, connect::HttpInfo},
    rt::{TokioIo, TokioTimer},
    service::TowerToHyperService,
};
use linger_shared::event::{Fact, HttpExchange, Observer};
use tokio::net::TcpStream;
use tower_service::Service;

use super::{connect_recorded, errno_name};
use crate::{
    journal::Journal,
    lab::{Crew, Listener, Stack},
};

/// Serves an axum application on a listener until the run is over.
pub async fn serve_http(listener: Listener, app: Router, crew: Crew) {
    loop {
        let Ok((stream, _)) = listener.socket.accept().await else {
            // The peer gave up before it was accepted, or descriptors are short.
            tokio::time::sleep(Duration::from_millis(10)).await;
            continue;
        };
        let service = TowerToHyperService::new(app.clone());
        crew.spawn(async move {
            // A connection that fails is seen on the wire and by the client.
            let _ = http1::Builder::new()
                .serve_connection(TokioIo::new(stream), service)
                .await;
        });
    }
}

/// Whether a client keeps its connections.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reuse {
    /// As HTTP/1.1 does by default (RFC 9112, section 9.3).
    Persistent,
    /// Each request says `Connection: close`.
    Close,
}

/// A hyper client with a pool of connections.
pub struct HttpClient {
    client: Client<Connector, Empty<Bytes>>,
    stack: Stack,
    server: SocketAddr,
    reuse: Reuse,
    requests: u32,
    seen: HashSet<SocketAddr>,
}

impl HttpClient {
    /// A client on a host that asks the server at `server`.
    pub fn new(stack: Stack, server: SocketAddr, reuse: Reuse, crew: Crew) -> Self {
        let client = Client::builder(crew)
            .pool_timer(TokioTimer::new())
            .build(Connector(stack.clone()));
        Self {
            client,
            stack,
            server,
            reuse,
            requests: 0,
            seen: HashSet::new(),
        }
    }

    /// Sends `GET target` and reads the response to its end.
    ///
    /// Returns the exchange, which is recorded too, whatever came of it.
    pub async fn get(&mut self, target: &str) -> HttpExchange {
        self.requests += 1;
        let journal: Arc<Journal> = Arc::clone(self.stack.journal());
        let mut exchange = HttpExchange {
            request: self.requests,
            line: format!("GET {target}"),
            status: None,
            error: None,
            began_us: journal.now_us(),
            body: 0,
            local: None,
            reused: false,
        };
        if let Err(error) = self.exchange(target, &mut exchange).await {
            exchange.error = Some(error);
        }
        journal.record(
            Observer::App(self.stack.name()),
            Fact::Http(exchange.clone()),
        );
        exchange
    }

    async fn exchange(&mut self, target: &str, exchange: &mut HttpExchange) -> Result<(), String> {
        let uri: Uri = format!("http://{}{target}", self.server)
            .parse()
            .map_err(|error| format!("{target}: {error}"))?;
        let mut request = Request::get(uri)
            .body(Empty::new())
            .map_err(|error| error.to_string())?;
        if self.reuse == Reuse::Close {
            request
                .headers_mut()
                .insert(CONNECTION, HeaderValue::from_static("close"));
        }
        let response = self
            .client
            .request(request)
            .await
            .map_err(|error| root_cause(&error))?;
        if let Some(info) = response.extensions().get::<HttpInfo>() {
            exchange.local = Some(info.local_addr());
            exchange.reused = !self.seen.insert(info.local_addr());
        }
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

/// The errno at the bottom of a library's error, or the error's own words.
fn root_cause(error: &(dyn std::error::Error + 'static)) -> String {
    let mut cause = Some(error);
    let mut last = error.to_string();
    while let Some(inner) = cause {
        if let Some(io) = inner.downcast_ref::<io::Error>() {
            return errno_name(io);
        }
        last = inner.to_string();
        cause = inner.source();
    }
    last
}

/// Opens connections on a host for hyper-util's pool.
#[derive(Clone)]
struct Connector(Stack);

impl Service<Uri> for Connector {
    /// hyper-util tells the response of a `TcpStream`'s addresses.
    type Response = TokioIo<TcpStream>;
    type Error = io::Error;
    type Future = Pin<Box<dyn Future<Output = io::Result<Self::Response>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, uri: Uri) -> Self::Future {
        let stack = self.0.clone();
        Box::pin(async move {
            let address: SocketAddr = uri
                .authority()
                .and_then(|authority| authority.as_str().parse().ok())
                .ok_or_else(|| io::Error::other(format!("{uri} names no address")))?;
            let socket = stack.socket().await.map_err(io::Error::other)?;
            connect_recorded(&stack, socket, address)
                .await
                .map(TokioIo::new)
        })
    }
}
