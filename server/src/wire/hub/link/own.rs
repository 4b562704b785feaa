//! Packets of the wire's own: fragments, messages of routers, and what rules send.

use std::time::{Duration, Instant};

use bytes::Bytes;
use linger_shared::event::Origin;

use super::{
    super::{
        flights::{Ending, Flight, Flights},
        ipv4,
    },
    Departure, Direction, Flying, Link, MIDDLE, parts,
};
use crate::wire::{craft, rules::Answer};

impl Link {
    /// What a router does half-way with a packet that is too large for what follows: it takes it
    /// apart where it may (RFC 791, section 3.2), and otherwise tells the sender how large a packet
    /// may be (RFC 1191, section 4).
    ///
    /// `sent` is what its sender knows of it, `arriving` what a NAT has made of it.
    pub(super) fn too_large(
        &self,
        flying: &Flying,
        sent: &[u8],
        arriving: &[u8],
        flights: &mut Flights,
    ) {
        let Direction { from, to, .. } = self.directions[flying.index];
        let mtu = self.mtu(flying.index);
        let answer = |from, to, bytes, place| Answer {
            from,
            to,
            bytes,
            rewritten: None,
            rule: "mtu".into(),
            place,
        };
        let pieces = if ipv4::must_stay_whole(arriving) {
            None
        } else {
            ipv4::fragments(arriving, mtu)
        };
        let (reason, answers): (_, Vec<_>) = if let Some(pieces) = pieces {
            (
                format!("in {} fragments", pieces.len()),
                pieces
                    .into_iter()
                    .map(|piece| answer(from, to, piece, MIDDLE))
                    .collect(),
            )
        } else {
            let receiver = self.hosts.iter().find(|station| station.host == to);
            let told = receiver.and_then(|station| {
                let mtu = u16::try_from(mtu).ok()?;
                craft::fragmentation_needed(sent, station.address, mtu)
            });
            (
                format!("larger than {mtu} bytes"),
                told.map(|message| {
                    let mut message = answer(to, from, message, 1.0 - MIDDLE);
                    self.rules.dress(&mut message);
                    message
                })
                .into_iter()
                .collect(),
            )
        };
        self.vanish(flying, "mtu".into(), reason.into(), MIDDLE, flights);
        for answer in answers {
            self.set_out(flying.travel.at(MIDDLE), answer, Some(flying.id), flights);
        }
    }

    /// Books a packet of the wire's own.
    pub(super) fn set_out(
        &self,
        at: Instant,
        answer: Answer,
        because_of: Option<u64>,
        flights: &mut Flights,
    ) {
        let rest = self.rest_of_the_way(&answer);
        flights.book(
            at,
            Flight {
                link: self.id,
                departed: at,
                over: at + rest,
                ending: Ending::SetOut { answer, because_of },
            },
        );
    }

    /// How long an answer is on its way: the delay alone, as far as it has to go. It takes no part
    /// in jitter, queue, and what else befalls packets of hosts.
    fn rest_of_the_way(&self, answer: &Answer) -> Duration {
        let whole = self
            .direction(answer.from, answer.to)
            .map_or(Duration::ZERO, |index| self.directions[index].delay());
        whole.mul_f64(1.0 - answer.place.clamp(0.0, 1.0))
    }

    /// Sends a packet of the wire's own.
    pub(super) fn inject(
        &mut self,
        answer: Answer,
        because_of: Option<u64>,
        flights: &mut Flights,
    ) {
        let rest = self.rest_of_the_way(&answer);
        let Answer {
            from,
            to,
            bytes,
            rewritten,
            rule,
            place,
        } = answer;
        let bytes = Bytes::from(bytes);
        let (form, follow_rewritten) = parts(rewritten);
        let id = self.journal.packet_id();
        let now = Instant::now();
        self.departed(
            now,
            Departure {
                id,
                from,
                to,
                bytes: bytes.clone(),
                rewritten: form.clone(),
                follow_rewritten,
                origin: Some(Origin {
                    rule: rule.into_owned(),
                    because_of,
                    place,
                }),
            },
        );
        match self.direction(from, to) {
            Some(index) => {
                let arriving = form.unwrap_or(bytes);
                self.fly(id, index, arriving, now, now + rest, flights);
            }
            None => self.dropped(id, "route", "no route", place),
        }
    }
}
