//! Every metric of the broker, declared in one struct.
//!
//! Invariant: no label contains a user, a token, a tenant or a raw path; each label has a fixed set
//! of values or configured ones (destination names). Every module may count; only the `/metrics`
//! handler reads.

use std::{
    fmt,
    sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, atomic::AtomicU64},
    time::Duration,
};

use prometheus_client::{
    encoding::{EncodeLabelSet, text::encode},
    metrics::{counter::Counter, family::Family, gauge::Gauge, histogram::Histogram, info::Info},
    registry::{Metric, Registry},
};

/// Bucket borders in seconds: from the broker's own work (1 ms) to the longest request (55 s).
const BUCKETS: [f64; 12] = [0.001, 0.005, 0.01, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0, 30.0, 60.0];

/// States of the lockout guard (`credential_gate_state`); exactly one of them is 1 per destination.
const GATE_STATES: [&str; 6] = ["unknown", "good", "rejected", "blocked", "locked", "waiting"];

/// Handle to all metrics; a clone is shallow.
#[derive(Clone)]
pub struct Metrics(Arc<MetricsInner>);

struct MetricsInner {
    registry: Mutex<Registry>,
    families: Families,
}

type Histograms<L> = Family<L, Histogram, fn() -> Histogram>;

/// Declares label sets: each field is one label.
macro_rules! labels {
    ($($name:ident { $($field:ident: $kind:ty),+ })+) => { $(
        #[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
        struct $name { $($field: $kind),+ }
    )+ };
}

