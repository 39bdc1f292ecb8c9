//! The pages for people: frame, files, policy.

use rstest::rstest;
use serde_json::json;

use crate::support::{
    Answer, TestBroker, answer,
    browser::{Browser, NAVIGATION},
    client, pull, sandbox, variables,
};

/// Opens a path as a person without a session does.
async fn open(broker: &TestBroker, path: &str) -> Answer {
    let request = client().get(format!("{}{path}", broker.base));
    answer(NAVIGATION.into_iter().fold(request, |it, (name, value)| it.header(name, value))).await
}

/// The values of an attribute, in order.
fn values<'a>(html: &'a str, attribute: &str) -> Vec<&'a str> {
    let start = format!(" {attribute}=\"");
    html.split(&start).skip(1).map(|rest| rest.split('"').next().unwrap()).collect()
}

#[rstest]
#[case::root(None, "")]
#[case::prefix(Some(r#"["gateway.example.test/cfapi"]"#), "/cfapi")]
#[tokio::test]
async fn every_address_of_a_page_is_on_its_own_host_below_the_prefix(
    #[case] names: Option<&str>,
    #[case] prefix: &str,
) {
    let sandbox = sandbox().await;
    let mut variables = variables(&sandbox);
    variables.extend(names.map(|names| ("CFAPI_SERVER__NAMES".to_owned(), names.to_owned())));
    let broker = TestBroker::with(variables).await;
    let request = client().get(format!("{}/spaces", broker.base));
    let request = request.header("accept", "text/html").bearer_auth(sandbox.developer_token());
    for page in [answer(request).await, open(&broker, "/nowhere").await] {
        let addresses = ["href", "src", "action"].map(|name| values(&page.text, name)).concat();
        assert!(addresses.len() > 6, "{}", page.text);
        for address in addresses.into_iter().filter(|address| !address.starts_with('#')) {
            assert!(address.starts_with(&format!("{prefix}/")), "{address}: {}", page.text);
            assert!(!address.contains("//"), "{address}");
        }
    }
}

#[tokio::test]
async fn the_files_of_a_page_are_served_to_everybody_and_kept_for_good() {
    let sandbox = sandbox().await;
    let broker = TestBroker::start(&sandbox).await;
    let browser = Browser::default();
    browser.log_in(&broker, "developer").await;
    let page = browser.open(&format!("{}/spaces", broker.base)).await;
    let linked = ["href", "src"].map(|name| values(&page.text, name)).concat();
    let files: Vec<_> = linked.into_iter().filter(|link| link.starts_with("/assets/")).collect();
    assert_eq!(files.len(), 3, "{}", page.text);
    for file in files {
        let got = answer(client().get(format!("{}{file}", broker.base))).await;
        assert_eq!(got.status, 200, "{file}");
        let kind = got.headers["content-type"].to_str().unwrap();
        let expected = match file.rsplit('.').next().unwrap() {
            "css" => "text/css; charset=utf-8",
            "js" => "text/javascript; charset=utf-8",
            _ => "image/svg+xml",
        };
        assert_eq!(kind, expected);
        assert_eq!(got.headers["cache-control"], "public, max-age=31536000, immutable");
        assert_eq!(got.headers["x-content-type-options"], "nosniff");
        // An instance with another version gives its own file, which is not kept.
        let (stem, rest) = file.split_once('-').unwrap();
        let (_, extension) = rest.split_once('.').unwrap();
        let other = format!("{stem}-0123456789abcdef.{extension}");
        let other = answer(client().get(format!("{}{other}", broker.base))).await;
        assert_eq!((other.status, &other.text), (200, &got.text));
        assert_eq!(other.headers["cache-control"], "no-store");
    }
    let none = answer(client().get(format!("{}/assets/style.css", broker.base))).await;
    assert_eq!((none.status, none.code().as_str()), (404, "not_found"));
}

