//! A person logs in with a browser, sees the spaces, and logs out.

use http::Method;
use rstest::rstest;
use serde_json::json;

use cfapi_sandbox::{Part, Sandbox};

use crate::support::{
    TestBroker, answer,
    browser::{Browser, NAVIGATION, PAGE, location, set_cookies, started},
    client, parse, pull, sandbox, variables, variables_of,
};

#[tokio::test]
async fn one_click_leads_from_the_root_to_the_spaces() {
    let (sandbox, broker) = started().await;
    let browser = Browser::default();
    let root = browser.open(&format!("{}/", broker.base)).await;
    assert_eq!((root.status, location(&root)), (303, format!("{}/spaces", broker.base)));
    let asked = browser.open(&location(&root)).await;
    let login = format!("{}/login?return=%2Fspaces", broker.base);
    assert_eq!((asked.status, location(&asked)), (302, login));
    let led = browser.open(&location(&asked)).await;
    assert!(location(&led).starts_with(&format!("{}/oauth/authorize?", sandbox.xsuaa_url())));
    let people = browser.open(&location(&led)).await;
    for user in ["developer", "operator", "stranger"] {
        assert!(people.text.contains(&format!("user={user}@example.test")), "{}", people.text);
    }
    let back = browser.choose(&location(&led), "developer").await;
    assert!(back.starts_with(&format!("{}/login/callback?code=", broker.base)), "{back}");
    let done = browser.open(&back).await;
    assert_eq!((done.status, location(&done)), (302, format!("{}/spaces", broker.base)));
    let spaces = browser.open(&location(&done)).await;
    assert_eq!(spaces.status, 200, "{}", spaces.text);
    assert_eq!(spaces.headers["content-type"], "text/html; charset=utf-8");
    assert_eq!(spaces.headers["vary"], "Accept");
    for text in ["dev", "provider-org", "developer@example.test", "Log out"] {
        assert!(spaces.text.contains(text), "{text}: {}", spaces.text);
    }
}

#[tokio::test]
async fn the_cookies_are_closed_to_scripts_and_other_sites_and_hold_no_token() {
    let (_sandbox, broker) = started().await;
    let browser = Browser::default();
    let done = browser.log_in(&broker, "developer").await;
    let set = set_cookies(&done);
    let page = set.iter().rfind(|line| line.starts_with("__Host-cfb=")).unwrap();
    let (pair, attributes) = page.split_once("; ").unwrap();
    assert_eq!(attributes, "Path=/; Max-Age=1800; Secure; HttpOnly; SameSite=Lax");
    assert!(!pair.contains("eyJ") && pair.len() < 3_600, "{pair}");
    // The cookie of the login is gone, the session is there.
    let names: Vec<_> = browser.cookies.lock().unwrap().keys().cloned().collect();
    assert_eq!(names, ["JSESSIONID", PAGE]);
}

#[tokio::test]
async fn a_document_is_for_everybody_else() {
    let (_sandbox, broker) = started().await;
    let browser = Browser::default();
    browser.log_in(&broker, "developer").await;
    let spaces = browser.send(client().get(format!("{}/spaces", broker.base))).await;
    assert_eq!((spaces.status, spaces.json()["total"].as_u64()), (200, Some(2)));
    assert_eq!(spaces.headers["vary"], "Accept");
}

#[tokio::test]
async fn a_person_without_the_scope_is_told_so_and_can_log_out() {
    let (_sandbox, broker) = started().await;
    let browser = Browser::default();
    browser.log_in(&broker, "stranger").await;
    let refused = browser.open(&format!("{}/spaces", broker.base)).await;
    assert_eq!(refused.status, 403, "{}", refused.text);
    for text in ["Scope missing", "Spaces.Read", "role SpacesViewer", "forbidden_scope", "Log out"]
    {
        assert!(refused.text.contains(text), "{text}: {}", refused.text);
    }
    let id = refused.headers["x-correlationid"].to_str().unwrap();
    assert!(refused.text.contains(id), "{}", refused.text);
}

