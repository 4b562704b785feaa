//! The map names only places that exist.

use std::{fs, path::Path};

/// Texts between backticks that look like a path of the repository.
fn named_paths(page: &str) -> Vec<&str> {
    page.split('`')
        .skip(1)
        .step_by(2)
        .filter(|text| {
            let root = text.split('/').next().unwrap_or_default();
            ["shared", "server", "web", "static", "xtask", "docs"].contains(&root)
                && !text.contains(' ')
        })
        .collect()
}

#[test]
fn every_path_on_the_map_exists() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let page = fs::read_to_string(root.join("ARCHITECTURE.md")).expect("the map is there");
    let paths = named_paths(&page);
    assert!(paths.len() > 20, "the map names places: {paths:?}");
    let missing: Vec<&&str> = paths
        .iter()
        .filter(|path| !root.join(path).exists())
        .collect();
    assert!(missing.is_empty(), "on the map but not there: {missing:?}");
}
