//! Lists of what this world does not have: service bindings, isolation segments, and so on. CC
//! answers them with an empty page, after the usual checks of the query.

use crate::capi::answer::{Answer, Reply};
use crate::capi::call_context::CallContext;
use crate::capi::json::{Json, object};
use crate::capi::list::{ListQuery, ListRule, SelectorCheck};
use crate::world::App;

/// One such list: its name below `/v3` or below an app or a process, and its query.
#[derive(Debug)]
pub(crate) struct EmptyList {
    name: &'static str,
    rule: ListRule,
    /// What `include` names, and the member of `included`.
    included: &'static [(&'static str, &'static str)],
}

impl PartialEq for EmptyList {
    fn eq(&self, other: &Self) -> bool {
        self.name == other.name
    }
}

impl Eq for EmptyList {}

const fn list(name: &'static str, filters: &'static [&'static str]) -> EmptyList {
    let rule = ListRule {
        filters,
        plain: &["label_selector"],
        order: &["created_at", "updated_at", "name"],
        includes: &[],
        selector: SelectorCheck::Full,
    };
    EmptyList { name, rule, included: &[] }
}

/// The lists below `/v3`.
const LISTS: &[EmptyList] = &[
    EmptyList {
        name: "service_route_bindings",
        rule: ListRule {
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
        },
        included: &[("service_instance", "service_instances"), ("route", "routes")],
    },
    list("isolation_segments", &["names", "organization_guids", "label_selector"]),
];

impl EmptyList {
    /// Returns the list with this name.
    pub(crate) fn named(name: &str) -> Option<&'static Self> {
        LISTS.iter().find(|list| list.name == name)
    }
}

impl CallContext<'_> {
    /// `GET /v3/{name}` of an empty list.
    pub(crate) fn empty_list(&self, of: &EmptyList) -> Reply {
        let list = ListQuery::read(self.query, &of.rule)?;
        let href = self.href(&format!("/v3/{}", of.name));
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
        Ok(Answer::ok(&object! {
            "data" => Json::Null,
            "links" => object! {"self" => self.present().link(&path)},
        }))
    }
}
