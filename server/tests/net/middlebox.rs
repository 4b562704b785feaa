//! Middleboxes: when they forget a connection, and what each application then sees.

use std::{collections::BTreeSet, time::Duration};

use linger::{
    endpoints::{Connection, KeepAlive, ReadOutcome, errno_name},
    lab::{Lab, LabError, Plan},
};
use linger_shared::{
    event::{Fact, FlowState, HostName, Mode},
    middlebox::{Expiry, Kind, Middlebox, NAT_ADDRESS},
    protocol::RunState,
};

use crate::observed::{Observed, assert_sound, observe_own};

const SECOND: u64 = 1_000_000;

/// How long an established connection is remembered in these runs, in microseconds.
const IDLE_US: u64 = 700_000;

/// 5 ms each way, with a box in the middle.
fn plan(kind: Kind, expiry: Expiry) -> Plan {
    Plan {
        middlebox: Some(Middlebox::new(kind, IDLE_US).expiring(expiry)),
        ..Plan::symmetric(5_000, 8 * SECOND)
    }
}

/// A connection that has exchanged a greeting, so that neither end waits for an ACK.
async fn connected(
    lab: &Lab,
    keepalive: Option<KeepAlive>,
) -> Result<(Connection, Connection), LabError> {
    let listener = lab.server().listen(7654).await?;
    let (mut client, mut server, _) = Connection::pair(&lab.client(), &listener, keepalive).await?;
    client.write(b"hello").await?;
    server.read_exactly(5).await?;
    server.write(b"hello").await?;
    client.read_exactly(5).await?;
    Ok((client, server))
}

fn told(outcome: Option<ReadOutcome>) -> String {
    match outcome {
        None => "nothing".to_owned(),
        Some(ReadOutcome::End) => "end of stream".to_owned(),
        Some(ReadOutcome::Data(bytes)) => String::from_utf8_lossy(&bytes).into_owned(),
        Some(ReadOutcome::Failed(error)) => errno_name(&error),
    }
}

/// What the script remarked; the first remark introduces the box.
fn remarks(run: &Observed) -> Vec<&str> {
    run.events
        .iter()
        .filter_map(|event| match &event.fact {
            Fact::Remark { text } => Some(text.as_str()),
            _ => None,
        })
        .collect()
}

/// What the box said of flows, and when.
fn flows(run: &Observed) -> Vec<(u64, FlowState)> {
    run.events
        .iter()
        .filter_map(|event| match &event.fact {
            Fact::Flow { state, .. } => Some((event.at_us, *state)),
            _ => None,
        })
        .collect()
}

/// Asserts that the one flow was forgotten right at its limit after its last packet.
fn assert_expired_at_its_limit(run: &Observed) {
    let [(_, FlowState::Opened), (expired_us, FlowState::Expired)] = flows(run)[..] else {
        panic!("{:?}", flows(run))
    };
    let last_us = run
        .departures()
        .filter(|(event, packet)| event.at_us < expired_us && packet.origin.is_none())
        .map(|(event, _)| event.at_us)
        .last()
        .expect("packets departed");
    // Both are stamps of one clock, cut to microseconds.
    assert!(
        (expired_us - last_us).abs_diff(IDLE_US) <= 1,
        "forgotten {} us after the last packet",
        expired_us - last_us
    );
}

/// What each application reads after the limit; `speaks` says whether the client writes first.
async fn after_the_limit(kind: Kind, expiry: Expiry, speaks: bool) -> Observed {
    let run = observe_own(Mode::Packets, plan(kind, expiry), move |lab| {
        Box::pin(async move {
            let (mut client, mut server) = connected(lab, None).await?;
            if speaks {
                tokio::time::sleep(Duration::from_micros(IDLE_US + 300_000)).await;
                client.write(b"still there?").await?;
            }
            let patience = Duration::from_micros(2 * IDLE_US);
            let (near, far) =
                tokio::join!(client.read_within(patience), server.read_within(patience));
            lab.remark(&format!("client: {}", told(near)));
            lab.remark(&format!("server: {}", told(far)));
            if expiry == Expiry::FinToBoth {
                client.close();
                server.close();
                lab.until_closed(Duration::from_secs(3)).await;
            }
            Ok(())
        })
    })
    .await;
    assert_eq!(run.state, RunState::Finished, "{:?}", run.events.last());
    assert_sound(&run);
    assert_expired_at_its_limit(&run);
    run
}

