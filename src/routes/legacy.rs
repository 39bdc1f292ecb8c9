//! Legacy routes: made without labels by a provider's former code, removed by their host (`routes.md` 8).
//!
//! Invariant: such a route becomes the tenant's own before it is removed, so that everything that holds for
//! ours holds for it: marks, waits, repeats. Callers: `remove`.

use super::{
    RouteError, Wish, Work, kin,
    label::{Claim, Provenance},
    target::{Choice, Target},
};
use crate::capi::model::Route;

/// Labels the legacy route of a tenant, if it has one and the policy lets it go.
///
/// # Errors
/// [`RouteError::HostTaken`] where the policy forbids it, or the route is not plainly the provider's.
pub(super) async fn claim(work: &Work, wish: &Wish) -> Result<(), RouteError> {
    let choice = Choice::of(work, wish)?;
    let target = Box::pin(Target::resolve(work, wish, choice)).await?;
    let taken = || RouteError::HostTaken(target.fqdn());
    if !work.grounds.policy.terms.legacy_delete {
        return Err(taken());
    }
    let _host = work.take(target.key()).await?;
    let found = work.cf().find_route(&target.domain.guid, target.host.as_str()).await?;
    let Some(route) = found else {
        return Ok(());
    };
    match work.ownership.claim(&route, &target.site.space, work.errand.now) {
        Claim::Ours(_) => Ok(()),
        Claim::Unclaimed if serves_only_ours(work, &target, &route).await? => {
            let metadata = work.ownership.metadata(Provenance {
                subdomain: &wish.subdomain,
                created_by: work.errand.caller.client_id(),
                correlation: work.errand.correlation.as_str(),
            });
            work.cf().label_route(&route.guid, &metadata).await?;
            Ok(())
        }
        Claim::Unclaimed | Claim::OtherTenant | Claim::Foreign => Err(taken()),
    }
}

async fn serves_only_ours(work: &Work, target: &Target, route: &Route) -> Result<bool, RouteError> {
    let behind = kin::behind(work, &target.site, &kin::names(work, target), route).await?;
    Ok(behind.foreign.is_empty())
}
