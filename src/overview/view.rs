//! What a viewer gets of spaces and their routes: the rows that are kept, and the part of them that
//! one viewer asked for and may see.
//!
//! Invariant: what is kept holds everything. Who owns a route and for which tenant leaves only
//! through [`Detail::page`], which knows what the viewer may see. Callers: this module, `http`.

use super::{Detail, Spaces};
use crate::{
    capi::Guid,
    routes::{RouteOfSpace, RouteTenant, view::StateReason},
};
use bytes::Bytes;
use serde::Serialize;

/// Which rows of a list a viewer wants.
#[derive(Clone, Debug, Default)]
pub struct RowQuery {
    /// A text that a row must have, whatever its case.
    pub filter: Option<String>,
    /// The page and the rows on it; `None`: all rows.
    pub window: Option<RowWindow>,
}

/// One page of a list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RowWindow {
    /// The page, from 1.
    pub page: usize,
    /// Rows per page, at least 1.
    pub per_page: usize,
}

/// Whether the viewer may know whose routes these are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TenantsShown {
    /// Tenant ids and owners are shown.
    Yes,
    /// They are left out, and no filter finds them.
    No,
}

/// Where a page stands in its list.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[cfg_attr(test, derive(utoipa::ToSchema), schema(as = Pagination))]
pub struct Paging {
    /// All rows that match.
    pub total: usize,
    /// The page, from 1.
    pub page: usize,
    /// Rows per page.
    pub per_page: usize,
    /// The next page, if there is one.
    pub next: Option<usize>,
}

/// An organization.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[cfg_attr(test, derive(utoipa::ToSchema), schema(as = Organization))]
pub struct OrganizationRow {
    /// Its guid.
    pub guid: Guid,
    /// Its name.
    pub name: String,
}

/// A space in the list.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[cfg_attr(test, derive(utoipa::ToSchema), schema(as = Space))]
pub struct SpaceRow {
    /// Its guid.
    pub guid: Guid,
    /// Its name.
    pub name: String,
    /// When it was created, as CF writes it.
    pub created_at: Option<String>,
    /// Its organization, if visible.
    pub organization: Option<OrganizationRow>,
    /// Tenant routes in it.
    pub tenant_routes: usize,
    /// Apps in it.
    pub apps: usize,
}

/// The spaces that one viewer asked for: the body of `GET /spaces`.
#[derive(Debug, Serialize)]
#[cfg_attr(test, derive(utoipa::ToSchema), schema(as = SpaceList))]
pub struct SpacesPage<'a> {
    /// The spaces, sorted by name.
    #[cfg_attr(test, schema(value_type = Vec<SpaceRow>))]
    pub resources: Vec<&'a SpaceRow>,
    /// All spaces that match.
    pub total: usize,
    /// Absent if no page was asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pagination: Option<Paging>,
}

/// An app of a space.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[cfg_attr(test, derive(utoipa::ToSchema), schema(as = AppOfSpace))]
pub struct AppRow {
    /// Its guid.
    pub guid: Guid,
    /// Its name.
    pub name: String,
    /// `started` or `stopped`, if CF says so.
    pub state: Option<&'static str>,
}

/// A limit and what is used of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[cfg_attr(test, derive(utoipa::ToSchema), schema(as = HeadRoom))]
pub struct HeadRoom {
    /// Routes that there may be.
    pub limit: u64,
    /// Routes that there are.
    pub used: u64,
}

/// How many more routes fit. `None` if there is no limit, or the technical user may not see it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[cfg_attr(test, derive(utoipa::ToSchema), schema(as = SpaceQuotas))]
pub struct QuotaRow {
    /// In the space.
    pub space: Option<HeadRoom>,
    /// In the organization.
    pub organization: Option<HeadRoom>,
}

/// The part of a list that is shown.
#[derive(Debug, Serialize)]
#[cfg_attr(test, derive(utoipa::ToSchema), schema(as = Rows))]
pub struct Rows<T> {
    /// The rows.
    pub resources: Vec<T>,
    /// All rows that match.
    pub total: usize,
}

