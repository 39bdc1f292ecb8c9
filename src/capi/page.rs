//! Lists of the CF API, page by page.
//!
//! Invariant: of `pagination.next` only path and query are used. Its host is CF's external name,
//! which can differ from the destination's. Callers: this module.

use super::{
    Call, CapiError, CfRequestClient, answer,
    model::{Organization, Page},
};
use http::{Method, StatusCode};
use serde::de::DeserializeOwned;
use url::Url;

/// Most pages of one list. With 1000 per page this is more than a landscape's limit of routes per
/// organization; it ends a `next` that leads in a circle.
const MAX_PAGES: usize = 100;

/// Resources per page of a whole list. CF allows 5000, but such a page takes seconds.
pub(super) const PER_PAGE: &str = "1000";

/// All resources of a list.
#[derive(Debug)]
pub(super) struct ResourceList<T> {
    pub(super) resources: Vec<T>,
    pub(super) organizations: Vec<Organization>,
}

impl CfRequestClient {
    /// Reads all pages of a list.
    pub(super) async fn list<T: DeserializeOwned>(
        &self,
        first: Call,
    ) -> Result<ResourceList<T>, CapiError> {
        let mut listing = ResourceList { resources: Vec::new(), organizations: Vec::new() };
        let mut call = first;
        for _ in 0..MAX_PAGES {
            let answer = self.send(&call).await?;
            let page: Page<T> = answer::expect(&answer)?;
            listing.resources.extend(page.resources);
            listing.organizations.extend(page.included.organizations);
            let Some(next) = page.pagination.next else {
                return Ok(listing);
            };
            call = following(&call, &next.href)?;
        }
        Err(unreadable())
    }

    /// Reads one page, for its `total_results`.
    pub(super) async fn total(&self, call: Call) -> Result<u64, CapiError> {
        let answer = self.send(&call).await?;
        let page: Page<serde::de::IgnoredAny> = answer::expect(&answer)?;
        Ok(page.pagination.total_results)
    }
}

/// Makes the call for the next page.
fn following(call: &Call, href: &str) -> Result<Call, CapiError> {
    let url = Url::parse(href).map_err(|_| unreadable())?;
    if !url.path().starts_with("/v3/") {
        return Err(unreadable());
    }
    let next = Call::new(call.operation, Method::GET, url.path()).with_cap(call.cap);
    Ok(next.with_query(url.query().unwrap_or_default().to_owned()))
}

fn unreadable() -> CapiError {
    CapiError::Unreadable { status: StatusCode::OK, request_id: None, source: None }
}
