//! The hub's thread: what it waits for, and in which order it serves what has come.
//!
//! What is due goes before what has just been sent, also within a batch of packets, so that a busy
//! host does not make another's packets late.

use std::{
    collections::HashMap,
    io,
    os::fd::AsFd,
    sync::{Arc, mpsc},
    time::{Duration, Instant},
};

use nix::sys::{
    epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout},
    eventfd::EventFd,
    time::TimeSpec,
    timerfd::{ClockId, Expiration, TimerFd, TimerFlags, TimerSetTimeFlags},
};

use super::{
    LinkError, fail,
    flights::{Ending, Flight, Flights},
    handle::Letter,
    link::{Intake, Link},
    pace::{self, Patience},
    surge::Surge,
};

/// How many packets are read from one device before the others have their turn.
const BATCH: usize = 64;

const MAILBOX: u64 = u64::MAX;
const TIMER: u64 = u64::MAX - 1;

/// What the hub's thread works with.
pub(super) struct Exchange {
    epoll: Epoll,
    timer: TimerFd,
    bell: Arc<EventFd>,
    mailbox: mpsc::Receiver<Letter>,
    links: HashMap<u32, Link>,
    next_link: u32,
    flights: Flights,
    /// What the timer is set to.
    armed: Option<Instant>,
    patience: Patience,
    surge: Surge,
    intake: Intake,
}

