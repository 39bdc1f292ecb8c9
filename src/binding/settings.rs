//! Settings of the section `[binding]`. Read by `config`; used by this module only.

use std::path::PathBuf;

/// Which binding the settings name, by binding or instance name, and self-managed X.509 key files.
#[derive(Clone, Debug, Default, serde::Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    /// Name of the Destination service's binding or instance; only needed where several are bound.
    pub destination: Option<String>,
    /// Name of the XSUAA binding or instance.
    pub xsuaa: Option<String>,
    /// Name of the Identity Authentication binding or instance.
    pub identity: Option<String>,
    /// Name of the user-provided service with the keys of the login.
    pub login: Option<String>,
    /// PEM certificate chain of a self-managed X.509 credential whose binding holds none.
    pub certificate_file: Option<PathBuf>,
    /// PEM key of a self-managed X.509 credential.
    pub key_file: Option<PathBuf>,
}

/// What is wrong with a setting, in the section of any module.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SettingFinding {
    /// The field within the module's section.
    pub field: &'static str,
    /// What is wrong.
    pub message: String,
    /// What to do.
    pub hint: String,
}

impl Settings {
    /// Checks the settings by themselves; an empty list means that all is well.
    pub fn validate(&self) -> Vec<SettingFinding> {
        let names = [
            ("destination", self.destination.as_deref()),
            ("xsuaa", self.xsuaa.as_deref()),
            ("identity", self.identity.as_deref()),
            ("login", self.login.as_deref()),
        ];
        let empty = names.into_iter().filter(|(_, name)| name.is_some_and(str::is_empty));
        empty
            .map(|(field, _)| SettingFinding {
                field,
                message: "is empty".to_owned(),
                hint: "name a binding or an instance, or remove it".to_owned(),
            })
            .collect()
    }
}
