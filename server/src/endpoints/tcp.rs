//! A TCP connection as an application holds it: connect, set, read, write, shut down, close, reset;
//! each one recorded.

use std::{io, net::SocketAddr, time::Duration};

use linger_shared::{
    event::{Call, Fact},
    units::human,
};
use socket2::SockRef;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpSocket, TcpStream},
};

use super::{KeepAlive, SocketOption, errno_name, options::set_recorded};
use crate::{
    journal::Ticket,
    lab::{LabError, Listener, Stack},
};

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

/// How far a write came.
#[derive(Debug)]
pub struct Written {
    /// Bytes that the kernel took.
    pub bytes: usize,
    /// Why not more.
    pub end: WriteEnd,
}

/// Why a write ended.
#[derive(Debug)]
pub enum WriteEnd {
    /// Everything is written.
    All,
    /// The kernel took nothing more for as long as the writer was patient.
    Blocked,
    /// The connection failed.
    Failed(io::Error),
}

/// How a connection is opened, beyond its address.
#[derive(Debug, Clone, Default)]
pub struct Dial {
    /// What the socket is told before `connect()`.
    pub options: Vec<SocketOption>,
    /// After which time the application gives `connect()` up by itself; the kernel's own patience
    /// decides where it is absent.
    pub patience: Option<Duration>,
    /// The port that it comes from; the kernel chooses one where it is absent.
    pub port: Option<u16>,
}

impl Dial {
    fn with(keepalive: Option<KeepAlive>) -> Self {
        Self {
            options: keepalive.map(SocketOption::KeepAlive).into_iter().collect(),
            ..Self::default()
        }
    }
}

