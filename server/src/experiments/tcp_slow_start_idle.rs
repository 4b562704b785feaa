//! `tcp-slow-start-idle`: is an idle connection still fast?

use std::{
    collections::BTreeMap,
    sync::atomic::{AtomicU32, Ordering},
    time::Duration,
};

use linger_shared::{
    event::{HostName, Mode, SocketSnapshot},
    experiment::{Descriptor, Finding, Param, Params},
    link::MTU,
    theory::cwnd,
    units::human,
};

use super::{Experiment, Script, claim, paragraphs, preset, reference};
use crate::{
    endpoints::{Connection, ReadOutcome},
    lab::{Lab, LabError, Plan},
};

/// How long a state that must come may take beyond round trips: a busy machine's scheduling.
const SLACK: Duration = Duration::from_secs(5);

/// What asks for a transfer.
const REQUEST: &[u8] = b"more";

pub(super) struct TcpSlowStartIdle;

impl Experiment for TcpSlowStartIdle {
    fn id(&self) -> &'static str {
        "tcp-slow-start-idle"
    }

    fn descriptor(&self) -> Descriptor {
        Descriptor {
            id: self.id().to_owned(),
            title: "Slow start after idle".to_owned(),
            question: "Is an idle connection still fast?".to_owned(),
            family: "TCP".to_owned(),
            modes: vec![Mode::Packets],
            explanation: paragraphs(&[
                "A sender does not know what the path can take, so it starts with a window of ten \
                 segments (RFC 6928) and doubles it each round trip: slow start. A response of 90 kB \
                 takes three round trips on a new connection. On one that has carried such a response \
                 before, the window is large enough for all of it at once: one round trip. That is \
                 the better half of what a persistent connection saves.",
                "But what a sender learnt of the path grows old. When it has sent nothing for longer \
                 than its retransmission time-out, Linux takes the window back before it sends \
                 again: halved for each time-out of the idle time, down to the initial ten \
                 (tcp_cwnd_restart; RFC 5681, section 4.1, would have it fall at once). The \
                 connection is open, the handshake is saved, and the response takes three round trips \
                 again.",
                "The sysctl tcp_slow_start_after_idle, on by default, decides. BBR keeps a model of \
                 the path instead and is exempt. Nothing is scaled here: the time-out is a round trip \
                 and 200 ms, so idling for seconds is enough.",
            ]),
            look_for: paragraphs(&[
                "the flights of the first transfer: 10, 20 and then 33 segments, a round trip apart",
                "the second transfer: everything in one flight",
                "after idling: the first transfer's staircase again, on the same connection",
                "the server's cwnd in the sockets table when it begins to send again",
            ]),
            misconception:
                "\"A connection that is kept open stays fast.\" It stays open. How much \
                            may be sent at once is forgotten within seconds."
                    .to_owned(),
            params: vec![
                Param::duration(
                    "idle",
                    3_000_000,
                    100_000,
                    600_000_000,
                    "how long the connection idles before the third transfer",
                ),
                Param::boolean(
                    "after_idle",
                    true,
                    "tcp_slow_start_after_idle of the server",
                ),
                Param::choice(
                    "congestion",
                    &["cubic", "reno", "bbr"],
                    "TCP_CONGESTION of both sockets; bbr needs the kernel's module tcp_bbr",
                ),
                Param::integer(
                    "size",
                    "bytes",
                    90_000,
                    20_000,
                    1_000_000,
                    "what each transfer carries",
                ),
                Param::duration(
                    "delay",
                    50_000,
                    20_000,
                    400_000,
                    "one-way delay of the link",
                ),
            ],
            presets: vec![
                preset(
                    "keep the window",
                    "tcp_slow_start_after_idle is off: the third transfer is as fast as the second",
                    &[("after_idle", "off")],
                ),
                preset(
                    "a short pause",
                    "less than the time-out: nothing is forgotten",
                    &[("idle", "150ms")],
                ),
                preset(
                    "half forgotten",
                    "two to three time-outs: a quarter of the window is left",
                    &[("idle", "700ms")],
                ),
                preset(
                    "a larger response",
                    "200 kB: four round trips, one, and four again",
                    &[("size", "200000")],
                ),
                preset(
                    "BBR",
                    "keeps its model; only where the kernel offers it",
                    &[("congestion", "bbr")],
                ),
                preset(
                    "a browser's pause",
                    "20 s of reading between two pages",
                    &[("idle", "20s")],
                ),
            ],
            claims: vec![
                claim(
                    "A persistent connection avoids slow start.",
                    Finding::Depends,
                    "While it is busy: the second transfer takes one round trip instead of three. \
                     After a pause of seconds it starts slowly again.",
                    &[],
                ),
                claim(
                    "After an idle time the window falls to its initial value.",
                    Finding::Depends,
                    "After a long one. Linux halves it for each retransmission time-out: after two \
                     to three of them a quarter is left.",
                    &[("idle", "700ms")],
                ),
                claim(
                    "With tcp_slow_start_after_idle=0 an idle connection stays fast.",
                    Finding::Confirmed,
                    "The third transfer takes as many round trips as the second.",
                    &[("after_idle", "off")],
                ),
            ],
            references: vec![
                reference(
                    "RFC 5681, section 4.1: restarting idle connections",
                    "https://www.rfc-editor.org/rfc/rfc5681#section-4.1",
                ),
                reference(
                    "RFC 2861: TCP congestion window validation",
                    "https://www.rfc-editor.org/rfc/rfc2861",
                ),
                reference(
                    "RFC 6928: increasing TCP's initial window",
                    "https://www.rfc-editor.org/rfc/rfc6928",
                ),
                reference(
                    "Linux, ip-sysctl: tcp_slow_start_after_idle",
                    "https://docs.kernel.org/networking/ip-sysctl.html",
                ),
            ],
        }
    }

    fn plan(&self, params: &Params) -> Plan {
        let delay = params.duration_us("delay");
        let after_idle = u8::from(params.boolean("after_idle")).to_string();
        // Buffers that hold a whole transfer: what limits it is the congestion window alone.
        let buffers = "4096 4194304 6291456".to_owned();
        let sysctls = BTreeMap::from([
            ("tcp_slow_start_after_idle".to_owned(), after_idle),
            ("tcp_wmem".to_owned(), buffers.clone()),
            ("tcp_rmem".to_owned(), buffers),
        ]);
        Plan {
            congestion: congestion(params),
            sysctls,
            ..Plan::symmetric(delay, params.duration_us("idle") + 60 * delay)
        }
    }

    fn run<'a>(&'a self, lab: &'a mut Lab, params: &'a Params) -> Script<'a> {
        Box::pin(script(lab, params))
    }
}