#[tokio::test]
async fn all_instances_know_a_person_who_has_logged_in_at_one() {
    let (sandbox, broker) = started().await;
    let other = TestBroker::start(&sandbox).await;
    let browser = Browser::default();
    browser.log_in(&broker, "operator").await;
    let spaces = browser.open(&format!("{}/spaces", other.base)).await;
    assert_eq!(spaces.status, 200, "{}", spaces.text);
}

/// The variables with a user-provided service that holds the keys of the login.
fn with_keys(sandbox: &Sandbox, credentials: &serde_json::Value) -> TestVariables {
    let mut services = parse(&sandbox.vcap_services());
    services["user-provided"] = json!([{
        "label": "user-provided", "name": "login-keys", "tags": ["cfapi-login"],
        "credentials": credentials,
    }]);
    variables_of(&services.to_string(), &sandbox.vcap_application("127.0.0.1"))
}

type TestVariables = std::collections::BTreeMap<String, String>;

#[tokio::test]
async fn a_key_of_its_own_can_be_changed_while_people_are_logged_in() {
    let sandbox = sandbox().await;
    let (first, second) = ("sandbox-only-key-one", "sandbox-only-key-two");
    let before = TestBroker::with(with_keys(&sandbox, &json!({"key": first}))).await;
    let browser = Browser::default();
    browser.log_in(&before, "developer").await;
    let cookie = browser.cookie(PAGE).unwrap();
    let status = async |credentials| {
        let broker = TestBroker::with(with_keys(&sandbox, &credentials)).await;
        browser.cookies.lock().unwrap().insert(PAGE.to_owned(), cookie.clone());
        browser.open(&format!("{}/spaces", broker.base)).await.status
    };
    assert_eq!(status(json!({"key": first})).await, 200);
    assert_eq!(status(json!({"key": second, "previous_key": first})).await, 200);
    assert_eq!(status(json!({"key": second})).await, 302);
}

#[tokio::test]
async fn a_logout_ends_the_session_here_and_at_xsuaa() {
    let (sandbox, broker) = started().await;
    let browser = Browser::default();
    browser.log_in(&broker, "developer").await;
    let form = client().post(format!("{}/logout", broker.base));
    // So browsers do on a page with `Referrer-Policy: no-referrer`.
    let form = form.header("origin", "null").header("sec-fetch-site", "same-origin");
    let left = browser.send(form).await;
    assert_eq!(left.status, 200, "{}", left.text);
    assert_eq!(browser.cookie(PAGE), None);
    let policy = left.headers["content-security-policy"].to_str().unwrap();
    assert!(policy.contains("form-action 'self';"), "{policy}");
    let (_, next) = left.text.split_once("content=\"0; url=").unwrap();
    let next = next.split_once('"').unwrap().0.replace("&#38;", "&").replace("&amp;", "&");
    assert!(next.starts_with(&format!("{}/logout.do?", sandbox.xsuaa_url())), "{next}");
    let home = browser.open(&next).await;
    let after = format!("{}/logged-out", broker.base);
    assert_eq!((home.status, location(&home)), (302, after.clone()));
    let page = browser.open(&after).await;
    assert_eq!(page.status, 200, "{}", page.text);
    assert!(
        page.text.contains("href=\"/login\"") && !page.text.contains("refresh"),
        "{}",
        page.text
    );
    let people = browser.open(&browser.begin(&broker).await).await;
    assert_eq!(people.status, 200, "XSUAA still knows the person");
    browser.log_in(&broker, "developer").await;
    let still = browser.open(&after).await;
    assert_eq!((still.status, location(&still)), (302, format!("{}/spaces", broker.base)));
}

#[rstest]
#[case::other_site(&[("sec-fetch-site", "cross-site")])]
#[case::sister(&[("sec-fetch-site", "same-site")])]
#[case::other_origin(&[("origin", "https://evil.example")])]
#[case::no_origin(&[("origin", "null")])]
#[tokio::test]
async fn a_form_of_another_site_logs_nobody_out(#[case] headers: &[(&str, &str)]) {
    let (_sandbox, broker) = started().await;
    let browser = Browser::default();
    browser.log_in(&broker, "developer").await;
    let form = client().post(format!("{}/logout", broker.base));
    let form = headers.iter().fold(form, |form, (name, value)| form.header(*name, *value));
    let refused = browser.send(form).await;
    assert_eq!((refused.status, refused.code().as_str()), (403, "cross_site"));
    assert!(browser.cookie(PAGE).is_some());
}

