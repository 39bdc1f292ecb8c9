//! Checks a new route against the state. CC collects all faults and shows the first in this order:
//! domain, quota, host, path, port, and then the rest with raw texts. So a used-up quota hides a
//! taken host.

use crate::capi::route_form::RouteForm;
use crate::world::{Domain, Route, Space, WorldState, same_text};

/// The longest name in DNS.
const LONGEST_NAME: usize = 253;

/// Returns CC's complaint about the route, if there is one.
pub(crate) fn fault(
    state: &WorldState,
    form: &RouteForm,
    space: &Space,
    domain: &Domain,
) -> Option<String> {
    let org = state.org(&space.org).map_or("", |org| &org.name);
    if !domain.usable_by(&space.org) {
        return Some(format!(
            "Invalid domain. Domain '{}' is not available in organization '{org}'.",
            domain.name
        ));
    }
    quota_fault(state, form, space)
        .or_else(|| host_fault(state, form, domain))
        .or_else(|| path_fault(state, form, domain))
        .or_else(|| space_fault(state, form, space, domain))
}

fn quota_fault(state: &WorldState, form: &RouteForm, space: &Space) -> Option<String> {
    let org = state.org(&space.org)?;
    let of_org = |route: &&Route| {
        let space = state.space(&route.space);
        space.is_some_and(|space| space.org == org.guid)
    };
    let in_org = state.routes.iter().filter(of_org).count();
    let in_space = state.routes.iter().filter(|route| route.space == space.guid).count();
    if space.route_quota.is_some_and(|quota| in_space >= quota) {
        return Some(format!("Routes quota exceeded for space '{}'.", space.name));
    }
    if org.route_quota.is_some_and(|quota| in_org >= quota) {
        return Some(format!("Routes quota exceeded for organization '{}'.", org.name));
    }
    // No quota of this world has reserved ports. CC checks the quota before it checks whether the
    // domain takes ports (recorded).
    (form.port > 0)
        .then(|| format!("Reserved route ports quota exceeded for organization '{}'.", org.name))
}

fn host_fault(state: &WorldState, form: &RouteForm, domain: &Domain) -> Option<String> {
    let full = format!("{}.{}", form.host, domain.name);
    if !form.host.is_empty() && state.domains.iter().any(|other| same_text(&other.name, &full)) {
        return Some(format!("Route conflicts with domain '{full}'."));
    }
    let reserved = |(host, name): &(String, String)| *host == form.host && *name == domain.name;
    if state.reserved.iter().any(reserved) {
        return Some("Route conflicts with a reserved system route.".to_owned());
    }
    if domain.internal && form.is_wildcard() {
        return Some("Wildcard hosts are not supported for internal domains.".to_owned());
    }
    if domain.owner.is_none() && form.host.is_empty() {
        return Some("Missing host. Routes in shared domains must have a host defined.".to_owned());
    }
    if !form.host.is_empty() && full.chars().count() > LONGEST_NAME {
        return Some(
            "Host combined with domain name must be no more than 253 characters.".to_owned(),
        );
    }
    let taken =
        form.path.is_empty() && same_host(state, form, domain).any(|route| route.path.is_empty());
    taken.then(|| taken_text(form, domain))
}

fn path_fault(state: &WorldState, form: &RouteForm, domain: &Domain) -> Option<String> {
    if domain.internal && !form.path.is_empty() {
        return Some("Paths are not supported for internal domains.".to_owned());
    }
    if !is_uri_path(&form.path) {
        return Some("Path is invalid.".to_owned());
    }
    let taken = same_host(state, form, domain).any(|route| same_text(&route.path, &form.path));
    taken.then(|| taken_text(form, domain))
}

/// Refuses a host of a shared domain that another space uses with any path. The text is raw: CC has
/// no message for it (recorded).
fn space_fault(
    state: &WorldState,
    form: &RouteForm,
    space: &Space,
    domain: &Domain,
) -> Option<String> {
    let elsewhere = same_host(state, form, domain).any(|route| route.space != space.guid);
    (domain.owner.is_none() && elsewhere)
        .then(|| "domain_id and host host_and_domain_taken_different_space".to_owned())
}

/// Returns the routes with this host and domain, of all owners.
fn same_host<'a>(
    state: &'a WorldState,
    form: &'a RouteForm,
    domain: &'a Domain,
) -> impl Iterator<Item = &'a Route> {
    let routes = state.routes.iter();
    routes.filter(|route| route.domain == domain.guid && same_text(&route.host, &form.host))
}

/// Repeats the host as it was sent.
fn taken_text(form: &RouteForm, domain: &Domain) -> String {
    let with = match (form.host.as_str(), form.path.as_str()) {
        ("", "") => String::new(),
        ("", path) => format!(" with path '{path}'"),
        (host, "") => format!(" with host '{host}'"),
        (host, path) => format!(" with host '{host}' and path '{path}'"),
    };
    format!("Route already exists{with} for domain '{}'.", domain.name)
}

/// Tells whether the path is allowed in a URI (RFC 2396, as Ruby reads it). A fragment may follow.
fn is_uri_path(path: &str) -> bool {
    let mut fragments = 0;
    let mut letters = path.chars();
    while let Some(letter) = letters.next() {
        let good = match letter {
            '%' => {
                let mut hex = || letters.next().is_some_and(|digit| digit.is_ascii_hexdigit());
                hex() && hex()
            }
            '#' => {
                fragments += 1;
                fragments == 1
            }
            _ => letter.is_ascii_alphanumeric() || "-_.!~*'()/;:@&=+$,".contains(letter),
        };
        if !good {
            return false;
        }
    }
    true
}

#[cfg(test)]
mod tests {
    use super::is_uri_path;

    #[test]
    fn a_path_that_is_not_allowed_in_a_uri_is_found() {
        for path in ["", "/a%20b", "/a;b=c", "/a/b#c"] {
            assert!(is_uri_path(path), "{path}");
        }
        for path in ["/a b", "/a%2", "/é", "/a#b#c", "/<x>", "/a\0"] {
            assert!(!is_uri_path(path), "{path}");
        }
    }
}
