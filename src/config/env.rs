//! The only reader of the process environment; it returns a snapshot.
//!
//! Invariant: values that may hold secrets are never printed (`Debug` shows names only), and
//! nothing is ever written to the process environment.

use std::{collections::BTreeMap, ffi::OsString, fmt, fs, path::Path};

use serde_json::{Map, Value};
use zeroize::Zeroizing;

use crate::{
    config::{
        layer::PREFIX,
        problem::{ConfigProblem, ConfigProblems},
    },
    upstream::body,
};

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
    /// Settings that are not UTF-8, and the problems of the file; neither is ever quoted.
    pub fn take() -> Result<Self, ConfigProblems> {
        #[expect(clippy::disallowed_methods, reason = "this is the one reader of the environment")]
        let vars: Vec<_> = std::env::vars_os().collect();
        let mut problems = unreadable(&vars);
        let mut snapshot = Self::from_vars(vars);
        if let Err(more) = snapshot.add_default_env(Path::new(DEFAULT_ENV)) {
            problems.extend(more);
        }
        problems.or(snapshot)
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

    fn add_default_env(&mut self, path: &Path) -> Result<(), ConfigProblems> {
        if self.get("VCAP_APPLICATION").is_some() {
            return Ok(());
        }
        let about_file = |message: String| {
            let hint = "correct the file or remove it";
            ConfigProblem::from_source("environment", DEFAULT_ENV, message, hint)
        };
        let bytes = match fs::read(path) {
            Ok(bytes) => Zeroizing::new(bytes),
            Err(error) if path.exists() => {
                return Err(
                    about_file(format!("{} cannot be read: {error}", path.display())).into()
                );
            }
            Err(_) => return Ok(()),
        };
        let file: Map<String, Value> = body::decode_local(&bytes).map_err(|error| {
            about_file(format!("{} is not a JSON object: {error}", path.display()))
        })?;
        let mut problems = ConfigProblems::default();
        for (name, value) in variables_of(file) {
            let text = match value {
                Value::String(text) => text,
                Value::Null => {
                    if name.starts_with(PREFIX) && !self.0.contains_key(&name) {
                        let (message, hint) =
                            ("is null, which stands for no value", "give a value, or remove it");
                        problems.push(ConfigProblem::from_source(name, DEFAULT_ENV, message, hint));
                    }
                    continue;
                }
                Value::Bool(_) | Value::Number(_) | Value::Array(_) | Value::Object(_) => {
                    value.to_string()
                }
            };
            self.0.entry(name).or_insert_with(|| Zeroizing::new(text));
        }
        problems.or(())
    }
}

/// Returns the settings among the variables that are not UTF-8; they would go missing silently.
fn unreadable(vars: &[(OsString, OsString)]) -> ConfigProblems {
    let mut problems = ConfigProblems::default();
    for (name, value) in vars {
        let shown = name.to_string_lossy();
        let is_read = name.to_str().is_some() && value.to_str().is_some();
        if shown.starts_with(PREFIX) && !is_read {
            problems.push(ConfigProblem::from_source(
                shown.clone(),
                format!("variable {shown}"),
                "is not UTF-8",
                "write name and value in UTF-8",
            ));
        }
    }
    problems
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
    use std::{ffi::OsString, fs, os::unix::ffi::OsStringExt};

    use super::{EnvSnapshot, unreadable};

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
        let error = EnvSnapshot::default().add_default_env(&path).unwrap_err().to_string();
        assert!(error.contains("default-env.json") && !error.contains("canary"), "{error}");
    }

    #[test]
    fn a_null_for_a_setting_is_named_unless_the_environment_has_it() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("default-env.json");
        for text in [
            r#"{"CFAPI_AUTH__ZONES":null,"OTHER":null}"#,
            r#"{"environment_variables":{"CFAPI_AUTH__ZONES":null}}"#,
        ] {
            fs::write(&path, text).unwrap();
            let error = EnvSnapshot::default().add_default_env(&path).unwrap_err().to_string();
            assert!(error.contains("CFAPI_AUTH__ZONES") && error.contains("is null"), "{error}");
            assert!(error.contains("default-env.json") && !error.contains("OTHER"), "{error}");
            let mut snapshot = EnvSnapshot::from_vars([("CFAPI_AUTH__ZONES", "z1")]);
            snapshot.add_default_env(&path).unwrap();
            assert_eq!(snapshot.get("CFAPI_AUTH__ZONES"), Some("z1"));
        }
    }

    #[test]
    fn a_file_that_is_there_and_cannot_be_read_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("default-env.json");
        EnvSnapshot::default().add_default_env(&path).unwrap();
        // A directory cannot be read as a file, by any user.
        fs::create_dir(&path).unwrap();
        let error = EnvSnapshot::default().add_default_env(&path).unwrap_err().to_string();
        assert!(error.contains("default-env.json"), "{error}");
        assert!(error.contains("cannot be read: Is a directory"), "{error}");
    }

    #[test]
    fn a_setting_that_is_not_utf8_is_named_and_not_quoted() {
        let broken = || OsString::from_vec(b"canary\xff".to_vec());
        let name = OsString::from_vec(b"CFAPI_AUTH__\xff".to_vec());
        let vars =
            [("CFAPI_AUTH__ZONES".into(), broken()), (name, "1".into()), ("LANG".into(), broken())];
        let found = unreadable(&vars);
        let shown = found.to_string();
        assert_eq!(found.iter().count(), 2, "{shown}");
        assert!(shown.contains("(variable CFAPI_AUTH__ZONES): is not UTF-8"), "{shown}");
        assert!(shown.contains("CFAPI_AUTH__\u{fffd}") && !shown.contains("canary"), "{shown}");
    }

    #[test]
    fn debug_shows_names_only() {
        let shown = format!("{:?}", EnvSnapshot::from_vars([("VCAP_SERVICES", "secret-canary")]));
        assert!(shown.contains("VCAP_SERVICES") && !shown.contains("canary"), "{shown}");
    }
}
