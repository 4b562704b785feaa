//! Every run of a process: the queue, who may start, and what is told of them.

use std::{
    cmp::Reverse,
    collections::{HashMap, HashSet, VecDeque},
    path::Path,
    sync::{Arc, Mutex, Weak},
    time::{Duration, Instant},
};

use linger_shared::{
    event::Mode,
    experiment::{Descriptor, Params},
    protocol::{Action, Check, Doctor, RunInfo, RunRequest, RunState},
};
use tokio::{
    sync::Notify,
    task::{JoinHandle, spawn_blocking},
    time::{sleep, timeout},
};
use tokio_util::sync::CancellationToken;

use super::{
    ActError, Config, DeleteError, StartError,
    execute::{Pending, Subject, execute},
    ids::{fresh_id, fresh_seed, unix_millis},
    limits::{Place, Visitor, Visitors},
    lock,
    log::EventLog,
    store::{Kept, MemoryStore, Retention, SqliteStore, Store, StoreError, agree, retain},
};
use crate::{
    doctor,
    experiments::{self, Experiment},
    lab::Controls,
};

/// How often old records are looked for, and how soon after a run has ended.
const RETENTION: (Duration, Duration) = (Duration::from_secs(60), Duration::from_secs(1));

/// How often what another process records is looked at.
const ELSEWHERE: Duration = Duration::from_millis(200);

/// How many runs that are over and in memory alone, because their record broke, are kept.
const UNRECORDED: usize = 16;

/// The doctor's check of the recordings.
pub(crate) const RECORDING: &str = "recording";

/// Every run of a process. A clone is another handle to the same runs.
#[derive(Clone)]
pub struct Manager(Arc<Shared>);

pub(super) struct Shared {
    pub(super) config: Config,
    doctor: Doctor,
    pub(super) store: Arc<dyn Store>,
    /// Wakes whoever removes old records.
    run_ended: Arc<Notify>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// Those that the store does not have from their beginning to their end.
    runs: HashMap<String, Arc<Run>>,
    /// Their ids in the order of their start.
    order: Vec<String>,
    queue: VecDeque<String>,
    working: usize,
    visitors: Visitors,
    tasks: HashMap<String, JoinHandle<()>>,
    shutting_down: bool,
}

/// One run, queued, at work or over.
pub(super) struct Run {
    pub(super) id: String,
    pub(super) log: Arc<EventLog>,
    /// Cancelled when somebody wants it to end.
    pub(super) stop: CancellationToken,
    pub(super) stop_reason: Mutex<Option<String>>,
    pub(super) controls: Mutex<Option<Controls>>,
    pending: Mutex<Option<Pending>>,
    /// Its place among its visitor's runs.
    place: Mutex<Option<Place>>,
}

