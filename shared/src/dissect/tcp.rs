//! TCP headers (RFC 9293, section 3.1) and the options that connections really use.
//!
//! A segment is read by itself here: numbers are those of the header, the window is not scaled.
//! [`flow`](super::flow) knows what came before.

use std::{fmt, ops::Range};

use super::{Reason, Stopped, be16, be32, short, text};

/// Length of the header without options, in bytes.
pub const FIXED_HEADER: usize = 20;

/// What marks Fast Open in its experimental form (RFC 7413, section 4.1.1; RFC 6994).
const FAST_OPEN_EXPERIMENT: [u8; 2] = [0xf9, 0x89];

/// The control bits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Flags(u16);

impl Flags {
    /// No more data from the sender.
    pub const FIN: Self = Self(0x001);
    /// Synchronise sequence numbers.
    pub const SYN: Self = Self(0x002);
    /// Reset the connection.
    pub const RST: Self = Self(0x004);
    /// Push.
    pub const PSH: Self = Self(0x008);
    /// The acknowledgment number means something.
    pub const ACK: Self = Self(0x010);
    /// The urgent pointer means something.
    pub const URG: Self = Self(0x020);
    /// Congestion was experienced (RFC 3168).
    pub const ECE: Self = Self(0x040);
    /// The congestion window was reduced (RFC 3168).
    pub const CWR: Self = Self(0x080);
    /// Accurate ECN (RFC 9768).
    pub const AE: Self = Self(0x100);

    /// The flags in the order in which people say them, with their names.
    const NAMES: [(Self, &'static str); 9] = [
        (Self::SYN, "SYN"),
        (Self::FIN, "FIN"),
        (Self::RST, "RST"),
        (Self::PSH, "PSH"),
        (Self::ACK, "ACK"),
        (Self::URG, "URG"),
        (Self::ECE, "ECE"),
        (Self::CWR, "CWR"),
        (Self::AE, "AE"),
    ];

    /// Takes the flags from the two bytes after the acknowledgment number.
    pub const fn from_bits(bits: u16) -> Self {
        Self(bits & 0x1ff)
    }

    /// The flags as bits.
    pub const fn bits(self) -> u16 {
        self.0
    }

    /// Whether every flag of `other` is set.
    pub const fn has(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }

    /// Both sets together.
    #[must_use]
    pub const fn with(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

impl fmt::Display for Flags {
    /// Names joined by commas, such as `SYN,ACK`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut separator = "";
        for (flag, name) in Self::NAMES {
            if self.has(flag) {
                write!(f, "{separator}{name}")?;
                separator = ",";
            }
        }
        Ok(())
    }
}

/// An option of the header. End of list and no-operation are passed over.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TcpOption {
    /// Largest segment that the sender wants to receive, in bytes (RFC 9293, section 3.7.1).
    MaximumSegmentSize(u16),
    /// The sender's windows are to be shifted left by this (RFC 7323, section 2).
    WindowScale(u8),
    /// The sender understands selective acknowledgments (RFC 2018, section 2).
    SackPermitted,
    /// Blocks that arrived out of order: first sequence number, and the one after the last
    /// (RFC 2018, section 3). At most four.
    Sack(Vec<(u32, u32)>),
    /// The sender's clock, and the peer's as it was last heard (RFC 7323, section 3).
    Timestamps {
        /// The sender's clock.
        value: u32,
        /// The peer's, echoed; meaningless without ACK.
        echo: u32,
    },
    /// Asks for a cookie (empty) or brings one (RFC 7413, section 4.1.1); also in its experimental
    /// form.
    FastOpen(Vec<u8>),
    /// How long sent data may stay unacknowledged, in seconds (RFC 5482).
    UserTimeout(u32),
    /// The segment is signed with MD5 (RFC 2385).
    Md5Signature,
    /// The segment is signed (RFC 5925).
    Authentication {
        /// Which key the sender used.
        key: u8,
        /// Which key it would like the peer to use next.
        next_key: u8,
    },
    /// Multipath TCP (RFC 8684).
    Multipath {
        /// Which of its options.
        subtype: u8,
        /// Length of the value in bytes, the subtype included.
        length: usize,
    },
    /// An option that is not interpreted here.
    Other {
        /// Its kind.
        kind: u8,
        /// Its value.
        value: Vec<u8>,
    },
}

/// The name of a Multipath TCP option (RFC 8684, section 8).
pub const fn multipath_name(subtype: u8) -> Option<&'static str> {
    Some(match subtype {
        0 => "MP_CAPABLE",
        1 => "MP_JOIN",
        2 => "DSS",
        3 => "ADD_ADDR",
        4 => "REMOVE_ADDR",
        5 => "MP_PRIO",
        6 => "MP_FAIL",
        7 => "MP_FASTCLOSE",
        8 => "MP_TCPRST",
        15 => "MP_EXPERIMENTAL",
        _ => return None,
    })
}

