use super::{
    ApiCondition, Call, CallsLeft, CapiError, DestinationName, Guid, RequestSent, Unavailability,
    jobs::{JobOutcome, Pace, Turn},
    model::RouteMetadata,
    routes::{Deletion, RouteSpec},
    stream::BodyMode,
    support::{ScriptedCf, accepted, cf_error, job, list},
};
use crate::upstream::{gate::FailureKind, raw_server::Reply};
use http::{Method, StatusCode};
use http_body_util::BodyExt as _;
use rstest::rstest;
use std::time::Duration;
use tokio::time::Instant;
use url::Url;

const ROUTE: &str =
    r#"{"guid":"r1","host":"acme-app","url":"acme-app.example.test","destinations":[]}"#;

fn guid(text: &str) -> Guid {
    Guid::parse(text).unwrap()
}

fn spec() -> RouteSpec {
    RouteSpec {
        host: "acme-app".to_owned(),
        space: guid("s1"),
        domain: guid("d1"),
        metadata: RouteMetadata::default(),
    }
}

fn invalid_token() -> Reply {
    cf_error("401 Unauthorized", 1000, "Invalid Auth Token")
}

fn router_page(status: &str) -> Reply {
    let headers = "X-Cf-RouterError: unknown_route\r\nContent-Type: text/plain; charset=utf-8\r\n";
    Reply::with_headers(status, headers, b"404 Not Found: Requested route does not exist.\n")
}

fn limited(headers: &str) -> Reply {
    let body = br#"{"errors":[{"detail":"Rate Limit Exceeded","title":"CF-RateLimitExceeded","code":10013}]}"#;
    let headers = format!("Content-Type: text/plain; charset=utf-8\r\n{headers}");
    Reply::with_headers("429 Too Many Requests", &headers, body)
}

#[tokio::test]
async fn a_request_carries_built_headers_only() {
    let cf = ScriptedCf::answering([Reply::json("201 Created", ROUTE)]).await;
    cf.request_client().create_route(&spec()).await.unwrap();
    let request = cf.requests().remove(0).to_lowercase();
    let (head, _) = request.split_once("\r\n\r\n").unwrap();
    let mut names =
        head.lines().skip(1).map(|line| line.split(':').next().unwrap()).collect::<Vec<_>>();
    names.sort_unstable();
    let expected = [
        "accept",
        "accept-encoding",
        "authorization",
        "content-length",
        "content-type",
        "host",
        "traceparent",
        "user-agent",
        "x-vcap-request-id",
    ];
    assert_eq!(names, expected);
}

#[tokio::test]
async fn a_body_is_json_with_a_json_content_type() {
    let cf = ScriptedCf::answering([Reply::json("201 Created", ROUTE)]).await;
    cf.request_client().create_route(&spec()).await.unwrap();
    let request = cf.requests().remove(0);
    assert!(request.contains("content-type: application/json\r\n"));
    assert!(request.ends_with(
        r#"{"host":"acme-app","relationships":{"space":{"data":{"guid":"s1"}},"domain":{"data":{"guid":"d1"}}},"metadata":{"labels":{},"annotations":{}}}"#
    ));
}

#[tokio::test]
async fn after_401_the_call_is_replayed_once_with_a_new_token() {
    let cf = ScriptedCf::answering([invalid_token(), Reply::json("201 Created", ROUTE)]).await;
    let route = cf.request_client().create_route(&spec()).await.unwrap();
    let bodies = cf
        .requests()
        .iter()
        .map(|request| request.split("\r\n\r\n").nth(1).unwrap().to_owned())
        .collect::<Vec<_>>();
    assert_eq!(route.guid, guid("r1"));
    assert!(
        cf.requests()[0].contains("bearer t1\r\n") && cf.requests()[1].contains("bearer t2\r\n")
    );
    assert_eq!(bodies[0], bodies[1]);
}

#[tokio::test]
async fn a_second_401_is_an_error_and_no_third_call() {
    let cf = ScriptedCf::answering([invalid_token(), invalid_token()]).await;
    let error = cf.request_client().route(&guid("r1")).await.unwrap_err();
    assert!(matches!(error, CapiError::Unauthorized { code: Some(1000), .. }));
    assert_eq!(cf.requests().len(), 2);
}

