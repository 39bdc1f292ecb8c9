//! Settings of the section `[auth]`. `config` reads them; only this module uses them.
//!
//! Invariant: with the defaults only callers of the bound XSUAA are accepted, each within the
//! default limits.

use super::{ias::IasSettings, scope_grants::AllowedClients};
use crate::binding::SettingFinding;

/// Settings about callers. Their bounds are in `config/default.toml`.
#[derive(Clone, Debug, serde::Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    /// Further zones (subaccounts) whose tokens are accepted, besides the binding's own.
    pub zones: Vec<String>,
    /// Requests per second of one client id, on average.
    pub requests_per_second: u32,
    /// Requests of one client id at once after an idle time.
    pub burst: u32,
    /// Requests of one client id in flight.
    pub max_in_flight: usize,
    /// The client ids that may use a scope, for scopes that are restricted.
    pub pins: AllowedClients,
    /// Identity Authentication as the second issuer.
    pub ias: IasSettings,
    /// Whether a token must be bound to the client certificate of the call.
    pub require_mtls: bool,
    /// Hosts on which the platform's router itself writes the client certificate into a header.
    pub cert_hosts: Vec<String>,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            zones: Vec::new(),
            requests_per_second: 20,
            burst: 100,
            max_in_flight: 16,
            pins: AllowedClients::default(),
            ias: IasSettings::default(),
            require_mtls: false,
            cert_hosts: Vec::new(),
        }
    }
}

impl Settings {
    /// Checks the settings. An empty list means that all are valid.
    pub fn validate(&self) -> Vec<SettingFinding> {
        let bounds = [
            (
                "requests_per_second",
                (1..=100_000).contains(&self.requests_per_second),
                "must be 1 to 100000",
            ),
            ("burst", (1..=1_000_000).contains(&self.burst), "must be 1 to 1000000"),
            ("max_in_flight", (1..=4096).contains(&self.max_in_flight), "must be 1 to 4096"),
            (
                "cert_hosts",
                !self.require_mtls || !self.cert_hosts.is_empty(),
                "must name a host if require_mtls is on, else no call is accepted",
            ),
        ];
        let broken = bounds.into_iter().filter(|(_, is_kept, _)| !is_kept);
        broken
            .map(|(field, _, message)| SettingFinding {
                field,
                message: message.to_owned(),
                hint: String::new(),
            })
            .chain(self.ias.validate())
            .collect()
    }
}
