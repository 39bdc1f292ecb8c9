//! The origin of an API, in the parts that a request target is made of.
//!
//! Invariant: a target has the API's own scheme, host and port, and the checked path and query,
//! byte for byte. Callers: this module; one is made for each API, not for each call.

use crate::upstream::is_unambiguous_path;
use bytes::Bytes;
use http::{
    Uri,
    uri::{Authority, Parts, PathAndQuery, Scheme},
};
use url::{Position, Url};

/// The origin of an API.
#[derive(Clone, Debug)]
pub(super) struct ApiOrigin {
    scheme: Scheme,
    authority: Authority,
}

impl ApiOrigin {
    /// Splits a URL that is only an origin; `None` for any other.
    pub(super) fn of(api: &Url) -> Option<Self> {
        let is_origin = api[Position::AfterPort..] == *"/" && api.has_host();
        let is_anonymous = api.username().is_empty() && api.password().is_none();
        let authority = &api[Position::BeforeHost..Position::AfterPort];
        let scheme = Scheme::try_from(api.scheme()).ok()?;
        let authority = Authority::try_from(authority).ok()?;
        (is_origin && is_anonymous).then_some(Self { scheme, authority })
    }

    /// Builds a target and proves that parsing changed nothing of path and query. `None` if it
    /// would, or if a parser could fold the path.
    pub(super) fn target(&self, path: &str, query: Option<&str>) -> Option<Uri> {
        let text = match query {
            Some(query) => [path, "?", query].concat(),
            None => path.to_owned(),
        };
        let mut parts = Parts::default();
        parts.scheme = Some(self.scheme.clone());
        parts.authority = Some(self.authority.clone());
        parts.path_and_query = Some(PathAndQuery::from_maybe_shared(Bytes::from(text)).ok()?);
        let uri = Uri::from_parts(parts).ok()?;
        let untouched = uri.path() == path && uri.query() == query;
        (untouched && is_unambiguous_path(path)).then_some(uri)
    }
}

#[cfg(test)]
mod tests {
    use super::ApiOrigin;
    use proptest::prelude::{prop_assert_eq, proptest};
    use rstest::rstest;
    use url::Url;

    fn of(text: &str) -> Option<ApiOrigin> {
        ApiOrigin::of(&Url::parse(text).unwrap())
    }

    fn base() -> ApiOrigin {
        of("https://api.cf.example.test").unwrap()
    }

    #[rstest]
    #[case::named("https://api.cf.example.test", Some("api.cf.example.test"))]
    #[case::usual_port("https://api.cf.example.test:443/", Some("api.cf.example.test"))]
    #[case::port("http://127.0.0.1:8080", Some("127.0.0.1:8080"))]
    #[case::path("https://api.cf.example.test/cf", None)]
    #[case::query("https://api.cf.example.test/?x", None)]
    #[case::fragment("https://api.cf.example.test/#x", None)]
    #[case::user("https://user@api.cf.example.test", None)]
    #[case::password("https://:secret@api.cf.example.test", None)]
    #[case::no_host("data:text", None)]
    fn only_a_bare_origin_is_accepted(#[case] api: &str, #[case] host: Option<&str>) {
        let target = of(api).and_then(|base| base.target("/v3", None));
        assert_eq!(target.as_ref().map(|uri| uri.authority().unwrap().as_str()), host);
    }

    #[rstest]
    #[case::plain("/v3/routes", None, "https://api.cf.example.test/v3/routes")]
    #[case::query(
        "/v3/routes",
        Some("hosts=a&paths="),
        "https://api.cf.example.test/v3/routes?hosts=a&paths="
    )]
    #[case::apostrophe("/v3/apps", Some("a='b'"), "https://api.cf.example.test/v3/apps?a='b'")]
    #[case::empty_query("/v3/apps", Some(""), "https://api.cf.example.test/v3/apps?")]
    #[case::double(
        "/v3/spaces",
        Some("names=a%252Cb"),
        "https://api.cf.example.test/v3/spaces?names=a%252Cb"
    )]
    fn a_target_is_origin_plus_path_plus_query(
        #[case] path: &str,
        #[case] query: Option<&str>,
        #[case] expected: &str,
    ) {
        assert_eq!(base().target(path, query).unwrap().to_string(), expected);
    }

    #[rstest]
    #[case::parent("/v3/../v2/info")]
    #[case::encoded_parent("/v3/%2e%2e/x")]
    #[case::relative("v3/routes")]
    #[case::userinfo("@evil.test/v3")]
    #[case::port(":8443/v3")]
    #[case::fragment("/v3#x")]
    #[case::newline("/v3/a\nb")]
    #[case::query_in_path("/v3?x=1")]
    #[case::no_slash("v3")]
    #[case::other_host(".evil.test/v3")]
    #[case::backslash("/v3\\x")]
    fn a_path_that_parsing_would_change_is_no_target(#[case] path: &str) {
        assert!(base().target(path, None).is_none());
    }

    proptest! {
        #[test]
        fn an_accepted_path_stays_on_the_origin_and_is_sent_as_it_is(path in "[/@:.%?#a-zA-Z0-9\\\\ -]{0,24}") {
            if let Some(target) = base().target(&path, None) {
                let url = Url::parse(&target.to_string()).unwrap();
                prop_assert_eq!(url.path(), path.as_str());
                prop_assert_eq!(url.host_str(), Some("api.cf.example.test"));
                prop_assert_eq!(url.port(), None);
            }
        }
    }
}