/// A tenant route.
#[derive(Debug, Serialize)]
#[cfg_attr(test, derive(utoipa::ToSchema), schema(as = TenantRouteOfSpace))]
pub struct TenantRouteRow<'a> {
    /// Its guid.
    #[cfg_attr(test, schema(value_type = String))]
    pub guid: &'a Guid,
    /// Its host.
    pub host: &'a str,
    /// The name of its domain.
    pub domain: &'a str,
    /// Where it leads, with `https://`.
    pub url: String,
    /// When it was created, as CF writes it.
    pub created_at: &'a str,
    /// The names of its apps; the guid where the name is not known.
    #[cfg_attr(test, schema(value_type = Vec<String>))]
    pub apps: &'a [String],
    /// `ok`, `unmapped`, `deleting` or `drifted`.
    pub state: &'static str,
    /// Why it is not `ok`, in words.
    pub reason: Option<&'static str>,
    /// Its tenant; only for administrators.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tenant: Option<&'a str>,
    /// The client id or name that owns it; only for administrators.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub owner: Option<&'a str>,
}

/// A route that is no tenant's.
#[derive(Debug, Serialize)]
#[cfg_attr(test, derive(utoipa::ToSchema), schema(as = OtherRouteOfSpace))]
pub struct OtherRouteRow<'a> {
    /// Its guid.
    #[cfg_attr(test, schema(value_type = String))]
    pub guid: &'a Guid,
    /// Its host; empty for the domain itself.
    pub host: &'a str,
    /// The name of its domain.
    pub domain: &'a str,
    /// Host, domain and path in one, without a scheme.
    pub url: &'a str,
    /// When it was created, as CF writes it.
    pub created_at: &'a str,
    /// The names of its apps; the guid where the name is not known.
    #[cfg_attr(test, schema(value_type = Vec<String>))]
    pub apps: &'a [String],
}

/// One space as one viewer asked for it: the body of `GET /spaces/{guid}`.
#[derive(Debug, Serialize)]
#[cfg_attr(test, derive(utoipa::ToSchema), schema(as = SpaceDetails))]
pub struct SpacePage<'a> {
    /// Its guid.
    #[cfg_attr(test, schema(value_type = String))]
    pub guid: &'a Guid,
    /// Its name.
    pub name: &'a str,
    /// When it was created, as CF writes it.
    pub created_at: Option<&'a str>,
    /// Its organization, if visible.
    #[cfg_attr(test, schema(value_type = Option<OrganizationRow>))]
    pub organization: Option<&'a OrganizationRow>,
    /// Limits of routes.
    #[cfg_attr(test, schema(value_type = QuotaRow))]
    pub quota: &'a QuotaRow,
    /// Its tenant routes, sorted by URL.
    pub tenant_routes: Rows<TenantRouteRow<'a>>,
    /// Its other routes, sorted by URL.
    pub other_routes: Rows<OtherRouteRow<'a>>,
    /// Its apps, sorted by name.
    #[cfg_attr(test, schema(value_type = Rows<AppRow>))]
    pub apps: Rows<&'a AppRow>,
    /// Absent if no page was asked for. The page is the same one of each list; `total` is that of
    /// the longest list.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pagination: Option<Paging>,
}

impl Spaces {
    /// Returns the rows that a viewer asked for as JSON. All rows are written once for all viewers:
    /// in a large landscape they take half a megabyte.
    ///
    /// # Errors
    /// The rows cannot be written; a bug.
    pub fn json(&self, query: &RowQuery) -> Result<Bytes, serde_json::Error> {
        let write = || serde_json::to_vec(&self.page(query)).map(Bytes::from);
        if query.window.is_some() || query.needle().is_some() {
            return write();
        }
        if let Some(written) = self.json.get() {
            return Ok(written.clone());
        }
        let written = write()?;
        Ok(self.json.get_or_init(|| written).clone())
    }

    /// Returns the rows that a viewer asked for.
    pub fn page(&self, query: &RowQuery) -> SpacesPage<'_> {
        let needle = query.needle();
        let matches = self.rows.iter().filter(|row| row.has(needle.as_deref()));
        let Rows { resources, total } = query.cut(matches);
        SpacesPage { resources, total, pagination: query.paging(total) }
    }
}

