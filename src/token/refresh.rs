//! The refresh grant: repeated once within a flight, and replaced by one logon if it does not work.
//!
//! Invariant: the lockout guard decides about that logon as about any other, and the refresh token
//! is kept until one succeeds. A failed refresh itself never changes the guard. Used by `provider`.

use super::{
    advice::SentLogon,
    backend::Backend,
    backoff::{self, RetryClass},
    error::{LeaseRefusal, Reason, UaaOutage},
    exchange::is_unsent,
    failure_policy::{self, FailureClass},
    lease::{Freshness, Lease},
    log_events,
    provider::UaaTokenProvider,
    refresh_failures::{Reached, is_limited},
};
use crate::{
    destination::Destination,
    oauth::{ExchangeError, Grant, GrantKind, fault::FaultKind},
};
use secrecy::SecretString;
use std::{sync::Arc, time::Duration};
use tokio::time::{Instant, sleep};

/// While a live lease is left, a failed renewal is repeated after at most this fraction of the
/// remaining time, so that the last attempts happen before its end and not after it.
const TRIES_LEFT: u32 = 4;

/// … but not more often than this.
const LEAST_PAUSE: Duration = Duration::from_secs(1);

/// Callers wait for the one repeat of a refresh, so it comes soon (SAP's table of retries).
const REPEAT_PAUSE: Duration = Duration::from_millis(300);

/// The same after 429 without `Retry-After`.
const LIMITED_PAUSE: Duration = Duration::from_secs(1);

/// A longer `Retry-After` is told to the callers.
const LONGEST_IN_FLIGHT: Duration = Duration::from_secs(10);

/// What follows a failed refresh.
enum NextStep {
    Pause,
    Repeat(Duration),
    LogOn,
}

/// A 5xx with `Retry-After` is a refresh that does not work; only a 429 limits the broker.
fn limited_only_by_429(retry_class: RetryClass, error: &ExchangeError) -> RetryClass {
    match (retry_class, error) {
        (RetryClass::Asked(_), ExchangeError::Refused(fault))
            if fault.kind != FaultKind::RateLimited =>
        {
            RetryClass::BadAnswer
        }
        _ => retry_class,
    }
}

impl<B: Backend> UaaTokenProvider<B> {
    /// Returns `None` if the refresh token was refused. It is forgotten, and the password is next.
    pub(super) async fn refresh(
        &self,
        previous: &Lease,
        token: Arc<SecretString>,
    ) -> Result<Option<Lease>, LeaseRefusal> {
        let destination = self.content().await?;
        let now = Instant::now();
        if let Some(until) = self.failures.limited_until(now) {
            return Err(LeaseRefusal::new(
                &self.name,
                Reason::UaaUnavailable(UaaOutage::RateLimited),
                Some(until),
            ));
        }
        let may_log_on = self.guard.check(self.grant, now).is_ok();
        // Another refresh would only let the callers wait longer.
        if has_ended(previous) && may_log_on && self.failures.suffice() {
            return self.log_on_instead(previous, now + LEAST_PAUSE).await.map(Some);
        }
        let grant = Grant::RefreshToken { token: SecretString::clone(&token) };
        let mut has_repeated = false;
        loop {
            let error = match self.exchange(&destination, &grant, self.failures.in_row()).await {
                Ok(granted) => {
                    self.failures.clear();
                    return Ok(Some(self.accept(granted, Some(token), &destination)));
                }
                Err(error) => error,
            };
            if ends_refresh_token(&error) {
                self.failures.clear();
                previous.token().drop_refresh_token();
                log_events::refresh_token_refused(&self.name, &error);
                return Ok(None);
            }
            let (refusal, retry_class) = self.back_off(previous, &destination, &error);
            let next = if has_ended(previous) && !is_unsent(&error) {
                self.next_step(retry_class, has_repeated)
            } else {
                NextStep::Pause
            };
            match next {
                NextStep::Pause => return Err(refusal),
                NextStep::LogOn => {
                    let next_refresh = refusal.retry_at.unwrap_or_else(Instant::now);
                    return self.log_on_instead(previous, next_refresh).await.map(Some);
                }
                NextStep::Repeat(wait) => sleep(wait).await,
            }
            has_repeated = true;
        }
    }

