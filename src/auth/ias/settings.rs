//! Settings of the section `[auth.ias]`. `config` reads them; the rules for IAS tokens use them.
//!
//! Invariant: by default IAS is off. When enabled, it grants scopes only to names that are listed.

use super::{domains::is_tenant_name, rules::is_caller_name};
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
        let mut demand = |is_met: bool, field, message: &str, hint: &str| {
            if !is_met {
                let (message, hint) = (message.to_owned(), hint.to_owned());
                findings.push(SettingFinding { field, message, hint });
            }
        };
        demand(
            self.tenants.iter().all(|tenant| is_tenant_name(tenant)),
            "ias.tenants",
            "must contain texts of 1 to 256 printable characters without colon",
            "name the app_tid of each tenant",
        );
        for scope in Scope::ALL {
            let [apis, clients] = fields(scope);
            let is_filled = self.apis.of(scope).iter().all(|name| !name.is_empty());
            demand(is_filled, apis, "contains an empty name", "name APIs of the IAS application");
            demand(
                self.clients.of(scope).iter().all(|name| is_caller_name(name)),
                clients,
                "must contain callers of the form ias:<app_tid>:<client>",
                "write the tenant (app_tid) and the client id (azp) of the caller",
            );
        }
        findings
    }
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
