//! A TCP connection as an application holds it: connect, read, write, close, each one recorded.

use std::{io, net::SocketAddr, sync::Arc, time::Duration};

use linger_shared::event::HostName;
use socket2::{SockRef, TcpKeepalive};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpSocket, TcpStream},
};

use super::errno_name;
use crate::{
    journal::Journal,
    lab::{LabError, Leftovers, Listener, Stack},
};

/// Keep-alive as a socket is given it (tcp(7): TCP_KEEPIDLE, TCP_KEEPINTVL, TCP_KEEPCNT).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KeepAlive {
    /// Silence before the first probe, in microseconds; the kernel takes whole seconds.
    pub idle_us: u64,
    /// Time between probes, in microseconds; the kernel takes whole seconds.
    pub interval_us: u64,
    /// Probes that may stay unanswered.
    pub count: u32,
}

/// What a read gave.
#[derive(Debug)]
pub enum ReadOutcome {
    /// Bytes.
    Data(Vec<u8>),
    /// End of stream: the peer closed its sending side.
    End,
    /// The connection failed.
    Failed(io::Error),
}

/// An open connection. Dropping it does not close it: it stays open until the run is over.
pub struct Connection {
    stream: Option<TcpStream>,
    journal: Arc<Journal>,
    leftovers: Arc<Leftovers>,
    host: HostName,
    local: Option<SocketAddr>,
}

impl Connection {
    /// Connects from a host to a listener of another, and accepts the connection there: both ends.
    /// Also gives the time at which `connect()` returned, on the run's clock.
    ///
    /// # Errors
    /// [`LabError::Application`] where `connect()` failed; nobody waits for the accept then.
    pub async fn pair(
        stack: &Stack,
        listener: &Listener,
        keepalive: Option<KeepAlive>,
    ) -> Result<(Self, Self, u64), LabError> {
        let open = async {
            let opened = Self::open(stack, listener.address(), keepalive).await?;
            let connected_us = stack.journal().now_us();
            opened
                .map(|connection| (connection, connected_us))
                .map_err(|error| LabError::Application {
                    host: stack.name(),
                    call: "connect()",
                    errno: errno_name(&error),
                })
        };
        let ((near, connected_us), far) = tokio::try_join!(open, Self::accept(listener))?;
        Ok((near, far, connected_us))
    }

    /// Connects from a host. What the application sees is recorded either way.
    ///
    /// # Errors
    /// The outer error is the laboratory's; the inner one is what `connect(2)` returned.
    pub async fn open(
        stack: &Stack,
        to: SocketAddr,
        keepalive: Option<KeepAlive>,
    ) -> Result<io::Result<Self>, LabError> {
        let socket = stack.socket().await?;
        if let Some(keepalive) = keepalive {
            set_keepalive(&SockRef::from(&socket), keepalive)
                .map_err(|source| LabError::io(format!("set {keepalive:?}"), source))?;
        }
        let connected = connect_recorded(stack, socket, to).await;
        Ok(connected.map(|stream| Self::new(stack, stream)))
    }

    /// Accepts one connection on a listener.
    ///
    /// # Errors
    /// What `accept(2)` returned: here a failure of the laboratory.
    pub async fn accept(listener: &Listener) -> Result<Self, LabError> {
        let journal = listener.stack.journal();
        let began_us = journal.now_us();
        let (stream, peer) =
            listener.socket.accept().await.map_err(|source| {
                LabError::io(format!("accept on {}", listener.address()), source)
            })?;
        journal.call(
            listener.stack.name(),
            "accept",
            "",
            peer.to_string(),
            None,
            began_us,
            stream.local_addr().ok(),
        );
        Ok(Self::new(&listener.stack, stream))
    }

    fn new(stack: &Stack, stream: TcpStream) -> Self {
        Self {
            local: stream.local_addr().ok(),
            stream: Some(stream),
            journal: Arc::clone(stack.journal()),
            leftovers: stack.leftovers(),
            host: stack.name(),
        }
    }

    /// Gives the stream to a protocol that goes over it and records calls of its own.
    ///
    /// # Errors
    /// ENOTCONN where it is closed.
    pub(super) fn into_stream(mut self) -> io::Result<TcpStream> {
        let closed = || io::Error::from(io::ErrorKind::NotConnected);
        self.stream.take().ok_or_else(closed)
    }

