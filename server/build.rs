//! Decides three things before the server is compiled: whether it can have hosts of its own
//! (`cfg(linger_packets)`), which versions of libraries its runs record, and which front-end it
//! carries inside.
//!
//! The front-end is the folder that `LINGER_WEB_DIST` names; `cargo xtask play` builds it and sets
//! the variable. Without it the server has no front-end and says so on its page. Every file goes
//! into one table, with its media type, its entity tag and its compressed forms.

use std::{
    env,
    fmt::Write as _,
    fs,
    hash::{DefaultHasher, Hash, Hasher},
    path::{Path, PathBuf},
};

/// Names the folder of the finished front-end.
const VARIABLE: &str = "LINGER_WEB_DIST";

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rustc-check-cfg=cfg(linger_packets)");
    let linux = env::var("CARGO_CFG_TARGET_OS").is_ok_and(|system| system == "linux");
    if linux && env::var_os("CARGO_FEATURE_PACKETS").is_some() {
        println!("cargo::rustc-cfg=linger_packets");
    }

    for library in ["axum", "hyper", "hyper-util", "tokio"] {
        let name = library.replace('-', "_").to_ascii_uppercase();
        println!("cargo::rustc-env=LINGER_{name}_VERSION={}", locked(library));
    }

    println!("cargo::rerun-if-env-changed={VARIABLE}");
    let table = match env::var_os(VARIABLE).filter(|folder| !folder.is_empty()) {
        Some(folder) => {
            let folder = PathBuf::from(folder);
            println!("cargo::rerun-if-changed={}", folder.display());
            assert!(
                folder.join("index.html").is_file(),
                "{VARIABLE} names {}, which has no index.html: `cargo xtask web` builds it",
                folder.display()
            );
            table(&folder)
        }
        None => "&[]".to_owned(),
    };
    let out = PathBuf::from(env::var_os("OUT_DIR").expect("cargo sets OUT_DIR"));
    let path = out.join("assets.rs");
    fs::write(&path, table).unwrap_or_else(|error| panic!("write {}: {error}", path.display()));
}

/// The version of a library that Cargo.lock holds: runs record what took part in them.
fn locked(library: &str) -> String {
    let lock = Path::new("../Cargo.lock");
    println!("cargo::rerun-if-changed={}", lock.display());
    let named = format!("name = \"{library}\"");
    fs::read_to_string(lock)
        .ok()
        .and_then(|text| {
            let mut lines = text.lines().skip_while(|line| *line != named);
            let version = lines.nth(1)?.strip_prefix("version = \"")?;
            Some(version.trim_end_matches('"').to_owned())
        })
        .unwrap_or_else(|| "unknown".to_owned())
}

/// The front-end's files as an expression of type `&[Asset]`.
fn table(folder: &Path) -> String {
    let mut files = Vec::new();
    collect(folder, &mut files);
    files.sort();
    let mut table = "&[\n".to_owned();
    for file in &files {
        let below = file.strip_prefix(folder).expect("it was found there");
        let path = below.to_string_lossy().replace('\\', "/");
        if path.ends_with(".br") || path.ends_with(".gz") {
            continue;
        }
        let content = read(file);
        writeln!(
            table,
            "Asset {{ path: \"/{path}\", media_type: \"{}\", etag: \"\\\"{:016x}\\\"\", \
             identity: {}, brotli: {}, gzip: {} }},",
            media_type(&path),
            fingerprint(&content),
            include(file),
            variant(file, "br"),
            variant(file, "gz"),
        )
        .expect("a string takes everything");
    }
    table.push(']');
    table
}

fn collect(folder: &Path, files: &mut Vec<PathBuf>) {
    let entries =
        fs::read_dir(folder).unwrap_or_else(|error| panic!("list {}: {error}", folder.display()));
    for entry in entries {
        let path = entry.expect("the folder's next entry").path();
        if path.is_dir() {
            collect(&path, files);
        } else {
            files.push(path);
        }
    }
}

fn read(path: &Path) -> Vec<u8> {
    fs::read(path).unwrap_or_else(|error| panic!("read {}: {error}", path.display()))
}

fn include(path: &Path) -> String {
    format!("include_bytes!({:?})", path.display().to_string())
}

fn variant(file: &Path, ending: &str) -> String {
    let path = PathBuf::from(format!("{}.{ending}", file.display()));
    if path.is_file() {
        format!("Some(include_bytes!({:?}))", path.display().to_string())
    } else {
        "None".to_owned()
    }
}

/// Tells contents apart; nobody gains anything by forging one.
fn fingerprint(content: &[u8]) -> u64 {
    let mut hasher = DefaultHasher::new();
    content.hash(&mut hasher);
    hasher.finish()
}

fn media_type(path: &str) -> &'static str {
    match path.rsplit('.').next().unwrap_or_default() {
        "html" => "text/html; charset=utf-8",
        "css" => "text/css; charset=utf-8",
        "js" => "text/javascript; charset=utf-8",
        "wasm" => "application/wasm",
        "json" => "application/json",
        "jsonl" => "application/jsonl",
        "webmanifest" => "application/manifest+json",
        "svg" => "image/svg+xml",
        "png" => "image/png",
        "ico" => "image/x-icon",
        "woff2" => "font/woff2",
        "txt" => "text/plain; charset=utf-8",
        _ => "application/octet-stream",
    }
}
