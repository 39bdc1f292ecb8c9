//! How many caches there are, how fast new ones are made, and who stays.

use super::{BURST, INTERVAL, KeyTable, NEW_LIMIT, PROVEN_LIMIT, Warrant};
use crate::{
    auth::{
        AuthError,
        held::Fetched,
        ias::{Address, domains::TrustedDomains},
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

fn table() -> KeyTable<Nothing> {
    KeyTable::new(Box::new(|_| Nothing), TaskTracker::new(), Metrics::default())
}

/// The address of a client at a label below one trusted domain.
fn at(label: &str, client: &str) -> Arc<Address> {
    let domains = TrustedDomains::of(&["accounts.example.test".to_owned()]);
    let issuer = domains.issuer(&format!("{label}.accounts.example.test")).unwrap();
    Arc::new(Address { issuer, tenant: "tenant".to_owned(), client: Some(client.to_owned()) })
}

fn many(count: usize) -> impl Iterator<Item = Arc<Address>> {
    (0..count).map(|number| at("t", &number.to_string()))
}

/// Opens and proves.
fn prove(table: &KeyTable<Nothing>, address: &Arc<Address>) {
    let keys = table.open(address, Warrant::Good).unwrap();
    table.prove(address, &keys);
}

#[tokio::test(start_paused = true)]
async fn new_caches_come_in_a_burst_and_then_one_by_one() {
    let table = table();
    let opened = many(1000).filter(|address| table.open(address, Warrant::None).is_ok()).count();
    assert_eq!(opened, usize::try_from(BURST).unwrap());
    let refused = table.open(&at("t", "late"), Warrant::None).err();
    assert_eq!(refused, Some(AuthError::KeysUnavailable { retry_after: INTERVAL }));
    time::advance(INTERVAL).await;
    assert!(table.open(&at("t", "late"), Warrant::None).is_ok());
    assert!(table.open(&at("t", "later"), Warrant::None).is_err());
    time::advance(Duration::from_secs(600)).await;
    let opened = (0..1000)
        .filter(|number| table.open(&at(&format!("l{number}"), "c"), Warrant::None).is_ok());
    assert_eq!(opened.count(), usize::try_from(BURST).unwrap(), "labels count like clients");
}

#[tokio::test(start_paused = true)]
async fn who_is_known_costs_nothing_and_who_is_vouched_for_neither() {
    let table = table();
    for address in many(1000) {
        drop(table.open(&address, Warrant::None));
    }
    assert!(table.open(&at("t", "31"), Warrant::None).is_ok());
    assert!(table.open(&at("t", "named"), Warrant::Good).is_ok());
}

#[tokio::test(start_paused = true)]
async fn unproven_caches_drive_out_one_another_and_nobody_else() {
    let table = table();
    prove(&table, &at("t", "proven"));
    for address in many(1000) {
        drop(table.open(&address, Warrant::None));
        time::advance(INTERVAL).await;
    }
    assert_eq!(table.sizes(), (NEW_LIMIT, 1));
    assert!(table.find(&at("t", "proven")).is_some());
    assert!(table.find(&at("t", "999")).is_some() && table.find(&at("t", "0")).is_none());
}

#[tokio::test(start_paused = true)]
async fn of_the_proven_the_one_that_was_not_asked_for_longest_goes() {
    let table = table();
    for address in many(PROVEN_LIMIT) {
        prove(&table, &address);
        time::advance(Duration::from_millis(1)).await;
    }
    assert!(table.find(&at("t", "0")).is_some(), "asked for again");
    prove(&table, &at("t", "one more"));
    assert_eq!(table.sizes(), (0, PROVEN_LIMIT));
    assert!(table.find(&at("t", "0")).is_some() && table.find(&at("t", "1")).is_none());
}

#[tokio::test(start_paused = true)]
async fn what_was_driven_out_while_its_token_was_judged_is_proven_all_the_same() {
    let table = table();
    let address = at("t", "slow");
    let keys = table.open(&address, Warrant::None).unwrap();
    for other in many(NEW_LIMIT) {
        time::advance(INTERVAL).await;
        table.open(&other, Warrant::None).unwrap();
    }
    assert!(table.find(&address).is_none());
    table.prove(&address, &keys);
    assert!(table.find(&address).is_some());
    assert_eq!(table.sizes(), (NEW_LIMIT, 1));
}

#[tokio::test(start_paused = true)]
async fn a_cache_that_is_made_again_has_other_generations() {
    let table = table();
    let address = at("t", "c");
    let generation = async || {
        table.open(&address, Warrant::Good).unwrap().probe().await.unwrap();
        table.generation(&address).unwrap()
    };
    let before = generation().await;
    assert_eq!(generation().await, before);
    for other in many(NEW_LIMIT) {
        time::advance(Duration::from_millis(1)).await;
        table.open(&other, Warrant::Good).unwrap();
    }
    assert_eq!(table.generation(&address), None);
    assert_ne!(generation().await, before);
}
