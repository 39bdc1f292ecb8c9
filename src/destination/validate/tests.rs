use super::{ValidationReport, Validator};
use crate::{
    binding::Fields,
    destination::{Destination, DestinationName, SourceKind, pin::HostPin},
    oauth::FingerprintKey,
};
use rstest::rstest;
use std::sync::Arc;
use url::Url;

const GOOD: &[(&str, &str)] = &[
    ("Name", "CFAPI"),
    ("Type", "HTTP"),
    ("URL", "https://api.cf.eu10.hana.ondemand.com"),
    ("ProxyType", "Internet"),
    ("Authentication", "OAuth2Password"),
    ("clientId", "cf"),
    ("clientSecret", ""),
    ("User", "tech+cfapi@example.com"),
    ("Password", "p&ss w=rd%ü"),
    (
        "tokenServiceURL",
        "https://login.cf.eu10.hana.ondemand.com/oauth/token?login_hint=%7B%22origin%22:%22acme-platform%22%7D",
    ),
    ("tokenServiceURLType", "Dedicated"),
    ("Description", "as in the blog"),
];

/// One property that differs from the good ones; `None` removes it.
type Change<'a> = (&'a str, Option<&'a str>);

fn properties(changes: &[Change<'_>]) -> Fields {
    let mut fields = Fields::default();
    for (name, text) in GOOD {
        match changes.iter().find(|(changed, _)| changed == name) {
            None => fields.push((*name).to_owned(), text),
            Some((_, Some(text))) => fields.push((*name).to_owned(), text),
            Some((_, None)) => {}
        }
    }
    for (name, text) in changes {
        if let (false, Some(text)) = (fields.has(name), text) {
            fields.push((*name).to_owned(), text);
        }
    }
    fields
}

fn validate(changes: &[Change<'_>]) -> (Option<Arc<Destination>>, ValidationReport) {
    let cf_api = Url::parse("https://api.cf.eu10.hana.ondemand.com").unwrap();
    let validator =
        Validator { pin: HostPin::new(Some(cf_api), &[]), key: FingerprintKey::random() };
    let name = DestinationName::parse("CFAPI").unwrap();
    validator.validate(&name, SourceKind::SubaccountLevel, &properties(changes))
}

#[test]
fn the_standard_destination_passes_without_warnings() {
    let (destination, report) = validate(&[]);
    let destination = destination.unwrap();
    assert!(report.warnings().is_empty());
    assert_eq!(
        destination.token_url.as_str(),
        "https://login.cf.eu10.hana.ondemand.com/oauth/token"
    );
    assert_eq!(destination.login_hint.as_ref().unwrap().origin().as_str(), "acme-platform");
    assert_eq!(destination.credentials.user, "tech+cfapi@example.com");
    assert!(destination.extra.is_empty() && destination.headers.is_empty());
}

#[rstest]
#[case::name(&[("Name", None)], "Name is missing")]
#[case::no_type(&[("Type", None)], "Type is missing")]
#[case::other_type(&[("Type", Some("RFC"))], "Type is not HTTP")]
#[case::no_authentication(&[("Authentication", None)], "Authentication is missing")]
#[case::other_authentication(&[("Authentication", Some("BasicAuthentication"))], "Authentication is BasicAuthentication; OAuth2Password is needed")]
#[case::odd_authentication(&[("Authentication", Some("canary"))], "Authentication is not OAuth2Password")]
#[case::no_url(&[("URL", None)], "URL is missing")]
#[case::plain_url(&[("URL", Some("http://api.cf.eu10.hana.ondemand.com"))], "URL is not https")]
#[case::url_with_path(&[("URL", Some("https://api.cf.eu10.hana.ondemand.com/v3"))], "URL has a path or query; only scheme, host and port belong there")]
#[case::no_client(&[("clientId", None)], "clientId is missing")]
#[case::no_user(&[("User", None)], "User is missing")]
#[case::empty_user(&[("User", Some(""))], "User is empty")]
#[case::nul_in_user(&[("User", Some("a\0b"))], "User holds a NUL character")]
#[case::no_password(&[("Password", None)], "Password is missing")]
#[case::empty_password(&[("Password", Some(""))], "Password is empty")]
#[case::nul_in_password(&[("Password", Some("a\0b"))], "Password holds a NUL character")]
#[case::exported(&[("Password", Some("<< Existing password/certificate removed on export >>"))], "Password missing: removed on export. Add a line Password=… to the file by hand")]
#[case::dummy_secret(&[("clientSecret", Some("dummy"))], "clientSecret is not empty, but client cf has an empty secret: probably a dummy is left over; edit the destination, clear the field, save")]
#[case::no_token_url(&[("tokenServiceURL", None)], "tokenServiceURL is missing")]
#[case::plain_token_url(&[("tokenServiceURL", Some("http://login.cf.eu10.hana.ondemand.com?login_hint=%7B%22origin%22:%22a%22%7D"))], "tokenServiceURL is not https")]
#[case::tenant(&[("tokenServiceURL", Some("https://{tenant}.cf.eu10.hana.ondemand.com"))], "tokenServiceURL contains a placeholder for the tenant, which only tokenServiceURLType Common fills")]
#[case::common(&[("tokenServiceURLType", Some("Common"))], "tokenServiceURLType is not Dedicated")]
#[case::on_premise(&[("ProxyType", Some("OnPremise"))], "ProxyType is not Internet")]
#[case::private_link(&[("ProxyType", Some("PrivateLink"))], "ProxyType is not Internet")]
#[case::token_proxy(&[("tokenServiceURL.ProxyType", Some("OnPremise"))], "tokenServiceURL.ProxyType is not Internet")]
#[case::trust_all(&[("TrustAll", Some("TRUE"))], "TrustAll would switch off the check of certificates: remove it")]
#[case::host_names(&[("HostnameVerifier", Some("BrowserCompatible"))], "HostnameVerifier is not Strict: remove it")]
#[case::key_store(&[("tokenService.KeyStoreLocation", Some("k.p12"))], "tokenService.KeyStoreLocation is not supported: the client logs on with its id and secret")]
#[case::key_store_password(&[("tokenService.KeyStorePassword", Some("x"))], "tokenService.KeyStorePassword is not supported: the client logs on with its id and secret")]
#[case::assertion(&[("clientAssertion.destinationName", Some("x"))], "clientAssertion.destinationName is not supported: the client logs on with its id and secret")]
#[case::reserved(&[("tokenService.body.username", Some("x"))], "username may not be set by a query or body property")]
#[case::header(&[("tokenServiceURL.headers.Host", Some("x"))], "tokenServiceURL.headers.Host may not be set")]
#[case::bad_origin(&[("origin", Some("a b"))], "property origin cannot be used: origin key has an invalid form")]
#[case::conflict(&[("origin", Some("other-platform"))], "origin conflict: acme-platform / other-platform")]
fn each_rule_has_its_finding(#[case] changes: &[Change<'_>], #[case] expected: &str) {
    let (destination, report) = validate(changes);
    assert!(destination.is_none());
    assert_eq!(report.findings(), [expected]);
}

#[rstest]
#[case::other_region(&[("URL", Some("https://api.cf.eu20.hana.ondemand.com"))], 1)]
#[case::token_elsewhere(&[("tokenServiceURL", Some("https://login.cf.eu10.hana.ondemand.com.evil.example"))], 1)]
#[case::both(&[("URL", Some("https://api.evil.example")), ("tokenServiceURL", Some("https://login.evil.example"))], 2)]
fn a_foreign_host_is_refused(#[case] changes: &[Change<'_>], #[case] findings: usize) {
    let (destination, report) = validate(changes);
    assert!(destination.is_none());
    assert_eq!(report.findings().len(), findings);
}

#[rstest]
#[case::no_proxy_type(&[("ProxyType", None)], 0)]
#[case::no_secret(&[("clientSecret", None)], 0)]
#[case::no_url_type(&[("tokenServiceURLType", None)], 0)]
#[case::trust_not_all(&[("TrustAll", Some("false"))], 0)]
#[case::strict(&[("HostnameVerifier", Some("Strict"))], 0)]
#[case::in_body(&[("tokenService.addClientCredentialsInBody", Some("true"))], 0)]
#[case::time_outs(&[("tokenServiceURL.ConnectionTimeoutInSeconds", Some("60"))], 0)]
#[case::html5(&[("HTML5.DynamicDestination", Some("true"))], 0)]
#[case::trust_store(&[("TrustStoreLocation", Some("t.jks"))], 1)]
#[case::client_headers(&[("URL.headers.x", Some("y"))], 1)]
#[case::client_queries(&[("URL.queries.x", Some("y"))], 1)]
#[case::no_origin(&[("tokenServiceURL", Some("https://uaa.cf.eu10.hana.ondemand.com"))], 1)]
#[case::exported_secret_of_cf(&[("clientSecret", Some("<< removed >>"))], 0)]
#[case::other_client(&[("clientId", Some("mine")), ("clientSecret", Some("s"))], 0)]
fn what_is_tolerated_passes_with_at_most_one_warning(
    #[case] changes: &[Change<'_>],
    #[case] warnings: usize,
) {
    let (destination, report) = validate(changes);
    assert_eq!((destination.is_some(), report.warnings().len()), (true, warnings), "{report:?}");
}

#[test]
fn every_finding_comes_at_once() {
    let (destination, report) = validate(&[
        ("Type", Some("MAIL")),
        ("Password", None),
        ("TrustAll", Some("true")),
        ("clientSecret", Some("dummy")),
        ("URL", Some("https://api.cf.eu20.hana.ondemand.com")),
    ]);
    assert!(destination.is_none());
    assert_eq!(report.findings().len(), 5);
}

#[test]
fn a_property_given_twice_is_a_finding() {
    let mut fields = properties(&[]);
    fields.push("User".to_owned(), "someone else");
    let validator = Validator { pin: HostPin::new(None, &[]), key: FingerprintKey::random() };
    let name = DestinationName::parse("CFAPI").unwrap();
    let (_, report) = validator.validate(&name, SourceKind::File, &fields);
    assert_eq!(report.findings(), ["User is given twice"]);
}

#[test]
fn scope_body_fields_and_headers_are_kept() {
    let (destination, _) = validate(&[
        ("scope", Some("cloud_controller.read")),
        ("tokenServiceURL.queries.a", Some("1")),
        ("tokenService.body.b", Some("2")),
        ("tokenServiceURL.headers.X-Thing", Some("3")),
    ]);
    let destination = destination.unwrap();
    assert_eq!(destination.scope.as_deref(), Some("cloud_controller.read"));
    let names: Vec<&str> = destination.extra.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(names, ["a", "b"]);
    assert!(destination.headers["x-thing"].is_sensitive());
}

#[test]
fn the_fingerprint_changes_with_the_credentials_and_with_nothing_else() {
    let validator = Validator { pin: HostPin::new(None, &[]), key: FingerprintKey::random() };
    let name = DestinationName::parse("CFAPI").unwrap();
    let fingerprint = |changes: &[Change<'_>]| {
        let (destination, _) = validator.validate(&name, SourceKind::File, &properties(changes));
        destination.unwrap().fingerprint
    };
    let good = fingerprint(&[]);
    assert_eq!(good, fingerprint(&[("clientSecret", None)]));
    assert_eq!(good, fingerprint(&[("scope", Some("x")), ("Description", None)]));
    assert_ne!(good, fingerprint(&[("Password", Some("new"))]));
    assert_ne!(good, fingerprint(&[("User", Some("other"))]));
}

#[rstest]
#[case("Password", "<the canary's password>")]
#[case("Password", "changeme")]
#[case("Password", "YOUR_CANARY_PASSWORD")]
#[case("Password", "((canary))")]
#[case("User", "<canary>")]
#[case("User", "${CANARY}")]
fn a_placeholder_is_a_finding_that_says_so(#[case] property: &str, #[case] text: &str) {
    let (destination, report) = validate(&[(property, Some(text))]);
    assert!(destination.is_none());
    let shown = report.findings().join("; ");
    assert!(
        shown.starts_with(&format!("{property} is a placeholder that was not replaced")),
        "{shown}"
    );
    assert!(!shown.to_lowercase().contains("canary"), "{shown}");
}

#[test]
fn a_placeholder_as_the_secret_of_another_client_is_a_finding() {
    let own_client = ("clientId", Some("own"));
    let (_, report) = validate(&[own_client, ("clientSecret", Some("<secret>"))]);
    assert_eq!(report.findings(), ["clientSecret is a placeholder that was not replaced"]);
    let (_, report) = validate(&[("clientId", Some("cf")), ("clientSecret", Some("<secret>"))]);
    assert!(report.findings()[0].contains("client cf has an empty secret"));
}

#[rstest]
#[case(&[("Password", Some("")), ("User", Some("canary-user\0"))])]
#[case(&[("tokenServiceURL", Some("http://canary.example/canary")), ("origin", Some("canary canary"))])]
#[case(&[("URL", Some("https://canary.example")), ("Authentication", Some("canary"))])]
#[case(&[("tokenService.body.canary\u{1}", Some("\0canary"))])]
fn no_finding_quotes_a_value(#[case] changes: &[Change<'_>]) {
    let (destination, report) = validate(changes);
    assert!(destination.is_none());
    assert!(!report.findings().join(" ").contains("canary"), "{report:?}");
}

#[test]
fn no_debug_shows_a_secret() {
    let (destination, _) =
        validate(&[("Password", Some("canary")), ("tokenService.body.x", Some("canary"))]);
    assert!(!format!("{destination:?}").contains("canary"));
}
