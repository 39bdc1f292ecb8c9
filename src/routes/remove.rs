//! Remove: find a tenant's routes by their labels, delete them, wait for CF (`routes.md` 8).
//!
//! Invariant: nothing is deleted that is not ours at that moment, and a route that outlives the request is
//! marked, so that no instance hands it out. Callers: [`super::TenantRoutes`].

use super::{
    RouteError, Wish, Work,
    audit::Audit,
    error::NotRemoved,
    kin,
    label::Claim,
    legacy,
    operation::{DyingRoute, Operation},
    order::{Key, Ticket},
    provider::Apps,
    target::{Site, site},
};
use crate::capi::{
    CapiError, Guid,
    jobs::{JobOutcome, Pace},
    model::Route,
    routes::Deletion,
};
use std::{collections::BTreeSet, time::Duration};
use tokio::time::Instant;

/// How long all jobs together are waited for (`routes.md` 8).
const JOB_WAIT: Duration = Duration::from_secs(25);
/// After this a job is unusual (CF needs 0 to 2 s), and other instances must know of it.
const UNUSUAL: Duration = Duration::from_secs(2);
/// A list older than this is read again before a delete.
const FRESH: Duration = Duration::from_secs(1);
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

/// A route whose delete job runs; its host stays taken while this lives.
struct Pending {
    dying: DyingRoute,
    pace: Pace,
    _ticket: Ticket,
}

/// Removes the tenant's routes.
pub(super) async fn remove(
    work: &Work,
    extent: &Extent,
    patience: Patience,
    audit: &Audit,
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
    let mut removal = Removal { work, audit, site, failures: Vec::new() };
    let mut pending = Vec::new();
    for route in routes.into_iter().filter(|route| extent.covers(route)) {
        let (guid, host) = (route.guid.clone(), route.host.clone());
        match removal.start(route, listed).await {
            Ok(started) => pending.extend(started),
            Err(error) => removal.fail(guid, host, error),
        }
    }
    let running = removal.wait(pending, patience).await;
    removal.end(running)
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

struct Removal<'a> {
    work: &'a Work,
    audit: &'a Audit,
    site: Site,
    failures: Vec<NotRemoved>,
}

