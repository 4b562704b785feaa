//! Starts a browser of the test's own and ends it.

use std::{
    process::{Child, Command, Stdio},
    time::Duration,
};

use anyhow::{Context, Result, bail};
use serde_json::json;
use tokio::time::{Instant, sleep};

use crate::{CHROMIUM_VARIABLE, Page, Scratch, devtools::Connection, program};

/// How long a browser may take to start or to end.
const PATIENCE: Duration = Duration::from_secs(30);

/// Headless, and silent towards every network: it is to speak to the server under test alone.
const FLAGS: [&str; 11] = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-dev-shm-usage",
    "--hide-scrollbars",
    "--remote-debugging-port=0",
];

/// A running browser with a profile of its own; both are gone when it is dropped.
#[derive(Debug)]
pub struct Chromium {
    process: Child,
    connection: Connection,
    // Removed after the process has ended: fields are dropped in this order, after `drop`.
    _profile: Scratch,
}

impl Chromium {
    /// Starts a browser.
    ///
    /// # Errors
    /// When it cannot be started or does not offer the DevTools protocol in time.
    pub async fn start() -> Result<Self> {
        let program = program(CHROMIUM_VARIABLE)?;
        let profile = Scratch::new("chromium")?;
        let process = Command::new(&program)
            .args(FLAGS)
            .arg(format!("--user-data-dir={}", profile.0.display()))
            .arg("about:blank")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .with_context(|| format!("start {}", program.display()))?;
        let mut process = KillOnDrop(Some(process));
        let port_file = profile.0.join("DevToolsActivePort");
        let deadline = Instant::now() + PATIENCE;
        let address = loop {
            if let Ok(text) = std::fs::read_to_string(&port_file)
                && let Some((port, path)) = text.trim_end().split_once('\n')
            {
                break format!("ws://127.0.0.1:{port}{path}");
            }
            if let Some(status) = process.child()?.try_wait()? {
                bail!("{} ended at once: {status}", program.display());
            }
            if Instant::now() > deadline {
                bail!(
                    "{} offers no DevTools after {PATIENCE:?}",
                    program.display()
                );
            }
            sleep(Duration::from_millis(20)).await;
        };
        let connection = Connection::open(&address).await?;
        Ok(Self {
            process: process.0.take().context("the browser was started")?,
            connection,
            _profile: profile,
        })
    }

    /// Opens an empty tab.
    ///
    /// # Errors
    /// When the browser does not answer.
    pub async fn page(&self) -> Result<Page> {
        let target = self
            .connection
            .call(None, "Target.createTarget", json!({"url": "about:blank"}))
            .await?;
        let target = target["targetId"].as_str().context("no target id")?;
        let session = self
            .connection
            .call(
                None,
                "Target.attachToTarget",
                json!({"targetId": target, "flatten": true}),
            )
            .await?;
        let session = session["sessionId"].as_str().context("no session id")?;
        Page::attach(self.connection.clone(), session.to_owned()).await
    }

    /// Ends the browser without a word to anyone, as a crash would.
    ///
    /// # Errors
    /// When the process cannot be ended.
    pub fn kill(&mut self) -> Result<()> {
        self.process.kill().context("kill the browser")?;
        self.process
            .wait()
            .context("wait for the browser")
            .map(drop)
    }
}

impl Drop for Chromium {
    fn drop(&mut self) {
        // Asked to end, it ends its helpers first and stops writing to its profile.
        let _ = Command::new("kill")
            .arg(self.process.id().to_string())
            .status();
        let deadline = std::time::Instant::now() + PATIENCE;
        while matches!(self.process.try_wait(), Ok(None)) && std::time::Instant::now() < deadline {
            std::thread::sleep(Duration::from_millis(10));
        }
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// Ends the browser where starting it does not come to its end.
struct KillOnDrop(Option<Child>);

impl KillOnDrop {
    fn child(&mut self) -> Result<&mut Child> {
        self.0.as_mut().context("the browser was started")
    }
}

impl Drop for KillOnDrop {
    fn drop(&mut self) {
        if let Some(mut child) = self.0.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}
