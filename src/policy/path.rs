//! The canonical form of a request target; ambiguous targets cannot be expressed.
//!
//! Invariant: an [`UpstreamPath`] or [`UpstreamQuery`] is byte for byte what the caller sent, and
//! URL parsing does not change it. Nothing is decoded, merged or normalised. Made by the gate in
//! `http`, contained in a permit. The rules are in `docs/reference/proxy-rules.md`.

use percent_encoding::percent_decode_str;
use std::{fmt, sync::Arc};

/// Longest path in bytes; longer than any path of the CF API.
pub const MAX_PATH: usize = 2048;
/// Longest query in bytes; CC itself answers 400 without a body from about 10 KiB.
pub const MAX_QUERY: usize = 4096;

/// The root path of the CF API.
const ROOT: &str = "/v3";

/// Parameters that carry credentials elsewhere. A query ends in logs, so none of these is accepted
/// or passed on.
const CREDENTIALS: &[&str] = &[
    "access_token",
    "authorization",
    "bearer",
    "client_secret",
    "id_token",
    "password",
    "refresh_token",
];

/// Why a target is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TargetFault {
    /// A byte, an escape or a segment with more than one interpretation.
    #[error("malformed target")]
    Malformed,
    /// More than [`MAX_PATH`] or [`MAX_QUERY`] bytes.
    #[error("target too long")]
    TooLong,
}

/// Checks the path of any request, the broker's or the CF API's.
///
/// # Errors
/// `TooLong`; `Malformed` for a path that does not begin with `/`, for `%`, `;`, `\`, `#`, blanks,
/// control and non-ASCII bytes, for empty segments and for the segments `.` and `..`.
pub fn check_path(path: &str) -> Result<(), TargetFault> {
    if path.len() > MAX_PATH {
        return Err(TargetFault::TooLong);
    }
    let plain = |byte: u8| byte.is_ascii_graphic() && !matches!(byte, b'%' | b';' | b'\\' | b'#');
    if path.bytes().all(plain) && has_plain_segments(path.as_bytes()) {
        Ok(())
    } else {
        Err(TargetFault::Malformed)
    }
}

/// Returns whether a path begins with a slash and has no segment that is empty, `.` or `..`.
fn has_plain_segments(path: &[u8]) -> bool {
    let inside = match path {
        [b'/'] => return true,
        // A single slash at the end is not an empty segment.
        [b'/', inside @ .., b'/'] | [b'/', inside @ ..] => inside,
        [..] => return false,
    };
    !inside.split(|byte| *byte == b'/').any(|segment| matches!(segment, b"" | b"." | b".."))
}

/// Returns whether a path belongs to the CF API: `/v3` or anything below it, in this case.
pub fn is_upstream(path: &str) -> bool {
    path.strip_prefix(ROOT).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

/// A path of the CF API, `/v3` or below; a clone is shallow.
#[derive(Clone, PartialEq, Eq)]
pub struct UpstreamPath(Arc<str>);

impl UpstreamPath {
    /// Accepts a path as received.
    ///
    /// # Errors
    /// As [`check_path`]; also `Malformed` for a path outside `/v3`, or with a byte other than
    /// letters, digits, `- _ . ~ , ! :` and `/`.
    pub fn parse(path: &str) -> Result<Self, TargetFault> {
        if path.len() > MAX_PATH {
            return Err(TargetFault::TooLong);
        }
        // Allows fewer bytes than `check_path`, so that one pass is enough.
        let is_allowed = |byte: u8| {
            byte.is_ascii_alphanumeric()
                || matches!(byte, b'-' | b'_' | b'.' | b'~' | b',' | b'!' | b':' | b'/')
        };
        let plain = path.bytes().all(is_allowed) && has_plain_segments(path.as_bytes());
        if plain && is_upstream(path) { Ok(Self(path.into())) } else { Err(TargetFault::Malformed) }
    }

    /// Returns the path to send.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Returns what follows `/v3`: each segment with its leading slash, without a slash at the end.
    pub(super) fn below(&self) -> &str {
        let below = self.0.get(ROOT.len()..).unwrap_or_default();
        below.strip_suffix('/').unwrap_or(below)
    }
}

impl fmt::Debug for UpstreamPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A query for the CF API, or none; a clone is shallow.
#[derive(Clone, PartialEq, Eq)]
pub struct UpstreamQuery(Option<Arc<str>>);

impl UpstreamQuery {
    /// Accepts a query as received, without the question mark.
    ///
    /// # Errors
    /// `TooLong`; `Malformed` for anything but printable ASCII, for a blank, `#`, `<`, `>`, `"`,
    /// `\`, `^`, a backtick, `{`, `}`, `|`, and for escapes that are broken, `%00`, or not UTF-8
    /// (CC answers 500 to those).
    pub fn parse(query: Option<&str>) -> Result<Self, TargetFault> {
        let Some(query) = query else {
            return Ok(Self(None));
        };
        if query.len() > MAX_QUERY {
            return Err(TargetFault::TooLong);
        }
        let is_forbidden = |byte: u8| {
            !byte.is_ascii_graphic()
                || matches!(
                    byte,
                    b'#' | b'<' | b'>' | b'"' | b'\\' | b'^' | b'`' | b'{' | b'}' | b'|'
                )
        };
        if query.bytes().any(is_forbidden) || !escapes_are_text(query) {
            return Err(TargetFault::Malformed);
        }
        Ok(Self(Some(query.into())))
    }

    /// Returns the query to send.
    pub fn as_str(&self) -> Option<&str> {
        self.0.as_deref()
    }

    /// Returns the query without the parameters whose name holds one of these words, with any
    /// escapes or brackets; unchanged if there is none. A semicolon separates parameters too.
    pub(super) fn without(&self, words: &[String]) -> Self {
        let Some(query) = self.as_str().filter(|_| !words.is_empty()) else {
            return self.clone();
        };
        let is_left_out = |piece: &&str| {
            let mut pairs = form_urlencoded::parse(piece.as_bytes());
            pairs.any(|(name, _)| {
                let name = name.to_ascii_lowercase();
                words.iter().any(|word| name.contains(word.as_str()))
            })
        };
        let pieces = || query.split(['&', ';']);
        if !pieces().any(|piece| is_left_out(&piece)) {
            return self.clone();
        }
        let kept = pieces().filter(|piece| !is_left_out(piece)).collect::<Vec<_>>().join("&");
        Self((!kept.is_empty()).then(|| kept.into()))
    }

    /// Returns whether a parameter is named like a credential, in any case and with any escapes. A
    /// semicolon separates parameters too, because some parsers do so.
    pub fn names_credential(&self) -> bool {
        let Some(query) = self.as_str() else {
            return false;
        };
        let pieces = query.split(';');
        let pairs = pieces.flat_map(|piece| form_urlencoded::parse(piece.as_bytes()));
        let mut names = pairs.map(|(name, _)| name);
        names.any(|name| CREDENTIALS.iter().any(|word| name.eq_ignore_ascii_case(word)))
    }
}

impl fmt::Debug for UpstreamQuery {
    /// Queries must not appear in logs.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "UpstreamQuery({} bytes)", self.as_str().map_or(0, str::len))
    }
}

