//! Watches the sockets of a run's hosts and reports what changes.
//!
//! A kernel tells of a socket only when asked, so it is asked right after every packet, when a
//! state may have changed, and every [`IDLE_INTERVAL`] besides, for what timers do alone.

use std::{
    collections::{BTreeMap, HashMap},
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, JoinHandle, Thread},
    time::{Duration, Instant},
};

use linger_shared::event::{Fact, HostName, Observer, SocketSnapshot, TcpState};
use tokio::sync::watch;

use super::sock_diag::Diag;
use crate::{hosts::Tables, journal::Journal};

/// How often the kernels are asked while nothing moves.
const IDLE_INTERVAL: Duration = Duration::from_millis(20);

/// The shortest pause between two rounds of questions.
const LEAST_PAUSE: Duration = Duration::from_millis(1);

/// A pause is at least this many times as long as the round before it took, so that watching costs
/// no more than a tenth of a core; but never longer than [`LONGEST_PAUSE`], because a round that
/// took long may just have waited for a core.
const PAUSE_FACTOR: u32 = 10;
const LONGEST_PAUSE: Duration = Duration::from_millis(50);

/// How often mere figures of a socket (window, RTT, queues, a timer set anew) are reported; a
/// change of state, kind of timer or retries is reported at once.
const FIGURES_INTERVAL_US: u64 = 20_000;

/// How far a timer's end must move to count as set anew: the kernel's clock ticks every 4 ms or so.
const TIMER_TOLERANCE_US: u64 = 12_000;

/// A thread that watches the hosts of a run.
pub struct Sampler {
    trigger: Arc<Trigger>,
    tables: watch::Receiver<Tables>,
    thread: Option<JoinHandle<()>>,
}

/// Tells a sampler that packets moved.
pub struct Trigger {
    pending: AtomicBool,
    stop: AtomicBool,
    thread: std::sync::OnceLock<Thread>,
}

impl Trigger {
    /// Something may have changed. Costs an atomic exchange while the sampler has not yet looked.
    pub fn pull(&self) {
        if !self.pending.swap(true, Ordering::AcqRel)
            && let Some(thread) = self.thread.get()
        {
            thread.unpark();
        }
    }
}