impl fmt::Display for TcpOption {
    /// In words, such as `MSS 1460`; numbers as they stand in the header.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::MaximumSegmentSize(size) => write!(f, "MSS {size}"),
            Self::WindowScale(shift) => write!(f, "WS {shift}"),
            Self::SackPermitted => f.write_str("SACK permitted"),
            Self::Sack(blocks) => {
                f.write_str("SACK")?;
                blocks
                    .iter()
                    .try_for_each(|(from, to)| write!(f, " {from}-{to}"))
            }
            Self::Timestamps { value, echo } => write!(f, "TS {value} echo {echo}"),
            Self::FastOpen(cookie) if cookie.is_empty() => f.write_str("TFO cookie request"),
            Self::FastOpen(cookie) => write!(f, "TFO cookie {}", text::hex(cookie, 16)),
            Self::UserTimeout(seconds) => write!(f, "user timeout {seconds} s"),
            Self::Md5Signature => f.write_str("MD5 signature"),
            Self::Authentication { key, next_key } => {
                write!(f, "authentication with key {key}, next {next_key}")
            }
            Self::Multipath { subtype, length } => match multipath_name(*subtype) {
                Some(name) => write!(f, "MPTCP {name}"),
                None => write!(f, "MPTCP {subtype} ({length} bytes)"),
            },
            Self::Other { kind, value } => {
                match kind {
                    172 => f.write_str("AccECN order 0")?,
                    174 => f.write_str("AccECN order 1")?,
                    253 | 254 => write!(f, "experiment {kind}")?,
                    _ => write!(f, "option {kind}")?,
                }
                write!(f, " ({} bytes)", value.len())
            }
        }
    }
}

/// A TCP segment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tcp<'a> {
    /// Sender's port.
    pub src_port: u16,
    /// Receiver's port.
    pub dst_port: u16,
    /// Sequence number.
    pub seq: u32,
    /// Acknowledgment number; means something only with ACK.
    pub ack: u32,
    /// The control bits.
    pub flags: Flags,
    /// The window as it stands in the header, unscaled.
    pub window: u16,
    /// Length of the header with its options, 20 to 60 bytes.
    pub header_length: usize,
    /// The checksum as it stands in the header.
    pub checksum: u16,
    /// The urgent pointer, which means something only with URG.
    pub urgent: u16,
    /// The options that were understood, in order.
    pub options: Vec<TcpOption>,
    /// Where each of them stands, counted from the header's first byte.
    pub option_places: Vec<Range<usize>>,
    /// The payload, as much of it as is there.
    pub payload: &'a [u8],
    /// Where and why the dissection ended early.
    pub stopped: Option<Stopped>,
}

