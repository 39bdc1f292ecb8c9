//! Correlation: which lines, problems and upstream calls belong to one inbound request.
//!
//! Invariant: an id that leaves this file holds nothing but `[A-Za-z0-9_-]`, at most 255 characters, so that it is
//! safe in a header, a log line and a route annotation alike.

use std::{fmt, sync::Arc};

use http::HeaderMap;
use uuid::{Uuid, Version};

/// Longest correlation id; the Cloud Controller cuts its own request id at the same length.
const LONGEST: usize = 255;

/// Identifies one inbound request in logs, problems, annotations and upstream calls.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CorrelationId(Arc<str>);

impl CorrelationId {
    /// Makes a new random one (UUID v4).
    pub fn random() -> Self {
        Self(Uuid::new_v4().to_string().into())
    }

    /// Reads the id that a caller sent, else the router's request id, else makes a new one.
    ///
    /// The order is that of SAP's logging libraries: `x-correlationid`, `x-correlation-id`, then
    /// `x-vcap-request-id` if it is a UUID v4. A hostile or over-long id is replaced, not mended.
    pub fn of(headers: &HeaderMap) -> Self {
        ["x-correlationid", "x-correlation-id"]
            .into_iter()
            .filter_map(|name| headers.get(name)?.to_str().ok())
            .find(|text| is_lawful(text))
            .map(|text| Self(text.into()))
            .or_else(|| request_id(headers).map(|id| Self(id.to_string().into())))
            .unwrap_or_else(Self::random)
    }

    /// Returns the id as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for CorrelationId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Returns the router's id of this request, set by the platform for each one (a UUID v4).
pub fn request_id(headers: &HeaderMap) -> Option<Uuid> {
    let text = headers.get("x-vcap-request-id")?.to_str().ok()?;
    let id = Uuid::try_parse(text).ok()?;
    (id.get_version() == Some(Version::Random)).then_some(id)
}

fn is_lawful(text: &str) -> bool {
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
    fn a_hostile_id_is_replaced() {
        for hostile in ["a b", "a\"b", "", "x".repeat(256).as_str(), "ä"] {
            let map = HeaderValue::from_bytes(hostile.as_bytes()).unwrap();
            let mut headers = HeaderMap::new();
            headers.insert("x-correlationid", map);
            assert_ne!(CorrelationId::of(&headers).as_str(), hostile);
        }
    }

    #[test]
    fn the_routers_id_serves_only_as_a_uuid_of_version_four() {
        let four = "7c1b6f5e-0f0d-4f3a-9a53-0d3d2c8a9d11";
        assert_eq!(CorrelationId::of(&headers(&[("x-vcap-request-id", four)])).as_str(), four);
        let one = "7c1b6f5e-0f0d-1f3a-9a53-0d3d2c8a9d11";
        assert_ne!(CorrelationId::of(&headers(&[("x-vcap-request-id", one)])).as_str(), one);
    }
}
