//! Runs an experiment and looks at its events.

use std::{collections::BTreeMap, sync::Arc};

use linger::{
    experiments::{Experiment, Script},
    lab::{Lab, Plan},
    runs::{Config, Manager, Visitor},
};
use linger_shared::{
    event::{Event, Fact, Header, HostName, Mode, Observer, Packet, TcpState, Verdict},
    experiment::{Descriptor, Params, Value},
    protocol::{RunRequest, RunState},
};

/// Everything that a run recorded.
pub(crate) struct Observed {
    pub(crate) header: Header,
    pub(crate) events: Vec<Event>,
    pub(crate) state: RunState,
}

/// The request for a run with these parameters.
pub(crate) fn request(experiment: &str, params: &[(&str, &str)]) -> RunRequest {
    RunRequest {
        experiment: experiment.to_owned(),
        params: params
            .iter()
            .map(|(name, value)| ((*name).to_owned(), Value::Text((*value).to_owned())))
            .collect(),
        seed: Some(1),
        mode: Some(Mode::Packets),
    }
}

/// Runs an experiment to its end.
pub(crate) async fn observe(experiment: &str, params: &[(&str, &str)]) -> Observed {
    observe_while(experiment, params, |_, _, _| {}).await
}

/// Runs an experiment to its end; `meanwhile` sees each event as it comes, and may act.
pub(crate) async fn observe_while(
    experiment: &str,
    params: &[(&str, &str)],
    mut meanwhile: impl FnMut(&Manager, &str, &Event),
) -> Observed {
    observe_request_while(&request(experiment, params), &mut meanwhile).await
}

/// Runs what is asked for to its end.
pub(crate) async fn observe_request(request: &RunRequest) -> Observed {
    observe_request_while(request, |_, _, _| {}).await
}

async fn observe_request_while(
    request: &RunRequest,
    mut meanwhile: impl FnMut(&Manager, &str, &Event),
) -> Observed {
    let manager = Manager::new(Config {
        executable: Some(env!("CARGO_BIN_EXE_linger").into()),
        ..Config::default()
    })
    .expect("a manager without a data folder");
    let run = manager
        .start(request, Visitor::LOCAL)
        .expect("the run starts");
    watch(&manager, &run.id, |event| {
        meanwhile(&manager, &run.id, event)
    })
    .await
}

/// Runs a script of a test's own to its end.
pub(crate) async fn observe_own(
    mode: Mode,
    plan: Plan,
    script: impl for<'a> Fn(&'a mut Lab) -> Script<'a> + Send + Sync + 'static,
) -> Observed {
    observe_own_while(mode, plan, script, |_, _, _| {}).await
}

/// Runs a script of a test's own to its end; `meanwhile` sees each event as it comes, and may act.
pub(crate) async fn observe_own_while(
    mode: Mode,
    plan: Plan,
    script: impl for<'a> Fn(&'a mut Lab) -> Script<'a> + Send + Sync + 'static,
    mut meanwhile: impl FnMut(&Manager, &str, &Event),
) -> Observed {
    let manager = Manager::new(Config {
        executable: Some(env!("CARGO_BIN_EXE_linger").into()),
        ..Config::default()
    })
    .expect("a manager without a data folder");
    let own = Own { plan, script };
    let params = own.descriptor().resolve(&BTreeMap::new());
    let params = params.expect("no parameters are needed");
    let run = manager
        .start_own(Arc::new(own), params, Some(1), Some(mode))
        .expect("the run starts");
    watch(&manager, &run.id, |event| {
        meanwhile(&manager, &run.id, event)
    })
    .await
}

/// An experiment that only a test runs.
struct Own<S> {
    plan: Plan,
    script: S,
}

impl<S> Experiment for Own<S>
where
    S: for<'a> Fn(&'a mut Lab) -> Script<'a> + Send + Sync,
{
    fn id(&self) -> &'static str {
        "own"
    }

    fn descriptor(&self) -> Descriptor {
        let text = || "a test's own".to_owned();
        Descriptor {
            id: self.id().to_owned(),
            title: text(),
            question: text(),
            family: text(),
            modes: vec![Mode::Packets, Mode::Relay],
            explanation: Vec::new(),
            look_for: Vec::new(),
            misconception: text(),
            params: Vec::new(),
            presets: Vec::new(),
            claims: Vec::new(),
            references: Vec::new(),
        }
    }

    fn plan(&self, _: &Params) -> Plan {
        self.plan.clone()
    }

    fn run<'a>(&'a self, lab: &'a mut Lab, _: &'a Params) -> Script<'a> {
        (self.script)(lab)
    }
}

