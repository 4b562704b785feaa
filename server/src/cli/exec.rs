//! `linger exec`: programs of one's own on the hosts of a run.
//!
//! It exists here alone: whatever listens to a network knows nothing of it.

use std::{
    io::{IsTerminal, stdin},
    process::ExitCode,
    sync::Arc,
    time::Duration,
};

use clap::Args;
use linger_shared::{middlebox::Middlebox, protocol::RunState, rule::RuleSpec};

use super::{
    CliError,
    export::ExportArgs,
    recordings::Recording,
    run::{Format, duration, show, tell_recorded},
    signals::Signals,
};
use crate::{
    exec::{self, Outcome, Programs, in_words, quoted},
    hosts::Ended,
    runs::{Config, Manager},
};

/// Run programs of your own on the hosts, and show what happens between them.
///
/// Each command line is given to `sh -c`. The names client, server and proxy resolve to the hosts,
/// localhost is each host's own, and nothing else can be reached. The server is started first, the
/// client when the server listens; when the client's program ends, the others are ended and the run
/// is over. Programs run with the rights of whoever calls this.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  linger exec --server 'python3 -m http.server 80' --client 'curl -s http://server/'
  linger exec --server 'node server.js' --client 'node client.js' --set rtt=80ms --cut-after 5s
  linger exec --client 'curl -sS -m 3 http://server/' --set loss=1% --set down.rate=2mbit
  linger exec --server ... --client ... --middlebox aws-nat-gateway
  linger exec --server ... --client ... --pcapng run.pcapng --format jsonl

What can be set: rtt, and for each link delay, jitter, rate, queue, loss, duplicate, reorder, mtu;
with `up.` or `down.` before it, for one direction alone.
Middleboxes: firewall or nat with idle=DURATION, and expiry=silence, rst-on-next-packet, fin-to-both
or rst-to-both; or a product's documented limits, scaled down to seconds unless `,real` is added:
azure-load-balancer, azure-load-balancer-reset, aws-nlb, aws-nat-gateway, gcp-firewall,
docker-swarm-vip, kubernetes-ipvs, rfc-5382, linux-conntrack.
Exit status: the client's program's own, 128 and the signal's number where one ended it; 1 where the
laboratory failed, 2 for wrong usage, 130 after Ctrl-C.")]
pub(super) struct Arguments {
    /// The client's command line.
    #[arg(long, value_name = "CMD")]
    client: String,
    /// The server's command line; without it nobody listens there.
    #[arg(long, value_name = "CMD")]
    server: Option<String>,
    /// The command line of a host between the two; without it there is none.
    #[arg(long, value_name = "CMD")]
    proxy: Option<String>,
    /// A condition of the links, such as rtt=40ms; may be given several times.
    #[arg(long = "set", value_name = "NAME=VALUE", value_parser = setting)]
    set: Vec<(String, String)>,
    /// A firewall or NAT between the client and the next host: a preset such as aws-nlb, or
    /// firewall,idle=5s,expiry=rst-to-both.
    #[arg(long, value_name = "BOX", value_parser = middlebox)]
    middlebox: Option<Middlebox>,
    /// A rule of the wire, such as `drop next data from server`; may be given several times.
    #[arg(long = "rule", value_name = "RULE", value_parser = rule)]
    rules: Vec<RuleSpec>,
    /// Drop every packet silently, this long after the client's program was started; to the end of
    /// the run, where nothing heals it.
    #[arg(long, value_name = "DURATION", value_parser = duration)]
    cut_after: Option<Duration>,
    /// Let packets pass again, this long after the client's program was started.
    #[arg(long, value_name = "DURATION", value_parser = duration, requires = "cut_after")]
    heal_after: Option<Duration>,
    /// End the client's program after this time.
    #[arg(long, value_name = "DURATION", value_parser = duration)]
    duration: Option<Duration>,
    /// Start the next program after this time, although the one before does not listen.
    #[arg(long, value_name = "DURATION", default_value = "5s", value_parser = duration)]
    grace: Duration,
    /// What every random choice is derived from; the header of each run records it.
    #[arg(long, value_name = "N")]
    seed: Option<u64>,
    /// How the run is shown; not at all where an export goes to standard output.
    #[arg(long, value_enum, default_value_t = Format::Text)]
    format: Format,
    #[command(flatten)]
    recording: Recording,
    #[command(flatten)]
    export: ExportArgs,
}

