//! For tests: packets built by hand, and packets damaged by a seeded generator.

use std::net::{Ipv4Addr, SocketAddrV4};

/// The host that opens connections in these tests.
pub(super) const CLIENT: SocketAddrV4 = SocketAddrV4::new(Ipv4Addr::new(192, 0, 2, 1), 40_000);
/// The host that accepts them.
pub(super) const SERVER: SocketAddrV4 = SocketAddrV4::new(Ipv4Addr::new(198, 51, 100, 1), 7654);

/// A TCP segment, from the client to the server unless turned round.
#[derive(Debug, Clone)]
pub(super) struct Segment {
    from: SocketAddrV4,
    to: SocketAddrV4,
    seq: u32,
    ack: u32,
    flags: u8,
    window: u16,
    options: Vec<u8>,
    data: Vec<u8>,
}

impl Segment {
    pub(super) fn new(seq: u32, ack: u32) -> Self {
        Self {
            from: CLIENT,
            to: SERVER,
            seq,
            ack,
            flags: 0x10,
            window: 502,
            options: Vec::new(),
            data: Vec::new(),
        }
    }

    /// From the server to the client.
    pub(super) fn back(mut self) -> Self {
        std::mem::swap(&mut self.from, &mut self.to);
        self
    }

    pub(super) fn client_port(mut self, port: u16) -> Self {
        let client = if self.from.ip() == CLIENT.ip() {
            &mut self.from
        } else {
            &mut self.to
        };
        client.set_port(port);
        self
    }

    /// `S`, `F`, `R`, `P`, `A`, in any order; ACK alone where this is not called.
    pub(super) fn flags(mut self, letters: &str) -> Self {
        self.flags = letters
            .chars()
            .map(|letter| match letter {
                'F' => 1,
                'S' => 2,
                'R' => 4,
                'P' => 8,
                'A' => 16,
                _ => panic!("no flag has the letter {letter}"),
            })
            .sum();
        self
    }

    pub(super) fn window(mut self, window: u16) -> Self {
        self.window = window;
        self
    }

    /// Adds an option, or part of the padding, byte by byte.
    pub(super) fn option(mut self, bytes: &[u8]) -> Self {
        self.options.extend_from_slice(bytes);
        self
    }

    /// Adds a timestamps option.
    pub(super) fn timestamps(self, value: u32, echo: u32) -> Self {
        let mut option = vec![1, 1, 8, 10];
        option.extend_from_slice(&value.to_be_bytes());
        option.extend_from_slice(&echo.to_be_bytes());
        self.option(&option)
    }

    pub(super) fn data(mut self, data: &[u8]) -> Self {
        self.data = data.to_vec();
        self
    }

    /// The segment from its TCP header on.
    pub(super) fn tcp(&self) -> Vec<u8> {
        let mut options = self.options.clone();
        options.resize(options.len().next_multiple_of(4), 0);
        let mut bytes = Vec::new();
        bytes.extend_from_slice(&self.from.port().to_be_bytes());
        bytes.extend_from_slice(&self.to.port().to_be_bytes());
        bytes.extend_from_slice(&self.seq.to_be_bytes());
        bytes.extend_from_slice(&self.ack.to_be_bytes());
        bytes.push((((20 + options.len()) / 4) << 4) as u8);
        bytes.push(self.flags);
        bytes.extend_from_slice(&self.window.to_be_bytes());
        bytes.extend_from_slice(&[0; 4]);
        bytes.extend_from_slice(&options);
        bytes.extend_from_slice(&self.data);
        bytes
    }

    /// The whole packet.
    pub(super) fn packet(&self) -> Vec<u8> {
        packet(*self.from.ip(), *self.to.ip(), 6, &self.tcp())
    }
}

/// An IPv4 packet from the client to the server.
pub(super) fn ip(protocol: u8, payload: &[u8]) -> Vec<u8> {
    packet(*CLIENT.ip(), *SERVER.ip(), protocol, payload)
}

fn packet(from: Ipv4Addr, to: Ipv4Addr, protocol: u8, payload: &[u8]) -> Vec<u8> {
    let length = 20 + payload.len() as u16;
    let mut bytes = vec![0x45, 0];
    bytes.extend_from_slice(&length.to_be_bytes());
    bytes.extend_from_slice(&[0, 0, 0x40, 0, 64, protocol, 0, 0]);
    bytes.extend_from_slice(&from.octets());
    bytes.extend_from_slice(&to.octets());
    bytes.extend_from_slice(payload);
    bytes
}

/// SplitMix64: the same numbers on every machine and in every run.
#[derive(Debug)]
pub(super) struct Random(pub(super) u64);

impl Random {
    pub(super) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number below `limit`, which is not 0.
    pub(super) fn below(&mut self, limit: usize) -> usize {
        (self.next() % limit as u64) as usize
    }
}

/// Gives `check` that many byte strings: every beginning of `model`, then damaged copies of it and
/// wholly random ones.
pub(super) fn mutations(model: &[u8], rounds: usize, mut check: impl FnMut(&[u8])) {
    for end in 0..=model.len() {
        check(&model[..end]);
    }
    let mut random = Random(model.len() as u64);
    for round in 0..rounds {
        let mut bytes = model.to_vec();
        if round % 4 == 0 {
            let length = random.below(80);
            bytes = (0..length).map(|_| random.next() as u8).collect();
        } else {
            for _ in 0..=random.below(4) {
                let at = random.below(bytes.len());
                bytes[at] = random.next() as u8;
            }
            if round % 4 == 1 {
                bytes.truncate(random.below(bytes.len()));
            }
        }
        check(&bytes);
    }
}
