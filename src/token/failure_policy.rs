//! The failure policy: what a failed grant means for the lockout guard and for callers, how long to
//! pause after it, and what follows a failed refresh. The words come from `oauth::advice`.
//!
//! Invariant: covers every fault of `docs/reference/uaa-faults.md`. An unknown one counts as a
//! refused password (fail closed). Pauses are 1–60 s, at most 5 s if no answer came, and 1–10.5 min
//! after an answer of something that is no token endpoint. A failed refresh never changes the
//! lockout guard. Pure. Used by `provider`, `exchange` and `lockout`.

use super::error::{Reason, UaaOutage};
use crate::{
    destination::Destination,
    oauth::{
        ExchangeError, Fault, GrantKind, UnreachableCause,
        advice::{self, SentLogon},
        fault::FaultKind,
    },
    upstream::retry::Backoff,
};
use std::time::Duration;
use tokio::time::Instant;

/// Identity providers lock a user for 60 min. Five minutes more, because a probe that comes too
/// early counts again.
const PROVIDER_LOCK: Duration = Duration::from_secs(65 * 60);

/// UAA locks its own users for 300 s after the last failure. A tenth more.
const UAA_LOCK: Duration = Duration::from_secs(330);

/// First pause: short, so that the next attempt is done when a caller retries.
const FIRST: Duration = Duration::from_secs(1);

/// The broker promises service within 5 s after the login server is back. Jitter adds up to a
/// quarter.
const NO_ANSWER: Backoff = Backoff::doubling(FIRST, Duration::from_secs(4));

/// A minute with jitter.
const BAD_ANSWER: Backoff = Backoff::doubling(FIRST, Duration::from_secs(48));

/// A rate limiter asks for a longer pause (F20).
const RATE_LIMITED: Backoff = Backoff::doubling(Duration::from_secs(30), Duration::from_secs(48));

/// A mistake in a router or a path lasts minutes, or until somebody acts.
const NO_TOKEN_ENDPOINT: Backoff =
    Backoff::doubling(Duration::from_secs(60), Duration::from_secs(600));

/// Longest `Retry-After` that is honoured.
const LONGEST_ASKED: Duration = Duration::from_secs(60);

/// A second failure tells a disturbance from a refresh that does not work.
const FAILURES_BEFORE_LOGON: u32 = 2;

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

/// A failed logon: its class and its public reason.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct ClassifiedFailure {
    pub(super) class: FailureClass,
    pub(super) reason: Reason,
}

/// What the lockout guard does about a failed logon.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum FailureClass {
    /// No password until the credentials change.
    Rejected,
    /// No password until something else is repaired or the credentials change.
    Blocked,
    /// The same, with one probe each hour.
    BlockedWithProbe,
    /// No password for at least this long.
    Locked(Duration),
    /// A later attempt may succeed.
    Waiting {
        retry_class: RetryClass,
        /// The failure may have been counted.
        is_ambiguous: bool,
    },
    /// The answer did not come from a token endpoint. No password before one is seen again.
    NoTokenEndpoint {
        /// The failure may have been counted.
        is_ambiguous: bool,
    },
}

/// What kind of failure a pause follows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum RetryClass {
    /// No connection, a broken one, or a time-out.
    NoAnswer,
    /// 5xx or an unreadable answer.
    BadAnswer,
    /// 429 without `Retry-After`.
    RateLimited,
    /// The answer had `Retry-After`.
    Asked(Duration),
    /// The answer did not come from a token endpoint.
    NoTokenEndpoint,
}

/// What follows a failed refresh for which callers wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum NextStep {
    Pause,
    Repeat(Duration),
    LogOn,
}

/// The failed refreshes of one credential.
#[derive(Debug, Default)]
pub(super) struct RefreshFailures {
    /// Since the last refresh that worked.
    in_row: u32,
    /// Since the last new token: those that reached the server.
    reached: u32,
    /// The server asked for a pause until then.
    limited_until: Option<Instant>,
}

impl FailureClass {
    /// Returns whether another attempt without a change is useless.
    pub(super) fn is_definite(self) -> bool {
        match self {
            Self::Rejected | Self::Blocked | Self::BlockedWithProbe | Self::Locked(_) => true,
            Self::Waiting { .. } | Self::NoTokenEndpoint { .. } => false,
        }
    }

    /// Returns whether the failure may have been counted.
    pub(super) fn is_ambiguous(self) -> bool {
        match self {
            Self::Waiting { is_ambiguous, .. } | Self::NoTokenEndpoint { is_ambiguous } => {
                is_ambiguous
            }
            Self::Rejected | Self::Blocked | Self::BlockedWithProbe | Self::Locked(_) => false,
        }
    }
}

impl RetryClass {
    /// Returns the pause after `rounds` earlier failures in a row. `draw` is random in 0..1.
    pub(super) fn pause(self, rounds: u32, draw: f64) -> Duration {
        let (backoff, jitter) = match self {
            Self::NoAnswer => (NO_ANSWER, 0.25),
            Self::BadAnswer => (BAD_ANSWER, 0.25),
            Self::RateLimited => (RATE_LIMITED, 0.25),
            Self::NoTokenEndpoint => (NO_TOKEN_ENDPOINT, 0.05),
            Self::Asked(wait) => {
                let wait = wait.clamp(FIRST, LONGEST_ASKED);
                return wait.mul_f64(1.0 + 0.1 * draw).min(LONGEST_ASKED);
            }
        };
        backoff.wait(rounds).mul_f64(1.0 + jitter * draw)
    }

