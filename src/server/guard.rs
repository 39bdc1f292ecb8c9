//! A guard on a connection: a head that has begun must be complete in time, its first line is kept as it came, and an
//! answer must be taken in.
//!
//! hyper has one limit for an idle connection and for a slow head, and the platform's router wants idle connections kept
//! longer than a slow head may last; and hyper sets a timer for each request. So the guard counts for itself: waiting
//! (until the connection has been idle for too long) → head (from its first byte) → request (from the last bytes of its
//! head until its answer is out).
//!
//! Invariant: hyper gets one head at a time and nothing behind it before the answer is out, so that each byte is known
//! to be of a head or of a body. Where a body is chunked its end is not known; what is sent behind it before the answer
//! is out has no known request line and is refused. Only `server` uses it.

mod connection_state;
mod header_budget;
mod idle_timeout;
mod write_timeout;

use std::{
    io,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
    time::Duration,
};

use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    time::{Instant, Sleep, sleep_until},
};

use connection_state::ConnectionPhase;
use write_timeout::WriteTimeout;

use crate::server::connection::ConnectionLimits;

pub(super) use connection_state::{BodyLength, ConnectionState, ParsedTarget};
pub(super) use header_budget::HeaderBudget;
pub(super) use idle_timeout::IdleTimeout;

/// Bytes of one request's head; the platform's router passes at most this much. hyper answers 431 to more.
pub(super) const MAX_HEAD: usize = 64 * 1024;
/// How long a closing connection takes in what the client still sends: closed at once, the client would lose the answer
/// to a reset. Longer would help only those who never stop.
const LINGER: Duration = Duration::from_secs(1);
/// What is taken in at once meanwhile.
const SCRATCH: usize = 8 * 1024;

/// A connection whose heads must come in time.
#[derive(Debug)]
pub(super) struct GuardedStream<S> {
    stream: S,
    state: Arc<ConnectionState>,
    limit: Duration,
    timer: Option<Pin<Box<Sleep>>>,
    /// Bytes of the next head that came too early.
    held: Vec<u8>,
    /// Until when a closing connection takes in what comes.
    lingering: Option<Instant>,
    write_timeout: WriteTimeout,
}

impl<S> GuardedStream<S> {
    /// Guards a stream; large heads share `room` with those of other connections.
    pub(super) fn new(
        stream: S,
        limits: ConnectionLimits,
        budget: HeaderBudget,
    ) -> (Self, Arc<ConnectionState>) {
        let state = Arc::new(ConnectionState::new(limits.request, budget));
        let guarded = Self {
            stream,
            state: Arc::clone(&state),
            limit: limits.head,
            timer: None,
            held: Vec::new(),
            lingering: None,
            write_timeout: WriteTimeout::new(limits.write),
        };
        (guarded, state)
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

impl<S: AsyncRead + Unpin> GuardedStream<S> {
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
        let passed = self.state.lock().pass(came, self.limit)?;
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
        self.state.lock().reader = Some(context.waker().clone());
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

impl<S: AsyncRead + Unpin> AsyncRead for GuardedStream<S> {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let (phase, stopping, held_back) = {
            let shared = this.state.lock();
            (shared.phase, shared.stopping, shared.is_held_back())
        };
        if held_back {
            return this.poll_hang_up(context, buffer);
        }
        if stopping && matches!(phase, ConnectionPhase::Head { .. }) {
            return Poll::Ready(Err(io::ErrorKind::ConnectionAborted.into()));
        }
        if let Poll::Ready(read) = this.poll_more(context, buffer) {
            return Poll::Ready(read);
        }
        if let ConnectionPhase::Head { until } = phase {
            ready!(this.poll_until(until, context));
            return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
        }
        Poll::Pending
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncWrite for GuardedStream<S> {
    fn poll_write(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let written = Pin::new(&mut this.stream).poll_write(context, bytes);
        this.write_timeout.check(written, &this.state, context)
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let flushed = Pin::new(&mut this.stream).poll_flush(context);
        this.write_timeout.check(flushed, &this.state, context)
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if this.lingering.is_none() {
            ready!(Pin::new(&mut this.stream).poll_shutdown(context))?;
            if !this.state.lock().must_linger() {
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
        this.write_timeout.check(written, &this.state, context)
    }
}

#[cfg(test)]
mod tests;
