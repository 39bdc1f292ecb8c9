//! The XSUAA: who gets which scopes, and the keys of a zone.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use cfapi_sandbox::{
    BROKER_CLIENT, BROKER_SECRET, DESTINATION_CLIENT, DESTINATION_SECRET, PROVIDER_CLIENT,
    PROVIDER_SECRET, Sandbox,
};
use jsonwebtoken::{Algorithm, DecodingKey, Validation, decode, decode_header};
use serde_json::{Value, json};

use crate::support::{Answer, FORM, claims, client, form, landscape, send};

async fn call(sandbox: &Sandbox, pairs: &[(&str, &str)], headers: &[(&str, &str)]) -> Answer {
    let mut call = client().post(format!("{}/oauth/token", sandbox.xsuaa_url()));
    for (name, value) in headers {
        call = call.header(*name, *value);
    }
    send(call.header("content-type", FORM).body(form(pairs))).await
}

async fn technical(sandbox: &Sandbox, id: &str, secret: &str) -> Answer {
    let pairs =
        [("grant_type", "client_credentials"), ("client_id", id), ("client_secret", secret)];
    call(sandbox, &pairs, &[]).await
}

fn strings(value: &Value) -> Vec<&str> {
    value.as_array().unwrap().iter().map(|value| value.as_str().unwrap()).collect()
}

#[tokio::test]
async fn client_credentials_bring_the_granted_scopes() {
    let sandbox = landscape().await;
    let answer = technical(&sandbox, PROVIDER_CLIENT, PROVIDER_SECRET).await;
    assert_eq!(answer.status, 200);
    let body = answer.json();
    assert_eq!(body["expires_in"], 43199);
    assert_eq!(body["token_type"], "bearer");
    let claims = claims(body["access_token"].as_str().unwrap());
    let scopes =
        ["Routes.Read", "Routes.Write", "Api.Proxy"].map(|name| format!("cfapi-broker!t1.{name}"));
    assert_eq!(strings(&claims["scope"]), scopes);
    assert!(strings(&claims["aud"]).contains(&"cfapi-broker!t1"));
    assert_eq!(claims["zid"], sandbox.zone_id());
    assert_eq!(claims["iss"], format!("http://{}/oauth/token", sandbox.uaa_domain()));
    for name in ["sub", "cid", "client_id", "azp"] {
        assert_eq!(claims[name], PROVIDER_CLIENT, "{name}");
    }
    assert_eq!(claims["grant_type"], "client_credentials");
}

#[tokio::test]
async fn a_secret_in_basic_must_be_encoded_and_announced() {
    let sandbox = landscape().await;
    let pairs = [("grant_type", "client_credentials")];
    let encode = |text: &str| form_urlencoded::byte_serialize(text.as_bytes()).collect::<String>();
    let raw =
        format!("Basic {}", STANDARD.encode(format!("{DESTINATION_CLIENT}:{DESTINATION_SECRET}")));
    let encoded = format!("{}:{}", encode(DESTINATION_CLIENT), encode(DESTINATION_SECRET));
    let encoded = format!("Basic {}", STANDARD.encode(encoded));
    assert_eq!(call(&sandbox, &pairs, &[("authorization", &raw)]).await.status, 401);
    assert_eq!(call(&sandbox, &pairs, &[("authorization", &encoded)]).await.status, 401);
    let announced = [("authorization", encoded.as_str()), ("x-cf-encoded-credentials", "true")];
    assert_eq!(call(&sandbox, &pairs, &announced).await.status, 200);
    assert_eq!(technical(&sandbox, DESTINATION_CLIENT, DESTINATION_SECRET).await.status, 200);
}

#[tokio::test]
async fn wrong_secrets_and_wrong_grants_are_refused() {
    let sandbox = landscape().await;
    assert_eq!(technical(&sandbox, PROVIDER_CLIENT, "wrong").await.status, 401);
    let pairs = [("client_id", PROVIDER_CLIENT), ("client_secret", PROVIDER_SECRET)];
    assert_eq!(call(&sandbox, &pairs, &[]).await.status, 400);
    let pairs = [pairs[0], pairs[1], ("grant_type", "password")];
    assert_eq!(call(&sandbox, &pairs, &[]).await.status, 401);
}

