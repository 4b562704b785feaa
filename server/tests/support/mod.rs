//! A server of its own for each test, and the requests that a browser would send to it.

use std::{
    net::{IpAddr, Ipv4Addr, SocketAddr},
    time::Duration,
};

use futures_util::StreamExt;
use http_body_util::{BodyExt, Full};
use hyper::{Request, StatusCode, body::Bytes, client::conn::http1, header};
use hyper_util::rt::TokioIo;
use linger::{
    api::{self, Limits, Pace, Settings},
    runs::{Config, Manager},
};
use linger_shared::{event::Event, protocol::StreamMessage};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpSocket, TcpStream},
    sync::oneshot,
    task::JoinHandle,
    time::timeout,
};
use tokio_tungstenite::{
    MaybeTlsStream, WebSocketStream, connect_async,
    tungstenite::{Error, Message, client::IntoClientRequest},
};

/// Longer than anything here takes on a busy machine: a test that waits this long has failed.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

/// The usual visitor.
const LOOPBACK: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

/// A server on a port of its own.
pub(crate) struct Server {
    pub(crate) address: SocketAddr,
    pub(crate) manager: Manager,
    stop: Option<oneshot::Sender<()>>,
    serving: JoinHandle<()>,
}

impl Server {
    pub(crate) async fn start() -> Self {
        Self::with(Config::default(), Pace::default()).await
    }

    pub(crate) async fn with(config: Config, pace: Pace) -> Self {
        let settings = Settings {
            pace,
            ..Settings::local(None)
        };
        Self::set(config, settings).await
    }

    pub(crate) async fn limited(limits: Limits) -> Self {
        let settings = Settings {
            limits,
            ..Settings::local(None)
        };
        Self::set(Config::default(), settings).await
    }

    pub(crate) async fn set(config: Config, settings: Settings) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let manager = Manager::new(config).unwrap();
        let (stop, stopped) = oneshot::channel();
        let runs = manager.clone();
        let shutdown = async move {
            let _ = stopped.await;
            runs.shutdown().await;
        };
        let serving = tokio::spawn(api::serve(listener, manager.clone(), settings, shutdown));
        Self {
            address,
            manager,
            stop: Some(stop),
            serving,
        }
    }

    /// Asks the server to end, as SIGTERM does.
    pub(crate) fn ask_to_end(&mut self) {
        self.stop.take().unwrap().send(()).unwrap();
    }

    /// Waits for the server to have ended.
    pub(crate) async fn ended(self) {
        timeout(PATIENCE, self.serving).await.unwrap().unwrap();
    }

    pub(crate) async fn get(&self, path: &str) -> Reply {
        self.send("GET", path, &[], "").await
    }

    pub(crate) async fn post(&self, path: &str, body: &Value) -> Reply {
        let headers = [("content-type", "application/json")];
        self.send("POST", path, &headers, &body.to_string()).await
    }

    pub(crate) async fn send(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: &str,
    ) -> Reply {
        self.send_from(LOOPBACK, method, path, headers, body).await
    }

    /// Sends a request from a loopback address: each of 127.0.0.0/8 is a visitor of its own.
    pub(crate) async fn send_from(
        &self,
        visitor: IpAddr,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: &str,
    ) -> Reply {
        let stream = self.connect_from(visitor).await;
        let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.unwrap();
        let connection = tokio::spawn(connection);
        let mut request = Request::builder().method(method).uri(path);
        if !headers.iter().any(|(name, _)| *name == "host") {
            request = request.header(header::HOST, self.address.to_string());
        }
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let body = Full::new(Bytes::from(body.to_owned()));
        let request = request.body(body).unwrap();
        let response = timeout(PATIENCE, sender.send_request(request))
            .await
            .unwrap()
            .unwrap();
        let (parts, body) = response.into_parts();
        let body = timeout(PATIENCE, body.collect()).await.unwrap().unwrap();
        drop(sender);
        connection.await.unwrap().unwrap();
        let bytes = body.to_bytes();
        Reply {
            status: parts.status,
            headers: parts.headers,
            body: String::from_utf8_lossy(&bytes).into_owned(),
            bytes,
        }
    }

    /// A connection from a loopback address.
    pub(crate) async fn connect_from(&self, visitor: IpAddr) -> TcpStream {
        let socket = TcpSocket::new_v4().unwrap();
        socket.bind(SocketAddr::new(visitor, 0)).unwrap();
        socket.connect(self.address).await.unwrap()
    }

    /// Sends bytes as they are, and reads until the server closes or nothing more comes.
    pub(crate) async fn say(&self, bytes: &[u8]) -> Vec<u8> {
        let mut stream = TcpStream::connect(self.address).await.unwrap();
        // A server that has heard enough may close before all is sent.
        let _ = stream.write_all(bytes).await;
        let mut heard = Vec::new();
        let read = async {
            // How the connection ends does not matter here, only what came before.
            let _ = stream.read_to_end(&mut heard).await;
        };
        timeout(PATIENCE, read)
            .await
            .expect("the server keeps the connection open");
        heard
    }

    /// Starts requests in sequence over the relay; gives the run's id.
    pub(crate) async fn run_requests(&self, requests: u32, pause: &str) -> String {
        let reply = self
            .post(
                "/api/runs",
                &json!({
                    "experiment": "http-sequential",
                    "mode": "relay",
                    "params": {"requests": requests, "pause": pause, "delay": "0s"}
                }),
            )
            .await;
        assert_eq!(reply.status, StatusCode::CREATED, "{}", reply.body);
        reply.json()["id"].as_str().unwrap().to_owned()
    }

    /// Waits until the run is over; gives its state.
    pub(crate) async fn state_at_the_end(&self, id: &str) -> String {
        let mut viewer = self.watch(id, u64::MAX).await;
        loop {
            match viewer.next().await {
                Some(StreamMessage::End { state }) => return state.as_str().to_owned(),
                Some(_) => {}
                None => panic!("the stream of {id} ended without saying so"),
            }
        }
    }

    /// Opens the stream of a run.
    pub(crate) async fn watch(&self, id: &str, from: u64) -> Viewer {
        let url = format!("ws://{}/api/runs/{id}/events?from={from}", self.address);
        let (socket, _) = timeout(PATIENCE, connect_async(url))
            .await
            .unwrap()
            .unwrap();
        Viewer(socket)
    }

    /// Tries to open the stream of a run with a header of the page's browser; gives the status.
    pub(crate) async fn watch_as(&self, id: &str, name: &'static str, value: &str) -> StatusCode {
        let url = format!("ws://{}/api/runs/{id}/events", self.address);
        let mut request = url.into_client_request().unwrap();
        request.headers_mut().insert(name, value.parse().unwrap());
        match connect_async(request).await {
            Ok((_, response)) => response.status(),
            Err(Error::Http(response)) => response.status(),
            Err(error) => panic!("{error}"),
        }
    }
}

