//! Transfer: gives the routes of an owner that is gone to another owner.
//!
//! Invariant: only routes that the new owner's provider entry allows are transferred, only with
//! `apply`, and each with audit lines of its own. What is transferred no longer belongs to the
//! former owner, so a repeat continues where an earlier call ended. Callers: [`TenantRoutes`].

use super::{
    OwnerContext, RequestContext, RouteError, RouteView, TenantRoutes,
    audit::{Audit, SharedLocation},
    batch::{MAX_ITEMS, latest_start},
    bounds::RouteBounds,
    error::RequestField,
    label::{self, DeletionState, Ownership, owner_selector},
    list::plain_view,
    locks::LockKey,
    resolve::require_visible_space,
    view::RouteState,
};
use crate::{auth::RequestPart, capi::model::Route};
use std::{
    collections::{BTreeSet, HashMap},
    sync::{Mutex, PoisonError},
};
use tokio::time::{Instant, timeout_at};

/// Longest name of an owner.
const MAX_OWNER: usize = 256;

/// From whom to whom.
#[derive(Clone, Debug)]
pub struct TransferRequest {
    /// The former owner.
    pub from: String,
    /// The new owner: a client id, or the owner of a provider entry.
    pub to: String,
    /// Whether anything may be changed.
    pub apply: bool,
}

/// The plan, and the results of the changes.
#[derive(Debug)]
pub struct TransferReport {
    /// Whether changes were made.
    pub applied: bool,
    /// The new owner.
    pub owner: String,
    /// Routes that are, or would be, transferred.
    pub transfer: Vec<RouteView>,
    /// Routes that stay, and why.
    pub refused: Vec<(RouteView, TransferRefusal)>,
    /// The result of each change.
    pub results: Vec<TransferResult>,
    /// Routes that are left for the next call.
    pub remaining: usize,
}

/// The result for one route.
#[derive(Debug)]
pub struct TransferResult {
    /// The route.
    pub view: RouteView,
    /// Whether it has the new owner.
    pub result: Result<(), RouteError>,
}

/// Why a route stays.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TransferRefusal {
    /// It is not in the entry's space.
    Space,
    /// Its domain is none of the entry's.
    Domain,
    /// The entry's host template does not give such a host.
    Host,
    /// An app behind it is none of the entry's.
    App,
    /// It is being deleted.
    Deleting,
}

/// Plans and, if requested, makes the changes.
pub(super) async fn transfer(
    routes: &TenantRoutes,
    request_context: &RequestContext,
    request: &TransferRequest,
) -> Result<TransferReport, RouteError> {
    let request_context = request_context.clone().on_behalf_of(Some(request.to.clone()));
    let mut owner = routes.owner_context(&request_context)?;
    let is_name = |name: &str| (1..=MAX_OWNER).contains(&name.trim().len());
    let fault = if !is_name(&request.from) {
        Some(RequestField::FormerOwner)
    } else if !is_name(&request.to) {
        Some(RequestField::NewOwner)
    } else {
        (request.from == owner.provider.owner).then_some(RequestField::SameOwner)
    };
    if let Some(field) = fault {
        return Err(RouteError::BadRequest(field));
    }
    if request.apply {
        owner.cf = owner.cf.for_write();
    }
    let task = Transfer {
        bounds: RouteBounds::of(&owner).await?,
        from: request.from.clone(),
        owner,
        request_context,
    };
    let (movable, refused) = task.sorted().await?;
    let mut report = TransferReport {
        applied: request.apply,
        owner: task.owner.provider.owner.clone(),
        transfer: movable.iter().map(|route| task.view(route)).collect(),
        refused,
        results: Vec::new(),
        remaining: 0,
    };
    if request.apply {
        report.remaining = movable.len().saturating_sub(MAX_ITEMS);
        report.results = Box::pin(task.apply(movable)).await;
    }
    Ok(report)
}

#[derive(Clone)]
struct Transfer {
    owner: OwnerContext,
    request_context: RequestContext,
    bounds: RouteBounds,
    from: String,
}

impl Transfer {
    /// Reads the former owner's routes, and sorts out those that must stay.
    async fn sorted(&self) -> Result<(Vec<Route>, Vec<(RouteView, TransferRefusal)>), RouteError> {
        let prefix = self.owner.routes.providers().prefix();
        let all = self.owner.cf.all_labelled_routes(&owner_selector(prefix, &self.from)).await?;
        // CF shows a user without a role an empty list.
        if all.is_empty() {
            require_visible_space(&self.owner).await?;
        }
        let (mut movable, mut refused) = (Vec::new(), Vec::new());
        for route in all.into_iter().filter(|route| label::is_owned(prefix, &self.from, route)) {
            match self.refusal(&route) {
                Some(refusal) => refused.push((self.view(&route), refusal)),
                None => movable.push(route),
            }
        }
        Ok((movable, refused))
    }

    fn refusal(&self, route: &Route) -> Option<TransferRefusal> {
        if self.is_deleting(route) {
            return Some(TransferRefusal::Deleting);
        }
        self.bounds.refusal(route)
    }

