//! Watches the sockets of every run's hosts, and reports what changes.
//!
//! A kernel tells of a socket only when asked, so it is asked right after every packet, when a
//! state may have changed, and every [`IDLE_INTERVAL`] besides, for what timers do alone. What is
//! shorter than the time between two questions (SYN_SENT where the link has no delay, say) may go
//! unseen, and a state is known a little after it began.
//!
//! One thread asks for all runs. It works at most a quarter of the time, runs whose packets moved
//! come first, and so with many runs at once each is asked less often while the wire has its cores.

use std::{
    collections::BTreeMap,
    io,
    sync::{
        Arc, Mutex, PoisonError, Weak,
        atomic::{AtomicBool, Ordering},
        mpsc,
    },
    thread::{self, JoinHandle, Thread},
    time::{Duration, Instant},
};

use linger_shared::event::{HostName, Observer, SocketSnapshot, TcpState};
use tokio::sync::watch;

use super::{
    changes::Changes,
    sock_diag::{Diag, Which},
};
use crate::{hosts::Tables, journal::Journal};

/// How often the kernels of a run are asked while nothing moves.
const IDLE_INTERVAL: Duration = Duration::from_millis(20);

/// The shortest pause between two rounds of questions of one run.
const LEAST_PAUSE: Duration = Duration::from_millis(1);

/// The pause of a run is at least this many times as long as its last round took, so that watching
/// it costs no more than a tenth of a core; but never longer than [`LONGEST_PAUSE`], because a round
/// that took long may just have waited for a core.
const PAUSE_FACTOR: u32 = 10;
const LONGEST_PAUSE: Duration = Duration::from_millis(50);

/// After this much work the thread rests, [`REST_FACTOR`] times as long.
const SPELL: Duration = Duration::from_millis(1);
const REST_FACTOR: u32 = 3;

/// How old what is known of listeners may be: they come and go seldom, and cost most to find.
const LISTENERS_INTERVAL: Duration = Duration::from_millis(100);

/// Watches the hosts of one run until it is dropped.
pub struct Sampler {
    office: Arc<Office>,
    id: u64,
    trigger: Arc<Trigger>,
    tables: watch::Receiver<Tables>,
}

/// Tells a sampler that packets moved.
pub struct Trigger {
    pending: AtomicBool,
    thread: Thread,
}

impl Trigger {
    /// Something may have changed. Costs an atomic exchange while the sampler has not yet looked.
    pub fn pull(&self) {
        if !self.pending.swap(true, Ordering::AcqRel) {
            self.thread.unpark();
        }
    }
}

impl Sampler {
    /// Starts to watch.
    ///
    /// # Errors
    /// Where no thread can be started.
    pub fn start(journal: Arc<Journal>, hosts: Vec<(HostName, Diag)>) -> io::Result<Self> {
        let office = Office::shared()?;
        let trigger = Arc::new(Trigger {
            pending: AtomicBool::new(false),
            thread: office.thread.clone(),
        });
        let (sender, tables) = watch::channel(Tables::default());
        let now = Instant::now();
        let id = office.number();
        office.post(Letter::Watch(Box::new(Watched {
            id,
            journal,
            hosts: hosts
                .into_iter()
                .map(|(name, diag)| WatchedHost::new(name, diag))
                .collect(),
            trigger: Arc::clone(&trigger),
            tables: sender,
            rests_until: now,
            idle_until: now,
        })));
        Ok(Self {
            office,
            id,
            trigger,
            tables,
        })
    }

    /// What tells this sampler that packets moved.
    pub fn trigger(&self) -> Arc<Trigger> {
        Arc::clone(&self.trigger)
    }

    /// The sockets of every host, and every change of them.
    pub fn tables(&self) -> watch::Receiver<Tables> {
        self.tables.clone()
    }

