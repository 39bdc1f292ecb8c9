//! Extractors of the handlers; every rejection is a problem.
//!
//! Invariant: a handler that names [`Allowed`] runs only for a verified caller with that scope, and
//! a body or query reaches it only in the form that its type describes.

use std::{
    error::Error,
    marker::PhantomData,
    sync::OnceLock,
    time::{Duration, SystemTime},
};

use axum::extract::{
    FromRef, FromRequest, FromRequestParts, Path, Request, rejection::QueryRejection,
};
use bytes::Bytes;
use http::{
    HeaderMap,
    header::{CONTENT_LENGTH, CONTENT_TYPE},
    request::Parts,
};
use http_body_util::{BodyExt, Limited};
use serde::{Deserialize, de::DeserializeOwned};

use crate::{
    auth::{
        Admitted, AuthError, Caller, CallerLimit, LimitKind, LimitedCaller, Scope, UnboundIssuer,
        Verifier,
    },
    http::{
        code::ProblemCode,
        problem::{Problem, TokenPresence},
        request_record::RequestRecord,
    },
    policy::JsonObject,
    routes::{RouteError, TenantId},
    telemetry::{audit::AuditTrail, trace::CorrelationId},
    upstream::{
        CERTIFICATE_ADVICE, ConnectFault, body,
        mismatch::{Mismatch, MismatchKind, is_mistyped},
    },
};

/// A verified caller within its rate limits, with any scopes.
///
/// [`RequestRecord`] holds the caller's in-flight permit until the response is complete. A second
/// extraction within one request costs nothing.
#[derive(Debug)]
pub(crate) struct VerifiedCaller(pub(crate) Caller);

impl<S> FromRequestParts<S> for VerifiedCaller
where
    Verifier: FromRef<S>,
    S: Send + Sync,
{
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let verifier = Verifier::from_ref(state);
        verify_caller(&verifier, &parts.headers, parts.extensions.get::<RequestRecord>())
            .await
            .map(Self)
    }
}

/// Returns the verified caller of a request, within its rate limits; a second call costs nothing.
pub(crate) async fn verify_caller(
    verifier: &Verifier,
    headers: &HeaderMap,
    record: Option<&RequestRecord>,
) -> Result<Caller, Problem> {
    if let Some(caller) = record.and_then(RequestRecord::caller) {
        return Ok(caller.clone());
    }
    keep_admitted(verifier.admit(headers, wall_time()), record).await
}

/// Waits for the permit of a caller and notes both in the record of the request.
pub(crate) async fn keep_admitted(
    admitting: impl Future<Output = Result<Admitted, AuthError>>,
    record: Option<&RequestRecord>,
) -> Result<Caller, Problem> {
    let Some(record) = record else { return Ok(admitting.await?.caller) };
    let admitted = record.wait_outside(admitting).await?;
    let caller = admitted.caller.clone();
    record.set_caller(admitted);
    record.take_place().await?;
    Ok(caller)
}

/// A verified caller that holds the scope `S`.
#[derive(Debug)]
pub(crate) struct Allowed<S>(pub(crate) Caller, pub(crate) PhantomData<S>);

/// A scope as a type, so that a handler's signature says what it needs.
pub(crate) trait RequiredScope: Send + Sync + 'static {
    /// The scope.
    const SCOPE: Scope;
}

/// Declares one type per scope.
macro_rules! scope_types {
    ($($name:ident),+) => { $(
        #[doc = concat!("Requires the scope ", stringify!($name), ".")]
        #[derive(Debug)]
        pub(crate) struct $name;
        impl RequiredScope for $name {
            const SCOPE: Scope = Scope::$name;
        }
    )+ };
}
scope_types!(RoutesRead, RoutesWrite, RoutesAdmin, SpacesRead, MetricsRead);

impl<N: RequiredScope, S> FromRequestParts<S> for Allowed<N>
where
    Verifier: FromRef<S>,
    S: Send + Sync,
{
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let VerifiedCaller(caller) = VerifiedCaller::from_request_parts(parts, state).await?;
        require_scope(caller, N::SCOPE).map(|caller| Self(caller, PhantomData))
    }
}

/// Returns the caller if it holds a scope.
pub(crate) fn require_scope(caller: Caller, scope: Scope) -> Result<Caller, Problem> {
    if caller.has(scope) { Ok(caller) } else { Err(Problem::scope_missing(scope)) }
}

