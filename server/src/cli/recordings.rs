//! Where runs are recorded and for how long, as commands are told it.

use std::{path::PathBuf, time::Duration};

use clap::Args;

use crate::runs::store::{Retention, default_folder};

/// A mebibyte and its like, in bytes.
const UNITS: [(&str, u64); 5] = [
    ("KiB", 1 << 10),
    ("MiB", 1 << 20),
    ("GiB", 1 << 30),
    ("TiB", 1 << 40),
    ("B", 1),
];

/// The folder of the recordings.
#[derive(Debug, Clone, Args)]
pub(super) struct Folder {
    /// Folder of the recordings; by default $XDG_DATA_HOME/linger or ~/.local/share/linger.
    #[arg(long, value_name = "DIR", env = "LINGER_DATA", global = true)]
    data: Option<PathBuf>,
}

impl Folder {
    /// The folder that is to be used; `None` where none was named and this user has no home.
    pub(super) fn path(self) -> Option<PathBuf> {
        self.data.or_else(default_folder)
    }
}

/// Whether and where a command records what it runs.
#[derive(Debug, Clone, Args)]
pub(super) struct Recording {
    #[command(flatten)]
    folder: Folder,
    /// Keep runs in memory alone.
    #[arg(long)]
    no_record: bool,
}

impl Recording {
    /// The folder to record in; `None` for memory alone.
    pub(super) fn folder(self) -> Option<PathBuf> {
        if self.no_record {
            return None;
        }
        let folder = self.folder.path();
        if folder.is_none() {
            eprintln!(
                "linger: neither XDG_DATA_HOME nor HOME names a folder, so runs are kept in memory; \
                 --data DIR records them"
            );
        }
        folder
    }
}

/// How long recordings are kept.
#[derive(Debug, Args)]
pub(super) struct Keep {
    /// Keep at most so many runs; the oldest go first.
    #[arg(long, value_name = "N", default_value_t = Retention::default().runs)]
    keep_runs: usize,
    /// Keep no run that was started more than so many days ago.
    #[arg(long, value_name = "DAYS", default_value_t = 90)]
    keep_days: u32,
    /// Keep at most so much of events, as they are stored.
    #[arg(long, value_name = "SIZE", default_value = "2GiB", value_parser = size)]
    keep_size: u64,
}

impl Keep {
    pub(super) fn retention(&self) -> Retention {
        Retention {
            runs: self.keep_runs,
            age: Duration::from_secs(u64::from(self.keep_days) * 24 * 3_600),
            size: self.keep_size,
        }
    }
}

/// Reads a size such as `500MiB`.
fn size(text: &str) -> Result<u64, String> {
    let wrong = || format!("`{text}` is no size: write 500MiB, 2GiB or bytes");
    let (number, unit) = UNITS
        .iter()
        .find_map(|(name, unit)| Some((text.strip_suffix(name)?, *unit)))
        .unwrap_or((text, 1));
    let number: u64 = number.trim().parse().map_err(|_| wrong())?;
    number.checked_mul(unit).ok_or_else(wrong)
}

/// Writes a size as people read it, such as `1.2 MiB`.
pub(super) fn human_size(bytes: u64) -> String {
    let unit = UNITS[..4].iter().rev().find(|(_, unit)| bytes >= *unit);
    match unit {
        None => format!("{bytes} B"),
        Some((name, unit)) => {
            let tenths = bytes.saturating_mul(10) / unit;
            format!("{}.{} {name}", tenths / 10, tenths % 10)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_read_and_written() {
        assert_eq!(size("2GiB"), Ok(2 << 30));
        assert_eq!(size("500 MiB"), Ok(500 << 20));
        assert_eq!(size("17"), Ok(17));
        assert_eq!(size("3B"), Ok(3));
        for text in ["", "GiB", "2GB", "-1", "1.5GiB", "99999999999TiB"] {
            assert!(size(text).is_err(), "{text}");
        }
        assert_eq!(human_size(999), "999 B");
        assert_eq!(human_size(1_536), "1.5 KiB");
        assert_eq!(human_size(3 << 30), "3.0 GiB");
    }

    #[test]
    fn the_defaults_are_those_of_the_store() {
        #[derive(clap::Parser)]
        struct Command {
            #[command(flatten)]
            keep: Keep,
        }
        let command = <Command as clap::Parser>::parse_from(["linger"]);
        assert_eq!(command.keep.retention(), Retention::default());
    }
}
