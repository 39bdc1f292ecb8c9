//! What a real UAA 77.18 answered (4.30 where it differs), one test for each row.

use cfapi_sandbox::{Sandbox, TECHNICAL_PASSWORD, TECHNICAL_USER};
use http::Method;
use serde_json::json;

use crate::support::{
    Answer, FORM, HINT, cf_call, client, form, good_grant, landscape, password_grant,
    refresh_grant, send,
};

const JWT_BEARER: &str = "urn:ietf:params:oauth:grant-type:jwt-bearer";
const NO_TOKEN_FOUND: &str = r#"{"error":"Could not verify the provided CSRF token because no token was found to compare."}"#;
const NO_SESSION: &str =
    r#"{"error":"Could not verify the provided CSRF token because your session was not found."}"#;
const UNKNOWN_TOKEN: &str = "The token expired, was revoked, or the token ID is incorrect.";

fn old_release(sandbox: &Sandbox) {
    sandbox.pull("uaa_release", &json!({"release": "4.30.0"})).unwrap();
}

fn logon<'a>(user: &'a str, password: &'a str, hint: &'a str) -> [(&'a str, &'a str); 4] {
    [("grant_type", "password"), ("username", user), ("password", password), ("login_hint", hint)]
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
async fn a_nul_in_a_parameter_is_an_empty_object() {
    let sandbox = landscape().await;
    let call = cf_call(&sandbox, &logon("tech\0nical", TECHNICAL_PASSWORD, HINT));
    let answer = send(call.header("accept", "application/json")).await;
    assert_eq!((answer.status.as_u16(), answer.text.as_str()), (400, "{}"));
    assert!(sandbox.journal()[0].provider.is_none());
}

#[tokio::test]
async fn an_invalid_token_is_challenged_as_a_bearer() {
    let sandbox = landscape().await;
    let answer = refresh_grant(&sandbox, "unknown").await;
    let header = format!("Bearer error=\"invalid_token\", error_description=\"{UNKNOWN_TOKEN}\"");
    assert_eq!(answer.header("www-authenticate"), header);
}
