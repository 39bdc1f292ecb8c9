//! The resources of the world, as plain data. Nothing here knows HTTP. `roles` and `capi` decide
//! who may read or change them.

use tokio::time::Instant;

use crate::capi::json::Json;

/// What every listed resource has.
pub(crate) trait Resource {
    /// Returns the guid.
    fn guid(&self) -> &str;
    /// Returns the value for `names=` and `order_by=name`, if there is one.
    fn name(&self) -> Option<&str>;
    /// Returns the value for `order_by=state`, if there is one.
    fn state(&self) -> Option<&str>;
    /// Returns labels and annotations.
    fn metadata(&self) -> &Metadata;
    /// Returns the times of creation and of the last change.
    fn stamp(&self) -> &Timestamps;
}

/// When a resource was created and last changed. The counters give an order within one second.
#[derive(Clone, Debug, Default)]
pub(crate) struct Timestamps {
    pub(crate) created_at: String,
    pub(crate) updated_at: String,
    pub(crate) created_order: u64,
    pub(crate) updated_order: u64,
}

/// Labels and annotations, in the order in which they were set.
#[derive(Clone, Debug, Default)]
pub(crate) struct Metadata {
    pub(crate) labels: Vec<(String, String)>,
    pub(crate) annotations: Vec<(String, String)>,
}

/// An organisation with its quota.
#[derive(Clone, Debug)]
pub(crate) struct Org {
    pub(crate) guid: String,
    pub(crate) name: String,
    pub(crate) suspended: bool,
    pub(crate) quota_guid: String,
    /// The most routes of all its spaces; `None` = unlimited.
    pub(crate) route_quota: Option<usize>,
    pub(crate) metadata: Metadata,
    pub(crate) stamp: Timestamps,
}

/// A space.
#[derive(Clone, Debug)]
pub(crate) struct Space {
    pub(crate) guid: String,
    pub(crate) name: String,
    pub(crate) org: String,
    pub(crate) suspended: bool,
    /// The whole space is being deleted. It can still be read.
    pub(crate) deleting: bool,
    /// Its own quota, if it has one.
    pub(crate) quota_guid: Option<String>,
    /// The most routes of the space; `None` = unlimited.
    pub(crate) route_quota: Option<usize>,
    pub(crate) metadata: Metadata,
    pub(crate) stamp: Timestamps,
}

/// A domain. Without an owner all organisations share it.
#[derive(Clone, Debug)]
pub(crate) struct Domain {
    pub(crate) guid: String,
    pub(crate) name: String,
    pub(crate) internal: bool,
    pub(crate) owner: Option<String>,
    pub(crate) shared_with: Vec<String>,
    pub(crate) metadata: Metadata,
    pub(crate) stamp: Timestamps,
}

/// An app of the buildpack lifecycle.
#[derive(Clone, Debug)]
pub(crate) struct App {
    pub(crate) guid: String,
    pub(crate) name: String,
    pub(crate) space: String,
    pub(crate) state: String,
    pub(crate) metadata: Metadata,
    pub(crate) stamp: Timestamps,
}

/// An HTTP route.
#[derive(Clone, Debug)]
pub(crate) struct Route {
    pub(crate) guid: String,
    pub(crate) host: String,
    pub(crate) path: String,
    pub(crate) space: String,
    pub(crate) domain: String,
    pub(crate) options: Vec<(String, Json)>,
    pub(crate) targets: Vec<Target>,
    pub(crate) metadata: Metadata,
    pub(crate) stamp: Timestamps,
}

/// A route service in front of a route.
#[derive(Clone, Debug)]
pub(crate) struct RouteBinding {
    pub(crate) guid: String,
    pub(crate) route: String,
    /// The guid of the service instance.
    pub(crate) instance: String,
    pub(crate) instance_name: String,
    pub(crate) url: String,
    pub(crate) metadata: Metadata,
    pub(crate) stamp: Timestamps,
}

