//! Settings: `default.toml` ← a file ← `CFAPI_*` ← flags; unknown keys are refused, all problems
//! are reported at once.
//!
//! Invariant: settings contain no secret; each value knows its source. Only `cli` and `app` use
//! this module.

pub mod env;
mod form;
pub mod layer;
pub mod problem;

mod providers;

use std::{
    fs,
    path::{Path, PathBuf},
};

use serde::Deserialize;
use toml::Value;

use crate::{
    auth, binding,
    config::{
        env::EnvSnapshot,
        layer::{LayeredValue, Layers, PROVIDERS, ValueSource},
        problem::{ConfigProblem, ConfigProblems},
        providers::ProviderEntries,
    },
    destination::{self, DestinationName},
    login, policy, routes, server,
    telemetry::logs::LogFormat,
    token, upstream,
};

/// Read if it exists and no other file is named.
const LOCAL_FILE: &str = "config/local.toml";

/// All settings, one section per module.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// Listener and its limits.
    pub server: server::Settings,
    /// Log lines.
    pub log: LogSettings,
    /// HTTP clients.
    #[serde(default)]
    pub upstream: upstream::Settings,
    /// Which bindings to use.
    #[serde(default)]
    pub binding: binding::Settings,
    /// Which destinations are used.
    #[serde(default)]
    pub destination: destination::Settings,
    /// Authentication of callers.
    #[serde(default)]
    pub auth: auth::Settings,
    /// Login in a browser.
    #[serde(default)]
    pub login: login::Settings,
    /// The allow list of the CF API.
    #[serde(default)]
    pub proxy: policy::Settings,
    /// Tenant routes.
    #[serde(default)]
    pub routes: routes::Settings,
    /// Tokens of the technical user.
    #[serde(default)]
    pub token: token::Settings,
    /// Provider entries; empty = the built-in default.
    #[serde(skip)]
    pub providers: Vec<routes::ProviderSettings>,
    /// Where they are written.
    #[serde(skip)]
    pub provider_source: ValueSource,
}

/// How the broker logs.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LogSettings {
    /// Format of the lines.
    #[serde(deserialize_with = "log_format")]
    pub format: LogFormat,
}

fn log_format<'de, D: serde::Deserializer<'de>>(from: D) -> Result<LogFormat, D::Error> {
    match String::deserialize(from)?.as_str() {
        "auto" => Ok(LogFormat::Auto),
        "json" => Ok(LogFormat::Json),
        "human" => Ok(LogFormat::Human),
        _ => Err(serde::de::Error::custom("must be auto, json or human")),
    }
}

/// Settings with the source of each value.
#[derive(Clone, Debug)]
pub struct Loaded {
    /// The settings.
    pub settings: Settings,
    /// Each key with its value and source.
    pub layers: Layers,
}

/// Settings from the command line.
#[derive(Clone, Debug, Default)]
pub struct Flags {
    /// `--config`.
    pub file: Option<PathBuf>,
    /// `--log`.
    pub log: Option<String>,
}

/// The result of reading all layers: the settings, as far as they are valid, and all problems.
#[derive(Debug)]
pub struct ReadResult {
    /// The settings; an invalid value is replaced by its default. `None` if nothing could be read.
    pub loaded: Option<Loaded>,
    /// All problems.
    pub problems: ConfigProblems,
}

/// Reads all layers.
///
/// # Errors
/// All problems at once: unknown keys, values of the wrong form, values out of bounds, unreadable
/// files.
pub fn load(snapshot: &EnvSnapshot, flags: &Flags) -> Result<Loaded, ConfigProblems> {
    let ReadResult { loaded, problems } = read(snapshot, flags);
    match loaded {
        Some(loaded) => problems.or(loaded),
        None => Err(problems),
    }
}

