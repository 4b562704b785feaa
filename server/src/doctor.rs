//! What this machine can do, what is missing, and what would provide it.
//!
//! Each check does the thing itself, on a small scale, instead of guessing from versions.

use linger_shared::{
    event::Mode,
    protocol::{Check, Doctor},
};

use crate::hosts;

/// Tries what runs need. Takes some milliseconds; what it made is gone afterwards.
pub fn examine() -> Doctor {
    let mut checks = Vec::new();
    let packets = packets(&mut checks);
    checks.push(match std::net::TcpListener::bind(("127.0.0.1", 0)) {
        Ok(_) => ok("loopback sockets", "a listener on 127.0.0.1"),
        Err(error) => Check {
            name: "loopback sockets".to_owned(),
            ok: false,
            found: error.to_string(),
            remedy: "Without them nothing runs: bring up the loopback interface.".to_owned(),
        },
    });
    Doctor {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        system: format!("{} {}", std::env::consts::OS, hosts::kernel_release()),
        mode: if packets { Mode::Packets } else { Mode::Relay },
        checks,
    }
}

fn ok(name: &str, found: &str) -> Check {
    Check {
        name: name.to_owned(),
        ok: true,
        found: found.to_owned(),
        remedy: String::new(),
    }
}

#[cfg(not(linger_packets))]
fn packets(checks: &mut Vec<Check>) -> bool {
    let (found, remedy) = if cfg!(target_os = "linux") {
        (
            "this build was made without the feature `packets`",
            "Build with default features for experiments that need packets.",
        )
    } else {
        (
            "network namespaces exist on Linux only",
            "Run Linger on Linux, in a virtual machine or in a container with --cap-add NET_ADMIN \
             --cap-add SYS_ADMIN --device /dev/net/tun, for experiments that need packets.",
        )
    };
    checks.push(Check {
        name: "packet wire".to_owned(),
        ok: false,
        found: found.to_owned(),
        remedy: remedy.to_owned(),
    });
    false
}

#[cfg(linger_packets)]
fn packets(checks: &mut Vec<Check>) -> bool {
    use std::{collections::BTreeMap, net::Ipv4Addr, time::Instant};

    use linger_shared::{event::HostName, units::human};

    use crate::hosts::{Host, HostPlan, Privilege, privilege};

    checks.push(match privilege() {
        Privilege::Root => ok("rights", "CAP_NET_ADMIN and CAP_SYS_ADMIN"),
        Privilege::UserNamespace => ok("rights", "a user namespace of its own"),
        Privilege::None(tried) => Check {
            name: "rights".to_owned(),
            ok: false,
            found: tried.clone(),
            remedy: "Network namespaces need root or a user namespace: run as root, or allow user \
                     namespaces (sysctl user.max_user_namespaces, kernel.unprivileged_userns_clone, \
                     kernel.apparmor_restrict_unprivileged_userns)."
                .to_owned(),
        },
    });
    checks.push(
        match std::fs::OpenOptions::new()
            .read(true)
            .write(true)
            .open("/dev/net/tun")
        {
            Ok(_) => ok("/dev/net/tun", "opened for reading and writing"),
            Err(error) => Check {
                name: "/dev/net/tun".to_owned(),
                ok: false,
                found: error.to_string(),
                remedy:
                    "The wire ends in TUN devices: load the tun module (modprobe tun), give the \
                         container the device (--device /dev/net/tun), or let your user open it \
                         (chmod 0666 /dev/net/tun)."
                        .to_owned(),
            },
        },
    );
    let began = Instant::now();
    let plan = HostPlan {
        name: HostName::Client,
        address: Ipv4Addr::new(192, 0, 2, 1),
        mtu: 1_500,
        // Experiments pin sysctls; a read-only /proc/sys would fail them.
        sysctls: BTreeMap::from([("tcp_fin_timeout".to_owned(), "60".to_owned())]),
    };
    let made = Host::create(&plan);
    let took = u64::try_from(began.elapsed().as_micros()).unwrap_or(u64::MAX);
    match made {
        Ok((host, _tun)) => {
            checks.push(ok(
                "network namespace with a TUN device",
                &format!("made and configured in {}", human(took)),
            ));
            let sockets = host
                .diag()
                .map_err(|error| error.to_string())
                .and_then(|mut diag| {
                    diag.sockets(hosts::Which::All)
                        .map_err(|error| error.to_string())
                });
            let works = sockets.is_ok();
            checks.push(match sockets {
                Ok(_) => ok("sock_diag", "the kernel tells of its sockets"),
                Err(error) => Check {
                    name: "sock_diag".to_owned(),
                    ok: false,
                    found: error,
                    remedy: "Socket states come from sock_diag: load the modules inet_diag and \
                             tcp_diag, or use a kernel with CONFIG_INET_TCP_DIAG."
                        .to_owned(),
                },
            });
            works
        }
        Err(error) => {
            checks.push(Check {
                name: "network namespace with a TUN device".to_owned(),
                ok: false,
                found: error.to_string(),
                remedy:
                    "Experiments that need packets are unavailable until this works; the others \
                         run over the loopback relay."
                        .to_owned(),
            });
            false
        }
    }
}
