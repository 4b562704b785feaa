//! What a kernel tells of its TCP sockets: `sock_diag(7)`, linux/inet_diag.h, linux/tcp.h.
//!
//! The attributes are read from their bytes: what a kernel does not send is absent, and a message
//! that ends early ends the reading, never the process.

use std::{
    io::{self, Read, Write},
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
};

use linger_shared::event::{SocketSnapshot, TcpState, Timer, TimerKind};
use socket2::{Domain, Protocol, Socket, Type};
use thiserror::Error;

const NETLINK_SOCK_DIAG: i32 = 4;
const SOCK_DIAG_BY_FAMILY: u16 = 20;
const SOCK_DESTROY: u16 = 21;
const NLMSG_ERROR: u16 = 2;
const NLMSG_DONE: u16 = 3;
const NLM_F_REQUEST: u16 = 1;
const NLM_F_ACK: u16 = 4;
const NLM_F_DUMP: u16 = 0x300;
const INET_DIAG_INFO: u16 = 2;
/// Every state but CLOSE, NEW_SYN_RECV included.
const ALL_STATES: u32 = 0x1f7e;
/// Length of a `struct inet_diag_sockid`.
const ID: usize = 48;
/// Length of a `struct inet_diag_msg`.
const MESSAGE: usize = 72;
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
}

