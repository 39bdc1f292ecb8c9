//! Which headers of CF's answer go back to the caller.
//!
//! Invariant: an allow list; what it does not name is not passed on, nor what `Connection` nominates. What goes to CF
//! is built in `capi` and never comes from a request. Callers: this room.

use super::links::LinkBases;
use crate::policy::path::{UpstreamQuery, judge_path};
use http::{
    HeaderMap, HeaderName, HeaderValue,
    header::{CONTENT_TYPE, LOCATION},
};

/// What CC says about its rate limits, by whatever name: each of them has three headers, those of v2 end otherwise.
const RATE_LIMIT: &[u8; 12] = b"x-ratelimit-";

/// What became of `Location`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum LocationOutcome {
    /// There was none, or it leads to the broker now.
    Kept,
    /// It led elsewhere.
    Dropped,
}

/// How many headers an answer has, those that the broker adds included, so that their map does not grow on the way.
const USUAL: usize = 16;

/// How many of CF's are listed, mostly: three about the rate limit, type, request id and a warning or two.
const USUALLY_LISTED: usize = 8;

/// What CF's headers say, as far as it matters here.
#[derive(Debug)]
pub(super) struct ResponseHeaders {
    /// Those that go back.
    pub(super) listed: HeaderMap,
    pub(super) location: LocationOutcome,
    /// Whether the body is JSON of CF's own, the only kind that links are looked for in.
    pub(super) is_json: bool,
    /// Whether the body is packed although it was asked for unpacked, as content or on its way.
    pub(super) is_encoded: bool,
    /// The length that CF announces.
    pub(super) length: Option<usize>,
}

/// Goes through CF's headers once and picks what may pass; it goes back in their own map, emptied.
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

/// What was seen on the way through the headers.
#[derive(Debug, Default)]
struct HeaderScan {
    rule: HeaderRule,
    /// Lines of headers that are listed, each with the header's rank.
    listed: Vec<(u8, HeaderName, HeaderValue)>,
    connection: Vec<HeaderValue>,
    locations: Vec<HeaderValue>,
    length: Option<usize>,
    is_encoded: bool,
}

/// What a header is to this room.
#[derive(Clone, Copy, Debug, Default)]
enum HeaderRule {
    /// It passes as it is (`proxy.md` 5), in the order of these numbers.
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
    /// Takes one line; further lines of the same header come without its name.
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

/// All lines count: a name in the second one is nominated as well (RFC 9110, 7.6.1).
fn is_nominated(connection: &[HeaderValue], name: &HeaderName) -> bool {
    let mut tokens = connection.iter().flat_map(|line| line.as_bytes().split(|byte| *byte == b','));
    tokens.any(|token| token.trim_ascii().eq_ignore_ascii_case(name.as_str().as_bytes()))
}

/// Turns a `Location` of the API into one of the broker; a relative one stays, if it could be asked for here.
fn rewrite_location(location: &HeaderValue, bases: &LinkBases) -> Option<HeaderValue> {
    let text = location.to_str().ok()?;
    if let Some(rest) = bases.below(text) {
        return HeaderValue::try_from(format!("{}{rest}", bases.own())).ok();
    }
    let (path, query) = match text.split_once('?') {
        Some((path, query)) => (path, Some(query)),
        None => (text, None),
    };
    let is_allowed = judge_path(path).is_ok() && UpstreamQuery::parse(query).is_ok();
    is_allowed.then(|| location.clone())
}

#[cfg(test)]
mod tests;
