//! A host: a network namespace, held by one thread that runs closures in it.
//!
//! A namespace has no name and no mount: it is there while its thread runs or a socket or device
//! of it is open, and the kernel takes it away afterwards, however the process ends.

use std::{
    collections::BTreeMap,
    fs, io,
    net::Ipv4Addr,
    sync::mpsc,
    thread::{self, JoinHandle},
};

use linger_shared::event::HostName;
use thiserror::Error;
use tokio::sync::oneshot;

use super::{
    netlink::{Interface, NetlinkError, configure},
    nursery::enter_new_namespace,
    sock_diag::{Diag, DiagError},
    tun::Tun,
};

/// The name of a host's only device besides `lo`.
const DEVICE: &str = "wire0";

/// Sysctls that say how the TCP of a host behaves, recorded with every run. Some kernels lack some,
/// and some show a few of them in the first namespace alone.
const RECORDED: [&str; 35] = [
    "ip_local_port_range",
    "ip_no_pmtu_disc",
    "tcp_abort_on_overflow",
    "tcp_allowed_congestion_control",
    "tcp_available_congestion_control",
    "tcp_congestion_control",
    "tcp_early_retrans",
    "tcp_ecn",
    "tcp_fastopen",
    "tcp_fin_timeout",
    "tcp_frto",
    "tcp_keepalive_intvl",
    "tcp_keepalive_probes",
    "tcp_keepalive_time",
    "tcp_max_syn_backlog",
    "tcp_max_tw_buckets",
    "tcp_moderate_rcvbuf",
    "tcp_mtu_probing",
    "tcp_notsent_lowat",
    "tcp_orphan_retries",
    "tcp_retries1",
    "tcp_retries2",
    "tcp_rmem",
    "tcp_rto_max_ms",
    "tcp_rto_min_us",
    "tcp_sack",
    "tcp_slow_start_after_idle",
    "tcp_syn_linear_timeouts",
    "tcp_syn_retries",
    "tcp_synack_retries",
    "tcp_timestamps",
    "tcp_tw_reuse",
    "tcp_tw_reuse_delay",
    "tcp_window_scaling",
    "tcp_wmem",
];

/// What a host is to be like.
#[derive(Debug, Clone)]
pub struct HostPlan {
    /// Its name.
    pub name: HostName,
    /// Its address, in a network of 24 bits.
    pub address: Ipv4Addr,
    /// Largest packet of its device, in bytes.
    pub mtu: u32,
    /// Sysctls to pin, below `net/ipv4/`.
    pub sysctls: BTreeMap<String, String>,
}

/// A host could not be made or used.
#[derive(Debug, Error)]
pub enum HostError {
    /// A system call failed.
    #[error("host {host}: cannot {operation}: {source}")]
    Io {
        /// Which host.
        host: HostName,
        /// What was tried.
        operation: String,
        /// What happened.
        source: io::Error,
    },
    /// Its device could not be configured.
    #[error("host {host}: {source}")]
    Netlink {
        /// Which host.
        host: HostName,
        /// What happened.
        source: NetlinkError,
    },
    /// Its kernel could not be asked about sockets.
    #[error("host {host}: {source}")]
    Diag {
        /// Which host.
        host: HostName,
        /// What happened.
        source: DiagError,
    },
    /// Its thread is gone.
    #[error("host {0}: its thread has ended")]
    Gone(HostName),
}

type Job = Box<dyn FnOnce() + Send>;

/// A network namespace with one TUN device.
pub struct Host {
    name: HostName,
    address: Ipv4Addr,
    sysctls: BTreeMap<String, String>,
    jobs: Option<mpsc::Sender<Job>>,
    thread: Option<JoinHandle<()>>,
}

impl Host {
    /// Makes a host, and gives the far end of its device for a wire to hold.
    ///
    /// Blocks for a few milliseconds.
    ///
    /// # Errors
    /// [`HostError`] names the host, what was tried, and what happened. Nothing is left behind.
    pub fn create(plan: &HostPlan) -> Result<(Self, Tun), HostError> {
        let (jobs, queue) = mpsc::channel::<Job>();
        let (ready, made) = mpsc::sync_channel(1);
        let work = plan.clone();
        let thread = thread::Builder::new()
            .name(format!("host-{}", plan.name))
            .spawn(move || {
                let result = settle(&work);
                let alive = result.is_ok();
                // The maker waits for this, or has given up and does not mind.
                let _ = ready.send(result);
                if alive {
                    while let Ok(job) = queue.recv() {
                        job();
                    }
                }
            })
            .map_err(|source| HostError::Io {
                host: plan.name,
                operation: "start its thread".to_owned(),
                source,
            })?;
        let (tun, sysctls) = made.recv().map_err(|_| HostError::Gone(plan.name))??;
        Ok((
            Self {
                name: plan.name,
                address: plan.address,
                sysctls,
                jobs: Some(jobs),
                thread: Some(thread),
            },
            tun,
        ))
    }

