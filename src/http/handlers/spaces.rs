//! `GET /spaces`: the spaces that the technical user sees, with their organisations.

use axum::{
    Json,
    extract::State,
    response::{IntoResponse, Response},
};
use serde::Serialize;
use tokio::time::Instant;

use crate::{
    capi::{CapiClient, spaces::SpaceInOrganization},
    http::{
        extract::{Correlation, SpacesRead},
        page::HtmlPage,
        problem::Problem,
        state::Defaults,
        viewer::Viewer,
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

/// Lists them all, sorted by name: a page for a browser, JSON for everybody else.
///
/// # Errors
/// The problems of the token module and of the CF API.
pub(crate) async fn list(
    viewer: Viewer<SpacesRead>,
    Correlation(correlation): Correlation,
    State(capi): State<CapiClient>,
    State(routes): State<TenantRoutes>,
    State(defaults): State<Defaults>,
) -> Result<Response, Problem> {
    let deadline = Instant::now() + defaults.call_timeout;
    let own = routes.providers().destination_of(&viewer.caller);
    let destination = own.unwrap_or(&defaults.destination);
    let cf = capi
        .for_request(destination, &correlation, deadline)
        .for_caller(&viewer.caller.limit_key());
    let spaces = cf.spaces().await?;
    let resources: Vec<_> = spaces.into_iter().map(SpaceView::from).collect();
    let list = SpaceList { total: resources.len(), resources };
    Ok(viewer.answer(|| list.page(), || Json(&list).into_response()))
}

impl SpaceList {
    fn page(&self) -> HtmlPage {
        let page = HtmlPage::new("Spaces");
        if self.resources.is_empty() {
            return page.text(
                "The technical user sees no space. It needs the role Space Developer or Space \
                 Supporter in each space that the broker works in.",
            );
        }
        let shown = |text: Option<&str>| text.unwrap_or("-").to_owned();
        let rows = self.resources.iter().map(|space| {
            let organization = space.organization.as_ref().map(|found| found.name.as_str());
            let created = space.created_at.as_deref();
            [space.name.clone(), shown(organization), shown(created), space.guid.clone()]
        });
        page.text(&format!("{} that the technical user sees", self.total))
            .table(["Space", "Organization", "Created", "GUID"], rows)
    }
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
