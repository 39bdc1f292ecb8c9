//! Limits per caller: requests per second, and requests in flight. The numbers are in
//! `docs/reference/caller-rules.md`.
//!
//! A technical client is one caller. People share the client id of an approuter, so each person is
//! a caller of its own, and all people of one client share a sum.
//!
//! Invariant: the keys of the tables are verified client ids and users, at most [`MOST_CALLERS`]
//! and [`MOST_USERS`] of them. One caller never takes from the allowance of another; only new
//! callers of a full table share one. For [`Verifier`](super::Verifier) only.

use super::{
    AuthError, Caller, Settings,
    allowance::{Allowance, LimitParameters, TokioClock},
};
use governor::clock::Clock as _;
use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError, atomic::Ordering},
    time::Duration,
};
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    time::Instant,
};

/// Most client ids with an allowance of their own, some hundred bytes each. A subaccount has some
/// dozens of clients. Callers beyond that share one allowance until others have been idle.
const MOST_CALLERS: usize = 1024;
/// The same for users. One client's sum lets far fewer be active at once.
const MOST_USERS: usize = 4096;

/// How long a request waits for a permit of its caller.
const QUEUE_TIMEOUT: Duration = Duration::from_secs(1);

/// A limit that a caller has reached, with its numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CallerLimit {
    /// Whose requests it counts.
    pub of: LimitedCaller,
    /// What it counts.
    pub kind: LimitKind,
}

/// Whose requests a limit counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LimitedCaller {
    /// Those of a client that calls for itself.
    Client,
    /// Those of one user of a client.
    User,
    /// Those of all users of a client.
    Users,
    /// Those of callers for whom the table had no room.
    Newcomers,
}

/// What a limit counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LimitKind {
    /// Requests in time.
    Rate {
        /// In the long run.
        per_second: u32,
        /// At once, after a rest.
        burst: u32,
    },
    /// Requests that are being answered.
    InFlight {
        /// At once.
        most: usize,
    },
}

impl CallerLimit {
    /// The constant word for log and metric.
    pub(super) fn as_str(self) -> &'static str {
        match (self.of, self.kind) {
            (LimitedCaller::Client, LimitKind::Rate { .. }) => "caller_rate",
            (LimitedCaller::Client, LimitKind::InFlight { .. }) => "caller_in_flight",
            (LimitedCaller::User, LimitKind::Rate { .. }) => "user_rate",
            (LimitedCaller::User, LimitKind::InFlight { .. }) => "user_in_flight",
            (LimitedCaller::Users, LimitKind::Rate { .. }) => "users_rate",
            (LimitedCaller::Users, LimitKind::InFlight { .. }) => "users_in_flight",
            (LimitedCaller::Newcomers, LimitKind::Rate { .. }) => "newcomers_rate",
            (LimitedCaller::Newcomers, LimitKind::InFlight { .. }) => "newcomers_in_flight",
        }
    }
}

/// The right to have one request of a caller in flight. Returned when dropped.
#[derive(Debug)]
pub struct InFlightPermit {
    pub(super) place: OwnedSemaphorePermit,
    /// For a user: the place among all users of the client.
    pub(super) sum: Option<OwnedSemaphorePermit>,
    /// The waits for CF that the caller may have.
    pub(super) waits: Arc<Semaphore>,
}

impl InFlightPermit {
    /// Makes a permit for unit tests of other modules.
    #[cfg(test)]
    pub(crate) fn for_tests(place: OwnedSemaphorePermit) -> Self {
        Self { place, sum: None, waits: Arc::new(Semaphore::new(1)) }
    }
}

/// The allowances of all callers.
pub(super) struct CallerLimits {
    clock: TokioClock,
    clients: LimitedCallers,
    users: LimitedCallers,
    /// One for the users of each client.
    sums: LimitedCallers,
}

/// The allowances of one kind of callers.
struct LimitedCallers {
    of: LimitedCaller,
    most: usize,
    parameters: LimitParameters,
    own: Mutex<HashMap<String, Arc<Allowance>>>,
    /// For new callers while the table is full.
    shared: Arc<Allowance>,
}

impl CallerLimits {
    /// Makes the limits; no caller has used anything yet.
    pub(super) fn new(settings: &Settings) -> Self {
        let clock = TokioClock::start();
        let (one, sum) = (LimitParameters::of_one(settings), LimitParameters::of_users(settings));
        Self {
            clock,
            clients: LimitedCallers::new(LimitedCaller::Client, MOST_CALLERS, one, clock),
            users: LimitedCallers::new(LimitedCaller::User, MOST_USERS, one, clock),
            sums: LimitedCallers::new(LimitedCaller::Users, MOST_CALLERS, sum, clock),
        }
    }

