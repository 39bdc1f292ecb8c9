//! The desired routes of a reconcile, and the existing routes of their hosts.
//!
//! Invariant: what many requests share is read from CF once. Callers: [`super`].

use super::{ReconcileReport, ReconcileRequest, TenantChange};
use crate::{
    capi::{Guid, model::Route},
    routes::{
        OperationContext, RequestContext, RouteError, RouteRequest, TenantRoutes, ensure,
        resolve::{Choice, ResolvedRoute},
        settings::Mode,
    },
};
use std::collections::{BTreeMap, HashMap};

/// A request with its resolved route.
pub(super) struct DesiredRoute {
    pub(super) op: OperationContext,
    pub(super) request: RouteRequest,
    pub(super) target: ResolvedRoute,
}

/// Resolves each request. A request that cannot be resolved is a result; the others continue.
pub(super) async fn resolve_all(
    routes: &TenantRoutes,
    request_context: &RequestContext,
    request: &ReconcileRequest,
    report: &mut ReconcileReport,
) -> Result<Vec<DesiredRoute>, RouteError> {
    let mut all = Vec::new();
    let mut cache = LookupCache::default();
    for (tenant, request) in &request.tenants {
        let op = routes.operation_context(request_context, tenant)?;
        match Box::pin(resolve_one(&op, request, &mut cache)).await {
            Ok(Some(target)) => all.push(DesiredRoute { op, request: request.clone(), target }),
            // The domain's wildcard route serves the tenant.
            Ok(None) => report.unchanged += 1,
            Err(RouteError::Capi(error)) => return Err(error.into()),
            Err(error) => report.results.push(TenantChange {
                tenant: tenant.clone(),
                operation: "ensure",
                result: Err(error),
            }),
        }
    }
    Ok(all)
}

/// What the earlier requests of the list found out, so that CF is asked only once for what does not
/// exist.
#[derive(Default)]
struct LookupCache {
    /// The error for an app and a domain, by their names.
    missing: HashMap<(String, Option<String>), RouteError>,
    /// Whether the domain's wildcard route serves the app, or the error.
    wildcards: HashMap<(Guid, Guid), Result<bool, RouteError>>,
}

/// Resolves one request; `None` if the domain's wildcard route serves it.
async fn resolve_one(
    op: &OperationContext,
    request: &RouteRequest,
    cache: &mut LookupCache,
) -> Result<Option<ResolvedRoute>, RouteError> {
    let choice = Choice::of(op, request)?;
    let named = (choice.app.clone(), choice.domain.clone());
    if let Some(error) = cache.missing.get(&named) {
        return Err(error.clone());
    }
    let mut target = match Box::pin(ResolvedRoute::resolve(op, request, choice)).await {
        Err(
            error @ (RouteError::AppNotFound { .. }
            | RouteError::DomainNotFound
            | RouteError::InternalDomain { .. }
            | RouteError::SpaceInvisible),
        ) => {
            cache.missing.insert(named, error.clone());
            return Err(error);
        }
        other => other?,
    };
    if op.owner.provider.terms.mode == Mode::Route {
        return Ok(Some(target));
    }
    let key = (target.domain.guid.clone(), target.app.guid.clone());
    let served = match cache.wildcards.get(&key) {
        Some(known) => known.clone(),
        None => ensure::wildcard(op, request, &mut target).await.map(|served| served.is_some()),
    };
    cache.wildcards.insert(key, served.clone());
    Ok((!served?).then_some(target))
}

/// Reads the existing routes of the desired hosts, of all owners, as far as the technical user sees
/// them.
pub(super) async fn existing_routes(
    desired: &[DesiredRoute],
) -> Result<HashMap<(Guid, String), Route>, RouteError> {
    let mut wanted = BTreeMap::<_, Vec<_>>::new();
    for one in desired {
        wanted.entry(&one.target.domain.guid).or_default().push(one);
    }
    let mut found = HashMap::new();
    for (domain, all) in wanted {
        let [first, ..] = all.as_slice() else { continue };
        let hosts = all.iter().map(|one| one.target.host.as_str()).collect::<Vec<_>>();
        for route in first.op.cf().find_routes(domain, &hosts).await? {
            found.insert((domain.clone(), route.host.to_ascii_lowercase()), route);
        }
    }
    Ok(found)
}
