//! Network namespaces, TUN devices, rtnetlink and `sock_diag`.

pub(super) mod host;
pub(super) mod netlink;
pub(super) mod privilege;
pub(super) mod sampler;
pub(super) mod sock_diag;
pub(super) mod tun;