    /// Takes a permit for one request of this verified caller. If all are taken, it waits for one,
    /// at most [`QUEUE_TIMEOUT`]: a provider app that subscribes fifty tenants at once is no
    /// attacker.
    ///
    /// # Errors
    /// [`AuthError::TooMany`]. A refused request takes nothing from the allowance that refuses it.
    ///
    /// # Cancel safety
    /// A call that is dropped while it waits has taken nothing.
    pub(super) async fn admit(&self, caller: &Caller) -> Result<InFlightPermit, AuthError> {
        self.admit_until(caller, Instant::now() + QUEUE_TIMEOUT).await
    }

    async fn admit_until(
        &self,
        caller: &Caller,
        until: Instant,
    ) -> Result<InFlightPermit, AuthError> {
        let now = || self.clock.now();
        let Some(user) = user_key(caller) else {
            let own = self.clients.allowance(caller.client_id(), now());
            let place = own.place(until).await?;
            own.check_rate()?;
            return Ok(InFlightPermit { place, sum: None, waits: own.waits() });
        };
        let own = self.users.allowance(&user, now());
        let sum = self.sums.allowance(caller.client_id(), now());
        let place = own.place(until).await?;
        let sum_place = sum.place(until).await?;
        own.check_rate()?;
        sum.check_rate()?;
        Ok(InFlightPermit { place, sum: Some(sum_place), waits: sum.waits() })
    }
}

/// Names a user of a client in the table; `None` for a client that calls for itself. `sub` is the
/// user's id; a user name alone may exist at several identity providers.
pub(super) fn user_key(caller: &Caller) -> Option<String> {
    let name = caller.user()?;
    let (client, origin) = (caller.client_id(), caller.origin().unwrap_or_default());
    let subject = caller.subject().unwrap_or(name);
    // The lengths keep the parts apart, whatever characters they have.
    Some(format!("{}:{}:{client}{origin}{subject}", client.len(), origin.len()))
}

impl LimitedCallers {
    fn new(of: LimitedCaller, most: usize, parameters: LimitParameters, clock: TokioClock) -> Self {
        let shared = Arc::new(Allowance::new(LimitedCaller::Newcomers, parameters, clock));
        Self { of, most, parameters, own: Mutex::default(), shared }
    }

    /// Returns the caller's own allowance. A new caller gets one after idle callers were removed.
    /// If the table is still full, it gets the shared one.
    fn allowance(&self, key: &str, now: governor::nanos::Nanos) -> Arc<Allowance> {
        let mut table = self.own.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = table.get(key) {
            known.last_used.store(now.as_u64(), Ordering::Relaxed);
            return Arc::clone(known);
        }
        if table.len() >= self.most {
            table.retain(|_, allowance| !allowance.is_idle(now));
        }
        if table.len() >= self.most {
            return Arc::clone(&self.shared);
        }
        let new = Arc::new(Allowance::new(self.of, self.parameters, self.shared.clock()));
        new.last_used.store(now.as_u64(), Ordering::Relaxed);
        table.insert(key.to_owned(), Arc::clone(&new));
        new
    }
}

#[cfg(test)]
mod tests {
    use super::{CallerLimits, InFlightPermit, LimitedCaller, MOST_CALLERS, MOST_USERS};
    use crate::auth::{AuthError, Caller, Settings, UsersSettings};
    use std::time::Duration;
    use tokio::time::{self, Instant};

    const RATE: &str = "caller_rate";
    const IN_FLIGHT: &str = "caller_in_flight";

    fn limits() -> CallerLimits {
        CallerLimits::new(&Settings::default())
    }

    fn client(name: &str) -> Caller {
        Caller::for_tests(name, &[])
    }

    /// One request that does not wait for a permit.
    async fn once(limits: &CallerLimits, caller: &Caller) -> Result<InFlightPermit, AuthError> {
        limits.admit_until(caller, Instant::now()).await
    }

    async fn one(limits: &CallerLimits, name: &str) -> InFlightPermit {
        once(limits, &client(name)).await.unwrap()
    }

    async fn sixteen(limits: &CallerLimits, name: &str) -> Vec<InFlightPermit> {
        let mut permits = Vec::new();
        for _ in 0..16 {
            permits.push(one(limits, name).await);
        }
        permits
    }

    /// How many of `count` requests are admitted. Each one is answered at once.
    async fn admitted(limits: &CallerLimits, name: &str, count: usize) -> usize {
        admitted_of(limits, &client(name), count).await
    }

    async fn admitted_of(limits: &CallerLimits, caller: &Caller, count: usize) -> usize {
        let mut good = 0;
        for _ in 0..count {
            good += usize::from(once(limits, caller).await.is_ok());
        }
        good
    }

    async fn refusal(limits: &CallerLimits, name: &str) -> (&'static str, Duration) {
        refusal_of(limits, &client(name)).await
    }

