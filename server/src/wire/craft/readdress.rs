//! Packets whose addresses and ports are changed on their way, with every checksum mended.
//!
//! An ICMP error quotes the packet that it is about; what is quoted is changed the other way round,
//! as the error travels the other way (RFC 5508, section 4.2).

use std::net::SocketAddrV4;

use linger_shared::dissect::{
    icmp::Icmp,
    ipv4::{self, Ipv4},
};

use super::checksum;

/// Between whom a packet passes, and by which protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Ends {
    /// TCP or UDP, by its IP protocol number.
    pub protocol: u8,
    /// Sender's address and port.
    pub src: SocketAddrV4,
    /// Receiver's address and port.
    pub dst: SocketAddrV4,
    /// Whether these are the ends of a packet that an ICMP error quotes: its sender is whom the
    /// error goes to.
    pub quoted: bool,
}

/// One end that changes. Of a packet that an error quotes, the other end changes, and with it the
/// address that the error itself comes from or goes to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Readdress {
    /// The sender.
    Src(SocketAddrV4),
    /// The receiver.
    Dst(SocketAddrV4),
}

/// Where the ports are in TCP and UDP, and where the checksum is.
const PORTS: usize = 4;

/// The ends of a TCP or UDP packet, or of the one that an ICMP error quotes; `None` for anything
/// else, such as a fragment without its ports.
pub fn ends(packet: &[u8]) -> Option<Ends> {
    let ip = Ipv4::parse(packet).ok()?;
    if ip.protocol != ipv4::ICMP {
        return whose(&ip, false);
    }
    let quoted = quoted(&ip)?;
    whose(&Ipv4::parse(quoted).ok()?, true)
}

/// The packet that an ICMP error quotes, as much of it as is there.
fn quoted<'a>(ip: &Ipv4<'a>) -> Option<&'a [u8]> {
    if ip.is_later_fragment() {
        return None;
    }
    let icmp = Icmp::parse(ip.payload).ok()?;
    // Unreachable, source quench, redirect, time exceeded, parameter problem (RFC 792).
    matches!(icmp.kind, 3 | 4 | 5 | 11 | 12).then(|| ip.payload.get(8..))?
}

fn whose(ip: &Ipv4<'_>, quoted: bool) -> Option<Ends> {
    if ip.is_later_fragment() || !matches!(ip.protocol, ipv4::TCP | ipv4::UDP) {
        return None;
    }
    let [a, b, c, d] = *ip.payload.first_chunk::<PORTS>()?;
    Some(Ends {
        protocol: ip.protocol,
        src: SocketAddrV4::new(ip.src, u16::from_be_bytes([a, b])),
        dst: SocketAddrV4::new(ip.dst, u16::from_be_bytes([c, d])),
        quoted,
    })
}

/// The packet with one of its ends changed. `None` for what [`ends`] does not understand.
///
/// The checksums are mended and not computed anew, so a packet that was damaged stays so. Mending
/// back gives the very bytes that were there before.
pub fn readdress(packet: &[u8], change: Readdress) -> Option<Box<[u8]>> {
    let ends = ends(packet)?;
    let mut bytes: Box<[u8]> = packet.into();
    let header = usize::from(bytes[0] & 15) * 4;
    if !ends.quoted {
        change_end(&mut bytes, change)?;
        return Some(bytes);
    }
    let (address, place, inner) = match change {
        Readdress::Src(to) => (to, 12, Readdress::Dst(to)),
        Readdress::Dst(to) => (to, 16, Readdress::Src(to)),
    };
    change_address(&mut bytes, place, address)?;
    change_end(bytes.get_mut(header + 8..)?, inner)?;
    // What is quoted has changed in a dozen places, but the message is short.
    let message = bytes.get_mut(header..)?;
    message.get_mut(2..4)?.fill(0);
    let sum = checksum::of(message);
    message[2..4].copy_from_slice(&sum.to_be_bytes());
    Some(bytes)
}

/// Changes the address at a place of an IP header.
fn change_address(packet: &mut [u8], place: usize, to: SocketAddrV4) -> Option<()> {
    let old: [u8; 4] = *packet.get(place..)?.first_chunk()?;
    let new = to.ip().octets();
    packet[place..place + 4].copy_from_slice(&new);
    mend(packet, 10, &old, &new)
}

