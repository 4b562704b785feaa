//! Runs: start, act on, cancel, limit, record, fan out.
//!
//! A [`Manager`] owns every run of a process. It promises that every run ends (by its script, a
//! stop, its time limit or the shutdown), that its hosts are gone afterwards, and that a viewer
//! never slows it: viewers read the [`EventLog`] by position. What a run does is the experiment's
//! business; what is told to whom is the API's and the command line's.

mod log;
mod recorder;
mod store;
mod verdict;

use std::{
    collections::{HashMap, VecDeque},
    panic::AssertUnwindSafe,
    path::PathBuf,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use futures_util::FutureExt;
use linger_shared::{
    event::{Fact, Mode, Observer},
    experiment::{ParamError, Params},
    protocol::{Action, Doctor, RunInfo, RunRequest, RunState},
};
use thiserror::Error;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

pub use self::{
    log::{EventLog, Progress},
    recorder::Recorder,
    store::StoreError,
};
use crate::{
    doctor,
    experiments::{self, Experiment},
    lab::{Lab, LabError, Setup},
};

/// What bounds the runs of a process.
#[derive(Debug, Clone)]
pub struct Config {
    /// Where finished and running runs are recorded, one JSON Lines file each; memory only where
    /// it is absent.
    pub data: Option<PathBuf>,
    /// How many runs may be at work at once.
    pub concurrent: usize,
    /// How many may wait for their turn.
    pub queued: usize,
    /// After which time a run is ended.
    pub time_limit: Duration,
    /// How many events a run may record before it is ended.
    pub event_limit: u64,
    /// How many runs that are over stay in memory; the oldest go first.
    pub retained: usize,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            data: None,
            concurrent: 8,
            queued: 64,
            time_limit: Duration::from_secs(12 * 3600),
            event_limit: 500_000,
            retained: 100,
        }
    }
}

/// Why a run was not started.
#[derive(Debug, Error)]
pub enum StartError {
    /// No experiment has that id.
    #[error("there is no experiment `{name}`{}", suggest(.nearest))]
    UnknownExperiment {
        /// The id that was given.
        name: String,
        /// The id that may have been meant.
        nearest: Option<&'static str>,
    },
    /// A parameter is unknown, malformed or out of bounds.
    #[error(transparent)]
    Param(#[from] ParamError),
    /// This machine cannot carry the experiment.
    #[error("{experiment} cannot run here: {reason}")]
    Unavailable {
        /// The experiment's id.
        experiment: String,
        /// What is missing, and what would provide it.
        reason: String,
    },
    /// As many runs wait as may.
    #[error("{limit} runs are waiting already; try again when one of them has ended")]
    QueueFull {
        /// The bound.
        limit: usize,
    },
    /// The server is shutting down.
    #[error("the server is shutting down")]
    ShuttingDown,
}

fn suggest(nearest: &Option<&'static str>) -> String {
    nearest.map_or_else(
        || "; `linger experiments` lists them".to_owned(),
        |name| format!("; did you mean `{name}`?"),
    )
}

/// Why an action was not carried out.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum ActError {
    /// No run has that id.
    #[error("there is no run `{0}`")]
    UnknownRun(String),
    /// The run is not at work.
    #[error("the run is {}, and only a running one can be acted on", .0.as_str())]
    NotRunning(RunState),
    /// The run cannot do this.
    #[error("{0}")]
    Unsupported(String),
}

/// Every run of a process. A clone is another handle to the same runs.
#[derive(Clone)]
pub struct Manager(Arc<Shared>);

struct Shared {
    config: Config,
    doctor: Doctor,
    store: Option<store::Store>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    runs: HashMap<String, Arc<Run>>,
    /// Ids in the order of their start.
    order: Vec<String>,
    queue: VecDeque<String>,
    working: usize,
    tasks: HashMap<String, JoinHandle<()>>,
    shutting_down: bool,
}

struct Run {
    id: String,
    experiment: String,
    log: Arc<EventLog>,
    stop: CancellationToken,
    stop_reason: Mutex<Option<String>>,
    controls: Mutex<Option<crate::lab::Controls>>,
    pending: Mutex<Option<Pending>>,
}

