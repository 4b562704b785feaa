//! The verdict on endings that really happen: who ended the connection, how, and what each side met.

use std::time::Duration;

use linger::{
    endpoints::{Connection, Dial, KeepAlive, ReadOutcome, SocketOption, TcpProxy},
    lab::{Lab, LabError, Plan},
};
use linger_shared::event::{HostName, Mode, Side, Verdict};

use crate::observed::{Observed, assert_sound, observe_own};

const DELAY_US: u64 = 5_000;

fn plan() -> Plan {
    Plan::symmetric(DELAY_US, 20_000_000)
}

/// Opens a connection and says hello in both directions.
async fn open(lab: &Lab, dial: &Dial) -> Result<(Connection, Connection), LabError> {
    let listener = lab.server().listen(7654).await?;
    let reach = lab.reach(&listener).await?;
    let mut client = Connection::dial(&lab.client(), reach, dial)
        .await?
        .map_err(|source| LabError::io("connect", source))?;
    let mut server = Connection::accept(&listener).await?;
    client.write(b"hello").await?;
    server.read_exactly(5).await?;
    server.write(b"hello").await?;
    client.read_exactly(5).await?;
    // Unacknowledged data would bring the retransmission timer in.
    for host in [HostName::Client, HostName::Server] {
        lab.connections_until(host, Duration::from_secs(5), |sockets| {
            sockets.iter().all(|socket| socket.send_queue == 0)
        })
        .await;
    }
    Ok((client, server))
}

fn kind(verdict: &Verdict) -> (&str, &str) {
    (&verdict.ended_by, &verdict.how)
}

fn side(verdict: &Verdict, host: HostName) -> &Side {
    verdict
        .sides
        .iter()
        .find(|side| side.host == host)
        .unwrap_or_else(|| panic!("no side of the {host}: {verdict:?}"))
}

/// What a side saw, and what it met first.
fn met(verdict: &Verdict, host: HostName) -> (&str, &str) {
    let side = side(verdict, host);
    (&side.saw, &side.how)
}

async fn closed_by_the_server(mode: Mode) -> Observed {
    observe_own(mode, plan(), |lab| {
        Box::pin(async move {
            let (mut client, server) = open(lab, &Dial::default()).await?;
            server.close();
            client.read().await;
            client.close();
            lab.until_closed(Duration::from_secs(3)).await;
            Ok(())
        })
    })
    .await
}

#[tokio::test]
async fn a_fin_by_the_server() {
    for mode in [Mode::Packets, Mode::Relay] {
        let run = closed_by_the_server(mode).await;
        assert_sound(&run);
        let verdict = run.verdict();
        assert_eq!(kind(verdict), ("server", "fin"), "{mode:?}");
        assert_eq!(verdict.summary, "The server ended the connection with FIN.");
        assert_eq!(
            met(verdict, HostName::Client),
            ("end of stream", "received FIN"),
            "{mode:?}"
        );
        assert_eq!(met(verdict, HostName::Server), ("closed it", "sent FIN"));
        let sent = side(verdict, HostName::Server).at_us.unwrap();
        let received = side(verdict, HostName::Client).at_us.unwrap();
        let saw = side(verdict, HostName::Client).saw_at_us.unwrap();
        assert!(sent + DELAY_US <= received && received <= saw);
    }
}

#[tokio::test]
async fn a_fin_by_the_client_alone_closes_one_side() {
    let run = observe_own(Mode::Packets, plan(), |lab| {
        Box::pin(async move {
            let (mut client, mut server) = open(lab, &Dial::default()).await?;
            client.shutdown().await?;
            server.read().await;
            Ok(())
        })
    })
    .await;
    let verdict = run.verdict();
    assert_eq!(kind(verdict), ("client", "fin"));
    assert!(verdict.summary.contains("closed its side"), "{verdict:?}");
    assert_eq!(side(verdict, HostName::Server).state, "CLOSE_WAIT");
}

#[tokio::test]
async fn fins_of_both_that_cross() {
    let run = observe_own(Mode::Packets, Plan::symmetric(100_000, 20_000_000), |lab| {
        Box::pin(async move {
            let (client, server) = open(lab, &Dial::default()).await?;
            client.close();
            server.close();
            lab.until_closed(Duration::from_secs(3)).await;
            Ok(())
        })
    })
    .await;
    assert_eq!(kind(run.verdict()), ("both", "fin"));
}

