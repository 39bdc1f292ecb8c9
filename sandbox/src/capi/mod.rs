//! The CF API v3 of the landscape, as strict as the recorded Cloud Controller (CC). One handler
//! takes every request, because raw paths are checked. The stages have CC's order: limits of the
//! server, encoding, token, outages, rate limit, path, token again, scope, body, call.

mod answer;
mod apps;
mod call;
mod call_context;
mod domains;
mod empty_lists;
mod errors;
mod jobs;
pub(crate) mod json;
mod list;
mod metadata;
mod outages;
mod platform;
mod present;
mod processes;
mod query;
mod quotas;
mod response_headers;
mod roots;
mod route_bindings;
mod route_check;
mod route_form;
mod routes;
mod selector;
mod spaces;
mod target_form;
mod targets;
mod users;

use std::sync::Arc;

use axum::Router;
use axum::body::to_bytes;
use axum::extract::{Request, State};
use axum::response::Response;
use bytes::Bytes;
use http::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE};
use http::request::Parts;
use http::{HeaderName, HeaderValue, Method};
use tokio::time::Instant;

pub(crate) use self::answer::UNCOVERED;
pub(crate) use self::platform::is_flag;

use self::answer::{Answer, Reply};
use self::call::{ApiCall, GuardedCall, OpenCall};
use self::call_context::CallContext;
use self::errors::{ApiRefusal, address_limited, invalid_token, not_authenticated, not_authorized};
use self::json::{Json, object};
use self::query::Query;
use crate::service::Arrival;
use crate::token::{CfTokenRefusal, CfUser};
use crate::world::{CfWorld, RateKey, RateUsage};

/// The longest query that the server in front of CC accepts (recorded: 4.8 kB pass, 11.2 kB fail).
const LONGEST_QUERY: usize = 10 * 1024;
/// More than any test sends. It only keeps a mistake from filling the memory.
const LARGEST_BODY: usize = 16 * 1024 * 1024;

/// The user of a good token, or the reason why there is none.
type Bearer = Result<CfUser, CfTokenRefusal>;

/// Returns the API of this world.
pub(crate) fn router(world: Arc<CfWorld>) -> Router {
    Router::new().fallback(handle).with_state(world)
}

async fn handle(State(world): State<Arc<CfWorld>>, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    let bytes = to_bytes(body, LARGEST_BODY).await.unwrap_or_default();
    respond(&world, &parts, &bytes)
}

fn respond(world: &CfWorld, parts: &Parts, bytes: &Bytes) -> Response {
    let head = parts.method == Method::HEAD;
    let raw = parts.uri.query().unwrap_or_default();
    if raw.len() > LONGEST_QUERY {
        return Answer::query_too_long().into_response(head);
    }
    let header = parts.headers.get(AUTHORIZATION).map(|value| value.to_str().unwrap_or("bearer"));
    let bearer = world.tokens().check(header);
    if let Some(answer) = response_headers::preflight(parts) {
        return answer.into_response(head);
    }
    if let Some(answer) = outages::answer(world, parts, &bearer) {
        return answer.into_response(head);
    }
    let count = count(world, parts, &bearer);
    let refused = count.filter(|count| count.exceeded).map(|_| limited(parts, &bearer));
    let answer = match (refused, Query::parse(raw)) {
        (Some(answer), _) => answer,
        (None, Err(_)) => Answer::crash(),
        (None, Ok(_)) if has_empty_type(parts, bytes) => Answer::not_acceptable(),
        (None, Ok(query)) => match ApiCall::read(&parts.method, parts.uri.path()) {
            ApiCall::Open(call) => open(world, call),
            ApiCall::Guarded(call) => {
                guarded(world, parts, &bearer, (&call, &query, bytes)).unwrap_or_else(Answer::from)
            }
        },
    };
    let answer = response_headers::add(answer, parts, bearer.as_ref().ok());
    let seconds = world.with_state(|state| state.seconds());
    response_headers::add_rate_limit(answer, count, seconds).into_response(head)
}