fn congestion(params: &Params) -> &'static str {
    match params.choice("congestion") {
        "reno" => "reno",
        "bbr" => "bbr",
        _ => "cubic",
    }
}

/// The server's sending side, as its kernel tells of it.
#[derive(Clone, Copy)]
struct Window {
    cwnd: u64,
    ssthresh: Option<u64>,
    rto_us: u64,
}

impl Window {
    /// Of a connection that has sent nothing yet.
    const NEW: Self = Self {
        cwnd: cwnd::INITIAL,
        ssthresh: None,
        rto_us: 0,
    };

    fn of(socket: &SocketSnapshot) -> Option<Self> {
        Some(Self {
            cwnd: socket.cwnd?.into(),
            ssthresh: socket.ssthresh.map(u64::from),
            rto_us: socket.rto_us?.into(),
        })
    }
}

/// One transfer after another on the same connection.
struct Transfers<'a> {
    lab: &'a Lab,
    client: Connection,
    size: usize,
    segments: u64,
    round_trip: u64,
    /// BBR paces what it sends, by a model that no arithmetic of windows tells.
    paced: bool,
}

async fn script(lab: &mut Lab, params: &Params) -> Result<(), LabError> {
    let delay = params.duration_us("delay");
    let size = usize::try_from(params.integer("size")).unwrap_or(usize::MAX);
    let name = congestion(params);

    lab.chapter("Connect");
    if let Err(error) = lab.server().socket_with(Some(name)).await {
        return Err(LabError::Unmet(format!(
            "this kernel does not offer {name} (sysctl net.ipv4.tcp_available_congestion_control \
             lists what it offers; bbr is the module tcp_bbr): {error}"
        )));
    }
    let listener = lab.server().listen(7654).await?;
    let (client, server, _) = Connection::pair(&lab.client(), &listener, None).await?;
    let timestamps = lab.sysctl(HostName::Server, "tcp_timestamps") != Some(0);
    let segments = (size as u64).div_ceil(cwnd::payload(MTU.into(), timestamps));
    let lab = &*lab;
    let mut transfers = Transfers {
        lab,
        client,
        size,
        segments,
        round_trip: 2 * delay,
        paced: name == "bbr",
    };
    let asking = async {
        lab.chapter("The first transfer: the connection is new");
        transfers.carry("new", Window::NEW).await?;

        lab.chapter("The second transfer: the window is open");
        let warm = at_rest(lab).await?;
        transfers.carry("busy", warm).await?;

        let idle = params.duration_us("idle");
        lab.chapter(&format!("Idle for {}", human(idle)));
        let before = at_rest(lab).await?;
        // Sent a one-way delay before it arrived; what comes next is sent when a request has come.
        let last_sent = lab.last_arrival_us(HostName::Client).saturating_sub(delay);
        let until = last_sent + idle;
        let left = until.saturating_sub(lab.now_us() + delay);
        tokio::time::sleep(Duration::from_micros(left)).await;

        lab.chapter("The third transfer: what is left of the window");
        let idled = (lab.now_us() + delay).saturating_sub(last_sent);
        let window = restarted(lab, params, before, idled);
        transfers.carry("idle", window).await
    };
    tokio::select! {
        asked = asking => asked,
        served = serve(server, size) => {
            served?;
            Err(LabError::Unmet("the server read the end of a stream that nobody closed".to_owned()))
        }
    }
}

