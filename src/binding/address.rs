//! Base addresses in bindings. Secrets are sent there, so only https is accepted, or http to this
//! machine. Used inside this module only.

use crate::upstream::is_loopback;
use url::Url;

/// Reads the address of a service: https (http for a loopback host), no userinfo, no query, no
/// fragment. A trailing slash is removed from the path.
pub(super) fn base_url(text: &str) -> Option<Url> {
    if text.bytes().any(|byte| byte.is_ascii_control() || byte == b' ' || byte == b'\\') {
        return None;
    }
    let mut url = Url::parse(text).ok()?;
    let secure = url.scheme() == "https" || (url.scheme() == "http" && is_loopback(&url));
    let bare = url.username().is_empty()
        && url.password().is_none()
        && url.query().is_none()
        && url.fragment().is_none();
    if !secure || !bare {
        return None;
    }
    let path = url.path().trim_end_matches('/').to_owned();
    url.set_path(&path);
    Some(url)
}

#[cfg(test)]
mod tests {
    use super::base_url;
    use rstest::rstest;

    #[rstest]
    #[case("https://destination.example", true)]
    #[case("https://destination.example/", true)]
    #[case("http://127.0.0.1:8081", true)]
    #[case("http://localhost:8081", true)]
    #[case("http://[::1]:8081", true)]
    #[case("http://destination.example", false)]
    #[case("http://127.0.0.1.evil.example", false)]
    #[case("https://user@destination.example", false)]
    #[case("https://destination.example?a=b", false)]
    #[case("https://destination.example#a", false)]
    #[case("https://desti\tnation.example", false)]
    #[case("https://destination.example\\@evil.example", false)]
    #[case("ftp://destination.example", false)]
    #[case("destination.example", false)]
    #[case("", false)]
    fn only_bare_secure_addresses_pass(#[case] text: &str, #[case] passes: bool) {
        assert_eq!(base_url(text).is_some(), passes);
    }
}
