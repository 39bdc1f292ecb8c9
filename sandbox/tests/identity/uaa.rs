//! The UAA: its three grants, locks and fault rows.

use cfapi_sandbox::{DEV_USER, Part, Sandbox, TECHNICAL_PASSWORD, TECHNICAL_USER};
use serde_json::json;

use crate::support::{
    FORM, HINT, cf_call, claims, client, form, good_grant, landscape, password_grant,
    refresh_grant, send,
};

#[tokio::test]
async fn an_empty_client_secret_and_the_right_password_give_a_token() {
    let sandbox = landscape().await;
    let answer = password_grant(&sandbox, TECHNICAL_PASSWORD).await;
    assert_eq!(answer.status, 200);
    assert_eq!(answer.header("cache-control"), "no-store");
    assert_eq!(answer.header("pragma"), "no-cache");
    let body = answer.json();
    assert_eq!(body["expires_in"], 1199);
    assert_eq!(body["token_type"], "bearer");
    assert!(body["refresh_token"].as_str().unwrap().ends_with("-r"));
    assert!(body["id_token"].is_string());
    let token = body["access_token"].as_str().unwrap();
    let claims = claims(token);
    assert_eq!(claims["origin"], "sandbox-platform");
    assert_eq!(claims["jti"], body["jti"]);
    assert_eq!(claims["iss"], format!("{}/oauth/token", sandbox.uaa_url()));
    let journal = sandbox.journal();
    assert_eq!(journal[0].authorization.as_deref(), Some("Basic Y2Y6"));
    assert_eq!(journal[0].provider.as_deref(), Some("sandbox-platform"));
    assert!(journal[0].body.contains("login_hint=%7B%22origin%22"));
    assert!(journal[0].body.contains("password=sha256:"));
    assert_eq!(sandbox.password_grants(), 1);
}

#[tokio::test]
async fn the_answer_has_the_member_order_of_the_real_one() {
    let sandbox = landscape().await;
    let text = password_grant(&sandbox, TECHNICAL_PASSWORD).await.text;
    let members =
        ["access_token", "token_type", "id_token", "refresh_token", "expires_in", "scope", "jti"];
    let places: Vec<usize> =
        members.iter().map(|name| text.find(&format!("\"{name}\":")).unwrap()).collect();
    assert!(places.is_sorted());
}

