//! A cursor over bytes that cannot run past their end and always knows where it stands.

use super::{Reason, Stopped};

/// Reads big-endian fields one after the other. A part keeps counting from the beginning of the
/// whole, so an error's place is always that within the bytes that the dissector was given.
#[derive(Debug, Clone)]
pub(super) struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Reader<'a> {
    pub(super) const fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, at: 0 }
    }

    /// Offset of the next byte.
    pub(super) const fn at(&self) -> usize {
        self.at
    }

    /// How many bytes are left.
    pub(super) const fn left(&self) -> usize {
        self.bytes.len() - self.at
    }

    pub(super) const fn is_empty(&self) -> bool {
        self.left() == 0
    }

    /// Everything that is left.
    pub(super) fn rest(&mut self) -> &'a [u8] {
        let rest = self.bytes.get(self.at..).unwrap_or_default();
        self.at = self.bytes.len();
        rest
    }

    pub(super) fn take(&mut self, count: usize) -> Result<&'a [u8], Stopped> {
        let end = self.at.saturating_add(count);
        match self.bytes.get(self.at..end) {
            Some(taken) => {
                self.at = end;
                Ok(taken)
            }
            None => Err(Stopped {
                at: self.at,
                reason: Reason::Short {
                    needed: end,
                    there: self.bytes.len(),
                },
            }),
        }
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], Stopped> {
        let taken = self.take(N)?;
        // `take` gave exactly that many.
        Ok(taken.try_into().unwrap_or([0; N]))
    }

    pub(super) fn u8(&mut self) -> Result<u8, Stopped> {
        Ok(u8::from_be_bytes(self.array()?))
    }

    pub(super) fn u16(&mut self) -> Result<u16, Stopped> {
        Ok(u16::from_be_bytes(self.array()?))
    }

    pub(super) fn u24(&mut self) -> Result<u32, Stopped> {
        let [a, b, c] = self.array()?;
        Ok(u32::from_be_bytes([0, a, b, c]))
    }

    pub(super) fn u32(&mut self) -> Result<u32, Stopped> {
        Ok(u32::from_be_bytes(self.array()?))
    }

    pub(super) fn u64(&mut self) -> Result<u64, Stopped> {
        Ok(u64::from_be_bytes(self.array()?))
    }

    /// A reader of the next `count` bytes, which are passed over here.
    pub(super) fn part(&mut self, count: usize) -> Result<Self, Stopped> {
        let at = self.at;
        self.take(count)?;
        Ok(Self {
            bytes: self.bytes.get(..at + count).unwrap_or_default(),
            at,
        })
    }

    /// A part behind a length of one byte.
    pub(super) fn part8(&mut self) -> Result<Self, Stopped> {
        let length = self.u8()?;
        self.part(length.into())
    }

    /// A part behind a length of two bytes.
    pub(super) fn part16(&mut self) -> Result<Self, Stopped> {
        let length = self.u16()?;
        self.part(length.into())
    }

    /// A part behind a length of three bytes.
    pub(super) fn part24(&mut self) -> Result<Self, Stopped> {
        let length = self.u24()?;
        self.part(length as usize)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_read_in_order_and_parts_keep_their_place() {
        let bytes = [1, 0, 2, 0, 0, 3, 0, 2, 7, 8, 9];
        let mut reader = Reader::new(&bytes);
        assert_eq!(
            (reader.u8(), reader.u16(), reader.u24()),
            (Ok(1), Ok(2), Ok(3))
        );
        let mut part = reader.part16().unwrap();
        assert_eq!((part.at(), part.left(), part.u8()), (8, 2, Ok(7)));
        assert_eq!(part.u32().unwrap_err().at, 9);
        assert_eq!((part.rest(), part.is_empty()), (&[8][..], true));
        assert_eq!(
            reader.take(2).unwrap_err().reason,
            Reason::Short {
                needed: 12,
                there: 11
            }
        );
        assert_eq!(reader.u8(), Ok(9));
    }
}
