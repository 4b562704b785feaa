//! One line on what a packet is, for a label along an arrow and a line of text.

use super::{
    Stopped,
    icmp::{Body, Icmp},
    ip::{Ip, protocol_name},
    ipv4, ipv6,
    tcp::Flags,
    udp::Udp,
};
use crate::event::Role;

/// Bytes that are no IP packet.
pub(super) fn not_ip(bytes: &[u8], stopped: Stopped) -> String {
    format!("{} that are no IP packet ({stopped})", count(bytes.len()))
}

/// An IP packet that is no TCP segment, or not the beginning of one.
pub(super) fn not_tcp(packet: &Ip<'_>) -> String {
    let protocol = match protocol_name(packet.protocol()) {
        Some(name) => name.to_owned(),
        None => format!("protocol {}", packet.protocol()),
    };
    if packet.fragment_offset() > 0 {
        return format!("{protocol} fragment from byte {}", packet.fragment_offset());
    }
    match packet.protocol() {
        ipv4::ICMP => icmp("ICMP", Icmp::parse(packet.payload())),
        ipv6::ICMPV6 => icmp("ICMPv6", Icmp::parse_v6(packet.payload())),
        ipv4::UDP => match Udp::parse(packet.payload()) {
            Ok(udp) => format!(
                "UDP {} to {}, {}",
                udp.src_port,
                udp.dst_port,
                count(udp.payload_length.into())
            ),
            Err(stopped) => format!("UDP ({stopped})"),
        },
        ipv6::NO_NEXT_HEADER => "IPv6 without payload".to_owned(),
        _ => protocol,
    }
}

/// An ICMP message, with the numbers that matter and the segment that it is about.
pub(super) fn icmp(name: &str, parsed: Result<Icmp<'_>, Stopped>) -> String {
    let icmp = match parsed {
        Ok(icmp) => icmp,
        Err(stopped) => return format!("{name} ({stopped})"),
    };
    let mut text = match icmp.meaning() {
        Some(meaning) => format!("{name} {meaning}"),
        None => format!("{name} type {} code {}", icmp.kind, icmp.code),
    };
    match icmp.body {
        Body::Mtu(mtu) => text.push_str(&format!(", MTU {mtu}")),
        Body::Echo { sequence, .. } => text.push_str(&format!(" {sequence}")),
        Body::Gateway(gateway) => text.push_str(&format!(" to {gateway}")),
        Body::Pointer(_) | Body::Unused => {}
    }
    text
}

/// A packet of which not even the TCP header could be read.
pub(super) fn broken_tcp(stopped: Stopped) -> String {
    format!("TCP ({stopped})")
}

/// A TCP segment. `length` is its payload's in bytes, `content` what is known of it.
pub(super) fn tcp(flags: Flags, length: usize, content: Option<String>, role: Role) -> String {
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
    if let Some(content) = content {
        parts.push(content);
    } else if length > 0 {
        parts.push(count(length));
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
    use crate::dissect::testing::{Segment, ip, ipv6};

    fn other(bytes: &[u8]) -> String {
        match Ip::parse(bytes) {
            Ok(packet) => not_tcp(&packet),
            Err(stopped) => not_ip(bytes, stopped),
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
            let content = payload
                .starts_with("GET")
                .then(|| "GET /1 HTTP/1.1".to_owned());
            let line = tcp(flags, payload.len(), content, Role::Ordinary);
            assert_eq!(line, expected);
        }
    }

    #[test]
    fn probes_and_their_answers_are_named() {
        let probe = Role::KeepAliveProbe { nth: 2 };
        assert_eq!(tcp(Flags::ACK, 0, None, probe), "keep-alive probe");
        assert_eq!(
            tcp(Flags::ACK, 0, None, Role::KeepAliveAck),
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
    fn icmp_tells_the_numbers_that_matter() {
        let line = |bytes: &[u8]| other(&ip(1, bytes));
        assert_eq!(
            line(&[3, 4, 0, 0, 0, 0, 5, 120]),
            "ICMP fragmentation needed, MTU 1400"
        );
        assert_eq!(line(&[8, 0, 0, 0, 0, 1, 0, 7]), "ICMP echo request 7");
        assert_eq!(
            other(&ipv6(58, &[2, 0, 0, 0, 0, 0, 5, 0])),
            "ICMPv6 packet too big, MTU 1280"
        );
    }

    #[test]
    fn what_is_no_ip_packet_is_named() {
        assert_eq!(other(&ipv6(59, &[])), "IPv6 without payload");
        assert_eq!(other(&ipv6(50, &[])), "protocol 50");
        assert_eq!(
            other(&[0x45, 0]),
            "2 bytes that are no IP packet (stopped at byte 2: 20 bytes are needed, 2 are there)"
        );
        assert_eq!(
            other(&[0; 30]),
            "30 bytes that are no IP packet (stopped at byte 0: version 0 where another is expected)"
        );
    }
}