impl Removal<'_> {
    /// Asks CF to delete one route; `None` when it is gone, no longer ours, or given up instead.
    async fn start(
        &self,
        listed_route: Route,
        listed: Instant,
    ) -> Result<Option<Pending>, RouteError> {
        let domain = listed_route.domain().cloned();
        let domain = domain.unwrap_or_else(|| listed_route.guid.clone());
        let ticket = self.work.take(Key::host(domain, &listed_route.host)).await?;
        let read = match listed.elapsed() {
            age if age > FRESH => self.work.cf().route(&listed_route.guid).await?,
            _ => Some(listed_route),
        };
        let Some(route) = read.filter(|route| self.is_ours(route)) else {
            return Ok(None);
        };
        if let Some(foreign) = self.foreign(&route).await? {
            self.give_up(&route, &foreign).await?;
            self.told("given_up", &route.host, &route.guid);
            return Ok(None);
        }
        let deletion = match self.work.cf().delete_route(&route.guid).await {
            Err(error) if error.may_have_been_executed() => {
                // It may be dying: nobody may hand it out. Whoever wants the host finishes the delete.
                self.mark(&route.guid).await;
                return Err(error.into());
            }
            other => other?,
        };
        let Deletion::Job(job) = deletion else {
            self.told("gone", &route.host, &route.guid);
            return Ok(None);
        };
        let dying = DyingRoute { guid: route.guid, host: route.host, job };
        Ok(Some(Pending { dying, pace: Pace::default(), _ticket: ticket }))
    }

    fn is_ours(&self, route: &Route) -> bool {
        let claim = self.work.ownership.claim(route, &self.site.space, self.work.errand.now);
        matches!(claim, Claim::Ours(_))
    }

    /// Returns the guids of our apps when the route serves an app besides them.
    async fn foreign(&self, route: &Route) -> Result<Option<BTreeSet<Guid>>, RouteError> {
        // Where the policy takes any app of the space, none is foreign.
        let Apps::Listed(names) = &self.work.grounds.policy.terms.apps else {
            return Ok(None);
        };
        let behind = kin::behind(self.work, &self.site, names, route).await?;
        Ok((!behind.foreign.is_empty()).then_some(behind.ours))
    }

    /// Leaves a route to the foreign app that it serves: our targets and labels go.
    async fn give_up(&self, route: &Route, ours: &BTreeSet<Guid>) -> Result<(), RouteError> {
        let targets = route
            .destinations
            .iter()
            .filter(|target| target.app.guid.as_ref().is_some_and(|app| ours.contains(app)));
        for target in targets.filter_map(|target| target.guid.as_ref()) {
            self.work.cf().unmap_route(&route.guid, target).await?;
        }
        self.work.cf().label_route(&route.guid, &self.work.ownership.released()).await?;
        Ok(())
    }

    /// Waits for the jobs and returns what still runs.
    async fn wait(&mut self, pending: Vec<Pending>, patience: Patience) -> Vec<DyingRoute> {
        let now = Instant::now();
        let latest = self.work.errand.deadline.checked_sub(RESERVE).unwrap_or(now);
        let end = (now + JOB_WAIT).min(latest).max(now);
        let unusual = match patience {
            Patience::Wait => (now + UNUSUAL).min(end),
            Patience::DontWait => now,
        };
        let slow = match patience {
            Patience::Wait => self.poll(pending, unusual).await,
            Patience::DontWait => pending,
        };
        for one in &slow {
            self.mark(&one.dying.guid).await;
        }
        let running = match patience {
            Patience::Wait => self.poll(slow, end).await,
            Patience::DontWait => slow,
        };
        running.into_iter().map(|one| one.dying).collect()
    }

    /// Polls each job until it ends or `end` is reached; returns those that run.
    async fn poll(&mut self, pending: Vec<Pending>, end: Instant) -> Vec<Pending> {
        let mut running = Vec::new();
        for mut one in pending {
            match self.settled(&mut one, end).await {
                Ok(JobOutcome::Complete) => {
                    self.work.order().forget_dying(&one.dying.guid).await;
                    self.told("deleted", &one.dying.host, &one.dying.guid);
                }
                Ok(JobOutcome::Running | JobOutcome::Gone) => running.push(one),
                Ok(JobOutcome::Failed(errors)) => {
                    self.unmark(&one.dying).await;
                    let error = RouteError::JobFailed { cf_errors: errors.errors };
                    self.fail(one.dying.guid, one.dying.host, error);
                }
                Err(error) => {
                    // It is dying all the same: nobody may hand it out.
                    self.mark(&one.dying.guid).await;
                    self.fail(one.dying.guid, one.dying.host, error.into());
                }
            }
        }
        running
    }

    /// Waits for one job; one that CF has forgotten is complete when the route is gone.
    async fn settled(&self, one: &mut Pending, end: Instant) -> Result<JobOutcome, CapiError> {
        let cf = self.work.cf();
        let outcome = cf.await_job(&one.dying.job, &mut one.pace, end).await?;
        if outcome != JobOutcome::Gone {
            return Ok(outcome);
        }
        let route = cf.route(&one.dying.guid).await?;
        Ok(if route.is_some() { JobOutcome::Gone } else { JobOutcome::Complete })
    }

    /// Tells by the label that a route is dying.
    async fn mark(&self, dying: &Guid) {
        if let Err(error) = self.work.mark_dying(dying).await {
            tracing::warn!(route = %dying, %error, "a dying route could not be marked");
        }
    }

    /// Takes the mark from a route whose job failed.
    async fn unmark(&self, dying: &DyingRoute) {
        self.work.order().forget_dying(&dying.guid).await;
        let patch = self.work.ownership.living();
        if let Err(error) = self.work.cf().label_route(&dying.guid, &patch).await {
            tracing::warn!(route = %dying.guid, %error, "the mark of a living route stayed");
        }
    }

    fn told(&self, ending: &str, host: &str, route: &Guid) {
        let request_id = self.work.cf().last_request_id();
        self.audit.touched(ending, host, route.as_str(), request_id);
    }

    fn fail(&mut self, guid: Guid, host: String, error: RouteError) {
        self.told(error.word(), &host, &guid);
        self.failures.push(NotRemoved { guid, host, error: Box::new(error) });
    }

    fn end(self, running: Vec<DyingRoute>) -> Result<Removed, RouteError> {
        if !self.failures.is_empty() {
            return Err(RouteError::NotRemoved(self.failures));
        }
        if running.is_empty() {
            return Ok(Removed::Done);
        }
        let owner = self.work.grounds.policy.owner.clone();
        let tenant = self.work.tenant.to_string();
        for route in &running {
            self.told("running", &route.host, &route.guid);
        }
        let operation = Operation { owner, tenant, routes: running };
        Ok(Removed::Running { operation })
    }
}
