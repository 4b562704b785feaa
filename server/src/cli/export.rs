//! Where a run's exports go: `--pcapng FILE`, `--svg FILE` and their like, for every command that
//! has a run in its hands.
//!
//! A file is written beside its place and renamed into it when it is complete, so a run that fails,
//! a full disk or Ctrl-C never leaves half a file in the place of a good one; a file that was there
//! is replaced, as `tcpdump -w` does. What is no regular file (`/dev/null`, a pipe) is written as it
//! is. One export that fails stops neither the run nor the other exports.

use std::{
    fs::{self, File},
    io::{self, BufWriter, Write},
    path::{Path, PathBuf},
    process,
};

use clap::Args;
use linger_shared::event::{Event, Header};
use thiserror::Error;

use super::{CliError, terminal};
use crate::export::{self, ExportError, Exporter, Format};

/// The exports that a command was asked for.
#[derive(Debug, Clone, Default, Args)]
#[command(next_help_heading = "Exports (- is standard output; a file that is there is replaced)")]
pub(super) struct ExportArgs {
    /// A capture for Wireshark, with the secrets that decrypt its TLS.
    #[arg(long, value_name = "FILE")]
    pcapng: Option<PathBuf>,
    /// The diagram on one sheet, to be kept or printed.
    #[arg(long, value_name = "FILE")]
    svg: Option<PathBuf>,
    /// A sequence diagram for Markdown, as Mermaid draws it.
    #[arg(long, value_name = "FILE")]
    mermaid: Option<PathBuf>,
    /// JSON Lines: the header, then one event a line.
    #[arg(long, value_name = "FILE")]
    jsonl: Option<PathBuf>,
    /// The terminal's diagram.
    #[arg(long, value_name = "FILE", num_args = 0..=1, default_missing_value = "-")]
    text: Option<PathBuf>,
}

impl ExportArgs {
    fn chosen(&self) -> impl Iterator<Item = (Format, &Path)> {
        [
            (Format::Pcapng, &self.pcapng),
            (Format::Svg, &self.svg),
            (Format::Mermaid, &self.mermaid),
            (Format::Jsonl, &self.jsonl),
            (Format::Text, &self.text),
        ]
        .into_iter()
        .filter_map(|(format, path)| Some((format, path.as_deref()?)))
    }

    /// Whether an export goes to standard output, where nothing else may be written then.
    pub(super) fn takes_stdout(&self) -> bool {
        self.chosen().any(|(_, path)| is_stdout(path))
    }

    /// Opens what is to be written, before anything is run for it.
    ///
    /// # Errors
    /// Two exports to one place; a file that cannot be written, by its name.
    pub(super) fn open(&self) -> Result<Exports, CliError> {
        let chosen: Vec<_> = self.chosen().collect();
        for (k, (format, path)) in chosen.iter().enumerate() {
            if let Some((other, _)) = chosen[..k].iter().find(|(_, other)| other == path) {
                return Err(CliError::Usage(format!(
                    "--{} and --{} cannot both be written to {}",
                    other.name(),
                    format.name(),
                    named(path)
                )));
            }
        }
        let open = |(format, path): (Format, &Path)| {
            let place = Place::open(path).map_err(|source| {
                CliError::Export(ExportFailure::new(format, path, source.into()))
            })?;
            Ok(Export {
                format,
                path: path.to_owned(),
                state: State::Waiting(place),
            })
        };
        let exports = chosen
            .into_iter()
            .map(open)
            .collect::<Result<_, CliError>>()?;
        Ok(Exports(exports))
    }
}

/// An export that did not come about.
#[derive(Debug, Error)]
#[error("cannot write {place} as {format}: {error}")]
pub(super) struct ExportFailure {
    format: &'static str,
    place: String,
    error: String,
    /// Whether whoever read standard output has gone away, which is no failure.
    unread: bool,
}

impl ExportFailure {
    fn new(format: Format, path: &Path, error: ExportError) -> Self {
        let unread = is_stdout(path)
            && matches!(&error, ExportError::Output(error)
                if error.kind() == io::ErrorKind::BrokenPipe);
        Self {
            format: format.name(),
            place: named(path),
            error: match error {
                ExportError::Output(error) => in_words(&error),
                other => other.to_string(),
            },
            unread,
        }
    }
}

/// The exports of a run, on their way.
pub(super) struct Exports(Vec<Export>);

struct Export {
    format: Format,
    path: PathBuf,
    state: State,
}

enum State {
    /// For the header.
    Waiting(Place),
    Writing(Place, Box<dyn Exporter>),
    Failed(ExportFailure),
}