    async fn refusal_of(limits: &CallerLimits, caller: &Caller) -> (&'static str, Duration) {
        let error = once(limits, caller).await.unwrap_err();
        (error.reason(), error.retry_after().unwrap())
    }

    #[tokio::test(start_paused = true)]
    async fn a_request_waits_a_second_for_a_permit_of_its_caller() {
        let limits = limits();
        let mut permits = sixteen(&limits, "a").await;
        let begun = time::Instant::now();
        assert!(limits.admit(&client("a")).await.is_err());
        assert_eq!(begun.elapsed(), Duration::from_secs(1));
        let caller = client("a");
        let (waited, ()) = tokio::join!(limits.admit(&caller), async {
            time::sleep(Duration::from_millis(900)).await;
            permits.pop();
        });
        assert!(waited.is_ok());
    }

    #[tokio::test(start_paused = true)]
    async fn an_idle_caller_may_send_a_hundred_and_then_twenty_a_second() {
        let limits = limits();
        assert_eq!(admitted(&limits, "a", 150).await, 100);
        time::advance(Duration::from_secs(1)).await;
        assert_eq!(admitted(&limits, "a", 150).await, 20);
        time::advance(Duration::from_secs(3600)).await;
        assert_eq!(admitted(&limits, "a", 150).await, 100);
    }

    #[tokio::test(start_paused = true)]
    async fn a_caller_that_is_too_fast_gets_the_time_of_the_next_request() {
        let limits = limits();
        admitted(&limits, "a", 100).await;
        let (reason, wait) = refusal(&limits, "a").await;
        assert_eq!(reason, RATE);
        assert!(wait > Duration::ZERO && wait <= Duration::from_millis(50), "{wait:?}");
        let (_, second) = refusal(&limits, "a").await;
        assert_eq!(second, wait + Duration::from_micros(62_500), "behind the first");
        time::advance(Duration::from_millis(40)).await;
        assert_eq!(refusal(&limits, "a").await.0, RATE);
        time::advance(Duration::from_millis(10)).await;
        assert!(once(&limits, &client("a")).await.is_ok());
    }

    #[tokio::test(start_paused = true)]
    async fn sixteen_in_flight_and_a_permit_returns_with_the_end_of_its_answer() {
        let limits = limits();
        let mut permits = sixteen(&limits, "a").await;
        assert_eq!(refusal(&limits, "a").await, (IN_FLIGHT, Duration::from_secs(1)));
        permits.pop();
        permits.push(one(&limits, "a").await);
        assert_eq!(refusal(&limits, "a").await.0, IN_FLIGHT);
    }

    #[tokio::test(start_paused = true)]
    async fn refused_requests_take_nothing_from_the_allowance() {
        let limits = limits();
        let permits = sixteen(&limits, "a").await;
        assert_eq!(admitted(&limits, "a", 1000).await, 0);
        drop(permits);
        assert_eq!(admitted(&limits, "a", 1000).await, 84);
        assert_eq!(admitted(&limits, "a", 1000).await, 0);
        time::advance(Duration::from_secs(1)).await;
        assert_eq!(admitted(&limits, "a", 1000).await, 20);
    }

    #[tokio::test(start_paused = true)]
    async fn one_caller_takes_nothing_from_another() {
        let limits = limits();
        let _held = sixteen(&limits, "a").await;
        assert_eq!(admitted(&limits, "b", 1000).await, 100);
    }

    #[tokio::test(start_paused = true)]
    async fn the_table_is_bounded_and_drops_only_idle_callers() {
        let limits = limits();
        let _held = one(&limits, "busy").await;
        assert_eq!(admitted(&limits, "busy", 1000).await, 99);
        for number in 1..MOST_CALLERS {
            assert!(once(&limits, &client(&format!("client-{number}"))).await.is_ok());
        }
        assert_eq!(admitted(&limits, "late", 1000).await, 100, "the shared allowance");
        assert_eq!(admitted(&limits, "later", 1000).await, 0, "one for all new callers");
        assert_eq!(limits.clients.own.lock().unwrap().len(), MOST_CALLERS);
        time::advance(Duration::from_secs(5)).await;
        assert_eq!(admitted(&limits, "later", 1000).await, 100);
        let table = limits.clients.own.lock().unwrap();
        assert_eq!(table.len(), 2, "all but the one with a request in flight were idle");
        assert!(table.contains_key("busy") && table.contains_key("later"));
    }

    #[tokio::test(start_paused = true)]
    async fn dropping_a_caller_gives_it_nothing_more() {
        let limits = limits();
        for number in 1..MOST_CALLERS {
            assert!(once(&limits, &client(&format!("client-{number}"))).await.is_ok());
        }
        time::advance(Duration::from_secs(1)).await;
        assert_eq!(admitted(&limits, "eager", 1000).await, 100);
        time::advance(Duration::from_millis(4900)).await;
        assert!(once(&limits, &client("late")).await.is_ok(), "the others are removed");
        assert_eq!(limits.clients.own.lock().unwrap().len(), 2);
        assert_eq!(admitted(&limits, "eager", 1000).await, 98);
    }

