//! Many operations in one request, a few at a time.
//!
//! Invariant: a failed item does not stop the others, and each item keeps its position. Each item
//! has a result before the deadline, even if it was not started. Items of one tenant keep their
//! order. Callers: [`super::TenantRoutes`], `reconcile`.

use super::{
    Deleted, Ensured, RequestContext, RouteError, RouteRequest, RouteView, Run, TenantId,
    TenantRoutes, WaitMode,
    audit::Audit,
    delete::{self, DeleteScope, ObservedRoutes},
    error::RequestField,
};
use std::{
    collections::HashMap,
    sync::{Mutex, PoisonError},
    time::Duration,
};
use tokio::time::{Instant, timeout_at};

/// Most items of a batch, and most changes of a reconcile.
pub(super) const MAX_ITEMS: usize = 100;
/// Longest usual time of one item: one slow call to CF and its repeat. Delete jobs that do not end
/// take longer.
const ITEM_TIME: Duration = Duration::from_secs(12);

/// One operation of a batch.
#[derive(Clone, Debug)]
pub enum Item {
    /// Create or repair the route of a tenant.
    Ensure {
        /// The tenant.
        tenant: TenantId,
        /// The requested route.
        request: RouteRequest,
    },
    /// Delete all routes of a tenant.
    Delete {
        /// The tenant.
        tenant: TenantId,
    },
    /// Delete routes that a reconcile found, unless the tenant was requested since then.
    DeleteObserved {
        /// The tenant.
        tenant: TenantId,
        /// The routes.
        observed: ObservedRoutes,
    },
}

/// The result of an item.
#[derive(Clone, Debug)]
pub enum ItemOutcome {
    /// Result of an ensure.
    Ensured(Ensured),
    /// Result of a delete.
    Deleted(Deleted),
    /// Result of a delete as a dry run: the routes that a real run would delete.
    WouldDelete(Vec<RouteView>),
}

impl Item {
    /// Returns the tenant.
    pub fn tenant(&self) -> &TenantId {
        match self {
            Self::Ensure { tenant, .. }
            | Self::Delete { tenant }
            | Self::DeleteObserved { tenant, .. } => tenant,
        }
    }

    /// Returns its name in requests and answers.
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::Ensure { .. } => "ensure",
            Self::Delete { .. } | Self::DeleteObserved { .. } => "remove",
        }
    }
}

/// Refuses a list that is empty or too long.
pub(super) fn check(items: &[Result<Item, RouteError>]) -> Result<(), RouteError> {
    let valid = (1..=MAX_ITEMS).contains(&items.len());
    if valid { Ok(()) } else { Err(RouteError::BadRequest(RequestField::Items)) }
}

/// The items of one tenant, with their positions in the list.
type TenantItems = Vec<(usize, Result<Item, RouteError>)>;

/// Runs the items, four at a time: other callers share the technical user's rate limit.
pub(super) async fn run_items(
    routes: &TenantRoutes,
    request_context: &RequestContext,
    items: Vec<Result<Item, RouteError>>,
    run: Run,
) -> Vec<Result<ItemOutcome, RouteError>> {
    let latest = latest_start(Instant::now(), request_context.deadline);
    let queue = Mutex::new(group_by_tenant(items).into_iter());
    let worker = || async {
        let mut done = Vec::new();
        loop {
            let next = queue.lock().unwrap_or_else(PoisonError::into_inner).next();
            let Some(group) = next else {
                return done;
            };
            for (index, item) in group {
                let result = match item {
                    // An item that cannot end in time is not started.
                    Ok(item) if Instant::now() >= latest => {
                        let (action, tenant) = (item.as_str(), item.tenant().as_str());
                        Err(not_started(action, request_context, tenant, run, RouteError::Busy))
                    }
                    Ok(item) => {
                        in_time(request_context, Box::pin(one(routes, request_context, item, run)))
                            .await
                    }
                    Err(error) => Err(not_started("batch", request_context, "", run, error)),
                };
                done.push((index, result));
            }
        }
    };
    let (one, two, three, four) = tokio::join!(worker(), worker(), worker(), worker());
    let mut all = [one, two, three, four].into_iter().flatten().collect::<Vec<_>>();
    all.sort_by_key(|(index, _)| *index);
    all.into_iter().map(|(_, result)| result).collect()
}

/// Groups the items by tenant. The groups are in the order of each tenant's first item.
fn group_by_tenant(items: Vec<Result<Item, RouteError>>) -> Vec<TenantItems> {
    let mut groups = Vec::<TenantItems>::new();
    let mut group_indices = HashMap::new();
    for (index, item) in items.into_iter().enumerate() {
        let next = groups.len();
        let index_of_group = match &item {
            Ok(item) => *group_indices.entry(item.tenant().clone()).or_insert(next),
            Err(_) => next,
        };
        match groups.get_mut(index_of_group) {
            Some(group) => group.push((index, item)),
            None => groups.push(vec![(index, item)]),
        }
    }
    groups
}

/// Returns the latest time at which an item may start. A quarter of the request time, but at most
/// [`ITEM_TIME`], is kept for the last item.
pub(super) fn latest_start(now: Instant, deadline: Instant) -> Instant {
    let time = deadline.saturating_duration_since(now);
    now + time.saturating_sub(ITEM_TIME.min(time / 4))
}

/// Waits for an item until the request ends. The item continues after that.
async fn in_time(
    request_context: &RequestContext,
    item: impl Future<Output = Result<ItemOutcome, RouteError>>,
) -> Result<ItemOutcome, RouteError> {
    timeout_at(request_context.deadline, item).await.unwrap_or(Err(RouteError::Unfinished))
}

/// Writes the audit lines of an item that is not started.
fn not_started(
    action: &'static str,
    request_context: &RequestContext,
    tenant: &str,
    run: Run,
    error: RouteError,
) -> RouteError {
    if run == Run::Real {
        Audit::begin(action, request_context, tenant).refused(&error);
    }
    error
}

async fn one(
    routes: &TenantRoutes,
    request_context: &RequestContext,
    item: Item,
    run: Run,
) -> Result<ItemOutcome, RouteError> {
    match (item, run) {
        (Item::Ensure { tenant, request }, run) => {
            routes.ensure(request_context, &tenant, request, run).await.map(ItemOutcome::Ensured)
        }
        (Item::Delete { tenant }, Run::Real) => {
            routes.delete(request_context, &tenant, WaitMode::Wait).await.map(ItemOutcome::Deleted)
        }
        (Item::DeleteObserved { tenant, observed }, Run::Real) => {
            let scope = DeleteScope::Observed(observed);
            routes
                .delete_with(request_context, &tenant, scope, WaitMode::Wait)
                .await
                .map(ItemOutcome::Deleted)
        }
        (Item::Delete { tenant } | Item::DeleteObserved { tenant, .. }, Run::Dry) => {
            let op = routes.operation_context(request_context, &tenant)?;
            delete::preview(&op).await.map(ItemOutcome::WouldDelete)
        }
    }
}
