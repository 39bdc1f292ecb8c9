//! A trusted host: an issuer is this host or one label below it. Bindings call it a domain.
//!
//! Invariant: it is a plain host. Only a loopback host may have a port and plain http. For
//! [`domain`](super::domain) and [`ias`](super::ias).

use crate::upstream;
use url::Url;

/// Longest label of a host name (RFC 1035 §2.3.4).
const LABEL_LIMIT: usize = 63;

/// A trusted host.
#[derive(Clone)]
pub(super) struct TrustedHost {
    name: String,
    kind: HostKind,
}

/// Where the host is. Decides which schemes are allowed.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum HostKind {
    /// On another machine: https only.
    Remote,
    /// On this machine.
    Loopback,
}

/// How another host matches a trusted one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum HostMatch {
    /// It is the same.
    Same,
    /// It is one label below.
    Subdomain,
}

impl TrustedHost {
    /// Parses a binding's value. `None` if it is not a host, or a remote host with a port.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let url = Url::parse(&format!("http://{text}/")).ok()?;
        let authority = match url.port() {
            Some(port) => format!("{}:{port}", url.host_str()?),
            None => url.host_str()?.to_owned(),
        };
        let kind = if upstream::is_loopback(&url) { HostKind::Loopback } else { HostKind::Remote };
        if authority != text || (kind == HostKind::Remote && url.port().is_some()) {
            return None;
        }
        Some(Self { name: authority, kind })
    }

    /// The host, with its port if it has one.
    pub(super) fn name(&self) -> &str {
        &self.name
    }

    /// Where it is.
    pub(super) fn kind(&self) -> HostKind {
        self.kind
    }

    /// How `host` matches this one; `None` if it is neither the same nor one label below.
    pub(super) fn match_host(&self, host: &str) -> Option<HostMatch> {
        match host.strip_suffix(self.name.as_str())? {
            "" => Some(HostMatch::Same),
            label => label.strip_suffix('.').is_some_and(is_label).then_some(HostMatch::Subdomain),
        }
    }
}

fn is_label(text: &str) -> bool {
    (1..=LABEL_LIMIT).contains(&text.len())
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
}