#[tokio::test]
async fn an_unknown_path_is_a_page_for_a_browser_and_a_problem_for_others() {
    let sandbox = sandbox().await;
    let broker = TestBroker::start(&sandbox).await;
    let page = open(&broker, "/nowhere").await;
    assert_eq!(page.status, 404, "{}", page.text);
    for text in ["<h1>Not found</h1>", "aria-label=\"Pages\"", "not_found"] {
        assert!(page.text.contains(text), "{text}: {}", page.text);
    }
    let policy = page.headers["content-security-policy"].to_str().unwrap();
    assert!(!policy.contains("script-src") && !page.text.contains("<script"), "{policy}");
    // Nobody is told the version.
    assert!(!page.text.contains(env!("CARGO_PKG_VERSION")), "{}", page.text);
    let other = answer(client().get(format!("{}/nowhere", broker.base))).await;
    assert_eq!((other.status, other.code().as_str()), (404, "not_found"));
}

#[tokio::test]
async fn a_page_may_run_the_brokers_own_script_only() {
    let sandbox = sandbox().await;
    let broker = TestBroker::start(&sandbox).await;
    let browser = Browser::default();
    browser.log_in(&broker, "developer").await;
    let page = browser.open(&format!("{}/spaces", broker.base)).await;
    let policy = page.headers["content-security-policy"].to_str().unwrap();
    assert!(policy.contains("; script-src 'self';"), "{policy}");
    assert!(!policy.contains("unsafe") && !policy.contains('*'), "{policy}");
    for sign in [" style=", " onclick=", "<style", "javascript:", "<script>"] {
        assert!(!page.text.contains(sign), "{sign}: {}", page.text);
    }
    assert!(page.text.contains(env!("CARGO_PKG_VERSION")), "{}", page.text);
}

#[tokio::test]
async fn every_problem_has_a_page_and_a_document_without_a_login() {
    let sandbox = sandbox().await;
    let broker = TestBroker::start(&sandbox).await;
    let all = answer(client().get(format!("{}/problems", broker.base))).await;
    assert_eq!((all.status, &all.headers["vary"]), (200, &"Accept".parse().unwrap()));
    let list = open(&broker, "/problems").await;
    let resources = all.json()["resources"].as_array().unwrap().clone();
    assert!(resources.len() > 50, "{}", resources.len());
    for problem in resources {
        let path = problem["type"].as_str().unwrap();
        assert!(list.text.contains(&format!("<a href=\"{path}\">")), "{path}");
        let one = answer(client().get(format!("{}{path}", broker.base))).await;
        assert_eq!(one.json(), problem, "{path}");
        let page = open(&broker, path).await;
        assert_eq!((page.status, &page.headers["vary"]), (200, &"Accept".parse().unwrap()));
        let code = format!("<code>{}</code>", problem["code"].as_str().unwrap());
        let heading = "Does it help to repeat the request?";
        for text in [&code, heading] {
            assert!(page.text.contains(text), "{text}: {}", page.text);
        }
        assert!(!page.text.contains("What happened"), "{}", page.text);
    }
    for path in ["/problems/not_found", "/problems/nothing", "/problems/Not-Found"] {
        assert_eq!(open(&broker, path).await.status, 404, "{path}");
    }
}

#[tokio::test]
async fn the_type_of_a_problem_leads_to_its_page() {
    let sandbox = sandbox().await;
    let broker = TestBroker::start(&sandbox).await;
    let refused = broker.get("/routes?state=none", &sandbox.provider_token()).await;
    assert_eq!(refused.status, 400, "{}", refused.text);
    let page = open(&broker, refused.json()["type"].as_str().unwrap()).await;
    assert!(page.status == 200 && page.text.contains("Malformed request"), "{}", page.text);
}

#[tokio::test]
async fn an_error_in_a_browser_is_the_page_of_its_problem_with_the_same_status() {
    let sandbox = sandbox().await;
    let broker = TestBroker::start(&sandbox).await;
    let request = client().get(format!("{}/routes?state=<script>\"'&", broker.base));
    let request = request.header("accept", "text/html").bearer_auth(sandbox.provider_token());
    let page = answer(request).await;
    assert_eq!((page.status, &page.headers["vary"]), (400, &"Accept".parse().unwrap()));
    let id = page.headers["x-correlationid"].to_str().unwrap();
    for text in ["What happened", "The state is not known.", "Usual causes", "unmapped", id] {
        assert!(page.text.contains(text), "{text}: {}", page.text);
    }
    assert!(!page.text.contains("<script"), "{}", page.text);
}

