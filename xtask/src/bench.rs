//! Runs the workspace's benchmarks, one after the other, each with its own table.
//!
//! Which there are is asked of cargo, so that a new one needs no line here.

use std::{collections::BTreeMap, process::ExitCode};

use anyhow::{Context, Result, bail};
use serde_json::Value;

use crate::cargo;

pub(crate) const HELP: &str = "\
Run the benchmarks and print their tables.

They run one after the other, optimised; figures of a busy machine mean little, ratios within one
run mean more. Those that need network namespaces say so where there are none.

Usage: cargo xtask bench [NAME]...

Without a name, all of them. `cargo xtask bench --list` lists them.
";

/// Runs the benchmarks that are asked for, all where none is named.
///
/// # Errors
/// Names a benchmark that there is none of, or says which command failed to start.
pub(crate) fn run(arguments: &[String]) -> Result<ExitCode> {
    let there = benchmarks()?;
    if arguments == ["--list"] {
        for (name, package) in &there {
            println!("{name}  ({package})");
        }
        return Ok(ExitCode::SUCCESS);
    }
    for wanted in arguments {
        if !there.contains_key(wanted) {
            let names: Vec<&str> = there.keys().map(String::as_str).collect();
            bail!("`{wanted}` is no benchmark; there are {}", names.join(", "));
        }
    }
    let mut failed = Vec::new();
    for (name, package) in &there {
        if !arguments.is_empty() && !arguments.contains(name) {
            continue;
        }
        println!("== {name} ==");
        let mut command = cargo::command();
        command.args(["bench", "--package", package, "--bench", name]);
        let status = command
            .status()
            .with_context(|| format!("`{}` cannot be started", cargo::typed(&command)))?;
        if !status.success() {
            failed.push(name.as_str());
        }
    }
    if failed.is_empty() {
        return Ok(ExitCode::SUCCESS);
    }
    eprintln!("failed: {}", failed.join(", "));
    Ok(ExitCode::FAILURE)
}

/// Name to package.
fn benchmarks() -> Result<BTreeMap<String, String>> {
    let output = cargo::command()
        .args(["metadata", "--format-version=1", "--no-deps", "--quiet"])
        .output()
        .context("`cargo metadata` cannot be started")?;
    let metadata: Value =
        serde_json::from_slice(&output.stdout).context("what `cargo metadata` says")?;
    Ok(of_metadata(&metadata))
}

fn of_metadata(metadata: &Value) -> BTreeMap<String, String> {
    let list = |value: &Value| value.as_array().cloned().unwrap_or_default();
    let mut there = BTreeMap::new();
    for package in list(&metadata["packages"]) {
        for target in list(&package["targets"]) {
            if list(&target["kind"]).iter().any(|kind| kind == "bench") {
                let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
                there.insert(text(&target["name"]), text(&package["name"]));
            }
        }
    }
    there
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn benchmarks_are_found_by_their_kind() {
        let metadata = serde_json::json!({"packages": [
            {"name": "linger", "targets": [
                {"name": "linger", "kind": ["bin"]},
                {"name": "wire", "kind": ["bench"]},
            ]},
            {"name": "linger-shared", "targets": [{"name": "dissect", "kind": ["bench"]}]},
        ]});
        let there = of_metadata(&metadata);
        assert_eq!(there.get("wire").map(String::as_str), Some("linger"));
        assert_eq!(
            there.get("dissect").map(String::as_str),
            Some("linger-shared")
        );
        assert_eq!(there.len(), 2);
    }
}
