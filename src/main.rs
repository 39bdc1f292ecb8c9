//! The `cfapi-broker` program: parse, run, exit code (0 drained, 1 the port is taken or a second
//! signal came, 2 wrong usage, 78 bad configuration).

use std::process::ExitCode;

use cfapi_broker::{cli, lifecycle};
use clap::Parser;

fn main() -> ExitCode {
    lifecycle::harden();
    let cli = cli::Cli::parse();
    match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => lifecycle::run_and_shut_down(runtime, cli::run(cli)),
        Err(error) => cli::fail(&cli::CommandError::new(
            "the runtime does not start",
            "operating system",
            error.to_string(),
        )),
    }
}