    /// Asks a host no longer, and reports its sockets gone: its kernel is. Returns when that is
    /// done.
    pub fn lose(&self, host: HostName) {
        let (told, lost) = mpsc::sync_channel(1);
        self.office.post(Letter::Lose(self.id, host, told));
        // Where the thread has ended, it asks nobody any more.
        let _ = lost.recv();
    }

    /// Asks a host, too.
    pub fn add(&self, host: HostName, diag: Diag) {
        self.office.post(Letter::Add(self.id, host, Box::new(diag)));
    }
}

impl Drop for Sampler {
    fn drop(&mut self) {
        let (told, left) = mpsc::sync_channel(1);
        self.office.post(Letter::Leave(self.id, told));
        let _ = left.recv();
    }
}

enum Letter {
    Watch(Box<Watched>),
    Leave(u64, mpsc::SyncSender<()>),
    Lose(u64, HostName, mpsc::SyncSender<()>),
    Add(u64, HostName, Box<Diag>),
    Stop,
}

/// A handle to the thread; the last one to be dropped ends it.
struct Office {
    letters: mpsc::Sender<Letter>,
    /// What wakes it.
    thread: Thread,
    handle: Option<JoinHandle<()>>,
}

static SHARED: Mutex<(Weak<Office>, u64)> = Mutex::new((Weak::new(), 0));

impl Office {
    /// The process's one, started if need be.
    fn shared() -> io::Result<Arc<Self>> {
        let mut shared = SHARED.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(office) = shared.0.upgrade() {
            return Ok(office);
        }
        let (letters, mailbox) = mpsc::channel();
        let handle = thread::Builder::new()
            .name("sampler".to_owned())
            .spawn(move || {
                let runs = Vec::new();
                Round { mailbox, runs }.work();
            })?;
        let office = Arc::new(Self {
            letters,
            thread: handle.thread().clone(),
            handle: Some(handle),
        });
        shared.0 = Arc::downgrade(&office);
        Ok(office)
    }

    /// A number that no other run has.
    fn number(&self) -> u64 {
        let mut shared = SHARED.lock().unwrap_or_else(PoisonError::into_inner);
        shared.1 += 1;
        shared.1
    }

    fn post(&self, letter: Letter) {
        // The thread lives as long as this handle does.
        let _ = self.letters.send(letter);
        self.thread.unpark();
    }
}

impl Drop for Office {
    fn drop(&mut self) {
        self.post(Letter::Stop);
        if let Some(thread) = self.handle.take() {
            let _ = thread.join();
        }
    }
}

/// One run, as the thread knows it.
struct Watched {
    id: u64,
    journal: Arc<Journal>,
    hosts: Vec<WatchedHost>,
    trigger: Arc<Trigger>,
    tables: watch::Sender<Tables>,
    /// It is not asked before this time.
    rests_until: Instant,
    /// It is asked at this time even if nothing moved.
    idle_until: Instant,
}

struct WatchedHost {
    name: HostName,
    diag: Diag,
    changes: Changes,
    listeners: Vec<SocketSnapshot>,
    /// When listeners were last asked for.
    listened: Option<Instant>,
}

impl WatchedHost {
    fn new(name: HostName, diag: Diag) -> Self {
        Self {
            name,
            diag,
            changes: Changes::default(),
            listeners: Vec::new(),
            listened: None,
        }
    }

    /// Its sockets now; `None` where its kernel does not answer, and is asked again next time.
    fn ask(&mut self, now: Instant) -> Option<Vec<SocketSnapshot>> {
        let known = self
            .listened
            .is_some_and(|then| now.saturating_duration_since(then) < LISTENERS_INTERVAL);
        if known {
            let mut sockets = self.diag.sockets(Which::Connections).ok()?;
            sockets.extend_from_slice(&self.listeners);
            return Some(sockets);
        }
        let sockets = self.diag.sockets(Which::All).ok()?;
        let listens = |socket: &&SocketSnapshot| socket.state == TcpState::Listen;
        self.listeners.clear();
        self.listeners
            .extend(sockets.iter().filter(listens).cloned());
        self.listened = Some(now);
        Some(sockets)
    }
}