labels! {
    RequestLabels { route: String, method: &'static str, status: u16 }
    RouteLabels { route: String, method: &'static str }
    TokenFetchLabels { destination: String, grant: &'static str, result: &'static str }
    GrantLabels { destination: String, grant: &'static str }
    DestinationLabel { destination: String }
    DestinationResultLabels { destination: String, result: &'static str }
    DestinationStateLabels { destination: String, state: &'static str }
    CallLabels { upstream: &'static str, operation: &'static str, status: u16 }
    OperationLabels { upstream: &'static str, operation: &'static str }
    UpstreamLabel { upstream: &'static str }
    ResultLabel { result: &'static str }
    ReasonLabel { reason: &'static str }
    CauseLabel { cause: &'static str }
    RouteOperationLabels { operation: &'static str, outcome: &'static str }
}

struct Families {
    http_requests: Family<RequestLabels, Counter>,
    http_duration: Histograms<RouteLabels>,
    http_in_flight: Gauge,
    http_waiting: Family<CauseLabel, Gauge>,
    token_fetch: Family<TokenFetchLabels, Counter>,
    token_fetch_duration: Histograms<GrantLabels>,
    token_expiry: Family<DestinationLabel, Gauge>,
    token_served: Family<DestinationResultLabels, Counter>,
    gate_state: Family<DestinationStateLabels, Gauge>,
    destination_fetch: Family<DestinationResultLabels, Counter>,
    upstream_requests: Family<CallLabels, Counter>,
    upstream_duration: Histograms<OperationLabels>,
    upstream_retries: Family<UpstreamLabel, Counter>,
    breaker_open: Family<UpstreamLabel, Gauge>,
    /// Registered when it is first set: until the CF API has said a number there is none.
    rate_limit_remaining: OnceLock<Gauge<u64, AtomicU64>>,
    jwks_fetch: Family<ResultLabel, Counter>,
    auth_refusals: Family<ReasonLabel, Counter>,
    policy_denials: Family<ReasonLabel, Counter>,
    alarms: Family<ReasonLabel, Counter>,
    route_operations: Family<RouteOperationLabels, Counter>,
}

impl MetricsInner {
    fn registry(&self) -> MutexGuard<'_, Registry> {
        self.registry.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Default for Metrics {
    fn default() -> Self {
        let mut registry = Registry::with_prefix("cfapi_broker");
        let families = Families::registered(&mut registry);
        let build = Info::new(vec![("version", env!("CARGO_PKG_VERSION"))]);
        registry.register("build", "Version of this broker", build);
        Self(Arc::new(MetricsInner { registry: Mutex::new(registry), families }))
    }
}

impl fmt::Debug for Metrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Metrics")
    }
}

fn histogram() -> Histogram {
    Histogram::new(BUCKETS)
}

fn histograms<L: Clone + std::hash::Hash + Eq>() -> Histograms<L> {
    Family::new_with_constructor(histogram as fn() -> Histogram)
}

/// Registers a metric and keeps it.
fn registered<M: Metric + Clone>(registry: &mut Registry, name: &str, help: &str, metric: M) -> M {
    registry.register(name, help, metric.clone());
    metric
}

impl Families {
    #[rustfmt::skip]
    fn registered(r: &mut Registry) -> Self {
        Self {
            http_requests: registered(r, "http_requests", "Inbound requests", Family::default()),
            http_duration: registered(r, "http_request_duration_seconds", "Time from head to end of the answer", histograms()),
            http_in_flight: registered(r, "http_requests_in_flight", "Inbound requests being answered", Gauge::default()),
            http_waiting: registered(r, "http_requests_waiting", "Waits of inbound requests that hold no place", Family::default()),
            token_fetch: registered(r, "token_fetch", "Grants sent to a token endpoint", Family::default()),
            token_fetch_duration: registered(r, "token_fetch_duration_seconds", "Time of a grant", histograms()),
            token_expiry: registered(r, "token_expiry_timestamp_seconds", "When the live access token ends (Unix time)", Family::default()),
            token_served: registered(r, "token_cache_requests", "Leases asked of the vault", Family::default()),
            gate_state: registered(r, "credential_gate_state", "1 for the state that the credential gate is in", Family::default()),
            destination_fetch: registered(r, "destination_fetch", "Reads of the Destination service", Family::default()),
            upstream_requests: registered(r, "upstream_requests", "Calls to other systems", Family::default()),
            upstream_duration: registered(r, "upstream_request_duration_seconds", "Time of a call to another system", histograms()),
            upstream_retries: registered(r, "upstream_retries", "Repeated calls", Family::default()),
            breaker_open: registered(r, "breaker_open", "1 while the breaker of an upstream is open", Family::default()),
            rate_limit_remaining: OnceLock::new(),
            jwks_fetch: registered(r, "jwks_fetch", "Fetches of a key set", Family::default()),
            auth_refusals: registered(r, "auth_refusals", "Refused callers", Family::default()),
            policy_denials: registered(r, "policy_denials", "Requests refused by policy", Family::default()),
            alarms: registered(r, "alarms", "Faults of our own that should never be", Family::default()),
            route_operations: registered(r, "route_operations", "Operations on tenant routes", Family::default()),
        }
    }
}

impl Metrics {
    /// Writes all metrics as `OpenMetrics` text.
    pub fn encode(&self) -> String {
        let mut text = String::new();
        // Writing to a string cannot fail; an empty answer would be visible in the scrape.
        _ = encode(&mut text, &self.0.registry());
        text
    }

    /// Registers the counter of lost log lines; a process has one log writer.
    pub fn log_loses(&self, lost: Counter) {
        self.0.registry().register("log_lines_lost", "Log lines that found no room", lost);
    }

    /// Counts an inbound request as in flight until the returned guard is dropped.
    pub fn request_started(&self) -> InFlight {
        self.0.families.http_in_flight.inc();
        InFlight(self.clone())
    }

    /// Counts a wait of a request that holds no place, until the returned guard is dropped. `cause`
    /// is `job` or `lock`.
    pub fn wait_started(&self, cause: &'static str) -> WaitingRequest {
        let gauge = self.0.families.http_waiting.get_or_create(&CauseLabel { cause }).clone();
        gauge.inc();
        WaitingRequest(gauge)
    }

    /// Counts an answered request; `route` is the template, never the raw path.
    pub fn request_answered(&self, route: &str, method: &str, status: u16, took: Duration) {
        let (route, method) = (route.to_owned(), method_label(method));
        let families = &self.0.families;
        let labels = RouteLabels { route: route.clone(), method };
        families.http_duration.get_or_create(&labels).observe(took.as_secs_f64());
        families.http_requests.get_or_create(&RequestLabels { route, method, status }).inc();
    }

    /// Counts a grant. `grant` is its OAuth name; `result` is `ok`, `refused` or `transient`.
    pub fn token_fetched(
        &self,
        destination: &str,
        grant: &'static str,
        result: &'static str,
        took: Duration,
    ) {
        let destination = destination.to_owned();
        let families = &self.0.families;
        families
            .token_fetch_duration
            .get_or_create(&GrantLabels { destination: destination.clone(), grant })
            .observe(took.as_secs_f64());
        families.token_fetch.get_or_create(&TokenFetchLabels { destination, grant, result }).inc();
    }

    /// Counts a lease: `fresh`, `ageing`, `waited` or `refused`.
    pub fn token_served(&self, destination: &str, result: &'static str) {
        self.served_counter(destination, result).inc();
    }

    /// Returns the counter behind [`Metrics::token_served`], so that a hot path can keep it and
    /// count without a lookup.
    pub fn served_counter(&self, destination: &str, result: &'static str) -> Counter {
        let labels = DestinationResultLabels { destination: destination.to_owned(), result };
        self.0.families.token_served.get_or_create(&labels).clone()
    }

    /// Sets the end of the current access token of a destination, in Unix seconds.
    pub fn token_expires(&self, destination: &str, unix_seconds: i64) {
        let labels = DestinationLabel { destination: destination.to_owned() };
        self.0.families.token_expiry.get_or_create(&labels).set(unix_seconds);
    }

    /// Sets the state of the lockout guard: `unknown`, `good`, `rejected`, `blocked`, `locked` or
    /// `waiting`.
    pub fn gate_state(&self, destination: &str, state: &'static str) {
        for each in GATE_STATES {
            let labels =
                DestinationStateLabels { destination: destination.to_owned(), state: each };
            self.0.families.gate_state.get_or_create(&labels).set(i64::from(each == state));
        }
    }

    /// Counts a read of the Destination service: `changed`, `unchanged`, `stale`, `missing` or
    /// `error`.
    pub fn destination_fetched(&self, destination: &str, result: &'static str) {
        let labels = DestinationResultLabels { destination: destination.to_owned(), result };
        self.0.families.destination_fetch.get_or_create(&labels).inc();
    }

    /// Counts a call to another system; `status` 0 means that no answer came.
    pub fn upstream_called(
        &self,
        upstream: &'static str,
        operation: &'static str,
        status: u16,
        took: Duration,
    ) {
        let families = &self.0.families;
        let labels = OperationLabels { upstream, operation };
        families.upstream_duration.get_or_create(&labels).observe(took.as_secs_f64());
        let labels = CallLabels { upstream, operation, status };
        families.upstream_requests.get_or_create(&labels).inc();
    }

    /// Counts a retried call.
    pub fn upstream_retried(&self, upstream: &'static str) {
        self.0.families.upstream_retries.get_or_create(&UpstreamLabel { upstream }).inc();
    }

    /// Records that the breaker of an upstream opened.
    pub fn breaker_opened(&self, upstream: &'static str) {
        self.0.families.breaker_open.get_or_create(&UpstreamLabel { upstream }).set(1);
    }

    /// Records that the breaker of an upstream closed.
    pub fn breaker_closed(&self, upstream: &'static str) {
        self.0.families.breaker_open.get_or_create(&UpstreamLabel { upstream }).set(0);
    }

    /// Sets how many calls the CF API still allows the technical user.
    pub fn rate_limit_remaining(&self, remaining: u64) {
        let gauge = self.0.families.rate_limit_remaining.get_or_init(|| {
            let gauge = Gauge::default();
            let help = "Calls left as the CF API last said, floored to 10 %";
            self.0.registry().register("cf_rate_limit_remaining", help, gauge.clone());
            gauge
        });
        gauge.set(remaining);
    }

    /// Counts a fetch of a key set: `changed`, `unchanged` or `error`.
    pub fn jwks_fetched(&self, result: &'static str) {
        self.0.families.jwks_fetch.get_or_create(&ResultLabel { result }).inc();
    }

    /// Counts a refused caller; `reason` is one of auth's constant words.
    pub fn auth_refused(&self, reason: &'static str) {
        self.0.families.auth_refusals.get_or_create(&ReasonLabel { reason }).inc();
    }

    /// Counts a request that policy refused.
    pub fn policy_denied(&self, reason: &'static str) {
        self.0.families.policy_denials.get_or_create(&ReasonLabel { reason }).inc();
    }

    /// Counts an internal fault: `target_mismatch` (a URL that parsing would have changed) or
    /// `unusable_header` (no token was sent to CF).
    pub fn alarm(&self, reason: &'static str) {
        self.0.families.alarms.get_or_create(&ReasonLabel { reason }).inc();
    }

    /// Counts an operation on a tenant route.
    pub fn route_operation(&self, operation: &'static str, outcome: &'static str) {
        self.0
            .families
            .route_operations
            .get_or_create(&RouteOperationLabels { operation, outcome })
            .inc();
    }
}

/// Returns the label of a known method; all other methods share one label, so that callers cannot
/// create labels.
fn method_label(method: &str) -> &'static str {
    const KNOWN: [&str; 6] = ["GET", "POST", "PUT", "DELETE", "HEAD", "PATCH"];
    KNOWN.into_iter().find(|known| *known == method).unwrap_or("other")
}

/// Counts a request as in flight until dropped.
#[derive(Debug)]
pub struct InFlight(Metrics);

impl Drop for InFlight {
    fn drop(&mut self) {
        self.0.0.families.http_in_flight.dec();
    }
}

/// Counts a wait until dropped.
#[derive(Debug)]
pub struct WaitingRequest(Gauge);

impl Drop for WaitingRequest {
    fn drop(&mut self) {
        self.0.dec();
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::Metrics;

    #[test]
    fn exactly_one_gate_state_is_set() {
        let metrics = Metrics::default();
        metrics.gate_state("CFAPI", "good");
        metrics.gate_state("CFAPI", "locked");
        let text = metrics.encode();
        assert!(
            text.contains(
                r#"cfapi_broker_credential_gate_state{destination="CFAPI",state="locked"} 1"#
            ),
            "{text}"
        );
        assert_eq!(
            text.lines()
                .filter(|l| l.contains("credential_gate_state{") && l.ends_with(" 1"))
                .count(),
            1
        );
    }

    #[test]
    fn the_calls_left_are_absent_until_the_cf_api_has_said_a_number() {
        let metrics = Metrics::default();
        assert!(!metrics.encode().contains("rate_limit_remaining"));
        for left in [18_000, 0] {
            metrics.rate_limit_remaining(left);
            let line = format!("\ncfapi_broker_cf_rate_limit_remaining {left}\n");
            assert!(metrics.encode().contains(&line), "{}", metrics.encode());
        }
    }

    #[test]
    fn unknown_methods_share_one_label() {
        let metrics = Metrics::default();
        for word in ["BREW", "WHEN"] {
            metrics.request_answered("unmatched", word, 405, Duration::ZERO);
        }
        let text = metrics.encode();
        assert!(
            text.contains(
                r#"http_requests_total{route="unmatched",method="other",status="405"} 2"#
            ),
            "{text}"
        );
        assert!(!text.contains("BREW"));
    }

    #[test]
    fn requests_in_flight_are_counted_down() {
        let metrics = Metrics::default();
        let guard = metrics.request_started();
        assert!(metrics.encode().contains("http_requests_in_flight 1"));
        drop(guard);
        metrics.request_answered("/health", "GET", 200, Duration::from_millis(2));
        let text = metrics.encode();
        assert!(text.contains("http_requests_in_flight 0"));
        assert!(
            text.contains(
                r#"cfapi_broker_http_requests_total{route="/health",method="GET",status="200"} 1"#
            ),
            "{text}"
        );
    }
}
