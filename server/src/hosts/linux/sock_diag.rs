//! Asks a kernel for its TCP sockets, or for their end: `sock_diag(7)`.
//!
//! What the kernel answers is read by `inet_diag`.

use std::io::{self, Read, Write};

use linger_shared::event::SocketSnapshot;
use socket2::{Domain, Protocol, Socket, Type};
use thiserror::Error;

use super::inet_diag::{Entry, ID, INET_DIAG_INFO, parse, u32_at};

const NETLINK_SOCK_DIAG: i32 = 4;
const SOCK_DIAG_BY_FAMILY: u16 = 20;
const SOCK_DESTROY: u16 = 21;
const NLMSG_ERROR: u16 = 2;
const NLMSG_DONE: u16 = 3;
const NLM_F_REQUEST: u16 = 1;
const NLM_F_ACK: u16 = 4;
const NLM_F_DUMP: u16 = 0x300;
/// Every state but CLOSE, NEW_SYN_RECV included.
const ALL_STATES: u32 = 0x1f7e;
/// All of those but LISTEN: without it the kernel need not search its table of listeners, which
/// all namespaces share.
const NO_LISTENERS: u32 = ALL_STATES & !(1 << 10);
/// A socket of IPv6 may speak IPv4, and many servers listen on one.
const FAMILIES: [u8; 2] = [libc::AF_INET as u8, libc::AF_INET6 as u8];
/// More than the kernel puts into one answer to a dump (at most 32 KiB, `netlink_dump` in
/// net/netlink/af_netlink.c), so that none is cut short.
const BUFFER: usize = 64 * 1024;
/// Length of a `struct nlmsghdr`.
const HEADER: usize = 16;

/// The kernel could not be asked.
#[derive(Debug, Error)]
pub enum DiagError {
    /// A system call failed.
    #[error("sock_diag: cannot {operation}: {source}")]
    Io {
        /// What was tried.
        operation: &'static str,
        /// What happened.
        source: io::Error,
    },
}

fn fail(operation: &'static str) -> impl FnOnce(io::Error) -> DiagError {
    move |source| DiagError::Io { operation, source }
}

/// A `sock_diag` socket. It speaks of the namespace in which it was opened, whoever uses it.
pub struct Diag {
    socket: Socket,
    buffer: Vec<u8>,
    /// How many sockets there were last.
    expected: usize,
}

/// Which sockets are asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Which {
    /// Every one.
    All,
    /// Every one that does not listen: costs the kernel less.
    Connections,
}

impl Diag {
    /// Opens a socket in the calling thread's network namespace.
    ///
    /// # Errors
    /// [`DiagError`] where the kernel has no `sock_diag`.
    pub fn open() -> Result<Self, DiagError> {
        let socket = Socket::new(
            Domain::from(libc::AF_NETLINK),
            Type::RAW.cloexec(),
            Some(Protocol::from(NETLINK_SOCK_DIAG)),
        )
        .map_err(fail("open a socket"))?;
        Ok(Self {
            socket,
            buffer: vec![0; BUFFER],
            expected: 0,
        })
    }

    /// The TCP sockets of the namespace, TIME_WAIT included.
    ///
    /// # Errors
    /// [`DiagError`] where the kernel refuses.
    pub fn sockets(&mut self, which: Which) -> Result<Vec<SocketSnapshot>, DiagError> {
        let mut sockets = Vec::with_capacity(self.expected);
        self.dump(which, |entry| sockets.push(entry.snapshot))?;
        // Room for a few more, so that the next answer needs no second allocation.
        self.expected = sockets.len() + sockets.len() / 8 + 4;
        Ok(sockets)
    }

