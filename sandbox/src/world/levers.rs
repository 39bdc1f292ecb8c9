//! The levers of the CF world as methods. An error says what was not found. Called by tests, and by
//! `levers::cf` for HTTP and for recordings. A space, an organisation and a domain go by name or
//! guid.

use std::time::Duration;

use tokio::time::Instant;

use crate::world::{
    CfWorld, DatabaseLink, FeatureFlag, Metadata, Org, Release, Role, Route, RouteBinding, Space,
    Target, UaaLink, WorldState, new_guid, same_text,
};

impl CfWorld {
    /// Stops the job worker: jobs stay PROCESSING.
    pub fn pause_jobs(&self) {
        self.with_state(|state| state.job_settings.paused = true);
    }

    /// Starts the job worker again. Jobs that are due finish at once.
    pub fn resume_jobs(&self) {
        self.with_state(|state| state.job_settings.paused = false);
    }

    /// Makes the next `count` jobs end as FAILED, with this detail.
    pub fn fail_jobs(&self, count: u64, detail: &str) {
        self.with_state(|state| state.job_settings.failing = (count, detail.to_owned()));
    }

    /// Sets how long jobs take that start from now on.
    pub fn job_delay(&self, delay: Duration) {
        self.with_state(|state| state.job_settings.delay = delay);
    }

    /// Creates a route in a space as another tenant of the landscape would, without the API.
    /// Returns its guid.
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

    /// Puts a route service in front of the route of a host. Returns the guid of the binding.
    ///
    /// # Errors
    /// The domain or the route is unknown.
    pub fn bind_route(&self, host: &str, domain: &str, url: &str) -> Result<String, String> {
        self.with_state(|state| {
            let domain = state.domain_named(domain)?;
            let wanted = |route: &&Route| same_text(&route.host, host) && route.domain == domain;
            let route = state.routes.iter().find(wanted).ok_or("no such route")?.guid.clone();
            let (guid, stamp) = (new_guid(), state.stamp());
            state.route_bindings.push(RouteBinding {
                guid: guid.clone(),
                route,
                instance: new_guid(),
                instance_name: "route-service".to_owned(),
                url: url.to_owned(),
                metadata: Metadata::default(),
                stamp,
            });
            Ok(guid)
        })
    }

    /// Maps the web process of an app to the route of a host, without any check of roles.
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
                mapped: Instant::now(),
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
            state.org_mut(org)?.route_quota = routes;
            Ok(())
        })
    }

    /// Gives a space a quota of its own with this number of routes; `None` = no quota.
    ///
    /// # Errors
    /// The space is unknown.
    pub fn space_quota(&self, space: &str, routes: Option<usize>) -> Result<(), String> {
        self.with_state(|state| {
            let space = state.space_mut(space)?;
            space.route_quota = routes;
            space.quota_guid = routes.map(|_| new_guid());
            Ok(())
        })
    }

    /// Gives each user this many requests per window of `retry_after` seconds. `None` turns this
    /// limit off.
    pub fn rate_limit(&self, requests: Option<u64>, retry_after: u64) {
        let window = Duration::from_secs(retry_after);
        self.with_state(|state| state.rate.limit_users(requests, window));
    }

    /// Limits requests without a good token, by address, besides the limit of users. `None` turns
    /// this limit off.
    pub fn rate_limit_addresses(&self, requests: Option<u64>, retry_after: u64) {
        let window = Duration::from_secs(retry_after);
        self.with_state(|state| state.rate.limit_addresses(requests, window));
    }

    /// Leaves out the newer fields, as Cloud Controllers of 2024 do, or shows them again.
    pub fn older_release(&self, on: bool) {
        let release = if on { Release::Older } else { Release::Current };
        self.with_state(|state| state.release = release);
    }

    /// Takes the database away from the Cloud Controller, or gives it back.
    pub fn database_down(&self, on: bool) {
        let link = if on { DatabaseLink::Down } else { DatabaseLink::Up };
        self.with_state(|state| state.outages.database = link);
    }

    /// Takes the UAA away from the Cloud Controller, or gives it back. The UAA itself still
    /// answers everyone else.
    pub(crate) fn uaa_link(&self, link: UaaLink) {
        self.with_state(|state| state.outages.uaa = link);
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

    /// Gives an app a new guid, as if it had been deleted and pushed again with its name and all
    /// its routes. Returns the guid.
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

    /// Renames an app.
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

    /// Adds a domain. It is private if an owner is named. Returns its guid.
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

    /// Replaces the user's roles in a space, or in an organisation for roles of organisations.
    /// `None` removes them.
    ///
    /// # Errors
    /// The space or the organisation is unknown.
    pub fn set_role(&self, user: &str, resource: &str, role: Option<Role>) -> Result<(), String> {
        self.with_state(|state| {
            let guid = match state.space_named(resource) {
                Ok(space) if !role.is_some_and(Role::of_org) => space.guid.clone(),
                Ok(_) | Err(_) => state.org_named(resource)?,
            };
            state.remove_grants(user, &guid);
            if let Some(role) = role {
                state.grant(user, &guid, role);
            }
            Ok(())
        })
    }

    /// Suspends an organisation, or ends the suspension.
    ///
    /// # Errors
    /// The organisation is unknown.
    pub fn suspend(&self, org: &str, on: bool) -> Result<(), String> {
        self.with_state(|state| {
            state.org_mut(org)?.suspended = on;
            Ok(())
        })
    }

    /// Suspends a space, or ends the suspension.
    ///
    /// # Errors
    /// The space is unknown.
    pub fn suspend_space(&self, space: &str, on: bool) -> Result<(), String> {
        self.with_state(|state| {
            state.space_mut(space)?.suspended = on;
            Ok(())
        })
    }

    /// Marks a space as being deleted, or removes the mark. Nothing in such a space can be changed.
    ///
    /// # Errors
    /// The space is unknown.
    pub fn space_deleting(&self, space: &str, on: bool) -> Result<(), String> {
        self.with_state(|state| {
            state.space_mut(space)?.deleting = on;
            Ok(())
        })
    }

    /// Sets a feature flag. `message` is the administrator's text for refused callers.
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

    fn space_mut(&mut self, name: &str) -> Result<&mut Space, String> {
        let mut spaces = self.spaces.iter_mut();
        spaces
            .find(|space| space.name == name || space.guid == name)
            .ok_or_else(|| "no such space".to_owned())
    }

    fn org_mut(&mut self, name: &str) -> Result<&mut Org, String> {
        let mut orgs = self.orgs.iter_mut();
        orgs.find(|org| org.name == name || org.guid == name)
            .ok_or_else(|| "no such org".to_owned())
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
