//! Viewers over real WebSockets, in a process of their own.

use std::{
    io::{BufRead, BufReader, Read},
    net::SocketAddr,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use futures_util::StreamExt;
use tokio_tungstenite::{connect_async, tungstenite::Message};

/// The argument that makes this program one of viewers.
pub(crate) const WORD: &str = "watch-as-viewers";

/// Viewers of one run.
pub(crate) struct Viewers {
    child: Child,
    told: BufReader<std::process::ChildStdout>,
}

/// What they were told.
pub(crate) struct Told {
    /// Bytes of JSON, all of them together.
    pub(crate) bytes: u64,
    /// From the first event that came to any until the last one had all of them.
    pub(crate) took: Duration,
}

impl Viewers {
    /// Starts so many; returns when all of them are greeted.
    pub(crate) fn start(address: SocketAddr, run: &str, count: usize) -> Self {
        let program = std::env::current_exe().expect("this program has a file");
        let mut child = Command::new(program)
            .args([WORD, &address.to_string(), run, &count.to_string()])
            .stdout(Stdio::piped())
            .spawn()
            .expect("this program can be started");
        let mut told = BufReader::new(child.stdout.take().expect("it is piped"));
        let mut line = String::new();
        told.read_line(&mut line).expect("it speaks");
        assert_eq!(line, "greeted\n");
        Self { child, told }
    }

    /// Waits until all of them have been told all.
    pub(crate) fn ended(mut self) -> Told {
        let mut rest = String::new();
        self.told.read_to_string(&mut rest).expect("it speaks");
        assert!(self.child.wait().expect("it ends").success());
        let mut figures = rest.split_whitespace().map(|word| word.parse::<u64>());
        let mut figure = || figures.next().expect("two figures").expect("numbers");
        Told {
            bytes: figure(),
            took: Duration::from_micros(figure()),
        }
    }

    /// Ends them without a word.
    pub(crate) fn end(mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// What the other process does: watches, and says on standard output how it went.
pub(crate) fn watch(address: &str, run: &str, count: usize) {
    let _ = rlimit::increase_nofile_limit(u64::MAX);
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime starts");
    runtime.block_on(async {
        let url = format!("ws://{address}/api/runs/{run}/events");
        let mut viewers = tokio::task::JoinSet::new();
        let (greeted, mut greetings) = tokio::sync::mpsc::unbounded_channel();
        for _ in 0..count {
            let (socket, _) = connect_async(&url).await.expect("viewers are welcome");
            let greeted = greeted.clone();
            viewers.spawn(async move {
                let mut socket = socket;
                let (mut bytes, mut first) = (0, None);
                while let Some(Ok(message)) = socket.next().await {
                    let Message::Text(text) = message else {
                        continue;
                    };
                    if text.starts_with(r#"{"message":"hello""#) {
                        let _ = greeted.send(());
                    } else if text.starts_with(r#"{"message":"events""#) {
                        first.get_or_insert_with(Instant::now);
                        bytes += text.len() as u64;
                    } else if text.starts_with(r#"{"message":"end""#) {
                        break;
                    }
                }
                (bytes, first, Instant::now())
            });
        }
        for _ in 0..count {
            greetings.recv().await.expect("each is greeted");
        }
        println!("greeted");
        let (mut bytes, mut first, mut last) = (0, None::<Instant>, Instant::now());
        while let Some(ended) = viewers.join_next().await {
            let (its, began, end) = ended.expect("a viewer ends");
            bytes += its;
            first = first.min(began).or(first).or(began);
            last = last.max(end);
        }
        let took = first.map_or(Duration::ZERO, |first| last.duration_since(first));
        println!("{bytes} {}", took.as_micros());
    });
}
