//! `http-sequential`: one connection or ten?

use std::{collections::BTreeMap, time::Duration};

use axum::{Router, routing::get};
use linger_shared::{
    event::{HostName, Mode},
    experiment::{Descriptor, Param, Params, Preset, Value},
    theory::handshake,
    units::human,
};

use super::{Experiment, Script, paragraphs, reference};
use crate::{
    endpoints::{HttpClient, Reuse, serve_http},
    lab::{Lab, LabError, Plan},
};

/// How long the last connections may take to reach their last state.
const SETTLING: Duration = Duration::from_secs(5);

pub(super) struct HttpSequential;

impl Experiment for HttpSequential {
    fn id(&self) -> &'static str {
        "http-sequential"
    }

    fn descriptor(&self) -> Descriptor {
        Descriptor {
            id: self.id().to_owned(),
            title: "Ten requests in a row".to_owned(),
            question: "One connection or ten?".to_owned(),
            family: "HTTP".to_owned(),
            modes: vec![Mode::Packets, Mode::Relay],
            explanation: paragraphs(&[
                "Since HTTP/1.1 a connection is kept open after a response unless one side says \
                 otherwise, and the next request to the same server takes it again. The client here \
                 is hyper with its pool, the server is axum; both do so by default.",
                "With `persistent` off, each request carries `Connection: close`. The server closes \
                 after each response, and the client opens a new connection for the next request: a \
                 handshake of one round trip each time, four more segments to close, and a socket \
                 in TIME_WAIT on the server for a minute, because the server closes without waiting. \
                 The client knows as well that this was the last response, and now and then closes in \
                 the same moment: then the FINs cross, and both sides end in TIME_WAIT.",
                "What keep-alive means here has nothing to do with TCP keep-alive: this one is a \
                 decision of two applications not to close; that one is a kernel's way to ask \
                 whether anybody is still there.",
            ]),
            look_for: paragraphs(&[
                "one SYN or ten",
                "the round trip that each new connection adds before its request",
                "TIME_WAITs in the sockets table at the end, and on whose side",
            ]),
            misconception: "\"Connections are cheap on a fast network.\" Each one costs a round \
                            trip, and that is a matter of distance, not of bandwidth."
                .to_owned(),
            params: vec![
                Param::boolean(
                    "persistent",
                    true,
                    "whether the connection is kept for the next request",
                ),
                Param::integer("requests", "requests", 10, 1, 200, "how many, in sequence"),
                Param::duration(
                    "pause",
                    100_000,
                    0,
                    10_000_000,
                    "pause between a response and the next request",
                ),
                Param::duration("delay", 20_000, 0, 400_000, "one-way delay of the link"),
            ],
            presets: vec![
                Preset {
                    name: "a connection each".to_owned(),
                    description: "ten handshakes, ten TIME_WAITs".to_owned(),
                    values: BTreeMap::from([("persistent".to_owned(), Value::Boolean(false))]),
                },
                Preset {
                    name: "an ocean away".to_owned(),
                    description: "75 ms each way, as between continents, and a connection each"
                        .to_owned(),
                    values: BTreeMap::from([
                        ("persistent".to_owned(), Value::Boolean(false)),
                        ("delay".to_owned(), Value::Text("75ms".to_owned())),
                    ]),
                },
            ],
            claims: Vec::new(),
            references: vec![
                reference(
                    "RFC 9112, section 9.3: persistence",
                    "https://www.rfc-editor.org/rfc/rfc9112#section-9.3",
                ),
                reference(
                    "RFC 9293, section 3.6.1: half-closed connections and TIME-WAIT",
                    "https://www.rfc-editor.org/rfc/rfc9293#section-3.6.1",
                ),
            ],
        }
    }

    fn plan(&self, params: &Params) -> Plan {
        let delay = params.duration_us("delay");
        let requests = params.integer("requests");
        Plan::symmetric(delay, requests * (8 * delay + params.duration_us("pause")))
    }

    fn run<'a>(&'a self, lab: &'a mut Lab, params: &'a Params) -> Script<'a> {
        Box::pin(script(lab, params))
    }
}

async fn script(lab: &mut Lab, params: &Params) -> Result<(), LabError> {
    let requests = params.integer("requests");
    let persistent = params.boolean("persistent");
    let delay = params.duration_us("delay");
    let pause = params.duration_us("pause");

    lab.chapter("Start the server");
    let listener = lab.server().listen(8080).await?;
    let address = lab.reach(&listener).await?;
    let app = Router::new().route("/{n}", get(|| async { "Hello world" }));
    lab.spawn(serve_http(listener, app, lab.crew()));

    lab.chapter(if persistent {
        "Requests on one kept connection"
    } else {
        "Requests, each on its own connection"
    });
    let reuse = if persistent {
        Reuse::Persistent
    } else {
        Reuse::Close
    };
    let client = HttpClient::new(lab.client(), address, reuse, lab.crew());
    let connect = match lab.mode() {
        Mode::Packets => handshake::connect_us(delay, delay),
        Mode::Relay => handshake::relayed_connect_us(delay),
    };
    let exchange = handshake::exchange_us(delay, delay, 0);
    let predicted = handshake::sequential_us(requests, persistent, connect, exchange, pause);
    let began = lab.now_us();
    let connections = if persistent { 1 } else { requests };
    lab.expect_after(
        "all_requests",
        began,
        predicted,
        format!(
            "{connections} x connect {} + {requests} x exchange {} + {} x pause {}",
            human(connect),
            human(exchange),
            requests - 1,
            human(pause),
        ),
    );
    for number in 1..=requests {
        let exchange = client.get(&format!("/{number}")).await;
        if let Some(error) = exchange.error {
            return Err(LabError::Application {
                host: HostName::Client,
                call: "request",
                errno: format!("{number} of {requests}: {error}"),
            });
        }
        if number < requests {
            tokio::time::sleep(Duration::from_micros(pause)).await;
        }
    }
    let now = lab.now_us();
    lab.measure("all_requests", Some(predicted), Some(now - began), now);

    lab.chapter("What is left");
    if persistent {
        // Nobody else would close the connection that is left; without persistence the server has
        // closed each one, and a client that closes too makes their FINs cross now and then.
        drop(client);
    }
    lab.until_closed(SETTLING).await;
    Ok(())
}