/// Reads all layers and continues after a problem, so that the caller can look for more problems.
pub fn read(snapshot: &EnvSnapshot, flags: &Flags) -> ReadResult {
    let mut problems = ConfigProblems::default();
    let mut layers = match Layers::defaults() {
        Ok(layers) => layers,
        Err(error) => {
            let problem = ConfigProblem::of(
                "defaults",
                &ValueSource::Default,
                error.message(),
                "a bug: report it",
            );
            return ReadResult { loaded: None, problems: problem.into() };
        }
    };
    if let Some(path) = settings_file(snapshot, flags) {
        match fs::read_to_string(&path) {
            Ok(text) => layers.add_file(path, &text, &mut problems),
            Err(error) => {
                let source = ValueSource::File(path);
                problems.push(ConfigProblem::of(
                    "settings file",
                    &source,
                    error.to_string(),
                    "name a readable file",
                ));
            }
        }
    }
    layers.add_variables(snapshot, &mut problems);
    if let Some(log) = &flags.log {
        layers.add_flag("log.format", log, "--log", &mut problems);
    }
    let settings = deserialize(&mut layers, &mut problems);
    let loaded = settings.map(|mut settings| {
        let ProviderEntries { entries, reported, source } =
            providers::read(&layers, snapshot, &mut problems);
        (settings.providers, settings.provider_source) = (entries, source);
        validate(&settings, &layers, &mut problems);
        let findings = provider_findings(&settings).into_iter();
        // A key with a problem needs no second one.
        for finding in findings.filter(|finding| !reported.contains(&finding.key)) {
            let hint = finding.hint.to_owned();
            problems.push(if finding.key.starts_with(PROVIDERS) {
                ConfigProblem::of(finding.key, &settings.provider_source, finding.problem, hint)
            } else {
                about(&layers, &finding.key, finding.problem, hint)
            });
        }
        Loaded { settings, layers }
    });
    ReadResult { loaded, problems }
}

fn settings_file(snapshot: &EnvSnapshot, flags: &Flags) -> Option<PathBuf> {
    let named = flags.file.clone().or_else(|| snapshot.get("CFAPI_CONFIG").map(PathBuf::from));
    named.or_else(|| Some(PathBuf::from(LOCAL_FILE)).filter(|path| Path::exists(path)))
}

/// Deserialises the layers. An invalid value becomes a problem and is replaced by its default, so
/// that one pass finds all problems.
fn deserialize(layers: &mut Layers, problems: &mut ConfigProblems) -> Option<Settings> {
    loop {
        let error = match attempt(layers) {
            Ok(settings) => return Some(settings),
            Err(error) => error,
        };
        let (key, message) = key_and_message(&error);
        // `form` has checked what is in a list; every other error names its key.
        let entry = key.as_deref().and_then(|key| layers.entry(key)).cloned();
        let (Some(key), Some(entry)) = (key, entry) else {
            problems.push(ConfigProblem::of(
                "settings",
                &ValueSource::Default,
                message,
                "a bug: report it",
            ));
            return None;
        };
        problems.push(ConfigProblem::of(
            key_with_value(&key, &entry.value),
            &entry.source,
            message,
            default_hint(layers, &key),
        ));
        if !layers.restore(&key) {
            return None;
        }
    }
}

fn attempt(layers: &Layers) -> Result<Settings, ::config::ConfigError> {
    let mut builder = ::config::Config::builder();
    for (key, LayeredValue { value, .. }) in layers.entries() {
        // An empty text means "none" for keys that may be absent; provider entries are read in
        // `providers`.
        if key != PROVIDERS && value.as_str() != Some("") {
            builder = builder.set_override(key, plain(value))?;
        }
    }
    builder.build()?.try_deserialize()
}

fn plain(value: &Value) -> ::config::Value {
    let kind = match value {
        Value::String(text) => ::config::ValueKind::String(text.clone()),
        Value::Integer(number) => ::config::ValueKind::I64(*number),
        Value::Float(number) => ::config::ValueKind::Float(*number),
        Value::Boolean(flag) => ::config::ValueKind::Boolean(*flag),
        Value::Datetime(at) => ::config::ValueKind::String(at.to_string()),
        Value::Array(items) => ::config::ValueKind::Array(items.iter().map(plain).collect()),
        // Tables were flattened into dotted keys; provider entries still have some, but are not
        // read here.
        Value::Table(_) => ::config::ValueKind::Nil,
    };
    ::config::Value::new(None, kind)
}

