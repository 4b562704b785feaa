//! Hosts: network stacks of their own, and what their kernels tell.
//!
//! This is the boundary behind which everything Linux-only stands: with `cfg(linger_packets)` (set
//! by the build script on Linux with the feature `packets`) a host is a network namespace with a
//! TUN device; without it there are no hosts, and experiments run over the relay.

#[cfg(linger_packets)]
mod linux;
mod program;

use std::collections::BTreeMap;

use linger_shared::event::{HostName, SocketSnapshot};

#[cfg(linger_packets)]
pub use self::linux::{
    host::{Host, HostError, HostPlan},
    netlink::{Interface, NetlinkError, configure},
    privilege::{Privilege, privilege},
    process::{Process, ProcessError},
    sampler::{Sampler, Trigger},
    sock_diag::{Diag, DiagError, Which},
    tun::Tun,
};

#[cfg(not(linger_packets))]
pub use self::program::Process;
pub use self::program::{Ended, Launch};

/// The sockets of every host, as their kernels told them in one round of questions.
#[derive(Debug, Clone, Default)]
pub struct Tables {
    /// When the round began, on the run's clock: what was true before may have been missed by
    /// earlier rounds, not by this one.
    pub asked_us: u64,
    /// Each host's sockets.
    pub sockets: BTreeMap<HostName, Vec<SocketSnapshot>>,
}

/// Gets the process the rights that hosts need, where the system gives them.
///
/// Must be called while the process has one thread: a user namespace cannot be entered later. Does
/// nothing where no rights are needed or none are to be had; `doctor` tells which.
pub fn prepare_process() {
    #[cfg(linger_packets)]
    linux::privilege::prepare_process();
}

/// Whether this kernel has a sysctl below `net/ipv4/`: older ones lack some, and a plan cannot pin
/// what is not there.
pub fn has_sysctl(name: &str) -> bool {
    std::path::Path::new("/proc/sys/net/ipv4")
        .join(name)
        .exists()
}

/// The kernel's release, such as `6.18.44`, or the system's name where that is all there is.
pub fn kernel_release() -> String {
    std::fs::read_to_string("/proc/sys/kernel/osrelease").map_or_else(
        |_| std::env::consts::OS.to_owned(),
        |release| release.trim().to_owned(),
    )
}

/// The tick that kernels count timers in, in microseconds: 4 ms where CONFIG_HZ is 250. The coarse
/// clock goes by ticks (`clock_getres(2)`).
pub fn tick_us() -> u64 {
    /// What most distributions' kernels have.
    const USUAL_US: u64 = 4_000;
    #[cfg(linger_packets)]
    if let Ok(tick) = nix::time::clock_getres(nix::time::ClockId::CLOCK_MONOTONIC_COARSE) {
        let us = u64::try_from(std::time::Duration::from(tick).as_micros());
        return us.map_or(USUAL_US, |us| us.max(1));
    }
    USUAL_US
}
