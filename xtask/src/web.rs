//! Builds the front-end: from Rust to WebAssembly, through wasm-bindgen, to a folder that a server
//! can serve as it is, every file also compressed.
//!
//! The folder is put in place in one step when it is complete, and left alone when nothing that it
//! is made of has changed.

use std::{
    fmt::Write as _,
    fs,
    path::{Path, PathBuf},
    time::UNIX_EPOCH,
};

use anyhow::{Context, Result, bail};

use crate::{
    cargo,
    compress::{self, Sizes},
    page,
    progress::{Steps, kilobytes},
    settings::{self, INDEX, WASM_TARGET, WEB_PACKAGE, WEB_PROFILE},
    toolchain,
};

/// How many steps [`build`] announces.
pub(crate) const STEPS: usize = 3;

/// Builds the front-end and gives back its folder.
///
/// # Errors
/// Says which step failed, and on which file.
pub(crate) fn build(steps: &mut Steps) -> Result<PathBuf> {
    let step = steps.begin("Look for the WebAssembly target of the compiler");
    toolchain::ensure_wasm_target(step)?;

    let step = steps.begin("Compile the front-end to WebAssembly");
    let mut command = cargo::command();
    command.args(["build", "--package", WEB_PACKAGE, "--bin", WEB_PACKAGE]);
    command.args(["--target", WASM_TARGET, "--profile", WEB_PROFILE]);
    let module = cargo::build(command, &step)?
        .into_iter()
        .find(|path| path.extension() == Some("wasm".as_ref()))
        .context("cargo built no WebAssembly module")?;
    step.done("compiled");

    let step = steps.begin("Put the page together");
    let dist = settings::dist();
    let stamp_path = dist.with_extension("stamp");
    let stamp = stamp(&module)?;
    if dist.join("index.html").exists()
        && fs::read_to_string(&stamp_path).is_ok_and(|old| old == stamp)
    {
        step.done("up to date");
        return Ok(dist);
    }
    // Of this process alone: another one may be building the same front-end.
    let fresh = dist.with_extension(format!("new-{}", std::process::id()));
    remove(&fresh)?;
    fs::create_dir_all(&fresh).with_context(|| format!("create {}", fresh.display()))?;
    wasm_bindgen_cli_support::Bindgen::new()
        .input_path(&module)
        .web(true)
        .and_then(|bindgen| bindgen.typescript(false).generate(&fresh))
        .with_context(|| format!("wasm-bindgen on {}", module.display()))?;
    compose(&fresh)?;
    step.note("compressing");
    let mut files = files_below(&fresh)?;
    files.sort();
    let mut table = String::new();
    let mut total = Sizes {
        plain: 0,
        brotli: 0,
        gzip: 0,
    };
    for file in files {
        let sizes = compress::beside(&file)?;
        total.plain += sizes.plain;
        total.brotli += sizes.brotli;
        total.gzip += sizes.gzip;
        let name = file
            .strip_prefix(&fresh)
            .unwrap_or(&file)
            .display()
            .to_string();
        row(&mut table, &name, sizes);
    }
    row(&mut table, "all", total);
    remove(&dist)?;
    fs::rename(&fresh, &dist).with_context(|| format!("put {} in place", dist.display()))?;
    fs::write(&stamp_path, stamp).with_context(|| format!("write {}", stamp_path.display()))?;
    eprint!("{table}");
    step.done(&format!("the front-end is in {}", dist.display()));
    Ok(dist)
}

/// Writes the page, its script and its assets into the folder.
fn compose(folder: &Path) -> Result<()> {
    let index = settings::root().join(INDEX);
    let source = fs::read_to_string(&index).with_context(|| format!("read {}", index.display()))?;
    let composed =
        page::compose(&source, WEB_PACKAGE).with_context(|| index.display().to_string())?;
    let sources = index.parent().context("the page has no folder")?;
    for asset in &composed.assets {
        let from = sources.join(&asset.from);
        let to = folder.join(&asset.to);
        if from.is_dir() {
            for file in files_below(&from)? {
                let below = file.strip_prefix(&from)?;
                copy(&file, &to.join(below))?;
            }
        } else {
            copy(&from, &to)?;
        }
    }
    write(&folder.join("index.html"), &composed.html)?;
    write(
        &folder.join(page::START_SCRIPT),
        &page::start_script(WEB_PACKAGE),
    )
}

/// Everything that the finished folder is made of, with sizes and times of change.
fn stamp(module: &Path) -> Result<String> {
    let root = settings::root();
    let mut inputs = files_below(&root.join("static"))?;
    inputs.push(module.to_path_buf());
    inputs.push(std::env::current_exe().context("find this program")?);
    inputs.sort();
    let mut stamp = String::new();
    for path in inputs {
        let metadata =
            fs::metadata(&path).with_context(|| format!("look at {}", path.display()))?;
        let changed = metadata
            .modified()
            .ok()
            .and_then(|time| time.duration_since(UNIX_EPOCH).ok())
            .unwrap_or_default();
        writeln!(
            stamp,
            "{} {} {}",
            path.display(),
            metadata.len(),
            changed.as_nanos()
        )?;
    }
    Ok(stamp)
}

fn row(table: &mut String, name: &str, sizes: Sizes) {
    let Sizes {
        plain,
        brotli,
        gzip,
    } = sizes;
    let [plain, brotli, gzip] = [plain, brotli, gzip].map(kilobytes);
    let _ = writeln!(
        table,
        "      {name:<28} {plain:>10}  brotli {brotli:>9}  gzip {gzip:>9}"
    );
}

fn files_below(folder: &Path) -> Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    let entries = fs::read_dir(folder).with_context(|| format!("list {}", folder.display()))?;
    for entry in entries {
        let path = entry?.path();
        if path.is_dir() {
            files.extend(files_below(&path)?);
        } else {
            files.push(path);
        }
    }
    Ok(files)
}

fn copy(from: &Path, to: &Path) -> Result<()> {
    if to.exists() {
        bail!("two files of the page are named {}", to.display());
    }
    if let Some(folder) = to.parent() {
        fs::create_dir_all(folder).with_context(|| format!("create {}", folder.display()))?;
    }
    fs::copy(from, to)
        .map(drop)
        .with_context(|| format!("copy {} to {}", from.display(), to.display()))
}

fn write(path: &Path, text: &str) -> Result<()> {
    fs::write(path, text).with_context(|| format!("write {}", path.display()))
}

fn remove(folder: &Path) -> Result<()> {
    match fs::remove_dir_all(folder) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(error).with_context(|| format!("remove {}", folder.display()))
        }
        _ => Ok(()),
    }
}
