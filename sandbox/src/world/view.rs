//! What tests can read of the world without the API: plain copies, without any check of roles.

use std::collections::BTreeMap;

use crate::world::{CfWorld, Route, WorldState};

/// A route of the world.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RouteView {
    /// The guid.
    pub guid: String,
    /// The host; empty for the domain itself.
    pub host: String,
    /// The name of the domain.
    pub domain: String,
    /// The path: empty, or with a slash at its start.
    pub path: String,
    /// The name of the space.
    pub space: String,
    /// The labels.
    pub labels: BTreeMap<String, String>,
    /// The annotations.
    pub annotations: BTreeMap<String, String>,
    /// The names of the mapped apps, in the order of mapping.
    pub apps: Vec<String>,
    /// Whether a delete is pending.
    pub deleting: bool,
}

/// An app of the world.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AppView {
    /// The guid.
    pub guid: String,
    /// The name.
    pub name: String,
    /// The name of the space.
    pub space: String,
}

/// A space of the world.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SpaceView {
    /// The guid.
    pub guid: String,
    /// The name.
    pub name: String,
    /// The guid of the organisation.
    pub org_guid: String,
    /// The name of the organisation.
    pub org: String,
}

impl CfWorld {
    /// Returns every route, in the order of creation.
    pub fn routes(&self) -> Vec<RouteView> {
        self.with_state(|state| {
            let state = &*state;
            state.routes.iter().map(|route| view(state, route)).collect()
        })
    }

    /// Returns every app, in the order of creation.
    pub fn apps(&self) -> Vec<AppView> {
        self.with_state(|state| {
            let name_of = |guid: &str| state.space(guid).map(|space| space.name.clone());
            let apps = state.apps.iter();
            apps.map(|app| AppView {
                guid: app.guid.clone(),
                name: app.name.clone(),
                space: name_of(&app.space).unwrap_or_default(),
            })
            .collect()
        })
    }

    /// Returns every space, in the order of creation.
    pub fn spaces(&self) -> Vec<SpaceView> {
        self.with_state(|state| {
            let name_of = |guid: &str| state.org(guid).map(|org| org.name.clone());
            let spaces = state.spaces.iter();
            spaces
                .map(|space| SpaceView {
                    guid: space.guid.clone(),
                    name: space.name.clone(),
                    org_guid: space.org.clone(),
                    org: name_of(&space.org).unwrap_or_default(),
                })
                .collect()
        })
    }
}

fn view(state: &WorldState, route: &Route) -> RouteView {
    let domain = state.domain(&route.domain).map(|domain| domain.name.clone());
    let space = state.space(&route.space).map(|space| space.name.clone());
    let apps = route.targets.iter().filter_map(|target| state.app(&target.app));
    RouteView {
        guid: route.guid.clone(),
        host: route.host.clone(),
        domain: domain.unwrap_or_default(),
        path: route.path.clone(),
        space: space.unwrap_or_default(),
        labels: route.metadata.labels.iter().cloned().collect(),
        annotations: route.metadata.annotations.iter().cloned().collect(),
        apps: apps.map(|app| app.name.clone()).collect(),
        deleting: state.is_deleting(&route.guid),
    }
}
