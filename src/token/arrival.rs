//! What is looked at once when a token arrives (reliability.md T8); log only.
//!
//! Invariant: no claim steers the flow. Used by `source`.

use crate::{destination::Destination, oauth::response::ArrivalClaims};

/// Audience that the Cloud Controller wants to find in a token (uaa.md 5).
const AUDIENCE: &str = "cloud_controller";

/// Scopes without which routes can be neither read nor made.
const SCOPES: [&str; 2] = ["cloud_controller.read", "cloud_controller.write"];

/// Something that is odd about a token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Oddity {
    /// Another identity provider than the one asked for: the password went elsewhere.
    Origin,
    Audience,
    Scopes,
    Expired,
}

/// Compares a token's claims with what was asked for.
pub(super) fn oddities(claims: &ArrivalClaims, asked: &Destination) -> Vec<Oddity> {
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
        (is_elsewhere, Oddity::Origin),
        (!has_audience, Oddity::Audience),
        (!has_scopes, Oddity::Scopes),
        (is_expired, Oddity::Expired),
    ]
    .into_iter()
    .filter_map(|(is_odd, oddity)| is_odd.then_some(oddity))
    .collect()
}

/// Writes a line for each oddity.
pub(super) fn log(claims: &ArrivalClaims, asked: &Destination) {
    let destination = asked.name.as_str();
    for oddity in oddities(claims, asked) {
        match oddity {
            Oddity::Origin => tracing::error!(
                destination,
                hint = "correct the origin; the password went to another identity provider",
                "token comes from another origin than asked for"
            ),
            Oddity::Audience => {
                tracing::warn!(destination, "token is not meant for the cloud controller");
            }
            Oddity::Scopes => tracing::warn!(destination, "token lacks scopes of the CF API"),
            Oddity::Expired => tracing::warn!(destination, "token has no lifetime"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Oddity, oddities};
    use crate::{oauth::response::ArrivalClaims, token::fake};
    use rstest::rstest;

    fn good() -> ArrivalClaims {
        ArrivalClaims {
            origin: Some("acme-platform".to_owned()),
            audience: vec!["cf".to_owned(), "cloud_controller".to_owned()],
            scopes: vec!["cloud_controller.read".to_owned(), "cloud_controller.write".to_owned()],
            expires_at: Some(1200),
            issued_at: Some(1),
        }
    }

    #[rstest]
    #[case::as_asked(good(), &[])]
    #[case::elsewhere(ArrivalClaims { origin: Some("sap.ids".to_owned()), ..good() }, &[Oddity::Origin])]
    #[case::silent(ArrivalClaims { origin: None, ..good() }, &[])]
    #[case::audience(ArrivalClaims { audience: Vec::new(), ..good() }, &[Oddity::Audience])]
    #[case::scope(ArrivalClaims { scopes: vec!["cloud_controller.read".to_owned()], ..good() }, &[Oddity::Scopes])]
    #[case::no_life(ArrivalClaims { expires_at: Some(1), ..good() }, &[Oddity::Expired])]
    fn a_token_is_looked_at_when_it_arrives(
        #[case] claims: ArrivalClaims,
        #[case] expected: &[Oddity],
    ) {
        assert_eq!(oddities(&claims, &fake::destination("CFAPI", 1)), expected);
    }
}
