//! Local sources: a destination file and the variable `destinations`; only without
//! `VCAP_APPLICATION`, which `setup` checks. The file is read again while the broker runs.
//!
//! Invariant: returns properties under their cockpit names, whatever spelling the input had. Used
//! by `setup` and, for the file, by `cache`.

mod document;

pub(super) use document::cockpit_spelling;

use super::{
    DestinationName, DestinationSetupError, SourceKind,
    cache::{Content, DestinationSource, FindResponse},
    error::DestinationFileError,
    fault::FindFault,
    properties,
};
use crate::{
    binding::{Fields, SourceText},
    upstream::body::without_mark,
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
                "the destination file holds neither JSON nor Java properties of a destination: correct it",
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
    document::read(text.as_str().as_bytes(), name).map_err(DestinationSetupError::VariableMalformed)
}

fn parse_file(
    bytes: &[u8],
    name: &DestinationName,
) -> Result<Option<Fields>, DestinationFileError> {
    match without_mark(bytes).trim_ascii_start().first() {
        Some(b'[' | b'{') => document::read(bytes, name),
        _ => Ok(document::pick_only(exported(properties::parse(bytes)?), name)),
    }
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

#[cfg(test)]
mod tests;
