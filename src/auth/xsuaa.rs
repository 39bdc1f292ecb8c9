//! The rules for XSUAA tokens: A7 to A11, and the pins of A12.
//!
//! Invariant: [`Rules::judge`] may refuse, never grant; a [`Caller`] comes out of a
//! [`VerifiedPayload`] only. Pure. For [`issuer`](super::issuer) only.

use super::{
    Caller, Pins, Scope, Settings, caller::Identity, claims::Claims, domain::UaaDomain,
    error::Refusal, jose::VerifiedPayload,
};
use crate::binding::XsuaaBinding;
use aws_lc_rs::digest;
use std::time::{Duration, SystemTime};

/// How far clocks may differ (A7); SAP's libraries allow the same.
const LEEWAY: Duration = Duration::from_secs(60);

/// Longest life of a token: XSUAA's `token-validity` ends at one day, plus what clocks differ (A7).
const LONGEST_LIFE: Duration = Duration::from_secs(86_400 + 600);

/// What a UAA refresh token's `jti` ends in; UAA itself tells them apart that way.
const REFRESH_MARK: &str = "-r";

/// What a client id holds when its instance was made in a subaccount; only such may receive cloned
/// clients' tokens.
const INSTANCE_MARK: &str = "!b";

/// What a token must say to be meant for us.
pub(super) struct Rules {
    client_id: String,
    xsappname: String,
    domain: UaaDomain,
    zones: Vec<String>,
    pins: Pins,
}

impl Rules {
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
            pins: settings.pins.clone(),
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
    /// The [`Refusal`] of the first broken rule.
    pub(super) fn judge(&self, claims: &Claims, now: SystemTime) -> Result<(), Refusal> {
        let issuer = claims.iss.as_deref().ok_or(Refusal::Issuer)?;
        if !self.domain.issues(issuer) {
            return Err(Refusal::Issuer);
        }
        let zone = claims.zid.as_ref().ok_or(Refusal::Zone)?;
        if !self.zones.contains(zone) {
            return Err(Refusal::Zone);
        }
        if !self.is_audience(claims) {
            return Err(Refusal::Audience);
        }
        judge_time(claims, now)
    }

    /// Returns the caller that a checked payload names, and when the token ends; judges all of it
    /// once more.
    ///
    /// # Errors
    /// The [`Refusal`] of the first broken rule, those of scope and client id among them.
    pub(super) fn admit(
        &self,
        payload: &VerifiedPayload,
        now: SystemTime,
    ) -> Result<(Caller, Duration), Refusal> {
        let claims = Claims::read(payload.bytes())?;
        self.judge(&claims, now)?;
        let mut scopes = self.scopes(claims.scope.as_deref().ok_or(Refusal::Scope)?);
        let client_id = claims.cid.filter(|cid| !cid.is_empty()).ok_or(Refusal::Client)?;
        scopes.retain(|scope| self.pins.allow(*scope, &client_id));
        let expires = claims.exp.ok_or(Refusal::Expiry)?.0;
        let identity = Identity {
            client_id,
            zone: claims.zid.ok_or(Refusal::Zone)?,
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
    fn is_audience(&self, claims: &Claims) -> bool {
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

/// A7, and the mark of a refresh token. Whole seconds: within the second of an edge the stricter
/// side counts.
fn judge_time(claims: &Claims, now: SystemTime) -> Result<(), Refusal> {
    let now = since_epoch(now);
    let second = Duration::from_secs(now.as_secs());
    let exp = claims.exp.ok_or(Refusal::Expiry)?.0;
    if exp.is_zero()
        || now >= exp.saturating_add(LEEWAY)
        || exp > second.saturating_add(LONGEST_LIFE)
    {
        return Err(Refusal::Expiry);
    }
    if claims.nbf.is_some_and(|nbf| nbf.0.is_zero() || second.saturating_add(LEEWAY) <= nbf.0) {
        return Err(Refusal::NotBefore);
    }
    if claims.iat.is_some_and(|iat| iat.0 > second.saturating_add(LEEWAY)) {
        return Err(Refusal::IssuedAt);
    }
    if claims.jti.as_ref().is_some_and(|jti| jti.ends_with(REFRESH_MARK)) {
        return Err(Refusal::RefreshToken);
    }
    Ok(())
}

/// The wall clock as claims count it; a clock before 1970 makes every token one of the future.
pub(super) fn since_epoch(now: SystemTime) -> Duration {
    now.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default()
}

/// SHA-256 in lower-case hex.
fn hash(text: &str) -> String {
    let hash = digest::digest(&digest::SHA256, text.as_bytes());
    let digits = hash.as_ref().iter().flat_map(|byte| [byte >> 4, byte & 0xf]);
    digits.filter_map(|digit| char::from_digit(u32::from(digit), 16)).collect()
}
