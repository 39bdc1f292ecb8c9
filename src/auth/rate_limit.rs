//! How much one caller may ask: requests a second, and requests at once (`reliability.md` U5).
//!
//! Invariant: the keys are verified client ids, and there are never more than [`MOST_CALLERS`] of them; what a caller asks
//! costs no other caller anything. For [`Verifier`](super::Verifier) only.

use super::{AuthError, Settings};
use governor::{
    Quota, RateLimiter,
    clock::Clock,
    middleware::NoOpMiddleware,
    nanos::Nanos,
    state::{InMemoryState, NotKeyed},
};
use std::{
    collections::HashMap,
    num::NonZeroU32,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    time::{Instant, timeout},
};

/// Most callers that are told apart: some hundred bytes each. A subaccount has some dozens of clients; those beyond share
/// one allowance until others have been quiet.
const MOST_CALLERS: usize = 1024;

/// When to come back while one's own requests are still being answered: nobody knows how long they take.
const RETRY_SOON: Duration = Duration::from_secs(1);

/// How long a request waits for a place of its caller (`reliability.md` U5).
const QUEUE_TIMEOUT: Duration = Duration::from_secs(1);

/// The word for log and metric: too many requests a second.
pub(super) const RATE: &str = "caller_rate";
/// The word for log and metric: too many requests at once.
pub(super) const IN_FLIGHT: &str = "caller_in_flight";

/// A caller's place among its requests in flight; given back when dropped.
#[derive(Debug)]
pub struct InFlightPermit {
    _permit: OwnedSemaphorePermit,
}

impl InFlightPermit {
    /// Makes a place for unit tests of other rooms.
    #[cfg(test)]
    pub(crate) fn for_tests(permit: OwnedSemaphorePermit) -> Self {
        Self { _permit: permit }
    }
}

/// The allowances of all callers.
pub(super) struct CallerLimits {
    parameters: LimitParameters,
    clock: TokioClock,
    table: Mutex<HashMap<String, Arc<Allowance>>>,
    /// For callers that the table has no room for.
    shared: Arc<Allowance>,
}

/// What every caller may ask.
#[derive(Clone, Copy)]
struct LimitParameters {
    quota: Quota,
    in_flight: usize,
    /// After so long a rest an allowance is as good as new.
    idle_time: Duration,
}

/// What one caller has left.
struct Allowance {
    rate: RateLimiter<NotKeyed, InMemoryState, TokioClock, NoOpMiddleware<Nanos>>,
    permits: Arc<Semaphore>,
    /// Nanoseconds on the clock of the limits.
    last_used: AtomicU64,
}

/// Tokio's clock, so that tests own the time.
#[derive(Clone, Copy)]
struct TokioClock {
    started: Instant,
}

impl Clock for TokioClock {
    type Instant = Nanos;

    fn now(&self) -> Nanos {
        self.started.elapsed().into()
    }
}

impl CallerLimits {
    /// Makes limits that nobody has used yet.
    pub(super) fn new(settings: &Settings) -> Self {
        let parameters = LimitParameters::from_settings(settings);
        let clock = TokioClock { started: Instant::now() };
        let shared = Arc::new(Allowance::new(&parameters, clock));
        Self { parameters, clock, table: Mutex::default(), shared }
    }

    /// Takes a place for one request of this verified client id; where all are taken, waits for one, at most
    /// [`QUEUE_TIMEOUT`]: a provider app that subscribes fifty tenants at once is no attacker.
    ///
    /// # Errors
    /// [`AuthError::TooMany`]; a refused request uses nothing up.
    ///
    /// # Cancel safety
    /// Who leaves the queue has taken nothing.
    pub(super) async fn admit(&self, client_id: &str) -> Result<InFlightPermit, AuthError> {
        match self.try_admit(client_id) {
            Err(AuthError::TooMany { reason: IN_FLIGHT, retry_after }) => {
                let permits = Arc::clone(&self.allowance(client_id).permits);
                let waiting = timeout(QUEUE_TIMEOUT, permits.acquire_owned()).await;
                let Ok(Ok(permit)) = waiting else {
                    return Err(AuthError::TooMany { reason: IN_FLIGHT, retry_after });
                };
                self.check_rate(&self.allowance(client_id), permit)
            }
            settled => settled,
        }
    }