/// A socket with the identity by which the kernel knows it.
struct Entry {
    id: [u8; ID],
    snapshot: SocketSnapshot,
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
            buffer: vec![0; 64 * 1024],
        })
    }

    /// Every TCP socket over IPv4 of the namespace, listeners and TIME_WAIT included.
    ///
    /// # Errors
    /// [`DiagError`] where the kernel refuses.
    pub fn sockets(&mut self) -> Result<Vec<SocketSnapshot>, DiagError> {
        Ok(self
            .dump()?
            .into_iter()
            .map(|entry| entry.snapshot)
            .collect())
    }

    /// Destroys every socket of the namespace, orphans included.
    ///
    /// # Errors
    /// [`DiagError`] where the kernel refuses; it may lack INET_DIAG_DESTROY.
    pub fn destroy_all(&mut self) -> Result<(), DiagError> {
        for entry in self.dump()? {
            let request = request(
                SOCK_DESTROY,
                NLM_F_REQUEST | NLM_F_ACK,
                0,
                ALL_STATES,
                &entry.id,
            );
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

    fn dump(&mut self) -> Result<Vec<Entry>, DiagError> {
        let request = request(
            SOCK_DIAG_BY_FAMILY,
            NLM_F_REQUEST | NLM_F_DUMP,
            1 << (INET_DIAG_INFO - 1),
            ALL_STATES,
            &[0; ID],
        );
        self.socket
            .write_all(&request)
            .map_err(fail("ask for the sockets"))?;
        let mut entries = Vec::new();
        loop {
            let length = (&self.socket)
                .read(&mut self.buffer)
                .map_err(fail("read the sockets"))?;
            for (kind, body) in Messages(&self.buffer[..length]) {
                match kind {
                    NLMSG_DONE => return Ok(entries),
                    NLMSG_ERROR => {
                        let code = body.first_chunk().map_or(0, |c| i32::from_ne_bytes(*c));
                        return Err(fail("list the sockets")(io::Error::from_raw_os_error(
                            -code,
                        )));
                    }
                    _ => entries.extend(parse(body)),
                }
            }
            if length == 0 {
                return Ok(entries);
            }
        }
    }
}

/// A `struct inet_diag_req_v2` in its netlink message.
fn request(kind: u16, flags: u16, extensions: u8, states: u32, id: &[u8; ID]) -> Vec<u8> {
    let length = (HEADER + 8 + ID) as u32;
    let mut message = Vec::with_capacity(length as usize);
    message.extend(length.to_ne_bytes());
    message.extend(kind.to_ne_bytes());
    message.extend(flags.to_ne_bytes());
    // Sequence number and port are for callers with several requests under way.
    message.extend([0; 8]);
    message.extend([libc::AF_INET as u8, libc::IPPROTO_TCP as u8, extensions, 0]);
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

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    bytes
        .get(at..)?
        .first_chunk()
        .map(|chunk| u32::from_ne_bytes(*chunk))
}

/// A `struct inet_diag_msg` and its attributes.
fn parse(body: &[u8]) -> Option<Entry> {
    let message = body.get(..MESSAGE)?;
    let id: [u8; ID] = *message.get(4..)?.first_chunk()?;
    let address = |at: usize| -> Option<IpAddr> {
        let bytes: [u8; 16] = *id.get(at..)?.first_chunk()?;
        if i32::from(message[0]) == libc::AF_INET6 {
            return Some(Ipv6Addr::from(bytes).into());
        }
        bytes.first_chunk().map(|v4| Ipv4Addr::from(*v4).into())
    };
    let state = match message[1] {
        1 => TcpState::Established,
        2 => TcpState::SynSent,
        3 | 12 => TcpState::SynRecv,
        4 => TcpState::FinWait1,
        5 => TcpState::FinWait2,
        6 => TcpState::TimeWait,
        8 => TcpState::CloseWait,
        9 => TcpState::LastAck,
        10 => TcpState::Listen,
        11 => TcpState::Closing,
        _ => TcpState::Closed,
    };
    let timer = match message[2] {
        1 => Some(TimerKind::Retransmission),
        2 => Some(TimerKind::KeepAlive),
        3 => Some(TimerKind::TimeWait),
        4 => Some(TimerKind::WindowProbe),
        _ => None,
    };
    let expires_ms = u32_at(message, 52)?;
    let inode = u32_at(message, 68)?;
    let mut snapshot = SocketSnapshot {
        local: SocketAddr::new(address(4)?, u16::from_be_bytes([id[0], id[1]])),
        remote: SocketAddr::new(address(20)?, u16::from_be_bytes([id[2], id[3]])),
        state,
        timer: timer.map(|timer| Timer {
            timer,
            left_us: u64::from(expires_ms) * 1_000,
        }),
        retries: message[3],
        recv_queue: u32_at(message, 56)?,
        send_queue: u32_at(message, 60)?,
        orphan: inode == 0 && !matches!(state, TcpState::TimeWait | TcpState::SynRecv),
        cwnd: None,
        ssthresh: None,
        rtt_us: None,
        rto_us: None,
        backoff: None,
        min_rtt_us: None,
        bytes_acked: None,
        bytes_received: None,
        retransmitted: None,
    };
    let mut attributes = body.get(MESSAGE..).unwrap_or_default();
    while let (Some(&[l0, l1]), Some(&[k0, k1])) = (
        attributes.first_chunk::<2>(),
        attributes.get(2..).and_then(|rest| rest.first_chunk::<2>()),
    ) {
        let length = usize::from(u16::from_ne_bytes([l0, l1]));
        let Some(payload) = attributes.get(4..length) else {
            break;
        };
        if u16::from_ne_bytes([k0, k1]) == INET_DIAG_INFO && state != TcpState::Listen {
            tcp_info(payload, &mut snapshot);
        }
        attributes = attributes
            .get(length.next_multiple_of(4)..)
            .unwrap_or_default();
    }
    Some(Entry { id, snapshot })
}

/// The fields of a `struct tcp_info` (linux/tcp.h) that a snapshot has.
fn tcp_info(info: &[u8], snapshot: &mut SocketSnapshot) {
    /// TCP_INFINITE_SSTHRESH (include/net/tcp.h).
    const INFINITE: u32 = 0x7fff_ffff;
    snapshot.backoff = info.get(4).copied();
    snapshot.rto_us = u32_at(info, 8);
    snapshot.rtt_us = u32_at(info, 68).filter(|rtt| *rtt > 0);
    snapshot.ssthresh = u32_at(info, 76).filter(|ssthresh| *ssthresh < INFINITE);
    snapshot.cwnd = u32_at(info, 80);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message() -> Vec<u8> {
        let mut body = vec![0_u8; MESSAGE];
        body[0] = libc::AF_INET as u8;
        body[1] = 1;
        body[2] = 2;
        body[3] = 1;
        body[4..8].copy_from_slice(&[0x9c, 0x40, 0x1d, 0xe6]);
        body[8..12].copy_from_slice(&[192, 0, 2, 1]);
        body[24..28].copy_from_slice(&[198, 51, 100, 1]);
        body[52..56].copy_from_slice(&750_u32.to_ne_bytes());
        body[68..72].copy_from_slice(&42_u32.to_ne_bytes());
        body
    }

    fn with_info(length: usize) -> Vec<u8> {
        let mut body = message();
        let mut info = vec![0_u8; length];
        for (at, value) in [(8, 204_000_u32), (68, 40_100), (76, 0x7fff_ffff), (80, 10)] {
            if at + 4 <= length {
                info[at..at + 4].copy_from_slice(&value.to_ne_bytes());
            }
        }
        body.extend(((length + 4) as u16).to_ne_bytes());
        body.extend(INET_DIAG_INFO.to_ne_bytes());
        body.extend(info);
        body
    }

    #[test]
    fn a_socket_is_read_with_its_timer_and_its_window() {
        let entry = parse(&with_info(104)).unwrap();
        let socket = entry.snapshot;
        assert_eq!(socket.local, "192.0.2.1:40000".parse().unwrap());
        assert_eq!(socket.remote, "198.51.100.1:7654".parse().unwrap());
        assert_eq!(socket.state, TcpState::Established);
        assert_eq!(
            socket.timer,
            Some(Timer {
                timer: TimerKind::KeepAlive,
                left_us: 750_000
            })
        );
        assert_eq!((socket.cwnd, socket.rtt_us), (Some(10), Some(40_100)));
        assert_eq!(socket.ssthresh, None, "an infinite threshold is none");
        assert!(!socket.orphan);
    }

    #[test]
    fn a_message_that_ends_early_gives_what_it_had() {
        let whole = with_info(104);
        for length in 0..whole.len() {
            let parsed = parse(&whole[..length]);
            assert_eq!(parsed.is_some(), length >= MESSAGE, "{length}");
        }
        let short = parse(&with_info(70)).unwrap().snapshot;
        assert_eq!((short.rto_us, short.cwnd), (Some(204_000), None));
    }

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
