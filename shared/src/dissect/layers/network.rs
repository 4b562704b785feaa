//! IP, ICMP, UDP and TCP as layers.

use super::{Layer, application, note};
use crate::dissect::{
    Protocol, Stopped,
    field::Fields,
    icmp::{Body, Icmp},
    ip::{Ip, protocol_name},
    ipv4::{self, Ipv4},
    ipv6::{self, Ipv6},
    summary,
    tcp::{self, Tcp},
    udp::{self, Udp},
};

/// Adds the layers of the packet that begins with `bytes`, which is the whole packet's byte `at`.
/// `depth` is how many packets may lie within each other.
pub(super) fn packet(
    bytes: &[u8],
    at: usize,
    protocol: Option<Protocol>,
    depth: usize,
    tree: &mut Vec<Layer>,
) {
    let before = tree.len();
    match Ip::parse(bytes) {
        Ok(ip) => {
            tree.push(match &ip {
                Ip::V4(packet) => v4(packet, at),
                Ip::V6(packet) => v6(packet, at),
            });
            let inner = at + ip.header_length();
            if ip.fragment_offset() == 0 {
                transport(&ip, inner, protocol, depth, tree);
            } else {
                application::data(ip.payload(), inner, tree);
            }
        }
        Err(stopped) => tree.push(broken("IP", bytes, at, stopped)),
    }
    for layer in tree.iter_mut().skip(before) {
        layer.clamp(at + bytes.len());
    }
}

/// A layer of which nothing could be read.
fn broken(name: &'static str, bytes: &[u8], at: usize, stopped: Stopped) -> Layer {
    let mut fields = Fields::new();
    note(&mut fields, Some(stopped));
    Layer::new(
        name,
        stopped.to_string(),
        at..at + bytes.len(),
        fields.into_vec(),
    )
}

fn protocol_text(number: u8) -> String {
    match protocol_name(number) {
        Some(name) => format!("{number} ({name})"),
        None => number.to_string(),
    }
}

fn ecn(bits: u8) -> &'static str {
    match bits & 3 {
        0 => "not ECN-capable",
        1 => "ECT(1)",
        2 => "ECT(0)",
        _ => "congestion experienced",
    }
}

fn v4(packet: &Ipv4<'_>, at: usize) -> Layer {
    let mut fields = Fields::new();
    fields.at("Version", 4, 0, 1);
    fields.at(
        "Header length",
        format!("{} bytes", packet.header_length),
        0,
        1,
    );
    fields.at("DSCP", packet.tos >> 2, 1, 1);
    fields.at("ECN", ecn(packet.tos), 1, 1);
    fields.at(
        "Total length",
        format!("{} bytes", packet.total_length),
        2,
        2,
    );
    fields.at(
        "Identification",
        format!("0x{:04x}", packet.identification),
        4,
        2,
    );
    let mut flags = Vec::new();
    if packet.dont_fragment {
        flags.push("don't fragment");
    }
    if packet.more_fragments {
        flags.push("more fragments");
    }
    let flags = if flags.is_empty() {
        "none".to_owned()
    } else {
        flags.join(", ")
    };
    fields.at("Flags", flags, 6, 1);
    fields.at(
        "Fragment offset",
        format!("{} bytes", packet.fragment_offset),
        6,
        2,
    );
    fields.at("Time to live", packet.ttl, 8, 1);
    fields.at("Protocol", protocol_text(packet.protocol), 9, 1);
    fields.at("Checksum", format!("0x{:04x}", packet.checksum), 10, 2);
    fields.at("Source", packet.src, 12, 4);
    fields.at("Destination", packet.dst, 16, 4);
    if packet.header_length > ipv4::FIXED_HEADER {
        let length = packet.header_length - ipv4::FIXED_HEADER;
        fields.at(
            "Options",
            format!("{length} bytes"),
            ipv4::FIXED_HEADER,
            length,
        );
    }
    note(&mut fields, packet.stopped);
    let summary = format!("{} to {}", packet.src, packet.dst);
    Layer::new(
        "IPv4",
        summary,
        at..at + packet.header_length,
        fields.into_vec(),
    )
}

fn v6(packet: &Ipv6<'_>, at: usize) -> Layer {
    let mut fields = Fields::new();
    fields.at("Version", 6, 0, 1);
    fields.at("DSCP", packet.traffic_class >> 2, 0, 2);
    fields.at("ECN", ecn(packet.traffic_class), 1, 1);
    fields.at("Flow label", format!("0x{:05x}", packet.flow_label), 1, 3);
    fields.at("Hop limit", packet.hop_limit, 7, 1);
    fields.at("Source", packet.src, 8, 16);
    fields.at("Destination", packet.dst, 24, 16);
    for extension in &packet.extensions {
        let name = extension.name();
        fields.at("Extension header", name, extension.at, extension.length);
        if extension.kind == 44 {
            let offset = format!("{} bytes", packet.fragment_offset);
            fields.at("Fragment offset", offset, extension.at + 2, 2);
        }
    }
    fields.at(
        "Protocol",
        protocol_text(packet.protocol),
        packet.header_length,
        0,
    );
    note(&mut fields, packet.stopped);
    let summary = format!("{} to {}", packet.src, packet.dst);
    Layer::new(
        "IPv6",
        summary,
        at..at + packet.header_length,
        fields.into_vec(),
    )
}

