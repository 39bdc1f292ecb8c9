//! The levers of the CF side, as methods. Each says what it could not find; none panics. Tests call them, `pull` does so over HTTP.

use std::time::Duration;

use crate::world::{
    CfWorld, FeatureFlag, Metadata, Release, Role, Route, Space, Target, WorldState, new_guid,
    same_text,
};

impl CfWorld {
    /// Stops the worker: jobs stay PROCESSING.
    pub fn pause_jobs(&self) {
        self.with_state(|state| state.job_settings.paused = true);
    }

    /// Lets the worker go on; jobs whose time is up finish at once.
    pub fn resume_jobs(&self) {
        self.with_state(|state| state.job_settings.paused = false);
    }

    /// Lets the next `count` jobs that would finish end FAILED, with this detail.
    pub fn fail_jobs(&self, count: u64, detail: &str) {
        self.with_state(|state| state.job_settings.failing = (count, detail.to_owned()));
    }

    /// Sets how long jobs made from now on take.
    pub fn job_delay(&self, delay: Duration) {
        self.with_state(|state| state.job_settings.delay = delay);
    }

    /// Puts a route that no caller made into a space, as another tenant of the landscape would; returns its guid.
    ///
    /// # Errors
    /// The domain or the space is unknown, or the host is taken.
    pub fn take_host(&self, host: &str, domain: &str, space: &str) -> Result<String, String> {
        self.with_state(|state| {
            let domain = state.domain_named(domain)?;
            let space = state.space_named(space)?.guid.clone();
            let taken = |route: &Route| same_text(&route.host, host) && route.domain == domain;
            if state.routes.iter().any(taken) {
                return Err("the host is taken already".to_owned());
            }
            let stamp = state.stamp();
            let guid = new_guid();
            state.routes.push(Route {
                guid: guid.clone(),
                host: host.to_owned(),
                path: String::new(),
                space,
                domain,
                options: Vec::new(),
                targets: Vec::new(),
                metadata: Metadata::default(),
                stamp,
            });
            Ok(guid)
        })
    }

    /// Maps the web process of an app to the route of a host, whoever could do so.
    ///
    /// # Errors
    /// The domain, the route or the app is unknown.
    pub fn map_host(&self, host: &str, domain: &str, app: &str) -> Result<(), String> {
        self.with_state(|state| {
            let domain = state.domain_named(domain)?;
            let mut apps = state.apps.iter();
            let app = apps.find(|entry| same_text(&entry.name, app)).ok_or("no such app")?;
            let (app, stamp) = (app.guid.clone(), state.stamp());
            let wanted =
                |route: &&mut Route| same_text(&route.host, host) && route.domain == domain;
            let route = state.routes.iter_mut().find(wanted).ok_or("no such route")?;
            route.targets.push(Target {
                guid: new_guid(),
                app,
                process: "web".to_owned(),
                port: 8080,
                weight: None,
                protocol: "http1".to_owned(),
                stamp,
            });
            Ok(())
        })
    }

    /// Sets the route quota of an organisation; `None` = unlimited.
    ///
    /// # Errors
    /// The organisation is unknown.
    pub fn quota(&self, org: &str, routes: Option<usize>) -> Result<(), String> {
        self.with_state(|state| {
            let mut orgs = state.orgs.iter_mut();
            let org = orgs.find(|entry| entry.name == org).ok_or("no such org")?;
            org.route_quota = routes;
            Ok(())
        })
    }

    /// Sets the route quota of a space; `None` = no space quota.
    ///
    /// # Errors
    /// The space is unknown.
    pub fn space_quota(&self, space: &str, routes: Option<usize>) -> Result<(), String> {
        self.with_state(|state| {
            let mut spaces = state.spaces.iter_mut();
            let space = spaces.find(|entry| entry.name == space).ok_or("no such space")?;
            space.route_quota = routes;
            Ok(())
        })
    }

    /// Gives each user `requests` per window of `retry_after` seconds; `None` turns the limiter off.
    pub fn rate_limit(&self, requests: Option<u64>, retry_after: u64) {
        let window = Duration::from_secs(retry_after);
        self.with_state(|state| state.rate.set(requests, None, window));
    }

    /// As [`CfWorld::rate_limit`], with a limit for requests without a good token beside it.
    pub fn rate_limit_addresses(&self, requests: u64, retry_after: u64) {
        let window = Duration::from_secs(retry_after);
        self.with_state(|state| state.rate.set(None, Some(requests), window));
    }

    /// Leaves the newer fields out, as Cloud Controllers of 2024 do, or puts them back.
    pub fn older_release(&self, on: bool) {
        let release = if on { Release::Older } else { Release::Current };
        self.with_state(|state| state.release = release);
    }

    /// Adds an app; returns its guid.
    ///
    /// # Errors
    /// The space is unknown.
    pub fn add_app(&self, name: &str, space: &str) -> Result<String, String> {
        self.with_state(|state| {
            let space = state.space_named(space)?.guid.clone();
            let guid = new_guid();
            state.add_app(&guid, name, &space, "STARTED");
            Ok(guid)
        })
    }