#[tokio::test]
async fn a_silent_box_leaves_the_client_to_its_retransmissions() {
    let run = after_the_limit(Kind::Firewall, Expiry::Silence, true).await;
    assert_eq!(remarks(&run)[1..], ["client: nothing", "server: nothing"]);
    let dropped = run.events.iter().filter(|event| {
        matches!(&event.fact, Fact::PacketDropped { rule, reason, .. }
            if rule == "firewall" && reason == "no entry")
    });
    // The write and at least two retransmissions, 0.2 s and 0.6 s after it.
    assert!(dropped.count() >= 3);
}

#[tokio::test]
async fn a_box_that_answers_tells_whoever_speaks_and_nobody_else() {
    let run = after_the_limit(Kind::Firewall, Expiry::RstOnNextPacket, true).await;
    assert_eq!(
        remarks(&run)[1..],
        ["client: ECONNRESET", "server: nothing"]
    );
}

#[tokio::test]
async fn a_box_that_resets_tells_both_at_the_limit() {
    let run = after_the_limit(Kind::Firewall, Expiry::RstToBoth, false).await;
    assert_eq!(
        remarks(&run)[1..],
        ["client: ECONNRESET", "server: ECONNRESET"]
    );
    let (expired_us, _) = flows(&run)[1];
    let resets: Vec<_> = run
        .departures()
        .filter(|(_, packet)| packet.origin.is_some())
        .map(|(event, packet)| (packet.from, packet.summary.as_str(), event.at_us))
        .collect();
    assert_eq!(resets.len(), 2, "{resets:?}");
    for (_, summary, at_us) in resets {
        assert_eq!(summary, "RST");
        // A busy machine may wake the wire late.
        assert!(at_us >= expired_us && at_us < expired_us + 100_000);
    }
}

#[tokio::test]
async fn a_box_that_closes_lets_both_end_in_order() {
    let run = after_the_limit(Kind::Firewall, Expiry::FinToBoth, false).await;
    assert_eq!(
        remarks(&run)[1..],
        ["client: end of stream", "server: end of stream"]
    );
    assert!(
        !run.packets().iter().any(|packet| packet.contains("RST")),
        "{:?}",
        run.packets()
    );
    // The box acknowledged both FINs, so that neither kernel had to repeat its own.
    for host in [HostName::Client, HostName::Server] {
        assert!(
            run.states(host)
                .ends_with(&[linger_shared::event::TcpState::Closed])
        );
    }
}

#[tokio::test]
async fn keepalive_shorter_than_the_limit_keeps_the_connection() {
    let plan = Plan {
        middlebox: Some(Middlebox::new(Kind::Firewall, 1_600_000)),
        ..Plan::symmetric(5_000, 8 * SECOND)
    };
    let run = observe_own(Mode::Packets, plan, |lab| {
        Box::pin(async move {
            let keepalive = KeepAlive {
                idle_us: SECOND,
                interval_us: SECOND,
                count: 3,
            };
            let (mut client, mut server) = connected(lab, Some(keepalive)).await?;
            tokio::time::sleep(Duration::from_millis(3_600)).await;
            client.write(b"still there?").await?;
            server.read_exactly(12).await?;
            Ok(())
        })
    })
    .await;
    assert_eq!(run.state, RunState::Finished, "{:?}", run.events.last());
    assert_sound(&run);
    let states: Vec<FlowState> = flows(&run).into_iter().map(|(_, state)| state).collect();
    assert_eq!(states, [FlowState::Opened]);
    assert!(run.verdict().counts["keepalive_probes"] >= 3);
}