#[tokio::test]
async fn a_person_gets_a_user_token() {
    let sandbox = landscape().await;
    let pairs = [
        ("grant_type", "password"),
        ("client_id", BROKER_CLIENT),
        ("client_secret", BROKER_SECRET),
        ("username", cfapi_sandbox::DEVELOPER_USER),
        ("password", cfapi_sandbox::DEVELOPER_PASSWORD),
    ];
    let body = call(&sandbox, &pairs, &[]).await.json();
    let by_grant = claims(body["access_token"].as_str().unwrap());
    let handed_out = claims(&sandbox.developer_token());
    for token in [by_grant, handed_out] {
        assert!(strings(&token["scope"]).contains(&"cfapi-broker!t1.Spaces.Read"));
        assert_eq!(token["user_name"], cfapi_sandbox::DEVELOPER_USER);
        assert_eq!(token["cid"], BROKER_CLIENT);
    }
}

async fn keys(sandbox: &Sandbox, query: &str) -> Answer {
    send(client().get(format!("{}/token_keys{query}", sandbox.xsuaa_url()))).await
}

/// Tells whether the published keys verify the token, as an independent verifier would.
async fn holds(sandbox: &Sandbox, token: &str) -> bool {
    let set = keys(sandbox, &format!("?zid={}", sandbox.zone_id())).await.json();
    let kid = decode_header(token).unwrap().kid;
    let found =
        set["keys"].as_array().unwrap().iter().find(|key| key["kid"].as_str() == kid.as_deref());
    let Some(key) = found else { return false };
    let key =
        DecodingKey::from_rsa_components(key["n"].as_str().unwrap(), key["e"].as_str().unwrap())
            .unwrap();
    let mut rules = Validation::new(Algorithm::RS256);
    rules.set_audience(&[sandbox.xsappname()]);
    decode::<Value>(token, &key, &rules).is_ok()
}

#[tokio::test]
async fn keys_are_per_zone_and_revalidated_by_a_bare_number() {
    let sandbox = landscape().await;
    let good = keys(&sandbox, &format!("?zid={}", sandbox.zone_id())).await;
    let etag = good.header("etag").to_owned();
    assert!(!etag.is_empty() && etag.bytes().all(|byte| byte.is_ascii_digit()));
    let url = format!("{}/token_keys?zid={}", sandbox.xsuaa_url(), sandbox.zone_id());
    let known = send(client().get(&url).header("if-none-match", &etag)).await;
    assert_eq!((known.status.as_u16(), known.header("etag")), (304, etag.as_str()));
    assert_eq!(keys(&sandbox, "?zid=another").await.status, 404);
    assert_eq!(keys(&sandbox, "?zone=x").await.status, 400);
    sandbox.pull("add_odd_keys", &json!({"part": "xsuaa"})).unwrap();
    let changed = send(client().get(&url).header("if-none-match", &etag)).await;
    assert_eq!(changed.status, 200);
    assert_eq!(changed.json()["keys"].as_array().unwrap().len(), 5);
}

#[tokio::test]
async fn a_rotated_key_ends_old_tokens_unless_it_is_kept() {
    let sandbox = landscape().await;
    let first = sandbox.provider_token();
    assert!(holds(&sandbox, &first).await);
    sandbox.pull("rotate_keys", &json!({"part": "xsuaa", "keep_old": true})).unwrap();
    assert!(holds(&sandbox, &first).await);
    let second = sandbox.provider_token();
    sandbox.pull("rotate_keys", &json!({"part": "xsuaa"})).unwrap();
    assert!(!holds(&sandbox, &second).await);
    assert!(holds(&sandbox, &sandbox.provider_token()).await);
}

#[tokio::test]
async fn claims_can_be_replaced_and_removed() {
    let sandbox = landscape().await;
    let changed = claims(&sandbox.token_with_claims(&json!({"zid": "elsewhere", "exp": null})));
    assert_eq!(changed["zid"], "elsewhere");
    assert!(changed.get("exp").is_none());
    assert_eq!(changed["cid"], PROVIDER_CLIENT);
}

const CALLBACK: &str = "http://127.0.0.1:8080/login/callback";

