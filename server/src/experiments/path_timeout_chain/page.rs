//! What the page of `path-timeout-chain` says: its question, its parameters, its presets and what is
//! claimed.

use linger_shared::{
    event::Mode,
    experiment::{Claim, Descriptor, Finding, Param, Preset},
};

use super::super::{claim, paragraphs, preset, reference};

/// The longest idle limit, in microseconds: an hour.
const LONGEST: u64 = 3_600_000_000;

pub(super) fn descriptor(id: &str) -> Descriptor {
    Descriptor {
        id: id.to_owned(),
        title: "A ladder of idle timeouts".to_owned(),
        question: "Which timeout must be the longer one?".to_owned(),
        family: "Path".to_owned(),
        modes: vec![Mode::Packets, Mode::Relay],
        explanation: paragraphs(&[
            "A kept connection has two idle timeouts, one at each end. The side that asks keeps it \
             in a pool and takes it again for the next request; the side that answers closes it \
             when it has had nothing to do for too long. With a reverse proxy there are two such \
             connections, and four timeouts.",
            "If the side that answers has the shorter one, it may close in the very moment in which \
             the other side asks. The FIN is on its way to the one, the request to the other, and \
             they cross. The request arrives at a socket that is closed, its kernel answers with \
             RST, and nobody knows for certain whether anything was done. Between proxy and backend \
             the proxy has to answer for it: 502. Between client and proxy the client meets it \
             itself: the connection is closed before the response (a socket hang up, code \
             ECONNRESET, in the words of Node.js).",
            "The window is as wide as the round trip, and it ends when the FIN has come. Everything \
             that asks before or after it is served. So it is rare, it hits healthy servers, and it \
             looks like chance: a share of requests that is about the round trip divided by how \
             much the pauses between requests vary. It is closed for good where whoever asks lets go \
             first, by more than a round trip. The defaults let 1 s stand for 5 s: Node.js keeps an \
             idle connection for 5 s, and many proxies would reuse it for 60 s.",
        ]),
        look_for: paragraphs(&[
            "the two slanted arrows that cross: the FIN of one side, the request of the other",
            "the RST that answers the request, and the proxy's 502 when it has the FIN",
            "that the failure is told at the same time, whenever within the window was asked",
            "the share of failures by idle time: none, all, none",
            "the same idle times in the safe order: a new connection instead of a failure",
        ]),
        misconception:
            "\"A longer keep-alive timeout is always the safer one.\" It must be longer \
                        at the side that answers, and shorter at the side that asks."
                .to_owned(),
        params: params(),
        presets: presets(),
        claims: claims(),
        references: vec![
            reference(
                "RFC 9112, section 9.5: failures and timeouts",
                "https://www.rfc-editor.org/rfc/rfc9112#section-9.5",
            ),
            reference(
                "RFC 9112, section 9.3.1: retrying requests",
                "https://www.rfc-editor.org/rfc/rfc9112#section-9.3.1",
            ),
            reference(
                "Node.js: server.keepAliveTimeout",
                "https://nodejs.org/api/http.html#serverkeepalivetimeout",
            ),
            reference(
                "nginx: keepalive_timeout of an upstream",
                "https://nginx.org/en/docs/http/ngx_http_upstream_module.html#keepalive_timeout",
            ),
            reference(
                "Shuhei Kagawa, Check your server.keepAliveTimeout: 502s behind a load balancer",
                "https://shuheikagawa.com/blog/2019/04/25/keep-alive-timeout/",
            ),
            reference(
                "AWS: the application's keep-alive is to be longer than the load balancer's idle \
                 timeout",
                "https://docs.aws.amazon.com/elasticloadbalancing/latest/classic/config-idle-timeout.html",
            ),
        ],
    }
}

fn params() -> Vec<Param> {
    vec![
        Param::duration(
            "client_pool",
            10_000_000,
            200_000,
            LONGEST,
            "how long the client takes an idle connection again",
        ),
        Param::duration(
            "proxy_keep",
            15_000_000,
            200_000,
            LONGEST,
            "after which idle time the proxy closes its client's connection",
        ),
        Param::duration(
            "proxy_pool",
            12_000_000,
            200_000,
            LONGEST,
            "how long the proxy takes an idle connection to the backend again",
        ),
        Param::duration(
            "backend_keep",
            1_000_000,
            200_000,
            LONGEST,
            "after which idle time the backend closes",
        ),
        Param::choice("method", &["GET", "POST"], "the request's method"),
        Param::boolean(
            "retry",
            false,
            "whether the proxy sends an idempotent request again that a reused connection failed",
        ),
        Param::integer(
            "steps",
            "idle times",
            4,
            1,
            20,
            "how many idle times to try within the window; two more on either side",
        ),
        Param::integer(
            "tries",
            "requests",
            3,
            1,
            100,
            "how often each idle time is tried",
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
            100_000,
            0,
            400_000,
            "one-way delay between proxy and server: half the window between them",
        ),
    ]
}

fn presets() -> Vec<Preset> {
    vec![
        preset(
            "the safe order",
            "backend 12 s, proxy 1 s: nothing fails",
            &[("proxy_pool", "1s"), ("backend_keep", "12s")],
        ),
        preset(
            "between client and proxy",
            "the proxy closes after 1 s what its client would use for 10 s",
            &[
                ("proxy_keep", "1s"),
                ("backend_keep", "15s"),
                ("near", "100ms"),
                ("far", "10ms"),
            ],
        ),
        preset(
            "a proxy that tries again",
            "GET may be sent twice: the client never knows",
            &[("retry", "on")],
        ),
        preset(
            "what must not be tried again",
            "POST may not be sent twice by a proxy that does not know what it does",
            &[("retry", "on"), ("method", "POST")],
        ),
        preset(
            "Node.js behind a load balancer",
            "5 s against 60 s, with 10 ms between them: a window of 20 ms",
            &[
                ("backend_keep", "5s"),
                ("proxy_pool", "60s"),
                ("proxy_keep", "75s"),
                ("client_pool", "50s"),
                ("far", "10ms"),
                ("near", "40ms"),
            ],
        ),
        preset(
            "nginx behind a Google Cloud load balancer",
            "nginx's 75 s against a fixed 600 s; the documents advise more than 600 s",
            &[
                ("backend_keep", "75s"),
                ("proxy_pool", "600s"),
                ("proxy_keep", "610s"),
                ("client_pool", "90s"),
                ("tries", "1"),
            ],
        ),
    ]
}

fn claims() -> Vec<Claim> {
    vec![
        claim(
            "The backend's keep-alive timeout must be longer than the load balancer's idle timeout.",
            Finding::Confirmed,
            "The other way round every request within a round trip before the backend's FIN \
             comes is answered with 502; in this order none is, at the same idle times.",
            &[],
        ),
        claim(
            "Equal timeouts are safe.",
            Finding::Refuted,
            "Each side counts from its own end of the response: who asks believes for a whole round \
             trip in a connection that the other gives up.",
            &[("proxy_pool", "1s"), ("backend_keep", "1s")],
        ),
        claim(
            "A 502 means that something is wrong with the backend.",
            Finding::Refuted,
            "Here the backend answers everything that reaches it, and closes in good order.",
            &[],
        ),
        claim(
            "A proxy that tries again makes the order of timeouts irrelevant.",
            Finding::Depends,
            "For requests that may be sent twice. What may not be (a POST) is still answered with \
             502, because the proxy cannot know whether the first was carried out.",
            &[("retry", "on"), ("method", "POST")],
        ),
    ]
}
