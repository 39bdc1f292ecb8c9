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
    guard::{HeaderBudget, MAX_HEAD, header_budget::HeaderReservation},
    head::{HeadScanner, LONGEST_LINE},
};

/// How much of a request's body is still to come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::server) enum BodyLength {
    /// So many bytes.
    Exactly(u64),
    /// Chunks until the last one.
    Chunked,
}

/// Whether hyper's parser saw the target that was sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::server) enum ParsedTarget {
    /// Byte for byte, or too long to tell.
    Whole,
    /// Something was cut off, such as a fragment, or the line is not known.
    Cut,
}

/// Where a conversation stands.
#[derive(Clone, Copy, Debug)]
pub(super) enum ConnectionPhase {
    /// Nothing of the next head has come.
    Waiting,
    /// A head has begun.
    Head { until: Instant },
    /// hyper has the head.
    Request { body: BodyLength, answer: ResponseState },
}

/// Whether the answer to a request is out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ResponseState {
    Pending,
    Sent,
}

/// What the reading side of a connection and its service tell each other.
#[derive(Debug)]
pub(in crate::server) struct ConnectionState(Mutex<ConnectionStateInner>);

#[derive(Debug)]
pub(super) struct ConnectionStateInner {
    pub(super) phase: ConnectionPhase,
    head: HeadScanner,
    /// What the head takes beyond the ordinary.
    reservation: HeaderReservation,
    /// A request, whole.
    request_limit: Duration,
    /// When bytes of a head came last, the last answer went out, or a slow client took of it: the clock is read for nothing
    /// else of a request.
    last_activity: Instant,
    /// When the last request that began ends at the latest, its answer included.
    request_deadline: Option<Instant>,
    /// Set while reading is held back until the answer is out.
    pub(super) reader: Option<Waker>,
    /// Whether the client may still be sending when the connection closes.
    unread: bool,
    pub(super) stopping: bool,
}

impl ConnectionState {
    pub(super) fn new(request_limit: Duration, budget: HeaderBudget) -> Self {
        Self(Mutex::new(ConnectionStateInner {
            phase: ConnectionPhase::Waiting,
            head: HeadScanner::default(),
            reservation: HeaderReservation::of(budget),
            request_limit,
            last_activity: Instant::now(),
            request_deadline: None,
            reader: None,
            unread: false,
            stopping: false,
        }))
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, ConnectionStateInner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes that the head is complete and handed over; disarms the timer.
    pub(in crate::server) fn request_started(
        &self,
        method: &Method,
        uri: &Uri,
        body: BodyLength,
    ) -> ParsedTarget {
        let mut inner = self.lock();
        let target = compare(inner.head.line(), method, uri);
        inner.head.reset();
        inner.reservation.release();
        inner.request_deadline = Some(inner.last_activity + inner.request_limit);
        inner.unread = body != BodyLength::Exactly(0);
        inner.phase = ConnectionPhase::Request { body, answer: ResponseState::Pending };
        target
    }

    /// Notes that the answer is out; the next head may come.
    pub(in crate::server) fn response_sent(&self) {
        let now = Instant::now();
        let mut inner = self.lock();
        inner.last_activity = now;
        if let ConnectionPhase::Request { body, .. } = inner.phase {
            inner.phase = match body {
                BodyLength::Exactly(0) | BodyLength::Chunked => ConnectionPhase::Waiting,
                BodyLength::Exactly(_) => {
                    ConnectionPhase::Request { body, answer: ResponseState::Sent }
                }
            };
        }
        let reader = inner.reader.take();
        drop(inner);
        if let Some(reader) = reader {
            reader.wake();
        }
    }

    /// Returns since when no request has been under way, nor a head that has begun.
    pub(super) fn idle_since(&self) -> Option<Instant> {
        let inner = self.lock();
        matches!(inner.phase, ConnectionPhase::Waiting).then_some(inner.last_activity)
    }

    /// Returns when the last request that began ends at the latest.
    pub(super) fn request_deadline(&self) -> Option<Instant> {
        self.lock().request_deadline
    }

    /// Notes that a client which left its answer lying has taken of it. It may leave it for a shorter time than it may be
    /// idle.
    pub(super) fn write_progressed(&self) {
        self.lock().last_activity = Instant::now();
    }

    /// Ends the connection if a head is under way, now or later.
    pub(in crate::server) fn stop(&self) {
        self.lock().stopping = true;
    }
}

/// Compares the line as it came with what the parser made of it; an absolute target is cut to its path by the parser
/// and refused for its form.
fn compare(line: &[u8], method: &Method, uri: &Uri) -> ParsedTarget {
    let target = uri.path_and_query().map_or("", |target| target.as_str());
    let rest = line.strip_prefix(method.as_str().as_bytes()).and_then(|r| r.strip_prefix(b" "));
    let rest = rest.and_then(|rest| rest.strip_prefix(target.as_bytes()));
    let whole = rest.is_some_and(|rest| rest.starts_with(b" "));
    let too_long = line.len() == LONGEST_LINE && target.len() >= LONGEST_LINE - 32;
    if whole || too_long { ParsedTarget::Whole } else { ParsedTarget::Cut }
}

impl ConnectionStateInner {
    /// Judges bytes that the client sent; returns how many of them hyper may have now.
    pub(super) fn pass(&mut self, bytes: &[u8], limit: Duration) -> io::Result<usize> {
        match self.phase {
            ConnectionPhase::Waiting | ConnectionPhase::Head { .. } => {
                self.last_activity = Instant::now();
                if matches!(self.phase, ConnectionPhase::Waiting) {
                    // The line of a head that hyper refused, or of one that came without being seen.
                    self.head.reset();
                    self.unread = true;
                    self.phase = ConnectionPhase::Head { until: self.last_activity + limit };
                }
                let room = MAX_HEAD.saturating_sub(self.head.taken());
                let end = self.head.feed(bytes);
                if !self.reservation.grow(self.head.taken().min(MAX_HEAD)) {
                    return Err(io::ErrorKind::OutOfMemory.into());
                }
                if self.head.is_preface() {
                    return Err(io::Error::new(io::ErrorKind::InvalidData, "HTTP/2 is not spoken"));
                }
                // hyper reads on as long as its buffer happens to have room: without this its limit is not exact.
                Ok(end.unwrap_or(bytes.len()).min(room))
            }
            ConnectionPhase::Request { body: BodyLength::Chunked, .. } => Ok(bytes.len()),
            ConnectionPhase::Request { body: BodyLength::Exactly(left), answer } => {
                let came = u64::try_from(bytes.len()).unwrap_or(u64::MAX);
                let left_then = left.saturating_sub(came);
                self.unread = left_then > 0;
                self.phase = match (left_then, answer) {
                    (0, ResponseState::Sent) => {
                        self.last_activity = Instant::now();
                        ConnectionPhase::Waiting
                    }
                    _ => ConnectionPhase::Request { body: BodyLength::Exactly(left_then), answer },
                };
                Ok(usize::try_from(left).map_or(bytes.len(), |left| left.min(bytes.len())))
            }
        }
    }

    /// Whether the connection may close on a client that is still sending and has been given an answer.
    pub(super) fn must_linger(&self) -> bool {
        self.unread && !(self.stopping && matches!(self.phase, ConnectionPhase::Head { .. }))
    }

    pub(super) fn is_held_back(&self) -> bool {
        matches!(
            self.phase,
            ConnectionPhase::Request {
                body: BodyLength::Exactly(0),
                answer: ResponseState::Pending
            }
        )
    }
}
