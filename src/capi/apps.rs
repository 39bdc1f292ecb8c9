//! Apps and domains by name. What a name resolves to is cached.
//!
//! Invariant: only existing resources are cached, for 10 minutes. A caller that sees CF refuse a
//! guid removes it. Callers: `routes`, `http`.

use super::{
    Call, CapiError, CfRequestClient, DestinationName, answer,
    call::{Query, filter_lists},
    model::{CfApp, Domain, Guid},
    page::PER_PAGE,
    spaces::{SpaceInOrganization, SpaceRef, absent_if_missing},
};
use http::Method;
use moka::future::Cache;
use std::{hash::Hash, time::Duration};
use tokio::time::Instant;

/// How long a resolved name is cached. Deployments recreate apps and domains, but not every minute.
const KNOWN_FOR: Duration = Duration::from_secs(600);
/// How long the last value is kept as an unchecked fallback: longer than an outage of CF.
const LAST_KNOWN_FOR: Duration = Duration::from_secs(24 * 3600);
/// Cached names of each kind; an entry is below 1 kB.
const MAX_KNOWN: u64 = 2_000;

/// Resources that were looked up, by destination.
#[derive(Debug)]
pub(super) struct ResourceCache {
    pub(super) spaces: TtlCache<(DestinationName, SpaceRef), SpaceInOrganization>,
    apps: TtlCache<(DestinationName, Guid, String), CfApp>,
    domains: TtlCache<(DestinationName, Guid, Option<String>), Domain>,
}

impl CfRequestClient {
    /// Finds an app by its name in a space; `None` when there is no visible one. Cached for 10
    /// minutes.
    ///
    /// # Errors
    /// Any [`CapiError`] of the call.
    pub async fn app(&self, space: &Guid, name: &str) -> Result<Option<CfApp>, CapiError> {
        let key = (self.destination.clone(), space.clone(), name.to_owned());
        self.cache().apps.find(key, self.read_app(space, name)).await
    }

    /// Removes an app from the cache if it was read before this moment; returns whether it was.
    pub async fn forget_app_before(&self, space: &Guid, name: &str, moment: Instant) -> bool {
        let key = (self.destination.clone(), space.clone(), name.to_owned());
        self.cache().apps.forget_before(&key, moment).await
    }

    /// Removes an app from the cache.
    pub async fn forget_app(&self, space: &Guid, name: &str) {
        let key = (self.destination.clone(), space.clone(), name.to_owned());
        self.cache().apps.forget(&key).await;
    }

    /// Reads apps by their guids, without invisible ones.
    ///
    /// # Errors
    /// Any [`CapiError`] of the calls.
    pub async fn apps_by_guid(&self, guids: &[Guid]) -> Result<Vec<CfApp>, CapiError> {
        let texts = guids.iter().map(Guid::as_str).collect::<Vec<_>>();
        let mut apps = Vec::new();
        for list in filter_lists(&texts) {
            let query = Query::default().with_list("guids", list).with("per_page", PER_PAGE);
            let call = Call::new("list_apps", Method::GET, "/v3/apps");
            apps.extend(self.list::<CfApp>(call.with_query(query.into_text())).await?.resources);
        }
        Ok(apps)
    }

    /// Lists the apps of a space, sorted by name.
    ///
    /// # Errors
    /// Any [`CapiError`] of the calls.
    pub async fn apps_of_space(&self, space: &Guid) -> Result<Vec<CfApp>, CapiError> {
        let query = Query::default()
            .with_list("space_guids", [space.as_str()])
            .with("order_by", "name")
            .with("per_page", PER_PAGE);
        let call = Call::new("list_apps", Method::GET, "/v3/apps");
        Ok(self.list::<CfApp>(call.with_query(query.into_text())).await?.resources)
    }

    /// Finds a domain that an organization may use, by name, or its default domain without a name;
    /// `None` when there is no such domain. Cached for 10 minutes.
    ///
    /// # Errors
    /// Any [`CapiError`] of the call.
    pub async fn domain(
        &self,
        organization: &Guid,
        name: Option<&str>,
    ) -> Result<Option<Domain>, CapiError> {
        let name = name.map(ToOwned::to_owned);
        let key = (self.destination.clone(), organization.clone(), name.clone());
        self.cache().domains.find(key, self.read_domain(organization, name.as_deref())).await
    }

    /// Returns the domain as CF showed it last, within a day.
    pub async fn last_known_domain(
        &self,
        organization: &Guid,
        name: Option<&str>,
    ) -> Option<Domain> {
        let name = name.map(ToOwned::to_owned);
        self.cache().domains.last(&(self.destination.clone(), organization.clone(), name)).await
    }

