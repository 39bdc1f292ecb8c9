//! Which targets may be called: https, or plain http on this machine, and nothing that URL parsing
//! would change.
//!
//! Invariant: a target that is allowed as a `Uri` is allowed as a `Url` and means the same there.
//! So a rule that checked a path has checked the path that is sent. Callers: the clients and
//! `capi`.

use http::{
    Uri,
    uri::{Authority, Scheme},
};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC};
use std::net::{Ipv4Addr, Ipv6Addr};
use url::{Host, Url};

/// What is percent-encoded in a path segment or a query value: everything but the unreserved
/// characters of RFC 3986, section 2.3.
pub const COMPONENT: &AsciiSet =
    &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// Returns whether a URL names this machine: `127.0.0.0/8`, `::1` or `localhost`. Plain `http` is
/// allowed only there.
pub fn is_loopback(url: &Url) -> bool {
    match url.host() {
        Some(Host::Domain(name)) => name.eq_ignore_ascii_case("localhost"),
        Some(Host::Ipv4(address)) => address.is_loopback(),
        Some(Host::Ipv6(address)) => address.is_loopback(),
        None => false,
    }
}

/// Returns whether a text is a host as settings name it: a DNS name, an IPv4 address or an IPv6
/// address in brackets, each with an optional port. No scheme, no path, no trailing dot.
pub fn is_host(text: &str) -> bool {
    let after_address = text.strip_prefix('[').and_then(|rest| rest.split_once(']'));
    let (is_valid, port) = match after_address {
        Some((address, "")) => (address.parse::<Ipv6Addr>().is_ok(), None),
        Some((address, rest)) => {
            let port = rest.strip_prefix(':');
            (address.parse::<Ipv6Addr>().is_ok() && port.is_some(), port)
        }
        None => match text.split_once(':') {
            Some((name, port)) => (is_dns_name(name), Some(port)),
            None => (is_dns_name(text), None),
        },
    };
    let is_port = |port: &str| {
        port.bytes().all(|byte| byte.is_ascii_digit())
            && port.parse::<u16>().is_ok_and(|port| port > 0)
    };
    is_valid && port.is_none_or(is_port)
}

/// Returns whether a text has the form of a DNS name or an IPv4 address (RFC 1035, 2.3.4); `_`
/// occurs in names of CF routes.
fn is_dns_name(text: &str) -> bool {
    let is_label = |label: &str| {
        (1..=63).contains(&label.len())
            && !label.starts_with('-')
            && !label.ends_with('-')
            && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'))
    };
    text.len() <= 253 && text.split('.').all(is_label)
}

/// Parses a target into the `Url` that reqwest would send, if that is the same target and allowed.
pub(super) fn parsed(uri: &Uri) -> Option<Url> {
    let url = Url::parse(&uri.to_string()).ok()?;
    let is_private = url.scheme() == "https" || (url.scheme() == "http" && is_loopback(&url));
    let is_anonymous = url.username().is_empty() && url.password().is_none();
    (is_private && is_anonymous && is_same(uri, &url)).then_some(url)
}

/// Compares the target with what the library will send. URL parsing folds dot segments (also
/// `%2e%2e`), backslashes and unusual spellings of addresses. A target that it changed is refused.
fn is_same(uri: &Uri, url: &Url) -> bool {
    let port = uri.port_u16().or_else(|| default_port(uri));
    uri.scheme_str() == Some(url.scheme())
        && uri
            .host()
            .zip(url.host_str())
            .is_some_and(|(asked, parsed)| asked.eq_ignore_ascii_case(parsed))
        && port == url.port_or_known_default()
        && uri.path() == url.path()
}

fn default_port(uri: &Uri) -> Option<u16> {
    match uri.scheme_str() {
        Some("https") => Some(443),
        Some("http") => Some(80),
        _ => None,
    }
}

