//! Spaces and organizations, as the technical user sees them.
//!
//! Invariant: an invisible resource counts as absent; CF does not tell the difference. Callers:
//! `routes`, `http`.

use super::{
    Call, CapiError, CfRequestClient, answer,
    call::Query,
    model::{Guid, LocatedResource, Organization, Quota, Space, UsageSummary},
    page::PER_PAGE,
};
use http::Method;
use tokio::time::Instant;

/// A space and, if visible, its organization.
#[derive(Clone, Debug)]
pub struct SpaceInOrganization {
    /// The space.
    pub space: Space,
    /// Its organization.
    pub organization: Option<Organization>,
}

/// A space by its guid or by the names in the settings.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum SpaceRef {
    /// The guid.
    Guid(Guid),
    /// The names.
    Named {
        /// The organization's name.
        organization: String,
        /// The space's name.
        space: String,
    },
}

impl CfRequestClient {
    /// Lists all visible spaces with their organizations.
    ///
    /// # Errors
    /// Any [`CapiError`] of the calls, one call per page.
    pub async fn spaces(&self) -> Result<Vec<SpaceInOrganization>, CapiError> {
        let query = Query::default()
            .with("include", "organization")
            .with("order_by", "name")
            .with("per_page", PER_PAGE);
        let call = Call::new("list_spaces", Method::GET, "/v3/spaces");
        let listing = self.list::<Space>(call.with_query(query.into_text())).await?;
        let organizations = listing.organizations;
        let joined = listing.resources.into_iter().map(|space| with(space, &organizations));
        Ok(joined.collect())
    }

    /// Returns the space of each route that matches a label selector.
    ///
    /// # Errors
    /// Any [`CapiError`] of the calls, one call per page.
    pub async fn spaces_of_labelled_routes(&self, selector: &str) -> Result<Vec<Guid>, CapiError> {
        let query = Query::default().with("label_selector", selector);
        self.locations(Call::new("list_routes", Method::GET, "/v3/routes"), query).await
    }

    /// Returns the space of each visible app.
    ///
    /// # Errors
    /// Any [`CapiError`] of the calls, one call per page.
    pub async fn spaces_of_apps(&self) -> Result<Vec<Guid>, CapiError> {
        self.locations(Call::new("list_apps", Method::GET, "/v3/apps"), Query::default()).await
    }

    async fn locations(&self, call: Call, query: Query) -> Result<Vec<Guid>, CapiError> {
        let call = call.with_query(query.with("per_page", PER_PAGE).into_text());
        let listing = self.list::<LocatedResource>(call).await?;
        Ok(listing.resources.into_iter().filter_map(LocatedResource::into_space).collect())
    }

    /// Reads one space with its organization past the cache; `None` when it is not visible.
    ///
    /// # Errors
    /// Any [`CapiError`] of the calls except `NotFound`.
    pub async fn current_space(
        &self,
        guid: &Guid,
    ) -> Result<Option<SpaceInOrganization>, CapiError> {
        self.read_space(&SpaceRef::Guid(guid.clone())).await
    }

    /// Reads one space with its organization; `None` when it is not visible. Cached for 10 minutes.
    ///
    /// # Errors
    /// Any [`CapiError`] of the calls except `NotFound`.
    pub async fn space(&self, wanted: &SpaceRef) -> Result<Option<SpaceInOrganization>, CapiError> {
        let key = (self.destination.clone(), wanted.clone());
        self.cache().spaces.find(key, self.read_space(wanted)).await
    }

    /// Returns whether the technical user sees a space now, past the cache.
    ///
    /// # Errors
    /// Any [`CapiError`] of the calls except `NotFound` and `LacksRole`.
    pub async fn sees_space(&self, wanted: &SpaceRef) -> Result<bool, CapiError> {
        match self.read_space(wanted).await {
            Err(CapiError::LacksRole(_)) => Ok(false),
            read => Ok(read?.is_some()),
        }
    }

    /// Returns the space as CF showed it last, within a day.
    pub async fn last_known_space(&self, wanted: &SpaceRef) -> Option<SpaceInOrganization> {
        self.cache().spaces.last(&(self.destination.clone(), wanted.clone())).await
    }

    /// Removes a space from the cache if it was read before this moment; returns whether it was.
    pub async fn forget_space_before(&self, wanted: &SpaceRef, moment: Instant) -> bool {
        let key = (self.destination.clone(), wanted.clone());
        self.cache().spaces.forget_before(&key, moment).await
    }

    /// Reads the quota of an organization; `None` if it has none or the user may not see it.
    ///
    /// # Errors
    /// Any [`CapiError`] of the calls except `NotFound` and `LacksRole`.
    pub async fn organization_quota(
        &self,
        organization: &Guid,
    ) -> Result<Option<Quota>, CapiError> {
        let path = format!("/v3/organizations/{organization}");
        let read = self.visible::<Organization>("read_organization", path).await?;
        let Some(quota) = read.as_ref().and_then(Organization::quota) else {
            return Ok(None);
        };
        self.quota_of_organizations(quota).await
    }

