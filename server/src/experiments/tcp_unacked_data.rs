//! `tcp-unacked-data`: why did keep-alive not help?

use std::collections::BTreeMap;

use linger_shared::{
    event::{HostName, Mode},
    experiment::{Descriptor, Finding, Param, Params},
    theory::retransmission::{Ladder, Sender},
    units::human,
};

use super::{Experiment, Script, claim, keepalive_of, paragraphs, preset, probed, reference};
use crate::{
    endpoints::{Connection, Silence},
    hosts,
    lab::{Lab, LabError, Plan},
};

pub(super) struct TcpUnackedData;

impl Experiment for TcpUnackedData {
    fn id(&self) -> &'static str {
        "tcp-unacked-data"
    }

    fn descriptor(&self) -> Descriptor {
        Descriptor {
            id: self.id().to_owned(),
            title: "Data that nobody acknowledges".to_owned(),
            question: "Why did keep-alive not help?".to_owned(),
            family: "TCP".to_owned(),
            modes: vec![Mode::Packets],
            explanation: paragraphs(&[
                "Keep-alive asks an idle connection whether its peer is there. A connection with \
                 data in flight is not idle: the data itself is the question, and it is asked again \
                 and again by the retransmission timer. For as long as anything is unacknowledged \
                 the keep-alive timer only sets itself anew (`tcp_keepalive_timer`), so what its \
                 options promise does not hold.",
                "The retransmission time-out starts a little above the round trip, but not below \
                 200 ms, and doubles up to 120 s. Linux first sends a tail loss probe (RFC 8985), \
                 which does not count, and then lets `tcp_retries2` decide when to give up. That is \
                 no number of packets: the kernel works out how long so many retransmissions would \
                 take from 200 ms on (12.6 s for 5, 924.6 s for 15), and gives up when the timer \
                 next expires after that time, counted from the first counted retransmission \
                 (`retransmits_timed_out`). So the time depends on the round trip, in steps.",
                "Linux's default is 15, which is 15 to 18 minutes in all; the default here is 5, which \
                 is some 13 s, so that 1 s of the run stands for 70 s. Each timer also waits for the \
                 end of its slot in the kernel's timer wheel, up to an eighth of its length later; the \
                 prediction contains the mean of that.",
            ]),
            look_for: paragraphs(&[
                "the same data leaving again and again, at intervals that double",
                "no keep-alive probe between them, though keep-alive is on and long due",
                "ETIMEDOUT without an RST: nobody tells the peer",
                "with nothing in flight: probes, and the detection that keep-alive promises",
            ]),
            misconception: "\"With keep-alive set to 4 s I know within 4 s.\" Only if you were \
                            silent. If you sent something into the cut, the retransmission timer \
                            decides, and by default it takes a quarter of an hour."
                .to_owned(),
            params: vec![
                Param::boolean(
                    "in_flight",
                    true,
                    "whether the client writes into the cut path",
                ),
                Param::boolean(
                    "keepalive",
                    true,
                    "whether the client's socket has SO_KEEPALIVE",
                ),
                Param::duration(
                    "idle",
                    1_000_000,
                    1_000_000,
                    7_200_000_000,
                    "silence before the first probe (TCP_KEEPIDLE), rounded up to whole seconds",
                ),
                Param::duration(
                    "interval",
                    1_000_000,
                    1_000_000,
                    600_000_000,
                    "how long each probe may stay unanswered (TCP_KEEPINTVL), rounded up to whole seconds",
                ),
                Param::integer(
                    "count",
                    "probes",
                    3,
                    1,
                    127,
                    "probes that may stay unanswered in a row (TCP_KEEPCNT)",
                ),
                Param::integer(
                    "retries",
                    "retransmissions",
                    5,
                    1,
                    15,
                    "tcp_retries2 of the client; 5 stand for Linux's 15",
                ),
                Param::duration(
                    "rto_max",
                    120_000_000,
                    1_000_000,
                    120_000_000,
                    "where doubling ends (tcp_rto_max_ms), in a kernel that lets it be set (6.15)",
                ),
                Param::duration(
                    "watch",
                    8_000_000,
                    1_000_000,
                    14_400_000_000,
                    "how long to look on where theory says that nobody will notice",
                ),
                Param::duration("delay", 5_000, 0, 400_000, "one-way delay of the link"),
            ],
            presets: vec![
                preset(
                    "nothing in flight",
                    "keep-alive detects, as promised",
                    &[("in_flight", "off")],
                ),
                preset(
                    "15 retries, doubling up to 1 s",
                    "Linux's default number on a short ladder: tcp_rto_max_ms is 1 s instead of 120 s",
                    &[("retries", "15"), ("rto_max", "1s")],
                ),
                preset(
                    "the least that RFC 1122 asks for",
                    "8 retries are the first that make 100 s",
                    &[("retries", "8")],
                ),
                preset(
                    "Linux's default",
                    "15 retries, doubling up to 120 s: about 940 s",
                    &[("retries", "15")],
                ),
            ],
            claims: vec![
                claim(
                    "Keep-alive detects a dead peer after idle + interval x count.",
                    Finding::Depends,
                    "Only where nothing is in flight. With a single unacknowledged byte no probe is \
                     sent, and ETIMEDOUT comes when the retransmission timer gives up: some 13 s here, \
                     where keep-alive promised 4 s.",
                    &[],
                ),
                claim(
                    "A connection that is only listened to on an otherwise dead path is what \
                     keep-alive is for.",
                    Finding::Confirmed,
                    "With nothing in flight the probes leave and go unanswered, and ETIMEDOUT comes \
                     when keep-alive promised it.",
                    &[("in_flight", "off")],
                ),
                claim(
                    "tcp_retries2 is how often a segment is sent again.",
                    Finding::Refuted,
                    "It stands for a time. With 4, and a round trip of 400 ms, the data is sent again \
                     three times: in a loss probe that does not count, and in two retransmissions, \
                     after which the 6.2 s that the kernel works out from the number are over. Only \
                     with a time-out just above 200 ms do number and retransmissions agree, the \
                     probe aside.",
                    &[("retries", "4"), ("delay", "200ms")],
                ),
                claim(
                    "15 retries take 924.6 s.",
                    Finding::Depends,
                    "Over a round trip of 10 ms it took 947.8 s. 924.6 s is what the kernel works out \
                     for a time-out of exactly 200 ms, and the least that it waits after the first \
                     counted retransmission. The timer that finds it over is the next one to expire, \
                     so the whole is longer: by the round trip, the loss probe and the slots of the \
                     timer wheel.",
                    &[("retries", "15")],
                ),
            ],
            references: vec![
                reference(
                    "RFC 6298: computing TCP's retransmission timer",
                    "https://www.rfc-editor.org/rfc/rfc6298",
                ),
                reference(
                    "RFC 8985, section 7: tail loss probe",
                    "https://www.rfc-editor.org/rfc/rfc8985#section-7",
                ),
                reference(
                    "RFC 1122, section 4.2.3.5: TCP connection failures",
                    "https://www.rfc-editor.org/rfc/rfc1122#section-4.2.3.5",
                ),
                reference(
                    "Linux, ip-sysctl: tcp_retries2, tcp_rto_max_ms",
                    "https://docs.kernel.org/networking/ip-sysctl.html",
                ),
            ],
        }
    }

    fn plan(&self, params: &Params) -> Plan {
        let delay = params.duration_us("delay");
        let mut sysctls = BTreeMap::from([
            (
                "tcp_retries2".to_owned(),
                params.integer("retries").to_string(),
            ),
            ("tcp_early_retrans".to_owned(), "3".to_owned()),
        ]);
        if hosts::has_sysctl("tcp_rto_max_ms") {
            let ms = params.duration_us("rto_max") / 1_000;
            sysctls.insert("tcp_rto_max_ms".to_owned(), ms.to_string());
        }
        let longest = if params.boolean("in_flight") {
            let retries = u32::try_from(params.integer("retries")).unwrap_or(15);
            Sender {
                rto_max_us: params.duration_us("rto_max"),
                ..Sender::planned(2 * delay, retries, hosts::tick_us())
            }
            .ladder()
            .gives_up
            .latest_us
                * 2
        } else {
            match params.boolean("keepalive") {
                true => probed(keepalive_of(params), hosts::tick_us()).latest_us * 2,
                false => params.duration_us("watch"),
            }
        };
        Plan {
            sysctls,
            ..Plan::symmetric(delay, longest + 20 * delay)
        }
    }

    fn run<'a>(&'a self, lab: &'a mut Lab, params: &'a Params) -> Script<'a> {
        Box::pin(script(lab, params))
    }
}

