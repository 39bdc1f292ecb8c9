//! Every row of the fault table with its exact bytes (`docs/reference/uaa-faults.md`).

use super::{ActionCode, Fault, FaultKind, IdTokenFault};
use crate::oauth::grant::GrantKind;
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use rstest::rstest;
use std::time::Duration;

fn classified(status: u16, headers: &[(&str, &str)], body: &str, grant: GrantKind) -> Fault {
    let headers: HeaderMap = headers
        .iter()
        .map(|(name, value)| {
            let name: HeaderName = name.parse().unwrap();
            (name, HeaderValue::from_str(value).unwrap())
        })
        .collect();
    let status = StatusCode::from_u16(status).unwrap();
    Fault::classify(status, &headers, body.as_bytes(), grant, &[])
}

fn password(status: u16, body: &str) -> Fault {
    classified(status, &[], body, GrantKind::Password)
}

/// UAA's form.
fn said(code: &str, description: &str) -> String {
    let description = description.replace('\\', r"\\").replace('"', "\\\"");
    format!(r#"{{"error":"{code}","error_description":"{description}"}}"#)
}

/// UAA's form around the provider's.
fn provider_said(code: &str, text: &str) -> String {
    said(code, &said("invalid_grant", text))
}

#[test]
fn f2_has_its_exact_bytes() {
    let bytes = r#"{"error":"invalid_client","error_description":"{\"error\":\"invalid_grant\",\"error_description\":\"User authentication failed: Unauthorized\"}"}"#;
    let text = "User authentication failed: Unauthorized";
    assert_eq!(provider_said("invalid_client", text), bytes);
}

#[rstest]
#[case::f1("Bad credentials", FaultKind::BadCredentials)]
#[case::f4(
    "Your account has been locked because of too many failed attempts to login.",
    FaultKind::UaaLocked
)]
#[case::f5(
    "password change required",
    FaultKind::ActionRequired(ActionCode::PasswordChangeRequired)
)]
#[case::f8(
    "The origin provided in the login_hint does not match an active Identity Provider, that supports password grant.",
    FaultKind::OriginUnknown
)]
#[case::f9(
    "Client is not authorized for specified user's identity provider.",
    FaultKind::ProviderNotAllowed
)]
#[case::f10_several(
    "The client is authorized for multiple identity providers that support password grant and could not determine which identity provider to use.",
    FaultKind::OriginMissing
)]
#[case::f10_none(
    "The client is not authorized for any identity provider that supports password grant.",
    FaultKind::NoProvider
)]
#[case::f11_id_token(
    "Could not obtain id_token from external OpenID Connect provider.",
    FaultKind::TrustIncomplete
)]
#[case::f11_field("Request is missing username or password.", FaultKind::FieldMissing)]
#[case::f11_password("No password supplied", FaultKind::FieldMissing)]
#[case::f11_party(
    "External OpenID Connect provider configuration is missing relyingPartyId.",
    FaultKind::TrustIncomplete
)]
#[case::f11_secret(
    "External OpenID Connect provider configuration is missing relyingPartySecret, jwtClientAuthentication or authMethod.",
    FaultKind::TrustIncomplete
)]
#[case::f12(
    "The user account must be pre-created. Please contact your system administrator.",
    FaultKind::UserNotCreated
)]
#[case::f13(
    "Unable to map issuer, https://acme.accounts.example.com , to a single registered provider",
    FaultKind::IssuerMismatch
)]
#[case::f16("Unauthorized grant type", FaultKind::GrantNotAllowed)]
#[case::nested_text("User authentication failed: PASSWORD_LOCKED", FaultKind::ProviderLocked)]
#[case::client_missing("Missing credentials", FaultKind::ClientRejected)]
#[case::client_failed("Client authentication failed", FaultKind::ClientRejected)]
#[case::client_absent("No client authentication found.", FaultKind::ClientRejected)]
#[case::client_unknown("Client with requested ID does not exist: cf", FaultKind::ClientRejected)]
#[case::client_other(
    "Given client ID does not match authenticated client",
    FaultKind::ClientRejected
)]
#[case::client_basic("Invalid basic authentication token", FaultKind::ClientRejected)]
#[case::client_base64("Failed to decode basic authentication token", FaultKind::ClientRejected)]
#[case::client_percent("Failed to URL Decode credentials", FaultKind::ClientRejected)]
#[case::client_unseen(
    "An Authentication object was not found in the SecurityContext",
    FaultKind::ClientRejected
)]
#[case::assertion_missing(
    "Assertion is missing",
    FaultKind::IdTokenRejected(IdTokenFault::Missing)
)]
#[case::assertion_empty(
    "Unable to decode expected id_token",
    FaultKind::IdTokenRejected(IdTokenFault::Unreadable)
)]
#[case::bare_phrase("User authentication failed: Unauthorized", FaultKind::RejectedByProvider)]
#[case::provider_s_page(
    "<!doctype html><html><body>404 Not Found</body></html>",
    FaultKind::UnknownRefusal
)]
#[case::unknown("Something new", FaultKind::UnknownRefusal)]
#[case::only_inside("It says: Unauthorized grant type", FaultKind::UnknownRefusal)]
#[case::other_case("UNAUTHORIZED GRANT TYPE", FaultKind::UnknownRefusal)]
#[case::empty("", FaultKind::UnknownRefusal)]
fn descriptions_mean_the_same_with_both_codes(
    #[case] description: &str,
    #[case] kind: FaultKind,
    #[values("invalid_client", "unauthorized")] code: &str,
) {
    let fault = password(401, &said(code, description));
    assert_eq!((fault.kind, fault.retry_after), (kind, None));
    assert_eq!(fault.error.as_deref(), Some(code));
}

