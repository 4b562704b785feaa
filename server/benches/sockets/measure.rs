//! A host full of sockets, asked again and again.

use std::{
    collections::BTreeMap,
    fs,
    io::{Read, Write},
    net::{Ipv4Addr, TcpListener, TcpStream},
    sync::Arc,
    time::{Duration, Instant},
};

use linger::{
    hosts::{Host, HostPlan, Sampler, Tun, Which},
    journal::Journal,
};
use linger_shared::event::HostName;
use nix::sys::resource::{Resource, getrlimit, setrlimit};

/// Sockets of each kind on the full host.
const SOCKETS: usize = 1_000;

/// How many times a kernel is asked for one figure.
const ROUNDS: u32 = 500;

/// How long a sampler is watched.
const SPELL: Duration = Duration::from_secs(5);

/// Measures everything, and prints a table.
pub(crate) fn all() {
    let (_, most) = getrlimit(Resource::RLIMIT_NOFILE).expect("limits can be read");
    setrlimit(Resource::RLIMIT_NOFILE, most, most).expect("up to the hard limit is allowed");
    println!("{:<58} {:>12}", "one question to one kernel", "us, median");
    let (empty, _tun) = host();
    asked("no socket", &empty);
    let (open, _tun) = host();
    let kept = fill(&open, 0);
    asked(&format!("{SOCKETS} ESTABLISHED"), &open);
    drop(kept);
    let (full, tun) = host();
    let kept = fill(&full, SOCKETS);
    asked(
        &format!("{SOCKETS} ESTABLISHED, {SOCKETS} TIME_WAIT"),
        &full,
    );

    println!("\n{:<58} {:>12}", "watching every 20 ms", "% of a core");
    let quiet = watched(&full, || ());
    println!("{:<58} {quiet:>12.1}", "the full host, nothing moves");
    let busy = watched(&full, || {
        for (near, far) in &kept {
            exchange(near, far);
        }
    });
    println!(
        "{:<58} {busy:>12.1}",
        "the full host, every connection at work"
    );
    drop((kept, tun));
    let hosts: Vec<(Host, Tun)> = (0..2).map(|_| host()).collect();
    for runs in [1, 10, 200] {
        let share = many(&hosts, runs);
        println!(
            "{:<58} {share:>12.1}",
            format!("{runs} runs of two hosts each, nothing moves")
        );
    }
}

fn host() -> (Host, Tun) {
    Host::create(&HostPlan {
        name: HostName::Server,
        address: Ipv4Addr::new(198, 51, 100, 1),
        mtu: 1_500,
        sysctls: BTreeMap::new(),
    })
    .expect("hosts can be made here: see `linger doctor`")
}

/// Opens connections from the host to itself until it has [`SOCKETS`] open ends, and closes as many
/// more as are to be in TIME_WAIT.
fn fill(host: &Host, waiting: usize) -> Vec<(TcpStream, TcpStream)> {
    host.run_blocking(move || {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port is free");
        let address = listener.local_addr().expect("it has an address");
        let pair = || {
            let near = TcpStream::connect(address).expect("loopback connects");
            let (far, _) = listener.accept().expect("what was opened is accepted");
            (near, far)
        };
        for _ in 0..waiting {
            let (near, mut far) = pair();
            drop(near);
            // The end of the stream, so that the other side is in TIME_WAIT for good.
            let _ = far.read(&mut [0]);
        }
        (0..SOCKETS / 2).map(|_| pair()).collect()
    })
    .expect("the host lives")
}

fn exchange(mut near: &TcpStream, mut far: &TcpStream) {
    near.write_all(b"ping").expect("loopback carries it");
    far.read_exact(&mut [0; 4]).expect("loopback carries it");
}

fn asked(what: &str, host: &Host) {
    for (suffix, which) in [
        (", all", Which::All),
        (", no listeners", Which::Connections),
    ] {
        let mut diag = host.diag().expect("the kernel tells of sockets");
        let mut times: Vec<Duration> = (0..ROUNDS)
            .map(|_| {
                let began = Instant::now();
                diag.sockets(which).expect("the kernel answers");
                began.elapsed()
            })
            .collect();
        times.sort_unstable();
        let median = times[times.len() / 2].as_secs_f64() * 1e6;
        println!("{:<58} {median:>12.0}", format!("{what}{suffix}"));
    }
}

/// The share of a core, in per cent, that a sampler of the host takes while something goes on.
fn watched(host: &Host, mut meanwhile: impl FnMut()) -> f64 {
    let journal = Arc::new(Journal::new());
    let diag = host.diag().expect("the kernel tells of sockets");
    let sampler =
        Sampler::start(Arc::clone(&journal), vec![(host.name(), diag)]).expect("a sampler starts");
    // What is new to it is told once, and is not what is measured.
    std::thread::sleep(Duration::from_millis(200));
    journal.close();
    let share = sampler_share(|| {
        meanwhile();
        std::thread::sleep(Duration::from_millis(20));
    });
    drop(sampler);
    share
}

/// The same for many runs at once, all of the same two hosts.
fn many(hosts: &[(Host, Tun)], runs: usize) -> f64 {
    let samplers: Vec<Sampler> = (0..runs)
        .map(|_| {
            let diags = hosts
                .iter()
                .map(|(host, _)| {
                    (
                        host.name(),
                        host.diag().expect("the kernel tells of sockets"),
                    )
                })
                .collect();
            Sampler::start(Arc::new(Journal::new()), diags).expect("a sampler starts")
        })
        .collect();
    let share = sampler_share(|| std::thread::sleep(Duration::from_millis(20)));
    drop(samplers);
    share
}

fn sampler_share(mut work: impl FnMut()) -> f64 {
    let (began, before) = (Instant::now(), sampler_time());
    while began.elapsed() < SPELL {
        work();
    }
    (sampler_time() - before).as_secs_f64() / began.elapsed().as_secs_f64() * 100.0
}

/// What the sampler's thread has worked so far: the first field of its `schedstat`, in nanoseconds
/// (Documentation/scheduler/sched-stats.rst).
fn sampler_time() -> Duration {
    let tasks = fs::read_dir("/proc/self/task").expect("a process has threads");
    tasks
        .flatten()
        .map(|task| task.path())
        .filter(|task| fs::read_to_string(task.join("comm")).is_ok_and(|name| name == "sampler\n"))
        .filter_map(|task| fs::read_to_string(task.join("schedstat")).ok())
        .filter_map(|text| text.split_whitespace().next()?.parse().ok())
        .map(Duration::from_nanos)
        .sum()
}
