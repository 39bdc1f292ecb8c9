//! `GET /spaces`: the spaces that the technical user sees, with their organisations.

use axum::{Json, extract::State, response::IntoResponse};
use serde::Serialize;
use tokio::time::Instant;

use crate::{
    capi::{CapiClient, spaces::SpaceInOrganization},
    http::{
        extract::{Allowed, Correlation, SpacesRead},
        problem::Problem,
        state::Defaults,
    },
    routes::TenantRoutes,
};

#[derive(Debug, Serialize)]
struct SpaceList {
    resources: Vec<SpaceView>,
    total: usize,
}

#[derive(Debug, Serialize)]
struct SpaceView {
    guid: String,
    name: String,
    created_at: Option<String>,
    organization: Option<OrganizationView>,
}

#[derive(Debug, Serialize)]
struct OrganizationView {
    guid: String,
    name: String,
}

/// Lists them all, sorted by name.
///
/// # Errors
/// The problems of the token module and of the CF API.
pub(crate) async fn list(
    Allowed(caller, _): Allowed<SpacesRead>,
    Correlation(correlation): Correlation,
    State(capi): State<CapiClient>,
    State(routes): State<TenantRoutes>,
    State(defaults): State<Defaults>,
) -> Result<impl IntoResponse, Problem> {
    let deadline = Instant::now() + defaults.call_timeout;
    let own = routes.providers().destination_of(&caller);
    let destination = own.unwrap_or(&defaults.destination);
    let cf = capi.for_request(destination, &correlation, deadline).for_caller(&caller.limit_key());
    let spaces = cf.spaces().await?;
    let resources: Vec<_> = spaces.into_iter().map(SpaceView::from).collect();
    Ok(Json(SpaceList { total: resources.len(), resources }))
}

impl From<SpaceInOrganization> for SpaceView {
    fn from(found: SpaceInOrganization) -> Self {
        Self {
            guid: found.space.guid.to_string(),
            name: found.space.name,
            created_at: found.space.created_at,
            organization: found.organization.map(|organization| OrganizationView {
                guid: organization.guid.to_string(),
                name: organization.name,
            }),
        }
    }
}
