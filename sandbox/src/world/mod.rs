//! The Cloud Foundry world: organisations, spaces, domains, apps, users with roles, routes, jobs,
//! and settings for levers. Invariant: the state changes only under its lock, and jobs that are due
//! finish before each access. `capi` answers from it, `levers` change it, tests read it.

mod date;
mod fill;
mod jobs;
mod levers;
mod model;
mod outages;
mod races;
mod rate_limiter;
mod roles;
mod seed;
mod view;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::time::Instant;
use uuid::Uuid;

use crate::clock::Clock;
use crate::token::CfTokens;

pub use self::fill::Fill;
pub(crate) use self::jobs::{Job, JobFailure, JobSettings, JobState, JobSubject};
pub(crate) use self::model::{
    App, Domain, KnownUser, Metadata, Org, Resource, Route, RouteBinding, Space, Target,
    Timestamps, same_text,
};
pub(crate) use self::outages::{DatabaseLink, OutageAnswer, Outages, UaaLink};
pub(crate) use self::races::{JobFate, LabelAnswer, LabelRace, MapRace};
pub(crate) use self::rate_limiter::{RateKey, RateLimiter, RateUsage};
pub use self::roles::Role;
pub(crate) use self::roles::{Reader, RoleGrant};
pub use self::seed::{DEV_USER, TECHNICAL_USER};
pub use self::view::{AppView, RouteView, SpaceView};

/// The world behind the CF API; shared by the API, the levers and the tests.
#[derive(Debug)]
pub struct CfWorld {
    api_base: String,
    login_base: String,
    tokens: Arc<CfTokens>,
    state: Mutex<WorldState>,
}

/// The state of the world.
#[derive(Debug, Default)]
pub(crate) struct WorldState {
    pub(crate) orgs: Vec<Org>,
    pub(crate) spaces: Vec<Space>,
    pub(crate) domains: Vec<Domain>,
    pub(crate) apps: Vec<App>,
    pub(crate) routes: Vec<Route>,
    pub(crate) route_bindings: Vec<RouteBinding>,
    pub(crate) jobs: Vec<Job>,
    pub(crate) role_grants: Vec<RoleGrant>,
    pub(crate) users: Vec<KnownUser>,
    pub(crate) features: Vec<FeatureFlag>,
    /// Host and domain of the platform's own routes.
    pub(crate) reserved: Vec<(String, String)>,
    pub(crate) job_settings: JobSettings,
    pub(crate) map_race: MapRace,
    pub(crate) rate: RateLimiter,
    pub(crate) outages: Outages,
    pub(crate) release: Release,
    pub(crate) links: RootLinks,
    clock: Clock,
    counter: u64,
}

/// A feature flag that was set. The others have CC's defaults.
#[derive(Clone, Debug)]
pub(crate) struct FeatureFlag {
    pub(crate) name: String,
    pub(crate) on: bool,
    /// The administrator's text for refused callers.
    pub(crate) message: Option<String>,
}

/// Which Cloud Controller answers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Release {
    /// The recorded one.
    #[default]
    Current,
    /// One of 2024: no route options, no `suspended` on spaces, no times in destinations.
    Older,
}

/// Which links the root document has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum RootLinks {
    /// As on BTP: `credhub` and `routing` are null.
    #[default]
    Sparse,
    /// As recorded: none is null.
    Full,
}

impl CfWorld {
    /// Returns the base address of the API, without a slash at its end.
    pub(crate) fn api_base(&self) -> &str {
        &self.api_base
    }

    /// Returns the base address of the UAA that the root document names.
    pub(crate) fn login_base(&self) -> &str {
        &self.login_base
    }

    pub(crate) fn tokens(&self) -> &CfTokens {
        &self.tokens
    }

    /// Runs `work` on the state, after every due job has finished.
    pub(crate) fn with_state<R>(&self, work: impl FnOnce(&mut WorldState) -> R) -> R {
        let mut state = self.lock();
        state.finish_due_jobs(Instant::now());
        work(&mut state)
    }

    fn lock(&self) -> MutexGuard<'_, WorldState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl WorldState {
    /// Returns the timestamps of a new resource.
    pub(crate) fn stamp(&mut self) -> Timestamps {
        let now = self.now();
        self.counter += 1;
        Timestamps {
            created_at: now.clone(),
            updated_at: now,
            created_order: self.counter,
            updated_order: self.counter,
        }
    }

    /// Sets the time of the last change.
    pub(crate) fn touch(&mut self, stamp: &mut Timestamps) {
        self.counter += 1;
        stamp.updated_at = self.now();
        stamp.updated_order = self.counter;
    }

    /// Returns the current second in CC's format.
    pub(crate) fn now(&self) -> String {
        date::iso(self.clock.seconds())
    }

    /// Returns the seconds since 1970.
    pub(crate) fn seconds(&self) -> i64 {
        self.clock.seconds()
    }

    pub(crate) fn org(&self, guid: &str) -> Option<&Org> {
        self.orgs.iter().find(|org| org.guid == guid)
    }

    pub(crate) fn space(&self, guid: &str) -> Option<&Space> {
        self.spaces.iter().find(|space| space.guid == guid)
    }

    pub(crate) fn domain(&self, guid: &str) -> Option<&Domain> {
        self.domains.iter().find(|domain| domain.guid == guid)
    }

    pub(crate) fn app(&self, guid: &str) -> Option<&App> {
        self.apps.iter().find(|app| app.guid == guid)
    }

    pub(crate) fn route(&self, guid: &str) -> Option<&Route> {
        self.routes.iter().find(|route| route.guid == guid)
    }

    pub(crate) fn job(&self, guid: &str) -> Option<&Job> {
        self.jobs.iter().find(|job| job.guid == guid)
    }

    /// Returns the flag, if an administrator has set it.
    pub(crate) fn feature(&self, name: &str) -> Option<&FeatureFlag> {
        self.features.iter().find(|feature| feature.name == name)
    }
}

/// Returns a new guid.
pub(crate) fn new_guid() -> String {
    Uuid::new_v4().to_string()
}
