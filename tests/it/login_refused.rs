//! Logins and cookies that do not count.

use rstest::rstest;
use serde_json::json;

use cfapi_sandbox::{BROKER_CLIENT, Part};

use crate::support::{
    Answer, TestBroker,
    browser::{Browser, NAVIGATION, PAGE, location, set_cookies, started},
    client, parse, pull, sandbox, variables, variables_of,
};

/// Asserts that a login was refused with a page that offers to begin again, and no session began.
fn assert_refused(answer: &Answer, browser: &Browser) {
    assert_eq!(answer.status, 400, "{}", answer.text);
    for text in ["Login not accepted", "login_failed", "Log in again"] {
        assert!(answer.text.contains(text), "{text}: {}", answer.text);
    }
    assert_eq!(browser.cookie(PAGE), None);
    assert!(set_cookies(answer).iter().all(|line| line.contains("Max-Age=0")));
}

fn parameter(url: &str, name: &str) -> String {
    let url = url::Url::parse(url).unwrap();
    url.query_pairs().find(|(found, _)| found == name).unwrap().1.into_owned()
}

#[tokio::test]
async fn an_answer_of_xsuaa_is_taken_once() {
    let (sandbox, broker) = started().await;
    let browser = Browser::default();
    let back = browser.choose(&browser.begin(&broker).await, "developer").await;
    assert_eq!(browser.open(&back).await.status, 302);
    browser.cookies.lock().unwrap().remove(PAGE);
    sandbox.clear_journal();
    assert_refused(&browser.open(&back).await, &browser);
    // XSUAA refuses a used code as well, so it must not be asked.
    assert_eq!(sandbox.journal().iter().filter(|entry| entry.path == "/oauth/token").count(), 0);
}

#[tokio::test]
async fn an_answer_is_taken_only_from_the_browser_that_began() {
    let (sandbox, broker) = started().await;
    let (browser, other) = (Browser::default(), Browser::default());
    let back = browser.choose(&browser.begin(&broker).await, "developer").await;
    other.begin(&broker).await;
    assert_refused(&other.open(&back).await, &other);
    let grants = sandbox.journal().into_iter().filter_map(|entry| entry.grant_type);
    let exchanged = grants.filter(|grant| grant == "authorization_code");
    assert_eq!(exchanged.count(), 0, "the code was sent");
}

#[rstest]
#[case::other_state(|url: &str, state: &str| url.replace(state, &"A".repeat(state.len())))]
#[case::no_state(|url: &str, state: &str| url.replace(&format!("state={state}"), ""))]
#[case::two_states(|url: &str, state: &str| format!("{url}&state={state}"))]
#[case::two_codes(|url: &str, _: &str| format!("{url}&code=x"))]
#[case::no_code(|url: &str, _: &str| url.replace("code=", "cody="))]
#[case::other_code(|url: &str, _: &str| url.replace("code=", "code=x"))]
#[case::refused(|url: &str, _: &str| format!("{url}&error=access_denied&error_description=Canary-Text"))]
#[tokio::test]
async fn a_changed_answer_is_refused(#[case] change: fn(&str, &str) -> String) {
    let (_sandbox, broker) = started().await;
    let browser = Browser::default();
    let back = browser.choose(&browser.begin(&broker).await, "developer").await;
    let changed = change(&back, &parameter(&back, "state"));
    assert_ne!(changed, back);
    let refused = browser.open(&changed).await;
    assert_refused(&refused, &browser);
    assert!(!refused.text.contains("Canary-Text"));
}

#[tokio::test]
async fn the_code_of_another_login_does_not_fit_the_verifier() {
    let (_sandbox, broker) = started().await;
    let browser = Browser::default();
    let (one, two) = (browser.begin(&broker).await, browser.begin(&broker).await);
    let (one, two) =
        (browser.choose(&one, "developer").await, browser.choose(&two, "operator").await);
    let mixed = one.replace(&parameter(&one, "code"), &parameter(&two, "code"));
    let refused = browser.open(&mixed).await;
    assert_refused(&refused, &browser);
    assert!(refused.text.contains("does not accept the code"), "{}", refused.text);
}

/// The person of the sandbox.
const SUBJECT: &str = "44444444-4444-4444-8444-444444444444";

