//! A program on a host: started, listened to, killed, and never left behind.
//!
//! What it writes and what becomes of it are events of the run. How it is started, so that it
//! cannot outlive the run, is `launch`'s business.

mod launch;
mod lines;

use std::{
    io::{self, Read},
    os::{
        fd::{AsFd, AsRawFd},
        unix::process::ExitStatusExt,
    },
    process::ExitStatus,
    sync::{Arc, Mutex, MutexGuard, PoisonError, mpsc},
    thread::{self, JoinHandle},
};

use linger_shared::event::{Fact, HostName, Observer, OutputStream, ProcessState};
use nix::{
    poll::{PollFd, PollFlags, PollTimeout, poll},
    sys::signal::{Signal, kill, killpg},
    unistd::Pid,
};
use thiserror::Error;
use tokio::sync::watch;

use self::{
    launch::{Launched, NotLaunched, Told, launch, read},
    lines::{Allowance, Heard, Lines},
};
use super::host::{Host, HostError};
use crate::{
    hosts::{Ended, Launch},
    journal::Journal,
};

/// A program could not be started.
#[derive(Debug, Error)]
pub enum ProcessError {
    /// Its host is gone.
    #[error(transparent)]
    Host(#[from] HostError),
    /// The system refused.
    #[error("{host}: cannot start `{program}`: cannot {operation}: {source}")]
    Start {
        /// On which host.
        host: HostName,
        /// Which program.
        program: String,
        /// What was tried.
        operation: &'static str,
        /// What happened.
        source: io::Error,
    },
}

/// A program that runs on a host, or did. Dropping it kills it, and waits until it is gone.
pub struct Process {
    host: HostName,
    name: String,
    leash: Arc<Leash>,
    ended: watch::Receiver<Option<Ended>>,
    last_words: Arc<Mutex<String>>,
    thread: Option<JoinHandle<()>>,
}

/// What holds a program, as long as it is there to be held.
struct Leash {
    init: Pid,
    program: Pid,
    state: Mutex<LeashState>,
}

#[derive(Default)]
struct LeashState {
    /// Who has sent it a signal.
    by: Option<&'static str>,
    /// It is over: its numbers may soon be others'.
    loose: bool,
}

impl Leash {
    fn state(&self) -> MutexGuard<'_, LeashState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn signal(&self, by: &'static str, send: impl FnOnce() -> nix::Result<()>) {
        let mut state = self.state();
        if !state.loose {
            state.by.get_or_insert(by);
            // What has died in this very moment needs no signal.
            let _ = send();
        }
    }
}

impl Process {
    /// Starts a program on a host; what happens to it is reported to the journal. Blocks for some
    /// milliseconds.
    ///
    /// # Errors
    /// [`ProcessError`] names the program, what was tried, and what happened.
    pub fn start(host: &Host, journal: Arc<Journal>, plan: Launch) -> Result<Self, ProcessError> {
        let name = host.name();
        let program = plan.name.clone();
        let failed = {
            let program = program.clone();
            move |operation, source| ProcessError::Start {
                host: name,
                program,
                operation,
                source,
            }
        };
        let (ready, started) = mpsc::sync_channel(1);
        let (sender, ended) = watch::channel(None);
        let last_words = Arc::new(Mutex::new(String::new()));
        let heard = Arc::clone(&last_words);
        // A thread that is started on the host is on the host.
        let thread = host.run_blocking(move || {
            thread::Builder::new()
                .name(format!("run-{name}"))
                .spawn(move || {
                    let launched = match launch(&plan) {
                        Ok(launched) => launched,
                        Err(error) => return drop(ready.send(Err(error))),
                    };
                    let leash = Arc::new(Leash {
                        init: Pid::from_raw(launched.init.id().cast_signed()),
                        program: launched.program,
                        state: Mutex::default(),
                    });
                    let keeper = Keeper {
                        journal,
                        host: name,
                        program: plan.name,
                        leash: Arc::clone(&leash),
                        ended: sender,
                        last_words: heard,
                    };
                    keeper.report(ProcessState::Started {
                        command: plan.shown,
                    });
                    let _ = ready.send(Ok(leash));
                    keeper.keep(launched);
                })
        })?;
        let thread = match thread {
            Ok(thread) => thread,
            Err(source) => return Err(failed("start its thread", source)),
        };
        match started.recv() {
            Ok(Ok(leash)) => Ok(Self {
                host: name,
                name: program,
                leash,
                ended,
                last_words,
                thread: Some(thread),
            }),
            Ok(Err(NotLaunched { operation, source })) => Err(failed(operation, source)),
            Err(_) => Err(ProcessError::Host(HostError::Gone(name))),
        }
    }

    /// Its host.
    pub fn host(&self) -> HostName {
        self.host
    }

    /// What it is called.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its process id in the original namespace.
    pub fn pid(&self) -> u32 {
        self.leash.program.as_raw().unsigned_abs()
    }

    /// Kills it and whatever it has started, with SIGKILL. `by` is `script` or `user`.
    pub fn kill(&self, by: &'static str) {
        let init = self.leash.init;
        self.leash.signal(by, || kill(init, Signal::SIGKILL));
    }

    /// Asks it and its process group to end, with SIGTERM. `by` is `script` or `user`.
    pub fn terminate(&self, by: &'static str) {
        let program = self.leash.program;
        self.leash.signal(by, || killpg(program, Signal::SIGTERM));
    }

