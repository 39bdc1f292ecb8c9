//! Error mapping: every module's error becomes a [`Problem`] here, by exhaustive `match`.
//!
//! Invariant: `detail` is what an administrator reads in a failed subscription: what happened,
//! where, what to do, in our own words; no upstream text, no secret, no owner's name. CF's own
//! errors go into `cf_errors`, nowhere else.

use std::time::Duration;

use http::StatusCode;
use tokio::time::Instant;

use crate::{
    auth::Scope,
    capi::{CapiError, Unavailability},
    destination::SourceKind,
    http::{
        code::ProblemCode,
        problem::{Problem, Retryable},
    },
    policy::{Breach, Denial},
    proxy::ProxyError,
    routes::{RouteError, error::NotDeleted},
    token::{LeaseRefusal, Reason, clock_time},
};

/// `Retry-After` of a 503 whose end is not known.
const SOON: Duration = Duration::from_secs(5);
/// Detail of an internal error.
const OUR_MISTAKE: &str = "The broker made a mistake; its log has the correlation id.";
/// Detail where the certificate of the CF API is refused.
const UNTRUSTED_CF_API: &str = "The CF API cannot be reached: its certificate was refused: it has expired, is for \
                                another host than that of the destination's property URL, or its authority is \
                                missing in upstream.extra_ca_file, which is read when the broker starts.";

impl From<LeaseRefusal> for Problem {
    fn from(refusal: LeaseRefusal) -> Self {
        let code = code_of_reason(&refusal.reason);
        let problem = Self::new(code, detail_of(&refusal));
        let problem = if code.spec().status == StatusCode::SERVICE_UNAVAILABLE {
            problem.retry_after(Some(refusal.retry_after(Instant::now()).unwrap_or(SOON)))
        } else {
            problem
        };
        problem.source(refusal)
    }
}

/// Returns the public code of a reason why there is no token.
pub(crate) fn code_of_reason(reason: &Reason) -> ProblemCode {
    match reason {
        Reason::DestinationMissing => ProblemCode::DestinationMissing,
        Reason::DestinationInvalid { .. } | Reason::Misconfigured { .. } => {
            ProblemCode::DestinationInvalid
        }
        Reason::DestinationUnavailable { .. } => ProblemCode::DestinationUnavailable,
        Reason::DestinationUntrusted { .. } | Reason::UaaUntrusted { .. } => {
            ProblemCode::CertificateRefused
        }
        Reason::Rejected { .. } | Reason::AssertionRejected { .. } => {
            ProblemCode::TechnicalUserRejected
        }
        Reason::SecondFactor => ProblemCode::TechnicalUserMfa,
        Reason::ActionRequired { .. } => ProblemCode::TechnicalUserActionRequired,
        Reason::Locked { .. } => ProblemCode::TechnicalUserLocked,
        Reason::UaaUnavailable(_)
        | Reason::UaaSlow
        | Reason::UaaUnreachable { .. }
        | Reason::Unclear { .. }
        | Reason::NoTokenEndpoint { .. }
        | Reason::RefreshMisdirected { .. } => ProblemCode::UaaUnavailable,
        Reason::Internal => ProblemCode::Internal,
    }
}

fn detail_of(refusal: &LeaseRefusal) -> String {
    let name = &refusal.destination;
    match &refusal.reason {
        Reason::DestinationMissing => missing_detail(refusal),
        Reason::DestinationInvalid { findings } => {
            let note = restart_note(refusal);
            format!("The destination {name} cannot be used: {}.{note}", findings.join("; "))
        }
        Reason::DestinationUnavailable { advice } => {
            format!("The destination {name} cannot be read now: {advice}.")
        }
        Reason::DestinationUntrusted { advice } => {
            format!("The destination {name} cannot be read: {advice}.")
        }
        Reason::Rejected { advice } => format!(
            "The CF login server refused the logon of destination {name}: {advice}. Correct what is wrong in {}; {}.",
            refusal.read_from.map_or("the destination", SourceKind::place),
            when_in_use(refusal)
        ),
        Reason::AssertionRejected { advice } => format!(
            "The CF login server refused the logon of destination {name} with the assertion file: {advice}. The broker \
             reads the file again for each logon, and repeats a refused one with growing pauses."
        ),
        Reason::SecondFactor => format!(
            "The technical user of destination {name} is asked for a second factor: switch the second factor off for \
             the technical user. The broker cannot see that repair; an operator releases one attempt."
        ),
        Reason::ActionRequired { advice } => {
            let note = restart_note(refusal);
            format!("The technical user of destination {name} cannot log on: {advice}.{note}")
        }
        Reason::Misconfigured { advice } => {
            let note = restart_note(refusal);
            format!("The destination {name} does not lead to a logon: {advice}.{note}")
        }
        Reason::Locked { advice } => format!(
            "The technical user of destination {name} is locked after too many failed logons: {advice}. The broker waits \
             for the end of the lock and then tries once."
        ),
        Reason::UaaSlow => format!(
            "The CF login server has not answered in time, so there is no valid token for {name} yet. The broker goes on \
             waiting for its answer; repeat the request."
        ),
        Reason::UaaUnreachable { advice } | Reason::UaaUntrusted { advice } => {
            let note = restart_note(refusal);
            format!("The CF login server of destination {name} cannot be reached: {advice}.{note}")
        }
        Reason::UaaUnavailable(outage) => format!(
            "The CF login server {}, and there is no valid token for {name}.",
            outage.text()
        ),
        Reason::Unclear { until } => unclear_detail(name, *until),
        Reason::NoTokenEndpoint { status } => no_token_endpoint_detail(refusal, *status),
        Reason::RefreshMisdirected { status } => refresh_misdirected_detail(refusal, *status),
        Reason::Internal => OUR_MISTAKE.to_owned(),
    }
}

