use super::{Apps, BrokerIdentity, Provider, ProviderTable};
use crate::{
    auth::{Caller, Scope},
    capi::{DestinationName, Guid, spaces::SpaceRef},
    routes::{
        error::RouteError,
        settings::{Mode, ProviderSettings, Settings},
    },
};
use rstest::rstest;

fn broker() -> BrokerIdentity {
    BrokerIdentity {
        destination: DestinationName::parse("CFAPI").unwrap(),
        space: Guid::parse("s1"),
        space_name: Some("dev".to_owned()),
        organization: Guid::parse("o1"),
        organization_name: Some("provider-org".to_owned()),
        app: Some("cfapi-broker".to_owned()),
        app_guid: Guid::parse("b1"),
        uris: vec!["broker.cfapps.example.test".to_owned()],
    }
}

fn entry() -> ProviderSettings {
    ProviderSettings {
        client_ids: vec!["sb-bookshop!t1".to_owned()],
        space: "s2".to_owned(),
        apps: vec!["bookshop-approuter".to_owned()],
        ..ProviderSettings::default()
    }
}

fn validate(providers: &[ProviderSettings]) -> Result<ProviderTable, Vec<String>> {
    let destinations = [DestinationName::parse("CFAPI").unwrap()];
    ProviderTable::validate(&Settings::default(), providers, broker(), &destinations)
        .map_err(|findings| findings.into_iter().map(|finding| finding.key).collect())
}

fn caller(client_id: &str, scopes: &[Scope]) -> Caller {
    Caller::for_tests(client_id, scopes)
}

fn policy(policies: &ProviderTable, client_id: &str) -> Result<Provider, RouteError> {
    policies.of(&caller(client_id, &[]))
}

#[test]
fn without_entries_each_caller_has_the_brokers_own_space() {
    let policies = validate(&[]).unwrap();
    let policy = policy(&policies, "sb-any!t1").unwrap();
    assert_eq!(policy.owner, "sb-any!t1");
    assert_eq!(policy.terms.space, SpaceRef::Guid(Guid::parse("s1").unwrap()));
}

#[test]
fn without_entries_the_app_must_be_named_and_is_never_the_broker() {
    let policies = validate(&[]).unwrap();
    let terms = policy(&policies, "sb-any!t1").unwrap().terms;
    assert!(matches!(terms.app(None), Err(RouteError::AppRequired { .. })));
    assert!(matches!(terms.app(Some("cfapi-broker")), Err(RouteError::ForbiddenApp)));
    assert_eq!(terms.app(Some("x")).unwrap(), "x");
}

#[test]
fn with_entries_other_callers_have_no_policy() {
    let policies = validate(&[entry()]).unwrap();
    assert!(matches!(policy(&policies, "sb-any!t1"), Err(RouteError::ForbiddenProvider)));
}

#[test]
fn an_entry_has_the_documented_defaults() {
    let policies = validate(&[entry()]).unwrap();
    let terms = policy(&policies, "sb-bookshop!t1").unwrap().terms;
    let facts = (terms.adopt, terms.legacy_delete, terms.mode, terms.max_routes_per_app);
    assert_eq!(facts, (true, false, Mode::Route, 900));
    assert_eq!(terms.template.to_string(), "{subdomain}-{app}");
}

#[rstest]
#[case::only_app(&["a"], None, Some("a"))]
#[case::named(&["a", "b"], Some("b"), Some("b"))]
#[case::several(&["a", "b"], None, None)]
#[case::foreign(&["a"], Some("c"), None)]
fn an_app_is_chosen_within_the_policy(
    #[case] apps: &[&str],
    #[case] wanted: Option<&str>,
    #[case] chosen: Option<&str>,
) {
    let apps = apps.iter().map(|app| (*app).to_owned()).collect();
    let policies = validate(&[ProviderSettings { apps, ..entry() }]).unwrap();
    let terms = policy(&policies, "sb-bookshop!t1").unwrap().terms;
    assert_eq!(terms.app(wanted).ok().as_deref(), chosen);
}

#[rstest]
#[case::first_is_the_default(None, Some("a.test"))]
#[case::named(Some("B.test"), Some("b.test"))]
#[case::foreign(Some("c.test"), None)]
fn a_domain_is_chosen_within_the_policy(
    #[case] wanted: Option<&str>,
    #[case] chosen: Option<&str>,
) {
    let domains = vec!["a.test".to_owned(), "b.test".to_owned()];
    let policies = validate(&[ProviderSettings { domains, ..entry() }]).unwrap();
    let terms = policy(&policies, "sb-bookshop!t1").unwrap().terms;
    assert_eq!(terms.domain(wanted).ok().flatten().as_deref(), chosen);
}

