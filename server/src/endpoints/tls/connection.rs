//! A TLS connection as an application holds it: read, write, update keys, close.

use std::{io, net::SocketAddr, sync::Arc};

use linger_shared::event::{Call, Fact, HostName, Observer};
use rustls::CommonState;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};
use tokio_rustls::TlsStream;

use super::{
    super::{ReadOutcome, tcp::count},
    failed, tls_error_name,
};
use crate::{
    journal::Journal,
    lab::{LabError, Leftovers, Stack},
};

/// An open TLS connection. Dropping it closes nothing: its TCP connection stays open until the run
/// is over.
pub struct TlsConnection {
    stream: Option<TlsStream<TcpStream>>,
    journal: Arc<Journal>,
    leftovers: Arc<Leftovers>,
    host: HostName,
    local: Option<SocketAddr>,
    remote: Option<SocketAddr>,
}

impl TlsConnection {
    pub(super) fn new(
        stack: &Stack,
        stream: TlsStream<TcpStream>,
        local: Option<SocketAddr>,
    ) -> Self {
        Self {
            remote: stream.get_ref().0.peer_addr().ok(),
            stream: Some(stream),
            journal: Arc::clone(stack.journal()),
            leftovers: stack.leftovers(),
            host: stack.name(),
            local,
        }
    }

    /// What rustls knows of the connection; `None` once it is closed.
    pub fn state(&self) -> Option<&CommonState> {
        self.stream.as_ref().map(|stream| stream.get_ref().1)
    }

    /// Writes all of `bytes`, and lets them out.
    ///
    /// # Errors
    /// [`LabError::Application`] names what it came to.
    pub async fn write(&mut self, bytes: &[u8]) -> Result<(), LabError> {
        let began_us = self.journal.now_us();
        let written = match &mut self.stream {
            Some(stream) => match stream.write_all(bytes).await {
                Ok(()) => stream.flush().await,
                Err(error) => Err(error),
            },
            None => Err(io::ErrorKind::NotConnected.into()),
        };
        self.called(
            "tls_write",
            count(bytes.len()),
            outcome(&written, "ok"),
            began_us,
        );
        written.map_err(|error| failed(self.host, "tls_write()", &error))
    }

    /// Reads once, for as long as it takes. A stream that ends without close_notify (RFC 8446,
    /// section 6.1) is a failure of kind [`io::ErrorKind::UnexpectedEof`]: it may have been cut.
    pub async fn read(&mut self) -> ReadOutcome {
        let began_us = self.journal.now_us();
        let mut buffer = vec![0; 64 * 1024];
        let read = match &mut self.stream {
            Some(stream) => stream.read(&mut buffer).await,
            None => Err(io::ErrorKind::NotConnected.into()),
        };
        let told = match &read {
            Ok(0) => "end of stream, after close_notify".to_owned(),
            Ok(length) => count(*length),
            Err(_) => String::new(),
        };
        self.called("tls_read", String::new(), outcome(&read, &told), began_us);
        match read {
            Ok(0) => ReadOutcome::End,
            Ok(length) => {
                buffer.truncate(length);
                ReadOutcome::Data(buffer)
            }
            Err(error) => ReadOutcome::Failed(error),
        }
    }

    /// Reads until `length` bytes are there.
    ///
    /// # Errors
    /// Where the stream ends or fails before that.
    pub async fn read_exactly(&mut self, length: usize) -> Result<Vec<u8>, LabError> {
        let mut bytes = Vec::new();
        while bytes.len() < length {
            match self.read().await {
                ReadOutcome::Data(more) => bytes.extend(more),
                ReadOutcome::Failed(error) => {
                    return Err(failed(self.host, "tls_read()", &error));
                }
                _ => {
                    return Err(LabError::Application {
                        host: self.host,
                        call: "tls_read()",
                        errno: format!("end of stream after {} of {length} bytes", bytes.len()),
                    });
                }
            }
        }
        Ok(bytes)
    }

    /// Changes this side's keys (KeyUpdate, RFC 8446 section 4.6.3) with the next write. rustls
    /// asks for no answer, so the peer's keys stay as they are.
    ///
    /// # Errors
    /// [`LabError`] where the version has no such thing.
    pub fn update_keys(&mut self) -> Result<(), LabError> {
        let began_us = self.journal.now_us();
        let updated = match &mut self.stream {
            Some(TlsStream::Client(stream)) => stream.get_mut().1.refresh_traffic_keys(),
            Some(TlsStream::Server(stream)) => stream.get_mut().1.refresh_traffic_keys(),
            None => Err(rustls::Error::General(
                "the connection is closed".to_owned(),
            )),
        };
        let updated = updated.map_err(io::Error::other);
        let told = outcome(&updated, "ok");
        self.called("tls_update_keys", String::new(), told, began_us);
        updated.map_err(|error| failed(self.host, "tls_update_keys()", &error))
    }

    /// Says close_notify and closes the connection.
    pub async fn close(mut self) {
        let began_us = self.journal.now_us();
        let Some(mut stream) = self.stream.take() else {
            return;
        };
        // Also ends the sending side of the TCP connection.
        let closed = stream.shutdown().await;
        let told = outcome(&closed, "close_notify sent");
        self.called("tls_close", String::new(), told, began_us);
        drop(stream);
    }

    /// Closes the TCP connection and says no close_notify, as an application does that crashes.
    pub fn close_without_notify(mut self) {
        let began_us = self.journal.now_us();
        let told = ("ok, without close_notify".to_owned(), None);
        self.called("close", String::new(), told, began_us);
        drop(self.stream.take());
    }

    fn called(
        &self,
        call: &str,
        args: String,
        (result, errno): (String, Option<String>),
        began_us: u64,
    ) {
        let call = Call {
            call: call.to_owned(),
            args,
            result,
            errno,
            began_us: Some(began_us),
            local: self.local,
            remote: self.remote,
            on_behalf_of: None,
        };
        self.journal
            .record(Observer::App(self.host), Fact::Call(call));
    }
}

impl Drop for TlsConnection {
    fn drop(&mut self) {
        if let Some(stream) = self.stream.take() {
            let tcp = match stream {
                TlsStream::Client(stream) => stream.into_inner().0,
                TlsStream::Server(stream) => stream.into_inner().0,
            };
            self.leftovers.keep(tcp);
        }
    }
}

/// What a call gave: in words, and the error's name where it failed.
fn outcome<T>(result: &io::Result<T>, told: &str) -> (String, Option<String>) {
    match result {
        Ok(_) => (told.to_owned(), None),
        Err(error) => {
            let name = tls_error_name(error);
            (name.clone(), Some(name))
        }
    }
}
