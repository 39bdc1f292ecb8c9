//! The issuer rule, with the cases of SAP's own test suites. `D` stands for a trusted domain.

use super::{Issuer, TrustedDomains, is_sendable, is_tenant_name};
use rstest::rstest;

const DOMAIN: &str = "accounts.example.test";

fn domains(names: &[&str]) -> TrustedDomains {
    TrustedDomains::from_names(&names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>())
}

fn base(issuer: &str) -> Option<String> {
    let issuer = domains(&[DOMAIN]).issuer(&issuer.replace('D', DOMAIN));
    issuer.map(|issuer| issuer.base().replace(DOMAIN, "D"))
}

#[rstest]
#[case::domain("D", "https://D")]
#[case::domain_with_scheme("https://D", "https://D")]
#[case::label("t.D", "https://t.D")]
#[case::label_with_scheme("https://t.D", "https://t.D")]
#[case::mixed("t-0815X.D", "https://t-0815x.D")]
#[case::mixed_with_scheme("https://t-0815X.D", "https://t-0815x.D")]
#[case::one_character("https://0.D", "https://0.D")]
#[case::hyphens("https://--.D", "https://--.D")]
fn a_trusted_domain_and_one_label_below_it_are_issuers(#[case] issuer: &str, #[case] call: &str) {
    assert_eq!(base(issuer).as_deref(), Some(call));
}

#[test]
fn a_label_has_one_to_63_characters() {
    for scheme in ["", "https://"] {
        let with = |length| base(&format!("{scheme}{}.D", "l".repeat(length))).is_some();
        assert!(!with(0) && with(1) && with(63) && !with(64));
    }
}

/// Refused by the tests of SAP's Java library, each with and without scheme.
#[rstest]
fn issuers_that_saps_java_library_refuses_are_refused(
    #[values("", "https://")] scheme: &str,
    #[values(
        "",
        " ",
        "  ",
        "Da",
        "D0",
        "D/",
        "D/path",
        "D%2f",
        "D%2fpath",
        "D&",
        "D%26",
        "D?",
        "D?foo",
        "D?foo=bar",
        "D%3f",
        "D%3ffoo",
        "D%3ffoo=bar",
        "D#",
        "D#foo",
        "D%23",
        "D%23foo",
        "user@D",
        "user%40D",
        "attacker.example",
        "t.attacker.example",
        "myD",
        "D.attacker.example",
        "D%2eattacker.example",
        "D%2dattacker.example",
        "t\t.D",
        "t\n.D",
        "\tt.D",
        "\nt.D",
        "D\t",
        "D\n",
        "acc\tounts.example.test",
        "t.acc\nounts.example.test",
        "accounts.exa\tmple.test",
        "accounts.example.te\nst",
        "t.accounts.example.te\tst",
        "t%2eD",
        "t.accounts%2eexample.test",
        "t.accounts.example%2etest",
        "accounts%2eexample.test",
        "t%2d0815.D",
        "%2d.D",
        "t%2D0815.D"
    )]
    host: &str,
) {
    assert_eq!(base(&format!("{scheme}{host}")), None);
}

#[rstest]
fn everything_else_is_refused(
    #[values(
        "http://",
        "http://D",
        "http://t.D",
        "HTTPS://D",
        "https:D",
        "https:/D",
        "https:///D",
        "//D",
        "ftp://D",
        "https://https://D",
        " https://D",
        "https:// D",
        "https://D ",
        "D ",
        " D",
        ".D",
        "https://.D",
        "t..D",
        "a.b.D",
        "https://a.b.D",
        "t_1.D",
        "*.D",
        "ü.D",
        "t.D.",
        "D.",
        "D:443",
        "t.D:443",
        "https://t.D:443",
        "https://t.D:",
        "t.D,evil",
        "t.D\0",
        "https://t.D/oauth/token",
        "https://D/oauth/token",
        "[D]",
        "t.D\u{7f}",
        "ACCOUNTS.EXAMPLE.TEST",
        "t.Accounts.example.test",
        "example.test",
        "test",
        "null"
    )]
    issuer: &str,
) {
    assert_eq!(base(issuer), None, "{issuer:?}");
}

/// Refused by the tests of SAP's Go library.
#[rstest]
fn issuers_that_saps_go_library_refuses_are_refused(
    #[values(
        "https://evil.example",
        "https://t.D?redirect=https://evil.example/tokens%3Ftenant=x",
        "https://t.D\\\\@evil.example",
        "https://t.D\\@evil.example",
        "https://t.D@evil.example",
        "https://t.D///evil.example/token_keys",
        "https://t.D\\\\@evil.example/token_keys",
        "https://evil.example/token_keys///https://t.D",
        "https://evil.example/token_keys@t.D",
        "https://evil.example/token_keys///t.D",
        ""
    )]
    issuer: &str,
) {
    assert_eq!(base(issuer), None, "{issuer}");
}

#[test]
fn without_a_domain_there_is_no_issuer() {
    for issuer in ["", "https://", "t.", "https://t.", DOMAIN, "https://localhost"] {
        assert_eq!(domains(&[]).issuer(issuer), None, "{issuer}");
    }
}

