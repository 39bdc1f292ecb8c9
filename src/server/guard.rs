//! A guard on a connection: a head that has begun must be complete in time, its first line is kept as it came, and an
//! answer must be taken in.
//!
//! hyper has one limit for an idle connection and for a slow head, and the platform's router wants idle connections kept
//! longer than a slow head may last. So the guard counts for itself: waiting (no limit of its own) → head (from its
//! first byte) → request (from the moment in which hyper hands the request over, until its answer is out).
//!
//! Invariant: hyper gets one head at a time and nothing behind it before the answer is out, so that each byte is known
//! to be of a head or of a body. Where a body is chunked its end is not known; what is sent behind it before the answer
//! is out has no known request line and is refused. Only `server` uses it.

mod patience;
mod room;

use std::{
    io,
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll, Waker, ready},
    time::Duration,
};

use http::{Method, Uri};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    time::{Instant, Sleep, sleep_until},
};

use patience::Patience;
use room::Share;

use crate::server::{
    connection::Limits,
    head::{Head, LONGEST_LINE},
};

pub(super) use room::Room;

/// Bytes of one request's head; the platform's router passes at most this much. hyper answers 431 to more.
pub(super) const MAX_HEAD: usize = 64 * 1024;
/// How long a closing connection takes in what the client still sends: closed at once, the client would lose the answer
/// to a reset. Longer would help only those who never stop.
const LINGER: Duration = Duration::from_secs(1);
/// What is taken in at once meanwhile.
const SCRATCH: usize = 8 * 1024;

/// How much of a request's body is still to come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Body {
    /// So many bytes.
    Exactly(u64),
    /// Chunks until the last one.
    Chunked,
}

/// Whether hyper's parser saw the target that was sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Target {
    /// Byte for byte, or too long to tell.
    Whole,
    /// Something was cut off, such as a fragment, or the line is not known.
    Cut,
}

/// Where a conversation stands.
#[derive(Clone, Copy, Debug)]
enum Phase {
    /// Nothing of the next head has come.
    Waiting,
    /// A head has begun.
    Head { until: Instant },
    /// hyper has the head.
    Request { body: Body, answer: Answer },
}

/// Whether the answer to a request is out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Answer {
    Pending,
    Out,
}

/// What the reading side of a connection and its service tell each other.
#[derive(Debug)]
pub(super) struct Watch(Mutex<Shared>);

#[derive(Debug)]
struct Shared {
    phase: Phase,
    head: Head,
    /// What the head takes beyond the ordinary.
    share: Share,
    /// A request, whole.
    whole: Duration,
    /// When the last request that began ends at the latest, its answer included.
    end: Option<Instant>,
    /// Set while reading is held back until the answer is out.
    reader: Option<Waker>,
    /// Whether the client may still be sending when the connection closes.
    unread: bool,
    stopping: bool,
}

impl Watch {
    fn lock(&self) -> MutexGuard<'_, Shared> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes that the head is complete and handed over; disarms the timer.
    pub(super) fn begin(&self, method: &Method, uri: &Uri, body: Body) -> Target {
        let mut shared = self.lock();
        let target = compare(shared.head.line(), method, uri);
        shared.head.reset();
        shared.share.release();
        shared.end = Some(Instant::now() + shared.whole);
        shared.unread = body != Body::Exactly(0);
        shared.phase = Phase::Request { body, answer: Answer::Pending };
        target
    }

    /// Notes that the answer is out; the next head may come.
    pub(super) fn finish(&self) {
        let mut shared = self.lock();
        if let Phase::Request { body, .. } = shared.phase {
            shared.phase = match body {
                Body::Exactly(0) | Body::Chunked => Phase::Waiting,
                Body::Exactly(_) => Phase::Request { body, answer: Answer::Out },
            };
        }
        let reader = shared.reader.take();
        drop(shared);
        if let Some(reader) = reader {
            reader.wake();
        }
    }

    /// Returns when the last request that began ends at the latest.
    fn end(&self) -> Option<Instant> {
        self.lock().end
    }

