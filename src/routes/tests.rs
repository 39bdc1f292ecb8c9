//! Whole operations against a scripted CF API; names of apps and domains are known beforehand.

use super::{
    Errand, Home, Mode, OperationKey, Patience, Policies, ProviderSettings, Removed, RouteError,
    Run, Settings, TenantId, TenantRoutes, Wish,
    label::{LabelPrefix, Ownership, Provenance},
    order::Key,
    view::{Ensured, ListQuery, Outcome, State, Step, Usage, Warning},
    wish::Adoption,
};
use crate::{
    auth::{Caller, Scope},
    capi::{
        Guid,
        model::Metadata,
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
const APP_NAMED: &str = "GET /v3/apps?names=app&space_guids=s1";
const LABEL: &str = "PATCH /v3/routes/r1";
const READ: &str = "GET /v3/routes/r1";
const RESERVED: &str = "GET /v3/domains/d1/route_reservations?host=acme-app";

fn guid(text: &str) -> Guid {
    Guid::parse(text).unwrap()
}

fn now() -> SystemTime {
    humantime::parse_rfc3339("2026-11-24T10:00:00Z").unwrap()
}

fn errand() -> Errand {
    let caller = Caller::for_tests(OWNER, &[Scope::RoutesWrite]);
    let deadline = Instant::now() + Duration::from_secs(30);
    Errand::new(&caller, &CorrelationId::random(), now(), deadline)
}

fn tenant() -> TenantId {
    TenantId::parse("t1").unwrap()
}

fn wish() -> Wish {
    Wish {
        subdomain: "acme".to_owned(),
        app: Some("app".to_owned()),
        domain: None,
        adoption: Adoption::Allowed,
    }
}

/// What the owner may have where there are entries.
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

fn home() -> Home {
    Home {
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

/// A broker and its scripted CF; what was asked while names were learned is not shown.
struct World {
    cf: ScriptedCf,
    routes: TenantRoutes,
    learned: usize,
}

impl World {
    async fn answering(replies: impl IntoIterator<Item = Reply>) -> Self {
        Self::with(&[], 0, replies).await
    }

    /// With provider entries, and an app that has some routes already.
    async fn with(
        providers: &[ProviderSettings],
        count: u64,
        replies: impl IntoIterator<Item = Reply>,
    ) -> Self {
        Self::heard_within(Duration::from_secs(20), (providers, count), replies).await
    }

    /// With a client that does not wait longer than `head` for an answer to begin.
    async fn heard_within(
        head: Duration,
        (providers, count): (&[ProviderSettings], u64),
        replies: impl IntoIterator<Item = Reply>,
    ) -> Self {
        let total =
            format!(r#"{{"pagination":{{"total_results":{count},"next":null}},"resources":[]}}"#);
        let replies = [Reply::json("200 OK", &total)].into_iter().chain(replies);
        let mut world = Self::begin(head, providers, replies).await;
        world.cf.foundation().routes_of_app(&guid("a1")).await.unwrap();
        world.learned += 1;
        world
    }

    /// How many routes the app has is not known yet.
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
        let cf = ScriptedCf::heard_within(head, learning.into_iter().chain(replies)).await;
        let foundation = cf.foundation();
        foundation.domain(&guid("o1"), None).await.unwrap();
        foundation.app(&guid("s1"), "app").await.unwrap();
        let policies =
            Policies::judge(&Settings::default(), providers, home(), &[destination()]).unwrap();
        let key = OperationKey::new(&[7; 32]).unwrap();
        let routes = TenantRoutes::new(
            policies,
            key,
            cf.client.clone(),
            cf.tasks.clone(),
            Metrics::default(),
        );
        Self { cf, routes, learned: 2 }
    }

    async fn ensure(&self) -> Result<Ensured, RouteError> {
        self.routes.ensure(&errand(), &tenant(), wish(), Run::Real).await
    }

    async fn preview(&self) -> Result<Ensured, RouteError> {
        self.routes.ensure(&errand(), &tenant(), wish(), Run::Dry).await
    }

    async fn remove(&self, patience: Patience) -> Result<Removed, RouteError> {
        self.routes.remove(&errand(), &tenant(), patience).await
    }

    fn calls(&self) -> Vec<String> {
        self.cf.calls().into_iter().skip(self.learned).collect()
    }
}

/// A route as CF shows it.
struct Seen {
    metadata: Metadata,
    apps: Vec<&'static str>,
    space: &'static str,
}

impl Seen {
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
        Self { metadata: Metadata::default(), ..Self::ours() }
    }

    fn with_apps(self, apps: &[&'static str]) -> Self {
        Self { apps: apps.to_vec(), ..self }
    }

    fn in_space(self, space: &'static str) -> Self {
        Self { space, ..self }
    }

    /// Marked as dying some seconds ago.
    fn dying_for(mut self, age: u64) -> Self {
        let prefix = LabelPrefix::parse("cfapi-broker.internal").unwrap();
        let mark = Ownership::new(prefix, OWNER, "t1").dying(now() - Duration::from_secs(age));
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

fn created() -> Reply {
    Reply::json("201 Created", &Seen::ours().with_apps(&[]).json())
}

fn mapped() -> Reply {
    Reply::json("200 OK", MAPPED)
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
    let world = World::answering([created(), mapped()]).await;
    let done = world.ensure().await.unwrap();
    assert_eq!(done.outcome, Outcome::Created);
    assert_eq!(done.view.url, "https://acme-app.example.test");
    assert_eq!(world.calls(), [CREATE, MAP]);
}

#[tokio::test]
async fn a_create_carries_its_labels() {
    let world = World::answering([created(), mapped()]).await;
    world.ensure().await.unwrap();
    let body = world.cf.requests()[world.learned].clone();
    assert!(body.contains(r#""cfapi-broker.internal/tenant":"t1""#));
    assert!(body.contains(r#""cfapi-broker.internal/owner-id":"sb-bookshop!t1""#));
}

#[tokio::test]
async fn a_repeat_costs_two_calls_and_changes_nothing() {
    let world = World::answering([exists(), Seen::ours().listed()]).await;
    assert_eq!(world.ensure().await.unwrap().outcome, Outcome::Unchanged);
    assert_eq!(world.calls(), [CREATE, FIND]);
}

#[tokio::test]
async fn a_repeat_at_full_quota_changes_nothing() {
    let quota = unprocessable("Routes quota exceeded for organization 'provider-org'.");
    let world = World::answering([quota, Seen::ours().listed()]).await;
    assert_eq!(world.ensure().await.unwrap().outcome, Outcome::Unchanged);
}

#[tokio::test]
async fn an_unmapped_route_is_repaired() {
    let unmapped = Seen::ours().with_apps(&[]).listed();
    let world = World::answering([exists(), unmapped, mapped()]).await;
    assert_eq!(world.ensure().await.unwrap().outcome, Outcome::Repaired);
    assert_eq!(world.calls(), [CREATE, FIND, MAP]);
}

#[tokio::test]
async fn an_unlabelled_route_of_our_app_is_adopted() {
    let (labelled, verified) = (Seen::ours().read(), Seen::ours().read());
    let free = Seen::unlabelled().listed();
    let world = World::answering([exists(), free, labelled, verified]).await;
    assert_eq!(world.ensure().await.unwrap().outcome, Outcome::Adopted);
    assert_eq!(world.calls(), [CREATE, FIND, LABEL, READ]);
}

#[tokio::test]
async fn of_two_owners_that_adopt_at_once_one_is_told_that_the_host_is_taken() {
    let other = Seen::owned("sb-other!t1", "t1").read();
    let replies = [exists(), Seen::unlabelled().listed(), Seen::ours().read(), other];
    let world = World::answering(replies).await;
    assert_eq!(world.ensure().await.unwrap_err().word(), "host_taken");
    assert_eq!(world.calls(), [CREATE, FIND, LABEL, READ]);
}

#[rstest]
#[case::their_app(&["a1", "a9"], true)]
#[case::the_same_app(&["a1"], false)]
#[tokio::test]
async fn who_lost_an_adoption_takes_its_app_from_a_route_that_serves_anothers(
    #[case] apps: &[&'static str],
    #[case] unmapped: bool,
) {
    let free = Seen::unlabelled().with_apps(&[]).listed();
    let other = Seen::owned("sb-other!t1", "t1").with_apps(apps).read();
    let labelled = Seen::ours().with_apps(&[]).read();
    let gone = Reply::with_headers("204 No Content", "", b"");
    let world = World::answering([exists(), free, labelled, mapped(), other, gone]).await;
    assert_eq!(world.ensure().await.unwrap_err().word(), "host_taken");
    let unmap = unmapped.then_some("DELETE /v3/routes/r1/destinations/t-a1");
    let expected = [CREATE, FIND, LABEL, MAP, READ].into_iter().chain(unmap);
    assert_eq!(world.calls(), expected.collect::<Vec<_>>());
}

#[tokio::test]
async fn a_subdomain_in_another_case_changes_nothing() {
    let world = World::answering([exists(), Seen::ours().listed()]).await;
    let wish = Wish { subdomain: "ACME".to_owned(), ..wish() };
    let done = world.routes.ensure(&errand(), &tenant(), wish, Run::Real).await.unwrap();
    assert_eq!(done.outcome, Outcome::Unchanged);
    assert_eq!(world.calls(), [CREATE, FIND]);
}

#[rstest]
#[case::mended(Seen::ours().read(), Ok(Outcome::Repaired))]
#[case::not_mended(cf_error("403 Forbidden", 10003, "x"), Ok(Outcome::Unchanged))]
#[case::gone(missing(), Err("route_being_deleted"))]
#[tokio::test]
async fn a_subdomain_that_is_annotated_wrongly_is_mended_where_that_can_be(
    #[case] reply: Reply,
    #[case] expected: Result<Outcome, &str>,
) {
    let mut seen = Seen::ours();
    let key = "cfapi-broker.internal/subdomain".to_owned();
    seen.metadata.annotations.insert(key, Some("former".to_owned()));
    let world = World::answering([exists(), seen.listed(), reply]).await;
    let done = world.ensure().await;
    assert_eq!(done.as_ref().map(|done| done.outcome).map_err(RouteError::word), expected);
    assert_eq!(world.calls(), [CREATE, FIND, LABEL]);
}

#[tokio::test]
async fn adoption_can_be_refused_by_the_caller() {
    let world = World::answering([exists(), Seen::unlabelled().listed()]).await;
    let wish = Wish { adoption: Adoption::Refused, ..wish() };
    let error = world.routes.ensure(&errand(), &tenant(), wish, Run::Real).await.unwrap_err();
    assert_eq!(error.word(), "host_taken");
}

#[rstest]
#[case::other_owner(Seen::owned("sb-other!t1", "t1"), "host_taken")]
#[case::other_tenant(Seen::owned(OWNER, "t2"), "host_of_other_tenant")]
#[case::other_space(Seen::ours().in_space("s2"), "host_taken")]
#[case::unlabelled_elsewhere(Seen::unlabelled().in_space("s2"), "host_taken")]
#[tokio::test]
async fn a_route_that_is_not_ours_is_a_conflict(#[case] seen: Seen, #[case] word: &str) {
    let world = World::answering([exists(), seen.listed()]).await;
    assert_eq!(world.ensure().await.unwrap_err().word(), word);
    assert_eq!(world.calls(), [CREATE, FIND]);
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
async fn an_invisible_obstacle_is_told_by_the_reservation(
    #[case] refusal: Reply,
    #[case] reservation: Option<Reply>,
    #[case] word: &str,
) {
    let replies = [refusal, list(&[])].into_iter().chain(reservation);
    let world = World::answering(replies).await;
    assert_eq!(world.ensure().await.unwrap_err().word(), word);
}

#[tokio::test]
async fn a_host_that_has_just_gone_is_created_again() {
    let world = World::answering([exists(), list(&[]), reserved(false), created(), mapped()]).await;
    assert_eq!(world.ensure().await.unwrap().outcome, Outcome::Created);
    assert_eq!(world.calls(), [CREATE, FIND, RESERVED, CREATE, MAP]);
}

#[tokio::test]
async fn a_host_that_goes_twice_ends_the_attempt() {
    let gone = || [exists(), list(&[]), reserved(false)];
    let world = World::answering(gone().into_iter().chain(gone())).await;
    let error = world.ensure().await.unwrap_err();
    assert!(error.is_transient() && error.retry_after().is_some());
    assert_eq!(world.calls(), [CREATE, FIND, RESERVED, CREATE, FIND, RESERVED]);
}

#[rstest]
#[case::conflicts("Route conflicts with a reserved system route.", "host_reserved")]
#[case::space(
    "Invalid space. Ensure that the space exists and you have access to it.",
    "cf_refused"
)]
#[tokio::test]
async fn other_refusals_are_told_as_they_are(#[case] detail: &str, #[case] word: &str) {
    let world = World::answering([unprocessable(detail)]).await;
    assert_eq!(world.ensure().await.unwrap_err().word(), word);
    assert_eq!(world.calls(), [CREATE]);
}

#[tokio::test]
async fn a_stale_domain_is_looked_up_again_once() {
    let stale = || {
        unprocessable("Invalid domain. Ensure that the domain exists and you have access to it.")
    };
    let domain = Reply::json("200 OK", r#"{"guid":"d2","name":"example.test"}"#);
    let world = World::answering([stale(), domain, stale(), missing()]).await;
    assert_eq!(world.ensure().await.unwrap_err().word(), "domain_not_found");
}

#[tokio::test]
async fn on_a_domain_that_was_made_anew_the_host_is_worked_on_one_at_a_time_too() {
    let stale =
        unprocessable("Invalid domain. Ensure that the domain exists and you have access to it.");
    let domain = Reply::json("200 OK", r#"{"guid":"d2","name":"example.test"}"#);
    let world = World::answering([stale, domain, created(), mapped()]).await;
    let order = &world.routes.0.order;
    let soon = Instant::now() + Duration::from_millis(300);
    let _held = order.take(Key::host(guid("d2"), "acme-app"), soon).await.unwrap();
    let errand = Errand { deadline: soon, ..errand() };
    let error = world.routes.ensure(&errand, &tenant(), wish(), Run::Real).await.unwrap_err();
    assert_eq!((error.word(), world.calls().len()), ("overloaded", 2));
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
    let world = World::answering([reply, list(&[]), created(), mapped()]).await;
    assert_eq!(world.ensure().await.unwrap().outcome, Outcome::Created);
    assert_eq!(world.calls(), [CREATE, FIND, CREATE, MAP]);
}

/// A client that hears nothing for so long gives up; longer than an answer takes on a busy machine.
const IMPATIENCE: Duration = Duration::from_millis(400);

#[rstest]
#[case::lost(Reply::Hangup)]
#[case::timed_out(Reply::Silence)]
#[tokio::test]
async fn a_create_that_took_effect_unheard_is_not_repeated(#[case] reply: Reply) {
    let replies = [reply, Seen::ours().with_apps(&[]).listed(), mapped()];
    let world = World::heard_within(IMPATIENCE, (&[], 0), replies).await;
    assert!(world.ensure().await.is_ok());
    assert_eq!(world.calls(), [CREATE, FIND, MAP]);
}

#[rstest]
#[case::lost(Reply::Hangup)]
#[case::timed_out(Reply::Silence)]
#[tokio::test]
async fn a_create_that_stays_unclear_is_told_so(#[case] reply: Reply) {
    let replies = [reply.clone(), list(&[]), reply, list(&[])];
    let world = World::heard_within(IMPATIENCE, (&[], 0), replies).await;
    assert_eq!(world.ensure().await.unwrap_err().word(), "cf_timeout");
    assert_eq!(world.calls(), [CREATE, FIND, CREATE, FIND]);
}

#[tokio::test]
async fn a_route_that_cannot_be_mapped_is_taken_back() {
    let refused =
        cf_error("403 Forbidden", 10003, "You are not authorized to perform the requested action");
    let unmapped = Seen::ours().with_apps(&[]);
    let read = || unmapped.read();
    let replies = [created(), refused, read(), read(), read(), accepted("j1"), job("COMPLETE")];
    let world = World::answering(replies).await;
    world.ensure().await.unwrap_err();
    world.cf.tasks.close();
    world.cf.tasks.wait().await;
    let (delete, poll) = ("DELETE /v3/routes/r1", "GET /v3/jobs/j1");
    assert_eq!(world.calls(), [CREATE, MAP, READ, LABEL, READ, delete, poll]);
}

#[tokio::test]
async fn a_route_that_somebody_mapped_while_it_was_marked_is_not_taken_back() {
    let refused = cf_error("403 Forbidden", 10003, "x");
    let (unmapped, theirs) = (Seen::ours().with_apps(&[]), Seen::ours());
    let marked = [unmapped.read(), unmapped.read(), theirs.read(), theirs.read()];
    let world = World::answering([created(), refused].into_iter().chain(marked)).await;
    world.ensure().await.unwrap_err();
    world.cf.tasks.close();
    world.cf.tasks.wait().await;
    assert_eq!(world.calls(), [CREATE, MAP, READ, LABEL, READ, LABEL]);
    assert!(world.cf.requests().last().unwrap().contains(r#""cfapi-broker.internal/state":null"#));
}

#[tokio::test]
async fn a_route_that_somebody_mapped_meanwhile_is_not_taken_back() {
    let refused = cf_error("403 Forbidden", 10003, "x");
    let world = World::answering([created(), refused, Seen::ours().read()]).await;
    world.ensure().await.unwrap_err();
    world.cf.tasks.close();
    world.cf.tasks.wait().await;
    assert_eq!(world.calls(), [CREATE, MAP, "GET /v3/routes/r1"]);
}

#[tokio::test]
async fn a_stale_app_is_looked_up_again() {
    let stale = unprocessable(r#"App(s) with guid(s) \"a1\" do not exist."#);
    let app = list(&[r#"{"guid":"a2","name":"app"}"#]);
    let world = World::answering([created(), stale, app, mapped()]).await;
    let done = world.ensure().await.unwrap();
    assert_eq!(done.view.apps[0].guid, Some(guid("a2")));
}

#[tokio::test]
async fn a_dying_route_is_waited_for_and_made_anew() {
    let dying = Seen::ours().dying_for(2).listed();
    let world = World::answering([exists(), dying, missing(), created(), mapped()]).await;
    assert_eq!(world.ensure().await.unwrap().outcome, Outcome::Created);
    assert_eq!(world.calls(), [CREATE, FIND, "GET /v3/routes/r1", CREATE, MAP]);
}

#[tokio::test]
async fn a_dying_route_that_does_not_go_is_deleted_once_more() {
    let dying = Seen::ours().dying_for(2);
    let reads = || dying.read();
    let replies =
        [exists(), dying.listed(), reads(), reads(), reads(), reads(), accepted("j2"), reads()];
    let end = [missing(), created(), mapped()];
    let world = World::answering(replies.into_iter().chain(end)).await;
    assert_eq!(world.ensure().await.unwrap().outcome, Outcome::Created);
    let calls = world.calls();
    let deletes = calls.iter().filter(|call| call.starts_with("DELETE ")).count();
    assert_eq!((calls.len(), deletes), (11, 1), "{calls:?}");
}

#[tokio::test]
async fn a_mark_that_another_instance_took_away_is_not_remembered() {
    let removal = [Seen::ours().listed(), accepted("j1"), Seen::ours().dying_for(0).read()];
    let repeat = [exists(), Seen::ours().listed()];
    let world = World::answering(removal.into_iter().chain(repeat)).await;
    let removed = world.remove(Patience::DontWait).await.unwrap();
    assert!(matches!(removed, Removed::Running { .. }));
    assert_eq!(world.ensure().await.unwrap().outcome, Outcome::Unchanged);
    assert_eq!(world.calls()[3..], [CREATE, FIND]);
}

#[tokio::test]
async fn a_mark_that_was_set_unheard_and_taken_away_since_is_not_remembered() {
    let failed = || cf_error("500 Internal Server Error", 10001, "x");
    let removal = [Seen::ours().listed(), failed(), failed()];
    let repeat = [exists(), Seen::ours().dying_for(0).listed(), Seen::ours().read()];
    let world = World::answering(removal.into_iter().chain(repeat)).await;
    world.remove(Patience::Wait).await.unwrap_err();
    assert_eq!(world.ensure().await.unwrap().outcome, Outcome::Unchanged);
    assert_eq!(world.calls()[3..], [CREATE, FIND, READ]);
}

#[tokio::test]
async fn a_route_that_could_not_be_marked_is_marked_before_it_is_deleted_once_more() {
    let failed = || cf_error("500 Internal Server Error", 10001, "x");
    let removal = [Seen::ours().listed(), failed(), failed()];
    let live = || Seen::ours().read();
    let waits = [exists(), Seen::ours().listed(), live(), live(), live(), live()];
    let again = [Seen::ours().dying_for(0).read(), accepted("j2"), missing()];
    let replies = removal.into_iter().chain(waits).chain(again).chain([created(), mapped()]);
    let world = World::answering(replies).await;
    world.remove(Patience::Wait).await.unwrap_err();
    assert_eq!(world.ensure().await.unwrap().outcome, Outcome::Created);
    let calls = world.calls();
    assert_eq!(calls[9..], [LABEL, "DELETE /v3/routes/r1", READ, CREATE, MAP], "{calls:?}");
}

#[tokio::test]
async fn a_dying_route_that_is_given_up_meanwhile_is_judged_anew() {
    let dying = Seen::ours().dying_for(2).listed();
    let free = Seen::unlabelled();
    let labelled = [Seen::ours().read(), Seen::ours().read()];
    let replies = [exists(), dying, free.read(), exists(), free.listed()];
    let replies = replies.into_iter().chain(labelled);
    let world = World::answering(replies).await;
    let error = world.ensure().await.unwrap();
    assert_eq!(error.outcome, Outcome::Adopted);
}

#[tokio::test]
async fn a_route_that_survived_its_delete_is_taken_as_live() {
    let survived = Seen::ours().dying_for(301).listed();
    let world = World::answering([exists(), survived, Seen::ours().read()]).await;
    assert_eq!(world.ensure().await.unwrap().outcome, Outcome::Repaired);
    assert_eq!(world.calls(), [CREATE, FIND, "PATCH /v3/routes/r1"]);
}

#[tokio::test]
async fn at_the_apps_limit_only_our_own_route_will_do() {
    let found = World::with(&[], 900, [Seen::ours().listed()]).await;
    assert_eq!(found.ensure().await.unwrap().outcome, Outcome::Unchanged);
    let absent = World::with(&[], 900, [list(&[])]).await;
    assert_eq!(absent.ensure().await.unwrap_err().word(), "app_route_limit");
}

#[tokio::test]
async fn near_the_apps_limit_there_is_a_warning() {
    let world = World::with(&[], 810, [created(), mapped()]).await;
    assert_eq!(world.ensure().await.unwrap().warnings, [Warning::AppRouteLimitNear]);
}

#[tokio::test]
async fn a_refused_host_costs_no_call() {
    let world = World::answering([]).await;
    let wish = Wish { subdomain: "ac me".to_owned(), ..wish() };
    let error = world.routes.ensure(&errand(), &tenant(), wish, Run::Real).await.unwrap_err();
    assert_eq!((error.word(), world.calls().len()), ("host_invalid", 0));
}

#[tokio::test]
async fn the_broker_itself_is_no_app_in_any_spelling() {
    let world = World::answering([]).await;
    let wish = Wish { app: Some("CFAPI-Broker".to_owned()), ..wish() };
    let error = world.routes.ensure(&errand(), &tenant(), wish, Run::Real).await.unwrap_err();
    assert_eq!((error.word(), world.calls().len()), ("forbidden_app", 0));
}

#[tokio::test]
async fn a_domain_that_is_not_the_default_one_is_forbidden() {
    let world = World::answering([]).await;
    let wish = Wish { domain: Some("other.test".to_owned()), ..wish() };
    let error = world.routes.ensure(&errand(), &tenant(), wish, Run::Real).await.unwrap_err();
    assert_eq!(error.word(), "forbidden_domain");
}

#[rstest]
#[case::free(list(&[]), Outcome::Created, &[Step::Create, Step::Map])]
#[case::ours(Seen::ours().listed(), Outcome::Unchanged, &[])]
#[case::unmapped(Seen::ours().with_apps(&[]).listed(), Outcome::Repaired, &[Step::Map])]
#[case::unlabelled(Seen::unlabelled().listed(), Outcome::Adopted, &[Step::Label])]
#[case::dying(Seen::ours().dying_for(2).listed(), Outcome::Created, &[Step::AwaitDelete, Step::Create, Step::Map])]
#[tokio::test]
async fn a_dry_run_foretells_with_one_read(
    #[case] seen: Reply,
    #[case] outcome: Outcome,
    #[case] plan: &[Step],
) {
    let world = World::answering([seen]).await;
    let told = world.preview().await.unwrap();
    assert_eq!((told.outcome, told.plan.as_deref()), (outcome, Some(plan)));
    assert_eq!(world.calls(), [FIND]);
}

#[tokio::test]
async fn a_dry_run_tells_the_same_conflict() {
    let world = World::answering([Seen::owned("sb-other!t1", "t1").listed()]).await;
    assert_eq!(world.preview().await.unwrap_err().word(), "host_taken");
}

#[tokio::test]
async fn a_dry_run_answers_while_cf_is_down() {
    let down = || cf_error("503 Service Unavailable", 10015, "x");
    let world = World::answering([down(), down(), down()]).await;
    let told = world.preview().await.unwrap();
    assert_eq!(told.outcome, Outcome::Unknown);
    assert_eq!(told.warnings, [Warning::CfUnchecked]);
    assert_eq!(told.view.url, "https://acme-app.example.test");
}

#[tokio::test]
async fn a_dry_run_answers_with_the_default_domain_that_was_known_last() {
    let down = || cf_error("503 Service Unavailable", 10015, "x");
    let world = World::answering([down(), down(), down()]).await;
    world.cf.foundation().expire_domains();
    let told = world.preview().await.unwrap();
    assert_eq!((told.outcome, told.warnings), (Outcome::Unknown, vec![Warning::CfUnchecked]));
    assert_eq!(told.view.url, "https://acme-app.example.test");
    assert_eq!(world.calls(), ["GET /v3/organizations/o1/domains/default"; 3]);
}

#[rstest]
#[case::started("STARTED", &[])]
#[case::stopped("STOPPED", &[Warning::AppStopped])]
#[tokio::test]
async fn a_stopped_app_is_told_with_its_route(#[case] state: &str, #[case] warnings: &[Warning]) {
    let app = format!(r#"{{"guid":"a1","name":"app","state":"{state}"}}"#);
    let world = World::answering([Seen::ours().listed(), list(&[&app])]).await;
    let shown = world.routes.get(&errand(), &tenant()).await.unwrap();
    assert_eq!((shown[0].state, shown[0].warnings.as_slice()), (State::Ok, warnings));
}

#[tokio::test]
async fn removing_a_tenant_without_routes_is_done() {
    let world = World::answering([list(&[])]).await;
    assert!(matches!(world.remove(Patience::Wait).await, Ok(Removed::Done)));
    assert_eq!(world.calls().len(), 1);
}

#[tokio::test]
async fn a_removal_is_list_delete_and_polls() {
    let replies = [Seen::ours().listed(), accepted("j1"), job("PROCESSING"), job("COMPLETE")];
    let world = World::answering(replies).await;
    assert!(matches!(world.remove(Patience::Wait).await, Ok(Removed::Done)));
    let poll = "GET /v3/jobs/j1";
    assert_eq!(world.calls()[1..], ["DELETE /v3/routes/r1", poll, poll]);
}

#[tokio::test]
async fn a_removal_that_nobody_waits_for_is_marked_and_can_be_asked_about() {
    let replies = [Seen::ours().listed(), accepted("j1"), Seen::ours().read(), job("COMPLETE")];
    let world = World::answering(replies).await;
    let Removed::Running { operation } = world.remove(Patience::DontWait).await.unwrap() else {
        panic!("it waited");
    };
    let id = world.routes.seal(&operation).unwrap();
    let (_, state) = world.routes.operation(&errand(), &id).await.unwrap();
    assert_eq!(state, super::OperationState::Succeeded);
    assert_eq!(world.calls()[2], "PATCH /v3/routes/r1");
}

#[tokio::test]
async fn a_route_whose_delete_has_no_known_outcome_is_marked() {
    let failed = cf_error("500 Internal Server Error", 10001, "x");
    let world = World::answering([Seen::ours().listed(), failed, Seen::ours().read()]).await;
    assert_eq!(world.remove(Patience::Wait).await.unwrap_err().word(), "cf_error");
    assert_eq!(world.calls()[1..], ["DELETE /v3/routes/r1", "PATCH /v3/routes/r1"]);
}

#[tokio::test]
async fn a_route_whose_delete_is_refused_is_not_marked() {
    let refused = cf_error("403 Forbidden", 10003, "x");
    let world = World::answering([Seen::ours().listed(), refused]).await;
    let error = world.remove(Patience::Wait).await.unwrap_err();
    assert_eq!((error.word(), world.calls().len()), ("technical_user_lacks_role", 2));
}

#[tokio::test]
async fn of_several_failures_one_that_a_repeat_does_not_mend_speaks() {
    let one = Seen::ours().json();
    let other = one.replace(r#""r1""#, r#""r2""#).replace("acme-app", "beta-app");
    let failed = cf_error("500 Internal Server Error", 10001, "x");
    let refused = cf_error("403 Forbidden", 10003, "x");
    // Both go out at once; the one of which nobody knows what became is marked.
    let replies = [list(&[&one, &other]), failed, refused, Seen::ours().read()];
    let world = World::answering(replies).await;
    let error = world.remove(Patience::Wait).await.unwrap_err();
    assert_eq!((error.word(), error.is_transient()), ("technical_user_lacks_role", false));
    assert!(matches!(error, RouteError::NotRemoved(all) if all.len() == 2));
}

#[tokio::test]
async fn an_operation_of_another_owner_is_not_found() {
    let replies = [Seen::ours().listed(), accepted("j1"), Seen::ours().read()];
    let world = World::answering(replies).await;
    let Removed::Running { operation } = world.remove(Patience::DontWait).await.unwrap() else {
        panic!("it waited");
    };
    let id = world.routes.seal(&operation).unwrap();
    let other = Caller::for_tests("sb-other!t1", &[Scope::RoutesRead]);
    let deadline = Instant::now() + Duration::from_secs(5);
    let errand = Errand::new(&other, &CorrelationId::random(), now(), deadline);
    assert_eq!(world.routes.operation(&errand, &id).await.unwrap_err().word(), "not_found");
}

#[tokio::test]
async fn a_failed_job_is_told_and_the_mark_taken_away() {
    let failed = r#"{"guid":"j1","state":"FAILED","errors":[{"detail":"x","title":"CF-JobTimeout","code":290006}]}"#;
    let replies =
        [Seen::ours().listed(), accepted("j1"), Reply::json("200 OK", failed), Seen::ours().read()];
    let world = World::answering(replies).await;
    let error = world.remove(Patience::Wait).await.unwrap_err();
    assert_eq!((error.word(), error.cf_errors().len()), ("cf_job_failed", 1));
}

#[rstest]
#[case::other_owner(Seen::owned("sb-other!t1", "t1"))]
#[case::other_tenant(Seen::owned(OWNER, "t2"))]
#[case::unlabelled(Seen::unlabelled())]
#[tokio::test]
async fn what_is_not_ours_is_never_deleted(#[case] seen: Seen) {
    let world = World::answering([seen.listed()]).await;
    assert!(matches!(world.remove(Patience::Wait).await, Ok(Removed::Done)));
    assert_eq!(world.calls().len(), 1);
}

#[tokio::test]
async fn a_route_that_serves_a_foreign_app_is_given_up_instead() {
    let shared = Seen::ours().with_apps(&["a1", "a2"]);
    let unmapped = Reply::with_headers("204 No Content", "", b"");
    let replies = [shared.listed(), app_now("a1"), unmapped, shared.read()];
    let world = World::with(&[entry()], 0, replies).await;
    assert!(matches!(world.remove(Patience::Wait).await, Ok(Removed::Done)));
    let unmap = "DELETE /v3/routes/r1/destinations/t-a1";
    assert_eq!(world.calls()[1..], [APP_NAMED, unmap, "PATCH /v3/routes/r1"]);
}

#[tokio::test]
async fn an_app_that_was_made_anew_under_its_name_is_no_foreign_one() {
    let replies =
        [Seen::ours().with_apps(&["a2"]).listed(), app_now("a2"), accepted("j1"), job("COMPLETE")];
    let world = World::with(&[entry()], 0, replies).await;
    assert!(matches!(world.remove(Patience::Wait).await, Ok(Removed::Done)));
    assert_eq!(world.calls()[1..], [APP_NAMED, "DELETE /v3/routes/r1", "GET /v3/jobs/j1"]);
}

#[tokio::test]
async fn an_unlabelled_route_of_an_app_that_was_made_anew_is_adopted() {
    let free = Seen::unlabelled().with_apps(&["a2"]);
    let labelled = Seen::ours().with_apps(&["a2"]);
    let replies = [exists(), free.listed(), app_now("a2"), labelled.read(), labelled.read()];
    let world = World::answering(replies).await;
    assert_eq!(world.ensure().await.unwrap().outcome, Outcome::Adopted);
    assert_eq!(world.calls(), [CREATE, FIND, APP_NAMED, LABEL, READ]);
}

#[tokio::test]
async fn an_unlabelled_route_of_another_app_of_the_space_is_a_conflict() {
    let free = Seen::unlabelled().with_apps(&["a2"]);
    let world = World::answering([exists(), free.listed(), app_now("a1")]).await;
    assert_eq!(world.ensure().await.unwrap_err().word(), "host_taken");
    assert_eq!(world.calls(), [CREATE, FIND, APP_NAMED]);
}

#[tokio::test]
async fn an_unlabelled_route_of_another_app_of_the_entry_is_adopted_and_mapped() {
    let entry = ProviderSettings { apps: vec!["app".to_owned(), "app2".to_owned()], ..entry() };
    let free = Seen::unlabelled().with_apps(&["a2"]);
    let labelled = Seen::ours().with_apps(&["a2"]);
    let second = list(&[r#"{"guid":"a2","name":"app2"}"#]);
    let taken = [exists(), free.listed(), second, labelled.read()];
    let served = [app_now("a1"), mapped(), labelled.read()];
    let world = World::with(&[entry], 0, taken.into_iter().chain(served)).await;
    assert_eq!(world.ensure().await.unwrap().outcome, Outcome::Adopted);
    assert_eq!(world.calls()[3..], [LABEL, APP_NAMED, MAP, READ]);
}

#[tokio::test]
async fn a_route_of_the_app_that_was_made_anew_is_not_mapped_to_the_former_one() {
    let route = Seen::ours().with_apps(&["a2"]);
    let world = World::answering([exists(), route.listed(), app_now("a2")]).await;
    let done = world.ensure().await.unwrap();
    assert_eq!((done.outcome, done.warnings.len()), (Outcome::Unchanged, 0));
    assert_eq!(world.calls(), [CREATE, FIND, APP_NAMED]);
}

#[rstest]
#[case::wildcard(Mode::Wildcard)]
#[case::auto(Mode::Auto)]
#[tokio::test]
async fn a_wildcard_route_of_the_app_that_was_made_anew_serves(#[case] mode: Mode) {
    let star = Seen::unlabelled().with_apps(&["a2"]).listed();
    let world =
        World::with(&[ProviderSettings { mode, ..entry() }], 0, [star, app_now("a2")]).await;
    assert_eq!(world.ensure().await.unwrap().outcome, Outcome::Wildcard);
}

#[rstest]
#[case::made_anew(&["app_now", "count"], Some(7))]
#[case::gone(&["app_gone"], None)]
#[case::invisible(&["app_now", "missing"], None)]
#[tokio::test]
async fn a_list_stands_although_the_app_that_was_remembered_is_gone(
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
    let replies = [list(&[]), nothing(), nothing(), missing()];
    let world =
        World::uncounted(&[entry()], replies.into_iter().chain(then.iter().map(reply))).await;
    let query = ListQuery { tenant: None, state: None, page: 1, per_page: 50 };
    let listing = world.routes.list(&errand(), &query).await.unwrap();
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
async fn a_named_space_that_was_made_anew_is_looked_up_again_when_cf_refuses_it() {
    let refused =
        unprocessable("Invalid space. Ensure that the space exists and you have access to it.");
    let replies = space_now("s1")
        .into_iter()
        .chain([list(&[]), refused])
        .chain(space_now("s2"))
        .chain([app_now("a2"), created(), mapped()]);
    let world = World::with(&[named_entry()], 0, replies).await;
    world.routes.get(&errand(), &tenant()).await.unwrap_err();
    let done = world.ensure().await.unwrap();
    assert_eq!((done.outcome, done.view.space), (Outcome::Created, Some(guid("s2"))));
}

#[tokio::test]
async fn a_removal_looks_at_the_named_space_of_today_before_it_finds_nothing() {
    let warm = space_now("s1").into_iter().chain([list(&[])]);
    let later = [list(&[])].into_iter().chain(space_now("s2"));
    let rest =
        [Seen::ours().in_space("s2").listed(), app_now("a1"), accepted("j1"), job("COMPLETE")];
    let world = World::with(&[named_entry()], 0, warm.chain(later).chain(rest)).await;
    assert!(matches!(world.remove(Patience::Wait).await, Ok(Removed::Done)));
    assert_eq!(world.calls().len(), 3, "what was read just now is not read again");
    assert!(matches!(world.remove(Patience::Wait).await, Ok(Removed::Done)));
    assert!(world.calls().contains(&"DELETE /v3/routes/r1".to_owned()));
}

#[rstest]
#[case::ok(Seen::ours(), State::Ok)]
#[case::unmapped(Seen::ours().with_apps(&[]), State::Unmapped)]
#[case::dying(Seen::ours().dying_for(2), State::Deleting)]
#[tokio::test]
async fn the_state_of_a_route_is_shown(#[case] seen: Seen, #[case] state: State) {
    let apps = (!seen.apps.is_empty()).then(|| list(&[r#"{"guid":"a1","name":"app"}"#]));
    let world = World::answering([seen.listed()].into_iter().chain(apps)).await;
    let shown = world.routes.get(&errand(), &tenant()).await.unwrap();
    assert_eq!(shown[0].state, state);
    assert_eq!((shown[0].domain.as_str(), shown[0].subdomain.as_str()), ("example.test", "acme"));
}

#[tokio::test]
async fn a_route_of_another_owner_is_not_found() {
    let world = World::answering([Seen::owned("sb-other!t1", "t1").listed()]).await;
    let error = world.routes.get(&errand(), &tenant()).await.unwrap_err();
    assert_eq!(error.word(), "not_found");
}

#[tokio::test]
async fn the_list_is_paged_and_shows_what_is_left() {
    let organization =
        Reply::json("200 OK", r#"{"guid":"o1","relationships":{"quota":{"data":{"guid":"q1"}}}}"#);
    let quota = Reply::json("200 OK", r#"{"guid":"q1","routes":{"total_routes":100}}"#);
    let used = Reply::json("200 OK", r#"{"usage_summary":{"routes":37}}"#);
    let space = Reply::json("200 OK", r#"{"guid":"s1","relationships":{"quota":{"data":null}}}"#);
    let apps = list(&[r#"{"guid":"a1","name":"app"}"#]);
    let replies = [Seen::ours().listed(), apps, organization, quota, used, space];
    let world = World::answering(replies).await;
    let query = ListQuery { tenant: None, state: None, page: 1, per_page: 50 };
    let listing = world.routes.list(&errand(), &query).await.unwrap();
    assert_eq!((listing.total, listing.resources.len()), (1, 1));
    assert_eq!(listing.quota.organization.unwrap().used, 37);
    assert_eq!(listing.quota.app.unwrap(), Usage { limit: 900, used: 0 });
}
