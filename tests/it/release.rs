//! The page of destinations, and the release of one logon by its form: the only write by a cookie.

use http::Method;
use rstest::rstest;
use serde_json::{Value, json};

use cfapi_sandbox::{BROKER_CLIENT, Sandbox};

use crate::support::{
    Answer, TestBroker, answer,
    audited_program::AuditedProgram,
    browser::{Browser, NAVIGATION, location},
    client, pull, sandbox, variables,
};

/// A broker whose technical user needed a second factor: the repair is not visible to the broker.
async fn blocked() -> (Sandbox, TestBroker) {
    let sandbox = sandbox().await;
    pull(&sandbox, "uaa_fault", &json!({"row": "F7", "n": 1}));
    let broker = TestBroker::start(&sandbox).await;
    let refused = broker.get("/spaces", &sandbox.developer_token()).await;
    assert_eq!(refused.code(), "technical_user_mfa");
    assert_eq!(sandbox.password_grants(), 1);
    (sandbox, broker)
}

async fn logged_in(broker: &TestBroker, user: &str) -> Browser {
    let browser = Browser::default();
    browser.log_in(broker, user).await;
    browser
}

async fn page(browser: &Browser, broker: &TestBroker) -> Answer {
    let page = browser.open(&format!("{}/destinations", broker.base)).await;
    assert_eq!(page.status, 200, "{}", page.text);
    page
}

/// The path and the token of the form of a page.
fn form_of(page: &str) -> (String, String) {
    let between = |start: &str| {
        let (_, rest) = page.split_once(start).unwrap_or_else(|| panic!("{start}: {page}"));
        rest.split('"').next().unwrap().to_owned()
    };
    let (_, form) = page.split_once("<details>").unwrap_or_else(|| panic!("no form: {page}"));
    let path = form.split_once("action=\"").unwrap().1.split('"').next().unwrap().to_owned();
    (path, between("name=\"form\" value=\""))
}

/// A form as a browser sends it.
fn sent(url: &str, origin: Option<&str>, token: &str) -> reqwest::RequestBuilder {
    let request = client().post(url);
    let request = NAVIGATION.into_iter().fold(request, |it, (name, value)| it.header(name, value));
    let request = origin.into_iter().fold(request, |it, origin| it.header("origin", origin));
    let body = form_urlencoded::Serializer::new(String::new()).append_pair("form", token).finish();
    request.header("content-type", "application/x-www-form-urlencoded").body(body)
}

/// Opens the page and sends its form.
async fn release(browser: &Browser, broker: &TestBroker) -> Answer {
    let (path, token) = form_of(&page(browser, broker).await.text);
    browser.send(sent(&format!("{}{path}", broker.base), Some(&broker.base), &token)).await
}

#[tokio::test]
async fn the_page_says_how_each_technical_user_is_and_what_happened() {
    let (_sandbox, broker) = blocked().await;
    let browser = logged_in(&broker, "developer").await;
    let page = page(&browser, &broker).await;
    assert_eq!(page.headers["vary"], "Accept");
    for text in [
        "<bdi>CFAPI</bdi></h2>",
        ">Needs attention<",
        "is asked for a second factor.",
        "then release one attempt.",
        "Lockout guard</dt><dd><bdi>blocked",
        "Last events",
        "href=\"/problems/technical-user-mfa\"",
        "aria-current=\"page\">Destinations",
        "Only people with the role RoutesAdministrator",
    ] {
        assert!(page.text.contains(text), "{text}: {}", page.text);
    }
    // Only an operator has the button.
    assert!(!page.text.contains("<details>") && !page.text.contains("name=\"form\""));
    assert_eq!(page.headers["referrer-policy"], "no-referrer");
}