#[rstest]
#[case::f2("Unauthorized", FaultKind::RejectedByProvider)]
#[case::f3("PASSWORD_LOCKED", FaultKind::ProviderLocked)]
#[case::f6(
    "PASSWORD_CHANGE_REQUIRED",
    FaultKind::ActionRequired(ActionCode::PasswordChangeRequired)
)]
#[case::f6("PASSWORD_RESET_REQUIRED", FaultKind::ActionRequired(ActionCode::PasswordResetRequired))]
#[case::f6(
    "INITIAL_PASSWORD_EXPIRED",
    FaultKind::ActionRequired(ActionCode::InitialPasswordExpired)
)]
#[case::f6("PASSWORD_DISABLED", FaultKind::ActionRequired(ActionCode::PasswordDisabled))]
#[case::f6("USER_INACTIVE", FaultKind::ActionRequired(ActionCode::UserInactive))]
#[case::f6("MAIL_NOT_VERIFIED", FaultKind::ActionRequired(ActionCode::MailNotVerified))]
#[case::f6("RBA_RULE_ACTION_DENY", FaultKind::ActionRequired(ActionCode::RiskRuleDenied))]
#[case::f7("INVALID_AUTHORIZATION_HEADER_LENGTH", FaultKind::SecondFactor)]
#[case::f7("INVALID_OTP_CODE", FaultKind::SecondFactor)]
#[case::unknown("SOMETHING_NEW", FaultKind::UnknownRefusal)]
#[case::with_full_stop("PASSWORD_LOCKED.", FaultKind::ProviderLocked)]
#[case::with_rest("PASSWORD_LOCKED for 60 minutes", FaultKind::ProviderLocked)]
fn the_providers_word_is_found_in_uaas_envelope(
    #[case] word: &str,
    #[case] kind: FaultKind,
    #[values("invalid_client", "unauthorized")] code: &str,
) {
    let text = format!("User authentication failed: {word}");
    let fault = password(401, &provider_said(code, &text));
    assert_eq!((fault.kind, fault.excerpt), (kind, Some(text)));
}

