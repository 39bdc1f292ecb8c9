//! The Destination service: find, `ETag`, refusals.

use cfapi_sandbox::{
    DESTINATION_CLIENT, DESTINATION_SECRET, Sandbox, TECHNICAL_PASSWORD, TECHNICAL_USER,
};
use serde_json::{Value, json};

use crate::support::{Answer, FORM, client, form, landscape, send};

const SKIP: &str = "?$skipTokenRetrieval=true";

async fn service_token(sandbox: &Sandbox) -> String {
    let pairs = [
        ("grant_type", "client_credentials"),
        ("client_id", DESTINATION_CLIENT),
        ("client_secret", DESTINATION_SECRET),
    ];
    let call = client().post(format!("{}/oauth/token", sandbox.xsuaa_url()));
    let body = send(call.header("content-type", FORM).body(form(&pairs))).await.json();
    body["access_token"].as_str().unwrap().to_owned()
}

async fn get(sandbox: &Sandbox, path: &str, headers: &[(&str, &str)]) -> Answer {
    let url = format!("{}/destination-configuration{path}", sandbox.destination_url());
    let mut call = client().get(url);
    for (name, value) in headers {
        call = call.header(*name, *value);
    }
    send(call).await
}

async fn find(sandbox: &Sandbox, path: &str) -> Answer {
    let bearer = format!("Bearer {}", service_token(sandbox).await);
    get(sandbox, &format!("/v1/destinations/{path}"), &[("authorization", &bearer)]).await
}

#[tokio::test]
async fn the_default_destination_has_the_properties_of_the_sap_blog() {
    let sandbox = landscape().await;
    let answer = find(&sandbox, &format!("CFAPI{SKIP}")).await;
    assert_eq!(answer.status, 200);
    let body = answer.json();
    assert!(body["owner"]["SubaccountId"].is_string());
    assert_eq!(body["owner"]["InstanceId"], Value::Null);
    assert!(body.get("authTokens").is_none());
    let properties = &body["destinationConfiguration"];
    assert_eq!(properties["URL"], sandbox.cf_url());
    assert_eq!(properties["Authentication"], "OAuth2Password");
    assert_eq!(properties["clientId"], "cf");
    assert_eq!(properties["clientSecret"], "");
    assert_eq!(properties["User"], TECHNICAL_USER);
    assert_eq!(properties["Password"], TECHNICAL_PASSWORD);
    let hint = "?login_hint=%7B%22origin%22:%22sandbox-platform%22%7D";
    let wanted = format!("{}/oauth/token{hint}", sandbox.uaa_url());
    assert_eq!(properties["tokenServiceURL"], wanted);
}

#[tokio::test]
async fn the_tag_is_hex_without_quotes_and_unchanged_content_is_304() {
    let sandbox = landscape().await;
    let answer = find(&sandbox, &format!("CFAPI{SKIP}")).await;
    let etag = answer.header("etag").to_owned();
    assert_eq!(etag.len(), 64);
    assert!(etag.bytes().all(|byte| byte.is_ascii_hexdigit()));
    let bearer = format!("Bearer {}", service_token(&sandbox).await);
    let path = format!("/v1/destinations/CFAPI{SKIP}");
    let revalidate = [("authorization", bearer.as_str()), ("if-none-match", etag.as_str())];
    let same = get(&sandbox, &path, &revalidate).await;
    assert_eq!(
        (same.status.as_u16(), same.text.as_str(), same.header("etag")),
        (304, "", etag.as_str())
    );
    sandbox.pull("edit_destination", &json!({"set": {"Password": "new"}})).unwrap();
    assert_eq!(get(&sandbox, &path, &revalidate).await.status, 200);
}

#[tokio::test]
async fn the_tag_can_ignore_the_password() {
    let sandbox = landscape().await;
    sandbox.pull("etag_ignores_password", &json!({})).unwrap();
    let before = find(&sandbox, &format!("CFAPI{SKIP}")).await.header("etag").to_owned();
    sandbox.pull("edit_destination", &json!({"set": {"Password": "new"}})).unwrap();
    let after = find(&sandbox, &format!("CFAPI{SKIP}")).await;
    assert_eq!(after.header("etag"), before);
    assert_eq!(after.json()["destinationConfiguration"]["Password"], "new");
}

#[tokio::test]
async fn without_the_skip_flag_a_failed_logon_is_still_200() {
    let sandbox = landscape().await;
    let body = find(&sandbox, "CFAPI").await.json();
    let token = &body["authTokens"][0];
    assert_eq!((token["type"].as_str(), token["value"].as_str()), (Some(""), Some("")));
    assert!(token["error"].is_string());
    let encoded = find(&sandbox, "CFAPI?%24skipTokenRetrieval=true").await.json();
    assert!(encoded.get("authTokens").is_none());
}

#[tokio::test]
async fn skipping_credentials_strips_the_password() {
    let sandbox = landscape().await;
    let path = format!("CFAPI{SKIP}&$skipCredentials=true");
    let body = find(&sandbox, &path).await.json();
    assert!(body["destinationConfiguration"].get("Password").is_none());
}

#[tokio::test]
async fn an_unknown_name_is_404_and_an_unknown_parameter_is_400() {
    let sandbox = landscape().await;
    let absent = find(&sandbox, &format!("NOWHERE{SKIP}")).await;
    assert_eq!(absent.status, 404);
    let wanted = r#"{"ErrorMessage":"Configuration with the specified name was not found"}"#;
    assert_eq!(absent.text, wanted);
    assert_eq!(find(&sandbox, "CFAPI?$skip=true").await.status, 400);
    assert_eq!(find(&sandbox, &format!("CFAPI{SKIP}&$skipTokenRetrieval=true")).await.status, 400);
}

