//! Proxies: whose patience ends a connection, and what each side is told.

use std::time::Duration;

use axum::{Router, routing::get};
use linger::{
    endpoints::{
        Closing, Connection, HttpClient, HttpOptions, ReadOutcome, Retry, ReverseProxy, Serving,
        TcpProxy, serve_http_with,
    },
    lab::{Lab, LabError, Listener, Plan},
};
use linger_shared::event::{Call, Fact, HostName, HttpExchange, Mode, Observer, TcpState};

use crate::observed::{Observed, assert_sound, observe_own};

/// How late something that a proxy's timer does may be seen on a busy machine.
const LATE: Duration = Duration::from_millis(400);

/// The links' delays: 10 ms between client and proxy, 5 ms between proxy and server.
fn plan() -> Plan {
    Plan::through_proxy(10_000, 5_000, 10_000_000)
}

/// A TCP proxy in front of a listener: the way for the client, and the listener.
async fn tcp_proxy(
    lab: &Lab,
    change: impl FnOnce(&mut TcpProxy),
) -> Result<(std::net::SocketAddr, Listener), LabError> {
    let backend = lab.server().listen(7654).await?;
    let front = lab.proxy().listen(8000).await?;
    let reach = lab.reach(&front).await?;
    let mut proxy = TcpProxy::to(lab.reach(&backend).await?);
    change(&mut proxy);
    lab.spawn(proxy.serve(front, lab.crew()));
    Ok((reach, backend))
}

/// A connection of the client through the proxy, and its other end at the server.
async fn through(
    lab: &Lab,
    reach: std::net::SocketAddr,
    backend: &Listener,
) -> Result<(Connection, Connection), LabError> {
    let client = Connection::open(&lab.client(), reach, None)
        .await?
        .map_err(|source| LabError::io("connect to the proxy", source))?;
    let server = Connection::accept(backend).await?;
    Ok((client, server))
}

/// Whether a connection ended in order.
fn must_end(outcome: ReadOutcome) -> Result<(), LabError> {
    match outcome {
        ReadOutcome::End => Ok(()),
        other => Err(LabError::Unmet(format!("no end of stream: {other:?}"))),
    }
}

/// The calls that an application made, with when they came back.
fn calls(run: &Observed, host: HostName) -> Vec<(u64, &Call)> {
    run.events
        .iter()
        .filter(|event| event.seen_by == Observer::App(host))
        .filter_map(|event| match &event.fact {
            Fact::Call(call) => Some((event.at_us, call)),
            _ => None,
        })
        .collect()
}

fn exchanges(run: &Observed, host: HostName) -> Vec<&HttpExchange> {
    run.events
        .iter()
        .filter(|event| event.seen_by == Observer::App(host))
        .filter_map(|event| match &event.fact {
            Fact::Http(exchange) => Some(exchange),
            _ => None,
        })
        .collect()
}