    /// Destroys every socket of the namespace, orphans included.
    ///
    /// # Errors
    /// [`DiagError`] where the kernel refuses; it may lack INET_DIAG_DESTROY.
    pub fn destroy_all(&mut self) -> Result<(), DiagError> {
        let mut found = Vec::new();
        self.dump(Which::All, |entry| found.push((entry.family, entry.id)))?;
        for (family, id) in found {
            let flags = NLM_F_REQUEST | NLM_F_ACK;
            let request = request(SOCK_DESTROY, flags, family, 0, ALL_STATES, &id);
            self.socket
                .write_all(&request)
                .map_err(fail("ask for a socket's end"))?;
            // The answer is an acknowledgment or an errno; a socket that went by itself is fine.
            (&self.socket)
                .read(&mut self.buffer)
                .map_err(fail("read the answer"))?;
        }
        Ok(())
    }

    fn dump(&mut self, which: Which, mut each: impl FnMut(Entry)) -> Result<(), DiagError> {
        let states = match which {
            Which::All => ALL_STATES,
            Which::Connections => NO_LISTENERS,
        };
        for family in FAMILIES {
            let flags = NLM_F_REQUEST | NLM_F_DUMP;
            let info = 1 << (INET_DIAG_INFO - 1);
            let request = request(SOCK_DIAG_BY_FAMILY, flags, family, info, states, &[0; ID]);
            self.socket
                .write_all(&request)
                .map_err(fail("ask for the sockets"))?;
            self.read_dump(&mut each)?;
        }
        Ok(())
    }

    fn read_dump(&mut self, each: &mut impl FnMut(Entry)) -> Result<(), DiagError> {
        loop {
            let length = (&self.socket)
                .read(&mut self.buffer)
                .map_err(fail("read the sockets"))?;
            for (kind, body) in Messages(&self.buffer[..length]) {
                match kind {
                    NLMSG_DONE => return Ok(()),
                    NLMSG_ERROR => {
                        let code = body.first_chunk().map_or(0, |c| i32::from_ne_bytes(*c));
                        return Err(fail("list the sockets")(io::Error::from_raw_os_error(
                            -code,
                        )));
                    }
                    _ => {
                        if let Some(entry) = parse(body) {
                            each(entry);
                        }
                    }
                }
            }
            if length == 0 {
                return Ok(());
            }
        }
    }
}

/// A `struct inet_diag_req_v2` in its netlink message.
fn request(
    kind: u16,
    flags: u16,
    family: u8,
    extensions: u8,
    states: u32,
    id: &[u8; ID],
) -> Vec<u8> {
    let length = (HEADER + 8 + ID) as u32;
    let mut message = Vec::with_capacity(length as usize);
    message.extend(length.to_ne_bytes());
    message.extend(kind.to_ne_bytes());
    message.extend(flags.to_ne_bytes());
    // Sequence number and port are for callers with several requests under way.
    message.extend([0; 8]);
    message.extend([family, libc::IPPROTO_TCP as u8, extensions, 0]);
    message.extend(states.to_ne_bytes());
    message.extend(id);
    message
}

/// Splits what a netlink socket gave into messages: their type and their body.
struct Messages<'a>(&'a [u8]);

impl<'a> Iterator for Messages<'a> {
    type Item = (u16, &'a [u8]);

    fn next(&mut self) -> Option<Self::Item> {
        let length = u32_at(self.0, 0)? as usize;
        let kind = u16::from_ne_bytes([*self.0.get(4)?, *self.0.get(5)?]);
        let body = self.0.get(HEADER..length)?;
        self.0 = self.0.get(length.next_multiple_of(4)..).unwrap_or_default();
        Some((kind, body))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_are_split_whatever_their_length_says() {
        let mut bytes = Vec::new();
        for (length, kind) in [(20_u32, 7_u16), (16, 8)] {
            bytes.extend(length.to_ne_bytes());
            bytes.extend(kind.to_ne_bytes());
            bytes.extend([0; 10]);
            bytes.extend(vec![1; length as usize - 16]);
        }
        let kinds: Vec<u16> = Messages(&bytes).map(|(kind, _)| kind).collect();
        assert_eq!(kinds, [7, 8]);
        for length in [0_u32, 3, 15, 21, u32::MAX] {
            let mut broken = length.to_ne_bytes().to_vec();
            broken.extend([0; 16]);
            assert!(Messages(&broken).count() <= 1, "{length}");
        }
    }
}
