//! What hosts send while they are measured.

use std::{
    net::UdpSocket,
    thread,
    time::{Duration, Instant},
};

use crate::ground::Ground;

/// Packets of one flood: enough for a steady state, few enough to keep every one in memory.
pub(crate) const FLOOD: u64 = 50_000;

/// Bytes of payload in a flooded packet: with IP and UDP headers, an MTU of 1,500.
const PAYLOAD: usize = 1_472;

/// How many packets may be under way unanswered in a flood: as many as a socket takes whose buffer
/// is as large as an ordinary process may make it (`net.core.rmem_max`, 208 KiB by default, of
/// which twice is given, and a packet of this size counts up to 4.3 KB).
const WINDOW: u64 = 96;

/// What the buffer is asked to be; the kernel gives less.
const BUFFER: usize = 1 << 20;

/// Answers every packet until an empty one comes.
pub(crate) fn echo(server: UdpSocket) -> thread::JoinHandle<()> {
    thread::spawn(move || {
        let mut buffer = [0; 2_048];
        while let Ok(length) = server.recv(&mut buffer) {
            if length == 0 {
                return;
            }
            server.send(&buffer[..length]).expect("an answer is sent");
        }
    })
}

/// Tells the echo to end.
pub(crate) fn stop(client: &UdpSocket) {
    client.send(&[]).expect("the last packet is sent");
}

/// A packet there and back.
pub(crate) fn ping(client: &UdpSocket) {
    let mut buffer = [0; 64];
    client.send(b"ping").expect("a ping is sent");
    client.recv(&mut buffer).expect("a ping is answered");
}

/// Sends [`FLOOD`] packets one way, at most [`WINDOW`] unacknowledged; the time until the last one
/// was read.
pub(crate) fn flood(ground: &Ground) -> Duration {
    let (client, server) = ground.sockets();
    socket2::SockRef::from(&server)
        .set_recv_buffer_size(BUFFER)
        .expect("a buffer can be larger");
    let reader = thread::spawn(move || {
        let mut buffer = [0; 2_048];
        server.recv(&mut buffer).expect("the first packet comes");
        server.send(&[1]).expect("it is answered");
        for number in 1..=FLOOD {
            server.recv(&mut buffer).expect("no packet is lost");
            if number % (WINDOW / 2) == 0 || number == FLOOD {
                server.send(&[1]).expect("an acknowledgment is sent");
            }
        }
    });
    let payload = [0x5a; PAYLOAD];
    let mut acknowledgment = [0; 8];
    // A veth pair asks for the neighbour's address first, and keeps only so much until it knows it
    // (neigh/default/unres_qlen_bytes).
    client.send(&[0]).expect("a packet is sent");
    client.recv(&mut acknowledgment).expect("it is answered");
    let mut allowed = WINDOW;
    let began = Instant::now();
    for number in 0..FLOOD {
        if number == allowed {
            client
                .recv(&mut acknowledgment)
                .expect("the reader goes on");
            allowed += WINDOW / 2;
        }
        client.send(&payload).expect("a packet is sent");
    }
    reader.join().expect("the reader ends");
    began.elapsed()
}

/// Sends a small packet every `pause` on each of the grounds, and has it answered, for as long as
/// `lasting`. Ends when every answer had the time to come.
pub(crate) async fn chatter(grounds: &[Ground], pause: Duration, lasting: Duration) {
    let until = tokio::time::Instant::now() + lasting;
    let count = u32::try_from(grounds.len()).expect("fewer grounds than that");
    let mut talks = tokio::task::JoinSet::new();
    for (nth, ground) in (0..).zip(grounds) {
        let (client, server) = ground.sockets();
        let [client, server] = [client, server].map(|socket| {
            socket.set_nonblocking(true).expect("it can be");
            tokio::net::UdpSocket::from_std(socket).expect("the runtime takes it")
        });
        // Spread over the pause, as independent runs are.
        let first = tokio::time::Instant::now() + pause * nth / count;
        talks.spawn(async move {
            let answering = async {
                let mut buffer = [0; 64];
                while let Ok(length) = server.recv(&mut buffer).await {
                    server.send(&buffer[..length]).await.expect("an answer");
                }
            };
            let asking = async {
                let mut ticks = tokio::time::interval_at(first, pause);
                while ticks.tick().await < until {
                    client.send(b"still there?").await.expect("a question");
                }
            };
            tokio::select! {
                () = answering => {}
                () = asking => {}
            }
        });
    }
    while talks.join_next().await.is_some() {}
}
