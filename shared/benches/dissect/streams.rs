//! What is measured: packets as a run records them, one stream for each protocol.

/// Payload of a full segment on a link with an MTU of 1,500 bytes and timestamps.
const SEGMENT: usize = 1_448;

/// A stream of packets.
pub(crate) struct Stream {
    /// What it carries.
    pub(crate) name: &'static str,
    /// What tshark calls the protocol.
    pub(crate) filter: &'static str,
    pub(crate) packets: Vec<Vec<u8>>,
}

impl Stream {
    /// Bytes on the wire, from the IP header on.
    pub(crate) fn bytes(&self) -> usize {
        self.packets.iter().map(Vec::len).sum()
    }
}

/// Segments of a connection to one port of the server.
#[derive(Clone, Copy)]
struct Connection {
    port: u16,
}

impl Connection {
    fn packet(self, from_server: bool, seq: u32, ack: u32, flags: u8, data: &[u8]) -> Vec<u8> {
        let hosts = [[192, 0, 2, 1], [198, 51, 100, 1]];
        let ports = [40_000_u16, self.port];
        let (from, to) = (usize::from(from_server), usize::from(!from_server));
        let mut bytes = vec![0x45, 0];
        bytes.extend_from_slice(&(52 + data.len() as u16).to_be_bytes());
        bytes.extend_from_slice(&[0, 0, 0x40, 0, 64, 6, 0, 0]);
        bytes.extend_from_slice(&hosts[from]);
        bytes.extend_from_slice(&hosts[to]);
        bytes.extend_from_slice(&ports[from].to_be_bytes());
        bytes.extend_from_slice(&ports[to].to_be_bytes());
        bytes.extend_from_slice(&seq.to_be_bytes());
        bytes.extend_from_slice(&ack.to_be_bytes());
        bytes.extend_from_slice(&[0x80, flags, 1, 0xf6, 0, 0, 0, 0]);
        bytes.extend_from_slice(&[1, 1, 8, 10, 0, 0, 0, 1, 0, 0, 0, 1]);
        bytes.extend_from_slice(data);
        bytes
    }

    /// The packets of a connection in which the client sends `request` and the server `response`.
    fn stream(self, request: &[u8], response: &[u8]) -> Vec<Vec<u8>> {
        let mut packets = vec![
            self.packet(false, 0, 0, 2, b""),
            self.packet(true, 0, 1, 18, b""),
            self.packet(false, 1, 1, 16, b""),
            self.packet(false, 1, 1, 24, request),
        ];
        let acked = 1 + request.len() as u32;
        let mut sent = 1_u32;
        for segment in response.chunks(SEGMENT) {
            packets.push(self.packet(true, sent, acked, 24, segment));
            sent = sent.wrapping_add(segment.len() as u32);
            packets.push(self.packet(false, acked, sent, 16, b""));
        }
        packets
    }
}

fn repeated(first: &[u8], unit: &[u8], volume: usize) -> Vec<u8> {
    let mut bytes = first.to_vec();
    while bytes.len() < volume {
        bytes.extend_from_slice(unit);
    }
    bytes
}

/// Responses over HTTP/2, each on a stream of its own: HEADERS with `:status: 200` and a literal,
/// then DATA of 1,000 bytes.
fn http2(settings: &[u8], volume: usize) -> Vec<u8> {
    let mut bytes = settings.to_vec();
    let mut stream = 1_u32;
    while bytes.len() < volume {
        bytes.extend_from_slice(b"\0\0\x0e\x01\x04");
        bytes.extend_from_slice(&stream.to_be_bytes());
        bytes.extend_from_slice(b"\x88\0\x04name\x06value1");
        bytes.extend_from_slice(b"\0\x03\xe8\0\x01");
        bytes.extend_from_slice(&stream.to_be_bytes());
        bytes.extend_from_slice(&[b'd'; 1_000]);
        stream += 2;
    }
    bytes
}

/// A stream of every protocol, each of that many bytes of payload.
///
/// Ports are those at which tshark looks for the protocol: it goes by them first.
pub(crate) fn streams(volume: usize) -> Vec<Stream> {
    let request = b"GET / HTTP/1.1\r\nHost: example.org\r\nAccept: */*\r\n\r\n";
    let responses = b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 900\r\n\r\n";
    let responses = [&responses[..], &[b'x'; 900]].concat();

    let mut record = vec![23, 3, 3, 0x40, 0];
    record.extend_from_slice(&[0xaa; 16_384]);

    let preface = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0";
    let settings = b"\0\0\0\x04\0\0\0\0\0";

    let upgrade = b"GET / HTTP/1.1\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n";
    let switching = b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n\r\n";
    let mut text = vec![0x81, 100];
    text.extend_from_slice(&[b't'; 100]);

    let mut records = b"\x16\x03\x03\0\x2c\x02\0\0\x28\x03\x03".to_vec();
    records.extend_from_slice(&[7; 32]);
    records.extend_from_slice(b"\0\x13\x01\0\0\0");
    let (http, https) = (Connection { port: 80 }, Connection { port: 443 });
    let raw = Connection { port: 7_654 };
    vec![
        Stream {
            name: "no known protocol",
            filter: "tcp",
            packets: raw.stream(b"send\n", &vec![0xff; volume]),
        },
        Stream {
            name: "TLS records of 16 KiB",
            filter: "tls",
            packets: https.stream(b"", &repeated(&records, &record, volume)),
        },
        Stream {
            name: "HTTP/1 responses of 900 bytes",
            filter: "http",
            packets: http.stream(request, &repeated(b"", &responses, volume)),
        },
        Stream {
            name: "HTTP/2 frames",
            filter: "http2",
            packets: http.stream(preface, &http2(settings, volume)),
        },
        Stream {
            name: "WebSocket frames of 100 bytes",
            filter: "websocket",
            packets: http.stream(upgrade, &repeated(switching, &text, volume)),
        },
    ]
}