    fn is_deleting(&self, route: &Route) -> bool {
        let prefix = self.owner.routes.providers().prefix().clone();
        let ownership = Ownership::new(prefix, &self.from, "");
        ownership.deletion_state(route, self.owner.now) == DeletionState::Deleting
            || self.owner.routes.0.locks.is_deleting(&route.guid)
    }

    /// Changes at most [`MAX_ITEMS`] routes, four at a time: other callers share the technical
    /// user's rate limit.
    async fn apply(&self, mut movable: Vec<Route>) -> Vec<TransferResult> {
        movable.truncate(MAX_ITEMS);
        let deadline = self.request_context.deadline;
        let latest = latest_start(Instant::now(), deadline);
        let queue = Mutex::new(movable.into_iter().enumerate());
        let (queue, places) = (&queue, &self.request_context.places);
        let (one, two) = (places.part(), places.part());
        let (three, four) = (places.part(), places.part());
        let _idle = places.idle();
        let worker = |working: RequestPart| async move {
            let _working = working;
            let mut done = Vec::new();
            loop {
                let next = queue.lock().unwrap_or_else(PoisonError::into_inner).next();
                let Some((index, route)) = next else {
                    return done;
                };
                let (view, task) = (self.view(&route), self.clone());
                let moving = self
                    .owner
                    .routes
                    .on_tracker(async move { task.move_audited(route, latest).await });
                let result = timeout_at(deadline, moving).await;
                let result = result.unwrap_or(Err(RouteError::Unfinished));
                done.push((index, TransferResult { view, result }));
            }
        };
        let (one, two, three, four) =
            tokio::join!(worker(one), worker(two), worker(three), worker(four));
        let mut all = [one, two, three, four].into_iter().flatten().collect::<Vec<_>>();
        all.sort_by_key(|(index, _)| *index);
        all.into_iter().map(|(_, result)| result).collect()
    }

    async fn move_audited(mut self, route: Route, latest: Instant) -> Result<(), RouteError> {
        self.owner.cf = self.owner.cf.with_own_request_id();
        let location = SharedLocation::of(&route);
        location.update(|location| location.former_owner = Some(self.from.clone()));
        let tenant = self.tenant(&route).unwrap_or_default();
        let audit = Audit::begin_at(location, "transfer", &self.request_context, tenant);
        // What cannot end in time is not started.
        let result = if Instant::now() >= latest {
            Err(RouteError::Busy)
        } else {
            self.move_one(&route).await
        };
        match &result {
            Ok(()) => {
                audit.settled("transferred", self.owner.cf.last_request_id().as_deref());
            }
            Err(error) => audit.refused(error),
        }
        result
    }

    /// Gives one route to the new owner, unless it has changed since it was listed.
    async fn move_one(&self, route: &Route) -> Result<(), RouteError> {
        let mut guards = Vec::new();
        for key in self.keys(route) {
            guards.push(self.owner.lock(&self.request_context, key).await?);
        }
        let (prefix, cf) = (self.owner.routes.providers().prefix(), &self.owner.cf);
        let current = cf.route(&route.guid).await?;
        let current = current.filter(|route| label::is_owned(prefix, &self.from, route));
        match current.as_ref().map(|route| self.refusal(route)) {
            None => return Err(RouteError::NotFound),
            Some(Some(TransferRefusal::Deleting)) => return Err(RouteError::BeingDeleted),
            Some(Some(TransferRefusal::App)) => return Err(RouteError::ForbiddenApp),
            Some(Some(_)) => return Err(RouteError::ForbiddenDomain),
            Some(None) => {}
        }
        let patch = label::owner_patch(prefix, &self.owner.provider.owner);
        let moved = cf.label_route(&route.guid, &patch).await?.ok_or(RouteError::NotFound)?;
        // Another instance has begun to delete it since it was read.
        if self.is_deleting(&moved) { Err(RouteError::BeingDeleted) } else { Ok(()) }
    }

    /// Returns what no other operation may work on, always in the same order.
    fn keys(&self, route: &Route) -> Vec<LockKey> {
        let tenant = self.tenant(route);
        let owners = BTreeSet::from([&self.from, &self.owner.provider.owner]);
        let tenants = owners.into_iter().filter_map(|owner| {
            let (owner, tenant) = (owner.clone(), tenant?.to_owned());
            Some(LockKey::Tenant { owner, tenant })
        });
        let domain = route.domain().unwrap_or(&route.guid).clone();
        tenants.chain([LockKey::host(domain, &route.host)]).collect()
    }

    /// A route that was created through `/v3` has no tenant.
    fn tenant<'a>(&self, route: &'a Route) -> Option<&'a str> {
        self.owner.routes.providers().prefix().annotation(route, "tenant-id")
    }

    fn view(&self, route: &Route) -> RouteView {
        let prefix = self.owner.routes.providers().prefix();
        let view = plain_view(prefix, route, &HashMap::new());
        let state = if self.is_deleting(route) {
            RouteState::Deleting
        } else if view.apps.is_empty() {
            RouteState::Unmapped
        } else {
            RouteState::Ok
        };
        RouteView { state, ..view }
    }
}
