//! Turns method and path into a call. Repeated slashes and a slash at the end are dropped. Segments
//! are decoded after the split. `..` is a normal name (recorded: `/v3/spaces/../routes` is
//! unknown).

use http::Method;
use percent_encoding::percent_decode_str;

use crate::capi::empty_lists::EmptyList;

/// A call of the API.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum ApiCall {
    /// Needs no token.
    Open(OpenCall),
    /// Needs a good token.
    Guarded(GuardedCall),
}

/// A call that needs no token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum OpenCall {
    Root,
    V3Root,
    Info,
    Health,
    V2Info,
    /// The real API has it, the sandbox does not.
    Uncovered,
    /// No such path or method under `/v3`.
    Unknown,
    /// No such path outside `/v3`.
    UnknownOld,
}

/// A call that needs a token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum GuardedCall {
    Spaces,
    Space(String),
    DeleteUnmappedRoutes(String),
    Orgs,
    Org(String),
    OrgDomains(String),
    DefaultDomain(String),
    OrgQuota(String),
    SpaceQuota(String),
    OrgUsage(String),
    SpaceUsage(String),
    DefaultIsolationSegment(String),
    IsolationSegment(String),
    Domains,
    Domain(String),
    Reservations(String),
    Apps,
    App(String),
    AppRoutes(String),
    Processes,
    AppProcesses(String),
    /// The guid of a process, or of an app with the type of its process.
    Process(String, Option<String>),
    Stats(String, Option<String>),
    Instances(String),
    AppEnv(String),
    PatchApp(String),
    OrgQuotas,
    SpaceQuotas,
    FeatureFlags,
    FeatureFlag(String),
    Stacks,
    Roles,
    OneRole(String),
    Users,
    OneUser(String),
    /// A list of what this world does not have, with the guid of what it would belong to.
    Empty(&'static EmptyList, String),
    RouteBindings,
    Routes,
    CreateRoute,
    Route(String),
    PatchRoute(String),
    DeleteRoute(String),
    Targets(String),
    AddTargets(String),
    ReplaceTargets(String),
    PatchTarget(String, String),
    DeleteTarget(String, String),
    /// Every call on shared spaces and on the owner of a route. The flag `route_sharing` switches
    /// them off.
    Sharing,
    Job(String),
}

/// What the real API has in addition, by the first segment under `/v3`. The three lists below name
/// what follows the guid of a space, an organisation or an app.
const FURTHER: &[&str] = &[
    "app_usage_events",
    "audit_events",
    "buildpacks",
    "builds",
    "deployments",
    "droplets",
    "environment_variable_groups",
    "feature_flags",
    "isolation_segments",
    "organization_quotas",
    "packages",
    "processes",
    "resource_matches",
    "revisions",
    "roles",
    "route_policies",
    "security_groups",
    "service_brokers",
    "service_credential_bindings",
    "service_instances",
    "service_offerings",
    "service_plans",
    "service_route_bindings",
    "service_usage_events",
    "sidecars",
    "space_quotas",
    "stacks",
    "tasks",
    "users",
];
const FURTHER_OF_SPACES: &[&str] = &[
    "features",
    "actions",
    "manifest_diff",
    "relationships",
    "running_security_groups",
    "staging_security_groups",
    "usage_summary",
    "users",
];
const FURTHER_OF_ORGS: &[&str] = &["relationships", "usage_summary", "users"];
const FURTHER_OF_APPS: &[&str] = &[
    "actions",
    "builds",
    "deployments",
    "droplets",
    "env",
    "environment_variables",
    "features",
    "manifest",
    "packages",
    "permissions",
    "processes",
    "relationships",
    "revisions",
    "sidecars",
    "ssh_enabled",
    "tasks",
];

impl ApiCall {
    /// Reads the call. HEAD counts as GET.
    pub(crate) fn read(method: &Method, path: &str) -> Self {
        let segments: Vec<String> = path
            .split('/')
            .filter(|segment| !segment.is_empty())
            .map(|segment| percent_decode_str(segment).decode_utf8_lossy().into_owned())
            .collect();
        let segments: Vec<&str> = segments.iter().map(String::as_str).collect();
        let method = if method == Method::HEAD { "GET" } else { method.as_str() };
        match segments.as_slice() {
            ["v3", rest @ ..] => Self::v3(method, rest),
            [] if method == "GET" => Self::Open(OpenCall::Root),
            ["healthz"] if method == "GET" => Self::Open(OpenCall::Health),
            ["v2", "info"] if method == "GET" => Self::Open(OpenCall::V2Info),
            ["v2", ..] => Self::Open(OpenCall::Uncovered),
            _ => Self::Open(OpenCall::UnknownOld),
        }
    }