/// What a queued run needs to begin.
struct Pending {
    experiment: &'static dyn Experiment,
    params: Params,
    seed: u64,
    mode: Mode,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Manager {
    /// Finds out what the machine can do, and reads what was recorded before.
    ///
    /// Must be called within a tokio runtime.
    ///
    /// # Errors
    /// [`StoreError`] where the data folder cannot be made or read.
    pub fn new(config: Config) -> Result<Self, StoreError> {
        let opened = config
            .data
            .as_deref()
            .map(|folder| store::Store::open(folder, config.retained))
            .transpose()?;
        let (store, recorded) = opened.unzip();
        let mut state = State::default();
        for recorded in recorded.into_iter().flatten() {
            let run = Run {
                id: recorded.id.clone(),
                experiment: recorded
                    .log
                    .header()
                    .map_or_else(String::new, |h| h.experiment),
                log: recorded.log,
                stop: CancellationToken::new(),
                stop_reason: Mutex::new(None),
                controls: Mutex::new(None),
                pending: Mutex::new(None),
            };
            state.order.push(recorded.id.clone());
            state.runs.insert(recorded.id, Arc::new(run));
        }
        Ok(Self(Arc::new(Shared {
            config,
            doctor: doctor::examine(),
            store,
            state: Mutex::new(state),
        })))
    }

    /// What this machine can do, as it was found out at the start.
    pub fn doctor(&self) -> &Doctor {
        &self.0.doctor
    }

    /// The mode in which this machine would run an experiment, or why it cannot.
    ///
    /// # Errors
    /// What is missing and what would provide it, in words.
    pub fn mode_for(&self, modes: &[Mode], wanted: Option<Mode>) -> Result<Mode, String> {
        let here = self.0.doctor.mode;
        if let Some(wanted) = wanted
            && !modes.contains(&wanted)
        {
            return Err(format!("it has no {} mode", wanted.as_str()));
        }
        let can = |mode: &Mode| here == Mode::Packets || *mode == Mode::Relay;
        modes
            .iter()
            .copied()
            .filter(|mode| wanted.is_none_or(|wanted| wanted == *mode))
            .find(can)
            .ok_or_else(|| {
                let missing = self
                    .0
                    .doctor
                    .checks
                    .iter()
                    .filter(|check| !check.ok)
                    .map(|check| format!("{}: {}. {}", check.name, check.found, check.remedy))
                    .collect::<Vec<_>>()
                    .join(" ");
                format!("it needs real packets between network namespaces. {missing}")
            })
    }

    /// Checks a request and starts the run, or queues it.
    ///
    /// # Errors
    /// [`StartError`]; nothing was started then.
    pub fn start(&self, request: &RunRequest) -> Result<RunInfo, StartError> {
        let experiment = experiments::find(&request.experiment).ok_or_else(|| {
            StartError::UnknownExperiment {
                name: request.experiment.clone(),
                nearest: experiments::nearest(&request.experiment),
            }
        })?;
        let descriptor = experiment.descriptor();
        let params = descriptor.resolve(&request.params)?;
        let mode = self
            .mode_for(&descriptor.modes, request.mode)
            .map_err(|reason| StartError::Unavailable {
                experiment: descriptor.id.clone(),
                reason,
            })?;
        let seed = request.seed.unwrap_or_else(fresh_seed);

        let mut state = lock(&self.0.state);
        if state.shutting_down {
            return Err(StartError::ShuttingDown);
        }
        if state.working >= self.0.config.concurrent && state.queue.len() >= self.0.config.queued {
            return Err(StartError::QueueFull {
                limit: self.0.config.queued,
            });
        }
        let id = fresh_id(&descriptor.id, &state.runs);
        let run = Arc::new(Run {
            id: id.clone(),
            experiment: descriptor.id,
            log: Arc::new(EventLog::in_memory()),
            stop: CancellationToken::new(),
            stop_reason: Mutex::new(None),
            controls: Mutex::new(None),
            pending: Mutex::new(Some(Pending {
                experiment,
                params,
                seed,
                mode,
            })),
        });
        state.runs.insert(id.clone(), Arc::clone(&run));
        state.order.push(id.clone());
        state.queue.push_back(id);
        self.forget_old(&mut state);
        self.advance(&mut state);
        drop(state);
        Ok(run.info())
    }

    /// What is known of a run; `None` where there is none of that id.
    pub fn info(&self, id: &str) -> Option<RunInfo> {
        self.run(id).map(|run| run.info())
    }

    /// Every run, the newest first.
    pub fn list(&self) -> Vec<RunInfo> {
        let state = lock(&self.0.state);
        let runs: Vec<Arc<Run>> = state
            .order
            .iter()
            .rev()
            .filter_map(|id| state.runs.get(id).cloned())
            .collect();
        drop(state);
        runs.iter().map(|run| run.info()).collect()
    }

    /// A run's events, for readers; `None` where there is no run of that id.
    pub fn log(&self, id: &str) -> Option<Arc<EventLog>> {
        self.run(id).map(|run| Arc::clone(&run.log))
    }

    /// Ends a run before its script is done. One that is over stays as it is.
    ///
    /// # Errors
    /// [`ActError::UnknownRun`].
    pub fn stop(&self, id: &str, reason: &str) -> Result<RunInfo, ActError> {
        let run = self
            .run(id)
            .ok_or_else(|| ActError::UnknownRun(id.to_owned()))?;
        run.stop(reason);
        let mut state = lock(&self.0.state);
        if let Some(place) = state.queue.iter().position(|queued| queued == id) {
            state.queue.remove(place);
            run.log.finish(RunState::Cancelled);
            lock(&run.pending).take();
            self.renumber(&state);
        }
        drop(state);
        Ok(run.info())
    }

    /// Does something to a live run.
    ///
    /// # Errors
    /// [`ActError`] where there is no such run, it is not at work, or it cannot do that.
    pub fn act(&self, id: &str, action: Action) -> Result<(), ActError> {
        let run = self
            .run(id)
            .ok_or_else(|| ActError::UnknownRun(id.to_owned()))?;
        let controls = lock(&run.controls);
        match controls.as_ref() {
            Some(controls) => controls.act(action).map_err(ActError::Unsupported),
            None => Err(ActError::NotRunning(run.log.progress().state)),
        }
    }

    /// Stops every run, refuses new ones, and returns when all of them are gone.
    pub async fn shutdown(&self) {
        let (runs, tasks) = {
            let mut state = lock(&self.0.state);
            state.shutting_down = true;
            let queued: Vec<String> = state.queue.drain(..).collect();
            for id in queued {
                if let Some(run) = state.runs.get(&id) {
                    run.log.finish(RunState::Cancelled);
                }
            }
            let tasks: Vec<_> = state.tasks.drain().map(|(_, task)| task).collect();
            (state.runs.values().cloned().collect::<Vec<_>>(), tasks)
        };
        for run in runs {
            run.stop("the server was shut down");
        }
        for task in tasks {
            // A panic of a run was reported by its own task.
            let _ = task.await;
        }
    }

    fn run(&self, id: &str) -> Option<Arc<Run>> {
        lock(&self.0.state).runs.get(id).cloned()
    }

    /// Begins queued runs while there is room.
    fn advance(&self, state: &mut State) {
        while state.working < self.0.config.concurrent {
            let Some(run) = state
                .queue
                .pop_front()
                .and_then(|id| state.runs.get(&id).cloned())
            else {
                break;
            };
            let Some(pending) = lock(&run.pending).take() else {
                continue;
            };
            state.working += 1;
            let manager = self.clone();
            let id = run.id.clone();
            let task = tokio::spawn(async move {
                // The run itself is a task of its own, so that a panic in it is seen here.
                let shared = Arc::clone(&manager.0);
                let work = tokio::spawn(execute(Arc::clone(&run), pending, shared));
                if let Err(panic) = work.await {
                    run.log.fail(
                        run.log.now_us(),
                        &format!("the run's task ended unexpectedly: {panic}"),
                    );
                }
                lock(&run.controls).take();
                let mut state = lock(&manager.0.state);
                state.working -= 1;
                state.tasks.remove(&run.id);
                if !state.shutting_down {
                    manager.advance(&mut state);
                }
            });
            state.tasks.insert(id, task);
        }
        self.renumber(state);
    }

    /// Tells each queued run its place.
    fn renumber(&self, state: &State) {
        for (place, id) in state.queue.iter().enumerate() {
            if let Some(run) = state.runs.get(id) {
                run.log.set_queue_position(place);
            }
        }
    }

    fn forget_old(&self, state: &mut State) {
        let mut excess = state.order.len().saturating_sub(self.0.config.retained);
        let State { order, runs, .. } = state;
        order.retain(|id| {
            let over = runs
                .get(id)
                .is_none_or(|run| run.log.progress().state.is_over());
            if excess > 0 && over {
                excess -= 1;
                runs.remove(id);
                return false;
            }
            true
        });
    }
}

impl Run {
    fn info(&self) -> RunInfo {
        let progress = self.log.progress();
        RunInfo {
            id: self.id.clone(),
            experiment: self.experiment.clone(),
            state: progress.state,
            queue_position: progress.queue_position,
            events: progress.next,
            now_us: self.log.now_us(),
            header: self.log.header(),
        }
    }

