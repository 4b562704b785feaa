//! HPACK: the compressed header fields of HTTP/2 (RFC 7541).
//!
//! Decoding has to see every block of its direction, in order: each may change the table on which
//! the next depends. A decoder that met an error or missed a block is of no more use, and says so.
//!
//! Our own, because those that are kept up are inside HTTP/2 libraries, and because a dissector
//! needs what they refuse: to show what came before an error, within bounds of its own.

mod huffman;
mod table;

pub use self::table::Entry;
use self::table::Table;
use crate::dissect::{Stopped, reader::Reader};

/// The size of the dynamic table before anybody changes it (RFC 9113, section 6.5.2).
const DEFAULT_SIZE: usize = 4_096;

/// The largest table that is followed, in bytes; a sender that was allowed more is not.
const MAX_SIZE: usize = 65_536;

/// Header fields of one block that are kept.
const MOST_FIELDS: usize = 256;

/// What all header fields of one block may come to, in bytes; indices could otherwise make a lot
/// of little.
const MAX_DECODED: usize = 262_144;

/// Decodes the header blocks of one direction of a connection.
#[derive(Debug)]
pub struct Decoder {
    table: Table,
}

impl Default for Decoder {
    fn default() -> Self {
        Self::new()
    }
}

impl Decoder {
    /// A decoder for the first block of a direction.
    pub fn new() -> Self {
        Self {
            table: Table::new(DEFAULT_SIZE),
        }
    }

    /// What its table holds, in bytes; at most 65,536.
    pub fn size(&self) -> usize {
        self.table.size()
    }

    /// What its table takes in memory, in bytes: at most four times what it counts for.
    pub fn held(&self) -> usize {
        self.table.held()
    }

    /// Decodes a block. Whatever stopped it, the fields before are given; after an error the table
    /// is not to be trusted any more.
    pub fn decode(&mut self, block: &[u8]) -> (Vec<Entry>, Option<Stopped>) {
        let mut reader = Reader::new(block);
        let mut fields = Vec::new();
        let mut decoded = 0;
        while !reader.is_empty() {
            let at = reader.at();
            match self.instruction(&mut reader) {
                Ok(None) => {}
                Ok(Some(entry)) => {
                    decoded += entry.0.len() + entry.1.len();
                    if fields.len() == MOST_FIELDS || decoded > MAX_DECODED {
                        let stopped = Stopped::invalid(at, "more header fields than are kept");
                        return (fields, Some(stopped));
                    }
                    fields.push(entry);
                }
                Err(stopped) => return (fields, Some(stopped)),
            }
        }
        (fields, None)
    }

    /// One instruction (RFC 7541, section 6), and the field that it makes.
    fn instruction(&mut self, reader: &mut Reader<'_>) -> Result<Option<Entry>, Stopped> {
        let at = reader.at();
        let first = reader.u8()?;
        if first & 0x80 != 0 {
            let index = integer(first, 7, reader)?;
            return self.entry(index, at).map(Some);
        }
        if first & 0xe0 == 0x20 {
            let size = integer(first, 5, reader)?;
            if size > MAX_SIZE {
                return Err(Stopped::invalid(at, "a table larger than is followed"));
            }
            self.table.set_limit(size);
            return Ok(None);
        }
        let indexed = first & 0x40 != 0;
        let index = integer(first, if indexed { 6 } else { 4 }, reader)?;
        let name = match index {
            0 => string(reader)?,
            index => self.entry(index, at)?.0,
        };
        let entry = (name, string(reader)?);
        if indexed {
            self.table.add(entry.clone());
        }
        Ok(Some(entry))
    }

    fn entry(&self, index: usize, at: usize) -> Result<Entry, Stopped> {
        let missing = Stopped::invalid(at, "an index that the table does not have");
        self.table.get(index).ok_or(missing)
    }
}

/// An integer whose first bits are the last `bits` of `first` (RFC 7541, section 5.1).
fn integer(first: u8, bits: u32, reader: &mut Reader<'_>) -> Result<usize, Stopped> {
    let most = (1 << bits) - 1;
    let mut value = usize::from(first) & most;
    if value < most {
        return Ok(value);
    }
    let at = reader.at();
    // Four more bytes make 2^28, more than any length or index here can be.
    for shift in [0, 7, 14, 21] {
        let byte = reader.u8()?;
        value += usize::from(byte & 127) << shift;
        if byte & 128 == 0 {
            return Ok(value);
        }
    }
    Err(Stopped::invalid(at, "an integer of more than 28 bits"))
}

