//! Hosts that lose their power and get it back.

use std::time::Duration;

use linger::{
    endpoints::{Connection, KeepAlive, ReadOutcome},
    lab::{Lab, LabError, Plan},
};
use linger_shared::{
    event::{Fact, HostName, Mode, Observer, ProcessState, TcpState},
    protocol::{Action, RunState},
};

use crate::observed::{Observed, assert_sound, observe_own, observe_own_while};

const SECOND: u64 = 1_000_000;

const PROBING: Option<KeepAlive> = Some(KeepAlive {
    idle_us: SECOND,
    interval_us: SECOND,
    count: 2,
});

/// When a host's power went or came, in microseconds.
fn power(run: &Observed, wanted: bool) -> (u64, &str) {
    run.events
        .iter()
        .find_map(|event| match &event.fact {
            Fact::Power { host, on, by } if *on == wanted => {
                assert_eq!(*host, HostName::Server);
                Some((event.at_us, by.as_str()))
            }
            _ => None,
        })
        .expect("an event tells of the power")
}

async fn reboot(lab: &mut Lab) -> Result<(), LabError> {
    let listener = lab.server().listen(7654).await?;
    let (mut client, mut server, _) = Connection::pair(&lab.client(), &listener, PROBING).await?;
    client.write(b"hello").await?;
    server.read_exactly(5).await?;
    lab.power_off(HostName::Server).await?;
    // The dead host's application is gone: what the script holds of it fails, and is not recorded.
    assert!(matches!(server.read().await, ReadOutcome::Failed(_)));
    assert!(lab.server().socket().await.is_err());
    assert!(lab.power_off(HostName::Server).await.is_err());
    lab.power_on(HostName::Server).await?;
    assert!(lab.power_on(HostName::Server).await.is_err());
    // The new stack knows nothing of the connection, and says so when it is probed.
    match tokio::time::timeout(Duration::from_secs(10), client.read()).await {
        Ok(ReadOutcome::Failed(_)) => {}
        other => panic!("{other:?}"),
    }
    // And it takes new ones.
    let listener = lab.server().listen(7654).await?;
    let (mut again, mut served, _) = Connection::pair(&lab.client(), &listener, None).await?;
    again.write(b"again").await?;
    served.read_exactly(5).await?;
    again.close();
    Ok(())
}

#[tokio::test]
async fn a_rebooted_host_has_its_address_and_answers_old_connections_with_rst() {
    let run = observe_own(Mode::Packets, Plan::symmetric(5_000, 5 * SECOND), |lab| {
        Box::pin(reboot(lab))
    })
    .await;
    assert_eq!(run.state, RunState::Finished, "{:?}", run.events.last());
    assert_sound(&run);
    let (off_us, by) = power(&run, false);
    let (on_us, _) = power(&run, true);
    assert_eq!(by, "script");
    assert!(off_us < on_us);
    // Silence: nothing leaves the host while it is off, and nobody on it sees anything.
    for event in &run.events {
        let between = event.at_us > off_us && event.at_us < on_us;
        match &event.fact {
            Fact::PacketDeparted(packet) => {
                assert!(!(between && packet.from == HostName::Server), "{event:?}");
            }
            Fact::Call(_) if between => {
                assert_ne!(event.seen_by, Observer::App(HostName::Server), "{event:?}");
            }
            _ => {}
        }
    }
    let gone = |state| {
        run.events.iter().any(|event| {
            event.at_us >= off_us
                && event.at_us < on_us
                && event.seen_by == Observer::Kernel(HostName::Server)
                && matches!(&event.fact, Fact::SocketGone { last_state, .. } if *last_state == state)
        })
    };
    assert!(gone(TcpState::Established), "the sockets go with the power");
    let reset = run.packets().iter().any(|p| p.starts_with("server RST"));
    assert!(reset, "{:?}", run.packets());
    let told = run.events.iter().any(|event| {
        matches!(&event.fact, Fact::Call(call) if call.errno.as_deref() == Some("ECONNRESET"))
    });
    assert!(told, "the client's read() fails with ECONNRESET");
}

async fn lose_power(lab: &mut Lab) -> Result<(), LabError> {
    let listener = lab.server().listen(7654).await?;
    let (mut client, server, _) = Connection::pair(&lab.client(), &listener, PROBING).await?;
    lab.power_off(HostName::Server).await?;
    let ended = tokio::time::timeout(Duration::from_secs(10), client.read()).await;
    assert!(matches!(ended, Ok(ReadOutcome::Failed(_))), "{ended:?}");
    drop(server);
    Ok(())
}