/// Returns whether an origin may be called. For targets that are sent as they are, without a `Url`;
/// [`is_unambiguous_path`] checks their path.
pub(super) fn is_allowed_origin(scheme: &Scheme, authority: &Authority) -> bool {
    let Some(location) = HostLocation::of(authority.host()) else {
        return false;
    };
    let is_private =
        *scheme == Scheme::HTTPS || (*scheme == Scheme::HTTP && location == HostLocation::Loopback);
    is_private && is_bare(authority.as_str(), authority.host())
}

/// Where a host is.
#[derive(Clone, Copy, PartialEq, Eq)]
enum HostLocation {
    Loopback,
    Remote,
}

impl HostLocation {
    /// Classifies a host. `None` for a name or an address in an unusual spelling.
    fn of(host: &str) -> Option<Self> {
        let location = |is_here| if is_here { Self::Loopback } else { Self::Remote };
        if let Some(address) = host.strip_prefix('[') {
            let address: Ipv6Addr = address.strip_suffix(']')?.parse().ok()?;
            let canonical = host.eq_ignore_ascii_case(&format!("[{address}]"));
            return canonical.then(|| location(address.is_loopback()));
        }
        if let Ok(address) = host.parse::<Ipv4Addr>() {
            return Some(location(address.is_loopback()));
        }
        is_name(host).then(|| location(host.eq_ignore_ascii_case("localhost")))
    }
}

/// Letters, digits, `-`, `_` in labels. If the last label began with a digit, some parsers would
/// read the whole name as an address.
fn is_name(host: &str) -> bool {
    let is_usual = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
    let last = host.strip_suffix('.').unwrap_or(host).rsplit('.').next().unwrap_or_default();
    host.bytes().all(is_usual) && last.starts_with(|first: char| first.is_ascii_alphabetic())
}

/// Returns whether an authority is a host with at most a port: no user, no empty port.
fn is_bare(authority: &str, host: &str) -> bool {
    match authority.strip_prefix(host) {
        Some("") => true,
        Some(rest) => rest.strip_prefix(':').is_some_and(|port| port.parse::<u16>().is_ok()),
        None => false,
    }
}

/// Returns whether every parser reads a path in the same way: no dot segment in any spelling, no
/// backslash, no byte that URL parsing would escape.
pub fn is_unambiguous_path(path: &str) -> bool {
    let is_usual = |byte: u8| {
        byte.is_ascii_graphic()
            && !matches!(byte, b'"' | b'<' | b'>' | b'\\' | b'^' | b'`' | b'{' | b'}')
    };
    // Without a dot or an escape there is no dot segment.
    let has_dots = |path: &str| {
        path.bytes().any(|byte| matches!(byte, b'.' | b'%')) && path.split('/').any(is_dots)
    };
    path.starts_with('/') && path.bytes().all(is_usual) && !has_dots(path)
}

/// Returns whether a segment is `.` or `..`, each dot plain or escaped.
fn is_dots(segment: &str) -> bool {
    match after_dot(segment) {
        Some("") => true,
        Some(rest) => after_dot(rest) == Some(""),
        None => false,
    }
}

fn after_dot(text: &str) -> Option<&str> {
    [".", "%2e", "%2E"].into_iter().find_map(|dot| text.strip_prefix(dot))
}

#[cfg(test)]
mod tests {
    use super::{is_loopback, is_unambiguous_path, parsed};
    use http::Uri;
    use proptest::prelude::{prop_assert, proptest};
    use rstest::rstest;
    use url::Url;

    /// The checks of [`HyperClient`](crate::upstream::hyper_client::HyperClient) on a target.
    fn may_be_sent(uri: &Uri) -> bool {
        let origin = uri.scheme().zip(uri.authority());
        let is_allowed_origin =
            origin.is_some_and(|(scheme, host)| super::is_allowed_origin(scheme, host));
        is_allowed_origin && is_unambiguous_path(uri.path())
    }