/// Returns the wall time at which a request is checked.
#[expect(
    clippy::disallowed_methods,
    reason = "where a request enters is where wall time becomes an argument"
)]
pub(crate) fn wall_time() -> SystemTime {
    SystemTime::now()
}

impl From<AuthError> for Problem {
    fn from(error: AuthError) -> Self {
        match &error {
            AuthError::Missing => Self::unauthenticated(TokenPresence::Absent),
            AuthError::Invalid { .. } => {
                Self::unauthenticated(TokenPresence::Invalid).source(error)
            }
            AuthError::KeysUnavailable { cause: Some(ConnectFault::TlsCertificate), .. } => {
                let detail = format!(
                    "The keys of the token's issuer cannot be read, so this caller cannot be verified: {CERTIFICATE_ADVICE}."
                );
                Self::new(ProblemCode::CertificateRefused, detail).source(error)
            }
            AuthError::KeysUnavailable { cause: Some(ConnectFault::Dns), retry_after } => {
                let wait = Some(*retry_after);
                let detail = "The keys of the token's issuer cannot be read now, so this caller cannot be verified: the name of its host has no address. The host comes from the binding of the issuer: check the DNS, and the binding if it lasts.";
                Self::new(ProblemCode::KeysUnavailable, detail).retry_after(wait).source(error)
            }
            AuthError::KeysUnavailable { retry_after, .. } => {
                let wait = Some(*retry_after);
                let detail = "The keys of the token's issuer cannot be read now, so this caller cannot be verified.";
                Self::new(ProblemCode::KeysUnavailable, detail).retry_after(wait).source(error)
            }
            AuthError::KeyUndecided { retry_after } => {
                let wait = Some(*retry_after);
                let detail = "The broker does not have the key that this token names, and may ask the token's issuer again only after the given time. Other callers are not affected.";
                Self::new(ProblemCode::KeysUnavailable, detail).retry_after(wait).source(error)
            }
            AuthError::NotBound(unbound) => {
                Self::new(ProblemCode::IssuerNotBound, what_to_bind(*unbound)).source(error)
            }
            AuthError::TooMany { limit, retry_after } => {
                let (wait, detail) = (Some(*retry_after), what_is_too_many(*limit));
                Self::new(ProblemCode::TooManyRequests, detail).retry_after(wait).source(error)
            }
        }
    }
}

/// Names the limit with its numbers. Rate and number at once have different remedies.
fn what_is_too_many(limit: CallerLimit) -> String {
    let who = match limit.of {
        LimitedCaller::Client => "this client",
        LimitedCaller::User => "this user of the client",
        LimitedCaller::Users => "the users of this client together",
        LimitedCaller::Newcomers => {
            "the callers that share one limit, because too many callers are active,"
        }
    };
    let (number, what) = match limit.kind {
        LimitKind::Rate { per_second, burst } => {
            let what = format!(
                "a second from {who}, after a rest {burst} at once, and more than that was sent"
            );
            (usize::try_from(per_second).unwrap_or(usize::MAX), what)
        }
        LimitKind::InFlight { most } => {
            let what = format!("of {who} at once, and no place became free within 1 second");
            (most, what)
        }
    };
    let noun = if number == 1 { "request" } else { "requests" };
    format!(
        "The broker answers {number} {noun} {what}. Nothing was begun: repeat it after the time in Retry-After."
    )
}

fn what_to_bind(unbound: UnboundIssuer) -> &'static str {
    match unbound {
        UnboundIssuer::Xsuaa => {
            "The broker has no xsuaa binding, so it cannot verify any caller. Bind a service instance of xsuaa and \
             restart the broker."
        }
        UnboundIssuer::XsuaaUnusable => {
            "The broker's xsuaa binding lacks a usable uaadomain, clientid or xsappname, so it cannot verify any \
             caller. Bind the service instance of xsuaa again and restart the broker."
        }
        UnboundIssuer::Identity => {
            "The setting auth.ias.enabled is on, but the broker has no identity binding, so it cannot verify IAS tokens. \
             Bind a service instance of identity and restart the broker."
        }
        UnboundIssuer::IdentityUnusable => {
            "The broker's identity binding lacks a usable clientid, domains or app_tid, so it cannot verify IAS tokens. \
             Bind the service instance of identity again and restart the broker."
        }
        UnboundIssuer::Both => {
            "The broker has neither an xsuaa nor an identity binding, so it cannot verify any caller. Bind a service \
             instance of xsuaa, or of identity for IAS tokens, and restart the broker."
        }
    }
}

