//! How many routes each app has, for the limit of the provider's entry.
//!
//! Invariant: a request is refused only by a count that CF gave after the request had begun. Routes
//! that this process maps count at once, also those of parallel requests: each request reserves its
//! route before it creates one. Other instances are seen when CF is asked again. Callers: `ensure`,
//! `list`.

use super::{RouteError, TenantRoutes};
use crate::capi::{CapiError, CfRequestClient, Guid};
use moka::future::Cache;
use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};
use tokio::{
    sync::{Mutex as AsyncMutex, Notify},
    time::{Instant, timeout_at},
};

/// How long a count far below the limit is used: other instances map routes meanwhile.
const COUNTED_FOR: Duration = Duration::from_secs(30);
/// The count is near the limit if fewer routes than these are left: this number, or this part of
/// the limit. From then on CF is asked for every request.
const NEAR: u64 = 25;
const NEAR_SHARE: u64 = 10;
/// How long a request that waits for others relies on being told that one has ended.
const LONGEST_WAIT: Duration = Duration::from_secs(1);
/// Most apps whose counts are kept, and how long after their last use.
const MAX_APPS: u64 = 2_000;
const KEPT_FOR: Duration = Duration::from_secs(3_600);

/// The counts of all apps. A clone is shallow.
#[derive(Clone)]
pub(super) struct RouteCounts(Cache<Guid, Arc<AppRoutes>>);

#[derive(Debug, Default)]
struct AppRoutes {
    state: Mutex<CountState>,
    /// Held while CF counts, so that parallel requests share one call.
    reading: AsyncMutex<()>,
    /// A reservation has ended.
    ended: Notify,
}

/// Their sum is never less than what CF has, apart from other instances.
#[derive(Debug, Default)]
struct CountState {
    /// CF's count, and when the call began.
    counted: Option<(u64, Instant)>,
    /// Routes that this process mapped after that.
    mapped: u64,
    /// Requests that may map a route.
    reserved: u64,
}

/// A question for one more route of an app.
#[derive(Clone, Copy, Debug)]
pub(super) struct Wanted<'a> {
    pub(super) app: &'a Guid,
    pub(super) limit: u64,
    /// A count that is near the limit must be newer than this.
    pub(super) since: Instant,
}

/// The answer.
#[derive(Debug)]
pub(super) enum Admission {
    /// There is room.
    Reserved(RoutePlace),
    /// The app has as many routes as it may.
    Full,
    /// It depends on requests that have not ended.
    Pending,
}

/// One route that may be mapped to an app. It counts until this is dropped, and after that if the
/// app was mapped.
#[derive(Debug)]
pub(super) struct RoutePlace {
    app: Arc<AppRoutes>,
    known: u64,
    fate: Fate,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    NotMapped,
    Mapped,
}

/// What to do next.
#[derive(Debug, PartialEq, Eq)]
enum Decision {
    /// Admitted; so many routes were known before.
    Admit(u64),
    Full,
    Pending,
    /// CF must be asked, not earlier than at this moment.
    Ask(Instant),
}

impl Default for RouteCounts {
    fn default() -> Self {
        Self(Cache::builder().max_capacity(MAX_APPS).time_to_idle(KEPT_FOR).build())
    }
}

impl RouteCounts {
    /// Reserves one more route of an app, if there is room. It asks CF if need be, but does not
    /// wait for other requests.
    ///
    /// # Errors
    /// Any [`CapiError`] of the call, `NotFound` too.
    pub(super) async fn reserve(
        &self,
        cf: &CfRequestClient,
        wanted: Wanted<'_>,
    ) -> Result<Admission, CapiError> {
        let app = self.of(wanted.app).await;
        loop {
            let decision = app.state().decide(&wanted, Instant::now());
            match decision {
                Decision::Admit(known) => {
                    return Ok(Admission::Reserved(RoutePlace {
                        app,
                        known,
                        fate: Fate::NotMapped,
                    }));
                }
                Decision::Full => return Ok(Admission::Full),
                Decision::Pending => return Ok(Admission::Pending),
                Decision::Ask(since) => app.ask(cf, wanted.app, since).await?,
            };
        }
    }

