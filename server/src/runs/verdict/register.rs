//! Which connection something is about: by number on the wire, by addresses for kernels and
//! applications.
//!
//! The opener's address tells a connection from all others, on both of its hosts. On the accepting
//! host it may be another one than on the opener's: a NAT's outside, or a relay's own.

use std::{
    collections::{BTreeMap, HashMap, VecDeque},
    net::SocketAddr,
};

use linger_shared::event::HostName;

use super::connection::{Connection, End};

/// Every connection of a run.
#[derive(Debug, Default)]
pub(super) struct Register {
    connections: BTreeMap<u32, Connection>,
    /// The latest connection by a host and the opener's address as it is known there.
    by_opener: HashMap<(HostName, SocketAddr), u32>,
    /// Connections whose `connect()` has not come back, by who opens them and where to.
    connecting: HashMap<(HostName, SocketAddr), VecDeque<u32>>,
    /// What the outside takes an address for, and the address.
    mapped: HashMap<SocketAddr, SocketAddr>,
}

impl Register {
    /// A connection that a packet or chunk belongs to; it is opened where it is new.
    pub(super) fn enter(
        &mut self,
        number: u32,
        at_us: u64,
        hosts: [HostName; 2],
    ) -> &mut Connection {
        self.connections
            .entry(number)
            .or_insert_with(|| Connection::new(number, at_us, hosts))
    }

    /// Whether it is there already.
    pub(super) fn knows(&self, number: u32) -> bool {
        self.connections.contains_key(&number)
    }

    /// A connection's opener is known on a host by this address.
    pub(super) fn opener(&mut self, host: HostName, address: SocketAddr, number: u32) {
        self.by_opener.insert((host, address), number);
    }

    /// A connection is being opened to an address.
    pub(super) fn connecting(&mut self, host: HostName, to: SocketAddr, number: u32) {
        self.connecting
            .entry((host, to))
            .or_default()
            .push_back(number);
    }

    /// A NAT shows an address to the outside as another.
    pub(super) fn map(&mut self, inside: SocketAddr, outside: SocketAddr) {
        self.mapped.insert(outside, inside);
    }

    /// A connection by its number.
    pub(super) fn get_mut(&mut self, number: u32) -> Option<&mut Connection> {
        self.connections.get_mut(&number)
    }

    /// The connection of a socket, by its host and addresses.
    pub(super) fn find(
        &self,
        host: HostName,
        local: Option<SocketAddr>,
        remote: Option<SocketAddr>,
    ) -> Option<u32> {
        let known = |address: SocketAddr| self.by_opener.get(&(host, address)).copied();
        let inside = |address: SocketAddr| self.mapped.get(&address).copied();
        local
            .and_then(known)
            .or_else(|| remote.and_then(known))
            .or_else(|| remote.and_then(inside).and_then(known))
    }

    /// A socket's end of its connection.
    pub(super) fn end(
        &mut self,
        host: HostName,
        local: Option<SocketAddr>,
        remote: Option<SocketAddr>,
    ) -> Option<&mut End> {
        let number = self.find(host, local, remote)?;
        self.end_of(number, host)
    }

    /// A host's end of a connection.
    pub(super) fn end_of(&mut self, number: u32, host: HostName) -> Option<&mut End> {
        let connection = self.connections.get_mut(&number)?;
        let index = connection.end_of(host)?;
        connection.ends.get_mut(index)
    }

    /// The connection that a host's `connect()` to an address was about, which has come back: by its
    /// own address where it has one, else the one that has waited for the longest.
    pub(super) fn connected(
        &mut self,
        host: HostName,
        to: SocketAddr,
        local: Option<SocketAddr>,
    ) -> Option<u32> {
        let number = local.and_then(|local| self.find(host, Some(local), None));
        let waiting = self.connecting.get_mut(&(host, to))?;
        match number {
            Some(number) => {
                waiting.retain(|other| *other != number);
                Some(number)
            }
            None if local.is_some() => None,
            None => waiting.pop_front(),
        }
    }

    /// A connection is on behalf of another, which a proxy has accepted.
    pub(super) fn pair(&mut self, number: u32, served: u32) {
        if number != served
            && let Some(connection) = self.connections.get_mut(&number)
        {
            connection.serves = Some(served);
        }
    }

    /// Every connection, in the order in which they were opened.
    pub(super) fn all(&self) -> impl Iterator<Item = &Connection> {
        self.connections.values()
    }

    /// How many there are.
    pub(super) fn len(&self) -> usize {
        self.connections.len()
    }
}