fn missing_detail(refusal: &LeaseRefusal) -> String {
    let name = &refusal.destination;
    let place = match refusal.read_from {
        None => {
            return format!(
                "There is no destination {name}: no Destination service is bound, and no other source holds it. Bind a \
                 Destination service with this destination, or a user-provided service of this name, and restart the \
                 broker."
            );
        }
        Some(SourceKind::File) => "the destination file",
        Some(_) => "the subaccount",
    };
    format!("There is no destination {name}. Create it in {place}; {}.", when_in_use(refusal))
}

fn refresh_misdirected_detail(refusal: &LeaseRefusal, status: u16) -> String {
    let note = restart_note(refusal);
    format!(
        "The token URL of destination {} answered a refresh with HTTP {status}, which is no answer of a token endpoint. \
         The broker repeats the refresh, and logs on instead if it keeps failing. If this lasts, check host and path of \
         the token URL.{note}",
        refusal.destination
    )
}

fn unclear_detail(name: &str, until: Instant) -> String {
    format!(
        "The CF login server gave no clear answer to a logon, so it may count as a wrong password, and five lock the \
         user. To protect the technical user of destination {name}, the broker sends the next password at {} or \
         later. An operator can release one attempt before (POST /destinations/{name}/retry), but only with a password \
         that is known to be right: it may be the fifth that counts.",
        clock_time(until)
    )
}

fn no_token_endpoint_detail(refusal: &LeaseRefusal, status: u16) -> String {
    let name = &refusal.destination;
    let note = restart_note(refusal);
    let at = refusal.retry_at.map(|at| format!(" from {} on", clock_time(at))).unwrap_or_default();
    format!(
        "The token URL of destination {name} was answered with HTTP {status}, which is no answer of a token endpoint. \
         With the first request{at} the broker asks again, without a password, and logs on as soon as a token endpoint \
         answers. If this lasts, check host and path of the token URL.{note}"
    )
}

/// When a correction of the destination is in use, as the end of a sentence.
pub(super) fn when_in_use(refusal: &LeaseRefusal) -> &'static str {
    if refusal.needs_restart() {
        "then restart the broker, which reads it only when it starts"
    } else {
        "the broker notices within 60 seconds"
    }
}

/// Empty where the broker notices a correction by itself.
pub(super) fn restart_note(refusal: &LeaseRefusal) -> String {
    match refusal.read_from {
        Some(source) if refusal.needs_restart() => {
            let place = source.place();
            format!(
                " A change of {place} needs a restart of the broker, which reads it only when it starts."
            )
        }
        Some(_) | None => String::new(),
    }
}

impl From<CapiError> for Problem {
    fn from(error: CapiError) -> Self {
        if let CapiError::Token(refusal) = error {
            return refusal.into();
        }
        let (code, detail) = code_of_call(&error);
        let mut problem = Self::new(code, detail).cf_errors(error.cf_errors());
        if code.spec().status == StatusCode::SERVICE_UNAVAILABLE {
            problem = problem.retry_after(Some(error.retry_after().unwrap_or(SOON)));
        }
        if code == ProblemCode::CfError && !error.is_transient() {
            problem = problem.retryable(Retryable::No);
        }
        problem.source(error)
    }
}