#[tokio::test]
async fn the_page_of_spaces_says_how_the_technical_user_is() {
    let sandbox = sandbox().await;
    let broker = TestBroker::start(&sandbox).await;
    let browser = Browser::default();
    browser.log_in(&broker, "developer").await;
    let page = browser.open(&format!("{}/spaces", broker.base)).await;
    for text in ["Technical user", ">Healthy<", "technical.user@example.test", "CFAPI"] {
        assert!(page.text.contains(text), "{text}: {}", page.text);
    }
    let policy = page.headers["content-security-policy"].to_str().unwrap();
    assert!(policy.contains("; script-src 'self'; connect-src 'self';"), "{policy}");
    let status = browser.open(&format!("{}/status", broker.base)).await;
    assert!(status.text.contains(">Healthy<"), "{}", status.text);
    let document = browser.send(client().get(format!("{}/status", broker.base))).await;
    let document = document.json();
    assert_eq!(document["condition"]["state"], "healthy", "{document}");
    // The facts of the card are there for programs as well.
    assert_eq!(document["user"], "technical.user@example.test");
    assert_eq!(document["login_server"]["state"], "answers");
    assert_eq!(document["cf_api"]["state"], "answers");
    assert_eq!(
        document["broker"],
        json!({"version": env!("CARGO_PKG_VERSION"), "instance_index": null})
    );
    let listed = browser.send(client().get(format!("{}/destinations", broker.base))).await.json();
    assert_eq!(listed["broker"], document["broker"]);
    let without_seconds = |mut body: serde_json::Value| {
        body.as_object_mut().unwrap().remove("broker");
        body["lease"].take();
        body
    };
    let (same, first) =
        (without_seconds(document), without_seconds(listed["resources"][0].clone()));
    assert_eq!(same, first);
    assert_eq!(answer(client().get(format!("{}/status", broker.base))).await.status, 401);
}

#[tokio::test]
async fn a_refused_technical_user_is_explained_on_the_page_of_spaces() {
    let sandbox = sandbox().await;
    let broker = TestBroker::start(&sandbox).await;
    let browser = Browser::default();
    browser.log_in(&broker, "developer").await;
    let user = json!({"user": "technical.user@example.test", "password": "another"});
    pull(&sandbox, "change_password", &user);
    pull(&sandbox, "revoke_all", &json!({}));
    let page = browser.open(&format!("{}/spaces", broker.base)).await;
    assert_eq!(page.status, 502, "{}", page.text);
    for text in ["This request", ">Refused<", "Usual causes", "Log out"] {
        assert!(page.text.contains(text), "{text}: {}", page.text);
    }
    // Cause and advice stand there once, and in the words of a page.
    for text in ["The CF login server refused the logon.", "release one attempt"] {
        assert_eq!(page.text.matches(text).count(), 1, "{text}: {}", page.text);
    }
    assert!(!page.text.contains("/retry") && !page.text.contains("force=true"), "{}", page.text);
    let status = browser.open(&format!("{}/status", broker.base)).await;
    assert_eq!(status.status, 200, "{}", status.text);
    assert!(status.text.contains(">Refused<"), "{}", status.text);
}

#[tokio::test]
async fn a_person_keeps_name_and_way_out_on_the_page_of_a_problem() {
    let sandbox = sandbox().await;
    let broker = TestBroker::start(&sandbox).await;
    let browser = Browser::default();
    browser.log_in(&broker, "developer").await;
    let unknown = "/spaces/00000000-0000-4000-8000-000000000000";
    for (path, status) in [("/spaces?page=0", 400), ("/spaces?color=red", 400), (unknown, 404)] {
        let page = browser.open(&format!("{}{path}", broker.base)).await;
        assert_eq!(page.status, status, "{path}: {}", page.text);
        for text in ["Logged in as", "developer@example.test", "Log out"] {
            assert!(page.text.contains(text), "{path}, {text}: {}", page.text);
        }
    }
}
