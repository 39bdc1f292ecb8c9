//! Trusted IAS issuers: an entry of the binding's `domains`, or one label below it.
//!
//! Invariant: an [`Issuer`] is scheme and trusted host only, and is made only here. Pure. For the
//! rules and the discovery of [`ias`](super).

use crate::auth::trusted_host::{HostKind, HostMatch, TrustedHost};

/// Longest accepted URL of keys. IAS' own has about 60 characters.
const ADDRESS_LIMIT: usize = 2048;

/// Longest client id or tenant that is sent in a header.
const HEADER_LIMIT: usize = 256;

/// The domains of a binding. Without any, no issuer is trusted.
#[derive(Clone)]
pub(super) struct TrustedDomains(Vec<TrustedHost>);

/// A trusted issuer: scheme and host in lower case, with a port on loopback.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Issuer(String);

impl TrustedDomains {
    /// Takes the names that are hosts with a dot, or loopback hosts. Others are left out.
    pub(super) fn from_names(domains: &[String]) -> Self {
        // With a domain without a dot every site below a top-level domain would be an issuer.
        let is_narrow = |host: &TrustedHost| {
            let labels = || host.name().split('.');
            let is_complete = labels().count() > 1 && labels().all(|label| !label.is_empty());
            host.kind() == HostKind::Loopback || is_complete
        };
        Self(domains.iter().filter_map(|name| TrustedHost::parse(name)).filter(is_narrow).collect())
    }

    /// Whether no domain is trusted.
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Reads the issuer of a token: `https://` or no scheme, then a trusted host and nothing more.
    /// A trusted host contains no `%` and no control character.
    pub(super) fn issuer(&self, text: &str) -> Option<Issuer> {
        let (scheme, host) = match text.split_once("://") {
            Some((scheme, host)) => (Some(scheme), host),
            None => (None, text),
        };
        let scheme = match (self.kind_of(host)?, scheme) {
            (_, Some("https")) | (HostKind::Remote, None) => "https",
            (HostKind::Loopback, Some("http") | None) => "http",
            (HostKind::Remote | HostKind::Loopback, Some(_)) => return None,
        };
        Some(Issuer(format!("{scheme}://{}", host.to_ascii_lowercase())))
    }

    /// Whether the issuer's own document may name this URL for its keys: the host must be trusted.
    pub(super) fn contains_url(&self, address: &str) -> bool {
        let is_usual = |byte: u8| byte.is_ascii_graphic() && !matches!(byte, b'#' | b'\\');
        let Some((scheme, rest)) = address.split_once("://") else {
            return false;
        };
        let host = rest.split_once('/').map(|(host, _)| host);
        address.len() <= ADDRESS_LIMIT
            && address.bytes().all(is_usual)
            && host.is_some_and(|host| self.issuer(&format!("{scheme}://{host}")).is_some())
    }

    /// The kind of a trusted host; `None` for any other host.
    fn kind_of(&self, host: &str) -> Option<HostKind> {
        let matches = |trusted: &&TrustedHost| match trusted.match_host(host) {
            Some(HostMatch::Same | HostMatch::Subdomain) => true,
            None => is_same_machine(trusted, host),
        };
        self.0.iter().find(matches).map(TrustedHost::kind)
    }
}

/// Whether `host` is a loopback domain with a port. A domain that itself has a port allows this
/// port only.
fn is_same_machine(trusted: &TrustedHost, host: &str) -> bool {
    let port = host.strip_prefix(trusted.name()).and_then(|rest| rest.strip_prefix(':'));
    trusted.kind() == HostKind::Loopback
        && port.is_some_and(|port| {
            port.parse::<u16>().is_ok_and(|number| number > 0 && number.to_string() == port)
        })
}

impl Issuer {
    /// The URL without a path.
    pub(super) fn base(&self) -> &str {
        &self.0
    }
}

/// Whether a text can be sent in a header unchanged: 1 to 256 printable ASCII characters, no blank
/// at either end.
pub(super) fn is_sendable(text: &str) -> bool {
    (1..=HEADER_LIMIT).contains(&text.len())
        && text.bytes().all(|byte| (b' '..=b'~').contains(&byte))
        && text.trim_matches(' ') == text
}

/// Whether a text can be a tenant: allowed in a header, and without a colon, which separates the
/// parts of a caller's name.
pub(super) fn is_tenant_name(text: &str) -> bool {
    is_sendable(text) && !text.contains(':')
}

#[cfg(test)]
mod tests;
