//! The claims of an IAS token as typed data, and the claims that tell it from an XSUAA token.
//!
//! Invariant: reading checks types only. A claim that is present has its type. For
//! [`IasRules`](super::IasRules) only.

use crate::auth::{
    claims::{Confirmation, NumericDate, OneOrMany, read},
    duplicate_free::{DuplicateFree, present},
    error::AuthRejection,
    time::Lifetime,
};
use serde::{Deserialize, de::IgnoredAny};

/// The claims that name the issuer, read before anything is verified.
#[derive(Deserialize)]
pub(super) struct IssuerClaims {
    /// Issuer.
    #[serde(default, deserialize_with = "present")]
    pub(super) iss: Option<String>,
    /// IAS issuer if `iss` is a custom domain. Any type is accepted here: XSUAA never writes this
    /// claim.
    #[serde(default, deserialize_with = "present")]
    pub(super) ias_iss: Option<IgnoredAny>,
}

impl IssuerClaims {
    /// Reads a payload.
    ///
    /// # Errors
    /// [`AuthRejection::ClaimsMalformed`].
    pub(super) fn read(payload: &[u8]) -> Result<Self, AuthRejection> {
        read(payload)
    }
}

/// The claims that the rules use.
#[derive(Deserialize)]
pub(super) struct IasClaims {
    /// Issuer; a custom domain if `ias_iss` is present.
    #[serde(default, deserialize_with = "present")]
    iss: Option<String>,
    /// Issuer by its IAS host.
    #[serde(default, deserialize_with = "present")]
    ias_iss: Option<String>,
    /// Audience.
    #[serde(default)]
    pub(super) aud: OneOrMany,
    /// The client to which the token was issued.
    #[serde(default, deserialize_with = "present")]
    pub(super) azp: Option<String>,
    /// Tenant.
    #[serde(default, deserialize_with = "present")]
    app_tid: Option<String>,
    /// Tenant, by the older name of the claim.
    #[serde(default, deserialize_with = "present")]
    zone_uuid: Option<String>,
    /// APIs that the client may use: one name or a list of names.
    #[serde(default)]
    pub(super) ias_apis: OneOrMany,
    /// Time from which the token is no longer valid.
    #[serde(default, deserialize_with = "present")]
    exp: Option<NumericDate>,
    /// Time from which the token is valid.
    #[serde(default, deserialize_with = "present")]
    nbf: Option<NumericDate>,
    /// Issued at.
    #[serde(default, deserialize_with = "present")]
    iat: Option<NumericDate>,
    /// Token id.
    #[serde(default, deserialize_with = "present")]
    pub(super) jti: Option<String>,
    /// Subject.
    #[serde(default, deserialize_with = "present")]
    pub(super) sub: Option<String>,
    /// User id.
    #[serde(default, deserialize_with = "present")]
    pub(super) user_uuid: Option<String>,
    /// Only a logout token has it (OpenID Connect Back-Channel Logout §2.4).
    #[serde(default, deserialize_with = "present")]
    pub(super) events: Option<IgnoredAny>,
    /// Confirmation: what the token is bound to (RFC 7800 §3.1).
    #[serde(default, deserialize_with = "present")]
    pub(super) cnf: Option<DuplicateFree<Confirmation>>,
}

impl IasClaims {
    /// Reads a payload.
    ///
    /// # Errors
    /// [`AuthRejection::ClaimsMalformed`] unless it is an object of members with the right types,
    /// each once.
    pub(super) fn read(payload: &[u8]) -> Result<Self, AuthRejection> {
        read(payload)
    }

    /// The issuer: `ias_iss` if present, else `iss`.
    pub(super) fn issuer(&self) -> Option<&str> {
        self.ias_iss.as_deref().or(self.iss.as_deref())
    }

    /// The tenant by either claim; `None` if they differ.
    pub(super) fn tenant(&self) -> Option<&str> {
        match (self.app_tid.as_deref(), self.zone_uuid.as_deref()) {
            (Some(tenant), Some(older)) => (tenant == older).then_some(tenant),
            (tenant, older) => tenant.or(older),
        }
    }

    /// The client of the token: `azp`, else `sub`.
    pub(super) fn client(&self) -> Option<&str> {
        self.azp.as_deref().or(self.sub.as_deref())
    }

    /// The claims about the time in which the token is valid.
    pub(super) fn lifetime(&self) -> Lifetime<'_> {
        Lifetime { exp: self.exp, nbf: self.nbf, iat: self.iat, jti: self.jti.as_deref() }
    }
}

#[cfg(test)]
mod tests {
    use super::{IasClaims, IssuerClaims};
    use proptest::prelude::*;
    use rstest::rstest;

    #[rstest]
    #[case(r#"{"ias_iss":"a","iss":"b"}"#, Some("a"))]
    #[case(r#"{"ias_iss":"","iss":"b"}"#, Some(""))]
    #[case(r#"{"iss":"b"}"#, Some("b"))]
    #[case("{}", None)]
    fn ias_iss_comes_before_iss(#[case] json: &str, #[case] issuer: Option<&str>) {
        assert_eq!(IasClaims::read(json.as_bytes()).unwrap().issuer(), issuer);
    }

    #[rstest]
    #[case(r#"{"app_tid":"a"}"#, Some("a"))]
    #[case(r#"{"zone_uuid":"b"}"#, Some("b"))]
    #[case(r#"{"app_tid":"a","zone_uuid":"a"}"#, Some("a"))]
    #[case(r#"{"app_tid":"a","zone_uuid":"b"}"#, None)]
    #[case("{}", None)]
    fn both_tenant_claims_must_agree(#[case] json: &str, #[case] tenant: Option<&str>) {
        assert_eq!(IasClaims::read(json.as_bytes()).unwrap().tenant(), tenant);
    }

    #[rstest]
    #[case(r#""a""#)]
    #[case("7")]
    #[case("null")]
    #[case("[]")]
    #[case(r#"{"a":[]}"#)]
    fn an_ias_iss_of_any_type_is_read(#[case] value: &str) {
        let json = format!(r#"{{"ias_iss":{value}}}"#);
        assert!(IssuerClaims::read(json.as_bytes()).unwrap().ias_iss.is_some());
    }

    proptest! {
        #[test]
        fn any_payload_is_read_without_panic(
            payload in "[{\\[]{0,3}(\"(iss|aud|app_tid|ias_apis|cnf|exp)\":(\"a\"|7|null|\\[\"a\"\\]|\\{\\}),?){0,4}[}\\]]{0,3}"
        ) {
            drop(IasClaims::read(payload.as_bytes()));
            drop(IssuerClaims::read(payload.as_bytes()));
        }
    }
}
