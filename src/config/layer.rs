//! Layers of settings: which keys exist, which value wins, and the source of each value.
//!
//! Invariant: a key that `default.toml` does not have is a problem and never ignored; a value that
//! looks like a secret is neither kept nor printed.

use std::{collections::BTreeMap, fmt, path::PathBuf};

use toml::{Table, Value};

use crate::{
    config::{
        env::EnvSnapshot,
        form::{self, FormFault},
        problem::{ConfigProblem, ConfigProblems},
    },
    upstream::mismatch::nearest,
};

/// The compiled-in defaults, which document every key.
pub const DEFAULTS: &str = include_str!("../../config/default.toml");
/// Variables with this prefix are settings.
pub(super) const PREFIX: &str = "CFAPI_";
/// Variables with the prefix that are not keys: the settings file and the provider list as JSON.
const NOT_KEYS: [&str; 2] = ["CFAPI_CONFIG", "CFAPI_PROVIDERS"];
/// A key with one of these words looks like a secret.
const SECRET_WORDS: [&str; 4] = ["password", "secret", "token", "private_key"];
/// Key of the list of provider entries; it has no default, because its absence has a meaning.
pub const PROVIDERS: &str = "providers";

/// The source of a value.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum ValueSource {
    /// `config/default.toml`, compiled in.
    #[default]
    Default,
    /// A settings file.
    File(PathBuf),
    /// A variable of the environment.
    Variable(String),
    /// A flag on the command line.
    Flag(&'static str),
}

impl fmt::Display for ValueSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => f.write_str("default.toml"),
            Self::File(path) => write!(f, "file {}", path.display()),
            Self::Variable(name) => write!(f, "variable {name}"),
            Self::Flag(name) => write!(f, "flag {name}"),
        }
    }
}

/// One value with its source.
#[derive(Clone, Debug)]
pub struct LayeredValue {
    /// The value, as TOML.
    pub value: Value,
    /// Its source.
    pub source: ValueSource,
}

/// All keys (dotted) with the value that wins.
#[derive(Clone, Debug)]
pub struct Layers {
    defaults: BTreeMap<String, Value>,
    entries: BTreeMap<String, LayeredValue>,
}

impl Layers {
    /// Reads the defaults.
    ///
    /// # Errors
    /// Only if `default.toml` is not TOML; a test excludes that.
    pub fn defaults() -> Result<Self, toml::de::Error> {
        let mut defaults = BTreeMap::new();
        flatten("", DEFAULTS.parse::<Table>()?, &mut defaults);
        let entry =
            |value: &Value| LayeredValue { value: value.clone(), source: ValueSource::Default };
        let entries = defaults.iter().map(|(key, value)| (key.clone(), entry(value))).collect();
        Ok(Self { defaults, entries })
    }

    /// Adds the layer of a settings file.
    pub fn add_file(&mut self, path: PathBuf, text: &str, problems: &mut ConfigProblems) {
        let source = ValueSource::File(path);
        let table = match text.parse::<Table>() {
            Ok(table) => table,
            Err(error) => {
                let line = error
                    .span()
                    .map_or(0, |span| text.get(..span.start).unwrap_or("").lines().count());
                return problems.push(ConfigProblem::of(
                    format!("line {line}"),
                    &source,
                    "not TOML",
                    "compare with config/default.toml",
                ));
            }
        };
        let mut values = BTreeMap::new();
        flatten("", table, &mut values);
        for (key, value) in values {
            let checked = match self.defaults.get(&key) {
                Some(default) => form::from_file(default, &value),
                None => Ok(value.clone()),
            };
            self.put(key, (value, checked), source.clone(), problems);
        }
    }

    /// Adds the layer of the `CFAPI_*` variables; an empty one counts as absent.
    pub fn add_variables(&mut self, snapshot: &EnvSnapshot, problems: &mut ConfigProblems) {
        for (name, text) in snapshot.with_prefix(PREFIX) {
            if NOT_KEYS.contains(&name) || text.trim().is_empty() {
                continue;
            }
            let key =
                name.strip_prefix(PREFIX).unwrap_or(name).to_ascii_lowercase().replace("__", ".");
            self.put_text(key, text, ValueSource::Variable(name.to_owned()), problems);
        }
    }

