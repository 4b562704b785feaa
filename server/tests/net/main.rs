//! What runs really do, between real namespaces: which packets, in which order, which states,
//! which errno, at which time.
//!
//! Needs network namespaces and TUN devices, so a plain `cargo test` leaves it out;
//! `cargo xtask test net` runs it, and says so where it cannot.

mod close_styles;
mod conditions;
mod dead_peer;
mod drop_or_reject;
mod exec;
mod export;
mod half_open;
mod hosts;
mod idle_expiry;
mod joined;
mod keepalive;
mod keepalive_defaults;
mod killed;
mod leaks;
mod lifecycle;
mod middlebox;
mod nagle;
mod observed;
mod one_way_cut;
mod path_proxy;
mod path_timeout_chain;
mod port_exhaustion;
mod power;
mod proxy;
mod rights;
mod rules;
mod sequential;
mod serving;
mod slow_start_idle;
mod soak;
mod syn_blackhole;
mod unacked_data;
mod user_timeout;
mod verdict;
mod wire;
