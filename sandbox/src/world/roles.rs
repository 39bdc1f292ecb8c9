//! Who may see and do what (source: `lib/cloud_controller/permissions.rb`). The name in the token
//! identifies the user. A user without roles sees only shared domains. Called by `capi` before
//! every answer.

use std::collections::{HashMap, HashSet};

use crate::identity::TECHNICAL_ORIGIN;
use crate::token::CfUser;
use crate::world::{
    Domain, KnownUser, Metadata, Org, Resource, Space, Timestamps, WorldState, new_guid,
};

/// A role in a space or an organisation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Role {
    /// Reads and writes in the space.
    SpaceDeveloper,
    /// Manages routes and apps, but cannot push apps or read secrets. The smallest role that a
    /// technical user needs.
    SpaceSupporter,
    /// Manages the space's members.
    SpaceManager,
    /// Reads only.
    SpaceAuditor,
    /// Manages the organisation and sees all its spaces.
    OrgManager,
    /// Reads routes and domains of the organisation, not its spaces.
    OrgAuditor,
    /// A member of the organisation. Everyone with another role in it, or in one of its spaces, is
    /// one.
    OrgUser,
}

/// One role of one user. `resource` is the guid of a space or an organisation.
#[derive(Clone, Debug)]
pub(crate) struct RoleGrant {
    pub(crate) guid: String,
    pub(crate) user: String,
    pub(crate) resource: String,
    pub(crate) role: Role,
    pub(crate) metadata: Metadata,
    pub(crate) stamp: Timestamps,
}

impl Resource for RoleGrant {
    fn guid(&self) -> &str {
        &self.guid
    }
    fn name(&self) -> Option<&str> {
        None
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

const SPACE_ROLES: &[Role] =
    &[Role::SpaceDeveloper, Role::SpaceSupporter, Role::SpaceManager, Role::SpaceAuditor];

impl Role {
    /// Reads the name that the levers use.
    pub(crate) fn parse(name: &str) -> Option<Self> {
        Some(match name {
            "developer" => Self::SpaceDeveloper,
            "supporter" => Self::SpaceSupporter,
            "manager" => Self::SpaceManager,
            "auditor" => Self::SpaceAuditor,
            "org_manager" => Self::OrgManager,
            "org_auditor" => Self::OrgAuditor,
            "org_user" => Self::OrgUser,
            _ => return None,
        })
    }

    /// Tells whether it is a role in an organisation, not in a space.
    pub(crate) fn of_org(self) -> bool {
        matches!(self, Self::OrgManager | Self::OrgAuditor | Self::OrgUser)
    }

    /// Returns the name that the API uses.
    pub(crate) fn kind(self) -> &'static str {
        match self {
            Self::SpaceDeveloper => "space_developer",
            Self::SpaceSupporter => "space_supporter",
            Self::SpaceManager => "space_manager",
            Self::SpaceAuditor => "space_auditor",
            Self::OrgManager => "organization_manager",
            Self::OrgAuditor => "organization_auditor",
            Self::OrgUser => "organization_user",
        }
    }
}

/// What one user reads, looked up once for a whole list.
#[derive(Debug)]
pub(crate) struct Reader<'a> {
    spaces: HashMap<&'a str, &'a Space>,
    held: HashSet<(&'a str, Role)>,
}

impl<'a> Reader<'a> {
    /// Returns a space, whether the user sees it or not.
    pub(crate) fn space(&self, guid: &str) -> Option<&'a Space> {
        self.spaces.get(guid).copied()
    }

    /// As [`WorldState::reads_space`].
    pub(crate) fn reads_space(&self, space: &Space) -> bool {
        space_is_read(space, |resource, roles| self.holds(resource, roles))
    }

    /// As [`WorldState::reads_routes`].
    pub(crate) fn reads_routes(&self, space: &Space) -> bool {
        routes_are_read(space, |resource, roles| self.holds(resource, roles))
    }

    fn holds(&self, resource: &str, roles: &[Role]) -> bool {
        roles.iter().any(|role| self.held.contains(&(resource, *role)))
    }
}

fn space_is_read(space: &Space, holds: impl Fn(&str, &[Role]) -> bool) -> bool {
    holds(&space.guid, SPACE_ROLES) || holds(&space.org, &[Role::OrgManager])
}

fn routes_are_read(space: &Space, holds: impl Fn(&str, &[Role]) -> bool) -> bool {
    space_is_read(space, &holds) || holds(&space.org, &[Role::OrgAuditor])
}

impl WorldState {
    /// Tells whether the user sees the space and its apps.
    pub(crate) fn reads_space(&self, user: &str, space: &Space) -> bool {
        space_is_read(space, |resource, roles| self.holds(user, resource, roles))
    }

    /// Tells whether the user sees the routes of the space. An auditor of the organisation sees
    /// them without seeing the space.
    pub(crate) fn reads_routes(&self, user: &str, space: &Space) -> bool {
        routes_are_read(space, |resource, roles| self.holds(user, resource, roles))
    }

