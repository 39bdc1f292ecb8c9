//! The entry of one destination name: its credentials in service with their lease, and the check
//! for a changed destination.
//!
//! Invariant: the lease in service belongs to the credentials in the destination. Changed
//! credentials begin anew. The old ones are dropped at once, with their refresh token, because a
//! new password at the identity provider revokes no token of UAA (read in UAA's source). A fresh
//! lease costs one pointer load, no lock and no allocation. Used by `TokenVault`. See
//! `docs/explanation/tokens.md`.

use super::{
    error::{LeaseRefusal, Reason},
    exchange::GrantExchange,
    lease::{Lease, Revoked},
    lockout::{FAILURE_WINDOW, GuardState, LockoutGuard, LockoutGuards},
    provider::{FailedRenewal, FollowUp, Obtained, TokenProvider},
    status::{AttemptCounts, DestinationStatus, PastEvents},
};
use crate::{
    destination::{CachePolicy, Destination, DestinationError, DestinationName, SourceKind},
    upstream::refresh::{
        FailureHold, FlightKind, Refreshed, Renew, RenewalAttempt, RenewalFailure, RenewalResult,
        ValueAge,
    },
};
use arc_swap::ArcSwapOption;
use std::{
    fmt,
    future::ready,
    mem,
    pin::pin,
    ptr,
    sync::{Arc, Mutex, MutexGuard, PoisonError, Weak},
    time::Duration,
};
use tokio::time::{Instant, sleep};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

/// How often a passing request checks whether the destination has changed. The destination's own
/// cache decides whether this makes a call. A changed credential may be noticed one second later
/// than the cache's 5 min.
const CHECK_EVERY: Duration = Duration::from_secs(1);

/// While the credentials are refused or missing, the destination is read again after at most this
/// time and at least nine tenths of it. The promise is "within 60 s"; the jitter keeps instances
/// from asking at the same moment.
const POLL_EVERY: Duration = Duration::from_secs(60);

/// Random part of [`POLL_EVERY`].
const POLL_JITTER: f64 = 0.1;

/// How often a caller follows changing credentials, or leases that CF has refused meanwhile, before
/// it gets the last result.
const MAX_CHANGES: usize = 3;

/// How long a refusal without a retry time is remembered. An earlier attempt would only repeat it,
/// at request rate. A repair from outside (new credentials, an operator's release) does not wait
/// for this.
const DEFINITE_PAUSE: Duration = Duration::from_secs(30);

/// The same for a renewal that crashed: long enough to prevent a storm, short enough for a short
/// disturbance.
const CRASH_PAUSE: Duration = Duration::from_secs(5);

/// What all entries share.
#[derive(Clone)]
pub(super) struct EntryDeps {
    pub(super) guards: Arc<LockoutGuards>,
    pub(super) tasks: TaskTracker,
    pub(super) stop: CancellationToken,
}

/// The credentials of a destination with their lease, renewed in one flight.
pub(super) type Credential = Refreshed<CredentialRenewal>;

/// The one owner of what is known about a destination name.
pub(super) struct DestinationEntry {
    exchange: GrantExchange,
    deps: EntryDeps,
    /// Written only while `state` is locked, so that it always belongs to the credentials in
    /// service.
    snapshot: ArcSwapOption<LeaseSnapshot>,
    state: Mutex<EntryState>,
}

/// A fresh lease that may be served without any check until then.
struct LeaseSnapshot {
    lease: Arc<Lease>,
    until: Instant,
}

struct EntryState {
    credential: Option<Credential>,
    past: PastEvents,
    checked_at: Instant,
    is_polling: bool,
}

/// Renews the lease of a credential for its entry.
pub(super) struct CredentialRenewal {
    pub(super) provider: TokenProvider,
    entry: Weak<DestinationEntry>,
    /// The queue of those who wait for a flight.
    turns: tokio::sync::Mutex<()>,
}

