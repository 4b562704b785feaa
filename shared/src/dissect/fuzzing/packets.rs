//! Packets of a few connections, in any order and any shape.

use crate::dissect::flow::{FlowTracker, Observed};

/// Most packets of one input.
const MOST_PACKETS: usize = 256;

/// The bytes describe packets, each behind six bytes: what, flags, where and how long. The tracker
/// keeps its promises whatever they are.
pub(super) fn flow(input: &[u8]) {
    let mut tracker = FlowTracker::new();
    let mut rest = input;
    for _ in 0..MOST_PACKETS {
        let Some((header, after)) = rest.split_first_chunk::<6>() else {
            break;
        };
        let &[what, flags, high, low, ack, length] = header;
        let (data, later) = after.split_at(after.len().min(usize::from(length)));
        rest = later;
        let packet = match what & 0xf0 {
            // A packet that is whatever the input says.
            0xf0 => data.to_vec(),
            0x80..=0xe0 => version6(&segment(what, flags, [high, low], ack, data)),
            _ => version4(&segment(what, flags, [high, low], ack, data), what & 1 == 1),
        };
        let describes = what & 3 == 3;
        if describes {
            let described = tracker.describe(&packet);
            check(&described, &packet);
            assert!(described.messages.is_empty());
            assert_eq!(described, tracker.describe(&packet));
        }
        let observed = tracker.observe(&packet);
        check(&observed, &packet);
        if describes {
            // What is a copy of the latest segment is what that segment was.
            assert_eq!(tracker.describe(&packet).tcp, observed.tcp);
        }
    }
    assert!(tracker.held() <= 64 << 20);
}

fn check(observed: &Observed, packet: &[u8]) {
    assert!(!observed.summary.is_empty() && observed.summary.len() < 2_000);
    assert!(observed.messages.len() <= 1_025);
    for message in &observed.messages {
        let payload = observed.tcp.as_ref().map_or(0, |tcp| tcp.payload);
        assert!(message.from <= message.to && message.to <= payload);
        assert!(message.to as usize <= packet.len());
        assert!(!message.summary.is_empty());
    }
}

/// A TCP segment between two ports, from either; both streams begin near the end of the number
/// space.
fn segment(what: u8, flags: u8, place: [u8; 2], ack: u8, data: &[u8]) -> Vec<u8> {
    let ports = [7_u16, 8];
    let (from, to) = match what & 1 {
        0 => (ports[0], ports[1]),
        _ => (ports[1], ports[0]),
    };
    let first = u32::MAX - 100;
    let seq = first.wrapping_add(u16::from_be_bytes(place).into());
    let ack = first.wrapping_add(u32::from(ack) * 4);
    let mut bytes = Vec::with_capacity(20 + data.len());
    bytes.extend_from_slice(&from.to_be_bytes());
    bytes.extend_from_slice(&to.to_be_bytes());
    bytes.extend_from_slice(&seq.to_be_bytes());
    bytes.extend_from_slice(&ack.to_be_bytes());
    // Some headers take options from the data.
    let words = 5 + (what >> 2 & 3);
    bytes.extend_from_slice(&[words << 4, flags, 1, 0, 0, 0, 0, 0]);
    bytes.extend_from_slice(data);
    bytes
}

fn version4(payload: &[u8], back: bool) -> Vec<u8> {
    let length = 20 + payload.len() as u16;
    let mut bytes = vec![0x45, 0];
    bytes.extend_from_slice(&length.to_be_bytes());
    bytes.extend_from_slice(&[0, 0, 0x40, 0, 64, 6, 0, 0]);
    let hosts = [[192, 0, 2, 1], [198, 51, 100, 1]];
    bytes.extend_from_slice(&hosts[usize::from(back)]);
    bytes.extend_from_slice(&hosts[usize::from(!back)]);
    bytes.extend_from_slice(payload);
    bytes
}

/// Between two ports of one host.
fn version6(payload: &[u8]) -> Vec<u8> {
    let mut bytes = vec![0x60, 0, 0, 0];
    bytes.extend_from_slice(&(payload.len() as u16).to_be_bytes());
    bytes.extend_from_slice(&[6, 64]);
    bytes.extend_from_slice(&[0; 32]);
    bytes.extend_from_slice(payload);
    bytes
}
