//! The backend: where destinations, grants and assertions come from.
//!
//! Invariant: nothing behind this trait decides whether a password may be sent. It exists so that
//! these decisions are tested on a paused clock, without sockets. The bytes are tested in `oauth`.

use crate::{
    destination::{
        CachePolicy, Destination, DestinationError, DestinationName, Destinations, SourceKind,
    },
    oauth::{ClientAuthentication, ExchangeError, Grant, TokenEndpoint, TokenResponse},
};
use secrecy::SecretString;
use std::{fmt, io, path::PathBuf, sync::Arc};
use zeroize::Zeroizing;

/// Longest assertion that is read: far above any real token, small enough to do no harm.
const LONGEST_ASSERTION: u64 = 64 * 1024;

/// What the token module needs from other modules.
pub(super) trait Backend: Send + Sync + 'static {
    /// Finds a destination with the wanted certainty.
    fn find(
        &self,
        name: &DestinationName,
        wanted: CachePolicy,
    ) -> impl Future<Output = Result<Arc<Destination>, DestinationError>> + Send;

    /// Returns the content in service. Makes no call.
    fn known(&self, name: &DestinationName) -> Option<Arc<Destination>>;

    /// Returns where the destination is read from; `None` if no source holds it.
    fn read_from(&self, name: &DestinationName) -> Option<SourceKind>;

    /// Sends a grant once to the destination's token endpoint.
    fn exchange(
        &self,
        to: &Destination,
        grant: &Grant,
    ) -> impl Future<Output = Result<TokenResponse, ExchangeError>> + Send;

    /// Reads the assertion of the JWT bearer grant, again for each grant.
    fn assertion(&self) -> impl Future<Output = io::Result<SecretString>> + Send;
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
    async fn find(
        &self,
        name: &DestinationName,
        wanted: CachePolicy,
    ) -> Result<Arc<Destination>, DestinationError> {
        self.destinations.find(name, wanted).await
    }

    fn known(&self, name: &DestinationName) -> Option<Arc<Destination>> {
        self.destinations.known(name)
    }

    fn read_from(&self, name: &DestinationName) -> Option<SourceKind> {
        self.destinations.source(name)
    }

    async fn exchange(
        &self,
        to: &Destination,
        grant: &Grant,
    ) -> Result<TokenResponse, ExchangeError> {
        let client = ClientAuthentication::Basic {
            id: to.credentials.client_id.clone(),
            secret: to.credentials.client_secret.clone(),
        };
        (self.endpoint_factory)(to, client).exchange(grant).await
    }

    async fn assertion(&self) -> io::Result<SecretString> {
        let Some(path) = &self.assertion_file else {
            return Err(io::ErrorKind::NotFound.into());
        };
        read_assertion(path).await
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
    use super::read_assertion;
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
}
