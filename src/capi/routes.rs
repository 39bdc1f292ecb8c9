//! Routes: create, find, label, map, unmap, delete.
//!
//! Invariant: a create is sent once. A caller that does not know its outcome reads before it
//! creates again. Bodies are serialized from types, so no duplicate key can reach CF, which takes
//! the last one. Callers: `routes`, and `proxy` for the policy's questions.

use super::{
    Call, CapiError, CfRequestClient, answer,
    call::{Query, filter_lists, json},
    model::{Guid, Reservation, Route, RouteMetadata, RouteTarget, RouteTargets},
    page::PER_PAGE,
    spaces::absent_if_missing,
};
use http::{HeaderMap, Method, StatusCode, header};
use serde::Serialize;
use url::Url;

/// A route to create.
#[derive(Clone, Debug)]
pub struct RouteSpec {
    /// Its host.
    pub host: String,
    /// Its space.
    pub space: Guid,
    /// Its domain.
    pub domain: Guid,
    /// Labels and annotations; CF writes them in the same transaction.
    pub metadata: RouteMetadata,
}

/// The outcome of a delete.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Deletion {
    /// The route did not exist any more.
    Gone,
    /// CF deletes it in this job.
    Job(Guid),
}

#[derive(Serialize)]
struct CreateBody<'a> {
    host: &'a str,
    relationships: CreateRelationships<'a>,
    metadata: &'a RouteMetadata,
}

#[derive(Serialize)]
struct CreateRelationships<'a> {
    space: ToOneBody<'a>,
    domain: ToOneBody<'a>,
}

#[derive(Serialize)]
struct ToOneBody<'a> {
    data: GuidObject<'a>,
}

#[derive(Serialize)]
struct GuidObject<'a> {
    guid: &'a Guid,
}

#[derive(Serialize)]
struct PatchBody<'a> {
    metadata: &'a RouteMetadata,
}

#[derive(Serialize)]
struct MapBody<'a> {
    destinations: Vec<MapTarget<'a>>,
}

#[derive(Serialize)]
struct MapTarget<'a> {
    app: GuidObject<'a>,
}

impl CfRequestClient {
    /// Creates a route.
    ///
    /// # Errors
    /// Any [`CapiError`]. If [`CapiError::may_have_been_executed`], the caller reads before it
    /// tries again.
    pub async fn create_route(&self, spec: &RouteSpec) -> Result<Route, CapiError> {
        let space = ToOneBody { data: GuidObject { guid: &spec.space } };
        let domain = ToOneBody { data: GuidObject { guid: &spec.domain } };
        let relationships = CreateRelationships { space, domain };
        let body = json(&CreateBody { host: &spec.host, relationships, metadata: &spec.metadata })?;
        let call = Call::new("create_route", Method::POST, "/v3/routes").with_body(body);
        answer::expect(&self.send(&call).await?)
    }

    /// Finds the route with exactly this host, without path, on a domain.
    ///
    /// # Errors
    /// Any [`CapiError`] of the call.
    pub async fn find_route(&self, domain: &Guid, host: &str) -> Result<Option<Route>, CapiError> {
        Ok(self.find_routes(domain, &[host]).await?.into_iter().next())
    }

    /// Finds the routes with these hosts, without path, on a domain.
    ///
    /// # Errors
    /// Any [`CapiError`] of the calls.
    pub async fn find_routes(
        &self,
        domain: &Guid,
        hosts: &[&str],
    ) -> Result<Vec<Route>, CapiError> {
        let mut routes = Vec::new();
        for list in filter_lists(hosts) {
            // Without the empty `paths` CF adds every path route of the host.
            let query = Query::default()
                .with_list("hosts", list)
                .with("paths", "")
                .with_list("domain_guids", [domain.as_str()])
                .with("per_page", PER_PAGE);
            let call = Call::new("find_route", Method::GET, "/v3/routes");
            routes.extend(self.list::<Route>(call.with_query(query.into_text())).await?.resources);
        }
        Ok(routes)
    }