/// An answer, read to its end.
#[derive(Debug)]
pub(crate) struct Reply {
    pub(crate) status: StatusCode,
    pub(crate) headers: hyper::HeaderMap,
    /// The body as text.
    pub(crate) body: String,
    /// The body as it came.
    pub(crate) bytes: Bytes,
}

impl Reply {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{error}: {}", self.body))
    }

    /// Its body as JSON Lines.
    pub(crate) fn lines(&self) -> Vec<Value> {
        self.body
            .lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect()
    }
}

/// A viewer's end of a stream.
pub(crate) struct Viewer(pub(crate) WebSocketStream<MaybeTlsStream<TcpStream>>);

impl Viewer {
    /// The next message; `None` when the server closed with code 1000.
    pub(crate) async fn next(&mut self) -> Option<StreamMessage> {
        loop {
            let message = timeout(PATIENCE, self.0.next())
                .await
                .expect("the stream is silent");
            match message {
                Some(Ok(Message::Text(text))) => {
                    return Some(serde_json::from_str(&text).unwrap());
                }
                Some(Ok(Message::Close(frame))) => {
                    assert_eq!(u16::from(frame.unwrap().code), 1000);
                    return None;
                }
                Some(Ok(_)) => {}
                other => panic!("the stream broke off: {other:?}"),
            }
        }
    }

    /// Every event until there are at least `count` of them or the stream ends.
    pub(crate) async fn events(&mut self, count: usize) -> Vec<Event> {
        let mut events = Vec::new();
        while events.len() < count {
            match self.next().await {
                Some(StreamMessage::Events { events: batch, .. }) => events.extend(batch),
                Some(_) => {}
                None => break,
            }
        }
        events
    }

    pub(crate) async fn close(mut self) {
        self.0.close(None).await.unwrap();
        while let Some(Ok(_)) = self.0.next().await {}
    }
}