/// The pairs of a code challenge; the verifier is 43 letters.
fn challenge() -> [(&'static str, String); 2] {
    use aws_lc_rs::digest::{SHA256, digest};
    let hash = digest(&SHA256, "v".repeat(43).as_bytes());
    let challenge = base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(hash);
    [("code_challenge", challenge), ("code_challenge_method", "S256".to_owned())]
}

/// An authorization request of a client.
fn authorize_as(sandbox: &Sandbox, client: &str, redirect: &str, more: &[(&str, &str)]) -> String {
    let mut pairs = vec![
        ("response_type", "code"),
        ("client_id", client),
        ("redirect_uri", redirect),
        ("state", "s t&a"),
        ("nonce", "n1"),
    ];
    pairs.extend(more);
    format!("{}/oauth/authorize?{}", sandbox.xsuaa_url(), form(&pairs))
}

/// An authorization request of the broker with PKCE.
fn authorize(sandbox: &Sandbox, redirect: &str, more: &[(&str, &str)]) -> String {
    let challenge = challenge();
    let mut pairs: Vec<(&str, &str)> =
        challenge.iter().map(|(name, value)| (*name, value.as_str())).collect();
    pairs.extend(more);
    authorize_as(sandbox, BROKER_CLIENT, redirect, &pairs)
}

async fn exchange(sandbox: &Sandbox, code: &str, verifier: &str) -> Answer {
    exchange_as(sandbox, (BROKER_CLIENT, BROKER_SECRET), code, verifier).await
}

/// Without a verifier when it is empty.
async fn exchange_as(
    sandbox: &Sandbox,
    (id, secret): (&str, &str),
    code: &str,
    verifier: &str,
) -> Answer {
    let mut pairs = vec![
        ("grant_type", "authorization_code"),
        ("client_id", id),
        ("client_secret", secret),
        ("code", code),
        ("redirect_uri", CALLBACK),
    ];
    if !verifier.is_empty() {
        pairs.push(("code_verifier", verifier));
    }
    call(sandbox, &pairs, &[]).await
}

/// Follows an authorization request that logs on at once.
async fn code_of(url: String) -> String {
    let answer = send(client().get(url)).await;
    assert_eq!(answer.status, 302, "{}", answer.text);
    let location = answer.header("location").to_owned();
    location.split("code=").nth(1).expect("a code").split('&').next().unwrap().to_owned()
}

async fn fresh_code(sandbox: &Sandbox) -> String {
    let user = [("user", cfapi_sandbox::DEVELOPER_USER)];
    let url = authorize(sandbox, "http://127.0.0.1:8080/login/callback", &user);
    let answer = send(client().get(url)).await;
    assert_eq!(answer.status, 302);
    let location = answer.header("location");
    assert!(location.starts_with("http://127.0.0.1:8080/login/callback?code="));
    assert!(location.ends_with("&state=s+t%26a"));
    location.split("code=").nth(1).unwrap().split('&').next().unwrap().to_owned()
}

#[tokio::test]
async fn a_browser_login_takes_one_click_and_its_code_is_good_once() {
    let sandbox = landscape().await;
    let page = send(client().get(authorize(&sandbox, CALLBACK, &[]))).await;
    assert_eq!(page.status, 200);
    assert!(page.text.contains("&amp;user=developer@example.test\""));
    let code = fresh_code(&sandbox).await;
    let body = exchange(&sandbox, &code, &"v".repeat(43)).await.json();
    assert!(holds(&sandbox, body["access_token"].as_str().unwrap()).await);
    let id = claims(body["id_token"].as_str().unwrap());
    assert_eq!((&id["nonce"], &id["aud"]), (&json!("n1"), &json!([BROKER_CLIENT])));
    let again = exchange(&sandbox, &code, &"v".repeat(43)).await;
    assert_eq!(
        (again.status.as_u16(), again.json()["error"].clone()),
        (400, json!("invalid_grant"))
    );
}

#[tokio::test]
async fn a_wrong_verifier_uses_up_the_code_and_a_foreign_address_gets_no_redirect() {
    let sandbox = landscape().await;
    let code = fresh_code(&sandbox).await;
    assert_eq!(exchange(&sandbox, &code, &"w".repeat(43)).await.status, 400);
    assert_eq!(exchange(&sandbox, &code, &"v".repeat(43)).await.status, 400);
    let foreign = send(client().get(authorize(&sandbox, "http://evil.example.test/", &[]))).await;
    assert_eq!((foreign.status.as_u16(), foreign.header("location")), (400, ""));
    let out = format!(
        "{}/logout.do?redirect=http%3A%2F%2F127.0.0.1%3A8080%2F&client_id={BROKER_CLIENT}",
        sandbox.xsuaa_url()
    );
    assert_eq!(send(client().get(out)).await.header("location"), "http://127.0.0.1:8080/");
    let out = format!(
        "{}/logout.do?redirect=http%3A%2F%2Fevil.example.test%2F&client_id={BROKER_CLIENT}",
        sandbox.xsuaa_url()
    );
    assert_eq!(send(client().get(out)).await.header("location"), "/login");
}

const APPROUTER: (&str, &str) = (PROVIDER_CLIENT, PROVIDER_SECRET);
const AS_DEVELOPER: (&str, &str) = ("user", cfapi_sandbox::DEVELOPER_USER);

#[tokio::test]
async fn an_approuter_logs_people_on_with_its_own_client_and_without_pkce() {
    let sandbox = landscape().await;
    let url = authorize_as(&sandbox, PROVIDER_CLIENT, CALLBACK, &[AS_DEVELOPER]);
    let body = exchange_as(&sandbox, APPROUTER, &code_of(url).await, "").await.json();
    let token = claims(body["access_token"].as_str().unwrap_or_default());
    assert_eq!(token["cid"], PROVIDER_CLIENT);
    assert_eq!(token["user_name"], cfapi_sandbox::DEVELOPER_USER);
    assert_eq!(token["scope"], json!(["cfapi-broker!t1.Spaces.Read", "openid"]));
}

#[tokio::test]
async fn a_verifier_is_needed_exactly_if_the_request_had_a_challenge() {
    let sandbox = landscape().await;
    let with = code_of(authorize(&sandbox, CALLBACK, &[AS_DEVELOPER])).await;
    let missing = exchange(&sandbox, &with, "").await;
    assert_eq!(missing.status, 400);
    assert_eq!(
        missing.json(),
        json!({"error": "invalid_grant", "error_description":
            "PKCE error: Code verifier must be provided for this authorization code."})
    );
    let without = code_of(authorize_as(&sandbox, PROVIDER_CLIENT, CALLBACK, &[AS_DEVELOPER])).await;
    let superfluous = exchange_as(&sandbox, APPROUTER, &without, &"v".repeat(43)).await;
    assert_eq!(
        superfluous.json()["error_description"],
        "PKCE error: Code verifier not required for this authorization code."
    );
    let plain = [AS_DEVELOPER, ("code_challenge", &"p".repeat(43))];
    let plain = code_of(authorize_as(&sandbox, BROKER_CLIENT, CALLBACK, &plain)).await;
    assert_eq!(exchange(&sandbox, &plain, &"p".repeat(43)).await.status, 200);
}

#[tokio::test]
async fn a_bad_challenge_leads_back_with_an_error_and_a_code_belongs_to_its_client() {
    let sandbox = landscape().await;
    let challenge = "c".repeat(43);
    for (pairs, text) in [
        ([("code_challenge", "short"), ("code_challenge_method", "S256")], "Code+challenge+length"),
        (
            [("code_challenge", challenge.as_str()), ("code_challenge_method", "S512")],
            "Unsupported+code+challenge+method.",
        ),
    ] {
        let url = authorize_as(&sandbox, BROKER_CLIENT, CALLBACK, &pairs);
        let location = send(client().get(url)).await.header("location").to_owned();
        let start = format!("{CALLBACK}?error=invalid_request&error_description={text}");
        assert!(location.starts_with(&start), "{location}");
        assert!(location.ends_with("&state=s+t%26a"), "{location}");
    }
    let code = code_of(authorize(&sandbox, CALLBACK, &[AS_DEVELOPER])).await;
    let foreign = exchange_as(&sandbox, APPROUTER, &code, &"v".repeat(43)).await;
    assert_eq!(foreign.status, 401);
    assert_eq!(foreign.json()["error"], "invalid_client");
}

#[tokio::test]
async fn a_session_logs_on_without_a_click_until_the_logout() {
    let sandbox = landscape().await;
    let first = send(client().get(authorize(&sandbox, CALLBACK, &[AS_DEVELOPER]))).await;
    let cookie = first.header("set-cookie").split(';').next().unwrap().to_owned();
    assert!(cookie.starts_with("JSESSIONID="), "{cookie}");
    let within = |url: String| send(client().get(url).header("cookie", cookie.clone()));
    let url = authorize_as(&sandbox, PROVIDER_CLIENT, CALLBACK, &[]);
    let again = within(url.clone()).await;
    assert_eq!(again.status, 302, "{}", again.text);
    let page = "https://acme-bookshop.cfapps.example.test/bye";
    let pairs = form(&[("redirect", page), ("client_id", PROVIDER_CLIENT)]);
    let out = within(format!("{}/logout.do?{pairs}", sandbox.xsuaa_url())).await;
    assert_eq!((out.status.as_u16(), out.header("location")), (302, page));
    assert_eq!(within(url).await.status, 200);
}

#[tokio::test]
async fn a_test_can_publish_its_own_key() {
    let sandbox = landscape().await;
    let key = json!({"kty": "oct", "kid": "mine", "k": "AA"});
    sandbox.pull("add_odd_keys", &json!({"part": "xsuaa", "keys": [key]})).unwrap();
    let set = keys(&sandbox, "").await.json();
    assert_eq!(set["keys"][1], key);
    assert_eq!(sandbox.xsuaa_key().kid(), set["keys"][0]["kid"].as_str().unwrap());
}
