//! The things of the world, as plain data. Nothing here knows of HTTP; what may be read or changed is decided in `roles` and `capi`.

use crate::capi::json::Json;

/// What every listed thing has.
pub(crate) trait Resource {
    /// Returns the guid.
    fn guid(&self) -> &str;
    /// Returns what `names=` and `order_by=name` look at, where there is one.
    fn name(&self) -> Option<&str>;
    /// Returns what `order_by=state` looks at, where there is one.
    fn state(&self) -> Option<&str>;
    /// Returns labels and annotations.
    fn metadata(&self) -> &Metadata;
    /// Returns the moments of creation and of the last change.
    fn stamp(&self) -> &Timestamps;
}

/// When a thing was made and last changed; the counters order what happened within one second.
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
    /// A delete of the whole space is under way; it still reads as ever.
    pub(crate) deleting: bool,
    /// The most routes of the space; `None` = no space quota.
    pub(crate) route_quota: Option<usize>,
    pub(crate) metadata: Metadata,
    pub(crate) stamp: Timestamps,
}

/// A domain; without an owner it is shared by all organisations.
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

/// What CF calls a route's destination: an app's process and port.
#[derive(Clone, Debug)]
pub(crate) struct Target {
    pub(crate) guid: String,
    pub(crate) app: String,
    pub(crate) process: String,
    pub(crate) port: u64,
    pub(crate) weight: Option<u64>,
    pub(crate) protocol: String,
    pub(crate) stamp: Timestamps,
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
    /// Returns host, domain and path as a browser shows them.
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

/// Compares as CC's database does: names, hosts and paths ignore case.
pub(crate) fn same_text(left: &str, right: &str) -> bool {
    left.to_lowercase() == right.to_lowercase()
}
