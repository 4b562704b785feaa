//! Runs in formats that other programs read.
//!
//! A format takes a run's header and events as they are recorded and adds nothing to them; where
//! they are sent is the API's and the command line's business.

pub mod jsonl;
