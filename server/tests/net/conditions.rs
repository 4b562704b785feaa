//! What a link's conditions do to packets of real kernels.
//!
//! Lower bounds of times are exact: nothing is faster than its link. Upper bounds leave room for a
//! machine that is busy with something else.

use std::{
    collections::BTreeSet,
    io::{ErrorKind, Read, Write},
    net::{TcpListener, TcpStream},
    thread,
    time::Duration,
};

use linger_shared::{
    event::HostName::{Client, Proxy, Server},
    link::Conditions,
    rule::{Act, Match, Refusal, RuleSpec},
};

use crate::joined::{Joined, address, host};

const MILLISECOND: Duration = Duration::from_millis(1);

#[test]
fn jitter_spreads_delays_and_keeps_the_order() {
    let joined = Joined::one_way(
        Conditions {
            delay_us: 20_000,
            jitter_us: 5_000,
            ..Conditions::default()
        },
        1,
    );
    joined.send_numbered(200, 50, MILLISECOND * 2);
    let record = joined.record();
    let arrived = record.at_server();
    assert_eq!(arrived.len(), 200);
    assert!(arrived.is_sorted_by_key(|way| way.number()));
    let mut took: Vec<u64> = arrived.iter().map(|way| way.took_us()).collect();
    took.sort_unstable();
    assert!(took[0] >= 15_000, "{took:?}");
    // Keeping the order makes some wait for the one before.
    assert!((18_000..26_000).contains(&took[100]), "{took:?}");
    assert!(took[180] - took[20] > 3_000, "{took:?}");
}

#[test]
fn a_rate_spreads_a_burst_and_the_queue_drops_the_rest() {
    // 1,028 bytes take 8.224 ms; one packet under way and 15 that wait make 16,448 bytes.
    let joined = Joined::one_way(
        Conditions {
            rate_bps: Some(1_000_000),
            queue_bytes: 16_448,
            ..Conditions::default()
        },
        1,
    );
    joined.send_numbered(40, 1_000, Duration::ZERO);
    let record = joined.record();
    let sent = record.from_client();
    let start = sent[0].departed_us;
    let dropped: Vec<_> = sent.iter().filter_map(|way| way.dropped.clone()).collect();
    let full = ("queue".to_owned(), "queue full".to_owned(), 0.0);
    assert!(
        dropped.iter().all(|dropped| *dropped == full),
        "{dropped:?}"
    );
    // Sending the burst takes time, during which a few more are carried.
    let arrived = record.at_server();
    assert!((16..30).contains(&arrived.len()), "{}", arrived.len());
    for (nth, way) in (1..).zip(&arrived) {
        assert!(way.ended_us - start >= nth * 8_224 - 1, "{nth}: {way:?}");
    }
    let last = arrived[arrived.len() - 1].ended_us - start;
    assert!(last < arrived.len() as u64 * 8_224 + 50_000, "{last}");
}

#[test]
fn the_seed_decides_which_packets_are_lost() {
    let lost = |seed| -> BTreeSet<u32> {
        let conditions = Conditions {
            loss: 0.3,
            ..Conditions::delay(2_000)
        };
        let joined = Joined::one_way(conditions, seed);
        joined.send_numbered(400, 50, Duration::from_micros(100));
        let record = joined.record();
        assert_eq!(record.from_client().len(), 400);
        let lost = record.0.iter().filter(|way| way.dropped.is_some());
        lost.map(|way| {
            let dropped = ("loss".to_owned(), "lost".to_owned(), 0.5);
            assert_eq!(way.dropped, Some(dropped));
            assert!(way.took_us() >= 1_000);
            way.number()
        })
        .collect()
    };
    let first = lost(7);
    // Five standard deviations around 120.
    assert!((74..=166).contains(&first.len()), "{}", first.len());
    assert_eq!(first, lost(7));
    assert_ne!(first, lost(8));
}

