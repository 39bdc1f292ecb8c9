use super::{CapiErrors, CfApp, CfRoot, Domain, Guid, Job, JobState, Page, Route, Space};
use crate::upstream::body::decode;
use proptest::prelude::{prop_assert_eq, proptest};
use rstest::rstest;

#[rstest]
#[case::uuid("4d57c4e2-59ab-4b1f-a6f1-e18e43abcd3a", true)]
#[case::plain("nope", true)]
#[case::empty("", false)]
#[case::slash("a/b", false)]
#[case::parent("..", false)]
#[case::query("a?b", false)]
#[case::comma("a,b", false)]
#[case::umlaut("ä", false)]
fn a_guid_is_safe_in_paths_and_filters(#[case] text: &str, #[case] is_valid: bool) {
    assert_eq!(Guid::parse(text).is_some(), is_valid);
}

proptest! {
    #[test]
    fn a_parsed_guid_prints_as_it_was(text in "[A-Za-z0-9_-]{1,200}") {
        prop_assert_eq!(Guid::parse(&text).unwrap().to_string(), text);
    }
}

#[test]
fn a_route_of_an_older_release_is_read() {
    let text = r#"{"guid":"r1","host":"t1-saas","path":"","url":"t1-saas.example.test","destinations":[
        {"guid":"d1","app":{"guid":"a1","process":{"type":"web"}},"weight":null,"port":8080}],
        "metadata":{"labels":{},"annotations":{}},
        "relationships":{"space":{"data":{"guid":"s1"}},"domain":{"data":{"guid":"o1"}}}}"#;
    let route: Route = decode(text.as_bytes()).unwrap();
    assert!(route.serves(&Guid::parse("a1").unwrap()));
}

#[test]
fn a_route_made_of_nulls_is_read() {
    let text = r#"{"guid":"r1","host":null,"path":null,"url":null,"port":null,"destinations":null,
        "metadata":null,"options":null,"relationships":{"space":null,"domain":{"data":null}},"new":[1]}"#;
    let route: Route = decode(text.as_bytes()).unwrap();
    assert_eq!((route.host.as_str(), route.space(), route.domain()), ("", None, None));
}

#[test]
fn a_worker_process_behind_a_route_is_not_the_app_itself() {
    let text = r#"{"guid":"r1","destinations":[{"guid":"d1","app":{"guid":"a1","process":{"type":"worker"}}}]}"#;
    let route: Route = decode(text.as_bytes()).unwrap();
    assert!(!route.serves(&Guid::parse("a1").unwrap()));
}

#[test]
fn an_app_without_droplet_is_read() {
    let text = r#"{"guid":"a1","name":"x","state":"STOPPED","relationships":{"current_droplet":{"data":{"guid":null}}}}"#;
    let app: CfApp = decode(text.as_bytes()).unwrap();
    assert!(app.is_stopped());
}

#[test]
fn a_shared_domain_has_no_owner() {
    let text = r#"{"guid":"d1","name":"x","internal":false,"router_group":null,
        "relationships":{"organization":{"data":null},"shared_organizations":{"data":[]}}}"#;
    let domain: Domain = decode(text.as_bytes()).unwrap();
    assert!(!domain.is_private());
}

#[test]
fn the_last_page_has_no_next() {
    let text = r#"{"pagination":{"total_results":0,"total_pages":1,"first":{"href":"x"},"next":null,"previous":{"href":"y"}},"resources":[]}"#;
    let page: Page<Space> = decode(text.as_bytes()).unwrap();
    assert!(page.pagination.next.is_none() && page.resources.is_empty());
}

#[test]
fn a_root_link_may_be_null() {
    let text = r#"{"links":{"self":{"href":"https://api"},"credhub":null,"app_ssh":{"href":"ssh.x:2222","meta":{}}}}"#;
    let root: CfRoot = decode(text.as_bytes()).unwrap();
    assert!(root.links.get("credhub").unwrap().is_none());
}

#[rstest]
#[case::processing("PROCESSING", JobState::Processing)]
#[case::polling("POLLING", JobState::Polling)]
#[case::complete("COMPLETE", JobState::Complete)]
#[case::failed("FAILED", JobState::Failed)]
#[case::newer("PAUSED", JobState::Unknown)]
fn job_states_are_read(#[case] word: &str, #[case] expected: JobState) {
    let text =
        format!(r#"{{"guid":"j1","operation":"route.delete","state":"{word}","errors":null}}"#);
    let job: Job = decode(text.as_bytes()).unwrap();
    assert_eq!(job.state, expected);
}

#[test]
fn errors_without_a_code_are_read() {
    let errors: CapiErrors =
        decode(br#"{"errors":[{"title":"UnknownError","detail":"x"}]}"#).unwrap();
    assert_eq!(errors.code(), None);
}
