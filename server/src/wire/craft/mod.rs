//! Packets that the wire makes or alters: resets, refusals, segments in a host's name, and packets
//! whose addresses a middlebox rewrites.
//!
//! Everything here is a pure function of bytes. What it gives is a whole IPv4 packet with its
//! checksums; where it gives `None`, there is nothing that could rightly be sent.

mod checksum;
mod icmp;
mod readdress;
mod segment;

pub use self::{
    icmp::{Unreachable, fragmentation_needed, unreachable},
    readdress::{Ends, Readdress, ends, readdress},
    segment::{Draft, Segment, reply, reset_receiver, reset_sender},
};

/// What an IPv4 packet of the wire's own begins with, in bytes: a header without options.
const IP_HEADER: usize = 20;

/// How many hops such a packet may take; the same as a Linux host's own.
const TTL: u8 = 64;

/// An IPv4 packet around a payload (RFC 791, section 3.1); `None` where it would be too long.
///
/// Its identification is 0: it may not be fragmented, so nothing tells its parts apart
/// (RFC 6864, section 4.1).
fn ipv4(
    from: std::net::Ipv4Addr,
    to: std::net::Ipv4Addr,
    protocol: u8,
    payload: &[u8],
) -> Option<Box<[u8]>> {
    let length = u16::try_from(IP_HEADER + payload.len()).ok()?;
    let mut packet = Vec::with_capacity(length.into());
    packet.extend_from_slice(&[0x45, 0]);
    packet.extend_from_slice(&length.to_be_bytes());
    packet.extend_from_slice(&[0, 0, 0x40, 0, TTL, protocol, 0, 0]);
    packet.extend_from_slice(&from.octets());
    packet.extend_from_slice(&to.octets());
    let sum = checksum::of(&packet);
    packet[10..12].copy_from_slice(&sum.to_be_bytes());
    packet.extend_from_slice(payload);
    Some(packet.into_boxed_slice())
}

#[cfg(test)]
pub(super) mod testing {
    //! For tests: whether a packet is as a kernel would have it.

    use linger_shared::dissect::{ipv4, ipv4::Ipv4};

    use super::checksum;

    /// Asserts that a packet is whole and that every checksum in it is right.
    pub(in crate::wire) fn assert_valid(packet: &[u8]) {
        let ip = Ipv4::parse(packet).expect("it is an IPv4 packet");
        assert_eq!(ip.stopped, None);
        assert_eq!(ip.total_length, packet.len());
        assert_eq!(checksum::of(&packet[..ip.header_length]), 0, "IP header");
        match ip.protocol {
            ipv4::ICMP => assert_eq!(checksum::of(ip.payload), 0, "ICMP"),
            protocol => {
                let sum = checksum::with_pseudo_header(ip.src, ip.dst, protocol, ip.payload);
                let absent = protocol == ipv4::UDP && ip.payload[6..8] == [0, 0];
                assert!(sum == 0 || absent, "protocol {protocol}: {sum}");
            }
        }
    }
}
