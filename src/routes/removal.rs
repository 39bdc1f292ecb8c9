//! The end of one route: delete it, wait for CF's job, mark it where that takes long (`routes.md` 8).
//!
//! Invariant: nothing is deleted that is not ours at that moment, and a route whose job outlives two seconds is marked,
//! whatever the tenant's other routes do. Callers: `remove`.

use super::{
    Patience, RouteError, Work,
    audit::{Audit, Step},
    error::NotRemoved,
    kin,
    label::Claim,
    operation::DyingRoute,
    order::{Key, Ticket},
    provider::Apps,
    target::Site,
};
use crate::capi::{
    CapiError, Guid,
    jobs::{JobOutcome, Pace},
    model::Route,
    routes::Deletion,
};
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};
use tokio::{sync::Semaphore, task::JoinSet, time::Instant};
use tracing::Instrument as _;

/// After this a job is unusual (CF needs 0 to 2 s), and other instances must know of it.
const UNUSUAL: Duration = Duration::from_secs(2);
/// A list older than this is read again before a delete.
const FRESH: Duration = Duration::from_secs(1);
/// Most deletes of one tenant that are on their way to CF at once.
pub(super) const SENDS: usize = 4;

/// A route whose delete job runs; its host stays taken while this lives.
struct Pending {
    dying: DyingRoute,
    /// From when on the job is unusual.
    unusual: Instant,
    pace: Pace,
    /// CF's id of the answer to the delete.
    request_id: Option<String>,
    _ticket: Ticket,
}

/// What became of one route.
pub(super) enum End {
    /// It is gone, no longer ours, or given up.
    Gone,
    /// Its job runs.
    Running(DyingRoute),
    /// It stayed.
    Failed(NotRemoved),
}

/// What all routes of one removal share; a clone is cheap.
#[derive(Clone)]
pub(super) struct Removal {
    pub(super) work: Work,
    pub(super) audit: Arc<Audit>,
    pub(super) site: Site,
    /// When the list was read.
    pub(super) listed: Instant,
    pub(super) patience: Patience,
    /// Until when jobs are waited for.
    pub(super) end: Instant,
    pub(super) sends: Arc<Semaphore>,
}

impl Removal {
    /// Removes all routes side by side: each has its own two seconds before it is marked.
    pub(super) async fn all(self, routes: Vec<Route>) -> Vec<End> {
        if let [_] = routes.as_slice() {
            let mut ends = Vec::new();
            for route in routes {
                ends.push(self.one(route).await);
            }
            return ends;
        }
        let mut set = JoinSet::new();
        let names: Vec<_> =
            routes.iter().map(|route| (route.guid.clone(), route.host.clone())).collect();
        for (index, route) in routes.into_iter().enumerate() {
            let mut part = self.clone();
            part.work.grounds.cf = part.work.grounds.cf.apart();
            let removing = async move { (index, part.one(route).await) };
            set.spawn(removing.in_current_span());
        }
        let mut ends = BTreeMap::new();
        while let Some(ended) = set.join_next().await {
            ends.extend(ended);
        }
        let ends = names.into_iter().enumerate().map(|(index, (guid, host))| {
            let panicked = Box::new(RouteError::Internal("removal_panicked"));
            let lost = || End::Failed(NotRemoved { guid, host, error: panicked });
            ends.remove(&index).unwrap_or_else(lost)
        });
        ends.collect()
    }

    async fn one(&self, route: Route) -> End {
        let (guid, host) = (route.guid.clone(), route.host.clone());
        match self.start(route).await {
            Ok(None) => End::Gone,
            Ok(Some(pending)) => self.wait(pending).await,
            Err(error) => self.failed(guid, host, error, self.work.cf().last_request_id()),
        }
    }

    /// Asks CF to delete one route; `None` when it is gone, no longer ours, or given up instead.
    async fn start(&self, listed_route: Route) -> Result<Option<Pending>, RouteError> {
        let domain = listed_route.domain().cloned();
        let domain = domain.unwrap_or_else(|| listed_route.guid.clone());
        let ticket = self.work.take(Key::host(domain, &listed_route.host)).await?;
        // It is never closed.
        let _send = self.sends.acquire().await;
        let read = match self.listed.elapsed() {
            age if age > FRESH => self.work.cf().route(&listed_route.guid).await?,
            _ => Some(listed_route),
        };
        let Some(route) = read.filter(|route| self.is_ours(route)) else {
            return Ok(None);
        };
        if let Some(foreign) = self.foreign(&route).await? {
            self.give_up(&route, &foreign).await?;
            self.told("given_up", &route.host, &route.guid, self.work.cf().last_request_id());
            return Ok(None);
        }
        let sent = Instant::now();
        let deletion = match self.work.cf().delete_route(&route.guid).await {
            Err(error) if error.may_have_been_executed() => {
                // It may be dying: nobody may hand it out. Whoever wants the host finishes the delete.
                self.mark(&route.guid).await;
                return Err(error.into());
            }
            other => other?,
        };
        let request_id = self.work.cf().last_request_id();
        let Deletion::Job(job) = deletion else {
            self.told("gone", &route.host, &route.guid, request_id);
            return Ok(None);
        };
        let dying = DyingRoute { guid: route.guid, host: route.host, job };
        let (pace, unusual) = (Pace::default(), sent + UNUSUAL);
        Ok(Some(Pending { dying, unusual, pace, request_id, _ticket: ticket }))
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
        let behind = kin::behind(&self.work, &self.site, names, route).await?;
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

    /// Waits for the job of a route; one that takes longer than usual is marked.
    async fn wait(&self, mut pending: Pending) -> End {
        if self.patience == Patience::Wait {
            let unusual = pending.unusual.min(self.end);
            if let Some(end) = self.ended(&mut pending, unusual).await {
                return end;
            }
        }
        self.mark(&pending.dying.guid).await;
        if self.patience == Patience::Wait {
            let end = self.end;
            if let Some(end) = self.ended(&mut pending, end).await {
                return end;
            }
        }
        let Pending { dying, request_id, .. } = pending;
        self.told("running", &dying.host, &dying.guid, request_id);
        End::Running(dying)
    }

    /// Polls a job until it ends or `until` is reached; `None` when it runs on.
    async fn ended(&self, one: &mut Pending, until: Instant) -> Option<End> {
        let outcome = self.settled(one, until).await;
        let (guid, host) = (one.dying.guid.clone(), one.dying.host.clone());
        match outcome {
            Ok(JobOutcome::Complete) => {
                self.work.order().forget_dying(&guid).await;
                self.told("deleted", &host, &guid, one.request_id.take());
                Some(End::Gone)
            }
            Ok(JobOutcome::Running | JobOutcome::Gone) => None,
            Ok(JobOutcome::Failed(errors)) => {
                self.unmark(&one.dying).await;
                let error = RouteError::JobFailed { cf_errors: errors.errors };
                Some(self.failed(guid, host, error, one.request_id.take()))
            }
            Err(error) => {
                // It is dying all the same: nobody may hand it out.
                self.mark(&guid).await;
                Some(self.failed(guid, host, error.into(), one.request_id.take()))
            }
        }
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

    fn told(&self, word: &str, host: &str, route: &Guid, request_id: Option<String>) {
        self.audit.stepped(&Step { word, host, route: route.as_str(), request_id });
    }

    fn failed(
        &self,
        guid: Guid,
        host: String,
        error: RouteError,
        request_id: Option<String>,
    ) -> End {
        self.told(error.word(), &host, &guid, request_id);
        End::Failed(NotRemoved { guid, host, error: Box::new(error) })
    }
}