    /// Prepares these checks for a long list.
    pub(crate) fn reader(&self, user: &str) -> Reader<'_> {
        let grants = self.role_grants.iter().filter(|grant| grant.user == user);
        Reader {
            spaces: self.spaces.iter().map(|space| (space.guid.as_str(), space)).collect(),
            held: grants.map(|grant| (grant.resource.as_str(), grant.role)).collect(),
        }
    }

    /// Tells whether the user may create, map, label and delete routes in the space.
    pub(crate) fn manages_apps(&self, user: &str, space: &Space) -> bool {
        self.holds(user, &space.guid, &[Role::SpaceDeveloper, Role::SpaceSupporter])
    }

    /// Tells whether the user sees commands and variables of the apps in the space.
    pub(crate) fn reads_secrets(&self, user: &str, space: &str) -> bool {
        self.holds(user, space, &[Role::SpaceDeveloper])
    }

    /// Tells whether the user sees the organisation. A user with a role in a space is always a
    /// member of its organisation.
    pub(crate) fn reads_org(&self, user: &str, org: &Org) -> bool {
        self.holds(user, &org.guid, &[Role::OrgUser])
    }

    /// Tells whether the user sees the private domains of the organisation.
    pub(crate) fn sees_domains_of(&self, user: &str, org: &str) -> bool {
        self.holds(user, org, &[Role::OrgManager, Role::OrgAuditor])
            || self
                .spaces
                .iter()
                .any(|space| space.org == org && self.holds(user, &space.guid, SPACE_ROLES))
    }

    /// Tells whether the user sees the domain. All users see shared domains.
    pub(crate) fn reads_domain(&self, user: &str, domain: &Domain) -> bool {
        self.orgs
            .iter()
            .filter(|org| self.sees_domains_of(user, &org.guid))
            .any(|org| domain.usable_by(&org.guid))
            || domain.owner.is_none()
    }

    /// Tells whether the user sees the other one: itself, and the members of its organisations.
    pub(crate) fn reads_user(&self, user: &str, other: &KnownUser) -> bool {
        let mut orgs = self.orgs.iter().filter(|org| self.reads_org(user, org));
        user == other.name || orgs.any(|org| self.holds(&other.name, &org.guid, &[Role::OrgUser]))
    }

    /// Returns the guid of a user with a role.
    pub(crate) fn guid_of_user(&self, name: &str) -> &str {
        let mut users = self.users.iter();
        users.find(|user| user.name == name).map_or("", |user| &user.guid)
    }

    /// Keeps the user of a good token, as CC does at its first request.
    pub(crate) fn meet(&mut self, CfUser { guid, name, origin, .. }: &CfUser) {
        match self.users.iter_mut().find(|user| user.name == *name) {
            Some(user) => {
                guid.clone_into(&mut user.guid);
                origin.clone_into(&mut user.origin);
            }
            None => self.add_user(guid, name, origin),
        }
    }

    pub(crate) fn add_user(&mut self, guid: &str, name: &str, origin: &str) {
        let stamp = self.stamp();
        self.users.push(KnownUser {
            guid: guid.to_owned(),
            name: name.to_owned(),
            origin: origin.to_owned(),
            metadata: Metadata::default(),
            stamp,
        });
    }

    /// Adds a role. The user becomes known, and a member of the organisation.
    pub(crate) fn grant(&mut self, user: &str, resource: &str, role: Role) {
        if !self.users.iter().any(|known| known.name == user) {
            self.add_user(&new_guid(), user, TECHNICAL_ORIGIN);
        }
        let org = self.space(resource).map_or(resource, |space| &space.org).to_owned();
        if role != Role::OrgUser && !self.holds(user, &org, &[Role::OrgUser]) {
            self.grant(user, &org, Role::OrgUser);
        }
        let stamp = self.stamp();
        self.role_grants.push(RoleGrant {
            guid: new_guid(),
            user: user.to_owned(),
            resource: resource.to_owned(),
            role,
            metadata: Metadata::default(),
            stamp,
        });
    }

    /// Removes the user's roles in a space or an organisation. Without any other role in it the
    /// user is no member of the organisation, either.
    pub(crate) fn remove_grants(&mut self, user: &str, resource: &str) {
        let org = self.space(resource).map_or(resource, |space| &space.org).to_owned();
        self.role_grants.retain(|grant| grant.user != user || grant.resource != resource);
        let spaces: Vec<String> = self.spaces_of(&org);
        let within = |grant: &RoleGrant| {
            grant.user == user
                && grant.role != Role::OrgUser
                && (grant.resource == org || spaces.contains(&grant.resource))
        };
        if self.role_grants.iter().any(within) {
            if !self.holds(user, &org, &[Role::OrgUser]) {
                self.grant(user, &org, Role::OrgUser);
            }
        } else {
            self.role_grants.retain(|grant| grant.user != user || grant.resource != org);
        }
    }

    fn spaces_of(&self, org: &str) -> Vec<String> {
        let spaces = self.spaces.iter().filter(|space| space.org == org);
        spaces.map(|space| space.guid.clone()).collect()
    }

    fn holds(&self, user: &str, resource: &str, roles: &[Role]) -> bool {
        self.role_grants.iter().any(|grant| {
            grant.user == user && grant.resource == resource && roles.contains(&grant.role)
        })
    }
}
