//! Keeps a value and renews it. Each cache of the broker whose content ages is one [`Refreshed`].
//!
//! Invariant: at most one renewal runs per value, in its own task (a *flight*). A caller that goes
//! away cancels nothing. All waiters of a flight share its result, a failure too. A failure is
//! remembered until its `retry_at`; before that no caller starts a flight, unless it forces one. A
//! failed flight removes no value, unless the failure says so.
//!
//! There is no timer: callers start the flights. What a value is, how it ages and how long a
//! failure counts is up to the [`Renew`] of the user. Reading a fresh value takes no lock.

use arc_swap::ArcSwapOption;
use std::{
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    thread,
};
use tokio::{sync::watch, time::Instant};
use tokio_util::task::TaskTracker;

/// After this many failures of an outage in a row callers do not wait for the next flight. They get
/// the last failure at once, as behind an open breaker.
const LASTING_OUTAGE: u32 = 2;

/// How a value may be used at a moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ValueAge {
    /// Served; nothing else happens.
    Fresh,
    /// Served at once; renewed in the background.
    Ageing,
    /// Renewed first; served if that fails, and at once while it is known to fail.
    Stale,
    /// Not served.
    Expired,
}

/// What a flight was started for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FlightKind {
    /// The value is missing or old, or a caller has a reason to doubt it.
    Normal,
    /// Somebody wants an attempt now, past the memory of failures.
    Forced,
}

/// Why there is no new value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RenewalFailure<E> {
    /// What the waiters get.
    pub error: E,
    /// When the next flight may start.
    pub retry_at: Instant,
    /// What becomes of the value in service.
    pub previous: PreviousValue,
    /// Who must wait until then.
    pub holds: FailureHold,
}

/// What a failure does to the value in service.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PreviousValue {
    /// It is served until its own end.
    Kept,
    /// It is known to be wrong, and removed.
    Removed,
}

/// Whom a failure keeps from starting the next flight.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FailureHold {
    /// Everyone.
    Everyone,
    /// Renewals of a value that can be served. Callers without a value start a flight: its end may
    /// have opened other ways.
    Background,
}

impl<E> RenewalFailure<E> {
    /// A failure that removes nothing and holds everyone.
    pub fn new(error: E, retry_at: Instant) -> Self {
        let (previous, holds) = (PreviousValue::Kept, FailureHold::Everyone);
        Self { error, retry_at, previous, holds }
    }
}

/// The result of a flight.
pub type RenewalResult<V, E> = Result<V, RenewalFailure<E>>;

/// What a flight starts from.
pub struct RenewalAttempt<R: Renew> {
    /// The last value, expired or not.
    pub previous: Option<Arc<R::Value>>,
    /// The error of the flight before, if it failed.
    pub last_error: Option<R::Error>,
    /// Failed flights since the last success.
    pub failures: u32,
    /// Why it was started.
    pub kind: FlightKind,
}

impl<R: Renew> fmt::Debug for RenewalAttempt<R> {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("RenewalAttempt")
            .field("failures", &self.failures)
            .field("kind", &self.kind)
            .finish_non_exhaustive()
    }
}

/// Renews one value.
pub trait Renew: Send + Sync + Sized + 'static {
    /// What is kept.
    type Value: Send + Sync + 'static;

    /// Why there is none. Each waiter gets a clone.
    type Error: Clone + Send + Sync + 'static;

    /// Gets the next value. Retries within one flight are made here.
    fn renew(
        &self,
        attempt: RenewalAttempt<Self>,
    ) -> impl Future<Output = RenewalResult<Self::Value, Self::Error>> + Send;

    /// How the value may be used. Must be cheap and take no lock.
    fn age(&self, value: &Self::Value, now: Instant) -> ValueAge;

    /// The failure of a flight that has ended without a result: it has panicked, or the process
    /// ends.
    fn broken_off(&self, now: Instant) -> RenewalFailure<Self::Error>;

    /// Logs that a flight has panicked.
    fn log_panic(&self) {}

    /// Whether the error shows an outage. Once it lasts, callers do not wait for a flight.
    fn is_outage(&self, _error: &Self::Error) -> bool {
        false
    }
}