/// The id that the outermost layer gave this request.
#[derive(Clone, Debug)]
pub(crate) struct Correlation(pub(crate) CorrelationId);

impl<S: Send + Sync> FromRequestParts<S> for Correlation {
    type Rejection = std::convert::Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Self::Rejection> {
        Ok(Self(RequestRecord::from_extensions(&parts.extensions).correlation().clone()))
    }
}

/// The trail that notes whether this request has written an audit line.
#[derive(Clone, Debug)]
pub(crate) struct RequestAuditTrail(pub(crate) AuditTrail);

impl<S: Send + Sync> FromRequestParts<S> for RequestAuditTrail {
    type Rejection = std::convert::Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Self::Rejection> {
        Ok(Self(RequestRecord::from_extensions(&parts.extensions).trail().clone()))
    }
}

/// The tenant in the path.
#[derive(Debug)]
pub(crate) struct Tenant(pub(crate) TenantId);

impl<S: Send + Sync> FromRequestParts<S> for Tenant {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let Ok(Path(text)) = Path::<String>::from_request_parts(parts, state).await else {
            return Err(Problem::new(
                ProblemCode::BadRequest,
                "The tenant id in the path cannot be read.",
            ));
        };
        TenantId::parse(&text).map(Self).ok_or_else(|| {
            Problem::new(ProblemCode::BadRequest, "The tenant id in the path is not valid.").field(
                "tenant",
                "1 to 128 characters of A-Z a-z 0-9 . _ - and none of the reserved words",
            )
        })
    }
}

/// The query as a typed struct. The struct itself refuses unknown parameters
/// (`deny_unknown_fields`).
#[derive(Debug)]
pub(crate) struct AppQuery<T>(pub(crate) T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequestParts<S> for AppQuery<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        let query = axum::extract::Query::<T>::try_from_uri(&parts.uri);
        query.map(|query| Self(query.0)).map_err(|error| refused_query(&error))
    }
}

/// Says which parameter is wrong, and what is expected.
fn refused_query(error: &QueryRejection) -> Problem {
    type Located = serde_path_to_error::Error<serde::de::value::Error>;
    let located = error.source().and_then(Error::source).and_then(|e| e.downcast_ref::<Located>());
    let Some(located) = located else {
        let detail = "A query parameter is unknown or has the wrong form.";
        return Problem::new(ProblemCode::BadRequest, detail).field("query", "malformed");
    };
    let mismatch = Mismatch::at(located.path(), &located.inner().to_string());
    let (place, what) = (mismatch.place(), mismatch.kind.to_string());
    let (subject, field) = match place.as_str() {
        "" => ("A parameter of the query".to_owned(), "query"),
        place => (format!("The query parameter {place}"), place),
    };
    Problem::new(ProblemCode::BadRequest, format!("{subject} {what}.")).field(field, what)
}

/// Says which member of a body is wrong, and what is expected.
fn refused_body(mismatch: &Mismatch) -> Problem {
    let (place, what) = (mismatch.place(), mismatch.kind.to_string());
    let is_nameless = matches!(&mismatch.kind, MismatchKind::UnknownMember { name: None, .. });
    let subject = match (place.as_str(), is_nameless) {
        ("", false) => "The body".to_owned(),
        ("", true) => "A member of the body".to_owned(),
        (place, false) => format!("The member {place} of the body"),
        (place, true) => format!("A member of {place} in the body"),
    };
    let field = if place.is_empty() { "body".to_owned() } else { place };
    Problem::new(ProblemCode::BadRequest, format!("{subject} {what}.")).member(
        field,
        &mismatch.pointer(),
        what,
    )
}

/// Limits of reading a body.
#[derive(Clone, Copy, Debug)]
pub struct BodyLimits {
    /// Size in bytes.
    pub bytes: usize,
    /// Time for the whole body.
    pub time: Duration,
}

/// A JSON body as a typed struct, and as it was sent.
#[derive(Debug)]
pub(crate) struct AppJson<T>(pub(crate) T, pub(crate) SentBody);

impl<T: DeserializeOwned, S> FromRequest<S> for AppJson<T>
where
    BodyLimits: FromRef<S>,
    S: Send + Sync,
{
    type Rejection = Problem;

    async fn from_request(request: Request, state: &S) -> Result<Self, Problem> {
        let limits = BodyLimits::from_ref(state);
        refuse_by_head(request.headers(), limits)?;
        let bytes = read_body(request, limits).await?;
        let decoded = body::decode_request::<JsonObject<T>>(&bytes);
        match decoded {
            Ok(JsonObject(value)) => Ok(Self(value, SentBody { bytes, lists: OnceLock::new() })),
            Err(mismatch) => Err(refused_body(&mismatch)),
        }
    }
}

