//! Sees to it that the compiler can build for WebAssembly.

use std::{path::PathBuf, process::Command};

use anyhow::{Context, Result, bail};

use crate::{progress::Step, settings::WASM_TARGET};

/// Adds the WebAssembly target to the toolchain in use, unless it is there.
///
/// # Errors
/// Says what was tried, what went wrong, and what to do: rustup may be missing, or its server out
/// of reach.
pub(crate) fn ensure_wasm_target(step: Step) -> Result<()> {
    if has_wasm_target()? {
        step.done(&format!("{WASM_TARGET} is there"));
        return Ok(());
    }
    step.note(&format!("rustup target add {WASM_TARGET}"));
    let status = match Command::new("rustup")
        .args(["target", "add", WASM_TARGET])
        .status()
    {
        Ok(status) => status,
        Err(error) => bail!(
            "the Rust toolchain has no standard library for {WASM_TARGET}, and rustup, which could \
             add it, cannot be started: {error}\n\
             Install rustup, or install that target the way this toolchain was installed, and \
             try again. On Debian with its own rustc that is the package \
             libstd-rust-dev-wasm32."
        ),
    };
    if !status.success() {
        bail!(
            "`rustup target add {WASM_TARGET}` failed ({status}); its own words are above.\n\
             Where rustup's server is out of reach, run that command once on a network that \
             reaches it, or set RUSTUP_DIST_SERVER to a mirror."
        );
    }
    if !has_wasm_target()? {
        bail!(
            "rustup added {WASM_TARGET}, but the rustc in use does not have it: \
             `rustc --print sysroot` and `rustup show` name two toolchains. \
             Run cargo through rustup, or unset RUSTC."
        );
    }
    step.done(&format!("{WASM_TARGET} was added"));
    Ok(())
}

/// Whether the compiler has a standard library for WebAssembly.
fn has_wasm_target() -> Result<bool> {
    let rustc = std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    let output = Command::new(&rustc)
        .args(["--print", "target-libdir", "--target", WASM_TARGET])
        .output()
        .with_context(|| format!("`{}` cannot be started", rustc.to_string_lossy()))?;
    let folder = PathBuf::from(String::from_utf8_lossy(&output.stdout).trim());
    Ok(output.status.success()
        && std::fs::read_dir(folder).is_ok_and(|mut entries| entries.next().is_some()))
}
