//! Settings of the section `[auth]`. Gathered by `config`; used by this room only.
//!
//! Invariant: without any setting only the bound issuer's own callers get in, each within the limits of U5.

use super::{ias::IasSettings, scope_grants::AllowedClients};
use crate::binding::SettingFinding;

/// What an operator may say about callers; bounds are in `config/default.toml`.
#[derive(Clone, Debug, serde::Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    /// Further zones (subaccounts) whose tokens are accepted, besides the binding's own.
    pub zones: Vec<String>,
    /// Requests per second of one client id, in the long run.
    pub requests_per_second: u32,
    /// Requests of one client id after a rest.
    pub burst: u32,
    /// Requests of one client id that are being answered at once.
    pub max_in_flight: usize,
    /// Who may hold a scope, for scopes that are pinned.
    pub pins: AllowedClients,
    /// Identity Authentication as second issuer.
    pub ias: IasSettings,
    /// Whether a token must be bound to the certificate that the call came with.
    pub require_mtls: bool,
    /// Hosts on which the platform's router itself says which certificate a call came with.
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
    /// Judges the settings by themselves; an empty list means that all is well.
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
                "must name a host if require_mtls is on, or nobody could call",
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
