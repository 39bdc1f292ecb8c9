//! Which client ids may use a scope at all (rule A12).
//!
//! Invariant: a pin only takes away; a scope without a list is left to XSUAA alone. Pure. For the issuers of this room.

use super::Scope;

/// Client ids by scope; an empty list pins nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Pins {
    /// Who may hold `Routes.Read`.
    pub routes_read: Vec<String>,
    /// Who may hold `Routes.Write`.
    pub routes_write: Vec<String>,
    /// Who may hold `Routes.Admin`.
    pub routes_admin: Vec<String>,
    /// Who may hold `Api.Proxy`.
    pub api_proxy: Vec<String>,
    /// Who may hold `Spaces.Read`.
    pub spaces_read: Vec<String>,
    /// Who may hold `Metrics.Read`.
    pub metrics_read: Vec<String>,
}

impl Pins {
    /// Whether this verified client id may use the scope that its token holds.
    pub(super) fn allow(&self, scope: Scope, client_id: &str) -> bool {
        let list = self.of(scope);
        list.is_empty() || list.iter().any(|pinned| pinned == client_id)
    }

    /// The client ids listed for a scope.
    pub(super) fn of(&self, scope: Scope) -> &[String] {
        match scope {
            Scope::RoutesRead => &self.routes_read,
            Scope::RoutesWrite => &self.routes_write,
            Scope::RoutesAdmin => &self.routes_admin,
            Scope::ApiProxy => &self.api_proxy,
            Scope::SpacesRead => &self.spaces_read,
            Scope::MetricsRead => &self.metrics_read,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Pins;
    use crate::auth::Scope;

    #[test]
    fn a_list_pins_its_own_scope_and_no_list_pins_nothing() {
        let pins = |scope: Scope| {
            let list = vec!["sb-a!t1".to_owned()];
            let mut pins = Pins::default();
            match scope {
                Scope::RoutesRead => pins.routes_read = list,
                Scope::RoutesWrite => pins.routes_write = list,
                Scope::RoutesAdmin => pins.routes_admin = list,
                Scope::ApiProxy => pins.api_proxy = list,
                Scope::SpacesRead => pins.spaces_read = list,
                Scope::MetricsRead => pins.metrics_read = list,
            }
            pins
        };
        for pinned in Scope::ALL {
            for scope in Scope::ALL {
                assert!(pins(pinned).allow(scope, "sb-a!t1"));
                assert_eq!(pins(pinned).allow(scope, "sb-b!t1"), scope != pinned);
            }
        }
    }

    #[test]
    fn a_client_id_is_pinned_exactly() {
        let pins = Pins { api_proxy: vec!["sb-a!t1".to_owned()], ..Pins::default() };
        for other in ["", "SB-A!T1", "sb-a!t1 ", "sb-a!t10", "b-a!t1"] {
            assert!(!pins.allow(Scope::ApiProxy, other), "{other}");
        }
    }
}
