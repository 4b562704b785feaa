//! Armed rules: what they do to packets, and what applications see of it.

use std::{sync::Arc, time::Duration};

use linger::{
    endpoints::{Connection, ReadOutcome, errno_name},
    lab::{Lab, LabError, Plan},
};
use linger_shared::{
    event::{Event, Fact, HostName, Mode, Role},
    protocol::{Action, RunState},
    rule::RuleSpec,
};

use crate::observed::{Observed, assert_sound, observe_own, observe_own_while};

const SECOND: u64 = 1_000_000;

/// 5 ms each way.
fn plan() -> Plan {
    Plan::symmetric(5_000, 5 * SECOND)
}

fn rule(text: &str) -> RuleSpec {
    text.parse()
        .unwrap_or_else(|error| panic!("{text}: {error}"))
}

/// A connection that has exchanged a greeting, so that neither end waits for an ACK.
async fn connected(lab: &Lab) -> Result<(Connection, Connection), LabError> {
    let listener = lab.server().listen(7654).await?;
    let (mut client, mut server, _) = Connection::pair(&lab.client(), &listener, None).await?;
    client.write(b"hello").await?;
    server.read_exactly(5).await?;
    server.write(b"hello").await?;
    client.read_exactly(5).await?;
    Ok((client, server))
}

/// What a read gave, in a word.
fn told(outcome: Option<ReadOutcome>) -> String {
    match outcome {
        None => "nothing".to_owned(),
        Some(ReadOutcome::End) => "end".to_owned(),
        Some(ReadOutcome::Data(bytes)) => String::from_utf8_lossy(&bytes).into_owned(),
        Some(ReadOutcome::Failed(error)) => errno_name(&error),
    }
}

/// What a script found out, as measurements cannot say it.
fn remarks(run: &Observed) -> Vec<&str> {
    run.events
        .iter()
        .filter_map(|event| match &event.fact {
            Fact::Remark { text } => Some(text.as_str()),
            _ => None,
        })
        .collect()
}

/// Whether each rule's event arms or disarms, and who did it.
fn rules(run: &Observed) -> Vec<(&str, HostName, bool, &str)> {
    run.events
        .iter()
        .filter_map(|event| match &event.fact {
            Fact::Rule {
                rule,
                from,
                active,
                by,
                ..
            } => Some((rule.as_str(), *from, *active, by.as_str())),
            _ => None,
        })
        .collect()
}

/// Packets that a rule has made: in whose name, what, and where.
fn made(run: &Observed) -> Vec<(HostName, &str, f64)> {
    run.departures()
        .filter_map(|(_, packet)| {
            let origin = packet.origin.as_ref()?;
            assert!(origin.because_of.is_some(), "it answers a packet");
            Some((packet.from, packet.summary.as_str(), origin.place))
        })
        .collect()
}

#[tokio::test]
async fn a_dropped_data_packet_is_sent_again() {
    let run = observe_own(Mode::Packets, plan(), |lab| {
        Box::pin(async move {
            let (mut client, mut server) = connected(lab).await?;
            let _rule = lab.arm(rule("drop next data from server"))?;
            server.write(b"again").await?;
            assert_eq!(client.read_exactly(5).await?, b"again");
            Ok(())
        })
    })
    .await;
    assert_eq!(run.state, RunState::Finished, "{:?}", run.events.last());
    assert_sound(&run);
    let dropped: Vec<(u64, &str, &str, f64)> = run
        .events
        .iter()
        .filter_map(|event| match &event.fact {
            Fact::PacketDropped {
                id,
                rule,
                reason,
                place,
            } => Some((*id, rule.as_str(), reason.as_str(), *place)),
            _ => None,
        })
        .collect();
    let [(lost, "drop-1", "dropped", 0.5)] = dropped[..] else {
        panic!("{dropped:?}")
    };
    let again = run
        .departures()
        .find(|(_, packet)| {
            let role = packet.tcp.as_ref().map(|tcp| tcp.role);
            matches!(role, Some(Role::Retransmission { nth: 1 }))
        })
        .expect("it was sent again")
        .1;
    assert_eq!(again.from, HostName::Server);
    assert!(again.id > lost && run.arrivals().contains_key(&again.id));
    assert_eq!(
        rules(&run),
        [
            ("drop-1", HostName::Server, true, "script"),
            ("drop-1", HostName::Server, false, "script")
        ]
    );
}

