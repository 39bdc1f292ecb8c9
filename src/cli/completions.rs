//! `completions`: scripts for shells.

use std::{io, process::ExitCode};

use clap::CommandFactory;

use crate::cli::Cli;

/// Prints the completion script.
pub(super) fn run(shell: clap_complete::Shell) -> ExitCode {
    clap_complete::generate(shell, &mut Cli::command(), "cfapi-broker", &mut io::stdout());
    ExitCode::SUCCESS
}
