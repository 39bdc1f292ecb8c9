//! `SERVICE_BINDING_ROOT`: one directory per binding, one file per field, in two layouts: Cloud
//! Foundry's and that of SAP's service operator.
//!
//! Invariant: a directory that cannot be read is skipped with a warning; the others are read. Used
//! by `Bindings::read` only.

use super::{
    BindingError, Delivery, Fields, ServiceBinding,
    lenient::{LenientList, LenientText},
};
use crate::upstream::body::{decode_local, without_mark};
use std::{
    fs, io,
    path::{Path, PathBuf},
};
use zeroize::Zeroizing;

const ROOT: &str = "SERVICE_BINDING_ROOT";
const METADATA: &str = ".metadata";

/// Reads every binding below the root.
pub(super) fn read(root: &Path) -> Result<Vec<ServiceBinding>, BindingError> {
    let unreadable = |error: io::Error| BindingError::Unreadable {
        source_name: ROOT,
        path: root.to_owned(),
        kind: error.kind(),
    };
    let mut directories: Vec<PathBuf> = fs::read_dir(root)
        .map_err(unreadable)?
        .filter_map(|entry| entry.ok().map(|entry| entry.path()))
        .filter(|path| is_visible(path) && path.is_dir())
        .collect();
    directories.sort();
    Ok(directories.iter().filter_map(|directory| read_or_warn(directory)).collect())
}

fn read_or_warn(directory: &Path) -> Option<ServiceBinding> {
    let binding = read_directory(directory);
    if binding.is_none() {
        tracing::warn!(directory = %directory.display(), "binding directory is not readable");
    }
    binding
}

fn read_directory(directory: &Path) -> Option<ServiceBinding> {
    let name = directory.file_name()?.to_str()?.to_owned();
    if directory.join(METADATA).is_file() {
        return read_operator_layout(directory, name);
    }
    read_platform_layout(directory, name)
}

/// Describes a binding, besides its credentials.
#[derive(Default)]
struct Envelope {
    kind: Option<String>,
    label: Option<String>,
    plan: Option<String>,
    name: Option<String>,
    instance_name: Option<String>,
    tags: Vec<String>,
}

impl Envelope {
    /// Stores a value if it belongs to the envelope. Names occur with dashes and with underscores.
    fn take(&mut self, name: &str, text: &str) -> bool {
        match name.replace('-', "_").as_str() {
            "type" => self.kind = Some(text.to_owned()),
            "label" => self.label = Some(text.to_owned()),
            "plan" => self.plan = Some(text.to_owned()),
            "name" | "binding_name" => self.name = Some(text.to_owned()),
            "instance_name" => self.instance_name = Some(text.to_owned()),
            "tags" => self.tags = tags(text),
            "provider" | "binding_guid" | "instance_guid" | "syslog_drain_url"
            | "volume_mounts" => {}
            _ => return false,
        }
        true
    }

    fn into_binding(self, name: String, delivery: Delivery, credentials: Fields) -> ServiceBinding {
        ServiceBinding {
            name,
            aliases: self.name.into_iter().chain(self.instance_name).collect(),
            label: self.label.or(self.kind).unwrap_or_default(),
            plan: self.plan,
            tags: self.tags,
            delivery,
            credentials,
        }
    }
}

/// Cloud Foundry's layout: every file is a text; an envelope field replaces a credential of the
/// same name.
fn read_platform_layout(directory: &Path, name: String) -> Option<ServiceBinding> {
    let mut files: Vec<PathBuf> =
        fs::read_dir(directory).ok()?.filter_map(|entry| Some(entry.ok()?.path())).collect();
    files.sort();
    let mut envelope = Envelope::default();
    let mut credentials = Fields::default();
    for path in files.iter().filter(|path| is_visible(path) && path.is_file()) {
        let file = path.file_name()?.to_str()?;
        let bytes = Zeroizing::new(fs::read(path).ok()?);
        let text = trimmed(&bytes)?;
        if !envelope.take(file, text) {
            credentials.push(file.to_owned(), text);
        }
    }
    Some(envelope.into_binding(name, Delivery::Directory, credentials))
}

/// The layout of SAP's service operator: `.metadata` says which file contains what, and in which
/// format.
fn read_operator_layout(directory: &Path, name: String) -> Option<ServiceBinding> {
    let metadata: OperatorMetadata =
        decode_local(&fs::read(directory.join(METADATA)).ok()?).ok()?;
    let mut envelope = Envelope::default();
    for property in metadata.meta_data_properties {
        let (name, _, bytes) = property.read(directory)?;
        envelope.take(&name, trimmed(&bytes)?);
    }
    let mut credentials = Fields::default();
    for property in metadata.credential_properties {
        let (name, content, bytes) = property.read(directory)?;
        match content {
            FileContent::Text => credentials.push(name, trimmed(&bytes)?),
            FileContent::Json => credentials.push_json(name, &bytes)?,
            FileContent::Container => credentials.append(decode_local(&bytes).ok()?),
        }
    }
    Some(envelope.into_binding(name, Delivery::OperatorDirectory, credentials))
}

#[derive(serde::Deserialize)]
#[serde(rename_all = "camelCase")]
struct OperatorMetadata {
    #[serde(default)]
    meta_data_properties: Vec<MetadataProperty>,
    #[serde(default)]
    credential_properties: Vec<MetadataProperty>,
}

#[derive(serde::Deserialize)]
#[serde(rename_all = "camelCase")]
struct MetadataProperty {
    name: String,
    source_name: Option<String>,
    #[serde(default)]
    format: MetadataFormat,
    #[serde(default)]
    container: bool,
}

#[derive(Default, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
enum MetadataFormat {
    #[default]
    Text,
    Json,
}

/// How a credential file is read.
enum FileContent {
    Text,
    Json,
    /// A JSON object whose members are credential fields themselves.
    Container,
}

impl MetadataProperty {
    /// Reads the property's file, which must be in this directory.
    fn read(self, directory: &Path) -> Option<(String, FileContent, Zeroizing<Vec<u8>>)> {
        let file = self.source_name.as_deref().unwrap_or(&self.name);
        if file.is_empty() || file == ".." || file.contains(['/', '\\', '\0']) {
            return None;
        }
        let content = match (self.format, self.container) {
            (MetadataFormat::Text, _) => FileContent::Text,
            (MetadataFormat::Json, false) => FileContent::Json,
            (MetadataFormat::Json, true) => FileContent::Container,
        };
        let bytes = Zeroizing::new(fs::read(directory.join(file)).ok()?);
        Some((self.name, content, bytes))
    }
}

/// Returns a file's text without a byte order mark, and without the one line break that editors and
/// tools leave at its end.
fn trimmed(bytes: &[u8]) -> Option<&str> {
    let text = std::str::from_utf8(without_mark(bytes)).ok()?;
    let text = text.strip_suffix('\n').unwrap_or(text);
    Some(text.strip_suffix('\r').unwrap_or(text))
}

fn tags(text: &str) -> Vec<String> {
    match decode_local::<LenientList<LenientText>>(text.as_bytes()) {
        Ok(list) => list.into_texts(),
        Err(_) => vec![text.to_owned()],
    }
}

fn is_visible(path: &Path) -> bool {
    path.file_name().and_then(|name| name.to_str()).is_some_and(|name| !name.starts_with('.'))
}