    /// Counts a route that may be mapped although the app is at its limit.
    pub(super) async fn exceed(&self, app: &Guid) -> RoutePlace {
        let app = self.of(app).await;
        let mut state = app.state();
        let known = state.known();
        state.reserved += 1;
        drop(state);
        RoutePlace { app, known, fate: Fate::NotMapped }
    }

    /// Waits until a request for the app has ended, or for a second.
    ///
    /// # Errors
    /// [`RouteError::Busy`] at the deadline.
    pub(super) async fn changed(&self, app: &Guid, deadline: Instant) -> Result<(), RouteError> {
        if deadline <= Instant::now() {
            return Err(RouteError::Busy);
        }
        let app = self.of(app).await;
        let until = deadline.min(Instant::now() + LONGEST_WAIT);
        let ended = app.ended.notified();
        if app.state().reserved > 0 {
            // Being told late is no error: the caller looks again.
            let _ = timeout_at(until, ended).await;
        }
        Ok(())
    }

    /// Counts the routes of an app now.
    ///
    /// # Errors
    /// Any [`CapiError`] of the call, `NotFound` too.
    pub(super) async fn now(&self, cf: &CfRequestClient, app: &Guid) -> Result<u64, CapiError> {
        self.of(app).await.ask(cf, app, Instant::now()).await
    }

    /// Forgets what CF counted: the number may have changed.
    pub(super) fn forget(&self) {
        for (_, app) in &self.0 {
            app.state().counted = None;
        }
    }

    async fn of(&self, app: &Guid) -> Arc<AppRoutes> {
        self.0.get_with_by_ref(app, async { Arc::default() }).await
    }
}

impl TenantRoutes {
    /// Takes note that an app was mapped or unmapped, or a route deleted, outside of this module.
    pub fn forget_counts(&self) {
        self.0.counts.forget();
    }
}

impl AppRoutes {
    /// Lets CF count, unless that was done at this moment or later.
    async fn ask(
        &self,
        cf: &CfRequestClient,
        app: &Guid,
        since: Instant,
    ) -> Result<u64, CapiError> {
        let _reading = self.reading.lock().await;
        let known = self.state().counted;
        if let Some((count, _)) = known.filter(|(_, begun)| *begun >= since) {
            return Ok(count);
        }
        let (begun, before) = (Instant::now(), self.state().mapped);
        let count = cf.count_routes_of_app(app).await?;
        let mut state = self.state();
        state.counted = Some((count, begun));
        // What was mapped during the call may be in CF's count or not. It counts twice until CF is
        // asked again.
        state.mapped = state.mapped.saturating_sub(before);
        Ok(count)
    }

    fn state(&self) -> MutexGuard<'_, CountState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl CountState {
    fn known(&self) -> u64 {
        let counted = self.counted.map_or(0, |(count, _)| count);
        counted.saturating_add(self.mapped).saturating_add(self.reserved)
    }

    /// Decides, and reserves a route if there is room.
    fn decide(&mut self, wanted: &Wanted<'_>, now: Instant) -> Decision {
        let Some((counted, begun)) = self.counted else {
            return Decision::Ask(wanted.since);
        };
        let (known, limit) = (self.known(), wanted.limit);
        let is_near = known.saturating_add(NEAR.max(limit / NEAR_SHARE)) >= limit;
        if begun < wanted.since && (is_near || now.duration_since(begun) >= COUNTED_FOR) {
            return Decision::Ask(wanted.since);
        }
        if known < limit {
            self.reserved += 1;
            return Decision::Admit(known);
        }
        match (counted >= limit, self.reserved) {
            (true, _) => Decision::Full,
            (false, 0) => Decision::Ask(now),
            (false, _) => Decision::Pending,
        }
    }
}

