//! `linger runs`: what was recorded, listed, shown, exported, deleted, beside a running server or
//! without one.

use std::{
    io::{self, BufRead, IsTerminal, Write},
    process::ExitCode,
    sync::Arc,
};

use clap::{Args, Subcommand};
use linger_shared::{
    event::{Event, Header},
    experiment::nearest,
    protocol::{RunInfo, RunState},
};

use super::{
    CliError,
    export::{ExportArgs, Exports},
    recordings::{Folder, human_size},
    terminal,
};
use crate::{
    export::{Format, begin_with},
    runs::store::{Bounds, Entry, SqliteStore, Store, StoreError},
};

/// Bounds of what is read at once.
const BATCH: Bounds = Bounds {
    events: 1_024,
    bytes: 256 * 1024,
};

/// List, show, export and delete what was recorded.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  linger runs list
  linger runs show tcp-dead-peer-mh3k2x1a
  linger runs export tcp-dead-peer-mh3k2x1a --pcapng dead-peer.pcapng --jsonl dead-peer.jsonl
  linger runs delete tcp-dead-peer-mh3k2x1a
  linger runs list --json | jq -r '.[] | select(.state == \"failed\") | .id'

All of them work while a server is recording, too.")]
pub(super) struct Arguments {
    #[command(flatten)]
    folder: Folder,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// List the runs, the newest first.
    List {
        /// Print a JSON array, as GET /api/runs gives it.
        #[arg(long)]
        json: bool,
    },
    /// Draw a run and its verdict, as `linger run` does.
    Show {
        /// The run's id, as `linger runs list` tells it.
        id: String,
    },
    /// Write runs in formats that other programs read.
    Export {
        /// The run's id.
        id: String,
        #[command(flatten)]
        export: ExportArgs,
    },
    /// Delete runs and give back their space.
    Delete {
        /// The runs' ids.
        #[arg(required_unless_present = "all")]
        ids: Vec<String>,
        /// Every run that is over.
        #[arg(long, conflicts_with = "ids")]
        all: bool,
        /// Do not ask.
        #[arg(long)]
        yes: bool,
    },
}

pub(super) fn execute(arguments: Arguments) -> Result<ExitCode, CliError> {
    let folder = arguments.folder.path().ok_or_else(|| {
        CliError::Usage(
            "neither XDG_DATA_HOME nor HOME names a folder; --data DIR tells where the recordings \
             are"
            .to_owned(),
        )
    })?;
    let store = SqliteStore::open_existing(&folder)?.ok_or_else(|| CliError::NoRecordings(folder));
    match arguments.command {
        // Nothing recorded yet is an empty list, not a failure.
        Command::List { json } => match store {
            Ok(store) => list(&store.list(usize::MAX)?, json),
            Err(CliError::NoRecordings(_)) => list(&[], json),
            Err(error) => return Err(error),
        }?,
        Command::Show { id } => {
            let store = store?;
            let header = header(&store, &id)?;
            let mut out = io::stdout().lock();
            let mut exporter =
                begin_with(Format::Text, &header, terminal::columns(), &mut out).map_err(told)?;
            each_event(&store, &id, |event, line| {
                exporter.event(event, line, &mut out).map_err(told)
            })?;
            exporter.finish(&mut out).map_err(told)?;
            out.flush()?;
        }
        Command::Export { id, export } => {
            let store = store?;
            let header = header(&store, &id)?;
            let mut exports: Exports = export.open()?;
            if exports.is_empty() {
                return Err(CliError::Usage(format!(
                    "nothing says how {id} is to be exported; `linger runs export --help` lists the \
                     formats, such as --jsonl FILE"
                )));
            }
            exports.header(&header);
            each_event(&store, &id, |event, line| {
                exports.event(event, line);
                Ok(())
            })?;
            if !exports.report() {
                return Ok(ExitCode::FAILURE);
            }
        }
        Command::Delete { ids, all, yes } => return delete(&store?, ids, all, yes),
    }
    Ok(ExitCode::SUCCESS)
}

