//! The log events of this module: one per transition of a lockout guard, one per renewal.
//!
//! Invariant: no line holds a secret. Of an upstream's text a line holds only the fields that
//! `oauth` has shortened and cleaned. Used by `provider` and `exchange`.

use super::{
    error::{LeaseRefusal, Reason},
    schedule::Window,
    state::{GuardState, Hold, Transition},
};
use crate::{
    destination::DestinationName,
    oauth::{ExchangeError, Fault},
};
use std::{error::Error, time::Duration};
use tokio::time::Instant;

/// A grant brought a token.
pub(super) fn renewed(name: &DestinationName, grant: &str, took: Duration, window: Window) {
    let destination = name.as_str();
    let (took_ms, serves_s) = (took.as_millis(), seconds_until(window.serve_until));
    tracing::info!(destination, grant, took_ms, serves_s, "token renewed");
}

/// Written once per destination.
pub(super) fn no_refresh_token(name: &DestinationName) {
    tracing::warn!(
        destination = name.as_str(),
        hint = "allow the client the refresh token grant",
        "no refresh token: every renewal is a logon"
    );
}

/// The password is next.
pub(super) fn refresh_token_refused(name: &DestinationName, error: &ExchangeError) {
    let (destination, fault) = (name.as_str(), fault(error));
    let error = fault.and_then(|fault| fault.error.as_deref());
    let excerpt = fault.and_then(|fault| fault.excerpt.as_deref());
    tracing::info!(destination, error, excerpt, "refresh token refused");
}

/// Only the first failure in a row is a warning; the others are for debugging.
pub(super) fn refresh_failed(
    name: &DestinationName,
    rounds: u32,
    pause: Duration,
    error: &ExchangeError,
) {
    let (destination, cause) = (name.as_str(), chain(error));
    let pause_ms = pause.as_millis();
    if rounds == 0 {
        tracing::warn!(destination, cause, pause_ms, "renewal failed, will be repeated");
    } else {
        tracing::debug!(destination, cause, pause_ms, rounds, "renewal failed again");
    }
}

/// Refreshing does not work. Written once per logon that replaces it.
pub(super) fn logs_on_instead(name: &DestinationName, failures: u32) {
    tracing::error!(
        destination = name.as_str(),
        failures,
        hint =
            "every lifetime of a token costs a logon until the login server's refresh grant works",
        "refreshing the token does not work, logging on instead"
    );
}

/// A logon succeeded.
pub(super) fn opened(name: &DestinationName, transition: Transition) {
    let (from, gate) = (transition.from.name(), transition.to.name());
    if transition.from != transition.to {
        tracing::info!(destination = name.as_str(), from, gate, "lockout guard opened");
    }
}

/// A logon failed and the credentials are still the same.
pub(super) fn closed(transition: Transition, refusal: &LeaseRefusal, error: &ExchangeError) {
    let destination = refusal.destination.as_str();
    let (from, gate) = (transition.from.name(), transition.to.name());
    let retry_s = refusal.retry_at.map(seconds_until);
    let (reason, hint) = (refusal.reason.to_string(), refusal.hint());
    let (cause, is_certificate) = (chain(error), error.is_certificate());
    let answer = fault(error);
    let error = answer.and_then(|fault| fault.error.as_deref());
    let excerpt = answer.and_then(|fault| fault.excerpt.as_deref());
    match transition.to {
        GuardState::Rejected | GuardState::Blocked | GuardState::Locked => tracing::error!(
            destination,
            from,
            gate,
            reason,
            hint,
            error,
            excerpt,
            retry_s,
            "lockout guard closed"
        ),
        GuardState::Waiting if is_certificate && transition.from != GuardState::Waiting => {
            tracing::error!(
                destination,
                from,
                gate,
                cause,
                retry_s,
                "certificate of the login server refused"
            );
        }
        GuardState::Waiting if is_news(transition, &refusal.reason) => tracing::warn!(
            destination,
            from,
            gate,
            reason,
            hint,
            cause,
            error,
            excerpt,
            retry_s,
            "lockout guard waits"
        ),
        GuardState::Waiting | GuardState::Unknown | GuardState::Good => {
            tracing::debug!(destination, from, gate, cause, retry_s, "logon failed again");
        }
    }
}

/// No logon can be risked for a while. Written once per pause, because the pause stops further
/// attempts.
pub(super) fn exhausted(name: &DestinationName, hold: &Hold) {
    let (destination, retry_s) = (name.as_str(), hold.retry_at.map(seconds_until));
    tracing::warn!(
        destination,
        retry_s,
        hint = hold.reason.hint(),
        "logons without a clear result, the next one waits"
    );
}

/// A logon failed, but the credentials have changed meanwhile.
pub(super) fn refused_but_changed(name: &DestinationName) {
    tracing::warn!(
        destination = name.as_str(),
        "credentials refused, but the destination has new ones"
    );
}

/// Of transient failures in a row only the first is a warning, and those that hold for longer.
fn is_news(transition: Transition, reason: &Reason) -> bool {
    let holds_long = matches!(reason, Reason::Unclear { .. } | Reason::NoTokenEndpoint { .. });
    transition.from != GuardState::Waiting || holds_long
}

fn fault(error: &ExchangeError) -> Option<&Fault> {
    match error {
        ExchangeError::Refused(fault) => Some(fault),
        ExchangeError::Transport(_) => None,
    }
}

fn seconds_until(moment: Instant) -> u64 {
    moment.saturating_duration_since(Instant::now()).as_secs()
}

/// Joins an error and its sources.
fn chain(error: &ExchangeError) -> String {
    let mut text = error.to_string();
    let mut link = error.source();
    while let Some(cause) = link {
        text = format!("{text}: {cause}");
        link = cause.source();
    }
    text
}