#[rstest]
#[case::right(json!({}), 302)]
#[case::other_nonce(json!({"nonce": "AAAA"}), 400)]
#[case::no_nonce(json!({"nonce": null}), 400)]
#[case::other_person(json!({"sub": "55555555-5555-4555-8555-555555555555"}), 400)]
#[case::other_client(json!({"aud": ["sb-bookshop!t4711"], "cid": "sb-bookshop!t4711"}), 400)]
#[case::application_only(json!({"aud": ["cfapi-broker!t1"]}), 400)]
#[case::expired(json!({"exp": 1_700_000_000}), 400)]
#[case::other_issuer(json!({"iss": "https://evil.example/oauth/token"}), 400)]
#[case::other_zone(json!({"zid": "other"}), 400)]
#[tokio::test]
async fn the_id_token_must_be_the_answer_to_this_login(
    #[case] claims: serde_json::Value,
    #[case] status: u16,
) {
    let (sandbox, broker) = started().await;
    let browser = Browser::default();
    let begun = browser.begin(&broker).await;
    let back = browser.choose(&begun, "developer").await;
    let mut id = json!({
        "nonce": parameter(&begun, "nonce"), "sub": SUBJECT, "aud": [BROKER_CLIENT],
        "cid": BROKER_CLIENT,
    });
    id.as_object_mut().unwrap().extend(claims.as_object().unwrap().clone());
    let id = sandbox.token_with_claims(&id);
    pull(&sandbox, "token_answer", &json!({"part": "xsuaa", "n": 1, "set": {"id_token": id}}));
    let done = browser.open(&back).await;
    assert_eq!(done.status, status, "{}", done.text);
    if status == 400 {
        assert_refused(&done, &browser);
    }
}

#[rstest]
#[case::none(json!({"unset": ["id_token"]}))]
#[case::not_signed(json!({"set": {"id_token": "eyJhbGciOiJub25lIn0.e30."}}))]
#[case::number(json!({"set": {"id_token": 7}}))]
#[tokio::test]
async fn without_a_good_id_token_nobody_is_logged_in(#[case] change: serde_json::Value) {
    let (sandbox, broker) = started().await;
    let browser = Browser::default();
    let back = browser.choose(&browser.begin(&broker).await, "developer").await;
    let mut lever = json!({"part": "xsuaa", "n": 1});
    lever.as_object_mut().unwrap().extend(change.as_object().unwrap().clone());
    pull(&sandbox, "token_answer", &lever);
    assert_refused(&browser.open(&back).await, &browser);
}

#[rstest]
#[case::down(json!({"part": "xsuaa", "n": 1, "status": 503}), 503, "keys_unavailable")]
#[case::cut(json!({"part": "xsuaa", "n": 1, "raw": "HTTP/1.1 ", "reset": true}), 503, "keys_unavailable")]
#[case::client(
    json!({"part": "xsuaa", "n": 1, "status": 401, "body": {"error": "invalid_client"}}),
    500, "issuer_not_bound"
)]
#[tokio::test]
async fn a_fault_of_xsuaa_is_told_from_a_wrong_code(
    #[case] fault: serde_json::Value,
    #[case] status: u16,
    #[case] code: &str,
) {
    let (sandbox, broker) = started().await;
    let browser = Browser::default();
    let back = browser.choose(&browser.begin(&broker).await, "developer").await;
    pull(&sandbox, "fail_next", &fault);
    let failed = browser.open(&back).await;
    assert_eq!(failed.status, status, "{}", failed.text);
    assert!(failed.text.contains(code) && failed.text.contains("Log in again"), "{}", failed.text);
    assert_eq!(failed.headers.contains_key("retry-after"), status == 503);
    assert_eq!(browser.cookie(PAGE), None);
}

#[rstest]
#[case::tampered(|value: &str| value.replace(['A', 'B', 'C', 'E'], "D"))]
#[case::cut(|value: &str| value.chars().skip(4).collect())]
#[case::garbage(|_: &str| "garbage".to_owned())]
#[case::oversized(|value: &str| value.repeat(20))]
#[tokio::test]
async fn a_changed_cookie_is_nobody_and_is_removed(#[case] change: fn(&str) -> String) {
    let (_sandbox, broker) = started().await;
    let browser = Browser::default();
    browser.log_in(&broker, "developer").await;
    let changed = change(&browser.cookie(PAGE).unwrap());
    let give = || drop(browser.cookies.lock().unwrap().insert(PAGE.to_owned(), changed.clone()));
    give();
    let led = browser.open(&format!("{}/spaces", broker.base)).await;
    assert_eq!(led.status, 302, "{}", led.text);
    assert_eq!(browser.cookie(PAGE), None);
    give();
    let refused = browser.send(client().get(format!("{}/spaces", broker.base))).await;
    assert_eq!((refused.status, refused.code().as_str()), (401, "unauthenticated"));
    assert_eq!(browser.cookie(PAGE), None);
}

