//! Whole operations against a scripted CF API. Names of apps and domains are looked up before.

use super::{
    BrokerIdentity, Deleted, Mode, OperationKey, ProviderSettings, ProviderTable, RequestContext,
    RouteError, RouteRequest, Run, Settings, TenantId, TenantRoutes, WaitMode,
    label::{LabelPrefix, Ownership, Provenance},
    locks::LockKey,
    request::{Adoption, Replacement},
    view::{EnsureOutcome, Ensured, ListQuery, PlanStep, RouteState, Usage, Warning},
};
use crate::{
    auth::{Caller, Scope},
    capi::{
        Guid,
        model::RouteMetadata,
        support::{Reply, ScriptedCf, accepted, cf_error, destination, job, list},
    },
    telemetry::{metrics::Metrics, trace::CorrelationId},
};
use rstest::rstest;
use serde_json::json;
use std::time::{Duration, SystemTime};
use tokio::time::Instant;

const OWNER: &str = "sb-bookshop!t1";
const MAPPED: &str = r#"{"destinations":[{"guid":"t1","app":{"guid":"a1"}}]}"#;
const CREATE: &str = "POST /v3/routes";
const FIND: &str = "GET /v3/routes?hosts=acme-app&paths=&domain_guids=d1&per_page=1000";
const MAP: &str = "POST /v3/routes/r1/destinations";
const COUNT: &str = "GET /v3/apps/a1/routes?per_page=1";
const APP_NAMED: &str = "GET /v3/apps?names=app&space_guids=s1";
const LABEL: &str = "PATCH /v3/routes/r1";
const DELETE: &str = "DELETE /v3/routes/r1";
const READ: &str = "GET /v3/routes/r1";
const RESERVED: &str = "GET /v3/domains/d1/route_reservations?host=acme-app";

fn guid(text: &str) -> Guid {
    Guid::parse(text).unwrap()
}

fn now() -> SystemTime {
    humantime::parse_rfc3339("2026-11-24T10:00:00Z").unwrap()
}

fn request_context() -> RequestContext {
    let caller = Caller::for_tests(OWNER, &[Scope::RoutesWrite]);
    let deadline = Instant::now() + Duration::from_secs(30);
    RequestContext::new(&caller, &CorrelationId::random(), now(), deadline)
}

fn tenant() -> TenantId {
    TenantId::parse("t1").unwrap()
}

fn request() -> RouteRequest {
    RouteRequest {
        subdomain: "acme".to_owned(),
        app: Some("app".to_owned()),
        domain: None,
        adoption: Adoption::Allowed,
        replacement: Replacement::ByEntry,
    }
}

/// The owner's provider entry.
fn entry() -> ProviderSettings {
    ProviderSettings {
        client_ids: vec![OWNER.to_owned()],
        space: "s1".to_owned(),
        apps: vec!["app".to_owned()],
        ..ProviderSettings::default()
    }
}

