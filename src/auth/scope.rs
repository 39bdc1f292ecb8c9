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
}