#[tokio::test]
async fn a_cookie_sealed_with_the_key_of_another_system_is_nobody() {
    let (_sandbox, broker) = started().await;
    let browser = Browser::default();
    browser.log_in(&broker, "developer").await;
    let sandbox = sandbox().await;
    let mut services = parse(&sandbox.vcap_services());
    services["xsuaa"][0]["credentials"]["clientsecret"] = json!("another secret");
    let services = services.to_string();
    let other = variables_of(&services, &sandbox.vcap_application("127.0.0.1"));
    let other = TestBroker::with(other).await;
    assert_eq!(browser.open(&format!("{}/spaces", other.base)).await.status, 302);
}

#[rstest]
#[case("GET", "/v3/spaces")]
#[case("GET", "/routes")]
#[case("GET", "/routes/t1")]
#[case("HEAD", "/destinations")]
#[case("GET", "/metrics")]
#[case("HEAD", "/spaces")]
#[case("POST", "/v3/routes")]
#[case("PUT", "/routes/t1")]
#[case("DELETE", "/routes/t1")]
#[case("PATCH", "/v3/routes/r1")]
#[case("POST", "/routes/batch")]
#[case("POST", "/destinations/CFAPI/retry")]
#[tokio::test]
async fn a_cookie_opens_pages_only(#[case] method: &str, #[case] path: &str) {
    let (sandbox, broker) = started().await;
    let browser = Browser::default();
    browser.log_in(&broker, "operator").await;
    sandbox.clear_journal();
    let request = client().request(method.parse().unwrap(), format!("{}{path}", broker.base));
    let refused = browser.send(request).await;
    assert_eq!(refused.status, 401, "{}", refused.text);
    assert_eq!(sandbox.journal().iter().filter(|entry| entry.part == Part::Cf).count(), 0);
}

#[rstest]
#[case("POST")]
#[case("PUT")]
#[case("PATCH")]
#[case("DELETE")]
#[tokio::test]
async fn pages_are_for_reading(#[case] method: &str) {
    let (_sandbox, broker) = started().await;
    let browser = Browser::default();
    browser.log_in(&broker, "operator").await;
    let request = client().request(method.parse().unwrap(), format!("{}/spaces", broker.base));
    let refused = browser.send(request).await;
    assert_eq!((refused.status, refused.code().as_str()), (405, "method_not_allowed"));
}

#[rstest]
#[case::script(&[("accept", "*/*"), ("sec-fetch-mode", "cors")])]
#[case::image(&[("accept", "image/*"), ("sec-fetch-mode", "no-cors")])]
#[case::script_for_html(&[("accept", "text/html"), ("sec-fetch-mode", "cors")])]
#[case::program(&[("accept", "text/html")])]
#[case::navigation_for_json(&[("accept", "application/json"), ("sec-fetch-mode", "navigate")])]
#[tokio::test]
async fn only_a_person_who_opens_a_page_is_led_to_the_login(#[case] headers: &[(&str, &str)]) {
    let (_sandbox, broker) = started().await;
    let request = client().get(format!("{}/spaces", broker.base));
    let request = headers.iter().fold(request, |it, (name, value)| it.header(*name, *value));
    let refused = crate::support::answer(request).await;
    assert_eq!(refused.status, 401, "{}", refused.text);
    assert!(!refused.headers.contains_key("location"));
}

#[tokio::test]
async fn a_bad_token_does_not_fall_back_to_the_cookie() {
    let (_sandbox, broker) = started().await;
    let browser = Browser::default();
    browser.log_in(&broker, "developer").await;
    let request = client().get(format!("{}/spaces", broker.base)).bearer_auth("a.b.c");
    let request = NAVIGATION.into_iter().fold(request, |it, (name, value)| it.header(name, value));
    let refused = browser.send(request).await;
    assert_eq!(refused.status, 401, "{}", refused.text);
    assert!(refused.headers["www-authenticate"].to_str().unwrap().contains("invalid_token"));
    // A person is told what an approuter that passes it on lacks, other clients are not.
    assert!(refused.text.contains("role SpacesViewer"), "{}", refused.text);
    let request = client().get(format!("{}/spaces", broker.base)).bearer_auth("a.b.c");
    let other = crate::support::answer(request).await;
    assert_eq!(other.status, 401, "{}", other.text);
    assert!(!other.text.contains("SpacesViewer"), "{}", other.text);
}

#[rstest]
#[case("https://evil.example")]
#[case("//evil.example")]
#[case("/%5Cevil.example")]
#[case("/metrics")]
#[case("javascript:alert(1)")]
#[tokio::test]
async fn a_login_leads_to_no_other_place(#[case] target: &str) {
    let (_sandbox, broker) = started().await;
    let browser = Browser::default();
    let led = browser.open(&format!("{}/login?return={target}", broker.base)).await;
    let back = browser.choose(&location(&led), "developer").await;
    let done = browser.open(&back).await;
    assert_eq!((done.status, location(&done)), (302, format!("{}/spaces", broker.base)));
}