fn transport(
    ip: &Ip<'_>,
    at: usize,
    protocol: Option<Protocol>,
    depth: usize,
    tree: &mut Vec<Layer>,
) {
    let bytes = ip.payload();
    match ip.protocol() {
        ipv4::TCP => match Tcp::parse(bytes) {
            Ok(tcp) => {
                tree.push(segment(&tcp, ip, at));
                // What an ICMP error quotes may end anywhere, and begins no stream.
                let inner = at + tcp.header_length.min(bytes.len());
                application::payload(tcp.payload, inner, protocol, tree);
            }
            Err(stopped) => tree.push(broken("TCP", bytes, at, stopped)),
        },
        ipv4::UDP => match Udp::parse(bytes) {
            Ok(udp) => {
                tree.push(datagram(&udp, at));
                application::data(udp.payload, at + udp::HEADER, tree);
            }
            Err(stopped) => tree.push(broken("UDP", bytes, at, stopped)),
        },
        ipv4::ICMP => icmp("ICMP", Icmp::parse(bytes), bytes, at, depth, tree),
        ipv6::ICMPV6 => icmp("ICMPv6", Icmp::parse_v6(bytes), bytes, at, depth, tree),
        _ => application::data(bytes, at, tree),
    }
}

fn segment(tcp: &Tcp<'_>, ip: &Ip<'_>, at: usize) -> Layer {
    let mut fields = Fields::new();
    fields.at("Source port", tcp.src_port, 0, 2);
    fields.at("Destination port", tcp.dst_port, 2, 2);
    fields.at("Sequence number", tcp.seq, 4, 4);
    fields.at("Acknowledgment number", tcp.ack, 8, 4);
    fields.at(
        "Header length",
        format!("{} bytes", tcp.header_length),
        12,
        1,
    );
    fields.at("Flags", tcp.flags.to_string().replace(',', ", "), 12, 2);
    fields.at("Window", format!("{} (unscaled)", tcp.window), 14, 2);
    fields.at("Checksum", format!("0x{:04x}", tcp.checksum), 16, 2);
    fields.at("Urgent pointer", tcp.urgent, 18, 2);
    for (option, place) in tcp.options.iter().zip(&tcp.option_places) {
        fields.add("Option", option.to_string(), place.clone());
    }
    note(&mut fields, tcp.stopped);
    let payload = ip.payload_length().saturating_sub(tcp.header_length);
    let summary = format!(
        "{} to {}, {}, {payload} B",
        tcp.src_port, tcp.dst_port, tcp.flags
    );
    let end = tcp.header_length.max(tcp::FIXED_HEADER);
    Layer::new("TCP", summary, at..at + end, fields.into_vec())
}

fn datagram(datagram: &Udp<'_>, at: usize) -> Layer {
    let mut fields = Fields::new();
    fields.at("Source port", datagram.src_port, 0, 2);
    fields.at("Destination port", datagram.dst_port, 2, 2);
    fields.at(
        "Payload length",
        format!("{} bytes", datagram.payload_length),
        4,
        2,
    );
    note(&mut fields, datagram.stopped);
    let summary = format!("{} to {}", datagram.src_port, datagram.dst_port);
    Layer::new("UDP", summary, at..at + udp::HEADER, fields.into_vec())
}

fn icmp(
    name: &'static str,
    parsed: Result<Icmp<'_>, Stopped>,
    bytes: &[u8],
    at: usize,
    depth: usize,
    tree: &mut Vec<Layer>,
) {
    let icmp = match parsed {
        Ok(icmp) => icmp,
        Err(stopped) => return tree.push(broken(name, bytes, at, stopped)),
    };
    let mut fields = Fields::new();
    fields.at("Type", icmp.kind, 0, 1);
    fields.at("Code", icmp.code, 1, 1);
    match icmp.body {
        Body::Echo {
            identifier,
            sequence,
        } => {
            fields.at("Identifier", identifier, 4, 2);
            fields.at("Sequence number", sequence, 6, 2);
        }
        Body::Mtu(mtu) => fields.at("MTU of the next link", format!("{mtu} bytes"), 4, 4),
        Body::Gateway(gateway) => fields.at("Gateway", gateway, 4, 4),
        Body::Pointer(pointer) => fields.at("Pointer", format!("byte {pointer}"), 4, 4),
        Body::Unused => {}
    }
    note(&mut fields, icmp.stopped);
    let inner = at + crate::dissect::icmp::HEADER;
    let mut quoted = Vec::new();
    if let Some(bytes) = icmp.quoted().filter(|_| depth > 1) {
        packet(bytes, inner, None, depth - 1, &mut quoted);
    }
    let carries = quoted.is_empty();
    let line = summary::icmp(name, Ok(icmp));
    let summary = line
        .strip_prefix(name)
        .unwrap_or(&line)
        .trim_start()
        .to_owned();
    tree.push(Layer::new(name, summary, at..inner, fields.into_vec()).with(quoted));
    if carries {
        application::data(icmp.payload, inner, tree);
    }
}
