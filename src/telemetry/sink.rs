//! Where log lines go: a thread of their own writes them, so that whoever stops reading standard output stops nothing
//! else (`reliability.md` R29).
//!
//! Invariant: nobody who logs waits. What waits to be written is bounded; beyond it ordinary lines are lost and counted,
//! while audit lines have room of their own, and no mutation may begin once half of that is taken ([`Sink::has_room`]).
//! `logs` writes here; `http` asks for room; `cli` waits for the last line.

use std::{
    fmt,
    io::{self, Write},
    sync::{
        Arc, Condvar, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::Duration,
};

use prometheus_client::metrics::counter::Counter;
use tokio::time::Instant;
use tracing_subscriber::fmt::MakeWriter;

/// Bytes that may wait to be written: some 1500 lines, half a second at the rate below.
const ROOM: usize = 1024 * 1024;
/// Further bytes for audit lines: the mutations of all 256 requests in flight leave less than 1 MiB.
const AUDIT_ROOM: usize = 4 * 1024 * 1024;
/// The platform drops lines beyond this rate (`proxy.md` 7), whichever they are; so we choose which.
const PER_SECOND: u32 = 4000;
/// How long lines gather while others are being written: 200 writes a second at most, and nobody who reads a log
/// notices.
const GATHER: Duration = Duration::from_millis(5);
/// How often the loss of lines is told.
const TELL_EVERY: Duration = Duration::from_secs(1);

/// Which lines may be lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// Any but the one below.
    Ordinary,
    /// Intent or outcome of a mutation: never.
    Audit,
}

/// Takes lines for the thread that writes them; a clone is shallow.
#[derive(Clone, Default)]
pub struct Sink(Arc<Shared>);

#[derive(Default)]
struct Shared {
    queue: Mutex<Queue>,
    filled: Condvar,
    written: Condvar,
    /// Set while audit lines have less than half of their room left.
    full: AtomicBool,
    lost: Counter,
}

#[derive(Default)]
struct Queue {
    lines: Vec<u8>,
    /// The thread sleeps until it is woken.
    asleep: bool,
    /// Lines are on their way out of the process.
    writing: bool,
    /// An audit line waits.
    urgent: bool,
    second: Option<Instant>,
    in_second: u32,
}

impl Queue {
    /// Counts an ordinary line; whether it is within the rate.
    fn is_within_rate(&mut self, now: Instant) -> bool {
        let since = self.second.map(|begun| now.saturating_duration_since(begun));
        if since.is_none_or(|since| since >= Duration::from_secs(1)) {
            self.second = Some(now);
            self.in_second = 0;
        }
        self.in_second += 1;
        self.in_second <= PER_SECOND
    }
}

impl Sink {
    /// Starts the thread that writes to `out`.
    ///
    /// # Errors
    /// If the operating system has no thread left.
    pub(super) fn start(out: impl Write + Send + 'static) -> io::Result<Self> {
        let sink = Self::default();
        let shared = Arc::clone(&sink.0);
        thread::Builder::new().name("log".to_owned()).spawn(move || shared.write_to(out))?;
        Ok(sink)
    }

    /// Takes one or several whole lines.
    pub(super) fn push(&self, lines: &[u8], kind: Kind) {
        let shared = &self.0;
        let mut queue = shared.queue();
        let room = match kind {
            Kind::Ordinary if queue.is_within_rate(Instant::now()) => ROOM,
            Kind::Ordinary => 0,
            Kind::Audit => ROOM + AUDIT_ROOM,
        };
        if queue.lines.len() + lines.len() > room {
            drop(queue);
            shared.lost.inc();
            return;
        }
        queue.lines.extend_from_slice(lines);
        shared.full.store(queue.lines.len() > ROOM + AUDIT_ROOM / 2, Ordering::Relaxed);
        queue.urgent |= kind == Kind::Audit;
        let wake = queue.asleep || queue.urgent;
        queue.asleep = false;
        drop(queue);
        if wake {
            shared.filled.notify_one();
        }
    }

    /// Returns whether a mutation may begin: its audit lines will find room.
    pub fn has_room(&self) -> bool {
        !self.0.full.load(Ordering::Relaxed)
    }

    /// Counts lines that were lost; to be registered.
    pub fn lost(&self) -> Counter {
        self.0.lost.clone()
    }

    /// Waits until all lines are out, at most `patience`.
    pub fn finish(&self, patience: Duration) {
        let queue = self.0.queue();
        let busy = |queue: &mut Queue| queue.writing || !queue.lines.is_empty();
        drop(self.0.written.wait_timeout_while(queue, patience, busy));
    }
}