#[test]
fn each_of_several_domains_is_trusted_and_nothing_more() {
    let several = domains(&["a.example", "x.b.example", "b.example"]);
    for trusted in ["a.example", "t.a.example", "x.b.example", "t.x.b.example", "y.b.example"] {
        assert!(several.issuer(trusted).is_some(), "{trusted}");
    }
    assert_eq!(several.issuer("t.y.b.example"), None);
}

#[rstest]
#[case::empty("")]
#[case::blank(" ")]
#[case::top_level("test")]
#[case::scheme("https://accounts.example.test")]
#[case::path("accounts.example.test/")]
#[case::port("accounts.example.test:443")]
#[case::user("a@accounts.example.test")]
#[case::wildcard_of_everything(".")]
#[case::leading_blank(" accounts.example.test")]
fn a_domain_must_be_a_host(#[case] name: &str) {
    assert!(domains(&[name]).is_empty());
    assert_eq!(domains(&[name]).issuer("https://t.accounts.example.test"), None);
}

#[rstest]
#[case("localhost", "http://localhost:4711", Some("http://localhost:4711"))]
#[case("localhost", "http://localhost", Some("http://localhost"))]
#[case("localhost", "localhost:4711", Some("http://localhost:4711"))]
#[case("localhost", "https://localhost:4711", Some("https://localhost:4711"))]
#[case("127.0.0.1:4711", "http://127.0.0.1:4711", Some("http://127.0.0.1:4711"))]
#[case("[::1]:4711", "http://[::1]:4711", Some("http://[::1]:4711"))]
#[case("127.0.0.1:4711", "http://127.0.0.1:4712", None)]
#[case("127.0.0.1:4711", "http://127.0.0.1", None)]
#[case("127.0.0.1:4711", "http://127.0.0.1:4711/", None)]
#[case("localhost", "http://localhost:0", None)]
#[case("localhost", "http://localhost:04711", None)]
#[case("localhost", "http://localhost:65536", None)]
#[case("localhost", "http://localhost:4711@evil.example", None)]
#[case("localhost", "http://localhost:", None)]
#[case("localhost", "http://evillocalhost:4711", None)]
#[case("accounts.example.test", "http://localhost:4711", None)]
fn plain_http_and_ports_are_for_loopback_only(
    #[case] domain: &str,
    #[case] issuer: &str,
    #[case] expected: Option<&str>,
) {
    let issuer = domains(&[domain]).issuer(issuer);
    assert_eq!(issuer.as_ref().map(Issuer::base), expected);
}

#[rstest]
#[case("https://t.D/oauth2/certs", true)]
#[case("https://D/oauth2/certs?x=1", true)]
#[case("https://other.D/", true)]
#[case("https://t.D", false)]
#[case("t.D/oauth2/certs", false)]
#[case("http://t.D/oauth2/certs", false)]
#[case("https://evil.example/oauth2/certs", false)]
#[case("https://evil.example/https://t.D/oauth2/certs", false)]
#[case("https://evil.example?https://t.D/certs", false)]
#[case("https://t.D@evil.example/certs", false)]
#[case("https://user@t.D/certs", false)]
#[case("https://t.D:8443/certs", false)]
#[case("https://t.D\\@evil.example/certs", false)]
#[case("https://t.D/certs\n", false)]
#[case("https://t.D/ce rts", false)]
#[case("https://t.D/certs#x", false)]
#[case("https://a.b.D/certs", false)]
#[case("file:///etc/passwd", false)]
#[case("", false)]
fn the_keys_url_must_have_a_trusted_host(#[case] address: &str, #[case] expected: bool) {
    assert_eq!(
        domains(&[DOMAIN]).contains_url(&address.replace('D', DOMAIN)),
        expected,
        "{address}"
    );
}

#[test]
fn the_length_of_a_keys_url_is_limited() {
    let of = |length: usize| format!("https://{DOMAIN}/{}", "a".repeat(length - DOMAIN.len() - 9));
    assert!(
        domains(&[DOMAIN]).contains_url(&of(2048)) && !domains(&[DOMAIN]).contains_url(&of(2049))
    );
}

#[rstest]
#[case("c0ffee00-4711", true, true)]
#[case("a b", true, true)]
#[case("a:b", true, false)]
#[case("~!|$", true, true)]
#[case("", false, false)]
#[case(" a", false, false)]
#[case("a ", false, false)]
#[case("a\tb", false, false)]
#[case("a\nb", false, false)]
#[case("a\u{7f}", false, false)]
#[case("ä", false, false)]
fn values_for_headers_are_printable(
    #[case] text: &str,
    #[case] sendable: bool,
    #[case] tenant: bool,
) {
    assert_eq!((is_sendable(text), is_tenant_name(text)), (sendable, tenant));
}

#[test]
fn values_for_headers_have_at_most_256_characters() {
    assert!(is_sendable(&"a".repeat(256)) && !is_sendable(&"a".repeat(257)));
}
