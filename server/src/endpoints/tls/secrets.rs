//! Records the secrets of TLS connections, in NSS' key log format.

use std::{fmt, sync::Arc};

use linger_shared::event::{Fact, HostName, Observer, to_hex};
use rustls::KeyLog;

use crate::{journal::Journal, lab::Stack};

/// Writes each secret into the run's record as soon as a side knows it: before the first packet
/// that it protects.
pub(super) struct JournalKeyLog {
    journal: Arc<Journal>,
    host: HostName,
}

impl JournalKeyLog {
    pub(super) fn new(stack: &Stack) -> Self {
        Self {
            journal: Arc::clone(stack.journal()),
            host: stack.name(),
        }
    }
}

impl KeyLog for JournalKeyLog {
    fn log(&self, label: &str, client_random: &[u8], secret: &[u8]) {
        let line = format!("{label} {} {}", to_hex(client_random), to_hex(secret));
        self.journal
            .record(Observer::App(self.host), Fact::Secret { line });
    }
}

impl fmt::Debug for JournalKeyLog {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "JournalKeyLog({})", self.host)
    }
}
