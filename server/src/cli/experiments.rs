//! `linger experiments`: what can be asked, and what each experiment takes.

use std::{
    collections::BTreeMap,
    io::{self, Write},
    process::ExitCode,
};

use clap::Args;
use linger_shared::{
    experiment::{Claim, Param, ParamType, Preset, Value},
    protocol::CatalogueEntry,
};

use super::{CliError, terminal};
use crate::{
    catalogue, experiments,
    runs::{Config, Manager, StartError},
};

/// List the experiments, or tell everything about one.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  linger experiments                     all of them, by family
  linger experiments tcp-dead-peer       one: explanation, parameters, references
  linger experiments --json | jq -r '.[].id'")]
pub(super) struct Arguments {
    /// The experiment to tell about; all of them where it is absent.
    id: Option<String>,
    /// Print JSON, as GET /api/experiments gives it: a list, or with ID one object.
    #[arg(long)]
    json: bool,
}

pub(super) fn print(arguments: &Arguments) -> Result<ExitCode, CliError> {
    let manager = Manager::new(Config::default())?;
    let columns = terminal::columns();
    let output = match &arguments.id {
        Some(id) => {
            let entry = catalogue::find(&manager, id).ok_or_else(|| {
                CliError::from(StartError::UnknownExperiment {
                    name: id.clone(),
                    nearest: experiments::nearest(id),
                })
            })?;
            if arguments.json {
                json(&entry)?
            } else {
                one(&entry, columns)
            }
        }
        None => {
            let entries = catalogue::entries(&manager);
            if arguments.json {
                json(&entries)?
            } else {
                all(&entries, columns)
            }
        }
    };
    let mut out = io::stdout().lock();
    out.write_all(output.as_bytes())?;
    out.flush()?;
    Ok(ExitCode::SUCCESS)
}

fn json(value: &impl serde::Serialize) -> Result<String, CliError> {
    let mut text = serde_json::to_string_pretty(value).map_err(io::Error::from)?;
    text.push('\n');
    Ok(text)
}

/// Every experiment in a line or two, under its family.
fn all(entries: &[CatalogueEntry], columns: usize) -> String {
    let width = entries
        .iter()
        .map(|entry| entry.descriptor.id.len())
        .max()
        .unwrap_or_default();
    let mut text = String::new();
    let mut families: Vec<&str> = Vec::new();
    for entry in entries {
        if !families.contains(&entry.descriptor.family.as_str()) {
            families.push(&entry.descriptor.family);
        }
    }
    for family in families {
        text.push_str(&format!("{family}\n"));
        for entry in entries.iter().filter(|e| e.descriptor.family == family) {
            let descriptor = &entry.descriptor;
            let here = match entry.runs_as {
                Some(_) => "",
                None => "  (not on this machine: linger doctor)",
            };
            text.push_str(&format!(
                "  {:width$}  {}{here}\n",
                descriptor.id, descriptor.question
            ));
        }
        text.push('\n');
    }
    let hint = "`linger experiments ID` tells what one takes; `linger run ID` runs it.";
    text.push_str(&terminal::wrap(hint, columns, ""));
    text.push('\n');
    text
}

/// Everything about one experiment.
fn one(entry: &CatalogueEntry, columns: usize) -> String {
    let descriptor = &entry.descriptor;
    let mut parts = vec![format!(
        "{}: {}\n{}",
        descriptor.id, descriptor.title, descriptor.question
    )];
    for paragraph in &descriptor.explanation {
        parts.push(terminal::wrap(paragraph, columns, ""));
    }
    if !descriptor.params.is_empty() {
        let params: Vec<String> = descriptor
            .params
            .iter()
            .map(|p| param(p, columns))
            .collect();
        parts.push(format!("Parameters\n{}", params.join("\n")));
    }
    if !descriptor.presets.is_empty() {
        let presets: Vec<String> = descriptor
            .presets
            .iter()
            .map(|p| preset(p, columns))
            .collect();
        parts.push(format!("Presets\n{}", presets.join("\n")));
    }
    if !descriptor.look_for.is_empty() {
        let points: Vec<String> = descriptor
            .look_for
            .iter()
            .map(|point| terminal::wrap(point, columns, "  "))
            .collect();
        parts.push(format!("What to look for\n{}", points.join("\n")));
    }
    if !descriptor.misconception.is_empty() {
        let misconception = terminal::wrap(&descriptor.misconception, columns, "  ");
        parts.push(format!("A common misconception\n{misconception}"));
    }
    if !descriptor.claims.is_empty() {
        let claims: Vec<String> = descriptor
            .claims
            .iter()
            .map(|c| claim(c, columns))
            .collect();
        parts.push(format!(
            "Said elsewhere, and measured here\n{}",
            claims.join("\n")
        ));
    }
    if !descriptor.references.is_empty() {
        let references: Vec<String> = descriptor
            .references
            .iter()
            .map(|reference| format!("  {}\n    {}", reference.title, reference.url))
            .collect();
        parts.push(format!("References\n{}", references.join("\n")));
    }
    parts.push(match (&entry.runs_as, &entry.unavailable) {
        (Some(mode), _) => format!(
            "Runs here as {}: linger run {}",
            mode.as_str(),
            descriptor.id
        ),
        (None, reason) => terminal::wrap(
            &format!("Cannot run here: {}", reason.as_deref().unwrap_or_default()),
            columns,
            "",
        ),
    });
    let mut text = parts.join("\n\n");
    text.push('\n');
    text
}