    fn stop(&self, reason: &str) {
        let mut stored = lock(&self.stop_reason);
        if stored.is_none() {
            *stored = Some(reason.to_owned());
        }
        drop(stored);
        self.stop.cancel();
    }
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
async fn execute(run: Arc<Run>, pending: Pending, shared: Arc<Shared>) {
    let plan = pending.experiment.plan(&pending.params);
    let limit = shared
        .config
        .time_limit
        .min(Duration::from_micros(plan.lasts_us).saturating_add(SLACK));
    let setup = Setup {
        run: run.id.clone(),
        descriptor: pending.experiment.descriptor(),
        params: pending.params.clone(),
        seed: pending.seed,
        mode: pending.mode,
        plan,
    };
    let sink = shared.store.as_ref().and_then(|store| {
        store
            .create(&run.id)
            .map_err(|error| eprintln!("linger: {error}; the run is kept in memory only"))
            .ok()
    });
    let (mut lab, header) = match Lab::open(&setup, setup.header()).await {
        Ok(opened) => opened,
        Err(error) => {
            run.log.begin(setup.header(), None, sink);
            run.log.fail(0, &error.to_string());
            return;
        }
    };
    let journal = lab.journal();
    run.log.begin(header, Some(Arc::clone(&journal)), sink);
    let over_limit = CancellationToken::new();
    let recorder = Recorder::start(
        Arc::clone(&journal),
        Arc::clone(&run.log),
        shared.config.event_limit,
        over_limit.clone(),
    );
    let controls = lab.controls();
    *lock(&run.controls) = Some(controls.clone());
    let closing = lab.closing();

    // The script stays where it is until nothing is recorded any more: what it holds would be
    // closed when it is dropped, and that is no part of the experiment.
    let script = AssertUnwindSafe(pending.experiment.run(&mut lab, &pending.params));
    let mut script = Box::pin(script.catch_unwind());
    let ending = tokio::select! {
        biased;
        () = run.stop.cancelled() => Ending::Stopped(
            lock(&run.stop_reason).clone().unwrap_or_else(|| "it was stopped".to_owned()),
        ),
        () = over_limit.cancelled() => Ending::Stopped(
            format!("it reached the limit of {} events", shared.config.event_limit),
        ),
        () = tokio::time::sleep(limit) => Ending::Stopped(
            format!("it reached its time limit of {}", linger_shared::units::format_duration(
                u64::try_from(limit.as_micros()).unwrap_or(u64::MAX),
            )),
        ),
        result = &mut script => Ending::Script(result.unwrap_or_else(|_| {
            Err(LabError::Unmet("the script panicked; this is a defect of Linger".to_owned()))
        })),
    };
    // From here on a viewer's action would come too late to mean anything.
    lock(&run.controls).take();
    let (state, last) = conclude(ending, controls.disturbed());
    if let Some(fact) = last {
        journal.record(Observer::Experiment, fact);
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
fn conclude(ending: Ending, disturbed: bool) -> (RunState, Option<Fact>) {
    match ending {
        Ending::Script(Ok(())) => (RunState::Finished, None),
        // What an application sees because a user cut its path is a result.
        Ending::Script(Err(error @ LabError::Application { .. })) if disturbed => (
            RunState::Finished,
            Some(Fact::Remark {
                text: format!("The path was cut by hand, and {error}: the script ends here."),
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

fn unix_micros() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |since| u64::try_from(since.as_micros()).unwrap_or(0))
}

/// A seed that differs from run to run; it is recorded, not secret.
fn fresh_seed() -> u64 {
    // SplitMix64's mixing step spreads the clock's low bits over the whole word.
    let mut z = unix_micros().wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    // JavaScript's numbers hold 53 bits.
    (z ^ (z >> 31)) >> 11
}

/// The experiment's id, and a number that grows with time and is not taken.
fn fresh_id(experiment: &str, taken: &HashMap<String, Arc<Run>>) -> String {
    let mut number = unix_micros() / 1_000;
    loop {
        let id = format!("{experiment}-{}", base36(number));
        if !taken.contains_key(&id) {
            return id;
        }
        number += 1;
    }
}

fn base36(mut number: u64) -> String {
    const DIGITS: &[u8; 36] = b"0123456789abcdefghijklmnopqrstuvwxyz";
    let mut digits = Vec::new();
    while number > 0 || digits.is_empty() {
        digits.push(DIGITS[(number % 36) as usize]);
        number /= 36;
    }
    digits.reverse();
    String::from_utf8_lossy(&digits).into_owned()
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
        let (state, last) = conclude(failed_read(), true);
        assert_eq!(state, RunState::Finished);
        assert!(matches!(last, Some(Fact::Remark { text }) if text.contains("ETIMEDOUT")));
    }

    #[test]
    fn a_call_that_fails_undisturbed_is_a_failure_of_the_laboratory() {
        let (state, last) = conclude(failed_read(), false);
        assert_eq!(state, RunState::Failed);
        assert!(matches!(last, Some(Fact::Failure { .. })));
    }

    #[test]
    fn ids_differ_even_within_a_millisecond() {
        let mut taken = HashMap::new();
        let run = |id: &str| {
            Arc::new(Run {
                id: id.to_owned(),
                experiment: String::new(),
                log: Arc::new(EventLog::in_memory()),
                stop: CancellationToken::new(),
                stop_reason: Mutex::new(None),
                controls: Mutex::new(None),
                pending: Mutex::new(None),
            })
        };
        for _ in 0..100 {
            let id = fresh_id("tcp-lifecycle", &taken);
            assert!(!taken.contains_key(&id));
            taken.insert(id.clone(), run(&id));
        }
    }
}