#[tokio::test]
async fn a_rejected_syn_fails_the_connect_as_its_refusal_says() {
    let run = observe_own(Mode::Packets, plan(), |lab| {
        Box::pin(async move {
            let listener = lab.server().listen(7654).await?;
            for refusal in [
                "rst",
                "net-unreachable",
                "host-unreachable",
                "port-unreachable",
                "admin-prohibited",
            ] {
                let _rule = lab.arm(rule(&format!("reject {refusal} next syn from client")))?;
                let opened = Connection::open(&lab.client(), listener.address(), None).await?;
                let error = opened.err().expect("a rejected SYN opens nothing");
                lab.remark(&format!("{refusal}: {}", errno_name(&error)));
            }
            Ok(())
        })
    })
    .await;
    assert_eq!(run.state, RunState::Finished, "{:?}", run.events.last());
    assert_sound(&run);
    // ICMP's codes as errors: icmp_err_convert, net/ipv4/icmp.c.
    assert_eq!(
        remarks(&run),
        [
            "rst: ECONNREFUSED",
            "net-unreachable: ENETUNREACH",
            "host-unreachable: EHOSTUNREACH",
            "port-unreachable: ECONNREFUSED",
            "admin-prohibited: EHOSTUNREACH"
        ]
    );
    let said: Vec<(HostName, &str, f64)> = made(&run);
    assert_eq!(
        said.iter().map(|(_, what, _)| *what).collect::<Vec<_>>(),
        [
            "RST, ACK",
            "ICMP network unreachable",
            "ICMP host unreachable",
            "ICMP port unreachable",
            "ICMP administratively prohibited"
        ]
    );
    assert!(
        said.iter()
            .all(|(from, _, place)| (*from, *place) == (HostName::Server, 0.5))
    );
}

#[tokio::test]
async fn an_rst_into_a_connection_ends_it_for_whom_it_reaches() {
    let run = observe_own(Mode::Packets, plan(), |lab| {
        Box::pin(async move {
            let (mut client, mut server) = connected(lab).await?;
            let _rule = lab.arm(rule("reject rst-both next data from client"))?;
            client.write(b"hello").await?;
            let patience = Duration::from_secs(3);
            lab.remark(&format!(
                "client: {}",
                told(client.read_within(patience).await)
            ));
            lab.remark(&format!(
                "server: {}",
                told(server.read_within(patience).await)
            ));
            Ok(())
        })
    })
    .await;
    assert_eq!(run.state, RunState::Finished, "{:?}", run.events.last());
    assert_sound(&run);
    assert_eq!(remarks(&run), ["client: ECONNRESET", "server: ECONNRESET"]);
    assert_eq!(made(&run).len(), 2);
}

#[tokio::test]
async fn a_forged_answer_is_read_as_if_the_peer_had_sent_it() {
    let run = observe_own(Mode::Packets, plan(), |lab| {
        Box::pin(async move {
            let (mut client, mut server) = connected(lab).await?;
            let _rule = lab.arm(rule(
                r#"answer "HTTP/1.1 403 Forbidden\r\n\r\n" next data from client containing "GET /""#,
            ))?;
            client.write(b"GET / HTTP/1.1\r\nHost: server\r\n\r\n").await?;
            let patience = Duration::from_secs(3);
            let told = told(client.read_within(patience).await);
            lab.remark(&format!("client: {}", told.trim_end()));
            // The request itself goes on.
            server.read_exactly(10).await?;
            Ok(())
        })
    })
    .await;
    assert_eq!(run.state, RunState::Finished, "{:?}", run.events.last());
    assert_eq!(remarks(&run), ["client: HTTP/1.1 403 Forbidden"]);
    assert_eq!(
        made(&run),
        [(HostName::Server, "HTTP/1.1 403 Forbidden", 0.5)]
    );
}

