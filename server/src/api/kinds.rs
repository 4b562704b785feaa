//! Every kind of problem that the API knows, in one list: its status, its name, and what it means.
//!
//! The name ends the `type` of a problem document, `/problems/NAME`, and a page there tells a person
//! what this file says.

use axum::http::StatusCode;

/// What is known of a kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct About {
    /// The status of the answer.
    pub(super) status: StatusCode,
    /// How its `type` ends.
    pub(super) name: &'static str,
    /// The kind in a few words.
    pub(super) title: &'static str,
    /// What happened and what to do, in a sentence or two.
    pub(super) meaning: &'static str,
}

macro_rules! kinds {
    ($($kind:ident: $status:ident, $name:literal, $title:literal, $meaning:literal;)*) => {
        /// A kind of problem.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub(super) enum Kind {
            $(#[doc = $title] $kind,)*
        }

        impl Kind {
            /// All of them, in the order of their statuses.
            pub(super) const ALL: &[Self] = &[$(Self::$kind),*];

            /// What it means.
            pub(super) const fn about(self) -> About {
                match self {
                    $(Self::$kind => About {
                        status: StatusCode::$status,
                        name: $name,
                        title: $title,
                        meaning: $meaning,
                    },)*
                }
            }
        }
    };
}

kinds! {
    MalformedUrl: BAD_REQUEST, "malformed-url", "The path or the query is not understood",
        "A part of the path or of the query has the wrong form. The detail names it; /api/openapi.json describes what is taken.";
    MalformedJson: BAD_REQUEST, "malformed-json", "The body is not JSON",
        "The body could not be read as JSON. The detail names the place.";
    MalformedHost: BAD_REQUEST, "malformed-host", "The request names no one host",
        "A request of HTTP/1.1 carries one Host header, and it is the same as the host of an address in the request line (RFC 9112, section 3.2).";
    BrokenBody: BAD_REQUEST, "broken-body", "The body could not be read",
        "The connection ended, or broke the rules of HTTP, before the body did.";
    WebsocketHandshake: BAD_REQUEST, "websocket-handshake", "The WebSocket handshake failed",
        "The request asks for a WebSocket, but lacks something that the handshake needs (RFC 6455, section 4.2.1). The detail names it.";
    NotJoined: UNAUTHORIZED, "not-joined", "The join code is missing or wrong",
        "This server is open to a network, and asks each visitor for the code that its owner has shared. In a browser, open the page and enter it; a program sends it as Authorization: Bearer CODE.";
    ForeignOrigin: FORBIDDEN, "foreign-origin", "The request comes from another site",
        "Pages of other sites may neither change nor watch anything here. If the page is this server's own, reach it under one of the names that it knows.";
    ForeignHost: FORBIDDEN, "foreign-host", "The request is for another host",
        "The server does not know the name that it was asked under. Reach it by its address, or start it with --host NAME.";
    OwnersOnly: FORBIDDEN, "owners-only", "Only the machine's owner may do that",
        "A server that is open to a network leaves its recordings to the owner of the machine: `linger runs delete` removes them there.";
    NotFound: NOT_FOUND, "not-found", "Nothing is there",
        "The server has nothing at this address. /api/openapi.json describes what there is.";
    UnknownExperiment: NOT_FOUND, "unknown-experiment", "No such experiment",
        "No experiment has this id. The detail names the nearest one; /api/experiments lists all.";
    UnknownFormat: NOT_FOUND, "unknown-format", "No such format",
        "Runs are not exported in this format. The detail names those that there are.";
    UnknownRun: NOT_FOUND, "unknown-run", "No such run",
        "The server has no run of this id. It may have been deleted, or forgotten to make room for newer ones.";
    MethodNotAllowed: METHOD_NOT_ALLOWED, "method-not-allowed", "The method is not allowed",
        "There is something at this address, but it does not know the method. The Allow header names those that it knows.";
    SlowBody: REQUEST_TIMEOUT, "slow-body", "The body took too long",
        "The body did not come in time. The connection is closed; send it again in one go.";
    Unavailable: CONFLICT, "unavailable-here", "This machine cannot run the experiment",
        "The experiment needs something that this machine does not have. The detail says what would provide it; so does `linger doctor`.";
    NotRunning: CONFLICT, "not-running", "The run is not running",
        "Only a run that is at work can be acted on, and this one waits or is over.";
    UnsupportedAction: CONFLICT, "unsupported-action", "The run cannot do that",
        "The action is known, but not for this run. The detail says why.";
    RunElsewhere: CONFLICT, "run-elsewhere", "Another process runs it",
        "The run is at work in another process of this machine that records into the same folder, and only that can act on it.";
    NotBegun: CONFLICT, "not-begun", "The run has not begun",
        "The run waits for its turn, or was stopped before its turn came, so there is nothing of it yet.";
    NoPackets: CONFLICT, "no-packets", "The run has no packets",
        "The run went over the loopback relay, which carries byte streams, so that there is nothing for a capture. The other formats tell what there is.";
    NotOver: CONFLICT, "not-over", "The run is not over",
        "Only a run that is over and recorded can be removed. Stop it first.";
    LengthRequired: LENGTH_REQUIRED, "length-required", "The body has no declared length",
        "The server reads bodies whose length is declared by Content-Length, and none in chunks.";
    BodyTooLarge: PAYLOAD_TOO_LARGE, "body-too-large", "The body is too large",
        "The body is larger than what the server reads. The detail names the bound.";
    UriTooLong: URI_TOO_LONG, "uri-too-long", "The address is too long",
        "Path and query together are longer than what the server reads. The detail names the bound.";
    UnsupportedMediaType: UNSUPPORTED_MEDIA_TYPE, "unsupported-media-type", "The body is not declared as JSON",
        "The server takes JSON, sent with Content-Type: application/json.";
    InvalidRequest: UNPROCESSABLE_ENTITY, "invalid-request", "The body is not understood",
        "The body is JSON, but not of the form that is taken here. The detail names the field.";
    InvalidParameter: UNPROCESSABLE_ENTITY, "invalid-parameter", "A parameter is not accepted",
        "A parameter of the experiment is unknown, malformed or out of its bounds. The detail names parameter, bound and value.";
    TooManyRequests: TOO_MANY_REQUESTS, "too-many-requests", "Too many requests",
        "More requests came from your address than the server takes. Wait for the time that the Retry-After header names.";
    TooManyActions: TOO_MANY_REQUESTS, "too-many-actions", "Too many actions",
        "More actions on this run were asked for than it takes. Wait for the time that the Retry-After header names.";
    TooManyAttempts: TOO_MANY_REQUESTS, "too-many-attempts", "Too many wrong join codes",
        "Too many wrong join codes came from your address. Wait for the time that the Retry-After header names.";
    TooManyRuns: TOO_MANY_REQUESTS, "too-many-runs", "Too many runs of one address",
        "Your address has as many runs at work or waiting as it may. Stop one of them, or wait until one has ended.";
    TooManyStarts: TOO_MANY_REQUESTS, "too-many-starts", "Too many starts of one address",
        "Your address has started as many runs within a minute as it may. Wait for the time that the Retry-After header names.";
    TooManyStreams: TOO_MANY_REQUESTS, "too-many-streams", "Too many streams",
        "Your address has as many event streams open as it may. Close some pages that show runs.";
    TooManyConnectionsHere: TOO_MANY_REQUESTS, "too-many-connections-here", "Too many connections from one address",
        "Your address has as many connections open as it may. Close some pages.";
    Internal: INTERNAL_SERVER_ERROR, "internal", "The server is at fault",
        "Something went wrong that should not. The request may be right; please report what you did.";
    Recordings: INTERNAL_SERVER_ERROR, "recordings", "The recordings cannot be used",
        "The disk refuses, or the recordings are damaged. The server's own output says why.";
    QueueFull: SERVICE_UNAVAILABLE, "queue-full", "Too many runs are waiting",
        "As many runs wait for their turn as may. Try again when some have ended.";
    ShuttingDown: SERVICE_UNAVAILABLE, "shutting-down", "The server is shutting down",
        "The server ends its runs and starts no new ones.";
    TooManyConnections: SERVICE_UNAVAILABLE, "too-many-connections", "Too many connections",
        "The server has as many connections open as it may. Try again soon.";
}

impl Kind {
    /// The kind of that name.
    pub(super) fn named(name: &str) -> Option<Self> {
        Self::ALL
            .iter()
            .copied()
            .find(|kind| kind.about().name == name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds_are_told_apart_by_name_and_listed_by_status() {
        let abouts: Vec<About> = Kind::ALL.iter().map(|kind| kind.about()).collect();
        assert!(abouts.is_sorted_by_key(|about| about.status.as_u16()));
        let mut names: Vec<&str> = abouts.iter().map(|about| about.name).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), abouts.len());
        for (kind, about) in Kind::ALL.iter().zip(&abouts) {
            assert_eq!(Kind::named(about.name), Some(*kind));
            assert!(about.meaning.ends_with('.'), "{}", about.name);
            let plain = |c: char| c.is_ascii_lowercase() || c == '-';
            assert!(about.name.chars().all(plain), "{}", about.name);
        }
        assert_eq!(Kind::named("nothing"), None);
    }
}