    /// Ends the connection if a head is under way, now or later.
    pub(super) fn stop(&self) {
        self.lock().stopping = true;
    }
}

/// Compares the line as it came with what the parser made of it; an absolute target is cut to its path by the parser
/// and refused for its form.
fn compare(line: &[u8], method: &Method, uri: &Uri) -> Target {
    let target = uri.path_and_query().map_or("", |target| target.as_str());
    let rest = line.strip_prefix(method.as_str().as_bytes()).and_then(|r| r.strip_prefix(b" "));
    let rest = rest.and_then(|rest| rest.strip_prefix(target.as_bytes()));
    let whole = rest.is_some_and(|rest| rest.starts_with(b" "));
    let too_long = line.len() == LONGEST_LINE && target.len() >= LONGEST_LINE - 32;
    if whole || too_long { Target::Whole } else { Target::Cut }
}

/// A connection whose heads must come in time.
#[derive(Debug)]
pub(super) struct Guarded<S> {
    stream: S,
    watch: Arc<Watch>,
    limit: Duration,
    timer: Option<Pin<Box<Sleep>>>,
    /// Bytes of the next head that came too early.
    held: Vec<u8>,
    /// Until when a closing connection takes in what comes.
    lingering: Option<Instant>,
    patience: Patience,
}

impl<S> Guarded<S> {
    /// Guards a stream; large heads share `room` with those of other connections.
    pub(super) fn new(stream: S, limits: Limits, room: Room) -> (Self, Arc<Watch>) {
        let watch = Arc::new(Watch(Mutex::new(Shared {
            phase: Phase::Waiting,
            head: Head::default(),
            share: Share::of(room),
            whole: limits.whole,
            end: None,
            reader: None,
            unread: false,
            stopping: false,
        })));
        let guarded = Self {
            stream,
            watch: Arc::clone(&watch),
            limit: limits.head,
            timer: None,
            held: Vec::new(),
            lingering: None,
            patience: Patience::new(limits.still),
        };
        (guarded, watch)
    }

    /// Waits for a moment; the timer is made only for those who must wait.
    fn poll_until(&mut self, until: Instant, context: &mut Context<'_>) -> Poll<()> {
        let timer = self.timer.get_or_insert_with(|| Box::pin(sleep_until(until)));
        if timer.deadline() != until {
            timer.as_mut().reset(until);
        }
        timer.as_mut().poll(context)
    }
}

impl Shared {
    /// Judges bytes that the client sent; returns how many of them hyper may have now.
    fn pass(&mut self, bytes: &[u8], limit: Duration) -> io::Result<usize> {
        match self.phase {
            Phase::Waiting | Phase::Head { .. } => {
                if matches!(self.phase, Phase::Waiting) {
                    // The line of a head that hyper refused, or of one that came without being seen.
                    self.head.reset();
                    self.unread = true;
                    self.phase = Phase::Head { until: Instant::now() + limit };
                }
                let room = MAX_HEAD.saturating_sub(self.head.taken());
                let end = self.head.feed(bytes);
                if !self.share.grow(self.head.taken().min(MAX_HEAD)) {
                    return Err(io::ErrorKind::OutOfMemory.into());
                }
                if self.head.is_preface() {
                    return Err(io::Error::new(io::ErrorKind::InvalidData, "HTTP/2 is not spoken"));
                }
                // hyper reads on as long as its buffer happens to have room: without this its limit is not exact.
                Ok(end.unwrap_or(bytes.len()).min(room))
            }
            Phase::Request { body: Body::Chunked, .. } => Ok(bytes.len()),
            Phase::Request { body: Body::Exactly(left), answer } => {
                let came = u64::try_from(bytes.len()).unwrap_or(u64::MAX);
                let left_then = left.saturating_sub(came);
                self.unread = left_then > 0;
                self.phase = match (left_then, answer) {
                    (0, Answer::Out) => Phase::Waiting,
                    _ => Phase::Request { body: Body::Exactly(left_then), answer },
                };
                Ok(usize::try_from(left).map_or(bytes.len(), |left| left.min(bytes.len())))
            }
        }
    }