/// Changes one end of a packet, or of as much of it as is quoted.
fn change_end(packet: &mut [u8], change: Readdress) -> Option<()> {
    let (address, address_at, port_at) = match change {
        Readdress::Src(to) => (to, 12, 0),
        Readdress::Dst(to) => (to, 16, 2),
    };
    let protocol = *packet.get(9)?;
    let header = usize::from(packet[0] & 15) * 4;
    let mut old = [0; 6];
    old[..4].copy_from_slice(packet.get(address_at..address_at + 4)?);
    change_address(packet, address_at, address)?;
    let segment = packet.get_mut(header..)?;
    let port = segment.get_mut(port_at..port_at + 2)?;
    old[4..].copy_from_slice(port);
    port.copy_from_slice(&address.port().to_be_bytes());
    let mut new = [0; 6];
    new[..4].copy_from_slice(&address.ip().octets());
    new[4..].copy_from_slice(port);
    match protocol {
        // A quotation may end before the checksum.
        ipv4::TCP if segment.len() >= 18 => mend(segment, 16, &old, &new),
        // A UDP checksum of 0 says that there is none (RFC 768).
        ipv4::UDP if segment.len() >= 8 && segment[6..8] != [0, 0] => {
            mend(segment, 6, &old, &new)?;
            if segment[6..8] == [0, 0] {
                segment[6..8].fill(0xff);
            }
            Some(())
        }
        _ => Some(()),
    }
}

