//! One call to the CF API: what is sent, and to which URL.
//!
//! Invariant: headers are built here, never copied from a caller. The URL is the configured base
//! plus the checked path and query, byte for byte. Callers: this module, and `proxy` for permitted
//! calls.

use super::{answer::REQUEST_ID, api_origin::ApiOrigin, error::CapiError};
use crate::{
    telemetry::trace::CorrelationId,
    upstream::{COMPONENT, USER_AGENT},
};
use bytes::Bytes;
use http::{
    HeaderName, HeaderValue, Method, Request,
    header::{self, ACCEPT, ACCEPT_ENCODING, AUTHORIZATION, CONTENT_TYPE},
};
use percent_encoding::{AsciiSet, CONTROLS, utf8_percent_encode};
use serde::Serialize;
#[cfg(any(test, feature = "fuzzing"))]
use url::Url;

/// What CC would read as structure inside one value of a comma list. It splits after one decoding,
/// then decodes each piece again.
const ESCAPED_IN_LIST: &AsciiSet = &CONTROLS.add(b',').add(b'%').add(b'+');

/// Longest list of one filter. CC answers 400 without a body to a query above about 10 KiB; 8 kB
/// leaves space for the other filters.
const MAX_FILTER: usize = 7_500;

/// Cap for responses of typed calls: a page of 1000 routes is about 2 MB.
const TYPED_CAP: usize = 8 * 1024 * 1024;

const JSON: HeaderValue = HeaderValue::from_static("application/json");
const IDENTITY: HeaderValue = HeaderValue::from_static("identity");
const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");
/// Headers of a call, with those that the client adds.
const HEADERS: usize = 10;
/// Cap for responses of writes, which are read whole. A route with the largest number of targets is
/// about 30 kB. With 64 calls in flight, ten times this cap would be more memory than the broker
/// has.
const WRITE_CAP: usize = 1024 * 1024;

/// One call, ready to be sent any number of times.
#[derive(Clone, Debug)]
pub struct Call {
    pub(super) operation: &'static str,
    pub(super) method: Method,
    pub(super) path: String,
    pub(super) query: Option<String>,
    pub(super) body: Option<Bytes>,
    pub(super) cap: usize,
    pub(super) repeats: RetrySafety,
}

/// Whether a call may be repeated automatically.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum RetrySafety {
    /// If its method is idempotent, or nothing was sent (`docs/reference/limits.md`).
    IfSafe,
    /// Never: it was checked right before, so a repetition would have to be checked again.
    Never,
}

impl Call {
    /// Makes a call without query and body. `operation` names it in metrics.
    pub fn new(operation: &'static str, method: Method, path: impl Into<String>) -> Self {
        let path = path.into();
        let (cap, repeats) = (TYPED_CAP, RetrySafety::IfSafe);
        Self { operation, method, path, query: None, body: None, cap, repeats }
    }

    /// Adds a query that is already encoded.
    #[must_use]
    pub fn with_query(mut self, query: String) -> Self {
        self.query = Some(query).filter(|query| !query.is_empty());
        self
    }

    /// Adds a query that was checked elsewhere: sent as it is, also an empty one.
    #[must_use]
    pub fn with_exact_query(mut self, query: Option<&str>) -> Self {
        self.query = query.map(ToOwned::to_owned);
        self
    }

    /// Adds a JSON body.
    #[must_use]
    pub fn with_body(mut self, body: Bytes) -> Self {
        self.body = Some(body);
        self
    }

    /// Limits the size of the response; a longer one is an error.
    #[must_use]
    pub fn with_cap(mut self, cap: usize) -> Self {
        self.cap = cap;
        self
    }

    /// Sends it at most once, except after a refused token. A caller that wants to repeat it checks
    /// first.
    #[must_use]
    pub fn never_repeated(mut self) -> Self {
        self.repeats = RetrySafety::Never;
        self
    }

    /// Returns the cap of its response.
    pub(super) fn cap(&self) -> usize {
        if self.is_read() { self.cap } else { self.cap.min(WRITE_CAP) }
    }

    /// Returns whether sending it twice has the same effect as sending it once. PATCH of labels and
    /// POST of destinations do not count: their callers check before they repeat.
    pub fn is_idempotent(&self) -> bool {
        matches!(self.method, Method::GET | Method::HEAD | Method::DELETE)
    }

    /// Returns whether it changes nothing.
    pub(super) fn is_read(&self) -> bool {
        matches!(self.method, Method::GET | Method::HEAD)
    }

