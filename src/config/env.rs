//! The only reader of the process environment; it returns a snapshot.
//!
//! Invariant: values that may hold secrets are never printed (`Debug` shows names only), and
//! nothing is ever written to the process environment.

use std::{collections::BTreeMap, ffi::OsString, fmt, fs, path::Path};

use serde_json::{Map, Value};
use zeroize::Zeroizing;

use crate::upstream::body;

/// File with variables for local development, as `cf env` and the CAP tools write it.
const DEFAULT_ENV: &str = "default-env.json";

/// Groups of variables in Cloud Foundry's answer about an app; an earlier one wins.
/// `staging_env_json` is not for running apps. The older API says `environment_json`.
const GROUPS: [&str; 5] = [
    "system_env_json",
    "application_env_json",
    "environment_variables",
    "environment_json",
    "running_env_json",
];

/// The environment variables, read once at start.
#[derive(Default)]
pub struct EnvSnapshot(BTreeMap<String, Zeroizing<String>>);

impl fmt::Debug for EnvSnapshot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.0.keys()).finish()
    }
}

impl EnvSnapshot {
    /// Reads the environment of this process, and `default-env.json` of the working directory.
    ///
    /// The file is read only outside the platform (no `VCAP_APPLICATION` in the environment). The
    /// environment wins over the file. A missing file is no error.
    ///
    /// # Errors
    /// A text that describes the problem of the file; it never quotes the file.
    pub fn take() -> Result<Self, String> {
        #[expect(clippy::disallowed_methods, reason = "this is the one reader of the environment")]
        let mut snapshot = Self::from_vars(std::env::vars_os());
        snapshot.add_default_env(Path::new(DEFAULT_ENV))?;
        Ok(snapshot)
    }

    /// Creates a snapshot of the given pairs; names or values that are not UTF-8 are left out.
    pub fn from_vars<K: Into<OsString>, V: Into<OsString>>(
        vars: impl IntoIterator<Item = (K, V)>,
    ) -> Self {
        let texts = vars.into_iter().filter_map(|(name, value)| {
            Some((
                name.into().into_string().ok()?,
                Zeroizing::new(value.into().into_string().ok()?),
            ))
        });
        Self(texts.collect())
    }

    /// Returns the value of a variable; an empty one counts as absent.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(|value| value.as_str()).filter(|value| !value.is_empty())
    }

    /// Returns all variables whose name begins with `prefix`, in order of their names.
    pub fn with_prefix<'a>(&'a self, prefix: &'a str) -> impl Iterator<Item = (&'a str, &'a str)> {
        self.0
            .iter()
            .filter(move |(name, _)| name.starts_with(prefix))
            .map(|(n, v)| (n.as_str(), v.as_str()))
    }

    fn add_default_env(&mut self, path: &Path) -> Result<(), String> {
        if self.get("VCAP_APPLICATION").is_some() {
            return Ok(());
        }
        let Ok(bytes) = fs::read(path).map(Zeroizing::new) else {
            return Ok(());
        };
        let file: Map<String, Value> = body::decode_local(&bytes)
            .map_err(|error| format!("{} is not a JSON object: {error}", path.display()))?;
        for (name, value) in variables_of(file) {
            let text = match value {
                Value::String(text) => text,
                Value::Null => continue,
                Value::Bool(_) | Value::Number(_) | Value::Array(_) | Value::Object(_) => {
                    value.to_string()
                }
            };
            self.0.entry(name).or_insert_with(|| Zeroizing::new(text));
        }
        Ok(())
    }
}

/// Returns the variables of a file, the first of a name being the one that counts.
///
/// The file has the variables as members; or it is what Cloud Foundry says about an app
/// (`cf curl /v3/apps/<guid>/env`), which groups them; or it is the value of `VCAP_SERVICES` alone.
fn variables_of(mut file: Map<String, Value>) -> Vec<(String, Value)> {
    if is_services(&file) {
        return vec![("VCAP_SERVICES".to_owned(), Value::Object(file))];
    }
    let groups = GROUPS.iter().filter_map(|group| match file.remove(*group) {
        Some(Value::Object(variables)) => Some(variables),
        Some(_) | None => None,
    });
    let groups: Vec<_> = groups.flatten().collect();
    file.into_iter().chain(groups).collect()
}

