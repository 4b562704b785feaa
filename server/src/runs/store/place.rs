//! Where recordings are unless somebody chose a place.

use std::{env, path::PathBuf};

/// `$XDG_DATA_HOME/linger`, or `~/.local/share/linger`; on Windows `%LOCALAPPDATA%\linger`. `None`
/// where the environment names no home.
pub fn default_folder() -> Option<PathBuf> {
    // A relative one is to be ignored, as the XDG base directory specification says.
    let folder = |name: &str| {
        env::var_os(name)
            .map(PathBuf::from)
            .filter(|path| path.is_absolute())
    };
    folder("XDG_DATA_HOME")
        .or_else(|| folder("HOME").map(|home| home.join(".local/share")))
        .or_else(|| folder("LOCALAPPDATA"))
        .map(|data| data.join("linger"))
}
