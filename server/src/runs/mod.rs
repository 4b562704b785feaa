//! Runs: start, act on, cancel, limit, record, fan out.
//!
//! A [`Manager`] owns every run of a process. It promises that every run ends (by its script, a
//! stop, its time limit or the shutdown), that its hosts are gone afterwards, and that a viewer
//! never slows it: viewers read the [`EventLog`] by position. What a run does is the experiment's
//! business; what is told to whom is the API's and the command line's.

mod config;
mod error;
mod execute;
mod ids;
mod limits;
mod log;
mod manager;
mod recorder;
pub mod store;
mod verdict;

use std::sync::{Mutex, MutexGuard, PoisonError};

pub use self::{
    config::Config,
    error::{ActError, DeleteError, StartError},
    limits::Visitor,
    log::{EventLog, Progress},
    manager::Manager,
    recorder::{RecordLimits, Recorder},
};

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