#[tokio::test]
async fn programs_get_the_same_as_json() {
    let (sandbox, broker) = blocked().await;
    let listed = broker.get("/destinations", &sandbox.developer_token()).await;
    let state = &listed.json()["resources"][0];
    assert_eq!(state["condition"]["state"], "needs attention", "{state}");
    assert_eq!(state["condition"]["until"], Value::Null);
    let cause = state["condition"]["cause"].as_str().unwrap();
    assert_eq!(cause, "The technical user is asked for a second factor.");
    assert_eq!(
        state["attempts"],
        json!({"instance_index": null, "released": 0, "unsuccessful": 1})
    );
    let event = &state["events"][0];
    let told = [&event["event"], &event["code"], &event["times"]];
    assert_eq!(told, [&json!("refused"), &json!("technical_user_mfa"), &json!(1)]);
    let admin = sandbox.admin_token();
    let retry = "/destinations/CFAPI/retry";
    assert_eq!(broker.send(Method::POST, retry, Some(&admin), None).await.status, 200);
    let listed = broker.get("/destinations", &sandbox.developer_token()).await;
    let state = &listed.json()["resources"][0];
    assert_eq!(state["condition"]["state"], "healthy", "{state}");
    let events = state["events"].as_array().unwrap().iter();
    let words: Vec<_> = events.map(|event| event["event"].as_str().unwrap()).collect();
    assert_eq!(words, ["renewed", "released", "refused"]);
    assert_eq!(state["attempts"]["released"], 1);
}

#[tokio::test]
async fn an_operator_releases_one_attempt_and_sees_what_came_of_it() {
    let (sandbox, broker) = blocked().await;
    let browser = logged_in(&broker, "operator").await;
    let before = page(&browser, &broker).await;
    // Otherwise browsers write `Origin: null`.
    assert_eq!(before.headers["referrer-policy"], "same-origin");
    for text in [
        "This instance has made this page",
        "0 released attempts for",
        "1 password of this user",
        "lock a user after five",
        "<summary>Release one attempt for CFAPI</summary>",
    ] {
        assert!(before.text.contains(text), "{text}: {}", before.text);
    }
    let done = release(&browser, &broker).await;
    assert_eq!(done.status, 303, "{}", done.text);
    assert_eq!(sandbox.password_grants(), 2);
    let led = location(&done);
    assert!(led.starts_with(&format!("{}/destinations?done=", broker.base)), "{led}");
    // A reload repeats nothing.
    for _ in 0..3 {
        let shown = browser.open(&led).await;
        for text in [
            "One logon for destination CFAPI succeeded.",
            "sent 1 released",
            ">Healthy<",
            "New token",
        ] {
            assert!(shown.text.contains(text), "{text}: {}", shown.text);
        }
    }
    assert_eq!(sandbox.password_grants(), 2);
    assert!(!page(&browser, &broker).await.text.contains("One logon for destination"));
    // What came of it is for this person only.
    let other = logged_in(&broker, "operator").await;
    assert!(!other.open(&led).await.text.contains("One logon for destination"));
}

#[tokio::test]
async fn a_refused_attempt_is_shown_with_its_cost() {
    let (sandbox, broker) = blocked().await;
    let browser = logged_in(&broker, "operator").await;
    pull(&sandbox, "uaa_fault", &json!({"row": "F1", "n": 1}));
    let done = release(&browser, &broker).await;
    let shown = browser.open(&location(&done)).await;
    for text in [
        "One logon for destination CFAPI was sent without success.",
        "In all it has sent 2 passwords of",
        "href=\"/problems/technical-user-rejected\"",
        ">Refused<",
        "This would be released attempt 2.",
    ] {
        assert!(shown.text.contains(text), "{text}: {}", shown.text);
    }
    assert!(!shown.text.contains("POST"), "{}", shown.text);
}

