//! Cache of one destination of the Destination service: soft TTL, one fetch at a time, stale
//! content while the service fails.
//!
//! Invariant: a caller that can be served never waits for a revalidation. A failure is never stored
//! as content. Content in service is replaced only by validated content; only a second 404 after a
//! pause removes it. Used by `Destinations`.

mod apply;
mod state;

use super::{
    CachePolicy, Destination, DestinationError, DestinationName, SourceKind,
    fault::{AskedSystem, FindFault, Transient},
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

/// Age up to which content is served while the service fails.
const STALE_LIMIT: Duration = Duration::from_secs(24 * 60 * 60);

/// The Destination service or a file as the cache sees it; a trait, so that tests need no sockets.
pub(super) trait DestinationSource: Send + Sync + 'static {
    /// Age from which content is revalidated on demand.
    const SOFT_TTL: Duration;

    /// Names the source where a destination is missing.
    const NAME: &'static str;

    /// Reads the destination once, retries included. `tag` makes the call conditional.
    fn find(
        &self,
        name: &DestinationName,
        tag: Option<&HeaderValue>,
    ) -> impl Future<Output = Result<FindResponse, FindFault>> + Send;
}

/// The answer of the service.
#[derive(Debug)]
pub(super) enum FindResponse {
    /// 200.
    Content(Content),
    /// 304.
    Unchanged,
    /// 404 from the service itself.
    Absent,
}

/// Properties that are not validated yet.
#[derive(Debug)]
pub(super) struct Content {
    pub(super) fields: Fields,
    pub(super) source: SourceKind,
    /// Entity tag as received.
    pub(super) tag: Option<HeaderValue>,
    /// Differs between different contents.
    pub(super) digest: u64,
}

/// One destination of the service; a clone is shallow.
pub(super) struct CachedDestination<S>(Arc<CacheInner<S>>);

/// What a fetch needs.
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
    /// The running fetch is conditional, an unconditional one is wanted: wait, then decide again.
    WaitThenAsk(watch::Receiver<Option<FindResult>>),
}

impl<S: DestinationSource> CachedDestination<S> {
    /// Starts empty; makes no call.
    pub(super) fn new(name: DestinationName, deps: CacheDependencies<S>) -> Self {
        Self(Arc::new(CacheInner { name, deps, state: Mutex::default() }))
    }

    /// Applies content that was read before the first find.
    pub(super) fn prime(&self, content: &Content) {
        // Invalid content has been logged; the next find returns the findings.
        drop(self.apply_content(&mut self.state(), content));
    }

    /// Finds the destination, as fresh as `cache_policy` asks.
    ///
    /// # Errors
    /// Missing, invalid, or the service is unavailable and nothing usable is cached.
    ///
    /// # Cancel safety
    /// The fetch runs in its own task: a caller that goes away neither stops nor repeats it.
    pub(super) async fn find(&self, cache_policy: CachePolicy) -> FindResult {
        loop {
            match self.decide(cache_policy) {
                CacheDecision::Serve(outcome) => return outcome,
                CacheDecision::Wait(fetch) => return self.wait_for(fetch).await,
                CacheDecision::WaitThenAsk(fetch) => {
                    // Its outcome is not used: the answer may have been "unchanged".
                    let _ = self.wait_for(fetch).await;
                }
            }
        }
    }

    /// Returns the cached content without any call.
    pub(super) fn known(&self) -> Option<Arc<Destination>> {
        let state = self.state();
        let held = state.held.as_ref()?;
        (held.age() <= STALE_LIMIT).then(|| Arc::clone(&held.destination))
    }

    fn decide(&self, cache_policy: CachePolicy) -> CacheDecision {
        let mut state = self.state();
        let running = state.in_flight.as_ref().filter(|fetch| fetch.is_running());
        let running = running.map(|fetch| (fetch.condition, fetch.outcome.clone()));
        let max_age = match cache_policy {
            CachePolicy::Cached => STALE_LIMIT,
            CachePolicy::Confirmed => S::SOFT_TTL,
            CachePolicy::PastCache => {
                return match running {
                    Some((Condition::Always, outcome)) => CacheDecision::Wait(outcome),
                    Some((Condition::IfChanged, outcome)) => CacheDecision::WaitThenAsk(outcome),
                    None => CacheDecision::Wait(self.start_fetch(&mut state, Condition::Always)),
                };
            }
        };
        let pause = state.pause();
        let held = state.held.as_ref().filter(|held| held.age() <= max_age);
        if let Some((destination, age)) = held.map(|held| (held.destination.clone(), held.age())) {
            if age > S::SOFT_TTL && running.is_none() && pause.is_none() {
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
        let (sender, outcome) = watch::channel(None);
        state.in_flight = Some(InFlightFetch { condition, outcome: outcome.clone() });
        let cached = self.clone();
        self.0.deps.tasks.spawn(async move {
            sender.send_replace(Some(cached.fetch(condition).await));
        });
        outcome
    }

    async fn wait_for(&self, mut fetch: watch::Receiver<Option<FindResult>>) -> FindResult {
        if let Ok(Some(outcome)) = fetch.wait_for(Option::is_some).await.as_deref() {
            return outcome.clone();
        }
        // The task is gone (a panic, the runtime's end); the next caller starts a new fetch.
        Err(self.unavailable("the read of it has broken off".to_owned(), FIRST_PAUSE))
    }

    async fn fetch(&self, condition: Condition) -> FindResult {
        let tag = self.state().tag(condition);
        let found = self.0.deps.source.find(&self.0.name, tag.as_ref()).await;
        let mut state = self.state();
        state.in_flight = None;
        match found {
            Ok(FindResponse::Content(content)) => self.apply_content(&mut state, &content),
            Ok(FindResponse::Unchanged) => {
                if let Some(destination) = state.confirm() {
                    self.count("unchanged");
                    return Ok(destination);
                }
                let asked = AskedSystem::DestinationService;
                let fault = FindFault::transient(Transient::Unreadable, asked);
                self.apply_fault(&mut state, &fault)
            }
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
