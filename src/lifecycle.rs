//! Signals and exit: SIGTERM or SIGINT starts draining, a second one ends the process at once.
//!
//! Invariant: after the first signal, readiness is 503 and the listener closes; running work is
//! awaited until the deadline. Only `app` and `cli` call this.

use std::io;

use tokio::{
    runtime::Runtime,
    signal::unix::{Signal, SignalKind, signal},
    time::Instant,
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

/// Handles for draining and background tasks; a clone is shallow.
#[derive(Clone, Debug, Default)]
pub struct Lifecycle {
    /// Cancelled when the broker must stop accepting work.
    pub draining: CancellationToken,
    /// Background tasks: renewals, mutations, key fetches.
    pub tasks: TaskTracker,
}

impl Lifecycle {
    /// Waits for the tasks to end, at most until `deadline`.
    pub async fn wait_for_tasks(&self, deadline: Instant) {
        self.tasks.close();
        if tokio::time::timeout_at(deadline, self.tasks.wait()).await.is_err() {
            tracing::warn!(
                tasks = self.tasks.len(),
                "tasks were still running at the end of the drain time"
            );
        }
    }
}

/// The signals that the broker handles.
#[derive(Debug)]
pub struct Signals {
    term: Signal,
    interrupt: Signal,
    hangup: Signal,
}

/// The action of a signal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SignalAction {
    /// SIGTERM or SIGINT.
    Stop,
    /// SIGHUP: read the destination again.
    Reload,
}

impl Signals {
    /// Starts listening for signals.
    ///
    /// # Errors
    /// If the operating system refuses a handler.
    pub fn listen() -> io::Result<Self> {
        Ok(Self {
            term: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            hangup: signal(SignalKind::hangup())?,
        })
    }

    /// Waits for the next signal.
    ///
    /// # Cancel safety
    /// Dropping the future loses no signal.
    pub async fn next(&mut self) -> SignalAction {
        tokio::select! {
            _ = self.term.recv() => SignalAction::Stop,
            _ = self.interrupt.recv() => SignalAction::Stop,
            _ = self.hangup.recv() => SignalAction::Reload,
        }
    }
}

/// Protects the process: no core dump, no access to its environment or memory by other processes.
///
/// Best effort: if the platform refuses, the broker is as safe as any other program there. The
/// panic hook prints only the location, because the text of a panic may quote data.
pub fn harden() {
    use rustix::process::{DumpableBehavior, Resource, Rlimit, set_dumpable_behavior, setrlimit};
    _ = set_dumpable_behavior(DumpableBehavior::NotDumpable);
    _ = setrlimit(Resource::Core, Rlimit { current: Some(0), maximum: Some(0) });
    std::panic::set_hook(Box::new(|panic| {
        let place = panic.location().map_or_else(String::new, ToString::to_string);
        tracing::error!(stacktrace = place, "panic");
    }));
}

/// Runs a future to its end and returns its output, without waiting for blocked threads: a name
/// resolution of the operating system may take longer than the platform waits for the exit.
pub fn run_and_shut_down<T>(runtime: Runtime, program: impl Future<Output = T>) -> T {
    let outcome = runtime.block_on(program);
    runtime.shutdown_background();
    outcome
}

#[cfg(test)]
mod tests {
    use super::run_and_shut_down;
    use std::{sync::mpsc, thread, time::Duration};

    #[test]
    fn a_blocked_thread_does_not_delay_the_exit() {
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
        let (release, held) = mpsc::channel::<()>();
        let (ended, end) = mpsc::channel();
        let program = async move {
            tokio::task::spawn_blocking(move || held.recv());
            7
        };
        let running = thread::spawn(move || ended.send(run_and_shut_down(runtime, program)));
        let outcome = end.recv_timeout(Duration::from_secs(5));
        drop(release);
        assert_eq!(outcome, Ok(7));
        running.join().unwrap().unwrap();
    }
}