#[rstest]
#[case::no_owner(ProviderSettings { owner: Some(" ".to_owned()), ..entry() }, "owner")]
#[case::no_app(ProviderSettings { apps: vec![String::new()], ..entry() }, "apps")]
#[case::no_domain(ProviderSettings { domains: vec!["a.test".to_owned(), String::new()], ..entry() }, "domains")]
#[case::no_client(ProviderSettings { client_ids: vec![String::new()], ..entry() }, "client_ids")]
#[case::no_route(ProviderSettings { max_routes_per_app: Some(0), ..entry() }, "max_routes_per_app")]
fn an_empty_name_or_a_limit_of_zero_is_a_finding(
    #[case] broken: ProviderSettings,
    #[case] key: &str,
) {
    assert_eq!(validate(&[broken]).unwrap_err(), [format!("providers[0].{key}")]);
}

#[rstest]
#[case::owner(Some("bookshop"), "sb-orders!t1", &["providers[0].owner", "providers[1].owner"])]
#[case::client_id(None, "bookshop", &["providers[0].owner"])]
#[case::own_client_id(None, "sb-orders!t1", &[])]
fn an_owner_is_in_one_entry_only(
    #[case] owner: Option<&str>,
    #[case] client_id: &str,
    #[case] keys: &[&str],
) {
    let one = ProviderSettings { owner: Some("bookshop".to_owned()), ..entry() };
    let client_ids = vec![client_id.to_owned()];
    let other = ProviderSettings { owner: owner.map(ToOwned::to_owned), client_ids, ..entry() };
    assert_eq!(validate(&[one, other]).err().unwrap_or_default(), keys);
}

#[test]
fn all_findings_are_reported_together() {
    let broken = ProviderSettings {
        space: "not a guid".to_owned(),
        destination: Some("OTHER".to_owned()),
        host_template: Some("{app}".to_owned()),
        ..ProviderSettings::default()
    };
    let keys = validate(&[broken]).unwrap_err();
    let expected = ["client_ids", "apps", "host_template", "space", "destination"];
    assert_eq!(keys, expected.map(|key| format!("providers[0].{key}")));
}

#[test]
fn a_client_id_in_two_entries_is_a_finding() {
    assert_eq!(validate(&[entry(), entry()]).unwrap_err(), ["providers"]);
}

#[test]
fn a_space_may_be_named_with_its_organization() {
    let organization = Some("provider-org".to_owned());
    let policies = validate(&[ProviderSettings { organization, ..entry() }]).unwrap();
    let terms = policy(&policies, "sb-bookshop!t1").unwrap().terms;
    let named = SpaceRef::Named { organization: "provider-org".to_owned(), space: "s2".to_owned() };
    assert_eq!(terms.space, named);
}

#[test]
fn acting_for_others_needs_the_admin_scope() {
    let owner = Some("bookshop".to_owned());
    let policies = validate(&[ProviderSettings { owner, ..entry() }]).unwrap();
    let plain = policies.on_behalf_of(&caller("x", &[Scope::RoutesWrite]), "bookshop");
    let admin = policies.on_behalf_of(&caller("x", &[Scope::RoutesAdmin]), "bookshop");
    assert!(matches!(plain, Err(RouteError::ForbiddenScope)));
    assert_eq!(admin.unwrap().owner, "bookshop");
}

#[test]
fn a_fixed_owner_is_shared_by_all_clients_of_the_entry() {
    let client_ids = vec!["sb-1!t1".to_owned(), "sb-2!t1".to_owned()];
    let owner = Some("bookshop".to_owned());
    let policies = validate(&[ProviderSettings { client_ids, owner, ..entry() }]).unwrap();
    let owners = ["sb-1!t1", "sb-2!t1"].map(|client| policy(&policies, client).unwrap().owner);
    assert_eq!(owners, ["bookshop", "bookshop"]);
}

#[test]
fn the_broker_is_not_an_app_of_the_built_in_policy() {
    assert!(!Apps::AnyBut(Some("cfapi-broker".to_owned())).covers("cfapi-broker"));
}

#[rstest]
#[case::look_around("^(?!www)(.*)-shop", false)]
#[case::no_group("^.*-shop", false)]
#[case::plain("^(.*)-shop.cfapps.example.test", true)]
fn a_tenant_host_pattern_that_cannot_be_checked_is_a_finding(
    #[case] pattern: &str,
    #[case] valid: bool,
) {
    let entry = ProviderSettings { tenant_host_pattern: Some(pattern.to_owned()), ..entry() };
    let validation = validate(&[entry]).map(|_| ());
    let expected = vec!["providers[0].tenant_host_pattern".to_owned()];
    assert_eq!(validation, if valid { Ok(()) } else { Err(expected) });
}

#[test]
fn a_share_above_100_percent_is_a_finding() {
    let settings = Settings { max_orphan_percent: 101, ..Settings::default() };
    let findings = ProviderTable::validate(&settings, &[], broker(), &[]).unwrap_err();
    assert_eq!(findings[0].key, "routes.max_orphan_percent");
}

#[test]
fn an_app_may_be_named_in_any_case_like_in_cf() {
    let policies = validate(&[entry()]).unwrap();
    let terms = policies.of(&caller("sb-bookshop!t1", &[])).unwrap().terms;
    assert_eq!(terms.app(Some("Bookshop-AppRouter")).unwrap(), "bookshop-approuter");
}
