//! Which codes an operation can answer with, as groups that belong to its steps.
//!
//! The tests of the whole broker check the lists from outside: an answer with a code that its
//! operation does not list fails (`tests/it/support`).

use crate::http::code::ProblemCode::{
    self, AppNotFound, AppRequired, AppRouteLimit, BadRequest, CertificateRefused, CfError,
    CfJobFailed, CfRateLimited, CfRefused, CfTimeout, CfUnavailable, CrossSite, DeniedByPolicy,
    DestinationInvalid, DestinationMissing, DestinationUnavailable, DomainNotFound, Draining,
    ExpectationFailed, ForbiddenApp, ForbiddenDomain, ForbiddenProvider, ForbiddenScope,
    FormInvalid, HostInvalid, HostOfOtherTenant, HostPatternMismatch, HostReserved, HostTaken,
    HostTakenElsewhere, HostTooLong, Internal, IssuerNotBound, KeysUnavailable, LoginFailed,
    MalformedPath, MethodNotAllowed, Misdirected, NotFound, NotMapped, Overloaded, ReconcileGuard,
    ReleaseRepeated, RequestTimeout, RouteBeingDeleted, RouteMetadataFull, RouteQuotaExceeded,
    TechnicalUserActionRequired, TechnicalUserLacksRole, TechnicalUserLocked, TechnicalUserMfa,
    TechnicalUserRejected, TenantMismatch, TooLarge, TooManyRequests, UaaUnavailable,
    Unauthenticated, UnsupportedMediaType, UpstreamAuthFailed, UriTooLong, WeightedDestinations,
    WildcardNotMapped,
};

type Codes = &'static [ProblemCode];

/// The head of a request, and a mistake of the broker.
const HEAD: Codes = &[
    BadRequest,
    MalformedPath,
    ExpectationFailed,
    TooLarge,
    UriTooLong,
    UnsupportedMediaType,
    MethodNotAllowed,
    Internal,
];
/// Admission of everything but probes.
const ADMISSION: Codes = &[Misdirected, Overloaded, Draining, CfTimeout];
/// A caller with a scope.
const CALLER: Codes = &[
    Unauthenticated,
    ForbiddenScope,
    TooManyRequests,
    KeysUnavailable,
    IssuerNotBound,
    CertificateRefused,
];
/// A body that is read.
const BODY: Codes = &[RequestTimeout, TooLarge, UnsupportedMediaType, BadRequest];
/// Why there is no token of the technical user.
pub(super) const TOKEN: Codes = &[
    DestinationMissing,
    DestinationInvalid,
    DestinationUnavailable,
    CertificateRefused,
    TechnicalUserRejected,
    TechnicalUserMfa,
    TechnicalUserActionRequired,
    TechnicalUserLocked,
    UaaUnavailable,
];
/// A call of the CF API.
const CF: Codes = &[
    UpstreamAuthFailed,
    TechnicalUserLacksRole,
    CfError,
    CfRefused,
    CfRateLimited,
    CfUnavailable,
    CfTimeout,
];
/// A provider entry and a tenant.
const TENANT: Codes = &[ForbiddenProvider, TenantMismatch];
/// What a caller asks for is outside of its provider entry, or is not there.
const TARGET: Codes = &[
    AppRequired,
    ForbiddenApp,
    ForbiddenDomain,
    HostInvalid,
    HostTooLong,
    HostReserved,
    HostPatternMismatch,
    AppNotFound,
    DomainNotFound,
];
/// A route that cannot be had.
const ROUTE: Codes = &[
    HostTaken,
    HostTakenElsewhere,
    HostOfOtherTenant,
    RouteQuotaExceeded,
    AppRouteLimit,
    WildcardNotMapped,
    WeightedDestinations,
    RouteMetadataFull,
    RouteBeingDeleted,
    CfJobFailed,
];
/// A login.
const LOGIN: Codes = &[IssuerNotBound, Unauthenticated];

/// The groups of an operation; `None` for one that is not listed here.
fn groups(operation: &str) -> Option<Vec<Codes>> {
    let own: Vec<Codes> = match operation {
        "read_liveness" | "read_readiness" => return Some(vec![HEAD]),
        "read_root" | "list_problems" | "read_openapi" | "read_docs" => vec![],
        "read_problem" | "read_asset" => vec![&[NotFound]],
        "read_metrics" | "list_destinations" => vec![CALLER],
        "read_status" => vec![CALLER, &[NotFound]],
        "release_attempt" => {
            vec![CALLER, BODY, &[NotFound, TechnicalUserLocked, ReleaseRepeated]]
        }
        "release_attempt_by_form" => {
            vec![CALLER, BODY, &[NotFound, CrossSite, FormInvalid]]
        }
        "list_spaces" => vec![CALLER, TOKEN, CF],
        "read_space" => vec![CALLER, TOKEN, CF, &[NotFound]],
        "ensure_route" | "create_route" => {
            vec![CALLER, BODY, TOKEN, CF, TENANT, TARGET, ROUTE]
        }
        "read_routes_of_tenant" | "read_operation" => {
            vec![CALLER, TOKEN, CF, TENANT, &[NotFound]]
        }
        "list_routes" => vec![CALLER, TOKEN, CF, TENANT],
        "delete_routes_of_tenant" => {
            vec![
                CALLER,
                BODY,
                TOKEN,
                CF,
                TENANT,
                TARGET,
                &[
                    HostTaken,
                    WeightedDestinations,
                    RouteMetadataFull,
                    ReconcileGuard,
                    CfJobFailed,
                    RouteBeingDeleted,
                ],
            ]
        }
        "transfer_routes" | "change_many_routes" => vec![CALLER, BODY, TOKEN, CF, TENANT],
        "reconcile_routes" => {
            vec![CALLER, BODY, TOKEN, CF, TENANT, TARGET, &[ReconcileGuard]]
        }
        "start_login" | "logged_out" | "read_logged_out" => vec![LOGIN],
        "log_out" => vec![LOGIN, &[CrossSite]],
        "finish_login" => {
            vec![LOGIN, &[LoginFailed, KeysUnavailable, CertificateRefused]]
        }
        _ => return None,
    };
    Some([HEAD, ADMISSION].into_iter().chain(own).collect())
}

/// The codes of an operation, in the order of the reference. A row of the allow list has those of
/// the CF API and of the judgement.
pub(super) fn codes_of(operation: &str) -> Vec<ProblemCode> {
    let row: [Codes; 7] = [
        HEAD,
        ADMISSION,
        CALLER,
        BODY,
        TOKEN,
        CF,
        &[DeniedByPolicy, ForbiddenProvider, NotFound, NotMapped],
    ];
    let all = match groups(operation) {
        Some(all) => all,
        None if operation.starts_with("cf_") => row.to_vec(),
        None => panic!("{operation} has no list of codes"),
    };
    let codes = ProblemCode::ALL.iter().copied();
    codes.filter(|code| all.iter().any(|group| group.contains(code))).collect()
}
