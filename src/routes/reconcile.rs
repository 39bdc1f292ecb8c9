//! Reconcile: compares the given tenants with the existing routes.
//!
//! Invariant: without `apply` no write is sent to CF. Deletes need `delete_orphans` and must pass
//! the orphan limit, all or none. Unlabelled routes are never deleted. Callers:
//! [`super::TenantRoutes`].

mod desired;

use super::{
    RequestContext, RouteError, RouteRequest, RouteView, Run, TenantId, TenantRoutes,
    audit::Audit,
    batch::{self, Item, ItemOutcome, MAX_ITEMS},
    create::Creator,
    delete::ObservedRoutes,
    error::RequestField,
    list,
    request::Replacement,
    resolve::ResolvedRoute,
    view::{EnsureOutcome, RouteState},
};
use crate::auth::Scope;
use desired::{DesiredRoute, existing_routes, resolve_all};
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use tokio::time::Instant;

/// Most tenants of one list.
const MAX_TENANTS: usize = 5_000;

/// The desired state.
#[derive(Clone, Debug)]
pub struct ReconcileRequest {
    /// All existing tenants.
    pub tenants: Vec<(TenantId, RouteRequest)>,
    /// Whether anything may be changed.
    pub apply: bool,
    /// Whether routes of tenants that are not listed may be deleted.
    pub delete_orphans: bool,
    /// Whether the orphan limit is off; needs `Routes.Admin`.
    pub force: bool,
}

/// The differences, and the results of the changes.
#[derive(Debug, Default)]
pub struct ReconcileReport {
    /// Whether changes were made.
    pub applied: bool,
    /// Tenants whose route needs no change.
    pub unchanged: usize,
    /// Routes that are missing.
    pub create: Vec<RouteView>,
    /// Routes that need a repair, and routes under an older host name, which stay unchanged.
    pub repair: Vec<RouteView>,
    /// The owner's routes whose tenant is not listed.
    pub orphans: Vec<RouteView>,
    /// Requested hosts that someone else has.
    pub foreign: Vec<RouteView>,
    /// The owner's routes without an app of the provider entry.
    pub unmapped: Vec<RouteView>,
    /// The result of each change, and why a request could not be resolved.
    pub results: Vec<TenantChange>,
    /// Changes that are left for the next call.
    pub remaining: usize,
    /// Routes under former host names that are deleted.
    replacing: usize,
}

/// The result for one tenant.
#[derive(Debug)]
pub struct TenantChange {
    /// The tenant.
    pub tenant: TenantId,
    /// `ensure` or `remove`.
    pub operation: &'static str,
    /// The result.
    pub result: Result<ItemOutcome, RouteError>,
}

/// Compares and, if requested, makes the changes.
pub(super) async fn reconcile(
    routes: &TenantRoutes,
    request_context: &RequestContext,
    mut request: ReconcileRequest,
) -> Result<ReconcileReport, RouteError> {
    if request.force && !request_context.caller.has(Scope::RoutesAdmin) {
        return Err(refused(request_context, RouteError::ForbiddenScope));
    }
    let observed_at = Instant::now();
    check(&request.tenants)?;
    if !request.delete_orphans {
        // A former route is deleted only where deletes are allowed.
        for (_, wanted) in &mut request.tenants {
            wanted.replacement = Replacement::Keep;
        }
    }
    let listed = request.tenants.iter().map(|(tenant, _)| tenant.to_string());
    let listed = listed.collect::<HashSet<_>>();
    let owned = list::all(&routes.owner_context(request_context)?).await?;
    let (deleting, owned): (Vec<_>, Vec<_>) =
        owned.into_iter().partition(|view| view.state == RouteState::Deleting);
    let mut report = ReconcileReport::default();
    let desired = resolve_all(routes, request_context, &request, &mut report).await?;
    let changes = report.classify(desired, &owned, &deleting).await?;
    report.compare(&listed, &owned);
    if !request.apply {
        if request.delete_orphans {
            report.predict_deletes(routes, request_context)?;
        }
        return Ok(report);
    }
    // A route that is marked was to be deleted: if the broker was killed in between, that is
    // finished here. The limit counts only routes whose delete was not asked for.
    let unfinished = deleting.iter().filter(|view| !listed.contains(&view.tenant));
    let deletions = if request.delete_orphans {
        deletions(report.orphans.iter().chain(unfinished), observed_at)
    } else {
        Vec::new()
    };
    let deletes = request.delete_orphans && !report.orphans.is_empty();
    if (deletes || report.replacing > 0) && !request.force {
        let most = routes.providers().max_orphan_percent();
        check_orphan_share(&request, &report, owned.len(), most)
            .map_err(|error| refused(request_context, error))?;
    }
    report.apply(routes, request_context, changes.into_iter().chain(deletions)).await;
    Ok(report)
}

