//! Sends a request target through validation, policy, permit and call, without sockets.
//!
//! It checks the property that what passes is what is sent, byte for byte. Built only for tests and
//! fuzz targets; a release does not contain it.

use axum::{body::Body, extract::Request};
use http::{HeaderValue, Method, Uri, header::HOST, uri::Authority};
use url::Url;

use super::{
    handlers::proxy::request_line,
    hosts::{LoopbackHosts, ServedHosts},
    request_record::RequestRecord,
    request_validation::{CutTarget, RequestValidator},
};
use crate::{
    auth::{Caller, Scope},
    capi::Call,
    policy::{Policy, RuleOutcome},
    proxy,
};

const OWN: &str = "broker.example.test";
/// Not the default port, so that a target that changes the port is noticed.
const API: &str = "https://api.cf.example.test:8443";

/// How far a target got.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TargetOutcome {
    /// The parser or the validation refused it, or it is not for the CF API.
    Refused,
    /// The validation accepted it, the policy denied it.
    Denied,
    /// It was sent.
    Sent,
}

/// The production steps up to the call, which is not sent.
#[derive(Debug)]
pub struct TestHarness {
    validator: RequestValidator,
    policy: Policy,
    caller: Caller,
    api: Url,
}

impl TestHarness {
    /// Creates a harness with the shipped policy and a caller with every scope. `None` if a
    /// constant here is invalid.
    pub fn new() -> Option<Self> {
        Some(Self {
            validator: RequestValidator {
                hosts: ServedHosts::new([OWN], LoopbackHosts::Refused),
                body: 1000,
            },
            policy: Policy::shipped().ok()?,
            caller: Caller::for_tests("sb-caller!t7", &Scope::ALL),
            api: Url::parse(API).ok()?,
        })
    }

    /// Runs a target and compares the outgoing call with it: same host and port, and byte for byte
    /// the same path and query. Checked for every target that the validation accepts, not only for
    /// those that the policy grants.
    ///
    /// # Panics
    /// If they differ.
    pub fn check(&self, target: &[u8]) -> TargetOutcome {
        let Some(request) = arriving(target) else { return TargetOutcome::Refused };
        if self.validator.validate(&request, 0).is_err() {
            return TargetOutcome::Refused;
        }
        let Ok(line) = request_line(&request) else { return TargetOutcome::Refused };
        let call = Call::new("any", Method::GET, line.path.as_str());
        self.assert_leaves(&call.with_exact_query(line.query.as_str()), target);
        match self.policy.admit(&self.caller, line) {
            Ok(RuleOutcome::Granted(permit)) => {
                self.assert_leaves(&proxy::call_of(&permit), &without_include(target));
                TargetOutcome::Sent
            }
            Ok(RuleOutcome::Write(_)) | Err(_) => TargetOutcome::Denied,
        }
    }

    fn assert_leaves(&self, call: &Call, target: &[u8]) {
        let sent = call.target_at(&self.api);
        let parts = sent.as_ref().map(|uri| {
            let target = uri.path_and_query().map(|target| target.as_str().as_bytes());
            (uri.scheme_str(), uri.authority().map(Authority::as_str), target)
        });
        let expected = (Some("https"), Some("api.cf.example.test:8443"), Some(target));
        assert_eq!(parts, Some(expected), "{sent:?}");
        // A parser that follows the WHATWG URL rules sees the same host and path.
        let record = sent.and_then(|uri| Url::parse(&uri.to_string()).ok());
        let record = record.as_ref().map(|url| (url.host(), url.port(), url.path().as_bytes()));
        let path = target.split(|byte| *byte == b'?').next().unwrap_or_default();
        assert_eq!(record, Some((self.api.host(), self.api.port(), path)));
    }
}

/// The one row that sends less than it got leaves out the parameters that are named so.
fn without_include(target: &[u8]) -> Vec<u8> {
    let (path, query) =
        target.split_at(target.iter().position(|byte| *byte == b'?').unwrap_or(target.len()));
    let path_alone = path.strip_suffix(b"/").unwrap_or(path);
    let is_narrowed = |piece: &&[u8]| {
        let mut pairs = form_urlencoded::parse(piece);
        pairs.any(|(name, _)| name.to_ascii_lowercase().contains("include"))
    };
    let query = query.get(1..).unwrap_or_default();
    let pieces = || query.split(|byte| matches!(byte, b'&' | b';'));
    if path_alone != b"/v3/service_route_bindings" || !pieces().any(|piece| is_narrowed(&piece)) {
        return target.to_vec();
    }
    let kept: Vec<_> = pieces().filter(|piece| !is_narrowed(piece)).collect();
    let kept = kept.join(&b'&');
    if kept.is_empty() { path.to_vec() } else { [path, b"?", &kept].concat() }
}