/// A value that `R` renews; a clone is shallow.
pub struct Refreshed<R: Renew>(Arc<RefreshedInner<R>>);

struct RefreshedInner<R: Renew> {
    renewer: R,
    tasks: TaskTracker,
    /// Written only while `flights` is locked.
    value: ArcSwapOption<R::Value>,
    /// Never held across an await.
    flights: Mutex<FlightState<R>>,
}

/// The flight under way and the memory of the last failure.
struct FlightState<R: Renew> {
    running: Option<RunningFlight<R>>,
    failure: Option<RenewalFailure<R::Error>>,
    failures: u32,
    /// Failures of an outage in a row that hold everyone.
    outage_failures: u32,
}

struct RunningFlight<R: Renew> {
    kind: FlightKind,
    result: FlightResult<R>,
}

/// `None` until the flight has ended.
type FlightResult<R> = watch::Receiver<Option<SharedResult<R>>>;

type SharedResult<R> = RenewalResult<Arc<<R as Renew>::Value>, <R as Renew>::Error>;

/// What a caller does next.
enum CallerStep<R: Renew> {
    Return(SharedResult<R>),
    Wait(FlightResult<R>),
}

impl<R: Renew> Refreshed<R> {
    /// Starts without a value; makes no call. Flights run on `tasks`.
    pub fn new(renewer: R, tasks: TaskTracker) -> Self {
        let (value, flights) = (ArcSwapOption::empty(), Mutex::default());
        Self(Arc::new(RefreshedInner { renewer, tasks, value, flights }))
    }

    /// Returns what renews the value.
    pub fn renewer(&self) -> &R {
        &self.0.renewer
    }

    /// Returns the last value, expired or not. Starts nothing.
    pub fn latest(&self) -> Option<Arc<R::Value>> {
        self.0.value.load_full()
    }

    /// Returns the value unless it has expired. Starts nothing.
    pub fn usable(&self, now: Instant) -> Option<Arc<R::Value>> {
        self.latest().filter(|value| self.age(value, now) != ValueAge::Expired)
    }

    /// Returns the failure of the last flight, until one succeeds.
    pub fn failure(&self) -> Option<RenewalFailure<R::Error>> {
        self.flights().failure.clone()
    }

    /// Returns the value if it can be served at once. An old one starts its renewal in the
    /// background.
    pub fn serve(&self, now: Instant) -> Option<(Arc<R::Value>, ValueAge)> {
        let value = self.latest()?;
        let age = self.age(&value, now);
        if !matches!(age, ValueAge::Fresh) {
            let mut state = self.flights();
            if age == ValueAge::Expired || (age == ValueAge::Stale && state.failure.is_none()) {
                return None;
            }
            if state.running.is_none() && state.pause(now).is_none() && self.is_latest(&value) {
                self.start(&mut state, FlightKind::Normal);
            }
        }
        Some((value, age))
    }

    /// Returns a value that can be served; gets one if there is none.
    ///
    /// # Errors
    /// The failure of the flight, or the remembered one.
    ///
    /// # Cancel safety
    /// The flight is its own task: a caller that goes away neither stops nor repeats it.
    pub async fn get(&self) -> SharedResult<R> {
        let now = Instant::now();
        if let Some((value, _)) = self.serve(now) {
            return Ok(value);
        }
        let result = match self.next_for_caller(now) {
            CallerStep::Return(result) => result,
            CallerStep::Wait(flight) => self.wait(flight).await,
        };
        // A new value that has almost no time left is shared as well; otherwise each waiter would
        // get another one.
        result.or_else(|failure| self.usable(Instant::now()).ok_or(failure))
    }

