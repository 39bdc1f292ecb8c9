//! How long a connection may be idle.
//!
//! Invariant: requests do not touch the timer. When it fires, the connection may have been idle for
//! a shorter time; then the timer is set for the rest. Only `server` uses this.

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

/// Completes when a connection has been idle for too long.
#[derive(Debug)]
pub(in crate::server) struct IdleTimeout {
    state: Arc<ConnectionState>,
    limit: Duration,
    timer: Pin<Box<Sleep>>,
    /// The waker that the timer wakes.
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
        // Unconstrained: if tokio's cooperative budget delays the poll, the timer would not
        // register the waker.
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