/// An open connection. Dropping it does not close it: it stays open until the run is over.
pub struct Connection {
    stream: Option<TcpStream>,
    stack: Stack,
    local: Option<SocketAddr>,
    remote: Option<SocketAddr>,
    /// A read that was given up: until the next one, the record says that it still waits.
    given_up: Option<Ticket>,
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
        Self::pair_with(stack, listener, &Dial::with(keepalive)).await
    }

    /// The same as [`Connection::pair`], opened as `dial` says.
    ///
    /// # Errors
    /// [`LabError::Application`] where `connect()` failed; nobody waits for the accept then.
    pub async fn pair_with(
        stack: &Stack,
        listener: &Listener,
        dial: &Dial,
    ) -> Result<(Self, Self, u64), LabError> {
        let open = async {
            let opened = Self::dial(stack, listener.address(), dial).await?;
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

    /// Connects from a host to a listener of another, as `dial` says, and accepts the connection
    /// there: both ends.
    ///
    /// # Errors
    /// As for [`Connection::pair`].
    pub async fn dialled_pair(
        stack: &Stack,
        listener: &Listener,
        dial: &Dial,
    ) -> Result<(Self, Self), LabError> {
        let open = async {
            let opened = Self::dial(stack, listener.address(), dial).await?;
            opened.map_err(|error| LabError::Application {
                host: stack.name(),
                call: "connect()",
                errno: errno_name(&error),
            })
        };
        tokio::try_join!(open, Self::accept(listener))
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
        Self::dial(stack, to, &Dial::with(keepalive)).await
    }

    /// Connects from a host, as `dial` says. What the application sees is recorded either way.
    ///
    /// # Errors
    /// The outer error is the laboratory's, a refused option or port among them; the inner one is
    /// what `connect(2)` returned, or of the kind [`io::ErrorKind::TimedOut`] with words of its own
    /// where the application gave up first.
    pub async fn dial(
        stack: &Stack,
        to: SocketAddr,
        dial: &Dial,
    ) -> Result<io::Result<Self>, LabError> {
        let socket = stack.socket().await?;
        if let Some(port) = dial.port {
            let from = SocketAddr::from(([0, 0, 0, 0], port));
            socket
                .bind(from)
                .map_err(|source| LabError::io(format!("bind to port {port}"), source))?;
        }
        for option in &dial.options {
            set_recorded(stack, &SockRef::from(&socket), option, Call::default())?;
        }
        let connected = connect_recorded(stack, socket, to, dial.patience, None).await;
        Ok(connected.map(|stream| Self::new(stack, stream)))
    }

    /// Accepts one connection on a listener.
    ///
    /// # Errors
    /// What `accept(2)` returned: here a failure of the laboratory.
    pub async fn accept(listener: &Listener) -> Result<Self, LabError> {
        let stream = accept_recorded(listener)
            .await
            .map_err(|source| LabError::io(format!("accept on {}", listener.address()), source))?;
        Ok(Self::new(&listener.stack, stream))
    }

    pub(super) fn new(stack: &Stack, stream: TcpStream) -> Self {
        Self {
            local: stream.local_addr().ok(),
            remote: stream.peer_addr().ok(),
            stream: Some(stream),
            stack: stack.clone(),
            given_up: None,
        }
    }

    /// The host that it is on.
    pub fn stack(&self) -> &Stack {
        &self.stack
    }

    /// Its own address.
    pub fn local(&self) -> Option<SocketAddr> {
        self.local
    }

    /// Its peer's address, as this host knows it.
    pub fn remote(&self) -> Option<SocketAddr> {
        self.remote
    }

    /// The stream itself, for a protocol on top of it; nothing that happens to it is recorded from
    /// then on.
    ///
    /// # Errors
    /// ENOTCONN where it is gone.
    pub fn into_stream(mut self) -> io::Result<TcpStream> {
        self.stream
            .take()
            .ok_or_else(|| io::ErrorKind::NotConnected.into())
    }

    /// Tells the socket an option.
    ///
    /// # Errors
    /// [`LabError::Application`] names what `setsockopt(2)` returned.
    pub fn set(&self, option: &SocketOption) -> Result<(), LabError> {
        match &self.stream {
            Some(stream) => set_recorded(&self.stack, &SockRef::from(stream), option, self.about()),
            None => Err(self.failed("setsockopt()", &io::ErrorKind::NotConnected.into())),
        }
    }

    /// Writes all of `bytes`, for as long as it takes.
    ///
    /// # Errors
    /// [`LabError::Application`] names what `write(2)` returned.
    pub async fn write(&mut self, bytes: &[u8]) -> Result<(), LabError> {
        match self.write_within(bytes, Duration::MAX).await.end {
            WriteEnd::All | WriteEnd::Blocked => Ok(()),
            WriteEnd::Failed(error) => Err(self.failed("write()", &error)),
        }
    }

    /// Writes `bytes` until all are written, the connection fails, or the kernel has taken nothing
    /// more for `patience`.
    pub async fn write_within(&mut self, bytes: &[u8], patience: Duration) -> Written {
        let began_us = self.now_us();
        let ticket = self.waits("write", count(bytes.len()), began_us);
        let mut done = 0;
        let end = loop {
            if done == bytes.len() {
                break WriteEnd::All;
            }
            let Some(stream) = &mut self.stream else {
                break WriteEnd::Failed(io::ErrorKind::NotConnected.into());
            };
            match tokio::time::timeout(patience, stream.write(&bytes[done..])).await {
                Ok(Ok(taken)) => done += taken,
                Ok(Err(error)) => break WriteEnd::Failed(error),
                Err(_) => break WriteEnd::Blocked,
            }
        };
        self.stack.journal().waits_no_more(ticket);
        let so_far = |what: &str| match done {
            0 => what.to_owned(),
            _ => format!("{what} after {}", count(done)),
        };
        let (result, errno) = match &end {
            WriteEnd::All => ("ok".to_owned(), None),
            WriteEnd::Blocked => (so_far(&format!("blocked for {}", whole(patience))), None),
            WriteEnd::Failed(error) => (so_far(&errno_name(error)), Some(errno_name(error))),
        };
        self.called("write", count(bytes.len()), result, errno, began_us);
        Written { bytes: done, end }
    }

    fn failed(&self, call: &'static str, error: &io::Error) -> LabError {
        LabError::Application {
            host: self.stack.name(),
            call,
            errno: errno_name(error),
        }
    }

    /// Reads once, for as long as it takes.
    ///
    /// A read that is given up (its future dropped) is recorded, at the run's end, as one that still
    /// waits, unless another read follows it.
    pub async fn read(&mut self) -> ReadOutcome {
        let began_us = self.now_us();
        self.wait_for_data(began_us);
        let mut buffer = vec![0; 64 * 1024];
        let read = match &mut self.stream {
            Some(stream) => stream.read(&mut buffer).await,
            None => Err(io::ErrorKind::NotConnected.into()),
        };
        self.give_up_nothing();
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

    /// Reads once; gives `None`, and records that, where nothing has come within `patience`.
    pub async fn read_within(&mut self, patience: Duration) -> Option<ReadOutcome> {
        let began_us = self.now_us();
        match tokio::time::timeout(patience, self.read()).await {
            Ok(outcome) => Some(outcome),
            Err(_) => {
                self.give_up_nothing();
                let result = format!("nothing for {}", whole(patience));
                self.called("read", "", result, None, began_us);
                None
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
                        host: self.stack.name(),
                        call: "read()",
                        errno: format!("end of stream after {} of {length} bytes", bytes.len()),
                    });
                }
                ReadOutcome::Failed(error) => return Err(self.failed("read()", &error)),
            }
        }
        Ok(bytes)
    }

    /// Ends the sending side with FIN and goes on reading, as `shutdown(SHUT_WR)` does.
    ///
    /// # Errors
    /// [`LabError::Application`] names what `shutdown(2)` returned.
    pub async fn shutdown(&mut self) -> Result<(), LabError> {
        let began_us = self.now_us();
        let shut = match &mut self.stream {
            Some(stream) => stream.shutdown().await,
            None => Err(io::ErrorKind::NotConnected.into()),
        };
        let errno = shut.as_ref().err().map(errno_name);
        let result = errno.clone().unwrap_or_else(|| "ok".to_owned());
        self.called("shutdown", "SHUT_WR", result, errno, began_us);
        shut.map_err(|error| self.failed("shutdown()", &error))
    }

    /// Closes the connection, as `close(2)` does: with FIN, where everything received was read.
    pub fn close(mut self) {
        let began_us = self.now_us();
        self.give_up_nothing();
        self.called("close", "", "ok", None, began_us);
        drop(self.stream.take());
    }

    /// Aborts the connection: `close(2)` after SO_LINGER was set to 0 sends an RST.
    ///
    /// # Errors
    /// [`LabError::Application`] names what `setsockopt(2)` returned.
    pub fn reset(self) -> Result<(), LabError> {
        self.set(&SocketOption::Linger(Some(0)))?;
        self.close();
        Ok(())
    }

    fn now_us(&self) -> u64 {
        self.stack.journal().now_us()
    }

    /// Whether this is given up or the run ends meanwhile, the record says that it still waits.
    fn wait_for_data(&mut self, began_us: u64) {
        self.give_up_nothing();
        self.given_up = Some(self.waits("read", String::new(), began_us));
    }

    fn give_up_nothing(&mut self) {
        if let Some(ticket) = self.given_up.take() {
            self.stack.journal().waits_no_more(ticket);
        }
    }

    fn waits(&self, call: &str, args: String, began_us: u64) -> Ticket {
        let unfinished = Call {
            call: call.to_owned(),
            args,
            began_us: Some(began_us),
            ..self.about()
        };
        let journal = self.stack.journal();
        journal.waits(self.stack.name(), Fact::Call(unfinished))
    }

    /// What every call on this socket says of it.
    fn about(&self) -> Call {
        Call {
            local: self.local,
            remote: self.remote,
            ..Call::default()
        }
    }

    fn called(
        &self,
        call: &str,
        args: impl Into<String>,
        result: impl Into<String>,
        errno: Option<String>,
        began_us: u64,
    ) {
        let call = Call {
            call: call.to_owned(),
            args: args.into(),
            result: result.into(),
            errno,
            began_us: Some(began_us),
            ..self.about()
        };
        self.stack.journal().called(self.stack.name(), call);
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        if let Some(stream) = self.stream.take() {
            self.stack.leftovers().keep(stream);
        }
    }
}

