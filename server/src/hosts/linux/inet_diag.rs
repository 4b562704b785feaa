//! A socket as the kernel writes it down: `struct inet_diag_msg` (linux/inet_diag.h) and the
//! `struct tcp_info` (linux/tcp.h) in its attributes.
//!
//! Both are read from their bytes: what a kernel does not send is absent, and a message that ends
//! early ends the reading, never the process. Asking is `sock_diag`'s business.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use linger_shared::event::{SocketSnapshot, TcpState, Timer, TimerKind};

/// The attribute that carries a `struct tcp_info`.
pub(super) const INET_DIAG_INFO: u16 = 2;
/// Length of a `struct inet_diag_sockid`.
pub(super) const ID: usize = 48;
/// Length of a `struct inet_diag_msg`.
const MESSAGE: usize = 72;

/// A socket with the identity by which the kernel knows it.
pub(super) struct Entry {
    /// Its address family.
    pub(super) family: u8,
    pub(super) id: [u8; ID],
    pub(super) snapshot: SocketSnapshot,
}

pub(super) fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    bytes
        .get(at..)?
        .first_chunk()
        .map(|chunk| u32::from_ne_bytes(*chunk))
}

fn u64_at(bytes: &[u8], at: usize) -> Option<u64> {
    bytes
        .get(at..)?
        .first_chunk()
        .map(|chunk| u64::from_ne_bytes(*chunk))
}

/// A `struct inet_diag_msg` and its attributes.
pub(super) fn parse(body: &[u8]) -> Option<Entry> {
    let message = body.get(..MESSAGE)?;
    let id: [u8; ID] = *message.get(4..)?.first_chunk()?;
    let address = |at: usize| -> Option<IpAddr> {
        let bytes: [u8; 16] = *id.get(at..)?.first_chunk()?;
        if i32::from(message[0]) == libc::AF_INET6 {
            // A socket of both families speaks IPv4 all the same: packets show it so.
            return Some(Ipv6Addr::from(bytes).to_canonical());
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
    Some(Entry {
        family: message[0],
        id,
        snapshot,
    })
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
    snapshot.retransmitted = u32_at(info, 100);
    snapshot.bytes_acked = u64_at(info, 120);
    snapshot.bytes_received = u64_at(info, 128);
    // Before the first sample it is infinite.
    snapshot.min_rtt_us = u32_at(info, 148).filter(|rtt| *rtt < u32::MAX);
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
        for (at, value) in [
            (8, 204_000_u32),
            (68, 40_100),
            (76, 0x7fff_ffff),
            (80, 10),
            (100, 3),
            (120, 1_234),
            (128, 5_678),
            (148, 39_900),
        ] {
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
        let entry = parse(&with_info(232)).unwrap();
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
        assert_eq!(socket.retransmitted, Some(3));
        assert_eq!(
            (socket.bytes_acked, socket.bytes_received),
            (Some(1_234), Some(5_678))
        );
        assert_eq!(socket.min_rtt_us, Some(39_900));
    }

    #[test]
    fn a_kernel_that_tells_less_leaves_the_rest_absent() {
        let socket = parse(&with_info(104)).unwrap().snapshot;
        assert_eq!(socket.retransmitted, Some(3));
        assert_eq!((socket.bytes_acked, socket.min_rtt_us), (None, None));
    }

    #[test]
    fn a_socket_of_both_families_is_shown_by_the_addresses_that_its_packets_bear() {
        let mut body = message();
        body[0] = libc::AF_INET6 as u8;
        for (at, ip) in [(8, [192, 0, 2, 1]), (24, [198, 51, 100, 1])] {
            body[at..at + 16].fill(0);
            body[at + 10..at + 12].fill(0xff);
            body[at + 12..at + 16].copy_from_slice(&ip);
        }
        let socket = parse(&body).unwrap().snapshot;
        assert_eq!(socket.local, "192.0.2.1:40000".parse().unwrap());
        assert_eq!(socket.remote, "198.51.100.1:7654".parse().unwrap());
    }

    #[test]
    fn a_zero_window_probe_and_a_closed_peer_are_told_apart_from_the_rest() {
        let mut body = message();
        body[1] = 8;
        body[2] = 4;
        let socket = parse(&body).unwrap().snapshot;
        assert_eq!(socket.state, TcpState::CloseWait);
        assert_eq!(socket.timer.unwrap().timer, TimerKind::WindowProbe);
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
}
