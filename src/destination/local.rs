//! Local sources: a destination file and the variable `destinations`; only without
//! `VCAP_APPLICATION`, which `setup` checks. The file is read again while the broker runs.
//!
//! Invariant: returns properties under their cockpit names, whatever spelling the input had. Used
//! by `setup` and, for the file, by `cache`.

use super::{
    DestinationName, DestinationSetupError, SourceKind,
    cache::{Content, DestinationSource, FindResponse},
    error::DestinationFileError,
    fault::FindFault,
    properties,
};
use crate::{
    binding::{Fields, SourceText},
    upstream::body::decode,
};
use http::HeaderValue;
use std::{
    fs,
    hash::{BuildHasher, RandomState},
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};
use zeroize::Zeroizing;

/// Placeholder for a secret that the cockpit removed on export; never used as a secret.
const REMOVED: &str = "<<removed>>";

/// The destination file; a clone is shallow.
#[derive(Clone, Debug)]
pub(super) struct DestinationFile(Arc<FileAccess>);

#[derive(Debug)]
struct FileAccess {
    path: PathBuf,
    /// Keyed at random per process: recognises equal contents without storing them.
    digest: RandomState,
}

impl DestinationFile {
    pub(super) fn new(path: &Path) -> Self {
        Self(Arc::new(FileAccess { path: path.to_owned(), digest: RandomState::new() }))
    }

    /// Reads the destination called `name`; `None` if the file has only others.
    pub(super) fn read(
        &self,
        name: &DestinationName,
    ) -> Result<Option<Content>, DestinationSetupError> {
        let path = &self.0.path;
        let bytes = fs::read(path).map(Zeroizing::new).map_err(|error| {
            DestinationSetupError::FileUnreadable { path: path.clone(), kind: error.kind() }
        })?;
        let fields = parse_file(&bytes, name)
            .map_err(|error| DestinationSetupError::FileMalformed { path: path.clone(), error })?;
        let digest = self.0.digest.hash_one(bytes.as_slice());
        let source = SourceKind::File;
        Ok(fields.map(|fields| Content { fields, source, tag: None, digest }))
    }
}

impl DestinationSource for DestinationFile {
    /// A small file is read at once, so a change is in use with the next request.
    const SOFT_TTL: Duration = Duration::from_secs(1);

    const NAME: &'static str = "destination file";

    async fn find(
        &self,
        name: &DestinationName,
        _: Option<&HeaderValue>,
    ) -> Result<FindResponse, FindFault> {
        let (file, name) = (self.clone(), name.clone());
        let reading = tokio::task::spawn_blocking(move || file.read(&name)).await;
        match reading.ok() {
            Some(Ok(Some(content))) => Ok(FindResponse::Content(content)),
            Some(Ok(None)) => Ok(FindResponse::Absent),
            Some(Err(DestinationSetupError::FileMalformed { .. })) => Err(FindFault::Refused(
                "the destination file is neither JSON nor Java properties: correct it",
            )),
            Some(Err(_)) | None => {
                Err(FindFault::Refused("the destination file cannot be read: restore it"))
            }
        }
    }
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