    fn v3(method: &str, segments: &[&str]) -> Self {
        let owned = |guid: &&str| (*guid).to_owned();
        match (method, segments) {
            ("GET", []) => Self::Open(OpenCall::V3Root),
            ("GET", ["info"]) => Self::Open(OpenCall::Info),
            ("GET", ["spaces"]) => Self::Guarded(GuardedCall::Spaces),
            ("GET", ["spaces", guid]) => Self::Guarded(GuardedCall::Space(owned(guid))),
            ("DELETE", ["spaces", guid, "routes"]) => {
                Self::Guarded(GuardedCall::DeleteUnmappedRoutes(owned(guid)))
            }
            ("GET", ["organizations", ..]) => {
                Self::organizations(segments).unwrap_or_else(|| Self::rest(method, segments))
            }
            ("GET", ["service_route_bindings"]) => Self::Guarded(GuardedCall::RouteBindings),
            ("GET", ["organization_quotas", guid]) => {
                Self::Guarded(GuardedCall::OrgQuota(owned(guid)))
            }
            ("GET", ["spaces", guid, "relationships", "isolation_segment"]) => {
                Self::Guarded(GuardedCall::IsolationSegment(owned(guid)))
            }
            ("GET", ["space_quotas", guid]) => Self::Guarded(GuardedCall::SpaceQuota(owned(guid))),
            ("GET", ["spaces", guid, "usage_summary"]) => {
                Self::Guarded(GuardedCall::SpaceUsage(owned(guid)))
            }
            ("GET", ["domains"]) => Self::Guarded(GuardedCall::Domains),
            ("GET", ["domains", guid]) => Self::Guarded(GuardedCall::Domain(owned(guid))),
            ("GET", ["domains", guid, "route_reservations"]) => {
                Self::Guarded(GuardedCall::Reservations(owned(guid)))
            }
            ("GET", ["apps"]) => Self::Guarded(GuardedCall::Apps),
            ("GET", ["apps", guid]) => Self::Guarded(GuardedCall::App(owned(guid))),
            ("GET", ["apps", guid, "routes"]) => Self::Guarded(GuardedCall::AppRoutes(owned(guid))),
            ("GET", ["jobs", guid]) => Self::Guarded(GuardedCall::Job(owned(guid))),
            (_, ["routes", rest @ ..]) => Self::routes(method, rest),
            ("GET", ["processes", ..] | ["apps", _, "processes", ..]) => {
                Self::processes(segments).unwrap_or_else(|| Self::rest(method, segments))
            }
            ("GET", ["apps", guid, "env"]) => Self::Guarded(GuardedCall::AppEnv(owned(guid))),
            ("PATCH", ["apps", guid]) => Self::Guarded(GuardedCall::PatchApp(owned(guid))),
            ("GET", ["organization_quotas"]) => Self::Guarded(GuardedCall::OrgQuotas),
            ("GET", ["space_quotas"]) => Self::Guarded(GuardedCall::SpaceQuotas),
            ("GET", ["feature_flags"]) => Self::Guarded(GuardedCall::FeatureFlags),
            ("GET", ["feature_flags", name]) => {
                Self::Guarded(GuardedCall::FeatureFlag(owned(name)))
            }
            ("GET", ["stacks"]) => Self::Guarded(GuardedCall::Stacks),
            ("GET", ["roles" | "users", ..]) => {
                Self::users(segments).unwrap_or_else(|| Self::rest(method, segments))
            }
            _ => Self::rest(method, segments),
        }
    }

    /// Returns the read of organisations; `None` if it is not one that is imitated.
    fn organizations(segments: &[&str]) -> Option<Self> {
        let owned = |guid: &&str| (*guid).to_owned();
        let call = match segments {
            [_] => GuardedCall::Orgs,
            [_, guid] => GuardedCall::Org(owned(guid)),
            [_, guid, "usage_summary"] => GuardedCall::OrgUsage(owned(guid)),
            [_, guid, "domains"] => GuardedCall::OrgDomains(owned(guid)),
            [_, guid, "domains", "default"] => GuardedCall::DefaultDomain(owned(guid)),
            [_, guid, "relationships", "default_isolation_segment"] => {
                GuardedCall::DefaultIsolationSegment(owned(guid))
            }
            _ => return None,
        };
        Some(Self::Guarded(call))
    }

