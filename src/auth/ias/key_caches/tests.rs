//! Number of caches, rate of new ones, and which are dropped.

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
use tokio::time::{self, Instant};
use tokio_util::task::TaskTracker;

struct Nothing;

impl KeySource for Nothing {
    type Fault = Infallible;

    async fn fetch(&self, _: Option<HeaderValue>, _: Instant) -> Result<Fetched, Infallible> {
        Ok(Fetched::Keys { keys: KeySet::default(), etag: None })
    }
}

fn pool() -> KeyCachePool<Nothing> {
    let home = Some(at("home", "any").issuer.clone());
    KeyCachePool::new(Box::new(|_| Nothing), home, TaskTracker::new(), Metrics::default())
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

/// Makes the cache of an address and marks it as verified.
fn verify(pool: &KeyCachePool<Nothing>, address: &Arc<KeyAddress>) {
    let keys = pool.get_or_create(address, Evidence::Good).unwrap();
    pool.mark_verified(address, &keys);
}

#[tokio::test(start_paused = true)]
async fn new_caches_are_limited_to_a_burst_and_then_to_an_interval() {
    let pool = pool();
    let opened =
        many(1000).filter(|address| pool.get_or_create(address, Evidence::None).is_ok()).count();
    assert_eq!(opened, usize::try_from(BURST).unwrap());
    let refused = pool.get_or_create(&at("t", "late"), Evidence::None).err();
    assert_eq!(refused, Some(AuthError::KeyUndecided { retry_after: INTERVAL }));
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
async fn known_addresses_and_addresses_with_good_evidence_cost_no_budget() {
    let pool = pool();
    for address in many(1000) {
        drop(pool.get_or_create(&address, Evidence::None));
    }
    assert!(pool.get_or_create(&at("t", "31"), Evidence::None).is_ok());
    assert!(pool.get_or_create(&at("t", "named"), Evidence::Good).is_ok());
}

#[tokio::test(start_paused = true)]
async fn unverified_caches_displace_only_one_another() {
    let pool = pool();
    verify(&pool, &at("t", "verified"));
    for address in many(1000) {
        drop(pool.get_or_create(&address, Evidence::None));
        time::advance(INTERVAL).await;
    }
    assert_eq!(pool.sizes(), (UNVERIFIED_LIMIT, 1));
    assert!(pool.find(&at("t", "verified")).is_some());
    assert!(pool.find(&at("t", "999")).is_some() && pool.find(&at("t", "0")).is_none());
}

#[tokio::test(start_paused = true)]
async fn of_the_verified_caches_the_one_unused_for_longest_is_dropped() {
    let pool = pool();
    for address in many(VERIFIED_LIMIT) {
        verify(&pool, &address);
        time::advance(Duration::from_millis(1)).await;
    }
    assert!(pool.find(&at("t", "0")).is_some(), "used again");
    verify(&pool, &at("t", "one more"));
    assert_eq!(pool.sizes(), (0, VERIFIED_LIMIT));
    assert!(pool.find(&at("t", "0")).is_some() && pool.find(&at("t", "1")).is_none());
}

#[tokio::test(start_paused = true)]
async fn a_cache_dropped_during_verification_is_put_back_as_verified() {
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
async fn a_cache_that_is_made_again_has_new_generations() {
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

#[tokio::test(start_paused = true)]
async fn other_issuers_use_up_nothing_of_the_home_issuer_and_the_other_way_round() {
    for (flooded, calm) in [("t", "home"), ("home", "t")] {
        let pool = pool();
        let first = at(calm, "first");
        pool.get_or_create(&first, Evidence::None).unwrap();
        for number in 0..1000 {
            time::advance(Duration::from_millis(1)).await;
            drop(pool.get_or_create(&at(flooded, &number.to_string()), Evidence::None));
        }
        assert!(pool.find(&first).is_some(), "not displaced");
        let made = (0..1000)
            .filter(|number| {
                pool.get_or_create(&at(calm, &number.to_string()), Evidence::None).is_ok()
            })
            .count();
        assert_eq!(made, usize::try_from(BURST).unwrap() - 1);
        assert_eq!(pool.sizes(), (2 * UNVERIFIED_LIMIT, 0));
    }
}

#[tokio::test(start_paused = true)]
async fn verified_callers_of_other_issuers_displace_none_of_the_home_issuer() {
    let pool = pool();
    verify(&pool, &at("home", "first"));
    for address in many(VERIFIED_LIMIT + 10) {
        time::advance(Duration::from_millis(1)).await;
        verify(&pool, &address);
    }
    assert_eq!(pool.sizes(), (0, VERIFIED_LIMIT + 1));
    assert!(pool.find(&at("home", "first")).is_some());
}
