//! The rules for IAS tokens. They are listed in `docs/reference/caller-rules.md`.
//!
//! Invariant: [`IasRules::check_claims`] may refuse but never grants. A [`Caller`] is made from a
//! [`VerifiedPayload`] only. Pure. For [`IasIssuer`](super::IasIssuer) only.

use super::{
    Issuer, KeyAddress,
    claims::{IasClaims, IssuerClaims},
    domains::{TrustedDomains, is_sendable, is_tenant_name},
};
use crate::{
    auth::{
        AllowedClients, Caller, Scope, ScopeGrants, Settings,
        caller::{IAS_MARK, Identity, hash},
        error::AuthRejection,
        jose::VerifiedPayload,
        settings::is_plain,
    },
    binding::IdentityBinding,
};
use std::time::{Duration, SystemTime};

/// What a token must contain to be accepted.
pub(in crate::auth) struct IasRules {
    client_id: String,
    domains: TrustedDomains,
    /// The issuer that the binding names.
    home: Option<Issuer>,
    tenants: Vec<String>,
    apis: ScopeGrants,
    clients: ScopeGrants,
    allowed_clients: AllowedClients,
}

impl IasRules {
    /// Makes the rules from a binding and the settings; `None` if the client id cannot be sent in a
    /// header.
    pub(in crate::auth) fn new(binding: &IdentityBinding, settings: &Settings) -> Option<Self> {
        let domains = TrustedDomains::from_names(&binding.domains);
        let tenants = binding.tenants.iter().chain(&settings.ias.tenants);
        let tenants: Vec<_> = tenants.filter(|name| is_tenant_name(name)).cloned().collect();
        if !is_sendable(&binding.client_id) {
            return None;
        }
        let home = binding.url.as_ref().map(|url| url.origin().ascii_serialization());
        Some(Self {
            client_id: binding.client_id.clone(),
            home: home.and_then(|home| domains.issuer(&home)),
            domains,
            tenants,
            apis: settings.ias.apis.clone(),
            clients: settings.ias.clients.clone(),
            allowed_clients: settings.pins.clone(),
        })
    }

    /// The field that is missing in the binding, without which every token is refused.
    pub(in crate::auth) fn missing_field(&self) -> Option<&'static str> {
        let fields = [("domains", self.domains.is_empty()), ("app_tid", self.tenants.is_empty())];
        fields.into_iter().find_map(|(field, is_missing)| is_missing.then_some(field))
    }

    /// The broker's own client id.
    pub(in crate::auth) fn client_id(&self) -> &str {
        &self.client_id
    }

    /// The trusted domains.
    pub(super) fn domains(&self) -> &TrustedDomains {
        &self.domains
    }

    /// Whether a token names IAS as its issuer, so that only these rules apply.
    pub(super) fn is_issuer_of(&self, claims: &IssuerClaims) -> bool {
        let is_trusted = |issuer: &str| self.domains.issuer(issuer).is_some();
        claims.ias_iss.is_some() || claims.iss.as_deref().is_some_and(is_trusted)
    }

    /// Checks issuer, tenant, audience, client and time. Returns the address of its keys. Grants
    /// nothing.
    ///
    /// # Errors
    /// The [`AuthRejection`] of the first broken rule.
    pub(super) fn check_claims(
        &self,
        claims: &IasClaims,
        now: SystemTime,
    ) -> Result<KeyAddress, AuthRejection> {
        let issuer = claims.issuer().and_then(|issuer| self.domains.issuer(issuer));
        let issuer = issuer.ok_or(AuthRejection::Issuer)?;
        let is_ours = |tenant: &&str| self.tenants.iter().any(|known| known == tenant);
        let tenant = claims.tenant().filter(is_ours).ok_or(AuthRejection::Zone)?;
        if !claims.aud.0.contains(&self.client_id) {
            return Err(AuthRejection::Audience);
        }
        if claims.events.is_some() {
            return Err(AuthRejection::Type);
        }
        if !claims.client().is_some_and(is_sendable) {
            return Err(AuthRejection::Client);
        }
        claims.lifetime().check(now)?;
        Ok(KeyAddress { issuer, tenant: tenant.to_owned(), client: claims.azp.clone() })
    }

    /// Returns the caller of a verified payload, and when the token ends. All claims are checked
    /// again.
    ///
    /// # Errors
    /// The [`AuthRejection`] of the first broken rule.
    pub(super) fn caller_of(
        &self,
        payload: &VerifiedPayload,
        now: SystemTime,
    ) -> Result<(Caller, Duration), AuthRejection> {
        let claims = IasClaims::read(payload.bytes())?;
        let address = self.check_claims(&claims, now)?;
        let expires = claims.lifetime().check(now)?;
        let client = claims.client().ok_or(AuthRejection::Client)?;
        let client_id = caller_name(&address.tenant, client);
        let granted = self.scopes(&claims, &client_id);
        let (scopes, pinned) = self.allowed_clients.split(granted, &client_id);
        let identity = Identity {
            client_id,
            zone: address.tenant,
            subject: claims.sub,
            user: claims.user_uuid,
            origin: None,
            token_hash: claims.jti.as_deref().map(hash),
            certificate: claims.cnf.and_then(|confirmation| confirmation.0.thumbprint),
            scopes,
            pinned,
        };
        Ok((Caller::new(identity), expires))
    }

    /// Whether the settings name this client and it comes from the binding's own issuer. There are
    /// few such clients, and they are expected.
    pub(super) fn is_configured_client(&self, address: &KeyAddress) -> bool {
        let is_named = |client: &String| {
            let name = caller_name(&address.tenant, client);
            self.clients.names().any(|listed| listed == name)
        };
        self.home.as_ref() == Some(&address.issuer) && address.client.as_ref().is_some_and(is_named)
    }

    /// The issuer that the binding names.
    pub(super) fn home(&self) -> Option<&Issuer> {
        self.home.as_ref()
    }

    /// Whether this is the issuer that the binding names.
    pub(in crate::auth) fn is_home(&self, address: &KeyAddress) -> bool {
        self.home.as_ref() == Some(&address.issuer)
    }

    /// The scopes for which the settings list one of the token's APIs or the client.
    fn scopes(&self, claims: &IasClaims, client_id: &str) -> Vec<Scope> {
        let is_granted = |scope: &Scope| {
            claims.ias_apis.0.iter().any(|api| self.apis.contains(*scope, api))
                || self.clients.contains(*scope, client_id)
        };
        Scope::ALL.into_iter().filter(is_granted).collect()
    }
}

/// The name of an IAS caller. A tenant contains no colon, so no two callers have the same name.
fn caller_name(tenant: &str, client: &str) -> String {
    format!("{IAS_MARK}{tenant}:{client}")
}

/// Whether a text of the settings is an `app_tid`: a guid, or a name without dots. A host is none.
pub(super) fn is_tenant_id(text: &str) -> bool {
    is_tenant_name(text)
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte))
}

/// Whether a text of the settings is the name of an IAS caller.
pub(in crate::auth) fn is_caller_name(text: &str) -> bool {
    let parts = text.strip_prefix(IAS_MARK).and_then(|rest| rest.split_once(':'));
    parts.is_some_and(|(tenant, client)| {
        is_tenant_id(tenant) && is_sendable(client) && is_plain(client)
    })
}