    /// Returns whether the server has asked for a pause.
    pub(super) fn is_limit(self) -> bool {
        matches!(self, Self::RateLimited | Self::Asked(_))
    }
}

impl RefreshFailures {
    /// Returns the number of failures since the last refresh that worked.
    pub(super) fn in_row(&self) -> u32 {
        self.in_row
    }

    /// Returns until when the server wants no further request.
    pub(super) fn limited_until(&self, now: Instant) -> Option<Instant> {
        self.limited_until.filter(|until| now < *until)
    }

    /// Returns whether refreshing has failed often enough for one logon.
    pub(super) fn suffice(&self) -> bool {
        self.reached >= FAILURES_BEFORE_LOGON
    }

    /// A logon brought a new token. That refreshing does not work stays visible.
    pub(super) fn start_again(&mut self) {
        *self = Self { in_row: self.in_row, ..Self::default() };
    }

    /// Counts a failure. Returns the pause after it. `left` is how long requests can still be
    /// served.
    pub(super) fn note(
        &mut self,
        error: &ExchangeError,
        retry_class: RetryClass,
        left: Duration,
        now: Instant,
    ) -> Duration {
        let pause = retry_class.pause(self.in_row, fastrand::f64());
        let pause = if retry_class.is_limit() || left.is_zero() {
            pause
        } else {
            pause.min((left / TRIES_LEFT).max(LEAST_PAUSE))
        };
        self.in_row = self.in_row.saturating_add(1);
        if !is_unsent(error) {
            self.reached = self.reached.saturating_add(1);
        }
        self.limited_until = retry_class.is_limit().then(|| now + pause);
        pause
    }

    /// Callers wait: one repeat, then the logon if the failures suffice. `repeats` counts those of
    /// this flight.
    pub(super) fn next_step(&self, retry_class: RetryClass, repeats: u32) -> NextStep {
        let has_repeated = repeats > 0;
        let limit = match retry_class {
            RetryClass::RateLimited => Some(LIMITED_PAUSE),
            RetryClass::Asked(wait) => Some(wait.max(LIMITED_PAUSE)),
            RetryClass::NoAnswer | RetryClass::BadAnswer | RetryClass::NoTokenEndpoint => None,
        };
        match limit {
            Some(wait) if has_repeated || wait > LONGEST_IN_FLIGHT => NextStep::Pause,
            Some(wait) => NextStep::Repeat(wait.mul_f64(1.0 + 0.1 * fastrand::f64())),
            None if self.suffice() => NextStep::LogOn,
            None if has_repeated => NextStep::Pause,
            None => NextStep::Repeat(REPEAT_PAUSE.mul_f64(0.5 + 0.5 * fastrand::f64())),
        }
    }
}

/// Classifies a failed grant.
pub(super) fn classify(
    error: &ExchangeError,
    destination: &Destination,
    grant: GrantKind,
) -> ClassifiedFailure {
    match error {
        ExchangeError::Transport(transport) => {
            let is_ambiguous = transport.may_have_been_sent();
            let class = FailureClass::Waiting { retry_class: RetryClass::NoAnswer, is_ambiguous };
            let outage = if is_ambiguous { UaaOutage::NoAnswer } else { UaaOutage::NotReached };
            let reason = match error.unreachable() {
                None => Reason::UaaUnavailable(outage),
                Some(cause) => {
                    let advice = advice::unreachable(cause).to_owned();
                    if cause == UnreachableCause::Certificate {
                        Reason::UaaUntrusted { advice }
                    } else {
                        Reason::UaaUnreachable { advice }
                    }
                }
            };
            ClassifiedFailure { class, reason }
        }
        ExchangeError::Refused(fault) => classify_fault(fault, sent(destination, grant)),
    }
}

fn sent(to: &Destination, grant: GrantKind) -> SentLogon<'_> {
    SentLogon {
        grant,
        client_id: &to.credentials.client_id,
        user: &to.credentials.user,
        login_hint: to.login_hint.as_ref(),
        has_scope: to.scope.is_some(),
        extra: &to.extra,
    }
}