#[tokio::test]
async fn during_the_cooldown_a_401_costs_one_call() {
    let cf = ScriptedCf::answering([invalid_token(), invalid_token(), invalid_token()]).await;
    cf.request_client().route(&guid("r1")).await.unwrap_err();
    cf.request_client().route(&guid("r1")).await.unwrap_err();
    assert_eq!(cf.requests().len(), 3);
}

#[tokio::test]
async fn a_401_about_a_missing_header_renews_nothing() {
    let refused = cf_error("401 Unauthorized", 10002, "Authentication error");
    let cf = ScriptedCf::answering([refused]).await;
    let error = cf.request_client().route(&guid("r1")).await.unwrap_err();
    assert!(matches!(error, CapiError::Unauthorized { code: Some(10002), .. }));
    assert_eq!(cf.requests().len(), 1);
    assert!(cf.metrics.encode().contains(r#"alarms_total{reason="unusable_header"} 1"#));
}

#[tokio::test]
async fn a_429_as_plain_text_pauses_all_calls_of_the_user() {
    let cf = ScriptedCf::answering([limited("Retry-After: 192\r\n")]).await;
    let first = cf.request_client().route(&guid("r1")).await.unwrap_err();
    let second = cf.request_client().route(&guid("r2")).await.unwrap_err();
    let wait = Duration::from_secs(192);
    assert!(matches!(first, CapiError::RateLimited { retry_after } if retry_after == wait));
    assert!(matches!(second, CapiError::RateLimited { retry_after } if retry_after <= wait));
    assert_eq!(cf.requests().len(), 1);
}

#[tokio::test]
async fn a_429_without_retry_after_pauses_for_half_a_minute() {
    let html =
        Reply::with_headers("429 Too Many Requests", "Content-Type: text/html\r\n", b"<html>");
    let cf = ScriptedCf::answering([html]).await;
    let error = cf.request_client().route(&guid("r1")).await.unwrap_err();
    assert_eq!(error.retry_after(), Some(Duration::from_secs(30)));
}

#[tokio::test]
async fn a_router_page_is_no_missing_route() {
    let pages = std::iter::repeat_with(|| router_page("404 Not Found")).take(3);
    let cf = ScriptedCf::answering(pages).await;
    let error = cf.request_client().route(&guid("r1")).await.unwrap_err();
    assert!(matches!(error, CapiError::Unavailable { cause: Unavailability::RouterPage, .. }));
}

#[tokio::test]
async fn an_idempotent_call_is_repeated_after_503() {
    let down = cf_error("503 Service Unavailable", 10015, "Database connection failure");
    let cf = ScriptedCf::answering([down, Reply::json("200 OK", ROUTE)]).await;
    assert!(cf.request_client().route(&guid("r1")).await.unwrap().is_some());
}

/// A list is read whole; the proxy opens the response.
#[rstest]
#[case::hangup(Reply::Hangup)]
#[case::failed(Reply::with_headers("500 Internal Server Error", "", b""))]
#[case::failed_in_cc(cf_error("500 Internal Server Error", 10001, "An unknown error occurred."))]
#[case::router_page(router_page("502 Bad Gateway"))]
#[case::unavailable(cf_error("503 Service Unavailable", 10015, "x"))]
#[case::gateway_timeout(Reply::with_headers("504 Gateway Timeout", "", b""))]
#[case::limited(limited("Retry-After: 1\r\n"))]
#[case::empty(Reply::json("200 OK", ""))]
#[tokio::test]
async fn one_hiccup_of_a_read_is_repeated(
    #[case] reply: Reply,
    #[values(BodyMode::Whole, BodyMode::Streamed)] mode: BodyMode,
) {
    let cf = ScriptedCf::answering([reply, list(&[])]).await;
    let call = Call::new("test", Method::GET, "/v3/spaces");
    let client = cf.request_client();
    let status = match mode {
        BodyMode::Whole => client.send(&call).await.unwrap().status,
        BodyMode::Streamed => client.open(&call).await.unwrap().status,
    };
    assert_eq!((status, cf.calls().len()), (StatusCode::OK, 2));
}

#[rstest]
#[case::not_found(Method::GET, cf_error("404 Not Found", 10010, "x"))]
#[case::no_content(Method::GET, Reply::with_headers("204 No Content", "", b""))]
#[case::head(Method::HEAD, Reply::json("200 OK", ""))]
#[case::delete(Method::DELETE, cf_error("500 Internal Server Error", 10001, "x"))]
#[case::empty_delete(Method::DELETE, Reply::json("200 OK", ""))]
#[tokio::test]
async fn what_is_no_hiccup_is_sent_once(#[case] method: Method, #[case] reply: Reply) {
    let cf = ScriptedCf::answering([reply]).await;
    cf.request_client().send(&Call::new("test", method, "/v3/spaces")).await.unwrap();
    assert_eq!(cf.calls().len(), 1);
}

#[rstest]
#[case::hangup(Reply::Hangup)]
#[case::router_page(router_page("502 Bad Gateway"))]
#[case::unavailable(cf_error("503 Service Unavailable", 10015, "x"))]
#[case::failed(Reply::with_headers("500 Internal Server Error", "", b""))]
#[case::half_a_body(Reply::Bytes(b"HTTP/1.1 201 Created\r\nContent-Length: 500\r\n\r\n{".to_vec()))]
#[tokio::test]
async fn a_create_with_an_unknown_outcome_is_sent_once(#[case] reply: Reply) {
    let cf = ScriptedCf::answering([reply]).await;
    let error = cf.request_client().create_route(&spec()).await.unwrap_err();
    assert!(error.may_have_been_executed(), "{error:?}");
    assert_eq!(cf.requests().len(), 1);
}

#[tokio::test]
async fn a_create_that_is_not_answered_in_time_is_sent_once() {
    let cf = ScriptedCf::with_head_timeout(Duration::from_millis(100), [Reply::Silence]).await;
    let error = cf.request_client().create_route(&spec()).await.unwrap_err();
    assert!(matches!(error, CapiError::Timeout { sent: RequestSent::Maybe }), "{error:?}");
    assert!(error.may_have_been_executed());
    assert_eq!(cf.requests().len(), 1);
}

#[rstest]
#[case::refused(cf_error("422 Unprocessable Entity", 10008, "Route already exists with host"))]
#[case::no_role(cf_error("403 Forbidden", 10003, "x"))]
#[case::limited(limited("Retry-After: 60\r\n"))]
#[tokio::test]
async fn a_create_that_cf_refused_was_not_executed(#[case] reply: Reply) {
    let cf = ScriptedCf::answering([reply]).await;
    let error = cf.request_client().create_route(&spec()).await.unwrap_err();
    assert!(!error.may_have_been_executed());
}

#[tokio::test]
async fn pages_are_followed_by_path_and_query_whatever_their_host() {
    let first = r#"{"pagination":{"total_results":2,"next":{"href":"https://api.elsewhere.test/v3/spaces?page=2\u0026names=a%252Cb"}},
        "resources":[{"guid":"s1","name":"dev","relationships":{"organization":{"data":{"guid":"o1"}}}}],
        "included":{"organizations":[{"guid":"o1","name":"org"}]}}"#;
    let cf = ScriptedCf::answering([
        Reply::json("200 OK", first),
        list(&[r#"{"guid":"s2","name":"prod"}"#]),
    ])
    .await;
    let spaces = cf.request_client().spaces().await.unwrap();
    assert_eq!(cf.calls()[1], "GET /v3/spaces?page=2&names=a%252Cb");
    assert_eq!(spaces.len(), 2);
    assert_eq!(spaces[0].organization.as_ref().unwrap().name, "org");
}

#[tokio::test]
async fn later_pages_are_read_side_by_side_and_a_list_that_grew_to_its_end() {
    let page = |next: &str, space: &str| {
        let body = format!(
            r#"{{"pagination":{{"total_pages":3,"next":{next}}},"resources":[{{"guid":"{space}"}}]}}"#
        );
        Reply::json("200 OK", &body)
    };
    let grown = r#"{"href":"https://api.test/v3/spaces?page=4"}"#;
    let replies = [page(grown, "s1"), page(grown, "s2"), page(grown, "s3"), page("null", "s4")];
    let cf = ScriptedCf::answering(replies).await;
    let spaces = cf.request_client().spaces().await.unwrap();
    assert_eq!((spaces.len(), spaces[3].space.guid.as_str()), (4, "s4"));
    let mut calls = cf.calls();
    let first = "GET /v3/spaces?include=organization&order_by=name&per_page=1000";
    assert_eq!((calls.len(), calls[0].as_str()), (4, first));
    calls[1..3].sort();
    assert_eq!(calls[1..3], [format!("{first}&page=2"), format!("{first}&page=3")]);
    assert_eq!(calls[3], "GET /v3/spaces?page=4");
}

#[tokio::test]
async fn a_list_of_too_many_pages_is_not_read() {
    let page = r#"{"pagination":{"total_pages":101},"resources":[]}"#;
    let cf = ScriptedCf::answering([Reply::json("200 OK", page)]).await;
    assert!(matches!(cf.request_client().spaces().await, Err(CapiError::Unreadable { .. })));
    assert_eq!(cf.calls().len(), 1);
}

#[rstest]
#[case::other_path("https://api.test/v2/info")]
#[case::no_url("page two")]
#[tokio::test]
async fn a_next_page_outside_of_v3_ends_the_list(#[case] href: &str) {
    let page = format!(r#"{{"pagination":{{"next":{{"href":"{href}"}}}},"resources":[]}}"#);
    let cf = ScriptedCf::answering([Reply::json("200 OK", &page)]).await;
    assert!(matches!(cf.request_client().spaces().await, Err(CapiError::Unreadable { .. })));
}

#[tokio::test]
async fn a_host_is_found_without_its_path_routes() {
    let cf = ScriptedCf::answering([list(&[ROUTE])]).await;
    cf.request_client().find_route(&guid("d1"), "acme-app").await.unwrap();
    assert_eq!(cf.calls(), ["GET /v3/routes?hosts=acme-app&paths=&domain_guids=d1&per_page=1000"]);
}

#[tokio::test]
async fn a_delete_names_its_job_by_the_path_of_location() {
    let cf = ScriptedCf::answering([accepted("j1")]).await;
    let deletion = cf.request_client().delete_route(&guid("r1")).await.unwrap();
    assert_eq!(deletion, Deletion::Job(guid("j1")));
}

#[tokio::test]
async fn a_delete_of_a_missing_route_is_done() {
    let cf = ScriptedCf::answering([cf_error("404 Not Found", 10010, "Route not found")]).await;
    assert_eq!(cf.request_client().delete_route(&guid("r1")).await.unwrap(), Deletion::Gone);
}

#[tokio::test]
async fn a_job_is_polled_until_it_is_complete() {
    let cf = ScriptedCf::answering([job("PROCESSING"), job("COMPLETE")]).await;
    let end = Instant::now() + Duration::from_secs(10);
    let outcome =
        cf.request_client().await_job(&guid("j1"), &mut Pace::default(), end).await.unwrap();
    assert_eq!(outcome, JobOutcome::Complete);
    assert_eq!(cf.calls().len(), 2);
}

#[tokio::test]
async fn a_job_that_still_runs_is_reported_at_the_end() {
    let cf = ScriptedCf::answering([job("PROCESSING")]).await;
    let now = Instant::now();
    let outcome =
        cf.request_client().await_job(&guid("j1"), &mut Pace::default(), now).await.unwrap();
    assert_eq!(outcome, JobOutcome::Running);
}

#[tokio::test]
async fn a_failed_job_has_its_errors() {
    let body = r#"{"guid":"j1","state":"FAILED","errors":[{"detail":"x","title":"CF-JobTimeout","code":290006}]}"#;
    let cf = ScriptedCf::answering([Reply::json("200 OK", body)]).await;
    let outcome = cf.request_client().job(&guid("j1")).await.unwrap();
    assert!(matches!(outcome, JobOutcome::Failed(errors) if errors.code() == Some(290_006)));
}

#[tokio::test(start_paused = true)]
async fn polls_are_a_quarter_of_a_second_doubling_to_two_apart() {
    let (mut pace, begun) = (Pace::default(), Instant::now());
    let end = begun + Duration::from_secs(8);
    let mut moments = Vec::new();
    while pace.pause(end).await == Turn::Next {
        moments.push(begun.elapsed().as_millis());
    }
    assert_eq!(moments, [250, 750, 1750, 3750, 5750, 7750, 8000]);
}

#[tokio::test]
async fn a_map_that_answers_500_is_checked_and_repeated() {
    let failed = cf_error("500 Internal Server Error", 10001, "An unknown error occurred.");
    let none = Reply::json("200 OK", r#"{"destinations":[]}"#);
    let mapped = Reply::json("200 OK", r#"{"destinations":[{"guid":"t1","app":{"guid":"a1"}}]}"#);
    let cf = ScriptedCf::answering([failed, none, mapped]).await;
    cf.request_client().map_route(&guid("r1"), &guid("a1")).await.unwrap();
    let path = "/v3/routes/r1/destinations";
    assert_eq!(cf.calls(), [format!("POST {path}"), format!("GET {path}"), format!("POST {path}")]);
}

#[tokio::test]
async fn a_map_that_took_effect_is_not_repeated() {
    let mapped = Reply::json("200 OK", r#"{"destinations":[{"guid":"t1","app":{"guid":"a1"}}]}"#);
    let cf = ScriptedCf::answering([Reply::Hangup, mapped]).await;
    cf.request_client().map_route(&guid("r1"), &guid("a1")).await.unwrap();
    assert_eq!(cf.calls().len(), 2);
}

#[tokio::test]
async fn unmapping_a_missing_target_is_a_success() {
    let refused = cf_error(
        "422 Unprocessable Entity",
        10008,
        "Unable to unmap route from destination. Ensure the route has a destination with this guid.",
    );
    let none = Reply::json("200 OK", r#"{"destinations":[]}"#);
    let cf = ScriptedCf::answering([refused, none]).await;
    assert!(cf.request_client().unmap_route(&guid("r1"), &guid("t1")).await.is_ok());
}

#[tokio::test]
async fn names_are_resolved_once() {
    let app = r#"{"guid":"a1","name":"my-app","state":"STARTED"}"#;
    let cf = ScriptedCf::answering([list(&[app])]).await;
    let request_client = cf.request_client();
    request_client.app(&guid("s1"), "my-app").await.unwrap();
    request_client.app(&guid("s1"), "my-app").await.unwrap();
    assert_eq!(cf.calls(), ["GET /v3/apps?names=my-app&space_guids=s1"]);
}

#[tokio::test]
async fn an_absent_app_is_not_cached() {
    let cf = ScriptedCf::answering([list(&[]), list(&[])]).await;
    let request_client = cf.request_client();
    request_client.app(&guid("s1"), "my-app").await.unwrap();
    request_client.app(&guid("s1"), "my-app").await.unwrap();
    assert_eq!(cf.calls().len(), 2);
}

#[tokio::test]
async fn a_removed_name_is_read_again() {
    let app = r#"{"guid":"a1","name":"my-app"}"#;
    let cf = ScriptedCf::answering([list(&[app]), list(&[app])]).await;
    let request_client = cf.request_client();
    request_client.app(&guid("s1"), "my-app").await.unwrap();
    request_client.forget_app(&guid("s1"), "my-app").await;
    request_client.app(&guid("s1"), "my-app").await.unwrap();
    assert_eq!(cf.calls().len(), 2);
}

#[tokio::test]
async fn a_200_without_json_is_unreadable() {
    let page = Reply::with_headers("200 OK", "Content-Type: text/html\r\n", b"<html>login</html>");
    let cf = ScriptedCf::answering([page]).await;
    assert!(matches!(
        cf.request_client().route(&guid("r1")).await,
        Err(CapiError::Unreadable { .. })
    ));
}

#[tokio::test]
async fn a_mutation_continues_when_its_caller_leaves() {
    let cf = ScriptedCf::answering([Reply::json("201 Created", ROUTE)]).await;
    let request_client = cf.request_client();
    let spec = spec();
    let mut sending = Box::pin(request_client.create_route(&spec));
    // One poll starts the task; then the caller leaves.
    assert!(futures_pending(&mut sending).await);
    drop(sending);
    cf.tasks.close();
    cf.tasks.wait().await;
    assert_eq!(cf.calls(), ["POST /v3/routes"]);
}

/// Polls a future once; returns whether it is pending.
async fn futures_pending<F: Future + Unpin>(future: &mut F) -> bool {
    std::future::poll_fn(|context| {
        let polled = std::pin::Pin::new(&mut *future).poll(context);
        std::task::Poll::Ready(polled.is_pending())
    })
    .await
}

#[tokio::test]
async fn a_target_that_parsing_would_change_is_an_alarm_and_no_call() {
    let cf = ScriptedCf::answering([]).await;
    let call = Call::new("test", Method::GET, "/v3/../v2/info");
    let error = cf.request_client().send(&call).await.unwrap_err();
    assert!(matches!(error, CapiError::Internal("target_mismatch")), "{error:?}");
    assert!(cf.calls().is_empty());
    assert!(cf.metrics.encode().contains(r#"alarms_total{reason="target_mismatch"} 1"#));
}

fn bytes(text: &str) -> Reply {
    Reply::Bytes(text.into())
}

#[rstest]
#[case::many_headers(Reply::with_headers("200 OK", &"X: y\r\n".repeat(105), b"{}"))]
#[case::two_lengths(bytes("HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab"))]
#[case::large_head(Reply::with_headers("200 OK", &format!("X: {}\r\n", "x".repeat(70_000)), b"{}"))]
#[case::error_cut_short(bytes("HTTP/1.1 503 No\r\nContent-Length: 9\r\n\r\nabc"))]
#[tokio::test]
async fn an_invalid_response_is_not_asked_for_again(#[case] reply: Reply) {
    let cf = ScriptedCf::answering([reply, Reply::json("200 OK", ROUTE)]).await;
    let call = Call::new("test", Method::GET, "/v3/apps");
    let error = cf.request_client().open(&call).await.unwrap_err();
    assert!(matches!(error, CapiError::Unreadable { .. }), "{error:?}");
    assert_eq!(cf.calls().len(), 1);
}

#[tokio::test]
async fn a_body_that_breaks_off_is_an_unreadable_answer() {
    let cf =
        ScriptedCf::answering([bytes("HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nabc")]).await;
    let call = Call::new("test", Method::GET, "/v3/apps");
    let opened = cf.request_client().open(&call).await.unwrap();
    let error = opened.body.collect().await.unwrap_err();
    assert!(matches!(error, CapiError::Unreadable { .. }), "{error:?}");
}

#[tokio::test]
async fn the_answer_to_a_write_is_read_up_to_a_mebibyte() {
    let reply = |length: usize| Reply::with_headers("200 OK", "", &vec![b'x'; length]);
    let cf = ScriptedCf::answering([reply(1024 * 1024), reply(1024 * 1024 + 1)]).await;
    let call = Call::new("test", Method::POST, "/v3/routes").with_cap(10 * 1024 * 1024);
    assert!(cf.request_client().send(&call).await.is_ok());
    let error = cf.request_client().send(&call).await.unwrap_err();
    assert!(matches!(error, CapiError::Unreadable { .. }), "{error:?}");
}

#[tokio::test]
async fn a_call_that_is_never_repeated_goes_out_once() {
    let unavailable = || cf_error("503 Service Unavailable", 10015, "x");
    let cf = ScriptedCf::answering([unavailable(), unavailable()]).await;
    let call = Call::new("test", Method::DELETE, "/v3/routes/r1").never_repeated();
    assert_eq!(cf.request_client().send(&call).await.unwrap().status, 503);
    assert_eq!(cf.calls().len(), 1);
}

/// A caller can make CC answer 500, but cannot break CC's database.
#[rstest]
#[case::with_an_error_of_cc(
    cf_error("500 Internal Server Error", 10001, "An unknown error occurred."),
    true
)]
#[case::without_a_body(Reply::with_headers("500 Internal Server Error", "", b""), false)]
#[tokio::test]
async fn only_a_500_without_an_error_of_cc_opens_the_breaker(
    #[case] reply: Reply,
    #[case] stays_closed: bool,
) {
    let cf = ScriptedCf::answering(vec![reply; 13]).await;
    for _ in 0..12 {
        let call = Call::new("test", Method::POST, "/v3/routes");
        drop(cf.request_client().send(&call).await);
    }
    let other = cf.request_client().send(&Call::new("test", Method::POST, "/v3/routes")).await;
    assert_eq!(other.is_ok(), stays_closed, "{other:?}");
}

#[tokio::test]
async fn all_destinations_of_an_api_share_its_permits_and_its_breaker() {
    let cf = ScriptedCf::answering([]).await;
    let api_state = |name: &str| cf.client.api_state(&DestinationName::parse(name).unwrap());
    let api = |text: &str| Url::parse(text).unwrap();
    let (one, same, other) =
        (api("https://api.cf.test"), api("https://API.cf.test:443/"), api("https://api.cf2.test"));
    for _ in 0..5 {
        api_state("A").endpoint(&one).gate.enter().await.unwrap().failed(FailureKind::Connect);
    }
    assert!(api_state("B").endpoint(&same).gate.enter().await.is_err());
    assert!(api_state("B").endpoint(&other).gate.enter().await.is_ok());
    api_state("B").endpoint(&one);
    assert!(
        api_state("B").endpoint(&one).gate.enter().await.is_err(),
        "the last one is remembered"
    );
}

#[tokio::test]
async fn a_discarded_body_counts_as_a_success() {
    let head = "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n";
    let cf = ScriptedCf::answering([bytes(head)]).await;
    let opened =
        cf.request_client().open(&Call::new("test", Method::HEAD, "/v3/apps")).await.unwrap();
    let endpoint = cf.request_client().api_state.endpoint(opened.api());
    for _ in 0..4 {
        endpoint.gate.enter().await.unwrap().failed(FailureKind::Connect);
    }
    opened.body.discard();
    endpoint.gate.enter().await.unwrap().failed(FailureKind::Connect);
    assert!(endpoint.gate.enter().await.is_ok());
}

#[tokio::test]
async fn the_external_name_of_the_api_is_known_to_later_responses() {
    let root = r#"{"links":{"self":{"href":"https://cf.alias.test"},"cloud_controller_v3":{"href":"x","meta":{"version":"3.200.0"}},"credhub":null}}"#;
    let page = || Reply::json("200 OK", "{}");
    let cf = ScriptedCf::answering([page(), Reply::json("200 OK", root), page()]).await;
    let call = Call::new("test", Method::GET, "/v3/apps");
    let first = cf.request_client().open(&call).await.unwrap();
    assert_eq!(first.external(), None);
    cf.request_client().learn_version();
    cf.tasks.close();
    cf.tasks.wait().await;
    assert_eq!(cf.client.version().as_deref(), Some("3.200.0"));
    let second = cf.request_client().open(&call).await.unwrap();
    assert_eq!(second.external().map(Url::as_str), Some("https://cf.alias.test/"));
    cf.request_client().learn_version();
    assert_eq!(cf.calls().len(), 3, "it is known for an hour");
}

#[rstest]
#[case::the_second_time(&["race", "route", "route"], "Ok(Some(r1))", 3)]
#[case::never(&["race", "route", "race"], "10016", 3)]
#[case::gone_meanwhile(&["race", "missing"], "Ok(None)", 2)]
#[tokio::test]
async fn a_label_that_races_with_another_is_set_again_after_a_read(
    #[case] words: &[&str],
    #[case] expected: &str,
    #[case] calls: usize,
) {
    let reply = |word: &&str| match *word {
        "race" => cf_error("422 Unprocessable Entity", 10016, "x"),
        "missing" => cf_error("404 Not Found", 10010, "Route not found"),
        _ => Reply::json("200 OK", r#"{"guid":"r1","host":"h"}"#),
    };
    let cf = ScriptedCf::answering(words.iter().map(reply)).await;
    let labelled = cf
        .request_client()
        .label_route(&Guid::parse("r1").unwrap(), &RouteMetadata::default())
        .await;
    let outcome = match labelled {
        Ok(route) => {
            format!("Ok({})", route.map_or("None".to_owned(), |r| format!("Some({})", r.guid)))
        }
        Err(error) => error.code().unwrap_or_default().to_string(),
    };
    assert_eq!(outcome, expected);
    let (patch, read) = ("PATCH /v3/routes/r1", "GET /v3/routes/r1");
    assert_eq!(cf.calls(), [patch, read, patch][..calls]);
}

#[tokio::test]
async fn the_condition_of_an_api_is_that_of_the_last_call() {
    let headers = "content-type: application/json\r\nx-ratelimit-limit: 1000\r\nx-ratelimit-remaining: 900\r\n";
    let served = Reply::with_headers("201 Created", headers, ROUTE.as_bytes());
    let waiting = limited("retry-after: 60\r\n");
    let cf = ScriptedCf::answering([served, router_page("404 Not Found"), waiting]).await;
    let destination = cf.request_client().destination().clone();
    let condition = || cf.client.condition(&destination);
    assert_eq!(condition(), ApiCondition::default());
    cf.request_client().create_route(&spec()).await.unwrap();
    let calls_left = Some(CallsLeft { remaining: 900, limit: 1000 });
    let answers = ApiCondition { is_answering: Some(true), calls_left, paused_for: None };
    assert_eq!(condition(), answers);
    cf.request_client().create_route(&spec()).await.unwrap_err();
    assert_eq!(condition(), ApiCondition { is_answering: Some(false), ..answers });
    cf.request_client().create_route(&spec()).await.unwrap_err();
    let left = condition().paused_for.unwrap();
    assert!((59..=60).contains(&left.as_secs()), "{left:?}");
}
