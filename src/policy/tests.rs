//! All steps from a request line to a permit, with the built-in allow list.

use super::{
    AppBounds, AppFacts, Bounds, Breach, Denial, HostPiece, HostShape, Legacy, Malformed, Outline,
    OwnerMarks, Permit, Policy, RequestLine, RouteFacts, RuleOutcome, Verdict,
    path::{UpstreamPath, UpstreamQuery},
};
use crate::auth::{Caller, Scope};
use http::Method;
use proptest::{
    collection,
    prelude::{Strategy, any, prop_assert, prop_assert_eq, prop_oneof, proptest},
    sample,
};
use rstest::rstest;
use std::collections::BTreeMap;

const ALL: &[Scope] = &[Scope::ApiProxy, Scope::RoutesWrite];

fn line(method: &str, path: &str) -> RequestLine {
    RequestLine {
        method: method.parse::<Method>().unwrap(),
        path: UpstreamPath::parse(path).unwrap(),
        query: UpstreamQuery::parse(Some("a=%2C")).unwrap(),
    }
}

fn admit(method: &str, path: &str, scopes: &[Scope]) -> Result<RuleOutcome, Denial> {
    Policy::shipped().unwrap().admit(&Caller::for_tests("client", scopes), line(method, path))
}

fn pair(key: &str, value: &str) -> (String, String) {
    (key.to_owned(), value.to_owned())
}

fn bounds() -> Bounds {
    Bounds {
        space: "space-1".to_owned(),
        domains: vec!["domain-1".to_owned()],
        apps: AppBounds::Listed(vec!["app-1".to_owned(), "app-2".to_owned()]),
        outline: Outline {
            space: Some("space-1".to_owned()),
            hosts: vec![HostShape::new(vec![HostPiece::Any, HostPiece::Text("-app".to_owned())])],
            refused_hosts: vec!["broker-app".to_owned()],
            reserved_prefix: "broker.internal".to_owned(),
        },
        marks: OwnerMarks {
            prefix: "broker.internal".to_owned(),
            labels: BTreeMap::from([pair("broker.internal/owner", "hash")]),
            annotations: BTreeMap::from([pair("broker.internal/owner-id", "client")]),
            owner_label: pair("broker.internal/owner", "hash"),
            owner_annotation: pair("broker.internal/owner-id", "client"),
        },
        legacy: Legacy::default(),
    }
}

fn verdict(method: &str, path: &str, body: &str) -> Result<Verdict, Denial> {
    verdict_within(&bounds(), method, path, body)
}

fn verdict_within(
    bounds: &Bounds,
    method: &str,
    path: &str,
    body: &str,
) -> Result<Verdict, Denial> {
    let RuleOutcome::Write(draft) = admit(method, path, ALL)? else {
        panic!("{method} {path} is no write");
    };
    draft.read(body.as_bytes())?.check_bounds(bounds)
}

fn create(body: &str) -> Result<Permit, Denial> {
    match verdict("POST", "/v3/routes", body)? {
        Verdict::Permit(permit) => Ok(permit),
        Verdict::Depends(question) => panic!("{question:?}"),
    }
}

fn body_of(permit: &Permit) -> &str {
    std::str::from_utf8(permit.body().unwrap()).unwrap()
}

const RELATIONSHIPS: &str = r#""relationships":{"space":{"data":{"guid":"space-1"}},"domain":{"data":{"guid":"domain-1"}}}"#;

fn create_body(host: &str, more: &str) -> String {
    format!(r#"{{"host":"{host}",{RELATIONSHIPS}{more}}}"#)
}

#[rstest]
#[case("/v3")]
#[case("/v3/")]
#[case("/v3/apps")]
#[case("/v3/apps/a-1/routes")]
#[case("/v3/spaces/")]
fn a_read_on_the_list_needs_only_the_proxy_scope(#[case] path: &str) {
    for method in ["GET", "HEAD"] {
        let Ok(RuleOutcome::Granted(permit)) = admit(method, path, &[Scope::ApiProxy]) else {
            panic!("{method} {path}");
        };
        assert_eq!((permit.method().as_str(), permit.path().as_str()), (method, path));
        assert_eq!(permit.query().as_str(), Some("a=%2C"));
        assert!(permit.body().is_none());
    }
}

/// Every row with every method: what the list does not name is denied, whatever scopes the caller
/// has.
#[test]
fn the_matrix_of_methods_and_rows_is_complete() {
    let policy = Policy::shipped().unwrap();
    let caller = Caller::for_tests("client", &Scope::ALL);
    let rows: Vec<_> = policy.rows().map(|id| id.as_str().to_owned()).collect();
    assert_eq!(rows.len(), 29);
    let mut granted = Vec::new();
    for row in &rows {
        let (_, path) = row.split_once(' ').unwrap();
        let concrete = path.replace("{guid}", "1b2f0a3c-0000-4000-8000-000000000001");
        for method in ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"] {
            let admitted = policy.admit(&caller, line(method, &concrete));
            let as_row = if method == "HEAD" { "GET" } else { method };
            let listed = rows.contains(&format!("{as_row} {path}"));
            assert_eq!(admitted.is_ok(), listed, "{method} {concrete}");
            if let Err(denial) = admitted {
                assert_eq!(denial, Denial::NoRule);
            } else if method == as_row {
                granted.push(format!("{method} {path}"));
            }
        }
    }
    granted.sort();
    granted.dedup();
    let mut expected = rows;
    expected.sort();
    assert_eq!(granted, expected);
}