#[rstest]
#[case::ends_with_the_word("The user is PASSWORD_LOCKED", FaultKind::ProviderLocked)]
#[case::another_text("Too many requests", FaultKind::UnknownRefusal)]
#[case::text_of_a_row("Unauthorized grant type", FaultKind::UnknownRefusal)]
#[case::keycloak("Invalid user credentials", FaultKind::RejectedByProvider)]
#[case::another_uaa("Bad credentials", FaultKind::RejectedByProvider)]
#[case::empty("", FaultKind::RejectedByProvider)]
fn a_provider_answer_without_the_phrase_is_a_refusal(#[case] text: &str, #[case] kind: FaultKind) {
    assert_eq!(password(401, &provider_said("invalid_client", text)).kind, kind);
}

#[rstest]
#[case::grant("invalid_grant", FaultKind::RejectedByProvider)]
#[case::limited("too_many_requests", FaultKind::ProviderUnavailable)]
#[case::slow("slow_down", FaultKind::ProviderUnavailable)]
#[case::later("temporarily_unavailable", FaultKind::ProviderUnavailable)]
#[case::broken("server_error", FaultKind::ProviderUnavailable)]
#[case::trust("invalid_client", FaultKind::TrustIncomplete)]
#[case::trust_grant("unauthorized_client", FaultKind::TrustIncomplete)]
#[case::trust_scope("invalid_scope", FaultKind::TrustIncomplete)]
#[case::other("access_denied", FaultKind::UnknownRefusal)]
fn a_provider_answer_with_only_a_code_is_read_by_its_code(
    #[case] code: &str,
    #[case] kind: FaultKind,
    #[values(r#"{"error":"_"}"#, r#"{"error": "_"}"#, "{&quot;error&quot;: &quot;_&quot;}")]
    form: &str,
) {
    let fault = password(401, &said("invalid_client", &form.replace('_', code)));
    assert_eq!((fault.kind, fault.excerpt.as_deref()), (kind, Some(code)));
}

/// UAA before 77.9 escapes its descriptions.
fn escaped(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('"', "&quot;")
        .replace('\'', "&#39;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
}

#[rstest]
#[case::f3(
    r#"{"error":"invalid_grant","error_description":"User authentication failed: PASSWORD_LOCKED"}"#,
    FaultKind::ProviderLocked
)]
#[case::f2(
    r#"{"error":"invalid_grant","error_description":"User authentication failed: Unauthorized"}"#,
    FaultKind::RejectedByProvider
)]
#[case::f7(
    r#"{"error":"invalid_grant","error_description":"User authentication failed: INVALID_OTP_CODE"}"#,
    FaultKind::SecondFactor
)]
#[case::f9(
    "Client is not authorized for specified user's identity provider.",
    FaultKind::ProviderNotAllowed
)]
#[case::html("<html>404</html>", FaultKind::UnknownRefusal)]
fn escapes_of_html_are_removed_once(
    #[case] description: &str,
    #[case] kind: FaultKind,
    #[values("invalid_client", "unauthorized")] code: &str,
) {
    let plain = password(401, &said(code, description));
    let fault = password(401, &said(code, &escaped(description)));
    assert_eq!((fault.kind, fault.excerpt), (kind, plain.excerpt));
}

#[test]
fn only_one_layer_of_escapes_is_removed() {
    let fault = password(401, &said("invalid_client", &escaped("a &lt; &#39;b&#39; &amp; c")));
    assert_eq!(fault.excerpt.as_deref(), Some("a &lt; &#39;b&#39; &amp; c"));
}