impl Exports {
    /// Whether nothing is exported.
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Takes the run's header; it may be given again.
    pub(super) fn header(&mut self, header: &Header) {
        for export in &mut self.0 {
            export.step(|state, format| match state {
                State::Waiting(mut place) => {
                    let exporter =
                        export::begin_with(format, header, terminal::columns(), &mut place)?;
                    Ok(State::Writing(place, exporter))
                }
                other => Ok(other),
            });
        }
    }

    /// Takes the next event, and the same event as the log keeps it.
    pub(super) fn event(&mut self, event: &Event, text: &str) {
        for export in &mut self.0 {
            export.step(|state, _| match state {
                State::Writing(mut place, mut exporter) => {
                    exporter.event(event, text, &mut place)?;
                    Ok(State::Writing(place, exporter))
                }
                other => Ok(other),
            });
        }
    }

    /// Completes every export, puts the files into their places, and says which could not be
    /// written. Gives false where there is one.
    pub(super) fn report(self) -> bool {
        let failures = self.finish();
        for failure in failures.iter().filter(|failure| !failure.unread) {
            eprintln!("linger: {failure}");
        }
        failures.iter().all(|failure| failure.unread)
    }

    fn finish(self) -> Vec<ExportFailure> {
        let finish = |mut export: Export| {
            let state = std::mem::replace(&mut export.state, State::Waiting(Place::Nowhere));
            let done = match state {
                State::Failed(failure) => return Some(failure),
                // A run without a header never had hosts; the place keeps what it has.
                State::Waiting(_) => Err(ExportError::Output(io::Error::other(
                    "the run did not begin",
                ))),
                State::Writing(mut place, mut exporter) => exporter
                    .finish(&mut place)
                    .and_then(|()| Ok(place.complete()?)),
            };
            done.err()
                .map(|error| ExportFailure::new(export.format, &export.path, error))
        };
        self.0.into_iter().filter_map(finish).collect()
    }
}

impl Export {
    /// Goes from one state to the next; what fails says so at once and takes no more.
    fn step(&mut self, next: impl FnOnce(State, Format) -> Result<State, ExportError>) {
        let state = std::mem::replace(&mut self.state, State::Waiting(Place::Nowhere));
        self.state = next(state, self.format).unwrap_or_else(|error| {
            State::Failed(ExportFailure::new(self.format, &self.path, error))
        });
    }
}

/// What an export is written to. Dropped before it is complete, it leaves nothing.
enum Place {
    Nowhere,
    Stdout(BufWriter<io::Stdout>),
    /// A device or a pipe.
    Special(BufWriter<File>),
    File(Beside),
}

/// A file that is written beside its place.
struct Beside {
    file: BufWriter<File>,
    written: PathBuf,
    place: PathBuf,
    complete: bool,
}

impl Place {
    fn open(path: &Path) -> io::Result<Self> {
        if is_stdout(path) {
            return Ok(Self::Stdout(BufWriter::new(io::stdout())));
        }
        let there = match fs::metadata(path) {
            Ok(there) => Some(there),
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(error) => return Err(error),
        };
        // A link stays where it is; what it points to is replaced.
        let place = match &there {
            Some(_) => fs::canonicalize(path)?,
            None => path.to_owned(),
        };
        match there {
            Some(there) if there.is_dir() => return Err(io::ErrorKind::IsADirectory.into()),
            Some(there) if !there.is_file() => {
                let file = File::options().write(true).open(&place)?;
                return Ok(Self::Special(BufWriter::new(file)));
            }
            _ => {}
        }
        let name = place.file_name().ok_or(io::ErrorKind::InvalidInput)?;
        let mut beside = std::ffi::OsString::from(".");
        beside.push(name);
        beside.push(format!(".{}.part", process::id()));
        let written = place.with_file_name(beside);
        let file = File::options()
            .write(true)
            .create_new(true)
            .open(&written)?;
        if let Some(there) = there {
            // Whoever may read the file may read what replaces it.
            file.set_permissions(there.permissions())?;
        }
        Ok(Self::File(Beside {
            file: BufWriter::new(file),
            written,
            place,
            complete: false,
        }))
    }

    fn complete(self) -> io::Result<()> {
        match self {
            Self::Nowhere => Ok(()),
            Self::Stdout(mut out) => out.flush(),
            Self::Special(mut out) => out.flush(),
            Self::File(mut beside) => {
                beside.file.flush()?;
                fs::rename(&beside.written, &beside.place)?;
                beside.complete = true;
                Ok(())
            }
        }
    }
}

