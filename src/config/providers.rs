//! Provider entries: from the settings file or from the variable `CFAPI_PROVIDERS`.
//!
//! Invariant: an invalid value affects its own key only, so that one start reports all problems.
//! Only [`super`] calls this.

use std::collections::{BTreeMap, BTreeSet};

use toml::{Table, Value};

use crate::{
    config::{
        env::EnvSnapshot,
        form,
        layer::{LayeredValue, Layers, PROVIDERS, ValueSource},
        problem::{ConfigProblem, ConfigProblems},
    },
    routes::ProviderSettings,
    upstream::body,
};

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
            let alone = Table::from_iter([(key.clone(), value.clone())]);
            let wrong = match alone.try_into::<ProviderSettings>() {
                Ok(_) => check_texts(&value).err(),
                Err(error) => Some((error.message().to_owned(), HINT.to_owned())),
            };
            match wrong {
                None => drop(valid.insert(key, value)),
                Some((message, hint)) => {
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

/// Checks the texts of one member as those of any other setting. Returns message and hint.
fn check_texts(value: &Value) -> Result<(), (String, String)> {
    let checked = match value {
        Value::String(text) => form::check_text(text),
        Value::Array(entries) => form::check_entries(entries),
        Value::Integer(_)
        | Value::Float(_)
        | Value::Boolean(_)
        | Value::Datetime(_)
        | Value::Table(_) => Ok(()),
    };
    checked.map_err(|fault| (fault.message, fault.hint))
}

/// Returns the entries as written, and their source.
fn tables(
    layers: &Layers,
    snapshot: &EnvSnapshot,
) -> Result<Option<(Vec<Table>, ValueSource)>, ConfigProblem> {
    if let Some(text) = snapshot.get(VARIABLE) {
        let source = ValueSource::Variable(VARIABLE.to_owned());
        return match body::decode_local::<Vec<BTreeMap<String, Option<Value>>>>(text.as_bytes()) {
            Ok(entries) => {
                let given = |entry: BTreeMap<_, Option<_>>| {
                    entry.into_iter().filter_map(|(key, value)| Some((key, value?))).collect()
                };
                Ok(Some((entries.into_iter().map(given).collect(), source)))
            }
            Err(error) => {
                let message = format!("is not a JSON list of provider entries: {error}");
                Err(ConfigProblem::of(PROVIDERS, &source, message, HINT))
            }
        };
    }
    let Some(LayeredValue { value, source }) = layers.entry(PROVIDERS) else {
        return Ok(None);
    };
    let tables = value.clone().try_into::<Vec<Table>>();
    tables.map(|tables| Some((tables, source.clone()))).map_err(|error: toml::de::Error| {
        ConfigProblem::of(PROVIDERS, source, error.message(), HINT)
    })
}
