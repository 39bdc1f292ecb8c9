//! Settings of the section `[destination]`. Read by `config`; used by this module only.

use super::model::DestinationName;
use crate::{binding::SettingFinding, upstream::is_host};
use std::path::PathBuf;

/// Most names that may be configured: each has its own entry, gate and cache.
const MAX_NAMES: usize = 8;

/// Which destinations may be used and where they are looked for.
#[derive(Clone, Debug, serde::Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    /// The default destination.
    pub name: String,
    /// Further destinations that may be used.
    pub names: Vec<String>,
    /// `subaccount`: an instance-level destination cannot shadow the subaccount's. Not set: both
    /// levels, the instance first.
    pub level: Option<DestinationLevel>,
    /// Hosts besides those of the host pin to which credentials may be sent: `host`, or
    /// `host:port`.
    pub allow_token_hosts: Vec<String>,
    /// A cockpit export or JSON file; read only without `VCAP_APPLICATION`.
    pub file: Option<PathBuf>,
}

/// The only level that is searched.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum DestinationLevel {
    /// The provider's subaccount.
    Subaccount,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            name: "CFAPI".to_owned(),
            names: Vec::new(),
            level: None,
            allow_token_hosts: Vec::new(),
            file: None,
        }
    }
}

impl Settings {
    /// Checks the settings by themselves; an empty list means that all is well.
    pub fn validate(&self) -> Vec<SettingFinding> {
        let mut findings = Vec::new();
        for (field, names) in
            [("name", std::slice::from_ref(&self.name)), ("names", self.names.as_slice())]
        {
            if let Some(wrong) = names.iter().find(|name| !is_name(name)) {
                findings.push(SettingFinding {
                    field,
                    message: format!("{wrong:?} is not a destination name"),
                    hint: "1 to 200 characters, no control characters, no blank at either end, \
                           no bracket or quotation mark at the beginning"
                        .to_owned(),
                });
            }
        }
        if self.all_names().len() > MAX_NAMES {
            findings.push(SettingFinding {
                field: "names",
                message: format!("more than {MAX_NAMES} destinations, the default included"),
                hint: "remove those that no provider uses".to_owned(),
            });
        }
        if let Some(wrong) = self.allow_token_hosts.iter().find(|host| !is_host(host)) {
            findings.push(SettingFinding {
                field: "allow_token_hosts",
                message: format!("{wrong:?} is not a host name"),
                hint: "write exact host names without scheme and path, such as uaa.cf.example.com"
                    .to_owned(),
            });
        }
        findings
    }

    /// Returns the valid names without repetition, the default first.
    pub(super) fn all_names(&self) -> Vec<DestinationName> {
        let mut names = Vec::new();
        for text in std::iter::once(&self.name).chain(&self.names) {
            match DestinationName::parse(text) {
                Some(name) if !names.contains(&name) => names.push(name),
                Some(_) | None => {}
            }
        }
        names
    }
}

/// A name of the settings. One that begins like a list was not meant as a name.
fn is_name(text: &str) -> bool {
    DestinationName::parse(text).is_some()
        && text.trim() == text
        && !text.starts_with(['[', '{', '"', '\''])
}

#[cfg(test)]
mod tests {
    use super::Settings;

    fn settings(text: &str) -> Settings {
        toml::from_str(text).unwrap()
    }

    #[test]
    fn the_defaults_are_valid_and_name_cfapi() {
        let settings = settings("");
        assert_eq!(settings.all_names()[0].as_str(), "CFAPI");
        assert_eq!(settings.validate(), []);
    }

    #[test]
    fn an_unknown_key_and_an_unknown_level_are_refused() {
        assert!(toml::from_str::<Settings>("naem = 'x'").is_err());
        assert!(toml::from_str::<Settings>("level = 'instance'").is_err());
        assert!(toml::from_str::<Settings>("level = 'subaccount'").is_ok());
    }

    #[test]
    fn every_finding_comes_at_once() {
        let findings = settings(
            "name = ''\nnames = ['1','2','3','4','5','6','7','8','9']\nallow_token_hosts = ['https://x']",
        )
        .validate();
        let fields: Vec<_> = findings.iter().map(|finding| finding.field).collect();
        assert_eq!(fields, ["name", "names", "allow_token_hosts"]);
    }

    #[test]
    fn a_name_given_twice_counts_once() {
        assert_eq!(settings("name = 'a'\nnames = ['b', 'a', 'b']").all_names().len(), 2);
    }
}