/// The request as the parser returns it; `None` if the parser refuses the target.
fn arriving(target: &[u8]) -> Option<Request> {
    let uri = Uri::try_from(target).ok()?;
    let mut request = Request::new(Body::empty());
    *request.uri_mut() = uri;
    request.headers_mut().insert(HOST, HeaderValue::from_static(OWN));
    let record = RequestRecord::from_headers(request.headers());
    request.extensions_mut().insert(record);
    // The parser cuts the fragment off, and the listener notices.
    if target.contains(&b'#') {
        request.extensions_mut().insert(CutTarget);
    }
    Some(request)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::{Just, ProptestConfig, Strategy, any, prop, prop_oneof, proptest};

    use super::{TargetOutcome, TestHarness};

    thread_local! { static HARNESS: TestHarness = TestHarness::new().unwrap(); }

    /// Paths that the policy grants, with queries of many bytes; most of these are sent.
    fn granted() -> impl Strategy<Value = String> {
        let path = prop_oneof![
            Just("/v3".to_owned()),
            "/v3/(apps|domains|organizations|routes|spaces|processes|service_route_bindings)",
            "/v3/apps/[a-zA-Z0-9-]{1,64}/routes",
            "/v3/(jobs|routes|organizations|spaces)/[a-zA-Z0-9-]{1,64}",
            "/v3/routes/[a-zA-Z0-9-]{1,12}/destinations",
        ];
        let query = prop_oneof![
            Just(String::new()),
            "[?][a-z_]{1,8}=[-_.~!$'()*+,;:@/?&=a-zA-Z0-9]{0,24}",
            "[?]([&;=]|include|route_guids|[%]69nclude|[a-z]){0,8}",
            "[?]([a-z=&,/'@:]|%[0-9a-fA-F]{2}){0,16}",
            "[?][ -~é]{0,16}",
        ];
        (path, query).prop_map(|(path, query)| path + &query)
    }

    /// A granted target with up to two bytes added, removed or changed.
    fn bent() -> impl Strategy<Value = String> {
        let odd = "[-/@:.%?#\\\\;~,!*+=&'\"<>|^`{} a-z\u{0}-\u{1f}\u{7f}]{0,2}";
        let splice = (any::<prop::sample::Index>(), 0..3_usize);
        (granted(), splice, odd).prop_map(|(target, (at, cut), odd)| {
            let mut bytes = target.into_bytes();
            let at = at.index(bytes.len() + 1);
            let end = (at + cut).min(bytes.len());
            bytes.splice(at..end, odd.into_bytes());
            String::from_utf8_lossy(&bytes).into_owned()
        })
    }

    fn any_target() -> impl Strategy<Value = String> {
        let free = "(/v3)?[-/@:.%?#a-zA-Z0-9\\\\;~,!é*]{0,32}";
        prop_oneof![2 => granted(), 2 => bent(), 1 => free]
    }

    proptest! {
        #![proptest_config(ProptestConfig {
            cases: ProptestConfig::default().cases.max(2000),
            ..ProptestConfig::default()
        })]
        /// The outgoing target is the incoming one, byte for byte.
        #[test]
        fn what_passes_is_what_is_sent(target in any_target()) {
            HARNESS.with(|harness| harness.check(target.as_bytes()));
        }
    }

    #[test]
    fn targets_are_sent_denied_or_refused() {
        let outcomes = [
            ("/v3/spaces?page=2&names=a%252Cb", TargetOutcome::Sent),
            ("/v3/apps?q='b'/../", TargetOutcome::Sent),
            ("/v3/users", TargetOutcome::Denied),
            ("/v3/a~b,c!d:e", TargetOutcome::Denied),
            ("/v3/../v2/info", TargetOutcome::Refused),
            ("/v3/spaces#x", TargetOutcome::Refused),
            ("/v3/spaces?access_token=x", TargetOutcome::Refused),
            ("/routes", TargetOutcome::Refused),
        ];
        for (target, outcome) in outcomes {
            assert_eq!(
                HARNESS.with(|harness| harness.check(target.as_bytes())),
                outcome,
                "{target}"
            );
        }
    }
}
