//! `path-timeout-chain`: which timeout must be the longer one?

mod page;

use std::{net::SocketAddr, time::Duration};

use axum::{Router, routing::any};
use bytes::Bytes;
use futures_util::future::try_join_all;
use http::Method;
use linger_shared::{
    event::{HostName, HttpExchange, Mode},
    experiment::{Descriptor, Params},
    theory::{
        handshake,
        reuse::{Chain, Leg, Place, Window, edges_us},
    },
    units::human,
};

use super::{Experiment, Script};
use crate::{
    endpoints::{HttpClient, HttpOptions, Retry, ReverseProxy, Serving, serve_http_with},
    lab::{Lab, LabError, Plan},
};

/// How often a connection is tried to be had before a request can be timed on it.
const ATTEMPTS: usize = 3;

/// The port of the first proxy; each further one has the next.
const FIRST_PORT: u16 = 8000;

pub(super) struct PathTimeoutChain;

impl Experiment for PathTimeoutChain {
    fn id(&self) -> &'static str {
        "path-timeout-chain"
    }

    fn descriptor(&self) -> Descriptor {
        page::descriptor(self.id())
    }

    fn plan(&self, params: &Params) -> Plan {
        let asked = Asked::of(params);
        let (near_us, far_us) = (params.duration_us("near"), params.duration_us("far"));
        let longest_us = asked.edge().told_us + 10 * (near_us + far_us);
        // The crossing, the sweep, and the sweep in the safe order.
        let lasts_us = (1 + 2 * asked.tries) * longest_us + 20 * (near_us + far_us);
        Plan::through_proxy(near_us, far_us, lasts_us)
    }

    fn run<'a>(&'a self, lab: &'a mut Lab, params: &'a Params) -> Script<'a> {
        Box::pin(script(lab, Asked::of(params)))
    }
}

/// What the parameters ask for.
#[derive(Debug, Clone)]
struct Asked {
    chain: Chain,
    method: Method,
    retry: Retry,
    steps: u64,
    tries: u64,
}

impl Asked {
    fn of(params: &Params) -> Self {
        let leg = |pool, keep, way| Leg {
            pool_us: params.duration_us(pool),
            keep_us: params.duration_us(keep),
            there_us: params.duration_us(way),
            back_us: params.duration_us(way),
        };
        Self {
            chain: Chain {
                front: leg("client_pool", "proxy_keep", "near"),
                back: leg("proxy_pool", "backend_keep", "far"),
            },
            method: match params.choice("method") {
                "POST" => Method::POST,
                _ => Method::GET,
            },
            retry: match params.boolean("retry") {
                true => Retry::IdempotentOnReused,
                false => Retry::Never,
            },
            steps: params.integer("steps"),
            tries: params.integer("tries"),
        }
    }

    /// The window in the order that is asked for, or that of the same limits the other way round.
    fn edge(&self) -> Window {
        let Chain { front, back } = self.chain;
        let exchanged = Chain {
            front: front.safe(),
            back: back.exchanged(),
        };
        let none = Window {
            place: Place::Back,
            opens_us: back.pool_us.min(back.keep_us) / 2,
            closes_us: back.pool_us.min(back.keep_us),
            told_us: back.keep_us,
        };
        let windows = [self.chain.window(), exchanged.window()];
        windows.into_iter().flatten().next().unwrap_or(none)
    }

    /// Whether the client is spared what happens in this window.
    fn is_mended(&self, window: &Window) -> bool {
        window.place == Place::Back && self.retry != Retry::Never && self.method.is_idempotent()
    }
}

/// A request after an idle time.
struct Try {
    /// The idle time as it really was, in microseconds.
    idle_us: u64,
    /// What came of it, where that was no response of the backend's.
    failed: Option<String>,
}

async fn script(lab: &mut Lab, asked: Asked) -> Result<(), LabError> {
    let lab = &*lab;
    let edge = asked.edge();
    lab.chapter("The ladder");
    tell_ladder(lab, &asked.chain);
    let backend = serve(lab, 8080, &asked.chain).await?;
    let mut port = FIRST_PORT;

    let window = asked.chain.window();
    if let Some(window) = &window {
        let client = client(lab, &asked, &asked.chain, backend, &mut port).await?;
        cross(lab, &asked, window, &client).await?;
    }

    lab.chapter("The same request after other idle times");
    let tries = sweep(lab, &asked, &asked.chain, &edge, backend, &mut port).await?;
    let Some(window) = window else {
        lab.remark(&told(&tries, "in this order"));
        return Ok(());
    };
    if asked.is_mended(&window) {
        lab.remark(&told(&tries, "with a proxy that tries again"));
    } else {
        let now_us = lab.now_us();
        let all: Vec<(u64, bool)> = tries.iter().filter_map(|lane| usual(lane)).collect();
        let edges = edges_us(&all);
        let opened = edges.map(|(opened, _)| opened);
        lab.measure("window_opens", Some(window.opens_us), opened, now_us);
        let closed = edges.map(|(_, closed)| closed);
        lab.measure("window_closes", Some(window.closes_us), closed, now_us);
    }

    lab.chapter("The same idle times in the safe order");
    let safe = asked.chain.safe();
    tell_ladder(lab, &safe);
    let backend = serve(lab, 8081, &safe).await?;
    let tries = sweep(lab, &asked, &safe, &edge, backend, &mut port).await?;
    lab.remark(&told(&tries, "in the safe order"));
    Ok(())
}