    /// Its name.
    pub fn name(&self) -> HostName {
        self.name
    }

    /// Its address.
    pub fn address(&self) -> Ipv4Addr {
        self.address
    }

    /// The sysctls that it was recorded with.
    pub fn sysctls(&self) -> &BTreeMap<String, String> {
        &self.sysctls
    }

    /// Runs a closure on the host: sockets that it opens belong to the host for ever.
    ///
    /// # Errors
    /// [`HostError::Gone`] where the host's thread has ended.
    pub async fn run<T: Send + 'static>(
        &self,
        job: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, HostError> {
        let (answer, result) = oneshot::channel();
        self.submit(Box::new(move || {
            // A caller that was dropped does not want the answer.
            let _ = answer.send(job());
        }))?;
        result.await.map_err(|_| HostError::Gone(self.name))
    }

    /// Like [`Host::run`], for callers outside an async runtime.
    ///
    /// # Errors
    /// [`HostError::Gone`] where the host's thread has ended.
    pub fn run_blocking<T: Send + 'static>(
        &self,
        job: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, HostError> {
        let (answer, result) = mpsc::sync_channel(1);
        self.submit(Box::new(move || {
            let _ = answer.send(job());
        }))?;
        result.recv().map_err(|_| HostError::Gone(self.name))
    }

    /// Opens a `sock_diag` socket to its kernel, to be used from any thread.
    ///
    /// # Errors
    /// [`HostError`] where the kernel does not offer it.
    pub fn diag(&self) -> Result<Diag, HostError> {
        self.run_blocking(Diag::open)?
            .map_err(|source| HostError::Diag {
                host: self.name,
                source,
            })
    }

    fn submit(&self, job: Job) -> Result<(), HostError> {
        self.jobs
            .as_ref()
            .and_then(|jobs| jobs.send(job).ok())
            .ok_or(HostError::Gone(self.name))
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        // Destroying what sockets are left lets the namespace go at once: an orphan that still
        // retransmits would hold it for minutes.
        let _ = self.run_blocking(|| {
            if let Ok(mut diag) = Diag::open() {
                let _ = diag.destroy_all();
            }
        });
        self.jobs = None;
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// Turns the calling thread into the host.
fn settle(plan: &HostPlan) -> Result<(Tun, BTreeMap<String, String>), HostError> {
    let io = |operation: &str| {
        let (host, operation) = (plan.name, operation.to_owned());
        move |source: io::Error| HostError::Io {
            host,
            operation,
            source,
        }
    };
    enter_new_namespace().map_err(io("make a network namespace"))?;
    // Without this, the kernel would announce itself over IPv6 on every wire. Where there is no
    // IPv6 there is nothing to switch off.
    let _ = fs::write("/proc/sys/net/ipv6/conf/all/disable_ipv6", "1");
    for (name, value) in &plan.sysctls {
        fs::write(sysctl_path(name), value).map_err(io(&format!("set {name}={value}")))?;
    }
    let tun = Tun::create(DEVICE).map_err(io("make a TUN device"))?;
    configure(&Interface {
        name: DEVICE.to_owned(),
        address: plan.address,
        prefix: 24,
        mtu: plan.mtu,
        default_route: true,
    })
    .map_err(|source| HostError::Netlink {
        host: plan.name,
        source,
    })?;
    let mut sysctls = BTreeMap::new();
    for name in RECORDED
        .into_iter()
        .chain(plan.sysctls.keys().map(String::as_str))
    {
        if let Ok(value) = fs::read_to_string(sysctl_path(name)) {
            sysctls.insert(name.to_owned(), value.trim().to_owned());
        }
    }
    Ok((tun, sysctls))
}

/// `/proc/sys/net` shows the namespace of the thread that opens a file in it.
fn sysctl_path(name: &str) -> String {
    format!("/proc/sys/net/ipv4/{name}")
}
