//! Grants and client authentication (RFC 6749, 7523).
//!
//! Invariant: no `Debug` of these types shows a secret. Made by `token`, `destination` and `login`;
//! only this module turns them into bytes.

use crate::oauth::hint::LoginHint;
use secrecy::SecretString;

/// What is exchanged for a token.
#[derive(Clone, Debug)]
pub enum Grant {
    /// RFC 6749, 4.3: the logon of the technical user. Sent only if the lockout guard allows it.
    Password {
        /// As the identity provider knows it.
        user: String,
        /// Never empty: an empty one is not sent.
        password: SecretString,
        /// Which identity provider checks the password; without it UAA decides.
        login_hint: Option<LoginHint>,
        /// Space-delimited.
        scope: Option<String>,
        /// Further body fields. Reserved names are refused.
        extra: Vec<(String, SecretString)>,
    },
    /// RFC 7523: an assertion of the identity provider in place of the password (CF RFC 0037).
    JwtBearer {
        /// A token whose issuer UAA trusts.
        assertion: SecretString,
    },
    /// RFC 6749, 6: no logon, and never a login hint.
    RefreshToken {
        /// As received.
        token: SecretString,
    },
    /// RFC 6749, 4.4: for the Destination service.
    ClientCredentials,
    /// RFC 6749, 4.1.3, with PKCE (RFC 7636): the second half of a login in a browser.
    AuthorizationCode {
        /// From the redirect. Valid once.
        code: SecretString,
        /// The text whose hash was sent with the authorization request.
        verifier: SecretString,
        /// The same as in the authorization request.
        redirect_uri: String,
    },
    /// A refresh grant with an empty token. A token endpoint refuses it with an OAuth error, so it
    /// shows whether there is one, and nothing secret travels.
    Probe,
}

impl Grant {
    /// Returns the kind, which decides how a refusal is read.
    pub fn kind(&self) -> GrantKind {
        match self {
            Self::Password { .. } => GrantKind::Password,
            Self::JwtBearer { .. } => GrantKind::JwtBearer,
            Self::RefreshToken { .. } => GrantKind::RefreshToken,
            Self::ClientCredentials => GrantKind::ClientCredentials,
            Self::AuthorizationCode { .. } => GrantKind::AuthorizationCode,
            Self::Probe => GrantKind::Probe,
        }
    }

    /// `password`, `jwt_bearer`, `refresh_token`, `client_credentials`, `authorization_code`,
    /// `probe`: for metrics and logs.
    pub fn name(&self) -> &'static str {
        self.kind().name()
    }
}

/// A grant without its content.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum GrantKind {
    /// See [`Grant::Password`].
    Password,
    /// See [`Grant::JwtBearer`].
    JwtBearer,
    /// See [`Grant::RefreshToken`].
    RefreshToken,
    /// See [`Grant::ClientCredentials`].
    ClientCredentials,
    /// See [`Grant::AuthorizationCode`].
    AuthorizationCode,
    /// See [`Grant::Probe`].
    Probe,
}

impl GrantKind {
    /// Returns the name for metrics and logs.
    pub fn name(self) -> &'static str {
        match self {
            Self::Password => "password",
            Self::JwtBearer => "jwt_bearer",
            Self::RefreshToken => "refresh_token",
            Self::ClientCredentials => "client_credentials",
            Self::AuthorizationCode => "authorization_code",
            Self::Probe => "probe",
        }
    }

    /// Returns the value of `grant_type`.
    pub(super) fn grant_type(self) -> &'static str {
        match self {
            Self::JwtBearer => "urn:ietf:params:oauth:grant-type:jwt-bearer",
            Self::Probe => Self::RefreshToken.name(),
            Self::Password
            | Self::RefreshToken
            | Self::ClientCredentials
            | Self::AuthorizationCode => self.name(),
        }
    }
}

/// How the client authenticates. An empty secret is sent as well: `cf:` becomes `Basic Y2Y6`.
#[derive(Clone, Debug)]
pub enum ClientAuthentication {
    /// RFC 6749, 2.3.1: id and secret form-encoded in the `Authorization` header.
    Basic {
        /// Usually `cf`.
        id: String,
        /// Usually empty.
        secret: SecretString,
    },
    /// `client_id` and `client_secret` in the body. For the Destination service: its documents warn
    /// of secrets with `+` in the header.
    Body {
        /// From the binding.
        id: String,
        /// From the binding.
        secret: SecretString,
    },
    /// mTLS: `client_id` in the body; the certificate belongs to the HTTP client.
    Certificate {
        /// From the binding.
        id: String,
    },
}

#[cfg(test)]
mod tests {
    use super::{ClientAuthentication, Grant};
    use rstest::rstest;

    fn password() -> Grant {
        Grant::Password {
            user: "user".into(),
            password: "canary".into(),
            login_hint: None,
            scope: None,
            extra: vec![("resource".into(), "canary".into())],
        }
    }

    #[rstest]
    #[case(password(), "password", "password")]
    #[case(
        Grant::JwtBearer { assertion: "canary".into() },
        "jwt_bearer",
        "urn:ietf:params:oauth:grant-type:jwt-bearer"
    )]
    #[case(Grant::RefreshToken { token: "canary".into() }, "refresh_token", "refresh_token")]
    #[case(Grant::ClientCredentials, "client_credentials", "client_credentials")]
    #[case(
        Grant::AuthorizationCode {
            code: "canary".into(),
            verifier: "canary".into(),
            redirect_uri: "https://broker.example.test/login/callback".into(),
        },
        "authorization_code",
        "authorization_code"
    )]
    #[case(Grant::Probe, "probe", "refresh_token")]
    fn each_grant_has_its_names_and_hides_its_secrets(
        #[case] grant: Grant,
        #[case] name: &str,
        #[case] grant_type: &str,
    ) {
        assert_eq!((grant.name(), grant.kind().grant_type()), (name, grant_type));
        assert!(!format!("{grant:?}").contains("canary"));
    }

    #[test]
    fn client_authentication_hides_its_secret() {
        let basic = ClientAuthentication::Basic { id: "cf".into(), secret: "canary".into() };
        assert!(!format!("{basic:?}").contains("canary"));
    }
}
