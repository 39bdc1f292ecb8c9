//! Local sources: a destination file and the variable `destinations`. Read once, at start, and only
//! without `VCAP_APPLICATION`; `setup` checks that.
//!
//! Invariant: returns properties under their cockpit names, whatever spelling the input had. Used
//! by `setup`.

use super::{DestinationName, DestinationSetupError, error::DestinationFileError, properties};
use crate::{
    binding::{Fields, SourceText},
    upstream::body::decode,
};
use std::{fs, path::Path};
use zeroize::Zeroizing;

/// Placeholder for a secret that the cockpit removed on export; never used as a secret.
const REMOVED: &str = "<<removed>>";

/// Reads the destination called `name` from a file; `None` if the file has only others.
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
    // A file with one destination without a name counts as a match: validation reports the missing
    // name.
    let is_meant = fields.text("Name").is_none_or(|own| own == name.as_str());
    Ok(is_meant.then_some(fields))
}

#[derive(serde::Deserialize)]
struct Wrapped {
    #[serde(default, rename = "destinationConfiguration")]
    configuration: Option<Fields>,
}

/// A `.properties` export. A removed secret counts as removed unless it was added again by hand.
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

/// Renames the properties of an item without `URL`, which has the spelling of the SAP Cloud SDK.
/// `name` is accepted in both spellings because SAP's Java SDK reads it.
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