fn code_of_call(error: &CapiError) -> (ProblemCode, &'static str) {
    match error {
        // Handled by the calling function; the refusal has its own texts.
        CapiError::Token(_) => {
            (ProblemCode::UaaUnavailable, "There is no token for the technical user.")
        }
        CapiError::Unauthorized { .. } => (
            ProblemCode::UpstreamAuthFailed,
            "The CF API refuses the technical user's token, also a new one. Check that the token URL and the API URL of \
             the destination belong to the same region.",
        ),
        CapiError::LacksRole(_) => (
            ProblemCode::TechnicalUserLacksRole,
            "The technical user may not do this in CF. Give it the role Space Supporter (or Space Developer) in the \
             space, with the origin of the destination.",
        ),
        CapiError::NotFound(_) => (
            ProblemCode::CfError,
            "The CF API does not know something that it named before; it may have been deleted just now.",
        ),
        CapiError::Refused(_) if error.is_bad_request() => {
            (ProblemCode::CfError, "The CF API did not understand the broker's request.")
        }
        CapiError::Refused(_) => {
            (ProblemCode::CfRefused, "The CF API refused; its own errors are attached.")
        }
        CapiError::Failed(_) => (
            ProblemCode::CfError,
            "The CF API failed; its own errors are attached where it gave any.",
        ),
        CapiError::RateLimited { .. } => (
            ProblemCode::CfRateLimited,
            "The technical user has used up its rate limit at the CF API; every app behind it shares that limit.",
        ),
        CapiError::Unavailable { cause: Unavailability::Busy, .. } => {
            (ProblemCode::Overloaded, "Too many calls to the CF API are in flight.")
        }
        CapiError::Unavailable { cause: Unavailability::TlsCertificate, .. } => {
            (ProblemCode::CertificateRefused, UNTRUSTED_CF_API)
        }
        CapiError::Unavailable { cause, .. } => {
            (ProblemCode::CfUnavailable, why_unavailable(*cause))
        }
        CapiError::Timeout { .. } => (
            ProblemCode::CfTimeout,
            "The CF API did not answer in time. What was begun is looked up before it is repeated.",
        ),
        CapiError::Unreadable { .. } => {
            (ProblemCode::CfError, "An answer of the CF API could not be read.")
        }
        CapiError::Internal(_) => (ProblemCode::Internal, OUR_MISTAKE),
    }
}

fn why_unavailable(cause: Unavailability) -> &'static str {
    match cause {
        Unavailability::TlsCertificate => UNTRUSTED_CF_API,
        Unavailability::TlsProtocol => {
            "No TLS connection to the CF API can be made: check host and port of the destination's property URL."
        }
        Unavailability::Dns => {
            "The CF API cannot be reached: the name of its host has no address. It is the host of the destination's \
             property URL: check it, and the DNS."
        }
        Unavailability::Busy
        | Unavailability::ConnectionRefused
        | Unavailability::ConnectionTimeout
        | Unavailability::Connection
        | Unavailability::ConnectionTerminated
        | Unavailability::BreakerOpen
        | Unavailability::RouterPage
        | Unavailability::Answered => "The CF API cannot be reached or does not serve now.",
    }
}

impl From<ProxyError> for Problem {
    fn from(error: ProxyError) -> Self {
        match error {
            ProxyError::Capi(error) => error.into(),
            ProxyError::Denied(denial) => denial.into(),
            ProxyError::Unclear(error) => unclear(error),
            ProxyError::Unpassable => Self::new(
                ProblemCode::CfError,
                "The CF API answered in a form that is not passed on.",
            )
            .retryable(Retryable::No)
            .source(error),
        }
    }
}

/// CF may have executed it. On `/v3` the broker does not look it up, so the caller must check
/// before a retry.
fn unclear(error: CapiError) -> Problem {
    let code = match &error {
        CapiError::Timeout { .. } => ProblemCode::CfTimeout,
        CapiError::Token(_)
        | CapiError::Unauthorized { .. }
        | CapiError::LacksRole(_)
        | CapiError::NotFound(_)
        | CapiError::Refused(_)
        | CapiError::Failed(_)
        | CapiError::RateLimited { .. }
        | CapiError::Unavailable { .. }
        | CapiError::Unreadable { .. }
        | CapiError::Internal(_) => ProblemCode::CfError,
    };
    let detail = "The CF API got the request but gave no answer, so it may have been executed. Look before you repeat it.";
    Problem::new(code, detail).retryable(Retryable::No).source(error)
}

