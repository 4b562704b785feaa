//! `linger run`: one experiment in the terminal, drawn or as JSON Lines while it happens.

use std::{
    collections::BTreeMap,
    io::{self, Write},
    process::ExitCode,
    sync::{Arc, OnceLock},
    time::Duration,
};

use clap::{Args, ValueEnum};
use linger_shared::{
    diagram::text::TextDiagram,
    event::{Event, Fact, Header, Mode},
    experiment::Value,
    protocol::{RunRequest, RunState},
    units::parse_duration,
};

use tokio::time::sleep;

use super::{
    CliError,
    export::{ExportArgs, Exports},
    recordings::Recording,
    signals::{Signal, Signals, exit_at_the_next},
    terminal,
};
use crate::{
    export::jsonl::header_line,
    runs::{Config, EventLog, Manager, Visitor},
};

/// Bounds of what is read from the log at once.
const BATCH: (usize, usize) = (1_024, 256 * 1024);

/// How often a quiet diagram is brought up to date.
const TICK: Duration = Duration::from_millis(100);

/// How far the diagram stays behind the run's clock, in microseconds: events reach the log within
/// a few milliseconds of their time, and a row that was drawn cannot be moved.
const BEHIND_US: u64 = 100_000;

/// Run an experiment and show what happens while it happens.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  linger run tcp-lifecycle
  linger run tcp-dead-peer --set idle=2s --set interval=1s --set count=3
  linger run http-sequential --set persistent=false --mode relay
  linger run tcp-dead-peer --format jsonl | jq 'select(.kind == \"verdict\")'
  linger run tcp-lifecycle --pcapng lifecycle.pcapng --text lifecycle.txt

