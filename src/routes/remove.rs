//! Remove: find a tenant's routes by their labels, delete them, wait for CF (`routes.md` 8).
//!
//! Invariant: nothing is deleted that is not ours at that moment, and a route that outlives the request is
//! marked, so that no instance hands it out. Callers: [`super::TenantRoutes`].

use super::{
    RouteError, Wish, Work,
    audit::Audit,
    legacy,
    operation::Operation,
    removal::{End, Removal, SENDS},
    target::{Site, site},
};
use crate::capi::{Guid, model::Route};
use std::{collections::BTreeSet, sync::Arc, time::Duration};
use tokio::{sync::Semaphore, time::Instant};

/// How long all jobs together are waited for (`routes.md` 8).
const JOB_WAIT: Duration = Duration::from_secs(25);
/// What is kept of the deadline for the mark and the answer.
const RESERVE: Duration = Duration::from_secs(3);

/// Whether the caller waits for CF's jobs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Patience {
    /// It waits, within bounds.
    Wait,
    /// It does not (`Prefer: respond-async`).
    DontWait,
}

/// Which routes of a tenant a removal is about.
#[derive(Clone, Debug)]
pub(super) enum Extent {
    /// All that carry its labels.
    All,
    /// All, and the one without labels at the place that this wish names.
    AndFormer(Box<Wish>),
    /// None but those that a reconcile saw.
    Seen(Seen),
}

/// What a reconcile saw of a tenant that is not listed.
#[derive(Clone, Debug)]
pub struct Seen {
    /// Its routes; one that came later is not meant.
    pub routes: BTreeSet<Guid>,
    /// When the reconcile began to look; a tenant that was wanted since keeps its routes.
    pub at: Instant,
}

/// What a removal came to.
#[derive(Clone, Debug)]
pub enum Removed {
    /// No route of the tenant is left, or there was none.
    Done,
    /// CF is still deleting; [`super::TenantRoutes::seal`] makes the id.
    Running {
        /// What runs.
        operation: Operation,
    },
}

impl Extent {
    fn covers(&self, route: &Route) -> bool {
        match self {
            Self::All | Self::AndFormer(_) => true,
            Self::Seen(seen) => seen.routes.contains(&route.guid),
        }
    }
}

impl Removed {
    /// Returns its name in audit lines and metrics.
    pub fn word(&self) -> &'static str {
        match self {
            Self::Done => "removed",
            Self::Running { .. } => "running",
        }
    }
}

/// Removes the tenant's routes.
pub(super) async fn remove(
    work: &Work,
    extent: &Extent,
    patience: Patience,
    audit: &Arc<Audit>,
) -> Result<Removed, RouteError> {
    let _tenant = work.take_tenant().await?;
    match extent {
        Extent::All => {}
        Extent::AndFormer(wish) => Box::pin(legacy::claim(work, wish)).await?,
        Extent::Seen(seen) => {
            if work.order().was_wanted_since(&work.tenant_key(), seen.at).await {
                return Err(RouteError::WantedAnew);
            }
        }
    }
    let (site, listed, routes) = listed(work).await?;
    let routes: Vec<_> = routes.into_iter().filter(|route| extent.covers(route)).collect();
    work.place.learn(|facts| {
        facts.space = Some(site.space.to_string());
        // Several are told step by step.
        let only = if let [only] = routes.as_slice() { Some(only) } else { None };
        facts.domain = only.map(|route| route.domain_name().to_owned());
        facts.host = only.map(|route| route.host.clone());
        facts.route = only.map(|route| route.guid.to_string());
    });
    let now = Instant::now();
    let latest = work.errand.deadline.checked_sub(RESERVE).unwrap_or(now);
    let removal = Removal {
        work: work.clone(),
        audit: Arc::clone(audit),
        sends: Arc::new(Semaphore::new(SENDS)),
        end: (now + JOB_WAIT).min(latest).max(now),
        site,
        listed,
        patience,
    };
    finish(work, removal.all(routes).await)
}

/// Sums up.
fn finish(work: &Work, ends: Vec<End>) -> Result<Removed, RouteError> {
    let (mut running, mut failures) = (Vec::new(), Vec::new());
    for end in ends {
        match end {
            End::Gone => {}
            End::Running(dying) => running.push(dying),
            End::Failed(failure) => failures.push(failure),
        }
    }
    if !failures.is_empty() {
        return Err(RouteError::NotRemoved(failures));
    }
    if running.is_empty() {
        return Ok(Removed::Done);
    }
    let (owner, tenant) = (work.grounds.policy.owner.clone(), work.tenant.to_string());
    Ok(Removed::Running { operation: Operation { owner, tenant, routes: running } })
}

/// Lists the tenant's routes. None in a space that a name stood for before this request says nothing: the space may
/// have been made anew, and another instance may know.
async fn listed(work: &Work) -> Result<(Site, Instant, Vec<Route>), RouteError> {
    loop {
        let site = site(&work.grounds).await?;
        let since = Instant::now();
        let routes = work.cf().labelled_routes(&site.space, &work.ownership.selector()).await?;
        if !routes.is_empty() || !work.forget_named_space().await {
            return Ok((site, since, routes));
        }
    }
}