fn escapes_are_text(query: &str) -> bool {
    if !query.contains('%') {
        return true;
    }
    let mut pieces = query.split('%');
    pieces.next();
    let whole = pieces.all(|piece| {
        let digits = piece.as_bytes().get(..2);
        digits.is_some_and(|two| two != b"00" && two.iter().all(u8::is_ascii_hexdigit))
    });
    whole && percent_decode_str(query).decode_utf8().is_ok()
}

#[cfg(test)]
mod tests {
    use super::{MAX_PATH, MAX_QUERY, TargetFault, UpstreamPath, UpstreamQuery, check_path};
    use proptest::prelude::{prop_assert, prop_assert_eq, proptest};
    use rstest::rstest;
    use url::Url;

    #[rstest]
    #[case("/")]
    #[case("/v3")]
    #[case("/v3/")]
    #[case("/v3/apps/")]
    #[case("/v3@evil.example/")]
    #[case("/routes/a.b_c-d")]
    fn a_plain_path_is_accepted(#[case] path: &str) {
        assert_eq!(check_path(path), Ok(()));
    }

    #[rstest]
    #[case::empty("")]
    #[case::relative("v3/apps")]
    #[case::parent("/v3/../v2/info")]
    #[case::dot("/v3/./apps")]
    #[case::parent_at_the_end("/v3/..")]
    #[case::mixed_escape("/v3/.%2E/v2/info")]
    #[case::parameter("/v3/..;/oauth/token")]
    #[case::twice_escaped("/v3/%252e%252e/v2")]
    #[case::authority("//evil.example/v3/apps")]
    #[case::empty_segment("/v3//apps")]
    #[case::two_at_the_end("/v3/apps//")]
    #[case::only_slashes("//")]
    #[case::escaped_slash("/v3/apps%2f..%2f..")]
    #[case::backslash("/v3\\..\\v2")]
    #[case::nul("/v3/apps%00.json")]
    #[case::overlong("/v3/%c0%ae%c0%ae/x")]
    #[case::fragment("/v3/apps#x")]
    #[case::blank("/v3/a b")]
    #[case::control("/v3/a\u{7f}")]
    #[case::umlaut("/v3/\u{e9}")]
    fn a_malformed_path_is_refused(#[case] path: &str) {
        assert_eq!(check_path(path), Err(TargetFault::Malformed));
        assert_eq!(UpstreamPath::parse(path), Err(TargetFault::Malformed));
    }

    #[rstest]
    #[case("/V3/apps")]
    #[case("/v2/info")]
    #[case("/v3x")]
    #[case("/v3@evil.example/")]
    #[case("/v3/a@b")]
    #[case("/v3/a=b")]
    #[case("/v3/a+b")]
    #[case("/v3/a*")]
    fn a_path_outside_v3_or_with_other_bytes_is_refused(#[case] path: &str) {
        assert_eq!(UpstreamPath::parse(path), Err(TargetFault::Malformed));
    }

