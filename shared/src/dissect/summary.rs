//! One line on what a packet is, for a label along an arrow and a line of text.

use super::{Stopped, http1::first_line, icmp::Icmp, ipv4, ipv4::Ipv4, tcp::Flags, udp::Udp};
use crate::event::Role;

/// Bytes that are no IPv4 packet.
pub(super) fn not_ipv4(bytes: &[u8], stopped: Stopped) -> String {
    if bytes.first().is_some_and(|first| first >> 4 == 6) {
        return "IPv6".to_owned();
    }
    format!("{} that are no IPv4 packet ({stopped})", count(bytes.len()))
}

/// An IPv4 packet that is no TCP segment, or not the beginning of one.
pub(super) fn not_tcp(packet: &Ipv4<'_>) -> String {
    let protocol = match packet.protocol {
        ipv4::ICMP => "ICMP".to_owned(),
        ipv4::TCP => "TCP".to_owned(),
        ipv4::UDP => "UDP".to_owned(),
        number => format!("protocol {number}"),
    };
    if packet.is_later_fragment() {
        return format!("{protocol} fragment from byte {}", packet.fragment_offset);
    }
    match packet.protocol {
        ipv4::ICMP => match Icmp::parse(packet.payload) {
            Ok(icmp) => match icmp.meaning() {
                Some(meaning) => format!("ICMP {meaning}"),
                None => format!("ICMP type {} code {}", icmp.kind, icmp.code),
            },
            Err(stopped) => format!("ICMP ({stopped})"),
        },
        ipv4::UDP => match Udp::parse(packet.payload) {
            Ok(udp) => format!(
                "UDP {} to {}, {}",
                udp.src_port,
                udp.dst_port,
                count(udp.payload_length.into())
            ),
            Err(stopped) => format!("UDP ({stopped})"),
        },
        _ => protocol,
    }
}

/// A packet of which not even the TCP header could be read.
pub(super) fn broken_tcp(stopped: Stopped) -> String {
    format!("TCP ({stopped})")
}

/// A TCP segment. `length` is the payload's in bytes, `payload` as much of it as is there.
pub(super) fn tcp(flags: Flags, length: usize, payload: &[u8], role: Role) -> String {
    match role {
        Role::KeepAliveProbe { .. } => return "keep-alive probe".to_owned(),
        Role::KeepAliveAck => return "keep-alive ACK".to_owned(),
        Role::Ordinary | Role::Retransmission { .. } => {}
    }
    let mut parts: Vec<String> = [
        (Flags::SYN, "SYN"),
        (Flags::FIN, "FIN"),
        (Flags::RST, "RST"),
    ]
    .into_iter()
    .filter(|(flag, _)| flags.has(*flag))
    .map(|(_, name)| name.to_owned())
    .collect();
    if length > 0 {
        parts.push(first_line(payload).unwrap_or_else(|| count(length)));
    } else if flags.has(Flags::ACK) {
        parts.push("ACK".to_owned());
    }
    if parts.is_empty() {
        return "no flags".to_owned();
    }
    parts.join(", ")
}

fn count(bytes: usize) -> String {
    match bytes {
        1 => "1 byte".to_owned(),
        _ => format!("{bytes} bytes"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dissect::testing::{Segment, ip};

    fn other(bytes: &[u8]) -> String {
        match Ipv4::parse(bytes) {
            Ok(packet) => not_tcp(&packet),
            Err(stopped) => not_ipv4(bytes, stopped),
        }
    }

    #[test]
    fn flags_and_payload_make_the_line_of_a_segment() {
        for (flags, payload, expected) in [
            ("S", "", "SYN"),
            ("SA", "", "SYN, ACK"),
            ("A", "", "ACK"),
            ("FA", "", "FIN, ACK"),
            ("R", "", "RST"),
            ("RA", "", "RST, ACK"),
            ("PA", "hello", "5 bytes"),
            ("PA", "x", "1 byte"),
            ("PA", "GET /1 HTTP/1.1\r\n\r\n", "GET /1 HTTP/1.1"),
            ("FPA", "hello", "FIN, 5 bytes"),
            ("S", "hello", "SYN, 5 bytes"),
            ("", "", "no flags"),
        ] {
            let bytes = Segment::new(1, 1).flags(flags).tcp();
            let flags = crate::dissect::tcp::Tcp::parse(&bytes).unwrap().flags;
            let line = tcp(flags, payload.len(), payload.as_bytes(), Role::Ordinary);
            assert_eq!(line, expected);
        }
    }

    #[test]
    fn probes_and_their_answers_are_named() {
        let probe = Role::KeepAliveProbe { nth: 2 };
        assert_eq!(tcp(Flags::ACK, 0, b"", probe), "keep-alive probe");
        assert_eq!(
            tcp(Flags::ACK, 0, b"", Role::KeepAliveAck),
            "keep-alive ACK"
        );
    }

    #[test]
    fn other_protocols_are_named() {
        assert_eq!(other(&ip(1, &[3, 1, 0, 0])), "ICMP host unreachable");
        assert_eq!(other(&ip(1, &[42, 1, 0, 0])), "ICMP type 42 code 1");
        assert_eq!(
            other(&ip(1, &[])),
            "ICMP (stopped at byte 0: 2 bytes are needed, 0 are there)"
        );
        assert_eq!(
            other(&ip(17, &[0, 53, 0, 99, 0, 9, 0, 0, 1])),
            "UDP 53 to 99, 1 byte"
        );
        assert_eq!(other(&ip(47, &[1, 2])), "protocol 47");
        let mut fragment = ip(6, b"rest");
        fragment[7] = 185;
        assert_eq!(other(&fragment), "TCP fragment from byte 1480");
    }

    #[test]
    fn what_is_no_ipv4_is_named() {
        assert_eq!(other(&[0x60; 40]), "IPv6");
        assert_eq!(
            other(&[0x45, 0]),
            "2 bytes that are no IPv4 packet (stopped at byte 2: 20 bytes are needed, 2 are there)"
        );
        assert_eq!(
            other(&[0; 30]),
            "30 bytes that are no IPv4 packet (stopped at byte 0: version 0 where 4 is expected)"
        );
    }
}
