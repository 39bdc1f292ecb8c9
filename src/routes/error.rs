//! Errors of operations on tenant routes.
//!
//! Invariant: each variant has one public code of `docs/reference/problems.md`, or carries a
//! [`CapiError`] that has one. Error texts never name another owner. Callers: `http` turns them
//! into problems.

use crate::capi::{CapiError, CfError, Guid};
use std::time::Duration;

/// `Retry-After` while another operation on the tenant or its host runs.
pub(super) const SHORT_PAUSE: Duration = Duration::from_secs(5);

/// Why an operation on tenant routes failed.
#[derive(Clone, Debug, thiserror::Error)]
pub enum RouteError {
    /// `bad_request`: a field is absent, malformed or given twice.
    #[error("bad request: {0}")]
    BadRequest(RequestField),
    /// `tenant_mismatch`: body and path, or two members of the body, name different tenants.
    #[error("two tenants are named")]
    TenantMismatch,
    /// `app_required`: the entry has several apps, or any app of the space, and none was named.
    #[error("no app is named")]
    AppRequired {
        /// The provider entry's apps; empty where it does not list them.
        apps: Vec<String>,
    },
    /// `forbidden_scope`: acting on behalf of an owner needs `Routes.Admin`.
    #[error("scope lacking")]
    ForbiddenScope,
    /// `forbidden_provider`: no provider entry serves this caller.
    #[error("no provider entry for this caller")]
    ForbiddenProvider,
    /// `forbidden_app`: the app is outside the provider entry.
    #[error("app outside the provider entry")]
    ForbiddenApp,
    /// `forbidden_domain`: the domain is outside the provider entry.
    #[error("domain outside the provider entry")]
    ForbiddenDomain,
    /// `not_found`: no route of this owner and tenant, or no such operation.
    #[error("not found")]
    NotFound,
    /// `host_taken`: another route that the technical user sees has the host.
    #[error("host taken")]
    HostTaken(Fqdn),
    /// `host_taken_elsewhere`: a route that the technical user does not see has the host.
    #[error("host taken elsewhere")]
    HostTakenElsewhere(Fqdn),
    /// `host_of_other_tenant`: the owner's own route for another tenant has the host.
    #[error("host of another tenant")]
    HostOfOtherTenant(Fqdn),
    /// `route_quota_exceeded`: the organization or the space may have no more routes.
    #[error("route quota exceeded")]
    RouteQuotaExceeded,
    /// `app_route_limit`: the app may have no more routes.
    #[error("app route limit reached")]
    AppRouteLimit {
        /// The provider entry's limit.
        limit: u64,
    },
    /// `wildcard_not_mapped`: the domain has no wildcard route to the app.
    #[error("wildcard route missing")]
    WildcardNotMapped {
        /// The domain.
        domain: String,
    },
    /// `weighted_destinations`: the route's destinations have weights, so CF neither adds nor
    /// removes one of them.
    #[error("weighted destinations")]
    WeightedDestinations(Fqdn),
    /// `route_metadata_full`: the route has no room for our labels and annotations.
    #[error("no room for labels")]
    MetadataFull(Fqdn),
    /// `reconcile_guard`: too many routes would be deleted.
    #[error("reconcile guard")]
    ReconcileGuard {
        /// Routes that would be deleted.
        orphans: usize,
        /// Routes of the owner.
        routes: usize,
    },
    /// `reconcile_guard`: the tenant was requested again after the reconcile had read the routes.
    #[error("tenant subscribed again")]
    SubscribedAgain,
    /// `host_invalid`: subdomain and template give no host name.
    #[error("host invalid")]
    HostInvalid,
    /// `host_too_long`: the host has more than 63 characters, or with its domain more than 253.
    #[error("host too long: {length}")]
    HostTooLong {
        /// Its length.
        length: usize,
        /// The longest possible name.
        limit: usize,
    },
    /// `host_reserved`: a reserved word, a host of the broker, or one that CF keeps for itself.
    #[error("host reserved")]
    HostReserved,
    /// `host_pattern_mismatch`: the approuter would not find the subdomain in the host.
    #[error("host does not match the pattern")]
    HostPatternMismatch {
        /// Host and domain.
        host: Fqdn,
        /// The pattern of the provider's entry.
        pattern: String,
    },
    /// `app_not_found`: the app does not exist in the provider entry's space.
    #[error("app not found")]
    AppNotFound {
        /// Its name, as the provider entry or the caller gives it.
        app: String,
    },
    /// `domain_not_found`: the organization may not use such a domain, or has no default domain.
    #[error("domain not found")]
    DomainNotFound,
    /// `domain_not_found`: the domain is internal, so it has no public URL.
    #[error("internal domain")]
    InternalDomain {
        /// Its name.
        domain: String,
    },
    /// `route_being_deleted`: CF is still deleting the route of the host.
    #[error("route being deleted")]
    BeingDeleted,
    /// `overloaded`: other requests for the same tenant or host did not end in time.
    #[error("waited too long for the same key")]
    Busy,
    /// `cf_timeout`: a create was sent and CF did not report its result. A repeat finds out.
    #[error("outcome unknown")]
    Unclear,
    /// `cf_timeout`: the request had to be answered before this part had ended. The part continues.
    #[error("not ended in time")]
    Unfinished,
    /// `cf_job_failed`: CF's delete job ended with errors.
    #[error("delete job failed")]
    JobFailed {
        /// CF's errors.
        cf_errors: Vec<CfError>,
    },
    /// The code of one failure: some routes of the tenant could not be deleted.
    #[error("{} routes not removed", .0.len())]
    NotDeleted(Vec<NotDeleted>),
    /// `technical_user_lacks_role`: the entry's space is not visible to the technical user.
    #[error("space not visible")]
    SpaceInvisible,
    /// The code of the CF client's error.
    #[error("cf api call failed")]
    Capi(#[from] CapiError),
    /// `internal`: an error in the broker.
    #[error("internal fault: {0}")]
    Internal(&'static str),
}

/// A member or parameter of a request, and what is wrong with it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RequestField {
    /// The body names no tenant.
    Tenant,
    /// The tenant id of the body has a wrong form.
    TenantForm,
    /// The tenant id is what a program writes for a missing value.
    TenantPlaceholder,
    /// The body has no subdomain.
    Subdomain,
    /// The body gives two subdomains.
    DifferentSubdomains,
    /// The subdomain is what a program writes for a missing value.
    SubdomainPlaceholder,
    /// The query has no subdomain for the unlabelled route.
    LegacySubdomain,
    /// The page, or its size, is 0.
    Page,
    /// The number of items of a batch.
    Items,
    /// The number of tenants of a reconcile.
    Tenants,
    /// The body of a reconcile has no list of tenants.
    TenantList,
    /// A tenant of a reconcile is listed again for the same app and domain.
    RepeatedTenant {
        /// Its position in the list, from 0.
        index: usize,
    },
    /// The operation of an item.
    Operation,
    /// The former owner of a transfer.
    FormerOwner,
    /// The new owner of a transfer.
    NewOwner,
    /// Both owners of a transfer are the same.
    SameOwner,
}

/// Host and domain of a route, both valid names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fqdn(pub(super) String);

/// A route that could not be deleted.
#[derive(Clone, Debug)]
pub struct NotDeleted {
    /// Its guid.
    pub guid: Guid,
    /// Its host.
    pub host: String,
    /// Why not.
    pub error: Box<RouteError>,
}

impl NotDeleted {
    /// Returns the failure that stands for all: the first that a repeat does not fix, otherwise the
    /// first.
    pub fn representative(all: &[Self]) -> Option<&Self> {
        all.iter().find(|one| !one.error.is_transient()).or(all.first())
    }
}

impl RouteError {
    /// Returns whether the same request may succeed later without a change.
    pub fn is_transient(&self) -> bool {
        match self {
            Self::BeingDeleted
            | Self::Busy
            | Self::Unclear
            | Self::Unfinished
            | Self::JobFailed { .. } => true,
            Self::Capi(error) => error.is_transient(),
            Self::NotDeleted(all) => all.iter().all(|one| one.error.is_transient()),
            Self::BadRequest(_)
            | Self::TenantMismatch
            | Self::AppRequired { .. }
            | Self::ForbiddenScope
            | Self::ForbiddenProvider
            | Self::ForbiddenApp
            | Self::ForbiddenDomain
            | Self::NotFound
            | Self::HostTaken(_)
            | Self::HostTakenElsewhere(_)
            | Self::HostOfOtherTenant(_)
            | Self::RouteQuotaExceeded
            | Self::AppRouteLimit { .. }
            | Self::WildcardNotMapped { .. }
            | Self::WeightedDestinations(_)
            | Self::MetadataFull(_)
            | Self::ReconcileGuard { .. }
            | Self::SubscribedAgain
            | Self::HostInvalid
            | Self::HostTooLong { .. }
            | Self::HostReserved
            | Self::HostPatternMismatch { .. }
            | Self::AppNotFound { .. }
            | Self::DomainNotFound
            | Self::InternalDomain { .. }
            | Self::SpaceInvisible
            | Self::Internal(_) => false,
        }
    }

