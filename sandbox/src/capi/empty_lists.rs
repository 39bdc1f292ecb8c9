//! Lists of what this world does not have: services, isolation segments, tasks, and so on. CC
//! answers them with an empty page, after the usual checks of the query.

use crate::capi::answer::{Answer, Reply};
use crate::capi::call_context::CallContext;
use crate::capi::errors::not_found;
use crate::capi::json::{Json, object};
use crate::capi::list::{ListQuery, ListRule, SelectorCheck};
use crate::world::App;

/// One such list: its name, what it belongs to, and its query.
#[derive(Debug)]
pub(crate) struct EmptyList {
    name: &'static str,
    holder: Holder,
    rule: ListRule,
    /// What `include` names, and the member of `included`.
    included: &'static [(&'static str, &'static str)],
}

/// What a list belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Holder {
    Nothing,
    Apps,
    Processes,
    Spaces,
}

impl Holder {
    fn segment(self) -> &'static str {
        match self {
            Self::Nothing => "",
            Self::Apps => "apps",
            Self::Processes => "processes",
            Self::Spaces => "spaces",
        }
    }
}

impl PartialEq for EmptyList {
    fn eq(&self, other: &Self) -> bool {
        (self.name, self.holder) == (other.name, other.holder)
    }
}

impl Eq for EmptyList {}

const fn list(holder: Holder, name: &'static str, filters: &'static [&'static str]) -> EmptyList {
    let rule = ListRule {
        filters,
        plain: &["label_selector", "available", "type"],
        order: &["created_at", "updated_at"],
        includes: &[],
        selector: SelectorCheck::Full,
    };
    EmptyList { name, holder, rule, included: &[] }
}

/// The list with these fields for `order_by`.
const fn ordered(list: EmptyList, order: &'static [&'static str]) -> EmptyList {
    let EmptyList { name, holder, rule, included } = list;
    EmptyList { name, holder, rule: ListRule { order, ..rule }, included }
}

/// A list of what has a name.
const fn named(name: &'static str, filters: &'static [&'static str]) -> EmptyList {
    ordered(list(Holder::Nothing, name, filters), &["created_at", "updated_at", "name"])
}

const fn including(
    list: EmptyList,
    includes: &'static [&'static str],
    members: &'static [(&'static str, &'static str)],
) -> EmptyList {
    let EmptyList { name, holder, rule, .. } = list;
    EmptyList { name, holder, rule: ListRule { includes, ..rule }, included: members }
}

const LISTS: &[EmptyList] = &[
    named("isolation_segments", &["names", "organization_guids", "label_selector"]),
    named(
        "service_instances",
        &[
            "type",
            "fields",
            "names",
            "space_guids",
            "organization_guids",
            "service_plan_guids",
            "service_plan_names",
            "label_selector",
        ],
    ),
    including(
        named(
            "service_plans",
            &[
                "available",
                "fields",
                "broker_catalog_ids",
                "names",
                "organization_guids",
                "service_broker_guids",
                "service_broker_names",
                "service_instance_guids",
                "service_offering_guids",
                "service_offering_names",
                "space_guids",
                "include",
                "label_selector",
            ],
        ),
        &["space.organization", "service_offering"],
        &[
            ("space.organization", "spaces"),
            ("space.organization", "organizations"),
            ("service_offering", "service_offerings"),
        ],
    ),
    named(
        "service_offerings",
        &[
            "available",
            "fields",
            "broker_catalog_ids",
            "service_broker_guids",
            "service_broker_names",
            "names",
            "space_guids",
            "organization_guids",
            "label_selector",
        ],
    ),
    including(
        named(
            "service_credential_bindings",
            &[
                "names",
                "service_instance_guids",
                "service_instance_names",
                "service_plan_names",
                "service_plan_guids",
                "service_offering_names",
                "service_offering_guids",
                "app_guids",
                "app_names",
                "include",
                "type",
                "label_selector",
            ],
        ),
        &["app", "service_instance"],
        &[("app", "apps"), ("service_instance", "service_instances")],
    ),
    list(
        Holder::Nothing,
        "audit_events",
        &["types", "target_guids", "space_guids", "organization_guids"],
    ),
    ordered(
        list(
            Holder::Nothing,
            "buildpacks",
            &["stacks", "names", "lifecycle", "page", "per_page", "label_selector"],
        ),
        &["created_at", "updated_at", "position", "lifecycle"],
    ),
    list(Holder::Nothing, "tasks", TASKS),
    list(Holder::Apps, "tasks", TASKS),
    list(Holder::Apps, "sidecars", &[]),
    list(Holder::Processes, "sidecars", &[]),
    list(Holder::Spaces, "running_security_groups", SECURITY_GROUPS),
    list(Holder::Spaces, "staging_security_groups", SECURITY_GROUPS),
];
const TASKS: &[&str] = &[
    "names",
    "states",
    "app_guids",
    "organization_guids",
    "space_guids",
    "app_guid",
    "sequence_ids",
    "label_selector",
];
const SECURITY_GROUPS: &[&str] = &[
    "names",
    "running_space_guids",
    "staging_space_guids",
    "globally_enabled_running",
    "globally_enabled_staging",
];

