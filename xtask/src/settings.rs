//! What is built, how, and where it goes.
//!
//! The one place on this side for facts that `Trunk.toml`, `static/index.html`, the workspace's
//! `Cargo.toml` and `Cargo.lock` also state, each in its own notation. The tests below read those
//! files, so that the page that `trunk serve` shows and the page inside the server come from the
//! same sources and the same compiler settings.

use std::path::{Path, PathBuf};

/// The Rust target of the front-end.
pub(crate) const WASM_TARGET: &str = "wasm32-unknown-unknown";

/// The package and the binary of the front-end.
pub(crate) const WEB_PACKAGE: &str = "linger-web";

/// The cargo profile of the front-end.
pub(crate) const WEB_PROFILE: &str = "web";

/// The page that everything else of the front-end is named in, below the root.
pub(crate) const INDEX: &str = "static/index.html";

/// The finished front-end, below the target directory.
pub(crate) const DIST: &str = "web/dist";

/// The variable by which the server's build script is told where the finished front-end is.
pub(crate) const DIST_VARIABLE: &str = "LINGER_WEB_DIST";

/// The package and the binary of the server.
pub(crate) const SERVER_PACKAGE: &str = "linger";

/// The repository's root.
pub(crate) fn root() -> PathBuf {
    let xtask = Path::new(env!("CARGO_MANIFEST_DIR"));
    xtask.parent().unwrap_or(xtask).to_path_buf()
}

/// Where cargo puts what it builds.
pub(crate) fn target_dir() -> PathBuf {
    match std::env::var_os("CARGO_TARGET_DIR") {
        Some(dir) => root().join(dir),
        None => root().join("target"),
    }
}

/// The folder of the finished front-end.
pub(crate) fn dist() -> PathBuf {
    target_dir().join(DIST)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::page::{Link, links};

    fn toml_of(path: &str) -> toml::Table {
        let text = std::fs::read_to_string(root().join(path)).unwrap();
        text.parse()
            .unwrap_or_else(|error| panic!("{path}: {error}"))
    }

    fn index_links() -> Vec<Link> {
        links(&std::fs::read_to_string(root().join(INDEX)).unwrap()).unwrap()
    }

    fn locked_version(package: &str) -> String {
        let lock = toml_of("Cargo.lock");
        lock["package"]
            .as_array()
            .unwrap()
            .iter()
            .find(|entry| entry["name"].as_str() == Some(package))
            .unwrap_or_else(|| panic!("{package} is not in Cargo.lock"))["version"]
            .as_str()
            .unwrap()
            .to_owned()
    }

    #[test]
    fn the_bindings_generator_has_the_version_of_the_bindings() {
        let bindings = locked_version("wasm-bindgen");
        assert_eq!(locked_version("wasm-bindgen-cli-support"), bindings);
        assert_eq!(locked_version("wasm-bindgen-cli"), bindings);
    }

    #[test]
    fn trunk_builds_the_same_page_with_the_same_profile() {
        let trunk = toml_of("Trunk.toml");
        let build = &trunk["build"];
        assert_eq!(build["target"].as_str(), Some(INDEX));
        assert_eq!(build["cargo_profile"].as_str(), Some(WEB_PROFILE));
        assert!(
            build.get("features").is_none()
                && build.get("all_features").is_none()
                && build.get("no_default_features").is_none(),
            "features that xtask does not pass"
        );
        assert_eq!(build["public_url"].as_str(), Some("/"));
        let dist = root().join(build["dist"].as_str().unwrap());
        assert_ne!(
            dist,
            root().join("target").join(DIST),
            "both would write one folder"
        );

        let rust: Vec<Link> = index_links()
            .into_iter()
            .filter(|link| link.rel == "rust")
            .collect();
        let [link] = rust.as_slice() else {
            panic!("one rust link in {INDEX}, not {}", rust.len());
        };
        assert_eq!(link.attribute("data-bin"), Some(WEB_PACKAGE));
        assert_eq!(link.attribute("data-wasm-opt"), Some("0"));
        let manifest = root().join("static").join(link.attribute("href").unwrap());
        let manifest = if manifest.is_dir() {
            manifest.join("Cargo.toml")
        } else {
            manifest
        };
        let manifest: toml::Table = std::fs::read_to_string(manifest).unwrap().parse().unwrap();
        assert_eq!(manifest["package"]["name"].as_str(), Some(WEB_PACKAGE));
        for drift in [
            "data-cargo-profile",
            "data-cargo-profile-release",
            "data-cargo-profile-debug",
            "data-cargo-features",
            "data-cargo-all-features",
            "data-cargo-no-default-features",
            "data-keep-debug",
            "data-no-demangle",
            "data-reference-types",
            "data-weak-refs",
            "data-bindgen-target",
            "data-initializer",
        ] {
            assert_eq!(
                link.attribute(drift),
                None,
                "{drift} is not what xtask does"
            );
        }
    }

    #[test]
    fn the_profile_of_the_front_end_is_the_workspaces() {
        let profile = &toml_of("Cargo.toml")["profile"][WEB_PROFILE];
        assert_eq!(profile["inherits"].as_str(), Some("release"));
        assert_eq!(profile["strip"].as_bool(), Some(true));
        let flags = &toml_of(".cargo/config.toml")["target"][WASM_TARGET]["rustflags"];
        let keeps =
            |flag: &toml::Value| flag.as_str() == Some("link-arg=--keep-section=target_features");
        assert!(
            flags.as_array().unwrap().iter().any(keeps),
            "stripping drops the section that wasm-bindgen reads: {flags}"
        );
    }

    #[test]
    fn every_asset_of_the_page_exists() {
        for link in index_links() {
            let href = link.attribute("href").unwrap();
            let path = root().join("static").join(href);
            assert!(path.exists(), "{INDEX} names {href}, which is not there");
        }
    }

    #[test]
    fn trunk_passes_the_api_on_to_the_server() {
        let trunk = toml_of("Trunk.toml");
        let proxies = trunk["proxy"].as_array().unwrap();
        let backend = |ws: bool| {
            proxies
                .iter()
                .filter(|proxy| {
                    proxy
                        .get("ws")
                        .and_then(toml::Value::as_bool)
                        .unwrap_or(false)
                        == ws
                })
                .map(|proxy| proxy["backend"].as_str().unwrap().to_owned())
                .collect::<Vec<_>>()
        };
        assert_eq!(backend(false), ["http://127.0.0.1:8080/api"]);
        assert_eq!(backend(true), ["ws://127.0.0.1:8080/api/stream"],);
    }

    #[cfg(unix)]
    #[test]
    fn trunkfile_is_a_link_to_trunks_configuration() {
        let target = std::fs::read_link(root().join("Trunkfile")).unwrap();
        assert_eq!(target, Path::new("Trunk.toml"));
    }
}