    /// Returns how long to wait before the next attempt, if known.
    pub fn retry_after(&self) -> Option<Duration> {
        if let Self::Capi(error) = self {
            return error.retry_after();
        }
        if let Self::NotDeleted(all) = self {
            return NotDeleted::representative(all)?.error.retry_after();
        }
        matches!(self, Self::BeingDeleted | Self::Busy).then_some(SHORT_PAUSE)
    }

    /// Returns CF's own errors, if CF refused.
    pub fn cf_errors(&self) -> &[CfError] {
        if let Self::Capi(error) = self {
            return error.cf_errors();
        }
        if let Self::NotDeleted(all) = self {
            return NotDeleted::representative(all).map_or(&[], |one| one.error.cf_errors());
        }
        if let Self::JobFailed { cf_errors } = self { cf_errors } else { &[] }
    }

    /// Returns whether CF showed no such app or domain.
    pub(super) fn is_absence(&self) -> bool {
        matches!(self, Self::AppNotFound { .. } | Self::DomainNotFound)
    }

    /// Returns whether CF allows no single change of the route.
    pub(super) fn is_stuck(&self) -> bool {
        matches!(self, Self::WeightedDestinations(_) | Self::MetadataFull(_))
    }

    /// Returns whether the caller's scopes or provider entry forbid the request.
    pub fn is_denial(&self) -> bool {
        matches!(
            self,
            Self::ForbiddenScope
                | Self::ForbiddenProvider
                | Self::ForbiddenApp
                | Self::ForbiddenDomain
        )
    }