/// Segments of rows, other segments of CF, and unknown ones.
fn segment() -> impl Strategy<Value = String> {
    let known = vec![
        "apps",
        "routes",
        "spaces",
        "organizations",
        "domains",
        "jobs",
        "destinations",
        "processes",
        "stats",
        "service_route_bindings",
        "organization_quotas",
        "route_reservations",
        "default",
        "info",
        "env",
        "relationships",
        "shared_spaces",
        "Apps",
        "app",
        "routes_",
        "{guid}",
    ];
    prop_oneof![
        4 => sample::select(known).prop_map(str::to_owned),
        2 => "[A-Za-z0-9-]{1,8}",
        1 => "[A-Za-z0-9-]{63,66}",
        1 => "[A-Za-z0-9._~,!:-]{1,6}",
    ]
}

/// The same decision with other means: text compared with text.
fn is_of_form(template: &str, path: &str) -> bool {
    let (own, given): (Vec<_>, Vec<_>) = (template.split('/').collect(), path.split('/').collect());
    let fits = |(own, given): (&&str, &&str)| {
        let guid = |text: &str| {
            (1..=64).contains(&text.len())
                && text.chars().all(|c| c.is_ascii_alphanumeric() || c == '-')
        };
        if *own == "{guid}" { guid(given) } else { own == given }
    };
    own.len() == given.len() && own.iter().zip(&given).all(fits)
}

proptest! {
    #[test]
    fn a_path_passes_if_and_only_if_it_has_the_form_of_a_row(
        segments in collection::vec(segment(), 0..5),
        method in sample::select(vec!["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"]),
        slash in any::<bool>(),
    ) {
        let plain = std::iter::once("/v3").chain(segments.iter().map(String::as_str));
        let plain = plain.collect::<Vec<_>>().join("/");
        let path = if slash { format!("{plain}/") } else { plain.clone() };
        let policy = Policy::shipped().unwrap();
        let row = if method == "HEAD" { "GET" } else { method };
        let listed = policy.rows().any(|id| {
            let (own, template) = id.as_str().split_once(' ').unwrap();
            own == row && is_of_form(template, &plain)
        });
        let Ok(parsed) = UpstreamPath::parse(&path) else {
            prop_assert!(!listed, "{path} has the form of a row");
            return Ok(());
        };
        let request_line = RequestLine {
            method: method.parse().unwrap(),
            path: parsed,
            query: UpstreamQuery::parse(None).unwrap(),
        };
        match policy.admit(&Caller::for_tests("client", &Scope::ALL), request_line) {
            Ok(_) => prop_assert!(listed, "{method} {path} passes"),
            Err(denial) => {
                prop_assert_eq!(denial, Denial::NoRule);
                prop_assert!(!listed, "{method} {path} is denied");
            }
        }
    }
}

#[test]
fn each_row_requires_its_scopes_and_no_others_help() {
    for row in Policy::shipped().unwrap().rows() {
        let (method, path) = row.as_str().split_once(' ').unwrap();
        let path = path.replace("{guid}", "g-1");
        let all_but = |left_out: Scope| {
            Scope::ALL.into_iter().filter(|scope| *scope != left_out).collect::<Vec<_>>()
        };
        let without_proxy = admit(method, &path, &all_but(Scope::ApiProxy)).unwrap_err();
        assert_eq!(without_proxy, Denial::Scope(Scope::ApiProxy), "{row:?}");
        let without_write = admit(method, &path, &all_but(Scope::RoutesWrite));
        if method == "GET" {
            assert!(without_write.is_ok(), "{row:?}");
        } else {
            assert_eq!(without_write.unwrap_err(), Denial::Scope(Scope::RoutesWrite), "{row:?}");
        }
    }
}

