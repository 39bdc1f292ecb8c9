//! Provider entries: from the settings file or from the variable `CFAPI_PROVIDERS`.
//!
//! Invariant: an invalid value affects its own key only, so that one start reports all problems.
//! Only [`super`] calls this.

use std::collections::{BTreeMap, BTreeSet};

use toml::{Table, Value};

use crate::{
    config::{
        env::EnvSnapshot,
        form::{self, FormFault},
        layer::{LayeredValue, Layers, PROVIDERS, ValueSource},
        problem::{ConfigProblem, ConfigProblems},
    },
    routes::ProviderSettings,
    upstream::body,
};

/// The members of one entry as written; `None` is JSON's null.
type Members = BTreeMap<String, Option<Value>>;

const VARIABLE: &str = "CFAPI_PROVIDERS";
const HINT: &str = "see [[providers]] in config/default.toml";

/// The entries as far as they are valid.
#[derive(Debug)]
pub(super) struct ProviderEntries {
    /// One for each entry as written.
    pub(super) entries: Vec<ProviderSettings>,
    /// The keys whose values were invalid and have a problem already.
    pub(super) reported: BTreeSet<String>,
    /// Where the entries are written.
    pub(super) source: ValueSource,
}

/// Reads the entries.
pub(super) fn read(
    layers: &Layers,
    snapshot: &EnvSnapshot,
    problems: &mut ConfigProblems,
) -> ProviderEntries {
    let none = ProviderEntries {
        entries: Vec::new(),
        reported: BTreeSet::new(),
        source: ValueSource::Default,
    };
    let (tables, source) = match tables(layers, snapshot) {
        Ok(Some(found)) => found,
        Ok(None) => return none,
        Err(problem) => {
            problems.push(problem);
            return none;
        }
    };
    let mut reported = BTreeSet::new();
    let mut entries = Vec::new();
    for (index, table) in tables.into_iter().enumerate() {
        let mut valid = Table::new();
        for (key, value) in table {
            match checked(&key, value) {
                Ok(value) => drop(valid.insert(key, value)),
                Err(FormFault { message, hint }) => {
                    let key = format!("{PROVIDERS}[{index}].{key}");
                    problems.push(ConfigProblem::of(key.clone(), &source, message, hint));
                    reported.insert(key);
                }
            }
        }
        // Each member alone was valid, so all together are.
        entries.push(valid.try_into().unwrap_or_default());
    }
    ProviderEntries { entries, reported, source }
}

/// Checks the type of one member, and its texts as those of any other setting.
fn checked(key: &str, value: Option<Value>) -> Result<Value, FormFault> {
    let fault = |message: &str, hint: &str| FormFault {
        message: message.to_owned(),
        hint: hint.to_owned(),
    };
    let Some(value) = value else {
        return Err(fault("is null, which stands for no value", "give a value, or remove it"));
    };
    let alone = Table::from_iter([(key.to_owned(), value.clone())]);
    alone.try_into::<ProviderSettings>().map_err(|error| fault(error.message(), HINT))?;
    match &value {
        Value::String(text) => form::check_text(text)?,
        Value::Array(entries) => form::check_entries(entries)?,
        Value::Integer(_)
        | Value::Float(_)
        | Value::Boolean(_)
        | Value::Datetime(_)
        | Value::Table(_) => {}
    }
    Ok(value)
}

/// Returns the entries as written, and their source.
fn tables(
    layers: &Layers,
    snapshot: &EnvSnapshot,
) -> Result<Option<(Vec<Members>, ValueSource)>, ConfigProblem> {
    if let Some(text) = snapshot.get(VARIABLE) {
        let source = ValueSource::Variable(VARIABLE.to_owned());
        return match body::decode_local(text.as_bytes()) {
            Ok(entries) => Ok(Some((entries, source))),
            Err(error) => {
                let message = format!("is not a JSON list of provider entries: {error}");
                Err(ConfigProblem::of(PROVIDERS, &source, message, HINT))
            }
        };
    }
    let Some(LayeredValue { value, source }) = layers.entry(PROVIDERS) else {
        return Ok(None);
    };
    let tables = value.clone().try_into();
    tables.map(|tables| Some((tables, source.clone()))).map_err(|error: toml::de::Error| {
        ConfigProblem::of(PROVIDERS, source, error.message(), HINT)
    })
}
