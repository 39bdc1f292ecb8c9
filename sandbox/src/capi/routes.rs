//! Routes: list, read, create, patch, delete. The checks have CC's order: body, known space, known
//! domain, role, suspension, wildcard on a shared domain, and then the state (`route_check`). A
//! feature flag guards sharing and transfer.

use http::StatusCode;

use crate::capi::answer::{Answer, Reply};
use crate::capi::call_context::{CallContext, FlagDefault};
use crate::capi::errors::{not_found, unknown_error, unprocessable};
use crate::capi::json::{Json, object};
use crate::capi::list::{
    ListQuery, ListRule, SelectorCheck, comma_list, include_faults, unknown_parameters,
};
use crate::capi::route_check;
use crate::capi::route_form::{RouteForm, RoutePatch};
use crate::world::{JobSubject, LabelAnswer, Metadata, Reader, Route, new_guid};

const ROUTES: ListRule = ListRule {
    filters: &[
        "hosts",
        "space_guids",
        "organization_guids",
        "domain_guids",
        "paths",
        "app_guids",
        "include",
        "label_selector",
        "ports",
        "service_instance_guids",
    ],
    plain: &["label_selector"],
    order: &["created_at", "updated_at"],
    includes: &["domain", "space", "space.organization", "route_policies"],
    selector: SelectorCheck::None,
};

