//! Network namespaces, TUN devices, rtnetlink and `sock_diag`.

mod changes;
pub(super) mod host;
mod inet_diag;
pub(super) mod netlink;
mod nursery;
pub(super) mod privilege;
pub(super) mod process;
pub(super) mod sampler;
pub(super) mod sock_diag;
pub(super) mod tun;
