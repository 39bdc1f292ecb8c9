//! Headers of CF's responses, and which are passed on.

use super::{LinkBases, LocationOutcome, select};
use http::{HeaderMap, HeaderName, HeaderValue};
use rstest::rstest;
use std::sync::Arc;
use url::Url;

fn headers(lines: &[(&'static str, &str)]) -> HeaderMap {
    let line = |(name, value): &(&'static str, &str)| {
        (HeaderName::from_static(name), HeaderValue::from_str(value).unwrap())
    };
    let mut headers = HeaderMap::new();
    for (name, value) in lines.iter().map(line) {
        headers.append(name, value);
    }
    headers
}

fn bases() -> LinkBases {
    let api = Url::parse("https://api.cf.test").unwrap();
    LinkBases::new(&api, None, &Arc::from("https://broker.test"))
}

#[test]
fn only_listed_headers_pass() {
    let from = headers(&[
        ("content-type", "application/json"),
        ("x-cf-warnings", "one"),
        ("x-cf-warnings", "two"),
        ("x-ratelimit-remaining", "10"),
        ("x-ratelimit-limit-v2-api", "7"),
        ("x-ratelimiting", "1"),
        ("x-vcap-request-id", "a::b"),
        ("retry-after", "7"),
        ("etag", "\"x\""),
        ("set-cookie", "a=b"),
        ("www-authenticate", "Bearer"),
        ("server", "nginx"),
        ("x-runtime", "0.1"),
        ("x-user-guid", "secret"),
        ("strict-transport-security", "max-age=1"),
        ("access-control-allow-origin", "*"),
        ("keep-alive", "timeout=5"),
        ("transfer-encoding", "chunked"),
        ("content-length", "5"),
    ]);
    let selected = select(from, &bases());
    let names: Vec<_> = selected.listed.iter().map(|(name, _)| name.as_str()).collect();
    let expected = [
        "content-type",
        "etag",
        "retry-after",
        "x-cf-warnings",
        "x-cf-warnings",
        "x-vcap-request-id",
        "x-ratelimit-remaining",
        "x-ratelimit-limit-v2-api",
    ];
    assert_eq!(names, expected);
    assert_eq!(selected.location, LocationOutcome::Kept);
    assert_eq!(selected.length, Some(5));
}

#[test]
fn lines_of_one_header_stay_in_order_and_whole() {
    let lines = ["one", "two", "three"];
    let from = headers(&lines.map(|line| ("x-cf-warnings", line)));
    let limits = headers(&lines.map(|line| ("x-ratelimit-reset", line)));
    assert_eq!(select(from.clone(), &bases()).listed, from);
    assert_eq!(select(limits.clone(), &bases()).listed, limits);
}

#[rstest]
#[case::one(&["7"], Some(7))]
#[case::the_first_of_two(&["7", "8"], Some(7))]
#[case::no_number(&["x", "8"], None)]
#[case::none(&[], None)]
fn the_first_length_counts(#[case] lines: &[&str], #[case] expected: Option<usize>) {
    let lines: Vec<_> = lines.iter().map(|line| ("content-length", *line)).collect();
    assert_eq!(select(headers(&lines), &bases()).length, expected);
}

#[test]
fn a_nominated_header_does_not_pass_in_any_line() {
    let from = headers(&[
        ("connection", "keep-alive"),
        ("connection", "close, ETag, location"),
        ("etag", "\"x\""),
        ("location", "/v3/jobs/j-1"),
        ("retry-after", "7"),
    ]);
    let listed = select(from, &bases()).listed;
    let names: Vec<_> = listed.keys().map(HeaderName::as_str).collect();
    assert_eq!(names, ["retry-after"]);
}

#[rstest]
#[case("https://api.cf.test/v3/jobs/j-1", Some("https://broker.test/v3/jobs/j-1"))]
#[case("HTTPS://Api.cf.test:443/v3/jobs/j-1", Some("https://broker.test/v3/jobs/j-1"))]
#[case("https://api.cf.test:8443/v3/jobs/j-1", None)]
#[case("/v3/jobs/j-1?a=%2C", Some("/v3/jobs/j-1?a=%2C"))]
#[case("https://evil.example/", None)]
#[case("https://api.cf.test.evil.example/", None)]
#[case("//evil.example/v3", None)]
#[case("/v3/../x", None)]
#[case("jobs/j-1", None)]
#[case("/\\evil.example", None)]
fn a_location_leads_to_the_broker_or_is_dropped(
    #[case] from: &str,
    #[case] expected: Option<&str>,
) {
    let selected = select(headers(&[("location", from)]), &bases());
    assert_eq!(selected.listed.get("location").map(|value| value.to_str().unwrap()), expected);
    assert_eq!(selected.location == LocationOutcome::Dropped, expected.is_none());
}

#[test]
fn two_locations_are_dropped() {
    let from = headers(&[("location", "/v3/a"), ("location", "/v3/b")]);
    let selected = select(from, &bases());
    assert_eq!((selected.listed, selected.location), (HeaderMap::new(), LocationOutcome::Dropped));
}

#[rstest]
#[case("application/json", true)]
#[case("Application/JSON; charset=utf-8", true)]
#[case("application/json-patch", false)]
#[case("text/plain", false)]
fn json_is_recognized_by_its_type(#[case] kind: &str, #[case] expected: bool) {
    let from = headers(&[("connection", "content-type"), ("content-type", kind)]);
    assert_eq!(select(from, &bases()).is_json, expected);
}

#[test]
fn anything_but_identity_is_encoded() {
    let is_encoded = |lines| select(headers(lines), &bases()).is_encoded;
    assert!(!is_encoded(&[]));
    assert!(!is_encoded(&[("content-encoding", "Identity")]));
    assert!(is_encoded(&[("content-encoding", "gzip")]));
    assert!(is_encoded(&[("content-encoding", "identity"), ("content-encoding", "br")]));
    assert!(!is_encoded(&[("transfer-encoding", "Chunked")]));
    assert!(is_encoded(&[("transfer-encoding", "gzip, chunked")]));
}