    /// Builds the request for an API.
    pub(super) fn request(
        &self,
        origin: &ApiOrigin,
        authorization: &HeaderValue,
        correlation: &CorrelationId,
    ) -> Result<Request<Bytes>, CapiError> {
        let target = origin.target(&self.path, self.query.as_deref());
        let target = target.ok_or(CapiError::Internal("target_mismatch"))?;
        let mut request = Request::new(self.body.clone().unwrap_or_default());
        *request.method_mut() = self.method.clone();
        *request.uri_mut() = target;
        let headers = request.headers_mut();
        // Space for all of them, and `Host`.
        headers.reserve(HEADERS);
        headers.insert(AUTHORIZATION, authorization.clone());
        headers.insert(ACCEPT, JSON);
        headers.insert(ACCEPT_ENCODING, IDENTITY);
        headers.insert(header::USER_AGENT, HeaderValue::from_static(USER_AGENT));
        headers.insert(&REQUEST_ID, correlation.header());
        headers.insert(TRACEPARENT, correlation.traceparent());
        if self.body.is_some() {
            headers.insert(CONTENT_TYPE, JSON);
        }
        Ok(request)
    }

    /// Returns its target, for the property test of targets.
    #[cfg(any(test, feature = "fuzzing"))]
    pub(crate) fn target_at(&self, api: &Url) -> Option<http::Uri> {
        let authorization = HeaderValue::from_static("bearer none");
        let origin = ApiOrigin::of(api)?;
        let request = self.request(&origin, &authorization, &CorrelationId::random()).ok()?;
        Some(request.into_parts().0.uri)
    }
}

/// Serializes the body of a call.
pub(super) fn json(value: &impl Serialize) -> Result<Bytes, CapiError> {
    serde_json::to_vec(value)
        .map(Bytes::from)
        .map_err(|_| CapiError::Internal("unbuildable_request"))
}

/// Builds the query of a list call.
#[derive(Clone, Debug, Default)]
pub(super) struct Query(String);

impl Query {
    /// Adds a parameter with a plain value.
    pub(super) fn with(mut self, name: &str, value: &str) -> Self {
        if !self.0.is_empty() {
            self.0.push('&');
        }
        self.0.push_str(name);
        self.0.push('=');
        self.0.extend(utf8_percent_encode(value, COMPONENT));
        self
    }

    /// Adds a comma list; commas inside a value are encoded twice.
    pub(super) fn with_list<'a>(
        self,
        name: &str,
        values: impl IntoIterator<Item = &'a str>,
    ) -> Self {
        let escaped = values.into_iter().map(in_list).collect::<Vec<_>>();
        self.with(name, &escaped.join(","))
    }

    pub(super) fn into_text(self) -> String {
        self.0
    }
}

fn in_list(value: &str) -> String {
    utf8_percent_encode(value, ESCAPED_IN_LIST).to_string()
}

/// Splits the values of one filter into lists that CC accepts; no values, no lists.
pub(super) fn filter_lists<T: AsRef<str>>(values: &[T]) -> Vec<Vec<&str>> {
    let mut lists: Vec<Vec<&str>> = Vec::new();
    let mut length = 0;
    for value in values.iter().map(AsRef::as_ref) {
        // The comma is escaped as well: three more bytes.
        let added = utf8_percent_encode(&in_list(value), COMPONENT).to_string().len() + 3;
        match lists.last_mut() {
            Some(list) if length + added <= MAX_FILTER => list.push(value),
            Some(_) | None => {
                lists.push(vec![value]);
                length = 0;
            }
        }
        length += added;
    }
    lists
}

#[cfg(test)]
mod tests {
    use super::{Query, filter_lists};
    use proptest::prelude::{prop_assert, proptest};

    #[test]
    fn a_comma_inside_a_value_is_encoded_twice() {
        let query = Query::default().with_list("names", ["a,b", "c"]).into_text();
        assert_eq!(query, "names=a%252Cb%2Cc");
    }

    #[test]
    fn an_empty_filter_keeps_its_name() {
        let query = Query::default().with("hosts", "x").with("paths", "").into_text();
        assert_eq!(query, "hosts=x&paths=");
    }

    #[test]
    fn long_filters_are_split_below_eight_kilobytes() {
        let hosts = (0..700).map(|i| format!("tenant-{i:04}-saas")).collect::<Vec<_>>();
        let lists = filter_lists(&hosts);
        let longest = lists.iter().map(|list| {
            Query::default().with_list("hosts", list.iter().copied()).into_text().len()
        });
        assert!(longest.max().unwrap() < 8_000);
        assert_eq!(lists.iter().map(Vec::len).sum::<usize>(), 700);
    }

    proptest! {
        #[test]
        fn query_values_survive_one_decoding(value in "\\PC{0,20}") {
            let query = Query::default().with("x", &value).into_text();
            let decoded = form_urlencoded::parse(query.as_bytes()).next().unwrap().1.into_owned();
            prop_assert!(decoded == value);
        }
    }
}
