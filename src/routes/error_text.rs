//! Error texts for the administrator who sees that a tenant route failed: what happened, where, and
//! what to do.
//!
//! Invariant: a text has only our own data: no text of CF, no secret, no owner. What the caller
//! sent appears only if it is a valid name. Callers: `http`, by [`RouteError::detail`].

use super::error::{Fqdn, RequestField, RouteError};
use std::{borrow::Cow, fmt};

const TENANT_MISMATCH: &str = "The request names two different tenants.";
const FORBIDDEN_SCOPE: &str = "Acting on behalf of another owner, and force, need the scope \
    Routes.Admin.";
const SUBSCRIBED_AGAIN: &str =
    "Not deleted: the tenant was subscribed again after the reconcile had read the routes.";
const FORBIDDEN_PROVIDER: &str = "This client may not manage tenant routes. An operator of the broker \
    adds its client id to a [[providers]] entry and restarts the broker.";
const FORBIDDEN_APP: &str = "This client may not manage routes of that app. An operator of the broker \
    adds the app to the client's [[providers]] entry and restarts the broker.";
const FORBIDDEN_DOMAIN: &str = "This client may not use that domain. An operator of the broker adds it \
    to the client's [[providers]] entry and restarts the broker.";
const NOT_FOUND: &str = "There is no such tenant route.";
const QUOTA: &str = "The organization or the space has used up its quota of routes. Raise the quota, \
    delete unused routes, or let one wildcard route serve all tenants.";
const HOST_INVALID: &str = "Subdomain and host template give no valid host name: a-z, 0-9 and - only, \
    with a letter or digit at both ends. Choose another subdomain.";
const HOST_RESERVED: &str = "The host that subdomain and template give is reserved. Choose another \
    subdomain.";
const DOMAIN_NOT_FOUND: &str = "The organization may not use such a domain, or has no default domain. \
    Check the domain in the request and in the provider's entry.";
const BEING_DELETED: &str = "Cloud Foundry is still deleting the tenant's former route. Repeat the \
    request in a few seconds.";
const BUSY: &str = "Other requests for the same tenant or host have not ended. Repeat the request in a \
    few seconds.";
const UNCLEAR: &str = "Cloud Foundry did not say in time whether the route was created. Repeat the \
    request to find out.";
const UNFINISHED: &str = "The request had to be answered before this was done. It continues. Repeat the \
    request to get the result.";
const JOB_FAILED: &str = "Cloud Foundry could not delete the route. Repeat the request.";
const SPACE_INVISIBLE: &str = "The technical user does not see the provider's space. Make it Space \
    Supporter or Space Developer there, with the identity provider's origin.";
const INTERNAL: &str = "The broker has an internal error. Its log has the cause.";

