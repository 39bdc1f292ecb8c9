//! Settings of the section `[auth.ias]`. `config` reads them; the rules for IAS tokens use them.
//!
//! Invariant: by default IAS is off. When enabled, it grants scopes only to names that are listed.

use super::rules::{is_caller_name, is_tenant_id};
use crate::{
    auth::{Scope, ScopeGrants},
    binding::SettingFinding,
};

/// Settings about callers with IAS tokens. Their bounds are in `config/default.toml`.
#[derive(Clone, Debug, Default, serde::Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct IasSettings {
    /// Whether IAS tokens are accepted. Needs an identity binding.
    pub enabled: bool,
    /// Further tenants (`app_tid`) whose tokens are accepted, besides the binding's own.
    pub tenants: Vec<String>,
    /// Names of APIs (`ias_apis`) that grant a scope.
    pub apis: ScopeGrants,
    /// Callers (`ias:<app_tid>:<client>`) that have a scope, whatever their tokens contain.
    pub clients: ScopeGrants,
}

impl IasSettings {
    /// Checks the settings. An empty list means that all are valid.
    pub(in crate::auth) fn validate(&self) -> Vec<SettingFinding> {
        let mut findings = Vec::new();
        let mut check = |names: &[String], field, is_right: fn(&str) -> bool, what, hint: &str| {
            if let Some(wrong) = names.iter().find(|name| !is_right(name)) {
                let message = format!("{wrong:?} is not {what}");
                findings.push(SettingFinding { field, message, hint: hint.to_owned() });
            }
        };
        let hint = "name the app_tid of each tenant: letters, digits, - and _";
        check(&self.tenants, "ias.tenants", is_tenant_id, "a tenant", hint);
        for scope in Scope::ALL {
            let [apis, clients] = fields(scope);
            let hint = "name APIs of the IAS application, without blanks";
            check(self.apis.of(scope), apis, is_api_name, "the name of an API", hint);
            let hint = "write ias:<app_tid>:<client> with the tenant (app_tid) and the client id \
                        (azp) of the caller";
            check(self.clients.of(scope), clients, is_caller_name, "a caller", hint);
        }
        findings
    }
}

/// Whether a text is the name of an API. One with blanks is a list that was not read as one.
fn is_api_name(text: &str) -> bool {
    !text.is_empty() && !text.contains(char::is_whitespace)
}

/// The setting keys of both lists for a scope.
fn fields(scope: Scope) -> [&'static str; 2] {
    match scope {
        Scope::RoutesRead => ["ias.apis.routes_read", "ias.clients.routes_read"],
        Scope::RoutesWrite => ["ias.apis.routes_write", "ias.clients.routes_write"],
        Scope::RoutesAdmin => ["ias.apis.routes_admin", "ias.clients.routes_admin"],
        Scope::ApiProxy => ["ias.apis.api_proxy", "ias.clients.api_proxy"],
        Scope::SpacesRead => ["ias.apis.spaces_read", "ias.clients.spaces_read"],
        Scope::MetricsRead => ["ias.apis.metrics_read", "ias.clients.metrics_read"],
    }
}
