//! The log lines of this room: one per transition of a gate, one per renewal.
//!
//! Invariant: no line holds a secret; of an upstream's text only the fields that `oauth` has cut and stripped. Used by
//! `source`.

use super::{
    error::Refusal,
    schedule::Window,
    state::{GateState, Transition},
};
use crate::{
    destination::DestinationName,
    oauth::{ExchangeError, Fault},
};
use std::{error::Error, time::Duration};
use tokio::time::Instant;

/// A token has come.
pub(super) fn renewed(name: &DestinationName, grant: &str, took: Duration, window: Window) {
    let destination = name.as_str();
    let (took_ms, serves_s) = (took.as_millis(), seconds_until(window.serve_until));
    tracing::info!(destination, grant, took_ms, serves_s, "token renewed");
}

/// Said once per destination.
pub(super) fn no_refresh_token(name: &DestinationName) {
    tracing::warn!(
        destination = name.as_str(),
        hint = "allow the client the refresh token grant",
        "no refresh token: every renewal is a logon"
    );
}

/// The password's turn comes.
pub(super) fn refresh_token_refused(name: &DestinationName, error: &ExchangeError) {
    let (destination, fault) = (name.as_str(), fault(error));
    let error = fault.and_then(|fault| fault.error.as_deref());
    let excerpt = fault.and_then(|fault| fault.excerpt.as_deref());
    tracing::info!(destination, error, excerpt, "refresh token refused");
}

/// The first failure of a row is worth a line, the others only for us.
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

/// A logon succeeded.
pub(super) fn opened(name: &DestinationName, transition: Transition) {
    let (from, gate) = (transition.from.name(), transition.to.name());
    if transition.from != transition.to {
        tracing::info!(destination = name.as_str(), from, gate, "credential gate opened");
    }
}

/// A logon failed and the credentials are still the same.
pub(super) fn closed(transition: Transition, refusal: &Refusal, error: &ExchangeError) {
    let destination = refusal.destination.as_str();
    let (from, gate) = (transition.from.name(), transition.to.name());
    let retry_s = refusal.retry_at.map(seconds_until);
    let (reason, hint) = (refusal.reason.to_string(), refusal.reason.hint());
    let (cause, is_certificate) = (chain(error), error.is_certificate());
    let answer = fault(error);
    let error = answer.and_then(|fault| fault.error.as_deref());
    let excerpt = answer.and_then(|fault| fault.excerpt.as_deref());
    match transition.to {
        GateState::Rejected | GateState::Blocked | GateState::Locked => tracing::error!(
            destination,
            from,
            gate,
            reason,
            hint,
            error,
            excerpt,
            retry_s,
            "credential gate closed"
        ),
        GateState::Waiting if is_certificate && transition.from != GateState::Waiting => {
            tracing::error!(
                destination,
                from,
                gate,
                cause,
                retry_s,
                "certificate of the login server refused"
            );
        }
        GateState::Waiting if transition.from != GateState::Waiting => tracing::warn!(
            destination,
            from,
            gate,
            cause,
            error,
            excerpt,
            retry_s,
            "credential gate waits"
        ),
        GateState::Waiting | GateState::Unknown | GateState::Good => {
            tracing::debug!(destination, from, gate, cause, retry_s, "logon failed again");
        }
    }
}

/// No logon can be risked for a while; said once per pause, for the pause holds the others back.
pub(super) fn exhausted(name: &DestinationName, until: Option<Instant>) {
    let (destination, retry_s) = (name.as_str(), until.map(seconds_until));
    tracing::warn!(destination, retry_s, "too many logons without a clear end, none is risked");
}

/// A logon failed, but the credentials have changed meanwhile.
pub(super) fn refused_but_changed(name: &DestinationName) {
    tracing::warn!(
        destination = name.as_str(),
        "credentials refused; the destination holds new ones by now"
    );
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
