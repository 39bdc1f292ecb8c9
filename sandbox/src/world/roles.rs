//! Who may see and do what (source: `lib/cloud_controller/permissions.rb`). The name in the token
//! identifies the user. A user without roles sees only shared domains. Called by `capi` before
//! every answer.

use crate::world::{Domain, Org, Space, WorldState};

/// A role in a space or an organisation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
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
}

/// One role of one user. `resource` is the guid of a space or an organisation.
#[derive(Clone, Debug)]
pub(crate) struct RoleGrant {
    pub(crate) user: String,
    pub(crate) resource: String,
    pub(crate) role: Role,
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
            _ => return None,
        })
    }

    /// Tells whether it is a role in an organisation, not in a space.
    pub(crate) fn of_org(self) -> bool {
        matches!(self, Self::OrgManager | Self::OrgAuditor)
    }
}

impl WorldState {
    /// Tells whether the user sees the space and its apps.
    pub(crate) fn reads_space(&self, user: &str, space: &Space) -> bool {
        self.holds(user, &space.guid, SPACE_ROLES)
            || self.holds(user, &space.org, &[Role::OrgManager])
    }

    /// Tells whether the user sees the routes of the space. An auditor of the organisation sees
    /// them without seeing the space.
    pub(crate) fn reads_routes(&self, user: &str, space: &Space) -> bool {
        self.reads_space(user, space) || self.holds(user, &space.org, &[Role::OrgAuditor])
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
        self.sees_domains_of(user, &org.guid)
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

    fn holds(&self, user: &str, resource: &str, roles: &[Role]) -> bool {
        self.role_grants.iter().any(|grant| {
            grant.user == user && grant.resource == resource && roles.contains(&grant.role)
        })
    }
}
