//! What applications tell of connections: what their calls and exchanges came to.

use std::{collections::VecDeque, net::SocketAddr};

use linger_shared::event::{Call, HostName, HttpExchange};

use super::{
    Witness,
    connection::{End, GaveUp, Unreachable, Weight},
};

/// How many calls are remembered whose connection is not known yet.
const EARLY: usize = 64;

/// What a read gives when the peer has closed its sending side.
const END_OF_STREAM: &str = "end of stream";

impl Witness {
    pub(super) fn called(&mut self, host: HostName, call: &Call, at_us: u64) {
        if call.call == "setsockopt" {
            return;
        }
        let number = match (call.call.as_str(), call.remote) {
            ("connect", Some(to)) => self.connected(host, call, to),
            _ => self.register.find(host, call.local, call.remote),
        };
        if number.is_none() {
            self.remember(host, call, at_us);
        }
        let icmp = self.icmp.get(&host).cloned();
        let Some(end) = number.and_then(|number| self.register.end_of(number, host)) else {
            return;
        };
        let waits = call.errno.is_none() && call.result.is_empty();
        let (weight, text) = match &call.errno {
            Some(errno) => (Weight::Error, errno.clone()),
            None if waits => (Weight::Waits, format!("still waiting in {}()", call.call)),
            None if call.result.starts_with(END_OF_STREAM) => {
                (Weight::EndOfStream, END_OF_STREAM.to_owned())
            }
            None if call.call == "close" => {
                end.closed_us.get_or_insert(at_us);
                (Weight::Closed, "closed it".to_owned())
            }
            None => return,
        };
        // What it waits for at the end of a run, it has waited for since it asked.
        let learnt_us = match call.began_us {
            Some(began_us) if waits => began_us,
            _ => at_us,
        };
        end.learns(weight, text, learnt_us);
        match call.errno.as_deref() {
            Some(errno) if errno == "ETIMEDOUT" || (may_be_soft(errno) && end.retransmitted()) => {
                end.gave_up.get_or_insert(GaveUp {
                    errno: errno.to_owned(),
                    at_us,
                    unanswered: end.unanswered,
                });
            }
            Some(
                errno @ ("EHOSTUNREACH" | "ENETUNREACH" | "EHOSTDOWN" | "ENONET" | "EPROTO"
                | "ENOPROTOOPT" | "EACCES"),
            ) => end.told_unreachable(errno, at_us, icmp),
            // An RST says so, too; then nobody has sent ICMP.
            Some(errno @ "ECONNREFUSED") if icmp.is_some() => {
                end.told_unreachable(errno, at_us, icmp);
            }
            _ => {}
        }
    }

    /// Over a relay, an accepted connection is known by its address only once its host has sent
    /// something on it; what was called on it before is looked at then.
    fn remember(&mut self, host: HostName, call: &Call, at_us: u64) {
        if self.early.len() == EARLY {
            self.early.pop_front();
        }
        self.early.push_back((host, call.clone(), at_us));
    }

    /// Looks at what was called on a connection before it was known by this address on the host.
    pub(super) fn recall(&mut self, host: HostName, opener: SocketAddr) {
        let about = |(on, call, _): &(HostName, Call, u64)| {
            *on == host && [call.local, call.remote].contains(&Some(opener))
        };
        let (now, later) = std::mem::take(&mut self.early).into_iter().partition(about);
        self.early = later;
        if let Some(served) = self.register.find(host, Some(opener), None) {
            let mut serving = std::mem::take(&mut self.serving);
            serving.retain(|(number, on, client)| {
                let other = (*on, *client) != (host, opener);
                if !other {
                    self.register.pair(*number, served);
                }
                other
            });
            self.serving = serving;
        }
        let now: VecDeque<(HostName, Call, u64)> = now;
        for (host, call, at_us) in now {
            self.called(host, &call, at_us);
        }
    }

    /// The connection that a `connect()` was about. It has come back, or never does.
    fn connected(&mut self, host: HostName, call: &Call, to: SocketAddr) -> Option<u32> {
        let number = self.register.connected(host, to, call.local);
        // Over a relay nothing is known of where to, and an own address is enough.
        let number = number.or_else(|| self.register.find(host, call.local, None))?;
        if let Some(client) = call.on_behalf_of {
            match self.register.find(host, None, Some(client)) {
                Some(served) => self.register.pair(number, served),
                None => self.serving.push((number, host, client)),
            }
        }
        Some(number)
    }

    pub(super) fn exchanged(&mut self, host: HostName, exchange: &HttpExchange, at_us: u64) {
        // A proxy's answer of its own is told on the other connection, by its client.
        let own = host == HostName::Client;
        let Some(end) = self.register.end(host, exchange.local, None) else {
            return;
        };
        match (&exchange.error, exchange.status) {
            (None, Some(status)) => end.learns(Weight::Response, format!("HTTP {status}"), at_us),
            (Some(error), Some(status)) if own => {
                end.learns(Weight::Error, format!("HTTP {status}, {error}"), at_us);
            }
            (Some(error), _) => end.learns(Weight::Error, error.clone(), at_us),
            (None, None) => {
                end.learns(Weight::Waits, "no response yet", exchange.began_us);
            }
        }
    }
}

/// Whether a kernel that gives an open connection up may say so with this errno: ICMP that came
/// meanwhile is no reason to give up, but is told in the place of ETIMEDOUT (RFC 5461;
/// `sk_err_soft`).
fn may_be_soft(errno: &str) -> bool {
    [
        "EHOSTUNREACH",
        "ENETUNREACH",
        "ECONNREFUSED",
        "EPROTO",
        "ENOPROTOOPT",
    ]
    .contains(&errno)
}

impl End {
    /// Whether it has sent data of an open connection again, and in vain.
    fn retransmitted(&self) -> bool {
        self.unanswered.syns == 0 && self.unanswered.retransmissions > 0
    }

    fn told_unreachable(&mut self, errno: &str, at_us: u64, icmp: Option<(u64, String)>) {
        self.unreachable.get_or_insert(Unreachable {
            errno: errno.to_owned(),
            at_us,
            rule: icmp.map(|(_, rule)| rule),
        });
    }
}
