//! Labels and annotations: who owns a route.
//!
//! Invariant: labels are sent with the create, so an unlabelled route is never ours. A hash alone
//! never proves ownership: the annotation with the full value must match. Callers: this module.

use crate::{
    capi::{
        Guid,
        model::{Route, RouteMetadata},
    },
    policy::OwnerMarks,
};
use aws_lc_rs::digest;
use std::{
    fmt::Write as _,
    time::{Duration, SystemTime},
};

/// Value of the label that marks the broker's routes.
const MANAGED_BY: &str = "cfapi-broker";
/// Prefix of the label when the tenant id is not a valid label value.
const HASHED: &str = "sha256-";
/// Hex digits of a hash in a label: 128 bits, and it fits into 63 characters.
const HASH_DIGITS: usize = 32;
/// Longest label value of CF.
const MAX_LABEL: usize = 63;
/// A marked route that still exists after this time was not deleted: its job failed.
pub(super) const DELETING_FOR: Duration = Duration::from_secs(300);

/// The DNS prefix of our labels.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LabelPrefix(String);

/// Returns whether a text is a DNS name in lower case with at least one dot.
pub(super) fn is_domain(text: &str) -> bool {
    let label = |part: &str| {
        let valid = |c: u8| c.is_ascii_lowercase() || c.is_ascii_digit() || c == b'-';
        let ends = part.starts_with('-') || part.ends_with('-');
        !part.is_empty() && part.len() <= MAX_LABEL && !ends && part.bytes().all(valid)
    };
    text.contains('.') && text.split('.').all(label) && text.len() <= 253
}

impl LabelPrefix {
    /// Parses a prefix: a DNS name with at least one dot, and not CF's own. CF refuses the others.
    pub fn parse(text: &str) -> Option<Self> {
        (is_domain(text) && text != "cloudfoundry.org").then(|| Self(text.to_owned()))
    }

    /// Returns the DNS name.
    pub(super) fn as_str(&self) -> &str {
        &self.0
    }

    /// Returns the key of a label or annotation.
    pub(super) fn key(&self, name: &str) -> String {
        format!("{}/{name}", self.0)
    }

    /// Returns an annotation of a route.
    pub(super) fn annotation<'a>(&self, route: &'a Route, name: &str) -> Option<&'a str> {
        route.metadata.annotation(&self.key(name))
    }
}

/// One owner's claim on the routes of one tenant.
#[derive(Clone, Debug)]
pub struct Ownership {
    prefix: LabelPrefix,
    owner: String,
    tenant: String,
}

/// Who owns a route, from the view of one [`Ownership`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Claim {
    /// This owner's, for this tenant, in the provider entry's space.
    Ours(DeletionState),
    /// This owner's, for another tenant.
    OtherTenant,
    /// Without labels, or this owner's without a tenant, in the provider entry's space.
    Unclaimed,
    /// Someone else's.
    Foreign,
}

/// Whether a route is being deleted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DeletionState {
    /// It is not being deleted.
    Live,
    /// A delete runs.
    Deleting,
    /// A delete was started so long ago that it must have failed.
    DeleteFailed,
}

/// Who created a route, for its annotations.
#[derive(Clone, Copy, Debug)]
pub(super) struct Provenance<'a> {
    pub(super) subdomain: &'a str,
    pub(super) created_by: &'a str,
    pub(super) correlation: &'a str,
}

impl Ownership {
    /// Makes the claim of `owner` (the verified client id, or the provider entry's fixed name) for
    /// `tenant`.
    pub fn new(prefix: LabelPrefix, owner: &str, tenant: &str) -> Self {
        Self { prefix, owner: owner.to_owned(), tenant: tenant.to_owned() }
    }

    /// Returns the label selector for this owner's routes of this tenant.
    pub fn selector(&self) -> String {
        let tenant = label_of(&self.tenant);
        format!("{},{}={tenant}", owner_selector(&self.prefix, &self.owner), self.key("tenant"))
    }

