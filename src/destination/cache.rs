//! What the Destination service said, kept: soft TTL, one flight per destination, stale on error
//! (destination.md 9).
//!
//! Invariant: nobody waits for a revalidation who can be served; a failure is never kept as
//! content; and content that has once been in service gives way only to validated content or to two
//! 404s. Used by `Destinations`.

mod apply;
mod state;

use super::{
    CachePolicy, Destination, DestinationError, DestinationName, SourceKind,
    fault::{FindFault, Transient},
    validate::Validator,
};
use crate::{binding::Fields, telemetry::metrics::Metrics};
use http::HeaderValue;
use state::{CacheState, Condition, FIRST_PAUSE, InFlightFetch};
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
pub(super) trait DestinationSource: Send + Sync + 'static {
    /// Asks once, its own repeats included. `tag` makes the call conditional.
    fn find(
        &self,
        name: &DestinationName,
        tag: Option<&HeaderValue>,
    ) -> impl Future<Output = Result<FindResponse, FindFault>> + Send;
}

/// What the service said.
#[derive(Debug)]
pub(super) enum FindResponse {
    /// 200.
    Content(Content),
    /// 304.
    Unchanged,
    /// 404 of the service itself.
    Absent,
}

/// Properties, still to be validated.
#[derive(Debug)]
pub(super) struct Content {
    pub(super) fields: Fields,
    pub(super) source: SourceKind,
    /// As received.
    pub(super) tag: Option<HeaderValue>,
    /// Tells contents apart.
    pub(super) digest: u64,
}

/// One destination of the service; a clone is shallow.
pub(super) struct CachedDestination<S>(Arc<CacheInner<S>>);

/// What the flight works with.
pub(super) struct CacheDependencies<S> {
    pub(super) source: S,
    pub(super) validator: Validator,
    pub(super) tasks: TaskTracker,
    pub(super) metrics: Metrics,
}

type FindResult = Result<Arc<Destination>, DestinationError>;

struct CacheInner<S> {
    name: DestinationName,
    deps: CacheDependencies<S>,
    state: Mutex<CacheState>,
}

/// What to do for one caller.
enum CacheDecision {
    Serve(FindResult),
    Wait(watch::Receiver<Option<FindResult>>),
    /// The running flight is not the one that is wanted: look again when it has landed.
    WaitThenAsk(watch::Receiver<Option<FindResult>>),
}

impl<S: DestinationSource> CachedDestination<S> {
    /// Starts with nothing; makes no call.
    pub(super) fn new(name: DestinationName, deps: CacheDependencies<S>) -> Self {
        Self(Arc::new(CacheInner { name, deps, state: Mutex::default() }))
    }

    /// Finds the destination, as sure as wanted.
    ///
    /// # Errors
    /// Not there, invalid, or the service cannot say and nothing usable is cached.
    ///
    /// # Cancel safety
    /// The flight is a task of its own: a caller who goes away neither stops nor repeats it.
    pub(super) async fn find(&self, cache_policy: CachePolicy) -> FindResult {
        loop {
            match self.decide(cache_policy) {
                CacheDecision::Serve(outcome) => return outcome,
                CacheDecision::Wait(flight) => return self.wait_for(flight).await,
                CacheDecision::WaitThenAsk(flight) => {
                    // Its outcome does not matter here: it may have been told "unchanged".
                    let _ = self.wait_for(flight).await;
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

    fn decide(&self, cache_policy: CachePolicy) -> CacheDecision {
        let mut state = self.state();
        let running = state.flight.as_ref().filter(|flight| flight.is_running());
        let running = running.map(|flight| (flight.condition, flight.outcome.clone()));
        let longest = match cache_policy {
            CachePolicy::Cached => STALE_LIMIT,
            CachePolicy::Confirmed => SOFT_TTL,
            CachePolicy::PastCache => {
                return match running {
                    Some((Condition::Always, outcome)) => CacheDecision::Wait(outcome),
                    Some((Condition::IfChanged, outcome)) => CacheDecision::WaitThenAsk(outcome),
                    None => CacheDecision::Wait(self.start_fetch(&mut state, Condition::Always)),
                };
            }
        };
        let pause = state.pause();
        let held = state.held.as_ref().filter(|held| held.age() <= longest);
        if let Some((destination, age)) = held.map(|held| (held.destination.clone(), held.age())) {
            if age > SOFT_TTL && running.is_none() && pause.is_none() {
                self.start_fetch(&mut state, Condition::IfChanged);
            }
            return CacheDecision::Serve(Ok(destination));
        }
        match (running, pause) {
            (Some((_, outcome)), _) => CacheDecision::Wait(outcome),
            (None, Some(error)) => CacheDecision::Serve(Err(error)),
            (None, None) => CacheDecision::Wait(self.start_fetch(&mut state, Condition::IfChanged)),
        }
    }

    fn start_fetch(
        &self,
        state: &mut CacheState,
        condition: Condition,
    ) -> watch::Receiver<Option<FindResult>> {
        let (landing, outcome) = watch::channel(None);
        state.flight = Some(InFlightFetch { condition, outcome: outcome.clone() });
        let cached = self.clone();
        self.0.deps.tasks.spawn(async move {
            landing.send_replace(Some(cached.fetch(condition).await));
        });
        outcome
    }

    async fn wait_for(&self, mut flight: watch::Receiver<Option<FindResult>>) -> FindResult {
        match flight.wait_for(Option::is_some).await.as_deref() {
            Ok(Some(outcome)) => outcome.clone(),
            // The task was lost (a panic, the runtime's end); the next caller starts another one.
            Ok(None) | Err(_) => Err(self.unavailable(FIRST_PAUSE)),
        }
    }

    async fn fetch(&self, condition: Condition) -> FindResult {
        let tag = self.state().tag(condition);
        let found = self.0.deps.source.find(&self.0.name, tag.as_ref()).await;
        let mut state = self.state();
        state.flight = None;
        match found {
            Ok(FindResponse::Content(content)) => self.apply_content(&mut state, &content),
            Ok(FindResponse::Unchanged) => match state.confirm() {
                Some(destination) => {
                    self.count("unchanged");
                    Ok(destination)
                }
                None => self.apply_fault(&mut state, &FindFault::transient(Transient::Unreadable)),
            },
            Ok(FindResponse::Absent) => self.apply_absence(&mut state),
            Err(fault) => self.apply_fault(&mut state, &fault),
        }
    }

    fn state(&self) -> MutexGuard<'_, CacheState> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<S> Clone for CachedDestination<S> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<S> fmt::Debug for CachedDestination<S> {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_tuple("CachedDestination").field(&self.0.name).finish()
    }
}

#[cfg(test)]
mod tests;