impl DestinationEntry {
    pub(super) fn new(exchange: GrantExchange, deps: EntryDeps) -> Self {
        let state = EntryState {
            credential: None,
            past: PastEvents::default(),
            checked_at: Instant::now(),
            is_polling: false,
        };
        Self { exchange, deps, snapshot: ArcSwapOption::empty(), state: Mutex::new(state) }
    }

    pub(super) fn name(&self) -> &DestinationName {
        &self.exchange.name
    }

    /// Returns where the destination is read from; `None` if no source holds it.
    pub(super) fn read_from(&self) -> Option<SourceKind> {
        self.exchange.backend.read_from(self.name())
    }

    /// Returns a refusal for callers of this destination.
    pub(super) fn refusal(&self, reason: Reason, retry_at: Option<Instant>) -> LeaseRefusal {
        LeaseRefusal::new(self.name(), reason, retry_at).with_read_from(self.read_from())
    }

    /// Returns the published lease, which needs no further check.
    pub(super) fn fresh(&self, now: Instant) -> Option<Arc<Lease>> {
        let snapshot = self.snapshot.load();
        let LeaseSnapshot { lease, until } = snapshot.as_deref()?;
        let may_serve = now < *until && !lease.token().is_revoked();
        may_serve.then(|| Arc::clone(lease))
    }

    /// Returns the lease if it can be served, and publishes a fresh one until the next check of the
    /// destination is due. Starts in the background what is due: that check, and the renewal of an
    /// ageing lease.
    pub(super) fn serve(self: &Arc<Self>, now: Instant) -> Option<(Arc<Lease>, ValueAge)> {
        let mut state = self.lock();
        let credential = state.credential.clone()?;
        if now >= state.checked_at + CHECK_EVERY {
            state.checked_at = now;
            let entry = Arc::clone(self);
            self.deps.tasks.spawn(async move {
                // Nothing to do here: a caller that needs the destination gets the error itself.
                drop(entry.read_destination(CachePolicy::Confirmed).await);
            });
        }
        let (lease, age) = credential.serve(now)?;
        if age == ValueAge::Fresh {
            let until = lease.renew_at().min(now + CHECK_EVERY);
            let snapshot = LeaseSnapshot { lease: Arc::clone(&lease), until };
            self.snapshot.store(Some(Arc::new(snapshot)));
        }
        Some((lease, age))
    }

    /// Returns a lease that can be served; gets one if there is none. Follows changed credentials.
    ///
    /// # Errors
    /// The refusal of the renewal, or the remembered one.
    ///
    /// # Cancel safety
    /// Renewals are tasks of their own: a caller that goes away neither stops nor repeats one.
    pub(super) async fn lease(self: &Arc<Self>) -> Result<Arc<Lease>, LeaseRefusal> {
        let mut changes = 0;
        loop {
            let credential = match self.credential() {
                Some(credential) => credential,
                None => self.find_credential(CachePolicy::Cached).await?,
            };
            let outcome = wait_for(&credential).await;
            let is_dead = outcome.as_ref().is_ok_and(|lease| lease.token().is_revoked());
            let is_final = !is_dead && self.lock().is_in_service(credential.renewer());
            if is_final || changes == MAX_CHANGES {
                return outcome.map_err(|failure| failure.error);
            }
            changes += 1;
        }
    }

    /// Returns the credential in service.
    pub(super) fn credential(&self) -> Option<Credential> {
        self.lock().credential.clone()
    }

    /// Reads the destination and returns its credential.
    ///
    /// # Errors
    /// The destination is missing, invalid or cannot be read.
    pub(super) async fn find_credential(
        self: &Arc<Self>,
        wanted: CachePolicy,
    ) -> Result<Credential, LeaseRefusal> {
        self.read_destination(wanted).await.map_err(|error| {
            let now = Instant::now();
            let refusal = LeaseRefusal::of_destination(self.name(), error, now)
                .with_read_from(self.read_from());
            self.lock().past.refused(refusal.clone(), now);
            refusal
        })
    }

