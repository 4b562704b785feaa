//! The whole way: the page in a real Chromium, the server that carries it, real packets.
//!
//! Each test has a server and a browser of its own, and fails on any error that the page reports.

mod experiments;
mod export;
mod faults;
mod form;
mod join;
mod keyboard;
mod narrow;
mod recorded;
mod replay;
mod resume;
mod run;
mod truth;
mod visit;
