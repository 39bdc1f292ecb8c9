//! The facts that a policy question needs, read from the CF API right before the decision.
//!
//! Invariant: nothing is cached, and the route is read last: no other call comes between it and the
//! write. If CF knows no such route, CF's own response is returned. Callers: this module.

use super::error::ProxyError;
use crate::{
    capi::{
        Call, CfRequestClient, Guid, OpenedResponse,
        model::{Route, RouteTarget},
    },
    policy::{AppFacts, Permit, Question, RouteFacts},
};
use http::{Method, StatusCode};
use http_body_util::BodyExt as _;
use std::collections::BTreeMap;

/// A route has some kB, with many targets some hundred.
const ROUTE_CAP: usize = 2 * 1024 * 1024;

/// The outcome of a question.
#[derive(Debug)]
pub(super) enum QuestionOutcome {
    /// The write is permitted.
    Permit(Permit),
    /// CF does not show the route: its own response.
    Answer(Box<OpenedResponse>),
}

/// Reads the facts and lets the question decide.
pub(super) async fn decide(
    question: Question,
    cf: &CfRequestClient,
) -> Result<QuestionOutcome, ProxyError> {
    let mut apps = apps(question.needs_apps(), cf).await?;
    let mut route = match read(&question, cf).await? {
        RouteRead::Route(route) => route,
        RouteRead::Answer(answer) => return Ok(QuestionOutcome::Answer(answer)),
    };
    let more = question.needs_apps_of(&route);
    if !more.is_empty() {
        apps.extend(self::apps(more, cf).await?);
        // An app that was mapped meanwhile is unknown, and an unknown app does not belong to the
        // caller.
        route = match read(&question, cf).await? {
            RouteRead::Route(route) => route,
            RouteRead::Answer(answer) => return Ok(QuestionOutcome::Answer(answer)),
        };
    }
    Ok(QuestionOutcome::Permit(question.settle(&route, &apps)?))
}

/// CF's response to a read of a route.
enum RouteRead {
    Route(RouteFacts),
    /// Any other response.
    Answer(Box<OpenedResponse>),
}

async fn read(question: &Question, cf: &CfRequestClient) -> Result<RouteRead, ProxyError> {
    let path = format!("/v3/routes/{}", question.needs());
    let call = Call::new("read_route", Method::GET, path).with_cap(ROUTE_CAP);
    let opened = cf.open(&call).await?;
    if opened.status != StatusCode::OK {
        return Ok(RouteRead::Answer(Box::new(opened)));
    }
    let body = opened.body.collect().await?.to_bytes();
    Ok(RouteRead::Route(route_facts(Route::read(&body)?)))
}

async fn apps(guids: &[String], cf: &CfRequestClient) -> Result<Vec<AppFacts>, ProxyError> {
    let guids: Vec<_> = guids.iter().filter_map(|guid| Guid::parse(guid)).collect();
    let apps = if guids.is_empty() { Vec::new() } else { cf.apps_by_guid(&guids).await? };
    let facts = apps.into_iter().map(|app| AppFacts {
        space: app.space().map(ToString::to_string).unwrap_or_default(),
        guid: app.guid.to_string(),
        name: app.name,
    });
    Ok(facts.collect())
}

fn target_and_app(target: &RouteTarget) -> Option<(String, String)> {
    Some((target.guid.as_ref()?.to_string(), target.app.guid.as_ref()?.to_string()))
}

fn route_facts(route: Route) -> RouteFacts {
    let text = |guid: Option<&Guid>| guid.map(ToString::to_string).unwrap_or_default();
    let known = |entries: BTreeMap<String, Option<String>>| {
        entries.into_iter().filter_map(|(key, value)| Some((key, value?))).collect()
    };
    RouteFacts {
        space: text(route.space()),
        domain: text(route.domain()),
        apps: route.apps().map(ToString::to_string).collect(),
        targets: route.destinations.iter().filter_map(target_and_app).collect(),
        host: route.host,
        path: route.path,
        labels: known(route.metadata.labels),
        annotations: known(route.metadata.annotations),
    }
}