#[test]
fn a_duplicate_arrives_right_behind_and_says_whose_it_is() {
    let joined = Joined::one_way(
        Conditions {
            duplicate: 0.25,
            ..Conditions::delay(5_000)
        },
        3,
    );
    let server = joined.udp(Server);
    joined.send_numbered(200, 50, Duration::from_micros(200));
    joined.settle();
    server.set_nonblocking(true).expect("it can be");
    let mut buffer = [0; 64];
    let received = std::iter::from_fn(|| server.recv(&mut buffer).ok()).count();
    let record = joined.record();
    let arrived = record.at_server();
    assert_eq!(received, arrived.len());
    let doubles = arrived.windows(2).filter(|pair| {
        let [before, double] = pair else {
            return false;
        };
        let Some(origin) = &double.packet.origin else {
            return false;
        };
        assert_eq!((origin.rule.as_str(), origin.place), ("duplicate", 0.0));
        assert_eq!(origin.because_of, Some(before.packet.id));
        assert_eq!(double.packet.bytes, before.packet.bytes);
        true
    });
    let doubles = doubles.count();
    assert_eq!(received, 200 + doubles);
    assert!((20..=80).contains(&doubles), "{doubles}");
}

#[test]
fn some_packets_are_overtaken_and_none_is_missing() {
    let joined = Joined::one_way(
        Conditions {
            reorder: 0.2,
            ..Conditions::delay(5_000)
        },
        5,
    );
    joined.send_numbered(300, 50, MILLISECOND);
    let record = joined.record();
    let order: Vec<u32> = record.at_server().iter().map(|way| way.number()).collect();
    let overtaken = order.windows(2).filter(|pair| pair[0] > pair[1]).count();
    let all: BTreeSet<u32> = order.iter().copied().collect();
    assert_eq!((order.len(), all.len()), (300, 300));
    assert!((20..=90).contains(&overtaken), "{overtaken}: {order:?}");
    // Held back until the next one has passed, and no longer.
    let mut took: Vec<u64> = record.at_server().iter().map(|way| way.took_us()).collect();
    took.sort_unstable();
    assert!(
        took[0] >= 5_000 && took[299] < 5_000 + 50_000 + 30_000,
        "{took:?}"
    );
}

#[test]
fn a_packet_that_nobody_follows_is_held_back_for_a_bounded_time() {
    let joined = Joined::one_way(
        Conditions {
            reorder: 1.0,
            ..Conditions::default()
        },
        5,
    );
    joined.send_numbered(1, 50, Duration::ZERO);
    let record = joined.record();
    let took = record.at_server()[0].took_us();
    assert!((50_000..90_000).contains(&took), "{took}");
}

#[test]
fn tcp_learns_a_small_mtu_from_the_wires_answer() {
    let small = Conditions {
        mtu: 1_000,
        ..Conditions::delay(10_000)
    };
    let joined = Joined::new(
        &[Client, Server],
        &[
            (Client, Server, small),
            (Server, Client, Conditions::delay(10_000)),
        ],
        1,
        &[],
    );
    let listener = joined
        .on(Server, || TcpListener::bind((address(Server), 9_000)))
        .expect("a port to listen on");
    let mut client = joined
        .on(Client, || TcpStream::connect((address(Server), 9_000)))
        .expect("the connection opens");
    let reader = thread::spawn(move || {
        let (mut connection, _) = listener.accept().expect("a connection");
        let mut received = Vec::new();
        connection.read_to_end(&mut received).expect("all of it");
        received.len()
    });
    client.write_all(&[7; 20_000]).expect("it is sent");
    drop(client);
    assert_eq!(reader.join().expect("the reader ends"), 20_000);
    let record = joined.record();
    let too_large: Vec<_> = record
        .0
        .iter()
        .filter(|way| way.dropped_by() == Some("mtu"))
        .collect();
    assert!(!too_large.is_empty());
    for way in &too_large {
        assert!(way.packet.length > 1_000);
        assert_eq!(
            way.dropped,
            Some(("mtu".to_owned(), "larger than 1000 bytes".to_owned(), 0.5))
        );
        let message = record.0.iter().find(|answer| {
            let origin = answer.packet.origin.as_ref();
            origin.is_some_and(|origin| origin.because_of == Some(way.packet.id))
        });
        let message = message.expect("the sender is told");
        assert_eq!(message.made_by(), Some("mtu"));
        assert_eq!((message.packet.from, message.packet.to), (Server, Client));
        // Half-way there and half-way back.
        assert!(message.departed_us - way.departed_us >= 5_000);
        assert!(message.took_us() >= 4_990 && message.dropped.is_none());
    }
    let told_us = too_large[0].ended_us;
    let largest = record.at_server().iter().map(|way| way.packet.length).max();
    assert_eq!(largest, Some(1_000));
    let later = record
        .from_client()
        .into_iter()
        .filter(|way| way.departed_us > told_us + 15_000);
    assert!(later.clone().count() > 15);
    assert!(later.clone().all(|way| way.packet.length <= 1_000));
}

