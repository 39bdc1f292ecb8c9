//! Many operations in one request, a few at a time (`routes.md` 9).
//!
//! Invariant: each item stands for itself and keeps its place; no tenant is named twice, for items have no
//! order. Callers: [`super::TenantRoutes`], `reconcile`.

use super::{
    Ensured, Errand, Patience, Removed, RouteError, RouteView, Run, TenantId, TenantRoutes, Wish,
    error::Field,
    remove::{Extent, Seen},
};
use std::{
    collections::HashSet,
    sync::{Mutex, PoisonError},
};
use tokio::time::Instant;

/// Most items of a batch, and most changes of a reconcile (`routes.md` 9).
pub(super) const MOST_ITEMS: usize = 100;

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

/// Refuses a list that is too long or names a tenant twice.
pub(super) fn check(items: &[Result<Item, RouteError>]) -> Result<(), RouteError> {
    let known = items.iter().filter_map(|item| item.as_ref().ok());
    let lawful = items.len() <= MOST_ITEMS && are_distinct(known.map(Item::tenant));
    if lawful { Ok(()) } else { Err(RouteError::BadRequest(Field::Items)) }
}

/// Returns whether no tenant occurs twice.
pub(super) fn are_distinct<'a>(mut tenants: impl Iterator<Item = &'a TenantId>) -> bool {
    let mut seen = HashSet::new();
    tenants.all(|tenant| seen.insert(tenant))
}

/// Works on the items, four at a time: the technical user's limit at CF serves other callers, too.
pub(super) async fn work_off(
    routes: &TenantRoutes,
    errand: &Errand,
    items: Vec<Result<Item, RouteError>>,
    run: Run,
) -> Vec<Result<Done, RouteError>> {
    let queue = Mutex::new(items.into_iter().enumerate());
    let worker = || async {
        let mut done = Vec::new();
        loop {
            let next = queue.lock().unwrap_or_else(PoisonError::into_inner).next();
            let Some((index, item)) = next else {
                return done;
            };
            let result = match item {
                Ok(item) => Box::pin(one(routes, errand, item, run)).await,
                Err(error) => Err(error),
            };
            done.push((index, result));
        }
    };
    let (one, two, three, four) = tokio::join!(worker(), worker(), worker(), worker());
    let mut all = [one, two, three, four].into_iter().flatten().collect::<Vec<_>>();
    all.sort_by_key(|(index, _)| *index);
    all.into_iter().map(|(_, result)| result).collect()
}

async fn one(
    routes: &TenantRoutes,
    errand: &Errand,
    item: Item,
    run: Run,
) -> Result<Done, RouteError> {
    // What cannot end in time is not begun.
    if Instant::now() >= errand.deadline {
        return Err(RouteError::Busy);
    }
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
