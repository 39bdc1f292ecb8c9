//! Correlation ids: they connect lines, problems and upstream calls of one inbound request.
//!
//! Invariant: an id consists of at most 255 characters of `[A-Za-z0-9_-]`, so that it is safe in a
//! header, a log line and a route annotation; a trace context has the form of version 00.

use std::fmt;

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue};
use uuid::{Builder, Uuid, Version};

/// Longest correlation id; the Cloud Controller cuts its own request id at the same length.
const LONGEST: usize = 255;

/// Length of a `traceparent` of version 00 (W3C Trace Context, 3.2.2).
const TRACEPARENT: usize = 55;

/// The two headers for a caller's own id; names are parsed once, not for each request.
static OWN: [HeaderName; 2] =
    [HeaderName::from_static("x-correlation-id"), HeaderName::from_static("x-correlationid")];
/// Set by Cloud Foundry's router.
static REQUEST_ID: HeaderName = HeaderName::from_static("x-vcap-request-id");
static TRACE: HeaderName = HeaderName::from_static("traceparent");

/// Length of a UUID as text: what most ids are.
const UUID: usize = 36;

/// Identifies one inbound request in logs, problems, annotations and upstream calls.
///
/// It is stored as the header value that it becomes several times; a clone is shallow.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CorrelationId {
    id: HeaderValue,
    /// The caller's trace context; if absent, each call gets a new one.
    trace: Option<HeaderValue>,
}

impl CorrelationId {
    /// Makes a random id (UUID v4). It is not a secret, so no cryptographic randomness is needed.
    pub fn random() -> Self {
        Self::from_uuid(Builder::from_random_bytes(fastrand::u128(..).to_ne_bytes()).into_uuid())
    }

    fn from_uuid(id: Uuid) -> Self {
        let mut text = [0; UUID];
        id.hyphenated().encode_lower(&mut text);
        Self::from_bytes(Bytes::from_owner(text))
    }

    fn from_text(id: &str) -> Self {
        let uuid = <[u8; UUID]>::try_from(id.as_bytes()).map(Bytes::from_owner);
        // A copy: the received header would keep the whole request head in memory.
        Self::from_bytes(uuid.unwrap_or_else(|_| Bytes::copy_from_slice(id.as_bytes())))
    }

    /// Takes the bytes of a valid id.
    fn from_bytes(id: Bytes) -> Self {
        let id = HeaderValue::from_maybe_shared(id);
        Self { id: id.unwrap_or(HeaderValue::from_static("unknown")), trace: None }
    }

    /// Reads the id that a caller sent, else the router's request id, else makes a new one.
    ///
    /// The order is that of CAP and of SAP's logging library for Python: `x-correlation-id`,
    /// `x-correlationid`, then `x-vcap-request-id` if it is a UUID v4. An invalid or too long id
    /// gives way to the next one, and is not corrected.
    pub fn of(headers: &HeaderMap) -> Self {
        let own = OWN
            .iter()
            .filter_map(|name| headers.get(name)?.to_str().ok())
            .find(|text| is_valid_id(text))
            .map(Self::from_text)
            .or_else(|| request_id(headers).map(Self::from_uuid))
            .unwrap_or_else(Self::random);
        let mut traces = headers.get_all(&TRACE).iter();
        let trace = traces.next().and_then(|value| value.to_str().ok());
        let only = trace.filter(|text| traces.next().is_none() && is_traceparent(text));
        Self { trace: only.and_then(|text| HeaderValue::from_str(text).ok()), ..own }
    }

    /// Returns the W3C trace context for an upstream call: the caller's if it is valid, else a new
    /// one that is not sampled.
    pub fn traceparent(&self) -> HeaderValue {
        self.trace.clone().unwrap_or_else(new_traceparent)
    }

    /// Returns the id as the value of a header.
    pub fn header(&self) -> HeaderValue {
        self.id.clone()
    }

    /// Returns the id as text.
    pub fn as_str(&self) -> &str {
        // It is ASCII.
        str::from_utf8(self.id.as_bytes()).unwrap_or_default()
    }
}

/// Makes a new trace context that is not sampled.
fn new_traceparent() -> HeaderValue {
    let (trace, span) = (fastrand::u128(1..), fastrand::u64(1..));
    let mut text = *b"00-................................-................-00";
    let (ids, _flags) = text.split_at_mut(TRACEPARENT - 3);
    let (trace_id, span_id) = ids.split_at_mut(3 + 32);
    hex(trace_id.get_mut(3..).unwrap_or_default(), trace.to_be_bytes());
    hex(span_id.get_mut(1..).unwrap_or_default(), span.to_be_bytes());
    HeaderValue::from_bytes(&text).unwrap_or(HeaderValue::from_static(""))
}