/// Starts a broker with changed variables and opens `/spaces` and `/login`.
async fn refused_by(
    change: impl FnOnce(&mut std::collections::BTreeMap<String, String>),
) -> Answer {
    let sandbox = sandbox().await;
    let mut variables = variables(&sandbox);
    change(&mut variables);
    let broker = TestBroker::with(variables).await;
    let browser = Browser::default();
    let page = browser.open(&format!("{}/spaces", broker.base)).await;
    let login = browser.open(&format!("{}/login", broker.base)).await;
    assert_eq!(login.status, page.status, "{}", login.text);
    assert!(page.headers["content-type"].to_str().unwrap().starts_with("text/html"));
    assert!(browser.cookies.lock().unwrap().is_empty());
    let is_unbound = page.status == 500;
    for path in ["/problems", "/problems/not-found", "/none"] {
        let other = browser.open(&format!("{}{path}", broker.base)).await;
        let says = other.text.contains("Nobody can log in here: ");
        assert_eq!(says, is_unbound, "{path}: {}", other.text);
    }
    assert!(!page.text.contains("Nobody can log in here: "), "said twice: {}", page.text);
    let spaces = broker.get("/spaces", &sandbox.developer_token()).await;
    assert_eq!(spaces.status == 200, !page.text.contains("no xsuaa binding"), "{}", spaces.text);
    page
}

fn change_services(
    variables: &mut std::collections::BTreeMap<String, String>,
    change: impl FnOnce(&mut serde_json::Value),
) {
    let mut services = parse(&variables["VCAP_SERVICES"]);
    change(&mut services);
    variables.insert("VCAP_SERVICES".to_owned(), services.to_string());
}

#[tokio::test]
async fn a_login_that_is_switched_off_says_so() {
    let page = refused_by(|variables| {
        variables.insert("CFAPI_LOGIN__ENABLED".to_owned(), "false".to_owned());
    })
    .await;
    assert_eq!(page.status, 401, "{}", page.text);
    assert!(page.text.contains("login.enabled") && page.text.contains("approuter"));
}

#[tokio::test]
async fn without_an_xsuaa_binding_the_page_says_what_to_do() {
    let page = refused_by(|variables| {
        change_services(variables, |services| {
            services.as_object_mut().unwrap().remove("xsuaa");
        });
    })
    .await;
    assert_eq!(page.status, 500, "{}", page.text);
    assert!(page.text.contains("no xsuaa binding"), "{}", page.text);
    assert!(page.text.contains("bind a service instance of xsuaa and restart"), "{}", page.text);
}

#[tokio::test]
async fn a_binding_with_a_certificate_needs_a_key() {
    let page = refused_by(|variables| {
        change_services(variables, |services| {
            let credentials = services["xsuaa"][0]["credentials"].as_object_mut().unwrap();
            credentials.remove("clientsecret");
            let (url, pem) = (credentials["url"].clone(), json!("no PEM"));
            credentials.extend([
                ("credential-type".to_owned(), json!("x509")),
                ("certurl".to_owned(), url),
                ("certificate".to_owned(), pem.clone()),
                ("key".to_owned(), pem),
            ]);
        });
    })
    .await;
    assert_eq!(page.status, 500, "{}", page.text);
    assert!(page.text.contains("cfapi-login"), "{}", page.text);
}

#[tokio::test]
async fn a_login_cannot_replace_a_client_certificate() {
    let sandbox = sandbox().await;
    let mut variables = variables(&sandbox);
    variables.insert("CFAPI_AUTH__REQUIRE_MTLS".to_owned(), "true".to_owned());
    variables
        .insert("CFAPI_AUTH__CERT_HOSTS".to_owned(), r#"["broker.cert.example.test"]"#.to_owned());
    let broker = TestBroker::with(variables).await;
    let page = Browser::default().open(&format!("{}/spaces", broker.base)).await;
    assert_eq!(page.status, 401, "{}", page.text);
    assert!(page.text.contains("require_mtls"), "{}", page.text);
}

#[tokio::test]
async fn a_person_has_the_limits_of_one_caller() {
    let sandbox = sandbox().await;
    let mut variables = variables(&sandbox);
    variables.insert("CFAPI_AUTH__BURST".to_owned(), "2".to_owned());
    variables.insert("CFAPI_AUTH__REQUESTS_PER_SECOND".to_owned(), "1".to_owned());
    let broker = TestBroker::with(variables).await;
    let browser = Browser::default();
    browser.log_in(&broker, "developer").await;
    let mut statuses = Vec::new();
    for _ in 0..4 {
        statuses.push(browser.open(&format!("{}/spaces", broker.base)).await.status);
    }
    assert!(statuses.starts_with(&[200, 200]) && statuses.contains(&429), "{statuses:?}");
}
