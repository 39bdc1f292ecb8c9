//! Names by scope: the form of every setting that says something for each of the six.
//!
//! Invariant: a name matches exactly. Pure. For the settings and rules of this room.

use super::Scope;

/// One list of names for each scope.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ScopeLists {
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

impl ScopeLists {
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
    pub(super) fn holds(&self, scope: Scope, name: &str) -> bool {
        self.of(scope).iter().any(|listed| listed == name)
    }

    /// Every listed name, with repetitions.
    pub(super) fn names(&self) -> impl Iterator<Item = &str> {
        Scope::ALL.into_iter().flat_map(|scope| self.of(scope)).map(String::as_str)
    }
}

#[cfg(test)]
impl ScopeLists {
    /// Lists with these names for one scope, for tests.
    pub(super) fn only(scope: Scope, names: &[&str]) -> Self {
        let mut lists = Self::default();
        let list = match scope {
            Scope::RoutesRead => &mut lists.routes_read,
            Scope::RoutesWrite => &mut lists.routes_write,
            Scope::RoutesAdmin => &mut lists.routes_admin,
            Scope::ApiProxy => &mut lists.api_proxy,
            Scope::SpacesRead => &mut lists.spaces_read,
            Scope::MetricsRead => &mut lists.metrics_read,
        };
        list.extend(names.iter().map(|name| (*name).to_owned()));
        lists
    }
}
