//! Why there is no answer, and why there is no client.
//!
//! Invariant: no variant prints a URL's query, a body or a secret. [`TransportError`] is what every
//! caller of [`HttpClient`](crate::upstream::HttpClient) gets.

use std::{error::Error, io, path::PathBuf};

/// What one of the two client libraries says.
pub(super) type BoxError = Box<dyn Error + Send + Sync>;

/// How rustls begins the text of every refusal of a server's certificate. The library that holds
/// the error type is no direct dependency, so the text is the only handle; a changed text would
/// make the fault a [`ConnectFault::TlsProtocol`], which is refused all the same.
const CERTIFICATE_TEXT: &str = "invalid peer certificate";

/// Why there is no (whole) answer.
#[derive(Debug, thiserror::Error)]
pub enum TransportError {
    /// The connection was never made: nothing was sent.
    #[error("no connection")]
    Connect {
        /// What was in the way.
        kind: ConnectFault,
        /// The library's view of it.
        #[source]
        source: Option<BoxError>,
    },
    /// Sent, but no whole answer in time.
    #[error("no answer in time")]
    Timeout {
        /// The library's view of it; absent when our own clock ended the call.
        #[source]
        source: Option<BoxError>,
    },
    /// Sent, then the connection broke.
    #[error("connection broke")]
    Interrupted {
        /// The library's view of it.
        #[source]
        source: Option<BoxError>,
    },
    /// Sent, but what came is no HTTP answer: too many headers, two lengths.
    #[error("no http answer")]
    Unreadable {
        /// The library's view of it.
        #[source]
        source: Option<BoxError>,
    },
    /// The answer is larger than the cap.
    #[error("answer too large")]
    TooLarge,
    /// The request could not be built or its URL is not allowed (not https, not loopback): nothing
    /// was sent.
    #[error("request refused")]
    Refused,
}

impl TransportError {
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
    /// Sorts a failure by whether the request can have left (`uaa.md` 8, step 1). In doubt it has.
    fn from(error: reqwest::Error) -> Self {
        // The URL may carry a query, and the chain goes to the log.
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
    /// A connection that was made and broke, before the answer or within its body.
    fn from(error: hyper::Error) -> Self {
        let is_timeout = is_late(&error);
        Self::after_sending(error.into(), is_timeout)
    }
}

impl TransportError {
    /// Returns the same about a body whose head has come: the other side was there, and began what it did not finish.
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

/// The parser gave up on the other side's head.
fn is_unparsed(link: &(dyn Error + 'static)) -> bool {
    link.downcast_ref::<hyper::Error>().is_some_and(hyper::Error::is_parse)
}

/// The system gave up on the connection: bytes were not acknowledged in time (R24).
fn is_late(error: &(dyn Error + 'static)) -> bool {
    links(error).any(|link| kind_of(link) == Some(io::ErrorKind::TimedOut))
}

/// The name has no address; `source` is the system's view of it.
#[derive(Debug, thiserror::Error)]
#[error("no address")]
pub(super) struct NoAddress(#[source] pub(super) io::Error);

/// What was in the way of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ConnectFault {
    /// The name has no address.
    Dns,
    /// Nobody listens there.
    Refused,
    /// No connection in time.
    Timeout,
    /// The server's certificate is expired, for another name or from nobody we trust.
    TlsCertificate,
    /// The other side does not speak (our versions of) TLS.
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

    /// Looks through the sources for the first link that tells.
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
            // TCP is up at this point: broken records, alerts and an early end of the handshake.
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

/// Returns an error and what is behind it, outermost first.
fn links<'a>(error: &'a (dyn Error + 'static)) -> impl Iterator<Item = &'a (dyn Error + 'static)> {
    std::iter::successors(Some(error), |link| behind(*link))
}

/// Returns the next link. The TLS connector wraps one I/O error in another, and `source` of an I/O
/// error skips the error that it wraps (measured), so that one is asked for by name.
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
    /// The file of further certificate authorities cannot be read.
    #[error("cannot read the file of certificate authorities {}", path.display())]
    CaFile {
        /// As the settings name it.
        path: PathBuf,
        /// What the system says.
        #[source]
        source: io::Error,
    },
    /// The file of further certificate authorities holds no usable certificate.
    #[error("no PEM certificate in the file of certificate authorities {}", path.display())]
    CaContent {
        /// As the settings name it.
        path: PathBuf,
    },
    /// Client certificate and key do not fit each other or are of an unknown kind.
    #[error("client certificate and key cannot be used")]
    Identity {
        /// The library's view of it.
        #[source]
        source: BoxError,
    },
    /// TLS could not be set up.
    #[error("cannot set up an HTTP client")]
    Build {
        /// The library's view of it.
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
    fn the_chain_tells_what_was_in_the_way(#[case] link: Error, #[case] kind: ConnectFault) {
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