impl RouteError {
    /// Returns the cause in words; `None` for errors of the CF client, whose texts are made in
    /// `http` for all modules.
    pub fn detail(&self) -> Option<Cow<'static, str>> {
        Some(match self {
            Self::BadRequest(field) => format!("The {field} {}.", field.fault()).into(),
            Self::TenantMismatch => TENANT_MISMATCH.into(),
            Self::AppRequired { apps } => app_required(apps).into(),
            Self::ForbiddenScope => FORBIDDEN_SCOPE.into(),
            Self::ForbiddenProvider => FORBIDDEN_PROVIDER.into(),
            Self::ForbiddenApp => FORBIDDEN_APP.into(),
            Self::ForbiddenDomain => FORBIDDEN_DOMAIN.into(),
            Self::NotFound => NOT_FOUND.into(),
            Self::HostTaken(fqdn) => taken(fqdn, "another route of the landscape").into(),
            Self::HostTakenElsewhere(fqdn) => taken(fqdn, "another space or organization").into(),
            Self::HostOfOtherTenant(fqdn) => taken(fqdn, "another tenant of this provider").into(),
            Self::RouteQuotaExceeded => QUOTA.into(),
            Self::AppRouteLimit { limit } => app_limit(*limit).into(),
            Self::WildcardNotMapped { domain } => wildcard(domain).into(),
            Self::WeightedDestinations(fqdn) => weighted(fqdn).into(),
            Self::MetadataFull(fqdn) => metadata_full(fqdn).into(),
            Self::SubscribedAgain => SUBSCRIBED_AGAIN.into(),
            Self::ReconcileGuard { orphans, routes } => guard(*orphans, *routes).into(),
            Self::HostInvalid => HOST_INVALID.into(),
            Self::HostTooLong { length, limit } => too_long(*length, *limit).into(),
            Self::HostReserved => HOST_RESERVED.into(),
            Self::HostPatternMismatch { host, pattern } => pattern_mismatch(host, pattern).into(),
            Self::AppNotFound { app } => app_not_found(app).into(),
            Self::DomainNotFound => DOMAIN_NOT_FOUND.into(),
            Self::InternalDomain { domain } => internal_domain(domain).into(),
            Self::BeingDeleted => BEING_DELETED.into(),
            Self::Busy => BUSY.into(),
            Self::Unclear => UNCLEAR.into(),
            Self::Unfinished => UNFINISHED.into(),
            Self::JobFailed { .. } => JOB_FAILED.into(),
            Self::NotDeleted(all) => {
                format!("{} of the tenant's routes could not be deleted.", all.len()).into()
            }
            Self::SpaceInvisible => SPACE_INVISIBLE.into(),
            Self::Internal(_) => INTERNAL.into(),
            Self::Capi(_) => return None,
        })
    }
}

fn app_required(apps: &[String]) -> String {
    match apps {
        [] => "The request must name the app behind the tenant's URL.".to_owned(),
        apps => format!("The request must name one of the apps {}.", apps.join(", ")),
    }
}

fn taken(fqdn: &Fqdn, by: &str) -> String {
    format!("The host {fqdn} is taken by {by}. Choose another subdomain, or free the host.")
}

fn app_limit(limit: u64) -> String {
    format!(
        "The app has {limit} routes or more, the limit of the provider's entry. Delete unused routes, \
         or let one wildcard route serve all tenants."
    )
}

fn wildcard(domain: &str) -> String {
    format!("The domain {domain} has no wildcard route to the app. Create and map it first.")
}

fn weighted(fqdn: &Fqdn) -> String {
    format!(
        "The destinations of the route {fqdn} have weights. Cloud Foundry adds and removes such destinations only all \
         together, and the broker does not replace the list, because it would lose what others map at the same time. \
         Remove the weights, or the destinations, with PATCH /v3/routes/{{guid}}/destinations at the CF API, then \
         repeat the request."
    )
}

fn metadata_full(fqdn: &Fqdn) -> String {
    format!(
        "The route {fqdn} has no room for the broker's 3 labels and 5 annotations: Cloud Foundry allows 50 labels and \
         200 annotations, unless it is configured otherwise. Remove some of the route's labels or annotations, then \
         repeat the request."
    )
}

fn guard(orphans: usize, routes: usize) -> String {
    format!("Refused: {orphans} of {routes} routes would be deleted. Check the list of tenants.")
}

fn too_long(length: usize, limit: usize) -> String {
    format!(
        "Subdomain and host template give a name of {length} characters; {limit} are allowed. Choose a \
         shorter subdomain, app name or template."
    )
}

fn pattern_mismatch(host: &Fqdn, pattern: &str) -> String {
    format!(
        "The host {host} does not match the tenant host pattern {pattern} of the application router, which would not \
         find the subdomain in it. An operator of the broker corrects host_template or tenant_host_pattern of the \
         provider's entry, or the application router's pattern."
    )
}

fn internal_domain(domain: &str) -> String {
    format!(
        "The domain {domain} is internal: a route on it has no public URL. Name another domain in the request or in \
         the provider's entry."
    )
}

fn app_not_found(app: &str) -> String {
    // The name may come from the caller. It is repeated only if it is a valid name.
    let valid = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    let name = if app.len() <= 100 && app.chars().all(valid) { app } else { "that is named" };
    format!(
        "The app {name} does not exist in the provider's space, or the technical user does not see it."
    )
}

