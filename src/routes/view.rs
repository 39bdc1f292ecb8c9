//! What callers see of tenant routes: the answer of an ensure, the routes of a tenant, the owner's list.
//!
//! Invariant: plain data; a member that is not known is `None`, never a guess. Callers: this room, `http`.

use super::{OperationContext, resolve::ResolvedRoute};
use crate::capi::{Guid, model::Route};

/// A tenant's route.
#[derive(Clone, Debug)]
pub struct RouteView {
    /// The tenant's id.
    pub tenant: String,
    /// The subdomain, as it was given.
    pub subdomain: String,
    /// The tenant's URL.
    pub url: String,
    /// Its host.
    pub host: String,
    /// The domain's name.
    pub domain: String,
    /// The route, where there is one.
    pub route: Option<Guid>,
    /// The space; a dry run may not know it while CF does not answer.
    pub space: Option<Guid>,
    /// The apps behind it.
    pub apps: Vec<AppView>,
    /// How it stands.
    pub state: RouteState,
    /// What there is to know of a route that was read; an ensure has warnings of its own.
    pub warnings: Vec<Warning>,
}

/// An app behind a route; either may be unknown.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AppView {
    /// Its name.
    pub name: Option<String>,
    /// Its guid.
    pub guid: Option<Guid>,
}

/// How a route stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RouteState {
    /// As the policy wants it.
    Ok,
    /// No app of the policy is behind it.
    Unmapped,
    /// Host, domain or apps are not what the policy gives today.
    Drifted,
    /// It is being deleted.
    Deleting,
}

/// The answer of an ensure.
#[derive(Clone, Debug)]
pub struct Ensured {
    /// The route.
    pub view: RouteView,
    /// What it took; for a dry run, what it would take.
    pub outcome: EnsureOutcome,
    /// What the caller should know although it worked.
    pub warnings: Vec<Warning>,
    /// The steps that a real run would take; of a dry run only.
    pub plan: Option<Vec<PlanStep>>,
}

/// What an ensure came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EnsureOutcome {
    /// The route is new.
    Created,
    /// It was as it should be.
    Unchanged,
    /// Mapping or labels were mended.
    Repaired,
    /// An unlabelled route was taken over.
    Adopted,
    /// The domain's wildcard route serves the tenant.
    Wildcard,
    /// A dry run could not ask CF.
    Unknown,
}

/// A step of a real run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PlanStep {
    /// Waits until the former route is gone.
    AwaitDelete,
    /// Creates the route with its labels.
    Create,
    /// Labels the route.
    Label,
    /// Maps the app.
    Map,
}

/// Something to know.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Warning {
    /// The app is stopped.
    AppStopped,
    /// The app has 90 % of the routes that it may have.
    AppRouteLimitNear,
    /// Other apps or processes are behind the route.
    ExtraDestinations,
    /// CF was not asked.
    CfUnchecked,
}

/// What to list.
#[derive(Clone, Debug)]
pub struct ListQuery {
    /// Only this tenant.
    pub tenant: Option<String>,
    /// Only routes in this state.
    pub state: Option<RouteState>,
    /// The page, from 1.
    pub page: usize,
    /// Routes per page.
    pub per_page: usize,
}

/// A page of the owner's routes.
#[derive(Clone, Debug)]
pub struct RoutePage {
    /// The routes.
    pub resources: Vec<RouteView>,
    /// All routes that match.
    pub total: usize,
    /// Head-room.
    pub quota: QuotaView,
}

/// Limits that apply to new routes; `None` where there is none or the technical user may not see it.
#[derive(Clone, Copy, Debug, Default)]
pub struct QuotaView {
    /// Of the organization.
    pub organization: Option<Usage>,
    /// Of the space.
    pub space: Option<Usage>,
    /// Of the app that has the most: of the policy's, or where it takes any, of those behind the owner's routes.
    pub app: Option<Usage>,
}

/// A limit and what is used of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Usage {
    /// The limit.
    pub limit: u64,
    /// What is used.
    pub used: u64,
}

impl EnsureOutcome {
    /// Returns its name in answers, audit lines and metrics.
    pub fn word(self) -> &'static str {
        match self {
            Self::Created => "created",
            Self::Unchanged => "unchanged",
            Self::Repaired => "repaired",
            Self::Adopted => "adopted",
            Self::Wildcard => "wildcard",
            Self::Unknown => "unknown",
        }
    }
}

impl RouteView {
    /// Shows the place that an ensure settled on.
    pub(super) fn at(
        op: &OperationContext,
        subdomain: &str,
        target: &ResolvedRoute,
        route: Option<&Route>,
    ) -> Self {
        let app =
            AppView { name: Some(target.app.name.clone()), guid: Some(target.app.guid.clone()) };
        Self {
            tenant: op.tenant.to_string(),
            subdomain: subdomain.to_owned(),
            url: format!("https://{}", target.fqdn()),
            host: target.host.to_string(),
            domain: target.domain.name.clone(),
            route: route.map(|route| route.guid.clone()),
            space: Some(target.space.guid.clone()),
            apps: vec![app],
            state: RouteState::Ok,
            warnings: Vec::new(),
        }
    }
}
