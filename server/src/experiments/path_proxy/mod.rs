//! `path-proxy`: does TCP keep-alive reach through a proxy?

mod page;

use std::time::Duration;

use linger_shared::{
    event::{HostName, Mode},
    experiment::{Descriptor, Params},
    theory::{
        asking::{self, Fate},
        keepalive,
    },
    units::human,
};

use super::{Experiment, Script};
use crate::{
    endpoints::{Connection, KeepAlive, ReadOutcome, SocketOption, TcpProxy, errno_name},
    lab::{Lab, LabError, Plan},
};

/// What the client's heartbeat says.
const PING: &[u8] = b"ping";

/// How long the last connections may take to reach their last state.
const SETTLING: Duration = Duration::from_secs(5);

pub(super) struct PathProxy;

impl Experiment for PathProxy {
    fn id(&self) -> &'static str {
        "path-proxy"
    }

    fn descriptor(&self) -> Descriptor {
        page::descriptor(self.id())
    }

    fn plan(&self, params: &Params) -> Plan {
        let vigil = Vigil::of(params, Mode::Packets);
        let lasts_us = vigil.ends_us() + 60 * vigil.near_us + SETTLING.as_micros() as u64;
        match vigil.proxied {
            true => Plan::through_proxy(vigil.near_us, vigil.far_us, lasts_us),
            false => Plan::symmetric(vigil.near_us + vigil.far_us, lasts_us),
        }
    }

    fn run<'a>(&'a self, lab: &'a mut Lab, params: &'a Params) -> Script<'a> {
        Box::pin(script(lab, params))
    }
}

/// What is asked, and what may end it. All times are in microseconds.
#[derive(Debug, Clone, Copy)]
struct Vigil {
    proxied: bool,
    /// Probes, as the client asks by; and as the proxy does.
    keepalive: Option<KeepAlive>,
    proxy_keepalive: Option<KeepAlive>,
    heartbeat: Option<Heartbeat>,
    proxy_idle_us: u64,
    /// When the backend dies, after the greeting.
    death_us: Option<u64>,
    watch_us: u64,
    near_us: u64,
    far_us: u64,
    mode: Mode,
}

#[derive(Debug, Clone, Copy)]
struct Heartbeat {
    every_us: u64,
    patience_us: u64,
}

impl Vigil {
    fn of(params: &Params, mode: Mode) -> Self {
        let whole_seconds = |name| params.duration_us(name).div_ceil(1_000_000) * 1_000_000;
        let keepalive = KeepAlive {
            idle_us: whole_seconds("idle"),
            interval_us: whole_seconds("interval"),
            count: u32::try_from(params.integer("count")).unwrap_or(u32::MAX),
        };
        let asks = params.choice("asks");
        let proxied = params.boolean("proxy");
        Self {
            proxied,
            keepalive: ["keep-alive", "both"].contains(&asks).then_some(keepalive),
            proxy_keepalive: (proxied && params.boolean("proxy_asks")).then_some(keepalive),
            heartbeat: ["heartbeat", "both"].contains(&asks).then(|| Heartbeat {
                every_us: params.duration_us("every"),
                patience_us: params.duration_us("patience"),
            }),
            proxy_idle_us: params.duration_us("proxy_idle"),
            death_us: params.boolean("dies").then(|| params.duration_us("after")),
            watch_us: params.duration_us("watch"),
            near_us: params.duration_us("near"),
            far_us: params.duration_us("far"),
            mode,
        }
    }

    /// What ends the connection, and when after the greeting.
    fn fate(&self) -> (Option<Fate>, u64) {
        let probes = |keepalive: Option<KeepAlive>| {
            keepalive
                .filter(|_| self.mode == Mode::Packets)
                .map(|keepalive| asking::Probes {
                    idle_us: keepalive.idle_us,
                    detection_us: detection_us(keepalive),
                })
        };
        let asked = asking::Asked {
            proxy_idle_us: self.proxied.then_some(self.proxy_idle_us),
            // Over the relay another kernel answers.
            client_probes: probes(self.keepalive),
            proxy_probes: probes(self.proxy_keepalive),
            heartbeat: self
                .heartbeat
                .map(|heartbeat| (heartbeat.every_us, heartbeat.patience_us)),
            death_us: self.death_us,
            near_us: self.near_us,
            far_us: self.far_us,
        };
        match asked.fate() {
            Some((fate, at_us)) => (Some(fate), at_us),
            None => (None, self.watch_us),
        }
    }

    /// When to stop looking, after the greeting.
    fn ends_us(&self) -> u64 {
        match self.fate() {
            (None, watch_us) => watch_us.max(self.death_us.unwrap_or(0) + watch_us),
            // Kernel timers of minutes are up to an eighth late (kernel/time/timer.c).
            (_, at_us) => at_us + at_us / 4 + 1_000_000,
        }
    }
}

fn detection_us(keepalive: KeepAlive) -> u64 {
    keepalive::detection_us(
        keepalive.idle_us,
        keepalive.interval_us,
        keepalive.count.into(),
    )
}

