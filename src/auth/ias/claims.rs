//! The claims of an IAS token as typed data, and what tells such a token from one of XSUAA.
//!
//! Invariant: as for XSUAA's, reading judges types only; a claim that is present has its type.

use crate::auth::{
    claims::{Confirmation, NumericDate, OneOrMany, read},
    duplicate_free::{DuplicateFree, present},
    error::AuthRejection,
    time::Lifetime,
};
use serde::{Deserialize, de::IgnoredAny};

/// What shows whose token it is, before anything of it is believed.
#[derive(Deserialize)]
pub(super) struct IssuerClaims {
    /// Issuer.
    #[serde(default, deserialize_with = "present")]
    pub(super) iss: Option<String>,
    /// IAS issuer, where `iss` is a custom domain; whatever its type, XSUAA writes none.
    #[serde(default, deserialize_with = "present")]
    pub(super) ias_iss: Option<IgnoredAny>,
}

impl IssuerClaims {
    /// Reads the marks.
    ///
    /// # Errors
    /// [`AuthRejection::ClaimsMalformed`].
    pub(super) fn read(payload: &[u8]) -> Result<Self, AuthRejection> {
        read(payload)
    }
}

/// What the rules look at.
#[derive(Deserialize)]
pub(super) struct IasClaims {
    /// Issuer; a custom domain where `ias_iss` is present.
    #[serde(default, deserialize_with = "present")]
    iss: Option<String>,
    /// Issuer as IAS itself calls it.
    #[serde(default, deserialize_with = "present")]
    ias_iss: Option<String>,
    /// Audience.
    #[serde(default)]
    pub(super) aud: OneOrMany,
    /// The client that got the token.
    #[serde(default, deserialize_with = "present")]
    pub(super) azp: Option<String>,
    /// Tenant.
    #[serde(default, deserialize_with = "present")]
    app_tid: Option<String>,
    /// Tenant, by its older name.
    #[serde(default, deserialize_with = "present")]
    zone_uuid: Option<String>,
    /// APIs that the client may use: one name or a list of names.
    #[serde(default)]
    pub(super) ias_apis: OneOrMany,
    /// End.
    #[serde(default, deserialize_with = "present")]
    exp: Option<NumericDate>,
    /// Begin.
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
    /// User.
    #[serde(default, deserialize_with = "present")]
    pub(super) user_uuid: Option<String>,
    /// Only a logout token tells of events (OpenID Connect Back-Channel Logout §2.4).
    #[serde(default, deserialize_with = "present")]
    pub(super) events: Option<IgnoredAny>,
    /// What the token is bound to (RFC 7800 §3.1).
    #[serde(default, deserialize_with = "present")]
    pub(super) cnf: Option<DuplicateFree<Confirmation>>,
}

impl IasClaims {
    /// Reads a payload.
    ///
    /// # Errors
    /// [`AuthRejection::ClaimsMalformed`] for anything but an object of well-typed members, each once.
    pub(super) fn read(payload: &[u8]) -> Result<Self, AuthRejection> {
        read(payload)
    }

    /// Who issued the token: `ias_iss` if present, else `iss`.
    pub(super) fn issuer(&self) -> Option<&str> {
        self.ias_iss.as_deref().or(self.iss.as_deref())
    }

    /// The tenant by either of its names; `None` if they differ.
    pub(super) fn tenant(&self) -> Option<&str> {
        match (self.app_tid.as_deref(), self.zone_uuid.as_deref()) {
            (Some(tenant), Some(older)) => (tenant == older).then_some(tenant),
            (tenant, older) => tenant.or(older),
        }
    }

    /// The client behind the token: `azp`, else `sub`.
    pub(super) fn client(&self) -> Option<&str> {
        self.azp.as_deref().or(self.sub.as_deref())
    }

    /// The claims that say when the token counts.
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
    fn the_issuer_is_ias_own_name_of_it_first(#[case] json: &str, #[case] issuer: Option<&str>) {
        assert_eq!(IasClaims::read(json.as_bytes()).unwrap().issuer(), issuer);
    }

    #[rstest]
    #[case(r#"{"app_tid":"a"}"#, Some("a"))]
    #[case(r#"{"zone_uuid":"b"}"#, Some("b"))]
    #[case(r#"{"app_tid":"a","zone_uuid":"a"}"#, Some("a"))]
    #[case(r#"{"app_tid":"a","zone_uuid":"b"}"#, None)]
    #[case("{}", None)]
    fn two_names_of_the_tenant_must_agree(#[case] json: &str, #[case] tenant: Option<&str>) {
        assert_eq!(IasClaims::read(json.as_bytes()).unwrap().tenant(), tenant);
    }

    #[rstest]
    #[case(r#""a""#)]
    #[case("7")]
    #[case("null")]
    #[case("[]")]
    #[case(r#"{"a":[]}"#)]
    fn any_ias_iss_is_a_mark(#[case] value: &str) {
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