#[test]
fn what_may_be_taken_apart_arrives_in_pieces_and_is_whole_again() {
    let small = Conditions {
        mtu: 600,
        ..Conditions::default()
    };
    let joined = Joined::new(
        &[Client, Server],
        &[
            (Client, Server, small),
            (Server, Client, Conditions::default()),
        ],
        1,
        // No path MTU discovery: packets may be taken apart (ip-sysctl).
        &[("ip_no_pmtu_disc", "1")],
    );
    let server = joined.udp(Server);
    joined.send_numbered(1, 1_400, Duration::ZERO);
    let mut buffer = [0; 2_000];
    let length = server
        .recv(&mut buffer)
        .expect("the kernel puts it together");
    assert_eq!(length, 1_400);
    let record = joined.record();
    let whole = &record.from_client()[0];
    assert_eq!(
        whole.dropped,
        Some(("mtu".to_owned(), "in 3 fragments".to_owned(), 0.5))
    );
    let pieces = record.at_server();
    assert_eq!(pieces.len(), 3);
    assert!(pieces.iter().all(|piece| piece.made_by() == Some("mtu")));
    assert!(pieces.iter().all(|piece| piece.packet.length <= 600));
}

#[test]
fn a_third_host_is_reached_over_its_own_links_and_no_others() {
    let delay = |us| Conditions::delay(us);
    let joined = Joined::new(
        &[Client, Proxy, Server],
        &[
            (Client, Proxy, delay(3_000)),
            (Proxy, Client, delay(3_000)),
            (Proxy, Server, delay(9_000)),
            (Server, Proxy, delay(9_000)),
        ],
        1,
        &[],
    );
    let [client, proxy, server] = [Client, Proxy, Server].map(|host| joined.udp(host));
    let mut buffer = [0; 16];
    client.send_to(b"1", (address(Proxy), 9_000)).unwrap();
    proxy.recv(&mut buffer).expect("the proxy is reached");
    proxy.send_to(b"2", (address(Server), 9_000)).unwrap();
    server.recv(&mut buffer).expect("the server is reached");
    client.send_to(b"3", (address(Server), 9_000)).unwrap();
    client.send_to(b"4", ("203.0.113.77", 9_000)).unwrap();
    // Both of them have ended when a packet that was sent after them has arrived.
    client.send_to(b"5", (address(Proxy), 9_000)).unwrap();
    proxy.recv(&mut buffer).expect("the proxy is reached");
    let ways = joined.record().0;
    assert_eq!((ways[0].packet.from, ways[0].packet.to), (Client, Proxy));
    assert!((3_000..9_000).contains(&ways[0].took_us()), "{ways:?}");
    assert_eq!((ways[1].packet.from, ways[1].packet.to), (Proxy, Server));
    assert!(ways[1].took_us() >= 9_000, "{ways:?}");
    assert_eq!(ways[2].dropped_by(), Some("route"));
    assert_eq!(ways[3].dropped_by(), Some("address"));
}

