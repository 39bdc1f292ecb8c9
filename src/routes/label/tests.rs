use super::{Claim, DeletionState, LabelPrefix, Ownership, Provenance};
use crate::capi::{
    Guid,
    model::{Route, RouteMetadata},
};
use proptest::prelude::{prop_assert, prop_assert_eq, proptest};
use rstest::rstest;
use serde::Deserialize as _;
use serde_json::json;
use std::time::{Duration, SystemTime};

const PREFIX: &str = "cfapi-broker.internal";

fn space() -> Guid {
    Guid::parse("s1").unwrap()
}

fn now() -> SystemTime {
    humantime::parse_rfc3339("2026-11-24T10:00:00Z").unwrap()
}

fn ownership(owner: &str, tenant: &str) -> Ownership {
    Ownership::new(LabelPrefix::parse(PREFIX).unwrap(), owner, tenant)
}

fn route(metadata: RouteMetadata, space: &str) -> Route {
    let bare = json!({"guid": "r1", "relationships": {"space": {"data": {"guid": space}}}});
    let route = Route::deserialize(bare).unwrap();
    Route { metadata, ..route }
}

/// A route as this owner would create it.
fn made_by(owner: &str, tenant: &str) -> Route {
    let provenance = Provenance { subdomain: "acme", created_by: "sb-x", correlation: "c1" };
    route(ownership(owner, tenant).metadata(provenance), "s1")
}

fn claim(route: &Route) -> Claim {
    ownership("sb-bookshop!t4711", "t1").claim(route, &space(), now())
}

#[test]
fn a_route_that_we_created_is_ours() {
    assert_eq!(claim(&made_by("sb-bookshop!t4711", "t1")), Claim::Ours(DeletionState::Live));
}

#[rstest]
#[case::other_owner("sb-other!t1", "t1", Claim::Foreign)]
#[case::other_tenant("sb-bookshop!t4711", "t2", Claim::OtherTenant)]
#[case::both("sb-other!t1", "t2", Claim::Foreign)]
fn routes_of_others_are_not_ours(
    #[case] owner: &str,
    #[case] tenant: &str,
    #[case] expected: Claim,
) {
    assert_eq!(claim(&made_by(owner, tenant)), expected);
}

#[test]
fn an_unlabelled_route_is_unclaimed_in_our_space_and_foreign_elsewhere() {
    let here = claim(&route(RouteMetadata::default(), "s1"));
    let there = claim(&route(RouteMetadata::default(), "s2"));
    assert_eq!((here, there), (Claim::Unclaimed, Claim::Foreign));
}

#[test]
fn our_route_in_another_space_is_not_ours() {
    let made = made_by("sb-bookshop!t4711", "t1");
    assert_eq!(claim(&route(made.metadata, "s2")), Claim::Foreign);
}

#[test]
fn our_route_without_tenant_is_unclaimed() {
    let mut made = made_by("sb-bookshop!t4711", "t1");
    made.metadata.labels.remove(&format!("{PREFIX}/tenant"));
    assert_eq!(claim(&made), Claim::Unclaimed);
}

#[test]
fn a_copied_owner_label_proves_nothing() {
    let mut made = made_by("sb-bookshop!t4711", "t1");
    let key = format!("{PREFIX}/owner-id");
    made.metadata.annotations.insert(key, Some("sb-other!t1".to_owned()));
    assert_eq!(claim(&made), Claim::Foreign);
}

#[test]
fn a_tenant_id_that_looks_like_a_hash_gets_another_label() {
    let long = "t".repeat(100);
    let label = format!("{PREFIX}/tenant");
    let hashed = made_by("o", &long).metadata.label(&label).unwrap().to_owned();
    let posing = made_by("o", &hashed);
    assert_ne!(posing.metadata.label(&label), Some(hashed.as_str()));
    let seen = ownership("o", &long).claim(&posing, &space(), now());
    assert_eq!(seen, Claim::OtherTenant);
}

#[rstest]
#[case::just_now(Duration::ZERO, DeletionState::Deleting)]
#[case::within_five_minutes(Duration::from_secs(300), DeletionState::Deleting)]
#[case::later(Duration::from_secs(301), DeletionState::DeleteFailed)]
fn a_mark_ends_after_five_minutes(#[case] age: Duration, #[case] expected: DeletionState) {
    let owner = ownership("sb-bookshop!t4711", "t1");
    let mut made = made_by("sb-bookshop!t4711", "t1");
    let mark = owner.deleting(now() - age);
    made.metadata.labels.extend(mark.labels);
    made.metadata.annotations.extend(mark.annotations);
    assert_eq!(claim(&made), Claim::Ours(expected));
}

#[test]
fn a_mark_without_a_readable_time_counts() {
    let mut made = made_by("sb-bookshop!t4711", "t1");
    let key = format!("{PREFIX}/state");
    made.metadata.labels.insert(key, Some("deleting".to_owned()));
    assert_eq!(claim(&made), Claim::Ours(DeletionState::Deleting));
}

#[test]
fn giving_up_a_route_removes_all_that_the_create_set() {
    let owner = ownership("o", "t1");
    let made = made_by("o", "t1").metadata;
    let released = owner.released();
    let all_gone = made.labels.keys().all(|key| released.labels.get(key) == Some(&None))
        && made.annotations.keys().all(|key| released.annotations.get(key) == Some(&None));
    assert!(all_gone);
}

#[test]
fn the_selector_names_manager_owner_and_tenant() {
    let selector = ownership("sb-bookshop!t4711", "t1").selector();
    assert_eq!(
        selector,
        "cfapi-broker.internal/managed-by=cfapi-broker,\
         cfapi-broker.internal/owner=73345ee14bbdc8926094762ae539cf53,\
         cfapi-broker.internal/tenant=t1"
    );
}

#[rstest]
#[case::default("cfapi-broker.internal", true)]
#[case::own_name("routes.example.org", true)]
#[case::no_dot("broker", false)]
#[case::cf_itself("cloudfoundry.org", false)]
#[case::upper_case("Broker.example", false)]
#[case::slash("a.b/c", false)]
#[case::empty_label("a..b", false)]
fn a_prefix_is_a_dns_name_with_a_dot(#[case] text: &str, #[case] valid: bool) {
    assert_eq!(LabelPrefix::parse(text).is_some(), valid);
}

proptest! {
    #[test]
    fn every_label_value_is_valid(owner in "\\PC{1,80}", tenant in "[A-Za-z0-9._-]{1,128}") {
        for value in made_by(&owner, &tenant).metadata.labels.into_values().flatten() {
            let ends = value.chars().next().is_some_and(|c| c.is_ascii_alphanumeric())
                && value.chars().last().is_some_and(|c| c.is_ascii_alphanumeric());
            prop_assert!(ends && value.len() <= 63);
            prop_assert!(value.chars().all(|c| c.is_ascii_alphanumeric() || "-_.".contains(c)));
        }
    }

    #[test]
    fn a_route_belongs_to_one_tenant_only(one in "[A-Za-z0-9._-]{1,128}", other in "[A-Za-z0-9._-]{1,128}") {
        let seen = ownership("o", &other).claim(&made_by("o", &one), &space(), now());
        prop_assert_eq!(seen == Claim::Ours(DeletionState::Live), one == other);
    }
}