    /// CF refused `used`: ends it if it is in service. At most one forced renewal in 30 s per
    /// credential, in 10 min if the last one was a logon.
    pub(super) fn revoke(&self, used: &Lease, now: Instant) -> Revoked {
        let state = self.lock();
        let is_live = |credential: &&Credential| {
            let live = credential.latest();
            live.is_some_and(|live| Arc::ptr_eq(live.token(), used.token()))
        };
        let live = state.credential.as_ref().filter(is_live);
        let Some(credential) = live.filter(|_| !used.token().is_revoked()) else {
            // It may still be published, and the repeat must not get it again.
            self.snapshot.store(None);
            return Revoked::Renewing;
        };
        let guard = &credential.renewer().provider.guard;
        if !guard.lock().take_forced_renewal(used.token(), now) {
            return Revoked::Cooldown;
        }
        used.token().revoke();
        Revoked::Renewing
    }

    /// Reads the destination with the wanted certainty and puts its credentials in service.
    ///
    /// # Errors
    /// There is no content in service.
    ///
    /// # Cancel safety
    /// Safe: the next read makes up for a change that was not applied.
    pub(super) async fn read_destination(
        self: &Arc<Self>,
        wanted: CachePolicy,
    ) -> Result<Credential, DestinationError> {
        let found = self.exchange.backend.find(self.name(), wanted).await;
        let error = {
            let mut state = self.lock();
            // The newest content wins, whichever read it was found by.
            match (self.exchange.backend.known(self.name()), found) {
                (Some(content), _) | (None, Ok(content)) => {
                    return Ok(self.put_in_service(&mut state, &content));
                }
                (None, Err(error)) => {
                    if let DestinationError::Missing { .. } = error {
                        self.retire(&mut state);
                    }
                    error
                }
            }
        };
        if !error.is_transient() {
            self.watch();
        }
        Err(error)
    }

    /// Reads the destination again each minute until its credentials are no longer refused. At most
    /// one task runs.
    pub(super) fn watch(self: &Arc<Self>) {
        if mem::replace(&mut self.lock().is_polling, true) {
            return;
        }
        let entry = Arc::clone(self);
        self.deps.tasks.spawn(async move {
            while entry.keeps_polling() {
                let pause = POLL_EVERY.mul_f64(1.0 - POLL_JITTER * fastrand::f64());
                tokio::select! {
                    () = entry.deps.stop.cancelled() => return,
                    () = sleep(pause) => entry.poll().await,
                }
            }
        });
    }

    /// Takes note of an operator's release, and returns when it began.
    pub(super) fn release_begins(&self) -> Instant {
        let now = Instant::now();
        self.lock().past.release_begins(now);
        now
    }

    /// Takes note of when the release that began then was sent, if it was.
    pub(super) fn release_ends(&self, begun: Instant, sent: Option<Instant>) {
        let past = &mut self.lock().past;
        match sent {
            Some(now) => past.released(now),
            None => past.not_released(begun),
        }
    }

    /// Returns how many released attempts were sent in the last 65 min, and the last one.
    pub(super) fn releases(&self, now: Instant) -> (usize, Option<Instant>) {
        let mut state = self.lock();
        let releases = state.past.releases(now);
        (releases.len(), releases.back().copied())
    }