    /// Reads a quota of organizations; `None` if the user may not see it.
    ///
    /// # Errors
    /// As [`CfRequestClient::organization_quota`].
    pub async fn quota_of_organizations(&self, quota: &Guid) -> Result<Option<Quota>, CapiError> {
        self.visible("read_quota", format!("/v3/organization_quotas/{quota}")).await
    }

    /// Reads a quota of spaces; `None` if the user may not see it.
    ///
    /// # Errors
    /// As [`CfRequestClient::organization_quota`].
    pub async fn quota_of_spaces(&self, quota: &Guid) -> Result<Option<Quota>, CapiError> {
        self.visible("read_quota", format!("/v3/space_quotas/{quota}")).await
    }

    /// Counts the routes of an organization, also in spaces that the user does not see. `None` if
    /// the user may not know it, or CF does not tell (before 2024 the summary has no routes).
    ///
    /// # Errors
    /// Any [`CapiError`] of the call except `NotFound` and `LacksRole`.
    pub async fn routes_of_organization(
        &self,
        organization: &Guid,
    ) -> Result<Option<u64>, CapiError> {
        let path = format!("/v3/organizations/{organization}/usage_summary");
        let read = self.visible::<UsageSummary>("read_usage", path).await?;
        Ok(read.and_then(|summary| summary.usage_summary.routes))
    }

    /// Reads the quota of a space; as [`CfRequestClient::organization_quota`].
    ///
    /// # Errors
    /// As [`CfRequestClient::organization_quota`].
    pub async fn space_quota(&self, space: &Guid) -> Result<Option<Quota>, CapiError> {
        let read = self.visible::<Space>("read_space", format!("/v3/spaces/{space}")).await?;
        let Some(quota) = read.as_ref().and_then(Space::quota) else { return Ok(None) };
        self.quota_of_spaces(quota).await
    }

    /// Finds an organization by its name; `None` when there is no visible one.
    ///
    /// # Errors
    /// Any [`CapiError`] of the call.
    pub async fn organization_named(&self, name: &str) -> Result<Option<Organization>, CapiError> {
        let query = Query::default().with_list("names", [name]);
        let call = Call::new("list_organizations", Method::GET, "/v3/organizations");
        let listing = self.list::<Organization>(call.with_query(query.into_text())).await?;
        Ok(listing.resources.into_iter().next())
    }

    async fn read_space(
        &self,
        wanted: &SpaceRef,
    ) -> Result<Option<SpaceInOrganization>, CapiError> {
        match wanted {
            SpaceRef::Guid(guid) => {
                let query = Query::default().with("include", "organization");
                let call = Call::new("read_space", Method::GET, format!("/v3/spaces/{guid}"));
                let answer = self.send(&call.with_query(query.into_text())).await?;
                let space = absent_if_missing(answer::expect::<Space>(&answer))?;
                Ok(space.map(|mut space| {
                    let organizations = std::mem::take(&mut space.included.organizations);
                    with(space, &organizations)
                }))
            }
            SpaceRef::Named { organization, space } => self.space_named(organization, space).await,
        }
    }

    async fn space_named(
        &self,
        organization: &str,
        space: &str,
    ) -> Result<Option<SpaceInOrganization>, CapiError> {
        let Some(organization) = self.organization_named(organization).await? else {
            return Ok(None);
        };
        let query = Query::default()
            .with_list("names", [space])
            .with_list("organization_guids", [organization.guid.as_str()]);
        let call = Call::new("list_spaces", Method::GET, "/v3/spaces");
        let listing = self.list::<Space>(call.with_query(query.into_text())).await?;
        let space = listing.resources.into_iter().next();
        Ok(space.map(|space| with(space, &[organization])))
    }

    async fn visible<T: serde::de::DeserializeOwned>(
        &self,
        operation: &'static str,
        path: String,
    ) -> Result<Option<T>, CapiError> {
        let answer = self.send(&Call::new(operation, Method::GET, path)).await?;
        match answer::expect(&answer) {
            Err(CapiError::LacksRole(_)) => Ok(None),
            other => absent_if_missing(other),
        }
    }
}

/// Turns "not found" into `None`.
pub(super) fn absent_if_missing<T>(read: Result<T, CapiError>) -> Result<Option<T>, CapiError> {
    match read {
        Ok(found) => Ok(Some(found)),
        Err(CapiError::NotFound(_)) => Ok(None),
        Err(error) => Err(error),
    }
}

fn with(space: Space, organizations: &[Organization]) -> SpaceInOrganization {
    let owner = space.organization();
    let organization =
        organizations.iter().find(|candidate| Some(&candidate.guid) == owner).cloned();
    SpaceInOrganization { space, organization }
}
