//! The state of the handlers. Each field is a handle; a clone is shallow.

use std::{
    ops::Deref,
    sync::{Arc, OnceLock},
    time::Duration,
};

use axum::extract::FromRef;
use http::{HeaderMap, HeaderValue, header::LOCATION};

use crate::{
    auth::Verifier,
    capi::CapiClient,
    destination::DestinationName,
    http::{
        extract::BodyLimits,
        handlers::openapi::DOCUMENT,
        middleware::{AdmissionLimits, Deadline},
        readiness::Readiness,
        request_validation::RequestValidator,
    },
    login::{Login, LoginOff},
    overview::Overview,
    pages::{ApiReference, Site},
    policy::Policy,
    proxy::Proxy,
    routes::TenantRoutes,
    telemetry::{metrics::Metrics, writer::LogWriter},
    token::TokenVault,
};

/// All state behind one handle, because the router clones it for each request. A handler extracts
/// the parts that it uses, never the whole.
#[derive(Clone, Debug)]
pub struct AppState(Arc<AppStateInner>);

#[derive(Debug)]
struct AppStateInner {
    parts: AppStateParts,
    site: Site,
    proxy_state: Arc<ProxyState>,
    /// Read from the document when somebody first asks for it.
    api_reference: OnceLock<ApiReference>,
}

/// What [`AppState`] holds.
#[derive(Clone, Debug)]
pub struct AppStateParts {
    /// Tenant routes.
    pub routes: TenantRoutes,
    /// What people see of CF.
    pub overview: Overview,
    /// The allow list of the CF API.
    pub policy: Policy,
    /// Forwards requests to the CF API.
    pub proxy: Proxy,
    /// The CF API.
    pub capi: CapiClient,
    /// Tokens of the technical users.
    pub vault: TokenVault,
    /// Authenticates callers.
    pub verifier: Verifier,
    /// Logs people in.
    pub login: Login,
    /// Answers probes.
    pub readiness: Readiness,
    /// All metrics.
    pub metrics: Metrics,
    /// Default destination and call timeout.
    pub defaults: Defaults,
    /// Size and time limits of a body.
    pub body: BodyLimits,
    /// Validates request heads.
    pub validator: RequestValidator,
    /// Limits of admission.
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
        let notice = parts.login.flow().err().and_then(LoginOff::notice);
        let site = Site::new(parts.base.prefix(), parts.vault.instance_index()).with_notice(notice);
        let api_reference = OnceLock::new();
        Self(Arc::new(AppStateInner { parts, site, proxy_state, api_reference }))
    }

    /// Returns the state of the `/v3` handler.
    pub(super) fn proxy_state(&self) -> Arc<ProxyState> {
        Arc::clone(&self.0.proxy_state)
    }

    /// Returns what all pages share.
    pub(super) fn site(&self) -> Site {
        self.0.site.clone()
    }

    /// Returns what the API's document says; a test rules out that it cannot be read.
    pub(super) fn api_reference(&self) -> &ApiReference {
        self.0.api_reference.get_or_init(|| ApiReference::read(DOCUMENT).unwrap_or_default())
    }

    /// Returns the same state with another log writer.
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

/// Implements `FromRef` for each part, so that a handler can extract it.
macro_rules! impl_from_ref {
    ($($kind:ty: $part:ident),+) => { $(
        impl FromRef<AppState> for $kind {
            fn from_ref(state: &AppState) -> Self {
                state.$part.clone()
            }
        }
    )+ };
}
impl_from_ref!(
    TenantRoutes: routes, CapiClient: capi, TokenVault: vault, Verifier: verifier, Readiness: readiness,
    Metrics: metrics, Defaults: defaults, BodyLimits: body, PublicBase: base, Login: login
);

impl FromRef<AppState> for Site {
    fn from_ref(state: &AppState) -> Self {
        state.site()
    }
}

impl FromRef<AppState> for (TenantRoutes, Defaults) {
    fn from_ref(state: &AppState) -> Self {
        (state.routes.clone(), state.defaults.clone())
    }
}

/// The state of the `/v3` handler.
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

/// Defaults of a call.
#[derive(Clone, Debug)]
pub struct Defaults {
    /// The destination of callers without a provider entry.
    pub destination: DestinationName,
    /// Longest time for the upstream calls of one request. It is below the deadline of the request,
    /// so that the problem names the true cause.
    pub call_timeout: Duration,
}

/// The broker's own address as callers see it, without a slash at the end; from configuration,
/// never from a request. Every link of the broker's own is made here: behind a path prefix a link
/// without it would lead nowhere.
#[derive(Clone, Debug)]
pub struct PublicBase(pub Arc<str>);

impl PublicBase {
    /// Returns the absolute URL of one of the broker's paths.
    pub(crate) fn link(&self, path: &str) -> String {
        format!("{}{path}", self.0)
    }

    /// Returns scheme, host and port, as browsers write them in `Origin`.
    pub(crate) fn origin(&self) -> &str {
        let host = self.0.find("://").map_or(0, |at| at + 3);
        let path = self.0.get(host..).and_then(|rest| rest.find('/'));
        path.and_then(|at| self.0.get(..host + at)).unwrap_or(&self.0)
    }

    /// Returns the path under which the broker is reached, without a slash at its end.
    pub(crate) fn prefix(&self) -> &str {
        self.0.get(self.origin().len()..).unwrap_or("")
    }

    /// Adds `Location` with the absolute URL of one of the broker's paths. A path that is not
    /// allowed in a header is left out.
    pub(crate) fn locate(&self, headers: &mut HeaderMap, path: &str) {
        if let Ok(location) = HeaderValue::try_from(self.link(path)) {
            headers.insert(LOCATION, location);
        }
    }
}
