//! What works beside the script: servers, drivers of connections, relays.
//!
//! Everything that is set to work through a crew ends when the crew is dismissed, at whatever it is
//! waiting for; nothing of a run outlives it in a task that nobody holds.

use tokio_util::{sync::CancellationToken, task::TaskTracker};

/// The tasks of a run. A clone is another handle to the same tasks.
#[derive(Clone, Default)]
pub struct Crew {
    tasks: TaskTracker,
    dismissed: CancellationToken,
}

impl Crew {
    /// Sets something to work until it is done or the crew is dismissed.
    pub fn spawn(&self, work: impl Future<Output = ()> + Send + 'static) {
        let dismissed = self.dismissed.clone();
        self.tasks.spawn(async move {
            // Who is dismissed drops what it was doing.
            dismissed.run_until_cancelled(work).await;
        });
    }

    /// Asks everybody to end.
    pub(super) fn dismiss(&self) {
        self.dismissed.cancel();
        self.tasks.close();
    }

    /// Returns when everybody has ended.
    pub(super) async fn dismissed(&self) {
        self.dismiss();
        self.tasks.wait().await;
    }
}

/// hyper hands its connections' drivers to an executor.
impl<F> hyper::rt::Executor<F> for Crew
where
    F: Future + Send + 'static,
    F::Output: Send,
{
    fn execute(&self, work: F) {
        self.spawn(async move {
            work.await;
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_dismissed_crew_ends_whatever_it_waits_for() {
        let crew = Crew::default();
        crew.spawn(std::future::pending());
        crew.clone().spawn(std::future::pending());
        crew.dismissed().await;
        assert!(crew.tasks.is_empty());
    }
}