#[rstest]
#[case("DELETE", "/v3/spaces/s-1/routes")]
#[case("POST", "/v3/routes/r-1/relationships/shared_spaces")]
#[case("PATCH", "/v3/routes/r-1/relationships/space")]
#[case("PATCH", "/v3/routes/r-1")]
#[case("PATCH", "/v3/routes/r-1/destinations")]
#[case("PATCH", "/v3/routes/r-1/destinations/d-1")]
#[case("DELETE", "/v3/routes/r-1/destinations")]
#[case("GET", "/v3/routes/r-1/destinations/d-1")]
#[case("GET", "/v3/processes/p-1")]
#[case("PATCH", "/v3/processes/p-1")]
#[case("GET", "/v3/processes/p-1/sidecars")]
#[case("GET", "/v3/processes/p-1/process_instances")]
#[case("DELETE", "/v3/processes/p-1/instances/0")]
#[case("POST", "/v3/processes/p-1/actions/scale")]
#[case("GET", "/v3/apps/a-1/processes/web")]
#[case("GET", "/v3/apps/a-1/processes/web/stats")]
#[case("GET", "/v3/apps/a-1/sidecars")]
#[case("GET", "/v3/apps/a-1/droplets")]
#[case("GET", "/v3/apps/a-1/droplets/current")]
#[case("GET", "/v3/droplets")]
#[case("GET", "/v3/droplets/d-1")]
#[case("PATCH", "/v3/apps/a-1")]
#[case("POST", "/v3/apps/a-1/actions/stop")]
#[case("GET", "/v3/organization_quotas")]
#[case("PATCH", "/v3/organization_quotas/q-1")]
#[case("PATCH", "/v3/domains/d-1")]
#[case("DELETE", "/v3/domains/d-1")]
#[case("GET", "/v3/domains/d-1/relationships/shared_organizations")]
#[case("GET", "/v3/service_route_bindings/b-1")]
#[case("GET", "/v3/service_route_bindings/b-1/parameters")]
#[case("POST", "/v3/service_route_bindings")]
#[case("DELETE", "/v3/service_route_bindings/b-1")]
#[case("GET", "/v3/service_instances")]
#[case("GET", "/v3/info/usage_summary")]
#[case("GET", "/v3/apps/a-1/env")]
#[case("GET", "/v3/apps/a-1/environment_variables")]
#[case("PATCH", "/v3/apps/a-1/environment_variables")]
#[case("GET", "/v3/service_credential_bindings/b-1/details")]
#[case("GET", "/v3/roles")]
#[case("POST", "/v3/roles")]
#[case("GET", "/v3/users")]
#[case("POST", "/v3/apps/a-1/tasks")]
#[case("POST", "/v3/service_brokers")]
#[case("DELETE", "/v3/apps/a-1")]
#[case("DELETE", "/v3/spaces/s-1")]
#[case("DELETE", "/v3/organizations/o-1")]
#[case("GET", "/v3/apps/a.1/routes")]
#[case("GET", "/v3/apps/a/b/routes")]
#[case("GET", "/v3/Apps")]
fn what_matches_no_row_is_denied(#[case] method: &str, #[case] path: &str) {
    let denial = admit(method, path, &Scope::ALL).unwrap_err();
    assert_eq!(denial, Denial::NoRule);
}

#[test]
fn a_guid_has_at_most_64_characters() {
    let path = |length: usize| format!("/v3/routes/{}", "a".repeat(length));
    assert!(admit("GET", &path(64), ALL).is_ok());
    assert_eq!(admit("GET", &path(65), ALL).unwrap_err(), Denial::NoRule);
}