impl RoutePlace {
    /// Returns how many routes the app had, those of parallel requests included.
    pub(super) fn known(&self) -> u64 {
        self.known
    }

    /// Takes note that the app was or may have been mapped.
    pub(super) fn mapped(&mut self) {
        self.fate = Fate::Mapped;
    }
}

impl Drop for RoutePlace {
    fn drop(&mut self) {
        let mut state = self.app.state();
        state.reserved = state.reserved.saturating_sub(1);
        if self.fate == Fate::Mapped {
            state.mapped += 1;
        }
        drop(state);
        self.app.ended.notify_waiters();
    }
}

impl std::fmt::Debug for RouteCounts {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RouteCounts").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::{COUNTED_FOR, CountState, Decision, Guid, Wanted};
    use rstest::rstest;
    use std::time::Duration;
    use tokio::time::Instant;

    fn decide(state: &mut CountState, limit: u64, since: Instant) -> Decision {
        let app = Guid::parse("a1").unwrap();
        state.decide(&Wanted { app: &app, limit, since }, Instant::now())
    }

    fn state(counted: u64, mapped: u64, reserved: u64) -> CountState {
        CountState { counted: Some((counted, Instant::now())), mapped, reserved }
    }

    #[rstest]
    #[case::room(state(10, 3, 5), Decision::Admit(18))]
    #[case::last(state(98, 0, 1), Decision::Admit(99))]
    #[case::full(state(100, 0, 0), Decision::Full)]
    #[case::full_whatever_the_others_do(state(100, 1, 3), Decision::Full)]
    #[case::others_may_fail(state(98, 0, 2), Decision::Pending)]
    #[case::others_may_be_counted_twice(state(97, 1, 2), Decision::Pending)]
    #[tokio::test(start_paused = true)]
    async fn a_fresh_count_decides(#[case] mut state: CountState, #[case] expected: Decision) {
        let (since, reserved) = (Instant::now(), state.reserved);
        assert_eq!(decide(&mut state, 100, since), expected);
        let admitted = matches!(expected, Decision::Admit(_));
        assert_eq!(state.reserved, reserved + u64::from(admitted));
    }

    #[tokio::test(start_paused = true)]
    async fn what_may_be_counted_twice_is_counted_again_before_a_refusal() {
        let mut state = state(98, 2, 0);
        let since = Instant::now();
        tokio::time::advance(Duration::from_secs(1)).await;
        assert_eq!(decide(&mut state, 100, since), Decision::Ask(Instant::now()));
    }

    #[rstest]
    #[case::far(70, 100, 1, None)]
    #[case::far_but_old(70, 100, 30, Some(()))]
    #[case::near(75, 100, 1, Some(()))]
    #[case::near_a_high_limit(810, 900, 1, Some(()))]
    #[case::far_from_a_high_limit(809, 900, 1, None)]
    #[case::a_low_limit(0, 3, 1, Some(()))]
    #[tokio::test(start_paused = true)]
    async fn an_older_count_decides_only_far_from_the_limit(
        #[case] counted: u64,
        #[case] limit: u64,
        #[case] age: u64,
        #[case] asked: Option<()>,
    ) {
        let mut state = state(counted, 0, 0);
        tokio::time::advance(Duration::from_secs(age)).await;
        let since = Instant::now();
        let expected = asked.map_or(Decision::Admit(counted), |()| Decision::Ask(since));
        assert_eq!(decide(&mut state, limit, since), expected);
        assert!(Duration::from_secs(age) <= COUNTED_FOR);
    }

    #[tokio::test(start_paused = true)]
    async fn without_a_count_cf_is_asked() {
        let since = Instant::now();
        assert_eq!(decide(&mut CountState::default(), 900, since), Decision::Ask(since));
    }
}
