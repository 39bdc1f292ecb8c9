//! Validation of every request by its head alone, before the caller is authenticated.
//!
//! Order (see `docs/reference/proxy-rules.md`): method, form of the target, `Host`, path and query
//! byte by byte, unknown path, then the headers about the body. Nothing is repaired, decoded or
//! normalised.
//!
//! Invariant: a request that passes has a valid target for a host of ours. A target for the CF API
//! is kept in [`RequestRecord`], byte for byte as it was received. Only `mod` and `server` use
//! this.

use axum::extract::{MatchedPath, Request};
use http::{
    HeaderMap, HeaderValue, Method, Uri, Version,
    header::{ALLOW, CONTENT_ENCODING, CONTENT_LENGTH, EXPECT, HOST, TRANSFER_ENCODING},
    uri::Authority,
};

use crate::{
    http::{
        code::ProblemCode,
        hosts::{HostPort, ServedHosts},
        problem::Problem,
        request_record::RequestRecord,
    },
    policy::path::{TargetFault, UpstreamPath, UpstreamQuery, check_path, is_upstream},
};

/// Methods that are accepted on any path.
const METHODS: HeaderValue = HeaderValue::from_static("GET, HEAD, POST, PUT, PATCH, DELETE");
/// Paths below this are probes of the platform, by IP address: any host is accepted.
pub(super) const PROBES: &str = "/health";
/// The paths that are served to HTTP/1.0 too.
const PROBE_PATHS: [&str; 2] = ["/health", "/health/ready"];

/// Set by the listener if the parser did not keep the target as sent: it cuts `#` and the rest.
#[derive(Clone, Copy, Debug)]
pub struct CutTarget;

/// Validates request heads; a clone is shallow.
#[derive(Clone, Debug)]
pub struct RequestValidator {
    /// Hosts that are ours.
    pub hosts: ServedHosts,
    /// Largest body in bytes.
    pub body: usize,
}

impl RequestValidator {
    /// Validates the head of a request and records the target if it is one for the CF API.
    ///
    /// `limit`: largest body in bytes.
    ///
    /// # Errors
    /// The problem of the first broken rule.
    pub(super) fn validate(&self, request: &Request, limit: usize) -> Result<(), Problem> {
        check_method(request)?;
        check_form(request.uri(), request.version(), &self.hosts)?;
        let headers = InspectedHeaders::of(request.headers());
        self.check_host(request, headers.host)?;
        check_target(request)?;
        check_body(request, &headers, limit)
    }

    fn check_host(&self, request: &Request, host: HeaderLines<'_>) -> Result<(), Problem> {
        let path = request.uri().path();
        let host = match host {
            HeaderLines::One(host) => host,
            // HTTP/1.0 does not ask for it.
            HeaderLines::None if request.version() == Version::HTTP_10 => return Ok(()),
            HeaderLines::None | HeaderLines::Several => {
                return Err(bad("The request must have exactly one Host header."));
            }
        };
        if host.is_empty() {
            return Err(bad("The Host header is empty."));
        }
        if path.starts_with(PROBES) {
            return Ok(());
        }
        match host.to_str().ok().and_then(HostPort::parse) {
            None => Err(bad("The Host header is not a name with an optional port.")),
            Some(host) if self.hosts.serve(host) => Ok(()),
            Some(_) => Err(misdirected()),
        }
    }
}

/// Load balancers probe with OPTIONS, too (the default of `httpchk` in `HAProxy`). The
/// router adds the methods of our own paths to a refusal that names none.
fn check_method(request: &Request) -> Result<(), Problem> {
    let (method, path) = (request.method(), request.uri().path());
    match *method {
        Method::GET
        | Method::HEAD
        | Method::POST
        | Method::PUT
        | Method::PATCH
        | Method::DELETE => Ok(()),
        Method::OPTIONS if PROBE_PATHS.contains(&path) => Ok(()),
        _ if method.as_str() == "PRI" => Err(bad("HTTP/2 is not supported.").closing()),
        _ => {
            let detail = "This method is not supported; see the Allow header.";
            let problem = Problem::new(ProblemCode::MethodNotAllowed, detail);
            let is_own = request.extensions().get::<MatchedPath>().is_some();
            Err(if is_own { problem } else { problem.header(ALLOW, METHODS) })
        }
    }
}

