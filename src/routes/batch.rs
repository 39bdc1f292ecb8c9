//! Many operations in one request, a few at a time (`routes.md` 9).
//!
//! Invariant: each item stands for itself and keeps its place, and each has a result in time, be it that it was
//! not begun; items of one tenant are done in their order. Callers: [`super::TenantRoutes`], `reconcile`.

use super::{
    Deleted, Ensured, RequestContext, RouteError, RouteRequest, RouteView, Run, TenantId,
    TenantRoutes, WaitMode,
    audit::Audit,
    delete::{DeleteScope, ObservedRoutes},
    error::RequestField,
};
use std::{
    collections::HashMap,
    sync::{Mutex, PoisonError},
    time::Duration,
};
use tokio::time::{Instant, timeout_at};

/// Most items of a batch, and most changes of a reconcile (`routes.md` 9).
pub(super) const MAX_ITEMS: usize = 100;
/// What an item takes at worst, but for jobs that do not end: a call that CF is slow to answer, and its repeat.
const ITEM_TIME: Duration = Duration::from_secs(12);

/// One thing to do.
#[derive(Clone, Debug)]
pub enum Item {
    /// Create or repair.
    Ensure {
        /// Whose route.
        tenant: TenantId,
        /// What is wanted.
        request: RouteRequest,
    },
    /// Remove all routes of a tenant.
    Delete {
        /// Whose routes.
        tenant: TenantId,
    },
    /// Remove routes that a reconcile saw, unless the tenant was wanted since.
    DeleteObserved {
        /// Whose routes.
        tenant: TenantId,
        /// Which routes.
        observed: ObservedRoutes,
    },
}

/// What came of an item.
#[derive(Clone, Debug)]
pub enum ItemOutcome {
    /// Of an ensure.
    Ensured(Ensured),
    /// Of a removal.
    Deleted(Deleted),
    /// Of a removal that was only foretold: the routes that would go.
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
    pub fn word(&self) -> &'static str {
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

/// The items of one tenant, with their places.
type TenantItems = Vec<(usize, Result<Item, RouteError>)>;

/// Works on the items, four at a time: the technical user's limit at CF serves other callers, too.
pub(super) async fn run_items(
    routes: &TenantRoutes,
    request_context: &RequestContext,
    items: Vec<Result<Item, RouteError>>,
    run: Run,
) -> Vec<Result<ItemOutcome, RouteError>> {
    let latest = latest_start(Instant::now(), request_context.deadline);
    let queue = Mutex::new(shares(items).into_iter());
    let worker = || async {
        let mut done = Vec::new();
        loop {
            let next = queue.lock().unwrap_or_else(PoisonError::into_inner).next();
            let Some(share) = next else {
                return done;
            };
            for (index, item) in share {
                let result = match item {
                    // What cannot end in time is not begun.
                    Ok(item) if Instant::now() >= latest => {
                        let (action, tenant) = (item.word(), item.tenant().as_str());
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

/// Puts the items of each tenant together, in the order in which the tenants are first named.
fn shares(items: Vec<Result<Item, RouteError>>) -> Vec<TenantItems> {
    let mut shares = Vec::<TenantItems>::new();
    let mut places = HashMap::new();
    for (index, item) in items.into_iter().enumerate() {
        let fresh = shares.len();
        let place = match &item {
            Ok(item) => *places.entry(item.tenant().clone()).or_insert(fresh),
            Err(_) => fresh,
        };
        match shares.get_mut(place) {
            Some(share) => share.push((index, item)),
            None => shares.push(vec![(index, item)]),
        }
    }
    shares
}

/// When the last item may begin: most of a short request is for items, and of a long one all but what an item
/// takes at worst.
fn latest_start(now: Instant, deadline: Instant) -> Instant {
    let time = deadline.saturating_duration_since(now);
    now + time.saturating_sub(ITEM_TIME.min(time / 4))
}

/// Waits for an item until the request ends; it goes on without us.
async fn in_time(
    request_context: &RequestContext,
    item: impl Future<Output = Result<ItemOutcome, RouteError>>,
) -> Result<ItemOutcome, RouteError> {
    timeout_at(request_context.deadline, item).await.unwrap_or(Err(RouteError::Unfinished))
}

/// Tells the audit log of an item that is not even tried.
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
            match routes.get(request_context, &tenant).await {
                Ok(views) => Ok(ItemOutcome::WouldDelete(views)),
                Err(RouteError::NotFound) => Ok(ItemOutcome::WouldDelete(Vec::new())),
                Err(error) => Err(error),
            }
        }
    }
}