/// Returns whether every member is a list of bindings.
fn is_services(file: &Map<String, Value>) -> bool {
    let is_binding = |entry: &Value| entry.get("credentials").is_some();
    let is_list = |value: &Value| value.as_array().is_some_and(|list| list.iter().all(is_binding));
    file.values().any(|value| value.as_array().is_some_and(|list| !list.is_empty()))
        && file.values().all(is_list)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::EnvSnapshot;

    #[test]
    fn the_environment_wins_over_default_env_json() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("default-env.json");
        fs::write(&path, r#"{"A":"file","B":{"x":1},"destinations":[{"name":"CFAPI"}]}"#).unwrap();
        let mut snapshot = EnvSnapshot::from_vars([("A", "process")]);
        snapshot.add_default_env(&path).unwrap();
        assert_eq!(snapshot.get("A"), Some("process"));
        assert_eq!(snapshot.get("B"), Some(r#"{"x":1}"#));
        assert_eq!(snapshot.get("destinations"), Some(r#"[{"name":"CFAPI"}]"#));
    }

    fn of_file(text: &str) -> EnvSnapshot {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("default-env.json");
        fs::write(&path, text).unwrap();
        let mut snapshot = EnvSnapshot::default();
        snapshot.add_default_env(&path).unwrap();
        snapshot
    }

    #[test]
    fn what_cloud_foundry_says_about_an_app_is_read() {
        let snapshot = of_file(
            r#"{"staging_env_json":{"S":"staging"},"running_env_json":{"A":"all apps","B":"all apps"},
                "environment_variables":{"A":"own"},"system_env_json":{"VCAP_SERVICES":{"xsuaa":[]}},
                "application_env_json":{"VCAP_APPLICATION":{"cf_api":"x"}},"destinations":[]}"#,
        );
        assert_eq!(snapshot.get("A"), Some("own"));
        assert_eq!(snapshot.get("B"), Some("all apps"));
        assert_eq!(snapshot.get("S"), None);
        assert_eq!(snapshot.get("VCAP_SERVICES"), Some(r#"{"xsuaa":[]}"#));
        assert_eq!(snapshot.get("VCAP_APPLICATION"), Some(r#"{"cf_api":"x"}"#));
        assert_eq!(snapshot.get("destinations"), Some("[]"));
    }

    #[test]
    fn the_value_of_vcap_services_alone_is_read() {
        let snapshot = of_file(r#"{"xsuaa":[{"credentials":{}}]}"#);
        assert_eq!(snapshot.get("VCAP_SERVICES"), Some(r#"{"xsuaa":[{"credentials":{}}]}"#));
        assert_eq!(of_file(r#"{"xsuaa":[]}"#).get("VCAP_SERVICES"), None);
    }

    #[test]
    fn a_byte_order_mark_before_the_file_is_skipped() {
        assert_eq!(of_file("\u{feff}{\"A\":\"1\"}").get("A"), Some("1"));
    }

    #[test]
    fn on_the_platform_the_file_is_not_read() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("default-env.json");
        fs::write(&path, r#"{"A":"file"}"#).unwrap();
        let mut snapshot = EnvSnapshot::from_vars([("VCAP_APPLICATION", "{}")]);
        snapshot.add_default_env(&path).unwrap();
        assert_eq!(snapshot.get("A"), None);
    }

    #[test]
    fn a_broken_file_is_named_and_not_quoted() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("default-env.json");
        fs::write(&path, r#"["secret-canary"]"#).unwrap();
        let error = EnvSnapshot::default().add_default_env(&path).unwrap_err();
        assert!(error.contains("default-env.json") && !error.contains("canary"), "{error}");
    }

    #[test]
    fn debug_shows_names_only() {
        let shown = format!("{:?}", EnvSnapshot::from_vars([("VCAP_SERVICES", "secret-canary")]));
        assert!(shown.contains("VCAP_SERVICES") && !shown.contains("canary"), "{shown}");
    }
}
