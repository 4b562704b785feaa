//! Every run of a process: the queue, who may start, and what is told of them.

use std::{
    collections::{HashMap, VecDeque},
    sync::{Arc, Mutex},
    time::Instant,
};

use linger_shared::{
    event::Mode,
    experiment::{Descriptor, Params},
    protocol::{Action, Doctor, RunInfo, RunRequest, RunState},
};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::{
    ActError, Config, StartError, StoreError,
    execute::{Pending, Subject, execute},
    ids::{fresh_id, fresh_seed},
    limits::{Place, Visitor, Visitors},
    lock,
    log::EventLog,
    store,
};
use crate::{
    doctor,
    experiments::{self, Experiment},
    lab::Controls,
};

/// Every run of a process. A clone is another handle to the same runs.
#[derive(Clone)]
pub struct Manager(Arc<Shared>);

pub(super) struct Shared {
    pub(super) config: Config,
    doctor: Doctor,
    pub(super) store: Option<store::Store>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    runs: HashMap<String, Arc<Run>>,
    /// Ids in the order of their start.
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
    experiment: String,
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
                place: Mutex::new(None),
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
            experiment: descriptor.id,
            log: Arc::new(EventLog::in_memory()),
            stop: CancellationToken::new(),
            stop_reason: Mutex::new(None),
            controls: Mutex::new(None),
            pending: Mutex::new(Some(pending)),
            place: Mutex::new(Some(place)),
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
            state.leave(&run);
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
                state.leave(&run);
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

impl State {
    /// Gives back the run's place among its visitor's.
    fn leave(&mut self, run: &Run) {
        if let Some(mut place) = lock(&run.place).take() {
            self.visitors.leave(&mut place);
        }
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