impl From<Denial> for Problem {
    fn from(denial: Denial) -> Self {
        match &denial {
            Denial::Scope(scope) => Self::scope_missing(*scope),
            Denial::Malformed(malformed) => Self::new(
                ProblemCode::BadRequest,
                "The body is not of the form that this call takes; unknown and repeated members are refused.",
            )
            .field("body", malformed.to_string()),
            Denial::NoRule => {
                let detail = "No rule of the broker's allow list lets this method and path pass.";
                Self::new(ProblemCode::DeniedByPolicy, detail).source(denial)
            }
            Denial::Breach(Breach::Destination) => {
                Self::new(ProblemCode::NotMapped, what_was_breached(Breach::Destination)).source(denial)
            }
            Denial::Breach(breach) => {
                Self::new(ProblemCode::DeniedByPolicy, what_was_breached(*breach)).source(denial)
            }
        }
    }
}

fn what_was_breached(breach: Breach) -> &'static str {
    match breach {
        Breach::Space => "Only routes of the provider's own space may be written.",
        Breach::Domain => "The domain does not belong to the provider.",
        Breach::Host => {
            "The host is not a valid host name (a-z, 0-9 and -), or does not match the provider's host template."
        }
        Breach::RefusedHost => "The host belongs to the broker or to the platform.",
        Breach::PathOrPort => "Routes with a path or a port are not written through the broker.",
        Breach::Label => "Labels and annotations under the broker's prefix are the broker's own.",
        Breach::App => "An app does not belong to the provider.",
        Breach::Owner => "The route was not created by this caller.",
        Breach::Destination => {
            "The route has no destination with this guid: it was removed already, or belongs to another route."
        }
    }
}

impl From<RouteError> for Problem {
    fn from(error: RouteError) -> Self {
        if let RouteError::Capi(error) = error {
            return error.into();
        }
        if let RouteError::NotDeleted(all) = error {
            return not_deleted(&all);
        }
        let detail = error.detail().unwrap_or(OUR_MISTAKE.into());
        let mut problem = Self::new(code_of_route(&error), detail).retry_after(error.retry_after());
        if let RouteError::BadRequest(field) = &error {
            problem = match field.pointer() {
                Some(pointer) => problem.member(field.to_string(), &pointer, field.fault()),
                None => problem.field(field.to_string(), field.fault()),
            };
        }
        if matches!(error, RouteError::ForbiddenScope) {
            problem = problem.lacking(Scope::RoutesAdmin);
        }
        problem.cf_errors(error.cf_errors()).source(error)
    }
}

/// One failure gives the problem; each remaining route is listed with its code.
fn not_deleted(all: &[NotDeleted]) -> Problem {
    let problem = |one: &NotDeleted| Problem::from(RouteError::clone(&one.error));
    let first = NotDeleted::representative(all).map(problem);
    let whole = first.unwrap_or_else(|| Problem::new(ProblemCode::Internal, "No route was named."));
    all.iter().fold(whole, |whole, one| {
        let code = problem(one).code().spec().name;
        whole.field(one.guid.to_string(), format!("{}: {code}", one.host))
    })
}