impl Sampler {
    /// Starts to watch.
    ///
    /// # Errors
    /// Where no thread can be started.
    pub fn start(journal: Arc<Journal>, hosts: Vec<(HostName, Diag)>) -> std::io::Result<Self> {
        let trigger = Arc::new(Trigger {
            pending: AtomicBool::new(false),
            stop: AtomicBool::new(false),
            thread: std::sync::OnceLock::new(),
        });
        let (sender, tables) = watch::channel(Tables::default());
        let pulled = Arc::clone(&trigger);
        let thread = thread::Builder::new()
            .name("sampler".to_owned())
            .spawn(move || watch_hosts(&journal, hosts, &pulled, &sender))?;
        // The cell is empty, so this cannot fail.
        let _ = trigger.thread.set(thread.thread().clone());
        Ok(Self {
            trigger,
            tables,
            thread: Some(thread),
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
}

impl Drop for Sampler {
    fn drop(&mut self) {
        self.trigger.stop.store(true, Ordering::Release);
        if let Some(thread) = self.thread.take() {
            thread.thread().unpark();
            let _ = thread.join();
        }
    }
}

/// What was last reported of a socket.
struct Seen {
    snapshot: SocketSnapshot,
    at_us: u64,
}

fn watch_hosts(
    journal: &Journal,
    mut hosts: Vec<(HostName, Diag)>,
    trigger: &Trigger,
    tables: &watch::Sender<Tables>,
) {
    let mut seen: HashMap<(HostName, SocketAddr, SocketAddr), Seen> = HashMap::new();
    while !trigger.stop.load(Ordering::Acquire) {
        let began = Instant::now();
        trigger.pending.store(false, Ordering::Release);
        let mut current = Tables {
            asked_us: journal.now_us(),
            sockets: BTreeMap::new(),
        };
        for (host, diag) in &mut hosts {
            // A kernel that does not answer once is asked again in the next round.
            let Ok(sockets) = diag.sockets() else {
                continue;
            };
            let now_us = journal.now_us();
            report(journal, *host, &sockets, now_us, &mut seen);
            current.sockets.insert(*host, sockets);
        }
        tables.send_replace(current);
        thread::sleep((began.elapsed() * PAUSE_FACTOR).clamp(LEAST_PAUSE, LONGEST_PAUSE));
        if !trigger.pending.load(Ordering::Acquire) {
            thread::park_timeout(IDLE_INTERVAL);
        }
    }
}

fn report(
    journal: &Journal,
    host: HostName,
    sockets: &[SocketSnapshot],
    now_us: u64,
    seen: &mut HashMap<(HostName, SocketAddr, SocketAddr), Seen>,
) {
    for socket in sockets {
        let key = (host, socket.local, socket.remote);
        let due = seen
            .get(&key)
            .is_none_or(|before| differs(before, socket, now_us));
        if due {
            journal.record_at(
                now_us,
                Observer::Kernel(host),
                Fact::Socket(Box::new(socket.clone())),
            );
            seen.insert(
                key,
                Seen {
                    snapshot: socket.clone(),
                    at_us: now_us,
                },
            );
        }
    }
    seen.retain(|(owner, local, remote), before| {
        let there = *owner != host
            || sockets
                .iter()
                .any(|socket| socket.local == *local && socket.remote == *remote);
        if !there && before.snapshot.state != TcpState::Listen {
            journal.record_at(
                now_us,
                Observer::Kernel(host),
                Fact::SocketGone {
                    local: *local,
                    remote: *remote,
                    last_state: before.snapshot.state,
                },
            );
        }
        there
    });
}

/// Whether a socket has changed in a way that is worth an event now.
fn differs(before: &Seen, socket: &SocketSnapshot, now_us: u64) -> bool {
    let old = &before.snapshot;
    let kind = |snapshot: &SocketSnapshot| snapshot.timer.map(|timer| timer.timer);
    if old.state != socket.state
        || old.retries != socket.retries
        || kind(old) != kind(socket)
        || old.orphan != socket.orphan
    {
        return true;
    }
    if now_us < before.at_us + FIGURES_INTERVAL_US {
        return false;
    }
    let end = |timer: Option<linger_shared::event::Timer>, at_us: u64| {
        timer.map_or(0, |timer| at_us + timer.left_us)
    };
    let timer_moved = end(old.timer, before.at_us).abs_diff(end(socket.timer, now_us));
    timer_moved > TIMER_TOLERANCE_US
        || (old.recv_queue, old.send_queue, old.cwnd, old.ssthresh)
            != (
                socket.recv_queue,
                socket.send_queue,
                socket.cwnd,
                socket.ssthresh,
            )
        || (old.rtt_us, old.rto_us, old.backoff) != (socket.rtt_us, socket.rto_us, socket.backoff)
}

#[cfg(test)]
mod tests {
    use linger_shared::event::{Timer, TimerKind};

    use super::*;

    fn socket(state: TcpState, left_us: u64) -> SocketSnapshot {
        SocketSnapshot {
            local: "192.0.2.1:40000".parse().unwrap(),
            remote: "198.51.100.1:7654".parse().unwrap(),
            state,
            timer: Some(Timer {
                timer: TimerKind::KeepAlive,
                left_us,
            }),
            retries: 0,
            recv_queue: 0,
            send_queue: 0,
            orphan: false,
            cwnd: Some(10),
            ssthresh: None,
            rtt_us: Some(40_000),
            rto_us: Some(240_000),
            backoff: Some(0),
            min_rtt_us: None,
            bytes_acked: None,
            bytes_received: None,
            retransmitted: None,
        }
    }

    fn seen(left_us: u64) -> Seen {
        Seen {
            snapshot: socket(TcpState::Established, left_us),
            at_us: 1_000_000,
        }
    }

    #[test]
    fn a_timer_that_merely_runs_is_no_change() {
        let later = socket(TcpState::Established, 900_000);
        assert!(!differs(&seen(1_000_000), &later, 1_100_000));
    }

    #[test]
    fn a_timer_set_anew_is_a_change() {
        let later = socket(TcpState::Established, 1_000_000);
        assert!(differs(&seen(1_000_000), &later, 1_100_000));
    }

    #[test]
    fn a_state_is_reported_at_once_and_figures_wait() {
        let state = socket(TcpState::CloseWait, 999_000);
        assert!(differs(&seen(1_000_000), &state, 1_001_000));
        let mut figures = socket(TcpState::Established, 999_000);
        figures.cwnd = Some(11);
        assert!(!differs(&seen(1_000_000), &figures, 1_001_000));
        assert!(differs(&seen(1_000_000), &figures, 1_021_000));
    }
}
