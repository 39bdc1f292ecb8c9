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
use crate::auth::RequestPart;
use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
    time::Duration,
};
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    task::JoinSet,
    time::{Instant, timeout_at},
};
use tracing::Instrument as _;

/// Most items of a batch, and most changes of a reconcile.
pub(super) const MAX_ITEMS: usize = 100;
/// Most items that work at the same time.
const MAX_WORKING: usize = 4;
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
    Ensured(Box<Ensured>),
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

/// Runs the items, four at a time: other callers share the technical user's rate limit. An item
/// that only waits for a job of CF does not count.
pub(super) async fn run_items(
    routes: &TenantRoutes,
    request_context: &RequestContext,
    items: Vec<Result<Item, RouteError>>,
    run: Run,
) -> Vec<Result<ItemOutcome, RouteError>> {
    let count = items.len();
    let batch = RunningBatch {
        routes: routes.clone(),
        request_context: request_context.clone(),
        run,
        latest: latest_start(Instant::now(), request_context.deadline),
        permits: Arc::new(Semaphore::new(MAX_WORKING)),
    };
    // A part works at each moment until the last item has begun: without one, the places are lost.
    let beginning = request_context.places.part();
    let _idle = request_context.places.idle();
    let mut groups = JoinSet::new();
    for group in group_by_tenant(items) {
        // Here, so that the groups begin in their order.
        let permit = batch.permit().await;
        let working = request_context.places.part();
        groups.spawn(batch.clone().group(group, permit, working).in_current_span());
    }
    drop(beginning);
    let mut results = BTreeMap::new();
    while let Some(ended) = groups.join_next().await {
        results.extend(ended.into_iter().flatten());
    }
    let panicked = || Err(RouteError::Internal("operation_panicked"));
    (0..count).map(|index| results.remove(&index).unwrap_or_else(panicked)).collect()
}

/// What all items of a batch share; a clone is cheap.
#[derive(Clone)]
struct RunningBatch {
    routes: TenantRoutes,
    request_context: RequestContext,
    run: Run,
    /// Later than this no item starts.
    latest: Instant,
    permits: Arc<Semaphore>,
}

impl RunningBatch {
    /// Waits for a place among the items; `None` if it is too late to start one.
    async fn permit(&self) -> Option<OwnedSemaphorePermit> {
        let permit = timeout_at(self.latest, Arc::clone(&self.permits).acquire_owned()).await;
        permit.ok()?.ok().filter(|_| Instant::now() < self.latest)
    }

    /// Runs the items of one tenant one after the other. The group is a working part of the request
    /// while none of its items is.
    async fn group(
        self,
        group: TenantItems,
        first: Option<OwnedSemaphorePermit>,
        working: RequestPart,
    ) -> Vec<(usize, Result<ItemOutcome, RouteError>)> {
        let (mut done, mut first, mut working) = (Vec::new(), Some(first), Some(working));
        for (index, item) in group {
            let permit = match first.take() {
                Some(permit) => permit,
                None => self.permit().await,
            };
            done.push((index, self.item(item, permit, &mut working).await));
        }
        done
    }

    async fn item(
        &self,
        item: Result<Item, RouteError>,
        permit: Option<OwnedSemaphorePermit>,
        of_group: &mut Option<RequestPart>,
    ) -> Result<ItemOutcome, RouteError> {
        let (context, run) = (&self.request_context, self.run);
        let item = match item {
            Ok(item) => item,
            Err(error) => return Err(not_started("batch", context, "", run, error)),
        };
        // An item that cannot end in time is not started.
        let Some(permit) = permit else {
            let (action, tenant) = (item.as_str(), item.tenant().as_str());
            return Err(not_started(action, context, tenant, run, RouteError::Busy));
        };
        let places = context.places.of_item(permit).await;
        *of_group = None;
        let own = context.clone().holding(places.clone());
        let result = in_time(&own, Box::pin(one(&self.routes, &own, item, run))).await;
        places.end();
        *of_group = Some(context.places.part());
        result
    }
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
        (Item::Ensure { tenant, request }, run) => routes
            .ensure(request_context, &tenant, request, run)
            .await
            .map(|done| ItemOutcome::Ensured(Box::new(done))),
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
