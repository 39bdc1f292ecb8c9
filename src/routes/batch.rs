//! Many operations in one request, a few at a time (`routes.md` 9).
//!
//! Invariant: each item stands for itself and keeps its place, and each has a result in time, be it that it was
//! not begun; items of one tenant are done in their order. Callers: [`super::TenantRoutes`], `reconcile`.

use super::{
    Ensured, Errand, Patience, Removed, RouteError, RouteView, Run, TenantId, TenantRoutes, Wish,
    audit::Audit,
    error::Field,
    remove::{Extent, Seen},
};
use std::{
    collections::HashMap,
    sync::{Mutex, PoisonError},
    time::Duration,
};
use tokio::time::{Instant, timeout_at};

/// Most items of a batch, and most changes of a reconcile (`routes.md` 9).
pub(super) const MOST_ITEMS: usize = 100;
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
        wish: Wish,
    },
    /// Remove all routes of a tenant.
    Remove {
        /// Whose routes.
        tenant: TenantId,
    },
    /// Remove routes that a reconcile saw, unless the tenant was wanted since.
    RemoveSeen {
        /// Whose routes.
        tenant: TenantId,
        /// Which routes.
        seen: Seen,
    },
}

/// What came of an item.
#[derive(Clone, Debug)]
pub enum Done {
    /// Of an ensure.
    Ensured(Ensured),
    /// Of a removal.
    Removed(Removed),
    /// Of a removal that was only foretold: the routes that would go.
    WouldRemove(Vec<RouteView>),
}

impl Item {
    /// Returns the tenant.
    pub fn tenant(&self) -> &TenantId {
        match self {
            Self::Ensure { tenant, .. }
            | Self::Remove { tenant }
            | Self::RemoveSeen { tenant, .. } => tenant,
        }
    }

    /// Returns its name in requests and answers.
    pub fn word(&self) -> &'static str {
        match self {
            Self::Ensure { .. } => "ensure",
            Self::Remove { .. } | Self::RemoveSeen { .. } => "remove",
        }
    }
}

/// Refuses a list that is empty or too long.
pub(super) fn check(items: &[Result<Item, RouteError>]) -> Result<(), RouteError> {
    let lawful = (1..=MOST_ITEMS).contains(&items.len());
    if lawful { Ok(()) } else { Err(RouteError::BadRequest(Field::Items)) }
}

/// The items of one tenant, with their places.
type Share = Vec<(usize, Result<Item, RouteError>)>;

/// Works on the items, four at a time: the technical user's limit at CF serves other callers, too.
pub(super) async fn work_off(
    routes: &TenantRoutes,
    errand: &Errand,
    items: Vec<Result<Item, RouteError>>,
    run: Run,
) -> Vec<Result<Done, RouteError>> {
    let latest = latest_start(Instant::now(), errand.deadline);
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
                        Err(unbegun(action, errand, tenant, run, RouteError::Busy))
                    }
                    Ok(item) => in_time(errand, Box::pin(one(routes, errand, item, run))).await,
                    Err(error) => Err(unbegun("batch", errand, "", run, error)),
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
fn shares(items: Vec<Result<Item, RouteError>>) -> Vec<Share> {
    let mut shares = Vec::<Share>::new();
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
    errand: &Errand,
    item: impl Future<Output = Result<Done, RouteError>>,
) -> Result<Done, RouteError> {
    timeout_at(errand.deadline, item).await.unwrap_or(Err(RouteError::Unfinished))
}

/// Tells the audit log of an item that is not even tried.
fn unbegun(
    action: &'static str,
    errand: &Errand,
    tenant: &str,
    run: Run,
    error: RouteError,
) -> RouteError {
    if run == Run::Real {
        Audit::begin(action, errand, tenant).refused(&error);
    }
    error
}

async fn one(
    routes: &TenantRoutes,
    errand: &Errand,
    item: Item,
    run: Run,
) -> Result<Done, RouteError> {
    match (item, run) {
        (Item::Ensure { tenant, wish }, run) => {
            routes.ensure(errand, &tenant, wish, run).await.map(Done::Ensured)
        }
        (Item::Remove { tenant }, Run::Real) => {
            routes.remove(errand, &tenant, Patience::Wait).await.map(Done::Removed)
        }
        (Item::RemoveSeen { tenant, seen }, Run::Real) => {
            let extent = Extent::Seen(seen);
            routes.remove_with(errand, &tenant, extent, Patience::Wait).await.map(Done::Removed)
        }
        (Item::Remove { tenant } | Item::RemoveSeen { tenant, .. }, Run::Dry) => {
            match routes.get(errand, &tenant).await {
                Ok(views) => Ok(Done::WouldRemove(views)),
                Err(RouteError::NotFound) => Ok(Done::WouldRemove(Vec::new())),
                Err(error) => Err(error),
            }
        }
    }
}
