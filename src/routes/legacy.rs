//! Legacy routes: created without labels by a provider's own code, deleted by their host.
//!
//! Invariant: such a route is labelled as the tenant's before it is deleted. So all rules for our
//! routes hold for it: marks, waits, repeats. Callers: `delete`.

use super::{
    OperationContext, RouteError, RouteRequest, adoption,
    label::{Claim, Provenance},
    mapped_apps,
    resolve::{Choice, ResolvedRoute},
};
use crate::capi::model::Route;

/// Labels the legacy route of a tenant, if there is one and the provider entry allows to delete it.
///
/// # Errors
/// [`RouteError::HostTaken`] if the entry forbids it, or the route may belong to someone else.
pub(super) async fn label_route(
    op: &OperationContext,
    request: &RouteRequest,
) -> Result<(), RouteError> {
    let choice = Choice::of(op, request)?;
    let target = Box::pin(ResolvedRoute::resolve(op, request, choice)).await?;
    let taken = || RouteError::HostTaken(target.fqdn());
    if !op.owner.provider.terms.legacy_delete {
        return Err(taken());
    }
    let _host = op.lock(target.key()).await?;
    let found = op.cf().find_route(&target.domain.guid, target.host.as_str()).await?;
    let Some(route) = found else {
        return Ok(());
    };
    match op.ownership.claim(&route, &target.space.guid, op.request_context.now) {
        Claim::Ours(_) => Ok(()),
        Claim::Unclaimed if serves_only_ours(op, &target, &route).await? => {
            let provenance = Provenance {
                subdomain: &request.subdomain,
                created_by: op.request_context.caller.client_id(),
                correlation: op.request_context.correlation.as_str(),
            };
            let metadata = adoption::metadata(op, &route, provenance)
                .ok_or_else(|| RouteError::MetadataFull(target.fqdn()))?;
            let labelled = op.cf().label_route(&route.guid, &metadata).await;
            labelled.map_err(|error| adoption::explain(error, target.fqdn()))?;
            Ok(())
        }
        Claim::Unclaimed | Claim::OtherTenant | Claim::Foreign => Err(taken()),
    }
}

async fn serves_only_ours(
    op: &OperationContext,
    target: &ResolvedRoute,
    route: &Route,
) -> Result<bool, RouteError> {
    let apps = mapped_apps::of_route(
        op,
        &target.space,
        &mapped_apps::provider_app_names(op, target),
        route,
    )
    .await?;
    Ok(apps.foreign.is_empty())
}
