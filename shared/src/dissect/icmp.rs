//! ICMP messages (RFC 792), as far as their type and code tell what they are.

use super::{Stopped, short};

/// An ICMP message's type and code.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Icmp {
    /// Its type.
    pub kind: u8,
    /// Its code.
    pub code: u8,
}

impl Icmp {
    /// Reads a message that begins with its ICMP header.
    ///
    /// # Errors
    /// [`Stopped`] where type and code are not there.
    pub fn parse(bytes: &[u8]) -> Result<Self, Stopped> {
        match bytes {
            [kind, code, ..] => Ok(Self {
                kind: *kind,
                code: *code,
            }),
            _ => Err(short(bytes, 2)),
        }
    }

    /// What it says, where that is well known (codes of RFC 792 and RFC 1812, section 5.2.7.1).
    pub const fn meaning(&self) -> Option<&'static str> {
        Some(match (self.kind, self.code) {
            (0, 0) => "echo reply",
            (3, 0) => "network unreachable",
            (3, 1) => "host unreachable",
            (3, 2) => "protocol unreachable",
            (3, 3) => "port unreachable",
            (3, 4) => "fragmentation needed",
            (3, 9 | 10 | 13) => "administratively prohibited",
            (8, 0) => "echo request",
            (11, 0) => "time to live exceeded",
            _ => return None,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn well_known_messages_are_named_and_others_are_not() {
        let meaning = |bytes: &[u8]| Icmp::parse(bytes).unwrap().meaning();
        assert_eq!(meaning(&[3, 3, 0, 0]), Some("port unreachable"));
        assert_eq!(meaning(&[8, 0]), Some("echo request"));
        assert_eq!(meaning(&[8, 1]), None);
        assert_eq!(Icmp::parse(&[3]), Err(short(&[3], 2)));
    }
}
