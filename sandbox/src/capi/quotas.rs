//! Quotas of organisations and spaces, and what is used of them. The sandbox knows only limits of
//! routes; the other members are those of CF's default quota.

use crate::capi::answer::{Answer, Reply};
use crate::capi::call_context::CallContext;
use crate::capi::errors::not_found;
use crate::capi::json::{Json, object};
use crate::capi::list::{ListQuery, ListRule, SelectorCheck};
use crate::capi::present::{Presenter, to_one};
use crate::world::{App, Metadata, Org, Resource, Space, Timestamps};

/// A quota in a list.
#[derive(Debug)]
struct Quota {
    guid: String,
    name: String,
    /// An organisation or a space that has it.
    holder: String,
    metadata: Metadata,
    stamp: Timestamps,
}

impl Quota {
    fn of(guid: &str, holder_name: &str, holder: &str, stamp: &Timestamps) -> Self {
        Self {
            guid: guid.to_owned(),
            name: quota_name(holder_name),
            holder: holder.to_owned(),
            metadata: Metadata::default(),
            stamp: stamp.clone(),
        }
    }
}

impl Resource for Quota {
    fn guid(&self) -> &str {
        &self.guid
    }
    fn name(&self) -> Option<&str> {
        Some(&self.name)
    }
    fn state(&self) -> Option<&str> {
        None
    }
    fn metadata(&self) -> &Metadata {
        &self.metadata
    }
    fn stamp(&self) -> &Timestamps {
        &self.stamp
    }
}

fn quota_name(holder: &str) -> String {
    format!("{holder}-quota")
}

/// Memory of CF's default quota, in MB.
const TOTAL_MEMORY: u64 = 10_240;
/// Memory of one app, in MB.
const APP_MEMORY: u64 = 1024;

const ORG_QUOTAS: ListRule = ListRule {
    filters: &["names", "organization_guids"],
    plain: &[],
    order: &["created_at", "updated_at", "name"],
    includes: &[],
    selector: SelectorCheck::Full,
};
const SPACE_QUOTAS: ListRule = ListRule {
    filters: &["names", "organization_guids", "space_guids"],
    plain: &[],
    order: &["created_at", "updated_at", "name"],
    includes: &[],
    selector: SelectorCheck::Full,
};