    #[rstest]
    #[case("http://127.0.0.1/", true)]
    #[case("http://127.9.9.9:8080/", true)]
    #[case("http://[::1]/", true)]
    #[case("http://LOCALHOST/", true)]
    #[case("http://localhost.example.com/", false)]
    #[case("http://128.0.0.1/", false)]
    #[case("http://[::2]/", false)]
    #[case("data:text", false)]
    fn loopback_is_an_address_of_this_machine(#[case] url: &str, #[case] expected: bool) {
        assert_eq!(is_loopback(&Url::parse(url).unwrap()), expected);
    }

    #[rstest]
    #[case::usual("https://api.cf.eu10.hana.ondemand.com/v3/spaces?names=a%252Cb&per_page=5000")]
    #[case::port("https://api.example.com:8443/v3")]
    #[case::root("https://api.example.com")]
    #[case::capitals("https://API.example.com/v3/Apps")]
    #[case::final_dot("https://api.example.com./v3")]
    #[case::punycode("https://xn--bcher-kva.example/v3")]
    #[case::loopback("http://127.0.0.1:8080/v3")]
    #[case::loopback_name("http://localhost:8080/v3")]
    #[case::loopback_six("http://[::1]:8080/v3")]
    #[case::six("https://[2001:db8::1]/v3")]
    #[case::four("https://10.0.0.1/v3")]
    #[case::dots_inside("https://api.example.com/v3/a..b/.c/d./...")]
    fn an_allowed_target_is_allowed_by_both_clients(#[case] target: Uri) {
        assert!(may_be_sent(&target) && parsed(&target).is_some());
    }

    #[rstest]
    #[case::relative("/v3/apps")]
    #[case::plain_text("http://example.com/")]
    #[case::plain_text_to_an_address("http://10.0.0.1/")]
    #[case::plain_text_to_six("http://[::2]/")]
    #[case::begins_like_loopback("http://localhost.example.com/")]
    #[case::begins_like_an_address("http://127.0.0.1.example.com/")]
    #[case::other_scheme("ftp://127.0.0.1/")]
    #[case::user("https://user@example.com/")]
    #[case::password("https://user:pw@example.com/")]
    #[case::user_like_a_host("http://127.0.0.1@example.com/")]
    #[case::parent("https://example.com/v3/../v2")]
    #[case::parent_at_the_end("https://example.com/v3/..")]
    #[case::same("https://example.com/v3/./apps")]
    #[case::escaped_parent("https://example.com/v3/%2e%2E/v2")]
    #[case::half_escaped_parent("https://example.com/v3/.%2e/v2")]
    #[case::decimal("http://2130706433/")]
    #[case::short("http://127.1/")]
    #[case::hexadecimal("http://0x7f.0.0.1/")]
    #[case::hexadecimal_end("https://10.0.0.0x1/")]
    #[case::octal("http://0177.0.0.1/")]
    #[case::final_dot_after_an_address("http://127.0.0.1./")]
    #[case::mapped("http://[::ffff:127.0.0.1]/")]
    #[case::long_six("http://[0:0:0:0:0:0:0:1]/")]
    fn a_forbidden_target_is_refused_by_both_clients(#[case] target: Uri) {
        assert!(!may_be_sent(&target) && parsed(&target).is_none());
    }

    proptest! {
        #[test]
        fn an_allowed_target_means_the_same_to_a_parser(
            scheme in "https?",
            host in "(127\\.0\\.0\\.1|localhost|\\[::1\\]|[a-z0-9x.%@:_-]{1,12}|[0-9x.]{1,9})",
            path in "(/([.]|%2[eE]|[!-~]){0,5}){0,3}",
        ) {
            if let Ok(target) = format!("{scheme}://{host}{path}").parse::<Uri>() {
                prop_assert!(!may_be_sent(&target) || host.contains("xn--") || parsed(&target).is_some());
            }
        }
    }
}
