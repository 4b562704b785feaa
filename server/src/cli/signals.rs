//! Ctrl-C and SIGTERM: the first asks to end in good order, the next ends at once.

use std::process::exit;

use super::CliError;

/// What asked the process to end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Signal {
    /// Ctrl-C.
    Interrupt,
    /// SIGTERM, or the terminal went away.
    #[cfg(unix)]
    Terminate,
}

impl Signal {
    /// The exit status that shells give to a process that this signal ended.
    pub(super) const fn status(self) -> u8 {
        match self {
            Self::Interrupt => 130,
            #[cfg(unix)]
            Self::Terminate => 143,
        }
    }
}

/// The signals that ask the process to end.
pub(super) struct Signals {
    #[cfg(unix)]
    interrupt: tokio::signal::unix::Signal,
    #[cfg(unix)]
    terminate: tokio::signal::unix::Signal,
    #[cfg(unix)]
    hang_up: tokio::signal::unix::Signal,
}

#[cfg(unix)]
impl Signals {
    pub(super) fn new() -> Result<Self, CliError> {
        use tokio::signal::unix::{SignalKind, signal};
        let listen = |kind| {
            signal(kind).map_err(|source| CliError::System {
                operation: "listen for signals",
                source,
            })
        };
        Ok(Self {
            interrupt: listen(SignalKind::interrupt())?,
            terminate: listen(SignalKind::terminate())?,
            hang_up: listen(SignalKind::hangup())?,
        })
    }

    pub(super) async fn next(&mut self) -> Signal {
        tokio::select! {
            _ = self.interrupt.recv() => Signal::Interrupt,
            _ = self.terminate.recv() => Signal::Terminate,
            _ = self.hang_up.recv() => Signal::Terminate,
        }
    }
}

#[cfg(not(unix))]
impl Signals {
    pub(super) fn new() -> Result<Self, CliError> {
        Ok(Self {})
    }

    pub(super) async fn next(&mut self) -> Signal {
        if tokio::signal::ctrl_c().await.is_err() {
            // No signal can be had here; the process ends by other means.
            std::future::pending::<()>().await;
        }
        Signal::Interrupt
    }
}

/// From now on the next signal ends the process at once.
pub(super) fn exit_at_the_next(mut signals: Signals) {
    tokio::spawn(async move {
        let signal = signals.next().await;
        eprintln!("linger: ended at once");
        exit(signal.status().into());
    });
}
