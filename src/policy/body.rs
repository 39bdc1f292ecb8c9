//! Strict types of the bodies that may pass, and how they are serialised again.
//!
//! Invariant: CF receives what this file wrote, never the received bytes. CF takes the last of two
//! equal keys; these types refuse unknown and repeated members, and an array where CF wants an
//! object. Used by `verdict`.

use super::{json_object::JsonObject, template::is_guid};
use bytes::Bytes;
use serde::{
    Deserialize, Deserializer, Serialize,
    de::{Error as _, MapAccess, Visitor},
};
use std::{collections::BTreeMap, fmt};

/// Most destinations in one call.
const MAX_TARGETS: usize = 100;
/// Ports that CF lets an app listen on.
const APP_PORTS: std::ops::RangeInclusive<u32> = 1024..=65_535;

/// Why a body does not have the expected form; contains no part of it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Malformed {
    /// Not JSON, or a member is missing, unknown, repeated or of the wrong type.
    #[error("not of the expected form at line {line}, column {column}")]
    Form {
        /// Counted from 1.
        line: usize,
        /// Counted from 1.
        column: usize,
    },
    /// A value that CF would refuse or answer with a server error.
    #[error("{0}")]
    Value(&'static str),
}

/// Parses a body into its strict type.
pub(super) fn read<'a, T: Deserialize<'a>>(bytes: &'a [u8]) -> Result<T, Malformed> {
    #[expect(
        clippy::disallowed_methods,
        reason = "its error is reduced to a position; this module does not depend on upstream"
    )]
    let parsed = serde_json::from_slice::<JsonObject<T>>(bytes);
    parsed
        .map(|JsonObject(shape)| shape)
        .map_err(|error| Malformed::Form { line: error.line(), column: error.column() })
}

/// Serialises a strict type.
pub(super) fn write(shape: &impl Serialize) -> Option<Bytes> {
    serde_json::to_vec(shape).ok().map(Bytes::from)
}

/// A new route, `POST /v3/routes`.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RouteCreate {
    pub(super) host: String,
    /// Absent or empty; unlike a port it may not be null.
    #[serde(default, skip_serializing)]
    path: String,
    #[serde(default, skip_serializing)]
    port: Option<u32>,
    relationships: JsonObject<RouteRelationships>,
    #[serde(default)]
    pub(super) metadata: JsonObject<StrictMetadata>,
}

#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct RouteRelationships {
    space: JsonObject<StrictToOne>,
    domain: JsonObject<StrictToOne>,
}

#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct StrictToOne {
    data: JsonObject<StrictReference>,
}

#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct StrictReference {
    guid: String,
}

/// Labels and annotations; null means absent.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(super) struct StrictMetadata {
    #[serde(default, deserialize_with = "entries")]
    pub(super) labels: BTreeMap<String, Option<String>>,
    #[serde(default, deserialize_with = "entries")]
    pub(super) annotations: BTreeMap<String, Option<String>>,
}

impl StrictMetadata {
    /// Returns whether a label or an annotation has this prefix, in any case.
    pub(super) fn has_prefix(&self, prefix: &str) -> bool {
        let mut keys = self.labels.keys().chain(self.annotations.keys());
        keys.any(|key| {
            key.split_once('/').is_some_and(|(before, _)| before.eq_ignore_ascii_case(prefix))
        })
    }
}

impl RouteCreate {
    pub(super) fn space(&self) -> &str {
        &self.relationships.0.space.0.data.0.guid
    }

    pub(super) fn domain(&self) -> &str {
        &self.relationships.0.domain.0.data.0.guid
    }

    /// Returns whether the request has a path or a port besides the host.
    pub(super) fn is_more_than_a_host(&self) -> bool {
        self.port.is_some() || !self.path.is_empty()
    }
}

/// Apps to map to a route, `POST /v3/routes/{guid}/destinations`.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(super) struct DestinationsAdd {
    destinations: Vec<JsonObject<StrictTarget>>,
}

#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct StrictTarget {
    app: JsonObject<StrictTargetApp>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    port: Option<u32>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    protocol: Option<StrictProtocol>,
}

#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct StrictTargetApp {
    guid: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    process: Option<JsonObject<StrictProcess>>,
}

#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct StrictProcess {
    r#type: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
enum StrictProtocol {
    Http1,
    Http2,
}

impl DestinationsAdd {
    /// Checks what the type cannot express.
    pub(super) fn checked(self) -> Result<Self, Malformed> {
        if self.destinations.is_empty() || self.destinations.len() > MAX_TARGETS {
            return Err(Malformed::Value("destinations must hold 1 to 100 entries"));
        }
        let mut seen = Vec::with_capacity(self.destinations.len());
        for JsonObject(target) in &self.destinations {
            if !is_guid(&target.app.0.guid) {
                return Err(Malformed::Value("app.guid is not a guid"));
            }
            if target.port.is_some_and(|port| !APP_PORTS.contains(&port)) {
                return Err(Malformed::Value("port must be 1024 to 65535"));
            }
            if seen.iter().any(|earlier: &&StrictTarget| earlier.may_equal(target)) {
                return Err(Malformed::Value(
                    "an entry is repeated, or may be repeated by its default port",
                ));
            }
            seen.push(target);
        }
        Ok(self)
    }

    /// Returns the guids of the apps, repetitions included.
    pub(super) fn apps(&self) -> impl Iterator<Item = &str> {
        self.destinations.iter().map(|JsonObject(target)| target.app.0.guid.as_str())
    }
}

impl StrictTarget {
    /// Returns whether CF might treat both as the same: it answers 500 to a repeated destination. A
    /// missing port means the app's default, which only CF knows, so it may equal any port.
    fn may_equal(&self, other: &Self) -> bool {
        let same_port = match (self.port, other.port) {
            (Some(one), Some(two)) => one == two,
            (None, _) | (_, None) => true,
        };
        same_port && self.app.0.guid == other.app.0.guid && self.process() == other.process()
    }

    fn process(&self) -> &str {
        self.app.0.process.as_ref().map_or("web", |JsonObject(process)| process.r#type.as_str())
    }
}

/// Reads a map without repeated keys; null is an empty map.
fn entries<'de, D: Deserializer<'de>>(
    from: D,
) -> Result<BTreeMap<String, Option<String>>, D::Error> {
    struct UniqueKeysVisitor;
    impl<'de> Visitor<'de> for UniqueKeysVisitor {
        type Value = BTreeMap<String, Option<String>>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("an object of texts")
        }

        fn visit_unit<E>(self) -> Result<Self::Value, E> {
            Ok(BTreeMap::new())
        }

        fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
            let mut entries = BTreeMap::new();
            while let Some((key, value)) = map.next_entry::<String, Option<String>>()? {
                if entries.insert(key, value).is_some() {
                    return Err(A::Error::custom("repeated"));
                }
            }
            Ok(entries)
        }
    }
    from.deserialize_any(UniqueKeysVisitor)
}
