//! A destination and its parts.
//!
//! Invariant: a `Destination` has passed every rule of `docs/reference/destination.md`; the running
//! broker has no other way to make one. Used by `token`, `http` and this module.

use crate::oauth::{Fingerprint, LoginHint};
use secrecy::SecretString;
use std::{fmt, sync::Arc};
use url::Url;

/// Longest name that the Destination service accepts.
const MAX_NAME: usize = 200;

/// A destination's name: 1–200 characters; percent-encoded as one segment on the wire.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct DestinationName(Arc<str>);

/// A validated `OAuth2Password` destination. `Debug` shows no secret.
#[derive(Clone, Debug)]
pub struct Destination {
    /// Its configured name.
    pub name: DestinationName,
    /// The source that it was read from.
    pub source: SourceKind,
    /// CF API base: scheme, host and port only.
    pub api: Url,
    /// Token URL without query.
    pub token_url: Url,
    /// Credentials of the logon.
    pub credentials: PasswordCredentials,
    /// Which identity provider checks the user; `None`: UAA's default.
    pub login_hint: Option<LoginHint>,
    /// `scope` of the token call.
    pub scope: Option<String>,
    /// Further body fields of the token call.
    pub extra: Vec<(String, SecretString)>,
    /// Further headers of the token call.
    pub headers: http::HeaderMap,
    /// Equal fingerprints mean the same logon.
    pub fingerprint: Fingerprint,
}

/// Client and user of the password grant.
#[derive(Clone, Debug)]
pub struct PasswordCredentials {
    /// `clientId`, usually `cf`.
    pub client_id: String,
    /// `clientSecret`; empty for `cf`, which is different from no secret.
    pub client_secret: SecretString,
    /// `User`, used literally.
    pub user: String,
    /// `Password`.
    pub password: SecretString,
}

/// How fresh the content must be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CachePolicy {
    /// From the cache if there is content. Content older than the TTL is served while one
    /// revalidation runs in the background.
    Cached,
    /// Confirmed within the TTL, else revalidated first: needed before a password is sent.
    Confirmed,
    /// Past the cache, with an unconditional GET: after a refusal, on polls, on SIGHUP.
    PastCache,
}

/// The kind of source that a destination was read from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SourceKind {
    /// The file that the settings name.
    File,
    /// The variable `destinations`.
    Variable,
    /// A user-provided service.
    UserProvided,
    /// The Destination service, defined in the subaccount.
    SubaccountLevel,
    /// The Destination service, defined in the bound instance; it shadows the subaccount's
    /// destination of the same name.
    InstanceLevel,
}

/// Values of `Authentication` that a message can name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AuthenticationType {
    /// The type that this broker supports.
    OAuth2Password,
    /// Another type that the Destination service knows.
    Other(&'static str),
    /// Anything else.
    Unknown,
}

/// Other types of HTTP destinations that an administrator may have chosen.
const OTHER_TYPES: &[&str] = &[
    "NoAuthentication",
    "BasicAuthentication",
    "ClientCertificateAuthentication",
    "OAuth2AuthorizationCode",
    "OAuth2ClientCredentials",
    "OAuth2JWTBearer",
    "OAuth2RefreshToken",
    "OAuth2SAMLBearerAssertion",
    "OAuth2TechnicalUserPropagation",
    "OAuth2TokenExchange",
    "OAuth2UserTokenExchange",
    "PrincipalPropagation",
    "SAMLAssertion",
];

impl DestinationName {
    /// Accepts a valid name. `.` and `..` are invalid: as a path segment they would change the
    /// path.
    pub fn parse(text: &str) -> Option<Self> {
        let is_valid = !text.is_empty()
            && text.chars().count() <= MAX_NAME
            && !text.chars().any(char::is_control)
            && text != "."
            && text != "..";
        is_valid.then(|| Self(text.into()))
    }

    /// Returns the name as it was configured.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for DestinationName {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&self.0)
    }
}

impl SourceKind {
    /// Returns the name of the source, for log lines and answers.
    pub fn name(self) -> &'static str {
        match self {
            Self::File => "destination file",
            Self::Variable => "variable destinations",
            Self::UserProvided => "user-provided service",
            Self::SubaccountLevel => "Destination service, subaccount level",
            Self::InstanceLevel => "Destination service, instance level",
        }
    }

    /// Returns where a property is corrected, as the end of a sentence.
    pub fn place(self) -> &'static str {
        match self {
            Self::File => "the destination file",
            Self::Variable => "the variable destinations",
            Self::UserProvided => "the user-provided service",
            Self::SubaccountLevel | Self::InstanceLevel => "the destination",
        }
    }

    /// Returns whether the broker reads the source again while it runs. The environment of a
    /// process cannot be read again.
    pub fn is_read_again(self) -> bool {
        match self {
            Self::File | Self::SubaccountLevel | Self::InstanceLevel => true,
            Self::Variable | Self::UserProvided => false,
        }
    }
}

impl AuthenticationType {
    /// Reads the property's value.
    pub fn parse(text: &str) -> Self {
        if text == "OAuth2Password" {
            return Self::OAuth2Password;
        }
        OTHER_TYPES
            .iter()
            .find(|known| **known == text)
            .map_or(Self::Unknown, |known| Self::Other(known))
    }
}

#[cfg(test)]
mod tests {
    use super::{AuthenticationType, DestinationName};
    use rstest::rstest;

    #[rstest]
    #[case("CFAPI", true)]
    #[case("a b/c?x=1#f", true)]
    #[case("Ä%2e", true)]
    #[case("", false)]
    #[case(".", false)]
    #[case("..", false)]
    #[case("a\nb", false)]
    fn names_that_could_change_the_path_are_refused(#[case] text: &str, #[case] is_valid: bool) {
        assert_eq!(DestinationName::parse(text).is_some(), is_valid);
    }

    #[test]
    fn the_length_limit_counts_characters() {
        assert!(DestinationName::parse(&"ä".repeat(200)).is_some());
        assert!(DestinationName::parse(&"ä".repeat(201)).is_none());
    }

    #[test]
    fn a_type_that_sap_knows_can_be_named() {
        assert_eq!(
            AuthenticationType::parse("BasicAuthentication"),
            AuthenticationType::Other("BasicAuthentication")
        );
        assert_eq!(AuthenticationType::parse("OAuth2password"), AuthenticationType::Unknown);
    }
}