    /// Returns labels and annotations of a new or adopted route.
    pub(super) fn metadata(&self, provenance: Provenance<'_>) -> RouteMetadata {
        let labels = [
            ("managed-by", MANAGED_BY.to_owned()),
            ("owner", hash_of(&self.owner)),
            ("tenant", label_of(&self.tenant)),
        ];
        let annotations = [
            ("owner-id", self.owner.as_str()),
            ("tenant-id", self.tenant.as_str()),
            ("subdomain", provenance.subdomain),
            ("created-by", provenance.created_by),
            ("correlation-id", provenance.correlation),
        ];
        let labels = labels.into_iter().map(|(name, value)| (self.key(name), Some(value)));
        let annotations =
            annotations.into_iter().map(|(name, value)| (self.key(name), Some(value.to_owned())));
        RouteMetadata { labels: labels.collect(), annotations: annotations.collect() }
    }

    /// Returns the patch that marks a route as being deleted.
    pub(super) fn deleting(&self, now: SystemTime) -> RouteMetadata {
        let since = humantime::format_rfc3339_seconds(now).to_string();
        self.state_patch(Some("deleting".to_owned()), Some(since))
    }

    /// Returns the patch that removes the mark.
    pub(super) fn not_deleting(&self) -> RouteMetadata {
        self.state_patch(None, None)
    }

    /// Returns the patch that gives up a route: it removes all our labels and annotations.
    pub(super) fn released(&self) -> RouteMetadata {
        let gone = |names: &[&str]| names.iter().map(|name| (self.key(name), None)).collect();
        let annotations = [
            "owner-id",
            "tenant-id",
            "subdomain",
            "created-by",
            "correlation-id",
            "deleting-since",
        ];
        RouteMetadata {
            labels: gone(&["managed-by", "owner", "tenant", "state"]),
            annotations: gone(&annotations),
        }
    }

    /// Returns the patch that corrects the annotated subdomain.
    pub(super) fn subdomain(&self, subdomain: &str) -> RouteMetadata {
        let annotations = [(self.key("subdomain"), Some(subdomain.to_owned()))];
        RouteMetadata { annotations: annotations.into(), ..RouteMetadata::default() }
    }

    /// Finds out who owns a route. `space` is the provider entry's space.
    pub fn claim(&self, route: &Route, space: &Guid, now: SystemTime) -> Claim {
        let label = |name: &str| route.metadata.label(&self.key(name));
        let here = route.space() == Some(space);
        if label("owner").is_none() && label("tenant").is_none() && label("managed-by").is_none() {
            return if here { Claim::Unclaimed } else { Claim::Foreign };
        }
        if !self.is_owner(route) {
            return Claim::Foreign;
        }
        match label("tenant") {
            None if here => Claim::Unclaimed,
            Some(_) if !self.is_tenant(route) => Claim::OtherTenant,
            Some(_) if here && label("managed-by") == Some(MANAGED_BY) => {
                Claim::Ours(self.deletion_state(route, now))
            }
            Some(_) | None => Claim::Foreign,
        }
    }

    /// Returns whether the request with this correlation id created a route.
    pub(super) fn was_created_by(&self, route: &Route, correlation: &str) -> bool {
        self.prefix.annotation(route, "correlation-id") == Some(correlation)
    }

    /// Returns the prefix.
    pub(super) fn prefix(&self) -> &LabelPrefix {
        &self.prefix
    }

    /// Returns whether a route is being deleted.
    pub(super) fn deletion_state(&self, route: &Route, now: SystemTime) -> DeletionState {
        deletion_state(&self.prefix, route, now)
    }

    fn is_owner(&self, route: &Route) -> bool {
        is_owned(&self.prefix, &self.owner, route)
    }

    fn is_tenant(&self, route: &Route) -> bool {
        let wanted = label_of(&self.tenant);
        let proven = !wanted.starts_with(HASHED)
            || self.prefix.annotation(route, "tenant-id") == Some(&self.tenant);
        proven && route.metadata.label(&self.key("tenant")) == Some(&wanted)
    }

    fn state_patch(&self, state: Option<String>, since: Option<String>) -> RouteMetadata {
        RouteMetadata {
            labels: [(self.key("state"), state)].into(),
            annotations: [(self.key("deleting-since"), since)].into(),
        }
    }

    fn key(&self, name: &str) -> String {
        self.prefix.key(name)
    }
}

