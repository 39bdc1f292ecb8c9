//! Destinations in JSON, as tools write them: one object, an array, the answer of the Destination
//! service, `init_data` of a service instance, and an environment with `destinations`.
//!
//! Invariant: returns properties under their cockpit names, whatever spelling the input had. Used
//! by `local`.

use crate::{
    binding::Fields,
    destination::{error::DestinationFileError, model::DestinationName},
    upstream::body::{decode_local, without_mark},
};
use serde::{
    Deserializer,
    de::{MapAccess, SeqAccess, Visitor, value::MapAccessDeserializer},
};
use std::fmt;

/// Names of the SAP Cloud SDK, and those of the cockpit. `clientId` and `clientSecret` are the
/// same.
const SDK_NAMES: [(&str, &str); 9] = [
    ("name", "Name"),
    ("url", "URL"),
    ("username", "User"),
    ("password", "Password"),
    ("authentication", "Authentication"),
    ("proxyType", "ProxyType"),
    ("type", "Type"),
    ("tokenServiceUrl", "tokenServiceURL"),
    ("isTrustingAllCertificates", "TrustAll"),
];

/// Reads the destination called `name`; `None` if the text has only others.
pub(super) fn read(
    text: &[u8],
    name: &DestinationName,
) -> Result<Option<Fields>, DestinationFileError> {
    if !without_mark(text).trim_ascii_start().starts_with(b"{") {
        return Ok(pick(decode_local(text)?, name));
    }
    let single: Fields = decode_local(text)?;
    if single.is_destination() || single.has("name") || single.has("url") {
        return Ok(pick_only(cockpit_spelling(single), name));
    }
    let JsonDocument { configuration, destinations, init_data, instance, subaccount } =
        decode_local(text)?;
    if let Some(fields) = configuration {
        return Ok(pick_only(cockpit_spelling(fields), name));
    }
    // The instance level is first, as in the Destination service.
    let levels = [init_data.instance, init_data.subaccount, instance, subaccount];
    let lists = levels.into_iter().filter_map(|level| level.destinations);
    let mut lists = lists.chain(init_data.destinations).chain(destinations).peekable();
    if lists.peek().is_none() {
        return Err(DestinationFileError::NoDestination);
    }
    Ok(pick(lists.flat_map(|list| list.0).collect(), name))
}

/// Returns the destination of a text that has one. One without a name counts as a match: validation
/// reports the missing name.
pub(super) fn pick_only(fields: Fields, name: &DestinationName) -> Option<Fields> {
    let is_meant = fields.text("Name").is_none_or(|own| own == name.as_str());
    is_meant.then_some(fields)
}

/// Returns the first item of that name; more than one is a warning.
fn pick(items: Vec<Fields>, name: &DestinationName) -> Option<Fields> {
    let called = |fields: &Fields| fields.text("Name") == Some(name.as_str());
    let mut found = items.into_iter().map(cockpit_spelling).filter(called);
    let first = found.next();
    if found.next().is_some() {
        tracing::warn!(destination = %name, "destination is defined twice, the first one is used");
    }
    first
}

/// Renames the SAP Cloud SDK's properties, except those that are there in the cockpit's spelling.
/// In the SDK's spelling, which says `url`, the type is optional and HTTP.
pub(in crate::destination) fn cockpit_spelling(fields: Fields) -> Fields {
    let is_sdk = fields.has("url") && !fields.has("URL");
    let absent: Vec<&(&str, &str)> =
        SDK_NAMES.iter().filter(|(_, cockpit)| !fields.has(cockpit)).collect();
    let mut renamed = fields.renamed(|property| {
        absent.iter().find(|(sdk, _)| *sdk == property).map(|(_, cockpit)| *cockpit)
    });
    if is_sdk && !renamed.has("Type") {
        renamed.push("Type".to_owned(), "HTTP");
    }
    renamed
}

/// An object that is no destination itself.
#[derive(Default, serde::Deserialize)]
#[serde(default)]
struct JsonDocument {
    /// The answer of the Destination service.
    #[serde(rename = "destinationConfiguration")]
    configuration: Option<Fields>,
    /// An environment: `default-env.json`.
    destinations: Option<ItemList>,
    /// Parameters of a service instance.
    init_data: InitData,
    /// The content of `init_data` alone.
    instance: InitLevel,
    subaccount: InitLevel,
}

/// `init_data` of a service instance.
#[derive(Default, serde::Deserialize)]
#[serde(default)]
struct InitData {
    instance: InitLevel,
    subaccount: InitLevel,
    destinations: Option<ItemList>,
}

#[derive(Default, serde::Deserialize)]
#[serde(default)]
struct InitLevel {
    destinations: Option<ItemList>,
}

/// An array of destinations, one destination, or either as text, as in a variable.
struct ItemList(Vec<Fields>);

impl<'de> serde::Deserialize<'de> for ItemList {
    fn deserialize<D: Deserializer<'de>>(input: D) -> Result<Self, D::Error> {
        input.deserialize_any(ItemListVisitor).map(Self)
    }
}

struct ItemListVisitor;

impl<'de> Visitor<'de> for ItemListVisitor {
    type Value = Vec<Fields>;

    fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("destinations")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut array: A) -> Result<Vec<Fields>, A::Error> {
        let mut items = Vec::new();
        while let Some(item) = array.next_element()? {
            items.push(item);
        }
        Ok(items)
    }

    fn visit_map<A: MapAccess<'de>>(self, object: A) -> Result<Vec<Fields>, A::Error> {
        serde::Deserialize::deserialize(MapAccessDeserializer::new(object)).map(|item| vec![item])
    }

    fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Vec<Fields>, E> {
        decode_local::<ItemList>(text.as_bytes()).map(|list| list.0).map_err(E::custom)
    }
}
