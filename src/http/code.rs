//! The closed list of problem codes: status, title, whether a retry can help, log level.
//!
//! Invariant: codes are a public interface. The status or title of a code never changes. The order
//! of the rows is that of `docs/reference/problems.md`.

use http::StatusCode;
use tracing::Level;

use crate::pages::ProblemSummary;

/// What is fixed for a code.
#[derive(Clone, Copy, Debug)]
pub struct CodeSpec {
    /// The stable word, also the end of the problem's `type` (with hyphens).
    pub name: &'static str,
    /// The HTTP status.
    pub status: StatusCode,
    /// RFC 9457 `title`.
    pub title: &'static str,
    /// Whether the same request may succeed later without any change.
    pub retryable: bool,
    /// RFC 9209 error type for `Proxy-Status`, where an upstream is involved.
    pub proxy: Option<&'static str>,
    /// ERROR: we or the operator must act. WARN: recovered, or refused by policy. INFO: the
    /// caller's mistake.
    pub level: Level,
}

/// The code and title of an entry in CF's own `errors` array.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CfErrorCode {
    /// CF's number.
    pub code: u32,
    /// CF's name, with its prefix.
    pub title: &'static str,
}

/// The caller sent no token.
pub(crate) const CF_NOT_AUTHENTICATED: CfErrorCode = cf(10_002, "CF-NotAuthenticated");

const fn cf(code: u32, title: &'static str) -> CfErrorCode {
    CfErrorCode { code, title }
}

/// Declares the codes: one row each.
macro_rules! codes {
    ($($code:ident, $name:literal, $status:ident, $title:literal, $retryable:literal, $proxy:expr, $level:ident;)+) => {
        /// Every code that a problem of the broker can carry.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        #[expect(missing_docs, reason = "each row below says what it means")]
        pub enum ProblemCode { $($code),+ }

        impl ProblemCode {
            /// All codes, in the order of the table.
            pub const ALL: &'static [Self] = &[$(Self::$code),+];

            /// Returns what is fixed for this code.
            pub const fn spec(self) -> CodeSpec {
                match self {
                    $(Self::$code => CodeSpec {
                        name: $name, status: StatusCode::$status, title: $title, retryable: $retryable,
                        proxy: $proxy, level: Level::$level,
                    },)+
                }
            }
        }
    };
}

/// Names of RFC 9209, section 2.3, that more than one row uses.
const CONFIGURATION: Option<&str> = Some("proxy_configuration_error");
const UNAVAILABLE: Option<&str> = Some("destination_unavailable");