/// A destination of a route, in CF's words: an app's process and port.
#[derive(Clone, Debug)]
pub(crate) struct Target {
    pub(crate) guid: String,
    pub(crate) app: String,
    pub(crate) process: String,
    pub(crate) port: u64,
    pub(crate) weight: Option<u64>,
    pub(crate) protocol: String,
    pub(crate) stamp: Timestamps,
    /// When it was made, to find requests that ran at the same moment.
    pub(crate) mapped: Instant,
}

impl Domain {
    /// Tells whether an organisation may use the domain for its routes.
    pub(crate) fn usable_by(&self, org: &str) -> bool {
        match &self.owner {
            None => true,
            Some(owner) => owner == org || self.shared_with.iter().any(|other| other == org),
        }
    }
}

impl Route {
    /// Returns host, domain and path, as a browser shows them.
    pub(crate) fn url(&self, domain: &str) -> String {
        if self.host.is_empty() {
            format!("{domain}{}", self.path)
        } else {
            format!("{}.{domain}{}", self.host, self.path)
        }
    }
}

impl Resource for Org {
    fn guid(&self) -> &str {
        &self.guid
    }
    fn name(&self) -> Option<&str> {
        Some(&self.name)
    }
    fn state(&self) -> Option<&str> {
        None
    }
    fn metadata(&self) -> &Metadata {
        &self.metadata
    }
    fn stamp(&self) -> &Timestamps {
        &self.stamp
    }
}

impl Resource for Space {
    fn guid(&self) -> &str {
        &self.guid
    }
    fn name(&self) -> Option<&str> {
        Some(&self.name)
    }
    fn state(&self) -> Option<&str> {
        None
    }
    fn metadata(&self) -> &Metadata {
        &self.metadata
    }
    fn stamp(&self) -> &Timestamps {
        &self.stamp
    }
}

impl Resource for Domain {
    fn guid(&self) -> &str {
        &self.guid
    }
    fn name(&self) -> Option<&str> {
        Some(&self.name)
    }
    fn state(&self) -> Option<&str> {
        None
    }
    fn metadata(&self) -> &Metadata {
        &self.metadata
    }
    fn stamp(&self) -> &Timestamps {
        &self.stamp
    }
}

impl Resource for App {
    fn guid(&self) -> &str {
        &self.guid
    }
    fn name(&self) -> Option<&str> {
        Some(&self.name)
    }
    fn state(&self) -> Option<&str> {
        Some(&self.state)
    }
    fn metadata(&self) -> &Metadata {
        &self.metadata
    }
    fn stamp(&self) -> &Timestamps {
        &self.stamp
    }
}

impl Resource for RouteBinding {
    fn guid(&self) -> &str {
        &self.guid
    }
    fn name(&self) -> Option<&str> {
        None
    }
    fn state(&self) -> Option<&str> {
        None
    }
    fn metadata(&self) -> &Metadata {
        &self.metadata
    }
    fn stamp(&self) -> &Timestamps {
        &self.stamp
    }
}

impl Resource for Route {
    fn guid(&self) -> &str {
        &self.guid
    }
    fn name(&self) -> Option<&str> {
        None
    }
    fn state(&self) -> Option<&str> {
        None
    }
    fn metadata(&self) -> &Metadata {
        &self.metadata
    }
    fn stamp(&self) -> &Timestamps {
        &self.stamp
    }
}

/// A user that CC has seen, or that holds a role. Name and origin come from the UAA.
#[derive(Clone, Debug)]
pub(crate) struct KnownUser {
    pub(crate) guid: String,
    pub(crate) name: String,
    pub(crate) origin: String,
    pub(crate) metadata: Metadata,
    pub(crate) stamp: Timestamps,
}

impl Resource for KnownUser {
    fn guid(&self) -> &str {
        &self.guid
    }
    fn name(&self) -> Option<&str> {
        None
    }
    fn state(&self) -> Option<&str> {
        None
    }
    fn metadata(&self) -> &Metadata {
        &self.metadata
    }
    fn stamp(&self) -> &Timestamps {
        &self.stamp
    }
}

/// Compares as CC's database does: case is ignored in names, hosts and paths.
pub(crate) fn same_text(left: &str, right: &str) -> bool {
    left.to_lowercase() == right.to_lowercase()
}
