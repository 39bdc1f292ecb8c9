//! The backend: where destinations, tokens and assertions come from; and the settings of the
//! section `[token]`, which say how the broker logs on.
//!
//! Invariant: nothing behind this trait decides whether a password may be sent. It exists so that
//! these decisions are tested on a paused clock, without sockets. The bytes are tested in `oauth`.

use crate::{
    binding::SettingFinding,
    destination::{
        CachePolicy, Destination, DestinationError, DestinationName, Destinations, SourceKind,
    },
    oauth::{ClientAuthentication, ExchangeError, Grant, TokenEndpoint, TokenResponse},
};
use secrecy::SecretString;
use std::{fmt, io, path::PathBuf, pin::Pin, sync::Arc};
use zeroize::Zeroizing;

/// Longest assertion that is read: far above any real token, small enough to do no harm.
const LONGEST_ASSERTION: u64 = 64 * 1024;

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

/// An answer of the backend to come.
pub(super) type BackendFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// What the token module needs from other modules.
pub(super) trait Backend: Send + Sync + 'static {
    /// Finds a destination with the wanted certainty.
    fn find<'a>(
        &'a self,
        name: &'a DestinationName,
        wanted: CachePolicy,
    ) -> BackendFuture<'a, Result<Arc<Destination>, DestinationError>>;

    /// Returns the content in service. Makes no call.
    fn known(&self, name: &DestinationName) -> Option<Arc<Destination>>;

    /// Returns where the destination is read from; `None` if no source holds it.
    fn read_from(&self, name: &DestinationName) -> Option<SourceKind>;

    /// Sends a grant once to the destination's token endpoint.
    fn exchange<'a>(
        &'a self,
        to: &'a Destination,
        grant: &'a Grant,
    ) -> BackendFuture<'a, Result<TokenResponse, ExchangeError>>;

    /// Reads the assertion of the JWT bearer grant, again for each grant.
    fn assertion(&self) -> BackendFuture<'_, io::Result<SecretString>>;
}

/// Makes the token endpoint for a destination and the client's credentials. Provided by `app`,
/// because this module builds no HTTP client.
pub type TokenEndpointFactory =
    Arc<dyn Fn(&Destination, ClientAuthentication) -> TokenEndpoint + Send + Sync>;

/// The backend with real destinations, token endpoints and files.
pub(super) struct LiveBackend {
    pub(super) destinations: Destinations,
    pub(super) endpoint_factory: TokenEndpointFactory,
    pub(super) assertion_file: Option<PathBuf>,
}

impl Backend for LiveBackend {
    fn find<'a>(
        &'a self,
        name: &'a DestinationName,
        wanted: CachePolicy,
    ) -> BackendFuture<'a, Result<Arc<Destination>, DestinationError>> {
        Box::pin(self.destinations.find(name, wanted))
    }

    fn known(&self, name: &DestinationName) -> Option<Arc<Destination>> {
        self.destinations.known(name)
    }

    fn read_from(&self, name: &DestinationName) -> Option<SourceKind> {
        self.destinations.source(name)
    }

    fn exchange<'a>(
        &'a self,
        to: &'a Destination,
        grant: &'a Grant,
    ) -> BackendFuture<'a, Result<TokenResponse, ExchangeError>> {
        let client = ClientAuthentication::Basic {
            id: to.credentials.client_id.clone(),
            secret: to.credentials.client_secret.clone(),
        };
        let endpoint = (self.endpoint_factory)(to, client);
        Box::pin(async move { endpoint.exchange(grant).await })
    }

    fn assertion(&self) -> BackendFuture<'_, io::Result<SecretString>> {
        Box::pin(async {
            match &self.assertion_file {
                Some(path) => read_assertion(path).await,
                None => Err(io::ErrorKind::NotFound.into()),
            }
        })
    }
}

impl fmt::Debug for LiveBackend {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("LiveBackend")
    }
}

async fn read_assertion(path: &PathBuf) -> io::Result<SecretString> {
    if tokio::fs::metadata(path).await?.len() > LONGEST_ASSERTION {
        return Err(io::ErrorKind::FileTooLarge.into());
    }
    let text = Zeroizing::new(tokio::fs::read_to_string(path).await?);
    match text.trim_start_matches('\u{feff}').trim() {
        "" => Err(io::ErrorKind::UnexpectedEof.into()),
        assertion => Ok(SecretString::from(assertion)),
    }
}

#[cfg(test)]
mod tests {
    use super::{LogonGrant, Settings, read_assertion};
    use rstest::rstest;
    use std::io::{ErrorKind, Write};

    #[tokio::test]
    async fn an_assertion_is_read_each_time_and_trimmed() {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(b" a.b.c\n").unwrap();
        let path = file.path().to_path_buf();
        assert!(read_assertion(&path).await.is_ok());
        file.as_file().set_len(0).unwrap();
        assert_eq!(read_assertion(&path).await.unwrap_err().kind(), ErrorKind::UnexpectedEof);
    }

    #[tokio::test]
    async fn a_file_that_is_too_long_is_not_read() {
        let file = tempfile::NamedTempFile::new().unwrap();
        file.as_file().set_len(64 * 1024 + 1).unwrap();
        let path = file.path().to_path_buf();
        assert_eq!(read_assertion(&path).await.unwrap_err().kind(), ErrorKind::FileTooLarge);
    }

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