impl Drop for Beside {
    fn drop(&mut self) {
        if !self.complete {
            // Nothing can be done about a file that will not go.
            let _ = fs::remove_file(&self.written);
        }
    }
}

impl Write for Place {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::Nowhere => Ok(bytes.len()),
            Self::Stdout(out) => out.write(bytes),
            Self::Special(out) => out.write(bytes),
            Self::File(beside) => beside.file.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Self::Nowhere => Ok(()),
            Self::Stdout(out) => out.flush(),
            Self::Special(out) => out.flush(),
            Self::File(beside) => beside.file.flush(),
        }
    }
}

fn is_stdout(path: &Path) -> bool {
    path.as_os_str() == "-"
}

fn named(path: &Path) -> String {
    if is_stdout(path) {
        "standard output".to_owned()
    } else {
        format!("`{}`", path.display())
    }
}

/// What went wrong with a file, the errno's name first, and what may help.
fn in_words(error: &io::Error) -> String {
    use io::ErrorKind as Kind;
    let (errno, words) = match error.kind() {
        Kind::StorageFull => ("ENOSPC", "the disk is full"),
        Kind::QuotaExceeded => ("EDQUOT", "the quota is used up"),
        Kind::PermissionDenied => ("EACCES", "no rights to write there"),
        Kind::ReadOnlyFilesystem => ("EROFS", "the file system is read-only"),
        Kind::NotFound => ("ENOENT", "the folder is not there"),
        Kind::NotADirectory => ("ENOTDIR", "a part of the path is no folder"),
        Kind::IsADirectory => ("EISDIR", "it is a folder"),
        Kind::BrokenPipe => ("EPIPE", "its reader has gone away"),
        _ => return error.to_string(),
    };
    format!("{words} ({errno})")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A folder that goes with the test.
    struct Folder(PathBuf);

    impl Folder {
        fn new(name: &str) -> Self {
            let path = std::env::temp_dir().join(format!("linger-{name}-{}", process::id()));
            fs::create_dir_all(&path).unwrap();
            Self(path)
        }

        fn names(&self) -> Vec<String> {
            let entries = fs::read_dir(&self.0).unwrap();
            entries
                .map(|entry| entry.unwrap().file_name().into_string().unwrap())
                .collect()
        }
    }

    impl Drop for Folder {
        fn drop(&mut self) {
            fs::remove_dir_all(&self.0).unwrap();
        }
    }

    #[test]
    fn a_file_is_replaced_when_it_is_complete_and_not_before() {
        let folder = Folder::new("replaced");
        let path = folder.0.join("run.txt");
        fs::write(&path, "old").unwrap();
        let mut place = Place::open(&path).unwrap();
        place.write_all(b"new").unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"old");
        place.complete().unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"new");
        assert_eq!(folder.names(), ["run.txt"]);
    }

    #[test]
    fn what_is_not_complete_leaves_nothing() {
        let folder = Folder::new("dropped");
        let mut place = Place::open(&folder.0.join("run.txt")).unwrap();
        place.write_all(b"half").unwrap();
        drop(place);
        assert!(folder.names().is_empty());
    }

    #[cfg(unix)]
    #[test]
    fn a_link_stays_a_link() {
        let folder = Folder::new("link");
        let (target, link) = (folder.0.join("target"), folder.0.join("link"));
        fs::write(&target, "old").unwrap();
        std::os::unix::fs::symlink(&target, &link).unwrap();
        let mut place = Place::open(&link).unwrap();
        place.write_all(b"new").unwrap();
        place.complete().unwrap();
        assert!(fs::symlink_metadata(&link).unwrap().is_symlink());
        assert_eq!(fs::read(&target).unwrap(), b"new");
    }

    #[test]
    fn two_exports_cannot_share_a_place() {
        let arguments = ExportArgs {
            jsonl: Some("-".into()),
            text: Some("-".into()),
            ..ExportArgs::default()
        };
        assert!(arguments.takes_stdout());
        assert!(matches!(arguments.open(), Err(CliError::Usage(_))));
    }

    #[test]
    fn a_place_that_cannot_be_written_is_named_before_anything_runs() {
        let arguments = ExportArgs {
            pcapng: Some("/nowhere/at/all.pcapng".into()),
            ..ExportArgs::default()
        };
        let Err(error) = arguments.open() else {
            panic!("there is no such folder");
        };
        let text = error.to_string();
        assert!(
            text.contains("`/nowhere/at/all.pcapng`") && text.contains("ENOENT"),
            "{text}"
        );
    }
}