#[tokio::test]
async fn a_client_without_its_secret_is_refused_before_the_password_is_checked() {
    let sandbox = landscape().await;
    let pairs = [("grant_type", "password"), ("username", TECHNICAL_USER), ("client_id", "cf")];
    let call = client().post(format!("{}/oauth/token", sandbox.uaa_url()));
    let answer = send(call.header("content-type", FORM).body(form(&pairs))).await;
    assert_eq!(answer.status, 401);
    assert_eq!(answer.text, r#"{"error":"invalid_client","error_description":"Bad credentials"}"#);
    assert_eq!(sandbox.logon_attempts(TECHNICAL_USER), 0);
}

#[tokio::test]
async fn a_wrong_password_at_the_provider_is_json_inside_the_description() {
    let sandbox = landscape().await;
    let answer = password_grant(&sandbox, "wrong").await;
    assert_eq!(answer.status, 401);
    let wanted = r#"{"error":"invalid_client","error_description":"{\"error\":\"invalid_grant\",\"error_description\":\"User authentication failed: Unauthorized\"}"}"#;
    assert_eq!(answer.text, wanted);
    let challenge =
        r#"Basic realm="UAA/client", error="unauthorized", error_description="Bad credentials""#;
    assert_eq!(answer.header("www-authenticate"), challenge);
}

#[tokio::test]
async fn the_provider_locks_after_five_wrong_passwords_and_refreshing_goes_on() {
    let sandbox = landscape().await;
    let refresh = good_grant(&sandbox).await["refresh_token"].as_str().unwrap().to_owned();
    for _ in 0..5 {
        assert!(password_grant(&sandbox, "wrong").await.text.contains("Unauthorized"));
    }
    let locked = password_grant(&sandbox, TECHNICAL_PASSWORD).await;
    assert!(locked.text.contains("User authentication failed: PASSWORD_LOCKED"));
    assert_eq!(refresh_grant(&sandbox, &refresh).await.status, 200);
    assert_eq!(sandbox.logon_attempts(TECHNICAL_USER), 7);
    sandbox.pull("clock", &json!({"advance": 3601})).unwrap();
    assert_eq!(password_grant(&sandbox, TECHNICAL_PASSWORD).await.status, 200);
}

#[tokio::test]
async fn users_of_the_uaa_itself_have_its_own_texts_and_its_own_lock() {
    let sandbox = landscape().await;
    let log_on = async |password: &str| {
        let pairs = [
            ("grant_type", "password"),
            ("username", "local.user@example.test"),
            ("password", password),
            ("login_hint", r#"{"origin":"uaa"}"#),
        ];
        send(cf_call(&sandbox, &pairs)).await
    };
    for _ in 0..5 {
        let wrong = log_on("wrong").await.text;
        assert_eq!(wrong, r#"{"error":"invalid_client","error_description":"Bad credentials"}"#);
    }
    let locked = r#"{"error":"unauthorized","error_description":"Your account has been locked because of too many failed attempts to login."}"#;
    assert_eq!(log_on("sandbox-only-local").await.text, locked);
    sandbox.pull("clock", &json!({"advance": 301})).unwrap();
    assert_eq!(log_on("sandbox-only-local").await.status, 200);
}

async fn hinted(sandbox: &Sandbox, hint: &str, query: &str) -> (u16, Option<String>) {
    let pairs = [
        ("grant_type", "password"),
        ("username", TECHNICAL_USER),
        ("password", TECHNICAL_PASSWORD),
        ("login_hint", hint),
    ];
    let call = client()
        .post(format!("{}/oauth/token{query}", sandbox.uaa_url()))
        .header("authorization", "Basic Y2Y6")
        .header("content-type", FORM)
        .body(form(&pairs));
    let status = send(call).await.status.as_u16();
    (status, sandbox.journal().pop().unwrap().provider)
}

#[tokio::test]
async fn a_hint_that_does_not_parse_is_dropped_and_the_journal_shows_the_provider() {
    let sandbox = landscape().await;
    let leak = (401, Some("sap.ids".to_owned()));
    assert_eq!(hinted(&sandbox, "sandbox-platform", "").await, leak);
    assert_eq!(hinted(&sandbox, r#"{"origin":"sandbox-platform","user":"x"}"#, "").await, leak);
    let good = (200, Some("sandbox-platform".to_owned()));
    assert_eq!(hinted(&sandbox, HINT, "").await, good);
    let twice = "%7B%22origin%22%3A%22sandbox-platform%22%7D";
    assert_eq!(hinted(&sandbox, twice, "").await, good);
}

#[tokio::test]
async fn a_hint_in_the_query_beats_the_one_in_the_body() {
    let sandbox = landscape().await;
    let query = "?login_hint=%7B%22origin%22%3A%22uaa%22%7D";
    assert_eq!(hinted(&sandbox, HINT, query).await, (401, Some("uaa".to_owned())));
}

#[tokio::test]
async fn an_unknown_origin_is_refused_without_a_logon() {
    let sandbox = landscape().await;
    let pairs = [
        ("grant_type", "password"),
        ("username", TECHNICAL_USER),
        ("password", TECHNICAL_PASSWORD),
        ("login_hint", r#"{"origin":"elsewhere"}"#),
    ];
    let answer = send(cf_call(&sandbox, &pairs)).await;
    let text = "The origin provided in the login_hint does not match an active Identity Provider, that supports password grant.";
    assert_eq!(answer.json()["error_description"], text);
    assert_eq!(answer.json()["error"], "unauthorized");
    assert_eq!(sandbox.logon_attempts(TECHNICAL_USER), 0);
}

#[tokio::test]
async fn the_query_can_be_switched_off() {
    let sandbox = landscape().await;
    sandbox.pull("query_parameters", &json!({"on": false})).unwrap();
    let (status, provider) = hinted(&sandbox, HINT, "?login_hint=x").await;
    assert_eq!((status, provider), (406, None));
    assert_eq!(hinted(&sandbox, HINT, "").await.0, 200);
}

#[tokio::test]
async fn a_missing_and_an_unknown_grant_type_have_different_errors() {
    let sandbox = landscape().await;
    let missing = send(cf_call(&sandbox, &[("username", "x")])).await;
    assert_eq!(
        (missing.status.as_u16(), missing.json()["error"].clone()),
        (400, json!("invalid_request"))
    );
    let unknown = send(cf_call(&sandbox, &[("grant_type", "magic")])).await;
    assert_eq!(unknown.json()["error"], "unsupported_grant_type");
}

#[tokio::test]
async fn a_refresh_returns_the_same_token_unless_rotation_is_on() {
    let sandbox = landscape().await;
    let first = good_grant(&sandbox).await["refresh_token"].as_str().unwrap().to_owned();
    let same = refresh_grant(&sandbox, &first).await.json();
    assert_eq!(same["refresh_token"], first.as_str());
    sandbox.pull("rotate_refresh", &json!({})).unwrap();
    let next = refresh_grant(&sandbox, &first).await.json()["refresh_token"].clone();
    assert_ne!(next, first.as_str());
    let old = refresh_grant(&sandbox, &first).await;
    assert_eq!(old.status, 401);
    let text = "The token expired, was revoked, or the token ID is incorrect.";
    assert_eq!(old.json()["error_description"], text);
    assert_eq!(refresh_grant(&sandbox, next.as_str().unwrap()).await.status, 200);
    assert_eq!(sandbox.logon_attempts(TECHNICAL_USER), 1);
}

#[tokio::test]
async fn with_unique_refresh_tokens_a_second_logon_ends_the_first() {
    let sandbox = landscape().await;
    sandbox.pull("unique_refresh", &json!({})).unwrap();
    let first = good_grant(&sandbox).await["refresh_token"].as_str().unwrap().to_owned();
    let second = good_grant(&sandbox).await["refresh_token"].as_str().unwrap().to_owned();
    assert_eq!(refresh_grant(&sandbox, &first).await.status, 401);
    assert_eq!(refresh_grant(&sandbox, &second).await.status, 200);
}

#[tokio::test]
async fn refresh_tokens_can_be_switched_off() {
    let sandbox = landscape().await;
    let old = good_grant(&sandbox).await["refresh_token"].as_str().unwrap().to_owned();
    sandbox.pull("disable_refresh", &json!({})).unwrap();
    assert!(good_grant(&sandbox).await.get("refresh_token").is_none());
    let answer = refresh_grant(&sandbox, &old).await;
    assert_eq!(
        (answer.status.as_u16(), answer.json()["error_description"].clone()),
        (401, json!("Unauthorized grant type"))
    );
}

#[tokio::test]
async fn each_misuse_of_a_refresh_token_has_its_own_text() {
    let sandbox = landscape().await;
    let tokens = good_grant(&sandbox).await;
    let (access, refresh) =
        (tokens["access_token"].as_str().unwrap(), tokens["refresh_token"].as_str().unwrap());
    assert_eq!(
        refresh_grant(&sandbox, access).await.json()["error_description"],
        "Invalid refresh token."
    );
    let missing = send(cf_call(&sandbox, &[("grant_type", "refresh_token")])).await;
    assert_eq!(missing.status, 400);
    assert_eq!(missing.json()["error_description"], "refresh_token parameter not provided");
    let other = client()
        .post(format!("{}/oauth/token", sandbox.uaa_url()))
        .header("content-type", FORM)
        .body(form(&[
            ("grant_type", "refresh_token"),
            ("refresh_token", refresh),
            ("client_id", "sandbox-client"),
            ("client_secret", "sandbox-only-s+cr=t%"),
        ]));
    let other = send(other).await;
    assert_eq!(
        other.text,
        r#"{"error":"invalid_grant","error_description":"Wrong client for this refresh token: cf"}"#
    );
}

#[tokio::test]
async fn a_password_change_ends_refresh_tokens_of_the_uaas_own_users_only() {
    let sandbox = landscape().await;
    let external = good_grant(&sandbox).await["refresh_token"].as_str().unwrap().to_owned();
    let pairs = [
        ("grant_type", "password"),
        ("username", "local.user@example.test"),
        ("password", "sandbox-only-local"),
        ("login_hint", r#"{"origin":"uaa"}"#),
    ];
    let own =
        send(cf_call(&sandbox, &pairs)).await.json()["refresh_token"].as_str().unwrap().to_owned();
    for user in [TECHNICAL_USER, "local.user@example.test"] {
        sandbox.pull("change_password", &json!({"user": user, "password": "new"})).unwrap();
    }
    assert_eq!(refresh_grant(&sandbox, &external).await.status, 200);
    let refused = refresh_grant(&sandbox, &own).await.json();
    assert_eq!(refused["error_description"], "revocable signature mismatch");
}

#[tokio::test]
async fn an_assertion_logs_on_without_a_password() {
    let sandbox = landscape().await;
    let grant = "urn:ietf:params:oauth:grant-type:jwt-bearer";
    let missing = send(cf_call(&sandbox, &[("grant_type", grant)])).await;
    assert_eq!(missing.json()["error_description"], "Assertion is missing");
    let assertion = sandbox.pull("assertion", &json!({})).unwrap();
    let text = assertion["assertion"].as_str().unwrap();
    let good = send(cf_call(&sandbox, &[("grant_type", grant), ("assertion", text)])).await.json();
    assert_eq!(claims(good["access_token"].as_str().unwrap())["user_name"], TECHNICAL_USER);
    assert!(good["refresh_token"].is_string());
    assert_eq!(sandbox.logon_attempts(TECHNICAL_USER), 0);
    let foreign =
        sandbox.pull("assertion", &json!({"claims": {"iss": "https://x.example.test"}})).unwrap();
    let text = foreign["assertion"].as_str().unwrap();
    let refused =
        send(cf_call(&sandbox, &[("grant_type", grant), ("assertion", text)])).await.json();
    let wanted = "Unable to map issuer, https://x.example.test , to a single registered provider";
    assert_eq!(refused["error_description"], wanted);
}

#[tokio::test]
async fn every_fault_row_arrives_in_both_dialects_and_is_used_up() {
    let sandbox = landscape().await;
    let rows = sandbox.pull("uaa_faults", &json!({})).unwrap();
    for (row, variants) in rows.as_object().unwrap() {
        for variant in variants.as_array().unwrap() {
            for dialect in ["invalid_client", "unauthorized"] {
                let args = json!({"row": row, "variant": variant, "dialect": dialect});
                sandbox.pull("uaa_fault", &args).unwrap();
                let answer = password_grant(&sandbox, TECHNICAL_PASSWORD).await;
                if answer.status == 401 && answer.json()["error"] != "invalid_token" {
                    assert_eq!(answer.json()["error"], dialect, "{row} {variant}");
                }
                assert!(row == "F26" || answer.status != 200, "{row} {variant}");
            }
        }
    }
    assert_eq!(sandbox.logon_attempts(TECHNICAL_USER), 0);
    assert_eq!(password_grant(&sandbox, TECHNICAL_PASSWORD).await.status, 200);
}

#[tokio::test]
async fn some_rows_are_checked_byte_for_byte() {
    let sandbox = landscape().await;
    let row = async |args: serde_json::Value| {
        sandbox.pull("uaa_fault", &args).unwrap();
        password_grant(&sandbox, TECHNICAL_PASSWORD).await
    };
    let limited = row(json!({"row": "F20"})).await;
    assert_eq!(limited.status, 429);
    assert!(limited.text.starts_with(
        r#"{"error":"429 - Too Many Request - Request limited by Rate Limiter configuration: "#
    ));
    assert!(!limited.text.contains("error_description"));
    assert!(limited.headers.get("retry-after").is_none());
    assert_eq!(
        row(json!({"row": "F20", "variant": "retry_after"})).await.header("retry-after"),
        "7"
    );
    let locked = row(json!({"row": "F3", "dialect": "unauthorized"})).await;
    let wanted = r#"{"error":"unauthorized","error_description":"{\"error\":\"invalid_grant\",\"error_description\":\"User authentication failed: PASSWORD_LOCKED\"}"}"#;
    assert_eq!(locked.text, wanted);
    let page = row(json!({"row": "F22"})).await;
    assert_eq!(
        (page.status.as_u16(), page.header("content-type")),
        (500, "text/html;charset=UTF-8")
    );
    let router = row(json!({"row": "F24", "variant": "unknown_route"})).await;
    assert_eq!((router.status.as_u16(), router.header("x-cf-routererror")), (404, "unknown_route"));
    let redirect = row(json!({"row": "F25"})).await;
    assert_eq!((redirect.status.as_u16(), redirect.header("location")), (302, "/login"));
    assert!(row(json!({"row": "F26", "variant": "too_long"})).await.text.len() > 256 * 1024);
}

#[tokio::test]
async fn a_required_action_is_reported_only_after_the_right_password() {
    let sandbox = landscape().await;
    sandbox.pull("require_action", &json!({"code": "PASSWORD_RESET_REQUIRED"})).unwrap();
    let good = password_grant(&sandbox, TECHNICAL_PASSWORD).await.text;
    assert!(good.contains("User authentication failed: PASSWORD_RESET_REQUIRED"));
    assert!(password_grant(&sandbox, "wrong").await.text.contains("Unauthorized"));
    sandbox.pull("require_second_factor", &json!({})).unwrap();
    let factor = password_grant(&sandbox, TECHNICAL_PASSWORD).await.text;
    assert!(factor.contains("INVALID_AUTHORIZATION_HEADER_LENGTH"));
    sandbox.pull("require_second_factor", &json!({"on": false})).unwrap();
    assert_eq!(password_grant(&sandbox, TECHNICAL_PASSWORD).await.status, 200);
}

#[tokio::test]
async fn levers_change_successful_token_answers() {
    let sandbox = landscape().await;
    sandbox.pull("token_lifetime", &json!({"seconds": 600})).unwrap();
    assert_eq!(good_grant(&sandbox).await["expires_in"], 599);
    let args = json!({"set": {"expires_in": "x"}, "unset": ["refresh_token"]});
    sandbox.pull("token_answer", &args).unwrap();
    let changed = good_grant(&sandbox).await;
    assert_eq!(changed["expires_in"], "x");
    assert!(changed.get("refresh_token").is_none());
    assert_eq!(good_grant(&sandbox).await["expires_in"], 599);
    sandbox.pull("token_origin", &json!({"origin": "sap.ids"})).unwrap();
    let origin = good_grant(&sandbox).await;
    assert_eq!(claims(origin["access_token"].as_str().unwrap())["origin"], "sap.ids");
}

#[tokio::test]
async fn the_cf_api_takes_tokens_until_they_are_ended() {
    let sandbox = landscape().await;
    let tokens = good_grant(&sandbox).await;
    let (access, refresh) =
        (tokens["access_token"].as_str().unwrap(), tokens["refresh_token"].as_str().unwrap());
    let ask = async |token: &str| {
        let call = client().get(format!("{}/v3/spaces", sandbox.cf_url()));
        send(call.header("authorization", format!("bearer {token}"))).await.status
    };
    assert_eq!(ask(access).await, 200);
    sandbox.pull("expire_all", &json!({})).unwrap();
    assert_eq!(ask(access).await, 401);
    let next = refresh_grant(&sandbox, refresh).await.json();
    assert_eq!(ask(next["access_token"].as_str().unwrap()).await, 200);
    sandbox.pull("revoke_all", &json!({})).unwrap();
    assert_eq!(refresh_grant(&sandbox, refresh).await.status, 401);
    let last = good_grant(&sandbox).await["access_token"].as_str().unwrap().to_owned();
    sandbox.pull("rotate_keys", &json!({})).unwrap();
    assert_eq!(ask(&last).await, 401);
}

#[tokio::test]
async fn the_uaa_publishes_keys_discovery_and_info() {
    let sandbox = landscape().await;
    let get = async |path: &str| send(client().get(format!("{}{path}", sandbox.uaa_url()))).await;
    let keys = get("/token_keys").await;
    let etag = keys.header("etag").to_owned();
    assert!(!etag.is_empty());
    let known =
        client().get(format!("{}/token_keys", sandbox.uaa_url())).header("if-none-match", &etag);
    assert_eq!(send(known).await.status, 304);
    let discovery = get("/.well-known/openid-configuration").await.json();
    assert_eq!(discovery["jwks_uri"], format!("{}/token_keys", sandbox.uaa_url()));
    assert_eq!(get("/info").await.json()["links"]["login"], sandbox.uaa_url());
    assert_eq!(get("/login").await.json()["zone_name"], "uaa");
    assert_eq!(get("/healthz").await.text, "ok\n");
    let call = client().post(format!("{}/check_token", sandbox.uaa_url()));
    assert_eq!(send(call).await.status, 403);
}

#[tokio::test]
async fn the_cf_api_shows_what_the_user_of_the_token_may_see() {
    let sandbox = landscape().await;
    let spaces = async |user: &str, password: &str| {
        let pairs = [
            ("grant_type", "password"),
            ("username", user),
            ("password", password),
            ("login_hint", HINT),
        ];
        let body = send(cf_call(&sandbox, &pairs)).await.json();
        let bearer = format!("bearer {}", body["access_token"].as_str().unwrap());
        let call = client().get(format!("{}/v3/spaces", sandbox.cf_url()));
        send(call.header("authorization", bearer)).await.json()["pagination"]["total_results"]
            .as_u64()
    };
    assert_eq!(spaces(TECHNICAL_USER, TECHNICAL_PASSWORD).await, Some(2));
    assert_eq!(spaces(DEV_USER, "sandbox-only-dev").await, Some(1));
    let parts: Vec<Part> = sandbox.journal().iter().map(|entry| entry.part).collect();
    assert_eq!(parts, [Part::Uaa, Part::Cf, Part::Uaa, Part::Cf]);
}

#[tokio::test]
async fn an_empty_refresh_token_is_a_bad_request_and_costs_nothing() {
    let sandbox = landscape().await;
    let wanted =
        r#"{"error":"invalid_request","error_description":"refresh_token parameter not provided"}"#;
    for off in [false, true] {
        sandbox.pull("disable_refresh", &json!({"on": off})).unwrap();
        let answer = refresh_grant(&sandbox, "").await;
        assert_eq!((answer.status.as_u16(), answer.text.as_str()), (400, wanted), "{off}");
    }
    assert_eq!(sandbox.logon_attempts(TECHNICAL_USER), 0);
}