/// What is wrong with a form.
#[rstest]
#[case::no_origin(|it: Parts| Parts { origin: None, ..it })]
#[case::null_origin(|it: Parts| Parts { origin: Some("null".to_owned()), ..it })]
#[case::foreign_port(|it: Parts| {
    let (host, port) = it.origin.as_deref().unwrap().rsplit_once(':').unwrap();
    let port: u16 = port.parse().unwrap();
    Parts { origin: Some(format!("{host}:{}", port ^ 1)), ..it }
})]
#[case::foreign_scheme(|it: Parts| Parts { origin: Some(it.origin.unwrap().replace("http:", "https:")), ..it })]
#[case::foreign_host(|it: Parts| Parts { origin: Some("https://evil.example".to_owned()), ..it })]
#[case::path_in_origin(|it: Parts| Parts { origin: Some(format!("{}/", it.origin.unwrap())), ..it })]
#[case::no_token(|it: Parts| Parts { token: String::new(), ..it })]
#[case::changed_token(|it: Parts| Parts { token: it.token.replace(['A', 'B', 'C', 'D', 'E'], "x"), ..it })]
#[case::two_tokens(|it: Parts| Parts { token: format!("{0}&form={0}", it.token), is_raw: true, ..it })]
#[case::other_destination(|it: Parts| Parts { path: it.path.replace("CFAPI", "OTHER"), ..it })]
#[tokio::test]
async fn a_form_that_is_not_of_the_brokers_page_releases_nothing(
    #[case] change: fn(Parts) -> Parts,
) {
    let (sandbox, broker) = blocked().await;
    let browser = logged_in(&broker, "operator").await;
    let (path, token) = form_of(&page(&browser, &broker).await.text);
    let right = Parts { path, token, origin: Some(broker.base.clone()), is_raw: false };
    let wrong = change(right.clone());
    let refused = browser.send(wrong.request(&broker)).await;
    assert_eq!(refused.status, 403, "{}", refused.text);
    let code = if wrong.origin == right.origin { "form_invalid" } else { "cross_site" };
    for text in [code, "Nothing was done", "Logged in as"] {
        assert!(refused.text.contains(text), "{text}: {}", refused.text);
    }
    assert_eq!(sandbox.password_grants(), 1);
    // The right one counts.
    assert_eq!(browser.send(right.request(&broker)).await.status, 303);
    assert_eq!(sandbox.password_grants(), 2);
}

/// A form in its parts.
#[derive(Clone, Debug)]
struct Parts {
    path: String,
    origin: Option<String>,
    token: String,
    /// The token is already a body.
    is_raw: bool,
}

impl Parts {
    fn request(&self, broker: &TestBroker) -> reqwest::RequestBuilder {
        let url = format!("{}{}", broker.base, self.path);
        let request = sent(&url, self.origin.as_deref(), &self.token);
        if self.is_raw { request.body(format!("form={}", self.token)) } else { request }
    }
}

#[tokio::test]
async fn a_form_is_for_the_session_that_got_it() {
    let (sandbox, broker) = blocked().await;
    let (one, other) = (logged_in(&broker, "operator").await, logged_in(&broker, "operator").await);
    let (path, token) = form_of(&page(&one, &broker).await.text);
    let url = format!("{}{path}", broker.base);
    let refused = other.send(sent(&url, Some(&broker.base), &token)).await;
    assert_eq!(refused.status, 403, "{}", refused.text);
    assert!(refused.text.contains("form_invalid"), "{}", refused.text);
    // Nor does what came of a release count as a form.
    let done = location(&one.send(sent(&url, Some(&broker.base), &token)).await);
    let outcome = done.split_once("done=").unwrap().1;
    let refused = one.send(sent(&url, Some(&broker.base), outcome)).await;
    assert_eq!(refused.status, 403, "{}", refused.text);
    assert_eq!(sandbox.password_grants(), 2);
}

#[tokio::test]
async fn a_form_needs_a_person_who_may_release() {
    let (sandbox, broker) = blocked().await;
    let operator = logged_in(&broker, "operator").await;
    let (path, token) = form_of(&page(&operator, &broker).await.text);
    let url = format!("{}{path}", broker.base);
    let form = || sent(&url, Some(&broker.base), &token);
    let developer = logged_in(&broker, "developer").await;
    let refused = developer.send(form()).await;
    assert_eq!(refused.status, 403, "{}", refused.text);
    assert!(refused.text.contains("Routes.Admin"), "{}", refused.text);
    let nobody = answer(form()).await;
    assert_eq!(nobody.status, 401, "{}", nobody.text);
    assert!(!nobody.text.contains("bearer token is needed"), "{}", nobody.text);
    for text in ["your login has ended", "href=\"/login?return=%2Fdestinations\""] {
        assert!(nobody.text.contains(text), "{text}: {}", nobody.text);
    }
    // With a header the cookie is not looked at.
    let refused = operator.send(form().bearer_auth("a.b.c")).await;
    assert_eq!(refused.status, 401, "{}", refused.text);
    let get = operator.open(&format!("{url}?form={token}")).await;
    assert_eq!(get.status, 405, "{}", get.text);
    let json = client().post(&url).header("origin", &broker.base);
    let json = json.header("content-type", "application/json");
    let json = json.body(json!({"form": token}).to_string());
    assert_eq!(operator.send(json).await.status, 415);
    assert_eq!(sandbox.password_grants(), 1);
}