    /// Renews the value for a caller that cannot use `used`. Returns at once if it is no longer the
    /// last value, and during the pause after a failure. A flight under way is joined, although it
    /// may have been answered before the caller's question.
    ///
    /// # Errors
    /// The failure of the flight or the remembered one, although a value may be in service.
    ///
    /// # Cancel safety
    /// As [`Self::get`].
    pub async fn renew(&self, used: Option<&Arc<R::Value>>) -> SharedResult<R> {
        match self.next_after(used, Instant::now()) {
            CallerStep::Return(result) => result,
            CallerStep::Wait(flight) => self.wait(flight).await,
        }
    }

    /// Waits for the end of the flight under way, if there is one. Starts nothing.
    ///
    /// # Cancel safety
    /// As [`Self::get`].
    pub async fn join(&self) {
        let running = self.flights().running.as_ref().map(|running| running.result.clone());
        if let Some(flight) = running {
            drop(self.wait(flight).await);
        }
    }

    /// Makes a forced attempt, past the memory of failures. A forced flight under way is joined,
    /// any other one is waited for first.
    ///
    /// # Errors
    /// The failure of this flight.
    ///
    /// # Cancel safety
    /// As [`Self::get`].
    pub async fn force(&self) -> SharedResult<R> {
        loop {
            let (kind, flight) = {
                let mut state = self.flights();
                match &state.running {
                    Some(running) => (running.kind, running.result.clone()),
                    None => (FlightKind::Forced, self.start(&mut state, FlightKind::Forced)),
                }
            };
            let result = self.wait(flight).await;
            if kind == FlightKind::Forced {
                return result;
            }
        }
    }

    /// Puts `next` in the place of `used`, if that is still the last value. `None` removes it.
    pub fn replace(&self, used: &Arc<R::Value>, next: Option<R::Value>) {
        let _state = self.flights();
        if self.is_latest(used) {
            self.0.value.store(next.map(Arc::new));
        }
    }

    /// Removes the value. A flight under way does not learn of it and stores its own when it lands,
    /// as if that were later. A user that wants no further value drops its handle, and the last one
    /// goes with the waiters.
    pub fn clear(&self) {
        let _state = self.flights();
        self.0.value.store(None);
    }

    /// Takes a result that was got before the first flight.
    pub fn prime(&self, result: RenewalResult<R::Value, R::Error>) {
        drop(self.record(&mut self.flights(), result));
    }

    fn next_for_caller(&self, now: Instant) -> CallerStep<R> {
        let mut state = self.flights();
        if let Some(running) = &state.running {
            return match &state.failure {
                Some(failure) if state.outage_failures >= LASTING_OUTAGE => {
                    CallerStep::Return(Err(failure.clone()))
                }
                Some(_) | None => CallerStep::Wait(running.result.clone()),
            };
        }
        // A flight may have ended since the caller looked.
        let young = self
            .latest()
            .filter(|value| matches!(self.age(value, now), ValueAge::Fresh | ValueAge::Ageing));
        match (young, state.pause(now)) {
            (Some(value), _) => CallerStep::Return(Ok(value)),
            (None, Some(failure)) if failure.holds == FailureHold::Everyone => {
                CallerStep::Return(Err(failure.clone()))
            }
            (None, _) => CallerStep::Wait(self.start(&mut state, FlightKind::Normal)),
        }
    }

    fn next_after(&self, used: Option<&Arc<R::Value>>, now: Instant) -> CallerStep<R> {
        let mut state = self.flights();
        let newer =
            self.latest().filter(|latest| used.is_none_or(|used| !Arc::ptr_eq(used, latest)));
        if let Some(value) = newer {
            return CallerStep::Return(Ok(value));
        }
        if let Some(running) = &state.running {
            return CallerStep::Wait(running.result.clone());
        }
        match state.pause(now) {
            Some(failure) => CallerStep::Return(Err(failure.clone())),
            None => CallerStep::Wait(self.start(&mut state, FlightKind::Normal)),
        }
    }

