//! What one authenticated call works with, and the checks that several calls need: may this user
//! see or change the resource?

use tokio::time::Instant;

use crate::capi::errors::{
    ApiRefusal, feature_disabled, not_authorized, not_found, org_suspended, space_being_deleted,
    space_suspended,
};
use crate::capi::json::{Json, object};
use crate::capi::list::ListQuery;
use crate::capi::present::Presenter;
use crate::capi::query::Query;
use crate::world::{Org, Resource, Route, Space, WorldState};

/// One call. It is made while the world is locked.
#[derive(Debug)]
pub(crate) struct CallContext<'a> {
    pub(crate) base: &'a str,
    pub(crate) state: &'a mut WorldState,
    /// The user name in the token.
    pub(crate) user: &'a str,
    pub(crate) query: &'a Query,
    /// The body. An empty object if there is none, or if CC would not read it.
    pub(crate) body: &'a Json,
    /// The header `Accept`.
    pub(crate) accept: &'a str,
    /// When the request arrived; `None` if it came without a socket.
    pub(crate) arrived: Option<Instant>,
}

impl CallContext<'_> {
    pub(crate) fn present(&self) -> Presenter<'_> {
        Presenter { base: self.base, state: self.state }
    }

    /// Returns the absolute URL of a path of the API.
    pub(crate) fn href(&self, path: &str) -> String {
        format!("{}{path}", self.base)
    }

    /// Returns the route if the user sees it.
    pub(crate) fn route(&self, guid: &str) -> Result<&Route, ApiRefusal> {
        let route = self.state.route(guid).filter(|route| {
            let space = self.state.space(&route.space);
            space.is_some_and(|space| self.state.reads_routes(self.user, space))
        });
        route.ok_or_else(|| not_found("Route"))
    }

    /// Returns the space if the user sees it.
    pub(crate) fn space(&self, guid: &str) -> Result<&Space, ApiRefusal> {
        let space = self.state.space(guid);
        space
            .filter(|space| self.state.reads_space(self.user, space))
            .ok_or_else(|| not_found("Space"))
    }

    /// Returns the organisation if the user sees it.
    pub(crate) fn org(&self, guid: &str) -> Result<&Org, ApiRefusal> {
        let org = self.state.org(guid);
        org.filter(|org| self.state.reads_org(self.user, org))
            .ok_or_else(|| not_found("Organization"))
    }

    /// Checks that the user may change routes of the space now. First the role, then suspensions,
    /// as in CC.
    pub(crate) fn may_write(&self, space: &str) -> Result<(), ApiRefusal> {
        let space = self.state.space(space).ok_or_else(not_authorized)?;
        if !self.state.manages_apps(self.user, space) {
            return Err(not_authorized());
        }
        if space.deleting {
            return Err(space_being_deleted());
        }
        if self.state.org(&space.org).is_some_and(|org| org.suspended) {
            return Err(org_suspended());
        }
        if space.suspended {
            return Err(space_suspended());
        }
        Ok(())
    }

    /// Checks a feature flag. `default` counts if the flag is not set.
    pub(crate) fn feature(&self, name: &str, default: FlagDefault) -> Result<(), ApiRefusal> {
        let (open, text) = match self.state.feature(name) {
            Some(feature) => (feature.on, feature.message.as_deref().unwrap_or(name)),
            None => (default == FlagDefault::On, name),
        };
        if open { Ok(()) } else { Err(feature_disabled(text)) }
    }

    /// Cuts the page of a list and writes it. Also returns the items of the page, for `included`.
    pub(crate) fn page<'s, T: Resource>(
        list: &ListQuery,
        items: Vec<&'s T>,
        href: &str,
        write: impl Fn(&T) -> Json,
    ) -> (Json, Vec<&'s T>) {
        let (shown, pagination) = list.cut(items, href);
        let resources: Vec<Json> = shown.iter().map(|item| write(item)).collect();
        let json = object! {"pagination" => pagination, "resources" => resources};
        (json, shown)
    }

    /// Writes the spaces with these guids that the user sees: each once, in the order of creation.
    pub(crate) fn included_spaces(&self, guids: &[&str]) -> Json {
        let spaces = self.state.spaces.iter();
        let spaces = spaces.filter(|space| {
            guids.contains(&space.guid.as_str()) && self.state.reads_space(self.user, space)
        });
        Json::List(spaces.map(|space| self.present().space(space)).collect())
    }

    /// Writes the organisations of the spaces with these guids: each once, in the order of
    /// creation.
    pub(crate) fn included_orgs(&self, spaces: &[&str]) -> Json {
        let holds = |org: &&Org| {
            let mut all = self.state.spaces.iter();
            all.any(|space| space.org == org.guid && spaces.contains(&space.guid.as_str()))
        };
        let orgs = self.state.orgs.iter().filter(holds);
        Json::List(orgs.map(|org| self.present().org(org)).collect())
    }
}

/// The state of a feature flag that is not set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum FlagDefault {
    On,
    Off,
}