    /// Adds one flag as the top layer.
    pub fn add_flag(
        &mut self,
        key: &str,
        value: &str,
        flag: &'static str,
        problems: &mut ConfigProblems,
    ) {
        self.put_text(key.to_owned(), value, ValueSource::Flag(flag), problems);
    }

    /// Restores the default of a key with an invalid value; `false` if there is nothing to restore.
    pub fn restore(&mut self, key: &str) -> bool {
        let Some(entry) = self.entries.get(key) else {
            return false;
        };
        if entry.source == ValueSource::Default {
            return false;
        }
        match self.defaults.get(key) {
            Some(value) => {
                let entry = LayeredValue { value: value.clone(), source: ValueSource::Default };
                self.entries.insert(key.to_owned(), entry);
            }
            None => drop(self.entries.remove(key)),
        }
        true
    }

    /// Returns each key with its winning value.
    pub fn entries(&self) -> impl Iterator<Item = (&str, &LayeredValue)> {
        self.entries.iter().map(|(key, entry)| (key.as_str(), entry))
    }

    /// Returns the compiled-in default of a key.
    pub fn default_of(&self, key: &str) -> Option<&Value> {
        self.defaults.get(key)
    }

    /// Returns the winning value of a key.
    pub fn entry(&self, key: &str) -> Option<&LayeredValue> {
        self.entries.get(key)
    }

    fn put_text(
        &mut self,
        key: String,
        text: &str,
        source: ValueSource,
        problems: &mut ConfigProblems,
    ) {
        let given = Value::String(text.to_owned());
        let checked = match self.defaults.get(&key) {
            Some(default) => form::from_text(default, text),
            None => Ok(given.clone()),
        };
        self.put(key, (given, checked), source, problems);
    }

    /// Stores a value that has the form of its key; else the value of the layer below stays.
    fn put(
        &mut self,
        key: String,
        (given, checked): (Value, Result<Value, FormFault>),
        source: ValueSource,
        problems: &mut ConfigProblems,
    ) {
        if let Some(default) = self.defaults.get(&key) {
            match checked {
                Ok(value) => drop(self.entries.insert(key, LayeredValue { value, source })),
                Err(FormFault { message, hint }) => {
                    let hint = if hint.is_empty() { default_hint(default) } else { hint };
                    let subject = format!("{key} = {given}");
                    problems.push(ConfigProblem::of(subject, &source, message, hint));
                }
            }
            return;
        }
        if key == PROVIDERS {
            self.entries.insert(key, LayeredValue { value: given, source });
            return;
        }
        let last = key.rsplit('.').next().unwrap_or(&key);
        if SECRET_WORDS.iter().any(|word| last.contains(word)) {
            let hint = "put it into the destination, or bind a user-provided service";
            return problems.push(ConfigProblem::of(
                key,
                &source,
                "secrets are not settings",
                hint,
            ));
        }
        let hint = nearest(&key, self.defaults.keys()).map_or_else(
            || "config/default.toml lists all keys".to_owned(),
            |known| format!("did you mean {known}?"),
        );
        problems.push(ConfigProblem::of(key, &source, "unknown key", hint));
    }
}

fn flatten(prefix: &str, table: Table, into: &mut BTreeMap<String, Value>) {
    for (name, value) in table {
        let key = if prefix.is_empty() { name } else { format!("{prefix}.{name}") };
        match value {
            Value::Table(inner) => flatten(&key, inner, into),
            leaf @ (Value::String(_)
            | Value::Integer(_)
            | Value::Float(_)
            | Value::Boolean(_)
            | Value::Datetime(_)
            | Value::Array(_)) => {
                into.insert(key, leaf);
            }
        }
    }
}

/// What to do about a value that a key cannot have.
pub(super) fn default_hint(default: &Value) -> String {
    format!("remove it; the default is {default}")
}
