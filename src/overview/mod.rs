//! What people see of CF: the spaces of a technical user, and the routes of one of them.
//!
//! Invariant: what was read serves all viewers for a few seconds, and those that come while it is
//! being read wait for that one flight. Nothing that a viewer may not see is left out before: that
//! is done for each viewer. An error serves only those who waited for it. Callers: `http`.

pub mod view;

mod read;
mod shared;

use crate::{
    capi::{CapiError, CfRequestClient, DestinationName, Guid},
    routes::{RouteOfSpace, TenantRoutes},
};
use bytes::Bytes;
use shared::SharedReads;
use std::{
    fmt,
    sync::{Arc, OnceLock},
    time::SystemTime,
};
use view::{AppRow, OrganizationRow, QuotaRow, SpaceRow};

/// Most rows that are kept of single spaces, about 10 MB. The lists are one per destination.
const MAX_ROWS: u32 = 20_000;
/// Most lists that are kept: more than there are destinations.
const MAX_LISTS: u32 = 100;

/// The overview; a clone is shallow.
#[derive(Clone)]
pub struct Overview(Arc<OverviewState>);

struct OverviewState {
    routes: TenantRoutes,
    lists: SharedReads<DestinationName, Spaces>,
    details: SharedReads<(DestinationName, Guid), Option<Detail>>,
}

/// The spaces that a technical user sees.
#[derive(Debug)]
pub struct Spaces {
    /// Sorted by name.
    rows: Vec<SpaceRow>,
    /// All rows as JSON, once somebody asked for them.
    json: OnceLock<Bytes>,
}

/// One space.
#[derive(Debug)]
pub struct Detail {
    guid: Guid,
    name: String,
    created_at: Option<String>,
    organization: Option<OrganizationRow>,
    quota: QuotaRow,
    /// Sorted by URL.
    routes: Vec<RouteOfSpace>,
    /// Sorted by name.
    apps: Vec<AppRow>,
}

impl Overview {
    /// Makes an empty one. `routes` knows the tenant routes.
    pub fn new(routes: TenantRoutes) -> Self {
        let lists = SharedReads::new(MAX_LISTS, |_| 1);
        let details = SharedReads::new(MAX_ROWS, |detail: &Option<Detail>| {
            let rows = detail.as_ref().map_or(0, |detail| detail.routes.len() + detail.apps.len());
            u32::try_from(rows).unwrap_or(u32::MAX).saturating_add(1)
        });
        Self(Arc::new(OverviewState { routes, lists, details }))
    }

    /// Returns the spaces that the technical user of a destination sees, as they were within the
    /// last few seconds.
    ///
    /// # Errors
    /// Any [`CapiError`] of the calls.
    pub async fn spaces(&self, cf: &CfRequestClient) -> Result<Arc<Spaces>, CapiError> {
        let selector = self.0.routes.selector();
        self.0.lists.get(cf.destination().clone(), read::spaces(cf, &selector)).await
    }

    /// Returns one space, as it was within the last few seconds; `None` inside if the technical
    /// user does not see it.
    ///
    /// # Errors
    /// Any [`CapiError`] of the calls.
    pub async fn space(
        &self,
        cf: &CfRequestClient,
        guid: &Guid,
        now: SystemTime,
    ) -> Result<Arc<Option<Detail>>, CapiError> {
        let key = (cf.destination().clone(), guid.clone());
        self.0.details.get(key, read::space(cf, &self.0.routes, guid, now)).await
    }
}

impl fmt::Debug for Overview {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Overview").finish_non_exhaustive()
    }
}