#[tokio::test]
async fn only_a_valid_token_for_this_service_is_accepted() {
    let sandbox = landscape().await;
    let path = format!("/v1/destinations/CFAPI{SKIP}");
    assert_eq!(get(&sandbox, &path, &[]).await.status, 401);
    let bogus = get(&sandbox, &path, &[("authorization", "Bearer bogus")]).await;
    assert_eq!(bogus.status, 401);
    let wanted = r#"{"ErrorMessage":"Unable to parse the JWT in Authorization Header."}"#;
    assert_eq!(bogus.text, wanted);
    let other = format!("Bearer {}", sandbox.provider_token());
    assert_eq!(get(&sandbox, &path, &[("authorization", &other)]).await.status, 403);
    let bearer = format!("Bearer {}", service_token(&sandbox).await);
    assert_eq!(get(&sandbox, &path, &[("authorization", &bearer)]).await.status, 200);
    sandbox.pull("clock", &json!({"advance": 43_200})).unwrap();
    assert_eq!(get(&sandbox, &path, &[("authorization", &bearer)]).await.status, 401);
}

#[tokio::test]
async fn a_name_is_one_encoded_segment() {
    let sandbox = landscape().await;
    sandbox.pull("add_destination", &json!({"name": "a b/c?x=1#ü"})).unwrap();
    let found = find(&sandbox, &format!("a%20b%2Fc%3Fx%3D1%23%C3%BC{SKIP}")).await;
    assert_eq!(found.json()["destinationConfiguration"]["Name"], "a b/c?x=1#ü");
    assert_eq!(find(&sandbox, &format!("a%20b/c{SKIP}")).await.status, 404);
}

#[tokio::test]
async fn v1_prefers_the_instance_level_and_v2_reads_one_level() {
    let sandbox = landscape().await;
    let args =
        json!({"name": "CFAPI", "level": "instance", "set": {"User": "instance@example.test"}});
    sandbox.pull("add_destination", &args).unwrap();
    let body = find(&sandbox, &format!("CFAPI{SKIP}")).await.json();
    assert!(body["owner"]["InstanceId"].is_string());
    assert_eq!(body["destinationConfiguration"]["User"], "instance@example.test");
    let bearer = format!("Bearer {}", service_token(&sandbox).await);
    let second = async |path: &str| {
        get(&sandbox, &format!("/v2/destinations/{path}"), &[("authorization", &bearer)]).await
    };
    let body = second(&format!("CFAPI@subaccount{SKIP}")).await.json();
    assert_eq!(body["destinationConfiguration"]["User"], TECHNICAL_USER);
    assert!(body.get("owner").is_none());
    let body = second(&format!("CFAPI@instance{SKIP}&$includeMetadata=owner")).await.json();
    assert!(body["destinationConfiguration"]["$metadata"]["owner"]["InstanceId"].is_string());
    assert_eq!(second("CFAPI@nowhere").await.status, 400);
    assert_eq!(second("CFAPI").await.status, 400);
}

#[tokio::test]
async fn the_origin_has_four_spellings() {
    let sandbox = landscape().await;
    let spelled = async |number: u8| {
        sandbox.pull("spell_origin", &json!({"spelling": number})).unwrap();
        find(&sandbox, &format!("CFAPI{SKIP}")).await.json()["destinationConfiguration"].clone()
    };
    let hint = r#"{"origin":"sandbox-platform"}"#;
    let plain = format!("{}/oauth/token", sandbox.uaa_url());
    let second = spelled(2).await;
    assert_eq!(
        (&second["tokenServiceURL"], &second["tokenServiceURL.queries.login_hint"]),
        (&json!(plain), &json!(hint))
    );
    let third = spelled(3).await;
    assert_eq!(third["tokenService.body.login_hint"], hint);
    assert!(third.get("tokenServiceURL.queries.login_hint").is_none());
    let fourth = spelled(4).await;
    assert_eq!(
        (&fourth["tokenServiceURL"], &fourth["origin"]),
        (&json!(sandbox.uaa_url()), &json!("sandbox-platform"))
    );
    let first = spelled(1).await;
    assert!(first.get("origin").is_none());
    assert!(first["tokenServiceURL"].as_str().unwrap().contains("login_hint=%7B%22origin%22:%22"));
    let none = spelled(0).await;
    assert_eq!(none["tokenServiceURL"], plain);
}

#[tokio::test]
async fn a_destination_can_be_changed_and_deleted() {
    let sandbox = landscape().await;
    let args = json!({"set": {"clientSecret": "dummy", "odd": 7}, "unset": ["Password"]});
    sandbox.pull("edit_destination", &args).unwrap();
    let body = find(&sandbox, &format!("CFAPI{SKIP}")).await.json();
    assert_eq!(body["destinationConfiguration"]["odd"], 7);
    assert!(body["destinationConfiguration"].get("Password").is_none());
    sandbox.pull("delete_destination", &json!({})).unwrap();
    assert_eq!(find(&sandbox, &format!("CFAPI{SKIP}")).await.status, 404);
    assert!(sandbox.pull("delete_destination", &json!({})).is_err());
}
