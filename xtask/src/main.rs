//! Linger's own tasks, run as `cargo xtask TASK`.
//!
//! `play` goes from a fresh clone to a running playground, `web` builds the front-end alone,
//! `test` runs everything that must pass, `fuzz` looks for inputs that break a dissector, `bench`
//! runs the benchmarks, `experiments` writes down what the experiments measure, `screenshots` renews
//! the pictures of the page. None of them needs Trunk, Node or Python.

mod bench;
mod cargo;
mod compress;
mod experiments;
mod fuzz;
mod page;
mod play;
mod progress;
mod settings;
mod test;
mod toolchain;
mod web;

use std::process::ExitCode;

use anyhow::{Result, bail};

const HELP: &str = "\
Linger's own tasks.

Usage: cargo xtask <TASK>

Tasks:
  play [--open] [--listen ADDR]    Build everything and start the playground
  web                              Build the front-end alone, into target/web/dist
  test [STAGE]... [--require-all]  Run everything that must pass, or some stages of it
  fuzz [TARGET]... [--runs N]      Give the dissectors inputs that libFuzzer makes up
  experiments [ID]... [--runs N]   Run the experiments and write what they measured
  bench [NAME]...                  Run the benchmarks, or some of them
  screenshots                      Renew the pictures in docs/screenshots

`cargo xtask TASK --help` tells more.
";

const PLAY_HELP: &str = "\
From a fresh clone to a running playground.

Adds the WebAssembly target to the compiler when it is missing, builds the front-end and the
server in release mode, and starts the server, which carries the front-end inside it.

Usage: cargo xtask play [OPTIONS]

Options:
  --open           Open a browser once the page is there
  --listen ADDR    Listen there instead of on 127.0.0.1:8080 (or a free port beside it)

Examples:
  cargo xtask play --open
  cargo xtask play --listen 127.0.0.1:9000
";

const WEB_HELP: &str = "\
Build the front-end into target/web/dist: the page, its script, the WebAssembly module and the
assets, each also as .br and .gz.

Usage: cargo xtask web
";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match run(&arguments) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: &[String]) -> Result<ExitCode> {
    let Some((task, rest)) = arguments.split_first() else {
        print!("{HELP}");
        return Ok(ExitCode::from(2));
    };
    let wants_help = rest
        .iter()
        .any(|argument| argument == "--help" || argument == "-h");
    match task.as_str() {
        "-h" | "--help" | "help" => print!("{HELP}"),
        "play" if wants_help => print!("{PLAY_HELP}"),
        "web" if wants_help => print!("{WEB_HELP}"),
        "test" if wants_help => print!("{}", test::HELP),
        "bench" if wants_help => print!("{}", bench::HELP),
        "play" => return play::play(play_options(rest)?),
        "web" => {
            if let Some(other) = rest.first() {
                bail!("`{other}` is not known to `cargo xtask web`, which takes no arguments");
            }
            web::build(&mut progress::Steps::new(web::STEPS))?;
        }
        "experiments" if wants_help => print!("{}", experiments::HELP),
        "experiments" => return experiments::run(&experiments::Options::parse(rest)?),
        "bench" => return bench::run(rest),
        "fuzz" if wants_help => print!("{}", fuzz::HELP),
        "fuzz" => return fuzz::run(&fuzz::Options::parse(rest)?),
        "test" => return test::run(test::Options::parse(rest)?),
        "screenshots" => return test::screenshots(),
        // What `play --open` starts beside itself.
        play::HELPER => return play::pass_on_and_open(),
        other => {
            bail!(
                "`{other}` is no task; it is one of play, web, test, fuzz, bench, experiments, \
                   screenshots"
            );
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn play_options(arguments: &[String]) -> Result<play::Options> {
    let mut options = play::Options::default();
    let mut arguments = arguments.iter();
    while let Some(argument) = arguments.next() {
        match argument.as_str() {
            "--open" => options.open = true,
            "--listen" => match arguments.next() {
                Some(address) => options.listen = Some(address.clone()),
                None => bail!("--listen needs an address, such as 127.0.0.1:8080"),
            },
            other => match other.strip_prefix("--listen=") {
                Some(address) => options.listen = Some(address.to_owned()),
                None => bail!("`{other}` is not known to play; see `cargo xtask play --help`"),
            },
        }
    }
    Ok(options)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options(arguments: &[&str]) -> Result<play::Options> {
        let arguments: Vec<String> = arguments.iter().map(|&text| text.to_owned()).collect();
        play_options(&arguments)
    }

    #[test]
    fn play_takes_an_address_in_both_notations() {
        let expected = play::Options {
            open: true,
            listen: Some("127.0.0.1:9000".to_owned()),
        };
        for arguments in [
            ["--open", "--listen", "127.0.0.1:9000"].as_slice(),
            &["--listen=127.0.0.1:9000", "--open"],
        ] {
            assert_eq!(options(arguments).unwrap(), expected);
        }
    }

    #[test]
    fn what_play_does_not_know_is_named() {
        assert!(
            options(&["--opne"])
                .unwrap_err()
                .to_string()
                .contains("--opne")
        );
        assert!(
            options(&["--listen"])
                .unwrap_err()
                .to_string()
                .contains("address")
        );
    }
}
