//! Runs, measured: how many a minute, how many events a second reach one viewer and a thousand, what
//! a run and a viewer cost in memory, and how fast events are recorded and read again.
//!
//! `cargo bench -p linger --bench runs` prints one table in less than two minutes; a word after `--`
//! picks the groups whose names contain it (`store`, `rate`, `viewers`, `memory`). The viewers are
//! real WebSockets over loopback, and a process of their own: this program is started again as one,
//! so that their memory and descriptors are not counted with the server's. Both share the machine's
//! cores, so that the figures for viewers are lower bounds.

#[cfg(linger_packets)]
mod figures;
#[cfg(linger_packets)]
mod ground;
#[cfg(linger_packets)]
mod stores;
#[cfg(linger_packets)]
mod viewers;

#[cfg(linger_packets)]
fn main() {
    // cargo adds `--bench`.
    let arguments: Vec<String> = std::env::args()
        .skip(1)
        .filter(|argument| !argument.starts_with("--"))
        .collect();
    if let [word, address, run, count] = arguments.as_slice()
        && word == viewers::WORD
    {
        return viewers::watch(address, run, count.parse().expect("a number"));
    }
    linger::hosts::prepare_process();
    figures::table(&arguments);
}

#[cfg(not(linger_packets))]
fn main() {
    eprintln!("runs are measured on Linux, with the feature `packets`");
}
