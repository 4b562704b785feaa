//! The API over real sockets: everything that needs no namespaces, by subject.

#[path = "../support/mod.rs"]
mod support;

mod bounds;
mod catalogue;
#[cfg(target_os = "linux")]
mod crowd;
mod errors;
mod export;
mod hostile;
mod join;
mod limits;
mod programs;
mod runs;
mod sites;
mod streams;

use linger_shared::event::{Event, Fact};

/// The header of a request that has a body.
const JSON: (&str, &str) = ("content-type", "application/json");

fn numbers(events: &[Event]) -> Vec<u64> {
    events.iter().map(|event| event.seq).collect()
}

fn is_verdict(event: &Event) -> bool {
    matches!(event.fact, Fact::Verdict(_))
}
