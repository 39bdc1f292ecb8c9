//! The public documents: `/`, `/v3`, `/v3/info`, `/healthz`, `/v2/info`. They need no token.

use http::StatusCode;

use crate::capi::answer::Answer;
use crate::capi::json::{Json, object};
use crate::world::{Release, RootLinks, WorldState};

/// The version of the recorded Cloud Controller.
const VERSION: &str = "3.228.0";
/// A version of 2024. It does not have the fields that `older_release` leaves out.
const OLDER_VERSION: &str = "3.159.0";
/// The resources that `/v3` links to, in CC's order.
const RESOURCES: &[&str] = &[
    "app_usage_events",
    "apps",
    "audit_events",
    "buildpacks",
    "builds",
    "deployments",
    "domains",
    "droplets",
    "environment_variable_groups",
    "feature_flags",
    "info",
    "isolation_segments",
    "organizations",
    "organization_quotas",
    "packages",
    "processes",
    "resource_matches",
    "roles",
    "routes",
    "security_groups",
    "service_brokers",
    "service_instances",
    "service_credential_bindings",
    "service_offerings",
    "service_plans",
    "service_route_bindings",
    "service_usage_events",
    "spaces",
    "space_quotas",
    "stacks",
    "tasks",
    "users",
];

/// `GET /`.
pub(crate) fn root(base: &str, login: &str, state: &WorldState) -> Answer {
    let link = |href: String| object! {"href" => href};
    let inner = |href: &str| match state.links {
        RootLinks::Sparse => Json::Null,
        RootLinks::Full => link(href.to_owned()),
    };
    let version = match state.release {
        Release::Current => VERSION,
        Release::Older => OLDER_VERSION,
    };
    let ssh = object! {"host_key_fingerprint" => "47:0d:d1:c8:c3:3d:0a:36:d1:49:2f:f2:90:27:31:d0", "oauth_client" => "ssh-proxy"};
    let links = object! {
        "self" => link(base.to_owned()),
        "cloud_controller_v3" => link(format!("{base}/v3")).with("meta", object! {"version" => version}),
        "network_policy_v0" => link(format!("{base}/networking/v0/external")),
        "network_policy_v1" => link(format!("{base}/networking/v1/external")),
        "login" => link(login.to_owned()),
        "uaa" => link(login.to_owned()),
        "credhub" => inner("https://credhub.example.test:8844"),
        "routing" => inner("https://routing.example.test"),
        "logging" => link("wss://doppler.example.test:443".to_owned()),
        "log_cache" => link("https://log-cache.example.test".to_owned()),
        "log_stream" => link("https://log-stream.example.test".to_owned()),
        "app_ssh" => link("ssh.example.test:2222".to_owned()).with("meta", ssh),
        "cloud_controller_v2" => link(format!("{base}/v2")).with("meta", object! {"version" => "2.293.0"}),
    };
    Answer::old_json(StatusCode::OK, &object! {"links" => links})
}

/// `GET /v3`.
pub(crate) fn v3(base: &str) -> Answer {
    let own = ("self".to_owned(), object! {"href" => format!("{base}/v3")});
    let others = RESOURCES.iter().map(|name| {
        let href = format!("{base}/v3/{name}");
        ((*name).to_owned(), object! {"href" => href})
    });
    let links = std::iter::once(own).chain(others).collect();
    Answer::ok(&object! {"links" => Json::Object(links)})
}

/// `GET /v3/info`.
pub(crate) fn info(base: &str) -> Answer {
    Answer::ok(&object! {
        "build" => "sandbox",
        "cli_version" => object! {"minimum" => "6.22.0", "recommended" => "latest"},
        "custom" => object! {"arbitrary" => "stuff"},
        "description" => "Cloud Foundry on loopback",
        "name" => "cfapi-sandbox",
        "version" => 2_u64,
        "osbapi_version" => "2.15",
        "rate_limits" => object! {
            "enabled" => false,
            "general_limit" => 20_u64,
            "reset_interval_in_minutes" => 60_u64,
        },
        "links" => object! {
            "self" => object! {"href" => format!("{base}/v3/info")},
            "support" => object! {"href" => "http://support.example.test"},
        },
    })
}

/// `GET /v2/info`: the only v2 path that old clients need before they log on.
pub(crate) fn v2_info(login: &str) -> Answer {
    let info = object! {
        "name" => "cfapi-sandbox",
        "build" => "sandbox",
        "support" => "http://support.example.test",
        "version" => 2_u64,
        "description" => "Cloud Foundry on loopback",
        "authorization_endpoint" => login,
        "token_endpoint" => login,
        "min_cli_version" => "6.22.0",
        "min_recommended_cli_version" => "latest",
        "app_ssh_endpoint" => "ssh.example.test:2222",
        "app_ssh_host_key_fingerprint" => "47:0d:d1:c8:c3:3d:0a:36:d1:49:2f:f2:90:27:31:d0",
        "app_ssh_oauth_client" => "ssh-proxy",
        "doppler_logging_endpoint" => "wss://doppler.example.test:443",
        "api_version" => "2.293.0",
        "osbapi_version" => "2.15",
        "routing_endpoint" => "https://routing.example.test",
        "custom" => object! {"arbitrary" => "stuff"},
    };
    Answer::old_json(StatusCode::OK, &info)
}
