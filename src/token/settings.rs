//! Settings of the section `[token]`. Loaded by `config`.

use crate::binding::SettingFinding;
use std::path::PathBuf;

/// How the broker logs on.
#[derive(Clone, Debug, Default, serde::Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    /// The grant that is used when there is no refresh token.
    pub grant: LogonGrant,
    /// File with the assertion of the JWT bearer grant. It is read again for each grant.
    pub assertion_file: Option<PathBuf>,
}

/// Which grant logs on. CF retires the password grant (CF RFC 0037).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LogonGrant {
    /// User and password of the destination.
    #[default]
    Password,
    /// An identity provider's token as assertion (RFC 7523).
    JwtBearer,
}

impl Settings {
    /// Checks the settings by themselves. An empty list means that they are valid.
    pub fn validate(&self) -> Vec<SettingFinding> {
        let (message, hint) = match (self.grant, &self.assertion_file) {
            (LogonGrant::JwtBearer, None) => {
                ("is missing, but grant is jwt_bearer", "name the file that holds the assertion")
            }
            (LogonGrant::Password, Some(_)) => {
                ("is set, but grant is password", "set grant to jwt_bearer, or leave the file out")
            }
            (LogonGrant::JwtBearer, Some(_)) | (LogonGrant::Password, None) => return Vec::new(),
        };
        vec![SettingFinding {
            field: "assertion_file",
            message: message.to_owned(),
            hint: hint.to_owned(),
        }]
    }
}

#[cfg(test)]
mod tests {
    use super::{LogonGrant, Settings};
    use rstest::rstest;

    #[rstest]
    #[case("", 0)]
    #[case("grant = 'password'", 0)]
    #[case("grant = 'jwt_bearer'", 1)]
    #[case("grant = 'jwt_bearer'\nassertion_file = '/run/assertion'", 0)]
    #[case("assertion_file = '/run/assertion'", 1)]
    fn the_grant_and_its_file_belong_together(#[case] text: &str, #[case] findings: usize) {
        let settings: Settings = toml::from_str(text).unwrap();
        assert_eq!(settings.validate().len(), findings);
    }

    #[test]
    fn an_unknown_key_or_grant_is_refused_and_the_password_is_the_default() {
        assert!(toml::from_str::<Settings>("grants = 'password'").is_err());
        assert!(toml::from_str::<Settings>("grant = 'implicit'").is_err());
        assert_eq!(Settings::default().grant, LogonGrant::Password);
    }
}