/// How the client's waiting ended.
enum Ending {
    /// The stream ended.
    End,
    /// The connection failed.
    Failed(String),
    /// A heartbeat was not answered in time; when the last answered one was sent.
    Unanswered { since_us: u64 },
    /// Nothing happened.
    Watched,
}

async fn script(lab: &mut Lab, params: &Params) -> Result<(), LabError> {
    let vigil = Vigil::of(params, lab.mode());
    let lab = &*lab;

    lab.chapter(match vigil.proxied {
        true => "Connect through the proxy and exchange a greeting",
        false => "Connect and exchange a greeting",
    });
    let mut client = connect(lab, &vigil).await?;
    client.write(b"hello").await?;
    client.read_exactly(5).await?;
    let greeted_us = lab.now_us();

    let (fate, at_us) = vigil.fate();
    lab.chapter(match vigil.death_us {
        _ if vigil.heartbeat.is_some() => "Heartbeats, from end to end",
        _ if vigil.keepalive.is_some() => "Probes, as far as they reach",
        _ => "Silence",
    });
    let name = announce(lab, &vigil, fate, greeted_us, at_us);
    let until = moment(lab, greeted_us + vigil.ends_us());
    let dying = async {
        match vigil.death_us {
            Some(death_us) => {
                tokio::time::sleep_until(moment(lab, greeted_us + death_us)).await;
                die(lab).await
            }
            None => std::future::pending().await,
        }
    };
    let (mut since_us, mut predicted_us) = (greeted_us, at_us);
    let mut last_us = greeted_us;
    let ending = {
        let waiting = wait(lab, &mut client, vigil.heartbeat, greeted_us, &mut last_us);
        let mut waiting = std::pin::pin!(tokio::time::timeout_at(until, waiting));
        let ended = tokio::select! {
            biased;
            ended = &mut waiting => ended,
            died = dying => {
                died?;
                if let (Some(Fate::Probes), Some(keepalive)) = (fate, vigil.keepalive) {
                    (since_us, predicted_us) = count_down(lab, keepalive);
                }
                waiting.await
            }
        };
        match ended {
            Ok(ending) => ending?,
            Err(_) => Ending::Watched,
        }
    };
    if let Some(name) = name {
        let now_us = lab.now_us();
        let measured = match ending {
            Ending::Watched => None,
            _ => Some(now_us - since_us),
        };
        lab.measure(name, Some(predicted_us), measured, now_us);
    }
    tell(lab, &vigil, &ending, greeted_us, last_us);
    if !matches!(ending, Ending::Watched) {
        lab.chapter("What is left");
        client.close();
        if vigil.death_us.is_none() {
            lab.until_closed(SETTLING).await;
        }
    }
    Ok(())
}

/// A moment of the run's clock, for timers.
fn moment(lab: &Lab, at_us: u64) -> tokio::time::Instant {
    tokio::time::Instant::now() + Duration::from_micros(at_us.saturating_sub(lab.now_us()))
}

/// The client's connection to a backend that sends back whatever it reads.
async fn connect(lab: &Lab, vigil: &Vigil) -> Result<Connection, LabError> {
    let backend = lab.server().listen(7654).await?;
    let mut reach = lab.reach(&backend).await?;
    if vigil.proxied {
        let front = lab.proxy().listen(8000).await?;
        let proxy = TcpProxy {
            idle: Some(Duration::from_micros(vigil.proxy_idle_us)),
            back: vigil
                .proxy_keepalive
                .map(SocketOption::KeepAlive)
                .into_iter()
                .collect(),
            ..TcpProxy::to(reach)
        };
        reach = lab.reach(&front).await?;
        lab.spawn(proxy.serve(front, lab.crew()));
    }
    lab.spawn(async move {
        if let Ok(server) = Connection::accept(&backend).await {
            echo(server).await;
        }
    });
    let opened = Connection::open(&lab.client(), reach, vigil.keepalive).await?;
    opened.map_err(|error| LabError::Application {
        host: HostName::Client,
        call: "connect()",
        errno: errno_name(&error),
    })
}

/// Sends back what is read, until the stream ends.
async fn echo(mut server: Connection) {
    loop {
        match server.read().await {
            ReadOutcome::Data(bytes) => {
                // Where nobody is left to be answered, the next read says so.
                let _ = server.write(&bytes).await;
            }
            ReadOutcome::End => return server.close(),
            ReadOutcome::Failed(_) => return,
        }
    }
}

/// The backend is gone without a word.
async fn die(lab: &Lab) -> Result<(), LabError> {
    match lab.mode() {
        Mode::Packets => {
            lab.chapter("The backend loses its power");
            lab.power_off(HostName::Server).await
        }
        Mode::Relay => {
            lab.chapter("The backend says nothing more");
            lab.remark(
                "A host of a relayed run cannot lose its power. Its stream stalls instead: its \
                 kernel lives, and nothing that its program writes comes through.",
            );
            lab.cut(&[HostName::Server]).stay();
            Ok(())
        }
    }
}

