//! Reads and joins what CF shows.
//!
//! Invariant: calls that do not need each other run side by side: the list of spaces takes as long
//! as its longest list of pages, one space as long as two calls. All end before one error is
//! told: the probe of a breaker must not be dropped because the calls beside it were not admitted.
//! Callers: [`super::Overview`].

use super::{
    Detail, Spaces,
    view::{AppRow, HeadRoom, OrganizationRow, QuotaRow, SpaceRow},
};
use crate::{
    capi::{
        CapiError, CfRequestClient, Guid,
        model::{CfApp, Organization, Quota, Space},
        spaces::SpaceInOrganization,
    },
    routes::{SpaceContent, TenantRoutes},
};
use std::{collections::HashMap, sync::OnceLock, time::SystemTime};

/// Reads all spaces, and counts what is in them.
pub(super) async fn spaces(cf: &CfRequestClient, selector: &str) -> Result<Spaces, CapiError> {
    let routes = cf.spaces_of_labelled_routes(selector);
    let (spaces, routes, apps) = tokio::join!(cf.spaces(), routes, cf.spaces_of_apps());
    let (routes, apps) = (counts(routes?), counts(apps?));
    let rows = spaces?.into_iter().map(|SpaceInOrganization { space, organization }| SpaceRow {
        tenant_routes: routes.get(&space.guid).copied().unwrap_or(0),
        apps: apps.get(&space.guid).copied().unwrap_or(0),
        guid: space.guid,
        name: space.name,
        created_at: space.created_at,
        organization: organization.map(OrganizationRow::of),
    });
    Ok(Spaces { rows: rows.collect(), json: OnceLock::new() })
}

/// Reads one space; `None` if the technical user does not see it.
pub(super) async fn space(
    cf: &CfRequestClient,
    tenant_routes: &TenantRoutes,
    guid: &Guid,
    now: SystemTime,
) -> Result<Option<Detail>, CapiError> {
    let (space, routes, apps) =
        tokio::join!(cf.current_space(guid), cf.routes_of_space(guid), cf.apps_of_space(guid));
    let Some(space) = space? else { return Ok(None) };
    let (routes, apps) = (routes?, apps?);
    let used = u64::try_from(routes.len()).unwrap_or(u64::MAX);
    let rows = apps.iter().map(AppRow::of).collect();
    let content = SpaceContent { space: space.clone(), routes, apps, now };
    let routes = tenant_routes.of_space(cf, content);
    let (quota, routes) = tokio::join!(quota(cf, &space, used), routes);
    let (quota, routes) = (quota?, routes?);
    let SpaceInOrganization { space, organization } = space;
    let organization = organization.map(OrganizationRow::of);
    let Space { guid, name, created_at, .. } = space;
    Ok(Some(Detail { guid, name, created_at, organization, quota, routes, apps: rows }))
}

/// Reads the limits of the space, which has `used` routes, and of its organization. Routes of the
/// organization that the technical user does not see count too.
async fn quota(
    cf: &CfRequestClient,
    space: &SpaceInOrganization,
    used: u64,
) -> Result<QuotaRow, CapiError> {
    let of_space = async {
        let Some(guid) = space.space.quota() else { return Ok::<_, CapiError>(None) };
        Ok(limit(cf.quota_of_spaces(guid).await?).map(|limit| HeadRoom { limit, used }))
    };
    let of_organization = async {
        let organization = space.organization.as_ref();
        let Some((organization, quota)) =
            organization.and_then(|found| Some((&found.guid, found.quota()?)))
        else {
            return Ok::<_, CapiError>(None);
        };
        let (quota, used) =
            tokio::join!(cf.quota_of_organizations(quota), cf.routes_of_organization(organization));
        Ok(limit(quota?).zip(used?).map(|(limit, used)| HeadRoom { limit, used }))
    };
    let (space, organization) = tokio::join!(of_space, of_organization);
    Ok(QuotaRow { space: space?, organization: organization? })
}

fn limit(quota: Option<Quota>) -> Option<u64> {
    quota.and_then(|quota| quota.routes.total_routes)
}

/// Counts how often each space occurs.
fn counts(spaces: Vec<Guid>) -> HashMap<Guid, usize> {
    let mut counts = HashMap::new();
    for space in spaces {
        *counts.entry(space).or_default() += 1;
    }
    counts
}

impl OrganizationRow {
    fn of(organization: Organization) -> Self {
        Self { guid: organization.guid, name: organization.name }
    }
}

impl AppRow {
    fn of(app: &CfApp) -> Self {
        let state = match app.state.as_deref() {
            Some("STARTED") => Some("started"),
            Some("STOPPED") => Some("stopped"),
            Some(_) | None => None,
        };
        Self { guid: app.guid.clone(), name: app.name.clone(), state }
    }
}