#[rustfmt::skip]
mod table {
    use super::{Level, CodeSpec, StatusCode, CONFIGURATION, UNAVAILABLE};
    codes! {
        Unauthenticated, "unauthenticated", UNAUTHORIZED, "Caller not authenticated", false, None, INFO;
        ForbiddenScope, "forbidden_scope", FORBIDDEN, "Scope missing", false, None, INFO;
        ForbiddenProvider, "forbidden_provider", FORBIDDEN, "No provider entry for this client", false, None, INFO;
        ForbiddenApp, "forbidden_app", FORBIDDEN, "App outside the provider's policy", false, None, INFO;
        ForbiddenDomain, "forbidden_domain", FORBIDDEN, "Domain outside the provider's policy", false, None, INFO;
        DeniedByPolicy, "denied_by_policy", FORBIDDEN, "Refused by policy", false, Some("http_request_denied"), WARN;
        LoginFailed, "login_failed", BAD_REQUEST, "Login not accepted", false, None, INFO;
        CrossSite, "cross_site", FORBIDDEN, "Request from another site", false, None, WARN;
        FormInvalid, "form_invalid", FORBIDDEN, "Form not valid", false, None, INFO;
        BadRequest, "bad_request", BAD_REQUEST, "Malformed request", false, None, INFO;
        TenantMismatch, "tenant_mismatch", BAD_REQUEST, "Tenant ids differ", false, None, INFO;
        AppRequired, "app_required", BAD_REQUEST, "App must be named", false, None, INFO;
        MalformedPath, "malformed_path", BAD_REQUEST, "Malformed path or query", false, Some("http_request_error"), INFO;
        NotFound, "not_found", NOT_FOUND, "Not found", false, None, INFO;
        MethodNotAllowed, "method_not_allowed", METHOD_NOT_ALLOWED, "Method not allowed", false, None, INFO;
        RequestTimeout, "request_timeout", REQUEST_TIMEOUT, "Request too slow", false, None, INFO;
        TooLarge, "too_large", PAYLOAD_TOO_LARGE, "Body too large", false, None, INFO;
        UriTooLong, "uri_too_long", URI_TOO_LONG, "Path or query too long", false, None, INFO;
        UnsupportedMediaType, "unsupported_media_type", UNSUPPORTED_MEDIA_TYPE, "Unsupported content type", false, None, INFO;
        ExpectationFailed, "expectation_failed", EXPECTATION_FAILED, "Unsupported expectation", false, None, INFO;
        Misdirected, "misdirected", MISDIRECTED_REQUEST, "Host not served here", false, None, INFO;
        HostTaken, "host_taken", CONFLICT, "Host already taken", false, None, INFO;
        HostTakenElsewhere, "host_taken_elsewhere", CONFLICT, "Host taken in another organization", false, None, INFO;
        HostOfOtherTenant, "host_of_other_tenant", CONFLICT, "Host belongs to another tenant", false, None, INFO;
        RouteQuotaExceeded, "route_quota_exceeded", CONFLICT, "Route quota exhausted", false, None, INFO;
        AppRouteLimit, "app_route_limit", CONFLICT, "App has too many routes", false, None, INFO;
        WildcardNotMapped, "wildcard_not_mapped", CONFLICT, "Wildcard route not mapped", false, None, INFO;
        WeightedDestinations, "weighted_destinations", CONFLICT, "Route has weighted destinations", false, None, INFO;
        RouteMetadataFull, "route_metadata_full", CONFLICT, "No room for labels on the route", false, None, INFO;
        ReconcileGuard, "reconcile_guard", CONFLICT, "Refused to delete so many routes", false, None, INFO;
        ReleaseRepeated, "release_repeated", CONFLICT, "Attempt already released", false, None, WARN;
        HostInvalid, "host_invalid", UNPROCESSABLE_ENTITY, "Host name not valid", false, None, INFO;
        HostTooLong, "host_too_long", UNPROCESSABLE_ENTITY, "Host name too long", false, None, INFO;
        HostReserved, "host_reserved", UNPROCESSABLE_ENTITY, "Host name reserved", false, None, INFO;
        HostPatternMismatch, "host_pattern_mismatch", UNPROCESSABLE_ENTITY, "Host does not match the tenant pattern", false, None, INFO;
        AppNotFound, "app_not_found", UNPROCESSABLE_ENTITY, "App not found", false, None, INFO;
        DomainNotFound, "domain_not_found", UNPROCESSABLE_ENTITY, "Domain not found", false, None, INFO;
        NotMapped, "not_mapped", UNPROCESSABLE_ENTITY, "Not mapped to the route", false, None, INFO;
        TooManyRequests, "too_many_requests", TOO_MANY_REQUESTS, "Too many requests", true, None, INFO;
        Overloaded, "overloaded", SERVICE_UNAVAILABLE, "Broker overloaded", true, Some("connection_limit_reached"), WARN;
        Draining, "draining", SERVICE_UNAVAILABLE, "Broker is stopping", true, None, WARN;
        RouteBeingDeleted, "route_being_deleted", SERVICE_UNAVAILABLE, "Route is being deleted", true, None, WARN;
        KeysUnavailable, "keys_unavailable", SERVICE_UNAVAILABLE, "Callers cannot be verified now", true, UNAVAILABLE, WARN;
        IssuerNotBound, "issuer_not_bound", INTERNAL_SERVER_ERROR, "No binding to verify callers with", false, CONFIGURATION, ERROR;
        DestinationMissing, "destination_missing", BAD_GATEWAY, "Destination missing", false, CONFIGURATION, ERROR;
        DestinationInvalid, "destination_invalid", BAD_GATEWAY, "Destination invalid", false, CONFIGURATION, ERROR;
        DestinationUnavailable, "destination_unavailable", SERVICE_UNAVAILABLE, "Destination service unavailable", true, UNAVAILABLE, WARN;
        TechnicalUserRejected, "technical_user_rejected", BAD_GATEWAY, "The technical user was refused", false, CONFIGURATION, ERROR;
        TechnicalUserMfa, "technical_user_mfa", BAD_GATEWAY, "The technical user needs a second factor", false, CONFIGURATION, ERROR;
        TechnicalUserActionRequired, "technical_user_action_required", BAD_GATEWAY, "The technical user needs attention", false, CONFIGURATION, ERROR;
        TechnicalUserLocked, "technical_user_locked", SERVICE_UNAVAILABLE, "The technical user is locked", true, UNAVAILABLE, ERROR;
        UaaUnavailable, "uaa_unavailable", SERVICE_UNAVAILABLE, "CF login server unavailable", true, UNAVAILABLE, WARN;
        UpstreamAuthFailed, "upstream_auth_failed", BAD_GATEWAY, "CF API refuses our token", false, CONFIGURATION, ERROR;
        TechnicalUserLacksRole, "technical_user_lacks_role", BAD_GATEWAY, "The technical user lacks a role", false, CONFIGURATION, ERROR;
        CertificateRefused, "certificate_refused", BAD_GATEWAY, "Certificate of another system refused", false, Some("tls_certificate_error"), ERROR;
        CfRateLimited, "cf_rate_limited", SERVICE_UNAVAILABLE, "CF API rate limit reached", true, None, WARN;
        CfUnavailable, "cf_unavailable", SERVICE_UNAVAILABLE, "CF API unavailable", true, Some("connection_terminated"), WARN;
        CfTimeout, "cf_timeout", GATEWAY_TIMEOUT, "CF API too slow", true, Some("http_response_timeout"), WARN;
        CfError, "cf_error", BAD_GATEWAY, "Unexpected answer of the CF API", true, None, WARN;
        CfJobFailed, "cf_job_failed", BAD_GATEWAY, "CF job failed", true, None, WARN;
        CfRefused, "cf_refused", BAD_GATEWAY, "CF API refused", false, None, WARN;
        Internal, "internal", INTERNAL_SERVER_ERROR, "Internal error", false, Some("proxy_internal_error"), ERROR;
    }
}
pub use table::ProblemCode;

