//! The two addresses of a destination: `URL` and `tokenServiceURL`.
//!
//! Invariant: what parses here is https (or http to this machine), without userinfo and fragment,
//! and the URL parser has not changed it silently. Used by `validate`.

use crate::upstream::is_loopback;
use url::Url;

/// Path of a token URL that has none (SAP's Java SDK does the same for bindings).
const TOKEN_PATH: &str = "/oauth/token";

/// `tokenServiceURL`: where the password is sent, and the query that stood in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct TokenServiceUrl {
    /// Without query.
    pub(super) url: Url,
    /// Pairs of the query as they are written, still encoded.
    pub(super) query: Vec<(String, String)>,
}

/// Why an address cannot be used; each text follows the property's name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum AddressError {
    #[error("is not a URL")]
    NotUrl,
    #[error("contains a blank, control character or backslash")]
    Character,
    #[error("contains a placeholder for the tenant, which only tokenServiceURLType Common fills")]
    Tenant,
    #[error("is not https")]
    Scheme,
    #[error("contains a user name or password")]
    Userinfo,
    #[error("contains a fragment")]
    Fragment,
    #[error("has a path or query; only scheme, host and port belong there")]
    NotBare,
}

impl TokenServiceUrl {
    /// Reads the property.
    pub(super) fn parse(text: &str) -> Result<Self, AddressError> {
        let mut url = parse(text)?;
        let query = url.query().map(split_query).unwrap_or_default();
        url.set_query(None);
        if matches!(url.path(), "" | "/") {
            url.set_path(TOKEN_PATH);
        }
        Ok(Self { url, query })
    }
}

/// Reads `URL`, the CF API's base.
pub(super) fn api(text: &str) -> Result<Url, AddressError> {
    let url = parse(text)?;
    if !matches!(url.path(), "" | "/") || url.query().is_some() {
        return Err(AddressError::NotBare);
    }
    Ok(url)
}

fn parse(text: &str) -> Result<Url, AddressError> {
    // The URL parser drops tabs and line breaks and turns a backslash into a slash: the result
    // would differ from the text.
    if text.bytes().any(|byte| byte.is_ascii_control() || byte == b' ' || byte == b'\\') {
        return Err(AddressError::Character);
    }
    if text.contains("{tenant}") {
        return Err(AddressError::Tenant);
    }
    let url = Url::parse(text).map_err(|_| AddressError::NotUrl)?;
    if url.scheme() != "https" && !(url.scheme() == "http" && is_loopback(&url)) {
        return Err(AddressError::Scheme);
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err(AddressError::Userinfo);
    }
    if url.fragment().is_some() {
        return Err(AddressError::Fragment);
    }
    Ok(url)
}

fn split_query(query: &str) -> Vec<(String, String)> {
    query
        .split('&')
        .filter(|pair| !pair.is_empty())
        .map(|pair| pair.split_once('=').unwrap_or((pair, "")))
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::{AddressError, TokenServiceUrl, api};
    use rstest::rstest;

    #[rstest]
    #[case("https://login.cf.example.com", "https://login.cf.example.com/oauth/token")]
    #[case("https://login.cf.example.com/", "https://login.cf.example.com/oauth/token")]
    #[case("https://login.cf.example.com/?a=b", "https://login.cf.example.com/oauth/token")]
    #[case("https://login.cf.example.com/uaa/token", "https://login.cf.example.com/uaa/token")]
    fn a_token_url_without_path_gets_the_default_path(#[case] text: &str, #[case] expected: &str) {
        assert_eq!(TokenServiceUrl::parse(text).unwrap().url.as_str(), expected);
    }

    #[test]
    fn the_query_is_removed_from_the_url_and_kept_encoded() {
        let text = "https://h.example/t?login_hint=%7B%22origin%22:%22k%22%7D&&flag&a=b=c";
        let token = TokenServiceUrl::parse(text).unwrap();
        assert_eq!(token.url.as_str(), "https://h.example/t");
        let expected = [("login_hint", "%7B%22origin%22:%22k%22%7D"), ("flag", ""), ("a", "b=c")];
        let pairs: Vec<_> = token.query.iter().map(|(a, b)| (a.as_str(), b.as_str())).collect();
        assert_eq!(pairs, expected);
    }

    #[rstest]
    #[case("login.cf.example.com", AddressError::NotUrl)]
    #[case("https://", AddressError::NotUrl)]
    #[case("https://login.cf.example.com/a\tb", AddressError::Character)]
    #[case("https://login.cf.example.com\\@evil.example", AddressError::Character)]
    #[case("https://{tenant}.example.com/oauth/token", AddressError::Tenant)]
    #[case("http://login.cf.example.com/oauth/token", AddressError::Scheme)]
    #[case("http://127.0.0.1.evil.example", AddressError::Scheme)]
    #[case("https://u:p@login.cf.example.com", AddressError::Userinfo)]
    #[case("https://login.cf.example.com/#x", AddressError::Fragment)]
    fn an_unusable_address_is_refused(#[case] text: &str, #[case] expected: AddressError) {
        assert_eq!(TokenServiceUrl::parse(text), Err(expected));
        assert_eq!(api(text), Err(expected));
    }

    #[rstest]
    #[case("https://api.cf.example.com/v3")]
    #[case("https://api.cf.example.com/?a")]
    fn the_api_address_has_no_path_and_no_query(#[case] text: &str) {
        assert_eq!(api(text), Err(AddressError::NotBare));
    }
}
