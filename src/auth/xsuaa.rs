//! The rules for XSUAA tokens. They are listed in `docs/reference/caller-rules.md`.
//!
//! Invariant: [`XsuaaRules::check_claims`] may refuse but never grants. A [`Caller`] is made from a
//! [`VerifiedPayload`] only. Pure. For [`issuer`](super::issuer) only.

use super::{
    AllowedClients, Caller, Scope, Settings,
    caller::{IAS_MARK, Identity, hash},
    claims::{IdTokenClaims, XsuaaClaims},
    domain::UaaDomain,
    error::AuthRejection,
    jose::VerifiedPayload,
};
use crate::binding::XsuaaBinding;
use aws_lc_rs::constant_time::verify_slices_are_equal;
use std::time::{Duration, SystemTime};

/// Part of a client id whose instance was made in a subaccount. Only such an instance may accept
/// tokens of cloned clients.
const INSTANCE_MARK: &str = "!b";

/// What a token must contain to be accepted.
pub(super) struct XsuaaRules {
    client_id: String,
    xsappname: String,
    domain: UaaDomain,
    zones: Vec<String>,
    allowed_clients: AllowedClients,
}

impl XsuaaRules {
    /// Makes the rules from a binding and the settings.
    ///
    /// `None` if a name in the binding is empty: it would match every token.
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

    /// The URL of the keys of `zone`.
    pub(super) fn keys_url(&self, zone: &str) -> String {
        self.domain.keys_url(zone)
    }

    /// Checks issuer, zone, audience and time. Grants nothing.
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

    /// Returns the caller of a verified payload, and when the token ends. All claims are checked
    /// again.
    ///
    /// # Errors
    /// The [`AuthRejection`] of the first broken rule, including scope and client id.
    pub(super) fn caller_of(
        &self,
        payload: &VerifiedPayload,
        now: SystemTime,
    ) -> Result<(Caller, Duration), AuthRejection> {
        let claims = XsuaaClaims::read(payload.bytes())?;
        self.check_claims(&claims, now)?;
        let granted = self.scopes(claims.scope.as_deref().ok_or(AuthRejection::Scope)?);
        // A client id like that of an IAS client would own that client's routes.
        let is_allowed = |cid: &String| !cid.is_empty() && !cid.starts_with(IAS_MARK);
        let client_id = claims.cid.filter(is_allowed).ok_or(AuthRejection::Client)?;
        let (scopes, pinned) = self.allowed_clients.split(granted, &client_id);
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
            pinned,
        };
        Ok((Caller::new(identity), expires))
    }

    /// Checks the verified payload of an id token. `nonce` is that of the authorization request.
    /// Returns `sub`.
    ///
    /// # Errors
    /// The [`AuthRejection`] of the first broken rule.
    pub(super) fn check_id_token(
        &self,
        payload: &VerifiedPayload,
        nonce: &str,
        now: SystemTime,
    ) -> Result<String, AuthRejection> {
        let claims = XsuaaClaims::read(payload.bytes())?;
        self.check_claims(&claims, now)?;
        let of_login = IdTokenClaims::read(payload.bytes())?;
        let is_ours = claims.aud.0.contains(&self.client_id);
        let found = of_login.nonce.unwrap_or_default();
        let is_answer = verify_slices_are_equal(found.as_bytes(), nonce.as_bytes()).is_ok();
        let subject = claims.sub.filter(|_| is_ours && is_answer);
        subject.ok_or(AuthRejection::Login)
    }

    /// Whether one of the possible audiences is ours: the entries of `aud`, else the prefixes of
    /// the scopes, and always `cid`.
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

    /// Whether an audience is ours: the client id, the application, a name that begins with either
    /// and a dot, or a clone of the application.
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

    /// The broker's scopes that the token contains.
    fn scopes(&self, elements: &[String]) -> Vec<Scope> {
        let is_granted = |scope: &Scope| {
            elements.iter().any(|element| Scope::read(element, &self.xsappname) == Some(*scope))
        };
        Scope::ALL.into_iter().filter(is_granted).collect()
    }
}
