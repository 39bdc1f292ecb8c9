//! The log writer: a separate thread writes the lines, so that a blocked standard output blocks
//! nothing else.
//!
//! Invariant: logging never waits. The queue is bounded: beyond the limit ordinary lines are
//! dropped and counted. Audit lines have extra capacity, and no mutation may begin once half of
//! that is used ([`LogWriter::has_room`]). `logs` writes here; `http` asks for capacity; `cli`
//! waits for the last line.

use std::{
    fmt,
    io::{self, Write},
    sync::{
        Arc, Condvar, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use prometheus_client::metrics::counter::Counter;
use tokio::time::Instant;

use crate::telemetry::foreign::without_tokens;

/// Bytes that may wait to be written: about 1500 lines, almost half a second at the rate below.
const CAPACITY: usize = 1024 * 1024;
/// Further bytes for audit lines: the mutations of all 256 requests in flight need less than 1 MiB.
const AUDIT_CAPACITY: usize = 4 * 1024 * 1024;
/// Cloud Foundry drops lines beyond this rate, whichever they are; so the broker chooses which
/// lines it drops.
const PER_SECOND: u64 = 4000;
/// Part of this rate that only warnings and errors may use: masses of requests, refused ones above
/// all, must not displace them.
const RESERVED_FOR_NOTABLE: u64 = 500;
/// How far back, in seconds, a timestamp may be and still count for the current second: its thread
/// was suspended after it read the clock. A clock that was set back further starts a new second.
const LATE: u64 = 2;
/// How long lines are collected before they are written: at most 50 writes per second, since each
/// takes CPU from the requests. An audit line is written at once.
const GATHER: Duration = Duration::from_millis(20);
/// Mask of the lower half of the second's state.
const COUNT: u64 = 0xffff_ffff;
/// How often the loss of lines is reported.
const REPORT_EVERY: Duration = Duration::from_secs(1);

/// Which lines may be dropped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum LinePriority {
    /// All other lines.
    Ordinary,
    /// A warning or an error: not dropped because of ordinary lines.
    Notable,
    /// Intent or outcome of a mutation: never dropped by the rate.
    Audit,
}

/// Queues lines for the thread that writes them; a clone is shallow.
#[derive(Clone, Default)]
pub struct LogWriter(Arc<WriterInner>);

#[derive(Default)]
struct WriterInner {
    queue: Mutex<LineQueue>,
    filled: Condvar,
    written: Condvar,
    /// Set while audit lines have less than half of their capacity left.
    full: AtomicBool,
    /// The second since the epoch in the upper half, and the number of accepted lines in it.
    in_second: AtomicU64,
    lost: Counter,
}

#[derive(Default)]
struct LineQueue {
    lines: Vec<u8>,
    /// The writer thread sleeps until it is woken.
    asleep: bool,
    /// Lines are being written.
    writing: bool,
    /// The queue has lines that should not wait.
    urgent: bool,
}

impl LogWriter {
    /// Starts the thread that writes to `out`.
    ///
    /// # Errors
    /// If the operating system cannot start a thread.
    pub(super) fn start(out: impl Write + Send + 'static) -> io::Result<Self> {
        let writer = Self::default();
        let inner = Arc::clone(&writer.0);
        thread::Builder::new().name("log".to_owned()).spawn(move || inner.write_to(out))?;
        Ok(writer)
    }

    /// Returns whether a line is within the rate, before it is formatted; a refused line counts as
    /// lost. Must be called once for each line, with the time since the epoch.
    pub(super) fn takes(&self, priority: LinePriority, now: Duration) -> bool {
        let limit = match priority {
            LinePriority::Ordinary => PER_SECOND - RESERVED_FOR_NOTABLE,
            LinePriority::Notable => PER_SECOND,
            // Counted as well, so that other lines make room: Cloud Foundry drops any line.
            LinePriority::Audit => COUNT,
        };
        let taken = self.0.is_within_rate(now, limit);
        if !taken {
            self.0.lost.inc();
        }
        taken
    }

    /// Queues one or several whole lines.
    pub(super) fn push(&self, lines: &[u8], priority: LinePriority) {
        let inner = &self.0;
        let mut queue = inner.queue();
        let limit = match priority {
            LinePriority::Ordinary | LinePriority::Notable => CAPACITY,
            LinePriority::Audit => CAPACITY + AUDIT_CAPACITY,
        };
        if queue.lines.len() + lines.len() > limit {
            drop(queue);
            inner.lost.inc();
            return;
        }
        queue.lines.extend_from_slice(lines);
        inner.full.store(queue.lines.len() > CAPACITY + AUDIT_CAPACITY / 2, Ordering::Relaxed);
        // Audit lines do not wait, nor do lines that use half of the capacity.
        let urgent =
            (priority == LinePriority::Audit || queue.lines.len() > CAPACITY / 2) && !queue.urgent;
        let wake = queue.asleep || urgent;
        queue.urgent |= urgent;
        queue.asleep = false;
        drop(queue);
        if wake {
            inner.filled.notify_one();
        }
    }

    /// Returns whether a mutation may begin: its audit lines will have capacity.
    pub fn has_room(&self) -> bool {
        !self.0.full.load(Ordering::Relaxed)
    }

    /// Returns the counter of lost lines, for registration.
    pub fn lost(&self) -> Counter {
        self.0.lost.clone()
    }

    /// Waits until all lines are written, at most `timeout`.
    pub fn finish(&self, timeout: Duration) {
        let queue = self.0.queue();
        let busy = |queue: &mut LineQueue| queue.writing || !queue.lines.is_empty();
        drop(self.0.written.wait_timeout_while(queue, timeout, busy));
    }
}

impl WriterInner {
    fn queue(&self) -> MutexGuard<'_, LineQueue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Counts a line; returns whether it is within the rate.
    fn is_within_rate(&self, now: Duration, limit: u64) -> bool {
        let counted = |state| counted(state, now, limit);
        self.in_second.fetch_update(Ordering::Relaxed, Ordering::Relaxed, counted).is_ok()
    }

    fn write_to(&self, mut out: impl Write) {
        let mut lines = Vec::new();
        let mut reported = (0, Instant::now());
        loop {
            self.take(&mut lines);
            // A closed pipe must not stop the service.
            let shown = without_tokens(&lines);
            drop(out.write_all(&shown).and_then(|()| out.flush()));
            lines.clear();
            reported = self.report_losses(reported);
        }
    }

    /// Waits for lines and takes them all.
    fn take(&self, lines: &mut Vec<u8>) {
        let mut queue = self.queue();
        queue.writing = false;
        if queue.lines.is_empty() {
            self.written.notify_all();
        }
        let gathering = |queue: &mut LineQueue| !queue.urgent;
        let gathered = self.filled.wait_timeout_while(queue, GATHER, gathering);
        queue = gathered.unwrap_or_else(PoisonError::into_inner).0;
        while queue.lines.is_empty() {
            queue.asleep = true;
            queue = self.filled.wait(queue).unwrap_or_else(PoisonError::into_inner);
        }
        std::mem::swap(&mut queue.lines, lines);
        queue.urgent = false;
        queue.writing = true;
        self.full.store(false, Ordering::Relaxed);
    }

    /// Reports the number of lost lines from time to time, as a log line.
    fn report_losses(&self, (reported, at): (u64, Instant)) -> (u64, Instant) {
        let (lost, now) = (self.lost.get(), Instant::now());
        if lost == reported || now.saturating_duration_since(at) < REPORT_EVERY {
            return (reported, at);
        }
        // In a second that is full this line itself would be lost.
        let state = self.in_second.load(Ordering::Relaxed);
        if counted(state, since_epoch(), PER_SECOND).is_none() {
            return (reported, at);
        }
        tracing::warn!(lines = lost - reported, "log lines were lost: standard output is too slow");
        (lost, now)
    }
}

/// Returns the state of the second with one more line; `None` beyond the limit.
fn counted(state: u64, now: Duration, limit: u64) -> Option<u64> {
    let (known, now) = (state >> 32, now.as_secs() & COUNT);
    let is_late = now < known && known - now <= LATE;
    let second = if is_late { known } else { now };
    let count = if second == known { state & COUNT } else { 0 };
    (count < limit).then_some(second << 32 | (count + 1))
}

/// Returns the wall time since the epoch.
#[expect(
    clippy::disallowed_methods,
    reason = "a log line states the wall time at which it was written"
)]
pub(super) fn since_epoch() -> Duration {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()
}