#[tokio::test]
async fn a_delayed_packet_arrives_that_much_later_and_the_next_does_not() {
    let run = observe_own(Mode::Packets, plan(), |lab| {
        Box::pin(async move {
            let (mut client, mut server) = connected(lab).await?;
            // Shorter than the retransmission timer, which is at least 200 ms.
            let _rule = lab.arm(rule("delay 120ms next data from client as slow"))?;
            client.write(b"hello").await?;
            server.read_exactly(5).await?;
            client.write(b"again").await?;
            server.read_exactly(5).await?;
            Ok(())
        })
    })
    .await;
    assert_eq!(run.state, RunState::Finished, "{:?}", run.events.last());
    assert_sound(&run);
    let arrivals = run.arrivals();
    let took: Vec<u64> = run
        .departures()
        .filter(|(_, packet)| {
            let payload = packet.tcp.as_ref().is_some_and(|tcp| tcp.payload > 0);
            packet.from == HostName::Client && payload
        })
        .map(|(event, packet)| arrivals[&packet.id] - event.at_us)
        .collect();
    // The greeting, the delayed one, the one after it.
    assert_eq!(took.len(), 3, "{took:?}");
    assert!((125_000..180_000).contains(&took[1]), "{took:?}");
    assert!(took[0] < 60_000 && took[2] < 60_000, "{took:?}");
}

#[tokio::test]
async fn users_arm_disarm_and_heal_what_is_theirs() {
    let (mut step, mut refusals) = (0, Vec::new());
    let run = observe_own_while(
        Mode::Packets,
        plan(),
        |lab| {
            Box::pin(async move {
                let (mut client, mut server) = connected(lab).await?;
                let _theirs = lab.cut(&[HostName::Client]);
                lab.chapter("Arm");
                // Long enough for a user's hand; what it armed drops this.
                tokio::time::sleep(Duration::from_millis(300)).await;
                server.write(b"lost").await?;
                let patience = Duration::from_millis(100);
                lab.remark(&told(client.read_within(patience).await));
                lab.chapter("Heal");
                lab.remark(&told(client.read_within(Duration::from_secs(3)).await));
                Ok(())
            })
        },
        |manager, id, event: &Event| {
            let Fact::Chapter { title } = &event.fact else {
                return;
            };
            step += 1;
            let mut act = |action| {
                let refused = manager.act(id, action).err();
                refusals.extend(refused.map(|error| error.to_string()));
            };
            match title.as_str() {
                "Arm" => {
                    act(Action::Heal);
                    act(Action::Arm {
                        rule: rule("drop data from server as mine"),
                    });
                    act(Action::Arm {
                        rule: rule("drop data from server as mine"),
                    });
                    act(Action::Arm {
                        rule: rule("drop data from proxy"),
                    });
                    act(Action::Disarm {
                        rule: "yours".to_owned(),
                    });
                }
                _ => act(Action::Heal),
            }
        },
    )
    .await;
    assert_eq!((run.state, step), (RunState::Finished, 2));
    assert_eq!(remarks(&run), ["nothing", "lost"]);
    let expected = [
        "the cut of what the client sends was armed by the experiment's script",
        "a rule named `mine` is armed already",
        "this run has no proxy",
        "no rule named `yours` is armed",
    ];
    assert_eq!(refusals.len(), expected.len(), "{refusals:?}");
    for (refusal, expected) in refusals.iter().zip(expected) {
        assert!(refusal.contains(expected), "{refusal}");
    }
    let of_mine: Vec<_> = rules(&run)
        .into_iter()
        .filter(|(name, ..)| *name == "mine")
        .collect();
    assert_eq!(
        of_mine,
        [
            ("mine", HostName::Server, true, "user"),
            ("mine", HostName::Server, false, "user")
        ]
    );
}

#[tokio::test]
async fn over_a_relay_a_rule_is_refused_with_the_reason() {
    let refused = Arc::new(std::sync::Mutex::new(String::new()));
    let heard = Arc::clone(&refused);
    let run = observe_own(Mode::Relay, plan(), move |lab| {
        let heard = Arc::clone(&heard);
        Box::pin(async move {
            let error = lab.arm(rule("drop next data from server")).err();
            *heard.lock().unwrap() = error.expect("it is refused").to_string();
            Ok(())
        })
    })
    .await;
    assert_eq!(run.state, RunState::Finished, "{:?}", run.events.last());
    let refused = refused.lock().unwrap();
    assert!(
        refused.starts_with("cannot arm `drop next data from server`: this run goes over a relay"),
        "{refused}"
    );
}