/// Refuses a list that is too long, or has two entries for one tenant, app and domain.
fn check(tenants: &[(TenantId, RouteRequest)]) -> Result<(), RouteError> {
    if tenants.len() > MAX_TENANTS {
        return Err(RouteError::BadRequest(RequestField::Tenants));
    }
    let mut seen = HashSet::new();
    let mut keys = tenants.iter().map(|(tenant, request)| (tenant, &request.app, &request.domain));
    match keys.position(|key| !seen.insert(key)) {
        Some(index) => Err(RouteError::BadRequest(RequestField::RepeatedTenant { index })),
        None => Ok(()),
    }
}

/// Returns routes of listed tenants that differ from the request: under another host name for the
/// same app and domain, or in a state other than `ok` on a host that is not requested.
fn outdated(desired: &[DesiredRoute], owned: &[RouteView]) -> Vec<RouteView> {
    let mut wanted = HashMap::<_, Vec<_>>::new();
    for one in desired {
        wanted.entry(one.op.tenant.as_str()).or_default().push(&one.target);
    }
    let is_outdated = |view: &&RouteView| {
        let Some(targets) = wanted.get(view.tenant.as_str()) else {
            return false;
        };
        let named = |target: &&ResolvedRoute| view.url == format!("https://{}", target.fqdn());
        let replaced = |target: &&ResolvedRoute| {
            let serves = view.apps.iter().any(|app| app.guid.as_ref() == Some(&target.app.guid));
            serves && view.domain == target.domain.name
        };
        !targets.iter().any(named) && (view.state != RouteState::Ok || targets.iter().any(replaced))
    };
    owned.iter().filter(is_outdated).cloned().collect()
}

/// Makes one delete for each tenant, only of the routes that were found.
fn deletions<'v>(orphans: impl Iterator<Item = &'v RouteView>, observed_at: Instant) -> Vec<Item> {
    let mut tenants = BTreeMap::<_, BTreeSet<_>>::new();
    for view in orphans {
        tenants.entry(view.tenant.as_str()).or_default().extend(view.route.clone());
    }
    let deletions = tenants.into_iter().filter_map(|(tenant, routes)| {
        let tenant = TenantId::parse(tenant)?;
        Some(Item::DeleteObserved { tenant, observed: ObservedRoutes { routes, at: observed_at } })
    });
    deletions.collect()
}

/// Refuses deletes if the list looks wrong. `most` is a share in percent.
fn check_orphan_share(
    request: &ReconcileRequest,
    report: &ReconcileReport,
    routes: usize,
    most: usize,
) -> Result<(), RouteError> {
    let orphans = report.orphans.len() + report.replacing;
    let many = orphans.saturating_mul(100) > routes.saturating_mul(most);
    if many || request.tenants.is_empty() {
        return Err(RouteError::ReconcileGuard { orphans, routes });
    }
    Ok(())
}

/// Writes the audit lines of a reconcile that is refused as a whole.
fn refused(request_context: &RequestContext, error: RouteError) -> RouteError {
    Audit::begin("reconcile", request_context, "").refused(&error);
    error
}