    pub(super) fn status(&self, now: Instant) -> DestinationStatus {
        let content = self.exchange.backend.known(self.name());
        let hint = content.as_ref().and_then(|content| content.login_hint.as_ref());
        let credential = self.credential();
        let provider = credential.as_ref().map(|credential| &credential.renewer().provider);
        let guard = provider.map(|provider| &provider.guard);
        let hold = guard.and_then(|guard| guard.hold(now));
        let opens = hold.as_ref().and_then(|hold| hold.retry_at);
        let lease = credential.as_ref().and_then(Refreshed::latest);
        let unsuccessful = guard.map_or(0, |guard| guard.unsuccessful(now));
        let mut state = self.lock();
        let releases = state.past.releases(now);
        let free_at = releases.back().map(|last| *last + FAILURE_WINDOW);
        let free_in = free_at.map(|at| at.saturating_duration_since(now));
        let attempts = AttemptCounts { released: releases.len(), unsuccessful, free_in };
        DestinationStatus {
            name: self.name().clone(),
            source: content.as_ref().map(|content| content.source),
            user: content.as_ref().map(|content| content.credentials.user.clone()),
            origin: hint.map(|hint| hint.origin().as_str().to_owned()),
            guard: guard.map_or(GuardState::Unknown, |guard| guard.lock().state(now)),
            hold: hold.map(|hold| self.refusal(hold.reason, hold.retry_at)),
            guard_opens_in: opens.map(|at| at.saturating_duration_since(now)),
            freshness: lease.as_ref().map(|lease| lease.freshness(now)),
            expires_in: lease.as_ref().map(|lease| lease.expires_in(now)),
            failed_refreshes: provider.map_or(0, TokenProvider::failed_refreshes),
            warning: state.past.warning(),
            last_renewal: state.past.last_renewal(now),
            last_refusal: state.past.last_refusal(now),
            events: state.past.events(now),
            attempts,
        }
    }

    /// Returns whether the destination must still be watched; otherwise the next refusal starts a
    /// new task.
    fn keeps_polling(&self) -> bool {
        let mut state = self.lock();
        let is_closed = |credential: &Credential| {
            let guard: &LockoutGuard = &credential.renewer().provider.guard;
            guard.lock().is_closed()
        };
        state.is_polling = state.credential.as_ref().is_none_or(is_closed);
        state.is_polling
    }

    async fn poll(self: &Arc<Self>) {
        let before = self.credential();
        let Ok(credential) = self.read_destination(CachePolicy::PastCache).await else {
            return;
        };
        let is_new = before.is_none_or(|before| !is_same(before.renewer(), credential.renewer()));
        if is_new {
            // New credentials: log on now. The guard shows the result without waiting for a caller.
            drop(credential.get().await);
        }
    }

    fn put_in_service(
        self: &Arc<Self>,
        state: &mut EntryState,
        content: &Destination,
    ) -> Credential {
        // It may belong to other credentials or another API.
        self.snapshot.store(None);
        if let Some(credential) = &state.credential
            && credential.renewer().provider.fingerprint == content.fingerprint
        {
            if let Some(lease) = credential.latest().filter(|lease| *lease.api() != content.api) {
                let moved = Lease::new(Arc::clone(lease.token()), content.api.clone());
                credential.replace(&lease, Some(moved));
            }
            return credential.clone();
        }
        self.retire(state);
        state.past.refusal_is_over();
        let guard = self.deps.guards.of(content.fingerprint, &content.credentials.user);
        let exchange = self.exchange.clone();
        let provider = TokenProvider::new(exchange, content.fingerprint, guard);
        provider.publish_guard_state();
        let (entry, turns) = (Arc::downgrade(self), tokio::sync::Mutex::default());
        let renewal = CredentialRenewal { provider, entry, turns };
        let credential = Refreshed::new(renewal, self.deps.tasks.clone());
        state.credential = Some(credential.clone());
        credential
    }

    fn retire(&self, state: &mut EntryState) {
        self.snapshot.store(None);
        if let Some(old) = state.credential.take() {
            old.clear();
            state.past.changed(Instant::now());
            let destination = self.name().as_str();
            tracing::info!(destination, "credentials changed, their tokens are dropped");
        }
    }

