//! What handlers may borrow. Each field is a handle; a clone is shallow.

use std::{fmt, ops::Deref, sync::Arc, time::Duration};

use axum::extract::FromRef;

use crate::{
    auth::Verifier,
    capi::CapiClient,
    destination::DestinationName,
    http::{
        extract::BodyLimits,
        middleware::{AdmissionLimits, Deadline},
        readiness::Readiness,
        request_validation::RequestValidator,
    },
    policy::Policy,
    proxy::Proxy,
    routes::TenantRoutes,
    telemetry::{metrics::Metrics, writer::LogWriter},
    token::TokenVault,
};

/// Everything a handler may borrow, behind one handle: the router copies it for each request. Handlers take the part
/// that they use, never the whole.
#[derive(Clone, Debug)]
pub struct AppState(Arc<AppStateInner>);

#[derive(Debug)]
struct AppStateInner {
    parts: AppStateParts,
    proxy_state: Arc<ProxyState>,
}

/// What [`AppState`] holds.
#[derive(Clone, Debug)]
pub struct AppStateParts {
    /// Tenant routes.
    pub routes: TenantRoutes,
    /// What may pass to the CF API.
    pub policy: Policy,
    /// Forwards it.
    pub proxy: Proxy,
    /// The CF API.
    pub capi: CapiClient,
    /// Tokens of the technical users.
    pub vault: TokenVault,
    /// Judges callers.
    pub verifier: Verifier,
    /// Answers probes.
    pub readiness: Readiness,
    /// All metrics.
    pub metrics: Metrics,
    /// Which destination, how long.
    pub defaults: Defaults,
    /// What a body may cost.
    pub body: BodyLimits,
    /// What is refused by the head alone.
    pub validator: RequestValidator,
    /// What is taken in.
    pub admission: AdmissionLimits,
    /// How long a request may take.
    pub deadline: Deadline,
    /// Where callers reach the broker.
    pub base: PublicBase,
}

impl AppState {
    /// Puts the parts behind one handle.
    pub fn new(parts: AppStateParts) -> Self {
        let proxy_state = Arc::new(ProxyState::of(&parts));
        Self(Arc::new(AppStateInner { parts, proxy_state }))
    }

    /// Returns what the handler of `/v3` works with.
    pub(super) fn proxy_state(&self) -> Arc<ProxyState> {
        Arc::clone(&self.0.proxy_state)
    }

    /// Returns the same state with another place for log lines.
    #[must_use]
    pub fn with_log(&self, log: LogWriter) -> Self {
        self.metrics.log_loses(log.lost());
        let mut parts = AppStateParts::clone(self);
        parts.admission.log = log;
        Self::new(parts)
    }
}

impl Deref for AppState {
    type Target = AppStateParts;

    fn deref(&self) -> &AppStateParts {
        &self.0.parts
    }
}

/// Lends each part to the handlers that name its type.
macro_rules! lend_parts {
    ($($kind:ty: $part:ident),+) => { $(
        impl FromRef<AppState> for $kind {
            fn from_ref(state: &AppState) -> Self {
                state.$part.clone()
            }
        }
    )+ };
}
lend_parts!(
    TenantRoutes: routes, CapiClient: capi, TokenVault: vault, Verifier: verifier, Readiness: readiness,
    Metrics: metrics, Defaults: defaults, BodyLimits: body, PublicBase: base
);

impl FromRef<AppState> for (TenantRoutes, Defaults) {
    fn from_ref(state: &AppState) -> Self {
        (state.routes.clone(), state.defaults.clone())
    }
}

/// What the handler of `/v3` works with.
#[derive(Debug)]
pub(crate) struct ProxyState {
    pub(crate) verifier: Verifier,
    pub(crate) policy: Policy,
    pub(crate) proxy: Proxy,
    pub(crate) capi: CapiClient,
    pub(crate) routes: TenantRoutes,
    pub(crate) defaults: Defaults,
    pub(crate) body: BodyLimits,
    pub(crate) metrics: Metrics,
}

impl ProxyState {
    fn of(parts: &AppStateParts) -> Self {
        Self {
            verifier: parts.verifier.clone(),
            policy: parts.policy.clone(),
            proxy: parts.proxy.clone(),
            capi: parts.capi.clone(),
            routes: parts.routes.clone(),
            defaults: parts.defaults.clone(),
            body: parts.body,
            metrics: parts.metrics.clone(),
        }
    }
}

/// What a call uses that names nothing else.
#[derive(Clone, Debug)]
pub struct Defaults {
    /// The destination of callers without a provider entry.
    pub destination: DestinationName,
    /// Longest time for the calls behind one request; below the deadline of the request, so that the problem names the
    /// true cause.
    pub call_timeout: Duration,
}

/// The broker's own address as callers see it, without a slash at the end; from configuration, never from a request.
#[derive(Clone, Debug)]
pub struct PublicBase(pub Arc<str>);

impl fmt::Display for PublicBase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
