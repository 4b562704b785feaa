//! Both ends of a connection at once: the greeting that experiments begin with, and the wait for one
//! of them to notice that the other is cut off.

use std::{io, time::Duration};

use linger_shared::theory::wheel::Spread;

use super::{Connection, ReadOutcome};
use crate::lab::{Lab, LabError};

/// What the one end says, and the other repeats.
const GREETING: &[u8] = b"hello";

/// A path that is silent, and what theory says of it.
#[derive(Debug, Clone, Copy)]
pub struct Silence {
    /// Since when, on the run's clock in microseconds: what is measured counts from here.
    pub since_us: u64,
    /// When it will be noticed; `None` where theory says never.
    pub noticed: Option<Spread>,
    /// How long to wait where it is not noticed, in microseconds.
    pub watch_us: u64,
}

impl Silence {
    /// How long to wait: beyond the latest time at which it can be noticed, in case theory errs.
    fn patience(&self) -> Duration {
        let us = self.noticed.map_or(self.watch_us, |spread| {
            spread.latest_us + spread.latest_us / 8 + 2_000_000
        });
        Duration::from_micros(us)
    }
}

impl Connection {
    /// One end says hello, the other says the same, and both have read it.
    ///
    /// # Errors
    /// [`LabError::Application`] where a call fails, which nothing here makes fail.
    pub async fn greet(near: &mut Self, far: &mut Self) -> Result<(), LabError> {
        near.write(GREETING).await?;
        let heard = far.read_exactly(GREETING.len()).await?;
        far.write(&heard).await?;
        near.read_exactly(heard.len()).await?;
        Ok(())
    }

    /// Waits in `near`'s read, and in `far`'s beside it, until the first of them fails or the time
    /// is over, and measures that as `name`; gives the error if it was `near` that failed.
    ///
    /// # Errors
    /// [`LabError::Unmet`] where an end hears from the other, which the path does not let it, or
    /// `far` fails first.
    pub async fn notices(
        lab: &Lab,
        name: &str,
        near: &mut Self,
        far: &mut Self,
        silence: Silence,
    ) -> Result<Option<io::Error>, LabError> {
        let waiting = async {
            tokio::select! {
                biased;
                ending = near.read() => (true, ending),
                ending = far.read() => (false, ending),
            }
        };
        let waited = tokio::time::timeout(silence.patience(), waiting).await;
        let now = lab.now_us();
        let predicted = silence.noticed.map(|spread| spread.expected_us);
        match waited {
            Ok((true, ReadOutcome::Failed(error))) => {
                let span = now.saturating_sub(silence.since_us);
                lab.measure(name, predicted, Some(span), now);
                Ok(Some(error))
            }
            Ok((near_first, ending)) => {
                let (host, other) = if near_first { (near, far) } else { (far, near) };
                Err(LabError::Unmet(format!(
                    "the {} was to hear nothing of the {}, and had {ending:?}",
                    host.stack().name(),
                    other.stack().name(),
                )))
            }
            Err(_) => {
                lab.measure(name, predicted, None, now);
                Ok(None)
            }
        }
    }
}