    /// Whether the connection may close on a client that is still sending and has been given an answer.
    fn owes_an_ear(&self) -> bool {
        self.unread && !(self.stopping && matches!(self.phase, Phase::Head { .. }))
    }

    fn is_held_back(&self) -> bool {
        matches!(self.phase, Phase::Request { body: Body::Exactly(0), answer: Answer::Pending })
    }
}

impl<S: AsyncRead + Unpin> Guarded<S> {
    /// Gives out what was held back, or reads; what hyper may not have yet is held back.
    fn poll_more(
        &mut self,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        if self.held.is_empty() {
            ready!(Pin::new(&mut self.stream).poll_read(context, buffer))?;
        } else {
            let room = buffer.remaining().min(self.held.len());
            buffer.put_slice(self.held.get(..room).unwrap_or_default());
            self.held.drain(..room);
        }
        let came = buffer.filled().get(before..).unwrap_or_default();
        if came.is_empty() {
            return Poll::Ready(Ok(()));
        }
        let passed = self.watch.lock().pass(came, self.limit)?;
        let surplus = came.get(passed..).unwrap_or_default();
        if !surplus.is_empty() {
            self.held.splice(..0, surplus.iter().copied());
            buffer.set_filled(before + passed);
        }
        Poll::Ready(Ok(()))
    }

    /// While an answer is being made only the end of the connection is of interest.
    fn poll_hang_up(
        &mut self,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.held.is_empty() {
            let before = buffer.filled().len();
            ready!(Pin::new(&mut self.stream).poll_read(context, buffer))?;
            let came = buffer.filled().get(before..).unwrap_or_default();
            if came.is_empty() {
                return Poll::Ready(Ok(()));
            }
            self.held.extend_from_slice(came);
            buffer.set_filled(before);
        }
        self.watch.lock().reader = Some(context.waker().clone());
        Poll::Pending
    }

    /// Takes in and forgets what a client still sends to a connection that closes.
    fn poll_linger(&mut self, until: Instant, context: &mut Context<'_>) -> Poll<()> {
        let mut scratch = [0; SCRATCH];
        loop {
            if self.poll_until(until, context).is_ready() {
                return Poll::Ready(());
            }
            let mut buffer = ReadBuf::new(&mut scratch);
            match ready!(Pin::new(&mut self.stream).poll_read(context, &mut buffer)) {
                Ok(()) if !buffer.filled().is_empty() => {}
                Ok(()) | Err(_) => return Poll::Ready(()),
            }
        }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Guarded<S> {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let (phase, stopping, held_back) = {
            let shared = this.watch.lock();
            (shared.phase, shared.stopping, shared.is_held_back())
        };
        if held_back {
            return this.poll_hang_up(context, buffer);
        }
        if stopping && matches!(phase, Phase::Head { .. }) {
            return Poll::Ready(Err(io::ErrorKind::ConnectionAborted.into()));
        }
        if let Poll::Ready(read) = this.poll_more(context, buffer) {
            return Poll::Ready(read);
        }
        if let Phase::Head { until } = phase {
            ready!(this.poll_until(until, context));
            return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
        }
        Poll::Pending
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncWrite for Guarded<S> {
    fn poll_write(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let written = Pin::new(&mut this.stream).poll_write(context, bytes);
        this.patience.judge(written, || this.watch.end(), context)
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let flushed = Pin::new(&mut this.stream).poll_flush(context);
        this.patience.judge(flushed, || this.watch.end(), context)
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if this.lingering.is_none() {
            ready!(Pin::new(&mut this.stream).poll_shutdown(context))?;
            if !this.watch.lock().owes_an_ear() {
                return Poll::Ready(Ok(()));
            }
        }
        let until = *this.lingering.get_or_insert_with(|| Instant::now() + LINGER);
        this.poll_linger(until, context).map(Ok)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let written = Pin::new(&mut this.stream).poll_write_vectored(context, slices);
        this.patience.judge(written, || this.watch.end(), context)
    }
}

#[cfg(test)]
mod tests;