/// An export to standard output that failed, as the failure of the output that it is.
fn told(error: crate::export::ExportError) -> CliError {
    match error {
        crate::export::ExportError::Output(error) => CliError::Output(error),
        other => CliError::Output(io::Error::other(other.to_string())),
    }
}

fn header(store: &SqliteStore, id: &str) -> Result<Header, CliError> {
    match store.header(id)? {
        Some(header) => Ok(header),
        None => Err(unknown(store, id)?),
    }
}

/// That there is no such run, and the ids that may have been meant.
fn unknown(store: &SqliteStore, id: &str) -> Result<CliError, StoreError> {
    let entries = store.list(usize::MAX)?;
    let known = || entries.iter().map(|entry| entry.id.as_str());
    // An experiment's name is the beginning of its runs' ids.
    let begun: Vec<String> = known()
        .filter(|known| known.starts_with(id))
        .take(3)
        .map(|known| format!("`{known}`"))
        .collect();
    let meant = match (begun.as_slice(), nearest(id, known())) {
        ([], Some(near)) => format!("did you mean `{near}`?"),
        ([], None) => "`linger runs list` lists them".to_owned(),
        (begun, _) => format!("did you mean {}?", begun.join(" or ")),
    };
    Ok(CliError::Usage(format!("there is no run `{id}`; {meant}")))
}

fn each_event(
    store: &SqliteStore,
    id: &str,
    mut tell: impl FnMut(&Event, &Arc<str>) -> Result<(), CliError>,
) -> Result<(), CliError> {
    let mut next = 0;
    loop {
        let lines = store.read(id, next, BATCH)?;
        if lines.is_empty() {
            return Ok(());
        }
        for line in &lines {
            let event: Event = serde_json::from_str(line).map_err(io::Error::from)?;
            tell(&event, line)?;
        }
        next += lines.len() as u64;
    }
}

fn list(entries: &[Entry], json: bool) -> Result<(), CliError> {
    let mut out = io::stdout().lock();
    if json {
        let runs: Vec<RunInfo> = entries.iter().map(|entry| entry.info(true, None)).collect();
        serde_json::to_writer_pretty(&mut out, &runs).map_err(io::Error::from)?;
        writeln!(out)?;
    } else if entries.is_empty() {
        writeln!(
            out,
            "Nothing is recorded yet; `linger run` and `linger serve` record."
        )?;
    } else {
        out.write_all(table(entries).as_bytes())?;
    }
    out.flush()?;
    Ok(())
}

fn table(entries: &[Entry]) -> String {
    let head = ["ID", "EXPERIMENT", "STATE", "STARTED", "EVENTS", "SIZE"].map(str::to_owned);
    let rows = entries.iter().map(|entry| {
        [
            entry.id.clone(),
            entry.experiment.clone(),
            entry.state.as_str().to_owned(),
            utc(entry.started_unix_ms),
            entry.events.to_string(),
            human_size(entry.stored),
        ]
    });
    let rows: Vec<[String; 6]> = std::iter::once(head).chain(rows).collect();
    let width = |column: usize| rows.iter().map(|row| row[column].len()).max().unwrap_or(0);
    let widths: Vec<usize> = (0..6).map(width).collect();
    let mut text = String::new();
    for row in &rows {
        let cells: Vec<String> = row
            .iter()
            .zip(&widths)
            .enumerate()
            // Numbers end where the others of their column do.
            .map(|(column, (cell, width))| match column {
                4 | 5 => format!("{cell:>width$}"),
                _ => format!("{cell:<width$}"),
            })
            .collect();
        text.push_str(cells.join("  ").trim_end());
        text.push('\n');
    }
    text
}

/// A time as `2026-11-21 12:08 UTC`.
fn utc(unix_ms: u64) -> String {
    let minutes = unix_ms / 60_000;
    let (days, minute) = (minutes / 1_440, minutes % 1_440);
    let (year, month, day) = date(days);
    format!(
        "{year:04}-{month:02}-{day:02} {:02}:{:02} UTC",
        minute / 60,
        minute % 60
    )
}