#[tokio::test]
async fn the_call_for_programs_takes_no_cookie() {
    let (sandbox, broker) = blocked().await;
    let browser = logged_in(&broker, "operator").await;
    let (_, token) = form_of(&page(&browser, &broker).await.text);
    let url = format!("{}/destinations/CFAPI/retry", broker.base);
    let refused = browser.send(sent(&url, Some(&broker.base), &token)).await;
    assert_eq!(refused.status, 401, "{}", refused.text);
    assert_eq!(sandbox.password_grants(), 1);
}

#[tokio::test]
async fn a_form_that_is_sent_twice_releases_once() {
    let (sandbox, broker) = blocked().await;
    let browser = logged_in(&broker, "operator").await;
    let send = async |token: &str, path: &str| {
        let url = format!("{}{path}", broker.base);
        let done = browser.send(sent(&url, Some(&broker.base), token)).await;
        browser.open(&location(&done)).await.text
    };
    let (path, first) = form_of(&page(&browser, &broker).await.text);
    assert!(send(&first, &path).await.contains("succeeded"));
    let again = send(&first, &path).await;
    for text in ["has released no attempt", "sent 1 released", "released attempt 2"] {
        assert!(again.contains(text), "{text}: {again}");
    }
    // The page of now tells of the first one, so its form releases one more; once.
    let (_, second) = form_of(&page(&browser, &broker).await.text);
    assert!(send(&second, &path).await.contains("sent 2 released"));
    assert!(send(&second, &path).await.contains("has released no attempt"));
    assert_eq!(sandbox.password_grants(), 3);
}

#[tokio::test]
async fn a_locked_user_is_released_only_by_a_page_that_says_so() {
    let sandbox = sandbox().await;
    let broker = TestBroker::start(&sandbox).await;
    let browser = logged_in(&broker, "operator").await;
    assert_eq!(broker.get("/spaces", &sandbox.developer_token()).await.status, 200);
    let (path, early) = form_of(&page(&browser, &broker).await.text);
    pull(&sandbox, "uaa_fault", &json!({"row": "F3", "n": 1}));
    let admin = sandbox.admin_token();
    let retry = "/destinations/CFAPI/retry";
    assert_eq!(broker.send(Method::POST, retry, Some(&admin), None).await.status, 200);
    let sent_before = sandbox.password_grants();
    let url = format!("{}{path}", broker.base);
    let refused = browser.send(sent(&url, Some(&broker.base), &early)).await;
    let shown = browser.open(&location(&refused)).await.text;
    for text in ["has released no attempt", "the user is locked", ">Locked until "] {
        assert!(shown.contains(text), "{text}: {shown}");
    }
    assert!(shown.contains("Release one only if an administrator has unlocked the user."));
    assert_eq!(sandbox.password_grants(), sent_before);
    let done = release(&browser, &broker).await;
    assert!(browser.open(&location(&done)).await.text.contains("succeeded"));
    assert_eq!(sandbox.password_grants(), sent_before + 1);
}

