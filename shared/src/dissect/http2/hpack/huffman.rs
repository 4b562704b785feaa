//! The Huffman code of header strings (RFC 7541, section 5.2 and appendix B).
//!
//! The code is canonical: symbols of one length have consecutive codes in the order of their
//! numbers, and shorter codes come first. So the lengths in the appendix say all there is to say.

/// Length of each symbol's code in bits, by the symbol's number; the last is that of the end.
const LENGTHS: [u8; 257] = [
    13, 23, 28, 28, 28, 28, 28, 28, 28, 24, 30, 28, 28, 30, 28, 28, //
    28, 28, 28, 28, 28, 28, 30, 28, 28, 28, 28, 28, 28, 28, 28, 28, //
    6, 10, 10, 12, 13, 6, 8, 11, 10, 10, 8, 11, 8, 6, 6, 6, //
    5, 5, 5, 6, 6, 6, 6, 6, 6, 6, 7, 8, 15, 6, 12, 10, //
    13, 6, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, //
    7, 7, 7, 7, 7, 7, 7, 7, 8, 7, 8, 13, 19, 13, 14, 6, //
    15, 5, 6, 5, 6, 5, 6, 6, 6, 5, 7, 7, 6, 6, 6, 5, //
    6, 7, 6, 5, 5, 6, 7, 7, 7, 7, 7, 15, 11, 14, 13, 28, //
    20, 22, 20, 20, 22, 22, 22, 23, 22, 23, 23, 23, 23, 23, 24, 23, //
    24, 24, 22, 23, 24, 23, 23, 23, 23, 21, 22, 23, 22, 23, 23, 24, //
    22, 21, 20, 22, 22, 23, 23, 21, 23, 22, 22, 24, 21, 22, 23, 23, //
    21, 21, 22, 21, 23, 22, 23, 23, 20, 22, 22, 22, 23, 22, 22, 23, //
    26, 26, 20, 19, 22, 23, 22, 25, 26, 26, 26, 27, 27, 26, 24, 25, //
    19, 21, 26, 27, 27, 26, 27, 24, 21, 21, 26, 26, 28, 27, 27, 27, //
    20, 24, 20, 21, 22, 21, 21, 23, 22, 22, 25, 25, 24, 24, 26, 23, //
    26, 27, 26, 26, 27, 27, 27, 27, 27, 28, 27, 27, 27, 27, 27, 26, //
    30,
];

/// The symbol that ends a string and must not occur in one.
const END: u16 = 256;

/// The longest code, in bits.
const LONGEST: usize = 30;

/// The code, ordered for decoding.
struct Code {
    /// For each length, the first code of that length.
    first: [u32; LONGEST + 1],
    /// For each length, how many codes have it.
    count: [u32; LONGEST + 1],
    /// For each length, where its symbols begin in `symbols`.
    begin: [usize; LONGEST + 1],
    /// All symbols, by the length of their codes and then by their number.
    symbols: [u16; 257],
}

const CODE: Code = build();

/// Lays the code out at compile time.
const fn build() -> Code {
    let mut code = Code {
        first: [0; LONGEST + 1],
        count: [0; LONGEST + 1],
        begin: [0; LONGEST + 1],
        symbols: [0; 257],
    };
    let mut placed = 0;
    let mut next = 0_u32;
    let mut length = 1;
    while length <= LONGEST {
        next <<= 1;
        code.first[length] = next;
        code.begin[length] = placed;
        let mut symbol = 0;
        while symbol < LENGTHS.len() {
            if LENGTHS[symbol] as usize == length {
                code.symbols[placed] = symbol as u16;
                placed += 1;
                next += 1;
                code.count[length] += 1;
            }
            symbol += 1;
        }
        length += 1;
    }
    code
}

/// Decodes a string; `None` where it has the end symbol in it, or ends with anything but the
/// beginning of one, which is at most seven bits of ones.
pub(super) fn decode(bytes: &[u8]) -> Option<Vec<u8>> {
    static TABLE: Code = CODE;
    let mut text = Vec::with_capacity(bytes.len() * 8 / 5);
    let (mut code, mut length) = (0_u32, 0_usize);
    for &byte in bytes {
        for bit in (0..8).rev() {
            code = code << 1 | u32::from(byte >> bit & 1);
            length += 1;
            let index = code.wrapping_sub(*TABLE.first.get(length)?);
            if index < *TABLE.count.get(length)? {
                let symbol = *TABLE
                    .symbols
                    .get(TABLE.begin.get(length)? + index as usize)?;
                if symbol == END {
                    return None;
                }
                text.push(symbol as u8);
                (code, length) = (0, 0);
            }
        }
    }
    let padding = length < 8 && code == (1 << length) - 1;
    padding.then_some(text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{dissect::testing::Random, event::from_hex};

    fn decoded(hex: &str) -> Option<String> {
        let bytes = from_hex(&hex.replace(' ', ""))?;
        decode(&bytes).map(|text| String::from_utf8(text).unwrap())
    }

    /// Encodes, the slow way.
    fn encode(text: &[u8]) -> Vec<u8> {
        let mut bits = Vec::new();
        for &byte in text {
            let length = usize::from(LENGTHS[usize::from(byte)]);
            let at = CODE
                .symbols
                .iter()
                .position(|&s| s == u16::from(byte))
                .unwrap();
            let code = CODE.first[length] + (at - CODE.begin[length]) as u32;
            bits.extend((0..length).rev().map(|bit| code >> bit & 1 == 1));
        }
        bits.resize(bits.len().next_multiple_of(8), true);
        bits.chunks(8)
            .map(|byte| byte.iter().fold(0, |all, &bit| all << 1 | u8::from(bit)))
            .collect()
    }

    /// Strings of RFC 7541, appendices C.4 and C.6.
    #[test]
    fn the_standards_own_strings_are_decoded() {
        for (hex, text) in [
            ("f1e3 c2e5 f23a 6ba0 ab90 f4ff", "www.example.com"),
            ("a8eb 1064 9cbf", "no-cache"),
            ("25a8 49e9 5ba9 7d7f", "custom-key"),
            (
                "d07a be94 1054 d444 a820 0595 040b 8166 e082 a62d 1bff",
                "Mon, 21 Oct 2013 20:13:21 GMT",
            ),
            (
                "9d29 ad17 1863 c78f 0b97 c8e9 ae82 ae43 d3",
                "https://www.example.com",
            ),
            ("", ""),
        ] {
            assert_eq!(decoded(hex).as_deref(), Some(text));
        }
    }

    #[test]
    fn every_byte_comes_back() {
        let mut random = Random(7);
        for _ in 0..2_000 {
            let text: Vec<u8> = (0..random.below(40)).map(|_| random.next() as u8).collect();
            assert_eq!(decode(&encode(&text)), Some(text));
        }
    }

    #[test]
    fn wrong_padding_and_the_end_symbol_are_refused() {
        // The code of `a` is 00011; behind it only ones may stand, and fewer than eight.
        assert_eq!(decoded("1f").as_deref(), Some("a"));
        assert_eq!(decoded("18"), None);
        assert_eq!(decoded("1fff"), None);
        assert_eq!(decoded("ffffffff"), None);
    }
}
