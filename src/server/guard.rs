//! The guard of a connection: a head must be complete in time, its request line is kept as
//! received, and the client must read its response.
//!
//! hyper has one limit for both idle connections and slow heads, but the platform's router needs
//! idle connections to live longer than a slow head may last. hyper also sets a timer for each
//! request. So the guard keeps its own phases: waiting (until the idle limit) → head (from its
//! first byte) → request (from the end of its head until its response is sent).
//!
//! Invariant: hyper gets one head at a time and no later request before the response is sent, so
//! that each byte is known to belong to a head or a body. The end of a chunked body is not known: a
//! request that follows it before the response is sent has no known request line and is refused.
//! Only `server` uses this.

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

/// Largest head in bytes; the platform's router passes at most this much. hyper answers 431 to
/// more.
pub(super) const MAX_HEAD: usize = 64 * 1024;
/// How long a closing connection still reads what the client sends. Without this, a TCP reset could
/// destroy the response before the client reads it. A longer time would help only clients that
/// never stop.
pub(super) const LINGER: Duration = Duration::from_secs(1);
/// Bytes per read during that time.
const SCRATCH: usize = 8 * 1024;

/// A stream with time limits for heads and writes.
#[derive(Debug)]
pub(super) struct GuardedStream<S> {
    stream: S,
    state: Arc<ConnectionState>,
    limit: Duration,
    timer: Option<Pin<Box<Sleep>>>,
    /// Bytes of the next head that were received too early.
    held: Vec<u8>,
    /// Until when a closing connection reads and discards.
    lingering: Option<Instant>,
    write_timeout: WriteTimeout,
}

impl<S> GuardedStream<S> {
    /// Guards a stream; all connections share `budget` for large heads.
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

    /// Waits until a moment; the timer is created at the first wait.
    fn poll_until(&mut self, until: Instant, context: &mut Context<'_>) -> Poll<()> {
        let timer = self.timer.get_or_insert_with(|| Box::pin(sleep_until(until)));
        if timer.deadline() != until {
            timer.as_mut().reset(until);
        }
        timer.as_mut().poll(context)
    }
}

impl<S: AsyncRead + Unpin> GuardedStream<S> {
    /// Returns bytes that were held back, or reads; holds back what hyper must not get yet.
    fn poll_more(
        &mut self,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        if self.held.is_empty() {
            ready!(Pin::new(&mut self.stream).poll_read(context, buffer))?;
        } else {
            let free = buffer.remaining().min(self.held.len());
            buffer.put_slice(self.held.get(..free).unwrap_or_default());
            self.held.drain(..free);
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

    /// While a response is being made, only the end of the connection matters.
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

    /// Reads and discards what a client still sends to a closing connection.
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
