//! Linger's backend: real experiments between real kernel TCP stacks, recorded and streamed.
//!
//! Dependencies point one way: `cli, api -> runs -> experiments -> lab -> endpoints, hosts, wire -> journal`.
//! `ARCHITECTURE.md` at the root of the repository is the map.

pub mod api;
pub mod catalogue;
pub mod cli;
pub mod doctor;
pub mod endpoints;
pub mod exec;
pub mod experiments;
pub mod export;
pub mod hosts;
pub mod journal;
pub mod lab;
pub mod runs;
pub mod wire;