/// Answers calls that need no token.
fn open(world: &CfWorld, call: OpenCall) -> Answer {
    let (base, login) = (world.api_base(), world.login_base());
    match call {
        OpenCall::Root => world.with_state(|state| roots::root(base, login, state)),
        OpenCall::V3Root => roots::v3(base),
        OpenCall::Info => roots::info(base),
        OpenCall::Health => Answer::healthy(),
        OpenCall::V2Info => roots::v2_info(login),
        OpenCall::Uncovered => Answer::uncovered(),
        OpenCall::Unknown => errors::unknown_request().into(),
        OpenCall::UnknownOld => {
            let refusal = errors::unknown_request();
            let answer = Answer::old_json(refusal.status, &refusal.old_body());
            answer.with(HeaderName::from_static("x-cascade"), "pass")
        }
    }
}

/// Answers calls that need a token: checks token, scope and body, and then runs the call.
fn guarded(
    world: &CfWorld,
    parts: &Parts,
    bearer: &Bearer,
    (call, query, bytes): (&GuardedCall, &Query, &Bytes),
) -> Reply {
    let user = bearer.as_ref().map_err(|refusal| match refusal {
        CfTokenRefusal::NotAuthenticated => not_authenticated(),
        CfTokenRefusal::Invalid | CfTokenRefusal::UnknownKey => invalid_token(),
    })?;
    let reads = matches!(parts.method, Method::GET | Method::HEAD);
    let scope = if reads { "cloud_controller.read" } else { "cloud_controller.write" };
    if !user.scopes.iter().any(|held| held == scope) {
        return Err(not_authorized());
    }
    let body = body(parts, bytes)?;
    if query.holds_nul() || parts.uri.path().contains("%00") {
        return Err(errors::unknown_error());
    }
    let accept = parts.headers.get(ACCEPT).and_then(|value| value.to_str().ok());
    let arrived = parts.extensions.get::<Arrival>().map(|arrival| arrival.0);
    world.with_state(|state| {
        let mut context = CallContext {
            base: world.api_base(),
            state,
            user: &user.name,
            query,
            body: &body,
            accept: accept.unwrap_or_default(),
            arrived,
        };
        run(&mut context, call)
    })
}

fn run(context: &mut CallContext<'_>, call: &GuardedCall) -> Reply {
    match call {
        GuardedCall::Spaces => context.spaces(),
        GuardedCall::Space(guid) => context.one_space(guid),
        GuardedCall::DeleteUnmappedRoutes(guid) => context.delete_unmapped_routes(guid),
        GuardedCall::Orgs => context.orgs(),
        GuardedCall::Org(guid) => context.one_org(guid),
        GuardedCall::OrgDomains(guid) => context.org_domains(guid),
        GuardedCall::DefaultDomain(guid) => context.default_domain(guid),
        GuardedCall::OrgQuota(guid) => context.one_org_quota(guid),
        GuardedCall::SpaceQuota(guid) => context.one_space_quota(guid),
        GuardedCall::OrgUsage(guid) => context.org_usage(guid),
        GuardedCall::SpaceUsage(guid) => context.space_usage(guid),
        GuardedCall::DefaultIsolationSegment(guid) => context.default_isolation_segment(guid),
        GuardedCall::IsolationSegment(guid) => context.isolation_segment(guid),
        GuardedCall::Domains => context.domains(),
        GuardedCall::Domain(guid) => context.one_domain(guid),
        GuardedCall::Reservations(guid) => context.reservations(guid),
        GuardedCall::Apps => context.apps(),
        GuardedCall::App(guid) => context.one_app(guid),
        GuardedCall::AppRoutes(guid) => context.app_routes(guid),
        GuardedCall::Processes => context.processes(),
        GuardedCall::AppProcesses(guid) => context.app_processes(guid),
        GuardedCall::Process(guid, kind) => context.one_process(guid, kind.as_deref()),
        GuardedCall::Stats(guid, kind) => context.process_stats(guid, kind.as_deref()),
        GuardedCall::Instances(guid) => context.process_instances(guid),
        GuardedCall::Empty(list, guid) => context.empty_list(list, guid),
        GuardedCall::AppEnv(guid) => context.app_env(guid),
        GuardedCall::PatchApp(guid) => context.patch_app(guid),
        GuardedCall::OrgQuotas => context.org_quotas(),
        GuardedCall::SpaceQuotas => context.space_quotas(),
        GuardedCall::FeatureFlags => context.feature_flags(),
        GuardedCall::FeatureFlag(name) => context.one_feature_flag(name),
        GuardedCall::Stacks => context.stacks(),
        GuardedCall::Roles => context.roles(),
        GuardedCall::OneRole(guid) => context.one_role(guid),
        GuardedCall::Users => context.users(),
        GuardedCall::OneUser(guid) => context.one_user(guid),
        GuardedCall::RouteBindings => context.route_bindings(),
        GuardedCall::Routes => context.routes(),
        GuardedCall::CreateRoute => context.create_route(),
        GuardedCall::Route(guid) => context.one_route(guid),
        GuardedCall::PatchRoute(guid) => context.patch_route(guid),
        GuardedCall::DeleteRoute(guid) => context.delete_route(guid),
        GuardedCall::Targets(guid) => context.targets(guid),
        GuardedCall::AddTargets(guid) => context.add_targets(guid),
        GuardedCall::ReplaceTargets(guid) => context.replace_targets(guid),
        GuardedCall::PatchTarget(guid, target) => context.patch_target(guid, target),
        GuardedCall::DeleteTarget(guid, target) => context.delete_target(guid, target),
        GuardedCall::Sharing => context.sharing(),
        GuardedCall::Job(guid) => context.job(guid),
    }
}

