//! `config`: the effective settings with their source, and the bindings with masked values.

use std::{fmt::Write, process::ExitCode};

use crate::{
    app,
    cli::{misconfigured, print_line, serve},
    config::{Flags, Loaded, env::EnvSnapshot},
};

/// Options of `config`.
#[derive(Clone, Copy, Debug, clap::Args)]
#[command(after_help = "Examples:\n  cfapi-broker config\n  cfapi-broker config --check")]
pub(super) struct ConfigArgs {
    /// Print only the problems, or `configuration ok`.
    #[arg(long)]
    check: bool,
}

/// Prints the settings or their problems.
pub(super) fn run(flags: &Flags, args: ConfigArgs) -> ExitCode {
    let snapshot = match EnvSnapshot::take() {
        Ok(snapshot) => snapshot,
        Err(problems) => return misconfigured(&problems),
    };
    let loaded = match serve::configuration(&snapshot, flags) {
        Ok(loaded) => loaded,
        Err(problems) => return misconfigured(&problems),
    };
    let bindings = match app::bindings(&loaded.settings, &snapshot) {
        Ok(bindings) => bindings,
        Err(problems) => return misconfigured(&problems),
    };
    if args.check {
        print_line("configuration ok");
    } else {
        print_line(&print(&loaded, &bindings));
    }
    ExitCode::SUCCESS
}

fn print(loaded: &Loaded, bindings: &app::BoundServices) -> String {
    let mut text = String::new();
    for (key, entry) in loaded.layers.entries() {
        // Writing to a string cannot fail.
        _ = writeln!(text, "{key} = {}   # {}", entry.value, entry.source);
    }
    for line in bindings.inventory() {
        _ = writeln!(text, "{line}");
    }
    text.truncate(text.trim_end().len());
    text
}
