//! Any programs, on the hosts of a run of their own.
//!
//! This is the one way to start a program, and only the command line has it: it is no experiment of
//! the list, so no request finds it by its name (`runs::Manager::start_own`).

mod settings;

use std::{
    ffi::OsString,
    sync::{Arc, OnceLock},
    time::Duration,
};

use linger_shared::{
    event::{HostName, Mode},
    experiment::{Descriptor, Params, Value},
    middlebox::Middlebox,
    rule::RuleSpec,
    units::human,
};

pub use self::settings::{KEYS, SettingError, links};
use crate::{
    experiments::{Experiment, Script},
    hosts::{Ended, Launch, Process},
    lab::{Lab, LabError, LinkPlan, Plan, Stack},
    wire::Cut,
};

/// How long a program that was asked to end may take before it is killed.
const LAST_WORDS: Duration = Duration::from_secs(2);

/// How long connections may take to close after the client's program has ended.
const CLOSING: Duration = Duration::from_secs(1);

/// Programs that are to be run, and what is to happen to them.
#[derive(Debug, Clone)]
pub struct Programs {
    /// The client's command line, for `sh -c`. Its end is the end of the run.
    pub client: String,
    /// The server's; without one the host is there, and nobody listens.
    pub server: Option<String>,
    /// The proxy's; without one there is no such host.
    pub proxy: Option<String>,
    /// What joins the hosts.
    pub links: Vec<LinkPlan>,
    /// What stands on the first link.
    pub middlebox: Option<Middlebox>,
    /// Rules of the wire, armed before anything is started.
    pub rules: Vec<RuleSpec>,
    /// The client is started when the others listen, or after this time.
    pub grace: Duration,
    /// How long after the client's start the path is cut.
    pub cut_after: Option<Duration>,
    /// How long after the client's start it is healed.
    pub heal_after: Option<Duration>,
    /// After which time the client's program is ended.
    pub duration: Option<Duration>,
    /// Whether the client's program reads Linger's standard input.
    pub stdin: bool,
    /// How the client's program ended, for whoever waits for the run.
    pub outcome: Arc<OnceLock<Outcome>>,
}

/// How the client's program ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outcome {
    /// How.
    pub ended: Ended,
    /// The last line that it wrote to its standard error; empty where there was none.
    pub last_words: String,
}

/// The hosts of a run of programs, in the order of their lanes.
pub fn hosts(with_proxy: bool) -> Vec<HostName> {
    let mut hosts = vec![HostName::Client, HostName::Server];
    if with_proxy {
        hosts.insert(1, HostName::Proxy);
    }
    hosts
}

impl Programs {
    /// What the header records of them.
    pub fn params(&self, settings: &[(String, String)]) -> Params {
        let mut values = vec![("client".to_owned(), self.client.clone())];
        for (name, command) in [("server", &self.server), ("proxy", &self.proxy)] {
            values.extend(
                command
                    .iter()
                    .map(|command| (name.to_owned(), command.clone())),
            );
        }
        values.extend(settings.iter().cloned());
        values.extend(
            self.middlebox
                .iter()
                .map(|middlebox| ("middlebox".to_owned(), middlebox.to_string())),
        );
        for (name, time) in [
            ("cut-after", self.cut_after),
            ("heal-after", self.heal_after),
            ("duration", self.duration),
        ] {
            values.extend(time.map(|time| (name.to_owned(), human(micros(time)))));
        }
        Params::recorded(
            values
                .into_iter()
                .map(|(name, value)| (name, Value::Text(value)))
                .collect(),
        )
    }
}

impl Experiment for Programs {
    fn id(&self) -> &'static str {
        "exec"
    }

    fn descriptor(&self) -> Descriptor {
        let server = self.server.as_deref().map(word);
        Descriptor {
            id: self.id().to_owned(),
            title: match server {
                Some(server) => format!("{} and {server}", word(&self.client)),
                None => word(&self.client),
            },
            question: "What do these programs do on this path?".to_owned(),
            family: "Free play".to_owned(),
            modes: vec![Mode::Packets],
            explanation: vec![
                "Any programs, each on a host of its own, on a path with these conditions."
                    .to_owned(),
            ],
            look_for: Vec::new(),
            misconception: String::new(),
            params: Vec::new(),
            presets: Vec::new(),
            claims: Vec::new(),
            references: Vec::new(),
        }
    }

    fn plan(&self, _: &Params) -> Plan {
        let lasts = self.duration.map_or(u64::MAX, |duration| {
            micros(self.grace.saturating_add(duration))
        });
        Plan {
            links: self.links.clone(),
            middlebox: self.middlebox.clone(),
            ..Plan::symmetric(0, lasts)
        }
    }

    fn run<'a>(&'a self, lab: &'a mut Lab, _: &'a Params) -> Script<'a> {
        Box::pin(self.script(lab))
    }
}