#[test]
fn every_action_code_prints_the_providers_word() {
    for word in [
        "PASSWORD_CHANGE_REQUIRED",
        "PASSWORD_RESET_REQUIRED",
        "INITIAL_PASSWORD_EXPIRED",
        "PASSWORD_DISABLED",
        "USER_INACTIVE",
        "MAIL_NOT_VERIFIED",
        "RBA_RULE_ACTION_DENY",
    ] {
        let text = format!("User authentication failed: {word}");
        let kind = password(401, &provider_said("invalid_client", &text)).kind;
        assert!(matches!(kind, FaultKind::ActionRequired(action) if action.code() == word));
    }
}

#[rstest]
#[case::f14(403, said("access_denied", "Account not verified"), FaultKind::NotVerified)]
#[case::f17_scopes(
    400,
    said(
        "invalid_scope",
        "[cloud_controller.read, x] is invalid. This user is not allowed any of the requested scopes"
    ),
    FaultKind::NoScopes
)]
#[case::f17_groups(
    400,
    said("invalid_scope", "User does not meet the client's required group criteria."),
    FaultKind::NoScopes
)]
#[case::f17_escaped(
    400,
    said("invalid_scope", "User does not meet the client&#39;s required group criteria."),
    FaultKind::NoScopes
)]
#[case::scope_unknown(
    400,
    said("invalid_scope", "[x] is invalid. Please use a valid scope name in the request"),
    FaultKind::ScopeUnknown
)]
#[case::csrf(
    403,
    r#"{"error":"Could not verify the provided CSRF token because no token was found to compare."}"#.into(),
    FaultKind::WrongPath
)]
#[case::csrf_of_4_30(
    403,
    r#"{"error":"Could not verify the provided CSRF token because your session was not found."}"#.into(),
    FaultKind::WrongPath
)]
#[case::csrf_invalid(
    403,
    said("access_denied", "Invalid CSRF Token 'null' was found on the request parameter '_csrf'"),
    FaultKind::WrongPath
)]
#[case::client_may_not(400, r#"{"error":"unauthorized_client"}"#.into(), FaultKind::GrantNotAllowed)]
#[case::audience(
    401,
    said("invalid_token", "Some parties were not in the token audience: uaa-rp"),
    FaultKind::IdTokenRejected(IdTokenFault::Audience)
)]
#[case::signature(
    401,
    said("invalid_token", "Could not verify token signature."),
    FaultKind::IdTokenRejected(IdTokenFault::Signature)
)]
#[case::garbage(
    401,
    said("invalid_token", "Invalid token"),
    FaultKind::IdTokenRejected(IdTokenFault::Malformed)
)]
#[case::another_token_fault(
    401,
    said("invalid_token", "Something new"),
    FaultKind::IdTokenRejected(IdTokenFault::Other)
)]
#[case::f18_missing(400, said("invalid_request", "Missing grant type"), FaultKind::BadRequest)]
#[case::f18_unknown(
    400,
    said("unsupported_grant_type", "Unsupported grant type"),
    FaultKind::BadRequest
)]
#[case::f19_query(
    406,
    said("query_string_not_allowed", "Parameters must be passed in the body of the request"),
    FaultKind::QueryNotAllowed
)]
#[case::f19_get(
    405,
    said("method_not_allowed", "Request method 'GET' not supported"),
    FaultKind::QueryNotAllowed
)]
#[case::content_type(415, String::new(), FaultKind::QueryNotAllowed)]
#[case::f20(
    429,
    r#"{"error":"429 - Too Many Request - Request limited by Rate Limiter configuration: x"}"#.into(),
    FaultKind::RateLimited
)]
#[case::f20_html(429, "<html>Too many requests</html>".into(), FaultKind::RateLimited)]
#[case::f21(
    503,
    said(
        "uaa_unavailable",
        "UAA intentionally in limited mode, operation not permitted. Please try later."
    ),
    FaultKind::Unavailable
)]
#[case::f22(500, "<html>Uh oh.</html>".into(), FaultKind::ServerError)]
#[case::f23(500, said("server_error", "Internal Server Error"), FaultKind::ServerError)]
#[case::f24_zone(404, said("not_found", "zone"), FaultKind::NotFound)]
#[case::f24_gateway(502, "<html>Bad gateway</html>".into(), FaultKind::ServerError)]
#[case::f24_unavailable(503, "503 Service Unavailable".into(), FaultKind::ServerError)]
#[case::f24_time_out(504, String::new(), FaultKind::ServerError)]
#[case::f25_found(302, String::new(), FaultKind::Redirect)]
#[case::f25_not_modified(304, String::new(), FaultKind::Redirect)]
#[case::f26_no_content(204, String::new(), FaultKind::Unreadable)]
#[case::request_time_out(408, String::new(), FaultKind::ServerError)]
#[case::rfc_style(400, r#"{"error":"invalid_grant"}"#.into(), FaultKind::BadCredentials)]
#[case::row_with_another_code(
    401,
    said("access_denied", "Unauthorized grant type"),
    FaultKind::UnknownRefusal
)]
#[case::html(401, "<html>Unauthorized grant type</html>".into(), FaultKind::UnknownRefusal)]
#[case::empty(401, String::new(), FaultKind::UnknownRefusal)]
#[case::array(401, r#"["invalid_client","Unauthorized grant type"]"#.into(), FaultKind::UnknownRefusal)]
#[case::other_types(400, r#"{"error":1,"error_description":{}}"#.into(), FaultKind::UnknownRefusal)]
#[case::payment(402, said("invalid_client", "Unauthorized grant type"), FaultKind::UnknownRefusal)]
#[case::conflict(409, String::new(), FaultKind::UnknownRefusal)]
#[case::teapot(418, String::new(), FaultKind::UnknownRefusal)]
fn a_password_grant_is_classified_by_status_then_text(
    #[case] status: u16,
    #[case] body: String,
    #[case] kind: FaultKind,
) {
    assert_eq!(password(status, &body).kind, kind);
}

