//! `uaadomain` of an XSUAA binding: which issuers it allows, and where the keys are.
//!
//! Invariant: the domain is a plain host. Only a loopback host may have a port, plain http and an
//! issuer without a label. For [`xsuaa`](super::xsuaa) only.

use super::trusted_host::{HostKind, HostMatch, TrustedHost};
use crate::upstream::COMPONENT;
use percent_encoding::utf8_percent_encode;

/// The host below which XSUAA's issuers are.
#[derive(Clone)]
pub(super) struct UaaDomain(TrustedHost);

impl UaaDomain {
    /// Parses the binding's value. `None` if it is not a host, or a remote host with a port.
    pub(super) fn parse(text: &str) -> Option<Self> {
        TrustedHost::parse(text).map(Self)
    }

    /// Whether `issuer` is `https://<label>.{uaadomain}/oauth/token`.
    pub(super) fn issues(&self, issuer: &str) -> bool {
        let Some(host) = self.host_of(issuer) else {
            return false;
        };
        match self.0.match_host(host) {
            Some(HostMatch::Same) => self.0.kind() == HostKind::Loopback,
            Some(HostMatch::Subdomain) => true,
            None => false,
        }
    }

    /// The URL of the keys of `zone`.
    pub(super) fn keys_url(&self, zone: &str) -> String {
        let scheme = match self.0.kind() {
            HostKind::Remote => "https",
            HostKind::Loopback => "http",
        };
        let zone = utf8_percent_encode(zone, COMPONENT);
        format!("{scheme}://{}/token_keys?zid={zone}", self.0.name())
    }

    /// The host between an allowed scheme and the path of XSUAA's token endpoint.
    fn host_of<'i>(&self, issuer: &'i str) -> Option<&'i str> {
        let plain = || match self.0.kind() {
            HostKind::Remote => None,
            HostKind::Loopback => issuer.strip_prefix("http://"),
        };
        issuer.strip_prefix("https://").or_else(plain)?.strip_suffix("/oauth/token")
    }
}

#[cfg(test)]
mod tests {
    use super::UaaDomain;
    use rstest::rstest;

    const DOMAIN: &str = "authentication.example.test";

    fn issues(issuer: &str) -> bool {
        UaaDomain::parse(DOMAIN).unwrap().issues(&issuer.replace("{d}", DOMAIN))
    }

    #[rstest]
    #[case::plain("https://t.{d}/oauth/token")]
    #[case::mixed_case("https://t-0815X.{d}/oauth/token")]
    #[case::digits("https://0.{d}/oauth/token")]
    fn one_label_below_the_domain_is_an_issuer(#[case] issuer: &str) {
        assert!(issues(issuer));
    }

    #[test]
    fn a_label_has_one_to_63_characters() {
        let with =
            |length: usize| issues(&format!("https://{}.{{d}}/oauth/token", "l".repeat(length)));
        assert!(!with(0) && with(1) && with(63) && !with(64));
    }

