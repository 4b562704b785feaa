//! One run, from its first host to its verdict.
//!
//! A run ends by its script, a stop, its time limit or a limit of its record, whichever comes first;
//! the order in which it is taken down decides what is recorded of it, see [`execute`].

use std::{panic::AssertUnwindSafe, sync::Arc, time::Duration};

use futures_util::FutureExt;
use linger_shared::{
    event::{Fact, Mode, Observer},
    experiment::Params,
    protocol::RunState,
    units::format_duration,
};
use tokio_util::sync::CancellationToken;

use super::{
    lock,
    manager::{Run, Shared},
    recorder::{RecordLimits, Recorder},
};
use crate::{
    experiments::Experiment,
    lab::{Lab, LabError, Setup},
};

/// What is to be run: from the list, or brought along by the command line.
pub(super) enum Subject {
    Listed(&'static dyn Experiment),
    Own(Arc<dyn Experiment + Send + Sync>),
}

impl Subject {
    pub(super) fn experiment(&self) -> &dyn Experiment {
        match self {
            Self::Listed(experiment) => *experiment,
            Self::Own(experiment) => &**experiment,
        }
    }
}

/// What a queued run needs to begin.
pub(super) struct Pending {
    pub(super) subject: Subject,
    pub(super) params: Params,
    pub(super) seed: u64,
    pub(super) mode: Mode,
}

/// How much longer than its parameters explain a run may take: what a user's cut delays, and then
/// some.
const SLACK: Duration = Duration::from_secs(180);

/// How a script came to its end.
enum Ending {
    Script(Result<(), LabError>),
    Stopped(String),
}

/// One run from its first host to its verdict.
pub(super) async fn execute(run: Arc<Run>, pending: Pending, shared: Arc<Shared>) {
    let experiment = pending.subject.experiment();
    let plan = experiment.plan(&pending.params);
    let limit = shared
        .config
        .time_limit
        .min(Duration::from_micros(plan.lasts_us).saturating_add(SLACK));
    let setup = Setup {
        run: run.id.clone(),
        descriptor: experiment.descriptor(),
        params: pending.params.clone(),
        seed: pending.seed,
        mode: pending.mode,
        plan,
        executable: shared.config.executable.clone(),
    };
    let store = Some(Arc::clone(&shared.store));
    let (mut lab, header) = match Lab::open(&setup, setup.header()).await {
        Ok(opened) => opened,
        Err(error) => {
            run.log.begin(setup.header(), None, store);
            run.log.fail(0, &error.to_string());
            return;
        }
    };
    let journal = lab.journal();
    run.log.begin(header, Some(Arc::clone(&journal)), store);
    let over_limit = CancellationToken::new();
    let recorder = Recorder::start(
        Arc::clone(&journal),
        Arc::clone(&run.log),
        RecordLimits {
            events: shared.config.event_limit,
            bytes: shared.config.byte_limit,
        },
        over_limit.clone(),
    );
    let controls = lab.controls();
    *lock(&run.controls) = Some(controls.clone());
    let closing = lab.closing();

    // The script stays where it is until nothing is recorded any more: what it holds would be
    // closed when it is dropped, and that is no part of the experiment.
    let script = AssertUnwindSafe(experiment.run(&mut lab, &pending.params));
    let mut script = Box::pin(script.catch_unwind());
    let ending = tokio::select! {
        biased;
        () = run.stop.cancelled() => Ending::Stopped(
            lock(&run.stop_reason).clone().unwrap_or_else(|| "it was stopped".to_owned()),
        ),
        () = over_limit.cancelled() => Ending::Stopped(
            run.log.excess(shared.config.byte_limit).unwrap_or_else(|| {
                format!("it reached the limit of {} events", shared.config.event_limit)
            }),
        ),
        () = tokio::time::sleep(limit) => Ending::Stopped(
            format!("it reached its time limit of {}", format_duration(
                u64::try_from(limit.as_micros()).unwrap_or(u64::MAX),
            )),
        ),
        result = &mut script => Ending::Script(result.unwrap_or_else(|_| {
            Err(LabError::Unmet("the script panicked; this is a defect of Linger".to_owned()))
        })),
    };
    // From here on a viewer's action would come too late to mean anything.
    lock(&run.controls).take();
    let (state, last) = conclude(ending, controls.disturbed(), controls.struck());
    if let Some(fact) = last {
        journal.record(Observer::Experiment, fact);
    }
    if let Some(why) = run.log.broken() {
        let text = format!("The record is incomplete from here on or before: {why}.");
        journal.record(Observer::Experiment, Fact::Remark { text });
    }
    closing.close().await;
    let recorded = recorder.finish(state != RunState::Failed).await;
    drop(script);
    lab.close().await;
    if recorded {
        run.log.finish(state);
    } else {
        run.log
            .fail(journal.now_us(), "the recorder ended unexpectedly");
    }
}

/// What state a run ends in, and what its record says of it.
fn conclude(ending: Ending, disturbed: bool, struck: bool) -> (RunState, Option<Fact>) {
    match ending {
        Ending::Script(Ok(())) => (RunState::Finished, None),
        // What an application sees because a user cut its path is a result.
        Ending::Script(Err(error @ LabError::Application { .. })) if disturbed => (
            RunState::Finished,
            Some(Fact::Remark {
                text: format!("The path was disturbed by hand, and {error}: the script ends here."),
            }),
        ),
        // And where a user took a host or a program away, whatever the script meets is.
        Ending::Script(Err(error)) if struck => (
            RunState::Finished,
            Some(Fact::Remark {
                text: format!(
                    "A host or a program was taken away by hand, and {error}: the script ends here."
                ),
            }),
        ),
        Ending::Script(Err(error)) => (
            RunState::Failed,
            Some(Fact::Failure {
                message: error.to_string(),
            }),
        ),
        Ending::Stopped(reason) => (RunState::Cancelled, Some(Fact::Stopped { reason })),
    }
}

#[cfg(test)]
mod tests {
    use linger_shared::event::HostName;

    use super::*;

    fn failed_read() -> Ending {
        Ending::Script(Err(LabError::Application {
            host: HostName::Client,
            call: "read()",
            errno: "ETIMEDOUT".to_owned(),
        }))
    }

    #[test]
    fn what_an_application_sees_after_a_users_cut_is_a_result() {
        let (state, last) = conclude(failed_read(), true, false);
        assert_eq!(state, RunState::Finished);
        assert!(matches!(last, Some(Fact::Remark { text }) if text.contains("ETIMEDOUT")));
    }

    #[test]
    fn whatever_fails_after_a_user_took_a_host_away_is_a_result() {
        let ending = || Ending::Script(Err(LabError::Unmet("nobody accepts".to_owned())));
        assert_eq!(conclude(ending(), true, false).0, RunState::Failed);
        assert_eq!(conclude(ending(), false, true).0, RunState::Finished);
    }

    #[test]
    fn a_call_that_fails_undisturbed_is_a_failure_of_the_laboratory() {
        let (state, last) = conclude(failed_read(), false, false);
        assert_eq!(state, RunState::Failed);
        assert!(matches!(last, Some(Fact::Failure { .. })));
    }
}
