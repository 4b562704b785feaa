//! What is to be started on a host, and how it can end; the same on systems without hosts.

use std::{ffi::OsString, net::Ipv4Addr};

/// A program that is to be started on a host.
#[derive(Debug, Clone)]
pub struct Launch {
    /// What it is called in a word, such as `curl`.
    pub name: String,
    /// Its command line, for people.
    pub shown: String,
    /// The program: a path, or a name that is looked for in PATH.
    pub program: OsString,
    /// Its arguments.
    pub arguments: Vec<OsString>,
    /// Variables of its environment beside Linger's own.
    pub environment: Vec<(OsString, OsString)>,
    /// Names that resolve to addresses, beside `localhost`.
    pub names: Vec<(String, Ipv4Addr)>,
    /// Whether it reads Linger's standard input; otherwise its own is empty.
    pub reads_stdin: bool,
}

/// How a program ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ended {
    /// By itself, with this exit status.
    Exited(i32),
    /// By the signal of this number.
    Killed(i32),
}

/// A program on a host: there are no hosts here, so there is none.
#[cfg(not(linger_packets))]
#[derive(Debug)]
pub enum Process {}

#[cfg(not(linger_packets))]
impl Process {
    /// Its host.
    pub fn host(&self) -> linger_shared::event::HostName {
        match *self {}
    }

    /// What it is called.
    pub fn name(&self) -> &str {
        match *self {}
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        match *self {}
    }

    /// Kills it.
    pub fn kill(&self, _by: &'static str) {
        match *self {}
    }

    /// Asks it to end.
    pub fn terminate(&self, _by: &'static str) {
        match *self {}
    }

    /// The last line that it wrote to its standard error.
    pub fn last_words(&self) -> String {
        match *self {}
    }

    /// How it ended, where it has.
    pub fn has_ended(&self) -> Option<Ended> {
        match *self {}
    }

    /// Waits until it has ended.
    #[expect(clippy::unused_async, reason = "as where there are hosts")]
    pub async fn ended(&self) -> Ended {
        match *self {}
    }
}
