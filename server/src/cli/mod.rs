//! The command line: the only place that knows clap.
//!
//! Exit status: 0 when the command did what it was asked to, 1 when the laboratory or the machine
//! failed, 2 for wrong usage, 130 after Ctrl-C and 143 after SIGTERM during a run. A reader that
//! goes away (`linger run ... | head`) ends the command quietly.

mod doctor;
mod endpoint;
mod exec;
mod experiments;
mod export;
mod recordings;
mod run;
mod runs;
mod serve;
mod signals;
mod terminal;

use std::{io, net::SocketAddr, path::PathBuf, process::ExitCode, time::Duration};

use clap::{CommandFactory, Parser, Subcommand};
use thiserror::Error;

use crate::runs::{StartError, store::StoreError};

/// A live laboratory for long-lived connections.
///
/// Runs real experiments between real TCP stacks, and shows what happens packet by packet: in a
/// browser, in the terminal, or as JSON Lines.
#[derive(Debug, Parser)]
#[command(
    name = "linger",
    version,
    propagate_version = true,
    after_help = "Examples:
  linger serve                                    open the playground in a browser
  linger run tcp-dead-peer                        draw a run in the terminal
  linger run tcp-dead-peer --set idle=5s --set count=2
  linger exec --server CMD --client CMD           your own programs on the hosts
  linger experiments tcp-dead-peer                what an experiment asks and takes
  linger runs list                                what was recorded
  linger doctor                                   what this machine can do"
)]
pub struct Arguments {
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Debug, Subcommand)]
enum Command {
    Serve(serve::Arguments),
    Experiments(experiments::Arguments),
    Run(run::Arguments),
    Runs(runs::Arguments),
    Doctor(doctor::Arguments),
    Exec(exec::Arguments),
    #[command(hide = true)]
    Endpoint(endpoint::Arguments),
}

/// Why a command ended without having done what it was asked to.
#[derive(Debug, Error)]
enum CliError {
    /// Something on the command line is not accepted.
    #[error("{0}")]
    Usage(String),
    /// The address cannot be listened on.
    #[error("cannot listen on {address}: {source}. {advice}")]
    Listen {
        /// The address as it was wanted.
        address: SocketAddr,
        /// What happened.
        source: io::Error,
        /// What to do next.
        advice: String,
    },
    /// A run was not started for a reason that is not its user's.
    #[error(transparent)]
    Start(StartError),
    /// Nothing has been recorded there.
    #[error("nothing is recorded in {}; `linger run` and `linger serve` record", .0.display())]
    NoRecordings(PathBuf),
    /// The recordings cannot be used.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// An export cannot be written.
    #[error(transparent)]
    Export(export::ExportFailure),
    /// The operating system refused something that every command needs.
    #[error("cannot {operation}: {source}")]
    System {
        /// What was tried.
        operation: &'static str,
        /// What happened.
        source: io::Error,
    },
    /// The output cannot be written.
    #[error("cannot write the output: {0}")]
    Output(#[from] io::Error),
}

impl From<StartError> for CliError {
    fn from(error: StartError) -> Self {
        match error {
            StartError::UnknownExperiment { .. } | StartError::Param(_) => {
                Self::Usage(error.to_string())
            }
            _ => Self::Start(error),
        }
    }
}

impl CliError {
    /// Says what went wrong, and gives the exit status that stands for it.
    fn report(&self) -> ExitCode {
        match self {
            // Whoever read the output has seen enough.
            Self::Output(error) if error.kind() == io::ErrorKind::BrokenPipe => {
                return ExitCode::SUCCESS;
            }
            _ => eprintln!("linger: {self}"),
        }
        match self {
            Self::Usage(_) => ExitCode::from(2),
            _ => ExitCode::FAILURE,
        }
    }
}

/// Reads the command line; exits with help, version or a usage error where there is no command.
pub fn parse() -> Arguments {
    Arguments::parse()
}

/// Does what the command line asks for, and gives the exit status.
pub fn execute(arguments: Arguments) -> ExitCode {
    let Some(command) = arguments.command else {
        return match Arguments::command().print_help() {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => CliError::Output(error).report(),
        };
    };
    let runtime = match tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
    {
        Ok(runtime) => runtime,
        Err(source) => {
            let operation = "start the runtime";
            return CliError::System { operation, source }.report();
        }
    };
    let result = runtime.block_on(async {
        match command {
            Command::Serve(arguments) => serve::serve(arguments).await,
            Command::Experiments(arguments) => experiments::print(&arguments),
            Command::Run(arguments) => run::run(arguments).await,
            Command::Runs(arguments) => runs::execute(arguments),
            Command::Doctor(arguments) => doctor::print(&arguments),
            Command::Exec(arguments) => exec::exec(arguments).await,
            Command::Endpoint(arguments) => endpoint::run(arguments).await,
        }
    });
    // A task that still waits for something that will not come must not hold up the exit.
    runtime.shutdown_timeout(Duration::from_secs(1));
    result.unwrap_or_else(|error| error.report())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Arguments::command().debug_assert();
    }

    #[test]
    fn every_command_has_help_with_examples() {
        for command in Arguments::command().get_subcommands() {
            assert!(command.get_about().is_some(), "{}", command.get_name());
            let examples = command.get_after_help().map(ToString::to_string);
            let call = format!("linger {}", command.get_name());
            assert!(
                examples.is_some_and(|text| text.contains(&call)),
                "{} has no examples",
                command.get_name()
            );
        }
    }
}
