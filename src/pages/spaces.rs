//! The pages of spaces: all of them, and one with its routes and apps.

use askama::Template;

use super::{Frame, HtmlPage, StatusCard, rows::RowTools};
use crate::overview::view::{HeadRoom, RowQuery, SearchedRow, SpacePage, SpacesPage};

/// All spaces that the technical user sees.
#[derive(Debug, Template)]
#[template(path = "spaces.html")]
pub(crate) struct SpaceListHtml<'a> {
    frame: Frame,
    list: &'a SpacesPage<'a>,
    tools: RowTools<'a>,
    card: Option<StatusCard>,
}

/// One space.
#[derive(Debug, Template)]
#[template(path = "space.html")]
pub(crate) struct SpaceHtml<'a> {
    frame: Frame,
    space: &'a SpacePage<'a>,
    tools: RowTools<'a>,
    /// The limits that are known: where, and how much is used.
    quotas: Vec<(&'static str, HeadRoom)>,
    shows_tenants: bool,
}

impl<'a> SpaceListHtml<'a> {
    /// `query`: what the rows were taken by.
    pub(crate) fn new(frame: Frame, list: &'a SpacesPage<'a>, query: &'a RowQuery) -> Self {
        let shown = (list.resources.len(), list.total);
        let tools = RowTools::new(frame.link("/spaces"), "spaces", query, shown)
            .followed_by(list.pagination);
        Self { frame, list, tools, card: None }
    }

    /// Adds how the technical user is.
    #[must_use]
    pub(crate) fn with_status(mut self, card: Option<StatusCard>) -> Self {
        self.card = card;
        self
    }
}

impl<'a> SpaceHtml<'a> {
    /// `query`: what the rows were taken by.
    pub(crate) fn new(frame: Frame, space: &'a SpacePage<'a>, query: &'a RowQuery) -> Self {
        let (tenants, others) = (&space.tenant_routes, &space.other_routes);
        let apps = &space.apps;
        let shown = tenants.resources.len() + others.resources.len() + apps.resources.len();
        let total = tenants.total + others.total + apps.total;
        let action = frame.link(&format!("/spaces/{}", space.guid));
        let tools = RowTools::new(action, "routes and apps", query, (shown, total))
            .followed_by(space.pagination);
        let quotas =
            [("this space", space.quota.space), ("the organization", space.quota.organization)];
        let quotas =
            quotas.into_iter().filter_map(|(place, quota)| Some((place, quota?))).collect();
        let mut rows = tenants.resources.iter();
        let shows_tenants = rows.any(|row| row.tenant.is_some() || row.owner.is_some());
        Self { frame, space, tools, quotas, shows_tenants }
    }
}

impl HtmlPage for SpaceListHtml<'_> {
    fn frame(&self) -> &Frame {
        &self.frame
    }
}

impl HtmlPage for SpaceHtml<'_> {
    fn frame(&self) -> &Frame {
        &self.frame
    }
}