    fn routes(method: &str, segments: &[&str]) -> Self {
        let owned = |guid: &&str| (*guid).to_owned();
        match (method, segments) {
            ("GET", []) => Self::Guarded(GuardedCall::Routes),
            ("POST", []) => Self::Guarded(GuardedCall::CreateRoute),
            ("GET", [guid]) => Self::Guarded(GuardedCall::Route(owned(guid))),
            ("PATCH", [guid]) => Self::Guarded(GuardedCall::PatchRoute(owned(guid))),
            ("DELETE", [guid]) => Self::Guarded(GuardedCall::DeleteRoute(owned(guid))),
            ("GET", [guid, "destinations"]) => Self::Guarded(GuardedCall::Targets(owned(guid))),
            ("POST", [guid, "destinations"]) => Self::Guarded(GuardedCall::AddTargets(owned(guid))),
            ("PATCH", [guid, "destinations"]) => {
                Self::Guarded(GuardedCall::ReplaceTargets(owned(guid)))
            }
            ("PATCH", [guid, "destinations", target]) => {
                Self::Guarded(GuardedCall::PatchTarget(owned(guid), owned(target)))
            }
            ("DELETE", [guid, "destinations", target]) => {
                Self::Guarded(GuardedCall::DeleteTarget(owned(guid), owned(target)))
            }
            ("GET" | "POST", [_, "relationships", "shared_spaces"])
            | ("DELETE", [_, "relationships", "shared_spaces", _])
            | ("PATCH", [_, "relationships", "space"]) => Self::Guarded(GuardedCall::Sharing),
            _ => Self::Open(OpenCall::Unknown),
        }
    }

    fn processes(segments: &[&str]) -> Option<Self> {
        let owned = |text: &&str| (*text).to_owned();
        let call = match segments {
            ["processes"] => GuardedCall::Processes,
            ["processes", guid] => GuardedCall::Process(owned(guid), None),
            ["processes", guid, "stats"] => GuardedCall::Stats(owned(guid), None),
            ["processes", guid, "process_instances"] => GuardedCall::Instances(owned(guid)),
            ["apps", guid, "processes"] => GuardedCall::AppProcesses(owned(guid)),
            ["apps", guid, "processes", kind] => {
                GuardedCall::Process(owned(guid), Some(owned(kind)))
            }
            ["apps", guid, "processes", kind, "stats"] => {
                GuardedCall::Stats(owned(guid), Some(owned(kind)))
            }
            _ => return None,
        };
        Some(Self::Guarded(call))
    }

    fn users(segments: &[&str]) -> Option<Self> {
        let call = match segments {
            ["roles"] => GuardedCall::Roles,
            ["roles", guid] => GuardedCall::OneRole((*guid).to_owned()),
            ["users"] => GuardedCall::Users,
            ["users", guid] => GuardedCall::OneUser((*guid).to_owned()),
            _ => return None,
        };
        Some(Self::Guarded(call))
    }

    /// Separates calls that only the real API has from calls that do not exist.
    fn rest(method: &str, segments: &[&str]) -> Self {
        if let Some((list, guid)) = EmptyList::at(segments).filter(|_| method == "GET") {
            return Self::Guarded(GuardedCall::Empty(list, guid.to_owned()));
        }
        let known = match (method, segments) {
            (_, [first, ..]) if FURTHER.contains(first) => true,
            ("POST", ["spaces" | "organizations" | "domains" | "apps"])
            | ("PATCH" | "DELETE", ["spaces" | "organizations" | "domains" | "apps", _])
            | (_, ["domains", _, "relationships", "shared_organizations", ..]) => true,
            (_, ["spaces", _, next, ..]) => FURTHER_OF_SPACES.contains(next),
            (_, ["organizations", _, next, ..]) => FURTHER_OF_ORGS.contains(next),
            (_, ["apps", _, next, ..]) => FURTHER_OF_APPS.contains(next),
            _ => false,
        };
        if known { Self::Open(OpenCall::Uncovered) } else { Self::Open(OpenCall::Unknown) }
    }
}

#[cfg(test)]
mod tests {
    use http::Method;

    use super::{ApiCall, GuardedCall, OpenCall};

    #[test]
    fn paths_are_read_as_rails_does() {
        let guid = "../spaces".to_owned();
        for (method, path, call) in [
            (Method::GET, "/", ApiCall::Open(OpenCall::Root)),
            (Method::GET, "/v3//routes/", ApiCall::Guarded(GuardedCall::Routes)),
            (Method::HEAD, "/v3/routes", ApiCall::Guarded(GuardedCall::Routes)),
            (Method::GET, "/v3/routes/%2e%2e%2fspaces", ApiCall::Guarded(GuardedCall::Route(guid))),
            (Method::GET, "/v3/spaces/../routes", ApiCall::Open(OpenCall::Unknown)),
            (Method::PUT, "/v3/routes/x", ApiCall::Open(OpenCall::Unknown)),
            (Method::OPTIONS, "/v3/routes", ApiCall::Open(OpenCall::Unknown)),
            (Method::GET, "/v3/nope", ApiCall::Open(OpenCall::Unknown)),
            (Method::GET, "/v4", ApiCall::Open(OpenCall::UnknownOld)),
            (Method::GET, "/v3/apps/x/manifest", ApiCall::Open(OpenCall::Uncovered)),
        ] {
            assert_eq!(ApiCall::read(&method, path), call, "{method} {path}");
        }
    }
}
