//! The issuers of callers' tokens: the bound XSUAA, and IAS if it is bound and enabled.
//!
//! Invariant: a token is checked by the rules of one issuer only. Its claims decide which one,
//! before any key is fetched; the signature covers these claims. For [`Verifier`](super::Verifier)
//! only.

use super::{
    AuthError, Caller, IssuerBindings, Settings, UnboundIssuer,
    bearer::CompactToken,
    domain::UaaDomain,
    endpoint::KeysEndpoint,
    error::AuthRejection,
    ias::{self, IasEndpoint, IasIssuer},
    issuer::{KeySetId, VerifiedToken, XsuaaIssuer},
    key_cache::KeyCache,
    xsuaa,
};
use crate::{
    binding::{IdentityBinding, XsuaaBinding},
    telemetry::metrics::Metrics,
    upstream::HttpClient,
};
use std::time::SystemTime;
use tokio_util::task::TaskTracker;

/// The issuers of this broker.
pub(super) struct Issuers {
    xsuaa: Option<XsuaaIssuer<KeysEndpoint>>,
    ias: Option<IasIssuer<IasEndpoint>>,
    /// What a token gets if there is no issuer at all.
    unbound: UnboundIssuer,
    /// What a token of IAS gets if IAS is on and cannot verify any.
    unbound_ias: Option<UnboundIssuer>,
    /// What every other token gets if the bound XSUAA cannot verify any.
    unusable_xsuaa: Option<UnboundIssuer>,
}

impl Issuers {
    /// Makes the issuers of the bindings.
    pub(super) fn new(
        settings: &Settings,
        bound: &IssuerBindings,
        client: &HttpClient,
        tasks: &TaskTracker,
        metrics: &Metrics,
    ) -> Self {
        let xsuaa = bound.xsuaa.as_ref().and_then(|binding| xsuaa_rules(settings, binding));
        let ias = match &bound.identity {
            Some(binding) if settings.ias.enabled => ias_rules(settings, binding),
            Some(_) => None,
            None => {
                warn_of_missing_binding(settings);
                None
            }
        };
        let cache = |url| {
            let source = KeysEndpoint::new(client.clone(), url);
            KeyCache::new(source, tasks.clone(), metrics.clone())
        };
        let unbound_ias =
            (settings.ias.enabled && ias.is_none()).then_some(if bound.identity.is_some() {
                UnboundIssuer::IdentityUnusable
            } else {
                UnboundIssuer::Identity
            });
        let unbound = match (&bound.xsuaa, unbound_ias) {
            (Some(_), _) => UnboundIssuer::XsuaaUnusable,
            (None, None) => UnboundIssuer::Xsuaa,
            (None, Some(UnboundIssuer::IdentityUnusable)) => UnboundIssuer::IdentityUnusable,
            (None, Some(_)) => UnboundIssuer::Both,
        };
        let unusable_xsuaa =
            (bound.xsuaa.is_some() && xsuaa.is_none()).then_some(UnboundIssuer::XsuaaUnusable);
        Self {
            unbound,
            unbound_ias,
            unusable_xsuaa,
            xsuaa: xsuaa.map(|rules| XsuaaIssuer::new(rules, cache)),
            ias: ias.map(|rules| {
                IasIssuer::with_client(rules, client.clone(), tasks.clone(), metrics.clone())
            }),
        }
    }

    /// Whether there is no issuer.
    pub(super) fn is_empty(&self) -> bool {
        self.xsuaa.is_none() && self.ias.is_none()
    }

    /// Whether there is an issuer, and none is missing that is bound or enabled.
    pub(super) fn are_bound(&self) -> bool {
        !self.is_empty() && self.unbound_ias.is_none() && self.unusable_xsuaa.is_none()
    }

    /// Checks that there is an issuer.
    ///
    /// # Errors
    /// `NotBound`.
    pub(super) fn require_any(&self) -> Result<(), AuthError> {
        if self.is_empty() { Err(AuthError::NotBound(self.unbound)) } else { Ok(()) }
    }

    /// Verifies a token by the rules of the issuer that it names.
    ///
    /// # Errors
    /// `Invalid`; `KeysUnavailable` or `KeyUndecided` if the key cannot be had now; `NotBound` for
    /// a token of IAS if IAS is on without a usable binding.
    pub(super) async fn verify(
        &self,
        token: &CompactToken<'_>,
        now: SystemTime,
    ) -> Result<VerifiedToken, AuthError> {
        match &self.ias {
            Some(ias) if ias.is_issuer_of(token)? => return ias.verify(token, now).await,
            Some(_) | None => {}
        }
        if let Some(unbound) = self.unbound_ias
            && ias::looks_like_ias(token)?
        {
            return Err(AuthError::NotBound(unbound));
        }
        match &self.xsuaa {
            Some(xsuaa) => xsuaa.verify(token, now).await,
            None => Err(match self.unusable_xsuaa {
                Some(unusable) => AuthError::NotBound(unusable),
                None => AuthRejection::Issuer.into(),
            }),
        }
    }

    /// Returns the XSUAA, at which people log in.
    ///
    /// # Errors
    /// `NotBound`.
    pub(super) fn xsuaa(&self) -> Result<&XsuaaIssuer<KeysEndpoint>, AuthError> {
        let missing = self.unusable_xsuaa.unwrap_or(UnboundIssuer::Xsuaa);
        self.xsuaa.as_ref().ok_or(AuthError::NotBound(missing))
    }

    /// Returns the generation of the usable keys with which a caller's token is checked; `None`
    /// without any.
    pub(super) fn generation(&self, caller: &Caller, keys: &KeySetId) -> Option<u64> {
        match keys {
            KeySetId::Zone => self.xsuaa.as_ref()?.generation(caller.zone()),
            KeySetId::Ias(address) => self.ias.as_ref()?.generation(address),
        }
    }
}

/// The rules of an xsuaa binding. `None`, with a log line, if they could never accept a token.
fn xsuaa_rules(settings: &Settings, binding: &XsuaaBinding) -> Option<xsuaa::XsuaaRules> {
    let rules = UaaDomain::parse(&binding.uaa_domain)
        .and_then(|domain| xsuaa::XsuaaRules::new(binding, domain, settings));
    if rules.is_none() {
        tracing::error!(
            binding = binding.name,
            "xsuaa binding without a usable uaadomain, clientid or xsappname"
        );
    }
    rules
}

/// Warns that IAS is enabled without a binding.
fn warn_of_missing_binding(settings: &Settings) {
    if settings.ias.enabled {
        tracing::error!(
            hint = "bind a service instance of identity and restart, or leave auth.ias.enabled out",
            "auth.ias is on without an identity binding: IAS tokens are refused"
        );
    }
}

/// The rules of an identity binding. `None` if they could never accept a token; a log line names
/// what is missing.
fn ias_rules(settings: &Settings, binding: &IdentityBinding) -> Option<ias::IasRules> {
    let rules = ias::IasRules::new(binding, settings);
    let missing = rules.as_ref().map_or(Some("clientid"), ias::IasRules::missing_field);
    if let Some(field) = missing {
        tracing::error!(
            binding = binding.name,
            field,
            "identity binding lacks a usable field: every IAS token is refused"
        );
    }
    rules.filter(|_| missing.is_none())
}
