//! The gate in front of every request: what can be refused by the head alone, before anyone asks who is calling.
//!
//! In the order of `proxy.md` section 2: method, form of the target and `Host`, path and query byte by byte, a path that
//! is neither ours nor the CF API's, then what other headers say of the body. Nothing is mended, decoded or normalised.
//!
//! Invariant: what passes has a lawful target for this host; that of the CF API's paths is noted in [`RequestRecord`], byte for
//! byte as it came. Only `mod` and `server` name this.

use axum::extract::{MatchedPath, Request};
use http::{
    HeaderMap, HeaderValue, Method, Uri, Version,
    header::{ALLOW, CONTENT_ENCODING, CONTENT_LENGTH, EXPECT, HOST, TRANSFER_ENCODING},
    uri::Authority,
};

use crate::{
    http::{
        code::Code,
        hosts::{HostPort, ServedHosts},
        problem::Problem,
        request_record::RequestRecord,
    },
    policy::path::{TargetFault, UpstreamPath, UpstreamQuery, is_upstream, judge_path},
};

/// Methods that any path of ours or of the CF API may have.
const METHODS: HeaderValue = HeaderValue::from_static("GET, HEAD, POST, PUT, PATCH, DELETE");
/// Paths below this take any host: the platform probes by address.
const PROBES: &str = "/health";

/// Set by the listener where the parser did not keep the target as it was sent: it cuts `#` and all behind it.
#[derive(Clone, Copy, Debug)]
pub struct CutTarget;

/// What the gate goes by; a clone is shallow.
#[derive(Clone, Debug)]
pub struct RequestValidator {
    /// Hosts that are ours.
    pub hosts: ServedHosts,
    /// Most bytes of a body.
    pub body: usize,
}

impl RequestValidator {
    /// Judges a request by its head and notes the target of one for the CF API.
    ///
    /// `limit`: most bytes of its body.
    ///
    /// # Errors
    /// The problem of the first rule that is broken.
    pub(super) fn validate(&self, request: &Request, limit: usize) -> Result<(), Problem> {
        check_method(request.method())?;
        check_form(request.uri(), request.version(), &self.hosts)?;
        let headers = InspectedHeaders::of(request.headers());
        self.check_host(request.uri().path(), headers.host)?;
        check_target(request)?;
        check_body(request.method(), &headers, limit)
    }

    fn check_host(&self, path: &str, host: HeaderLines<'_>) -> Result<(), Problem> {
        let HeaderLines::One(host) = host else {
            return Err(bad("The request must have exactly one Host header."));
        };
        if host.is_empty() {
            return Err(bad("The Host header is empty."));
        }
        if path.starts_with(PROBES) {
            return Ok(());
        }
        match host.to_str().ok().and_then(HostPort::parse) {
            None => Err(bad("The Host header is no name with an optional port.")),
            Some(host) if self.hosts.serve(host) => Ok(()),
            Some(_) => Err(misdirected()),
        }
    }
}

fn check_method(method: &Method) -> Result<(), Problem> {
    match *method {
        Method::GET
        | Method::HEAD
        | Method::POST
        | Method::PUT
        | Method::PATCH
        | Method::DELETE => Ok(()),
        _ if method.as_str() == "PRI" => Err(bad("HTTP/2 is not spoken here.").closing()),
        _ => {
            let detail = "This method is not taken; see the Allow header.";
            Err(Problem::new(Code::MethodNotAllowed, detail).header(ALLOW, METHODS))
        }
    }
}

/// Only the origin form (RFC 9112, 3.2.1) of HTTP/1.1.
fn check_form(uri: &Uri, version: Version, hosts: &ServedHosts) -> Result<(), Problem> {
    if version != Version::HTTP_11 {
        return Err(bad("Only HTTP/1.1 is spoken here."));
    }
    if let (Some(_), Some(authority)) = (uri.scheme(), uri.authority())
        && is_foreign(authority, hosts)
    {
        return Err(misdirected());
    }
    let is_origin = uri.scheme().is_none()
        && uri.authority().is_none()
        && uri.path_and_query().is_some_and(|target| target.as_str().starts_with('/'));
    if is_origin { Ok(()) } else { Err(bad("The request target must be a path with its query.")) }
}

/// Whether an absolute target is plainly another's; one with user information is not plain.
fn is_foreign(authority: &Authority, hosts: &ServedHosts) -> bool {
    let text = authority.as_str();
    !text.contains('@') && !HostPort::parse(text).is_some_and(|named| hosts.serve(named))
}

