//! How each resource looks in an answer: members and links as recorded. An older release leaves out
//! the newer ones.

use crate::capi::json::{Json, object};
use crate::world::{
    App, Domain, Job, JobState, JobSubject, Metadata, Org, Release, Route, Space, Target,
    WorldState,
};

/// Writes resources as JSON. It borrows the state because resources refer to each other.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Presenter<'a> {
    pub(crate) base: &'a str,
    pub(crate) state: &'a WorldState,
}

impl Presenter<'_> {
    pub(crate) fn route(self, route: &Route) -> Json {
        let domain = self.state.domain(&route.domain).map_or("", |domain| &domain.name);
        let path = format!("routes/{}", route.guid);
        let mut json = object! {
            "guid" => &route.guid,
            "created_at" => &route.stamp.created_at,
            "updated_at" => &route.stamp.updated_at,
            "protocol" => "http",
            "host" => &route.host,
            "path" => &route.path,
            "port" => Json::Null,
            "url" => route.url(domain),
            "destinations" => self.targets(route.targets.iter()),
        };
        if self.state.release == Release::Current {
            json = json.with("options", Json::Object(route.options.clone()));
        }
        json.with("metadata", metadata(&route.metadata))
            .with(
                "relationships",
                object! {"space" => to_one(&route.space), "domain" => to_one(&route.domain)},
            )
            .with(
                "links",
                object! {
                    "self" => self.link(&path),
                    "space" => self.link(&format!("spaces/{}", route.space)),
                    "destinations" => self.link(&format!("{path}/destinations")),
                    "domain" => self.link(&format!("domains/{}", route.domain)),
                },
            )
    }

    /// The destinations of a route: sorted by guid (recorded).
    pub(crate) fn targets<'t>(self, targets: impl Iterator<Item = &'t Target>) -> Json {
        let mut targets: Vec<&Target> = targets.collect();
        targets.sort_by(|left, right| left.guid.cmp(&right.guid));
        Json::List(targets.into_iter().map(|target| self.target(target)).collect())
    }

    /// The list of a route's destinations, with links.
    pub(crate) fn target_list<'t>(
        self,
        route: &Route,
        targets: impl Iterator<Item = &'t Target>,
    ) -> Json {
        let path = format!("routes/{}", route.guid);
        object! {
            "destinations" => self.targets(targets),
            "links" => object! {
                "self" => self.link(&format!("{path}/destinations")),
                "route" => self.link(&path),
            },
        }
    }

    pub(crate) fn target(self, target: &Target) -> Json {
        let json = object! {
            "guid" => &target.guid,
            "app" => object! {
                "guid" => &target.app,
                "process" => object! {"type" => &target.process},
            },
            "weight" => target.weight,
            "port" => target.port,
            "protocol" => &target.protocol,
        };
        match self.state.release {
            Release::Older => json,
            Release::Current => json
                .with("created_at", &target.stamp.created_at)
                .with("updated_at", &target.stamp.updated_at),
        }
    }

    pub(crate) fn space(self, space: &Space) -> Json {
        let mut json = object! {
            "guid" => &space.guid,
            "created_at" => &space.stamp.created_at,
            "updated_at" => &space.stamp.updated_at,
            "name" => &space.name,
        };
        if self.state.release == Release::Current {
            json = json.with("suspended", space.suspended);
        }
        json.with(
            "relationships",
            object! {
                "organization" => to_one(&space.org),
                "quota" => space.quota_guid.as_ref().map_or_else(none, |guid| to_one(guid)),
            },
        )
        .with("metadata", metadata(&space.metadata))
        .with("links", self.space_links(space))
    }

    fn space_links(self, space: &Space) -> Json {
        let path = format!("spaces/{}", space.guid);
        let links = object! {
            "self" => self.link(&path),
            "organization" => self.link(&format!("organizations/{}", space.org)),
            "features" => self.link(&format!("{path}/features")),
            "apply_manifest" => self.post_link(&format!("{path}/actions/apply_manifest")),
        };
        match &space.quota_guid {
            Some(guid) => links.with("quota", self.link(&format!("space_quotas/{guid}"))),
            None => links,
        }
    }

    pub(crate) fn org(self, org: &Org) -> Json {
        let path = format!("organizations/{}", org.guid);
        object! {
            "guid" => &org.guid,
            "created_at" => &org.stamp.created_at,
            "updated_at" => &org.stamp.updated_at,
            "name" => &org.name,
            "suspended" => org.suspended,
            "relationships" => object! {"quota" => to_one(&org.quota_guid)},
            "metadata" => metadata(&org.metadata),
            "links" => object! {
                "self" => self.link(&path),
                "domains" => self.link(&format!("{path}/domains")),
                "default_domain" => self.link(&format!("{path}/domains/default")),
                "quota" => self.link(&format!("organization_quotas/{}", org.quota_guid)),
            },
        }
    }

    /// The list of organisations that share a domain holds only those that the user sees.
    pub(crate) fn domain(self, domain: &Domain, user: &str) -> Json {
        let path = format!("domains/{}", domain.guid);
        let shared = domain.shared_with.iter();
        let shared = shared
            .filter(|guid| self.state.sees_domains_of(user, guid))
            .map(|guid| object! {"guid" => guid});
        let mut links = object! {
            "self" => self.link(&path),
            "route_reservations" => self.link(&format!("{path}/route_reservations")),
        };
        if let Some(owner) = &domain.owner {
            links = links.with("organization", self.link(&format!("organizations/{owner}"))).with(
                "shared_organizations",
                self.link(&format!("{path}/relationships/shared_organizations")),
            );
        }
        object! {
            "guid" => &domain.guid,
            "created_at" => &domain.stamp.created_at,
            "updated_at" => &domain.stamp.updated_at,
            "name" => &domain.name,
            "internal" => domain.internal,
            "router_group" => Json::Null,
            "supported_protocols" => vec![Json::from("http")],
            "relationships" => object! {
                "organization" => object! {
                    "data" => domain.owner.as_ref().map(|owner| object! {"guid" => owner}),
                },
                "shared_organizations" => object! {"data" => shared.collect::<Vec<_>>()},
            },
            "metadata" => metadata(&domain.metadata),
            "links" => links,
        }
    }

    pub(crate) fn app(self, app: &App) -> Json {
        object! {
            "guid" => &app.guid,
            "created_at" => &app.stamp.created_at,
            "updated_at" => &app.stamp.updated_at,
            "name" => &app.name,
            "state" => &app.state,
            "lifecycle" => object! {
                "type" => "buildpack",
                "data" => object! {"buildpacks" => Vec::<Json>::new(), "stack" => Json::Null},
            },
            "relationships" => object! {
                "space" => to_one(&app.space),
                "current_droplet" => object! {"data" => object! {"guid" => Json::Null}},
            },
            "metadata" => metadata(&app.metadata),
            "links" => self.app_links(app),
        }
    }

    fn app_links(self, app: &App) -> Json {
        let path = format!("apps/{}", app.guid);
        let of = |name: &str| self.link(&format!("{path}/{name}"));
        let act = |name: &str| self.post_link(&format!("{path}/actions/{name}"));
        object! {
            "self" => self.link(&path),
            "environment_variables" => of("environment_variables"),
            "space" => self.link(&format!("spaces/{}", app.space)),
            "processes" => of("processes"),
            "packages" => of("packages"),
            "current_droplet" => of("droplets/current"),
            "droplets" => of("droplets"),
            "tasks" => of("tasks"),
            "start" => act("start"),
            "stop" => act("stop"),
            "clear_buildpack_cache" => act("clear_buildpack_cache"),
            "revisions" => of("revisions"),
            "deployed_revisions" => of("revisions/deployed"),
            "features" => of("features"),
        }
    }

    /// The link to the deleted resource disappears with it (recorded).
    pub(crate) fn job(self, job: &Job) -> Json {
        let state = match &job.state {
            JobState::Processing => "PROCESSING",
            JobState::Complete => "COMPLETE",
            JobState::Failed(_) => "FAILED",
        };
        let error = job.state.error().map(|(code, title, detail)| {
            object! {"detail" => detail, "title" => title, "code" => code}
        });
        let errors: Vec<Json> = error.into_iter().collect();
        let mut links = object! {"self" => self.link(&format!("jobs/{}", job.guid))};
        match &job.subject {
            JobSubject::Route(guid) if self.state.route(guid).is_some() => {
                links = links.with("route", self.link(&format!("routes/{guid}")));
            }
            JobSubject::Route(_) => {}
            JobSubject::UnmappedRoutes(guid) => {
                links = links.with("space", self.link(&format!("spaces/{guid}")));
            }
        }
        object! {
            "guid" => &job.guid,
            "created_at" => &job.stamp.created_at,
            "updated_at" => &job.stamp.updated_at,
            "operation" => job.subject.operation(),
            "state" => state,
            "errors" => errors,
            "warnings" => Vec::<Json>::new(),
            "links" => links,
        }
    }

    pub(crate) fn link(self, path: &str) -> Json {
        object! {"href" => format!("{}/v3/{path}", self.base)}
    }

    pub(crate) fn post_link(self, path: &str) -> Json {
        self.link(path).with("method", "POST")
    }
}

fn none() -> Json {
    object! {"data" => Json::Null}
}

pub(crate) fn to_one(guid: &str) -> Json {
    object! {"data" => object! {"guid" => guid}}
}

pub(crate) fn metadata(metadata: &Metadata) -> Json {
    let written = |entries: &[(String, String)]| {
        let entries = entries.iter();
        Json::Object(entries.map(|(key, value)| (key.clone(), Json::from(value))).collect())
    };
    object! {"labels" => written(&metadata.labels), "annotations" => written(&metadata.annotations)}
}
