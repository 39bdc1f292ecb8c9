//! The rules for XSUAA tokens: A7 to A11, and the pins of A12.
//!
//! Invariant: [`XsuaaRules::check_claims`] may refuse, never grant; a [`Caller`] comes out of a
//! [`VerifiedPayload`] only. Pure. For [`issuer`](super::issuer) only.

use super::{
    AllowedClients, Caller, Scope, Settings,
    caller::{IAS_MARK, Identity, hash},
    claims::XsuaaClaims,
    domain::UaaDomain,
    error::AuthRejection,
    jose::VerifiedPayload,
};
use crate::binding::XsuaaBinding;
use std::time::{Duration, SystemTime};

/// What a client id holds when its instance was made in a subaccount; only such may receive cloned
/// clients' tokens.
const INSTANCE_MARK: &str = "!b";

/// What a token must say to be meant for us.
pub(super) struct XsuaaRules {
    client_id: String,
    xsappname: String,
    domain: UaaDomain,
    zones: Vec<String>,
    allowed_clients: AllowedClients,
}

impl XsuaaRules {
    /// Reads the rules out of a binding; the settings may allow further zones, and pin scopes.
    ///
    /// `None` if the binding could never judge a token: an empty name would match everything.
    pub(super) fn new(
        binding: &XsuaaBinding,
        domain: UaaDomain,
        settings: &Settings,
    ) -> Option<Self> {
        if binding.client_id.is_empty() || binding.xsappname.is_empty() {
            return None;
        }
        let zones = binding
            .zones
            .iter()
            .chain(&settings.zones)
            .filter(|zone| !zone.is_empty())
            .cloned()
            .collect();
        Some(Self {
            client_id: binding.client_id.clone(),
            xsappname: binding.xsappname.clone(),
            domain,
            zones,
            allowed_clients: settings.pins.clone(),
        })
    }

    /// The zones whose tokens are accepted.
    pub(super) fn zones(&self) -> &[String] {
        &self.zones
    }

    /// Where the keys of `zone` are.
    pub(super) fn keys_url(&self, zone: &str) -> String {
        self.domain.keys_url(zone)
    }

    /// Judges issuer, zone, audience and time (A10, A9, A8, A7); grants nothing.
    ///
    /// # Errors
    /// The [`AuthRejection`] of the first broken rule.
    pub(super) fn check_claims(
        &self,
        claims: &XsuaaClaims,
        now: SystemTime,
    ) -> Result<(), AuthRejection> {
        let issuer = claims.iss.as_deref().ok_or(AuthRejection::Issuer)?;
        if !self.domain.issues(issuer) {
            return Err(AuthRejection::Issuer);
        }
        let zone = claims.zid.as_ref().ok_or(AuthRejection::Zone)?;
        if !self.zones.contains(zone) {
            return Err(AuthRejection::Zone);
        }
        if !self.is_audience(claims) {
            return Err(AuthRejection::Audience);
        }
        claims.lifetime().check(now).map(|_| ())
    }

    /// Returns the caller that a checked payload names, and when the token ends; judges all of it
    /// once more.
    ///
    /// # Errors
    /// The [`AuthRejection`] of the first broken rule, those of scope and client id among them.
    pub(super) fn caller_of(
        &self,
        payload: &VerifiedPayload,
        now: SystemTime,
    ) -> Result<(Caller, Duration), AuthRejection> {
        let claims = XsuaaClaims::read(payload.bytes())?;
        self.check_claims(&claims, now)?;
        let mut scopes = self.scopes(claims.scope.as_deref().ok_or(AuthRejection::Scope)?);
        // One that reads like an IAS client would own that client's routes.
        let is_lawful = |cid: &String| !cid.is_empty() && !cid.starts_with(IAS_MARK);
        let client_id = claims.cid.filter(is_lawful).ok_or(AuthRejection::Client)?;
        scopes.retain(|scope| self.allowed_clients.allow(*scope, &client_id));
        let expires = claims.exp.ok_or(AuthRejection::Expiry)?.0;
        let identity = Identity {
            client_id,
            zone: claims.zid.ok_or(AuthRejection::Zone)?,
            subject: claims.sub,
            user: claims.user_name,
            origin: claims.origin,
            token_hash: claims.jti.as_deref().map(hash),
            certificate: claims.cnf.and_then(|confirmation| confirmation.0.thumbprint),
            scopes,
        };
        Ok((Caller::new(identity), expires))
    }

    /// A8: whether one of the candidates is ours.
    fn is_audience(&self, claims: &XsuaaClaims) -> bool {
        let listed = claims.aud.0.iter().map(String::as_str);
        let from_scopes = claims
            .scope
            .iter()
            .flatten()
            .filter(|_| claims.aud.0.is_empty())
            .filter_map(|scope| scope.split_once('.').map(|(application, _)| application));
        listed.chain(from_scopes).chain(claims.cid.as_deref()).any(|name| self.is_ours(name))
    }

    /// Whether an audience names us: as client, as application, by a part of either, or as a
    /// clone's master.
    fn is_ours(&self, candidate: &str) -> bool {
        let is_named = |own: &str| {
            candidate.strip_prefix(own).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
        };
        let is_clone = || {
            self.client_id.contains(INSTANCE_MARK)
                && candidate
                    .strip_suffix(self.xsappname.as_str())
                    .is_some_and(|rest| rest.ends_with('|'))
        };
        is_named(&self.client_id) || is_named(&self.xsappname) || is_clone()
    }

    /// A11: those of our scopes that the token holds.
    fn scopes(&self, elements: &[String]) -> Vec<Scope> {
        let holds = |scope: &Scope| {
            elements.iter().any(|element| Scope::read(element, &self.xsappname) == Some(*scope))
        };
        Scope::ALL.into_iter().filter(holds).collect()
    }
}
