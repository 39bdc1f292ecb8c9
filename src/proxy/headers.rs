//! Which headers of CF's response are passed on to the caller.
//!
//! Invariant: an allow list (`docs/reference/proxy-rules.md`). Headers that it does not name, or
//! that `Connection` nominates, are not passed on. Headers to CF are built in `capi` and never come
//! from a request. Callers: this module.

use super::links::LinkBases;
use crate::policy::path::{UpstreamQuery, check_path};
use http::{
    HeaderMap, HeaderName, HeaderValue,
    header::{CONTENT_TYPE, LOCATION},
};

/// Prefix of CC's rate limit headers: three for each limit, with another suffix for v2.
const RATE_LIMIT: &[u8; 12] = b"x-ratelimit-";

/// What was done with `Location`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum LocationOutcome {
    /// There was none, or it leads to the broker.
    Kept,
    /// It led elsewhere.
    Dropped,
}

/// Usual number of headers of a response, with those that the broker adds, so that the map does not
/// grow.
const USUAL: usize = 16;

/// Usual number of CF's listed headers: three about the rate limit, type, request id, one or two
/// warnings.
const USUALLY_LISTED: usize = 8;

/// The relevant content of CF's headers.
#[derive(Debug)]
pub(super) struct ResponseHeaders {
    /// The headers to pass on.
    pub(super) listed: HeaderMap,
    pub(super) location: LocationOutcome,
    /// Whether the body is JSON: links are rewritten only there.
    pub(super) is_json: bool,
    /// Whether the body is compressed although that was not requested, by content or transfer
    /// encoding.
    pub(super) is_encoded: bool,
    /// The length that CF announces.
    pub(super) length: Option<usize>,
}

/// Reads CF's headers once and selects those to pass on. It reuses CF's map for them.
pub(super) fn select(mut headers: HeaderMap, bases: &LinkBases) -> ResponseHeaders {
    let mut scan = HeaderScan::default();
    scan.listed.reserve_exact(USUALLY_LISTED);
    for (name, value) in headers.drain() {
        scan.note(name, value);
    }
    let HeaderScan { mut listed, connection, locations, length, is_encoded, .. } = scan;
    listed.sort_by_key(|(rank, ..)| *rank);
    let kind = listed.first().filter(|(_, name, _)| *name == CONTENT_TYPE);
    let is_json = kind.is_some_and(|(.., value)| is_json(value));
    headers.reserve(USUAL);
    for (_, name, value) in listed {
        if connection.is_empty() || !is_nominated(&connection, &name) {
            headers.append(name, value);
        }
    }
    let rewritten = match locations.as_slice() {
        _ if is_nominated(&connection, &LOCATION) => None,
        [] => None,
        [only] => Some(rewrite_location(only, bases)),
        [..] => Some(None),
    };
    let location =
        if rewritten == Some(None) { LocationOutcome::Dropped } else { LocationOutcome::Kept };
    if let Some(value) = rewritten.flatten() {
        headers.insert(LOCATION, value);
    }
    ResponseHeaders { listed: headers, location, is_json, is_encoded, length }
}

/// State of one pass over the headers.
#[derive(Debug, Default)]
struct HeaderScan {
    rule: HeaderRule,
    /// Lines of listed headers, each with its header's rank.
    listed: Vec<(u8, HeaderName, HeaderValue)>,
    connection: Vec<HeaderValue>,
    locations: Vec<HeaderValue>,
    length: Option<usize>,
    is_encoded: bool,
}

/// What is done with a header.
#[derive(Clone, Copy, Debug, Default)]
enum HeaderRule {
    /// Passed on as it is, in the order of these numbers.
    Listed(u8),
    Location,
    Connection,
    Length,
    ContentEncoding,
    TransferEncoding,
    #[default]
    Dropped,
}

impl HeaderRule {
    fn of(name: &HeaderName) -> Self {
        match name.as_str() {
            "content-type" => Self::Listed(0),
            "etag" => Self::Listed(1),
            "retry-after" => Self::Listed(2),
            "warning" => Self::Listed(3),
            "x-cf-warnings" => Self::Listed(4),
            "x-vcap-request-id" => Self::Listed(5),
            "location" => Self::Location,
            "connection" => Self::Connection,
            "content-length" => Self::Length,
            "content-encoding" => Self::ContentEncoding,
            "transfer-encoding" => Self::TransferEncoding,
            other if other.as_bytes().first_chunk() == Some(RATE_LIMIT) => Self::Listed(6),
            _ => Self::Dropped,
        }
    }
}

impl HeaderScan {
    /// Takes one line. Further lines of the same header come without its name.
    fn note(&mut self, name: Option<HeaderName>, value: HeaderValue) {
        if let Some(name) = &name {
            self.rule = HeaderRule::of(name);
        }
        match self.rule {
            HeaderRule::Listed(rank) => {
                let same = || self.listed.last().map(|(_, name, _)| name.clone());
                if let Some(name) = name.or_else(same) {
                    self.listed.push((rank, name, value));
                }
            }
            HeaderRule::Location => self.locations.push(value),
            HeaderRule::Connection => self.connection.push(value),
            // The first line counts.
            HeaderRule::Length if name.is_some() => self.length = length(&value),
            HeaderRule::ContentEncoding => self.is_encoded |= !is_only(&value, b"identity"),
            HeaderRule::TransferEncoding => self.is_encoded |= !is_only(&value, b"chunked"),
            HeaderRule::Length | HeaderRule::Dropped => {}
        }
    }
}

fn is_json(kind: &HeaderValue) -> bool {
    let essence = kind.as_bytes().split(|byte| *byte == b';').next().unwrap_or_default();
    essence.trim_ascii().eq_ignore_ascii_case(b"application/json")
}

fn is_only(value: &HeaderValue, word: &[u8]) -> bool {
    value.as_bytes().trim_ascii().eq_ignore_ascii_case(word)
}

fn length(value: &HeaderValue) -> Option<usize> {
    value.to_str().ok()?.parse().ok()
}

/// All lines count: also a name in the second one is nominated (RFC 9110, 7.6.1).
fn is_nominated(connection: &[HeaderValue], name: &HeaderName) -> bool {
    let mut tokens = connection.iter().flat_map(|line| line.as_bytes().split(|byte| *byte == b','));
    tokens.any(|token| token.trim_ascii().eq_ignore_ascii_case(name.as_str().as_bytes()))
}

/// Turns a `Location` of the API into one of the broker. A relative one stays behind the path of
/// the broker's base, if the broker accepts such a path.
fn rewrite_location(location: &HeaderValue, bases: &LinkBases) -> Option<HeaderValue> {
    let text = location.to_str().ok()?;
    if let Some(rest) = bases.below(text) {
        return HeaderValue::try_from(format!("{}{rest}", bases.own())).ok();
    }
    let (path, query) = match text.split_once('?') {
        Some((path, query)) => (path, Some(query)),
        None => (text, None),
    };
    let is_allowed = check_path(path).is_ok() && UpstreamQuery::parse(query).is_ok();
    let located = || HeaderValue::try_from(format!("{}{text}", bases.own_path())).ok();
    is_allowed.then(located).flatten()
}

#[cfg(test)]
mod tests;