#[tokio::test]
async fn a_login_ends_the_session_before_it() {
    let (_sandbox, broker) = started().await;
    let browser = Browser::default();
    browser.log_in(&broker, "developer").await;
    assert!(browser.cookie(PAGE).is_some());
    browser.open(&format!("{}/login", broker.base)).await;
    assert_eq!(browser.cookie(PAGE), None);
}

#[tokio::test]
async fn a_token_that_an_approuter_passes_on_works_behind_a_prefix_too() {
    let sandbox = sandbox().await;
    let mut variables = variables(&sandbox);
    let names = r#"["gateway.example.test/cfapi"]"#;
    variables.insert("CFAPI_SERVER__NAMES".to_owned(), names.to_owned());
    let broker = TestBroker::with(variables).await;
    let get = |path: &str| {
        let request = client().get(format!("{}{path}", broker.base));
        NAVIGATION.into_iter().fold(request, |request, (name, value)| request.header(name, value))
    };
    let spaces = answer(get("/spaces").bearer_auth(sandbox.developer_token())).await;
    assert_eq!(spaces.status, 200, "{}", spaces.text);
    assert!(spaces.text.contains("provider-org") && !spaces.text.contains("Log out"));
    assert!(!spaces.headers.contains_key("set-cookie"));
    let root = answer(get("/")).await;
    assert_eq!(location(&root), "https://gateway.example.test/cfapi/spaces");
    let asked = answer(get("/spaces")).await;
    assert_eq!(location(&asked), "https://gateway.example.test/cfapi/login?return=%2Fspaces");
    let led = answer(get("/login")).await;
    let uri = "redirect_uri=https%3A%2F%2Fgateway.example.test%2Fcfapi%2Flogin%2Fcallback";
    assert!(location(&led).contains(uri), "{}", location(&led));
}

#[tokio::test]
async fn names_of_the_request_show_in_no_address() {
    let (_sandbox, broker) = started().await;
    let port = broker.base.rsplit_once(':').unwrap().1;
    for path in ["/", "/spaces", "/login"] {
        let request = client().get(format!("{}{path}", broker.base));
        let request =
            NAVIGATION.into_iter().fold(request, |it, (name, value)| it.header(name, value));
        let request = request
            .header("host", format!("localhost:{port}"))
            .header("x-forwarded-host", "evil.example")
            .header("x-forwarded-proto", "ftp")
            .header("forwarded", "host=evil.example");
        let led = answer(request).await;
        assert!(matches!(led.status, 302 | 303), "{path}: {}", led.text);
        let led = location(&led);
        assert!(!led.contains("localhost") && !led.contains("evil"), "{path}: {led}");
    }
}

/// The headers of every answer of the broker's own paths.
const HEADERS: [(&str, &str); 9] = [
    ("x-frame-options", "DENY"),
    ("x-content-type-options", "nosniff"),
    ("referrer-policy", "no-referrer"),
    ("cache-control", "no-store"),
    ("cross-origin-opener-policy", "same-origin"),
    ("cross-origin-resource-policy", "same-origin"),
    ("strict-transport-security", "max-age=31536000"),
    ("permissions-policy", ""),
    ("x-correlationid", ""),
];

/// Paths that answer a browser and a program alike, but for problems.
const ALIKE: [&str; 3] = ["/health", "/login", "/logged-out"];

