//! Local sources: a destination file and the variable `destinations` (destination.md 8). Read once,
//! at start, and only where the platform's `VCAP_APPLICATION` is absent; the caller sees to that.
//!
//! Invariant: yields properties under their cockpit names, whatever spelling they came in. Used by
//! `setup`.

use super::{DestinationName, DestinationSetupError, error::DestinationFileError, properties};
use crate::{
    binding::{Fields, SourceText},
    upstream::body::decode,
};
use std::{fs, path::Path};
use zeroize::Zeroizing;

/// Stands for a secret that the cockpit removed on export; never used as one.
const REMOVED: &str = "<<removed>>";

/// Reads the destination called `name` from a file, or `None` if the file holds others only.
pub(super) fn from_file(
    path: &Path,
    name: &DestinationName,
) -> Result<Option<Fields>, DestinationSetupError> {
    let bytes = fs::read(path).map(Zeroizing::new).map_err(|error| {
        DestinationSetupError::FileUnreadable { path: path.to_owned(), kind: error.kind() }
    })?;
    parse_file(&bytes, name)
        .map_err(|error| DestinationSetupError::FileMalformed { path: path.to_owned(), error })
}

/// Reads the destination called `name` from the variable `destinations`.
pub(super) fn from_variable(
    text: &SourceText,
    name: &DestinationName,
) -> Result<Option<Fields>, DestinationSetupError> {
    let items =
        decode(text.as_str().as_bytes()).map_err(DestinationSetupError::VariableMalformed)?;
    Ok(pick(items, name))
}

fn parse_file(
    bytes: &[u8],
    name: &DestinationName,
) -> Result<Option<Fields>, DestinationFileError> {
    let text = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes).trim_ascii_start();
    let fields = match text.first() {
        Some(b'[') => return Ok(pick(decode(text)?, name)),
        Some(b'{') => {
            let wrapped: Wrapped = decode(text)?;
            match wrapped.configuration {
                Some(fields) => fields,
                None => decode(text)?,
            }
        }
        Some(_) | None => exported(properties::parse(bytes)?),
    };
    // A file of one destination that forgot its name is meant all the same: the rules will say what
    // is missing.
    let is_meant = fields.text("Name").is_none_or(|own| own == name.as_str());
    Ok(is_meant.then_some(fields))
}

#[derive(serde::Deserialize)]
struct Wrapped {
    #[serde(default, rename = "destinationConfiguration")]
    configuration: Option<Fields>,
}

/// A `.properties` export; what it removed counts as removed, unless it was added again by hand.
fn exported(file: properties::Properties) -> Fields {
    let mut fields = Fields::default();
    for (key, value) in file.pairs {
        fields.push(key, &value);
    }
    for key in file.removed {
        if !fields.has(&key) {
            fields.push(key, REMOVED);
        }
    }
    fields
}

/// The first item of that name; more than one is a warning.
fn pick(items: Vec<Fields>, name: &DestinationName) -> Option<Fields> {
    let called = |fields: &Fields| fields.text("Name") == Some(name.as_str());
    let mut found = items.into_iter().map(cockpit_spelling).filter(called);
    let first = found.next();
    if found.next().is_some() {
        tracing::warn!(destination = %name, "destination stands there twice, the first counts");
    }
    first
}

/// An item without `URL` is written as the SAP Cloud SDK writes it. `name` is accepted in both
/// spellings, for SAP's Java SDK reads by it.
fn cockpit_spelling(fields: Fields) -> Fields {
    let is_cockpit = fields.has("URL");
    let has_name = fields.has("Name");
    fields.renamed(|property| match property {
        "name" if !has_name => Some("Name"),
        _ if is_cockpit => None,
        "url" => Some("URL"),
        "username" => Some("User"),
        "password" => Some("Password"),
        "authentication" => Some("Authentication"),
        "proxyType" => Some("ProxyType"),
        "type" => Some("Type"),
        "tokenServiceUrl" => Some("tokenServiceURL"),
        "isTrustingAllCertificates" => Some("TrustAll"),
        _ => None,
    })
}

#[cfg(test)]
mod tests;