    /// As [`CallerLimits::admit`], without waiting.
    fn try_admit(&self, client_id: &str) -> Result<InFlightPermit, AuthError> {
        let allowance = self.allowance(client_id);
        let Ok(permit) = Arc::clone(&allowance.permits).try_acquire_owned() else {
            return Err(AuthError::TooMany { reason: IN_FLIGHT, retry_after: RETRY_SOON });
        };
        self.check_rate(&allowance, permit)
    }

    fn check_rate(
        &self,
        allowance: &Allowance,
        permit: OwnedSemaphorePermit,
    ) -> Result<InFlightPermit, AuthError> {
        match allowance.rate.check() {
            Ok(()) => Ok(InFlightPermit { _permit: permit }),
            Err(until) => {
                let retry_after = until.wait_time_from(self.clock.now());
                Err(AuthError::TooMany { reason: RATE, retry_after })
            }
        }
    }

    /// The caller's own allowance; a new caller's after those at rest made room, else the shared one.
    fn allowance(&self, client_id: &str) -> Arc<Allowance> {
        let now = self.clock.now().as_u64();
        let mut table = self.table.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = table.get(client_id) {
            known.last_used.store(now, Ordering::Relaxed);
            return Arc::clone(known);
        }
        if table.len() >= MOST_CALLERS {
            table.retain(|_, allowance| !allowance.is_idle(&self.parameters, now));
        }
        if table.len() >= MOST_CALLERS {
            return Arc::clone(&self.shared);
        }
        let new = Arc::new(Allowance::new(&self.parameters, self.clock));
        new.last_used.store(now, Ordering::Relaxed);
        table.insert(client_id.to_owned(), Arc::clone(&new));
        new
    }
}

impl LimitParameters {
    fn from_settings(settings: &Settings) -> Self {
        let at_least_one = |number: u32| NonZeroU32::new(number).unwrap_or(NonZeroU32::MIN);
        let (rate, burst) =
            (at_least_one(settings.requests_per_second), at_least_one(settings.burst));
        Self {
            quota: Quota::per_second(rate).allow_burst(burst),
            in_flight: settings.max_in_flight,
            idle_time: Duration::from_secs(1) * burst.get() / rate.get(),
        }
    }
}

impl Allowance {
    fn new(parameters: &LimitParameters, clock: TokioClock) -> Self {
        Self {
            rate: RateLimiter::direct_with_clock(parameters.quota, clock),
            permits: Arc::new(Semaphore::new(parameters.in_flight)),
            last_used: AtomicU64::new(0),
        }
    }

    /// Whether forgetting it would give its caller nothing that it does not have.
    fn is_idle(&self, parameters: &LimitParameters, now: u64) -> bool {
        let quiet =
            Duration::from_nanos(now.saturating_sub(self.last_used.load(Ordering::Relaxed)));
        quiet >= parameters.idle_time && self.permits.available_permits() == parameters.in_flight
    }
}

#[cfg(test)]
mod tests {
    use super::{CallerLimits, IN_FLIGHT, InFlightPermit, MOST_CALLERS, RATE};
    use crate::auth::{AuthError, Settings};
    use std::time::Duration;
    use tokio::time;

    fn limits() -> CallerLimits {
        CallerLimits::new(&Settings::default())
    }

    /// How many of `count` requests, each answered at once, are let in.
    fn let_in(limits: &CallerLimits, client: &str, count: usize) -> usize {
        (0..count).filter(|_| limits.try_admit(client).is_ok()).count()
    }

