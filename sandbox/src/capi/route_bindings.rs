//! Service route bindings: none at first, a lever makes them. Their service instances belong to a
//! marketplace that this world does not have: `include` names none.

use crate::capi::answer::{Answer, Reply};
use crate::capi::call_context::CallContext;
use crate::capi::json::{Json, object};
use crate::capi::list::{ListQuery, ListRule, SelectorCheck};
use crate::capi::present::{Presenter, metadata, to_one};
use crate::world::{Route, RouteBinding};

const ROUTE_BINDINGS: ListRule = ListRule {
    filters: &[
        "service_instance_guids",
        "service_instance_names",
        "route_guids",
        "include",
        "label_selector",
    ],
    plain: &["label_selector"],
    order: &["created_at", "updated_at"],
    includes: &["route", "service_instance"],
    selector: SelectorCheck::Full,
};

impl CallContext<'_> {
    /// `GET /v3/service_route_bindings`: those of the routes in spaces that the user sees.
    pub(crate) fn route_bindings(&self) -> Reply {
        let list = ListQuery::read(self.query, &ROUTE_BINDINGS)?;
        let bindings = self.state.route_bindings.iter().filter(|binding| {
            list.admits("service_instance_guids", &binding.instance)
                && list.admits("service_instance_names", &binding.instance_name)
                && list.admits("route_guids", &binding.route)
                && self.bound_route(binding).is_some()
        });
        let href = self.href("/v3/service_route_bindings");
        let write = |binding: &RouteBinding| self.present().route_binding(binding);
        let (mut json, shown) = Self::page(&list, bindings.collect(), &href, write);
        let mut included = object! {};
        if list.includes(&["service_instance"]) {
            included = included.with("service_instances", Vec::<Json>::new());
        }
        if list.includes(&["route"]) {
            let is_shown = |route: &&Route| shown.iter().any(|one| one.route == route.guid);
            let routes = self.state.routes.iter().filter(is_shown);
            let routes: Vec<Json> = routes.map(|route| self.present().route(route)).collect();
            included = included.with("routes", routes);
        }
        if !included.is_blank() {
            json = json.with("included", included);
        }
        Ok(Answer::ok(&json))
    }

    /// Returns the route of a binding if the user sees its space.
    fn bound_route(&self, binding: &RouteBinding) -> Option<&Route> {
        let route = self.state.route(&binding.route)?;
        let space = self.state.space(&route.space)?;
        self.state.reads_space(self.user, space).then_some(route)
    }
}

impl Presenter<'_> {
    /// A binding to a managed service instance.
    fn route_binding(self, binding: &RouteBinding) -> Json {
        let path = format!("service_route_bindings/{}", binding.guid);
        object! {
            "guid" => &binding.guid,
            "route_service_url" => &binding.url,
            "created_at" => &binding.stamp.created_at,
            "updated_at" => &binding.stamp.updated_at,
            "last_operation" => object! {
                "type" => "create",
                "state" => "succeeded",
                "description" => "",
                "created_at" => &binding.stamp.created_at,
                "updated_at" => &binding.stamp.updated_at,
            },
            "metadata" => metadata(&binding.metadata),
            "relationships" => object! {
                "service_instance" => to_one(&binding.instance),
                "route" => to_one(&binding.route),
            },
            "links" => object! {
                "self" => self.link(&path),
                "service_instance" => self.link(&format!("service_instances/{}", binding.instance)),
                "route" => self.link(&format!("routes/{}", binding.route)),
                "parameters" => self.link(&format!("{path}/parameters")),
            },
        }
    }
}
