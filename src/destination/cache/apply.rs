//! Applies the result of a fetch to the cache: content, "unchanged", an absence or a fault.
//!
//! Invariant: content in service is replaced only by validated content; only a second 404 after a
//! pause removes it. Used by `cache` only.

use super::{
    CachedDestination, Content, DestinationSource, FindResult,
    state::{CacheState, CachedContent, FIRST_PAUSE, pause},
};
use crate::destination::{
    Destination, DestinationError, SourceKind,
    fault::{FindFault, Transient, advice},
    pin::DestinationHosts,
};
use std::{sync::Arc, time::Duration};
use tokio::time::Instant;

/// How long "missing" and "invalid" are remembered at most: short, because somebody may be
/// correcting the destination.
const DEFINITE_PAUSE: Duration = Duration::from_secs(30);

impl<S: DestinationSource> CachedDestination<S> {
    /// Validates content; invalid content leaves the older content in service.
    pub(super) fn apply_content(&self, state: &mut CacheState, content: &Content) -> FindResult {
        state.has_complained = false;
        if state.held.as_ref().is_some_and(|held| held.digest == content.digest) {
            self.count("unchanged");
            let advice = || "its content was dropped just now".to_owned();
            return state.confirm().ok_or_else(|| self.unavailable(advice(), FIRST_PAUSE));
        }
        let validator = &self.0.deps.validator;
        let (destination, report) =
            validator.validate(&self.0.name, content.source, &content.fields);
        let mut findings = report.findings().to_vec();
        if let (Some(destination), Some(hosts)) = (&destination, &state.hosts) {
            let (api, token) = (&destination.api, &destination.token_url);
            findings.extend(validator.pin.check_change(hosts, api, token));
        }
        let is_new = state.logged.replace(content.digest) != Some(content.digest);
        let (Some(destination), true) = (destination, findings.is_empty()) else {
            return self.reject(state, findings, is_new);
        };
        if is_new {
            self.log_in_service(&destination, report.warnings());
        }
        let hosts = DestinationHosts::of(&destination.api, &destination.token_url);
        state.hosts.get_or_insert(hosts);
        state.held = Some(CachedContent {
            destination: Arc::clone(&destination),
            tag: content.tag.clone(),
            digest: content.digest,
            confirmed_at: Instant::now(),
        });
        state.confirm();
        self.count("changed");
        Ok(destination)
    }

    fn log_in_service(&self, destination: &Destination, warnings: &[String]) {
        let source = destination.source.name();
        tracing::info!(destination = %self.0.name, source, "destination in service");
        if destination.source == SourceKind::InstanceLevel {
            tracing::warn!(
                destination = %self.0.name,
                "destination is defined in the bound instance and shadows the one of the subaccount"
            );
        }
        for warning in warnings {
            tracing::warn!(destination = %self.0.name, warning, "destination has a questionable setting");
        }
    }

    fn reject(&self, state: &mut CacheState, findings: Vec<String>, is_new: bool) -> FindResult {
        if is_new {
            let findings = findings.join("; ");
            tracing::error!(destination = %self.0.name, findings, "destination is invalid");
        }
        self.count("error");
        let name = self.0.name.to_string();
        state.record_failure(DestinationError::Invalid { name, findings }, Self::definite_pause())
    }

    /// The first 404 may be a glitch; a second one after the pause ends the service of the content.
    pub(super) fn apply_absence(&self, state: &mut CacheState) -> FindResult {
        self.count("missing");
        let since = *state.absent_since.get_or_insert_with(Instant::now);
        if since.elapsed() >= DEFINITE_PAUSE && state.held.take().is_some() {
            tracing::error!(destination = %self.0.name, "destination is gone, content dropped");
        } else if state.last_failure.is_none() {
            tracing::warn!(destination = %self.0.name, "destination does not exist");
        }
        let tried = S::NAME.to_owned();
        let name = self.0.name.to_string();
        state.record_failure(DestinationError::Missing { name, tried }, Self::definite_pause())
    }

    pub(super) fn apply_fault(&self, state: &mut CacheState, fault: &FindFault) -> FindResult {
        self.count(if state.held.is_some() { "stale" } else { "error" });
        let cause = fault.cause();
        let (kind, asked, asked_pause) = match fault {
            FindFault::Unfinished(finding) if state.held.is_some() => {
                return self.keep(state, finding);
            }
            FindFault::Refused(finding) | FindFault::Unfinished(finding) => {
                let findings = vec![(*finding).to_owned()];
                let name = self.0.name.to_string();
                let error = DestinationError::Invalid { name, findings };
                let is_known = state.last_failure.as_ref().is_some_and(|last| last.error == error);
                if !is_known {
                    tracing::error!(destination = %self.0.name, cause, "destination cannot be read");
                }
                return state.record_failure(error, Self::definite_pause());
            }
            FindFault::Transient { kind, asked, retry_after } => (*kind, *asked, *retry_after),
        };
        let advice = advice(kind, asked);
        let pause = pause(kind, state.rounds()).max(asked_pause.unwrap_or_default());
        if kind == Transient::Certificate {
            tracing::error!(destination = %self.0.name, cause, advice, "destination cannot be read");
            let name = self.0.name.to_string();
            return state.record_failure(DestinationError::Untrusted { name, advice }, pause);
        }
        tracing::warn!(destination = %self.0.name, cause, advice, "destination cannot be read now");
        state.record_failure(self.unavailable(advice, pause), pause)
    }

    /// The content in service stays until there is a better one.
    fn keep(&self, state: &mut CacheState, finding: &'static str) -> FindResult {
        if !std::mem::replace(&mut state.has_complained, true) {
            let destination = self.0.name.as_str();
            tracing::error!(
                destination,
                finding,
                "destination not read, the last content stays in use"
            );
        }
        state.confirm().ok_or_else(|| self.unavailable(finding.to_owned(), FIRST_PAUSE))
    }

    /// A source that is cheap to ask is asked again as soon as its content would be.
    fn definite_pause() -> Duration {
        DEFINITE_PAUSE.min(S::SOFT_TTL)
    }

    pub(super) fn unavailable(&self, advice: String, retry_after: Duration) -> DestinationError {
        DestinationError::Unavailable { name: self.0.name.to_string(), advice, retry_after }
    }

    pub(super) fn count(&self, result: &'static str) {
        self.0.deps.metrics.destination_fetched(self.0.name.as_str(), result);
    }
}