/// Says which limits there are, and what they lead to.
fn tell_ladder(lab: &Lab, chain: &Chain) {
    let Chain { front, back } = chain;
    let order = |leg: &Leg| match leg.window_us() {
        Some(_) => "the side that answers closes first",
        None => "the side that asks lets go first",
    };
    lab.remark(&format!(
        "Client's pool {}, proxy {}: {}. Proxy's pool {}, backend {}: {}.",
        human(front.pool_us),
        human(front.keep_us),
        order(front),
        human(back.pool_us),
        human(back.keep_us),
        order(back),
    ));
}

/// A backend that closes what is idle; gives the proxies' way to it.
async fn serve(lab: &Lab, port: u16, chain: &Chain) -> Result<SocketAddr, LabError> {
    let listener = lab.server().listen(port).await?;
    let reach = lab.reach(&listener).await?;
    let app = Router::new().route("/{n}", any(|_: Bytes| async { "Hello world" }));
    let serving = Serving {
        idle: Some(Duration::from_micros(chain.back.keep_us)),
        told: true,
        ..Serving::default()
    };
    lab.spawn(serve_http_with(listener, app, serving, lab.crew()));
    Ok(reach)
}

/// A client with a proxy of its own in front of the backend: no other request of the run is in
/// either pool.
async fn client(
    lab: &Lab,
    asked: &Asked,
    chain: &Chain,
    backend: SocketAddr,
    port: &mut u16,
) -> Result<HttpClient, LabError> {
    let front = lab.proxy().listen(*port).await?;
    *port += 1;
    let reach = lab.reach(&front).await?;
    let proxy = ReverseProxy {
        client_idle: Some(Duration::from_micros(chain.front.keep_us)),
        pool_idle: Some(Duration::from_micros(chain.back.pool_us)),
        retry: asked.retry,
        ..ReverseProxy::to(backend)
    };
    lab.spawn(proxy.serve(front, lab.crew()));
    let options = HttpOptions {
        pool_idle: Some(Duration::from_micros(chain.front.pool_us)),
        ..HttpOptions::default()
    };
    Ok(HttpClient::with(lab.client(), reach, options, lab.crew()))
}

/// Asks once; what came of it, where that was no response of the backend's.
async fn ask(client: &HttpClient, method: &Method, number: u64) -> (HttpExchange, Option<String>) {
    let body = match *method {
        Method::POST => Bytes::from_static(b"an order"),
        _ => Bytes::new(),
    };
    let exchange = client
        .send(method.clone(), &format!("/{number}"), body)
        .await;
    let failed = match (&exchange.error, exchange.status) {
        (Some(error), _) => Some(error.clone()),
        (None, Some(200)) => None,
        (None, Some(status)) => Some(status.to_string()),
        (None, None) => Some("no response".to_owned()),
    };
    (exchange, failed)
}

/// Has an open and idle connection all the way; gives when it became idle.
async fn warm(lab: &Lab, client: &HttpClient, number: u64) -> Result<u64, LabError> {
    let mut last = String::new();
    for _ in 0..ATTEMPTS {
        match ask(client, &Method::GET, number).await {
            (_, None) => return Ok(lab.now_us()),
            (_, Some(failed)) => last = failed,
        }
    }
    Err(LabError::Application {
        host: HostName::Client,
        call: "request",
        errno: last,
    })
}

/// Waits until the connection has been idle for so long, and asks.
async fn ask_after(
    lab: &Lab,
    client: &HttpClient,
    method: &Method,
    idle_since_us: u64,
    idle_us: u64,
    number: u64,
) -> Try {
    let left = (idle_since_us + idle_us).saturating_sub(lab.now_us());
    tokio::time::sleep(Duration::from_micros(left)).await;
    let (exchange, failed) = ask(client, method, number).await;
    Try {
        idle_us: exchange.began_us.saturating_sub(idle_since_us),
        failed,
    }
}