    /// Removes a domain from the cache.
    pub async fn forget_domain(&self, organization: &Guid, name: Option<&str>) {
        let name = name.map(ToOwned::to_owned);
        let key = (self.destination.clone(), organization.clone(), name);
        self.cache().domains.forget(&key).await;
    }

    /// Counts the routes of an app.
    ///
    /// # Errors
    /// Any [`CapiError`] of the call, `NotFound` too.
    pub async fn count_routes_of_app(&self, app: &Guid) -> Result<u64, CapiError> {
        let query = Query::default().with("per_page", "1");
        let call = Call::new("count_routes", Method::GET, format!("/v3/apps/{app}/routes"));
        self.total(call.with_query(query.into_text())).await
    }

    async fn read_app(&self, space: &Guid, name: &str) -> Result<Option<CfApp>, CapiError> {
        let query =
            Query::default().with_list("names", [name]).with_list("space_guids", [space.as_str()]);
        let call = Call::new("list_apps", Method::GET, "/v3/apps");
        let listing = self.list::<CfApp>(call.with_query(query.into_text())).await?;
        Ok(listing.resources.into_iter().next())
    }

    async fn read_domain(
        &self,
        organization: &Guid,
        name: Option<&str>,
    ) -> Result<Option<Domain>, CapiError> {
        let path = format!("/v3/organizations/{organization}/domains");
        let Some(name) = name else {
            let call = Call::new("read_default_domain", Method::GET, format!("{path}/default"));
            return absent_if_missing(answer::expect(&self.send(&call).await?));
        };
        let query = Query::default().with_list("names", [name]);
        let call = Call::new("list_domains", Method::GET, path).with_query(query.into_text());
        let listing = absent_if_missing(self.list::<Domain>(call).await)?;
        Ok(listing.and_then(|listing| listing.resources.into_iter().next()))
    }
}

impl Default for ResourceCache {
    fn default() -> Self {
        Self {
            spaces: TtlCache::new(KNOWN_FOR),
            apps: TtlCache::new(KNOWN_FOR),
            domains: TtlCache::new(KNOWN_FOR),
        }
    }
}

/// A cache of existing values, with the moment before each was read. Parallel lookups share one
/// read.
pub(super) struct TtlCache<K, V> {
    current: Cache<K, (V, Instant)>,
    /// What was found last, for a day.
    last: Cache<K, V>,
}

/// Why there is nothing to cache.
#[derive(Debug)]
enum Miss {
    Absent,
    Failed(CapiError),
}

impl<K, V> TtlCache<K, V>
where
    K: Clone + Hash + Eq + Send + Sync + 'static,
    V: Clone + Send + Sync + 'static,
{
    fn new(time: Duration) -> Self {
        let current = Cache::builder().max_capacity(MAX_KNOWN).time_to_live(time).build();
        let last = Cache::builder().max_capacity(MAX_KNOWN).time_to_live(LAST_KNOWN_FOR).build();
        Self { current, last }
    }

    /// Returns the cached value, else what `reading` finds.
    pub(super) async fn find(
        &self,
        key: K,
        reading: impl Future<Output = Result<Option<V>, CapiError>>,
    ) -> Result<Option<V>, CapiError> {
        let found = async {
            let begun = Instant::now();
            match reading.await {
                Ok(Some(value)) => {
                    self.last.insert(key.clone(), value.clone()).await;
                    Ok((value, begun))
                }
                Ok(None) => Err(Miss::Absent),
                Err(error) => Err(Miss::Failed(error)),
            }
        };
        match self.current.try_get_with(key.clone(), Box::pin(found)).await {
            Ok((value, _)) => Ok(Some(value)),
            Err(miss) => match &*miss {
                Miss::Absent => Ok(None),
                Miss::Failed(error) => Err(error.clone()),
            },
        }
    }

    /// Returns what was found last, even if it is no longer current.
    pub(super) async fn last(&self, key: &K) -> Option<V> {
        self.last.get(key).await
    }

    pub(super) async fn forget(&self, key: &K) {
        self.current.invalidate(key).await;
        self.last.invalidate(key).await;
    }

    /// Removes a value that was read before a moment; returns whether there was one.
    pub(super) async fn forget_before(&self, key: &K, moment: Instant) -> bool {
        let stale = self.current.get(key).await.is_some_and(|(_, read)| read < moment);
        if stale {
            self.forget(key).await;
        }
        stale
    }
}

// moka's own `Debug` prints keys and values.
impl<K, V> std::fmt::Debug for TtlCache<K, V> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("TtlCache").finish_non_exhaustive()
    }
}

#[cfg(test)]
impl CfRequestClient {
    /// Lets all cached domains expire.
    pub(crate) fn expire_domains(&self) {
        self.cache().domains.current.invalidate_all();
    }
}