impl fmt::Display for RequestField {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Tenant | Self::TenantForm | Self::TenantPlaceholder => "tenant id",
            Self::Subdomain
            | Self::DifferentSubdomains
            | Self::SubdomainPlaceholder
            | Self::LegacySubdomain => "subdomain",
            Self::Page => "page or its size",
            Self::Items => "list items",
            Self::Tenants | Self::TenantList => "list tenants",
            Self::RepeatedTenant { .. } => "tenant",
            Self::Operation => "member op",
            Self::FormerOwner => "member from",
            Self::NewOwner | Self::SameOwner => "member to",
        })
    }
}

impl RequestField {
    /// Returns what is wrong and what is expected, as the end of a sentence that begins with the
    /// field.
    pub fn fault(self) -> &'static str {
        match self {
            Self::Tenant => {
                "is missing: the body must have tenantId, or subscribedTenantId, or subscriber with app_tid"
            }
            Self::TenantForm => {
                "must be 1 to 128 characters of A-Z a-z 0-9 . _ - and none of the reserved words operations, reconcile, \
                 batch, transfer"
            }
            Self::TenantPlaceholder | Self::SubdomainPlaceholder => {
                "is the word that a program writes for a missing value. Check where the caller takes it from"
            }
            Self::Subdomain => {
                "is missing or empty: the body must have subdomain, or subscribedSubdomain, or subscriber with \
                 subaccountSubdomain"
            }
            Self::DifferentSubdomains => "is given twice, with different values",
            Self::LegacySubdomain => {
                "is missing or empty: legacy=true needs the query parameter subdomain"
            }
            Self::Page => "must be 1 or more",
            Self::Items => "must have 1 to 100 entries",
            Self::Tenants => "must have at most 5000 entries",
            Self::TenantList => "is missing; an empty list says that there are no tenants",
            Self::RepeatedTenant { .. } => {
                "is listed twice for the same app and domain; each may be there once"
            }
            Self::Operation => "must be ensure or remove",
            Self::FormerOwner | Self::NewOwner => {
                "must name an owner: a client id, or the owner of a provider entry"
            }
            Self::SameOwner => "must be another owner than from",
        }
    }

    /// Returns the members of which one is missing.
    pub fn names(self) -> &'static [&'static str] {
        match self {
            Self::Tenant => &["tenantId", "subscribedTenantId", "subscriber"],
            Self::Subdomain => &["subdomain", "subscribedSubdomain", "subscriber"],
            Self::Operation => &["op"],
            Self::TenantList => &["tenants"],
            Self::TenantForm
            | Self::TenantPlaceholder
            | Self::DifferentSubdomains
            | Self::SubdomainPlaceholder
            | Self::LegacySubdomain
            | Self::Page
            | Self::Items
            | Self::Tenants
            | Self::RepeatedTenant { .. }
            | Self::FormerOwner
            | Self::NewOwner
            | Self::SameOwner => &[],
        }
    }

    /// Returns the JSON pointer (RFC 6901) of the member; `None` for what is not in a body.
    pub fn pointer(self) -> Option<Cow<'static, str>> {
        Some(match self {
            Self::Tenant | Self::TenantForm => "/tenantId".into(),
            Self::Subdomain | Self::DifferentSubdomains | Self::SubdomainPlaceholder => {
                "/subdomain".into()
            }
            Self::Items => "/items".into(),
            Self::Tenants | Self::TenantList => "/tenants".into(),
            Self::RepeatedTenant { index } => format!("/tenants/{index}").into(),
            Self::Operation => "/op".into(),
            Self::FormerOwner => "/from".into(),
            Self::NewOwner | Self::SameOwner => "/to".into(),
            // The id may be that of the path.
            Self::TenantPlaceholder | Self::LegacySubdomain | Self::Page => return None,
        })
    }
}

impl fmt::Display for Fqdn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