/// Returns the key of an error and its message.
#[expect(clippy::wildcard_enum_match_arm, reason = "the crate may add variants")]
fn key_and_message(error: &::config::ConfigError) -> (Option<String>, String) {
    use ::config::ConfigError;
    match error {
        ConfigError::At { error, key, .. } => {
            let (inner, message) = key_and_message(error);
            (key.clone().or(inner), message)
        }
        // `form` has checked the type, so a number here has no room in the setting.
        ConfigError::Type { unexpected, key, .. } if unexpected.to_string().contains("integer") => {
            (key.clone(), form::out_of_range().message)
        }
        ConfigError::Type { unexpected, expected, key, .. } => {
            (key.clone(), format!("{unexpected} where {expected} is expected"))
        }
        ConfigError::NotFound(key) => (Some(key.clone()), "missing".to_owned()),
        // The crate's text names a Rust type.
        ConfigError::Message(text) if text.contains("variant constructor") => {
            (None, "is none of the values that config/default.toml names".to_owned())
        }
        _ => (None, error.to_string()),
    }
}

fn key_with_value(key: &str, value: &Value) -> String {
    format!("{key} = {value}")
}

fn default_hint(layers: &Layers, key: &str) -> String {
    layers
        .default_of(key)
        .map_or_else(|| "config/default.toml lists all keys".to_owned(), layer::default_hint)
}

/// Lets each module validate its own section; provider entries are validated on their own.
fn validate(settings: &Settings, layers: &Layers, problems: &mut ConfigProblems) {
    let server =
        settings.server.validate().into_iter().map(|(k, m, h)| (format!("server.{k}"), m, h));
    for (key, message, hint) in server {
        problems.push(about(layers, &key, message, hint));
    }
    let about_bindings = settings.binding.validate().into_iter().map(|f| ("binding", f));
    let about_destination = settings.destination.validate().into_iter().map(|f| ("destination", f));
    let about_callers = settings.auth.validate().into_iter().map(|f| ("auth", f));
    let about_tokens = settings.token.validate().into_iter().map(|f| ("token", f));
    let findings = about_bindings.chain(about_destination).chain(about_callers).chain(about_tokens);
    for (part, finding) in findings {
        problems.push(about(
            layers,
            &format!("{part}.{}", finding.field),
            finding.message,
            finding.hint,
        ));
    }
}

/// Validates the provider entries alone; the platform's data about the broker is not known here and
/// not needed.
fn provider_findings(settings: &Settings) -> Vec<routes::Finding> {
    let names = [&settings.destination.name].into_iter().chain(&settings.destination.names);
    let names: Vec<_> = names.filter_map(|name| DestinationName::parse(name)).collect();
    // An invalid name was already reported.
    let Some(destination) = names.first().cloned() else { return Vec::new() };
    let broker = routes::BrokerIdentity {
        destination,
        space: None,
        space_name: None,
        organization: None,
        organization_name: None,
        app: None,
        app_guid: None,
        uris: Vec::new(),
    };
    routes::ProviderTable::validate(&settings.routes, &settings.providers, broker, &names)
        .err()
        .unwrap_or_default()
}

fn about(layers: &Layers, key: &str, message: String, hint: String) -> ConfigProblem {
    match layers.entry(key) {
        Some(entry) => {
            let hint = if hint.is_empty() { default_hint(layers, key) } else { hint };
            ConfigProblem::of(key_with_value(key, &entry.value), &entry.source, message, hint)
        }
        None => ConfigProblem::of(key, &source_of_part(layers, key), message, hint),
    }
}

/// Returns the source of a table, or of a value inside a list: that of a key in it, else of the
/// nearest key around it.
fn source_of_part(layers: &Layers, key: &str) -> ValueSource {
    let is_inside = |name: &str| name.strip_prefix(key).is_some_and(|rest| rest.starts_with('.'));
    let mut inside = layers.entries().filter(|(name, _)| is_inside(name)).map(|(_, e)| &e.source);
    if let Some(source) = inside.find(|source| **source != ValueSource::Default) {
        return source.clone();
    }
    let mut around = key;
    while let Some((outer, _)) = around.rsplit_once(['.', '[']) {
        around = outer;
        if let Some(entry) = layers.entry(around) {
            return entry.source.clone();
        }
    }
    ValueSource::Default
}

#[cfg(test)]
mod tests;
