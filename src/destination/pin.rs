//! The host pin: checks URL and token URL against this foundation's CF API and the allow list,
//! before a password is sent. The rules are in `docs/reference/destination.md`.
//!
//! Invariant: subaccount administrators can edit a destination, but no edit can send the password
//! to another host. Used by `validate` and `cache`.

use crate::upstream::is_loopback;
use url::{Host, Url};

/// The hosts to which credentials and tokens may be sent.
#[derive(Clone, Debug)]
pub(super) struct HostPin {
    cf_api: Option<Url>,
    allowed: Vec<String>,
}

/// The two hosts of a destination in service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct DestinationHosts {
    api: String,
    token: String,
}

impl DestinationHosts {
    /// Returns the hosts of both addresses.
    pub(super) fn of(api: &Url, token: &Url) -> Self {
        Self { api: host(api).to_owned(), token: host(token).to_owned() }
    }
}

impl HostPin {
    /// `cf_api` comes from `VCAP_APPLICATION`; `allowed` is the list of the settings.
    pub(super) fn new(cf_api: Option<Url>, allowed: &[String]) -> Self {
        let allowed = allowed.iter().map(|host| host.to_ascii_lowercase()).collect();
        Self { cf_api, allowed }
    }

    /// Checks both addresses; an empty list means that they may be used.
    pub(super) fn check(&self, api: &Url, token: &Url) -> Vec<String> {
        let anchor = self.cf_api.as_ref().unwrap_or(api);
        if is_loopback(anchor) && is_loopback(api) && is_loopback(token) {
            return Vec::new();
        }
        let mut findings = Vec::new();
        if !self.is_allowed(api, anchor) && !is_same_host(api, anchor) {
            findings.push(format!(
                "host or port of URL is not that of this foundation's CF API ({}): correct the \
                 region, or name the host in destination.allow_token_hosts and restart the broker",
                host(anchor)
            ));
        }
        if !self.is_allowed(token, anchor) && !is_login_host(token, anchor) {
            findings.push(token_finding(anchor));
        }
        findings
    }

    /// Checks a change of hosts at run time: an edit of the destination must not redirect the
    /// password; only the settings may.
    pub(super) fn check_change(
        &self,
        before: &DestinationHosts,
        api: &Url,
        token: &Url,
    ) -> Vec<String> {
        let anchor = self.cf_api.as_ref().unwrap_or(api);
        let changed = |property: &str| {
            format!(
                "host of {property} was changed while the broker runs: restart it if that is \
                 meant, or name the new host in destination.allow_token_hosts"
            )
        };
        let mut findings = Vec::new();
        if before.api != host(api) && !self.is_allowed(api, anchor) {
            findings.push(changed("URL"));
        }
        if before.token != host(token) && !self.is_allowed(token, anchor) {
            findings.push(changed("tokenServiceURL"));
        }
        findings
    }

    /// An entry is a host (with the default port or the CF API's port), or host and port.
    fn is_allowed(&self, url: &Url, anchor: &Url) -> bool {
        let name = host(url);
        let with_port = url.port_or_known_default().map(|port| format!("{name}:{port}"));
        self.allowed.iter().any(|entry| {
            (entry == name && port_fits(url, anchor)) || with_port.as_ref() == Some(entry)
        })
    }
}

fn token_finding(anchor: &Url) -> String {
    let hosts = domain(anchor).map_or_else(
        || "named in destination.allow_token_hosts".to_owned(),
        |domain| {
            format!("login.{domain} or uaa.{domain}, nor named in destination.allow_token_hosts")
        },
    );
    format!("host or port of tokenServiceURL is not {hosts}")
}

/// `login.P` or `uaa.P`, where P is the CF API's host without its first label; both are in use.
fn is_login_host(token: &Url, anchor: &Url) -> bool {
    let Some(domain) = domain(anchor) else {
        return false;
    };
    let Some((label, rest)) = host(token).split_once('.') else {
        return false;
    };
    matches!(label, "login" | "uaa") && rest == domain && port_fits(token, anchor)
}

fn is_same_host(api: &Url, anchor: &Url) -> bool {
    host(api) == host(anchor) && port_fits(api, anchor)
}

fn domain(anchor: &Url) -> Option<&str> {
    match anchor.host()? {
        Host::Domain(name) => name.split_once('.').map(|(_, rest)| rest),
        Host::Ipv4(_) | Host::Ipv6(_) => None,
    }
}

fn port_fits(url: &Url, anchor: &Url) -> bool {
    url.port().is_none() || url.port_or_known_default() == anchor.port_or_known_default()
}