impl Manager {
    /// Finds out what the machine can do, and opens the recordings. Where they cannot be written,
    /// a warning says so, and runs are kept in memory.
    ///
    /// Must be called within a tokio runtime.
    ///
    /// # Errors
    /// [`StoreError`] where the recordings are damaged or another program's.
    pub fn new(config: Config) -> Result<Self, StoreError> {
        let (store, check) = open(config.data.as_deref())?;
        let mut doctor = doctor::examine();
        doctor.checks.push(check);
        let keep = match config.data.as_deref().filter(|_| store.is_durable()) {
            Some(data) => agree(data, config.retention),
            None => Some(Retention::IN_MEMORY),
        };
        let shared = Arc::new(Shared {
            config,
            doctor,
            store,
            run_ended: Arc::default(),
            state: Mutex::default(),
        });
        if let Some(keep) = keep {
            tokio::spawn(remove_old(Arc::downgrade(&shared), keep));
        }
        Ok(Self(shared))
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
                    .filter(|check| !check.ok && check.name != RECORDING)
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
    pub fn start(&self, request: &RunRequest, visitor: Visitor) -> Result<RunInfo, StartError> {
        let experiment = experiments::find(&request.experiment).ok_or_else(|| {
            StartError::UnknownExperiment {
                name: request.experiment.clone(),
                nearest: experiments::nearest(&request.experiment),
            }
        })?;
        let descriptor = experiment.descriptor();
        let params = descriptor.resolve(&request.params)?;
        let pending = self.prepare(
            Subject::Listed(experiment),
            &descriptor,
            params,
            request.seed,
            request.mode,
        )?;
        self.admit(descriptor, pending, visitor)
    }

    /// Starts an experiment that is not in the list, or queues it: what the command line of this
    /// machine was told to run. No [`RunRequest`] reaches it.
    ///
    /// # Errors
    /// [`StartError`]; nothing was started then.
    pub fn start_own(
        &self,
        experiment: Arc<dyn Experiment + Send + Sync>,
        params: Params,
        seed: Option<u64>,
        mode: Option<Mode>,
    ) -> Result<RunInfo, StartError> {
        let descriptor = experiment.descriptor();
        let subject = Subject::Own(experiment);
        let pending = self.prepare(subject, &descriptor, params, seed, mode)?;
        self.admit(descriptor, pending, Visitor::LOCAL)
    }

    fn prepare(
        &self,
        subject: Subject,
        descriptor: &Descriptor,
        params: Params,
        seed: Option<u64>,
        mode: Option<Mode>,
    ) -> Result<Pending, StartError> {
        let mode =
            self.mode_for(&descriptor.modes, mode)
                .map_err(|reason| StartError::Unavailable {
                    experiment: descriptor.id.clone(),
                    reason,
                })?;
        Ok(Pending {
            subject,
            params,
            seed: seed.unwrap_or_else(fresh_seed),
            mode,
        })
    }

    fn admit(
        &self,
        descriptor: Descriptor,
        pending: Pending,
        visitor: Visitor,
    ) -> Result<RunInfo, StartError> {
        let config = &self.0.config;
        let mut state = lock(&self.0.state);
        if state.shutting_down {
            return Err(StartError::ShuttingDown);
        }
        if state.working >= config.concurrent && state.queue.len() >= config.queued {
            return Err(StartError::QueueFull {
                limit: config.queued,
            });
        }
        let place = state.visitors.enter(
            visitor,
            Instant::now(),
            config.per_address,
            config.starts_per_minute,
        )?;
        let id = fresh_id(&descriptor.id, |id| state.runs.contains_key(id));
        let run = Arc::new(Run {
            id: id.clone(),
            log: Arc::new(EventLog::new(id.as_str().into(), descriptor.id)),
            stop: CancellationToken::new(),
            stop_reason: Mutex::new(None),
            controls: Mutex::new(None),
            pending: Mutex::new(Some(pending)),
            place: Mutex::new(Some(place)),
        });
        state.runs.insert(id.clone(), Arc::clone(&run));
        state.order.push(id.clone());
        state.queue.push_back(id);
        self.advance(&mut state);
        drop(state);
        Ok(run.log.info())
    }

    /// What is known of a run; `None` where there is none of that id. One that is over is looked
    /// up on the disk.
    ///
    /// # Errors
    /// [`StoreError`] where the recordings cannot be read.
    pub fn info(&self, id: &str) -> Result<Option<RunInfo>, StoreError> {
        if let Some(run) = self.run(id) {
            return Ok(Some(run.log.info()));
        }
        let store = &self.0.store;
        let Some(entry) = store.entry(id)? else {
            return Ok(None);
        };
        let header = store.header(id)?;
        Ok(Some(entry.info(store.is_durable(), header)))
    }

    /// Runs, those that wait or were started last first: at most `most`, and without their headers
    /// where they are recorded. Reads the disk.
    ///
    /// # Errors
    /// [`StoreError`] where the recordings cannot be read.
    pub fn list(&self, most: usize) -> Result<Vec<RunInfo>, StoreError> {
        let live = {
            let state = lock(&self.0.state);
            let mut live: Vec<Arc<Run>> = state
                .order
                .iter()
                .filter_map(|id| state.runs.get(id).cloned())
                .collect();
            live.reverse();
            live
        };
        let mut runs: Vec<RunInfo> = live.iter().map(|run| run.log.info()).collect();
        let ids: HashSet<&str> = live.iter().map(|run| run.id.as_str()).collect();
        let recorded = self.0.store.list(most)?;
        runs.extend(
            recorded
                .into_iter()
                .filter(|entry| !ids.contains(entry.id.as_str()))
                .map(|entry| entry.info(self.0.store.is_durable(), None)),
        );
        // What waits has no start yet; the sort keeps the order of what is equal.
        runs.sort_by_key(|run| {
            Reverse(match run.state {
                RunState::Queued => u64::MAX,
                _ => run.started_unix_ms,
            })
        });
        runs.truncate(most);
        Ok(runs)
    }

    /// A run's events, for readers; `None` where there is no run of that id. One that is over is
    /// looked up on the disk.
    ///
    /// # Errors
    /// [`StoreError`] where the recordings cannot be read.
    pub fn log(&self, id: &str) -> Result<Option<Arc<EventLog>>, StoreError> {
        if let Some(run) = self.run(id) {
            return Ok(Some(Arc::clone(&run.log)));
        }
        let store = &self.0.store;
        let (Some(entry), Some(header)) = (store.entry(id)?, store.header(id)?) else {
            return Ok(None);
        };
        let log = Arc::new(EventLog::recorded(Arc::clone(store), &entry, header));
        if !entry.state.is_over() {
            tokio::spawn(watch_elsewhere(Arc::clone(store), Arc::downgrade(&log)));
        }
        Ok(Some(log))
    }

    /// Removes a run that is over, and its record.
    ///
    /// # Errors
    /// [`DeleteError`] where there is no such run, it is not over, or the disk refuses.
    pub fn delete(&self, id: &str) -> Result<(), DeleteError> {
        let refuse = |state: RunState| {
            Err(DeleteError::NotOver {
                id: id.to_owned(),
                state,
            })
        };
        if let Some(run) = self.run(id) {
            let state = run.log.progress().state;
            let settled = |kept: Kept| kept.is_settled();
            if !state.is_over()
                || !run
                    .log
                    .kept()
                    .is_none_or(|kept| settled(kept.borrow().clone()))
            {
                return refuse(state);
            }
            self.forget(id);
        } else {
            match self.0.store.entry(id)? {
                None => return Err(DeleteError::UnknownRun(id.to_owned())),
                Some(entry) if !entry.state.is_over() => return refuse(entry.state),
                Some(_) => {}
            }
        }
        self.0.store.delete(&[id])?;
        Ok(())
    }

    /// Ends a run before its script is done. One that is over stays as it is.
    ///
    /// # Errors
    /// [`ActError::UnknownRun`].
    pub fn stop(&self, id: &str, reason: &str) -> Result<RunInfo, ActError> {
        let Some(run) = self.run(id) else {
            let run = self.elsewhere(id)?;
            return match run.state.is_over() {
                true => Ok(run),
                false => Err(ActError::Elsewhere(id.to_owned())),
            };
        };
        run.stop(reason);
        let mut state = lock(&self.0.state);
        if let Some(place) = state.queue.iter().position(|queued| queued == id) {
            state.queue.remove(place);
            run.log.finish(RunState::Cancelled);
            lock(&run.pending).take();
            state.leave(&run);
            state.forget_unrecorded();
            self.renumber(&state);
        }
        drop(state);
        Ok(run.log.info())
    }

    /// A run that is not in the memory of this process.
    fn elsewhere(&self, id: &str) -> Result<RunInfo, ActError> {
        self.info(id)?
            .ok_or_else(|| ActError::UnknownRun(id.to_owned()))
    }

    /// Does something to a live run.
    ///
    /// # Errors
    /// [`ActError`] where there is no such run, it is not at work, or it cannot do that.
    pub fn act(&self, id: &str, action: Action) -> Result<(), ActError> {
        let Some(run) = self.run(id) else {
            let run = self.elsewhere(id)?;
            return Err(match run.state.is_over() {
                true => ActError::NotRunning(run.state),
                false => ActError::Elsewhere(id.to_owned()),
            });
        };
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
                {
                    let mut state = lock(&manager.0.state);
                    state.working -= 1;
                    state.leave(&run);
                    if !state.shutting_down {
                        manager.advance(&mut state);
                    }
                }
                manager.hand_over(&run).await;
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

    /// Leaves a run that is over to the store, once that has all of it.
    async fn hand_over(&self, run: &Run) {
        let kept = match run.log.kept() {
            Some(mut kept) => kept
                .wait_for(Kept::is_settled)
                .await
                .is_ok_and(|kept| kept.finished),
            None => false,
        };
        run.log.release();
        let mut state = lock(&self.0.state);
        state.tasks.remove(&run.id);
        if kept {
            state.forget(&run.id);
        } else {
            state.forget_unrecorded();
        }
        drop(state);
        self.0.run_ended.notify_one();
    }

    fn forget(&self, id: &str) {
        lock(&self.0.state).forget(id);
    }
}

/// Opens the recordings, and says how that went.
fn open(data: Option<&Path>) -> Result<(Arc<dyn Store>, Check), StoreError> {
    let check = |ok, found: &str, remedy: &str| Check {
        name: RECORDING.to_owned(),
        ok,
        found: found.to_owned(),
        remedy: remedy.to_owned(),
    };
    let Some(folder) = data else {
        let check = check(true, "not wanted: runs are kept in memory", "");
        return Ok((Arc::new(MemoryStore::default()), check));
    };
    match SqliteStore::open(folder) {
        Ok(store) => Ok((
            Arc::new(store),
            check(true, "runs are recorded on disk", ""),
        )),
        Err(error) if error.is_unwritable() => {
            eprintln!(
                "linger: {error}. Runs are kept in memory, and are gone when this process ends; \
                 --data DIR records them elsewhere"
            );
            // Who asks over the network is not told where the folder is.
            let found = "the data folder cannot be written";
            let remedy = "Runs are kept in memory, and are gone when the server ends: give it a \
                          folder that it can write with --data DIR, or make room on its disk.";
            Ok((
                Arc::new(MemoryStore::default()),
                check(false, found, remedy),
            ))
        }
        Err(error) => Err(error),
    }
}

/// Removes records that are not to be kept, for as long as the runs' owner is there.
async fn remove_old(shared: Weak<Shared>, keep: Retention) {
    while let Some(there) = shared.upgrade() {
        let (store, run_ended) = (Arc::clone(&there.store), Arc::clone(&there.run_ended));
        drop(there);
        let removed = spawn_blocking(move || retain(&*store, keep, unix_millis())).await;
        if let Ok(Err(error)) = removed {
            eprintln!("linger: old recordings cannot be removed: {error}");
        }
        // Woken or not: it is time to look again.
        let _ = timeout(RETENTION.0, run_ended.notified()).await;
        sleep(RETENTION.1).await;
    }
}

/// Tells the readers of a run that another process records what there is of it.
async fn watch_elsewhere(store: Arc<dyn Store>, log: Weak<EventLog>) {
    loop {
        sleep(ELSEWHERE).await;
        let Some(log) = log.upgrade() else { return };
        let (store, id) = (Arc::clone(&store), Arc::clone(log.id()));
        // A record that cannot be read now may be the next time; readers meet the error themselves.
        if let Ok(Ok(Some(entry))) = spawn_blocking(move || store.entry(&id)).await {
            log.catch_up(&entry);
            if entry.state.is_over() {
                return;
            }
        }
    }
}

impl State {
    fn forget(&mut self, id: &str) {
        self.runs.remove(id);
        self.order.retain(|known| known != id);
    }

    /// Bounds the memory that runs without a record take up: the oldest go first.
    fn forget_unrecorded(&mut self) {
        let over: Vec<String> = self
            .order
            .iter()
            .filter(|id| {
                self.runs
                    .get(*id)
                    .is_some_and(|run| run.log.progress().state.is_over())
            })
            .cloned()
            .collect();
        for id in over.iter().rev().skip(UNRECORDED) {
            if !self.tasks.contains_key(id) {
                self.forget(id);
            }
        }
    }

    /// Gives back the run's place among its visitor's.
    fn leave(&mut self, run: &Run) {
        if let Some(mut place) = lock(&run.place).take() {
            self.visitors.leave(&mut place);
        }
    }
}

impl Run {
    fn stop(&self, reason: &str) {
        let mut stored = lock(&self.stop_reason);
        if stored.is_none() {
            *stored = Some(reason.to_owned());
        }
        drop(stored);
        self.stop.cancel();
    }
}