impl Detail {
    /// Returns the rows that a viewer asked for and may see.
    pub fn page(&self, query: &RowQuery, shown: TenantsShown) -> SpacePage<'_> {
        let needle = query.needle();
        let needle = needle.as_deref();
        let of_tenants = self.routes.iter().filter_map(|route| {
            let row = TenantRouteRow::of(route, route.tenant.as_ref()?, shown);
            row.has(needle).then_some(row)
        });
        let others = self.routes.iter().filter(|route| route.tenant.is_none());
        let others = others.map(OtherRouteRow::of).filter(|row| row.has(needle));
        let apps = self.apps.iter().filter(|app| app.has(needle));
        let (tenant_routes, other_routes) = (query.cut(of_tenants), query.cut(others));
        let apps = query.cut(apps);
        let longest = tenant_routes.total.max(other_routes.total).max(apps.total);
        SpacePage {
            guid: &self.guid,
            name: &self.name,
            created_at: self.created_at.as_deref(),
            organization: self.organization.as_ref(),
            quota: &self.quota,
            tenant_routes,
            other_routes,
            apps,
            pagination: query.paging(longest),
        }
    }
}

impl<'a> TenantRouteRow<'a> {
    fn of(route: &'a RouteOfSpace, tenant: &'a RouteTenant, shown: TenantsShown) -> Self {
        let (id, owner) = match shown {
            TenantsShown::Yes => (tenant.id.as_deref(), tenant.owner.as_deref()),
            TenantsShown::No => (None, None),
        };
        Self {
            guid: &route.guid,
            host: &route.host,
            domain: &route.domain,
            url: format!("https://{}", route.url),
            created_at: &route.created_at,
            apps: &route.apps,
            state: tenant.state.as_str(),
            reason: tenant.reason.map(StateReason::as_str),
            tenant: id,
            owner,
        }
    }
}

impl<'a> OtherRouteRow<'a> {
    fn of(route: &'a RouteOfSpace) -> Self {
        Self {
            guid: &route.guid,
            host: &route.host,
            domain: &route.domain,
            url: &route.url,
            created_at: &route.created_at,
            apps: &route.apps,
        }
    }
}

impl RowQuery {
    fn needle(&self) -> Option<String> {
        let text = self.filter.as_deref().map(|text| text.trim().to_lowercase());
        text.filter(|text| !text.is_empty())
    }

    /// Takes the wanted rows and counts all.
    fn cut<T>(&self, rows: impl Iterator<Item = T>) -> Rows<T> {
        let first = self.window.map_or(0, RowWindow::first);
        let after = self.window.map_or(usize::MAX, |window| first.saturating_add(window.per_page));
        let (mut resources, mut total) = (Vec::new(), 0);
        for row in rows {
            if (first..after).contains(&total) {
                resources.push(row);
            }
            total += 1;
        }
        Rows { resources, total }
    }

    fn paging(&self, total: usize) -> Option<Paging> {
        let RowWindow { page, per_page } = self.window?;
        let next = (page.saturating_mul(per_page) < total).then_some(page.saturating_add(1));
        Some(Paging { total, page, per_page, next })
    }
}

impl RowWindow {
    fn first(self) -> usize {
        self.page.saturating_sub(1).saturating_mul(self.per_page)
    }
}

/// A row that a filter can find. The script of a page finds it by the same texts.
pub trait SearchedRow {
    /// Returns what the viewer sees of the row and a filter looks at.
    fn texts(&self) -> Vec<&str>;

    /// Returns the texts, a line each.
    fn searched(&self) -> String {
        self.texts().join("\n")
    }

    /// Returns whether one of the texts has the needle, whatever its case.
    fn has(&self, needle: Option<&str>) -> bool {
        let Some(needle) = needle else { return true };
        self.texts().into_iter().any(|text| text.to_lowercase().contains(needle))
    }
}

impl SearchedRow for SpaceRow {
    fn texts(&self) -> Vec<&str> {
        let organization = self.organization.as_ref().map(|it| it.name.as_str());
        [self.name.as_str(), self.guid.as_str()].into_iter().chain(organization).collect()
    }
}

impl SearchedRow for TenantRouteRow<'_> {
    fn texts(&self) -> Vec<&str> {
        let own = [self.url.as_str(), self.guid.as_str(), self.state];
        let apps = self.apps.iter().map(String::as_str);
        let more = [self.reason, self.tenant, self.owner].into_iter().flatten();
        own.into_iter().chain(apps).chain(more).collect()
    }
}

impl SearchedRow for OtherRouteRow<'_> {
    fn texts(&self) -> Vec<&str> {
        let apps = self.apps.iter().map(String::as_str);
        [self.url, self.guid.as_str()].into_iter().chain(apps).collect()
    }
}

impl SearchedRow for AppRow {
    fn texts(&self) -> Vec<&str> {
        [self.name.as_str(), self.guid.as_str()].into_iter().chain(self.state).collect()
    }
}
