//! The state of a connection, shared by its reading side, its writing side and its service.
//!
//! Invariant: each byte from the client is classified once, as part of a head, of a body or of
//! neither. Only `server::guard` and the service of a connection use this.

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

/// How much of a request body is still to come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::server) enum BodyLength {
    /// This number of bytes.
    Exactly(u64),
    /// Chunks until the last one.
    Chunked,
}

/// Whether hyper's parser saw the target that was sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::server) enum ParsedTarget {
    /// Byte for byte, or too long to know.
    Whole,
    /// Something was cut off, such as a fragment, or the line is not known.
    Cut,
}

/// Phase of a connection.
#[derive(Clone, Copy, Debug)]
pub(super) enum ConnectionPhase {
    /// No byte of the next head was received.
    Waiting,
    /// A head has begun.
    Head { until: Instant },
    /// hyper has the head.
    Request { body: BodyLength, answer: ResponseState },
}

/// Whether the response to a request is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ResponseState {
    Pending,
    Sent,
}

/// The shared state of a connection.
#[derive(Debug)]
pub(in crate::server) struct ConnectionState(Mutex<ConnectionStateInner>);

#[derive(Debug)]
pub(super) struct ConnectionStateInner {
    pub(super) phase: ConnectionPhase,
    head: HeadScanner,
    /// Memory of the head beyond the ordinary size.
    reservation: HeaderReservation,
    /// Limit of a whole request.
    request_limit: Duration,
    /// When bytes of a head were last received, the last response was sent, or a slow client read
    /// part of it. Nothing else of a request reads the clock.
    last_activity: Instant,
    /// Deadline of the last request, its response included.
    request_deadline: Option<Instant>,
    /// Set while reading is held back until the response is sent.
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

    /// Notes that the head is complete and passed to hyper; ends the head timer.
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

    /// Notes that the response is sent; the next head may come.
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

    /// Returns since when the connection is idle; `None` during a head or a request.
    pub(super) fn idle_since(&self) -> Option<Instant> {
        let inner = self.lock();
        matches!(inner.phase, ConnectionPhase::Waiting).then_some(inner.last_activity)
    }

    /// Returns the deadline of the last request.
    pub(super) fn request_deadline(&self) -> Option<Instant> {
        self.lock().request_deadline
    }

    /// Notes that a slow client has read part of its response. The write timeout is shorter than
    /// the idle timeout.
    pub(super) fn write_progressed(&self) {
        self.lock().last_activity = Instant::now();
    }

    /// Ends the connection during a head, now or later.
    pub(in crate::server) fn stop(&self) {
        self.lock().stopping = true;
    }
}

/// Compares the request line as received with the parser's result. The parser cuts an absolute
/// target to its path; that is refused later for its form.
fn compare(line: &[u8], method: &Method, uri: &Uri) -> ParsedTarget {
    let target = uri.path_and_query().map_or("", |target| target.as_str());
    let rest = line.strip_prefix(method.as_str().as_bytes()).and_then(|r| r.strip_prefix(b" "));
    let rest = rest.and_then(|rest| rest.strip_prefix(target.as_bytes()));
    let whole = rest.is_some_and(|rest| rest.starts_with(b" "));
    let too_long = line.len() == LONGEST_LINE && target.len() >= LONGEST_LINE - 32;
    if whole || too_long { ParsedTarget::Whole } else { ParsedTarget::Cut }
}

impl ConnectionStateInner {
    /// Classifies bytes from the client; returns how many of them hyper may get now.
    pub(super) fn pass(&mut self, bytes: &[u8], limit: Duration) -> io::Result<usize> {
        match self.phase {
            ConnectionPhase::Waiting | ConnectionPhase::Head { .. } => {
                self.last_activity = Instant::now();
                if matches!(self.phase, ConnectionPhase::Waiting) {
                    // Clears the line of a head that hyper refused or that was not seen here.
                    self.head.reset();
                    self.unread = true;
                    self.phase = ConnectionPhase::Head { until: self.last_activity + limit };
                }
                let free = MAX_HEAD.saturating_sub(self.head.taken());
                let end = self.head.feed(bytes);
                if !self.reservation.grow(self.head.taken().min(MAX_HEAD)) {
                    return Err(io::ErrorKind::OutOfMemory.into());
                }
                if self.head.is_preface() {
                    return Err(io::Error::new(
                        io::ErrorKind::InvalidData,
                        "HTTP/2 is not supported",
                    ));
                }
                // hyper reads on while its buffer has room: without this its limit is not exact.
                Ok(end.unwrap_or(bytes.len()).min(free))
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

    /// Whether a closing connection must still read, because the client may be sending.
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
