//! Checks of the claims of a new token. They are for the log and for the status only.
//!
//! Invariant: no claim changes the flow. Used by `exchange`.

use crate::{
    destination::Destination,
    oauth::{OriginKey, response::UnverifiedClaims},
};

/// Audience that the Cloud Controller expects in a token.
const AUDIENCE: &str = "cloud_controller";

/// Without these scopes routes can be neither read nor created.
const SCOPES: [&str; 2] = ["cloud_controller.read", "cloud_controller.write"];

/// Something unexpected about a token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ClaimFinding {
    /// Another identity provider than requested: the password was sent to the wrong one.
    Origin,
    Audience,
    Scopes,
    Expired,
}

/// Compares the claims of a token with what was requested.
pub(super) fn check(claims: &UnverifiedClaims, asked: &Destination) -> Vec<ClaimFinding> {
    let hint = asked.login_hint.as_ref();
    let origin = hint.map(|hint| hint.origin().as_str());
    let is_elsewhere = match (origin, claims.origin.as_deref()) {
        (Some(asked), Some(given)) => asked != given,
        (Some(_), None) | (None, _) => false,
    };
    let has_audience = claims.audience.iter().any(|audience| audience == AUDIENCE);
    let has_scopes = SCOPES.iter().all(|scope| claims.scopes.iter().any(|given| given == scope));
    let is_expired = match (claims.issued_at, claims.expires_at) {
        (Some(issued), Some(expires)) => expires <= issued,
        (_, None) | (None, Some(_)) => false,
    };
    [
        (is_elsewhere, ClaimFinding::Origin),
        (!has_audience, ClaimFinding::Audience),
        (!has_scopes, ClaimFinding::Scopes),
        (is_expired, ClaimFinding::Expired),
    ]
    .into_iter()
    .filter_map(|(is_odd, finding)| is_odd.then_some(finding))
    .collect()
}

/// Returns what an operator should know about a token of another identity provider than requested.
/// The claim is shown only if it has the form of a key.
pub(super) fn warning(claims: &UnverifiedClaims, asked: &Destination) -> Option<String> {
    let given = OriginKey::parse(claims.origin.as_deref()?).ok()?;
    let wanted = asked.login_hint.as_ref()?.origin();
    (given != *wanted).then(|| {
        format!(
            "the token comes from identity provider {}, but the destination names {}: correct the origin",
            given.as_str(),
            wanted.as_str()
        )
    })
}

/// Writes a line for each finding.
pub(super) fn log(claims: &UnverifiedClaims, asked: &Destination) {
    let destination = asked.name.as_str();
    for finding in check(claims, asked) {
        match finding {
            ClaimFinding::Origin => tracing::error!(
                destination,
                hint = "correct the origin; the password went to another identity provider",
                "token comes from another origin than requested"
            ),
            ClaimFinding::Audience => {
                tracing::warn!(destination, "token is not meant for the cloud controller");
            }
            ClaimFinding::Scopes => tracing::warn!(destination, "token lacks scopes of the CF API"),
            ClaimFinding::Expired => tracing::warn!(destination, "token has no lifetime"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{ClaimFinding, check, warning};
    use crate::{oauth::response::UnverifiedClaims, token::fake};
    use rstest::rstest;

    fn good() -> UnverifiedClaims {
        UnverifiedClaims {
            origin: Some("acme-platform".to_owned()),
            audience: vec!["cf".to_owned(), "cloud_controller".to_owned()],
            scopes: vec!["cloud_controller.read".to_owned(), "cloud_controller.write".to_owned()],
            expires_at: Some(1200),
            issued_at: Some(1),
        }
    }

    #[rstest]
    #[case::as_asked(good(), &[])]
    #[case::elsewhere(UnverifiedClaims { origin: Some("sap.ids".to_owned()), ..good() }, &[ClaimFinding::Origin])]
    #[case::silent(UnverifiedClaims { origin: None, ..good() }, &[])]
    #[case::audience(UnverifiedClaims { audience: Vec::new(), ..good() }, &[ClaimFinding::Audience])]
    #[case::scope(UnverifiedClaims { scopes: vec!["cloud_controller.read".to_owned()], ..good() }, &[ClaimFinding::Scopes])]
    #[case::no_life(UnverifiedClaims { expires_at: Some(1), ..good() }, &[ClaimFinding::Expired])]
    fn the_claims_of_a_new_token_are_checked(
        #[case] claims: UnverifiedClaims,
        #[case] expected: &[ClaimFinding],
    ) {
        assert_eq!(check(&claims, &fake::destination("CFAPI", 1)), expected);
    }

    #[rstest]
    #[case::as_asked(Some("acme-platform"), None)]
    #[case::elsewhere(
        Some("sap.ids"),
        Some("identity provider sap.ids, but the destination names acme-platform")
    )]
    #[case::no_key(Some("<canary>"), None)]
    #[case::silent(None, None)]
    fn a_token_of_another_provider_is_a_warning(
        #[case] origin: Option<&str>,
        #[case] expected: Option<&str>,
    ) {
        let claims = UnverifiedClaims { origin: origin.map(str::to_owned), ..good() };
        let found = warning(&claims, &fake::destination("CFAPI", 1));
        assert_eq!(found.is_some(), expected.is_some());
        assert!(found.unwrap_or_default().contains(expected.unwrap_or_default()));
    }
}
