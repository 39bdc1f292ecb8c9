//! Accepted means: the same host, the same port and byte for byte the same path and query upstream (`proxy.md` P2, P3).

#![no_main]

use cfapi_broker::policy::path::{UpstreamPath, UpstreamQuery, judge_path};
use libfuzzer_sys::fuzz_target;
use url::Url;

const BASE: &str = "https://api.cf.example.test:8443";

fuzz_target!(|bytes: &[u8]| {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    check(text);
    // Most inputs would fail by their first bytes.
    check(&format!("/v3/{text}"));
});

fn check(target: &str) {
    let (path, query) = match target.split_once('?') {
        Some((path, query)) => (path, Some(query)),
        None => (target, None),
    };
    let Ok(accepted) = UpstreamPath::parse(path) else { return };
    assert!(judge_path(path).is_ok());
    assert_eq!(accepted.as_str(), path);
    let mut sent = format!("{BASE}{}", accepted.as_str());
    let Ok(accepted) = UpstreamQuery::parse(query) else { return };
    assert_eq!(accepted.as_str(), query);
    if let Some(query) = accepted.as_str() {
        sent.push('?');
        sent.push_str(query);
    }
    let url = Url::parse(&sent).expect("an accepted target is no URL");
    assert_eq!((url.scheme(), url.host_str(), url.port()), ("https", Some("api.cf.example.test"), Some(8443)));
    assert_eq!(url.path(), path);
    // The crate alone escapes an apostrophe; what is sent is the text itself.
    let plain = |query: &str| query.replace("%27", "'");
    assert_eq!(url.query().map(plain), query.map(plain));
    assert!(url.username().is_empty() && url.password().is_none() && url.fragment().is_none());
}