impl ReconcileReport {
    /// Sorts the requests by what they need. Returns those that need a change.
    async fn classify(
        &mut self,
        desired: Vec<DesiredRoute>,
        owned: &[RouteView],
        deleting: &[RouteView],
    ) -> Result<Vec<Item>, RouteError> {
        let existing = existing_routes(&desired).await?;
        self.repair = outdated(&desired, owned);
        let former = self.tenants_to_replace(&desired, deleting);
        let mut changes = Vec::new();
        let mut given = HashSet::new();
        for one in desired {
            let key = (one.target.domain.guid.clone(), one.target.host.to_string());
            let route = existing.get(&key);
            let mut view = RouteView::at(&one.op, &one.request.subdomain, &one.target, None);
            let mut creator = Creator {
                op: &one.op,
                request: &one.request,
                target: one.target.clone(),
                host_guard: None,
                undo: None,
            };
            // If two tenants of the list have one host, the first gets it.
            let predicted = match route {
                _ if !given.insert(key) => None,
                None => Some(None),
                Some(route) => Some(Some(Box::pin(creator.predict_for(route)).await)),
            };
            let list = match predicted {
                Some(None | Some(Ok((EnsureOutcome::Created, _)))) => &mut self.create,
                Some(Some(Ok((EnsureOutcome::Unchanged, _)))) => {
                    self.unchanged += 1;
                    if former.contains(one.op.tenant.as_str()) {
                        let (tenant, request) = (one.op.tenant.clone(), one.request);
                        changes.push(Item::Ensure { tenant, request });
                    }
                    continue;
                }
                Some(Some(Ok(_))) => {
                    view.route = route.map(|route| route.guid.clone());
                    &mut self.repair
                }
                Some(Some(Err(RouteError::Capi(error)))) => return Err(error.into()),
                Some(Some(Err(error))) if error.is_stuck() => {
                    self.results.push(TenantChange {
                        tenant: one.op.tenant,
                        operation: "ensure",
                        result: Err(error),
                    });
                    continue;
                }
                Some(Some(Err(_))) | None => {
                    self.foreign.push(view);
                    continue;
                }
            };
            list.push(view);
            changes.push(Item::Ensure { tenant: one.op.tenant.clone(), request: one.request });
        }
        Ok(changes)
    }

    /// Returns the tenants whose former routes are to be removed, and counts these routes. Routes
    /// that are marked already do not count: their delete was asked for.
    fn tenants_to_replace(
        &mut self,
        desired: &[DesiredRoute],
        deleting: &[RouteView],
    ) -> HashSet<String> {
        let replacing = desired.iter().filter(|one| one.op.replaces(&one.request));
        let replacing = replacing.map(|one| one.op.tenant.as_str()).collect::<HashSet<_>>();
        let is_replacing = |view: &&RouteView| replacing.contains(view.tenant.as_str());
        self.replacing = self.repair.iter().filter(is_replacing).count();
        let unfinished = outdated(desired, deleting);
        let former = self.repair.iter().chain(&unfinished).filter(is_replacing);
        former.map(|view| view.tenant.clone()).collect()
    }

    fn compare(&mut self, listed: &HashSet<String>, owned: &[RouteView]) {
        self.orphans =
            owned.iter().filter(|view| !listed.contains(&view.tenant)).cloned().collect();
        let unmapped = owned.iter().filter(|view| view.state == RouteState::Unmapped);
        self.unmapped = unmapped.cloned().collect();
    }

    /// Reports the orphans that a real run could not delete.
    fn predict_deletes(
        &mut self,
        routes: &TenantRoutes,
        request_context: &RequestContext,
    ) -> Result<(), RouteError> {
        let provider = routes.owner_context(request_context)?.provider;
        let failures = self.orphans.iter().filter_map(|view| {
            let (tenant, operation) = (TenantId::parse(&view.tenant)?, "remove");
            let error = view.blocks_delete(&provider.terms.apps)?;
            Some(TenantChange { tenant, operation, result: Err(error) })
        });
        self.results.extend(failures);
        Ok(())
    }

    async fn apply(
        &mut self,
        routes: &TenantRoutes,
        request_context: &RequestContext,
        changes: impl Iterator<Item = Item>,
    ) {
        let mut changes = changes.collect::<Vec<_>>();
        self.applied = true;
        self.remaining = changes.len().saturating_sub(MAX_ITEMS);
        changes.truncate(MAX_ITEMS);
        let names = changes.iter().map(|item| (item.tenant().clone(), item.as_str()));
        let names = names.collect::<Vec<_>>();
        let items = changes.into_iter().map(Ok).collect();
        let results = batch::run_items(routes, request_context, items, Run::Real).await;
        let results = names.into_iter().zip(results);
        self.results.extend(results.map(|((tenant, operation), result)| TenantChange {
            tenant,
            operation,
            result,
        }));
    }
}