/// One request in the middle of the window, alone, so that the diagram shows the crossing.
async fn cross(
    lab: &Lab,
    asked: &Asked,
    window: &Window,
    client: &HttpClient,
) -> Result<(), LabError> {
    lab.chapter("A request meets a FIN");
    let since_us = warm(lab, client, 1).await?;
    let what = match window.place {
        Place::Front => "the proxy closes its client's connection",
        Place::Back => "the backend closes the proxy's connection",
    };
    let because = format!(
        "{what} when it was idle for {}; its FIN takes as long as the response did before",
        human(window.told_us)
    );
    let mended = asked.is_mended(window);
    let (name, predicted_us, because) = if mended {
        let again_us = again_us(lab.mode(), &asked.chain.back);
        (
            "second_answer",
            window.told_us + again_us,
            format!(
                "{because}; then a new connection and the same request, {}",
                human(again_us)
            ),
        )
    } else {
        ("failure", window.told_us, because)
    };
    lab.expect_after(name, since_us, predicted_us, because);
    let idle_us = window.opens_us.midpoint(window.closes_us);
    let one = ask_after(lab, client, &asked.method, since_us, idle_us, 2).await;
    let now_us = lab.now_us();
    let measured = (one.failed.is_none() == mended).then(|| now_us - since_us);
    lab.measure(name, Some(predicted_us), measured, now_us);
    lab.remark(&match (&one.failed, mended) {
        (Some(failed), _) => format!(
            "Asked after {}; the client is told: {failed}.",
            human(one.idle_us)
        ),
        (None, true) => format!(
            "Asked after {}; the proxy has asked again on a new connection, and the client knows \
             nothing of it.",
            human(one.idle_us)
        ),
        (None, false) => format!(
            "Asked after {}: too early or too late to meet the FIN.",
            human(one.idle_us)
        ),
    });
    Ok(())
}

/// What a second try costs the proxy, in microseconds.
fn again_us(mode: Mode, back: &Leg) -> u64 {
    let connect_us = match mode {
        Mode::Packets => handshake::connect_us(back.there_us, back.back_us),
        Mode::Relay => handshake::relayed_connect_us(back.there_us),
    };
    connect_us + handshake::exchange_us(back.there_us, back.back_us, 0)
}

/// Tries idle times across the window, side by side, each with a client and a proxy of its own;
/// gives the tries of each.
async fn sweep(
    lab: &Lab,
    asked: &Asked,
    chain: &Chain,
    edge: &Window,
    backend: SocketAddr,
    port: &mut u16,
) -> Result<Vec<Vec<Try>>, LabError> {
    if let Some(window) = chain.window() {
        lab.remark(&format!(
            "Idle times from {} to {} are predicted to meet the FIN. Each is tried {} times, with a \
             client and a proxy of its own.",
            human(window.opens_us),
            human(window.closes_us),
            asked.tries
        ));
    } else {
        lab.remark("No idle time is predicted to meet a FIN.");
    }
    let mut lanes = Vec::new();
    for idle_us in edge.sweep_us(asked.steps) {
        let client = client(lab, asked, chain, backend, port).await?;
        lanes.push(async move {
            let mut tries = Vec::new();
            let mut idle_since = None;
            for number in 1..=asked.tries {
                let since_us = match idle_since {
                    Some(since_us) => since_us,
                    None => warm(lab, &client, 2 * number - 1).await?,
                };
                let one =
                    ask_after(lab, &client, &asked.method, since_us, idle_us, 2 * number).await;
                // What was served leaves a connection behind that is idle from now on.
                idle_since = one.failed.is_none().then(|| lab.now_us());
                tries.push(one);
            }
            Ok::<_, LabError>((idle_us, tries))
        });
    }
    let done = try_join_all(lanes).await?;
    for (idle_us, tries) in &done {
        let failed: Vec<&String> = tries.iter().filter_map(|one| one.failed.as_ref()).collect();
        let how = failed
            .first()
            .map_or_else(String::new, |how| format!(": {how}"));
        lab.remark(&format!(
            "Idle for {}: {} of {} failed{how}",
            human(*idle_us),
            failed.len(),
            tries.len()
        ));
    }
    Ok(done.into_iter().map(|(_, tries)| tries).collect())
}

/// The usual idle time of some tries, and whether most of them failed: a single one may have been
/// held up on a busy machine.
fn usual(tries: &[Try]) -> Option<(u64, bool)> {
    let mut idle: Vec<u64> = tries.iter().map(|one| one.idle_us).collect();
    idle.sort_unstable();
    let failed = tries.iter().filter(|one| one.failed.is_some()).count();
    Some((*idle.get(idle.len() / 2)?, 2 * failed > tries.len()))
}

/// How many of all tries failed.
fn told(tries: &[Vec<Try>], when: &str) -> String {
    let all = tries.iter().flatten();
    let failed = all.clone().filter(|one| one.failed.is_some()).count();
    format!("{failed} of {} requests failed {when}.", all.count())
}
