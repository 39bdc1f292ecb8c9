//! Which client ids may use a scope at all (rule A12).
//!
//! Invariant: a pin only takes away; a scope without a list is left to the issuer alone. Pure. For the issuers of this room.

use super::{Scope, ScopeLists};

/// Client ids by scope; an empty list pins nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Deserialize)]
#[serde(transparent)]
pub struct Pins(pub ScopeLists);

impl Pins {
    /// Whether this verified client id may use the scope that its token holds.
    pub(super) fn allow(&self, scope: Scope, client_id: &str) -> bool {
        self.0.of(scope).is_empty() || self.0.holds(scope, client_id)
    }
}

#[cfg(test)]
mod tests {
    use super::{Pins, ScopeLists};
    use crate::auth::Scope;

    #[test]
    fn a_list_pins_its_own_scope_and_no_list_pins_nothing() {
        let pins = |scope: Scope| Pins(ScopeLists::only(scope, &["sb-a!t1"]));
        for pinned in Scope::ALL {
            for scope in Scope::ALL {
                assert!(pins(pinned).allow(scope, "sb-a!t1"));
                assert_eq!(pins(pinned).allow(scope, "sb-b!t1"), scope != pinned);
            }
        }
    }

    #[test]
    fn a_client_id_is_pinned_exactly() {
        let pins = Pins(ScopeLists::only(Scope::ApiProxy, &["sb-a!t1"]));
        for other in ["", "SB-A!T1", "sb-a!t1 ", "sb-a!t10", "b-a!t1"] {
            assert!(!pins.allow(Scope::ApiProxy, other), "{other}");
        }
    }
}