async fn idle_limit(mode: Mode) {
    let idle = Duration::from_millis(1_500);
    let run = observe_own(mode, plan(), move |lab| {
        Box::pin(async move {
            let (reach, backend) = tcp_proxy(lab, |proxy| proxy.idle = Some(idle)).await?;
            let (mut client, mut server) = through(lab, reach, &backend).await?;
            client.write(b"hello").await?;
            server.read_exactly(5).await?;
            // Traffic from the server alone puts the end off, too.
            tokio::time::sleep(Duration::from_millis(700)).await;
            server.write(b"still here").await?;
            client.read_exactly(10).await?;
            let last_us = lab.now_us();
            must_end(client.read().await)?;
            let span = lab.now_us() - last_us;
            lab.measure("client told", None, Some(span), lab.now_us());
            must_end(server.read().await)?;
            client.close();
            server.close();
            lab.until_closed(Duration::from_secs(3)).await;
            Ok(())
        })
    })
    .await;
    assert_sound(&run);
    let (_, told) = run.measured("client told");
    let told = Duration::from_micros(told.unwrap());
    // The proxy counts from when the bytes passed it, 10 ms before the client had them; its FIN
    // takes 10 ms too.
    assert!(
        told + Duration::from_millis(25) >= idle && told <= idle + LATE,
        "{told:?}"
    );
    let closed: Vec<_> = calls(&run, HostName::Proxy)
        .into_iter()
        .filter(|(_, call)| call.call == "close")
        .map(|(_, call)| (call.args.clone(), call.result.clone()))
        .collect();
    assert_eq!(closed.len(), 2, "{closed:?}");
    for (reason, _) in &closed {
        assert_eq!(reason, "idle for 1.500 s");
    }
    assert_eq!(closed[0].1, "ok, 5 bytes read, 10 bytes written");
    assert_eq!(closed[1].1, "ok, 10 bytes read, 5 bytes written");
    if mode == Mode::Packets {
        let fins: Vec<_> = run
            .departures()
            .filter(|(_, packet)| packet.summary.contains("FIN"))
            .map(|(_, packet)| (packet.from, packet.to))
            .collect();
        assert_eq!(fins.len(), 4, "each leg is closed by both: {fins:?}");
        assert!(fins[..2].iter().all(|(from, _)| *from == HostName::Proxy));
    }
    let served = calls(&run, HostName::Proxy)
        .into_iter()
        .find(|(_, call)| call.call == "connect")
        .and_then(|(_, call)| call.on_behalf_of);
    let accepted = calls(&run, HostName::Proxy)
        .into_iter()
        .find(|(_, call)| call.call == "accept")
        .and_then(|(_, call)| call.remote);
    assert!(
        served.is_some() && served == accepted,
        "{served:?} {accepted:?}"
    );
}

#[tokio::test]
async fn an_idle_limit_closes_both_legs_with_fin() {
    idle_limit(Mode::Packets).await;
}

#[tokio::test]
async fn an_idle_limit_closes_both_legs_over_the_relay_too() {
    idle_limit(Mode::Relay).await;
}

#[tokio::test]
async fn an_idle_limit_may_close_with_rst() {
    let run = observe_own(Mode::Packets, plan(), |lab| {
        Box::pin(async move {
            let (reach, backend) = tcp_proxy(lab, |proxy| {
                proxy.idle = Some(Duration::from_millis(500));
                proxy.idle_close = Closing::Rst;
            })
            .await?;
            let (mut client, mut server) = through(lab, reach, &backend).await?;
            for end in [&mut client, &mut server] {
                match end.read().await {
                    ReadOutcome::Failed(_) => {}
                    other => return Err(LabError::Unmet(format!("no reset: {other:?}"))),
                }
            }
            Ok(())
        })
    })
    .await;
    assert_sound(&run);
    for host in [HostName::Client, HostName::Server] {
        assert_eq!(run.verdict().outcomes[host.as_str()], "ECONNRESET");
    }
}

#[tokio::test]
async fn a_half_close_is_carried_over_and_the_other_direction_goes_on() {
    for mode in [Mode::Packets, Mode::Relay] {
        let run = observe_own(mode, plan(), |lab| {
            Box::pin(async move {
                let (reach, backend) = tcp_proxy(lab, |_| {}).await?;
                let (mut client, mut server) = through(lab, reach, &backend).await?;
                client.write(b"question").await?;
                client.shutdown().await?;
                server.read_exactly(8).await?;
                must_end(server.read().await)?;
                server.write(b"answer").await?;
                client.read_exactly(6).await?;
                server.close();
                must_end(client.read().await)?;
                client.close();
                lab.until_closed(Duration::from_secs(3)).await;
                Ok(())
            })
        })
        .await;
        assert_sound(&run);
        run.verdict();
    }
}

