//! Which changes of a host's sockets are worth an event.
//!
//! A new socket, a state, a kind of timer, a retry and a socket's end are told at once, all of them.
//! Mere figures (window, RTT, queues, bytes, a timer set anew) are told of each socket at most every
//! [`FIGURES_INTERVAL_US`], and of all sockets together at most [`FIGURES_PER_SECOND`] times a second,
//! those first that have waited longest; so a thousand busy sockets make no flood of events.

use std::{
    collections::{HashMap, hash_map::Entry},
    net::SocketAddr,
};

use linger_shared::event::{Fact, SocketSnapshot, TcpState, Timer};

/// How often the figures of one socket are told, in microseconds.
const FIGURES_INTERVAL_US: u64 = 20_000;

/// How many times in a second figures of a host's sockets are told.
const FIGURES_PER_SECOND: u64 = 1_000;

/// The time that one telling of figures costs, in microseconds.
const COST_US: u64 = 1_000_000 / FIGURES_PER_SECOND;

/// How much time may be saved up, in microseconds: what a burst after a quiet spell may tell.
const SAVED_AT_MOST_US: u64 = 100_000;

/// How far a timer's end must move to count as set anew: the kernel's clock ticks every 4 ms or so.
const TIMER_TOLERANCE_US: u64 = 12_000;

/// What was last told of a socket.
struct Told {
    snapshot: SocketSnapshot,
    at_us: u64,
    /// The round in which it was last there.
    round: u64,
}

/// What was told of one host's sockets.
#[derive(Default)]
pub(super) struct Changes {
    told: HashMap<(SocketAddr, SocketAddr), Told>,
    round: u64,
    /// Until when the time is spent, on the run's clock.
    spent_until_us: u64,
    /// Places of sockets whose figures changed, with the time at which they were last told.
    waiting: Vec<(u64, usize)>,
}

impl Changes {
    /// Compares the sockets as they are at `now_us` with what was told, and tells what is new.
    pub(super) fn observe(
        &mut self,
        sockets: &[SocketSnapshot],
        now_us: u64,
        mut tell: impl FnMut(Fact),
    ) {
        self.round += 1;
        self.waiting.clear();
        for (place, socket) in sockets.iter().enumerate() {
            match self.told.entry((socket.local, socket.remote)) {
                Entry::Vacant(entry) => {
                    entry.insert(Told {
                        snapshot: socket.clone(),
                        at_us: now_us,
                        round: self.round,
                    });
                    tell(Fact::Socket(Box::new(socket.clone())));
                }
                Entry::Occupied(mut entry) => {
                    let told = entry.get_mut();
                    told.round = self.round;
                    if is_urgent(&told.snapshot, socket) {
                        told.renew(socket, now_us);
                        tell(Fact::Socket(Box::new(socket.clone())));
                    } else if now_us >= told.at_us + FIGURES_INTERVAL_US
                        && figures_differ(told, socket, now_us)
                    {
                        self.waiting.push((told.at_us, place));
                    }
                }
            }
        }
        self.tell_figures(sockets, now_us, &mut tell);
        let round = self.round;
        self.told.retain(|(local, remote), told| {
            let there = told.round == round;
            if !there && told.snapshot.state != TcpState::Listen {
                tell(gone(*local, *remote, told.snapshot.state));
            }
            there
        });
    }

    /// Tells that every socket is gone: its kernel is.
    pub(super) fn forget(&mut self, mut tell: impl FnMut(Fact)) {
        for ((local, remote), told) in self.told.drain() {
            if told.snapshot.state != TcpState::Listen {
                tell(gone(local, remote, told.snapshot.state));
            }
        }
    }

    fn tell_figures(
        &mut self,
        sockets: &[SocketSnapshot],
        now_us: u64,
        tell: &mut impl FnMut(Fact),
    ) {
        self.spent_until_us = self
            .spent_until_us
            .max(now_us.saturating_sub(SAVED_AT_MOST_US));
        let affordable = now_us.saturating_sub(self.spent_until_us) / COST_US;
        let affordable = usize::try_from(affordable).unwrap_or(usize::MAX);
        if self.waiting.len() > affordable {
            self.waiting.sort_unstable();
            self.waiting.truncate(affordable);
        }
        self.spent_until_us += self.waiting.len() as u64 * COST_US;
        for (_, place) in &self.waiting {
            let socket = &sockets[*place];
            if let Some(told) = self.told.get_mut(&(socket.local, socket.remote)) {
                told.renew(socket, now_us);
                tell(Fact::Socket(Box::new(socket.clone())));
            }
        }
    }
}

impl Told {
    fn renew(&mut self, socket: &SocketSnapshot, now_us: u64) {
        self.snapshot.clone_from(socket);
        self.at_us = now_us;
    }
}

fn gone(local: SocketAddr, remote: SocketAddr, last_state: TcpState) -> Fact {
    Fact::SocketGone {
        local,
        remote,
        last_state,
    }
}

/// Whether a socket has changed in a way that is told at once.
fn is_urgent(old: &SocketSnapshot, new: &SocketSnapshot) -> bool {
    let kind = |snapshot: &SocketSnapshot| snapshot.timer.map(|timer| timer.timer);
    (old.state, old.retries, kind(old), old.orphan)
        != (new.state, new.retries, kind(new), new.orphan)
}

