//! What a real UAA 77.18 answered (4.30 where it differs), one test for each row.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use cfapi_sandbox::{Sandbox, TECHNICAL_PASSWORD, TECHNICAL_USER};
use http::Method;
use serde_json::{Value, json};

use crate::support::{
    Answer, FORM, HINT, cf_call, claims, client, form, good_grant, landscape, password_grant,
    refresh_grant, send,
};

const JWT_BEARER: &str = "urn:ietf:params:oauth:grant-type:jwt-bearer";
const NO_TOKEN_FOUND: &str = r#"{"error":"Could not verify the provided CSRF token because no token was found to compare."}"#;
const NO_SESSION: &str =
    r#"{"error":"Could not verify the provided CSRF token because your session was not found."}"#;
const UNKNOWN_TOKEN: &str = "The token expired, was revoked, or the token ID is incorrect.";
const LOCAL_USER: &str = "local.user@example.test";
const PRE_CREATED: &str =
    "The user account must be pre-created. Please contact your system administrator.";

fn old_release(sandbox: &Sandbox) {
    sandbox.pull("uaa_release", &json!({"release": "4.30.0"})).unwrap();
}

fn logon<'a>(user: &'a str, password: &'a str, hint: &'a str) -> [(&'a str, &'a str); 4] {
    [("grant_type", "password"), ("username", user), ("password", password), ("login_hint", hint)]
}

