//! What an administrator sets for the whole landscape: feature flags and stacks.

use crate::capi::answer::{Answer, Reply};
use crate::capi::call_context::CallContext;
use crate::capi::errors::not_found;
use crate::capi::json::{Json, object};
use crate::capi::list::{ListQuery, ListRule, SelectorCheck};
use crate::world::{Metadata, Resource, Timestamps};

/// CC's flags and their defaults, by name.
const FLAGS: &[(&str, bool)] = &[
    ("app_bits_upload", true),
    ("app_scaling", true),
    ("diego_cnb", false),
    ("diego_docker", false),
    ("env_var_visibility", true),
    ("hash_based_routing", false),
    ("hide_marketplace_from_unauthenticated_users", false),
    ("private_domain_creation", true),
    ("resource_matching", true),
    ("route_creation", true),
    ("route_sharing", false),
    ("service_instance_creation", true),
    ("service_instance_sharing", false),
    ("set_roles_by_username", true),
    ("space_developer_env_var_visibility", true),
    ("space_scoped_private_broker_creation", true),
    ("task_creation", true),
    ("unset_roles_by_username", true),
    ("user_org_creation", false),
];
const FLAG_LIST: ListRule = ListRule {
    filters: &[],
    plain: &[],
    order: &["name"],
    includes: &[],
    selector: SelectorCheck::Full,
};
const STACK_LIST: ListRule = ListRule {
    filters: &["names", "default", "label_selector"],
    plain: &["label_selector", "default"],
    order: &["created_at", "updated_at", "name"],
    includes: &[],
    selector: SelectorCheck::Full,
};
const STACK: &str = "6d1cf14e-4b5c-4a1c-9f61-63f54fd5aa01";
const STACK_NAME: &str = "cflinuxfs4";

/// A resource with a name and nothing else that changes.
#[derive(Debug)]
struct NamedResource {
    guid: &'static str,
    name: &'static str,
    metadata: Metadata,
    stamp: Timestamps,
}

impl NamedResource {
    fn new(guid: &'static str, name: &'static str) -> Self {
        Self { guid, name, metadata: Metadata::default(), stamp: Timestamps::default() }
    }
}

impl Resource for NamedResource {
    fn guid(&self) -> &str {
        self.guid
    }
    fn name(&self) -> Option<&str> {
        Some(self.name)
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

/// Returns whether CC has a flag of this name.
pub(crate) fn is_flag(name: &str) -> bool {
    FLAGS.iter().any(|(known, _)| *known == name)
}

impl CallContext<'_> {
    /// `GET /v3/feature_flags`.
    pub(crate) fn feature_flags(&self) -> Reply {
        let list = ListQuery::read(self.query, &FLAG_LIST)?;
        let flags: Vec<_> = FLAGS.iter().map(|(name, _)| NamedResource::new("", name)).collect();
        let href = self.href("/v3/feature_flags");
        let write = |flag: &NamedResource| self.flag_json(flag.name);
        let (json, _) = Self::page(&list, flags.iter().collect(), &href, write);
        Ok(Answer::ok(&json))
    }

    /// `GET /v3/feature_flags/{name}`.
    pub(crate) fn one_feature_flag(&self, name: &str) -> Reply {
        let known = FLAGS.iter().find(|(known, _)| *known == name);
        let (name, _) = known.ok_or_else(|| not_found("Feature flag"))?;
        Ok(Answer::ok(&self.flag_json(name)))
    }

    fn flag_json(&self, name: &str) -> Json {
        let default = FLAGS.iter().any(|(known, on)| *known == name && *on);
        let set = self.state.feature(name);
        object! {
            "name" => name,
            "enabled" => set.map_or(default, |flag| flag.on),
            "updated_at" => set.map(|_| self.state.now()),
            "custom_error_message" => set.and_then(|flag| flag.message.as_ref()),
            "links" => object! {"self" => self.present().link(&format!("feature_flags/{name}"))},
        }
    }

    /// `GET /v3/stacks`: one.
    pub(crate) fn stacks(&self) -> Reply {
        let list = ListQuery::read(self.query, &STACK_LIST)?;
        let stack = NamedResource::new(STACK, STACK_NAME);
        let stacks = if list.plain("default") == Some("false") { Vec::new() } else { vec![&stack] };
        let write = |stack: &NamedResource| self.stack_json(stack);
        let (json, _) = Self::page(&list, stacks, &self.href("/v3/stacks"), write);
        Ok(Answer::ok(&json))
    }

    fn stack_json(&self, stack: &NamedResource) -> Json {
        let made = self.state.orgs.first().map(|org| &org.stamp.created_at);
        object! {
            "guid" => stack.guid,
            "created_at" => made,
            "updated_at" => made,
            "name" => stack.name,
            "description" => "Cloud Foundry Linux-based filesystem (Ubuntu 22.04)",
            "state" => "ACTIVE",
            "state_reason" => Json::Null,
            "run_rootfs_image" => stack.name,
            "build_rootfs_image" => stack.name,
            "default" => true,
            "metadata" => object! {"labels" => object! {}, "annotations" => object! {}},
            "links" => object! {"self" => self.present().link(&format!("stacks/{}", stack.guid))},
        }
    }
}