Durations are written 1500ms, 5s, 2min, 2h. `linger experiments ID` tells the parameters.
Exit status: 0 the run ended, 1 the laboratory or an export failed, 2 wrong usage, 130 after Ctrl-C.")]
pub(super) struct Arguments {
    /// The experiment, such as tcp-dead-peer.
    id: String,
    /// A parameter's value; may be given several times.
    #[arg(long = "set", value_name = "NAME=VALUE", value_parser = setting)]
    set: Vec<(String, Value)>,
    /// What every random choice is derived from; the header of each run records it.
    #[arg(long, value_name = "N")]
    seed: Option<u64>,
    /// What carries the experiment; by default the best that this machine can do.
    #[arg(long, value_enum)]
    mode: Option<ModeArgument>,
    /// How the run is shown; not at all where an export goes to standard output.
    #[arg(long, value_enum, default_value_t = Format::Text)]
    format: Format,
    /// End the run after this time, if it has not ended by itself.
    #[arg(long, value_name = "DURATION", value_parser = duration)]
    time_limit: Option<Duration>,
    #[command(flatten)]
    recording: Recording,
    #[command(flatten)]
    export: ExportArgs,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum ModeArgument {
    /// Real packets between network namespaces.
    Packets,
    /// Byte streams over loopback sockets.
    Relay,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum Format {
    /// A sequence diagram.
    Text,
    /// JSON Lines: the header, then one event a line.
    Jsonl,
}

fn setting(text: &str) -> Result<(String, Value), String> {
    match text.split_once('=') {
        Some((name, value)) if !name.trim().is_empty() => {
            Ok((name.trim().to_owned(), Value::Text(value.to_owned())))
        }
        _ => Err("write NAME=VALUE, such as idle=5s".to_owned()),
    }
}

pub(super) fn duration(text: &str) -> Result<Duration, String> {
    parse_duration(text)
        .map(Duration::from_micros)
        .map_err(|error| error.to_string())
}

pub(super) async fn run(arguments: Arguments) -> Result<ExitCode, CliError> {
    let mut config = Config {
        data: arguments.recording.folder(),
        ..Config::default()
    };
    if let Some(limit) = arguments.time_limit {
        config.time_limit = limit;
    }
    let request = RunRequest {
        experiment: arguments.id,
        params: arguments.set.into_iter().collect::<BTreeMap<_, _>>(),
        seed: arguments.seed,
        mode: arguments.mode.map(|mode| match mode {
            ModeArgument::Packets => Mode::Packets,
            ModeArgument::Relay => Mode::Relay,
        }),
    };
    let mut exports = arguments.export.open()?;
    let signals = Signals::new()?;
    let manager = Manager::new(config)?;
    let started = manager.start(&request, Visitor::LOCAL)?;
    let ending = show(
        &manager,
        started.id.clone(),
        arguments.format,
        &arguments.export,
        &mut exports,
        signals,
    )
    .await;
    // Whatever the output did: nothing of the run outlives this command.
    manager.shutdown().await;
    let exported = exports.report();
    let ending = ending?;
    tell_recorded(&manager, &started.id)?;
    if let Some(message) = ending.failure {
        eprintln!("linger: the laboratory failed, nothing may be concluded: {message}");
        return Ok(ExitCode::FAILURE);
    }
    Ok(match (ending.signal, ending.state) {
        (Some(signal), _) => ExitCode::from(signal.status()),
        (None, Some(RunState::Failed)) => ExitCode::FAILURE,
        (None, _) if !exported => ExitCode::FAILURE,
        (None, _) => ExitCode::SUCCESS,
    })
}

/// Shows and exports a run while it happens, until it is over; a signal ends it early.
pub(super) async fn show(
    manager: &Manager,
    id: String,
    format: Format,
    arguments: &ExportArgs,
    exports: &mut Exports,
    signals: Signals,
) -> Result<Ending, CliError> {
    // A run that was just started is not forgotten before it is over.
    let Some(log) = manager.log(&id)? else {
        return Ok(Ending::default());
    };
    let mut printer = if arguments.takes_stdout() {
        Printer::Silent
    } else {
        Printer::new(format, terminal::columns())
    };
    let signal = stop_at_a_signal(signals, manager.clone(), id);
    follow(&log, &mut printer, exports, &signal).await
}

/// Says under which name a run is found again, where it is recorded.
pub(super) fn tell_recorded(manager: &Manager, id: &str) -> Result<(), CliError> {
    if manager.info(id)?.is_some_and(|run| run.recorded) {
        eprintln!(
            "{}",
            terminal::dim(&format!("recorded as {id}; linger runs show {id}"))
        );
    }
    Ok(())
}

/// How a run ended, as far as the exit status goes.
#[derive(Debug, Default)]
pub(super) struct Ending {
    pub(super) state: Option<RunState>,
    pub(super) signal: Option<Signal>,
    pub(super) failure: Option<String>,
}

/// Waits for signals beside the printing, which may be blocked by whoever reads: the first stops
/// the run, the next ends the process at once.
fn stop_at_a_signal(mut signals: Signals, manager: Manager, id: String) -> Arc<OnceLock<Signal>> {
    let seen = Arc::new(OnceLock::new());
    let first = Arc::clone(&seen);
    tokio::spawn(async move {
        let _ = first.set(signals.next().await);
        // The run may have ended in this very moment, and then there is nothing to stop.
        let _ = manager.stop(&id, "stopped by the user");
        exit_at_the_next(signals);
    });
    seen
}

/// Prints events as they come, until the run is over.
async fn follow(
    log: &Arc<EventLog>,
    printer: &mut Printer,
    exports: &mut Exports,
    signal: &OnceLock<Signal>,
) -> Result<Ending, CliError> {
    let mut progress = log.subscribe();
    let mut ending = Ending::default();
    let mut next = 0;
    loop {
        // Taken before the log is read: whatever comes later wakes this loop again.
        let now = *progress.borrow_and_update();
        if let Some(header) = log.header() {
            exports.header(&header);
            let written = printer.header(&header);
            printer.tolerate(written, exports)?;
        }
        let lines = log.fetch(next, BATCH.0, BATCH.1).await?;
        next += lines.len() as u64;
        for line in &lines {
            let event: Event = serde_json::from_str(line).map_err(io::Error::from)?;
            exports.event(&event, line);
            let written = printer.event(&event, line);
            printer.tolerate(written, exports)?;
            if let Fact::Failure { message } = event.fact {
                ending.failure = Some(message);
            }
        }
        if !lines.is_empty() {
            continue;
        }
        if now.state.is_over() {
            ending.state = Some(now.state);
            ending.signal = signal.get().copied();
            let written = printer.finish();
            printer.tolerate(written, exports)?;
            return Ok(ending);
        }
        tokio::select! {
            changed = progress.changed() => if changed.is_err() {
                return Ok(ending);
            },
            () = sleep(TICK) => {
                let written = printer.advance(log.now_us().saturating_sub(BEHIND_US));
                printer.tolerate(written, exports)?;
            }
        }
    }
}

/// Writes a run to standard output, line by line as lines come.
enum Printer {
    Jsonl {
        header_written: bool,
    },
    Text {
        diagram: Option<Box<TextDiagram>>,
        columns: usize,
    },
    /// Standard output belongs to an export.
    Silent,
}

impl Printer {
    fn new(format: Format, columns: usize) -> Self {
        match format {
            Format::Jsonl => Self::Jsonl {
                header_written: false,
            },
            Format::Text => Self::Text {
                diagram: None,
                columns,
            },
        }
    }

    /// Where something is exported, the run goes on although nobody reads its diagram any more.
    fn tolerate(&mut self, written: io::Result<()>, exports: &Exports) -> io::Result<()> {
        match written {
            Err(error) if !exports.is_empty() => {
                if error.kind() != io::ErrorKind::BrokenPipe {
                    eprintln!("linger: cannot write the diagram: {error}");
                }
                *self = Self::Silent;
                Ok(())
            }
            other => other,
        }
    }

    /// Writes the header the first time; it may be given again.
    fn header(&mut self, header: &Header) -> io::Result<()> {
        match self {
            Self::Jsonl { header_written } => {
                if !std::mem::replace(header_written, true) {
                    write(&[header_line(header)])?;
                }
            }
            Self::Silent => {}
            Self::Text { diagram, columns } => {
                diagram.get_or_insert_with(|| Box::new(TextDiagram::new(header, *columns)));
            }
        }
        Ok(())
    }

    /// Writes an event, which the log keeps as `line`.
    fn event(&mut self, event: &Event, line: &str) -> io::Result<()> {
        match self {
            Self::Jsonl { .. } => write(&[line]),
            Self::Text {
                diagram: Some(diagram),
                ..
            } => write(&diagram.push(event)),
            Self::Text { diagram: None, .. } | Self::Silent => Ok(()),
        }
    }

    /// Writes what a quiet run's clock alone completes: rows that were held back, a prediction.
    fn advance(&mut self, until_us: u64) -> io::Result<()> {
        match self {
            Self::Text {
                diagram: Some(diagram),
                ..
            } => write(&diagram.advance(until_us)),
            _ => Ok(()),
        }
    }

    fn finish(&mut self) -> io::Result<()> {
        match self {
            Self::Jsonl { .. } | Self::Silent => Ok(()),
            Self::Text { diagram, .. } => match diagram {
                Some(diagram) => write(&diagram.finish()),
                None => Ok(()),
            },
        }
    }
}

/// Writes lines and lets them out.
fn write(lines: &[impl AsRef<str>]) -> io::Result<()> {
    if lines.is_empty() {
        return Ok(());
    }
    let mut out = io::stdout().lock();
    for line in lines {
        out.write_all(line.as_ref().as_bytes())?;
        out.write_all(b"\n")?;
    }
    out.flush()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_are_a_name_and_a_value() {
        let value = |text: &str| Value::Text(text.to_owned());
        assert_eq!(setting("idle=5s"), Ok(("idle".to_owned(), value("5s"))));
        assert_eq!(setting("a=b=c"), Ok(("a".to_owned(), value("b=c"))));
        assert_eq!(setting("a="), Ok(("a".to_owned(), value(""))));
        for text in ["idle", "", "=5s"] {
            assert!(setting(text).is_err(), "{text}");
        }
    }
}