#[tokio::test]
async fn a_page_that_told_of_a_release_overrides_no_later_lock() {
    let (sandbox, broker) = blocked().await;
    let browser = logged_in(&broker, "operator").await;
    pull(&sandbox, "uaa_fault", &json!({"row": "F7", "n": 1}));
    release(&browser, &broker).await;
    pull(&sandbox, "uaa_fault", &json!({"row": "F3", "n": 1}));
    let admin = sandbox.admin_token();
    let retry = "/destinations/CFAPI/retry?force=true";
    // This page tells of the first release, but of no lock.
    let (path, form) = form_of(&page(&browser, &broker).await.text);
    assert_eq!(broker.send(Method::POST, retry, Some(&admin), None).await.status, 200);
    let sent_before = sandbox.password_grants();
    let done = browser.send(sent(&format!("{}{path}", broker.base), Some(&broker.base), &form));
    let shown = browser.open(&location(&done.await)).await.text;
    assert!(shown.contains("the user is locked"), "{shown}");
    assert_eq!(sandbox.password_grants(), sent_before);
}

#[tokio::test]
async fn another_instance_may_take_the_form_and_names_itself() {
    let sandbox = sandbox().await;
    let with_index = |index: u32| {
        let mut variables = variables(&sandbox);
        variables.insert("CF_INSTANCE_INDEX".to_owned(), index.to_string());
        variables
    };
    let one = TestBroker::with(with_index(0)).await;
    let two = TestBroker::with(with_index(3)).await;
    let browser = logged_in(&one, "operator").await;
    let shown = page(&browser, &one).await.text;
    assert!(shown.contains("Instance 0 has made this page"), "{shown}");
    let (path, token) = form_of(&shown);
    let done = browser.send(sent(&format!("{}{path}", two.base), Some(&two.base), &token)).await;
    assert_eq!(done.status, 303, "{}", done.text);
    // Whichever instance shows it.
    let led = location(&done).replace(&two.base, &one.base);
    let shown = browser.open(&led).await.text;
    assert!(shown.contains("Instance 3 has sent 1 released"), "{shown}");
}

#[rstest]
#[case::with_login(true)]
#[case::without_login(false)]
#[tokio::test]
async fn a_token_that_an_approuter_passes_on_releases_below_a_prefix(#[case] has_login: bool) {
    let sandbox = sandbox().await;
    let mut variables = variables(&sandbox);
    let names = r#"["gateway.example.test/cfapi"]"#;
    variables.insert("CFAPI_SERVER__NAMES".to_owned(), names.to_owned());
    variables.insert("CFAPI_LOGIN__ENABLED".to_owned(), has_login.to_string());
    let broker = TestBroker::with(variables).await;
    let token_of = |sub: &str, scopes: &[&str]| {
        let scopes: Vec<_> =
            scopes.iter().map(|scope| format!("{}.{scope}", sandbox.xsappname())).collect();
        sandbox.token_with_claims(&json!({
            "sub": sub, "user_name": format!("{sub}@example.test"), "origin": "sap.default",
            "grant_type": "authorization_code", "cid": BROKER_CLIENT, "scope": scopes,
        }))
    };
    let scopes = ["Spaces.Read", "Routes.Admin"];
    let (operator, other) = (token_of("operator", &scopes), token_of("other", &scopes));
    let open = |token: &str, path: &str| {
        let request = client().get(format!("{}{path}", broker.base)).bearer_auth(token);
        NAVIGATION.into_iter().fold(request, |it, (name, value)| it.header(name, value))
    };
    let shown = answer(open(&operator, "/destinations")).await;
    assert_eq!(shown.status, 200, "{}", shown.text);
    let (path, form) = form_of(&shown.text);
    assert_eq!(path, "/cfapi/destinations/CFAPI/release");
    let url = format!("{}{}", broker.base, path.trim_start_matches("/cfapi"));
    let own = "https://gateway.example.test";
    let send = async |token: &str, origin: &str| {
        answer(sent(&url, Some(origin), &form).bearer_auth(token)).await
    };
    assert_eq!(broker.get("/spaces", &sandbox.developer_token()).await.status, 200);
    sandbox.clear_journal();
    assert_eq!(send(&other, own).await.status, 403);
    assert_eq!(send(&operator, &broker.base).await.status, 403);
    assert_eq!(send(&token_of("operator", &scopes[..1]), own).await.status, 403);
    assert_eq!(sandbox.password_grants(), 0);
    // A new token of the same person is the same person.
    let done = send(&token_of("operator", &scopes), own).await;
    assert_eq!(done.status, 303, "{}", done.text);
    let led = location(&done);
    let below = led.strip_prefix("https://gateway.example.test/cfapi").unwrap();
    let shown = answer(open(&operator, below)).await;
    assert!(shown.text.contains("One logon for destination CFAPI succeeded."), "{}", shown.text);
    assert_eq!(sandbox.password_grants(), 1);
}

