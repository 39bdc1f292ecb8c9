//! How long a client may read nothing of its response: the writing side of the guard.
//!
//! Invariant: a timer runs while the socket is full, because hyper polls neither the response body
//! nor its deadline before the socket has room again. Only `server::guard` uses this.

use std::{
    io,
    pin::Pin,
    task::{Context, Poll, ready},
    time::Duration,
};

use tokio::time::{Instant, Sleep, sleep_until};

use super::ConnectionState;

/// The timeout of writes to a client.
#[derive(Debug)]
pub(super) struct WriteTimeout {
    /// How long the client may read nothing.
    limit: Duration,
    /// End of the current wait.
    until: Option<Instant>,
    /// Created at the first wait.
    timer: Option<Pin<Box<Sleep>>>,
}

impl WriteTimeout {
    pub(super) fn new(limit: Duration) -> Self {
        Self { limit, until: None, timer: None }
    }

    /// Passes on the result of a write, or an error if the socket was full for too long. A client
    /// that reads a byte now and then is still bound by the deadline of its request, which `state`
    /// knows.
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