fn mend(bytes: &mut [u8], at: usize, old: &[u8], new: &[u8]) -> Option<()> {
    let field = bytes.get_mut(at..at + 2)?;
    let sum = checksum::mended(u16::from_be_bytes([field[0], field[1]]), old, new);
    field.copy_from_slice(&sum.to_be_bytes());
    Some(())
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use linger_shared::dissect::tcp::Flags;

    use super::*;
    use crate::wire::craft::{Draft, Unreachable, testing::assert_valid, unreachable};

    const INSIDE: SocketAddrV4 = SocketAddrV4::new(Ipv4Addr::new(192, 0, 2, 1), 40_000);
    const MAPPED: SocketAddrV4 = SocketAddrV4::new(Ipv4Addr::new(203, 0, 113, 77), 1_025);
    const SERVER: SocketAddrV4 = SocketAddrV4::new(Ipv4Addr::new(198, 51, 100, 1), 7654);

    fn segment(from: SocketAddrV4, to: SocketAddrV4, payload: &[u8]) -> Box<[u8]> {
        Draft {
            from,
            to,
            seq: 0x0102_0304,
            ack: Some(9),
            flags: Flags::PSH,
            window: 502,
            timestamps: Some((1, 2)),
            payload,
        }
        .packet()
        .expect("it fits")
    }

    fn datagram(checksum: bool, payload: &[u8]) -> Box<[u8]> {
        let mut bytes = [INSIDE.port().to_be_bytes(), SERVER.port().to_be_bytes()].concat();
        bytes.extend_from_slice(&(8 + payload.len() as u16).to_be_bytes());
        bytes.extend_from_slice(&[0, 0]);
        bytes.extend_from_slice(payload);
        if checksum {
            let (from, to) = (*INSIDE.ip(), *SERVER.ip());
            let sum = checksum::with_pseudo_header(from, to, ipv4::UDP, &bytes);
            let sum = if sum == 0 { 0xffff } else { sum };
            bytes[6..8].copy_from_slice(&sum.to_be_bytes());
        }
        super::super::ipv4(*INSIDE.ip(), *SERVER.ip(), ipv4::UDP, &bytes).expect("it fits")
    }

    #[test]
    fn a_segment_passes_with_another_sender_and_right_checksums() {
        let packet = segment(INSIDE, SERVER, b"hello");
        let outside = readdress(&packet, Readdress::Src(MAPPED)).unwrap();
        assert_valid(&outside);
        assert_eq!(outside, segment(MAPPED, SERVER, b"hello"));
        let back = segment(SERVER, MAPPED, b"hello");
        let inside = readdress(&back, Readdress::Dst(INSIDE)).unwrap();
        assert_eq!(inside, segment(SERVER, INSIDE, b"hello"));
    }

    #[test]
    fn there_and_back_is_the_identity_on_every_byte() {
        // SplitMix64: the same packets in every run.
        let mut state = 7_u64;
        let mut random = || {
            state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
            let mut z = state;
            z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
            z ^ (z >> 31)
        };
        for round in 0..20_000 {
            let from = SocketAddrV4::new(Ipv4Addr::from(random() as u32), random() as u16);
            let via = SocketAddrV4::new(Ipv4Addr::from(random() as u32), random() as u16);
            let payload: Vec<u8> = (0..random() % 60).map(|_| random() as u8).collect();
            let packet = match round % 3 {
                0 => segment(from, SERVER, &payload),
                1 => {
                    let whole = datagram(true, &payload);
                    readdress(&whole, Readdress::Src(from)).unwrap()
                }
                _ => datagram(false, &payload),
            };
            let from = ends(&packet).unwrap().src;
            let outside = readdress(&packet, Readdress::Src(via)).unwrap();
            assert_valid(&outside);
            assert_eq!(ends(&outside).unwrap().src, via);
            let back = readdress(&outside, Readdress::Src(from)).unwrap();
            assert_eq!(back, packet, "{from} through {via}: {packet:02x?}");
        }
    }

    #[test]
    fn an_error_is_changed_with_what_it_quotes() {
        // The server refuses what it knows to come from the outside address.
        let seen_outside = segment(MAPPED, SERVER, &[7; 900]);
        let error = unreachable(&seen_outside, *SERVER.ip(), Unreachable::Port).unwrap();
        let told = ends(&error).unwrap();
        assert_eq!((told.src, told.dst, told.quoted), (MAPPED, SERVER, true));
        let inside = readdress(&error, Readdress::Dst(INSIDE)).unwrap();
        assert_valid(&inside);
        assert_eq!(Ipv4::parse(&inside).unwrap().dst, *INSIDE.ip());
        let about = segment(INSIDE, SERVER, &[7; 900]);
        assert_eq!(
            inside[28..],
            about[..548],
            "what is quoted is what was sent"
        );
        let back = readdress(&inside, Readdress::Dst(MAPPED)).unwrap();
        assert_eq!(back, error);
    }

    #[test]
    fn an_error_that_quotes_the_ports_alone_is_changed_too() {
        let mut error = unreachable(
            &segment(MAPPED, SERVER, b""),
            *SERVER.ip(),
            Unreachable::Host,
        )
        .unwrap()
        .to_vec();
        error.truncate(20 + 8 + 20 + 8);
        error[3] = 56;
        error[10..12].fill(0);
        let sum = checksum::of(&error[..20]);
        error[10..12].copy_from_slice(&sum.to_be_bytes());
        let inside = readdress(&error, Readdress::Dst(INSIDE)).unwrap();
        assert_valid(&inside);
        assert_eq!(inside[28..56], segment(INSIDE, SERVER, b"")[..28]);
    }

    #[test]
    fn a_damaged_segment_stays_damaged() {
        let mut packet = segment(INSIDE, SERVER, b"hello").to_vec();
        packet[55] ^= 1;
        let outside = readdress(&packet, Readdress::Src(MAPPED)).unwrap();
        let right = segment(MAPPED, SERVER, b"hello");
        assert_ne!(outside[55], right[55]);
        assert_eq!(
            outside[36..38],
            right[36..38],
            "the checksum is the intact one's"
        );
    }

    #[test]
    fn whatever_the_bytes_nothing_panics() {
        let model = unreachable(
            &segment(MAPPED, SERVER, b"x"),
            *SERVER.ip(),
            Unreachable::Port,
        );
        let model = model.unwrap();
        for end in 0..model.len() {
            for at in 0..end {
                let mut bytes = model[..end].to_vec();
                bytes[at] ^= (at as u8).wrapping_mul(37) | 1;
                let _ = readdress(&bytes, Readdress::Dst(INSIDE));
                let _ = readdress(&bytes, Readdress::Src(INSIDE));
            }
        }
    }
}
