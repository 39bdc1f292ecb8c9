//! Reconcile: compare the tenants that there are with the routes that there are (`routes.md` 9).
//!
//! Invariant: without `apply` CF sees no write; deletions need consent and pass the guard, all or none;
//! unlabelled routes are never deleted. Callers: [`super::TenantRoutes`].

mod place;

use super::{
    Errand, RouteError, RouteView, Run, TenantId, TenantRoutes, Wish,
    audit::Audit,
    batch::{self, Done, Item, MOST_ITEMS},
    create::Builder,
    error::Field,
    remove::Seen,
    show,
    target::Target,
    view::{Outcome, State},
};
use crate::auth::Scope;
use place::{Placed, placed, standing};
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use tokio::time::Instant;

/// Most tenants of one list (`routes.md` 9).
const MOST_TENANTS: usize = 5_000;

/// What the caller wants to be so.
#[derive(Clone, Debug)]
pub struct Demand {
    /// All tenants that there are.
    pub tenants: Vec<(TenantId, Wish)>,
    /// Whether anything may be changed.
    pub apply: bool,
    /// Whether routes of tenants that are not listed may be deleted.
    pub delete_orphans: bool,
    /// Whether the guard is off; needs `Routes.Admin`.
    pub force: bool,
}

/// How things stand, and what was done about it.
#[derive(Debug, Default)]
pub struct Reconciled {
    /// Whether changes were made.
    pub applied: bool,
    /// Tenants whose route is as it should be.
    pub unchanged: usize,
    /// Routes that are missing.
    pub create: Vec<RouteView>,
    /// Routes that need mending, and those under an older host name, which stay as they are.
    pub repair: Vec<RouteView>,
    /// The owner's routes whose tenant is not listed.
    pub orphans: Vec<RouteView>,
    /// Wanted places that somebody else has.
    pub foreign: Vec<RouteView>,
    /// The owner's routes without an app of the policy.
    pub unmapped: Vec<RouteView>,
    /// What came of each change, and why a wish could not be judged.
    pub results: Vec<Change>,
    /// Changes that the next call will make.
    pub remaining: usize,
}

/// What came of one tenant.
#[derive(Debug)]
pub struct Change {
    /// The tenant.
    pub tenant: TenantId,
    /// `ensure` or `remove`.
    pub operation: &'static str,
    /// What came of it.
    pub result: Result<Done, RouteError>,
}

/// Compares and, where that is wanted, changes.
pub(super) async fn reconcile(
    routes: &TenantRoutes,
    errand: &Errand,
    demand: Demand,
) -> Result<Reconciled, RouteError> {
    if demand.force && !errand.caller.has(Scope::RoutesAdmin) {
        return Err(refused(errand, RouteError::ForbiddenScope));
    }
    let seen_at = Instant::now();
    check(&demand.tenants)?;
    let listed = demand.tenants.iter().map(|(tenant, _)| tenant.to_string());
    let listed = listed.collect::<HashSet<_>>();
    let mut owned = show::all(&routes.grounds(errand)?).await?;
    owned.retain(|view| view.state != State::Deleting);
    let mut plan = Reconciled::default();
    let placed = placed(routes, errand, &demand, &mut plan).await?;
    let changes = plan.judge(placed, &owned).await?;
    plan.compare(&listed, &owned);
    if !demand.apply {
        return Ok(plan);
    }
    let removals =
        if demand.delete_orphans { removals(&plan.orphans, seen_at) } else { Vec::new() };
    if !removals.is_empty() && !demand.force {
        let most = routes.policies().max_orphan_percent();
        guard(&demand, &plan, owned.len(), most).map_err(|error| refused(errand, error))?;
    }
    plan.apply(routes, errand, changes.into_iter().chain(removals)).await;
    Ok(plan)
}

/// Refuses a list that is too long, or wants two hosts for one tenant, app and domain.
fn check(tenants: &[(TenantId, Wish)]) -> Result<(), RouteError> {
    let mut seen = HashSet::new();
    let mut keys = tenants.iter().map(|(tenant, wish)| (tenant, &wish.app, &wish.domain));
    let lawful = tenants.len() <= MOST_TENANTS && keys.all(|key| seen.insert(key));
    if lawful { Ok(()) } else { Err(RouteError::BadRequest(Field::Tenants)) }
}

