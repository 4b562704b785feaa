//! `tcp-one-way-cut`: why do the two ends report different errors at different times?

mod page;
mod scene;

use std::{collections::BTreeMap, time::Duration};

use linger_shared::{
    event::HostName,
    experiment::{Descriptor, Params},
    theory::retransmission::Sender,
    units::human,
};

use self::scene::Scene;
use super::{Experiment, Script, keepalive_of, probed};
use crate::{
    endpoints::Connection,
    hosts,
    lab::{Lab, LabError, Plan},
};

/// How many messages of the server arrive before the first cut.
const MESSAGES: usize = 3;
/// What the server goes on sending.
const MESSAGE: &[u8] = b"tick";
/// What the client asks where its data is to be in flight, too.
const REQUEST: &[u8] = b"still there?";

pub(super) struct TcpOneWayCut;

impl Experiment for TcpOneWayCut {
    fn id(&self) -> &'static str {
        "tcp-one-way-cut"
    }

    fn descriptor(&self) -> Descriptor {
        page::descriptor(self.id())
    }

    fn plan(&self, params: &Params) -> Plan {
        let delay = params.duration_us("delay");
        let retries = |name| {
            let value = params.integer(name).to_string();
            BTreeMap::from([("tcp_retries2".to_owned(), value)])
        };
        let ladder = |name| {
            let retries = u32::try_from(params.integer(name)).unwrap_or(15);
            Sender::planned(2 * delay, retries, hosts::tick_us()).ladder()
        };
        let client_us = match params.choice("in_flight") {
            "both" => ladder("client_retries").gives_up.latest_us,
            _ => probed(keepalive_of(params), hosts::tick_us()).latest_us,
        };
        let sending = u64::try_from(MESSAGES).unwrap_or(0) * params.duration_us("every");
        let cuts = params.duration_us("second_cut") + params.duration_us("heal_after");
        let server_us = match params.choice("heal") {
            "never" => ladder("server_retries").gives_up.latest_us,
            // The next retransmission after the healing is at most as far away as the time before.
            _ => (client_us + cuts) * 2,
        };
        Plan {
            sysctls: BTreeMap::from([("tcp_early_retrans".to_owned(), "3".to_owned())]),
            host_sysctls: BTreeMap::from([
                (HostName::Client, retries("client_retries")),
                (HostName::Server, retries("server_retries")),
            ]),
            ..Plan::symmetric(delay, sending + cuts + client_us + server_us + 20 * delay)
        }
    }

    fn run<'a>(&'a self, lab: &'a mut Lab, params: &'a Params) -> Script<'a> {
        Box::pin(script(lab, params))
    }
}

async fn script(lab: &mut Lab, params: &Params) -> Result<(), LabError> {
    let delay = params.duration_us("delay");
    let keepalive = keepalive_of(params);
    let both = params.choice("in_flight") == "both";

    lab.chapter("The server sends, the client listens");
    let listener = lab.server().listen(7654).await?;
    let (mut client, mut server, _) =
        Connection::pair(&lab.client(), &listener, Some(keepalive)).await?;
    Connection::greet(&mut client, &mut server).await?;
    let mut rhythm = tokio::time::interval(Duration::from_micros(params.duration_us("every")));
    for _ in 0..MESSAGES {
        rhythm.tick().await;
        server.write(MESSAGE).await?;
        client.read_exactly(MESSAGE.len()).await?;
    }
    let server_sender = lab.sender_at_rest(HostName::Server).await?;
    let client_sender = lab.sender_at_rest(HostName::Client).await?;

    lab.chapter("Cut the way from the server to the client");
    let back = lab.cut(&[HostName::Server]);
    let last_heard = lab.last_arrival_us(HostName::Client);
    let server_ladder = server_sender.ladder();
    let sent_us = lab.now_us();
    server.write(MESSAGE).await?;
    let (client_since_us, client_gives_up, because) = if both {
        let ladder = client_sender.ladder();
        let because = format!(
            "its request stays unacknowledged, so keep-alive is silent; RTO {}, doubling; the first \
             expiry that is {} (tcp_retries2 {}) or more after the first counted retransmission",
            human(client_sender.rto_us),
            human(client_sender.patience_us()),
            client_sender.retries
        );
        (lab.now_us(), ladder.gives_up, because)
    } else {
        let because = format!(
            "nothing of the client's is in flight, so keep-alive asks: idle {} + {} x interval {}",
            human(keepalive.idle_us),
            keepalive.count,
            human(keepalive.interval_us)
        );
        (
            last_heard,
            probed(keepalive, client_sender.tick_us),
            because,
        )
    };
    // Keep-alive's last word is an RST; retransmissions end without one.
    let hears_it = !both && params.duration_us("second_cut") > client_gives_up.latest_us;
    let reset_us = hears_it.then(|| {
        let at_us = client_since_us + client_gives_up.expected_us + delay;
        at_us.saturating_sub(sent_us)
    });
    let mut scene = Scene {
        client,
        server,
        sent_us,
        server_ladder,
        server_sender,
        client_since_us,
        client_gives_up,
        reset_us,
        client_is_over: false,
        server_is_over: false,
    };
    scene.foresee(lab, params, because);
    if both {
        scene.client.write(REQUEST).await?;
        scene.server.read_exactly(REQUEST.len()).await?;
        lab.remark("The server has read the request; it is its acknowledgment that is dropped.");
    }

    let second_cut = Duration::from_micros(params.duration_us("second_cut"));
    scene.watch(lab, Some(second_cut), false).await?;
    if scene.client_is_over && scene.server_is_over {
        back.stay();
        lab.remark("Both ends had met their end before the other way was to be cut.");
        return Ok(());
    }
    lab.chapter("Cut the other way, too");
    let there = lab.cut(&[HostName::Client]);

    let heal_after = Duration::from_micros(params.duration_us("heal_after"));
    match params.choice("heal") {
        "early" => {
            scene.watch(lab, Some(heal_after), false).await?;
            scene.deliver(lab, [back, there], delay).await
        }
        "never" => {
            back.stay();
            there.stay();
            scene.watch(lab, None, true).await?;
            scene.watch(lab, None, false).await?;
            lab.remark("The path never healed: each end's own timer told it, and nobody an RST.");
            Ok(())
        }
        _ => {
            scene.watch(lab, None, true).await?;
            scene.watch(lab, Some(heal_after), false).await?;
            scene.reset(lab, [back, there], delay).await
        }
    }
}
