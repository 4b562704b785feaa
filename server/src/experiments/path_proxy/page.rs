//! What the page of `path-proxy` says: its question, its parameters, its presets and what is claimed.

use linger_shared::{
    event::Mode,
    experiment::{Claim, Descriptor, Finding, Param, Preset},
};

use super::super::{claim, paragraphs, preset, reference};

pub(super) fn descriptor(id: &str) -> Descriptor {
    Descriptor {
        id: id.to_owned(),
        title: "Keep-alive and a proxy".to_owned(),
        question: "Does TCP keep-alive reach through a proxy?".to_owned(),
        family: "Path".to_owned(),
        modes: vec![Mode::Packets, Mode::Relay],
        explanation: paragraphs(&[
            "A proxy ends the client's connection and opens another to the backend: two TCP \
                 connections, with a program between them that copies bytes. A keep-alive probe \
                 carries no bytes. The proxy's kernel acknowledges it, and neither the proxy's \
                 program nor the backend ever hears of it.",
            "So two things go wrong at once. The backend may lose power, and every probe of the \
                 client is still answered, because it asks the proxy's kernel whether the proxy is \
                 there. And the proxy's idle limit counts the bytes that it copies, so the \
                 connection is closed as idle although probes pass on it every second. Only what \
                 the application itself says, a heartbeat above TCP, goes from end to end: it \
                 resets the idle limit, and its missing answer tells of the dead backend.",
            "The defaults here are a minute's idle limit, as load balancers have it, at 1 s for \
                 7.5 s. With `proxy` off the same client asks the same backend directly, and \
                 keep-alive does what it is known for. Over the loopback relay no probe is to be \
                 seen, and a host cannot lose its power: there the backend's stream stalls, as that \
                 of a frozen program does, and the relay itself is a proxy.",
        ]),
        look_for: paragraphs(&[
            "probes that turn round at the proxy: nothing passes between proxy and server",
            "probes that are answered after the server has lost its power",
            "the proxy's FIN to both sides when its idle limit is over, probes or not",
            "with a heartbeat: bytes on both connections, no FIN, and an answer that stays out",
        ]),
        misconception: "\"Keep-alive is on at both ends, so the connection is kept alive.\" \
                            Each kernel asks only the nearest one that ends the connection."
            .to_owned(),
        params: params(),
        presets: presets(),
        claims: claims(),
        references: vec![
            reference(
                "RFC 9293, section 3.8.4: TCP keep-alives",
                "https://www.rfc-editor.org/rfc/rfc9293#section-3.8.4",
            ),
            reference(
                "HAProxy's manual, option tcpka: probes are seen by the network stacks alone",
                "https://docs.haproxy.org/2.8/configuration.html#4-option%20tcpka",
            ),
            reference(
                "AWS Classic Load Balancers: probes do not put the idle timeout off",
                "https://docs.aws.amazon.com/elasticloadbalancing/latest/classic/config-idle-timeout.html",
            ),
            reference(
                "RFC 6455, section 5.5.2: WebSocket's Ping, a heartbeat above TCP",
                "https://www.rfc-editor.org/rfc/rfc6455#section-5.5.2",
            ),
        ],
    }
}

