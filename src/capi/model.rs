//! What the CF API v3 sends and takes, as types.
//!
//! Invariant: reading is lenient, writing is exact. Unknown fields are ignored, newer fields are
//! options, `null` counts as absent: landscapes of 2024 lack fields of 2026, and Korifi lacks
//! others. Only the guid of a resource is required. Callers: this module, `routes`, `proxy`,
//! `http`.

mod route;

pub use route::{
    Reservation, Route, RouteMetadata, RouteTarget, RouteTargetApp, RouteTargetProcess,
    RouteTargets,
};

use crate::telemetry::foreign;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::{borrow::Cow, collections::BTreeMap, fmt, sync::Arc};

/// Longest guid that is accepted. CF's are UUIDs of 36 characters; service guids may have a suffix.
const MAX_GUID: usize = 200;

/// The identifier of a CF resource: 1 to 200 characters of `[A-Za-z0-9_-]`.
///
/// Only [`Guid::parse`] makes one, so it is safe as a path segment and inside a filter.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[cfg_attr(test, derive(utoipa::ToSchema), schema(as = Guid, value_type = String))]
pub struct Guid(Arc<str>);

impl Guid {
    /// Parses a guid; `None` when its form is not valid.
    pub fn parse(text: &str) -> Option<Self> {
        let is_valid = |c: u8| c.is_ascii_alphanumeric() || c == b'-' || c == b'_';
        let fits = !text.is_empty() && text.len() <= MAX_GUID;
        (fits && text.bytes().all(is_valid)).then(|| Self(text.into()))
    }

    /// Returns the text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Guid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Serialize for Guid {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for Guid {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = Cow::<'de, str>::deserialize(deserializer)?;
        Self::parse(&text).ok_or_else(|| serde::de::Error::custom("invalid guid"))
    }
}

/// One page of a list.
#[derive(Clone, Debug, Deserialize)]
#[serde(bound(deserialize = "T: Deserialize<'de>"))]
pub struct Page<T> {
    /// Where the list continues.
    pub pagination: Pagination,
    /// The resources of this page.
    #[serde(default = "Vec::new", deserialize_with = "vec_or_null")]
    pub resources: Vec<T>,
    /// Resources requested with `include`.
    #[serde(default, deserialize_with = "null_as_default")]
    pub included: Included,
}

/// Paging data. `total_results` of a page past the end is 0, so only the first page counts.
#[derive(Clone, Debug, Deserialize)]
pub struct Pagination {
    /// Resources on all pages.
    #[serde(default, deserialize_with = "null_as_default")]
    pub total_results: u64,
    /// Number of pages; not every API says it.
    #[serde(default)]
    pub total_pages: Option<usize>,
    /// The next page.
    #[serde(default)]
    pub next: Option<PageLink>,
}

/// An absolute URL, as the CF API writes it. Its host is never followed.
#[derive(Clone, Debug, Default, Deserialize)]
pub struct PageLink {
    /// The URL.
    #[serde(default, deserialize_with = "null_as_default")]
    pub href: String,
}

/// Resources that were requested with `include=`.
#[derive(Clone, Debug, Default, Deserialize)]
pub struct Included {
    /// The organizations of the listed spaces or apps.
    #[serde(default, deserialize_with = "vec_or_null")]
    pub organizations: Vec<Organization>,
}

/// The root document, `GET /`; any link may be null.
#[derive(Clone, Debug, Default, Deserialize)]
pub struct CfRoot {
    /// Links by name.
    #[serde(default, deserialize_with = "null_as_default")]
    pub links: BTreeMap<String, Option<RootLink>>,
}

/// A link of the root document.
#[derive(Clone, Debug, Default, Deserialize)]
pub struct RootLink {
    /// Where it leads.
    #[serde(default)]
    pub href: Option<String>,
    /// Data about the API behind it.
    #[serde(default, deserialize_with = "null_as_default")]
    pub meta: RootMeta,
}

/// Data about an API in the root document.
#[derive(Clone, Debug, Default, Deserialize)]
pub struct RootMeta {
    /// Its version; not every link has one.
    #[serde(default)]
    pub version: Option<String>,
}

impl CfRoot {
    /// Returns the address that the API gives for itself.
    pub fn address(&self) -> Option<&str> {
        self.links.get("self")?.as_ref()?.href.as_deref()
    }

    /// Returns the version of the CF API v3.
    pub fn version(&self) -> Option<&str> {
        let link = self.links.get("cloud_controller_v3")?.as_ref();
        link.and_then(|link| link.meta.version.as_deref())
    }
}

