//! What the Destination service said, kept: soft TTL, one flight per destination, stale on error
//! (destination.md 9).
//!
//! Invariant: nobody waits for a revalidation who can be served; a failure is never kept as
//! content; and content that has once been in service gives way only to judged content or to two
//! 404s. Used by `Destinations`.

mod landing;
mod state;

use super::{
    Destination, DestinationError, DestinationName, Source, Wanted,
    fault::{FindFault, Transient},
    judge::Judge,
};
use crate::{binding::Fields, telemetry::metrics::Metrics};
use http::HeaderValue;
use state::{Condition, FIRST_PAUSE, Flight, State};
use std::{
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};
use tokio::sync::watch;
use tokio_util::task::TaskTracker;

/// Age from which content is asked for again (SAP: 3–5 min, on demand).
const SOFT_TTL: Duration = Duration::from_secs(5 * 60);

/// Age up to which content is served although the service fails.
const STALE_LIMIT: Duration = Duration::from_secs(24 * 60 * 60);

/// The Destination service as the cache sees it; a port, so that time is tested without sockets.
pub(super) trait Finder: Send + Sync + 'static {
    /// Asks once, its own repeats included. `tag` makes the call conditional.
    fn find(
        &self,
        name: &DestinationName,
        tag: Option<&HeaderValue>,
    ) -> impl Future<Output = Result<Found, FindFault>> + Send;
}

/// What the service said.
#[derive(Debug)]
pub(super) enum Found {
    /// 200.
    Content(Content),
    /// 304.
    Unchanged,
    /// 404 of the service itself.
    Absent,
}

/// Properties, still to be judged.
#[derive(Debug)]
pub(super) struct Content {
    pub(super) fields: Fields,
    pub(super) source: Source,
    /// As received.
    pub(super) tag: Option<HeaderValue>,
    /// Tells contents apart.
    pub(super) digest: u64,
}

/// One destination of the service; a clone is shallow.
pub(super) struct Cached<F>(Arc<Inner<F>>);

/// What the flight works with.
pub(super) struct Crew<F> {
    pub(super) finder: F,
    pub(super) judge: Judge,
    pub(super) tasks: TaskTracker,
    pub(super) metrics: Metrics,
}

type Outcome = Result<Arc<Destination>, DestinationError>;

struct Inner<F> {
    name: DestinationName,
    crew: Crew<F>,
    state: Mutex<State>,
}

/// What to do for one caller.
enum Step {
    Serve(Outcome),
    Wait(watch::Receiver<Option<Outcome>>),
    /// The flight in the air is not the one that is wanted: look again when it has landed.
    WaitAndAsk(watch::Receiver<Option<Outcome>>),
}

impl<F: Finder> Cached<F> {
    /// Starts with nothing; makes no call.
    pub(super) fn new(name: DestinationName, crew: Crew<F>) -> Self {
        Self(Arc::new(Inner { name, crew, state: Mutex::default() }))
    }

    /// Finds the destination, as sure as wanted.
    ///
    /// # Errors
    /// Not there, invalid, or the service cannot say and nothing usable is cached.
    ///
    /// # Cancel safety
    /// The flight is a task of its own: a caller who goes away neither stops nor repeats it.
    pub(super) async fn find(&self, wanted: Wanted) -> Outcome {
        loop {
            match self.step(wanted) {
                Step::Serve(outcome) => return outcome,
                Step::Wait(flight) => return self.landed(flight).await,
                Step::WaitAndAsk(flight) => {
                    // Its outcome does not matter here: it may have been told "unchanged".
                    let _ = self.landed(flight).await;
                }
            }
        }
    }

    /// Returns the last content without any call.
    pub(super) fn known(&self) -> Option<Arc<Destination>> {
        let state = self.state();
        let held = state.held.as_ref()?;
        (held.age() <= STALE_LIMIT).then(|| Arc::clone(&held.destination))
    }

    fn step(&self, wanted: Wanted) -> Step {
        let mut state = self.state();
        let air = state.flight.as_ref().filter(|flight| flight.is_in_the_air());
        let air = air.map(|flight| (flight.condition, flight.outcome.clone()));
        let longest = match wanted {
            Wanted::Cached => STALE_LIMIT,
            Wanted::Confirmed => SOFT_TTL,
            Wanted::PastCache => {
                return match air {
                    Some((Condition::Always, outcome)) => Step::Wait(outcome),
                    Some((Condition::IfChanged, outcome)) => Step::WaitAndAsk(outcome),
                    None => Step::Wait(self.launch(&mut state, Condition::Always)),
                };
            }
        };
        let pause = state.pause();
        let held = state.held.as_ref().filter(|held| held.age() <= longest);
        if let Some((destination, age)) = held.map(|held| (held.destination.clone(), held.age())) {
            if age > SOFT_TTL && air.is_none() && pause.is_none() {
                self.launch(&mut state, Condition::IfChanged);
            }
            return Step::Serve(Ok(destination));
        }
        match (air, pause) {
            (Some((_, outcome)), _) => Step::Wait(outcome),
            (None, Some(error)) => Step::Serve(Err(error)),
            (None, None) => Step::Wait(self.launch(&mut state, Condition::IfChanged)),
        }
    }

    fn launch(&self, state: &mut State, condition: Condition) -> watch::Receiver<Option<Outcome>> {
        let (landing, outcome) = watch::channel(None);
        state.flight = Some(Flight { condition, outcome: outcome.clone() });
        let cached = self.clone();
        self.0.crew.tasks.spawn(async move {
            landing.send_replace(Some(cached.fly(condition).await));
        });
        outcome
    }

    async fn landed(&self, mut flight: watch::Receiver<Option<Outcome>>) -> Outcome {
        match flight.wait_for(Option::is_some).await.as_deref() {
            Ok(Some(outcome)) => outcome.clone(),
            // The task was lost (a panic, the runtime's end); the next caller starts another one.
            Ok(None) | Err(_) => Err(self.unavailable(FIRST_PAUSE)),
        }
    }

    async fn fly(&self, condition: Condition) -> Outcome {
        let tag = self.state().tag(condition);
        let found = self.0.crew.finder.find(&self.0.name, tag.as_ref()).await;
        let mut state = self.state();
        state.flight = None;
        match found {
            Ok(Found::Content(content)) => self.take(&mut state, &content),
            Ok(Found::Unchanged) => match state.confirm() {
                Some(destination) => {
                    self.count("unchanged");
                    Ok(destination)
                }
                None => self.fail(&mut state, &FindFault::transient(Transient::Unreadable)),
            },
            Ok(Found::Absent) => self.miss(&mut state),
            Err(fault) => self.fail(&mut state, &fault),
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<F> Clone for Cached<F> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<F> fmt::Debug for Cached<F> {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_tuple("Cached").field(&self.0.name).finish()
    }
}

#[cfg(test)]
mod tests;