    /// Returns a constant word for the audit line. For our own refusals it is the public code.
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::BadRequest(_) => "bad_request",
            Self::TenantMismatch => "tenant_mismatch",
            Self::AppRequired { .. } => "app_required",
            Self::ForbiddenScope => "forbidden_scope",
            Self::ForbiddenProvider => "forbidden_provider",
            Self::ForbiddenApp => "forbidden_app",
            Self::ForbiddenDomain => "forbidden_domain",
            Self::NotFound => "not_found",
            Self::HostTaken(_) => "host_taken",
            Self::HostTakenElsewhere(_) => "host_taken_elsewhere",
            Self::HostOfOtherTenant(_) => "host_of_other_tenant",
            Self::RouteQuotaExceeded => "route_quota_exceeded",
            Self::AppRouteLimit { .. } => "app_route_limit",
            Self::WildcardNotMapped { .. } => "wildcard_not_mapped",
            Self::WeightedDestinations(_) => "weighted_destinations",
            Self::MetadataFull(_) => "route_metadata_full",
            Self::ReconcileGuard { .. } | Self::SubscribedAgain => "reconcile_guard",
            Self::HostInvalid => "host_invalid",
            Self::HostTooLong { .. } => "host_too_long",
            Self::HostReserved => "host_reserved",
            Self::HostPatternMismatch { .. } => "host_pattern_mismatch",
            Self::AppNotFound { .. } => "app_not_found",
            Self::DomainNotFound | Self::InternalDomain { .. } => "domain_not_found",
            Self::BeingDeleted => "route_being_deleted",
            Self::Busy => "overloaded",
            Self::Unclear | Self::Unfinished => "cf_timeout",
            Self::JobFailed { .. } => "cf_job_failed",
            Self::NotDeleted(all) => {
                NotDeleted::representative(all).map_or("internal", |one| one.error.as_str())
            }
            Self::SpaceInvisible => "technical_user_lacks_role",
            Self::Capi(error) => error.as_str(),
            Self::Internal(_) => "internal",
        }
    }
}