impl CallContext<'_> {
    /// `GET /v3/organization_quotas`: those of the organisations that the user sees.
    pub(crate) fn org_quotas(&self) -> Reply {
        let list = ListQuery::read(self.query, &ORG_QUOTAS)?;
        let seen: Vec<&Org> =
            self.state.orgs.iter().filter(|org| self.state.reads_org(self.user, org)).collect();
        let mut quotas: Vec<Quota> = Vec::new();
        for org in &seen {
            if quotas.iter().all(|quota| quota.guid != org.quota_guid)
                && list.admits("organization_guids", &org.guid)
            {
                quotas.push(Quota::of(&org.quota_guid, &org.name, &org.guid, &org.stamp));
            }
        }
        let present = self.present();
        let write = |quota: &Quota| {
            let of_quota = |org: &&&Org| org.quota_guid == quota.guid;
            let users: Vec<&Org> = seen.iter().filter(of_quota).copied().collect();
            users.first().map_or(Json::Null, |org| present.org_quota(org, &users))
        };
        let href = self.href("/v3/organization_quotas");
        let (json, _) = Self::page(&list, quotas.iter().collect(), &href, write);
        Ok(Answer::ok(&json))
    }

    /// `GET /v3/space_quotas`: those of the spaces that the user sees.
    pub(crate) fn space_quotas(&self) -> Reply {
        let list = ListQuery::read(self.query, &SPACE_QUOTAS)?;
        let spaces = self.state.spaces.iter().filter(|space| {
            self.state.reads_space(self.user, space)
                && list.admits("space_guids", &space.guid)
                && list.admits("organization_guids", &space.org)
        });
        let quotas: Vec<Quota> = spaces
            .filter_map(|space| {
                let guid = space.quota_guid.as_ref()?;
                Some(Quota::of(guid, &space.name, &space.guid, &space.stamp))
            })
            .collect();
        let present = self.present();
        let write = |quota: &Quota| {
            let space = self.state.space(&quota.holder);
            space.map_or(Json::Null, |space| present.space_quota(space, &quota.guid))
        };
        let href = self.href("/v3/space_quotas");
        let (json, _) = Self::page(&list, quotas.iter().collect(), &href, write);
        Ok(Answer::ok(&json))
    }

    /// `GET /v3/organization_quotas/{guid}`. Every user may read it; of its organisations it names
    /// those that the user sees.
    pub(crate) fn one_org_quota(&self, guid: &str) -> Reply {
        let of_quota = || self.state.orgs.iter().filter(|org| org.quota_guid == guid);
        let seen: Vec<&Org> =
            of_quota().filter(|org| self.state.reads_org(self.user, org)).collect();
        let shown = seen.first().copied().or_else(|| of_quota().next());
        let org = shown.ok_or_else(|| not_found("Organization quota"))?;
        Ok(Answer::ok(&self.present().org_quota(org, &seen)))
    }

    /// `GET /v3/space_quotas/{guid}`: visible with the space that has it.
    pub(crate) fn one_space_quota(&self, guid: &str) -> Reply {
        let mut spaces = self.state.spaces.iter();
        let space = spaces.find(|space| space.quota_guid.as_deref() == Some(guid));
        let space = space.filter(|space| self.state.reads_space(self.user, space));
        let space = space.ok_or_else(|| not_found("Space quota"))?;
        Ok(Answer::ok(&self.present().space_quota(space, guid)))
    }

    /// `GET /v3/organizations/{guid}/usage_summary`. It counts what the user does not see, too.
    pub(crate) fn org_usage(&self, guid: &str) -> Reply {
        let org = self.org(guid)?;
        let is_of_org =
            |space: &str| self.state.space(space).is_some_and(|space| space.org == org.guid);
        let usage = self.usage(&org.guid, is_of_org);
        let path = format!("organizations/{guid}");
        Ok(Answer::ok(&object! {
            "usage_summary" => usage,
            "links" => object! {
                "self" => self.present().link(&format!("{path}/usage_summary")),
                "organization" => self.present().link(&path),
            },
        }))
    }

    /// `GET /v3/spaces/{guid}/usage_summary`.
    pub(crate) fn space_usage(&self, guid: &str) -> Reply {
        let space = self.space(guid)?;
        let usage = self.usage(&space.org, |other: &str| other == guid);
        let path = format!("spaces/{guid}");
        Ok(Answer::ok(&object! {
            "usage_summary" => usage,
            "links" => object! {
                "self" => self.present().link(&format!("{path}/usage_summary")),
                "space" => self.present().link(&path),
            },
        }))
    }

    /// Counts routes and started apps in the spaces that `within` accepts, and the organisation's
    /// own domains.
    fn usage(&self, org: &str, within: impl Fn(&str) -> bool) -> Json {
        let number = |count: usize| u64::try_from(count).unwrap_or(u64::MAX);
        let is_started = |app: &&App| within(&app.space) && app.state == "STARTED";
        let started = number(self.state.apps.iter().filter(is_started).count());
        let routes = self.state.routes.iter().filter(|route| within(&route.space)).count();
        let domains = self.state.domains.iter();
        let domains = domains.filter(|domain| domain.owner.as_deref() == Some(org)).count();
        object! {
            "started_instances" => started,
            "memory_in_mb" => started * APP_MEMORY,
            "routes" => number(routes),
            "service_instances" => 0_u64,
            "reserved_ports" => 0_u64,
            "domains" => number(domains),
            "per_app_tasks" => 0_u64,
            "service_keys" => 0_u64,
        }
    }
}

impl Presenter<'_> {
    fn org_quota(self, org: &Org, seen: &[&Org]) -> Json {
        let seen: Vec<Json> = seen.iter().map(|org| object! {"guid" => &org.guid}).collect();
        object! {
            "guid" => &org.quota_guid,
            "created_at" => &org.stamp.created_at,
            "updated_at" => &org.stamp.updated_at,
            "name" => quota_name(&org.name),
            "apps" => apps_limit(),
            "services" => services_limit(),
            "routes" => routes_limit(org.route_quota),
            "domains" => object! {"total_domains" => Json::Null},
            "relationships" => object! {"organizations" => object! {"data" => seen}},
            "links" => object! {
                "self" => self.link(&format!("organization_quotas/{}", org.quota_guid)),
            },
        }
    }

    fn space_quota(self, space: &Space, guid: &str) -> Json {
        object! {
            "guid" => guid,
            "created_at" => &space.stamp.created_at,
            "updated_at" => &space.stamp.updated_at,
            "name" => quota_name(&space.name),
            "apps" => apps_limit(),
            "services" => services_limit(),
            "routes" => routes_limit(space.route_quota),
            "relationships" => object! {
                "organization" => to_one(&space.org),
                "spaces" => object! {"data" => vec![object! {"guid" => &space.guid}]},
            },
            "links" => object! {
                "self" => self.link(&format!("space_quotas/{guid}")),
                "organization" => self.link(&format!("organizations/{}", space.org)),
            },
        }
    }
}

fn apps_limit() -> Json {
    object! {
        "total_memory_in_mb" => TOTAL_MEMORY,
        "per_process_memory_in_mb" => Json::Null,
        "total_instances" => Json::Null,
        "per_app_tasks" => Json::Null,
        "log_rate_limit_in_bytes_per_second" => Json::Null,
    }
}

fn services_limit() -> Json {
    object! {
        "paid_services_allowed" => true,
        "total_service_instances" => 100_u64,
        "total_service_keys" => Json::Null,
    }
}

fn routes_limit(most: Option<usize>) -> Json {
    let most = most.map(|most| u64::try_from(most).unwrap_or(u64::MAX));
    object! {"total_routes" => most, "total_reserved_ports" => 0_u64}
}