impl<'a> Tcp<'a> {
    /// Reads a segment that begins with its TCP header and ends with its payload.
    ///
    /// # Errors
    /// [`Stopped`] where the fixed part is not all there, or the header claims to be shorter than
    /// that. A malformed option or a header that is cut off is `Ok`, with `stopped` set.
    pub fn parse(bytes: &'a [u8]) -> Result<Self, Stopped> {
        let Some(fixed) = bytes.first_chunk::<FIXED_HEADER>() else {
            return Err(short(bytes, FIXED_HEADER));
        };
        let header_length = usize::from(fixed[12] >> 4) * 4;
        if header_length < FIXED_HEADER {
            return Err(Stopped {
                at: 12,
                reason: Reason::HeaderLength(header_length),
            });
        }
        let end = header_length.min(bytes.len());
        let (options, option_places, malformed) =
            read_options(bytes.get(..end).unwrap_or_default());
        let cut_off = (bytes.len() < header_length).then(|| short(bytes, header_length));
        Ok(Self {
            src_port: be16(fixed, 0).unwrap_or_default(),
            dst_port: be16(fixed, 2).unwrap_or_default(),
            seq: be32(fixed, 4).unwrap_or_default(),
            ack: be32(fixed, 8).unwrap_or_default(),
            flags: Flags::from_bits(be16(fixed, 12).unwrap_or_default()),
            window: be16(fixed, 14).unwrap_or_default(),
            header_length,
            checksum: be16(fixed, 16).unwrap_or_default(),
            urgent: be16(fixed, 18).unwrap_or_default(),
            options,
            option_places,
            payload: bytes.get(end..).unwrap_or_default(),
            stopped: malformed.or(cut_off),
        })
    }

    /// The shift of the window scale option, if there is one, at most 14 (RFC 7323, section 2.3).
    pub fn window_scale(&self) -> Option<u8> {
        self.options.iter().find_map(|option| match option {
            TcpOption::WindowScale(shift) => Some((*shift).min(14)),
            _ => None,
        })
    }

    /// The timestamps option, if there is one: the sender's clock and the peer's, echoed.
    pub fn timestamps(&self) -> Option<(u32, u32)> {
        self.options.iter().find_map(|option| match option {
            TcpOption::Timestamps { value, echo } => Some((*value, *echo)),
            _ => None,
        })
    }
}

/// What `read_options` gives: options, their places, and what ended the reading early.
type Options = (Vec<TcpOption>, Vec<Range<usize>>, Option<Stopped>);

/// Reads the options of a header that begins at byte 0 of `header`.
fn read_options(header: &[u8]) -> Options {
    let mut options = Vec::new();
    let mut places = Vec::new();
    let mut at = FIXED_HEADER;
    while let Some(&kind) = header.get(at) {
        match kind {
            0 => break,
            1 => {
                at += 1;
                continue;
            }
            _ => {}
        }
        let length = header.get(at + 1).copied().unwrap_or_default();
        let value = match usize::from(length) {
            0 | 1 => None,
            whole => header.get(at + 2..at + whole),
        };
        match value.and_then(|value| read_option(kind, value)) {
            Some(option) => {
                options.push(option);
                places.push(at..at + usize::from(length));
            }
            None => {
                let reason = Reason::OptionLength { kind, length };
                return (options, places, Some(Stopped { at, reason }));
            }
        }
        at += usize::from(length);
    }
    (options, places, None)
}