/// Returns whether a route is being deleted, whoever owns it.
pub(super) fn deletion_state(
    prefix: &LabelPrefix,
    route: &Route,
    now: SystemTime,
) -> DeletionState {
    let since = prefix.annotation(route, "deleting-since");
    // A route that has no space for the label has only the annotation.
    if since.is_none() && route.metadata.label(&prefix.key("state")) != Some("deleting") {
        return DeletionState::Live;
    }
    let since = since.and_then(|text| humantime::parse_rfc3339(text).ok());
    let age = since.and_then(|since| now.duration_since(since).ok());
    match age {
        Some(age) if age > DELETING_FOR => DeletionState::DeleteFailed,
        Some(_) | None => DeletionState::Deleting,
    }
}

/// Returns whether label and annotation of a route name this owner.
pub(super) fn is_owned(prefix: &LabelPrefix, owner: &str, route: &Route) -> bool {
    route.metadata.label(&prefix.key("owner")) == Some(&hash_of(owner))
        && prefix.annotation(route, "owner-id") == Some(owner)
}

/// Returns the patch that gives a route to another owner.
pub(super) fn owner_patch(prefix: &LabelPrefix, owner: &str) -> RouteMetadata {
    RouteMetadata {
        labels: [(prefix.key("owner"), Some(hash_of(owner)))].into(),
        annotations: [(prefix.key("owner-id"), Some(owner.to_owned()))].into(),
    }
}

/// Returns the marks of an owner's route whose tenant is not known: a route created through `/v3`.
pub(super) fn marks(prefix: &LabelPrefix, owner: &str, provenance: [&str; 2]) -> OwnerMarks {
    let [created_by, correlation] = provenance;
    let pair = |name: &str, value: &str| (prefix.key(name), value.to_owned());
    let owner_label = pair("owner", &hash_of(owner));
    let owner_annotation = pair("owner-id", owner);
    OwnerMarks {
        prefix: prefix.0.clone(),
        labels: [pair("managed-by", MANAGED_BY), owner_label.clone()].into(),
        annotations: [
            owner_annotation.clone(),
            pair("created-by", created_by),
            pair("correlation-id", correlation),
        ]
        .into(),
        owner_label,
        owner_annotation,
    }
}

/// Returns the label selector for all routes of an owner.
pub(super) fn owner_selector(prefix: &LabelPrefix, owner: &str) -> String {
    let (managed_by, owner_key) = (prefix.key("managed-by"), prefix.key("owner"));
    format!("{managed_by}={MANAGED_BY},{owner_key}={}", hash_of(owner))
}

/// Returns the label selector for the tenant routes of all owners.
pub(super) fn tenants_selector(prefix: &LabelPrefix) -> String {
    format!("{}={MANAGED_BY},{}", prefix.key("managed-by"), prefix.key("tenant"))
}

/// Returns whether a route is some tenant's, as [`tenants_selector`] finds them.
pub(super) fn is_of_tenant(prefix: &LabelPrefix, route: &Route) -> bool {
    route.metadata.label(&prefix.key("managed-by")) == Some(MANAGED_BY)
        && route.metadata.label(&prefix.key("tenant")).is_some()
}

/// Returns the tenant id as a label value: unchanged if CF accepts it, otherwise its hash. An id
/// that looks like a hash is hashed too, so that one tenant cannot choose another tenant's label.
fn label_of(tenant: &str) -> String {
    let valid = |c: u8| c.is_ascii_alphanumeric() || matches!(c, b'-' | b'_' | b'.');
    let ends = |c: Option<&u8>| c.is_some_and(u8::is_ascii_alphanumeric);
    let bytes = tenant.as_bytes();
    let legal = bytes.len() <= MAX_LABEL
        && bytes.iter().copied().all(valid)
        && ends(bytes.first())
        && ends(bytes.last())
        && !tenant.starts_with(HASHED);
    if legal { tenant.to_owned() } else { format!("{HASHED}{}", hash_of(tenant)) }
}

fn hash_of(text: &str) -> String {
    let digest = digest::digest(&digest::SHA256, text.as_bytes());
    let mut hex = String::with_capacity(HASH_DIGITS);
    for byte in digest.as_ref().iter().take(HASH_DIGITS / 2) {
        // Writing into a `String` cannot fail.
        let _ = write!(hex, "{byte:02x}");
    }
    hex
}

#[cfg(test)]
mod tests;