    #[test]
    fn lengths_are_exact() {
        let path = |length: usize| format!("/v3/{}", "a".repeat(length - 4));
        assert!(UpstreamPath::parse(&path(MAX_PATH)).is_ok());
        assert_eq!(UpstreamPath::parse(&path(MAX_PATH + 1)), Err(TargetFault::TooLong));
        assert!(UpstreamQuery::parse(Some(&"a".repeat(MAX_QUERY))).is_ok());
        let long = "a".repeat(MAX_QUERY + 1);
        assert_eq!(UpstreamQuery::parse(Some(&long)), Err(TargetFault::TooLong));
    }

    #[rstest]
    #[case("/v3", "")]
    #[case("/v3/", "")]
    #[case("/v3/apps", "/apps")]
    #[case("/v3/apps/", "/apps")]
    #[case("/v3/apps/a-1/routes", "/apps/a-1/routes")]
    fn segments_are_those_below_the_root(#[case] path: &str, #[case] expected: &str) {
        assert_eq!(UpstreamPath::parse(path).unwrap().below(), expected);
    }

    #[rstest]
    #[case("x=/../")]
    #[case("x=%0d%0aSet-Cookie:a")]
    #[case("names=a%252Cb&page=2")]
    #[case("label_selector=a%3Db,!c")]
    #[case("q=%C3%A9")]
    #[case("")]
    fn a_valid_query_is_unchanged(#[case] query: &str) {
        assert_eq!(UpstreamQuery::parse(Some(query)).unwrap().as_str(), Some(query));
    }

    #[rstest]
    #[case("names={x}")]
    #[case("a|b")]
    #[case("a#b")]
    #[case("a b")]
    #[case("a<b")]
    #[case("a\\b")]
    #[case("a`b")]
    #[case("a^b")]
    #[case("a\"b")]
    #[case::broken("a=%4")]
    #[case::no_hex("a=%zz")]
    #[case::nul("a=%00")]
    #[case::no_text("a=%ff")]
    #[case::half_a_character("a=%C3x")]
    fn a_malformed_query_is_refused(#[case] query: &str) {
        assert_eq!(UpstreamQuery::parse(Some(query)), Err(TargetFault::Malformed));
    }

    #[rstest]
    #[case("access_token=t", true)]
    #[case("a=b&Authorization=x", true)]
    #[case("%61ccess_token=t", true)]
    #[case("password", true)]
    #[case("a=b;access_token=t", true)]
    #[case("a=b&c;Authorization=t", true)]
    #[case("names=access_token", false)]
    #[case("names=a;tokens=1", false)]
    #[case("tokens=1", false)]
    fn a_parameter_named_like_a_credential_is_recognised(
        #[case] query: &str,
        #[case] expected: bool,
    ) {
        assert_eq!(UpstreamQuery::parse(Some(query)).unwrap().names_credential(), expected);
    }

    #[rstest]
    #[case("include=service_instance", None)]
    #[case("page=2&include=route", Some("page=2"))]
    #[case("include=route&route_guids=a,b&include[]=x", Some("route_guids=a,b"))]
    #[case("%69nclude=route&per_page=1", Some("per_page=1"))]
    #[case("[include]=route&page=1", Some("page=1"))]
    #[case("page=1;include=route", Some("page=1"))]
    #[case("Include", None)]
    #[case("names=include;a&page=1", Some("names=include;a&page=1"))]
    #[case("", Some(""))]
    fn a_parameter_is_left_out_by_its_name_and_the_rest_stays(
        #[case] query: &str,
        #[case] expected: Option<&str>,
    ) {
        let parsed = UpstreamQuery::parse(Some(query)).unwrap();
        let left = parsed.without(&["include".to_owned()]);
        assert_eq!(left.as_str(), expected);
        assert_eq!(parsed.without(&[]), parsed);
    }

    proptest! {
        #[test]
        fn url_parsing_does_not_change_an_accepted_path(path in "/v3[-/@:.%?#a-zA-Z0-9\\\\ ;~,!é]{0,24}") {
            if let Ok(accepted) = UpstreamPath::parse(&path) {
                prop_assert_eq!(check_path(&path), Ok(()));
                prop_assert_eq!(accepted.as_str(), path.as_str());
                let url = Url::parse(&format!("https://api.cf.example.test{path}")).unwrap();
                prop_assert_eq!(url.path(), path.as_str());
                prop_assert_eq!(url.host_str(), Some("api.cf.example.test"));
                prop_assert!(url.port().is_none() && url.query().is_none() && url.fragment().is_none());
            }
        }

        #[test]
        fn url_parsing_does_not_change_an_accepted_query(query in "[ -~é]{0,24}") {
            if let Ok(accepted) = UpstreamQuery::parse(Some(&query)) {
                let url = Url::parse(&format!("https://api.cf.example.test/v3?{query}")).unwrap();
                // Only the URL crate escapes an apostrophe; the broker sends the text itself.
                let seen = url.query().map(|query| query.replace("%27", "'"));
                prop_assert_eq!(seen, Some(query.replace("%27", "'")));
                prop_assert_eq!(accepted.as_str(), Some(query.as_str()));
                prop_assert_eq!(url.path(), "/v3");
            }
        }
    }
}