fn setting(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((name, value)) if !name.trim().is_empty() => {
            Ok((name.trim().to_owned(), value.trim().to_owned()))
        }
        _ => Err("write NAME=VALUE, such as rtt=40ms".to_owned()),
    }
}

fn middlebox(text: &str) -> Result<Middlebox, String> {
    text.parse::<Middlebox>().map_err(|error| error.to_string())
}

fn rule(text: &str) -> Result<RuleSpec, String> {
    text.parse::<RuleSpec>().map_err(|error| error.to_string())
}

pub(super) async fn exec(arguments: Arguments) -> Result<ExitCode, CliError> {
    let usage = |message: String| CliError::Usage(message);
    let hosts = exec::hosts(arguments.proxy.is_some());
    let links = exec::links(&hosts, &arguments.set).map_err(|error| usage(error.to_string()))?;
    if let (Some(cut), Some(heal)) = (arguments.cut_after, arguments.heal_after)
        && heal <= cut
    {
        return Err(usage(format!(
            "--heal-after {heal:?} comes before --cut-after {cut:?}: nothing would be cut"
        )));
    }
    let programs = Arc::new(Programs {
        client: arguments.client,
        server: arguments.server,
        proxy: arguments.proxy,
        links,
        middlebox: arguments.middlebox,
        rules: arguments.rules,
        grace: arguments.grace,
        cut_after: arguments.cut_after,
        heal_after: arguments.heal_after,
        duration: arguments.duration,
        // A terminal belongs to whoever sits at it: Ctrl-C there ends everything.
        stdin: !stdin().is_terminal(),
        outcome: Arc::default(),
    });
    let outcome = Arc::clone(&programs.outcome);
    let params = programs.params(&arguments.set);
    let mut exports = arguments.export.open()?;
    let signals = Signals::new()?;
    let manager = Manager::new(Config {
        data: arguments.recording.folder(),
        ..Config::default()
    })?;
    let started = manager.start_own(programs, params, arguments.seed, None)?;
    let shown = show(
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
    let ending = shown?;
    tell_recorded(&manager, &started.id)?;
    if let Some(message) = ending.failure {
        eprintln!("linger: nothing may be concluded: {message}");
        return Ok(ExitCode::FAILURE);
    }
    Ok(match (ending.signal, ending.state, outcome.get()) {
        (Some(signal), ..) => ExitCode::from(signal.status()),
        (None, Some(RunState::Finished), Some(outcome)) => match status(outcome) {
            0 if !exported => ExitCode::FAILURE,
            status => ExitCode::from(status),
        },
        (None, Some(RunState::Cancelled), _) => {
            eprintln!(
                "linger: the run was ended before the client's program, by one of its limits; its \
                 verdict says which"
            );
            ExitCode::FAILURE
        }
        (None, ..) => ExitCode::FAILURE,
    })
}

/// The exit status that stands for the end of the client's program; says why where that is not
/// plain from the record.
fn status(outcome: &Outcome) -> u8 {
    let Outcome { ended, last_words } = outcome;
    match ended {
        Ended::Exited(code @ (126 | 127)) => {
            eprintln!(
                "linger: the client's program {}{}",
                in_words(*ended),
                quoted(last_words)
            );
            u8::try_from(*code).unwrap_or(u8::MAX)
        }
        // Exit statuses are eight bits wide (wait(2)).
        Ended::Exited(code) => (code & 0xff) as u8,
        Ended::Killed(signal) => u8::try_from(128 + signal).unwrap_or(u8::MAX),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_help_names_every_preset_of_a_middlebox() {
        use clap::CommandFactory;
        use linger_shared::middlebox::PRESETS;

        #[derive(clap::Parser)]
        struct Command {
            #[command(flatten)]
            exec: Arguments,
        }
        let help = Command::command().render_long_help().to_string();
        for preset in PRESETS {
            assert!(help.contains(preset.id), "{}", preset.id);
        }
    }

    #[test]
    fn the_clients_end_becomes_the_exit_status_of_a_shell() {
        let of = |ended| {
            status(&Outcome {
                ended,
                last_words: String::new(),
            })
        };
        assert_eq!(of(Ended::Exited(0)), 0);
        assert_eq!(of(Ended::Exited(22)), 22);
        assert_eq!(of(Ended::Exited(127)), 127);
        assert_eq!(of(Ended::Killed(15)), 143);
    }
}