fn code_of_route(error: &RouteError) -> ProblemCode {
    match error {
        RouteError::BadRequest(_) => ProblemCode::BadRequest,
        RouteError::TenantMismatch => ProblemCode::TenantMismatch,
        RouteError::AppRequired { .. } => ProblemCode::AppRequired,
        RouteError::ForbiddenScope => ProblemCode::ForbiddenScope,
        RouteError::ForbiddenProvider => ProblemCode::ForbiddenProvider,
        RouteError::ForbiddenApp => ProblemCode::ForbiddenApp,
        RouteError::ForbiddenDomain => ProblemCode::ForbiddenDomain,
        RouteError::NotFound => ProblemCode::NotFound,
        RouteError::HostTaken(_) => ProblemCode::HostTaken,
        RouteError::HostTakenElsewhere(_) => ProblemCode::HostTakenElsewhere,
        RouteError::HostOfOtherTenant(_) => ProblemCode::HostOfOtherTenant,
        RouteError::RouteQuotaExceeded => ProblemCode::RouteQuotaExceeded,
        RouteError::AppRouteLimit { .. } => ProblemCode::AppRouteLimit,
        RouteError::WildcardNotMapped { .. } => ProblemCode::WildcardNotMapped,
        RouteError::WeightedDestinations(_) => ProblemCode::WeightedDestinations,
        RouteError::MetadataFull(_) => ProblemCode::RouteMetadataFull,
        RouteError::ReconcileGuard { .. } | RouteError::SubscribedAgain => {
            ProblemCode::ReconcileGuard
        }
        RouteError::HostInvalid => ProblemCode::HostInvalid,
        RouteError::HostTooLong { .. } => ProblemCode::HostTooLong,
        RouteError::HostReserved => ProblemCode::HostReserved,
        RouteError::HostPatternMismatch { .. } => ProblemCode::HostPatternMismatch,
        RouteError::AppNotFound { .. } => ProblemCode::AppNotFound,
        RouteError::DomainNotFound | RouteError::InternalDomain { .. } => {
            ProblemCode::DomainNotFound
        }
        RouteError::BeingDeleted => ProblemCode::RouteBeingDeleted,
        RouteError::Busy => ProblemCode::Overloaded,
        RouteError::Unclear | RouteError::Unfinished => ProblemCode::CfTimeout,
        RouteError::JobFailed { .. } => ProblemCode::CfJobFailed,
        RouteError::SpaceInvisible => ProblemCode::TechnicalUserLacksRole,
        // Handled by the calling function.
        RouteError::Capi(_) | RouteError::NotDeleted(_) | RouteError::Internal(_) => {
            ProblemCode::Internal
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use rstest::rstest;

    use crate::{
        auth::AuthError,
        capi::{CapiError, RequestSent, Unavailability},
        http::{
            code::ProblemCode,
            problem::{Problem, ProblemForm},
        },
        proxy::ProxyError,
        telemetry::trace::CorrelationId,
        upstream::ConnectFault,
    };

    fn unavailable(cause: Unavailability) -> CapiError {
        CapiError::Unavailable { cause, retry_after: Duration::from_secs(1), source: None }
    }

    #[test]
    fn a_full_concurrency_limit_is_overloaded_for_one_second() {
        let problem = Problem::from(unavailable(Unavailability::Busy));
        assert_eq!(problem.code(), ProblemCode::Overloaded);
        let answer = problem.render(&CorrelationId::random(), &ProblemForm::Own);
        assert_eq!(
            (answer.status().as_u16(), &answer.headers()["retry-after"]),
            (503, &"1".parse().unwrap())
        );
        let proxy_status = answer.headers()["proxy-status"].to_str().unwrap();
        assert!(!proxy_status.contains("connection_terminated"), "{proxy_status}");
    }

    #[rstest]
    #[case::certificate(
        Unavailability::TlsCertificate,
        ProblemCode::CertificateRefused,
        "upstream.extra_ca_file"
    )]
    #[case::protocol(Unavailability::TlsProtocol, ProblemCode::CfUnavailable, "host and port")]
    #[case::name(Unavailability::Dns, ProblemCode::CfUnavailable, "no address")]
    #[case::refused(
        Unavailability::ConnectionRefused,
        ProblemCode::CfUnavailable,
        "cannot be reached"
    )]
    fn a_cf_api_without_connection_says_what_is_to_be_repaired(
        #[case] cause: Unavailability,
        #[case] code: ProblemCode,
        #[case] word: &str,
    ) {
        let problem = Problem::from(unavailable(cause));
        assert_eq!(problem.code(), code);
        assert_eq!(code.spec().retryable, code != ProblemCode::CertificateRefused);
        let detail = problem.into_detail();
        assert!(detail.contains(word), "{detail}");
    }

    #[rstest]
    #[case::certificate(Some(ConnectFault::TlsCertificate), 502, "upstream.extra_ca_file")]
    #[case::name(Some(ConnectFault::Dns), 503, "no address")]
    #[case::no_answer(None, 503, "cannot be read now")]
    fn keys_that_cannot_be_read_say_what_is_to_be_repaired(
        #[case] cause: Option<ConnectFault>,
        #[case] status: u16,
        #[case] word: &str,
    ) {
        let error = AuthError::KeysUnavailable { retry_after: Duration::from_secs(7), cause };
        assert_eq!(error.is_transient(), status == 503);
        let problem = Problem::from(error);
        assert!(problem.clone().into_detail().contains(word));
        let answer = problem.render(&CorrelationId::random(), &ProblemForm::Own);
        assert_eq!(answer.status(), status);
        assert_eq!(answer.headers().contains_key("retry-after"), status == 503);
    }

    #[rstest]
    #[case::broken_off(unavailable(Unavailability::ConnectionTerminated), 502)]
    #[case::too_slow(CapiError::Timeout { sent: RequestSent::Maybe }, 504)]
    #[tokio::test]
    async fn a_write_of_unknown_outcome_is_not_retryable(
        #[case] error: CapiError,
        #[case] status: u16,
    ) {
        let answer = Problem::from(ProxyError::Unclear(error))
            .render(&CorrelationId::random(), &ProblemForm::Own);
        assert_eq!(answer.status(), status);
        let body = axum::body::to_bytes(answer.into_body(), 10_000).await.unwrap();
        let text = String::from_utf8(body.to_vec()).unwrap();
        assert!(text.contains(r#""retryable":false"#), "{text}");
    }
}