/// The app of that name as CF shows it now.
fn app_now(guid: &str) -> Reply {
    list(&[&format!(r#"{{"guid":"{guid}","name":"app","state":"STARTED"}}"#)])
}

fn broker() -> BrokerIdentity {
    BrokerIdentity {
        destination: destination(),
        space: Some(guid("s1")),
        space_name: Some("dev".to_owned()),
        organization: Some(guid("o1")),
        organization_name: Some("provider-org".to_owned()),
        app: Some("cfapi-broker".to_owned()),
        app_guid: Guid::parse("b1"),
        uris: vec!["broker.example.test".to_owned()],
    }
}

/// The broker and its scripted CF. `calls` leaves out the calls that looked names up.
struct Fixture {
    cf: ScriptedCf,
    routes: TenantRoutes,
    learned: usize,
}

impl Fixture {
    async fn answering(replies: impl IntoIterator<Item = Reply>) -> Self {
        Self::with(&[], 0, replies).await
    }

    /// Without the task that follows a delete after its answer: a broker that stops has none.
    async fn not_following(replies: impl IntoIterator<Item = Reply>) -> Self {
        let fixture = Self::answering(replies).await;
        fixture.cf.tasks.close();
        fixture
    }

    /// With provider entries, and an app that has some routes already.
    async fn with(
        providers: &[ProviderSettings],
        count: u64,
        replies: impl IntoIterator<Item = Reply>,
    ) -> Self {
        Self::with_head_timeout(Duration::from_secs(20), (providers, count), replies).await
    }

    /// With a client that waits for the head of an answer no longer than this.
    async fn with_head_timeout(
        head: Duration,
        (providers, count): (&[ProviderSettings], u64),
        replies: impl IntoIterator<Item = Reply>,
    ) -> Self {
        let replies = [counted(count)].into_iter().chain(replies);
        let mut fixture = Self::begin(head, providers, replies).await;
        let cf = fixture.cf.request_client();
        fixture.routes.0.counts.now(&cf, &guid("a1")).await.unwrap();
        fixture.learned += 1;
        fixture
    }

    /// Without the number of the app's routes.
    async fn uncounted(
        providers: &[ProviderSettings],
        replies: impl IntoIterator<Item = Reply>,
    ) -> Self {
        Self::begin(Duration::from_secs(20), providers, replies).await
    }

    async fn begin(
        head: Duration,
        providers: &[ProviderSettings],
        replies: impl IntoIterator<Item = Reply>,
    ) -> Self {
        let domain = Reply::json("200 OK", r#"{"guid":"d1","name":"example.test"}"#);
        let learning = [domain, app_now("a1")];
        let cf = ScriptedCf::with_head_timeout(head, learning.into_iter().chain(replies)).await;
        let request_client = cf.request_client();
        request_client.domain(&guid("o1"), None).await.unwrap();
        request_client.app(&guid("s1"), "app").await.unwrap();
        let providers =
            ProviderTable::validate(&Settings::default(), providers, broker(), &[destination()])
                .unwrap();
        let key = OperationKey::new(&[7; 32]).unwrap();
        let routes = TenantRoutes::new(
            providers,
            key,
            cf.client.clone(),
            cf.tasks.clone(),
            Metrics::default(),
        );
        Self { cf, routes, learned: 2 }
    }

    async fn ensure(&self) -> Result<Ensured, RouteError> {
        self.routes.ensure(&request_context(), &tenant(), request(), Run::Real).await
    }

    async fn preview(&self) -> Result<Ensured, RouteError> {
        self.routes.ensure(&request_context(), &tenant(), request(), Run::Dry).await
    }

    async fn delete(&self, wait_mode: WaitMode) -> Result<Deleted, RouteError> {
        self.routes.delete(&request_context(), &tenant(), wait_mode).await
    }

    fn calls(&self) -> Vec<String> {
        self.cf.calls().into_iter().skip(self.learned).collect()
    }
}

/// A route as CF shows it.
struct RouteFixture {
    metadata: RouteMetadata,
    apps: Vec<&'static str>,
    space: &'static str,
}

impl RouteFixture {
    fn ours() -> Self {
        Self::owned(OWNER, "t1")
    }

    fn owned(owner: &str, tenant: &str) -> Self {
        let provenance =
            Provenance { subdomain: "acme", created_by: owner, correlation: "earlier" };
        let prefix = LabelPrefix::parse("cfapi-broker.internal").unwrap();
        let metadata = Ownership::new(prefix, owner, tenant).metadata(provenance);
        Self { metadata, apps: vec!["a1"], space: "s1" }
    }

    fn unlabelled() -> Self {
        Self { metadata: RouteMetadata::default(), ..Self::ours() }
    }

    fn with_apps(self, apps: &[&'static str]) -> Self {
        Self { apps: apps.to_vec(), ..self }
    }

    fn in_space(self, space: &'static str) -> Self {
        Self { space, ..self }
    }

    /// Marked as being deleted some seconds ago.
    fn dying_for(mut self, age: u64) -> Self {
        let prefix = LabelPrefix::parse("cfapi-broker.internal").unwrap();
        let mark = Ownership::new(prefix, OWNER, "t1").deleting(now() - Duration::from_secs(age));
        self.metadata.labels.extend(mark.labels);
        self.metadata.annotations.extend(mark.annotations);
        self
    }

    fn json(&self) -> String {
        let target = |app: &&str| json!({"guid": format!("t-{app}"), "app": {"guid": app}});
        json!({
            "guid": "r1", "host": "acme-app", "path": "", "url": "acme-app.example.test",
            "destinations": self.apps.iter().map(target).collect::<Vec<_>>(),
            "metadata": self.metadata,
            "relationships": {"space": {"data": {"guid": self.space}}, "domain": {"data": {"guid": "d1"}}},
        })
        .to_string()
    }

    fn listed(&self) -> Reply {
        list(&[&self.json()])
    }

    fn read(&self) -> Reply {
        Reply::json("200 OK", &self.json())
    }
}

/// CF's count of the app's routes.
fn counted(count: u64) -> Reply {
    let total =
        format!(r#"{{"pagination":{{"total_results":{count},"next":null}},"resources":[]}}"#);
    Reply::json("200 OK", &total)
}

fn created() -> Reply {
    Reply::json("201 Created", &RouteFixture::ours().with_apps(&[]).json())
}

fn mapped() -> Reply {
    Reply::json("200 OK", MAPPED)
}

fn marked() -> Reply {
    RouteFixture::ours().dying_for(0).read()
}

fn failed_job() -> Reply {
    let failed = r#"{"guid":"j1","state":"FAILED","errors":[{"detail":"x","title":"CF-JobTimeout","code":290006}]}"#;
    Reply::json("200 OK", failed)
}

/// A delete whose route could not be marked, and whose outcome is not known.
fn unmarked_deletion() -> [Reply; 5] {
    let failed = || cf_error("500 Internal Server Error", 10001, "x");
    [RouteFixture::ours().listed(), failed(), RouteFixture::ours().read(), failed(), failed()]
}

fn exists() -> Reply {
    unprocessable("Route already exists with host 'acme-app' for domain 'example.test'.")
}

fn unprocessable(detail: &str) -> Reply {
    cf_error("422 Unprocessable Entity", 10008, detail)
}

fn missing() -> Reply {
    cf_error("404 Not Found", 10010, "Route not found")
}

fn reserved(taken: bool) -> Reply {
    Reply::json("200 OK", &format!(r#"{{"matching_route":{taken}}}"#))
}

#[tokio::test]
async fn a_new_tenant_costs_two_calls() {
    let fixture = Fixture::answering([created(), mapped()]).await;
    let done = fixture.ensure().await.unwrap();
    assert_eq!(done.outcome, EnsureOutcome::Created);
    assert_eq!(done.view.url, "https://acme-app.example.test");
    assert_eq!(fixture.calls(), [CREATE, MAP]);
}

#[tokio::test]
async fn a_create_carries_its_labels() {
    let fixture = Fixture::answering([created(), mapped()]).await;
    fixture.ensure().await.unwrap();
    let body = fixture.cf.requests()[fixture.learned].clone();
    assert!(body.contains(r#""cfapi-broker.internal/tenant":"t1""#));
    assert!(body.contains(r#""cfapi-broker.internal/owner-id":"sb-bookshop!t1""#));
}

#[tokio::test]
async fn a_repeat_costs_two_calls_and_changes_nothing() {
    let fixture = Fixture::answering([exists(), RouteFixture::ours().listed()]).await;
    assert_eq!(fixture.ensure().await.unwrap().outcome, EnsureOutcome::Unchanged);
    assert_eq!(fixture.calls(), [CREATE, FIND]);
}

#[tokio::test]
async fn a_repeat_at_full_quota_changes_nothing() {
    let quota = unprocessable("Routes quota exceeded for organization 'provider-org'.");
    let fixture = Fixture::answering([quota, RouteFixture::ours().listed()]).await;
    assert_eq!(fixture.ensure().await.unwrap().outcome, EnsureOutcome::Unchanged);
}

#[tokio::test]
async fn an_unmapped_route_is_repaired() {
    let unmapped = RouteFixture::ours().with_apps(&[]).listed();
    let fixture = Fixture::answering([exists(), unmapped, mapped()]).await;
    assert_eq!(fixture.ensure().await.unwrap().outcome, EnsureOutcome::Repaired);
    assert_eq!(fixture.calls(), [CREATE, FIND, MAP]);
}

#[tokio::test]
async fn an_unlabelled_route_of_our_app_is_adopted() {
    let (labelled, verified) = (RouteFixture::ours().read(), RouteFixture::ours().read());
    let free = RouteFixture::unlabelled().listed();
    let fixture = Fixture::answering([exists(), free, labelled, verified]).await;
    assert_eq!(fixture.ensure().await.unwrap().outcome, EnsureOutcome::Adopted);
    assert_eq!(fixture.calls(), [CREATE, FIND, LABEL, READ]);
}

#[tokio::test]
async fn of_two_owners_that_adopt_together_one_gets_host_taken() {
    let other = RouteFixture::owned("sb-other!t1", "t1").read();
    let replies =
        [exists(), RouteFixture::unlabelled().listed(), RouteFixture::ours().read(), other];
    let fixture = Fixture::answering(replies).await;
    assert_eq!(fixture.ensure().await.unwrap_err().as_str(), "host_taken");
    assert_eq!(fixture.calls(), [CREATE, FIND, LABEL, READ]);
}

#[rstest]
#[case::their_app(&["a1", "a9"], true)]
#[case::the_same_app(&["a1"], false)]
#[tokio::test]
async fn the_owner_that_lost_an_adoption_unmaps_its_app_if_another_app_is_mapped(
    #[case] apps: &[&'static str],
    #[case] unmapped: bool,
) {
    let free = RouteFixture::unlabelled().with_apps(&[]).listed();
    let other = RouteFixture::owned("sb-other!t1", "t1").with_apps(apps).read();
    let labelled = RouteFixture::ours().with_apps(&[]).read();
    let gone = Reply::with_headers("204 No Content", "", b"");
    let fixture = Fixture::answering([exists(), free, labelled, mapped(), other, gone]).await;
    assert_eq!(fixture.ensure().await.unwrap_err().as_str(), "host_taken");
    let unmap = unmapped.then_some("DELETE /v3/routes/r1/destinations/t-a1");
    let expected = [CREATE, FIND, LABEL, MAP, READ].into_iter().chain(unmap);
    assert_eq!(fixture.calls(), expected.collect::<Vec<_>>());
}

#[tokio::test]
async fn a_subdomain_in_another_case_changes_nothing() {
    let fixture = Fixture::answering([exists(), RouteFixture::ours().listed()]).await;
    let request = RouteRequest { subdomain: "ACME".to_owned(), ..request() };
    let done =
        fixture.routes.ensure(&request_context(), &tenant(), request, Run::Real).await.unwrap();
    assert_eq!(done.outcome, EnsureOutcome::Unchanged);
    assert_eq!(fixture.calls(), [CREATE, FIND]);
}

#[rstest]
#[case::repaired(RouteFixture::ours().read(), Ok(EnsureOutcome::Repaired))]
#[case::not_repaired(cf_error("403 Forbidden", 10003, "x"), Ok(EnsureOutcome::Unchanged))]
#[case::gone(missing(), Err("route_being_deleted"))]
#[tokio::test]
async fn a_wrong_subdomain_annotation_is_repaired_if_possible(
    #[case] reply: Reply,
    #[case] expected: Result<EnsureOutcome, &str>,
) {
    let mut seen = RouteFixture::ours();
    let key = "cfapi-broker.internal/subdomain".to_owned();
    seen.metadata.annotations.insert(key, Some("former".to_owned()));
    let fixture = Fixture::answering([exists(), seen.listed(), reply]).await;
    let done = fixture.ensure().await;
    assert_eq!(done.as_ref().map(|done| done.outcome).map_err(RouteError::as_str), expected);
    assert_eq!(fixture.calls(), [CREATE, FIND, LABEL]);
}

#[tokio::test]
async fn adoption_can_be_refused_by_the_caller() {
    let fixture = Fixture::answering([exists(), RouteFixture::unlabelled().listed()]).await;
    let request = RouteRequest { adoption: Adoption::Refused, ..request() };
    let error =
        fixture.routes.ensure(&request_context(), &tenant(), request, Run::Real).await.unwrap_err();
    assert_eq!(error.as_str(), "host_taken");
}

#[rstest]
#[case::other_owner(RouteFixture::owned("sb-other!t1", "t1"), "host_taken")]
#[case::other_tenant(RouteFixture::owned(OWNER, "t2"), "host_of_other_tenant")]
#[case::other_space(RouteFixture::ours().in_space("s2"), "host_taken")]
#[case::unlabelled_elsewhere(RouteFixture::unlabelled().in_space("s2"), "host_taken")]
#[tokio::test]
async fn a_route_that_is_not_ours_is_a_conflict(#[case] seen: RouteFixture, #[case] word: &str) {
    let fixture = Fixture::answering([exists(), seen.listed()]).await;
    assert_eq!(fixture.ensure().await.unwrap_err().as_str(), word);
    assert_eq!(fixture.calls(), [CREATE, FIND]);
}

#[rstest]
#[case::reserved(exists(), Some(reserved(true)), "host_taken_elsewhere")]
#[case::other_space(
    unprocessable("domain_id and host host_and_domain_taken_different_space"),
    None,
    "host_taken_elsewhere"
)]
#[case::quota_and_taken(
    unprocessable("Routes quota exceeded for space 'dev'."),
    Some(reserved(true)),
    "host_taken_elsewhere"
)]
#[case::quota(
    unprocessable("Routes quota exceeded for space 'dev'."),
    Some(reserved(false)),
    "route_quota_exceeded"
)]
#[tokio::test]
async fn an_invisible_conflict_is_found_by_the_reservation(
    #[case] refusal: Reply,
    #[case] reservation: Option<Reply>,
    #[case] word: &str,
) {
    // The host is looked up again before someone else is said to have it.
    let replies = [refusal, list(&[])].into_iter().chain(reservation).chain([list(&[])]);
    let fixture = Fixture::answering(replies).await;
    assert_eq!(fixture.ensure().await.unwrap_err().as_str(), word);
}

#[tokio::test]
async fn a_host_that_another_instance_has_just_created_is_not_someone_elses() {
    let ours = RouteFixture::ours().listed();
    let fixture = Fixture::answering([exists(), list(&[]), reserved(true), ours]).await;
    assert_eq!(fixture.ensure().await.unwrap().outcome, EnsureOutcome::Unchanged);
    assert_eq!(fixture.calls(), [CREATE, FIND, RESERVED, FIND]);
}

#[tokio::test]
async fn a_host_that_just_became_free_is_created_again() {
    let fixture =
        Fixture::answering([exists(), list(&[]), reserved(false), created(), mapped()]).await;
    assert_eq!(fixture.ensure().await.unwrap().outcome, EnsureOutcome::Created);
    assert_eq!(fixture.calls(), [CREATE, FIND, RESERVED, CREATE, MAP]);
}

#[tokio::test]
async fn a_host_that_becomes_free_twice_ends_the_attempt() {
    let gone = || [exists(), list(&[]), reserved(false)];
    let fixture = Fixture::answering(gone().into_iter().chain(gone())).await;
    let error = fixture.ensure().await.unwrap_err();
    assert!(error.is_transient() && error.retry_after().is_some());
    assert_eq!(fixture.calls(), [CREATE, FIND, RESERVED, CREATE, FIND, RESERVED]);
}

#[rstest]
#[case::conflicts("Route conflicts with a reserved system route.", "host_reserved")]
#[case::space(
    "Invalid space. Ensure that the space exists and you have access to it.",
    "technical_user_lacks_role"
)]
#[tokio::test]
async fn other_refusals_are_reported_unchanged(#[case] detail: &str, #[case] word: &str) {
    let fixture = Fixture::answering([unprocessable(detail)]).await;
    assert_eq!(fixture.ensure().await.unwrap_err().as_str(), word);
    assert_eq!(fixture.calls(), [CREATE]);
}

#[tokio::test]
async fn a_stale_domain_is_looked_up_again_once() {
    let stale = || {
        unprocessable("Invalid domain. Ensure that the domain exists and you have access to it.")
    };
    let domain = Reply::json("200 OK", r#"{"guid":"d2","name":"example.test"}"#);
    let space = Reply::json("200 OK", r#"{"guid":"s1","name":"dev"}"#);
    let fixture = Fixture::answering([stale(), domain, stale(), missing(), space]).await;
    assert_eq!(fixture.ensure().await.unwrap_err().as_str(), "domain_not_found");
}

#[tokio::test]
async fn the_host_of_a_recreated_domain_is_locked_too() {
    let stale =
        unprocessable("Invalid domain. Ensure that the domain exists and you have access to it.");
    let domain = Reply::json("200 OK", r#"{"guid":"d2","name":"example.test"}"#);
    let fixture = Fixture::answering([stale, domain, created(), mapped()]).await;
    let locks = &fixture.routes.0.locks;
    let soon = Instant::now() + Duration::from_millis(300);
    let _held = locks.lock(LockKey::host(guid("d2"), "acme-app"), soon).await.unwrap();
    let request_context = RequestContext { deadline: soon, ..request_context() };
    let error =
        fixture.routes.ensure(&request_context, &tenant(), request(), Run::Real).await.unwrap_err();
    assert_eq!((error.as_str(), fixture.calls().len()), ("overloaded", 2));
}

#[rstest]
#[case::lost(Reply::Hangup)]
#[case::failed(Reply::with_headers("500 Internal Server Error", "", b""))]
#[case::router_page(Reply::with_headers(
    "502 Bad Gateway",
    "X-Cf-RouterError: endpoint_failure\r\n",
    b"x"
))]
#[case::html(Reply::with_headers("502 Bad Gateway", "Content-Type: text/html\r\n", b"<html>"))]
#[tokio::test]
async fn after_an_unclear_create_the_host_is_looked_up_first(#[case] reply: Reply) {
    let fixture = Fixture::answering([reply, list(&[]), created(), mapped()]).await;
    assert_eq!(fixture.ensure().await.unwrap().outcome, EnsureOutcome::Created);
    assert_eq!(fixture.calls(), [CREATE, FIND, CREATE, MAP]);
}

/// How long a client waits for an answer: longer than an answer takes on a busy machine.
const ANSWER_TIMEOUT: Duration = Duration::from_millis(400);

#[rstest]
#[case::lost(Reply::Hangup)]
#[case::timed_out(Reply::Silence)]
#[tokio::test]
async fn a_create_that_succeeded_without_an_answer_is_not_repeated(#[case] reply: Reply) {
    let replies = [reply, RouteFixture::ours().with_apps(&[]).listed(), mapped()];
    let fixture = Fixture::with_head_timeout(ANSWER_TIMEOUT, (&[], 0), replies).await;
    assert!(fixture.ensure().await.is_ok());
    assert_eq!(fixture.calls(), [CREATE, FIND, MAP]);
}

#[rstest]
#[case::lost(Reply::Hangup)]
#[case::timed_out(Reply::Silence)]
#[tokio::test]
async fn a_create_that_stays_unclear_is_reported_as_unclear(#[case] reply: Reply) {
    let replies = [reply.clone(), list(&[]), reply, list(&[])];
    let fixture = Fixture::with_head_timeout(ANSWER_TIMEOUT, (&[], 0), replies).await;
    assert_eq!(fixture.ensure().await.unwrap_err().as_str(), "cf_timeout");
    assert_eq!(fixture.calls(), [CREATE, FIND, CREATE, FIND]);
}

#[tokio::test]
async fn a_route_that_cannot_be_mapped_is_rolled_back() {
    let refused =
        cf_error("403 Forbidden", 10003, "You are not authorized to perform the requested action");
    let unmapped = RouteFixture::ours().with_apps(&[]);
    let read = || unmapped.read();
    let replies = [created(), refused, read(), read(), read(), accepted("j1"), job("COMPLETE")];
    let fixture = Fixture::answering(replies).await;
    fixture.ensure().await.unwrap_err();
    fixture.cf.tasks.close();
    fixture.cf.tasks.wait().await;
    let (delete, poll) = ("DELETE /v3/routes/r1", "GET /v3/jobs/j1");
    assert_eq!(fixture.calls(), [CREATE, MAP, READ, LABEL, READ, delete, poll]);
}

#[tokio::test]
async fn a_route_that_was_mapped_during_the_mark_is_not_rolled_back() {
    let refused = cf_error("403 Forbidden", 10003, "x");
    let (unmapped, theirs) = (RouteFixture::ours().with_apps(&[]), RouteFixture::ours());
    let marked = [unmapped.read(), unmapped.read(), theirs.read(), theirs.read()];
    let fixture = Fixture::answering([created(), refused].into_iter().chain(marked)).await;
    fixture.ensure().await.unwrap_err();
    fixture.cf.tasks.close();
    fixture.cf.tasks.wait().await;
    assert_eq!(fixture.calls(), [CREATE, MAP, READ, LABEL, READ, LABEL]);
    assert!(
        fixture.cf.requests().last().unwrap().contains(r#""cfapi-broker.internal/state":null"#)
    );
}

#[tokio::test]
async fn a_route_that_was_mapped_in_the_meantime_is_not_rolled_back() {
    let refused = cf_error("403 Forbidden", 10003, "x");
    let fixture = Fixture::answering([created(), refused, RouteFixture::ours().read()]).await;
    fixture.ensure().await.unwrap_err();
    fixture.cf.tasks.close();
    fixture.cf.tasks.wait().await;
    assert_eq!(fixture.calls(), [CREATE, MAP, "GET /v3/routes/r1"]);
}

#[tokio::test]
async fn a_stale_app_is_looked_up_again() {
    let stale = unprocessable(r#"App(s) with guid(s) \"a1\" do not exist."#);
    let app = list(&[r#"{"guid":"a2","name":"app"}"#]);
    let fixture = Fixture::answering([created(), stale, app, mapped()]).await;
    let done = fixture.ensure().await.unwrap();
    assert_eq!(done.view.apps[0].guid, Some(guid("a2")));
}

#[tokio::test]
async fn a_route_that_is_being_deleted_is_awaited_and_created_again() {
    let deleting = RouteFixture::ours().dying_for(2).listed();
    let fixture = Fixture::answering([exists(), deleting, missing(), created(), mapped()]).await;
    assert_eq!(fixture.ensure().await.unwrap().outcome, EnsureOutcome::Created);
    assert_eq!(fixture.calls(), [CREATE, FIND, "GET /v3/routes/r1", CREATE, MAP]);
}

#[tokio::test]
async fn a_delete_that_does_not_end_is_repeated_once() {
    let deleting = RouteFixture::ours().dying_for(2);
    let reads = || deleting.read();
    let replies =
        [exists(), deleting.listed(), reads(), reads(), reads(), reads(), accepted("j2"), reads()];
    // Another instance removes its mark while our delete runs.
    let end = [RouteFixture::ours().read(), missing(), created(), mapped()];
    let fixture = Fixture::answering(replies.into_iter().chain(end)).await;
    assert_eq!(fixture.ensure().await.unwrap().outcome, EnsureOutcome::Created);
    let calls = fixture.calls();
    let deletes = calls.iter().filter(|call| call.starts_with("DELETE ")).count();
    assert_eq!((calls.len(), deletes), (12, 1), "{calls:?}");
}

#[tokio::test]
async fn a_mark_that_another_instance_removed_is_not_remembered() {
    let deletion = [RouteFixture::ours().listed(), marked(), accepted("j1")];
    let repeat = [exists(), RouteFixture::ours().listed()];
    let fixture = Fixture::not_following(deletion.into_iter().chain(repeat)).await;
    let deleted = fixture.delete(WaitMode::DontWait).await.unwrap();
    assert!(matches!(deleted, Deleted::Running { .. }));
    assert_eq!(fixture.ensure().await.unwrap().outcome, EnsureOutcome::Unchanged);
    assert_eq!(fixture.calls()[3..], [CREATE, FIND]);
}

#[tokio::test]
async fn a_mark_that_was_set_without_an_answer_and_removed_since_is_not_remembered() {
    let repeat =
        [exists(), RouteFixture::ours().dying_for(0).listed(), RouteFixture::ours().read()];
    let fixture = Fixture::answering(unmarked_deletion().into_iter().chain(repeat)).await;
    fixture.delete(WaitMode::Wait).await.unwrap_err();
    assert_eq!(fixture.calls()[1..], [LABEL, READ, LABEL, DELETE]);
    assert_eq!(fixture.ensure().await.unwrap().outcome, EnsureOutcome::Unchanged);
    assert_eq!(fixture.calls()[5..], [CREATE, FIND, READ]);
}

#[tokio::test]
async fn a_route_that_could_not_be_marked_is_marked_before_it_is_deleted_once_more() {
    let live = || RouteFixture::ours().read();
    let waits = [exists(), RouteFixture::ours().listed(), live(), live(), live(), live()];
    let again = [RouteFixture::ours().dying_for(0).read(), accepted("j2"), missing()];
    let replies = unmarked_deletion().into_iter().chain(waits).chain(again);
    let replies = replies.chain([created(), mapped()]);
    let fixture = Fixture::answering(replies).await;
    fixture.delete(WaitMode::Wait).await.unwrap_err();
    assert_eq!(fixture.ensure().await.unwrap().outcome, EnsureOutcome::Created);
    let calls = fixture.calls();
    assert_eq!(calls[11..], [LABEL, DELETE, READ, CREATE, MAP], "{calls:?}");
}

#[tokio::test]
async fn a_route_that_is_given_up_during_its_delete_is_checked_again() {
    let deleting = RouteFixture::ours().dying_for(2).listed();
    let free = RouteFixture::unlabelled();
    let labelled = [RouteFixture::ours().read(), RouteFixture::ours().read()];
    let replies = [exists(), deleting, free.read(), exists(), free.listed()];
    let replies = replies.into_iter().chain(labelled);
    let fixture = Fixture::answering(replies).await;
    let error = fixture.ensure().await.unwrap();
    assert_eq!(error.outcome, EnsureOutcome::Adopted);
}

#[tokio::test]
async fn a_route_whose_delete_failed_counts_as_live() {
    let survived = RouteFixture::ours().dying_for(301).listed();
    let fixture = Fixture::answering([exists(), survived, RouteFixture::ours().read()]).await;
    assert_eq!(fixture.ensure().await.unwrap().outcome, EnsureOutcome::Repaired);
    assert_eq!(fixture.calls(), [CREATE, FIND, "PATCH /v3/routes/r1"]);
}

#[tokio::test]
async fn at_the_apps_limit_only_our_own_route_passes() {
    let found = Fixture::with(&[], 0, [counted(900), RouteFixture::ours().listed()]).await;
    found.routes.forget_counts();
    assert_eq!(found.ensure().await.unwrap().outcome, EnsureOutcome::Unchanged);
    let absent = Fixture::with(&[], 900, [counted(900), list(&[])]).await;
    assert_eq!(absent.ensure().await.unwrap_err().as_str(), "app_route_limit");
    assert_eq!(absent.calls(), [COUNT, FIND]);
}

#[tokio::test]
async fn near_the_apps_limit_there_is_a_warning() {
    let fixture = Fixture::with(&[], 800, [counted(810), created(), mapped()]).await;
    fixture.routes.forget_counts();
    assert_eq!(fixture.ensure().await.unwrap().warnings, [Warning::AppRouteLimitNear]);
}

#[tokio::test]
async fn a_refused_host_costs_no_call() {
    let fixture = Fixture::answering([]).await;
    let request = RouteRequest { subdomain: "ac me".to_owned(), ..request() };
    let error =
        fixture.routes.ensure(&request_context(), &tenant(), request, Run::Real).await.unwrap_err();
    assert_eq!((error.as_str(), fixture.calls().len()), ("host_invalid", 0));
}

#[tokio::test]
async fn the_broker_itself_is_refused_as_an_app_in_any_case() {
    let fixture = Fixture::answering([]).await;
    let request = RouteRequest { app: Some("CFAPI-Broker".to_owned()), ..request() };
    let error =
        fixture.routes.ensure(&request_context(), &tenant(), request, Run::Real).await.unwrap_err();
    assert_eq!((error.as_str(), fixture.calls().len()), ("forbidden_app", 0));
}

#[tokio::test]
async fn a_domain_that_is_not_the_default_one_is_forbidden() {
    let fixture = Fixture::answering([]).await;
    let request = RouteRequest { domain: Some("other.test".to_owned()), ..request() };
    let error =
        fixture.routes.ensure(&request_context(), &tenant(), request, Run::Real).await.unwrap_err();
    assert_eq!(error.as_str(), "forbidden_domain");
}

#[rstest]
#[case::free(list(&[]), EnsureOutcome::Created, &[PlanStep::Create, PlanStep::Map])]
#[case::ours(RouteFixture::ours().listed(), EnsureOutcome::Unchanged, &[])]
#[case::unmapped(RouteFixture::ours().with_apps(&[]).listed(), EnsureOutcome::Repaired, &[PlanStep::Map])]
#[case::unlabelled(RouteFixture::unlabelled().listed(), EnsureOutcome::Adopted, &[PlanStep::Label])]
#[case::deleting(RouteFixture::ours().dying_for(2).listed(), EnsureOutcome::Created, &[PlanStep::AwaitDelete, PlanStep::Create, PlanStep::Map])]
#[tokio::test]
async fn a_dry_run_predicts_with_one_read(
    #[case] seen: Reply,
    #[case] outcome: EnsureOutcome,
    #[case] plan: &[PlanStep],
) {
    let fixture = Fixture::answering([seen]).await;
    let preview = fixture.preview().await.unwrap();
    assert_eq!((preview.outcome, preview.plan.as_deref()), (outcome, Some(plan)));
    assert_eq!(fixture.calls(), [FIND]);
}

#[tokio::test]
async fn a_dry_run_reports_the_same_conflict() {
    let fixture = Fixture::answering([RouteFixture::owned("sb-other!t1", "t1").listed()]).await;
    assert_eq!(fixture.preview().await.unwrap_err().as_str(), "host_taken");
}

#[tokio::test]
async fn a_dry_run_answers_while_cf_is_down() {
    let down = || cf_error("503 Service Unavailable", 10015, "x");
    let fixture = Fixture::answering([down(), down(), down()]).await;
    let preview = fixture.preview().await.unwrap();
    assert_eq!(preview.outcome, EnsureOutcome::Unknown);
    assert_eq!(preview.warnings, [Warning::CfUnchecked]);
    assert_eq!(preview.view.url, "https://acme-app.example.test");
}

#[tokio::test]
async fn a_dry_run_answers_with_the_default_domain_that_was_known_last() {
    let down = || cf_error("503 Service Unavailable", 10015, "x");
    let fixture = Fixture::answering([down(), down(), down()]).await;
    fixture.cf.request_client().expire_domains();
    let preview = fixture.preview().await.unwrap();
    assert_eq!(
        (preview.outcome, preview.warnings),
        (EnsureOutcome::Unknown, vec![Warning::CfUnchecked])
    );
    assert_eq!(preview.view.url, "https://acme-app.example.test");
    assert_eq!(fixture.calls(), ["GET /v3/organizations/o1/domains/default"; 3]);
}

#[rstest]
#[case::started("STARTED", &[])]
#[case::stopped("STOPPED", &[Warning::AppStopped])]
#[tokio::test]
async fn a_stopped_app_is_a_warning(#[case] state: &str, #[case] warnings: &[Warning]) {
    let app = format!(r#"{{"guid":"a1","name":"app","state":"{state}"}}"#);
    let fixture = Fixture::answering([RouteFixture::ours().listed(), list(&[&app])]).await;
    let shown = fixture.routes.get(&request_context(), &tenant()).await.unwrap();
    assert_eq!((shown[0].state, shown[0].warnings.as_slice()), (RouteState::Ok, warnings));
}

#[tokio::test]
async fn deleting_a_tenant_without_routes_succeeds() {
    let space = Reply::json("200 OK", r#"{"guid":"s1","name":"dev"}"#);
    let fixture = Fixture::answering([list(&[]), space]).await;
    assert!(matches!(fixture.delete(WaitMode::Wait).await, Ok(Deleted::Done)));
    assert_eq!(fixture.calls().len(), 2);
}

#[tokio::test]
async fn a_user_who_does_not_see_the_space_deletes_nothing() {
    let fixture = Fixture::answering([list(&[]), missing()]).await;
    let error = fixture.delete(WaitMode::Wait).await.unwrap_err();
    assert_eq!((error.as_str(), fixture.calls().len()), ("technical_user_lacks_role", 2));
}

#[tokio::test]
async fn a_delete_is_a_list_a_mark_a_delete_and_polls() {
    let listed = RouteFixture::ours().listed();
    let replies = [listed, marked(), accepted("j1"), job("PROCESSING"), job("COMPLETE")];
    let fixture = Fixture::answering(replies).await;
    assert!(matches!(fixture.delete(WaitMode::Wait).await, Ok(Deleted::Done)));
    let poll = "GET /v3/jobs/j1";
    assert_eq!(fixture.calls()[1..], [LABEL, DELETE, poll, poll]);
}

#[tokio::test]
async fn a_poll_that_fails_for_now_does_not_end_the_wait() {
    let down = || cf_error("500 Internal Server Error", 10001, "x");
    let listed = RouteFixture::ours().listed();
    let replies = [listed, marked(), accepted("j1"), down(), down(), down(), job("COMPLETE")];
    let fixture = Fixture::answering(replies).await;
    assert!(matches!(fixture.delete(WaitMode::Wait).await, Ok(Deleted::Done)));
    let calls = fixture.calls();
    assert_eq!(calls.last().unwrap(), "GET /v3/jobs/j1", "{calls:?}");
}

#[tokio::test]
async fn a_delete_whose_polls_fail_until_its_time_is_over_still_runs() {
    let down = || cf_error("500 Internal Server Error", 10001, "x");
    let begun = [RouteFixture::ours().listed(), marked(), accepted("j1")];
    let replies = begun.into_iter().chain((0..30).map(|_| down()));
    let fixture = Fixture::not_following(replies).await;
    // Of which 3 s are kept for the answer.
    let deadline = Instant::now() + Duration::from_secs(5);
    let request_context = RequestContext { deadline, ..request_context() };
    let done = fixture.routes.delete(&request_context, &tenant(), WaitMode::Wait).await.unwrap();
    assert!(matches!(done, Deleted::Running { .. }), "{done:?}");
}

#[tokio::test]
async fn a_job_that_fails_after_a_failed_poll_is_repeated_although_nobody_waits() {
    let down = cf_error("500 Internal Server Error", 10001, "x");
    let begun = [RouteFixture::ours().listed(), marked(), accepted("j1"), down];
    let then = [failed_job(), missing()];
    let fixture = Fixture::answering(begun.into_iter().chain(then)).await;
    fixture.delete(WaitMode::DontWait).await.unwrap();
    let is_repeated = || fixture.calls().last().is_some_and(|call| call == READ);
    for _ in 0..200 {
        if is_repeated() {
            break;
        }
        tokio::time::sleep(Duration::from_millis(25)).await;
    }
    assert!(is_repeated(), "{:?}", fixture.calls());
}

#[tokio::test]
async fn a_delete_without_waiting_is_marked_and_has_an_operation() {
    let replies = [RouteFixture::ours().listed(), marked(), accepted("j1"), job("COMPLETE")];
    let fixture = Fixture::not_following(replies).await;
    let Deleted::Running { operation } = fixture.delete(WaitMode::DontWait).await.unwrap() else {
        panic!("it waited");
    };
    let id = fixture.routes.seal(&operation).unwrap();
    let (_, state) = fixture.routes.operation(&request_context(), &id).await.unwrap();
    assert_eq!(state, super::OperationState::Succeeded);
    assert_eq!(fixture.calls()[1..], [LABEL, DELETE, "GET /v3/jobs/j1"]);
}

#[tokio::test]
async fn a_route_whose_delete_has_no_known_outcome_stays_marked() {
    let failed = cf_error("500 Internal Server Error", 10001, "x");
    let fixture = Fixture::answering([RouteFixture::ours().listed(), marked(), failed]).await;
    assert_eq!(fixture.delete(WaitMode::Wait).await.unwrap_err().as_str(), "cf_error");
    assert_eq!(fixture.calls()[1..], [LABEL, DELETE]);
}

#[tokio::test]
async fn a_route_that_is_marked_already_is_not_written_to() {
    let deleting = RouteFixture::ours().dying_for(2).listed();
    let fixture = Fixture::answering([deleting, accepted("j1"), job("COMPLETE")]).await;
    assert!(matches!(fixture.delete(WaitMode::Wait).await, Ok(Deleted::Done)));
    assert_eq!(fixture.calls()[1..], [DELETE, "GET /v3/jobs/j1"]);
}

#[tokio::test]
async fn a_route_that_someone_else_took_before_the_mark_is_left_and_unmarked() {
    let taken = || RouteFixture::owned("sb-other!t1", "t1").read();
    let fixture = Fixture::answering([RouteFixture::ours().listed(), taken(), taken()]).await;
    assert!(matches!(fixture.delete(WaitMode::Wait).await, Ok(Deleted::Done)));
    assert_eq!(fixture.calls()[1..], [LABEL, LABEL]);
    let unmark = fixture.cf.requests().pop().unwrap();
    assert!(unmark.contains(r#""cfapi-broker.internal/state":null"#), "{unmark}");
}

#[rstest]
#[case::labels(390_020, "deleting-since", "state")]
#[case::annotations(390_023, "state", "deleting-since")]
#[tokio::test]
async fn a_full_route_gets_the_half_of_the_mark_that_fits(
    #[case] code: u32,
    #[case] set: &str,
    #[case] left_out: &str,
) {
    let full = cf_error("422 Unprocessable Entity", code, "Failed to add 1");
    let replies = [RouteFixture::ours().listed(), full, marked(), accepted("j1"), job("COMPLETE")];
    let fixture = Fixture::answering(replies).await;
    assert!(matches!(fixture.delete(WaitMode::Wait).await, Ok(Deleted::Done)));
    assert_eq!(fixture.calls()[1..4], [LABEL, LABEL, DELETE]);
    let mark = fixture.cf.requests()[fixture.learned + 2].clone();
    assert!(mark.contains(&format!("cfapi-broker.internal/{set}")), "{mark}");
    assert!(!mark.contains(&format!("cfapi-broker.internal/{left_out}")), "{mark}");
}

#[tokio::test]
async fn a_route_whose_delete_is_refused_is_not_marked() {
    let refused = cf_error("403 Forbidden", 10003, "x");
    let replies = [RouteFixture::ours().listed(), marked(), refused, RouteFixture::ours().read()];
    let fixture = Fixture::answering(replies).await;
    let error = fixture.delete(WaitMode::Wait).await.unwrap_err();
    assert_eq!(error.as_str(), "technical_user_lacks_role");
    assert_eq!(fixture.calls()[1..], [LABEL, DELETE, LABEL]);
}

#[tokio::test]
async fn of_several_failures_a_permanent_one_is_reported() {
    // Both are marked, so that only the deletes are sent, together.
    let one = RouteFixture::ours().dying_for(2).json();
    let other = one.replace(r#""r1""#, r#""r2""#).replace("acme-app", "beta-app");
    let failed = cf_error("500 Internal Server Error", 10001, "x");
    let refused = cf_error("403 Forbidden", 10003, "x");
    let fixture = Fixture::answering([list(&[&one, &other]), failed, refused]).await;
    let error = fixture.delete(WaitMode::Wait).await.unwrap_err();
    assert_eq!((error.as_str(), error.is_transient()), ("technical_user_lacks_role", false));
    assert!(matches!(error, RouteError::NotDeleted(all) if all.len() == 2));
}

#[tokio::test]
async fn an_operation_of_another_owner_is_not_found() {
    let replies = [RouteFixture::ours().listed(), marked(), accepted("j1")];
    let fixture = Fixture::not_following(replies).await;
    let Deleted::Running { operation } = fixture.delete(WaitMode::DontWait).await.unwrap() else {
        panic!("it waited");
    };
    let id = fixture.routes.seal(&operation).unwrap();
    let other = Caller::for_tests("sb-other!t1", &[Scope::RoutesRead]);
    let deadline = Instant::now() + Duration::from_secs(5);
    let request_context = RequestContext::new(&other, &CorrelationId::random(), now(), deadline);
    assert_eq!(
        fixture.routes.operation(&request_context, &id).await.unwrap_err().as_str(),
        "not_found"
    );
}

#[tokio::test]
async fn a_failed_job_is_reported_and_the_mark_removed() {
    let first = [RouteFixture::ours().listed(), marked(), accepted("j1"), failed_job(), marked()];
    let second = [accepted("j2"), failed_job(), marked(), RouteFixture::ours().read()];
    let fixture = Fixture::answering(first.into_iter().chain(second)).await;
    let error = fixture.delete(WaitMode::Wait).await.unwrap_err();
    assert_eq!((error.as_str(), error.cf_errors().len()), ("cf_job_failed", 1));
    let (polls, calls) = (["GET /v3/jobs/j1", "GET /v3/jobs/j2"], fixture.calls());
    assert_eq!(calls[1..], [LABEL, DELETE, polls[0], READ, DELETE, polls[1], READ, LABEL]);
    let unmark = fixture.cf.requests().pop().unwrap();
    assert!(unmark.contains(r#""cfapi-broker.internal/state":null"#), "{unmark}");
}

#[rstest]
#[case::gone(vec![missing()], &[])]
#[case::unmarked(vec![RouteFixture::ours().read(), marked(), accepted("j2"), job("COMPLETE")], &[LABEL, DELETE, "GET /v3/jobs/j2"])]
#[case::not_ours(vec![RouteFixture::owned("sb-other!t1", "t1").read()], &[])]
#[case::shared(vec![RouteFixture::unlabelled().read()], &[])]
#[tokio::test]
async fn a_delete_whose_job_failed_is_repeated_as_the_route_is_now(
    #[case] then: Vec<Reply>,
    #[case] calls: &[&str],
) {
    let first = [RouteFixture::ours().listed(), marked(), accepted("j1"), failed_job()];
    let fixture = Fixture::answering(first.into_iter().chain(then)).await;
    assert!(matches!(fixture.delete(WaitMode::Wait).await, Ok(Deleted::Done)));
    assert_eq!(fixture.calls()[5..], *calls);
}

#[tokio::test]
async fn a_failed_job_of_a_marked_route_still_runs_for_its_caller() {
    let deletion = [RouteFixture::ours().listed(), marked(), accepted("j1")];
    let asked = [failed_job(), marked(), failed_job(), RouteFixture::ours().read()];
    let gone = [failed_job(), missing()];
    let replies = deletion.into_iter().chain(asked).chain(gone);
    let fixture = Fixture::not_following(replies).await;
    let Deleted::Running { operation } = fixture.delete(WaitMode::DontWait).await.unwrap() else {
        panic!("it waited");
    };
    let id = fixture.routes.seal(&operation).unwrap();
    for word in ["Running", "Failed", "Succeeded"] {
        let (_, state) = fixture.routes.operation(&request_context(), &id).await.unwrap();
        assert!(format!("{state:?}").starts_with(word), "{state:?}");
    }
}

#[rstest]
#[case::other_owner(RouteFixture::owned("sb-other!t1", "t1"))]
#[case::other_tenant(RouteFixture::owned(OWNER, "t2"))]
#[case::unlabelled(RouteFixture::unlabelled())]
#[tokio::test]
async fn what_is_not_ours_is_never_deleted(#[case] seen: RouteFixture) {
    let fixture = Fixture::answering([seen.listed()]).await;
    assert!(matches!(fixture.delete(WaitMode::Wait).await, Ok(Deleted::Done)));
    assert_eq!(fixture.calls().len(), 1);
}

#[tokio::test]
async fn a_route_that_serves_a_foreign_app_is_given_up_instead() {
    let shared = RouteFixture::ours().with_apps(&["a1", "a2"]);
    let unmapped = Reply::with_headers("204 No Content", "", b"");
    let replies = [shared.listed(), app_now("a1"), unmapped, shared.read()];
    let fixture = Fixture::with(&[entry()], 0, replies).await;
    assert!(matches!(fixture.delete(WaitMode::Wait).await, Ok(Deleted::Done)));
    let unmap = "DELETE /v3/routes/r1/destinations/t-a1";
    assert_eq!(fixture.calls()[1..], [APP_NAMED, unmap, "PATCH /v3/routes/r1"]);
}

#[tokio::test]
async fn a_recreated_app_of_the_same_name_is_not_foreign() {
    let replies = [
        RouteFixture::ours().with_apps(&["a2"]).listed(),
        app_now("a2"),
        marked(),
        accepted("j1"),
        job("COMPLETE"),
    ];
    let fixture = Fixture::with(&[entry()], 0, replies).await;
    assert!(matches!(fixture.delete(WaitMode::Wait).await, Ok(Deleted::Done)));
    assert_eq!(fixture.calls()[1..], [APP_NAMED, LABEL, DELETE, "GET /v3/jobs/j1"]);
}

#[tokio::test]
async fn an_unlabelled_route_of_a_recreated_app_is_adopted() {
    let free = RouteFixture::unlabelled().with_apps(&["a2"]);
    let labelled = RouteFixture::ours().with_apps(&["a2"]);
    let replies = [exists(), free.listed(), app_now("a2"), labelled.read(), labelled.read()];
    let fixture = Fixture::answering(replies).await;
    assert_eq!(fixture.ensure().await.unwrap().outcome, EnsureOutcome::Adopted);
    assert_eq!(fixture.calls(), [CREATE, FIND, APP_NAMED, LABEL, READ]);
}

#[tokio::test]
async fn an_unlabelled_route_of_another_app_of_the_space_is_a_conflict() {
    let free = RouteFixture::unlabelled().with_apps(&["a2"]);
    let fixture = Fixture::answering([exists(), free.listed(), app_now("a1")]).await;
    assert_eq!(fixture.ensure().await.unwrap_err().as_str(), "host_taken");
    assert_eq!(fixture.calls(), [CREATE, FIND, APP_NAMED]);
}

#[tokio::test]
async fn an_unlabelled_route_of_another_app_of_the_entry_is_adopted_and_mapped() {
    let entry = ProviderSettings { apps: vec!["app".to_owned(), "app2".to_owned()], ..entry() };
    let free = RouteFixture::unlabelled().with_apps(&["a2"]);
    let labelled = RouteFixture::ours().with_apps(&["a2"]);
    let second = list(&[r#"{"guid":"a2","name":"app2"}"#]);
    let taken = [exists(), free.listed(), second, labelled.read()];
    let served = [app_now("a1"), mapped(), labelled.read()];
    let fixture = Fixture::with(&[entry], 0, taken.into_iter().chain(served)).await;
    assert_eq!(fixture.ensure().await.unwrap().outcome, EnsureOutcome::Adopted);
    assert_eq!(fixture.calls()[3..], [LABEL, APP_NAMED, MAP, READ]);
}

#[tokio::test]
async fn a_route_of_a_recreated_app_is_not_mapped_to_the_former_app() {
    let route = RouteFixture::ours().with_apps(&["a2"]);
    let fixture = Fixture::answering([exists(), route.listed(), app_now("a2")]).await;
    let done = fixture.ensure().await.unwrap();
    assert_eq!((done.outcome, done.warnings.len()), (EnsureOutcome::Unchanged, 0));
    assert_eq!(fixture.calls(), [CREATE, FIND, APP_NAMED]);
}

#[rstest]
#[case::wildcard(Mode::Wildcard)]
#[case::auto(Mode::Auto)]
#[tokio::test]
async fn a_wildcard_route_of_a_recreated_app_serves(#[case] mode: Mode) {
    let star = RouteFixture::unlabelled().with_apps(&["a2"]).listed();
    let fixture =
        Fixture::with(&[ProviderSettings { mode, ..entry() }], 0, [star, app_now("a2")]).await;
    assert_eq!(fixture.ensure().await.unwrap().outcome, EnsureOutcome::Wildcard);
}

#[rstest]
#[case::made_anew(&["app_now", "count"], Some(7))]
#[case::gone(&["app_gone"], None)]
#[case::invisible(&["app_now", "missing"], None)]
#[tokio::test]
async fn a_list_succeeds_although_the_cached_app_is_gone(
    #[case] then: &[&str],
    #[case] used: Option<u64>,
) {
    let nothing = || Reply::json("200 OK", r#"{"guid":"x"}"#);
    let reply = |word: &&str| match *word {
        "app_now" => app_now("a2"),
        "app_gone" => list(&[]),
        "count" => Reply::json("200 OK", r#"{"pagination":{"total_results":7},"resources":[]}"#),
        _ => missing(),
    };
    // The space is read again, because the list of routes is empty.
    let replies = [list(&[]), nothing(), nothing(), nothing(), missing()];
    let fixture =
        Fixture::uncounted(&[entry()], replies.into_iter().chain(then.iter().map(reply))).await;
    let query = ListQuery { tenant: None, state: None, page: 1, per_page: 50 };
    let listing = fixture.routes.list(&request_context(), &query).await.unwrap();
    assert_eq!(listing.quota.app.map(|usage| usage.used), used);
}

fn named_entry() -> ProviderSettings {
    let organization = Some("provider-org".to_owned());
    ProviderSettings { organization, space: "dev".to_owned(), ..entry() }
}

fn space_now(guid: &str) -> [Reply; 2] {
    let organization = list(&[r#"{"guid":"o1","name":"provider-org"}"#]);
    let space = format!(
        r#"{{"guid":"{guid}","name":"dev","relationships":{{"organization":{{"data":{{"guid":"o1"}}}}}}}}"#
    );
    [organization, list(&[&space])]
}

#[tokio::test]
async fn a_recreated_named_space_is_looked_up_again_when_cf_refuses_it() {
    let refused =
        unprocessable("Invalid space. Ensure that the space exists and you have access to it.");
    let replies = space_now("s1")
        .into_iter()
        .chain([list(&[])])
        .chain(space_now("s1"))
        .chain([refused])
        .chain(space_now("s2"))
        .chain([app_now("a2"), created(), mapped()]);
    let fixture = Fixture::with(&[named_entry()], 0, replies).await;
    fixture.routes.get(&request_context(), &tenant()).await.unwrap_err();
    let done = fixture.ensure().await.unwrap();
    assert_eq!((done.outcome, done.view.space), (EnsureOutcome::Created, Some(guid("s2"))));
}

#[tokio::test]
async fn a_delete_resolves_a_named_space_again_before_it_finds_nothing() {
    let warm = space_now("s1").into_iter().chain([list(&[])]);
    let later = [list(&[])].into_iter().chain(space_now("s2"));
    let rest = [
        RouteFixture::ours().in_space("s2").listed(),
        app_now("a1"),
        RouteFixture::ours().in_space("s2").read(),
        accepted("j1"),
        job("COMPLETE"),
    ];
    let fixture = Fixture::with(&[named_entry()], 0, warm.chain(later).chain(rest)).await;
    assert!(matches!(fixture.delete(WaitMode::Wait).await, Ok(Deleted::Done)));
    assert_eq!(fixture.calls().len(), 3, "what was read just now is not read again");
    assert!(matches!(fixture.delete(WaitMode::Wait).await, Ok(Deleted::Done)));
    assert!(fixture.calls().contains(&DELETE.to_owned()));
}

#[rstest]
#[case::ok(RouteFixture::ours(), RouteState::Ok)]
#[case::unmapped(RouteFixture::ours().with_apps(&[]), RouteState::Unmapped)]
#[case::deleting(RouteFixture::ours().dying_for(2), RouteState::Deleting)]
#[tokio::test]
async fn the_state_of_a_route_is_shown(#[case] seen: RouteFixture, #[case] state: RouteState) {
    let apps = (!seen.apps.is_empty()).then(|| list(&[r#"{"guid":"a1","name":"app"}"#]));
    let fixture = Fixture::answering([seen.listed()].into_iter().chain(apps)).await;
    let shown = fixture.routes.get(&request_context(), &tenant()).await.unwrap();
    assert_eq!(shown[0].state, state);
    assert_eq!((shown[0].domain.as_str(), shown[0].subdomain.as_str()), ("example.test", "acme"));
}

#[tokio::test]
async fn a_route_of_another_owner_is_not_found() {
    let fixture = Fixture::answering([RouteFixture::owned("sb-other!t1", "t1").listed()]).await;
    let error = fixture.routes.get(&request_context(), &tenant()).await.unwrap_err();
    assert_eq!(error.as_str(), "not_found");
}

#[tokio::test]
async fn the_list_is_paged_and_shows_the_quota_usage() {
    let organization =
        Reply::json("200 OK", r#"{"guid":"o1","relationships":{"quota":{"data":{"guid":"q1"}}}}"#);
    let quota = Reply::json("200 OK", r#"{"guid":"q1","routes":{"total_routes":100}}"#);
    let used = Reply::json("200 OK", r#"{"usage_summary":{"routes":37}}"#);
    let space = Reply::json("200 OK", r#"{"guid":"s1","relationships":{"quota":{"data":null}}}"#);
    let apps = list(&[r#"{"guid":"a1","name":"app"}"#]);
    let count = counted(9);
    let replies = [RouteFixture::ours().listed(), apps, organization, quota, used, space, count];
    let fixture = Fixture::answering(replies).await;
    let query = ListQuery { tenant: None, state: None, page: 1, per_page: 50 };
    let listing = fixture.routes.list(&request_context(), &query).await.unwrap();
    assert_eq!((listing.total, listing.resources.len()), (1, 1));
    assert_eq!(listing.quota.organization.unwrap().used, 37);
    assert_eq!(listing.quota.app.unwrap(), Usage { limit: 900, used: 9 });
}
