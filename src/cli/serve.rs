//! `serve`: settings and bindings → `Broker` → run until a signal.

use std::{process::ExitCode, time::Duration};

use crate::{
    app::{self, Broker, StartupError},
    cli::{CommandError, fail, misconfigured},
    config::{self, Flags, Loaded, ReadResult, env::EnvSnapshot, problem::ConfigProblems},
    lifecycle::{SignalAction, Signals},
    telemetry::{logs, writer::LogWriter},
};

/// How long the exit waits for a reader of the log. The drain time leaves two seconds before the
/// platform kills the process.
const LAST_LINES: Duration = Duration::from_secs(1);

/// Runs the broker until a signal stops it.
pub(super) async fn run(flags: &Flags, signals: Signals) -> ExitCode {
    let snapshot = match EnvSnapshot::take() {
        Ok(snapshot) => snapshot,
        Err(problems) => return misconfigured(&problems),
    };
    let loaded = match configuration(&snapshot, flags) {
        Ok(loaded) => loaded,
        Err(problems) => return refuse(&snapshot, &problems),
    };
    let log = start_logs(&loaded, &snapshot);
    let broker = match Broker::build(loaded.settings, &snapshot).await {
        Ok(broker) => broker.with_log(log),
        Err(StartupError::Configuration(problems)) => return refuse(&snapshot, &problems),
        Err(StartupError::Listen { address, error }) => {
            return fail(&CommandError::new(
                format!("cannot listen on {address}: {error}"),
                "variable PORT",
                "choose a free port",
            ));
        }
    };
    until_signalled(broker, signals).await
}

/// Reads settings and bindings.
///
/// # Errors
/// All problems of both, at once.
pub(super) fn configuration(
    snapshot: &EnvSnapshot,
    flags: &Flags,
) -> Result<Loaded, ConfigProblems> {
    let ReadResult { loaded, mut problems } = config::read(snapshot, flags);
    let Some(loaded) = loaded else { return Err(problems) };
    if let Err(more) = app::bindings(&loaded.settings, snapshot) {
        problems.extend(more);
    }
    problems.or(loaded)
}

/// Runs the app until SIGTERM or SIGINT has drained it; a second signal ends it at once.
pub(super) async fn until_signalled(broker: Broker, mut signals: Signals) -> ExitCode {
    let (stop, log) = (broker.stopper(), broker.log());
    let vault = broker.vault();
    let running = broker.run();
    tokio::pin!(running);
    loop {
        tokio::select! {
            () = &mut running => {
                log.finish(LAST_LINES);
                return ExitCode::SUCCESS;
            }
            action = signals.next() => match action {
                SignalAction::Reload => vault.reread(),
                SignalAction::Stop if stop.is_cancelled() => return ExitCode::FAILURE,
                SignalAction::Stop => stop.cancel(),
            },
        }
    }
}

/// Starts logging with the fields that name this instance. If the log thread cannot start, the
/// broker runs without a log.
pub(super) fn start_logs(loaded: &Loaded, snapshot: &EnvSnapshot) -> LogWriter {
    let identity = crate::app::log_identity(snapshot);
    logs::init(loaded.settings.log.format, snapshot.get("RUST_LOG"), &identity).unwrap_or_default()
}

/// On the platform, writes one ERROR line per problem and then their count; elsewhere prints a
/// text.
fn refuse(snapshot: &EnvSnapshot, problems: &ConfigProblems) -> ExitCode {
    if snapshot.get("VCAP_APPLICATION").is_some() {
        let identity = crate::app::log_identity(snapshot);
        let log = logs::init(logs::LogFormat::Json, None, &identity).unwrap_or_default();
        for problem in problems.iter() {
            tracing::error!(hint = problem.hint, "{problem}");
        }
        tracing::error!(count = problems.iter().count(), "the configuration is not valid");
        log.finish(LAST_LINES);
    }
    misconfigured(problems)
}