async fn local_logon(sandbox: &Sandbox, password: &str) -> Answer {
    send(cf_call(sandbox, &logon(LOCAL_USER, password, r#"{"origin":"uaa"}"#))).await
}

/// Status and text of a refusal.
fn said(answer: &Answer) -> (u16, String, String) {
    let text = |name: &str| answer.json()[name].as_str().unwrap_or_default().to_owned();
    (answer.status.as_u16(), text("error"), text("error_description"))
}

fn refusal(status: u16, error: &str, description: &str) -> (u16, String, String) {
    (status, error.to_owned(), description.to_owned())
}

#[tokio::test]
async fn a_post_to_a_wrong_path_is_a_403_about_csrf() {
    let sandbox = landscape().await;
    let paths = ["/uaa/oauth/token", "/oauth/authorize", "/login", "/", "/oauth/tokens"];
    for (old, wanted) in [(false, NO_TOKEN_FOUND), (true, NO_SESSION)] {
        if old {
            old_release(&sandbox);
        }
        for path in paths {
            let call = client().post(format!("{}{path}", sandbox.uaa_url()));
            let body = form(&logon(TECHNICAL_USER, TECHNICAL_PASSWORD, HINT));
            let call = call.header("authorization", "Basic Y2Y6").header("content-type", FORM);
            let answer = send(call.body(body)).await;
            assert_eq!((answer.status.as_u16(), answer.text.as_str()), (403, wanted), "{path}");
            assert!(answer.header("content-type").starts_with("application/json"));
        }
    }
    assert_eq!(sandbox.logon_attempts(TECHNICAL_USER), 0);
}

#[tokio::test]
async fn a_slash_at_the_end_of_the_token_endpoint_is_fine() {
    let sandbox = landscape().await;
    let call = client()
        .post(format!("{}/oauth/token/", sandbox.uaa_url()))
        .header("authorization", "Basic Y2Y6")
        .header("content-type", FORM)
        .body(form(&logon(TECHNICAL_USER, TECHNICAL_PASSWORD, HINT)));
    assert_eq!(send(call).await.status, 200);
    assert_eq!(sandbox.password_grants(), 1);
    assert!(sandbox.last_uaa_request().starts_with(b"POST /oauth/token/ "));
}

#[tokio::test]
async fn an_old_release_escapes_descriptions_and_says_unauthorized() {
    let sandbox = landscape().await;
    old_release(&sandbox);
    let wrong = password_grant(&sandbox, "wrong").await;
    let wanted = r#"{"error":"unauthorized","error_description":"{&quot;error&quot;:&quot;invalid_grant&quot;,&quot;error_description&quot;:&quot;User authentication failed: Unauthorized&quot;}"}"#;
    assert_eq!((wrong.status.as_u16(), wrong.text.as_str()), (401, wanted));
    sandbox.pull("uaa_fault", &json!({"row": "F9"})).unwrap();
    let limited = said(&password_grant(&sandbox, TECHNICAL_PASSWORD).await);
    let text = "Client is not authorized for specified user&#39;s identity provider.";
    assert_eq!(limited, refusal(401, "unauthorized", text));
    let info = send(client().get(format!("{}/info", sandbox.uaa_url()))).await.json();
    assert_eq!(info["app"]["version"], "4.30.0");
    sandbox.pull("uaa_release", &json!({"release": "77.18.0"})).unwrap();
    assert!(!password_grant(&sandbox, "wrong").await.text.contains("&quot;"));
    assert!(sandbox.pull("uaa_release", &json!({"release": "5.0"})).is_err());
}

#[tokio::test]
async fn a_fault_row_can_be_that_of_an_old_release() {
    let sandbox = landscape().await;
    let row = async |row: &str| {
        sandbox.pull("uaa_fault", &json!({"row": row, "release": "4.30.0"})).unwrap();
        said(&password_grant(&sandbox, TECHNICAL_PASSWORD).await)
    };
    assert_eq!(row("F1").await, refusal(401, "unauthorized", "Bad credentials"));
    let locked = r"{&quot;error&quot;:&quot;invalid_grant&quot;,&quot;error_description&quot;:&quot;User authentication failed: PASSWORD_LOCKED&quot;}";
    assert_eq!(row("F3").await, refusal(401, "unauthorized", locked));
    let own = "Your account has been locked because of too many failed attempts to login.";
    assert_eq!(row("F4").await, refusal(401, "unauthorized", own));
    assert_eq!(row("F16").await, refusal(401, "invalid_client", "Unauthorized grant type"));
    assert!(!password_grant(&sandbox, "wrong").await.text.contains("&quot;"));
}

#[tokio::test]
async fn trouble_of_the_provider_arrives_inside_a_401() {
    let sandbox = landscape().await;
    let row = async |row: &str, variant: &str| {
        sandbox.pull("uaa_fault", &json!({"row": row, "variant": variant})).unwrap();
        password_grant(&sandbox, TECHNICAL_PASSWORD).await
    };
    let limited = row("F22", "too_many_requests").await;
    let wanted =
        r#"{"error":"invalid_client","error_description":"{\"error\": \"too_many_requests\"}"}"#;
    assert_eq!((limited.status.as_u16(), limited.text.as_str()), (401, wanted));
    let page = said(&row("F22", "html_404").await);
    assert_eq!((page.0, page.1.as_str()), (401, "invalid_client"));
    assert!(page.2.starts_with("<!DOCTYPE html>"), "{}", page.2);
}

#[tokio::test]
async fn a_failure_of_the_uaa_itself_is_an_empty_object_for_who_accepts_json() {
    let sandbox = landscape().await;
    sandbox.pull("uaa_fault", &json!({"row": "F22", "n": 2})).unwrap();
    let call = || cf_call(&sandbox, &logon(TECHNICAL_USER, TECHNICAL_PASSWORD, HINT));
    let empty = send(call().header("accept", "application/json")).await;
    assert_eq!((empty.status.as_u16(), empty.text.as_str()), (500, "{}"));
    assert!(empty.header("content-type").starts_with("application/json"));
    let page = send(call()).await;
    assert_eq!(
        (page.status.as_u16(), page.header("content-type")),
        (500, "text/html;charset=UTF-8")
    );
}

#[tokio::test]
async fn each_fault_of_a_client_or_of_a_path_is_a_variant() {
    let sandbox = landscape().await;
    let clients = [
        ("missing_credentials", "Missing credentials"),
        ("authentication_failed", "Client authentication failed"),
        ("no_authentication", "No client authentication found."),
        ("no_such_client", "Client with requested ID does not exist"),
        ("no_such_client_named", "Client with requested ID does not exist: cf"),
        ("other_client", "Given client ID does not match authenticated client"),
        ("bad_token", "Invalid basic authentication token"),
    ];
    for (variant, text) in clients {
        sandbox.pull("uaa_fault", &json!({"row": "F15", "variant": variant})).unwrap();
        let answer = said(&password_grant(&sandbox, TECHNICAL_PASSWORD).await);
        assert_eq!(answer, refusal(401, "invalid_client", text), "{variant}");
    }
    for (variant, text) in [("csrf", NO_TOKEN_FOUND), ("csrf_session", NO_SESSION)] {
        sandbox.pull("uaa_fault", &json!({"row": "F24", "variant": variant})).unwrap();
        let answer = password_grant(&sandbox, TECHNICAL_PASSWORD).await;
        assert_eq!((answer.status.as_u16(), answer.text.as_str()), (403, text));
    }
}

#[tokio::test]
async fn each_refusal_of_an_assertion_is_a_variant() {
    let sandbox = landscape().await;
    for (variant, error, text) in [
        ("audience", "invalid_token", "Some parties were not in the token audience: uaa-rp"),
        ("signature", "invalid_token", "Could not verify token signature."),
        ("garbage", "invalid_token", "Invalid token"),
        ("empty", "unauthorized", "Unable to decode expected id_token"),
        ("missing", "unauthorized", "Assertion is missing"),
    ] {
        sandbox.pull("uaa_fault", &json!({"row": "JWT", "variant": variant})).unwrap();
        let pairs = [("grant_type", JWT_BEARER), ("assertion", "x")];
        let answer = said(&send(cf_call(&sandbox, &pairs)).await);
        assert_eq!(answer, refusal(401, error, text), "{variant}");
    }
}

#[tokio::test]
async fn a_refresh_can_fail_in_every_way_for_some_requests() {
    let sandbox = landscape().await;
    let refresh = good_grant(&sandbox).await["refresh_token"].as_str().unwrap().to_owned();
    for (row, variant, status) in [
        ("F23", "json", 500),
        ("F23", "html", 500),
        ("F22", "provider_down", 500),
        ("F24", "html_502", 502),
        ("F26", "html", 200),
        ("F26", "empty", 200),
        ("F25", "login", 302),
        ("F24", "zone", 404),
    ] {
        let args = json!({"row": row, "variant": variant, "n": 2, "grant": "refresh_token"});
        sandbox.pull("uaa_fault", &args).unwrap();
        for _ in 0..2 {
            let answer = refresh_grant(&sandbox, &refresh).await;
            assert_eq!(answer.status, status, "{row} {variant}");
            assert!(!answer.text.contains("access_token"), "{row} {variant}");
        }
        assert_eq!(password_grant(&sandbox, TECHNICAL_PASSWORD).await.status, 200);
        assert_eq!(refresh_grant(&sandbox, &refresh).await.status, 200);
    }
}

#[tokio::test]
async fn an_old_release_takes_an_empty_refresh_token_for_an_unknown_one() {
    let sandbox = landscape().await;
    old_release(&sandbox);
    let empty = refresh_grant(&sandbox, "").await;
    assert_eq!(said(&empty), refusal(401, "invalid_token", UNKNOWN_TOKEN));
    let missing = send(cf_call(&sandbox, &[("grant_type", "refresh_token")])).await;
    let text = "Invalid refresh token (empty token)";
    assert_eq!(said(&missing), refusal(401, "invalid_token", text));
}

#[tokio::test]
async fn refreshing_with_rotating_unique_opaque_tokens_fails_and_ends_the_token() {
    let sandbox = landscape().await;
    for lever in ["rotate_refresh", "unique_refresh"] {
        sandbox.pull(lever, &json!({})).unwrap();
    }
    let refresh = good_grant(&sandbox).await["refresh_token"].as_str().unwrap().to_owned();
    let first = said(&refresh_grant(&sandbox, &refresh).await);
    assert_eq!(first, refusal(500, "server_error", "Internal Server Error"));
    let second = said(&refresh_grant(&sandbox, &refresh).await);
    assert_eq!(second, refusal(401, "invalid_token", UNKNOWN_TOKEN));
}

#[tokio::test]
async fn unique_ends_opaque_refresh_tokens_only() {
    let sandbox = landscape().await;
    sandbox.pull("unique_refresh", &json!({})).unwrap();
    sandbox.pull("refresh_format", &json!({"format": "jwt"})).unwrap();
    let first = good_grant(&sandbox).await["refresh_token"].as_str().unwrap().to_owned();
    assert!(claims(&first)["jti"].as_str().unwrap().ends_with("-r"));
    good_grant(&sandbox).await;
    assert_eq!(refresh_grant(&sandbox, &first).await.status, 200);
    sandbox.pull("clock", &json!({"advance": 2_592_001})).unwrap();
    let ended = said(&refresh_grant(&sandbox, &first).await);
    assert!(ended.2.starts_with("Invalid refresh token expired at "), "{}", ended.2);
}

#[tokio::test]
async fn the_refresh_of_a_deleted_user_depends_on_the_format() {
    for (format, text) in [
        ("opaque", UNKNOWN_TOKEN.to_owned()),
        ("jwt", format!("Token bears a non-existent user ID: {}", cfapi_sandbox::TECHNICAL_GUID)),
    ] {
        let sandbox = landscape().await;
        sandbox.pull("refresh_format", &json!({"format": format})).unwrap();
        let refresh = good_grant(&sandbox).await["refresh_token"].as_str().unwrap().to_owned();
        sandbox.pull("delete_user", &json!({"user": TECHNICAL_USER})).unwrap();
        let answer = said(&refresh_grant(&sandbox, &refresh).await);
        assert_eq!(answer, refusal(401, "invalid_token", &text));
    }
}

#[tokio::test]
async fn a_user_deleted_in_the_uaa_is_alive_at_the_provider() {
    let sandbox = landscape().await;
    sandbox.pull("delete_user", &json!({"user": TECHNICAL_USER})).unwrap();
    let good = said(&password_grant(&sandbox, TECHNICAL_PASSWORD).await);
    assert_eq!(good, refusal(401, "unauthorized", PRE_CREATED));
    assert!(password_grant(&sandbox, "wrong").await.text.contains("failed: Unauthorized"));
    sandbox.pull("delete_user", &json!({"user": LOCAL_USER})).unwrap();
    let local = said(&local_logon(&sandbox, "sandbox-only-local").await);
    assert_eq!(local, refusal(401, "invalid_client", "Bad credentials"));
    assert!(sandbox.pull("delete_user", &json!({"user": LOCAL_USER})).is_err());
}

#[tokio::test]
async fn a_deactivated_user_is_refused_as_if_the_uaa_did_not_know_it() {
    let sandbox = landscape().await;
    let refresh = good_grant(&sandbox).await["refresh_token"].as_str().unwrap().to_owned();
    for user in [TECHNICAL_USER, LOCAL_USER] {
        sandbox.pull("deactivate_user", &json!({"user": user})).unwrap();
    }
    let external = said(&password_grant(&sandbox, TECHNICAL_PASSWORD).await);
    assert_eq!(external, refusal(401, "unauthorized", PRE_CREATED));
    let local = said(&local_logon(&sandbox, "sandbox-only-local").await);
    assert_eq!(local, refusal(401, "invalid_client", "Bad credentials"));
    let text = format!("Token bears a non-existent user ID: {}", cfapi_sandbox::TECHNICAL_GUID);
    let refreshed = said(&refresh_grant(&sandbox, &refresh).await);
    assert_eq!(refreshed, refusal(401, "invalid_token", &text));
    sandbox.pull("deactivate_user", &json!({"user": TECHNICAL_USER, "on": false})).unwrap();
    assert_eq!(refresh_grant(&sandbox, &refresh).await.status, 200);
    assert_eq!(password_grant(&sandbox, TECHNICAL_PASSWORD).await.status, 200);
}

#[tokio::test]
async fn an_empty_password_counts_and_a_missing_one_does_not() {
    let sandbox = landscape().await;
    let pairs = logon(TECHNICAL_USER, "", HINT);
    let empty = send(cf_call(&sandbox, &pairs)).await;
    assert!(empty.text.contains("User authentication failed: Unauthorized"), "{}", empty.text);
    assert_eq!(sandbox.logon_attempts(TECHNICAL_USER), 1);
    let pairs = [("grant_type", "password"), ("username", TECHNICAL_USER), ("login_hint", HINT)];
    let missing = said(&send(cf_call(&sandbox, &pairs)).await);
    let text = "Request is missing username or password.";
    assert_eq!(missing, refusal(401, "invalid_client", text));
    assert_eq!(sandbox.logon_attempts(TECHNICAL_USER), 1);
    let uaa = r#"{"origin":"uaa"}"#;
    let pairs = [("grant_type", "password"), ("username", LOCAL_USER), ("login_hint", uaa)];
    let missing = said(&send(cf_call(&sandbox, &pairs)).await);
    assert_eq!(missing, refusal(401, "invalid_client", "No password supplied"));
    let empty = said(&local_logon(&sandbox, "").await);
    assert_eq!(empty, refusal(401, "invalid_client", "Bad credentials"));
}

async fn hinted(sandbox: &Sandbox, hint: &str) -> Answer {
    let call = cf_call(sandbox, &logon(TECHNICAL_USER, TECHNICAL_PASSWORD, hint));
    send(call.header("accept", "application/json")).await
}

#[tokio::test]
async fn hints_without_an_origin_and_hints_with_more_are_read_as_the_uaa_reads_them() {
    let sandbox = landscape().await;
    let no_provider = "The origin provided in the login_hint does not match an active Identity Provider, that supports password grant.";
    for hint in ["{}", r#"{"origin":null}"#] {
        let answer = hinted(&sandbox, hint).await;
        assert_eq!((answer.status.as_u16(), answer.text.as_str()), (500, "{}"), "{hint}");
    }
    for hint in [r#"{"origin":5}"#, "5"] {
        let answer = said(&hinted(&sandbox, hint).await);
        assert_eq!(answer, refusal(401, "unauthorized", no_provider), "{hint}");
    }
    assert_eq!(hinted(&sandbox, &format!("{HINT}x")).await.status, 200);
    sandbox.pull("default_origin", &json!({"origin": null})).unwrap();
    for hint in ["{}", r#"{"origin":null}"#] {
        let answer = said(&hinted(&sandbox, hint).await);
        assert_eq!(answer, refusal(401, "unauthorized", no_provider), "{hint}");
    }
}

/// A token call with other client credentials.
async fn as_client(
    sandbox: &Sandbox,
    authorization: Option<&str>,
    content_type: &str,
    query: &str,
) -> (u16, String, String) {
    let mut call = client().post(format!("{}/oauth/token{query}", sandbox.uaa_url()));
    if let Some(authorization) = authorization {
        call = call.header("authorization", authorization);
    }
    let body = form(&logon(TECHNICAL_USER, TECHNICAL_PASSWORD, HINT));
    said(&send(call.header("content-type", content_type).body(body)).await)
}

#[tokio::test]
async fn a_call_without_a_client_is_refused_by_what_else_it_has() {
    let sandbox = landscape().await;
    let bad = refusal(401, "invalid_client", "Bad credentials");
    assert_eq!(as_client(&sandbox, None, FORM, "").await, bad);
    let json_type = "application/json";
    let nobody = "An Authentication object was not found in the SecurityContext";
    let wanted = refusal(401, "unauthorized", nobody);
    assert_eq!(as_client(&sandbox, None, json_type, "").await, wanted);
    let query = format!("?{}", form(&logon(TECHNICAL_USER, TECHNICAL_PASSWORD, HINT)));
    let wanted = refusal(401, "invalid_client", "No client authentication found.");
    assert_eq!(as_client(&sandbox, None, json_type, &query).await, wanted);
    let percent = format!("Basic {}", STANDARD.encode("cf:100%"));
    let wanted = refusal(401, "invalid_client", "Failed to URL Decode credentials");
    assert_eq!(as_client(&sandbox, Some(&percent), FORM, "").await, wanted);
    let wanted = refusal(401, "invalid_client", "Invalid basic authentication token");
    assert_eq!(as_client(&sandbox, Some("Basic Y2Y="), FORM, "").await, wanted);
    for pairs in [
        &[("grant_type", "refresh_token"), ("refresh_token", "x")][..],
        &[("grant_type", "refresh_token"), ("refresh_token", "x"), ("client_id", "cf")][..],
    ] {
        let call = client().post(format!("{}/oauth/token", sandbox.uaa_url()));
        let answer = send(call.header("content-type", FORM).body(form(pairs))).await;
        assert_eq!(said(&answer), bad, "{pairs:?}");
    }
    assert_eq!(sandbox.logon_attempts(TECHNICAL_USER), 0);
}

#[tokio::test]
async fn a_get_is_a_logon_where_queries_are_taken() {
    let sandbox = landscape().await;
    let query = form(&logon(TECHNICAL_USER, TECHNICAL_PASSWORD, HINT));
    let url = format!("{}/oauth/token?{query}", sandbox.uaa_url());
    let call = async |method: Method| {
        send(client().request(method, &url).header("authorization", "Basic Y2Y6")).await
    };
    assert_eq!(call(Method::GET).await.status, 200);
    sandbox.pull("query_parameters", &json!({"on": false})).unwrap();
    let refused = said(&call(Method::GET).await);
    let text = "Request method 'GET' not supported";
    assert_eq!(refused, refusal(405, "method_not_allowed", text));
    let refused = said(&call(Method::PUT).await);
    let text = "Request method 'PUT' not supported";
    assert_eq!(refused, refusal(405, "method_not_allowed", text));
}

#[tokio::test]
async fn a_grant_that_the_client_lacks_is_not_an_unknown_one() {
    let sandbox = landscape().await;
    let answer = said(&send(cf_call(&sandbox, &[("grant_type", "client_credentials")])).await);
    assert_eq!(answer, refusal(401, "invalid_client", "Unauthorized grant type"));
    let answer = said(&send(cf_call(&sandbox, &[("grant_type", "magic")])).await);
    assert_eq!(answer, refusal(400, "unsupported_grant_type", "Unsupported grant type"));
}

#[tokio::test]
async fn scopes_are_checked_by_name_and_on_refresh_by_the_token() {
    let sandbox = landscape().await;
    let with_scope = async |scope: &str| {
        let mut pairs = logon(TECHNICAL_USER, TECHNICAL_PASSWORD, HINT).to_vec();
        pairs.push(("scope", scope));
        send(cf_call(&sandbox, &pairs)).await
    };
    let unknown = said(&with_scope("openid nonsense.read").await);
    let text = "nonsense.read is invalid. Please use a valid scope name in the request";
    assert_eq!(unknown, refusal(400, "invalid_scope", text));
    let narrow = with_scope("cloud_controller.read openid").await.json();
    assert_eq!(narrow["scope"], "openid cloud_controller.read");
    let refresh = narrow["refresh_token"].as_str().unwrap();
    let refreshed = async |scope: &str| {
        let pairs = [("grant_type", "refresh_token"), ("refresh_token", refresh), ("scope", scope)];
        send(cf_call(&sandbox, &pairs)).await
    };
    let wider = said(&refreshed("cloud_controller.write").await);
    let text =
        "Unable to narrow the scope of the client authentication to [cloud_controller.write].";
    assert_eq!(wider, refusal(400, "invalid_scope", text));
    assert_eq!(refreshed("openid").await.json()["scope"], "openid");
    assert_eq!(refreshed("").await.json()["scope"], "openid cloud_controller.read");
}

async fn asserted(sandbox: &Sandbox, claims: &Value) -> Answer {
    let assertion = sandbox.pull("assertion", &json!({"claims": claims})).unwrap();
    let text = assertion["assertion"].as_str().unwrap();
    send(cf_call(sandbox, &[("grant_type", JWT_BEARER), ("assertion", text)])).await
}

#[tokio::test]
async fn assertions_are_refused_as_by_the_uaa() {
    let sandbox = landscape().await;
    let audience = asserted(&sandbox, &json!({"aud": ["another"]})).await;
    let text = "Some parties were not in the token audience: uaa-rp";
    assert_eq!(said(&audience), refusal(401, "invalid_token", text));
    let header = "Bearer error=\"invalid_token\", error_description=\"Some parties were not in the token audience: uaa-rp\"";
    assert_eq!(audience.header("www-authenticate"), header);
    let expired = said(&asserted(&sandbox, &json!({"exp": 1})).await);
    let unverified = refusal(401, "invalid_token", "Could not verify token signature.");
    assert_eq!(expired, unverified);
    let good = sandbox.pull("assertion", &json!({})).unwrap()["assertion"].clone();
    let forged = format!("{}AAAA", good.as_str().unwrap());
    for (assertion, wanted) in [
        (forged.as_str(), unverified),
        ("garbage", refusal(401, "invalid_token", "Invalid token")),
        ("", refusal(401, "unauthorized", "Unable to decode expected id_token")),
    ] {
        let pairs = [("grant_type", JWT_BEARER), ("assertion", assertion)];
        let answer = said(&send(cf_call(&sandbox, &pairs)).await);
        assert_eq!(answer, wanted, "{assertion}");
    }
}

#[tokio::test]
async fn a_good_assertion_brings_a_refresh_token_and_no_id_token() {
    let sandbox = landscape().await;
    let good = asserted(&sandbox, &json!({})).await.json();
    assert!(good["access_token"].is_string() && good["refresh_token"].is_string());
    assert!(good.get("id_token").is_none());
    let refreshed = refresh_grant(&sandbox, good["refresh_token"].as_str().unwrap()).await;
    assert_eq!(refreshed.status, 200);
    old_release(&sandbox);
    let good = asserted(&sandbox, &json!({})).await.json();
    assert!(good["access_token"].is_string());
    assert!(good.get("refresh_token").is_none() && good.get("id_token").is_none());
}

#[tokio::test]
async fn a_nul_in_a_parameter_is_an_empty_object() {
    let sandbox = landscape().await;
    let call = cf_call(&sandbox, &logon("tech\0nical", TECHNICAL_PASSWORD, HINT));
    let answer = send(call.header("accept", "application/json")).await;
    assert_eq!((answer.status.as_u16(), answer.text.as_str()), (400, "{}"));
    assert!(sandbox.journal()[0].provider.is_none());
}

#[tokio::test]
async fn the_tag_of_the_keys_is_quoted_and_compared_without_quotes() {
    let sandbox = landscape().await;
    let url = format!("{}/token_keys", sandbox.uaa_url());
    let etag = send(client().get(&url)).await.header("etag").to_owned();
    let bare = etag.trim_matches('"');
    assert_eq!(etag, format!("\"{bare}\""));
    for known in [etag.clone(), bare.to_owned(), format!("W/{etag}")] {
        let answer = send(client().get(&url).header("if-none-match", &known)).await;
        assert_eq!(answer.status, 304, "{known}");
    }
    assert_eq!(send(client().get(&url).header("if-none-match", "\"1\"")).await.status, 200);
}

#[tokio::test]
async fn an_invalid_token_is_challenged_as_a_bearer() {
    let sandbox = landscape().await;
    let answer = refresh_grant(&sandbox, "unknown").await;
    let header = format!("Bearer error=\"invalid_token\", error_description=\"{UNKNOWN_TOKEN}\"");
    assert_eq!(answer.header("www-authenticate"), header);
}

#[tokio::test]
async fn a_user_can_revoke_its_refresh_token_and_not_its_access_token() {
    let sandbox = landscape().await;
    let good = good_grant(&sandbox).await;
    let access = good["access_token"].as_str().unwrap();
    let refresh = good["refresh_token"].as_str().unwrap();
    let revoke = async |id: &str| {
        let call = client().delete(format!("{}/oauth/token/revoke/{id}", sandbox.uaa_url()));
        send(call.header("authorization", format!("bearer {access}"))).await
    };
    let own = revoke(good["jti"].as_str().unwrap()).await;
    assert_eq!(
        (own.status.as_u16(), own.json()["error"].clone()),
        (403, json!("insufficient_scope"))
    );
    let revoked = revoke(refresh).await;
    assert_eq!((revoked.status.as_u16(), revoked.text.as_str()), (200, ""));
    let refused = said(&refresh_grant(&sandbox, refresh).await);
    assert_eq!(refused, refusal(401, "invalid_token", UNKNOWN_TOKEN));
    assert_eq!(revoke("unknown").await.status, 404);
}

#[tokio::test]
async fn names_of_local_users_have_few_characters() {
    let sandbox = landscape().await;
    let add = |user: &str, origin: &str| {
        sandbox.pull("add_user", &json!({"user": user, "password": "x", "origin": origin}))
    };
    for name in ["a b", "a&b", "a/b", "a\"b", "a<b"] {
        assert!(add(name, "uaa").is_err(), "{name}");
        assert!(add(name, "sandbox-platform").is_ok(), "{name}");
    }
    assert!(add("Ümit.o'Neil+1_2-3@example.test!", "uaa").is_ok());
}
