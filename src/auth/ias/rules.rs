//! The rules for IAS tokens: `callers.md` 6, the times of A7, the pins of A12.
//!
//! Invariant: [`Rules::judge`] may refuse, never grant; a [`Caller`] comes out of a [`VerifiedPayload`] only. Pure.

use super::{
    Address, Issuer,
    claims::{IasClaims, Marks},
    domains::{TrustedDomains, is_name_of_tenant, is_sendable},
};
use crate::{
    auth::{
        Caller, Pins, Scope, ScopeLists, Settings,
        caller::{IAS_MARK, Identity, hash},
        error::Refusal,
        jose::VerifiedPayload,
    },
    binding::IdentityBinding,
};
use std::{
    sync::Arc,
    time::{Duration, SystemTime},
};

/// What a token must say to be meant for us.
pub(in crate::auth) struct Rules {
    client_id: String,
    domains: TrustedDomains,
    /// The issuer that the binding itself names.
    home: Option<Issuer>,
    tenants: Vec<String>,
    apis: ScopeLists,
    clients: ScopeLists,
    pins: Pins,
}

impl Rules {
    /// Reads the rules out of a binding and the settings; `None` without a client id that can be sent.
    pub(in crate::auth) fn new(binding: &IdentityBinding, settings: &Settings) -> Option<Self> {
        let domains = TrustedDomains::of(&binding.domains);
        let tenants = binding.tenants.iter().chain(&settings.ias.tenants);
        let tenants: Vec<_> = tenants.filter(|name| is_name_of_tenant(name)).cloned().collect();
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
            pins: settings.pins.clone(),
        })
    }

    /// What the binding lacks so that these rules refuse every token.
    pub(in crate::auth) fn lack(&self) -> Option<&'static str> {
        let lacks = [("domains", self.domains.is_empty()), ("app_tid", self.tenants.is_empty())];
        lacks.into_iter().find_map(|(field, is_lacking)| is_lacking.then_some(field))
    }

    /// The own client id.
    pub(in crate::auth) fn client_id(&self) -> &str {
        &self.client_id
    }

    /// The trusted domains.
    pub(super) fn domains(&self) -> &TrustedDomains {
        &self.domains
    }

    /// Whether a token is one of IAS, so that these rules judge it and no others.
    pub(super) fn claim(&self, marks: &Marks) -> bool {
        let is_trusted = |issuer: &str| self.domains.issuer(issuer).is_some();
        marks.ias_iss.is_some() || marks.iss.as_deref().is_some_and(is_trusted)
    }

    /// Judges issuer, tenant, audience, client and time; returns where its keys are. Grants nothing.
    ///
    /// # Errors
    /// The [`Refusal`] of the first broken rule.
    pub(super) fn judge(&self, claims: &IasClaims, now: SystemTime) -> Result<Address, Refusal> {
        let issuer = claims.issuer().and_then(|issuer| self.domains.issuer(issuer));
        let issuer = issuer.ok_or(Refusal::Issuer)?;
        let is_ours = |tenant: &&str| self.tenants.iter().any(|known| known == tenant);
        let tenant = claims.tenant().filter(is_ours).ok_or(Refusal::Zone)?;
        if !claims.aud.0.contains(&self.client_id) {
            return Err(Refusal::Audience);
        }
        if claims.events.is_some() {
            return Err(Refusal::Type);
        }
        if !claims.client().is_some_and(is_sendable) {
            return Err(Refusal::Client);
        }
        claims.lifetime().judge(now)?;
        Ok(Address { issuer, tenant: tenant.to_owned(), client: claims.azp.clone() })
    }

    /// Returns the caller that a checked payload names, and when the token ends; judges all of it once more.
    ///
    /// # Errors
    /// The [`Refusal`] of the first broken rule.
    pub(super) fn admit(
        &self,
        payload: &VerifiedPayload,
        now: SystemTime,
    ) -> Result<(Caller, Duration), Refusal> {
        let claims = IasClaims::read(payload.bytes())?;
        let address = self.judge(&claims, now)?;
        let expires = claims.lifetime().judge(now)?;
        let client = claims.client().ok_or(Refusal::Client)?;
        let client_id = name_of_caller(&address.tenant, client);
        let scopes = self.scopes(&claims, &client_id);
        let identity = Identity {
            client_id,
            zone: address.tenant,
            subject: claims.sub,
            user: claims.user_uuid,
            origin: None,
            token_hash: claims.jti.as_deref().map(hash),
            certificate: claims.cnf.and_then(|confirmation| confirmation.0.thumbprint),
            scopes,
        };
        Ok((Caller::new(identity), expires))
    }

    /// Whether a caller of the own tenant's issuer is named in the settings: such are few, and wanted.
    pub(super) fn expect(&self, address: &Address) -> bool {
        let is_named = |client: &String| {
            let name = name_of_caller(&address.tenant, client);
            self.clients.names().any(|listed| listed == name)
        };
        self.home.as_ref() == Some(&address.issuer) && address.client.as_ref().is_some_and(is_named)
    }

    /// Where the broker's own keys are: what a visit asks for. `None` if the binding names no usable tenant.
    pub(super) fn home(&self) -> Option<Arc<Address>> {
        let (issuer, tenant) = self.home.clone().zip(self.tenants.first().cloned())?;
        Some(Arc::new(Address { issuer, tenant, client: Some(self.client_id.clone()) }))
    }

    /// Whether this is the issuer that the binding itself names.
    pub(in crate::auth) fn is_home(&self, address: &Address) -> bool {
        self.home.as_ref() == Some(&address.issuer)
    }

    /// The scopes that one of the token's APIs or the client itself is listed for, as far as pins allow.
    fn scopes(&self, claims: &IasClaims, client_id: &str) -> Vec<Scope> {
        let is_granted = |scope: &Scope| {
            claims.ias_apis.0.iter().any(|api| self.apis.holds(*scope, api))
                || self.clients.holds(*scope, client_id)
        };
        let scopes = Scope::ALL.into_iter().filter(is_granted);
        scopes.filter(|scope| self.pins.allow(*scope, client_id)).collect()
    }
}

/// The one spelling of an IAS caller. A tenant holds no colon, so that no two callers have one name.
fn name_of_caller(tenant: &str, client: &str) -> String {
    format!("{IAS_MARK}{tenant}:{client}")
}

/// Whether a text is the name of an IAS caller.
pub(super) fn is_name_of_caller(text: &str) -> bool {
    let parts = text.strip_prefix(IAS_MARK).and_then(|rest| rest.split_once(':'));
    parts.is_some_and(|(tenant, client)| is_name_of_tenant(tenant) && is_sendable(client))
}
