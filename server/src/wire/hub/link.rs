//! One run's hosts, and what becomes of each packet between them.
//!
//! A packet that leaves a host is judged by the rules, routed by the address in the form that the
//! rules left it in, and given to the conditions of its direction. What follows happens later and
//! is booked as flights. Whatever happens is reported to the run's journal.

mod intake;
mod own;

use std::{
    borrow::Cow,
    collections::HashMap,
    io,
    net::Ipv4Addr,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use bytes::Bytes;
use linger_shared::{
    event::{Fact, HostName, Observer, Origin},
    link::Conditions,
};

pub(super) use self::intake::Intake;
use super::{
    Joining, Port,
    direction::{Direction, MIDDLE, Passage, Travel},
    flights::{Ending, Flight, Flights},
    ipv4,
};
use crate::{
    hosts::{Trigger, Tun},
    journal::{Departure, Journal},
    wire::rules::{Fate, Judgement, Passing, Rewritten, Rules},
};

/// How many bytes may be on their way on a link; what comes on top is dropped and said to be.
const MOST_BYTES: usize = 64 << 20;

/// One run's hosts and what happens to packets between them.
pub(super) struct Link {
    pub(super) id: u32,
    pub(super) hosts: Vec<Station>,
    directions: Vec<Direction>,
    journal: Arc<Journal>,
    rules: Arc<Rules>,
    trigger: Option<Arc<Trigger>>,
    last_arrivals: Arc<HashMap<HostName, AtomicU64>>,
    /// Bytes that are on their way.
    aboard: usize,
    /// Whether the record has ended: what is read now is thrown away.
    over: bool,
    /// When the rules are to be asked next, of all the times that are booked.
    alarm: Option<Instant>,
}

/// A host's place on a link, with or without a host in it.
pub(super) struct Station {
    pub(super) host: HostName,
    pub(super) address: Ipv4Addr,
    /// None while the host is off.
    pub(super) tun: Option<Tun>,
}

impl Link {
    pub(super) fn new(joining: Joining, last_arrivals: Arc<HashMap<HostName, AtomicU64>>) -> Self {
        let seed = joining.seed;
        Self {
            id: 0,
            hosts: joining
                .ports
                .into_iter()
                .map(|port| Station {
                    host: port.host,
                    address: port.address,
                    tun: Some(port.tun),
                })
                .collect(),
            directions: joining
                .links
                .into_iter()
                .map(|link| Direction::new(link.from, link.to, link.conditions, seed))
                .collect(),
            journal: joining.journal,
            rules: joining.rules,
            trigger: joining.trigger,
            last_arrivals,
            aboard: 0,
            over: false,
            alarm: None,
        }
    }

    /// Puts a host in its place. The device that was there before comes back.
    pub(super) fn plug(&mut self, port: Port) -> Option<(usize, Option<Tun>)> {
        let index = self.hosts.iter().position(|host| host.host == port.host)?;
        let station = &mut self.hosts[index];
        station.address = port.address;
        Some((index, station.tun.replace(port.tun)))
    }

    /// Takes a host out of its place.
    pub(super) fn unplug(&mut self, host: HostName) -> Option<Port> {
        let station = self.hosts.iter_mut().find(|station| station.host == host)?;
        Some(Port {
            host,
            address: station.address,
            tun: station.tun.take()?,
        })
    }

    /// Changes a direction; false where the link has none such.
    pub(super) fn change(&mut self, from: HostName, to: HostName, conditions: Conditions) -> bool {
        let Some(index) = self.direction(from, to) else {
            return false;
        };
        self.directions[index].change(conditions, Instant::now());
        true
    }

    fn direction(&self, from: HostName, to: HostName) -> Option<usize> {
        self.directions
            .iter()
            .position(|direction| direction.from == from && direction.to == to)
    }

    /// Reads a packet that a host has sent and books what becomes of it.
    ///
    /// # Errors
    /// What `read(2)` returned; `WouldBlock` where no packet waits, or no host is there.
    pub(super) fn collect(
        &mut self,
        from: usize,
        intake: &mut Intake,
        flights: &mut Flights,
    ) -> io::Result<Instant> {
        let tun = self
            .hosts
            .get(from)
            .and_then(|station| station.tun.as_ref())
            .ok_or(io::ErrorKind::WouldBlock)?;
        let bytes = intake.receive(tun)?;
        let departed = Instant::now();
        if !self.over {
            self.pass(from, departed, &bytes, flights);
        }
        Ok(departed)
    }

    /// Stamps a packet that a host has sent and decides what becomes of it.
    fn pass(&mut self, from: usize, departed: Instant, bytes: &Bytes, flights: &mut Flights) {
        let id = self.journal.packet_id();
        let from = self.hosts[from].host;
        let Judgement {
            fate,
            rewritten,
            delay,
            answers,
        } = self.rules.judge(&Passing {
            id,
            from,
            bytes,
            departed,
        });
        let (form, follow_rewritten) = parts(rewritten);
        let arriving = form.as_ref().unwrap_or(bytes);
        let target = ipv4::destination(arriving)
            .and_then(|address| self.hosts.iter().find(|host| host.address == address))
            .map(|station| station.host);
        let to = target.unwrap_or_else(|| self.somebody_else(from));
        self.departed(
            departed,
            Departure {
                id,
                from,
                to,
                bytes: bytes.clone(),
                rewritten: form.clone(),
                follow_rewritten,
                origin: None,
            },
        );
        if target.is_none() {
            self.dropped(id, "address", "no such host", 0.0);
            return;
        }
        let Some(index) = self.direction(from, to) else {
            self.dropped(id, "route", "no route", 0.0);
            return;
        };
        let length = arriving.len();
        let Passage::Travels(travel) = self.directions[index].admit(length, departed) else {
            self.dropped(id, "queue", "queue full", 0.0);
            return;
        };
        let flying = Flying {
            id,
            departed,
            index,
            travel,
        };
        // How far it comes: an answer to it sets out only from a place that it reaches.
        let mut reaches = 1.0;
        if let Fate::Drop {
            rule,
            reason,
            place,
        } = fate
        {
            self.vanish(&flying, rule, reason, place, flights);
            // Where a rule drops a packet, it may answer too.
            reaches = place;
        } else if travel.lost {
            self.vanish(&flying, "loss".into(), "lost".into(), MIDDLE, flights);
            reaches = MIDDLE;
        } else if length > self.mtu(index) {
            self.too_large(&flying, bytes, arriving, flights);
            reaches = MIDDLE;
        } else if self.aboard + length > MOST_BYTES {
            self.dropped(id, "queue", "queue full", 0.0);
            return;
        } else {
            let sent = Sent {
                bytes,
                form,
                follow_rewritten,
            };
            self.carry(&flying, sent, delay, flights);
        }
        for answer in answers {
            let place = if answer.to == from {
                1.0 - answer.place
            } else {
                answer.place
            };
            if place <= reaches {
                self.set_out(travel.at(place), answer, Some(id), flights);
            }
        }
    }

    fn somebody_else(&self, than: HostName) -> HostName {
        self.hosts
            .iter()
            .map(|station| station.host)
            .find(|host| *host != than)
            .unwrap_or(than)
    }

    fn mtu(&self, direction: usize) -> usize {
        usize::try_from(self.directions[direction].conditions().mtu).unwrap_or(usize::MAX)
    }

    /// Books a packet's arrival, that of its double, and those of packets that it overtakes.
    fn carry(
        &mut self,
        flying: &Flying,
        sent: Sent<'_>,
        extra_delay: Duration,
        flights: &mut Flights,
    ) {
        let Flying {
            id,
            departed,
            index,
            travel,
        } = *flying;
        let bytes = sent.form.as_ref().unwrap_or(sent.bytes).clone();
        let double = travel.doubled.then(|| bytes.clone());
        let direction = &self.directions[index];
        let due = travel.due + extra_delay;
        if due <= departed && direction.aboard == 0 && direction.held.is_empty() {
            self.deliver(id, index, &bytes);
        } else {
            let ticket = self.fly(id, index, bytes, departed, due, flights);
            if travel.held {
                self.directions[index].held.push(ticket);
            }
        }
        if let Some(bytes) = double {
            let (from, to) = (self.directions[index].from, self.directions[index].to);
            let id_of_double = self.journal.packet_id();
            self.departed(
                departed,
                Departure {
                    id: id_of_double,
                    from,
                    to,
                    bytes: sent.bytes.clone(),
                    rewritten: sent.form,
                    follow_rewritten: sent.follow_rewritten,
                    origin: Some(Origin {
                        rule: "duplicate".to_owned(),
                        because_of: Some(id),
                        place: 0.0,
                    }),
                },
            );
            self.fly(id_of_double, index, bytes, departed, due, flights);
        }
        if !travel.held {
            for overtaken in std::mem::take(&mut self.directions[index].held) {
                flights.rebook(overtaken, due);
            }
        }
    }

    fn fly(
        &mut self,
        id: u64,
        direction: usize,
        bytes: Bytes,
        departed: Instant,
        due: Instant,
        flights: &mut Flights,
    ) -> super::flights::Ticket {
        self.aboard += bytes.len();
        self.directions[direction].aboard += 1;
        flights.book(
            due,
            Flight {
                link: self.id,
                departed,
                over: due,
                ending: Ending::Arrive {
                    id,
                    direction,
                    bytes,
                },
            },
        )
    }

    /// Books a packet's disappearance.
    fn vanish(
        &self,
        flying: &Flying,
        rule: Cow<'static, str>,
        reason: Cow<'static, str>,
        place: f64,
        flights: &mut Flights,
    ) {
        let due = if place > 0.0 {
            flying.travel.at(place)
        } else {
            flying.departed
        };
        flights.book(
            due,
            Flight {
                link: self.id,
                departed: flying.departed,
                over: due,
                ending: Ending::Vanish {
                    id: flying.id,
                    rule,
                    reason,
                    place,
                },
            },
        );
    }

    /// Does what is due.
    pub(super) fn land(&mut self, due: Instant, flight: Flight, flights: &mut Flights) {
        match flight.ending {
            Ending::Arrive {
                id,
                direction,
                bytes,
            } => {
                self.aboard = self.aboard.saturating_sub(bytes.len());
                let aboard = &mut self.directions[direction].aboard;
                *aboard = aboard.saturating_sub(1);
                self.deliver(id, direction, &bytes);
            }
            Ending::Vanish {
                id,
                rule,
                reason,
                place,
            } => self.dropped(id, &rule, &reason, place),
            Ending::SetOut { answer, because_of } => {
                self.inject(answer, because_of, flights);
            }
            Ending::Alarm => {
                if self.alarm == Some(due) {
                    self.alarm = None;
                }
                if !self.over {
                    for answer in self.rules.due(Instant::now()) {
                        self.set_out(due, answer, None, flights);
                    }
                    self.look_at_the_rules(flights);
                }
            }
            // Who asked may have given up.
            Ending::Tell(landed) => drop(landed.send(())),
        }
    }

    /// Books a time to ask the rules, if they have one that is earlier than what is booked.
    pub(super) fn look_at_the_rules(&mut self, flights: &mut Flights) {
        let Some(deadline) = self.rules.deadline() else {
            return;
        };
        if self.over || self.alarm.is_some_and(|alarm| alarm <= deadline) {
            return;
        }
        self.alarm = Some(deadline);
        flights.book(
            deadline,
            Flight {
                link: self.id,
                departed: deadline,
                over: deadline,
                ending: Ending::Alarm,
            },
        );
    }

    /// Ends the record: what is on its way is dropped here and now, what comes later is ignored.
    pub(super) fn end(&mut self, on_their_way: Vec<(Instant, Flight)>) {
        self.over = true;
        let now = Instant::now();
        for (due, flight) in on_their_way {
            let (id, whole) = match flight.ending {
                Ending::Arrive { id, .. } => (id, 1.0),
                Ending::Vanish { id, place, .. } => (id, place),
                // What has not set out needs no ending. Dropping the sender tells whoever waits.
                Ending::SetOut { .. } | Ending::Alarm | Ending::Tell(_) => continue,
            };
            let gone = now.saturating_duration_since(flight.departed).as_secs_f64();
            let way = due.saturating_duration_since(flight.departed).as_secs_f64();
            let share = if way > 0.0 { gone / way } else { 1.0 };
            self.dropped(id, "end", "run over", whole * share.clamp(0.0, 1.0));
        }
        self.aboard = 0;
    }

    fn deliver(&self, id: u64, direction: usize, bytes: &[u8]) {
        let to = self.directions[direction].to;
        let tun = self
            .hosts
            .iter()
            .find(|station| station.host == to)
            .and_then(|station| station.tun.as_ref());
        let Some(tun) = tun else {
            self.dropped(id, "power", "host off", 1.0);
            return;
        };
        // Stamped before the write: during it the host's kernel already acts on the packet.
        let at_us = self.journal.now_us();
        match tun.send(bytes) {
            Ok(()) => {
                if let Some(last) = self.last_arrivals.get(&to) {
                    last.store(at_us, Ordering::Release);
                }
                self.journal
                    .record_at(at_us, Observer::Wire, Fact::PacketArrived { id });
                self.pull();
            }
            Err(error) => self.dropped(id, "device", &error.to_string(), 1.0),
        }
    }

    fn departed(&self, at: Instant, departure: Departure) {
        self.journal.departed(self.journal.at_us(at), departure);
        self.pull();
    }

    fn pull(&self) {
        if let Some(trigger) = &self.trigger {
            trigger.pull();
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

/// A packet that its direction has taken.
#[derive(Clone, Copy)]
struct Flying {
    id: u64,
    departed: Instant,
    index: usize,
    travel: Travel,
}

/// A packet as its sender sent it, and what a NAT has made of it.
struct Sent<'a> {
    bytes: &'a Bytes,
    form: Option<Bytes>,
    follow_rewritten: bool,
}

/// The form in which a packet arrives, where it is another, and whether to follow it by that one.
fn parts(rewritten: Option<Rewritten>) -> (Option<Bytes>, bool) {
    rewritten.map_or((None, false), |rewritten| {
        (Some(rewritten.bytes.into()), rewritten.inside)
    })
}
