//! Reads one destination again and decides what the answer does to its content.
//!
//! Invariant: a failure is never stored as content. Content in service is replaced only by
//! validated content; only a second 404 after a pause removes it. Used by `cache`.

use super::{
    error::DestinationError,
    fault::{AskedSystem, FindFault, Transient, advice},
    model::{Destination, DestinationName, SourceKind},
    pin::DestinationHosts,
    source::{Content, DestinationSource, FindResponse},
    validate::Validator,
};
use crate::{
    telemetry::metrics::Metrics,
    upstream::{
        refresh::{
            FlightKind, PreviousValue, Renew, RenewalAttempt, RenewalFailure, RenewalResult,
            ValueAge,
        },
        retry::Backoff,
    },
};
use http::HeaderValue;
use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};
use tokio::time::Instant;

/// Age up to which content is served while the service fails.
const STALE_LIMIT: Duration = Duration::from_secs(24 * 60 * 60);

/// First pause after a failed fetch.
const FIRST_PAUSE: Duration = Duration::from_secs(1);

/// Pauses after failed fetches where no connection was made …
const CONNECT_PAUSES: Backoff = Backoff::doubling(FIRST_PAUSE, Duration::from_secs(5));

/// … and where something answered.
const ANSWER_PAUSES: Backoff = Backoff::doubling(FIRST_PAUSE, Duration::from_secs(60));

/// How long "missing" and "invalid" are remembered at most: short, because somebody may be
/// correcting the destination.
const DEFINITE_PAUSE: Duration = Duration::from_secs(30);

/// After this many revalidations one is sent without entity tag: it is not known whether the tag
/// changes when only the password changes.
const UNCONDITIONAL_EVERY: u32 = 12;

/// Renews one destination from `S`.
pub(super) struct DestinationRenewal<S> {
    name: DestinationName,
    source: S,
    validator: Validator,
    metrics: Metrics,
    history: Mutex<ContentHistory>,
}

/// Content in service.
pub(super) struct CachedContent {
    pub(super) destination: Arc<Destination>,
    tag: Option<HeaderValue>,
    digest: u64,
    confirmed_at: Instant,
}

/// What outlives one content. Only the fetch under way uses it.
#[derive(Default)]
struct ContentHistory {
    /// When the first of two 404s came.
    absent_since: Option<Instant>,
    revalidations: u32,
    /// Hosts of the first content in service. They outlive it: deleting and re-creating a
    /// destination must not get round the rule about changed hosts.
    hosts: Option<DestinationHosts>,
    /// Digest of the content whose findings and warnings have been logged.
    logged: Option<u64>,
    /// Whether it was logged that content stays although its source cannot be read.
    has_complained: bool,
}

type Renewed = RenewalResult<CachedContent, DestinationError>;

type Previous<'a> = Option<&'a CachedContent>;

impl CachedContent {
    /// The time since it was last confirmed.
    pub(super) fn age(&self) -> Duration {
        self.confirmed_at.elapsed()
    }

    fn confirmed(&self) -> Self {
        Self {
            destination: Arc::clone(&self.destination),
            tag: self.tag.clone(),
            digest: self.digest,
            confirmed_at: Instant::now(),
        }
    }
}

impl<S: DestinationSource> Renew for DestinationRenewal<S> {
    type Value = CachedContent;
    type Error = DestinationError;

    async fn renew(&self, attempt: RenewalAttempt<Self>) -> Renewed {
        let previous = attempt.previous.as_deref();
        let tag = previous.and_then(|previous| self.tag(previous, attempt.kind));
        let found = self.source.find(&self.name, tag.as_ref()).await;
        let renewed = match (found, previous) {
            (Ok(FindResponse::Content(content)), _) => self.content(previous, &content),
            (Ok(FindResponse::Unchanged), Some(previous)) => Ok(self.unchanged(previous)),
            (Ok(FindResponse::Unchanged), None) => {
                let asked = AskedSystem::DestinationService;
                self.fault(&attempt, &FindFault::unreadable(asked))
            }
            (Ok(FindResponse::Absent), _) => return self.absence(&attempt),
            (Err(fault), _) => self.fault(&attempt, &fault),
        };
        self.history().absent_since = None;
        renewed
    }

