//! Where hosts' namespaces are born, so that each has a small table of connections of its own.
//!
//! By default every network namespace shares one hash table of connections, sized by the machine's
//! memory, and whoever asks for one namespace's sockets has the kernel walk all of it: 250 us for
//! 262,144 empty buckets, where a table of its own takes 15 us. A namespace gets its own where
//! `tcp_child_ehash_entries` of the one that it was made from says so (Linux 6.1; ip-sysctl.rst).
//! Setting that in the original namespace would concern others, so there is one in between.

use std::{
    fs::{self, File},
    io,
    sync::OnceLock,
    thread,
};

use nix::sched::{CloneFlags, setns, unshare};

/// Buckets of a host's table: thousands of sockets fit, and an empty one is walked in microseconds.
const BUCKETS: &str = "4096";

/// Limits that the kernel derives from the table's size (`tcp_set_hashinfo`, net/ipv4/tcp_ipv4.c):
/// a host is to have those that it would have had.
const DERIVED: [&str; 2] = ["tcp_max_tw_buckets", "tcp_max_syn_backlog"];

/// The namespace in between, and the limits that hosts are to have.
struct Nursery {
    namespace: File,
    limits: Vec<(&'static str, String)>,
}

static NURSERY: OnceLock<Option<Nursery>> = OnceLock::new();

/// Moves the calling thread into a network namespace of its own.
///
/// # Errors
/// What `unshare(2)` returned.
pub(super) fn enter_new_namespace() -> io::Result<()> {
    let nursery = NURSERY.get_or_init(prepare).as_ref();
    let inside =
        nursery.is_some_and(|nursery| setns(&nursery.namespace, CloneFlags::CLONE_NEWNET).is_ok());
    unshare(CloneFlags::CLONE_NEWNET)?;
    if let Some(nursery) = nursery.filter(|_| inside) {
        for (name, value) in &nursery.limits {
            // They were read from a namespace of the same kernel, so they are there.
            let _ = fs::write(sysctl(name), value);
        }
    }
    Ok(())
}

/// Makes the namespace in between; none where the kernel cannot give tables apart, or anything else
/// is in the way: then hosts share the table, and asking for their sockets takes longer.
fn prepare() -> Option<Nursery> {
    let limits = DERIVED
        .into_iter()
        .filter_map(|name| Some((name, fs::read_to_string(sysctl(name)).ok()?)))
        .collect();
    let namespace = thread::Builder::new()
        .name("nursery".to_owned())
        .spawn(|| -> io::Result<File> {
            unshare(CloneFlags::CLONE_NEWNET)?;
            fs::write(sysctl("tcp_child_ehash_entries"), BUCKETS)?;
            File::open("/proc/thread-self/ns/net")
        })
        .ok()?
        .join()
        .ok()?
        .ok()?;
    Some(Nursery { namespace, limits })
}

fn sysctl(name: &str) -> String {
    format!("/proc/sys/net/ipv4/{name}")
}
