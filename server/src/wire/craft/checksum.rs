//! The internet checksum (RFC 1071), over IPv4 headers, ICMP messages, and TCP or UDP with their
//! pseudo-header (RFC 9293, section 3.1), and its mending where a few bytes change (RFC 1624).

use std::net::Ipv4Addr;

/// The checksum of bytes whose own checksum field is 0; 0 where the field is right.
pub(super) fn of(bytes: &[u8]) -> u16 {
    !fold(sum(bytes))
}

/// The checksum of a TCP segment or UDP datagram between two addresses, its own field being 0;
/// 0 where the field is right.
pub(super) fn with_pseudo_header(
    from: Ipv4Addr,
    to: Ipv4Addr,
    protocol: u8,
    payload: &[u8],
) -> u16 {
    let pseudo = sum(&from.octets())
        + sum(&to.octets())
        + u64::from(protocol)
        + u64::try_from(payload.len()).unwrap_or(u64::MAX);
    !fold(pseudo + sum(payload))
}

/// What a checksum becomes when `old` bytes under it become `new`: `~(~HC + ~m + m')`, the third
/// equation of RFC 1624, section 3. A checksum that was wrong stays as wrong as it was, so damage
/// is not hidden. Both begin at an even offset under the checksum and are of the same even length.
pub(super) fn mended(checksum: u16, old: &[u8], new: &[u8]) -> u16 {
    debug_assert_eq!((old.len(), old.len() % 2), (new.len(), 0));
    let taken_out: u64 = words(old).map(|word| u64::from(!word)).sum();
    !fold(u64::from(!checksum) + taken_out + sum(new))
}

fn words(bytes: &[u8]) -> impl Iterator<Item = u16> {
    bytes.chunks(2).map(|pair| match pair {
        [high, low] => u16::from_be_bytes([*high, *low]),
        [high] => u16::from_be_bytes([*high, 0]),
        _ => 0,
    })
}

fn sum(bytes: &[u8]) -> u64 {
    words(bytes).map(u64::from).sum()
}

fn fold(mut sum: u64) -> u16 {
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    // Folded, it fits.
    sum as u16
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_example_of_rfc_1071_adds_up() {
        // Section 3: 0001 + f203 + f4f5 + f6f7 = 2ddf0, folded ddf2.
        let bytes = [0x00, 0x01, 0xf2, 0x03, 0xf4, 0xf5, 0xf6, 0xf7];
        assert_eq!(of(&bytes), !0xddf2);
    }

    #[test]
    fn an_odd_byte_at_the_end_counts_as_the_high_half() {
        assert_eq!(of(&[1, 2, 3]), of(&[1, 2, 3, 0]));
    }

    #[test]
    fn a_checksum_that_was_put_in_makes_the_sum_nothing() {
        let mut bytes = [0x45, 0, 0, 40, 9, 8, 0x40, 0, 64, 6, 0, 0, 192, 0, 2, 1];
        let sum = of(&bytes);
        bytes[10..12].copy_from_slice(&sum.to_be_bytes());
        assert_eq!(of(&bytes), 0);
    }

    #[test]
    fn the_example_of_rfc_1624_is_mended() {
        // Section 4: HC = dd2f, m = 5555, m' = 3285; the answer is 0000.
        assert_eq!(mended(0xdd2f, &[0x55, 0x55], &[0x32, 0x85]), 0);
    }

    #[test]
    fn a_mended_checksum_is_the_one_that_would_be_computed_anew() {
        let mut bytes: Vec<u8> = (0..64).map(|n| (n * 37 % 251) as u8).collect();
        for round in 0..500_u32 {
            let before = of(&bytes);
            let at = (round as usize * 6) % 60;
            let old: Vec<u8> = bytes[at..at + 4].to_vec();
            bytes[at..at + 4].copy_from_slice(&round.wrapping_mul(2_654_435_761).to_be_bytes());
            assert_eq!(mended(before, &old, &bytes[at..at + 4]), of(&bytes));
        }
    }
}
