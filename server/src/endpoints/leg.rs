//! A socket in the hands of a library or a proxy: what such a party does with a connection is
//! recorded here, at the socket, because it says nothing itself.
//!
//! A [`Leg`] reads and writes as its stream does. It records the end of the stream, a failure, and
//! its own closing with the bytes that went through and the reason, if it was given one; single
//! reads and writes it only counts.

use std::{
    io,
    net::SocketAddr,
    pin::Pin,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    task::{Context, Poll},
    time::Duration,
};

use linger_shared::event::{Call, Fact};
use socket2::SockRef;
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::TcpStream,
};

use super::{Closing, SocketOption, errno_name, options::set_recorded, tcp::count};
use crate::{
    journal::Ticket,
    lab::{LabError, Stack},
};

/// A connection that is read and written by somebody else.
pub(super) struct Leg {
    stream: TcpStream,
    account: Arc<Account>,
    /// The waiting for more to read, while there may be more.
    waits: Option<Ticket>,
}

/// What is known of a leg, for those who do not hold it.
pub(super) struct Account {
    stack: Stack,
    about: Call,
    read: AtomicU64,
    written: AtomicU64,
    /// When bytes last went through, in microseconds on the run's clock.
    last_us: AtomicU64,
    failed: AtomicBool,
    /// Why it is being closed.
    reason: Mutex<String>,
}

impl Leg {
    /// Takes over a stream. A proxy's connection to its backend says for which client it is.
    pub(super) fn new(stack: &Stack, stream: TcpStream, on_behalf_of: Option<SocketAddr>) -> Self {
        let journal = stack.journal();
        let about = Call {
            local: stream.local_addr().ok(),
            remote: stream.peer_addr().ok(),
            on_behalf_of,
            ..Call::default()
        };
        let now_us = journal.now_us();
        let read = Call {
            call: "read".to_owned(),
            began_us: Some(now_us),
            ..about.clone()
        };
        Self {
            stream,
            waits: Some(journal.waits(stack.name(), Fact::Call(read))),
            account: Arc::new(Account {
                stack: stack.clone(),
                about,
                read: AtomicU64::new(0),
                written: AtomicU64::new(0),
                last_us: AtomicU64::new(now_us),
                failed: AtomicBool::new(false),
                reason: Mutex::default(),
            }),
        }
    }

    /// What is known of it.
    pub(super) fn account(&self) -> Arc<Account> {
        Arc::clone(&self.account)
    }

    /// Tells its socket an option, and records that.
    ///
    /// # Errors
    /// [`LabError::Application`] names what `setsockopt(2)` returned.
    pub(super) fn set(&self, option: &SocketOption) -> Result<(), LabError> {
        let account = &self.account;
        let socket = SockRef::from(&self.stream);
        set_recorded(&account.stack, &socket, option, account.about.clone())
    }

    /// Closes it: with an RST where `closing` says so.
    pub(super) fn close(self, closing: Closing, reason: &str) {
        self.account.because(reason);
        if closing == Closing::Rst {
            // A socket that refuses is closed with FIN; the record says so.
            let _ = self.set(&SocketOption::Linger(Some(0)));
        }
    }

    fn heard_the_last(&mut self, result: &str, errno: Option<String>) {
        if let Some(ticket) = self.waits.take() {
            self.account.stack.journal().waits_no_more(ticket);
            let read = self.account.read.load(Ordering::Relaxed);
            let result = format!("{result} after {}", bytes(read));
            self.account.called("read", String::new(), result, errno);
        }
    }
}

impl Account {
    /// The peer's address.
    pub(super) fn remote(&self) -> Option<SocketAddr> {
        self.about.remote
    }

    /// Its own address.
    pub(super) fn local(&self) -> Option<SocketAddr> {
        self.about.local
    }

    /// For how long nothing has gone through.
    pub(super) fn quiet(&self) -> Duration {
        let now_us = self.stack.journal().now_us();
        Duration::from_micros(now_us.saturating_sub(self.last_us.load(Ordering::Relaxed)))
    }

    /// Says why it will be closed; the first reason counts.
    pub(super) fn because(&self, reason: &str) {
        let mut stored = self.reason.lock().unwrap_or_else(PoisonError::into_inner);
        if stored.is_empty() {
            reason.clone_into(&mut stored);
        }
    }

    /// Records a call on it that its holder made.
    pub(super) fn called(&self, call: &str, args: String, result: String, errno: Option<String>) {
        self.stack.journal().called(
            self.stack.name(),
            Call {
                call: call.to_owned(),
                args,
                result,
                errno,
                ..self.about.clone()
            },
        );
    }

    fn moved(&self, counter: &AtomicU64, length: usize) {
        counter.fetch_add(length as u64, Ordering::Relaxed);
        let now_us = self.stack.journal().now_us();
        self.last_us.store(now_us, Ordering::Relaxed);
    }
}

impl Drop for Leg {
    fn drop(&mut self) {
        if let Some(ticket) = self.waits.take() {
            self.account.stack.journal().waits_no_more(ticket);
        }
        let reason = self
            .account
            .reason
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone();
        let account = &self.account;
        let result = format!(
            "ok, {} read, {} written",
            bytes(account.read.load(Ordering::Relaxed)),
            bytes(account.written.load(Ordering::Relaxed))
        );
        account.called("close", reason, result, None);
    }
}

impl AsyncRead for Leg {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        let room = buf.remaining() > 0;
        let polled = Pin::new(&mut self.stream).poll_read(cx, buf);
        match &polled {
            Poll::Ready(Ok(())) => match buf.filled().len() - before {
                0 if room => self.heard_the_last("end of stream", None),
                length => self.account.moved(&self.account.read, length),
            },
            Poll::Ready(Err(error)) => {
                let name = errno_name(error);
                self.heard_the_last(&name, Some(name.clone()));
            }
            Poll::Pending => {}
        }
        polled
    }
}

impl AsyncWrite for Leg {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        let polled = Pin::new(&mut self.stream).poll_write(cx, buf);
        match &polled {
            Poll::Ready(Ok(length)) => self.account.moved(&self.account.written, *length),
            Poll::Ready(Err(error)) => {
                if !self.account.failed.swap(true, Ordering::Relaxed) {
                    let name = errno_name(error);
                    let args = count(buf.len());
                    self.account.called("write", args, name.clone(), Some(name));
                }
            }
            Poll::Pending => {}
        }
        polled
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

fn bytes(number: u64) -> String {
    count(usize::try_from(number).unwrap_or(usize::MAX))
}
