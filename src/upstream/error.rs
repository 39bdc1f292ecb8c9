//! Why there is no response, and why there is no client.
//!
//! Invariant: no variant prints a URL's query, a body or a secret. Every caller of
//! [`HttpClient`](crate::upstream::HttpClient) gets a [`TransportError`].

use std::{error::Error, io, path::PathBuf};

/// An error of one of the two client libraries.
pub(super) type BoxError = Box<dyn Error + Send + Sync>;

/// The text with which rustls begins every refusal of a server's certificate. The crate with the
/// error type is not a direct dependency, so only the text can be used. If it changed, the fault
/// would become a [`ConnectFault::TlsProtocol`], which is refused as well.
const CERTIFICATE_TEXT: &str = "invalid peer certificate";

/// Why there is no complete response.
#[derive(Debug, thiserror::Error)]
pub enum TransportError {
    /// The connection was never made: nothing was sent.
    #[error("no connection")]
    Connect {
        /// The reason.
        kind: ConnectFault,
        /// The library's error.
        #[source]
        source: Option<BoxError>,
    },
    /// Sent, but no complete response in time.
    #[error("no answer in time")]
    Timeout {
        /// The library's error; absent when our own deadline ended the call.
        #[source]
        source: Option<BoxError>,
    },
    /// Sent, then the connection broke.
    #[error("connection broke")]
    Interrupted {
        /// The library's error.
        #[source]
        source: Option<BoxError>,
    },
    /// Sent, but the reply is not valid HTTP: too many headers, two lengths.
    #[error("no http answer")]
    Unreadable {
        /// The library's error.
        #[source]
        source: Option<BoxError>,
    },
    /// The response is larger than the cap.
    #[error("answer too large")]
    TooLarge,
    /// The request could not be built or its URL is not allowed (not https, not loopback): nothing
    /// was sent.
    #[error("request refused")]
    Refused,
}

/// What an administrator does about a refused certificate.
pub const CERTIFICATE_ADVICE: &str = "its certificate was refused: it has expired, is for another host, or its \
                                      authority is missing in upstream.extra_ca_file, which is read when the broker starts";

impl TransportError {
    /// Returns why no connection was made; `None` if one was made.
    pub fn connect_fault(&self) -> Option<ConnectFault> {
        match self {
            Self::Connect { kind, .. } => Some(*kind),
            Self::Timeout { .. }
            | Self::Interrupted { .. }
            | Self::Unreadable { .. }
            | Self::TooLarge
            | Self::Refused => None,
        }
    }

    /// Returns whether the request may have reached the other side.
    pub fn may_have_been_sent(&self) -> bool {
        match self {
            Self::Connect { .. } | Self::Refused => false,
            Self::Timeout { .. }
            | Self::Interrupted { .. }
            | Self::Unreadable { .. }
            | Self::TooLarge => true,
        }
    }
}

impl From<reqwest::Error> for TransportError {
    /// Classifies a failure by whether the request may have been sent. In doubt it was. (Rules:
    /// `docs/reference/uaa-faults.md`.)
    fn from(error: reqwest::Error) -> Self {
        // The URL may have a query, and the error chain goes to the log.
        let error = error.without_url();
        if error.is_connect() {
            let kind = ConnectFault::of(&error);
            return Self::Connect { kind, source: Some(error.into()) };
        }
        if error.is_builder() {
            return Self::Refused;
        }
        let is_timeout = error.is_timeout();
        Self::after_sending(error.into(), is_timeout)
    }
}

impl From<hyper::Error> for TransportError {
    /// The connection was made and broke, before the response or within its body.
    fn from(error: hyper::Error) -> Self {
        let is_timeout = is_late(&error);
        Self::after_sending(error.into(), is_timeout)
    }
}

impl TransportError {
    /// Returns the same error for a body whose head has arrived: the server has started to respond.
    #[must_use]
    pub fn after_head(self) -> Self {
        match self {
            Self::Interrupted { source } => Self::Unreadable { source },
            Self::Connect { .. }
            | Self::Timeout { .. }
            | Self::Unreadable { .. }
            | Self::TooLarge
            | Self::Refused => self,
        }
    }

    fn after_sending(error: BoxError, is_timeout: bool) -> Self {
        let is_unreadable = links(&*error).any(is_unparsed);
        let source = Some(error);
        match (is_timeout, is_unreadable) {
            (true, _) => Self::Timeout { source },
            (false, true) => Self::Unreadable { source },
            (false, false) => Self::Interrupted { source },
        }
    }
}

