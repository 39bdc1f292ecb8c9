//! The CF API v3 of the landscape, as strict as the recorded Cloud Controller. One handler takes every request, because paths are
//! judged raw; the stages stand in CC's order: server limits, encoding, token, rate limit, path, token again, scope, body, call.

mod answer;
mod apps;
mod call;
mod domains;
mod dress;
mod errors;
mod jobs;
pub(crate) mod json;
mod list;
mod metadata;
mod present;
mod query;
mod roots;
mod route_check;
mod route_form;
mod routes;
mod selector;
mod spaces;
mod step;
mod target_form;
mod targets;

use std::sync::Arc;

use axum::Router;
use axum::body::to_bytes;
use axum::extract::{Request, State as AxumState};
use axum::response::Response;
use bytes::Bytes;
use http::header::{AUTHORIZATION, CONTENT_TYPE};
use http::request::Parts;
use http::{HeaderName, Method};
use tokio::time::Instant;

pub(crate) use self::answer::UNCOVERED;

use self::answer::{Answer, Reply};
use self::call::{Call, Guarded, Open};
use self::errors::{Refusal, address_limited, invalid_token, not_authenticated, not_authorized};
use self::json::{Json, object};
use self::query::Query;
use self::step::Step;
use crate::token::{CfTokenRefusal, CfUser};
use crate::world::{CfWorld, Count, Who};

/// The longest query that the server in front of CC takes (recorded: 4.8 kB pass, 11.2 kB fail).
const LONGEST_QUERY: usize = 10 * 1024;
/// More than any request of a test; only keeps a mistake from filling the memory.
const LARGEST_BODY: usize = 16 * 1024 * 1024;

/// Who asks: the user of a good token, or why there is none.
type Bearer = Result<CfUser, CfTokenRefusal>;

/// Returns the API over this world.
pub(crate) fn router(world: Arc<CfWorld>) -> Router {
    Router::new().fallback(handle).with_state(world)
}

async fn handle(AxumState(world): AxumState<Arc<CfWorld>>, request: Request) -> Response {
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
    let bearer = world.tokens().judge(header);
    let count = count(world, parts, &bearer);
    let refused = count.filter(|count| count.exceeded).and_then(|_| limited(parts, &bearer));
    let answer = match (refused, Query::parse(raw)) {
        (Some(answer), _) => answer,
        (None, Err(_)) => Answer::crash(),
        (None, Ok(query)) => match Call::read(&parts.method, parts.uri.path()) {
            Call::Open(call) => open(world, call),
            Call::Guarded(call) => {
                guarded(world, parts, &bearer, (&call, &query, bytes)).unwrap_or_else(Answer::from)
            }
        },
    };
    let answer = dress::dress(answer, parts, bearer.as_ref().ok());
    let seconds = world.step(|state| state.seconds());
    dress::with_count(answer, count, seconds).into_response(head)
}

/// Answers what needs no token.
fn open(world: &CfWorld, call: Open) -> Answer {
    let (base, login) = (world.api_base(), world.login_base());
    match call {
        Open::Root => world.step(|state| roots::root(base, login, state)),
        Open::V3Root => roots::v3(base),
        Open::Info => roots::info(base),
        Open::Health => Answer::healthy(),
        Open::V2Info => roots::v2_info(login),
        Open::Uncovered => Answer::uncovered(),
        Open::Unknown => errors::unknown_request().into(),
        Open::UnknownOld => {
            let refusal = errors::unknown_request();
            let answer = Answer::old_json(refusal.status, &refusal.old_body());
            answer.with(HeaderName::from_static("x-cascade"), "pass")
        }
    }
}

/// Answers what needs a token: token, scope, body, and then the call itself.
fn guarded(
    world: &CfWorld,
    parts: &Parts,
    bearer: &Bearer,
    (call, query, bytes): (&Guarded, &Query, &Bytes),
) -> Reply {
    let user = bearer.as_ref().map_err(|refusal| match refusal {
        CfTokenRefusal::NotAuthenticated => not_authenticated(),
        CfTokenRefusal::Invalid => invalid_token(),
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
    world.step(|state| {
        let mut step = Step { base: world.api_base(), state, user: &user.name, query, body: &body };
        run(&mut step, call)
    })
}

fn run(step: &mut Step<'_>, call: &Guarded) -> Reply {
    match call {
        Guarded::Spaces => step.spaces(),
        Guarded::Space(guid) => step.one_space(guid),
        Guarded::DeleteUnmappedRoutes(guid) => step.delete_unmapped_routes(guid),
        Guarded::Orgs => step.orgs(),
        Guarded::Org(guid) => step.one_org(guid),
        Guarded::OrgDomains(guid) => step.org_domains(guid),
        Guarded::DefaultDomain(guid) => step.default_domain(guid),
        Guarded::OrgQuota(guid) => step.one_org_quota(guid),
        Guarded::OrgUsage(guid) => step.org_usage(guid),
        Guarded::Domains => step.domains(),
        Guarded::Domain(guid) => step.one_domain(guid),
        Guarded::Reservations(guid) => step.reservations(guid),
        Guarded::Apps => step.apps(),
        Guarded::App(guid) => step.one_app(guid),
        Guarded::AppRoutes(guid) => step.app_routes(guid),
        Guarded::Routes => step.routes(),
        Guarded::CreateRoute => step.create_route(),
        Guarded::Route(guid) => step.one_route(guid),
        Guarded::PatchRoute(guid) => step.patch_route(guid),
        Guarded::DeleteRoute(guid) => step.delete_route(guid),
        Guarded::Targets(guid) => step.targets(guid),
        Guarded::AddTargets(guid) => step.add_targets(guid),
        Guarded::ReplaceTargets(guid) => step.replace_targets(guid),
        Guarded::PatchTarget(guid, target) => step.patch_target(guid, target),
        Guarded::DeleteTarget(guid, target) => step.delete_target(guid, target),
        Guarded::Sharing => step.sharing(),
        Guarded::Job(guid) => step.job(guid),
    }
}

/// Reads the body as Rails does: anything but `application/json` is no body, anything but an object is the member `_json`.
fn body(parts: &Parts, bytes: &Bytes) -> Result<Json, Refusal> {
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

/// Counts the request, unless its path and query are one of the exempt ones to the letter.
fn count(world: &CfWorld, parts: &Parts, bearer: &Bearer) -> Option<Count> {
    let target = parts.uri.path_and_query().map_or("", |target| target.as_str());
    if ["/", "/v3", "/v2/info", "/healthz"].contains(&target) {
        return None;
    }
    let who = bearer.as_ref().map_or(Who::Address, |user| Who::User(user.guid.clone()));
    world.step(|state| state.rate.count(who, Instant::now()))
}

/// Returns the 429 of a used-up limit. A bad token still gets its 401 (recorded), only a missing one is told about the address.
fn limited(parts: &Parts, bearer: &Bearer) -> Option<Answer> {
    let refusal = match bearer {
        Ok(_) => errors::rate_limited(),
        Err(CfTokenRefusal::NotAuthenticated) => address_limited(),
        Err(CfTokenRefusal::Invalid) => return None,
    };
    let path = parts.uri.path();
    let body = if path.starts_with("/v3") {
        refusal.body()
    } else if path.starts_with("/v2") {
        refusal.old_body()
    } else {
        Json::Null
    };
    Some(Answer::limited(refusal.status, &body))
}

#[cfg(test)]
mod tests;
