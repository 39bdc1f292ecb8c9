//! How long a client may leave its answer lying: the writing side of the guard.
//!
//! Invariant: while the socket is full a timer runs, for hyper polls neither the answer's body nor anything that bounds
//! it before the socket has room again. Only `server::guard` uses it.

use std::{
    io,
    pin::Pin,
    task::{Context, Poll, ready},
    time::Duration,
};

use tokio::time::{Instant, Sleep, sleep_until};

use super::ConnectionState;

/// Waits for a client that takes in an answer.
#[derive(Debug)]
pub(super) struct WriteTimeout {
    /// How long it may take nothing at all.
    limit: Duration,
    /// When the wait that is under way ends.
    until: Option<Instant>,
    /// Made for those who must wait.
    timer: Option<Pin<Box<Sleep>>>,
}

impl WriteTimeout {
    pub(super) fn new(limit: Duration) -> Self {
        Self { limit, until: None, timer: None }
    }

    /// Passes on what a write gave; turns one that has no room for too long into an error. A client that takes a byte now
    /// and then gains nothing beyond the end of its request, which `state` knows.
    pub(super) fn check<T>(
        &mut self,
        written: Poll<io::Result<T>>,
        state: &ConnectionState,
        context: &mut Context<'_>,
    ) -> Poll<io::Result<T>> {
        if written.is_ready() {
            if self.until.take().is_some() {
                state.write_progressed();
            }
            return written;
        }
        let limit = self.limit;
        let until = *self.until.get_or_insert_with(|| {
            let until = Instant::now() + limit;
            state.request_deadline().map_or(until, |end| until.min(end))
        });
        let timer = self.timer.get_or_insert_with(|| Box::pin(sleep_until(until)));
        if timer.deadline() != until {
            timer.as_mut().reset(until);
        }
        ready!(timer.as_mut().poll(context));
        Poll::Ready(Err(io::ErrorKind::TimedOut.into()))
    }
}
