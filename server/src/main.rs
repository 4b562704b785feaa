//! The `linger` binary: reads the command line, gets the process its rights, runs the command.

use std::process::ExitCode;

use linger::{cli, hosts};

fn main() -> ExitCode {
    let command = cli::parse();
    // Before any thread is started: a user namespace cannot be entered later.
    hosts::prepare_process();
    cli::execute(command)
}
