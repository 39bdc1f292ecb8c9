//! The command line: `Cli`, its commands and their exit codes.
//!
//! Invariant: results go to standard output, messages to standard error. An error says what is
//! wrong, its source and what to do, without a stack trace. Only `main` calls this.

mod completions;
mod config;
#[cfg(feature = "sandbox")]
mod sandbox;
mod serve;

use std::{
    io::{self, Write},
    path::PathBuf,
    process::ExitCode,
};

use clap::{Parser, Subcommand, ValueEnum};

use crate::{
    config::{Flags, problem::ConfigProblems},
    lifecycle::Signals,
};

/// Exit code for an invalid configuration (`EX_CONFIG` of sysexits).
const BAD_CONFIGURATION: u8 = 78;

/// Acts on the Cloud Foundry API as a technical user, for provider apps on SAP BTP.
#[derive(Debug, Parser)]
#[command(
    version,
    propagate_version = true,
    after_help = "Examples:\n  cfapi-broker sandbox\n  PORT=8080 cfapi-broker serve"
)]
pub struct Cli {
    /// Settings file (TOML). Default: `CFAPI_CONFIG`, else config/local.toml if it exists.
    #[arg(long, global = true, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Format of the log lines.
    #[arg(long, global = true, value_enum)]
    log: Option<LogForm>,
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum LogForm {
    /// JSON on the platform or in a pipe, text on a terminal.
    Auto,
    /// One JSON object per line.
    Json,
    /// Text for people.
    Human,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Runs the broker on PORT (the default command).
    #[command(
        after_help = "Examples:\n  PORT=8080 cfapi-broker serve\n  cfapi-broker --config broker.toml serve"
    )]
    Serve,
    /// Starts a simulated landscape and a broker on this machine, in memory. No account is needed.
    #[cfg(feature = "sandbox")]
    Sandbox(sandbox::SandboxArgs),
    /// Prints the effective settings with their source, and the bindings without their values.
    Config(config::ConfigArgs),
    /// Prints a completion script for a shell.
    #[command(
        after_help = "Examples:\n  cfapi-broker completions bash > ~/.bash_completion.d/cfapi-broker\n  cfapi-broker completions zsh"
    )]
    Completions {
        /// The shell.
        shell: clap_complete::Shell,
    },
}

impl Cli {
    fn flags(&self) -> Flags {
        let log = self.log.map(|form| match form {
            LogForm::Auto => "auto".to_owned(),
            LogForm::Json => "json".to_owned(),
            LogForm::Human => "human".to_owned(),
        });
        Flags { file: self.config.clone(), log }
    }
}

/// Runs the command and returns the process's exit code.
pub async fn run(cli: Cli) -> ExitCode {
    let flags = cli.flags();
    match cli.command.unwrap_or(Command::Serve) {
        Command::Serve => match listen_for_signals() {
            Ok(signals) => serve::run(&flags, signals).await,
            Err(code) => code,
        },
        #[cfg(feature = "sandbox")]
        Command::Sandbox(args) => match listen_for_signals() {
            Ok(signals) => sandbox::run(&flags, args, signals).await,
            Err(code) => code,
        },
        Command::Config(args) => config::run(&flags, args),
        Command::Completions { shell } => completions::run(shell),
    }
}

/// Takes over the signals before anything is started or announced. A signal that comes while the
/// command starts is handled as soon as it runs, and the command ends as after any other stop.
fn listen_for_signals() -> Result<Signals, ExitCode> {
    Signals::listen().map_err(|error| {
        fail(&CommandError::new("cannot listen for signals", "operating system", error.to_string()))
    })
}

/// Why a command failed: what is wrong, its source, what to do.
#[derive(Clone, Debug)]
pub struct CommandError {
    what: String,
    source: String,
    hint: String,
}

impl CommandError {
    /// Creates an error; `what` is lower case, without full stop.
    pub fn new(
        what: impl Into<String>,
        source: impl Into<String>,
        hint: impl Into<String>,
    ) -> Self {
        Self { what: what.into(), source: source.into(), hint: hint.into() }
    }
}

/// Prints an error on standard error; exit code 1.
pub fn fail(error: &CommandError) -> ExitCode {
    print_error(&format!(
        "error: {}\n  source: {}\n  hint: {}",
        error.what, error.source, error.hint
    ));
    ExitCode::FAILURE
}

/// Prints the configuration problems on standard error; exit code 78.
fn misconfigured(problems: &ConfigProblems) -> ExitCode {
    print_error(&format!("error: {problems}"));
    ExitCode::from(BAD_CONFIGURATION)
}

/// Writes to standard output; a closed pipe is no error.
fn print_line(text: &str) {
    drop(writeln!(io::stdout(), "{text}"));
}

/// As [`print_line`], for text that has its line ends.
fn print_bytes(text: &[u8]) {
    drop(io::stdout().write_all(text));
}

/// Writes to standard error; a closed pipe is no error.
fn print_error(text: &str) {
    drop(writeln!(io::stderr(), "{text}"));
}