/// Says what will end the connection; gives the name by which it is measured.
fn announce(
    lab: &Lab,
    vigil: &Vigil,
    fate: Option<Fate>,
    greeted_us: u64,
    at_us: u64,
) -> Option<&'static str> {
    let probes = vigil.keepalive.or(vigil.proxy_keepalive).map(|keepalive| {
        format!(
            "idle {} + {} x interval {}",
            human(keepalive.idle_us),
            keepalive.count,
            human(keepalive.interval_us)
        )
    });
    let probes = probes.unwrap_or_default();
    let (name, because) = match fate? {
        Fate::Idle => (
            "idle_close",
            format!(
                "the proxy's idle limit of {}, which counts bytes; probes have none",
                human(vigil.proxy_idle_us)
            ),
        ),
        Fate::Heartbeat => {
            let heartbeat = vigil.heartbeat?;
            (
                "heartbeat_unanswered",
                format!(
                    "the first heartbeat after the death, and its patience of {}; one is sent \
                     every {}",
                    human(heartbeat.patience_us),
                    human(heartbeat.every_us)
                ),
            )
        }
        // Known when the backend dies: it counts from the last packet that was heard.
        Fate::Probes => return Some("detection"),
        Fate::ProxyProbes => (
            "told_by_the_proxy",
            format!("the last probe of the proxy's that is answered, then {probes}"),
        ),
    };
    lab.expect_after(name, greeted_us, at_us, because);
    Some(name)
}

/// Waits at the client for its connection's end, and asks meanwhile. `last_us` becomes the time at
/// which bytes last came.
async fn wait(
    lab: &Lab,
    client: &mut Connection,
    heartbeat: Option<Heartbeat>,
    greeted_us: u64,
    last_us: &mut u64,
) -> Result<Ending, LabError> {
    let ended = |outcome| match outcome {
        ReadOutcome::End => Ok(Ending::End),
        ReadOutcome::Failed(error) => Ok(Ending::Failed(errno_name(&error))),
        ReadOutcome::Data(bytes) => Err(LabError::Unmet(format!(
            "the client read {} bytes that it had not asked for",
            bytes.len()
        ))),
    };
    let Some(heartbeat) = heartbeat else {
        return ended(client.read().await);
    };
    let mut since_us = greeted_us;
    for nth in 1.. {
        let next = moment(lab, greeted_us + nth * heartbeat.every_us);
        if let Ok(outcome) = tokio::time::timeout_at(next, client.read()).await {
            return ended(outcome);
        }
        let sent_us = lab.now_us();
        client.write(PING).await?;
        let patience = Duration::from_micros(heartbeat.patience_us);
        match client.read_within(patience).await {
            Some(ReadOutcome::Data(_)) => {
                *last_us = lab.now_us();
                since_us = sent_us;
            }
            Some(outcome) => return ended(outcome),
            None => return Ok(Ending::Unanswered { since_us }),
        }
    }
    Ok(Ending::Watched)
}

/// Says when the client's own probes will have gone unanswered; gives since when, and for how long.
fn count_down(lab: &Lab, keepalive: KeepAlive) -> (u64, u64) {
    let last_heard_us = lab.last_arrival_us(HostName::Client);
    let predicted_us = detection_us(keepalive);
    lab.expect_after(
        "detection",
        last_heard_us,
        predicted_us,
        format!(
            "idle {} + {} x interval {}",
            human(keepalive.idle_us),
            keepalive.count,
            human(keepalive.interval_us)
        ),
    );
    (last_heard_us, predicted_us)
}

/// Says what ended the connection, and what that shows.
fn tell(lab: &Lab, vigil: &Vigil, ending: &Ending, greeted_us: u64, last_us: u64) {
    let now_us = lab.now_us();
    match ending {
        Ending::Unanswered { since_us } => {
            if let Some(heartbeat) = vigil.heartbeat {
                let span = asking::heartbeat_us(heartbeat.every_us, heartbeat.patience_us);
                lab.measure(
                    "since_the_last_answered_heartbeat",
                    Some(span),
                    Some(now_us - since_us),
                    now_us,
                );
            }
        }
        Ending::End => unnoticed(lab, vigil, now_us - last_us),
        Ending::Failed(errno) => lab.remark(&format!("The client's read() failed with {errno}.")),
        Ending::Watched => lab.remark(&format!(
            "Looked for {}: the client's connection is open, and nothing was said to it.",
            human(now_us - greeted_us)
        )),
    }
}

/// The stream has ended, `quiet_us` after the last bytes, for a reason of the proxy's own.
fn unnoticed(lab: &Lab, vigil: &Vigil, quiet_us: u64) {
    match (vigil.keepalive, vigil.death_us) {
        (Some(keepalive), Some(_)) if lab.mode() == Mode::Packets => lab.remark(&format!(
            "The client's own keep-alive noticed nothing in all this time: the proxy's kernel \
             answered. A server that is asked directly would have been given up {} after its last \
             packet.",
            human(detection_us(keepalive))
        )),
        (Some(_), None) => lab.remark(&format!(
            "The last bytes had come {} before. Whatever was asked since then by keep-alive, the \
             proxy's program has not heard of it.",
            human(quiet_us)
        )),
        _ => lab.remark(&format!(
            "The last bytes had come {} before the end of the stream.",
            human(quiet_us)
        )),
    }
}