    /// The last line that it wrote to its standard error so far; empty where there is none.
    pub fn last_words(&self) -> String {
        self.last_words
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// How it ended, where it has.
    pub fn has_ended(&self) -> Option<Ended> {
        *self.ended.borrow()
    }

    /// Waits until it has ended and everything that it wrote is reported.
    pub async fn ended(&self) -> Ended {
        let mut ended = self.ended.clone();
        let known = ended.wait_for(Option::is_some).await;
        // Its thread reports an end before it ends.
        known
            .ok()
            .and_then(|ended| *ended)
            .unwrap_or(Ended::Killed(libc::SIGKILL))
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill("script");
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// What the thread of a process knows.
struct Keeper {
    journal: Arc<Journal>,
    host: HostName,
    program: String,
    leash: Arc<Leash>,
    ended: watch::Sender<Option<Ended>>,
    last_words: Arc<Mutex<String>>,
}

impl Keeper {
    fn report(&self, state: ProcessState) {
        self.journal.record(
            Observer::App(self.host),
            Fact::Process {
                program: self.program.clone(),
                pid: self.leash.program.as_raw().unsigned_abs(),
                state,
            },
        );
    }

    /// Listens until the program has ended and its output, too.
    fn keep(self, launched: Launched) {
        let Launched {
            mut init,
            program: _,
            line,
        } = launched;
        let mut stdout = init.stdout.take();
        let mut stderr = init.stderr.take();
        let mut heard = [Lines::default(), Lines::default()];
        let mut allowance = Allowance::default();
        let mut status = None;
        let mut listening = true;
        let mut buffer = vec![0; 64 * 1024];
        while listening || stdout.is_some() || stderr.is_some() {
            let ready = {
                let of = |fd| PollFd::new(fd, PollFlags::POLLIN);
                let mut polled: Vec<PollFd<'_>> = Vec::with_capacity(3);
                polled.extend(stdout.as_ref().map(|stdout| of(stdout.as_fd())));
                polled.extend(stderr.as_ref().map(|stderr| of(stderr.as_fd())));
                polled.extend(listening.then(|| of(line.as_fd())));
                if poll(&mut polled, PollTimeout::NONE).is_err() {
                    continue;
                }
                polled
                    .iter()
                    .filter(|polled| polled.any().unwrap_or(true))
                    .map(|polled| polled.as_fd().as_raw_fd())
                    .collect::<Vec<_>>()
            };
            let [out, err] = &mut heard;
            let streams = [OutputStream::Stdout, OutputStream::Stderr];
            if stdout
                .as_ref()
                .is_some_and(|s| ready.contains(&s.as_raw_fd()))
                && !self.hear(&mut stdout, streams[0], out, &mut allowance, &mut buffer)
            {
                stdout = None;
            }
            if stderr
                .as_ref()
                .is_some_and(|s| ready.contains(&s.as_raw_fd()))
                && !self.hear(&mut stderr, streams[1], err, &mut allowance, &mut buffer)
            {
                stderr = None;
            }
            if listening && ready.contains(&line.as_raw_fd()) {
                match read(&line) {
                    Ok(Told::Ended(ended)) => status = Some(ended),
                    Ok(Told::Here(_) | Told::Failed(_)) => {}
                    Ok(Told::Nothing) | Err(_) => listening = false,
                }
            }
        }
        let by = {
            let mut state = self.leash.state();
            state.loose = true;
            state.by
        };
        // init is gone or about to be; without it there would be no end of the line.
        let waited = init.wait();
        let status = status
            .map(ExitStatus::from_raw)
            .or(waited.ok())
            .unwrap_or_else(|| ExitStatus::from_raw(libc::SIGKILL));
        let ended = match (status.code(), status.signal()) {
            (Some(code), _) => Ended::Exited(code),
            (None, signal) => Ended::Killed(signal.unwrap_or(libc::SIGKILL)),
        };
        self.report(match ended {
            Ended::Exited(code) => ProcessState::Exited { code },
            Ended::Killed(signal) => ProcessState::Killed {
                signal: signal_name(signal),
                by: by.unwrap_or("itself").to_owned(),
            },
        });
        self.ended.send_replace(Some(ended));
    }

    /// Reads once from a stream that has something; false at its end.
    fn hear(
        &self,
        source: &mut Option<impl Read>,
        stream: OutputStream,
        lines: &mut Lines,
        allowance: &mut Allowance,
        buffer: &mut [u8],
    ) -> bool {
        let length = match source.as_mut().map(|source| source.read(buffer)) {
            Some(Err(error)) if error.kind() == io::ErrorKind::Interrupted => return true,
            Some(Ok(length)) => length,
            Some(Err(_)) | None => 0,
        };
        let now_us = self.journal.now_us();
        let record = |heard| match heard {
            Heard::Line(text) => {
                if stream == OutputStream::Stderr {
                    let mut last = self
                        .last_words
                        .lock()
                        .unwrap_or_else(PoisonError::into_inner);
                    last.clone_from(&text);
                }
                self.journal.record_at(
                    now_us,
                    Observer::App(self.host),
                    Fact::Output { stream, text },
                );
            }
            Heard::Missing(why) => self.journal.record_at(
                now_us,
                Observer::Experiment,
                Fact::Remark {
                    text: format!("{} on {} {why}.", self.program, self.host),
                },
            ),
        };
        if length == 0 {
            lines.end(now_us, allowance, record);
            return false;
        }
        lines.feed(&buffer[..length], now_us, allowance, record);
        true
    }
}

fn signal_name(signal: i32) -> String {
    Signal::try_from(signal).map_or_else(
        |_| format!("signal {signal}"),
        |signal| signal.as_str().to_owned(),
    )
}
