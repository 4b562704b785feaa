//! The handle to the hub's thread: starting it, writing to it, ending it.

use std::{
    io,
    sync::{Arc, Mutex, PoisonError, Weak, mpsc},
    thread::{self, JoinHandle},
};

use linger_shared::{event::HostName, link::Conditions};
use nix::sys::eventfd::{EfdFlags, EventFd};
use tokio::sync::oneshot;

use super::{LinkError, Port, exchange::Exchange, fail, link::Link};
use crate::hosts::Tun;

/// Where the hub's thread puts what it was asked for.
pub(super) type Reply<T> = mpsc::SyncSender<io::Result<T>>;

/// What the hub's thread is asked to do.
pub(super) enum Letter {
    /// Take a link on.
    Join(Box<Link>, Reply<u32>),
    /// Give a link up.
    Part(u32, Reply<Link>),
    /// Put a host in its place; gives what was there.
    Plug(u32, Port, Reply<Option<Tun>>),
    /// Take a host out of its place.
    Unplug(u32, HostName, Reply<Option<Port>>),
    /// Make a direction another.
    Change {
        link: u32,
        from: HostName,
        to: HostName,
        conditions: Box<Conditions>,
        answer: Reply<()>,
    },
    /// Tell when what is on its way now is there.
    Settle(u32, oneshot::Sender<()>),
    /// Drop what is on its way, and be deaf from then on.
    End(u32, oneshot::Sender<()>),
    /// Ask a link's rules when they have something to do.
    Look(u32),
    /// End.
    Stop,
}

/// A handle to the hub's thread; the last one to be dropped ends it.
pub(super) struct Hub {
    letters: mpsc::Sender<Letter>,
    bell: Arc<EventFd>,
    thread: Option<JoinHandle<()>>,
}

static SHARED: Mutex<Weak<Hub>> = Mutex::new(Weak::new());

impl Hub {
    /// The process's hub, started if need be.
    pub(super) fn shared() -> Result<Arc<Self>, LinkError> {
        let mut shared = SHARED.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(hub) = shared.upgrade() {
            return Ok(hub);
        }
        let hub = Arc::new(Self::start()?);
        *shared = Arc::downgrade(&hub);
        Ok(hub)
    }

    fn start() -> Result<Self, LinkError> {
        let flags = EfdFlags::EFD_CLOEXEC | EfdFlags::EFD_NONBLOCK;
        let bell = Arc::new(EventFd::from_flags(flags).map_err(fail("make its mailbox"))?);
        let (letters, mailbox) = mpsc::channel();
        let exchange = Exchange::new(Arc::clone(&bell), mailbox)?;
        let thread = thread::Builder::new()
            .name("wire".to_owned())
            .spawn(move || exchange.work())
            .map_err(|source| LinkError {
                operation: "start its thread",
                source,
            })?;
        Ok(Self {
            letters,
            bell,
            thread: Some(thread),
        })
    }

    pub(super) fn post(&self, letter: Letter) {
        // The thread lives as long as this handle does.
        let _ = self.letters.send(letter);
        let _ = self.bell.write(1);
    }

    /// Posts a letter and waits for the answer.
    pub(super) fn ask<T>(&self, letter: impl FnOnce(Reply<T>) -> Letter) -> io::Result<T> {
        let (answer, answered) = mpsc::sync_channel(1);
        self.post(letter(answer));
        answered
            .recv()
            .unwrap_or_else(|_| Err(io::Error::other("its thread has ended")))
    }

    /// What makes the hub look at a link's rules, from any thread. It does not keep the hub alive:
    /// the rules are held by the hub's own thread, which could then not end.
    pub(super) fn waker(&self, link: u32) -> impl Fn() + Send + Sync + 'static {
        let (letters, bell) = (self.letters.clone(), Arc::clone(&self.bell));
        move || {
            // Where the thread has ended, nobody is to be woken.
            if letters.send(Letter::Look(link)).is_ok() {
                let _ = bell.write(1);
            }
        }
    }

    pub(super) fn part(&self, id: u32) {
        // Where the thread has ended, so have its links. Otherwise the devices are closed here, and
        // not by the hub: the kernel waits out a grace period for each, in which no packet would
        // move. The periods overlap.
        if let Ok(link) = self.ask(|answer| Letter::Part(id, answer)) {
            thread::scope(|scope| {
                for station in link.hosts {
                    // Without a thread to be had, it is dropped with the closure, here.
                    let _ = thread::Builder::new().spawn_scoped(scope, move || drop(station));
                }
            });
        }
    }
}

impl Drop for Hub {
    fn drop(&mut self) {
        self.post(Letter::Stop);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}