#[tokio::test]
async fn every_answer_tells_a_browser_what_it_may_do() {
    let (_sandbox, broker) = started().await;
    let browser = Browser::default();
    browser.log_in(&broker, "developer").await;
    let paths = [
        "/",
        "/spaces",
        "/spaces/s1",
        "/destinations",
        "/status",
        "/problems",
        "/problems/not-found",
        "/problems/none",
        "/routes",
        "/assets/none",
        "/logged-out",
        "/login",
        "/login/callback",
        "/health",
        "/none",
        "/metrics",
    ];
    for path in paths {
        let url = format!("{}{path}", broker.base);
        let for_people = browser.open(&url).await;
        let for_programs = browser.send(client().get(&url)).await;
        for (kind, answer) in [("page", &for_people), ("document", &for_programs)] {
            for (name, value) in HEADERS {
                let found =
                    answer.headers.get(name).unwrap_or_else(|| panic!("{kind} {path}: {name}"));
                assert!(value.is_empty() || found == value, "{kind} {path}: {name} {found:?}");
            }
            let denied = answer.headers["permissions-policy"].to_str().unwrap();
            assert!(denied.split(", ").all(|feature| feature.ends_with("=()")), "{denied}");
            for feature in ["camera", "clipboard-read", "microphone", "serial", "usb"] {
                assert!(denied.contains(&format!("{feature}=()")), "{denied}");
            }
            // A browser gets another answer than a program.
            let varies = answer.headers.get("vary").is_some_and(|names| names == "Accept");
            assert_eq!(varies, !ALIKE.contains(&path) || answer.status > 399, "{kind} {path}");
            let policy = answer.headers["content-security-policy"].to_str().unwrap();
            assert!(policy.starts_with("default-src 'none'; "), "{kind} {path}: {policy}");
            let is_page = answer
                .headers
                .get("content-type")
                .is_some_and(|kind| kind.to_str().unwrap().starts_with("text/html"));
            assert_eq!(policy.contains("style-src 'self'"), is_page, "{kind} {path}: {policy}");
        }
        // A login that has begun ends the session of the paths after it.
        if path == "/login" {
            browser.log_in(&broker, "developer").await;
        }
    }
}

#[tokio::test]
async fn markup_in_the_name_of_a_space_is_text() {
    const NAME: &str = "<script>alert(1)</script> \"'&";
    let (sandbox, broker) = started().await;
    let browser = Browser::default();
    browser.log_in(&broker, "developer").await;
    let page = json!({
        "pagination": {"total_results": 1, "total_pages": 1, "next": null},
        "resources": [{
            "guid": "5e1f9e5a-0000-4000-8000-000000000001", "name": NAME,
            "created_at": "2026-01-01T00:00:00Z",
            "relationships": {"organization": {"data": {"guid": "5e1f9e5a-0000-4000-8000-000000000002"}}},
        }],
        "included": {"organizations": [
            {"guid": "5e1f9e5a-0000-4000-8000-000000000002", "name": NAME},
        ]},
    });
    pull(
        &sandbox,
        "fail_next",
        &json!({"part": "cf", "status": 200, "headers": {"content-type": "application/json"},
            "body": page, "only": "GET /v3/spaces"}),
    );
    let shown = browser.open(&format!("{}/spaces", broker.base)).await;
    assert_eq!(shown.status, 200, "{}", shown.text);
    let escaped = "&#60;script&#62;alert(1)&#60;/script&#62; &#34;&#39;&#38;";
    // Two names, the label of a button, and the two names for the filter.
    assert_eq!(shown.text.matches(escaped).count(), 5, "{}", shown.text);
    assert!(!shown.text.contains("<script>"), "{}", shown.text);
}

/// The only call of a login besides the page is the exchange of the code, with PKCE.
#[tokio::test]
async fn a_login_costs_one_call_of_xsuaa_and_shows_it_no_secret_in_an_address() {
    let (sandbox, broker) = started().await;
    let browser = Browser::default();
    let begun = browser.begin(&broker).await;
    let back = browser.choose(&begun, "developer").await;
    sandbox.clear_journal();
    browser.open(&back).await;
    let calls: Vec<_> =
        sandbox.journal().into_iter().filter(|entry| entry.part == Part::Xsuaa).collect();
    let asked: Vec<_> = calls
        .iter()
        .map(|entry| (entry.method.as_str(), entry.path.as_str(), entry.grant_type.as_deref()))
        .collect();
    let keys = (Method::GET.as_str(), "/token_keys", None);
    assert_eq!(asked, [("POST", "/oauth/token", Some("authorization_code")), keys]);
    assert!(calls[0].query.is_empty() && calls[0].body.contains("code_verifier="));
}
