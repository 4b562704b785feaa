//! What is needed to walk through Linger's page in a real Chromium against the real server.
//!
//! [`Server`] starts the `linger` binary, [`Gate`] stands between it and a browser and can be shut,
//! [`Chromium`] starts a browser with a profile of its own, and [`Page`] drives one tab of it over
//! the DevTools protocol. Each ends what it started when it is dropped. Nothing here knows what the
//! page looks like; that is for the tests.
//!
//! `cargo xtask test browser` builds the server with the front-end inside, finds the browser, and
//! names both in the environment: `LINGER_TEST_SERVER` and `LINGER_TEST_CHROMIUM`.

mod chromium;
mod devtools;
mod gate;
mod page;
mod server;

use std::{
    path::PathBuf,
    sync::atomic::{AtomicU32, Ordering},
    time::{Duration, Instant},
};

use anyhow::{Context, Result};

pub use self::{
    chromium::Chromium,
    gate::Gate,
    page::{Page, Viewport},
    server::Server,
};

/// The variable that names the server's binary.
pub const SERVER_VARIABLE: &str = "LINGER_TEST_SERVER";

/// The variable that names the browser's binary.
pub const CHROMIUM_VARIABLE: &str = "LINGER_TEST_CHROMIUM";

fn program(variable: &str) -> Result<PathBuf> {
    let path = std::env::var_os(variable).with_context(|| {
        format!("{variable} is not set; run these tests as `cargo xtask test browser`")
    })?;
    Ok(PathBuf::from(path))
}

/// A folder of this process's own that is removed when it is dropped.
#[derive(Debug)]
struct Scratch(PathBuf);

impl Scratch {
    fn new(purpose: &str) -> Result<Self> {
        static COUNTER: AtomicU32 = AtomicU32::new(0);
        let number = COUNTER.fetch_add(1, Ordering::Relaxed);
        let name = format!("linger-{purpose}-{}-{number}", std::process::id());
        let path = std::env::temp_dir().join(name);
        std::fs::create_dir(&path).with_context(|| format!("create {}", path.display()))?;
        Ok(Self(path))
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // A browser's helpers may still write for a moment after the browser itself has ended.
        let deadline = Instant::now() + Duration::from_secs(5);
        while let Err(error) = std::fs::remove_dir_all(&self.0) {
            if Instant::now() > deadline {
                eprintln!("{} is left behind: {error}", self.0.display());
                break;
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}
