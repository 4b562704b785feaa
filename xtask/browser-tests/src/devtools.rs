//! The DevTools protocol: numbered calls and their answers, and events, over one WebSocket.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use anyhow::{Context, Result, anyhow, bail};
use futures_util::{SinkExt, StreamExt};
use serde_json::{Value, json};
use tokio::{
    sync::{mpsc, oneshot},
    time::timeout,
};
use tokio_tungstenite::{connect_async, tungstenite::Message};

/// How long the browser may take to answer one call.
const PATIENCE: Duration = Duration::from_secs(60);

/// What an attached tab gets of the browser's events.
pub(crate) type EventHandler = Box<dyn FnMut(&str, &Value) + Send>;

type Answer = Result<Value, String>;

#[derive(Default)]
struct Shared {
    next: u64,
    waiting: HashMap<u64, oneshot::Sender<Answer>>,
    handlers: HashMap<String, EventHandler>,
}

/// A connection to a browser, shared by its tabs.
#[derive(Clone)]
pub(crate) struct Connection {
    outgoing: mpsc::UnboundedSender<Message>,
    shared: Arc<Mutex<Shared>>,
}

impl std::fmt::Debug for Connection {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Connection")
    }
}

impl Connection {
    /// Connects to the browser's own address, as `DevToolsActivePort` tells it.
    pub(crate) async fn open(address: &str) -> Result<Self> {
        let (socket, _) = connect_async(address)
            .await
            .with_context(|| format!("connect to {address}"))?;
        let (mut sink, mut stream) = socket.split();
        let (outgoing, mut queue) = mpsc::unbounded_channel::<Message>();
        let shared = Arc::new(Mutex::new(Shared::default()));
        tokio::spawn(async move {
            while let Some(message) = queue.recv().await {
                if sink.send(message).await.is_err() {
                    break;
                }
            }
        });
        let received = Arc::clone(&shared);
        tokio::spawn(async move {
            while let Some(Ok(message)) = stream.next().await {
                if let Message::Text(text) = message {
                    dispatch(&received, text.as_str());
                }
            }
            // Whoever still waits learns that no answer will come.
            lock(&received).waiting.clear();
        });
        Ok(Self { outgoing, shared })
    }

    /// Calls a method and waits for its result.
    pub(crate) async fn call(
        &self,
        session: Option<&str>,
        method: &str,
        params: Value,
    ) -> Result<Value> {
        let (sender, receiver) = oneshot::channel();
        let id = {
            let mut shared = lock(&self.shared);
            shared.next += 1;
            let id = shared.next;
            shared.waiting.insert(id, sender);
            id
        };
        let mut message = json!({"id": id, "method": method, "params": params});
        if let Some(session) = session {
            message["sessionId"] = json!(session);
        }
        self.outgoing
            .send(Message::text(message.to_string()))
            .map_err(|_| anyhow!("{method}: the connection to the browser is closed"))?;
        match timeout(PATIENCE, receiver).await {
            Err(_) => bail!("{method}: no answer after {PATIENCE:?}"),
            Ok(Err(_)) => bail!("{method}: the browser went away"),
            Ok(Ok(Err(error))) => bail!("{method}: {error}"),
            Ok(Ok(Ok(result))) => Ok(result),
        }
    }

    /// Has the handler called with the name and the parameters of every event of a session.
    pub(crate) fn listen(&self, session: &str, handler: EventHandler) {
        lock(&self.shared)
            .handlers
            .insert(session.to_owned(), handler);
    }
}

fn dispatch(shared: &Mutex<Shared>, text: &str) {
    let Ok(message) = serde_json::from_str::<Value>(text) else {
        return;
    };
    let mut shared = lock(shared);
    if let Some(id) = message["id"].as_u64() {
        if let Some(sender) = shared.waiting.remove(&id) {
            let answer = match message.get("error") {
                Some(error) => Err(error["message"].as_str().unwrap_or("an error").to_owned()),
                None => Ok(message["result"].clone()),
            };
            let _ = sender.send(answer);
        }
    } else if let (Some(method), Some(session)) =
        (message["method"].as_str(), message["sessionId"].as_str())
        && let Some(handler) = shared.handlers.get_mut(session)
    {
        handler(method, &message["params"]);
    }
}

fn lock(shared: &Mutex<Shared>) -> std::sync::MutexGuard<'_, Shared> {
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}