#[rstest]
#[case::unknown_route(404, "unknown_route", FaultKind::Unavailable)]
#[case::no_endpoints(503, "no_endpoints", FaultKind::Unavailable)]
#[case::no_endpoints_gateway(502, "no_endpoints", FaultKind::Unavailable)]
#[case::endpoint_failure(502, "endpoint_failure", FaultKind::ServerError)]
#[case::other_on_404(404, "endpoint_failure", FaultKind::ServerError)]
#[case::not_for_401(401, "unknown_route", FaultKind::UnknownRefusal)]
fn the_router_says_whether_uaa_was_reached(
    #[case] status: u16,
    #[case] router: &str,
    #[case] kind: FaultKind,
    #[values(GrantKind::Password, GrantKind::ClientCredentials)] grant: GrantKind,
) {
    let headers = [("X-Cf-RouterError", router)];
    assert_eq!(classified(status, &headers, "", grant).kind, kind);
}

const EXPIRED: &str = "The token expired, was revoked, or the token ID is incorrect.";

#[rstest]
#[case::opaque(401, said("invalid_token", EXPIRED))]
#[case::jwt_expired(401, said("invalid_token", "Invalid refresh token expired at today"))]
#[case::signature(401, said("invalid_token", "revocable signature mismatch"))]
#[case::revoked(401, said("invalid_token", "The token has been revoked: 7e54"))]
#[case::user_deleted(401, said("invalid_token", "Token bears a non-existent user ID: x"))]
#[case::scope(401, said("invalid_token", r#"Some required "granted_scopes" are missing: [x]"#))]
#[case::signing_key(
    401,
    said("invalid_token", "Token header claim [kid] references unknown signing key : [x]")
)]
#[case::issuer(
    401,
    said("invalid_token", "Invalid issuer (x) for token did not match expected: y")
)]
#[case::access_token(401, said("invalid_token", "Invalid refresh token."))]
#[case::other_client(400, said("invalid_grant", "Wrong client for this refresh token: x"))]
#[case::missing(400, said("invalid_request", "refresh_token parameter not provided"))]
#[case::grant_withdrawn(401, said("invalid_client", "Unauthorized grant type"))]
#[case::bad_credentials(401, said("invalid_client", "Bad credentials"))]
#[case::locked(
    401,
    said(
        "unauthorized",
        "Your account has been locked because of too many failed attempts to login."
    )
)]
#[case::rfc_style(400, r#"{"error":"invalid_grant"}"#.into())]
fn a_refusal_by_a_token_endpoint_ends_the_refresh_token(#[case] status: u16, #[case] body: String) {
    let fault = classified(status, &[], &body, GrantKind::RefreshToken);
    assert_eq!(fault.kind, FaultKind::RefreshTokenRejected);
    assert!(!fault.kind.is_transient());
}

