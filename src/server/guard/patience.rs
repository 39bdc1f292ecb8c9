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

use super::Watch;

/// Waits for a client that takes in an answer.
#[derive(Debug)]
pub(super) struct Patience {
    /// How long it may take nothing at all.
    still: Duration,
    /// When the wait that is under way ends.
    until: Option<Instant>,
    /// Made for those who must wait.
    alarm: Option<Pin<Box<Sleep>>>,
}

impl Patience {
    pub(super) fn new(still: Duration) -> Self {
        Self { still, until: None, alarm: None }
    }

    /// Passes on what a write gave; turns one that has no room for too long into an error. A client that takes a byte now
    /// and then gains nothing beyond the end of its request, which `watch` knows.
    pub(super) fn judge<T>(
        &mut self,
        written: Poll<io::Result<T>>,
        watch: &Watch,
        context: &mut Context<'_>,
    ) -> Poll<io::Result<T>> {
        if written.is_ready() {
            if self.until.take().is_some() {
                watch.write_goes_on();
            }
            return written;
        }
        let still = self.still;
        let until = *self.until.get_or_insert_with(|| {
            let until = Instant::now() + still;
            watch.end().map_or(until, |end| until.min(end))
        });
        let alarm = self.alarm.get_or_insert_with(|| Box::pin(sleep_until(until)));
        if alarm.deadline() != until {
            alarm.as_mut().reset(until);
        }
        ready!(alarm.as_mut().poll(context));
        Poll::Ready(Err(io::ErrorKind::TimedOut.into()))
    }
}