#[tokio::test]
async fn behind_a_proxy_a_dead_backend_leaves_the_client_established() {
    let run = observe_own(Mode::Packets, plan(), |lab| {
        Box::pin(async move {
            let (reach, backend) = tcp_proxy(lab, |_| {}).await?;
            let keepalive = linger::endpoints::KeepAlive {
                idle_us: 1_000_000,
                interval_us: 1_000_000,
                count: 2,
            };
            let mut client = Connection::open(&lab.client(), reach, Some(keepalive))
                .await?
                .map_err(|source| LabError::io("connect to the proxy", source))?;
            let _server = Connection::accept(&backend).await?;
            lab.cut(&[HostName::Server]).stay();
            // Far longer than keep-alive would need to give a dead peer up.
            if let Some(outcome) = client.read_within(Duration::from_secs(5)).await {
                return Err(LabError::Unmet(format!("the client heard: {outcome:?}")));
            }
            Ok(())
        })
    })
    .await;
    assert_sound(&run);
    let probes = run.verdict().counts["keepalive_probes"];
    assert!((3..=5).contains(&probes), "{probes}");
    // The proxy's kernel answers each of them: the backend is none of its business.
    let last = run
        .states(HostName::Client)
        .last()
        .copied()
        .expect("the client has a socket");
    assert_eq!(last, TcpState::Established);
}

/// A reverse proxy in front of an application that answers `/`, and after a second `/slow`.
async fn reverse_proxy(
    lab: &Lab,
    serving: Serving,
    change: impl FnOnce(&mut ReverseProxy),
) -> Result<HttpClient, LabError> {
    let backend = lab.server().listen(8080).await?;
    let front = lab.proxy().listen(80).await?;
    let reach = lab.reach(&front).await?;
    let mut proxy = ReverseProxy::to(lab.reach(&backend).await?);
    change(&mut proxy);
    lab.spawn(proxy.serve(front, lab.crew()));
    let app = Router::new()
        .route("/", get(|| async { "Hello world" }))
        .route(
            "/slow",
            get(|| async {
                tokio::time::sleep(Duration::from_secs(1)).await;
                "at last"
            }),
        );
    lab.spawn(serve_http_with(backend, app, serving, lab.crew()));
    let options = HttpOptions {
        retry: false,
        ..HttpOptions::default()
    };
    Ok(HttpClient::with(lab.client(), reach, options, lab.crew()))
}

#[tokio::test]
async fn a_reverse_proxy_reuses_its_connections_to_the_backend() {
    for mode in [Mode::Packets, Mode::Relay] {
        let run = observe_own(mode, plan(), |lab| {
            Box::pin(async move {
                let client = reverse_proxy(lab, Serving::default(), |_| {}).await?;
                for _ in 0..5 {
                    client.get("/").await;
                    tokio::time::sleep(Duration::from_millis(20)).await;
                }
                Ok(())
            })
        })
        .await;
        assert_sound(&run);
        let asked = exchanges(&run, HostName::Client);
        assert!(asked.iter().all(|exchange| exchange.status == Some(200)));
        let passed_on = exchanges(&run, HostName::Proxy);
        let reused: Vec<bool> = passed_on.iter().map(|exchange| exchange.reused).collect();
        assert_eq!(reused, [false, true, true, true, true]);
        assert_eq!(passed_on[4].body, 11);
        assert_eq!(run.verdict().counts["connections"], 2);
        assert_eq!(run.verdict().counts["requests"], 5);
    }
}

#[tokio::test]
async fn a_pooled_connection_is_closed_when_its_idle_time_is_over() {
    let run = observe_own(Mode::Packets, plan(), |lab| {
        Box::pin(async move {
            let client = reverse_proxy(lab, Serving::default(), |proxy| {
                proxy.pool_idle = Some(Duration::from_secs(1));
            })
            .await?;
            client.get("/").await;
            tokio::time::sleep(Duration::from_millis(1_700)).await;
            client.get("/").await;
            Ok(())
        })
    })
    .await;
    assert_sound(&run);
    let closed: Vec<_> = calls(&run, HostName::Proxy)
        .into_iter()
        .filter(|(_, call)| call.call == "close")
        .collect();
    assert_eq!(closed[0].1.args, "idle for 1.000 s");
    let passed_on = exchanges(&run, HostName::Proxy);
    assert!(!passed_on[1].reused);
}