#[tokio::test]
async fn an_rst_by_lingering_for_no_time() {
    for mode in [Mode::Packets, Mode::Relay] {
        let run = observe_own(mode, plan(), |lab| {
            Box::pin(async move {
                let (mut client, server) = open(lab, &Dial::default()).await?;
                server.reset()?;
                match client.read().await {
                    ReadOutcome::Failed(_) => Ok(()),
                    other => Err(LabError::Unmet(format!("no reset: {other:?}"))),
                }
            })
        })
        .await;
        assert_sound(&run);
        let verdict = run.verdict();
        assert_eq!(kind(verdict), ("server", "rst"), "{mode:?}");
        assert_eq!(
            met(verdict, HostName::Client),
            ("ECONNRESET", "received RST"),
            "{mode:?}"
        );
        assert_eq!(met(verdict, HostName::Server), ("closed it", "sent RST"));
    }
}

#[tokio::test]
async fn a_refusal() {
    let run = observe_own(Mode::Packets, plan(), |lab| {
        Box::pin(async move {
            let nobody = std::net::SocketAddr::from(([198, 51, 100, 1], 9));
            match Connection::open(&lab.client(), nobody, None).await? {
                Err(_) => Ok(()),
                Ok(_) => Err(LabError::Unmet("somebody listens".to_owned())),
            }
        })
    })
    .await;
    let verdict = run.verdict();
    assert_eq!(kind(verdict), ("server", "rst"));
    assert_eq!(
        verdict.summary,
        "The server refused the connection with RST: nobody listens there."
    );
    assert_eq!(
        met(verdict, HostName::Client),
        ("ECONNREFUSED", "received RST")
    );
}

/// A keep-alive that gives up two seconds after the last word.
fn keepalive() -> SocketOption {
    SocketOption::KeepAlive(KeepAlive {
        idle_us: 1_000_000,
        interval_us: 1_000_000,
        count: 1,
    })
}

#[tokio::test]
async fn a_time_out_of_keepalive() {
    let run = observe_own(Mode::Packets, plan(), |lab| {
        Box::pin(async move {
            let dial = Dial {
                options: vec![keepalive()],
                ..Dial::default()
            };
            let (mut client, _server) = open(lab, &dial).await?;
            lab.cut(&[HostName::Client, HostName::Server]).stay();
            client.read().await;
            Ok(())
        })
    })
    .await;
    assert_sound(&run);
    let verdict = run.verdict();
    assert_eq!(kind(verdict), ("client", "timeout"));
    assert_eq!(
        verdict.summary,
        "The client's kernel gave up the connection after 1 probe without an answer: ETIMEDOUT."
    );
    assert_eq!(met(verdict, HostName::Client), ("ETIMEDOUT", "gave up"));
    assert_eq!(met(verdict, HostName::Server), ("", "nothing"));
    assert_eq!(side(verdict, HostName::Server).state, "ESTABLISHED");
}

#[tokio::test]
async fn a_kernel_that_gives_up_unasked_is_found_out_by_its_rst() {
    let run = observe_own(Mode::Packets, plan(), |lab| {
        Box::pin(async move {
            let (client, _server) = open(lab, &Dial::default()).await?;
            // Set on a connection that is open, keep-alive counts from the last word.
            client.set(&keepalive())?;
            lab.cut(&[HostName::Server]).stay();
            tokio::time::sleep(Duration::from_secs(4)).await;
            Ok(())
        })
    })
    .await;
    assert_eq!(kind(run.verdict()), ("client", "timeout"));
}

#[tokio::test]
async fn a_time_out_of_retransmissions() {
    let run = observe_own(Mode::Packets, plan(), |lab| {
        Box::pin(async move {
            let dial = Dial {
                options: vec![SocketOption::UserTimeout(1_500_000)],
                ..Dial::default()
            };
            let (mut client, _server) = open(lab, &dial).await?;
            lab.cut(&[HostName::Client, HostName::Server]).stay();
            client.write(b"is anybody there?").await?;
            client.read().await;
            Ok(())
        })
    })
    .await;
    let verdict = run.verdict();
    assert_eq!(kind(verdict), ("client", "timeout"));
    assert!(
        verdict
            .summary
            .contains("retransmissions without an answer: ETIMEDOUT"),
        "{}",
        verdict.summary
    );
}