    fn start(&self, state: &mut FlightState<R>, kind: FlightKind) -> FlightResult<R> {
        let (sender, result) = watch::channel(None);
        state.running = Some(RunningFlight { kind, result: result.clone() });
        let attempt = RenewalAttempt {
            previous: self.latest(),
            last_error: state.failure.as_ref().map(|failure| failure.error.clone()),
            failures: state.failures,
            kind,
        };
        let refreshed = self.clone();
        self.0.tasks.spawn(async move {
            // Made by the task: a runtime that stops drops a new task at once, under the lock.
            let flight = FlightGuard { refreshed, sender, result: None };
            let result = flight.refreshed.0.renewer.renew(attempt).await;
            flight.land(result);
        });
        result
    }

    async fn wait(&self, mut flight: FlightResult<R>) -> SharedResult<R> {
        let result = flight.wait_for(Option::is_some).await.ok().and_then(|result| result.clone());
        result.unwrap_or_else(|| Err(self.0.renewer.broken_off(Instant::now())))
    }

    fn record(
        &self,
        state: &mut FlightState<R>,
        result: RenewalResult<R::Value, R::Error>,
    ) -> SharedResult<R> {
        let failure = match result {
            Ok(value) => {
                let value = Arc::new(value);
                self.0.value.store(Some(Arc::clone(&value)));
                *state = FlightState { running: state.running.take(), ..FlightState::default() };
                return Ok(value);
            }
            Err(failure) => failure,
        };
        if failure.previous == PreviousValue::Removed {
            self.0.value.store(None);
        }
        state.failures = state.failures.saturating_add(1);
        let is_outage =
            failure.holds == FailureHold::Everyone && self.0.renewer.is_outage(&failure.error);
        state.outage_failures = if is_outage { state.outage_failures.saturating_add(1) } else { 0 };
        state.failure = Some(failure.clone());
        Err(failure)
    }

    fn age(&self, value: &R::Value, now: Instant) -> ValueAge {
        self.0.renewer.age(value, now)
    }

    fn is_latest(&self, value: &Arc<R::Value>) -> bool {
        self.0.value.load().as_ref().is_some_and(|latest| Arc::ptr_eq(latest, value))
    }

    fn flights(&self) -> MutexGuard<'_, FlightState<R>> {
        self.0.flights.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<R: Renew> FlightState<R> {
    /// Returns the failure during the pause after it.
    fn pause(&self, now: Instant) -> Option<&RenewalFailure<R::Error>> {
        self.failure.as_ref().filter(|failure| now < failure.retry_at)
    }
}

impl<R: Renew> Default for FlightState<R> {
    fn default() -> Self {
        Self { running: None, failure: None, failures: 0, outage_failures: 0 }
    }
}

impl<R: Renew> Clone for Refreshed<R> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<R: Renew> fmt::Debug for Refreshed<R> {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("Refreshed").finish_non_exhaustive()
    }
}

/// The end of a flight: dropping it records the result and tells the waiters, also after a panic.
struct FlightGuard<R: Renew> {
    refreshed: Refreshed<R>,
    sender: watch::Sender<Option<SharedResult<R>>>,
    result: Option<RenewalResult<R::Value, R::Error>>,
}

impl<R: Renew> FlightGuard<R> {
    fn land(mut self, result: RenewalResult<R::Value, R::Error>) {
        self.result = Some(result);
    }
}

impl<R: Renew> Drop for FlightGuard<R> {
    fn drop(&mut self) {
        let renewer = &self.refreshed.0.renewer;
        let result = self.result.take().unwrap_or_else(|| {
            // A runtime that stops drops its tasks as well; that is no mistake.
            if thread::panicking() {
                renewer.log_panic();
            }
            Err(renewer.broken_off(Instant::now()))
        });
        let mut state = self.refreshed.flights();
        state.running = None;
        let shared = self.refreshed.record(&mut state, result);
        self.sender.send_replace(Some(shared));
    }
}

#[cfg(test)]
mod tests;
