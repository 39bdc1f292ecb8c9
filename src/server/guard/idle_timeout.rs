//! How long a connection may keep its place without a request.
//!
//! Invariant: requests do not touch the timer. It runs on while they come and go; when it is over the connection may
//! have been idle for a shorter time, and the timer is set for the rest. Only `server` uses it.

use std::{
    future::Future,
    pin::{Pin, pin},
    sync::Arc,
    task::{Context, Poll, Waker},
    time::Duration,
};

use tokio::{
    task::unconstrained,
    time::{Instant, Sleep, sleep},
};

use super::ConnectionState;

/// Is over when a connection has been idle for too long.
#[derive(Debug)]
pub(in crate::server) struct IdleTimeout {
    state: Arc<ConnectionState>,
    limit: Duration,
    timer: Pin<Box<Sleep>>,
    /// Whom the timer wakes.
    waker: Option<Waker>,
}

impl IdleTimeout {
    pub(in crate::server) fn new(state: Arc<ConnectionState>, limit: Duration) -> Self {
        Self { state, limit, timer: Box::pin(sleep(limit)), waker: None }
    }
}

impl Future for IdleTimeout {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        let this = &mut *self;
        let known = this.waker.as_ref().is_some_and(|waker| waker.will_wake(context.waker()));
        if known && !this.timer.is_elapsed() {
            return Poll::Pending;
        }
        // Unconstrained: a timer that puts off its poll for the sake of others would not know whom to wake.
        while pin!(unconstrained(this.timer.as_mut())).poll(context).is_ready() {
            let now = Instant::now();
            let until = this.state.idle_since().unwrap_or(now) + this.limit;
            if until <= now {
                return Poll::Ready(());
            }
            this.timer.as_mut().reset(until);
        }
        this.waker = Some(context.waker().clone());
        Poll::Pending
    }
}
