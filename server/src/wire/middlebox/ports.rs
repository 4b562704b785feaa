//! The ports of a NAT: which inside address and port is behind which of its own.
//!
//! One inside port has one outside port, whomever it speaks to (RFC 5382, section 4.1, REQ-1), and
//! the same number where that is free.

use std::{
    collections::HashMap,
    net::{Ipv4Addr, SocketAddrV4},
};

/// The first port that is given out where the preserved one is taken: those below are the system's
/// (RFC 6335, section 6).
const FIRST: u16 = 1_024;

/// What a NAT has given out.
pub(super) struct Ports {
    address: Ipv4Addr,
    given: HashMap<(u8, SocketAddrV4), Given>,
    owners: HashMap<(u8, u16), SocketAddrV4>,
}

struct Given {
    port: u16,
    /// How many connections use it.
    users: u32,
}

impl Ports {
    /// The ports of an outside address.
    pub(super) fn of(address: Ipv4Addr) -> Self {
        Self {
            address,
            given: HashMap::new(),
            owners: HashMap::new(),
        }
    }

    /// The outside end for a new connection of an inside one; `None` where every port is taken.
    pub(super) fn take(&mut self, protocol: u8, inside: SocketAddrV4) -> Option<SocketAddrV4> {
        if let Some(given) = self.given.get_mut(&(protocol, inside)) {
            given.users += 1;
            return Some(SocketAddrV4::new(self.address, given.port));
        }
        let free = |port: &u16| !self.owners.contains_key(&(protocol, *port));
        let port = std::iter::once(inside.port())
            .chain(FIRST..=u16::MAX)
            .find(free)?;
        self.owners.insert((protocol, port), inside);
        self.given
            .insert((protocol, inside), Given { port, users: 1 });
        Some(SocketAddrV4::new(self.address, port))
    }

    /// The outside end that an inside one has.
    pub(super) fn mapped(&self, protocol: u8, inside: SocketAddrV4) -> Option<SocketAddrV4> {
        let given = self.given.get(&(protocol, inside))?;
        Some(SocketAddrV4::new(self.address, given.port))
    }

    /// Who is behind an outside end.
    pub(super) fn owner(&self, protocol: u8, outside: SocketAddrV4) -> Option<SocketAddrV4> {
        if *outside.ip() != self.address {
            return None;
        }
        self.owners.get(&(protocol, outside.port())).copied()
    }

    /// A connection of an inside end is forgotten; the last one gives its port back.
    pub(super) fn give_back(&mut self, protocol: u8, inside: SocketAddrV4) {
        let Some(given) = self.given.get_mut(&(protocol, inside)) else {
            return;
        };
        given.users -= 1;
        if given.users == 0 {
            let port = given.port;
            self.given.remove(&(protocol, inside));
            self.owners.remove(&(protocol, port));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const OUTSIDE: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 77);

    fn inside(host: u8, port: u16) -> SocketAddrV4 {
        SocketAddrV4::new(Ipv4Addr::new(192, 0, 2, host), port)
    }

    #[test]
    fn a_port_is_preserved_where_it_is_free_and_replaced_where_it_is_taken() {
        let mut ports = Ports::of(OUTSIDE);
        let first = ports.take(6, inside(1, 40_000)).unwrap();
        assert_eq!(first, SocketAddrV4::new(OUTSIDE, 40_000));
        let second = ports.take(6, inside(2, 40_000)).unwrap();
        assert_eq!(second, SocketAddrV4::new(OUTSIDE, FIRST));
        // Another protocol has ports of its own.
        assert_eq!(ports.take(17, inside(2, 40_000)), Some(first));
        assert_eq!(ports.owner(6, first), Some(inside(1, 40_000)));
        assert_eq!(ports.owner(6, second), Some(inside(2, 40_000)));
        assert_eq!(ports.owner(6, inside(1, 40_000)), None);
    }

    #[test]
    fn a_port_is_given_back_with_its_last_connection() {
        let mut ports = Ports::of(OUTSIDE);
        let outside = ports.take(6, inside(1, 40_000)).unwrap();
        assert_eq!(ports.take(6, inside(1, 40_000)), Some(outside));
        ports.give_back(6, inside(1, 40_000));
        assert_eq!(ports.owner(6, outside), Some(inside(1, 40_000)));
        ports.give_back(6, inside(1, 40_000));
        assert_eq!(ports.owner(6, outside), None);
        ports.give_back(6, inside(1, 40_000));
        assert_eq!(ports.take(6, inside(2, 40_000)), Some(outside));
    }

    #[test]
    fn when_every_port_is_taken_there_is_none() {
        let mut ports = Ports::of(OUTSIDE);
        for port in FIRST..=u16::MAX {
            ports.take(6, inside(1, port)).unwrap();
        }
        assert_eq!(ports.take(6, inside(2, 5_000)), None);
        assert!(ports.take(6, inside(2, 80)).is_some());
    }
}