/// Returns the routes of the wanted tenants that are not what is wanted: under another name for the same app and
/// domain, or such as nobody wants them.
fn older(placed: &[Placed], owned: &[RouteView]) -> Vec<RouteView> {
    let mut wanted = HashMap::<_, Vec<_>>::new();
    for one in placed {
        wanted.entry(one.work.tenant.as_str()).or_default().push(&one.target);
    }
    let is_older = |view: &&RouteView| {
        let Some(targets) = wanted.get(view.tenant.as_str()) else {
            return false;
        };
        let named = |target: &&Target| view.url == format!("https://{}", target.fqdn());
        let replaced = |target: &&Target| {
            let serves = view.apps.iter().any(|app| app.guid.as_ref() == Some(&target.app.guid));
            serves && view.domain == target.domain.name
        };
        !targets.iter().any(named) && (view.state != State::Ok || targets.iter().any(replaced))
    };
    owned.iter().filter(is_older).cloned().collect()
}

/// One removal for each tenant, of nothing but the routes that were seen.
fn removals(orphans: &[RouteView], seen_at: Instant) -> Vec<Item> {
    let mut tenants = BTreeMap::<_, BTreeSet<_>>::new();
    for view in orphans {
        tenants.entry(view.tenant.as_str()).or_default().extend(view.route.clone());
    }
    let removals = tenants.into_iter().filter_map(|(tenant, routes)| {
        let tenant = TenantId::parse(tenant)?;
        Some(Item::RemoveSeen { tenant, seen: Seen { routes, at: seen_at } })
    });
    removals.collect()
}

/// Refuses to delete on the word of a list that looks wrong; `most` is a share in percent.
fn guard(demand: &Demand, plan: &Reconciled, routes: usize, most: usize) -> Result<(), RouteError> {
    let orphans = plan.orphans.len();
    let many = orphans.saturating_mul(100) > routes.saturating_mul(most);
    if many || demand.tenants.is_empty() {
        return Err(RouteError::ReconcileGuard { orphans, routes });
    }
    Ok(())
}

/// Tells the audit log of a reconcile that was refused as a whole.
fn refused(errand: &Errand, error: RouteError) -> RouteError {
    Audit::begin("reconcile", errand, "").refused(&error);
    error
}

impl Reconciled {
    /// Sorts the wishes by what they need; returns those that need something.
    async fn judge(
        &mut self,
        placed: Vec<Placed>,
        owned: &[RouteView],
    ) -> Result<Vec<Item>, RouteError> {
        let standing = standing(&placed).await?;
        self.repair = older(&placed, owned);
        let mut changes = Vec::new();
        let mut given = HashSet::new();
        for one in placed {
            let key = (one.target.domain.guid.clone(), one.target.host.to_string());
            let route = standing.get(&key);
            let mut view = RouteView::at(&one.work, &one.wish.subdomain, &one.target, None);
            let mut builder = Builder {
                work: &one.work,
                wish: &one.wish,
                target: one.target.clone(),
                ticket: None,
            };
            // Two tenants of the list with one host: the first gets it.
            let predicted = match route {
                _ if !given.insert(key) => None,
                None => Some(None),
                Some(route) => Some(Some(Box::pin(builder.prediction(route)).await)),
            };
            let list = match predicted {
                Some(None | Some(Ok((Outcome::Created, _)))) => &mut self.create,
                Some(Some(Ok((Outcome::Unchanged, _)))) => {
                    self.unchanged += 1;
                    continue;
                }
                Some(Some(Ok(_))) => {
                    view.route = route.map(|route| route.guid.clone());
                    &mut self.repair
                }
                Some(Some(Err(RouteError::Capi(error)))) => return Err(error.into()),
                Some(Some(Err(_))) | None => {
                    self.foreign.push(view);
                    continue;
                }
            };
            list.push(view);
            changes.push(Item::Ensure { tenant: one.work.tenant.clone(), wish: one.wish });
        }
        Ok(changes)
    }

    fn compare(&mut self, listed: &HashSet<String>, owned: &[RouteView]) {
        self.orphans =
            owned.iter().filter(|view| !listed.contains(&view.tenant)).cloned().collect();
        let unmapped = owned.iter().filter(|view| view.state == State::Unmapped);
        self.unmapped = unmapped.cloned().collect();
    }

    async fn apply(
        &mut self,
        routes: &TenantRoutes,
        errand: &Errand,
        changes: impl Iterator<Item = Item>,
    ) {
        let mut changes = changes.collect::<Vec<_>>();
        self.applied = true;
        self.remaining = changes.len().saturating_sub(MOST_ITEMS);
        changes.truncate(MOST_ITEMS);
        let names = changes.iter().map(|item| (item.tenant().clone(), item.word()));
        let names = names.collect::<Vec<_>>();
        let items = changes.into_iter().map(Ok).collect();
        let results = batch::work_off(routes, errand, items, Run::Real).await;
        let results = names.into_iter().zip(results);
        self.results.extend(results.map(|((tenant, operation), result)| Change {
            tenant,
            operation,
            result,
        }));
    }
}