    fn refusal(limits: &CallerLimits, client: &str) -> (&'static str, Duration) {
        match limits.try_admit(client) {
            Err(AuthError::TooMany { reason, retry_after }) => (reason, retry_after),
            other => panic!("{other:?}"),
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_request_waits_a_second_for_a_place_of_its_caller() {
        let limits = limits();
        let mut held: Vec<InFlightPermit> =
            (0..16).map(|_| limits.try_admit("a").unwrap()).collect();
        let begun = time::Instant::now();
        assert!(limits.admit("a").await.is_err());
        assert_eq!(begun.elapsed(), Duration::from_secs(1));
        let (waited, ()) = tokio::join!(limits.admit("a"), async {
            time::sleep(Duration::from_millis(900)).await;
            held.pop();
        });
        assert!(waited.is_ok());
    }

    #[tokio::test(start_paused = true)]
    async fn a_rested_caller_may_send_a_hundred_and_then_twenty_a_second() {
        let limits = limits();
        assert_eq!(let_in(&limits, "a", 150), 100);
        time::advance(Duration::from_secs(1)).await;
        assert_eq!(let_in(&limits, "a", 150), 20);
        time::advance(Duration::from_secs(3600)).await;
        assert_eq!(let_in(&limits, "a", 150), 100);
    }

    #[tokio::test(start_paused = true)]
    async fn who_is_too_fast_is_told_when_the_next_one_is_taken() {
        let limits = limits();
        let_in(&limits, "a", 100);
        let (reason, wait) = refusal(&limits, "a");
        assert_eq!(reason, RATE);
        assert!(wait > Duration::ZERO && wait <= Duration::from_millis(50), "{wait:?}");
        time::advance(Duration::from_millis(40)).await;
        assert_eq!(refusal(&limits, "a").0, RATE);
        time::advance(Duration::from_millis(10)).await;
        assert!(limits.try_admit("a").is_ok());
    }

    #[tokio::test(start_paused = true)]
    async fn sixteen_at_once_and_a_place_comes_back_when_its_answer_is_done() {
        let limits = limits();
        let mut held: Vec<InFlightPermit> =
            (0..16).map(|_| limits.try_admit("a").unwrap()).collect();
        assert_eq!(refusal(&limits, "a"), (IN_FLIGHT, Duration::from_secs(1)));
        held.pop();
        held.push(limits.try_admit("a").unwrap());
        assert_eq!(refusal(&limits, "a").0, IN_FLIGHT);
    }

    #[tokio::test(start_paused = true)]
    async fn refused_requests_use_nothing_up() {
        let limits = limits();
        let held: Vec<InFlightPermit> = (0..16).map(|_| limits.try_admit("a").unwrap()).collect();
        assert_eq!(let_in(&limits, "a", 1000), 0);
        drop(held);
        assert_eq!(let_in(&limits, "a", 1000), 84);
        assert_eq!(let_in(&limits, "a", 1000), 0);
        time::advance(Duration::from_secs(1)).await;
        assert_eq!(let_in(&limits, "a", 1000), 20);
    }

    #[tokio::test(start_paused = true)]
    async fn one_caller_costs_another_nothing() {
        let limits = limits();
        let _held: Vec<InFlightPermit> = (0..16).map(|_| limits.try_admit("a").unwrap()).collect();
        assert_eq!(let_in(&limits, "b", 1000), 100);
    }

    #[tokio::test(start_paused = true)]
    async fn the_table_is_bounded_and_forgets_only_callers_at_rest() {
        let limits = limits();
        let _held = limits.try_admit("busy").unwrap();
        assert_eq!(let_in(&limits, "busy", 1000), 99);
        for number in 1..MOST_CALLERS {
            assert!(limits.try_admit(&format!("client-{number}")).is_ok());
        }
        assert_eq!(let_in(&limits, "late", 1000), 100, "the shared allowance");
        assert_eq!(let_in(&limits, "later", 1000), 0, "it is one for all of them");
        assert_eq!(limits.table.lock().unwrap().len(), MOST_CALLERS);
        time::advance(Duration::from_secs(5)).await;
        assert_eq!(let_in(&limits, "later", 1000), 100);
        let table = limits.table.lock().unwrap();
        assert_eq!(table.len(), 2, "all but the one with a request in flight were at rest");
        assert!(table.contains_key("busy") && table.contains_key("later"));
    }

    #[tokio::test(start_paused = true)]
    async fn forgetting_a_caller_gives_it_nothing() {
        let limits = limits();
        for number in 1..MOST_CALLERS {
            assert!(limits.try_admit(&format!("client-{number}")).is_ok());
        }
        time::advance(Duration::from_secs(1)).await;
        assert_eq!(let_in(&limits, "eager", 1000), 100);
        time::advance(Duration::from_millis(4900)).await;
        assert!(limits.try_admit("late").is_ok(), "makes the others go");
        assert_eq!(limits.table.lock().unwrap().len(), 2);
        assert_eq!(let_in(&limits, "eager", 1000), 98);
    }

    #[tokio::test(start_paused = true)]
    async fn other_settings_are_other_limits() {
        let settings =
            Settings { requests_per_second: 2, burst: 3, max_in_flight: 1, ..Settings::default() };
        let limits = CallerLimits::new(&settings);
        assert_eq!(let_in(&limits, "a", 10), 3);
        time::advance(Duration::from_secs(1)).await;
        let _held = limits.try_admit("a").unwrap();
        assert_eq!(refusal(&limits, "a").0, IN_FLIGHT);
    }
}