impl CallContext<'_> {
    /// `GET /v3/routes`.
    pub(crate) fn routes(&self) -> Reply {
        let list = ListQuery::read(self.query, &ROUTES)?;
        let (json, shown) = self.route_page(&list, "/v3/routes");
        let wants = |names: &[&str]| list.includes(names);
        Ok(Answer::ok(&self.with_route_included(json, wants, &shown)))
    }

    /// `GET /v3/apps/{guid}/routes`: the same list, filtered by the app. `include` is checked and
    /// ignored (source).
    pub(crate) fn app_routes(&self, guid: &str) -> Reply {
        let query = self.query.with("app_guids", guid);
        let list = ListQuery::read(&query, &ROUTES)?;
        self.app(guid)?;
        let (json, _) = self.route_page(&list, &format!("/v3/apps/{guid}/routes"));
        Ok(Answer::ok(&json))
    }

    /// `GET /v3/routes/{guid}`. A bad query is 422 here, not 400 (recorded).
    pub(crate) fn one_route(&self, guid: &str) -> Reply {
        let asked = self.query.text("include").map(comma_list);
        let query = self.query.with("guid", guid);
        let mut faults: Vec<String> =
            unknown_parameters(&query, &["guid", "include"]).into_iter().collect();
        faults.extend(include_faults(asked.as_deref(), ROUTES.includes));
        if !faults.is_empty() {
            return Err(unprocessable(&faults.join(", ")));
        }
        let route = self.route(guid)?;
        let json = self.present().route(route);
        let asked = asked.unwrap_or_default();
        let wants = |names: &[&str]| asked.iter().any(|name| names.contains(&name.as_str()));
        Ok(Answer::ok(&self.with_route_included(json, wants, &[route])))
    }

    /// `POST /v3/routes`.
    pub(crate) fn create_route(&mut self) -> Reply {
        self.feature("route_creation", FlagDefault::On)?;
        let form = RouteForm::read(self.body, self.state.release)?;
        if form.space.contains('\0') || form.domain.contains('\0') {
            return Err(unknown_error());
        }
        let invalid = |what: &str| {
            let name = what.to_lowercase();
            unprocessable(&format!(
                "Invalid {name}. Ensure that the {name} exists and you have access to it."
            ))
        };
        let space = self.state.space(&form.space).ok_or_else(|| invalid("space"))?;
        let domain = self.state.domain(&form.domain).ok_or_else(|| invalid("domain"))?;
        self.may_write(&form.space)?;
        if domain.owner.is_none() && form.is_wildcard() {
            return Err(unprocessable(
                "You do not have sufficient permissions to create a route with a wildcard host on a domain not scoped to an organization.",
            ));
        }
        route_check::fault(self.state, &form, space, domain)
            .map_or(Ok(()), |fault| Err(unprocessable(&fault)))?;
        let mut metadata = Metadata::default();
        form.metadata.apply(&mut metadata)?;
        let guid = self.add_route(form, metadata);
        let route = self.route(&guid)?;
        Ok(Answer::json(StatusCode::CREATED, &self.present().route(route)))
    }

    /// `PATCH /v3/routes/{guid}`. A label that is written while a delete job of the route runs lets
    /// the job fail, or fails itself (recorded).
    pub(crate) fn patch_route(&mut self, guid: &str) -> Reply {
        let patch = RoutePatch::read(self.body, self.state.release)?;
        let mut route = self.route(guid)?.clone();
        self.may_write(&route.space)?;
        if patch.metadata.writes() {
            match self.state.label_written(guid) {
                LabelAnswer::Written => {}
                LabelAnswer::UnknownError => return Err(unknown_error()),
                LabelAnswer::NotFound => return Err(not_found("Route")),
            }
        }
        for (name, value) in patch.options {
            route.options.retain(|(known, _)| *known != name);
            if value != Json::Null {
                route.options.push((name, value));
            }
        }
        patch.metadata.apply(&mut route.metadata)?;
        self.state.touch(&mut route.stamp);
        let json = self.present().route(&route);
        self.replace_route(route);
        Ok(Answer::ok(&json))
    }

    /// `DELETE /v3/routes/{guid}`: the route stays until the job has run. A second delete makes a
    /// second job (recorded).
    pub(crate) fn delete_route(&mut self, guid: &str) -> Reply {
        let space = self.route(guid)?.space.clone();
        self.may_write(&space)?;
        let job = self.state.enqueue(JobSubject::Route(guid.to_owned()));
        Ok(Answer::accepted(&self.href(&format!("/v3/jobs/{job}")), self.accept))
    }

    /// Every call on shared spaces and on the owner of a route.
    pub(crate) fn sharing(&self) -> Reply {
        self.feature("route_sharing", FlagDefault::Off)?;
        Ok(Answer::uncovered())
    }

    /// Writes a changed copy back.
    pub(crate) fn replace_route(&mut self, route: Route) {
        let mut routes = self.state.routes.iter_mut();
        if let Some(old) = routes.find(|old| old.guid == route.guid) {
            *old = route;
        }
    }

    fn add_route(&mut self, form: RouteForm, metadata: Metadata) -> String {
        let route = Route {
            guid: new_guid(),
            host: form.host,
            path: form.path,
            space: form.space,
            domain: form.domain,
            options: form.options,
            targets: Vec::new(),
            metadata,
            stamp: self.state.stamp(),
        };
        let guid = route.guid.clone();
        self.state.routes.push(route);
        guid
    }

    fn route_page(&self, list: &ListQuery, path: &str) -> (Json, Vec<&Route>) {
        let reader = self.state.reader(self.user);
        let routes = self.state.routes.iter().filter(|route| lists_route(&reader, route, list));
        let present = self.present();
        Self::page(list, routes.collect(), &self.href(path), |route| present.route(route))
    }

    fn with_route_included(
        &self,
        json: Json,
        wants: impl Fn(&[&str]) -> bool,
        routes: &[&Route],
    ) -> Json {
        let mut included = object! {};
        if wants(&["domain"]) {
            let used = |guid: &String| routes.iter().any(|route| route.domain == *guid);
            let domains = self.state.domains.iter().filter(|domain| used(&domain.guid));
            let write = |domain| self.present().domain(domain, self.user);
            included = included.with("domains", domains.map(write).collect::<Vec<_>>());
        }
        let spaces: Vec<&str> = routes.iter().map(|route| route.space.as_str()).collect();
        if wants(&["space", "space.organization"]) {
            included = included.with("spaces", self.included_spaces(&spaces));
        }
        if wants(&["space.organization"]) {
            included = included.with("organizations", self.included_orgs(&spaces));
        }
        if wants(&["route_policies"]) {
            included = included.with("route_policies", Vec::<Json>::new());
        }
        if included.is_blank() { json } else { json.with("included", included) }
    }
}

fn lists_route(reader: &Reader<'_>, route: &Route, list: &ListQuery) -> bool {
    let Some(space) = reader.space(&route.space) else {
        return false;
    };
    let mapped = || {
        let mut targets = route.targets.iter();
        list.among("app_guids").is_none_or(|apps| targets.any(|target| apps.contains(&target.app)))
    };
    // In this world no route is bound to a service instance, and all routes have port 0.
    reader.reads_routes(space)
        && list.admits_any_case("hosts", &route.host)
        && list.admits_any_case("paths", &route.path)
        && list.admits("ports", "0")
        && list.admits("space_guids", &space.guid)
        && list.admits("organization_guids", &space.org)
        && list.admits("domain_guids", &route.domain)
        && list.among("service_instance_guids").is_none()
        && mapped()
}