fn classify_fault(fault: &Fault, sent: SentLogon<'_>) -> ClassifiedFailure {
    let is_assertion = sent.is_assertion();
    let advice = advice::of_refusal(fault.kind, sent);
    let (class, reason) = match fault.kind {
        // A token endpoint names an error (RFC 6749, 5.2). A page of something in between may hide
        // UAA's own answer.
        FaultKind::UnknownRefusal if fault.error.is_none() => no_token_endpoint(fault),
        FaultKind::QueryNotAllowed | FaultKind::NotFound | FaultKind::Redirect => {
            no_token_endpoint(fault)
        }
        // The answer to an assertion with this error is about the client.
        FaultKind::BadCredentials if is_assertion => {
            (FailureClass::Rejected, Reason::Misconfigured { advice })
        }
        FaultKind::BadCredentials
        | FaultKind::RejectedByProvider
        | FaultKind::UnknownRefusal
        | FaultKind::RefreshTokenRejected => (FailureClass::Rejected, rejected(sent, advice)),
        FaultKind::ProviderLocked => {
            (FailureClass::Locked(PROVIDER_LOCK), Reason::Locked { advice })
        }
        FaultKind::UaaLocked => (FailureClass::Locked(UAA_LOCK), Reason::Locked { advice }),
        FaultKind::IssuerMismatch => {
            (FailureClass::BlockedWithProbe, Reason::ActionRequired { advice })
        }
        FaultKind::SecondFactor => (FailureClass::Blocked, Reason::SecondFactor),
        FaultKind::BadRequest => (FailureClass::Blocked, Reason::Internal),
        FaultKind::ActionRequired(_)
        | FaultKind::TrustIncomplete
        | FaultKind::FieldMissing
        | FaultKind::IdTokenRejected(_)
        | FaultKind::UserNotCreated
        | FaultKind::NotVerified
        | FaultKind::NoScopes => (FailureClass::Blocked, Reason::ActionRequired { advice }),
        // No origin is sent with an assertion.
        FaultKind::OriginUnknown | FaultKind::OriginMissing | FaultKind::NoProvider
            if is_assertion =>
        {
            (FailureClass::Blocked, rejected(sent, advice))
        }
        FaultKind::ClientRejected
        | FaultKind::ScopeUnknown
        | FaultKind::OriginUnknown
        | FaultKind::ProviderNotAllowed
        | FaultKind::OriginMissing
        | FaultKind::NoProvider
        | FaultKind::GrantNotAllowed
        | FaultKind::WrongPath => (FailureClass::Blocked, Reason::Misconfigured { advice }),
        FaultKind::RateLimited => waiting(fault, RetryClass::RateLimited, UaaOutage::RateLimited),
        FaultKind::Unavailable => waiting(fault, RetryClass::BadAnswer, UaaOutage::NotRunning),
        FaultKind::ProviderUnavailable => {
            waiting(fault, RetryClass::BadAnswer, UaaOutage::ProviderTrouble)
        }
        FaultKind::ServerError => waiting(fault, RetryClass::BadAnswer, UaaOutage::ServerError),
        FaultKind::Unreadable => waiting(fault, RetryClass::BadAnswer, UaaOutage::Unreadable),
    };
    ClassifiedFailure { class, reason }
}

fn rejected(sent: SentLogon<'_>, advice: String) -> Reason {
    if sent.is_assertion() {
        Reason::AssertionRejected { advice }
    } else {
        Reason::Rejected { advice }
    }
}

/// With the statuses of a refused logon a proxy may have replaced UAA's answer.
fn no_token_endpoint(fault: &Fault) -> (FailureClass, Reason) {
    let status = fault.status.as_u16();
    let is_ambiguous = matches!(status, 400 | 401 | 403);
    (FailureClass::NoTokenEndpoint { is_ambiguous }, Reason::NoTokenEndpoint { status })
}

fn waiting(fault: &Fault, retry_class: RetryClass, outage: UaaOutage) -> (FailureClass, Reason) {
    let class = FailureClass::Waiting {
        retry_class: fault.retry_after.map_or(retry_class, RetryClass::Asked),
        is_ambiguous: fault.kind.is_ambiguous(),
    };
    (class, Reason::UaaUnavailable(outage))
}

/// Returns what kind of failure a refresh is. Only a 429 limits the broker: a 5xx with
/// `Retry-After`, and whatever did not come from a token endpoint, is a refresh that does not work.
pub(super) fn retry_class_of(class: FailureClass, error: &ExchangeError) -> RetryClass {
    let is_rate_limited = matches!(
        error,
        ExchangeError::Refused(fault) if fault.kind == FaultKind::RateLimited
    );
    match class {
        FailureClass::Waiting { retry_class: RetryClass::Asked(_), .. } if !is_rate_limited => {
            RetryClass::BadAnswer
        }
        FailureClass::Waiting { retry_class, .. } => retry_class,
        FailureClass::NoTokenEndpoint { .. }
        | FailureClass::Rejected
        | FailureClass::Blocked
        | FailureClass::BlockedWithProbe
        | FailureClass::Locked(_) => RetryClass::BadAnswer,
    }
}

/// Returns whether no request left the broker.
pub(super) fn is_unsent(error: &ExchangeError) -> bool {
    match error {
        ExchangeError::Transport(error) => !error.may_have_been_sent(),
        ExchangeError::Refused(_) => false,
    }
}

/// A refusal by the token endpoint itself ends a refresh token. Other answers do not.
pub(super) fn ends_refresh_token(error: &ExchangeError) -> bool {
    match error {
        ExchangeError::Transport(_) => false,
        ExchangeError::Refused(fault) => fault.kind == FaultKind::RefreshTokenRejected,
    }
}

#[cfg(test)]
mod tests;