    fn age(&self, content: &CachedContent, now: Instant) -> ValueAge {
        let age = now.saturating_duration_since(content.confirmed_at);
        if age <= S::SOFT_TTL {
            ValueAge::Fresh
        } else if age <= STALE_LIMIT {
            ValueAge::Ageing
        } else {
            ValueAge::Expired
        }
    }

    fn broken_off(&self, now: Instant) -> RenewalFailure<DestinationError> {
        let error = self.unavailable("the read of it has broken off".to_owned(), FIRST_PAUSE);
        RenewalFailure::new(error, now)
    }
}

impl<S: DestinationSource> DestinationRenewal<S> {
    pub(super) fn new(
        name: DestinationName,
        source: S,
        validator: Validator,
        metrics: Metrics,
    ) -> Self {
        Self { name, source, validator, metrics, history: Mutex::default() }
    }

    pub(super) fn name(&self) -> &DestinationName {
        &self.name
    }

    /// Validates content that was read before the first fetch.
    pub(super) fn first_content(&self, content: &Content) -> Renewed {
        self.content(None, content)
    }

    /// Counts a revalidation and returns the entity tag to send.
    fn tag(&self, previous: &CachedContent, kind: FlightKind) -> Option<HeaderValue> {
        let mut history = self.history();
        history.revalidations = history.revalidations.wrapping_add(1);
        let is_due = history.revalidations.is_multiple_of(UNCONDITIONAL_EVERY);
        previous.tag.clone().filter(|_| kind == FlightKind::Normal && !is_due)
    }

    /// Validates content; invalid content leaves the older content in service.
    fn content(&self, previous: Previous<'_>, content: &Content) -> Renewed {
        let mut history = self.history();
        history.has_complained = false;
        if let Some(previous) = previous.filter(|previous| previous.digest == content.digest) {
            return Ok(self.unchanged(previous));
        }
        let (destination, report) =
            self.validator.validate(&self.name, content.source, &content.fields);
        let mut findings = report.findings().to_vec();
        if let (Some(destination), Some(hosts)) = (&destination, &history.hosts) {
            let (api, token) = (&destination.api, &destination.token_url);
            findings.extend(self.validator.pin.check_change(hosts, api, token));
        }
        let is_new = history.logged.replace(content.digest) != Some(content.digest);
        let (Some(destination), true) = (destination, findings.is_empty()) else {
            return Err(self.invalid(findings, is_new));
        };
        if is_new {
            self.log_in_service(&destination, report.warnings());
        }
        let hosts = DestinationHosts::of(&destination.api, &destination.token_url);
        history.hosts.get_or_insert(hosts);
        self.count("changed");
        let (tag, digest) = (content.tag.clone(), content.digest);
        Ok(CachedContent { destination, tag, digest, confirmed_at: Instant::now() })
    }

    fn log_in_service(&self, destination: &Destination, warnings: &[String]) {
        let source = destination.source.name();
        tracing::info!(destination = %self.name, source, "destination in service");
        if destination.source == SourceKind::InstanceLevel {
            tracing::warn!(
                destination = %self.name,
                "destination is defined in the bound instance and shadows the one of the subaccount"
            );
        }
        for warning in warnings {
            tracing::warn!(destination = %self.name, warning, "destination has a questionable setting");
        }
    }

    fn unchanged(&self, previous: &CachedContent) -> CachedContent {
        self.count("unchanged");
        previous.confirmed()
    }

    fn invalid(&self, findings: Vec<String>, is_new: bool) -> RenewalFailure<DestinationError> {
        if is_new {
            let findings = findings.join("; ");
            tracing::error!(destination = %self.name, findings, "destination is invalid");
        }
        self.count("error");
        definite::<S>(DestinationError::Invalid { name: self.name.to_string(), findings })
    }