fn params() -> Vec<Param> {
    vec![
        Param::boolean(
            "proxy",
            true,
            "whether a TCP proxy stands between client and server",
        ),
        Param::choice(
            "asks",
            &["keep-alive", "heartbeat", "both", "nothing"],
            "how the client asks: its kernel's keep-alive, bytes of its application, both, or not",
        ),
        Param::duration(
            "idle",
            1_000_000,
            1_000_000,
            7_200_000_000,
            "silence before a probe (TCP_KEEPIDLE), rounded up to whole seconds",
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
        Param::duration(
            "every",
            1_000_000,
            100_000,
            3_600_000_000,
            "time between two heartbeats",
        ),
        Param::duration(
            "patience",
            1_000_000,
            100_000,
            600_000_000,
            "how long a heartbeat's answer may take",
        ),
        Param::duration(
            "proxy_idle",
            8_000_000,
            500_000,
            7_200_000_000,
            "after which silence in both directions the proxy closes",
        ),
        Param::boolean(
            "proxy_asks",
            false,
            "whether the proxy has keep-alive on its own connection to the backend, as the client has",
        ),
        Param::boolean(
            "dies",
            true,
            "whether the backend loses its power (over the relay: says nothing more)",
        ),
        Param::duration(
            "after",
            2_500_000,
            100_000,
            7_200_000_000,
            "how long it lives after the greeting",
        ),
        Param::duration(
            "watch",
            8_000_000,
            1_000_000,
            14_400_000_000,
            "how long to look on where nothing is predicted to end the connection",
        ),
        Param::duration(
            "near",
            10_000,
            0,
            400_000,
            "one-way delay between client and proxy",
        ),
        Param::duration(
            "far",
            10_000,
            0,
            400_000,
            "one-way delay between proxy and server",
        ),
    ]
}

fn presets() -> Vec<Preset> {
    vec![
        preset(
            "a heartbeat above TCP",
            "bytes every second: the idle limit is never reached, the death is noticed",
            &[
                ("asks", "heartbeat"),
                ("proxy_idle", "3s"),
                ("after", "6500ms"),
            ],
        ),
        preset(
            "a living backend",
            "probes every second, nobody dies, and the proxy closes all the same",
            &[("dies", "off"), ("proxy_idle", "4s")],
        ),
        preset(
            "without a proxy",
            "the same probes reach the server itself: ETIMEDOUT",
            &[("proxy", "off")],
        ),
        preset(
            "the proxy asks, too",
            "keep-alive on the proxy's own connection: it notices, and tells the client",
            &[("proxy_asks", "on"), ("proxy_idle", "20s")],
        ),
        preset(
            "a load balancer's minute",
            "60 s idle limit and Go's keep-alive of 15 s; the backend dies after 20 s",
            &[
                ("idle", "15s"),
                ("interval", "15s"),
                ("count", "9"),
                ("proxy_idle", "60s"),
                ("after", "20s"),
            ],
        ),
        preset(
            "a WebSocket's heartbeat",
            "a message every 25 s, 20 s for its answer, behind a 60 s idle limit",
            &[
                ("asks", "heartbeat"),
                ("every", "25s"),
                ("patience", "20s"),
                ("proxy_idle", "60s"),
                ("after", "90s"),
            ],
        ),
    ]
}

fn claims() -> Vec<Claim> {
    vec![
        claim(
            "Keep-alive at the client notices when the server is gone.",
            Finding::Depends,
            "It notices when the nearest kernel that ends the connection is gone. Through a proxy \
             that is the proxy's: every probe is answered, and the client learns nothing.",
            &[],
        ),
        claim(
            "With TCP keep-alive at client and server a connection lives wherever the two are \
             deployed, in containers or in a cluster: what examples of long-lived HTTP/2 \
             connections take for granted.",
            Finding::Depends,
            "Where packets are only forwarded, probes pass. Where a proxy ends the connection, they \
             do not put its idle limit off: it closes as if nothing had been sent.",
            &[("dies", "off"), ("proxy_idle", "4s")],
        ),
        claim(
            "A heartbeat of the application reaches through a proxy.",
            Finding::Confirmed,
            "Its bytes are copied: they reset the proxy's idle limit, and the backend itself must \
             answer them.",
            &[
                ("asks", "heartbeat"),
                ("proxy_idle", "3s"),
                ("after", "6500ms"),
            ],
        ),
        claim(
            "Keep-alive on both connections of a proxy is as good as a heartbeat.",
            Finding::Depends,
            "The proxy notices a host without power and can tell the client. Its own idle limit \
             still closes a healthy connection, and a program that hangs on a living host answers \
             every probe.",
            &[("proxy_asks", "on"), ("proxy_idle", "20s")],
        ),
    ]
}