#[tokio::test]
async fn without_a_key_for_forms_the_page_says_so_and_has_no_button() {
    let sandbox = sandbox().await;
    let mut variables = variables(&sandbox);
    let mut services = crate::support::parse(&variables["VCAP_SERVICES"]);
    let credentials = services["xsuaa"][0]["credentials"].as_object_mut().unwrap();
    credentials.remove("clientsecret");
    let url = credentials["url"].clone();
    for (name, value) in [
        ("credential-type", json!("x509")),
        ("certurl", url),
        ("certificate", json!("no PEM")),
        ("key", json!("no PEM")),
    ] {
        credentials.insert(name.to_owned(), value);
    }
    variables.insert("VCAP_SERVICES".to_owned(), services.to_string());
    let broker = TestBroker::with(variables).await;
    let token = sandbox.caller_token("sb-operator!t1", &["Spaces.Read", "Routes.Admin"]);
    let request = client().get(format!("{}/destinations", broker.base)).bearer_auth(token);
    let shown = answer(request.header("accept", "text/html")).await;
    assert_eq!(shown.status, 200, "{}", shown.text);
    assert!(shown.text.contains("cfapi-login") && !shown.text.contains("<details>"));
}

#[tokio::test]
async fn a_release_by_form_writes_the_audit_lines_of_the_call() {
    let sandbox = sandbox().await;
    let mut audited = AuditedProgram::start(&variables(&sandbox)).await;
    let base = audited.base.clone();
    let token = sandbox.token_with_claims(&json!({
        "sub": "operator", "user_name": "operator@example.test", "origin": "sap.default",
        "grant_type": "authorization_code", "cid": BROKER_CLIENT,
        "scope": [
            format!("{}.Spaces.Read", sandbox.xsappname()),
            format!("{}.Routes.Admin", sandbox.xsappname()),
        ],
    }));
    let request = client().get(format!("{base}/destinations")).bearer_auth(&token);
    let (path, form) = form_of(&answer(request.header("accept", "text/html")).await.text);
    let url = format!("{base}{path}");
    let (status, lines) = audited.send(sent(&url, Some(&base), &form).bearer_auth(&token)).await;
    assert_eq!(status, 303);
    let told: Vec<_> = lines
        .iter()
        .map(|line| {
            ["phase", "action", "outcome", "user", "destination"]
                .map(|it| line[it].as_str().unwrap_or_default())
        })
        .collect();
    let user = "operator@example.test";
    assert_eq!(
        told,
        [
            ["intent", "destination_retry", "", user, "CFAPI"],
            ["outcome", "destination_retry", "succeeded", user, "CFAPI"],
        ]
    );
    let (status, lines) = audited.send(sent(&url, Some("null"), &form).bearer_auth(&token)).await;
    assert_eq!(status, 403);
    let told: Vec<_> = lines.iter().map(|line| (&line["outcome"], &line["code"])).collect();
    assert_eq!(told, [(&json!("denied"), &json!("cross_site"))]);
}

#[tokio::test]
async fn the_page_is_for_people_who_may_see_spaces() {
    let (_sandbox, broker) = blocked().await;
    let url = format!("{}/destinations", broker.base);
    let browser = Browser::default();
    let asked = browser.open(&url).await;
    let login = format!("{}/login?return=%2Fdestinations", broker.base);
    assert_eq!((asked.status, location(&asked)), (302, login.clone()));
    let led = location(&browser.open(&login).await);
    let done = browser.open(&browser.choose(&led, "developer").await).await;
    assert_eq!(location(&done), url);
    let stranger = logged_in(&broker, "stranger").await;
    let refused = stranger.open(&url).await;
    assert_eq!(refused.status, 403, "{}", refused.text);
    assert!(refused.text.contains("SpacesViewer"), "{}", refused.text);
}