    /// The first 404 may be a glitch; a second one after the pause ends the service of the content.
    fn absence(&self, attempt: &RenewalAttempt<Self>) -> Renewed {
        self.count("missing");
        let (name, tried) = (self.name.to_string(), S::NAME.to_owned());
        let mut failure = definite::<S>(DestinationError::Missing { name, tried });
        let since = *self.history().absent_since.get_or_insert_with(Instant::now);
        if since.elapsed() >= DEFINITE_PAUSE && attempt.previous.is_some() {
            tracing::error!(destination = %self.name, "destination is gone, content dropped");
            failure.previous = PreviousValue::Removed;
        } else if attempt.last_error.is_none() {
            tracing::warn!(destination = %self.name, "destination does not exist");
        }
        Err(failure)
    }

    fn fault(&self, attempt: &RenewalAttempt<Self>, fault: &FindFault) -> Renewed {
        let previous = attempt.previous.as_deref();
        self.count(if previous.is_some() { "stale" } else { "error" });
        let cause = fault.cause();
        let (kind, asked, asked_pause) = match (fault, previous) {
            (FindFault::Unfinished(finding), Some(previous)) => {
                return Ok(self.keep(previous, finding));
            }
            (FindFault::Refused(finding) | FindFault::Unfinished(finding), _) => {
                let (name, findings) = (self.name.to_string(), vec![(*finding).to_owned()]);
                let error = DestinationError::Invalid { name, findings };
                if attempt.last_error.as_ref() != Some(&error) {
                    tracing::error!(destination = %self.name, cause, "destination cannot be read");
                }
                return Err(definite::<S>(error));
            }
            (FindFault::Transient { kind, asked, retry_after, .. }, _) => {
                (*kind, *asked, *retry_after)
            }
        };
        let advice = advice(kind, asked);
        let pause = pauses(kind).wait(attempt.failures).max(asked_pause.unwrap_or_default());
        let error = if kind == Transient::Certificate {
            tracing::error!(destination = %self.name, cause, advice, "destination cannot be read");
            DestinationError::Untrusted { name: self.name.to_string(), advice }
        } else {
            tracing::warn!(destination = %self.name, cause, advice, "destination cannot be read now");
            self.unavailable(advice, pause)
        };
        Err(RenewalFailure::new(error, Instant::now() + pause))
    }

    /// The content in service stays until there is a better one.
    fn keep(&self, previous: &CachedContent, finding: &'static str) -> CachedContent {
        if !std::mem::replace(&mut self.history().has_complained, true) {
            let destination = self.name.as_str();
            tracing::error!(
                destination,
                finding,
                "destination not read, the last content stays in use"
            );
        }
        previous.confirmed()
    }

    fn unavailable(&self, advice: String, retry_after: Duration) -> DestinationError {
        DestinationError::Unavailable { name: self.name.to_string(), advice, retry_after }
    }

    fn count(&self, result: &'static str) {
        self.metrics.destination_fetched(self.name.as_str(), result);
    }

    fn history(&self) -> MutexGuard<'_, ContentHistory> {
        self.history.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A failure that waiting does not end. A source that is cheap to ask is asked again as soon as its
/// content would be.
fn definite<S: DestinationSource>(error: DestinationError) -> RenewalFailure<DestinationError> {
    RenewalFailure::new(error, Instant::now() + DEFINITE_PAUSE.min(S::SOFT_TTL))
}

fn pauses(kind: Transient) -> Backoff {
    match kind {
        Transient::Connect | Transient::Name | Transient::Closed => CONNECT_PAUSES,
        Transient::Certificate
        | Transient::NoAnswer
        | Transient::Server
        | Transient::RateLimited
        | Transient::Unreadable => ANSWER_PAUSES,
    }
}
