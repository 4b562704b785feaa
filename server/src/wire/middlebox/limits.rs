//! What a middlebox forgets, when, and what it does then.

use std::{
    cmp::Reverse,
    time::{Duration, Instant},
};

use linger_shared::{dissect::tcp::Flags, event::FlowState, middlebox::Expiry};

use super::{
    Flow, Key, Middlebox, Notice,
    connection::{Phase, Side},
    notice_of,
};
use crate::wire::rules::Answer;

/// The two limits of a box.
pub(super) struct Limits {
    idle: Duration,
    transitory: Duration,
}

impl Limits {
    pub(super) fn of(&self, flow: &Flow) -> Duration {
        let phase = flow.connection.as_ref().map(|connection| connection.phase);
        match phase {
            Some(Phase::Opening | Phase::Closing | Phase::Closed | Phase::Ended) => self.transitory,
            Some(Phase::Established) | None => self.idle,
        }
    }
}

impl Middlebox {
    pub(super) fn limits(&self) -> Limits {
        Limits {
            idle: Duration::from_micros(self.plan.idle_us),
            transitory: Duration::from_micros(self.plan.transitory_us),
        }
    }

    /// When the box is to be asked again.
    pub(in crate::wire) fn deadline(&self) -> Option<Instant> {
        let mark = self.marks.peek().map(|Reverse((at, _))| *at);
        self.pending_since.or(mark)
    }

    /// What the box sends and says by itself, now that some limits may have been reached.
    pub(in crate::wire) fn due(&mut self, now: Instant) -> (Vec<Answer>, Vec<Notice>) {
        let notices = self.expire_until(now);
        self.pending_since = None;
        (std::mem::take(&mut self.pending), notices)
    }

    /// Forgets what has reached its limit.
    pub(super) fn expire_until(&mut self, now: Instant) -> Vec<Notice> {
        let mut notices = Vec::new();
        while let Some(Reverse((at, key))) = self.marks.peek().copied() {
            if at > now {
                break;
            }
            self.marks.pop();
            let Some(flow) = self.flows.get_mut(&key) else {
                continue;
            };
            if flow.marked != at {
                // A mark of an earlier limit, or of an earlier flow between the same ends.
                continue;
            }
            if flow.until > now {
                flow.marked = flow.until;
                self.marks.push(Reverse((flow.until, key)));
                continue;
            }
            notices.extend(self.expire(&key));
        }
        if !self.pending.is_empty() {
            self.pending_since.get_or_insert(now);
        }
        notices
    }

    /// A flow's limit was reached.
    fn expire(&mut self, key: &Key) -> Option<Notice> {
        let flow = self.flows.get(key)?;
        let (mapped, until) = (flow.mapped, flow.until);
        let phase = flow.connection.as_ref().map(|connection| connection.phase);
        if matches!(phase, Some(Phase::Closed | Phase::Ended)) {
            self.forget(key);
            return None;
        }
        let flag = match self.plan.expiry {
            Expiry::Silence | Expiry::RstOnNextPacket => None,
            Expiry::FinToBoth => Some(Flags::FIN),
            Expiry::RstToBoth => Some(Flags::RST),
        };
        let endings = [Side::Inside, Side::Outside].map(|side| {
            let (flag, connection) = flag.zip(flow.connection.as_ref())?;
            connection.ending(side, (key.inside, key.outside), flag)
        });
        for (side, packet) in [Side::Inside, Side::Outside].into_iter().zip(endings) {
            let answer = packet.map(|bytes| self.answer(side, bytes));
            self.pending.extend(answer);
        }
        let sees_it_through = self.plan.expiry == Expiry::FinToBoth;
        let transitory = self.limits().transitory;
        match self.flows.get_mut(key) {
            Some(Flow {
                connection: Some(connection),
                until: last,
                marked,
                ..
            }) if sees_it_through => {
                connection.phase = Phase::Ended;
                *last = until + transitory;
                *marked = *last;
                self.marks.push(Reverse((*last, *key)));
            }
            _ => self.forget(key),
        }
        Some(notice_of(
            &self.plan,
            key,
            mapped,
            until,
            FlowState::Expired,
        ))
    }
}