    /// Writes all of `bytes`.
    ///
    /// # Errors
    /// [`LabError::Application`] names what `write(2)` returned.
    pub async fn write(&mut self, bytes: &[u8]) -> Result<(), LabError> {
        let began_us = self.journal.now_us();
        let args = count(bytes.len());
        let written = match &mut self.stream {
            Some(stream) => stream.write_all(bytes).await,
            None => Err(io::ErrorKind::NotConnected.into()),
        };
        let (result, errno) = match &written {
            Ok(()) => ("ok".to_owned(), None),
            Err(error) => (errno_name(error), Some(errno_name(error))),
        };
        self.called("write", args, result, errno, began_us);
        written.map_err(|error| self.failed("write()", &error))
    }

    fn failed(&self, call: &'static str, error: &io::Error) -> LabError {
        LabError::Application {
            host: self.host,
            call,
            errno: errno_name(error),
        }
    }

    /// Reads once, for as long as it takes.
    ///
    /// A read that is given up (its future dropped) is recorded, at the run's end, as one that still
    /// waits.
    pub async fn read(&mut self) -> ReadOutcome {
        let began_us = self.journal.now_us();
        // Whether this is given up or the run ends meanwhile, the record says that it still waits.
        self.journal.waits(self.host, "read", began_us, self.local);
        let mut buffer = vec![0; 64 * 1024];
        let read = match &mut self.stream {
            Some(stream) => stream.read(&mut buffer).await,
            None => Err(io::ErrorKind::NotConnected.into()),
        };
        self.journal.waits_no_more(self.host, began_us);
        match read {
            Ok(0) => {
                self.called("read", "", "end of stream", None, began_us);
                ReadOutcome::End
            }
            Ok(length) => {
                buffer.truncate(length);
                self.called("read", "", count(length), None, began_us);
                ReadOutcome::Data(buffer)
            }
            Err(error) => {
                let name = errno_name(&error);
                self.called("read", "", name.clone(), Some(name), began_us);
                ReadOutcome::Failed(error)
            }
        }
    }

    /// Reads until `length` bytes are there.
    ///
    /// # Errors
    /// Where the stream ends or fails before that, which an exchange that nothing disturbs never
    /// does.
    pub async fn read_exactly(&mut self, length: usize) -> Result<Vec<u8>, LabError> {
        let mut bytes = Vec::new();
        while bytes.len() < length {
            match self.read().await {
                ReadOutcome::Data(more) => bytes.extend(more),
                ReadOutcome::End => {
                    return Err(LabError::Application {
                        host: self.host,
                        call: "read()",
                        errno: format!("end of stream after {} of {length} bytes", bytes.len()),
                    });
                }
                ReadOutcome::Failed(error) => return Err(self.failed("read()", &error)),
            }
        }
        Ok(bytes)
    }

    /// Closes the connection, as `close(2)` does: with FIN, where everything received was read.
    pub fn close(mut self) {
        let began_us = self.journal.now_us();
        self.called("close", "", "ok", None, began_us);
        drop(self.stream.take());
    }

    fn called(
        &self,
        call: &str,
        args: impl Into<String>,
        result: impl Into<String>,
        errno: Option<String>,
        began_us: u64,
    ) {
        self.journal
            .call(self.host, call, args, result, errno, began_us, self.local);
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        if let Some(stream) = self.stream.take() {
            self.leftovers.keep(stream);
        }
    }
}

/// Connects a socket of a host, and records the call and what it returned.
pub(super) async fn connect_recorded(
    stack: &Stack,
    socket: TcpSocket,
    to: SocketAddr,
) -> io::Result<TcpStream> {
    let journal = stack.journal();
    let began_us = journal.now_us();
    let connected = socket.connect(to).await;
    let (result, errno, local) = match &connected {
        Ok(stream) => ("ok".to_owned(), None, stream.local_addr().ok()),
        Err(error) => (errno_name(error), Some(errno_name(error)), None),
    };
    journal.call(
        stack.name(),
        "connect",
        to.to_string(),
        result,
        errno,
        began_us,
        local,
    );
    connected
}

fn set_keepalive(socket: &SockRef<'_>, keepalive: KeepAlive) -> io::Result<()> {
    socket.set_tcp_keepalive(
        &TcpKeepalive::new()
            .with_time(Duration::from_micros(keepalive.idle_us))
            .with_interval(Duration::from_micros(keepalive.interval_us))
            .with_retries(keepalive.count),
    )
}

pub(super) fn count(length: usize) -> String {
    match length {
        1 => "1 byte".to_owned(),
        _ => format!("{length} bytes"),
    }
}
