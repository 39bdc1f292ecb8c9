//! Provider entries: from the settings file or from the variable `CFAPI_PROVIDERS`.
//!
//! Invariant: a value that cannot be used costs its own key only, so that one start tells all that is wrong. Callers:
//! [`super`].

use std::collections::{BTreeMap, BTreeSet};

use toml::{Table, Value};

use crate::{
    config::{
        env::Snapshot,
        layer::{Entry, Layers, Origin, PROVIDERS},
        problem::{Problem, Problems},
    },
    routes::ProviderSettings,
    upstream::body,
};

const VARIABLE: &str = "CFAPI_PROVIDERS";
const HINT: &str = "see [[providers]] in config/default.toml";

/// Reads the entries; returns the keys, too, whose values had to be left out.
pub(super) fn read(
    layers: &Layers,
    snapshot: &Snapshot,
    problems: &mut Problems,
) -> (Vec<ProviderSettings>, BTreeSet<String>) {
    let (tables, origin) = match tables(layers, snapshot) {
        Ok(Some(found)) => found,
        Ok(None) => return (Vec::new(), BTreeSet::new()),
        Err(problem) => {
            problems.push(problem);
            return (Vec::new(), BTreeSet::new());
        }
    };
    let mut told = BTreeSet::new();
    let mut entries = Vec::new();
    for (index, table) in tables.into_iter().enumerate() {
        let mut lawful = Table::new();
        for (key, value) in table {
            let alone = Table::from_iter([(key.clone(), value.clone())]);
            match alone.try_into::<ProviderSettings>() {
                Ok(_) => drop(lawful.insert(key, value)),
                Err(error) => {
                    let key = format!("{PROVIDERS}[{index}].{key}");
                    problems.push(Problem::of(key.clone(), &origin, error.message(), HINT));
                    told.insert(key);
                }
            }
        }
        // Each member alone was lawful, and together they are.
        entries.push(lawful.try_into().unwrap_or_default());
    }
    (entries, told)
}

/// Returns the entries as they were written, and where.
fn tables(layers: &Layers, snapshot: &Snapshot) -> Result<Option<(Vec<Table>, Origin)>, Problem> {
    if let Some(text) = snapshot.get(VARIABLE) {
        let origin = Origin::Variable(VARIABLE.to_owned());
        return match body::decode::<Vec<BTreeMap<String, Option<Value>>>>(text.as_bytes()) {
            Ok(entries) => {
                let given = |entry: BTreeMap<_, Option<_>>| {
                    entry.into_iter().filter_map(|(key, value)| Some((key, value?))).collect()
                };
                Ok(Some((entries.into_iter().map(given).collect(), origin)))
            }
            Err(error) => {
                let message = format!("not a JSON list of provider entries: {error}");
                Err(Problem::of(PROVIDERS, &origin, message, HINT))
            }
        };
    }
    let Some(Entry { value, origin }) = layers.entry(PROVIDERS) else {
        return Ok(None);
    };
    let tables = value.clone().try_into::<Vec<Table>>();
    tables
        .map(|tables| Some((tables, origin.clone())))
        .map_err(|error: toml::de::Error| Problem::of(PROVIDERS, origin, error.message(), HINT))
}
