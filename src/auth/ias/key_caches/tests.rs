//! How many caches there are, how fast new ones are made, and who stays.

use super::{BURST, Evidence, INTERVAL, KeyCachePool, UNVERIFIED_LIMIT, VERIFIED_LIMIT};
use crate::{
    auth::{
        AuthError,
        cached_key_set::Fetched,
        ias::{KeyAddress, domains::TrustedDomains},
        jwks::KeySet,
        source::KeySource,
    },
    telemetry::metrics::Metrics,
};
use http::HeaderValue;
use std::{convert::Infallible, sync::Arc, time::Duration};
use tokio::time;
use tokio_util::task::TaskTracker;

struct Nothing;

impl KeySource for Nothing {
    type Fault = Infallible;

    async fn fetch(&self, _: Option<HeaderValue>) -> Result<Fetched, Infallible> {
        Ok(Fetched::Keys { keys: KeySet::default(), etag: None })
    }
}

fn pool() -> KeyCachePool<Nothing> {
    KeyCachePool::new(Box::new(|_| Nothing), TaskTracker::new(), Metrics::default())
}

/// The address of a client at a label below one trusted domain.
fn at(label: &str, client: &str) -> Arc<KeyAddress> {
    let domains = TrustedDomains::from_names(&["accounts.example.test".to_owned()]);
    let issuer = domains.issuer(&format!("{label}.accounts.example.test")).unwrap();
    Arc::new(KeyAddress { issuer, tenant: "tenant".to_owned(), client: Some(client.to_owned()) })
}

fn many(count: usize) -> impl Iterator<Item = Arc<KeyAddress>> {
    (0..count).map(|number| at("t", &number.to_string()))
}

/// Opens and proves.
fn verify(pool: &KeyCachePool<Nothing>, address: &Arc<KeyAddress>) {
    let keys = pool.get_or_create(address, Evidence::Good).unwrap();
    pool.mark_verified(address, &keys);
}

#[tokio::test(start_paused = true)]
async fn new_caches_come_in_a_burst_and_then_one_by_one() {
    let pool = pool();
    let opened =
        many(1000).filter(|address| pool.get_or_create(address, Evidence::None).is_ok()).count();
    assert_eq!(opened, usize::try_from(BURST).unwrap());
    let refused = pool.get_or_create(&at("t", "late"), Evidence::None).err();
    assert_eq!(refused, Some(AuthError::KeysUnavailable { retry_after: INTERVAL }));
    time::advance(INTERVAL).await;
    assert!(pool.get_or_create(&at("t", "late"), Evidence::None).is_ok());
    assert!(pool.get_or_create(&at("t", "later"), Evidence::None).is_err());
    time::advance(Duration::from_secs(600)).await;
    let opened = (0..1000).filter(|number| {
        pool.get_or_create(&at(&format!("l{number}"), "c"), Evidence::None).is_ok()
    });
    assert_eq!(opened.count(), usize::try_from(BURST).unwrap(), "labels count like clients");
}

#[tokio::test(start_paused = true)]
async fn who_is_known_costs_nothing_and_who_is_vouched_for_neither() {
    let pool = pool();
    for address in many(1000) {
        drop(pool.get_or_create(&address, Evidence::None));
    }
    assert!(pool.get_or_create(&at("t", "31"), Evidence::None).is_ok());
    assert!(pool.get_or_create(&at("t", "named"), Evidence::Good).is_ok());
}

#[tokio::test(start_paused = true)]
async fn unproven_caches_drive_out_one_another_and_nobody_else() {
    let pool = pool();
    verify(&pool, &at("t", "proven"));
    for address in many(1000) {
        drop(pool.get_or_create(&address, Evidence::None));
        time::advance(INTERVAL).await;
    }
    assert_eq!(pool.sizes(), (UNVERIFIED_LIMIT, 1));
    assert!(pool.find(&at("t", "proven")).is_some());
    assert!(pool.find(&at("t", "999")).is_some() && pool.find(&at("t", "0")).is_none());
}

#[tokio::test(start_paused = true)]
async fn of_the_proven_the_one_that_was_not_asked_for_longest_goes() {
    let pool = pool();
    for address in many(VERIFIED_LIMIT) {
        verify(&pool, &address);
        time::advance(Duration::from_millis(1)).await;
    }
    assert!(pool.find(&at("t", "0")).is_some(), "asked for again");
    verify(&pool, &at("t", "one more"));
    assert_eq!(pool.sizes(), (0, VERIFIED_LIMIT));
    assert!(pool.find(&at("t", "0")).is_some() && pool.find(&at("t", "1")).is_none());
}

#[tokio::test(start_paused = true)]
async fn what_was_driven_out_while_its_token_was_judged_is_proven_all_the_same() {
    let pool = pool();
    let address = at("t", "slow");
    let keys = pool.get_or_create(&address, Evidence::None).unwrap();
    for other in many(UNVERIFIED_LIMIT) {
        time::advance(INTERVAL).await;
        pool.get_or_create(&other, Evidence::None).unwrap();
    }
    assert!(pool.find(&address).is_none());
    pool.mark_verified(&address, &keys);
    assert!(pool.find(&address).is_some());
    assert_eq!(pool.sizes(), (UNVERIFIED_LIMIT, 1));
}

#[tokio::test(start_paused = true)]
async fn a_cache_that_is_made_again_has_other_generations() {
    let pool = pool();
    let address = at("t", "c");
    let generation = async || {
        let cache = pool.get_or_create(&address, Evidence::Good).unwrap();
        assert!(cache.key("any").await.is_err(), "the set is empty");
        pool.generation(&address).unwrap()
    };
    let before = generation().await;
    assert_eq!(generation().await, before);
    for other in many(UNVERIFIED_LIMIT) {
        time::advance(Duration::from_millis(1)).await;
        pool.get_or_create(&other, Evidence::Good).unwrap();
    }
    assert_eq!(pool.generation(&address), None);
    assert_ne!(generation().await, before);
}