#[tokio::test]
async fn behind_a_nat_either_end_learns_of_a_small_mtu_and_doubles_stay_with_their_connection() {
    let mut plan = plan(Kind::Nat, Expiry::Silence);
    let link = &mut plan.links[0];
    for conditions in [&mut link.there, &mut link.back] {
        conditions.mtu = 1_000;
        conditions.duplicate = 0.2;
    }
    let run = observe_own(Mode::Packets, plan, |lab| {
        Box::pin(async move {
            let (mut client, mut server) = connected(lab, None).await?;
            let bulk = vec![b'x'; 20_000];
            client.write(&bulk).await?;
            assert_eq!(server.read_exactly(bulk.len()).await?, bulk);
            server.write(&bulk).await?;
            assert_eq!(client.read_exactly(bulk.len()).await?, bulk);
            client.close();
            server.close();
            lab.until_closed(Duration::from_secs(2)).await;
            Ok(())
        })
    })
    .await;
    // A sender that never learnt it would send its first packet again and again.
    assert_eq!(run.state, RunState::Finished, "{:?}", run.events.last());
    assert_sound(&run);
    let made_by = |rule: &str, from: HostName| {
        let from = run
            .departures()
            .filter(move |(_, packet)| packet.from == from);
        from.filter(|(_, packet)| {
            packet
                .origin
                .as_ref()
                .is_some_and(|origin| origin.rule == rule)
        })
        .count()
    };
    for host in [HostName::Client, HostName::Server] {
        assert!(made_by("mtu", host) > 0, "in the name of the {host}");
        assert!(made_by("duplicate", host) > 0, "of the {host}");
    }
    let connections: BTreeSet<u32> = run
        .departures()
        .filter_map(|(_, packet)| Some(packet.tcp.as_ref()?.connection))
        .collect();
    assert_eq!(connections.len(), 1, "{connections:?}");
}

#[tokio::test]
async fn nobody_reaches_the_inside_unasked() {
    let run = observe_own(
        Mode::Packets,
        plan(Kind::Firewall, Expiry::Silence),
        |lab| {
            Box::pin(async move {
                let listener = lab.client().listen(7654).await?;
                let server = lab.server();
                let dialled = Connection::open(&server, listener.address(), None);
                let within = Duration::from_millis(500);
                assert!(tokio::time::timeout(within, dialled).await.is_err());
                Ok(())
            })
        },
    )
    .await;
    assert_eq!(run.state, RunState::Finished, "{:?}", run.events.last());
    assert!(run.arrivals().is_empty());
    assert_eq!(flows(&run), []);
}

#[tokio::test]
async fn a_nat_carries_a_connection_both_ways_and_the_record_follows_it_as_one() {
    let run = observe_own(Mode::Packets, plan(Kind::Nat, Expiry::RstToBoth), |lab| {
        Box::pin(async move {
            let (mut client, mut server) = connected(lab, None).await?;
            let peer = server.remote().expect("it is connected");
            lab.remark(&format!("the server's peer is {}", peer.ip()));
            // Larger than a packet, either way.
            let bulk = vec![b'x'; 100_000];
            client.write(&bulk).await?;
            assert_eq!(server.read_exactly(bulk.len()).await?, bulk);
            server.write(&bulk).await?;
            assert_eq!(client.read_exactly(bulk.len()).await?, bulk);
            let patience = Duration::from_micros(3 * IDLE_US);
            let (near, far) =
                tokio::join!(client.read_within(patience), server.read_within(patience));
            lab.remark(&format!("client: {}", told(near)));
            lab.remark(&format!("server: {}", told(far)));
            Ok(())
        })
    })
    .await;
    assert_eq!(run.state, RunState::Finished, "{:?}", run.events.last());
    assert_sound(&run);
    assert_eq!(
        remarks(&run)[1..],
        [
            format!("the server's peer is {NAT_ADDRESS}").as_str(),
            "client: ECONNRESET",
            "server: ECONNRESET"
        ]
    );
    assert_expired_at_its_limit(&run);
    assert_eq!(run.verdict().counts["connections"], 1);
    for (_, packet) in run.departures() {
        let tcp = packet.tcp.as_ref().expect("only TCP passes here");
        assert_eq!(tcp.connection, 0, "{}", packet.summary);
        let inside = [tcp.src.ip(), tcp.dst.ip()].map(|ip| ip.to_string());
        assert!(inside.contains(&"192.0.2.1".to_owned()), "{inside:?}");
        let made_for_the_inside = packet.origin.is_some() && packet.from == HostName::Server;
        assert_eq!(packet.rewritten.is_none(), made_for_the_inside);
    }
    assert!(run.events.iter().any(|event| matches!(
        &event.fact,
        Fact::Flow { middlebox, state: FlowState::Opened, mapped: Some(mapped), .. }
            if middlebox == "nat" && mapped.ip() == NAT_ADDRESS
    )));
}