/// Reads one option's value; `None` where its length is not what its kind has.
fn read_option(kind: u8, value: &[u8]) -> Option<TcpOption> {
    Some(match (kind, value.len()) {
        (2, 2) => TcpOption::MaximumSegmentSize(be16(value, 0)?),
        (3, 1) => TcpOption::WindowScale(*value.first()?),
        (4, 0) => TcpOption::SackPermitted,
        (5, 8 | 16 | 24 | 32) => TcpOption::Sack(
            value
                .chunks_exact(8)
                .filter_map(|block| Some((be32(block, 0)?, be32(block, 4)?)))
                .collect(),
        ),
        (8, 8) => TcpOption::Timestamps {
            value: be32(value, 0)?,
            echo: be32(value, 4)?,
        },
        (19, 16) => TcpOption::Md5Signature,
        (28, 2) => {
            let field = be16(value, 0)?;
            // The first bit says that the rest counts minutes.
            let unit = if field & 0x8000 == 0 { 1 } else { 60 };
            TcpOption::UserTimeout(u32::from(field & 0x7fff) * unit)
        }
        (29, 2..) => TcpOption::Authentication {
            key: *value.first()?,
            next_key: *value.get(1)?,
        },
        (30, 1..) => TcpOption::Multipath {
            subtype: value.first()? >> 4,
            length: value.len(),
        },
        // The length of a cookie is even and between 4 and 16 bytes.
        (34, 0 | 4 | 6 | 8 | 10 | 12 | 14 | 16) => TcpOption::FastOpen(value.to_vec()),
        (254, 2..) if value.starts_with(&FAST_OPEN_EXPERIMENT) => {
            TcpOption::FastOpen(value.get(2..)?.to_vec())
        }
        (2..=5 | 8 | 19 | 28..=30 | 34, _) => return None,
        (kind, _) => TcpOption::Other {
            kind,
            value: value.to_vec(),
        },
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dissect::testing::{Segment, mutations};

    #[test]
    fn a_header_is_read_field_by_field() {
        let bytes = Segment::new(4_000_000_000, 7)
            .flags("PA")
            .data(b"hello")
            .tcp();
        let tcp = Tcp::parse(&bytes).unwrap();
        assert_eq!((tcp.src_port, tcp.dst_port), (40_000, 7654));
        assert_eq!((tcp.seq, tcp.ack), (4_000_000_000, 7));
        assert_eq!(tcp.flags.to_string(), "PSH,ACK");
        assert_eq!(tcp.window, 502);
        assert_eq!(tcp.header_length, 20);
        assert_eq!(tcp.payload, b"hello");
        assert_eq!((tcp.options.as_slice(), tcp.stopped), (&[][..], None));
    }

    #[test]
    fn every_flag_has_its_name() {
        assert_eq!(
            Flags::from_bits(0xffff).to_string(),
            "SYN,FIN,RST,PSH,ACK,URG,ECE,CWR,AE"
        );
        assert_eq!(Flags::default().to_string(), "");
    }

    #[test]
    fn the_options_of_a_linux_syn_are_understood() {
        let bytes = Segment::new(1, 0)
            .flags("S")
            .option(&[2, 4, 5, 180])
            .option(&[4, 2])
            .option(&[8, 10, 0, 0, 0, 9, 0, 0, 0, 3])
            .option(&[1])
            .option(&[3, 3, 7])
            .tcp();
        let tcp = Tcp::parse(&bytes).unwrap();
        assert_eq!(
            tcp.options,
            [
                TcpOption::MaximumSegmentSize(1460),
                TcpOption::SackPermitted,
                TcpOption::Timestamps { value: 9, echo: 3 },
                TcpOption::WindowScale(7),
            ]
        );
        assert_eq!(tcp.window_scale(), Some(7));
        assert_eq!(tcp.timestamps(), Some((9, 3)));
    }

    #[test]
    fn selective_acknowledgments_and_unknown_options_are_kept() {
        let bytes = Segment::new(1, 1)
            .flags("A")
            .option(&[5, 18, 0, 0, 0, 1, 0, 0, 0, 2, 0, 0, 0, 5, 0, 0, 0, 9])
            .option(&[99, 4, 1, 2])
            .option(&[0, 8, 0])
            .tcp();
        let tcp = Tcp::parse(&bytes).unwrap();
        assert_eq!(
            tcp.options,
            [
                TcpOption::Sack(vec![(1, 2), (5, 9)]),
                TcpOption::Other {
                    kind: 99,
                    value: vec![1, 2]
                },
            ]
        );
        assert_eq!(tcp.stopped, None);
    }

    #[test]
    fn options_are_said_in_words() {
        let cookie = [34, 10, 1, 2, 3, 4, 5, 6, 7, 8];
        for (option, words) in [
            (&[34, 2][..], "TFO cookie request"),
            (&cookie, "TFO cookie 0102030405060708"),
            (&[254, 4, 0xf9, 0x89], "TFO cookie request"),
            (&[28, 4, 0, 30], "user timeout 30 s"),
            (&[28, 4, 0x80, 2], "user timeout 120 s"),
            (&[29, 4, 1, 2], "authentication with key 1, next 2"),
            (&[30, 4, 0x01, 0x81], "MPTCP MP_CAPABLE"),
            (&[30, 3, 0xe0], "MPTCP 14 (1 bytes)"),
            (&[254, 4, 1, 2], "experiment 254 (2 bytes)"),
            (&[172, 5, 0, 0, 1], "AccECN order 0 (3 bytes)"),
            (&[77, 2], "option 77 (0 bytes)"),
        ] {
            let bytes = Segment::new(1, 1).option(option).tcp();
            let tcp = Tcp::parse(&bytes).unwrap();
            assert_eq!(tcp.options[0].to_string(), words);
            assert_eq!(tcp.stopped, None, "{words}");
        }
        let mut signed = vec![19, 18];
        signed.extend_from_slice(&[7; 16]);
        let bytes = Segment::new(1, 1).option(&signed).tcp();
        assert_eq!(
            Tcp::parse(&bytes).unwrap().options,
            [TcpOption::Md5Signature]
        );
    }

    #[test]
    fn lengths_that_a_kind_does_not_have_are_refused() {
        for option in [[34, 3, 1], [28, 3, 0], [29, 3, 1], [30, 2, 0], [19, 3, 0]] {
            let bytes = Segment::new(1, 1).option(&option).tcp();
            let stopped = Tcp::parse(&bytes).unwrap().stopped.unwrap();
            let (kind, length) = (option[0], option[1]);
            assert_eq!(stopped.reason, Reason::OptionLength { kind, length });
        }
    }

    #[test]
    fn a_malformed_option_keeps_those_before_it() {
        for bad in [[8, 0, 0, 0], [8, 1, 0, 0], [8, 4, 0, 0], [8, 200, 0, 0]] {
            let bytes = Segment::new(1, 1)
                .option(&[2, 4, 5, 180])
                .option(&bad)
                .data(b"x")
                .tcp();
            let tcp = Tcp::parse(&bytes).unwrap();
            assert_eq!(tcp.options, [TcpOption::MaximumSegmentSize(1460)]);
            assert_eq!(tcp.payload, b"x");
            let stopped = tcp.stopped.unwrap();
            assert_eq!(stopped.at, 24);
            assert_eq!(
                stopped.reason,
                Reason::OptionLength {
                    kind: 8,
                    length: bad[1]
                }
            );
        }
    }

    #[test]
    fn an_excessive_window_scale_counts_as_14() {
        let bytes = Segment::new(1, 0).flags("S").option(&[3, 3, 255]).tcp();
        assert_eq!(Tcp::parse(&bytes).unwrap().window_scale(), Some(14));
    }

    #[test]
    fn a_header_that_is_cut_off_is_named() {
        let bytes = Segment::new(1, 1).option(&[2, 4, 5, 180]).tcp();
        assert_eq!(
            Tcp::parse(&bytes[..19]).unwrap_err(),
            short(&bytes[..19], 20)
        );
        let tcp = Tcp::parse(&bytes[..20]).unwrap();
        assert_eq!(tcp.stopped, Some(short(&bytes[..20], 24)));
        let mut bytes = bytes;
        bytes[12] = 0x40;
        assert_eq!(
            Tcp::parse(&bytes).unwrap_err().reason,
            Reason::HeaderLength(16)
        );
    }

    #[test]
    fn whatever_the_bytes_every_offset_is_within_them() {
        let model = Segment::new(1, 1)
            .option(&[2, 4, 5, 180])
            .option(&[5, 10, 0, 0, 0, 1, 0, 0, 0, 2])
            .option(&[1, 1])
            .data(b"data")
            .tcp();
        mutations(&model, 20_000, |bytes| match Tcp::parse(bytes) {
            Err(stopped) => assert!(stopped.at <= bytes.len()),
            Ok(tcp) => {
                assert!((20..=60).contains(&tcp.header_length));
                assert!(tcp.payload.len() <= bytes.len().saturating_sub(20));
                assert!(tcp.stopped.is_none_or(|stopped| stopped.at <= bytes.len()));
            }
        });
    }
}