/// A space.
#[derive(Clone, Debug, Deserialize)]
pub struct Space {
    /// Its guid.
    pub guid: Guid,
    /// Its name, unique within the organization.
    #[serde(default, deserialize_with = "null_as_default")]
    pub name: String,
    /// When it was created, as CF writes it.
    #[serde(default)]
    pub created_at: Option<String>,
    /// Whether it is suspended; absent before 2026.
    #[serde(default)]
    pub suspended: Option<bool>,
    /// Relations to other resources.
    #[serde(default, deserialize_with = "null_as_default")]
    pub relationships: Relationships,
    /// Resources requested with `include`, on a single read.
    #[serde(default, deserialize_with = "null_as_default")]
    pub included: Included,
}

impl Space {
    /// Returns the guid of its organization.
    pub fn organization(&self) -> Option<&Guid> {
        self.relationships.organization.guid()
    }

    /// Returns the guid of its own quota.
    pub fn quota(&self) -> Option<&Guid> {
        self.relationships.quota.guid()
    }
}

/// An organization.
#[derive(Clone, Debug, Deserialize)]
pub struct Organization {
    /// Its guid.
    pub guid: Guid,
    /// Its name.
    #[serde(default, deserialize_with = "null_as_default")]
    pub name: String,
    /// Whether it is suspended.
    #[serde(default)]
    pub suspended: Option<bool>,
    /// Relations to other resources.
    #[serde(default, deserialize_with = "null_as_default")]
    pub relationships: Relationships,
}

impl Organization {
    /// Returns the guid of its quota.
    pub fn quota(&self) -> Option<&Guid> {
        self.relationships.quota.guid()
    }
}

/// The quota of an organization or a space, as far as it limits routes.
#[derive(Clone, Debug, Deserialize)]
pub struct Quota {
    /// Its guid.
    pub guid: Guid,
    /// Limits on routes.
    #[serde(default, deserialize_with = "null_as_default")]
    pub routes: RouteLimits,
}

/// Limits on routes; an absent one is no limit.
#[derive(Clone, Copy, Debug, Default, Deserialize)]
pub struct RouteLimits {
    /// All routes.
    #[serde(default)]
    pub total_routes: Option<u64>,
}

/// What an organization uses of its quota.
#[derive(Clone, Copy, Debug, Default, Deserialize)]
pub struct UsageSummary {
    /// The counts.
    #[serde(default, deserialize_with = "null_as_default")]
    pub usage_summary: UsedOfQuota,
}

/// Counts of what an organization has.
#[derive(Clone, Copy, Debug, Default, Deserialize)]
pub struct UsedOfQuota {
    /// All its routes. The field's name differs between releases (CC source).
    #[serde(default, alias = "total_routes")]
    pub routes: Option<u64>,
}

/// A domain.
#[derive(Clone, Debug, Deserialize)]
pub struct Domain {
    /// Its guid.
    pub guid: Guid,
    /// Its name.
    #[serde(default, deserialize_with = "null_as_default")]
    pub name: String,
    /// Whether it is for traffic between apps only.
    #[serde(default, deserialize_with = "null_as_default")]
    pub internal: bool,
    /// Relations to other resources.
    #[serde(default, deserialize_with = "null_as_default")]
    pub relationships: Relationships,
}

impl Domain {
    /// Returns whether it belongs to one organization; shared domains have no owner.
    pub fn is_private(&self) -> bool {
        self.relationships.organization.guid().is_some()
    }
}

/// An app.
#[derive(Clone, Debug, Deserialize)]
pub struct CfApp {
    /// Its guid.
    pub guid: Guid,
    /// Its name, unique within the space.
    #[serde(default, deserialize_with = "null_as_default")]
    pub name: String,
    /// `STARTED` or `STOPPED`.
    #[serde(default)]
    pub state: Option<String>,
    /// Relations to other resources.
    #[serde(default, deserialize_with = "null_as_default")]
    pub relationships: Relationships,
}

impl CfApp {
    /// Returns whether CF says that it is stopped.
    pub fn is_stopped(&self) -> bool {
        self.state.as_deref() == Some("STOPPED")
    }

    /// Returns the guid of its space.
    pub fn space(&self) -> Option<&Guid> {
        self.relationships.space.guid()
    }
}

/// A resource of a space, of which only the space is read: such lists are long.
#[derive(Clone, Debug, Deserialize)]
pub struct LocatedResource {
    #[serde(default, deserialize_with = "null_as_default")]
    relationships: SpaceRelationship,
}