#[tokio::test]
async fn silence() {
    let run = observe_own(Mode::Packets, plan(), |lab| {
        Box::pin(async move {
            let (mut client, _server) = open(lab, &Dial::default()).await?;
            lab.cut(&[HostName::Client, HostName::Server]).stay();
            client.read_within(Duration::from_secs(1)).await;
            Ok(())
        })
    })
    .await;
    let verdict = run.verdict();
    assert_eq!(kind(verdict), ("nobody", "silence"));
    assert_eq!(met(verdict, HostName::Client), ("", "nothing"));
    assert_eq!(side(verdict, HostName::Client).state, "ESTABLISHED");
}

#[tokio::test]
async fn a_proxys_idle_limit_is_told_for_both_legs() {
    for mode in [Mode::Packets, Mode::Relay] {
        let plan = Plan::through_proxy(10_000, 5_000, 10_000_000);
        let run = observe_own(mode, plan, |lab| {
            Box::pin(async move {
                let backend = lab.server().listen(7654).await?;
                let front = lab.proxy().listen(8000).await?;
                let reach = lab.reach(&front).await?;
                let mut proxy = TcpProxy::to(lab.reach(&backend).await?);
                proxy.idle = Some(Duration::from_secs(1));
                lab.spawn(proxy.serve(front, lab.crew()));
                let mut client = Connection::open(&lab.client(), reach, None)
                    .await?
                    .map_err(|source| LabError::io("connect", source))?;
                let mut server = Connection::accept(&backend).await?;
                client.read().await;
                server.read().await;
                client.close();
                server.close();
                lab.until_closed(Duration::from_secs(3)).await;
                Ok(())
            })
        })
        .await;
        assert_sound(&run);
        let verdict = run.verdict();
        assert_eq!(kind(verdict), ("proxy", "fin"));
        let sides: Vec<_> = verdict
            .sides
            .iter()
            .map(|side| {
                (
                    side.host,
                    side.towards,
                    side.how.as_str(),
                    side.saw.as_str(),
                )
            })
            .collect();
        use HostName::{Client, Proxy, Server};
        assert_eq!(
            sides,
            [
                (Client, Proxy, "received FIN", "end of stream"),
                (Proxy, Client, "sent FIN", "closed it"),
                (Proxy, Server, "sent FIN", "closed it"),
                (Server, Proxy, "received FIN", "end of stream"),
            ],
            "{mode:?}"
        );
        assert!(
            verdict.summary.contains(" later the proxy ended the "),
            "{}",
            verdict.summary
        );
        assert_eq!(verdict.endings.len(), 2);
    }
}

#[tokio::test]
async fn a_backend_that_resets_is_told_before_what_its_proxy_made_of_it() {
    let plan = Plan::through_proxy(10_000, 5_000, 10_000_000);
    let run = observe_own(Mode::Packets, plan, |lab| {
        Box::pin(async move {
            let backend = lab.server().listen(7654).await?;
            let front = lab.proxy().listen(8000).await?;
            let proxy = TcpProxy::to(backend.address());
            let reach = front.address();
            lab.spawn(proxy.serve(front, lab.crew()));
            let mut client = Connection::open(&lab.client(), reach, None)
                .await?
                .map_err(|source| LabError::io("connect", source))?;
            let server = Connection::accept(&backend).await?;
            server.reset()?;
            client.read().await;
            client.close();
            lab.until_closed(Duration::from_secs(3)).await;
            Ok(())
        })
    })
    .await;
    let verdict = run.verdict();
    assert_eq!(kind(verdict), ("server", "rst"));
    assert!(
        verdict
            .summary
            .starts_with("The server ended the proxy-server connection with RST. "),
        "{}",
        verdict.summary
    );
    assert!(
        verdict
            .summary
            .ends_with(" later the proxy ended the client-proxy connection with FIN."),
        "{}",
        verdict.summary
    );
}