    #[rstest]
    fn every_other_issuer_is_refused(
        #[values(
            "",
            " ",
            "https://",
            "http://",
            "{d}",
            "https://{d}",
            "https://{d}/oauth/token",
            "http://t.{d}/oauth/token",
            "HTTPS://t.{d}/oauth/token",
            "https:t.{d}/oauth/token",
            "https:///t.{d}/oauth/token",
            "//t.{d}/oauth/token",
            "https://t.{d}",
            "https://t.{d}/",
            "https://t.{d}a/oauth/token",
            "https://t.{d}0/oauth/token",
            "https://t.{d}./oauth/token",
            "https://t.{d}:443/oauth/token",
            "https://t.{d}//oauth/token",
            "https://t.{d}/path/oauth/token",
            "https://t.{d}%2f/oauth/token",
            "https://t.{d}%2fpath/oauth/token",
            "https://t.{d}&/oauth/token",
            "https://t.{d}%26/oauth/token",
            "https://t.{d}?/oauth/token",
            "https://t.{d}?foo=bar/oauth/token",
            "https://t.{d}%3f/oauth/token",
            "https://t.{d}%3ffoo=bar/oauth/token",
            "https://t.{d}#/oauth/token",
            "https://t.{d}#foo/oauth/token",
            "https://t.{d}%23/oauth/token",
            "https://t.{d}%23foo/oauth/token",
            "https://user@{d}/oauth/token",
            "https://user@t.{d}/oauth/token",
            "https://user%40t.{d}/oauth/token",
            "https://attacker/oauth/token",
            "https://t.attacker/oauth/token",
            "https://my{d}/oauth/token",
            "https://{d}.attacker/oauth/token",
            "https://t.{d}.attacker/oauth/token",
            "https://{d}%2eattacker/oauth/token",
            "https://{d}%2dattacker/oauth/token",
            "https://t%2e{d}/oauth/token",
            "https://t.%2e{d}/oauth/token",
            "https://t%2d.{d}/oauth/token",
            "https://t.authentication%2eexample.test/oauth/token",
            "https://t.authentication.example%2etest/oauth/token",
            "https://t\t.{d}/oauth/token",
            "https://t\n.{d}/oauth/token",
            "https://t.authentication\t.example.test/oauth/token",
            "https://t.authentication.example.te\nst/oauth/token",
            "https://t.{d}\t/oauth/token",
            "https://t..{d}/oauth/token",
            "https://a.t.{d}/oauth/token",
            "https://.{d}/oauth/token",
            "https://t_1.{d}/oauth/token",
            "https://*.{d}/oauth/token",
            "https://ü.{d}/oauth/token",
            "https://t.{d}/oauth/token/",
            "https://t.{d}/oauth/token?x",
            "https://t.{d}/oauth/token#x",
            "https://t.{d}/oauth/TOKEN",
            "https://t.{d}/oauth%2ftoken",
            "https://t.{d}\\@evil/oauth/token",
            "https://t.{d}@evil/oauth/token",
            "https://t.{d}///evil/token_keys",
            "https://t.{d}/oauth/token@evil",
            "https://t.{d}/oauth/token?redirect=https://evil/tokens%3Ftenant=x",
            "https://t.{d}/oauth/token\\@evil/token_keys",
            "https://evil/token_keys///https://t.{d}/oauth/token",
            "https://evil/token_keys@t.{d}/oauth/token",
            "https://T.AUTHENTICATION.EXAMPLE.TEST/oauth/token",
            " https://t.{d}/oauth/token",
            "https://t.{d}/oauth/token "
        )]
        issuer: &str,
    ) {
        assert!(!issues(issuer), "{issuer}");
    }

    #[rstest]
    #[case::host("uaa.test", "https://uaa.test/token_keys?zid=z")]
    #[case::loopback("127.0.0.1:4711", "http://127.0.0.1:4711/token_keys?zid=z")]
    #[case::loopback_net("127.9.9.9", "http://127.9.9.9/token_keys?zid=z")]
    #[case::localhost("localhost:4711", "http://localhost:4711/token_keys?zid=z")]
    #[case::six("[::1]:4711", "http://[::1]:4711/token_keys?zid=z")]
    fn plain_http_and_a_port_are_for_loopback_only(#[case] domain: &str, #[case] url: &str) {
        assert_eq!(UaaDomain::parse(domain).unwrap().keys_url("z"), url);
    }

    #[rstest]
    fn a_domain_is_a_plain_host(
        #[values(
            "",
            " ",
            "https://uaa.test",
            "uaa.test/",
            "uaa.test/x",
            "uaa.test?x",
            "uaa.test#x",
            "a@uaa.test",
            "uaa.test:443",
            "uaa.test:8443",
            "10.0.0.1:80",
            "UAA.test",
            "uaa.te st",
            "uaa.test\n",
            "uaa%2etest",
            "127.1",
            "2130706433"
        )]
        domain: &str,
    ) {
        assert!(UaaDomain::parse(domain).is_none(), "{domain:?}");
    }

    #[test]
    fn a_zone_cannot_change_the_rest_of_the_query() {
        let url = UaaDomain::parse(DOMAIN).unwrap().keys_url("a&b=c#d/../é ?%");
        assert_eq!(
            url,
            format!("https://{DOMAIN}/token_keys?zid=a%26b%3Dc%23d%2F..%2F%C3%A9%20%3F%25")
        );
    }

    #[test]
    fn a_loopback_issuer_may_lack_label_and_tls() {
        let domain = UaaDomain::parse("127.0.0.1:4711").unwrap();
        assert!(domain.issues("http://127.0.0.1:4711/oauth/token"));
        assert!(domain.issues("https://sub.127.0.0.1:4711/oauth/token"));
        assert!(!domain.issues("http://127.0.0.1:4712/oauth/token"));
        assert!(!domain.issues("http://127.0.0.1/oauth/token"));
        assert!(!domain.issues("http://evil127.0.0.1:4711/oauth/token"));
    }
}