impl ProblemCode {
    /// Returns what pages say of the code.
    pub(crate) fn summary(self) -> ProblemSummary {
        let CodeSpec { name, status, title, retryable, .. } = self.spec();
        let (status, guide) = (status.as_u16(), self.guide());
        ProblemSummary { code: name, status, title, retryable, guide }
    }

    /// Returns how CF would name the problem. Clients of the CF API read this, and some log on
    /// again at 1000 or 10002: only faults of the caller's own token may have these.
    pub const fn cf_error(self) -> CfErrorCode {
        if matches!(self, Self::UaaUnavailable) {
            return cf(20_004, "CF-UaaUnavailable");
        }
        if matches!(self, Self::CfRateLimited) {
            return cf(10_013, "CF-RateLimitExceeded");
        }
        match self.spec().status.as_u16() {
            401 => cf(1000, "CF-InvalidAuthToken"),
            403 => cf(10_003, "CF-NotAuthorized"),
            404 | 405 => cf(10_000, "CF-NotFound"),
            409 | 422 => cf(10_008, "CF-UnprocessableEntity"),
            415 => cf(1003, "CF-InvalidContentType"),
            429 => cf(10_013, "CF-RateLimitExceeded"),
            400..=499 => cf(1004, "CF-BadRequest"),
            503 => cf(10_015, "CF-ServiceUnavailable"),
            _ => cf(10_001, "CF-ServerError"),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::{CF_NOT_AUTHENTICATED, ProblemCode};

    #[test]
    fn names_are_unique_and_snake_case() {
        let names: HashSet<_> = ProblemCode::ALL.iter().map(|code| code.spec().name).collect();
        assert_eq!(names.len(), ProblemCode::ALL.len());
        assert!(names.iter().all(|n| n.bytes().all(|b| b.is_ascii_lowercase() || b == b'_')));
    }

    #[test]
    fn the_reference_lists_every_code_in_this_order() {
        let reference = include_str!("../../docs/reference/problems.md");
        let listed: Vec<_> = reference.lines().filter(|line| line.starts_with("| `")).collect();
        let expected = ProblemCode::ALL.iter().map(|code| {
            let (spec, cf) = (code.spec(), code.cf_error());
            let again = if spec.retryable { "yes" } else { "no" };
            let status = spec.status.as_u16();
            format!("| `{}` | {status} | {again} | {} | {} |", spec.name, spec.title, cf.code)
        });
        assert_eq!(listed, expected.collect::<Vec<_>>());
    }

    #[test]
    fn the_reference_names_every_title_of_cf() {
        let reference = include_str!("../../docs/reference/problems.md");
        let all = ProblemCode::ALL.iter().map(|code| code.cf_error()).chain([CF_NOT_AUTHENTICATED]);
        for cf in all {
            let pair = format!("{} `{}`", cf.code, cf.title);
            assert!(reference.contains(&pair), "{pair}");
        }
    }

    /// A client that reads 1000 or 10002 logs on again, which cannot help here.
    #[test]
    fn only_a_fault_of_the_callers_token_makes_a_client_log_on_again() {
        for code in ProblemCode::ALL.iter().filter(|code| code.spec().status != 401) {
            assert!(![1000, 10_002].contains(&code.cf_error().code), "{code:?}");
        }
    }

    #[test]
    fn every_503_is_retryable() {
        for code in ProblemCode::ALL {
            let spec = code.spec();
            if spec.status == 503 {
                assert!(spec.retryable, "{}", spec.name);
            }
        }
    }
}
