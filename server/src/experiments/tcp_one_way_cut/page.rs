//! What the page of `tcp-one-way-cut` says: its question, its parameters, its presets, and what is
//! claimed.

use linger_shared::{
    event::Mode,
    experiment::{Descriptor, Finding, Param},
};

use super::super::{claim, paragraphs, preset, reference};

/// The values of the test that this replays.
const FULL_LENGTH: &[(&str, &str)] = FULL_LENGTH_BOTH.split_at(6).0;

/// The same, with data of both ends in flight.
const FULL_LENGTH_BOTH: &[(&str, &str)] = &[
    ("interval", "75s"),
    ("count", "9"),
    ("second_cut", "45s"),
    ("heal_after", "43s"),
    ("client_retries", "15"),
    ("delay", "75ms"),
    ("in_flight", "both"),
];

pub(super) fn descriptor(id: &str) -> Descriptor {
    Descriptor {
        id: id.to_owned(),
        title: "Cut one way, then the other".to_owned(),
        question: "Why do the two ends report different errors at different times?".to_owned(),
        family: "TCP".to_owned(),
        modes: vec![Mode::Packets],
        explanation: paragraphs(&[
            "This replays a widely read test of Node.js sockets. A server sends a message every \
             half second; the client only listens and has keep-alive set to 2 s. A firewall then \
             drops what the server sends, and 45 s later what the client sends, too. The client \
             reported ETIMEDOUT after some 12 minutes, the server ECONNRESET after some 13, and \
             the test left open why.",
            "Each end has a timer of its own. The server has data in flight, so its \
             retransmission timer runs: the data leaves again at intervals that double up to \
             120 s, and only after `tcp_retries2` (15 minutes and more) would it give up. The \
             client has nothing in flight, so its keep-alive runs: 2 s is the idle time alone; \
             the interval and the number of probes were left as the system has them, 75 s and 9. \
             That makes 677 s.",
            "Keep-alive's last word is an RST, but the path drops it: the server hears nothing of \
             the end. When the path is healed, it is the server's next retransmission that meets \
             a kernel which knows no such connection and answers with an RST: ECONNRESET, at a \
             moment that depends on the ladder and on the healing, not on when the path was cut. \
             Here 1 s of the client's wait stands for some 2 min 15 s; a preset has the full \
             length.",
        ]),
        look_for: paragraphs(&[
            "the client's probes arrive while only one way is cut, and their answers are dropped",
            "the server's retransmissions, dropped long before and long after the second cut",
            "ETIMEDOUT at the client while the server still believes in the connection",
            "after healing: silence, until the next retransmission is due; then the RST",
            "healed early, nobody ever sees an error",
        ]),
        misconception: "\"Both ends learn of a broken connection, and at about the same time.\" \
                        Each learns what its own timers tell it, and an RST only if it arrives."
            .to_owned(),
        params: vec![
            Param::choice(
                "in_flight",
                &["server", "both"],
                "whose data is unacknowledged after the first cut: the server's alone, as in the \
                 test, or the client's, too, which silences its keep-alive",
            ),
            Param::choice(
                "heal",
                &["late", "never", "early"],
                "whether the path is healed after the client has given up, never, or before that",
            ),
            Param::duration(
                "idle",
                2_000_000,
                1_000_000,
                7_200_000_000,
                "the client's silence before its first probe (TCP_KEEPIDLE), rounded up to whole \
                 seconds",
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
                "second_cut",
                2_500_000,
                100_000,
                600_000_000,
                "how long after the first cut the way to the server is cut, too",
            ),
            Param::duration(
                "heal_after",
                1_000_000,
                100_000,
                600_000_000,
                "how long after the client's error, or after the second cut where it is healed \
                 early, the path is healed",
            ),
            Param::integer(
                "client_retries",
                "retransmissions",
                4,
                1,
                15,
                "tcp_retries2 of the client, which counts where its data is in flight; 4 stand for \
                 Linux's 15",
            ),
            Param::integer(
                "server_retries",
                "retransmissions",
                15,
                1,
                15,
                "tcp_retries2 of the server: until then it waits for a healed path",
            ),
            Param::duration(
                "every",
                500_000,
                100_000,
                10_000_000,
                "how often the server sends before the cut",
            ),
            Param::duration("delay", 10_000, 0, 200_000, "one-way delay of the link"),
        ],
        presets: vec![
            preset(
                "the client has data in flight, too",
                "its retransmission timer decides, and keep-alive stays silent",
                &[("in_flight", "both")],
            ),
            preset(
                "never healed",
                "the server's own retransmissions end: ETIMEDOUT at both ends",
                &[("heal", "never"), ("server_retries", "5")],
            ),
            preset(
                "only one way cut",
                "the client's RST comes through when it gives up: the server learns at once",
                &[("second_cut", "8s")],
            ),
            preset(
                "healed early",
                "nobody sees an error; a message was late",
                &[("heal", "early"), ("heal_after", "1500ms")],
            ),
            preset(
                "the test at full length",
                "45 s between the cuts, keep-alive's 75 s and 9 probes, healed after 43 s: 13 min",
                FULL_LENGTH,
            ),
            preset(
                "the same with a request in flight",
                "both ends' retransmission timers give up: 16 min",
                FULL_LENGTH_BOTH,
            ),
        ],
        claims: vec![
            claim(
                "Keep-alive set to 2 s detects a broken path within seconds.",
                Finding::Refuted,
                "2 s is only how long the client waits before its first probe. How often it asks \
                 and how long it waits stay as the system has them: with 75 s and 9 probes \
                 ETIMEDOUT came after 11 min 24 s, and the server's ECONNRESET after 13 min 31 s.",
                FULL_LENGTH,
            ),
            claim(
                "The 12 minutes in the test were the client's retransmission time-out.",
                Finding::Refuted,
                "By its log the client had nothing in flight: the way to the server was open for \
                 45 s more, and the server read nothing. And 15 retries last 924.6 s at the least, \
                 longer than its 737 s: with a request of the client's in flight ETIMEDOUT came \
                 after 16 min, and at the server, too. Keep-alive accounts for 677 s; what the last \
                 minute was, the log does not tell.",
                FULL_LENGTH_BOTH,
            ),
            claim(
                "The server's error came later because its second direction was cut later.",
                Finding::Refuted,
                "The time of the second cut changes nothing. ECONNRESET comes from the first \
                 retransmission after the path is open again.",
                &[("second_cut", "1s")],
            ),
            claim(
                "The server gets ECONNRESET when the client gives up.",
                Finding::Depends,
                "It does where its way to the server is open when keep-alive gives up: then the \
                 RST arrives. On a path that is cut both ways the server hears nothing, and where \
                 it never heals its own retransmissions end in ETIMEDOUT.",
                &[("second_cut", "8s")],
            ),
        ],
        references: vec![
            reference(
                "RFC 9293, section 3.10.7.1: a segment for a connection that does not exist",
                "https://www.rfc-editor.org/rfc/rfc9293#section-3.10.7.1",
            ),
            reference(
                "RFC 1122, section 4.2.3.6: TCP keep-alives",
                "https://www.rfc-editor.org/rfc/rfc1122#section-4.2.3.6",
            ),
            reference(
                "Node.js, socket.setKeepAlive()",
                "https://nodejs.org/api/net.html#socketsetkeepaliveenable-initialdelay",
            ),
            reference(
                "Linux, ip-sysctl: tcp_retries2, tcp_keepalive_intvl",
                "https://docs.kernel.org/networking/ip-sysctl.html",
            ),
        ],
    }
}