    /// Lists the routes of a space that match a label selector.
    ///
    /// # Errors
    /// Any [`CapiError`] of the calls.
    pub async fn labelled_routes(
        &self,
        space: &Guid,
        selector: &str,
    ) -> Result<Vec<Route>, CapiError> {
        let query = Query::default()
            .with("label_selector", selector)
            .with_list("space_guids", [space.as_str()])
            .with("per_page", PER_PAGE);
        let call = Call::new("list_routes", Method::GET, "/v3/routes");
        Ok(self.list::<Route>(call.with_query(query.into_text())).await?.resources)
    }

    /// Lists all routes of a space.
    ///
    /// # Errors
    /// Any [`CapiError`] of the calls.
    pub async fn routes_of_space(&self, space: &Guid) -> Result<Vec<Route>, CapiError> {
        let query =
            Query::default().with_list("space_guids", [space.as_str()]).with("per_page", PER_PAGE);
        let call = Call::new("list_routes", Method::GET, "/v3/routes");
        Ok(self.list::<Route>(call.with_query(query.into_text())).await?.resources)
    }

    /// Lists the routes of all visible spaces that match a label selector.
    ///
    /// # Errors
    /// Any [`CapiError`] of the calls.
    pub async fn all_labelled_routes(&self, selector: &str) -> Result<Vec<Route>, CapiError> {
        let query = Query::default().with("label_selector", selector).with("per_page", PER_PAGE);
        let call = Call::new("list_routes", Method::GET, "/v3/routes");
        Ok(self.list::<Route>(call.with_query(query.into_text())).await?.resources)
    }

    /// Counts the routes that match a filter.
    ///
    /// # Errors
    /// Any [`CapiError`] of the call.
    pub async fn count_routes(&self, filter: &str, guid: &Guid) -> Result<u64, CapiError> {
        let query = Query::default().with_list(filter, [guid.as_str()]).with("per_page", "1");
        let call = Call::new("count_routes", Method::GET, "/v3/routes");
        self.total(call.with_query(query.into_text())).await
    }

    /// Reads a route; `None` when it is gone or invisible.
    ///
    /// # Errors
    /// Any [`CapiError`] of the call except `NotFound`.
    pub async fn route(&self, route: &Guid) -> Result<Option<Route>, CapiError> {
        let call = Call::new("read_route", Method::GET, path(route, ""));
        absent_if_missing(answer::expect(&self.send(&call).await?))
    }

    /// Changes labels and annotations; `None` removes one. `Ok(None)` when the route is gone. If
    /// another writer changed the route at the same moment, the route is read and the call is
    /// repeated once. The same holds for a 500: CF answers so while it deletes the route.
    ///
    /// # Errors
    /// Any [`CapiError`] of the calls except `NotFound`.
    pub async fn label_route(
        &self,
        route: &Guid,
        metadata: &RouteMetadata,
    ) -> Result<Option<Route>, CapiError> {
        match self.patch_route(route, metadata).await {
            Err(error) if error.is_race() || matches!(error, CapiError::Failed(_)) => {
                match self.route(route).await? {
                    Some(_) => self.patch_route(route, metadata).await,
                    None => Ok(None),
                }
            }
            other => other,
        }
    }

    async fn patch_route(
        &self,
        route: &Guid,
        metadata: &RouteMetadata,
    ) -> Result<Option<Route>, CapiError> {
        let call = Call::new("label_route", Method::PATCH, path(route, ""));
        let call = call.with_body(json(&PatchBody { metadata })?);
        absent_if_missing(answer::expect(&self.send(&call).await?))
    }

    /// Maps an app to a route and returns all targets. If the outcome is not known, or CF answers
    /// 500 as it does to equal parallel calls, the targets are read and the call is repeated once.
    ///
    /// # Errors
    /// Any [`CapiError`] of the calls.
    pub async fn map_route(&self, route: &Guid, app: &Guid) -> Result<Vec<RouteTarget>, CapiError> {
        let first = self.post_target(route, app).await;
        let Err(error) = first else { return first };
        if !error.may_have_been_executed() {
            return Err(error);
        }
        let seen = self.route_targets(route).await?;
        let mapped = seen.iter().any(|target| target.app.guid.as_ref() == Some(app));
        if mapped { Ok(seen) } else { self.post_target(route, app).await }
    }

