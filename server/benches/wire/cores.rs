//! Which cores threads run on, and what it takes to wake one on another.

use std::{
    io::{Read, Write},
    os::unix::net::UnixStream,
    thread,
    time::Instant,
};

use nix::{
    sched::{CpuSet, sched_getaffinity, sched_setaffinity},
    unistd::Pid,
};

use crate::measure::micros;

/// How often a thread is woken.
const TURNS: usize = 5_000;

/// The calling thread's cores.
pub(crate) fn mine() -> Vec<usize> {
    let set = sched_getaffinity(Pid::from_raw(0)).expect("a thread's cores can be asked for");
    (0..CpuSet::count())
        .filter(|core| set.is_set(*core).unwrap_or(false))
        .collect()
}

/// Keeps the calling thread, and those that it starts from now on, to these cores.
pub(crate) fn keep_to(cores: &[usize]) {
    let mut set = CpuSet::new();
    for core in cores {
        set.set(*core).expect("it is a core");
    }
    sched_setaffinity(Pid::from_raw(0), &set).expect("a thread may keep to its own cores");
}

/// How long it takes to wake a thread on `other` from `one`, and to be woken by it, in microseconds.
pub(crate) fn wake(one: usize, other: usize) -> Vec<u64> {
    let (mut here, mut there) = UnixStream::pair().expect("two sockets");
    let answering = thread::spawn(move || {
        keep_to(&[other]);
        let mut byte = [0];
        while there.read(&mut byte).is_ok_and(|count| count > 0) {
            there.write_all(&byte).expect("an answer is sent");
        }
    });
    keep_to(&[one]);
    let mut byte = [0];
    let times = (0..TURNS)
        .map(|_| {
            let began = Instant::now();
            here.write_all(&byte).expect("a question is sent");
            here.read_exact(&mut byte).expect("it is answered");
            micros(began)
        })
        .collect();
    drop(here);
    answering.join().expect("it ends");
    times
}
