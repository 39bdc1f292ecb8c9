use super::{
    CapiError, Unauthenticated, intercepted, is_about_the_request, limits_the_user, success,
    unauthenticated,
};
use crate::{capi::Unavailability, upstream::HttpResponse};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use rstest::rstest;
use tokio::time::Instant;

const JSON: &str = "application/json; charset=utf-8";
const HTML: &str = "text/html";
const TEXT: &str = "text/plain; charset=utf-8";

fn answer(status: u16, headers: &[(&str, &str)], body: &str) -> HttpResponse {
    let pairs = headers.iter().map(|(name, value)| {
        let name = HeaderName::from_bytes(name.as_bytes()).unwrap();
        (name, HeaderValue::from_str(value).unwrap())
    });
    HttpResponse {
        status: StatusCode::from_u16(status).unwrap(),
        headers: pairs.collect::<HeaderMap>(),
        body: body.as_bytes().to_vec().into(),
        sent_at: Instant::now(),
    }
}

fn cf(code: u32, detail: &str) -> String {
    format!(r#"{{"errors":[{{"detail":"{detail}","title":"CF-X","code":{code}}}]}}"#)
}

/// The name of the variant, for the tables below.
fn kind(status: u16, headers: &[(&str, &str)], body: &str) -> &'static str {
    match success(&answer(status, headers, body)) {
        Ok(_) => "success",
        Err(CapiError::LacksRole(_)) => "lacks role",
        Err(CapiError::NotFound(_)) => "not found",
        Err(CapiError::Refused(_)) => "refused",
        Err(CapiError::Failed(_)) => "failed",
        Err(CapiError::RateLimited { .. }) => "rate limited",
        Err(CapiError::Unavailable { cause: Unavailability::RouterPage, .. }) => "router page",
        Err(CapiError::Unavailable { .. }) => "unavailable",
        Err(CapiError::Unreadable { .. }) => "unreadable",
        Err(CapiError::Token(_) | CapiError::Unauthorized { .. }) => "token",
        Err(CapiError::Timeout { .. } | CapiError::Internal(_)) => "other",
    }
}

#[rstest]
#[case::lacks_role(403, JSON, &cf(10003, "x"), "lacks role")]
#[case::suspended(403, JSON, &cf(10017, "x"), "refused")]
#[case::feature_disabled(403, JSON, &cf(330_002, "x"), "refused")]
#[case::not_found(404, JSON, &cf(10010, "Route not found"), "not found")]
#[case::unknown_endpoint(404, JSON, &cf(10000, "Unknown request"), "refused")]
#[case::unprocessable(422, JSON, &cf(10008, "x"), "refused")]
#[case::bad_request_without_body(400, "", "", "refused")]
#[case::rate_limit(429, TEXT, &cf(10013, "Rate Limit Exceeded"), "rate limited")]
#[case::rate_limit_null_body(429, TEXT, "null", "rate limited")]
#[case::rate_limit_of_nginx(429, HTML, "<html>", "rate limited")]
#[case::unknown_error(
    500,
    JSON,
    r#"{"errors":[{"title":"UnknownError","detail":"x","code":10001}]}"#,
    "failed"
)]
#[case::failed_without_body(500, "", "", "failed")]
#[case::failed_as_text(500, TEXT, "500 Internal Server Error", "failed")]
#[case::bad_gateway_of_cc(502, "", &cf(20004, "x"), "unavailable")]
#[case::unavailable_of_cc(503, JSON, &cf(10015, "x"), "unavailable")]
#[case::gateway_page(504, HTML, "<html>", "router page")]
#[case::too_large_page(413, HTML, "<html>", "refused")]
#[case::html_404_of_a_proxy(404, HTML, "<html>", "router page")]
#[case::redirect(302, HTML, "", "unreadable")]
#[case::accepted_delete(202, HTML, "", "success")]
fn each_response_has_its_error(
    #[case] status: u16,
    #[case] content_type: &str,
    #[case] body: &str,
    #[case] expected: &str,
) {
    assert_eq!(kind(status, &[("content-type", content_type)], body), expected);
}

#[rstest]
#[case::not_found(404, false)]
#[case::size(413, false)]
#[case::failed(500, false)]
#[case::limit(429, true)]
#[case::gateway(502, true)]
#[case::unavailable(503, true)]
#[case::gateway_time(504, true)]
fn only_error_pages_about_the_service_are_held_back(#[case] status: u16, #[case] held: bool) {
    let answer = answer(status, &[("content-type", HTML)], "<html>");
    assert_eq!(intercepted(answer.status, &answer.headers).is_some(), held);
}

#[rstest]
#[case::of_cc(500, &[], &cf(10001, "An unknown error occurred."), true)]
#[case::empty(500, &[], "", false)]
#[case::text(500, &[], "500 Internal Server Error", false)]
#[case::unavailable(503, &[], &cf(10015, "x"), false)]
#[case::router(500, &[("x-cf-routererror", "x")], &cf(10001, "x"), false)]
fn a_500_with_an_error_of_cc_is_about_the_request(
    #[case] status: u16,
    #[case] headers: &[(&str, &str)],
    #[case] body: &str,
    #[case] expected: bool,
) {
    assert_eq!(is_about_the_request(&answer(status, headers, body)), expected);
}

#[rstest]
#[case::unknown_route(404, "unknown_route")]
#[case::bad_request(400, "bad_host")]
#[case::no_endpoints(503, "no_endpoints")]
#[case::endpoint_failure(502, "endpoint_failure")]
#[case::handshake(525, "tls")]
fn a_router_page_is_never_an_answer_about_a_route(#[case] status: u16, #[case] error: &str) {
    let headers = [("x-cf-routererror", error), ("content-type", TEXT)];
    assert_eq!(
        kind(status, &headers, "404 Not Found: Requested route does not exist."),
        "router page"
    );
}

#[rstest]
#[case::invalid(&cf(1000, "Invalid Auth Token"), Unauthenticated::Renew)]
#[case::head("", Unauthenticated::Renew)]
#[case::junk("<html>", Unauthenticated::Renew)]
#[case::no_header(&cf(10002, "Authentication error"), Unauthenticated::Bug)]
fn a_401_renews_unless_the_header_was_missing(
    #[case] body: &str,
    #[case] expected: Unauthenticated,
) {
    assert_eq!(unauthenticated(&answer(401, &[], body)).0, expected);
}

#[rstest]
#[case::user(&cf(10013, "x"), true)]
#[case::literal_null("null", true)]
#[case::service_broker(&cf(10016, "x"), false)]
#[case::uaa(&cf(20008, "x"), false)]
fn only_the_users_own_limit_pauses_the_user(#[case] body: &str, #[case] pauses: bool) {
    assert_eq!(limits_the_user(&answer(429, &[("content-type", TEXT)], body)), pauses);
}
