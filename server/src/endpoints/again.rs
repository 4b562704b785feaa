//! An application that does not take EADDRNOTAVAIL for an answer: it connects again and again until
//! its kernel has a port for it. The record shows that as one call, with how often it was refused.

use std::{
    io,
    net::SocketAddr,
    time::{Duration, Instant},
};

use linger_shared::event::{Call, Fact};

use super::{Connection, errno_name, tcp::whole};
use crate::lab::{LabError, Stack};

/// How often to try, and for how long.
#[derive(Debug, Clone, Copy)]
pub struct Persistent {
    /// Time between two attempts.
    pub every: Duration,
    /// After which time the application gives up.
    pub patience: Duration,
}

/// What came of it.
pub struct Persisted {
    /// The connection; `None` where no port became free in time.
    pub connection: Option<Connection>,
    /// When the last attempt was made, on the run's clock, in microseconds.
    pub tried_us: u64,
    /// Attempts that had found no free port.
    pub refusals: u64,
}

impl Connection {
    /// Connects from a host as soon as it has a free port for this destination.
    ///
    /// # Errors
    /// [`LabError::Application`] where `connect(2)` fails in another way than with EADDRNOTAVAIL.
    pub async fn open_when_free(
        stack: &Stack,
        to: SocketAddr,
        how: Persistent,
    ) -> Result<Persisted, LabError> {
        let journal = stack.journal();
        let (began, began_us) = (Instant::now(), journal.now_us());
        let about = Call {
            call: "connect".to_owned(),
            args: format!("{to}, every {}", whole(how.every)),
            began_us: Some(began_us),
            remote: Some(to),
            ..Call::default()
        };
        let ticket = journal.waits(stack.name(), Fact::Call(about.clone()));
        let mut refusals = 0;
        let ended = loop {
            let tried_us = journal.now_us();
            match stack.socket().await?.connect(to).await {
                Err(error) if error.kind() == io::ErrorKind::AddrNotAvailable => refusals += 1,
                other => break (tried_us, Some(other)),
            }
            if began.elapsed() >= how.patience {
                break (tried_us, None);
            }
            tokio::time::sleep(how.every).await;
        };
        journal.waits_no_more(ticket);
        let (tried_us, connected) = ended;
        let (result, errno, stream) = match connected {
            Some(Ok(stream)) => (
                format!("ok, after EADDRNOTAVAIL {refusals} times"),
                None,
                Some(stream),
            ),
            Some(Err(error)) => (errno_name(&error), Some(errno_name(&error)), None),
            None => (
                format!("EADDRNOTAVAIL {refusals} times, then gave up"),
                Some("EADDRNOTAVAIL".to_owned()),
                None,
            ),
        };
        let local = stream.as_ref().and_then(|stream| stream.local_addr().ok());
        let failed = errno.clone().filter(|name| name != "EADDRNOTAVAIL");
        journal.called(
            stack.name(),
            Call {
                result,
                errno,
                local,
                ..about
            },
        );
        match failed {
            Some(errno) => Err(LabError::Application {
                host: stack.name(),
                call: "connect()",
                errno,
            }),
            None => Ok(Persisted {
                connection: stream.map(|stream| Self::new(stack, stream)),
                tried_us,
                refusals,
            }),
        }
    }
}