impl EmptyList {
    /// Returns the list with these segments below `/v3`, and the guid of what it belongs to.
    pub(crate) fn at<'a>(segments: &[&'a str]) -> Option<(&'static Self, &'a str)> {
        let (holder, guid, name) = match segments {
            [name] => ("", "", name),
            [holder, guid, name] => (*holder, *guid, name),
            _ => return None,
        };
        let is_it = |list: &&Self| list.name == *name && list.holder.segment() == holder;
        LISTS.iter().find(is_it).map(|list| (list, guid))
    }
}

impl CallContext<'_> {
    /// `GET` of an empty list; `guid` is that of its holder.
    pub(crate) fn empty_list(&self, of: &EmptyList, guid: &str) -> Reply {
        let list = ListQuery::read(self.query, &of.rule)?;
        match of.holder {
            Holder::Nothing => {}
            Holder::Apps => self.app(guid).map(|_| ())?,
            Holder::Processes => self.app(guid).map(|_| ()).map_err(|_| not_found("Process"))?,
            Holder::Spaces => self.space(guid).map(|_| ())?,
        }
        let href = match of.holder {
            Holder::Nothing => self.href(&format!("/v3/{}", of.name)),
            Holder::Apps | Holder::Processes | Holder::Spaces => {
                self.href(&format!("/v3/{}/{guid}/{}", of.holder.segment(), of.name))
            }
        };
        let (mut json, _) = Self::page::<App>(&list, Vec::new(), &href, |_| Json::Null);
        let mut included = object! {};
        for (_, member) in of.included.iter().filter(|(name, _)| list.includes(&[name])) {
            included = included.with(member, Vec::<Json>::new());
        }
        if !included.is_blank() {
            json = json.with("included", included);
        }
        Ok(Answer::ok(&json))
    }

    /// `GET /v3/organizations/{guid}/relationships/default_isolation_segment`: none is set.
    pub(crate) fn default_isolation_segment(&self, guid: &str) -> Reply {
        let org = self.org(guid)?;
        let path = format!("organizations/{}/relationships/default_isolation_segment", org.guid);
        Ok(self.none(&path))
    }

    /// `GET /v3/spaces/{guid}/relationships/isolation_segment`: none is set.
    pub(crate) fn isolation_segment(&self, guid: &str) -> Reply {
        let space = self.space(guid)?;
        Ok(self.none(&format!("spaces/{}/relationships/isolation_segment", space.guid)))
    }

    fn none(&self, path: &str) -> Answer {
        Answer::ok(&object! {
            "data" => Json::Null,
            "links" => object! {"self" => self.present().link(path)},
        })
    }
}
