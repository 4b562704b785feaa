//! The relay: byte streams between loopback sockets, where there are no namespaces.
//!
//! A connection to the relay's front is carried on to a backend. What is read from one side is
//! written to the other after the delay, in order. A kernel answers on each side of the relay, so
//! there are no packets to show: events speak of chunks of a stream, and a cut makes the stream
//! wait instead of losing a part of it.

use std::{
    collections::BTreeSet,
    io,
    net::{Ipv4Addr, SocketAddr},
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use linger_shared::{
    dissect::http1::first_line,
    event::{Chunk, ChunkContent, Fact, HostName, Observer, to_hex},
};
use socket2::SockRef;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{
        TcpListener, TcpStream,
        tcp::{OwnedReadHalf, OwnedWriteHalf},
    },
    sync::{mpsc, watch},
    task::JoinSet,
    time::{Instant, sleep_until},
};

use super::rules::Rules;
use crate::journal::Journal;

/// How many bytes are read at once.
const CHUNK: usize = 16 * 1024;

/// How many chunks may wait out their delay in one direction before reading stops.
const WAITING: usize = 1_024;

/// What joins two hosts on loopback.
#[derive(Clone)]
pub struct Relay {
    journal: Arc<Journal>,
    rules: Arc<Rules>,
    delay: Duration,
    connections: Arc<AtomicU32>,
    /// Connections that are carried, and chunks that are on their way.
    load: Arc<watch::Sender<Load>>,
}

/// What a relay is busy with.
#[derive(Default)]
struct Load {
    carried: usize,
    chunks: BTreeSet<u64>,
    over: bool,
}

impl Relay {
    /// A relay that delays every chunk by `delay` in either direction.
    pub fn new(journal: Arc<Journal>, rules: Arc<Rules>, delay: Duration) -> Self {
        Self {
            journal,
            rules,
            delay,
            connections: Arc::default(),
            load: Arc::new(watch::Sender::new(Load::default())),
        }
    }

    /// Returns when no chunk is on its way.
    pub async fn settled(&self) {
        // The sender is held here, so the waiting cannot fail.
        let _ = self
            .load
            .subscribe()
            .wait_for(|load| load.chunks.is_empty())
            .await;
    }

    /// Returns when no connection is carried any more.
    pub async fn idle(&self) {
        let _ = self
            .load
            .subscribe()
            .wait_for(|load| load.carried == 0)
            .await;
    }

    /// Drops what is still on its way, each chunk with an event that says so. Nothing is recorded
    /// afterwards.
    pub fn end(&self) {
        self.load.send_modify(|load| {
            load.over = true;
            for id in std::mem::take(&mut load.chunks) {
                self.lost(id, "end", "run over", 0.5);
            }
        });
    }

    fn lost(&self, id: u64, rule: &str, reason: &str, place: f64) {
        self.journal.record(
            Observer::Wire,
            Fact::ChunkDropped {
                id,
                rule: rule.to_owned(),
                reason: reason.to_owned(),
                place,
            },
        );
    }

    /// Opens a front for the client whose connections are carried to `backend`, and gives the
    /// front's address and the work to be spawned.
    ///
    /// # Errors
    /// What `bind(2)` returned.
    pub async fn front(
        &self,
        backend: SocketAddr,
    ) -> io::Result<(SocketAddr, impl Future<Output = ()> + Send + 'static)> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let address = listener.local_addr()?;
        let relay = self.clone();
        let work = async move {
            let mut carried = JoinSet::new();
            loop {
                tokio::select! {
                    accepted = listener.accept() => match accepted {
                        Ok((stream, _)) => {
                            carried.spawn(relay.clone().carry(stream, backend));
                        }
                        // The client gave up, or descriptors are short: the next may succeed.
                        Err(_) => tokio::time::sleep(Duration::from_millis(10)).await,
                    },
                    Some(_) = carried.join_next() => {}
                }
            }
        };
        Ok((address, work))
    }

    async fn carry(self, client: TcpStream, backend: SocketAddr) {
        self.load.send_modify(|load| load.carried += 1);
        self.carry_streams(client, backend).await;
        self.load.send_modify(|load| load.carried -= 1);
    }