#[tokio::test]
async fn a_host_without_power_is_silent_and_what_reaches_it_is_lost() {
    let run = observe_own(Mode::Packets, Plan::symmetric(5_000, 5 * SECOND), |lab| {
        Box::pin(lose_power(lab))
    })
    .await;
    assert_eq!(run.state, RunState::Finished, "{:?}", run.events.last());
    assert_sound(&run);
    let verdict = run.verdict();
    assert_eq!(
        (verdict.ended_by.as_str(), verdict.how.as_str()),
        ("server", "power")
    );
    let client = verdict
        .sides
        .iter()
        .find(|side| side.host == HostName::Client);
    assert_eq!(client.expect("the client's side").saw, "ETIMEDOUT");
    let lost = run
        .events
        .iter()
        .filter(|event| matches!(&event.fact, Fact::PacketDropped { rule, .. } if rule == "power"));
    assert!(lost.count() >= 2, "both probes are lost at the dead host");
}

async fn echo_with_a_program(lab: &mut Lab) -> Result<(), LabError> {
    let port = ["tcp-echo", "--port", "7654"];
    let program = lab.server().start_endpoint(&port).await?;
    let to = "198.51.100.1:7654".parse().expect("an address");
    let mut client = loop {
        // It takes a moment until it listens.
        match Connection::open(&lab.client(), to, None).await? {
            Ok(client) => break client,
            Err(_) => tokio::time::sleep(Duration::from_millis(50)).await,
        }
    };
    client.write(b"hello").await?;
    client.read_exactly(5).await?;
    lab.chapter("Ready");
    match client.read().await {
        ReadOutcome::End => {}
        other => panic!("{other:?}"),
    }
    program.ended().await;
    Ok(())
}

#[tokio::test]
async fn a_user_kills_a_program_and_its_kernel_closes_for_it() {
    let mut killed = false;
    let mut refused = None;
    let run = observe_own_while(
        Mode::Packets,
        Plan::symmetric(5_000, 5 * SECOND),
        |lab| Box::pin(echo_with_a_program(lab)),
        |manager, id, event| {
            if !killed && matches!(event.fact, Fact::Chapter { .. }) {
                killed = true;
                let host = HostName::Client;
                refused = manager.act(id, Action::Kill { host }).err();
                let host = HostName::Server;
                manager.act(id, Action::Kill { host }).expect("it runs");
            }
        },
    )
    .await;
    let refused = refused.expect("nothing runs on the client").to_string();
    assert!(refused.contains("runs on the client"), "{refused}");
    assert_eq!(run.state, RunState::Finished, "{:?}", run.events.last());
    let states: Vec<&ProcessState> = run
        .events
        .iter()
        .filter_map(|event| match &event.fact {
            Fact::Process { program, state, .. } => {
                assert_eq!(program, "tcp-echo");
                Some(state)
            }
            _ => None,
        })
        .collect();
    let killed = ProcessState::Killed {
        signal: "SIGKILL".to_owned(),
        by: "user".to_owned(),
    };
    assert!(matches!(states[..], [ProcessState::Started { .. }, last] if *last == killed));
    assert!(run.packets().iter().any(|p| p.starts_with("server FIN")));
    let heard = run.events.iter().any(|event| {
        matches!(&event.fact, Fact::Output { text, .. } if text.starts_with("listening on"))
    });
    assert!(heard, "what it writes is recorded");
}

#[tokio::test]
async fn a_user_takes_a_hosts_power_and_what_the_script_meets_is_a_result() {
    let mut done = false;
    let run = observe_own_while(
        Mode::Packets,
        Plan::symmetric(5_000, 5 * SECOND),
        |lab| {
            Box::pin(async move {
                let listener = lab.server().listen(7654).await?;
                let _pair = Connection::pair(&lab.client(), &listener, None).await?;
                lab.chapter("Ready");
                Connection::accept(&listener).await.map(drop)
            })
        },
        |manager, id, event| {
            if !done && matches!(event.fact, Fact::Chapter { .. }) {
                done = true;
                let host = HostName::Server;
                manager
                    .act(id, Action::PowerOff { host })
                    .expect("it is on");
                let again = manager.act(id, Action::PowerOff { host });
                let words = again.expect_err("it is off").to_string();
                assert!(words.contains("no power already"), "{words}");
            }
        },
    )
    .await;
    assert_eq!(run.state, RunState::Finished, "{:?}", run.events.last());
    assert_eq!(power(&run, false).1, "user");
}
