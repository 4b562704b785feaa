//! The real server, as a process of its own, and a client just large enough to ask it questions
//! behind the browser's back.

use std::{
    io::{BufRead, BufReader},
    net::SocketAddr,
    process::{Child, Command, Stdio},
    time::Duration,
};

use anyhow::{Context, Result, bail};
use linger_shared::event::Event;
use serde_json::Value;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::{Instant, sleep, timeout},
};

use crate::{SERVER_VARIABLE, Scratch, program};

/// How long the server may take to start, to answer or to end.
const PATIENCE: Duration = Duration::from_secs(20);

/// A running server with a data folder of its own; both are gone when it is dropped.
#[derive(Debug)]
pub struct Server {
    process: Child,
    address: SocketAddr,
    data: Scratch,
    options: Vec<&'static str>,
}

impl Server {
    /// Starts a server on a free port of loopback.
    ///
    /// # Errors
    /// When it cannot be started or does not say where it listens.
    pub fn start() -> Result<Self> {
        Self::start_with(&[])
    }

    /// As [`start`](Self::start), with more of the options that `linger serve` has.
    ///
    /// # Errors
    /// As [`start`](Self::start).
    pub fn start_with(options: &[&'static str]) -> Result<Self> {
        let data = Scratch::new("server")?;
        let (process, address) = spawn(SocketAddr::from(([127, 0, 0, 1], 0)), &data, options)?;
        Ok(Self {
            process,
            address,
            data,
            options: options.to_vec(),
        })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The page's address, with a path such as `/e/tcp-lifecycle`.
    pub fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    /// Asks it to end, as Ctrl-C does, and waits until it has.
    ///
    /// # Errors
    /// When it does not end in time, or not cleanly.
    pub async fn stop(&mut self) -> Result<()> {
        let pid = self.process.id().to_string();
        let sent = Command::new("kill").args(["-INT", &pid]).status();
        if !sent.is_ok_and(|status| status.success()) {
            bail!("the server with pid {pid} cannot be told to end");
        }
        let deadline = Instant::now() + PATIENCE;
        loop {
            match self.process.try_wait().context("wait for the server")? {
                Some(status) if status.success() => return Ok(()),
                Some(status) => bail!("the server ended with {status}"),
                None if Instant::now() > deadline => bail!("the server goes on after Ctrl-C"),
                None => sleep(Duration::from_millis(20)).await,
            }
        }
    }

    /// Ends it at once, as a crash or a power failure would.
    ///
    /// # Errors
    /// When the process cannot be ended.
    pub fn kill(&mut self) -> Result<()> {
        self.process.kill().context("kill the server")?;
        self.process.wait().context("wait for the server").map(drop)
    }

    /// Starts it again after [`stop`](Self::stop) or [`kill`](Self::kill), at the same address and with the same data.
    ///
    /// # Errors
    /// As [`start`](Self::start).
    pub fn restart(&mut self) -> Result<()> {
        let (process, _) = spawn(self.address, &self.data, &self.options)?;
        self.process = process;
        Ok(())
    }

    /// Asks the API.
    ///
    /// # Errors
    /// When it does not answer in time with status 200.
    pub async fn get(&self, path: &str) -> Result<String> {
        let asked = async {
            let mut stream = TcpStream::connect(self.address).await?;
            let request = format!(
                "GET {path} HTTP/1.0\r\nHost: {}\r\nConnection: close\r\n\r\n",
                self.address
            );
            stream.write_all(request.as_bytes()).await?;
            let mut answer = Vec::new();
            stream.read_to_end(&mut answer).await?;
            anyhow::Ok(String::from_utf8(answer)?)
        };
        let answer = timeout(PATIENCE, asked)
            .await
            .with_context(|| format!("GET {path}: no answer after {PATIENCE:?}"))?
            .with_context(|| format!("GET {path}"))?;
        let (head, body) = answer.split_once("\r\n\r\n").context("no head")?;
        let status = head.lines().next().unwrap_or_default();
        if status.split(' ').nth(1) != Some("200") {
            bail!("GET {path}: {status}\n{body}");
        }
        Ok(body.to_owned())
    }

    /// How a run stands, as `GET /api/runs/{id}` tells it.
    ///
    /// # Errors
    /// As [`get`](Self::get).
    pub async fn run(&self, id: &str) -> Result<Value> {
        let text = self.get(&format!("/api/runs/{id}")).await?;
        serde_json::from_str(&text).with_context(|| format!("run {id}"))
    }

    /// Waits until a run is over, and gives its state.
    ///
    /// # Errors
    /// When it is not over after `patience`.
    pub async fn run_over(&self, id: &str, patience: Duration) -> Result<String> {
        let deadline = Instant::now() + patience;
        loop {
            let run = self.run(id).await?;
            let state = run["state"].as_str().unwrap_or_default().to_owned();
            if ["finished", "cancelled", "failed"].contains(&state.as_str()) {
                return Ok(state);
            }
            if Instant::now() > deadline {
                bail!("run {id} is still {state} after {patience:?}");
            }
            sleep(Duration::from_millis(50)).await;
        }
    }

    /// Everything that is recorded of a run so far.
    ///
    /// # Errors
    /// As [`get`](Self::get), and when a line is no event.
    pub async fn events(&self, id: &str) -> Result<Vec<Event>> {
        let text = self.get(&format!("/api/runs/{id}/events?from=0")).await?;
        text.lines()
            .filter(|line| {
                serde_json::from_str::<Value>(line).is_ok_and(|line| line["seq"].is_u64())
            })
            .map(|line| serde_json::from_str(line).with_context(|| format!("no event: {line}")))
            .collect()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn spawn(listen: SocketAddr, data: &Scratch, options: &[&str]) -> Result<(Child, SocketAddr)> {
    let program = program(SERVER_VARIABLE)?;
    let mut process = Command::new(&program)
        .args(["serve", "--listen", &listen.to_string(), "--data"])
        .arg(&data.0)
        .args(options)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .with_context(|| format!("start {}", program.display()))?;
    let stdout = process.stdout.take().context("the server's output")?;
    let mut lines = BufReader::new(stdout).lines();
    let address = lines.by_ref().map_while(Result::ok).find_map(|line| {
        let (_, rest) = line.split_once("http://")?;
        let end = rest.find(|c: char| !(c.is_ascii_digit() || ".:[]".contains(c)));
        rest[..end.unwrap_or(rest.len())].parse().ok()
    });
    let Some(address) = address else {
        let _ = process.kill();
        let status = process.wait();
        bail!("the server did not say where it listens ({status:?})");
    };
    // What else it says is read, so that it never waits for a reader.
    std::thread::spawn(move || lines.for_each(drop));
    Ok((process, address))
}
