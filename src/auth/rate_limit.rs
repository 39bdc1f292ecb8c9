//! Limits per caller: requests per second, and requests in flight. The numbers are in
//! `docs/reference/caller-rules.md`.
//!
//! Invariant: the keys of the table are verified client ids, at most [`MOST_CALLERS`] of them. One
//! caller never takes from the allowance of another; only new callers of a full table share one.
//! For [`Verifier`](super::Verifier) only.

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

/// Most callers with an allowance of their own, some hundred bytes each. A subaccount has some
/// dozens of clients. Callers beyond that share one allowance until others have been idle.
const MOST_CALLERS: usize = 1024;

/// `Retry-After` while all permits of a caller are taken: how long its requests take is unknown.
const RETRY_SOON: Duration = Duration::from_secs(1);

/// How long a request waits for a permit of its caller.
const QUEUE_TIMEOUT: Duration = Duration::from_secs(1);

/// Reason in log and metric: too many requests per second.
pub(super) const RATE: &str = "caller_rate";
/// Reason in log and metric: too many requests in flight.
pub(super) const IN_FLIGHT: &str = "caller_in_flight";

/// The right to have one request of a caller in flight. Returned when dropped.
#[derive(Debug)]
pub struct InFlightPermit {
    _permit: OwnedSemaphorePermit,
}

impl InFlightPermit {
    /// Makes a permit for unit tests of other modules.
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
    /// For new callers while the table is full.
    shared: Arc<Allowance>,
}

/// The limits that apply to each caller.
#[derive(Clone, Copy)]
struct LimitParameters {
    quota: Quota,
    in_flight: usize,
    /// After this time without a request the whole burst is available again.
    idle_time: Duration,
}

/// What one caller has left.
struct Allowance {
    rate: RateLimiter<NotKeyed, InMemoryState, TokioClock, NoOpMiddleware<Nanos>>,
    permits: Arc<Semaphore>,
    /// Nanoseconds on [`TokioClock`].
    last_used: AtomicU64,
}