/// The backend closes idle connections; the client's next request leaves the proxy while the
/// backend's FIN is on its way to it.
async fn race(retry: Retry) -> Observed {
    // 400 ms between proxy and server: the FIN is on its way for so long.
    let plan = Plan::through_proxy(1_000, 400_000, 10_000_000);
    observe_own(Mode::Packets, plan, move |lab| {
        Box::pin(async move {
            let serving = Serving {
                idle: Some(Duration::from_secs(1)),
                ..Serving::default()
            };
            let client = reverse_proxy(lab, serving, |proxy| proxy.retry = retry).await?;
            client.get("/").await;
            let answered = tokio::time::Instant::now();
            // The backend's FIN leaves it 0.6 s after the proxy had its response, and reaches the
            // proxy 0.4 s later; the request passes the proxy in between. A busy machine has
            // 0.25 s to be late at the proxy, and 0.55 s at the backend.
            tokio::time::sleep_until(answered + Duration::from_millis(750)).await;
            client.get("/").await;
            tokio::time::sleep(Duration::from_millis(500)).await;
            Ok(())
        })
    })
    .await
}

#[tokio::test]
async fn a_request_that_meets_the_backends_fin_is_answered_with_502() {
    let run = race(Retry::Never).await;
    assert_sound(&run);
    let asked = exchanges(&run, HostName::Client);
    assert_eq!(asked[0].status, Some(200));
    assert_eq!(asked[1].status, Some(502), "{asked:?}");
    let passed_on = exchanges(&run, HostName::Proxy);
    assert!(passed_on[1].reused);
    assert_eq!(
        passed_on[1].error.as_deref(),
        Some("the backend closed before its response")
    );
}

#[tokio::test]
async fn a_proxy_may_try_an_idempotent_request_again_on_a_new_connection() {
    let run = race(Retry::IdempotentOnReused).await;
    assert_sound(&run);
    let asked = exchanges(&run, HostName::Client);
    assert_eq!(asked[1].status, Some(200), "{asked:?}");
    assert!(!exchanges(&run, HostName::Proxy)[1].reused);
    assert_eq!(run.verdict().counts["connections"], 3);
}

#[tokio::test]
async fn a_silent_backend_is_answered_with_504_and_a_full_pool_with_503() {
    for mode in [Mode::Packets, Mode::Relay] {
        let run = observe_own(mode, plan(), |lab| {
            Box::pin(async move {
                let client = reverse_proxy(lab, Serving::default(), |proxy| {
                    proxy.read_timeout = Some(Duration::from_millis(500));
                    proxy.pool_most = Some(1);
                })
                .await?;
                let (slow, second) = tokio::join!(client.get("/slow"), async {
                    tokio::time::sleep(Duration::from_millis(150)).await;
                    client.get("/").await
                });
                if (slow.status, second.status) != (Some(504), Some(503)) {
                    return Err(LabError::Unmet(format!("{slow:?} {second:?}")));
                }
                let span = lab.now_us() - slow.began_us;
                lab.measure("504", None, Some(span), lab.now_us());
                Ok(())
            })
        })
        .await;
        assert_sound(&run);
        let (_, span) = run.measured("504");
        let span = Duration::from_micros(span.unwrap());
        // Connecting to both, there and back, and the limit.
        let least = Duration::from_millis(500);
        assert!(span >= least && span <= least + LATE, "{span:?}");
    }
}

#[tokio::test]
async fn a_backend_that_refuses_is_answered_with_502() {
    let run = observe_own(Mode::Packets, plan(), |lab| {
        Box::pin(async move {
            let front = lab.proxy().listen(80).await?;
            let reach = lab.reach(&front).await?;
            let nobody = std::net::SocketAddr::from(([198, 51, 100, 1], 9));
            lab.spawn(ReverseProxy::to(nobody).serve(front, lab.crew()));
            let options = HttpOptions::default();
            let client = HttpClient::with(lab.client(), reach, options, lab.crew());
            client.get("/").await;
            Ok(())
        })
    })
    .await;
    assert_sound(&run);
    assert_eq!(exchanges(&run, HostName::Client)[0].status, Some(502));
    let passed_on = exchanges(&run, HostName::Proxy);
    assert_eq!(passed_on[0].error.as_deref(), Some("connect: ECONNREFUSED"));
}

