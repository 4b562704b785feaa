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

/// An IPv6 packet from 2001:db8::1 to 2001:db8::2.
pub(super) fn ipv6(next_header: u8, payload: &[u8]) -> Vec<u8> {
    let mut bytes = vec![0x60, 0, 0, 0];
    bytes.extend_from_slice(&(payload.len() as u16).to_be_bytes());
    bytes.extend_from_slice(&[next_header, 64]);
    for last in [1, 2] {
        let address = std::net::Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, last);
        bytes.extend_from_slice(&address.octets());
    }
    bytes.extend_from_slice(payload);
    bytes
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

/// A handshake message of TLS.
pub(super) fn handshake(kind: u8, body: &[u8]) -> Vec<u8> {
    let mut bytes = vec![kind];
    bytes.extend_from_slice(&(body.len() as u32).to_be_bytes()[1..]);
    bytes.extend_from_slice(body);
    bytes
}

/// A record of TLS.
pub(super) fn record(content: u8, fragment: &[u8]) -> Vec<u8> {
    let mut bytes = vec![content, 3, 3];
    bytes.extend_from_slice(&(fragment.len() as u16).to_be_bytes());
    bytes.extend_from_slice(fragment);
    bytes
}

/// A ClientHello with a session id and three cipher suites.
pub(super) fn client_hello(extensions: &[(u16, &[u8])]) -> Vec<u8> {
    let mut body = vec![3, 3];
    body.extend_from_slice(&[0x11; 32]);
    body.push(32);
    body.extend_from_slice(&[0x22; 32]);
    body.extend_from_slice(&[0, 6, 0x13, 0x01, 0xba, 0xba, 0x12, 0x34, 1, 0]);
    with_extensions(&mut body, extensions);
    handshake(1, &body)
}

/// A ServerHello, or a HelloRetryRequest.
pub(super) fn server_hello(retry: bool, extensions: &[(u16, &[u8])]) -> Vec<u8> {
    let random = match retry {
        // SHA-256 of "HelloRetryRequest".
        true => "cf21ad74e59a6111be1d8c021e65b891c2a211167abb8c5e079e09e2c8a8339c",
        false => "00000000000000000000000000000000000000000000000000000000000000ff",
    };
    let mut body = vec![3, 3];
    body.extend(crate::event::from_hex(random).unwrap_or_default());
    body.extend_from_slice(&[0, 0x13, 0x02, 0]);
    with_extensions(&mut body, extensions);
    handshake(2, &body)
}

fn with_extensions(body: &mut Vec<u8>, extensions: &[(u16, &[u8])]) {
    if extensions.is_empty() {
        return;
    }
    let length: usize = extensions.iter().map(|(_, value)| 4 + value.len()).sum();
    body.extend_from_slice(&(length as u16).to_be_bytes());
    for (kind, value) in extensions {
        body.extend_from_slice(&kind.to_be_bytes());
        body.extend_from_slice(&(value.len() as u16).to_be_bytes());
        body.extend_from_slice(value);
    }
}

/// A frame of HTTP/2.
pub(super) fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let mut bytes = (payload.len() as u32).to_be_bytes()[1..].to_vec();
    bytes.extend_from_slice(&[kind, flags]);
    bytes.extend_from_slice(&stream.to_be_bytes());
    bytes.extend_from_slice(payload);
    bytes
}

/// What was sent by whom, in order: 0 is the client, 1 the server.
pub(super) type Talk = Vec<(usize, Vec<u8>)>;

/// An exchange over HTTP/1.1 with bodies of every framing.
pub(super) fn http1_talk() -> Talk {
    let text = |text: &str| text.replace('\n', "\r\n").into_bytes();
    vec![
        (0, text("GET /1 HTTP/1.1\nHost: a\n\n")),
        (1, text("HTTP/1.1 200 OK\nContent-Length: 5\n\nhello")),
        (
            0,
            text("POST /2 HTTP/1.1\nHost: a\nContent-Length: 300\n\n"),
        ),
        (0, vec![b'x'; 300]),
        (1, text("HTTP/1.1 100 Continue\n\n")),
        (
            1,
            text(
                "HTTP/1.1 200 OK\nTransfer-Encoding: chunked\n\n3\nabc\n10;a=b\n0123456789abcdef\n0\nT: 1\n\n",
            ),
        ),
        (
            0,
            text("HEAD /3 HTTP/1.1\nHost: a\n\nGET /4 HTTP/1.1\nHost: a\n\n"),
        ),
        (1, text("HTTP/1.1 200 OK\nContent-Length: 999\n\n")),
        (
            1,
            text("HTTP/1.1 200 OK\nConnection: close\n\nuntil the end"),
        ),
    ]
}