    /// Gives an app a new guid, as if it had been deleted and pushed again under its name with all its routes; returns
    /// the guid.
    ///
    /// # Errors
    /// The app is unknown.
    pub fn remake_app(&self, name: &str) -> Result<String, String> {
        self.with_state(|state| {
            let app = state.apps.iter_mut().find(|app| same_text(&app.name, name));
            let app = app.ok_or("no such app")?;
            let former = std::mem::replace(&mut app.guid, new_guid());
            let guid = app.guid.clone();
            let targets = state.routes.iter_mut().flat_map(|route| &mut route.targets);
            for target in targets.filter(|target| target.app == former) {
                target.app.clone_from(&guid);
            }
            Ok(guid)
        })
    }

    /// Gives an app another name.
    ///
    /// # Errors
    /// The app is unknown.
    pub fn rename_app(&self, name: &str, to: &str) -> Result<(), String> {
        self.with_state(|state| {
            let app = state.apps.iter_mut().find(|app| same_text(&app.name, name));
            to.clone_into(&mut app.ok_or("no such app")?.name);
            Ok(())
        })
    }

    /// Adds a domain, private where an owner is named; returns its guid.
    ///
    /// # Errors
    /// The organisation is unknown.
    pub fn add_domain(&self, name: &str, owner: Option<&str>) -> Result<String, String> {
        self.with_state(|state| {
            let owner = owner.map(|org| state.org_named(org)).transpose()?;
            let guid = new_guid();
            state.add_domain(&guid, name, owner.as_deref());
            Ok(guid)
        })
    }

    /// Reserves a host of a domain for the platform.
    pub fn reserve_host(&self, host: &str, domain: &str) {
        self.with_state(|state| state.reserved.push((host.to_owned(), domain.to_owned())));
    }

    /// Replaces the user's roles in a space (or an organisation, for the roles of organisations); `None` takes them away.
    ///
    /// # Errors
    /// The place is unknown.
    pub fn set_role(&self, user: &str, resource: &str, role: Option<Role>) -> Result<(), String> {
        self.with_state(|state| {
            let guid = match state.space_named(resource) {
                Ok(space) if !role.is_some_and(Role::of_org) => space.guid.clone(),
                Ok(_) | Err(_) => state.org_named(resource)?,
            };
            state.role_grants.retain(|grant| grant.user != user || grant.resource != guid);
            if let Some(role) = role {
                state.grant(user, &guid, role);
            }
            Ok(())
        })
    }

    /// Suspends an organisation or lets it go on.
    ///
    /// # Errors
    /// The organisation is unknown.
    pub fn suspend(&self, org: &str, on: bool) -> Result<(), String> {
        self.with_state(|state| {
            let mut orgs = state.orgs.iter_mut();
            orgs.find(|entry| entry.name == org).ok_or("no such org")?.suspended = on;
            Ok(())
        })
    }

    /// Suspends a space or lets it go on.
    ///
    /// # Errors
    /// The space is unknown.
    pub fn suspend_space(&self, space: &str, on: bool) -> Result<(), String> {
        self.with_state(|state| {
            let mut spaces = state.spaces.iter_mut();
            spaces.find(|entry| entry.name == space).ok_or("no such space")?.suspended = on;
            Ok(())
        })
    }

    /// Marks a space as being deleted, or takes the mark away; nothing in it may change meanwhile.
    ///
    /// # Errors
    /// The space is unknown.
    pub fn space_deleting(&self, space: &str, on: bool) -> Result<(), String> {
        self.with_state(|state| {
            let mut spaces = state.spaces.iter_mut();
            let space = spaces.find(|entry| entry.name == space);
            space.ok_or("no such space")?.deleting = on;
            Ok(())
        })
    }

    /// Sets a feature flag, with the administrator's text for callers who meet the closed door.
    pub fn feature(&self, name: &str, on: bool, message: Option<&str>) {
        self.with_state(|state| {
            state.features.retain(|feature| feature.name != name);
            state.features.push(FeatureFlag {
                name: name.to_owned(),
                on,
                message: message.map(str::to_owned),
            });
        });
    }
}

impl WorldState {
    fn space_named(&self, name: &str) -> Result<&Space, String> {
        let mut spaces = self.spaces.iter();
        spaces
            .find(|space| space.name == name || space.guid == name)
            .ok_or_else(|| "no such space".to_owned())
    }

    fn org_named(&self, name: &str) -> Result<String, String> {
        let mut orgs = self.orgs.iter();
        orgs.find(|org| org.name == name || org.guid == name)
            .map(|org| org.guid.clone())
            .ok_or_else(|| "no such org".to_owned())
    }

    fn domain_named(&self, name: &str) -> Result<String, String> {
        let mut domains = self.domains.iter();
        domains
            .find(|domain| domain.name == name || domain.guid == name)
            .map(|domain| domain.guid.clone())
            .ok_or_else(|| "no such domain".to_owned())
    }
}