    /// Callers wait: one repeat, then the logon if the failures suffice.
    fn next_step(&self, retry_class: RetryClass, has_repeated: bool) -> NextStep {
        let limit = match retry_class {
            RetryClass::RateLimited => Some(LIMITED_PAUSE),
            RetryClass::Asked(wait) => Some(wait.max(LIMITED_PAUSE)),
            RetryClass::NoAnswer | RetryClass::BadAnswer | RetryClass::NoTokenEndpoint => None,
        };
        match limit {
            Some(wait) if has_repeated || wait > LONGEST_IN_FLIGHT => NextStep::Pause,
            Some(wait) => NextStep::Repeat(wait.mul_f64(1.0 + 0.1 * fastrand::f64())),
            None if self.failures.suffice() => NextStep::LogOn,
            None if has_repeated => NextStep::Pause,
            None => NextStep::Repeat(REPEAT_PAUSE.mul_f64(0.5 + 0.5 * fastrand::f64())),
        }
    }

    /// Keeps the refresh token and pauses. The guard does not learn of this failure.
    fn back_off(
        &self,
        previous: &Lease,
        destination: &Destination,
        error: &ExchangeError,
    ) -> (LeaseRefusal, RetryClass) {
        let now = Instant::now();
        let sent = SentLogon { destination, grant: GrantKind::RefreshToken };
        let failure = failure_policy::classify(error, sent);
        let (retry_class, reason) = match failure.class {
            FailureClass::Waiting { retry_class, .. } => {
                (limited_only_by_429(retry_class, error), failure.reason)
            }
            // The answer did not come from a token endpoint.
            FailureClass::NoTokenEndpoint { .. }
            | FailureClass::Rejected
            | FailureClass::Blocked
            | FailureClass::BlockedWithProbe
            | FailureClass::Locked(_) => (RetryClass::BadAnswer, failure.reason),
        };
        // Nothing is asked without a password first: the refresh is repeated, or a logon follows.
        let reason = if let Reason::NoTokenEndpoint { status } = reason {
            Reason::RefreshMisdirected { status }
        } else {
            reason
        };
        let rounds = self.failures.in_row();
        let pause = backoff::pause(retry_class, rounds, fastrand::f64());
        let left = previous.serves_for(now) / TRIES_LEFT;
        let pause = if is_limited(retry_class) || left.is_zero() {
            pause
        } else {
            pause.min(left.max(LEAST_PAUSE))
        };
        let has_reached = if is_unsent(error) { Reached::No } else { Reached::Yes };
        self.failures.note(retry_class, has_reached, pause);
        log_events::refresh_failed(&self.name, rounds, pause, error);
        (LeaseRefusal::new(&self.name, reason, Some(now + pause)), retry_class)
    }

    /// Refreshing does not work and the access token has ended: one logon, if the guard allows it.
    /// Otherwise refreshing goes on at `next_refresh`.
    async fn log_on_instead(
        &self,
        previous: &Lease,
        next_refresh: Instant,
    ) -> Result<Lease, LeaseRefusal> {
        if let Err(hold) = self.guard.check(self.grant, Instant::now()) {
            return Err(LeaseRefusal::new(&self.name, hold.reason, Some(next_refresh)));
        }
        log_events::logs_on_instead(&self.name, self.failures.in_row());
        let mut outcome = self.log_on(Some(previous)).await;
        match &mut outcome {
            Ok(lease) if lease.token().refresh_token().is_some() => self.failures.start_again(),
            Ok(_) => self.failures.clear(),
            Err(refusal) => {
                let at = refusal.retry_at.map_or(next_refresh, |at| at.min(next_refresh));
                refusal.retry_at = Some(at);
            }
        }
        outcome
    }
}

fn has_ended(lease: &Lease) -> bool {
    lease.freshness(Instant::now()) == Freshness::Expired
}

/// A refusal by the token endpoint itself ends a refresh token. Other answers do not.
pub(super) fn ends_refresh_token(error: &ExchangeError) -> bool {
    match error {
        ExchangeError::Transport(_) => false,
        ExchangeError::Refused(fault) => fault.kind == FaultKind::RefreshTokenRejected,
    }
}
