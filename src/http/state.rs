//! What handlers may borrow. Each field is a handle; a clone is shallow.

use std::{fmt, sync::Arc, time::Duration};

use axum::extract::FromRef;

use crate::{
    auth::Verifier,
    capi::CapiClient,
    destination::DestinationName,
    http::{
        extract::BodyLimits,
        gate::GateRules,
        layers::{Admission, Deadline},
        readiness::Readiness,
    },
    policy::Policy,
    proxy::Proxy,
    routes::TenantRoutes,
    telemetry::metrics::Metrics,
    token::TokenVault,
};

/// Everything a handler may borrow. Handlers take the part that they use, never the whole.
#[derive(Clone, Debug, FromRef)]
pub struct AppState {
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
    pub gate: GateRules,
    /// What is taken in.
    pub admission: Admission,
    /// How long a request may take.
    pub deadline: Deadline,
    /// Where callers reach the broker.
    pub base: PublicBase,
}

impl FromRef<AppState> for (TenantRoutes, Defaults) {
    fn from_ref(state: &AppState) -> Self {
        (state.routes.clone(), state.defaults.clone())
    }
}

/// What the handler of `/v3` works with.
#[derive(Clone, Debug)]
pub(crate) struct ProxyDesk {
    pub(crate) policy: Policy,
    pub(crate) proxy: Proxy,
    pub(crate) capi: CapiClient,
    pub(crate) routes: TenantRoutes,
    pub(crate) defaults: Defaults,
    pub(crate) body: BodyLimits,
    pub(crate) metrics: Metrics,
}

impl FromRef<AppState> for ProxyDesk {
    fn from_ref(state: &AppState) -> Self {
        Self {
            policy: state.policy.clone(),
            proxy: state.proxy.clone(),
            capi: state.capi.clone(),
            routes: state.routes.clone(),
            defaults: state.defaults.clone(),
            body: state.body,
            metrics: state.metrics.clone(),
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
