//! Destinations of a route: list, add, replace, change, remove. To add the same one again changes
//! nothing. Twice in one array is CC's 500 on add and a 422 on replace (recorded, source).

use tokio::time::Instant;

use crate::capi::answer::{Answer, Reply};
use crate::capi::call_context::CallContext;
use crate::capi::errors::{ApiRefusal, unknown_error, unprocessable};
use crate::capi::list::{comma_list, unknown_parameters};
use crate::capi::target_form::{self, Purpose, TargetSpec};
use crate::world::{Route, Target, new_guid};

/// The most destinations of one route.
const MOST: usize = 100;
/// The default port of a buildpack app.
const DEFAULT_PORT: u64 = 8080;
const NOT_MAPPED: &str =
    "Unable to unmap route from destination. Ensure the route has a destination with this guid.";

impl CallContext<'_> {
    /// `GET /v3/routes/{guid}/destinations`.
    pub(crate) fn targets(&self, guid: &str) -> Reply {
        if let Some(fault) = unknown_parameters(self.query, &["guids", "app_guids"]) {
            return Err(unprocessable(&fault));
        }
        let route = self.route(guid)?;
        let admits = |name: &str, value: &String| {
            let wanted = self.query.text(name).map(comma_list);
            wanted.is_none_or(|wanted| wanted.contains(value))
        };
        let targets = route
            .targets
            .iter()
            .filter(|target| admits("guids", &target.guid) && admits("app_guids", &target.app));
        Ok(Answer::ok(&self.present().target_list(route, targets)))
    }

    /// `POST /v3/routes/{guid}/destinations`.
    pub(crate) fn add_targets(&mut self, guid: &str) -> Reply {
        let (mut route, wanted) = self.targets_wanted(guid, Purpose::Add)?;
        if route.targets.len() + wanted.len() > MOST {
            return Err(unprocessable("Routes can be mapped to at most 100 destinations."));
        }
        if has_duplicates(&wanted) {
            return Err(unknown_error());
        }
        if route.targets.iter().any(|target| target.weight.is_some()) {
            return Err(unprocessable(
                "Destinations cannot be inserted when there are weighted destinations already configured.",
            ));
        }
        let mut added: Vec<Target> = Vec::new();
        for target in wanted {
            match route.targets.iter().find(|known| same_endpoint(known, &target)) {
                Some(known) if known.protocol != target.protocol => {
                    return Err(unprocessable(&self.protocol_clash(&route, known, &target)));
                }
                Some(known) if self.state.lost_map_race(known.mapped, self.arrived) => {
                    return Err(unknown_error());
                }
                Some(_) => {}
                None if added.iter().any(|known| same_endpoint(known, &target)) => {
                    return Err(unknown_error());
                }
                None => added.push(target),
            }
        }
        if added.iter().any(|target| target.protocol == "tcp") {
            return Err(unprocessable(
                "Cannot use 'tcp' protocol for http routes; valid options are: [http1, http2].",
            ));
        }
        route.targets.extend(added);
        Ok(self.write_targets(route))
    }

    /// `PATCH /v3/routes/{guid}/destinations`. CC does not catch one of its own errors here, so the
    /// protocol `tcp` is a 500 (source).
    pub(crate) fn replace_targets(&mut self, guid: &str) -> Reply {
        let (mut route, wanted) = self.targets_wanted(guid, Purpose::Replace)?;
        if has_duplicates(&wanted) {
            return Err(unprocessable("Destinations cannot contain duplicate entries"));
        }
        if wanted.iter().any(|target| target.protocol == "tcp") {
            return Err(unknown_error());
        }
        let is_new = |target: &Target| !route.targets.iter().any(|known| same(known, target));
        let added: Vec<Target> = wanted.iter().filter(|target| is_new(target)).cloned().collect();
        route.targets.retain(|known| wanted.iter().any(|target| same(known, target)));
        route.targets.extend(added);
        Ok(self.write_targets(route))
    }

    /// `PATCH /v3/routes/{guid}/destinations/{target}`: changes the protocol.
    pub(crate) fn patch_target(&mut self, guid: &str, target: &str) -> Reply {
        let protocol = target_form::read_protocol(self.body)?;
        let mut route = self.route(guid)?.clone();
        self.may_write(&route.space)?;
        let mut targets = route.targets.iter_mut();
        let changed = targets.find(|known| known.guid == target).ok_or_else(not_mapped)?;
        if protocol.as_deref() == Some("tcp") {
            return Err(unprocessable(
                "Destination protocol must be 'http1' or 'http2' if the parent route's protocol is 'http'",
            ));
        }
        if let Some(protocol) = protocol {
            changed.protocol = protocol;
            self.state.touch(&mut changed.stamp);
        }
        let json = self.present().target(changed);
        self.replace_route(route);
        Ok(Answer::ok(&json))
    }

    /// `DELETE /v3/routes/{guid}/destinations/{target}`. An unknown destination is a 422, not a 404
    /// (recorded).
    pub(crate) fn delete_target(&mut self, guid: &str, target: &str) -> Reply {
        let mut route = self.route(guid)?.clone();
        self.may_write(&route.space)?;
        let known =
            route.targets.iter().find(|known| known.guid == target).ok_or_else(not_mapped)?;
        if known.weight.is_some() {
            return Err(unprocessable("Weighted destinations cannot be deleted individually."));
        }
        route.targets.retain(|known| known.guid != target);
        self.replace_route(route);
        Ok(Answer::no_content())
    }

    /// Checks body, route, role and apps, in this order, and fills in the defaults.
    fn targets_wanted(
        &mut self,
        guid: &str,
        purpose: Purpose,
    ) -> Result<(Route, Vec<Target>), ApiRefusal> {
        let specs = target_form::read(self.body, purpose)?;
        let route = self.route(guid)?.clone();
        self.may_write(&route.space)?;
        if specs.iter().any(|spec| spec.app.contains('\0')) {
            return Err(unknown_error());
        }
        self.check_apps(&route, &specs)?;
        let targets = specs.into_iter().map(|spec| self.target(spec)).collect();
        Ok((route, targets))
    }

    fn check_apps(&self, route: &Route, specs: &[TargetSpec]) -> Result<(), ApiRefusal> {
        let guids = |wrong: &dyn Fn(&TargetSpec) -> bool| -> Option<String> {
            let mut found: Vec<&str> = Vec::new();
            for spec in specs.iter().filter(|spec| wrong(spec)) {
                if !found.contains(&spec.app.as_str()) {
                    found.push(&spec.app);
                }
            }
            (!found.is_empty()).then(|| found.join("\", \""))
        };
        if let Some(unknown) = guids(&|spec| self.state.app(&spec.app).is_none()) {
            let text = format!("App(s) with guid(s) \"{unknown}\" do not exist.");
            return Err(unprocessable(&text));
        }
        let hidden = |spec: &TargetSpec| {
            let app = self.state.app(&spec.app);
            !app.is_some_and(|app| self.reads_app(app))
        };
        if let Some(hidden) = guids(&hidden) {
            let text = format!("App(s) with guid(s) \"{hidden}\" you do not have access.");
            return Err(unprocessable(&text));
        }
        let elsewhere = |spec: &TargetSpec| {
            let app = self.state.app(&spec.app);
            app.is_some_and(|app| app.space != route.space)
        };
        if specs.iter().any(elsewhere) {
            return Err(unprocessable(
                "Routes destinations must be in either the route's space or the route's shared spaces",
            ));
        }
        Ok(())
    }

    fn target(&mut self, spec: TargetSpec) -> Target {
        Target {
            guid: new_guid(),
            app: spec.app,
            process: spec.process,
            port: spec.port.unwrap_or(DEFAULT_PORT),
            weight: spec.weight,
            protocol: spec.protocol.unwrap_or_else(|| "http1".to_owned()),
            stamp: self.state.stamp(),
            mapped: Instant::now(),
        }
    }

    fn protocol_clash(&self, route: &Route, known: &Target, target: &Target) -> String {
        let domain = self.state.domain(&route.domain).map_or("", |domain| &domain.name);
        format!(
            "Cannot add destination with protocol: {}. Destination already exists for route: {}, app: {}, process: {}, and protocol: {}.",
            target.protocol,
            route.url(domain),
            target.app,
            target.process,
            known.protocol
        )
    }

    fn write_targets(&mut self, route: Route) -> Answer {
        let json = self.present().target_list(&route, route.targets.iter());
        self.replace_route(route);
        Answer::ok(&json)
    }
}

fn not_mapped() -> ApiRefusal {
    unprocessable(NOT_MAPPED)
}

/// Tells whether both lead to the same port of the same process.
fn same_endpoint(left: &Target, right: &Target) -> bool {
    (&left.app, &left.process, left.port) == (&right.app, &right.process, right.port)
}

fn same(left: &Target, right: &Target) -> bool {
    same_endpoint(left, right) && (left.weight, &left.protocol) == (right.weight, &right.protocol)
}

fn has_duplicates(targets: &[Target]) -> bool {
    let duplicate = |(index, target): (usize, &Target)| {
        targets.iter().skip(index + 1).any(|other| same(target, other))
    };
    targets.iter().enumerate().any(duplicate)
}
