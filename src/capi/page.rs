//! Lists of the CF API, page by page.
//!
//! Invariant: of `pagination.next` only path and query are used. Its host is CF's external name,
//! which can differ from the destination's. If the first page says how many there are, the others
//! are read side by side, a few at a time. Callers: this module.

use super::{
    Call, CapiError, CfRequestClient, answer,
    model::{Organization, Page},
};
use http::{Method, StatusCode};
use serde::de::DeserializeOwned;
use std::sync::atomic::{AtomicUsize, Ordering};
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
    /// Reads all pages of a list. `first` has no page in its query.
    pub(super) async fn list<T: DeserializeOwned>(
        &self,
        first: Call,
    ) -> Result<ResourceList<T>, CapiError> {
        let mut page = self.page(&first).await?;
        let mut listing = ResourceList { resources: Vec::new(), organizations: Vec::new() };
        let pages = page.pagination.total_pages.unwrap_or(1);
        if pages > MAX_PAGES {
            return Err(unreadable());
        }
        let mut read = 1;
        if pages > 1 {
            let later = self.later_pages(&first, pages).await?;
            read = pages;
            for next in later {
                listing.add(std::mem::replace(&mut page, next));
            }
        }
        // The list may have grown meanwhile, or the API does not say how many pages there are.
        loop {
            let next = page.pagination.next.take();
            listing.add(page);
            let Some(next) = next else { return Ok(listing) };
            read += 1;
            if read > MAX_PAGES {
                return Err(unreadable());
            }
            page = self.page(&following(&first, &next.href)?).await?;
        }
    }

    /// Reads the pages from the second to the last one, four at a time: other callers share the
    /// permits. After an error no page is begun, but those that were begun end.
    async fn later_pages<T: DeserializeOwned>(
        &self,
        first: &Call,
        last: usize,
    ) -> Result<Vec<Page<T>>, CapiError> {
        let next = AtomicUsize::new(2);
        let worker = async || {
            let mut read = Vec::new();
            loop {
                let number = next.fetch_add(1, Ordering::Relaxed);
                if number > last {
                    return Ok::<_, CapiError>(read);
                }
                let page = self.page(&numbered(first, number)).await;
                let page = page.inspect_err(|_| next.store(last + 1, Ordering::Relaxed))?;
                read.push((number, page));
            }
        };
        let (one, two, three, four) = tokio::join!(worker(), worker(), worker(), worker());
        let mut pages = [one?, two?, three?, four?].into_iter().flatten().collect::<Vec<_>>();
        pages.sort_by_key(|(number, _)| *number);
        Ok(pages.into_iter().map(|(_, page)| page).collect())
    }

    async fn page<T: DeserializeOwned>(&self, call: &Call) -> Result<Page<T>, CapiError> {
        answer::expect(&self.send(call).await?)
    }

    /// Reads one page, for its `total_results`.
    pub(super) async fn total(&self, call: Call) -> Result<u64, CapiError> {
        let answer = self.send(&call).await?;
        let page: Page<serde::de::IgnoredAny> = answer::expect(&answer)?;
        Ok(page.pagination.total_results)
    }
}

impl<T> ResourceList<T> {
    fn add(&mut self, page: Page<T>) {
        self.resources.extend(page.resources);
        self.organizations.extend(page.included.organizations);
    }
}

/// Makes the call for a page by its number.
fn numbered(first: &Call, number: usize) -> Call {
    let query = first.query.as_deref().map(|query| format!("{query}&page={number}"));
    first.clone().with_query(query.unwrap_or_else(|| format!("page={number}")))
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