impl Exchange {
    /// An exchange without links, which reads `mailbox` whenever the bell rings.
    pub(super) fn new(
        bell: Arc<EventFd>,
        mailbox: mpsc::Receiver<Letter>,
    ) -> Result<Self, LinkError> {
        let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC).map_err(fail("make an epoll"))?;
        let timer = TimerFd::new(
            ClockId::CLOCK_MONOTONIC,
            TimerFlags::TFD_CLOEXEC | TimerFlags::TFD_NONBLOCK,
        )
        .map_err(fail("make a timer"))?;
        epoll
            .add(&*bell, EpollEvent::new(EpollFlags::EPOLLIN, MAILBOX))
            .map_err(fail("watch its mailbox"))?;
        // Each expiry is an edge of its own, so the timer needs no reading.
        let edge = EpollFlags::EPOLLIN | EpollFlags::EPOLLET;
        epoll
            .add(timer.as_fd(), EpollEvent::new(edge, TIMER))
            .map_err(fail("watch its timer"))?;
        Ok(Self {
            epoll,
            timer,
            bell,
            mailbox,
            links: HashMap::new(),
            next_link: 0,
            flights: Flights::default(),
            armed: None,
            patience: Patience::default(),
            surge: Surge::new(Instant::now()),
            intake: Intake::default(),
        })
    }

    /// Carries packets until a letter says to stop.
    pub(super) fn work(mut self) {
        pace::begin();
        let mut events = [EpollEvent::empty(); 64];
        loop {
            let timeout = self.wait_for();
            let Ok(count) = self.epoll.wait(&mut events, timeout) else {
                // EINTR; nothing else can befall a valid epoll.
                continue;
            };
            self.land(Instant::now());
            for event in &events[..count] {
                match event.data() {
                    MAILBOX => {
                        if !self.read_mail() {
                            return;
                        }
                    }
                    TIMER => self.armed = None,
                    device => {
                        self.collect((device >> 32) as u32, device as u32 as usize, BATCH);
                    }
                }
            }
        }
    }

    /// How long to sleep at most: not at all shortly before something is due, and otherwise until
    /// something comes or the timer fires.
    fn wait_for(&mut self) -> EpollTimeout {
        let now = Instant::now();
        match self.surge.turned(now) {
            Some(true) => pace::lower(),
            Some(false) => pace::raise(),
            None => {}
        }
        let due = self.flights.next_due();
        let Some(wake) = self.patience.sleep_until(due, now) else {
            return EpollTimeout::ZERO;
        };
        if let Some(wake) = wake
            && self.armed.is_none_or(|armed| armed > wake)
        {
            // A time of zero would switch the timer off.
            let left = wake
                .saturating_duration_since(now)
                .max(Duration::from_nanos(1));
            let once = Expiration::OneShot(TimeSpec::from_duration(left));
            if self.timer.set(once, TimerSetTimeFlags::empty()).is_ok() {
                self.armed = Some(wake);
            }
        }
        EpollTimeout::NONE
    }

    /// Does everything that is due.
    fn land(&mut self, mut now: Instant) {
        while let Some((due, flight)) = self.flights.land(now) {
            if let Some(link) = self.links.get_mut(&flight.link) {
                link.land(due, flight, &mut self.flights);
            }
            now = Instant::now();
        }
    }

    /// Reads what a host has sent, `most` packets of it at most.
    fn collect(&mut self, id: u32, host: usize, most: usize) {
        for _ in 0..most {
            let Some(link) = self.links.get_mut(&id) else {
                return;
            };
            match link.collect(host, &mut self.intake, &mut self.flights) {
                Ok(departed) => {
                    self.surge.packet(id, host);
                    if self.flights.next_due().is_some_and(|due| due <= departed) {
                        self.land(departed);
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(_) => break,
            }
        }
        // A packet may have moved a deadline of its link's rules.
        if let Some(link) = self.links.get_mut(&id) {
            link.look_at_the_rules(&mut self.flights);
        }
    }

    /// Reads everything that hosts of a link have sent already.
    fn drain(&mut self, id: u32) {
        let hosts = self.links.get(&id).map_or(0, |link| link.hosts.len());
        for host in 0..hosts {
            self.collect(id, host, BATCH);
        }
    }

    /// Returns false when the thread is to end.
    fn read_mail(&mut self) -> bool {
        let _ = self.bell.read();
        while let Ok(letter) = self.mailbox.try_recv() {
            // Whoever asked may have given up: answers that nobody takes are dropped.
            match letter {
                Letter::Join(link, answer) => drop(answer.send(self.join(*link))),
                Letter::Part(id, answer) => {
                    let parted = self.links.remove(&id).ok_or_else(no_such_link);
                    for station in parted.iter().flat_map(|link| &link.hosts) {
                        if let Some(tun) = &station.tun {
                            // It was added, so it can be taken out.
                            let _ = self.epoll.delete(tun.as_fd());
                        }
                    }
                    drop(self.flights.clear(id));
                    let _ = answer.send(parted);
                }
                Letter::Plug(id, port, answer) => drop(answer.send(self.plug(id, port))),
                Letter::Unplug(id, host, answer) => {
                    // What it has sent is on its way, though nobody has read it yet.
                    self.drain(id);
                    let port = self
                        .links
                        .get_mut(&id)
                        .ok_or_else(no_such_link)
                        .map(|link| link.unplug(host));
                    if let Ok(Some(port)) = &port {
                        let _ = self.epoll.delete(port.tun.as_fd());
                    }
                    let _ = answer.send(port);
                }
                Letter::Change {
                    link,
                    from,
                    to,
                    conditions,
                    answer,
                } => {
                    let link = self.links.get_mut(&link);
                    let changed = link.is_some_and(|link| link.change(from, to, *conditions));
                    let _ = answer.send(if changed {
                        Ok(())
                    } else {
                        Err(io::Error::other(format!("no route from {from} to {to}")))
                    });
                }
                Letter::Settle(link, landed) => self.settle(link, landed),
                Letter::End(id, told) => {
                    let on_their_way = self.flights.clear(id);
                    if let Some(link) = self.links.get_mut(&id) {
                        link.end(on_their_way);
                    }
                    let _ = told.send(());
                }
                Letter::Look(id) => {
                    if let Some(link) = self.links.get_mut(&id) {
                        link.look_at_the_rules(&mut self.flights);
                    }
                }
                Letter::Stop => return false,
            }
        }
        true
    }

    fn join(&mut self, mut link: Link) -> io::Result<u32> {
        let id = self.next_link;
        self.next_link += 1;
        link.id = id;
        for (index, station) in link.hosts.iter().enumerate() {
            if let Some(tun) = &station.tun {
                self.epoll.add(tun.as_fd(), watched(id, index))?;
            }
        }
        link.look_at_the_rules(&mut self.flights);
        self.links.insert(id, link);
        Ok(id)
    }

    fn plug(&mut self, id: u32, port: super::Port) -> io::Result<Option<crate::hosts::Tun>> {
        let link = self.links.get_mut(&id).ok_or_else(no_such_link)?;
        let host = port.host;
        let no_place = || io::Error::other(format!("the link has no place for {host}"));
        let (index, before) = link.plug(port).ok_or_else(no_place)?;
        if let Some(before) = &before {
            let _ = self.epoll.delete(before.as_fd());
        }
        if let Some(tun) = &link.hosts[index].tun {
            self.epoll.add(tun.as_fd(), watched(id, index))?;
        }
        Ok(before)
    }

    /// Puts a mark behind everything that is on its way on a link.
    fn settle(&mut self, link: u32, landed: tokio::sync::oneshot::Sender<()>) {
        // What a host has sent already, but nobody has read, is on its way too.
        self.drain(link);
        let now = Instant::now();
        // Behind what is over at the same time but is not booked yet.
        let over = self.flights.last_over(link).unwrap_or(now) + Duration::from_nanos(1);
        self.flights.book(
            over,
            Flight {
                link,
                departed: now,
                over,
                ending: Ending::Tell(landed),
            },
        );
    }
}

/// A device's name in the epoll.
fn watched(link: u32, host: usize) -> EpollEvent {
    EpollEvent::new(EpollFlags::EPOLLIN, u64::from(link) << 32 | host as u64)
}

fn no_such_link() -> io::Error {
    io::Error::other("the link is gone")
}
