//! What one caller has left: requests per second, requests in flight, waits for CF.
//!
//! Invariant: the pauses that refused requests get are one after the other, so that repeated
//! requests do not all come at once. For `rate_limit` only.

use super::{
    AuthError, Settings,
    rate_limit::{CallerLimit, LimitKind, LimitedCaller},
};
use governor::{
    Quota, RateLimiter,
    clock::Clock,
    middleware::NoOpMiddleware,
    nanos::Nanos,
    state::{InMemoryState, NotKeyed},
};
use std::{
    num::NonZeroU32,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    time::{Instant, timeout_at},
};

/// The first pause while all permits of a caller are taken. How long its requests take is not
/// known, so this is also taken as the time of one.
const RETRY_SOON: Duration = Duration::from_secs(1);
/// Longest pause. Beyond, the pauses are random from half of it on.
const LONGEST_PAUSE: Duration = Duration::from_secs(30);

/// The limits that apply to each caller of one kind.
#[derive(Clone, Copy)]
pub(super) struct LimitParameters {
    per_second: NonZeroU32,
    burst: NonZeroU32,
    in_flight: usize,
    waits: usize,
}

/// What one caller has left.
pub(super) struct Allowance {
    of: LimitedCaller,
    parameters: LimitParameters,
    clock: TokioClock,
    rate: RateLimiter<NotKeyed, InMemoryState, TokioClock, NoOpMiddleware<Nanos>>,
    permits: Arc<Semaphore>,
    waits: Arc<Semaphore>,
    /// When the next refused request should come again; nanoseconds on [`TokioClock`].
    next_slot: AtomicU64,
    /// Nanoseconds on [`TokioClock`].
    pub(super) last_used: AtomicU64,
}

/// Tokio's clock, so that tests can pause time.
#[derive(Clone, Copy)]
pub(super) struct TokioClock {
    started: Instant,
}

impl TokioClock {
    pub(super) fn start() -> Self {
        Self { started: Instant::now() }
    }
}

impl Clock for TokioClock {
    type Instant = Nanos;

    fn now(&self) -> Nanos {
        self.started.elapsed().into()
    }
}

impl LimitParameters {
    /// Those of one client or one user.
    pub(super) fn of_one(settings: &Settings) -> Self {
        Self {
            per_second: at_least_one(settings.requests_per_second),
            burst: at_least_one(settings.burst),
            in_flight: settings.max_in_flight,
            waits: settings.max_waiting,
        }
    }

    /// Those of all users of one client together.
    pub(super) fn of_users(settings: &Settings) -> Self {
        Self {
            per_second: at_least_one(settings.users.requests_per_second),
            burst: at_least_one(settings.users.burst),
            in_flight: settings.users.max_in_flight,
            waits: settings.max_waiting,
        }
    }

    /// After this time without a request the whole burst is available again.
    fn idle_time(&self) -> Duration {
        Duration::from_secs(1) * self.burst.get() / self.per_second.get()
    }

    /// Time between the turns of two repeats: a quarter longer than the rate allows, for requests
    /// that come for the first time.
    fn turn(&self) -> Duration {
        Duration::from_millis(1250) / self.per_second.get()
    }
}

fn at_least_one(number: u32) -> NonZeroU32 {
    NonZeroU32::new(number).unwrap_or(NonZeroU32::MIN)
}

impl Allowance {
    pub(super) fn new(of: LimitedCaller, parameters: LimitParameters, clock: TokioClock) -> Self {
        let quota = Quota::per_second(parameters.per_second).allow_burst(parameters.burst);
        Self {
            of,
            parameters,
            clock,
            rate: RateLimiter::direct_with_clock(quota, clock),
            permits: Arc::new(Semaphore::new(parameters.in_flight)),
            waits: Arc::new(Semaphore::new(parameters.waits)),
            next_slot: AtomicU64::new(0),
            last_used: AtomicU64::new(0),
        }
    }

    pub(super) fn clock(&self) -> TokioClock {
        self.clock
    }

    pub(super) fn waits(&self) -> Arc<Semaphore> {
        Arc::clone(&self.waits)
    }

    /// Takes a place for a request in flight; waits for one until the given time.
    pub(super) async fn place(&self, until: Instant) -> Result<OwnedSemaphorePermit, AuthError> {
        let permits = || Arc::clone(&self.permits);
        if let Ok(permit) = permits().try_acquire_owned() {
            return Ok(permit);
        }
        match timeout_at(until, permits().acquire_owned()).await {
            Ok(Ok(permit)) => Ok(permit),
            Ok(Err(_)) | Err(_) => Err(self.no_place()),
        }
    }

    fn no_place(&self) -> AuthError {
        let most = self.parameters.in_flight;
        let each = RETRY_SOON / u32::try_from(most).unwrap_or(u32::MAX).max(1);
        let pause = self.slot(RETRY_SOON, each.max(self.parameters.turn()));
        self.refusal(LimitKind::InFlight { most }, pause)
    }

    /// Counts a request, or refuses it.
    pub(super) fn check_rate(&self) -> Result<(), AuthError> {
        self.rate.check().map_err(|until| {
            let LimitParameters { per_second, burst, .. } = self.parameters;
            let kind = LimitKind::Rate { per_second: per_second.get(), burst: burst.get() };
            let wait = until.wait_time_from(self.clock.now());
            self.refusal(kind, self.slot(wait, self.parameters.turn()))
        })
    }

    fn refusal(&self, kind: LimitKind, retry_after: Duration) -> AuthError {
        AuthError::TooMany { limit: CallerLimit { of: self.of, kind }, retry_after }
    }

    /// Gives a refused request a pause behind those that were refused before it. `earliest` is the
    /// shortest pause, `each` the time that one request is given.
    fn slot(&self, earliest: Duration, each: Duration) -> Duration {
        let nanos = |time: Duration| u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
        let now = self.clock.now().as_u64();
        let latest = now.saturating_add(nanos(LONGEST_PAUSE));
        let next = |slot: u64| {
            let slot = slot.max(now.saturating_add(nanos(earliest)));
            Some(slot.saturating_add(nanos(each)).min(latest))
        };
        let former = self.next_slot.fetch_update(Ordering::Relaxed, Ordering::Relaxed, next);
        let former = former.unwrap_or_else(|slot| slot);
        let pause = Duration::from_nanos(former.saturating_sub(now)).max(earliest);
        if pause.saturating_add(each) < LONGEST_PAUSE {
            return pause;
        }
        LONGEST_PAUSE.mul_f64(0.5 + fastrand::f64() / 2.0)
    }

    /// Whether it can be removed: a new allowance would give its caller nothing more.
    pub(super) fn is_idle(&self, now: Nanos) -> bool {
        let unused = now.as_u64().saturating_sub(self.last_used.load(Ordering::Relaxed));
        Duration::from_nanos(unused) >= self.parameters.idle_time()
            && self.permits.available_permits() == self.parameters.in_flight
            && self.waits.available_permits() == self.parameters.waits
    }
}