impl Watched {
    /// When it is to be asked next.
    fn due(&self) -> Instant {
        if self.trigger.pending.load(Ordering::Acquire) {
            self.rests_until
        } else {
            self.idle_until.max(self.rests_until)
        }
    }

    fn ask(&mut self) {
        let began = Instant::now();
        self.trigger.pending.store(false, Ordering::Release);
        let mut tables = Tables {
            asked_us: self.journal.at_us(began),
            sockets: BTreeMap::new(),
        };
        let journal = &self.journal;
        for host in &mut self.hosts {
            let Some(sockets) = host.ask(began) else {
                continue;
            };
            let now_us = journal.now_us();
            let seen_by = Observer::Kernel(host.name);
            host.changes.observe(&sockets, now_us, |fact| {
                journal.record_at(now_us, seen_by, fact);
            });
            tables.sockets.insert(host.name, sockets);
        }
        self.tables.send_replace(tables);
        let ended = Instant::now();
        let pause = ((ended - began) * PAUSE_FACTOR).clamp(LEAST_PAUSE, LONGEST_PAUSE);
        self.rests_until = ended + pause;
        self.idle_until = ended + IDLE_INTERVAL;
    }

    /// Forgets a host whose kernel is gone.
    fn lose(&mut self, name: HostName) {
        let journal = &self.journal;
        self.hosts.retain_mut(|host| {
            if host.name == name {
                host.changes
                    .forget(|fact| journal.record(Observer::Kernel(name), fact));
            }
            host.name != name
        });
        self.tables.send_modify(|tables| {
            tables.sockets.remove(&name);
        });
    }
}

/// The thread, going from run to run.
struct Round {
    mailbox: mpsc::Receiver<Letter>,
    runs: Vec<Watched>,
}

impl Round {
    fn work(mut self) {
        while self.read_mail() {
            let worked = self.ask_the_due();
            if !worked.is_zero() {
                thread::sleep(worked * REST_FACTOR);
            }
            let now = Instant::now();
            match self.runs.iter().map(Watched::due).min() {
                Some(due) if due > now => thread::park_timeout(due - now),
                Some(_) => {}
                None => thread::park(),
            }
        }
    }

    /// Asks runs that are due until all have been or it is time to rest; gives the time that took.
    fn ask_the_due(&mut self) -> Duration {
        let began = Instant::now();
        let mut due: Vec<(bool, Instant, usize)> = self
            .runs
            .iter()
            .enumerate()
            .map(|(place, run)| {
                let moved = run.trigger.pending.load(Ordering::Acquire);
                (!moved, run.due(), place)
            })
            .filter(|(_, due, _)| *due <= began)
            .collect();
        due.sort_unstable();
        for (_, _, place) in due {
            self.runs[place].ask();
            if began.elapsed() >= SPELL {
                break;
            }
        }
        began.elapsed()
    }

    /// Returns false when the thread is to end.
    fn read_mail(&mut self) -> bool {
        while let Ok(letter) = self.mailbox.try_recv() {
            match letter {
                Letter::Watch(run) => self.runs.push(*run),
                Letter::Leave(id, told) => {
                    self.runs.retain(|run| run.id != id);
                    let _ = told.send(());
                }
                Letter::Lose(id, name, told) => {
                    if let Some(run) = self.runs.iter_mut().find(|run| run.id == id) {
                        run.lose(name);
                    }
                    let _ = told.send(());
                }
                Letter::Add(id, name, diag) => {
                    if let Some(run) = self.runs.iter_mut().find(|run| run.id == id) {
                        run.hosts.push(WatchedHost::new(name, *diag));
                    }
                }
                Letter::Stop => return false,
            }
        }
        true
    }
}