async fn script(lab: &mut Lab, params: &Params) -> Result<(), LabError> {
    let keepalive = params.boolean("keepalive").then(|| keepalive_of(params));

    lab.chapter("Connect and exchange a greeting");
    let listener = lab.server().listen(7654).await?;
    let (mut client, mut server, _) = Connection::pair(&lab.client(), &listener, keepalive).await?;
    Connection::greet(&mut client, &mut server).await?;
    lab.sender_at_rest(HostName::Server).await?;
    let sender = lab.sender_at_rest(HostName::Client).await?;

    lab.chapter("Cut the path without a word");
    lab.cut(&[HostName::Client, HostName::Server]).stay();
    let last_heard = lab.last_arrival_us(HostName::Client);
    let promised = keepalive.map(|keepalive| probed(keepalive, sender.tick_us));

    if !params.boolean("in_flight") {
        if let (Some(keepalive), Some(promised)) = (keepalive, promised) {
            let because = format!(
                "nothing is in flight, so keep-alive asks: idle {} + {} x interval {}",
                human(keepalive.idle_us),
                keepalive.count,
                human(keepalive.interval_us)
            );
            lab.expect_after("detection", last_heard, promised.expected_us, because);
        }
        let silence = Silence {
            since_us: last_heard,
            noticed: promised,
            watch_us: params.duration_us("watch"),
        };
        let noticed =
            Connection::notices(lab, "detection", &mut client, &mut server, silence).await?;
        if noticed.is_none() {
            lab.remark("Nobody asks and nothing is in flight: both sides still wait.");
        }
        return Ok(());
    }

    lab.chapter("Write into the cut path");
    let ladder = sender.ladder();
    if let Some(promised) = promised {
        lab.remark(&format!(
            "Keep-alive would notice {} after the last packet that arrived, were nothing in flight.",
            human(promised.expected_us)
        ));
    }
    let wrote_us = lab.now_us();
    lab.expect_after(
        "detection",
        wrote_us,
        ladder.gives_up.expected_us,
        because(&sender, &ladder),
    );
    client.write(b"anybody there?").await?;
    let silence = Silence {
        since_us: wrote_us,
        noticed: Some(ladder.gives_up),
        watch_us: 0,
    };
    Connection::notices(lab, "detection", &mut client, &mut server, silence).await?;
    lab.remark("No RST tells the server: its side is ESTABLISHED, and its read() waits as before.");
    Ok(())
}

/// How the prediction comes about, in words.
fn because(sender: &Sender, ladder: &Ladder) -> String {
    format!(
        "RTO {}, {}doubling up to {}; the first expiry that is {} (tcp_retries2 {}) or more after \
         the first counted retransmission: {} to {}, as the timer wheel has it",
        human(sender.rto_us),
        if sender.loss_probe {
            "a loss probe, then "
        } else {
            ""
        },
        human(sender.rto_max_us),
        human(sender.patience_us()),
        sender.retries,
        human(ladder.gives_up.earliest_us),
        human(ladder.gives_up.latest_us),
    )
}