impl Programs {
    async fn script(&self, lab: &mut Lab) -> Result<(), LabError> {
        for rule in &self.rules {
            lab.arm(rule.clone())?.stay();
        }
        let mut listening = Vec::new();
        // The proxy may want to reach the server as soon as it starts.
        for (command, name) in [
            (&self.server, HostName::Server),
            (&self.proxy, HostName::Proxy),
        ] {
            if let Some(command) = command {
                lab.chapter(&format!("Start the {name}'s program"));
                let program = start(&lab.host(name), command, false).await?;
                self.until_it_listens(lab, name, &program).await?;
                listening.push(program);
            }
        }
        lab.chapter("Start the client's program");
        let client = start(&lab.client(), &self.client, self.stdin).await?;
        let mut cut = None;
        let ended = self.until_it_ends(lab, &client, &mut cut).await;
        let _ = self.outcome.set(Outcome {
            ended,
            last_words: client.last_words(),
        });
        // What the client has sent last is still answered.
        lab.until_closed(CLOSING).await;
        for program in &listening {
            end(program).await;
        }
        // What nothing has healed was no shorter than the run.
        if let Some(cut) = cut {
            cut.stay();
        }
        Ok(())
    }

    /// Waits until the program listens, or the grace is over.
    async fn until_it_listens(
        &self,
        lab: &Lab,
        host: HostName,
        program: &Process,
    ) -> Result<(), LabError> {
        tokio::select! {
            biased;
            listens = lab.until_listening(host, self.grace) => {
                if !listens {
                    lab.remark(&format!(
                        "The {host}'s program does not listen after {}; what comes next is started all \
                         the same.",
                        human(micros(self.grace))
                    ));
                }
                Ok(())
            }
            ended = program.ended() => Err(LabError::Unmet(format!(
                "the {host}'s program {} before it listened{}",
                in_words(ended),
                quoted(&program.last_words())
            ))),
        }
    }

    /// Waits for the end of the client's program; cuts and heals the path meanwhile. A path that is
    /// cut then stays so.
    async fn until_it_ends(&self, lab: &Lab, client: &Process, cut: &mut Option<Cut>) -> Ended {
        let faults = async {
            let mut passed = Duration::ZERO;
            let mut steps: Vec<(Duration, bool)> = Vec::new();
            steps.extend(self.cut_after.map(|after| (after, true)));
            steps.extend(self.heal_after.map(|after| (after, false)));
            steps.sort_unstable();
            for (after, cuts) in steps {
                tokio::time::sleep(after - passed).await;
                passed = after;
                *cut = cuts.then(|| lab.cut(&self.hosts()));
            }
            std::future::pending::<()>().await;
        };
        let over = async {
            match self.duration {
                Some(duration) => tokio::time::sleep(duration).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            biased;
            ended = client.ended() => ended,
            () = over => {
                lab.remark("Its time is over: the client's program is asked to end.");
                end(client).await
            }
            () = faults => client.ended().await,
        }
    }

    fn hosts(&self) -> Vec<HostName> {
        hosts(self.proxy.is_some())
    }
}

async fn start(stack: &Stack, command: &str, stdin: bool) -> Result<Arc<Process>, LabError> {
    stack
        .start(Launch {
            name: word(command),
            shown: command.to_owned(),
            program: OsString::from("sh"),
            arguments: vec!["-c".into(), command.into()],
            environment: Vec::new(),
            names: Vec::new(),
            reads_stdin: stdin,
        })
        .await
}

/// Asks a program to end, and kills it where it does not.
async fn end(program: &Process) -> Ended {
    program.terminate("script");
    match tokio::time::timeout(LAST_WORDS, program.ended()).await {
        Ok(ended) => ended,
        Err(_) => {
            program.kill("script");
            program.ended().await
        }
    }
}

/// How a program ended, as a part of a sentence.
pub fn in_words(ended: Ended) -> String {
    match ended {
        Ended::Exited(127) => "was not found (exit status 127)".to_owned(),
        Ended::Exited(126) => "could not be executed (exit status 126)".to_owned(),
        Ended::Exited(code) => format!("ended with exit status {code}"),
        Ended::Killed(signal) => format!("was ended by signal {signal}"),
    }
}

/// What a program said last, behind a colon.
pub fn quoted(last_words: &str) -> String {
    match last_words {
        "" => String::new(),
        words => format!(": {words}"),
    }
}

/// The program of a command line in a word: what comes behind assignments, without its folder.
fn word(command: &str) -> String {
    let program = command
        .split_whitespace()
        .find(|word| !word.contains('=') && *word != "exec" && *word != "env");
    program
        .and_then(|program| program.rsplit('/').next())
        .filter(|name| !name.is_empty())
        .unwrap_or("sh")
        .to_owned()
}

fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_is_called_by_the_word_that_names_it() {
        assert_eq!(word("curl -s http://server/"), "curl");
        assert_eq!(word("LANG=C exec /usr/bin/node server.js"), "node");
        assert_eq!(word("  "), "sh");
    }

    #[test]
    fn it_is_no_experiment_that_a_request_could_name() {
        assert!(crate::experiments::find("exec").is_none());
        assert!(crate::experiments::nearest("exec").is_none_or(|name| name != "exec"));
    }
}
