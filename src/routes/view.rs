//! What callers see of tenant routes: the answer of an ensure, the routes of a tenant, the owner's
//! list.
//!
//! Invariant: plain data. A value that is not known is `None`, never a guess. Callers: this module,
//! `http`.

use super::{
    OperationContext,
    error::{Fqdn, RouteError},
    provider::Apps,
    resolve::ResolvedRoute,
};
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
    /// The space. A dry run may not know it while CF does not answer.
    pub space: Option<Guid>,
    /// The mapped apps.
    pub apps: Vec<AppView>,
    /// Whether its destinations have weights.
    pub weighted: bool,
    /// Its state.
    pub state: RouteState,
    /// Why it is not [`RouteState::Ok`], where it was compared with its provider entry.
    pub reason: Option<StateReason>,
    /// Warnings for a route that was read. An ensure has its own warnings.
    pub warnings: Vec<Warning>,
}

/// A mapped app. Name or guid may be unknown.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AppView {
    /// Its name.
    pub name: Option<String>,
    /// Its guid.
    pub guid: Option<Guid>,
}

/// The state of a route.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RouteState {
    /// As the provider entry wants it.
    Ok,
    /// No app of the provider entry is mapped.
    Unmapped,
    /// Host, domain or apps differ from the current provider entry.
    Drifted,
    /// It is being deleted.
    Deleting,
}

/// Why a route is not as its provider entry wants it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StateReason {
    /// CF deletes it.
    Deleting,
    /// No app is mapped.
    NoApp,
    /// Apps are mapped, but none of the provider entry.
    OtherApp,
    /// The domain is not one of the provider entry.
    OtherDomain,
    /// The provider entry gives another host.
    OtherHost,
    /// Something else is mapped as well.
    MoreThanApp,
    /// The tenant has a newer route.
    Replaced,
    /// No provider entry names the owner.
    NoEntry,
    /// The provider entry of the owner has another space.
    OtherSpace,
    /// Labels and annotations do not belong together.
    Labels,
}

impl StateReason {
    /// Returns the state of a route for this reason.
    pub fn state(self) -> RouteState {
        match self {
            Self::Deleting => RouteState::Deleting,
            Self::NoApp | Self::OtherApp => RouteState::Unmapped,
            Self::OtherDomain
            | Self::OtherHost
            | Self::MoreThanApp
            | Self::Replaced
            | Self::NoEntry
            | Self::OtherSpace
            | Self::Labels => RouteState::Drifted,
        }
    }

    /// Returns it in words, for people.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Deleting => "Cloud Foundry is deleting it.",
            Self::NoApp => "No app is mapped to it.",
            Self::OtherApp => "No app of its provider entry is mapped to it.",
            Self::OtherDomain => "Its domain is not one of its provider entry.",
            Self::OtherHost => "Its provider entry gives the tenant another host today.",
            Self::MoreThanApp => "Something else is mapped to it besides the app's web process.",
            Self::Replaced => "The tenant has a newer route for the same app and domain.",
            Self::NoEntry => "No provider entry names its owner.",
            Self::OtherSpace => "The provider entry of its owner names another space.",
            Self::Labels => "Its labels and annotations contradict each other.",
        }
    }
}

impl RouteState {
    /// Returns its name in answers.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Unmapped => "unmapped",
            Self::Drifted => "drifted",
            Self::Deleting => "deleting",
        }
    }
}

/// The answer of an ensure.
#[derive(Clone, Debug)]
pub struct Ensured {
    /// The route.
    pub view: RouteView,
    /// What was done. A dry run: what a real run would do.
    pub outcome: EnsureOutcome,
    /// What the caller should know, although it succeeded.
    pub warnings: Vec<Warning>,
    /// The steps of a real run; only in a dry run.
    pub plan: Option<Vec<PlanStep>>,
    /// The tenant's former routes; only if they are replaced.
    pub replaced: Option<Vec<Replaced>>,
}

/// A former route of the tenant.
#[derive(Clone, Debug)]
pub struct Replaced {
    /// Its URL.
    pub url: String,
    /// Its host.
    pub host: String,
    /// The route.
    pub route: Guid,
    /// What became of it.
    pub state: ReplacedState,
}

/// What became of a former route.
#[derive(Clone, Debug)]
pub enum ReplacedState {
    /// A real run removes it.
    Planned,
    /// It is removed, or given up to the foreign app that it serves.
    Removed,
    /// CF is deleting it.
    Deleting,
    /// It is still there.
    Failed(RouteError),
}

/// The result of an ensure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EnsureOutcome {
    /// The route is new.
    Created,
    /// The route needed no change.
    Unchanged,
    /// Mapping or labels were repaired.
    Repaired,
    /// An unlabelled route was adopted.
    Adopted,
    /// The domain's wildcard route serves the tenant.
    Wildcard,
    /// A dry run could not reach CF.
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
    /// Removes the tenant's former routes.
    Remove,
}

/// A warning for the caller.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Warning {
    /// The app is stopped.
    AppStopped,
    /// The app has 90 % of its allowed routes.
    AppRouteLimitNear,
    /// Other apps or processes are mapped too.
    ExtraDestinations,
    /// A former route of the tenant could not be removed.
    ReplaceIncomplete,
    /// CF was not called.
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
    /// Usage of the quotas.
    pub quota: QuotaView,
}

/// Limits for new routes; `None` if there is none or the technical user may not see it.
#[derive(Clone, Copy, Debug, Default)]
pub struct QuotaView {
    /// Of the organization.
    pub organization: Option<Usage>,
    /// Of the space.
    pub space: Option<Usage>,
    /// Of the app that has the most routes: of the entry's apps, or of the apps of the owner's
    /// routes if the provider entry allows any app.
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
    pub fn as_str(self) -> &'static str {
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
    /// Returns why the route could not be deleted: it serves another app as well, so our
    /// destinations would have to be removed, and they have weights.
    pub(super) fn blocks_delete(&self, apps: &Apps) -> Option<RouteError> {
        // If the entry allows any app of the space, no app is foreign.
        let Apps::Listed(_) = apps else { return None };
        let is_ours = |app: &AppView| app.name.as_deref().is_some_and(|name| apps.covers(name));
        let (ours, foreign): (Vec<_>, Vec<_>) = self.apps.iter().partition(|app| is_ours(app));
        let is_stuck = self.weighted && !ours.is_empty() && !foreign.is_empty();
        is_stuck.then(|| {
            RouteError::WeightedDestinations(Fqdn(format!("{}.{}", self.host, self.domain)))
        })
    }

    /// Makes the view of the route that an ensure resolved.
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
            weighted: route.is_some_and(Route::is_weighted),
            state: RouteState::Ok,
            reason: None,
            warnings: Vec::new(),
        }
    }
}