/// The date, so many days after 1970-01-01.
fn date(mut days: u64) -> (u64, usize, u64) {
    let leap = |year: u64| {
        year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400))
    };
    let mut year = 1970;
    loop {
        let length = 365 + u64::from(leap(year));
        if days < length {
            break;
        }
        days -= length;
        year += 1;
    }
    let february = 28 + u64::from(leap(year));
    let mut month = 1;
    for length in [31, february, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31] {
        if days < length {
            break;
        }
        days -= length;
        month += 1;
    }
    (year, month, days + 1)
}

fn delete(
    store: &SqliteStore,
    ids: Vec<String>,
    all: bool,
    yes: bool,
) -> Result<ExitCode, CliError> {
    let entries = store.list(usize::MAX)?;
    let chosen: Vec<&Entry> = if all {
        entries
            .iter()
            .filter(|entry| entry.state.is_over())
            .collect()
    } else {
        let mut chosen = Vec::new();
        for id in &ids {
            match entries.iter().find(|entry| entry.id == *id) {
                None => return Err(unknown(store, id)?),
                Some(entry) if entry.state == RunState::Running => {
                    return Err(CliError::Usage(format!(
                        "the run `{id}` is still running; stop it first"
                    )));
                }
                Some(entry) => chosen.push(entry),
            }
        }
        chosen
    };
    if chosen.is_empty() {
        println!("There is nothing to delete.");
        return Ok(ExitCode::SUCCESS);
    }
    if !yes && !confirmed(&chosen)? {
        println!("Nothing was deleted.");
        return Ok(ExitCode::FAILURE);
    }
    let ids: Vec<&str> = chosen.iter().map(|entry| entry.id.as_str()).collect();
    let deleted = store.delete(&ids)?;
    println!("{deleted} {} deleted.", runs(deleted));
    Ok(ExitCode::SUCCESS)
}

fn runs(count: usize) -> &'static str {
    if count == 1 { "run" } else { "runs" }
}

/// Asks on a terminal; elsewhere `--yes` has to say so.
fn confirmed(chosen: &[&Entry]) -> Result<bool, CliError> {
    let size = human_size(chosen.iter().map(|entry| entry.stored).sum());
    let what = match chosen {
        [entry] => entry.id.clone(),
        _ => format!("{} runs", chosen.len()),
    };
    if !io::stdin().is_terminal() {
        return Err(CliError::Usage(format!(
            "{what} would be deleted ({size}), and there is no terminal to ask on: --yes says so"
        )));
    }
    print!("Delete {what} ({size})? [y/N] ");
    io::stdout().flush()?;
    let mut answer = String::new();
    io::stdin().lock().read_line(&mut answer)?;
    Ok(matches!(answer.trim(), "y" | "Y" | "yes"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_told_in_utc() {
        assert_eq!(utc(0), "1970-01-01 00:00 UTC");
        assert_eq!(utc(951_782_399_999), "2000-02-28 23:59 UTC");
        assert_eq!(utc(951_782_400_000), "2000-02-29 00:00 UTC");
        assert_eq!(utc(1_709_251_200_000), "2024-03-01 00:00 UTC");
        assert_eq!(utc(1_795_262_904_000), "2026-11-21 12:08 UTC");
        assert_eq!(utc(1_798_761_599_000), "2026-12-31 23:59 UTC");
    }

    #[test]
    fn a_table_has_columns() {
        let entry = |id: &str, events| Entry {
            id: id.to_owned(),
            experiment: "tcp-lifecycle".to_owned(),
            state: RunState::Finished,
            started_unix_ms: 0,
            events,
            bytes: 0,
            stored: 2_048,
            last_us: 0,
        };
        let table = table(&[entry("a", 12_345), entry("a-longer-one", 1)]);
        let lines: Vec<&str> = table.lines().collect();
        assert_eq!(lines.len(), 3);
        let ends: Vec<Option<usize>> = lines.iter().map(|line| Some(line.len())).collect();
        assert!(ends.windows(2).all(|pair| pair[0] == pair[1]), "{table}");
        assert!(lines[0].starts_with("ID            EXPERIMENT"), "{table}");
        assert!(lines[1].ends_with("12345  2.0 KiB"), "{table}");
    }
}