#[test]
fn a_new_route_is_serialised_again_with_the_owners_marks_and_without_a_tenant() {
    let permit = create(&create_body("acme-app", r#","path":"","port":null"#)).unwrap();
    let expected = format!(
        r#"{{"host":"acme-app",{RELATIONSHIPS},"metadata":{{"labels":{{"broker.internal/owner":"hash"}},"annotations":{{"broker.internal/owner-id":"client"}}}}}}"#
    );
    assert_eq!(body_of(&permit), expected);
    assert_eq!(permit.rule().as_str(), "POST /v3/routes");
}

#[test]
fn labels_of_the_caller_stay_beside_ours() {
    let more = r#","metadata":{"labels":{"team":"blue","x.y/z":null},"annotations":null}"#;
    let permit = create(&create_body("acme-app", more)).unwrap();
    assert!(body_of(&permit).contains(r#""team":"blue","x.y/z":null"#), "{permit:?}");
    assert!(body_of(&permit).contains(r#""broker.internal/owner":"hash""#));
}

#[rstest]
#[case::foreign_space(r#"{"host":"acme-app","relationships":{"space":{"data":{"guid":"other"}},"domain":{"data":{"guid":"domain-1"}}}}"#, Breach::Space)]
#[case::foreign_domain(r#"{"host":"acme-app","relationships":{"space":{"data":{"guid":"space-1"}},"domain":{"data":{"guid":"other"}}}}"#, Breach::Domain)]
#[case::wildcard(&create_body("*", ""), Breach::Host)]
#[case::other_form(&create_body("acme", ""), Breach::Host)]
#[case::upper_case(&create_body("Acme-app", ""), Breach::Host)]
#[case::underscore(&create_body("a_b-app", ""), Breach::Host)]
#[case::dash_first(&create_body("-a-app", ""), Breach::Host)]
#[case::empty(&create_body("", ""), Breach::Host)]
#[case::own_host(&create_body("broker-app", ""), Breach::RefusedHost)]
#[case::path(&create_body("acme-app", r#","path":"/x""#), Breach::PathOrPort)]
#[case::port(&create_body("acme-app", r#","port":8080"#), Breach::PathOrPort)]
#[case::label(&create_body("acme-app", r#","metadata":{"labels":{"broker.internal/owner":"x"}}"#), Breach::Label)]
#[case::label_in_capitals(&create_body("acme-app", r#","metadata":{"labels":{"Broker.Internal/tenant":"x"}}"#), Breach::Label)]
#[case::annotation(&create_body("acme-app", r#","metadata":{"annotations":{"broker.internal/tenant-id":"x"}}"#), Breach::Label)]
fn a_new_route_outside_the_bounds_is_denied(#[case] body: &str, #[case] breach: Breach) {
    assert_eq!(create(body).unwrap_err(), Denial::Breach(breach));
}

/// What needs no guid is refused before CF is asked for one.
#[rstest]
#[case::long(&create_body(&format!("{}-app", "a".repeat(60)), ""), Breach::Host)]
#[case::form(&create_body("acme", ""), Breach::Host)]
#[case::path(&create_body("acme-app", r#","path":"/x""#), Breach::PathOrPort)]
#[case::space(r#"{"host":"acme-app","relationships":{"space":{"data":{"guid":"other"}},"domain":{"data":{"guid":"domain-1"}}}}"#, Breach::Space)]
#[case::label(&create_body("acme-app", r#","metadata":{"labels":{"Broker.Internal/owner":"x"}}"#), Breach::Label)]
#[case::annotation(&create_body("acme-app", r#","metadata":{"annotations":{"broker.internal/x":"x"}}"#), Breach::Label)]
fn a_request_that_must_fail_is_denied_before_anything_is_resolved(
    #[case] body: &str,
    #[case] breach: Breach,
) {
    let Ok(RuleOutcome::Write(draft)) = admit("POST", "/v3/routes", ALL) else {
        panic!("no write")
    };
    let request = draft.read(body.as_bytes()).unwrap();
    assert_eq!(request.precheck(&bounds().outline).unwrap_err(), Denial::Breach(breach));
}

#[rstest]
#[case::nothing("")]
#[case::no_object("[]")]
#[case::array(r#"["acme-app","",null,{"space":{"data":{"guid":"space-1"}},"domain":{"data":{"guid":"domain-1"}}},{}]"#)]
#[case::array_of_places(r#"{"host":"acme-app","relationships":[{"data":{"guid":"space-1"}},{"data":{"guid":"domain-1"}}]}"#)]
#[case::array_of_one(r#"{"host":"acme-app","relationships":{"space":[{"guid":"space-1"}],"domain":{"data":{"guid":"domain-1"}}}}"#)]
#[case::array_of_data(r#"{"host":"acme-app","relationships":{"space":{"data":["space-1"]},"domain":{"data":{"guid":"domain-1"}}}}"#)]
#[case::array_of_marks(&create_body("acme-app", r#","metadata":[{},{}]"#))]
#[case::path_null(&create_body("acme-app", r#","path":null"#))]
#[case::truncated(r#"{"host":"acme-app""#)]
#[case::bom("\u{feff}{}")]
#[case::no_host(&format!("{{{RELATIONSHIPS}}}"))]
#[case::host_null(&format!(r#"{{"host":null,{RELATIONSHIPS}}}"#))]
#[case::unknown(&create_body("acme-app", r#","options":{}"#))]
#[case::repeated(&create_body("acme-app", r#","host":"other-app""#))]
#[case::repeated_inside(r#"{"host":"a-app","relationships":{"space":{"data":{"guid":"space-1","guid":"other"}},"domain":{"data":{"guid":"domain-1"}}}}"#)]
#[case::repeated_label(&create_body("acme-app", r#","metadata":{"labels":{"a":"1","a":"2"}}"#))]
#[case::label_number(&create_body("acme-app", r#","metadata":{"labels":{"a":1}}"#))]
#[case::deep(&create_body("acme-app", &format!(r#","metadata":{}"#, "[".repeat(200))))]
#[case::more_behind(&format!("{} {{}}", create_body("acme-app", "")))]
fn a_new_route_of_another_form_is_malformed(#[case] body: &str) {
    assert!(matches!(create(body), Err(Denial::Malformed(Malformed::Form { .. }))), "{body}");
}

#[test]
fn text_that_is_not_utf8_is_malformed() {
    let Ok(RuleOutcome::Write(draft)) = admit("POST", "/v3/routes", ALL) else {
        panic!("no write")
    };
    let mut body = create_body("acme-app", r#","metadata":{"labels":{"a":"X"}}"#).into_bytes();
    let at = body.iter().position(|byte| *byte == b'X').unwrap();
    body[at] = 0xE9;
    assert!(matches!(draft.read(&body), Err(Denial::Malformed(_))));
}

const TARGETS: &str = "/v3/routes/r-1/destinations";

#[test]
fn destinations_are_serialised_again() {
    let body = r#" {"destinations": [{"app": {"guid": "app-1", "process": {"type": "worker"}}, "port": 8080, "protocol": "http2"}, {"app": {"guid": "app-2"}}]}"#;
    let Ok(Verdict::Depends(question)) = verdict("POST", TARGETS, body) else {
        panic!("no question");
    };
    assert_eq!(question.needs(), "r-1");
    let permit = question.settle(&owned(), &[]).unwrap();
    assert_eq!(
        body_of(&permit),
        r#"{"destinations":[{"app":{"guid":"app-1","process":{"type":"worker"}},"port":8080,"protocol":"http2"},{"app":{"guid":"app-2"}}]}"#
    );
}

#[rstest]
#[case::none(r#"{"destinations":[]}"#)]
#[case::weight(r#"{"destinations":[{"app":{"guid":"app-1"},"weight":1}]}"#)]
#[case::low_port(r#"{"destinations":[{"app":{"guid":"app-1"},"port":1023}]}"#)]
#[case::high_port(r#"{"destinations":[{"app":{"guid":"app-1"},"port":65536}]}"#)]
#[case::protocol(r#"{"destinations":[{"app":{"guid":"app-1"},"protocol":"tcp"}]}"#)]
#[case::no_guid(r#"{"destinations":[{"app":{"guid":"../x"}}]}"#)]
#[case::no_app(r#"{"destinations":[{}]}"#)]
#[case::array(r#"[[{"app":{"guid":"app-1"}}]]"#)]
#[case::array_for_a_target(r#"{"destinations":[[{"guid":"app-1"}]]}"#)]
#[case::array_for_an_app(r#"{"destinations":[{"app":["app-1"]}]}"#)]
#[case::array_for_a_process(r#"{"destinations":[{"app":{"guid":"app-1","process":["web"]}}]}"#)]
#[case::repeated(r#"{"destinations":[{"app":{"guid":"app-1"}},{"app":{"guid":"app-1"}}]}"#)]
#[case::repeated_by_default_port(
    r#"{"destinations":[{"app":{"guid":"app-1"}},{"app":{"guid":"app-1"},"port":8080}]}"#
)]
#[case::repeated_by_default_port_in_front(
    r#"{"destinations":[{"app":{"guid":"app-1"},"port":8081},{"app":{"guid":"app-1"}}]}"#
)]
#[case::repeated_by_default(r#"{"destinations":[{"app":{"guid":"app-1"}},{"app":{"guid":"app-1","process":{"type":"web"}}}]}"#)]
fn targets_that_cf_would_refuse_are_malformed(#[case] body: &str) {
    let denial = verdict("POST", TARGETS, body).unwrap_err();
    assert!(matches!(denial, Denial::Malformed(_)), "{denial:?}");
}

#[rstest]
#[case::ports(r#"{"destinations":[{"app":{"guid":"app-1"},"port":8080},{"app":{"guid":"app-1"},"port":8081}]}"#)]
#[case::processes(r#"{"destinations":[{"app":{"guid":"app-1"}},{"app":{"guid":"app-1","process":{"type":"worker"}}}]}"#)]
fn targets_that_differ_pass(#[case] body: &str) {
    assert!(verdict("POST", TARGETS, body).is_ok());
}

#[test]
fn a_hundred_targets_pass_and_one_more_does_not() {
    let body = |count: u32| {
        let entries =
            (0..count).map(|i| format!(r#"{{"app":{{"guid":"app-1"}},"port":{}}}"#, 2000 + i));
        format!(r#"{{"destinations":[{}]}}"#, entries.collect::<Vec<_>>().join(","))
    };
    assert!(verdict("POST", TARGETS, &body(100)).is_ok());
    assert!(matches!(verdict("POST", TARGETS, &body(101)), Err(Denial::Malformed(_))));
}

#[test]
fn a_foreign_app_is_denied_without_a_call() {
    let body = r#"{"destinations":[{"app":{"guid":"app-1"}},{"app":{"guid":"app-9"}}]}"#;
    assert_eq!(verdict("POST", TARGETS, body).unwrap_err(), Denial::Breach(Breach::App));
}

fn owned() -> RouteFacts {
    RouteFacts {
        host: "acme-app".to_owned(),
        path: String::new(),
        space: "space-1".to_owned(),
        domain: "domain-1".to_owned(),
        apps: vec!["app-1".to_owned()],
        targets: BTreeMap::from([pair("d-1", "app-1"), pair("d-9", "app-9")]),
        labels: BTreeMap::from([pair("broker.internal/owner", "hash")]),
        annotations: BTreeMap::from([pair("broker.internal/owner-id", "client")]),
    }
}

fn settle(bounds: &Bounds, route: &RouteFacts, apps: &[AppFacts]) -> Result<Permit, Denial> {
    match verdict_within(bounds, "DELETE", "/v3/routes/r-1", "")? {
        Verdict::Permit(permit) => panic!("{permit:?}"),
        Verdict::Depends(question) => {
            assert_eq!(question.needs(), "r-1");
            question.settle(route, apps)
        }
    }
}

#[test]
fn the_callers_own_route_may_be_deleted() {
    let permit = settle(&bounds(), &owned(), &[]).unwrap();
    assert_eq!((permit.method(), permit.path().as_str()), (&Method::DELETE, "/v3/routes/r-1"));
    assert!(permit.body().is_none());
}

#[rstest]
#[case::space(|route: &mut RouteFacts| route.space = "other".to_owned(), Breach::Space)]
#[case::domain(|route: &mut RouteFacts| route.domain = "other".to_owned(), Breach::Domain)]
#[case::host(|route: &mut RouteFacts| route.host = "acme".to_owned(), Breach::Host)]
#[case::own_host(|route: &mut RouteFacts| route.host = "broker-app".to_owned(), Breach::RefusedHost)]
#[case::path(|route: &mut RouteFacts| route.path = "/x".to_owned(), Breach::PathOrPort)]
#[case::other_owner(|route: &mut RouteFacts| { route.labels.insert("broker.internal/owner".to_owned(), "x".to_owned()); }, Breach::Owner)]
#[case::hash_alone(|route: &mut RouteFacts| route.annotations.clear(), Breach::Owner)]
#[case::unmarked(|route: &mut RouteFacts| route.labels.clear(), Breach::Owner)]
fn a_route_that_is_not_the_callers_is_neither_deleted_nor_mapped(
    #[case] change: fn(&mut RouteFacts),
    #[case] breach: Breach,
) {
    let mut route = owned();
    change(&mut route);
    assert_eq!(settle(&bounds(), &route, &[]).unwrap_err(), Denial::Breach(breach));
    let body = r#"{"destinations":[{"app":{"guid":"app-1"}}]}"#;
    let Ok(Verdict::Depends(question)) = verdict("POST", TARGETS, body) else {
        panic!("no question");
    };
    assert_eq!(question.settle(&route, &[]).unwrap_err(), Denial::Breach(breach));
}

#[test]
fn an_unmarked_route_may_be_deleted_if_the_terms_allow_it_and_all_its_apps_are_the_callers() {
    let mut route = owned();
    route.labels.clear();
    let allowing = Bounds { legacy: Legacy { map: false, delete: true }, ..bounds() };
    assert!(settle(&allowing, &route, &[]).is_ok());
    let mapping_only = Bounds { legacy: Legacy { map: true, delete: false }, ..bounds() };
    assert!(settle(&mapping_only, &route, &[]).is_err());
    route.apps.push("app-9".to_owned());
    assert_eq!(settle(&allowing, &route, &[]).unwrap_err(), Denial::Breach(Breach::Owner));
    route.apps.pop();
    route.labels.insert("broker.internal/tenant".to_owned(), "t".to_owned());
    assert_eq!(settle(&allowing, &route, &[]).unwrap_err(), Denial::Breach(Breach::Owner));
}

fn unmap(
    bounds: &Bounds,
    target: &str,
    route: &RouteFacts,
    apps: &[AppFacts],
) -> Result<Permit, Denial> {
    let path = format!("/v3/routes/r-1/destinations/{target}");
    match verdict_within(bounds, "DELETE", &path, "")? {
        Verdict::Permit(permit) => panic!("{permit:?}"),
        Verdict::Depends(question) => {
            assert_eq!((question.needs(), question.needs_apps()), ("r-1", &[] as &[String]));
            question.settle(route, apps)
        }
    }
}

#[test]
fn the_callers_own_app_may_be_taken_off_the_callers_own_route() {
    let permit = unmap(&bounds(), "d-1", &owned(), &[]).unwrap();
    let path = "/v3/routes/r-1/destinations/d-1";
    assert_eq!((permit.method(), permit.path().as_str()), (&Method::DELETE, path));
    assert!(permit.body().is_none());
}

#[rstest]
#[case::foreign_app("d-9", owned(), Breach::App)]
#[case::of_another_route("d-2", owned(), Breach::Destination)]
#[case::foreign_route("d-1", RouteFacts { labels: BTreeMap::new(), ..owned() }, Breach::Owner)]
#[case::hash_alone("d-1", RouteFacts { annotations: BTreeMap::new(), ..owned() }, Breach::Owner)]
#[case::other_space("d-1", RouteFacts { space: "other".to_owned(), ..owned() }, Breach::Space)]
#[case::own_host("d-1", RouteFacts { host: "broker-app".to_owned(), ..owned() }, Breach::RefusedHost)]
fn another_destination_is_not_taken_away(
    #[case] target: &str,
    #[case] route: RouteFacts,
    #[case] breach: Breach,
) {
    let denied = unmap(&bounds(), target, &route, &[]).unwrap_err();
    assert_eq!(denied, Denial::Breach(breach));
}

/// It can end what the route serves.
#[test]
fn off_an_unmarked_route_an_app_is_taken_as_far_as_the_route_may_be_deleted() {
    let mut route = owned();
    route.labels.clear();
    let allowing = |map, delete| Bounds { legacy: Legacy { map, delete }, ..bounds() };
    assert!(unmap(&allowing(false, true), "d-1", &route, &[]).is_ok());
    assert!(unmap(&allowing(true, false), "d-1", &route, &[]).is_err());
}

#[test]
fn without_listed_apps_the_unmapped_app_is_read_too() {
    let guid = Some("app-8".to_owned());
    let bounds = Bounds { apps: AppBounds::AnyBut { name: None, guid }, ..bounds() };
    let path = "/v3/routes/r-1/destinations/d-9";
    let Ok(Verdict::Depends(question)) = verdict_within(&bounds, "DELETE", path, "") else {
        panic!("no question");
    };
    assert_eq!(question.needs_apps_of(&owned()), ["app-9"]);
    let app = |guid: &str, space: &str| AppFacts {
        guid: guid.to_owned(),
        name: "any".to_owned(),
        space: space.to_owned(),
    };
    assert!(unmap(&bounds, "d-9", &owned(), &[app("app-9", "space-1")]).is_ok());
    for seen in [vec![], vec![app("app-9", "other")], vec![app("app-1", "space-1")]] {
        let denied = unmap(&bounds, "d-9", &owned(), &seen).unwrap_err();
        assert_eq!(denied, Denial::Breach(Breach::App), "{seen:?}");
    }
}

#[test]
fn bindings_of_routes_are_read_without_what_include_would_add() {
    let sent = |query: &str| {
        let query = UpstreamQuery::parse(Some(query)).unwrap();
        let path = UpstreamPath::parse("/v3/service_route_bindings").unwrap();
        let line = RequestLine { method: Method::GET, path, query };
        match Policy::shipped().unwrap().admit(&Caller::for_tests("client", ALL), line) {
            Ok(RuleOutcome::Granted(permit)) => permit.query().as_str().map(str::to_owned),
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(sent("include=service_instance&route_guids=a").as_deref(), Some("route_guids=a"));
    assert_eq!(sent("include=service_instance"), None);
    assert_eq!(sent("route_guids=a%2Cb").as_deref(), Some("route_guids=a%2Cb"));
}

#[test]
fn an_unmarked_route_without_apps_may_be_mapped_but_not_deleted() {
    let mut route = owned();
    (route.labels, route.apps) = (BTreeMap::new(), Vec::new());
    let allowing = Bounds { legacy: Legacy { map: true, delete: true }, ..bounds() };
    let denied = Denial::Breach(Breach::Owner);
    assert_eq!(settle(&allowing, &route, &[]).unwrap_err(), denied);
    let body = r#"{"destinations":[{"app":{"guid":"app-1"}}]}"#;
    let Ok(Verdict::Depends(question)) = verdict_within(&allowing, "POST", TARGETS, body) else {
        panic!("no question");
    };
    assert!(question.settle(&route, &[]).is_ok());
}

#[test]
fn without_listed_apps_those_of_the_space_count_but_never_the_broker() {
    let (name, guid) = (Some("broker".to_owned()), Some("app-8".to_owned()));
    let bounds = Bounds { apps: AppBounds::AnyBut { name, guid }, ..bounds() };
    let body = r#"{"destinations":[{"app":{"guid":"app-7"}}]}"#;
    let app = |name: &str, space: &str| AppFacts {
        guid: "app-7".to_owned(),
        name: name.to_owned(),
        space: space.to_owned(),
    };
    let within = |bounds: &Bounds, apps: &[AppFacts]| {
        let Ok(Verdict::Depends(question)) = verdict_within(bounds, "POST", TARGETS, body) else {
            panic!("no question");
        };
        assert_eq!(question.needs_apps(), ["app-7"]);
        assert!(question.needs_apps_of(&owned()).is_empty(), "its mark is enough");
        let unmarked = RouteFacts { labels: BTreeMap::new(), ..owned() };
        assert_eq!(question.needs_apps_of(&unmarked), ["app-1"]);
        question.settle(&owned(), apps).map(|_| ())
    };
    let settled = |apps: &[AppFacts]| within(&bounds, apps);
    assert_eq!(settled(&[app("shop", "space-1")]), Ok(()));
    let denied = Err(Denial::Breach(Breach::App));
    assert_eq!(settled(&[app("broker", "space-1")]), denied);
    assert_eq!(settled(&[app("Broker", "space-1")]), denied);
    assert_eq!(settled(&[app("shop", "other")]), denied);
    assert_eq!(settled(&[]), denied);
    let apps = AppBounds::AnyBut { name: None, guid: Some("app-7".to_owned()) };
    let renamed = Bounds { apps, ..bounds.clone() };
    assert_eq!(within(&renamed, &[app("former-broker", "space-1")]), denied);
}

#[rstest]
#[case::nothing("", "it has no rules, so everything would be denied")]
#[case::unknown_member(
    "[[rules]]\nmethods=['GET']\npaths=['/v3']\nbody='none'\nx=1",
    "unknown field `x`, expected one of `methods`, `paths`, `scope`, `body`, `without`"
)]
#[case::head(
    "[[rules]]\nmethods=['HEAD']\npaths=['/v3']\nbody='none'",
    "HEAD uses the rows of GET; remove it"
)]
#[case::patch(
    "[[rules]]\nmethods=['PATCH']\npaths=['/v3/routes/{guid}']\nscope='Routes.Write'\nbody='own_route'",
    "there is no body rule for this method"
)]
#[case::method(
    "[[rules]]\nmethods=['get']\npaths=['/v3']\nbody='none'",
    "the method is not GET, POST or DELETE"
)]
#[case::other_root(
    "[[rules]]\nmethods=['GET']\npaths=['/v2/info']\nbody='none'",
    "the path is not /v3 with literal segments of a-z 0-9 _ and {guid}"
)]
#[case::wildcard(
    "[[rules]]\nmethods=['GET']\npaths=['/v3/*']\nbody='none'",
    "the path is not /v3 with literal segments of a-z 0-9 _ and {guid}"
)]
#[case::dots(
    "[[rules]]\nmethods=['GET']\npaths=['/v3/..']\nbody='none'",
    "the path is not /v3 with literal segments of a-z 0-9 _ and {guid}"
)]
#[case::unjudged_delete(
    "[[rules]]\nmethods=['DELETE']\npaths=['/v3/apps/{guid}']\nscope='Routes.Write'\nbody='none'",
    "its body rule does not belong to this method and path"
)]
#[case::borrowed_rule(
    "[[rules]]\nmethods=['DELETE']\npaths=['/v3/apps/{guid}']\nscope='Routes.Write'\nbody='own_route'",
    "its body rule does not belong to this method and path"
)]
#[case::no_scope(
    "[[rules]]\nmethods=['POST']\npaths=['/v3/routes']\nbody='route_create'",
    "a write needs a scope"
)]
#[case::odd_scope(
    "[[rules]]\nmethods=['GET']\npaths=['/v3']\nscope='Root'\nbody='none'",
    "its scope is not a scope of the broker"
)]
#[case::odd_parameter(
    "[[rules]]\nmethods=['GET']\npaths=['/v3']\nbody='none'\nwithout=['']",
    "a name in without is not of a-z and _"
)]
#[case::a_write_without(
    "[[rules]]\nmethods=['POST']\npaths=['/v3/routes']\nscope='Routes.Write'\nbody='route_create'\nwithout=['include']",
    "without is for reads only"
)]
#[case::borrowed_unmap(
    "[[rules]]\nmethods=['DELETE']\npaths=['/v3/routes/{guid}']\nscope='Routes.Write'\nbody='own_destination'",
    "its body rule does not belong to this method and path"
)]
#[case::hidden(
    "[[rules]]\nmethods=['GET']\npaths=['/v3/{guid}','/v3/apps']\nbody='none'",
    "an earlier row covers all of it"
)]
#[case::twice(
    "[[rules]]\nmethods=['GET']\npaths=['/v3/apps','/v3/apps']\nbody='none'",
    "an earlier row covers all of it"
)]
#[case::empty_row(
    "[[rules]]\nmethods=['GET']\npaths=[]\nbody='none'",
    "it names no method or no path"
)]
fn an_invalid_row_is_a_fault(#[case] text: &str, #[case] problem: &str) {
    let faults = Policy::parse(text).unwrap_err();
    assert!(faults.iter().any(|fault| fault.problem == problem), "{faults:?}");
}

#[test]
fn all_faults_are_reported_at_once_with_their_place() {
    let text = "[[rules]]\nmethods=['PUT','BREW']\npaths=['/v3/apps']\nbody='none'";
    let places: Vec<_> =
        Policy::parse(text).unwrap_err().into_iter().map(|fault| fault.place).collect();
    assert_eq!(places, ["rules[0] PUT /v3/apps", "rules[0] BREW /v3/apps"]);
}
