//! What the two sides of a connection and its service tell each other: where the conversation stands.
//!
//! Invariant: each byte that the client sends is judged once, as one of a head, of a body or of neither. Only
//! `server::guard` and the service of a connection use it.

use std::{
    io,
    sync::{Mutex, MutexGuard, PoisonError},
    task::Waker,
    time::Duration,
};

use http::{Method, Uri};
use tokio::time::Instant;

use crate::server::{
    guard::{MAX_HEAD, Room, room::Share},
    head::{Head, LONGEST_LINE},
};

/// How much of a request's body is still to come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::server) enum Body {
    /// So many bytes.
    Exactly(u64),
    /// Chunks until the last one.
    Chunked,
}

/// Whether hyper's parser saw the target that was sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::server) enum Target {
    /// Byte for byte, or too long to tell.
    Whole,
    /// Something was cut off, such as a fragment, or the line is not known.
    Cut,
}

/// Where a conversation stands.
#[derive(Clone, Copy, Debug)]
pub(super) enum Phase {
    /// Nothing of the next head has come.
    Waiting,
    /// A head has begun.
    Head { until: Instant },
    /// hyper has the head.
    Request { body: Body, answer: Answer },
}

/// Whether the answer to a request is out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Answer {
    Pending,
    Out,
}

/// What the reading side of a connection and its service tell each other.
#[derive(Debug)]
pub(in crate::server) struct Watch(Mutex<Shared>);

#[derive(Debug)]
pub(super) struct Shared {
    pub(super) phase: Phase,
    head: Head,
    /// What the head takes beyond the ordinary.
    share: Share,
    /// A request, whole.
    whole: Duration,
    /// When bytes of a head came last, the last answer went out, or a slow client took of it: the clock is read for nothing
    /// else of a request.
    moved: Instant,
    /// When the last request that began ends at the latest, its answer included.
    end: Option<Instant>,
    /// Set while reading is held back until the answer is out.
    pub(super) reader: Option<Waker>,
    /// Whether the client may still be sending when the connection closes.
    unread: bool,
    pub(super) stopping: bool,
}

impl Watch {
    pub(super) fn new(whole: Duration, room: Room) -> Self {
        Self(Mutex::new(Shared {
            phase: Phase::Waiting,
            head: Head::default(),
            share: Share::of(room),
            whole,
            moved: Instant::now(),
            end: None,
            reader: None,
            unread: false,
            stopping: false,
        }))
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, Shared> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes that the head is complete and handed over; disarms the timer.
    pub(in crate::server) fn begin(&self, method: &Method, uri: &Uri, body: Body) -> Target {
        let mut shared = self.lock();
        let target = compare(shared.head.line(), method, uri);
        shared.head.reset();
        shared.share.release();
        shared.end = Some(shared.moved + shared.whole);
        shared.unread = body != Body::Exactly(0);
        shared.phase = Phase::Request { body, answer: Answer::Pending };
        target
    }

    /// Notes that the answer is out; the next head may come.
    pub(in crate::server) fn finish(&self) {
        let now = Instant::now();
        let mut shared = self.lock();
        shared.moved = now;
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

    /// Returns since when no request has been under way, nor a head that has begun.
    pub(super) fn idle_since(&self) -> Option<Instant> {
        let shared = self.lock();
        matches!(shared.phase, Phase::Waiting).then_some(shared.moved)
    }

    /// Returns when the last request that began ends at the latest.
    pub(super) fn end(&self) -> Option<Instant> {
        self.lock().end
    }

    /// Notes that a client which left its answer lying has taken of it. It may leave it for a shorter time than it may be
    /// idle.
    pub(super) fn write_goes_on(&self) {
        self.lock().moved = Instant::now();
    }

    /// Ends the connection if a head is under way, now or later.
    pub(in crate::server) fn stop(&self) {
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

impl Shared {
    /// Judges bytes that the client sent; returns how many of them hyper may have now.
    pub(super) fn pass(&mut self, bytes: &[u8], limit: Duration) -> io::Result<usize> {
        match self.phase {
            Phase::Waiting | Phase::Head { .. } => {
                self.moved = Instant::now();
                if matches!(self.phase, Phase::Waiting) {
                    // The line of a head that hyper refused, or of one that came without being seen.
                    self.head.reset();
                    self.unread = true;
                    self.phase = Phase::Head { until: self.moved + limit };
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
                    (0, Answer::Out) => {
                        self.moved = Instant::now();
                        Phase::Waiting
                    }
                    _ => Phase::Request { body: Body::Exactly(left_then), answer },
                };
                Ok(usize::try_from(left).map_or(bytes.len(), |left| left.min(bytes.len())))
            }
        }
    }

    /// Whether the connection may close on a client that is still sending and has been given an answer.
    pub(super) fn owes_an_ear(&self) -> bool {
        self.unread && !(self.stopping && matches!(self.phase, Phase::Head { .. }))
    }

    pub(super) fn is_held_back(&self) -> bool {
        matches!(self.phase, Phase::Request { body: Body::Exactly(0), answer: Answer::Pending })
    }
}