/// What theory makes of the window, and says of it.
fn restarted(lab: &Lab, params: &Params, before: Window, idled: u64) -> Window {
    let keeps = !params.boolean("after_idle") || congestion(params) == "bbr";
    let cwnd = if keeps {
        before.cwnd
    } else {
        cwnd::after_idle(before.cwnd, idled, before.rto_us)
    };
    let why = if congestion(params) == "bbr" {
        "BBR is exempt".to_owned()
    } else if keeps {
        "tcp_slow_start_after_idle is off".to_owned()
    } else {
        format!(
            "idle for {}, {:.1} retransmission time-outs of {}",
            human(idled),
            idled as f64 / before.rto_us.max(1) as f64,
            human(before.rto_us)
        )
    };
    lab.remark(&format!(
        "The window was {} segments; {why}: predicted is a window of {cwnd}.",
        before.cwnd
    ));
    Window { cwnd, ..before }
}

impl Transfers<'_> {
    /// Asks for a transfer and reads it to its end; `window` is what the server begins with.
    async fn carry(&mut self, name: &str, window: Window) -> Result<(), LabError> {
        let lab = self.lab;
        let name = format!("transfer_{name}");
        let rounds = cwnd::rounds(self.segments, window.cwnd, window.ssthresh);
        let predicted = (!self.paced).then_some(rounds * self.round_trip);
        let began = lab.now_us();
        if let Some(predicted) = predicted {
            lab.expect_after(
                &name,
                began,
                predicted,
                format!(
                    "{} segments from a window of {}: {rounds} x {}",
                    self.segments,
                    window.cwnd,
                    human(self.round_trip)
                ),
            );
        }
        let seen = AtomicU32::new(0);
        let carrying = async {
            self.client.write(REQUEST).await?;
            self.client.read_exactly(self.size).await?;
            let ended = lab.now_us();
            lab.measure(&name, predicted, Some(ended - began), ended);
            Ok::<_, LabError>(())
        };
        // When it begins to send, before any of it is acknowledged.
        let looking = lab.connections_until(HostName::Server, SLACK, |sockets| {
            sockets.iter().any(|socket| {
                let sends = socket.send_queue > 0;
                if sends {
                    seen.store(socket.cwnd.unwrap_or(0), Ordering::Relaxed);
                }
                sends
            })
        });
        let (carried, _) = tokio::join!(carrying, looking);
        carried?;
        lab.remark(&format!(
            "It began with a window of {} segments; predicted was {}.",
            seen.load(Ordering::Relaxed),
            window.cwnd
        ));
        Ok(())
    }
}

/// The server's window when all that it sent is acknowledged.
async fn at_rest(lab: &Lab) -> Result<Window, LabError> {
    lab.connections_until(HostName::Server, SLACK, |sockets| {
        sockets.iter().all(|socket| socket.send_queue == 0)
    })
    .await;
    lab.connections(HostName::Server)
        .iter()
        .find_map(Window::of)
        .ok_or_else(|| LabError::Unmet("the server's kernel tells of no window".to_owned()))
}

/// Answers each request with a transfer.
async fn serve(mut server: Connection, size: usize) -> Result<(), LabError> {
    let transfer = vec![b'x'; size];
    while let ReadOutcome::Data(_) = server.read().await {
        server.write(&transfer).await?;
    }
    Ok(())
}
