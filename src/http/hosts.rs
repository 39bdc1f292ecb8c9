//! The host names of the broker; a request's `Host` is checked against them.
//!
//! Invariant: the names come from configuration, never from a request. Created by `app`, used by
//! `request_validation`.

use std::{net::Ipv4Addr, str::FromStr, sync::Arc};

/// Whether loopback hosts are served besides the configured names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LoopbackHosts {
    /// Any loopback host and port: this process does not serve a CF foundation.
    Served,
    /// None.
    Refused,
}

/// The hosts that are served; a clone is shallow.
#[derive(Clone, Debug)]
pub struct ServedHosts {
    names: Arc<[ServedHost]>,
    loopback: LoopbackHosts,
}

/// Returns the base of links for a name of the broker: `host`, `host:port` or either with a path.
/// Loopback names get plain HTTP and the listening port, unless the name has a port.
pub fn public_base(name: &str, own_port: u16) -> String {
    let (authority, path) = name.split_at(name.find('/').unwrap_or(name.len()));
    let path = path.trim_end_matches('/');
    match HostPort::parse(authority) {
        Some(HostPort { host, port }) if is_loopback(host) => {
            format!("http://{host}:{}{path}", port.unwrap_or(own_port))
        }
        Some(_) | None => format!("https://{authority}{path}"),
    }
}

/// A configured host. Without a port it matches any port, because the platform's router looks at
/// the name only.
#[derive(Clone, Debug, PartialEq, Eq)]
struct ServedHost {
    host: String,
    port: Option<u16>,
}

/// A valid host with an optional port.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct HostPort<'a> {
    host: &'a str,
    port: Option<u16>,
}

impl ServedHosts {
    /// Takes `application_uris` (without their paths) and further names. Invalid hosts are left
    /// out, because no request could name them.
    pub fn new<'a>(names: impl IntoIterator<Item = &'a str>, loopback: LoopbackHosts) -> Self {
        let host_of = |text: &str| {
            let authority = text.split('/').next().unwrap_or_default();
            let parsed = HostPort::parse(authority)?;
            Some(ServedHost { host: parsed.host.to_owned(), port: parsed.port })
        };
        Self { names: names.into_iter().filter_map(host_of).collect(), loopback }
    }

    /// Returns whether a host is served.
    pub(crate) fn serve(&self, named: HostPort<'_>) -> bool {
        let is_named = self.names.iter().any(|name| {
            name.host.eq_ignore_ascii_case(named.host)
                && (name.port.is_none() || name.port == named.port)
        });
        is_named || (self.loopback == LoopbackHosts::Served && is_loopback(named.host))
    }
}

impl<'a> HostPort<'a> {
    /// Reads `host` or `host:port`: a name of letters, digits, `.` and `-`, a port of digits, at
    /// most 65535.
    pub(crate) fn parse(text: &'a str) -> Option<Self> {
        let (host, port) = match text.split_once(':') {
            Some((host, port)) => (host, Some(port)),
            None => (text, None),
        };
        let valid = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-');
        if host.is_empty() || !host.bytes().all(valid) {
            return None;
        }
        let number = |port: &str| {
            let digits = port.bytes().all(|byte| byte.is_ascii_digit());
            digits.then(|| u16::from_str(port).ok()).flatten()
        };
        match port.map(number) {
            Some(None) => None,
            Some(port) => Some(Self { host, port }),
            None => Some(Self { host, port: None }),
        }
    }
}

fn is_loopback(host: &str) -> bool {
    host.eq_ignore_ascii_case("localhost")
        || Ipv4Addr::from_str(host).is_ok_and(|address| address.is_loopback())
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::{HostPort, LoopbackHosts, ServedHosts, public_base};

    fn serves(loopback: LoopbackHosts, host: &str) -> bool {
        let names = ["broker.cfapps.example.test/path", "Second.example.test:8443", "a b"];
        ServedHosts::new(names, loopback).serve(HostPort::parse(host).unwrap())
    }

    #[rstest]
    #[case("broker.cfapps.example.test")]
    #[case("BROKER.cfapps.example.TEST:443")]
    #[case("broker.cfapps.example.test:1")]
    #[case("second.example.test:8443")]
    fn a_configured_name_is_served_in_any_case(#[case] host: &str) {
        assert!(serves(LoopbackHosts::Refused, host));
    }

    #[rstest]
    #[case("evil.example")]
    #[case("broker.cfapps.example.test.")]
    #[case("x.broker.cfapps.example.test")]
    #[case("second.example.test")]
    #[case("second.example.test:80")]
    #[case("127.0.0.1.evil.example")]
    fn any_other_name_is_not(#[case] host: &str) {
        assert!(!serves(LoopbackHosts::Served, host));
    }

    #[rstest]
    #[case("localhost")]
    #[case("LOCALHOST:8080")]
    #[case("127.0.0.1:5000")]
    #[case("127.8.9.10")]
    fn loopback_is_served_only_outside_a_foundation(#[case] host: &str) {
        assert!(serves(LoopbackHosts::Served, host));
        assert!(!serves(LoopbackHosts::Refused, host));
    }

    #[rstest]
    #[case("localhost", "http://localhost:8080")]
    #[case("localhost:9090", "http://localhost:9090")]
    #[case("127.0.0.1:9090/", "http://127.0.0.1:9090")]
    #[case("broker.example.test", "https://broker.example.test")]
    #[case("broker.example.test:8443", "https://broker.example.test:8443")]
    #[case("broker.example.test/cf/", "https://broker.example.test/cf")]
    fn the_base_of_links_comes_from_a_name(#[case] name: &str, #[case] expected: &str) {
        assert_eq!(public_base(name, 8080), expected);
    }

    #[rstest]
    #[case("")]
    #[case(":80")]
    #[case("a:")]
    #[case("a:x")]
    #[case("a:+1")]
    #[case("a:65536")]
    #[case("a:1:2")]
    #[case("a_b")]
    #[case("a b")]
    #[case("a/b")]
    #[case("u@a")]
    #[case("a,b")]
    #[case("[::1]")]
    #[case("é.example")]
    fn a_malformed_host_is_none(#[case] host: &str) {
        assert_eq!(HostPort::parse(host), None);
    }
}
