//! A server with recordings of its own, an experiment that says as much as is wanted of it, and the
//! process's memory.

use std::{collections::BTreeMap, fs, net::SocketAddr, path::PathBuf, sync::Arc, time::Duration};

use linger::{
    api::{self, Limits, Settings},
    experiments::{Experiment, Script},
    lab::{Lab, Plan},
    runs::{Config, Manager, Visitor},
};
use linger_shared::{
    event::Mode,
    experiment::{Descriptor, Params, Value},
    protocol::RunRequest,
};
use tokio::{net::TcpListener, runtime::Runtime, task::JoinHandle};

/// A folder that is removed at the end.
pub(crate) struct Scratch(pub(crate) PathBuf);

impl Scratch {
    pub(crate) fn new(name: &str) -> Self {
        let name = format!("linger-bench-{name}-{}", std::process::id());
        Self(std::env::temp_dir().join(name))
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// A server with its runs.
pub(crate) struct Ground<'a> {
    pub(crate) manager: Manager,
    pub(crate) address: SocketAddr,
    runtime: &'a Runtime,
    serving: JoinHandle<()>,
    _data: Scratch,
}

impl<'a> Ground<'a> {
    /// Serves within the runtime; at most so many runs are at work at once.
    pub(crate) fn new(runtime: &'a Runtime, concurrent: usize) -> Self {
        let data = Scratch::new("runs");
        let manager = Manager::new(Config {
            data: Some(data.0.clone()),
            concurrent,
            queued: 100_000,
            ..Config::default()
        })
        .expect("a folder can be made");
        let settings = Settings {
            limits: Limits {
                connections: 4_096,
                ..Limits::default()
            },
            ..Settings::local(None)
        };
        let listener = runtime
            .block_on(TcpListener::bind("127.0.0.1:0"))
            .expect("loopback is there");
        let address = listener.local_addr().expect("it is bound");
        let never = std::future::pending();
        let serving = runtime.spawn(api::serve(listener, manager.clone(), settings, never));
        Self {
            manager,
            address,
            runtime,
            serving,
            _data: data,
        }
    }

    /// Starts an experiment from the list, between namespaces.
    pub(crate) fn start(&self, experiment: &str, params: &[(&str, &str)]) -> String {
        let params = params
            .iter()
            .map(|(name, value)| ((*name).to_owned(), Value::Text((*value).to_owned())))
            .collect();
        let request = RunRequest {
            experiment: experiment.to_owned(),
            params,
            seed: None,
            mode: Some(Mode::Packets),
        };
        let run = self.manager.start(&request, Visitor::LOCAL);
        run.expect("see `linger doctor`").id
    }

    /// Starts a run that says what it is to say; see [`Speech`].
    pub(crate) fn speak(&self, speech: Speech) -> String {
        let params = speech.descriptor().resolve(&BTreeMap::new());
        let params = params.expect("there are none");
        let run = self.manager.start_own(Arc::new(speech), params, None, None);
        run.expect("the relay is everywhere").id
    }

    /// Waits until a run is at work and its script has begun.
    pub(crate) fn begun(&self, run: &str) {
        let Ok(Some(log)) = self.manager.log(run) else {
            return; // Over already.
        };
        let mut progress = log.subscribe();
        let begun = progress.wait_for(|progress| progress.next > 0 || progress.state.is_over());
        let _ = self.runtime.block_on(begun);
    }

    /// Waits until a run is over.
    pub(crate) fn over(&self, run: &str) {
        let Ok(Some(log)) = self.manager.log(run) else {
            return;
        };
        let mut progress = log.subscribe();
        let over = progress.wait_for(|progress| progress.state.is_over());
        let _ = self.runtime.block_on(over);
    }
}

impl Drop for Ground<'_> {
    fn drop(&mut self) {
        self.runtime.block_on(self.manager.shutdown());
        self.serving.abort();
    }
}

/// So many remarks of about 200 bytes, so many every so often, after a pause in which viewers come.
#[derive(Clone, Copy)]
pub(crate) struct Speech {
    pub(crate) remarks: u64,
    pub(crate) at_once: u64,
    pub(crate) pause: Duration,
    pub(crate) first: Duration,
}

impl Experiment for Speech {
    fn id(&self) -> &'static str {
        "speech"
    }

    fn descriptor(&self) -> Descriptor {
        Descriptor {
            id: self.id().to_owned(),
            title: "A speech".to_owned(),
            question: "Who keeps up?".to_owned(),
            family: "Benchmarks".to_owned(),
            modes: vec![Mode::Relay],
            explanation: Vec::new(),
            look_for: Vec::new(),
            misconception: String::new(),
            params: Vec::new(),
            presets: Vec::new(),
            claims: Vec::new(),
            references: Vec::new(),
        }
    }

    fn plan(&self, _: &Params) -> Plan {
        Plan::symmetric(0, 600_000_000)
    }

    fn run<'a>(&'a self, lab: &'a mut Lab, _: &'a Params) -> Script<'a> {
        Box::pin(async move {
            tokio::time::sleep(self.first).await;
            for number in 0..self.remarks {
                lab.remark(&format!("{number:0>8}{}", " and so on".repeat(13)));
                if (number + 1).is_multiple_of(self.at_once) {
                    tokio::time::sleep(self.pause).await;
                }
            }
            Ok(())
        })
    }
}

/// This process's resident memory, in bytes.
pub(crate) fn resident() -> u64 {
    let status = fs::read_to_string("/proc/self/status").expect("proc is mounted");
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let figure = line.and_then(|line| line.split_whitespace().next());
    figure
        .and_then(|text| text.parse::<u64>().ok())
        .map_or(0, |kib| kib * 1_024)
}
