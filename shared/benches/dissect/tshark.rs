//! The dissectors beside tshark, on the same packets.
//!
//! Both make one line of each packet and put streams together on the way: tshark prints its usual
//! columns, without names looked up, into nothing; [`FlowTracker`] makes its summaries, and the
//! messages with their details besides. tshark reads a capture and prints, which costs it little
//! beside dissecting; the dissectors have their packets in memory, as in a run. What tshark takes
//! to start, measured with a capture of one packet, is taken off. tshark knows thousands of
//! protocols and checks far more of each, so the ratio tells what a laboratory saves by knowing
//! eight, not which program is better written.
//!
//! [`FlowTracker`]: linger_shared::dissect::flow::FlowTracker

use std::{
    env,
    ffi::OsString,
    fs, io,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use crate::streams::{Stream, streams};

/// How much one stream carries, in bytes: enough for tshark to run for longer than it starts.
const VOLUME: usize = 32 << 20;

/// Measurements of which the shortest counts.
const TRIES: usize = 3;

/// Packets of which tshark must understand some, so that it does the same work.
const PROBED: usize = 200;

/// Prints a table, or why there is none. `observe` dissects packets and counts their messages.
pub(crate) fn compare(observe: fn(&[Vec<u8>]) -> usize) {
    let tshark = env::var_os("TSHARK").unwrap_or_else(|| "tshark".into());
    let version = match Command::new(&tshark).arg("--version").output() {
        Ok(output) => String::from_utf8_lossy(&output.stdout)
            .lines()
            .next()
            .unwrap_or_default()
            .to_owned(),
        Err(error) => {
            let name = tshark.to_string_lossy();
            println!("Not compared with tshark: `{name}` cannot be started: {error}");
            println!("Install it, or name it in TSHARK.");
            return;
        }
    };
    println!("Beside {version}, a line for each packet, the best of {TRIES}:");
    println!("| stream | MB | here, MB/s | tshark, MB/s | ratio |");
    println!("|---|---|---|---|---|");
    let folder = env::temp_dir().join(format!("linger-bench-{}", std::process::id()));
    let compared = fs::create_dir(&folder).and_then(|()| {
        let all = streams(VOLUME);
        all.iter()
            .try_for_each(|stream| row(&tshark, &folder, stream, observe))
    });
    if let Err(error) = compared {
        println!("Not compared any further: {error}");
    }
    let _ = fs::remove_dir_all(&folder);
}

fn row(
    tshark: &OsString,
    folder: &Path,
    stream: &Stream,
    observe: fn(&[Vec<u8>]) -> usize,
) -> io::Result<()> {
    let begin = capture(folder, "begin", &stream.packets[..PROBED])?;
    let understood = Command::new(tshark)
        .arg("-nr")
        .arg(&begin)
        .args(["-Y", stream.filter, "-T", "fields", "-e", "frame.number"])
        .stderr(Stdio::null())
        .output()?;
    if understood.stdout.is_empty() {
        return Err(io::Error::other(format!(
            "tshark finds no {} among {}",
            stream.filter, stream.name
        )));
    }
    let one = capture(folder, "one", &stream.packets[..1])?;
    let start = shortest(|| lines(tshark, &one))?;
    let all = capture(folder, "all", &stream.packets)?;
    let theirs = shortest(|| lines(tshark, &all))?.saturating_sub(start);
    let ours = shortest(|| {
        observe(&stream.packets);
        Ok(())
    })?;
    let megabytes = stream.bytes() as f64 / 1e6;
    let (ours, theirs) = (
        megabytes / ours.as_secs_f64(),
        megabytes / theirs.as_secs_f64(),
    );
    println!(
        "| {} | {megabytes:.0} | {ours:.0} | {theirs:.0} | {:.1} |",
        stream.name,
        ours / theirs
    );
    Ok(())
}

/// Has tshark print its line for each packet.
fn lines(tshark: &OsString, capture: &Path) -> io::Result<()> {
    let status = Command::new(tshark)
        .arg("-nr")
        .arg(capture)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()?;
    match status.success() {
        true => Ok(()),
        false => Err(io::Error::other(format!("tshark ended with {status}"))),
    }
}

fn shortest(mut measured: impl FnMut() -> io::Result<()>) -> io::Result<Duration> {
    let mut best = Duration::MAX;
    for _ in 0..TRIES {
        let begun = Instant::now();
        measured()?;
        best = best.min(begun.elapsed());
    }
    Ok(best)
}

/// Writes a capture of raw IP packets, a microsecond apart.
fn capture(folder: &Path, name: &str, packets: &[Vec<u8>]) -> io::Result<PathBuf> {
    let path = folder.join(name).with_extension("pcap");
    // Magic number, version 2.4, no time zone, packets of at most 64 KiB, link type 101.
    let mut bytes = Vec::new();
    for word in [0xa1b2_c3d4_u32, 0x0004_0002, 0, 0, 65_536, 101] {
        bytes.extend_from_slice(&word.to_le_bytes());
    }
    for (at, packet) in (0_u32..).zip(packets) {
        let length = packet.len() as u32;
        for word in [at / 1_000_000, at % 1_000_000, length, length] {
            bytes.extend_from_slice(&word.to_le_bytes());
        }
        bytes.extend_from_slice(packet);
    }
    fs::write(&path, bytes)?;
    Ok(path)
}