#[rstest]
#[case::html(401, "<html></html>".into())]
#[case::forbidden(403, String::new())]
#[case::csrf(403, said("Could not verify the provided CSRF token because no token was found.", ""))]
#[case::no_such_zone(404, String::new())]
#[case::no_such_zone_as_json(404, said("not_found", ""))]
#[case::method(405, said("method_not_allowed", ""))]
#[case::media_type(415, String::new())]
#[case::gone(410, String::new())]
#[case::server_without_oauth(403, r#"{"status":403,"error":"Forbidden","path":"/oauth/token"}"#.into())]
fn what_is_no_token_endpoint_does_not_end_the_refresh_token(
    #[case] status: u16,
    #[case] body: String,
) {
    let fault = classified(status, &[], &body, GrantKind::RefreshToken);
    assert_ne!(fault.kind, FaultKind::RefreshTokenRejected);
}

#[rstest]
#[case::rate_limited(429, "", FaultKind::RateLimited)]
#[case::time_out(408, "", FaultKind::ServerError)]
#[case::server_error(500, "", FaultKind::ServerError)]
#[case::gateway(502, "", FaultKind::ServerError)]
#[case::unavailable(503, "", FaultKind::ServerError)]
#[case::gateway_time_out(504, "", FaultKind::ServerError)]
#[case::uaa_is_down(404, "unknown_route", FaultKind::Unavailable)]
#[case::uaa_is_full(503, "Connection Limit Reached", FaultKind::Unavailable)]
#[case::uaa_starts(
    502,
    "endpoint_failure (dial tcp 10.0.0.7:8443: refused)",
    FaultKind::Unavailable
)]
#[case::uaa_broke_off(502, "endpoint_failure (EOF)", FaultKind::ServerError)]
fn a_transient_fault_keeps_the_refresh_token(
    #[case] status: u16,
    #[case] router: &str,
    #[case] kind: FaultKind,
) {
    let headers = [("X-Cf-RouterError", router)];
    let headers = if router.is_empty() { &[][..] } else { &headers[..] };
    let fault = classified(status, headers, "", GrantKind::RefreshToken);
    assert_eq!(fault.kind, kind);
    assert!(fault.kind.is_transient());
}