/// Only the origin form (RFC 9112, 3.2.1) of HTTP/1.1; probes may be HTTP/1.0, because load
/// balancers ask so.
fn check_form(uri: &Uri, version: Version, hosts: &ServedHosts) -> Result<(), Problem> {
    let is_old_probe = version == Version::HTTP_10 && PROBE_PATHS.contains(&uri.path());
    if version != Version::HTTP_11 && !is_old_probe {
        return Err(bad("Only HTTP/1.1 is supported."));
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

/// Whether an absolute target clearly names another host; one with user information is not clear.
fn is_foreign(authority: &Authority, hosts: &ServedHosts) -> bool {
    let text = authority.as_str();
    !text.contains('@') && !HostPort::parse(text).is_some_and(|named| hosts.serve(named))
}

fn check_target(request: &Request) -> Result<(), Problem> {
    let uri = request.uri();
    let upstream = is_upstream(uri.path());
    if upstream {
        let path = UpstreamPath::parse(uri.path()).map_err(path_problem)?;
        let query = UpstreamQuery::parse(uri.query()).map_err(query_problem)?;
        if let Some(record) = request.extensions().get::<RequestRecord>() {
            record.set_target(path, query);
        }
    } else {
        check_path(uri.path()).map_err(path_problem)?;
        UpstreamQuery::parse(uri.query()).map_err(query_problem)?;
    }
    let extensions = request.extensions();
    if extensions.get::<CutTarget>().is_some() {
        return Err(path_problem(TargetFault::Malformed));
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

/// What the headers say about the host and the unread body. One pass over the headers is cheaper
/// than five look-ups.
#[derive(Default)]
struct InspectedHeaders<'h> {
    host: HeaderLines<'h>,
    transfer_coding: HeaderLines<'h>,
    length: Option<&'h HeaderValue>,
    /// `Expect` has another value than `100-continue`.
    expects_more: bool,
    /// `Content-Encoding` has another value than `identity`.
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
    request: &Request,
    headers: &InspectedHeaders<'_>,
    limit: usize,
) -> Result<(), Problem> {
    if headers.expects_more {
        let detail = "The only supported expectation is 100-continue.";
        return Err(Problem::new(ProblemCode::ExpectationFailed, detail));
    }
    let is_chunked = match headers.transfer_coding {
        HeaderLines::None => false,
        HeaderLines::One(coding) if coding == "chunked" => true,
        HeaderLines::One(_) | HeaderLines::Several => {
            return Err(bad("The only supported transfer coding is chunked.").closing());
        }
    };
    if headers.is_encoded {
        let detail = "The body must be sent without a content coding.";
        return Err(Problem::new(ProblemCode::UnsupportedMediaType, detail));
    }
    // The parser has checked that it is a number.
    let number = |value: &HeaderValue| value.to_str().ok()?.trim().parse::<usize>().ok();
    let length = headers.length.map_or(0, |value| number(value).unwrap_or(usize::MAX));
    if length > limit {
        return Err(Problem::too_large(limit));
    }
    let is_bodiless = match *request.method() {
        Method::GET | Method::HEAD => true,
        // The subscription registry sends its payload also with a DELETE.
        Method::DELETE => is_upstream(request.uri().path()),
        _ => false,
    };
    if is_bodiless && (length > 0 || is_chunked) {
        return Err(bad("A request with this method must not have a body."));
    }
    Ok(())
}

fn bad(detail: &'static str) -> Problem {
    Problem::new(ProblemCode::BadRequest, detail)
}

fn misdirected() -> Problem {
    let detail =
        "This host is not served here; hosts are those of the app's routes and server.names.";
    Problem::new(ProblemCode::Misdirected, detail)
}

fn path_problem(fault: TargetFault) -> Problem {
    refused(fault, "The path has a byte, an escape or a segment that is not allowed.")
}

fn query_problem(fault: TargetFault) -> Problem {
    refused(fault, "The query has a byte or an escape that is not allowed.")
}

fn refused(fault: TargetFault, detail: &'static str) -> Problem {
    match fault {
        TargetFault::Malformed => Problem::new(ProblemCode::MalformedPath, detail),
        TargetFault::TooLong => Problem::new(
            ProblemCode::UriTooLong,
            "A path may have 2048 bytes and a query 4096 bytes; this one has more.",
        ),
    }
}

#[cfg(test)]
mod tests;