    async fn carry_streams(&self, client: TcpStream, backend: SocketAddr) {
        let connection = self.connections.fetch_add(1, Ordering::Relaxed);
        let to_server = Direction {
            relay: self.clone(),
            connection,
            from: HostName::Client,
            to: HostName::Server,
        };
        let to_client = Direction {
            relay: self.clone(),
            connection,
            from: HostName::Server,
            to: HostName::Client,
        };
        let id = to_server.departed(ChunkContent::Open, &[]);
        sleep_until(Instant::now() + self.delay).await;
        self.rules.passable(HostName::Client).await;
        let server = match TcpStream::connect(backend).await {
            Ok(server) => server,
            Err(error) => {
                to_server.lost(id, "backend", &crate::endpoints::errno_name(&error));
                return;
            }
        };
        to_server.arrived(id);
        for stream in [&client, &server] {
            // The relay adds its own delay and no other.
            let _ = stream.set_nodelay(true);
        }
        let (client_read, client_write) = client.into_split();
        let (server_read, server_write) = server.into_split();
        tokio::join!(
            to_server.pump(client_read, server_write),
            to_client.pump(server_read, client_write),
        );
    }
}

/// One direction of a carried connection.
struct Direction {
    relay: Relay,
    connection: u32,
    from: HostName,
    to: HostName,
}

/// What waits out its delay.
struct Waiting {
    due: Instant,
    id: u64,
    content: ChunkContent,
    bytes: Vec<u8>,
}

impl Direction {
    async fn pump(self, reader: OwnedReadHalf, writer: OwnedWriteHalf) {
        let (sender, receiver) = mpsc::channel(WAITING);
        tokio::join!(
            self.take_in(reader, sender),
            self.give_out(writer, receiver)
        );
    }

    async fn take_in(&self, mut reader: OwnedReadHalf, waiting: mpsc::Sender<Waiting>) {
        let mut buffer = vec![0; CHUNK];
        loop {
            let (content, bytes) = match reader.read(&mut buffer).await {
                Ok(0) => (ChunkContent::End, Vec::new()),
                Ok(length) => (ChunkContent::Data, buffer[..length].to_vec()),
                Err(_) => (ChunkContent::Reset, Vec::new()),
            };
            let id = self.departed(content, &bytes);
            let chunk = Waiting {
                due: Instant::now() + self.relay.delay,
                id,
                content,
                bytes,
            };
            if waiting.send(chunk).await.is_err() || content != ChunkContent::Data {
                return;
            }
        }
    }

    async fn give_out(&self, mut writer: OwnedWriteHalf, mut waiting: mpsc::Receiver<Waiting>) {
        let mut failure: Option<String> = None;
        while let Some(chunk) = waiting.recv().await {
            sleep_until(chunk.due).await;
            self.relay.rules.passable(self.from).await;
            if let Some(failure) = &failure {
                self.lost(chunk.id, "receiver", failure);
                continue;
            }
            // Recorded before the write: the receiver may act on it during the write.
            self.arrived(chunk.id);
            let written = match chunk.content {
                ChunkContent::Data => writer.write_all(&chunk.bytes).await,
                ChunkContent::End => writer.shutdown().await,
                ChunkContent::Reset => {
                    // Closing with a linger time of zero sends an RST to the other side.
                    SockRef::from(writer.as_ref()).set_linger(Some(Duration::ZERO))
                }
                ChunkContent::Open => Ok(()),
            };
            if let Err(error) = written {
                failure = Some(crate::endpoints::errno_name(&error));
            }
        }
    }

    fn departed(&self, content: ChunkContent, bytes: &[u8]) -> u64 {
        let id = self.relay.journal.packet_id();
        let summary = match content {
            ChunkContent::Open => "connect".to_owned(),
            ChunkContent::Data => first_line(bytes).unwrap_or_else(|| match bytes.len() {
                1 => "1 byte".to_owned(),
                length => format!("{length} bytes"),
            }),
            ChunkContent::End => "end of stream".to_owned(),
            ChunkContent::Reset => "reset".to_owned(),
        };
        let departed = Fact::ChunkDeparted(Chunk {
            id,
            connection: self.connection,
            from: self.from,
            to: self.to,
            content,
            summary,
            bytes: to_hex(bytes),
        });
        self.relay.load.send_modify(|load| {
            if !load.over {
                self.relay.journal.record(Observer::Wire, departed);
                load.chunks.insert(id);
            }
        });
        id
    }

    fn arrived(&self, id: u64) {
        self.landed(id, || {
            self.relay
                .journal
                .record(Observer::Wire, Fact::ChunkArrived { id });
        });
    }

    fn lost(&self, id: u64, rule: &str, reason: &str) {
        self.landed(id, || self.relay.lost(id, rule, reason, 1.0));
    }

    /// Records a chunk's ending, unless it has one.
    fn landed(&self, id: u64, record: impl FnOnce()) {
        self.relay.load.send_modify(|load| {
            if load.chunks.remove(&id) {
                record();
            }
        });
    }
}