impl fmt::Debug for LogWriter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LogWriter").field("has_room", &self.has_room()).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::{
        io::{self, Write},
        sync::{Arc, Mutex, mpsc},
        time::Duration,
    };

    use super::{
        AUDIT_CAPACITY, CAPACITY, LinePriority, LogWriter, PER_SECOND, RESERVED_FOR_NOTABLE,
    };

    /// Blocks in its first write until it is released.
    struct Pipe {
        gate: Option<mpsc::Receiver<()>>,
        seen: Arc<Mutex<Vec<u8>>>,
    }

    impl Write for Pipe {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            if let Some(gate) = self.gate.take() {
                gate.recv().unwrap();
            }
            self.seen.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    struct Stuck {
        writer: LogWriter,
        free: mpsc::Sender<()>,
        seen: Arc<Mutex<Vec<u8>>>,
    }

    /// A writer whose output blocks.
    fn stuck() -> Stuck {
        let (free, gate) = mpsc::channel();
        let seen = Arc::default();
        let writer = LogWriter::start(Pipe { gate: Some(gate), seen: Arc::clone(&seen) }).unwrap();
        writer.push(b"first\n", LinePriority::Ordinary);
        while !writer.0.queue().lines.is_empty() {
            std::thread::yield_now();
        }
        Stuck { writer, free, seen }
    }

    impl Stuck {
        fn read(self) -> String {
            self.free.send(()).unwrap();
            self.writer.finish(Duration::from_secs(60));
            String::from_utf8(self.seen.lock().unwrap().clone()).unwrap()
        }
    }

    #[test]
    fn lines_are_written_in_order() {
        let stuck = stuck();
        stuck.writer.push(b"second\n", LinePriority::Audit);
        stuck.writer.push(b"third\n", LinePriority::Ordinary);
        assert_eq!(stuck.read(), "first\nsecond\nthird\n");
    }

    #[test]
    fn beyond_the_capacity_ordinary_lines_are_dropped_and_counted_and_audit_lines_are_not() {
        let stuck = stuck();
        let line = [&[b'x'; 1023][..], b"\n"].concat();
        for _ in 0..=CAPACITY / 1024 {
            stuck.writer.push(&line, LinePriority::Ordinary);
        }
        assert_eq!(stuck.writer.lost().get(), 1);
        stuck.writer.push(b"intent\n", LinePriority::Audit);
        assert_eq!(stuck.writer.lost().get(), 1);
        let text = stuck.read();
        assert_eq!(text.lines().count(), CAPACITY / 1024 + 2);
        assert!(text.ends_with("intent\n"));
    }

    #[test]
    fn no_mutation_begins_while_audit_lines_have_less_than_half_of_their_capacity() {
        let stuck = stuck();
        let line = vec![b'x'; 1024 * 1024];
        for _ in 0..=AUDIT_CAPACITY / 2 / line.len() {
            assert!(stuck.writer.has_room());
            stuck.writer.push(&line, LinePriority::Audit);
        }
        stuck.writer.push(b"\n", LinePriority::Audit);
        assert!(!stuck.writer.has_room());
        let writer = stuck.writer.clone();
        stuck.read();
        assert!(writer.has_room());
    }

    const NOW: Duration = Duration::from_millis(1_793_534_400_900);

    /// Returns how many lines are accepted of more than a second allows.
    fn taken(writer: &LogWriter, priority: LinePriority, now: Duration) -> u64 {
        let taken = (0..PER_SECOND + 10).filter(|_| writer.takes(priority, now)).count();
        u64::try_from(taken).unwrap()
    }

    #[test]
    fn beyond_the_rate_ordinary_lines_are_lost() {
        let writer = stuck().writer;
        assert_eq!(taken(&writer, LinePriority::Ordinary, NOW), PER_SECOND - RESERVED_FOR_NOTABLE);
        assert_eq!(writer.lost().get(), RESERVED_FOR_NOTABLE + 10);
        let next = NOW + Duration::from_millis(100);
        assert_eq!(taken(&writer, LinePriority::Ordinary, next), PER_SECOND - RESERVED_FOR_NOTABLE);
    }

    #[test]
    fn warnings_have_a_reserved_part_of_the_rate_and_audit_lines_are_unlimited() {
        let writer = stuck().writer;
        taken(&writer, LinePriority::Ordinary, NOW);
        assert_eq!(taken(&writer, LinePriority::Notable, NOW), RESERVED_FOR_NOTABLE);
        assert_eq!(taken(&writer, LinePriority::Audit, NOW), PER_SECOND + 10);
        assert!(!writer.takes(LinePriority::Notable, NOW), "they count as well");
    }

    #[test]
    fn a_late_thread_does_not_restart_the_second() {
        let (writer, minute) = (stuck().writer, Duration::from_secs(60));
        let (now, late) = (NOW + minute, NOW + Duration::from_secs(59));
        taken(&writer, LinePriority::Ordinary, now);
        assert!(
            !writer.takes(LinePriority::Ordinary, late)
                && !writer.takes(LinePriority::Ordinary, now)
        );
        assert!(writer.takes(LinePriority::Ordinary, NOW), "a clock that was set");
    }

    #[test]
    fn lines_that_use_half_of_the_capacity_are_written_at_once() {
        let stuck = stuck();
        let line = [&[b'x'; 1023][..], b"\n"].concat();
        for _ in 0..CAPACITY / 2 / line.len() {
            stuck.writer.push(&line, LinePriority::Ordinary);
        }
        assert!(!stuck.writer.0.queue().urgent);
        stuck.writer.push(&line, LinePriority::Ordinary);
        assert!(stuck.writer.0.queue().urgent);
    }
}