    /// Reads the targets of a route.
    ///
    /// # Errors
    /// Any [`CapiError`] of the call.
    pub async fn route_targets(&self, route: &Guid) -> Result<Vec<RouteTarget>, CapiError> {
        let call = Call::new("read_targets", Method::GET, path(route, "/destinations"));
        let targets: RouteTargets = answer::expect(&self.send(&call).await?)?;
        Ok(targets.destinations)
    }

    /// Removes one target of a route; a target that is gone is a success.
    ///
    /// # Errors
    /// Any [`CapiError`] of the calls except `NotFound`.
    pub async fn unmap_route(&self, route: &Guid, target: &Guid) -> Result<(), CapiError> {
        let path = path(route, &format!("/destinations/{target}"));
        let answer = self.send(&Call::new("unmap_route", Method::DELETE, path)).await?;
        let Err(error) = answer::success(&answer) else {
            return Ok(());
        };
        if matches!(error, CapiError::NotFound(_)) {
            return Ok(());
        }
        // CC answers 422, not 404, for a target that is gone.
        if !error.is_unprocessable("Unable to unmap route from destination") {
            return Err(error);
        }
        let seen = absent_if_missing(self.route_targets(route).await)?.unwrap_or_default();
        let stays = seen.iter().any(|seen| seen.guid.as_ref() == Some(target));
        if stays { Err(error) } else { Ok(()) }
    }

    /// Asks CF to delete a route.
    ///
    /// # Errors
    /// Any [`CapiError`] of the call except `NotFound`; `Unreadable` when the response names no
    /// job.
    pub async fn delete_route(&self, route: &Guid) -> Result<Deletion, CapiError> {
        let answer = self.send(&Call::new("delete_route", Method::DELETE, path(route, ""))).await?;
        match answer::success(&answer) {
            Err(CapiError::NotFound(_)) => Ok(Deletion::Gone),
            Err(error) => Err(error),
            Ok(answer) => job_of(&answer.headers).map(Deletion::Job).ok_or_else(|| {
                let request_id = answer::request_id(&answer.headers);
                CapiError::Unreadable { status: StatusCode::ACCEPTED, request_id, source: None }
            }),
        }
    }

    /// Returns whether exactly this host, without path, is taken on a domain, by any organization.
    /// "Free" is no guarantee: path routes of others can block the host.
    ///
    /// # Errors
    /// Any [`CapiError`] of the call.
    pub async fn is_reserved(&self, domain: &Guid, host: &str) -> Result<bool, CapiError> {
        let query = Query::default().with("host", host);
        let path = format!("/v3/domains/{domain}/route_reservations");
        let call = Call::new("read_reservation", Method::GET, path).with_query(query.into_text());
        let reservation: Reservation = answer::expect(&self.send(&call).await?)?;
        Ok(reservation.matching_route)
    }

    async fn post_target(&self, route: &Guid, app: &Guid) -> Result<Vec<RouteTarget>, CapiError> {
        let destinations = vec![MapTarget { app: GuidObject { guid: app } }];
        let call = Call::new("map_route", Method::POST, path(route, "/destinations"));
        let call = call.with_body(json(&MapBody { destinations })?);
        let targets: RouteTargets = answer::expect(&self.send(&call).await?)?;
        Ok(targets.destinations)
    }
}

fn path(route: &Guid, rest: &str) -> String {
    format!("/v3/routes/{route}{rest}")
}

/// Reads the job's guid from the path of `Location`; its host is ignored.
fn job_of(headers: &HeaderMap) -> Option<Guid> {
    let location = headers.get(header::LOCATION)?.to_str().ok()?;
    let absolute = Url::parse(location).ok();
    let path = absolute.as_ref().map_or(location, Url::path);
    Guid::parse(path.strip_prefix("/v3/jobs/")?)
}