/// Connects a socket of a host, and records the call and what it returned. A proxy says for which
/// of its clients it does so.
///
/// # Errors
/// What `connect(2)` returned, or that `patience` has run out: then of the kind
/// [`io::ErrorKind::TimedOut`].
pub(super) async fn connect_recorded(
    stack: &Stack,
    socket: TcpSocket,
    to: SocketAddr,
    patience: Option<Duration>,
    on_behalf_of: Option<SocketAddr>,
) -> io::Result<TcpStream> {
    let journal = stack.journal();
    let began_us = journal.now_us();
    let about = Call {
        call: "connect".to_owned(),
        args: to.to_string(),
        began_us: Some(began_us),
        remote: Some(to),
        on_behalf_of,
        ..Call::default()
    };
    let ticket = journal.waits(stack.name(), Fact::Call(about.clone()));
    let connecting = socket.connect(to);
    let connected = match patience {
        None => connecting.await,
        Some(patience) => tokio::time::timeout(patience, connecting)
            .await
            .unwrap_or_else(|_| {
                let words = format!("gave up after {}", whole(patience));
                Err(io::Error::new(io::ErrorKind::TimedOut, words))
            }),
    };
    journal.waits_no_more(ticket);
    let result = match &connected {
        Ok(_) => "ok".to_owned(),
        Err(error) => errno_name(error),
    };
    // Giving up is the application's own doing; no errno says so.
    let errno = connected
        .as_ref()
        .err()
        .filter(|error| error.get_ref().is_none())
        .map(errno_name);
    journal.called(
        stack.name(),
        Call {
            result,
            errno,
            local: connected
                .as_ref()
                .ok()
                .and_then(|stream| stream.local_addr().ok()),
            ..about
        },
    );
    connected
}

/// Accepts a connection and records it.
pub(super) async fn accept_recorded(listener: &Listener) -> io::Result<TcpStream> {
    let journal = listener.stack.journal();
    let began_us = journal.now_us();
    let (stream, peer) = listener.socket.accept().await?;
    journal.called(
        listener.stack.name(),
        Call {
            call: "accept".to_owned(),
            result: peer.to_string(),
            began_us: Some(began_us),
            local: stream.local_addr().ok(),
            remote: Some(peer),
            ..Call::default()
        },
    );
    Ok(stream)
}

/// A span of time in words.
pub(super) fn whole(span: Duration) -> String {
    human(u64::try_from(span.as_micros()).unwrap_or(u64::MAX))
}

pub(super) fn count(length: usize) -> String {
    match length {
        1 => "1 byte".to_owned(),
        _ => format!("{length} bytes"),
    }
}