#[tokio::test]
async fn a_client_that_is_idle_for_too_long_is_closed() {
    let run = observe_own(Mode::Packets, plan(), |lab| {
        Box::pin(async move {
            let front_idle = Duration::from_secs(1);
            let client = reverse_proxy(lab, Serving::default(), |proxy| {
                proxy.client_idle = Some(front_idle);
            })
            .await?;
            client.get("/").await;
            tokio::time::sleep(Duration::from_millis(1_500)).await;
            let again = client.get("/").await;
            if again.reused || again.status != Some(200) {
                return Err(LabError::Unmet(format!("{again:?}")));
            }
            Ok(())
        })
    })
    .await;
    assert_sound(&run);
    run.verdict();
}

#[tokio::test]
async fn an_upgrade_passes_through_and_has_an_idle_limit_of_its_own() {
    for mode in [Mode::Packets, Mode::Relay] {
        let run = observe_own(mode, plan(), |lab| {
            Box::pin(async move {
                let backend = lab.server().listen(8080).await?;
                let front = lab.proxy().listen(80).await?;
                let reach = lab.reach(&front).await?;
                let mut proxy = ReverseProxy::to(lab.reach(&backend).await?);
                proxy.tunnel_idle = Some(Duration::from_secs(1));
                lab.spawn(proxy.serve(front, lab.crew()));
                let (mut client, mut server) = through_after(
                    lab,
                    reach,
                    &backend,
                    b"GET /chat HTTP/1.1\r\nhost: server\r\nconnection: Upgrade\r\n\
                      upgrade: x-echo\r\n\r\n",
                )
                .await?;
                let head = head(&mut server).await?;
                if !head.contains("upgrade: x-echo") || !head.contains("via: 1.1 linger") {
                    return Err(LabError::Unmet(head));
                }
                server
                    .write(
                        b"HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\n\
                          upgrade: x-echo\r\n\r\nhi",
                    )
                    .await?;
                let answer = self::head(&mut client).await?;
                if !answer.starts_with("HTTP/1.1 101") {
                    return Err(LabError::Unmet(answer));
                }
                if !answer.ends_with("hi") {
                    client.read_exactly(2).await?;
                }
                client.write(b"ping").await?;
                server.read_exactly(4).await?;
                must_end(client.read().await)?;
                must_end(server.read().await)?;
                Ok(())
            })
        })
        .await;
        assert_sound(&run);
        let reasons: Vec<_> = calls(&run, HostName::Proxy)
            .into_iter()
            .filter(|(_, call)| call.call == "close")
            .map(|(_, call)| call.args.clone())
            .collect();
        assert_eq!(reasons, ["idle for 1.000 s", "idle for 1.000 s"]);
        assert_eq!(exchanges(&run, HostName::Proxy)[0].status, Some(101));
    }
}

/// As [`through`], where the proxy connects only when it has read `first`.
async fn through_after(
    lab: &Lab,
    reach: std::net::SocketAddr,
    backend: &Listener,
    first: &[u8],
) -> Result<(Connection, Connection), LabError> {
    let mut client = Connection::open(&lab.client(), reach, None)
        .await?
        .map_err(|source| LabError::io("connect to the proxy", source))?;
    client.write(first).await?;
    let server = Connection::accept(backend).await?;
    Ok((client, server))
}

/// The head of a message, and what came with it.
async fn head(connection: &mut Connection) -> Result<String, LabError> {
    let mut text = String::new();
    while !text.contains("\r\n\r\n") {
        match connection.read().await {
            ReadOutcome::Data(bytes) => text.push_str(&String::from_utf8_lossy(&bytes)),
            other => return Err(LabError::Unmet(format!("no head: {other:?}"))),
        }
    }
    Ok(text)
}