#[rstest]
#[case::word("client")]
#[case::whole("invalid_client")]
#[case::short("a")]
fn a_password_that_is_a_word_of_a_code_leaves_the_code(#[case] password: &str) {
    let body = br#"{"error":"invalid_client","error_description":"x"}"#;
    let status = StatusCode::UNAUTHORIZED;
    let headers = HeaderMap::new();
    let fault = Fault::classify(status, &headers, body, GrantKind::Password, &[password]);
    assert_eq!(fault.error.as_deref(), Some("invalid_client"));
    let body = format!(r#"{{"error":"my_{password}","error_description":"x"}}"#);
    let fault =
        Fault::classify(status, &headers, body.as_bytes(), GrantKind::Password, &[password]);
    assert!(!fault.error.unwrap().contains(&format!("my_{password}")));
}

#[rstest]
#[case::seconds(429, &[("Retry-After", "7")], Some(7))]
#[case::cut(429, &[("Retry-After", "1000000000")], Some(60))]
#[case::date(
    429,
    &[
        ("Date", "Sun, 06 Nov 1994 08:49:37 GMT"),
        ("Retry-After", "Sun, 06 Nov 1994 08:49:44 GMT"),
    ],
    Some(7)
)]
#[case::date_without_date(429, &[("Retry-After", "Sun, 06 Nov 1994 08:49:44 GMT")], None)]
#[case::junk(429, &[("Retry-After", "soon")], None)]
#[case::absent(429, &[], None)]
#[case::unavailable(503, &[("Retry-After", "7")], Some(7))]
#[case::never_on_a_refusal(401, &[("Retry-After", "7")], None)]
fn retry_after_is_kept_where_waiting_helps(
    #[case] status: u16,
    #[case] headers: &[(&str, &str)],
    #[case] expected: Option<u64>,
) {
    let fault = classified(status, headers, "", GrantKind::Password);
    assert_eq!(fault.retry_after, expected.map(Duration::from_secs));
}

#[test]
fn texts_for_the_log_are_short_and_without_control_characters() {
    let long = format!("a\\r\\n\\u0000\\u001b[2Jb{}", "ü".repeat(300));
    let body = format!(r#"{{"error":"{long}","error_description":"{long}"}}"#);
    let fault = password(401, &body);
    let error = format!("a[2Jb{}", "ü".repeat(59));
    let excerpt = format!("a[2Jb{}", "ü".repeat(195));
    assert_eq!((fault.error, fault.excerpt), (Some(error), Some(excerpt)));
}

#[test]
fn what_is_no_error_object_leaves_no_text_in_the_log() {
    let fault = password(500, "<html>canary</html>");
    assert_eq!((fault.error, fault.excerpt), (None, None));
}

#[rstest]
#[case(FaultKind::RateLimited, true, false)]
#[case(FaultKind::Unavailable, true, false)]
#[case(FaultKind::ServerError, true, true)]
#[case(FaultKind::Unreadable, true, true)]
#[case(FaultKind::ProviderUnavailable, true, true)]
#[case(FaultKind::BadCredentials, false, false)]
#[case(FaultKind::RejectedByProvider, false, false)]
#[case(FaultKind::UnknownRefusal, false, false)]
#[case(FaultKind::ClientRejected, false, false)]
#[case(FaultKind::WrongPath, false, false)]
#[case(FaultKind::ProviderLocked, false, false)]
#[case(FaultKind::UaaLocked, false, false)]
#[case(FaultKind::ActionRequired(ActionCode::UserInactive), false, false)]
#[case(FaultKind::SecondFactor, false, false)]
#[case(FaultKind::OriginUnknown, false, false)]
#[case(FaultKind::ProviderNotAllowed, false, false)]
#[case(FaultKind::OriginMissing, false, false)]
#[case(FaultKind::TrustIncomplete, false, false)]
#[case(FaultKind::UserNotCreated, false, false)]
#[case(FaultKind::IssuerMismatch, false, false)]
#[case(FaultKind::NotVerified, false, false)]
#[case(FaultKind::GrantNotAllowed, false, false)]
#[case(FaultKind::NoScopes, false, false)]
#[case(FaultKind::BadRequest, false, false)]
#[case(FaultKind::QueryNotAllowed, false, false)]
#[case(FaultKind::NotFound, false, false)]
#[case(FaultKind::Redirect, false, false)]
#[case(FaultKind::RefreshTokenRejected, false, false)]
fn waiting_helps_against_few_faults(
    #[case] kind: FaultKind,
    #[case] is_transient: bool,
    #[case] is_ambiguous: bool,
) {
    assert_eq!((kind.is_transient(), kind.is_ambiguous()), (is_transient, is_ambiguous));
}
