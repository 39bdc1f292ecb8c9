//! Routes as the CF API sends them, with their targets and labels.
//!
//! Invariant: as in the parent module: lenient in reading, exact in writing. Callers: through
//! [`super`].

use super::{super::error::CapiError, Guid, Relationships};
use crate::upstream::body;
use http::StatusCode;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// A route.
#[derive(Clone, Debug, Deserialize)]
pub struct Route {
    /// Its guid.
    pub guid: Guid,
    /// Its host; empty for a private domain's own route.
    #[serde(default, deserialize_with = "super::null_as_default")]
    pub host: String,
    /// Its path; empty, or beginning with `/`.
    #[serde(default, deserialize_with = "super::null_as_default")]
    pub path: String,
    /// Its port; TCP only.
    #[serde(default)]
    pub port: Option<u32>,
    /// Host, domain and path in one.
    #[serde(default, deserialize_with = "super::null_as_default")]
    pub url: String,
    /// When it was created, as CF writes it: RFC 3339 in UTC, so texts sort like times.
    #[serde(default, deserialize_with = "super::null_as_default")]
    pub created_at: String,
    /// Its targets; CF calls them destinations.
    #[serde(default, deserialize_with = "super::vec_or_null")]
    pub destinations: Vec<RouteTarget>,
    /// Labels and annotations.
    #[serde(default, deserialize_with = "super::null_as_default")]
    pub metadata: RouteMetadata,
    /// Relations to other resources.
    #[serde(default, deserialize_with = "super::null_as_default")]
    pub relationships: Relationships,
}

impl Route {
    /// Decodes the body of an opened response.
    ///
    /// # Errors
    /// [`CapiError::Unreadable`].
    pub fn read(body: &[u8]) -> Result<Self, CapiError> {
        body::decode(body).map_err(|source| CapiError::Unreadable {
            status: StatusCode::OK,
            request_id: None,
            source: Some(source),
        })
    }

    /// Returns the guid of its space.
    pub fn space(&self) -> Option<&Guid> {
        self.relationships.space.guid()
    }

    /// Returns the guid of its domain.
    pub fn domain(&self) -> Option<&Guid> {
        self.relationships.domain.guid()
    }

    /// Returns the name of its domain, taken from its URL; no call is needed.
    pub fn domain_name(&self) -> &str {
        let name = self.url.split('/').next().unwrap_or_default();
        let rest = name.strip_prefix(self.host.as_str()).unwrap_or(name);
        rest.strip_prefix('.').unwrap_or(rest)
    }

    /// Returns the guids of its apps, each as often as it is mapped.
    pub fn apps(&self) -> impl Iterator<Item = &Guid> {
        self.destinations.iter().filter_map(|target| target.app.guid.as_ref())
    }

    /// Returns whether it is mapped to the app's web process. Only CF knows the app's port: that of
    /// a container image is not 8080.
    pub fn serves(&self, app: &Guid) -> bool {
        self.destinations.iter().any(|target| target.is_web_of(app))
    }

    /// Returns whether its destinations have weights. CF adds and removes such destinations only
    /// all together.
    pub fn is_weighted(&self) -> bool {
        self.destinations.iter().any(|target| target.weight.is_some())
    }

    /// Returns whether it is mapped to anything but one port of the app's web process.
    pub fn serves_more_than(&self, app: &Guid) -> bool {
        let web = self.destinations.iter().filter(|target| target.is_web_of(app)).count();
        self.destinations.len() > web.min(1)
    }
}

/// Most labels of a resource, as CF is configured by default.
const MAX_LABELS: usize = 50;
/// Most annotations of a resource, as CF is configured by default.
const MAX_ANNOTATIONS: usize = 200;

/// The response of the destination calls of a route.
#[derive(Clone, Debug, Deserialize)]
pub struct RouteTargets {
    /// All targets of the route.
    #[serde(default, deserialize_with = "super::vec_or_null")]
    pub destinations: Vec<RouteTarget>,
}

/// An app that a route is mapped to. CF calls it a *destination*; here that word means SAP's.
#[derive(Clone, Debug, Deserialize)]
pub struct RouteTarget {
    /// The guid of the mapping.
    #[serde(default)]
    pub guid: Option<Guid>,
    /// The app and its process.
    #[serde(default, deserialize_with = "super::null_as_default")]
    pub app: RouteTargetApp,
    /// Its share in percent, if weighted.
    #[serde(default)]
    pub weight: Option<u32>,
    /// The app's port.
    #[serde(default)]
    pub port: Option<u32>,
    /// `http1`, `http2` or `tcp`.
    #[serde(default)]
    pub protocol: Option<String>,
}

impl RouteTarget {
    fn is_web_of(&self, app: &Guid) -> bool {
        let web = self.app.process.kind.as_deref().unwrap_or("web") == "web";
        web && self.app.guid.as_ref() == Some(app)
    }
}

/// The app of a target.
#[derive(Clone, Debug, Default, Deserialize)]
pub struct RouteTargetApp {
    /// Its guid.
    #[serde(default)]
    pub guid: Option<Guid>,
    /// Its process.
    #[serde(default, deserialize_with = "super::null_as_default")]
    pub process: RouteTargetProcess,
}

/// The process of a target.
#[derive(Clone, Debug, Default, Deserialize)]
pub struct RouteTargetProcess {
    /// `web`, or another process type.
    #[serde(default, rename = "type")]
    pub kind: Option<String>,
}

/// The response of `GET /v3/domains/{guid}/route_reservations`.
#[derive(Clone, Copy, Debug, Deserialize)]
pub struct Reservation {
    /// Whether a route with exactly this host and path exists in any organization.
    pub matching_route: bool,
}

type Entries = BTreeMap<String, Option<String>>;

/// Labels and annotations. When sent, `None` as a value removes the entry.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
pub struct RouteMetadata {
    /// For selectors; at most 63 characters.
    #[serde(default, deserialize_with = "super::null_as_default")]
    pub labels: BTreeMap<String, Option<String>>,
    /// Not for selectors; at most 5000 characters.
    #[serde(default, deserialize_with = "super::null_as_default")]
    pub annotations: BTreeMap<String, Option<String>>,
}

impl RouteMetadata {
    /// Returns the value of a label.
    pub fn label(&self, key: &str) -> Option<&str> {
        self.labels.get(key)?.as_deref()
    }

    /// Returns the value of an annotation.
    pub fn annotation(&self, key: &str) -> Option<&str> {
        self.annotations.get(key)?.as_deref()
    }

    /// Returns whether CF accepts the entries of `patch` besides those that are there, if it has
    /// its usual limits.
    pub fn has_room_for(&self, patch: &Self) -> bool {
        let fits = |present: &Entries, added: &Entries, limit: usize| {
            let new = added.iter().filter(|(key, value)| {
                value.is_some() && present.get(*key).is_none_or(Option::is_none)
            });
            let new = new.count();
            new == 0 || present.values().flatten().count() + new <= limit
        };
        fits(&self.labels, &patch.labels, MAX_LABELS)
            && fits(&self.annotations, &patch.annotations, MAX_ANNOTATIONS)
    }

    /// Returns the patch that takes back `patch`, which is applied to these labels and annotations.
    #[must_use]
    pub fn undo_of(&self, patch: &Self) -> Self {
        let former = |present: &Entries, changed: &Entries| {
            changed.keys().map(|key| (key.clone(), present.get(key).cloned().flatten())).collect()
        };
        Self {
            labels: former(&self.labels, &patch.labels),
            annotations: former(&self.annotations, &patch.annotations),
        }
    }
}
