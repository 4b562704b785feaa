//! The relay: byte streams between loopback sockets, where there are no namespaces.
//!
//! A connection to the relay's front is carried on to a backend. What is read from one side is
//! written to the other after the delay, in order. A kernel answers on each side of the relay, so
//! there are no packets to show: events speak of chunks of a stream, and a cut makes the stream
//! wait instead of losing a part of it. A reset ends both directions at once, and what was on its
//! way is lost, as it is in a kernel's queues.
//!
//! Each front has a [`Way`] of its own, so a run with a proxy has one between client and proxy and
//! one between proxy and server.

use std::{
    collections::BTreeMap,
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
use tokio_util::sync::CancellationToken;

use super::rules::Rules;
use crate::journal::Journal;

/// How many bytes are read at once.
const CHUNK: usize = 16 * 1024;

/// How many chunks may wait out their delay in one direction before reading stops.
const WAITING: usize = 1_024;

/// Between which hosts a front carries, and how long that takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Way {
    /// Who opens connections.
    pub from: HostName,
    /// Who accepts them.
    pub to: HostName,
    /// How long a chunk takes from `from` to `to`.
    pub there: Duration,
    /// How long it takes back.
    pub back: Duration,
}

/// What joins the hosts on loopback.
#[derive(Clone)]
pub struct Relay {
    journal: Arc<Journal>,
    rules: Arc<Rules>,
    connections: Arc<AtomicU32>,
    /// Connections that are carried, and chunks that are on their way.
    load: Arc<watch::Sender<Load>>,
}

/// What a relay is busy with.
#[derive(Default)]
struct Load {
    carried: usize,
    /// By id, with the connection.
    chunks: BTreeMap<u64, u32>,
    over: bool,
}

impl Relay {
    /// A relay that has no front yet.
    pub fn new(journal: Arc<Journal>, rules: Arc<Rules>) -> Self {
        Self {
            journal,
            rules,
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
            for id in std::mem::take(&mut load.chunks).into_keys() {
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

    /// Drops what is still on its way on one connection, because it was reset.
    fn forget(&self, connection: u32) {
        self.load.send_modify(|load| {
            load.chunks.retain(|&id, of| {
                let goes = *of == connection;
                if goes {
                    self.lost(id, "reset", "connection reset", 0.5);
                }
                !goes
            });
        });
    }

    /// Opens a front whose connections are carried to `backend` on its way, and gives the front's
    /// address and the work to be spawned.
    ///
    /// # Errors
    /// What `bind(2)` returned.
    pub async fn front(
        &self,
        way: Way,
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
                            carried.spawn(relay.clone().carry(way, stream, backend));
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

    async fn carry(self, way: Way, near: TcpStream, backend: SocketAddr) {
        self.load.send_modify(|load| load.carried += 1);
        let connection = self.connections.fetch_add(1, Ordering::Relaxed);
        self.carry_streams(way, connection, near, backend).await;
        self.load.send_modify(|load| load.carried -= 1);
    }

    async fn carry_streams(&self, way: Way, connection: u32, near: TcpStream, backend: SocketAddr) {
        let there = Direction {
            relay: self.clone(),
            connection,
            from: way.from,
            to: way.to,
            delay: way.there,
            opener: near.peer_addr().ok(),
            reset: CancellationToken::new(),
        };
        let id = there.departed(ChunkContent::Open, &[]);
        sleep_until(Instant::now() + way.there).await;
        self.rules.passable(way.from).await;
        let far = match TcpStream::connect(backend).await {
            Ok(far) => far,
            Err(error) => {
                there.lost(id, "backend", &crate::endpoints::errno_name(&error));
                return;
            }
        };
        there.arrived(id);
        let back = Direction {
            relay: self.clone(),
            connection,
            from: way.to,
            to: way.from,
            delay: way.back,
            opener: far.local_addr().ok(),
            reset: there.reset.clone(),
        };
        for stream in [&near, &far] {
            // The relay adds its own delay and no other.
            let _ = stream.set_nodelay(true);
        }
        let reset = there.reset.clone();
        let (near_read, near_write) = near.into_split();
        let (far_read, far_write) = far.into_split();
        tokio::select! {
            _ = async {
                tokio::join!(
                    there.pump(near_read, far_write),
                    back.pump(far_read, near_write),
                )
            } => {}
            // Nobody holds the sockets any more then, and the one that was told not to linger
            // says RST.
            () = reset.cancelled() => self.forget(connection),
        }
    }
}

/// One direction of a carried connection.
struct Direction {
    relay: Relay,
    connection: u32,
    from: HostName,
    to: HostName,
    delay: Duration,
    /// What the connection's opener is called on the sending host.
    opener: Option<SocketAddr>,
    /// Cancelled when a reset was passed on, in either direction.
    reset: CancellationToken,
}

/// What waits out its delay.
struct Waiting {
    due: Instant,
    id: u64,
    content: ChunkContent,
    bytes: Vec<u8>,
}

impl Direction {
    async fn pump(&self, reader: OwnedReadHalf, writer: OwnedWriteHalf) {
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
                due: Instant::now() + self.delay,
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
                    // The socket may be gone already; then there is nobody to tell.
                    let _ = SockRef::from(writer.as_ref()).set_linger(Some(Duration::ZERO));
                    // Dropping this half would say FIN first.
                    writer.forget();
                    self.reset.cancel();
                    return;
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
            opener: self.opener,
        });
        self.relay.load.send_modify(|load| {
            if !load.over {
                self.relay.journal.record(Observer::Wire, departed);
                load.chunks.insert(id, self.connection);
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
            if load.chunks.remove(&id).is_some() {
                record();
            }
        });
    }
}
