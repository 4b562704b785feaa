//! What the hub needs to know of an IPv4 packet (RFC 791, section 3.1): where it goes, and how it
//! is taken apart where it is too large.

use std::net::Ipv4Addr;

/// Length of a header without options, in bytes.
const FIXED_HEADER: usize = 20;

/// Where the flags and the fragment's offset are; the flags are the upper three bits.
const FLAGS: usize = 6;
const DONT_FRAGMENT: u16 = 0x4000;
const MORE_FRAGMENTS: u16 = 0x2000;
const OFFSET: u16 = 0x1fff;

/// The destination of an IPv4 packet; `None` for anything else.
pub(super) fn destination(packet: &[u8]) -> Option<Ipv4Addr> {
    if packet.first()? >> 4 != 4 {
        return None;
    }
    packet
        .get(16..)?
        .first_chunk::<4>()
        .map(|bytes| Ipv4Addr::from(*bytes))
}

/// Whether no router may take the packet apart. So it is with everything that is not understood.
pub(super) fn must_stay_whole(packet: &[u8]) -> bool {
    word(packet, FLAGS).is_none_or(|flags| flags & DONT_FRAGMENT != 0)
}

/// Takes a packet apart, so that no piece is larger than `mtu` bytes (RFC 791, section 3.2); the
/// kernel of the receiver puts the pieces together again. Options stay with the first piece alone:
/// those that would have to be copied (source routes) no host of a run uses. `None` where a header
/// leaves no room for eight bytes, or is none.
pub(super) fn fragments(packet: &[u8], mtu: usize) -> Option<Vec<Box<[u8]>>> {
    let header = usize::from(*packet.first()? & 15) * 4;
    let total = usize::from(word(packet, 2)?);
    if packet[0] >> 4 != 4 || header < FIXED_HEADER || total < header || packet.len() < total {
        return None;
    }
    let flags = word(packet, FLAGS)?;
    let first_offset = usize::from(flags & OFFSET);
    let mut rest = &packet[header..total];
    let mut at = 0;
    let mut pieces = Vec::new();
    while !rest.is_empty() {
        let own_header = if at == 0 { header } else { FIXED_HEADER };
        let room = mtu.checked_sub(own_header)?;
        // All but the last are of whole blocks of eight bytes.
        let length = if rest.len() <= room {
            rest.len()
        } else {
            room / 8 * 8
        };
        if length == 0 {
            return None;
        }
        let (payload, left) = rest.split_at(length);
        rest = left;
        let mut piece = Vec::with_capacity(own_header + length);
        piece.extend_from_slice(&packet[..own_header]);
        piece.extend_from_slice(payload);
        piece[0] = 0x40 | u8::try_from(own_header / 4).ok()?;
        let whole_length = u16::try_from(piece.len()).ok()?;
        piece[2..4].copy_from_slice(&whole_length.to_be_bytes());
        let offset = u16::try_from(first_offset + at / 8).ok()?;
        let more = if rest.is_empty() {
            flags & MORE_FRAGMENTS
        } else {
            MORE_FRAGMENTS
        };
        piece[FLAGS..FLAGS + 2].copy_from_slice(&(offset | more).to_be_bytes());
        piece[10..12].fill(0);
        let sum = checksum(&piece[..own_header]);
        piece[10..12].copy_from_slice(&sum.to_be_bytes());
        pieces.push(piece.into_boxed_slice());
        at += length;
    }
    Some(pieces)
}

fn word(packet: &[u8], at: usize) -> Option<u16> {
    let bytes = packet.get(at..)?.first_chunk::<2>()?;
    Some(u16::from_be_bytes(*bytes))
}

/// The Internet checksum (RFC 1071) of a header, whose length is even.
fn checksum(header: &[u8]) -> u16 {
    let mut sum: u32 = header
        .chunks_exact(2)
        .map(|pair| u32::from(u16::from_be_bytes([pair[0], pair[1]])))
        .sum();
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !(sum as u16)
}

#[cfg(test)]
mod tests {
    use linger_shared::dissect::ipv4::Ipv4;

    use super::*;

    /// A packet with `payload` bytes that count up, and `options` words of no-operation.
    fn packet(payload: usize, options: usize, flags: u16) -> Vec<u8> {
        let header = FIXED_HEADER + options * 4;
        let mut packet = vec![1_u8; header];
        packet[0] = 0x40 | (header / 4) as u8;
        packet[2..4].copy_from_slice(&((header + payload) as u16).to_be_bytes());
        packet[FLAGS..FLAGS + 2].copy_from_slice(&flags.to_be_bytes());
        packet[16..20].copy_from_slice(&[198, 51, 100, 1]);
        packet.extend((0..payload).map(|at| at as u8));
        packet
    }

    #[test]
    fn a_destination_is_read_from_an_ipv4_header_and_from_nothing_else() {
        let mut packet = packet(0, 0, 0);
        assert_eq!(destination(&packet), Some(Ipv4Addr::new(198, 51, 100, 1)));
        assert_eq!(destination(&packet[..19]), None);
        packet[0] = 0x60;
        assert_eq!(destination(&packet), None);
        assert_eq!(destination(&[]), None);
    }

    #[test]
    fn only_a_packet_that_allows_it_is_taken_apart() {
        assert!(must_stay_whole(&packet(10, 0, DONT_FRAGMENT)));
        assert!(!must_stay_whole(&packet(10, 0, 0)));
        assert!(must_stay_whole(&[0x45]));
    }

    #[test]
    fn the_pieces_of_a_packet_make_up_the_whole_again() {
        for (payload, options, mtu) in [(1_480, 0, 576), (1_000, 2, 68), (100, 0, 120)] {
            let whole = packet(payload, options, 0);
            let pieces = fragments(&whole, mtu).unwrap();
            let mut together = Vec::new();
            for (index, piece) in pieces.iter().enumerate() {
                assert!(piece.len() <= mtu);
                let parsed = Ipv4::parse(piece).unwrap();
                assert_eq!(parsed.stopped, None);
                assert_eq!(parsed.fragment_offset, together.len());
                assert_eq!(parsed.more_fragments, index + 1 < pieces.len());
                assert_eq!(checksum(&piece[..parsed.header_length]), 0);
                together.extend_from_slice(parsed.payload);
            }
            assert_eq!(together, whole[FIXED_HEADER + options * 4..]);
        }
    }

    #[test]
    fn a_piece_can_be_taken_apart_once_more() {
        let middle = packet(800, 0, MORE_FRAGMENTS | 100);
        let pieces = fragments(&middle, 420).unwrap();
        let parsed: Vec<_> = pieces.iter().map(|p| Ipv4::parse(p).unwrap()).collect();
        assert!(parsed.iter().all(|piece| piece.more_fragments));
        assert_eq!(parsed[0].fragment_offset, 800);
        assert_eq!(parsed[1].fragment_offset, 800 + 400);
    }

    #[test]
    fn what_cannot_be_taken_apart_is_left_alone() {
        assert_eq!(fragments(&[], 100), None);
        assert_eq!(fragments(&packet(100, 0, 0)[..50], 68), None);
        assert_eq!(fragments(&packet(100, 10, 0), 64), None);
    }
}
