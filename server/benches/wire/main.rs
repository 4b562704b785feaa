//! The wire, measured: packets per second, added round-trip time beside a plain veth pair, error of
//! a configured delay, time to bring up and take down a run's hosts.
//!
//! `cargo bench -p linger --bench wire`. Everything is recorded as in a run: stamped, dissected,
//! numbered and serialised. The table at the end holds the figures to quote; compare ratios within
//! one run rather than figures of different machines.

#[cfg(linger_packets)]
mod ground;
#[cfg(linger_packets)]
mod measure;

#[cfg(linger_packets)]
fn main() {
    linger::hosts::prepare_process();
    measure::all();
}

#[cfg(not(linger_packets))]
fn main() {
    eprintln!("the packet wire is measured on Linux, with the feature `packets`");
}