/// The parser could not read the response head.
fn is_unparsed(link: &(dyn Error + 'static)) -> bool {
    link.downcast_ref::<hyper::Error>().is_some_and(hyper::Error::is_parse)
}

/// The system closed the connection: bytes were not acknowledged in time.
fn is_late(error: &(dyn Error + 'static)) -> bool {
    links(error).any(|link| kind_of(link) == Some(io::ErrorKind::TimedOut))
}

/// The name has no address; `source` is the system's error.
#[derive(Debug, thiserror::Error)]
#[error("no address")]
pub(super) struct NoAddress(#[source] pub(super) io::Error);

/// Why a connection was not made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ConnectFault {
    /// The name has no address.
    Dns,
    /// No server listens there.
    Refused,
    /// No connection in time.
    Timeout,
    /// The server's certificate is expired, is for another name, or is from an authority that we do
    /// not trust.
    TlsCertificate,
    /// The server does not speak TLS, or none of our versions.
    TlsProtocol,
    /// Anything else: no route, no file descriptors.
    Other,
}

impl ConnectFault {
    fn of(error: &reqwest::Error) -> Self {
        if error.is_dns() {
            return Self::Dns;
        }
        if error.is_timeout() {
            return Self::Timeout;
        }
        Self::in_chain(error)
    }

    /// Searches the error chain for the first link that tells the fault.
    pub(super) fn in_chain(error: &(dyn Error + 'static)) -> Self {
        links(error).find_map(Self::of_link).unwrap_or(Self::Other)
    }

    fn of_link(link: &(dyn Error + 'static)) -> Option<Self> {
        if link.is::<NoAddress>() {
            return Some(Self::Dns);
        }
        if link.to_string().starts_with(CERTIFICATE_TEXT) {
            return Some(Self::TlsCertificate);
        }
        let kind = kind_of(link)?;
        if kind == io::ErrorKind::ConnectionRefused {
            Some(Self::Refused)
        } else if kind == io::ErrorKind::TimedOut {
            Some(Self::Timeout)
        } else if matches!(
            kind,
            // The TCP connection exists at this point: broken records, alerts and an early end of
            // the handshake.
            io::ErrorKind::InvalidData | io::ErrorKind::UnexpectedEof
        ) {
            Some(Self::TlsProtocol)
        } else {
            None
        }
    }
}

fn kind_of(link: &(dyn Error + 'static)) -> Option<io::ErrorKind> {
    link.downcast_ref::<io::Error>().map(io::Error::kind)
}

/// Returns an error and its sources, outermost first.
fn links<'a>(error: &'a (dyn Error + 'static)) -> impl Iterator<Item = &'a (dyn Error + 'static)> {
    std::iter::successors(Some(error), |link| behind(*link))
}

/// Returns the next link. The TLS connector wraps one I/O error in another, and `source` of an I/O
/// error skips the wrapped error (measured), so `get_ref` is used.
fn behind<'a>(link: &'a (dyn Error + 'static)) -> Option<&'a (dyn Error + 'static)> {
    let wrapped = link.downcast_ref::<io::Error>().and_then(io::Error::get_ref);
    match wrapped {
        Some(wrapped) => Some(wrapped),
        None => link.source(),
    }
}

/// Why there is no client.
#[derive(Debug, thiserror::Error)]
pub enum UpstreamError {
    /// The file of additional certificate authorities cannot be read.
    #[error("cannot read the file of certificate authorities {}", path.display())]
    CaFile {
        /// As the settings name it.
        path: PathBuf,
        /// The system's error.
        #[source]
        source: io::Error,
    },
    /// The file of additional certificate authorities holds no usable certificate.
    #[error("no PEM certificate in the file of certificate authorities {}", path.display())]
    CaContent {
        /// As the settings name it.
        path: PathBuf,
    },
    /// Client certificate and key do not fit each other or are of an unknown kind.
    #[error("client certificate and key cannot be used")]
    Identity {
        /// The library's error.
        #[source]
        source: BoxError,
    },
    /// TLS could not be set up.
    #[error("cannot set up an HTTP client")]
    Build {
        /// The library's error.
        #[source]
        source: BoxError,
    },
}

#[cfg(test)]
mod tests {
    use super::{ConnectFault, NoAddress, TransportError};
    use rstest::rstest;
    use std::io::{Error, ErrorKind};

    #[rstest]
    #[case::untrusted(
        Error::new(ErrorKind::InvalidData, "invalid peer certificate: UnknownIssuer"),
        ConnectFault::TlsCertificate
    )]
    #[case::alert(
        Error::new(ErrorKind::InvalidData, "received fatal alert"),
        ConnectFault::TlsProtocol
    )]
    #[case::early_end(
        Error::new(ErrorKind::UnexpectedEof, "tls handshake eof"),
        ConnectFault::TlsProtocol
    )]
    #[case::wrapped(
        Error::other(Error::new(ErrorKind::InvalidData, "invalid peer certificate: Expired")),
        ConnectFault::TlsCertificate
    )]
    #[case::refused(Error::from(ErrorKind::ConnectionRefused), ConnectFault::Refused)]
    #[case::late(Error::from(ErrorKind::TimedOut), ConnectFault::Timeout)]
    #[case::nameless(Error::other(NoAddress(Error::other("x"))), ConnectFault::Dns)]
    #[case::unreachable(Error::from(ErrorKind::NetworkUnreachable), ConnectFault::Other)]
    fn the_chain_tells_the_fault(#[case] link: Error, #[case] kind: ConnectFault) {
        assert_eq!(ConnectFault::in_chain(&link), kind);
    }

    #[rstest]
    #[case(TransportError::Connect { kind: ConnectFault::Dns, source: None }, false)]
    #[case(TransportError::Refused, false)]
    #[case(TransportError::Timeout { source: None }, true)]
    #[case(TransportError::Interrupted { source: None }, true)]
    #[case(TransportError::Unreadable { source: None }, true)]
    #[case(TransportError::TooLarge, true)]
    fn only_a_missing_connection_proves_that_nothing_was_sent(
        #[case] error: TransportError,
        #[case] sent: bool,
    ) {
        assert_eq!(error.may_have_been_sent(), sent);
    }
}