/// An upgrade to WebSocket, frames both ways, and the closing handshake.
pub(super) fn websocket_talk() -> Talk {
    let text = |text: &str| text.replace('\n', "\r\n").into_bytes();
    let mut long = vec![0x82, 126, 1, 0];
    long.extend_from_slice(&[7; 256]);
    vec![
        (
            0,
            text("GET /chat HTTP/1.1\nHost: a\nUpgrade: websocket\nConnection: Upgrade\n\n"),
        ),
        (
            1,
            text("HTTP/1.1 101 Switching Protocols\nUpgrade: websocket\nConnection: Upgrade\n\n"),
        ),
        (0, masked(0x81, b"Hello")),
        (1, b"\x81\x05Hello".to_vec()),
        (1, long),
        (1, b"\x89\x02hi".to_vec()),
        (0, masked(0x8a, b"hi")),
        (0, masked(0x88, b"\x03\xe8bye")),
        (1, b"\x88\x02\x03\xe8".to_vec()),
    ]
}

/// A WebSocket frame of at most 125 bytes, masked as a client's are.
pub(super) fn masked(first: u8, payload: &[u8]) -> Vec<u8> {
    let mask = [0x37, 0xfa, 0x21, 0x3d];
    let mut bytes = vec![first, 0x80 | payload.len() as u8];
    bytes.extend_from_slice(&mask);
    bytes.extend(
        payload
            .iter()
            .zip(mask.iter().cycle())
            .map(|(byte, mask)| byte ^ mask),
    );
    bytes
}

/// Requests over HTTP/2 with prior knowledge; header blocks are those of RFC 7541, C.4 and C.6.
pub(super) fn http2_talk() -> Talk {
    let hex = |hex: &str| crate::event::from_hex(&hex.replace(' ', "")).unwrap_or_default();
    let first = hex("8286 8441 8cf1 e3c2 e5f2 3a6b a0ab 90f4 ff");
    let second = hex("8286 84be 5886 a8eb 1064 9cbf");
    let response = hex(
        "4882 6402 5885 aec3 771a 4b61 96d0 7abe 9410 54d4 44a8 2005 9504 0b81 66e0 \
                        82a6 2d1b ff6e 919d 29ad 1718 63c7 8f0b 97c8 e9ae 82ae 43d3",
    );
    let again = hex("4883 640e ffc1 c0bf");
    let mut client = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec();
    client.extend(frame(4, 0, 0, &[0, 2, 0, 0, 0, 0]));
    vec![
        (0, client),
        (1, frame(4, 0, 0, &[0, 3, 0, 0, 0, 100])),
        (0, frame(1, 5, 1, &first)),
        (0, frame(4, 1, 0, &[])),
        (
            1,
            [frame(1, 4, 1, &response), frame(0, 1, 1, &[b'd'; 120])].concat(),
        ),
        // The second request's block comes in two parts.
        (
            0,
            [frame(1, 0, 3, &second[..4]), frame(9, 4, 3, &second[4..])].concat(),
        ),
        (
            0,
            [frame(0, 8, 3, b"\x02abc\0\0"), frame(0, 1, 3, b"")].concat(),
        ),
        (1, frame(8, 0, 0, &[0, 0, 0, 5])),
        (1, frame(1, 5, 3, &again)),
        (0, frame(6, 0, 0, b"12345678")),
        (1, frame(6, 1, 0, b"12345678")),
        (0, frame(3, 0, 5, &[0, 0, 0, 8])),
        (1, frame(7, 0, 0, b"\0\0\0\x03\0\0\0\0bye")),
    ]
}

/// A handshake of TLS 1.3 with a HelloRetryRequest, and what follows it.
pub(super) fn tls13_talk() -> Talk {
    let versions: (u16, &[u8]) = (43, &[2, 3, 4]);
    let hello = client_hello(&[(0, b"\x00\x04\x00\x00\x01a"), versions]);
    let (begin, end) = hello.split_at(50);
    vec![
        // One message in two records.
        (0, [record(22, begin), record(22, end)].concat()),
        (
            1,
            record(22, &server_hello(true, &[(43, &[3, 4]), (51, &[0, 23])])),
        ),
        (1, record(20, &[1])),
        (0, record(20, &[1])),
        (0, record(22, &hello)),
        (1, record(22, &server_hello(false, &[(43, &[3, 4])]))),
        (1, record(23, &[0xaa; 900])),
        (0, record(23, &[0xbb; 58])),
        (0, record(23, b"")),
    ]
}

/// A handshake of TLS 1.2, a fatal alert in the clear left out.
pub(super) fn tls12_talk() -> Talk {
    let chain = handshake(11, &[0, 0, 9, 0, 0, 1, 7, 0, 0, 2, 8, 8]);
    let flight = [server_hello(false, &[]), chain, handshake(14, &[])].concat();
    vec![
        (0, record(22, &client_hello(&[]))),
        // Several messages in one record.
        (1, record(22, &flight)),
        (0, record(22, &handshake(16, &[9; 33]))),
        (0, record(20, &[1])),
        (0, record(22, &[0xcc; 40])),
        (1, record(22, &handshake(4, &[0, 0, 0, 60, 0, 2, 1, 2]))),
        (1, record(20, &[1])),
        (1, record(22, &[0xcc; 40])),
        (0, record(23, &[0xdd; 100])),
        (1, record(21, &[0xee; 26])),
    ]
}