#[derive(Clone, Debug, Default, Deserialize)]
struct SpaceRelationship {
    #[serde(default, deserialize_with = "null_as_default")]
    space: ToOneRelationship,
}

impl LocatedResource {
    /// Returns the guid of its space.
    pub fn into_space(self) -> Option<Guid> {
        self.relationships.space.data?.guid
    }
}

/// Relations of a resource to others; those that the broker reads.
#[derive(Clone, Debug, Default, Deserialize)]
pub struct Relationships {
    /// The organization.
    #[serde(default, deserialize_with = "null_as_default")]
    pub organization: ToOneRelationship,
    /// The space.
    #[serde(default, deserialize_with = "null_as_default")]
    pub space: ToOneRelationship,
    /// The domain.
    #[serde(default, deserialize_with = "null_as_default")]
    pub domain: ToOneRelationship,
    /// The quota.
    #[serde(default, deserialize_with = "null_as_default")]
    pub quota: ToOneRelationship,
}

/// A relation to at most one resource.
#[derive(Clone, Debug, Default, Deserialize)]
pub struct ToOneRelationship {
    /// The resource.
    #[serde(default)]
    pub data: Option<ResourceReference>,
}

impl ToOneRelationship {
    /// Returns the guid of the related resource.
    pub fn guid(&self) -> Option<&Guid> {
        self.data.as_ref()?.guid.as_ref()
    }
}

/// A resource by its guid; the guid itself may be null (`current_droplet`).
#[derive(Clone, Debug, Default, Deserialize)]
pub struct ResourceReference {
    /// The guid.
    #[serde(default)]
    pub guid: Option<Guid>,
}

/// An asynchronous operation of CF.
#[derive(Clone, Debug, Deserialize)]
pub struct Job {
    /// Its guid.
    pub guid: Guid,
    /// `route.delete` and the like.
    #[serde(default, deserialize_with = "null_as_default")]
    pub operation: String,
    /// How far it is.
    pub state: JobState,
    /// Why it failed.
    #[serde(default, deserialize_with = "vec_or_null")]
    pub errors: Vec<CfError>,
}

/// How far a job is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum JobState {
    /// It runs.
    Processing,
    /// It waits for a service broker.
    Polling,
    /// Done.
    Complete,
    /// Ended with errors.
    Failed,
    /// A state of a newer release: counts as running.
    #[serde(other)]
    Unknown,
}

/// The error document of the CF API v3.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
pub struct CapiErrors {
    /// All errors; usually one, whose detail joins several findings with `, `.
    #[serde(default, deserialize_with = "vec_or_null")]
    pub errors: Vec<CfError>,
}

impl CapiErrors {
    /// Returns the code of the first error.
    pub fn code(&self) -> Option<u32> {
        self.errors.first()?.code
    }

    /// Returns whether any detail contains `text`. The cf CLI also matches on details.
    pub fn mentions(&self, text: &str) -> bool {
        self.errors.iter().any(|error| error.detail.contains(text))
    }
}

/// One error of the CF API v3.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[cfg_attr(test, derive(utoipa::ToSchema), schema(as = CfError))]
pub struct CfError {
    /// The number, stable between releases.
    #[serde(default)]
    pub code: Option<u32>,
    /// The name, `CF-…`.
    #[serde(default, deserialize_with = "foreign_text")]
    pub title: String,
    /// The text, which may change between releases.
    #[serde(default, deserialize_with = "foreign_text")]
    pub detail: String,
}

/// Reads a text that callers see: nothing in it may look like a token.
fn foreign_text<'de, D: Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    let text: Option<String> = Option::deserialize(deserializer)?;
    Ok(text.map(|text| foreign::strike(&text, &[], usize::MAX)).unwrap_or_default())
}

/// Reads `null` like an absent field.
fn null_as_default<'de, D: Deserializer<'de>, T: Default + Deserialize<'de>>(
    deserializer: D,
) -> Result<T, D::Error> {
    Ok(Option::deserialize(deserializer)?.unwrap_or_default())
}

/// Reads `null` like an empty list, without `Default` for the elements.
fn vec_or_null<'de, D: Deserializer<'de>, T: Deserialize<'de>>(
    deserializer: D,
) -> Result<Vec<T>, D::Error> {
    Ok(Option::deserialize(deserializer)?.unwrap_or_default())
}

#[cfg(test)]
mod tests;
