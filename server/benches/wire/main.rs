//! The wire, measured: time to bring up and take down a run's hosts, round trip and throughput
//! beside a plain veth pair, and how late packets are with one run and with many at once.
//!
//! `cargo bench -p linger --bench wire` prints one table in less than a minute; a word after `--`
//! picks the groups whose names contain it (`hosts`, `round-trip`, `throughput`, `delay-1`,
//! `delay-50`, `delay-200`). Compare ratios within one table rather than figures of different
//! machines. Lateness is the arrival's stamp less the departure's and the delay; the runs that talk
//! at once are recorded and their kernels watched as in any run, and each sends a packet every
//! 20 ms and has it answered.

#[cfg(linger_packets)]
mod cores;
#[cfg(linger_packets)]
mod ground;
#[cfg(linger_packets)]
mod measure;
#[cfg(linger_packets)]
mod traffic;

#[cfg(linger_packets)]
fn main() {
    linger::hosts::prepare_process();
    // cargo adds `--bench`.
    let wanted: Vec<String> = std::env::args()
        .skip(1)
        .filter(|argument| !argument.starts_with("--"))
        .collect();
    measure::table(&wanted);
}

#[cfg(not(linger_packets))]
fn main() {
    eprintln!("the packet wire is measured on Linux, with the feature `packets`");
}