fn check_target(request: &Request) -> Result<(), Problem> {
    let uri = request.uri();
    let upstream = is_upstream(uri.path());
    if upstream {
        let path = UpstreamPath::parse(uri.path()).map_err(odd_path)?;
        let query = UpstreamQuery::parse(uri.query()).map_err(odd_query)?;
        if let Some(record) = request.extensions().get::<RequestRecord>() {
            record.set_target(path, query);
        }
    } else {
        judge_path(uri.path()).map_err(odd_path)?;
        UpstreamQuery::parse(uri.query()).map_err(odd_query)?;
    }
    let extensions = request.extensions();
    if extensions.get::<CutTarget>().is_some() {
        return Err(odd_path(TargetFault::Malformed));
    }
    if !upstream && extensions.get::<MatchedPath>().is_none() {
        return Err(Problem::not_found());
    }
    Ok(())
}

/// The lines of one header.
#[derive(Clone, Copy, Default)]
enum HeaderLines<'h> {
    #[default]
    None,
    One(&'h HeaderValue),
    Several,
}

impl<'h> HeaderLines<'h> {
    fn add(&mut self, value: &'h HeaderValue) {
        *self = if let Self::None = self { Self::One(value) } else { Self::Several };
    }
}

/// What the headers say of the host and of a body that nobody has read yet; one walk over them is cheaper than five
/// questions.
#[derive(Default)]
struct InspectedHeaders<'h> {
    host: HeaderLines<'h>,
    transfer_coding: HeaderLines<'h>,
    length: Option<&'h HeaderValue>,
    /// Another expectation than `100-continue`.
    expects_more: bool,
    /// Another coding than `identity`.
    is_encoded: bool,
}

impl<'h> InspectedHeaders<'h> {
    fn of(headers: &'h HeaderMap) -> Self {
        let mut found = Self::default();
        for (name, value) in headers {
            let is = |word: &[u8]| value.as_bytes().eq_ignore_ascii_case(word);
            if name == HOST {
                found.host.add(value);
            } else if name == TRANSFER_ENCODING {
                found.transfer_coding.add(value);
            } else if name == CONTENT_LENGTH {
                found.length.get_or_insert(value);
            } else if name == EXPECT {
                found.expects_more |= !is(b"100-continue");
            } else if name == CONTENT_ENCODING {
                found.is_encoded |= !is(b"identity");
            }
        }
        found
    }
}

fn check_body(
    method: &Method,
    headers: &InspectedHeaders<'_>,
    limit: usize,
) -> Result<(), Problem> {
    if headers.expects_more {
        let detail = "The only expectation that is met is 100-continue.";
        return Err(Problem::new(Code::ExpectationFailed, detail));
    }
    let is_chunked = match headers.transfer_coding {
        HeaderLines::None => false,
        HeaderLines::One(coding) if coding == "chunked" => true,
        HeaderLines::One(_) | HeaderLines::Several => {
            return Err(bad("The only transfer coding that is read is chunked.").closing());
        }
    };
    if headers.is_encoded {
        let detail = "The body must be sent without a content coding.";
        return Err(Problem::new(Code::UnsupportedMediaType, detail));
    }
    // The parser has made sure that it is a number.
    let length = headers.length.and_then(|value| value.to_str().ok()?.parse::<usize>().ok());
    let length = length.unwrap_or(0);
    if length > limit {
        return Err(Problem::too_large(limit));
    }
    let is_bodiless = matches!(*method, Method::GET | Method::HEAD | Method::DELETE);
    if is_bodiless && (length > 0 || is_chunked) {
        return Err(bad("A request with this method must not have a body."));
    }
    Ok(())
}

fn bad(detail: &'static str) -> Problem {
    Problem::new(Code::BadRequest, detail)
}

fn misdirected() -> Problem {
    let detail =
        "This host is not served here; hosts are those of the app's routes and server.names.";
    Problem::new(Code::Misdirected, detail)
}

fn odd_path(fault: TargetFault) -> Problem {
    refused(fault, "The path holds a byte, an escape or a segment that is not taken.")
}

fn odd_query(fault: TargetFault) -> Problem {
    refused(fault, "The query holds a byte or an escape that is not taken.")
}

fn refused(fault: TargetFault, detail: &'static str) -> Problem {
    match fault {
        TargetFault::Malformed => Problem::new(Code::MalformedPath, detail),
        TargetFault::TooLong => Problem::new(
            Code::UriTooLong,
            "A path may have 2048 bytes and a query 4096; this one has more.",
        ),
    }
}

#[cfg(test)]
mod tests;