async fn watch(manager: &Manager, id: &str, mut meanwhile: impl FnMut(&Event)) -> Observed {
    let log = manager
        .log(id)
        .expect("recordings are read")
        .expect("a started run has a log");
    let mut changes = log.subscribe();
    let mut events: Vec<Event> = Vec::new();
    loop {
        let progress = *changes.borrow_and_update();
        for line in log
            .read(events.len() as u64, usize::MAX, usize::MAX)
            .expect("events are read")
        {
            let event = serde_json::from_str(&line).expect("a recorded event reads back");
            meanwhile(&event);
            events.push(event);
        }
        if progress.state.is_over() && events.len() as u64 == progress.next {
            return Observed {
                header: log.header().expect("a run that began has a header"),
                events,
                state: progress.state,
            };
        }
        changes
            .changed()
            .await
            .expect("the log outlives its readers");
    }
}

impl Observed {
    pub(crate) fn verdict(&self) -> &Verdict {
        assert_eq!(self.state, RunState::Finished, "{:?}", self.events.last());
        match self.events.last().map(|event| &event.fact) {
            Some(Fact::Verdict(verdict)) => verdict,
            other => panic!("the last event is no verdict: {other:?}"),
        }
    }

    /// `client SYN`, `server SYN, ACK`, ...: each packet in the order of departure.
    pub(crate) fn packets(&self) -> Vec<String> {
        self.departures()
            .map(|(_, packet)| format!("{} {}", packet.from, packet.summary))
            .collect()
    }

    pub(crate) fn departures(&self) -> impl Iterator<Item = (&Event, &Packet)> {
        self.events.iter().filter_map(|event| match &event.fact {
            Fact::PacketDeparted(packet) => Some((event, packet)),
            _ => None,
        })
    }

    /// When each packet arrived, by its id.
    pub(crate) fn arrivals(&self) -> BTreeMap<u64, u64> {
        self.events
            .iter()
            .filter_map(|event| match event.fact {
                Fact::PacketArrived { id } => Some((id, event.at_us)),
                _ => None,
            })
            .collect()
    }

    /// Ids of the packets that were dropped.
    pub(crate) fn drops(&self) -> Vec<u64> {
        self.events
            .iter()
            .filter_map(|event| match event.fact {
                Fact::PacketDropped { id, .. } => Some(id),
                _ => None,
            })
            .collect()
    }

    /// The states that a kernel told of, in order, without repetitions.
    pub(crate) fn states(&self, host: HostName) -> Vec<TcpState> {
        let mut states: Vec<TcpState> = self
            .events
            .iter()
            .filter(|event| event.seen_by == Observer::Kernel(host))
            .filter_map(|event| match &event.fact {
                Fact::Socket(socket) if socket.state != TcpState::Listen => Some(socket.state),
                Fact::SocketGone { .. } => Some(TcpState::Closed),
                _ => None,
            })
            .collect();
        states.dedup();
        states
    }

    /// A measurement of the verdict: predicted and measured, in microseconds.
    pub(crate) fn measured(&self, name: &str) -> (Option<u64>, Option<u64>) {
        self.verdict()
            .measurements
            .iter()
            .find(|measurement| measurement.name == name)
            .map(|measurement| (measurement.predicted_us, measurement.measured_us))
            .unwrap_or_else(|| panic!("nothing was measured as {name}"))
    }
}

/// Asserts that a measured span is what was predicted, within `late_us` and never early.
///
/// Linux's timer wheel fires late by up to an eighth of a long timer's length and never early
/// (kernel/time/timer.c); sockets' deadlines count in ticks of up to 10 ms, so one tick is allowed
/// below.
pub(crate) fn assert_near(
    (predicted, measured): (Option<u64>, Option<u64>),
    expected_us: u64,
    late_us: u64,
) {
    assert_eq!(predicted, Some(expected_us));
    let measured = measured.expect("it was measured");
    assert!(
        measured + 10_000 >= expected_us && measured <= expected_us + late_us,
        "predicted {expected_us} us, measured {measured} us, allowed {late_us} us late"
    );
}

/// Asserts that what was measured is what theory predicted, to a twentieth, or to 50 ms where that is
/// more; and what a loaded machine adds to a call's return.
pub(crate) fn assert_predicted(run: &Observed, name: &str) {
    let (predicted, measured) = run.measured(name);
    let (predicted, measured) = (predicted.expect("predicted"), measured.expect("measured"));
    let allowed = (predicted / 20).max(50_000) + 50_000;
    assert!(
        predicted.abs_diff(measured) <= allowed,
        "{name}: predicted {predicted} us, measured {measured} us"
    );
}

/// The properties that every run's record has, whatever it was about.
pub(crate) fn assert_sound(observed: &Observed) {
    for (index, event) in observed.events.iter().enumerate() {
        assert_eq!(event.seq, index as u64, "numbers have no gap");
    }
    let arrivals = observed.arrivals();
    let drops = observed.drops();
    for (event, packet) in observed.departures() {
        let arrived = arrivals.get(&packet.id);
        let dropped = drops.contains(&packet.id);
        assert!(
            arrived.is_some() != dropped,
            "packet {} either arrived or was dropped",
            packet.id
        );
        if let Some(at_us) = arrived {
            assert!(*at_us >= event.at_us, "no packet arrives before it departs");
        }
    }
}