/// A string, plain or Huffman-coded (RFC 7541, section 5.2).
fn string(reader: &mut Reader<'_>) -> Result<std::sync::Arc<[u8]>, Stopped> {
    let first = reader.u8()?;
    let length = integer(first, 7, reader)?;
    let at = reader.at();
    let bytes = reader.take(length)?;
    if first & 0x80 == 0 {
        return Ok(bytes.into());
    }
    let decoded = huffman::decode(bytes);
    let wrong = Stopped::invalid(at, "a string that is not Huffman-coded");
    Ok(decoded.ok_or(wrong)?.into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{dissect::testing::mutations, event::from_hex};

    fn decode(decoder: &mut Decoder, hex: &str) -> Vec<String> {
        let (fields, stopped) = decoder.decode(&from_hex(&hex.replace(' ', "")).unwrap());
        assert_eq!(stopped, None);
        let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
        fields
            .iter()
            .map(|(name, value)| format!("{}: {}", text(name), text(value)))
            .collect()
    }

    /// RFC 7541, appendix C.4: three requests of one connection.
    #[test]
    fn the_standards_requests_are_decoded_with_what_they_leave_behind() {
        let mut decoder = Decoder::new();
        assert_eq!(
            decode(&mut decoder, "8286 8441 8cf1 e3c2 e5f2 3a6b a0ab 90f4 ff"),
            [
                ":method: GET",
                ":scheme: http",
                ":path: /",
                ":authority: www.example.com"
            ]
        );
        assert_eq!(decoder.size(), 57);
        assert_eq!(
            decode(&mut decoder, "8286 84be 5886 a8eb 1064 9cbf")[3..],
            [":authority: www.example.com", "cache-control: no-cache"]
        );
        assert_eq!(
            decode(
                &mut decoder,
                "8287 85bf 4088 25a8 49e9 5ba9 7d7f 8925 a849 e95b b8e8 b4bf"
            ),
            [
                ":method: GET",
                ":scheme: https",
                ":path: /index.html",
                ":authority: www.example.com",
                "custom-key: custom-value",
            ]
        );
        assert_eq!(decoder.size(), 164);
    }

    /// RFC 7541, appendix C.5, with the table of 256 bytes that it wants set by an update.
    #[test]
    fn responses_that_push_each_other_out_of_the_table_are_decoded() {
        let mut decoder = Decoder::new();
        let first = "3fe1 01 4803 3330 3258 0770 7269 7661 7465 611d 4d6f 6e2c 2032 3120 4f63 7420 \
                     3230 3133 2032 303a 3133 3a32 3120 474d 546e 1768 7474 7073 3a2f 2f77 7777 \
                     2e65 7861 6d70 6c65 2e63 6f6d";
        assert_eq!(
            decode(&mut decoder, first)[..2],
            [":status: 302", "cache-control: private"]
        );
        assert_eq!(decoder.size(), 222);
        let second = decode(&mut decoder, "4803 3330 37c1 c0bf");
        assert_eq!(second[0], ":status: 307");
        assert_eq!(second[3], "location: https://www.example.com");
    }

    #[test]
    fn fields_that_are_not_to_be_indexed_leave_the_table_alone() {
        let mut decoder = Decoder::new();
        assert_eq!(
            decode(&mut decoder, "040c 2f73 616d 706c 652f 7061 7468"),
            [":path: /sample/path"]
        );
        assert_eq!(
            decode(&mut decoder, "1008 7061 7373 776f 7264 0673 6563 7265 74"),
            ["password: secret"]
        );
        assert_eq!(decoder.size(), 0);
    }

    #[test]
    fn an_error_gives_what_came_before_it() {
        for bad in [
            &[0xbe][..],
            &[0x80],
            &[0x3f, 0xff, 0xff, 0x7f],
            &[0x7f, 255, 255, 255, 255],
            &[0, 5, 1],
        ] {
            let block = [&[0x82][..], bad].concat();
            let (fields, stopped) = Decoder::new().decode(&block);
            assert_eq!(fields.len(), 1, "{bad:?}");
            assert!(stopped.is_some_and(|stopped| (1..=block.len()).contains(&stopped.at)));
        }
    }

    #[test]
    fn many_references_to_a_large_field_do_not_make_a_lot_of_it() {
        let mut decoder = Decoder::new();
        let mut block = vec![0x40, 1, b'a', 0x7f, 0x81, 0x1e];
        block.extend_from_slice(&[b'x'; 3_968]);
        block.extend_from_slice(&[0xbe; 2_000]);
        let (fields, stopped) = decoder.decode(&block);
        assert!(fields.len() < 80 && stopped.is_some());
    }

    #[test]
    fn whatever_the_bytes_the_table_keeps_to_its_limit() {
        let model = from_hex("828684418cf1e3c2e5f23a6ba0ab90f4ff").unwrap();
        let mut decoder = Decoder::new();
        mutations(&model, 20_000, |bytes| {
            let (_, stopped) = decoder.decode(bytes);
            assert!(stopped.is_none_or(|stopped| stopped.at <= bytes.len()));
            assert!(decoder.size() <= MAX_SIZE);
        });
    }
}
