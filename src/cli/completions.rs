//! `completions`: scripts for shells.

use std::process::ExitCode;

use clap::CommandFactory;

use crate::cli::{Cli, print_bytes};

/// Prints the completion script.
pub(super) fn run(shell: clap_complete::Shell) -> ExitCode {
    // Into memory first: the generator panics when its output is closed.
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "cfapi-broker", &mut script);
    print_bytes(&script);
    ExitCode::SUCCESS
}