impl Shared {
    fn queue(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn write_to(&self, mut out: impl Write) {
        let mut lines = Vec::new();
        let mut told = (0, Instant::now());
        loop {
            self.take(&mut lines);
            // A closed pipe must not take the service down.
            drop(out.write_all(&lines).and_then(|()| out.flush()));
            lines.clear();
            told = self.tell_losses(told);
        }
    }

    /// Waits for lines and takes them all.
    fn take(&self, lines: &mut Vec<u8>) {
        let mut queue = self.queue();
        queue.writing = false;
        if queue.lines.is_empty() {
            self.written.notify_all();
        }
        let gathering = |queue: &mut Queue| !queue.urgent;
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

    /// Says how many lines are missing, now and then; the line goes the way of all others.
    fn tell_losses(&self, (told, at): (u64, Instant)) -> (u64, Instant) {
        let (lost, now) = (self.lost.get(), Instant::now());
        if lost == told || now.saturating_duration_since(at) < TELL_EVERY {
            return (told, at);
        }
        tracing::warn!(lines = lost - told, "log lines were lost: standard output is too slow");
        (lost, now)
    }
}

/// Each write is a whole line.
impl Write for Sink {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        self.push(line, Kind::Ordinary);
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl MakeWriter<'_> for Sink {
    type Writer = Self;

    fn make_writer(&self) -> Self {
        self.clone()
    }
}

impl fmt::Debug for Sink {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sink").field("has_room", &self.has_room()).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::{
        io::{self, Write},
        sync::{Arc, Mutex, mpsc},
        time::Duration,
    };

    use super::{AUDIT_ROOM, Kind, PER_SECOND, ROOM, Sink};

    /// Blocks in its first write until it is let go.
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
        sink: Sink,
        free: mpsc::Sender<()>,
        seen: Arc<Mutex<Vec<u8>>>,
    }

    /// A sink whose reader does not read.
    fn stuck() -> Stuck {
        let (free, gate) = mpsc::channel();
        let seen = Arc::default();
        let sink = Sink::start(Pipe { gate: Some(gate), seen: Arc::clone(&seen) }).unwrap();
        sink.push(b"first\n", Kind::Ordinary);
        while !sink.0.queue().lines.is_empty() {
            std::thread::yield_now();
        }
        Stuck { sink, free, seen }
    }

    impl Stuck {
        fn read(self) -> String {
            self.free.send(()).unwrap();
            self.sink.finish(Duration::from_secs(60));
            String::from_utf8(self.seen.lock().unwrap().clone()).unwrap()
        }
    }

    #[test]
    fn lines_come_out_in_their_order() {
        let stuck = stuck();
        stuck.sink.push(b"second\n", Kind::Audit);
        stuck.sink.push(b"third\n", Kind::Ordinary);
        assert_eq!(stuck.read(), "first\nsecond\nthird\n");
    }

    #[test]
    fn beyond_the_room_ordinary_lines_are_lost_and_counted_and_audit_lines_are_not() {
        let stuck = stuck();
        let line = [&[b'x'; 1023][..], b"\n"].concat();
        for _ in 0..=ROOM / 1024 {
            stuck.sink.push(&line, Kind::Ordinary);
        }
        assert_eq!(stuck.sink.lost().get(), 1);
        stuck.sink.push(b"intent\n", Kind::Audit);
        assert_eq!(stuck.sink.lost().get(), 1);
        let text = stuck.read();
        assert_eq!(text.lines().count(), ROOM / 1024 + 2);
        assert!(text.ends_with("intent\n"));
    }

    #[test]
    fn no_mutation_begins_while_audit_lines_have_less_than_half_of_their_room() {
        let stuck = stuck();
        let line = vec![b'x'; 1024 * 1024];
        for _ in 0..=AUDIT_ROOM / 2 / line.len() {
            assert!(stuck.sink.has_room());
            stuck.sink.push(&line, Kind::Audit);
        }
        stuck.sink.push(b"\n", Kind::Audit);
        assert!(!stuck.sink.has_room());
        let sink = stuck.sink.clone();
        stuck.read();
        assert!(sink.has_room());
    }

    #[test]
    fn beyond_the_rate_ordinary_lines_are_lost() {
        let stuck = stuck();
        for _ in 0..PER_SECOND + 10 {
            stuck.sink.push(b"a\n", Kind::Ordinary);
        }
        // The first line counts, too; a slow machine may have begun another second.
        assert!(stuck.sink.lost().get() <= 11);
        let sink = stuck.sink.clone();
        assert_eq!(u64::try_from(stuck.read().lines().count()).unwrap(), {
            u64::from(PER_SECOND) + 11 - sink.lost().get()
        });
    }
}
