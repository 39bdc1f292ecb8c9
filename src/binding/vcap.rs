//! `VCAP_SERVICES` (inline or as a file) and `VCAP_APPLICATION`.
//!
//! Invariant: every field but `name` and `credentials` is optional, and a malformed entry does not
//! affect the others. Used by `Bindings::read` only.

use super::{
    Application, BindingError, BindingSources, Delivery, Fields, ServiceBinding,
    address::base_url,
    lenient::{LenientList, LenientReader, LenientSeed, LenientText},
};
use crate::upstream::body::{decode_local, without_mark};
use serde::de::{Deserialize, DeserializeSeed, Deserializer, IgnoredAny, MapAccess};
use std::{collections::BTreeMap, fs, path::Path};
use zeroize::Zeroizing;

const INLINE: &str = "VCAP_SERVICES";
const FILE: &str = "VCAP_SERVICES_FILE_PATH";
const APPLICATION: &str = "VCAP_APPLICATION";

/// Reads all entries of the variable or the file.
pub(super) fn read(sources: &BindingSources) -> Result<Vec<ServiceBinding>, BindingError> {
    let inline = sources.vcap_services.as_ref().map(|text| text.as_str().as_bytes());
    let file = sources.vcap_services_file.as_deref().map(read_file).transpose()?;
    match (inline.map(bare), file.as_deref().map(|bytes| bare(bytes))) {
        (None, None) => Ok(Vec::new()),
        (Some(inline), Some(file)) if inline != file => Err(BindingError::Conflict),
        (Some(inline), _) => parse(inline, INLINE, Delivery::Variable),
        (None, Some(file)) => parse(file, FILE, Delivery::File),
    }
}

fn bare(bytes: &[u8]) -> &[u8] {
    without_mark(bytes).trim_ascii()
}

/// Reads `VCAP_APPLICATION`.
pub(super) fn application(text: &str) -> Result<Application, BindingError> {
    let raw: RawApplication = decode_local(text.as_bytes())
        .map_err(|error| BindingError::Malformed { source_name: APPLICATION, error })?;
    let cf_api = match raw.cf_api.0 {
        None => None,
        // An unusable value must not silently switch off the host pin.
        Some(text) => Some(base_url(&text).ok_or(BindingError::Application { field: "cf_api" })?),
    };
    let uris = raw.application_uris.into_texts();
    let older_uris = raw.uris.into_texts();
    Ok(Application {
        application_id: raw.application_id.0,
        name: raw.application_name.0.or(raw.name.0),
        uris: if uris.is_empty() { older_uris } else { uris },
        cf_api,
        space_id: raw.space_id.0,
        space_name: raw.space_name.0,
        organization_id: raw.organization_id.0,
        organization_name: raw.organization_name.0,
    })
}

#[derive(Default, serde::Deserialize)]
#[serde(default)]
struct RawApplication {
    application_id: LenientText,
    application_name: LenientText,
    name: LenientText,
    application_uris: LenientList<LenientText>,
    uris: LenientList<LenientText>,
    cf_api: LenientText,
    space_id: LenientText,
    space_name: LenientText,
    organization_id: LenientText,
    organization_name: LenientText,
}

/// One entry as received; `None` members were absent, null or of another type.
#[derive(Debug, Default)]
struct VcapEntry {
    name: Option<String>,
    binding_name: Option<String>,
    instance_name: Option<String>,
    plan: Option<String>,
    tags: Vec<String>,
    credentials: Fields,
}

impl<'de> Deserialize<'de> for VcapEntry {
    fn deserialize<D: Deserializer<'de>>(input: D) -> Result<Self, D::Error> {
        LenientSeed(VcapEntryReader).deserialize(input)
    }
}

struct VcapEntryReader;

impl<'de> LenientReader<'de> for VcapEntryReader {
    type Value = VcapEntry;

    fn absent(self) -> VcapEntry {
        VcapEntry::default()
    }

    fn object<A: MapAccess<'de>>(self, mut object: A) -> Result<VcapEntry, A::Error> {
        let mut entry = VcapEntry::default();
        while let Some(key) = object.next_key::<String>()? {
            match key.as_str() {
                "name" => entry.name = object.next_value::<LenientText>()?.0,
                "binding_name" => entry.binding_name = object.next_value::<LenientText>()?.0,
                "instance_name" => entry.instance_name = object.next_value::<LenientText>()?.0,
                "plan" => entry.plan = object.next_value::<LenientText>()?.0,
                "tags" => entry.tags = object.next_value::<LenientList<_>>()?.into_texts(),
                "credentials" => entry.credentials = object.next_value()?,
                _ => {
                    object.next_value::<IgnoredAny>()?;
                }
            }
        }
        Ok(entry)
    }
}

impl VcapEntry {
    /// `label` is the key of the entry's list; the entry's own member is only a copy.
    fn into_binding(self, label: &str, delivery: Delivery) -> ServiceBinding {
        let named = self.name.or_else(|| self.binding_name.clone());
        let name = named.or_else(|| self.instance_name.clone());
        ServiceBinding {
            name: name.unwrap_or_else(|| format!("unnamed {label}")),
            aliases: self.binding_name.into_iter().chain(self.instance_name).collect(),
            label: label.to_owned(),
            plan: self.plan,
            tags: self.tags,
            delivery,
            credentials: self.credentials,
        }
    }
}

fn parse(
    text: &[u8],
    source_name: &'static str,
    delivery: Delivery,
) -> Result<Vec<ServiceBinding>, BindingError> {
    let labels: BTreeMap<String, LenientList<VcapEntry>> =
        decode_local(text).map_err(|error| BindingError::Malformed { source_name, error })?;
    let bindings = labels.into_iter().flat_map(|(label, entries)| {
        let entries = entries.0.into_iter();
        entries.map(move |entry| entry.into_binding(&label, delivery)).collect::<Vec<_>>()
    });
    Ok(bindings.collect())
}

fn read_file(path: &Path) -> Result<Zeroizing<Vec<u8>>, BindingError> {
    fs::read(path).map(Zeroizing::new).map_err(|error| BindingError::Unreadable {
        source_name: FILE,
        path: path.to_owned(),
        kind: error.kind(),
    })
}
