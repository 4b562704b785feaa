//! `linger doctor`: what this machine can do, what is missing, and what would provide it.

use std::{
    io::{self, Write},
    process::ExitCode,
};

use clap::Args;
use linger_shared::{event::Mode, protocol::Doctor};

use super::{CliError, terminal};
use crate::doctor;

/// Tell what this machine can do, what is missing, and what would provide it.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  linger doctor
  linger doctor --json | jq -r '.checks[] | select(.ok | not) | .remedy'")]
pub(super) struct Arguments {
    /// Print a JSON object, as GET /api/doctor gives it.
    #[arg(long)]
    json: bool,
}

pub(super) fn print(arguments: &Arguments) -> Result<ExitCode, CliError> {
    let report = doctor::examine();
    let mut out = io::stdout().lock();
    if arguments.json {
        serde_json::to_writer_pretty(&mut out, &report).map_err(io::Error::from)?;
        writeln!(out)?;
    } else {
        out.write_all(text(&report, terminal::columns()).as_bytes())?;
    }
    out.flush()?;
    Ok(ExitCode::SUCCESS)
}

fn text(report: &Doctor, columns: usize) -> String {
    let mut text = format!("linger {} on {}\n\n", report.version, report.system);
    for check in &report.checks {
        let sign = if check.ok { "ok     " } else { "missing" };
        text.push_str(&format!("{sign}  {}: {}\n", check.name, check.found));
        if !check.ok && !check.remedy.is_empty() {
            text.push_str(&terminal::wrap(&check.remedy, columns, "         "));
            text.push('\n');
        }
    }
    let conclusion = match report.mode {
        Mode::Packets => "Every experiment can run here, on real packets.",
        Mode::Relay => {
            "Experiments run over the loopback relay here; those that need real packets cannot run."
        }
    };
    text.push('\n');
    text.push_str(&terminal::wrap(conclusion, columns, ""));
    text.push('\n');
    text
}

#[cfg(test)]
mod tests {
    use linger_shared::protocol::Check;

    use super::*;

    #[test]
    fn what_is_missing_comes_with_what_would_provide_it() {
        let check = |name: &str, ok, remedy: &str| Check {
            name: name.to_owned(),
            ok,
            found: "found".to_owned(),
            remedy: remedy.to_owned(),
        };
        let report = Doctor {
            version: "0.1.0".to_owned(),
            system: "Linux".to_owned(),
            mode: Mode::Relay,
            checks: vec![check("one", true, ""), check("two", false, "do that")],
        };
        let text = text(&report, 80);
        assert!(text.contains("ok       one: found\n"), "{text}");
        assert!(
            text.contains("missing  two: found\n         do that\n"),
            "{text}"
        );
        assert!(text.contains("loopback relay"), "{text}");
    }
}