    fn lock(&self) -> MutexGuard<'_, EntryState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes note of what came of a renewal, and starts what follows.
    async fn record(
        self: &Arc<Self>,
        renewal: &CredentialRenewal,
        outcome: Result<Obtained, FailedRenewal>,
    ) -> Result<Lease, LeaseRefusal> {
        match outcome {
            Ok(Obtained { lease, renewal: event }) => {
                let mut state = self.lock();
                state.past.refusal_is_over();
                let has_none = event.is_some() && lease.token().refresh_token().is_none();
                if has_none && state.past.warns_of_no_refresh() {
                    tracing::warn!(
                        destination = self.name().as_str(),
                        hint = "allow the client the refresh token grant",
                        "no refresh token: every renewal is a logon"
                    );
                }
                if let Some(event) = event {
                    state.past.renewed(event);
                }
                Ok(lease)
            }
            Err(FailedRenewal { refusal, follow_up }) => {
                match follow_up {
                    // The next caller reads again and gets the error.
                    FollowUp::HandOver => drop(self.read_destination(CachePolicy::Cached).await),
                    FollowUp::Watch => self.watch(),
                    FollowUp::Nothing => {}
                }
                let mut state = self.lock();
                if state.is_in_service(renewal) {
                    state.past.refused(refusal.clone(), Instant::now());
                }
                Err(refusal)
            }
        }
    }
}

impl EntryState {
    fn is_in_service(&self, renewal: &CredentialRenewal) -> bool {
        self.credential.as_ref().is_some_and(|credential| is_same(credential.renewer(), renewal))
    }
}

/// Those who have waited for a flight leave one after another, in their order: if a crowd came
/// free in one moment, most of it would find no place at the CF API in time.
async fn wait_for(credential: &Credential) -> RenewalResult<Arc<Lease>, LeaseRefusal> {
    let mut outcome = pin!(credential.get());
    tokio::select! {
        biased;
        // There is nothing to wait for.
        outcome = &mut outcome => outcome,
        () = ready(()) => {
            let (outcome, _turn) = tokio::join!(outcome, credential.renewer().turns.lock());
            outcome
        }
    }
}

impl Renew for CredentialRenewal {
    type Value = Lease;
    type Error = LeaseRefusal;

    async fn renew(&self, attempt: RenewalAttempt<Self>) -> RenewalResult<Lease, LeaseRefusal> {
        if attempt.kind == FlightKind::Forced {
            self.provider.guard.lock().release();
        }
        let previous = attempt.previous.as_deref();
        // The end of a lease opens other ways: then callers do not wait for the end of this pause.
        let is_served = previous.is_some_and(|lease| !lease.has_ended(Instant::now()));
        let holds = if is_served { FailureHold::Background } else { FailureHold::Everyone };
        let outcome = self.provider.obtain(previous).await;
        let outcome = match self.entry.upgrade() {
            Some(entry) => entry.record(self, outcome).await,
            None => outcome.map(|obtained| obtained.lease).map_err(|failed| failed.refusal),
        };
        outcome.map_err(|refusal| {
            let retry_at = refusal.retry_at.unwrap_or_else(|| Instant::now() + DEFINITE_PAUSE);
            RenewalFailure { holds, ..RenewalFailure::new(refusal, retry_at) }
        })
    }

    fn age(&self, lease: &Lease, now: Instant) -> ValueAge {
        lease.freshness(now).into()
    }

    fn broken_off(&self, now: Instant) -> RenewalFailure<LeaseRefusal> {
        let refusal = LeaseRefusal::new(self.provider.name(), Reason::Internal, None);
        RenewalFailure::new(refusal, now + CRASH_PAUSE)
    }

    fn log_panic(&self) {
        tracing::error!(destination = self.provider.name().as_str(), "renewal panicked");
    }

    fn is_outage(&self, refusal: &LeaseRefusal) -> bool {
        refusal.is_transient()
    }
}

fn is_same(one: &CredentialRenewal, other: &CredentialRenewal) -> bool {
    ptr::eq(one, other)
}

impl fmt::Debug for DestinationEntry {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let credential = self.credential();
        out.debug_struct("DestinationEntry")
            .field("name", self.name())
            .field("lease", &credential.as_ref().and_then(Refreshed::latest))
            .finish_non_exhaustive()
    }
}