/// Whether figures of a socket are others than those that were told, or its timer was set anew.
fn figures_differ(told: &Told, socket: &SocketSnapshot, now_us: u64) -> bool {
    let old = &told.snapshot;
    let end = |timer: Option<Timer>, at_us: u64| timer.map_or(0, |timer| at_us + timer.left_us);
    let timer_moved = end(old.timer, told.at_us).abs_diff(end(socket.timer, now_us));
    timer_moved > TIMER_TOLERANCE_US
        || (old.recv_queue, old.send_queue, old.cwnd, old.ssthresh)
            != (
                socket.recv_queue,
                socket.send_queue,
                socket.cwnd,
                socket.ssthresh,
            )
        || (old.rtt_us, old.min_rtt_us, old.rto_us, old.backoff)
            != (
                socket.rtt_us,
                socket.min_rtt_us,
                socket.rto_us,
                socket.backoff,
            )
        || (old.bytes_acked, old.bytes_received, old.retransmitted)
            != (
                socket.bytes_acked,
                socket.bytes_received,
                socket.retransmitted,
            )
}

#[cfg(test)]
mod tests {
    use linger_shared::event::TimerKind;

    use super::*;

    fn socket(port: u16, state: TcpState, left_us: u64) -> SocketSnapshot {
        SocketSnapshot {
            local: SocketAddr::from(([192, 0, 2, 1], port)),
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
            min_rtt_us: Some(39_000),
            bytes_acked: Some(1),
            bytes_received: Some(0),
            retransmitted: Some(0),
        }
    }

    /// What is told of `sockets` at `now_us`.
    fn told(changes: &mut Changes, sockets: &[SocketSnapshot], now_us: u64) -> Vec<Fact> {
        let mut facts = Vec::new();
        changes.observe(sockets, now_us, |fact| facts.push(fact));
        facts
    }

    fn seen(left_us: u64) -> Changes {
        let mut changes = Changes::default();
        let first = socket(40_000, TcpState::Established, left_us);
        assert_eq!(told(&mut changes, &[first], 1_000_000).len(), 1);
        changes
    }

    #[test]
    fn a_timer_that_merely_runs_is_no_change() {
        let later = socket(40_000, TcpState::Established, 900_000);
        assert_eq!(told(&mut seen(1_000_000), &[later], 1_100_000), []);
    }

    #[test]
    fn a_timer_set_anew_is_a_change() {
        let later = socket(40_000, TcpState::Established, 1_000_000);
        assert_eq!(told(&mut seen(1_000_000), &[later], 1_100_000).len(), 1);
    }

    #[test]
    fn a_state_is_told_at_once_and_figures_wait() {
        let state = socket(40_000, TcpState::CloseWait, 999_000);
        assert_eq!(told(&mut seen(1_000_000), &[state], 1_001_000).len(), 1);
        let mut figures = socket(40_000, TcpState::Established, 999_000);
        figures.bytes_acked = Some(500);
        let mut changes = seen(1_000_000);
        assert_eq!(told(&mut changes, &[figures.clone()], 1_001_000), []);
        assert_eq!(told(&mut changes, &[figures], 1_021_000).len(), 1);
    }

    #[test]
    fn a_socket_that_is_missing_is_gone_once_and_a_listener_goes_without_a_word() {
        let mut changes = seen(1_000_000);
        let listener = socket(7_654, TcpState::Listen, 0);
        told(&mut changes, &[listener], 1_010_000);
        let facts = told(&mut changes, &[], 1_020_000);
        assert_eq!(facts, [], "{facts:?}");
        let mut changes = seen(1_000_000);
        assert!(matches!(
            told(&mut changes, &[], 1_010_000)[..],
            [Fact::SocketGone {
                last_state: TcpState::Established,
                ..
            }]
        ));
        assert_eq!(told(&mut changes, &[], 1_020_000), []);
    }

    #[test]
    fn a_kernel_that_is_gone_has_no_sockets_left() {
        let mut changes = seen(1_000_000);
        let mut facts = Vec::new();
        changes.forget(|fact| facts.push(fact));
        assert!(matches!(facts[..], [Fact::SocketGone { .. }]));
        assert_eq!(told(&mut changes, &[], 1_020_000), []);
    }

    #[test]
    fn a_thousand_busy_sockets_make_no_flood_and_each_has_its_turn() {
        let mut changes = Changes::default();
        let mut sockets: Vec<SocketSnapshot> = (0..1_000)
            .map(|port| socket(port, TcpState::Established, 1_000_000))
            .collect();
        assert_eq!(told(&mut changes, &sockets, 0).len(), 1_000, "all are new");
        let mut turns = HashMap::<SocketAddr, u32>::new();
        for round in 1..=100 {
            for socket in &mut sockets {
                socket.bytes_acked = Some(round * 1_000);
            }
            for fact in told(&mut changes, &sockets, round * 20_000) {
                let Fact::Socket(socket) = fact else {
                    panic!("{fact:?}")
                };
                *turns.entry(socket.local).or_default() += 1;
            }
        }
        let all: u32 = turns.values().sum();
        assert!((1_900..=2_100).contains(&all), "{all} in two seconds");
        assert_eq!(turns.len(), 1_000);
        assert!(turns.values().all(|turns| (1..=3).contains(turns)));
        // A state is told among them at once.
        sockets[500].state = TcpState::CloseWait;
        let facts = told(&mut changes, &sockets, 2_001_000);
        assert!(facts.iter().any(
            |fact| matches!(fact, Fact::Socket(socket) if socket.state == TcpState::CloseWait)
        ));
    }
}
