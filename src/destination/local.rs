//! Local sources: a destination file and the variable `destinations`; only without
//! `VCAP_APPLICATION`, which `setup` checks. The file is read again while the broker runs.
//!
//! Invariant: returns properties under their cockpit names, whatever spelling the input had. Used
//! by `setup` and, for the file, by `cache`.

mod document;

pub(super) use document::cockpit_spelling;

use super::{
    error::{DestinationFileError, DestinationSetupError},
    fault::FindFault,
    model::{DestinationName, SourceKind},
    properties,
    source::{Content, DestinationSource, FindResponse},
};
use crate::{
    binding::{Fields, SourceText},
    upstream::body::without_mark,
};
use http::HeaderValue;
use std::{
    fs,
    hash::{BuildHasher, RandomState},
    io::{self, ErrorKind},
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};
use tokio::time::sleep;
use zeroize::Zeroizing;

/// Placeholder for a secret that the cockpit removed on export; never used as a secret.
const REMOVED: &str = "<<removed>>";

/// A changed file is used once its bytes have been the same for this time …
const SETTLE_TIME: Duration = Duration::from_secs(1);

/// … and is read this often for it.
const MOST_READS: usize = 4;

/// The destination file; a clone is shallow.
#[derive(Clone, Debug)]
pub(super) struct DestinationFile(Arc<FileAccess>);

#[derive(Debug)]
struct FileAccess {
    path: PathBuf,
    /// Digest of the bytes that are in use.
    in_use: Mutex<Option<u64>>,
    /// Keyed at random per process: recognises equal contents without storing them.
    digest: RandomState,
}

impl DestinationFile {
    pub(super) fn new(path: &Path) -> Self {
        let (path, in_use) = (path.to_owned(), Mutex::default());
        Self(Arc::new(FileAccess { path, in_use, digest: RandomState::new() }))
    }

    /// Reads the destination called `name` at the start; `None` if the file has only others.
    pub(super) fn read(
        &self,
        name: &DestinationName,
    ) -> Result<Option<Content>, DestinationSetupError> {
        let read = self.read_once(name);
        self.put_in_use(read.digest);
        read.found
    }

    fn read_once(&self, name: &DestinationName) -> FileRead {
        let path = &self.0.path;
        let bytes = match read_regular(path) {
            Ok(bytes) => Zeroizing::new(bytes),
            Err(error) => {
                let (path, kind) = (path.clone(), error.kind());
                let found = Err(DestinationSetupError::FileUnreadable { path, kind });
                return FileRead { digest: None, found };
            }
        };
        let digest = self.0.digest.hash_one(bytes.as_slice());
        let source = SourceKind::File;
        let found = parse_file(&bytes, name)
            .map(|fields| fields.map(|fields| Content { fields, source, tag: None, digest }))
            .map_err(|error| DestinationSetupError::FileMalformed { path: path.clone(), error });
        FileRead { digest: Some(digest), found }
    }

    /// Reads until the bytes are those in use, or are the same twice and can be parsed: a file may
    /// be saved in pieces, and half a file may hold half a password.
    async fn read_settled(&self, name: &DestinationName) -> Option<FileRead> {
        let mut last = self.read_off_thread(name).await?;
        for _ in 0..MOST_READS {
            if last.digest.is_some() && last.digest == self.in_use() {
                break;
            }
            sleep(SETTLE_TIME).await;
            let next = self.read_off_thread(name).await?;
            let is_settled = next.digest == last.digest && next.found.is_ok();
            last = next;
            if is_settled {
                self.put_in_use(last.digest);
                return Some(last);
            }
        }
        let is_moving = last.found.is_ok() && last.digest != self.in_use();
        Some(if is_moving { last.unsettled(&self.0.path) } else { last })
    }

    async fn read_off_thread(&self, name: &DestinationName) -> Option<FileRead> {
        let (file, name) = (self.clone(), name.clone());
        tokio::task::spawn_blocking(move || file.read_once(&name)).await.ok()
    }

    fn in_use(&self) -> Option<u64> {
        *self.0.in_use.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn put_in_use(&self, digest: Option<u64>) {
        *self.0.in_use.lock().unwrap_or_else(PoisonError::into_inner) = digest;
    }
}

/// The file at one moment.
struct FileRead {
    /// `None` if it cannot be read.
    digest: Option<u64>,
    found: Result<Option<Content>, DestinationSetupError>,
}

impl FileRead {
    fn unsettled(self, path: &Path) -> Self {
        let (path, kind) = (path.to_owned(), ErrorKind::ResourceBusy);
        Self { found: Err(DestinationSetupError::FileUnreadable { path, kind }), ..self }
    }
}

/// Reading a pipe would wait for its writer, and would find nothing the second time.
fn read_regular(path: &Path) -> io::Result<Vec<u8>> {
    if !fs::metadata(path)?.is_file() {
        return Err(ErrorKind::InvalidInput.into());
    }
    fs::read(path)
}

impl DestinationSource for DestinationFile {
    /// A small file is read at once, so a change is in use after a second or two.
    const SOFT_TTL: Duration = Duration::from_secs(1);

    const NAME: &'static str = "destination file";

    async fn find(
        &self,
        name: &DestinationName,
        _: Option<&HeaderValue>,
    ) -> Result<FindResponse, FindFault> {
        match self.read_settled(name).await.map(|read| read.found) {
            Some(Ok(Some(content))) => Ok(FindResponse::Content(content)),
            Some(Ok(None)) => Ok(FindResponse::Absent),
            Some(Err(DestinationSetupError::FileMalformed { .. })) => Err(FindFault::Unfinished(
                "the destination file holds neither JSON nor Java properties of a destination: correct it",
            )),
            Some(Err(DestinationSetupError::FileUnreadable {
                kind: ErrorKind::ResourceBusy,
                ..
            })) => Err(FindFault::Unfinished("the destination file is being written")),
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