    #[tokio::test(start_paused = true)]
    async fn other_settings_are_other_limits() {
        let settings =
            Settings { requests_per_second: 2, burst: 3, max_in_flight: 1, ..Settings::default() };
        let limits = CallerLimits::new(&settings);
        assert_eq!(admitted(&limits, "a", 10).await, 3);
        time::advance(Duration::from_secs(1)).await;
        let _held = one(&limits, "a").await;
        assert_eq!(refusal(&limits, "a").await.0, IN_FLIGHT);
    }

    #[tokio::test(start_paused = true)]
    async fn the_pauses_of_a_crowd_are_one_after_the_other_and_have_an_end() {
        let limits = limits();
        let _held = sixteen(&limits, "a").await;
        let mut pauses = Vec::new();
        for _ in 0..1000 {
            pauses.push(refusal(&limits, "a").await.1);
        }
        let (grows, random) = pauses.split_at(400);
        assert!(grows.windows(2).all(|two| two[0] < two[1]), "{grows:?}");
        assert_eq!(grows[16], grows[0] + Duration::from_secs(1), "sixteen in a second");
        let bounds = Duration::from_secs(15)..=Duration::from_secs(30);
        assert!(random.iter().skip(100).all(|pause| bounds.contains(pause)), "{random:?}");
        time::advance(Duration::from_secs(40)).await;
        assert_eq!(refusal(&limits, "a").await.1, Duration::from_secs(1), "the queue is gone");
    }

    #[tokio::test(start_paused = true)]
    async fn users_have_limits_of_their_own_and_those_of_a_client_share_a_sum() {
        let users = UsersSettings { requests_per_second: 50, burst: 250, max_in_flight: 20 };
        let limits = CallerLimits::new(&Settings { users, ..Settings::default() });
        let user = |client: &str, name: &str| Caller::user_for_tests(client, name);
        assert_eq!(admitted_of(&limits, &user("web", "anna"), 150).await, 100);
        assert_eq!(refusal_of(&limits, &user("web", "anna")).await.0, "user_rate");
        assert_eq!(admitted_of(&limits, &user("web", "bert"), 150).await, 100);
        assert_eq!(admitted_of(&limits, &user("web", "cleo"), 150).await, 50);
        assert_eq!(refusal_of(&limits, &user("web", "dora")).await.0, "users_rate");
        assert_eq!(admitted(&limits, "web", 150).await, 100, "the client for itself");
        assert_eq!(admitted_of(&limits, &user("app", "anna"), 150).await, 100);
        time::advance(Duration::from_secs(60)).await;
        let mut held = Vec::new();
        for number in 0..16 {
            held.push(once(&limits, &user("web", "anna")).await.unwrap());
            if number < 4 {
                held.push(once(&limits, &user("web", "bert")).await.unwrap());
            }
        }
        assert_eq!(refusal_of(&limits, &user("web", "anna")).await.0, "user_in_flight");
        assert_eq!(refusal_of(&limits, &user("web", "cleo")).await.0, "users_in_flight");
        drop(held);
        assert!(once(&limits, &user("web", "cleo")).await.is_ok());
    }

    #[tokio::test(start_paused = true)]
    async fn the_table_of_users_is_bounded() {
        let users = UsersSettings { requests_per_second: 9999, burst: 9999, max_in_flight: 9 };
        let limits = CallerLimits::new(&Settings { users, ..Settings::default() });
        for number in 0..MOST_USERS {
            let user = Caller::user_for_tests("web", &number.to_string());
            assert!(once(&limits, &user).await.is_ok());
        }
        let late = Caller::user_for_tests("web", "late");
        assert_eq!(admitted_of(&limits, &late, 150).await, 100);
        let error = once(&limits, &late).await.unwrap_err();
        let AuthError::TooMany { limit, .. } = error else { panic!("{error:?}") };
        assert_eq!(limit.of, LimitedCaller::Newcomers);
        assert_eq!(limits.users.own.lock().unwrap().len(), MOST_USERS);
    }

    #[tokio::test(start_paused = true)]
    async fn a_caller_that_waits_for_cf_is_not_forgotten() {
        let limits = limits();
        let waits = one(&limits, "a").await.waits;
        let _waiting = waits.try_acquire_owned().unwrap();
        for number in 0..MOST_CALLERS {
            drop(once(&limits, &client(&number.to_string())).await);
        }
        time::advance(Duration::from_secs(60)).await;
        drop(one(&limits, "late").await);
        assert!(limits.clients.own.lock().unwrap().contains_key("a"));
    }
}