/// A parameter with its default, its bounds and what it does.
fn param(param: &Param, columns: usize) -> String {
    let range = match (&param.min, &param.max) {
        (Some(min), Some(max)) => format!(", {min} to {max}"),
        _ => String::new(),
    };
    let accepts = match param.kind {
        ParamType::Duration => format!("a duration{range}"),
        ParamType::Integer => format!("{}{range}", param.unit.as_deref().unwrap_or("a number")),
        ParamType::Boolean => "true or false".to_owned(),
        ParamType::Choice => format!("one of {}", param.choices.join(", ")),
    };
    let description = terminal::wrap(&param.description, columns, "      ");
    format!(
        "  {}={}  ({accepts})\n{description}",
        param.name, param.default
    )
}

fn preset(preset: &Preset, columns: usize) -> String {
    let description = terminal::wrap(&preset.description, columns, "      ");
    format!(
        "  {}: {}\n{description}",
        preset.name,
        settings(&preset.values)
    )
}

fn claim(claim: &Claim, columns: usize) -> String {
    let said = format!("\"{}\" {}", claim.claim, claim.finding.as_str());
    let run = match settings(&claim.values) {
        defaults if defaults.is_empty() => "the run with the defaults".to_owned(),
        settings => settings,
    };
    let because = format!("{} See {run}.", claim.because);
    format!(
        "{}\n{}",
        terminal::wrap(&said, columns, "  "),
        terminal::wrap(&because, columns, "      ")
    )
}

/// Values as they are typed.
fn settings(values: &BTreeMap<String, Value>) -> String {
    let typed: Vec<String> = values
        .iter()
        .map(|(name, value)| format!("--set {name}={value}"))
        .collect();
    typed.join(" ")
}

#[cfg(test)]
mod tests {
    use linger_shared::{event::Mode, experiment::Descriptor};

    use super::*;

    fn entry(id: &str, family: &str, unavailable: Option<&str>) -> CatalogueEntry {
        CatalogueEntry {
            descriptor: Descriptor {
                id: id.to_owned(),
                title: "Title".to_owned(),
                question: "Why?".to_owned(),
                family: family.to_owned(),
                modes: vec![Mode::Packets],
                explanation: vec!["Because.".to_owned()],
                look_for: vec!["This.".to_owned()],
                misconception: String::new(),
                params: vec![
                    Param::duration("idle", 2_000_000, 1_000_000, 7_200_000_000, "How long."),
                    Param::choice("closer", &["client", "server"], "Who."),
                ],
                presets: Vec::new(),
                claims: Vec::new(),
                references: Vec::new(),
            },
            runs_as: unavailable.is_none().then_some(Mode::Packets),
            unavailable: unavailable.map(str::to_owned),
        }
    }

    #[test]
    fn experiments_are_listed_under_their_families() {
        let entries = [
            entry("tcp-a", "TCP", None),
            entry("http-long", "HTTP", Some("no TUN")),
            entry("tcp-b", "TCP", None),
        ];
        let text = all(&entries, 80);
        let tcp = "TCP\n  tcp-a      Why?\n  tcp-b      Why?\n";
        assert!(text.starts_with(tcp), "{text}");
        assert!(
            text.contains("http-long  Why?  (not on this machine"),
            "{text}"
        );
    }

    #[test]
    fn one_experiment_tells_defaults_bounds_and_availability() {
        let text = one(&entry("tcp-a", "TCP", Some("no TUN")), 80);
        assert!(
            text.contains("  idle=2s  (a duration, 1s to 2h)\n      How long."),
            "{text}"
        );
        assert!(
            text.contains("  closer=client  (one of client, server)"),
            "{text}"
        );
        assert!(text.contains("Cannot run here: no TUN"), "{text}");
    }
}
