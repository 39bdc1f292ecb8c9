//! Settings of the section `[auth]`. `config` reads them; only this module uses them.
//!
//! Invariant: with the defaults only callers of the bound XSUAA are accepted, each within the
//! default limits.

use super::{
    Scope,
    caller::IAS_MARK,
    ias::{IasSettings, is_caller_name},
    scope_grants::AllowedClients,
};
use crate::{binding::SettingFinding, upstream::is_host};

/// Longest zone id; a guid has 36 characters.
const LONGEST_ZONE: usize = 64;
/// Longest client id: UAA stores no longer one.
const LONGEST_CLIENT_ID: usize = 255;

/// Settings about callers. Their bounds are in `config/default.toml`.
#[derive(Clone, Debug, serde::Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    /// Further zones (subaccounts) whose tokens are accepted, besides the binding's own.
    pub zones: Vec<String>,
    /// Requests per second of one caller, on average. A caller is a client id or, if the token is
    /// that of a person, a user of a client id.
    pub requests_per_second: u32,
    /// Requests of one caller at once after an idle time.
    pub burst: u32,
    /// Requests of one caller in flight.
    pub max_in_flight: usize,
    /// Requests of one client id that wait for jobs of CF; those of all its users together.
    pub max_waiting: usize,
    /// Limits of all users of one client id together.
    pub users: UsersSettings,
    /// The client ids that may use a scope, for scopes that are restricted.
    pub pins: AllowedClients,
    /// Identity Authentication as the second issuer.
    pub ias: IasSettings,
    /// Whether a token must be bound to the client certificate of the call.
    pub require_mtls: bool,
    /// Hosts on which the platform's router itself writes the client certificate into a header.
    pub cert_hosts: Vec<String>,
}

/// Limits of all users of one client id together. People share the client id of an approuter.
#[derive(Clone, Debug, serde::Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct UsersSettings {
    /// Requests per second, on average.
    pub requests_per_second: u32,
    /// Requests at once after an idle time.
    pub burst: u32,
    /// Requests in flight.
    pub max_in_flight: usize,
}

impl Default for UsersSettings {
    fn default() -> Self {
        Self { requests_per_second: 100, burst: 500, max_in_flight: 64 }
    }
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            zones: Vec::new(),
            requests_per_second: 20,
            burst: 100,
            max_in_flight: 16,
            max_waiting: 100,
            users: UsersSettings::default(),
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
        let UsersSettings { requests_per_second, burst, max_in_flight } = self.users;
        let is_rate = |rate: u32| (1..=100_000).contains(&rate);
        let is_burst = |burst: u32| (1..=1_000_000).contains(&burst);
        let is_count = |count: usize| (1..=4096).contains(&count);
        let (rate, burst_bounds, count) =
            ("must be 1 to 100000", "must be 1 to 1000000", "must be 1 to 4096");
        let bounds = [
            ("requests_per_second", is_rate(self.requests_per_second), rate),
            ("burst", is_burst(self.burst), burst_bounds),
            ("max_in_flight", is_count(self.max_in_flight), count),
            ("max_waiting", is_count(self.max_waiting), count),
            ("users.requests_per_second", is_rate(requests_per_second), rate),
            ("users.burst", is_burst(burst), burst_bounds),
            ("users.max_in_flight", is_count(max_in_flight), count),
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
            .chain(self.form_findings())
            .chain(self.ias.validate())
            .collect()
    }

    /// Checks the form of each entry of the lists.
    fn form_findings(&self) -> Vec<SettingFinding> {
        let finding = |field, wrong: &String, what: &str, hint: &str| SettingFinding {
            field,
            message: format!("{wrong:?} is not {what}"),
            hint: hint.to_owned(),
        };
        let zone = self.zones.iter().find(|zone| !is_zone(zone)).map(|wrong| {
            let hint = "name the id of each subaccount: letters, digits, -, _ and .";
            finding("zones", wrong, "the id of a zone", hint)
        });
        let host = self.cert_hosts.iter().find(|host| !is_host(host)).map(|wrong| {
            let hint = "write host names without scheme and path, such as broker.cert.example.com";
            finding("cert_hosts", wrong, "a host name", hint)
        });
        let pins = Scope::ALL.into_iter().filter_map(|scope| {
            let wrong = self.pins.0.of(scope).iter().find(|client| !is_client_id(client))?;
            let hint =
                "write the client id as it is in cid of the token, such as sb-bookshop!t4711";
            Some(finding(pin_field(scope), wrong, "a client id", hint))
        });
        zone.into_iter().chain(host).chain(pins).collect()
    }
}

/// Returns whether a text can be the id of a zone: a subaccount's guid, or a shorter name.
fn is_zone(text: &str) -> bool {
    (1..=LONGEST_ZONE).contains(&text.len())
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte))
}

/// Returns whether a text can be a verified client id: XSUAA's `cid`, or `ias:<app_tid>:<client>`.
pub fn is_client_id(text: &str) -> bool {
    let is_ias = text.starts_with(IAS_MARK);
    let is_xsuaa = || (1..=LONGEST_CLIENT_ID).contains(&text.len()) && is_plain(text);
    if is_ias { is_caller_name(text) } else { is_xsuaa() }
}

/// Returns whether a text has only characters of client ids: no blank, and none of a list that was
/// not read as one or of a placeholder.
pub(super) fn is_plain(text: &str) -> bool {
    /// In no client id.
    const FOREIGN: &[u8] = b"\"'`[]{}<>,;\\";
    text.bytes().all(|byte| byte.is_ascii_graphic() && !FOREIGN.contains(&byte))
}

fn pin_field(scope: Scope) -> &'static str {
    match scope {
        Scope::RoutesRead => "pins.routes_read",
        Scope::RoutesWrite => "pins.routes_write",
        Scope::RoutesAdmin => "pins.routes_admin",
        Scope::ApiProxy => "pins.api_proxy",
        Scope::SpacesRead => "pins.spaces_read",
        Scope::MetricsRead => "pins.metrics_read",
    }
}
