//! What one caller may use: space, domains, apps, hosts, and the marks of its ownership.
//!
//! Invariant: made from the caller's provider entry only; nothing that the caller sends widens it.
//! Made in `routes`.

use std::collections::BTreeMap;

/// The limits of one caller's writes that are known without asking CF.
#[derive(Clone, Debug, Default)]
pub struct Outline {
    /// Guid of the only space; `None` where the entry does not name it by guid.
    pub space: Option<String>,
    /// Allowed forms of a host; one of them must match.
    pub hosts: Vec<HostShape>,
    /// Hosts that no caller may use: the broker's own, and names that users take for the
    /// platform's.
    pub refused_hosts: Vec<String>,
    /// Prefix of the broker's labels and annotations; callers may not write those.
    pub reserved_prefix: String,
}

/// The limits of one caller's writes.
#[derive(Clone, Debug)]
pub struct Bounds {
    /// Guid of the only space.
    pub space: String,
    /// Guids of the domains.
    pub domains: Vec<String>,
    /// The apps.
    pub apps: AppBounds,
    /// Forms of hosts and exceptions; all names are resolved.
    pub outline: Outline,
    /// Labels and annotations that name the owner of a route.
    pub marks: OwnerMarks,
    /// What is allowed for routes without ownership marks.
    pub legacy: Legacy,
}

/// The apps that may be mapped.
#[derive(Clone, Debug)]
pub enum AppBounds {
    /// The apps with these guids.
    Listed(Vec<String>),
    /// Every app of the space except the broker itself, by name (CF ignores case) and guid.
    AnyBut {
        /// The broker's name, if known.
        name: Option<String>,
        /// The broker's guid, if known.
        guid: Option<String>,
    },
}

/// The marks of the caller's routes.
#[derive(Clone, Debug)]
pub struct OwnerMarks {
    /// Prefix of all of them.
    pub prefix: String,
    /// Labels of a new route.
    pub labels: BTreeMap<String, String>,
    /// Annotations of a new route.
    pub annotations: BTreeMap<String, String>,
    /// The label that names the owner; a route without it has no owner.
    pub owner_label: (String, String),
    /// The annotation that must match as well: the hash in the label alone proves nothing.
    pub owner_annotation: (String, String),
}

/// Whether unmarked routes of the caller's apps count as the caller's.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Legacy {
    /// For mapping further apps.
    pub map: bool,
    /// For deleting.
    pub delete: bool,
}

/// The form of a host: fixed texts, and between them the part that differs by tenant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HostShape(Vec<HostPiece>);

/// One part of a [`HostShape`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HostPiece {
    /// Exactly this text.
    Text(String),
    /// At least one character.
    Any,
}

impl HostShape {
    /// Makes a shape from its pieces.
    pub fn new(pieces: Vec<HostPiece>) -> Self {
        Self(pieces)
    }

    /// Returns whether a host has this form.
    pub(super) fn fits(&self, host: &str) -> bool {
        fits(&self.0, host)
    }
}

/// Tries every position for the text after an open piece: hosts have at most 63 characters,
/// templates have few pieces.
fn fits(pieces: &[HostPiece], host: &str) -> bool {
    match pieces.split_first() {
        None => host.is_empty(),
        Some((HostPiece::Text(text), rest)) => {
            host.strip_prefix(text.as_str()).is_some_and(|host| fits(rest, host))
        }
        Some((HostPiece::Any, [])) => !host.is_empty(),
        Some((HostPiece::Any, rest)) => {
            let mut ends = host.char_indices().skip(1).map(|(at, _)| at);
            ends.any(|at| host.get(at..).is_some_and(|host| fits(rest, host)))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{HostPiece, HostShape};
    use rstest::rstest;

    fn shape(text: &str) -> HostShape {
        let piece = |part: &str| match part {
            "*" => HostPiece::Any,
            text => HostPiece::Text(text.to_owned()),
        };
        HostShape::new(text.split(' ').map(piece).collect())
    }

    #[rstest]
    #[case("* -app", "acme-app", true)]
    #[case("* -app", "-app", false)]
    #[case("* -app", "acme-apps", false)]
    #[case("* -app", "acme-app-app", true)]
    #[case("pre- *", "pre-acme", true)]
    #[case("pre- *", "pre-", false)]
    #[case("pre- *", "acme", false)]
    #[case("*", "acme", true)]
    #[case("* - *", "a-b", true)]
    #[case("* - *", "a-", false)]
    #[case("* - *", "ab", false)]
    #[case("* -dev- * -x", "a-dev-b-dev-c-x", true)]
    #[case("* -dev- * -x", "a-dev-x", false)]
    fn a_host_fits_its_shape(#[case] text: &str, #[case] host: &str, #[case] expected: bool) {
        assert_eq!(shape(text).fits(host), expected);
    }
}