/// Writes two lower-case digits for each byte.
fn hex<const N: usize>(text: &mut [u8], bytes: [u8; N]) {
    let digit = |half: u8| half + if half < 10 { b'0' } else { b'a' - 10 };
    for (pair, byte) in text.as_chunks_mut().0.iter_mut().zip(bytes) {
        *pair = [digit(byte >> 4), digit(byte & 15)];
    }
}

impl fmt::Display for CorrelationId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Returns the router's id of this request, set by the platform for each one (a UUID v4).
pub fn request_id(headers: &HeaderMap) -> Option<Uuid> {
    let text = headers.get(&REQUEST_ID)?.to_str().ok()?;
    let id = Uuid::try_parse(text).ok()?;
    (id.get_version() == Some(Version::Random)).then_some(id)
}

/// Accepts version 00 only: two lower-case hex digits, then 32, 16 and 2, neither id all zero.
fn is_traceparent(text: &str) -> bool {
    let hex = |text: &str, length: usize| {
        let lower = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
        text.len() == length && text.bytes().all(lower)
    };
    let id = |text: &str, length| hex(text, length) && text.bytes().any(|byte| byte != b'0');
    let mut parts = text.split('-');
    let mut next = || parts.next().unwrap_or_default();
    let is_valid = next() == "00" && id(next(), 32) && id(next(), 16) && hex(next(), 2);
    is_valid && text.len() == TRACEPARENT
}

fn is_valid_id(text: &str) -> bool {
    !text.is_empty()
        && text.len() <= LONGEST
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-'))
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::{CorrelationId, HeaderMap};

    fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
        pairs
            .iter()
            .map(|(k, v)| ((*k).parse().unwrap(), HeaderValue::from_str(v).unwrap()))
            .collect()
    }

    #[test]
    fn the_callers_id_is_taken_over() {
        let id = CorrelationId::of(&headers(&[("x-correlationid", "abc_DEF-1")]));
        assert_eq!(id.as_str(), "abc_DEF-1");
    }

    #[test]
    fn of_several_ids_the_one_that_cap_reads_first_counts() {
        let routers = ("x-vcap-request-id", "7c1b6f5e-0f0d-4f3a-9a53-0d3d2c8a9d11");
        let of = |pairs: &[(&'static str, &str)]| CorrelationId::of(&headers(pairs));
        let (first, second) = (("x-correlation-id", "cap"), ("x-correlationid", "node"));
        assert_eq!(of(&[second, routers, first]).as_str(), "cap");
        assert_eq!(of(&[routers, second]).as_str(), "node");
        assert_eq!(of(&[("x-correlation-id", "not valid"), second]).as_str(), "node");
        assert_eq!(of(&[("x-correlation-id", "not valid"), routers]).as_str(), routers.1);
    }

    #[test]
    fn an_invalid_id_is_replaced() {
        for hostile in ["a b", "a\"b", "", "x".repeat(256).as_str(), "ä"] {
            let map = HeaderValue::from_bytes(hostile.as_bytes()).unwrap();
            let mut headers = HeaderMap::new();
            headers.insert("x-correlationid", map);
            assert_ne!(CorrelationId::of(&headers).as_str(), hostile);
        }
    }

    #[test]
    fn a_valid_trace_context_is_passed_on_and_any_other_is_replaced() {
        let valid = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
        assert_eq!(CorrelationId::of(&headers(&[("traceparent", valid)])).traceparent(), valid);
        for odd in [
            "",
            "01-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
            "00-00000000000000000000000000000000-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01",
            "00-4BF92F3577B34DA6A3CE929D0E0E4736-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-x",
        ] {
            let made = CorrelationId::of(&headers(&[("traceparent", odd)])).traceparent();
            assert_ne!(made, odd);
            assert!(super::is_traceparent(made.to_str().unwrap()), "{made:?}");
        }
    }

    #[test]
    fn an_id_is_the_same_as_text_and_as_header() {
        let long = "x".repeat(255);
        let sent = |id| CorrelationId::of(&headers(&[("x-correlationid", id)]));
        for id in [CorrelationId::random(), sent("abc_DEF-1"), sent(&long)] {
            assert_eq!(id.header(), id.as_str());
            assert!(super::is_valid_id(id.as_str()));
        }
        assert_eq!(sent(&long).as_str(), long);
    }

    #[test]
    fn two_trace_contexts_count_as_none() {
        let one = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
        let mut both = headers(&[("traceparent", one)]);
        both.append("traceparent", HeaderValue::from_static(one));
        assert_ne!(CorrelationId::of(&both).traceparent(), one);
    }

    #[test]
    fn the_routers_id_serves_only_as_a_uuid_of_version_four() {
        let four = "7c1b6f5e-0f0d-4f3a-9a53-0d3d2c8a9d11";
        assert_eq!(CorrelationId::of(&headers(&[("x-vcap-request-id", four)])).as_str(), four);
        let one = "7c1b6f5e-0f0d-1f3a-9a53-0d3d2c8a9d11";
        assert_ne!(CorrelationId::of(&headers(&[("x-vcap-request-id", one)])).as_str(), one);
    }
}
