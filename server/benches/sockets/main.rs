//! The sockets instrument, measured: what it costs to ask a host's kernel for its sockets, and what
//! share of a core watching them takes.
//!
//! `cargo bench -p linger --bench sockets`. A host with a thousand open connections' ends and a
//! thousand in TIME_WAIT is the size that it is built for; asking every 20 ms must stay cheap there.

#[cfg(linger_packets)]
mod measure;

#[cfg(linger_packets)]
fn main() {
    linger::hosts::prepare_process();
    measure::all();
}

#[cfg(not(linger_packets))]
fn main() {
    eprintln!("the sockets instrument is measured on Linux, with the feature `packets`");
}
