//! ICMP destination unreachable (RFC 792; codes of RFC 1812, section 5.2.7.1).

use std::net::Ipv4Addr;

use linger_shared::dissect::ipv4::{self, Ipv4};

use super::{IP_HEADER, checksum};

/// What an error may quote at most: the whole of it is to stay within 576 bytes (RFC 1812,
/// section 4.3.2.3).
const QUOTED: usize = 576 - IP_HEADER - 8;

/// Why a packet did not reach its destination.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unreachable {
    /// There is no route to its network.
    Network,
    /// There is no way to the host.
    Host,
    /// Nobody listens there.
    Port,
    /// It is larger than the next link carries, and must not be fragmented.
    FragmentationNeeded {
        /// What the next link carries, in bytes (RFC 1191, section 4).
        mtu: u16,
    },
    /// A filter forbids it.
    Prohibited,
}

impl Unreachable {
    const fn code(self) -> u8 {
        match self {
            Self::Network => 0,
            Self::Host => 1,
            Self::Port => 3,
            Self::FragmentationNeeded { .. } => 4,
            Self::Prohibited => 13,
        }
    }
}

/// What tells a packet's sender that it did not reach its destination, from the address of whoever
/// found out. `None` for what must not be answered (RFC 1122, section 3.2.2): an ICMP error, a later
/// fragment, a packet from or to no single host.
pub fn unreachable(packet: &[u8], from: Ipv4Addr, why: Unreachable) -> Option<Box<[u8]>> {
    let ip = Ipv4::parse(packet).ok()?;
    let one_host = |address: Ipv4Addr| {
        !(address.is_unspecified() || address.is_broadcast() || address.is_multicast())
    };
    if ip.is_later_fragment() || !one_host(ip.src) || !one_host(ip.dst) {
        return None;
    }
    // Echo and its reply, and the queries that nobody uses any more, are no errors; every other
    // message is, or must be taken for one.
    if ip.protocol == ipv4::ICMP && !matches!(ip.payload.first()?, 0 | 8 | 13..=18) {
        return None;
    }
    let mut message = vec![3, why.code(), 0, 0, 0, 0, 0, 0];
    if let Unreachable::FragmentationNeeded { mtu } = why {
        message[6..8].copy_from_slice(&mtu.to_be_bytes());
    }
    let end = packet.len().min(ip.total_length).min(QUOTED);
    message.extend_from_slice(&packet[..end]);
    let sum = checksum::of(&message);
    message[2..4].copy_from_slice(&sum.to_be_bytes());
    super::ipv4(from, ip.src, ipv4::ICMP, &message)
}

/// What tells a packet's sender to send smaller ones (RFC 1191, section 4). `None` for a packet that
/// may be fragmented, and for what must not be answered.
pub fn fragmentation_needed(packet: &[u8], from: Ipv4Addr, mtu: u16) -> Option<Box<[u8]>> {
    if !Ipv4::parse(packet).ok()?.dont_fragment {
        return None;
    }
    unreachable(packet, from, Unreachable::FragmentationNeeded { mtu })
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddrV4;

    use linger_shared::dissect::{icmp::Icmp, tcp::Flags};

    use super::*;
    use crate::wire::craft::{Draft, testing::assert_valid};

    const CLIENT: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 1);
    const SERVER: Ipv4Addr = Ipv4Addr::new(198, 51, 100, 1);

    fn segment(payload: &[u8]) -> Box<[u8]> {
        Draft {
            from: SocketAddrV4::new(CLIENT, 40_000),
            to: SocketAddrV4::new(SERVER, 7654),
            seq: 1,
            ack: Some(1),
            flags: Flags::PSH,
            window: 502,
            timestamps: None,
            payload,
        }
        .packet()
        .expect("it fits")
    }

    #[test]
    fn every_reason_is_named_as_the_dissector_names_it() {
        for (why, name) in [
            (Unreachable::Network, "network unreachable"),
            (Unreachable::Host, "host unreachable"),
            (Unreachable::Port, "port unreachable"),
            (
                Unreachable::FragmentationNeeded { mtu: 1_280 },
                "fragmentation needed",
            ),
            (Unreachable::Prohibited, "administratively prohibited"),
        ] {
            let packet = unreachable(&segment(b"hello"), SERVER, why).unwrap();
            assert_valid(&packet);
            let ip = Ipv4::parse(&packet).unwrap();
            assert_eq!((ip.src, ip.dst), (SERVER, CLIENT));
            assert_eq!(Icmp::parse(ip.payload).unwrap().meaning(), Some(name));
        }
    }

    #[test]
    fn the_packet_is_quoted_as_far_as_576_bytes_allow() {
        let short = segment(b"hello");
        let answer = unreachable(&short, SERVER, Unreachable::Port).unwrap();
        assert_eq!(answer[28..], short[..]);
        let long = segment(&[7; 1_400]);
        let answer = unreachable(&long, SERVER, Unreachable::Port).unwrap();
        assert_eq!(answer.len(), 576);
        assert_eq!(answer[28..], long[..548]);
    }

    #[test]
    fn a_packet_that_is_too_large_is_told_the_mtu() {
        let packet = segment(&[0; 1_400]);
        let answer = fragmentation_needed(&packet, SERVER, 1_280).unwrap();
        assert_valid(&answer);
        assert_eq!(answer[26..28], 1_280_u16.to_be_bytes());
        let mut fragmentable = packet.to_vec();
        fragmentable[6] = 0;
        assert!(fragmentation_needed(&fragmentable, SERVER, 1_280).is_none());
    }

    #[test]
    fn errors_fragments_and_packets_to_many_are_not_answered() {
        let refuse = |packet: &[u8]| unreachable(packet, SERVER, Unreachable::Host).is_none();
        let error = unreachable(&segment(b"x"), SERVER, Unreachable::Host).unwrap();
        assert!(refuse(&error));
        let mut echo = error.to_vec();
        echo[20] = 8;
        assert!(!refuse(&echo));
        let mut fragment = segment(b"x").to_vec();
        fragment[7] = 1;
        assert!(refuse(&fragment));
        let mut multicast = segment(b"x").to_vec();
        multicast[16..20].copy_from_slice(&[224, 0, 0, 1]);
        assert!(refuse(&multicast));
        assert!(refuse(&[0x60; 60]));
    }
}