#[test]
fn a_host_without_power_is_silent_and_another_takes_its_place() {
    let joined = Joined::one_way(Conditions::delay(5_000), 1);
    let client = joined.udp(Client);
    let to_server = (address(Server), 9_000);
    // On its way when the power goes.
    client.send_to(b"1", to_server).unwrap();
    let port = joined.link.unplug(Server).expect("the server is there");
    assert!(joined.link.unplug(Server).is_none());
    client.send_to(b"2", to_server).unwrap();
    joined.settle();
    drop(port);
    let (rebooted, port) = host(Server, &[]);
    let server = rebooted
        .run_blocking(|| std::net::UdpSocket::bind((address(Server), 9_000)))
        .unwrap()
        .unwrap();
    server
        .set_read_timeout(Some(Duration::from_secs(5)))
        .unwrap();
    joined.link.plug(port).expect("its place is free");
    client.send_to(b"3", to_server).unwrap();
    let mut buffer = [0; 16];
    let length = server.recv(&mut buffer).expect("the new server is reached");
    assert_eq!(&buffer[..length], b"3");
    let record = joined.record();
    let sent = record.from_client();
    let off = Some(("power".to_owned(), "host off".to_owned(), 1.0));
    assert_eq!(sent[0].dropped, off);
    assert_eq!(sent[1].dropped, off);
    assert!(sent[1].took_us() >= 5_000);
    assert_eq!(sent[2].dropped, None);
}

#[test]
fn a_host_that_the_link_has_no_place_for_is_not_plugged_in() {
    let joined = Joined::one_way(Conditions::default(), 1);
    let (_stranger, port) = host(Proxy, &[]);
    let error = joined.link.plug(port).expect_err("there is no place");
    assert!(error.to_string().contains("proxy"), "{error}");
}

#[test]
fn conditions_change_while_packets_move() {
    let joined = Joined::one_way(Conditions::delay(1_000), 1);
    let client = joined.udp(Client);
    let to_server = (address(Server), 9_000);
    client.send_to(b"1", to_server).unwrap();
    joined.settle();
    let change = |from, to, us| joined.link.set_conditions(from, to, Conditions::delay(us));
    change(Client, Server, 40_000).expect("there is such a direction");
    change(Client, Proxy, 0).expect_err("there is no such direction");
    client.send_to(b"2", to_server).unwrap();
    joined.settle();
    let record = joined.record();
    let sent = record.from_client();
    assert!((1_000..40_000).contains(&sent[0].took_us()));
    assert!(sent[1].took_us() >= 40_000);
}

#[test]
fn a_refusal_comes_from_the_place_of_the_rule() {
    let joined = Joined::new(
        &[Client, Server],
        &[
            (Client, Server, Conditions::delay(20_000)),
            (Server, Client, Conditions::delay(60_000)),
        ],
        1,
        &[],
    );
    let _armed = joined
        .rules
        .arm(RuleSpec {
            name: "closed".to_owned(),
            matches: Match::default(),
            act: Act::Reject {
                with: Refusal::PortUnreachable,
            },
            times: None,
        })
        .expect("the rule can be armed");
    let client = joined.udp(Client);
    client.connect((address(Server), 9_000)).unwrap();
    client.send(b"anybody there?").unwrap();
    let error = client.recv(&mut [0; 16]).expect_err("it is refused");
    assert_eq!(error.kind(), ErrorKind::ConnectionRefused);
    let ways = joined.record().0;
    let (_, _, place) = ways[0].dropped.clone().expect("the packet is dropped");
    let origin = ways[1].packet.origin.clone().expect("the wire has made it");
    assert_eq!(origin.because_of, Some(ways[0].packet.id));
    // The two meet: what the packet had behind it, the answer has before it.
    assert!((origin.place - (1.0 - place)).abs() < 1e-9);
    let there = (20_000.0 * place) as u64;
    let back = (60_000.0 * place) as u64;
    assert!(ways[1].departed_us - ways[0].departed_us >= there - 1);
    assert!(ways[1].ended_us - ways[0].departed_us >= there + back - 1);
    assert!(ways[1].ended_us - ways[0].departed_us < there + back + 15_000);
}

#[test]
fn a_rules_delay_holds_back_one_packet_and_not_those_behind_it() {
    let joined = Joined::one_way(Conditions::delay(5_000), 1);
    let armed = joined.rules.arm(RuleSpec {
        name: "slow".to_owned(),
        matches: Match::default(),
        act: Act::Delay { by_us: 30_000 },
        times: Some(1),
    });
    let _armed = armed.expect("the rule can be armed");
    joined.send_numbered(3, 50, MILLISECOND);
    let record = joined.record();
    let order: Vec<u32> = record.at_server().iter().map(|way| way.number()).collect();
    assert_eq!(order, [1, 2, 0]);
    assert!(record.from_client()[0].took_us() >= 35_000);
}