fn host(url: &Url) -> &str {
    url.host_str().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::{DestinationHosts, HostPin};
    use rstest::rstest;
    use url::Url;

    const API: &str = "https://api.cf.eu10-004.hana.ondemand.com";

    fn url(text: &str) -> Url {
        Url::parse(text).unwrap()
    }

    fn passes(cf_api: Option<&str>, allowed: &[&str], api: &str, token: &str) -> bool {
        let allowed: Vec<String> = allowed.iter().map(|host| (*host).to_owned()).collect();
        HostPin::new(cf_api.map(url), &allowed).check(&url(api), &url(token)).is_empty()
    }

    #[rstest]
    #[case::login("https://login.cf.eu10-004.hana.ondemand.com/oauth/token", true)]
    #[case::uaa("https://uaa.cf.eu10-004.hana.ondemand.com/oauth/token", true)]
    #[case::upper_case("https://LOGIN.CF.eu10-004.hana.ondemand.com/oauth/token", true)]
    #[case::default_port("https://login.cf.eu10-004.hana.ondemand.com:443/oauth/token", true)]
    #[case::other_label("https://x.login.cf.eu10-004.hana.ondemand.com/oauth/token", false)]
    #[case::glued("https://logincf.eu10-004.hana.ondemand.com/oauth/token", false)]
    #[case::suffix("https://login.cf.eu10-004.hana.ondemand.com.evil.example/oauth/token", false)]
    #[case::other_region("https://login.cf.eu20.hana.ondemand.com/oauth/token", false)]
    #[case::trailing_dot("https://login.cf.eu10-004.hana.ondemand.com./oauth/token", false)]
    #[case::port("https://login.cf.eu10-004.hana.ondemand.com:8443/oauth/token", false)]
    #[case::the_api("https://api.cf.eu10-004.hana.ondemand.com/oauth/token", false)]
    #[case::loopback("http://127.0.0.1:8083/oauth/token", false)]
    fn the_token_host_is_one_of_two(#[case] token: &str, #[case] expected: bool) {
        assert_eq!(passes(Some(API), &[], API, token), expected, "with cf_api");
        assert_eq!(passes(None, &[], API, token), expected, "with URL alone");
    }

    #[rstest]
    #[case("https://api.cf.eu20.hana.ondemand.com", false)]
    #[case("https://api.cf.eu10-004.hana.ondemand.com:8443", false)]
    #[case("https://api.cf.eu10-004.hana.ondemand.com.", false)]
    #[case("http://127.0.0.1:8084", false)]
    #[case("https://API.cf.eu10-004.hana.ondemand.com", true)]
    fn the_api_host_is_that_of_the_foundation(#[case] api: &str, #[case] expected: bool) {
        let token = "https://login.cf.eu10-004.hana.ondemand.com/oauth/token";
        assert_eq!(passes(Some(API), &[], api, token), expected);
    }

    #[test]
    fn a_port_of_the_foundation_is_a_port_of_the_login_host() {
        let api = "https://api.cf.example.com:8443";
        assert!(passes(Some(api), &[], api, "https://login.cf.example.com:8443/oauth/token"));
        assert!(passes(Some(api), &[], api, "https://login.cf.example.com/oauth/token"));
        assert!(!passes(Some(api), &[], api, "https://login.cf.example.com:9443/oauth/token"));
    }

    #[rstest]
    #[case(&["sso.example.com"], "https://sso.example.com/t", true)]
    #[case(&["SSO.example.com"], "https://sso.example.com/t", true)]
    #[case(&["sso.example.com"], "https://a.sso.example.com/t", false)]
    #[case(&["sso.example.com"], "https://sso.example.com:8443/t", false)]
    #[case(&["sso.example.com:8443"], "https://sso.example.com:8443/t", true)]
    fn the_list_holds_exact_hosts(
        #[case] allowed: &[&str],
        #[case] token: &str,
        #[case] expected: bool,
    ) {
        assert_eq!(passes(Some(API), allowed, API, token), expected);
    }

    #[rstest]
    #[case::loopback_anchor(
        Some("http://127.0.0.1:8084"),
        "http://127.0.0.1:1",
        "http://localhost:2/t",
        true
    )]
    #[case::no_anchor(None, "http://127.0.0.1:8084", "http://[::1]:8083/oauth/token", true)]
    #[case::only_one_leaves(
        Some("http://127.0.0.1:8084"),
        "http://127.0.0.1:8084",
        "https://login.evil.example/t",
        false
    )]
    #[case::api_leaves(
        Some("http://127.0.0.1:8084"),
        "https://api.evil.example",
        "http://127.0.0.1:8083/t",
        false
    )]
    #[case::platform(Some(API), "http://127.0.0.1:8084", "http://127.0.0.1:8083/t", false)]
    fn loopback_goes_with_loopback(
        #[case] cf_api: Option<&str>,
        #[case] api: &str,
        #[case] token: &str,
        #[case] expected: bool,
    ) {
        assert_eq!(passes(cf_api, &[], api, token), expected);
    }

    #[test]
    fn an_address_without_a_domain_has_no_login_host() {
        assert!(!passes(None, &[], "https://10.0.0.1", "https://login.0.0.example/oauth/token"));
        assert!(!passes(None, &[], "https://api", "https://login/oauth/token"));
    }

    #[test]
    fn a_host_changed_at_run_time_is_refused_until_the_list_names_it() {
        let before =
            DestinationHosts::of(&url(API), &url("https://login.cf.eu10-004.hana.ondemand.com/t"));
        let token = url("https://uaa.cf.eu10-004.hana.ondemand.com/t");
        let pin = HostPin::new(Some(url(API)), &[]);
        assert_eq!(pin.check_change(&before, &url(API), &token).len(), 1);
        let listed =
            HostPin::new(Some(url(API)), &["uaa.cf.eu10-004.hana.ondemand.com".to_owned()]);
        assert!(listed.check_change(&before, &url(API), &token).is_empty());
    }
}
