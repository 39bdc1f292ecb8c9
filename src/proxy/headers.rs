//! Which headers of CF's answer go back to the caller.
//!
//! Invariant: an allow list; what it does not name is not passed on, nor what `Connection` nominates. What goes to CF
//! is built in `capi` and never comes from a request. Callers: this room.

use super::links::Bases;
use crate::policy::path::{UpstreamQuery, judge_path};
use http::{
    HeaderMap, HeaderName, HeaderValue,
    header::{
        CONNECTION, CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE, ETAG, LOCATION, RETRY_AFTER,
        TRANSFER_ENCODING, WARNING,
    },
};

/// Passed as they are (`proxy.md` 5).
static PASSED: [HeaderName; 6] = [
    CONTENT_TYPE,
    ETAG,
    RETRY_AFTER,
    WARNING,
    HeaderName::from_static("x-cf-warnings"),
    HeaderName::from_static("x-vcap-request-id"),
];

/// What CC says about its rate limits, by whatever name: each of them has three headers, those of v2 end otherwise.
const RATE_LIMIT: &str = "x-ratelimit-";

/// What became of `Location`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Location {
    /// There was none, or it leads to the broker now.
    Kept,
    /// It led elsewhere.
    Dropped,
}

/// Picks what may pass.
pub(super) fn passed(from: &HeaderMap, bases: &Bases) -> (HeaderMap, Location) {
    // With those that the broker adds, so that the map does not grow on the way.
    let mut headers = HeaderMap::with_capacity(24);
    for name in &PASSED {
        if from.contains_key(CONNECTION) && is_nominated(from, name) {
            continue;
        }
        for value in from.get_all(name) {
            headers.append(name, value.clone());
        }
    }
    for (name, value) in from {
        if name.as_str().starts_with(RATE_LIMIT) && !is_nominated(from, name) {
            headers.append(name, value.clone());
        }
    }
    let Some(location) = from.get(LOCATION) else {
        return (headers, Location::Kept);
    };
    match led_here(location, bases) {
        Some(value) if from.get_all(LOCATION).iter().nth(1).is_none() => {
            headers.insert(LOCATION, value);
            (headers, Location::Kept)
        }
        Some(_) | None => (headers, Location::Dropped),
    }
}

/// Returns whether a body is JSON of CF's own, the only kind that links are looked for in.
pub(super) fn is_json(headers: &HeaderMap) -> bool {
    let kind = headers.get(CONTENT_TYPE).map(HeaderValue::as_bytes).unwrap_or_default();
    let essence = kind.split(|byte| *byte == b';').next().unwrap_or_default();
    essence.trim_ascii().eq_ignore_ascii_case(b"application/json")
}

/// Returns whether the body is packed although it was asked for unpacked, as content or on its way.
pub(super) fn is_encoded(headers: &HeaderMap) -> bool {
    let says_only = |name: HeaderName, word: &[u8]| {
        let mut values = headers.get_all(name).iter();
        values.all(|value| value.as_bytes().trim_ascii().eq_ignore_ascii_case(word))
    };
    !says_only(CONTENT_ENCODING, b"identity") || !says_only(TRANSFER_ENCODING, b"chunked")
}

/// Returns the length that CF announces.
pub(super) fn length(headers: &HeaderMap) -> Option<usize> {
    headers.get(CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
}

/// All lines count: a name in the second one is nominated as well (RFC 9110, 7.6.1).
fn is_nominated(headers: &HeaderMap, name: &HeaderName) -> bool {
    let tokens = headers
        .get_all(CONNECTION)
        .iter()
        .flat_map(|line| line.as_bytes().split(|byte| *byte == b','));
    tokens
        .into_iter()
        .any(|token| token.trim_ascii().eq_ignore_ascii_case(name.as_str().as_bytes()))
}

/// Turns a `Location` of the API into one of the broker; a relative one stays, if it could be asked for here.
fn led_here(location: &HeaderValue, bases: &Bases) -> Option<HeaderValue> {
    let text = location.to_str().ok()?;
    if let Some(rest) = bases.below(text) {
        return HeaderValue::try_from(format!("{}{rest}", bases.own())).ok();
    }
    let (path, query) = match text.split_once('?') {
        Some((path, query)) => (path, Some(query)),
        None => (text, None),
    };
    let lawful = judge_path(path).is_ok() && UpstreamQuery::parse(query).is_ok();
    lawful.then(|| location.clone())
}

#[cfg(test)]
mod tests {
    use super::{Bases, Location, is_encoded, is_json, passed};
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

    fn bases() -> Bases {
        let api = Url::parse("https://api.cf.test").unwrap();
        Bases::new(&api, None, &Arc::from("https://broker.test"))
    }

    #[test]
    fn only_what_is_listed_passes() {
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
        let (passed, location) = passed(&from, &bases());
        let mut names: Vec<_> = passed.iter().map(|(name, _)| name.as_str()).collect();
        names.sort_unstable();
        let expected = [
            "content-type",
            "etag",
            "retry-after",
            "x-cf-warnings",
            "x-cf-warnings",
            "x-ratelimit-limit-v2-api",
            "x-ratelimit-remaining",
            "x-vcap-request-id",
        ];
        assert_eq!(names, expected);
        assert_eq!(location, Location::Kept);
    }

    #[test]
    fn a_nominated_header_does_not_pass_whichever_line_names_it() {
        let from = headers(&[
            ("connection", "keep-alive"),
            ("connection", "close, ETag"),
            ("etag", "\"x\""),
            ("retry-after", "7"),
        ]);
        let (passed, _) = passed(&from, &bases());
        assert!(!passed.contains_key("etag") && passed.contains_key("retry-after"));
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
    fn a_location_leads_here_or_nowhere(#[case] from: &str, #[case] expected: Option<&str>) {
        let (passed, location) = passed(&headers(&[("location", from)]), &bases());
        assert_eq!(passed.get("location").map(|value| value.to_str().unwrap()), expected);
        assert_eq!(location == Location::Dropped, expected.is_none());
    }

    #[test]
    fn two_locations_are_none() {
        let from = headers(&[("location", "/v3/a"), ("location", "/v3/b")]);
        assert_eq!(passed(&from, &bases()), (HeaderMap::new(), Location::Dropped));
    }

    #[rstest]
    #[case("application/json", true)]
    #[case("Application/JSON; charset=utf-8", true)]
    #[case("application/json-patch", false)]
    #[case("text/plain", false)]
    fn json_is_known_by_its_type(#[case] kind: &str, #[case] expected: bool) {
        assert_eq!(is_json(&headers(&[("content-type", kind)])), expected);
    }

    #[test]
    fn anything_but_identity_is_encoded() {
        assert!(!is_encoded(&headers(&[])));
        assert!(!is_encoded(&headers(&[("content-encoding", "Identity")])));
        assert!(is_encoded(&headers(&[("content-encoding", "gzip")])));
        assert!(is_encoded(&headers(&[
            ("content-encoding", "identity"),
            ("content-encoding", "br")
        ])));
        assert!(!is_encoded(&headers(&[("transfer-encoding", "Chunked")])));
        assert!(is_encoded(&headers(&[("transfer-encoding", "gzip, chunked")])));
    }
}