/// A body as it was sent. It is read again, once, only where a member is missing.
#[derive(Debug)]
pub(crate) struct SentBody {
    bytes: Bytes,
    lists: OnceLock<SentLists>,
}

/// Members, of which only the names count.
type MemberNames = serde_json::Map<String, serde_json::Value>;

/// The list of a body.
#[derive(Debug, Default, Deserialize)]
struct SentLists {
    #[serde(alias = "items")]
    tenants: Vec<MemberNames>,
}

impl SentBody {
    /// Adds to a problem about a missing member what its name was mistyped as: bodies with members
    /// of the registries may have unknown ones. `entry`: position in the list of the body.
    pub(crate) fn explain(&self, error: RouteError, entry: Option<usize>) -> Problem {
        let known = if let RouteError::BadRequest(field) = &error { field.names() } else { &[] };
        let problem = Problem::from(error);
        if known.is_empty() {
            return problem;
        }
        let mistyped = match entry {
            None => {
                body::decode::<MemberNames>(&self.bytes).ok().and_then(|all| mistyped(&all, known))
            }
            Some(index) => {
                let read = || body::decode::<SentLists>(&self.bytes).unwrap_or_default();
                let lists = self.lists.get_or_init(read);
                lists.tenants.get(index).and_then(|all| mistyped(all, known))
            }
        };
        match mistyped {
            Some((name, known)) => problem.note(&format!("It has {name}; did you mean {known}?")),
            None => problem,
        }
    }
}

/// Finds a name that is one of the known ones, but mistyped.
fn mistyped(names: &MemberNames, known: &[&'static str]) -> Option<(String, &'static str)> {
    let mut others = names.keys().filter(|name| !known.contains(&name.as_str()));
    others.find_map(|name| {
        let meant = known.iter().find(|known| is_mistyped(name, known))?;
        Some((name.clone(), *meant))
    })
}

/// A body that counts for nothing, of whatever type. It is read within the limits all the same: the
/// work begins only after the whole request has come.
#[derive(Debug)]
pub(crate) struct IgnoredBody;

impl<S> FromRequest<S> for IgnoredBody
where
    BodyLimits: FromRef<S>,
    S: Send + Sync,
{
    type Rejection = Problem;

    async fn from_request(request: Request, state: &S) -> Result<Self, Problem> {
        read_body(request, BodyLimits::from_ref(state)).await.map(|_ignored| Self)
    }
}

fn refuse_by_head(headers: &HeaderMap, limits: BodyLimits) -> Result<(), Problem> {
    let length =
        headers.get(CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse::<usize>().ok());
    if length.is_some_and(|length| length > limits.bytes) {
        return Err(Problem::too_large(limits.bytes));
    }
    let kind = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or("");
    let essence = kind.split(';').next().unwrap_or("").trim();
    if !essence.eq_ignore_ascii_case("application/json") {
        let detail = "The body must be sent as Content-Type: application/json.";
        let problem = Problem::new(ProblemCode::UnsupportedMediaType, detail);
        return Err(problem.field("Content-Type", "must be application/json"));
    }
    Ok(())
}

/// Reads the whole body.
///
/// # Errors
/// Larger or slower than the limits, or not framed correctly.
pub(crate) async fn read_body(request: Request, limits: BodyLimits) -> Result<Bytes, Problem> {
    let record = RequestRecord::from_extensions(request.extensions());
    let body = Limited::new(request.into_body(), limits.bytes);
    let collecting = tokio::time::timeout(limits.time, body.collect());
    match record.wait_outside(collecting).await {
        Ok(Ok(collected)) => {
            record.take_place().await?;
            Ok(collected.to_bytes())
        }
        Ok(Err(error)) if error.is::<http_body_util::LengthLimitError>() => {
            Err(Problem::too_large(limits.bytes))
        }
        Ok(Err(_)) => {
            let detail = "The body ended early or is not framed correctly.";
            Err(Problem::new(ProblemCode::BadRequest, detail).closing())
        }
        Err(_) => {
            let detail = "The body did not arrive in time.";
            Err(Problem::new(ProblemCode::RequestTimeout, detail).closing())
        }
    }
}