/// Tokio's clock, so that tests can pause time.
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
    /// Makes the limits; no caller has used anything yet.
    pub(super) fn new(settings: &Settings) -> Self {
        let parameters = LimitParameters::from_settings(settings);
        let clock = TokioClock { started: Instant::now() };
        let shared = Arc::new(Allowance::new(&parameters, clock));
        Self { parameters, clock, table: Mutex::default(), shared }
    }

    /// Takes a permit for one request of this verified client id. If all are taken, it waits for
    /// one, at most [`QUEUE_TIMEOUT`]: a provider app that subscribes fifty tenants at once is no
    /// attacker.
    ///
    /// # Errors
    /// [`AuthError::TooMany`]. A refused request takes nothing from the allowance.
    ///
    /// # Cancel safety
    /// A call that is dropped while it waits has taken nothing.
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

    /// Returns the caller's own allowance. A new caller gets one after idle callers were removed.
    /// If the table is still full, it gets the shared one.
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

    /// Whether it can be removed: a new allowance would give its caller nothing more.
    fn is_idle(&self, parameters: &LimitParameters, now: u64) -> bool {
        let idle = Duration::from_nanos(now.saturating_sub(self.last_used.load(Ordering::Relaxed)));
        idle >= parameters.idle_time && self.permits.available_permits() == parameters.in_flight
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

    /// How many of `count` requests are admitted. Each one is answered at once.
    fn admitted(limits: &CallerLimits, client: &str, count: usize) -> usize {
        (0..count).filter(|_| limits.try_admit(client).is_ok()).count()
    }

    fn refusal(limits: &CallerLimits, client: &str) -> (&'static str, Duration) {
        match limits.try_admit(client) {
            Err(AuthError::TooMany { reason, retry_after }) => (reason, retry_after),
            other => panic!("{other:?}"),
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_request_waits_a_second_for_a_permit_of_its_caller() {
        let limits = limits();
        let mut permits: Vec<InFlightPermit> =
            (0..16).map(|_| limits.try_admit("a").unwrap()).collect();
        let begun = time::Instant::now();
        assert!(limits.admit("a").await.is_err());
        assert_eq!(begun.elapsed(), Duration::from_secs(1));
        let (waited, ()) = tokio::join!(limits.admit("a"), async {
            time::sleep(Duration::from_millis(900)).await;
            permits.pop();
        });
        assert!(waited.is_ok());
    }

    #[tokio::test(start_paused = true)]
    async fn an_idle_caller_may_send_a_hundred_and_then_twenty_a_second() {
        let limits = limits();
        assert_eq!(admitted(&limits, "a", 150), 100);
        time::advance(Duration::from_secs(1)).await;
        assert_eq!(admitted(&limits, "a", 150), 20);
        time::advance(Duration::from_secs(3600)).await;
        assert_eq!(admitted(&limits, "a", 150), 100);
    }

    #[tokio::test(start_paused = true)]
    async fn a_caller_that_is_too_fast_gets_the_time_of_the_next_request() {
        let limits = limits();
        admitted(&limits, "a", 100);
        let (reason, wait) = refusal(&limits, "a");
        assert_eq!(reason, RATE);
        assert!(wait > Duration::ZERO && wait <= Duration::from_millis(50), "{wait:?}");
        time::advance(Duration::from_millis(40)).await;
        assert_eq!(refusal(&limits, "a").0, RATE);
        time::advance(Duration::from_millis(10)).await;
        assert!(limits.try_admit("a").is_ok());
    }

    #[tokio::test(start_paused = true)]
    async fn sixteen_in_flight_and_a_permit_returns_with_the_end_of_its_answer() {
        let limits = limits();
        let mut permits: Vec<InFlightPermit> =
            (0..16).map(|_| limits.try_admit("a").unwrap()).collect();
        assert_eq!(refusal(&limits, "a"), (IN_FLIGHT, Duration::from_secs(1)));
        permits.pop();
        permits.push(limits.try_admit("a").unwrap());
        assert_eq!(refusal(&limits, "a").0, IN_FLIGHT);
    }

    #[tokio::test(start_paused = true)]
    async fn refused_requests_take_nothing_from_the_allowance() {
        let limits = limits();
        let permits: Vec<InFlightPermit> =
            (0..16).map(|_| limits.try_admit("a").unwrap()).collect();
        assert_eq!(admitted(&limits, "a", 1000), 0);
        drop(permits);
        assert_eq!(admitted(&limits, "a", 1000), 84);
        assert_eq!(admitted(&limits, "a", 1000), 0);
        time::advance(Duration::from_secs(1)).await;
        assert_eq!(admitted(&limits, "a", 1000), 20);
    }

    #[tokio::test(start_paused = true)]
    async fn one_caller_takes_nothing_from_another() {
        let limits = limits();
        let _held: Vec<InFlightPermit> = (0..16).map(|_| limits.try_admit("a").unwrap()).collect();
        assert_eq!(admitted(&limits, "b", 1000), 100);
    }

    #[tokio::test(start_paused = true)]
    async fn the_table_is_bounded_and_drops_only_idle_callers() {
        let limits = limits();
        let _held = limits.try_admit("busy").unwrap();
        assert_eq!(admitted(&limits, "busy", 1000), 99);
        for number in 1..MOST_CALLERS {
            assert!(limits.try_admit(&format!("client-{number}")).is_ok());
        }
        assert_eq!(admitted(&limits, "late", 1000), 100, "the shared allowance");
        assert_eq!(admitted(&limits, "later", 1000), 0, "one for all new callers");
        assert_eq!(limits.table.lock().unwrap().len(), MOST_CALLERS);
        time::advance(Duration::from_secs(5)).await;
        assert_eq!(admitted(&limits, "later", 1000), 100);
        let table = limits.table.lock().unwrap();
        assert_eq!(table.len(), 2, "all but the one with a request in flight were idle");
        assert!(table.contains_key("busy") && table.contains_key("later"));
    }

    #[tokio::test(start_paused = true)]
    async fn dropping_a_caller_gives_it_nothing_more() {
        let limits = limits();
        for number in 1..MOST_CALLERS {
            assert!(limits.try_admit(&format!("client-{number}")).is_ok());
        }
        time::advance(Duration::from_secs(1)).await;
        assert_eq!(admitted(&limits, "eager", 1000), 100);
        time::advance(Duration::from_millis(4900)).await;
        assert!(limits.try_admit("late").is_ok(), "the others are removed");
        assert_eq!(limits.table.lock().unwrap().len(), 2);
        assert_eq!(admitted(&limits, "eager", 1000), 98);
    }

    #[tokio::test(start_paused = true)]
    async fn other_settings_are_other_limits() {
        let settings =
            Settings { requests_per_second: 2, burst: 3, max_in_flight: 1, ..Settings::default() };
        let limits = CallerLimits::new(&settings);
        assert_eq!(admitted(&limits, "a", 10), 3);
        time::advance(Duration::from_secs(1)).await;
        let _held = limits.try_admit("a").unwrap();
        assert_eq!(refusal(&limits, "a").0, IN_FLIGHT);
    }
}
