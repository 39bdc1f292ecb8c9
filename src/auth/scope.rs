//! The six scopes of the broker.
//!
//! Invariant: the names are those of `config/xs-security.json`. Used by every module that checks
//! permissions.

/// A permission of a caller. XSUAA grants it under the broker's `xsappname`; for IAS the settings
/// grant it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Scope {
    /// See the caller's tenant routes.
    RoutesRead,
    /// Create, repair and delete the caller's tenant routes.
    RoutesWrite,
    /// Act for another owner, force a reconcile, retry a destination.
    RoutesAdmin,
    /// Use `/v3`, within the allow list.
    ApiProxy,
    /// See spaces and the state of the destinations.
    SpacesRead,
    /// Read `/metrics`.
    MetricsRead,
}

impl Scope {
    /// Every scope.
    pub const ALL: [Scope; 6] = [
        Scope::RoutesRead,
        Scope::RoutesWrite,
        Scope::RoutesAdmin,
        Scope::ApiProxy,
        Scope::SpacesRead,
        Scope::MetricsRead,
    ];

    /// Returns the local name, `Routes.Read` and so on.
    pub fn name(self) -> &'static str {
        match self {
            Self::RoutesRead => "Routes.Read",
            Self::RoutesWrite => "Routes.Write",
            Self::RoutesAdmin => "Routes.Admin",
            Self::ApiProxy => "Api.Proxy",
            Self::SpacesRead => "Spaces.Read",
            Self::MetricsRead => "Metrics.Read",
        }
    }

    /// Returns the role of `config/xs-security.json` that gives it to a person. `Api.Proxy` is for
    /// applications only.
    pub fn role(self) -> Option<&'static str> {
        match self {
            Self::SpacesRead => Some("SpacesViewer"),
            Self::RoutesRead | Self::RoutesWrite | Self::RoutesAdmin => Some("RoutesAdministrator"),
            Self::MetricsRead => Some("MetricsViewer"),
            Self::ApiProxy => None,
        }
    }

    /// Reads an element of a token's `scope`. It must be exactly `{application}.{name}`.
    pub(super) fn read(element: &str, application: &str) -> Option<Self> {
        let local = element.strip_prefix(application)?.strip_prefix('.')?;
        Self::ALL.into_iter().find(|scope| scope.name() == local)
    }
}

#[cfg(test)]
mod tests {
    use super::Scope;
    use rstest::rstest;

    #[rstest]
    #[case("app!t1.Routes.Read", Some(Scope::RoutesRead))]
    #[case("app!t1.Metrics.Read", Some(Scope::MetricsRead))]
    #[case("app!t1.routes.read", None)]
    #[case("app!t1.Routes.Read.x", None)]
    #[case("app!t1Routes.Read", None)]
    #[case("app!t1..Routes.Read", None)]
    #[case("x.app!t1.Routes.Read", None)]
    #[case("$XSAPPNAME.Routes.Read", None)]
    #[case("Routes.Read", None)]
    #[case("", None)]
    fn only_the_exact_element_grants(#[case] element: &str, #[case] expected: Option<Scope>) {
        assert_eq!(Scope::read(element, "app!t1"), expected);
    }

    #[test]
    fn each_scope_is_read_back_from_its_own_name() {
        for scope in Scope::ALL {
            let element = format!("app!t1.{}", scope.name());
            assert_eq!(Scope::read(&element, "app!t1"), Some(scope));
        }
    }

    #[test]
    fn each_role_of_the_security_descriptor_gives_its_scopes() {
        let descriptor = include_str!("../../config/xs-security.json");
        let descriptor: serde_json::Value = descriptor.parse().unwrap();
        for scope in Scope::ALL {
            let element = format!("$XSAPPNAME.{}", scope.name());
            let templates = descriptor["role-templates"].as_array().unwrap();
            let gives = |template: &&serde_json::Value| {
                template["scope-references"].as_array().unwrap().iter().any(|it| *it == element)
            };
            let roles: Vec<_> = templates.iter().filter(gives).map(|it| &it["name"]).collect();
            assert_eq!(roles, Vec::from_iter(scope.role()), "{element}");
        }
    }
}
