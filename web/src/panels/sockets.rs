//! The sockets of both hosts as their kernels tell them, with running countdowns; and the counts.

use gloo_timers::callback::Interval;
use linger_shared::{
    diagram::{Counts, SocketRow, brief},
    event::{HostName, SocketSnapshot, TimerKind},
};
use yew::prelude::*;

use crate::{
    services::page,
    state::{record::Shared, run::Run},
};

/// How often countdowns are repainted, in milliseconds.
const REPAINT_MS: u32 = 100;

/// How many sockets of a host are listed; the rest is counted.
const MOST: usize = 24;

/// What the panel is made from.
#[derive(Properties, PartialEq)]
pub(crate) struct Props {
    /// The run.
    pub(crate) run: Run,
    /// Its record.
    pub(crate) record: Shared,
}

/// The panel. See the module.
#[component]
pub(crate) fn Sockets(props: &Props) -> Html {
    let redraw = use_force_update();
    let live = props.run.is_live();
    use_effect_with(live, move |live| {
        let interval = live.then(|| Interval::new(REPAINT_MS, move || redraw.force_update()));
        move || drop(interval)
    });
    let record = props.record.borrow();
    let model = record.model();
    let at_us = props.run.latest_us(page::now_ms());
    let rows = model.sockets_at(at_us);
    let host = |host: HostName| {
        let rows: Vec<&SocketRow> = rows.iter().filter(|row| row.host == host).collect();
        table(host, &rows, at_us)
    };
    html! {
        <>
            <section class="panel sockets">
                <h2>{ "Sockets" }</h2>
                { for model.header().hosts.iter().map(|info| host(info.name)) }
            </section>
            <section class="panel counts">
                <h2>{ "Counts" }</h2>
                { counts(&model.counts()) }
            </section>
        </>
    }
}

fn table(host: HostName, rows: &[&SocketRow], at_us: u64) -> Html {
    if rows.is_empty() {
        return html! {
            <p class="hint">{ format!("The {host}'s kernel has no socket.") }</p>
        };
    }
    let more = rows.len().saturating_sub(MOST);
    html! {
        <table>
            <caption>{ host.as_str() }</caption>
            <thead>
                <tr>
                    <th scope="col">{ "State" }</th>
                    <th scope="col">{ "Timer" }</th>
                    <th scope="col" title="Unanswered retransmissions or probes">{ "Retries" }</th>
                    <th scope="col" title="Congestion window in segments">{ "cwnd" }</th>
                    <th scope="col" title="Smoothed round trip time">{ "RTT" }</th>
                    <th scope="col" title="Bytes not read / bytes not acknowledged">{ "Queues" }</th>
                </tr>
            </thead>
            { for rows.iter().take(MOST).map(|row| socket(row, at_us)) }
            if more > 0 {
                <tfoot>
                    <tr><td colspan="6">{ format!("and {more} more") }</td></tr>
                </tfoot>
            }
        </table>
    }
}

fn socket(row: &SocketRow, at_us: u64) -> Html {
    let snapshot = row.snapshot;
    let name = if snapshot.remote.port() == 0 {
        format!("{} (listens)", snapshot.local)
    } else {
        format!("{} \u{2192} {}", snapshot.local, snapshot.remote)
    };
    let orphan = if snapshot.orphan { ", orphan" } else { "" };
    let or_dash = |text: Option<String>| text.unwrap_or_else(|| "\u{2013}".to_owned());
    html! {
        <tbody key={name.clone()}>
            <tr><th scope="rowgroup" colspan="6">{ format!("{name}{orphan}") }</th></tr>
            <tr>
                <td class="state">{ snapshot.state.as_str() }</td>
                <td class="timer">{ or_dash(timer(snapshot, at_us.saturating_sub(row.at_us))) }</td>
                <td>{ snapshot.retries }</td>
                <td>{ or_dash(snapshot.cwnd.map(|cwnd| cwnd.to_string())) }</td>
                <td>{ or_dash(snapshot.rtt_us.map(|rtt| brief(u64::from(rtt)))) }</td>
                <td>{ format!("{}/{}", snapshot.recv_queue, snapshot.send_queue) }</td>
            </tr>
        </tbody>
    }
}

/// The pending timer with the time that is left of it now, so long after it was told.
fn timer(snapshot: &SocketSnapshot, since_us: u64) -> Option<String> {
    let timer = snapshot.timer?;
    let name = match timer.timer {
        TimerKind::Retransmission => "retransmit",
        TimerKind::KeepAlive => "keep-alive",
        TimerKind::TimeWait => "time-wait",
        TimerKind::WindowProbe => "window probe",
    };
    let left = timer.left_us.saturating_sub(since_us) as f64 / 1e6;
    Some(if left >= 600.0 {
        format!("{name} {:.0} min", left / 60.0)
    } else {
        format!("{name} {left:.1} s")
    })
}

fn counts(counts: &Counts) -> Html {
    let entries = [
        ("Connections", counts.connections),
        ("Packets", counts.packets),
        ("Arrived", counts.arrived),
        ("Dropped", counts.dropped),
        ("Retransmissions", counts.retransmissions),
        ("Bytes", counts.bytes),
    ];
    html! {
        <dl class="tally">
            { for entries.into_iter().map(|(name, number)| html! {
                <div><dt>{ name }</dt><dd>{ number }</dd></div>
            }) }
        </dl>
    }
}

#[cfg(all(test, not(target_arch = "wasm32")))]
mod tests {
    use linger_shared::protocol::{RunState, StreamMessage};

    use super::*;
    use crate::{
        panels::tests::render,
        state::{samples, stream::Report},
    };

    #[tokio::test]
    async fn both_hosts_sockets_are_listed_with_what_is_left_of_their_timers() {
        let mut run = Run::new("r1");
        run.take(Report::Run {
            info: Box::new(samples::info(RunState::Running)),
            page_ms: 0.0,
        });
        run.take(Report::Message {
            message: Box::new(StreamMessage::Events {
                events: samples::handshake(),
                now_us: 41_400,
            }),
            page_ms: 0.0,
        });
        let record = run.record.clone().unwrap();
        let text = render(html! { <Sockets {run} {record} /> }).await;
        assert_eq!(text.matches("ESTABLISHED").count(), 2, "{text}");
        assert!(text.contains("192.0.2.1:40000 \u{2192} 198.51.100.1:7654"));
        assert!(text.contains("keep-alive 2.0 s"), "{text}");
        assert!(text.contains("40.1 ms"));
    }

    #[test]
    fn a_countdown_goes_on_between_snapshots_and_ends_at_zero() {
        let events = samples::handshake();
        let snapshot = events
            .iter()
            .find_map(|event| match &event.fact {
                linger_shared::event::Fact::Socket(snapshot) => Some(snapshot),
                _ => None,
            })
            .unwrap();
        assert_eq!(timer(snapshot, 500_000).unwrap(), "keep-alive 1.5 s");
        assert_eq!(timer(snapshot, 9_000_000).unwrap(), "keep-alive 0.0 s");
    }
}
