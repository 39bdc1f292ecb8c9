//! Lists of names by scope: the form of all settings with one list for each scope.
//!
//! Invariant: names are compared exactly. Pure. For the settings and rules of this module.

use super::Scope;

/// One list of names for each scope.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ScopeGrants {
    /// For `Routes.Read`.
    pub routes_read: Vec<String>,
    /// For `Routes.Write`.
    pub routes_write: Vec<String>,
    /// For `Routes.Admin`.
    pub routes_admin: Vec<String>,
    /// For `Api.Proxy`.
    pub api_proxy: Vec<String>,
    /// For `Spaces.Read`.
    pub spaces_read: Vec<String>,
    /// For `Metrics.Read`.
    pub metrics_read: Vec<String>,
}

impl ScopeGrants {
    /// The names listed for a scope.
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

    /// Whether a name is listed for a scope.
    pub(super) fn contains(&self, scope: Scope, name: &str) -> bool {
        self.of(scope).iter().any(|listed| listed == name)
    }

    /// Every listed name, with repetitions.
    pub(super) fn names(&self) -> impl Iterator<Item = &str> {
        Scope::ALL.into_iter().flat_map(|scope| self.of(scope)).map(String::as_str)
    }
}

/// The client ids that may use a scope (`auth.pins`). It only restricts. A scope with an empty list
/// is not restricted.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Deserialize)]
#[serde(transparent)]
pub struct AllowedClients(pub ScopeGrants);

impl AllowedClients {
    /// Whether this verified client id may use a scope that its token grants.
    pub(super) fn allow(&self, scope: Scope, client_id: &str) -> bool {
        self.0.of(scope).is_empty() || self.0.contains(scope, client_id)
    }

    /// Splits what a token grants into the scopes that this client may use, and the others.
    pub(super) fn split(&self, granted: Vec<Scope>, client_id: &str) -> (Vec<Scope>, Vec<Scope>) {
        granted.into_iter().partition(|scope| self.allow(*scope, client_id))
    }
}

#[cfg(test)]
impl ScopeGrants {
    /// Grants with these names for one scope, for tests.
    pub(super) fn only(scope: Scope, names: &[&str]) -> Self {
        let mut grants = Self::default();
        let list = match scope {
            Scope::RoutesRead => &mut grants.routes_read,
            Scope::RoutesWrite => &mut grants.routes_write,
            Scope::RoutesAdmin => &mut grants.routes_admin,
            Scope::ApiProxy => &mut grants.api_proxy,
            Scope::SpacesRead => &mut grants.spaces_read,
            Scope::MetricsRead => &mut grants.metrics_read,
        };
        list.extend(names.iter().map(|name| (*name).to_owned()));
        grants
    }
}

#[cfg(test)]
mod tests {
    use super::{AllowedClients, ScopeGrants};
    use crate::auth::Scope;

    #[test]
    fn a_list_restricts_its_own_scope_only() {
        let allowed = |scope: Scope| AllowedClients(ScopeGrants::only(scope, &["sb-a!t1"]));
        for listed in Scope::ALL {
            for scope in Scope::ALL {
                assert!(allowed(listed).allow(scope, "sb-a!t1"));
                assert_eq!(allowed(listed).allow(scope, "sb-b!t1"), scope != listed);
            }
        }
    }

    #[test]
    fn client_ids_are_compared_exactly() {
        let allowed = AllowedClients(ScopeGrants::only(Scope::ApiProxy, &["sb-a!t1"]));
        for other in ["", "SB-A!T1", "sb-a!t1 ", "sb-a!t10", "b-a!t1"] {
            assert!(!allowed.allow(Scope::ApiProxy, other), "{other}");
        }
    }
}