/// Reads the body as Rails does. Without `application/json` there is no body. A body that is not an
/// object becomes the member `_json`.
fn body(parts: &Parts, bytes: &Bytes) -> Result<Json, ApiRefusal> {
    let kind = parts.headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok());
    let kind = kind.unwrap_or_default().split(';').next().unwrap_or_default();
    if bytes.is_empty() || !kind.trim().eq_ignore_ascii_case("application/json") {
        return Ok(object! {});
    }
    let json = Json::parse(bytes).ok_or_else(errors::parse_error)?;
    Ok(if json.members().is_some() {
        json
    } else {
        object! {"_json" => json}
    })
}

/// Returns whether a body comes with an empty content type. Rails cannot look that up.
fn has_empty_type(parts: &Parts, bytes: &Bytes) -> bool {
    let kind = parts.headers.get(CONTENT_TYPE);
    let is_empty = kind.is_some_and(|kind| kind.as_bytes().trim_ascii().is_empty());
    is_empty && !bytes.is_empty() && parts.uri.path().starts_with("/v3")
}

/// Counts the request. A few paths are exempt if path and query are exactly the listed text. Basic
/// credentials are exempt, too (source).
fn count(world: &CfWorld, parts: &Parts, bearer: &Bearer) -> Option<RateUsage> {
    let target = parts.uri.path_and_query().map_or("", |target| target.as_str());
    let scheme = parts.headers.get(AUTHORIZATION).map(HeaderValue::as_bytes);
    let is_basic = scheme.is_some_and(|value| value.to_ascii_lowercase().starts_with(b"basic "));
    if is_basic || ["/", "/v3", "/v2/info", "/healthz"].contains(&target) {
        return None;
    }
    let who = bearer.as_ref().map_or(RateKey::Address, |user| RateKey::User(user.guid.clone()));
    world.with_state(|state| state.rate.count(who, Instant::now()))
}

/// Returns the answer for a used-up limit. A bad token gets a 401 in its place, on every path
/// (recorded). A missing token gets the limit of the address.
fn limited(parts: &Parts, bearer: &Bearer) -> Answer {
    let refusal = match bearer {
        Ok(_) => errors::rate_limited(),
        Err(CfTokenRefusal::NotAuthenticated) => address_limited(),
        Err(CfTokenRefusal::Invalid | CfTokenRefusal::UnknownKey) => invalid_token(),
    };
    let path = parts.uri.path();
    let body = if path.starts_with("/v3") {
        refusal.body()
    } else if path.starts_with("/v2") {
        refusal.old_body()
    } else {
        Json::Null
    };
    Answer::limited(refusal.status, &body)
}

#[cfg(test)]
mod tests;
