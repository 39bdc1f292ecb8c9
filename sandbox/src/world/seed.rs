//! The two worlds at their start: one for people and tests, one for the replay of recordings. Both
//! have the same organisations, spaces and domains with the same guids. Apps and users differ.

use std::sync::{Arc, Mutex};

use crate::identity::{TECHNICAL_GUID, TECHNICAL_ORIGIN};
use crate::token::CfTokens;
use crate::world::{
    App, CfWorld, Domain, Metadata, Org, Role, RootLinks, Space, WorldState, new_guid,
};

/// The technical user of the provider; developer in `dev` and `other`.
pub const TECHNICAL_USER: &str = "technical.user@example.test";
/// A second technical user; developer in `dev` only.
pub const DEV_USER: &str = "dev.user@example.test";

const PROVIDER_ORG: &str = "e69eb72f-5f9a-448e-8e8f-757a9c1fa0b8";
const FOREIGN_ORG: &str = "85b31776-8e69-41d5-be3f-4b9c9fc6e015";
const TINY_ORG: &str = "d01f067a-7541-4ff9-8c4a-ec469f4da67a";
const DEV: &str = "4d57c4e2-59ab-4b1f-a6f1-e18e43abcd3a";
const OTHER: &str = "1db51335-e4a1-4571-bce8-a76dcc969a6b";
const FSPACE: &str = "fb0fa45c-d29b-4551-ba09-5be037e6a0f9";
const TSPACE: &str = "2cc5e87e-382b-47e2-a926-f7e28a2a5275";
const ROUTER_APP: &str = "15edce6b-4931-4777-93b7-97fbc99e40b9";
const DEFAULT_QUOTA: &str = "fc59742a-6a50-44d1-924f-972d47838789";
const TINY_QUOTA: &str = "5a2563d2-fe46-4277-bd60-0a016c9d7ba5";

/// CF's default quota has 1000 routes.
const DEFAULT_ROUTES: usize = 1000;

impl CfWorld {
    /// Makes the world for people and tests.
    pub fn seeded(api_base: String, login_base: String, tokens: Arc<CfTokens>) -> Self {
        let mut state = base_state();
        let started = "STARTED";
        state.add_app(ROUTER_APP, "saas-approuter", DEV, started);
        state.add_app(&new_guid(), "cfapi-broker", DEV, started);
        state.add_app(&new_guid(), "bookshop-approuter", DEV, started);
        state.add_user(TECHNICAL_GUID, TECHNICAL_USER, TECHNICAL_ORIGIN);
        state.grant(TECHNICAL_USER, DEV, Role::SpaceDeveloper);
        state.grant(TECHNICAL_USER, OTHER, Role::SpaceDeveloper);
        state.grant(DEV_USER, DEV, Role::SpaceDeveloper);
        Self::new(api_base, login_base, tokens, state)
    }

    /// Makes the world of the recordings, with the users `tech`, `aud` and `ro`.
    pub(crate) fn recorded(api_base: String, login_base: String, tokens: Arc<CfTokens>) -> Self {
        let mut state = base_state();
        state.add_app(ROUTER_APP, "saas-approuter", DEV, "STOPPED");
        for space in [DEV, OTHER, FSPACE, TSPACE] {
            state.grant("tech", space, Role::SpaceDeveloper);
        }
        state.grant("aud", DEV, Role::SpaceAuditor);
        state.links = RootLinks::Full;
        Self::new(api_base, login_base, tokens, state)
    }

    fn new(api: String, login: String, tokens: Arc<CfTokens>, state: WorldState) -> Self {
        Self {
            api_base: without_slash(api),
            login_base: without_slash(login),
            tokens,
            state: Mutex::new(state),
        }
    }
}

impl WorldState {
    pub(crate) fn add_app(&mut self, guid: &str, name: &str, space: &str, state: &str) {
        let stamp = self.stamp();
        self.apps.push(App {
            guid: guid.to_owned(),
            name: name.to_owned(),
            space: space.to_owned(),
            state: state.to_owned(),
            metadata: Metadata::default(),
            stamp,
        });
    }

    pub(crate) fn add_domain(&mut self, guid: &str, name: &str, owner: Option<&str>) {
        let stamp = self.stamp();
        self.domains.push(Domain {
            guid: guid.to_owned(),
            name: name.to_owned(),
            internal: name == "apps.internal",
            owner: owner.map(str::to_owned),
            shared_with: Vec::new(),
            metadata: Metadata::default(),
            stamp,
        });
    }

    fn add_org(&mut self, guid: &str, name: &str, quota: &str, routes: usize) {
        let stamp = self.stamp();
        self.orgs.push(Org {
            guid: guid.to_owned(),
            name: name.to_owned(),
            suspended: false,
            quota_guid: quota.to_owned(),
            route_quota: Some(routes),
            metadata: Metadata::default(),
            stamp,
        });
    }

    pub(crate) fn add_space(&mut self, guid: &str, name: &str, org: &str) {
        let stamp = self.stamp();
        self.spaces.push(Space {
            guid: guid.to_owned(),
            name: name.to_owned(),
            org: org.to_owned(),
            suspended: false,
            deleting: false,
            quota_guid: None,
            route_quota: None,
            metadata: Metadata::default(),
            stamp,
        });
    }
}

/// Removes the slash at the end, because every href starts with one.
fn without_slash(mut base: String) -> String {
    base.truncate(base.trim_end_matches('/').len());
    base
}

/// Makes what both worlds have. The shared domain comes first, so it is the default.
fn base_state() -> WorldState {
    let mut state = WorldState::default();
    state.add_org(PROVIDER_ORG, "provider-org", DEFAULT_QUOTA, DEFAULT_ROUTES);
    state.add_org(FOREIGN_ORG, "foreign-org", DEFAULT_QUOTA, DEFAULT_ROUTES);
    state.add_org(TINY_ORG, "tiny-org", TINY_QUOTA, 1);
    for (guid, name, owner) in [
        ("d75a8564-c07c-440a-b0d1-81fbd15d4c85", "cfapps.example.test", None),
        ("02416df0-5a47-4d2b-86e7-39e08dd839fd", "saas.example.test", Some(PROVIDER_ORG)),
        ("bad0e64d-3b1b-4341-83cb-76676a281bf3", "foreign.example.test", Some(FOREIGN_ORG)),
        ("5930476f-657d-4277-941a-c8fb4c08bd39", "apps.internal", None),
    ] {
        state.add_domain(guid, name, owner);
    }
    state.add_space(DEV, "dev", PROVIDER_ORG);
    state.add_space(OTHER, "other", PROVIDER_ORG);
    state.add_space(FSPACE, "fspace", FOREIGN_ORG);
    state.add_space(TSPACE, "tspace", TINY_ORG);
    state
}
