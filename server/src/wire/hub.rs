//! The hub: one thread that carries every packet of every run.
//!
//! It waits on all TUN devices, a timer and a mailbox at once. A packet is stamped when it was
//! read and again just before it is written to the other host, both on the run's clock; between
//! the two it waits in a queue ordered by the time at which it is due. The timer is a `timerfd`,
//! which fires with the precision of the kernel's high-resolution timers, not of an async
//! runtime's wheel. The thread is there while a link is.

use std::{
    borrow::Cow,
    cmp::Reverse,
    collections::{BinaryHeap, HashMap},
    io,
    net::Ipv4Addr,
    os::fd::AsFd,
    sync::{
        Arc, Mutex, PoisonError, Weak,
        atomic::{AtomicU64, Ordering},
        mpsc,
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use linger_shared::{
    event::{Fact, HostName, Observer},
    link::LinkInfo,
};
use nix::sys::{
    epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout},
    eventfd::{EfdFlags, EventFd},
    time::TimeSpec,
    timerfd::{ClockId, Expiration, TimerFd, TimerFlags, TimerSetTimeFlags},
};
use thiserror::Error;
use tokio::sync::oneshot;

use super::rules::{Fate, Passing, Rules};
use crate::{
    hosts::{Trigger, Tun},
    journal::{Departure, Journal},
};

/// How many packets are read from one device before the others have their turn.
const BATCH: usize = 64;

/// How many bytes may wait on a link; what comes on top is dropped and said to be.
const QUEUE_BYTES: usize = 64 << 20;

const MAILBOX: u64 = u64::MAX;
const TIMER: u64 = u64::MAX - 1;

/// The hub could not be started or no longer answers.
#[derive(Debug, Error)]
#[error("the wire cannot {operation}: {source}")]
pub struct LinkError {
    operation: &'static str,
    source: io::Error,
}

fn fail(operation: &'static str) -> impl FnOnce(nix::Error) -> LinkError {
    move |errno| LinkError {
        operation,
        source: errno.into(),
    }
}

/// A host's place on a link.
pub struct Port {
    /// Whose.
    pub host: HostName,
    /// What is addressed here goes to this host.
    pub address: Ipv4Addr,
    /// The far end of the host's device.
    pub tun: Tun,
}

/// What a wire joins, and what it is like.
pub struct Joining {
    /// The hosts.
    pub ports: Vec<Port>,
    /// Every direction in which packets may go; what goes elsewhere has no route.
    pub links: Vec<LinkInfo>,
    /// What every random choice is derived from.
    pub seed: u64,
    /// The run's record and clock.
    pub journal: Arc<Journal>,
    /// What decides packets' fates.
    pub rules: Arc<Rules>,
    /// What is told that packets moved.
    pub trigger: Option<Arc<Trigger>>,
}

/// The packet wire of one run. Its devices are closed when it is dropped.
pub struct PacketLink {
    hub: Arc<Hub>,
    id: u32,
    last_arrivals: Arc<HashMap<HostName, AtomicU64>>,
}

impl PacketLink {
    /// Joins hosts. Their packets flow from now on.
    ///
    /// # Errors
    /// [`LinkError`] where the hub cannot be started.
    pub fn join(joining: Joining) -> Result<Self, LinkError> {
        let Joining {
            ports,
            links,
            seed: _,
            journal,
            rules,
            trigger,
        } = joining;
        let hub = Hub::shared()?;
        let last_arrivals: Arc<HashMap<_, _>> = Arc::new(
            ports
                .iter()
                .map(|port| (port.host, AtomicU64::new(0)))
                .collect(),
        );
        let id = hub.join(Link {
            ports,
            links,
            journal,
            rules,
            trigger,
            last_arrivals: Arc::clone(&last_arrivals),
            waiting: 0,
            over: false,
        })?;
        Ok(Self {
            hub,
            id,
            last_arrivals,
        })
    }

    /// What ends the link's record while somebody else holds the link.
    pub fn ender(&self) -> LinkEnder {
        LinkEnder {
            hub: Arc::clone(&self.hub),
            id: self.id,
        }
    }

    /// When a packet last arrived at a host, on the run's clock; 0 where none has.
    pub fn last_arrival_us(&self, host: HostName) -> u64 {
        self.last_arrivals
            .get(&host)
            .map_or(0, |at_us| at_us.load(Ordering::Acquire))
    }
}

/// Ends a link's record in good order.
pub struct LinkEnder {
    hub: Arc<Hub>,
    id: u32,
}

impl LinkEnder {
    /// Returns when every packet that is on its way now has arrived or was dropped.
    pub async fn settled(&self) {
        let (landed, settled) = oneshot::channel();
        self.hub.post(Letter::Settle(self.id, landed));
        // Where the thread has ended, nothing is on its way.
        let _ = settled.await;
    }

    /// Drops what is still on its way, each packet with an event that says so. What hosts send
    /// afterwards goes nowhere and is not recorded.
    pub async fn end(&self) {
        let (told, ended) = oneshot::channel();
        self.hub.post(Letter::End(self.id, told));
        let _ = ended.await;
    }
}

impl Drop for PacketLink {
    fn drop(&mut self) {
        self.hub.part(self.id);
    }
}

enum Letter {
    Join(Box<Link>, mpsc::SyncSender<io::Result<u32>>),
    Part(u32, mpsc::SyncSender<Option<Link>>),
    Settle(u32, oneshot::Sender<()>),
    End(u32, oneshot::Sender<()>),
    Stop,
}

/// A handle to the hub's thread; the last one to be dropped ends it.
struct Hub {
    letters: mpsc::Sender<Letter>,
    bell: Arc<EventFd>,
    thread: Option<JoinHandle<()>>,
}

static SHARED: Mutex<Weak<Hub>> = Mutex::new(Weak::new());

impl Hub {
    /// The process's hub, started if need be.
    fn shared() -> Result<Arc<Self>, LinkError> {
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
        let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC).map_err(fail("make an epoll"))?;
        let timer = TimerFd::new(
            ClockId::CLOCK_MONOTONIC,
            nix::sys::timerfd::TimerFlags::TFD_CLOEXEC | TimerFlags::TFD_NONBLOCK,
        )
        .map_err(fail("make a timer"))?;
        epoll
            .add(&*bell, EpollEvent::new(EpollFlags::EPOLLIN, MAILBOX))
            .map_err(fail("watch its mailbox"))?;
        epoll
            .add(timer.as_fd(), EpollEvent::new(EpollFlags::EPOLLIN, TIMER))
            .map_err(fail("watch its timer"))?;
        let (letters, mailbox) = mpsc::channel();
        let rung = Arc::clone(&bell);
        let thread = thread::Builder::new()
            .name("wire".to_owned())
            .spawn(move || {
                Exchange {
                    epoll,
                    timer,
                    bell: rung,
                    mailbox,
                    links: HashMap::new(),
                    next_link: 0,
                    flights: BinaryHeap::new(),
                    next_flight: 0,
                    armed: None,
                    buffer: vec![0; 1 << 16].into_boxed_slice(),
                }
                .work();
            })
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

    fn post(&self, letter: Letter) {
        // The thread lives as long as this handle does.
        let _ = self.letters.send(letter);
        let _ = self.bell.write(1);
    }

    fn join(&self, link: Link) -> Result<u32, LinkError> {
        let (answer, id) = mpsc::sync_channel(1);
        self.post(Letter::Join(Box::new(link), answer));
        id.recv()
            .unwrap_or_else(|_| Err(io::Error::other("its thread has ended")))
            .map_err(|source| LinkError {
                operation: "take a link on",
                source,
            })
    }

    fn part(&self, id: u32) {
        let (answer, parted) = mpsc::sync_channel(1);
        self.post(Letter::Part(id, answer));
        // Where the thread has ended, so have its links. Otherwise the devices are closed here, and
        // not by the hub: the kernel waits out a grace period for each, in which no packet would
        // move. The periods overlap.
        if let Ok(Some(link)) = parted.recv() {
            thread::scope(|scope| {
                for port in link.ports {
                    // Without a thread to be had, it is dropped with the closure, here.
                    let _ = thread::Builder::new().spawn_scoped(scope, move || drop(port));
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

/// One run's hosts and what happens to packets between them.
struct Link {
    ports: Vec<Port>,
    links: Vec<LinkInfo>,
    journal: Arc<Journal>,
    rules: Arc<Rules>,
    trigger: Option<Arc<Trigger>>,
    last_arrivals: Arc<HashMap<HostName, AtomicU64>>,
    /// Bytes that are on their way.
    waiting: usize,
    /// Whether the record has ended: what is read now is thrown away.
    over: bool,
}

/// A packet on its way, ordered by when it is due and then by departure.
struct Flight {
    due: Instant,
    order: u64,
    departed: Instant,
    link: u32,
    id: u64,
    ending: Ending,
}

/// How a flight ends when it is due.
enum Ending {
    Deliver {
        port: usize,
        bytes: Box<[u8]>,
    },
    Drop {
        rule: Cow<'static, str>,
        reason: Cow<'static, str>,
        place: f64,
    },
    /// No packet, but a mark behind the last one of a link.
    Tell(oneshot::Sender<()>),
}

impl PartialEq for Flight {
    fn eq(&self, other: &Self) -> bool {
        (self.due, self.order) == (other.due, other.order)
    }
}

impl Eq for Flight {}

impl PartialOrd for Flight {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Flight {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        (self.due, self.order).cmp(&(other.due, other.order))
    }
}

/// The hub's thread.
struct Exchange {
    epoll: Epoll,
    timer: TimerFd,
    bell: Arc<EventFd>,
    mailbox: mpsc::Receiver<Letter>,
    links: HashMap<u32, Link>,
    next_link: u32,
    flights: BinaryHeap<Reverse<Flight>>,
    next_flight: u64,
    /// What the timer is set to.
    armed: Option<Instant>,
    buffer: Box<[u8]>,
}

impl Exchange {
    fn work(mut self) {
        let mut events = [EpollEvent::empty(); 64];
        loop {
            self.arm();
            let Ok(count) = self.epoll.wait(&mut events, EpollTimeout::NONE) else {
                // EINTR; nothing else can befall a valid epoll.
                continue;
            };
            self.land();
            for event in &events[..count] {
                match event.data() {
                    MAILBOX => {
                        if !self.read_mail() {
                            return;
                        }
                    }
                    TIMER => {
                        // Reading it makes it quiet; `land` did its work.
                        let _ = self.timer.wait();
                        self.armed = None;
                    }
                    device => self.collect((device >> 32) as u32, device as u32 as usize),
                }
            }
        }
    }

    /// Returns false when the thread is to end.
    fn read_mail(&mut self) -> bool {
        let _ = self.bell.read();
        while let Ok(letter) = self.mailbox.try_recv() {
            match letter {
                Letter::Join(link, answer) => {
                    let id = self.next_link;
                    self.next_link += 1;
                    let watched = link.ports.iter().enumerate().try_for_each(|(index, port)| {
                        let name = u64::from(id) << 32 | index as u64;
                        let event = EpollEvent::new(EpollFlags::EPOLLIN, name);
                        self.epoll.add(port.tun.as_fd(), event)
                    });
                    if watched.is_ok() {
                        self.links.insert(id, *link);
                    }
                    let _ = answer.send(watched.map(|()| id).map_err(io::Error::from));
                }
                Letter::Part(id, answer) => {
                    let link = self.links.remove(&id);
                    for port in link.iter().flat_map(|link| &link.ports) {
                        // It was added, so it can be taken out.
                        let _ = self.epoll.delete(port.tun.as_fd());
                    }
                    self.flights.retain(|Reverse(flight)| flight.link != id);
                    let _ = answer.send(link);
                }
                Letter::Settle(link, landed) => {
                    // What a host has sent already, but nobody has read, is on its way too.
                    let ports = self.links.get(&link).map_or(0, |link| link.ports.len());
                    for port in 0..ports {
                        self.collect(link, port);
                    }
                    let due = self
                        .flights
                        .iter()
                        .filter(|Reverse(flight)| flight.link == link)
                        .map(|Reverse(flight)| flight.due)
                        .max()
                        .unwrap_or_else(Instant::now);
                    self.flights.push(Reverse(Flight {
                        due,
                        order: self.next_flight,
                        departed: due,
                        link,
                        id: 0,
                        ending: Ending::Tell(landed),
                    }));
                    self.next_flight += 1;
                }
                Letter::End(id, told) => {
                    self.end(id);
                    // Who asked may have given up.
                    let _ = told.send(());
                }
                Letter::Stop => return false,
            }
        }
        true
    }

    /// Ends every flight of a link here and now, and makes the link deaf.
    fn end(&mut self, id: u32) {
        let (of_link, others): (Vec<_>, Vec<_>) = std::mem::take(&mut self.flights)
            .into_iter()
            .partition(|Reverse(flight)| flight.link == id);
        self.flights = others.into();
        let Some(link) = self.links.get_mut(&id) else {
            return;
        };
        link.over = true;
        let now = Instant::now();
        for Reverse(flight) in of_link {
            let whole = match flight.ending {
                Ending::Deliver { .. } => 1.0,
                Ending::Drop { place, .. } => place,
                // Dropping the sender tells whoever waits.
                Ending::Tell(_) => continue,
            };
            let gone = now.saturating_duration_since(flight.departed).as_secs_f64();
            let due = (flight.due - flight.departed).as_secs_f64();
            let place = whole * (gone / due).clamp(0.0, 1.0);
            link.dropped(flight.id, "end", "run over", place);
        }
    }

    /// Sets the timer to the next packet that is due.
    fn arm(&mut self) {
        let next = self.flights.peek().map(|Reverse(flight)| flight.due);
        let Some(due) = next else {
            return;
        };
        if self.armed.is_some_and(|armed| armed <= due) {
            return;
        }
        // A time of zero would switch the timer off.
        let left = due
            .saturating_duration_since(Instant::now())
            .max(Duration::from_nanos(1));
        let once = Expiration::OneShot(TimeSpec::from_duration(left));
        if self.timer.set(once, TimerSetTimeFlags::empty()).is_ok() {
            self.armed = Some(due);
        }
    }

    /// Ends every flight that is due.
    fn land(&mut self) {
        while let Some(Reverse(flight)) = self.flights.peek() {
            if flight.due > Instant::now() {
                return;
            }
            let Some(Reverse(flight)) = self.flights.pop() else {
                return;
            };
            let Some(link) = self.links.get_mut(&flight.link) else {
                continue;
            };
            match flight.ending {
                Ending::Deliver { port, bytes } => {
                    link.waiting = link.waiting.saturating_sub(bytes.len());
                    link.deliver(flight.id, port, &bytes);
                }
                Ending::Drop {
                    rule,
                    reason,
                    place,
                } => link.dropped(flight.id, &rule, &reason, place),
                Ending::Tell(landed) => {
                    // Who asked may have given up.
                    let _ = landed.send(());
                }
            }
        }
    }

    /// Reads what a host has sent.
    fn collect(&mut self, id: u32, index: usize) {
        let Some(link) = self.links.get_mut(&id) else {
            return;
        };
        for _ in 0..BATCH {
            let Some(port) = link.ports.get(index) else {
                return;
            };
            let length = match port.tun.receive(&mut self.buffer) {
                Ok(length) => length,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(_) => return,
            };
            if link.over {
                continue;
            }
            let departed = Instant::now();
            let bytes = &self.buffer[..length];
            if let Some((due, packet, ending)) = link.route(index, departed, bytes) {
                if let Ending::Deliver { bytes, .. } = &ending {
                    link.waiting += bytes.len();
                }
                let order = self.next_flight;
                self.next_flight += 1;
                self.flights.push(Reverse(Flight {
                    due,
                    order,
                    departed,
                    link: id,
                    id: packet,
                    ending,
                }));
            }
        }
    }
}

impl Link {
    /// Stamps a packet and decides what becomes of it; gives a flight unless it ended at once.
    fn route(
        &self,
        from: usize,
        departed: Instant,
        bytes: &[u8],
    ) -> Option<(Instant, u64, Ending)> {
        let id = self.journal.packet_id();
        let source = &self.ports[from];
        let target = destination(bytes)
            .and_then(|address| self.ports.iter().position(|port| port.address == address));
        let to = match target {
            Some(index) => self.ports[index].host,
            None => self
                .ports
                .iter()
                .map(|port| port.host)
                .find(|host| *host != source.host)
                .unwrap_or(source.host),
        };
        self.journal.departed(
            self.journal.at_us(departed),
            Departure {
                id,
                from: source.host,
                to,
                bytes: bytes.into(),
                rewritten: None,
                follow_rewritten: false,
                origin: None,
            },
        );
        if let Some(trigger) = &self.trigger {
            trigger.pull();
        }
        let Some(port) = target else {
            self.dropped(id, "address", "no such host", 0.0);
            return None;
        };
        let Some(link) = self
            .links
            .iter()
            .find(|link| link.from == source.host && link.to == to)
        else {
            self.dropped(id, "route", "no route", 0.0);
            return None;
        };
        let delay = Duration::from_micros(link.conditions.delay_us);
        let judgement = self.rules.judge(&Passing {
            id,
            from: source.host,
            bytes,
            departed,
        });
        match judgement.fate {
            Fate::Deliver if delay.is_zero() => {
                self.deliver(id, port, bytes);
                None
            }
            Fate::Deliver if self.waiting + bytes.len() > QUEUE_BYTES => {
                self.dropped(id, "queue", "queue full", 0.0);
                None
            }
            Fate::Deliver => Some((
                departed + delay,
                id,
                Ending::Deliver {
                    port,
                    bytes: bytes.into(),
                },
            )),
            Fate::Drop {
                rule,
                reason,
                place,
            } => Some((
                departed + delay.mul_f64(place),
                id,
                Ending::Drop {
                    rule,
                    reason,
                    place,
                },
            )),
        }
    }

    fn deliver(&self, id: u64, port: usize, bytes: &[u8]) {
        let port = &self.ports[port];
        // Stamped before the write: during it the host's kernel already acts on the packet.
        let at_us = self.journal.now_us();
        match port.tun.send(bytes) {
            Ok(()) => {
                if let Some(last) = self.last_arrivals.get(&port.host) {
                    last.store(at_us, Ordering::Release);
                }
                self.journal
                    .record_at(at_us, Observer::Wire, Fact::PacketArrived { id });
                if let Some(trigger) = &self.trigger {
                    trigger.pull();
                }
            }
            Err(error) => {
                let reason = error.to_string();
                self.dropped(id, "device", &reason, 1.0);
            }
        }
    }

    fn dropped(&self, id: u64, rule: &str, reason: &str, place: f64) {
        self.journal.record(
            Observer::Wire,
            Fact::PacketDropped {
                id,
                rule: rule.to_owned(),
                reason: reason.to_owned(),
                place,
            },
        );
    }
}

/// The destination of an IPv4 packet (RFC 791, section 3.1); `None` for anything else.
fn destination(packet: &[u8]) -> Option<Ipv4Addr> {
    if packet.first()? >> 4 != 4 {
        return None;
    }
    packet
        .get(16..)?
        .first_chunk::<4>()
        .map(|bytes| Ipv4Addr::from(*bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_destination_is_read_from_an_ipv4_header_and_from_nothing_else() {
        let mut packet = vec![0_u8; 20];
        packet[0] = 0x45;
        packet[16..20].copy_from_slice(&[198, 51, 100, 1]);
        assert_eq!(destination(&packet), Some(Ipv4Addr::new(198, 51, 100, 1)));
        assert_eq!(destination(&packet[..19]), None);
        packet[0] = 0x60;
        assert_eq!(destination(&packet), None);
        assert_eq!(destination(&[]), None);
    }

    #[test]
    fn flights_land_in_the_order_in_which_they_are_due() {
        let now = Instant::now();
        let flight = |ms, order| Flight {
            due: now + Duration::from_millis(ms),
            order,
            departed: now,
            link: 0,
            id: 0,
            ending: Ending::Drop {
                rule: "".into(),
                reason: "".into(),
                place: 0.0,
            },
        };
        let mut heap: BinaryHeap<_> = [(5, 0), (1, 2), (1, 1)]
            .map(|(ms, order)| Reverse(flight(ms, order)))
            .into();
        let order: Vec<u64> = std::iter::from_fn(|| heap.pop().map(|Reverse(f)| f.order)).collect();
        assert_eq!(order, [1, 2, 0]);
    }
}
